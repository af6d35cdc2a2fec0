"""An RNA by its id: a run's tables first, RNAcentral last, and nothing odd from either."""

import pandas as pd
import pytest

from rnagpt_lib.chat import lookup
from rnagpt_lib.chat.lookup import PATIENCE, look_up
from rnagpt_lib.core import paper
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs import stages
from tests.conftest import attempts
from tests.standin import Faults, faults, serve
from tests.standin.ebi import Ebi, addresses
from tests.support.finished import FIRST, LAST

CASE = paper.CASE_STUDIES[0]


@pytest.fixture
def queue():
    return Faults()


@pytest.fixture(scope="module")
def ebi():
    return Ebi(size=12)


@pytest.fixture
def site(queue, ebi, pauses):
    with serve(ebi, faults=queue) as url:
        yield Site(addresses(url)["rnacentral_api"], Pace(1e9), PATIENCE)


@pytest.fixture
def nobody(monkeypatch):
    """RNAcentral's live site must not be asked."""

    def refuse():
        raise AssertionError("the network was to be used")

    monkeypatch.setattr(lookup, "_live", refuse)


def table(run, stage, **columns):
    """A table of RNAs of a stage; columns that are not given hold ""."""
    rows = pd.DataFrame(columns)
    for name in ("rna_type", "species", "taxid", "description", "family", "unit", "split"):
        rows[name] = rows[name] if name in rows else ""
    path = stages.stage_folder(run, stage) / "rnas.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.assign(length=rows["sequence"].str.len()).to_parquet(path)
    return path


# --- on this machine


A, G = "ACGUACGUAC", "GGGGGGGGGG"


def test_every_rna_of_the_reference_run_is_found_as_its_table_has_it(monkeypatch, nobody):
    monkeypatch.delenv("RNAGPT_RUNS")
    rows = pd.read_parquet(stages.stage_folder("reference", LAST) / "rnas.parquet")
    for row in rows.sample(20, random_state=0).to_dict("records"):
        found = look_up(row["rna_id"], "reference")
        assert (found.id, found.sequence) == (row["rna_id"], row["sequence"])
        assert found.description.endswith("(run reference)")
    with pytest.raises(InputError, match="run reference has no RNA 'MINI-R999999', and it is no"):
        look_up("MINI-R999999", "reference")


def test_ids_of_a_run_are_found_as_they_are(nobody):
    table("w", FIRST, rna_id=["a", "b"], sequence=[A, G], description=["old", "only"])
    table("w", LAST, rna_id=["a"], sequence=[A], description=["new"])
    assert look_up("a", "w").description == "new (run w)"  # 03 comes before 00
    assert look_up("b", "w").description == "only (run w)" and look_up(" a\n", "w").id == "a"
    with pytest.raises(InputError, match="run w has no RNA 'A'"):
        look_up("A", "w")
    ids = ["URS0000000001_9606", "URS0000000001_10090", "URS0000000002_9606"]
    table("v", LAST, rna_id=ids, sequence=[A, A, G])
    assert look_up("URS0000000001", "v").id == ids[1]  # any of its species, no other URS
    assert all(look_up(rna_id.lower(), "v").id == rna_id for rna_id in ids)
    for other in ("URS0000000001_960", "URS000000000"):
        with pytest.raises(InputError):
            look_up(other, "v", offline=True)
    ids = ["my%rna", "my.rna", "a_b", "URS", "100"]  # of a user's own FASTA: no patterns
    table("u", FIRST, rna_id=ids, sequence=[A] * 5)
    assert all(look_up(rna_id, "u").id == rna_id for rna_id in ids)
    for missing in ("my_rna", "my", "a", "%", ".*"):
        with pytest.raises(InputError, match="run u has no RNA"):
            look_up(missing, "u")


def test_the_paper_s_rnas_need_no_network(nobody):
    for case in paper.CASE_STUDIES:
        found = look_up(case.rna_id)
        assert found == look_up(case.rna_id.partition("_")[0].lower())
        assert (found.sequence, found.description) == (case.sequence, f"{case.what} (paper)")
    table("w", LAST, rna_id=[CASE.rna_id], sequence=[CASE.sequence], species=["x"])
    assert look_up(CASE.rna_id, "w").description == "(run w)"


def test_a_damaged_table_is_named(nobody):
    path = table("w", LAST, rna_id=["a"], sequence=[A])
    for data in (b"", b"PAR1 no table", path.read_bytes()[:-9]):
        path.write_bytes(data)
        with pytest.raises(InputError, match="03_decompose_qa/rnas.parquet is no readable table"):
            look_up("a", "w")
    pd.DataFrame({"rna_id": ["a"]}).to_parquet(path)
    with pytest.raises(InputError, match="is no readable table"):
        look_up("a", "w")


def test_what_is_no_id_is_told_so_and_never_sent(nobody):
    for bad in (
        "", "  ", "URS12", "URS000000000G_1", "URS0000000001_", "URS0000000001_0", "rnacentral",
        "URS0000000001_9606/../x", "URS0000000001?x=1", "URS0000000001_9606 9", "x" * 10_000,
        "URS0000000001_12345678901", "URS0000000001_٣", "http://evil.example/", "\x1b[31m",
    ):  # fmt: skip
        with pytest.raises(InputError, match="is no id of RNAcentral .*paste the sequence") as no:
            look_up(bad)
        assert len(str(no.value)) < 200 and str(no.value).isprintable()


def test_offline_nothing_is_asked_for(nobody, site, queue, ebi, monkeypatch):
    for how in ("argument", "1", "yes"):
        if how != "argument":
            monkeypatch.setenv("RNAGPT_OFFLINE", how)
        with pytest.raises(InputError, match="is not on this machine, .*paste the sequence inst"):
            look_up("URS0000000001_9606", site=site, offline=how == "argument")
    assert not queue.seen and look_up(CASE.rna_id, offline=True).sequence == CASE.sequence
    for value in ("", "0"):
        monkeypatch.setenv("RNAGPT_OFFLINE", value)
        assert "RNAcentral" in look_up(ebi.rnas[0]["id"][0], site=site).description


# --- at RNAcentral


def test_a_record_is_asked_for_by_its_id_with_or_without_a_species(site, queue, ebi):
    for entry in ebi.rnas:
        rna_id = entry["id"][0]
        urs, _, taxid = rna_id.partition("_")
        found = look_up(rna_id, site=site)
        assert (found.id, found.sequence) == (rna_id, entry["sequence"][0])
        assert found.description.endswith("(RNAcentral)")
        bare = look_up(f" {urs.lower()} ", site=site)
        assert (bare.id, bare.sequence) == (urs, found.sequence)
    asked = [(seen.method, seen.path, seen.query) for seen in queue.seen]
    assert asked[-2:] == [
        ("GET", f"/ebi/api/v1/rna/{urs}/{taxid}", {"format": "json"}),
        ("GET", f"/ebi/api/v1/rna/{urs}", {"format": "json"}),
    ]
    assert len(asked) == 2 * len(ebi.rnas)  # one request for each


def test_a_run_that_has_it_is_asked_first_and_one_that_lacks_it_is_no_end(site, queue, ebi):
    rna_id = ebi.rnas[0]["id"][0]
    table("w", LAST, rna_id=[rna_id], sequence=["ACGUACGUAC"])
    assert look_up(rna_id, "w", site).description == "(run w)" and not queue.seen
    assert "RNAcentral" in look_up(ebi.rnas[1]["id"][0], "w", site).description and queue.seen


def test_an_id_that_rnacentral_lacks_is_told_so(site, ebi):
    with pytest.raises(InputError, match="has no RNA URS0000000009; check the id, or paste the se"):
        look_up("URS0000000009", site=site)
    urs = ebi.rnas[0]["id"][0].partition("_")[0]
    with pytest.raises(InputError, match=f"no RNA {urs}_1; check the id, or leave out _1, or past"):
        look_up(f"{urs}_1", site=site)


ID = "URS0000A00001_9901"
GOOD = {"rnacentral_id": ID, "sequence": "ACGUACGUAC", "rna_type": "pre miRNA", "species": "S s",
        "taxid": 9901, "description": "d", "publications": 3, "genes": []}  # fmt: skip


def answered(site, queue, **changes):
    queue.clear()
    queue.add(faults.status(200, body=GOOD | changes), times=PATIENCE.attempts)
    return look_up(ID, site=site)


def test_texts_become_one_printable_line_and_sequences_are_read_as_everywhere(site, queue):
    hostile = "  <script>alert(1)</script>\x1b[31m\n\nred\u202e\u200b\t| # T \x00 "
    found = answered(site, queue, description=hostile, rna_type=hostile)
    assert (
        found.description
        == "<script>alert(1)</script>\ufffd[31m red\ufffd\ufffd | # T \ufffd (RNAcentral)"
    )
    long = answered(site, queue, description="x" * 9999).description
    assert long == "x" * lookup.LINE + " (RNAcentral)"
    assert answered(site, queue, description=None, rna_type=None).description == "(RNAcentral)"
    assert answered(site, queue, sequence="acgtacgtNN").sequence == "ACGUACGUNN"


def test_a_record_that_is_none_is_told_with_the_remedy(site, queue):
    for changes, said in (
        ({"sequence": "ACGU<b>"}, "letter '<' at position 5"),
        ({"sequence": "MKVLELE"}, "looks like a protein"),
        ({"sequence": ""}, "the sequence is empty"),
        ({"sequence": "\x1b[31mACGU"}, r"letter '\\x1b' at position 1"),
        ({"sequence": ["ACGU"]}, "no known form .sequence"),
        ({"sequence": "A" * (lookup.LONGEST + 1)}, "no known form .sequence"),
        ({"description": {"a": 1}}, "no known form .description"),
        ({"taxid": "many"}, "no known form .taxid"),
        ({"taxid": 9902}, "another RNA than"),
        ({"taxid": None}, "another RNA than"),
        ({"rnacentral_id": "URS0000A00001"}, "another RNA than"),
    ):
        with pytest.raises(InputError, match=f"{said}.*; paste the sequence instead$") as no:
            answered(site, queue, **changes)
        assert ID in str(no.value) and str(no.value).isprintable()


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(429, retry_after="3000"), faults.status(503, retry_after="6"),
        faults.status(403, body={"detail": "no\x1b[31m"}), faults.reset, faults.html,
        faults.status(200, body=[GOOD]), faults.redirect("http://192.0.2.1/x"),
    ],
)  # fmt: skip
def test_a_server_at_fault_is_not_waited_for(site, queue, pauses, fault):
    queue.add(fault, times=retries.ATTEMPTS)
    with pytest.raises(InputError, match=f"^RNAcentral cannot be asked for {ID}: ") as no:
        look_up(ID, site=site)
    told = str(no.value)
    assert told.endswith("; paste the sequence instead") and told.isprintable()
    assert told.count("paste") == 1 and "later" not in told
    assert len(queue.seen) <= PATIENCE.attempts and sum(pauses) <= PATIENCE.longest


def test_a_fault_that_passes_is_asked_again(site, queue):
    queue.add(faults.status(502), faults.status(200, body=GOOD))
    assert look_up(ID, site=site).description == "d (RNAcentral)" and queue.left == 0


def test_without_a_network_it_says_so(pauses):
    with pytest.raises(InputError, match="cannot be asked for URS0000000009: .*connection broke"):
        look_up("URS0000000009", site=Site("http://127.0.0.1:9", Pace(1e9), PATIENCE))


def test_the_live_site_is_rnacentral_s(pauses):
    with pytest.raises(InputError, match=r"rnacentral.org: the connection broke .*; paste the seq"):
        look_up("URS0000000009_9606")
    tried = attempts()  # the guard held them back
    assert len(tried) == PATIENCE.attempts and all("rnacentral.org" in one for one in tried)
