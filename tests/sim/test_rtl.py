"""The emitted Verilog under Verilator: equal to golden, bit for bit, whatever the ports do, and its cycles counted."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.emit.build import Build
from flow.errors import ToolError
from flow.sim.cosim import Bench, Stalls, run_scenarios
from flow.sim.csim import CSim
from flow.sim.rtl import PATIENCE, Rtl, build_model, read_steps
from flow.sim.simulate import bench_of

SAMPLES, CLASSES = 6, 10
HARD = Stalls(idle=0.5, backpressure=0.5, memory=0.3, latency=30)


def test_frames_equal_golden(flow: Callable[..., Any], digits_build: Path, tmp_path: Path) -> None:
    """Bits, and cycles that add up."""
    picture = tmp_path / "timeline.svg"
    found = flow(
        "sim", digits_build, "--backend", "rtl", "--samples", SAMPLES, "--timeline", picture, "--json"
    )
    assert (found.status, found.err) == (0, "")
    report = found.json()
    steps, program = report.pop("steps"), Build.open(digits_build).program
    assert (report["backend"], report["samples"], report["mismatches"]) == ("rtl", SAMPLES, 0)
    assert report["outputs_compared"] == SAMPLES * CLASSES
    assert [step["name"] for step in steps] == list(program.steps)
    assert sum(step["cycles"] for step in steps) == report["cycles"]
    assert sum(step["macs"] for step in steps) == report["macs"]
    assert report["multipliers"] == program.engine.multipliers
    assert report["utilisation"] == pytest.approx(
        report["macs"] / report["cycles"] / report["multipliers"], abs=1e-4
    )
    # Back to back a frame takes no longer than alone.
    assert 0 < report["interval_cycles"] <= report["cycles"]
    # Estimates are true: each step within 1 %, or within two cycles where that is less, and so is the interval.
    off = {s["name"]: (s["cycles"], s["estimated_cycles"]) for s in steps}
    assert {name: pair for name, pair in off.items() if abs(pair[0] - pair[1]) > max(2, pair[0] / 100)} == {}
    assert report["estimated_cycles"] == pytest.approx(report["cycles"], rel=0.01)
    assert report["estimated_interval_cycles"] == pytest.approx(report["interval_cycles"], rel=0.01)
    for step in steps:
        assert step["idle_slots"] <= step["slots"] <= step["cycles"] + 1
        assert step["macs"] <= step["slots"] * program.engine.multipliers
        assert (step["slots"] > 0) == (step["kind"] in ("linear", "attention"))
    titles = [e.text or "" for e in ET.parse(picture).iter("{http://www.w3.org/2000/svg}title")]
    assert [title.split(" ")[0] for title in titles] == list(program.steps)


def test_every_scenario_of_the_build_passes(digits_build: Path, tmp_path: Path) -> None:
    """Stalls, resets, interrupts, foreign programs and missing beats, as for the C++ behind the same ports."""
    tree = ast.parse((digits_build / "sim" / "scenarios.py").read_text())
    names = [n.name for n in tree.body if isinstance(n, ast.AsyncFunctionDef) and n.decorator_list]
    results = run_scenarios(digits_build, "scenarios", tmp_path, model=build_model(Build.open(digits_build)))
    assert {result.name: result.failure for result in results} == dict.fromkeys(names, "")
    assert len(names) == len(results) == 9


def test_lengths(digits_build: Path) -> None:
    """Frames of every length, mixed, under heavy stalls; golden has one length, so C simulation is the reference."""
    build = Build.open(digits_build)
    program = build.program
    random = np.random.default_rng(0)
    lengths = [int(n) for n in random.permutation(program.tokens) + 1]
    (port,) = program.inputs
    shape = (program.tokens, len(port.physical))
    frames = [program.frame({port.name: random.integers(-127, 128, shape)}, length) for length in lengths]
    assert len({len(frame) for frame in frames}) > 1
    found = Rtl(build, Bench(3, HARD, PATIENCE)).run(frames, lengths)
    assert found == CSim(build).run(frames, lengths)
    assert len(set(found)) == len(lengths)


def test_cycles_are_of_full_length(digits_build: Path) -> None:
    """Also where every frame is shorter: none of them is compared with an estimate that is not its own."""
    build = Build.open(digits_build)
    program = build.program
    (port,) = program.inputs
    tensor = np.zeros((program.tokens, len(port.physical)), np.int64)
    backend = Rtl(build, bench_of("rtl", 0))
    found = {}
    for lengths in ([program.tokens], [3, 1, 2]):
        outputs = backend.run([program.frame({port.name: tensor}, length) for length in lengths], lengths)
        assert [len(output) for output in outputs] == [program.output_bytes(length) for length in lengths]
        assert backend.cycles is not None
        found[len(lengths)] = backend.cycles
    assert found[3].latency_cycles == found[1].latency_cycles
    assert [step.cycles for step in found[3].steps] == [step.cycles for step in found[1].steps]
    assert len(found[3].frames) == 4
    assert found[3].interval_cycles == 0.0


def test_a_timeline_needs_cycles(flow: Callable[..., Any], digits_build: Path, tmp_path: Path) -> None:
    found = flow("sim", digits_build, "--timeline", tmp_path / "timeline.svg")
    assert found.status == 2
    assert (
        "--timeline: found --backend csim; expected rtl, which alone counts cycles; add --backend rtl"
        in found.err
    )
    assert not (tmp_path / "timeline.svg").exists()


def test_steps_of_a_log() -> None:
    """Two frames of two steps, the second of them alone."""
    log = "10 0 0 0 0 0\n14 1 3 1 0 0\n20 -1 5 0 1 0\n30 0 0 0 0 0\n33 1 2 0 0 0\n41 -1 6 0 0 2\n"
    run = read_steps(log, 2, 1)
    assert [[(s.index, s.cycles, s.slots) for s in frame] for frame in run.frames] == [
        [(0, 4, 3), (1, 6, 5)],
        [(0, 3, 2), (1, 8, 6)],
    ]
    assert (run.latency_cycles, run.interval_cycles) == (11, 0.0)
    assert run.steps[1].source == 2
    with pytest.raises(ToolError) as caught:
        read_steps(log, 3, 0)
    assert str(caught.value) == "rtl: found 2 frames in the monitor's log; expected 3"
