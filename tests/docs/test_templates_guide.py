"""docs/templates.md: every command of it, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flow.ops.post import PostStage

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "templates.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", "set -e", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder, and an environment where `flow`, `python` and `pip` are this checkout's."""
    tools, site, work = tmp_path / "bin", tmp_path / "site", tmp_path / "work"
    for folder in (tools, site, work):
        folder.mkdir()
    info = site / "flow_hardswish-0.1.0.dist-info"
    own = site / "flow_testing-0.dist-info"
    own.mkdir()
    (own / "METADATA").write_text("Metadata-Version: 2.1\nName: flow-testing\nVersion: 0\n")
    (own / "entry_points.txt").write_text("[pytest11]\nflow.testing = flow.testing\n")
    script(tools / "python", f'exec {sys.executable} "$@"')
    script(tools / "flow", f'exec {sys.executable} -m flow "$@"')
    script(
        tools / "pip",
        'test "$*" = "install -e ./flow-hardswish"',
        f"mkdir {info}",
        f"printf 'Metadata-Version: 2.1\\nName: flow-hardswish\\nVersion: 0.1.0\\n' > {info}/METADATA",
        f"printf '[flow.ops]\\nhardswish = flow_hardswish:HardSwish\\n' > {info}/entry_points.txt",
    )
    paths = os.pathsep.join(map(str, (ROOT, site, work / "flow-hardswish")))
    environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths, "FLOW": str(ROOT)}
    return work, os.environ | environment


@pytest.mark.slow
def test_every_command(place: tuple[Path, dict[str, str]]) -> None:
    work, environment = place
    said = []
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    whole = "\n".join(said)
    assert whole.count("equal to golden, bit for bit") == 2
    assert "csim: 360 samples, 3,600 outputs compared: equal to golden" in whole
    assert whole.count("nothing that Vitis HLS would refuse") == 2
    assert "#pragma HLS UNROLL factor=2" in whole
    assert "hardswish_stage(" in whole
    assert (work / "build/hls/engine/stages/table.hpp").read_bytes() == (
        work / "mine/engine/stages/table.hpp"
    ).read_bytes()
    assert re.findall(r"^([0-9]+) passed", whole, re.MULTILINE) == ["2", "4"]


def test_the_guide_names_what_there_is() -> None:
    """Files and commands that the page speaks of exist."""
    assert len(BLOCKS) == 7
    for link in re.findall(r"\]\(((?!#)[^)]+)\)", GUIDE):
        assert (ROOT / "docs" / link).resolve().exists(), link
    rows = GUIDE.split("The class is the definition")[1].split("Install it")[0]
    known = {
        name for kind in PostStage.__mro__ for name in (*vars(kind), *vars(kind).get("__annotations__", ()))
    }
    members = {
        member
        for first in re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE)
        for member in re.findall(r"`(\w+)", first)
    }
    assert len(members) >= 10
    assert members <= known
