"""JupyterLab on this machine, over copies of the notebooks, and a browser that watches itself.

Everything that either keeps lies in a temporary folder; nothing may be asked of another machine.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.core.files import write_json

TOKEN = "of-the-test"
WAIT = 120_000  # milliseconds after which a page is given up
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight stay in the page
    "docmanager-extension/plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
}


@dataclass
class Lab:
    """A JupyterLab that runs: its address, the folder that it shows, its runs."""

    url: str
    folder: Path
    runs: Path


@contextmanager
def served(folder: Path, runs: Path) -> Iterator[Lab]:
    """JupyterLab over copies of the notebooks in ``folder``, until the block ends."""
    shutil.copytree(paths.notebooks(), folder / "notebooks")
    own = folder / "jupyter"
    for name, values in SETTINGS.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, values)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        "--port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
        "--LabApp.extension_manager=readonly", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    kept = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    environment = os.environ | {f"JUPYTER_{name}": str(own / part) for name, part in kept.items()}
    environment |= {
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "IPYTHONDIR": str(own / "ipython"),
        "PYTHONPATH": os.pathsep.join([str(paths.root()), os.environ.get("PYTHONPATH", "")]),
        "RNAGPT_RUNS": str(runs),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Lab(_address(process), folder, runs)
    finally:
        process.terminate()
        process.wait()


def _address(process: subprocess.Popen) -> str:
    """Where the server says that it listens; what it says later is read and forgotten."""
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[0]
    raise RuntimeError("JupyterLab did not start:\n" + "".join(said))


@dataclass
class Watch:
    """What a page did: faults of scripts, what the console called errors, hosts that it asked."""

    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def look_at(self, page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))

    def _console(self, message) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob"):
            self.hosts.add(urlsplit(url).hostname)


@contextmanager
def browser():
    """Headless chromium that can reach this machine alone; skips where it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed")
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=arguments)
        yield launched
        launched.close()


def opened(page, lab: Lab, notebook: str) -> None:
    """Open a notebook and wait for its kernel."""
    page.goto(f"{lab.url}lab/tree/notebooks/{notebook}?token={TOKEN}&reset")
    page.set_default_timeout(WAIT)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    idle(page)


def rendered(page, lab: Lab, document: str) -> str:
    """Open a Markdown document as JupyterLab renders it; the text that it shows."""
    page.goto(f"{lab.url}lab/tree/{document}?token={TOKEN}&reset")
    page.locator(".jp-MarkdownViewer h1").first.wait_for()
    return page.locator(".jp-MarkdownViewer").inner_text()


def write_notebook(lab: Lab, name: str, cells: Sequence[str]) -> None:
    """A notebook of code cells, among the lab's."""
    made = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, lab.folder / "notebooks" / f"{name}.ipynb")


def idle(page) -> None:
    """Wait until the notebook has a kernel that has nothing to do."""
    page.locator("#jp-main-statusbar").get_by_text(re.compile(r"Python 3.* \| Idle")).wait_for()


def menu(page, *labels: str) -> None:
    """Choose from the menu bar, one label after another."""
    page.locator(".lm-MenuBar-item", has_text=labels[0]).first.click()
    for label in labels[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=label).first.click()
