"""N:M pruning: every M consecutive offsets of a bank keep N weights in every row; there is no coarse step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.compress.schemes.base import Scheme, Structure
from flow.compress.schemes.coarse import largest
from flow.compress.schemes.grid import PADDING, Grid, Ints, Mask, Real
from flow.formats.shapes import MAX_ENTRIES, MAX_MEMBERS


@dataclass(frozen=True)
class NM(Scheme):
    """V = M offsets of a bank keep K = N, so a row takes ceil(D/M)*N cycles.

    The field's N:M (2:4 and the like) takes M consecutive *logical* columns; here the M columns of a group lie B
    apart, c, c + B, …, since consecutive columns lie in different banks. Both are the same structure up to the order
    of channels, and the order of a trained layer's channels means nothing, so accuracy does not differ.

    Without `group` (M), the M of most subsets, log2 binom(M, N) per group times the groups, is taken among those whose
    code table fits: the freest choice keeps most energy.
    """

    name = "nm"
    group: int = 0

    def densities(self, grid: Grid) -> tuple[float, ...]:
        found = {self._kept(grid, m, n) for m, n in self._choices(grid)}
        return tuple(kept / grid.size for kept in sorted(found))

    def structure(self, scores: npt.ArrayLike, grid: Grid, density: float, block_rows: int) -> Structure:
        target = self.nearest(grid, density) * grid.size
        fitting = [(m, n) for m, n in self._choices(grid) if abs(self._kept(grid, m, n) - target) < 0.5]
        m, n = max(fitting, key=lambda choice: (_freedom(grid.depth, *choice), choice[0]))
        kept, groups = self._kept(grid, m, n), -(-grid.depth // m)
        cycles = int(_counts(grid, m, n).max())
        return Structure(self.name, groups, m, n, 0, kept, grid.size, cycles)

    def mask(self, scores: npt.ArrayLike, grid: Grid, structure: Structure) -> Mask:
        energies = grid.energies(scores)
        groups = _cut(energies, structure.vector)
        chosen = largest(groups, structure.keep).reshape(*energies.shape[:2], -1)
        return grid.logical(chosen[..., : grid.depth])

    def _choices(self, grid: Grid) -> Iterator[tuple[int, int]]:
        """(M, N) whose table fits, with N = M for a dense matrix."""
        widths = (min(self.group, grid.depth),) if self.group else range(1, min(MAX_MEMBERS, grid.depth) + 1)
        for m in widths:
            for n in range(1, m + 1):
                if n == m or (m <= MAX_MEMBERS and math.comb(m, n) <= MAX_ENTRIES):
                    yield m, n

    def _kept(self, grid: Grid, m: int, n: int) -> int:
        return int(_counts(grid, m, n).sum()) * len(grid.rows)


def _cut(energies: Real, m: int) -> Real:
    """[..., D] as [..., groups, M], padded."""
    short = -energies.shape[-1] % m
    padded = np.pad(energies, ((0, 0), (0, 0), (0, short)), constant_values=PADDING)
    return padded.reshape(*energies.shape[:2], -1, m)


def _counts(grid: Grid, m: int, n: int) -> Ints:
    """[B]: weights of a row in every bank."""
    held = np.pad(grid.occupied, ((0, 0), (0, -grid.depth % m))).reshape(grid.banks, -1, m)
    return np.asarray(np.minimum(held.sum(axis=2, dtype=np.int64), n).sum(axis=1))


def _freedom(depth: int, m: int, n: int) -> float:
    """Bits of choice in a (row, bank)."""
    last = depth % m
    whole = depth // m * math.log2(math.comb(m, n))
    return whole + (math.log2(math.comb(last, min(n, last))) if last else 0.0)
