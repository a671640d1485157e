"""Group shapes and the code page: how a code names a subset of columns.

After hierarchical pruning (ICCAD 2021, "Accelerating Framework of Transformer by Hardware Design and Model
Compression Co-Optimization") every vector of V kept columns holds the same number K of weights. The order
inside a vector is free, so one code of ceil(log2 binom(V, K)) bits names all K positions: less than K
indices of ceil(log2 V) bits, and less than a bitmap of V bits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from flow.errors import FlowError

MAX_SHAPES = 4
MAX_ENTRIES = 256
MAX_MEMBERS = 16
"""A table entry is sixteen 4-bit members, so a table describes at most 16 columns and picks at most 16."""
MAX_DEPTH = 4095
"""Groups and columns of a bank are 12-bit header fields."""

Subset = tuple[int, ...]

_IDENTITY = 0xFFFF
_WORD = 8


def bits_for(count: int) -> int:
    """ceil(log2 count): the bits that tell `count` >= 1 things apart; 0 for one thing."""
    return max(count - 1, 0).bit_length()


@dataclass(frozen=True)
class GroupShape:
    """One way to read a group: `take` (K) weights out of the `width` (V) columns that the group sees.

    Group g of a (row, bank) sees the entries `g*stride ... g*stride + width - 1` of the bank's column list.
    `stride` is `width` (disjoint groups) or 0 (every group sees the same columns; with K = 1 that is an
    explicit index per weight). `table` lists the K-subsets that codes name, ascending members in 0..V-1, at
    most 256 of them and V <= 16. Without a table K is 1 and the code is the entry itself (*identity*). V = K
    = 1 needs no code: that is a dense matrix, or one with whole columns of a block pruned.

    Where `stride` is 0 the width is not stored: it is 2**code_bits for identity and the largest member + 1
    for a table, and the constructor demands that, so that a shape read back from a code page equals the one
    written.

    Raises `FlowError` for a shape that the format cannot hold.
    """

    width: int
    take: int
    stride: int
    table: tuple[Subset, ...] | None = None

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault is not None:
            raise FlowError(f"group shape V={self.width} K={self.take} stride={self.stride}: {fault}")

    def _fault(self) -> str | None:
        if not 1 <= self.width <= MAX_DEPTH + 1:
            return f"found width {self.width}; expected 1..{MAX_DEPTH + 1}; choose a narrower group"
        if self.stride not in (0, self.width):
            return f"found stride {self.stride}; expected 0 or the width; use disjoint or fully shared groups"
        if self.table is None:
            if self.take != 1:
                return (
                    f"found {self.take} weights a code without a table; expected 1; give a table of subsets"
                )
            if self.stride == 0 and self.width != 1 << bits_for(self.width):
                return (
                    "found a width that is no power of two; expected 2**code_bits; round the shared width up"
                )
            return None
        return self._table_fault(self.table)

    def _table_fault(self, table: tuple[Subset, ...]) -> str | None:
        if not 1 <= len(table) <= MAX_ENTRIES:
            return (
                f"found {len(table)} table entries; expected 1..{MAX_ENTRIES}; split the vector into groups"
            )
        if not 1 <= self.take <= min(self.width, MAX_MEMBERS) or self.width > MAX_MEMBERS:
            return f"found a table; expected 1 <= K <= V <= {MAX_MEMBERS}; split the vector into groups"
        for entry in table:
            if len(entry) != self.take or list(entry) != sorted(set(entry)):
                return (
                    f"found table entry {entry}; expected {self.take} ascending members; sort and complete it"
                )
            if entry[0] < 0 or entry[-1] >= self.width:
                return (
                    f"found table entry {entry}; expected members in 0..{self.width - 1}; correct the entry"
                )
        if self.stride == 0 and self.width != max(entry[-1] for entry in table) + 1:
            return "found columns that no entry names; expected width = largest member + 1; narrow the shape"
        return None

    @cached_property
    def code_bits(self) -> int:
        """Bits of one code: ceil(log2 V) for identity, ceil(log2 entries) for a table; 0 where there is no
        choice."""
        return bits_for(self.width if self.table is None else len(self.table))

    @property
    def entries(self) -> int:
        """Entries that the shape takes in the code page; 0 for identity."""
        return 0 if self.table is None else len(self.table)

    @property
    def codes(self) -> int:
        """Number of valid codes."""
        return self.width if self.table is None else len(self.table)

    @property
    def is_columns(self) -> bool:
        """Whether the shape keeps every column that it sees (dense, block-column), so that no code exists."""
        return self.stride > 0 and self.width == self.take

    @cached_property
    def members(self) -> npt.NDArray[np.int64]:
        """Entry offsets [codes, K]: code c of the group picks the columns `g*stride + members[c]`."""
        if self.table is None:
            return np.arange(self.width, dtype=np.int64)[:, None]
        return np.array(self.table, dtype=np.int64)

    def joined(self, times: int) -> GroupShape:
        """One code for `times` neighbouring groups: V*m columns, K*m weights, the product of their tables.

        Raises `FlowError` where groups share columns or the product is too large for a page.
        """
        if not self.stride:
            raise FlowError(
                f"group shape V={self.width} K={self.take} stride=0: found groups that share columns; "
                "expected disjoint ones; join only those"
            )
        steps = range(0, self.width * times, self.width)
        choices = itertools.product(self.members.tolist(), repeat=times)
        table = tuple(
            tuple(at + member for at, entry in zip(steps, choice, strict=True) for member in entry)
            for choice in choices
        )
        return GroupShape(self.width * times, self.take * times, self.stride * times, table)


def joins(width: int, entries: int) -> tuple[int, ...]:
    """How many groups of V = `width` columns and `entries` subsets to join in one code, where that saves bits.

    Five groups of 1 of 3 have 243 subsets: 8 bits for five weights instead of 10. Ascending, each with fewer
    bits a group than the one before.
    """
    found: list[int] = []
    best = float(bits_for(entries))
    for times in range(2, MAX_MEMBERS // max(width, 1) + 1):
        if entries**times <= MAX_ENTRIES and bits_for(entries**times) / times < best:
            best = bits_for(entries**times) / times
            found.append(times)
    return tuple(found)


@lru_cache(maxsize=4096)
def code_rate(width: int, entries: int) -> float:
    """The fewest bits a group of V = `width` columns and `entries` subsets takes, joined with others or alone."""
    times = max(joins(width, entries), default=1)
    return bits_for(entries**times) / times


COLUMNS = GroupShape(1, 1, 1)
"""Every listed column holds a weight: the shape of dense and block-column matrices."""


def all_subsets(width: int, take: int) -> tuple[Subset, ...]:
    """All binom(V, K) subsets in lexicographic order."""
    return tuple(itertools.combinations(range(width), take))


@lru_cache(maxsize=64)
def covering_codes(width: int, table: tuple[Subset, ...]) -> npt.NDArray[np.int16]:
    """For each of the 2**V occupancy masks the smallest code whose subset contains it, or -1.

    A row that lost weights to zero has fewer than K non-zeros in a group; any subset containing them serves,
    with zero weights in the rest.
    """
    codes = np.full(1 << width, -1, dtype=np.int16)
    for code in range(len(table) - 1, -1, -1):
        submasks = np.zeros(1, dtype=np.int64)
        for member in table[code]:
            submasks = np.concatenate((submasks, submasks | (1 << member)))
        codes[submasks] = code
    codes.flags.writeable = False
    return codes


def pattern_table(width: int, take: int, masks: npt.NDArray[np.integer]) -> tuple[Subset, ...] | None:
    """A table that covers every occupancy mask, or None where 256 entries do not suffice.

    `masks` are distinct values below 2**V with at most K bits set. Masks of exactly K bits are entries by
    necessity; the others reuse an entry that contains them, or are completed with the lowest absent columns.
    Where the result needs as many code bits as all K-subsets would, all of them are returned (if 256
    suffice): equal tables let matrices share a code page.
    """
    counts = np.bitwise_count(masks)
    exact = sorted(_members(int(mask), width) for mask in masks[counts == take])
    if len(exact) > MAX_ENTRIES:
        return None
    table = list(exact)
    covered = {sum(1 << m for m in entry) for entry in table}
    partial = masks[counts < take]
    for mask in sorted((int(m) for m in partial), key=lambda m: (-m.bit_count(), m)):
        if any(mask & entry == mask for entry in covered):
            continue
        absent = [m for m in range(width) if not mask >> m & 1]
        completed = mask | sum(1 << m for m in absent[: take - mask.bit_count()])
        covered.add(completed)
        table.append(_members(completed, width))
        if len(table) > MAX_ENTRIES:
            return None
    full = math.comb(width, take)
    if full <= MAX_ENTRIES and bits_for(full) <= bits_for(len(table)):
        return all_subsets(width, take)
    return tuple(sorted(table))


def _members(mask: int, width: int) -> Subset:
    return tuple(m for m in range(width) if mask >> m & 1)


@dataclass(frozen=True)
class CodePage:
    """The shapes and subset tables of a matrix, as loaded into the weight loader; rewritable at run time.

    Raises `FlowError` above 4 shapes or 256 table entries in all.
    """

    shapes: tuple[GroupShape, ...]

    def __post_init__(self) -> None:
        entries = sum(shape.entries for shape in self.shapes)
        if len(self.shapes) > MAX_SHAPES or entries > MAX_ENTRIES:
            raise FlowError(
                f"code page: found {len(self.shapes)} shapes with {entries} table entries; expected at most "
                f"{MAX_SHAPES} and {MAX_ENTRIES}; use fewer shapes"
            )

    @property
    def bits(self) -> int:
        """Size before beat padding: one word in front, one per shape and one per table entry."""
        return 64 * (1 + len(self.shapes) + sum(shape.entries for shape in self.shapes))

    def pack(self, beat_bytes: int) -> bytes:
        """Little-endian bytes, padded to whole beats.

        `[u16 shapes, u16 entries, u32 0]`, then per shape `[u8 take, u8 code_bits, u16 stride, u16
        first_entry, u16 entries]` with first_entry 0xFFFF for identity, then per entry a u64 of sixteen
        4-bit members, member k in bits 4k..4k+3.
        """
        descriptors: list[bytes] = []
        words: list[bytes] = []
        for shape in self.shapes:
            first = _IDENTITY if shape.table is None else len(words)
            fields = (shape.take, shape.code_bits, shape.stride, first, shape.entries)
            descriptors.append(_word(fields, (1, 1, 2, 2, 2)))
            packed = (sum(m << 4 * k for k, m in enumerate(entry)) for entry in shape.table or ())
            words.extend(word.to_bytes(_WORD, "little") for word in packed)
        front = _word((len(self.shapes), len(words), 0), (2, 2, 4))
        data = b"".join((front, *descriptors, *words))
        return data + bytes(-len(data) % beat_bytes)

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview) -> CodePage:
        """Read a page back; the padding must be zero. Raises `FlowError` on anything that `pack` does not
        write."""
        raw = bytes(data)
        if len(raw) < _WORD:
            raise FlowError(
                f"code page: found {len(raw)} bytes; expected at least {_WORD}; the page is truncated"
            )
        shapes, entries = (int.from_bytes(raw[i : i + 2], "little") for i in (0, 2))
        need = _WORD * (1 + shapes + entries)
        if (
            shapes > MAX_SHAPES
            or entries > MAX_ENTRIES
            or len(raw) < need
            or any(raw[4:8])
            or any(raw[need:])
        ):
            raise FlowError(
                f"code page: found {shapes} shapes and {entries} entries in {len(raw)} bytes; expected at most "
                f"{MAX_SHAPES} and {MAX_ENTRIES}, {_WORD} bytes each, and zero padding; the page is damaged"
            )
        first_table = _WORD * (1 + shapes)
        words = [int.from_bytes(raw[i : i + _WORD], "little") for i in range(first_table, need, _WORD)]
        used, found = 0, []
        for index in range(shapes):
            at = _WORD * (1 + index)
            found.append(_read_shape(index, raw[at : at + _WORD], words, used))
            used += found[-1].entries
        if used != entries:
            raise FlowError(
                f"code page: found {entries} entries of which shapes use {used}; expected all to be used"
            )
        return cls(tuple(found))


def _word(values: tuple[int, ...], sizes: tuple[int, ...]) -> bytes:
    return b"".join(value.to_bytes(size, "little") for value, size in zip(values, sizes, strict=True))


def _read_shape(index: int, raw: bytes, words: list[int], used: int) -> GroupShape:
    take, code_bits = raw[0], raw[1]
    stride, first, entries = (int.from_bytes(raw[i : i + 2], "little") for i in (2, 4, 6))
    where = f"code page, shape {index}"
    if first == _IDENTITY:
        if entries or code_bits > MAX_DEPTH.bit_length():
            raise FlowError(
                f"{where}: found identity with {entries} entries and {code_bits} code bits; damaged page"
            )
        shape = GroupShape(stride or 1 << code_bits, take, stride)
    else:
        if first != used or not entries or first + entries > len(words) or not 1 <= take <= MAX_MEMBERS:
            raise FlowError(
                f"{where}: found entries {first}..{first + entries - 1}, K={take}; expected a table from entry {used} "
                f"within {len(words)} and K in 1..{MAX_MEMBERS}; the page is damaged"
            )
        if any(word >> 4 * take for word in words[first : first + entries]):
            raise FlowError(f"{where}: found members beyond K={take}; expected zeros; the page is damaged")
        table = tuple(
            tuple(word >> 4 * k & 15 for k in range(take)) for word in words[first : first + entries]
        )
        shape = GroupShape(stride or max(max(entry) for entry in table) + 1, take, stride, table)
    if shape.code_bits != code_bits:
        raise FlowError(
            f"{where}: found {code_bits} code bits; expected {shape.code_bits}; the page is damaged"
        )
    return shape
