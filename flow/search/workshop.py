"""The candidates of a search, made by a crew: all planned at once, trained one after the other as they are asked for.

While the crew has nothing else to do it trains what the search will ask for next if the present candidate fails. That
changes how long a search takes, and what lies in the journal for the next one, never what it answers.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flow.compress.matrices import find_matrices
from flow.compress.plan import default_banks
from flow.emit.build import put_files
from flow.emit.lower import Lowered
from flow.errors import UnsupportedError
from flow.search import candidates
from flow.search.candidates import BASIS, Recipe, Source
from flow.search.choose import Draw, Measured, Place
from flow.search.executor import Crew
from flow.search.journal import Journal
from flow.search.trials import Result, propose, relative, shortened

Tell = Callable[[str], None]
LOOK = 64
"""Samples that a trial's error is measured on."""


@dataclass(frozen=True)
class Planned:
    """Candidates by name, in order of preference: least compressed first.

    `latency_ms` and `draws` are by candidate and place, `sparsity` by candidate; `refusals` are why a board cannot hold
    the smallest candidate that it was tried with, `left_out` why a recipe is no candidate.
    """

    recipes: Mapping[str, Recipe]
    latency_ms: Mapping[str, Mapping[Place, float]]
    sparsity: Mapping[str, float]
    refusals: Mapping[str, str]
    left_out: Mapping[str, str]
    draws: Mapping[str, Mapping[Place, Draw]]


@dataclass
class Workshop:
    """What a search has made by a crew."""

    source: Source
    crew: Crew
    tell: Tell
    _started: dict[str, Future[Measured]] = field(default_factory=dict)

    def plan(self, ladder: Sequence[Recipe], trials: int = 0, seconds: float = math.inf) -> Planned:
        """Plans of all recipes, and of what trials add to them.

        Raises:
            UnsupportedError: none can be made.
        """
        plain = [recipe for recipe in ladder if recipe.allocation == "uniform"]
        made = dict(zip(plain, self._plans(plain), strict=True))
        if len(plain) < len(ladder) or trials:
            made |= self._with_curves(ladder, trials, seconds, made)
        return _collected(made)

    def measure(self, name: str, planned: Planned, ahead: Iterator[str]) -> Measured:
        """The trained candidate; `ahead` are the names that may be asked for after it, likeliest first."""
        self._start(name, planned.recipes[name])
        for other in ahead:
            if sum(not future.done() for future in self._started.values()) >= self.crew.size:
                break
            if self.crew.size > 1:
                self._start(other, planned.recipes[other])
        self.tell(f"{name}: train, quantize, run the integers on the validation samples")
        return self._started[name].result()

    def confirm(self, lowered: Lowered) -> dict[str, Any]:
        """What the Verilog of the winner's build takes for one test sample, as `candidates.confirm` says.

        The build goes through the journal's folder, which all workers reach, for as long as it is simulated.

        Raises:
            ToolError: a tool is missing where the work is done, or the simulation fails.
        """

        def work(folder: Path) -> Mapping[str, Any]:
            self.tell("simulate the winner's Verilog")
            build = folder / "build"
            put_files(build, lowered.files, lowered.manifest)
            found = self.crew.submit(candidates.confirm, self.source, build).result()
            shutil.rmtree(build, ignore_errors=True)
            return found

        journal = Journal(self.source.journal)
        # Whatever the build was made from, and at which level: its manifest has the hash of every file.
        identity = {**self.source.identity, "build": journal.key(lowered.manifest)}
        return dict(journal.entry("confirmed", identity, work).data)

    def _start(self, name: str, recipe: Recipe) -> None:
        if name not in self._started:
            self._started[name] = self.crew.submit(candidates.measure, self.source, recipe)

    def _plans(self, recipes: Sequence[Recipe]) -> list[Mapping[str, Any] | UnsupportedError]:
        """What `candidates.plan` returns or refuses, in order."""
        futures = [self.crew.submit(candidates.plan, self.source, recipe) for recipe in recipes]
        for done, _ in enumerate(as_completed(futures), start=1):
            self.tell(f"plans of candidates: {done} of {len(futures)}")
        return [_unless_refused(future) for future in futures]

    def _with_curves(
        self, ladder: Sequence[Recipe], trials: int, seconds: float, made: Mapping[Recipe, Any]
    ) -> dict[Recipe, Mapping[str, Any] | UnsupportedError]:
        """Plans of what is allocated by cycles, and of trials."""
        self.tell("sensitivity of every matrix, and what its weights cost")
        basis = replace(ladder[0], sparsity=BASIS, allocation="uniform", mark="")
        curves = _unless_refused(self.crew.submit(candidates.curves, self.source, basis))
        allocated = [recipe for recipe in ladder if recipe.allocation == "cycles"]
        if isinstance(curves, UnsupportedError):
            return dict.fromkeys(allocated, curves)
        found = dict(zip(allocated, self._plans(allocated), strict=True))
        if trials:
            tried = self._trials(basis, trials, seconds, {**made, **found})
            found |= dict(zip(tried, self._plans(tried), strict=True))
        return found

    def _trials(
        self, base: Recipe, trials: int, seconds: float, made: Mapping[Recipe, Any]
    ) -> tuple[Recipe, ...]:
        slowest: dict[str, float] = {}
        for plan in made.values():
            if not isinstance(plan, UnsupportedError):
                for board, latency in candidates.nominal_latencies(plan).items():
                    slowest[board] = max(latency, slowest.get(board, 0.0))

        def evaluate(recipes: Sequence[Recipe]) -> list[Result | None]:
            short = [shortened(recipe) for recipe in recipes]
            plans = self._plans(short)
            scores = [
                None if isinstance(p, UnsupportedError)
                else self.crew.submit(candidates.score, self.source, recipe, "fit", LOOK)
                for p, recipe in zip(plans, short, strict=True)
            ]  # fmt: skip
            return [
                None if s is None or isinstance(p, UnsupportedError)
                else (relative(candidates.nominal_latencies(p), slowest), 1 - s.result())
                for p, s in zip(plans, scores, strict=True)
            ]  # fmt: skip

        identity = {
            **self.source.identity, "boards": self.source.boards_identity, "trials": trials, "slowest": slowest,
            "base": [base.scheme, base.training.kind, base.training.steps],
        }  # fmt: skip
        banks = default_banks(find_matrices(self.source.graph()))
        return propose(
            base, banks, self.source.seed, trials, seconds, evaluate, Journal(self.source.journal), identity
        )


def _unless_refused(future: Future[Any]) -> Any:
    try:
        return future.result()
    except UnsupportedError as error:
        return error


def _collected(made: Mapping[Recipe, Mapping[str, Any] | UnsupportedError]) -> Planned:
    """Plans by name, least compressed first; of two with the same structures the first.

    Raises:
        UnsupportedError: none can be made.
    """
    left_out: dict[str, str] = {}
    plans: list[tuple[Recipe, Mapping[str, Any]]] = []
    for recipe, found in made.items():
        if isinstance(found, UnsupportedError):
            left_out[recipe.name] = str(found)
        else:
            plans.append((recipe, found))
    if not plans:
        raise UnsupportedError(
            "flow select: found no candidate that can be made; the first reason: "
            + next(iter(left_out.values()))
        )
    # The sort is stable: recipes of one sparsity stay as they were given, allocated ones before uniform ones.
    plans.sort(key=lambda p: (p[1]["sparsity"], p[0].allocation == "uniform"))
    recipes: dict[str, Recipe] = {}
    latency: dict[str, Mapping[Place, float]] = {}
    sparsity: dict[str, float] = {}
    draws: dict[str, Mapping[Place, Draw]] = {}
    refusals: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for recipe, found in plans:
        key = (found["structures"], recipe.score, recipe.training)
        name = replace(recipe, sparsity=found["sparsity"]).name
        if key in seen:
            left_out[recipe.name] = f"the structures are those of {seen[key]}"
            continue
        if name in recipes:
            name = replace(recipe, sparsity=found["sparsity"], mark="").name + f"-{len(recipes)}"
        seen[key] = name
        recipes[name] = recipe
        latency[name] = candidates.latencies_of(found)
        sparsity[name] = found["sparsity"]
        draws[name] = candidates.draws_of(found)
        refusals |= found["refusals"]
    return Planned(recipes, latency, sparsity, refusals, left_out, draws)
