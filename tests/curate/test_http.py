"""HTTP with one host: every fault on the wire ends as documented, against a real server."""

import gzip
import threading

import pytest
from pydantic import BaseModel
from werkzeug import Request, Response

from rnagpt_lib.core.errors import InputError, NotThere, Refused
from rnagpt_lib.curate.sources import http
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Pace
from tests.standin import Faults, faults, serve


class Echo(BaseModel):
    said: str
    agent: str = ""
    page: str = ""


class Host:
    """Answers ``/text`` with JSON about the request."""

    prefix = "/host"

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.path.endswith("/packed"):
            body = gzip.compress(b'{"said": "' + b"x" * 1_000_000 + b'"}')
            answer = Response(body, headers={"content-encoding": "gzip"})
        elif request.path.endswith("/moved"):
            answer = Response("", 301, {"location": "text?page=moved"})
        elif request.path.endswith("/text"):
            said = request.form.get("said") or request.get_data(as_text=True) or request.method
            about = {"said": said, "agent": str(request.user_agent)}
            text = Echo(**about, page=request.args.get("page", "")).model_dump_json()
            answer = Response(text, content_type="application/json")
        else:
            answer = Response("", 404)
        return answer(environ, start_response)


@pytest.fixture
def queue():
    return Faults()


@pytest.fixture
def site(queue, pauses):
    with serve(Host(), faults=queue) as url:
        yield Site(f"{url}/host/", Pace(1e9))


def test_it_says_who_it_is_and_reads_json(site):
    got = site.get("/text", Echo, page=3)
    assert (got.said, got.page) == ("GET", "3") and got.agent.startswith("rnagpt-lib/")
    assert site.post("/text", Echo, form={"said": "a form"}).said == "a form"
    assert site.post("/text", Echo, json={"a": 1}).said == '{"a":1}'


PASSING = {
    "429 with a wish": faults.status(429, retry_after="7"),
    "429 without": faults.status(429),
    "500": faults.status(500),
    "502": faults.status(502),
    "503 with a date": faults.status(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "504": faults.status(504),
    "reset before the headers": faults.reset,
    "reset after the work": faults.after_the_work,
    "reset inside the body": faults.reset_inside,
    "half a body": faults.half_a_body,
    "a web page": faults.html,
    "bad JSON": faults.bad_json,
    "other JSON": faults.changed(lambda data: {"error": "none"}),
}


def test_a_fault_that_passes_is_asked_again_and_one_that_stays_is_told(site, queue, pauses):
    for name, fault in PASSING.items():
        pauses.clear(), queue.clear()
        queue.add(fault, times=2)
        assert site.get("/text", Echo).said == "GET", name
        assert len(queue.seen) == 3 and len(pauses) >= 2, name
        assert ("wish" in name) == (7 in pauses), name
        queue.clear()
        queue.add(fault, times=retries.ATTEMPTS)
        with pytest.raises(InputError, match=r"^127.0.0.1:\d+: .*run it again later") as error:
            site.get("/text", Echo)
        assert "\n" not in str(error.value) and len(queue.seen) == retries.ATTEMPTS, name


def test_a_refusal_is_not_repeated(site, queue, pauses):
    for code in (400, 401, 403, 405, 414):
        queue.clear()
        queue.add(faults.status(code, body={"error": "no\x1b[31m good\nat all"}))
        with pytest.raises(Refused, match=rf"refuses /host/text with status {code} .*no") as error:
            site.get("/text", Echo)
        assert str(error.value).isprintable() and len(queue.seen) == 1 and not pauses


def test_what_is_not_there_is_named(site, queue):
    with pytest.raises(NotThere, match="has no /host/nothing; check the base URL"):
        site.get("/nothing", Echo)
    assert len(queue.seen) == 1


def test_an_answer_has_to_end_in_time_and_within_bounds(site, queue, monkeypatch):
    ticks = iter(range(0, 10**9, 30))
    with monkeypatch.context() as patched:
        patched.setattr(retries, "clock", lambda: float(next(ticks)))
        queue.add(faults.trickle, faults.raw(forever=b"HTTP/1.1 103 Early Hints\r\n\r\n"))
        queue.add(faults.raw(b"HTTP/1.1 200 OK\r\nx: ", forever=b"y"))
        assert site.get("/text", Echo).said == "GET"
        queue.add(faults.trickle, times=retries.ATTEMPTS)
        with pytest.raises(InputError, match="not complete after 300 s"):
            site.get("/text", Echo)
    assert len(site.get("/packed", Echo).said) == 1_000_000
    monkeypatch.setattr(http, "LARGEST", 100)
    queue.add(faults.trickle)
    for path in ("/text", "/packed"):
        with pytest.raises(InputError, match="sends more than 100 bytes"):
            site.get(path, Echo)


def test_redirects_stay_with_the_host(site, queue):
    assert site.get("/moved", Echo).page == "moved"
    queue.add(faults.redirect("http://192.0.2.1/x"))  # an attempt would fail the test
    with pytest.raises(InputError, match="sends us on to 192.0.2.1"):
        site.get("/text", Echo)
    queue.add(faults.redirect("/host/text"))
    with pytest.raises(Refused, match="status 302"):  # it would become a GET
        site.post("/text", Echo, form={})
    queue.add(faults.redirect("/host/text"), times=4)
    assert site.get("/text", Echo).said == "GET"


def test_a_host_that_is_not_there(pauses):
    with pytest.raises(InputError, match="^127.0.0.1:9: the connection broke"):
        Site("http://127.0.0.1:9", Pace(1e9)).get("/", Echo)


def test_only_http_is_an_address(monkeypatch):
    for address in (
        "",
        "ftp://host/x",
        "host/path",
        "file:///etc/passwd",
        "http://[::1",
        "http://",
    ):
        with pytest.raises(InputError, match="write https://"):
            Site(address, Pace(1))
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:9")
    with pytest.raises(InputError, match="127.0.0.1:9 cannot be asked from here: ALL_PROXY is no"):
        Site("http://127.0.0.1:9", Pace(1))


def test_a_key_goes_with_every_request_and_netrc_does_not_replace_it_or_add_one(
    queue, pauses, tmp_path, monkeypatch
):
    (tmp_path / ".netrc").write_text("default login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serve(Host(), faults=queue) as url:
        Site(f"{url}/host", Pace(1e9), key="mine").get("/text", Echo)
        Site(f"{url}/host", Pace(1e9)).get("/text", Echo)
    assert queue.seen[0].headers["authorization"] == "Bearer mine"
    assert "authorization" not in queue.seen[1].headers


def test_a_key_that_the_host_repeats_is_in_no_answer_and_no_message(queue, pauses, caplog):
    key = "vllm-canary-01234567"
    caplog.set_level("DEBUG")
    with serve(Host(), faults=queue) as url:
        site = Site(f"{url}/host", Pace(1e9), key=key)
        said = [str(site.post("/text", Echo, form={"said": f"a {key}"}))]
        for fault in (
            faults.status(400, body={"error": key}),
            faults.headed(f"400 {key}", {"x": key}, key.encode()),
            faults.redirect(f"http://{key}.example/{key}"),
            faults.redirect(f"/host/{key}"),
        ):
            queue.add(fault)
            with pytest.raises(InputError) as caught:
                site.get("/text", Echo)
            said.append(str(caught.value))
    assert "said='a ***'" in said[0] and "***" in said[1]
    assert key not in "".join([*said, caplog.text])


def test_what_stands_between_us_and_a_host_is_named(queue, pauses, monkeypatch):
    with pytest.raises(InputError, match="a..b: the connection broke"):
        Site("http://a..b", Pace(1e9)).get("/text", Echo)
    queue.add(faults.status(407), faults.status(503))
    with serve(Host(), faults=queue) as url, monkeypatch.context() as patched:
        patched.setenv("HTTPS_PROXY", url)
        with pytest.raises(InputError, match="the proxy of the environment says 407 .*HTTPS_PROXY"):
            Site("https://example.invalid", Pace(1e9)).get("/text", Echo)
        assert len(queue.seen) == 1
    retries._roots.cache_clear()
    with monkeypatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", "/no/such.pem")
        with pytest.raises(InputError, match="No such file.*SSL_CERT_FILE"):
            Site("http://127.0.0.1:9", Pace(1e9))
    retries._roots.cache_clear()


def test_a_redirect_to_no_address_is_told(site, queue):
    for place in ("http://[::1", "http://h:99999999/", "http://xn--/", "x" * 70_000, "\x80", "//"):
        queue.clear()
        queue.add(faults.headed("302 Found", {"location": place}), times=99)
        with pytest.raises(InputError, match="connection broke|sends us on to|has no"):
            site.get("/text", Echo)


def test_the_pace_holds_whoever_asks(monkeypatch):
    now, lock, sent = [0.0], threading.Lock(), []

    def pause(seconds):
        with lock:
            sent.append(seconds)

    monkeypatch.setattr("rnagpt_lib.llm_api.retries.clock", lambda: now[0])
    monkeypatch.setattr(retries, "pause", pause)
    pace = Pace(10)
    threads = [threading.Thread(target=pace.take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == pytest.approx([n / 10 for n in range(1, 20)])
    now[0] = 100.0
    pace.take()
    assert len(sent) == 19  # an idle host owes nothing
    pace.rest(5)
    pace.take()
    assert sent[-1] == pytest.approx(5)
