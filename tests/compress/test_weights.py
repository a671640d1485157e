"""Rounding of weights: zeros survive, scales minimise what they say, compensation pays."""

from __future__ import annotations

import numpy as np
import pytest

from flow.compress.weights import rounded, row_scales


def case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A weight [24, 100] with pruned entries and a pruned row, and correlated inputs [400, 100]."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_t(4, (24, 100)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.5] = 0
    weight[5] = 0
    x = rng.normal(0, 1, (400, 30)) @ rng.normal(0, 1, (30, 100)) + 0.3 * rng.normal(0, 1, (400, 100))
    return weight, x


def error(weight: np.ndarray, codes: np.ndarray, scale: np.ndarray, x: np.ndarray) -> float:
    return float(np.square(x @ (codes * scale[:, None] - weight).T).sum() / np.square(x @ weight.T).sum())


@pytest.mark.parametrize("bits", [4, 8])
def test_each_rounding_beats_the_one_before(bits: int) -> None:
    weight, x = case()
    gram = x.T @ x
    plain = row_scales(weight, None, 1.0, bits)
    fitted = row_scales(weight, None, 1.0, bits, np.diag(gram))
    nearest = error(weight, rounded(weight, plain, bits), plain, x)
    least = error(weight, rounded(weight, fitted, bits), fitted, x)
    compensated = rounded(weight, fitted, bits, gram)
    assert error(weight, compensated, fitted, x) < 0.5 * min(nearest, least)
    assert error(weight, rounded(weight, fitted, bits), fitted, np.diag(np.sqrt(np.diag(gram)))) <= error(
        weight, rounded(weight, plain, bits), plain, np.diag(np.sqrt(np.diag(gram)))
    )  # what the scale minimises: as if inputs were not correlated
    assert (fitted <= plain * (1 + 1e-6)).all()
    assert int(np.abs(compensated).max()) == 2 ** (bits - 1) - 1


@pytest.mark.parametrize("bits", [4, 8])
def test_zeros_stay_zeros(bits: int) -> None:
    weight, x = case(1)
    scale = row_scales(weight, None, 1.0, bits, np.diag(x.T @ x))
    for codes in (rounded(weight, scale, bits), rounded(weight, scale, bits, x.T @ x)):
        assert codes.dtype == np.int8
        assert not codes[weight == 0].any()
        assert codes[weight != 0].any()


def test_the_least_error_is_found_row_by_row() -> None:
    weight, x = case(2)
    importance = np.square(x).mean(axis=0)
    scale = row_scales(weight, None, 1.0, 4, importance)
    for row in (0, 11):
        w = weight[row].astype(np.float64)

        def off(step: float, w: np.ndarray = w) -> float:
            return float(np.square(np.clip(np.rint(w / step), -7, 7) * step - w) @ importance)

        assert off(scale[row]) <= 1.02 * min(off(s) for s in np.abs(w).max() / 7 * np.linspace(0.3, 1, 200))


def test_dead_inputs_are_rounded_to_the_nearest() -> None:
    weight, _ = case()
    scale = row_scales(weight, None, 1.0, 8, np.zeros(100))
    assert np.array_equal(scale, row_scales(weight, None, 1.0, 8))
    assert np.array_equal(rounded(weight, scale, 8, np.zeros((100, 100))), rounded(weight, scale, 8))
