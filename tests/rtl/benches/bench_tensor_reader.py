"""INPUT and CONSTANT steps one after the other on `tensor_reader`; and the cycles that a beat takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from memory_model import Beats, MemoryModel, tiles_of

CASE = json.loads(Path("case.json").read_text())
T, B, BEAT, STREAM = (CASE[name] for name in ("tokens", "banks", "beat", "stream"))
DEPTH, MOST_TILES = 5, 6
LINES = 2 * MOST_TILES * DEPTH + 7


class Unit:
    """`tensor_reader` with its streams."""

    def __init__(self, dut: Any, seed: int, stall: float) -> None:
        self.dut = dut
        self.memory = MemoryModel(dut, seed, T, B, LINES, stall)
        self.stream = Beats(
            dut.stream_valid_i, dut.stream_ready_o, dut.stream_data_i, STREAM, seed + 1, stall
        )
        self.image = Beats(dut.data_valid_i, dut.data_ready_o, dut.data_i, BEAT, seed + 2, stall)
        self.memory.agents += [self.stream, self.image]
        self.memory.set(start=0, load_start=0)

    async def run(self, constant: bool, planes: int, depth: int, length: int, early: bool) -> int:
        """One step, checked; `early` asks for the image's beats before it starts. Returns its cycles."""
        dut, memory, rng = self.dut, self.memory, self.memory.rng
        tiles = tiles_of(length, T)
        lines = tiles * planes * depth
        space, base = rng.randrange(3), rng.randrange(LINES - lines + 1)
        words: npt.NDArray[np.uint8] = np.random.default_rng(rng.getrandbits(32)).integers(
            0, 256, (lines, B, T), np.uint8
        )
        expected = memory.space.copy()
        expected[space, base : base + lines] = words
        beats = self.image if constant else self.stream
        beats.add(words.tobytes())
        if constant:
            memory.pulse("load_start")
        if early:
            for _ in range(5):
                await memory.tick()
            assert bool(dut.load_done_o.value) != constant
        memory.pulse("start")
        memory.set(
            constant=int(constant), planes=planes, depth=depth, space=space, base=base,
            length=rng.randint(1, MOST_TILES * T) if constant else length, tiles=tiles if constant else 0,
        )  # fmt: skip
        await memory.tick()
        first, ready = memory.cycle, 0
        await memory.tick()
        while not bool(dut.done_o.value):
            assert memory.cycle - first < 1000 + 100 * lines * B * T, "hangs"
            assert bool(dut.load_done_o.value) != constant
            if int(dut.ready_tiles_o.value) != ready:
                ready += 1
                assert int(dut.ready_tiles_o.value) == ready
                done = base + ready * planes * depth
                assert np.array_equal(memory.space[space, base:done], expected[space, base:done])
            memory.set(length=rng.getrandbits(32), depth=rng.getrandbits(32), base=rng.getrandbits(32))
            await memory.tick()
        assert bool(dut.load_done_o.value)
        assert int(dut.ready_tiles_o.value) == tiles
        assert np.array_equal(memory.space, expected)
        assert not beats.queue, "a beat was left"
        return memory.cycle - first


@cocotb.test()
async def tensors_arrive(dut: Any) -> None:
    """Steps of both kinds; nothing else is written, and no beat of the next step is taken."""
    unit = Unit(dut, CASE["seed"], CASE["stall"])
    await unit.memory.reset()
    rng = unit.memory.rng
    for index in range(CASE["steps"]):
        constant, planes = index % 2 == 1, 1 + index // 2 % 2
        other = unit.stream if constant else unit.image
        other.add(bytes(rng.randbytes(3)))
        waiting = len(other.queue)
        length = (1, MOST_TILES * T, rng.randint(1, MOST_TILES * T))[index % 3]
        await unit.run(constant, planes, rng.randint(1, DEPTH), length, early=rng.random() < 0.5)
        assert len(other.queue) == waiting
        other.queue.clear()


@cocotb.test()
async def a_beat_a_cycle(dut: Any) -> None:
    """Or a line a cycle, where a beat is more than a line."""
    unit = Unit(dut, CASE["seed"] + 1, 0.0)
    await unit.memory.reset()
    for constant, size in ((False, STREAM), (True, BEAT)):
        cycles = await unit.run(constant, 2, DEPTH, MOST_TILES * T, early=False)
        lines = MOST_TILES * 2 * DEPTH
        expected = max(lines * B * T // size, lines)
        dut._log.info(f"cycles {cycles}, expected {expected} and two")
        assert cycles <= expected + 2
