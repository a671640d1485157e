"""Physical channel order: where each logical channel of a tensor lies on chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir import Graph, Value
from flow.ops.attention import Attention
from flow.passes.fuse_steps import Step


@dataclass(frozen=True, eq=False)
class ChannelOrder:
    """`physical[c]` is the physical channel of logical channel c; `depth` words per bank, so `depth * B`
    physical channels."""

    physical: npt.NDArray[np.int64]
    depth: int
    pitch: int = 0
    """Physical channels between heads; 0 where the tensor has no heads."""


def natural(engine: Engine, channels: int) -> ChannelOrder:
    """Channel c at c, padded to whole words."""
    return ChannelOrder(np.arange(channels), engine.words(channels))


def by_head(engine: Engine, channels: int, heads: int) -> ChannelOrder:
    """Element i of head h at `h*pitch + i`, so that a head never straddles the banks of its neighbour."""
    width = channels // heads
    pitch = engine.head_pitch(width)
    channel = np.arange(channels)
    return ChannelOrder(channel // width * pitch + channel % width, engine.words(heads * pitch), pitch)


@dataclass(frozen=True)
class OrderChannels:
    """Attention's q, k, v and context are padded by head; every other tensor keeps its natural order.

    The order of a linear's input and output permutes its weight's columns and rows, nothing else.
    """

    engine: Engine

    def __call__(self, graph: Graph, steps: Sequence[Step]) -> Mapping[Value, ChannelOrder]:
        """The order of every tensor that a step reads or writes.

        Raises:
            UnsupportedError: a tensor belongs to two attentions with different heads.
        """
        orders: dict[Value, ChannelOrder] = {}
        owners: dict[Value, int] = {}
        for step in steps:
            op = step.nodes[0].op if step.nodes else None
            if not isinstance(op, Attention):
                continue
            for value in (*step.reads, *step.writes):
                if owners.setdefault(value, op.heads) != op.heads:
                    raise UnsupportedError(
                        f"{step.where}: found a tensor split into {owners[value]} and {op.heads} heads; "
                        "expected one number of heads"
                    )
                orders[value] = by_head(self.engine, graph.type_of(value).shape[1], op.heads)
        for step in steps:
            for value in (*step.reads, *step.writes):
                orders.setdefault(value, natural(self.engine, graph.type_of(value).shape[1]))
        return orders
