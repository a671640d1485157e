"""The table of evaluations, and torch's rules for result types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from flow.ir import Array

Scalar = bool | int | float
Operand = Array | Scalar
Evaluation = Callable[..., Any]
"""Named arguments to one array, or to a tuple of arrays where the operator has several results."""

TABLE: dict[str, Evaluation] = {}
"""Evaluations by target, such as `aten.view.default`."""


_Function = TypeVar("_Function", bound=Evaluation)


def aten(*overloads: str) -> Callable[[_Function], _Function]:
    """Decorator: enter a function for `aten.<overload>` of each given name."""

    def enter(function: _Function) -> _Function:
        for overload in overloads:
            target = f"aten.{overload}"
            if target in TABLE:
                raise ValueError(f"{target} is evaluated twice")
            TABLE[target] = function
        return function

    return enter


def category(dtype: npt.DTypeLike) -> int:
    """torch's order of kinds: 0 bool, 1 integer, 2 real."""
    return {"b": 0, "i": 1, "u": 1, "f": 2}[np.dtype(dtype).kind]


def promote(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The type that holds both: the one of the higher kind (int64 with float32 is float32), else numpy's choice."""
    if category(a) != category(b):
        return max(a, b, key=category)
    return np.promote_types(a, b)


def result_type(*operands: Operand) -> np.dtype[Any]:
    """torch's result type: tensors with axes decide, then 0-d tensors, then Python numbers.

    A lower rank changes the type only by being of a higher kind; a Python float counts as float32.
    See https://docs.pytorch.org/docs/stable/tensor_attributes.html#torch.dtype
    """
    ranks: dict[int, np.dtype[Any]] = {}
    for operand in operands:
        if isinstance(operand, (np.ndarray, np.generic)):
            rank, dtype = (0 if operand.ndim else 1), operand.dtype
        else:
            rank, dtype = 2, python_type(operand)
        ranks[rank] = promote(ranks[rank], dtype) if rank in ranks else dtype
    result: np.dtype[Any] | None = None
    for rank in sorted(ranks):
        if result is None or category(ranks[rank]) > category(result):
            result = ranks[rank]
    if result is None:
        raise TypeError("no operands")
    return result


def python_type(value: Scalar) -> np.dtype[Any]:
    """The element type of a tensor made from a Python number: bool, int64 or float32."""
    return np.dtype({bool: "bool", int: "int64", float: "float32"}[type(value)])


def promoted(*operands: Operand) -> tuple[Array, ...]:
    """The operands as arrays of their common type."""
    dtype = result_type(*operands)
    return tuple(np.asarray(operand).astype(dtype, copy=False) for operand in operands)


def real(x: Array) -> Array:
    """Integers and booleans as float32, as for exp, sqrt or division."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)


def as_axes(dim: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
    """A reduction's axes for numpy; torch takes no axes to mean all of them."""
    return None if dim is None or dim == () else dim
