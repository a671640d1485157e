"""Integer transformer encoders of any size, as `flow lower` would make them, without a model file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flow.emit.lower import LowerOptions, integerise, read_model
from flow.formats.synthetic import Hierarchy, random_hp, random_weights
from flow.ir import Array, Graph, TensorType, Value
from flow.ops import Attention, DeviceOutput, Input, Linear, Norm, Requantise, ResidualAdd, Table

MODELS = Path(__file__).resolve().parents[2] / "models"
STEP = 0.01


class Encoder:
    """Pre-norm layers of attention and a GELU network on an int16 residual stream; weights dense, or HP on `banks`."""

    def __init__(self, width: int, heads: int, hidden: int, banks: int = 0, density: float = 1.0) -> None:
        self.width, self.heads, self.hidden, self.banks, self.density = width, heads, hidden, banks, density
        self._rng = np.random.default_rng(5)
        self._graph = Graph("encoder")

    def build(self, layers: int, tokens: int) -> Graph:
        graph, width = self._graph, self.width
        x = graph.add("x", Input("x", TensorType((tokens, width), "int16", STEP)))
        for layer in range(layers):
            x = self._layer(x, f"layer{layer}")
        graph.set_output("out", graph.add("out", DeviceOutput("out"), [x]))
        return graph

    def _layer(self, x: Value, stem: str) -> Value:
        graph = self._graph
        normal = self._norm(x, f"{stem}_norm1")
        q, k, v = (
            self._requantise(self._linear(normal, self.width, f"{stem}_{s}"), f"{stem}_{s}") for s in "qkv"
        )
        op = Attention(self.heads, 20000, 18, 8, 20000, 20, False, STEP)
        context = graph.add(f"{stem}_attention", op, [q, k, v])
        x = self._add(self._linear(context, self.width, f"{stem}_out"), x, f"{stem}_sum1")
        inner = self._linear(self._norm(x, f"{stem}_norm2"), self.hidden, f"{stem}_up")
        table = Table(np.arange(256) - 128, 8, True, STEP, 0, "gelu")
        hidden = graph.add(f"{stem}_gelu", table, [self._requantise(inner, f"{stem}_index", signed=False)])
        return self._add(self._linear(hidden, self.width, f"{stem}_down"), x, f"{stem}_sum2")

    def _weights(self, rows: int, columns: int) -> Array:
        if not self.banks:
            return random_weights(self._rng, (rows, columns), 8)
        kept = Hierarchy.nearest(columns // self.banks, self.density)
        return random_hp(self._rng, rows, columns, banks=self.banks, block_rows=16, hierarchy=kept)

    def _linear(self, x: Value, rows: int, stem: str) -> Value:
        columns = self._graph.type_of(x).shape[1]
        return self._graph.add(
            f"{stem}_acc", Linear(self._weights(rows, columns), np.zeros(rows, np.int64)), [x]
        )

    def _requantise(self, acc: Value, stem: str, signed: bool = True) -> Value:
        rows = self._graph.type_of(acc).shape[1]
        op = Requantise(np.full(rows, 20000), np.full(rows, 24), 8, signed, 0, STEP)
        return self._graph.add(stem, op, [acc])

    def _add(self, acc: Value, x: Value, stem: str) -> Value:
        op = ResidualAdd(np.full(self.width, 20000), np.full(self.width, 24), 20000, 15, STEP)
        return self._graph.add(stem, op, [acc, x])

    def _norm(self, x: Value, stem: str) -> Value:
        gain, bias = np.full(self.width, 100), np.zeros(self.width, np.int64)
        return self._graph.add(stem, Norm(True, 100, gain, bias, 12, 8, STEP), [x])


Digits = Callable[[str], Graph]


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The bundled model `dense` or `hp80` as an integer graph."""
    graphs: dict[str, Graph] = {}

    def graph(name: str) -> Graph:
        if name not in graphs:
            graphs[name] = integerise(read_model(MODELS / f"digits_vit_{name}.pt2"), LowerOptions())
        return graphs[name]

    return graph


@pytest.fixture(scope="session")
def encoder() -> Callable[..., Graph]:
    """`encoder(layers, tokens, width, heads, hidden, banks=0, density=1.0)`."""

    def build(layers: int, tokens: int, *sizes: int, banks: int = 0, density: float = 1.0) -> Graph:
        width, heads, hidden = sizes
        return Encoder(width, heads, hidden, banks, density).build(layers, tokens)

    return build
