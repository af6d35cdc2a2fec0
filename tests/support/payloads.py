"""Twenty texts that would run a script where a page takes them for more than text.

Each sets ``window.PWNED`` if it runs. They stand wherever foreign text can: FASTA headers, ids,
fields and annotations of a run's tables, questions, answers.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rnagpt_lib.chat.session import Session, Turn
from rnagpt_lib.runs import stages

SET = "window.PWNED=1"
PAYLOADS = (
    f"<script>{SET}</script>",
    f"<ScRiPt src=data:text/javascript,{SET}></sCrIpT>",
    f"<img src=x onerror={SET}>",
    f"<svg onload={SET}>",
    f"<svg><animate onbegin={SET} attributeName=x dur=1s>",
    f'"><body onload={SET}>',
    f"' autofocus onfocus={SET} x='",
    f'" onmouseover="{SET}" style="position:fixed;inset:0',
    f"</textarea><script>{SET}</script>",
    f"</option></select><img src=x onerror={SET}>",
    f"</style><script>{SET}</script><style>",
    f"<style>@import 'data:text/css,*{{}}'</style><img src=x onerror={SET}>",
    f'<iframe srcdoc="<script>parent.{SET[7:]}</script>"></iframe>',
    f'<iframe src="javascript:parent.{SET[7:]}"></iframe>',
    f"[click](javascript:{SET}) <a href=javascript:{SET}>click</a>",
    f'![x](x" onerror="{SET}) <details open ontoggle={SET}>',
    f"$\\href{{javascript:{SET}}}{{x}}$ $$\\unicode{{x3c}}img src=x onerror={SET}$$",
    f"{{{{constructor.constructor('{SET}')()}}}} ${{{SET}}} <%= {SET} %>",
    f"\\u003cimg src=x onerror={SET}\\u003e &lt;img src=x onerror={SET}&gt; &#60;script&#62;{SET}",
    f"\x1b[31m\x1b]8;;javascript:{SET}\x07x\x1b]8;;\x07\u202e<math><mi//xlink:href=javascript:{SET}>",
)
SEQUENCE = "GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUCAAGGUUGUGGGUUCGACCCGUAAGCCU"


PARROT = (  # cells of a notebook
    "from rnagpt_lib.chat import notebook_box\nfrom tests.support.payloads import Parrot",
    "notebook_box.Session = Parrot",
    "notebook_box.chat_box('spoilt')",
)


class Parrot(Session):
    """A conversation whose model says letter by letter what it was asked."""

    def stream(self, question: str) -> Iterator[str]:
        yield from question
        self.turns.append(Turn(question, question, len(question), "eos"))


def fasta() -> str:
    """A record for each payload, as its description and, without white space, as its id."""
    records = []
    for number, payload in enumerate(PAYLOADS):
        sequence = SEQUENCE[number:] + "ACGU"[: number % 4]
        records.append(f">{number}{''.join(payload.split())} {payload}\n{sequence}\n")
        records.append(f">x{number}{payload} {payload}\nMKLV\n")  # refused
    return "".join(records)


def spoil(run: str) -> None:
    """Payloads in every text of a run's tables that stands beside an answer or is suggested."""
    _change(run, "03_decompose_qa", "rnas", ("rna_type", "species", "family", "description"))
    _change(run, "03_decompose_qa", "pairs", ("question", "answer"))
    _change(run, "02_summarize", "annotations", ("text",))


def _change(run: str, stage: str, table: str, columns: tuple[str, ...]) -> None:
    path: Path = stages.stage_folder(run, stage) / f"{table}.parquet"
    frame = pd.read_parquet(path)
    for shift, column in enumerate(columns):
        said = [PAYLOADS[(row + shift) % len(PAYLOADS)] for row in range(len(frame))]
        frame[column] = said
    frame.to_parquet(path, index=False)
