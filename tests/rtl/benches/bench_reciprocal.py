"""Values of every kind through `reciprocal` or `isqrt`, a value in almost every cycle in which one may come."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

CASE = json.loads(Path("case.json").read_text())


def _values(rng: random.Random, width: int, least: int) -> list[int]:
    """Corners (powers of two and squares, and their neighbours), then values of every length."""
    top = 2**width - 1
    corners = {2**i + d for i in range(width) for d in (-1, 0, 1)}
    corners |= {(2**i + j) ** 2 + d for i in range(width // 2) for j in (-1, 0, 1) for d in (-1, 0, 1)}
    corners |= {top, top - 1, (2 ** (width // 2) - 1) ** 2}
    values = sorted(v for v in corners if least <= v <= top)
    return values + [max(least, rng.getrandbits(rng.randint(1, width))) for _ in range(1000)]


def _golden(value: int) -> tuple[int, ...]:
    if CASE["unit"] == "isqrt":
        return (math.isqrt(value),)
    length = value.bit_length()
    return (2 ** (length + 15) // value, length)


@cocotb.test()
async def results_and_latency(dut: Any) -> None:
    rng = random.Random(CASE["seed"])
    reciprocal = CASE["unit"] == "reciprocal"
    values = _values(rng, CASE["width"], 1 if reciprocal else 0)
    Clock(dut.clk_i, 10, unit="ns").start()
    dut.rst_ni.value = 0
    dut.valid_i.value = 0
    for _ in range(2):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    outputs = (dut.r_o, dut.n_o) if reciprocal else (dut.root_o,)
    due: dict[int, tuple[int, ...]] = {}
    seen = cycle = free = 0
    while values or due:
        valid = bool(values) and cycle >= free and rng.random() < 0.9
        dut.valid_i.value = int(valid)
        dut.value_i.value = values[0] if valid else rng.getrandbits(CASE["width"])
        if valid:
            free = cycle + CASE["fold"]
            due[cycle + CASE["latency"]] = _golden(values.pop(0))
        await ReadOnly()
        expected = due.pop(cycle, None)
        assert bool(dut.valid_o.value) == (expected is not None), f"cycle {cycle}: valid_o"
        if expected is not None:
            assert tuple(int(port.value) for port in outputs) == expected
            seen += 1
        await RisingEdge(dut.clk_i)
        cycle += 1
    assert seen > 1000
