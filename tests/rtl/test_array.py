"""The multiplier array: exact in every geometry and packing, a slot every cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate

CASES = [
    # tokens, banks, rows, heads, products a primitive, spacing, bits of an accumulator
    (1, 1, 1, 1, 2, 18, 32),
    (2, 4, 1, 1, 2, 18, 32),
    (2, 4, 1, 1, 2, 16, 32),
    (2, 2, 2, 2, 2, 18, 37),
    (4, 8, 2, 2, 2, 18, 33),
    (4, 8, 2, 2, 2, 16, 32),
    (4, 8, 2, 4, 1, 18, 34),
    (2, 64, 1, 1, 2, 18, 32),
    (16, 8, 8, 1, 2, 18, 32),
    (2, 128, 1, 1, 2, 18, 32),
    (2, 256, 1, 1, 2, 18, 32),
    # Two segments of one, two, eight and 16 banks: of one alone, a simulator finds places beyond its sums among them.
    (4, 2, 2, 2, 2, 18, 32),
    (4, 4, 2, 2, 2, 16, 32),
    (4, 16, 2, 2, 2, 16, 32),
    (2, 32, 2, 2, 2, 18, 32),
]


@pytest.mark.parametrize("geometry", CASES)
def test_array(geometry: tuple[int, int, int, int, int, int, int], tmp_path: Path) -> None:
    tokens, banks, rows, heads, products, spacing, acc_bits = geometry
    depth, lines, tag_bits = 5, 23, 41
    case = {
        "tokens": tokens, "banks": banks, "rows": rows, "heads": heads, "depth": depth, "lines": lines,
        "tag_bits": tag_bits, "acc_bits": acc_bits, "seed": banks + spacing,
    }  # fmt: skip
    parameters = {
        "Tokens": tokens, "Banks": banks, "Rows": rows, "Heads": heads, "Depth": depth, "OperandDepth": lines,
        "DspProducts": products, "DspSpacing": spacing, "TagBits": tag_bits, "AccBits": acc_bits,
    }  # fmt: skip
    simulate("multiplier_array", parameters, "bench_array", tmp_path, case, ports_only=True)
