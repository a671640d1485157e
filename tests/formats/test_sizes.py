"""Sizes against their definitions, and against the other sparse formats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse

from flow.formats import describe, encode, sizes
from flow.formats.synthetic import Hierarchy, random_hp, random_unstructured


def test_other_formats_are_counted_from_their_arrays() -> None:
    matrix = random_unstructured(np.random.default_rng(0), 24, 60, 0.3)
    found = sizes(encode(matrix, banks=4, rows_per_group=4), 16)
    csr, coo = sparse.csr_array(matrix), sparse.coo_array(matrix)
    pointer_bits = math.ceil(math.log2(csr.nnz + 1))
    assert found.csr == csr.data.size * 8 + csr.indices.size * 6 + csr.indptr.size * pointer_bits
    assert found.coo == coo.data.size * 8 + coo.row.size * 5 + coo.col.size * 6
    assert found.bitmap == matrix.size + csr.nnz * 8
    assert found.dense == matrix.size * 8
    limit = sum(math.log2(math.comb(60, int(np.count_nonzero(row)))) for row in matrix)
    assert found.information_limit == pytest.approx(limit + 8 * csr.nnz, rel=1e-12)


def test_ours_is_counted_section_by_section() -> None:
    matrix = random_hp(np.random.default_rng(1), 64, 96, banks=8, block_rows=16, hierarchy=Hierarchy(6, 6, 3))
    found = sizes(encode(matrix, banks=8, rows_per_group=8), 64)
    assert found.weights == 64 * 8 * 3 * 8
    assert found.codes == 64 * 8 * 5
    assert found.maps == 4 * 8 * 12
    assert found.headers == 8 * 64
    assert found.page == 64 * (1 + 1 + 20)
    assert found.constants == 64 * 64
    plain = 8 + 64 + 40 + 192
    records = 4 * (-(-(plain + 16) // 64) + -(-plain // 64))
    assert found.total + found.constants == 8 * 64 * (records + math.ceil(22 * 8 / 64))
    assert found.per_weight(found.weights) == 8.0


def test_logical_sizes_leave_the_padding_out() -> None:
    matrix = np.zeros((8, 16), dtype=np.int8)
    matrix[:7, :13] = 1
    found = sizes(encode(matrix, banks=4, rows_per_group=4), 8, rows=7, columns=13)
    assert (found.dense, found.bitmap) == (7 * 13 * 8, 7 * 13 * 9)
    assert found.information_limit == pytest.approx(7 * 13 * 8)


@pytest.mark.parametrize(
    ("rows", "columns", "banks"), [(384, 384, 32), (384, 1536, 32), (768, 768, 64), (768, 3072, 64)]
)
@pytest.mark.parametrize("sparsity", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_hierarchy_is_smaller_than_csr_coo_and_bitmap(
    rows: int, columns: int, banks: int, sparsity: float
) -> None:
    hierarchy = Hierarchy.nearest(columns // banks, 1 - sparsity)
    rng = np.random.default_rng(columns)
    matrix = random_hp(rng, rows, columns, banks=banks, block_rows=64, hierarchy=hierarchy)
    encoded = encode(matrix, banks=banks, rows_per_group=8)
    assert describe(encoded).overhead == 1.0
    assert encoded.density == pytest.approx(hierarchy.weights / (columns // banks))
    assert abs(1 - sparsity - encoded.density) <= 0.5 * banks / columns + 1e-9
    found = sizes(encoded, 64)
    assert found.total < min(found.csr, found.coo, found.bitmap)
