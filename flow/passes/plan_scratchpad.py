"""Where every tensor lives on chip, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flow.engine import Engine, Opcode, Space, require
from flow.errors import UnsupportedError
from flow.ir import Graph, Value
from flow.passes.fuse_steps import Step
from flow.passes.order_channels import ChannelOrder


@dataclass(frozen=True)
class Place:
    """A tensor in a memory: `words` per bank from `base`, live from step `first` to step `last` (both
    included)."""

    space: Space
    base: int
    words: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Places by (value, memory class): a value read both as a matmul operand and as a residual has two."""

    places: Mapping[tuple[Value, str], Place]
    peak: Mapping[Space, int]
    """Words per bank that each memory needs."""


REPEATABLE = (Opcode.INPUT, Opcode.NORM, Opcode.LINEAR)
"""Steps that can write one tensor to two memories: inputs and linear steps run once for each (a post-norm
model's embedding is the usual case, and small), norms write both at once."""
OPERAND, STORE, VALUES = "operand", "store", "values"


def reader_classes(steps: Sequence[Step]) -> dict[Value, dict[str, int]]:
    """For every value, the memory classes that its readers need and the last step that reads it there."""
    found: dict[Value, dict[str, int]] = {}
    for index, step in enumerate(steps):
        for position, value in enumerate(step.reads):
            if step.opcode is Opcode.LINEAR:
                kind = OPERAND if position == 0 else STORE
            elif step.opcode is Opcode.ATTENTION:
                kind = VALUES if position == 2 else STORE
            elif step.opcode is Opcode.OUTPUT:
                continue
            else:
                kind = STORE
            found.setdefault(value, {})[kind] = index
    for index, step in enumerate(steps):
        if step.opcode is Opcode.OUTPUT:  # reads from wherever the tensor already is
            classes = found.setdefault(step.reads[0], {})
            if not set(classes) - {VALUES}:
                classes[STORE] = index
            else:
                kind = STORE if STORE in classes else OPERAND
                classes[kind] = max(classes[kind], index)
    return found


@dataclass(frozen=True)
class PlanScratchpad:
    """First-fit allocation over lifetimes.

    Matmul inputs go to one of the two operand halves, never to the half that the writing step reads from; the
    residual stream, queries, keys and position tables to the store; V, transposed, to the values memory.
    """

    engine: Engine

    def __call__(self, graph: Graph, steps: Sequence[Step], orders: Mapping[Value, ChannelOrder]) -> Plan:
        """The plan; capacities are not checked here (`check`), so that the board fit can size memories from
        `peak`.

        Raises:
            UnsupportedError: a tensor is wanted in more memories than its step can write.
        """
        classes = reader_classes(steps)
        allocator = _Allocator()
        for index, step in enumerate(steps):
            source = allocator.half_of(step.reads[0]) if step.opcode is Opcode.LINEAR else None
            for value in step.writes:
                wanted = classes.get(value, {})
                if VALUES in wanted and step.opcode is not Opcode.LINEAR:
                    raise UnsupportedError(
                        f"{step.where}: found the values of an attention that no linear layer computes; "
                        "expected a value "
                        "projection, which writes them transposed"
                    )
                if len(wanted) > 1 and step.opcode not in REPEATABLE:
                    raise UnsupportedError(
                        f"{step.where}: found a result read as {' and '.join(sorted(wanted))}; expected one "
                        "memory per result; "
                        "put a norm between the two readers"
                    )
                for kind, last in sorted(wanted.items()):
                    words = self.words(graph, value, orders[value], kind)
                    allocator.place((value, kind), kind, words, index, last, source)
        return Plan(allocator.places, allocator.peak)

    def words(self, graph: Graph, value: Value, order: ChannelOrder, kind: str) -> int:
        """Words per bank that a tensor takes in a memory of class `kind`."""
        tensor = graph.type_of(value)
        tokens = tensor.shape[0]
        if kind != VALUES:
            return self.engine.tiles(tokens) * (2 if tensor.bits > 8 else 1) * order.depth
        abreast = self.engine.heads_abreast(order.pitch)
        segment = self.engine.banks // abreast
        heads = int(order.physical.max()) // order.pitch + 1
        keys = self.engine.tiles(tokens) * self.engine.tokens
        return -(-keys // segment) * -(-heads // abreast) * (order.pitch // self.engine.rows)

    def check(
        self, graph: Graph, steps: Sequence[Step], orders: Mapping[Value, ChannelOrder], plan: Plan
    ) -> None:
        """Refuse a plan that the engine's memories cannot hold, by the capacity's name.

        Raises:
            FitError: a memory is too small.
        """
        peak = plan.peak
        operands = max(peak.get(Space.OPERAND0, 0), peak.get(Space.OPERAND1, 0))
        require(
            f"{graph.name}: matmul operands",
            operands,
            self.engine.operand_depth,
            "operand_depth",
            " words per bank",
        )
        require(
            f"{graph.name}: residual stream, queries and keys",
            peak.get(Space.STORE, 0),
            self.engine.store_depth,
            "store_depth",
            " words per bank",
        )
        require(
            f"{graph.name}: values of attention",
            peak.get(Space.VALUES, 0),
            self.engine.values_depth,
            "values_depth",
            " words per bank",
        )
        for step in steps:
            for value in step.reads:
                require(
                    f"{step.where}: input channels per bank",
                    orders[value].depth,
                    self.engine.depth,
                    "depth",
                    " words",
                )


@dataclass
class _Allocator:
    places: dict[tuple[Value, str], Place] = field(default_factory=dict)
    peak: dict[Space, int] = field(default_factory=dict)

    def half_of(self, value: Value) -> Space | None:
        place = self.places.get((value, OPERAND))
        return None if place is None else place.space

    def place(
        self, key: tuple[Value, str], kind: str, words: int, first: int, last: int, source: Space | None
    ) -> None:
        spaces = {OPERAND: (Space.OPERAND0, Space.OPERAND1), STORE: (Space.STORE,), VALUES: (Space.VALUES,)}[
            kind
        ]
        fits = [
            (self._first_fit(space, words, first, last), space) for space in spaces if space is not source
        ]
        base, space = min(fits)
        self.places[key] = Place(space, base, words, first, last)
        self.peak[space] = max(self.peak.get(space, 0), base + words)

    def _first_fit(self, space: Space, words: int, first: int, last: int) -> int:
        live = sorted(
            (p.base, p.words)
            for p in self.places.values()
            if p.space is space and p.first <= last and first <= p.last
        )
        base = 0
        for start, size in live:
            if base + words <= start:
                break
            base = max(base, start + size)
        return base
