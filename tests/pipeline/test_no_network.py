"""The guard itself: no process that the tests start can leave the machine unseen."""

import http.client
import socket
import subprocess
import sys
import threading

import nbformat
import papermill
import pytest

from tests.conftest import attempts
from tests.offline.sitecustomize import is_local

AWAY = ("192.0.2.1", 9)  # an address for documentation: nobody has it


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "", None, b"127.0.0.2"]
)
def test_this_machine_is_local(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "example.org", "2001:db8::1", b"a.b"])
def test_others_are_not(host):
    assert not is_local(host)


def test_connecting_raises_and_is_recorded():
    with socket.socket() as client, pytest.raises(ConnectionError, match="stay on this machine"):
        client.connect(AWAY)
    assert attempts() == [f"socket.connect {AWAY}"]


def test_looking_up_a_name_raises_and_is_recorded():
    with pytest.raises(ConnectionError):
        socket.getaddrinfo("example.org", 443)
    with pytest.raises(ConnectionError):
        http.client.HTTPSConnection("example.org").request("GET", "/")
    assert len(attempts()) == 2


def test_a_swallowed_attempt_is_recorded_all_the_same():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        try:
            client.sendto(b"hello", AWAY)
        except OSError:
            pass
    assert attempts()


def test_loopback_works():
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"))
        thread.start()
        with socket.create_connection(server.getsockname()) as client:
            assert client.recv(5) == b"hello"
        thread.join()
    assert not attempts()


def test_child_processes_are_watched():
    code = f"import socket; socket.create_connection({AWAY!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "stay on this machine" in done.stderr
    assert attempts()


def test_kernels_are_watched_and_work(tmp_path):
    code = f"import socket\nprint(socket.socket().connect_ex({AWAY!r}))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="stay on this machine"):
        papermill.execute_notebook(
            str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), progress_bar=False
        )
    assert attempts() == [f"socket.connect {AWAY}"]
