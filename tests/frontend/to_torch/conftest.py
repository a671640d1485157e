"""Small graphs with every level-1 operator, and the ways to run them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flow.frontend.pt2 import read_pt2
from flow.frontend.to_torch import to_module, write_pt2
from flow.ir import Array, Graph, Op, TensorType, Value, verify
from flow.ops.aten import reshape
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
    FloatScale,
)
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant, Input

S, C, HEADS, HIDDEN = 7, 60, 5, 84


class Build:
    """A graph under construction, with seeded weights."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph("test")
        self.rng = np.random.default_rng(seed)

    def input(self, key: str, shape: tuple[int, ...], dtype: str = "float32") -> Value:
        return self.graph.add(key, Input(key, TensorType(shape, dtype)))

    def constant(self, value: Array, key: str = "") -> Value:
        return self.graph.add(key or "constant", Constant(value, key))

    def random(self, *shape: int, key: str = "", mean: float = 0.0) -> Value:
        return self.constant((self.rng.normal(mean, 0.3, shape)).astype(np.float32), key)

    def op(self, op: Op, *inputs: Value, module: str = "") -> Value:
        return self.graph.add(op.name, op, inputs, module)

    def qdq(
        self, x: Value, scale: float, qmin: int, qmax: int, dtype: str, zero: int = 0, module: str = ""
    ) -> Value:
        spec = (np.array(scale), np.array(zero), qmin, qmax, dtype)
        return self.op(Dequantize(*spec), self.op(Quantize(*spec), x, module=module), module=module)

    def linear(self, x: Value, rows: int, module: str, quantized: bool = False, bias: bool = True) -> Value:
        columns = self.graph.type_of(x).shape[1]
        if quantized:
            codes = self.rng.integers(-127, 128, (rows, columns)).astype(np.int8)
            scales = self.rng.uniform(0.001, 0.004, rows).astype(np.float32).astype(np.float64)
            spec = Dequantize(scales, np.zeros(rows, np.int64), -127, 127, "int8", axis=0)
            weight = self.op(spec, self.constant(codes, f"{module}.weight"), module=module)
        else:
            weight = self.random(rows, columns, key=f"{module}.weight")
        operands = [x, weight] + ([self.random(rows, key=f"{module}.bias")] if bias else [])
        return self.op(FloatLinear(), *operands, module=module)

    def norm(self, x: Value, module: str, centred: bool = True) -> Value:
        weight, bias = self.random(C, key=f"{module}.weight", mean=1.0), self.random(C, key=f"{module}.bias")
        return self.op(FloatNorm(0.01, centred), x, weight, bias, module=module)


class Models:
    """Builders of graphs, and comparisons."""

    Build = Build
    S, C = S, C

    FLOAT = 2e-5
    """Bound between numpy and torch in float32 for results of order 1: 84 terms, 20 operators, 2^-24 each."""

    @staticmethod
    def encoder(quantized: bool, masked: bool = True, causal: bool = False) -> Graph:
        """A pre-norm layer with mean pooling and a head, with every level-1 operator in it."""
        b = Build()
        src = b.input("src", (1, S, C))
        mask = [b.input("attention_mask", (1, S), "int64")] if masked else []
        x = b.op(reshape((S, C), b.graph.type_of(src)), src)
        x = b.op(FloatAdd(), x, b.random(S, C, key="positions"))
        layer = "encoder.layers.0"
        y = b.norm(x, f"{layer}.norm1")
        y = b.op(FloatScale(), y, b.random(C, mean=1.0), module=f"{layer}.norm1")
        if quantized:
            y = b.qdq(y, 0.02, -127, 127, "int8")
        q, k, v = (
            b.linear(y, C, f"{layer}.self_attn.{part}", quantized) for part in ("query", "key", "value")
        )
        y = b.op(FloatAttention(HEADS, 0.31, causal), q, k, v, *mask, module=f"{layer}.self_attn")
        y = b.linear(y, C, f"{layer}.self_attn.out_proj", quantized)
        x = b.op(FloatAdd(), x, y, module=layer)
        if quantized:
            x = b.qdq(x, 2.0**-12, -32767, 32767, "int16", module=layer)
        y = b.linear(b.norm(x, f"{layer}.norm2"), HIDDEN, f"{layer}.linear1", quantized)
        y = b.op(FloatActivation("gelu"), y, module=layer)
        if quantized:
            y = b.qdq(y, 2.0**-5, -128, 127, "int8", zero=-100, module=layer)
        x = b.op(FloatAdd(), x, b.linear(y, C, f"{layer}.linear2", quantized, bias=False), module=layer)
        b.graph.set_output("hidden", x)
        pooled = b.op(FloatPool("mean"), x, *mask)
        b.graph.set_output("logits", b.linear(pooled, 4, "head", quantized))
        verify(b.graph)
        return b.graph

    @staticmethod
    def digits_sized() -> Graph:
        """Four layers, 64 wide, FFN 256, int8 weights: the size of the bundled digits models."""
        b = Build()
        src = b.input("src", (1, 16, 64))
        x = b.op(reshape((16, 64), b.graph.type_of(src)), src)
        for i in range(4):
            layer = f"encoder.layers.{i}"
            q, k, v = (
                b.linear(b.qdq(x, 0.02, -127, 127, "int8"), 64, f"{layer}.self_attn.{p}", True) for p in "qkv"
            )
            y = b.op(
                FloatAttention(4, 0.25), *(b.qdq(t, 0.02, -127, 127, "int8") for t in (q, k, v)), module=layer
            )
            y = b.linear(b.qdq(y, 0.02, -127, 127, "int8"), 64, f"{layer}.self_attn.out_proj", True)
            x = b.qdq(b.op(FloatAdd(), x, y, module=layer), 0.001, -32767, 32767, "int16")
            y = b.linear(b.qdq(x, 0.02, -127, 127, "int8"), 256, f"{layer}.linear1", True)
            y = b.op(FloatActivation("gelu"), b.qdq(y, 0.02, -128, 127, "int8", 20), module=layer)
            y = b.linear(b.qdq(y, 0.02, -128, 127, "int8", -100), 64, f"{layer}.linear2", True)
            x = b.qdq(b.op(FloatAdd(), x, y, module=layer), 0.001, -32767, 32767, "int16")
        b.graph.set_output("logits", x)
        return b.graph

    @staticmethod
    def sample(graph: Graph, length: int = 5, seed: int = 1) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        ops = [node.op for node in graph if isinstance(node.op, Input)]
        values: dict[str, Array] = {op.key: rng.normal(0, 1, op.type.shape).astype(np.float32) for op in ops}
        if "attention_mask" in values:
            values["attention_mask"] = (np.arange(S)[None] < length).astype(np.int64)
        return values

    @staticmethod
    def run(graph: Graph, inputs: dict[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            outputs = to_module(graph)(**{key: torch.from_numpy(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    @staticmethod
    def assert_close(found: dict[str, Array], expected: dict[str, Array], tolerance: float = 2e-5) -> None:
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert found[key].shape == value.shape
            assert np.abs(value).max() > 0.1
            assert np.abs(found[key] - value).max() <= tolerance * max(1.0, float(np.abs(value).max()))

    @staticmethod
    def there_and_back(graph: Graph, directory: Path) -> Graph:
        write_pt2(graph, directory / "model.pt2")
        again = read_pt2(directory / "model.pt2")
        verify(again)
        return again


@pytest.fixture
def models() -> type[Models]:
    """Graphs to send to torch and back."""
    return Models
