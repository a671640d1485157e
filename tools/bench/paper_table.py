"""The ICCAD 2021 paper's two models on every board: latency estimated, confirmed in simulation, beside torch.

`python tools/bench/paper_table.py [--boards NAME ...] [--confirm u200]`; writes results/paper_table.json and
results/paper_table.md.

The Transformer has two encoder layers, width 800, FFN 200, 4 heads and a vocabulary of 28,785, whose projection runs on
the device like any linear step; TinyBERT has 4 layers, width 312, FFN 1200, 12 heads. Weights are random, pruned with
HP to 90 % and quantized. TinyBERT reads 128 tokens; how many the Transformer reads, the paper's abstract does not say:
32 here, as many as its sibling's batch.

Three kinds of figures, never mixed in a column: *estimated*, the walk through the Verilog engine's timing beside the
board's memory; *measured*, RTL simulation on the boards of `--confirm` and torch on this machine's processor; *quoted*,
published by others for other hardware, batches and clocks, of which no ratio to ours is made.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import RESULTS, write_evidence
from torch import nn

from flow.boards import list_boards, load_board
from flow.cost import estimate_layout, fit
from flow.cost.machine import LATENCY_CYCLES
from flow.emit.build import Build, write_build
from flow.emit.lower import LowerOptions, integerise, lay_out, lower, read_model
from flow.errors import FitError
from flow.golden.stimulus import stimulus
from flow.sim.cosim import Bench, Stalls
from flow.sim.rtl import PATIENCE
from flow.sim.simulate import simulate

SPARSITY = 0.9
TOLERANCE = 0.01
"""Of the simulated cycles against the estimate."""
REPEATS = 15
SOURCES = (
    "boards/*.toml",
    "flow/cost/**/*.py",
    "flow/engine/*.py",
    "flow/passes/lay_out.py",
    "flow/ops/*.py",
    "templates/rtl/**/*",
    "tools/bench/paper_table.py",
)
QUOTED = (
    ("Qi et al., ICCAD 2021 (arXiv 2110.10030), against a CPU, a GPU and an FPGA", "37x, 1.9x, 1.7x"),
    (
        "Peng et al., ISQED 2021, U200, batch 32: the Transformer / one of its encoder layers",
        "10.35 ms / 3.446 ms",
    ),
    ("the same on an i5-5257U / a Jetson TX2", "113.40 ms / 21.54 ms"),
)


@dataclass(frozen=True)
class Shape:
    """An encoder of `layers` layers; `vocabulary` outputs a token behind it, or none."""

    layers: int
    width: int
    hidden: int
    heads: int
    tokens: int
    vocabulary: int = 0


SHAPES = {
    "transformer": Shape(2, 800, 200, 4, 32, 28_785),
    "tinybert": Shape(4, 312, 1200, 12, 128),
}


class Model(nn.Module):
    """A post-norm encoder, and a projection to the vocabulary where there is one."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            shape.width, shape.heads, shape.hidden, 0.0, "gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.decoder = nn.Linear(shape.width, shape.vocabulary) if shape.vocabulary else nn.Identity()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[1, S, C] to [1, S, C] or [1, S, vocabulary]."""
        result: torch.Tensor = self.decoder(self.encoder(tokens))
        return result


def make(shape: Shape, folder: Path) -> tuple[Path, float, dict[str, float]]:
    """Export, prune and quantize with the commands that a user has; the model, its density, and torch's times."""
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    module, example = Model(shape).eval(), torch.randn(1, shape.tokens, shape.width)
    plain, pruned, quantized, data = (
        folder / name for name in ("float.pt2", "pruned.pt2", "model.pt2", "d.npz")
    )
    torch.export.save(torch.export.export(module, (example,), strict=False), plain)
    samples = np.random.default_rng(0).normal(size=(4, shape.tokens, shape.width)).astype(np.float32)
    np.savez(data, tokens=samples)
    found = _flow("prune", str(plain), "--sparsity", str(SPARSITY), "-o", str(pruned), "--json")
    _flow("quantize", str(pruned), "--calibrate", str(data), "-o", str(quantized), "--json")
    return quantized, float(found["density"]), torch_times(module, example)


def _flow(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "flow", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"flow {' '.join(arguments)} failed with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def torch_times(module: nn.Module, example: torch.Tensor) -> dict[str, float]:
    """Median milliseconds of the dense module on all cores of this machine: float32, its fused layers, int8 linears."""
    with warnings.catch_warnings():
        # It says on every use that another package will take it over.
        warnings.simplefilter("ignore")
        int8 = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]

    def fused() -> None:
        torch.backends.mha.set_fastpath_enabled(True)
        module(example)
        torch.backends.mha.set_fastpath_enabled(False)

    with torch.inference_mode():
        return {
            "float32_ms": _median_ms(lambda: module(example)),
            "float32_fused_ms": _median_ms(fused),
            "int8_dynamic_ms": _median_ms(lambda: int8(example)),
        }


def _median_ms(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(times), 3)


def estimates(model: Path, boards: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each board: the engine that fits best and its latency, or why none fits."""
    graph = integerise(read_model(model), LowerOptions())
    rows: dict[str, dict[str, Any]] = {}
    for name in boards:
        board = load_board(name)
        try:
            report = estimate_layout(lay_out(graph, fit(graph, board)), board)
        except FitError as error:
            rows[name] = {"fits": False, "refusal": str(error)}
        else:
            rows[name] = {
                "fits": True,
                "multipliers": report.engine.multipliers,
                "clock_mhz": report.clock_mhz,
                "cycles": report.cycles,
                "latency_ms": round(report.latency_ms, 4),
                "utilisation": round(report.utilisation, 4),
            }
        print(name, rows[name], flush=True)
    return rows


def confirm(model: Path, name: str, folder: Path) -> dict[str, Any]:
    """One frame on the board's engine in RTL simulation, beside a memory of a beat a cycle, 100 cycles away.

    The estimate for that memory stands beside the simulated cycles; latency follows from the latter.
    """
    lowered = lower(model, load_board(name))
    write_build(folder / name, lowered.files, lowered.manifest)
    build = Build.open(folder / name)
    # The first ones are corner cases.
    drawn = stimulus(build.graph, 8, 0)
    report = simulate(
        build,
        "rtl",
        replace(drawn, samples=drawn.samples[-1:]),
        bench=Bench(0, Stalls(0, 0, 0, LATENCY_CYCLES), PATIENCE),
        known={},
    )
    cycles = report.cycles["cycles"]
    expected = sum(step["full_rate_cycles"] for step in build.report["estimate"]["steps"])
    found = {
        "cycles": cycles,
        "estimated_cycles": expected,
        "error": round(expected / cycles - 1, 5),
        "latency_ms": round(cycles / build.board.clock_mhz / 1e3, 4),
        "outputs_compared": report.outputs_compared,
        "mismatches": report.mismatches,
    }
    print(name, "in simulation", found, flush=True)
    return found


def table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """The Markdown table."""
    names = list(models)
    lines = [
        "| | kind | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for board in next(iter(models.values()))["estimates"]:
        cells = []
        for name in names:
            row = models[name]["estimates"][board]
            cells.append(
                f"{row['latency_ms']:.3f} ms, {row['multipliers']:,} multipliers"
                if row["fits"]
                else "does not fit"
            )
        lines.append(f"| {board} | estimated | " + " | ".join(cells) + " |")
    for board in next(iter(models.values()))["confirmed"]:
        cells = [
            f"{models[name]['confirmed'][board]['latency_ms']:.3f} ms, estimate off by "
            f"{models[name]['confirmed'][board]['error']:+.2%}"
            for name in names
        ]
        lines.append(f"| {board} | measured (RTL simulation) | " + " | ".join(cells) + " |")
    for key, what in (
        ("float32_ms", "torch, float32"),
        ("float32_fused_ms", "torch, float32, fused encoder layers"),
        ("int8_dynamic_ms", "torch, int8 linears"),
    ):
        cells = [f"{models[name]['torch'][key]:.2f} ms" for name in names]
        lines.append(f"| {what}, dense, this machine's CPU | measured | " + " | ".join(cells) + " |")
    lines += [f"| {what} | quoted | {figure} |" + " |" * (len(names) - 1) for what, figure in QUOTED]
    refusals = [
        f"- {name} on {board}: {row['refusal']}"
        for name in names
        for board, row in models[name]["estimates"].items()
        if not row["fits"]
    ]
    return "\n".join([*lines, "", *refusals]) + "\n"


def main() -> int:
    """Measure and write the evidence; status 1 if a simulation differs from golden or from its estimate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boards", nargs="+", default=list_boards())
    parser.add_argument("--confirm", nargs="*", default=["u200"])
    options = parser.parse_args()
    models: dict[str, dict[str, Any]] = {}
    faults = []
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as scratch:
            model, density, times = make(shape, Path(scratch))
            confirmed = {board: confirm(model, board, Path(scratch)) for board in options.confirm}
            models[name] = {
                "shape": vars(shape),
                "density": round(density, 4),
                "torch": {**times, "threads": torch.get_num_threads(), "version": torch.__version__},
                "confirmed": confirmed,
                "estimates": estimates(model, options.boards),
            }
        for board, found in confirmed.items():
            if found["mismatches"] or not found["outputs_compared"] or abs(found["error"]) > TOLERANCE:
                faults.append(f"{name} on {board}: {found}")
    data = {"sparsity": SPARSITY, "models": models, "quoted": dict(QUOTED), "met": not faults}
    write_evidence("paper_table", "python tools/bench/paper_table.py", SOURCES, data)
    (RESULTS / "paper_table.md").write_text(table(models))
    for fault in faults:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
