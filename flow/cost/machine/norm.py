"""NORM: norm_unit.v, with its two readers, its statistics and norm_collect.v."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flow.cost.machine.unit import SAID, End, Start
from flow.engine.timing import Timing

KNOWN = 1
"""line_reader: whether a tile's first line may be read comes from a register (`tile_ok_q`)."""


@dataclass
class _Line:
    """line_reader.v: line pairs that are asked for, one behind the other."""

    pieces: int
    depth: int
    tiles: int
    want: int
    pair: int = 0

    @property
    def left(self) -> bool:
        return self.pair < self.depth * self.tiles

    @property
    def tile(self) -> int:
        return self.pair // self.depth

    @property
    def opens(self) -> bool:
        """Whether the next pair is a tile's first."""
        return self.pair % self.depth == 0


class NormModel:
    """A norm step's timing: the port of the store goes to one line pair after the other."""

    def __init__(self, timing: Timing, start: Start, depth: int, tiles: int, planes: int) -> None:
        engine = timing.engine
        self.timing, self.start = timing, start
        self.depth, self.tiles, self.planes = depth, tiles, planes
        self.lanes = min(engine.norm_lanes, engine.banks)
        self.pieces = engine.banks // self.lanes
        self.ahead = max(4, 128 // engine.tokens)
        self.single = depth * self.pieces < timing.norm_tile
        # Cycles of each tile: last value measured, scale factors there, normalising begun.
        self.whole: list[int] = []
        self.measured: list[int] = []
        self.switched: list[int] = []
        self.fires: list[int] = []
        self.pops: list[int] = []

    def run(self) -> End:
        """Line pairs in the order in which the port serves them."""
        # The step waits for its constants.
        first = max(self.start.cycle, self.start.loaded) + 1
        scan = _Line(self.pieces, self.depth, self.tiles, first + KNOWN)
        apply = _Line(self.pieces, self.depth, self.tiles, first)
        port, turn, last = first, False, first
        collect = Collect(self)
        while apply.left:
            a = self._apply_want(apply)
            s = self._scan_want(scan) if scan.left else None
            times = [t for t in (a, s) if t is not None]
            cycle = max(port, min(times))
            while cycle in self.start.busy:
                cycle += 1
            scanned = s is not None and s <= cycle and (turn or a is None or a > cycle)
            high = cycle + 1
            while high in self.start.busy:
                high += 1
            if scanned:
                self._scanned(scan, high)
            else:
                self._applied(apply, high, collect)
            last = high
            port, turn = high + 1, not scanned
        sweep, ports = self.pieces * self.depth * self.tiles, 4 * self.depth * self.tiles
        waits = {
            "norm lanes" if sweep >= ports else "ports": max(sweep, ports),
            "memory bandwidth": first - self.start.cycle - 1,
            "source": max(0, self.start.ready(0) - first),
            "latency": last - first - max(sweep, ports),
        }
        return End(last + 1, 0, collect, waits, late=collect)

    def _scan_want(self, scan: _Line) -> int | None:
        want, tile = scan.want, scan.tile
        if scan.opens:
            want = max(want, self.start.ready(tile) + KNOWN)
            if tile >= self.ahead:
                if len(self.switched) <= tile - self.ahead:
                    return None
                want = max(want, self.switched[tile - self.ahead] + 1 + KNOWN)
            if self.single and tile:
                want = max(want, self.measured[tile - 1] + KNOWN)
        return want

    def _apply_want(self, apply: _Line) -> int | None:
        want, tile = apply.want, apply.tile
        if apply.opens:
            if len(self.whole) <= tile:
                return None
            want = max(want, self._whole(tile) + KNOWN, self.start.ready(tile) + KNOWN)
        return want

    def _whole(self, tile: int) -> int:
        """From when the scale of all tokens of a tile is there: those that wait leave the queue one a cycle."""
        if tile == 0:
            return self.whole[0]
        return max(self.whole[tile], self.switched[tile - 1] + self.timing.engine.tokens + 1)

    def _scanned(self, scan: _Line, high: int) -> None:
        fire = high + 2
        scan.want = high + max(2, self.pieces - 1)
        scan.pair += 1
        if scan.pair % self.depth == 0:
            last = fire + self.pieces - 1
            self.whole.append(last + self.timing.norm_scale)
            # A tile counts as measured when its last token's sums have left.
            self.measured.append(self.whole[-1] - self.timing.deviation - 4)

    def _applied(self, apply: _Line, high: int, collect: Collect) -> None:
        first, last = collect.put(high + 2)
        if apply.opens:
            self.switched.append(first)
        # The next pair is read behind the last piece, or up to three pieces earlier where three places are sure.
        want = max(high + 2, first + self.pieces - 3)
        while want <= last and collect.places(want) < 3:
            want += 1
        apply.want = want
        apply.pair += 1


class Collect(Sequence[int]):
    """norm_collect.v: rounds of four cycles, each of which takes some banks in and writes those before."""

    PLACES = 32
    LANE = 12
    """From a value's leave from the reader to the queue: x, eleven stages (norm_lane.v)."""

    def __init__(self, model: NormModel) -> None:
        self.model = model
        self.values = min(4, model.pieces)
        self.rounds_a_tile = model.depth * model.pieces // self.values
        self.phase = 0  # the next round's first cycle, at least
        self.full = False
        self.fires: list[int] = []
        self.pending: list[int] = []
        self.pops: list[int] = []
        self.rounds = 0
        """Rounds whose banks are written."""
        self.ready: list[int] = []
        self.blocked: set[int] = set()
        """Cycles in which results of the step behind are written."""
        self._write: int | None = None
        self._last = False

    def put(self, fire: int) -> tuple[int, int]:
        """The values of a line pair, one a cycle from `fire` on while there is a place; returns the cycles of the
        first and the last."""
        first = len(self.fires)
        for value in range(first, first + self.model.pieces):
            if value >= self.PLACES:
                self._drain(value - self.PLACES)
                fire = max(fire, self.pops[value - self.PLACES] + 1)
            self.fires.append(fire)
            self.pending.append(fire + self.LANE + 2)
            fire += 1
        return self.fires[first], self.fires[-1]

    def places(self, cycle: int) -> int:
        """Places that are free in a cycle; values that leave the reader later come to the queue later still."""
        while self.phase < cycle and (self.full or len(self.pops) < len(self.pending)):
            self._round()
        return self.PLACES - bisect_left(self.fires, cycle) + bisect_left(self.pops, cycle)

    def _drain(self, value: int) -> None:
        while len(self.pops) <= value:
            self._round()

    def _round(self) -> None:
        """One round: values in, and the banks of the round before out. A step waits for the write before it."""
        index = len(self.pops)
        available = self.pending[index] if index < len(self.pending) else None
        cycle = self._space(self.phase)
        takes = available is not None and available <= cycle
        if not takes and not self.full:
            assert available is not None
            cycle, takes = available, True
        for phase in range(4):
            cycle = self._space(cycle)
            if takes and phase < self.values:
                cycle = max(cycle, self.pending[index + phase])
                self.pops.append(cycle)
            if self.full and phase < self.model.planes:
                self._write = cycle + 1
                self._last = phase == self.model.planes - 1
            cycle += 1
        self.full = takes
        self.phase = cycle

    def _space(self, cycle: int) -> int:
        """The cycle from which a step may be made: results of the array are written first."""
        write = self._write
        if write is None:
            return cycle
        while write in self.model.start.writes or write in self.blocked:
            write += 1
        self._write = None
        if self._last:
            self.rounds += 1
            if self.rounds % self.rounds_a_tile == 0:
                # Counted in the next cycle, seen behind step_dispatch's register.
                self.ready.append(write + 2 + SAID)
        return max(cycle, write)

    def __len__(self) -> int:
        return self.model.tiles

    def __getitem__(self, tile: Any) -> Any:
        """From when the next step may read a tile; results of that step that were issued before are known by then."""
        while len(self.ready) <= tile:
            self._round()
            self.phase = self._space(self.phase)
        return self.ready[tile]

    @property
    def done(self) -> int:
        """From when all is written."""
        return int(self[self.model.tiles - 1]) - 1 - SAID
