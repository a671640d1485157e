"""The emitted C loader, as strict C99, drives the emitted kernel behind a model of its registers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from flow.emit.build import Build
from flow.emit.lower import BENCH_FRAMES
from flow.engine import Status

HERE = Path(__file__).resolve().parent
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
SAID = [
    "identify OK 0",
    "early NOT_LOADED 0",
    "check OK 0",
    "short BAD_STEP 0",
    "other WRONG_ENGINE 0",
    "load WRONG_ENGINE 0",
    "load OK 0",
    *["run OK 1"] * BENCH_FRAMES,
    "stuck GAVE_UP 1",
]


def compile_in(place: Path, *arguments: str | Path) -> None:
    done = subprocess.run(
        ["g++", *map(str, arguments)], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_loader_runs_the_kernel(digits_build: Path, tmp_path: Path) -> None:
    hls, driver = digits_build / "hls", digits_build / "driver"
    compile_in(tmp_path, "-x", "c", "-std=c99", *STRICT, "-c", driver / "flow_loader.c")
    kernel = ("-std=c++17", "-O1", "-Wno-unknown-pragmas", "-Wno-unused-label")
    folders = (f"-I{hls}", f"-I{hls / 'compat'}", f"-I{driver}")
    sources = (HERE / "register_model.cpp", hls / "flow_engine.cpp", "flow_loader.o")
    compile_in(tmp_path, *kernel, *folders, *sources, "-o", "model")
    command = [
        tmp_path / "model",
        *(digits_build / n for n in ("weights/image.bin", "sim/input.bin", "sim/expected.bin")),
    ]
    done = subprocess.run(
        [*map(str, command), str(BENCH_FRAMES)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == SAID
    assert any(Build.open(digits_build).read("sim/expected.bin"))


def test_status_names_are_in_order() -> None:
    """The C header lists them by number."""
    assert [int(status) for status in Status] == list(range(len(Status)))
