"""Every fault of a paid call, and how it has to end: for the tests and the campaign.

| fault | its attempt | the call ends |
|---|---|---|
| 429 with and without retry-after, 500, 503 with an error object | failed, costs nothing | ok, asked again |
| 502 of a proxy; reset before and after the work, inside the body; half a body; slow trickle of 103s, headers, body | lost, counts as spent | ok, asked again |
| bad JSON, JSON of another kind; HTML with 200 where the server has answered before | lost, counts as spent | ok, asked again |
| text that does not fit the schema | answered | ok after one re-ask that shows the fault; malformed after two |
| refusal, length, filter by finish reason | answered | refusal, length, filter |
| 400 about the text alone, or its length | answered, costs nothing | filter, context |
| 401, 403, 404, 400, used-up quota, redirect to another host | failed, costs nothing | the run stops with the reason |
| HTML with 200 as the first answer, a stream of events | lost, counts as spent | the run stops with the reason |
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.standin import faults
from tests.standin.faults import Fault

SAID = "the server's own words"


def error(code: str | None, message: str = SAID) -> dict:
    """An error object of the API."""
    return {"error": {"message": message, "type": "t", "param": None, "code": code}}


@dataclass(frozen=True)
class Case:
    """A fault of the first request, or of the first ``times``.

    ``ends``: the reply's state, or words of the InputError that stops the run; ``attempts``: what
    the journal says of each.
    """

    name: str
    fault: Fault
    ends: str
    attempts: tuple[str, ...]
    times: int = 1

    @property
    def stops(self) -> bool:
        return " " in self.ends


def _says(**changes: object) -> Fault:
    """The app's answer with another message, ``finish`` among the changes as finish_reason."""

    def change(body: dict) -> dict:
        choice = body["choices"][0]
        choice["finish_reason"] = changes.get("finish", "stop")
        choice["message"] |= {name: x for name, x in changes.items() if name != "finish"}
        return body

    return faults.changed(change)


def _without(name: str) -> Callable[[dict], dict]:
    return lambda body: {key: value for key, value in body.items() if key != name}


_FREE, _SPENT, _ONCE, _TWICE = (
    ("failed", "answered"), ("lost", "answered"), ("answered",), ("answered", "answered"),
)  # fmt: skip
CASES = [
    Case("429 with retry-after", faults.status(429, "7", error("rate_limit_exceeded")), "ok", _FREE),
    Case("429 without", faults.status(429, body=error("rate_limit_exceeded")), "ok", _FREE),
    Case("500", faults.status(500, body=error("server_error")), "ok", _FREE),
    Case("503", faults.status(503, body=error("overloaded")), "ok", _FREE),
    Case("502 of a proxy", faults.status(502), "ok", _SPENT),
    Case("reset before the body", faults.reset, "ok", _SPENT),
    Case("reset after the work", faults.after_the_work, "ok", _SPENT),
    Case("reset inside the body", faults.reset_inside, "ok", _SPENT),
    Case("half a body", faults.half_a_body, "ok", _SPENT),
    Case("slow trickle", faults.trickle, "ok", _SPENT),
    Case("slow 103s", faults.raw(forever=b"HTTP/1.1 103 Early Hints\r\n\r\n"), "ok", _SPENT),
    Case("slow headers", faults.raw(b"HTTP/1.1 200 OK\r\nx: ", forever=b"y"), "ok", _SPENT),
    Case("bad JSON", faults.bad_json, "ok", _SPENT),
    Case("JSON of another kind", faults.changed(_without("choices")), "ok", _SPENT),
    Case("no usage", faults.changed(_without("usage")), "ok", _ONCE),
    Case("wrong schema once", _says(content='{"text": 1}'), "ok", _TWICE),
    Case("wrong schema twice", _says(content='{"text": 1}'), "malformed", _TWICE, 2),
    Case("no JSON twice", _says(content="Certainly!"), "malformed", _TWICE, 2),
    Case("empty twice", _says(content=""), "malformed", _TWICE, 2),
    Case("deep JSON twice", _says(content="[" * 50_000), "malformed", _TWICE, 2),
    Case("half a surrogate twice", _says(content="\ud800"), "malformed", _TWICE, 2),
    Case("refusal", _says(content=None, refusal="No."), "refusal", _ONCE),
    Case("length", _says(finish="length"), "length", _ONCE),
    Case("filter", _says(finish="content_filter"), "filter", _ONCE),
    Case("400 about the text", faults.status(400, body=error("content_filter")), "filter", _ONCE),
    Case("400 about its length", faults.status(400, body=error("context_length_exceeded")),
         "context", _ONCE),
    Case("HTML with 200", faults.html, "sent a web page; check BASE_URL", ("lost",)),
    Case("a stream", faults.stream, "a stream of events", ("lost",)),
    Case("401", faults.status(401, body=error("invalid_api_key")), "refused the key", ("failed",)),
    Case("403", faults.status(403), "refused the key", ("failed",)),
    Case("404", faults.status(404, body=error("model_not_found")), SAID, ("failed",)),
    Case("400", faults.status(400, body=error("invalid_value")), SAID, ("failed",)),
    Case("quota", faults.status(429, body=error("insufficient_quota")), "quota is used up",
         ("failed",)),
    Case("redirect to another host", faults.redirect("http://evil.example/v1/chat/completions"),
         "redirects to 'evil.example'", ("failed",)),
]  # fmt: skip
