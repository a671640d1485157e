"""The base class of integer operators (level 2): what the engine runs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.engine import Engine
from flow.ir.graph import Graph
from flow.ir.op import Array, Op


@dataclass(frozen=True)
class Work:
    """What a step has to do on an engine, once channels are in physical order.

    `tokens`: tokens of the longest sequence; `depth`: words per bank and tile of the input; `out_depth`: of the output; `planes`: byte
    passes over the input; `row_cycles`: sum of G*K over row groups; `row_groups`; `groups`: sum of code groups G; `beats`: weight stream.
    """

    tokens: int
    depth: int
    out_depth: int
    planes: int = 1
    row_cycles: int = 0
    row_groups: int = 0
    groups: int = 0
    beats: int = 0


@dataclass(frozen=True)
class Estimate:
    """Cost of an operator: cycles of its step, and the logic of its stage (shared by all steps that use it).

    `cycles`: from the first to the last occupied issue slot, fill and drain included. `macs`: useful multiply-accumulates.
    Resources: `dsp` slices, `lut` and `ff` cells, `bram` in 36-kbit blocks, `uram` blocks.
    """

    cycles: int
    macs: int
    dsp: int
    lut: int
    ff: int
    bram: int
    uram: int


class DeviceOp(Op):
    """An integer operator. `stage` is the engine feature it needs (None: always there)."""

    stage: ClassVar[str | None]

    @abstractmethod
    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles and resources on `engine`."""

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[Graph, ...]:
        """Small device graphs that exercise the operator, for the test that walks the registry."""


def exact_matmul(x: Array, w: Array) -> Array:
    """`x @ w` of integers, exact while every sum stays below 2^53: float64 BLAS is far faster than integer numpy."""
    return np.rint(np.asarray(x, np.float64) @ np.asarray(w, np.float64)).astype(np.int64)


STORAGE = {(8, True): "int8", (8, False): "uint8", (16, True): "int16", (16, False): "uint16"}


def storage(bits: int, signed: bool) -> str:
    """The numpy type that stores `bits`: 9 to 12 bits (a table index) travel in 16."""
    return STORAGE[8 if bits <= 8 else 16, signed]
