"""What an update costs: the calls that 1 % new articles repeat, of summaries and pairs.

The world's literature, less 1 % of the articles, goes through topics, summaries and pairs with
the stand-in model; then the whole of it, from the same journal. Rows: ``{name, calls, repeated,
share, low, high, rnas, touched, articles, new, note}``, medians over draws of the new articles.
"""

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks._page import page_of, publish, results_of
from benchmarks._runs import own_runs
from rnagpt_lib.core.files import write_json
from rnagpt_lib.core.params import Decompose, Summarize, Topics
from rnagpt_lib.curate.questions import qa_rules
from rnagpt_lib.curate.summaries import summarize
from rnagpt_lib.curate.topics.topics import find
from rnagpt_lib.miniature import world
from rnagpt_lib.report import readme
from tests.standin.answers import Model, talking
from tests.standin.openai_api import OpenAI

RESULTS = results_of("updates")
PAGE = page_of("scale")
RNAS, DRAWS, NEW = 200, 5, 0.01
PARAMS = Topics()


def main() -> None:
    """Measure all draws and write the rows."""
    data = world.make(RNAS, 0)
    found = pd.DataFrame([row for draw in range(DRAWS) for row in drawn(data, draw)])
    rows = [_row(name, own) for name, own in found.groupby("name", sort=False)]
    write_json(RESULTS, rows)
    publish(PAGE, "updates", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    rows = json.loads(RESULTS.read_text("utf-8"))
    return readme.markdown(pd.DataFrame([_cells(row) for row in rows]).set_index("groups"))


def _cells(row: dict) -> dict:
    spread = f"{row['share']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
    return {
        "groups": row["name"].removeprefix("groups "),
        "calls repeated": f"{row['repeated']:.0f} of {row['calls']:.0f}: {spread}",
        "new articles": f"{row['new']:.0f} of {row['articles']:.0f}",
        "RNAs that they are about": f"{row['touched']:.0f} of {row['rnas']:.0f}",
        "note": row["note"],
    }


def drawn(data: world.World, draw: int) -> Iterator[dict]:
    """One draw of new articles: the groups kept, then found anew, each from a journal of its own."""
    ids = sorted(data.articles.article_id)
    new = set(np.random.default_rng(draw).choice(ids, round(NEW * len(ids)), replace=False))
    articles = data.articles[~data.articles.article_id.isin(new)]
    links = data.links[~data.links.article_id.isin(new)]
    before = find(data.rnas, articles, links, PARAMS, 0)
    for name, earlier in (("groups kept", before), ("groups found anew", None)):
        app = OpenAI(answer=Model())
        with own_runs(), talking(app) as settings:
            _asked(data.rnas, articles, links, before, settings)
            calls = app.completions
            topics = find(data.rnas, data.articles, data.links, PARAMS, 0, earlier=earlier)
            _asked(data.rnas, data.articles, data.links, topics, settings)
        touched = data.links[data.links.article_id.isin(new)].rna_id.nunique()
        repeated = app.completions - calls
        yield {"name": name, "calls": calls, "repeated": repeated, "share": repeated / calls,
               "rnas": data.links.rna_id.nunique(), "touched": touched, "articles": len(ids),
               "new": len(new)}  # fmt: skip


def _asked(
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    topics: pd.DataFrame,
    settings: dict,
) -> None:
    """Summaries by divide and conquer, then pairs."""
    params = Summarize(**settings), Decompose(**settings)
    made = summarize.summarize(rnas, articles, links, topics, params[0], arms=("dnc",))
    qa_rules.pairs(rnas, made.annotations, articles, links, params[1])


def _row(name: str, draws: pd.DataFrame) -> dict:
    middle = draws.drop(columns="name").median().round(4).to_dict()
    spread = {"low": round(draws.share.min(), 4), "high": round(draws.share.max(), 4)}
    note = f"{len(draws)} draws; low and high are the least and the largest share"
    return {"name": name} | middle | spread | {"note": note}
