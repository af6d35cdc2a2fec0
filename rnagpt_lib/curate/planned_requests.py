"""The requests that a stage of a run would make, from the tables of the stages before it."""

from collections.abc import Iterable

import pandas as pd

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Calls, Summarize
from rnagpt_lib.curate.questions import qa_llm
from rnagpt_lib.curate.summaries import summarize, summary_strategies
from rnagpt_lib.llm_api.client import Request
from rnagpt_lib.runs.stages import stage_folder

FILTER, TOPICS, SUMMARIZE, DECOMPOSE = (
    "00_filter_rnacentral", "01_explore_topics", "02_summarize", "03_decompose_qa",
)  # fmt: skip


def requests(run: str, stage: str, params: Calls, seed: int = 0) -> Iterable[Request]:
    """What ``stage`` of ``run`` would ask a language model; sends nothing.

    Before 02 has run, those of 03 are a guess, and a printed line says so. Raises InputError for
    a stage that asks none, and where a table of an earlier one is missing.
    """

    def read(stage: str, table: str) -> pd.DataFrame:
        return tables.read(stage_folder(run, stage) / f"{table}.parquet", table)

    if stage not in (SUMMARIZE, DECOMPOSE):
        raise InputError(f"{stage} asks no language model; {SUMMARIZE} and {DECOMPOSE} can")
    articles, links = read(FILTER, "articles"), read(FILTER, "links")
    if stage == SUMMARIZE:
        topics = read(TOPICS, "topics")
        compared = summary_strategies.sample(topics, params.arms_sample, seed)
        rnas = read(FILTER, "rnas")
        return summarize.requests(rnas, articles, links, topics, params, {*compared}, seed)
    if (stage_folder(run, SUMMARIZE) / "annotations.parquet").is_file():
        texts = read(SUMMARIZE, "annotations")
    else:
        texts = _guessed(links, params.source)
    own = texts[texts["source"] == params.source]
    return (qa_llm.request(one, params) for one in qa_llm.Annotated(own, articles, links))


def _guessed(links: pd.DataFrame, source: str) -> pd.DataFrame:
    """An annotation of the greatest length for each RNA with abstracts."""
    words = Summarize().words
    print(
        f"A guess, as {SUMMARIZE} has not run yet: annotations of {words} words for all RNAs with "
        "abstracts"
    )
    rows = [
        {"rna_id": rna_id, "source": source, "sentence_no": 0, "article_ids": [],
         "text": f"{rna_id} " + "word " * words}
        for rna_id in links["rna_id"].unique()
    ]  # fmt: skip
    return tables.frame("annotations", rows)
