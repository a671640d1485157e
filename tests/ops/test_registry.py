"""Every device operator on every one of its examples: golden against its own contract, against float arithmetic within
a derived rounding bound, and as a program on small engines of odd shapes, compiled from C++, bit for bit.

A new operator is tested here by its `examples()`; it only has to add its float meaning to `REFERENCES`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
import torch

import flow.ops  # noqa: F401  (fills the registry)
from flow.emit.lower import lay_out
from flow.engine import Engine
from flow.golden import execute
from flow.ir import REGISTRY, Array, Graph, Node
from flow.numerics import limits, softmax_numerators
from flow.ops.add import ResidualAdd
from flow.ops.attention import Attention
from flow.ops.boundary import DeviceOutput
from flow.ops.constant import DeviceConstant
from flow.ops.device import DeviceOp, Estimate
from flow.ops.examples import MASK
from flow.ops.linear import Linear
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.requantise import Requantise
from flow.ops.source import Input
from flow.ops.table import Table
from flow.sim import rtl
from flow.sim.cosim import Bench, Stalls
from flow.sim.kernel import Kernel, run_frames

# One token has no partner in a DSP; P = B leaves one bank group; H = B splits the adder tree to the leaves.
ENGINES = (
    Engine(1, 4, 1, 2, 1, beat_bytes=8, stream_bytes=4, sequence=11, depth=9, row_cycles=11, table_bits=10),
    Engine(8, 2, 2, 1, 2, beat_bytes=16, stream_bytes=8, sequence=9, depth=13, row_cycles=13, table_bits=10),
    Engine(4, 16, 4, 8, 4, beat_bytes=32, stream_bytes=16, sequence=13, depth=3, row_cycles=5, table_bits=11),
)
RANDOM = 48
OPERATORS = {name: op for name, op in REGISTRY.items() if issubclass(op, DeviceOp)}
CASES = [
    pytest.param(op, i, id=f"{name}-{graph.name}-{i}")
    for name, op in sorted(OPERATORS.items())
    for i, graph in enumerate(op.examples())
]

Sample = dict[str, Array]
Bounded = tuple[Array, Array | float]
"""What exact real arithmetic gives before saturation, and how far rounding may take the integers from it."""


def samples_of(graph: Graph) -> list[Sample]:
    """Random inputs over the whole type, then all zero, all highest, all lowest, and with a mask every length."""
    rng = np.random.default_rng([7, *graph.name.encode()])
    inputs = {n.op.key: n.op.type for n in graph if isinstance(n.op, Input)}
    tensors = {key: kind for key, kind in inputs.items() if key != MASK}
    bounds = {key: np.iinfo(kind.dtype) for key, kind in tensors.items()}
    samples: list[Sample] = [
        {key: rng.integers(bounds[key].min, bounds[key].max + 1, kind.shape) for key, kind in tensors.items()}
        for _ in range(RANDOM)
    ]
    samples += [{key: np.zeros(kind.shape, np.int64) for key, kind in tensors.items()}]
    samples += [{key: np.full(kind.shape, bounds[key].max, np.int64) for key, kind in tensors.items()}]
    samples += [{key: np.full(kind.shape, bounds[key].min, np.int64) for key, kind in tensors.items()}]
    if MASK in inputs:
        tokens = inputs[MASK].shape[1]
        for i, sample in enumerate(samples):
            sample[MASK] = (np.arange(tokens) < 1 + i % tokens).astype(np.int64)[None]
    return samples


# -- float references ----------------------------------------------------------------------------------------------


def linear(op: DeviceOp, x: Array) -> Bounded:
    assert isinstance(op, Linear)
    y = torch.nn.functional.linear(*(torch.from_numpy(a.astype(np.float64)) for a in (x, op.weight, op.bias)))
    return y.numpy(), 0.0  # integers below 2^53 are exact in float64


def requantise(op: DeviceOp, acc: Array) -> Bounded:
    assert isinstance(op, Requantise)
    return acc * op.multiplier * 2.0**-op.shift + op.zero, 0.5  # one rounding


def add(op: DeviceOp, acc: Array, residual: Array) -> Bounded:
    assert isinstance(op, ResidualAdd)
    real = acc * op.multiplier * 2.0**-op.shift + residual * (
        op.residual_multiplier * 2.0**-op.residual_shift
    )
    return real, 1.0  # two roundings


def table(op: DeviceOp, index: Array) -> Bounded:
    """The examples' index covers [-8, 8); an entry is a float32 value (2^-24 of it) rounded to the nearest step."""
    assert isinstance(op, Table)
    x = torch.from_numpy((index - len(op.values) / 2) * (16.0 / len(op.values)))
    real = torch.tanh(x) if op.function == "tanh" else torch.nn.functional.gelu(x)
    assert op.function in ("tanh", "gelu")
    exact = real.numpy() / op.scale
    return exact, 0.5 + np.abs(exact) * 2.0**-24


def norm(op: DeviceOp, x: Array) -> Bounded:
    """z has one rounding of half a step, a root too small by less than 1, and a reciprocal too small by 2^-15 of it."""
    assert isinstance(op, Norm)
    channels = x.shape[-1]
    real = torch.from_numpy(x.astype(np.float64))
    if op.centred:
        real = real - real.mean(dim=-1, keepdim=True)
    deviation = (real.square().mean(dim=-1, keepdim=True) + op.epsilon / channels**2).sqrt().numpy()
    z = real.numpy() / deviation * 2.0**12
    error = 0.5 + np.abs(z) * (2.0**-15 + 1.0 / np.maximum(channels * deviation - 1, 1))
    gain, unit = op.gain.astype(np.float64), 2.0**-op.shift
    return (z * gain + op.bias) * unit, np.abs(gain) * unit * error + 0.5


def attention(op: DeviceOp, q: Array, k: Array, v: Array, mask: Array | None = None) -> Bounded:
    """Numerators carry the scores' rounding (two halves of a step of 2^-5), the table's, and its end at 255 steps.

    With |e' - e| <= d for key j, the mean moves by sum_j d_j |v_j - y| / sum e'. The reciprocal adds 2^-15 of it, the 8
    fraction bits 2^-9, and the last rescale half a step.
    """
    assert isinstance(op, Attention)
    tokens, channels = q.shape
    heads = [x.reshape(tokens, op.heads, -1).transpose(1, 0, 2).astype(np.float64) for x in (q, k, v)]
    unit = op.score_multiplier * 2.0**-op.score_shift
    scores = heads[0] @ heads[1].transpose(0, 2, 1) * unit
    assert np.abs(scores).max() < 32767, "the reference knows no saturated scores"
    seen = (
        np.ones((tokens, tokens), bool)
        if mask is None
        else np.broadcast_to(mask != 0, (tokens, tokens)).copy()
    )
    if op.causal:
        seen &= np.tri(tokens, dtype=bool)
    query, key, value = (torch.from_numpy(x) for x in heads)
    real = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=torch.from_numpy(seen), scale=unit / 32
    ).numpy()
    top = np.where(seen, scores, -np.inf).max(axis=-1, keepdims=True)
    one = 2**op.exp_bits - 1
    exact = np.where(seen, np.exp((scores - top) / 32), 0.0) * one
    moved = np.where(seen, exact * math.expm1(1 / 32) + 0.5 + one * math.exp(-254 / 32), 0.0)
    total = softmax_numerators(np.floor(scores + 0.5).astype(np.int64), seen, op.exp_bits).sum(
        -1, keepdims=True
    )
    # |v_j - y| for every query, key and element would be large; |v_j| + |y| bounds it.
    spread = np.abs(heads[2]).max(axis=1, keepdims=True) + np.abs(real)
    error = moved.sum(-1, keepdims=True) * spread / total
    out = op.multiplier * 2.0**-op.shift * 256
    bound = (error + (np.abs(real) + error) * 2.0**-15 + 2.0**-9) * out + 0.5

    def merged(x: Array) -> Array:
        return x.transpose(1, 0, 2).reshape(tokens, channels)

    return merged(real * out), merged(np.broadcast_to(bound, real.shape))


def pool(op: DeviceOp, x: Array, mask: Array | None = None) -> Bounded:
    """floor(2^16/len) is too small by less than 1, which the sum multiplies."""
    assert isinstance(op, Pool)
    unit = op.multiplier * 2.0**-op.shift
    if not op.mean:
        return x[:1] * unit, 0.5
    length = len(x) if mask is None else int(mask.sum())
    mean = torch.from_numpy(x[:length].astype(np.float64)).mean(dim=0, keepdim=True).numpy()
    return mean * unit * 2.0**16, 0.5 + np.abs(mean) * length * unit


def output(_: DeviceOp, x: Array, mask: Array | None = None) -> Bounded:
    keep = np.ones(len(x)) if mask is None else mask.reshape(-1)
    return x * keep[:, None].astype(np.float64), 0.0


def constant(op: DeviceOp) -> Bounded:
    assert isinstance(op, DeviceConstant)
    return op.value.astype(np.float64), 0.0


REFERENCES: Mapping[type[DeviceOp], Callable[..., Bounded]] = {
    Attention: attention, DeviceConstant: constant, DeviceOutput: output, Linear: linear, Norm: norm, Pool: pool,
    Requantise: requantise, ResidualAdd: add, Table: table,
}  # fmt: skip
SATURATING = (Attention, Norm, Pool, Requantise, ResidualAdd)


def range_of(node: Node) -> tuple[int, int]:
    """What an operator saturates to."""
    op = node.op
    bits = getattr(op, "bits", 8 if isinstance(op, Attention) else 16)
    signed = op.signed if isinstance(op, (Requantise, Table)) else True
    return limits(bits, signed)


class Watch:
    """Checks every device operator as the golden model runs, and remembers what it has seen."""

    def __init__(self) -> None:
        self.seen: dict[str, set[int]] = defaultdict(set)
        self.checked = 0
        self._values: dict[str, Array] = {}

    def __call__(self, node: Node, results: tuple[Array, ...]) -> None:
        self._values[node.name] = np.asarray(results[0], np.int64)
        if not isinstance(node.op, DeviceOp):
            return
        y = self._values[node.name]
        assert y.shape == node.type.shape
        if not isinstance(node.op, Linear):
            info = np.iinfo(node.type.dtype)
            assert info.min <= y.min() <= y.max() <= info.max
        real, bound = REFERENCES[type(node.op)](node.op, *(self._values[v.node] for v in node.inputs))
        if isinstance(node.op, (*SATURATING, Table)):
            low, high = range_of(node)
            real = np.clip(real, low, high)
            self.seen[node.name] |= {int(y.min()), int(y.max())}
        error = np.abs(y - real)
        assert (error <= bound + 1e-9).all(), f"{node.name}: off by {error.max()}, allowed {np.max(bound)}"
        self.checked += 1


@cache
def kernel_of(engine: Engine) -> Kernel:
    return Kernel.of(engine)


@pytest.mark.parametrize(("operator", "example"), CASES)
def test_every_operator(operator: type[DeviceOp], example: int) -> None:
    """Golden in range, within rounding of float, saturating both ways, and equal to the C++ on every engine."""
    graph = operator.examples()[example]
    assert operator in {type(node.op) for node in graph}, "an example must hold its operator"
    samples, watch = samples_of(graph), Watch()
    expected = []
    for i, sample in enumerate(samples):
        expected.append(execute(graph, sample, watch))
        if i == RANDOM - 1:  # random stimulus alone must reach the corners
            for node in graph:
                if isinstance(node.op, SATURATING):
                    assert set(range_of(node)) <= watch.seen[node.name], (
                        f"{node.name} never saturates both ways"
                    )
    assert watch.checked == len(samples) * sum(isinstance(node.op, DeviceOp) for node in graph)

    for engine in ENGINES:
        program = lay_out(graph, engine).program
        lengths = [int(s[MASK].sum()) if MASK in s else program.tokens for s in samples]
        frames = [program.frame(s, length) for s, length in zip(samples, lengths, strict=True)]
        replies = run_frames(program, frames, lengths, kernel_of(engine))
        assert len(replies) == len(samples)
        for reply, length, golden in zip(replies, lengths, expected, strict=True):
            found = program.read_frame(reply, length)
            assert set(found) == set(golden)
            for name, tensor in golden.items():
                np.testing.assert_array_equal(found[name], tensor, err_msg=f"{engine}: {name}")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: f"{e.tokens}x{e.banks}x{e.rows}")
def test_every_operator_in_verilog(engine: Engine) -> None:
    """Each example on the Verilog engine, at rest and under stalls, bit for bit; samples at both ends, and lengths."""
    compared = 0
    for operator in OPERATORS.values():
        for index, graph in enumerate(operator.examples()):
            samples = samples_of(graph)[RANDOM - 3 :]
            program = lay_out(graph, engine).program
            lengths = [int(s[MASK].sum()) if MASK in s else program.tokens for s in samples]
            frames = [program.frame(s, length) for s, length in zip(samples, lengths, strict=True)]
            stalls = Stalls(0.4, 0.4, 0.3, 15) if index % 2 else Stalls(0, 0, 0, 20)
            replies = rtl.run_program(program, frames, Bench(index, stalls, rtl.PATIENCE))
            for sample, reply, length in zip(samples, replies, lengths, strict=True):
                found = program.read_frame(reply, length)
                for name, tensor in execute(graph, sample).items():
                    np.testing.assert_array_equal(found[name], tensor, err_msg=f"{graph.name}: {name}")
                    compared += tensor.size
    assert compared > 6 * len(CASES) * 10


def test_every_operator_has_a_float_meaning() -> None:
    """An operator without a reference would pass on silence."""
    assert set(REFERENCES) == set(OPERATORS.values())
    assert len(CASES) >= 15


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: f"{e.tokens}x{e.banks}x{e.rows}")
def test_no_operator_is_free(operator: type[DeviceOp], engine: Engine) -> None:
    """An estimate that is zero is a defect: each stage has hardware, and more of it on a larger engine."""
    small, large = operator.hardware(engine), operator.hardware(Engine(16, 32, 16, 16, 8, 64, 64))
    # Flow's own stages are terms of the Verilog engine's blocks; what a unit costs is calibrated.
    assert small.terms
    assert all(term.amount >= 0 for term in small.terms)
    assert {(t.block, t.name) for t in large.terms} == {(t.block, t.name) for t in small.terms}
    assert sum(t.amount for t in large.terms) > sum(t.amount for t in small.terms) > 0
    fields = {"cycles", "fetch", "load", "lag", "macs", "bound", "resources", "feed"}
    assert set(Estimate.__dataclass_fields__) == fields
