"""Which edges deserve more bits: the cheapest widths, in cycles, that meet an error budget.

Every edge with a choice starts at its narrowest (`QuantizeOptions`) and is widened by a lazy greedy search: of all
single steps the one with the largest fall of output noise per cycle is taken, until the budget is met. Errors are
those of the integer graph itself against the float model, on samples; cycles are `flow.cost`'s. Falls are measured anew
before a step is taken and, since an index pays only behind a wide output, for both edges of an activation once one is
taken. Where no single step helps any more, all that is left is taken at once and given back piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flow.compress.errors import OutputError, float_outputs, output_error
from flow.compress.prepare import Prepared
from flow.compress.quantize import Edge
from flow.cost import cycles_of
from flow.engine import Engine
from flow.errors import FlowError, UnsupportedError
from flow.golden.samples import Sample
from flow.ir import Graph, Node, Value
from flow.ops.float import FloatActivation, FloatAdd, FloatAttention, FloatLinear
from flow.ops.source import Constant
from flow.passes.integerise import LONG_SEQUENCE
from flow.passes.regions import device_values
from flow.passes.to_integers import to_integers

Progress = Callable[[str, int, int], None]
REFERENCE_ENGINE = Engine(tokens=8, banks=32, rows=8, norm_lanes=8, heads=1, table_bits=12)
"""What widths are priced on where no board is named: 2,048 multipliers, weights arriving a beat a cycle."""
STEPS: Mapping[str, tuple[int, ...]] = {"input": (8, 16), "index": (8, 10, 12), "numerators": (8, 16)}
"""Widths of each kind of edge, narrowest first."""


@dataclass(frozen=True)
class Budget:
    """What the output must reach: an SQNR in dB, or a mean cosine to the float output; every output of the model."""

    sqnr_db: float | None = None
    cosine: float | None = None

    @staticmethod
    def parse(text: str) -> Budget:
        """`24dB`: an SQNR; `0.998`: a cosine, above 0 and below 1.

        Raises:
            FlowError: neither.
        """
        match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]+)?)\s*(dB|db|DB)?\s*", text)
        value = float(match[1]) if match else 0.0
        if match and match[2] and value > 0:
            return Budget(sqnr_db=value)
        if match and not match[2] and 0 < value < 1:
            return Budget(cosine=value)
        raise FlowError(
            f"--error-budget: found {text!r}; expected an SQNR such as 24dB, or a cosine between 0 and 1 such as 0.998"
        )

    def met(self, error: OutputError) -> bool:
        """Whether every output is good enough."""
        if self.sqnr_db is not None:
            return min(error.sqnr_db.values()) >= self.sqnr_db
        return self.cosine is None or min(error.cosine.values()) >= self.cosine

    def __str__(self) -> str:
        return f"{self.sqnr_db:g}dB" if self.sqnr_db is not None else f"cosine {self.cosine:g}"


@dataclass(frozen=True)
class Purchase:
    """One step of the search: an edge, its width before and after, what it cost, and the error from then on."""

    edge: Edge
    before: int
    after: int
    cycles: int
    sqnr_db: float
    cosine: float

    def to_json(self) -> dict[str, Any]:
        """One row of the report."""
        return {
            "edge": str(self.edge),
            "bits": [self.before, self.after],
            "cycles": self.cycles,
            "sqnr_db": round(self.sqnr_db, 3),
            "cosine": round(self.cosine, 6),
        }


@dataclass(frozen=True)
class Choice:
    """The widths that were chosen, in the order they were bought; cycles of one sample before and after."""

    budget: Budget
    met: bool
    widths: Mapping[Edge, int]
    purchases: tuple[Purchase, ...]
    narrow_cycles: int
    cycles: int

    def to_json(self) -> dict[str, Any]:
        """The object `widths` of `flow quantize --json`."""
        return {
            "budget": str(self.budget),
            "met": self.met,
            "cycles": self.cycles,
            "narrow_cycles": self.narrow_cycles,
            "bought": [purchase.to_json() for purchase in self.purchases],
        }


def choose_widths(
    prepared: Prepared,
    samples: Sequence[Sample],
    budget: Budget,
    *,
    engine: Engine | None = None,
    beat: float = 1.0,
    progress: Progress | None = None,
) -> Choice:
    """The widths of `prepared` that meet `budget` on `samples` (that it was not calibrated on, if there are enough).

    Deterministic. Where the budget cannot be met, every width that reduces the error is bought and `met` is False.
    `beat` is the engine's cycles between two beats of weights.
    """
    return _Search(prepared, samples, budget, engine or REFERENCE_ENGINE, beat, progress).run()


def edges_of(graph: Graph) -> Iterator[Edge]:
    """Every edge of a prepared graph whose width may be chosen, in topological order."""
    device = device_values(graph)
    for node in graph:
        value = Value(node.name)
        read = any(isinstance(u.op, FloatLinear) and u.inputs[0] == value for u in graph.users(value))
        if read and _may_be_wide(node, device):
            yield Edge("input", node.name)
        if isinstance(node.op, FloatActivation) and node.name in device:
            yield Edge("index", node.name)
        elif isinstance(node.op, FloatAttention) and node.inputs and node.type.shape[0] <= LONG_SEQUENCE:
            yield Edge("numerators", node.name)


def _may_be_wide(node: Node, device: set[str]) -> bool:
    """Contexts are int8, sums on the device int16 in any case."""
    fixed = isinstance(node.op, (FloatAttention, Constant))
    return not fixed and not (isinstance(node.op, FloatAdd) and node.name in device)


@dataclass
class _State:
    """A choice of widths, measured."""

    widths: dict[Edge, int]
    error: OutputError
    cycles: int


@dataclass
class _Search:
    prepared: Prepared
    samples: Sequence[Sample]
    budget: Budget
    engine: Engine
    beat: float
    progress: Progress | None
    measured: int = 0
    expected: list[Any] = field(init=False)
    edges: tuple[Edge, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.expected = float_outputs(self.prepared.graph, self.samples)
        self.edges = tuple(edges_of(self.prepared.graph))

    def run(self) -> Choice:
        start = self._state({})
        assert start is not None, "narrow widths lower; what does not was refused before"
        state, bought = start, list[Purchase]()
        gains: dict[Edge, float] = {}
        for edge in self.edges if not self.budget.met(state.error) else ():
            gains[edge] = self._gain(state, self._widened(state, edge))
        while gains and not self.budget.met(state.error):
            found = self._best(state, gains)
            if found is None:
                break
            edge, following = found
            bought.append(self._purchase(edge, state, following))
            state = following
            self._tell(len(bought))
            for other in [e for e in self.edges if e.node == edge.node and (e == edge or e in gains)]:
                gains[other] = self._gain(state, self._widened(state, other))
        if not self.budget.met(state.error):
            state = self._all_the_rest(state, bought)
        met = self.budget.met(state.error)
        return Choice(self.budget, met, state.widths, tuple(bought), start.cycles, state.cycles)

    def _all_the_rest(self, state: _State, bought: list[Purchase]) -> _State:
        """No single step helps, but all together may: then what the budget does not need is given back, dearest first.

        A width that the integers could overflow with is left out.
        """
        rest: list[tuple[Edge, int]] = []
        widest = state
        for edge in self.edges:
            wider = self._state({**widest.widths, edge: STEPS[edge.kind][-1]})
            if wider is not None and self._width(state, edge) < STEPS[edge.kind][-1]:
                rest.append((edge, wider.cycles - widest.cycles))
                widest = wider
        if not rest or widest.error.noise >= state.error.noise:
            return state
        for edge, _ in sorted(rest, key=lambda item: -item[1]) if self.budget.met(widest.error) else ():
            back = self._state({**widest.widths, edge: self._width(state, edge)})
            if back is not None and self.budget.met(back.error):
                widest = back
        for edge, cycles in rest:
            if self._width(widest, edge) > self._width(state, edge):
                error = min(widest.error.sqnr_db.values()), min(widest.error.cosine.values())
                bought.append(
                    Purchase(edge, self._width(state, edge), self._width(widest, edge), cycles, *error)
                )
        return widest

    def _best(self, state: _State, gains: dict[Edge, float]) -> tuple[Edge, _State] | None:
        """The step of the largest gain, measured in this state; None where none reduces the error."""
        fresh: dict[Edge, _State | None] = {}
        while gains:
            edge = max(gains, key=lambda e: (gains[e], -self.edges.index(e)))
            if gains[edge] <= 0:
                break
            known = fresh.get(edge)
            if known is not None:
                return edge, known
            fresh[edge] = self._widened(state, edge)
            gains[edge] = self._gain(state, fresh[edge])
        return None

    def _widened(self, state: _State, edge: Edge) -> _State | None:
        """The state with the next width of an edge; None if it is at its widest, or its integers could overflow."""
        wider = [bits for bits in STEPS[edge.kind] if bits > self._width(state, edge)]
        return self._state({**state.widths, edge: wider[0]}) if wider else None

    def _width(self, state: _State, edge: Edge) -> int:
        options, node = self.prepared.options, self.prepared.graph[edge.node]
        table = isinstance(node.op, FloatActivation)
        default = {
            "input": options.output_bits if table else options.input_bits,
            "index": options.index_bits,
            "numerators": options.numerator_bits or 8,
        }[edge.kind]
        return state.widths.get(edge, options.width(edge, default))

    def _gain(self, state: _State, wider: _State | None) -> float:
        """Fall of the noise per cycle."""
        if wider is None:
            return 0.0
        return (state.error.noise - wider.error.noise) / max(wider.cycles - state.cycles, 1)

    def _state(self, widths: dict[Edge, int]) -> _State | None:
        try:
            integers = to_integers(self.prepared.quantized(widths))
        except UnsupportedError:
            if widths:
                return None
            raise
        error = output_error(integers, self.samples, self.expected)
        self.measured += 1
        self._tell(None)
        return _State(widths, error, sum(cycles_of(integers, self.engine, self.beat).values()))

    def _purchase(self, edge: Edge, before: _State, after: _State) -> Purchase:
        return Purchase(
            edge,
            self._width(before, edge),
            self._width(after, edge),
            after.cycles - before.cycles,
            min(after.error.sqnr_db.values()),
            min(after.error.cosine.values()),
        )

    def _tell(self, bought: int | None) -> None:
        if self.progress is None:
            return
        if bought is None:
            first = len(self.edges) + 1
            self.progress("measure widths", min(self.measured, first), first)
        else:
            self.progress("widen edges", bought, sum(len(STEPS[e.kind]) - 1 for e in self.edges))
