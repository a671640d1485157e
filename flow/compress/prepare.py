"""From a float graph and samples to a graph that can be quantized at any widths: rewritten, smoothed, observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flow.compress.biases import MoveBiases
from flow.compress.calibrate import Ranges, calibrate, concerns, observe
from flow.compress.quantize import Edge, Memo, QuantizeOptions, check_quantizable, insert_pairs
from flow.compress.smooth import Smooth
from flow.compress.weights import Real
from flow.golden.samples import Sample
from flow.ir import Graph

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""
GRAM_BATCH = 16
"""Samples whose inputs are multiplied at once."""


@dataclass(frozen=True)
class Prepared:
    """`graph` computes what the model computes, in ranges that integers suit; `warnings` are about the samples."""

    graph: Graph
    ranges: Ranges
    options: QuantizeOptions
    grams: Mapping[str, Real]
    warnings: tuple[str, ...]
    _memo: Memo = field(default_factory=dict)

    def quantized(self, widths: Mapping[Edge, int] | None = None) -> Graph:
        """The graph with QDQ pairs; `widths` override those of the options."""
        options = replace(self.options, widths={**self.options.widths, **(widths or {})})
        return insert_pairs(self.graph, self.ranges, options, self.grams, self._memo)


def prepare(
    graph: Graph, samples: Sequence[Sample], options: QuantizeOptions, progress: Progress | None = None
) -> Prepared:
    """Move biases, calibrate, smooth, calibrate again with histograms, and gather Gram matrices if rounding asks for
    them.

    Raises:
        UnsupportedError: lists every node that cannot be quantized. FlowError: the samples are of no use.
    """
    tell = progress or (lambda *_: None)
    check_quantizable(graph)
    graph = MoveBiases()(graph)
    ranges = calibrate(graph, samples, lambda done, total: tell("calibrate", done, total))
    warnings = concerns(graph, samples, ranges)
    if options.smooth_alpha is not None:
        graph, ranges = Smooth(options.smooth_alpha, options.smooth_floor)(graph, ranges)
    ranges = observe(graph, samples, ranges, lambda done, total: tell("observe", done, total))
    grams = _grams(graph, samples, tell) if options.rounding_used == "gptq" else {}
    return Prepared(graph, ranges, options, grams, warnings)


def _grams(graph: Graph, samples: Sequence[Sample], tell: Progress) -> dict[str, Real]:
    from flow.compress.batched import Batched  # torch
    from flow.compress.moments import input_grams

    batched = Batched(graph)
    batches = [
        batched.batch(samples[start : start + GRAM_BATCH]) for start in range(0, len(samples), GRAM_BATCH)
    ]
    tell("inputs of weights", 0, 1)
    moments = input_grams(batched, batches)
    tell("inputs of weights", 1, 1)
    return {name: moment.gram.numpy() for name, moment in moments.items()}
