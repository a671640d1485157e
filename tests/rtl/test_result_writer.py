"""Results to memory: planes, heads abreast, keys of VALUES; nothing lost, nothing beyond the length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate


@pytest.mark.parametrize("geometry", [(1, 1, 1, 1), (2, 4, 1, 1), (4, 8, 2, 4), (16, 8, 4, 2), (8, 16, 8, 2)])
def test_result_writer(geometry: tuple[int, int, int, int], tmp_path: Path) -> None:
    tokens, banks, rows, heads = geometry
    case = {
        "tokens": tokens,
        "banks": banks,
        "rows": rows,
        "heads": heads,
        "lines": 60,
        "seed": banks + heads,
    }
    parameters = {
        "Tokens": tokens, "Banks": banks, "Rows": rows, "Heads": heads, "LineBits": 6, "TagBits": 48,
    }  # fmt: skip
    simulate("result_writer", parameters, "bench_result_writer", tmp_path, case, ports_only=True)
