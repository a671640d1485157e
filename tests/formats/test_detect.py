"""Structure is found again from the zeros alone, and stored as small as it deserves."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from flow.formats import decode, describe, encode
from flow.formats.encoded import MapKind
from flow.formats.synthetic import (
    Hierarchy,
    random_hp,
    random_patterns,
    random_unstructured,
    random_weights,
)

Bytes = npt.NDArray[np.int8]


def hp(
    hierarchy: Hierarchy, *, rows: int = 128, columns: int = 384, block_rows: int = 32, seed: int = 1
) -> Bytes:
    rng = np.random.default_rng(seed)
    return random_hp(rng, rows, columns, banks=32, block_rows=block_rows, hierarchy=hierarchy)


def test_dense() -> None:
    encoded = encode(random_weights(np.random.default_rng(0), (16, 64), 8), banks=16, rows_per_group=4)
    found = describe(encoded)
    assert str(found) == "dense, R=16, density 1.000, 16 cycles of 16 dense, 1.00x the balanced 16"
    assert (encoded.code_section_bits, encoded.map_section_bits) == (0, 0)
    assert [group.map.kind if group.map else None for group in encoded.row_groups] == [
        MapKind.IDENTITY,
        *[None] * 3,
    ]


@pytest.mark.parametrize(("kept", "width", "take"), [(6, 6, 3), (8, 4, 2), (10, 10, 5), (9, 3, 1), (8, 8, 2)])
def test_hierarchy(kept: int, width: int, take: int) -> None:
    encoded = encode(hp(Hierarchy(kept, width, take)), banks=32, rows_per_group=8)
    found = describe(encoded)
    assert (found.scheme, found.block_rows, found.uniform, found.overhead) == ("hp", 32, True, 1.0)
    assert encoded.cycles == 128 // 8 * (kept // width) * take
    code_bits = math.ceil(math.log2(math.comb(width, take)))
    assert encoded.code_section_bits <= 128 * 32 * (kept // width) * code_bits
    assert encoded.map_section_bits == 4 * 32 * 12


def test_hierarchy_survives_lost_weights_and_columns() -> None:
    matrix = hp(Hierarchy(8, 4, 2))
    rng = np.random.default_rng(3)
    matrix *= rng.random(matrix.shape) > 0.1
    for start in range(0, 128, 32):
        matrix[start : start + 32, rng.random(384) < 0.1] = 0
    encoded = encode(matrix, banks=32, rows_per_group=8)
    found = describe(encoded)
    assert (found.scheme, found.width, found.take, found.block_rows) == ("hp", 4, 2, 32)
    assert encoded.cycles == 16 * 4
    assert np.array_equal(decode(encoded), matrix)


def test_lost_columns_still_fit_a_bitmap() -> None:
    """The gap that a lost column leaves is filled with it, so the list stays ascending."""
    matrix = random_hp(
        np.random.default_rng(2), 64, 96, banks=4, block_rows=64, hierarchy=Hierarchy(12, 4, 2)
    )
    kept = np.flatnonzero(matrix[:, 0::4].any(axis=0))
    matrix[:, 4 * kept[5]] = 0
    encoded = encode(matrix, banks=4, rows_per_group=4)
    assert encoded.row_groups[0].map is not None
    assert encoded.row_groups[0].map.kind is MapKind.BITMAP
    assert encoded.row_groups[0].map.count == 12


def test_block_column() -> None:
    found = describe(encode(hp(Hierarchy(5, 5, 5)), banks=32, rows_per_group=8))
    assert (found.scheme, found.block_rows, found.uniform, found.overhead) == ("block-column", 32, True, 1.0)


@pytest.mark.parametrize(("width", "take"), [(4, 2), (4, 1), (8, 2)])
def test_n_m(width: int, take: int) -> None:
    matrix = hp(Hierarchy(16, width, take), columns=512, block_rows=128)
    encoded = encode(matrix, banks=32, rows_per_group=8)
    found = describe(encoded)
    assert (found.scheme, found.take, found.width, found.overhead) == ("n:m", take, width, 1.0)
    assert encoded.map_section_bits == 0
    assert encoded.code_section_bits <= 128 * 32 * (16 // width) * math.ceil(
        math.log2(math.comb(width, take))
    )


def test_patterns_shrink_the_codes() -> None:
    matrix = random_patterns(np.random.default_rng(4), 64, 512, banks=16, width=16, take=4, patterns=8)
    encoded = encode(matrix, banks=16, rows_per_group=8)
    found = describe(encoded)
    assert (found.scheme, found.width, found.take) == ("pattern", 16, 4)
    assert encoded.code_section_bits == 64 * 16 * 2 * 3
    assert [shape.entries for shape in encoded.shapes] == [8]


def test_blocks_may_differ_in_density() -> None:
    """Sensitive rows keep more: every block has its own G and K, no row group pays for another."""
    dense = random_weights(np.random.default_rng(0), (32, 384), 8)
    parts = [hp(Hierarchy(*h), rows=32) for h in ((6, 6, 3), (12, 6, 3), (8, 4, 1))]
    encoded = encode(np.concatenate([*parts, dense]), banks=32, rows_per_group=8)
    assert encoded.row_group_cycles == (3,) * 4 + (6,) * 4 + (2,) * 4 + (12,) * 4
    found = describe(encoded)
    assert (found.overhead, found.uniform) == (1.0, False)
    assert str(found).startswith("dense (mostly), R=32")
    assert {(shape.width, shape.take) for shape in encoded.shapes} == {(6, 3), (4, 1), (1, 1)}


def test_row_groups_of_one_block_may_differ_in_take() -> None:
    """One column list, V = 6 in two groups, K = 2 or 3 by row group."""
    rng = np.random.default_rng(7)
    matrix = hp(Hierarchy(12, 6, 3), rows=64, block_rows=64)
    blocked = matrix.reshape(8, 8, 2, 6, 32)
    blocked[::2] *= rng.random((4, 8, 2, 6, 32)).argsort(axis=3) < 4
    counts = (blocked != 0).sum(axis=3)
    encoded = encode(matrix, banks=32, rows_per_group=8)
    assert set(encoded.row_group_cycles) == {6}
    assert counts.max() == 3
    assert np.array_equal(decode(encoded), matrix)


def test_one_odd_block_does_not_spoil_the_others() -> None:
    matrix = hp(Hierarchy(8, 4, 2), rows=256)
    matrix[96:128] = random_unstructured(np.random.default_rng(5), 32, 384, 0.4)
    regular = encode(np.delete(matrix, range(96, 128), axis=0), banks=32, rows_per_group=8)
    encoded = encode(matrix, banks=32, rows_per_group=8)
    odd = sum(group.codes.size * encoded.shapes[group.shape].code_bits for group in encoded.row_groups[12:16])
    assert encoded.code_section_bits - odd == regular.code_section_bits
    assert describe(encoded).scheme in {"hp", "unstructured"}


def test_unstructured_pays_for_the_fullest_row_of_each_group_only() -> None:
    matrix = random_unstructured(np.random.default_rng(6), 64, 1280, 0.1)
    matrix[8:16] = 0
    matrix[8, :32] = 1
    encoded = encode(matrix, banks=32, rows_per_group=8)
    found = describe(encoded)
    assert found.scheme == "unstructured"
    assert encoded.row_group_cycles[1] == 1
    assert found.balanced_cycles == -(-np.count_nonzero(matrix) // 256)
    assert found.overhead == encoded.cycles / found.balanced_cycles > 1.5


def test_rows_without_weights_take_no_cycles_and_no_map() -> None:
    matrix = hp(Hierarchy(6, 6, 3))
    matrix[:40] = 0
    encoded = encode(matrix, banks=32, rows_per_group=8)
    assert encoded.row_group_cycles == (0,) * 5 + (3,) * 11
    assert all(group.map is None for group in encoded.row_groups[:5])
    assert encoded.row_groups[5].map is not None
