"""N:M pruning: every M consecutive offsets of a bank keep N weights in every row; there is no coarse step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.compress.schemes.base import Scheme, Structure
from flow.compress.schemes.coarse import largest, largest_sum
from flow.compress.schemes.grid import PADDING, Grid, Ints, Mask, Real
from flow.compress.schemes.hp import expected_energy
from flow.formats.shapes import MAX_ENTRIES, MAX_MEMBERS


@dataclass(frozen=True)
class NM(Scheme):
    """V = M offsets of a bank keep K = N, so a row takes ceil(D/M)*N cycles.

    The field's N:M (2:4 and the like) takes M consecutive *logical* columns; here the M columns of a group lie B
    apart, c, c + B, …, since consecutive columns lie in different banks. Both are the same structure up to the order
    of channels, and the order of a trained layer's channels means nothing, so accuracy does not differ.

    Without `group` (M), the M is taken that keeps most energy of normal weights among those whose code table fits, and
    a density is not offered if a lower one keeps more.
    """

    name = "nm"
    group: int = 0

    def densities(self, grid: Grid, block_rows: int) -> tuple[float, ...]:
        best: dict[int, float] = {}
        for m, n in self._choices(grid):
            kept = self._kept(grid, m, n)
            best[kept] = max(best.get(kept, 0.0), _expected(grid.depth, m, n))
        found, most = [], 0.0
        for kept, energy in sorted(best.items()):
            if energy > most:
                found.append(kept / grid.size)
                most = energy
        return tuple(found)

    def structure(self, scores: npt.ArrayLike, grid: Grid, density: float, block_rows: int) -> Structure:
        steps = np.array(self.densities(grid, block_rows))
        target = steps[np.abs(steps - density).argmin()] * grid.size
        fitting = [(m, n) for m, n in self._choices(grid) if abs(self._kept(grid, m, n) - target) < 0.5]
        m, n = max(fitting, key=lambda choice: (_expected(grid.depth, *choice), choice[0]))
        kept, groups = self._kept(grid, m, n), -(-grid.depth // m)
        cycles = int(_counts(grid, m, n).max())
        return Structure(self.name, groups, m, n, 0, kept, grid.size, cycles)

    def mask(self, scores: npt.ArrayLike, grid: Grid, structure: Structure) -> Mask:
        energies = grid.energies(scores)
        groups = _cut(energies, structure.vector)
        chosen = largest(groups, structure.keep).reshape(*energies.shape[:2], -1)
        return grid.logical(chosen[..., : grid.depth])

    def kept_by_bank(self, energies: Real, structure: Structure) -> Real:
        return np.asarray(largest_sum(_cut(energies, structure.vector), structure.keep).sum(axis=(0, 2)))

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


def _expected(depth: int, m: int, n: int) -> float:
    """Energy of normal weights that a (row, bank) without padding keeps, on average."""
    last = depth % m
    whole = depth // m * expected_energy(m, n)
    return whole + (expected_energy(last, min(n, last)) if last else 0.0)
