"""An audit as one page: findings in sentences, tables, figures; nothing outside of the file.

Everything comes from the audit's numbers. Whatever a data set brings (names, ids, answers) passes
`html.escape`; figures hold texts of our own alone, and the page forbids scripts and requests.
"""

import base64
import io
from collections.abc import Iterable
from html import escape

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rnagpt_lib.audit import SIDES, STRATA
from rnagpt_lib.audit_baselines import CLASSES, LEAST, NAMES
from rnagpt_lib.audit_findings import findings, of
from rnagpt_lib.kmer_models import FITTED
from rnagpt_lib.plots import COLOURS, STYLE

METRICS = {
    "exact": "right word for word",
    "balanced": "the same, mean over the classes",
    "rougeL": "ROUGE-L",
}
LOOKS = {  # stratum: colour and marker, told apart without colour, too
    "all": (COLOURS["IT"], "o"),
    "new": (COLOURS["floor.most_common"], "s"),
    "unrelated": (COLOURS["floor.nearest"], "D"),
}
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
NUMBER = ' class="n"'
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .7rem; text-align: left;
         vertical-align: top; }
td { overflow-wrap: anywhere; } td:first-child { min-width: 11rem; }
td.n { white-space: nowrap; } td.n, th.n { text-align: right; }
.findings li { margin: .5rem 0; } .small { color: #555; font-size: .9rem; }
img { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
"""


def render(found: dict) -> str:
    """The page of an audit (`audit.audit`)."""
    names = " and ".join(escape(found["files"][side]["name"]) for side in SIDES)
    body = [
        "<h1>Audit of a data set</h1>",
        f"<p>Train and test: <b>{names}</b>. What the test side shares with the train side, and "
        "what it takes no language model to answer.</p>",
        "<h2>Findings</h2>",
        f'<ul class="findings">{"".join(f"<li>{escape(said)}</li>" for said in findings(found))}'
        "</ul>",
        *_scores(found),
        *_shared(found),
        *_counts(found),
        *_how(found),
    ]
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit: {names}</title><style>{CSS}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(
        [*body, "</body></html>\n"]
    )


# --- sections


def _scores(found: dict) -> list[str]:
    parts = [
        "<h2>What needs no language model</h2>",
        "<p>Each answers the test questions from the train records alone. A model says something "
        "of its own where it is above all of these, on the same records.</p>",
        _image(_dots(found), "Scores of the baselines with 95 % bounds; the table has the numbers"),
    ]
    for metric, title in METRICS.items():
        strata = _strata(found, metric)
        if not strata:
            continue
        rows = [
            [NAMES[name], *(_bounded(of(found, name, stratum, metric)) for stratum in strata)]
            for name in NAMES
        ]
        sizes = [of(found, "floor.random", stratum, metric) for stratum in strata]
        header = [
            f"{STRATA[stratum]} (n = {row['records']:,} in {row['groups']:,} groups)"
            for stratum, row in zip(strata, sizes, strict=True)
        ]
        parts += [f"<h3>{title[0].upper()}{title[1:]}</h3>", _table([title, *header], rows)]
    return parts


def _strata(found: dict, metric: str) -> list[str]:
    """Strata that hold records, and not all of them once more."""
    rows = {name: of(found, "floor.random", name, metric) for name in STRATA}
    held = {name: row["records"] for name, row in rows.items() if row}
    return [name for name, n in held.items() if name == "all" or n < held["all"]]


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
        _table(["in train, too", "of test"], rows),
        *(
            ["<p>Some of these RNAs, the first of the file (all are in the JSON, "
             "<code>overlapping</code>):</p>", _table(header, shown, numbers=(2, 3))]
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
        _table(["", *SIDES], rows),
        _image(_lengths(found), "How long the RNAs of both sides are"),
        *(
            [
                f"<h3>Left out: {number:,} records</h3>",
                _table(["side", "record", "why"], left, numbers=()),
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
        _table(["side", "file", "read as", "sha256"], files, numbers=()),
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


def _table(header: list[str], rows: list[list[str]], numbers: Iterable[int] | None = None) -> str:
    """A table of texts, all escaped; columns of ``numbers`` stand to the right (None: all but the
    first)."""
    right = set(range(1, len(header)) if numbers is None else numbers)

    def line(cells: list[str], tag: str) -> str:
        made = (
            f"<{tag}{NUMBER if i in right else ''}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="wide"><table><thead>{line(header, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _bounded(row: dict | None) -> str:
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if row else "–"


def _share(number: int, total: int) -> str:
    return f"{number:,} of {total:,} ({number / total:.1%})"


def _image(figure: Figure, alt: str) -> str:
    held = io.BytesIO()
    with plt.rc_context(STYLE):
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    data = base64.b64encode(held.getvalue()).decode()
    return f'<p><img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}"></p>'


def _dots(found: dict) -> Figure:
    """Share of right answers of each baseline, by stratum."""
    shown = _strata(found, "exact")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8.5, 3.8))
        for number, stratum in enumerate(shown):
            colour, marker = LOOKS[stratum]
            shift = 0.22 * (number - (len(shown) - 1) / 2)
            rows = [of(found, name, stratum) for name in NAMES]
            value, low, high = ([row[key] for row in rows] for key in ("value", "low", "high"))
            errors = [[v - b for v, b in zip(value, low, strict=True)],
                      [b - v for v, b in zip(value, high, strict=True)]]  # fmt: skip
            axis.errorbar(value, [y + shift for y in range(len(rows))], xerr=errors, fmt=marker,
                          color=colour, markersize=5, capsize=2, label=STRATA[stratum])  # fmt: skip
        axis.set_yticks(range(len(NAMES)), NAMES.values())
        axis.set_ylim(len(NAMES) - 0.5, -0.5)
        axis.set(xlim=(-0.02, 1.02), xlabel="share of answers that are right word for word")
        axis.grid(axis="x", alpha=0.3)
        axis.legend(loc="upper center", bbox_to_anchor=(0.2, -0.14), ncols=3)
        figure.tight_layout()
        return figure


def _lengths(found: dict) -> Figure:
    """Which share of a side's RNAs is at most so long."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.5, 2.8))
        for side, colour, line in zip(
            SIDES, (COLOURS["IT"], COLOURS["floor.most_common"]), ("-", "--"), strict=True
        ):
            axis.plot(
                found["lengths"][side],
                [i / 100 for i in range(101)],
                line,
                color=colour,
                label=side,
                drawstyle="steps-post",
            )
        axis.set(xlabel="nucleotides", ylabel="share of RNAs up to this length", xscale="log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.legend()
        figure.tight_layout()
        return figure
