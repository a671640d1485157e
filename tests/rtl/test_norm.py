"""NORM: bit-exact in every geometry, whatever the ports do, and as fast as its lanes allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate

GEOMETRIES = [
    (1, 1, 1, 8, 8, 1, 1),
    (2, 4, 1, 6, 16, 4, 1),
    (4, 8, 8, 6, 64, 1, 1),
    (8, 16, 4, 4, 8, 2, 1),
    (2, 2, 1, 8, 64, 8, 1),
    (4, 8, 1, 5, 8, 8, 1),
]
SLICED = [(4, 8, 1, 5, 8, 8, 4), (2, 4, 1, 6, 32, 4, 2), (4, 1, 1, 8, 8, 1, 2), (8, 4, 1, 6, 16, 4, 4)]
"""Tokens, banks, lanes, depth, bytes of a beat, cycles from token to token in the root (some tiles are too short), and
for the tokens of a channel."""


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_norm(geometry: tuple[int, ...], stall: float, tmp_path: Path) -> None:
    run(geometry, stall, tmp_path)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("geometry", SLICED)
def test_slices(geometry: tuple[int, ...], stall: float, tmp_path: Path) -> None:
    """A channel's tokens one after the other, some at a time."""
    run(geometry, stall, tmp_path)


def run(geometry: tuple[int, ...], stall: float, tmp_path: Path) -> None:
    tokens, banks, lanes, depth, beat, fold, share = geometry
    parameters = {
        "Tokens": tokens, "Banks": banks, "NormLanes": lanes, "Depth": depth, "BeatBytes": beat, "Fold": fold,
        "Share": share,
    }  # fmt: skip
    case = {
        "tokens": tokens, "banks": banks, "lanes": lanes, "depth": depth, "beat": beat, "fold": fold,
        "share": share, "stall": stall, "steps": 12, "seed": 100 * tokens + int(10 * stall),
    }  # fmt: skip
    simulate("norm_unit", parameters, "bench_norm", tmp_path, case, ports_only=True)
