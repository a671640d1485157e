"""Attention on the array: bit-exact in every geometry, whatever the ports do, and a slot every cycle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.rtl.harness import simulate

GEOMETRIES = [
    *((1, 1, 1, 1, 8), (2, 4, 1, 1, 8), (4, 8, 2, 2, 16)),
    *((8, 16, 4, 4, 64), (8, 8, 8, 4, 32), (16, 8, 4, 2, 128)),
]
"""Tokens, banks, rows, heads, bytes of a beat."""


def _parameters(case: dict[str, Any]) -> dict[str, int]:
    return {
        "Tokens": case["tokens"],
        "Banks": case["banks"],
        "Rows": case["rows"],
        "Heads": case["heads"],
        "BeatBytes": case["beat"],
        "Sequence": case["sequence"],
        "Depth": case["depth"],
        "TagLineBits": (case["lines"] - 1).bit_length(),
        "ValuesDepth": case["lines"],
    }


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "x".join(map(str, g[:4])))
def test_golden(geometry: tuple[int, int, int, int, int], stall: float, tmp_path: Path) -> None:
    tokens, banks, rows, heads, beat = geometry
    case = {
        "kind": "golden",
        "tokens": tokens,
        "banks": banks,
        "rows": rows,
        "heads": heads,
        "beat": beat,
        "sequence": 3 * tokens + 8,
        "depth": 3,
        "lines": 256,
        "stall": stall,
        "steps": 4,
        "rounds": 3,
        "seed": 1000 * tokens + banks + int(100 * stall),
    }
    simulate("attention_unit", _parameters(case), "bench_attention", tmp_path, case, ports_only=True)


@pytest.mark.parametrize(
    ("length", "exp_bits", "causal", "inside", "overall"),
    [(128, 8, 0, 0.99, 0.98), (128, 16, 0, 0.98, 0.975), (128, 8, 1, 0.89, 0.87), (64, 8, 0, 0.91, 0.87)],
)
def test_pace(length: int, exp_bits: int, causal: int, inside: float, overall: float, tmp_path: Path) -> None:
    case = {
        "kind": "pace",
        "tokens": 8,
        "banks": 64,
        "rows": 8,
        "heads": 1,
        "beat": 64,
        "sequence": 128,
        "depth": 12,
        "lines": 512,
        "length": length,
        "seed": 1,
        "inside": inside,
        "overall": overall,
        "words": {"depth": 12, "heads": 12, "pitch": 64, "exp_bits": exp_bits, "causal": causal},
    }
    simulate("attention_unit", _parameters(case), "bench_attention", tmp_path, case, ports_only=True)
