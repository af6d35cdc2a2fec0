"""Six RNAs with their pairs, as rows: for tests of questions, baselines, scores."""

import pandas as pd

from rnagpt_lib.curate.questions.question_templates import RELATIONS

TYPE, DISEASE = RELATIONS["rna_type"], RELATIONS["disease"]


def rna(number, sequence, rna_type, family, split):
    return {
        "rna_id": f"R{number}",
        "sequence": sequence,
        "rna_type": rna_type,
        "family": family,
        "unit": f"U{number}",
        "split": split,
    }


def two_pairs(number, rna_type, disease, wording=0):
    """Open questions in one of two wordings, and a closed one."""
    entries = [
        ("rna_type", "open", TYPE.questions[wording], TYPE.say([rna_type])),
        ("literature", "open", DISEASE.questions[wording], DISEASE.say([disease])),
        ("literature", "closed", DISEASE.closed.format("glioma"),
         DISEASE.confirm("glioma", disease == "glioma")),
    ]  # fmt: skip
    return [
        {"pair_id": f"P{number}{i}", "rna_id": f"R{number}", "source": "dnc", "kind": kind,
         "form": form, "question": question, "answer": answer}
        for i, (kind, form, question, answer) in enumerate(entries)
    ]  # fmt: skip


A, C = "AAGAAAGAAAAGAAAGAA", "CCUCCCUCCCUCCCCUCCCCUCCCUCCCCU"
RNAS = [
    rna(0, A, "tRNA", "f1", "train"),
    rna(1, C, "snRNA", "f2", "train"),
    rna(2, C[:29], "snRNA", "f2", "train"),
    rna(3, A[1:] + "AAAGAAAAGAAAG", "tRNA", "f1", "test"),  # like R0, as long as R1
    rna(4, C[3:] + "CU", "snRNA", "f9", "test"),
    rna(5, "GUGUGAGUGUGUGACGUGU", "", "", "test") | {"rna_id": "MINI-R000005"},
]
FACTS = [("tRNA", "glioma", 1), ("snRNA", "asthma", 0), ("snRNA", "asthma", 0), ("tRNA", "glioma", 0),
         ("snRNA", "sepsis", 1)]  # fmt: skip


def pairs_of() -> pd.DataFrame:
    return pd.DataFrame([row for n, fact in enumerate(FACTS) for row in two_pairs(n, *fact)])
