"""One Verilog module at a time under Verilator and cocotb."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flow.resources import asset_dir
from flow.sim.kernel import run_tool
from flow.sim.verilator import Model, Tools, compile_model, run_bench

RTL = asset_dir("templates") / "rtl"
BENCHES = Path(__file__).parent / "benches"
FLAGS = ("-O2",)


def lint(files: Mapping[str, bytes], place: Path) -> list[str]:
    """What Verilator has to say of an engine's files under -Wall."""
    for path, content in files.items():
        (place / path).parent.mkdir(exist_ok=True)
        (place / path).write_bytes(content)
    tools = Tools.find()
    command = ["perl", str(tools.verilator / "bin" / "verilator"), "--lint-only", "-Wall", "-Wno-fatal"]
    command += ["--top-module", "flow_engine", *sorted(files)]
    done = run_tool(command, 300.0, None, tools.build_environment(), place)
    found = [line for line in done.stderr.splitlines() if line.startswith("%")]
    assert found or done.returncode == 0, done.stderr
    return found


def closure(top: str) -> list[str]:
    """Names of the static modules that `top` is built of, itself included."""
    known = {path.stem: path.read_text() for path in RTL.glob("*.v")}
    found, frontier = {top}, [top]
    while frontier:
        text = known[frontier.pop()]
        words = set(re.findall(r"^\s*(\w+)\s*(?:#\s*\(|\w+\s*\()", text, re.MULTILINE))
        new = (words & set(known)) - found
        found |= new
        frontier += new
    return sorted(found)


def simulate(
    top: str,
    parameters: Mapping[str, int],
    bench: str,
    place: Path,
    case: Mapping[str, Any] | None = None,
    *,
    ports_only: bool = False,
) -> None:
    """Compile a module and run every cocotb test of benches/BENCH.py on it, which finds `case` in case.json.

    `ports_only` keeps cocotb away from what lies below `top`: symbols of a large module take minutes to compile.
    Verilator's warnings are errors. Fails where a test fails or none ran.
    """
    names = [f"{name}.v" for name in closure(top)]
    files = {name: (RTL / name).read_bytes() for name in names}
    program = compile_model(
        Model(files, tuple(names), top, FLAGS, parameters=parameters, ports_only=ports_only)
    )
    (place / "case.json").write_text(json.dumps(dict(case or {})))
    results = run_bench(program, [BENCHES], bench, place, environment={})
    assert results, "found no cocotb test; expected some"
    failed = [f"{result.name}: {result.failure}" for result in results if result.failure]
    assert not failed, "\n".join(failed)
