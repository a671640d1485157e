"""A build's whole chip in Verilator, driven through the pins of its UART: the Verilog that lies in the build, or a
netlist that synthesis made of it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from flow.emit.build import Build
from flow.emit.chip import CHIP
from flow.errors import FlowError, ToolError
from flow.resources import asset_dir
from flow.sim.netlist import compile_netlist, wrapper
from flow.sim.verilator import Model, compile_model, run_bench

FLAGS = ("-O2",)
MODELS = "ecp5"
"""Folder of `templates/` with what simulates the device's primitives."""


NETLIST = "netlist.bin"
"""What the interpreter reads, in the folder where a simulation runs."""
INTERPRETER = f"{MODELS}/netlist.cpp"


@dataclass(frozen=True)
class Simulated:
    """A simulation model, and the files that it reads where it runs, by name."""

    model: Model
    data: Mapping[str, bytes]


@dataclass(frozen=True)
class ChipRun:
    """What a chip answered: output frames, the golden ones, and the engine's own count of each RUN's cycles."""

    outputs: tuple[bytes, ...]
    expected: tuple[bytes, ...]
    cycles: tuple[int, ...]

    @property
    def mismatches(self) -> int:
        """Frames that differ."""
        return sum(a != b for a, b in zip(self.outputs, self.expected, strict=True))


def description(build: Build) -> dict[str, Any]:
    """What the build's chip.json says.

    Raises:
        FlowError: the build has no chip.
    """
    if CHIP not in build.manifest["files"]:
        raise FlowError(
            f"{build.path}: found no chip for {build.manifest['board']}; expected a board with a shell; "
            "lower the model with --board ulx3s-85f"
        )
    data: dict[str, Any] = json.loads(build.read(CHIP))
    return data


def clock_loop() -> dict[str, bytes]:
    """A model of the device's phase-locked loop, by path relative to the simulation model."""
    path = f"{MODELS}/EHXPLLL.v"
    return {path: (asset_dir("templates") / path).read_bytes()}


def rtl_model(build: Build) -> Model:
    """The simulation model of a build's chip as Verilog."""
    names = [n for n in build.manifest["files"] if n.startswith(("rtl/", "chip/")) and n.endswith(".v")]
    files = {name: build.read(name) for name in names} | clock_loop()
    return Model(files, tuple(sorted(files)), description(build)["top"], FLAGS, ports_only=True)


def netlist_model(netlist: str, top: str) -> Simulated:
    """The simulation model of a netlist after synthesis for ECP5, as Yosys writes it in JSON.

    Raises:
        ToolError: see `compile_netlist`.
    """
    found = compile_netlist(netlist, top)
    files = {
        f"{MODELS}/{top}.sv": wrapper(found, top, NETLIST).encode(),
        INTERPRETER: (asset_dir("templates") / INTERPRETER).read_bytes(),
    }
    return Simulated(Model(files, tuple(sorted(files)), top, FLAGS, ports_only=True), {NETLIST: found.data})


def run_module(
    build: Build,
    module: str,
    place: Path,
    *,
    case: Mapping[str, Any] | None = None,
    model: Simulated | None = None,
) -> None:
    """Run the cocotb tests of a module, from the build's sim/ or beside the caller's `place`, on a chip's model.

    `case` lies in job.json for the tests to read. The image's presets lie in `place`, where the chip reads them.

    Raises:
        ToolError: the model does not compile, a test fails, or none ran.
    """
    program = compile_model(model.model if model else rtl_model(build))
    place.mkdir(parents=True, exist_ok=True)
    for name, content in (model.data if model else {}).items():
        (place / name).write_bytes(content)
    for name in build.manifest["files"]:
        if name.startswith("chip/") and name.endswith(".hex"):
            (place / Path(name).name).write_bytes(build.read(name))
    (place / "job.json").write_text(json.dumps(dict(case or {})))
    root = build.path.absolute()
    environment = {"FLOW_BUILD": str(root)}
    results = run_bench(
        program, [root / "sim", root / "driver", place], module, place, environment=environment
    )
    failed = [f"{result.name}: {result.failure}" for result in results if result.failure]
    if failed or not results:
        raise ToolError(
            f"chip: found {'; '.join(failed) or 'no test'}; expected every test of {module} to pass"
        )


def run_frames(build: Build, count: int, model: Simulated | None = None) -> ChipRun:
    """The build's first `count` sample frames through the chip's UART.

    Raises:
        ToolError: see `run_module`.
    """
    with tempfile.TemporaryDirectory(prefix="flow-chip-") as scratch:
        place = Path(scratch)
        run_module(build, "chip_job", place, case={"frames": count}, model=model)
        sizes = json.loads(build.read("sim/frames.json"))["output_bytes"][:count]
        ends = list(accumulate(sizes, initial=0))
        found, expected = (
            tuple(data[a:b] for a, b in pairwise(ends))
            for data in ((place / "output.bin").read_bytes(), (place / "expected.bin").read_bytes())
        )
        cycles = json.loads((place / "result.json").read_text())["cycles"]
    return ChipRun(found, expected, tuple(cycles))
