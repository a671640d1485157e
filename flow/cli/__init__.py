"""The command line: click only. Every command is one call into the package plus printing."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from flow import console
from flow.cli import builds, catalogues, compression, select, simulation, synth
from flow.cli.base import Interrupted, main

__all__ = ["builds", "catalogues", "compression", "main", "run", "select", "simulation", "synth"]

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop(number: int, _: FrameType | None) -> None:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the tidying up
    raise Interrupted(number)


def _watch_signals() -> None:
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)


def _open_closed_streams() -> None:
    """Started with stdout or stderr closed, Python has None there, and the next file would get their number."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        else:
            stream.reconfigure(errors="backslashreplace")  # a file name may be no text in this locale


def run() -> None:
    """The `flow` command: `main` with a process's signals and streams."""
    _open_closed_streams()
    _watch_signals()
    try:
        main()
    except SystemExit as end:
        status = end.code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        console.end_without_reader()
    except OSError as error:
        console.print_error(f"stdout: found {error.strerror}; expected room for the result; free some")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        status = 2
    sys.exit(status)
