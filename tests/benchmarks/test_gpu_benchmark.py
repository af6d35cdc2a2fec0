"""``python -m benchmarks gpu``, at a tiny size on the CPU: from end to end, stopped and gone on."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from benchmarks.speed import _gpu_page, gpu
from benchmarks.speed._gpu_cases import LLAMA3_8B, Plan, cases
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError

TINY = LlamaConfig(
    vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=1,
)  # fmt: skip
# what the library stands on, but for torch, transformers and what these need
ABSENT = (
    "accelerate bert_score click edlib fm gensim IPython matplotlib nbformat pandas papermill peft "
    "pyarrow pydantic requests rouge_score scipy seaborn sklearn"
).split()
CONTRACT = (
    "name ours peer workload ratio_median ratio_low ratio_high repeats equal target limit machine date"
).split()


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Tiny, on the CPU, where FlexAttention has no backward pass; nothing is compiled."""
    monkeypatch.setattr(gpu, "SMALL", TINY)
    small = {"lengths": (4, 6, 9), "pairs": 2, "long_row": 400, "repeats": 1}
    with torch.compiler.set_stance("force_eager"):
        yield Plan(tmp_path / "gpu.json", TINY, "cpu", torch.float32, **small)


def test_all_cases_are_measured_and_told(plan):
    gpu.measure(plan)
    kept = json.loads(plan.results.read_text("utf-8"))
    assert len(kept["cases"]) == 2 * 4 + 2
    assert max(kept["equal"].values()) < 1e-4
    for case, ways in kept["cases"].items():
        works = [way for way in ways.values() if "note" not in way]
        assert all(len(way["seconds"]) == 1 for way in works) and len(works) >= 2
        losses = {round(way["loss"], 4) for way in works}
        norms = {round(way["gradient"], 4) for way in works}
        assert len(losses) == len(norms) == 1, case
        assert all("NotImplementedError" in way["note"] for n, way in ways.items() if "flex" in n)
    assert all(list(row) == CONTRACT for row in kept["rows"])
    assert {row["peer"].partition(" (")[0] for row in kept["rows"]} == {
        "HF + PEFT, batch 1, accumulated", "padded batch", "padding-free packing",
        "logits of all tokens", "batch 1, accumulated",
    }  # fmt: skip
    page = _gpu_page.text(kept)
    assert "| stage 2, lora, 9 nt | packed |" in page and "GPU hours, computed" in page


def test_a_stopped_run_goes_on(plan, monkeypatch):
    measured, names = gpu._measured, []

    def stopping(case, *others):
        if len(names) == 3:
            raise KeyboardInterrupt
        names.append(case.name)
        return measured(case, *others)

    monkeypatch.setattr(gpu, "_measured", stopping)
    with pytest.raises(KeyboardInterrupt):
        gpu.measure(plan)
    kept = json.loads(plan.results.read_text("utf-8"))["cases"]
    assert list(kept) == names and len(kept) == 3
    monkeypatch.setattr(gpu, "_measured", lambda case, *others: names.append(case.name) or {})
    monkeypatch.setattr(gpu, "equality", lambda device: pytest.fail("measured once"))
    gpu.measure(plan)
    assert len(names) == len(set(names)) == 10
    assert json.loads(plan.results.read_text("utf-8"))["cases"].items() >= kept.items()


def test_what_does_not_fit_is_tried_smaller_and_costs_no_other_way(plan, monkeypatch):
    padded = gpu.steps.padded

    def large(model, trees, together):
        if together > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return padded(model, trees, together)

    monkeypatch.setattr(gpu.steps, "padded", large)
    monkeypatch.setattr(gpu, "cases", lambda plan, trains: [next(cases(plan, trains))])
    gpu.measure(plan)
    kept = json.loads(plan.results.read_text("utf-8"))
    (ways, _) = kept["cases"].values()
    assert ways["padded"]["options"] == {"together": 6} and len(ways["padded"]["seconds"]) == 1
    assert "| padded, 6 rows a pass |" in _gpu_page.text(kept)


def test_a_way_that_fails_while_it_is_timed_has_a_note_and_a_dead_gpu_keeps_no_case(
    plan, monkeypatch
):
    shared, calls = gpu.steps.shared, []

    def failing(model, trees, everywhere=False):
        calls.append(1)
        if len(calls) > 2:  # of the warm-up
            raise RuntimeError("CUDA error")
        return shared(model, trees, everywhere=everywhere)

    monkeypatch.setattr(gpu.steps, "shared", failing)
    monkeypatch.setattr(gpu, "cases", lambda plan, trains: [next(cases(plan, trains))])
    monkeypatch.setattr(gpu, "equality", lambda device: {"sdpa": 0.0})
    gpu.measure(plan)
    kept = json.loads(plan.results.read_text("utf-8"))
    (ways, _) = kept["cases"].values()
    assert ways["packed"]["note"] == "RuntimeError: CUDA error"
    assert not any("packed" == row["ours"] for row in kept["rows"])
    plan.results.unlink()
    monkeypatch.setattr(gpu, "_step", lambda *given: failing(*given))
    with pytest.raises(RuntimeError, match="no way works"):
        gpu.measure(plan)
    assert not plan.results.exists()


@pytest.mark.parametrize("device, tflops", [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA L4", 70)])
def test_mfu_is_of_the_data_sheet_or_of_what_was_reached(device, tflops):
    kept = {"machine": {"device": device, "parameters": 7_504_924_672}, "matmul_tflops": 70}
    way = {"tokens": 1000, "seconds": [0.1, 0.2, 0.3]}
    assert _gpu_page._mfu(kept, way) == pytest.approx(
        4 * 7_504_924_672 * 1000 / 0.2 / (tflops * 1e12)
    )


def test_parameters_are_those_of_llama_3_8b_without_the_embeddings():
    assert gpu.steps.parameters(LLAMA3_8B) == 8_030_261_248 - 128_256 * 4096


def test_a_machine_without_such_a_gpu_is_told_what_it_lacks(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="needs a CUDA GPU of at least 80 GB; .* sees none"):
        gpu.main()
    small = SimpleNamespace(name="NVIDIA A100-SXM4-40GB", total_memory=42.4e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: small)
    with pytest.raises(InputError, match="NVIDIA A100-SXM4-40GB has 42 GB"):
        gpu.main()
    small.total_memory = 79.1 * 2**30  # what an H100 of 80 GB reports
    gpu.check_gpu()


@pytest.mark.slow
def test_it_runs_where_torch_and_transformers_are_alone(tmp_path):
    """As on a bare GPU machine, without peft too."""
    lines = [
        "import sys, pathlib, torch",
        f"sys.modules.update(dict.fromkeys({ABSENT}))",
        "sys.argv = ['benchmarks', 'gpu']",
        "import runpy; from benchmarks.speed import gpu; from benchmarks.speed._gpu_cases import Plan, cases",
        "torch.compiler.set_stance('force_eager')",
        "gpu.cases = lambda plan, trains: [next(cases(plan, trains))]",
        "gpu.SMALL = gpu.LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=48,"
        " num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1)",
        "small = {'lengths': (4, 6, 9), 'pairs': 2, 'repeats': 1}",
        f"gpu.measure(Plan(pathlib.Path({str(tmp_path / 'gpu.json')!r}), gpu.SMALL, 'cpu',"
        " torch.bfloat16, **small))",
        "runpy.run_module('benchmarks', run_name='__main__')",
    ]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=paths.root(), capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert (
        done.stderr.endswith("sees none on this machine\n")
        and "benchmarks: gpu needs" in done.stderr
    )
    kept = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert kept["machine"]["precision"] == "bfloat16" and len(kept["cases"]) == 2
    assert all(ways["packed"]["seconds"] for ways in kept["cases"].values())


@pytest.mark.gpu
def test_sdpa_and_flex_have_the_naive_gradient_on_a_gpu():
    errors = gpu.equality("cuda")
    assert {name.partition(",")[0] for name in errors} == {"sdpa", "flex_attention"}
