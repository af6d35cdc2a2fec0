import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core import tables
from rnagpt_lib.core.params import Topics
from rnagpt_lib.curate.topics import topic_updates, topics
from rnagpt_lib.miniature import world

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
    return topic_updates.carried(earlier, data.rnas, data.articles, links, MINIMUM)


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
    assert len(topic_updates.carried(table([before]), rnas, articles, links, 4)) == after * stands


def test_an_abstract_without_a_word_in_common_has_a_group_too(made):
    data, found, rna_id = made
    articles = pd.concat(
        [
            data.articles,
            pd.DataFrame([{"article_id": "odd", "title": "", "abstract": "", "year": 2000}]),
        ]
    )
    links = pd.concat([data.links, pd.DataFrame([{"rna_id": rna_id, "article_id": "odd"}])])
    now = topic_updates.carried(found, data.rnas, articles, links, MINIMUM)
    weight = now[now.article_id == "odd"].weight.item()
    assert 0 < weight <= 1


def test_what_does_not_stand_is_found_by_lda(made):
    data, found, rna_id = made
    params = Topics(workers=1, passes=2)
    earlier = found[found.rna_id != rna_id]
    all_new = topic_updates.topics(data.rnas, data.articles, data.links, params, 0, found[:0])
    pd.testing.assert_frame_equal(ordered(all_new), ordered(found))
    again = topic_updates.topics(data.rnas, data.articles, data.links, params, 0, earlier)
    pd.testing.assert_frame_equal(ordered(again), ordered(found))
