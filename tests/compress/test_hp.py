"""HP masks are balanced by construction, and densities are what they promise."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from flow.compress.schemes.hp import (
    HpPattern,
    bank_counts,
    choose_pattern,
    columns_per_bank,
    expressible_densities,
    hp_mask,
    spread_density,
)
from flow.errors import UnsupportedError


@pytest.mark.parametrize(
    ("rows", "columns", "banks", "block", "pattern"),
    [
        (64, 64, 8, 16, HpPattern(1, 6, 2)),
        (64, 256, 8, 16, HpPattern(1, 9, 3)),
        (48, 384, 32, 64, HpPattern(1, 9, 3)),
        (20, 96, 8, 8, HpPattern(3, 4, 1)),
        (16, 32, 8, 4, HpPattern(4, 1, 1)),
    ],
)
def test_every_row_and_bank_keeps_the_same_number(
    rows: int, columns: int, banks: int, block: int, pattern: HpPattern
) -> None:
    weight = np.random.default_rng(1).normal(size=(rows, columns))
    mask = hp_mask(weight, banks, block, pattern.columns, pattern.vector, pattern.keep)
    assert (bank_counts(weight * mask, banks) == pattern.weights).all()
    assert mask.mean() == pattern.weights / (columns // banks)
    cells = mask.reshape(rows, -1, banks)
    for start in range(0, rows, block):
        used = cells[start : start + block].any(axis=0)  # [D, B]
        assert (used.sum(axis=0) <= pattern.columns).all()


def test_balance_for_b_is_balance_for_its_divisors() -> None:
    mask = hp_mask(np.random.default_rng(2).normal(size=(32, 64)), 16, 16, 3, 3, 1)
    for banks in (16, 8, 4, 2, 1):
        assert len(set(bank_counts(mask, banks).ravel().tolist())) == 1


def test_groups_keep_k_of_v_and_the_largest() -> None:
    weight = np.random.default_rng(3).normal(size=(8, 48))
    mask = hp_mask(weight, 4, 8, 8, 4, 1)
    for bank in range(4):
        cells, kept = np.abs(weight[:, bank::4]), mask[:, bank::4]
        columns = np.sort(np.argsort(-(cells**2).sum(0))[:8])
        for group in columns.reshape(2, 4):
            assert (kept[:, group].sum(1) == 1).all()
            assert (kept[:, group].argmax(1) == cells[:, group].argmax(1)).all()
        assert not kept[:, np.setdiff1d(np.arange(12), columns)].any()


def test_padding_columns_are_not_kept_before_real_ones() -> None:
    mask = hp_mask(np.zeros((4, 60)), 8, 4, 4, 4, 2)  # bank 4..7 hold 7 real columns of 8
    assert mask.shape == (4, 60)
    assert (bank_counts(mask, 8) == 2).all()
    full = hp_mask(np.ones((4, 60)), 8, 4, 8, 8, 8)
    assert full.all()


def test_ties_go_to_the_lower_column() -> None:
    assert hp_mask(np.ones((1, 8)), 2, 1, 4, 4, 1)[0].tolist() == [
        True,
        True,
        False,
        False,
        False,
        False,
        False,
        False,
    ]


def test_expressible_densities_step_by_banks_over_columns() -> None:
    assert expressible_densities(64, 8) == tuple(i / 8 for i in range(9))
    assert min(d for d in expressible_densities(768, 64) if d) == pytest.approx(1 - 0.9167, abs=1e-4)
    assert len(expressible_densities(60, 8)) == 9


@pytest.mark.parametrize("density", [0.05, 0.1, 0.2, 0.35, 0.5, 0.9, 1.0])
def test_spread_comes_nearest_with_the_finest_matrices(density: float) -> None:
    shapes = [(64, 64)] * 4 + [(256, 64), (64, 256)]
    weights = spread_density(shapes, 8, density)
    assert len(set(weights[:5])) == 1
    total = sum(n * c for n, c in shapes)
    actual = (
        sum(w / columns_per_bank(c, 8) * n * c for w, (n, c) in zip(weights, shapes, strict=True)) / total
    )
    assert abs(actual - density) <= max(0.5 / 32 / 3 + 1e-9, 1 / 8 * 2 / 3 + 1 / 32 / 3 - density)
    assert all(1 <= w <= columns_per_bank(c, 8) for w, (_, c) in zip(weights, shapes, strict=True))


def test_the_digits_spread() -> None:
    assert spread_density([(192, 64), (64, 64), (256, 64), (64, 256)], 8, 0.2) == (2, 2, 2, 3)


@pytest.mark.parametrize("depth", [1, 5, 8, 12, 32, 48])
def test_patterns_are_expressible_for_every_count(depth: int) -> None:
    for weights in range(1, depth + 1):
        pattern = choose_pattern(weights, depth)
        assert pattern.weights == weights
        assert weights <= pattern.columns <= depth
        assert pattern.vector <= 16
        assert math.comb(pattern.vector, pattern.keep) <= 256
        assert 2**pattern.code_bits >= math.comb(pattern.vector, pattern.keep) > (2**pattern.code_bits) // 2
    assert str(choose_pattern(1, 1)) == "1 x 1 of 1"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: hp_mask(np.ones(4), 2, 1, 1, 1, 1),
            "pruning: found scores of shape (4,); expected a matrix [N, C]",
        ),
        (
            lambda: hp_mask(np.ones((4, 8)), 2, 1, 5, 5, 1),
            "pruning: found K=1, V=5, V*G=5, R=1 for 4 columns per bank; expected 1 <= K <= V <= V*G <= columns per bank, V dividing V*G, R >= 1; choose another pattern",  # noqa: E501
        ),
        (
            lambda: choose_pattern(9, 8),
            "pattern: found 9 weights per row and bank; expected 1 to 8, the columns of a bank",
        ),
        (
            lambda: spread_density([(4, 4)], 2, 0.0),
            "density: found 0.0; expected a value in (0, 1]; give the share of weights to keep",
        ),
    ],
)
def test_impossible_requests_are_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        call()
