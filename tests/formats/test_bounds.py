"""The cycle bound against its definition."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.errors import FlowError
from flow.formats import cycle_bound, cycle_bounds
from flow.formats.synthetic import random_unstructured


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
    st.integers(1, 40),
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.integers(1, 8),
)
def test_bound_is_the_fullest_row_and_bank_of_every_row_group(
    seed: int, rows: int, columns: int, banks_list: list[int], height: int
) -> None:
    matrix = random_unstructured(np.random.default_rng(seed), rows, columns, 0.4)
    expected = []
    for banks in banks_list:
        counts = np.array([[np.count_nonzero(row[bank::banks]) for bank in range(banks)] for row in matrix])
        expected.append(sum(int(counts[start : start + height].max()) for start in range(0, rows, height)))
    assert cycle_bounds(matrix, banks_list, height) == tuple(expected)
    assert cycle_bound(matrix != 0, banks_list[0], height) == expected[0]


def test_an_empty_matrix_takes_no_cycles() -> None:
    assert cycle_bounds(np.zeros((0, 8), dtype=np.int8), (2, 4), 4) == (0, 0)
    assert cycle_bound(np.zeros((8, 8), dtype=np.int8), 4, 4) == 0


def test_bad_counts() -> None:
    message = (
        "cycle bound: found a 2-D matrix, banks [4, 0], 2 rows a group; "
        "expected a 2-D matrix and counts of at least 1; correct the engine's parameters"
    )
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        cycle_bounds(np.ones((4, 4), dtype=np.int8), (4, 0), 2)
