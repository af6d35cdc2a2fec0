"""The world holds what it promises: strata, difficulty, local rules, text, reproducibility."""

import random
import re
from collections import Counter

import edlib
import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core import sequences
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.miniature import literature, world
from rnagpt_lib.miniature import sequences as world_sequences
from rnagpt_lib.miniature.rules import (
    ANTICODONS,
    BROKEN,
    ENTITIES,
    LOCAL_RELATIONS,
    RULES,
    TYPES,
    UNKNOWN,
    families,
    read_local,
)

SIZE = 1500


@pytest.fixture(scope="module")
def large():
    return world.make(SIZE)


@pytest.fixture(scope="module")
def small():
    return world.make(400)


@pytest.fixture(scope="module")
def entries():
    return world.entries(SIZE)


def identity(a: str, b: str) -> float:
    return 1 - edlib.align(a, b, mode="NW")["editDistance"] / max(len(a), len(b))


# The same again


def test_the_seed_alone_decides_and_a_smaller_world_begins_a_larger_one(small, large):
    again, other = world.make(60), world.make(60, seed=1)
    for table in ("rnas", "articles", "links", "truth", "topics_truth"):
        for part, whole in ((again, small), (small, large)):
            head = getattr(whole, table).head(len(getattr(part, table)))
            pd.testing.assert_frame_equal(getattr(part, table), head)
    assert not set(again.rnas.sequence) & set(other.rnas.sequence)


def test_pools_share_nothing():
    pools = {pool: world.make(200, pool=pool) for pool in ("run", "pretrain", "tests")}
    for table, column in (("rnas", "rna_id"), ("rnas", "sequence"), ("articles", "article_id")):
        values = [set(getattr(made, table)[column]) for made in pools.values()]
        assert not values[0] & values[1] and not values[0] & values[2] and not values[1] & values[2]
    lineages = [{rna.lineage for rna in world.entries(200, pool=pool)} for pool in pools]
    assert not lineages[0] & lineages[1] and not lineages[0] & lineages[2]
    held_out = {family.name for family in families() if family.held_out}
    text = " ".join(pools["pretrain"].articles.abstract)
    assert not held_out & set(pools["pretrain"].rnas.family)
    assert not any(re.search(rf"\b{name}-\d", text) for name in held_out)
    with pytest.raises(InputError, match="pool 'train'"):
        world.make(5, pool="train")


# Entries


def test_families_types_and_species(large):
    assert len(families()) >= 60 and len({f.name for f in families()}) == len(families())
    assert len(TYPES) >= 12 and set(large.rnas.rna_type) == {*TYPES, ""}
    assert {f.rna_type for f in families() if f.held_out} >= {"tRNA", "pre_miRNA", "snRNA"}
    assert large.rnas.species.nunique() == large.rnas.taxid.nunique() == 10
    assert large.rnas.length.between(40, 450).all() and large.rnas.length.median() < 130
    assert large.rnas.sequence.map(sequences.normalise).eq(large.rnas.sequence).all()
    assert (large.rnas.length == large.rnas.sequence.str.len()).all()


def test_lengths_do_not_tell_types_apart(large):
    """The commonest type among the 15 RNAs nearest in length is often another one, although
    sisters of a lineage, which are equally long, are among them."""
    known = large.rnas[large.rnas.rna_type != ""]
    lengths, types = known.length.to_numpy(), known.rna_type.to_numpy()
    gaps = np.abs(lengths[:, None] - lengths[None]).astype(float)
    np.fill_diagonal(gaps, np.inf)
    nearest = types[np.argsort(gaps, axis=1, kind="stable")[:, :15]]
    guesses = [Counter(row).most_common(1)[0][0] for row in nearest]
    assert np.mean(np.array(guesses) == types) < 0.6


def test_strata(large, entries):
    strata = pd.Series({rna.id: rna.stratum for rna in entries})
    shares = strata.value_counts(normalize=True)
    assert 0.02 < shares["decoy"] < 0.07 and 0.05 < shares["held_out"] < 0.12
    rows = large.rnas.set_index("rna_id")
    assert (rows.split == np.where(strata[rows.index] == "seen", "", "test")).all()
    assert ((strata[rows.index] == "decoy") == (rows.family == "")).all()
    decoys = large.truth[large.truth.stratum == "decoy"]
    assert set(decoys.entity) == {UNKNOWN}


def test_some_sequences_are_identical_across_taxa(large):
    rows = large.rnas[large.rnas.sequence.duplicated(keep=False)]
    groups = rows.groupby("sequence")
    assert 0.04 < len(rows) / SIZE < 0.2
    assert (groups.taxid.nunique() > 1).mean() > 0.9
    assert (groups.family.nunique() == 1).all()


def test_lineages_are_clusters_of_their_own(entries):
    rng = np.random.default_rng(0)
    by_lineage: dict = {}
    for rna in entries:
        if rna.family is not None:
            by_lineage.setdefault((rna.family.name, rna.lineage), set()).add(rna.sequence)
    groups = [sorted(group) for group in by_lineage.values() if len(group) > 1]
    within = [identity(*rng.choice(group, 2, replace=False)) for group in groups]
    keys = sorted(by_lineage)
    same = [(a, b) for a, b in zip(keys, keys[1:], strict=False) if a[0] == b[0]]
    between = [identity(min(by_lineage[a]), min(by_lineage[b])) for a, b in same]
    assert np.quantile(within, 0.05) > 0.85 and np.mean(within) > 0.92
    assert np.quantile(between, 0.99) < 0.75 and np.mean(between) < 0.66
    per_family = pd.Series([name for name, _ in keys]).value_counts()
    assert per_family.min() >= 3


def test_stems_are_compensated():
    pairs = {"AU", "UA", "GC", "CG", "GU", "UG"}
    changed = 0
    for family in families():
        drawn = world_sequences.structure(family, "test")
        one, two = (world_sequences.member(family, "test", random.Random(i)) for i in (1, 2))
        assert len(drawn) == len(one) == len(two)
        for left, right in brackets(drawn):
            assert one[left] + one[right] in pairs and two[left] + two[right] in pairs
            changed += one[left] != two[left] and one[right] != two[right]
    assert changed > 20  # both sides of a pair changed together


def brackets(drawn: str) -> list[tuple[int, int]]:
    stack, found = [], []
    for place, mark in enumerate(drawn):
        if mark == "(":
            stack.append(place)
        elif mark == ")":
            found.append((stack.pop(), place))
    assert not stack
    return found


# Local rules


def test_the_reader_agrees_with_every_entry(large):
    local = large.truth[large.truth.local].set_index("rna_id").entity
    rows = large.rnas.set_index("rna_id").loc[local.index]
    read = [read_local(s, t) for s, t in zip(rows.sequence, rows.rna_type, strict=True)]
    assert read == local.tolist()
    assert set(large.rnas[large.rnas.rna_type.isin(RULES)].rna_id) == set(local.index)
    sites = large.truth[large.truth.relation == "site"]
    assert 0.05 < (sites.entity == BROKEN).mean() < 0.2


def test_codes_are_those_of_nature():
    box = "UCAG"  # rows, columns and lines of the usual table of codons
    acids = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
    names = ("Phe", "Leu", "Tyr", "Cys", "Ser", "Val", "Asp", "Glu", "Gly", "Ala")
    letters = dict(zip("FLYCSVDEGA", names, strict=True))
    for anticodon, acid in ANTICODONS.items():
        codon = sequences.reverse_complement(anticodon)
        place = 16 * box.index(codon[0]) + 4 * box.index(codon[1]) + box.index(codon[2])
        assert letters[acids[place]] == acid
    purines = RULES["riboswitch"].codes  # guanine and adenine are told apart by one pyrimidine
    assert purines["CU"] == "guanine" and purines["UU"] == "adenine"


def test_every_entity_stands_on_every_backbone():
    seen = [rna for rna in world.entries(4000) if rna.stratum == "seen"]
    for rna_type in RULES:
        made = [rna for rna in seen if rna.rna_type == rna_type]
        table = pd.crosstab([rna.family.name for rna in made], [rna.local for rna in made])
        assert 8 <= table.shape[1] <= 10
        assert (table > 0).mean().mean() > 0.9
        shares = table.sum() / table.to_numpy().sum()
        assert shares.max() < 2 / table.shape[1]


def test_minimal_pairs_change_by_one_nucleotide():
    pairs = world.minimal_pairs(1000)
    assert len(pairs) == 1000 == pairs.sequence.nunique() == pairs.rna_id.nunique()
    assert pairs.relation.value_counts().eq(250).all() and set(pairs.relation) == {*LOCAL_RELATIONS}
    assert not set(pairs.sequence) & {rna.sequence for rna in world.entries(600)}
    assert (pairs.entity != pairs.mutant_entity).all()
    assert 0.005 < (pairs.mutant_entity == BROKEN).mean() < 0.1
    for row in pairs.itertuples():
        (changed,), (still,) = changes(row.sequence, row.mutant), changes(row.sequence, row.neutral)
        assert row.mutant_entity == BROKEN or abs(changed - still) <= 10
        assert read_local(row.sequence, row.rna_type) == row.entity
        assert read_local(row.mutant, row.rna_type) == row.mutant_entity
        assert read_local(row.neutral, row.rna_type) == row.entity


def changes(one: str, other: str) -> list[int]:
    return [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


# Difficulty


def test_nearest_neighbours_know_families_and_not_codes(entries, large):
    known = [rna for rna in entries if rna.stratum == "seen"]
    train = [rna for rna in known if int(rna.lineage.split("/")[-1]) % 5]
    test = [rna for rna in known if int(rna.lineage.split("/")[-1]) % 5 == 0]
    closest = sequences.nearest([r.sequence for r in test], [r.sequence for r in train])
    family, local = [], []
    for rna, row in zip(test, closest, strict=True):
        answers = {fact.relation: fact.entity for fact in train[row].facts()}
        for fact in rna.facts():
            right = answers.get(fact.relation) == fact.entity
            (local if fact.relation in LOCAL_RELATIONS else family).append(right)
    assert 0.60 <= np.mean(family) <= 0.95
    assert np.mean(local) <= 0.40
    facts = large.truth[large.truth.entity != UNKNOWN]
    assert 0.27 < facts.local.mean() < 0.40


# Literature


def test_abstracts_are_heavy_tailed(large):
    counts = large.links.groupby("rna_id").size()
    assert set(counts.index) == set(large.rnas.rna_id)
    assert counts.min() == 1 and 30 < counts.max() <= 40
    assert 0.4 < (counts <= 2).mean() < 0.6 and 0.03 < (counts >= 20).mean() < 0.12
    assert large.links.article_id.duplicated().any()  # some are shared
    assert not large.links.duplicated().any()
    assert set(large.links.article_id) == set(large.articles.article_id)


def test_every_fact_of_an_rna_is_written_about_it(small):
    text = small.links.merge(small.articles).groupby("rna_id").abstract.agg(" ".join)
    named = small.truth[~small.truth.entity.isin([UNKNOWN, BROKEN])]
    assert all(entity in text[rna] for rna, entity in zip(named.rna_id, named.entity, strict=True))
    stated = small.truth[small.truth.stratum != "decoy"].groupby("rna_id").size()
    assert stated.min() == 3
    articles = small.links.merge(small.articles).merge(named[["rna_id", "entity"]])
    hits = articles[[e in a for e, a in zip(articles.entity, articles.abstract, strict=True)]]
    many = small.links.groupby("rna_id").size().loc[lambda n: n > 5].index
    per_fact = hits[hits.rna_id.isin(many)].groupby(["rna_id", "entity"]).size()
    assert (per_fact == 1).mean() > 0.1 and (per_fact > 2).mean() > 0.2


def test_abstracts_are_short_english_about_one_topic(small):
    sentences = small.articles.abstract.str.findall(r"[A-Za-z0-9][^.]*\.")
    words = small.articles.abstract.str.split().str.len()
    assert sentences.str.len().between(4, 9).all() and words.between(40, 130).all()
    assert not small.articles.abstract.str.contains(r"[{}]|  |\.\.|, \.").any()
    assert sentences.explode().str.match(r"\s*([A-Z]|mir-|tRNA-|snR-|5S-)").all()
    assert set(small.topics_truth.topic) == set(literature.TOPICS)
    assert small.articles.abstract.nunique() > 0.99 * len(small.articles)


def test_decoys_are_mentioned_without_a_fact(small):
    decoys = set(small.rnas[small.rnas.family == ""].rna_id)
    text = " ".join(small.links[small.links.rna_id.isin(decoys)].merge(small.articles).abstract)
    assert "TX-" in text
    assert not any(entity in text for table in ENTITIES.values() for entity in table)


def test_other_rnas_and_denials_stand_among_the_facts(small):
    rows = small.links.merge(small.articles).merge(small.rnas[["rna_id", "description"]])
    own = rows.description.str.split().str[-1]
    names = rows.abstract.str.findall(r"\b[A-Za-z0-9]+-M\d+-\d+\b")
    other = [any(n != o for n in found) for found, o in zip(names, own, strict=True)]
    assert 0.2 < np.mean(other) < 0.7
    assert small.articles.abstract.str.contains("is not associated with").mean() > 0.02


def test_denials_contradict_no_fact(large):
    true = {(rna.name, fact.entity) for rna in world.entries(SIZE) for fact in rna.facts()}
    denied = large.articles.abstract.str.extractall(r"(\S+) is not associated with (\w+)\.")
    assert len(denied) > 100
    assert not true & set(denied.itertuples(index=False, name=None))
