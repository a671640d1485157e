"""Division and square root: exact, a value every cycle, after a constant time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate


@pytest.mark.parametrize("width", [1, 5, 24, 32])
def test_reciprocal(width: int, tmp_path: Path) -> None:
    case = {"unit": "reciprocal", "width": width, "latency": 19, "seed": width}
    simulate("reciprocal", {"Width": width}, "bench_reciprocal", tmp_path, case, ports_only=True)


@pytest.mark.parametrize("width", [4, 30, 64])
def test_isqrt(width: int, tmp_path: Path) -> None:
    case = {"unit": "isqrt", "width": width, "latency": width // 2, "seed": width}
    simulate("isqrt", {"Width": width}, "bench_reciprocal", tmp_path, case, ports_only=True)
