"""Random matrices of known structure, for benches and tests; weights are non-zero unless pruned.

`encode` is meant to find each structure again; these say what it should find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.errors import FlowError
from flow.formats.shapes import MAX_ENTRIES, MAX_MEMBERS, Subset, all_subsets, bits_for

Bytes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Hierarchy:
    """Hierarchical pruning of a bank: `kept` (M) of its D columns, in groups of `width` (V) with `take` (K) weights.

    V = K keeps whole columns (block-column), M = D without a coarse step is N:M.
    """

    kept: int
    width: int
    take: int

    @property
    def weights(self) -> int:
        """G*K, the weights of a (row, bank)."""
        return self.kept // self.width * self.take

    @classmethod
    def nearest(cls, depth: int, density: float) -> Hierarchy:
        """The structure of `depth` columns nearest to `density`, at least one weight.

        The coarse step keeps up to twice the columns that remain in the end, so that both steps prune alike; of
        the ways to group them with K >= 2, where there are any, the one of fewest code bits per weight is taken.
        """
        target = min(depth, max(1, round(density * depth)))
        found = [
            cls(width * groups, width, target // groups)
            for groups in range(1, target + 1)
            if target % groups == 0
            for width in (min(2 * target, depth) // groups,)
            if width == target // groups
            or (width <= MAX_MEMBERS and math.comb(width, target // groups) <= MAX_ENTRIES)
        ]
        # One weight to a group always fits the table, so something is found.
        return max(found, key=lambda h: (h.kept, h.take > 1, -_code_bits(h) / h.take))


def _code_bits(hierarchy: Hierarchy) -> int:
    return bits_for(math.comb(hierarchy.width, hierarchy.take))


def random_hp(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    *,
    banks: int,
    block_rows: int,
    hierarchy: Hierarchy,
    weight_bits: int = 8,
) -> Bytes:
    """A hierarchically pruned int matrix [rows, columns]: random columns per block and bank, random K of V per row.

    Raises `FlowError` where the banks do not divide the columns, the blocks the rows, or V the kept columns.
    """
    depth = columns // banks
    kept, width, take = hierarchy.kept, hierarchy.width, hierarchy.take
    if columns % banks or rows % block_rows or kept % width or kept > depth:
        raise FlowError(
            f"random HP matrix [{rows}, {columns}]: found {banks} banks, blocks of {block_rows} rows, {kept} kept "
            f"columns in groups of {width}; expected divisors and at most {depth} columns; choose other numbers"
        )
    blocks = rows // block_rows
    chosen = np.sort(rng.random((blocks, depth, banks)).argsort(axis=1)[:, :kept], axis=1)
    picked = rng.random((blocks, block_rows, kept // width, width, banks)).argsort(axis=3) < take
    values = random_weights(rng, (blocks, block_rows, kept, banks), weight_bits) * picked.reshape(
        blocks, block_rows, kept, banks
    )
    dense = np.zeros((blocks, block_rows, depth, banks), dtype=np.int8)
    np.put_along_axis(dense, chosen[:, None], values, axis=2)
    return dense.reshape(rows, columns)


def random_patterns(
    rng: np.random.Generator, rows: int, columns: int, *, banks: int, width: int, take: int, patterns: int
) -> Bytes:
    """Pattern pruning: every `width` consecutive columns of a bank hold one of `patterns` random K-subsets."""
    depth = columns // banks
    subsets = all_subsets(width, take)
    table: list[Subset] = [subsets[i] for i in rng.permutation(len(subsets))[:patterns]]
    allowed = np.zeros((len(table), width), dtype=np.int8)
    for row, subset in zip(allowed, table, strict=True):
        row[list(subset)] = 1
    choice = rng.integers(len(table), size=(rows, depth // width, banks))
    mask = allowed[choice].transpose(0, 1, 3, 2).reshape(rows, depth, banks)
    return (random_weights(rng, (rows, depth, banks), 8) * mask).reshape(rows, columns)


def random_unstructured(
    rng: np.random.Generator, rows: int, columns: int, density: float, weight_bits: int = 8
) -> Bytes:
    """Every weight survives with probability `density`."""
    values = random_weights(rng, (rows, columns), weight_bits)
    return values * (rng.random((rows, columns)) < density)


def random_weights(rng: np.random.Generator, shape: tuple[int, ...], weight_bits: int) -> Bytes:
    """Symmetric, never zero."""
    limit = 1 << (weight_bits - 1)
    sign = rng.integers(0, 2, size=shape, dtype=np.int8) * 2 - 1
    weights: Bytes = rng.integers(1, limit, size=shape, dtype=np.int8) * sign
    return weights
