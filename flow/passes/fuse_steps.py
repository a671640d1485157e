"""Group integer operators into the steps that the engine's sequencer runs."""

from __future__ import annotations

from dataclasses import dataclass

from flow.engine import Opcode
from flow.errors import UnsupportedError
from flow.ir import Graph, Node, Value
from flow.ops.add import ResidualAdd
from flow.ops.attention import Attention
from flow.ops.boundary import DeviceOutput
from flow.ops.constant import DeviceConstant
from flow.ops.device import DeviceOp
from flow.ops.linear import Linear
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.post import PostStage
from flow.ops.requantise import Requantise
from flow.ops.source import Input
from flow.ops.table import Table
from flow.passes.masks import MASK_KEY

NORM_OUTPUTS = 2
"""Outputs that one norm step can write: the residual and the next matmul's input."""


@dataclass(frozen=True)
class Step:
    """One row of the program: operators that run as one, what they read and what they write.

    `nodes` in execution order (linear and its post stages; norms of one input; else a single operator; none
    for an input). `reads` are tensors in on-chip memory, `writes` one value per output.
    """

    name: str
    opcode: Opcode
    nodes: tuple[Node, ...]
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    tokens: int
    """Rows of the tensor worked on: S, or 1 after pooling."""

    @property
    def where(self) -> str:
        """How messages name the step."""
        return self.nodes[0].where if self.nodes else f"{self.name} (input)"


SINGLE: dict[type[DeviceOp], Opcode] = {
    Attention: Opcode.ATTENTION,
    Pool: Opcode.POOL,
    DeviceOutput: Opcode.OUTPUT,
    DeviceConstant: Opcode.CONSTANT,
}


@dataclass(frozen=True)
class FuseSteps:
    """`linear -> requantise (-> table or plug-in's stage)` and `linear -> add` become one step, as do norms of one
    input.

    Every other device operator is a step of its own, every host tensor that the device reads an input step.
    Steps come in topological order.
    """

    def __call__(self, graph: Graph) -> tuple[Step, ...]:
        steps: list[Step] = []
        done: set[str] = set()
        for value in device_inputs(graph):
            kind = graph.type_of(value)
            steps.append(Step(value.node, Opcode.INPUT, (), (), (value,), kind.shape[0]))
        for node in graph:
            if node.name in done or not isinstance(node.op, DeviceOp):
                continue
            step = self._step(graph, node)
            if step is not None:
                steps.append(step)
                done |= {n.name for n in step.nodes if not isinstance(n.op, Linear)}
        return tuple(steps)

    def _step(self, graph: Graph, node: Node) -> Step | None:
        op = node.op
        if isinstance(op, Linear):
            return None  # emitted with the stage that ends its pipeline
        users = graph.users(Value(node.name))
        if isinstance(op, Requantise) and all(isinstance(u.op, (Table, PostStage)) for u in users):
            return None  # what a table or a plug-in's stage reads never leaves the pipeline
        if isinstance(op, (Requantise, ResidualAdd, Table, PostStage)):
            nodes = _pipeline(graph, node)
            reads = [v for n in nodes for v in n.inputs if all(v.node != m.name for m in nodes)]
            return Step(
                node.name, Opcode.LINEAR, nodes, tuple(reads), (Value(node.name),), node.type.shape[0]
            )
        if isinstance(op, Norm):
            return self._norm(graph, node)
        opcode = next(code for kind, code in SINGLE.items() if isinstance(op, kind))
        reads = [v for v in node.inputs if not is_mask(graph, v)]
        tokens = graph.type_of(node.inputs[0]).shape[0] if node.inputs else node.type.shape[0]
        writes = () if isinstance(op, DeviceOutput) else (Value(node.name),)
        return Step(node.name, opcode, (node,), tuple(reads), writes, tokens)

    def _norm(self, graph: Graph, node: Node) -> Step:
        """A norm with the next sibling that normalises the same input alike; a third sibling starts another
        step."""
        op = node.op
        assert isinstance(op, Norm)
        siblings = [
            u
            for u in graph.users(node.inputs[0])
            if isinstance(u.op, Norm) and (u.op.centred, u.op.epsilon) == (op.centred, op.epsilon)
        ]
        at = [u.name for u in siblings].index(node.name)
        first = at - at % NORM_OUTPUTS
        group = siblings[first : first + NORM_OUTPUTS]
        return Step(
            group[0].name,
            Opcode.NORM,
            tuple(group),
            node.inputs,
            tuple(Value(n.name) for n in group),
            node.type.shape[0],
        )


def _pipeline(graph: Graph, last: Node) -> tuple[Node, ...]:
    nodes = [last]
    while not isinstance(nodes[0].op, Linear):
        before = graph.producer(nodes[0].inputs[0])
        if not isinstance(before.op, (Linear, Requantise)):
            raise UnsupportedError(
                f"{last.where}: found a post stage behind {before.op.label}; expected a linear layer"
            )
        nodes.insert(0, before)
    return tuple(nodes)


def is_mask(graph: Graph, value: Value) -> bool:
    """Whether a value is the `attention_mask` input, which reaches the device as the frame's length."""
    op = graph.producer(value).op
    return isinstance(op, Input) and op.key == MASK_KEY


def device_inputs(graph: Graph) -> list[Value]:
    """Host values that device operators read, in topological order."""
    found: list[Value] = []
    for node in graph:
        if isinstance(node.op, DeviceOp):
            found += [
                v
                for v in node.inputs
                if not isinstance(graph.producer(v).op, DeviceOp) and not is_mask(graph, v)
            ]
    rank = {node.name: i for i, node in enumerate(graph)}
    return sorted(dict.fromkeys(found), key=lambda v: rank[v.node])
