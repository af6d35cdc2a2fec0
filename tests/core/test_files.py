"""Files written whole or not at all, hashes of content alone, and bars for eyes alone."""

import io
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import (
    digest,
    is_watched,
    progress,
    read_json,
    replacing,
    sha256,
    visible,
    write_json,
)
from rnagpt_lib.curate import workers


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"), replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, others = tmp_path / f".{dead.pid}.a.json", tmp_path / f".{dead.pid}.b.json"
    living, hidden = tmp_path / f".{os.getppid()}.a.json", tmp_path / ".x.a.json"
    for path in (left, others, living, hidden):
        path.touch()
    write_json(tmp_path / "a.json", {})
    assert not left.exists() and others.exists() and living.exists() and hidden.exists()


def test_the_temporary_name_keeps_the_ending_and_is_hidden(tmp_path):
    with replacing(tmp_path / "a.ipynb") as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".ipynb" and temporary.name.startswith(".")
        assert not visible(tmp_path)
    assert list(visible(tmp_path)) == ["a.ipynb"]


def test_json_comes_back_and_missing_is_empty(tmp_path):
    write_json(tmp_path / "a.json", {"é": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"é": [1, 2.5, None]}
    assert read_json(tmp_path / "b.json") == {}


def test_json_with_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe", b"not json"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match="a.json is damaged"):
        read_json(tmp_path / "a.json")


def test_a_changed_file_has_another_hash_even_of_the_same_size(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    first = sha256(path)
    path.write_text("two")
    assert sha256(path) != first
    path.write_text("one")
    assert sha256(path) == first


def test_a_folder_is_hashed_by_names_and_content_not_by_place_time_or_hidden_files(tmp_path):
    for name in "ab":
        (tmp_path / name / "x").mkdir(parents=True)
        (tmp_path / name / "x" / "1.txt").write_text("1")
    (tmp_path / "b" / ".hidden").write_text("1")
    os.utime(tmp_path / "b" / "x" / "1.txt", (0, 0))
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    (tmp_path / "b" / "x" / "1.txt").rename(tmp_path / "b" / "x" / "2.txt")
    assert sha256(tmp_path / "a") != sha256(tmp_path / "b")


def test_digests_do_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "shell", "seen"),
    [(io.StringIO(), None, False), (Terminal(), None, True), (io.StringIO(), object(), True)],
)
def test_a_bar_is_seen_on_a_terminal_and_in_a_notebook(monkeypatch, stream, shell, seen):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_watched() == seen
    assert list(progress(range(3), file=stream)) == [0, 1, 2]
    assert bool(stream.getvalue()) == seen


def test_a_log_gets_none(capfd):
    assert list(workers.mapped(str, range(3), workers=1, total=3)) == ["0", "1", "2"]
    assert capfd.readouterr() == ("", "")
