"""Results of all kinds through `post_pipeline`, two steps at a time, against flow.numerics."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from flow.numerics import requantise, rescale, saturate

CASE = json.loads(Path("case.json").read_text())
T, B, P, H = (int(CASE[name]) for name in ("tokens", "banks", "rows", "heads"))
LINES, TABLE_BITS, TAG_BITS, ACC_BITS = (
    int(CASE[name]) for name in ("lines", "table_bits", "tag_bits", "acc_bits")
)
OUTSIDE, STAGE_LATENCY = int(CASE["outside"]), int(CASE["stage_latency"])
HAS_ADD, HAS_ATTENTION, HAS_TABLE = (bool(CASE[name]) for name in ("add", "attention", "table"))
BLOCKS, RESULTS = 24, 30
LATENCY = 11 + STAGE_LATENCY if OUTSIDE else 14
LINE_BITS = max(1, (LINES - 1).bit_length())
GROUPS = B // P
LINEAR, SCORES, CONTEXT = 0, 1, 2
WATCHED = (
    "low", "high", "residual", "table", "stage", "stage low", "stage high", "scores", "context", "wide", "together",
)  # fmt: skip
Int = npt.NDArray[np.int64]


def _bits(values: Int, width: int) -> int:
    """Fields of `width` bits, the first one lowest."""
    total = 0
    for value in reversed(values.reshape(-1).tolist()):
        total = total << width | int(value) & ((1 << width) - 1)
    return total


@dataclass
class Result:
    """What the array says in one cycle, and what else the pipeline takes and gives for it, by cycles behind it."""

    inputs: dict[int, dict[str, int]] = field(default_factory=dict)
    reads: dict[int, int] = field(default_factory=dict)
    group: int = 0
    kind: int = LINEAR
    tag: int = 0
    merge: int = 0
    expected: Int | None = None
    value: Int | None = None
    parameters: int = 0


class Block:
    """One step and its results: the words of a parity."""

    def __init__(
        self, rng: np.random.Generator, number: int, store: Int, table: Int, met: dict[str, int]
    ) -> None:
        self.rng, self.parity, self.store, self.table, self.met = rng, number % 2, store, table, met
        self.is_linear = not HAS_ATTENTION or number % 3 != 2
        out_bits = int(rng.integers(2, 17))
        signed = int(rng.integers(2))
        table_bits = int(rng.integers(1, TABLE_BITS + 1)) if HAS_TABLE and number % 4 == 1 else 0
        residual = HAS_ADD and table_bits == 0 and number % 3 == 0
        stage = 0
        if OUTSIDE and self.is_linear and not table_bits and not residual and rng.random() < 0.7:
            stage = int(rng.integers(1, OUTSIDE + 1))
        self.parameters = rng.integers(0, 2**32, 16)
        # Bank group of a result of two planes that the next one follows at once.
        self.before: int | None = None
        if residual:
            out_bits = max(out_bits, 9)
        self.words = {
            "out_bits": out_bits,
            "out_signed": signed,
            "out_zero": int(rng.integers(-(2**31), 2**31) >> rng.integers(0, 32)),
            "out_depth": int(rng.integers(1, 5)),
            "base": int(rng.integers(0, 2**32)),
            "table_bits": table_bits,
            "stage": stage,
            "has_residual": int(residual),
            "residual_base": int(rng.integers(0, 2**32)),
            "residual_multiplier": self._multiplier(),
            "residual_shift": int(rng.integers(1, 18)),
            "score_multiplier": self._multiplier(),
            "score_shift": int(rng.integers(1, 47)),
            "multiplier": self._multiplier(),
            "shift": int(rng.integers(1, 26)),
        }
        if table_bits:
            self.words["out_zero"] = int(rng.integers(0, 1 << table_bits))

    def _multiplier(self) -> int:
        return int(self.rng.choice([-32768, -1, 0, 1, 32767, *self.rng.integers(-32768, 32768, 10)]))

    def _sums(self, bits: int) -> Int:
        """Signed numbers of every size."""
        shape, end = (H, P, T), 1 << (bits - 1)
        sums = self.rng.integers(-end, end, shape) >> self.rng.integers(0, bits, shape)
        ends = self.rng.choice([-end, end - 1, 0, -1], shape)
        return np.where(self.rng.random(shape) < 0.1, ends, sums)

    def _count(self, value: Int, low: int, high: int) -> None:
        self.met["low"] += bool((value < low).any())
        self.met["high"] += bool((value > high).any())

    def _linear(self, result: Result) -> None:
        rng, words = self.rng, self.words
        sums = self._sums(31)
        bias = rng.integers(-(2**30), 2**30, P) >> rng.integers(0, 30, P)
        m = np.array([self._multiplier() for _ in range(P)])
        s = rng.integers(1, 47, P)
        ring, group = int(rng.integers(64)), int(rng.integers(GROUPS))
        if self.before is not None:  # whose high plane of the residual is read at the same time
            group = (self.before + int(rng.integers(1, GROUPS))) % GROUPS
            self.met["together"] += words["has_residual"]
        line = int(rng.integers(LINES))
        result.group = group
        result.tag |= line << 4 | 1 << (4 + LINE_BITS + group) | ring << (4 + LINE_BITS + GROUPS)
        result.inputs[1] = {
            "bias_i": _bits(bias, 32), "constants_multiplier_i": _bits(m, 16), "constants_shift_i": _bits(s, 6)
        }  # fmt: skip
        result.inputs[0] = {"result_sum_i": _bits(sums, ACC_BITS)}
        scaled = rescale(sums[0] + bias[:, None], m[:, None], s[:, None])
        bits, signed = words["out_bits"], bool(words["out_signed"])
        if words["has_residual"]:
            at = (line + words["residual_base"] - words["base"]) % 2**32
            result.reads = {3: at, 4: (at + words["out_depth"]) % 2**32}
            planes = [
                self.store[result.reads[k] % len(self.store), group * P : group * P + P] for k in (3, 4)
            ]
            x = (planes[0] | planes[1] << 8).astype(np.uint16).view(np.int16).astype(np.int64)
            total = scaled + rescale(x, words["residual_multiplier"], words["residual_shift"])
            result.expected = saturate(total, bits, signed)
            self.met["residual"] += 1
        elif words["table_bits"]:
            index = np.clip(scaled + words["out_zero"], 0, (1 << words["table_bits"]) - 1)
            result.expected = self.table[self.parity][index]
            self.met["table"] += 1
        elif words["stage"]:
            self._stage(result, saturate(scaled, 16, True))
        else:
            total = scaled + words["out_zero"]
            result.expected = saturate(total, bits, signed)
            limits = saturate(np.array([-(2**40), 2**40]), bits, signed)
            self._count(total, int(limits[0]), int(limits[1]))

    def _stage(self, result: Result, value: Int) -> None:
        """The value leaves for every stage; what the step's own answers counts, what the others answer does not."""
        rng, words = self.rng, self.words
        answers = rng.integers(-(2**47), 2**47, (OUTSIDE, P, T)) >> rng.integers(0, 48, (OUTSIDE, P, T))
        result.value, result.parameters = value, _bits(self.parameters, 32)
        result.inputs[9 + STAGE_LATENCY] = {"stage_result_i": _bits(answers, 48)}
        total = answers[words["stage"] - 1] + words["out_zero"]
        bits, signed = words["out_bits"], bool(words["out_signed"])
        result.expected = saturate(total, bits, signed)
        limits = saturate(np.array([-(2**50), 2**50]), bits, signed)
        self.met["stage"] += 1
        self.met["stage low"] += bool((total < limits[0]).any())
        self.met["stage high"] += bool((total > limits[1]).any())

    def _attention(self, result: Result) -> None:
        rng, words = self.rng, self.words
        result.kind = int(rng.integers(1, 3))
        result.merge = int(rng.integers(H.bit_length()))
        pair = int(rng.integers(2))
        result.tag |= pair << 1 | int(rng.integers(0, 2**30)) << 2
        sums = self._sums(ACC_BITS)
        r = rng.integers(2**15, 2**16 + 1, (2, H, T))
        n = rng.integers(1, ACC_BITS, (2, H, T))
        if result.kind == SCORES:
            result.expected = requantise(sums, words["score_multiplier"], words["score_shift"], 16)
        else:  # |sum| <= 128 Z, as sums of numerators times values are
            most = 128 * (2 ** (n[pair] + 15) // r[pair])
            sums = np.clip(sums, -most[:, None, :], most[:, None, :])
            self.met["wide"] += bool((np.abs(sums) >= 2 ** (ACC_BITS - 2)).any())
            shift = n[pair][:, None, :] + 7
            mean = sums * r[pair][:, None, :] + (np.int64(1) << (shift - 1)) >> shift
            result.expected = requantise(mean, words["multiplier"], words["shift"], 8)
        result.inputs[0] = {"result_sum_i": _bits(sums, ACC_BITS)}
        result.inputs[1] = {"scale_r_i": _bits(r, 17), "scale_n_i": _bits(n, 6)}
        self.met["scores" if result.kind == SCORES else "context"] += 1

    def results(self) -> list[Result | None]:
        """Results and gaps between them; two cycles at least where there are two planes."""
        found: list[Result | None] = []
        for _ in range(RESULTS):
            result = Result(tag=self.parity)
            if self.is_linear:
                self._linear(result)
            else:
                self._attention(result)
            found.append(result)
            two = self.is_linear and self.words["out_bits"] > 8
            self.before = result.group if two and GROUPS > 1 and self.rng.random() < 0.5 else None
            if self.before is None:
                found += [None] * (two + (self.rng.random() < 0.3) * int(self.rng.integers(1, 4)))
        return found + [None] * 3


class Bench:
    """The pipeline, its neighbours, and what it owes."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.rng = np.random.default_rng(int(CASE["seed"]))
        self.met = dict.fromkeys(WATCHED, 0)
        self.store = self.rng.integers(0, 256, (17, B, T))
        self.table = self.rng.integers(-32768, 32768, (2, 1 << TABLE_BITS))
        self.past: list[Result | None] = [None] * (LATENCY + 1)
        self.coming = [0, 0]
        self.seen = 0

    async def cycle(self, result: Result | None) -> None:
        """One cycle that brings `result`: drive what belongs to it, and look at what leaves."""
        dut = self.dut
        self.past = [result, *self.past[:LATENCY]]
        dut.result_valid_i.value = int(result is not None)
        if result is not None:
            dut.result_kind_i.value, dut.result_merge_i.value = result.kind, result.merge
            dut.result_tag_i.value = result.tag
        for age, past in enumerate(self.past):
            for name, value in past.inputs.get(age, {}).items() if past else ():
                getattr(dut, name).value = value
        dut.store_data_i.value = self.coming.pop(0)
        await ReadOnly()
        self.coming.append(_bits(self._read(), 8))
        asking = self.past[9]
        if asking is not None and asking.value is not None:
            assert int(dut.stage_value_o.value) == _bits(asking.value, 16), "values of a stage"
            assert int(dut.stage_parameters_o.value) == asking.parameters, "parameters of a stage"
        self._leaves(self.past[LATENCY])
        await RisingEdge(dut.clk_i)

    def _read(self) -> Int:
        """A line of the store: of one result's low plane, but for the bank group of another one's high plane."""
        dut = self.dut
        low, high = (
            past if past and age in past.reads else None
            for age, past in ((3, self.past[3]), (4, self.past[4]))
        )
        assert int(dut.residual_re_o.value) == bool(low or high), "reads of the residual"
        groups = 1 << high.group if high else 0
        assert int(dut.residual_high_groups_o.value) == groups, "bank groups of the high plane"
        found = self.rng.integers(0, 256, (B, T))
        if low:
            assert int(dut.residual_line_o.value) == low.reads[3], "line of the residual"
            found = self.store[low.reads[3] % len(self.store)].copy()
        if high:
            assert int(dut.residual_high_line_o.value) == high.reads[4], "high line of the residual"
            banks = slice(high.group * P, high.group * P + P)
            found[banks] = self.store[high.reads[4] % len(self.store)][banks]
        return found

    def _leaves(self, done: Result | None) -> None:
        dut = self.dut
        assert int(dut.score_valid_o.value) == (done is not None and done.kind == SCORES)
        assert int(dut.value_valid_o.value) == (done is not None and done.kind != SCORES)
        if done is None or done.expected is None:
            return
        assert int(dut.value_tag_o.value) == done.tag
        assert int(dut.value_merge_o.value) == done.merge
        raw = dut.value_o.value.to_unsigned().to_bytes(2 * H * P * T, "little")
        found = np.frombuffer(raw, np.uint16).reshape(H, P, T)
        found = found[0] if done.kind == LINEAR else found
        assert (found == done.expected.astype(np.uint16)).all(), f"kind {done.kind}, result {self.seen}"
        self.seen += 1

    async def load(self, block: Block) -> None:
        """The words of a step and its table, while results of the step before are on their way."""
        dut = self.dut
        for name, value in block.words.items():
            getattr(dut, f"{name}_i").value = value % 2**32
        dut.step_parity_i.value, dut.step_load_i.value = block.parity, 1
        await self.cycle(None)
        dut.step_load_i.value = 0
        if block.words["stage"]:
            dut.stage_we_i.value, dut.stage_bank_i.value = 1, block.parity
            for index, word in enumerate(block.parameters.tolist()):
                dut.stage_index_i.value, dut.stage_data_i.value = index, word
                await self.cycle(None)
            dut.stage_we_i.value = 0
        if not block.words["table_bits"]:
            return
        dut.table_we_i.value, dut.table_bank_i.value = 1, block.parity
        entries = self.rng.integers(-32768, 32768, 1 << TABLE_BITS)
        for at in range(0, 1 << TABLE_BITS, 4):
            dut.table_address_i.value = at // 4
            dut.table_data_i.value = _bits(entries[at : at + 4], 16)
            await self.cycle(None)
        self.table[block.parity] = entries
        dut.table_we_i.value = 0


@cocotb.test()
async def stages(dut: Any) -> None:
    """Every result in its cycle, bit for bit; residuals are read in time; saturation both ways is met."""
    Clock(dut.clk_i, 10, unit="ns").start()
    for name in ("rst_ni", "result_valid_i", "step_load_i", "table_we_i", "stage_we_i"):
        getattr(dut, name).value = 0
    for _ in range(LATENCY + 2):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    bench = Bench(dut)
    for number in range(BLOCKS):
        block = Block(bench.rng, number, bench.store, bench.table, bench.met)
        await bench.load(block)
        for result in block.results():
            await bench.cycle(result)
    for _ in range(LATENCY + 1):
        await bench.cycle(None)
    assert bench.seen == BLOCKS * RESULTS
    wanted = {"low", "high"} | ({"residual"} if HAS_ADD else set())
    wanted |= {"together"} if HAS_ADD and GROUPS > 1 else set()
    wanted |= {"table"} if HAS_TABLE else set()
    wanted |= {"stage", "stage low", "stage high"} if OUTSIDE else set()
    wanted |= {"scores", "context", "wide"} if HAS_ATTENTION else set()
    assert all(bench.met[name] for name in wanted), bench.met
