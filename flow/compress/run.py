"""`flow quantize`: a float model file to a QDQ `.pt2`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flow.compress.calibrate import calibrate
from flow.compress.quantize import QuantizeOptions, quantize
from flow.errors import FlowError, UnsupportedError
from flow.frontend import load
from flow.frontend.torch_required import require_torch
from flow.golden import execute
from flow.golden.samples import Sample, load_samples
from flow.ir import Array, Graph
from flow.ops.quant import QuantSpec
from flow.passes import recognise
from flow.passes.masks import MASK_KEY
from flow.passes.qdq import ADVICE
from flow.passes.to_integers import to_integers
from flow.resources import check_place

Progress = Callable[[str, int, int], None]
CHECKED = 32
"""Samples on which the written model is compared with the float one."""


@dataclass(frozen=True)
class Quantized:
    """What `flow quantize` did: samples used, QDQ pairs on activations, weight matrices, SQNR of each output in dB."""

    samples: int
    activations: int
    weights: int
    sqnr_db: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The object of `flow quantize --json`."""
        return {
            "samples": self.samples,
            "activations": self.activations,
            "weights": self.weights,
            "sqnr_db": self.sqnr_db,
        }


def quantize_file(
    model: Path,
    data: Path,
    output: Path,
    *,
    options: QuantizeOptions,
    limit: int,
    config: Path | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Read, recognise, calibrate, quantize and write.

    Raises:
        FlowError: bad model, data or place. UnsupportedError: the model is quantized already, or cannot be lowered.
    """
    require_torch("flow quantize")
    check_place(output, "-o")
    graph = recognise(load(model, config))
    if any(isinstance(n.op, QuantSpec) for n in graph):
        raise FlowError(
            f"{model}: found a model that is quantized already; expected a float model; "
            "give it to `flow lower` as it is"
        )
    samples = load_samples(data, graph).samples[:limit]
    tell = progress or (lambda *_: None)
    ranges = calibrate(graph, samples, lambda done, total: tell("calibrate", done, total))
    quantized = quantize(graph, ranges, options)
    _check_lowers(quantized)
    from flow.frontend.to_torch import write_pt2  # torch is loaded for writing only

    write_pt2(quantized, output)
    pairs = [n for n in quantized if n.op.name == "quantize"]
    scales = [n for n in quantized if n.op.name == "dequantize"]
    error = _errors(graph, quantized, samples[:CHECKED])
    return Quantized(len(samples), len(pairs), len(scales) - len(pairs), error)


def _check_lowers(quantized: Graph) -> None:
    """Refuse now what `flow lower` would refuse later.

    Raises:
        UnsupportedError: lists every place that the number contract does not know.
    """
    try:
        to_integers(quantized)
    except UnsupportedError as error:
        raise UnsupportedError(str(error).replace(f"; {ADVICE}", "")) from error


def _errors(graph: Graph, quantized: Graph, samples: tuple[Sample, ...]) -> dict[str, float]:
    """SQNR of every output over the valid tokens of the samples."""
    signal: dict[str, float] = dict.fromkeys(graph.outputs, 0.0)
    noise: dict[str, float] = dict.fromkeys(graph.outputs, 0.0)
    for sample in samples:
        exact, rounded = execute(graph, sample), execute(quantized, sample)
        for name, reference in exact.items():
            cut = _valid(reference, sample)
            signal[name] += float(np.square(cut, dtype=np.float64).sum())
            noise[name] += float(np.square(cut - _valid(rounded[name], sample), dtype=np.float64).sum())
    return {
        name: round(10 * float(np.log10(signal[name] / noise[name])), 2)
        for name in signal
        if noise[name] > 0 < signal[name]
    }


def _valid(output: Array, sample: Sample) -> Array:
    """The rows of real tokens, where an output has one row a token."""
    mask = sample.get(MASK_KEY)
    if mask is None or output.ndim < 2 or output.shape[-2] != mask.shape[-1]:
        return output
    return output[..., : int(np.count_nonzero(mask)), :]
