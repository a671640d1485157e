"""Closed forms of a model's steps on engines, each counted once: what a fit orders engines by, and a lower bound of it.

Boards whose engines are alike share them: a fit of one model to many boards hands one `StepForms` from board to board.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from flow.cost.cycles import StepForm, chained, step_form
from flow.cost.model import ModelShape
from flow.engine import Engine, Opcode
from flow.ir import Graph
from flow.ops.device import Work
from flow.passes.fuse_steps import Step

MOST_BANKS = 64
"""B beyond this is not tried: a bank keeps whole weights, so that density comes in steps of B/C, and an
engine should serve pruned models too."""
LANE_KINDS, HEAD_KINDS = frozenset({Opcode.NORM, Opcode.POOL}), frozenset({Opcode.ATTENTION})
"""Steps whose cycles go with the norm lanes, and with the heads abreast."""
OTHER_KINDS = frozenset(Opcode) - LANE_KINDS - HEAD_KINDS


@dataclass(frozen=True)
class Row:
    """All steps of a model on one engine."""

    engine: Engine
    forms: tuple[StepForm, ...]

    @property
    def least(self) -> int:
        """What `cycles` cannot fall below: a step starts when the one before ends, and takes its own cycles."""
        return sum(form.cycles for form in self.forms)

    @property
    def cycles(self) -> int:
        """Cycles of one sample, waits for loading included."""
        return sum(chained(self.forms))


@dataclass
class StepForms:
    """The steps of a model as `shape` knows them, and their closed forms by engine and beat."""

    shape: ModelShape
    _works: dict[tuple[Engine, float], list[tuple[Step, Work]]] = field(default_factory=dict)
    _forms: dict[tuple[Engine, float, frozenset[Opcode]], dict[int, StepForm]] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph, most_banks: int = MOST_BANKS) -> StepForms:
        """Of an integer graph, for engines of up to `most_banks` banks (a power of two)."""
        return StepForms(ModelShape.of(graph, most_banks))

    def has(self, kind: Opcode) -> bool:
        """Whether the model has a step of this kind."""
        return any(step.opcode is kind for step in self.shape.steps)

    def bound(self, array: Engine) -> int:
        """A lower bound of cycles with T, B and P of `array`, whatever its norm lanes and heads: the array takes each
        weight of a row group's fullest bank once for each token tile and byte plane of the input.

        `sum over linear steps of tiles * planes * sum over row groups of G*K`.
        """
        return sum(
            array.tiles(step.tokens)
            * (2 if self.shape.graph.type_of(step.reads[0]).bits > 8 else 1)
            * int(self.shape.row_cycles(array, step).sum())
            for step in self.shape.steps
            if step.opcode is Opcode.LINEAR
        )

    def rows(self, array: Engine, lanes: list[int], heads: list[int], beat: float) -> Iterator[Row]:
        """One array with all numbers of norm lanes and heads; only what depends on them is counted again for each."""
        by_lanes = [
            (count, self._kinds(replace(array, norm_lanes=count), array, beat, LANE_KINDS)) for count in lanes
        ]
        for abreast in heads:
            engine = replace(array, heads=abreast)
            attention = self._kinds(engine, array, beat, HEAD_KINDS)
            # Results of values take as many cycles as a head has too few banks.
            alike = self.shape.parts(engine) == self.shape.parts(array)
            rest = self._kinds(array, array, beat) if alike else self._kinds(engine, engine, beat)
            for count, norm in by_lanes:
                forms = {**rest, **norm, **attention}
                yield Row(replace(engine, norm_lanes=count), tuple(forms[place] for place in sorted(forms)))

    def row(self, engine: Engine, beat: float) -> Row:
        """All steps on one engine."""
        (found,) = self.rows(engine, [engine.norm_lanes], [engine.heads], beat)
        return found

    def works(self, array: Engine, beat: float) -> list[tuple[Step, Work]]:
        """What the steps have to do; it depends on T, B and P, and where values are written on H."""
        key = (array, beat)
        if key not in self._works:
            self._works[key] = list(self.shape.work(array, beat))
        return self._works[key]

    def _kinds(
        self, engine: Engine, array: Engine, beat: float, kinds: frozenset[Opcode] = OTHER_KINDS
    ) -> dict[int, StepForm]:
        """Forms of the steps of some kinds by the step's place."""
        key = (engine, beat, kinds)
        if key not in self._forms:
            self._forms[key] = {
                place: step_form(engine, step, work)
                for place, (step, work) in enumerate(self.works(array, beat))
                if step.opcode in kinds
            }
        return self._forms[key]
