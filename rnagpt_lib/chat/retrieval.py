"""Retrieval: the annotated RNAs of a run's training set that are nearest to the one asked about.

Nothing of it goes into the model: it stands beside an answer, or in its place, and says where the
two disagree. What comes back is a dict that JSON can hold, ``{about, statements, neighbours}``; its
texts are foreign, to be escaped where they are shown (`rendering`).
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import check_sequence
from rnagpt_lib.core.files import digest, sha256
from rnagpt_lib.core.sequences import dinucleotide_shuffle, is_repetitive, kmer_profile
from rnagpt_lib.core.text import caseless, fold
from rnagpt_lib.curate.questions import facts, question_templates
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL, relation_of
from rnagpt_lib.curate.splits.relatives import identity_of
from rnagpt_lib.miniature.world import WORLD_IDS
from rnagpt_lib.runs.stages import QA, SUMMARIES, command, manifest_of, setting, stage_folder

HEADING = "Retrieved from the training set, not generated"

# --- the nearest by alignment

POWER = 0.25  # of the lengths' ratio beside the identity; chosen on val RNAs (`benchmarks`)
DRAWS = 19  # shuffles: an RNA without relatives passes for near once in 20
ALIGNED, LEAST = 1000, 10  # RNAs aligned with a query: those that share most words
CELLS = 2e8  # letters by letters of these alignments at most, beyond the least number of RNAs
BLOCK = 4096  # RNAs whose words are counted at a time


class Hit(NamedTuple):
    """An RNA of the index by its row; identity and score 0 to 1."""

    row: int
    identity: float
    score: float


class Nearest:
    """Finds the nearest of distinct ``sequences``, by identity × (shorter / longer)^`POWER`.

    The shorter RNA is fitted into the longer one, so by identity alone the longest RNAs are near to
    everything short.
    """

    def __init__(self, sequences: Sequence[str]):
        self.sequences = sequences
        blocks = (sequences[i : i + BLOCK] for i in range(0, len(sequences), BLOCK))
        self._words = sparse.vstack([sparse.csr_array(kmer_profile(b)) for b in blocks], "csr")
        self._lengths = np.array([len(sequence) for sequence in sequences])

    def find(self, sequence: str, k: int) -> tuple[list[Hit], float]:
        """The k of the highest score, and what chance reaches: the highest score of `DRAWS` shuffles
        of the query with its dinucleotides kept. Of many RNAs those are aligned that share most
        words of five letters with the query."""
        rng = random.Random(sequence)
        strangers = [dinucleotide_shuffle(sequence, rng) for _ in range(DRAWS)]
        shared = self._words @ kmer_profile([sequence, *strangers]).T  # (n, 1 + DRAWS)
        rows = np.sort(self._promising(len(sequence), shared[:, 0]))
        identity = np.array([identity_of(sequence, self.sequences[row]) for row in rows])
        score = np.round(identity * self._ratio(len(sequence), rows), 6)
        best = np.argsort(-score, kind="stable")[:k]
        hits = [Hit(*(each[i].item() for each in (rows, identity, score))) for i in best]
        chance = 0.0
        for stranger, words in zip(strangers, shared.T[1:], strict=True):
            rows = self._promising(len(sequence), words)
            for row, ratio in zip(rows, self._ratio(len(sequence), rows), strict=True):
                if chance < ratio:  # else no identity would bring more
                    least = chance / ratio
                    chance = max(chance, ratio * identity_of(stranger, self.sequences[row], least))
        return hits, round(float(chance), 6)

    def _ratio(self, length: int, rows: np.ndarray) -> np.ndarray:
        lengths = self._lengths[rows]
        return (np.minimum(lengths, length) / np.maximum(lengths, length)) ** POWER

    def _promising(self, length: int, shared: np.ndarray) -> np.ndarray:
        """Rows that are worth an alignment with a sequence of ``length``, the best first."""
        shared = np.round(shared, 5)  # the same on any machine
        many = ALIGNED < len(shared)
        least = np.partition(shared, -ALIGNED)[-ALIGNED] if many else 0.0
        rows = np.flatnonzero(shared >= least)
        rows = rows[np.argsort(-shared[rows], kind="stable")][:ALIGNED]
        within = np.searchsorted(np.cumsum(self._lengths[rows] * float(length)), CELLS, "right")
        return rows[: max(LEAST, within)]


# --- what an answer says against the fields of the RNA, or of those near it

NOUNS = {"rna_type": "type", "species": "species", "family": "family"}
HEDGES = re.compile(
    r"\b(may|might|could|maybe|perhaps|possibly|presumably|probably|likely|seems?|appears?|think)\b",
    re.IGNORECASE,
)
GENERIC = {"rna", "ncrna", "misc rna", "other"}  # types that exclude no other
RELATED = (  # one may be a kind, a part or a maker of the other
    {"precursor rna", "pre mirna"}, {"precursor rna", "pri mirna"}, {"rnase p rna", "ribozyme"},
    {"rnase mrp rna", "ribozyme"}, {"autocatalytically spliced intron", "ribozyme"},
    {"scarna", "snorna"}, {"y rna", "scrna"}, {"srp rna", "scrna"},
    {"antisense rna", "lncrna"}, {"antisense rna", "srna"},
)  # fmt: skip


def agree(one: str, other: str) -> bool:
    """Whether two RNA types, or other values, do not exclude each other.

    >>> agree("snoRNA", "C_D_box_snoRNA"), agree("ncRNA", "tRNA"), agree("tRNA", "rRNA")
    (True, True, False)
    """
    names = [" ".join(re.findall(r"[^\W_]+", each.casefold())) for each in (one, other)]
    if not GENERIC.isdisjoint(names) or set(names) in RELATED:
        return True
    words = [set(name.split()) for name in names]
    return words[0] <= words[1] or words[1] <= words[0]


def claims(field: str, question: str, answer: str, known: Sequence[str]) -> tuple[set, set]:
    """The values of a field, folded, that an answer gives the RNA, and those that it denies: to a
    question about it whichever of ``known`` a sentence names that neither denies nor hedges; to any
    other one what it says in a sentence of the field's own ("The RNA is of the type tRNA.")."""
    sentences = re.split(r"(?<=[.!?;])\s+", fold(answer))
    folded = sorted(set(map(caseless, known)), key=lambda value: (-len(value), value))
    if relation_of(question) != field:
        matches = map(question_templates.RELATIONS[field].answer_pattern.fullmatch, sentences)
        return {match["entity"].casefold() for match in matches if match} & set(folded), set()
    either = "|".join(map(re.escape, folded)) or "(?!)"
    whole = re.compile(rf"(?<!\w)(?<!\w-)(?:{either})(?!\w|-\w)")
    sure = (s for s in sentences if not HEDGES.search(s) and not facts.NEGATION.search(s))
    said = {value for sentence in sure for value in whole.findall(sentence.casefold())}
    word = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
    entity = question_templates.asked_entity(question)
    if not (word and entity):
        return said, set()
    yes = word[1].lower() == "yes"
    return said | ({caseless(entity)} if yes else set()), set() if yes else {caseless(entity)}


# --- the tables of a run


class Retrieval:
    """The tables of a run, ready to be looked up; ``Retrieval.of`` reads them. Only the train side
    is searched, and of it only RNAs with an annotation or a field.

    >>> retrieval = Retrieval.of("mini")
    >>> [(one["rna_type"], one["identity"]) for one in retrieval.near("GGCUAGCUCAAUCGGUAG", k=1)]
    [(['tRNA'], 0.79)]
    """

    def __init__(
        self, rnas: pd.DataFrame, annotations: pa.Table, nearest: Nearest, run: str = ""
    ) -> None:
        self.rnas, self.nearest, self.run = rnas, nearest, run
        order = [("rna_id", "ascending"), ("sentence_no", "ascending")]
        self._annotations = annotations.sort_by(order)
        ids = self._annotations["rna_id"].to_pandas()
        self._places = ids.groupby(ids, observed=True).indices
        self._find = lru_cache(maxsize=4096)(nearest.find)  # many questions are about one RNA
        train = rnas["split"] == "train"
        self._row = np.where(train, pd.Index(nearest.sequences).get_indexer(rnas["sequence"]), -1)
        self.fields, self.taught = (
            {field: sorted(set(side[field]) - {""}) for field in CATEGORICAL}
            for side in (rnas, rnas[train])
        )

    @classmethod
    def of(cls, run: str) -> "Retrieval":
        """Of a run whose stages 02 and 03 are finished; else, and where no training RNA has an
        annotation or a field, it raises InputError."""
        rnas = _table(run, QA, "rnas", ["rna_id", "sequence", "split", *CATEGORICAL])
        source = setting(run, QA, "source")
        columns = ["rna_id", "sentence_no", "text", "article_ids"]
        annotations = _table(run, SUMMARIES, "annotations", columns, source=source)
        frame = rnas.to_pandas()
        known = frame["rna_id"].isin(annotations["rna_id"].unique().to_pylist())
        known |= (frame[[*CATEGORICAL]] != "").any(axis=1)
        sequences = frame["sequence"][known & (frame["split"] == "train")].unique().tolist()
        if not sequences:
            raise InputError(
                f"run {run} has no training RNA with an annotation or a field to be retrieved; give "
                "00 RNAs with types, or 02 articles"
            )
        return cls(frame, annotations, Nearest(sequences), run)

    @property
    def warning(self) -> str:
        """That what it finds is none of nature; "" where it is."""
        generated = self.rnas["rna_id"].str.startswith(WORLD_IDS).any()
        return "the RNAs that are retrieved are of a generated world" if generated else ""

    @staticmethod
    def tables_hash(run: str) -> str:
        """Of all that is retrieved from."""
        names = [(SUMMARIES, "annotations"), (QA, "rnas")]
        return digest([sha256(stage_folder(run, s) / f"{n}.parquet") for s, n in names])

    def near(self, sequence: str, k: int = 3) -> list[dict]:
        """The k nearest; raises InputError for what is no RNA. Each sequence is there once, as it is
        found in many species: ``rna_ids``, the annotated ones first, the distinct values of
        ``rna_type``, ``species`` and ``family``, ``sentences`` (text, article_ids), ``identity`` (0
        to 1), and whether it is nearer than chance reaches, ``near``. Of a sequence of low
        complexity only itself is found."""
        sequence = check_sequence(sequence)
        hits, chance = self._find(sequence, k)
        found, low = [], is_repetitive(sequence)
        for row, identity, score in hits:
            same = self.nearest.sequences[row] == sequence
            if same or not low:
                rows = self.rnas[self._row == row]
                found.append(self._entry(rows, identity, same or score > chance))
        return found

    def retrieve(
        self, sequence: str, question: str, answer: str | None, rna_id: str | None = None,
        k: int = 3,
    ) -> dict:  # fmt: skip
        """The nearest RNAs, and what is to be said of the answer in view of them and of the RNA's
        own fields, where ``rna_id`` or the sequence is in the run's tables, on whatever side. In
        place of an answer (None) stands what `answer` finds."""
        if answer is None:
            return self.answer(sequence, question, k)
        found, relation = self.near(sequence, k), relation_of(question)
        known, another = self.own(sequence, rna_id)
        said = f"{rna_id} has another sequence in the run's tables; its fields are not used."
        statements = [said] * another + [*self.statements(question, answer, known, found)]
        for one in found:  # those that bear on the question come first
            one["sentences"].sort(key=lambda sentence: not _states(relation, sentence))
        return _evidence(statements, found)

    def answer(self, sequence: str, question: str, k: int = 3) -> dict:
        """An answer without a model: the field that the question asks for, and the sentences of the
        near RNAs that bear on it; of those whose identity chance does not reach alone."""
        found, relation = self.near(sequence, k), relation_of(question)
        near = [one for one in found if one["near"]]
        if not near:
            return _evidence([f"{_nothing_near(found)}, so nothing is retrieved."], [])
        if relation in CATEGORICAL:
            what = NOUNS[relation]
            known = [(describe(one)[0], listed(one[relation])) for one in near if one[relation]]
            said = [f"{head} has the {what} {values}." for head, values in known]
            said = said or [f"No {what} of the nearest RNAs is known."]
            return _evidence(said, [one | {"sentences": []} for one in near])
        for one in near if relation else ():
            one["sentences"] = [s for s in one["sentences"] if _states(relation, s)]
        if telling := [one for one in near if one["sentences"]]:
            return _evidence([], telling)
        return _evidence(["The annotations of the nearest RNAs do not say."], near)

    def own(self, sequence: str, rna_id: str | None) -> tuple[dict | None, bool]:
        """What the run's tables have of an RNA itself: of the entry ``rna_id`` where it has this
        sequence, else of all that have it; and whether the id is one of another sequence."""
        same = self.rnas[self.rnas["sequence"] == check_sequence(sequence)]
        own = same[same["rna_id"] == rna_id]
        rows, another = own if len(own) else same, self.rnas["rna_id"].eq(rna_id).any()
        return self._entry(rows) if len(rows) else None, bool(not len(own) and another)

    def statements(
        self, question: str, answer: str, known: dict | None, found: list[dict]
    ) -> Iterator[str]:
        """What is to be said of an answer, in view of the RNA's own entry. Where that has no type or
        family, the near ones count if all that have one agree, and the answer's is one that training
        RNAs have: of another none could have been near. How often it is right: `benchmarks`."""
        near = [one for one in found if one["near"]]
        for field in CATEGORICAL:
            said, denied = claims(field, question, answer, self.fields[field])
            if known and known[field]:
                if but := self._but(field, said, denied, known[field]):
                    gives = f"{_owner(known['rna_ids'][0])} gives this RNA the {NOUNS[field]}"
                    yield f"{gives} {listed(known[field])}; {but}."
            elif field != "species" and (not said or _any_agree(said, self.taught[field])):
                telling = [one for one in near if one[field]]
                agreed = {value for one in telling for value in one[field]}
                if len(agreed) == 1 and (but := self._but(field, said, denied, agreed)):
                    best = max(telling, key=lambda one: one["identity"])
                    alike = f"{_named(best['rna_ids'])} is {percent(best['identity'])} identical"
                    some = f"{len(telling)} nearest RNAs have" if telling[1:] else "nearest RNA has"
                    yield f"The {some} the {NOUNS[field]} {agreed.pop()} ({alike}); {but}."
        if not near:
            yield f"{_nothing_near(found)}{'' if known else '; take the answer as a guess'}."

    def _but(self, field: str, said: set[str], denied: set[str], own: Iterable[str]) -> str:
        """In what the answer differs from the values ``own``; "" where it does not."""
        if said:
            spelling = {caseless(value): value for value in self.fields[field]}
            spelt = listed([spelling.get(one, one) for one in sorted(said)])
            return "" if _any_agree(said, own) else f"the answer says {spelt}"
        return "the answer denies it" if set(map(caseless, own)) <= denied else ""

    def _entry(self, rows: pd.DataFrame, identity: float = 1.0, near: bool = True) -> dict:
        places = {rna_id: self._places.get(rna_id, np.array([], int)) for rna_id in rows["rna_id"]}
        told = self._annotations.select(["text", "article_ids"])
        sentences = {rna_id: told.take(own).to_pylist() for rna_id, own in places.items()}
        ids = sorted(sentences, key=lambda rna_id: (not sentences[rna_id], rna_id))
        by_text = {s["text"]: s for rna_id in reversed(ids) for s in reversed(sentences[rna_id])}
        values = {f: [value for value in dict.fromkeys(rows[f]) if value] for f in CATEGORICAL}
        about = {"identity": identity, "near": near, "sentences": list(reversed(by_text.values()))}
        return {"rna_ids": ids, **values, **about}


def _table(run: str, stage: str, table: str, columns: list[str], **equal: str) -> pa.Table:
    folder = stage_folder(run, stage)
    if manifest_of(folder).get("status") != "finished":
        raise InputError(
            f"run {run} has no finished {stage}, whose table {table} retrieval reads; give the "
            f"command: {command(run, stage)}"
        )
    return tables.read_part(folder / f"{table}.parquet", table, columns, **equal)


def _evidence(statements: list[str], neighbours: list[dict]) -> dict:
    rounded = [one | {"identity": round(one["identity"], 4)} for one in neighbours]
    return {"about": HEADING, "statements": statements, "neighbours": rounded}


def _nothing_near(found: list[dict]) -> str:
    if not found:
        return "The sequence is of low complexity, and RNAs that are like it are so by chance"
    nearest = f"the nearest one is {percent(found[0]['identity'])} identical, which chance reaches"
    return f"No RNA of the training set is similar ({nearest})"


def _any_agree(some: Iterable[str], others: Iterable[str]) -> bool:
    return any(agree(one, other) for one in some for other in others)


def _owner(rna_id: str) -> str:
    """Whose fields those of an RNA are."""
    table = "RNAcentral" if re.match(r"URS[0-9A-F]{10}(_|$)", rna_id) else "The run's table"
    return "The generated world" if rna_id.startswith(WORLD_IDS) else table


def _named(rna_ids: Sequence[str]) -> str:
    """The first id; one that stands for no RNA of nature is called so."""
    return f"{rna_ids[0]}{' of a generated world' if rna_ids[0].startswith(WORLD_IDS) else ''}"


def _states(relation: str | None, sentence: dict) -> bool:
    return any(fact.relation == relation for fact in facts.facts_in(sentence["text"], True)[0])


def listed(values: Sequence[str], most: int = 3) -> str:
    """``("a", "b", "c", "d", "e")`` → ``"a, b, c and 2 more"``."""
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def percent(share: float) -> str:
    """``0.715`` → ``"72 %"``."""
    return f"{100 * share:.0f} %"


def describe(near: dict) -> list[str]:
    """A neighbour of the evidence, in parts: ``["R7 (72 % identical)", "tRNA", "Nova nova"]``."""
    named = _named(near["rna_ids"])
    chance = "" if near.get("near", True) else ", which chance reaches"
    fields = [near[name][0] for name in ("rna_type", "family", "species") if near.get(name)]
    return [f"{named} ({percent(near['identity'])} identical{chance})", *fields]
