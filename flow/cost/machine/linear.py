"""LINEAR: linear_issue.v, and what becomes of its slots behind the array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flow.cost.machine.unit import SAID, End, Start
from flow.engine import Engine, Space
from flow.engine.timing import Timing

SETUP = 6
"""linear_issue: Clip, Rest, Range, Multiply and Place, then the first row group is fetched."""
SLOT = 3
"""linear_issue: registers between the choice of a slot and the array, as many as its tag takes."""
KNOWN = 1
"""linear_issue: whether a tile may be read comes from a register (`source_ready_q`)."""


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
        pairs: whether short row groups are issued in pairs.
    """

    tiles: int
    planes: int
    least: int
    written: int
    port: bool
    residual: bool
    groups: int
    pairs: bool

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
        pairs = two and port and engine.banks > engine.rows and tiles > 0
        return Sweep(tiles, words["source_planes"], least, written, port, residual, groups, pairs)


GiveBack = Callable[[list[tuple[int, int]]], None]
"""Told of each row group from when its words are read for the last time, one a cycle, and how many they are."""


class LinearIssue:
    """Row groups outermost, token tiles inside; where results have two planes, two groups of one slot or none take
    turns for each tile. Two groups wait in front of the issue, those of the next step as well."""

    def __init__(
        self, timing: Timing, start: Start, sweep: Sweep, taken: list[int], give_back: GiveBack
    ) -> None:
        self.timing, self.start, self.sweep = timing, start, sweep
        self.taken, self._give_back = taken, give_back
        """When each row group since reset left the two that wait."""
        self.cycle = start.cycle + SETUP
        """In which the next row group may be taken, at the earliest."""
        self.issued = self.data = self.slots = self.paced = self.source = 0
        self.ends: list[int] = []
        self._waiting: list[tuple[int, int]] = []

    def put(self, offered: int, cycles: int, before: int) -> int:
        """A row group comes from the loader, behind that which came in cycle `before`; returns when."""
        come = max(offered, before + 1)
        number = len(self.taken) + len(self._waiting)
        if number >= 2:
            come = max(come, self.taken[number - 2] + 1)
        self._waiting.append((come, cycles))
        self._take()
        return come

    def _short(self, cycles: int) -> bool:
        return cycles * self.sweep.planes <= 1

    def _take(self) -> None:
        """Take what can be told by now."""
        sweep = self.sweep
        while self._waiting:
            (come, cycles), *others = self._waiting
            may_pair = sweep.pairs and self._short(cycles) and self.issued + 1 != sweep.groups
            if may_pair and not others:
                return
            taken = max(self.cycle, come + 1, others[0][0] + 1 if may_pair else 0)
            self.data += taken - self.cycle
            if may_pair and self._short(others[0][1]):
                self._issue(taken, [cycles, others[0][1]], 2)
            else:
                self._issue(taken, [cycles], max(cycles * sweep.planes, sweep.least))

    def _issue(self, taken: int, groups: list[int], slots: int) -> None:
        """A row group, or a pair of them, over all tiles; `slots` for each."""
        sweep = self.sweep
        self.slots += slots * sweep.tiles
        if slots > sum(groups) * sweep.planes:
            self.paced += slots * sweep.tiles
        end, ends = taken, []
        for tile in range(
            sweep.tiles if self.issued == 0 or self.issued + len(groups) == sweep.groups else 0
        ):
            begin = max(end + 1, self.start.ready(tile) + KNOWN if self.issued == 0 else 0)
            self.source += begin - end - 1
            end = begin + slots - 1
            ends.append(end)
            if self.issued == 0 and self.start.late is not None:
                self.start.late.blocked.update(self._writes(end))
        self.ends, end = ends, ends[-1] if ends else taken + slots * sweep.tiles
        first = end - slots + 1
        freed = (
            [(first, groups[0]), (end, groups[1])]
            if len(groups) > 1
            else [(first + (sweep.planes - 1) * groups[0], groups[0])]
        )
        self.cycle = end
        self.issued += len(groups)
        self.taken += [taken] * len(groups)
        del self._waiting[: len(groups)]
        self._give_back(freed)

    def _writes(self, end: int) -> range:
        """Cycles in which the result of a last slot is written."""
        first = end + SLOT + self.timing.array + self.timing.post + 1
        return range(first, first + self.sweep.written if self.sweep.port else first)

    def end(self) -> End:
        """Behind the last row group."""
        sweep, timing = self.sweep, self.timing
        # A result's value comes so many cycles behind the choice of its last slot.
        way = SLOT + timing.array + timing.post
        last = self.ends[-1]
        issued = last + 1 + (sweep.least + 1 if sweep.least > 2 else 0)
        # Retired in its last write's cycle, counted in the next one, seen behind step_dispatch's register.
        ready = [end + way + sweep.written + 2 + SAID for end in self.ends]
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
        # Drained behind the last slot, or the last part of a head's keys.
        done = max(last + SLOT, issued)
        return End(issued, done, ready, waits, busy, writes, timing.drain)
