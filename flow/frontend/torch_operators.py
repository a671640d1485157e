"""The torch side of every operator that the way back allows: nothing outside these tables is ever called."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from flow.errors import FlowError
from flow.frontend.architectures.layers import mean_over_tokens
from flow.ops import aten_numpy
from flow.ops.aten import Aten, Ref
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
    FloatScale,
)
from flow.ops.post import OUTSIDE

Function = Callable[..., Any]
"""From the node's operands as tensors to its output (or a sequence of outputs)."""

ALLOWED: frozenset[str] = frozenset(target for target in aten_numpy.TABLE if "dropout" not in target)
"""Raw targets that may run: those that the host can evaluate, none of them in-place or random."""

_DROPPED = frozenset({"device", "layout", "memory_format", "pin_memory", "generator"})
"""Arguments that do not survive: everything here is dense, strided and on the CPU."""


def register_quantized() -> None:
    """Make `torch.ops.quantized_decomposed` known to torch, unless another package has."""
    if not hasattr(torch.ops.quantized_decomposed, "dequantize_per_channel"):
        importlib.import_module("torch.ao.quantization.fx._decomposed")


def aten_function(op: Aten) -> Function:
    """The overload behind an allowed raw target, with the node's plain arguments bound by schema name."""
    register_quantized()
    space, name, overload = op.target.split(".")
    call = getattr(getattr(getattr(torch.ops, space), name), overload)
    schema = call._schema.arguments
    dtypes = {argument.name for argument in schema if "ScalarType" in str(argument.real_type)}
    leading = list(itertools.takewhile(lambda a: not a.kwarg_only and _bound(op, a.name), schema))
    named = [argument.name for argument in schema[len(leading) :] if _bound(op, argument.name)]

    def value(key: str, operands: tuple[Tensor, ...]) -> Any:
        argument = op.arguments[key]
        return (
            torch_dtype(argument)
            if key in dtypes and isinstance(argument, str)
            else _argument(argument, operands)
        )

    def run(*operands: Tensor) -> Any:
        return call(
            *(value(a.name, operands) for a in leading), **{key: value(key, operands) for key in named}
        )

    return run


def _bound(op: Aten, key: str) -> bool:
    return key in op.arguments and key not in _DROPPED


def _argument(value: Any, operands: tuple[Tensor, ...]) -> Any:
    if isinstance(value, Ref):
        return operands[value.operand]
    if isinstance(value, (tuple, list)):
        return [_argument(item, operands) for item in value]
    return value


def torch_dtype(name: str) -> torch.dtype:
    """The torch type of a numpy name (`bool` and `torch.float32` included)."""
    dtype = getattr(torch, name.removeprefix("torch."))
    assert isinstance(dtype, torch.dtype), name
    return dtype


def norm_function(op: FloatNorm) -> Function:
    """`float.norm`; an RMSNorm has no bias in torch, so one is added where there is one."""

    def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.layer_norm(x, weight.shape, weight, bias, op.eps)

    def rms_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = functional.rms_norm(x, weight.shape, weight, op.eps)
        return y if bias is None else y + bias

    return layer_norm if op.centred else rms_norm


def attention_function(op: FloatAttention) -> Function:
    """`float.attention`: heads out of the channels of [S, heads*d], masked keys left out.

    A width of softmax numerators is spelled out as a quantise/dequantise pair on the probabilities.
    """
    if op.numerator_bits is not None:
        return _spelled_attention(op, op.numerator_bits)

    def split(x: Tensor) -> Tensor:
        return x.view(1, x.shape[0], op.heads, -1).transpose(1, 2)

    def run(q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        seen = None if attention_mask is None else (attention_mask != 0).view(1, 1, 1, -1)
        causal = op.causal
        if seen is not None and causal:  # torch takes a mask or the flag
            seen = torch.logical_and(seen, torch.ones(q.shape[0], q.shape[0], dtype=torch.bool).tril())
            causal = False
        y = functional.scaled_dot_product_attention(
            split(q), split(k), split(v), attn_mask=seen, is_causal=causal, scale=op.scale
        )
        return y.transpose(1, 2).reshape(q.shape)

    return run


def _spelled_attention(op: FloatAttention, bits: int) -> Function:
    """Attention as products and a softmax, its probabilities at a step of 1 / (2^bits - 1)."""
    register_quantized()
    operators = torch.ops.quantized_decomposed
    top = 2**bits - 1
    limits = (1.0 / top, 0, 0, top, torch.uint8 if bits == 8 else torch.uint16)

    def split(x: Tensor) -> Tensor:
        return x.view(1, x.shape[0], op.heads, -1).transpose(1, 2)

    def run(q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        scores = torch.matmul(split(q), split(k).transpose(-2, -1)) * op.scale
        if op.causal:
            later = torch.ones(q.shape[0], q.shape[0], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        if attention_mask is not None:
            scores = scores.masked_fill((attention_mask == 0).view(1, 1, 1, -1), float("-inf"))
        p = operators.quantize_per_tensor.default(torch.softmax(scores, -1), *limits)
        p = operators.dequantize_per_tensor.default(p, *limits)
        return torch.matmul(p, split(v)).transpose(1, 2).reshape(q.shape)

    return run


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def activation_function(op: FloatActivation) -> Function:
    """A pointwise function; a plug-in's is the first torch operator that it names.

    Raises:
        FlowError: it names none that this torch has.
    """
    if op.kind in _ACTIVATIONS:
        return _ACTIVATIONS[op.kind]
    for target in OUTSIDE[op.kind].targets:
        namespace, name, overload = target.split(".")
        found: Function | None = getattr(getattr(getattr(torch.ops, namespace), name, None), overload, None)
        if found is not None:
            return found
    raise FlowError(
        f"stage {op.kind}: found no torch operator among its targets; expected one that torch has; "
        "name it in the plug-in's `targets`"
    )


def pool_function(op: FloatPool) -> Function:
    """`float.pool`, in the spelling that the recogniser reads."""

    def mean(x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return mean_over_tokens(x.unsqueeze(0), attention_mask)

    return mean if op.kind == "mean" else lambda x, *_: x[:1]


FUNCTIONS: dict[type, Callable[[Any], Function]] = {
    Aten: aten_function,
    FloatLinear: lambda _: functional.linear,
    FloatNorm: norm_function,
    FloatAttention: attention_function,
    FloatActivation: activation_function,
    FloatAdd: lambda _: torch.add,
    FloatScale: lambda _: torch.mul,
    FloatPool: pool_function,
}
"""From an operator to the function that runs it."""
