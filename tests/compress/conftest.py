"""Random float transformers at level 1, built by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from flow.ir import Array, Graph, TensorType, Value, verify
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
)
from flow.ops.source import Constant, Input


@dataclass(frozen=True)
class Shape:
    """What to build: the defaults are a small pre-norm encoder on float inputs."""

    tokens: int = 12
    width: int = 32
    heads: int = 2
    hidden: int = 64
    layers: int = 2
    pre_norm: bool = True
    bias: bool = True
    activation: str = "gelu"
    mask: bool = False
    patches: bool = False
    pool: str | None = None
    pooler: bool = False
    causal: bool = False
    seed: int = 0


class Builder:
    """Adds layers with random weights of the size that training starts from."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.graph, self.rng = shape, Graph("random"), np.random.default_rng(shape.seed)
        self.mask = (
            self.add("attention_mask", Input("attention_mask", TensorType((1, shape.tokens), "int64")))
            if shape.mask
            else None
        )

    def add(self, stem: str, op: object, *inputs: Value) -> Value:
        return self.graph.add(stem, op, inputs, module=stem)  # type: ignore[arg-type]

    def constant(self, stem: str, array: Array) -> Value:
        return self.add(stem, Constant(np.asarray(array, np.float32), stem))

    def linear(self, stem: str, x: Value, outputs: int) -> Value:
        inputs = self.graph.type_of(x).shape[1]
        operands = [x, self.constant(f"{stem}.weight", self.rng.normal(0, inputs**-0.5, (outputs, inputs)))]
        if self.shape.bias:
            operands.append(self.constant(f"{stem}.bias", self.rng.normal(0, 0.1, outputs)))
        return self.add(stem, FloatLinear(), *operands)

    def norm(self, stem: str, x: Value) -> Value:
        width = self.graph.type_of(x).shape[1]
        weight = self.constant(f"{stem}.weight", np.exp(self.rng.normal(0, 0.3, width)))
        return self.add(
            stem, FloatNorm(1e-5), x, weight, self.constant(f"{stem}.bias", self.rng.normal(0, 0.1, width))
        )

    def attention(self, stem: str, x: Value) -> Value:
        s = self.shape
        qkv = [self.linear(f"{stem}.{name}", x, s.width) for name in "qkv"]
        operands = [*qkv, self.mask] if self.mask is not None else qkv
        context = self.add(stem, FloatAttention(s.heads, (s.width // s.heads) ** -0.5, s.causal), *operands)
        return self.linear(f"{stem}.out", context, s.width)

    def feed_forward(self, stem: str, x: Value) -> Value:
        hidden = self.add(
            f"{stem}.act",
            FloatActivation(self.shape.activation),
            self.linear(f"{stem}.fc1", x, self.shape.hidden),
        )
        return self.linear(f"{stem}.fc2", hidden, self.shape.width)

    def layer(self, stem: str, x: Value) -> Value:
        for name, branch in ((f"{stem}.attn", self.attention), (f"{stem}.ffn", self.feed_forward)):
            if self.shape.pre_norm:
                x = self.add(f"{name}.add", FloatAdd(), branch(name, self.norm(f"{name}.norm", x)), x)
            else:
                x = self.norm(f"{name}.norm", self.add(f"{name}.add", FloatAdd(), x, branch(name, x)))
        return x

    def build(self) -> Graph:
        s = self.shape
        x = self.add("x", Input("x", TensorType((s.tokens, 9 if s.patches else s.width), "float32")))
        if s.patches:
            table = self.constant("position", self.rng.normal(0, 0.3, (s.tokens, s.width)))
            x = self.add("embed", FloatAdd(), self.linear("patch", x, s.width), table)
        for i in range(s.layers):
            x = self.layer(f"layers.{i}", x)
        if s.pre_norm:
            x = self.norm("final", x)
        if s.pool is not None:
            x = self.add(
                "pool",
                FloatPool(s.pool),
                *([x, self.mask] if self.mask is not None and s.pool == "mean" else [x]),
            )
        if s.pooler:
            x = self.add("pooler.tanh", FloatActivation("tanh"), self.linear("pooler", x, s.width))
            x = self.linear("head", x, 16)
        self.graph.set_output("out", x)
        verify(self.graph)
        return self.graph


@pytest.fixture
def transformer() -> Callable[..., Graph]:
    """`transformer(**fields of Shape)` builds the float graph."""
    return lambda **fields: Builder(Shape(**fields)).build()


@pytest.fixture
def samples() -> Callable[..., list[dict[str, Array]]]:
    """`samples(graph, count, seed=0)`: normal inputs; lengths from 1 to S where there is a mask."""

    def draw(graph: Graph, count: int, seed: int = 0) -> list[dict[str, Array]]:
        rng = np.random.default_rng(seed)
        shape = graph["x"].type.shape
        drawn: list[dict[str, Array]] = []
        for i in range(count):
            sample: dict[str, Array] = {"x": rng.normal(size=shape).astype(np.float32)}
            if "attention_mask" in graph:
                length = shape[0] if i == 0 else 1 if i == 1 else int(rng.integers(1, shape[0] + 1))
                sample["attention_mask"] = (np.arange(shape[0]) < length).astype(np.int64)[None]
                sample["x"][length:] = 1e3  # what padding holds must not matter
            drawn.append(sample)
        return drawn

    return draw
