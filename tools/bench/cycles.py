"""Estimated against simulated cycles of every step: linear chains, digits models, random transformers, an encoder.

Run with `python tools/bench/cycles.py`; `--only NAME …` runs some of the groups and writes nothing. `--without NAME …`
runs the others: the result says what was left out, and so does the status, 3. Logs of simulations are kept in the
cache, so that a run that was broken off goes on where it was.

Every program runs on the Verilog engine beside a memory that answers after 100 cycles with a beat a cycle; nothing else
waits. A step's estimate has to be within 1 % of its cycles, or within `SLACK` cycles where 1 % is less than that.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from evidence import ROOT, write_evidence
from lower_speed import make_encoder

from flow.boards import load_board
from flow.cost import fit
from flow.cost.cycles import chained, step_estimate
from flow.cost.machine import Task, Walk
from flow.emit.cosim import cosim_files
from flow.emit.lower import LowerOptions, integerise, lay_out, read_model
from flow.emit.manifest import IMAGE
from flow.emit.rtl import rtl_files
from flow.engine import Engine
from flow.formats.synthetic import Hierarchy, random_hp, random_weights
from flow.frontend import load
from flow.ir import Graph, TensorType
from flow.ops import DeviceOutput, Input, Linear, Requantise, ResidualAdd, Table
from flow.passes import recognise
from flow.passes.lay_out import Layout
from flow.resources import cache_dir
from flow.sim.cosim import Bench, run_job
from flow.sim.rtl import PATIENCE, QUIET, STEPS_LOG, Run, model_of, read_steps
from flow.sim.verilator import compile_model

LIMIT, SLACK = 0.01, 2
"""Relative error, and cycles of it that count as none: a step of less than 200 cycles is off by 1 % with two."""
GROUPS = ("digits", "random", "encoder", "linear", "large")
PLAIN = ("add", "table")
LINEAR = {
    # By multipliers: engine, tokens, channels.
    64: (Engine(4, 8, 2, 1, 1, 8, 8, PLAIN, 64, 1024, 2048, 1024, 32), 64, 256),
    1024: (Engine(8, 32, 4, 1, 1, features=PLAIN, sequence=128, depth=32, operand_depth=2048), 128, 512),
    4096: (Engine(8, 64, 8, 1, 1, features=PLAIN, sequence=128, depth=64, operand_depth=2048), 128, 768),
}
DENSITIES = (1.0, 0.5, 0.25, 0.1)
DIGITS = ("ulx3s-85f", "pynq-z2", "u250")
ENCODER = Engine(
    8, 64, 8, 16, 1, 64, 64, ("add", "attention", "norm", "table"), 128, 1024, 1024, 512, 64, 64, 256
)
STEP = 0.01


def chain(tokens: int, width: int, banks: int, density: float) -> Graph:
    """int8 x -> linear -> linear and table -> linear and residual -> int16, of `width` channels each, HP on `banks` or
    dense."""
    rng, graph = np.random.default_rng(7), Graph(f"chain_{width}_{density:g}")

    def linear(value: Any, stem: str) -> Any:
        if density == 1.0:
            weights = random_weights(rng, (width, width), 8)
        else:
            kept = Hierarchy.nearest(width // banks, density)
            weights = random_hp(rng, width, width, banks=banks, block_rows=64, hierarchy=kept)
        return graph.add(stem, Linear(weights, np.zeros(width, np.int64)), [value])

    def requantise(value: Any, stem: str, bits: int, signed: bool) -> Any:
        op = Requantise(np.full(width, 20000), np.full(width, 24), bits, signed, 0, STEP)
        return graph.add(stem, op, [value])

    x = graph.add("x", Input("x", TensorType((tokens, width), "int8", STEP)))
    wide = graph.add("base", Input("base", TensorType((tokens, width), "int16", STEP)))
    first = requantise(linear(x, "acc0"), "first", 8, True)
    index = requantise(linear(first, "acc1"), "index", 8, False)
    table = Table(np.arange(256) - 128, 8, True, STEP, 0, "gelu")
    second = graph.add("second", table, [index])
    add = ResidualAdd(np.full(width, 20000), np.full(width, 24), 20000, 15, STEP)
    graph.set_output(
        "out", graph.add("out", DeviceOutput("out"), [graph.add("sum", add, [linear(second, "acc2"), wide])])
    )
    return graph


def layouts(group: str, folder: Path) -> Iterator[tuple[str, Layout, tuple[int, ...]]]:
    """The programs of a group: label, layout, and the frames of every RUN."""
    if group in ("linear", "large"):
        for multipliers, (engine, tokens, width) in LINEAR.items():
            for density in DENSITIES if (multipliers > 1024) == (group == "large") else ():
                graph = chain(tokens, width, engine.banks, density)
                yield f"linear_{multipliers}_{density:g}", lay_out(graph, engine), (1, 3)
    elif group == "digits":
        for name in ("dense", "hp80"):
            graph = integerise(read_model(ROOT / "models" / f"digits_vit_{name}.pt2"), LowerOptions())
            for board in DIGITS:
                yield f"digits_{name}_{board}", lay_out(graph, fit(graph, load_board(board))), (1, 3)
    elif group == "random":
        # Some distribution may have installed a package of that name.
        package = types.ModuleType("tests")
        package.__path__ = [str(ROOT / "tests")]
        sys.modules["tests"] = package
        from tests.transformers.pipeline import make
        from tests.transformers.specs import covering, describe
        from tests.transformers.test_random import COVERED, COVERING_SEED, ENGINES

        for spec in covering(COVERED, COVERING_SEED):
            place = folder / f"random{spec.seed}"
            place.mkdir(exist_ok=True)
            graph = make(spec, place).graph
            yield f"random_{describe(spec)}", lay_out(graph, ENGINES[spec.seed % len(ENGINES)]), (1, 3)
    else:
        make_encoder(folder / "encoder.pt2")
        graph = integerise(recognise(load(folder / "encoder.pt2")), LowerOptions())
        yield "encoder_12x768_hp90", lay_out(graph, ENCODER), (1,)


def simulate(layout: Layout, batches: tuple[int, ...]) -> Run:
    """Frames of random numbers on the Verilog engine: one alone, the others back to back."""
    program, rng = layout.program, np.random.default_rng(0)
    frames = []
    for _ in range(sum(batches)):
        values = {
            port.name: rng.integers(
                0 if not port.signed else -100,
                100,
                (1 if port.single_token else program.tokens, len(port.physical)),
            )
            for port in program.inputs
        }
        frames.append(program.frame(values, program.tokens))
    files = {**rtl_files(program.engine), **cosim_files(program.engine), IMAGE: program.image}
    kept = kept_log(files, frames, batches)
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="flow-cycles-") as scratch:
            for path, content in files.items():
                (Path(scratch) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(scratch) / path).write_bytes(content)
            model = compile_model(model_of(files))
            bench = Bench(0, replace(QUIET), PATIENCE)
            done = run_job(Path(scratch), model, frames, bench, list(batches), (STEPS_LOG,))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(done.files[STEPS_LOG])
    return read_steps(kept.read_text(), len(frames), 0)


def kept_log(files: Mapping[str, bytes], frames: Sequence[bytes], batches: tuple[int, ...]) -> Path:
    """Where the log of a simulation is kept: by a hash of everything that goes into it, so that another engine, bench,
    program or frame is another simulation."""
    digest = hashlib.sha256(repr(batches).encode())
    for name, content in [*sorted(files.items()), *((str(at), frame) for at, frame in enumerate(frames))]:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return cache_dir() / "cycles" / f"{digest.hexdigest()}.log"


def compare(layout: Layout, run: Run, behind: int) -> dict[str, Any]:
    """Every step's cycles, simulated, estimated by the walk and by its operators' closed form."""
    engine, program = layout.program.engine, layout.program
    start = time.perf_counter()
    tasks = [Task.of(engine, p.record, program.tokens, p.encoded) for p in layout.placed]
    (alone,) = Walk(engine, tasks).frames(1)
    seconds = time.perf_counter() - start
    forms = chained(step_estimate(layout, placed) for placed in layout.placed)
    steps = [
        {
            "name": placed.step.name,
            "kind": placed.record.opcode.name.lower(),
            "simulated": measured.cycles,
            "estimated": timed.cycles,
            "closed_form": form,
        }
        for placed, measured, timed, form in zip(layout.placed, run.steps, alone, forms, strict=True)
    ]
    pairs = [(measured.cycles, timed.cycles) for measured, timed in zip(run.steps, alone, strict=True)]
    beyond = [str(step["name"]) for step, pair in zip(steps, pairs, strict=True) if not within(*pair)]
    result: dict[str, Any] = {
        "engine": engine.to_json(),
        "multipliers": engine.multipliers,
        "simulated": run.latency_cycles,
        "estimated": sum(timed.cycles for timed in alone),
        "closed_form": sum(forms),
        "seconds": round(seconds, 3),
        "largest_error": round(max(abs(b - a) / a for a, b in pairs), 6),
        "largest_error_cycles": max(abs(b - a) for a, b in pairs),
        "beyond": beyond,
        "steps": steps,
    }
    if behind > 1:
        frames = Walk(engine, tasks).frames(behind)
        interval = (frames[-1][0].start - frames[0][0].start) / (behind - 1)
        result["interval"] = {"simulated": run.interval_cycles, "estimated": interval}
        if not within(run.interval_cycles, interval):
            beyond.append("interval")
    return result


def within(simulated: float, estimated: float) -> bool:
    """Whether an estimate is true."""
    return abs(estimated - simulated) <= max(LIMIT * simulated, SLACK)


def main() -> int:
    """Measure all groups; status 1 if an estimate is beyond its limit, else 3 if a group was left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=[])
    parser.add_argument("--without", nargs="+", choices=GROUPS, default=[])
    chosen, left_out = parser.parse_args().only, parser.parse_args().without
    groups = [group for group in chosen or GROUPS if group not in left_out]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for group in groups:
            for label, layout, batches in layouts(group, Path(name)):
                result = compare(layout, simulate(layout, batches), sum(batches[1:]))
                results[label] = result
                figures = f"{result['simulated']:,} simulated, {result['estimated']:,} estimated"
                worst = f"{result['largest_error']:.2%}, {result['largest_error_cycles']} cycles"
                sys.stderr.write(f"{label}: {figures}; worst step {worst}; beyond: {result['beyond']}\n")
    beyond = {label: result["beyond"] for label, result in results.items() if result["beyond"]}
    if not chosen:
        write_evidence(
            "cycles",
            " ".join(["python tools/bench/cycles.py", *(["--without", *left_out] if left_out else [])]),
            [
                *(
                    "flow/cost/*.py",
                    "flow/cost/machine/*.py",
                    "flow/engine/*.py",
                    "flow/ops/*.py",
                    "flow/passes/*.py",
                ),
                *(
                    "flow/formats/*.py",
                    "templates/rtl/**/*",
                    "templates/sim/step_monitor.sv",
                    "hls/cosim/axi_memory.sv",
                ),
                *("models/*.pt2", "tests/transformers/*.py", "tools/bench/cycles.py"),
            ],
            {
                "groups": groups,
                "left_out": left_out,
                "limit": f"each step within {LIMIT:.0%} of its simulated cycles, or within {SLACK} cycles",
                "steps": sum(len(result["steps"]) for result in results.values()),
                "exact_steps": sum(
                    s["simulated"] == s["estimated"] for r in results.values() for s in r["steps"]
                ),
                "largest_error": max(result["largest_error"] for result in results.values()),
                "beyond": beyond,
                "results": results,
            },
        )
    return 1 if beyond else 3 if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
