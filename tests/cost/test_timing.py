"""Latencies that estimates suppose against the Verilog that has them: each constant by the name it has there."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from flow.cost.machine import linear, loader, memory, records, sequencer, streams
from flow.cost.machine.norm import Collect
from flow.engine import Engine
from flow.engine.timing import Timing

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
ENGINE = Engine(8, 64, 8, norm_lanes=16, heads=2)
TIMING = Timing(ENGINE)


def constant(module: str, name: str) -> str:
    """The text of a module's parameter or localparam, with engines without plug-ins where there are two."""
    (path,) = (path for place in ("rtl", "chip") for path in (TEMPLATES / place).glob(f"{module}.v*"))
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
        # A record's words and a gap; the check's start, its words, four regions, spans and their ends, and its end.
        (
            "step_checker",
            "SettleCycles",
            "10",
            sequencer.CHECKED == 16 + 1 + 1 + (10 + 1) + 4 * 6 + 1 + 3 + 1,
        ),
        ("step_checker", "LastRegion", "3", sequencer.CHECKED == 34 + 4 * 6),
        # Behind the stages of the RAM comes a queue.
        ("chip_image", "Latency", "5", memory.ON_CHIP_CYCLES == 5 + memory.FIFO),
    ],
)
def test_constants_stand_where_they_are_taken_from(module: str, name: str, text: str, supposed: bool) -> None:
    """A constant that changes in the Verilog names the one to change in the estimates."""
    found = constant(module, name)
    assert found == text, (
        f"{module}.v: {name} = {found}; expected {text}: correct the estimates' constant beside it"
    )
    assert supposed, f"{module}.v: {name} = {text}; the estimates suppose another"


def test_a_linear_step_s_first_slot() -> None:
    """Setup, the row group that is taken, and the registers of its slot."""
    text = (TEMPLATES / "rtl" / "linear_issue.v").read_text()
    assert "The first slot leaves ten cycles after `start_i`" in text
    assert linear.SETUP + 1 + linear.SLOT == 10
    states = re.findall(r"^ +(\w+): state_q <= (\w+);$", text, re.MULTILINE)
    way = ["Clip", "Rest", "Range", "Multiply", "Place", "Fetch"]
    assert states == list(pairwise(way))
    assert len(way) == linear.SETUP
    # One in front of them that the choice is made for, and as many bits as there are behind it.
    assert re.findall(r"reg \[(\d+):0\] +valids_q;", text) == [str(linear.SLOT - 2)]


@pytest.mark.parametrize("chunks", [8, 16])
def test_the_last_word_of_a_record_is_claimed_with_its_first_chunk(chunks: int) -> None:
    """24 words lie where two row groups lay, of which the second gives its first word back long after the first's
    last: then come the last word's other chunks, longer than its look-ups take, and two registers."""
    engine = Engine(8, chunks, 8, norm_lanes=1, heads=1, beat_bytes=8)
    timing = Timing(engine)
    shape = records.record_shape(engine, 8, 24, 1, 0, records.NONE, 0, 24 * chunks + 2)
    assert (shape.cycles, shape.takes) == (24, 24 * chunks)
    reader = memory.Reader(engine.beat_bytes, spans=[memory.Span(0, 0, shape.beats, False)])
    unit = loader.Loader(timing, reader)
    unit.ring.written = timing.ring_words
    unit.ring.freed_all([(0, 23), (10_000, timing.ring_words - 23)])
    assert unit.record(shape) == 10_000 + linear.SLOT + loader.ROOM + (chunks - 1) + 2


@pytest.mark.parametrize(("rows", "beat_bytes", "groups"), [(1, 64, 1), (1, 128, 1), (2, 64, 1), (1, 64, 8)])
def test_records_that_fill_their_beats_follow_each_other(rows: int, beat_bytes: int, groups: int) -> None:
    """A record begins beside the last take of the one before: as many cycles as beats, and none between."""
    engine = Engine(8, 64, rows, norm_lanes=1, heads=1, beat_bytes=beat_bytes)
    beats = -(-(8 + 8 * rows + 64 * rows * groups) // beat_bytes)
    shape = records.record_shape(engine, 8, groups, 1, 0, records.NONE, 0, beats)
    assert shape.beats == beats
    reader = memory.Reader(beat_bytes, spans=[memory.Span(0, 0, 40 * beats, False)])
    unit = loader.Loader(Timing(engine), reader)
    for _ in range(30):
        unit.taken.append(unit.record(shape))
        unit.ring.freed_all([(unit.taken[-1], groups)])
    assert {after - before for before, after in pairwise(unit.taken[5:])} == {beats}


def test_beats_that_wait_are_told_from_beats_that_are_late() -> None:
    """Of three beats one is taken as it comes, one waits three cycles, and one could not be taken sooner."""
    reader = memory.Reader(8, spans=[memory.Span(0, 0, 3, False)])
    first = reader.take(0)
    assert reader.held == 0
    assert reader.take(first + 4) == first + 4
    assert reader.held == 3
    assert reader.take(0) == first + 5
    assert reader.held == 3


def test_latencies_by_hand() -> None:
    assert (TIMING.levels, TIMING.array, TIMING.residual) == (6, 15, 3)
    # Two of the longest row groups fit the row buffer.
    assert Timing(replace(ENGINE, row_cycles=500)).ring_words == 1024
    # Sums of 16 lanes take four levels; four lines in as many pieces have time for two cycles a token, which
    # is not worth it.
    assert (TIMING.norm_fold, TIMING.norm_tile) == (1, 8)
    assert TIMING.norm_scale == 2 + (2 + 4) + 58 + 8 + 4
    assert [Timing(replace(ENGINE, norm_lanes=lanes)).norm_fold for lanes in (64, 8, 4, 1)] == [1, 4, 8, 8]
    folded = Timing(replace(ENGINE, norm_lanes=8))
    assert (folded.norm_tile, folded.norm_scale) == (32, 2 + (2 + 3) + 58 + (7 * 4 + 1) + 4)
    # With 15 cycles of the array, a reciprocal of 19 comes a cycle late: 7 more divisions of one head, 15 of two.
    assert (TIMING.softmax(1), TIMING.softmax(2)) == (6 + 3 + 7 + 1 + 2, 6 + 3 + 15 + 1 + 2)
