"""Exported models on the hub: the bytes that arrive, what is kept, and every refusal in a sentence."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_marker
from rnagpt_lib.model import exported
from rnagpt_lib.share import model as shared_model
from tests.standin import serve
from tests.standin.hub import Hub

TOKEN = "hf_stand_in"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The committed reference run's model, exported."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RNAGPT_RUNS")
        shared_model.export_model("reference", folder)
    return folder


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A hub on this machine that lets ``me`` write to ``me/…``."""
    app = Hub(tmp_path / "hub", writers={TOKEN: "me"})
    with serve(app) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield app


def snapshot(folder):
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if p.name != ".gitattributes"}


def test_every_byte_arrives_in_one_commit_of_a_private_repository(there, model):
    assert shared_model.push(model, "me/rna-gpt").endswith("/me/rna-gpt")
    assert there.private == {"me/rna-gpt": True}
    assert snapshot(there.root / "me/rna-gpt") == snapshot(model)
    assert there.commits == ["Model IT of run reference"]
    assert sum(path.startswith("/lfs/") and "verify" not in path for path in there.asked) >= 3
    assert exported.check(there.root / "me/rna-gpt") == "IT"  # with the hub's .gitattributes


def test_a_later_push_leaves_nothing_of_the_earlier_but_the_owner_s_files(there, model, tmp_path):
    first = Path(shutil.copytree(model, tmp_path / "first"))
    (first / "adapter/old.safetensors").write_bytes(b"old")
    shared_model.push(first, "me/rna-gpt")
    place = there.root / "me/rna-gpt"
    (place / "LICENSE").write_text("MIT")
    shared_model.push(model, "me/rna-gpt")
    assert snapshot(place) == snapshot(model) | {"LICENSE": b"MIT"}
    assert (place / ".gitattributes").is_file() and len(there.commits) == 2


def test_a_repository_of_something_else_is_left_alone(there, model):
    place = there.root / "me/thesis"
    place.mkdir(parents=True)
    (place / "years.txt").write_text("of work")
    with pytest.raises(InputError, match="me/thesis on the hub holds files .* such as years.txt"):
        shared_model.push(model, "me/thesis")
    assert snapshot(place) == {"years.txt": b"of work"} and not there.commits


@pytest.mark.parametrize(
    "name, token, refuses, said",
    [
        ("me/x", "hf_other", {}, "does not know the token in HF_TOKEN"),
        ("you/x", TOKEN, {}, "may not write there; take one that may, or another OWNER"),
        ("me/x", TOKEN, {"/api/repos": (404, "RepoNotFound")}, "no such place"),
        ("me/x", TOKEN, {"/preupload/": (403, "")}, "may not write there"),
        ("me/x", TOKEN, {"/lfs/": (403, "")}, "may not write there"),
        ("me/x", TOKEN, {"/commit/": (412, "PreconditionFailed")}, "the hub refuses it: .*412"),
    ],
)
def test_refusals_are_a_sentence_and_leave_no_half(
    there, model, monkeypatch, name, token, refuses, said
):
    monkeypatch.setenv("HF_TOKEN", token)
    there.refuses = refuses
    with pytest.raises(InputError, match=f"^{name}: .*{said}") as refused:
        shared_model.push(model, name)
    told = str(refused.value)
    assert "\n" not in told and told.endswith(f"hf upload {name} {model}") and token not in told
    assert not there.root.exists() or not snapshot(there.root)


def test_without_a_network_it_says_so(there, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
            shared_model.push(model, "me/x")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="the hub cannot be reached"):
        shared_model.push(model, "me/x")
    assert not there.asked


def test_names_and_tokens_are_checked_before_any_work(rnagpt, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("x", "me/", "me/x/y", "me/a b", "../x", ""):
        with pytest.raises(InputError, match="OWNER/NAME"):
            shared_model.check_hub(name)
    monkeypatch.delenv("HF_TOKEN")
    code, _, log = rnagpt("export-model", "none", tmp_path / "out", "--push", "me/x")
    assert code == 2 and log.startswith("rnagpt: HF_TOKEN is not in the environment; make a token")


def test_the_command_uploads_what_it_wrote(there, rnagpt, monkeypatch, tmp_path):
    monkeypatch.delenv("RNAGPT_RUNS")
    out = tmp_path / "out"
    code, said, _ = rnagpt("export-model", "reference", out, "--model", "MA", "--push", "me/x")
    assert code == 0 and "/me/x (private, if it is new)" in said
    assert snapshot(there.root / "me/x") == snapshot(out)
    assert read_marker(there.root / "me/x")["model"] == "MA"
