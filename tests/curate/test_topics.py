"""Topics of one RNA and of a corpus; what becomes of them when the literature grows."""

import ast
import random
import re
import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core import tables
from rnagpt_lib.core.params import Topics
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.summaries import extract, summarize
from rnagpt_lib.curate.text import names, sentences
from rnagpt_lib.curate.topics import topic_map, topics
from rnagpt_lib.curate.topics.topics import preprocess, rna_topics, stability
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
    table = rna_topics(rnas, articles, links, Topics(workers=1), 0)
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


def test_mixed_words_give_one_topic():
    table = rna_topics(*corpus(mixed=True)[:3], Topics(workers=1), 0)
    assert (table.topic == 0).all()


def test_few_abstracts_skip_lda(monkeypatch):
    monkeypatch.setattr(topics, "lda", None)
    table = rna_topics(*corpus(per_theme=1)[:3], Topics(workers=1, min_articles=4), 0)
    assert len(table) == 9 and (table.topic == 0).all() and (table.weight == 1).all()


def test_workers_do_not_change_the_table_and_seeds_repeat():
    rnas, articles, links, _ = corpus(n_rnas=4, per_theme=2)
    one = rna_topics(rnas, articles, links, Topics(workers=1, passes=2), 5)
    two = rna_topics(rnas, articles, links, Topics(workers=2, passes=2), 5)
    pd.testing.assert_frame_equal(one, two)


def test_equal_sets_of_articles_are_computed_once(monkeypatch):
    rnas, articles, links, _ = corpus(n_rnas=1)
    rnas = pd.concat([rnas, rnas.assign(rna_id="R9")])
    links = pd.concat([links, links.assign(rna_id="R9").iloc[::-1]])
    calls = []
    real = topics.group
    monkeypatch.setattr(topics, "group", lambda task: calls.append(task) or real(task))
    table = rna_topics(rnas, articles, links, Topics(workers=1), 0)
    assert len(calls) == 1
    first, second = (one.set_index("article_id").topic for _, one in table.groupby("rna_id"))
    pd.testing.assert_series_equal(first, second)


@pytest.mark.parametrize("text", ["", "the of and", "word"])
def test_abstracts_without_shared_words_are_one_topic(text):
    rnas, articles, links, _ = corpus(n_rnas=1)
    articles = articles.assign(abstract=text, title="")
    table = rna_topics(rnas, articles, links, Topics(workers=1), 0)
    assert (table.topic == 0).all()


def test_no_links_no_rows():
    rnas, articles, links, _ = corpus(n_rnas=1)
    table = rna_topics(rnas, articles, links[:0], Topics(workers=1), 0)
    assert table.empty and list(table.columns) == ["rna_id", "article_id", "topic", "weight"]


def test_topics_are_numbered_by_size(monkeypatch):
    shares = np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    monkeypatch.setattr(topics, "stable_fit", lambda *_: (None, shares))
    monkeypatch.setattr(topics, "u_mass", lambda *_: 0.0)
    task = topics.Task(("one two",) * 3, (), 2, 1, 2, 0.5, 0)
    monkeypatch.setattr(topics, "bag_of_words", lambda tokens: ({0: "word"}, [[]] * 3))
    assert topics.group(task) == [(0, 0.9), (0, 0.8), (1, 0.7)]


def test_stability_is_one_for_renamed_topics_and_low_for_unrelated():
    assert stability([[0, 0, 1, 1], [1, 1, 0, 0]])[0] == 1
    assert stability([[0, 0, 1, 1], [0, 1, 0, 1]])[0] < 0


def page(n_topics=3, word="glioma"):
    articles = corpus()[1]
    articles["abstract"] += f" {word}" * 3
    return topic_map.pyldavis_html(
        *topic_map.corpus_model(articles.head(18), Topics(corpus_topics=n_topics), 0)
    )


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


def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("chromium is not installed")
    return found


def test_chromium_draws_the_topic_map_without_a_network(tmp_path):
    path = tmp_path / "topics.html"
    path.write_text(page(), encoding="utf-8")
    command = [
        chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-sync", f"--user-data-dir={tmp_path}/user",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert len(re.findall(r'<circle[^>]*class="dot"', dom)) == 3
    assert ">cohort</text>" in dom


@pytest.mark.parametrize(
    "module", [topics, topic_map, summarize, extract, sentences, names, prompts]
)
def test_the_pipeline_never_imports_the_world(module):
    imported = set()
    for node in ast.walk(ast.parse(open(module.__file__, encoding="utf-8").read())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert not [name for name in imported if "world" in name]


def test_real_abstracts_go_through(shared):
    lines = pd.read_json(shared / "articles/mirna_articles.jsonl", lines=True, dtype=str)
    articles = lines.rename(columns={"pmid": "article_id"}).head(40)
    links = pd.DataFrame({"rna_id": "hsa-mir-21", "article_id": articles.article_id})
    rnas = pd.DataFrame({"rna_id": ["hsa-mir-21"], "description": [""]})
    table = rna_topics(rnas, articles, links, Topics(workers=1, max_topics=3), 0)
    assert len(table) == 40 and table.weight.between(0, 1).all()
    sizes = table.topic.value_counts().sort_index()
    assert all(a >= b for a, b in pairwise(sizes))


def test_a_killed_call_goes_on_with_the_sets_that_are_left(tmp_path, monkeypatch):
    data, params = corpus()[:3], Topics(workers=1, passes=2)
    want, fitted, real = rna_topics(*data, params, 0), [], topics.group

    def stopping(task):
        if len(fitted) == 1:
            raise KeyboardInterrupt
        fitted.append(task)
        return real(task)

    with Store(tmp_path) as store:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(topics, "group", stopping)
            rna_topics(*data, params, 0, store)
        assert rna_topics(*data, params, 0, store).equals(want)
        monkeypatch.setattr(topics, "group", None)
        rnas, articles, links = data
        assert rna_topics(rnas, articles[:0], links, params, 0, store).equals(want)
        with pytest.raises(TypeError):  # another setting is another task
            rna_topics(*data, params.model_copy(update={"passes": 3}), 0, store)


# Groups of an earlier run.

MINIMUM = Topics().min_articles


@pytest.fixture(scope="module")
def made():
    """A world with its topics, and an RNA of several groups."""
    data = world.make(40, seed=3)
    found = topics.rna_topics(
        data.rnas, data.articles, data.links, Topics(workers=1, passes=2), seed=0
    )
    groups = found.groupby("rna_id").topic.nunique()
    return data, found, groups[groups > 1].index[0]


def carried(data, earlier, links=None):
    links = data.links if links is None else links
    return topics.carry_over(earlier, data.rnas, data.articles, links, MINIMUM)


def ordered(table):
    return table.sort_values(["rna_id", "article_id"], ignore_index=True)


def test_nothing_new_changes_nothing(made):
    data, found, _ = made
    pd.testing.assert_frame_equal(ordered(carried(data, found)), ordered(found))


def test_a_new_abstract_joins_a_group_and_the_old_ones_stay(made, tmp_path):
    data, found, rna_id = made
    mine = found[found.rna_id == rna_id]
    for gone in mine.article_id:
        earlier = found[(found.rna_id != rna_id) | (found.article_id != gone)]
        now = carried(data, earlier)
        again = now[now.rna_id == rna_id].set_index("article_id")
        assert set(again.index) == set(mine.article_id)
        rest = mine[mine.article_id != gone].set_index("article_id")
        assert (again.topic.drop(gone) == rest.topic).all()
        assert again.topic[gone] in set(rest.topic) and 0 < again.weight[gone] <= 1
    tables.write(tmp_path / "topics.parquet", "topics", now)


def test_it_joins_the_group_it_came_from_more_often_than_by_chance(made):
    data, found, _ = made
    right = []
    for rna_id, rows in found.groupby("rna_id"):
        if rows.topic.nunique() < 2 or rows.topic.value_counts().min() < 2:
            continue
        for row in rows.itertuples():
            earlier = found.drop(index=row.Index)
            again = carried(
                data, earlier[earlier.rna_id == rna_id], data.links[data.links.rna_id == rna_id]
            )
            placed = again.set_index("article_id").topic[row.article_id]
            right.append((placed == row.topic, (rows.topic == row.topic).mean()))
    hits, chance = np.mean(right, axis=0)
    assert len(right) > 20 and hits > chance + 0.15


def test_an_abstract_that_is_linked_no_more_leaves_its_group(made):
    data, found, rna_id = made
    gone = found[found.rna_id == rna_id].article_id.iloc[0]
    links = data.links[(data.links.rna_id != rna_id) | (data.links.article_id != gone)]
    now = carried(data, found, links)
    assert len(now) == len(found) - 1 and gone not in set(now[now.rna_id == rna_id].article_id)


def table(counts):
    """Topics of RNAs R0, R1, … with so many abstracts, all in one group."""
    rows = [(f"R{r}", f"A{r}-{a}", 0, 1.0) for r, n in enumerate(counts) for a in range(n)]
    return pd.DataFrame(rows, columns=["rna_id", "article_id", "topic", "weight"])


@pytest.mark.parametrize(
    ("before", "after", "stands"),
    [
        (1, 2, True),  # too few for LDA before and after
        (3, 4, False),  # enough for LDA now
        (8, 10, True),
        (8, 11, False),  # grown by more than a quarter
        (0, 3, False),  # a new RNA
    ],
)
def test_groups_are_found_anew_where_too_much_changed(before, after, stands):
    now = table([after])
    articles = pd.DataFrame({"article_id": now.article_id, "title": "", "abstract": "words here"})
    rnas = pd.DataFrame({"rna_id": ["R0"], "description": "x", "family": "", "rna_type": ""})
    links = now[["rna_id", "article_id"]]
    assert len(topics.carry_over(table([before]), rnas, articles, links, 4)) == after * stands


def test_an_abstract_without_a_word_in_common_has_a_group_too(made):
    data, found, rna_id = made
    articles = pd.concat(
        [
            data.articles,
            pd.DataFrame([{"article_id": "odd", "title": "", "abstract": "", "year": 2000}]),
        ]
    )
    links = pd.concat([data.links, pd.DataFrame([{"rna_id": rna_id, "article_id": "odd"}])])
    now = topics.carry_over(found, data.rnas, articles, links, MINIMUM)
    weight = now[now.article_id == "odd"].weight.item()
    assert 0 < weight <= 1


def test_what_does_not_stand_is_found_by_lda(made):
    data, found, rna_id = made
    params = Topics(workers=1, passes=2)
    earlier = found[found.rna_id != rna_id]
    all_new = topics.find(data.rnas, data.articles, data.links, params, 0, found[:0])
    pd.testing.assert_frame_equal(ordered(all_new), ordered(found))
    again = topics.find(data.rnas, data.articles, data.links, params, 0, earlier)
    pd.testing.assert_frame_equal(ordered(again), ordered(found))
