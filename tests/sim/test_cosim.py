"""The emitted C++ behind its ports in Verilator: equal to golden, bit for bit, whatever the ports do."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.emit.build import Build
from flow.errors import ToolError
from flow.sim.cosim import Bench, CoSim, Stalls, run_scenarios
from flow.sim.csim import CSim

SAMPLES, CLASSES = 6, 10
HARD = Stalls(idle=0.5, backpressure=0.5, memory=0.3, latency=30)


def test_frames_equal_golden(flow: Callable[..., Any], digits_build: Path) -> None:
    found = flow("sim", digits_build, "--backend", "cosim", "--samples", SAMPLES, "--json")
    assert (found.status, found.err) == (0, "")
    assert found.json() == {
        "backend": "cosim",
        "samples": SAMPLES,
        "outputs_compared": SAMPLES * CLASSES,
        "mismatches": 0,
    }


def test_every_scenario_of_the_build_passes(digits_build: Path, tmp_path: Path) -> None:
    """The bench that users get, on its own folder."""
    tree = ast.parse((digits_build / "sim" / "scenarios.py").read_text())
    names = [n.name for n in tree.body if isinstance(n, ast.AsyncFunctionDef) and n.decorator_list]
    results = run_scenarios(digits_build, "scenarios", tmp_path)
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
    found = CoSim(build, Bench(seed=3, stalls=HARD)).run(frames, lengths)
    assert found == CSim(build).run(frames, lengths)
    assert len(set(found)) == len(lengths)


def test_a_stuck_stream_is_named(digits_build: Path) -> None:
    """A frame that lacks its last beat."""
    build = Build.open(digits_build)
    beat = build.engine.stream_bytes
    frame = build.read("sim/input.bin")[:-beat]
    first = frame[: len(frame) // 2 // beat * beat]
    bench = Bench(patience=3000, stalls=Stalls(idle=0))
    with pytest.raises(ToolError) as caught:
        CoSim(build, bench).run([first], [build.program.tokens])
    beats = len(first) // beat
    assert str(caught.value) == (
        f"cosim: stuck for 3000 cycles: stream_in: found TREADY and no beat after {beats}; expected one more"
    )
