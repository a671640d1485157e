"""The way back: a `Graph` as a torch module that can be run, calibrated and fine-tuned, and as a `.pt2` file.

Raw ATen nodes, the float operators and quantise/dequantise are interpreted node by node through the allow-list of
`flow.frontend.torch_operators`; nothing else can run. Torch's quantise rounds `x * (1 / scale)` in float32 where
`flow.ops.quant` rounds `x / scale` in float64, so values within a float32 rounding of a tie may differ by one unit.
Scales survive the file exactly: per tensor as float64 literals, per channel as buffers, float32 where that is exact.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from flow.errors import FlowError, UnsupportedError, raise_all
from flow.frontend.torch_export import export_module, save_program
from flow.frontend.torch_operators import ALLOWED, FUNCTIONS, Function, register_quantized, torch_dtype
from flow.ir import Array, Graph, Node, Value
from flow.ops.aten import Aten
from flow.ops.float import FloatLinear, FloatNorm
from flow.ops.quant import Dequantize, Quantize, QuantSpec
from flow.ops.source import Constant, Input

Observer = Callable[[Node, tuple[Tensor, ...]], None]


def to_module(graph: Graph) -> GraphModule:
    """The graph as a module in evaluation mode, called as `module(*inputs)` or by input name; returns outputs by name.

    Raises:
        UnsupportedError: lists every node that no allowed torch operator expresses.
    """
    live = graph.copy()
    live.prune(keep=[node.name for node in graph if isinstance(node.op, Input)])
    raise_all(
        UnsupportedError,
        f"graph {graph.name}: found operators that have no way back to torch; expected only allowed ones",
        (f"{node.where}: {fault}" for node in live if (fault := _fault(node, live))),
    )
    return GraphModule(live).eval()


def write_pt2(graph: Graph, path: str | Path) -> None:
    """Write the graph as a `.pt2` file that keeps its names; equal graphs give equal bytes.

    Raises:
        UnsupportedError: as `to_module`.
        FlowError: the file cannot be written.
    """
    module = to_module(graph)
    save_program(export_module(module, module.example_inputs()), path)


def with_weights(graph: Graph, module: GraphModule) -> Graph:
    """A copy of the graph with the module's present parameters in place of its constants: the end of fine-tuning.

    Raises:
        FlowError: the module was not made from this graph.
    """
    result = graph.copy()
    for name, slot in module.slots.items():
        old = graph[name].op if name in graph else None
        value = module.tensor(slot).detach().cpu().numpy()
        if not isinstance(old, Constant) or old.value.shape != value.shape:
            raise FlowError(
                f"{name}: found no constant of shape {value.shape} in graph {graph.name}; "
                "expected the graph that the module was made from"
            )
        if not np.array_equal(old.value, value, equal_nan=True):
            new = result.add(
                name, replace(old, value=value.astype(old.value.dtype)), module=graph[name].module
            )
            result.replace_value(Value(name), new)
    result.prune(keep=[node.name for node in graph if isinstance(node.op, Input)])
    return result


class Slot(NamedTuple):
    """Where a tensor lives: attribute `leaf` of submodule `path`."""

    path: str
    leaf: str


class Scope(nn.Module):
    """Stands for one module path: owns the tensors below it and is called for its nodes, so that exports name it."""

    def forward(self, function: Function, operands: tuple[Any, ...]) -> Any:
        return function(*operands)


@dataclass(frozen=True)
class Step:
    """One node: `function` of its operands, run in the scope of its module path."""

    node: Node
    function: Function
    operands: tuple[Value | Slot, ...]


class GraphModule(nn.Module):
    """Interprets a graph.

    Float constants that are named, or feed a linear layer or a norm, are parameters; other constants are buffers.
    `slots` says, by node name, where each constant of the graph lives; `steps` lists what runs, in order.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        register_quantized()
        self._inputs = {node.op.key: node for node in graph if isinstance(node.op, Input)}
        self._outputs = dict(graph.outputs)
        self.slots: dict[str, Slot] = {}
        for node in graph:
            if isinstance(node.op, Constant):
                self.slots[node.name] = self._hold_constant(node, node.op, _trainable(node, graph))
        self.steps = [self._step(node) for node in graph if not isinstance(node.op, (Input, Constant))]

    def forward(self, *inputs: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """Outputs by name; inputs in the graph's order or by name."""
        return self.evaluate(dict(zip(list(self._inputs)[: len(inputs)], inputs, strict=True)) | named)

    def evaluate(self, inputs: Mapping[str, Tensor], observe: Observer | None = None) -> dict[str, Tensor]:
        """As `forward`; `observe` is called with every computed node and its outputs, in topological order.

        Raises:
            FlowError: an input is missing or unknown.
        """
        if set(inputs) != set(self._inputs):
            raise FlowError(
                f"inputs: found {', '.join(sorted(inputs)) or 'nothing'}; expected {', '.join(self._inputs)}"
            )
        values = {node.name: (inputs[key],) for key, node in self._inputs.items()}
        for step in self.steps:
            operands = tuple(self._fetch(operand, values) for operand in step.operands)
            result = (
                self.get_submodule(step.node.module)(step.function, operands)
                if step.node.module
                else step.function(*operands)
            )
            values[step.node.name] = tuple(result) if isinstance(result, (tuple, list)) else (result,)
            if observe is not None:
                observe(step.node, values[step.node.name])
        return {name: self._fetch(self._source(value), values) for name, value in self._outputs.items()}

    def example_inputs(self) -> dict[str, Tensor]:
        """Inputs by name, in the graph's order: zeros, and a full `attention_mask`."""
        filler = {"attention_mask": torch.ones}
        return {
            key: filler.get(key, torch.zeros)(node.type.shape, dtype=torch_dtype(node.type.dtype))
            for key, node in self._inputs.items()
        }

    def tensor(self, slot: Slot) -> Tensor:
        """The tensor in a slot."""
        tensor = getattr(self.get_submodule(slot.path), slot.leaf)
        assert isinstance(tensor, Tensor)
        return tensor

    def _fetch(self, operand: Value | Slot, values: Mapping[str, tuple[Tensor, ...]]) -> Tensor:
        return self.tensor(operand) if isinstance(operand, Slot) else values[operand.node][operand.index]

    def _source(self, value: Value) -> Value | Slot:
        return self.slots.get(value.node, value)

    # -- construction ------------------------------------------------------------------------------------------

    def _step(self, node: Node) -> Step:
        if node.module:
            node = replace(node, module=self._scope(node.module))
        operands = tuple(self._source(value) for value in node.inputs)
        if isinstance(node.op, QuantSpec):
            return Step(node, *self._quantization(node, node.op, operands))
        if isinstance(node.op, FloatNorm) and not node.op.centred and self._is_zero(operands[2]):
            operands = operands[:2]
        return Step(node, FUNCTIONS[type(node.op)](node.op), operands)

    def _is_zero(self, operand: Value | Slot) -> bool:
        return isinstance(operand, Slot) and not bool(self.tensor(operand).any())

    def _quantization(
        self, node: Node, op: QuantSpec, operands: tuple[Value | Slot, ...]
    ) -> tuple[Function, tuple[Value | Slot, ...]]:
        operators = torch.ops.quantized_decomposed
        direction = "quantize" if isinstance(op, Quantize) else "dequantize"
        limits = (op.qmin, op.qmax, torch_dtype(op.dtype))
        if op.axis is None:
            call = getattr(operators, f"{direction}_per_tensor").default
            scale, zero_point = float(op.scale), int(op.zero_point)
            return lambda x: call(x, scale, zero_point, *limits), operands
        call = getattr(operators, f"{direction}_per_channel").default
        axis = op.axis
        beside = operands[0] if isinstance(operands[0], Slot) else Slot(node.module, node.name)
        parameters = (
            self._hold(f"{beside.path}.{beside.leaf}_scale", torch.from_numpy(_narrowed(op.scale))),
            self._hold(
                f"{beside.path}.{beside.leaf}_zero_point", torch.from_numpy(op.zero_point.astype(np.int64))
            ),
        )
        return lambda x, scale, zero_point: call(x, scale, zero_point, axis, *limits), (
            *operands,
            *parameters,
        )

    def _hold_constant(self, node: Node, op: Constant, trainable: bool) -> Slot:
        name = op.key or ".".join(filter(None, [node.module, node.name]))
        tensor = torch.from_numpy(np.array(op.value, order="C"))
        return self._hold(name, nn.Parameter(tensor) if trainable else tensor)

    def _hold(self, name: str, tensor: Tensor) -> Slot:
        """Register a parameter or buffer under a dotted name, or the nearest free one."""
        path, _, leaf = name.strip(".").rpartition(".")
        path = self._scope(path)
        scope = self.get_submodule(path)
        leaf = next(n for n in _candidates(leaf) if not hasattr(scope, n))
        if isinstance(tensor, nn.Parameter):
            scope.register_parameter(leaf, tensor)
        else:
            scope.register_buffer(leaf, tensor)
        return Slot(path, leaf)

    def _scope(self, path: str) -> str:
        """The path of nested scopes for a dotted path, made where missing; parts that are taken get a suffix."""
        here: nn.Module = self
        parts: list[str] = []
        for part in filter(None, path.split(".")):
            name = next(
                n
                for n in _candidates(part)
                if isinstance(here._modules.get(n), Scope) or not hasattr(here, n)
            )
            if name not in here._modules:
                here.add_module(name, Scope())
            here = here.get_submodule(name)
            parts.append(name)
        return ".".join(parts)


def _candidates(name: str) -> Iterator[str]:
    """`name` as a legal attribute name, then with ever higher suffixes."""
    name = re.sub(r"\W+", "_", name) or "value"
    yield name
    yield from (f"{name}_{i}" for i in itertools.count(1))


def _trainable(node: Node, graph: Graph) -> bool:
    assert isinstance(node.op, Constant)
    if not np.issubdtype(node.op.value.dtype, np.floating):
        return False
    return bool(node.op.key) or any(
        isinstance(user.op, (FloatLinear, FloatNorm)) and Value(node.name) in user.inputs[1:]
        for user in graph.users(Value(node.name))
    )


def _narrowed(scale: Array) -> Array:
    """float32 where that is exact, as quantisers write it, else float64."""
    narrow = scale.astype(np.float32)
    return narrow if np.array_equal(narrow.astype(np.float64), scale) else scale.astype(np.float64)


def _fault(node: Node, graph: Graph) -> str:
    op = node.op
    if isinstance(op, Aten):
        return (
            ""
            if op.target in ALLOWED
            else "found an operator outside the allow-list; expected one that encoders use"
        )
    if isinstance(op, Dequantize) and graph.type_of(node.inputs[0]).dtype != op.dtype:
        return f"found {graph.type_of(node.inputs[0])}; expected {op.dtype} as the operator says"
    if isinstance(op, (Input, Constant, QuantSpec)) or type(op) in FUNCTIONS:
        return ""
    return (
        "found an integer device operator; expected a raw or float one; write the graph before it is lowered"
    )
