"""Candidates that a ladder of sparsities does not reach, proposed by optuna: rows of a block, banks, scores, learning
rate, where more is not simply better.

Trials minimise two values at once: latency over all boards, and one minus the cosine of the outputs to the float
model's. Those on the front become candidates. Proposals come in rounds of `ROUND`, from a seeded sampler that is told
results in order, so they do not depend on how many workers there are; nor, since no constraint enters, on what the
user asks for afterwards.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flow.errors import FlowError
from flow.search.candidates import Recipe
from flow.search.journal import Journal

if TYPE_CHECKING:
    from optuna.trial import Trial

ROUND = 4
LEAST_SPARSITY, MOST_SPARSITY = 0.3, 0.95
BLOCK_ROWS = (4, 8, 16, 32, 64)
SCORES = ("wanda", "magnitude")
ALLOCATIONS = ("uniform", "cycles")
SHORT = 10
"""A trial trains for a tenth of the steps."""
NO_OPTUNA = (
    "--trials: found no package `optuna`; expected it to propose candidates; install it with "
    "`pip install 'flow-hls[search]'`, or leave --trials and --time out"
)
Result = tuple[float, float]
"""(latency relative to the others', error) of a trial."""
Evaluate = Callable[[Sequence[Recipe]], Sequence[Result | None]]


def propose(
    base: Recipe, banks: int, seed: int, trials: int, seconds: float, evaluate: Evaluate, rounds: Journal,
    identity: Mapping[str, Any],
) -> tuple[Recipe, ...]:  # fmt: skip
    """Recipes of the trials that no other beats in both values, by number.

    Args:
        base: scheme and training of all. banks: the library's B; half and twice of it are tried too.
        trials: at most so many; seconds: no round starts after so many, as the journal counts them: a search that was
            stopped, or is repeated, takes the same number of rounds. On another machine it may take another.
        evaluate: results of a round's recipes, None where one cannot be made.
        rounds: the journal that the time of each round is kept in, under `identity`.

    Raises:
        FlowError: optuna is missing.
    """
    try:
        import optuna
    except ImportError as error:
        raise FlowError(NO_OPTUNA) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=2 * ROUND)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    spent = 0.0
    made: dict[int, tuple[Recipe, Result | None]] = {}
    while len(made) < trials and spent < seconds:
        asked = [study.ask() for _ in range(min(ROUND, trials - len(made)))]
        recipes = [_drawn(trial, base, banks, trial.number) for trial in asked]
        started = time.monotonic()
        results = evaluate(recipes)
        taken = {"seconds": time.monotonic() - started}
        entry = rounds.entry("round", {**identity, "first": len(made)}, partial(_kept, taken))
        spent += float(entry.data["seconds"])
        for trial, recipe, result in zip(asked, recipes, results, strict=True):
            made[trial.number] = (recipe, result)
            if result is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, list(result))
    found = {number: result for number, (_, result) in made.items() if result is not None}
    return tuple(made[number][0] for number in found if not _beaten(found, number))


def shortened(recipe: Recipe) -> Recipe:
    """What a trial makes of a recipe: it trains for a part of the steps."""
    return replace(recipe, training=replace(recipe.training, steps=recipe.training.steps // SHORT))


def relative(latencies: Mapping[str, float], slowest: Mapping[str, float]) -> float:
    """Mean logarithm of a candidate's latency over the slowest of the ladder's, over all boards that hold one of
    those; one that cannot hold the candidate counts as twice the slowest."""
    return sum(math.log(latencies.get(board, 2 * worst) / worst) for board, worst in slowest.items()) / max(
        1, len(slowest)
    )


def _kept(data: Mapping[str, Any], _: Path) -> Mapping[str, Any]:
    return data


def _drawn(trial: Trial, base: Recipe, banks: int, number: int) -> Recipe:
    steps = base.training.steps
    rate = trial.suggest_float("rate", 3e-4, 3e-3, log=True) if steps else base.training.rate
    return replace(
        base,
        sparsity=trial.suggest_float("sparsity", LEAST_SPARSITY, MOST_SPARSITY),
        allocation=str(trial.suggest_categorical("allocation", ALLOCATIONS)),
        banks=int(trial.suggest_categorical("banks", (max(1, banks // 2), banks, 2 * banks))),
        block_rows=int(trial.suggest_categorical("block_rows", BLOCK_ROWS)),
        score=str(trial.suggest_categorical("score", SCORES)),
        training=replace(base.training, rate=rate),
        mark=f"trial{number}",
    )


def _beaten(found: Mapping[int, Result], number: int) -> bool:
    """Whether another trial is no worse in both values and better in one, or equal and earlier."""
    latency, error = found[number]
    return any(
        (other[0] <= latency and other[1] <= error) and (other != (latency, error) or n < number)
        for n, other in found.items()
        if n != number
    )
