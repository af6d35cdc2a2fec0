"""The stand-in server's faults are what they say they are, on the wire."""

import threading

import pytest
import requests
from werkzeug import Request, Response

from tests.standin import Faults, faults, serve


class Echo:
    """Answers with what was asked."""

    prefix = "/echo"
    worked = 0

    def __call__(self, environ, start_response):
        self.worked += 1
        answer = {"path": environ["PATH_INFO"], "body": Request(environ).get_data(as_text=True)}
        return Response(str(answer).replace("'", '"'), content_type="application/json")(
            environ, start_response
        )


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def queue():
    return Faults()


@pytest.fixture
def url(echo, queue):
    with serve(echo, faults=queue) as base:
        yield f"{base}/echo"


def test_apps_answer_under_their_prefix_and_requests_are_logged(url, queue):
    assert requests.post(f"{url}/a?b=1", data=b"text").json() == {"path": "/a", "body": "text"}
    assert requests.get(url.replace("/echo", "/other")).status_code == 404
    first = queue.seen[0]
    assert (first.method, first.path, first.query, first.body) == (
        "POST", "/echo/a", {"b": "1"}, b"text",
    )  # fmt: skip
    assert len(queue.asked("/echo")) == 1


def test_a_fault_hits_one_request_of_its_path(url, queue):
    queue.add(faults.status(503, retry_after="7"), where="/b", times=2)
    assert requests.get(f"{url}/a").status_code == 200
    answer = requests.get(f"{url}/b")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert requests.get(f"{url}/b").status_code == 503 and queue.left == 0
    assert requests.get(f"{url}/b").status_code == 200


@pytest.mark.parametrize("fault", [faults.reset, faults.after_the_work])
def test_a_reset_is_one(url, queue, echo, fault):
    queue.add(fault)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        requests.get(url)
    assert echo.worked == (fault is faults.after_the_work)


@pytest.mark.parametrize("fault", [faults.half_a_body, faults.reset_inside])
def test_half_a_body_comes_with_the_headers_of_the_whole(url, queue, fault):
    queue.add(fault)
    answer = requests.get(url, stream=True)
    assert answer.status_code == 200 and int(answer.headers["content-length"]) > 10
    with pytest.raises(requests.exceptions.RequestException):
        len(answer.content)


def test_html_bad_json_redirects_and_changes(url, queue):
    moved = faults.redirect("http://192.0.2.1/")
    queue.add(faults.html, faults.bad_json, moved, faults.changed(lambda d: d | {"path": "x"}))
    assert "html" in requests.get(url).headers["content-type"]
    with pytest.raises(requests.JSONDecodeError):
        requests.get(url).json()
    assert requests.get(url, allow_redirects=False).headers["location"] == "http://192.0.2.1/"
    assert requests.get(url).json()["path"] == "x"


def test_a_trickle_never_ends_and_a_held_answer_waits(url, queue):
    queue.add(faults.trickle)
    with requests.get(url, stream=True) as answer:
        assert b"".join(answer.raw.read(1) for _ in range(50)) == b" " * 50
    until, arrived = threading.Event(), threading.Event()
    queue.add(faults.held(until, arrived))
    got = []
    thread = threading.Thread(target=lambda: got.append(requests.get(url).status_code))
    thread.start()
    assert arrived.wait(10) and not got
    until.set()
    thread.join()
    assert got == [200]
