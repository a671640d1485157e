"""Pattern pruning: block columns first, then every vector takes the best of a small learned set of patterns.

After RT3, "Dancing along Battery: Enabling Transformer with Run-time Reconfigurability on Mobile Devices" (DAC 2021),
with two differences: patterns are judged by the energy that they keep, never by signed sums, and they select among the
kept columns of one bank, so that any choice is free of conflicts. The set belongs to a matrix, as a code page does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.compress.schemes.base import Scheme, Structure
from flow.compress.schemes.coarse import kept_columns, listed, spread
from flow.compress.schemes.grid import Grid, Ints, Mask, Real
from flow.compress.schemes.hp import Hp, HpPattern, sample_rows, useful_step
from flow.formats.shapes import MAX_MEMBERS, Subset, all_subsets, bits_for

SUBSETS = 512
"""K-subsets that learning may choose from: all, or the most frequent."""
VECTORS = 2048
"""Vectors that a set of patterns is learned on."""


@dataclass(frozen=True)
class Pattern(Scheme):
    """G groups of V kept columns, each of which takes one of `count` learned K-subsets.

    V*G is at most what the emptiest bank holds, so that no pattern meets padding; whole columns where that is too few.
    """

    name = "pattern"
    count: int = 16

    def densities(self, grid: Grid, block_rows: int) -> tuple[float, ...]:
        return Hp().densities(grid, block_rows)

    def structure(self, scores: npt.ArrayLike, grid: Grid, density: float, block_rows: int) -> Structure:
        weights = useful_step(grid, density, block_rows)
        energies = grid.energies(scores)
        sample = sample_rows(energies, block_rows)
        best, most = HpPattern(weights, 1, 1), -1.0
        patterns: tuple[Subset, ...] = ()
        for shape in _shapes(weights, int(grid.real[grid.real > 0].min()), self.count):
            vectors = _vectors(sample, shape, block_rows)
            learned = learn(_some(vectors), shape.keep, self.count)
            energy = float(_gains(vectors, learned).max(axis=1).sum()) if learned else -1.0
            if energy > most * (1 + 1e-12):
                best, most, patterns = shape, energy, learned
        kept = int(np.minimum(grid.real, weights).sum()) * len(grid.rows)
        return Structure(
            self.name,
            best.groups,
            best.vector,
            best.keep,
            block_rows,
            kept,
            grid.size,
            weights,
            patterns,
        )

    def mask(self, scores: npt.ArrayLike, grid: Grid, structure: Structure) -> Mask:
        energies, block_rows = grid.energies(scores), structure.block_rows
        kept = kept_columns(energies, block_rows, structure.columns, structure.weights)
        values = listed(energies, kept, block_rows)
        chosen = values >= 0
        if structure.patterns:
            groups = values.reshape(*values.shape[:2], -1, structure.vector)
            choice = best_patterns(groups, structure.patterns)
            _use_all_columns(groups, choice, structure.patterns, block_rows)
            chosen &= (
                _members(structure.patterns, structure.vector)[choice].astype(bool).reshape(values.shape)
            )
        return grid.logical(spread(chosen, kept, block_rows, grid.depth))

    def kept_by_bank(self, energies: Real, structure: Structure) -> Real:
        s = structure
        kept = kept_columns(energies, s.block_rows, s.columns, s.weights)
        values = np.maximum(listed(energies, kept, s.block_rows), 0.0)
        if s.patterns:
            values = _gains(values.reshape(-1, s.vector), s.patterns).max(axis=1)
        return np.asarray(values.reshape(*energies.shape[:2], -1).sum(axis=(0, 2)))


def best_patterns(groups: Real, patterns: tuple[Subset, ...]) -> Ints:
    """For energies [..., V] the index of the pattern that keeps most; ties go to the earlier pattern."""
    flat = np.maximum(groups, 0.0).reshape(-1, groups.shape[-1])
    return np.asarray(_gains(flat, patterns).argmax(axis=1).reshape(groups.shape[:-1]))


def _use_all_columns(groups: Real, choice: Ints, patterns: tuple[Subset, ...], block_rows: int) -> None:
    """Let some row of every block use each kept column, at the least loss, by changing `choice` [N', B, G] in place.

    A kept column that no row uses would be a pruned one to whoever reads the matrix; the columns behind it would move
    up, and what the patterns name would no longer be what was stored.
    """
    members = _members(patterns, groups.shape[-1]).astype(bool)
    used = np.add.reduceat(members[choice].astype(np.int32), np.arange(0, len(choice), block_rows), axis=0)
    for block, bank, group in np.argwhere((used == 0).any(axis=-1)).tolist():
        rows = slice(block * block_rows, (block + 1) * block_rows)
        gains = _gains(np.maximum(groups[rows, bank, group], 0.0), patterns)
        taken = choice[rows, bank, group]
        for _ in range(groups.shape[-1]):
            counts = members[taken].sum(axis=0)
            lost = gains[np.arange(len(taken)), taken][:, None] - gains
            # Rows whose columns others use too may change, to patterns that name the first column unused.
            free = (counts - members[taken] > 0)[:, None] | members | ~members[taken][:, None]
            fits = free.all(axis=-1) & members[:, (counts == 0).argmax()]
            if counts.all() or not fits.any():
                break
            row, pattern = divmod(int(np.where(fits, lost, np.inf).argmin()), len(patterns))
            taken[row] = pattern


def learn(vectors: Real, keep: int, count: int) -> tuple[Subset, ...]:
    """At most `count` K-subsets of V that together keep most energy of vectors [n, V], ascending.

    Greedy: the subset that adds most to sum over vectors of max over chosen subsets of the energy kept. Then rounds of
    assignment and update, as in k-means: every pattern becomes the K largest of what its vectors hold in sum. Every
    position is in some pattern; where that cannot be, nothing is returned.
    """
    energies = np.maximum(vectors, 0.0)
    subsets = _pool(energies, keep)
    gains, names = _gains(energies, subsets), _members(subsets, vectors.shape[1]).astype(bool)
    chosen: list[int] = []
    best, uncovered = np.zeros(len(energies)), np.ones(vectors.shape[1], dtype=bool)
    for left in range(min(count, len(subsets)) - 1, -1, -1):
        totals = np.maximum(gains, best[:, None]).sum(axis=0)
        totals[(uncovered & ~names).sum(axis=1) > left * keep] = -1.0
        totals[chosen] = -1.0
        chosen.append(int(totals.argmax()))
        best = np.maximum(best, gains[:, chosen[-1]])
        uncovered &= ~names[chosen[-1]]
    patterns = tuple(sorted(subsets[i] for i in chosen))
    return _refined(energies, keep, patterns) if not uncovered.any() else ()


def _refined(energies: Real, keep: int, patterns: tuple[Subset, ...]) -> tuple[Subset, ...]:
    """Assignment and update until nothing is gained."""
    value = float(_gains(energies, patterns).max(axis=1).sum())
    for _ in range(8):
        choice = _gains(energies, patterns).argmax(axis=1)
        found = set()
        for index, pattern in enumerate(patterns):
            sums = energies[choice == index].sum(axis=0)
            top = np.argsort(-sums, kind="stable")[:keep]
            found.add(tuple(sorted(int(i) for i in top)) if sums.any() else pattern)
        updated = tuple(sorted(found))
        gained = float(_gains(energies, updated).max(axis=1).sum())
        covers = len({i for pattern in updated for i in pattern}) == energies.shape[1]
        if len(updated) < len(patterns) or not covers or gained <= value:
            return patterns
        patterns, value = updated, gained
    return patterns


def _pool(energies: Real, keep: int) -> list[Subset]:
    """All K-subsets, or those that most vectors would choose."""
    width = energies.shape[1]
    if math.comb(width, keep) <= SUBSETS:
        return list(all_subsets(width, keep))
    top = np.sort(np.argsort(-energies, axis=1, kind="stable")[:, :keep], axis=1)
    found, counts = np.unique(top, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:SUBSETS]
    return [tuple(int(i) for i in row) for row in found[order]]


def _members(patterns: tuple[Subset, ...] | list[Subset], width: int) -> Real:
    members = np.zeros((len(patterns), width))
    for row, pattern in zip(members, patterns, strict=True):
        row[list(pattern)] = 1.0
    return members


def _gains(energies: Real, patterns: tuple[Subset, ...] | list[Subset]) -> Real:
    return np.asarray(energies @ _members(patterns, energies.shape[1]).T)


def _shapes(weights: int, depth: int, count: int) -> list[HpPattern]:
    """Groupings of G*K weights with so many K-subsets that a code of all would be longer than one of the patterns.

    Where there is none (one weight to a bank of few columns), those whose subsets are all among the patterns.
    """
    fitting = [
        HpPattern(groups, vector, weights // groups)
        for groups in range(1, weights + 1)
        if weights % groups == 0
        for vector in range(weights // groups + 1, min(MAX_MEMBERS, depth // groups) + 1)
        if vector <= count * (weights // groups)
    ]
    learned = [p for p in fitting if bits_for(count) < p.code_bits]
    return learned or [p for p in fitting if math.comb(p.vector, p.keep) <= count]


def _vectors(energies: Real, shape: HpPattern, block_rows: int) -> Real:
    """Energies [n, V] of all groups of the kept columns."""
    kept = kept_columns(energies, block_rows, shape.columns, shape.weights)
    return listed(energies, kept, block_rows).reshape(-1, shape.vector)


def _some(vectors: Real) -> Real:
    """An even sample to learn on."""
    chosen = np.linspace(0, len(vectors) - 1, min(VECTORS, len(vectors))).astype(np.int64)
    return np.asarray(vectors[chosen])
