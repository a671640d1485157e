"""The weight stream: an encoded matrix and its requantise constants as bytes, record by record.

One record per row group, padded to whole beats; its sections in this order, each padded to 8 bytes, fields
least significant bit first, bytes little-endian:

- header u64: bits 0..11 G, 12..15 shape, 16..17 map kind, 18..29 M (columns per bank of the map in force, 0
  before the first), 30..31 zero, 32..63 length of the record in beats;
- constants: P times `{i32 bias, i16 multiplier, u8 shift, u8 0}`;
- map, kind 2 (list): per bank M offsets of max(1, ceil(log2 D)) bits; kind 3 (bitmap): per bank D bits, of
  which the set ones are the offsets in ascending order, the last (0 if none) repeated up to M; kinds 0
  (keep) and 1 (identity) have none;
- codes: for g, for p, for bank, `code_bits` each;
- weights: for i in 0..G*K-1, for p, for bank, `weight_bits` each, two's complement.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow.errors import FlowError
from flow.formats.bits import pack_bits, unpack_bits
from flow.formats.encoded import ColumnMap, EncodedMatrix, MapKind, RowGroup, offset_bits, stored_columns
from flow.formats.shapes import MAX_DEPTH, CodePage

CONSTANT = np.dtype([("bias", "<i4"), ("multiplier", "<i2"), ("shift", "u1"), ("zero", "u1")])
"""One output channel's requantise constants: y = requant(acc + bias, multiplier, shift)."""

Constants = npt.NDArray[np.void]
Buffer = bytes | bytearray | memoryview

_WORD = 8


def record_beats(encoded: EncodedMatrix, beat_bytes: int) -> tuple[int, ...]:
    """Length in beats of every row group's record, without packing it."""
    return tuple(-(-_record_bytes(encoded, group) // beat_bytes) for group in encoded.row_groups)


def stream_beats(encoded: EncodedMatrix, beat_bytes: int) -> int:
    """Length in beats of the whole stream, without packing it."""
    return sum(record_beats(encoded, beat_bytes))


def _record_bytes(encoded: EncodedMatrix, group: RowGroup) -> int:
    sections = (
        0 if group.map is None else group.map.bits,
        group.codes.size * encoded.shapes[group.shape].code_bits,
        group.weights.size * encoded.weight_bits,
    )
    return _WORD * (1 + encoded.rows_per_group + sum(-(-bits // (8 * _WORD)) for bits in sections))


def constants(
    bias: npt.NDArray[np.integer], multiplier: npt.NDArray[np.integer], shift: npt.NDArray[np.integer]
) -> Constants:
    """Requantise constants [N'] for `pack`, from int32 bias, int16 multiplier and shift 0..255 per output channel.

    Raises `FlowError` for values out of range or arrays of different lengths.
    """
    ranges = {
        "bias": (bias, -(1 << 31), 1 << 31),
        "multiplier": (multiplier, -(1 << 15), 1 << 15),
        "shift": (shift, 0, 256),
    }
    lengths = {len(values) for values, _, _ in ranges.values()}
    if len(lengths) != 1:
        raise FlowError(
            f"requantise constants: found arrays of lengths {sorted(lengths)}; expected one entry per row"
        )
    table = np.zeros(lengths.pop(), dtype=CONSTANT)
    for name, (values, low, high) in ranges.items():
        if len(values) and not (low <= int(values.min()) and int(values.max()) < high):
            raise FlowError(
                f"requantise constants: found {name} {values.min()}..{values.max()}; expected {low}..{high - 1}; "
                "rescale the layer"
            )
        table[name] = values
    return table


def pack(encoded: EncodedMatrix, constants: Constants | Buffer, beat_bytes: int) -> bytes:
    """The weight stream: `stream_beats(encoded, beat_bytes)` beats of `beat_bytes` bytes.

    `constants` is what `constants()` makes, or its bytes: 8 for each of the N' rows, padding rows included.
    Raises `FlowError` for constants of another length, or a beat that is no power of two of at least 1.
    """
    _check_beat(beat_bytes)
    raw = constants.tobytes() if isinstance(constants, np.ndarray) else bytes(constants)
    if len(raw) != CONSTANT.itemsize * encoded.rows:
        raise FlowError(
            f"weight stream: found {len(raw)} bytes of constants; expected {CONSTANT.itemsize} for each of "
            f"{encoded.rows} rows; pad them like the matrix"
        )
    share = CONSTANT.itemsize * encoded.rows_per_group
    records: list[bytes] = []
    count = 0
    for index, group in enumerate(encoded.row_groups):
        kind = MapKind.KEEP if group.map is None else group.map.kind
        count = count if group.map is None else group.map.count
        beats = -(-_record_bytes(encoded, group) // beat_bytes)
        header = group.groups | group.shape << 12 | kind << 16 | count << 18 | beats << 32
        sections = (
            header.to_bytes(_WORD, "little"),
            raw[index * share : (index + 1) * share],
            b"" if group.map is None else _pack_map(group.map),
            pack_bits(group.codes, encoded.shapes[group.shape].code_bits),
            pack_bits(group.weights, encoded.weight_bits),
        )
        record = b"".join(part for section in sections for part in (section, bytes(-len(section) % _WORD)))
        records += (record, bytes(beats * beat_bytes - len(record)))
    return b"".join(records)


def _check_beat(beat_bytes: int) -> None:
    if beat_bytes < 1 or beat_bytes & (beat_bytes - 1):
        raise FlowError(
            f"weight stream: found beats of {beat_bytes} bytes; expected a power of two; mend the engine"
        )


def _pack_map(columns: ColumnMap) -> bytes:
    if columns.kind is MapKind.LIST:
        return pack_bits(columns.offsets, offset_bits(columns.depth))
    if columns.kind is MapKind.BITMAP:
        kept = np.zeros((len(columns.offsets), columns.depth), dtype=np.uint8)
        np.put_along_axis(kept, columns.offsets.astype(np.int64), 1, axis=1)
        return np.packbits(kept, bitorder="little").tobytes()
    return b""


def unpack(
    stream: Buffer,
    page: CodePage | Buffer,
    *,
    rows: int,
    banks: int,
    depth: int,
    rows_per_group: int,
    weight_bits: int = 8,
    beat_bytes: int,
) -> tuple[EncodedMatrix, Constants]:
    """The exact inverse of `pack` (and `CodePage.pack`): the encoded matrix and the constants [N'].

    Raises `FlowError`, and nothing else, for damaged bytes: truncated or surplus records, fields out of
    range, codes that name no column, padding that is not zero.
    """
    _check_beat(beat_bytes)
    shapes = page.shapes if isinstance(page, CodePage) else CodePage.unpack(page).shapes
    frame = EncodedMatrix(rows, banks, depth, rows_per_group, weight_bits, shapes, ())
    sizes = (rows, banks, depth, rows_per_group)
    if min(sizes) < 1 or rows % rows_per_group or depth > MAX_DEPTH or weight_bits not in (4, 8):
        raise FlowError(
            f"weight stream: found N'={rows} B={banks} D={depth} P={rows_per_group} with {weight_bits}-bit weights; "
            f"expected counts of at least 1, P a divisor of N', D <= {MAX_DEPTH}, 4 or 8 bits; correct the step record"
        )
    reader = _Reader(bytes(stream), frame, beat_bytes)
    for _ in range(rows // rows_per_group):
        reader.read_record()
    reader.finish()
    encoded = EncodedMatrix(rows, banks, depth, rows_per_group, weight_bits, shapes, tuple(reader.groups))
    return encoded, np.frombuffer(b"".join(reader.constants), dtype=CONSTANT)


class _Reader:
    """Reads records one after the other and refuses what the writer would not have written."""

    def __init__(self, data: bytes, frame: EncodedMatrix, beat_bytes: int) -> None:
        self.data = data
        self.frame = frame
        self.beat_bytes = beat_bytes
        self.at = 0
        self.groups: list[RowGroup] = []
        self.constants: list[bytes] = []
        self.current: ColumnMap | None = None

    def fail(self, found: str, expected: str) -> FlowError:
        return FlowError(
            f"weight stream, row group {len(self.groups)}: found {found}; expected {expected}; the stream is damaged"
        )

    def take(self, bits: int) -> bytes:
        """The next section of `bits` bits, whose padding to 8 bytes must be zero."""
        size = -(-bits // 8)
        padded = -(-size // _WORD) * _WORD
        section = self.data[self.at : self.at + padded]
        if len(section) < padded:
            raise self.fail(f"{len(self.data)} bytes", f"at least {self.at + padded}")
        if any(section[size:]) or (bits % 8 and section[size - 1] >> bits % 8):
            raise self.fail("padding that is not zero", "zero bits after a section")
        self.at += padded
        return section[:size]

    def read_record(self) -> None:
        """One row group."""
        start, frame = self.at, self.frame
        header = int.from_bytes(self.take(64), "little")
        groups, shape, kind = header & 0xFFF, header >> 12 & 15, MapKind(header >> 16 & 3)
        count, beats = header >> 18 & 0xFFF, header >> 32
        if shape >= len(frame.shapes):
            raise self.fail(f"shape {shape}", f"one of the {len(frame.shapes)} shapes of the code page")
        if header >> 30 & 3:
            raise self.fail("reserved header bits set", "zeros")
        constants = self.take(64 * frame.rows_per_group)
        if any(constants[_WORD - 1 :: _WORD]):
            raise self.fail("a constant whose last byte is not zero", "zero")
        self.constants.append(constants)
        columns = self.read_map(kind, count)
        lanes = frame.rows_per_group * frame.banks
        take = frame.shapes[shape].take if groups else 0
        code_bits = frame.shapes[shape].code_bits if groups else 0
        codes = unpack_bits(self.take(groups * lanes * code_bits), code_bits, groups * lanes)
        weights = unpack_bits(
            self.take(groups * take * lanes * frame.weight_bits), frame.weight_bits, groups * take * lanes
        )
        limit = 1 << (frame.weight_bits - 1)
        weights = (weights ^ limit) - limit
        dims = frame.rows_per_group, frame.banks
        group = RowGroup(
            groups,
            shape,
            columns,
            codes.astype(np.uint16).reshape(groups, *dims),
            weights.astype(np.int8).reshape(groups * take, *dims),
        )
        if groups:
            stored_columns(
                group, frame.shapes[shape], self.current, f"weight stream, row group {len(self.groups)}"
            )
        self.end_record(start, beats)
        self.groups.append(group)

    def read_map(self, kind: MapKind, count: int) -> ColumnMap | None:
        """The column map of the record; its header's M must be that of the map in force."""
        frame = self.frame
        if kind is MapKind.KEEP:
            if count != (expected := 0 if self.current is None else self.current.count):
                raise self.fail(f"M = {count} without a map", f"{expected}, as in the map in force")
            return None
        if not count or (kind is MapKind.IDENTITY and count != frame.depth):
            raise self.fail(
                f"a map of {count} columns", f"1..{MAX_DEPTH}, or D = {frame.depth} for the identity"
            )
        if kind is MapKind.IDENTITY:
            offsets = np.tile(np.arange(frame.depth, dtype=np.int64), (frame.banks, 1))
        elif kind is MapKind.LIST:
            width = offset_bits(frame.depth)
            offsets = unpack_bits(self.take(frame.banks * count * width), width, frame.banks * count)
            offsets = offsets.reshape(frame.banks, count)
            if int(offsets.max()) >= frame.depth:
                raise self.fail(f"column offset {offsets.max()}", f"0..{frame.depth - 1}")
        else:
            offsets = self.read_bitmap(count)
        self.current = ColumnMap(offsets.astype(np.uint16), frame.depth)
        if self.current.kind is not kind:
            raise self.fail(
                f"a {kind.name.lower()} map", f"{self.current.kind.name.lower()}, which is smaller"
            )
        return self.current

    def read_bitmap(self, count: int) -> npt.NDArray[np.int64]:
        """Offsets [B, M] from a bit for every column of a bank."""
        banks, depth = self.frame.banks, self.frame.depth
        kept = unpack_bits(self.take(banks * depth), 1, banks * depth).reshape(banks, depth)
        counts = kept.sum(axis=1)
        if int(counts.max()) > count:
            raise self.fail(f"a bitmap of {counts.max()} columns", f"at most M = {count}")
        offsets = np.zeros((banks, count), dtype=np.int64)
        bank, offset = np.nonzero(kept)
        offsets[bank, (np.cumsum(kept, axis=1) - 1)[bank, offset]] = offset
        return np.maximum.accumulate(offsets, axis=1)

    def end_record(self, start: int, beats: int) -> None:
        """The record ends on a beat, where its header says."""
        length = -(-(self.at - start) // self.beat_bytes)
        if beats != length:
            raise self.fail(f"a record length of {beats} beats", f"{length}")
        end = start + length * self.beat_bytes
        if len(self.data) < end or any(self.data[self.at : end]):
            raise self.fail("a truncated record or padding that is not zero", f"zeros up to byte {end}")
        self.at = end

    def finish(self) -> None:
        """Nothing follows the last record."""
        if self.at != len(self.data):
            raise FlowError(
                f"weight stream: found {len(self.data)} bytes; expected {self.at} for {self.frame.rows} rows; "
                "the stream is damaged"
            )
