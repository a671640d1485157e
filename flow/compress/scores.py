"""Scores: how much each weight matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from flow.compress.matrices import Matrix
from flow.errors import UnsupportedError
from flow.ir import Array

SCORES = ("magnitude", "wanda")


def scores_of(
    matrices: Iterable[Matrix], score: str = "magnitude", norms: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """Scores [N, C] in logical order, by matrix name; masks keep the largest sums of their squares.

    - `magnitude`: |w[n, c]|;
    - `wanda`: |w[n, c]| * norms[c], the L2 norm of input channel c over the calibration tokens (`norms` [C] by matrix
      name), after "A Simple and Effective Pruning Approach for Large Language Models" (ICLR 2024). Its square is the
      output error that pruning the weight alone causes.

    Raises:
        UnsupportedError: an unknown score, or a matrix without norms of its width that are finite and not negative.
    """
    if score not in SCORES:
        raise UnsupportedError(f"--score: found {score!r}; expected {' or '.join(SCORES)}; choose one")
    if score == "magnitude":
        return {matrix.name: np.abs(matrix.weight) for matrix in matrices}
    found: dict[str, Array] = {}
    faults = []
    for matrix in matrices:
        norm = None if norms is None else norms.get(matrix.name)
        if norm is None or np.shape(norm) != (matrix.columns,):
            faults.append(f"  - {matrix.module}: found no norms; expected {matrix.columns}")
        elif not (np.isfinite(norm).all() and (np.asarray(norm) >= 0).all()):
            faults.append(f"  - {matrix.module}: found norms that are negative or not finite")
        else:
            found[matrix.name] = np.abs(matrix.weight) * np.asarray(norm, np.float32)
    if faults:
        raise UnsupportedError(
            f"--score wanda: found {len(faults)} matrices without input norms; expected one finite norm per input "
            "channel; give calibration data with --data, or choose --score magnitude\n" + "\n".join(faults)
        )
    return found
