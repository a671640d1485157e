"""NORM: bit-exact in every geometry, whatever the ports do, and as fast as its lanes allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate

GEOMETRIES = [
    (1, 1, 1, 8, 8, 1),
    (2, 4, 1, 6, 16, 4),
    (4, 8, 8, 6, 64, 1),
    (8, 16, 4, 4, 8, 2),
    (2, 2, 1, 8, 64, 8),
    (4, 8, 1, 5, 8, 8),
]
"""Tokens, banks, lanes, depth, bytes of a beat, cycles from token to token in the root: some tiles are too short."""


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_norm(geometry: tuple[int, int, int, int, int, int], stall: float, tmp_path: Path) -> None:
    tokens, banks, lanes, depth, beat, fold = geometry
    parameters = {
        "Tokens": tokens, "Banks": banks, "NormLanes": lanes, "Depth": depth, "BeatBytes": beat, "Fold": fold,
    }  # fmt: skip
    case = {
        "tokens": tokens, "banks": banks, "lanes": lanes, "depth": depth, "beat": beat, "fold": fold, "stall": stall,
        "steps": 12, "seed": 100 * tokens + int(10 * stall),
    }  # fmt: skip
    simulate("norm_unit", parameters, "bench_norm", tmp_path, case, ports_only=True)
