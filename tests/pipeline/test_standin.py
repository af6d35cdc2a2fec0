"""The stand-in server's faults are what they say they are, on the wire."""

import json
import subprocess
import sys
import threading

import httpx2
import pytest
from werkzeug import Request, Response

from tests.standin import Faults, faults, serve
from tests.standin.ebi import Ebi, addresses


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
    assert httpx2.post(f"{url}/a?b=1", content=b"text").json() == {"path": "/a", "body": "text"}
    assert httpx2.get(url.replace("/echo", "/other")).status_code == 404
    first = queue.seen[0]
    assert (first.method, first.path, first.query, first.body) == (
        "POST", "/echo/a", {"b": "1"}, b"text",
    )  # fmt: skip
    assert len(queue.asked("/echo")) == 1


def test_a_fault_hits_one_request_of_its_path(url, queue):
    queue.add(faults.status(503, retry_after="7"), where="/b", times=2)
    assert httpx2.get(f"{url}/a").status_code == 200
    answer = httpx2.get(f"{url}/b")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert httpx2.get(f"{url}/b").status_code == 503 and queue.left == 0
    assert httpx2.get(f"{url}/b").status_code == 200


@pytest.mark.parametrize("fault", [faults.reset, faults.after_the_work])
def test_a_reset_is_one(url, queue, echo, fault):
    queue.add(fault)
    with pytest.raises(httpx2.NetworkError, match="reset by peer"):
        httpx2.get(url)
    assert echo.worked == (fault is faults.after_the_work)


@pytest.mark.parametrize("fault", [faults.half_a_body, faults.reset_inside])
def test_half_a_body_comes_with_the_headers_of_the_whole(url, queue, fault):
    queue.add(fault)
    with httpx2.stream("GET", url) as answer:
        assert answer.status_code == 200 and int(answer.headers["content-length"]) > 10
        with pytest.raises(httpx2.HTTPError):
            answer.read()


def test_html_bad_json_redirects_and_changes(url, queue):
    moved = faults.redirect("http://192.0.2.1/")
    queue.add(faults.html, faults.bad_json, moved, faults.changed(lambda d: d | {"path": "x"}))
    assert "html" in httpx2.get(url).headers["content-type"]
    with pytest.raises(json.JSONDecodeError):
        httpx2.get(url).json()
    assert httpx2.get(url).headers["location"] == "http://192.0.2.1/"
    assert httpx2.get(url).json()["path"] == "x"


def test_a_trickle_never_ends_and_a_held_answer_waits(url, queue):
    queue.add(faults.trickle)
    with httpx2.stream("GET", url) as answer:
        pieces = answer.iter_raw(1)
        assert b"".join(next(pieces) for _ in range(50)) == b" " * 50
    until, arrived = threading.Event(), threading.Event()
    queue.add(faults.held(until, arrived))
    got = []
    thread = threading.Thread(target=lambda: got.append(httpx2.get(url).status_code))
    thread.start()
    assert arrived.wait(10) and not got
    until.set()
    thread.join()
    assert got == [200]


# The stand-in against real replies of the services.


def shape(data):
    """Keys and kinds, without values; of a list its first element's."""
    if isinstance(data, dict):
        return {key: shape(value) for key, value in data.items()}
    if isinstance(data, list):
        return [shape(data[0])] if data else []
    return type(data).__name__


@pytest.fixture(scope="module")
def where():
    with serve(Ebi(size=20)) as url:
        yield addresses(url)


def test_ebi_search_answers_as_the_real_one(shared, where):
    real = json.loads((shared / "ebisearch" / "rnacentral_melanoma.json").read_text())
    fields = ",".join(real["entries"][0]["fields"])
    asked = {"query": 'active:"Active"', "fields": fields, "format": "json", "size": 1}
    base = f"{where['ebi_search']}/rnacentral"
    got = httpx2.get(base, params=asked).json()
    got["entries"][0]["fields"]["gene_synonym"] = ["x"]  # the world's genes have none
    assert shape(got) == shape(real)
    real = json.loads((shared / "ebisearch" / "rnacentral_id.json").read_text())
    name = got["entries"][0]["id"]
    got = httpx2.get(f"{base}/entry/{name}", params={"fields": "id,name"}).json()
    assert set(got) == set(real) and set(got["entries"][0]) == set(real["entries"][0])


@pytest.mark.parametrize(
    "file, how",
    [
        ("search_cancer", {"resultType": "lite"}),
        ("search_cancer_core", {"resultType": "core"}),
        ("search_post_cancer", {"resultType": "lite", "synonym": "true"}),
        ("search_no_results", {"resultType": "lite"}),
    ],
)
def test_europe_pmc_answers_as_the_real_one(shared, where, file, how):
    real = json.loads((shared / "europepmc" / f"{file}.json").read_text())
    nothing = file == "search_no_results"
    query = "EXT_ID:1" if nothing else " OR ".join(f"EXT_ID:{31000000 + n}" for n in range(90))
    asked = {"query": query, "format": "json", "pageSize": 1} | how
    if "post" in file:
        got = httpx2.post(f"{where['europepmc']}/searchPOST", data=asked).json()
    else:
        got = httpx2.get(f"{where['europepmc']}/search", params=asked).json()
    assert set(got) == set(real)
    assert shape(got["request"]) == shape(real["request"])
    if not nothing:
        found = real["resultList"]["result"]
        always = set.intersection(*(set(record) for record in found))
        known = set.union(*(set(record) for record in found)) | {"pmcid", "abstractText"}
        ours = got["resultList"]["result"][0]
        assert always <= set(ours) <= known
        for key in always:
            assert isinstance(ours[key], type(found[0][key])), key


def _parameters(line):
    words = line.split()
    assert set(words[::3]) == {"-p"}
    return dict(zip(words[1::3], words[2::3], strict=True))


def test_it_is_served_from_the_command_line():
    command = [sys.executable, "-m", "tests.standin", "0", "20"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        sources, model = (child.stdout.readline().split(": ", 1) for _ in range(2))
        given = _parameters(sources[1])
        places = {"EBI_SEARCH", "EUROPEPMC", "RNACENTRAL_API"}
        assert sources[0] == "00" and set(given) == places | {"INPUT"}
        assert set(_parameters(model[1])) == {"PROVIDER", "MODEL", "BASE_URL"}
        about = httpx2.get(f"{given['EBI_SEARCH']}/rnacentral").json()
        assert about["domains"][0]["id"] == "rnacentral"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
