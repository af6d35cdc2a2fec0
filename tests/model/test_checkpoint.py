"""Checkpoints: whole or absent, the newest whole one found, another model's refused."""

import ast
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.packing import collate
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.template import Template
from tests.support.tiny_model import DIM, config_of, make_examples, trained, write_llm


@pytest.fixture(scope="module")
def model(llm):
    """A model that differs from a new one in every part that trains."""
    model = RnaGpt.build(config_of(llm, "lora"), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    return model


def same(one: RnaGpt, other: RnaGpt) -> bool:
    return all(map(torch.equal, trained(one), trained(other)))


def save(model: RnaGpt, folder: Path, step: int, val_loss: float | None = None, keep: int = 2):
    return checkpoint.save(model, folder, step, {"plan": "x"}, val_loss=val_loss, keep=keep)


def test_layout_and_a_loaded_model_gives_the_same_loss(model, tmp_path):
    saved = save(model, tmp_path, 123, 0.5)
    assert saved == tmp_path / "checkpoints" / "step-00000123"
    assert sorted(path.name for path in saved.iterdir()) == [
        "adapter", "config.json", "manifest.json", "projection.safetensors", "state",
        "template.json",
    ]  # fmt: skip
    assert json.loads((saved / "template.json").read_text()) == vars(Template())
    config = json.loads((saved / "config.json").read_text())
    assert config["encoder_hash"] == "0" * 64 and config["llm_hash"] == model.config.llm_hash
    manifest = json.loads((saved / "manifest.json").read_text())
    assert {"projection.safetensors", "adapter/adapter_model.safetensors"} < set(manifest["files"])
    loaded = checkpoint.load(tmp_path)
    batch = collate([make_examples(model, [9, 14])], 3).to(model.device)
    assert same(loaded, model) and torch.equal(loaded(batch), model(batch))


def test_best_and_last_and_what_stays(model, tmp_path):
    for step, loss in enumerate([3.0, 1.0, 2.0, 2.5, 1.5], start=1):
        save(model, tmp_path, step, loss)
    folder = tmp_path / "checkpoints"
    assert json.loads((folder / "best.json").read_text())["step"] == 2
    assert json.loads((folder / "last.json").read_text())["step"] == 5
    assert [p.name[-1] for p in sorted(folder.glob("step-*"))] == ["2", "4", "5"]
    assert checkpoint.find(tmp_path, "best").name == "step-00000002"
    save(model, tmp_path / "unwatched", 1)
    save(model, tmp_path / "unwatched", 2)  # without a validation the last is the best
    assert checkpoint.find(tmp_path / "unwatched", "best").name == "step-00000002"


@pytest.mark.parametrize("name", ["projection.safetensors", "state/training.pt", "manifest.json"])
def test_a_damaged_newest_gives_way_to_the_one_before(model, tmp_path, name):
    first, second = save(model, tmp_path, 1), save(model, tmp_path, 2)
    assert checkpoint.newest(tmp_path) == second
    path = second / name
    raw = path.read_bytes()
    for bad in (raw[:-7], raw[:-1] + bytes([raw[-1] ^ 1])):
        path.write_bytes(bad)
        assert checkpoint.newest(tmp_path) == first
    with pytest.raises(InputError, match="step-00000002: files are missing or damaged"):
        checkpoint.find(tmp_path, "last")


def test_a_manifest_with_any_bit_flipped_is_refused_or_says_the_same(model, tmp_path):
    saved = save(model, tmp_path, 12, 1.5)
    path = saved / "manifest.json"
    raw, refused = path.read_bytes(), 0
    for place in range(0, len(raw), 29):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :])
        if checkpoint.is_valid(saved):
            found = json.loads(path.read_text())
            assert (found["step"], found["val_loss"]) == (12, 1.5)
        else:
            refused += 1
    assert refused > 0.9 * len(raw) / 29


def test_an_interrupted_save_leaves_the_last_good_one(model, tmp_path, monkeypatch):
    assert checkpoint.newest(tmp_path) is None
    with pytest.raises(InputError, match="no best checkpoint there"):
        checkpoint.load(tmp_path)
    left = tmp_path / "checkpoints" / ".step-00000007"  # by a killed process
    left.mkdir(parents=True)
    first = save(model, tmp_path, 1)
    assert not left.exists()

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.os, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        save(model, tmp_path, 2)
    monkeypatch.undo()
    assert checkpoint.newest(tmp_path) == first
    assert checkpoint.newest(tmp_path) != save(model, tmp_path, 2)
    assert not list((tmp_path / "checkpoints").glob(".step*"))
    (first / checkpoint.STATE).unlink()  # it answers, but is not trained on
    assert checkpoint.is_valid(first) and checkpoint.newest(tmp_path) != first


def test_another_models_checkpoint_is_refused_and_an_older_one_taken(model, tmp_path):
    saved = save(model, tmp_path, 1)
    whole = json.loads((saved / "config.json").read_text())
    before = [tensor.clone() for tensor in trained(model)]
    for name, value in [("encoder_hash", "1" * 64), ("llm_hash", "1" * 64), ("lora_rank", 8),
                        ("train", "projection")]:  # fmt: skip
        (saved / "config.json").write_text(json.dumps(whole | {name: value}))
        with pytest.raises(InputError, match=f"another {name.removesuffix('_hash')}"):
            checkpoint.restore(model, saved)
    assert all(map(torch.equal, before, trained(model)))
    (saved / "config.json").write_text(json.dumps(whole))
    other = RnaGpt.build(model.config, template=Template(stop="@@"))
    with pytest.raises(InputError, match="another template"):
        checkpoint.restore(other, saved)
    parts = json.loads((saved / "template.json").read_text())
    del parts["later"]  # which older files do not have
    (saved / "template.json").write_text(json.dumps(parts))
    checkpoint.restore(RnaGpt.build(model.config), saved)


def test_stage_two_starts_from_the_projection_of_stage_one(llm, model, tmp_path):
    first = RnaGpt.build(config_of(llm), seed=5)
    first.projection.whiten([torch.randn(40, 8)])
    save(first, tmp_path, 1)
    second = RnaGpt.build(config_of(llm, "lora"), seed=6)
    checkpoint.load_projection(second, tmp_path)
    vectors = torch.randn(9, 8)
    assert torch.equal(second.soft(vectors), first.soft(vectors))
    foreign = replace(first.config, encoder_hash="2" * 64)
    with pytest.raises(InputError, match="another encoder"):
        checkpoint.load_projection(RnaGpt.build(foreign), tmp_path)


def test_a_missing_llm_is_named(tmp_path):
    folder = write_llm(tmp_path / "llm")
    save(RnaGpt.build(config_of(folder)), tmp_path, 1)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="no LLM there"):
        checkpoint.load(tmp_path)


class Danger:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_pickle_that_runs_code_is_refused(model, tmp_path, capsys):
    saved = save(model, tmp_path, 1)
    torch.save({"plan": Danger()}, saved / "state" / "training.pt")
    other = RnaGpt.build(model.config)
    before = [tensor.clone() for tensor in trained(other)]
    with pytest.raises(InputError, match="training.pt holds more than tensors .* remove this"):
        checkpoint.restore(other, saved)
    assert "code ran" not in capsys.readouterr().out
    assert all(map(torch.equal, before, trained(other)))


def sources() -> list[tuple[str, str]]:
    """Every file with Python code of the project, and the code in it."""
    root = Path(__file__).parents[2]
    files = [path for name in ("rnagpt_lib", "benchmarks") for path in root.glob(f"{name}/**/*.py")]
    found = [(path.name, path.read_text("utf-8")) for path in files]
    for path in root.glob("notebooks/*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        found.append((path.name, "\n".join(cells)))
    return found


def test_nothing_is_loaded_that_could_run_code():
    """Every torch.load says weights_only=True, and no other reader of pickles is called."""
    loads, pickles = [], []
    for name, code in sources():
        worth_a_look = "torch.load" in code or "pickle" in code
        for node in ast.walk(ast.parse(code)) if worth_a_look else ():
            if isinstance(node, ast.Call):
                call = ast.unparse(node)
                loads += [(name, call)] if call.startswith("torch.load(") else []
                pickles += [(name, call)] if "pickle" in call else []
    assert {"checkpoint.py", "encoder.py"} <= {name for name, _ in loads}
    assert all("weights_only=True" in call for _, call in loads), loads
    assert not pickles, pickles


def resealed(folder, name, text):
    """The hash of one file put right, as who shares a checkpoint can."""
    (folder / name).write_text(text, "utf-8")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["files"][name] = sha256(folder / name)
    del manifest["hash"]
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


FOREIGN = [
    {"train": "all"}, {"precision": "fp4"}, {"lora_rank": 10**12}, {"lora_rank": 0},
    {"encoder_dim": -1}, {"encoder_dim": 10**400}, {"encoder_dim": DIM + 1}, {"llm": ["x"]},
    {"llm": None}, {"reads": "mail"}, {"encoder_layers": -1}, {"run_me": "x"},
]  # fmt: skip


@pytest.mark.parametrize("more", FOREIGN, ids=str)
def test_a_config_of_no_model_is_a_sentence(model, tmp_path, more):
    saved = save(model, tmp_path, 1)
    own = json.loads((saved / "config.json").read_text("utf-8"))
    resealed(saved, "config.json", json.dumps(own | more))
    with pytest.raises(InputError, match="step-00000001"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "more",
    [{"prompt": "no place"}, {"prompt": "<RNAHere><RNAHere>"}, {"placeholder": ""}, {"stop": 7},
     {"later": "x" * 5000}, {"answer": None}],
    ids=str,
)  # fmt: skip
def test_a_template_of_no_prompt_is_a_sentence(model, tmp_path, more):
    saved = save(model, tmp_path, 1)
    resealed(saved, "template.json", json.dumps(vars(Template()) | more))
    with pytest.raises(InputError, match="template.json is of no model"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "7", '"x"', "{", "[" * 99_999, '{"files": [1]}', '{"files": 7}', "{}"])  # fmt: skip
@pytest.mark.parametrize("name", ["config.json", "template.json", "manifest.json", "../best.json"])
def test_json_of_another_kind_is_a_sentence(model, tmp_path, name, text):
    saved = save(model, tmp_path, 1)
    if name in ("config.json", "template.json"):
        resealed(saved, name, text)
    else:
        (saved / name).write_text(text, "utf-8")
    if (name, text) == ("template.json", "{}"):  # as written by earlier versions
        checkpoint.load(tmp_path)
        return
    with pytest.raises(InputError):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp", "", 7, ["step-00000001"], "step-1/.."])
def test_best_names_a_checkpoint_beside_it(model, tmp_path, name):
    saved = save(model, tmp_path, 1)
    (saved.parent / "best.json").write_text(json.dumps({"folder": name}), "utf-8")
    with pytest.raises(InputError):
        checkpoint.find(tmp_path)
