"""The frames that a build carries for the C++ test bench, and the golden answer to them."""

from __future__ import annotations

from pathlib import Path

from flow.emit.build import Build
from flow.emit.lower import BENCH_FRAMES
from flow.sim.csim import CSim


def test_the_kernel_answers_the_frames_of_the_build_as_expected(digits_build: Path) -> None:
    build = Build.open(digits_build)
    program = build.program
    given, expected = build.read("sim/input.bin"), build.read("sim/expected.bin")
    size = len(given) // BENCH_FRAMES
    frames = [given[i * size : (i + 1) * size] for i in range(BENCH_FRAMES)]
    assert b"".join(CSim(build).run(frames, [program.tokens] * BENCH_FRAMES)) == expected
    assert any(expected)
