"""Calibration: what values a float graph takes on sample inputs.

A calibration result is data (`Ranges`), not a method: whatever observes a graph and fills `Ranges` (here the plain
minimum and maximum) can feed `flow.compress.quantize`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flow.errors import FlowError
from flow.golden import execute
from flow.ir import Array, Graph, Node, Value
from flow.ops.source import Constant

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""

LENGTH_INPUT = "attention_mask"
"""The graph input [1, S] whose prefix of ones is the length of a sequence."""


@dataclass(frozen=True, eq=False)
class Range:
    """Observed extremes of one value: `low` and `high` over everything, `channels` the largest magnitudes per channel.

    Channels are indices of the last axis.
    """

    low: float
    high: float
    channels: npt.NDArray[np.float64]

    @property
    def magnitude(self) -> float:
        """max |x|."""
        return max(abs(self.low), abs(self.high))

    @classmethod
    def of(cls, array: Array) -> Range:
        """The range of one array; of no elements at all, zero."""
        x = np.asarray(array, dtype=np.float64)
        flat = x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)
        if not flat.size:
            return cls(0.0, 0.0, np.zeros(flat.shape[1]))
        return cls(float(flat.min()), float(flat.max()), np.abs(flat).max(axis=0))

    def union(self, other: Range) -> Range:
        """The range that covers both."""
        return Range(
            min(self.low, other.low), max(self.high, other.high), np.maximum(self.channels, other.channels)
        )

    def scaled(self, factor: npt.NDArray[np.float64]) -> Range:
        """The range after a multiplication by a positive `factor` per channel.

        Channels keep only their magnitude, so `low` and `high` become the symmetric bound unless one of them is 0.
        """
        channels = self.channels * factor
        top = float(channels.max(initial=0.0))
        return Range(-top if self.low < 0 else 0.0, top if self.high > 0 else 0.0, channels)


@dataclass(frozen=True)
class Ranges:
    """Ranges of a graph's real values, and the number of samples they were taken from."""

    values: Mapping[Value, Range] = field(default_factory=dict)
    samples: int = 0

    def __getitem__(self, value: Value) -> Range:
        """The range of a value.

        Raises:
            FlowError: the value was never observed.
        """
        if value not in self.values:
            raise FlowError(
                f"calibration: found no range for {value}; expected one; calibrate the graph that is quantized"
            )
        return self.values[value]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def updated(self, values: Mapping[Value, Range]) -> Ranges:
        """These ranges with some replaced or added."""
        return Ranges({**self.values, **values}, self.samples)


def calibrate(
    graph: Graph, samples: Sequence[Mapping[str, Array]], progress: Progress | None = None
) -> Ranges:
    """Minimum, maximum and per-channel magnitude of every real value of a float graph over `samples`.

    Each sample maps input names to arrays of the exported shape (batch 1). Where the graph has an input
    `attention_mask` [1, S], only positions below the sample's length count in [S, C] values: what a float model
    computes beyond it is unused and may be arbitrarily large.

    Raises:
        FlowError: no samples, an input is missing or misshapen, a mask that is no non-empty prefix of ones, or a value
            that is not finite.
    """
    if not samples:
        raise FlowError(
            "calibration: found no samples; expected at least one; give inputs like those the model will see"
        )
    seen: dict[Value, Range] = {}
    for i, sample in enumerate(samples):
        execute(graph, sample, _observer(seen, _length(sample, i), i))
        if progress is not None:
            progress(i + 1, len(samples))
    return Ranges(seen, len(samples))


def _length(sample: Mapping[str, Array], number: int) -> tuple[int, int] | None:
    """(length, S) of a sample, or None if its graph has no mask."""
    if LENGTH_INPUT not in sample:
        return None
    mask = np.asarray(sample[LENGTH_INPUT]).reshape(-1) != 0
    length = int(np.count_nonzero(mask))
    if not length or not mask[:length].all():
        found, remedy = (
            ("ones that are no prefix", "pad sequences on the right")
            if length
            else ("no ones", "leave empty sequences out")
        )
        raise FlowError(
            f"sample {number}, {LENGTH_INPUT}: found {found}; expected ones, at least one, then zeros; {remedy}"
        )
    return length, mask.size


def _observer(
    seen: dict[Value, Range], length: tuple[int, int] | None, number: int
) -> Callable[[Node, tuple[Array, ...]], None]:
    def observe(node: Node, results: tuple[Array, ...]) -> None:
        if isinstance(node.op, Constant):
            return  # known without running; a weight must not be cut at the length either
        for index, result in enumerate(results):
            x = np.asarray(result)
            if not np.issubdtype(x.dtype, np.floating):
                continue
            if length is not None and x.ndim == 2 and x.shape[0] == length[1]:
                x = x[: length[0]]
            observed = Range.of(x)
            if not np.isfinite([observed.low, observed.high]).all():
                raise FlowError(
                    f"{node.where}: found a value that is not finite on sample {number}; expected finite activations; "
                    "check the model and the sample"
                )
            value = Value(node.name, index)
            seen[value] = seen[value].union(observed) if value in seen else observed

    return observe
