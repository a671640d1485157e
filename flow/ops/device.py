"""The base class of integer operators (level 2): what the engine runs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from flow.engine import Engine
from flow.engine.timing import Timing
from flow.ir.graph import Graph
from flow.ir.op import REGISTRY, Array, Op
from flow.ops.hardware import Resources

Counts = npt.NDArray[np.int64]
BURST_CYCLES = 35
"""Of a memory that answers after 100 cycles, and 5 in registers on the way, to three bursts at a time."""


@dataclass(frozen=True, eq=False)
class RowGroups:
    """The row groups of a matrix in the order of its weight stream, int64 arrays of one length.

    Attributes:
        cycles: G*K, array cycles for each token tile and byte plane.
        beats: beats of the record.
        lookups: cycles in which the weight loader looks operand offsets up.
        maps: cycles in which it reads a column map.
    """

    cycles: Counts
    beats: Counts
    lookups: Counts
    maps: Counts

    @staticmethod
    def none() -> RowGroups:
        """Of a step without weights."""
        empty = np.zeros(0, np.int64)
        return RowGroups(empty, empty, empty, empty)


@dataclass(frozen=True, eq=False)
class Work:
    """What a step has to do on an engine, once channels are in physical order.

    Attributes:
        tokens: tokens of the longest sequence; 1 where the step works on one token.
        channels: channels of the input, without padding.
        depth: words per bank, byte plane and token tile of the input.
        planes: byte planes of the input (of the tensor that moves, for input, constant and output).
        out_planes: byte planes of the widest result.
        least: slots that a result of a linear step takes at least.
        row_groups: the weights of a linear step.
        preload: cycles in which code page, tables or norm constants are loaded, ahead of the weights.
        beat_cycles: engine cycles between two beats from memory, at least 1.
    """

    tokens: int
    channels: int
    depth: int
    planes: int
    out_planes: int
    least: int
    row_groups: RowGroups
    preload: int
    beat_cycles: float

    def fetch_cycles(self, beats: int, more: int, burst: int) -> int:
        """Engine cycles that `beats` beats from memory take, in bursts of `burst` and some more: a beat every
        `beat_cycles`, and a burst every `BURST_CYCLES`."""
        bursts = more + beats // burst
        return max(int(np.ceil(beats * self.beat_cycles)), BURST_CYCLES * bursts)


@dataclass(frozen=True)
class Estimate:
    """Cost of an operator: cycles of its step, and the hardware of its stage (shared by all steps that use it).

    Attributes:
        cycles: from its start to the next step's, which follows it as soon as it has read everything
            (`step_dispatch`), if what it loads is there in time; 0 for a stage that is pipelined behind the
            array. The closed form of what `flow.cost.machine` counts row group by row group.
        fetch: cycles in which the memory gives what the step reads of the image, ahead of its loading.
        load: cycles in which that is loaded, ahead of the step where there is time.
        lag: from the end of its loading to the next step's start, at least.
        macs: useful int8 products: kept weights (or query-key pairs) times real tokens, twice for a tensor
            of two byte planes.
        bound: what most of `cycles` wait for: multipliers, ports, memory bandwidth, norm lanes, post lanes or stream.
        resources: the stage, calibrated against Yosys.
        feed: what `fetch` or `load`, whichever is more, waits for: memory bandwidth, code look-ups or column maps.
    """

    cycles: int
    fetch: int
    load: int
    lag: int
    macs: int
    bound: str
    resources: Resources
    feed: str = "memory bandwidth"

    @property
    def alone(self) -> int:
        """Cycles of the step where its loading is not hidden by steps before it."""
        return max(self.cycles, max(self.fetch, self.load) + self.lag)


class DeviceOp(Op):
    """An integer operator. `stage` is the engine feature it needs (None: always there)."""

    stage: ClassVar[str | None]

    @classmethod
    @abstractmethod
    def hardware(cls, engine: Engine) -> Resources:
        """The operator's stage on `engine`."""

    @abstractmethod
    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Cycles and resources on `engine`."""

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[Graph, ...]:
        """Small device graphs that exercise the operator, for the test that walks the registry."""


@lru_cache(maxsize=1024)
def hardware_of(op: type[DeviceOp], engine: Engine) -> Resources:
    """`op.hardware(engine)`, remembered: every step of a model asks for the same few."""
    return op.hardware(engine)


@lru_cache(maxsize=1024)
def timing_of(engine: Engine) -> Timing:
    """Latencies of an engine, with those of the stages that plug-ins bring."""
    latencies = (int(getattr(REGISTRY[name], "latency")) for name in engine.outside)  # noqa: B009
    return Timing(engine, max(latencies, default=0))


def pipelined(op: DeviceOp, engine: Engine) -> Estimate:
    """The estimate of a stage behind the array: it takes a result a cycle and adds latency only, which
    `linear` counts."""
    return Estimate(0, 0, 0, 0, 0, "multipliers", hardware_of(type(op), engine))


def exact_matmul(x: Array, w: Array) -> Array:
    """`x @ w` of integers, exact while every sum stays below 2^53: float64 BLAS is far faster than integer
    numpy."""
    return np.rint(np.asarray(x, np.float64) @ np.asarray(w, np.float64)).astype(np.int64)


STORAGE = {(8, True): "int8", (8, False): "uint8", (16, True): "int16", (16, False): "uint16"}


def storage(bits: int, signed: bool) -> str:
    """The numpy type that stores `bits`: 9 to 12 bits (a table index) travel in 16."""
    return STORAGE[8 if bits <= 8 else 16, signed]
