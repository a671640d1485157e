"""`attention_unit` between a model of the array with its post pipeline, store, values memory and the write bus."""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from flow.numerics import exp_table, requantise
from flow.ops.attention import Attention

CASE = json.loads(Path("case.json").read_text())
T: int = CASE["tokens"]
B: int = CASE["banks"]
P: int = CASE["rows"]
H: int = CASE["heads"]
BEAT: int = CASE["beat"]
DEPTH: int = CASE["depth"]
SEQUENCE: int = CASE["sequence"]
LINES: int = CASE["lines"]
"""Lines of every memory."""
GROUPS = B // P
ARRAY = 9 + B.bit_length() - 1
"""Cycles from a slot to its result; as documented in multiplier_array.v and post_pipeline.v, like those below."""
SCORES = 8
WRITE = 15
LINE_BITS = max(1, (LINES - 1).bit_length())
SCORE_SCALE = (21000, 17)
OUT_SCALE = (23000, 21)

Int = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def as_bytes(value: Any, count: int) -> Bytes:
    """A wide port as bytes, least significant first."""
    return np.frombuffer(value.to_unsigned().to_bytes(count, "little"), np.uint8)


@dataclass(frozen=True)
class Step:
    """The words of one attention step, its exponential table and what it is to give.

    `result` is int8 [tiles, depth, B, T] of the tokens below the length, others 0.
    """

    words: dict[str, int]
    length: int
    result: npt.NDArray[np.int8]

    @property
    def tiles(self) -> int:
        return -(-self.length // T)

    @property
    def abreast(self) -> int:
        return max(1, min(H, B // self.words["pitch"]))

    def features(self) -> set[str]:
        """What the step has of the things that are to occur in every engine that can have them."""
        words, a = self.words, self.abreast
        found = {f"exp {words['exp_bits']}", f"causal {words['causal']}", f"space {words['space']}"}
        if self.length % T:
            found.add("part of a tile")
        if self.length == SEQUENCE:
            found.add("longest")
        if words["heads"] % a:
            found.add("heads missing")
        if words["pitch"] * a < B:
            found.add("heads one after the other")
        elif a > 1:
            found.add("heads abreast")
        if words["pitch"] > B:
            found.add("lines of a head")
        if words["heads"] * words["pitch"] < words["depth"] * B:
            found.add("rest")
        return found

    def slots(self) -> int:
        """Slots of the array that the step takes."""
        words, a = self.words, self.abreast
        sweeps = 1 if words["pitch"] * a >= B else a
        lines, planes = max(1, words["pitch"] // B), words["exp_bits"] // 8
        count = 0
        for tile in range(self.tiles):
            keys = min(self.length, (tile + 1) * T) if words["causal"] else self.length
            scores = sweeps * -(-keys // P) * lines
            context = words["pitch"] // P * planes * -(-keys // (B // a))
            count += -(-words["heads"] // a) * (scores + context)
        return count


class Machine:
    """Everything around the unit, cycle by cycle."""

    def __init__(self, dut: Any, rng: random.Random, stall: float, compute: bool) -> None:
        self.dut, self.rng, self.stall, self.compute = dut, rng, stall, compute
        self.draw = np.random.default_rng(rng.getrandbits(32))
        self.store = self.draw.integers(0, 256, (LINES, B, T), np.uint8)
        self.values = self.draw.integers(0, 256, (LINES, B, P), np.uint8)
        self.out = self.draw.integers(0, 256, (3, LINES, B, T), np.uint8)
        self.cycle = 0
        self.beats: deque[int] = deque()
        self.store_due: dict[int, int] = {}
        self.values_due: dict[int, int] = {}
        self.score_due: dict[int, tuple[int, Int]] = {}
        self.slots: deque[tuple[int, dict[str, int]]] = deque()
        self.results: deque[tuple[int, dict[str, int], Int]] = deque()
        self.writes: deque[tuple[int, dict[str, int], Int]] = deque()
        self.total = np.zeros((1, P, T), np.int64)
        self.noise = rng.getrandbits(8 * B * T)
        self.lanes = self.draw.integers(-9, 9, (H, P, T)).astype("<i2")
        self.open = False
        self.history: list[int] = []
        self.parity = 0
        self.reads = 0
        self.done = self.issued = self.loaded = True
        self.ready_tiles = 0

    def drive(self) -> None:
        """What the unit sees in this cycle."""
        dut, rng = self.dut, self.rng
        self.grant = rng.random() >= self.stall
        dut.store_grant_i.value = int(self.grant)
        self.ready = rng.random() >= self.stall
        dut.write_ready_i.value = int(self.ready)
        self.offer = bool(self.beats) and rng.random() >= self.stall
        dut.data_valid_i.value = int(self.offer)
        if self.offer:
            dut.data_i.value = self.beats[0]
        if self.compute:
            # What nobody asked for is noise.
            dut.store_data_i.value = self.store_due.pop(self.cycle, self.noise)
            dut.values_data_i.value = self.values_due.pop(self.cycle, self.noise >> 8 * B * (T - P))
        score = self.score_due.pop(self.cycle, None)
        dut.score_valid_i.value = int(score is not None)
        if score is not None:
            dut.score_tag_i.value = score[0]
            self.lanes[: len(score[1])] = score[1]
            dut.score_value_i.value = int.from_bytes(self.lanes.tobytes(), "little")

    def settle(self) -> None:
        """What the unit does in this cycle."""
        dut = self.dut
        self.done, self.issued = bool(dut.done_o.value), bool(dut.issued_o.value)
        self.loaded, self.ready_tiles = bool(dut.load_done_o.value), int(dut.ready_tiles_o.value)
        if self.offer and bool(dut.data_ready_o.value):
            self.beats.popleft()
        if self.grant and bool(dut.store_re_o.value):
            self.reads += 1
            line = int(dut.store_line_o.value)
            assert line < LINES
            self.store_due[self.cycle + 2] = int.from_bytes(self.store[line].tobytes(), "little")
        if bool(dut.values_re_o.value):
            self.reads += 1
            line = int(dut.values_line_o.value)
            assert line < LINES
            self.values_due[self.cycle + 2] = int.from_bytes(self.values[line].tobytes(), "little")
        if self.ready and bool(dut.write_valid_o.value):
            mask = int(dut.write_mask_o.value)
            assert int(dut.write_data_o.value) == 0
            banks = [b for b in range(B) if mask >> b & 1]
            self.out[int(dut.write_space_o.value), int(dut.write_line_o.value), banks] = 0
        self._write()
        self._finish()
        self._multiply()
        self._take()
        self.cycle += 1

    def _take(self) -> None:
        dut = self.dut
        valid = bool(dut.slot_valid_o.value)
        self.history.append(0)
        if not valid:
            return
        names = ("kind", "first", "last", "high", "signed", "zero", "merge", "tag")
        slot = {name: int(getattr(dut, f"slot_{name}_o").value) for name in names}
        assert slot["kind"] in (1, 2)
        assert slot["signed"] == (slot["kind"] == 1)
        assert not slot["zero"]
        assert slot["first"] != self.open, "a result begins within another one"
        self.open = not slot["last"]
        self.history[-1] = slot["kind"]
        self.slots.append((self.cycle, slot))

    def _multiply(self) -> None:
        if not self.slots or self.slots[0][0] + 4 != self.cycle:
            return
        at, slot = self.slots.popleft()
        a = 1 << slot["merge"]
        if self.compute:
            operand = as_bytes(self.dut.attention_operand_o.value, B * T).reshape(B, T)
            weight = as_bytes(self.dut.attention_weight_o.value, P * B).view(np.int8).reshape(P, B)
            o = (operand.view(np.int8) if slot["signed"] else operand).astype(np.int64).reshape(a, B // a, T)
            w = weight.astype(np.int64).reshape(P, a, B // a)
            product = np.einsum("paw,awt->apt", w, o) << (8 * slot["high"])
            self.total = product if slot["first"] else self.total + product
        else:
            self.total = np.zeros((a, P, T), np.int64)
        if slot["last"]:
            self.results.append((at + ARRAY, slot, self.total))

    def _finish(self) -> None:
        """Results into the post pipeline; scales are valid one cycle after."""
        if not self.results or self.results[0][0] + 1 != self.cycle:
            return
        at, slot, total = self.results.popleft()
        assert slot["tag"] & 1 == self.parity
        if slot["kind"] == 1:
            score = requantise(total, *SCORE_SCALE, 16)
            self.score_due[at + SCORES] = (slot["tag"], score)
            return
        pair = slot["tag"] >> 1 & 1
        if self.compute:
            bits = self.dut.scale_r_o.value.to_unsigned() >> (pair * H * T * 17)
            counts = self.dut.scale_n_o.value.to_unsigned() >> (pair * H * T * 6)
            r = np.array([bits >> (17 * i) & 0x1FFFF for i in range(H * T)], np.int64).reshape(H, 1, T)
            n = np.array([counts >> (6 * i) & 63 for i in range(H * T)], np.int64).reshape(H, 1, T)
            r, n = r[: len(total)], n[: len(total)]
            mean = (total * r + (np.int64(1) << (n + 6))) >> (n + 7)
            total = requantise(mean, *OUT_SCALE, 8)
        self.writes.append((at + WRITE, slot, total))

    def _write(self) -> None:
        if not self.writes or self.writes[0][0] != self.cycle:
            return
        _, slot, value = self.writes.popleft()
        tag = slot["tag"]
        line = tag >> 4 & (1 << LINE_BITS) - 1
        groups = tag >> (4 + LINE_BITS) & (1 << GROUPS) - 1
        pitch_log2 = tag >> (4 + LINE_BITS + GROUPS) & 63
        for g in range(GROUPS):
            if groups >> g & 1:
                head = (g * P) >> pitch_log2 & (1 << slot["merge"]) - 1 if slot["merge"] else 0
                self.out[tag >> 2 & 3, line, g * P : (g + 1) * P] = value[head].astype(np.int8).view(np.uint8)

    async def tick(self) -> None:
        """One cycle."""
        self.drive()
        await ReadOnly()
        self.settle()
        await RisingEdge(self.dut.clk_i)


def prepare(machine: Machine, words: dict[str, int], length: int) -> Step:
    """Fill the memories for a step and compute what it is to give; memory beyond that keeps what it held."""
    draw, heads, pitch, depth = machine.draw, words["heads"], words["pitch"], words["depth"]
    tiles = -(-length // T)
    shape = (length, heads * pitch)
    # The pitch decides how far scores spread; both ends of the table and saturation are to occur.
    reach = max(2, min(127, int(127 / pitch**0.25)))
    q, k = (draw.integers(-reach, reach + 1, shape) for _ in range(2))
    if draw.integers(3) == 0:
        q[0] = k[0] = 127
    v = draw.integers(-128, 128, shape)
    for base, x in ((words["query_base"], q), (words["key_base"], k)):
        channels = np.arange(heads * pitch)
        for token in range(length):
            machine.store[base + token // T * depth + channels // B, channels % B, token % T] = x[
                token
            ].astype(np.uint8)
    a = max(1, min(H, B // pitch))
    w, rounds, chunks = B // a, -(-heads // a), pitch // P
    for head in range(heads):
        for key in range(length):
            for chunk in range(chunks):
                line = words["value_base"] + (key // w * rounds + head // a) * chunks + chunk
                at = head * pitch + chunk * P
                machine.values[line, head % a * w + key % w] = v[key, at : at + P].astype(np.uint8)
    op = Attention(heads, *SCORE_SCALE, words["exp_bits"], *OUT_SCALE, bool(words["causal"]), 1.0)
    y = np.zeros((tiles * T, depth * B), np.int8)
    y[:length, : heads * pitch] = op.golden(q, k, v)[0]
    result = y.reshape(tiles, T, depth, B).transpose(0, 2, 3, 1)
    return Step(words, length, result)


def draw_words(rng: random.Random, pitch: int, length: int, index: int) -> dict[str, int]:
    """Words of a legal step; 32-bit lines of queries, keys, values and result do not overlap in a space.

    Pitches come round and round: as many heads as there may be, then a number that leaves some of the engine's idle.
    """
    turn = index // len(pitches())
    tiles = -(-length // T)
    least = max(1, -(-pitch // B))
    depth = DEPTH if turn % 3 == 1 else rng.choice([least, min(DEPTH, least + 1), DEPTH])
    most = depth * B // pitch
    heads = min(most, (3 * H, max(1, 2 * H - 1), rng.randint(1, 3 * H))[turn % 3])
    size = tiles * depth
    query = rng.randint(0, 3)
    key = query + size + rng.randint(0, 3)
    space = (index + turn) % 3
    base = LINES - size - rng.randint(0, 3)
    assert key + size <= LINES
    return {
        "query_base": query,
        "key_base": key,
        "value_base": rng.randint(0, 5),
        "depth": depth,
        "heads": heads,
        "pitch": pitch,
        "exp_bits": rng.choice([8, 16]),
        "causal": rng.randint(0, 1),
        "space": space,
        "base": base,
    }


def load(machine: Machine, step: Step) -> None:
    """Ask for the table of a step; its beats come from now on."""
    table = exp_table(step.words["exp_bits"]).astype("<u2").tobytes()
    machine.beats.extend(int.from_bytes(table[i : i + BEAT], "little") for i in range(0, len(table), BEAT))
    machine.dut.load_start_i.value = 1


def check(machine: Machine, step: Step, tiles: int) -> None:
    """The first tiles of the result are written, zeros included."""
    words = step.words
    found = machine.out[words["space"], words["base"] : words["base"] + tiles * words["depth"]].view(np.int8)
    found = found.reshape(tiles, words["depth"], B, T)
    tokens = np.arange(tiles * T).reshape(tiles, 1, 1, T) < step.length
    channels = np.arange(words["depth"] * B).reshape(1, -1, B, 1) >= words["heads"] * words["pitch"]
    wrong = (found != step.result[:tiles]) & (tokens | channels)
    assert not wrong.any(), (
        f"{words}, {step.length} tokens: {np.argwhere(wrong)[:4].tolist()} of {wrong.sum()}"
    )


async def begin(machine: Machine, step: Step, parity: int) -> None:
    """Start a step; its words stay until it is issued."""
    dut = machine.dut
    for name, value in {**step.words, "length": step.length}.items():
        getattr(dut, f"{name}_i").value = value
    dut.parity_i.value = parity
    machine.parity = parity
    dut.start_i.value = 1
    await machine.tick()
    dut.start_i.value = 0
    dut.load_start_i.value = 0


async def run(machine: Machine, step: Step, next_step: Step | None) -> int:
    """Run a started step to its end; the table of the next one is asked for meanwhile. Returns its cycles."""
    dut = machine.dut
    first = machine.cycle
    ready = 0
    issued = False
    hold = machine.rng.randint(0, 20) if machine.stall else 0
    asked = next_step is None
    reads = 0
    limit = 2000 + 30 * step.slots()
    while True:
        assert machine.cycle - first < limit, "the unit hangs"
        waiting = machine.cycle - first < hold
        dut.source_tiles_i.value = 3 if waiting else 0xFFFF
        loading = machine.beats or not machine.loaded
        if not asked and next_step is not None and not loading and machine.rng.random() < 0.02:
            load(machine, next_step)
            asked = True
        await machine.tick()
        dut.load_start_i.value = 0
        assert not waiting or machine.reads == 0, "sources are read before their time"
        if machine.issued and not issued:
            issued = True
            reads = machine.reads
            for name in step.words:
                getattr(dut, f"{name}_i").value = machine.rng.getrandbits(32)
        assert not issued or machine.reads == reads, "sources are read after issued_o"
        if machine.ready_tiles != ready:
            ready += 1
            assert machine.ready_tiles == ready
            if machine.compute:
                check(machine, step, ready)
        if machine.done:
            break
    assert ready == step.tiles
    assert issued
    if not asked and next_step is not None:
        load(machine, next_step)
    return machine.cycle - first


async def start(dut: Any, stall: float, compute: bool) -> Machine:
    """A machine behind a reset."""
    Clock(dut.clk_i, 10, "ns").start()
    for name in (
        "load_start_i",
        "start_i",
        "data_valid_i",
        "score_valid_i",
        "store_grant_i",
        "write_ready_i",
    ):
        getattr(dut, name).value = 0
    dut.source_tiles_i.value = 0
    dut.rst_ni.value = 0
    for _ in range(3):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    await RisingEdge(dut.clk_i)
    return Machine(dut, random.Random(CASE["seed"]), stall, compute)


def pitches() -> list[int]:
    """Every pitch that the engine takes, wide heads of one and several lines included."""
    small = [p for p in (1 << i for i in range(12)) if P <= p < B]
    return small + [p for p in (B, 2 * B, 3 * B) if p <= DEPTH * B]


@cocotb.test(skip=CASE["kind"] != "golden")
async def equals_golden(dut: Any) -> None:
    """Steps of all pitches and many lengths, one after the other."""
    machine = await start(dut, CASE["stall"], True)
    rng = machine.rng
    lengths = [1, SEQUENCE, *(rng.randint(1, SEQUENCE) for _ in range(CASE["steps"]))]
    kinds = [(pitch, lengths[i % len(lengths)]) for i, pitch in enumerate(pitches() * CASE["rounds"])]
    words = [draw_words(rng, pitch, length, i) for i, (pitch, length) in enumerate(kinds)]
    step = prepare(machine, words[0], kinds[0][1])
    load(machine, step)
    seen: set[str] = set()
    for index in range(len(kinds)):
        if machine.rng.random() < 0.5:
            await machine.tick()
            dut.load_start_i.value = 0
        machine.reads = 0
        await begin(machine, step, index % 2)
        # Only its table is asked for ahead: memories are filled when the step before is done.
        following = None
        if index + 1 < len(kinds):
            following = Step(words[index + 1], kinds[index + 1][1], step.result)
        before = len(machine.history)
        await run(machine, step, following)
        taken = sum(kind != 0 for kind in machine.history[before - 1 :])
        assert taken == step.slots(), f"{taken} slots"
        check(machine, step, step.tiles)
        seen |= step.features()
        if index + 1 < len(kinds):
            machine.out[:] = machine.draw.integers(0, 256, machine.out.shape, np.uint8)
            step = prepare(machine, words[index + 1], kinds[index + 1][1])
    wanted = {"exp 8", "exp 16", "causal 0", "causal 1", "space 0", "space 1", "space 2", "longest", "rest"}
    wanted |= {"lines of a head"} | ({"part of a tile"} if T > 1 else set())
    least = max(1, min(H, GROUPS))
    wanted |= {"heads abreast", "heads missing"} if least > 1 else set()
    wanted |= {"heads one after the other"} if P * least < B else set()
    assert wanted <= seen, f"never reached: {wanted - seen}"
    assert not machine.beats


@cocotb.test(skip=CASE["kind"] != "pace")
async def keeps_the_array_busy(dut: Any) -> None:
    """A slot a cycle between fill and drain."""
    machine = await start(dut, 0.0, False)
    words = {
        "query_base": 0,
        "key_base": 0,
        "value_base": 0,
        "depth": CASE["words"]["depth"],
        "space": 2,
        "base": 0,
        **CASE["words"],
    }
    step = Step(words, CASE["length"], np.zeros((1, 1, 1, 1), np.int8))
    load(machine, step)
    for _ in range(300):
        await machine.tick()
        dut.load_start_i.value = 0
    await begin(machine, step, 0)
    machine.history.clear()
    cycles = await run(machine, step, None)
    history = machine.history
    busy = [i for i, kind in enumerate(history) if kind]
    assert len(busy) == step.slots()
    # Between the first context and the last scores the pipeline is full.
    first = history.index(2)
    last = len(history) - 1 - history[::-1].index(1)
    inside = sum(kind != 0 for kind in history[first : last + 1]) / (last + 1 - first)
    overall = step.slots() / cycles
    cocotb.log.info(
        "%d slots, %d cycles: %.4f inside, %.4f overall; first slot %d, first context %d, %d after the last",
        *(step.slots(), cycles, inside, overall, busy[0], first, len(history) - 1 - busy[-1]),
    )
    assert inside >= CASE["inside"]
    assert overall >= CASE["overall"]
