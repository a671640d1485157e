"""OUTPUT steps one after the other on `tensor_writer`; and the cycles that a beat takes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from memory_model import STORE, MemoryModel, tiles_of

CASE = json.loads(Path("case.json").read_text())
T, B, STREAM = (CASE[name] for name in ("tokens", "banks", "stream"))
DEPTH, MOST_TILES = 5, 6
LINES = 2 * MOST_TILES * DEPTH + 7
LATENCY = 14
"""Cycles from the start to the first beat and from the last one to `done`, together."""


class OperandPort:
    """The operand memories' read port: always granted, data two cycles later, noise at other times."""

    def __init__(self, dut: Any, memory: MemoryModel) -> None:
        self.dut, self.memory = dut, memory
        self.coming: list[int | None] = [None, None]

    def drive(self) -> None:
        data = self.coming.pop(0)
        self.dut.operand_data_i.value = self.memory.rng.getrandbits(8 * B * T) if data is None else data

    def look(self) -> None:
        dut, data = self.dut, None
        if bool(dut.operand_re_o.value):
            line = int(dut.operand_line_o.value)
            self.memory.on_read(line)
            words = self.memory.space[int(dut.operand_select_o.value), line]
            data = int.from_bytes(words.tobytes(), "little")
        self.coming.append(data)


class Sink:
    """Takes beats with random gaps, and sees that what is offered stays until it is taken."""

    def __init__(self, dut: Any, seed: int, stall: float) -> None:
        self.dut, self.rng, self.stall = dut, random.Random(seed), stall
        self.beats: list[tuple[int, bool]] = []
        self._offered: tuple[int, bool] | None = None

    def drive(self) -> None:
        self._ready = self.rng.random() >= self.stall
        self.dut.stream_ready_i.value = int(self._ready)

    def look(self) -> None:
        dut = self.dut
        valid = bool(dut.stream_valid_o.value)
        beat = (int(dut.stream_data_o.value), bool(dut.stream_last_o.value)) if valid else None
        assert self._offered in (None, beat), "a beat changed before it was taken"
        self._offered = beat
        if beat is not None and self._ready:
            self.beats.append(beat)
            self._offered = None


class Unit:
    """`tensor_writer` with its ports."""

    def __init__(self, dut: Any, seed: int, stall: float) -> None:
        self.dut = dut
        self.memory = MemoryModel(dut, seed, T, B, LINES, stall)
        self.sink = Sink(dut, seed, stall)
        self.memory.agents += [OperandPort(dut, self.memory), self.sink]
        self.memory.set(start=0)

    async def run(self, space: int, planes: int, depth: int, length: int, last: bool, gate: bool) -> int:
        """One step, checked; returns its cycles."""
        dut, memory, rng = self.dut, self.memory, self.memory.rng
        tiles = tiles_of(length, T)
        lines = tiles * planes * depth
        base = rng.randrange(LINES - lines + 1)
        allowed = 0 if gate else tiles

        def on_read(line: int) -> None:
            assert 0 <= (line - base) // (planes * depth) < allowed, "a tile is read before its time"

        memory.on_read = on_read
        words = memory.space[space, base : base + lines].reshape(tiles, planes * depth, B, T).copy()
        words[-1, :, :, (length - 1) % T + 1 :] = 0
        content = words.tobytes()
        content = content.ljust(-(-len(content) // STREAM) * STREAM, b"\0")
        memory.pulse("start")
        memory.set(
            last_output=int(last), source_space=space, source_base=base, planes=planes, depth=depth,
            length=length, source_tiles=allowed,
        )  # fmt: skip
        await memory.tick()
        first = memory.cycle
        await memory.tick()
        while not bool(dut.done_o.value):
            assert memory.cycle - first < 1000 + 200 * lines * B * T, "hangs"
            if bool(dut.issued_o.value):
                memory.set(depth=rng.getrandbits(32), length=rng.getrandbits(32), last_output=int(not last))
            if gate and rng.random() < 0.05:
                allowed += 1
                memory.set(source_tiles=allowed)
            await memory.tick()
        beats, self.sink.beats = self.sink.beats, []
        assert b"".join(data.to_bytes(STREAM, "little") for data, _ in beats) == content
        assert [tlast for _, tlast in beats] == [False] * (len(beats) - 1) + [last]
        return memory.cycle - first


@cocotb.test()
async def tensors_leave(dut: Any) -> None:
    unit = Unit(dut, CASE["seed"], CASE["stall"])
    await unit.memory.reset()
    rng = unit.memory.rng
    for index in range(CASE["steps"]):
        length = (1, MOST_TILES * T, rng.randint(1, MOST_TILES * T))[index % 3]
        last, gate = rng.random() < 0.5, rng.random() < 0.3
        await unit.run(index % 4 % 3, rng.randint(1, 2), rng.randint(1, DEPTH), length, last, gate)


@cocotb.test()
async def a_beat_a_cycle(dut: Any) -> None:
    """Or a line a cycle, where a beat is more than a line; and no more than the pipeline beside."""
    unit = Unit(dut, CASE["seed"] + 1, 0.0)
    await unit.memory.reset()
    for space in (0, STORE):
        cycles = await unit.run(space, 2, DEPTH, MOST_TILES * T, last=True, gate=False)
        lines = MOST_TILES * 2 * DEPTH
        expected = max(lines * B * T // STREAM, lines)
        assert cycles == expected + LATENCY
