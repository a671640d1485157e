"""Group shapes, tables and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from flow.errors import FlowError
from flow.formats import CodePage, GroupShape, encode
from flow.formats.shapes import all_subsets, bits_for, covering_codes, pattern_table


def test_code_bits() -> None:
    assert [bits_for(n) for n in (1, 2, 3, 4, 5, 256)] == [0, 1, 2, 2, 3, 8]
    for width in range(1, 17):
        for take in range(1, width + 1):
            if math.comb(width, take) <= 256:
                shape = GroupShape(width, take, width, all_subsets(width, take))
                assert shape.code_bits == math.ceil(math.log2(math.comb(width, take)))
    assert GroupShape(12, 1, 12).code_bits == 4
    assert GroupShape(1, 1, 1).code_bits == 0


def test_covering_codes_contain_their_mask() -> None:
    table = all_subsets(6, 3)
    codes = covering_codes(6, table)
    for mask in range(64):
        if mask.bit_count() <= 3:
            assert mask & sum(1 << m for m in table[codes[mask]]) == mask
        else:
            assert codes[mask] == -1


def test_pattern_tables_cover_all_masks_with_few_entries() -> None:
    masks = np.array([0b0011, 0b1100, 0b0001, 0b0000, 0b1000], dtype=np.uint16)
    assert pattern_table(8, 2, masks) == ((0, 1), (2, 3))
    assert pattern_table(4, 2, np.array([0b0101, 0b1000], dtype=np.uint16)) == ((0, 2), (0, 3))
    many = np.array([mask for mask in range(1 << 12) if mask.bit_count() == 6], dtype=np.uint16)
    assert pattern_table(12, 6, many) is None
    assert pattern_table(12, 6, many[:200]) is not None


def test_a_pattern_table_that_saves_no_bit_is_the_full_one() -> None:
    masks = np.array([sum(1 << m for m in subset) for subset in all_subsets(6, 3)[:17]], dtype=np.uint16)
    assert pattern_table(6, 3, masks) == all_subsets(6, 3)


SHAPE = "group shape V={} K={} stride={}: "


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GroupShape(0, 1, 0),
            SHAPE.format(0, 1, 0) + "found width 0; expected 1..4096; choose a narrower group",
        ),
        (
            lambda: GroupShape(4, 1, 2),
            SHAPE.format(4, 1, 2)
            + "found stride 2; expected 0 or the width; use disjoint or fully shared groups",
        ),
        (
            lambda: GroupShape(4, 2, 4),
            SHAPE.format(4, 2, 4)
            + "found 2 weights a code without a table; expected 1; give a table of subsets",
        ),
        (
            lambda: GroupShape(6, 1, 0),
            SHAPE.format(6, 1, 0)
            + "found a width that is no power of two; expected 2**code_bits; round the shared width up",
        ),
        (
            lambda: GroupShape(12, 6, 12, all_subsets(12, 6)),
            SHAPE.format(12, 6, 12)
            + "found 924 table entries; expected 1..256; split the vector into groups",
        ),
        (
            lambda: GroupShape(17, 1, 17, ((0,),)),
            SHAPE.format(17, 1, 17)
            + "found a table; expected 1 <= K <= V <= 16; split the vector into groups",
        ),
        (
            lambda: GroupShape(4, 2, 4, ((1, 0),)),
            SHAPE.format(4, 2, 4)
            + "found table entry (1, 0); expected 2 ascending members; sort and complete it",
        ),
        (
            lambda: GroupShape(4, 2, 4, ((1, 4),)),
            SHAPE.format(4, 2, 4) + "found table entry (1, 4); expected members in 0..3; correct the entry",
        ),
        (
            lambda: GroupShape(4, 2, 0, ((1, 2),)),
            SHAPE.format(4, 2, 0)
            + "found columns that no entry names; expected width = largest member + 1; narrow the shape",
        ),
        (
            lambda: CodePage((GroupShape(1, 1, 1),) * 5),
            "code page: found 5 shapes with 0 table entries; expected at most 4 and 256; use fewer shapes",
        ),
        (
            lambda: encode(np.ones((6, 8), dtype=np.int8), banks=4, rows_per_group=4),
            (
                "weight matrix [6, 8]: found 4 rows a group and 4 banks; expected divisors of the rows and columns; "
                "pad the physical matrix with zeros"
            ),
        ),
        (
            lambda: encode(np.full((4, 8), 9, dtype=np.int8), banks=4, rows_per_group=4, weight_bits=4),
            "weight matrix [4, 8]: found weights 9..9; expected -8..7 for 4 bits; quantize the weights to this range",
        ),
        (
            lambda: encode(np.ones((1, 4096), dtype=np.int8), banks=1, rows_per_group=1),
            "weight matrix [1, 4096]: found 4096 columns a bank; expected at most 4095; use more banks",
        ),
        (
            lambda: encode(np.ones((4, 8), dtype=np.int8), banks=4, rows_per_group=4, weight_bits=6),
            "weight matrix [4, 8]: found 6 weight bits; expected 4 or 8; quantize to int8 or int4",
        ),
        (
            lambda: encode(np.ones((4, 0), dtype=np.int8), banks=4, rows_per_group=4),
            "weight matrix [4, 0]: found 2-D int8; expected a 2-D, non-empty integer matrix",
        ),
    ],
)
def test_faults_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        make()
