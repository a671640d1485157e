"""`flow estimate --all-boards` on a 12-layer, 768-wide encoder, HP 90 %: its time, and the boards for 1, 5 and 50 ms.

`python tools/bench/all_boards.py`; writes results/all_boards.json. Status 1 if it takes 20 seconds or more. Winners are
the first board, in order of logic cells, whose latency is within the constraint, as `flow select` orders them; the
runner-up is the next cheaper board that the model fits.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from evidence import write_evidence
from lower_speed import make_encoder, metered

from flow.boards import load_board

LIMIT_SECONDS = 20.0
LATENCIES_MS = (1.0, 5.0, 50.0)
SOURCES = (
    "boards/*",
    "flow/cost/**/*",
    "flow/emit/estimating.py",
    "flow/ops/*.py",
    "flow/passes/lay_out.py",
    "tools/bench/all_boards.py",
    "tools/bench/lower_speed.py",
)


def measure(model: Path, folder: Path) -> dict[str, Any]:
    """Seconds of the command, and what it says of every board in order of logic cells."""
    seconds, _, printed = metered(["estimate", str(model), "--all-boards", "--json"], folder)
    found = printed["boards"]
    found.sort(key=lambda row: (load_board(row["board"]).logic_cells, row["board"]))
    kept = (
        "board", "fits", "refusal", "multipliers", "clock_mhz", "latency_ms", "samples_per_s", "utilisation",
        "limit", "slrs", "energy",
    )  # fmt: skip
    return {
        "seconds": round(seconds, 1),
        "boards": [{name: row[name] for name in kept if name in row} for row in found],
    }


def winner(boards: list[dict[str, Any]], limit_ms: float) -> dict[str, Any]:
    """The first board within the constraint, and the last before it that the model fits; else the fastest."""
    fitting = [row for row in boards if row["fits"]]
    for place, row in enumerate(fitting):
        if row["latency_ms"] <= limit_ms:
            below = fitting[place - 1] if place else None
            return {
                "board": row["board"],
                "latency_ms": row["latency_ms"],
                "next_cheaper": below and {n: below[n] for n in ("board", "latency_ms", "limit")},
            }
    nearest = min(fitting, key=lambda row: row["latency_ms"])
    return {"board": None, "nearest": {n: nearest[n] for n in ("board", "latency_ms", "limit")}}


def main() -> int:
    """Measure and write the evidence; status 1 if it takes too long."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        density = make_encoder(Path(scratch) / "encoder.pt2")
        found = measure(Path(scratch) / "encoder.pt2", Path(scratch))
    winners = {f"{limit:g} ms": winner(found["boards"], limit) for limit in LATENCIES_MS}
    met = found["seconds"] < LIMIT_SECONDS
    data = {
        "density": round(density, 4),
        "limit_seconds": LIMIT_SECONDS,
        "met": met,
        "winners": winners,
        **found,
    }
    write_evidence("all_boards", "python tools/bench/all_boards.py", SOURCES, data)
    print(f"{found['seconds']} s; {json.dumps(winners, indent=1)}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
