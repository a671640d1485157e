"""The cycles that a matrix needs on an engine: exact, and fast enough to try every engine.

A row group takes as many cycles as the fullest (row, bank) among its P rows and B banks has non-zeros; the
storage always reaches that (`encode`), so this bound needs no encoding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flow.errors import FlowError

AnyInts = npt.NDArray[np.integer] | npt.NDArray[np.bool_]


def cycle_bound(weights: AnyInts, banks: int, rows_per_group: int) -> int:
    """Cycles per token tile: sum over row groups of max over rows and banks of nnz(row, bank).

    `weights` [N, C] in physical order; N and C need not divide, as if padded with zeros.
    Raises `FlowError` for a matrix that is not 2-D or counts below 1.
    """
    return cycle_bounds(weights, (banks,), rows_per_group)[0]


def cycle_bounds(weights: AnyInts, banks_list: Sequence[int], rows_per_group: int) -> tuple[int, ...]:
    """`cycle_bound` for each number of banks, in their order.

    The weights are read once for each B that divides no greater one in the list; every divisor folds from
    its multiple's counts.
    """
    matrix = np.asarray(weights)
    if matrix.ndim != 2 or rows_per_group < 1 or any(banks < 1 for banks in banks_list):
        raise FlowError(
            f"cycle bound: found a {matrix.ndim}-D matrix, banks {list(banks_list)}, {rows_per_group} rows a group; "
            "expected a 2-D matrix and counts of at least 1; correct the engine's parameters"
        )
    rows, columns = matrix.shape
    if not rows or not columns:
        return (0,) * len(banks_list)
    occupied = (matrix != 0).view(np.uint8)
    counts: dict[int, npt.NDArray[np.uint16]] = {}
    for banks in sorted(set(banks_list), reverse=True):
        multiple = min((b for b in counts if b % banks == 0), default=0)
        counts[banks] = _fold(counts[multiple] if multiple else occupied, banks)
    starts = np.arange(0, rows, rows_per_group)
    return tuple(
        int(np.maximum.reduceat(counts[banks].max(axis=1), starts).astype(np.int64).sum())
        for banks in banks_list
    )


def _fold(counts: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], banks: int) -> npt.NDArray[np.uint16]:
    """Sums [N, C] over the columns of each residue modulo `banks`."""
    rows, columns = counts.shape
    whole = columns // banks * banks
    folded: npt.NDArray[np.uint16] = counts[:, :whole].reshape(rows, -1, banks).sum(axis=1, dtype=np.uint16)
    if whole < columns:
        folded[:, : columns - whole] += counts[:, whole:]
    return folded
