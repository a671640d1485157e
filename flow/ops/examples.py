"""Small level-2 graphs, one builder for each kind of step: what the operators' `examples()` are made of.

Each is `input(s) -> operator(s) -> output`, with seeded weights and scales chosen so that full-range random
inputs spread over the output's range and saturate it on both sides now and then.
"""

from __future__ import annotations

import math

import numpy as np

from flow import numerics
from flow.ir import Array, Graph, TensorType, Value
from flow.ops.add import ResidualAdd
from flow.ops.attention import Attention
from flow.ops.boundary import DeviceOutput
from flow.ops.constant import DeviceConstant
from flow.ops.float import FloatActivation
from flow.ops.linear import Linear
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.post import PostStage
from flow.ops.requantise import Requantise
from flow.ops.source import Input
from flow.ops.table import Table

MASK = "attention_mask"
SPREAD = 2.5
"""Standard deviations of a random result that reach the end of the output's range: about 1 % saturates."""
STEP = 2.0**-8
"""Real step of integer inputs; golden semantics never read it."""


def linear_graph(  # noqa: PLR0913  (independent choices, all by name)
    *,
    tokens: int,
    channels: int,
    rows: int,
    dtype: str = "int8",
    density: float = 1.0,
    weight_bits: int = 8,
    bits: int = 8,
    signed: bool = True,
    masked: bool = False,
) -> Graph:
    """x [tokens, channels] -> linear -> requantise to `bits` -> output."""
    graph = Graph(f"linear_{tokens}x{channels}x{rows}_{dtype}")
    x = _input(graph, "x", tokens, channels, dtype)
    linear, scale = _linear(graph, x, rows, density, weight_bits)
    low, high = numerics.limits(bits, signed)
    requantise = _requantise(scale, bits, signed, 0 if signed else (high + 1) // 2, (high - low) / 2)
    return _finish(graph, graph.add("y", requantise, [linear]), masked)


def table_graph(
    function: str,
    *,
    tokens: int,
    channels: int,
    rows: int,
    index_bits: int = 8,
    bits: int = 8,
    masked: bool = False,
) -> Graph:
    """x int8 [tokens, channels] -> linear -> requantise to an index over [-8, 8) -> table of `function` ->
    output."""
    graph = Graph(f"table_{function}_{index_bits}_{bits}")
    x = _input(graph, "x", tokens, channels, "int8")
    linear, scale = _linear(graph, x, rows, 1.0, 8)
    entries = 1 << index_bits
    index = graph.add("index", _requantise(scale, index_bits, False, entries // 2, entries / 2), [linear])
    real = FloatActivation(function).golden((np.arange(entries) - entries / 2) * (16.0 / entries))[0]
    # A little less than the function's range, so that the table itself reaches both ends.
    step = float(np.abs(real).max()) / (2 ** (bits - 1) - 1) * 0.99
    low, high = numerics.limits(bits, True)
    values = np.clip(np.rint(real / step), low, high).astype(np.int64)
    return _finish(graph, graph.add("y", Table(values, bits, True, step, 0, function), [index]), masked)


def stage_graph(stage: PostStage, *, tokens: int, channels: int, rows: int, masked: bool = False) -> Graph:
    """x int8 [tokens, channels] -> linear -> requantise to int16 -> a plug-in's stage -> output."""
    graph = Graph(f"stage_{stage.name}_{stage.bits}")
    x = _input(graph, "x", tokens, channels, "int8")
    linear, scale = _linear(graph, x, rows, 1.0, 8)
    narrow = graph.add("narrow", _requantise(scale, 16, True, 0, 32767.0), [linear])
    return _finish(graph, graph.add("y", stage, [narrow]), masked)


def residual_graph(*, tokens: int, channels: int, constant: bool = False, masked: bool = False) -> Graph:
    """x int8 -> linear -> + residual int16 (an input, or a constant of the device) -> output, all [tokens,
    channels]."""
    graph = Graph(f"residual_{tokens}x{channels}" + ("_constant" if constant else ""))
    x = _input(graph, "x", tokens, channels, "int8")
    linear, scale = _linear(graph, x, channels, 1.0, 8)
    if constant:
        table = _rng(graph).integers(-32767, 32768, (tokens, channels)).astype(np.int16)
        residual = graph.add("table", DeviceConstant(table, STEP))
    else:
        residual = _input(graph, "residual", tokens, channels, "int16")
    multiplier, shift = numerics.derive_scales(scale * 2.0**15)
    shared = numerics.derive_scale(0.75)
    add = ResidualAdd(multiplier, shift, shared.multiplier, shared.shift, STEP)
    return _finish(graph, graph.add("y", add, [linear, residual]), masked)


def norm_graph(
    *, tokens: int, channels: int, centred: bool = True, bits: int | tuple[int, ...] = 8, masked: bool = False
) -> Graph:
    """x int16 [tokens, channels] -> one norm for each of `bits` -> an output each."""
    graph = Graph(f"norm_{tokens}x{channels}")
    x = _input(graph, "x", tokens, channels, "int16")
    rng = _rng(graph)
    epsilon = numerics.norm_epsilon(1e-5, channels, STEP)
    widths = (bits,) if isinstance(bits, int) else bits
    for width in widths:
        weight, bias = rng.uniform(0.5, 1.5, channels), rng.uniform(-0.5, 0.5, channels)
        # Full-range inputs are uniform: normalised they end at sqrt(3).
        step = 1.5 / (2 ** (width - 1) - 1)
        gain, offset, shift = numerics.derive_norm(weight, bias, step, "example")
        name = f"y{width}"
        value = graph.add(name, Norm(centred, epsilon, gain, offset, shift, width, step), [x])
        _finish(graph, value, masked, f"out{width}")
    return graph


def attention_graph(
    *, tokens: int, heads: int, width: int, causal: bool = False, exp_bits: int = 8, masked: bool = False
) -> Graph:
    """x int8 [tokens, heads*width] -> linear and requantise to q, k and v -> attention -> output."""
    graph = Graph(f"attention_{tokens}x{heads}x{width}")
    x = _input(graph, "x", tokens, heads * width, "int8")
    operands = []
    for name in "qkv":
        linear, scale = _linear(graph, x, heads * width, 1.0, 8)
        operands.append(graph.add(name, _requantise(scale, 8, True, 0, 127.0), [linear]))
    # Random queries and keys give scores of 2 units' deviation (2^6 steps), so that neither one key nor all
    # take the whole sum.
    score = numerics.derive_scale(64.0 / ((127 / SPREAD) ** 2 * math.sqrt(width)))
    context = numerics.derive_scale(1.5 / 256)
    attention = Attention(
        heads, score.multiplier, score.shift, exp_bits, context.multiplier, context.shift, causal, STEP
    )
    inputs = operands + ([_mask(graph, tokens)] if masked else [])
    return _finish(graph, graph.add("y", attention, inputs), masked)


def pool_graph(*, tokens: int, channels: int, mean: bool, masked: bool = False) -> Graph:
    """x int16 [tokens, channels] -> mean or first token -> output int16 [1, channels]."""
    graph = Graph(f"pool_{tokens}x{channels}_{'mean' if mean else 'first'}")
    x = _input(graph, "x", tokens, channels, "int16")
    factor = math.sqrt(tokens) / 65536 if mean else 1.25
    scale = numerics.derive_scale(factor * 1.25 if mean else factor)
    inputs = [x, _mask(graph, tokens)] if masked else [x]
    value = graph.add("y", Pool(mean, scale.multiplier, scale.shift, 16, STEP), inputs)
    graph.set_output("out", graph.add("out", DeviceOutput("out"), [value]))
    return graph


def _rng(graph: Graph) -> np.random.Generator:
    """Random numbers that depend on the graph's name and size only."""
    return np.random.default_rng([*graph.name.encode(), len(graph)])


def _deviation(dtype: str) -> float:
    """Standard deviation of a uniform full-range integer."""
    return (2.0 ** (16 if dtype == "int16" else 8)) / math.sqrt(12)


def _input(graph: Graph, key: str, tokens: int, channels: int, dtype: str) -> Value:
    return graph.add(key, Input(key, TensorType((tokens, channels), dtype, STEP)))


def _mask(graph: Graph, tokens: int) -> Value:
    return Value(MASK) if MASK in graph else graph.add(MASK, Input(MASK, TensorType((1, tokens), "int64")))


def _finish(graph: Graph, value: Value, masked: bool, name: str = "out") -> Graph:
    mask = [_mask(graph, graph.type_of(value).shape[0])] if masked else []
    graph.set_output(name, graph.add(name, DeviceOutput(name), [value, *mask]))
    return graph


def _linear(graph: Graph, x: Value, rows: int, density: float, weight_bits: int) -> tuple[Value, Array]:
    """The accumulators of a random matrix, and per row the factor that makes their deviation 1 / SPREAD.

    An unsigned input keeps its mean, as a table's result would, with the zero point folded into the bias.
    """
    kind, rng = graph.type_of(x), _rng(graph)
    top = 2 ** (weight_bits - 1) - 1
    weight = rng.integers(-top, top + 1, (rows, kind.shape[1])).astype(np.int8)
    weight *= rng.random(weight.shape) < density
    deviation = _deviation(kind.dtype) * np.sqrt((weight.astype(np.float64) ** 2).sum(axis=1) + 1.0)
    middle = 0 if kind.signed else 1 << (kind.bits - 1)
    offset = rng.integers(-100, 101, rows) - middle * weight.astype(np.int64).sum(axis=1)
    return graph.add("acc", Linear(weight, offset, weight_bits), [x]), 1.0 / (SPREAD * deviation)


def _requantise(scale: Array, bits: int, signed: bool, zero: int, reach: float) -> Requantise:
    multiplier, shift = numerics.derive_scales(scale * reach)
    return Requantise(multiplier, shift, bits, signed, zero, STEP)
