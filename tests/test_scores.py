"""Single answers' scores: equal to the libraries, and facts at their edges."""

import logging
import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import BertConfig, BertModel, BertTokenizer

from rnagpt_lib import scores
from rnagpt_lib.errors import InputError

WORDS = "the RNA rna binds HuR targets naïve β-actin 5S 28S-A1310 cells, running runs\nit. x".split(
    " "
)


def texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, 12))) for _ in range(n)]


def test_rouge_is_rouge_scores():
    predictions, references = texts(300, 1), texts(300, 2)
    predictions[7], references[8] = "", "…"
    scorer = RougeScorer(list(scores.ROUGE), use_stemmer=True)
    found = scores.rouge(predictions, references)
    for row, prediction, reference in zip(found.itertuples(), predictions, references, strict=True):
        expected = scorer.score(target=reference, prediction=prediction)
        for name in scores.ROUGE:
            assert getattr(row, name) == pytest.approx(expected[name].fmeasure, abs=1e-12)


def test_rouge_lsum_splits_at_newlines():
    found = scores.rouge(["a cat sat\nthe dog ran"], ["the dog ran\na cat sat"])
    assert found.rougeLsum[0] == 1 and found.rougeL[0] == 0.5


# --- BERTScore


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A random two-layer BERT over letters, as a folder."""
    folder = tmp_path_factory.mktemp("bert")
    letters = list("abcdefghijklmnopqrstuvwxyz.,0123456789")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=1.0,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


def naive_bertscore(folder, prediction: str, reference: str, layer: int) -> tuple:
    """Greedy matching, one text at a time: [CLS] and [SEP] may be matched but do not count."""
    tokenizer = BertTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder).eval()

    def vectors(text):
        ids = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**ids, output_hidden_states=True).hidden_states[layer][0]
        return torch.nn.functional.normalize(hidden, dim=-1)

    cosine = vectors(prediction) @ vectors(reference).T
    precision = cosine.max(1).values[1:-1].mean().item()
    recall = cosine.max(0).values[1:-1].mean().item()
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_bertscore_is_greedy_matching(bert, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    scorer = scores.Semantic("tiny", bert, 2, "f" * 64)
    predictions = ["the rna is a trna.", "it binds hur", "", "word " * 200, "same", "same"]
    references = ["the rna is a snorna.", "it binds la.", "text", "other", "same", "  "]
    found = scorer.score(predictions, references)
    assert list(found) == ["S_tiny.precision", "S_tiny.recall", "S_tiny.f1"]
    for row in (0, 1, 3, 4):
        expected = naive_bertscore(bert, predictions[row], references[row], 2)
        assert found.iloc[row].tolist() == pytest.approx(expected, abs=1e-5)
    assert (found.iloc[[2, 5]] == 0).all(axis=None)
    assert scorer.definition["empty_texts"] == 2 and scorer.definition["cut_texts"] == 1
    assert scorer.definition["bert_score"].startswith("tiny_L2_no-idf")
    assert str(bert) not in str(scorer.definition)
    assert not caplog.text, "texts that are cut are counted, and no warning stands in a notebook"


def test_a_score_does_not_depend_on_the_other_texts(bert):
    scorer = scores.Semantic("tiny", bert, 3, "f" * 64)
    predictions, references = texts(60, 3), texts(60, 4)
    together = scorer.score(predictions, references)
    alone = scorer.score(predictions[5:6], references[5:6])
    np.testing.assert_allclose(together.iloc[5], alone.iloc[0], atol=1e-5)


def test_semantic_scorers_are_absent_unknown_or_the_pinned_one(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="MiniLM"):
        scores.semantic("BERT")
    monkeypatch.setitem(scores.SEMANTIC, "MiniLM", ("no_such_package", 6, "0"))
    assert scores.semantic("MiniLM") is None
    package = tmp_path / "fake_scorer"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(scores.SEMANTIC, "MiniLM", ("fake_scorer", 6, "0" * 64))
    with pytest.raises(InputError, match="sha256"):
        scores.semantic("MiniLM")


def test_minilm_tells_right_from_wrong():
    scorer = scores.semantic("MiniLM")
    reference = "The RNA is associated with glioma."
    found = scorer.score([reference, "The RNA is associated with asthma."], [reference] * 2)
    assert found["S_MiniLM.f1"][0] == pytest.approx(1, abs=1e-5)
    assert found["S_MiniLM.f1"][1] < 0.9


# --- facts

DISEASE = "Which disease is the RNA associated with?"
SITE = "Which site does the RNA guide?"
KNOWN = {
    "disease": ["glioma", "lymphoma", "Hodgkin lymphoma"],
    "site": ["A27", "A271", "U34"],
    "rna_type": ["tRNA", "C_D_box_snoRNA"],
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is linked to GLIOMA.", {"glioma"}),
        ("Hodgkin lymphoma", {"hodgkin lymphoma"}),
        ("lymphoma, Hodgkin lymphoma", {"lymphoma", "hodgkin lymphoma"}),
        ("non-glioma tissue and gliomas", set()),
        ("glioma-like", set()),
        ("(glioma)", {"glioma"}),
        ("", set()),
    ],
)
def test_named_takes_whole_words_longest_first(text, found):
    assert scores.named(text, KNOWN["disease"]) == found


def test_named_does_not_find_a_site_in_a_longer_one():
    assert scores.named("The RNA guides A271.", KNOWN["site"]) == {"a271"}
    assert scores.named("any", []) == set()


def row(question, reference, entity, kind="literature", form="open", decidable=True, relation=None):
    relation = relation or scores.relations.relation_of(question)
    return SimpleNamespace(
        question=question,
        reference=reference,
        entity=entity,
        kind=kind,
        form=form,
        decidable=decidable,
        relation=relation,
    )


@pytest.mark.parametrize(
    ("prediction", "value"),
    [
        ("The RNA is associated with glioma.", 1.0),
        ("glioma", 1.0),
        ("The RNA is associated with glioma and lymphoma.", 0.0),
        ("The RNA is associated with lymphoma.", 0.0),
        ("", 0.0),
    ],
)
def test_open_facts_want_the_entity_and_no_other(prediction, value):
    asked = row(DISEASE, "The RNA is associated with glioma.", "glioma")
    assert scores.fact(asked, prediction, KNOWN) == ("fact.literature", value)


def test_none_is_a_fact_of_its_own():
    nothing = scores.relations.RELATIONS["site"].nothing
    asked = row(SITE, nothing, "none", kind="local")
    assert scores.fact(asked, nothing, KNOWN) == ("fact.local", 1.0)
    wrong = "The RNA guides the modification of A27."
    assert scores.fact(asked, wrong, KNOWN) == ("fact.local", 0.0)
    lost = row(SITE, wrong, "A27", kind="local")
    assert scores.fact(lost, nothing, KNOWN) == ("fact.local", 0.0)


def test_abstention_is_scored_where_nothing_can_be_known():
    unknown = scores.relations.RELATIONS["disease"].unknown
    held_out = row(DISEASE, "The RNA is associated with glioma.", "glioma", decidable=False)
    assert scores.fact(held_out, unknown, KNOWN) == ("fact.abstention", 1.0)
    assert scores.fact(held_out, "The RNA is associated with glioma.", KNOWN)[1] == 0.0
    says_so = row(DISEASE, unknown, "unknown")
    assert scores.fact(says_so, unknown, KNOWN) == ("fact.abstention", 1.0)
    assert scores.fact(says_so, "It is not known, perhaps glioma.", KNOWN)[1] == 0.0
    assert scores.fact(says_so, "", KNOWN)[1] == 0.0


def test_questions_with_several_answers_are_not_facts():
    assert scores.fact(row(DISEASE, "… glioma and lymphoma.", None), "glioma", KNOWN) is None


def test_species_is_scored_but_apart():
    asked = row("What species does this RNA belong to?", "…", "Homo", "species", decidable=False)
    assert scores.fact(asked, "The RNA belongs to the species Homo.", {})[0] == "fact.species"


@pytest.mark.parametrize(
    ("text", "word"),
    [("Yes, it is.", "yes"), (" no", "no"), ("Not so", None), ("Nothing", None), ("", None)],
)
def test_yes_and_no_are_first_words(text, word):
    assert scores.yes_or_no(text) == word


def test_closed_facts():
    question = "Is the RNA associated with glioma?"
    asked = row(question, "Yes, the RNA is associated with glioma.", "yes", form="closed")
    assert scores.fact(asked, "Yes.", KNOWN) == ("fact.closed", 1.0)
    assert scores.fact(asked, "The RNA is associated with glioma.", KNOWN)[1] == 0.0
    undecidable = row(question, "Yes.", "yes", form="closed", decidable=False)
    assert scores.fact(undecidable, "Yes.", KNOWN) is None


def test_lexicon_holds_what_open_references_name():
    pairs = pd.DataFrame(
        [
            (DISEASE, "The RNA is associated with glioma and asthma.", "open"),
            ("What disease is the RNA linked to?", "The RNA is associated with sepsis.", "open"),
            (DISEASE, scores.relations.RELATIONS["disease"].unknown, "open"),
            ("Is the RNA associated with anemia?", "No, …", "closed"),
            ("Why?", "Because.", "open"),
        ],
        columns=["question", "answer", "form"],
    )
    assert scores.lexicon(pairs) == {"disease": ["asthma", "glioma", "sepsis"]}
