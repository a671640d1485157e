"""Values of all kinds through `result_writer`: every write in its cycle, and the tiles that are complete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

CASE = json.loads(Path("case.json").read_text())
T, B, P, H = (int(CASE[name]) for name in ("tokens", "banks", "rows", "heads"))
LINES = int(CASE["lines"])
BLOCKS, RESULTS = 16, 20
LINE_BITS = max(1, (LINES - 1).bit_length())
GROUPS = B // P
KEY_BITS = (T - 1).bit_length() + 1
VALUES = 3
Int = npt.NDArray[np.int64]


def _bits(values: Int, width: int) -> int:
    """Fields of `width` bits, the first one lowest."""
    total = 0
    for value in reversed(values.reshape(-1).tolist()):
        total = total << width | int(value) & ((1 << width) - 1)
    return total


@dataclass
class Write:
    """One cycle of the write bus, or of the values memory: bytes of the banks that the mask names."""

    space: int
    line: int
    mask: list[bool]
    data: Int
    completes: bool
    high: bool = False


def _mask(writes: list[Write]) -> int:
    """Banks that one of them writes."""
    return sum(1 << b for b in range(B) if any(write.mask[b] for write in writes))


@dataclass
class Value:
    """What the pipeline brings in one cycle."""

    tag: int
    merge: int
    lanes: Int
    writes: list[Write]


class Block:
    """The words of one parity, and values of it."""

    def __init__(self, rng: np.random.Generator, number: int, met: dict[str, int]) -> None:
        self.rng, self.parity, self.met = rng, number % 2, met
        # Space and bank group of a value of two planes that the next one follows at once.
        self.before: tuple[int, int] | None = None
        self.kind = ("linear", "values", "context")[number % 3]
        pitch = (
            P if number % 6 == 1 else int(rng.choice([P << k for k in range(8) if P << k < B] + [B, 2 * B]))
        )
        self.words = {
            "out_bits": int(rng.integers(2, 9)) if self.kind == "values" else int(rng.choice([5, 8, 9, 16])),
            "out_depth": int(rng.integers(1, 9)),
            "heads": int(rng.integers(1, 6)),
            "pitch": pitch,
        }
        self.abreast = 1
        while self.abreast < H and pitch * self.abreast * 2 <= B:
            self.abreast *= 2

    def _tag(self, space: int, line: int, groups: int, extra: int, keys: int, final: bool) -> int:
        at, tag = 0, 0
        for value, width in (
            (self.parity, 1), (int(self.rng.integers(2)), 1), (space, 2), (line, LINE_BITS), (groups, GROUPS),
            (extra, 6), (keys, KEY_BITS), (final, 1),
        ):  # fmt: skip
            tag |= value << at
            at += width
        return tag

    def _linear(self, lanes: Int, line: int, final: bool) -> Value:
        space, group = int(self.rng.integers(3)), int(self.rng.integers(GROUPS))
        if self.before is not None:  # whose high plane is written at the same time
            space, group = self.before[0], (self.before[1] + int(self.rng.integers(1, GROUPS))) % GROUPS
        mask = [b // P == group for b in range(B)]
        planes = 2 if self.words["out_bits"] > 8 else 1
        writes = []
        for plane in range(planes):
            data = np.zeros((B, T), np.int64)
            data[group * P : group * P + P] = lanes[0] >> 8 * plane & 255
            at = (line + plane * self.words["out_depth"]) % 2**32
            writes.append(Write(space, at, mask, data, final and plane + 1 == planes, plane == 1))
        self.met["two"] += planes == 2
        self.met["together"] += planes == 2 and self.before is not None
        self.before = (space, group) if planes == 2 and GROUPS > 1 and self.rng.random() < 0.5 else None
        return Value(
            self._tag(space, line, 1 << group, int(self.rng.integers(64)), 0, final), 0, lanes, writes
        )

    def _context(self, lanes: Int, line: int, final: bool) -> Value:
        """The P channels of every head abreast, some heads missing."""
        space, pitch = int(self.rng.integers(3)), self.words["pitch"]
        heads = int(self.rng.integers(1, self.abreast + 1))
        first = (
            0
            if self.abreast == 1
            else int(self.rng.integers(B // (pitch * self.abreast))) * pitch * self.abreast
        )
        chunk = int(self.rng.integers(min(pitch, B) // P)) * P
        base = int(self.rng.integers(GROUPS)) * P if self.abreast == 1 else first + chunk
        mask, data, groups = [False] * B, np.zeros((B, T), np.int64), 0
        for head in range(heads):
            bank = base + head * pitch
            mask[bank : bank + P] = [True] * P
            data[bank : bank + P] = lanes[head] & 255
            groups |= 1 << bank // P
        self.met["apart"] += heads > 1
        tag = self._tag(space, line, groups, (pitch - 1).bit_length(), 0, final)
        return Value(tag, self.abreast.bit_length() - 1, lanes, [Write(space, line, mask, data, final)])

    def _values(self, lanes: Int, line: int, final: bool) -> Value:
        """T keys of P channels, W banks at a time."""
        width, chunks = B // self.abreast, self.words["pitch"] // P
        stride = -(-self.words["heads"] // self.abreast) * chunks
        side, keys = int(self.rng.integers(self.abreast)), int(self.rng.choice([T, *range(T + 1)]))
        bank = side * width + (0 if width <= T else int(self.rng.integers(width // T)) * T)
        parts = max(1, T // width)
        count = min(T, width)
        writes = []
        for part in range(parts):
            mask, data = [False] * B, np.zeros((B, P), np.int64)
            for k in range(count):
                token = part * count + k
                mask[bank + k] = token < keys
                data[bank + k] = lanes[0, :, token] & 255
            writes.append(Write(VALUES, line + part * stride, mask, data, final and part + 1 == parts))
        groups = sum(1 << g for g in range(GROUPS) if bank <= g * P < bank + count)
        self.met["parts"] += parts > 1
        self.met["short"] += keys < T
        return Value(
            self._tag(VALUES, line, groups, int(self.rng.integers(64)), keys, final), 0, lanes, writes
        )

    def values(self) -> list[Value | None]:
        """Values, as far apart as they must be, and now and then further."""
        found: list[Value | None] = []
        for number in range(RESULTS):
            lanes = self.rng.integers(0, 2**16, (H, P, T))
            line = int(self.rng.integers(LINES))
            final = number >= RESULTS // 2
            make = {"linear": self._linear, "values": self._values, "context": self._context}[self.kind]
            value = make(lanes, line, final)
            found.append(value)
            if self.before is None:
                found += [None] * (
                    len(value.writes) - 1 + int(self.rng.integers(1, 4)) * (self.rng.random() < 0.3)
                )
        return [*found, None, None]


class Bench:
    """The writer, and the writes that it owes."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.due: list[list[Write]] = []
        self.retired = [0, 0]
        self.written = 0

    def _look(self) -> None:
        dut = self.dut
        found = int(dut.retired_tiles_o.value)
        assert [found & 0xFFFF, found >> 16] == self.retired, "tiles that are complete"
        writes = self.due.pop(0) if self.due else []
        keys = [write for write in writes if write.space == VALUES]
        lines = [write for write in writes if write.space != VALUES]
        assert int(dut.write_valid_o.value) == bool(lines)
        assert int(dut.values_we_o.value) == _mask(keys), f"write {self.written}: mask"
        assert int(dut.write_mask_o.value) == _mask(lines), f"write {self.written}: mask"
        high = sum(1 << g for w in lines if w.high for g in range(GROUPS) if w.mask[g * P])
        assert int(dut.write_high_groups_o.value) == high, (
            f"write {self.written}: bank groups of the high plane"
        )
        for write in writes:
            name = "values" if write.space == VALUES else "write"
            if write.space != VALUES:
                assert int(dut.write_space_o.value) == write.space
            line = "write_high" if write.high else name
            assert int(getattr(dut, f"{line}_line_o").value) == write.line, f"write {self.written}: line"
            raw = getattr(dut, f"{name}_data_o").value.to_unsigned().to_bytes(write.data.size, "little")
            data = np.frombuffer(raw, np.uint8).reshape(write.data.shape)
            assert (data[write.mask] == write.data[write.mask]).all(), f"write {self.written}: data"
            self.written += 1
            self.completed += write.completes

    async def cycle(self, value: Value | None, parity: int) -> None:
        """One cycle that brings `value`; what it writes comes in the next ones."""
        dut = self.dut
        dut.value_valid_i.value = int(value is not None)
        if value is not None:
            dut.value_tag_i.value, dut.value_merge_i.value = value.tag, value.merge
            dut.value_i.value = _bits(value.lanes, 16)
        self.completed = 0
        await ReadOnly()
        self._look()
        await RisingEdge(dut.clk_i)
        self.retired[parity] += self.completed
        if value is not None:
            for later, write in enumerate(value.writes):
                if later == len(self.due):
                    self.due.append([])
                self.due[later].append(write)


@cocotb.test()
async def writes(dut: Any) -> None:
    """Blocks of one kind by turns; the words of the next are loaded while the last value is written."""
    Clock(dut.clk_i, 10, unit="ns").start()
    for name in ("rst_ni", "value_valid_i", "step_load_i"):
        getattr(dut, name).value = 0
    for _ in range(4):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    rng = np.random.default_rng(int(CASE["seed"]))
    met = dict.fromkeys(("two", "together", "apart", "parts", "short"), 0)
    bench, owed, parity = Bench(dut), 0, 0
    for number in range(BLOCKS):
        block = Block(rng, number, met)
        for name, value in block.words.items():
            getattr(dut, f"{name}_i").value = value
        dut.step_linear_i.value, dut.step_parity_i.value = int(block.kind != "context"), block.parity
        dut.step_load_i.value = 1
        await bench.cycle(None, parity)
        dut.step_load_i.value = 0
        bench.retired[block.parity] = 0
        while bench.due:
            await bench.cycle(None, parity)
        parity = block.parity
        for item in block.values():
            owed += len(item.writes) if item is not None else 0
            await bench.cycle(item, parity)
    while bench.due:
        await bench.cycle(None, parity)
    await bench.cycle(None, parity)
    assert bench.written == owed
    wanted = {"two", "short"} | ({"together"} if GROUPS > 1 else set()) | ({"apart"} if H > 1 else set())
    wanted |= {"parts"} if T * min(H, GROUPS) > B else set()
    assert all(met[name] for name in wanted), met
