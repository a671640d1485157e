"""Time from a saved one-line change to its verdict under `flow sim --watch`, on the bundled model.

The watch is a process of its own, as an engineer has it, with an empty cache of compiled kernels. Each change is one
that g++ has to compile. Both clocks run from the write to the line that gives the verdict: processor time, of the watch
and the compilers that it runs one after the other, is what a core of its own takes; wall time is what this machine took
beside everything else that it did. The target is held against processor time plus the time between two looks at the
files.

    python tools/bench/watch_speed.py [--board u250]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from evidence import ROOT, write_evidence

from flow.sim.watch import POLL_SECONDS

TARGET_SECONDS = 20.0
LOOKS = 2 * POLL_SECONDS
"""A change is seen at the next look and believed at the one after."""
MODEL = "models/digits_vit_hp80.pt2"
CHANGES = (
    (
        "dispatch.hpp.j2",
        "    rescale_stage(total, rows, scaled);",
        "    rescale_stage(total, rows, scaled); // one",
    ),
    (
        "dispatch.hpp.j2",
        "    rescale_stage(total, rows, scaled); // one",
        "    (rescale_stage)(total, rows, scaled);",
    ),
    (
        "engine/stages/add.hpp",
        "            scaled.lane[p][t] += ",
        "            scaled.lane[p][t] = scaled.lane[p][t] + ",
    ),
)
"""File, text, and what takes its place: a comment, a call, and a sum in a header."""


def follow(process: subprocess.Popen[str], text: str) -> str:
    """The next line of stderr that holds `text`.

    Raises:
        RuntimeError: the process ended first.
    """
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise RuntimeError(f"flow sim --watch: ended before it said {text!r}")


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """Processor time of a process and of those that it has waited for (proc(5): fields 14 to 17 of stat)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def result(change: str, wall: float, processor: float) -> dict[str, object]:
    """One row of the evidence."""
    return {"change": change, "processor_seconds": round(processor, 2), "wall_seconds": round(wall, 2)}


def measure(board: str, folder: Path) -> list[dict[str, object]]:
    """Seconds of the first check and of each change."""
    flow = [sys.executable, "-m", "flow"]
    mine, build = folder / "mine", folder / "build"
    environment = os.environ | {"FLOW_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    names = sorted({name for name, _, _ in CHANGES})
    for arguments in (
        ["templates", "eject", *names, str(mine)],
        ["lower", str(ROOT / MODEL), "--board", board, "--templates", str(mine), "-o", str(build)],
    ):
        subprocess.run([*flow, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
    command = [*flow, "sim", str(build), "--watch"]
    results: list[dict[str, object]] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        start = time.monotonic()
        verdict = follow(process, " after ")
        assert "equal after" in verdict, verdict
        results.append(result("first check", time.monotonic() - start, processor_seconds(process)))
        for name, text, other in CHANGES:
            path = mine / name
            content = path.read_text()
            assert content.count(text) == 1, (name, text)
            time.sleep(1)  # the watch waits
            start, before = time.monotonic(), processor_seconds(process)
            path.write_text(content.replace(text, other))
            verdict = follow(process, " after ")
            assert "equal after" in verdict, verdict
            taken = time.monotonic() - start, processor_seconds(process) - before
            results.append(result(f"{name}: {other.strip()}", *taken))
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.returncode
    return results


def main() -> int:
    """Measure, print and write the evidence; status 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--board", default="u250")
    board = parser.parse_args().board
    with tempfile.TemporaryDirectory(prefix="flow-watch-") as folder:
        results = measure(board, Path(folder))
    worst = max(float(str(row["processor_seconds"])) for row in results[1:]) + LOOKS
    for row in results:
        print(
            f"{row['processor_seconds']:5.1f} s processor, {row['wall_seconds']:5.1f} s wall  {row['change']}"
        )
    print(f"worst change {worst:.1f} s on a core of its own; target < {TARGET_SECONDS:.0f} s")
    sources = [
        "flow/emit/*.py", "flow/sim/kernel.py", "flow/sim/simulate.py", "flow/sim/watch.py",
        "hls/**/*.hpp", "hls/**/*.h", "templates/*.j2",
    ]  # fmt: skip
    report = {
        "model": MODEL, "board": board, "results": results, "worst_seconds": worst,
        "target_seconds": TARGET_SECONDS, "met": worst < TARGET_SECONDS,
    }  # fmt: skip
    write_evidence("watch_speed", f"python tools/bench/watch_speed.py --board {board}", sources, report)
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
