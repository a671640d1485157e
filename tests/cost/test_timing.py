"""Latencies that estimates suppose against the Verilog that has them: each constant by the name it has there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flow.cost.machine import loader, memory, records, streams
from flow.cost.machine.norm import Collect
from flow.engine import Engine
from flow.engine.timing import Timing

RTL = Path(__file__).resolve().parents[2] / "templates" / "rtl"
ENGINE = Engine(8, 64, 8, norm_lanes=16, heads=2)
TIMING = Timing(ENGINE)


def constant(module: str, name: str) -> str:
    """The text of a module's parameter or localparam, with engines without plug-ins where there are two."""
    (path,) = RTL.glob(f"{module}.v*")
    found = re.findall(rf"\b{name} = ([^;,\n]+)", path.read_text())
    assert found, f"{module}: found no {name}; expected it where the estimates take it from"
    return str(found[-1]).strip()


@pytest.mark.parametrize(
    ("module", "name", "text", "supposed"),
    [
        ("flow_engine", "ArrayLatency", "9 + $clog2(Banks)", TIMING.array == 9 + 6),
        ("flow_engine", "PostLatency", "14", TIMING.post == 14),
        (
            "flow_engine",
            "DrainCycles",
            "ArrayLatency + PostLatency + Tokens + 8",
            TIMING.drain == 15 + 14 + 8 + 8,
        ),
        ("memory_reader", "FifoLog2", "9", memory.FIFO_BEATS == 512),
        ("record_router", "Stages", "7", loader.ROUTER == 8),
        ("flow_engine", "RingLog2", "CycleBits + 1 > 9 ? CycleBits + 1 : 9", TIMING.ring_words == 512),
        ("weight_loader", "Ahead", "40", loader.AHEAD == 40),
        ("memory_reader", "QueueLog2", "3", memory.QUEUED_SPANS == 8),
        ("norm_unit", "LaneLatency", "11", Collect.LANE == 12),
        ("norm_unit", "Places", "32", Collect.PLACES == 32),
        ("norm_deviation", "Steps", "6", TIMING.deviation == 6 + 32 + 1 + 19),
        ("reciprocal", "Latency", "19", TIMING.reciprocal == 19),
        ("softmax_sum", "DividerLatency", "19", TIMING.reciprocal == 19),
        ("pool_unit", "ScaleLatency", "7", streams.SCALE_LATENCY == 7),
        ("column_map", "Sixteen", "16", records.LIST_WORD == 16),
    ],
)
def test_constants_stand_where_they_are_taken_from(module: str, name: str, text: str, supposed: bool) -> None:
    """A constant that changes in the Verilog names the one to change in the estimates."""
    found = constant(module, name)
    assert found == text, (
        f"{module}.v: {name} = {found}; expected {text}: correct the estimates' constant beside it"
    )
    assert supposed, f"{module}.v: {name} = {text}; the estimates suppose another"


def test_latencies_by_hand() -> None:
    assert (TIMING.levels, TIMING.array, TIMING.residual) == (6, 15, 3)
    # Two of the longest row groups fit the row buffer.
    assert Timing(replace(ENGINE, row_cycles=500)).ring_words == 1024
    # Sums of 16 lanes take four levels.
    assert TIMING.norm_scale == 2 + (2 + 4) + 58 + 8 + 4
    # With 15 cycles of the array, a reciprocal of 19 comes a cycle late: 7 more divisions of one head, 15 of two.
    assert (TIMING.softmax(1), TIMING.softmax(2)) == (5 + 3 + 7 + 1 + 2, 5 + 3 + 15 + 1 + 2)
