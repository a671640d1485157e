"""Seconds of `flow sim --backend cosim` on the bundled model, from an empty cache, on every kind of board.

Compilation by Verilator and g++, then twenty frames under heavy stalls, with the cycles and beats that they took. CPU
seconds stand beside wall seconds: on a machine that does other work only the former say something.

`python tools/bench/cosim_speed.py [--frames N] [--boards NAME …]`; writes results/cosim_speed.json.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evidence import ROOT, write_evidence

from flow.boards import load_board
from flow.emit.build import Build, write_build
from flow.emit.lower import lower
from flow.golden.host import HostProgram
from flow.golden.stimulus import stimulus
from flow.sim.cosim import Bench, CoSim, Stalls

SOURCES = ("hls/**/*", "templates/**/*", "flow/sim/cosim.py", "flow/sim/verilator.py", "flow/emit/cosim.py")
TARGET_SECONDS = 180.0
"""Of wall time for a board, on two cores that do nothing else."""
STALLS = Stalls(idle=0.5, backpressure=0.5, memory=0.3, latency=30)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """A result with its wall and CPU seconds, those of programs that it ran included."""
    before, start = _cpu(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return result, {"wall_s": round(seconds, 1), "cpu_s": round(_cpu() - before, 1)}


def _cpu() -> float:
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in use)


def measure(board: str, frames: int, folder: Path) -> dict[str, Any]:
    """One board, with a cache of its own."""
    os.environ["FLOW_CACHE_DIR"] = str(folder / "cache")
    lowered = lower(ROOT / "models" / "digits_vit_hp80.pt2", load_board(board))
    write_build(folder / "build", lowered.files, lowered.manifest)
    build = Build.open(folder / "build")
    program, host = build.program, HostProgram.of(build.graph, build.program.tokens)
    samples = stimulus(build.graph, frames, 0).samples
    lengths = [host.length(sample) for sample in samples]
    given = [
        program.frame(host.before(sample), length) for sample, length in zip(samples, lengths, strict=True)
    ]
    device, compiling = timed(lambda: CoSim(build, Bench(stalls=STALLS)))
    outputs, running = timed(lambda: device.run(given, lengths))
    assert [len(output) for output in outputs] == [program.output_bytes(length) for length in lengths]
    counts = device.counts
    return {
        "multipliers": build.engine.multipliers,
        "image_beats": len(program.image) // build.engine.beat_bytes,
        "compile": compiling,
        "run": running,
        "cycles": counts["cycles"],
        "memory_beats": counts["beats"],
        "cycles_per_cpu_s": round(counts["cycles"] / running["cpu_s"]),
    }


def main() -> int:
    """Measure and write the evidence; status 1 if the target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--boards", nargs="+", default=["u250", "pynq-z2", "ulx3s-85f"])
    options = parser.parse_args()
    results = {}
    for board in options.boards:
        with tempfile.TemporaryDirectory() as folder:
            results[board] = measure(board, options.frames, Path(folder))
        print(board, results[board])
    worst = {
        clock: round(max(r["compile"][clock] + r["run"][clock] for r in results.values()), 1)
        for clock in ("wall_s", "cpu_s")
    }
    report = {
        "frames": options.frames, "stalls": asdict(STALLS), "boards": results, "worst": worst,
        "target_wall_s": TARGET_SECONDS, "met": worst["wall_s"] < TARGET_SECONDS,
    }  # fmt: skip
    write_evidence("cosim_speed", "python tools/bench/cosim_speed.py", SOURCES, report)
    print(
        f"worst board {worst['wall_s']} s, {worst['cpu_s']} s of processor time; target < {TARGET_SECONDS:.0f} s"
    )
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
