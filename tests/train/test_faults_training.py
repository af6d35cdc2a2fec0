"""A training that the disk stops: one sentence, the last good state as it was, and a way on."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.loop import Trainer, train
from tests.support.tiny_model import config_of, make_examples, write_llm

LENGTHS = [12, 15, 20, 17, 30]
PARAMS = Stage2(epochs=2, learning_rate=1e-2, rnas_per_step=2, row_tokens=128, validate_every=2)
GOES_ON = "; make room, .* it goes on from its newest whole checkpoint"


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Callable[..., list[torch.Tensor]]:
    """Trains in a folder, or goes on there, under a fault; gives the weights that come out."""
    llm = write_llm(tmp_path_factory.mktemp("llm"))
    trees = make_examples(RnaGpt.build(config_of(llm)), LENGTHS)

    def trained(folder: Path, fault: AbstractContextManager | None = None) -> list[torch.Tensor]:
        model = RnaGpt.build(config_of(llm, "lora"))
        with fault or nullcontext():
            train(model, trees[:4], trees[4:], PARAMS, folder)
        return [p.detach() for p in model.parameters() if p.requires_grad]

    return trained


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> tuple[Path, list[torch.Tensor]]:
    """A training that nothing stopped: its folder and weights."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, start(folder)


def stopped(start: Callable, folder: Path, steps: int = 3) -> dict[Path, bytes]:
    """Train in ``folder`` until the process is stopped; the files of its checkpoint."""
    update, made = Trainer.update, []

    def dies(*arguments):
        made.append(arguments)
        if len(made) > steps:
            raise KeyboardInterrupt
        return update(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", dies)
        start(folder)
    return snapshot(folder / "checkpoints")


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """The kernel refuses every byte of a file beyond ``size``, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written into ``folder``, not even by root, who is somebody else here."""
    user, mode = os.geteuid(), folder.stat().st_mode
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


@pytest.mark.parametrize(
    "name", ["projection.safetensors", "adapter/adapter_model.safetensors", "state/training.pt"]
)
def test_a_full_disk_in_a_save(start, whole, tmp_path, name):
    before = stopped(start, tmp_path)
    size = (checkpoint.newest(whole[0]) / name).stat().st_size
    with pytest.raises(InputError) as refused:
        start(tmp_path, no_file_over(size - 1))
    assert refused.match(f".*checkpoints/step-00000004 cannot be written: File too large{GOES_ON}")
    assert snapshot(tmp_path / "checkpoints") == before
    assert checkpoint.newest(tmp_path).name == "step-00000002"
    assert all(map(torch.equal, start(tmp_path), whole[1]))


def test_a_full_disk_in_the_log(start, whole, tmp_path):
    before = stopped(start, tmp_path)
    lines = (whole[0] / "steps.jsonl").read_bytes().splitlines(keepends=True)
    size = len(lines[0] + lines[1]) + len(lines[2]) // 2
    with pytest.raises(InputError) as refused:
        start(tmp_path, no_file_over(size))
    assert refused.match(f".*steps.jsonl cannot be written: File too large{GOES_ON}")
    assert snapshot(tmp_path / "checkpoints") == before
    assert all(map(torch.equal, start(tmp_path), whole[1]))


@pytest.mark.parametrize(
    ("below", "named"), [(".", "steps.jsonl"), ("checkpoints", "checkpoints/step-00000004")]
)
def test_a_read_only_folder(start, whole, below, named):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)  # others may enter it, as they may not enter pytest's
        before = stopped(start, folder)
        (folder / "steps.jsonl").chmod(0o644 if below == "." else 0o666)
        with pytest.raises(InputError) as refused:
            start(folder, read_only(folder / below))
        assert refused.match(f".*{named} cannot be written: Permission denied{GOES_ON}")
        assert snapshot(folder / "checkpoints") == before
        assert all(map(torch.equal, start(folder), whole[1]))


def test_a_training_killed_in_its_last_save_names_its_last_checkpoint(
    start, whole, tmp_path, monkeypatch
):
    """The files of the last step are there, and ``best.json`` and ``last.json`` of the one before."""
    tidy = checkpoint.tidy

    def dies(folder, keep):
        if checkpoint.newest(folder).name == "step-00000004":
            raise KeyboardInterrupt
        tidy(folder, keep)

    monkeypatch.setattr(checkpoint, "tidy", dies)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path)
    assert checkpoint.find(tmp_path, "last").name == "step-00000002"
    monkeypatch.undo()
    assert all(map(torch.equal, start(tmp_path), whole[1]))
    assert checkpoint.find(tmp_path, "last").name == "step-00000004"


CAMPAIGN = """
import sys
from pathlib import Path
from benchmarks.reliability import training as campaign
world = campaign.World.made(Path(sys.argv[1]))
strikes = [(campaign.at_random, None), (campaign.in_a_save, campaign.flipped)]
rows = [campaign.killed(world, "killed", 2, *strike) for strike in strikes]
world.ends["stage 1"]["log"][70]["loss"] += 1e-9
print([row["survived"] for row in rows], campaign.killed(world, "another", 1, *strikes[0])["lost"])
"""


@pytest.mark.slow
def test_the_campaign_on_a_small_scale(tmp_path):
    """Killed trainings end as the whole one; one whose loss differs in the ninth digit is lost."""
    command = [sys.executable, "-c", CAMPAIGN, str(tmp_path)]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 2] 1\n"
