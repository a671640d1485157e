"""The engine's token memories around one unit: the store's read port, the write bus, and beats with random gaps."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

Lines = npt.NDArray[np.uint8]
STORE = 2


class Agent(Protocol):
    """Something at other ports: `drive` behind an edge, `look` when outputs have settled."""

    def drive(self) -> None:
        """Set inputs."""

    def look(self) -> None:
        """See outputs."""


class MemoryModel:
    """Spaces 0 to 2 of `lines` lines of B words of T bytes, and the ports through which a unit sees them.

    `tick` begins a cycle: inputs are driven, `set` ones among them, and outputs have settled when it returns. With
    probability `stall` a port does not answer in a cycle, the write bus with `write_stall`, which begins as `stall`.
    `on_read(line)` sees every read of the store.
    """

    def __init__(self, dut: Any, seed: int, tokens: int, banks: int, lines: int, stall: float) -> None:
        self.dut, self.rng, self.stall, self.write_stall = dut, random.Random(seed), stall, stall
        self.tokens, self.banks = tokens, banks
        shape = (3, lines, banks, tokens)
        self.space: Lines = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        self.cycle = 0
        self.reads = self.writes = 0
        self.agents: list[Agent] = []
        self._next: dict[str, int] = {}
        self._pulses: list[str] = []
        self.on_read: Callable[[int], None] = lambda _: None
        self._coming: list[Lines | None] = [None, None]
        self._reading = hasattr(dut, "store_re_o")
        self._writing = hasattr(dut, "write_valid_o")

    async def reset(self) -> None:
        """Start the clock, and reset for two cycles; what `set` says holds from the first cycle on."""
        Clock(self.dut.clk_i, 10, unit="ns").start()
        self.set(rst_ni=0)
        for _ in range(2):
            await self.tick()
        self.set(rst_ni=1)
        await self.tick()

    def _gap(self, stall: float) -> bool:
        return self.rng.random() < stall

    def set(self, **values: int) -> None:
        """Drive input ports NAME_i from the next cycle on, negative values in two's complement of 32 bits."""
        self._next |= values

    def pulse(self, name: str) -> None:
        """Drive an input high in the next cycle alone."""
        self._next[name] = 1
        self._pulses.append(name)

    async def tick(self) -> None:
        """Pass the edge, drive, settle, and look."""
        dut = self.dut
        await RisingEdge(dut.clk_i)
        self.cycle += 1
        for name, value in self._next.items():
            port = getattr(dut, name if name == "rst_ni" else f"{name}_i")
            port.value = value & 0xFFFFFFFF if value < 0 else value
        self._next = dict.fromkeys(self._pulses, 0)
        self._pulses.clear()
        for agent in self.agents:
            agent.drive()
        if self._reading:
            data = self._coming.pop(0)
            granted = not self._gap(self.stall)
            dut.store_grant_i.value = int(granted)
            line = self._noise() if data is None else int.from_bytes(data.tobytes(), "little")
            dut.store_data_i.value = line
        if self._writing:
            ready = not self._gap(self.write_stall)
            dut.write_ready_i.value = int(ready)
        await ReadOnly()
        if self._reading:
            taken = granted and bool(dut.store_re_o.value)
            self._coming.append(self._read(int(dut.store_line_o.value)) if taken else None)
        if self._writing and ready and bool(dut.write_valid_o.value):
            self._write()
        for agent in self.agents:
            agent.look()

    def _noise(self) -> int:
        return self.rng.getrandbits(self.banks * self.tokens * 8)

    def _read(self, line: int) -> Lines:
        self.on_read(line)
        self.reads += 1
        found: Lines = self.space[STORE, line].copy()
        return found

    def _write(self) -> None:
        dut = self.dut
        space, line, mask = (
            int(port.value) for port in (dut.write_space_o, dut.write_line_o, dut.write_mask_o)
        )
        size = self.banks * self.tokens
        data = np.frombuffer(int(dut.write_data_o.value).to_bytes(size, "little"), np.uint8)
        banks = [bank for bank in range(self.banks) if mask >> bank & 1]
        assert banks, "a write of no bank"
        self.space[space, line, banks] = data.reshape(self.banks, self.tokens)[banks]
        self.writes += 1

    def put(self, space: int, base: int, values: npt.NDArray[np.int64], planes: int) -> None:
        """[tiles*T, depth*B] integers as a tensor at `base`."""
        self.space[space, base : base + self._lines(values, planes)] = self.pack(values, planes)

    def pack(self, values: npt.NDArray[np.int64], planes: int) -> Lines:
        """[tiles*T, depth*B] integers as lines [line, B, T]."""
        tiles, depth = values.shape[0] // self.tokens, values.shape[1] // self.banks
        split = np.stack([(values >> (8 * p)) & 0xFF for p in range(planes)]).astype(np.uint8)
        words = split.reshape(planes, tiles, self.tokens, depth, self.banks).transpose(1, 0, 3, 4, 2)
        lines: Lines = words.reshape(tiles * planes * depth, self.banks, self.tokens)
        return lines

    def _lines(self, values: npt.NDArray[np.int64], planes: int) -> int:
        return values.size // (self.tokens * self.banks) * planes


class Beats:
    """Beats for a valid/ready port, with random gaps: an agent of MemoryModel."""

    def __init__(self, valid: Any, ready: Any, data: Any, size: int, seed: int, stall: float) -> None:
        self.valid, self.ready, self.data = valid, ready, data
        self.size, self.rng, self.stall = size, random.Random(seed), stall
        self.queue: list[int] = []
        self.valid.value = 0

    def add(self, content: bytes) -> None:
        """Queue whole beats; the last one is filled with zeros."""
        padded = content.ljust(-(-len(content) // self.size) * self.size, b"\0")
        beats = (padded[i : i + self.size] for i in range(0, len(padded), self.size))
        self.queue += [int.from_bytes(beat, "little") for beat in beats]

    def drive(self) -> None:
        """Offer the next beat, or noise and no valid."""
        self._offered = bool(self.queue) and self.rng.random() >= self.stall
        self.valid.value = int(self._offered)
        self.data.value = self.queue[0] if self._offered else self.rng.getrandbits(8 * self.size)

    def look(self) -> None:
        """Go on behind a beat that is taken."""
        if self._offered and bool(self.ready.value):
            self.queue.pop(0)


def tiles_of(length: int, tokens: int) -> int:
    """ceil(length / T)."""
    return -(-length // tokens)
