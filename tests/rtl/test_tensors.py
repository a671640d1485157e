"""INPUT, CONSTANT and OUTPUT: tensors whole and in order for every ratio of beat, word and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate

GEOMETRIES = [(1, 1, 8, 4), (2, 4, 16, 8), (4, 8, 64, 64), (8, 16, 8, 4), (16, 2, 16, 8)]
"""Tokens, banks, bytes of a beat of the image and of the streams."""


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("unit", ["tensor_reader", "tensor_writer"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_tensors(geometry: tuple[int, int, int, int], unit: str, stall: float, tmp_path: Path) -> None:
    tokens, banks, beat, stream = geometry
    parameters = {"Tokens": tokens, "Banks": banks, "StreamBytes": stream}
    if unit == "tensor_reader":
        parameters["BeatBytes"] = beat
    case = {
        "tokens": tokens, "banks": banks, "beat": beat, "stream": stream, "stall": stall, "steps": 16,
        "seed": 100 * tokens + int(10 * stall),
    }  # fmt: skip
    simulate(unit, parameters, f"bench_{unit}", tmp_path, case, ports_only=True)
