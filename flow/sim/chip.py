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
from flow.sim.netlist import simulation_netlist
from flow.sim.verilator import Model, compile_model, run_bench

FLAGS = ("-O2",)
MODELS = "ecp5"
"""Folder of `templates/` with models of the device's primitives."""


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


def primitives(*names: str) -> dict[str, bytes]:
    """Models of the device's primitives, by path relative to the model."""
    folder = asset_dir("templates") / MODELS
    return {f"{MODELS}/{name}.v": (folder / f"{name}.v").read_bytes() for name in names}


def rtl_model(build: Build) -> Model:
    """The simulation model of a build's chip as Verilog."""
    names = [n for n in build.manifest["files"] if n.startswith(("rtl/", "chip/")) and n.endswith(".v")]
    files = {name: build.read(name) for name in names} | primitives("EHXPLLL")
    return Model(files, tuple(sorted(files)), description(build)["top"], FLAGS, ports_only=True)


def netlist_model(netlist: str, top: str) -> Model:
    """The simulation model of a chip's netlist after synthesis for ECP5, as Yosys writes it in JSON."""
    text, kinds = simulation_netlist(netlist, top)
    # Constants and unused bits are as synthesis left them.
    files = {"netlist.v": f"/* verilator lint_off WIDTH */\n{text}".encode()} | primitives(*sorted(kinds))
    return Model(files, tuple(sorted(files)), top, FLAGS, ports_only=True)


def run_module(
    build: Build,
    module: str,
    place: Path,
    *,
    case: Mapping[str, Any] | None = None,
    model: Model | None = None,
) -> None:
    """Run the cocotb tests of a module, from the build's sim/ or beside the caller's `place`, on a chip's model.

    `case` lies in job.json for the tests to read. The image's presets lie in `place`, where the chip reads them.

    Raises:
        ToolError: the model does not compile, a test fails, or none ran.
    """
    program = compile_model(model or rtl_model(build))
    place.mkdir(parents=True, exist_ok=True)
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


def run_frames(build: Build, count: int, model: Model | None = None) -> ChipRun:
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
