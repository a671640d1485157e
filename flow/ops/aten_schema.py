"""What torch's operator schemas say beyond names: the defaults that a file leaves out, and which results share memory.

Exported files omit every argument that is at its default. A test compares both tables with the installed torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FACTORY: dict[str, Any] = {"dtype": None, "layout": None, "device": None, "pin_memory": None}
_LIKE = {**_FACTORY, "memory_format": None}
_TO: dict[str, Any] = {"non_blocking": False, "copy": False, "memory_format": None}
_CONVOLUTION_1D: dict[str, Any] = {
    "bias": None,
    "stride": (1,),
    "padding": (0,),
    "dilation": (1,),
    "groups": 1,
}
_CONVOLUTION_2D: dict[str, Any] = {**_CONVOLUTION_1D, "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
_RANGE: dict[str, Any] = {"min": None, "max": None}

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "aten._safe_softmax.default": {"dtype": None},
    "aten._to_copy.default": {**_FACTORY, "non_blocking": False, "memory_format": None},
    "aten.add.Scalar": {"alpha": 1},
    "aten.add.Tensor": {"alpha": 1},
    "aten.addcdiv.default": {"value": 1},
    "aten.addcmul.default": {"value": 1},
    "aten.addmm.default": {"beta": 1, "alpha": 1},
    "aten.all.dim": {"keepdim": False},
    "aten.all.dims": {"dim": None, "keepdim": False},
    "aten.amax.default": {"dim": (), "keepdim": False},
    "aten.amin.default": {"dim": (), "keepdim": False},
    "aten.any.dim": {"keepdim": False},
    "aten.any.dims": {"dim": None, "keepdim": False},
    "aten.arange.default": _FACTORY,
    "aten.arange.start": _FACTORY,
    "aten.arange.start_step": {"step": 1, **_FACTORY},
    "aten.argmax.default": {"dim": None, "keepdim": False},
    "aten.argmin.default": {"dim": None, "keepdim": False},
    "aten.baddbmm.default": {"beta": 1, "alpha": 1},
    "aten.cat.default": {"dim": 0},
    "aten.chunk.default": {"dim": 0},
    "aten.clamp.Tensor": _RANGE,
    "aten.clamp.default": _RANGE,
    "aten.clip.default": _RANGE,
    "aten.clone.default": {"memory_format": None},
    "aten.concat.default": {"dim": 0},
    "aten.constant_pad_nd.default": {"value": 0},
    "aten.contiguous.default": {"memory_format": "contiguous_format"},
    "aten.conv1d.default": _CONVOLUTION_1D,
    "aten.conv1d.padding": {**_CONVOLUTION_1D, "padding": "valid"},
    "aten.conv2d.default": _CONVOLUTION_2D,
    "aten.conv2d.padding": {**_CONVOLUTION_2D, "padding": "valid"},
    "aten.copy.default": {"non_blocking": False},
    "aten.cumsum.default": {"dtype": None},
    "aten.diff.default": {"n": 1, "dim": -1, "prepend": None, "append": None},
    "aten.einsum.default": {"path": None},
    "aten.elu.default": {"alpha": 1, "scale": 1, "input_scale": 1},
    "aten.embedding.default": {"padding_idx": -1, "scale_grad_by_freq": False, "sparse": False},
    "aten.expand.default": {"implicit": False},
    "aten.eye.default": _FACTORY,
    "aten.eye.m": _FACTORY,
    "aten.flatten.using_ints": {"start_dim": 0, "end_dim": -1},
    "aten.full.default": _FACTORY,
    "aten.full_like.default": _LIKE,
    "aten.gather.default": {"sparse_grad": False},
    "aten.gelu.default": {"approximate": "none"},
    "aten.glu.default": {"dim": -1},
    "aten.hardtanh.default": {"min_val": -1, "max_val": 1},
    "aten.layer_norm.default": {"weight": None, "bias": None, "eps": 1e-05, "cudnn_enable": True},
    "aten.leaky_relu.default": {"negative_slope": 0.01},
    "aten.linalg_vector_norm.default": {"ord": 2, "dim": None, "keepdim": False, "dtype": None},
    "aten.linear.default": {"bias": None},
    "aten.linspace.default": _FACTORY,
    "aten.log_softmax.int": {"dtype": None},
    "aten.logsumexp.default": {"keepdim": False},
    "aten.max.dim": {"keepdim": False},
    "aten.mean.default": {"dtype": None},
    "aten.mean.dim": {"keepdim": False, "dtype": None},
    "aten.min.dim": {"keepdim": False},
    "aten.nan_to_num.default": {"nan": None, "posinf": None, "neginf": None},
    "aten.new_full.default": _FACTORY,
    "aten.new_ones.default": _FACTORY,
    "aten.new_zeros.default": _FACTORY,
    "aten.norm.Scalar": {"p": 2},
    "aten.norm.ScalarOpt_dim": {"keepdim": False},
    "aten.one_hot.default": {"num_classes": -1},
    "aten.ones.default": _FACTORY,
    "aten.ones_like.default": _LIKE,
    "aten.pad.default": {"mode": "constant", "value": None},
    "aten.prod.default": {"dtype": None},
    "aten.prod.dim_int": {"keepdim": False, "dtype": None},
    "aten.repeat_interleave.self_int": {"dim": None, "output_size": None},
    "aten.rms_norm.default": {"weight": None, "eps": None},
    "aten.roll.default": {"dims": ()},
    "aten.rsub.Scalar": {"alpha": 1},
    "aten.rsub.Tensor": {"alpha": 1},
    "aten.scalar_tensor.default": _FACTORY,
    "aten.scaled_dot_product_attention.default": {
        "attn_mask": None,
        "dropout_p": 0.0,
        "is_causal": False,
        "scale": None,
        "enable_gqa": False,
    },
    "aten.slice.Tensor": {"dim": 0, "start": None, "end": None, "step": 1},
    "aten.softmax.int": {"dtype": None},
    "aten.softplus.default": {"beta": 1, "threshold": 20},
    "aten.split.Tensor": {"dim": 0},
    "aten.split.sizes": {"dim": 0},
    "aten.split_with_sizes.default": {"dim": 0},
    "aten.stack.default": {"dim": 0},
    "aten.std.correction": {"dim": None, "correction": None, "keepdim": False},
    "aten.std.default": {"unbiased": True},
    "aten.std.dim": {"unbiased": True, "keepdim": False},
    "aten.sub.Scalar": {"alpha": 1},
    "aten.sub.Tensor": {"alpha": 1},
    "aten.subtract.Tensor": {"alpha": 1},
    "aten.sum.default": {"dtype": None},
    "aten.sum.dim_IntList": {"keepdim": False, "dtype": None},
    "aten.to.device": _TO,
    "aten.to.dtype": _TO,
    "aten.to.dtype_layout": {**_FACTORY, **_TO},
    "aten.to.other": _TO,
    "aten.tril.default": {"diagonal": 0},
    "aten.triu.default": {"diagonal": 0},
    "aten.unbind.int": {"dim": 0},
    "aten.var.correction": {"dim": None, "correction": None, "keepdim": False},
    "aten.var.default": {"unbiased": True},
    "aten.var.dim": {"unbiased": True, "keepdim": False},
    "aten.zeros.default": _FACTORY,
    "aten.zeros_like.default": _LIKE,
}
"""Arguments at their defaults, by target; an operator that is not listed has none."""

VIEWS = frozenset(
    "aten." + name
    for name in """
    _reshape_alias.default _unsafe_view.default adjoint.default alias.default alpha_dropout.default
    as_strided.default atleast_1d.default atleast_2d.default atleast_3d.default
    broadcast_tensors.default broadcast_to.default chunk.default contiguous.default detach.default
    diagonal.default dropout.default einsum.default expand.default expand_as.default
    feature_dropout.default flatten.using_ints lift.default lift_fresh.default linalg_diagonal.default
    mH.default mT.default matrix_H.default meshgrid.default meshgrid.indexing moveaxis.int
    moveaxis.intlist movedim.int movedim.intlist narrow.Tensor narrow.default numpy_T.default
    pad.default permute.default positive.default ravel.default real.default reshape.default
    reshape_as.default select.int slice.Tensor split.Tensor split.default split.sizes
    split_with_sizes.default squeeze.default squeeze.dim squeeze.dims swapaxes.default swapdims.default
    t.default tensor_split.indices tensor_split.sections to.device to.dtype to.dtype_layout to.other
    transpose.int type_as.default unbind.int unflatten.int unfold.default unsqueeze.default view.default
    view.dtype view_as.default
    """.split()
)
"""Operators whose result may share memory with an argument, so that writing to one may change the other."""
