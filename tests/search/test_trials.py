"""Proposals: seeded, on the front of what was tried, and as many as the journal says however fast the machine is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from flow.compress.train import TrainOptions
from flow.errors import FlowError
from flow.search.candidates import Recipe
from flow.search.journal import Journal
from flow.search.trials import (
    ALLOCATIONS,
    BLOCK_ROWS,
    LEAST_SPARSITY,
    MOST_SPARSITY,
    ROUND,
    SCORES,
    Result,
    propose,
    relative,
    shortened,
)

BASE = Recipe("hp", 0.75, TrainOptions(kind="train", steps=100))


class Oracle:
    """Latency falls with sparsity, the error grows with it; wanda is better; two banks cannot be made."""

    def __init__(self) -> None:
        self.asked: list[Recipe] = []

    def __call__(self, recipes: Sequence[Recipe]) -> list[Result | None]:
        self.asked += recipes
        return [self.of(recipe) for recipe in recipes]

    @staticmethod
    def of(recipe: Recipe) -> Result | None:
        if recipe.banks == 2:
            return None
        return -recipe.sparsity, recipe.sparsity**2 + (recipe.score != "wanda")


def run(
    folder: Path, trials: int = 24, seconds: float = 1e9, seed: int = 0
) -> tuple[tuple[Recipe, ...], Oracle]:
    oracle = Oracle()
    return propose(BASE, 4, seed, trials, seconds, oracle, Journal(folder), {"a": 1}), oracle


def test_proposals_are_the_front_of_what_was_tried(tmp_path: Path) -> None:
    found, oracle = run(tmp_path)
    assert len(oracle.asked) == 24
    assert {recipe.banks for recipe in oracle.asked} == {2, 4, 8}
    for recipe in oracle.asked:
        assert LEAST_SPARSITY <= recipe.sparsity <= MOST_SPARSITY
        assert recipe.block_rows in BLOCK_ROWS
        assert recipe.score in SCORES
        assert recipe.allocation in ALLOCATIONS
        assert 3e-4 <= recipe.training.rate <= 3e-3
    results = {recipe: Oracle.of(recipe) for recipe in oracle.asked}
    there = {recipe: result for recipe, result in results.items() if result is not None}
    assert 0 < len(there) < 24
    best = {
        recipe
        for recipe, (latency, error) in there.items()
        if not any(a <= latency and b <= error for other, (a, b) in there.items() if other != recipe)
    }
    assert set(found) == best
    assert [recipe.mark for recipe in found] == [f"trial{oracle.asked.index(recipe)}" for recipe in found]


def test_a_seed_gives_the_same_proposals(tmp_path: Path) -> None:
    first = run(tmp_path / "a")[0]
    assert run(tmp_path / "b")[0] == first
    assert run(tmp_path / "c", seed=1)[0] != first


def test_time_is_what_the_journal_says(tmp_path: Path) -> None:
    """No round starts after the time is up; repeated, the rounds are counted as they took the first time."""
    assert len(run(tmp_path / "a", seconds=1e-9)[1].asked) == ROUND
    journal = Journal(tmp_path / "b")
    for first in (0, ROUND):
        journal.entry("round", {"a": 1, "first": first}, lambda _: {"seconds": 30.0})
    assert len(run(tmp_path / "b", seconds=60.0)[1].asked) == 2 * ROUND


def test_a_trial_is_short() -> None:
    assert shortened(BASE).training.steps == 10


def test_latency_over_boards() -> None:
    """One that is as slow as the slowest everywhere gives 0; one that does not fit counts as twice as slow."""
    assert relative({"a": 2.0, "b": 4.0}, {"a": 2.0, "b": 4.0}) == 0
    assert relative({"a": 1.0}, {"a": 2.0, "b": 4.0}) == pytest.approx(0)
    assert relative({"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 4.0}) < 0


def test_optuna_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(FlowError) as caught:
        run(tmp_path)
    assert str(caught.value) == (
        "--trials: found no package `optuna`; expected it to propose candidates; install it with "
        "`pip install 'flow-hls[search]'`, or leave --trials and --time out"
    )
