"""Linear steps to slots: every slot in order, none lost between row groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate


@pytest.mark.parametrize("geometry", [(1, 1, 1, 1), (2, 4, 1, 1), (4, 8, 2, 2), (16, 8, 4, 2), (16, 8, 2, 4)])
def test_linear_issue(geometry: tuple[int, int, int, int], tmp_path: Path) -> None:
    tokens, banks, rows, heads = geometry
    case = {
        "tokens": tokens, "banks": banks, "rows": rows, "heads": heads, "lines": 100, "cycles": 7, "ring_log2": 5,
        "sequence": 6 * tokens, "seed": tokens + 3 * banks + heads,
    }  # fmt: skip
    parameters = {
        "Tokens": tokens, "Banks": banks, "Rows": rows, "Heads": heads, "RowCycles": 7, "RingLog2": 5,
        "LineBits": 7, "TagBits": 48,
    }  # fmt: skip
    simulate("linear_issue", parameters, "bench_linear_issue", tmp_path, case)
