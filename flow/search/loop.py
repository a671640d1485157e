"""`flow select`: the cheapest board, and the compression with which a model meets a latency and an accuracy on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from flow.boards import Board
from flow.compress.train import TrainOptions
from flow.emit.build import Build, check_destination, write_build
from flow.emit.lower import Lowered, lower
from flow.errors import FlowError, UnsupportedError, raise_all
from flow.frontend import load
from flow.golden.samples import Samples, load_samples
from flow.ops.quant import QuantSpec
from flow.passes import recognise
from flow.resources import alone_at
from flow.search.candidates import Recipe, Source, Tell, Workshop
from flow.search.choose import Choice, Measured, Verdict, choose
from flow.search.journal import Journal
from flow.search.page import page_of
from flow.search.split import split
from flow.sim.simulate import simulate

Objective = Literal["cheapest", "smallest"]
SPARSITIES = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Sparsities that are tried by default, densest first; those that the model cannot express are left out by name."""
BUSY = "{0}: found another `flow select` at work in it; expected one at a time; wait for its end, or name another"


@dataclass(frozen=True)
class SelectOptions:
    """What a user may ask of `flow select` beside the two constraints.

    Attributes:
        objective: order of the boards: `cheapest` by price where given, then by the device's logic cells; `smallest` by
            logic cells alone.
        prices: of boards by name, in any one currency.
        scheme: of pruning. sparsities: that are tried, in this order.
        training: of every pruned candidate.
        seed: of the split and of everything drawn.
        confirm: simulate the winner's Verilog on a test sample: its cycles, and its bits against golden.
    """

    objective: Objective = "cheapest"
    prices: Mapping[str, float] = field(default_factory=dict)
    scheme: str = "hp"
    sparsities: Sequence[float] = SPARSITIES
    training: TrainOptions = field(default_factory=TrainOptions)
    seed: int = 0
    confirm: bool = False

    def __post_init__(self) -> None:
        faults = []
        if self.objective not in get_args(Objective):
            faults.append(
                f"objective: found {self.objective!r}; expected one of {', '.join(get_args(Objective))}"
            )
        if not self.sparsities:
            faults.append("sparsities: found none; expected at least one")
        faults += [
            f"sparsities: found {value:g}; expected at least 0 and less than 1"
            for value in self.sparsities
            if not 0 <= value < 1
        ]
        faults += [
            f"price of {name}: found {value:g}; expected a number above 0"
            for name, value in self.prices.items()
            if not (math.isfinite(value) and value > 0)
        ]
        raise_all(FlowError, "flow select: found options that cannot be used", faults)

    def recipes(self) -> tuple[Recipe, ...]:
        """What may be tried, each sparsity once, in order."""
        return tuple(
            Recipe(self.scheme, sparsity, self.training) for sparsity in dict.fromkeys(self.sparsities)
        )

    def ordered(self, boards: Sequence[Board]) -> tuple[Board, ...]:
        """Boards from the most to the least preferred: a total order, which names decide last.

        Raises:
            FlowError: a price names a board that is not among them.
        """
        names = [board.name for board in boards]
        unknown = [f"{name}: found a price, but no such board; expected one of {', '.join(names)}"
                   for name in self.prices if name not in names]  # fmt: skip
        raise_all(FlowError, "flow select: found prices that cannot be used", unknown)
        prices = self.prices if self.objective == "cheapest" else {}
        return tuple(
            sorted(
                boards, key=lambda b: (prices.get(b.name, math.inf) if prices else 0.0, b.logic_cells, b.name)
            )
        )


@dataclass(frozen=True)
class Constraints:
    """Latency of one sample in ms, at most; accuracy on the validation part, at least."""

    latency_ms: float
    accuracy: float

    def __post_init__(self) -> None:
        faults = []
        if not (math.isfinite(self.latency_ms) and self.latency_ms > 0):
            faults.append(f"--latency: found {self.latency_ms:g} ms; expected a time above 0, such as 5ms")
        if not (math.isfinite(self.accuracy) and -1 <= self.accuracy <= 1):
            faults.append(f"--accuracy: found {self.accuracy:g}; expected a share of at most 1, such as 0.95")
        raise_all(FlowError, "flow select: found constraints that cannot be used", faults)


@dataclass(frozen=True)
class Point:
    """A candidate on a board: what a Pareto front is made of. `accuracy` is None where nothing asked for it."""

    board: str
    candidate: str
    latency_ms: float
    accuracy: float | None


@dataclass(frozen=True)
class Selection:
    """What `flow select` found.

    `test_accuracy` is the winner's on samples that decided nothing; `confirmed` what the Verilog engine took for one of
    them (`flow.sim.rtl.cycles_json`), where that was asked for.
    """

    choice: Choice[str]
    constraints: Constraints
    metric: str
    points: tuple[Point, ...]
    left_out: Mapping[str, str]
    test_accuracy: float | None
    lowered: Lowered | None
    confirmed: Mapping[str, Any] | None = None

    @property
    def winner(self) -> Verdict[str] | None:
        """The board that serves, with its candidate."""
        return self.choice.winner

    def to_json(self) -> dict[str, Any]:
        """The object of `flow select --json`."""
        return {
            "latency_constraint_ms": self.constraints.latency_ms,
            "accuracy_constraint": self.constraints.accuracy,
            "metric": self.metric,
            "winner": None if self.winner is None else asdict(self.winner),
            "test_accuracy": self.test_accuracy,
            "confirmed": None
            if self.confirmed is None
            else {
                key: self.confirmed[key]
                for key in ("cycles", "estimated_cycles", "utilisation", "mismatches")
            },
            "boards": [asdict(verdict) for verdict in self.choice.verdicts],
            "points": [asdict(point) for point in self.points],
            "left_out": dict(self.left_out),
        }


def select(
    model: Path,
    data: Path,
    boards: Sequence[Board],
    constraints: Constraints,
    output: Path,
    journal: Path,
    options: SelectOptions | None = None,
    tell: Tell | None = None,
) -> Selection:
    """Find the first board in order that a candidate serves, and write the candidate and its build into `output`.

    Raises:
        FlowError: bad model, data, boards or options, a place that cannot be written. UnsupportedError: the model
            is quantized already or cannot be lowered, or no sparsity can be expressed.
    """
    options = options or SelectOptions()
    if not boards:
        raise FlowError("flow select: found no board; expected at least one; see `flow boards list`")
    check_destination(output)
    graph = recognise(load(model))
    if any(isinstance(node.op, QuantSpec) for node in graph):
        raise FlowError(
            f"{model}: found a model that is quantized already; expected a float model, which `flow select` prunes and "
            "quantizes itself"
        )
    samples = load_samples(data, graph, labelled=True)
    ordered = options.ordered(boards)
    with alone_at(journal, 0, BUSY.format(journal)):
        parts = split(samples, options.seed)
        shop = Workshop(
            Source(model, parts, ordered, options.seed), Journal(journal), tell or (lambda _: None)
        )
        recipes, left_out, planned, refusals = _plans(shop, options.recipes())
        measured: dict[str, Measured] = {}

        def measure(name: str) -> Measured:
            measured[name] = shop.measure(recipes[name])
            return measured[name]

        choice = choose(
            [board.name for board in ordered], list(recipes), planned, measure,
            latency_ms=constraints.latency_ms, accuracy=constraints.accuracy, refusals=refusals,
        )  # fmt: skip
        points = _points([board.name for board in ordered], planned, measured)
        lowered, tested, confirmed = None, None, None
        if choice.winner is not None and choice.winner.candidate is not None:
            name = choice.winner.candidate
            file = shop.file(recipes[name])
            tested = shop.score(file, parts.test, name)
            (board,) = (b for b in ordered if b.name == choice.winner.board)
            lowered = lower(file, board, progress=tell)
            write_build(output, lowered.files, lowered.manifest)
            output.with_suffix(".pt2").write_bytes(file.read_bytes())
            if options.confirm:
                confirmed = _confirmed(output, Samples(parts.test.samples[:1]), tell)
        metric = "top-1 accuracy" if samples.labels is not None else "cosine to the float model"
        found = Selection(choice, constraints, metric, points, left_out, tested, lowered, confirmed)
        output.with_suffix(".html").write_text(page_of(found, model.name), encoding="utf-8")
        return found


def _confirmed(output: Path, sample: Samples, tell: Tell | None) -> dict[str, Any]:
    """Cycles of the build's Verilog for one sample, and how many of its outputs differ from golden.

    Raises:
        ToolError: a tool is missing, or the simulation fails.
    """
    if tell is not None:
        tell("simulate the winner's Verilog")
    report = simulate(Build.open(output), "rtl", sample)
    return {**report.cycles, "mismatches": report.mismatches}


def _plans(
    shop: Workshop, wanted: Sequence[Recipe]
) -> tuple[dict[str, Recipe], dict[str, str], dict[str, Mapping[str, float]], dict[str, str]]:
    """Recipes by name, why others were left out, planned latencies by name and board, and refusals by board.

    Raises:
        UnsupportedError: none can be made.
    """
    recipes: dict[str, Recipe] = {}
    left_out: dict[str, str] = {}
    planned: dict[str, Mapping[str, float]] = {}
    refusals: dict[str, str] = {}
    for recipe in wanted:
        try:
            made = shop.planned(recipe)
        except UnsupportedError as error:
            left_out[recipe.name] = str(error)
            continue
        recipes[recipe.name] = recipe
        planned[recipe.name] = made.data["latency_ms"]
        refusals |= made.data["refusals"]
    if not recipes:
        raise UnsupportedError(
            "flow select: found no candidate that can be made; the first reason: "
            + next(iter(left_out.values()))
        )
    return recipes, left_out, planned, refusals


def _points(
    boards: Sequence[str], planned: Mapping[str, Mapping[str, float]], measured: Mapping[str, Measured]
) -> tuple[Point, ...]:
    """Candidate by candidate, boards in order."""
    found = []
    for name, latencies in planned.items():
        known = measured.get(name)
        real = known.latency_ms if known is not None else latencies
        found += [
            Point(board, name, real[board], known.accuracy if known else None)
            for board in boards
            if board in latencies and board in real
        ]
    return tuple(found)
