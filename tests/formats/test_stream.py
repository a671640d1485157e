"""The byte layout, field by field, and streams that no writer makes."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from flow.errors import FlowError
from flow.formats import (
    CodePage,
    EncodedMatrix,
    GroupShape,
    RowGroup,
    constants,
    decode,
    encode,
    pack,
    stream_beats,
    unpack,
)
from flow.formats.synthetic import Hierarchy, random_hp, random_unstructured

BEAT = 16

Stream = tuple[EncodedMatrix, bytes, Callable[[bytes], EncodedMatrix]]


def streamed(matrix: npt.NDArray[np.int8], banks: int, height: int, bits: int = 8) -> Stream:
    """An encoded matrix, its stream, and how to read a stream of its kind."""
    encoded = encode(matrix, banks=banks, rows_per_group=height, weight_bits=bits)
    rows = len(matrix)
    table = constants(np.arange(rows) - 3, np.arange(rows) + 16384, np.arange(rows) % 46 + 1)
    page = encoded.page.pack(BEAT)

    def read(data: bytes) -> EncodedMatrix:
        return unpack(
            data,
            page,
            rows=rows,
            banks=banks,
            depth=matrix.shape[1] // banks,
            rows_per_group=height,
            weight_bits=bits,
            beat_bytes=BEAT,
        )[0]

    return encoded, pack(encoded, table, BEAT), read


def small(seed: int = 0) -> Stream:
    matrix = random_hp(
        np.random.default_rng(seed), 8, 24, banks=2, block_rows=4, hierarchy=Hierarchy(6, 3, 2)
    )
    return streamed(matrix, 2, 2)


def test_the_bytes_are_those_of_the_program_format() -> None:
    """Two rows, two banks, D = 3: bank 0 keeps columns 0 and 2 (offsets 0, 1), bank 1 columns 3 and 5 (1, 2)."""
    matrix = np.array([[7, 0, -1, 2, 0, 3], [5, 0, 6, -128, 0, 127]], dtype=np.int8)
    encoded = encode(matrix, banks=2, rows_per_group=2)
    stream = pack(encoded, constants(np.array([-2, 3]), np.array([-16384, 16385]), np.array([9, 46])), 32)
    header = (2 | 0 << 12 | 3 << 16 | 2 << 18 | 2 << 32).to_bytes(8, "little")
    first = b"\xfe\xff\xff\xff\x00\xc0\x09\x00"
    second = b"\x03\x00\x00\x00\x01\x40\x2e\x00"
    bitmap = bytes([0b110_011, 0, 0, 0, 0, 0, 0, 0])
    weights = np.array([7, 2, 5, -128, -1, 3, 6, 127], dtype=np.int8).tobytes()
    assert stream == header + first + second + bitmap + weights + bytes(24)
    assert encoded.page.pack(8) == b"\x01\0\0\0\0\0\0\0" + b"\x01\x00\x01\x00\xff\xff\x00\x00"


def test_codes_and_four_bit_weights_are_packed_least_significant_bit_first() -> None:
    """V = 3, K = 1, one bank: the code is the place of the weight, two bits; weights are nibbles."""
    matrix = np.array([[0, 0, -3], [7, 0, 0], [0, -8, 0]], dtype=np.int8)
    encoded = encode(matrix, banks=1, rows_per_group=3, weight_bits=4)
    assert encoded.shapes == (GroupShape(3, 1, 3),)
    stream = pack(encoded, bytes(24), 8)
    assert stream[8:32] == bytes(24)
    assert stream[32:40] == bytes([0b01_00_10, 0, 0, 0, 0, 0, 0, 0])
    assert stream[40:] == bytes([0x7D, 0x08, 0, 0, 0, 0, 0, 0])


def test_a_table_entry_is_sixteen_four_bit_members() -> None:
    page = CodePage((GroupShape(4, 2, 4, ((0, 1), (1, 3))), GroupShape(8, 1, 0)))
    words = (
        b"\x02\0\x02\0\0\0\0\0",
        b"\x02\x01\x04\x00\x00\x00\x02\x00",
        b"\x01\x03\x00\x00\xff\xff\x00\x00",
        b"\x10\0\0\0\0\0\0\0",
        b"\x31\0\0\0\0\0\0\0",
    )
    assert page.pack(64) == b"".join(words) + bytes(24)
    assert CodePage.unpack(page.pack(64)) == page


def test_every_truncation_is_refused() -> None:
    _, stream, read = small()
    for length in range(len(stream)):
        with pytest.raises(FlowError, match=r"damaged$"):
            read(stream[:length])
    with pytest.raises(FlowError, match=r"damaged$"):
        read(stream + bytes(BEAT))


def test_every_flipped_bit_is_refused_or_read_as_another_matrix() -> None:
    """Never another exception, never an index out of range."""
    encoded, stream, read = small()
    refused = changed = 0
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            back = read(bytes(damaged))
            decode(back)
        except FlowError:
            refused += 1
        else:
            changed += back != encoded
    assert refused > 500
    assert changed > 500


@pytest.mark.parametrize("density", [0.1, 0.6])
def test_random_damage_never_escapes_as_another_error(density: float) -> None:
    rng = np.random.default_rng(9)
    _, stream, read = streamed(random_unstructured(rng, 12, 60, density), 3, 4)
    refused = 0
    for _ in range(400):
        damaged = np.frombuffer(stream, dtype=np.uint8).copy()
        at = rng.integers(len(damaged), size=rng.integers(1, 6))
        damaged[at] = rng.integers(256, size=len(at))
        try:
            decode(read(damaged.tobytes()))
        except FlowError:
            refused += 1
    assert refused > 100
    for length in (0, 1, 7, 8, 100, 1000):
        with pytest.raises(FlowError):
            read(rng.bytes(length) + b"\xff")


def test_random_pages_never_escape_as_another_error() -> None:
    rng = np.random.default_rng(10)
    page = encode(
        random_hp(rng, 8, 48, banks=4, block_rows=8, hierarchy=Hierarchy(6, 6, 3)), banks=4, rows_per_group=4
    ).page
    good = page.pack(BEAT)
    assert CodePage.unpack(good) == page
    refused = 0
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            CodePage.unpack(bytes(damaged))
        except FlowError:
            refused += 1
    assert refused > 4 * len(good)
    for length in range(len(good)):
        with pytest.raises(FlowError, match=r"damaged|truncated"):
            CodePage.unpack(good[: length & ~7])


def header(groups: int, shape: int, kind: int, count: int, beats: int, spare: int = 0) -> bytes:
    word = groups | shape << 12 | kind << 16 | count << 18 | spare << 30 | beats << 32
    return word.to_bytes(8, "little")


ONE_ROW = bytes(8)
COLUMNS_PAGE = CodePage((GroupShape(1, 1, 1),))
EXPLICIT_PAGE = CodePage((GroupShape(4, 1, 0),))


@pytest.mark.parametrize(
    ("stream", "page", "fault"),
    [
        (
            header(1, 3, 1, 2, 2) + ONE_ROW,
            COLUMNS_PAGE,
            "found shape 3; expected one of the 1 shapes of the code page",
        ),
        (header(0, 0, 0, 0, 2, 1) + ONE_ROW, COLUMNS_PAGE, "found reserved header bits set; expected zeros"),
        (
            header(0, 0, 0, 0, 2) + bytes(7) + b"\x01",
            COLUMNS_PAGE,
            "found a constant whose last byte is not zero; expected zero",
        ),
        (
            header(0, 0, 0, 5, 2) + ONE_ROW,
            COLUMNS_PAGE,
            "found M = 5 without a map; expected 0, as in the map in force",
        ),
        (
            header(1, 0, 1, 1, 2) + ONE_ROW,
            COLUMNS_PAGE,
            "found a map of 1 columns; expected 1..4095, or D = 2 for the identity",
        ),
        (header(1, 0, 3, 1, 2) + ONE_ROW, COLUMNS_PAGE, "found 16 bytes; expected at least 24"),
        (
            header(1, 0, 3, 1, 2) + ONE_ROW + bytes([0b11, 0, 0, 0, 0, 0, 0, 0]),
            COLUMNS_PAGE,
            "found a bitmap of 2 columns; expected at most M = 1",
        ),
        (
            header(1, 0, 2, 2, 2) + ONE_ROW + bytes([0b10, 0, 0, 0, 0, 0, 0, 0]),
            COLUMNS_PAGE,
            "found a list map; expected identity, which is smaller",
        ),
        (
            header(1, 0, 2, 1, 2) + ONE_ROW + bytes([0b10, 0, 0, 0, 0, 0, 0, 0]),
            COLUMNS_PAGE,
            "found padding that is not zero; expected zero bits after a section",
        ),
        (
            header(1, 0, 0, 0, 3) + ONE_ROW + bytes(8),
            COLUMNS_PAGE,
            "found 1 groups before any column map; expected a map",
        ),
        (
            header(3, 0, 1, 2, 3) + ONE_ROW + bytes(8),
            COLUMNS_PAGE,
            "found groups over 3 columns; expected at most 2",
        ),
        (
            header(1, 0, 1, 2, 4) + ONE_ROW + bytes([3, 0, 0, 0, 0, 0, 0, 0]) + bytes(8),
            EXPLICIT_PAGE,
            "found entry 3; expected 0..1",
        ),
        (header(0, 0, 0, 0, 3) + ONE_ROW, COLUMNS_PAGE, "found a record length of 3 beats; expected 2"),
    ],
)
def test_faults_are_named(stream: bytes, page: CodePage, fault: str) -> None:
    """One row, one bank, D = 2, beats of 8 bytes."""
    with pytest.raises(FlowError) as raised:
        unpack(stream, page, rows=1, banks=1, depth=2, rows_per_group=1, beat_bytes=8)
    assert str(raised.value) == f"weight stream, row group 0: {fault}; the stream is damaged"


def test_weights_that_add_up_beyond_int8_are_refused() -> None:
    """Two explicit weights on one column, which no encoder writes."""
    matrix = np.array([[100, 100, 0, 0], [0, 0, 100, 100]], dtype=np.int8)
    encoded = encode(matrix, banks=1, rows_per_group=2)
    group = encoded.row_groups[0]
    twice = RowGroup(
        2, 0, group.map, np.zeros((2, 2, 1), dtype=np.uint16), np.full((2, 2, 1), 100, dtype=np.int8)
    )
    explicit = EncodedMatrix(2, 1, 4, 2, 8, (GroupShape(4, 1, 0),), (twice,))
    message = "encoded matrix, row group 0: found weights of one column that add up beyond int8; the stream is damaged"
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        decode(explicit)


def test_surplus_bytes_are_refused() -> None:
    message = "weight stream: found 24 bytes; expected 16 for 1 rows; the stream is damaged"
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        unpack(
            header(0, 0, 0, 0, 2) + ONE_ROW + bytes(8),
            COLUMNS_PAGE,
            rows=1,
            banks=1,
            depth=2,
            rows_per_group=1,
            beat_bytes=8,
        )


def test_bad_arguments() -> None:
    encoded, stream, _ = small()
    cases: list[tuple[Callable[[], object], str]] = [
        (
            lambda: pack(encoded, bytes(8), 16),
            "weight stream: found 8 bytes of constants; expected 8 for each of 8 rows; pad them like the matrix",
        ),
        (
            lambda: pack(encoded, bytes(64), 12),
            "weight stream: found beats of 12 bytes; expected a power of two; mend the engine",
        ),
        (
            lambda: unpack(stream, encoded.page, rows=7, banks=2, depth=12, rows_per_group=2, beat_bytes=16),
            (
                "weight stream: found N'=7 B=2 D=12 P=2 with 8-bit weights; expected counts of at least 1, "
                "P a divisor of N', D <= 4095, 4 or 8 bits; correct the step record"
            ),
        ),
        (
            lambda: constants(np.array([0]), np.array([1 << 15]), np.array([1])),
            "requantise constants: found multiplier 32768..32768; expected -32768..32767; rescale the layer",
        ),
        (
            lambda: constants(np.zeros(2, dtype=np.int64), np.array([1]), np.array([1])),
            "requantise constants: found arrays of lengths [1, 2]; expected one entry per row",
        ),
    ]
    for call, message in cases:
        with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
            call()


def test_length_is_known_without_packing() -> None:
    encoded, stream, _ = small()
    assert stream_beats(encoded, BEAT) * BEAT == len(stream)
