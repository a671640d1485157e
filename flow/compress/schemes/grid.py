"""A matrix on the banks of an engine: where each row and column lies, and per-bank views of scores and masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flow.errors import UnsupportedError

Ints = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PADDING = -1.0
"""Energy of a column that pads a bank: below that of any weight, so that it is picked last."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Physical places of a matrix W[N, C]: `rows` [N] and `columns` [C] ascend; B = `banks`.

    Column c lies in bank `columns[c] mod B` at offset `columns[c] div B`; a bank is D = `depth` offsets deep, some of
    which may hold no column (padding between heads, or where B does not divide C). Row n belongs to block
    `rows[n] div R`, so that blocks are those of the stored matrix.
    """

    rows: Ints
    columns: Ints
    banks: int

    @classmethod
    def natural(cls, rows: int, columns: int, banks: int) -> Grid:
        """Row n at n, column c at c."""
        return cls(np.arange(rows), np.arange(columns), banks)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, C)."""
        return len(self.rows), len(self.columns)

    @property
    def size(self) -> int:
        """N*C."""
        return len(self.rows) * len(self.columns)

    @property
    def height(self) -> int:
        """Physical rows up to the last real one."""
        return int(self.rows[-1]) + 1

    @cached_property
    def depth(self) -> int:
        """D: offsets of a bank."""
        return int(self.columns[-1]) // self.banks + 1

    @cached_property
    def occupied(self) -> Mask:
        """[B, D]: whether an offset of a bank holds a column."""
        held = np.zeros(self.depth * self.banks, dtype=bool)
        held[self.columns] = True
        return np.ascontiguousarray(held.reshape(self.depth, self.banks).T)

    @cached_property
    def real(self) -> Ints:
        """[B]: columns of each bank."""
        return np.asarray(self.occupied.sum(axis=1, dtype=np.int64))

    @property
    def most(self) -> int:
        """Columns of the fullest bank: the cycles of a dense row."""
        return int(self.real.max())

    def energies(self, scores: npt.ArrayLike) -> Real:
        """Squared scores [N', B, D] of logical scores [N, C]; padding columns hold `PADDING`, padding rows 0.

        Raises:
            UnsupportedError: the scores have another shape, or are not finite.
        """
        s = np.asarray(scores, dtype=np.float64)
        if s.shape != self.shape or not np.isfinite(s).all():
            found = f"shape {s.shape}" if s.shape != self.shape else "values that are not finite"
            raise UnsupportedError(
                f"pruning: found scores of {found}; expected finite scores of shape {self.shape}; "
                "check the weights and the calibration data"
            )
        flat = np.zeros((self.height, self.depth * self.banks))
        flat[np.ix_(self.rows, self.columns)] = s * s
        cells = np.ascontiguousarray(flat.reshape(self.height, self.depth, self.banks).transpose(0, 2, 1))
        cells[:, ~self.occupied] = PADDING
        return cells

    def logical(self, cells: Mask) -> Mask:
        """The mask [N, C] of a mask [N', B, D]."""
        flat = cells.transpose(0, 2, 1).reshape(self.height, self.depth * self.banks)
        return np.ascontiguousarray(flat[np.ix_(self.rows, self.columns)])
