"""Weights to integers: a scale for each row, and how values are rounded to its multiples. Zeros stay zeros.

    nearest  scale from the row's largest magnitude, rounding to the nearest
    mse      the scale that minimises sum_c m[c] (w[n, c] - s[n] q[n, c])^2, m[c] being the mean square of input c
    gptq     that scale, and rounding that compensates: columns are rounded one after the other, and what rounding
             column c changed in the outputs is taken out of the columns behind it

For inputs X [T, C] with H = X^T X + damping, U the upper Cholesky factor of H^-1 and d = w[:, c] - s q[:, c], the
compensation is `w[:, c'] -= d / U[c, c] * U[c, c']` for every c' > c. After "GPTQ: Accurate Post-Training Quantization
for Generative Pre-trained Transformers" (ICLR 2023); a weight that is zero is rounded to zero and compensated likewise,
as SparseGPT (ICML 2023) does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from flow.compress.forms import single

Real = npt.NDArray[np.float64]

ROUNDINGS = ("nearest", "mse", "gptq")
ROW_FLOOR = 2.0**-12
"""Least weight scale of a row, as a share of the matrix' largest: keeps requantise factors in range."""
BIAS_LIMIT = 2.0**28
"""A row's scale is raised until its bias, in accumulator units, is at most this."""
SHRINKS = {8: np.linspace(1.0, 0.7, 16), 4: np.linspace(1.0, 0.3, 36)}
"""Shares of the largest magnitude's scale that are tried, by width."""
DAMPING = 0.01
"""Added to H's diagonal, as a share of its mean."""


def row_scales(
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32] | None,
    step: float,
    bits: int,
    importance: Real | None = None,
) -> Real:
    """Scale of each row of W[N, C]: max|w| / (2^(bits-1) - 1), raised where the integers around it would not fit.

    With `importance` [C] the scale may be smaller: the one of the least square error weighted by it. A row far below
    the largest takes `ROW_FLOOR` of that one's scale, and a row whose bias in units of `step` (the input's scale) times
    its own would exceed `BIAS_LIMIT` takes the scale that meets it. An all-zero row has no scale of its own: it takes
    the largest, 1 if there is none.
    """
    magnitude = np.abs(weight.astype(np.float64)).max(axis=1, initial=0.0)
    scale = magnitude / (2 ** (bits - 1) - 1)
    if importance is not None:
        scale = scale * _shrinks(weight.astype(np.float64), scale, importance, bits)
    largest = float(scale.max(initial=0.0))
    scale = np.where(scale > 0, np.maximum(scale, largest * ROW_FLOOR), largest if largest > 0 else 1.0)
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias.astype(np.float64)) / (step * BIAS_LIMIT))
    return single(scale)


def _shrinks(weight: Real, scale: Real, importance: Real, bits: int) -> Real:
    """The share of its scale, for each row, that has the least weighted square error."""
    top = 2 ** (bits - 1) - 1
    least, best = np.full(len(weight), np.inf), np.ones(len(weight))
    for share in SHRINKS[bits]:
        step = np.maximum(scale * share, 1e-300)[:, None]
        off = np.clip(np.rint(weight / step), -top, top) * step - weight
        error = np.square(off) @ importance
        best = np.where(error < least, share, best)
        least = np.minimum(error, least)
    return best


def rounded(
    weight: npt.NDArray[np.float32], scale: Real, bits: int, gram: Real | None = None
) -> npt.NDArray[np.int8]:
    """Integers of W[N, C] at `scale` [N]: the nearest, or with `gram` = X^T X [C, C] compensated; zeros stay zeros."""
    top = 2 ** (bits - 1) - 1
    w = weight.astype(np.float64)
    if gram is None or not gram.any():
        return np.clip(np.rint(w / scale[:, None]), -top, top).astype(np.int8)
    kept, order = weight != 0, np.argsort(-np.diag(gram), kind="stable")
    factor = _inverse_factor(gram[np.ix_(order, order)])
    w, kept = w[:, order], kept[:, order]
    codes = np.zeros(w.shape)
    for start in range(0, w.shape[1], 64):  # blocks keep the update of far columns one product
        end = min(start + 64, w.shape[1])
        errors = np.zeros((len(w), end - start))
        for c in range(start, end):
            codes[:, c] = np.where(kept[:, c], np.clip(np.rint(w[:, c] / scale), -top, top), 0.0)
            errors[:, c - start] = (w[:, c] - codes[:, c] * scale) / factor[c, c]
            w[:, c + 1 : end] -= np.outer(errors[:, c - start], factor[c, c + 1 : end])
        w[:, end:] -= errors @ factor[start:end, end:]
    found = np.zeros(weight.shape, np.int8)
    found[:, order] = codes.astype(np.int8)
    return found


def _inverse_factor(gram: Real) -> Real:
    """U, upper triangular, with U^T U = (gram + damping)^-1."""
    damped = gram + np.eye(len(gram)) * max(DAMPING * float(np.trace(gram)) / len(gram), 1e-12)
    lower = cholesky(damped, lower=True)
    half = solve_triangular(lower, np.eye(len(gram)), lower=True)
    factor: Real = cholesky(half.T @ half, lower=False)
    return factor
