"""Calibration: what values a float graph takes on sample inputs.

Two passes over the samples. `calibrate` finds extremes, which smoothing needs; `observe` then counts the values of the
smoothed graph in histograms, from which `flow.compress.observers` chooses where to clip. A calibration result is data
(`Ranges`), not a method: whatever fills one can feed `flow.compress.quantize`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from flow.compress.observers import Histogram
from flow.errors import FlowError, raise_all
from flow.golden import execute
from flow.ir import Array, Graph, Node, Value
from flow.ops.float import FloatActivation, FloatLinear
from flow.ops.source import Constant, Input

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""

LENGTH_INPUT = "attention_mask"
"""The graph input [1, S] whose prefix of ones is the length of a sequence."""


@dataclass(frozen=True, eq=False)
class Range:
    """Observed extremes of one value: `low` and `high` over everything, `channels` the largest magnitudes per channel.

    Channels are indices of the last axis; `rows` counts the vectors of them that were seen, 0 where nobody counted.
    `squares` [C] is the mean square of each channel and `histogram` counts all values, once `observe` has run.
    """

    low: float
    high: float
    channels: npt.NDArray[np.float64]
    rows: int = 0
    squares: npt.NDArray[np.float64] | None = None
    histogram: Histogram | None = None

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
        return cls(float(flat.min()), float(flat.max()), np.abs(flat).max(axis=0), len(flat))

    def union(self, other: Range) -> Range:
        """The range that covers both."""
        return Range(
            min(self.low, other.low),
            max(self.high, other.high),
            np.maximum(self.channels, other.channels),
            self.rows + other.rows,
        )

    def scaled(self, factor: npt.NDArray[np.float64]) -> Range:
        """The range after a multiplication by a positive `factor` per channel.

        Channels keep only their magnitude, so `low` and `high` become the symmetric bound unless one of them is 0.
        """
        channels = self.channels * factor
        top = float(channels.max(initial=0.0))
        return Range(-top if self.low < 0 else 0.0, top if self.high > 0 else 0.0, channels, self.rows)


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
        FlowError: no samples, a float input that is zero in all of them, an input that is missing or misshapen, a mask
            that is no non-empty prefix of ones, or a value that is not finite.
    """
    if not samples:
        raise FlowError(
            "calibration: found no samples; expected at least one; give inputs like those the model will see"
        )
    _refuse_silence(graph, samples)
    seen: dict[Value, Range] = {}
    for i, sample in enumerate(samples):
        execute(graph, sample, _observer(seen, _length(sample, i), i))
        if progress is not None:
            progress(i + 1, len(samples))
    return Ranges(seen, len(samples))


def observe(
    graph: Graph, samples: Sequence[Mapping[str, Array]], ranges: Ranges, progress: Progress | None = None
) -> Ranges:
    """`ranges` with a histogram and mean squares for every value that a linear layer or an activation reads.

    `ranges` may be wider than the values, as smoothing leaves them: extremes are taken anew. Raises as `calibrate`.
    """
    wanted = {node.inputs[0] for node in graph if isinstance(node.op, (FloatLinear, FloatActivation))}
    seen: dict[Value, Range] = {}
    squares = {v: np.zeros(len(ranges[v].channels)) for v in wanted if v in ranges}
    counts = {v: Histogram.empty(ranges[v].low, ranges[v].high) for v in squares}
    for i, sample in enumerate(samples):
        length = _length(sample, i)
        extremes = _observer(seen, length, i)

        def see(
            node: Node,
            results: tuple[Array, ...],
            length: tuple[int, int] | None = length,
            extremes: Callable[[Node, tuple[Array, ...]], None] = extremes,
        ) -> None:
            extremes(node, results)
            value = Value(node.name)
            if value in counts:
                x = _cut(np.asarray(results[0]), length)
                counts[value] = counts[value].counting(x)
                squares[value] += np.square(x, dtype=np.float64).reshape(-1, x.shape[-1]).sum(axis=0)

        execute(graph, sample, see)
        if progress is not None:
            progress(i + 1, len(samples))
    for value, histogram in counts.items():
        found = seen[value]
        seen[value] = replace(found, squares=squares[value] / max(found.rows, 1), histogram=histogram)
    return ranges.updated(seen)


def concerns(graph: Graph, samples: Sequence[Mapping[str, Array]], ranges: Ranges) -> tuple[str, ...]:
    """What is odd about calibration data though nothing forbids it: inputs that never change, values that are all 0."""
    found = []
    for node in graph:
        if isinstance(node.op, Input) and node.op.key != LENGTH_INPUT and len(samples) > 1:
            first = np.asarray(samples[0][node.op.key])
            if all(np.array_equal(first, sample[node.op.key]) for sample in samples[1:]):
                found.append(
                    f"input {node.op.key}: found the same values in all {len(samples)} samples; expected inputs as "
                    "different as the model will see"
                )
        for index in range(len(node.types)):
            value = Value(node.name, index)
            if value in ranges and not ranges[value].magnitude and not isinstance(node.op, (Constant, Input)):
                found.append(
                    f"{node.where}: found only zeros; its step is arbitrary; expected some signal, unless the layers "
                    "before it were pruned away"
                )
    return tuple(found)


def _refuse_silence(graph: Graph, samples: Sequence[Mapping[str, Array]]) -> None:
    """Refuse data whose float inputs are zero throughout: every scale behind them would be arbitrary."""
    keys = [n.op.key for n in graph if isinstance(n.op, Input) and n.op.type.is_float]
    raise_all(
        FlowError,
        "calibration: found inputs without a signal; give inputs like those the model will see",
        (
            f"{key}: found only zeros in {len(samples)} samples; expected values that differ"
            for key in keys
            if all(key in sample and not np.any(sample[key]) for sample in samples)
        ),
    )


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


def _cut(x: Array, length: tuple[int, int] | None) -> Array:
    """The rows of real tokens, where a value has one row a token."""
    return x[: length[0]] if length is not None and x.ndim == 2 and x.shape[0] == length[1] else x


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
            observed = Range.of(_cut(x, length))
            if not np.isfinite([observed.low, observed.high]).all():
                raise FlowError(
                    f"{node.where}: found a value that is not finite on sample {number}; expected finite activations; "
                    "check the model and the sample"
                )
            value = Value(node.name, index)
            seen[value] = seen[value].union(observed) if value in seen else observed

    return observe
