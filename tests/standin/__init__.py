"""The stand-in world: real HTTP servers on this machine, in the sources' exact shapes.

An app is a WSGI callable with a ``prefix`` (``/ebi``); `serve` mounts any number of them:

>>> with serve(Ebi(), faults=faults) as url:   # doctest: +SKIP
...     httpx2.get(f"{url}/ebi/ebisearch/ws/rest/rnacentral")

``python -m tests.standin`` serves all of them for rehearsals.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.standin.faults import Faults

__all__ = ["App", "Faults", "serve", "server"]


class App(Protocol):
    """A WSGI application that knows the path it is mounted under."""

    prefix: str

    def __call__(self, environ, start_response): ...


class _Quiet(WSGIRequestHandler):
    def log_request(self, code="-", size="-"):
        pass


def server(*apps: App, faults: Faults | None = None, port: int = 0) -> BaseWSGIServer:
    """A threaded server of ``apps`` on 127.0.0.1, not yet running; port 0 takes any free one."""
    mounted = DispatcherMiddleware(NotFound(), {app.prefix: app for app in apps})
    chosen = faults or Faults()
    made = make_server(
        "127.0.0.1", port, chosen.over(mounted), threaded=True, request_handler=_Quiet
    )
    made.daemon_threads = True  # a request that hangs on purpose holds nobody up
    return made


@contextmanager
def serve(*apps: App, faults: Faults | None = None, port: int = 0) -> Iterator[str]:
    """Run ``apps`` in threads of this process; gives the base URL without a slash at its end.

    ``faults`` is the test's own queue, and its log of the requests that came.
    """
    running = server(*apps, faults=faults, port=port)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
