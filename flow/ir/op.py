"""The base class of every operator of the IR."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import numpy as np
import numpy.typing as npt

from flow.ir.types import TensorType

Array = npt.NDArray[Any]


class Ref(NamedTuple):
    """Stands in an attribute for the node's `operand`-th input."""

    operand: int


@dataclass_transform(frozen_default=True)
class Op(ABC):
    """What a node computes. Subclasses are frozen dataclasses; their fields are the operator's attributes.

    Array attributes (weights, tables) are numpy arrays that nobody mutates; two operators are equal when they
    are the same object (`eq=False`), since comparing weights is never what a pass wants.
    """

    name: ClassVar[str]
    """The operator's name in printed IR, e.g. `linear`."""

    @property
    def label(self) -> str:
        """How messages name the operator (raw operators add the torch target)."""
        return self.name

    @abstractmethod
    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """Types of the outputs.

        Raises:
            UnsupportedError: the inputs do not suit the operator. FitError: a fixed limit of the architecture
            is exceeded.
        """

    @abstractmethod
    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        """Outputs from inputs, in numpy: the definition of the operator.

        For float operators this is the float evaluation; for device operators it is the exact integer
        arithmetic.
        """

    def attributes(self) -> dict[str, Any]:
        """Fields by name, for printing and serialising."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # every Op is a dataclass

    def __str__(self) -> str:
        shown = ", ".join(f"{k}={_brief(v)}" for k, v in self.attributes().items() if v is not None)
        return f"{self.name}({shown})" if shown else self.name


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{'x'.join(map(str, value.shape))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_brief(v) for v in value) + ")"
    return re.sub(r"\s+", " ", str(value))


Registry = dict[str, type[Op]]
REGISTRY: Registry = {}
"""Every operator class by name; `flow.ops` fills it, entry points of the group `flow.ops` add to it."""


def register(cls: type[Op]) -> type[Op]:
    """Class decorator: enter an operator into `REGISTRY` under its `name`."""
    if cls.name in REGISTRY and REGISTRY[cls.name] is not cls:
        raise ValueError(f"operator {cls.name!r} is registered twice: {REGISTRY[cls.name]} and {cls}")
    REGISTRY[cls.name] = cls
    return cls
