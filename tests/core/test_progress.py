"""Bars are for eyes: on a terminal and in a notebook, and in no log."""

import io
import sys
from types import SimpleNamespace

import pytest

from rnagpt_lib.core.files import is_watched, progress
from rnagpt_lib.curate import workers


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
