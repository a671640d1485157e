"""Spans through `memory_reader` out of a memory that answers in order after a while: order, bursts, pace, flush."""

from __future__ import annotations

import json
import random
from collections import deque
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

CASE = json.loads(Path("case.json").read_text())
BEAT: int = CASE["beat_bytes"]
BASE = 0x7_0000_0000 + CASE["base_beats"] * BEAT


class Memory:
    """Checks every burst; answers `latency` cycles later, in order, a beat a cycle, with gaps where asked."""

    def __init__(self, dut: Any, image: bytes, latency: int, gaps: float, rng: random.Random) -> None:
        self.dut, self.image, self.latency, self.gaps, self.rng = dut, image, latency, gaps, rng
        self.due: deque[tuple[int, int, bool]] = deque()
        self.beats = self.bursts = self.longest = self.cycle = 0
        self.address_gaps = gaps > 0

    def drive(self) -> None:
        """Before the edge: what the memory shows in this cycle."""
        self.dut.arready_i.value = int(not self.address_gaps or self.rng.random() < 0.7)
        ready = bool(self.due) and self.due[0][0] <= self.cycle and self.rng.random() >= self.gaps
        self.dut.rvalid_i.value = int(ready)
        self.dut.rlast_i.value = int(ready and self.due[0][2])
        at = self.due[0][1] if ready else 0
        word = self.image[at : at + BEAT] if ready else b""
        self.dut.rdata_i.value = int.from_bytes(word, "little")

    def settle(self) -> None:
        """In the cycle, after all signals have settled: what happens at its end."""
        if self.dut.rvalid_i.value:
            assert self.dut.rready_o.value, "rready must be high whenever data come"
            self.due.popleft()
        if self.dut.arvalid_o.value and self.dut.arready_i.value:
            self.accept(int(self.dut.araddr_o.value), int(self.dut.arlen_o.value) + 1)
        self.cycle += 1

    def accept(self, address: int, beats: int) -> None:
        assert address % BEAT == 0
        assert address >= BASE
        assert address // 4096 == (address + beats * BEAT - 1) // 4096, "a burst crosses a page of 4096 bytes"
        assert address - BASE + beats * BEAT <= len(self.image), "a burst reads beyond the image"
        first = self.due[-1][0] + 1 if self.due else 0
        start = max(first, self.cycle + self.latency)
        for i in range(beats):
            self.due.append((start + i, address - BASE + i * BEAT, i == beats - 1))
        self.beats += beats
        self.bursts += 1
        self.longest = max(self.longest, beats)


def _page(rng: random.Random, shapes: int, entries: int) -> bytes:
    length = -(-8 * (1 + shapes + entries) // BEAT) if shapes <= 4 and entries <= 256 else 1
    words = shapes.to_bytes(2, "little") + entries.to_bytes(2, "little")
    return (words + rng.randbytes(length * BEAT))[: length * BEAT]


def _spans(rng: random.Random, image: bytearray) -> tuple[list[tuple[int, int, int]], bytes, bool]:
    """Requests (offset, beats, page) over an image, and the bytes that they deliver; whether zeros are among them."""
    total = len(image) // BEAT
    pages = {}
    at = 0
    for shapes, entries in [(1, 0), (4, 256), (2, 37), (0, 0), (5, 3), (1, 257), (3, 200)]:
        page = _page(rng, shapes, entries)
        image[at * BEAT : at * BEAT + len(page)] = page
        pages[at] = len(page) // BEAT
        at += len(page) // BEAT
    late = total - 2
    image[late * BEAT : late * BEAT + 4] = bytes((1, 0, 200, 0))
    pages[late] = -(-8 * 202 // BEAT)
    spans, expected, padded = [], b"", False
    for _ in range(CASE["spans"]):
        if rng.random() < 0.4:
            offset = rng.choice(list(pages))
            beats = pages[offset]
            spans.append((offset, rng.randrange(50), 1))
        else:
            beats = rng.choice([0, 0, 1, 2, rng.randrange(40), rng.randrange(600)])
            offset = rng.randrange(total - beats + 1)
            spans.append((offset, beats, 0))
        data = bytes(image[offset * BEAT : (offset + beats) * BEAT])
        padded |= len(data) < beats * BEAT
        expected += data + bytes(beats * BEAT - len(data))
    return spans, expected, padded


async def _reset(dut: Any, image: bytes) -> None:
    Clock(dut.clk_i, 10, unit="ns").start()
    for name in ("flush_i", "span_valid_i", "data_ready_i", "arready_i", "rvalid_i", "rst_ni"):
        getattr(dut, name).value = 0
    dut.image_base_i.value = BASE
    dut.image_beats_i.value = len(image) // BEAT
    await RisingEdge(dut.clk_i)
    await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1


async def _deliver(
    dut: Any, memory: Memory, spans: list[tuple[int, int, int]], beats: int, ready: float
) -> bytes:
    """Ask for the spans as fast as they are taken and return `beats` beats."""
    rng, queue = memory.rng, deque(spans)
    found: list[bytes] = []
    limit = 200 * len(spans) + 10 * beats + 2000
    for _ in range(limit):
        if not queue and len(found) == beats:
            break
        dut.span_valid_i.value = int(bool(queue))
        if queue:
            dut.span_offset_i.value, dut.span_beats_i.value, dut.span_page_i.value = queue[0]
        dut.data_ready_i.value = int(rng.random() < ready)
        memory.drive()
        await ReadOnly()
        if queue and dut.span_ready_o.value:
            queue.popleft()
        if dut.data_valid_o.value and dut.data_ready_i.value:
            found.append(dut.data_o.value.to_unsigned().to_bytes(BEAT, "little"))
        memory.settle()
        await RisingEdge(dut.clk_i)
    assert not queue
    assert len(found) == beats, f"found {len(found)} beats; expected {beats}"
    return b"".join(found)


async def _quiet(dut: Any, memory: Memory, cycles: int) -> None:
    dut.span_valid_i.value = 0
    dut.data_ready_i.value = 1
    for _ in range(cycles):
        memory.drive()
        await ReadOnly()
        assert not dut.data_valid_o.value, "a beat that nobody asked for"
        memory.settle()
        await RisingEdge(dut.clk_i)
    await ReadOnly()
    assert dut.idle_o.value
    await RisingEdge(dut.clk_i)


@cocotb.test()
async def order(dut: Any) -> None:
    rng = random.Random(CASE["seed"])
    image = bytearray(rng.randbytes(CASE["image_beats"] * BEAT))
    spans, expected, padded = _spans(rng, image)
    await _reset(dut, bytes(image))
    assert padded
    assert any(beats == 0 and not page for _, beats, page in spans)
    for latency, gaps, ready in [(1, 0.0, 1.0), (30, 0.3, 0.5), (100, 0.0, 0.9)]:
        memory = Memory(dut, bytes(image), latency, gaps, rng)
        assert await _deliver(dut, memory, spans, len(expected) // BEAT, ready) == expected
        await _quiet(dut, memory, 40)
        assert memory.longest == CASE["longest"]


@cocotb.test()
async def pace(dut: Any) -> None:
    """A beat a cycle with 100 cycles of latency, and pages that are asked for in time cost one beat more."""
    rng = random.Random(CASE["seed"])
    image = bytearray(rng.randbytes(CASE["image_beats"] * BEAT))
    page = _page(rng, 1, 8)
    image[: len(page)] = page
    await _reset(dut, bytes(image))
    beats = 600
    spans = [(0, 0, 1), (20, 0, 0), (len(page) // BEAT + 3, beats, 0)] * 5
    total = 5 * (beats + len(page) // BEAT)
    memory = Memory(dut, bytes(image), 100, 0.0, rng)
    await _deliver(dut, memory, spans, total, 1.0)
    assert memory.beats == total + 5
    # Beyond the beats: latency once for the first page's length and once for its data, and a few cycles a span.
    assert memory.cycle <= total + 2 * 100 + 6 * len(spans), f"{memory.cycle} cycles for {total} beats"


@cocotb.test()
async def flush(dut: Any) -> None:
    rng = random.Random(CASE["seed"])
    image = bytearray(rng.randbytes(CASE["image_beats"] * BEAT))
    image[:4] = bytes((1, 0, 20, 0))
    await _reset(dut, bytes(image))
    memory = Memory(dut, bytes(image), 25, 0.1, rng)
    for pause in range(3, 60, 7):
        spans = [(5, 300, 0), (0, 0, 1), (40, 10, 0)]
        queue = deque(spans)
        for _ in range(pause):
            dut.span_valid_i.value = int(bool(queue))
            if queue:
                dut.span_offset_i.value, dut.span_beats_i.value, dut.span_page_i.value = queue[0]
            memory.drive()
            await ReadOnly()
            if queue and dut.span_ready_o.value:
                queue.popleft()
            memory.settle()
            await RisingEdge(dut.clk_i)
        dut.flush_i.value = 1
        dut.span_valid_i.value = 0
        idle = False
        for _ in range(1000):
            memory.drive()
            await ReadOnly()
            assert not dut.span_ready_o.value
            idle = bool(dut.idle_o.value)
            memory.settle()
            await RisingEdge(dut.clk_i)
            if idle:
                break
        assert idle
        assert not memory.due
        dut.flush_i.value = 0
        assert await _deliver(dut, memory, [(7, 50, 0)], 50, 1.0) == bytes(image[7 * BEAT : 57 * BEAT])
        await _quiet(dut, memory, 30)
