"""What follows from the times that a GPU took: ratios, MFU, hours; and the page that says so."""

from collections.abc import Iterator
from statistics import median

PEAKS = {"H100 80GB HBM3": 989, "H200": 989, "A100": 312}  # dense bf16 TFLOP/s, by data sheet
SUBSET, EPOCHS = 121_000, 10  # pairs of the paper's subset of 5,000 RNAs
OURS = ("packed", "packed, flex")
LONG = ("a row each", "a row each, compiled", "one row", "one row, flex",
        "one row, flex, compiled")  # fmt: skip
EVERYWHERE = "packed, logits of all tokens"
TOKENS = "{:.2f} (tokens) × launch overhead"
PEERS = {  # by the start of a case's name: a peer, its ways, ours, target and limit
    "stage 2": (
        ("HF + PEFT, batch 1, accumulated", ("naive",), OURS, "≥ 8 at 300 nt", TOKENS),
        ("padded batch", ("padded",), OURS, "≥ 2", TOKENS),
        ("padding-free packing", ("padding-free", "padding-free, flex"), OURS, "≥ 1.9", TOKENS),
        ("logits of all tokens", (EVERYWHERE,), ("packed",), "logit memory ÷ 3: see the peaks", "head share"),
    ),
    "stage 1": (("batch 1, accumulated", ("naive",), OURS, "≥ 3", "knee near 200 tokens"),),
}  # fmt: skip
NOTHING_YET = (
    "Not measured yet: `python -m benchmarks gpu` measures it on a machine with a CUDA GPU of at "
    "least 80 GB."
)


def derived(kept: dict) -> dict:
    """``rows`` (comparisons) and ``computed`` (hours) of the cases that are kept so far."""
    return {"rows": list(_rows(kept)), "computed": list(_hours(kept))}


def text(kept: dict) -> str:
    """The page's block, out of the kept results."""
    if not kept:
        return NOTHING_YET
    steps = [_step(kept, *at) for at in _measured(kept)]
    ratios = [_ratio(row) for row in kept["rows"]]
    parts = [_about(kept), _table(steps), *_bars(kept), _table(ratios), _table(kept["computed"])]
    return "\n\n".join(part for part in parts if part)


# --- what follows


def _rows(kept: dict) -> Iterator[dict]:
    """Comparisons in the form of ``_peers.row``; each side's fastest way stands for it."""
    for case, ways in kept["cases"].items():
        for peer, theirs, ours, *bars in PEERS.get(case[:7], ()):
            best = _fastest(ways, theirs), _fastest(ways, ours)
            if None not in best:
                yield _row(kept, case, peer, best, bars)


def _row(kept: dict, case: str, peer: str, best: tuple[str, str], bars: list[str]) -> dict:
    machine, (theirs, ours) = kept["machine"], (kept["cases"][case][name] for name in best)
    ratios = [a / b for a, b in zip(theirs["seconds"], ours["seconds"], strict=True)]
    size = f"{machine['parameters'] / 1e9:.1f}B parameters in {machine['precision']}"
    return {
        "name": f"{case}: {best[1]} vs {best[0]}",
        "ours": best[1],
        "peer": f"{peer} ({best[0]})",
        "workload": f"{case}; {ours['pairs']} pairs, {size}",
        "ratio_median": round(median(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "repeats": len(ratios),
        "equal": True,  # asserted before anything is timed
        "target": bars[0],
        "limit": bars[1].format(theirs["tokens"] / ours["tokens"]),
        "machine": machine["device"],
        "date": kept["date"],
    }


def _hours(kept: dict) -> Iterator[dict]:
    for case, ways in kept["cases"].items():
        if not case.startswith("stage 1"):
            for group in (("naive",), OURS + LONG):
                if name := _fastest(ways, group):
                    a_pair = median(ways[name]["seconds"]) / ways[name]["pairs"]
                    yield {
                        "case": case,
                        "way": name,
                        "GPU hours, computed": round(a_pair * SUBSET * EPOCHS / 3600, 1),
                    }


def _fastest(ways: dict[str, dict], names: tuple[str, ...]) -> str | None:
    """Of these ways the one with the least median time; None when none was timed."""
    timed = [name for name in names if _timed(ways.get(name, {}))]
    return min(timed, key=lambda name: median(ways[name]["seconds"]), default=None)


def _timed(way: dict) -> bool:
    return bool(way.get("seconds")) and "note" not in way


def _peak(kept: dict) -> float:
    """Dense bf16 TFLOP/s by data sheet, or what products of matrices reached."""
    known = (peak for name, peak in PEAKS.items() if name in kept["machine"]["device"])
    return next(known, kept["matmul_tflops"])


def _mfu(kept: dict, way: dict) -> float:
    flop = 4 * kept["machine"]["parameters"] * way["tokens"]
    return flop / median(way["seconds"]) / _peak(kept) / 1e12


# --- the page


def _measured(kept: dict) -> Iterator[tuple[str, str, dict]]:
    for case, ways in kept["cases"].items():
        yield from ((case, name, way) for name, way in ways.items())


def _about(kept: dict) -> str:
    machine = kept["machine"]
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("torch", "transformers", "peft", "triton", "cuda")
    )
    equal = ", ".join(f"{name} {error:.0e}" for name, error in kept["equal"].items())
    return (
        f"{machine['device']}, {machine['memory_gb']} GB, {kept['date']}; {versions}; {kept['clocks'] or 'no nvidia-smi'}. "
        f"Seconds are the median [least, most] of {_repeats(kept)} repeats. MFU is 4 · N · tokens / (seconds · peak), N = {machine['parameters']:,}, peak "
        f"{_peak(kept):.0f} TFLOP/s (products of matrices reached {kept['matmul_tflops']:.0f}). "
        f"Error of our gradient against the naive loop, small model in fp32: {equal}."
    )


def _repeats(kept: dict) -> str:
    counts = {len(way["seconds"]) for *_, way in _measured(kept) if _timed(way)}
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def _step(kept: dict, case: str, name: str, way: dict) -> dict:
    timed = _timed(way)
    spread = [f(way["seconds"]) for f in (median, min, max)] if timed else []
    rows = way["options"].get("together")
    return {
        "case": case,
        "way": name + (f", {rows} rows a pass" if rows else ""),
        "seconds": "{:.3f} [{:.3f}, {:.3f}]".format(*spread) if timed else way["note"],
        "tokens": f"{way['tokens']:,}",
        "MFU": f"{_mfu(kept, way):.1%}" if timed else "–",
        "peak, GB": f"{way['peak_gb']:.1f}" if way.get("peak_gb") else "–",
    }


def _ratio(row: dict) -> dict:
    spread = f"{row['ratio_median']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]"
    shown = {name: row[name] for name in ("workload", "ours", "peer", "target", "limit")}
    return {"times as fast": spread} | shown


def _bars(kept: dict) -> Iterator[str]:
    """The bars of the 8K rows and of memory, as sentences."""
    long = [(_mfu(kept, way), case, name) for case, name, way in _measured(kept)
            if name in LONG and _timed(way)]  # fmt: skip
    if long:
        share, case, name = max(long)
        yield f"Highest MFU of long rows: {share:.1%} ({case}: {name}); the bar is 40 %."
    peaks = [(way["peak_gb"], case, name) for case, name, way in _measured(kept)
             if "lora" in case and name in OURS and way.get("peak_gb")]  # fmt: skip
    if peaks:
        peak, case, name = max(peaks)
        yield f"Highest peak of a packed LoRA step: {peak:.1f} GB ({case}: {name}); the bar is 38 GB."


def _table(rows: list[dict]) -> str:
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(v) for v in r.values()] for r in rows)]
    return "\n".join("| " + " | ".join(line).replace("\n", " ") + " |" for line in lines)
