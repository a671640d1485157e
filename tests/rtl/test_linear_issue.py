"""Linear steps to slots: every slot in order, none lost between row groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate

CASES = [
    # tokens, banks, rows, heads, cycles of a result behind the array
    (1, 1, 1, 1, 1),
    (2, 4, 1, 1, 1),
    (4, 8, 2, 2, 1),
    (16, 8, 4, 2, 1),
    (16, 8, 2, 4, 1),
]
PACED = [(2, 4, 1, 1, 2), (8, 8, 2, 4, 8), (16, 8, 2, 4, 4)]


@pytest.mark.parametrize("geometry", CASES)
def test_linear_issue(geometry: tuple[int, ...], tmp_path: Path) -> None:
    run(geometry, tmp_path)


@pytest.mark.parametrize("geometry", PACED)
def test_pace(geometry: tuple[int, ...], tmp_path: Path) -> None:
    """Results come no closer than the stages behind the array take them."""
    run(geometry, tmp_path)


def run(geometry: tuple[int, ...], tmp_path: Path) -> None:
    tokens, banks, rows, heads, share = geometry
    case = {
        "tokens": tokens, "banks": banks, "rows": rows, "heads": heads, "share": share, "lines": 100, "cycles": 7,
        "ring_log2": 5, "sequence": 6 * tokens, "seed": tokens + 3 * banks + heads,
    }  # fmt: skip
    parameters = {
        "Tokens": tokens, "Banks": banks, "Rows": rows, "Heads": heads, "Share": share, "RowCycles": 7, "RingLog2": 5,
        "LineBits": 7, "TagBits": 48,
    }  # fmt: skip
    simulate("linear_issue", parameters, "bench_linear_issue", tmp_path, case)
