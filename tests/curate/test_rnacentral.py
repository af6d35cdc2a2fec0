"""RNAcentral's entries, sequences, exports and gene names; the stand-in's likeness to the real."""

import gzip
import json
import random
import subprocess
import sys

import pytest
import requests

from rnagpt_lib import rnacentral_export
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.sources import rnacentral
from rnagpt_lib.curate.sources.ebi_search import Entry as Found
from rnagpt_lib.curate.sources.rnacentral import entries, with_genes
from tests.standin import serve
from tests.standin.ebi import Ebi, addresses

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


def test_names_that_the_description_lacks_join_it(tmp_path):
    one = found(1, description="Homo  sapiens HOTAIR:1", gene="HOTAIR", gene_synonym="HOXC-AS4")
    assert entries([[one]], 0)[0].description == "Homo sapiens HOTAIR:1 (HOXC-AS4)"
    lines = [
        "URS0000A00001\tHGNC\tHGNC:1\t9606\tlncRNA\tNEW1",
        "URS0000A00001\tX\tY\t10090\tz\tOLD",
    ]
    for path in (tmp_path / "id_mapping.tsv", tmp_path / "id_mapping.tsv.gz"):
        text = "\n".join([*lines, "URS0000000009\tX\tY\t1\tz\t"]).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        assert with_genes(entries([[one]], 0), path)[0].description.endswith("(HOXC-AS4) (NEW1)")


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("m.tsv", b"a\tb\tc\n", "m.tsv, line 1: 3 columns"),
        ("m.tsv.gz", b"no gzip", "missing or damaged"),
        ("m.tsv.gz", gzip.compress(b"a\tb\n" * 99, mtime=0)[:-12], "line 1: 2 columns|damaged"),
        ("m.tsv", b"\xff\xfe\x00", "damaged"),
    ],
)
def test_a_damaged_id_mapping_is_named(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        with_genes([], tmp_path / name)


def exported(n, rng):
    return {
        "rnacentral_id": f"URS{n:010X}", "taxid": 9606, "description": 'a "quoted" } ] text \\ é\u2028',
        "rna_type": None, "databases": ["]", "}"], "secondary_structure": "((..))" * rng.randint(0, 9),
        "sequence": "".join(rng.choices("ACGT", k=rng.randint(10, 60))),
    }  # fmt: skip


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_export_is_read_record_by_record(tmp_path, monkeypatch, piece, indent):
    read = rnacentral_export._more
    monkeypatch.setattr(rnacentral_export, "_more", lambda r: read(lambda size: r(piece)))
    rng = random.Random(0)
    made = [exported(n, rng) for n in range(20)]
    path = tmp_path / "export.json.gz"
    text = json.dumps({"job": "x", "rnacentral_version": "26", "results": made}, indent=indent)
    path.write_bytes(gzip.compress(text.encode()))
    got = list(rnacentral_export.records(path))
    assert [r.rna_id for r in got] == [f"{m['rnacentral_id']}_9606" for m in made]
    assert [r.sequence for r in got] == [m["sequence"] for m in made]


WHOLE = json.dumps({"results": [exported(1, random.Random(1))] * 3}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no gzip", gzip.compress(WHOLE, mtime=0)[:-30], gzip.compress(WHOLE[:-20], mtime=0),
        gzip.compress(b'{"results": [{"taxid": 1}]}', mtime=0),
        gzip.compress(b'{"other": []}', mtime=0), gzip.compress(b'{"results": [1, 2]}', mtime=0),
        gzip.compress(WHOLE.replace(b"taxid", b"\xff\xfe"), mtime=0),
    ],
)  # fmt: skip
def test_a_damaged_export_is_named(tmp_path, data):
    (tmp_path / "export.json.gz").write_bytes(data)
    with pytest.raises(InputError, match="is no whole export; delete it"):
        list(rnacentral_export.records(tmp_path / "export.json.gz"))


# The stand-in against real replies of the services.


def shape(data):
    """Keys and kinds, without values; of a list its first element's."""
    if isinstance(data, dict):
        return {key: shape(value) for key, value in data.items()}
    if isinstance(data, list):
        return [shape(data[0])] if data else []
    return type(data).__name__


@pytest.fixture(scope="module")
def where():
    with serve(Ebi(size=20)) as url:
        yield addresses(url)


def test_ebi_search_answers_as_the_real_one(shared, where):
    real = json.loads((shared / "ebisearch" / "rnacentral_melanoma.json").read_text())
    fields = ",".join(real["entries"][0]["fields"])
    asked = {"query": 'active:"Active"', "fields": fields, "format": "json", "size": 1}
    base = f"{where['ebi_search']}/rnacentral"
    got = requests.get(base, params=asked).json()
    got["entries"][0]["fields"]["gene_synonym"] = ["x"]  # the world's genes have none
    assert shape(got) == shape(real)
    real = json.loads((shared / "ebisearch" / "rnacentral_id.json").read_text())
    name = got["entries"][0]["id"]
    got = requests.get(f"{base}/entry/{name}", params={"fields": "id,name"}).json()
    assert set(got) == set(real) and set(got["entries"][0]) == set(real["entries"][0])


@pytest.mark.parametrize(
    "file, how",
    [
        ("search_cancer", {"resultType": "lite"}),
        ("search_cancer_core", {"resultType": "core"}),
        ("search_post_cancer", {"resultType": "lite", "synonym": "true"}),
        ("search_no_results", {"resultType": "lite"}),
    ],
)
def test_europe_pmc_answers_as_the_real_one(shared, where, file, how):
    real = json.loads((shared / "europepmc" / f"{file}.json").read_text())
    nothing = file == "search_no_results"
    query = "EXT_ID:1" if nothing else " OR ".join(f"EXT_ID:{31000000 + n}" for n in range(90))
    asked = {"query": query, "format": "json", "pageSize": 1} | how
    if "post" in file:
        got = requests.post(f"{where['europepmc']}/searchPOST", data=asked).json()
    else:
        got = requests.get(f"{where['europepmc']}/search", params=asked).json()
    assert set(got) == set(real)
    assert shape(got["request"]) == shape(real["request"])
    if not nothing:
        found = real["resultList"]["result"]
        always = set.intersection(*(set(record) for record in found))
        known = set.union(*(set(record) for record in found)) | {"pmcid", "abstractText"}
        ours = got["resultList"]["result"][0]
        assert always <= set(ours) <= known
        for key in always:
            assert isinstance(ours[key], type(found[0][key])), key


def _parameters(line):
    words = line.split()
    assert set(words[::3]) == {"-p"}
    return dict(zip(words[1::3], words[2::3], strict=True))


def test_it_is_served_from_the_command_line():
    command = [sys.executable, "-m", "tests.standin", "0", "20"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        sources, model = (child.stdout.readline().split(": ", 1) for _ in range(2))
        given = _parameters(sources[1])
        places = {"EBI_SEARCH", "EXPORT", "EUROPEPMC", "RNACENTRAL_API"}
        assert sources[0] == "00" and set(given) == places | {"INPUT"}
        assert set(_parameters(model[1])) == {"PROVIDER", "MODEL", "BASE_URL"}
        about = requests.get(f"{given['EBI_SEARCH']}/rnacentral").json()
        assert about["domains"][0]["id"] == rnacentral.DOMAIN
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
