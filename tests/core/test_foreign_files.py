"""Whatever a file holds, its reader says so in a sentence: hundreds of files that were changed at
random, and files of tens of megabytes that are made to take memory."""

import gzip
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnagpt_lib import cli
from rnagpt_lib.core import fasta, params, paths, tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.curate.sources import user_files
from rnagpt_lib.evaluate import audit
from rnagpt_lib.runs import provenance, stages
from rnagpt_lib.runs.folder import lock_of, release_lock
from rnagpt_lib.runs.run import Run
from tests.support.damage import VALUES, mutate, spoil

FIRST, MUTATIONS = stages.FILTER, 150


def check(read: Callable[[], object]) -> bool:
    """Whether it was read; what it raises is a sentence, or the test fails."""
    try:
        read()
    except InputError as error:
        said = str(error)
        assert "\n" not in said and 10 < len(said) < 3000, said[:3000]
        return False
    return True


def read_all(stream: Callable) -> Callable[[Path], list]:
    return lambda path: [*stream(path)]


def as_table(path: Path) -> object:
    return [tables.read(path, "rnas"), tables.read_part(path, "rnas", ["rna_id", "length"])]


def as_articles(path: Path) -> object:
    return user_files.read(params.Filter(fasta=str(path.with_name("good.fa")), articles=str(path)))


def as_fields(path: Path) -> object:
    return user_files.read(params.Filter(fasta=str(path.with_name("good.fa")), table=str(path)))


RNA = "GGCUAGCUCAAUCGGUAGAGC"
GOOD = {
    "good.fa": f">a tRNA\n{RNA}\n\n>b other\nACGUNNacgt-ACGU\nACGU\n".encode(),
    "profile.yaml": (paths.profiles() / "mini.yaml").read_bytes(),
    "fields.tsv": f"rna_id\trna_type\tsplit\tsequence\na\ttRNA\ttrain\t{RNA}\nb\t\t\t\n".encode(),
    "audit.tsv": f"id\tsequence\tanswer\nx\t{RNA}\t1.0\ny\tACGU\t0\n".encode(),
    "articles.jsonl": b'{"id": "A1", "title": "t", "abstract": "An abstract.", "year": 2020}\n' * 1,
    "audit.jsonl": json.dumps({"sequence": RNA, "answer": "a", "id": 3}).encode() + b"\n",
}
READERS = {
    "good.fa": (fasta.read_fasta, read_all(fasta.stream_records),
                lambda path: fasta.read_fasta(path, {}), lambda path: audit.read(path)),
    "profile.yaml": (cli._read,),
    "fields.tsv": (as_fields,),
    "audit.tsv": (audit.read,),
    "articles.jsonl": (as_articles,),
    "audit.jsonl": (audit.read,),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("name", READERS)
def test_files_that_changed_at_random_are_read_or_refused_in_a_sentence(name, folder):
    rng, path, read = random.Random(name), folder / f"changed.{name}", 0
    for number in range(MUTATIONS):
        path.write_bytes(mutate(GOOD[name], rng) if number else GOOD[name])
        for reader in READERS[name]:
            read += check(partial(reader, path))
    assert len(READERS[name]) <= read < len(READERS[name]) * MUTATIONS - 5


def test_zipped_files_too(tmp_path):
    rng, path = random.Random(0), tmp_path / "changed.fa.gz"
    whole = gzip.compress(GOOD["good.fa"], mtime=0)
    for number in range(MUTATIONS):
        inside = gzip.compress(mutate(GOOD["good.fa"], rng), mtime=0)
        path.write_bytes(inside if number % 2 else mutate(whole, rng))
        for reader in READERS["good.fa"]:
            check(partial(reader, path))


def test_parquet_too(tmp_path):
    rng, path = random.Random(0), tmp_path / "changed.parquet"
    row = dict.fromkeys(tables.COLUMNS["rnas"], "x") | {"sequence": RNA, "length": len(RNA)}
    rnas = [row | {"rna_id": f"R{i}"} for i in range(20)]
    tables.write(tmp_path / "rnas.parquet", "rnas", tables.frame("rnas", rnas))
    pairs = pa.table({"sequence": [RNA] * 20, "answer": [*"ab"] * 10, "id": range(20)})
    pq.write_table(pairs, tmp_path / "audit.parquet")
    read = 0
    for name, reader in (("rnas", as_table), ("audit", audit.read)):
        whole = (tmp_path / f"{name}.parquet").read_bytes()
        for number in range(MUTATIONS):
            path.write_bytes(mutate(whole, rng) if number else whole)
            read += check(partial(reader, path))
    assert read >= 2


def test_values_of_parameters_too():
    rng, profile, read = random.Random(0), params.load("mini"), 0
    for _ in range(10 * MUTATIONS):
        stage = rng.choice(stages.STAGES)
        name = rng.choice([*params.STAGE_MODELS[stage].model_fields])
        value = rng.choice(
            (*VALUES, float("nan"), float("inf"), -float("inf"), b"x", {1: 2}, "9" * 9999)
        )
        if check(lambda s=stage, n=name, v=value: profile.stage(s, **{n: v})):
            json.dumps(profile.stage(stage, **{name: value}).key(), allow_nan=False).encode()
            read += 1
    assert read > 100


ASKED = (
    lambda: stages.is_fresh("mini", FIRST),
    lambda: stages.is_fresh("mini", stages.TOPICS),
    lambda: stages.command("mini", FIRST),
    lambda: stages.profile_of("mini"),
    lambda: stages.stage_hash("mini", FIRST),
    lambda: provenance.origin("mini"),
    lambda: provenance.is_generated("mini"),
    lambda: provenance.Provenance.of("mini", (FIRST,)).hashes,
    lambda: provenance.Provenance.of("mini", (FIRST,)).generated,
)


def test_a_run_folder_too(own_runs, tmp_path):
    Run.open(FIRST).finish()
    source = {"name": "x", "url": "http://h/", "records": 3}
    write_json(stages.stage_folder("mini", FIRST) / "sources.json", {"sources": [source]})
    shutil.copytree(own_runs / "mini", tmp_path / "whole")
    rng = random.Random(0)
    for number in range(MUTATIONS):
        release_lock(lock_of(stages.stage_folder("mini", FIRST)))
        shutil.rmtree(own_runs / "mini")
        shutil.copytree(tmp_path / "whole", own_runs / "mini")
        name = rng.choice(("manifest.json", "params.json", "sources.json"))
        path = stages.stage_folder("mini", FIRST) / name
        if number % 3:
            data = spoil(read_json(path), rng)
            path.write_text(json.dumps(data), "utf-8")
        else:
            path.write_bytes(mutate(path.read_bytes(), rng))
        for ask in ASKED if number % 5 else (lambda: Run.open(FIRST),):
            check(ask)
    release_lock(lock_of(stages.stage_folder("mini", FIRST)))


# --- memory: 50 MB of any kind in less than 2 GB

MB = 1 << 20
READ = """
import re, sys
from pathlib import Path
from rnagpt_lib.core.errors import InputError
from tests.core.test_foreign_files import GREEDY
try:
    GREEDY[sys.argv[1]][1](Path(sys.argv[2]))
except InputError as error:
    print(str(error)[:300])
# its own peak: that of getrusage begins with the parent's
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def numbered(line: str, until: int = 49 * MB) -> bytes:
    """So many numbered lines, or records, as have this size."""
    return "".join(line.format(i) for i in range(until // (len(line) + 6))).encode()


GREEDY: dict[str, tuple[Callable[[], bytes], Callable[[Path], object]]] = {
    "lists.json": (lambda: b"[" + b"[]," * (16 * MB) + b"[]]", read_json),
    "dicts.json": (lambda: b'{"a":[' + b'{"a":1},' * (6 * MB) + b"0]}", read_json),
    "long.yaml": (lambda: b"- a\n" * (12 * MB), cli._read),
    "narrow.tsv": (lambda: b"sequence\tanswer\n" + b"AC\txy\n" * (8 * MB), audit.read),
    "wide.tsv": (lambda: b"a\t" * (24 * MB), audit.read),
    "empty.jsonl": (lambda: b"\n" * (48 * MB), audit.read),
    "one_line.jsonl": (lambda: b"[" * (48 * MB), audit.read),
    "short.jsonl": (lambda: b'{"sequence":"A","answer":"b"}\n' * int(1.6 * MB), audit.read),
    "short.fa": (lambda: numbered(">{} a\nACGUACGUAC\n"), audit.read),
    "held.fa": (lambda: numbered(">{}\nACGU\n"), fasta.read_fasta),
    "refused.fa": (lambda: numbered(">{}\nX\n"), lambda path: fasta.read_fasta(path, {})),
    "bomb.fa.gz": (lambda: gzip.compress(b">a\n" + b"ACGU" * (500 * MB // 4)), fasta.read_fasta),
    "records.fa.gz": (
        lambda: gzip.compress(b"".join(b">%d\n" % i + b"A" * MB + b"\n" for i in range(1200))),
        fasta.read_fasta,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GREEDY)
def test_fifty_megabytes_of_any_kind_take_less_than_two_gigabytes(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(GREEDY[name][0]())
    assert path.stat().st_size < 50 * MB
    command = [sys.executable, "-c", READ, name, path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=paths.root())
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < 2000, done.stdout


def test_damage_is_done_and_repeats():
    data = b'{"a": [1, 2, {"b": "c"}]}'
    done = [mutate(data, random.Random(seed)) for seed in range(50)]
    assert done == [mutate(data, random.Random(seed)) for seed in range(50)]
    assert len(set(done)) > 40 and done.count(data) < 5
    spoilt = [spoil({"a": [1, {"b": "c"}]}, random.Random(seed)) for seed in range(50)]
    assert spoilt.count({"a": [1, {"b": "c"}]}) < 5
