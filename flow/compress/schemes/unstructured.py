"""Unstructured pruning: the largest scores of a matrix, wherever they lie.

A baseline: the engine stores it, and pays for the imbalance of the banks in cycles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow.compress.schemes.base import Scheme, Structure
from flow.compress.schemes.grid import Grid, Mask, Real

STEPS = 4096
"""Densities offered; each is exact to a weight, and one weight at least stays."""


class Unstructured(Scheme):
    """The round(density * N*C) weights of largest score, at least one; ties go to the lower row, then column."""

    name = "unstructured"

    def densities(self, grid: Grid, block_rows: int) -> tuple[float, ...]:
        steps = min(STEPS, grid.size)
        return tuple(max(round(i * grid.size / steps), 1) / grid.size for i in range(1, steps + 1))

    def structure(self, scores: npt.ArrayLike, grid: Grid, density: float, block_rows: int) -> Structure:
        kept = min(max(round(density * grid.size), 1), grid.size)
        return Structure(self.name, 1, grid.size, kept, 0, kept, grid.size, None)

    def mask(self, scores: npt.ArrayLike, grid: Grid, structure: Structure) -> Mask:
        grid.energies(scores)  # refuses what is no score of this matrix
        flat = -np.abs(np.asarray(scores, dtype=np.float64)).ravel()
        mask = np.zeros(flat.size, dtype=bool)
        mask[np.argsort(flat, kind="stable")[: structure.kept]] = True
        return mask.reshape(grid.shape)

    def kept_by_bank(self, energies: Real, structure: Structure) -> Real:
        kept = np.sort(np.maximum(energies, 0.0).ravel())[-structure.kept :]
        return np.asarray(np.where(energies >= kept[0], np.maximum(energies, 0.0), 0.0).sum(axis=(0, 2)))
