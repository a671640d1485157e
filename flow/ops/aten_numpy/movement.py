"""Operators that move, select or repeat elements."""
# ruff: noqa: A002, D103 - torch names the arguments and defines the operators

from __future__ import annotations

from typing import Any

import numpy as np

from flow.ir import Array
from flow.ops.aten_numpy.table import aten, promote


@aten("view.default", "_unsafe_view.default")
def view(input: Array, size: tuple[int, ...]) -> Array:
    return input.reshape(size)


@aten("reshape.default")
def reshape(input: Array, shape: tuple[int, ...]) -> Array:
    return input.reshape(shape)


@aten("view_as.default", "reshape_as.default")
def view_as(input: Array, other: Array) -> Array:
    return input.reshape(other.shape)


@aten("flatten.using_ints")
def flatten(input: Array, start_dim: int, end_dim: int) -> Array:
    if input.ndim == 0:
        return input.reshape(1)
    start, end = start_dim % input.ndim, end_dim % input.ndim
    return input.reshape(*input.shape[:start], -1, *input.shape[end + 1 :])


@aten("unflatten.int")
def unflatten(input: Array, dim: int, sizes: tuple[int, ...]) -> Array:
    axis = dim % input.ndim
    return input.reshape(*input.shape[:axis], *sizes, *input.shape[axis + 1 :])


@aten("permute.default")
def permute(input: Array, dims: tuple[int, ...]) -> Array:
    return input.transpose(dims)


@aten("transpose.int")
def transpose(input: Array, dim0: int, dim1: int) -> Array:
    return input if input.ndim == 0 else input.swapaxes(dim0, dim1)


@aten("swapaxes.default")
def swapaxes(input: Array, axis0: int, axis1: int) -> Array:
    return transpose(input, axis0, axis1)


@aten("t.default", "numpy_T.default")
def t(input: Array) -> Array:
    return input.T


@aten("mT.default", "adjoint.default")
def matrix_transpose(input: Array) -> Array:
    return input.swapaxes(-1, -2)


@aten("movedim.int", "movedim.intlist")
def movedim(input: Array, source: int | tuple[int, ...], destination: int | tuple[int, ...]) -> Array:
    return np.moveaxis(input, source, destination)


@aten("unsqueeze.default")
def unsqueeze(input: Array, dim: int) -> Array:
    return np.expand_dims(input, dim)


@aten("squeeze.default")
def squeeze(input: Array) -> Array:
    return np.squeeze(input)


@aten("squeeze.dim", "squeeze.dims")
def squeeze_dims(input: Array, dim: int | tuple[int, ...]) -> Array:
    dims = dim if isinstance(dim, tuple) else (dim,)
    axes = {d % input.ndim for d in dims if input.ndim and input.shape[d] == 1}
    return np.squeeze(input, tuple(axes))


@aten("select.int")
def select(input: Array, dim: int, index: int) -> Array:
    return np.asarray(np.take(input, index, axis=dim))


@aten("slice.Tensor")
def slice_(input: Array, dim: int, start: int | None, end: int | None, step: int) -> Array:
    where: list[Any] = [slice(None)] * input.ndim
    where[dim] = slice(start, end, step)
    return np.asarray(input[tuple(where)])


@aten("narrow.default")
def narrow(input: Array, dim: int, start: int, length: int) -> Array:
    first = start % input.shape[dim] if start < 0 else start
    return slice_(input, dim, first, first + length, 1)


@aten("expand.default")
def expand(input: Array, size: tuple[int, ...], implicit: bool = False) -> Array:
    del implicit
    added = len(size) - input.ndim
    shape = [input.shape[i - added] if n == -1 else n for i, n in enumerate(size)]
    return np.broadcast_to(input, shape)


@aten("expand_as.default")
def expand_as(input: Array, other: Array) -> Array:
    return np.broadcast_to(input, other.shape)


@aten("repeat.default", "tile.default")
def repeat(input: Array, **arguments: tuple[int, ...]) -> Array:
    (counts,) = arguments.values()  # repeats, or dims
    return np.tile(input, counts)


@aten("repeat_interleave.self_int")
def repeat_interleave(input: Array, repeats: int, dim: int | None, output_size: int | None = None) -> Array:
    del output_size
    return np.repeat(input, repeats, axis=dim)


@aten("flip.default")
def flip(input: Array, dims: tuple[int, ...]) -> Array:
    return np.flip(input, dims)


@aten("roll.default")
def roll(input: Array, shifts: tuple[int, ...], dims: tuple[int, ...]) -> Array:
    return np.roll(input, shifts, dims) if dims else np.roll(input, shifts[0])


@aten("contiguous.default", "clone.default")
def contiguous(input: Array, memory_format: str | None = None) -> Array:
    del memory_format
    return input


@aten("alias.default", "detach.default", "lift_fresh_copy.default", "lift_fresh.default", "lift.default")
def alias(input: Array) -> Array:
    return input


@aten("dropout.default", "feature_dropout.default", "alpha_dropout.default")
def dropout(input: Array, p: float, train: bool) -> Array:
    if train and p:
        raise ValueError("dropout draws random numbers in training mode")
    return input


@aten("cat.default", "concat.default")
def cat(tensors: tuple[Array, ...], dim: int) -> Array:
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = promote(dtype, x.dtype)
    kept = [x for x in tensors if x.shape != (0,)] or list(
        tensors
    )  # torch lets an empty vector join anything
    return np.concatenate([x.astype(dtype, copy=False) for x in kept], axis=dim)


@aten("stack.default")
def stack(tensors: tuple[Array, ...], dim: int) -> Array:
    rank = tensors[0].ndim + 1
    return cat(tuple(np.expand_dims(x, dim % rank) for x in tensors), dim % rank)


@aten("split.Tensor")
def split(input: Array, split_size: int, dim: int) -> tuple[Array, ...]:
    return tuple(np.split(input, range(split_size, input.shape[dim], split_size), axis=dim))


@aten("split_with_sizes.default", "split.sizes")
def split_with_sizes(input: Array, dim: int, **sizes: tuple[int, ...]) -> tuple[Array, ...]:
    (lengths,) = sizes.values()  # split_sizes, or split_size
    return tuple(np.split(input, np.cumsum(lengths)[:-1], axis=dim))


@aten("chunk.default")
def chunk(input: Array, chunks: int, dim: int) -> tuple[Array, ...]:
    return split(input, max(-(-input.shape[dim] // chunks), 1), dim)


@aten("unbind.int")
def unbind(input: Array, dim: int) -> tuple[Array, ...]:
    return tuple(np.moveaxis(input, dim, 0))


@aten("index.Tensor")
def index(input: Array, indices: tuple[Array | None, ...]) -> Array:
    where: tuple[Any, ...] = tuple(slice(None) if i is None else i for i in indices)
    return np.asarray(input[where])


@aten("index_select.default")
def index_select(input: Array, dim: int, index: Array) -> Array:
    return np.take(input, np.atleast_1d(index), axis=dim)


@aten("gather.default")
def gather(input: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    del sparse_grad
    axis = dim % max(input.ndim, 1)
    # torch reads only the leading part of the other axes when the index is smaller.
    part = input[tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(index.shape))]
    return np.take_along_axis(part, index, axis)


@aten("embedding.default")
def embedding(weight: Array, indices: Array, **training: Any) -> Array:
    del training  # padding_idx and the like change gradients only
    if np.any(indices < 0):
        raise IndexError("embedding: negative index")
    return np.asarray(weight[indices])


@aten("pad.default", "constant_pad_nd.default")
def pad(input: Array, pad: tuple[int, ...], value: float | None, mode: str = "constant") -> Array:
    if mode != "constant":
        raise NotImplementedError(f"pad: mode {mode}")
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    widths = [(0, 0)] * (input.ndim - len(pairs)) + pairs
    kept = input[
        tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(widths, input.shape, strict=True))
    ]
    grown = [(max(a, 0), max(b, 0)) for a, b in widths]
    return np.pad(kept, grown, constant_values=input.dtype.type(value or 0))


@aten("diff.default")
def diff(input: Array, n: int, dim: int, prepend: Array | None, append: Array | None) -> Array:
    parts = tuple(x for x in (prepend, input, append) if x is not None)
    joined = cat(parts, dim)
    if joined.dtype == np.bool_:
        for _ in range(n):
            joined = np.logical_xor(slice_(joined, dim, 1, None, 1), slice_(joined, dim, None, -1, 1))
        return joined
    return np.diff(joined, n, axis=dim)
