"""The requests that a stage of a run would make, from the tables of the stages before it."""

from collections.abc import Iterable

import pandas as pd

from rnagpt_lib import qa_asked, summarize, tables
from rnagpt_lib.errors import InputError
from rnagpt_lib.llm import Request
from rnagpt_lib.profiles import Calls
from rnagpt_lib.stages import stage_folder

FILTER, TOPICS, SUMMARIZE, DECOMPOSE = (
    "00_filter_rnacentral", "01_explore_topics", "02_summarize", "03_decompose_qa",
)  # fmt: skip


def requests(run: str, stage: str, params: Calls) -> Iterable[Request]:
    """What ``stage`` of ``run`` would ask a language model; sends nothing.

    Raises InputError for a stage that asks none, and where a table of an earlier one is missing.
    """

    def read(stage: str, table: str) -> pd.DataFrame:
        return tables.read(stage_folder(run, stage) / f"{table}.parquet", table)

    if stage not in (SUMMARIZE, DECOMPOSE):
        raise InputError(f"{stage} asks no language model; {SUMMARIZE} and {DECOMPOSE} can")
    articles, links = read(FILTER, "articles"), read(FILTER, "links")
    if stage == SUMMARIZE:
        topics = read(TOPICS, "topics")
        return summarize.requests(read(FILTER, "rnas"), articles, links, topics, params)
    texts = read(SUMMARIZE, "annotations")
    own = texts[texts["source"] == params.source]
    return (qa_asked.request(one, params) for one in qa_asked.statements(own, articles, links))
