"""Tools that run: how one is watched and ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flow.errors import ToolError
from flow.sim import kernel
from flow.sim.kernel import run_tool


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come often."""
    monkeypatch.setattr(kernel, "_WATCH_SECONDS", 0.05)


def test_a_watched_tool_says_all() -> None:
    """Looks in between lose nothing of what it says."""
    looks: list[float] = []
    script = "for n in 1 2 3 4; do echo $n; echo e$n >&2; sleep 0.1; done; exit 3"
    done = run_tool(["sh", "-c", script], 60.0, watch=lambda: looks.append(time.monotonic()))
    assert (done.returncode, done.stdout, done.stderr) == (3, "1\n2\n3\n4\n", "e1\ne2\ne3\ne4\n")
    assert len(looks) > 1


def test_a_watched_tool_has_a_limit_too() -> None:
    with pytest.raises(ToolError, match="found it running after 0 s; expected it to end; stopped it"):
        run_tool(["sleep", "60"], 0.3, watch=lambda: None)


def test_what_a_look_raises_ends_the_tool(tmp_path: Path) -> None:
    """And whatever it started."""

    def look() -> None:
        if (tmp_path / "pid").exists():
            raise KeyError("enough")

    script = f"sleep 60 & echo $! > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid; wait"
    with pytest.raises(KeyError, match="enough"):
        run_tool(["sh", "-c", script], 60.0, watch=look)
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("its child runs on")
