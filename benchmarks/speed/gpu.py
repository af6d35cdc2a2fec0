"""Training steps of a Llama-3-8B-shaped model on one CUDA GPU of at least 80 GB.

Random weights in bf16, made on the GPU: step times of the peers' ways and of ours, peak memory,
and the equality of the gradients on a small model. Each case is kept in ``results/gpu.json`` as it
ends and is not measured again on the same machine, so that a run that was stopped goes on. Needs
torch, transformers, numpy and safetensors alone; the adapters are peft's where it is installed.
"""

import gc
import platform
import subprocess
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from statistics import median

import torch
from torch import Tensor
from transformers import LlamaConfig

from benchmarks._page import page_of, publish, results_of
from benchmarks.speed import _gpu_page as page
from benchmarks.speed import _steps as steps
from benchmarks.speed._gpu_cases import LLAMA3_8B, SDPA, Case, Plan, Way, cases
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.model.attention import FLEX

PAGE = page_of("speed")
RESULTS = results_of("gpu")
LEAST = 0.99 * 80e9  # bytes; a GPU sold with 80 GB has at least these
SMALL = LlamaConfig(
    vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, initializer_range=0.05,
)  # fmt: skip


def main() -> None:
    """Measure what the kept results lack, and render the page. Raises InputError without a GPU
    that is large enough."""
    check_gpu()
    torch._dynamo.config.recompile_limit = 64  # every case has shapes of its own
    measure(Plan(RESULTS, LLAMA3_8B))
    publish(PAGE, "gpu", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    return page.text(read_json(RESULTS))


def check_gpu() -> None:
    """Raises InputError where there is no CUDA GPU of at least 80 GB."""
    wanted = "gpu needs a CUDA GPU of at least 80 GB"
    if not torch.cuda.is_available():
        raise InputError(f"{wanted}; torch {torch.__version__} sees none on this machine")
    seen = torch.cuda.get_device_properties(0)
    if seen.total_memory < LEAST:
        raise InputError(f"{wanted}; {seen.name} has {seen.total_memory / 1e9:.0f} GB")


def measure(plan: Plan) -> None:
    """All cases of ``plan`` that its results lack, each kept as it ends."""
    here, kept = _machine(plan), read_json(plan.results)
    if kept.get("machine") != here:
        kept = {"machine": here, "equal": equality(plan.device), "cases": {}}
        kept["matmul_tflops"] = _matmul_tflops(plan)
    for trains in ("lora", "projection"):
        missing = [case for case in cases(plan, trains) if case.name not in kept["cases"]]
        model = None
        for case in missing:
            model = model or steps.Model(plan.config, trains == "lora", plan.device, plan.dtype)
            kept["cases"][case.name] = _measured(case, model, plan.repeats)
            kept |= {"clocks": _clocks(), "date": datetime.now(UTC).date().isoformat()}
            write_json(plan.results, kept | page.derived(kept))
        del model
        _free()


def equality(device: str) -> dict[str, float]:
    """Relative errors of our gradients against the naive loop, of a small model in fp32.

    Several RNAs a row and rows of unlike lengths. Raises AssertionError where one exceeds
    1e-3; what is wrong with a mask or with positions is 4e-2 and more.
    """
    torch.manual_seed(0)
    model = steps.Model(SMALL, lora=True, device=device)
    trees = [steps.rna(n, pairs, SMALL.vocab_size) for n, pairs in ((75, 5), (30, 3), (140, 2))]
    errors, wanted = {}, _gradient(model, partial(steps.naive, model, trees))
    for attention in (SDPA, FLEX) if device == "cuda" else (SDPA,):
        model.causal.set_attn_implementation(attention)
        for name, way in (("rows", steps.shared), ("one row", steps.one_row)):
            found = _gradient(model, partial(way, model, trees, tokens=512))
            error = ((found - wanted).norm() / wanted.norm()).item()
            assert error < 1e-3, f"{attention}, {name}: the gradient is off by {error:.1e}"
            errors[f"{attention}, {name}"] = error
    return errors


def _gradient(model: steps.Model, losses: Callable) -> Tensor:
    model.zero_grad()
    steps.gradient(losses())
    return torch.cat([parameter.grad.flatten() for parameter in model.trained])


def _measured(case: Case, model: steps.Model, repeats: int) -> dict[str, dict]:
    """All ways of a case: warmed up, then timed in turn.

    A way that fails, or for which memory does not suffice, has a note and costs no other. Raises
    RuntimeError where none works, so that such a case is not kept.
    """
    optimiser = torch.optim.AdamW(model.trained, lr=0.0)  # its time and memory, without a change
    found, working = {}, {}
    for name, way in case.ways.items():
        print(f"{case.name}: {name} …", flush=True)
        _set(model, way)
        for losses in way.losses:
            step = partial(_step, model, optimiser, partial(losses, model, case.trees))
            found[name] = {
                "tokens": way.tokens(case.trees),
                "pairs": len(steps.alone(case.trees)),
                "options": getattr(losses, "keywords", {}),
                **_tried(partial(_warmed, model, step)),
            }
            if "note" not in found[name]:
                working[name] = step
                break
    if not working:
        raise RuntimeError(f"{case.name}: no way works; see above")
    for _ in range(repeats):
        for name, step in working.items():
            _set(model, case.ways[name])
            found[name] |= _tried(partial(_timed, model.device, step, found[name]["seconds"]))
    return found


def _tried(run: Callable[[], dict]) -> dict:
    """What ``run`` gives, or a note of why it failed."""
    try:
        return run()
    except Exception as error:
        traceback.print_exc()
        return {"note": f"{type(error).__name__}: {str(error).partition('. ')[0][:120]}"}


def _step(model: steps.Model, optimiser: torch.optim.Optimizer, losses: Callable) -> Tensor:
    optimiser.zero_grad()
    loss = steps.gradient(losses())
    optimiser.step()
    return loss


def _set(model: steps.Model, way: Way) -> None:
    model.causal.set_attn_implementation(way.attention)
    for layer in model.causal.base_model.layers:
        layer._compiled_call_impl = None
        if way.compiled:
            layer.compile()


def _warmed(model: steps.Model, step: Callable[[], Tensor]) -> dict:
    """The second of two steps: its loss, norm of the projection's gradient, and peak memory."""
    _free()
    step()
    gpu = model.device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    loss = step().item()
    found = {"loss": loss, "gradient": model.projection.weight.grad.norm().item(), "seconds": []}
    if gpu:
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
        found["reserved_gb"] = torch.cuda.max_memory_reserved() / 1e9
    return found


def _timed(device: torch.device, step: Callable, seconds: list[float]) -> dict:
    step()  # so that memory is laid out for this way again
    return {"seconds": [*seconds, _seconds(device, step)]}


def _seconds(device: torch.device, step: Callable) -> float:
    """By CUDA's events on a GPU, by the clock elsewhere."""
    if device.type != "cuda":
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def _free() -> None:
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def _matmul_tflops(plan: Plan) -> float:
    """The device's rate in products of square matrices of random numbers, in the LLM's precision."""
    side = 2 * plan.config.hidden_size
    a, b = (torch.randn(side, side, device=plan.device, dtype=plan.dtype) for _ in range(2))
    device, product = torch.device(plan.device), partial(torch.matmul, a, b)
    seconds = [_seconds(device, product) for _ in range(13)][3:]
    return 2 * side**3 / median(seconds) / 1e12


def _machine(plan: Plan) -> dict:
    """What the results depend on; the clocks, which change, are apart."""
    gpu = plan.device == "cuda"
    seen = torch.cuda.get_device_properties(0) if gpu else None
    return {
        "device": seen.name if seen else platform.machine(),
        "memory_gb": round(seen.total_memory / 1e9, 1) if seen else None,
        "parameters": steps.parameters(plan.config),
        "precision": str(plan.dtype).removeprefix("torch."),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "transformers", "peft", "triton")},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _clocks() -> str | None:
    """Clocks, power and driver as nvidia-smi tells them; None where there is none."""
    wanted = "clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,driver_version"
    command = ["nvidia-smi", f"--query-gpu={wanted}", "--format=csv,noheader", "--id=0"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{wanted}: {told.stdout.strip()}"
