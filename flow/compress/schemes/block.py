"""Block-column pruning: whole columns of every block of R rows, as many in each bank (HP with K = V)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow.compress.schemes.base import Scheme, Structure, step_densities, step_of
from flow.compress.schemes.coarse import block_sums, fine_mask, kept_columns, largest_sum
from flow.compress.schemes.grid import Grid, Mask, Real


class Block(Scheme):
    """Every bank keeps the G columns of largest energy in every block: no codes, only column maps."""

    name = "block"

    def densities(self, grid: Grid, block_rows: int) -> tuple[float, ...]:
        return tuple(step_densities(grid).tolist())

    def structure(self, scores: npt.ArrayLike, grid: Grid, density: float, block_rows: int) -> Structure:
        weights = step_of(grid, density)
        kept = int(np.minimum(grid.real, weights).sum()) * len(grid.rows)
        return Structure(self.name, weights, 1, 1, block_rows, kept, grid.size, weights)

    def mask(self, scores: npt.ArrayLike, grid: Grid, structure: Structure) -> Mask:
        energies = grid.energies(scores)
        kept = kept_columns(energies, structure.block_rows, structure.columns)
        return grid.logical(fine_mask(energies, kept, structure.block_rows, 1, 1))

    def kept_by_bank(self, energies: Real, structure: Structure) -> Real:
        sums = block_sums(energies, structure.block_rows)
        return np.asarray(largest_sum(sums, structure.columns).sum(axis=0))
