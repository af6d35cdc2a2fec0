"""Files written whole or not at all, hashes of content alone, and bars for eyes alone."""

import errno
import fcntl
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnagpt_lib.core import files
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import (
    digest,
    is_watched,
    lock,
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


WRITER = """
import sys, pathlib
from rnagpt_lib.core.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def start_writing(path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], **pipes)
    return writer, Path(writer.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    """By locks, as two containers on one folder number their processes alike."""
    path = tmp_path / "a[1].json"
    others = [tmp_path / name for name in (f".{'0' * 12}.b.json", ".x.a[1].json", ".77.a[1].json")]
    for other in others:
        other.touch()
    killed, left = start_writing(path)
    living, writing = start_writing(path)
    killed.kill()
    killed.wait()
    assert left.read_text() == writing.read_text() == "half" and left != writing
    write_json(path, {})
    assert not left.exists() and writing.exists() and all(other.exists() for other in others)
    living.communicate("")
    assert path.read_text() == "half" and living.returncode == 0
    assert {*tmp_path.iterdir()} == {path, *others}


def test_one_process_has_a_lock_until_it_ends(tmp_path):
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, pathlib; from rnagpt_lib.core.files import lock; "
         "print(lock(pathlib.Path(sys.argv[1])), flush=True); sys.stdin.read()", path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout.readline().strip().isdigit()
    assert lock(path) is None
    holder.kill()
    holder.communicate()
    held = lock(path)
    assert held is not None and lock(path) is None
    os.close(held)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_disk_without_locks_is_named_with_the_way_out(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True)
    with pytest.raises(
        InputError, match=r"file system \(.+\) that has no locks .*RNAGPT_RUNS"
    ) as one:
        lock(tmp_path / "a")
    assert kind.stdout.strip().split("/")[0][:3] in str(one.value)
    write_json(tmp_path / "b.json", {})  # whoever writes a file needs none
    assert read_json(tmp_path / "b.json") == {}


def test_a_lock_follows_no_link_and_locks_no_file_that_is_gone(tmp_path):
    (tmp_path / "mine").write_text("text")
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError):
        lock(tmp_path / "lock")
    assert (tmp_path / "mine").read_text() == "text"


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


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"a": ', "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        (b"not json", "no valid JSON"),
        (b"", "no valid JSON"),
        (b"[]", "valid dictionary"),
        (b"0", "valid dictionary"),
        (b"null", "valid dictionary"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no valid JSON"),
        (b'{"a": "\\ud800"}', "half a character"),
        (b'{"\\uDfff": 1}', "half a character"),
    ],
)
def test_damaged_json_is_named(tmp_path, content, fault):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=f"a.json is damaged .*{fault}.*; restore it$"):
        read_json(tmp_path / "a.json")


def test_json_of_another_kind_is_named_with_the_place(tmp_path):
    write_json(tmp_path / "a.json", {"key": {"seed": "x"}})
    with pytest.raises(InputError, match=r"damaged \(key.seed: Input should be a valid integer"):
        read_json(tmp_path / "a.json", dict[str, dict[str, int]])


def test_huge_json_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 10)
    (tmp_path / "a.json").write_text('{"a": "0123456789"}')
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_json(tmp_path / "a.json")


def test_pairs_of_halves_are_whole_characters(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"a": "\\ud83e\\uddec"}')
    assert read_json(tmp_path / "a.json") == {"a": "\U0001f9ec"}


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
