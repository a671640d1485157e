"""Hierarchical pruning (HP): which weights of a matrix an engine of B banks keeps.

After "Accelerating Framework of Transformer by Hardware Design and Model Compression Co-Optimization" (ICCAD 2021),
with every choice made per memory bank, so that the hardware reads the kept weights with no conflict. For a matrix
W[N, C] in physical channel order, column c lies in bank c mod B at offset c div B, and a bank holds D = C/B columns:

1. coarse: in every block of R rows, each bank keeps the V*G columns of largest energy;
2. fine: the kept columns of a (row, bank), in ascending order, form G groups of V, and each group keeps its K largest.

A row then holds exactly G*K weights in every bank: density G*K/D, in steps of B/C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.errors import UnsupportedError

Mask = npt.NDArray[np.bool_]

VECTOR_LIMIT = 16
"""Columns that one code can choose from."""
TABLE_LIMIT = 256
"""K-subsets that one code table can name (one LUTRAM)."""


@dataclass(frozen=True)
class HpPattern:
    """G groups per (row, bank), each keeping K (`keep`) of V (`vector`) columns."""

    groups: int
    vector: int
    keep: int

    @property
    def columns(self) -> int:
        """V*G: columns that a bank keeps in a block of rows."""
        return self.groups * self.vector

    @property
    def weights(self) -> int:
        """G*K: weights of one row in one bank, the cycles that a row takes."""
        return self.groups * self.keep

    @property
    def code_bits(self) -> int:
        """Bits that name the K-subset of one group: ceil(log2 binom(V, K))."""
        return (math.comb(self.vector, self.keep) - 1).bit_length()

    def __str__(self) -> str:
        return f"{self.groups} x {self.keep} of {self.vector}"


def columns_per_bank(columns: int, banks: int) -> int:
    """D = ceil(C/B): offsets in a bank; a matrix is padded with zero columns to a multiple of B."""
    return -(-columns // banks)


def expressible_densities(columns: int, banks: int) -> tuple[float, ...]:
    """Every density G*K/D that a matrix of C columns can have on B banks, ascending, from 0 to 1."""
    depth = columns_per_bank(columns, banks)
    return tuple(i / depth for i in range(depth + 1))


def spread_density(shapes: Sequence[tuple[int, int]], banks: int, density: float) -> tuple[int, ...]:
    """G*K for each matrix [N, C], so that their overall density comes nearest to `density`.

    Matrices with the coarsest steps (fewest columns per bank) take the step nearest to the density; finer ones then
    make up for the difference, each class of equal depth as one. A matrix keeps at least G*K = 1.

    Raises:
        UnsupportedError: the density is not in (0, 1].
    """
    if not 0.0 < density <= 1.0:
        raise UnsupportedError(
            f"density: found {density}; expected a value in (0, 1]; give the share of weights to keep"
        )
    depths = [columns_per_bank(c, banks) for _, c in shapes]
    step: dict[int, int] = {}
    elements = sum(n * c for n, c in shapes)
    budget = density * elements
    for depth in sorted(set(depths)):
        size = sum(n * c for (n, c), d in zip(shapes, depths, strict=True) if d == depth)
        step[depth] = min(max(round(budget / elements * depth), 1), depth)
        elements -= size
        budget -= step[depth] / depth * size
    return tuple(step[depth] for depth in depths)


def choose_pattern(weights: int, depth: int, slack: float = 3.0) -> HpPattern:
    """A pattern with G*K = `weights` for banks of `depth` columns.

    Among the patterns whose code table fits (V <= 16, at most 256 subsets) and whose V*G is at most
    `slack` * G*K and `depth`, the one with the most candidate columns, then the fewest groups: candidates buy
    accuracy, wide groups buy freedom within them. V = K (no fine step) where nothing else fits.

    Raises:
        UnsupportedError: `weights` is not in 1..depth.
    """
    if not 1 <= weights <= depth:
        raise UnsupportedError(
            f"pattern: found {weights} weights per row and bank; expected 1 to {depth}, the columns of a bank"
        )
    candidates = [
        HpPattern(groups, vector, weights // groups)
        for groups in range(1, weights + 1)
        if weights % groups == 0
        for vector in range(weights // groups, min(VECTOR_LIMIT, depth // groups) + 1)
        if math.comb(vector, weights // groups) <= TABLE_LIMIT
        and vector * groups <= max(slack * weights, weights)
    ]
    if not candidates:  # more than 16 in one group: split into single columns, which always fit
        return HpPattern(weights, 1, 1)
    return max(candidates, key=lambda p: (p.columns, -p.groups))


def hp_mask(
    scores: npt.ArrayLike, banks: int, block_rows: int, keep_per_bank: int, vector: int, keep: int
) -> Mask:
    """The positions of W[N, C] that HP keeps.

    Args:
        scores: importance of each weight, [N, C] in physical column order; its magnitude counts (the weight itself
            for magnitude pruning).
        banks: B; C that B does not divide is padded with columns that are never kept before real ones.
        block_rows: R; the last block may be shorter.
        keep_per_bank: V*G, columns that each bank keeps in each block.
        vector: V, columns of one group.
        keep: K, weights that each row keeps in each group.

    Returns:
        A boolean [N, C]: exactly G*K in every (row, bank) whose columns are all real. Ties go to the lower column.

    Raises:
        UnsupportedError: the scores are no matrix, or the numbers do not fit together.
    """
    s = np.abs(np.asarray(scores, dtype=np.float64))
    if s.ndim != 2:
        raise UnsupportedError(f"pruning: found scores of shape {s.shape}; expected a matrix [N, C]")
    n, c = s.shape
    depth = columns_per_bank(c, banks)
    if not (1 <= keep <= vector <= keep_per_bank <= depth) or keep_per_bank % vector or block_rows < 1:
        raise UnsupportedError(
            f"pruning: found K={keep}, V={vector}, V*G={keep_per_bank}, R={block_rows} for {depth} columns per bank; "
            "expected 1 <= K <= V <= V*G <= columns per bank, V dividing V*G, R >= 1; choose another pattern"
        )
    padded = np.full((n, depth * banks), -1.0)  # below any real importance
    padded[:, :c] = s
    cells = padded.reshape(n, depth, banks).transpose(0, 2, 1)  # [N, B, D]: column = offset * B + bank
    mask = np.zeros_like(cells, dtype=bool)
    for start in range(0, n, block_rows):
        block = cells[start : start + block_rows]
        energy = (np.sign(block) * block * block).sum(axis=0)  # [B, D]; padding stays negative
        kept = np.sort(np.argsort(-energy, axis=-1, kind="stable")[:, :keep_per_bank], axis=-1)  # [B, V*G]
        index = np.broadcast_to(kept, (block.shape[0], *kept.shape))
        groups = np.take_along_axis(block, index, axis=-1).reshape(block.shape[0], banks, -1, vector)
        order = np.argsort(-groups, axis=-1, kind="stable")[..., :keep]
        chosen = np.zeros_like(groups, dtype=bool)
        np.put_along_axis(chosen, order, True, axis=-1)
        np.put_along_axis(mask[start : start + block_rows], index, chosen.reshape(index.shape), axis=-1)
    return np.ascontiguousarray(mask.transpose(0, 2, 1).reshape(n, depth * banks)[:, :c])


def bank_counts(matrix: npt.ArrayLike, banks: int) -> npt.NDArray[np.int64]:
    """Non-zeros of every (row, bank): [N, B]. A row group takes their maximum in cycles per token tile."""
    nonzero = np.asarray(matrix) != 0
    n, c = nonzero.shape
    padded = np.zeros((n, columns_per_bank(c, banks) * banks), dtype=bool)
    padded[:, :c] = nonzero
    counts: npt.NDArray[np.int64] = padded.reshape(n, -1, banks).sum(axis=1, dtype=np.int64)
    return counts
