"""Topics of one RNA and of a corpus; what becomes of them when the literature grows."""

import random
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core import tables
from rnagpt_lib.core.params import Topics
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.summaries import extract, summarize
from rnagpt_lib.curate.text import names, sentences
from rnagpt_lib.curate.topics import topic_map, topics
from rnagpt_lib.curate.topics.topics import find, preprocess, stability
from rnagpt_lib.miniature import world
from rnagpt_lib.runs.resume_store import Store

THEMES = {
    "clinic": "patients cohort survival serum diagnosis stage prognosis tumor biopsy therapy",
    "cell": "knockdown reporter mutant rescue mechanism pathway complex binding cultured plasmid",
    "tree": "homologs alignment phylogeny lineage synteny duplication clade stem helix genome",
}


def corpus(n_rnas=3, per_theme=4, seed=0, mixed=False):
    """Abstracts with planted themes: (rnas, articles, links, truth), every RNA with all themes."""
    rng, rows = random.Random(seed), []
    every = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(200)]
    for rna in range(n_rnas):
        for theme, words in THEMES.items():
            for number in range(per_theme):
                chosen = rng.choices(every if mixed else words.split(), k=40)
                rows.append((f"R{rna}", f"A{rna}{theme}{number}", " ".join(chosen), theme))
    table = pd.DataFrame(rows, columns=["rna_id", "article_id", "abstract", "theme"])
    articles = table[["article_id", "abstract"]].assign(title="A mir-7 paper", year=2020)
    rnas = pd.DataFrame({"rna_id": table.rna_id.unique(), "description": "Aus bus mir-7"})
    return rnas, articles, table[["rna_id", "article_id"]], table.theme


def test_preprocess_leaves_content_words():
    text = "We show that miR-21 (P < 0.05) and miR-210 regulate glioma growth in 12 samples."
    assert preprocess([text], ["mir-21"]) == [["regulate", "glioma", "growth"]]
    assert preprocess(["", "1 2 3"]) == [[], []]


def test_planted_topics_are_found():
    rnas, articles, links, theme = corpus()
    table = find(rnas, articles, links, Topics(workers=1), 0)
    assert list(table.columns) == ["rna_id", "article_id", "topic", "weight"]
    table = links.assign(theme=theme).merge(table, on=["rna_id", "article_id"], validate="1:1")
    for _, one in table.groupby("rna_id"):
        assert stability([one.theme.astype("category").cat.codes, one.topic])[0] == 1
    assert table.weight.between(0.33, 1).all()


def test_agreement_by_number_of_abstracts():
    links, theme = corpus(n_rnas=2, per_theme=1)[2:]
    truth = links.assign(topic=theme.to_numpy())
    table = links.assign(topic=[0, 1, 2, 0, 0, 0])
    found = topics.agreement(table, truth, (0, 2, 3, 9))
    assert found.index.tolist() == ["3-3"] and found["RNAs"].tolist() == [2]
    assert found["adjusted Rand index"].tolist() == [0.5]
    assert found["topics planted"].tolist() == [3] and found["topics found"].tolist() == [2]


def test_what_cannot_be_grouped_is_one_topic(monkeypatch):
    rnas, articles, links, _ = corpus(n_rnas=1)
    cases = [corpus(n_rnas=2, mixed=True)[:3], (rnas, articles, links[:0])]
    cases += [
        (rnas, articles.assign(abstract=text, title=""), links) for text in ("", "the", "word")
    ]
    for case in cases:
        table = find(*case, Topics(workers=1), 0)
        assert list(table.columns) == ["rna_id", "article_id", "topic", "weight"]
        assert len(table) == len(case[2]) and (table.topic == 0).all()
    monkeypatch.setattr(topics, "lda", None)  # few abstracts skip it
    table = find(*corpus(per_theme=1)[:3], Topics(workers=1, min_articles=4), 0)
    assert len(table) == 9 and (table.topic == 0).all() and (table.weight == 1).all()


@pytest.mark.slow
def test_workers_do_not_change_the_table_and_seeds_repeat():
    rnas, articles, links, _ = corpus(n_rnas=4, per_theme=2)
    one = find(rnas, articles, links, Topics(workers=1, passes=2), 5)
    two = find(rnas, articles, links, Topics(workers=2, passes=2), 5)
    pd.testing.assert_frame_equal(one, two)


def test_equal_sets_of_articles_are_computed_once(monkeypatch):
    rnas, articles, links, _ = corpus(n_rnas=1)
    rnas = pd.concat([rnas, rnas.assign(rna_id="R9")])
    links = pd.concat([links, links.assign(rna_id="R9").iloc[::-1]])
    calls = []
    real = topics.group
    monkeypatch.setattr(topics, "group", lambda task: calls.append(task) or real(task))
    table = find(rnas, articles, links, Topics(workers=1), 0)
    assert len(calls) == 1
    first, second = (one.set_index("article_id").topic for _, one in table.groupby("rna_id"))
    pd.testing.assert_series_equal(first, second)


def test_topics_are_numbered_by_size(monkeypatch):
    shares = np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    monkeypatch.setattr(topics, "stable_fit", lambda *_: (None, shares))
    monkeypatch.setattr(topics, "u_mass", lambda *_: 0.0)
    task = topics.Task(("one two",) * 3, (), 2, 1, 2, 0.5, 0)
    monkeypatch.setattr(topics, "bag_of_words", lambda tokens: ({0: "word"}, [[]] * 3))
    assert topics.group(task) == [(0, 0.9), (0, 0.8), (1, 0.7)]


def page(n_topics=3, word="glioma"):
    articles = corpus()[1]
    articles["abstract"] += f" {word}" * 3
    return topic_map.pyldavis_html(
        *topic_map.corpus_model(articles.head(18), Topics(corpus_topics=n_topics), 0)
    )


def test_a_map_of_four_alike_abstracts_has_real_coordinates():
    """Their distances leave eigenvalues below zero, whose roots are no real numbers."""
    texts = [
        "R0 promotes migration and invasion of glioma cells by targeting a kinase receptor.",
        "R2 accumulates in kidney, retina and spleen and binds an abundant chaperone.",
    ]
    for abstracts in ([*texts, *texts], texts[:1] * 4, [*texts, "one two three"], texts):
        articles = pd.DataFrame({"title": "", "abstract": sorted(abstracts)})
        html = topic_map.pyldavis_html(*topic_map.corpus_model(articles, Topics(), 0))
        assert "mdsDat" in html or "at least two topics" in html


def test_topic_map_loads_nothing():
    html = page()
    for tag in re.findall(r"<(?:script|link|img|iframe)[^>]*>", html):
        assert "src" not in tag and "href" not in tag
    assert "@import" not in html and not re.search(r"url\(\s*['\"]?http", html)
    assert not re.search(r"(?:fetch|XMLHttpRequest|d3\.json)\(['\"]http", html)


def test_topic_map_escapes_the_vocabulary(monkeypatch):
    bad = "</script><script>alert(1)</script>"
    plain = topic_map.preprocess
    monkeypatch.setattr(
        topic_map, "preprocess",
        lambda texts: [[*words, *([bad] if i % 3 == 0 else [])] for i, words in enumerate(plain(texts))],
    )  # fmt: skip
    html = page()
    assert bad not in html and "\\u003c/script>\\u003cscript>alert(1)" in html


@pytest.mark.parametrize("given", [(None, [], None), "one"])
def test_fewer_than_two_topics_give_a_sentence(given):
    if given == "one":
        model, counts, words = topic_map.corpus_model(corpus()[1], Topics(), 0)
        given = (topics.lda(counts, words, 1, 1, 0), counts, words)
    html = topic_map.pyldavis_html(*given)
    assert "at least two topics" in html and "<script" not in html


@pytest.mark.slow
def test_chromium_draws_the_topic_map_without_a_network(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed")
    path = tmp_path / "topics.html"
    path.write_text(page(), encoding="utf-8")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-sync", f"--user-data-dir={tmp_path}/user",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert len(re.findall(r'<circle[^>]*class="dot"', dom)) == 3
    assert ">cohort</text>" in dom


def test_the_pipeline_never_imports_the_world():
    for module in (topics, topic_map, summarize, extract, sentences, names, prompts):
        lines = Path(module.__file__).read_text("utf-8").splitlines()
        imports = [line for line in lines if line.lstrip().startswith(("import ", "from "))]
        assert imports and not [line for line in imports if "miniature" in line]


def test_real_abstracts_go_through(shared):
    lines = pd.read_json(shared / "articles/mirna_articles.jsonl", lines=True, dtype=str)
    articles = lines.rename(columns={"pmid": "article_id"}).head(40)
    links = pd.DataFrame({"rna_id": "hsa-mir-21", "article_id": articles.article_id})
    rnas = pd.DataFrame({"rna_id": ["hsa-mir-21"], "description": [""]})
    table = find(rnas, articles, links, Topics(workers=1, max_topics=3), 0)
    assert len(table) == 40 and table.weight.between(0, 1).all()
    sizes = table.topic.value_counts().sort_index()
    assert all(a >= b for a, b in pairwise(sizes))


def test_a_killed_call_goes_on_with_the_sets_that_are_left(tmp_path, monkeypatch):
    data, params = corpus()[:3], Topics(workers=1, passes=2)
    want, fitted, real = find(*data, params, 0), [], topics.group

    def stopping(task):
        if len(fitted) == 1:
            raise KeyboardInterrupt
        fitted.append(task)
        return real(task)

    with Store(tmp_path) as store:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(topics, "group", stopping)
            find(*data, params, 0, store)
        assert find(*data, params, 0, store).equals(want)
        monkeypatch.setattr(topics, "group", None)
        rnas, articles, links = data
        assert find(rnas, articles[:0], links, params, 0, store).equals(want)
        with pytest.raises(TypeError):  # another setting is another task
            find(*data, params.model_copy(update={"passes": 3}), 0, store)


# Groups of an earlier run.

MINIMUM = Topics().min_articles


@pytest.fixture(scope="module")
def made():
    """A world with its topics, and the rows of an RNA of several groups."""
    data = world.make(40, seed=3)
    params = Topics(workers=1, passes=2)
    found = topics.find(data.rnas, data.articles, data.links, params, seed=0)
    groups = found.groupby("rna_id").topic.nunique()
    return data, found, found[found.rna_id == groups[groups > 1].index[0]]


def carried(data, earlier, links=None, articles=None):
    links = data.links if links is None else links
    articles = data.articles if articles is None else articles
    return topics.carry_over(earlier, data.rnas, articles, links, MINIMUM)


def ordered(table):
    return table.sort_values(["rna_id", "article_id"], ignore_index=True)


def test_a_new_abstract_joins_a_group_and_the_old_ones_stay(made, tmp_path):
    data, found, mine = made
    pd.testing.assert_frame_equal(ordered(carried(data, found)), ordered(found))
    for row in mine.iloc[:4].itertuples():
        now = carried(data, found.drop(index=row.Index))
        again = now[now.rna_id == row.rna_id].set_index("article_id")
        assert set(again.index) == set(mine.article_id)
        rest = mine.drop(index=row.Index).set_index("article_id")
        assert (again.topic.drop(row.article_id) == rest.topic).all()
        assert again.topic[row.article_id] in set(rest.topic)
        assert 0 < again.weight[row.article_id] <= 1
    tables.write(tmp_path / "topics.parquet", "topics", now)


def test_it_joins_the_group_it_came_from_more_often_than_by_chance(made):
    data, found, _ = made
    right = []
    for rna_id, rows in found.groupby("rna_id"):
        if rows.topic.nunique() < 2 or rows.topic.value_counts().min() < 2:
            continue
        links = data.links[data.links.rna_id == rna_id]
        for row in rows.iloc[::2].itertuples():
            again = carried(data, rows.drop(index=row.Index), links)
            placed = again.set_index("article_id").topic[row.article_id]
            right.append((placed == row.topic, (rows.topic == row.topic).mean()))
    hits, chance = np.mean(right, axis=0)
    assert len(right) > 20 and hits > chance + 0.15


def test_odd_abstracts_and_those_that_are_linked_no_more(made):
    data, found, mine = made
    rna_id, gone = mine.rna_id.iloc[0], mine.index[0]
    both = ["rna_id", "article_id"]
    now = carried(data, found, found.drop(index=gone)[both])
    pd.testing.assert_frame_equal(ordered(now), ordered(found.drop(index=gone)))
    odd = {"rna_id": rna_id, "article_id": "odd", "title": "", "abstract": "", "year": 2000}
    articles = pd.concat([data.articles, pd.DataFrame([odd])])
    now = carried(data, found, pd.concat([data.links, pd.DataFrame([odd])[both]]), articles)
    assert 0 < now[now.article_id == "odd"].weight.item() <= 1


def table(count):
    """Topics of an RNA with so many abstracts, all in one group."""
    rows = [("R0", f"A{number}", 0, 1.0) for number in range(count)]
    return pd.DataFrame(rows, columns=["rna_id", "article_id", "topic", "weight"])


def test_groups_are_found_anew_where_too_much_changed():
    cases = {
        (1, 2): True,  # too few for LDA before and after
        (3, 4): False,  # enough for LDA now
        (8, 10): True,
        (8, 11): False,  # grown by more than a quarter
        (0, 3): False,  # a new RNA
    }
    rnas = pd.DataFrame({"rna_id": ["R0"], "description": "x", "family": "", "rna_type": ""})
    for (before, after), stands in cases.items():
        now = table(after)
        articles = now[["article_id"]].assign(title="", abstract="words here")
        links = now[["rna_id", "article_id"]]
        kept = topics.carry_over(table(before), rnas, articles, links, 4)
        assert len(kept) == after * stands, (before, after)


def test_what_does_not_stand_is_found_by_lda(made):
    data, found, mine = made
    earlier = found[found.rna_id != mine.rna_id.iloc[0]]
    params = Topics(workers=1, passes=2)
    again = topics.find(data.rnas, data.articles, data.links, params, 0, None, earlier)
    pd.testing.assert_frame_equal(ordered(again), ordered(found))
