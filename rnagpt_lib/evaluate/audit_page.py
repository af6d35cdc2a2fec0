"""An audit as one page: findings in sentences, tables, figures; nothing outside of the file.

Everything comes from the audit's numbers. Whatever a data set brings (names, ids, answers) passes
`html.escape`; figures hold texts of our own alone, and the page forbids scripts and requests.
"""

from html import escape

from rnagpt_lib.evaluate import audit_figures
from rnagpt_lib.evaluate.audit import SIDES, STRATA
from rnagpt_lib.evaluate.audit_baselines import CLASSES, LEAST, NAMES
from rnagpt_lib.evaluate.audit_findings import findings, of, strata
from rnagpt_lib.evaluate.kmer_models import FITTED
from rnagpt_lib.report import page

METRICS = {
    "exact": "right word for word",
    "balanced": "the same, mean over the classes",
    "rougeL": "ROUGE-L",
}
SVG = "svg+xml"
COUNTS = {
    "records": "records (RNA, question, answer)",
    "rnas": "RNAs: distinct sequences, T read as U",
    "groups": "groups of similar RNAs",
    "questions": "distinct questions",
    "answers": "distinct answers",
    "repeated_records": "records that repeat an earlier one in full",
    "records_of_repeated_rnas": "records whose RNA stands in more than one",
    "contradicting_records": "records whose RNA has another answer to the same question, too",
    "rnas_with_relative": "RNAs with a relative on the same side",
    "rnas_with_ambiguous_letters": "RNAs with letters other than A, C, G, U or T",
}


def render(found: dict) -> str:
    """The page of an audit (`audit.audit`)."""
    names = " and ".join(found["files"][side]["name"] for side in SIDES)
    body = [
        "<h1>Audit of a data set</h1>",
        f"<p>Train and test: <b>{escape(names)}</b>. What the test side shares with the train "
        "side, and what it takes no language model to answer.</p>",
        "<h2>Findings</h2>",
        page.findings(findings(found)),
        *_scores(found),
        *_shared(found),
        *_counts(found),
        *_how(found),
    ]
    return page.document(f"Audit: {names}", body)


# --- sections


def _scores(found: dict) -> list[str]:
    parts = [
        "<h2>What needs no language model</h2>",
        "<p>Each answers the test questions from the train records alone. A model says something "
        "of its own where it is above all of these, on the same records.</p>",
        page.image(
            audit_figures.scores(found),
            SVG,
            "Scores of the baselines with 95 % bounds; the table has the numbers",
        ),
    ]
    for metric, title in METRICS.items():
        shown = strata(found, metric)
        if not shown:
            continue
        rows = [
            [NAMES[name], *(_bounded(of(found, name, stratum, metric)) for stratum in shown)]
            for name in NAMES
        ]
        sizes = [of(found, "floor.random", stratum, metric) for stratum in shown]
        header = [
            f"{STRATA[stratum]} (n = {row['records']:,} in {row['groups']:,} groups)"
            for stratum, row in zip(shown, sizes, strict=True)
        ]
        parts += [f"<h3>{title[0].upper()}{title[1:]}</h3>", page.table([title, *header], rows)]
    return parts


def _shared(found: dict) -> list[str]:
    between = found["between"]
    rnas, records = between["rnas"], between["records"]
    rows = [
        ["RNA letter by letter", _share(between["rnas_in_train"], rnas)],
        ["RNA or a relative of it", _share(between["rnas_with_relative_in_train"], rnas)],
        *(
            [f"{name} of the record", _share(number, records)]
            for name, number in between["records_shared"].items()
        ),
        ["RNA and question, with another answer only",
         _share(between["records_contradicting_train"], records)],
    ]  # fmt: skip
    shown = [
        [
            e["test"],
            e["train"],
            f"{e['identity']:.0%}",
            f"{e['length']:,}",
            e["test_answer"],
            e["train_answer"],
        ]
        for e in found["examples"]
    ]
    header = [
        "test record",
        "train record",
        "identity end to end",
        "letters",
        "test answer",
        "train answer",
    ]
    return [
        "<h2>What test shares with train</h2>",
        page.table(["in train, too", "of test"], rows),
        *(
            ["<p>Some of these RNAs, the first of the file (all are in the JSON, "
             "<code>overlapping</code>):</p>", page.table(header, shown, numbers=(2, 3))]
            if shown
            else []
        ),
    ]  # fmt: skip


def _counts(found: dict) -> list[str]:
    rows = [
        [told, *(f"{found['within'][side][name]:,}" for side in SIDES)]
        for name, told in COUNTS.items()
    ]
    left = [[side, *record] for side in SIDES for record in found["files"][side]["left_out_first"]]
    number = sum(found["files"][side]["left_out"] for side in SIDES)
    return [
        "<h2>The two sides</h2>",
        page.table(["", *SIDES], rows),
        page.image(audit_figures.lengths(found), SVG, "How long the RNAs of both sides are"),
        *(
            [
                f"<h3>Records left out: {number:,}</h3>",
                page.table(["side", "record", "why"], left, numbers=()),
            ]
            if number
            else []
        ),
    ]


def _how(found: dict) -> list[str]:
    files = [
        [side, found["files"][side]["name"], found["files"][side]["read_as"],
         found["files"][side]["sha256"]]
        for side in SIDES
    ]  # fmt: skip
    return [
        "<h2>How this was counted</h2>",
        page.table(["side", "file", "read as", "sha256"], files, numbers=()),
        f'<p class="small">Sequences are compared in upper case, with U for T; other IUPAC letters '
        "stay, and match themselves alone. Two RNAs are relatives when an alignment spans "
        f"{found['coverage']:.0%} of the shorter one at {found['identity']:.0%} identity, gaps "
        "counted, and is better than chance allows (this tells on RNAs under about 45 letters); "
        "candidates are found by shared words, which loses a few of 100 that lie exactly at the "
        "border. A group is all that relatives of relatives join. Texts are compared without case "
        "and extra white space. Brackets hold 95 % bootstrap bounds over groups of similar RNAs. "
        "Questions that name one relation in two wordings known to this library count as one. The "
        f"regression chooses, for each question, among the {CLASSES} most common answers that were "
        f"given twice or more, is fitted to {FITTED:,} records at most, and was not tuned; where "
        f"fewer than {LEAST} records are left, the most common answer stands in.</p>",
    ]


# --- pieces


def _bounded(row: dict | None) -> str:
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if row else "–"


def _share(number: int, total: int) -> str:
    return f"{number:,} of {total:,} ({number / total:.1%})"
