"""NORM steps one after the other on `norm_unit`, against flow.numerics; and the cycles that a tile takes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from memory_model import STORE, Beats, MemoryModel, tiles_of

from flow.numerics import norm_gain, normalise, saturate

CASE = json.loads(Path("case.json").read_text())
T, B, L, DEPTH, BEAT = (CASE[name] for name in ("tokens", "banks", "lanes", "depth", "beat"))
Int = npt.NDArray[np.int64]
MOST_TILES = 10
AHEAD = max(4, 128 // T)
"""Tiles whose statistics may be known before one of them is normalised."""
LINES = 2 * max(MOST_TILES * DEPTH, 3 * AHEAD)


@dataclass(frozen=True)
class Step:
    """A NORM record's words, its length, and what is to lie where when it is done: (space, base, lines) an output."""

    words: dict[str, int]
    length: int
    constants: bytes
    expected: tuple[tuple[int, int, npt.NDArray[np.uint8]], ...]


def _rows(rng: np.random.Generator, tokens: int, channels: int) -> Int:
    """int16 rows: loud, quiet, constant, all zero, saturated."""
    x = rng.normal(0, rng.choice([3, 30, 4000], (tokens, 1)), (tokens, channels)).round()
    kind = rng.integers(0, 8, tokens)
    x[kind == 0] = rng.integers(-32768, 32768)
    x[kind == 1] = 0
    x[kind == 2] = rng.choice([-32768, 32767], (int((kind == 2).sum()), channels))
    return np.clip(x, -32768, 32767).astype(np.int64)


def _output(
    rng: np.random.Generator, z: Int, shift: int, bits: int, real: Int, size: int
) -> tuple[Int, bytes]:
    """The result on all physical channels, and the constants in the image."""
    gain, bias = np.zeros(size, np.int64), np.zeros(size, np.int64)
    gain[real] = rng.integers(-32768, 32768, real.size)
    bias[real] = rng.integers(-(2**46), 2**46, real.size) >> int(rng.integers(0, 30))
    y = np.zeros((z.shape[0], size), np.int64)
    if shift:
        y[:, real] = norm_gain(z, gain[real], bias[real], shift, bits)
    else:
        y[:, real] = saturate(z * gain[real] + bias[real], bits)
    words = (gain & 0xFFFF) | ((bias & 0xFFFFFFFFFFFF) << 16)
    beats = words.astype(np.uint64).astype("<u8").tobytes()
    return y, beats.ljust(-(-len(beats) // BEAT) * BEAT, b"\0")


def _draw(rng: np.random.Generator, memory: MemoryModel, index: int, depth: int, length: int) -> Step:
    """A random step whose source is put into the store; every second one writes its first output over it."""
    size, tiles = depth * B, tiles_of(length, T)
    channels = int(rng.integers(max(1, size - B + 1), size + 1))
    real = np.sort(rng.permutation(size)[:channels])
    x = np.zeros((tiles * T, size), np.int64)
    x[:, real] = _rows(rng, tiles * T, channels)
    source = int(rng.integers(0, LINES + 1 - 2 * tiles * depth))
    memory.put(STORE, source, x, 2)
    centred = int(rng.integers(0, 2))
    epsilon = int(rng.choice([0, 0, 1, 5, 2**20, 2**40]))
    z = normalise(x[:, real], epsilon, bool(centred))
    outputs = 1 + index // 2 % 2
    over = index % 2
    places = [(STORE, source) if over else (1, 0), (0, int(rng.integers(0, LINES + 1 - 2 * tiles * depth)))]
    words = {
        "source_base": source, "depth": depth, "channels": channels, "centred": centred,
        "epsilon_low": epsilon & 0xFFFFFFFF, "epsilon_high": epsilon >> 32, "outputs": outputs,
    }  # fmt: skip
    constants, expected = b"", []
    for o, (space, base) in enumerate(places):
        bits = 16 if o == 0 and over else int(rng.integers(2, 17))
        shift = int(rng.choice([0, 1, 7, 8, 15, 16, 19, 23, 30, 40, 63]))
        words |= {f"shift{o}": shift, f"bits{o}": bits, f"space{o}": space, f"base{o}": base}
        if o < outputs:
            y, beats = _output(rng, z, shift, bits, real, size)
            constants += beats
            expected.append((space, base, memory.pack(y, 1 + (bits > 8))))
    return Step(words, length, constants, tuple(expected))


class Unit:
    """`norm_unit` with its beats; counts and checks the order of reads, writes and announcements of a step."""

    def __init__(self, dut: Any, stall: float) -> None:
        self.dut = dut
        self.memory = MemoryModel(dut, CASE["seed"], T, B, LINES, stall)
        self.beats = Beats(dut.data_valid_i, dut.data_ready_o, dut.data_i, BEAT, CASE["seed"], stall)
        self.memory.agents.append(self.beats)
        self.memory.on_read = self._on_read
        self.allowed = 0xFFFF
        self.bounds = (0, 0)
        self.memory.set(load_start=0, start=0)

    def _on_read(self, line: int) -> None:
        base, depth = self.bounds
        assert 0 <= (line - base) // (2 * depth) < self.allowed, "a tile is read before its time"

    def load(self, step: Step) -> None:
        """Ask for the constants of a step in the next cycle."""
        self.beats.add(step.constants)
        self.memory.pulse("load_start")
        self.memory.set(load_depth=step.words["depth"], load_outputs=step.words["outputs"])

    def begin(self, step: Step, allowed: int) -> None:
        """Start a step in the next cycle, with some tiles of its source."""
        self.memory.pulse("start")
        self.memory.set(**step.words, length=step.length, source_tiles=allowed)
        self.allowed = allowed
        self.bounds = step.words["source_base"], step.words["depth"]
        self.memory.reads = self.memory.writes = 0

    def check(self, step: Step, tiles: int) -> None:
        """The first tiles of a step's results are in the memories."""
        total = tiles_of(step.length, T)
        for space, base, lines in step.expected:
            count = len(lines) // total * tiles
            found = self.memory.space[space, base : base + count]
            assert np.array_equal(found, lines[:count]), f"results of {tiles} tiles differ"


async def _run(unit: Unit, step: Step, gate: bool) -> int:
    """Run one step whose constants are asked for; returns its cycles from start to done."""
    dut, memory = unit.dut, unit.memory
    tiles = tiles_of(step.length, T)
    unit.begin(step, 0 if gate else 0xFFFF)
    await memory.tick()
    first = memory.cycle
    ready = 0
    issued = False
    await memory.tick()
    while not bool(dut.done_o.value):
        assert memory.cycle - first < 4000 + 200 * tiles * step.words["depth"] * B // L, "hangs"
        if bool(dut.issued_o.value) and not issued:
            issued = True
            assert memory.reads == 4 * tiles * step.words["depth"]
            # The next step's words may follow.
            memory.set(**{name: memory.rng.getrandbits(32) for name in step.words})
        if int(dut.ready_tiles_o.value) != ready:
            ready += 1
            assert int(dut.ready_tiles_o.value) == ready
            unit.check(step, ready)
        if gate and memory.rng.random() < 0.01:
            unit.allowed += 1
            memory.set(source_tiles=unit.allowed)
        await memory.tick()
    assert issued
    assert bool(dut.issued_o.value)
    assert int(dut.ready_tiles_o.value) == tiles
    assert memory.reads == 4 * tiles * step.words["depth"]
    unit.check(step, tiles)
    return memory.cycle - first


@cocotb.test()
async def equals_numerics(dut: Any) -> None:
    """Steps of all kinds; constants of the next step come while one is at work."""
    rng = np.random.default_rng(CASE["seed"])
    unit = Unit(dut, CASE["stall"])
    await unit.memory.reset()
    ends = np.zeros(2, int)
    for index in range(CASE["steps"]):
        depth = (1, DEPTH, int(rng.integers(1, DEPTH + 1)))[index % 3]
        length = (int(rng.integers(1, T + 1)), MOST_TILES * T, int(rng.integers(1, MOST_TILES * T)))[
            index % 3
        ]
        step = _draw(rng, unit.memory, index, depth, length)
        unit.load(step)
        if index % 2:
            await _loaded(unit)
        await _run(unit, step, gate=index % 3 == 2)
        assert not unit.beats.queue, "constants were left"
        for space, base, lines in step.expected:
            del space, base
            ends += [int((lines == 0x7F).sum()), int((lines == 0).sum())]
    assert ends.all()


@cocotb.test()
async def statistics_run_ahead(dut: Any) -> None:
    """While nothing is written, tiles are scanned as far as there is room for statistics, and no further."""
    rng = np.random.default_rng(CASE["seed"] + 3)
    unit = Unit(dut, 0.0)
    memory = unit.memory
    await memory.reset()
    step = _draw(rng, memory, 3, 1, 3 * AHEAD * T)
    unit.load(step)
    await _loaded(unit)
    hold = Hold(memory)
    memory.agents.append(hold)
    await _run(unit, step, gate=False)
    # Two lines a tile. The next tile may be on its way to the lanes: its lines have been read again, its room is taken.
    ahead = hold.scanned - hold.applied
    assert 2 * AHEAD - 2 <= ahead <= 2 * AHEAD, f"{ahead} lines of {AHEAD} tiles"


class Hold:
    """Lets nothing be written until the unit has read nothing for a while; then tells how many lines it had read once,
    and how many twice."""

    def __init__(self, memory: MemoryModel) -> None:
        self.scanned = self.applied = 0
        self._memory, self._seen, self._since = memory, Counter[int](), 0
        self._check, memory.on_read = memory.on_read, self._on_read
        memory.write_stall = 1.0

    def _on_read(self, line: int) -> None:
        self._check(line)
        self._seen[line] += 1
        self._since = 0

    def drive(self) -> None:
        """It stands between the memory's ports."""

    def look(self) -> None:
        """Count cycles without a read."""
        self._since += bool(self._seen)
        if self._since == 300 and not self.scanned:
            self.scanned, self.applied = len(self._seen), sum(n > 1 for n in self._seen.values())
            self._memory.write_stall = 0.0


async def _loaded(unit: Unit) -> int:
    """Wait until the constants that are asked for are there; returns the cycles from load_start_i on."""
    await unit.memory.tick()
    first = unit.memory.cycle
    await unit.memory.tick()
    while not bool(unit.dut.load_done_o.value):
        assert unit.memory.cycle - first < 4000 + 20 * DEPTH * B, "hangs"
        await unit.memory.tick()
    return unit.memory.cycle - first


@cocotb.test()
async def waits_for_constants_in_use(dut: Any) -> None:
    """Constants that are asked for early leave those alone that a step before is to use."""
    rng = np.random.default_rng(CASE["seed"] + 1)
    unit = Unit(dut, 0.0)
    await unit.memory.reset()
    later, step = (_draw(rng, unit.memory, 2, DEPTH, 2 * T) for _ in range(2))
    unit.load(step)
    await _loaded(unit)
    unit.load(later)
    waiting = len(unit.beats.queue)
    for _ in range(20):
        await unit.memory.tick()
    assert len(unit.beats.queue) == waiting > 0
    await _run(unit, step, gate=False)
    await _loaded(unit)
    assert not unit.beats.queue


@cocotb.test()
async def sustained_rate(dut: Any) -> None:
    """Without stalls: a beat a cycle, and a tile in D*ceil(B/L) cycles, or four a line, or what T tokens take."""
    rng = np.random.default_rng(CASE["seed"] + 2)
    unit = Unit(dut, 0.0)
    await unit.memory.reset()
    cycles = []
    for tiles in (2, MOST_TILES):
        step = _draw(rng, unit.memory, 3, DEPTH, tiles * T)
        unit.load(step)
        assert await _loaded(unit) == len(step.constants) // BEAT + 1
        cycles.append(await _run(unit, step, gate=False))
    tile = max(DEPTH * B // L, 4 * DEPTH, T + 4)
    dut._log.info(f"cycles {cycles} for 2 and {MOST_TILES} tiles; expected {tile} a tile")
    # Once, a read and a write may come a little late for their turns.
    assert cycles[1] - cycles[0] <= (MOST_TILES - 2) * tile + 6
