"""`flow select`: the cheapest board, and the compression with which a model meets a latency and an accuracy on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from flow.boards import NOMINAL, Board
from flow.compress.train import TrainOptions
from flow.emit.build import check_destination, write_build
from flow.emit.lower import Lowered, lower
from flow.errors import FlowError, raise_all
from flow.frontend import load
from flow.golden.samples import load_samples
from flow.ops.quant import QuantSpec
from flow.passes import recognise
from flow.resources import alone_at
from flow.search.candidates import Recipe, engine_of, file_of, levels_of, score, source_of
from flow.search.choose import Choice, Draw, Limits, Measured, Place, Verdict, choose
from flow.search.executor import crew_of, single_threaded
from flow.search.journal import Journal
from flow.search.misses import Relaxed, relaxations
from flow.search.page import page_of
from flow.search.split import split
from flow.search.workshop import Planned, Tell, Workshop

Objective = Literal["cheapest", "smallest", "least-energy"]
Levels = Literal["all", "nominal"]
SPARSITIES = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Sparsities that are tried by default; each becomes the nearest that the model's structures express."""
BUSY = "{0}: found another `flow select` at work in it; expected one at a time; wait for its end, or name another"


@dataclass(frozen=True)
class SelectOptions:
    """What a user may ask of `flow select` beside the two constraints.

    Attributes:
        objective: order of the boards: `cheapest` by price where given, then by the device's logic cells; `smallest` by
            logic cells alone. `least-energy`: the board and candidate that serve with the least energy of a sample.
        levels: of clock and voltage that are asked: `all`, or `nominal` alone.
        prices: of boards by name, in any one currency.
        scheme: of pruning. sparsities: that are tried, each with one density everywhere and with densities by
            sensitivity against cycles.
        training: of every pruned candidate.
        seed: of the split and of everything drawn.
        confirm: simulate the winner's Verilog on a test sample: its cycles, and its bits against golden.
        trials: candidates that optuna may propose beside them. seconds: after which it proposes no more; the set of
            candidates then depends on the machine too, but what the journal holds of it stays.
    """

    objective: Objective = "cheapest"
    levels: Levels = "all"
    prices: Mapping[str, float] = field(default_factory=dict)
    scheme: str = "hp"
    sparsities: Sequence[float] = SPARSITIES
    training: TrainOptions = field(default_factory=TrainOptions)
    seed: int = 0
    confirm: bool = False
    trials: int = 0
    seconds: float = math.inf

    def __post_init__(self) -> None:
        faults = []
        if self.objective not in get_args(Objective):
            faults.append(
                f"objective: found {self.objective!r}; expected one of {', '.join(get_args(Objective))}"
            )
        if self.levels not in get_args(Levels):
            faults.append(f"levels: found {self.levels!r}; expected one of {', '.join(get_args(Levels))}")
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
        if self.trials < 0:
            faults.append(f"trials: found {self.trials}; expected at least 0")
        if not self.seconds > 0:
            faults.append(f"time: found {self.seconds:g} s; expected more than 0")
        raise_all(FlowError, "flow select: found options that cannot be used", faults)

    def recipes(self) -> tuple[Recipe, ...]:
        """The ladder: each sparsity once with one density, and but for 0 once with densities by cycles."""
        plain = [Recipe(self.scheme, sparsity, self.training) for sparsity in dict.fromkeys(self.sparsities)]
        return (
            *plain,
            *(replace(recipe, allocation="cycles", mark="cycles") for recipe in plain if recipe.sparsity > 0),
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

    def places(self, boards: Sequence[Board]) -> tuple[Place, ...]:
        """Where candidates may serve: boards in the order given, each nominal first, then by falling clock."""
        return tuple(
            Place(board.name, at.level)
            for board in boards
            for at in (levels_of(board) if self.levels == "all" else (board,))
        )


@dataclass(frozen=True)
class Constraints:
    """Latency of one sample in ms, at most; accuracy on the validation part, at least; energy of one sample in mJ and
    peak power in W, at most."""

    latency_ms: float
    accuracy: float
    energy_mj: float = math.inf
    power_w: float = math.inf

    def __post_init__(self) -> None:
        faults = []
        if not (math.isfinite(self.latency_ms) and self.latency_ms > 0):
            faults.append(f"--latency: found {self.latency_ms:g} ms; expected a time above 0, such as 5ms")
        if not (math.isfinite(self.accuracy) and -1 <= self.accuracy <= 1):
            faults.append(f"--accuracy: found {self.accuracy:g}; expected a share of at most 1, such as 0.95")
        if not self.energy_mj > 0:
            faults.append(f"--energy: found {self.energy_mj:g} mJ; expected an energy above 0, such as 5mJ")
        if not self.power_w > 0:
            faults.append(f"--power: found {self.power_w:g} W; expected a power above 0, such as 10W")
        raise_all(FlowError, "flow select: found constraints that cannot be used", faults)

    def check_power_is_known(self, boards: Sequence[Board], objective: Objective) -> None:
        """Refuse to ask for the energy of boards that say nothing of it.

        Raises:
            FlowError: one of energy, power and the objective needs power figures that a board has not.
        """
        asked = {
            "--energy": math.isfinite(self.energy_mj),
            "--power": math.isfinite(self.power_w),
            "--objective least-energy": objective == "least-energy",
        }
        options = " and ".join(option for option, given in asked.items() if given)
        unknown = [board.name for board in boards if board.power is None]
        if options and unknown:
            raise FlowError(
                f"{options}: found no power figures of {', '.join(unknown)}; expected [power] in the file of every "
                "board (docs/boards.md); add it, leave the board out, or leave the option out"
            )


@dataclass(frozen=True)
class Point:
    """A candidate on a board: what a Pareto front is made of. `accuracy` is None where nothing asked for it, `draw`
    where the board's power is unknown."""

    board: str
    candidate: str
    latency_ms: float
    accuracy: float | None
    draw: Draw | None = None
    level: str = NOMINAL

    @property
    def place(self) -> Place:
        """The board at the level."""
        return Place(self.board, self.level)


@dataclass(frozen=True)
class Selection:
    """What `flow select` found.

    `test_accuracy` is the winner's on samples that decided nothing; `confirmed` what the Verilog engine took for one of
    them (`flow.sim.rtl.cycles_json`), where that was asked for. `relaxed` is what would have to give where nothing
    serves, `sparsity` the actual one of every candidate.
    """

    choice: Choice[str]
    constraints: Constraints
    metric: str
    points: tuple[Point, ...]
    left_out: Mapping[str, str]
    test_accuracy: float | None
    lowered: Lowered | None
    confirmed: Mapping[str, Any] | None = None
    relaxed: tuple[Relaxed, ...] = ()
    sparsity: Mapping[str, float] = field(default_factory=dict)

    @property
    def winner(self) -> Verdict[str] | None:
        """The board that serves, with its candidate and level."""
        return self.choice.winner

    def to_json(self) -> dict[str, Any]:
        """The object of `flow select --json`."""
        return {
            "latency_constraint_ms": self.constraints.latency_ms,
            "accuracy_constraint": self.constraints.accuracy,
            "energy_constraint_mj": _finite(self.constraints.energy_mj),
            "power_constraint_w": _finite(self.constraints.power_w),
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
            "relaxed": [asdict(relaxed) for relaxed in self.relaxed],
            "points": [asdict(point) for point in self.points],
            "sparsity": dict(self.sparsity),
            "left_out": dict(self.left_out),
        }


def _finite(limit: float) -> float | None:
    """For JSON, which knows no infinity."""
    return limit if math.isfinite(limit) else None


@dataclass(frozen=True)
class Means:
    """What a search works with: the journal's folder, processes on this machine or the scheduler of a Dask cluster, and
    whom it tells what it is at. None of it changes the answer."""

    journal: Path
    jobs: int = 1
    scheduler: str | None = None
    tell: Tell = lambda _: None


def select(
    model: Path,
    data: Path,
    boards: Sequence[Board],
    constraints: Constraints,
    output: Path,
    means: Means,
    options: SelectOptions | None = None,
) -> Selection:
    """Find the first board in order that a candidate serves, and write the candidate and its build into `output`.

    Raises:
        FlowError: bad model, data, boards or options, a place that cannot be written, a scheduler that does not answer.
        UnsupportedError: the model is quantized already or cannot be lowered, or no sparsity can be expressed.
    """
    options = options or SelectOptions()
    journal = means.journal
    if not boards:
        raise FlowError("flow select: found no board; expected at least one; see `flow boards list`")
    constraints.check_power_is_known(boards, options.objective)
    _check_nominal(boards)
    check_destination(output)
    graph = recognise(load(model))
    if any(isinstance(node.op, QuantSpec) for node in graph):
        raise FlowError(
            f"{model}: found a model that is quantized already; expected a float model, which `flow select` prunes and "
            "quantizes itself"
        )
    samples = load_samples(data, graph, labelled=True)
    ordered = options.ordered(boards)
    metric = "top-1 accuracy" if samples.labels is not None else "cosine to the float model"
    with alone_at(journal, 0, BUSY.format(journal)):
        Journal(journal).clear()
        source = source_of(model, data, split(samples, options.seed), ordered, options.seed, journal)
        crew = crew_of(means.jobs, means.scheduler)
        try:
            shop = Workshop(source, crew, means.tell)
            found, planned = _search(shop, ordered, constraints, options, metric)
            if found.winner is not None and found.winner.candidate is not None:
                recipe = planned.recipes[found.winner.candidate]
                found = _built(shop, found, recipe, output, confirm=options.confirm)
        finally:
            crew.close()
    beside(output, ".html").write_text(page_of(found, model.name), encoding="utf-8")
    return found


def _check_nominal(boards: Sequence[Board]) -> None:
    """Raises: FlowError: a board is at a level: all that it has are searched."""
    faults = [
        f"{b.name}: found it at level {b.level!r}; expected {NOMINAL}" for b in boards if b.level != NOMINAL
    ]
    raise_all(FlowError, "flow select: found boards that cannot be used", faults)


def beside(output: Path, ending: str) -> Path:
    """A file beside the build, its name with an ending behind it: it may hold dots of its own."""
    return output.with_name(output.name + ending)


def _search(
    shop: Workshop, boards: Sequence[Board], constraints: Constraints, options: SelectOptions, metric: str
) -> tuple[Selection, Planned]:
    """The choice, with all that was measured for it, and the candidates."""
    planned = shop.plan(options.recipes(), options.trials, options.seconds)
    places = options.places(boards)
    # What nobody checks any more: `relaxations` lifts one after the other.
    limits = Limits(**asdict(constraints))
    least_energy = options.objective == "least-energy"
    ahead = list(_ahead(places, planned, limits, least_energy=least_energy))
    measured: dict[str, Measured] = {}

    def measure(name: str) -> Measured:
        if name not in measured:
            rest = (other for other in ahead if other not in measured and other != name)
            measured[name] = shop.measure(name, planned, rest)
        return measured[name]

    choice = choose(
        places, list(planned.recipes), planned.latency_ms, measure, limits, draws=planned.draws,
        refusals=planned.refusals, least_energy=least_energy,
    )  # fmt: skip
    relaxed: tuple[Relaxed, ...] = ()
    if choice.winner is None:
        relaxed = relaxations(places, planned.latency_ms, measure, measured, limits, planned.draws)
    points = _points(places, planned, measured)
    found = Selection(
        choice, constraints, metric, points, planned.left_out, None, None, None, relaxed, planned.sparsity
    )
    return found, planned


def _ahead(places: Sequence[Place], planned: Planned, limits: Limits, *, least_energy: bool) -> Iterator[str]:
    """What `choose` will ask for if nothing serves, in order, each once."""
    found = []
    for place in places:
        for name, latencies in planned.latency_ms.items():
            draw = planned.draws[name].get(place)
            if place in latencies and not limits.exceeded(latencies[place], draw):
                found.append((draw.energy_mj if least_energy and draw is not None else 0.0, name))
    yield from dict.fromkeys(name for _, name in sorted(found, key=lambda pair: pair[0]))


def _built(shop: Workshop, found: Selection, recipe: Recipe, output: Path, *, confirm: bool) -> Selection:
    """The winner's file and build, and what became of it on the test part and in simulation."""
    assert found.winner is not None
    shop.tell("the winner on the test samples")
    # Here, not by the crew, which may be at training ahead.
    tested = single_threaded(score, shop.source, recipe, "test")
    file = file_of(shop.source, recipe)
    place = found.winner.place
    (board,) = (b for b in shop.source.boards if b.name == place.board)
    engine = engine_of(shop.source, recipe, place)
    lowered = lower(file, board.at(place.level), engine=engine, progress=shop.tell)
    write_build(output, lowered.files, lowered.manifest)
    beside(output, ".pt2").write_bytes(file.read_bytes())
    confirmed = shop.confirm(lowered) if confirm else None
    return replace(found, test_accuracy=tested, lowered=lowered, confirmed=confirmed)


def _points(places: Sequence[Place], planned: Planned, measured: Mapping[str, Measured]) -> tuple[Point, ...]:
    """Candidate by candidate, places in order."""
    found = []
    for name, latencies in planned.latency_ms.items():
        known = measured.get(name)
        real = known.latency_ms if known is not None else latencies
        draws = known.draws if known is not None else planned.draws[name]
        found += [
            Point(
                place.board,
                name,
                real[place],
                known.accuracy if known else None,
                draws.get(place),
                place.level,
            )
            for place in places
            if place in latencies and place in real
        ]
    return tuple(found)
