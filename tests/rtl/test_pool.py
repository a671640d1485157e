"""POOL: bit-exact in every geometry, whatever the ports do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("geometry", [(1, 1, 1), (2, 4, 1), (4, 8, 8), (8, 16, 4)])
def test_pool(geometry: tuple[int, int, int], stall: float, tmp_path: Path) -> None:
    tokens, banks, lanes = geometry
    case = {
        "tokens": tokens, "banks": banks, "lanes": lanes, "depth": 5, "stall": stall, "steps": 20,
        "seed": 100 * tokens + int(10 * stall),
    }  # fmt: skip
    parameters = {"Tokens": tokens, "Banks": banks, "NormLanes": lanes}
    simulate("pool_unit", parameters, "bench_pool", tmp_path, case, ports_only=True)
