"""The synthetic tables keep the contracts, and their seeds repeat."""

from typing import get_args

import pandas as pd
import torch

from benchmarks import _synthetic as synthetic
from benchmarks.speed import encoding, lda_pool
from rnagpt_lib.core import tables
from rnagpt_lib.core.params import Kind, Topics
from rnagpt_lib.curate.topics import topics


def test_tables_keep_their_contracts_and_seeds_repeat(tmp_path):
    rnas, links = synthetic.rnas(300), synthetic.links(300, 800)
    tables.write(tmp_path / "rnas.parquet", "rnas", rnas)
    tables.write(tmp_path / "links.parquet", "links", links)
    synthetic.write_articles(tmp_path / "articles.parquet", 800)
    articles = tables.read(tmp_path / "articles.parquet", "articles")
    assert set(links["rna_id"]) <= set(rnas["rna_id"]) and len(articles) == 800
    assert set(links["article_id"]) < set(articles["article_id"])
    assert 900 < articles["abstract"].str.len().mean() < 1500
    pd.testing.assert_frame_equal(rnas, synthetic.rnas(300))
    assert not rnas.equals(synthetic.rnas(300, seed=1))


def test_pairs_keep_their_contract_and_are_as_many_for_each_rna(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SHARD", 50)
    rna_ids = synthetic.rnas(10)["rna_id"]
    for name in ("one", "two"):
        synthetic.write_pairs(tmp_path / name, rna_ids, 240, ["tRNA", "heart", "binds"])
    pairs = tables.read(tmp_path / "one", "pairs")
    pd.testing.assert_frame_equal(pairs, tables.read(tmp_path / "two", "pairs"))
    assert pairs["rna_id"].value_counts().to_dict() == dict.fromkeys(rna_ids, 24)
    assert pairs["kind"].isin(get_args(Kind)).all() and pairs["kind"].nunique() > 3
    words = {name: pairs[name].str.split().str.len() for name in ("question", "answer")}
    assert words["question"].between(8, 16).all() and words["answer"].between(5, 25).all()


def test_the_loop_and_the_pool_find_the_same_topics(monkeypatch):
    monkeypatch.setattr(lda_pool, "WORLD_SIZE", 20)
    data = (*lda_pool._data(), Topics(workers=1, passes=2, max_topics=3), 0)
    pd.testing.assert_frame_equal(topics.find(*data), lda_pool.loop(*data))


def test_the_encoder_is_asked_as_often_as_the_paper_visits_an_rna():
    order = encoding.visits([str(i) for i in range(10)])
    assert len(order) == 10 * 252 and order[:100].count("3") == 10
    assert sorted({order.count(str(i)) for i in range(10)}) == [250, 260]


def test_the_package_alone_gives_the_vectors_of_the_library():
    encoder, [sequence] = encoding.Counted.load(encoding.MINIATURE), encoding.short(1)
    peer = encoding.package(encoder)
    assert "forward" in vars(encoder.model.layers[0]) and "forward" not in vars(peer.layers[0])
    found = encoding.alone(encoder, peer, sequence), encoder.encode([sequence])[0]
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)
    assert encoder.passes == 1
