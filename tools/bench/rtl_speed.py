"""Cycles of the Verilog engine, from simulation: linear steps, a whole encoder, the digits models.

Run with `python tools/bench/rtl_speed.py [--only linear encoder digits]`; writes results/rtl_speed.json. Status 1 if a
target is missed or a single output differs from golden. What is not asked for keeps its part of the last result if that
was measured on the same sources.

- linear: chains of linear layers on engines of 64, 1,024 and 4,096 multipliers, dense and pruned (HP) to about 50, 75
  and 90 %. The steps between the first and the last of a chain count, from start to start.
- encoder: 12 layers, 768 wide, 12 heads, 128 tokens, HP 90 %, 4,096 multipliers; where its cycles go; the same with a
  memory that answers at once; seconds of Verilator and of the simulation.
- digits: the bundled models on two boards.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import RESULTS, ROOT, source_hash, write_evidence
from lower_speed import make_encoder
from torch import nn

from flow.boards import load_board
from flow.compress.calibrate import calibrate
from flow.compress.quantize import quantize
from flow.compress.schemes.hp import choose_pattern, columns_per_bank, hp_mask
from flow.cost.machine import LATENCY_CYCLES
from flow.emit.build import Build, write_build
from flow.emit.lower import LowerOptions, lower
from flow.frontend import load
from flow.frontend.to_torch import write_pt2
from flow.golden.stimulus import stimulus
from flow.passes import recognise
from flow.sim.cosim import Bench, Stalls
from flow.sim.rtl import PATIENCE, build_model
from flow.sim.simulate import Known, SimReport, simulate

SOURCES = (
    "templates/rtl/**/*",
    "templates/sim/*.sv.j2",
    "templates/sim/*.sv",
    "templates/sim/bench.py",
    "hls/cosim/axi_memory.sv",
    "flow/sim/rtl.py",
    "flow/sim/cosim.py",
    "flow/sim/verilator.py",
    "flow/emit/rtl.py",
    "flow/emit/cosim.py",
    "tools/bench/rtl_speed.py",
    "tools/bench/lower_speed.py",
)
PARTS = ("linear", "encoder", "digits")
UTILISATION, SPEED_UP, WHOLE = 0.95, 0.95, 0.80
BUILD_SECONDS, SIMULATION_SECONDS, CYCLES_PER_SECOND = 120.0, 60.0, 50_000.0
OFF_CHIP = 1.03
"""Cycles with weights behind the memory's latency over those without it."""
AT_ONCE = 1
"""Latency of a memory on chip."""


@dataclass(frozen=True)
class Chain:
    """Linear layers of `width` to `width` on an engine, S tokens."""

    tokens: int
    banks: int
    rows: int
    beat_bytes: int
    sequence: int
    width: int
    layers: int = 4

    @property
    def overrides(self) -> dict[str, int]:
        """What the engine is set to."""
        return {
            "tokens": self.tokens, "banks": self.banks, "rows": self.rows, "heads": 1, "norm_lanes": 1,
            "beat_bytes": self.beat_bytes,
        }  # fmt: skip


CHAINS = {
    "64": Chain(4, 8, 2, 8, 64, 256),
    "1024": Chain(8, 32, 4, 64, 64, 768),
    "4096": Chain(8, 64, 8, 64, 128, 768),
    "4096, 64 tokens": Chain(8, 64, 8, 128, 64, 768),
}
SPARSITIES = (0.0, 0.5, 0.75, 0.9)
ENCODER = {"tokens": 8, "banks": 64, "rows": 8, "norm_lanes": 16, "heads": 1}


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """A result with its wall and processor seconds, those of programs that it ran included."""
    before, start = _cpu(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return result, {"wall_s": round(seconds, 1), "cpu_s": round(_cpu() - before, 1)}


def _cpu() -> float:
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in use)


def memory(latency: int) -> Bench:
    """A bench without stalls, whose memory answers after so many cycles."""
    return Bench(0, Stalls(0, 0, 0, latency), PATIENCE)


def make_chain(chain: Chain, sparsity: float, path: Path) -> float:
    """Write a quantized chain of linear layers; returns its density."""
    torch.manual_seed(0)
    layers = [nn.Linear(chain.width, chain.width) for _ in range(chain.layers)]
    module = nn.Sequential(*layers).eval()
    kept = total = 0
    for layer in layers:
        weight = layer.weight
        if sparsity:
            depth = columns_per_bank(chain.width, chain.banks)
            pattern = choose_pattern(max(1, round((1 - sparsity) * depth)), depth)
            mask = hp_mask(
                weight.detach().numpy(), chain.banks, 64, pattern.columns, pattern.vector, pattern.keep
            )
            with torch.no_grad():
                weight.mul_(torch.from_numpy(mask))
        kept, total = kept + int(weight.count_nonzero()), total + weight.numel()
    shape = (1, chain.sequence, chain.width)
    plain = path.with_suffix(".float.pt2")
    torch.export.save(torch.export.export(module, (torch.randn(shape),), strict=False), plain)
    graph = recognise(load(plain))
    name = next(node.name for node in graph if node.op.name == "input")
    samples = [{name: np.random.default_rng(i).normal(size=shape).astype(np.float32)} for i in range(2)]
    write_pt2(quantize(graph, calibrate(graph, samples)), path)
    plain.unlink()
    return kept / total


def make_build(model: Path, board: str, folder: Path, overrides: Mapping[str, int] | None = None) -> Build:
    """The model lowered."""
    lowered = lower(model, load_board(board), options=LowerOptions(overrides=overrides or {}))
    write_build(folder, lowered.files, lowered.manifest)
    return Build.open(folder)


def run(build: Build, frames: int, bench: Bench, faults: list[str], what: str, known: Known) -> SimReport:
    """Simulate; what differs from golden is a fault."""
    report = simulate(build, "rtl", stimulus(build.graph, frames, 0), bench=bench, known=known)
    if report.mismatches or not report.outputs_compared:
        faults.append(f"{what}: {report.mismatches} of {report.outputs_compared} outputs differ from golden")
    return report


def measure_linear(folder: Path, faults: list[str]) -> dict[str, Any]:
    """Utilisation and speed-up of the steps inside a chain, on every engine at every sparsity."""
    results: dict[str, Any] = {}
    for name, chain in CHAINS.items():
        rows: list[dict[str, Any]] = []
        for sparsity in SPARSITIES:
            what = f"linear, {name} multipliers, sparsity {sparsity}"
            density = make_chain(chain, sparsity, folder / "chain.pt2")
            build = make_build(folder / "chain.pt2", "u250", folder / "chain", chain.overrides)
            report = run(build, 1, memory(LATENCY_CYCLES), faults, what, {})
            linear = [step for step in report.cycles["steps"] if step["kind"] == "linear"][1:-1]
            cycles, macs = sum(s["cycles"] for s in linear), sum(s["macs"] for s in linear)
            row = {
                "sparsity": sparsity,
                "density": round(density, 4),
                "steps": len(linear),
                "cycles": cycles,
                "waits_data": sum(s["waits_data"] for s in linear),
                "waits_source": sum(s["waits_source"] for s in linear),
                "utilisation": round(macs / (build.engine.multipliers * cycles), 4),
            }
            if rows:
                row["speed_up"] = round(rows[0]["cycles"] / cycles, 3)
                row["speed_up_times_density"] = round(row["speed_up"] * density, 4)
            rows.append(row)
            print(what, row, flush=True)
            if row["utilisation"] < UTILISATION:
                faults.append(f"{what}: utilisation {row['utilisation']}; expected {UTILISATION}")
            if rows[1:] and row["speed_up_times_density"] < SPEED_UP:
                faults.append(f"{what}: speed-up {row['speed_up']}; expected {SPEED_UP} / {density:.4f}")
        results[name] = {**chain.overrides, "sequence": chain.sequence, "width": chain.width, "runs": rows}
    return results


def where(steps: Sequence[Mapping[str, Any]], multipliers: int) -> dict[str, int]:
    """What the cycles of a frame went to; the parts sum to all of them."""
    parts: dict[str, int] = {}

    def add(name: str, cycles: int) -> None:
        parts[name] = parts.get(name, 0) + cycles

    for step in steps:
        useful = round(step["macs"] / multipliers)
        add("useful", useful)
        add("pace", step["idle_slots"])
        add("slots for padding", step["slots"] - step["idle_slots"] - useful)
        add("waits for data", step["waits_data"])
        add("waits for the step before", step["waits_source"])
        rest = step["cycles"] - step["slots"] - step["waits_data"] - step["waits_source"]
        add(f"no slot in {step['kind']}", rest)
    return parts


def measure_encoder(folder: Path, faults: list[str]) -> dict[str, Any]:
    """The encoder of `lower_speed` in simulation."""
    density = make_encoder(folder / "encoder.pt2")
    build = make_build(folder / "encoder.pt2", "u250", folder / "encoder", ENCODER)
    os.environ["FLOW_CACHE_DIR"] = str(folder / "cache")
    _, compiling = timed(lambda: build_model(build))
    del os.environ["FLOW_CACHE_DIR"]
    build_model(build)
    known: Known = {}
    simulate(build, "golden", stimulus(build.graph, 1, 0), known=known)
    report, simulating = timed(lambda: run(build, 1, memory(LATENCY_CYCLES), faults, "encoder", known))
    at_once = run(build, 1, memory(AT_ONCE), faults, "encoder, memory at once", known)
    several = run(build, 4, memory(LATENCY_CYCLES), faults, "encoder, frames back to back", {})
    cycles = report.cycles["cycles"]
    found = {
        "density": round(density, 4),
        "engine": ENCODER,
        "outputs_compared": report.outputs_compared,
        "cycles": cycles,
        "utilisation": report.cycles["utilisation"],
        "where": where(report.cycles["steps"], report.cycles["multipliers"]),
        "cycles_memory_at_once": at_once.cycles["cycles"],
        "off_chip_over_on_chip": round(cycles / at_once.cycles["cycles"], 4),
        "interval_cycles": several.cycles["interval_cycles"],
        "verilator": compiling,
        "simulation": simulating,
        "cycles_per_cpu_s": round(cycles / simulating["cpu_s"]),
    }
    print("encoder", found, flush=True)
    bounds = (
        ("utilisation", found["utilisation"] >= WHOLE, WHOLE),
        ("off_chip_over_on_chip", found["off_chip_over_on_chip"] <= OFF_CHIP, OFF_CHIP),
        ("verilator", compiling["cpu_s"] < BUILD_SECONDS, BUILD_SECONDS),
        ("simulation", simulating["cpu_s"] < SIMULATION_SECONDS, SIMULATION_SECONDS),
        ("cycles_per_cpu_s", found["cycles_per_cpu_s"] > CYCLES_PER_SECOND, CYCLES_PER_SECOND),
    )
    faults += [
        f"encoder: {name} is {found[name]}; expected {bound}" for name, met, bound in bounds if not met
    ]
    return found


def measure_digits(folder: Path, faults: list[str]) -> dict[str, Any]:
    """The bundled models, three frames: latency of one, interval of the others."""
    results: dict[str, Any] = {}
    for board in ("u250", "ulx3s-85f"):
        for model in ("digits_vit_dense", "digits_vit_hp80"):
            build = make_build(ROOT / "models" / f"{model}.pt2", board, folder / f"{model}-{board}")
            report = run(build, 4, memory(LATENCY_CYCLES), faults, f"{model} on {board}", {})
            results[f"{model} on {board}"] = {
                "multipliers": build.engine.multipliers,
                "outputs_compared": report.outputs_compared,
                "cycles": report.cycles["cycles"],
                "interval_cycles": report.cycles["interval_cycles"],
                "utilisation": report.cycles["utilisation"],
                "where": where(report.cycles["steps"], report.cycles["multipliers"]),
            }
            print(model, board, results[f"{model} on {board}"], flush=True)
    return results


def kept(parts: Sequence[str]) -> dict[str, Any]:
    """Parts of the last result, if it was measured on these sources."""
    path = RESULTS / "rtl_speed.json"
    if not path.exists():
        return {}
    last = json.loads(path.read_text())
    if last["sources_sha256"] != source_hash(sorted(SOURCES)):
        return {}
    return {part: last[part] for part in parts if part in last}


def main() -> int:
    """Measure and write the evidence; status 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    only = parser.parse_args().only
    measures = {"linear": measure_linear, "encoder": measure_encoder, "digits": measure_digits}
    faults: dict[str, list[str]] = {part: [] for part in only}
    results = kept([part for part in PARTS if part not in only])
    for part in only:
        with tempfile.TemporaryDirectory() as folder:
            results[part] = {**measures[part](Path(folder), faults[part]), "faults": faults[part]}
    missed = [fault for part in results.values() for fault in part["faults"]]
    write_evidence("rtl_speed", "python tools/bench/rtl_speed.py", SOURCES, {**results, "met": not missed})
    for fault in missed:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
