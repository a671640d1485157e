"""Weight streams for the loader: random encodings, and what an engine makes of any bytes at all.

`decode` reads a page and a stream by docs/program-format.md, bit by bit and without flow.formats, so that damaged
ones have an answer too: the row groups before the damage.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flow.formats import CodePage, EncodedMatrix, GroupShape, MapKind, RowGroup, constants, encode, pack
from flow.formats.encoded import ColumnMap
from flow.formats.shapes import all_subsets
from flow.formats.synthetic import Hierarchy, random_hp, random_patterns, random_unstructured, random_weights

MAX_SHAPES = 4
MAX_ENTRIES = 256


@dataclass(frozen=True)
class Loader:
    """Parameters of the module under test, as in an engine."""

    banks: int
    rows: int
    beat_bytes: int
    row_cycles: int
    depth: int
    table_bits: int = 8

    @property
    def ring_log2(self) -> int:
        """Small, so that the ring fills up: two of the longest row groups."""
        return max(4, (self.row_cycles - 1).bit_length() + 1)

    @property
    def lanes(self) -> int:
        """Rows whose codes are looked up in a cycle."""
        return max(1, min(self.rows, self.beat_bytes // self.banks))

    @property
    def parameters(self) -> dict[str, int]:
        return {
            "Banks": self.banks,
            "Rows": self.rows,
            "BeatBytes": self.beat_bytes,
            "RowCycles": self.row_cycles,
            "Depth": self.depth,
            "TableBits": self.table_bits,
            "RingLog2": self.ring_log2,
        }

    def beats(self, size: int) -> int:
        return -(-size // self.beat_bytes)


@dataclass
class Group:
    """What stands in the row buffer and in the constants ring."""

    weights: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    constants: list[tuple[int, int, int]]
    beats: int
    lookups: int
    map_cycles: int

    @property
    def bound(self) -> int:
        """Cycles that the loader may take for it alone, without the one that may be lost."""
        return max(self.beats, self.lookups, self.map_cycles, 1)


@dataclass
class Job:
    """One linear step's words and bytes, whole beats each."""

    words: dict[str, int]
    page: bytes
    stream: bytes
    table: list[int] = field(default_factory=list)
    stage: list[int] = field(default_factory=list)


class DamagedError(Exception):
    """What the kernel answers with BAD_STEP."""


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "little")
        self.at = 0

    def take(self, bits: int) -> int:
        found = self.value >> self.at & ((1 << bits) - 1)
        self.at += bits
        return found

    def align(self) -> None:
        self.at += -self.at % 64


@dataclass(frozen=True)
class _Shape:
    take: int
    code_bits: int
    stride: int
    first: int
    entries: int

    @property
    def identity(self) -> bool:
        return self.first == 0xFFFF


def _read_page(page: bytes) -> tuple[list[_Shape], list[int]]:
    bits = _Bits(page)
    shapes, entries = bits.take(16), bits.take(16)
    bits.align()
    if shapes > MAX_SHAPES or entries > MAX_ENTRIES:
        raise DamagedError("page: sizes")
    found = [_Shape(*(bits.take(n) for n in (8, 8, 16, 16, 16))) for _ in range(shapes)]
    for shape in found:
        listed = shape.entries > 0 and shape.first + shape.entries <= entries
        if not 1 <= shape.take <= 16 or shape.code_bits > 12:
            raise DamagedError("page: K or code bits")
        if shape.take != 1 if shape.identity else not listed:
            raise DamagedError("page: table")
    return found, [bits.take(64) for _ in range(entries)]


class _Decoder:
    def __init__(self, loader: Loader, job: Job) -> None:
        self.loader, self.job = loader, job
        self.depth, self.weight_bits = job.words["depth"], job.words["weight_bits"]
        self.lists: list[list[int]] | None = None
        self.count = 0

    def groups(self) -> tuple[list[Group], str]:
        """Row groups until the end or the damage, and what the damage is."""
        found: list[Group] = []
        try:
            shapes, table = _read_page(self.job.page)
            stream, unit = self.job.stream, self.loader.beat_bytes
            for _ in range(self.row_groups()):
                head = int.from_bytes(stream[:8], "little")
                beats = head >> 32
                if beats * unit > len(stream):
                    raise DamagedError("record: longer than the stream")
                found.append(self.record(stream[: beats * unit], head, shapes, table))
                stream = stream[beats * unit :]
        except DamagedError as error:
            return found, str(error)
        return found, ""

    def row_groups(self) -> int:
        words = self.job.words
        if words["row_groups"] == 0:
            raise DamagedError("no row groups")
        if words["space"] != 3:
            return words["row_groups"]
        return min(words["row_groups"], words["heads"] * (words["pitch"] // self.loader.rows))

    def record(self, data: bytes, head: int, shapes: list[_Shape], table: list[int]) -> Group:
        loader = self.loader
        groups, index, kind, columns = (
            head & 0xFFF,
            head >> 12 & 15,
            MapKind(head >> 16 & 3),
            head >> 18 & 0xFFF,
        )
        if groups and index >= len(shapes):
            raise DamagedError("record: shape")
        shape = shapes[index] if groups else _Shape(1, 0, 0, 0xFFFF, 0)
        cycles = groups * shape.take
        if cycles > loader.row_cycles:
            raise DamagedError("record: cycles")
        if kind in (MapKind.LIST, MapKind.BITMAP) and columns > 4 * loader.depth + 16:
            raise DamagedError("record: columns")
        bits = _Bits(data)
        bits.take(64)
        values = [(bits.take(32), bits.take(16), bits.take(16) & 63) for _ in range(loader.rows)]
        map_cycles = self.read_map(bits, kind, columns)
        bits.align()
        offsets = self.offsets(bits, groups, shape, table)
        bits.align()
        weights = np.array(
            [bits.take(self.weight_bits) for _ in range(cycles * loader.rows * loader.banks)], dtype=np.int64
        ).reshape(cycles, loader.rows, loader.banks)
        bits.align()
        if bits.at > 8 * len(data):
            raise DamagedError("record: shorter than its sections")
        weights -= (weights >> self.weight_bits - 1) << self.weight_bits
        lookups = cycles * (loader.rows // loader.lanes if shape.code_bits else 1)
        return Group(weights, offsets, values, len(data) // loader.beat_bytes, lookups, map_cycles)

    def read_map(self, bits: _Bits, kind: MapKind, columns: int) -> int:
        """Puts a map in force; the cycles that it may take."""
        banks, depth = range(self.loader.banks), self.depth
        if kind is MapKind.KEEP:
            return 0
        if kind is MapKind.IDENTITY:
            self.lists, self.count = [list(range(depth)) for _ in banks], depth
            return 0
        self.count = columns
        if kind is MapKind.LIST:
            width = max(1, (depth - 1).bit_length())
            self.lists = [[bits.take(width) for _ in range(columns)] for _ in banks]
            if any(offset >= depth for offsets in self.lists for offset in offsets):
                raise DamagedError("list: offset")
            return len(banks) * max(1, -(-columns // 16))
        self.lists = []
        for _ in banks:
            kept = [offset for offset in range(depth) if bits.take(1)]
            if len(kept) > columns:
                raise DamagedError("bitmap: columns")
            self.lists.append(kept + [kept[-1] if kept else 0] * (columns - len(kept)))
        return len(banks) * max(-(-depth // 16), -(-columns // 16))

    def offsets(self, bits: _Bits, groups: int, shape: _Shape, table: list[int]) -> npt.NDArray[np.int64]:
        loader = self.loader
        found = np.zeros((groups * shape.take, loader.rows, loader.banks), dtype=np.int64)
        for g in range(groups):
            for p in range(loader.rows):
                for bank in range(loader.banks):
                    code = bits.take(shape.code_bits)
                    if not shape.identity and code >= shape.entries:
                        raise DamagedError("codes: entry")
                    for k in range(shape.take):
                        member = code if shape.identity else table[shape.first + code] >> 4 * k & 15
                        column = g * shape.stride + member
                        if column >= self.count or self.lists is None:
                            raise DamagedError("codes: column")
                        found[g * shape.take + k, p, bank] = self.lists[bank][column]
        return found


def decode(loader: Loader, job: Job) -> tuple[list[Group], str]:
    """The row groups of a job until its end or its damage, and a word about the damage."""
    return _Decoder(loader, job).groups()


# ---- Encodings


def structured(kind: str, loader: Loader, rng: np.random.Generator, groups: int) -> EncodedMatrix:
    """A matrix of `groups` row groups with a structure that `encode` finds again, or one that it would not choose:
    groups as large as a shape may say.
    """
    if kind == "largest":
        return _largest(loader, rng, groups)
    banks, depth = loader.banks, loader.depth
    rows, columns = groups * loader.rows, depth * banks
    bits = 4 if kind.endswith("4") else 8
    if kind.startswith("dense"):
        matrix = random_weights(rng, (rows, columns), bits)
    elif kind.startswith("hp"):
        kept, width, take = {
            "hp-2-1": (depth // 2 * 2, 2, 1),
            "hp-4-2": (depth // 4 * 4, 4, 2),
            "hp-8-3": (depth // 8 * 8, 8, 3),
            "hp-half4": (depth // 2 // 4 * 4, 4, 2),
        }[kind]
        hierarchy = Hierarchy(kept, width, take)
        blocks = loader.rows * (2 if groups % 2 == 0 else 1)
        matrix = random_hp(
            rng, rows, columns, banks=banks, block_rows=blocks, hierarchy=hierarchy, weight_bits=bits
        )
    elif kind == "block":
        matrix = random_hp(
            rng, rows, columns, banks=banks, block_rows=loader.rows, hierarchy=Hierarchy(depth // 2, 1, 1)
        )
    elif kind == "pattern":
        matrix = random_patterns(rng, rows, columns, banks=banks, width=4, take=2, patterns=3)
    elif kind == "unstructured":
        matrix = random_unstructured(rng, rows, columns, 0.3)
    else:
        assert kind == "zeros"
        matrix = random_unstructured(rng, rows, columns, 0.2)
        matrix[rng.random(rows // loader.rows).repeat(loader.rows) < 0.5] = 0
    return encode(matrix, banks=banks, rows_per_group=loader.rows, weight_bits=bits)


def _largest(loader: Loader, rng: np.random.Generator, groups: int) -> EncodedMatrix:
    """One group of 16 weights, or of as many as the loader has room for, in every row and bank."""
    take = min(16, loader.row_cycles, loader.depth)
    dims = loader.rows, loader.banks
    everything = ColumnMap(np.tile(np.arange(loader.depth, dtype=np.uint16), (loader.banks, 1)), loader.depth)
    found = [
        RowGroup(
            1,
            0,
            None if number else everything,
            np.zeros((1, *dims), np.uint16),
            rng.integers(-128, 128, (take, *dims)).astype(np.int8),
        )
        for number in range(groups)
    ]
    shape = GroupShape(take, take, take, (tuple(range(take)),))
    return EncodedMatrix(
        groups * loader.rows, loader.banks, loader.depth, loader.rows, 8, (shape,), tuple(found)
    )


def _random_shape(rng: random.Random, loader: Loader, entries: int) -> GroupShape:
    kind = rng.randrange(4)
    most = min(16, loader.row_cycles)
    if kind == 0:
        width = rng.choice([1, 1, 2, 3, 5, 16])
        return GroupShape(width, 1, width)
    if kind == 1:
        return GroupShape(1 << rng.randrange(7), 1, 0)
    width = rng.randint(1, 16)
    take = rng.randint(1, min(width, most))
    subsets = all_subsets(width, take)
    table = sorted(rng.sample(subsets, min(len(subsets), rng.randint(1, max(1, entries)))))
    if kind == 2:
        return GroupShape(width, take, width, tuple(table))
    return GroupShape(max(s[-1] for s in table) + 1, take, 0, tuple(table))


def _random_map(rng: random.Random, loader: Loader, depth: int) -> ColumnMap:
    """Bitmaps, lists of all lengths and the identity."""
    most = 4 * loader.depth + 16
    kind = rng.randrange(5)
    if kind == 0:
        return ColumnMap(np.tile(np.arange(depth, dtype=np.uint16), (loader.banks, 1)), depth)
    count = rng.choice(
        [rng.randint(1, most), rng.randint(1, min(depth + 2, most)), rng.randint(1, min(16, most))]
    )
    rows = []
    for _ in range(loader.banks):
        if kind < 3:
            kept = sorted(rng.sample(range(depth), rng.randint(0, min(depth, count))))
            rows.append(kept + [kept[-1] if kept else 0] * (count - len(kept)))
        else:
            rows.append([rng.randrange(depth) for _ in range(count)])
    return ColumnMap(np.array(rows, dtype=np.uint16), depth)


def random_encoding(
    rng: random.Random, loader: Loader, groups: int, depth: int, weight_bits: int
) -> EncodedMatrix:
    """Anything that the format can say, not what an encoder would choose."""
    budget, shapes = MAX_ENTRIES, []
    for _ in range(rng.randint(1, MAX_SHAPES)):
        shapes.append(_random_shape(rng, loader, min(budget, rng.choice([1, 3, 20, 250]))))
        budget -= shapes[-1].entries
        if budget < 1:
            break
    dims = loader.rows, loader.banks
    limit = 1 << weight_bits - 1
    current: ColumnMap | None = None
    found = []
    numbers = np.random.default_rng(rng.getrandbits(32))
    for _ in range(groups):
        new = _random_map(rng, loader, depth) if current is None or rng.random() < 0.4 else None
        current = new or current
        assert current is not None
        index = rng.randrange(len(shapes))
        shape = shapes[index]
        most = loader.row_cycles // shape.take
        if shape.stride:
            most = min(most, current.count // shape.stride)
        elif shape.width > current.count and shape.table is not None:
            most = 0
        count = rng.choice([0, rng.randint(0, most), most, min(1, most)])
        shared = shape.table is None and not shape.stride
        high = min(shape.codes, current.count) if shared else shape.codes
        codes = numbers.integers(0, high, (count, *dims))
        weights = numbers.integers(-limit, limit, (count * shape.take, *dims))
        found.append(RowGroup(count, index, new, codes.astype(np.uint16), weights.astype(np.int8)))
    return EncodedMatrix(
        groups * loader.rows, loader.banks, depth, loader.rows, weight_bits, tuple(shapes), tuple(found)
    )


def make_job(rng: random.Random, loader: Loader, encoded: EncodedMatrix) -> Job:
    """A job of an encoding, with random constants; the reserved top bits of the shifts are set at random."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    rows = encoded.rows
    values = constants(
        numbers.integers(-(2**31), 2**31, rows),
        numbers.integers(-(2**15), 2**15, rows),
        numbers.integers(0, 256, rows),
    )
    stream = pack(encoded, values, loader.beat_bytes)
    words = {
        "depth": encoded.depth,
        "row_groups": len(encoded.row_groups),
        "weight_bits": encoded.weight_bits,
        "weight_beats": len(stream) // loader.beat_bytes,
        "table_bits": 0,
        "stage": 0,
        "space": 0,
        "heads": rng.getrandbits(32),
        "pitch": rng.getrandbits(32),
    }
    return Job(words, CodePage(encoded.shapes).pack(loader.beat_bytes), stream)
