"""What every pruning scheme makes of a random matrix, quantized, costs in storage and cycles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from flow.compress.schemes import NM, Block, Grid, Hp, Pattern, Scheme, Structure, Unstructured
from flow.formats import cycle_bound, decode, describe, encode

ROWS, COLUMNS, BLOCK_ROWS = 192, 384, 16
ENGINES = ((32, 8), (8, 2))
"""Banks and rows; the smaller, the likelier a row group all of whose rows and banks lost a weight."""
SCHEMES: tuple[Scheme, ...] = (Hp(), Block(), NM(4), NM(), Pattern())


def quantized(
    scheme: Scheme, banks: int, density: float, bits: int
) -> tuple[npt.NDArray[np.int8], Structure, int]:
    """A pruned matrix of normal weights in integers, its structure, and how many kept weights became zero."""
    weights = np.random.default_rng(1).standard_normal((ROWS, COLUMNS))
    grid = Grid.natural(ROWS, COLUMNS, banks)
    structure = scheme.structure(weights, grid, density, BLOCK_ROWS)
    kept = weights * scheme.mask(weights, grid, structure)
    scale = np.abs(kept).max(axis=1, keepdims=True) / ((1 << (bits - 1)) - 1)
    integers = np.rint(kept / scale).astype(np.int8)
    return integers, structure, int(np.count_nonzero(kept) - np.count_nonzero(integers))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: f"{s.name}{getattr(s, 'group', '')}")
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("banks", "height"), ENGINES)
@pytest.mark.parametrize("density", [0.5, 0.25])
def test_cycles_are_those_that_the_density_promises(
    scheme: Scheme, bits: int, banks: int, height: int, density: float
) -> None:
    integers, structure, _ = quantized(scheme, banks, density, bits)
    encoded = encode(integers, banks=banks, rows_per_group=height, weight_bits=bits)
    assert np.array_equal(decode(encoded), integers)
    assert structure.cycles == structure.weights
    assert structure.density == pytest.approx(density)
    assert encoded.row_group_cycles == (structure.cycles,) * (ROWS // height)
    assert encoded.stored_density == structure.density
    assert all(shape.stride for shape in encoded.shapes), "explicit indices"
    # A column that no pattern of a block takes shifts those behind it, and more subsets occur than were learned: codes
    # of patterns are bounded by those of all K-subsets only.
    codes = ROWS * banks * structure.groups * (math.comb(structure.vector, structure.keep) - 1).bit_length()
    assert encoded.code_section_bits <= codes


def test_quantization_leaves_holes() -> None:
    """The test above is worth something only where weights were lost, and where a row group lost a cycle by that."""
    integers, structure, holes = quantized(Block(), 8, 0.5, 4)
    assert holes > 0.1 * integers.size * structure.density
    assert structure.cycles is not None
    assert cycle_bound(integers, 8, 2) < ROWS // 2 * structure.cycles


@pytest.mark.parametrize(("banks", "height"), ENGINES)
def test_unstructured_reports_its_cost(banks: int, height: int) -> None:
    integers, structure, _ = quantized(Unstructured(), banks, 0.25, 8)
    encoded = encode(integers, banks=banks, rows_per_group=height)
    found = describe(encoded)
    assert structure.cycles is None
    assert np.array_equal(decode(encoded), integers)
    assert encoded.cycles == found.cycles == cycle_bound(integers, banks, height)
    assert found.overhead == encoded.cycles / found.balanced_cycles > 1.2
    assert f"{found.overhead:.2f}x the balanced" in str(found)
