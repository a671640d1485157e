"""The weight loader: weight_loader.v and what it names, from beats of the stream to row groups in the row buffer.

A step's data are its code page, a table or a stage's parameters, and a record for every row group. Beats of a record go
through record_router.v to three units that work beside each other: column_map.v, code_expander.v and
weight_unpacker.v. A row group can be taken when its weights and its offsets stand in the ring of the row buffer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from flow.cost.machine.memory import FIFO, Reader
from flow.engine import Engine
from flow.formats import EncodedMatrix, record_beats
from flow.formats.encoded import MapKind
from flow.ops.device import RowGroups
from flow.ops.linear import lookup_rows

RING_WORDS = 512
"""Words of the row buffer (RingLog2)."""
AHEAD = 40
"""Row groups that may be loaded, or on their way, before the array takes them (weight_loader: Ahead)."""
ROUTER = 8
"""record_router: stages of a beat."""
EXPANDER = 6
"""code_expander: from a look-up's codes to the row buffer."""
LIST_WORD = 16
"""column_map: entries, or bits of a bitmap, a cycle."""


@dataclass(frozen=True)
class Records:
    """What the loader does for each record, as lists of one length.

    Attributes:
        cycles: G*K.
        beats: of the record.
        codes: last beat with codes, and the one that the first look-up needs; -1 where there are none.
        weights: first beat with weights.
        takes: cycles of the unpacker; `first_need` and `last_take`: the last beat that its first take needs, and its
            takes from the one that needs the last beat on.
        lookups: cycles of the expander.
        map: cycles of the column map; -1 where the record has none, 0 the identity.
        map_beat: last beat with bits of the map.
    """

    cycles: list[int]
    beats: list[int]
    code_first: list[int]
    code_need: list[int]
    code_last: list[int]
    weights: list[int]
    first_need: list[int]
    takes: list[int]
    last_takes: list[int]
    starts: list[int]
    lookups: list[int]
    rows: list[int]
    map: list[int]
    map_beat: list[int]

    def work(self) -> RowGroups:
        """The same as the operators' `estimate` wants it."""
        columns = (self.cycles, self.beats, self.lookups, [max(cycles, 0) for cycles in self.map])
        return RowGroups(*(np.array(column, np.int64) for column in columns))

    @staticmethod
    def of(encoded: EncodedMatrix, engine: Engine) -> Records:
        """The records of a matrix."""
        kinds, chunks, bits, groups, takes, codes, map_bits = [], [], [], [], [], [], []
        for group in encoded.row_groups:
            shape = encoded.shapes[group.shape]
            groups.append(group.groups)
            takes.append(shape.take if group.groups else 0)
            bits.append(shape.code_bits if group.groups else 0)
            columns = group.map
            map_bits.append(0 if columns is None else columns.bits)
            if columns is None:
                chunks.append(-1)
            elif columns.kind is MapKind.IDENTITY:
                chunks.append(0)
            else:
                entries = columns.count if columns.kind is MapKind.LIST else columns.depth
                chunks.append(engine.banks * -(-entries // LIST_WORD))
        counts = (np.array(column, np.int64) for column in (groups, takes, bits, chunks, map_bits))
        return records(engine, encoded.weight_bits, np.array(record_beats(encoded, engine.beat_bytes)), *counts)


def records(engine: Engine, weight_bits: int, beats, groups, take, code_bits, chunks, map_bits) -> Records:
    """Records from their shapes: G, K, bits of a code, chunks of the map and its bits, arrays of one length."""
    lanes, words = engine.rows * engine.banks, engine.beat_bytes // 8
    beat_bits = 8 * engine.beat_bytes
    first = 1 + engine.rows
    map_end = first + -(-map_bits // 64)
    code_end = map_end + -(-(groups * lanes * code_bits) // 64)
    cycles = groups * take
    wide = lookup_rows(engine) * engine.banks
    turns = np.where(code_bits > 0, engine.rows // lookup_rows(engine), 1)
    # A row's codes may come slower than its members are looked up.
    row = np.maximum(take, -(-(code_bits * wide) // beat_bits))
    code_start = map_end % words * 64
    need = map_end // words + (code_start + code_bits * wide - 1) // beat_bits
    has_codes = code_end > map_end
    # The unpacker takes a beat, or all lanes of a cycle where these are fewer.
    bits = min(weight_bits * lanes, beat_bits)
    unpacked = -(-(cycles * lanes * weight_bits) // bits)
    start = code_end % words * 64
    last = np.maximum(start + cycles * lanes * weight_bits - 1, 0) // beat_bits
    # The first take that needs the last beat.
    late = np.maximum(-(-(last * beat_bits - start + 1) // bits) - 1, 0)
    empty = cycles == 0
    weights = np.where(empty, engine.rows // words, code_end // words)
    return Records(
        cycles=cycles.tolist(),
        beats=beats.tolist(),
        code_first=np.where(has_codes, map_end // words, -1).tolist(),
        code_need=np.where(has_codes, need, -1).tolist(),
        code_last=np.where(has_codes, (code_end - 1) // words, -1).tolist(),
        weights=weights.tolist(),
        first_need=(weights + np.where(empty, 0, (start + bits - 1) // beat_bits)).tolist(),
        takes=unpacked.tolist(),
        last_takes=(unpacked - late).tolist(),
        starts=start.tolist(),
        lookups=(groups * turns * row).tolist(),
        rows=row.tolist(),
        map=chunks.tolist(),
        map_beat=np.where(map_end > first, (map_end - 1) // words, -1).tolist(),
    )


@dataclass
class Ring:
    """Words of the row buffer: when each was read for the last time."""

    written: int = 0
    _groups: deque[tuple[int, int, int]] = field(default_factory=deque)

    def freed(self, since: int, words: int) -> None:
        """A row group's words are given back one a cycle from a cycle on."""
        if words:
            start = self._groups[-1][0] + self._groups[-1][1] if self._groups else self._next
            self._groups.append((start, words, since))

    _next: int = 0

    def room(self, word: int) -> int:
        """The cycle from which a word, counted since reset, may be written."""
        old = word - RING_WORDS
        if old < 0:
            return 0
        groups = self._groups
        while groups[0][0] + groups[0][1] <= old:
            start, words, _ = groups.popleft()
            self._next = start + words
        start, _, since = groups[0]
        # Given back a cycle behind the read, and one behind that in the limit.
        return since + old - start + 2


@dataclass
class Loader:
    """Loads one step after the other; times are cycles."""

    engine: Engine
    reader: Reader
    ring: Ring = field(default_factory=Ring)
    taken: list[int] = field(default_factory=list)
    """When the array took each row group."""
    loaded: int = 0
    groups: int = 0
    _accept: int = 0
    _push: int = 0
    _stalls: deque[tuple[int, int]] = field(default_factory=deque)
    _unpacked: int = 0
    """Last take of the record before."""
    _looked: int = 0
    """Last look-up of the record before."""
    _list_free: int = 0
    _map_free: int = 0
    _open: int = 0
    _idle: int = 0
    _take_bits: int = 8
    _beat_bits: int = 64

    def begin(
        self, start: int, weight_bits: int, page_words: int, page_beats: int, table_words: int, parameters: int
    ) -> None:
        """A step's page and tables, a 64-bit word a cycle, or two cycles a word (`page_words`, counted so)."""
        words = self.engine.beat_bytes // 8
        self._beat_bits = 64 * words
        self._take_bits = min(weight_bits * self.engine.rows * self.engine.banks, self._beat_bits)
        self._open = start + 1
        self._section(page_words, page_beats)
        if table_words:
            self._section(table_words, -(-table_words // words))
        if parameters:
            self._section(parameters, -(-parameters // (2 * words)))

    def _section(self, cycles: int, beats: int) -> None:
        each = -(-cycles // beats)
        for beat in range(beats):
            here = min(each, cycles - beat * each)
            first = max(self._open, self.reader.first(len(self.reader.pops)))
            self.reader.take(first + here - 1)
            self._open = first + here

    def record(self, records: Records, index: int) -> int:
        """The cycle from which a row group is offered to the array."""
        reader, room = self.reader, self.ring.room
        beats, weights = records.beats[index], records.weights[index]
        cycles, takes = records.cycles[index], records.takes[index]
        code_need, code_last, map_beat = records.code_need[index], records.code_last[index], records.map_beat[index]
        need = records.first_need[index]
        word = self.ring.written
        self.ring.written += cycles
        first = 0
        if self.groups >= AHEAD:
            first = self.taken[self.groups - AHEAD] + 1
        self.groups += 1
        head = needed = last_code = last_map = take = end = 0
        start = records.starts[index]
        for beat in range(beats):
            ready = first if beat == 0 else 0
            if beat == weights:
                # Weights follow those before in their last cycle; a record without any waits until they are through.
                ready = max(ready, self._unpacked + (0 if takes else 1))
            elif beat > need and take:
                # Taken beside the take before the first one that needs it.
                ready = take + ((beat - weights) * self._beat_bits - start) // self._take_bits - 1
            push = self._beat(ready)
            if beat == 0:
                head = push
            if beat == code_need:
                needed = push
            if beat == code_last:
                last_code = push
            if beat == map_beat:
                last_map = push
            if beat == need:
                if takes:
                    take = max(push + 1, room(word))
                else:
                    end = push
        if takes:
            end = max(take + takes - 1, push + records.last_takes[index], room(word + cycles - 1))
        weighed = end + 1
        self._unpacked = end if takes else end - 1
        looked = self._expand(records, index, head, needed, last_code, last_map, word)
        self._idle = max(push + 1, looked + 1, end + 2)
        return max(weighed, looked)

    def _beat(self, ready: int) -> int:
        """The next beat goes through the router; `ready`: not before that it can leave. Its stages stand and move
        together."""
        accept = self.reader.take(max(self._open, self._accept + 1))
        stalls = self._stalls
        moved = accept
        for since, until in stalls:
            if since <= accept < until:
                accept = until
                self.reader.pops[-1] = until
        leave = accept + ROUTER
        while stalls and stalls[0][1] <= accept:
            stalls.popleft()
        for since, until in stalls:
            if since > accept:
                leave += until - since
        push = max(leave, ready)
        if push > leave:
            stalls.append((leave, push))
        self._accept, self._push = accept, push
        return push

    def _expand(self, records: Records, index: int, head: int, needed: int, last: int, mapped: int, word: int) -> int:
        """The cycle in which a record's last offsets are written."""
        load = max(head + FIFO, self._looked)
        if records.map[index] >= 0:
            load = max(load, self._list(records.map[index], head, mapped))
            # Look-ups in the lists before keep them for as long as they are under way.
            self._list_free = max(load + 1, self._looked + 6)
        lookups = records.lookups[index]
        if not lookups:
            load = max(load, self._looked + 1)
            self._looked = load
            return load + EXPANDER
        fire = load + 1
        if records.code_need[index] >= 0:
            # The window takes a beat a cycle.
            window = records.code_need[index] - records.code_first[index] + 1
            fire = max(load + window, needed + FIFO + 1)
        fire = max(fire, self.ring.room(word) - EXPANDER)
        end = fire + lookups - 1
        if records.code_last[index] >= 0:
            end = max(end, last + FIFO + records.rows[index])
        self._looked = end
        return end + EXPANDER

    def _list(self, chunks: int, head: int, mapped: int) -> int:
        """The cycle in which the lists of a record's map stand."""
        begin = max(head + FIFO + 1, self._map_free)
        fire = begin + 1
        if chunks:
            fire = max(fire, mapped + FIFO + 1)
        put = max(fire + 2, self._list_free)
        end = put + max(chunks, 1) - 1
        self._map_free = end - 2
        return end + 1

    def drain(self, beats: int) -> None:
        """Beats beyond the last row group are dropped, one a cycle."""
        self._accept += 1
        for _ in range(beats):
            self._accept = self.reader.take(self._accept + 1)
        self._accept -= 1

    def end(self) -> int:
        """The cycle from which the step counts as loaded: behind the last beat two states, then everything idle."""
        self.loaded = max(self._accept + 3, self._idle) + 1
        return self.loaded
