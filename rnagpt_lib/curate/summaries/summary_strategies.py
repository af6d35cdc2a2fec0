"""Does divide and conquer keep more detail? The paper claims it and never measures it.

The same RNAs at the same word budget by topic groups (``dnc``), groups of these sizes at random or by
year, and in a single pass. The unit is the RNA: differences and their bounds are paired.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.core.params import Summarize
from rnagpt_lib.curate.summaries.divide_and_conquer import ARMS
from rnagpt_lib.curate.summaries.summarize import SOURCES, summarize

CLASSES = {"1-3": 3, "4-7": 7, "8-15": 15, "16-40": 40, ">40": np.inf}  # articles of an RNA
FACTS = ["facts kept", "facts per 100 words"]
MEASURES = ["words", *FACTS, "topics covered", "citations valid", "tokens", "micro-dollars"]


def compare(
    annotations: pd.DataFrame, links: pd.DataFrame, truth: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The sources side by side, one row each: size, share of the linked articles that is cited.

    With ``truth`` (rna_id, entity) also the share of its named entities that an RNA's annotation
    holds, and how many of them in 100 words.
    """
    rows = {}
    for source, lines in annotations.groupby("source"):
        words, number = lines["text"].str.split().str.len().sum(), lines["rna_id"].nunique()
        cited = lines[["rna_id", "article_ids"]].explode("article_ids").dropna()
        linked = links["rna_id"].isin(lines["rna_id"]).sum()
        rows[source] = {"RNAs": number, "sentences per RNA": len(lines) / number}
        rows[source] |= {"words per RNA": words / number}
        rows[source] |= {"articles cited": len(cited.drop_duplicates()) / max(linked, 1)}
        if truth is not None:
            kept = find_facts(lines, truth)["kept"]
            facts = kept.mean(), 100 * kept.sum() / words
            rows[source] |= dict(zip(FACTS, facts, strict=True))
    return pd.DataFrame.from_dict(rows, orient="index").astype(float).round(3)


def find_facts(lines: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """[rna_id, kept]: for each named entity of the annotated RNAs, whether the text holds it."""
    texts = lines.groupby("rna_id")["text"].agg(" ".join).str.lower()
    named = truth[~truth["entity"].isin(["unknown", "none"]) & truth["rna_id"].isin(texts.index)]
    pairs = zip(named["rna_id"], named["entity"].str.lower(), strict=True)
    held = [bool(re.search(rf"\b{re.escape(entity)}\b", texts[rna_id])) for rna_id, entity in pairs]
    return pd.DataFrame({"rna_id": named["rna_id"].to_numpy(), "kept": held}).astype({"kept": bool})


def describe_division(articles: pd.DataFrame, topics: pd.DataFrame) -> pd.DataFrame:
    """Where there is something to divide: by number of articles (and in all) the RNAs, the share
    of them with more than one topic, and the share of the abstracts' words that these hold. Empty
    without abstracts."""
    words = articles.set_index("article_id")["abstract"].str.split().str.len()
    of_each = topics["article_id"].map(words).astype(float)  # without abstracts it is one of texts
    table = topics.assign(words=of_each).groupby("rna_id").agg(
        articles=("article_id", "size"), topics=("topic", "nunique"), words=("words", "sum")
    )  # fmt: skip
    several = table["topics"] > 1
    counts = table[["words"]].assign(RNAs=1, divided=several, kept=table["words"] * several)
    sums = counts.groupby(classify(table["articles"]), observed=True).sum()
    sums.loc["all"] = sums.sum()
    shares = {"RNAs divided": sums.divided / sums.RNAs, "words divided": sums.kept / sums.words}
    return sums[["RNAs"]].assign(**shares).rename_axis("articles")[sums["RNAs"] > 0]


def classify(counts: pd.Series) -> pd.Series:
    """The class of `CLASSES` that a number of articles is in."""
    return pd.cut(counts, [0, *CLASSES.values()], labels=list(CLASSES)).astype(
        pd.CategoricalDtype([*CLASSES, "all"], ordered=True)
    )


def measure(
    chosen: Sequence[str],
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    topics: pd.DataFrame,
    params: Summarize,
    seed: int,
    truth: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row for each of the chosen RNAs and arm: [rna_id, arm, articles, `MEASURES`], and what
    a chat model took for the arms that are no source of their own.

    All arms are made here (a journal answers what it knows). Given texts stand as ``litsumm``; where
    none cites an article, the share of valid citations is NaN.
    """
    rnas, links, topics = (t[t["rna_id"].isin(chosen)] for t in (rnas, links, topics))
    made = summarize(rnas, articles, links, topics, params, ARMS, seed)
    texts = made.annotations.replace({"source": {"given": "litsumm"}})
    arms = [*ARMS, "litsumm"] if params.given else ARMS
    rows = [_measure_arm(texts[texts["source"] == arm], links, topics, truth) for arm in arms]
    table = pd.concat(rows, keys=arms, names=["arm", "rna_id"]).reset_index()
    if len(made.usage):
        table = _add_usage(table, made.usage)
    counts = links.groupby("rna_id").size()
    table = table.assign(articles=classify(table["rna_id"].map(counts)))
    return table, made.usage[~made.usage["source"].isin(SOURCES)]


def _measure_arm(
    lines: pd.DataFrame, links: pd.DataFrame, topics: pd.DataFrame, truth: pd.DataFrame | None
) -> pd.DataFrame:
    """One arm's measures by RNA; an RNA without an annotation has no words and keeps nothing."""
    cited = lines[["rna_id", "article_ids"]].explode("article_ids").dropna()
    cited = cited.rename(columns={"article_ids": "article_id"}).drop_duplicates()
    everyone = topics.groupby("rna_id")["topic"].nunique()
    found = cited.merge(topics, on=["rna_id", "article_id"]).groupby("rna_id")["topic"].nunique()
    linked = lines.explode("article_ids").merge(
        links, left_on=["rna_id", "article_ids"], right_on=["rna_id", "article_id"]
    )  # fmt: skip
    good = linked.groupby("rna_id")["sentence_no"].nunique()
    good = good.reindex(lines["rna_id"].unique(), fill_value=0) / lines.groupby("rna_id").size()
    words = lines["text"].str.split().str.len().groupby(lines["rna_id"]).sum()
    table = pd.DataFrame({"words": words, "topics covered": found / everyone}, everyone.index)
    table = table.fillna(0.0).assign(**{"citations valid": good if len(cited) else np.nan})
    if truth is not None:
        known = truth[truth["rna_id"].isin(everyone.index)]
        total = known[~known["entity"].isin(["unknown", "none"])].groupby("rna_id").size()
        kept = find_facts(lines, truth).groupby("rna_id")["kept"].sum().reindex(total.index)
        table["facts kept"] = kept.fillna(0) / total
        table["facts per 100 words"] = 100 * kept.fillna(0) / table["words"].clip(lower=1)
    return table


def _add_usage(table: pd.DataFrame, usage: pd.DataFrame) -> pd.DataFrame:
    """With tokens, money and the share of a model's first sentences without a fault."""
    names = {"source": "arm", "microdollars": "micro-dollars"}
    used = usage.rename(columns=names).assign(
        tokens=usage["tokens_in"] + usage["tokens_out"],
        share=usage["valid"] / usage["first"].clip(lower=1),
    )
    used = used[["rna_id", "arm", "tokens", "micro-dollars", "share"]]
    table = table.merge(used, on=["rna_id", "arm"], how="left")
    valid = table["share"].combine_first(table["citations valid"])
    return table.assign(**{"citations valid": valid}).drop(columns="share")


def average(table: pd.DataFrame) -> pd.DataFrame:
    """The mean of every measure over RNAs, one row for each arm."""
    there = [name for name in MEASURES if name in table]
    return table.groupby("arm", sort=False)[there].mean()


def as_metrics(means: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What was measured, row by row: a text that cites nothing has no share of valid citations,
    and one that is given took no tokens."""
    return {name: own.dropna().to_dict() for name, own in means.iterrows()}


def differences(table: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """``dnc`` - each other arm: [measure, arm, articles, value, low, high, RNAs].

    By class of the number of articles and in all, if it has two RNAs; 95 % bounds over RNAs, paired.
    """
    rows = []
    for measure in (name for name in MEASURES if name in table):
        wide = table.pivot(index="rna_id", columns="arm", values=measure)
        where = table.groupby("rna_id")["articles"].first()
        for arm in (arm for arm in wide if arm != "dnc"):
            gap = (wide["dnc"] - wide[arm]).dropna()
            for name in ["all", *CLASSES]:
                own = gap if name == "all" else gap[where.reindex(gap.index) == name]
                if len(own) > 1:
                    bounds = Bootstrap(own.index, draws, seed).bounds(own, own.index)
                    rows.append((measure, arm, name, *bounds, len(own)))
    columns = ["measure", "arm", "articles", "value", "low", "high", "RNAs"]
    return pd.DataFrame(rows, columns=columns)


def describe_evidence(params: Summarize) -> str:
    """What the comparison is evidence about: who wrote the summaries."""
    none = "this is no evidence about summaries by language models."
    if params.provider == "offline":
        return f"Sentences were extracted: {none}"
    if re.search(r"(?i)stand-?in", params.model):
        return f"The model {params.model!r} is a stand-in that follows rules: {none}"
    return f"Summaries were written by the model {params.model!r}; another may differ."
