"""Graph inputs and constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flow.errors import VerifyError
from flow.ir.op import Array, Op, register
from flow.ir.types import TensorType


@register
@dataclass(frozen=True, eq=False)
class Input(Op):
    """A model input. `key` is its name in `--inputs`; shape[0] is the batch of 1 that the file was exported
    with."""

    name: ClassVar[str] = "input"
    key: str
    type: TensorType

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.type,)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        raise VerifyError(f"input {self.key}: found no array; expected the executor to bind one")


@register
@dataclass(frozen=True, eq=False)
class Constant(Op):
    """A parameter, buffer or folded value. `key` is the torch name (`encoder.layers.0.linear1.weight`) where
    it has one."""

    name: ClassVar[str] = "constant"
    value: Array
    key: str = ""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (TensorType(tuple(self.value.shape), str(self.value.dtype)),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return (self.value,)
