"""Faults on demand: a queue that a test fills, and a log of what was asked.

A fault wraps an app for one request. Those here are of the network and of any HTTP server;
`changed` makes the ones of a single service, such as a short page.
"""

import io
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, repeat

from werkzeug import Request, Response
from werkzeug.test import run_wsgi_app

Wsgi = Callable[[dict, Callable], Iterable[bytes]]
Fault = Callable[[Wsgi], Wsgi]


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass
class Faults:
    """The faults to come, each for the first request whose path holds ``where``."""

    seen: list[Seen] = field(default_factory=list)
    _waiting: list[tuple[str, Fault]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *faults: Fault, where: str = "", times: int = 1) -> None:
        """Queue ``faults``, each ``times`` times."""
        with self._lock:
            self._waiting += [(where, fault) for fault in faults for _ in range(times)]

    def clear(self) -> None:
        """Forget what waits and what was seen."""
        with self._lock:
            self.seen.clear()
            self._waiting.clear()

    def over(self, app: Wsgi) -> Wsgi:
        """``app``, with every request logged and the waiting faults applied."""

        def application(environ, start_response):
            fault = self._next(environ)
            return (fault(app) if fault else app)(environ, start_response)

        return application

    @property
    def left(self) -> int:
        """How many faults still wait."""
        return len(self._waiting)

    def asked(self, where: str) -> list[Seen]:
        """The requests so far whose path holds ``where``."""
        return [request for request in list(self.seen) if where in request.path]

    def _next(self, environ: dict) -> Fault | None:
        request = Request(environ)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)
        headers = {name.lower(): value for name, value in request.headers}
        with self._lock:
            query = request.args.to_dict()
            self.seen.append(Seen(request.method, request.path, query, headers, body))
            for position, (where, fault) in enumerate(self._waiting):
                if where in request.path:
                    del self._waiting[position]
                    return fault
        return None


def status(code: int, retry_after: str | None = None, body: object = None) -> Fault:
    """An answer with this status, and JSON in its body when ``body`` is given."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    text = f"status {code}" if body is None else json.dumps(body)
    kind = "text/plain" if body is None else "application/json"
    return lambda app: Response(text, code, headers, content_type=kind)


def html(app: Wsgi) -> Wsgi:
    """A web page with status 200, as proxies and maintenance notices send."""
    return Response("<html><body>Down for maintenance</body></html>", content_type="text/html")


def stream(app: Wsgi) -> Wsgi:
    """Events, as a server sends that streams whether one asks for it or not."""
    parts = 'data: {"choices": [{"delta": {"content": "{}"}}]}\n\n', "data: [DONE]\n\n"
    return Response("".join(parts), content_type="text/event-stream")


def bad_json(app: Wsgi) -> Wsgi:
    """Text that says it is JSON."""
    return Response('{"hitCount": 3, "entries": [', content_type="application/json")


def redirect(location: str) -> Fault:
    """A redirect to another place."""
    return lambda app: Response("", 302, {"location": location})


def reset(app: Wsgi) -> Wsgi:
    """The connection is reset before a single byte of the answer."""

    def application(environ, start_response):
        raise _reset(environ)

    return application


def reset_inside(app: Wsgi) -> Wsgi:
    """Headers and half of the body, then a reset."""
    return _half(app, _reset)


def half_a_body(app: Wsgi) -> Wsgi:
    """Headers and half of the body, then an orderly end: shorter than its content-length."""
    return _half(app, _closed)


def after_the_work(app: Wsgi) -> Wsgi:
    """The service does its work in full, and the connection is reset before it answers."""

    def application(environ, start_response):
        run_wsgi_app(app, environ, buffered=True)
        raise _reset(environ)

    return application


def trickle(app: Wsgi) -> Wsgi:
    """White space, byte by byte, until the client has had enough."""
    return lambda environ, start_response: Response(repeat(b" "))(environ, start_response)


def raw(*once: bytes, forever: bytes) -> Fault:
    """Bytes on the wire, the last of them until the client has had enough."""

    def application(environ, start_response):
        with suppress(OSError):
            for piece in chain(once, repeat(forever)):
                environ["werkzeug.socket"].sendall(piece)
        raise _reset(environ)

    return lambda app: application


def headed(status: str, headers: dict[str, str], body: bytes = b"") -> Fault:
    """An answer with any headers, which no library has put right."""

    def application(environ, start_response):
        start_response(status, list(headers.items()))
        return [body]

    return lambda app: application


def changed(change: Callable[[dict], dict]) -> Fault:
    """The app's own JSON answer, changed by a function."""

    def fault(app: Wsgi) -> Wsgi:
        def application(environ, start_response):
            answer = Response.from_app(app, environ, buffered=True)
            text = json.dumps(change(json.loads(answer.get_data())))
            return Response(text, answer.status, content_type=answer.content_type)(
                environ, start_response
            )

        return application

    return fault


def held(until: threading.Event, arrived: threading.Event | None = None) -> Fault:
    """The answer only comes ``until`` the event; ``arrived`` is set when the request is there."""

    def fault(app: Wsgi) -> Wsgi:
        def application(environ, start_response):
            if arrived:
                arrived.set()
            until.wait()
            return app(environ, start_response)

        return application

    return fault


def _half(app: Wsgi, end: Callable[[dict], Exception]) -> Wsgi:
    def application(environ, start_response):
        answer = Response.from_app(app, environ, buffered=True)
        body = answer.get_data()
        start_response(answer.status, [*answer.headers.items()])

        def parts():
            yield body[: len(body) // 2]
            raise end(environ)

        return parts()

    return application


def _closed(environ: dict) -> Exception:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ConnectionAbortedError("on demand")


def _reset(environ: dict) -> Exception:
    """Close the socket with RST. A closed pair takes its place, so that the server ends calmly."""
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours, theirs = socket.socketpair()
    theirs.close()
    os.dup2(ours.fileno(), connection.fileno())
    ours.close()
    return ConnectionResetError("on demand")
