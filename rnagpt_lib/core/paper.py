"""What the paper published, as data: its tables, training details and case studies.

Source: *RNA-GPT: Multimodal Generative System for RNA Sequence Understanding* (Xiao, Sun,
Jin, Wang; arXiv 2411.08900). Every value here is the paper's own and is shown under the
label ``paper``; nothing in this module was measured by this project, except for ``truth``
of the case studies, which follows from the sequences and from the ids.
"""

from dataclasses import dataclass

import pandas as pd

LABEL = "paper"
SEMANTIC = ("S_BERT", "S_Pub", "S_GPT")
ROUGE = ("rouge1", "rouge2", "rougeL")
PARTS = ("precision", "recall", "f1")

# source of the annotations -> model -> precision, recall, F1 of S_BERT, S_Pub and S_GPT
_SEMANTIC = {
    "AIS": {
        "vanilla": (0.7372, 0.7496, 0.7424, 0.5528, 0.5270, 0.5387, 0.5219, 0.5474, 0.5339),
        "MA": (0.6929, 0.8028, 0.7403, 0.6507, 0.6082, 0.6283, 0.6655, 0.6603, 0.6627),
        "IT": (0.8602, 0.8404, 0.8494, 0.7384, 0.7208, 0.7293, 0.7848, 0.7561, 0.7700),
    },
    "D&C": {
        "vanilla": (0.7612, 0.7654, 0.7625, 0.5498, 0.5512, 0.5501, 0.5479, 0.5649, 0.5561),
        "MA": (0.6884, 0.8187, 0.7466, 0.6201, 0.5830, 0.6005, 0.6676, 0.6602, 0.6637),
        "IT": (0.8620, 0.8623, 0.8609, 0.7173, 0.7161, 0.7165, 0.7568, 0.7554, 0.7560),
    },
}
_ROUGE = {
    "AIS": {
        "vanilla": (0.2364, 0.0935, 0.2037),
        "MA": (0.2239, 0.1364, 0.2091),
        "IT": (0.5031, 0.3667, 0.4747),
    },
    "D&C": {
        "vanilla": (0.2472, 0.0964, 0.2182),
        "MA": (0.0922, 0.0393, 0.0799),
        "IT": (0.4791, 0.2690, 0.4405),
    },
}
_TABLE = {("AIS", "S"): 1, ("AIS", "rouge"): 2, ("D&C", "S"): 3, ("D&C", "rouge"): 4}

# Section 3.1 and 3.3: entries with literature, those of them within the length limit, and pairs.
DATA = {
    "entries": 420_000,  # "about"
    "rnas": 407_616,
    "max_length": 1024,
    "pairs": 121_000,
    "pairs_per_rna": "5 to 14; 121K pairs for 5K RNAs are 24",
}
TRAINING = pd.DataFrame(
    [
        ("epochs", "10", "10"),
        ("batch per GPU", "1", "1"),
        ("optimiser", "AdamW, betas (0.9, 0.98), weight decay 0.05", "same"),
        ("learning rate", "linear from 1e-6 to 1e-4, then cosine to 8e-5", "same"),
        ("warm-up steps", "2,048", "200"),
        ("precision", "automatic mixed precision", "same"),
        ("hardware", "2 x A100 40 GB, one week for both stages", ""),
    ],
    columns=["paper", "stage 1 (MA)", "stage 2 (IT)"],
)


def scores() -> pd.DataFrame:
    """Tables 1 to 4 in long form: table, source, model, metric, value, label.

    >>> s = scores(); s[(s.table == 2) & (s.model == "IT") & (s.metric == "rouge1")].value.item()
    0.5031
    """
    metrics = [f"{scorer}.{part}" for scorer in SEMANTIC for part in PARTS]
    rows = [
        (_TABLE[source, group], source, model, metric, value, LABEL)
        for group, names, tables in (("S", metrics, _SEMANTIC), ("rouge", ROUGE, _ROUGE))
        for source, models in tables.items()
        for model, values in models.items()
        for metric, value in zip(names, values, strict=True)
    ]
    columns = ["table", "source", "model", "metric", "value", "label"]
    return pd.DataFrame(rows, columns=columns).sort_values(
        "table", kind="stable", ignore_index=True
    )


@dataclass(frozen=True)
class Exchange:
    """A question of the paper's chats, its model's answer in short, and what can be checked."""

    question: str
    answer: str = "(not quoted here)"
    truth: str = "The sequence alone cannot tell."


@dataclass(frozen=True)
class CaseStudy:
    """One RNA of the paper's figures 6 to 9. ``sequence`` is 5' to 3' in A, C, G, U."""

    rna_id: str
    sequence: str
    what: str
    exchanges: tuple[Exchange, ...]


_TYPE = "What type of RNA is the RNA?"
_FORMS = "What species does this RNA belong to and what are this RNA's various forms?"

CASE_STUDIES = (
    CaseStudy(
        "URS000000F6A7_645133",
        "GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUCAAGGUUGUGGGUUCGACCCGUAAGCCU",
        "tRNA, 65 nt; the anticodon loop CU-CUU-AA reads lysine codons",
        (
            Exchange(
                _TYPE,
                "a non-coding RNA (its MA model: a small nuclear RNA; its vanilla model: DNA)",
                "tRNA: it is non-coding, and the loop and the stems say which kind.",
            ),
            Exchange(
                _FORMS,
                "Plasmodium falciparum, tRNA-Phe",
                "tRNA-Lys by the anticodon CUU, not phenylalanine; taxid 645133 by the id, "
                "the sequence alone cannot tell the species.",
            ),
            Exchange(
                "What biological mechanisms does the RNA play a role in?",
                "regulation of gene expression, homeostasis",
                "Translation: a tRNA that brings lysine.",
            ),
        ),
    ),
    CaseStudy(
        "URS0000012D5F_15368",
        "GUUGCUGUGGUGUAGUGGUUAUCACGUCAGUCUUACACACUGAAGGUCUCCAGUUCGAUCCUGGGCAGCAACA",
        "tRNA, 73 nt; the anticodon loop CU-UAC-AC reads valine codons; taxid 15368 is "
        "Brachypodium distachyon",
        (
            Exchange(
                "What significance does mitochondrial ribosomal RNA (rRNA) have in relation "
                "to the RNA?",
                "protein synthesis, biotechnology",
                "It is a tRNA for valine; nothing in the sequence speaks of mitochondrial rRNA.",
            ),
            Exchange(
                "What methods are used to analyze the sequence and structural variations of "
                "the RNA?",
                "ambivalent covariance models, NMF",
            ),
        ),
    ),
    CaseStudy(
        "URS000006DA05_9925",
        "UGAAGUGCUGUGGAUUUCUUUGUGAAUCACCAUAUCUAAGCUAAUGUGGUGGUGGUUUACAAAGUAAUUCAUAGUGCUUCA",
        "pre-miRNA mir-876, 81 nt; taxid 9925 is goat, and at least five other mammals share "
        "the sequence",
        (
            Exchange("What diseases are associated with the RNA?"),
            Exchange("How is the RNA implicated in cholangiocarcinoma (CCA)?"),
            Exchange("What is the role of the RNA in CCA cell growth?"),
            Exchange("What is the role of circular RNAs (circRNAs) in relation to this RNA?"),
            Exchange("How does the knockdown of CDR1as affect gastric cancer (GC) cells?"),
            Exchange("How does the RNA function as a tumor suppressor in CCA treatment?"),
            Exchange("What impact does the RNA have on myotube area and fusion index in DM1?"),
            Exchange(
                _FORMS,
                "chimpanzee",
                "Not decidable: goat by the id, and other mammals have the identical sequence; "
                "the form is a pre-miRNA (mir-876).",
            ),
        ),
    ),
)


def case_studies() -> pd.DataFrame:
    """One row per exchange: rna_id, sequence, what, question, paper, sequence_says."""
    rows = [
        (case.rna_id, case.sequence, case.what, item.question, item.answer, item.truth)
        for case in CASE_STUDIES
        for item in case.exchanges
    ]
    columns = ["rna_id", "sequence", "what", "question", LABEL, "sequence_says"]
    return pd.DataFrame(rows, columns=columns)
