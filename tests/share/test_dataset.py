"""The exported data set: what is in it, what is not, its card, and that it is whole or absent."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from rnagpt_lib.cli import main
from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import MARKER, sha256
from rnagpt_lib.curate import prompts
from rnagpt_lib.runs import provenance, stages
from rnagpt_lib.runs.run import Run
from rnagpt_lib.share import cards, dataset
from rnagpt_lib.share import folder as export
from tests.support.finished import made
from tests.support.rendered import pages

FIRST, TOPICS, SUMMARIES, LAST = stages.STAGES[:4]
CONFIGS = ["pairs", "rnas", "annotations", "links", "articles", "dropped"]
SIDES = {"train": "train", "val": "validation", "test": "test"}
SENTENCE = (
    "Hsa-mir-876 is associated with glioma, as two groups of patients in one hospital showed."
)


@pytest.fixture(scope="module")
def finished_world(tmp_path_factory):
    """A run ``w`` on the generated world, made once, and its export."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNAGPT_RUNS", str(folder / "runs"))
        made("w")
        dataset.export_dataset("w", folder / "out")
    return folder


@pytest.fixture
def shipped(finished_world, monkeypatch):
    """The export, to be read only."""
    monkeypatch.setenv("RNAGPT_RUNS", str(finished_world / "runs"))
    return finished_world / "out"


@pytest.fixture
def world(finished_world, own_runs):
    """The run ``w``, to do with as a test likes."""
    shutil.copytree(finished_world / "runs", own_runs)
    return own_runs / "w"


@pytest.fixture
def real(own_runs, tmp_path):
    """Makes a run of files, with articles that somebody may own."""

    def run(**parts):
        given = {
            name: tmp_path / f"mine.{name}" for name in ("fasta", "table", "articles", "links")
        }
        given["fasta"].write_text(
            ">URS000006DA05_9606 Homo sapiens (human) pre_miRNA hsa-mir-876\nACGUACGUACGUAAGGCC\n"
            ">URS00000000B2_9606 Homo sapiens (human) tRNA x\nGGGGCCCCAAAAUUUUGAUC\n>short\nAC\n"
        )
        given["table"].write_text(
            parts.pop("table", "rna_id\tfamily\nURS000006DA05_9606\tmir-876\n")
        )
        article = {"id": "PMC1", "title": "What mir-876 does", "abstract": SENTENCE, "year": 2020}
        given["articles"].write_text(json.dumps(article))
        given["links"].write_text('{"rna_id": "URS000006DA05_9606", "article_ids": ["PMC1"]}')
        first = {"input": "files"} | {name: str(path) for name, path in given.items()}
        return made("r", first=first, **parts)

    return run


def exported(out, config, side="*"):
    """A config's rows, read from the files."""
    files = sorted((out / "data" / config).glob(f"{side}-*.parquet"))
    return pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)


def of(table, stage=LAST):
    """A table of the run."""
    return tables.read(stages.stage_folder("w", stage) / f"{table}.parquet", table)


def header(out):
    return yaml.safe_load((out / "README.md").read_text("utf-8").split("---\n")[1])


def snapshot(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


# --- what is in it


def test_every_pair_is_there_with_its_rna_on_its_side(shipped):
    rnas, pairs = of("rnas"), of("pairs")
    wanted = pairs.merge(rnas, on="rna_id")
    for ours, side in SIDES.items():
        found = exported(shipped, "pairs", side)
        own = wanted[wanted["split"] == ours].reset_index(drop=True)
        assert len(own) and "split" not in found and "description" not in found
        for name in set(found) - {"article_ids"}:
            assert found[name].tolist() == own[name].tolist(), name
        assert [list(ids) for ids in found["article_ids"]] == own["article_ids"].tolist()


def test_the_other_configs_hold_the_runs_rows(shipped):
    rows = json.loads((shipped / "rnagpt_export.json").read_text())["rows"]
    assert list(rows) == CONFIGS
    side = of("rnas").set_index("rna_id")["split"]
    homes = {"rnas": LAST, "annotations": SUMMARIES, "links": FIRST, "articles": FIRST}
    for config, home in homes.items():
        table, found = of(config, home), exported(shipped, config)
        assert len(found) == len(table) == sum(rows[config].values())
        assert set(found[found.columns[0]]) == set(table[table.columns[0]])
        if config != "articles":
            test = set(exported(shipped, config, "test")["rna_id"])
            assert test and set(side[list(test)]) == {"test"}
    dropped = [of("dropped", stage) for stage in (FIRST, SUMMARIES, LAST)]
    assert len(exported(shipped, "dropped")) == sum(map(len, dropped))


LOAD = """
import json, os, sys
from datasets import get_dataset_config_names, load_dataset
for out in sys.argv[1:]:
    found = {}
    for config in get_dataset_config_names(out):
        data = load_dataset(out, config)
        found[config] = {side: rows.num_rows for side, rows in data.items()}
    default = {side: rows.num_rows for side, rows in load_dataset(out).items()}
    files = {side: f"{out}/data/pairs/{side}-*.parquet" for side in found["pairs"]}
    parquet = {s: r.num_rows for s, r in load_dataset("parquet", data_files=files).items()}
    [row] = load_dataset(out, "pairs", split="train", streaming=True).take(1)
    print(json.dumps([found, default, parquet, row]), flush=True)
os._exit(0)  # a thread of the stream that still reads ahead would abort the interpreter's end
"""


@pytest.mark.slow
def test_the_library_datasets_loads_it(world, tmp_path, monkeypatch):
    """Several shards a side, and a run without literature; in a process that may not leave here."""
    (tmp_path / "x.fasta").write_text(">URS00000000B2 tRNA from 3 species\nGGGGCCCCAAAAUUUUGAUC\n")
    made("bare", first={"input": "files", "fasta": str(tmp_path / "x.fasta")})
    for name, rows in {"GROUP_ROWS": 50, "SHARD_ROWS": 100, "BATCH_ROWS": 40}.items():
        monkeypatch.setattr(dataset, name, rows)
    outs = tmp_path / "out", tmp_path / "bare"
    written = [
        dataset.export_dataset(run, out) for run, out in zip(("w", "bare"), outs, strict=True)
    ]
    assert len(list((tmp_path / "out/data/pairs").glob("train-*"))) > 1
    assert list(written[1]) == ["pairs", "rnas", "dropped"]
    offline = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD, *map(str, outs)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | offline)
    assert done.returncode == 0, done.stderr
    for rows, out, line in zip(written, outs, done.stdout.splitlines()[-2:], strict=True):
        found, default, parquet, row = json.loads(line)
        assert found == rows and default == parquet == rows["pairs"]
        assert {"question", "answer", "sequence", "unit"} <= set(row)
        assert row["pair_id"] == exported(out, "pairs", "train")["pair_id"][0]


# --- what is not in it


def everything(out):
    """All texts of an export, bytes of parquet decoded."""
    texts = [file.read_text("utf-8") for file in out.iterdir() if file.is_file()]
    return "\n".join(texts + [exported(out, config).to_json() for config in CONFIGS])


def test_abstracts_that_somebody_may_own_are_left_out(real, tmp_path):
    data = real()
    dataset.export_dataset("r", tmp_path / "out")
    text = everything(tmp_path / "out").casefold().replace("this rna", "hsa-mir-876")
    words = [
        w.casefold() for w in re.findall(r"[\w-]+", SENTENCE + " " + data.articles["title"][0])
    ]
    for i in range(len(words) - 4):
        assert " ".join(words[i : i + 5]) not in text
    assert "PMC1" in exported(tmp_path / "out", "annotations")["article_ids"].explode().tolist()
    assert list(exported(tmp_path / "out", "articles")) == ["article_id", "year"]
    assert "glioma" in exported(tmp_path / "out", "pairs")["answer"].str.cat()
    assert header(tmp_path / "out")["license"] == "unknown"
    text = (tmp_path / "out/README.md").read_text("utf-8")  # reasons are counted without numbers
    assert "| 00_filter_rnacentral | shorter than # nt (# nt) | 1 |" in text
    assert "shorter than 10 nt (2 nt)" in exported(tmp_path / "out", "dropped")["reason"].tolist()


def test_the_card_counts_answers_that_are_missing(real, tmp_path, monkeypatch):
    real()
    for pattern, said in (
        (cards.MISSING, "pairs, as their texts carry no more."),
        ("shorter", "no more, or as answers of the model are missing (1 in the table above)."),
    ):
        monkeypatch.setattr(cards, "MISSING", pattern)
        dataset.export_dataset("r", tmp_path / pattern[:4])
        assert said in (tmp_path / pattern[:4] / "README.md").read_text("utf-8")


def test_texts_of_others_stay(real, tmp_path):
    given = tmp_path / "given.jsonl"
    given.write_text('{"rna_id": "URS000006DA05_9606", "text": "It binds HuR, so we say."}')
    real(second={"given": str(given)})
    dataset.export_dataset("r", tmp_path / "out")
    found = exported(tmp_path / "out", "annotations").set_index("source")["text"]
    assert "binds HuR" in found["given"] and pd.isna(found["dnc"])


def test_abstracts_need_a_word_from_the_user(real, tmp_path, capsys):
    real()
    with pytest.raises(InputError, match="r are not generated.*--with-copyrighted-abstracts$"):
        dataset.export_dataset("r", tmp_path / "out", with_abstracts=True)
    assert not (tmp_path / "out").exists() and "Note" not in capsys.readouterr().err
    dataset.export_dataset("r", tmp_path / "out", with_copyrighted_abstracts=True)
    assert "belong to their publishers" in capsys.readouterr().err
    assert exported(tmp_path / "out", "articles")["abstract"].tolist() == [SENTENCE]
    assert exported(tmp_path / "out", "annotations")["text"].notna().all()


def test_generated_abstracts_need_none(world, tmp_path, capsys):
    dataset.export_dataset("w", tmp_path / "out", with_abstracts=True)
    assert exported(tmp_path / "out", "articles")["abstract"].str.len().gt(20).all()
    assert "Note" not in capsys.readouterr().err


# --- the card


def test_card_counts_are_those_of_the_tables(shipped):
    text = (shipped / "README.md").read_text("utf-8")
    pairs, rnas = of("pairs"), of("rnas")
    sides = pairs.merge(rnas, on="rna_id")
    assert f"{len(pairs):,} questions and answers about {len(rnas)} RNAs" in text
    for (kind, form), own in sides.groupby(["kind", "form"]):
        n = own["split"].value_counts().reindex(SIDES, fill_value=0)
        assert f"| {kind} | {form} | {n['train']} | {n['val']} | {n['test']} |" in text
    for side, own in rnas.groupby("split"):
        n = (sides["split"] == side).sum()
        assert f"| {SIDES[side]} | {len(own)} | {own['unit'].nunique()} | {n} |" in text
    assert "| units on two sides | 0 |" in text and "| 90.0% |" in text
    links = of("links", FIRST).merge(rnas, on="rna_id")
    shared = int((links.groupby("article_id")["split"].nunique() > 1).sum())
    assert f"| articles linked with RNAs on two sides | {shared} |" in text
    assert all(stages.stage_hash("w", stage)[:12] in text for stage in stages.DATA)
    assert header(shipped)["size_categories"] == ["n<1K"]


def test_size_categories():
    for n, size in {999: "n<1K", 1000: "1K<n<10K", 2_000_000: "1M<n<10M"}.items():
        assert cards.size_category(n) == size


def test_card_names_sources_models_costs_and_prompts_and_no_key_address_or_folder(
    real, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    source = {"name": "RNAcentral", "url": "https://rnacentral.org", "release": 26,
              "date": "2026-11-24", "query": "has_lit_scan", "records": 12345, "licence": "CC0"}  # fmt: skip
    url = "https://models.example:8443/v1"
    real(
        sources={"sources": [source, {"name": "Europe PMC"}]},
        second={"provider": "openai", "base_url": url}, last={"provider": "openai"},
    )  # fmt: skip
    dataset.export_dataset("r", tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text("utf-8")
    row = "RNAcentral | 26 | 2026-11-24 | 12,345 | CC0 | has_lit_scan | https\\://rnacentral.org"
    assert f"| {row} |" in text
    assert "| 02_summarize | some-model | 321 | 45,678 | 9,876 | 0.1200 |" in text
    for name in ("SUMMARY", "MERGE", "QA"):
        assert getattr(prompts, name) in text and getattr(prompts, f"{name}_VERSION") in text
    assert header(tmp_path / "out")["license"] == "other"
    text = everything(tmp_path / "out")
    assert "models.example" in text and "mine.fasta" in text
    for word in ("sk-canary", "8443", str(tmp_path), str(Path.home())):
        assert word not in text
    assert exported(tmp_path / "out", "annotations")["text"].notna().all()  # a model's own words


def test_the_origin_names_the_hosts(real, world):
    source = {"name": "RNAcentral", "url": "http://127.0.0.1:8765/ebi"}
    real(sources={"sources": [source, source, {"name": "x"}]})
    assert provenance.origin("r") == "the user's files"
    path = stages.stage_folder("r", FIRST) / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"input": "files"', '"input": "rnacentral"'))
    assert provenance.origin("r").endswith("from 127.0.0.1:8765")
    assert provenance.origin("w") == "the generated miniature world"


def test_card_says_that_the_rnas_are_a_sample(real, tmp_path):
    source = {"name": provenance.ENTRIES, "query": "has_lit_scan", "records": 412_345}
    real(sources={"sources": [source]})
    run = provenance.Provenance.of("r")
    made_of = dataset.write_tables("r", tmp_path / "out", run.split, texts=False, quotes=False)
    for limit, is_sample in ((5000, True), (0, False), (412_345, False)):
        params = run.params | {FIRST: run.params[FIRST] | {"limit": limit}}
        text = cards.dataset_card(replace(run, params=params), made_of)
        said = "of the 412,345 entries that the query finds, `LIMIT` drew 5,000"
        assert (said in text) == is_sample == ("are a sample" in text)
        assert ("and 2 of those are here" in text) == is_sample


def test_sources_that_are_none_are_refused(world, tmp_path):
    for bad in ("[1]", "{oops", '{"sources": [{"url": "x"}]}', '{"sources": 3}'):
        (world / FIRST / "sources.json").write_text(bad)
        with pytest.raises(InputError, match="sources.json"):
            provenance.Provenance.of("w")


def test_hostile_texts_stay_texts(real, tmp_path):
    hostile = "</td><script>alert(1)</script>|[x](http://evil.example)```---configs: []"
    table = (
        f"rna_id\trna_type\tspecies\tfamily\nURS00000000B2_9606\t{hostile}\t{hostile}\t{hostile}\n"
    )

    def change(name, frame):
        if name != "dropped":
            return frame
        row = {
            "stage": LAST,
            "record": "x",
            "reason": f"```\n---\nconfigs: []\n---\n# T\n{hostile}",
        }
        return pd.concat([frame, pd.DataFrame([row])], ignore_index=True)

    source = {"name": hostile, "licence": "---\nlicense: evil"}
    real(table=table, change=change, sources={"sources": [source]})
    dataset.export_dataset("r", tmp_path / "out")
    assert [config["config_name"] for config in header(tmp_path / "out")["configs"]] == CONFIGS
    text = (tmp_path / "out/README.md").read_text("utf-8")
    (page,) = pages([text.split("---\n", 2)[2]])
    assert "alert(1)" in page.text and "evil.example" in page.text
    known = "h1 h2 p strong code pre ul li table thead tbody tr th td div span".split()
    assert set(page.tags) <= set(known) and page.tags.count("h1") == 1


# --- whole, or absent


def test_the_same_run_gives_the_same_bytes_and_stays_as_it_is(shipped, world, tmp_path):
    before = snapshot(world)
    dataset.export_dataset("w", tmp_path / "deep/er/b")
    assert snapshot(shipped) == snapshot(tmp_path / "deep/er/b")
    assert snapshot(world) == before and stages.is_fresh("w", LAST) is None


def test_checksums_name_every_file(shipped):
    lines = (shipped / "SHA256SUMS").read_text().splitlines()
    sums = {line[66:]: line[:64] for line in lines}
    files = {name for name in snapshot(shipped) if name != "SHA256SUMS"}
    assert set(sums) == files and len(files) > 10
    assert all(sha256(shipped / name) == digest for name, digest in sums.items())


def test_unfinished_and_stale_runs_are_refused_with_the_command(world, tmp_path):
    with pytest.raises(InputError, match="there is no run none; runs are w$"):
        dataset.export_dataset("none", tmp_path / "out")
    (world.parent / "begun" / FIRST).mkdir(parents=True)
    with pytest.raises(InputError, match=f"has not been run yet; .*rnagpt run {FIRST} --profile"):
        dataset.export_dataset("begun", tmp_path / "out")
    Run.open(LAST, run="w", seed=3, max_pairs=9)
    with pytest.raises(InputError) as refused:
        dataset.export_dataset("w", tmp_path / "out")
    assert str(refused.value).endswith(
        f"finish it first: rnagpt run {LAST} --profile mini --run w -p SEED 3 -p MAX_PAIRS 9"
    )
    note = world / SUMMARIES / "note.txt"
    note.write_text("by hand")
    with pytest.raises(InputError, match=f"deleted since; .*{SUMMARIES} .* && .*{LAST}"):
        dataset.export_dataset("w", tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def torn(rnas):
    members = rnas.index[rnas["unit"] == rnas["unit"].mode()[0]]
    sides = pd.Series(["train"] + ["test"] * (len(members) - 1), members)
    return rnas.assign(split=sides.reindex(rnas.index).fillna(rnas["split"]))


BROKEN = [
    ("pairs", lambda f: pd.concat([f, f.head(1)]), "1 pair ids stand there twice"),
    ("pairs", lambda f: f.assign(rna_id="URS1"), "rna_id URS1 is not among the run's"),
    ("pairs", lambda f: f.assign(pair_id="x y"), "'x y' is not 16 hex"),
    ("pairs", lambda f: f.head(0), "holds no pair"),
    ("pairs", lambda f: f.drop(columns="answer"), "no readable table pairs"),
    ("rnas", lambda f: f.assign(split=""), "is on the side ''; sides are train, val, test"),
    ("rnas", torn, "1 units stand on two sides.*SPLIT is cluster"),
]


def test_broken_invariants_are_refused_in_a_sentence(world, tmp_path):
    for number, (table, change, words) in enumerate(BROKEN):
        path = world / LAST / f"{table}.parquet"
        whole = path.read_bytes()
        change(pd.read_parquet(path)).to_parquet(path, index=False)
        with pytest.raises(InputError, match=words) as refused:
            dataset.write_tables("w", tmp_path / f"{number}", "cluster", texts=True, quotes=True)
        assert "\n" not in str(refused.value)
        if change is torn:  # a random split may tear units
            made_of = dataset.write_tables(
                "w", tmp_path / "random", "random", texts=True, quotes=True
            )
            assert list(made_of.rows) == CONFIGS
        path.write_bytes(whole)


def test_a_random_split_is_told(own_runs, tmp_path):
    made("b", last={"split": "random"})
    dataset.export_dataset("b", tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text("utf-8")
    assert "relatives stand on both sides" in text and "| units on two sides | 0 |" not in text


def test_only_an_earlier_export_is_ever_replaced(world, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    dataset.export_dataset("w", out)  # an empty folder is free
    whole = snapshot(out)
    with pytest.raises(InputError, match="holds an export of run w; give --force"):
        dataset.export_dataset("w", out)
    (out / "README.md").write_text("mine")
    dataset.export_dataset("w", out, force=True)
    assert snapshot(out) == whole
    (out / ".git").mkdir()
    (out / ".git/config").write_text("mine")
    with pytest.raises(InputError, match="did not write, such as .git/config"):
        dataset.export_dataset("w", out, force=True)
    assert (out / ".git/config").read_text() == "mine"


def test_other_peoples_folders_are_never_replaced(world, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years")
    for marker in (None, "{oops", "[]", '{"made_by": "me"}'):
        if marker:
            (out / MARKER).write_text(marker)
        for place in (out, out / "thesis.txt", world, world / LAST / "new"):
            with pytest.raises(InputError):
                dataset.export_dataset("w", place, force=True)
    assert (out / "thesis.txt").read_text() == "years"
    assert stages.is_fresh("w", LAST) is None


def test_two_exports_to_one_place_do_not_mix(world, tmp_path):
    with (tmp_path / ".out.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="the export to .*out is in use"):
            dataset.export_dataset("w", tmp_path / "out")
    dataset.export_dataset("w", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


def test_a_run_that_changes_meanwhile_is_refused(world, tmp_path, monkeypatch):
    def render(*_):
        again = Run.open(LAST, run="w", max_pairs=3)
        again.finish()
        return "card"

    monkeypatch.setattr(cards, "dataset_card", render)
    with pytest.raises(InputError, match="w was run again while it was exported"):
        dataset.export_dataset("w", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_a_full_disk_leaves_the_earlier_export(world, tmp_path, monkeypatch):
    out = tmp_path / "out"
    dataset.export_dataset("w", out)
    whole = snapshot(out)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "write_shards", full)
    with pytest.raises(InputError, match="out cannot be written: No space left on device"):
        dataset.export_dataset("w", out, force=True)
    assert snapshot(out) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


KILLED = """
import os, signal, sys
from pathlib import Path
from rnagpt_lib.share import cards, dataset
out, moment, rename = Path(sys.argv[1]), sys.argv[2], os.rename
def killing(old, new):
    if Path(new) == out if moment == "swap" else moment in str(new):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new)
os.rename = killing
dataset.export_dataset("w", out, force=True)
"""


def test_what_a_killed_export_left_is_in_nobodys_way(shipped, world, tmp_path):
    out, partial, aside = (tmp_path / name for name in ("out", ".out.partial", ".out.replaced"))
    shutil.copytree(shipped, out)
    for moment in ("filling", "swapping"):
        shutil.copytree(shipped / "data", partial / "data")
        (partial / export.OWN).touch()
        if moment == "swapping":
            out.rename(aside)
            with pytest.raises(InputError, match="give --force"):
                dataset.export_dataset("w", out)  # it is back, and not replaced unasked
            shutil.copytree(shipped / "data", partial / "data")
            (partial / export.OWN).touch()
        dataset.export_dataset("w", out, force=True)
        assert snapshot(out) == snapshot(shipped)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


@pytest.mark.parametrize("name", [".out.partial", ".out.replaced", ".out.lock"])
def test_what_is_anothers_in_an_exports_place_is_left(world, tmp_path, name):
    mine, place = tmp_path / "mine", tmp_path / name
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for target in (mine, mine / "thesis.txt", tmp_path / "nothing", None):
        place.symlink_to(target) if target else shutil.copytree(mine, place)
        with pytest.raises(InputError, match=f"{name} is in the way"):
            dataset.export_dataset("w", tmp_path / "out", force=True)
        place.unlink() if target else shutil.rmtree(place)
    place.write_text("all that I have written in years")
    with pytest.raises(InputError, match=f"{name} is in the way"):
        dataset.export_dataset("w", tmp_path / "out", force=True)
    assert place.read_text() == "all that I have written in years"
    assert (mine / "thesis.txt").read_text() == "years"
    assert not (tmp_path / "out").exists() and not (tmp_path / "nothing").exists()


@pytest.mark.slow
def test_killed_at_any_moment_it_is_whole_or_absent(shipped, world, tmp_path):
    out, whole = tmp_path / "out", snapshot(shipped)
    shutil.copytree(shipped, out)
    for moment in ("data/links/test", "swap"):
        command = [sys.executable, "-c", KILLED, str(out), moment]
        killed = subprocess.run(command, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not out.exists() if moment == "swap" else snapshot(out) == whole
        with pytest.raises(InputError, match="give --force"):
            dataset.export_dataset("w", out)  # what was set aside is back, and not replaced unasked
        assert snapshot(out) == whole
    dataset.export_dataset("w", out, force=True)
    assert snapshot(out) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


# --- the command


def test_the_command(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rnagpt", "export-dataset", "w", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as exited:
        main()
    said, log = capsys.readouterr()
    assert not exited.value.code and not log
    assert re.search(r"^pairs +train \d+, validation \d+, test \d+$", said, re.MULTILINE)
    assert str(tmp_path / "out/README.md") in said and (tmp_path / "out/README.md").is_file()


# --- shards: bounded, named as the Hub names them, the same rows in the same order


def test_shards_are_bounded_and_hold_all_rows_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "GROUP_ROWS", 10)
    monkeypatch.setattr(dataset, "SHARD_ROWS", 30)
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])

    def flow(last=500):
        for first in range(0, 500, 7):
            numbers = list(range(first, min(500, first + 7)))
            sides = ["validation" if i % 10 == 0 else "train" for i in numbers]
            yield pa.table({"split": sides, "text": [str(i) * 40 for i in numbers], "n": numbers})
            if first > last:
                raise InputError("of the flow")

    wanted = {"train": 450, "validation": 50}
    assert dataset.write_shards(tmp_path / "x", schema, flow()) == wanted
    for side, rows in wanted.items():
        own = sorted((tmp_path / "x").glob(f"{side}-*"))
        total = -(-rows // 30)
        assert [f.name for f in own] == [
            f"{side}-{i:05d}-of-{total:05d}.parquet" for i in range(total)
        ]
        found = pa.concat_tables(pq.read_table(file) for file in own)
        assert found.schema.equals(schema)
        assert found["n"].to_pylist() == [i for i in range(500) if (i % 10 == 0) == (rows == 50)]
        for file in own:
            about = pq.read_metadata(file)
            assert {about.row_group(i).num_rows for i in range(about.num_row_groups)} == {10}
    assert dataset.write_shards(tmp_path / "none", schema, ()) == {}
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="^of the flow$"):
        dataset.write_shards(tmp_path / "y", schema, flow(100))
    assert not list((tmp_path / "y").glob("*.parquet"))
