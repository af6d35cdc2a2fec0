"""What all tests share: no network, runs in a temporary folder, skips that CI refuses."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from rnagpt_lib.core import paths

OFFLINE = Path(__file__).parent / "offline"
ATTEMPTS = Path(tempfile.mkdtemp(prefix="rnagpt-tests-")) / "attempts"
ALLOWED = ("gpu", "network", "shared")

# Inherited by every process that a test starts: kernels, the command line, workers.
os.environ["RNAGPT_ATTEMPTS"] = str(ATTEMPTS)
os.environ["RNAGPT_RUNS"] = str(ATTEMPTS.parent / "runs")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.getenv("PYTHONPATH")]))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker for each core; their threads would fight
sys.path.insert(0, str(OFFLINE))
if sys.modules.get("sitecustomize") is None or "_watch" not in vars(sys.modules["sitecustomize"]):
    sys.modules.pop("sitecustomize", None)
    import sitecustomize  # noqa: F401


@pytest.fixture(autouse=True)
def stay_on_this_machine(request):
    """Fails the test when it, or a process of its, tried to leave the machine."""
    yield
    tried = attempts()
    if tried:
        pytest.fail(f"tried to leave the machine: {tried}")


def attempts() -> list[str]:
    """The attempts since the last call."""
    tried = ATTEMPTS.read_text().splitlines() if ATTEMPTS.is_file() else []
    ATTEMPTS.unlink(missing_ok=True)
    return tried


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch) -> Path:
    """An empty ``runs/`` for each test."""
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the real data; the test is skipped where it is missing."""
    if not paths.shared().is_dir():
        pytest.skip(f"shared data is missing: {paths.shared()}")
    return paths.shared()


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The seconds that the library would have waited; it waits for nothing."""
    from rnagpt_lib.llm_api import retries

    made = []
    monkeypatch.setattr(retries, "pause", made.append)
    return made


@pytest.fixture
def talker(monkeypatch, pauses):
    """A stand-in model on this machine: the app, and the settings of `params.Calls` for it."""
    from tests.standin.answers import Model, talking
    from tests.standin.openai_api import OpenAI

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    app = OpenAI(Model())
    with talking(app) as settings:
        yield app, settings


@pytest.fixture
def rnagpt(monkeypatch, capsys):
    """Calls the command in this process; returns exit code, stdout and stderr."""
    from rnagpt_lib.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rnagpt", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        return exited.value.code, *capsys.readouterr()

    return call


def pytest_collection_modifyitems(items):
    # the longest files first, so that no worker is alone with one at the end
    items.sort(key=lambda item: not item.nodeid.startswith("tests/pipeline/"))
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
        if item.get_closest_marker("network"):
            item.add_marker(pytest.mark.skip(reason="tests never leave the machine"))


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    allowed = any(item.get_closest_marker(name) for name in ALLOWED)
    return report if allowed else _failed_in_ci(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _failed_in_ci((yield))


def _failed_in_ci(report):
    if report.skipped and not hasattr(report, "wasxfail") and os.getenv("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI counts as a failure: {report.longrepr}"
    return report
