"""What a pruning scheme is: a choice of structure, and the mask of a structure on given scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from flow.compress.schemes.grid import Grid, Ints, Mask, Real
from flow.formats.shapes import Subset

__all__ = ["Mask", "Scheme", "Structure", "kept_energy"]


@dataclass(frozen=True)
class Structure:
    """What a matrix W[N, C] keeps: in every (row, bank) G (`groups`) groups of K (`keep`) of V (`vector`) columns.

    `block_rows` is R of the coarse step, 0 where there is none. `kept` is the exact number of weights of `size` = N*C
    that stay, padding of banks considered. `patterns` are the K-subsets that a group may take, none where all may.
    `cycles` is the number of cycles that a row takes, None where the scheme promises none.
    """

    scheme: str
    groups: int
    vector: int
    keep: int
    block_rows: int
    kept: int
    size: int
    cycles: int | None
    patterns: tuple[Subset, ...] = ()

    @property
    def density(self) -> float:
        """Share of the weights that stay, exactly."""
        return self.kept / self.size

    @property
    def columns(self) -> int:
        """V*G: columns that a bank keeps in a block of rows."""
        return self.groups * self.vector

    @property
    def weights(self) -> int:
        """G*K: weights of one row in a bank that has enough columns."""
        return self.groups * self.keep

    def __str__(self) -> str:
        if self.cycles is None:
            return f"{self.kept} of {self.size}"
        if self.vector == self.keep:
            return f"{self.weights} columns"
        text = f"{self.groups} x {self.keep} of {self.vector}"
        return f"{text} in {len(self.patterns)} patterns" if self.patterns else text

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; `from_json` reads it back."""
        return {**asdict(self), "patterns": [list(p) for p in self.patterns]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Structure:
        """The structure of a checkpoint."""
        values = {f.name: data[f.name] for f in fields(Structure)}
        return Structure(**{**values, "patterns": tuple(tuple(p) for p in values["patterns"])})


class Scheme(ABC):
    """A way to prune. Everything is deterministic: equal scores and grids give equal structures and masks."""

    name: ClassVar[str]

    @abstractmethod
    def densities(self, grid: Grid, block_rows: int) -> tuple[float, ...]:
        """Every density above 0 that a matrix on this grid should have, ascending; the last is 1."""

    @abstractmethod
    def structure(self, scores: npt.ArrayLike, grid: Grid, density: float, block_rows: int) -> Structure:
        """The structure for the expressible density nearest to `density`, chosen by the scores [N, C]."""

    @abstractmethod
    def mask(self, scores: npt.ArrayLike, grid: Grid, structure: Structure) -> Mask:
        """The weights [N, C] that stay; ties go to the lower column.

        Raises:
            UnsupportedError: scores of another shape, or not finite.
        """

    @abstractmethod
    def kept_by_bank(self, energies: Real, structure: Structure) -> Real:
        """[B]: the energy of [N', B, D] (see `Grid.energies`) that the structure keeps in every bank.

        N' may be part of the rows, in whole blocks.
        """


def kept_energy(scores: npt.ArrayLike, mask: Mask) -> float:
    """sum of s^2 over what the mask keeps, as a share of the whole; 1 where all scores are 0."""
    energy = np.square(np.asarray(scores, dtype=np.float64))
    total = float(energy.sum())
    return float(energy[mask].sum()) / total if total else 1.0


def step_of(grid: Grid, density: float) -> int:
    """The G*K in 1..D whose density sum_b min(G*K, real_b) / C is nearest to `density`."""
    return int(np.abs(step_densities(grid) - density).argmin()) + 1


def step_densities(grid: Grid) -> npt.NDArray[np.float64]:
    """Density of G*K = 1, 2, …, D weights in every (row, bank) that has as many columns."""
    steps = np.arange(1, grid.most + 1)
    return np.asarray(np.minimum(steps[:, None], grid.real).sum(axis=1) / len(grid.columns))


def grouped_counts(real: Ints, groups: int, vector: int, keep: int) -> Ints:
    """Weights of a row in banks of which `real` [B] of the V*G kept columns are no padding (which stands last)."""
    start = np.arange(groups) * vector
    inside = np.clip(real[:, None] - start, 0, vector)
    return np.asarray(np.minimum(inside, keep).sum(axis=1), dtype=np.int64)
