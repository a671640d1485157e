"""What a fit must know of a model, gathered once: the shape of every step, and how full each row's banks are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flow.engine import HEADER_BYTES, RECORD_BYTES, STAGE_WORDS, Engine, Opcode, Space
from flow.ir import Graph, Value
from flow.ops.attention import TABLE_ENTRIES, Attention
from flow.ops.device import Counts, DeviceOp, RowGroups, Work
from flow.ops.linear import Linear, lookup_rows
from flow.ops.norm import Norm
from flow.ops.post import PostStage
from flow.ops.table import Table
from flow.passes.fuse_steps import FuseSteps, Step
from flow.passes.order_channels import ChannelOrder, OrderChannels
from flow.passes.plan_scratchpad import PlanScratchpad

PLAIN_PAGE_WORDS, PAGE_WORDS = 2, 24
"""64-bit words of a code page without codes, and of one that is supposed before the encoding is known."""


def row_maxima(
    weight: npt.NDArray[np.int8], physical: npt.NDArray[np.int64], banks: int
) -> dict[int, Counts]:
    """The fullest bank of every row of W[N, C]: `max_b nnz(W[n, columns of bank b])` int64 [N] for B =
    `banks`, banks/2, … 1.

    `physical[c]` is the place of column c. The non-zeros are counted once and folded: bank b of B/2 holds
    what banks b and b + B/2 of B hold.
    """
    found: dict[int, Counts] = {}
    counts = _bank_counts(weight, physical, banks)
    while True:
        found[banks] = counts.max(axis=1).astype(np.int64)
        if banks == 1:
            return found
        banks //= 2
        counts = counts[:, :banks] + counts[:, banks:]


def _bank_counts(
    weight: npt.NDArray[np.int8], physical: npt.NDArray[np.int64], banks: int
) -> npt.NDArray[np.uint16]:
    """Non-zeros of every (row, bank), [N, B]: word by word, which numpy vectorises, unlike a reduction of a
    middle axis."""
    rows, columns = weight.shape
    occupied = (weight != 0).view(np.uint8)
    if not np.array_equal(physical, np.arange(columns)):
        occupied = np.zeros((rows, int(physical.max()) + 1), np.uint8)
        occupied[:, physical] = weight != 0
    counts = np.zeros((rows, banks), np.uint16)
    for start in range(0, occupied.shape[1], banks):
        word = occupied[:, start : start + banks]
        counts[:, : word.shape[1]] += word
    return counts


def supposed_records(cycles: Counts, engine: Engine, depth: int, weight_bits: int) -> RowGroups:
    """Row groups of given G*K as they will be stored, before any is encoded.

    A weight's column costs `log2 binom(D, G*K) / (G*K)` bits, what no code can beat on average; column maps,
    which are read once a block, are left out. Each such weight is looked up.
    """
    coded = (cycles > 0) & (cycles < depth)
    kept = np.minimum(cycles, depth)
    factorial = np.concatenate(([0.0], np.cumsum(np.log2(np.arange(1, depth + 1)))))
    subset_bits = np.where(coded, factorial[depth] - factorial[kept] - factorial[depth - kept], 0.0)
    lanes = engine.rows * engine.banks
    section_words = -(-cycles * lanes * weight_bits // 64) + np.ceil(subset_bits * lanes / 64).astype(
        np.int64
    )
    sizes = 8 * (1 + engine.rows + section_words)
    lookups = np.where(coded, cycles * (engine.rows // lookup_rows(engine)), cycles)
    return RowGroups(cycles, -(-sizes // engine.beat_bytes), lookups, np.zeros_like(cycles))


@dataclass
class ModelShape:
    """A level-2 graph as a fit sees it. What depends on an engine is asked for with that engine, and cached
    by what it depends on."""

    graph: Graph
    steps: tuple[Step, ...]
    tokens: int
    most_banks: int
    _orders: dict[tuple[int, int], Mapping[Value, ChannelOrder]] = field(default_factory=dict)
    _maxima: dict[tuple[str, int], dict[int, Counts]] = field(default_factory=dict)
    _cycles: dict[tuple[str, int, int], Counts] = field(default_factory=dict)
    _records: dict[tuple[str, int, int, int], RowGroups] = field(default_factory=dict)
    _peaks: dict[tuple[int, int, int, int], Mapping[Space, int]] = field(default_factory=dict)
    _parts: dict[tuple[int, int, int, int], tuple[int, ...]] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph, most_banks: int) -> ModelShape:
        """The steps of an integer graph, for engines of up to `most_banks` banks (a power of two)."""
        steps = FuseSteps()(graph)
        return ModelShape(graph, steps, max(step.tokens for step in steps), most_banks)

    @property
    def features(self) -> tuple[str, ...]:
        """Stages that the model needs, in alphabetical order."""
        ops = [node.op for step in self.steps for node in step.nodes]
        return tuple(sorted({op.stage for op in ops if isinstance(op, DeviceOp) and op.stage is not None}))

    @property
    def table_bits(self) -> int:
        """Bits of the widest table index; 8 without a table."""
        return max([8, *(n.op.index_bits for s in self.steps for n in s.nodes if isinstance(n.op, Table))])

    @property
    def widest(self) -> int:
        """Channels of the widest tensor that a step reads."""
        return max(self.graph.type_of(v).shape[1] for step in self.steps for v in step.reads)

    @property
    def most_rows(self) -> int:
        """Output channels of the tallest matrix; 1 without any."""
        return max([1, *(len(n.op.weight) for s in self.steps for n in s.nodes if isinstance(n.op, Linear))])

    @property
    def heads(self) -> int:
        """The most heads of an attention; 1 without any."""
        return max([1, *(n.op.heads for s in self.steps for n in s.nodes if isinstance(n.op, Attention))])

    @property
    def records(self) -> int:
        """An upper bound of the program's step records: inputs and linear steps may run once for each of two
        memories."""
        twice = (Opcode.INPUT, Opcode.LINEAR)
        classes = sum(
            1
            for s in self.steps
            if s.opcode in twice and len({u.name for v in s.writes for u in self.graph.users(v)}) > 1
        )
        return len(self.steps) + classes

    def orders(self, engine: Engine) -> Mapping[Value, ChannelOrder]:
        """Physical orders; they depend on B and P."""
        key = (engine.banks, engine.rows)
        if key not in self._orders:
            self._orders[key] = OrderChannels(engine)(self.graph, self.steps)
        return self._orders[key]

    def peaks(self, engine: Engine) -> Mapping[Space, int]:
        """Words per bank that every memory needs, from the scratchpad plan."""
        key = (engine.tokens, engine.banks, engine.rows, engine.heads)
        if key not in self._peaks:
            self._peaks[key] = PlanScratchpad(engine)(self.graph, self.steps, self.orders(engine)).peak
        return self._peaks[key]

    def depth(self, engine: Engine) -> int:
        """Words per bank of the widest tensor that a step reads."""
        orders = self.orders(engine)
        return max(orders[v].depth for step in self.steps for v in step.reads)

    def row_cycles(self, engine: Engine, step: Step) -> Counts:
        """G*K of every row group of a linear step: its fullest (row, bank), what every encoding reaches."""
        key = (step.name, engine.banks, engine.rows)
        if key not in self._cycles:
            orders = self.orders(engine)
            columns, rows = orders[step.reads[0]], orders[step.writes[0]]
            weights = (step.name, columns.pitch)
            if weights not in self._maxima:
                weight = self._linear(step).weight
                self._maxima[weights] = row_maxima(weight, columns.physical, self.most_banks)
            physical = np.zeros(rows.depth * engine.banks, np.int64)
            physical[rows.physical] = self._maxima[weights][engine.banks]
            self._cycles[key] = physical.reshape(-1, engine.rows).max(axis=1)
        return self._cycles[key]

    def row_groups(self, engine: Engine, step: Step) -> RowGroups:
        """The records of a linear step, as they will be stored."""
        key = (step.name, engine.banks, engine.rows, engine.beat_bytes)
        if key not in self._records:
            depth = self.orders(engine)[step.reads[0]].depth
            bits = self._linear(step).weight_bits
            self._records[key] = supposed_records(self.row_cycles(engine, step), engine, depth, bits)
        return self._records[key]

    def _linear(self, step: Step) -> Linear:
        linear = step.nodes[0].op
        assert isinstance(linear, Linear)
        return linear

    def weight_beats(self, engine: Engine) -> int:
        """Beats of all weight streams."""
        linears = [step for step in self.steps if step.opcode is Opcode.LINEAR]
        return sum(int(self.row_groups(engine, step).beats.sum()) for step in linears)

    def image_beats(self, engine: Engine) -> int:
        """Beats of the whole image, about: weights, what is loaded with them, and the records of the program."""
        preloads = sum(-(-work.preload * 8 // engine.beat_bytes) for _, work in self.work(engine, 1.0))
        records = -(-(HEADER_BYTES + self.records * RECORD_BYTES) // engine.beat_bytes)
        return self.weight_beats(engine) + preloads + records

    def work(self, engine: Engine, beat_cycles: float) -> Iterator[tuple[Step, Work]]:
        """Every step that has an operator with what it has to do, as `flow.cost.cycles.step_work` will find
        it in the layout."""
        orders = self.orders(engine)
        for step in self.steps:
            values = step.reads or step.writes
            order, tensor = orders[values[0]], self.graph.type_of(values[0])
            planes = 2 if tensor.bits > 8 else 1
            out_planes = max([1, *(2 for v in step.writes if self.graph.type_of(v).bits > 8)])
            groups, preload, least = RowGroups.none(), 0, out_planes
            first = step.nodes[0].op if step.nodes else None
            if isinstance(first, Linear):
                groups = self.row_groups(engine, step)
                coded = bool((groups.cycles % order.depth != 0).any())
                preload = (PAGE_WORDS if coded else PLAIN_PAGE_WORDS) + sum(
                    len(n.op.values) // 4 for n in step.nodes if isinstance(n.op, Table)
                )
                preload += STAGE_WORDS * any(isinstance(n.op, PostStage) for n in step.nodes)
                least = max(least, self._parts_of(engine, step, orders))
            elif isinstance(first, Norm):
                preload = -(-8 * order.depth * engine.banks * len(step.writes) // engine.beat_bytes)
            elif isinstance(first, Attention):
                preload = -(-2 * TABLE_ENTRIES // engine.beat_bytes)
            yield (
                step,
                Work(
                    tokens=step.tokens,
                    channels=len(order.physical),
                    depth=order.depth,
                    planes=planes,
                    out_planes=out_planes,
                    least=least,
                    row_groups=groups,
                    preload=preload,
                    beat_cycles=beat_cycles,
                ),
            )

    def parts(self, engine: Engine) -> tuple[int, ...]:
        """Cycles that a result of every linear step takes for the sake of values that it writes."""
        key = (engine.tokens, engine.banks, engine.rows, engine.heads)
        if key not in self._parts:
            linears = (step for step in self.steps if step.opcode is Opcode.LINEAR)
            orders = self.orders(engine)
            self._parts[key] = tuple(self._parts_of(engine, step, orders) for step in linears)
        return self._parts[key]

    def _parts_of(self, engine: Engine, step: Step, orders: Mapping[Value, ChannelOrder]) -> int:
        """Cycles that a result of values takes: T/W where the W banks of a head hold fewer than T keys."""
        (result,) = step.writes
        users = [node for node in self.graph.users(result) if isinstance(node.op, Attention)]
        if not any(node.inputs[2] == result for node in users):
            return 1
        abreast = engine.heads_abreast(orders[result].pitch)
        return max(1, engine.tokens * abreast // engine.banks)
