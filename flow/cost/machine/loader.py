"""The weight loader: weight_loader.v and what it names, from beats of the stream to row groups in the row buffer.

A step's data are its code page, a table or a stage's parameters, and a record for every row group. Beats of a
record go through record_router.v to three units that work beside each other: column_map.v, code_expander.v and
weight_unpacker.v. A row group can be taken when its weights and its offsets stand in the ring of the row buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from flow.cost.machine.linear import SLOT
from flow.cost.machine.memory import FIFO, Reader
from flow.cost.machine.records import NONE, RecordShape
from flow.engine.timing import Timing

AHEAD = 40
"""Row groups that may be on their way or wait before the array takes them (weight_loader.v: Ahead)."""
ROUTER = 8
"""Stages of record_router.v."""
EXPANDER = 6
"""From a look-up's codes to the row buffer: stages of code_expander.v."""
ROOM = 3
"""From a word given back to a claim on it: registers of ring_room.v."""
HELD = 2
"""Beats that wait in front of the unpacker (stream_slice.v)."""
MAP = 3
"""From a chunk of a column map to its entries: stages of column_map.v."""


@dataclass
class Ring:
    """Words of the row buffer: when each was read for the last time."""

    words: int
    written: int = 0
    _groups: deque[tuple[int, int, int]] = field(default_factory=deque)
    _end: int = 0

    def freed(self, since: int, words: int) -> None:
        """A row group's words are read for the last time, one a cycle from a cycle on."""
        if words:
            self._groups.append((self._end, words, since))
            self._end += words

    def freed_all(self, groups: list[tuple[int, int]]) -> None:
        """The same for several row groups."""
        for since, words in groups:
            self.freed(since, words)

    def room(self, word: int) -> int:
        """The cycle from which a word, counted since reset, may be claimed: its place is given back with the slot
        of its read (linear_issue.v)."""
        old = word - self.words
        if old < 0:
            return 0
        groups = self._groups
        while groups[0][0] + groups[0][1] <= old:
            groups.popleft()
        start, _, since = groups[0]
        return since + old - start + SLOT + ROOM


@dataclass
class Loader:
    """Loads one step after the other; times are cycles."""

    timing: Timing
    reader: Reader
    ring: Ring = field(init=False)
    taken: list[int] = field(default_factory=list)
    """When the array took each row group."""
    _groups: int = 0
    _open: int = 0
    """The cycle from which records of the step are taken."""
    _accepted: int = 0
    """When the last beat entered the stages of the router."""
    _stalls: deque[tuple[int, int]] = field(default_factory=deque)
    """When a beat could not leave the router, and when it left."""
    _unpacked: int = 0
    """The last take of the record before."""
    _slice: deque[int] = field(default_factory=lambda: deque([-1] * HELD, HELD))
    """When the last beats left the slice in front of the unpacker."""
    _looked: int = 0
    """The last look-up of the record before."""
    _list_free: int = 0
    """From when another list may be written: look-ups in the one before the last are through."""
    _map_free: int = 0
    """From when another map may be read."""
    _idle: int = 0

    def __post_init__(self) -> None:
        self.ring = Ring(self.timing.ring_words)

    def begin(self, start: int, sections: Sequence[int]) -> None:
        """A step's page and tables: for each of their beats the cycles that loader_front.v works on it."""
        cycle = start + 1
        for cycles in sections:
            last = max(cycle, self.reader.first(len(self.reader.pops))) + cycles - 1
            self.reader.take(last)
            cycle = last + 1
        self._open = cycle

    def record(self, record: RecordShape) -> int:
        """The cycle from which a row group is offered to the array."""
        word = self.ring.written
        self.ring.written += record.cycles
        pushes, take = self._route(record, word)
        self._groups += 1
        # The last beat with weights, or the one that stands for them.
        came = self._slice[-1]
        if record.takes:
            end = max(take + record.takes, came + record.late_takes + 1) - 1
            # A word is claimed with its first chunk; the last one's others follow.
            claimed = self.ring.room(word + record.cycles - 1)
            end = max(end, claimed + record.takes // record.cycles - 1)
            self._unpacked = end
        else:
            end = came
        written = self._expand(record, pushes, word)
        self._idle = max(pushes[-1] + 1, written + 1, end + 2)
        # Weights are written a cycle behind their take; what is on offer is a register.
        return max(end + 1, written) + 1

    def _route(self, record: RecordShape, word: int) -> tuple[list[int], int]:
        """When each beat leaves the router, and when the unpacker's first take is."""
        pushes: list[int] = []
        take = 0
        beat_bits = 8 * self.timing.engine.beat_bytes
        # The loop that estimates spend most of their time in: a look-up of a name less a beat tells.
        leaves, held, push = self._leaves, self._slice, pushes.append
        first, last, need = record.weight_first, record.weight_last, record.weight_need
        ready = 0
        if self._groups >= AHEAD:
            ready = self.taken[self._groups - AHEAD] + 1
        for beat in range(record.beats):
            if not first <= beat <= last:
                push(leaves(ready))
                ready = 0
                continue
            free = held[0] + 1
            leave = leaves(max(ready, free))
            ready = 0
            push(leave)
            leave += 1
            if beat == first:
                # One that holds no weights waits for the last take of the record before.
                leave = max(leave, self._unpacked + (0 if record.takes else 1))
            elif beat > need:
                # Beside the take before the first one that needs it.
                bits = (beat - first) * beat_bits - record.weight_start
                beside = take + bits // record.take_bits - 1
                leave = max(leave, beside)
            held.append(leave if leave > held[-1] else held[-1] + 1)
            if beat == need:
                take = max(held[-1] + 1, self.ring.room(word))
        return pushes, take

    def _leaves(self, ready: int) -> int:
        """When the next beat leaves the router, not before `ready`. All its stages stand and move together; one beat
        waits in front of them."""
        accepted = self._accepted + 1
        accepted = self.reader.take(max(self._open, accepted))
        stalls = self._stalls
        leave = accepted + ROUTER
        if stalls:
            while stalls and stalls[0][1] <= accepted:
                stalls.popleft()
            if stalls and stalls[0][0] <= accepted:
                accepted = stalls.popleft()[1]
                leave = accepted + ROUTER
            for since, until in stalls:
                leave += until - since
        if ready > leave:
            stalls.append((leave, ready))
            leave = ready
        self._accepted = accepted
        return leave

    def _expand(self, record: RecordShape, pushes: list[int], word: int) -> int:
        """The cycle in which a record's last offsets are written."""
        load = max(pushes[0] + FIFO, self._looked)
        if record.map_cycles != NONE:
            load = max(load, self._list(record, pushes))
            # Look-ups that are under way keep the lists before.
            self._list_free = max(load + 1, self._looked + EXPANDER)
        if not record.lookups:
            self._looked = max(load, self._looked + 1)
            return self._looked + EXPANDER
        first = load + 1
        if record.code_need != NONE:
            # The window takes a beat a cycle.
            first = max(load + record.code_need - record.code_first + 1, pushes[record.code_need] + FIFO + 1)
        first = max(first, self.ring.room(word))
        self._looked = first + record.lookups - 1
        if record.code_last != NONE:
            self._looked = max(self._looked, pushes[record.code_last] + FIFO + record.row)
        self._looked = max(self._looked, self.ring.room(word + record.cycles - 1))
        return self._looked + EXPANDER

    def _list(self, record: RecordShape, pushes: list[int]) -> int:
        """The cycle from which the lists of a record's map stand: a request, its bits, a chunk of them a cycle."""
        chunk = max(pushes[0] + FIFO + 1, self._map_free) + 1
        if record.map_cycles:
            chunk = max(chunk, pushes[record.map_last] + FIFO + 1)
        cycles = max(record.map_cycles, 1)
        last = max(chunk + MAP, self._list_free) + cycles - 1
        # A chunk waits beside those that are on their way.
        self._map_free = max(chunk + cycles, last - MAP) - 1
        return last + 1

    def drain(self, beats: int) -> None:
        """Beats beyond the last row group are dropped, one a cycle, from the second cycle behind it on."""
        if beats:
            self._accepted += 1
            for _ in range(beats):
                self._accepted = self.reader.take(self._accepted + 1)
            self._accepted -= 1

    def end(self) -> int:
        """The cycle from which the step counts as loaded: the front's states Records, Drain and Finish behind the
        last beat, and everything idle, which is a register."""
        return max(self.reader.pops[-1] + 3, self._idle + 1) + 1
