"""Compressed models: how each is made, what it costs on every board, and how good it is.

A candidate is pruned and quantized without training first, which is cheap and settles the structure and so the cycles;
it is trained only where its accuracy is asked for. Each piece of work is a journal entry, made by a function of plain
arguments that any process may run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flow import __version__
from flow.boards import NOMINAL, Board
from flow.compress.checkpoint import Checkpoint, digest
from flow.compress.plan import Plan, PruneOptions
from flow.compress.quantize import QuantizeOptions
from flow.compress.run import Request, quantize_file
from flow.compress.train import TrainOptions
from flow.cost import EstimateReport, StepForms, Walks, beat_cycles, estimate_layout, fit
from flow.cost.energy import METHOD as ENERGY_METHOD
from flow.emit.build import Build
from flow.emit.lower import LowerOptions, integerise, lay_out, read_model
from flow.engine import Engine
from flow.errors import FitError, UnsupportedError
from flow.frontend import load
from flow.frontend.to_torch import write_pt2
from flow.golden import execute
from flow.golden.samples import Samples, load_samples
from flow.ir import Array, Graph
from flow.passes import recognise
from flow.passes.lay_out import Layout
from flow.search.choose import Draw, Measured, Place
from flow.search.journal import Entry, Journal
from flow.search.pruning import Way, priced, prices, prune, sensitivities
from flow.search.split import Split, write_samples
from flow.sim.simulate import simulate

DENSE = "dense"
MODEL = "model.pt2"
NEAR = 0.05
"""How far the nearest sparsity that the structures express may lie from the one asked for."""
ROUGH, FULL = 32, 256
"""Samples that ranges come from where only cycles are wanted, and where accuracy is."""
PARTS = ("fit", "validation", "test")


@dataclass(frozen=True)
class Recipe:
    """How a candidate is compressed, and what trains it.

    `allocation` is `uniform`, or `cycles`: densities by sensitivity against cycles. `banks` None is the library's
    choice. `mark` stands behind the name, to tell where a recipe came from. A sparsity of 0 is the dense model.
    """

    scheme: str
    sparsity: float
    training: TrainOptions
    allocation: str = "uniform"
    banks: int | None = None
    block_rows: int = 16
    score: str = "wanda"
    mark: str = ""

    @property
    def name(self) -> str:
        """Such as `hp-0.80`, `hp-0.80-cycles`."""
        if self.sparsity == 0:
            return DENSE
        return f"{self.scheme}-{self.sparsity:.2f}{'-' * bool(self.mark)}{self.mark}"

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return self.training.steps > 0 and self.sparsity > 0

    def options(self, seed: int) -> PruneOptions:
        """For `flow.compress`."""
        allocation = "sensitivity" if self.allocation == "cycles" else "uniform"
        return PruneOptions(
            self.scheme, self.sparsity, self.banks, self.block_rows, self.score, allocation, seed=seed
        )


@dataclass(frozen=True)
class Source:
    """What all candidates are made from: the float model, its data, the boards that they must serve, as plain data.

    The parts of the data lie in the journal's folder under `part`; `identity` is what every entry depends on.
    """

    model: Path
    journal: Path
    boards: tuple[Board, ...]
    seed: int
    identity: Mapping[str, Any]

    def part(self, name: str) -> Path:
        """The file of a part of the data."""
        return self.journal / f"{name}-{self.identity['data'][:24]}-{self.seed}.npz"

    def samples(self, name: str) -> Samples:
        """A part of the data."""
        return load_samples(self.part(name), self.graph(), labelled=True)

    def graph(self) -> Graph:
        """The float model."""
        return recognise(load(self.model))

    @property
    def boards_identity(self) -> dict[str, str]:
        """Boards by their contents."""
        return {
            board.name: hashlib.sha256(board.text.encode()).hexdigest()
            for board in sorted(self.boards, key=lambda b: b.name)
        }


def source_of(
    model: Path, data: Path, parts: Split, boards: tuple[Board, ...], seed: int, journal: Path
) -> Source:
    """A source whose parts are written."""
    identity = {
        "flow": __version__, "torch": str(torch.__version__), "model": digest(model), "data": digest(data), "seed": seed
    }  # fmt: skip
    source = Source(model.absolute(), journal.absolute(), boards, seed, identity)
    for name in PARTS:
        place = source.part(name)
        if not place.exists():
            beside = place.with_name(f".{place.name}")
            write_samples(getattr(parts, name), beside)
            beside.replace(place)
    return source


# -- what workers run ------------------------------------------------------------------------------------------


def plan(source: Source, recipe: Recipe) -> Mapping[str, Any]:
    """The candidate without training: `sparsity`, `structures`, and `costs` and `refusals` of `_costs`.

    Raises:
        UnsupportedError: the structures express nothing near the sparsity.
    """
    entry = _made(source, recipe, trained=False)
    return {**entry.data, **_costs(source, entry)}


def measure(source: Source, recipe: Recipe) -> Measured:
    """The trained candidate's latencies and energies, and its accuracy on the validation part."""
    entry = _made(source, recipe, trained=recipe.trains)
    costs = _costs(source, entry)
    return Measured(score(source, recipe, "validation"), latencies_of(costs), draws_of(costs))


def engine_of(source: Source, recipe: Recipe, place: Place) -> Engine:
    """The engine that the trained candidate's latency at a place is that of."""
    costs = _costs(source, _made(source, recipe, trained=recipe.trains))
    return Engine.from_json(costs["costs"][place.board][place.level]["engine"])


def file_of(source: Source, recipe: Recipe) -> Path:
    """The trained candidate's `.pt2`."""
    return _made(source, recipe, trained=recipe.trains).folder / MODEL


def score(source: Source, recipe: Recipe, part: str, limit: int | None = None) -> float:
    """Accuracy of the trained candidate's integers on a part of the data.

    Top-1 where there are labels, else the mean cosine of the first output to the float model's; with `limit`, that
    cosine on the last so many samples.
    """
    entry = _made(source, recipe, trained=recipe.trains)
    identity = {**source.identity, "candidate": entry.data["sha256"], "part": part, "limit": limit}

    def work(_: Path) -> Mapping[str, Any]:
        samples = source.samples(part)
        if limit is not None:
            samples = Samples(samples.samples[-limit:])
        integers = integerise(read_model(entry.folder / MODEL), LowerOptions())
        return {"accuracy": accuracy(integers, source.graph(), samples)}

    return float(Journal(source.journal).entry("score", identity, work).data["accuracy"])


def confirm(source: Source, build: Path) -> Mapping[str, Any]:
    """What the Verilog of a build takes for one test sample (`flow.sim.rtl.cycles_json`), and `mismatches`, how many of
    its outputs differ from golden. The build lies in the journal's folder.

    Raises:
        ToolError: a tool is missing where this runs, or the simulation fails.
    """
    report = simulate(Build.open(build), "rtl", Samples(source.samples("test").samples[:1]))
    return {**report.cycles, "mismatches": report.mismatches}


def curves(source: Source, pruned: Recipe) -> Mapping[str, Any]:
    """Errors of every matrix pruned alone over what its weights cost on the boards, from the dense candidate and
    one that is pruned uniformly."""
    dense = replace(pruned, sparsity=0.0, training=TrainOptions())
    identity = {**source.identity, "boards": source.boards_identity, "pruned": _plain(pruned, trained=False)}

    def work(_: Path) -> Mapping[str, Any]:
        graph = source.graph()
        entries = [_made(source, recipe, trained=False) for recipe in (dense, pruned)]
        models = [integerise(read_model(entry.folder / MODEL), LowerOptions()) for entry in entries]
        costs = _costs(source, entries[1])["costs"]
        boards = {board.name: board for board in source.boards}
        fitted = {name: Engine.from_json(levels[NOMINAL]["engine"]) for name, levels in costs.items()}
        beats = [(engine, beat_cycles(engine, boards[name])) for name, engine in fitted.items()]
        price = prices(graph, models[0], models[1], list(dict.fromkeys(beats)))
        measured = sensitivities(graph, source.samples("fit"), pruned.options(source.seed))
        return {"curves": priced(measured, price), "prices": price, "sensitivity": measured}

    return Journal(source.journal).entry("curves", identity, work).data


def _made(source: Source, recipe: Recipe, *, trained: bool) -> Entry:
    identity: dict[str, Any] = {**source.identity, "recipe": _plain(recipe, trained)}
    way = Way(recipe.options(source.seed), recipe.training if trained else TrainOptions())
    if recipe.allocation == "cycles":
        basis = replace(
            recipe, sparsity=BASIS, allocation="uniform", banks=None, block_rows=16, score="wanda", mark=""
        )
        way = replace(way, curves=curves(source, basis)["curves"])
        identity["curves"] = way.curves
    rough = not trained and recipe.trains
    journal = Journal(source.journal)

    def work(folder: Path) -> Mapping[str, Any]:
        pruned, found = source.model, {"sparsity": 0.0, "banks": 0, "structures": ""}
        if recipe.sparsity > 0:
            checkpoint = Checkpoint(journal.checkpoint("trained", identity), {"entry": journal.key(identity)})
            graph, made = prune(source.graph(), source.samples("fit"), way, checkpoint)
            found = _described(made, recipe)
            pruned = folder / "float.pt2"
            write_pt2(graph, pruned)
        request = Request(QuantizeOptions(), limit=ROUGH if rough else FULL)
        quantize_file(pruned, source.part("fit"), folder / MODEL, request)
        return {**found, "sha256": digest(folder / MODEL)}

    entry = journal.entry("trained" if trained else "plan", identity, work)
    # Only now: a process killed between training and quantizing goes on behind the training.
    Checkpoint(journal.checkpoint("trained", identity), {}).clear()
    return entry


BASIS = 0.75
"""Sparsity of the uniform candidate beside which the dense one is priced."""


def _plain(recipe: Recipe, trained: bool) -> dict[str, Any]:
    """What determines the candidate; where it came from does not."""
    training = asdict(recipe.training if trained else TrainOptions())
    rough = recipe.trains and not trained
    return {**asdict(recipe), "training": training, "mark": "", "rough": rough}


def _described(made: Plan, recipe: Recipe) -> dict[str, Any]:
    """Raises: UnsupportedError: the plan is too far from what was asked for."""
    actual = 1 - made.density
    if abs(actual - recipe.sparsity) > NEAR:
        raise UnsupportedError(
            f"{recipe.name}: found {actual:.4f} as the nearest sparsity that scheme {recipe.scheme} gives on "
            f"{made.banks} banks; expected one within {NEAR:g}; take another with --sparsity"
        )
    text = repr(sorted((name, str(s), s.block_rows) for name, s in made.structures.items()))
    return {
        "sparsity": actual,
        "banks": made.banks,
        "structures": hashlib.sha256(f"{made.banks} {text}".encode()).hexdigest(),
    }


def nominal_latencies(costs: Mapping[str, Any]) -> dict[str, float]:
    """ms at the nominal level by board, out of a plan or a candidate's costs."""
    return {board: levels[NOMINAL]["latency_ms"] for board, levels in costs["costs"].items()}


def latencies_of(costs: Mapping[str, Any]) -> dict[Place, float]:
    """ms by place, in the same way."""
    return {place: cost["latency_ms"] for place, cost in _by_place(costs)}


def draws_of(costs: Mapping[str, Any]) -> dict[Place, Draw]:
    """Energy and power by place, in the same way."""
    return {place: Draw(*cost["draw"]) for place, cost in _by_place(costs) if cost["draw"] is not None}


def _by_place(costs: Mapping[str, Any]) -> list[tuple[Place, Mapping[str, Any]]]:
    return [
        (Place(board, level), cost)
        for board, levels in costs["costs"].items()
        for level, cost in levels.items()
    ]


def levels_of(board: Board) -> tuple[Board, ...]:
    """The board at each of its levels: nominal, then by falling clock, then by name."""
    lower = [board.at(level) for level in board.levels if level != NOMINAL]
    return (board, *sorted(lower, key=lambda at: (-at.clock_mhz, at.level)))


def _costs(source: Source, entry: Entry) -> Mapping[str, Any]:
    """`costs` by board and level: `latency_ms`, `draw` (mJ of a sample and W at the peak; None where a board's power is
    not known) and `engine`; and `refusals` of the boards that cannot hold the candidate, at whatever level."""
    levels = {board.name: [at.level for at in levels_of(board)] for board in source.boards}
    identity = {
        **source.identity, "candidate": entry.data["sha256"], "boards": source.boards_identity, "levels": levels,
        "energy": ENERGY_METHOD,
    }  # fmt: skip

    def work(_: Path) -> Mapping[str, Any]:
        pricing = _Pricing.of(integerise(read_model(entry.folder / MODEL), LowerOptions()))
        found, refusals = {}, {}
        for board in sorted(source.boards, key=lambda b: b.name):
            try:
                reports = pricing.reports(levels_of(board))
            except FitError as error:
                refusals[board.name] = str(error)
                continue
            found[board.name] = {report.level: _cost(report) for report in reports}
        return {"costs": found, "refusals": refusals}

    return Journal(source.journal).entry("cost", identity, work).data


def _cost(report: EstimateReport) -> dict[str, Any]:
    energy = report.energy
    return {
        "latency_ms": report.latency_ms,
        "draw": None if energy is None else [energy.sample_mj, energy.peak_w],
        "engine": report.engine.to_json(),
    }


@dataclass(frozen=True)
class _Pricing:
    """An integer graph with all that is known of it on engines, which boards and levels share."""

    graph: Graph
    forms: StepForms
    laid_out: dict[Engine, tuple[Layout, Walks]]

    @staticmethod
    def of(graph: Graph) -> _Pricing:
        return _Pricing(graph, StepForms.of(graph), {})

    def reports(self, levels: Sequence[Board]) -> list[EstimateReport]:
        """The estimates of a board at its levels, the first of which is nominal.

        A level has the engine that fits best there; where as many beats come in a cycle as at another, that is the
        same one. No level is faster than nominal: fits take engines up to 10 % behind the fastest, so at a slower clock
        one may be taken that is faster in time as well. There nominal's engine is taken, so that a slower clock never
        serves where nominal does not for latency's sake; a level that is faster even so is left out.

        Raises:
            FitError: no engine fits, which does not depend on the level.
        """
        # All engines of a board have beats of one size.
        first = fit(self.graph, levels[0], None, self.forms)
        engines = {beat_cycles(first, levels[0]): first}
        reports: list[EstimateReport] = []
        for board in levels:
            beat = beat_cycles(first, board)
            if beat not in engines:
                engines[beat] = fit(self.graph, board, None, self.forms)
            report = self._report(engines[beat], board)
            if reports and report.latency_ms < reports[0].latency_ms:
                report = self._report(reports[0].engine, board)
            if not reports or report.latency_ms >= reports[0].latency_ms:
                reports.append(report)
        return reports

    def _report(self, engine: Engine, board: Board) -> EstimateReport:
        if engine not in self.laid_out:
            self.laid_out[engine] = lay_out(self.graph, engine), {}
        layout, walks = self.laid_out[engine]
        return estimate_layout(layout, board, walks)


def accuracy(graph: Graph, reference: Graph, part: Samples) -> float:
    """Top-1 accuracy of an integer graph's first output, or its mean cosine to a float graph's where no labels are."""
    name = next(iter(graph.outputs))
    found = [execute(graph, sample)[name].reshape(-1) for sample in part.samples]
    if part.labels is not None:
        return float(np.mean([int(scores.argmax()) for scores in found] == part.labels))
    wanted = [execute(reference, sample)[name].reshape(-1) for sample in part.samples]
    return float(np.mean([_cosine(a, b) for a, b in zip(wanted, found, strict=True)]))


def _cosine(a: Array, b: Array) -> float:
    """Unlike in `flow.compress.errors`, 0 where one of the two is all zeros: a dead model must not look perfect."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float(not a.any() and not b.any())
