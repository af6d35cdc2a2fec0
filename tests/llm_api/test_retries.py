from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Again, persistently, retry_after


def failing(*faults):
    """A call that raises the faults in turn, then returns "done"."""
    left = list(faults)

    def call():
        if left:
            raise left.pop(0)
        return "done"

    return call


def test_it_waits_as_long_as_the_server_asks(pauses):
    assert persistently(failing(), "it") == "done" and pauses == []
    assert persistently(failing(Again("busy", 3), Again("busy", 0)), "it") == "done"
    assert pauses == [3, 0]


def test_without_a_wish_the_wait_grows_with_jitter_and_has_a_limit(pauses):
    for _ in range(200):
        persistently(failing(*[Again("busy")] * 5), "it")
    for n in range(5):
        column = pauses[n::5]
        assert len(set(column)) > 100 and 0.5 <= min(column) and max(column) <= 2**n + 0.5


def test_it_gives_up_with_the_reason(pauses):
    with pytest.raises(InputError, match="^the server: status 503; run it again later"):
        persistently(failing(*[Again("status 503")] * 9), "the server")
    assert len(pauses) == retries.ATTEMPTS - 1
    pauses.clear()
    with pytest.raises(InputError, match="come back in 86400 s"):
        persistently(failing(Again("quota of the day", 86400)), "it")
    with pytest.raises(ZeroDivisionError):  # others are not repeated
        persistently(failing(ZeroDivisionError()), "it")
    assert pauses == []


def test_a_header_is_read_or_says_nothing():
    for text in ("", "soon", "-", "Mon, 99 Foo"):
        assert retry_after({"retry-after": text}) is None
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < retry_after({"retry-after": later}) <= 90
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "-5"}) == 0
