"""POOL steps one after the other on `pool_unit`, against flow.numerics; and the cycles that a line takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from memory_model import STORE, MemoryModel, tiles_of

from flow.numerics import Scale, mean_pool, requantise

CASE = json.loads(Path("case.json").read_text())
T, B, L, DEPTH = (CASE[name] for name in ("tokens", "banks", "lanes", "depth"))
MOST_TILES = 6
LINES = 2 * MOST_TILES * DEPTH
Int = npt.NDArray[np.int64]


def _source(rng: np.random.Generator, tiles: int, size: int) -> Int:
    """int16 columns: loud, quiet, and at the ends of the range."""
    x = rng.normal(0, rng.choice([3, 4000], size), (tiles * T, size)).round()
    kind = rng.integers(0, 4, size)
    x[:, kind == 0] = rng.choice([-32768, 32767], int((kind == 0).sum()))
    return np.clip(x, -32768, 32767).astype(np.int64)


def _golden(words: dict[str, int], x: Int, length: int) -> Int:
    """One token, the others 0: [T, size]."""
    result = np.zeros((T, x.shape[1]), np.int64)
    scale = Scale(words["multiplier"], words["shift"])
    if words["mean"]:
        result[0] = mean_pool(x[:length].sum(axis=0), length, scale, words["bits"])
    else:
        result[0] = requantise(x[0], scale.multiplier, scale.shift, words["bits"])
    return result


async def _run(memory: MemoryModel, words: dict[str, int], length: int, gate: bool) -> int:
    """Run one step; returns its cycles from start to done."""
    dut, depth = memory.dut, words["depth"]
    tiles = tiles_of(length, T) if words["mean"] else 1
    size = depth * B
    rng = np.random.default_rng(memory.rng.getrandbits(32))
    x = _source(rng, tiles_of(length, T), size)
    memory.put(STORE, words["source_base"], x, 2)
    planes = 1 + (words["bits"] > 8)
    expected = memory.pack(_golden(words, x, length), planes)
    memory.reads = memory.writes = 0
    memory.pulse("start")
    memory.set(**words, length=length, source_tiles=tiles - 1 if gate else tiles)
    if gate:
        for _ in range(50):
            await memory.tick()
        assert memory.reads == 0
        memory.set(source_tiles=tiles)
    await memory.tick()
    first = memory.cycle
    await memory.tick()
    issued = False
    while not bool(dut.done_o.value):
        assert memory.cycle - first < 2000 + 200 * depth * (tiles + B), "hangs"
        assert int(dut.ready_tiles_o.value) == 0
        if bool(dut.issued_o.value) and not issued:
            issued = True
            assert memory.reads == 2 * tiles * depth
            memory.set(**{name: memory.rng.getrandbits(32) for name in words})
        await memory.tick()
    assert issued
    assert bool(dut.issued_o.value)
    assert int(dut.ready_tiles_o.value) == 1
    assert memory.writes == planes * depth
    base = words["base"]
    assert np.array_equal(memory.space[words["space"], base : base + planes * depth], expected)
    return memory.cycle - first


def _words(rng: np.random.Generator, depth: int, mean: int) -> dict[str, int]:
    return {
        "source_base": 0, "depth": depth, "mean": mean, "multiplier": int(rng.integers(-32768, 32768)),
        "shift": int(rng.choice([1, 7, 15, 16, 23, 24, 31, 46])), "bits": int(rng.integers(2, 17)),
        "space": int(rng.integers(0, 2)), "base": int(rng.integers(0, LINES - 2 * depth)),
    }  # fmt: skip


@cocotb.test()
async def equals_numerics(dut: Any) -> None:
    rng = np.random.default_rng(CASE["seed"])
    memory = MemoryModel(dut, CASE["seed"], T, B, LINES, CASE["stall"])
    memory.set(start=0)
    await memory.reset()
    for index in range(CASE["steps"]):
        depth = (1, DEPTH, int(rng.integers(1, DEPTH + 1)))[index % 3]
        length = (1, MOST_TILES * T, int(rng.integers(1, MOST_TILES * T)))[index // 2 % 3]
        await _run(memory, _words(rng, depth, int(index % 4 != 3)), length, gate=index % 5 == 4)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Lines are read while those before are scaled."""
    rng = np.random.default_rng(CASE["seed"] + 1)
    memory = MemoryModel(dut, CASE["seed"] + 1, T, B, LINES, 0.0)
    memory.set(start=0)
    await memory.reset()
    cycles = [await _run(memory, _words(rng, depth, 1), MOST_TILES * T, gate=False) for depth in (2, DEPTH)]
    pair = max(B // L, 3)
    line = max(MOST_TILES * pair, B + 10)
    dut._log.info(f"cycles {cycles} for 2 and {DEPTH} lines; expected {line} a line")
    # One step may have a plane more to write than the other.
    assert cycles[1] - cycles[0] <= (DEPTH - 2) * line + 2
