"""Linear steps' data through `weight_loader` into models of its memories, with an array that takes its time."""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge
from weight_streams import Group, Job, Loader, decode, make_job, random_encoding, structured

CASE = json.loads(Path("case.json").read_text())
LOADER = Loader(**CASE["loader"])
RING = 1 << LOADER.ring_log2
OFFSET_BITS = max(1, (LOADER.depth - 1).bit_length())
LANES = min(LOADER.rows * LOADER.banks, LOADER.beat_bytes)
CHUNKS = LOADER.rows * LOADER.banks // LANES
# Cycles before the first record and after the last one: page and stages, but for the words of page and table.
LATENCY = 60


@dataclass
class Stalls:
    """How often data come, a group is taken, and how long the array works on it at most."""

    data: float = 0.0
    ready: float = 0.0
    hold: int = 0
    dropped: float = 0.0


@dataclass
class Pass:
    """The last pass over a group that the array has taken: word c is read in cycle start + c."""

    group: Group
    word: int
    start: int
    dropped: bool
    """Nobody reads it: its words are given back at once."""

    @property
    def end(self) -> int:
        """Its last cycle."""
        return self.start + (0 if self.dropped else max(0, len(self.group.weights) - 1))


@dataclass
class Memories:
    """Row buffer, constants ring and tables, written as the ports say."""

    weights: Any = field(default_factory=lambda: np.zeros((RING, LOADER.rows * LOADER.banks), np.int8))
    offsets: Any = field(default_factory=lambda: np.zeros((RING, LOADER.rows, LOADER.banks), np.int64))
    constants: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    table: dict[tuple[int, int], int] = field(default_factory=dict)
    stage: dict[tuple[int, int], int] = field(default_factory=dict)

    def write(self, dut: Any) -> int:
        """What is written in this cycle; returns how many words of weights are whole with it."""
        whole = 0
        if we := int(dut.weight_we_o.value):
            whole = we >> CHUNKS - 1
            raw = dut.weight_data_o.value.to_unsigned().to_bytes(LANES * min(2, CHUNKS), "little")
            halves = np.frombuffer(raw, np.int8).reshape(-1, LANES)
            line = self.weights[int(dut.weight_address_o.value)].reshape(CHUNKS, LANES)
            for chunk in range(CHUNKS):
                if we >> chunk & 1:
                    line[chunk] = halves[chunk % len(halves)]
        if we := int(dut.offset_we_o.value):
            value = dut.offset_data_o.value.to_unsigned()
            lookups = LOADER.lanes * LOADER.banks
            offsets = [value >> OFFSET_BITS * i & ((1 << OFFSET_BITS) - 1) for i in range(lookups)]
            rows = np.array(offsets).reshape(LOADER.lanes, LOADER.banks)
            for p in range(LOADER.rows):
                if we >> p & 1:
                    self.offsets[int(dut.offset_address_o.value), p] = rows[p % LOADER.lanes]
        if we := int(dut.constants_we_o.value):
            value = dut.constants_data_o.value.to_unsigned()
            for p in range(LOADER.rows):
                word = value >> 54 * p
                if we >> p & 1:
                    found = word & 0xFFFFFFFF, word >> 32 & 0xFFFF, word >> 48 & 63
                    self.constants[int(dut.constants_group_o.value), p] = found
        self.write_stages(dut)
        return whole

    def write_stages(self, dut: Any) -> None:
        """Tables, and parameters of plug-in stages."""
        if dut.table_we_o.value:
            value, at = int(dut.table_data_o.value), 4 * int(dut.table_address_o.value)
            for i in range(4):
                self.table[int(dut.table_bank_o.value), at + i] = value >> 16 * i & 0xFFFF
        if dut.stage_we_o.value:
            key = int(dut.stage_bank_o.value), int(dut.stage_index_o.value)
            self.stage[key] = int(dut.stage_data_o.value)


class Bench:
    """One loader, and what has happened to it since reset."""

    def __init__(self, dut: Any, rng: random.Random, stalls: Stalls) -> None:
        self.dut, self.rng, self.stalls = dut, rng, stalls
        self.memories = Memories()
        self.expected: deque[Group] = deque()
        self.passes: deque[Pass] = deque()
        self.taken = self.cycle = self.checked_words = 0
        # Of the ring: where the next group lies; words that stand and were not given back, now and at most.
        self.word = self.held = self.most_held = 0

    async def reset(self) -> None:
        dut = self.dut
        for name in ("load_start_i", "data_valid_i", "group_ready_i", "group_free_i", "rst_ni"):
            getattr(dut, name).value = 0
        self.expected.clear()
        self.passes.clear()
        self.taken = self.word = self.held = 0
        await RisingEdge(dut.clk_i)
        await RisingEdge(dut.clk_i)
        dut.rst_ni.value = 1

    async def step(self) -> None:
        """One cycle of the array's side; the caller has driven the data."""
        dut = self.dut
        ready = len(self.passes) < 2 and self.rng.random() >= self.stalls.ready
        dut.group_ready_i.value = int(ready)
        free = self.given_back()
        dut.group_free_i.value = free
        await ReadOnly()
        if self.passes:
            self.read(self.passes[0])
        if ready and dut.group_valid_o.value:
            self.take()
        self.held += self.memories.write(dut) - free
        assert 0 <= self.held <= RING
        self.most_held = max(self.most_held, self.held)
        while self.passes and self.cycle >= self.passes[0].end:
            self.passes.popleft()
        self.cycle += 1

    def given_back(self) -> int:
        """Words of the ring that are read for the last time in this cycle; now and then a group is dropped whole."""
        if not self.passes or self.cycle < self.passes[0].start:
            return 0
        first = self.passes[0]
        if first.dropped:
            return len(first.group.weights)
        return int(self.cycle - first.start < len(first.group.weights))

    def take(self) -> None:
        assert self.expected, "a group that nobody expects"
        group = self.expected.popleft()
        assert int(self.dut.group_cycles_o.value) == len(group.weights)
        for p, expected in enumerate(group.constants):
            assert self.memories.constants[self.taken % 64, p] == expected, (
                f"group {self.taken}: constants of row {p}"
            )
        self.taken += 1
        start = self.cycle + 1 + self.rng.randint(0, self.stalls.hold)
        if self.passes:
            last = self.passes[-1]
            start = max(start, last.end + 1)
        dropped = self.rng.random() < self.stalls.dropped
        self.passes.append(Pass(group, self.word, start, dropped))
        self.word = (self.word + len(group.weights)) % RING

    def read(self, now: Pass) -> None:
        word = self.cycle - now.start
        if not 0 <= word < len(now.group.weights) or now.dropped:
            return
        line = (now.word + word) % RING
        found = self.memories.weights[line].reshape(LOADER.rows, LOADER.banks)
        assert (found == now.group.weights[word]).all(), f"group {self.taken}: weights of cycle {word}"
        assert (self.memories.offsets[line] == now.group.offsets[word]).all(), f"offsets of cycle {word}"
        self.checked_words += 1

    async def run(self, job: Job, parity: int, limit: int) -> int:
        """Load a job; returns its cycles. The expected groups that were not taken stay behind."""
        dut = self.dut
        groups, damage = decode(LOADER, job)
        self.expected.extend(groups)
        data = job.page + _table_bytes(job) + job.stream
        unit = LOADER.beat_bytes
        beats = deque(int.from_bytes(data[i : i + unit], "little") for i in range(0, len(data), unit))
        for name, value in job.words.items():
            getattr(dut, f"{name}_i").value = value
        dut.parity_i.value = parity
        dut.load_start_i.value = 1
        begin = self.cycle
        done = False
        while not done:
            assert self.cycle - begin < limit, f"no end after {limit} cycles; {len(beats)} beats left"
            valid = bool(beats) and self.rng.random() >= self.stalls.data
            dut.data_valid_i.value = int(valid)
            if valid:
                dut.data_i.value = beats[0]
            await self.step()
            if valid and dut.data_ready_o.value:
                beats.popleft()
            done = bool(dut.load_done_o.value) and self.cycle > begin + 1
            error = bool(dut.load_error_o.value)
            await RisingEdge(dut.clk_i)
            dut.load_start_i.value = 0
        dut.data_valid_i.value = 0
        assert not beats, f"{len(beats)} beats were not taken"
        assert error == bool(damage), f"found error {error}; expected {damage or 'none'}"
        for i, value in enumerate(job.table):
            assert self.memories.table[parity, i] == value
        for i, value in enumerate(job.stage):
            assert self.memories.stage[parity, i] == value
        return self.cycle - begin

    async def drain(self, whole: bool = True) -> None:
        """Let the array take what is left, and find nothing beyond it; all that is expected where it is `whole`."""
        quiet = 0
        while quiet < 4 * LOADER.row_cycles + 3 * self.stalls.hold + 60:
            taken = self.taken
            await self.step()
            await RisingEdge(self.dut.clk_i)
            quiet = 0 if self.taken != taken else quiet + 1
        assert not self.expected or not whole, f"{len(self.expected)} groups are missing"
        assert not self.passes


def _table_bytes(job: Job) -> bytes:
    table = b"".join(v.to_bytes(2, "little") for v in job.table) + b"".join(
        v.to_bytes(4, "little") for v in job.stage
    )
    return table + bytes(-len(table) % LOADER.beat_bytes)


def _bytes_of_groups(job: Job) -> int:
    return job.words["weight_beats"]


def _limit(job: Job, groups: list[Group], stalls: Stalls) -> int:
    """Far above what any job takes."""
    words = len(job.page) // 8 * 4 + len(job.table) + 2 * len(job.stage)
    work = sum(g.bound + len(g.weights) + stalls.hold + 10 for g in groups) + job.words["weight_beats"]
    return int((words + work + 500) * 4 / (1 - stalls.data))


def _with_extras(rng: random.Random, job: Job, groups: int) -> Job:
    """A table or stage parameters, rows beyond the heads of VALUES, beats beyond the records."""
    kind = rng.randrange(3)
    if kind == 1:
        job.words["table_bits"] = rng.randint(1, LOADER.table_bits)
        job.table = [rng.getrandbits(16) for _ in range(1 << job.words["table_bits"])]
    elif kind == 2:
        job.words["stage"] = 1
        job.stage = [rng.getrandbits(32) for _ in range(16)]
    if rng.random() < 0.4:
        chunks = rng.randint(1, 3)
        heads = rng.randint(1, groups // chunks + 1)
        job.words.update(space=3, heads=heads, pitch=chunks * LOADER.rows)
    if rng.random() < 0.3:
        extra = rng.randint(1, 5)
        job.stream += rng.randbytes(extra * LOADER.beat_bytes)
        job.words["weight_beats"] += extra
    return job


def _longer_records(rng: random.Random, job: Job) -> None:
    """Some records claim beats beyond their sections, which are skipped."""
    unit, at, out = LOADER.beat_bytes, 0, b""
    while at < len(job.stream):
        head = int.from_bytes(job.stream[at : at + 8], "little")
        beats = head >> 32
        extra = rng.choice([0, 0, 1, 4])
        out += (head + (extra << 32)).to_bytes(8, "little") + job.stream[at + 8 : at + beats * unit]
        out += rng.randbytes(extra * unit)
        at += beats * unit
    job.stream = out
    job.words["weight_beats"] = len(out) // unit


def _random_job(rng: random.Random) -> Job:
    groups = rng.randint(1, CASE["groups"])
    depth = rng.choice([LOADER.depth, rng.randint(1, LOADER.depth)])
    encoded = random_encoding(rng, LOADER, groups, depth, rng.choice([4, 8]))
    job = make_job(rng, LOADER, encoded)
    if rng.random() < 0.3:
        _longer_records(rng, job)
    return _with_extras(rng, job, groups)


def _start(dut: Any) -> None:
    Clock(dut.clk_i, 10, unit="ns").start()


# An array so slow that the ring fills up: the longest group takes about a quarter of it to load.
SLOW = max(150, 4 * LOADER.row_cycles * -(-LOADER.rows * LOADER.banks // LOADER.beat_bytes))
STALLS = (Stalls(), Stalls(0.3, 0.2, 5, 0.1), Stalls(0.0, 0.5, SLOW), Stalls(0.8, 0.0, 0))


@cocotb.test()
async def anything_the_format_says(dut: Any) -> None:
    rng = random.Random(CASE["seed"])
    _start(dut)
    parity, words, most_held = 0, 0, 0
    for stalls in STALLS:
        bench = Bench(dut, rng, stalls)
        await bench.reset()
        for _ in range(CASE["jobs"]):
            job = _random_job(rng)
            groups, damage = decode(LOADER, job)
            assert not damage
            await bench.run(job, parity, _limit(job, groups, stalls))
            parity ^= 1
        await bench.drain()
        words += bench.checked_words
        most_held = max(most_held, bench.most_held)
    assert words > 15
    assert most_held == RING or not CASE["full"], f"{most_held} of {RING}: the ring was never full"


@cocotb.test()
async def structures(dut: Any) -> None:
    """Matrices of every structure, as `encode` stores them."""
    rng = random.Random(CASE["seed"])
    numbers = np.random.default_rng(CASE["seed"])
    _start(dut)
    bench = Bench(dut, rng, Stalls(0.1, 0.1, 20))
    await bench.reset()
    for kind in CASE["structures"]:
        encoded = structured(kind, LOADER, numbers, 6)
        job = make_job(rng, LOADER, encoded)
        groups, damage = decode(LOADER, job)
        assert not damage
        assert [len(g.weights) for g in groups] == list(encoded.row_group_cycles)
        await bench.run(job, 0, _limit(job, groups, bench.stalls))
    await bench.drain()
    assert bench.taken == 6 * len(CASE["structures"])


def _damage(rng: random.Random, job: Job) -> None:
    """Bits of the page, of headers or of anything, or an end too soon."""
    kind = rng.randrange(5)
    if kind == 0:
        job.words["row_groups"] += rng.randint(1, 3)
    elif kind == 1:
        page = bytearray(job.page)
        page[rng.randrange(min(len(page), 40))] ^= 1 << rng.randrange(8)
        # The reader cuts a page by its first word; so does whoever damages it.
        shapes, entries = int.from_bytes(page[:2], "little"), int.from_bytes(page[2:4], "little")
        size = 8 * (1 + shapes + entries) if shapes <= 4 and entries <= 256 else 8
        job.page = bytes(page).ljust(size, b"\0")[:size]
        job.page += bytes(-len(job.page) % LOADER.beat_bytes)
    else:
        stream = bytearray(job.stream)
        at = 0
        for _ in range(rng.randrange(job.words["row_groups"])):
            at += LOADER.beat_bytes * int.from_bytes(stream[at + 4 : at + 8], "little")
        start = at if kind < 4 else at + 8 * (1 + LOADER.rows)
        span = 8 if kind < 4 else 8 * LOADER.rows * LOADER.banks
        start = min(start, len(stream) - 8)
        stream[min(len(stream) - 1, start + rng.randrange(span))] ^= 1 << rng.randrange(8)
        job.stream = bytes(stream)


@cocotb.test()
async def damage(dut: Any) -> None:
    rng = random.Random(CASE["seed"] + 1)
    _start(dut)
    found: dict[str, int] = {}
    stalls = Stalls(0.1, 0.1, 30)
    waiting = 0
    for _ in range(CASE["damaged"]):
        bench = Bench(dut, rng, stalls)
        await bench.reset()
        before = _random_job(rng)
        sound, _ = decode(LOADER, before)
        await bench.run(before, 1, _limit(before, sound, stalls))
        job = _random_job(rng)
        _damage(rng, job)
        groups, reason = decode(LOADER, job)
        found[reason] = found.get(reason, 0) + 1
        waiting += bench.taken < len(sound)
        await bench.run(job, 0, _limit(job, groups, stalls))
        await bench.drain(whole=not reason)
        assert bench.taken >= len(sound), "damage took row groups of the step before with it"
    dut._log.info("damage found: %s", found)
    assert len(found) >= CASE["reasons"], f"found only {found}"
    assert waiting, "no damage met row groups of the step before"


@cocotb.test()
async def pace(dut: Any) -> None:
    """An array that never waits: beats, look-ups and maps overlap, whatever the record that they belong to."""
    rng = random.Random(CASE["seed"] + 2)
    numbers = np.random.default_rng(CASE["seed"] + 2)
    _start(dut)
    for kind in CASE["pace"]:
        bench = Bench(dut, rng, Stalls())
        await bench.reset()
        encoded = structured(kind, LOADER, numbers, CASE["pace_groups"])
        job = make_job(rng, LOADER, encoded)
        groups, damage = decode(LOADER, job)
        assert not damage
        cycles = await bench.run(job, 0, _limit(job, groups, bench.stalls))
        await bench.drain()
        page_words = len(job.page) // 8
        bound = max(
            sum(group.beats for group in groups),
            sum(group.lookups + 1 for group in groups),
            sum(group.map_cycles for group in groups),
        )
        beats = len(job.stream) // LOADER.beat_bytes
        text = f"{kind}: {cycles} cycles for {len(groups)} groups of {beats} beats, bound {bound}, page {page_words}"
        dut._log.info(text)
        assert cycles <= bound + 4 * page_words + LATENCY, text
