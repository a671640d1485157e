"""Refuse, in one message, everything that the device cannot run."""

from __future__ import annotations

from dataclasses import dataclass

from flow.errors import UnsupportedError, raise_all
from flow.ir import Graph, Node, Value
from flow.ops import aten_numpy
from flow.ops.aten import Aten
from flow.ops.source import Input
from flow.passes.movement import is_movement
from flow.passes.regions import device_values

ADVICE = {
    "aten._transformer_encoder_layer_fwd.default": (
        "export with strict=False and torch.backends.mha.set_fastpath_enabled(False)"
    ),
    "aten.conv2d.default": "use a patch embedding whose stride equals its kernel, without padding, dilation or groups",
    "aten.conv1d.default": "express it as a linear layer",
    "aten.batch_norm.default": "fold it into the layer before it",
    "aten.lstm.input": "use a transformer encoder",
}
COMPUTE = frozenset(
    {
        "aten.conv1d.default",
        "aten.conv2d.default",
        "aten.conv3d.default",
        "aten.convolution.default",
        "aten.batch_norm.default",
        "aten._transformer_encoder_layer_fwd.default",
        "aten._native_multi_head_attention.default",
    }
)
"""Raw operators that belong on the device wherever they stand."""


@dataclass(frozen=True)
class CheckSupported:
    """After recognition: raw operators may stand before the device's first operator or after its last one,
    nowhere else.

    Lists every other one with its module path and what to do, arithmetic first: movement is often left over only
    because an operator next to it was not recognised. Rewrites nothing.
    """

    def __call__(self, graph: Graph) -> Graph:
        device = device_values(graph)
        above = _feeds_device(graph)
        faults: list[str] = []
        moves: list[str] = []
        for node in graph:
            op = node.op
            if not isinstance(op, Aten):
                continue
            if op.target in COMPUTE or (node.name in device and node.name in above):
                place = "between device operators" if op.target not in COMPUTE else "on the device"
                (moves if is_movement(node) else faults).append(self._line(node, place))
            elif op.target not in aten_numpy.TABLE:
                faults.append(self._line(node, "on the host"))
        faults += moves
        summary = f"{graph.name}: found {len(faults)} operations that flow cannot lower"
        raise_all(UnsupportedError, summary, [*_batches(graph), *faults] if faults else [])
        if not any(node.op.name == "float.linear" for node in graph):
            raise UnsupportedError(f"{graph.name}: found no linear layer; expected a transformer")
        return graph

    def _line(self, node: Node, place: str) -> str:
        assert isinstance(node.op, Aten)
        movement = "a rearrangement of tokens or channels that is not head splitting, batch dropping or patch cutting"
        advice = ADVICE.get(
            node.op.target,
            movement if is_movement(node) else "replace it by one of the operators in docs/operators.md",
        )
        return f"{node.module or node.name}: {node.op.target} {place}; {advice}"


def _batches(graph: Graph) -> list[str]:
    """A line for each input that seems to hold more than one sample: a frequent cause of everything else."""
    types = {n.op.key: n.op.type for n in graph if isinstance(n.op, Input)}
    return [
        f"input {key}: found {kind.shape[0]} along its first axis; if that is the batch, export with a batch of 1"
        for key, kind in types.items()
        if len(kind.shape) > (2 if kind.is_float else 1)
        and kind.shape[0] > 1  # [S, C] is one sample without a batch
    ]


def _feeds_device(graph: Graph) -> set[str]:
    """Nodes that some device operator depends on."""
    found: set[str] = set()
    for node in reversed(list(graph)):
        users = [u for i in range(len(node.types)) for u in graph.users(Value(node.name, i))]
        if any(u.name in found or u.op.name.startswith("float.") for u in users):
            found.add(node.name)
    return found
