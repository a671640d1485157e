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
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, gammaincinv

from flow.compress.schemes.base import Scheme, Structure, grouped_counts, step_densities
from flow.compress.schemes.coarse import fine_mask, kept_columns, kept_reals, largest_sum, listed
from flow.compress.schemes.grid import Grid, Mask, Real
from flow.errors import UnsupportedError
from flow.formats.encoded import offset_bits
from flow.formats.shapes import MAX_ENTRIES as TABLE_LIMIT
from flow.formats.shapes import MAX_MEMBERS as VECTOR_LIMIT
from flow.formats.shapes import bits_for, joins

INDEX_LIMIT = 1.2
"""Bits of codes and column maps, at most, over those that the structure's own information needs."""
SAMPLE = 1 << 16
"""Weights on which candidates are compared; the best are compared again on the whole matrix."""
FINALISTS = 2
QUANTILES = 4096
CHOICE = 0.08
"""Energy that choosing columns for 16 rows of normal weights adds at least: 5 of 24 as 5 x 1 of 4 gains 0.13."""
SAG = 0.03
FINE = 0.015
"""A poor step is left out where its neighbours are so near in density."""


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
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 2:
        raise UnsupportedError(f"pruning: found scores of shape {s.shape}; expected a matrix [N, C]")
    rows, columns = s.shape
    depth = columns_per_bank(columns, banks)
    if not (1 <= keep <= vector <= keep_per_bank <= depth) or keep_per_bank % vector or block_rows < 1:
        raise UnsupportedError(
            f"pruning: found K={keep}, V={vector}, V*G={keep_per_bank}, R={block_rows} for {depth} columns per bank; "
            "expected 1 <= K <= V <= V*G <= columns per bank, V dividing V*G, R >= 1; choose another pattern"
        )
    grid = Grid.natural(rows, columns, banks)
    energies = grid.energies(s)
    kept = kept_columns(energies, block_rows, keep_per_bank)
    return grid.logical(fine_mask(energies, kept, block_rows, vector, keep))


def bank_counts(matrix: npt.ArrayLike, banks: int) -> npt.NDArray[np.int64]:
    """Non-zeros of every (row, bank): [N, B]. A row group takes their maximum in cycles per token tile."""
    nonzero = np.asarray(matrix) != 0
    n, c = nonzero.shape
    padded = np.zeros((n, columns_per_bank(c, banks) * banks), dtype=bool)
    padded[:, :c] = nonzero
    counts: npt.NDArray[np.int64] = padded.reshape(n, -1, banks).sum(axis=1, dtype=np.int64)
    return counts


class Hp(Scheme):
    """Hierarchical pruning with V, K and G chosen for each matrix by the score energy that they keep.

    For the G*K nearest to the density, every (V, K, G) is tried whose code table fits (V <= 16, at most 256 subsets,
    V*G columns in a bank) and whose index, as stored (codes, and column maps of min(D, V*G*ceil(log2 D)) bits per
    bank and block), takes at most `INDEX_LIMIT` times the structure's information,

        sum over groups of log2 binom(V, K) + sum over (block, bank) of log2 binom(D, V*G).

    On 12 matrices of a trained 384-wide encoder with 16 banks this keeps 0.702, 0.471 and 0.389 of the weight energy at
    density 1/4, 1/8 and 1/12, where `choose_pattern`, which sees no weights, keeps 0.678, 0.430 and 0.313.

    Whole columns (V = K) are always a candidate: they need no codes, and HP then never keeps less than block pruning.
    A G*K is not offered if a lower one can be expected to keep more (13 of 48: 13 is prime and 13 of 16 fits no
    table, while 12 = 4 x 3 of 12).
    """

    name = "hp"

    def densities(self, grid: Grid, block_rows: int) -> tuple[float, ...]:
        return tuple(step_densities(grid)[i - 1] for i in useful_steps(grid.most, block_rows))

    def structure(self, scores: npt.ArrayLike, grid: Grid, density: float, block_rows: int) -> Structure:
        found = candidates(useful_step(grid, density, block_rows), grid.most, block_rows)
        energies = grid.energies(scores)
        best = best_pattern(energies, found, block_rows)
        return structure_of(best, grid, block_rows)

    def mask(self, scores: npt.ArrayLike, grid: Grid, structure: Structure) -> Mask:
        energies, block_rows = grid.energies(scores), structure.block_rows
        kept = kept_columns(energies, block_rows, structure.columns, structure.weights)
        return grid.logical(fine_mask(energies, kept, block_rows, structure.vector, structure.keep))

    def kept_by_bank(self, energies: Real, structure: Structure) -> Real:
        s = structure
        return fine_by_bank(energies, s.columns, s.vector, s.keep, s.block_rows)


@lru_cache(maxsize=256)
def useful_steps(depth: int, block_rows: int) -> tuple[int, ...]:
    """G*K in 1..D, ascending, that are worth having: each keeps more energy of normal weights than any lower one.

    In deep banks, where steps are fine anyway, one that is `SAG` below the line between its neighbours is left out too.
    """
    energy: dict[int, float] = {}
    for weights in range(1, depth + 1):
        patterns = candidates(weights, depth, block_rows)
        expected = max(_expected(pattern, depth) for pattern in patterns)
        if expected > max(energy.values(), default=0.0):
            energy[weights] = expected
    steps = list(energy)
    found = steps[:1]
    for at, after in pairwise(steps[1:]):
        before = found[-1]
        share = (at - before) / (after - before)
        line = energy[before] + share * (energy[after] - energy[before])
        if after - before > FINE * depth or energy[at] >= (1 - SAG) * line:
            found.append(at)
    return tuple(dict.fromkeys((*found, steps[-1])))


def _expected(pattern: HpPattern, depth: int) -> float:
    """Energy of normal weights that a (row, bank) keeps: of the fine step, and a little for the choice of columns."""
    choice = min(0.5 * (1 - pattern.columns / depth), CHOICE)
    return pattern.groups * expected_energy(pattern.vector, pattern.keep) * (1 + choice)


def useful_step(grid: Grid, density: float, block_rows: int) -> int:
    """The useful G*K whose density is nearest to `density`."""
    steps = np.array(useful_steps(grid.most, block_rows))
    return int(steps[np.abs(step_densities(grid)[steps - 1] - density).argmin()])


@lru_cache(maxsize=256)
def expected_energy(vector: int, keep: int) -> float:
    """Sum of the K largest of V squared standard normal values, on average; V where K = V.

    V * integral over u in 0..1 of Q(u) * P(at most K-1 of V-1 others are larger), with Q the quantile function of the
    squares; the others that are larger are binomial with probability 1-u.
    """
    u = (np.arange(QUANTILES) + 0.5) / QUANTILES
    values = gammaincinv(0.5, u)
    return float(vector * (values * bdtr(keep - 1, vector - 1, 1 - u)).sum() / values.sum())


def structure_of(pattern: HpPattern, grid: Grid, block_rows: int) -> Structure:
    """The structure that a pattern gives on a grid."""
    real = kept_reals(grid, pattern.columns)
    counts = grouped_counts(real, pattern.groups, pattern.vector, pattern.keep)
    kept = int(counts.sum()) * len(grid.rows)
    size, cycles = grid.size, int(counts.max())
    return Structure("hp", pattern.groups, pattern.vector, pattern.keep, block_rows, kept, size, cycles)


def candidates(weights: int, depth: int, block_rows: int, limit: float = INDEX_LIMIT) -> list[HpPattern]:
    """Patterns with G*K = `weights` in banks of `depth` columns whose index is within `limit`; whole columns first.

    Where none but whole columns is, the one nearest to the limit joins them.
    """
    fitting = [
        HpPattern(groups, vector, weights // groups)
        for groups in range(1, weights + 1)
        if weights % groups == 0
        for vector in range(weights // groups + 1, min(VECTOR_LIMIT, depth // groups) + 1)
        if math.comb(vector, weights // groups) <= TABLE_LIMIT
    ]
    overhead = {pattern: index_overhead(pattern, depth, block_rows) for pattern in fitting}
    within = [pattern for pattern in fitting if overhead[pattern] <= limit]
    if fitting and not within:
        within = [min(fitting, key=lambda p: (overhead[p], -p.columns, p.groups))]
    return [HpPattern(weights, 1, 1), *within]


def index_overhead(pattern: HpPattern, depth: int, block_rows: int) -> float:
    """Stored index bits over the information that the structure carries, for one (block, bank) of R rows.

    Neighbouring groups may share a code where their number allows it: five of 1 of 3 take 8 bits.
    """
    subsets = math.comb(pattern.vector, pattern.keep)
    times = max((t for t in joins(pattern.vector, subsets) if pattern.groups % t == 0), default=1)
    codes = block_rows * pattern.groups
    maps = min(depth, pattern.columns * offset_bits(depth)) if pattern.columns < depth else 0
    choice = codes * math.log2(subsets) + math.log2(math.comb(depth, pattern.columns))
    return (codes // times * bits_for(subsets**times) + maps) / choice if choice else 1.0


def best_pattern(energies: Real, found: Sequence[HpPattern], block_rows: int) -> HpPattern:
    """The pattern that keeps most energy of [N', B, D]; of equals the first, so whole columns before groups."""
    sample = sample_rows(energies, block_rows)
    ranked = sorted(found, key=lambda p: -_kept(sample, p, block_rows))
    if len(sample) == len(energies):
        return ranked[0]
    finalists = [pattern for pattern in found if pattern in ranked[:FINALISTS] or pattern == found[0]]
    return max(finalists, key=lambda p: _kept(energies, p, block_rows))


def sample_rows(energies: Real, block_rows: int) -> Real:
    """Evenly spread whole blocks of the rows of [N', B, D], about `SAMPLE` weights; all where there are fewer."""
    height, banks, depth = energies.shape
    count = max(SAMPLE // (block_rows * banks * depth), 1)
    if count * block_rows >= height:
        return energies
    chosen = np.linspace(0, height // block_rows - 1, count).astype(np.int64)
    return np.asarray(energies[(chosen[:, None] * block_rows + np.arange(block_rows)).ravel()])


def _kept(energies: Real, pattern: HpPattern, block_rows: int) -> float:
    return float(fine_by_bank(energies, pattern.columns, pattern.vector, pattern.keep, block_rows).sum())


def fine_by_bank(energies: Real, columns: int, vector: int, keep: int, block_rows: int) -> Real:
    """[B]: energy of [N', B, D] that stays of `columns` a bank and block, K of every V."""
    kept = kept_columns(energies, block_rows, columns, columns // vector * keep)
    groups = listed(energies, kept, block_rows).reshape(*energies.shape[:2], -1, vector)
    return np.asarray(largest_sum(groups, keep).sum(axis=(0, 2)))
