"""RNAcentral's entries."""

from rnagpt_lib.curate.sources.ebi_search import Entry as Found
from rnagpt_lib.curate.sources.rnacentral import entries

ID = "URS0000A0000{}_9606"


def found(number, **fields):
    given = {"length": "22", "rna_type": "pre miRNA", "species": "Homo sapiens"} | fields
    return Found(id=ID.format(number), fields={k: [v] for k, v in given.items()})


def test_entries_are_sorted_and_repeats_and_foreign_ids_left_out():
    odd = [Found(id=name) for name in ("URS0000A00001", "x", "URS0000A00001_9606 ", "RF00001")]
    got = entries([[found(2), found(1)], [found(2), *odd]], limit=0)
    assert [entry.rna_id for entry in got] == [ID.format(1), ID.format(2)]
    assert got[0][1:] == ("pre_miRNA", "Homo sapiens", "", 22)


def test_a_draw_keeps_all_of_a_smaller_one():
    pages = [[Found(id=f"URS{n:010X}_9606") for n in range(300)]]
    draws = [{entry.rna_id for entry in entries(pages, limit)} for limit in (1, 10, 100, 299, 500)]
    assert [len(draw) for draw in draws] == [1, 10, 100, 299, 300]
    assert all(small < large for small, large in zip(draws, draws[1:], strict=False))


def test_names_that_the_description_lacks_join_it():
    one = found(1, description="Homo  sapiens HOTAIR:1", gene="HOTAIR", gene_synonym="HOXC-AS4")
    assert entries([[one]], 0)[0].description == "Homo sapiens HOTAIR:1 (HOXC-AS4)"
