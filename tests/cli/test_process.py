"""The `flow` command as a process: signals, streams, full disks, several runs at once, other interpreters."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from flow.cli.base import Group, Interrupted

FLOW = (sys.executable, "-m", "flow")
DEADLINE = 120.0


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*FLOW, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE, **options)


def start(*arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*FLOW, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def wait_for(what: Callable[[], bool]) -> None:
    """Poll until `what` holds."""
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def running(text: str) -> list[str]:
    """Command lines of processes that name `text`, this one's and the dead ones' aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:  # it ended meanwhile
            continue
        if text in words:
            found.append(words)
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_lowering(models: Path, tmp_path: Path, number: signal.Signals, status: int) -> None:
    """In the middle of the work: nothing is left but the message."""
    process = start("lower", models / "digits_vit_hp80.pt2", "--board", "u250", "-o", tmp_path / "build")
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "_multiarray_umath" in maps.read_text())  # numpy is loaded: past the start
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (status, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_compiler(digits_build: Path, tmp_path: Path) -> None:
    """While g++ runs: its passes end too, and the cache holds no half of a kernel."""
    cache = tmp_path / "cache"
    process = start("sim", digits_build, environment={"FLOW_CACHE_DIR": str(cache)})
    wait_for(lambda: any("cc1plus" in words for words in running(str(cache))))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (143, "", "interrupted\n")
    assert running(str(cache)) == []
    assert {path.suffix for path in (cache / "csim").iterdir()} <= {".lock"}


def test_runs_into_one_directory(models: Path, tmp_path: Path) -> None:
    """Both end well, one build lies there whole, and nothing beside it."""
    output = tmp_path / "build"
    kinds = ("dense", "hp80")
    commands = [
        ("lower", models / f"digits_vit_{kind}.pt2", "--board", "pynq-z2", "-o", output) for kind in kinds
    ]
    for process in [start(*command) for command in commands]:
        _, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["build"]
    winner = json.loads((output / "manifest.json").read_text())["model"]["name"]
    alone = tmp_path / "alone"
    assert run("lower", models / winner, "--board", "pynq-z2", "-o", alone).returncode == 0
    assert tree(output) == tree(alone)


def test_bytes_do_not_depend_on_the_process(models: Path, tmp_path: Path, digits_build: Path) -> None:
    """Other hash seeds, working directories and destinations, the same bytes as in this process."""
    for seed in ("0", "12345"):
        place = tmp_path / seed
        place.mkdir()
        done = run(
            "lower", models / "digits_vit_hp80.pt2", "--board", "pynq-z2",
            cwd=place, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = tree(place / "build")
        assert len(found) > 30
        assert found == tree(digits_build)


def test_full_disk(models: Path, tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: a message, and nothing left."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    output = tmp_path / "build"
    done = run("lower", models / "digits_vit_hp80.pt2", "--board", "pynq-z2", "-o", output, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {output}: found File too large; expected a writable place with room; choose another with -o\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_reader_that_goes_away(digits_build: Path) -> None:
    """`flow report build | head -1` ends quietly."""
    process = start("report", digits_build)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(DEADLINE)
    assert (process.returncode, err) == (-signal.SIGPIPE, "")


def test_interrupted_while_a_class_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    """Python 3.11 wraps what comes then, as in the middle of an import."""
    group = Group("flow")

    @group.command()
    def work() -> None:
        raise RuntimeError("Error calling __set_name__") from Interrupted(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        group.main(["work"])
    assert (ended.value.code, capsys.readouterr().err) == (143, "interrupted\n")


def test_a_pipe_that_a_worker_leaves_behind() -> None:
    """The queue of a pool whose worker died is such a pipe: it is an error there, and not the end of flow."""
    code = """
import os, sys
from flow.cli import _watch_signals
_watch_signals()
reader, writer = os.pipe()
os.close(reader)
try:
    os.write(writer, b"work")
except BrokenPipeError:
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=DEADLINE)
    assert done.returncode == 7


def test_no_room_for_the_result(digits_build: Path) -> None:
    for command in (("report", digits_build), ("boards", "list", "--json")):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*FLOW, *map(str, command)],
                stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=DEADLINE,
            )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "found No space left on device; expected" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams(closed: str) -> None:
    """Started without stdout or stderr, as daemons are."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}>&-', "sh", *FLOW, "boards", "list"],
        capture_output=True, text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert ("pynq-z2" in done.stdout) == (closed == "2")


def test_names_that_are_no_text(models: Path, tmp_path: Path) -> None:
    """File names are bytes: what is no text, or looks like markup, is shown and kept."""
    model = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff[red]:x:.pt2"))
    model.symlink_to(models / "digits_vit_hp80.pt2")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("lower", model, "--board", "pynq-z2", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    shown = run("report", "build", cwd=tmp_path, env=environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("build: \\udcff[red]:x:.pt2 on pynq-z2, engine ")
    gone = run("lower", tmp_path / "\x1b[31mred", "--board", "pynq-z2", env=environment)
    assert gone.stderr == (
        f"error: {tmp_path}/\\x1b[31mred: found no such file; expected a model; check the path\n"
    )
