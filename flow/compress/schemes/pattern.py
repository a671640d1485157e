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
from flow.compress.schemes.grid import Grid, Mask, Real
from flow.compress.schemes.hp import Hp, HpPattern, sample_rows, useful_step
from flow.formats.shapes import MAX_MEMBERS, Subset, all_subsets

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
    count: int = 8

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
            energy = float(_gains(vectors, learned).max(axis=1).sum())
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
            chosen &= best_patterns(groups, structure.patterns).reshape(values.shape)
        return grid.logical(spread(chosen, kept, block_rows, grid.depth))

    def kept_by_bank(self, energies: Real, structure: Structure) -> Real:
        s = structure
        kept = kept_columns(energies, s.block_rows, s.columns, s.weights)
        values = np.maximum(listed(energies, kept, s.block_rows), 0.0)
        if s.patterns:
            values = _gains(values.reshape(-1, s.vector), s.patterns).max(axis=1)
        return np.asarray(values.reshape(*energies.shape[:2], -1).sum(axis=(0, 2)))


def best_patterns(groups: Real, patterns: tuple[Subset, ...]) -> Mask:
    """For energies [..., V] the mask of the pattern that keeps most; ties go to the earlier pattern."""
    members = _members(patterns, groups.shape[-1])
    flat = np.maximum(groups, 0.0).reshape(-1, groups.shape[-1])
    choice = (flat @ members.T).argmax(axis=1)
    return np.asarray(members[choice].astype(bool).reshape(groups.shape))


def learn(vectors: Real, keep: int, count: int) -> tuple[Subset, ...]:
    """At most `count` K-subsets of V that together keep most energy of vectors [n, V], ascending.

    Greedy: the subset that adds most to sum over vectors of max over chosen subsets of the energy kept. Then rounds of
    assignment and update, as in k-means: every pattern becomes the K largest of what its vectors hold in sum.
    """
    energies = np.maximum(vectors, 0.0)
    subsets = _pool(energies, keep)
    gains = _gains(energies, subsets)
    chosen: list[int] = []
    best = np.zeros(len(energies))
    for _ in range(min(count, len(subsets))):
        totals = np.maximum(gains, best[:, None]).sum(axis=0)
        totals[chosen] = -1.0
        chosen.append(int(totals.argmax()))
        best = np.maximum(best, gains[:, chosen[-1]])
    return _refined(energies, keep, tuple(sorted(subsets[i] for i in chosen)))


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
        if len(updated) < len(patterns) or gained <= value:
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
    """Groupings of G*K weights with so many K-subsets that a code of all would be longer than one of the patterns."""
    return [
        HpPattern(groups, vector, weights // groups)
        for groups in range(1, weights + 1)
        if weights % groups == 0
        for vector in range(weights // groups + 1, min(MAX_MEMBERS, depth // groups) + 1)
        if (count - 1).bit_length() < (math.comb(vector, weights // groups) - 1).bit_length()
    ]


def _vectors(energies: Real, shape: HpPattern, block_rows: int) -> Real:
    """Energies [n, V] of all groups of the kept columns."""
    kept = kept_columns(energies, block_rows, shape.columns, shape.weights)
    return listed(energies, kept, block_rows).reshape(-1, shape.vector)


def _some(vectors: Real) -> Real:
    """An even sample to learn on."""
    chosen = np.linspace(0, len(vectors) - 1, min(VECTORS, len(vectors))).astype(np.int64)
    return np.asarray(vectors[chosen])
