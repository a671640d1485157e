"""Linear steps through `linear_issue`: every slot against a walk in Python, with and without delays around it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

CASE = json.loads(Path("case.json").read_text())
T, B, P, H = (CASE[name] for name in ("tokens", "banks", "rows", "heads"))
LINES, CYCLES, SEQUENCE, SEED = (CASE[name] for name in ("lines", "cycles", "sequence", "seed"))
STEPS = 14
STORE, VALUES = 2, 3
LINE_BITS = max(1, (LINES - 1).bit_length())
GROUPS = B // P
KEY_BITS = (T - 1).bit_length() + 1
SETUP = 11
"""Cycles from start to the first slot, at most, where nothing keeps it waiting."""
RING = 1 << CASE["ring_log2"]
FIRST = 10
"""Cycles from start to the first slot, at least."""


@dataclass(frozen=True)
class Slot:
    """What one slot shows; `tag` where it is the last of its result, `line` where it reads."""

    first: bool
    last: bool
    zero: bool
    high: bool
    signed: bool
    word: int
    group: int
    tile: int
    line: int
    tag: dict[str, int]


def _tag(value: int) -> dict[str, int]:
    fields = {}
    widths = (
        ("parity", 1), ("pair", 1), ("space", 2), ("line", LINE_BITS), ("groups", GROUPS), ("extra", 6),
        ("keys", KEY_BITS), ("final", 1),
    )  # fmt: skip
    for name, width in widths:
        fields[name] = value & ((1 << width) - 1)
        value >>= width
    assert value == 0, "tag bits beyond the last field"
    return fields


class Step:
    """One record within the engine's bounds, and what follows from it."""

    def __init__(self, rng: np.random.Generator, number: int, ring: int, word: int) -> None:
        self.rng, self.parity = rng, number % 2
        self.length = int(rng.integers(1, SEQUENCE + 1)) if number else SEQUENCE
        pairs = number % 4 == 3 or number % 8 == 4
        space = VALUES if number % 4 == 2 else int(rng.integers(3 if pairs else 4))
        out_bits = int(rng.integers(2, 9) if space == VALUES else rng.integers(9 if pairs else 2, 17))
        heads, pitch = 0, 0
        row_groups = int(rng.integers(3 if pairs else 1, 3 * GROUPS + 1))
        if space == VALUES:
            pitch = int(rng.choice([P << k for k in range(8) if P << k < B] + [B, 2 * B, 3 * B]))
            pitch = P if number % 8 == 2 else pitch
            heads = int(rng.integers(1, 5))
            row_groups = max(1, heads * pitch // P + int(rng.integers(-1, 3)))
        self.words = {
            "source_space": int(rng.integers(2)),
            "source_base": int(rng.integers(0, 2**32)),
            "source_planes": 1 if pairs else int(rng.integers(1, 3)),
            "source_signed": int(rng.integers(2)),
            "depth": int(rng.integers(1, 9)),
            "row_groups": row_groups,
            "out_bits": out_bits,
            "space": space,
            "base": int(rng.integers(0, 2**32)),
            "out_depth": int(rng.integers(1, 9)),
            "heads": heads,
            "pitch": pitch,
            "first_tile": int(rng.choice([0, 0, 1, 2, 70])) if number % 4 != 2 and not pairs else 0,
            "tiles": int(rng.choice([0, 0, 1, 2, 90])),
        }
        self.ring, self.word = ring, word
        all_tiles = -(-self.length // T)
        self.first = min(self.words["first_tile"], all_tiles)
        rest = all_tiles - self.first
        self.tiles = min(self.words["tiles"] or rest, rest)
        self.groups = min(row_groups, heads * pitch // P) if space == VALUES else row_groups
        lengths = [0, 1, 1, 1, 2] if pairs else [0, 1, 1, 2, CYCLES]
        self.cycles = [int(c) for c in rng.choice(lengths, self.groups)]

    def place(self, group: int, tile: int) -> tuple[int, int]:
        """Line and mask of bank groups of a result."""
        words = self.words
        if words["space"] != VALUES:
            planes = 2 if words["out_bits"] > 8 else 1
            line = words["base"] + tile * planes * words["out_depth"] + group // GROUPS
            return line % (1 << LINE_BITS), 1 << group % GROUPS
        pitch, chunks = words["pitch"], words["pitch"] // P
        abreast = 1
        while abreast < H and pitch * abreast * 2 <= B:
            abreast *= 2
        width = B // abreast
        head, chunk = divmod(group, chunks)
        rounds = -(-words["heads"] // abreast)
        key = tile * T
        line = words["base"] + (key // width * rounds + head // abreast) * chunks + chunk
        bank = head % abreast * width + key % width
        mask = sum(1 << g for g in range(GROUPS) if bank <= g * P < bank + min(T, width))
        return line % (1 << LINE_BITS), mask

    def least(self) -> int:
        """Slots that a result takes at least."""
        if self.words["space"] == VALUES:
            abreast = 1
            while abreast < H and self.words["pitch"] * abreast * 2 <= B:
                abreast *= 2
            return max(1, int(T * abreast // B))
        return 2 if self.words["out_bits"] > 8 else 1

    def order(self) -> Iterator[tuple[int, int, bool]]:
        """Row group, tile, and whether two groups take turns: of two planes and a slot at most each."""
        short = [cycles * self.words["source_planes"] <= 1 for cycles in self.cycles]
        pairs = self.words["space"] != VALUES and self.words["out_bits"] > 8 and GROUPS > 1
        group = 0
        while group < self.groups:
            paired = pairs and all(short[group : group + 2]) and group + 1 < self.groups
            hand = range(group, group + 1 + paired)
            for tile in range(self.first, self.first + self.tiles):
                yield from ((g, tile, paired) for g in hand)
            group += len(hand)

    def slots(self) -> list[Slot]:
        """All slots in order."""
        found = []
        words, planes = self.words, self.words["source_planes"]
        for group, tile, paired in self.order():
            cycles, start = self.cycles[group], self.word + sum(self.cycles[:group])
            line, groups = self.place(group, tile)
            tag = {
                "parity": self.parity, "pair": 0, "space": words["space"], "line": line, "groups": groups,
                "extra": (self.ring + group) % 64, "keys": max(0, min(T, self.length - tile * T)),
                "final": int(group + 1 == self.groups),
            }  # fmt: skip
            count = 1 if paired else max(cycles * planes, self.least(), 1)
            for at in range(count):
                plane, cycle = divmod(at, cycles) if at < cycles * planes else (0, 0)
                found.append(
                    Slot(
                        at == 0, at == count - 1, at >= cycles * planes, plane == 1,
                        plane == 1 if planes == 2 else bool(words["source_signed"]),
                        (start + cycle) % RING, group, tile,
                        (words["source_base"] + (tile * planes + plane) * words["depth"]) % 2**32, tag,
                    )
                )  # fmt: skip
        return found


class Loader:
    """The weight loader's side: a ring of words, filled after a delay."""

    def __init__(self, dut: Any, step: Step, slow: bool) -> None:
        self.dut, self.step, self.slow = dut, step, slow
        self.next, self.free = 0, RING
        self.wait = 0
        # The ring had no room for the next group.
        self.full = False

    def drive(self) -> None:
        """Offer the next group where a buffer is free."""
        fits = self.next < self.step.groups and self.free >= self.step.cycles[self.next]
        self.full |= self.next < self.step.groups and not fits
        offers = fits and self.wait == 0
        self.dut.group_valid_i.value = int(offers)
        self.wait = max(0, self.wait - 1)
        if offers:
            self.dut.group_cycles_i.value = self.step.cycles[self.next]

    def look(self) -> None:
        """Outputs have settled: what the edge at the end of the cycle will do."""
        self.free += int(self.dut.group_free_o.value)
        assert self.free <= RING
        if int(self.dut.group_ready_o.value) and int(self.dut.group_valid_i.value):
            self.free -= self.step.cycles[self.next]
            self.next += 1
            self.wait = int(self.step.rng.integers(0, 30)) if self.slow else 0


def _check(dut: Any, expected: Slot, step: Step, where: str) -> None:
    for name in ("first", "last", "zero"):
        assert int(getattr(dut, f"slot_{name}_o").value) == getattr(expected, name), f"{where}: {name}"
    if not expected.zero:
        for name in ("high", "signed", "word", "line"):
            assert int(getattr(dut, f"slot_{name}_o").value) == getattr(expected, name), f"{where}: {name}"
        assert int(dut.slot_operand_o.value) == step.words["source_space"], where
    if expected.last:
        found = _tag(int(dut.slot_tag_o.value))
        if step.words["space"] != VALUES:
            found["keys"] = expected.tag["keys"]
        assert found == expected.tag, f"{where}: found {found}; expected {expected.tag}"


class Run:
    """One step on the unit, from start until it is idle again."""

    def __init__(self, dut: Any, step: Step, slow: bool, met: dict[str, int]) -> None:
        self.dut, self.step, self.slow, self.met = dut, step, slow, met
        self.loader, self.slots = Loader(dut, step, slow), step.slots()
        self.source = 0 if slow else 0xFFFF
        self.at = self.cycle = self.bubbles = self.ended = 0
        # What the unit saw when it decided on the slot that shows.
        self.seen = self.source

    async def start(self) -> None:
        """The pulse, and the words that stay."""
        dut = self.dut
        await RisingEdge(dut.clk_i)
        for name, value in self.step.words.items():
            getattr(dut, f"{name}_i").value = value
        dut.length_i.value, dut.parity_i.value = self.step.length, self.step.parity
        dut.source_tiles_i.value, dut.start_i.value = self.source, 1
        await ReadOnly()
        assert int(dut.issued_o.value) == 1
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0

    def _look(self) -> None:
        dut, step = self.dut, self.step
        self.loader.look()
        if int(dut.slot_valid_o.value):
            assert self.at < len(self.slots), "a slot too many"
            slot = self.slots[self.at]
            _check(dut, slot, step, f"slot {self.at}")
            assert slot.group > 0 or slot.tile < self.seen, f"slot {self.at}: ahead of its source"
            self.at += 1
            self.ended = self.cycle
        elif 0 < self.at < len(self.slots):
            self.bubbles += 1
        elif self.at == 0 and self.slots and not self.slow:
            assert self.cycle <= SETUP, "a late start"
        self.met["gated"] += int(dut.source_waits_o.value)
        self.met["waited"] += int(dut.data_waits_o.value)

    def _grow(self) -> None:
        """Let the source have a tile more now and then."""
        if self.source != 0xFFFF and self.step.rng.random() < 0.1:
            self.source += 1
            if self.source > self.step.first + self.step.tiles:
                self.source = 0xFFFF
            self.dut.source_tiles_i.value = self.source

    async def finish(self) -> None:
        """All slots in order, then silence; a unit that must not wait leaves no bubble."""
        most = 40 * (len(self.slots) + self.step.groups + SEQUENCE) + 60
        rest = 4
        while rest:
            self.loader.drive()
            await ReadOnly()
            self._look()
            self.seen = self.source
            self.cycle += 1
            assert self.cycle < most, "hangs"
            if int(self.dut.issued_o.value) and self.slots:
                last = self.at == len(self.slots)
                assert not last or self.cycle + FIRST - self.ended >= self.step.least(), (
                    "the next result is too early"
                )
            rest -= int(self.dut.issued_o.value)
            await RisingEdge(self.dut.clk_i)
            self._grow()
        assert self.at == len(self.slots), f"{self.at} of {len(self.slots)} slots"
        assert self.loader.next == self.step.groups, f"{self.loader.next} of {self.step.groups} row groups"
        assert self.loader.free == RING, "words were not given back"
        # Lengths come one a cycle.
        shortest = min(
            (sum(slot.group in (g, g + 1) for slot in self.slots)) for g in range(self.step.groups)
        )
        if not self.slow and not self.loader.full and shortest >= 3:
            self.met["paced"] += 1
            assert self.bubbles == 0, f"{self.bubbles} bubbles"


@cocotb.test()
async def steps(dut: Any) -> None:
    """Steps one after the other; every second one with a slow loader and a source that grows."""
    Clock(dut.clk_i, 10, unit="ns").start()
    rng = np.random.default_rng(SEED)
    dut.start_i.value, dut.group_valid_i.value, dut.rst_ni.value = 0, 0, 0
    for _ in range(3):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    met = dict.fromkeys(("values", "two", "empty", "none", "gated", "waited", "wide", "paced", "paired"), 0)
    ring = word = 0
    for number in range(STEPS):
        step = Step(rng, number, ring, word)
        ring += step.groups
        word += sum(step.cycles)
        run = Run(dut, step, number % 2 == 1, met)
        dut._log.info("step %d: %s", number, step.words)
        await run.start()
        await run.finish()
        met["values"] += step.words["space"] == VALUES
        met["two"] += step.words["source_planes"] == 2
        met["empty"] += 0 in step.cycles
        met["none"] += step.tiles == 0
        met["paired"] += any(paired for _, _, paired in step.order())
        met["wide"] += step.least() > 2
    wanted = set(met) - ({"wide"} if T * min(H, B // P) <= 2 * B else set())
    wanted -= {"paired"} if GROUPS == 1 else set()
    missing = [name for name in sorted(wanted) if not met[name]]
    assert not missing, f"never met: {missing}"
