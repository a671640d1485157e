"""What takes longer: every bundled model on every kind of board, kernels with mistakes, waveforms, users' folders."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.emit.build import Build
from flow.errors import ToolError
from flow.golden.stimulus import stimulus
from flow.sim.cosim import Bench, Stalls, run_scenarios
from flow.sim.simulate import simulate

pytestmark = pytest.mark.slow
FRAMES, CLASSES = 20, 10
HARD = Stalls(idle=0.5, backpressure=0.5, memory=0.3, latency=30)


@pytest.mark.parametrize("board", ["u250", "pynq-z2", "ulx3s-85f"])
@pytest.mark.parametrize("kind", ["dense", "hp80"])
def test_every_board(flow: Callable[..., Any], models: Path, tmp_path: Path, board: str, kind: str) -> None:
    """Golden = csim = cosim on twenty frames under heavy stalls."""
    assert (
        flow("lower", models / f"digits_vit_{kind}.pt2", "--board", board, "-o", tmp_path / "build").status
        == 0
    )
    build = Build.open(tmp_path / "build")
    samples = stimulus(build.graph, FRAMES, 11)
    for backend in ("csim", "cosim"):
        report = simulate(build, backend, samples, bench=Bench(seed=7, stalls=HARD))
        assert (report.samples, report.outputs_compared, report.mismatches) == (FRAMES, FRAMES * CLASSES, 0)


MISTAKES = {
    "one beat too many": (
        "hls/flow_engine.cpp",
        "if (outcome.status == Status::Ok) ++outcome.frames_done;",
        "if (outcome.status == Status::Ok && ++outcome.frames_done == frames) in.read();",
        "stuck for 20000 cycles: stream_in: found TREADY and no beat after",
    ),
    "no last": (
        "hls/engine/transfer.hpp",
        "out.last = last;",
        "out.last = false;",
        "stream_out: found 0 frames; expected",
    ),
    "one frame too few": (
        "hls/flow_engine.cpp",
        "outcome.frames_done < frames",
        "outcome.frames_done + 1 < frames",
        "found 3 frames done; expected 4",
    ),
    "beyond the image": (
        "hls/engine/feed.hpp",
        "beats.write(memory[span.offset + i]);",
        "beats.write(memory[span.offset + i + 65536 * (i == 1)]);",
        "reads outside the image; expected none",
    ),
    "holes in a beat": (
        "hls/engine/transfer.hpp",
        "out.strb = -1;",
        "out.strb = 1;",
        "stream_out: found TKEEP or TSTRB that leave out bytes of a beat; expected whole beats",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_at_ports_are_named(build_copy: Path, tmp_path: Path, name: str) -> None:
    """A kernel that moves another number of beats, or reads elsewhere."""
    file, right, wrong, said = MISTAKES[name]
    text = (build_copy / file).read_text()
    assert text.count(right) == 1
    (build_copy / file).write_text(text.replace(right, wrong))
    (result,) = run_scenarios(build_copy, "scenarios", tmp_path / "place", case="frames_at_full_speed")
    assert said in result.failure


def test_a_loop_that_does_not_end_is_noticed(
    build_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still meanwhile, so that no watchdog of the bench can wake."""
    monkeypatch.setenv("FLOW_KERNEL_SECONDS", "2")
    build = Build.open(build_copy)
    sizes = json.loads(build.read("sim/frames.json"))
    source = build_copy / "hls/flow_engine.cpp"
    text, right = source.read_text(), "if (outcome.status == Status::Ok) ++outcome.frames_done;"
    assert text.count(right) == 1
    source.write_text(text.replace(right, "for (volatile bool on = true; on;) {}"))
    with pytest.raises(ToolError) as caught:
        run_scenarios(build_copy, "scenarios", tmp_path / "place", case="one_run_after_the_other")
    taken, sent = (sizes[f"{kind}_bytes"][0] // build.engine.stream_bytes for kind in ("input", "output"))
    found = re.sub("and [0-9]{3,} of", "and MANY of", str(caught.value))
    assert found == (
        "cosim: kernel: found it at work for 2 s of processor time after its last beat, of stream_out "
        f"({taken} of stream_in, {sent - 1} of stream_out and MANY of m_axi_gmem since its start); "
        "expected another one or its end; look for a loop that does not end"
    )


def test_a_folder_of_tests_runs_by_itself(build_copy: Path) -> None:
    """`make` in a build's sim/, with a test of the user's own and a waveform."""
    place = build_copy / "sim"
    own = (
        "\n\n@cocotb.test()\nasync def slow_memory(dut: Any) -> None:\n    bench = await ready(dut, 1, memory=0.8)\n"
        "    assert await bench.run(bench.frames) == bench.expected\n"
    )
    with (place / "scenarios.py").open("a") as file:
        file.write(own)
    command = ["make", f"PYTHON={sys.executable}", "WAVES=1", "CASE=slow_memory"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 9 deselected" in done.stdout
    assert [path.name for path in (place / "results").iterdir()] == ["slow_memory"]
    assert (place / "results" / "slow_memory" / "dump.fst").stat().st_size > 10_000
    assert shutil.which("make")


def test_waves(flow: Callable[..., Any], digits_build: Path, tmp_path: Path) -> None:
    waves = tmp_path / "waves.fst"
    found = flow("sim", digits_build, "--backend", "cosim", "--samples", 1, "--waves", waves, "--json")
    assert (found.status, found.json()["mismatches"]) == (0, 0)
    assert waves.read_bytes()[:1] == b"\0"  # an FST begins with its header block
    assert waves.stat().st_size > 10_000


def command(build: Path, cache: Path, *, samples: int = 1) -> subprocess.Popen[str]:
    """`flow sim --backend cosim` as a process with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flow", "sim", str(build), "--backend", "cosim", "--samples", str(samples)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FLOW_CACHE_DIR": str(cache)},
    )


def running(text: str) -> dict[int, str]:
    """Command lines of living processes that name `text`."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().decode(errors="replace").replace("\0", " ")
    return {process: words for process, words in found.items() if text in words}


def descends(process: int, ancestor: int) -> bool:
    """Whether `ancestor` started a process, or what started it."""
    while process > 1 and process != ancestor:
        try:
            text = Path(f"/proc/{process}/stat").read_text()
        except OSError:  # it ended meanwhile
            return False
        process = int(text.rpartition(")")[2].split()[1])
    return process == ancestor


@pytest.mark.parametrize("where", ["cc1plus", "flow_bench"])
def test_interruptions(digits_build: Path, tmp_path: Path, where: str) -> None:
    """While g++ or the simulation runs: nothing of it goes on, and the cache holds no half of a model."""
    cache = tmp_path / "cache" if where == "cc1plus" else Path(os.environ["FLOW_CACHE_DIR"])
    process = command(digits_build, cache, samples=300)
    end = time.monotonic() + 300
    name = str(cache) if where == "cc1plus" else f"{cache}/cosim/"
    # Other tests simulate out of the shared cache beside this one: theirs says nothing of this process.
    while not any(where in words and descends(found, process.pid) for found, words in running(name).items()):
        assert time.monotonic() < end, "timed out"
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    if where == "cc1plus":
        assert running(name) == {}
        assert {path.suffix for path in (cache / "cosim").iterdir()} == {".lock"}


def test_two_runs_share_a_model(digits_build: Path, tmp_path: Path) -> None:
    """Both compile nothing but one model."""
    processes = [command(digits_build, tmp_path) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=600)
        assert (process.returncode, err) == (0, "")
    found = sorted(path.name.partition("-")[0] for path in (tmp_path / "cosim").iterdir() if path.is_dir())
    assert len(found) == 2
    assert found[1] == "runtime"
