"""How far each integer step may be from the float evaluation of the same QDQ graph.

The level-1 graph is evaluated one Quantize at a time, from the *integer* model's own operands
(dequantised), so that errors do not add up from step to step: what remains is the rounding of one step,
which the number contract bounds. Everything is in units of the result's step ("LSB"). Notation: `y` the
ideal result in LSB before clipping, `M` the real factor of a requantisation.

Two facts carry all derivations:

- *requantisation*: `derive_scale` rounds a mantissa in [2^14, 2^15) to an integer, so the factor is wrong
  by at most half a unit in 2^14, a relative 2^-15; `rescale` rounds half up, at most 1/2. Hence
  `|rescale(a) - a*M| <= 1/2 + 2^-15 |a*M|`.
- *saturation* clips both the integer and the ideal result to one interval, and clipping never increases a
  distance.

The ideal is evaluated in float64, except that float operators return float32: a relative 2^-22 covers that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.golden import execute
from flow.ir import Array, Graph, Node, Value
from flow.numerics import EXP_ENTRIES, SCORE_STEP_LOG2
from flow.ops.add import ResidualAdd
from flow.ops.attention import Attention
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
    FloatScale,
)
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.quant import Dequantize, Quantize
from flow.ops.requantise import Requantise
from flow.ops.source import Constant, Input
from flow.ops.table import Table

Real = npt.NDArray[np.float64]

CLOSING = (Requantise, ResidualAdd, Table, Norm, Attention, Pool)
"""Integer operators that end a step's arithmetic: each of them is compared."""
FACTOR = 2.0**-15
"""Relative error of a multiplier and of a truncated reciprocal."""
SINGLE = 2.0**-22
SCORE_LIMIT = 2.0**15 - 1


@dataclass(frozen=True)
class Checked:
    """One step of one sample: its operator, the largest error in LSB, and the largest error as a share of
    its bound."""

    name: str
    kind: str
    error: float
    share: float
    saturated: int

    @property
    def holds(self) -> bool:
        """Whether every element is within its bound."""
        return self.share <= 1.0


def check_steps(reference: Graph, graph: Graph, sample: Mapping[str, Array], length: int) -> list[Checked]:
    """Every step of an integer graph against its QDQ graph, on one sample with `length` real tokens."""
    integers: dict[str, Array] = {}

    def keep(node: Node, results: tuple[Array, ...]) -> None:
        integers[node.name] = results[0]

    execute(graph, sample, keep)
    found = []
    for node in reference:
        name = node.name if node.name in graph else f"{node.name}_wide"
        if isinstance(node.op, Quantize) and name in graph and isinstance(graph[name].op, CLOSING):
            step = _Step(reference, graph, integers, sample, node, graph[name])
            found.append(step.check(length))
    return found


def closing_steps(graph: Graph) -> set[str]:
    """Names of the integer operators that `check_steps` must reach."""
    return {node.name for node in graph if isinstance(node.op, CLOSING)}


class _Step:
    """One Quantize of the level-1 graph, its region back to the nearest dequantised integers, and its
    integer result."""

    def __init__(
        self,
        reference: Graph,
        graph: Graph,
        integers: Mapping[str, Array],
        sample: Mapping[str, Array],
        quantize: Node,
        result: Node,
    ) -> None:
        self.reference, self.graph, self.integers, self.sample = reference, graph, integers, sample
        self.quantize, self.result = quantize, result
        scale = result.type.scale
        assert scale is not None
        self.scale = scale
        self.memo: dict[Value, Array] = {}

    def check(self, length: int) -> Checked:
        op = self.quantize.op
        assert isinstance(op, Quantize)
        source = self.reference.producer(self.quantize.inputs[0])
        ideal, bound = self._bound(source)
        got = np.asarray(self.integers[self.result.name], np.float64)
        low = max(op.qmin, -op.qmax) if op.qmin < 0 else op.qmin
        zero = self.result.type.zero_point
        error = np.abs(got - np.clip(ideal + zero, low, op.qmax))
        bound = np.broadcast_to(bound + SINGLE * np.abs(ideal) + 1e-6, error.shape)
        rows = slice(0, length if len(error) > 1 else 1)
        return Checked(
            self.result.name,
            source.op.name,
            float(error[rows].max()),
            float((error[rows] / bound[rows]).max()),
            int(((got[rows] == low) | (got[rows] == op.qmax)).sum()),
        )

    # -- the level-1 graph, from this step's integer operands ------------------------------------------------

    def real(self, value: Value) -> Array:
        """A level-1 value in float64; dequantised activations come from the integer model."""
        if value not in self.memo:
            self.memo[value] = self._evaluate(self.reference.producer(value), value.index)
        return self.memo[value]

    def _evaluate(self, node: Node, index: int) -> Array:
        op = node.op
        if isinstance(op, Input):
            return np.asarray(self.sample[op.key])
        if isinstance(op, Dequantize):
            source = self.reference.producer(node.inputs[0])
            if isinstance(source.op, Constant):
                return self._weight(op, source.op)
            kind = self.graph[source.name].type
            integers = np.asarray(self.integers[source.name], np.float64)
            return (integers - kind.zero_point) * float(op.scale)
        operands = [self.real(v) for v in node.inputs]
        doubles = [np.asarray(o, np.float64) if o.dtype.kind == "f" else o for o in operands]
        return np.asarray(op.golden(*doubles)[index])

    @staticmethod
    def _weight(op: Dequantize, constant: Constant) -> Real:
        scale = op.scale.reshape(-1, *[1] * (constant.value.ndim - 1)) if op.axis == 0 else op.scale
        return np.asarray(np.asarray(constant.value, np.float64) * scale)

    def lsb(self, value: Value) -> Real:
        """A level-1 value in LSB of this step's result."""
        return np.asarray(self.real(value), np.float64) / self.scale

    def step_of(self, value: Value) -> float:
        """The real step of a dequantised activation."""
        op = self.reference.producer(value).op
        assert isinstance(op, Dequantize)
        return float(op.scale)

    # -- bounds ----------------------------------------------------------------------------------------------

    def _bound(self, source: Node) -> tuple[Real, Real]:
        """(ideal, bound), both in LSB."""
        bounds: dict[type, Callable[[Node], tuple[Real, Real]]] = {
            FloatLinear: self._linear, FloatScale: self._scaled, FloatAdd: self._add, FloatNorm: self._norm,
            FloatActivation: self._activation, FloatAttention: self._attention, FloatPool: self._pool,
        }  # fmt: skip
        return bounds[type(source.op)](source)

    def _linear(self, node: Node, factor: Array | float = 1.0) -> tuple[Real, Real]:
        """Linear and requantise.

        The accumulator is exact but for the bias, rounded to an integer (1/2 accumulator step, `M/2` LSB
        each); requantising it adds `1/2 + 2^-15 |acc*M|` with `|acc*M| <= |y| + M/2`. A zero point is
        added after rounding, exactly.
        """
        y = self.lsb(Value(node.name)) * factor
        M = self._factor(node) * np.abs(factor)
        return y, 0.5 + M / 2 + FACTOR * (np.abs(y) + M / 2)

    def _factor(self, node: Node) -> Real:
        """M of a linear layer's accumulators [N]."""
        weight = self.reference.producer(node.inputs[1]).op
        assert isinstance(weight, Dequantize)
        return np.asarray(self.step_of(node.inputs[0]) * weight.scale / self.scale, np.float64)

    def _scaled(self, node: Node) -> tuple[Real, Real]:
        """A smoothing factor is part of the norm's gain or of the requantiser's `M`."""
        inner = self.reference.producer(node.inputs[0])
        factor = np.asarray(self.real(node.inputs[1]), np.float64)
        return self._norm(inner, factor) if isinstance(inner.op, FloatNorm) else self._linear(inner, factor)

    def _add(self, node: Node) -> tuple[Real, Real]:
        """Residual addition: two unsaturated requantisations, one saturation.

        The linear part errs as in `_linear`, the residual by `1/2 + 2^-15 |res*M_r|`. A table of positions
        is itself rounded to 1/2 of its step `t = max|table|/32767`: `t/2` more.
        """
        parts = [self.reference.producer(v) for v in node.inputs]
        linear = next(i for i, p in enumerate(parts) if isinstance(p.op, FloatLinear))
        y, bound = self._linear(parts[linear])
        residual = self.lsb(node.inputs[1 - linear])
        bound = bound + 0.5 + FACTOR * np.abs(residual)
        if isinstance(parts[1 - linear].op, Constant):
            table = max(float(np.abs(residual).max()), 1e-12 / self.scale) / 32767
            bound = bound + (table / 2) * (1 + FACTOR)
        return y + residual, bound

    def _activation(self, node: Node) -> tuple[Real, Real]:
        """A table: 1/2, as it holds the rounded value of the function at every index.

        ReLU on an accumulator is a linear step's saturation at 0.
        """
        y = self.lsb(Value(node.name))
        source = self.reference.producer(node.inputs[0])
        if isinstance(source.op, FloatLinear):
            return y, self._linear(source)[1]
        return y, np.full_like(y, 0.5)

    def _norm(self, node: Node, factor: Array | float = 1.0) -> tuple[Real, Real]:
        """LayerNorm and RMSNorm of int16 x (real step h) over C channels.

        `d = C*x - sum x` (or `C*x`) is exact. With the real `a^2 = C*sum(x^2) - (sum x)^2 + eps*C^2/h^2`,
        the ideal is `Z = 2^12 d/a`. `A` is `a^2` with eps' rounded, so `|A - a^2| <= 1/2`, and
        `sd = max(isqrt(A), 1)` lies in
        `(sqrt(A) - 1, sqrt(A)]` (or is 1). `r = floor(2^(n+15)/sd)` is too small by less than 1 of at
        least 2^15. Therefore `z`, before it is rounded (1/2), lies between
        `Z (1 - 2^-15) a/sqrt(a^2 + 1/2)` and `Z a/max(1, sqrt(a^2 - 1/2) - 1)`.

        The gain errs by 1/2 unit of 2^(12-k) LSB per unit of z, the bias by 1/2 unit of 2^-k, the last
        shift by 1/2: `1/2 + 2^-(k+1) (1 + |z|) + |G| 2^-k |z - Z|`.
        """
        op, made = node.op, self.result.op
        assert isinstance(op, FloatNorm)
        assert isinstance(made, Norm)
        h = self.step_of(node.inputs[0])
        x = np.rint(np.asarray(self.real(node.inputs[0]), np.float64) / h)
        C = x.shape[1]
        mean = x.mean(axis=1, keepdims=True) if op.centred else 0.0
        d = C * (x - mean)
        square = C * np.square(x - mean).sum(axis=1, keepdims=True) + op.eps * C * C / (h * h)
        a = np.sqrt(square)
        most = np.maximum(1.0, np.sqrt(np.maximum(square - 0.5, 0.0)) - 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            Z = np.where(square > 0, 2.0**12 * d / a, 0.0)
        relative = np.maximum(a / most - 1.0, 1.0 - (1.0 - FACTOR) * a / np.sqrt(square + 0.5))
        off = 0.5 + np.abs(Z) * relative
        gain = np.asarray(self.real(node.inputs[1]), np.float64) * factor / self.scale
        unit = 2.0 ** -(made.shift + 1)
        y = self.lsb(Value(node.name)) * factor
        return y, 0.5 + unit * (1 + np.abs(Z) + off) + (np.abs(gain) * 2.0**-12 + unit) * off

    def _attention(self, node: Node) -> tuple[Real, Real]:
        """Attention with deferred softmax, per head; q, k, v are exact integers.

        1. Scores: `s` is the integer score, `S` the ideal one, in units of 2^-5:
           `|s - S| <= D = 1/2 + 2^-15 |S|` (plus what int16 clips).
        2. Numerators: with `E_j = L exp((S_j - max S)/32)`, `L = 2^E - 1`, the integer one is
           `e_j = u (E_j exp(t_j/32) + b_j)`, where `|t_j| <= D_j`; u is common to the row, because `max s`
           differs from `max S` by at most `Dm = max D`: `1/u <= exp(Dm/32)`. `b_j` is the table's
           rounding, 1/2, and where the index is clipped to 255 at most the numerator itself: possible
           where `S` is more than `255 - D_j - Dm` below the maximum. So `e_j/u = E_j + w_j`,
           `|w_j| <= E_j (exp(D_j/32) - 1) + b_j exp(Dm/32)`.
        3. Context: `R = sum e_j v_j / sum e_j` against `V = sum E_j v_j / sum E_j`:
           `|R - V| <= sum |w_j| |v_j - V| / (sum E_j - sum |w_j|)`.
        4. `t` is 256*R with a truncated reciprocal (relative 2^-15) and rounded (1/2 of 2^-8 units of v);
           requantising adds `1/2 + 2^-15 |y|`.
        """
        op, made = node.op, self.result.op
        assert isinstance(op, FloatAttention)
        assert isinstance(made, Attention)
        steps = [self.step_of(v) for v in node.inputs[:3]]
        q, k, v = (
            np.rint(np.asarray(self.real(value), np.float64) / step)
            for value, step in zip(node.inputs[:3], steps, strict=True)
        )
        tokens = len(q)
        q, k, v = (x.reshape(tokens, op.heads, -1).transpose(1, 0, 2) for x in (q, k, v))
        seen = np.ones((tokens, tokens), bool)
        if len(node.inputs) == 4:
            seen &= np.asarray(self.real(node.inputs[3])).reshape(1, tokens) != 0
        if op.causal:
            seen &= np.tri(tokens, dtype=bool)
        S = q @ k.transpose(0, 2, 1) * (op.scale * steps[0] * steps[1] * 2.0**-SCORE_STEP_LOG2)
        D = np.where(seen, 0.5 + FACTOR * np.abs(S) + np.maximum(np.abs(S) - SCORE_LIMIT, 0.0), 0.0)
        top = np.where(seen, S, -np.inf).max(axis=-1, keepdims=True)
        Dm = D.max(axis=-1, keepdims=True)
        L = 2.0**made.exp_bits - 1
        step = 2.0**SCORE_STEP_LOG2
        E = np.where(seen, L * np.exp((S - top) * step), 0.0)
        clipped = top - S > EXP_ENTRIES - 1 - D - Dm
        b = np.where(seen, 0.5 + np.where(clipped, E * np.exp(D * step), 0.0), 0.0)
        with np.errstate(over="ignore"):
            w = E * np.expm1(D * step) + b * np.exp(Dm * step)
        total = E.sum(axis=-1, keepdims=True)
        V = E @ v / total
        spread = np.einsum("hst,hstd->hsd", w, np.abs(v[:, None] - V[:, :, None]))
        rest = total - w.sum(axis=-1, keepdims=True)
        widest = np.abs(v).max() + np.abs(V)
        off = np.where(rest > 0, np.minimum(spread / np.maximum(rest, 1e-9), widest), widest)
        ratio = steps[2] / self.scale
        y = V * ratio
        small = ratio / 256 * (0.5 + 256 * FACTOR * (np.abs(V) + off))
        bound = 0.5 + small + ratio * off + FACTOR * (np.abs(y) + ratio * off + small)
        return self._joined(y), self._joined(bound)

    @staticmethod
    def _joined(heads: Real) -> Real:
        """[h, S, d] to [S, h*d]."""
        return heads.transpose(1, 0, 2).reshape(heads.shape[1], -1)

    def _pool(self, node: Node) -> tuple[Real, Real]:
        """First token: one requantisation.

        Mean: before it `floor(2^16/len)` is too small by less than 1 of 2^16/len, a relative len/2^16.
        """
        y = self.lsb(Value(node.name))
        op = node.op
        assert isinstance(op, FloatPool)
        tokens = self.reference.type_of(node.inputs[0]).shape[0] if op.kind == "mean" else 0
        return y, 0.5 + (FACTOR + tokens / 2**16) * np.abs(y)
