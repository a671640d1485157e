"""The pytest plugin: builds from the command line, fixtures, and failures that read as one message."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flow.sim import operators, simulate
from flow.sim.compare import Mismatch
from flow.sim.simulate import SimReport
from flow.testing import check_build, flow_operator

ROOT = Path(__file__).resolve().parent.parent
TEST = """
from pathlib import Path

def test_templates(flow_lower, flow_check):
    build = flow_lower({model!r}, board="ulx3s-85f", templates="mine", settings=("engine.sequence=64",))
    report = flow_check(build, "golden", samples=3)
    assert report.samples == 3
    assert "// mine" in (build / "hls/engine/pool.hpp").read_text()
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "flow.testing",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_builds_and_fixtures(digits_build: Path, models: Path, tmp_path: Path) -> None:
    """A build with two backends, one that is none, and a test file, in one run."""
    (tmp_path / "mine" / "engine").mkdir(parents=True)
    (tmp_path / "mine" / "engine" / "pool.hpp").write_text("// mine\n")
    (tmp_path / "test_mine.py").write_text(TEST.format(model=str(models / "digits_vit_hp80.pt2")))
    done = run(
        tmp_path, "--flow-build", str(digits_build), "--flow-build", "nothing", "--flow-backend", "golden",
        "--flow-samples", "2", "-rA",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("1 failed, 2 passed"), done.stdout
    assert (
        "nothing: found no manifest.json (No such file or directory); expected a build directory; "
        "run `flow lower` first"
    ) in lines
    assert any(line.startswith("PASSED") and f"{digits_build}[golden]" in line for line in lines)


def test_differences_fail(digits_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = {
        "csim": SimReport("csim", 1, 10, 2, Mismatch(0, "head", "head_q", (0, 1), 5, 6)),
        "cosim": SimReport("cosim", 1),
    }
    monkeypatch.setattr(simulate, "simulate", lambda _, backend, __: reports[backend])
    with pytest.raises(AssertionError) as caught:
        check_build(digits_build, "csim")
    assert str(caught.value) == (
        f"{digits_build}: csim: found 2 of 10 outputs that differ from golden; expected none; "
        "sample 0: step head: head_q[0, 1]: found 6; expected 5 (golden)"
    )
    with pytest.raises(AssertionError) as caught:
        check_build(digits_build, "cosim")
    assert str(caught.value) == (
        f"{digits_build}: cosim: found no output compared; expected some; give it samples"
    )


def test_operators_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from flow.ops.table import Table

    check: Callable[..., int] = flow_operator.__wrapped__()  # type: ignore[attr-defined]
    found = [Mismatch(0, "table_gelu", "out", (1,), 5, 6)]
    monkeypatch.setattr(operators, "check_operator", lambda _, **__: (10, found))
    with pytest.raises(AssertionError) as caught:
        check(Table)
    assert str(caught.value) == (
        "table: found C++ that differs from golden; expected none; "
        "sample 0: step table_gelu: out[1]: found 6; expected 5 (golden)"
    )
    with pytest.raises(
        AssertionError, match="table: found Verilog that differs from golden; expected none; "
    ):
        check(Table, backend="rtl")
    monkeypatch.setattr(operators, "check_operator", lambda _, **__: (10, []))
    assert check(Table) == 10


def test_the_benches_of_builds_run_only_where_they_are_asked_for(digits_build: Path, tmp_path: Path) -> None:
    """Two builds beside a test file: their sim/ folders hold tests of one name, which take long."""
    for name in ("one", "two"):
        shutil.copytree(digits_build, tmp_path / name)
    (tmp_path / "test_mine.py").write_text("def test_mine():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    builds = ("--flow-build", "one", "--flow-build", "two", "--flow-backend", "golden", "--flow-samples", "1")
    done = run(tmp_path, *builds)
    assert (done.returncode, done.stdout.splitlines()[-1].partition(" in ")[0]) == (0, "3 passed"), (
        done.stdout
    )
    for folder, arguments in ((tmp_path / "one" / "sim", ()), (tmp_path, ("two/sim/test_cosim.py",))):
        asked = run(folder, "--collect-only", *arguments)
        assert "9 tests collected" in asked.stdout, asked.stdout
