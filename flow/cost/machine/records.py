"""What a record of the weight stream asks of the weight loader, in beats and cycles (docs/program-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.engine import Engine
from flow.formats import EncodedMatrix, record_beats
from flow.formats.encoded import MapKind
from flow.ops.device import RowGroups
from flow.ops.linear import lookup_rows

LIST_WORD = 16
"""Entries of a list, or bits of a bitmap, that column_map.v reads a cycle."""
NONE = -1


@dataclass(frozen=True)
class RecordShape:
    """A record: beats are counted from its first one, `NONE` where there is none.

    Attributes:
        cycles: G*K, words of the row buffer.
        beats: of the record.
        map_cycles: in which the column map is read: 0 for the identity, `NONE` where the record has none.
        map_last: the last beat with bits of the map.
        code_first, code_last: beats with codes.
        code_need: the last one that the first look-up needs.
        lookups: cycles of the expander, `row` for the codes of a cycle's rows.
        weight_first: the first beat with weights; of a record without any, the one that its constants end in.
        weight_last: the last one, or the same.
        weight_need: the last beat that the unpacker's first take needs.
        weight_start: bits of the first beat with weights that belong to others.
        takes: of the unpacker, each of `take_bits`: a beat, or the lanes of a cycle where these are fewer.
        late_takes: those from the first one on that needs the last beat.
    """

    cycles: int
    beats: int
    map_cycles: int
    map_last: int
    code_first: int
    code_last: int
    code_need: int
    lookups: int
    row: int
    weight_first: int
    weight_last: int
    weight_need: int
    weight_start: int
    takes: int
    take_bits: int
    late_takes: int


@lru_cache(maxsize=4096)
def record_shape(
    engine: Engine,
    weight_bits: int,
    groups: int,
    take: int,
    code_bits: int,
    map_cycles: int,
    map_bits: int,
    beats: int,
) -> RecordShape:
    """The record of G = `groups` with K = `take` and codes of `code_bits`, with a map of `map_bits`."""
    lanes, words, beat_bits = engine.rows * engine.banks, engine.beat_bytes // 8, 8 * engine.beat_bytes
    first = 1 + engine.rows
    map_end = first + -(-map_bits // 64)
    code_end = map_end + -(-groups * lanes * code_bits // 64)
    coded = code_end > map_end
    # Codes of the rows of a cycle, which may come slower than their members are looked up.
    wide = code_bits * lookup_rows(engine) * engine.banks
    turns = engine.rows // lookup_rows(engine) if code_bits else 1
    row = max(take, -(-wide // beat_bits))
    cycles = groups * take
    size = cycles * lanes * weight_bits
    take_bits = min(weight_bits * lanes, beat_bits)
    takes = -(-size // take_bits)
    start = code_end % words * 64
    weight_first = code_end // words if size else engine.rows // words
    last = max(start + size - 1, 0) // beat_bits
    return RecordShape(
        cycles=cycles,
        beats=beats,
        map_cycles=map_cycles,
        map_last=(map_end - 1) // words if map_bits else NONE,
        code_first=map_end // words if coded else NONE,
        code_last=(code_end - 1) // words if coded else NONE,
        code_need=(64 * map_end + wide - 1) // beat_bits if coded else NONE,
        lookups=groups * turns * row,
        row=row,
        weight_first=weight_first,
        weight_last=weight_first + last if size else weight_first,
        weight_need=weight_first + ((start + take_bits - 1) // beat_bits if size else 0),
        weight_start=start,
        takes=takes,
        take_bits=take_bits,
        late_takes=takes - max((last * beat_bits - start) // take_bits, 0),
    )


def record_shapes(encoded: EncodedMatrix, engine: Engine) -> list[RecordShape]:
    """The records of a matrix in the order of its weight stream."""
    found = []
    for group, beats in zip(encoded.row_groups, record_beats(encoded, engine.beat_bytes), strict=True):
        shape, columns = encoded.shapes[group.shape], group.map
        map_cycles, map_bits = NONE, 0
        if columns is not None:
            # A bitmap is read, and its list written to the end.
            read = max(columns.count, columns.depth)
            entries = {MapKind.LIST: columns.count, MapKind.BITMAP: read}.get(columns.kind, 0)
            map_cycles, map_bits = engine.banks * -(-entries // LIST_WORD), columns.bits
        sizes = (group.groups, shape.take, shape.code_bits) if group.groups else (0, 0, 0)
        found.append(record_shape(engine, encoded.weight_bits, *sizes, map_cycles, map_bits, beats))
    return found


def row_groups(records: list[RecordShape]) -> RowGroups:
    """The same as the operators' `estimate` wants it."""
    columns = ([r.cycles, r.beats, r.lookups, max(r.map_cycles, 0)] for r in records)
    return RowGroups(*np.array(list(columns), np.int64).reshape(-1, 4).T)
