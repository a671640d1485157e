"""Pieces of work for the tests of executors: functions of a module, as workers import them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from flow.errors import UnsupportedError
from flow.sim.kernel import run_tool


def where(number: int) -> tuple[int, int, int]:
    """The argument, the process, and its threads."""
    return number, os.getpid(), torch.get_num_threads()


def wait_once(folder: Path, number: int) -> int:
    """The square; the first process that is asked for 0 writes its number and waits to be killed."""
    mark = folder / "pid"
    if number == 0 and not mark.exists():
        (folder / "part").write_text(str(os.getpid()))
        (folder / "part").rename(mark)
        time.sleep(600)
    time.sleep(0.2)
    return number * number


def run_tool_until_killed(folder: Path) -> None:
    """A tool that writes its number and waits."""
    run_tool(["sh", "-c", f"echo $$ > {folder}/part; mv {folder}/part {folder}/tool; sleep 600"], 600.0)


def die(folder: Path) -> None:
    """Count the attempts, and die in each."""
    with (folder / "attempts").open("a") as file:
        file.write("x")
    os._exit(9)


def refuse() -> None:
    """Raises: UnsupportedError: always."""
    raise UnsupportedError("here: found this; expected that")
