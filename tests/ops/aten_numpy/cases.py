"""Calls of every operator in the table, as (target, arguments); arrays stand for tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

Case = tuple[str, dict[str, Any]]

_RNG = np.random.default_rng(0)
_INF = float("inf")


def _real(*shape: int) -> Any:
    return _RNG.normal(size=shape).astype(np.float32)


def _positive(*shape: int) -> Any:
    return _RNG.uniform(0.1, 3.0, shape).astype(np.float32)


def _integers(low: int, high: int, *shape: int, dtype: str = "int64") -> Any:
    return _RNG.integers(low, high, shape).astype(dtype)


def _flags(*shape: int) -> Any:
    return _RNG.random(shape) < 0.5


_X = _real(2, 3, 4)
_I = _integers(-5, 6, 2, 3, 4)
_B = _flags(2, 3, 4)
_SCALAR = np.asarray(0.5, np.float64)

MOVEMENT: list[Case] = [
    ("view.default", {"self": _X, "size": (6, -1)}),
    ("_unsafe_view.default", {"self": _X, "size": (24,)}),
    ("reshape.default", {"self": _X, "shape": (4, 6)}),
    ("view_as.default", {"self": _X, "other": _real(6, 4)}),
    ("reshape_as.default", {"self": _I, "other": _real(6, 4)}),
    ("flatten.using_ints", {"self": _X, "start_dim": 1, "end_dim": -1}),
    ("flatten.using_ints", {"self": _X, "start_dim": 0, "end_dim": 1}),
    ("flatten.using_ints", {"self": np.float32(3), "start_dim": 0, "end_dim": -1}),
    ("unflatten.int", {"self": _X, "dim": -1, "sizes": (2, -1)}),
    ("permute.default", {"self": _X, "dims": (2, 0, -2)}),
    ("transpose.int", {"self": _X, "dim0": 0, "dim1": -1}),
    ("swapaxes.default", {"self": _X, "axis0": 0, "axis1": 1}),
    ("t.default", {"self": _real(2, 3)}),
    ("numpy_T.default", {"self": _real(2, 3)}),
    ("mT.default", {"self": _X}),
    ("adjoint.default", {"self": _X}),
    ("movedim.int", {"self": _X, "source": 0, "destination": 2}),
    ("movedim.intlist", {"self": _X, "source": (0, 1), "destination": (2, 0)}),
    ("unsqueeze.default", {"self": _X, "dim": 1}),
    ("unsqueeze.default", {"self": _X, "dim": -1}),
    ("squeeze.default", {"self": _real(1, 3, 1)}),
    ("squeeze.dim", {"self": _real(1, 3, 1), "dim": -1}),
    ("squeeze.dim", {"self": _real(2, 3, 1), "dim": 0}),
    ("squeeze.dims", {"self": _real(1, 3, 1), "dim": (0, 1)}),
    ("select.int", {"self": _X, "dim": 1, "index": -1}),
    ("slice.Tensor", {"self": _X, "dim": 2, "start": 1, "end": 9223372036854775807, "step": 2}),
    ("slice.Tensor", {"self": _X, "dim": -1, "start": -3, "end": -1, "step": 1}),
    ("slice.Tensor", {"self": _X, "dim": 0, "start": None, "end": None, "step": 1}),
    ("narrow.default", {"self": _X, "dim": 1, "start": 1, "length": 2}),
    ("narrow.default", {"self": _X, "dim": 1, "start": -2, "length": 2}),
    ("expand.default", {"self": _real(1, 3, 1), "size": (2, -1, 4)}),
    ("expand.default", {"self": _real(3), "size": (2, 3)}),
    ("expand_as.default", {"self": _real(3, 1), "other": _X}),
    ("repeat.default", {"self": _real(3), "repeats": (2, 2)}),
    ("tile.default", {"self": _X, "dims": (2,)}),
    ("repeat_interleave.self_int", {"self": _X, "repeats": 2, "dim": 1}),
    ("flip.default", {"self": _X, "dims": (0, 2)}),
    ("roll.default", {"self": _X, "shifts": (1, -1), "dims": (0, 2)}),
    ("roll.default", {"self": _X, "shifts": (5,), "dims": ()}),
    ("contiguous.default", {"self": _X}),
    ("clone.default", {"self": _X}),
    ("alias.default", {"self": _X}),
    ("detach.default", {"self": _X}),
    ("lift_fresh_copy.default", {"self": _X}),
    ("lift_fresh.default", {"self": _X}),
    ("lift.default", {"self": _X}),
    ("dropout.default", {"input": _X, "p": 0.5, "train": False}),
    ("feature_dropout.default", {"input": _X, "p": 0.5, "train": False}),
    ("alpha_dropout.default", {"input": _X, "p": 0.5, "train": False}),
    ("cat.default", {"tensors": (_X, _real(2, 1, 4)), "dim": 1}),
    ("cat.default", {"tensors": (_I, _X), "dim": -1}),
    ("cat.default", {"tensors": (_real(0), _real(2, 3)), "dim": 0}),
    ("concat.default", {"tensors": (_X, _X), "dim": 0}),
    ("stack.default", {"tensors": (_X, _X), "dim": -1}),
    ("split.Tensor", {"self": _X, "split_size": 3, "dim": -1}),
    ("split.sizes", {"self": _X, "split_size": (1, 3), "dim": 2}),
    ("split_with_sizes.default", {"self": _X, "split_sizes": (1, 2), "dim": 1}),
    ("chunk.default", {"self": _X, "chunks": 3, "dim": 2}),
    ("chunk.default", {"self": _real(7), "chunks": 3, "dim": 0}),
    ("unbind.int", {"self": _X, "dim": 1}),
    ("index.Tensor", {"self": _X, "indices": (None, _integers(0, 3, 5))}),
    ("index.Tensor", {"self": _X, "indices": (_integers(0, 2, 2, 1), None, _integers(0, 4, 3))}),
    ("index.Tensor", {"self": _X, "indices": (_B,)}),
    ("index_select.default", {"self": _X, "dim": 1, "index": _integers(0, 3, 5)}),
    ("gather.default", {"self": _X, "dim": 2, "index": _integers(0, 4, 2, 2, 5)}),
    ("embedding.default", {"weight": _real(9, 4), "indices": _integers(0, 9, 2, 5), "padding_idx": 0}),
    ("pad.default", {"self": _X, "pad": (1, 2), "mode": "constant", "value": 0.5}),
    ("pad.default", {"self": _X, "pad": (1, -1, 0, 2), "mode": "constant", "value": None}),
    ("constant_pad_nd.default", {"self": _I, "pad": (0, 1), "value": 3}),
    ("diff.default", {"self": _X, "n": 1, "dim": -1}),
    ("diff.default", {"self": _I, "n": 1, "dim": 1, "prepend": _integers(0, 2, 2, 1, 4)}),
    ("diff.default", {"self": _B, "n": 2, "dim": -1}),
]

CREATION: list[Case] = [
    ("arange.default", {"end": 5}),
    ("arange.default", {"end": 5.0}),
    ("arange.default", {"end": 5, "dtype": "float32"}),
    ("arange.start", {"start": 2, "end": 7}),
    ("arange.start_step", {"start": 2, "end": 9, "step": 3}),
    ("arange.start_step", {"start": 0.0, "end": 1.0, "step": 0.1}),
    ("linspace.default", {"start": 0, "end": 1, "steps": 5}),
    ("full.default", {"size": (2, 3), "fill_value": 1}),
    ("full.default", {"size": (2, 3), "fill_value": -_INF}),
    ("full.default", {"size": (), "fill_value": True}),
    ("full.default", {"size": (2,), "fill_value": 2, "dtype": "float32"}),
    ("zeros.default", {"size": (2, 3)}),
    ("zeros.default", {"size": (2, 3), "dtype": "int64"}),
    ("ones.default", {"size": (2, 3)}),
    ("zeros_like.default", {"self": _I}),
    ("zeros_like.default", {"self": _B, "dtype": "float32"}),
    ("ones_like.default", {"self": _B}),
    ("full_like.default", {"self": _X, "fill_value": 3}),
    ("new_zeros.default", {"self": _I, "size": (2,)}),
    ("new_ones.default", {"self": _X, "size": (2,), "dtype": "bool"}),
    ("new_full.default", {"self": _X, "size": (2,), "fill_value": 2}),
    ("scalar_tensor.default", {"s": 2}),
    ("scalar_tensor.default", {"s": 2.5, "dtype": "float64"}),
    ("eye.default", {"n": 3}),
    ("eye.m", {"n": 3, "m": 4, "dtype": "int64"}),
    ("triu.default", {"self": _real(4, 4), "diagonal": 1}),
    ("tril.default", {"self": _B, "diagonal": -1}),
    ("to.dtype", {"self": _X, "dtype": "int32"}),
    ("to.dtype", {"self": _X, "dtype": "bool"}),
    ("to.dtype", {"self": _I, "dtype": "float32"}),
    ("to.dtype_layout", {"self": _B, "dtype": "float32"}),
    ("to.device", {"self": _X, "device": "cpu", "dtype": "float64"}),
    ("to.other", {"self": _X, "other": _I}),
    ("_to_copy.default", {"self": _X, "dtype": "float64"}),
    ("type_as.default", {"self": _I, "other": _X}),
    ("copy.default", {"self": _X, "src": _real(4)}),
    ("fill.Scalar", {"self": _X, "value": 2}),
    ("fill.Tensor", {"self": _I, "value": np.asarray(2.0, np.float32)}),
    ("zero.default", {"self": _I}),
    ("one_hot.default", {"self": _integers(0, 4, 3), "num_classes": 5}),
    ("one_hot.default", {"self": _integers(0, 4, 3), "num_classes": -1}),
]

_BINARY: list[tuple[Any, Any]] = [
    (_X, _real(3, 1)),
    (_X, _I),
    (_I, _integers(1, 5, 4, dtype="int32")),
    (_X, _SCALAR),
    (_I, _SCALAR),
    (_integers(0, 9, 4, dtype="int8"), np.asarray(3, np.int64)),
    (_real(4).astype(np.float64), _X),
]
"""Operand pairs that reach every rule of promotion: kinds, widths, 0-d tensors on either side."""

_WITH_NUMBERS: list[tuple[Any, Any]] = [(_X, 2), (_X, 0.5), (_I, 3), (_I, 2.5), (_B, 2), (_B, 0.5)]


def _pairs(*names: str, pairs: list[tuple[Any, Any]] = _BINARY) -> list[Case]:
    return [(name, {"self": a, "other": b}) for name in names for a, b in pairs]


_UNARY = """
    neg.default abs.default sign.default square.default floor.default ceil.default round.default trunc.default
    relu.default relu6.default positive.default exp.default exp2.default expm1.default sin.default cos.default
    tanh.default erf.default sigmoid.default silu.default hardsigmoid.default hardswish.default mish.default
    log_sigmoid.default selu.default isnan.default isinf.default isfinite.default logical_not.default
""".split()

_ON_POSITIVE = [
    "log.default",
    "log1p.default",
    "log2.default",
    "sqrt.default",
    "rsqrt.default",
    "reciprocal.default",
]
_ONLY_REAL = {
    "hardsigmoid.default",
    "hardswish.default",
    "mish.default",
    "log_sigmoid.default",
    "selu.default",
}
_ONLY_REAL |= {"silu.default"}

POINTWISE: list[Case] = [
    *_pairs("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "multiply.Tensor", "maximum.default"),
    *_pairs(
        "subtract.Tensor", "divide.Tensor", "true_divide.Tensor", "minimum.default", "max.other", "min.other"
    ),
    *_pairs("eq.Tensor", "ne.Tensor", "lt.Tensor", "le.Tensor", "gt.Tensor", "ge.Tensor"),
    *_pairs("add.Tensor", "mul.Tensor", "div.Tensor", pairs=_WITH_NUMBERS),
    *_pairs("add.Scalar", "mul.Scalar", "div.Scalar", pairs=_WITH_NUMBERS),
    *_pairs("sub.Tensor", "sub.Scalar", "rsub.Scalar", pairs=_WITH_NUMBERS[:4]),
    *_pairs(
        "eq.Scalar", "ne.Scalar", "lt.Scalar", "le.Scalar", "gt.Scalar", "ge.Scalar", pairs=_WITH_NUMBERS
    ),
    *_pairs("logical_and.default", "logical_or.default", "logical_xor.default", pairs=[(_X, _I), (_B, ~_B)]),
    *_pairs(
        "bitwise_and.Tensor",
        "__and__.Tensor",
        "bitwise_or.Tensor",
        "__or__.Tensor",
        pairs=[(_B, ~_B), (_I, _I[0])],
    ),
    *_pairs("bitwise_xor.Tensor", "__xor__.Tensor", pairs=[(_B, ~_B), (_I, _I[0])]),
    *_pairs("bitwise_and.Scalar", "__and__.Scalar", "bitwise_or.Scalar", "__or__.Scalar", pairs=[(_I, 3)]),
    *_pairs("bitwise_xor.Scalar", "__xor__.Scalar", pairs=[(_I, 3)]),
    *_pairs("floor_divide.default", "remainder.Tensor", pairs=[(_X, _positive(4)), (_I, _integers(1, 4, 4))]),
    *_pairs("floor_divide.Scalar", "remainder.Scalar", pairs=[(_X, 0.7), (_I, 3), (_I, -2)]),
    ("rsub.Tensor", {"self": _X, "other": _I, "alpha": 2}),
    ("add.Tensor", {"self": _B, "other": ~_B}),
    ("add.Tensor", {"self": _X, "other": _real(4), "alpha": 0.5}),
    ("add.Tensor", {"self": _I, "other": _I[0], "alpha": 3}),
    ("div.Tensor_mode", {"self": _X, "other": _positive(4), "rounding_mode": "floor"}),
    ("div.Tensor_mode", {"self": _X, "other": _positive(4), "rounding_mode": "trunc"}),
    ("div.Tensor_mode", {"self": _I, "other": _integers(1, 4, 4), "rounding_mode": "trunc"}),
    ("div.Tensor_mode", {"self": _I, "other": _integers(1, 4, 4), "rounding_mode": None}),
    ("div.Scalar_mode", {"self": _I, "other": 2, "rounding_mode": "floor"}),
    ("div.Scalar_mode", {"self": _I, "other": -3, "rounding_mode": "trunc"}),
    ("pow.Tensor_Scalar", {"self": _X, "exponent": 3.0}),
    ("pow.Tensor_Scalar", {"self": _X, "exponent": 2}),
    ("pow.Tensor_Scalar", {"self": _I, "exponent": 2}),
    ("pow.Tensor_Scalar", {"self": _positive(4), "exponent": -0.5}),
    ("pow.Tensor_Tensor", {"self": _positive(3, 4), "exponent": _real(4)}),
    ("pow.Scalar", {"self": 10000.0, "exponent": _real(4)}),
    ("pow.Scalar", {"self": 2, "exponent": _real(4)}),
    ("clamp.default", {"self": _X, "min": -0.5, "max": 0.5}),
    ("clamp.default", {"self": _I, "min": 0, "max": None}),
    ("clamp.default", {"self": _I, "min": 0.5, "max": None}),
    ("clamp.Tensor", {"self": _X, "min": _real(4) - 1, "max": None}),
    ("clip.default", {"self": _X, "min": None, "max": 0.1}),
    ("clamp_min.default", {"self": _X, "min": 1e-12}),
    ("clamp_min.Tensor", {"self": _X, "min": _real(4)}),
    ("clamp_max.default", {"self": _X, "max": 0}),
    ("clamp_max.Tensor", {"self": _X, "max": _real(4)}),
    ("addcmul.default", {"self": _X, "tensor1": _real(4), "tensor2": _real(3, 1), "value": 0.5}),
    ("addcdiv.default", {"self": _X, "tensor1": _real(4), "tensor2": _positive(3, 1), "value": 2}),
    ("lerp.Scalar", {"self": _X, "end": _real(2, 3, 4), "weight": 0.3}),
    ("lerp.Tensor", {"self": _X, "end": _real(2, 3, 4), "weight": _real(4)}),
    *((name, {"self": _X * 3}) for name in _UNARY),
    *((name, {"self": _I}) for name in _UNARY if name not in _ONLY_REAL),
    *((name, {"self": _positive(3, 4)}) for name in _ON_POSITIVE),
    *((name, {"self": _integers(1, 9, 3, 4)}) for name in _ON_POSITIVE),
    ("round.default", {"self": np.asarray([0.5, 1.5, 2.5, -0.5], np.float32)}),
    ("sigmoid.default", {"self": np.asarray([-200.0, -30.0, 30.0, 200.0], np.float32)}),
    ("gelu.default", {"self": _X * 3, "approximate": "none"}),
    ("gelu.default", {"self": _X * 3, "approximate": "tanh"}),
    ("leaky_relu.default", {"self": _X, "negative_slope": 0.1}),
    ("elu.default", {"self": _X, "alpha": 1.5, "scale": 1, "input_scale": 1}),
    ("softplus.default", {"self": _X * 20, "beta": 1, "threshold": 20}),
    ("hardtanh.default", {"self": _X, "min_val": -0.5, "max_val": 0.5}),
    ("glu.default", {"self": _X, "dim": -1}),
    ("nan_to_num.default", {"self": np.asarray([np.nan, np.inf, -np.inf, 1], np.float32), "nan": 0.5}),
    ("bitwise_not.default", {"self": _B}),
    ("bitwise_not.default", {"self": _I}),
    ("isnan.default", {"self": np.asarray([np.nan, np.inf, 1], np.float32)}),
    ("isinf.default", {"self": np.asarray([np.nan, np.inf, 1], np.float32)}),
    ("where.self", {"condition": _flags(3, 1), "self": _X, "other": _I}),
    ("where.self", {"condition": _B, "self": _X, "other": np.asarray(-_INF, np.float32)}),
    ("where.ScalarOther", {"condition": _B, "self": _X, "other": -_INF}),
    ("where.ScalarOther", {"condition": _B, "self": _I, "other": 0.5}),
    ("where.ScalarSelf", {"condition": _B, "self": 1, "other": _X}),
    ("where.Scalar", {"condition": _B, "self": 1, "other": 0}),
    ("where.Scalar", {"condition": _B, "self": 1.0, "other": 0}),
    ("masked_fill.Scalar", {"self": _X, "mask": _flags(3, 1), "value": -_INF}),
    ("masked_fill.Scalar", {"self": _I, "mask": _B, "value": 1}),
    ("masked_fill.Tensor", {"self": _X, "mask": _B, "value": np.asarray(2, np.int64)}),
]

_WHOLE = [
    "sum.default",
    "mean.default",
    "prod.default",
    "max.default",
    "min.default",
    "all.default",
    "any.default",
]

REDUCTION: list[Case] = [
    *((name, {"self": _X}) for name in _WHOLE),
    *((name, {"self": _I}) for name in _WHOLE if name != "mean.default"),
    *((name, {"self": _B}) for name in ("sum.default", "all.default", "any.default")),
    ("sum.dim_IntList", {"self": _X, "dim": (0, -1), "keepdim": True}),
    ("sum.dim_IntList", {"self": _B, "dim": (1,), "keepdim": False}),
    ("sum.dim_IntList", {"self": _I, "dim": (), "keepdim": False, "dtype": "float32"}),
    ("sum.default", {"self": _I, "dtype": "float32"}),
    ("mean.dim", {"self": _X, "dim": (1,), "keepdim": False}),
    ("mean.dim", {"self": _I, "dim": (1,), "keepdim": True, "dtype": "float32"}),
    ("prod.dim_int", {"self": _X, "dim": 1, "keepdim": False}),
    ("var.default", {"self": _X, "unbiased": True}),
    ("var.dim", {"self": _X, "dim": (-1,), "unbiased": False, "keepdim": True}),
    ("var.correction", {"self": _X, "dim": (-1,), "correction": 0, "keepdim": True}),
    ("var.correction", {"self": _X, "dim": None, "correction": None, "keepdim": False}),
    ("std.default", {"self": _X, "unbiased": False}),
    ("std.dim", {"self": _X, "dim": (0,), "unbiased": True, "keepdim": False}),
    ("std.correction", {"self": _X, "dim": (1, 2), "correction": 1, "keepdim": False}),
    ("amax.default", {"self": _X, "dim": (1,), "keepdim": True}),
    ("amax.default", {"self": _I, "dim": (), "keepdim": False}),
    ("amin.default", {"self": _X, "dim": (-1, 0), "keepdim": False}),
    ("max.dim", {"self": _X, "dim": 1, "keepdim": False}),
    ("min.dim", {"self": _X, "dim": -1, "keepdim": True}),
    ("argmax.default", {"self": _X, "dim": None, "keepdim": False}),
    ("argmax.default", {"self": _X, "dim": 1, "keepdim": True}),
    ("argmin.default", {"self": _X, "dim": -1, "keepdim": False}),
    ("all.dim", {"self": _B, "dim": 1, "keepdim": False}),
    ("all.dims", {"self": _B, "dim": (0, 1), "keepdim": True}),
    ("any.dim", {"self": _I, "dim": -1, "keepdim": True}),
    ("any.dims", {"self": _B, "dim": None, "keepdim": False}),
    ("cumsum.default", {"self": _X, "dim": 1}),
    ("cumsum.default", {"self": _B, "dim": -1}),
    ("cumsum.default", {"self": _I, "dim": 0, "dtype": "float32"}),
    ("linalg_vector_norm.default", {"self": _X, "ord": 2, "dim": (-1,), "keepdim": True}),
    ("linalg_vector_norm.default", {"self": _X, "ord": 1, "dim": None, "keepdim": False}),
    ("linalg_vector_norm.default", {"self": _X, "ord": _INF, "dim": (0,), "keepdim": False}),
    ("linalg_vector_norm.default", {"self": _X, "ord": -_INF, "dim": (0,), "keepdim": False}),
    ("linalg_vector_norm.default", {"self": _X, "ord": 0, "dim": (1,), "keepdim": False}),
    ("norm.Scalar", {"self": _X, "p": 2}),
    ("norm.ScalarOpt_dim", {"self": _X, "p": 2.0, "dim": (1,), "keepdim": True}),
    ("norm.ScalarOpt_dim_dtype", {"self": _X, "p": None, "dim": (1,), "keepdim": True, "dtype": "float64"}),
    ("softmax.int", {"self": _X, "dim": -1}),
    ("softmax.int", {"self": _I, "dim": 1, "dtype": "float32"}),
    ("softmax.int", {"self": np.where(_X > 0, _X, -_INF).astype(np.float32), "dim": -1}),
    ("_softmax.default", {"self": _X, "dim": 1, "half_to_float": False}),
    ("_safe_softmax.default", {"self": _X, "dim": -1}),
    ("_safe_softmax.default", {"self": np.full((2, 3), -_INF, np.float32), "dim": -1}),
    ("log_softmax.int", {"self": _X, "dim": -1}),
    ("_log_softmax.default", {"self": _X, "dim": 0, "half_to_float": False}),
    ("logsumexp.default", {"self": _X, "dim": (1,), "keepdim": True}),
    ("logsumexp.default", {"self": _X, "dim": (-1, 0), "keepdim": False}),
]

_C = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
_A: dict[str, Any] = {"query": _real(2, 4, 5, 8), "key": _real(2, 4, 6, 8), "value": _real(2, 4, 6, 8)}
_SOME = np.asarray(_RNG.random((2, 1, 5, 6)) < 0.6)
_SOME[0, 0, 0] = False  # one query that sees no key

LINEAR: list[Case] = [
    ("linear.default", {"input": _X, "weight": _real(5, 4), "bias": _real(5)}),
    ("linear.default", {"input": _real(4), "weight": _real(5, 4)}),
    ("matmul.default", {"self": _X, "other": _real(2, 4, 5)}),
    ("matmul.default", {"self": _real(4), "other": _real(2, 4, 5)}),
    ("matmul.default", {"self": _X, "other": _real(4)}),
    ("mm.default", {"self": _real(2, 3), "mat2": _real(3, 4)}),
    ("bmm.default", {"self": _X, "mat2": _real(2, 4, 5)}),
    ("mv.default", {"self": _real(2, 3), "vec": _real(3)}),
    ("dot.default", {"self": _real(3), "tensor": _real(3)}),
    ("addmm.default", {"self": _real(4), "mat1": _real(2, 3), "mat2": _real(3, 4)}),
    (
        "addmm.default",
        {"self": _real(2, 4), "mat1": _real(2, 3), "mat2": _real(3, 4), "beta": 0.5, "alpha": 2},
    ),
    (
        "baddbmm.default",
        {"self": _real(2, 3, 5), "batch1": _X, "batch2": _real(2, 4, 5), "beta": 0, "alpha": 0.5},
    ),
    ("baddbmm.default", {"self": _real(1, 1, 5), "batch1": _X, "batch2": _real(2, 4, 5)}),
    ("outer.default", {"self": _real(3), "vec2": _real(4)}),
    ("einsum.default", {"equation": "bhqd, bhkd -> bhqk", "tensors": (_A["query"], _A["key"])}),
    ("einsum.default", {"equation": "ij->ji", "tensors": (_real(2, 3),)}),
    (
        "conv2d.default",
        {"input": _real(2, 3, 8, 8), "weight": _real(5, 3, 4, 4), "bias": _real(5), **_C, "stride": (4, 4)},
    ),
    ("conv2d.default", {"input": _real(3, 8, 9), "weight": _real(5, 3, 3, 2), **_C, "padding": (1, 0)}),
    (
        "conv2d.default",
        {"input": _real(1, 4, 9, 9), "weight": _real(6, 2, 3, 3), **_C, "groups": 2, "dilation": (2, 1)},
    ),
    (
        "conv2d.default",
        {"input": _real(1, 3, 9, 9), "weight": _real(2, 3, 2, 2), **_C, "stride": (2,), "padding": (1,)},
    ),
    ("conv2d.padding", {"input": _real(1, 3, 7, 7), "weight": _real(5, 3, 3, 4), **_C, "padding": "same"}),
    ("conv2d.padding", {"input": _real(1, 3, 7, 7), "weight": _real(5, 3, 3, 4), **_C, "padding": "valid"}),
    (
        "conv1d.default",
        {
            "input": _real(2, 3, 8),
            "weight": _real(5, 3, 3),
            "stride": (2,),
            "padding": (1,),
            "dilation": (1,),
            "groups": 1,
        },
    ),
    (
        "conv1d.padding",
        {
            "input": _real(2, 3, 8),
            "weight": _real(5, 3, 3),
            "stride": (1,),
            "padding": "same",
            "dilation": (2,),
            "groups": 1,
        },
    ),
    ("scaled_dot_product_attention.default", _A),
    ("scaled_dot_product_attention.default", {**_A, "scale": 0.3}),
    ("scaled_dot_product_attention.default", {**_A, "attn_mask": _SOME}),
    ("scaled_dot_product_attention.default", {**_A, "attn_mask": _real(5, 6)}),
    ("scaled_dot_product_attention.default", {**_A, "is_causal": True}),
    (
        "scaled_dot_product_attention.default",
        {**_A, "key": _real(2, 2, 6, 8), "value": _real(2, 2, 6, 8), "enable_gqa": True},
    ),
]

_STATISTICS = {
    "running_mean": _real(3),
    "running_var": _positive(3),
    "training": False,
    "momentum": 0.1,
    "eps": 1e-5,
}

NORMALISATION: list[Case] = [
    (
        "layer_norm.default",
        {"input": _X, "normalized_shape": (4,), "weight": _real(4), "bias": _real(4), "eps": 1e-5},
    ),
    ("layer_norm.default", {"input": _X * 1e-3, "normalized_shape": (3, 4), "eps": 1e-3}),
    (
        "native_layer_norm.default",
        {"input": _X, "normalized_shape": (4,), "weight": _real(4), "bias": None, "eps": 1e-5},
    ),
    ("rms_norm.default", {"input": _X, "normalized_shape": (4,), "weight": _real(4), "eps": 1e-6}),
    ("rms_norm.default", {"input": _X * 1e-4, "normalized_shape": (4,), "weight": None, "eps": None}),
    (
        "batch_norm.default",
        {"input": _X, "weight": _real(3), "bias": _real(3), **_STATISTICS, "cudnn_enabled": False},
    ),
    (
        "batch_norm.default",
        {"input": _X, "weight": None, "bias": None, **_STATISTICS, "cudnn_enabled": False},
    ),
]

CASES = [*MOVEMENT, *CREATION, *POINTWISE, *REDUCTION, *LINEAR, *NORMALISATION]
