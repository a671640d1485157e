"""The program: step records, packed weights and tables, and the ports, for one engine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flow.engine import Engine, ImageBuilder, Opcode, Port, Program, Record, Space, require
from flow.errors import FitError
from flow.formats import EncodedMatrix, constants, encode, pack
from flow.ir import Graph, Op, Value
from flow.numerics import exp_table
from flow.ops.add import ResidualAdd
from flow.ops.attention import Attention
from flow.ops.boundary import DeviceOutput
from flow.ops.constant import DeviceConstant
from flow.ops.linear import Linear
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.post import PostStage
from flow.ops.requantise import Requantise
from flow.ops.table import Table
from flow.passes.fuse_steps import Step
from flow.passes.order_channels import ChannelOrder
from flow.passes.plan_scratchpad import OPERAND, STORE, VALUES, Place, Plan, PlanScratchpad

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Placed:
    """A record of the program with what it came from: for traces, reports and estimates."""

    step: Step
    record: Record
    writes: tuple[tuple[Value, Place], ...]
    encoded: EncodedMatrix | None = None


@dataclass(frozen=True)
class Layout:
    """The program, and beside it the compiler's own view of each record."""

    program: Program
    placed: tuple[Placed, ...]
    orders: Mapping[Value, ChannelOrder]
    plan: Plan


@dataclass(frozen=True)
class LayOut:
    """Steps to a `Program`. Weights are permuted to physical order, padded to whole words, and stored in the
    detected format."""

    engine: Engine
    progress: Progress | None = None

    def __call__(
        self, graph: Graph, steps: Sequence[Step], orders: Mapping[Value, ChannelOrder], plan: Plan
    ) -> Layout:
        """The laid-out program.

        Raises:
            FitError: a capacity of the engine is exceeded; names it.
        """
        PlanScratchpad(self.engine).check(graph, steps, orders, plan)
        return _Writer(self.engine, graph, steps, orders, plan, self.progress).run()


@dataclass
class _Writer:
    engine: Engine
    graph: Graph
    steps: Sequence[Step]
    orders: Mapping[Value, ChannelOrder]
    plan: Plan
    progress: Progress | None
    placed: list[Placed] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    image: ImageBuilder = field(init=False)
    tokens: int = field(init=False)

    def run(self) -> Layout:
        self.tokens = max(step.tokens for step in self.steps)
        require(f"{self.graph.name}: tokens", self.tokens, self.engine.sequence, "sequence")
        count = sum(
            max(1, len(self._places(step))) if step.opcode in (Opcode.INPUT, Opcode.LINEAR) else 1
            for step in self.steps
        )
        require(f"{self.graph.name}: steps", count, self.engine.steps, "steps")
        self.image = ImageBuilder(self.engine, count)
        write = {
            Opcode.INPUT: self._input,
            Opcode.CONSTANT: self._constant,
            Opcode.LINEAR: self._linear,
            Opcode.NORM: self._norm,
            Opcode.ATTENTION: self._attention,
            Opcode.POOL: self._pool,
            Opcode.OUTPUT: self._output,
        }
        for step in self.steps:
            if self.progress is not None:
                self.progress(step.name)
            self._need_stages(step)
            write[step.opcode](step)
        records = tuple(p.record for p in self.placed)
        names = tuple(p.step.name for p in self.placed)
        program = Program(
            self.engine,
            records,
            self.image.finish(records),
            names,
            tuple(self.inputs),
            tuple(self.outputs),
            self.tokens,
        )
        return Layout(program, tuple(self.placed), self.orders, self.plan)

    def _need_stages(self, step: Step) -> None:
        for node in step.nodes:
            stage = getattr(node.op, "stage", None)
            if stage is not None and stage not in self.engine.features:
                raise FitError(
                    f"{step.where}: found a step that needs the stage {stage!r}; expected one of "
                    f"{', '.join(self.engine.features)} "
                    "(engine capacity 'features'); lower onto an engine that has it"
                )

    # -- helpers
    # -----------------------------------------------------------------------------------------------

    def _emit(
        self,
        step: Step,
        words: Mapping[str, int],
        encoded: EncodedMatrix | None = None,
        only: Place | None = None,
    ) -> None:
        single = int(step.tokens == 1)
        writes = [(v, p) for v, p in self._places(step) if only is None or p is only]
        self.placed.append(
            Placed(step, Record(step.opcode, {"single_token": single, **words}), tuple(writes), encoded)
        )

    def _places(self, step: Step) -> list[tuple[Value, Place]]:
        return [
            (v, self.plan.places[v, k])
            for v in step.writes
            for k in (OPERAND, STORE, VALUES)
            if (v, k) in self.plan.places
        ]

    def _place(self, value: Value, kind: str) -> Place:
        return self.plan.places[value, kind]

    def _destination(self, step: Step) -> dict[str, int]:
        (_, place), *_ = self._places(step)
        return {"space": place.space, "base": place.base}

    def _planes(self, value: Value) -> int:
        return 2 if self.graph.type_of(value).bits > 8 else 1

    def _port(self, name: str, value: Value) -> Port:
        order, tensor = self.orders[value], self.graph.type_of(value)
        return Port(
            name,
            tuple(int(c) for c in order.physical),
            order.depth,
            self._planes(value),
            tensor.signed,
            tensor.shape[0] == 1,
        )

    # -- one method a step kind
    # --------------------------------------------------------------------------------

    def _input(self, step: Step) -> None:
        (value,) = step.writes
        for _, place in self._places(step):
            self.inputs.append(self._port(value.node, value))
            self._emit(
                step,
                {
                    "planes": self._planes(value),
                    "depth": self.orders[value].depth,
                    "space": place.space,
                    "base": place.base,
                },
                only=place,
            )

    def _constant(self, step: Step) -> None:
        (value,) = step.writes
        op = step.nodes[0].op
        assert isinstance(op, DeviceConstant)
        data = self._port(value.node, value).pack(self.engine, op.value.astype(np.int64), step.tokens)
        words = {
            "planes": 2,
            "depth": self.orders[value].depth,
            "data": self.image.place(data),
            "tiles": self.engine.tiles(step.tokens),
        }
        self._emit(step, {**words, **self._destination(step)})

    def _linear(self, step: Step) -> None:
        linear, *stages = (node.op for node in step.nodes)
        assert isinstance(linear, Linear)
        source, target = step.reads[0], step.writes[0]
        columns, rows = self.orders[source], self.orders[target]
        scale = stages[0]
        assert isinstance(scale, (Requantise, ResidualAdd))
        encoded = self._encode(step, linear, columns, rows)
        stream = pack(encoded, self._constants(linear, scale, rows), self.engine.beat_bytes)
        place = self._place(source, OPERAND)
        words = {
            "source_space": place.space,
            "source_base": place.base,
            "source_planes": self._planes(source),
            "source_signed": int(self.graph.type_of(source).signed),
            "depth": columns.depth,
            "row_groups": len(encoded.row_groups),
            "weight_bits": linear.weight_bits,
            "page": self.image.place(encoded.page.pack(self.engine.beat_bytes)),
            "weights": self.image.place(stream),
            "weight_beats": len(stream) // self.engine.beat_bytes,
            "out_bits": _bits(stages[-1]),
            "out_signed": int(self.graph.type_of(target).signed),
            "out_depth": rows.depth,
            **self._scale_words(step, scale),
            **self._final_words(step, stages[-1]),
        }
        for _, target_place in self._places(step):
            where = {"space": int(target_place.space), "base": target_place.base}
            if target_place.space is Space.VALUES:
                where |= {"heads": int(rows.physical.max()) // rows.pitch + 1, "pitch": rows.pitch}
            self._emit(step, words | where, encoded, only=target_place)

    def _scale_words(self, step: Step, scale: Requantise | ResidualAdd) -> dict[str, int]:
        if isinstance(scale, Requantise):
            return {"out_zero": scale.zero}
        return {
            "has_residual": 1,
            "residual_base": self._place(step.reads[1], STORE).base,
            "residual_multiplier": scale.residual_multiplier,
            "residual_shift": scale.residual_shift,
        }

    def _final_words(self, step: Step, final: Op) -> dict[str, int]:
        if isinstance(final, Table):
            require(
                f"{step.where}: table index", final.index_bits, self.engine.table_bits, "table_bits", " bits"
            )
            return {
                "table": self.image.place(final.values.astype("<i2").tobytes()),
                "table_bits": final.index_bits,
            }
        if isinstance(final, PostStage):
            return {
                "out_zero": final.zero,
                "stage": 1 + self.engine.outside.index(final.name),
                "stage_data": self.image.place(final.packed()),
            }
        return {}

    def _encode(self, step: Step, linear: Linear, columns: ChannelOrder, rows: ChannelOrder) -> EncodedMatrix:
        physical = physical_weight(self.engine, linear.weight, columns, rows)
        encoded = encode(
            physical, banks=self.engine.banks, rows_per_group=self.engine.rows, weight_bits=linear.weight_bits
        )
        worst = max(encoded.row_group_cycles, default=0)
        require(f"{step.where}: weights per row and bank", worst, self.engine.row_cycles, "row_cycles")
        longest = max((group.map.count for group in encoded.row_groups if group.map is not None), default=0)
        require(f"{step.where}: columns in a bank's list", longest, self.engine.column_entries, "depth")
        return encoded

    def _constants(
        self, linear: Linear, scale: Requantise | ResidualAdd, rows: ChannelOrder
    ) -> npt.NDArray[np.void]:
        count = rows.depth * self.engine.banks
        bias, multiplier, shift = (np.full(count, fill, np.int64) for fill in (0, 0, 1))
        bias[rows.physical], multiplier[rows.physical], shift[rows.physical] = (
            linear.bias,
            scale.multiplier,
            scale.shift,
        )
        return constants(bias, multiplier, shift)

    def _norm(self, step: Step) -> None:
        source = step.reads[0]
        order = self.orders[source]
        first = step.nodes[0].op
        assert isinstance(first, Norm)
        writes = self._places(step)
        if len(writes) > 2:
            raise FitError(f"{step.where}: found {len(writes)} results of one norm; expected at most 2")
        ops = {node.name: node.op for node in step.nodes}
        words = {
            "source_base": self._place(source, STORE).base,
            "depth": order.depth,
            "channels": len(order.physical),
            "centred": int(first.centred),
            "epsilon_low": first.epsilon & 0xFFFFFFFF,
            "epsilon_high": first.epsilon >> 32,
            "outputs": len(writes),
        }
        for i, (value, place) in enumerate(writes):
            op = ops[value.node]
            assert isinstance(op, Norm)
            data = self.image.place(_norm_constants(op, order, self.engine))
            words |= {
                f"constants{i}": data,
                f"shift{i}": op.shift,
                f"bits{i}": op.bits,
                f"space{i}": place.space,
                f"base{i}": place.base,
            }
        self._emit(step, words)

    def _attention(self, step: Step) -> None:
        op = step.nodes[0].op
        assert isinstance(op, Attention)
        query, key, value = step.reads
        words = {
            "query_base": self._place(query, STORE).base,
            "key_base": self._place(key, STORE).base,
            "value_base": self._place(value, VALUES).base,
            "depth": self.orders[query].depth,
            "heads": op.heads,
            "pitch": self.orders[query].pitch,
            "score_multiplier": op.score_multiplier,
            "score_shift": op.score_shift,
            "exp": self.image.place(exp_table(op.exp_bits).astype("<u2").tobytes()),
            "exp_bits": op.exp_bits,
            "multiplier": op.multiplier,
            "shift": op.shift,
            "causal": int(op.causal),
            **self._destination(step),
        }
        self._emit(step, words)

    def _pool(self, step: Step) -> None:
        op = step.nodes[0].op
        assert isinstance(op, Pool)
        source = step.reads[0]
        words = {
            "source_base": self._place(source, STORE).base,
            "depth": self.orders[source].depth,
            "mean": int(op.mean),
            "multiplier": op.multiplier,
            "shift": op.shift,
            "bits": op.bits,
            **self._destination(step),
        }
        self._emit(step, words)

    def _output(self, step: Step) -> None:
        (source,) = step.reads
        op = step.nodes[0].op
        assert isinstance(op, DeviceOutput)
        place = self.plan.places.get((source, STORE)) or self._place(source, OPERAND)
        self.outputs.append(self._port(op.key, source))
        words = {
            "source_space": place.space,
            "source_base": place.base,
            "planes": self._planes(source),
            "depth": self.orders[source].depth,
        }
        self._emit(step, words)


def _bits(final: Op) -> int:
    """Width of what a linear step's last stage makes."""
    if isinstance(final, ResidualAdd):
        return 16
    return final.bits if isinstance(final, (Requantise, Table, PostStage)) else 0


def physical_weight(
    engine: Engine, weight: npt.NDArray[np.int8], columns: ChannelOrder, rows: ChannelOrder
) -> npt.NDArray[np.int8]:
    """The matrix that the banks hold: rows and columns in physical order, zeros where padding is."""
    physical = np.zeros((rows.depth * engine.banks, columns.depth * engine.banks), np.int8)
    physical[np.ix_(rows.physical, columns.physical)] = weight
    return physical


def _norm_constants(op: Norm, order: ChannelOrder, engine: Engine) -> bytes:
    """8 bytes a physical channel: bits 0..15 the gain, bits 16..63 the bias, both two's complement."""
    gain, bias = (np.zeros(order.depth * engine.banks, np.int64) for _ in range(2))
    gain[order.physical], bias[order.physical] = op.gain, op.bias
    return b"".join(
        struct.pack("<Q", (int(g) & 0xFFFF) | (int(b) & 0xFFFFFFFFFFFF) << 16)
        for g, b in zip(gain, bias, strict=True)
    )
