"""Tiny graphs by hand, and what a pass made of them as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flow.golden import execute
from flow.ir import Array, Graph, Op, TensorType, Value, print_graph
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatActivation, FloatAdd, FloatAttention, FloatLinear, FloatNorm
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant, Input
from flow.passes.base import Pass, run_passes


class Builder:
    """Grows a graph; values are random but seeded, so that before and after can be compared by running them."""

    def __init__(self, name: str = "tiny") -> None:
        self.graph = Graph(name)
        self.rng = np.random.default_rng(0)

    def input(self, key: str, *shape: int, dtype: str = "float32") -> Value:
        return self.graph.add(key, Input(key, TensorType(shape, dtype)))

    def constant(self, stem: str, *shape: int, dtype: str = "float32") -> Value:
        return self.held(stem, self.rng.normal(size=shape).astype(dtype))

    def held(self, stem: str, array: Any, dtype: str | None = None) -> Value:
        return self.graph.add(stem, Constant(np.asarray(array, dtype), stem))

    def add(self, stem: str, op: Op, *inputs: Value, module: str = "") -> Value:
        return self.graph.add(stem, op, inputs, module)

    def aten(
        self,
        target: str,
        shape: tuple[int, ...],
        /,
        *,
        module: str = "",
        dtype: str = "float32",
        results: int = 1,
        **arguments: Any,
    ) -> Value:
        """A raw operator; a Value among the arguments becomes an operand, a trailing `_` of a name goes."""
        inputs: list[Value] = []

        def referred(value: Any) -> Any:
            if isinstance(value, Value):
                inputs.append(value)
                return Ref(len(inputs) - 1)
            return tuple(referred(v) for v in value) if isinstance(value, (tuple, list)) else value

        named = {key.rstrip("_"): referred(value) for key, value in arguments.items()}
        stem = target.split(".")[1]
        return self.graph.add(
            stem, Aten(target, named, (TensorType(shape, dtype),) * results), inputs, module
        )

    def output(self, value: Value, name: str = "output") -> Graph:
        self.graph.set_output(name, value)
        return self.graph

    # -- level 1 ---------------------------------------------------------------------------------------------------

    def qdq(
        self, value: Value, scale: float, low: int = -127, high: int = 127, zero: int = 0, *, module: str = ""
    ) -> Value:
        """A pair on an activation: int8 unless the limits say otherwise."""
        dtype = "int8" if -129 < low <= high < 128 else "uint8" if low == 0 and high == 255 else "int16"
        parameters = (np.array(scale), np.array(zero), low, high, dtype)
        q = self.add(f"{value.node}_q", Quantize(*parameters), value, module=module)
        return self.add(f"{value.node}_dq", Dequantize(*parameters), q, module=module)

    def wide(self, value: Value, scale: float = 2.0**-10, module: str = "") -> Value:
        """An int16 pair."""
        return self.qdq(value, scale, -32767, 32767, module=module)

    def weight(self, stem: str, rows: int, columns: int) -> Value:
        """An int8 matrix with a scale per row."""
        q = self.held(f"{stem}_weight_q", self.rng.integers(-127, 128, (rows, columns)), "int8")
        scale = np.full(rows, 2.0**-8)
        return self.add(
            f"{stem}_weight", Dequantize(scale, np.zeros(rows, np.int64), -127, 127, "int8", 0), q
        )

    def linear(self, stem: str, x: Value, rows: int, *, bias: bool = True) -> Value:
        columns = self.graph.type_of(x).shape[1]
        extra = [self.constant(f"{stem}_bias", rows)] if bias else []
        return self.add(stem, FloatLinear(), x, self.weight(stem, rows, columns), *extra, module=stem)

    def norm(self, stem: str, x: Value, *, eps: float = 1e-5) -> Value:
        channels = self.graph.type_of(x).shape[1]
        weight, bias = self.constant(f"{stem}_weight", channels), self.constant(f"{stem}_bias", channels)
        return self.add(stem, FloatNorm(eps), x, weight, bias, module=stem)


def block(mask: bool = False, tokens: int = 6, width: int = 12, heads: int = 3, hidden: int = 8) -> Graph:
    """A pre-norm encoder block with its QDQ as the number contract wants it."""
    b = Builder("block")
    x = b.input("x", tokens, width)
    extra = [b.input("attention_mask", 1, tokens, dtype="int64")] if mask else []
    stream = b.wide(b.linear("embed", b.qdq(x, 2.0**-5), width))
    normed = b.qdq(b.norm("norm1", stream), 2.0**-5)
    q, k, v = (b.qdq(b.linear(name, normed, width), 2.0**-5) for name in "qkv")
    attention = b.add("attention", FloatAttention(heads, 0.5), q, k, v, *extra, module="attention")
    add = b.add("add1", FloatAdd(), b.linear("out", b.qdq(attention, 2.0**-5), width), stream, module="add1")
    stream = b.wide(add)
    up = b.linear("up", b.qdq(b.norm("norm2", stream), 2.0**-5), hidden)
    gelu = b.add("gelu", FloatActivation("gelu"), b.qdq(up, 2.0**-6, 0, 255, 100), module="gelu")
    down = b.linear("down", b.qdq(gelu, 2.0**-6, 0, 255, 20), width, bias=False)
    return b.output(b.wide(b.add("add2", FloatAdd(), stream, down, module="add2")))


def text(graph: Graph) -> str:
    """Printed, without the constants and the inputs."""
    lines = print_graph(graph).splitlines()
    return "\n".join(line for line in lines if " = constant(" not in line and " = input(" not in line) + "\n"


def rewrite(graph: Graph, *passes: Pass) -> str:
    """Before and after, as text; the argument stays as it was, and both compute the same."""
    before = text(graph)
    after = run_passes(graph, passes)
    assert text(graph) == before, "the pass changed its argument"
    compare(graph, after)
    return f"{before}\n{text(after)}"


def compare(before: Graph, after: Graph, tolerance: float = 1e-5) -> None:
    """Both graphs on the same random inputs; a mask runs through all lengths."""
    for inputs in _inputs(before):
        wanted, found = execute(before, inputs), execute(after, inputs)
        assert wanted.keys() == found.keys()
        rows = int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else None
        for name, value in wanted.items():
            real, got = (_rows(a, rows, inputs.get("attention_mask")) for a in (value, found[name]))
            assert real.shape == got.shape
            np.testing.assert_allclose(
                got, real, rtol=0, atol=tolerance * max(1.0, float(np.abs(real).max()))
            )


def _rows(array: Array, rows: int | None, mask: Array | None) -> Array:
    """The rows of real tokens."""
    if rows is None or mask is None or mask.shape[1] not in array.shape:
        return array
    return np.take(array, np.arange(rows), axis=array.shape.index(mask.shape[1]))


def _inputs(graph: Graph) -> Iterator[Mapping[str, Array]]:
    rng = np.random.default_rng(1)
    kinds = {n.op.key: n.op.type for n in graph if isinstance(n.op, Input)}
    tokens = kinds["attention_mask"].shape[1] if "attention_mask" in kinds else 1
    for length in range(1, tokens + 1):
        sample: dict[str, Array] = {}
        for key, kind in kinds.items():
            if key == "attention_mask":
                sample[key] = (np.arange(tokens) < length).astype(kind.dtype).reshape(kind.shape)
            elif kind.is_float:
                sample[key] = rng.normal(size=kind.shape).astype(kind.dtype)
            else:
                sample[key] = rng.integers(0, 4, kind.shape).astype(kind.dtype)
        yield sample
