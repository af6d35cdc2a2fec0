"""Users' own files become tables, and their faults are named with file, line and remedy."""

import doctest
import gzip
import json
import random

import pytest

from benchmarks.science import real_data
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Decompose, Filter
from rnagpt_lib.core.tables import COLUMNS, frame
from rnagpt_lib.curate import filter
from rnagpt_lib.curate.questions import qa_rules
from rnagpt_lib.curate.sources import literature, user_files
from tests.support.curated import curated

FASTA = ">a first\nACGUACGUACGU\n>b second\nGGGGCCCCAAAAUUUU\n"
ARTICLE = '{"id": "A1", "title": "T", "abstract": "b binds HuR.", "year": 2020}\n'


@pytest.fixture
def load(tmp_path):
    """Load files made of texts: ``load(fasta=…, table=…, articles=…, links=…)``."""

    def loaded(**texts):
        names = {"fasta": "r.fasta", "table": "r.tsv", "articles": "a.jsonl", "links": "l.jsonl"}
        given = {}
        for part, text in texts.items():
            given[part] = str(tmp_path / names[part])
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / names[part]).write_bytes(data)
        return curated(Filter(input="files", **given), 0, tmp_path / "made")

    return loaded


def test_fasta_alone_is_enough(load):
    data = load(fasta=FASTA.lower().replace("u", "t"))
    assert data.rnas["sequence"].tolist() == ["ACGUACGUACGU", "GGGGCCCCAAAAUUUU"]
    assert list(data.rnas.columns) == list(COLUMNS["rnas"])
    assert data.rnas["rna_type"].tolist() == ["", ""] and "truth" not in vars(data)
    assert len(load(fasta=gzip.compress(FASTA.encode())).rnas) == 2


def test_all_files_together(load):
    data = load(
        fasta=FASTA,
        table="rna_id\trna_type\tspecies\tsplit\nb\ttRNA\tMinia tertia\ttest\nz\trRNA\t\t\n",
        articles=ARTICLE + ARTICLE.replace("A1", "A2"),
        links='{"rna_id": "b", "article_ids": ["A1", "A1"]}\n\n',
    )
    b = data.rnas.set_index("rna_id").loc["b"]
    assert (b["rna_type"], b["species"], b["split"], b["description"]) == (
        "tRNA", "Minia tertia", "test", "second",
    )  # fmt: skip
    assert data.links.values.tolist() == [["b", "A1"]]
    assert data.dropped[["record", "reason"]].values.tolist() == [
        ["z", "in r.tsv but not in the FASTA file"],
        ["A2", "article linked with no RNA that is kept"],
    ]


def test_unfit_records_are_dropped_not_fatal(load):
    rng = random.Random(0)
    long = "".join(rng.choices("ACGU", k=3000))
    text = f"{FASTA}>tiny\nACGUA\n>long\n{long}\n>odd\nACGUXACGUACGU\n>a again\nacguacguacgu\n"
    data = load(fasta=text, links='{"rna_id": "long", "article_ids": []}')
    assert data.rnas["rna_id"].tolist() == ["a", "b"]
    reasons = data.dropped.set_index("record")["reason"]
    assert reasons["tiny"] == "shorter than 10 nt (5 nt)"
    assert reasons["long"] == "longer than 1024 nt (3,000 nt)"
    assert "'X' at position 5" in reasons["odd"] and reasons["odd"].startswith("line 9")
    assert reasons["a"] == "line 11: the same record as on line 1"


def test_line_separators_of_unicode_within_a_text_are_no_ends_of_lines(load):
    article = '{"id": "A1", "title": "t", "abstract": "one\u2028two", "year": 2020}'
    links = '{"rna_id": "a", "article_ids": ["A1"]}'
    data = load(fasta=FASTA, articles=article, links=links)
    assert data.articles["abstract"].tolist() == ["one two"]


def article(article_id, title="T", abstract="b binds HuR.", year=2020):
    row = {"id": article_id, "title": title, "abstract": abstract, "year": year}
    return json.dumps(row, ensure_ascii=False) + "\n"


def test_what_r_and_pandas_write_for_a_gap_is_missing(load):
    rows = ["rna_id\trna_type\tspecies\ttaxid", "a\tNA\tNaN\t<NA>", "b\ttRNA\tN/A\t9606.0"]
    rows.append("c\t-\t.\t?")
    gone = {"A1": float("nan"), "A2": "nan", "A3": "  ", "A4": "NA", "A6": "\u2013"}
    texts = [article(name, "NA", text) for name, text in gone.items()]
    texts.append(article("A5", float("nan"), "NaN values of b.", 2020.0))
    links = json.dumps({"rna_id": "b", "article_ids": [*gone, "A5"]})
    fasta = FASTA + ">c\nACGUACGUACGU\n"
    data = load(fasta=fasta, table="\n".join(rows), articles="".join(texts), links=links)
    assert data.rnas[["rna_type", "species", "taxid"]].values.tolist() == [
        ["", "", ""], ["tRNA", "", "9606"], ["", "", ""],
    ]  # fmt: skip
    assert data.articles.values.tolist() == [["A5", "", "NaN values of b.", 2020]]
    assert data.links.values.tolist() == [["b", "A5"]]
    lost = data.dropped.set_index("record")["reason"]
    assert set(lost) == {"article without an abstract"} and set(lost.index) == set(gone)


def test_texts_and_ids_come_in_as_those_of_live_sources(load):
    texts = [
        article("A1", "<i>b</i>", "<h4>Aim</h4>b&#8209;1 &amp; c. gli\u00adoma, IL\u20116."),
        article("A2", abstract="b <script>x</script>"),
    ]
    data = load(
        fasta=">Sj\u00f6gren\u20111\nACGUACGUACGU\n",
        table="rna_id\trna_type\nSjo\u0308gren-1\ttRNA\n",
        articles="".join(texts),
        links='{"rna_id": "Sj\\u00f6gren\\u00101", "article_ids": ["A1", "A2"]}'.replace(
            "0010", "2010"
        ),
    )
    assert data.rnas[["rna_id", "rna_type"]].values.tolist() == [["Sj\u00f6gren-1", "tRNA"]]
    assert data.articles.values.tolist() == [["A1", "b", "Aim: b-1 & c. glioma, IL-6.", 2020]]
    assert data.links.values.tolist() == [["Sj\u00f6gren-1", "A1"]]
    assert "markup" in data.dropped["reason"].item()
    with pytest.raises(InputError, match="two ids read 'b-1'.*rename one"):
        load(fasta=FASTA + ">b-1\nACGUACGUACGU\n>b\u20101\nACGUACGUACGA\n")


RETRACTED = (
    "RETRACTED: b", "[Retracted] b", "RETRACTED ARTICLE: b", "Retraction Note: b", "WITHDRAWN: b",
    "Retraction notice to \u201cb\u201d", "Statement of Retraction: b", "Retraction to: b",
    "RETRACTED \u2014 b", "b (Retracted article. See vol. 5)", "<b>Retracted</b>: b",
    "Retraction for Li et al., b", "Retraction Statement: b", "Notice of Retraction. Li J. b",
    "WITHDRAWN\u2014b", "Editor\u2019s retraction: b", "REMOVED: b", "Retracted manuscript: b",
    "b (Retraction of vol 3, pg 7, 2020)",
)  # fmt: skip


def test_retracted_articles_are_left_out_and_others_stay(load):
    stay = ("Retraction of axons needs b", "Withdrawal of b", "Protrusion and retraction: b", "b",
            "Removed ends of b", "Loss of ends (retraction of b)")  # fmt: skip
    texts = "".join(article(f"A{n}", title) for n, title in enumerate((*RETRACTED, *stay)))
    links = json.dumps(
        {"rna_id": "b", "article_ids": [f"A{n}" for n in range(len(RETRACTED + stay))]}
    )
    data = load(fasta=FASTA, articles=texts, links=links)
    assert data.articles["title"].tolist() == list(stay) and len(data.links) == len(stay)
    assert set(data.dropped["reason"]) == {literature.RETRACTED} and len(data.dropped) == len(
        RETRACTED
    )


FAULTS = {
    "no header": ({"fasta": "ACGU\n>a\nACGU"}, "r.fasta, line 1: .*header line"),
    "binary": ({"fasta": b"\x00\xff\xfe>a"}, "r.fasta, line 1: .*binary"),
    "empty": ({"fasta": ""}, "r.fasta is empty"),
    "one id, two sequences": (
        {"fasta": FASTA + ">a\nCCCCCCCCCCCCC"}, "r.fasta, line 5: id 'a' was used on line 1",
    ),
    "nothing left": ({"fasta": ">a\nACGUA"}, "r.fasta: no RNA is left .*10 to 1024 nt.*a, shorter"),
    "only X": ({"fasta": ">a\nXXXXXXXXXXXX"}, "no RNA is left .*'X' at position 1"),
    "unknown column": ({"table": "rna_id\tcolour\na\tred"}, "r.tsv, line 1: column 'colour'"),
    "no rna_id": ({"table": "rna_type\ntRNA"}, "r.tsv, line 1: the column rna_id is missing"),
    "ragged row": ({"table": "rna_id\trna_type\na"}, "r.tsv, line 2: 1 fields .* has 2"),
    "row twice": ({"table": "rna_id\trna_type\na\tx\na\ty"}, "r.tsv, line 3: rna_id 'a'.*twice"),
    "row twice, after a gap": (
        {"table": "rna_id\trna_type\n\na\tx\n\na\ty"},
        "r.tsv, line 5: rna_id 'a'.*twice",
    ),
    "other sequence": ({"table": "rna_id\tsequence\na\tCCCC"}, "r.tsv, line 2: the sequence of 'a'"),
    "odd side": ({"table": "rna_id\tsplit\na\tdev"}, "r.tsv, line 2: split 'dev'.*train, val, test"),
    "empty table": ({"table": "\n"}, "r.tsv is empty"),
    "binary table": ({"table": b"\xff\xfe\x00"}, "r.tsv is binary"),
    "bad JSON": ({"articles": ARTICLE + "{oops"}, "a.jsonl, line 2: no valid JSON"),
    "no abstract": ({"articles": '{"id": "A", "title": "t"}'}, "a.jsonl, line 1: 'abstract' is missing"),
    "not an object": ({"articles": "[1]"}, "a.jsonl, line 1: 'id' is missing"),
    "article twice": ({"articles": ARTICLE * 2}, "a.jsonl, line 2: id 'A1' stands there twice"),
    "odd year": ({"articles": ARTICLE.replace("2020", '"soon"')}, "a.jsonl, line 1: year 'soon'"),
    "year of 30 digits": (
        {"articles": ARTICLE.replace("2020", "9" * 30)}, "a.jsonl, line 1: year '9{30}' is none",
    ),
    "year of another script": (
        {"articles": ARTICLE.replace("2020", '"²"')}, "a.jsonl, line 1: year '²' is none",
    ),
    "year of 5000 digits": ({"articles": ARTICLE.replace("2020", "9" * 5000)}, "no valid JSON"),
    "deep JSON": ({"articles": "[" * 99_999}, "a.jsonl, line 1: it is nested too deeply; write"),
    "half a character": ({"articles": '{"id": "\\ud800"}'}, "line 1: half a character.*write"),
    "many columns": ({"table": "x\t" * 2000}, "r.tsv, line 1: 2,001 columns are more than"),
    "long line": ({"articles": "x" * 2**24 + "x"}, "a.jsonl: a line has more than 16,777,216 char"),
    "long name": ({"table": "rna_id\t" + "x" * 9999}, "r.tsv, line 1: column 'x{100,500}…$"),
    "no year": ({"articles": ARTICLE.replace("2020", "NaN")}, "a.jsonl, line 1: year '' is none"),
    "unknown RNA": ({"links": '{"rna_id": "q", "article_ids": []}'}, "l.jsonl, line 1: rna_id 'q'"),
    "unknown article": (
        {"links": '{"rna_id": "a", "article_ids": ["A9"]}'}, "l.jsonl, line 1: article 'A9'",
    ),
    "ids no list": ({"links": '{"rna_id": "a", "article_ids": "A1"}'}, "line 1: article_ids is no list"),
}  # fmt: skip


def test_a_fault_names_file_line_and_remedy(load, tmp_path):
    for name, (texts, message) in FAULTS.items():
        with pytest.raises(InputError, match=message) as error:
            load(**({"fasta": FASTA} | texts))
        assert "\n" not in str(error.value), name
        assert not list((tmp_path / "made").iterdir()), name


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="set FASTA"):
        filter.write_tables(Filter(input="files"), 0, tmp_path)
    with pytest.raises(InputError, match="none.fasta: there is no such file"):
        filter.write_tables(Filter(input="files", fasta=str(tmp_path / "none.fasta")), 0, tmp_path)


def test_types_are_read_from_rnacentral_headers_alone():
    for rna_id, description, *expected in (
        ("URS00008314B2", "tRNA from 13 species", "tRNA", "", ""),
        ("URS000006DA05_9606", "Homo sapiens (human) pre_miRNA hsa-mir-876", "pre_miRNA", "Homo sapiens", "9606"),
        ("URS00008314B2", "autocatalytically_spliced_intron from 2 species", "autocatalytically_spliced_intron", "", ""),
        ("URS00008314B2_562", "Escherichia coli uncharacterized sequence", "", "Escherichia coli", "562"),
        ("mine", "tRNA from 13 species", "", "", ""),
        ("URS00008314B2", "", "", "", ""),
    ):  # fmt: skip
        assert [*user_files.parse_description(rna_id, description).values()] == expected


def test_real_precursors_with_their_abstracts(shared, tmp_path):
    given = {name.lower(): path for name, path in real_data.precursors(tmp_path).items()}
    data = curated(Filter(input="files", **given), 0, tmp_path / "made")
    assert (len(data.rnas), len(data.articles)) == (117, 606) and data.dropped.empty
    assert set(data.rnas["rna_type"]) == {"pre_miRNA"} and set(data.rnas["taxid"]) == {"9606"}


def test_real_rnacentral_headers_give_28_types(shared, tmp_path):
    fasta = real_data.rnacentral(shared)["FASTA"]
    data = curated(Filter(input="files", fasta=fasta), 0, tmp_path)
    assert data.rnas["rna_type"].value_counts().to_dict() == dict.fromkeys(
        data.rnas["rna_type"].unique(), 50
    )
    assert data.rnas["rna_type"].nunique() == 28 and len(data.rnas) + len(data.dropped) == 1400
    pairs, *_ = qa_rules.pairs(
        data.rnas, frame("annotations", []), data.articles, data.links, Decompose()
    )
    assert (pairs["form"] == "open").sum() == len(data.rnas)


def test_examples_in_docstrings():
    result = doctest.testmod(user_files)
    assert result.attempted and not result.failed


def test_one_name_over_two_columns_is_refused(load):
    for head in ("rna_id\tspecies\tspecies", "rna_id\t\t"):
        with pytest.raises(InputError, match=r"r.tsv, line 1: the column '\w*' stands twice"):
            load(fasta=FASTA, table=f"{head}\nb\tx\ty\n")
