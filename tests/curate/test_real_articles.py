"""The 606 real abstracts of 117 pre-miRNAs, through notebooks 00 to 03, with the stand-in model."""

import pandas as pd
import pytest

from benchmarks.science.real_data import precursors
from rnagpt_lib.core.params import Decompose, Filter, Summarize
from rnagpt_lib.core.text import screen
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.questions import qa_rules
from rnagpt_lib.curate.sources import user_files
from rnagpt_lib.curate.summaries.summarize import summarize
from rnagpt_lib.curate.text.names import names_of, pattern
from rnagpt_lib.runs import notebooks, stages

STAGES = ("00_filter_rnacentral", "01_explore_topics", "02_summarize", "03_decompose_qa")
FEW = {"PASSES": 1, "STABILITY_SEEDS": 2, "MAX_TOPICS": 3, "CORPUS_TOPICS": 2, "ARMS_SAMPLE": 4}


def check(rnas, links, annotations, pairs):
    """What must hold of any annotations and pairs, whoever wrote them."""
    linked = set(zip(links["rna_id"], links["article_id"], strict=True))
    own = {row["rna_id"]: pattern(names_of(row)) for row in rnas.to_dict("records")}
    for row in annotations.itertuples():
        assert len(row.article_ids) and {(row.rna_id, i) for i in row.article_ids} <= linked
        assert not own[row.rna_id].search(row.text) and not screen(row.text)
    assert (annotations["text"].str.split().str.len().groupby(
        [annotations["rna_id"], annotations["source"]]).sum() <= 120).all()  # fmt: skip
    for row in pairs[~pairs["kind"].isin(["rna_type", "species", "family"])].itertuples():
        assert {(row.rna_id, i) for i in row.article_ids} <= linked
        assert len(row.article_ids) or row.answer.startswith("No")


@pytest.mark.slow
def test_through_the_library_twice_and_the_second_time_without_a_call(talker, shared, tmp_path):
    app, settings = talker
    files = {name.lower(): path for name, path in precursors(tmp_path).items()}
    read = user_files.read(Filter(input="files", **files))
    rnas, articles, links = read["rnas"], read["articles"], read["links"]
    per_rna = links.groupby("rna_id")  # three groups from four articles on, without LDA
    several = per_rna["article_id"].transform("size") >= 4
    grouped = links.assign(topic=per_rna.cumcount() % 3 * several, weight=1.0)
    made = summarize(rnas, articles, links, grouped, Summarize(**settings))
    pairs, dropped, _ = qa_rules.pairs(
        rnas, made.annotations, articles, links, Decompose(**settings)
    )
    check(rnas, links, made.annotations, pairs)
    asked, calls = pairs[pairs["prompt_version"] == prompts.QA_VERSION], app.completions
    assert made.annotations["rna_id"].nunique() > 70 and asked["rna_id"].nunique() > 40
    again = summarize(rnas, articles, links, grouped, Summarize(**settings))
    more, *_ = qa_rules.pairs(rnas, again.annotations, articles, links, Decompose(**settings))
    assert app.completions == calls and more.equals(pairs)
    pd.testing.assert_frame_equal(again.annotations, made.annotations)


@pytest.mark.slow
def test_through_the_notebooks(talker, shared, tmp_path):
    app, settings = talker
    server = {name.upper(): settings[name] for name in ("provider", "model", "base_url")}
    given = precursors(tmp_path) | FEW | server
    notebooks.run_path(STAGES, run="real", profile="local", parameters=given)
    tables = {
        (stage, name): pd.read_parquet(stages.stage_folder("real", stage) / f"{name}.parquet")
        for stage, name in (
            (STAGES[0], "links"), (STAGES[2], "annotations"), (STAGES[3], "rnas"), (STAGES[3], "pairs"),
        )
    }  # fmt: skip
    links, annotations, rnas, pairs = tables.values()
    check(rnas, links, annotations, pairs)
    assert app.completions and annotations["rna_id"].nunique() > 70
