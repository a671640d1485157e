"""Division and square root: exact, a value every `Fold` cycles, after a constant time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate


@pytest.mark.parametrize(("width", "fold"), [(1, 1), (5, 1), (24, 1), (32, 1), (32, 2), (9, 4), (32, 8)])
def test_reciprocal(width: int, fold: int, tmp_path: Path) -> None:
    case = {"unit": "reciprocal", "width": width, "fold": fold, "latency": 19, "seed": width}
    parameters = {"Width": width, "Fold": fold}
    simulate("reciprocal", parameters, "bench_reciprocal", tmp_path, case, ports_only=True)


@pytest.mark.parametrize(("width", "fold"), [(4, 1), (30, 1), (64, 1), (30, 2), (4, 4), (64, 8)])
def test_isqrt(width: int, fold: int, tmp_path: Path) -> None:
    case = {"unit": "isqrt", "width": width, "fold": fold, "latency": width // 2, "seed": width}
    simulate("isqrt", {"Width": width, "Fold": fold}, "bench_reciprocal", tmp_path, case, ports_only=True)
