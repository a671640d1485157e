"""The stages behind the array: every kind of result, exact and in its cycle, in engines with and without the stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate

CASES = [
    # tokens, banks, rows, heads, add, attention, table, bits of a sum, stages of plug-ins, their latency
    (1, 1, 1, 1, 1, 1, 1, 32, 0, 4),
    (2, 4, 1, 1, 1, 1, 1, 35, 2, 4),
    (2, 4, 1, 2, 0, 1, 0, 33, 0, 4),
    (2, 4, 2, 1, 1, 0, 0, 32, 3, 9),
    (4, 8, 2, 2, 0, 0, 1, 32, 1, 5),
    (8, 16, 4, 2, 1, 1, 1, 32, 0, 4),
]


@pytest.mark.parametrize("geometry", CASES)
def test_post_pipeline(geometry: tuple[int, ...], tmp_path: Path) -> None:
    tokens, banks, rows, heads, add, attention, table, acc_bits, outside, latency = geometry
    case = {
        "tokens": tokens, "banks": banks, "rows": rows, "heads": heads, "lines": 60, "table_bits": 8, "tag_bits": 48,
        "add": add, "attention": attention, "table": table, "acc_bits": acc_bits,
        "outside": outside, "stage_latency": latency, "seed": banks + heads,
    }  # fmt: skip
    parameters = {
        "Tokens": tokens, "Banks": banks, "Rows": rows, "Heads": heads, "LineBits": 6,
        "TableBits": 8, "TagBits": 48, "HasAdd": add, "HasAttention": attention, "HasTable": table,
        "AccBits": acc_bits, "OutsideStages": outside, "StageLatency": latency,
    }  # fmt: skip
    simulate("post_pipeline", parameters, "bench_post_pipeline", tmp_path, case, ports_only=True)
