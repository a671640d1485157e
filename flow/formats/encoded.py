"""A matrix in the engine's storage: columns per block and bank, codes and weights per row group."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from flow.errors import FlowError
from flow.formats.shapes import CodePage, GroupShape, bits_for

IntArray = npt.NDArray[np.int64]


class MapKind(IntEnum):
    """How a record states its block's column lists; the values are the header field."""

    KEEP = 0
    IDENTITY = 1
    LIST = 2
    BITMAP = 3


def offset_bits(depth: int) -> int:
    """Bits of a column offset in a list map: max(1, ceil(log2 D))."""
    return max(1, bits_for(depth))


@dataclass(frozen=True, eq=False)
class ColumnMap:
    """The kept columns of a block: `offsets[bank, j]` in 0..D-1, the same count M for every bank.

    A bank with fewer columns repeats an offset; no code of the block then picks the repetition for a weight.
    """

    offsets: npt.NDArray[np.uint16]
    depth: int

    @property
    def count(self) -> int:
        """M, the entries of each bank's list."""
        return int(self.offsets.shape[1])

    @cached_property
    def kind(self) -> MapKind:
        """The smallest map that states these lists: identity, a D-bit map per bank, or the offsets themselves.

        A bitmap can only state ascending lists whose repetitions stand at the end.
        """
        lists = self.offsets.astype(np.int64)
        if self.count == self.depth and bool((lists == np.arange(self.depth)).all()):
            return MapKind.IDENTITY
        if self.depth > self.count * offset_bits(self.depth):
            return MapKind.LIST
        steps = np.diff(lists, axis=1)
        ascending = bool(((steps > 0) | (lists[:, 1:] == lists[:, -1:])).all())
        return MapKind.BITMAP if ascending and bool((steps >= 0).all()) else MapKind.LIST

    @property
    def bits(self) -> int:
        """Size of the map section before padding."""
        banks = self.offsets.shape[0]
        each = {
            MapKind.KEEP: 0,
            MapKind.IDENTITY: 0,
            MapKind.LIST: self.count * offset_bits(self.depth),
            MapKind.BITMAP: self.depth,
        }
        return int(banks) * each[self.kind]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ColumnMap):
            return NotImplemented
        return self.depth == other.depth and np.array_equal(self.offsets, other.offsets)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class RowGroup:
    """P consecutive rows: G groups per (row, bank) of the named shape.

    `codes[g, p, bank]` is the code of group g (its width is the shape's `code_bits`; all 0 where that is 0),
    `weights[i, p, bank]` weight i = g*K + k. `map` replaces the column map from this row group on; None
    keeps the one in force.
    """

    groups: int
    shape: int
    map: ColumnMap | None
    codes: npt.NDArray[np.uint16]
    weights: npt.NDArray[np.int8]

    @property
    def cycles(self) -> int:
        """G*K, the cycles per token tile."""
        return int(self.weights.shape[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RowGroup):
            return NotImplemented
        same = (self.groups, self.shape, self.map) == (other.groups, other.shape, other.map)
        return (
            same and np.array_equal(self.codes, other.codes) and np.array_equal(self.weights, other.weights)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class EncodedMatrix:
    """A physical matrix W[N', C'], C' = depth*banks, column c in bank `c % banks` at offset `c // banks`.

    Two encodings are equal when every field, code and weight is.
    """

    rows: int
    banks: int
    depth: int
    rows_per_group: int
    weight_bits: int
    shapes: tuple[GroupShape, ...]
    row_groups: tuple[RowGroup, ...]

    __hash__ = None  # type: ignore[assignment]

    @property
    def columns(self) -> int:
        """C', the physical width."""
        return self.depth * self.banks

    @property
    def page(self) -> CodePage:
        """The code page that the weight loader needs for this matrix."""
        return CodePage(self.shapes)

    @cached_property
    def row_group_cycles(self) -> tuple[int, ...]:
        """G*K of every row group, in row order."""
        return tuple(group.cycles for group in self.row_groups)

    @property
    def cycles(self) -> int:
        """Cycles per token tile: the sum of G*K over row groups."""
        return sum(self.row_group_cycles)

    @property
    def positions(self) -> int:
        """Stored weights, G*K*P*B summed: the multiplications that the engine does for one token."""
        return self.cycles * self.rows_per_group * self.banks

    @cached_property
    def nonzeros(self) -> int:
        """Stored weights that are not zero."""
        return sum(int(np.count_nonzero(group.weights)) for group in self.row_groups)

    @property
    def stored_density(self) -> float:
        """Stored weights over N'*C'."""
        return self.positions / (self.rows * self.columns)

    @property
    def density(self) -> float:
        """Non-zeros over N'*C'."""
        return self.nonzeros / (self.rows * self.columns)

    @cached_property
    def block_rows(self) -> int:
        """R: the most rows that share one column map."""
        starts = [i for i, group in enumerate(self.row_groups) if group.map is not None]
        edges = [0, *starts[1:], len(self.row_groups)]
        return self.rows_per_group * max(b - a for a, b in pairwise(edges))

    @property
    def weight_section_bits(self) -> int:
        """Bits of all weights, without padding."""
        return self.positions * self.weight_bits

    @property
    def code_section_bits(self) -> int:
        """Bits of all codes, without padding."""
        return sum(group.codes.size * self.shapes[group.shape].code_bits for group in self.row_groups)

    @property
    def map_section_bits(self) -> int:
        """Bits of all column maps, without padding."""
        return sum(group.map.bits for group in self.row_groups if group.map is not None)

    @property
    def code_lookups(self) -> int:
        """Codes that the weight loader expands while it reads the matrix once."""
        return sum(group.codes.size for group in self.row_groups if self.shapes[group.shape].code_bits)


def decode(encoded: EncodedMatrix) -> npt.NDArray[np.int8]:
    """The matrix int8 [N', C']: `W[row, offset*B + bank]` is the sum of the weights stored for that column.

    Exact inverse of `encode`. Raises `FlowError` where a group lacks its columns or a code its meaning, or where the
    weights of one column add up beyond int8: no encoder writes such a matrix, a damaged stream may.
    """
    height, width = encoded.rows_per_group, encoded.columns
    dense = np.zeros((len(encoded.row_groups), height * width), dtype=np.int8)
    lines = (np.arange(height) * width)[:, None]
    current: ColumnMap | None = None
    for index, group in enumerate(encoded.row_groups):
        current = group.map if group.map is not None else current
        if not group.groups:
            continue
        where = f"encoded matrix, row group {index}"
        target = lines + stored_columns(group, encoded.shapes[group.shape], current, where)
        sums = np.bincount(target.reshape(-1), weights=group.weights.reshape(-1), minlength=height * width)
        if sums.max() > 127 or sums.min() < -128:
            raise FlowError(
                f"{where}: found weights of one column that add up beyond int8; the stream is damaged"
            )
        dense[index] = sums
    return dense.reshape(encoded.rows, width)


def stored_columns(group: RowGroup, shape: GroupShape, columns: ColumnMap | None, where: str) -> IntArray:
    """Physical column of every weight of a row group with G >= 1: [G*K, P, B], in the order of `RowGroup.weights`.

    `columns` is the column map in force. Raises `FlowError`, naming `where`, for a code that names no table
    entry or an entry beyond the map.
    """
    if columns is None:
        raise FlowError(
            f"{where}: found {group.groups} groups before any column map; expected a map; the stream is damaged"
        )
    last = (group.groups - 1) * shape.stride + (shape.width if shape.stride else 0)
    if last > columns.count:
        raise FlowError(
            f"{where}: found groups over {last} columns; expected at most {columns.count}; the stream is damaged"
        )
    codes = group.codes.astype(np.int64)
    if int(codes.max()) >= shape.codes:
        raise FlowError(
            f"{where}: found code {codes.max()}; expected 0..{shape.codes - 1}; the stream is damaged"
        )
    _, rows, banks = group.codes.shape
    base = (np.arange(group.groups) * shape.stride)[:, None, None, None]
    entries = base + shape.members[codes].transpose(0, 3, 1, 2)
    if int(entries.max()) >= columns.count:
        raise FlowError(
            f"{where}: found entry {entries.max()}; expected 0..{columns.count - 1}; the stream is damaged"
        )
    entries = entries.reshape(group.cycles, rows, banks)
    bank = np.arange(banks)
    result: IntArray = columns.offsets[bank, entries].astype(np.int64) * banks + bank
    return result
