"""``rnagpt audit``: page and numbers, whole or not at all; what a data set brings never acts."""

import json
import random

import pytest

from tests.evaluate.test_audit import leaking
from tests.support.rendered import Tags

PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


@pytest.fixture
def files(tmp_path):
    """A leaking set that brings a payload wherever it can."""
    train, test = leaking(random.Random(30))
    for rows in (train, test):
        rows["id"] = [f"{PAYLOAD} {i}" for i in range(len(rows))]
        rows["answer"] = rows.answer + PAYLOAD
        rows["question"] = rows.question + PAYLOAD
    test.loc[29, "sequence"] = "MEEPQSDPSV"
    paths = [tmp_path / "train.parquet", tmp_path / "test.parquet"]
    train.to_parquet(paths[0])
    test.to_parquet(paths[1])
    return paths


@pytest.mark.slow
def test_the_command_writes_an_inert_page_and_numbers_and_says_what_it_found(
    rnagpt, files, tmp_path
):
    out = tmp_path / "my.html"
    code, said, _ = rnagpt("audit", *files, "--out", out)
    numbers = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert code == 0 and "21 % of the test RNAs (6 of 29) are in train letter by letter" in said
    told = [line for line in said.splitlines() if line.startswith("- ")]
    assert [f"- {sentence}" for sentence in numbers["findings"]] == told
    there = {path.name for path in tmp_path.iterdir()} - {"runs"}
    assert there == {"my.html", "my.json", "test.parquet", "train.parquet"}

    page = Tags(out.read_text("utf-8"))
    assert "script" not in page.tags and not any(name[:2] == "on" for name, _ in page.attributes)
    assert all(v.startswith("data:image/") for k, v in page.attributes if k == "src")
    assert numbers["findings"][0] in page.text and "looks like a protein" in page.text

    kept = out.read_text("utf-8")
    code, _, said = rnagpt("audit", *files, "--out", out)
    assert code == 2 and f"{out} exists; --force replaces it" in said
    assert out.read_text("utf-8") == kept


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("my.pdf", "let its name end in .html"),
        ("nowhere/my.html", "nowhere is no folder; make it first"),
        ("folder.html", "folder.html is a folder; name another place"),
        ("my.html", "no.fasta: there is no such file"),
    ],
)
def test_faults_are_told_before_anything_is_written(rnagpt, tmp_path, out, words):
    (tmp_path / "folder.html").mkdir()
    code, _, said = rnagpt("audit", "no.fasta", "no.fasta", "--out", tmp_path / out)
    assert code == 2 and words in said and "Traceback" not in said
    assert not (tmp_path / "my.html").exists()
