"""LINEAR: linear_issue.v, and what becomes of its slots behind the array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flow.cost.machine.unit import End, Start
from flow.engine import Engine, Space
from flow.engine.timing import Timing

SETUP = 3
"""linear_issue: Multiply and Place, then the first row group is fetched."""
SLOT = 1
"""A register between the choice of a slot and the array."""


@dataclass(frozen=True)
class Sweep:
    """What a linear step does for every row group.

    Attributes:
        tiles: token tiles.
        planes: byte planes of its source: cycles are G*K for each.
        least: slots that a result takes at least: 2 of two byte planes, T/W into the W banks of a head in VALUES.
        written: cycles that a result is written.
        port: whether results are written through the port of the token memories; VALUES have their own.
        residual: whether it adds a residual.
        groups: row groups that are issued; the heads beyond the last one are not.
    """

    tiles: int
    planes: int
    least: int
    written: int
    port: bool
    residual: bool
    groups: int

    @staticmethod
    def of(engine: Engine, words: Mapping[str, int], tokens: int) -> Sweep:
        """The sweep of a step record."""
        every = engine.tiles(tokens)
        first = min(words.get("first_tile", 0), every)
        tiles = min(words.get("tiles", 0) or every, every - first)
        groups, two = words["row_groups"], words["out_bits"] > 8
        parts = 1
        if words["space"] == Space.VALUES:
            pitch = words["pitch"]
            groups = min(groups, words["heads"] * (pitch // engine.rows))
            parts = max(1, engine.tokens // (engine.banks // engine.heads_abreast(pitch)))
        least = parts if parts > 1 else 2 if two else 1
        written = 2 if two else parts
        port = words["space"] != Space.VALUES
        residual = bool(words.get("has_residual"))
        return Sweep(tiles, words["source_planes"], least, written, port, residual, groups)


class LinearIssue:
    """Row groups outermost, token tiles inside. `take` is called for each row group in turn."""

    def __init__(self, timing: Timing, start: Start, sweep: Sweep) -> None:
        self.timing, self.start, self.sweep = timing, start, sweep
        self.cycle = start.cycle + SETUP
        """In which the next row group may be taken, at the earliest."""
        self.first = True
        self.data = self.source = self.slots = self.paced = 0
        self.ends: list[int] = []
        self.freed = (0, 0)
        self._last = (0, 0)

    def take(self, offered: int, cycles: int) -> int:
        """Take a row group that is offered from a cycle on; returns the cycle.

        `freed` then holds the first cycle in which its last tile's weights are read for the last time, and how many
        words they are.
        """
        sweep = self.sweep
        # Behind another row group it is taken in that one's last cycle.
        taken = max(self.cycle, offered)
        self.data += max(0, taken - self.cycle)
        slots = max(cycles * sweep.planes, sweep.least)
        self.slots += slots * sweep.tiles
        if slots > cycles * sweep.planes:
            self.paced += slots * sweep.tiles
        if self.first:
            end = taken
            ends = []
            for tile in range(sweep.tiles):
                begin = max(end + 1, self.start.ready(tile))
                self.source += begin - end - 1
                end = begin + slots - 1
                ends.append(end)
                if self.start.late is not None:
                    self.start.late.blocked.update(self._writes(end))
            self.ends = ends
        else:
            end = taken + slots * sweep.tiles
            self.ends = []
            self._last = (taken, slots)
        self.cycle, self.first = end, False
        self.freed = end - slots + 1 + (sweep.planes - 1) * cycles, cycles
        return taken

    def _writes(self, end: int) -> range:
        """Cycles in which the result of a last slot is written."""
        first = end + SLOT + self.timing.array + self.timing.post + 1
        return range(first, first + self.sweep.written if self.sweep.port else first)

    def end(self) -> End:
        """Behind the last row group."""
        sweep, timing = self.sweep, self.timing
        if not self.ends:
            taken, slots = self._last
            self.ends = [taken + slots * (tile + 1) for tile in range(sweep.tiles)]
        # A result's value comes so many cycles behind the choice of its last slot.
        way = SLOT + timing.array + timing.post
        last = self.ends[-1]
        issued = last + 1 + (sweep.least + 1 if sweep.least > 2 else 0)
        # Retired in its last write's cycle, counted in the next one, seen in the one after.
        ready = [end + way + sweep.written + 2 for end in self.ends]
        writes = frozenset(cycle for end in self.ends for cycle in self._writes(end))
        reads = SLOT + timing.array + timing.residual
        busy = (
            frozenset(end + reads + i for end in self.ends for i in (0, 1)) if sweep.residual else frozenset()
        )
        waits = {
            "multipliers": self.slots - self.paced,
            "ports": self.paced,
            "weights": self.data,
            "source": self.source,
        }
        return End(issued, last + SLOT + 1 + timing.drain, ready, waits, busy, writes)
