"""The digits ViT, HP 80 %, as a whole chip on ulx3s-85f: synthesised, placed, routed, packed, and its netlist run.

Cycles are the engine's own count, in a simulation of the chip's Verilog with the image on chip; with `--netlist` the
netlist after synthesis answers the same frame through the same two wires. Status 1 if a target of docs/chip.md's chip
is missed, or not measured: 64 multipliers, 80 MHz by nextpnr's report, 1 ms an image, a bitstream, no frame that
differs from golden.

The engine is the one that `flow lower` fits, but given, so that the chip changes with the Verilog alone.
`synthesis.resources` has the counts of the flattened chip, and those of the estimate, which adds up modules synthesised
one by one.

`python tools/bench/chip.py [--frames N] [--netlist]`; writes results/chip.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from evidence import ROOT, write_evidence

from flow.boards import load_board
from flow.emit.build import Build, write_build
from flow.emit.lower import lower
from flow.engine import Engine
from flow.sim.chip import run_frames
from flow.synth.chip import synth

BOARD = "ulx3s-85f"
MODEL = "digits_vit_hp80.pt2"
ENGINE = Engine(
    tokens=2,
    banks=8,
    rows=2,
    norm_lanes=1,
    heads=1,
    beat_bytes=8,
    stream_bytes=8,
    features=("add", "attention", "norm", "pool", "table"),
    sequence=16,
    operand_depth=512,
    store_depth=512,
    values_depth=512,
    depth=32,
    row_cycles=32,
    steps=64,
    table_bits=8,
)
"""32 multipliers: what `flow lower` fits to this board. With tokens = 4, and so 64 multipliers, the chip takes two
thirds of the look-up tables and nine tenths of the device's own multipliers, and does not route (docs/chip.md)."""
SOURCES = (
    "templates/rtl/*",
    "templates/chip/*",
    "templates/ecp5/*",
    "templates/driver/*.py",
    "templates/sim/chip_*.py",
    "boards/ulx3s-85f.toml",
    "flow/emit/chip.py",
    "flow/sim/chip.py",
    "flow/synth/floorplan.py",
    "flow/synth/place.py",
    "flow/synth/chip.py",
    f"models/{MODEL}",
)
LEAST_MULTIPLIERS, LEAST_MHZ, MOST_MS = 64, 80.0, 1.0


def measure(frames: int, netlist: bool, folder: Path) -> dict[str, Any]:
    """Everything about one chip."""
    made = lower(ROOT / "models" / MODEL, load_board(BOARD), engine=ENGINE)
    write_build(folder / "build", made.files, made.manifest)
    build = Build.open(folder / "build")
    verilog = run_frames(build, frames)
    report = synth(
        build, route=True, check=frames * netlist, progress=lambda what: print(what, file=sys.stderr)
    )
    found = report.to_json()
    # Places of this machine, and what stands below.
    for name in ("build", "bitstream", "cycles", "cycles_from", "latency_ms", "frames", "mismatches"):
        found.pop(name, None)
    run = report.run
    cycles = max(verilog.cycles)
    return {
        "model": MODEL,
        "engine": build.engine.to_json(),
        "multipliers": build.engine.multipliers,
        "image_bytes": len(build.program.image),
        "frames": frames,
        "verilog": {"mismatches": verilog.mismatches, "cycles": list(verilog.cycles)},
        "synthesis": found,
        "netlist": {"run": False}
        if run is None
        else {"run": True, "mismatches": run.mismatches, "cycles": list(run.cycles)},
        "ms_an_image": round(cycles / report.clock_mhz / 1000.0, 6),
    }


def targets(data: dict[str, Any]) -> dict[str, bool]:
    """Which of the targets hold."""
    found = data["synthesis"]
    return {
        "multipliers": data["multipliers"] >= LEAST_MULTIPLIERS,
        "clock": found["fmax_mhz"] >= LEAST_MHZ and found["timing_met"],
        "latency": data["ms_an_image"] <= MOST_MS,
        "bitstream": found["bitstream_bytes"] > 0,
        "verilog": data["frames"] > 0 and data["verilog"]["mismatches"] == 0,
        "netlist": data["netlist"]["run"] and data["netlist"]["mismatches"] == 0,
    }


def main() -> int:
    """Measure and write the evidence; status 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, choices=(1, 2), default=1)
    parser.add_argument("--netlist", action="store_true", help="simulate the netlist too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = measure(options.frames, options.netlist, Path(folder))
    met = targets(data)
    least = {"multipliers": LEAST_MULTIPLIERS, "mhz": LEAST_MHZ, "ms_an_image": MOST_MS}
    command = "python tools/bench/chip.py" + " --netlist" * options.netlist
    write_evidence("chip", command, SOURCES, {"chip": data, "targets": least, "met": met})
    print(f"{data['synthesis']['fmax_mhz']} MHz, {data['ms_an_image']} ms an image; met: {met}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
