"""The host's share of a lowered graph: what runs in numpy before and after the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flow.golden import execute
from flow.golden.samples import Sample
from flow.ir import Array, Graph, TensorType, Value
from flow.ops.boundary import DeviceOutput
from flow.ops.source import Input
from flow.passes.fuse_steps import device_inputs
from flow.passes.masks import MASK_KEY


@dataclass(frozen=True)
class HostProgram:
    """Prologue (model inputs to device inputs) and epilogue (device outputs to model outputs) of a lowered graph."""

    prologue: Graph
    epilogue: Graph
    masked: bool
    tokens: int

    @staticmethod
    def of(graph: Graph, tokens: int) -> HostProgram:
        """Split a level-2 graph at the device's boundary."""
        prologue = graph.copy()
        outputs = device_inputs(graph)
        prologue.set_outputs({value.node: value for value in outputs})
        prologue.prune()
        epilogue = graph.copy()
        for node in graph:
            if isinstance(node.op, DeviceOutput):
                kind = node.type
                stand_in = epilogue.add(
                    f"{node.name}_from_device",
                    Input(node.op.key, TensorType(kind.shape, "int64", kind.scale, kind.zero_point)),
                )
                epilogue.replace_value(Value(node.name), stand_in)
        epilogue.prune()
        masked = any(
            len(node.inputs) == 2 for node in graph if isinstance(node.op, DeviceOutput)
        ) or _pooled_mask(graph)
        return HostProgram(prologue, epilogue, masked, tokens)

    def length(self, sample: Sample) -> int:
        """Tokens of a sample: the count of ones in `attention_mask`, or S."""
        return int(np.count_nonzero(sample[MASK_KEY])) if self.masked else self.tokens

    def before(self, sample: Sample) -> dict[str, Array]:
        """Device inputs by name."""
        return execute(self.prologue, sample)

    def after(self, device: Mapping[str, Array], sample: Sample) -> dict[str, Array]:
        """Model outputs by name, from device outputs by key (and model inputs that the epilogue reads)."""
        return execute(self.epilogue, {**sample, **device})


def _pooled_mask(graph: Graph) -> bool:
    return any(
        isinstance(n.op, Input)
        and n.op.key == MASK_KEY
        and any(u.op.name in ("pool", "attention") for u in graph.users(Value(n.name)))
        for n in graph
    )


def raw_outputs(graph: Graph) -> dict[str, str]:
    """For every model output that is a dequantised device output: its name and the device output's key."""
    found = {}
    for name, value in graph.outputs.items():
        node = graph.producer(value)
        while node.op.name in ("dequantize", "aten") and len(node.inputs) == 1:
            node = graph.producer(node.inputs[0])
        if isinstance(node.op, DeviceOutput):
            found[name] = node.op.key
    return found
