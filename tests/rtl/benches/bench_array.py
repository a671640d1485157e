"""Random slots of all kinds through `multiplier_array`, one a cycle, against sums in numpy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

CASE = json.loads(Path("case.json").read_text())
T, B, P, H, DEPTH, LINES, TAG_BITS, ACC_BITS = (
    CASE[name] for name in ("tokens", "banks", "rows", "heads", "depth", "lines", "tag_bits", "acc_bits")
)
RESULTS = 150
LATENCY = 9 + (B - 1).bit_length()
EXTRA_AT = 8
"""Where a result's row group stands in the tag, unless the engine says otherwise."""
LINEAR, SCORES, CONTEXT = 0, 1, 2
Int = npt.NDArray[np.int64]


def _bits(values: Int, width: int) -> int:
    """Fields of `width` bits, the first one lowest."""
    if width == 8:
        return int.from_bytes(values.astype(np.uint8).tobytes(), "little")
    total = 0
    for value in reversed(values.reshape(-1).tolist()):
        total = total << width | int(value) & ((1 << width) - 1)
    return total


def _width(count: int) -> int:
    return max(1, (count - 1).bit_length())


@dataclass
class Slot:
    """What one slot brings to the ports, by the cycle after its own, and what it adds to its result."""

    controls: dict[str, int]
    weight: int = 0
    offset: int = 0
    line: int = 0
    data: int = 0
    operand: int = 0
    keys: int = 0
    total: Int | None = None
    valid: bool = True

    @property
    def reads(self) -> int:
        """The operand memory that is read: 1 or 2; else 0."""
        is_linear = self.controls["slot_kind_i"] == LINEAR
        return 1 << self.controls["slot_operand_i"] if self.valid and is_linear else 0


class Source:
    """Draws results slot by slot; counts the corners that it met."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(CASE["seed"])
        self.memory = self.rng.integers(0, 256, (2, B, LINES, T))
        self.met = {"lowest": 0, "wrap": 0, "zero": 0, "bubble": 0, "merged": 0, "apart": 0}

    def _bytes(self, shape: tuple[int, ...], style: int) -> Int:
        if style == 0:
            return np.full(shape, 255)
        if style == 1:
            return np.full(shape, 128)
        if style == 2:
            return self.rng.choice([0, 127, 128, 255], shape)
        return self.rng.integers(0, 256, shape)

    def _slot(self, kind: int, style: int, merge: int, tag: int, high: bool, signed: bool) -> Slot:
        rng = self.rng
        zero = style > 0 and rng.random() < 0.1
        weight = np.full((P, B), -128) if style < 2 else rng.integers(-128, 128, (P, B))
        slot = Slot(
            {
                "slot_kind_i": kind,
                "slot_high_i": int(high),
                "slot_signed_i": int(signed),
                "slot_zero_i": int(zero),
                "slot_merge_i": merge,
                "slot_tag_i": tag,
                "slot_operand_i": int(rng.integers(2)),
                "slot_line_i": int(rng.integers(0, 2**32)),
            }
        )
        # What the others would bring must not matter.
        slot.operand, slot.keys = _bits(self._bytes((B, T), 3), 8), _bits(self._bytes((P, B), 3), 8)
        if kind == LINEAR:
            offset = rng.integers(0, DEPTH, (P, B))
            if zero or style >= 2:
                slot.controls["slot_line_i"] = int(rng.integers(0, LINES - DEPTH + 1))
                line = slot.controls["slot_line_i"] + offset
            else:  # a line modulo 2^32
                line = np.full((P, B), int(rng.integers(0, LINES)))
                base = int(line[0, 0]) - DEPTH
                slot.controls["slot_line_i"] = base % 2**32
                line = base + offset
            line = line % (1 << _width(LINES)) % LINES
            word = self.memory[slot.controls["slot_operand_i"], np.arange(B)[None, :], line]
            if style < 3:
                word = self._bytes((P, B, T), style)  # the bench is the memory: any data will do
            slot.weight, slot.offset = _bits(weight, 8), _bits(offset, _width(DEPTH))
            slot.line = _bits((slot.controls["slot_line_i"] + offset) % (1 << _width(LINES)), _width(LINES))
            slot.data = _bits(word, 8)
        else:
            lane = self._bytes((B, T), style)
            word = np.broadcast_to(lane, (P, B, T))
            slot.operand, slot.keys = _bits(lane, 8), _bits(weight, 8)
            slot.weight, slot.offset = _bits(self._bytes((P, B), 3), 8), 0
            slot.line = -1
        value = np.where(word > 127, word - 256, word) if signed else word
        total = (
            np.zeros((H, P, T), np.int64)
            if zero
            else ((weight[:, :, None] * value).reshape(P, H, B // H, T).sum(axis=2).transpose(1, 0, 2))
        )
        self.met["zero"] += zero
        self.met["lowest"] += not signed and not zero and bool((total == -128 * 255 * (B // H)).any())
        slot.total = total * 256 if high else total
        return slot

    def results(self) -> list[Slot]:
        """Slots and bubbles of all results; the last slot of each has the expected totals."""
        slots: list[Slot] = []
        for number in range(RESULTS):
            kind = int(self.rng.integers(3))
            style = int(self.rng.integers(6))
            count = int(self.rng.choice([1, 1, 2, 5]))
            merge = int(self.rng.integers(H.bit_length()))
            tag = int(self.rng.integers(0, 2**62)) % (1 << TAG_BITS)
            signed = bool(self.rng.integers(2))
            long = number == 20  # long enough to wrap
            if long:
                style, count, signed = 0, 3 + 2 ** (ACC_BITS - 1) // (128 * 255 * 256 * (B // H)), False
            parts = [
                self._slot(kind, style, merge, tag, long or self.rng.random() < 0.3, signed)
                for _ in range(count)
            ]
            parts[0].controls["slot_first_i"] = 1
            parts[-1].controls["slot_last_i"] = 1
            total = sum(
                (part.total for part in parts if part.total is not None), np.zeros((H, P, T), np.int64)
            )
            for part in parts:
                part.total = None
            self.met["wrap"] += bool((np.abs(total) >= 2 ** (ACC_BITS - 1)).any())
            for level in range(H.bit_length() - 1):
                if (H >> level) > (1 << merge):
                    total[: H >> (level + 1)] = total[: H >> level : 2] + total[1 : H >> level : 2]
            self.met["merged" if 1 << merge < H else "apart"] += 1
            parts[-1].total = total[: 1 << merge]
            for part in parts:
                if self.rng.random() < 0.15:
                    junk = self._slot(LINEAR, 3, 0, 0, False, False)
                    junk.valid, junk.total = False, None
                    junk.controls |= {"slot_first_i": 1, "slot_last_i": 1}
                    slots.append(junk)
                    self.met["bubble"] += 1
                slots.append(part)
        return slots


@cocotb.test()
async def sums(dut: Any) -> None:
    """Every result, in its cycle, bit for bit; every address; no result from a bubble."""
    Clock(dut.clk_i, 10, unit="ns").start()
    dut.rst_ni.value = 0
    dut.slot_valid_i.value = 0
    for _ in range(LATENCY + 3):
        await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    source = Source()
    slots = source.results()
    seen = 0
    for cycle in range(len(slots) + LATENCY + 2):
        await FallingEdge(dut.clk_i)
        now = slots[cycle] if cycle < len(slots) else None
        dut.slot_valid_i.value = int(now is not None and now.valid)
        if now is not None:
            for name in ("slot_first_i", "slot_last_i"):
                getattr(dut, name).value = now.controls.get(name, 0)
            for name, value in now.controls.items():
                getattr(dut, name).value = value
        late = [slots[cycle - k] if 0 <= cycle - k < len(slots) else None for k in range(5)]
        if late[1] is not None:
            dut.row_weight_i.value, dut.row_offset_i.value = late[1].weight, late[1].offset
        if late[2] is not None:
            assert int(dut.operand_re_o.value) == late[2].reads, f"cycle {cycle}: reads of the wrong memory"
            if late[2].reads:
                assert int(dut.operand_line_o.value) == late[2].line, f"cycle {cycle}: addresses"
        if late[4] is not None:
            which = late[4].controls["slot_operand_i"]
            inverse = (1 << 8 * P * B * T) - 1 - late[4].data
            dut.operand0_data_i.value = inverse if which else late[4].data
            dut.operand1_data_i.value = late[4].data if which else inverse
            dut.attention_operand_i.value, dut.attention_weight_i.value = late[4].operand, late[4].keys
        done = slots[cycle - LATENCY] if LATENCY <= cycle < len(slots) + LATENCY else None
        expected = done is not None and done.total is not None
        assert int(dut.result_valid_o.value) == expected, f"cycle {cycle}: a result too many or too few"
        coming = slots[cycle + 1 - LATENCY] if 0 <= cycle + 1 - LATENCY < len(slots) else None
        told = coming is not None and coming.total is not None
        assert int(dut.coming_o.value) == told, f"cycle {cycle}: a result that is not told of, or too many"
        if told and coming is not None:
            assert int(dut.coming_group_o.value) == coming.controls["slot_tag_i"] >> EXTRA_AT & 63
        if expected and done is not None and done.total is not None:
            assert int(dut.result_kind_o.value) == done.controls["slot_kind_i"]
            assert int(dut.result_merge_o.value) == done.controls["slot_merge_i"]
            assert int(dut.result_tag_o.value) == done.controls["slot_tag_i"]
            raw, mask = dut.result_sum_o.value.to_unsigned(), (1 << ACC_BITS) - 1
            found = np.array([raw >> ACC_BITS * i & mask for i in range(H * P * T)]).reshape(H, P, T)
            assert (found[: len(done.total)] == done.total & mask).all(), f"result {seen}: sums"
            seen += 1
    assert seen == RESULTS
    wanted = {"lowest", "wrap", "zero", "bubble"} | ({"merged", "apart"} if H > 1 else set())
    assert all(source.met[name] > 0 for name in wanted), source.met
