"""The recognised float operators (level 1): the vocabulary of everything that the device can run.

Device tensors are 2-D `[tokens, channels]`; the batch of 1 is dropped. `flow quantize` works on this level,
the way back to torch starts from it, and `lower` turns it, with its Quantize/Dequantize neighbours, into
integer operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import erf

from flow.errors import UnsupportedError
from flow.ir.op import Array, Op, register
from flow.ir.types import TensorType


def _real(shape: tuple[int, ...]) -> tuple[TensorType, ...]:
    return (TensorType(shape, "float32"),)


@register
@dataclass(frozen=True, eq=False)
class FloatLinear(Op):
    """`y[s, n] = sum_c x[s, c] * w[n, c] (+ b[n])`. Inputs: x [S, C], w [N, C], and b [N] unless the layer
    has no bias."""

    name: ClassVar[str] = "float.linear"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, w = inputs[0], inputs[1]
        if len(x.shape) != 2 or len(w.shape) != 2 or x.shape[1] != w.shape[1]:
            raise UnsupportedError(f"{self.name}: found x {x} and weight {w}; expected [S, C] and [N, C]")
        return _real((x.shape[0], w.shape[0]))

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        y = inputs[0] @ inputs[1].T
        return (y + inputs[2] if len(inputs) == 3 else y,)


@register
@dataclass(frozen=True, eq=False)
class FloatNorm(Op):
    """LayerNorm (`centred`) or RMSNorm over the last axis. Inputs: x [S, C], weight [C], bias [C] (zeros
    where absent)."""

    name: ClassVar[str] = "float.norm"
    eps: float
    centred: bool = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, w, b = inputs
        if len(x.shape) != 2 or w.shape != x.shape[1:] or b.shape != w.shape:
            raise UnsupportedError(
                f"{self.name}: found x {x}, weight {w}, bias {b}; expected [S, C], [C] and [C]"
            )
        return _real(x.shape)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        x, w, b = (np.asarray(i, np.float64) for i in inputs)
        d = x - x.mean(-1, keepdims=True) if self.centred else x
        y = d / np.sqrt((d * d).mean(-1, keepdims=True) + self.eps) * w + b
        return (y.astype(np.float32),)


@register
@dataclass(frozen=True, eq=False)
class FloatAttention(Op):
    """Multi-head attention: softmax(scale * q_h k_h^T) v_h per head h, heads side by side in the channels.

    Inputs: q, k, v, each [S, heads*d] (channel h*d + i is element i of head h), and, where sequences are
    shorter than S, `attention_mask` [1, S], a prefix of ones. `causal` lets query s see keys <= s only.

    `numerator_bits` (8 or 16, None: the contract's default for S) asks for softmax numerators of that width: with
    M = 2^bits - 1, `e = round(exp(score - max) * M)` and `p = e / sum e` in place of the exact softmax.
    """

    name: ClassVar[str] = "float.attention"
    heads: int
    scale: float
    causal: bool = False
    numerator_bits: int | None = None

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        q, k, v = inputs[:3]
        if not (q.shape == k.shape == v.shape) or len(q.shape) != 2 or q.shape[1] % self.heads:
            raise UnsupportedError(
                f"{self.name}: found q {q}, k {k}, v {v}; expected equal [S, heads*d], {self.heads} heads"
            )
        if self.numerator_bits not in (None, 8, 16):
            raise UnsupportedError(
                f"{self.name}: found softmax numerators of {self.numerator_bits} bits; expected 8 or 16"
            )
        return _real(q.shape)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        s, channels = inputs[0].shape
        q, k, v = (
            np.asarray(x, np.float32).reshape(s, self.heads, -1).transpose(1, 0, 2) for x in inputs[:3]
        )
        scores = (q @ k.transpose(0, 2, 1)) * np.float32(self.scale)
        seen = np.ones((s, s), bool)
        if len(inputs) == 4:
            seen &= np.asarray(inputs[3]).reshape(1, s) != 0
        if self.causal:
            seen &= np.tri(s, dtype=bool)
        scores = np.where(seen, scores, -np.inf)
        top = scores.max(-1, keepdims=True)
        e = np.exp(scores - np.where(np.isfinite(top), top, 0))
        if self.numerator_bits is not None:
            e = np.rint(e * np.float32(2**self.numerator_bits - 1))
        p = e / np.maximum(e.sum(-1, keepdims=True), np.finfo(np.float32).tiny)
        return ((p @ v).transpose(1, 0, 2).reshape(s, channels).astype(np.float32),)


def _gelu_erf(x: Array) -> Array:
    return x * 0.5 * (1.0 + erf(x / math.sqrt(2.0)))


def _gelu_tanh(x: Array) -> Array:
    return x * 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu_erf,
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
}
"""Pointwise functions by name, on float64 arrays."""


@register
@dataclass(frozen=True, eq=False)
class FloatActivation(Op):
    """A pointwise function, one of `ACTIVATIONS`."""

    name: ClassVar[str] = "float.activation"
    kind: str

    @property
    def label(self) -> str:
        return self.kind

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if self.kind not in ACTIVATIONS:
            raise UnsupportedError(
                f"activation: found {self.kind!r}; expected one of {', '.join(ACTIVATIONS)}"
            )
        return _real(inputs[0].shape)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (ACTIVATIONS[self.kind](np.asarray(inputs[0], np.float64)).astype(np.float32),)


@register
@dataclass(frozen=True, eq=False)
class FloatAdd(Op):
    """Elementwise sum of two [S, C] tensors: a residual connection or a position table."""

    name: ClassVar[str] = "float.add"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if inputs[0].shape != inputs[1].shape:
            raise UnsupportedError(f"{self.name}: found {inputs[0]} and {inputs[1]}; expected equal shapes")
        return _real(inputs[0].shape)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (inputs[0] + inputs[1],)


@register
@dataclass(frozen=True, eq=False)
class FloatScale(Op):
    """`y = x * factor[c]`: SmoothQuant's division between a norm and a matmul. Inputs: x [S, C], factor
    [C]."""

    name: ClassVar[str] = "float.scale"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if inputs[1].shape != inputs[0].shape[-1:]:
            raise UnsupportedError(f"{self.name}: found {inputs[0]} and {inputs[1]}; expected [S, C] and [C]")
        return _real(inputs[0].shape)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return ((inputs[0] * inputs[1]).astype(np.float32),)


@register
@dataclass(frozen=True, eq=False)
class FloatPool(Op):
    """[S, C] to [1, C]: the mean over tokens (over the masked prefix, if `attention_mask` [1, S] is a second
    input), or token 0."""

    name: ClassVar[str] = "float.pool"
    kind: str

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if self.kind not in ("mean", "first") or len(inputs[0].shape) != 2:
            raise UnsupportedError(
                f"{self.name}: found {self.kind!r} of {inputs[0]}; expected mean or first of [S, C]"
            )
        return _real((1, inputs[0].shape[1]))

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        x = inputs[0]
        if self.kind == "first":
            return (x[:1],)
        if len(inputs) == 2:
            x = x[: int(np.count_nonzero(inputs[1]))]
        return (x.mean(axis=0, keepdims=True),)
