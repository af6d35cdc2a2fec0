"""Entities of real texts: spellings have one name, what is none is left, figures are measured."""

import json
import random

import pytest

from benchmarks.science import dictionary as measured
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json
from rnagpt_lib.evaluate.entities import KINDS, find, mentions

SPELLINGS = [
    "miR-21, MiR-21, mir 21, miR21, MIR21, microRNA-21, MicroRNA-21, hsa-miR-21",
    "let-7a, Let-7a, hsa-let-7a",
    "miRNA, miRNAs, microRNAs, MicroRNA, micro RNA, miR, miRs",
    "pre-miRNA, pre_miRNA, pre-microRNAs",
    "lncRNA, long non-coding RNAs, long noncoding RNA, lincRNA",
    "colorectal cancer, Colorectal Cancers, CRC",
    "colon tumour, colon tumors",
    "EMT, epithelial-mesenchymal transition, Epithelial to mesenchymal transition",
    "drug resistance, Drug-resistance, chemoresistance, chemo-resistance",
    "5-FU, 5-fluorouracil, 5FU",
    "PDCD4, Pdcd4, programmed cell death 4",
    "AIDS",
    "diabetes, Diabetes",
]


def test_spellings_of_one_thing_have_one_name():
    for spellings in SPELLINGS:
        names = [find(spelling) for spelling in spellings.split(", ")]
        assert all(len(name) == 1 for name in names), spellings
        assert len(set(map(frozenset, names))) == 1, spellings


def test_what_is_an_entity_and_what_is_none():
    for text, found in {
        "miR-21 and miR-210": {"mir-21", "mir-210"},
        "miR-145, -143 and -26a/-107": {"mir-145", "mir-143", "mir-26a", "mir-107"},
        "miR-21-5p, 20 patients": {"mir-21-5p"},
        "pancreatic cancer (PC); PC cells": {"pancreatic cancer"},
        "PC cells": set(),  # of itself it may be anything
        "non-small cell lung cancer": {"non-small cell lung cancer"},
        "Crohn's disease, Alzheimer’s disease": {"crohn's disease", "alzheimer's disease"},
        "cancer, tumours, carcinoma and disease in stage T2 N0 M1": set(),
        "HCT116, HT-29, SW480 and MCF-7 cells, GSE12345, P < 0.05": set(),
        "the prognosis and diagnosis of patients": set(),
        "KRAS-driven, PTEN/AKT, TGF-β1": {"kras", "pten", "akt", "tgf-β1"},
        "": set(),
    }.items():
        assert find(text) == found


def test_mentions_lie_in_the_text_in_order_and_apart():
    pieces = "miR-21|PTEN|colorectal cancer (CRC)|EMT|cell|and|, |-143|(|5-FU".split("|")
    draw = random.Random(0)
    for _ in range(200):
        text = " ".join(draw.choices(pieces, k=8))
        found = mentions(text)
        assert all(0 <= m.start < m.end <= len(text) and m.name for m in found)
        assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
        assert {m.kind for m in found} <= set(KINDS)


def test_the_kept_figures_are_those_of_the_dictionary_of_today(shared):
    assert measured.measure() == read_json(measured.RESULTS)


def test_labels_hold_no_text():
    labels = [json.loads(line) for line in measured.LABELS.read_text("utf-8").splitlines()]
    assert len(labels) == 100 == len({label["sentence"] for label in labels})
    for label in labels:
        assert set(label) == {"article_id", "sentence", "spans"}
        assert label["article_id"].isdigit() and len(label["sentence"]) == 16
        spans = [tuple(span) for span in label["spans"]]
        assert spans == sorted(spans) and {kind for *_, kind in spans} <= set(KINDS)
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_labels_of_another_version_of_an_abstract_are_refused(shared, tmp_path, monkeypatch):
    label = json.loads(measured.LABELS.read_text("utf-8").splitlines()[0])
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(label | {"sentence": "0" * 16}) + "\n", "utf-8")
    monkeypatch.setattr(measured, "LABELS", path)
    with pytest.raises(InputError, match=f"article {label['article_id']}.*no sentence 0000"):
        measured.measure()


def test_without_the_abstracts_the_measurement_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RNAGPT_SHARED", str(tmp_path))
    with pytest.raises(InputError, match="the real data are missing"):
        measured.measure()


def test_counts_of_one_sentence():
    wanted = [(0, 4, "disease"), (5, 8, "disease")]
    for found, same, overlapping in (
        ([(0, 4, "disease")], (1, 1, 1, 2), (1, 1, 1, 2)),
        ([(0, 9, "disease")], (0, 1, 0, 2), (1, 1, 2, 2)),  # over both labels
        ([(0, 2, "disease"), (2, 4, "disease")], (0, 2, 0, 2), (2, 2, 1, 2)),
        ([(0, 4, "process"), (9, 12, "disease")], (0, 2, 0, 2), (0, 2, 0, 2)),
        ([], (0, 0, 0, 2), (0, 0, 0, 2)),
    ):
        assert measured.count(wanted, found, "same span") == same
        assert measured.count(wanted, found, "overlapping") == overlapping
