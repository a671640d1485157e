"""Integer types of edges: what a use of a value asks for, and the scale that a range gives."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flow.compress.calibrate import Range
from flow.compress.observers import Histogram, clip_magnitude, clip_sides, growth
from flow.ops.float import ACTIVATIONS
from flow.ops.quant import Dequantize, Quantize

Real = npt.NDArray[np.float64]

INDEX_LOW = {"gelu": -4.0, "gelu_tanh": -4.0, "silu": -4.0, "tanh": -4.0, "sigmoid": -8.0}
INDEX_HIGH = {"tanh": 4.0, "sigmoid": 8.0}
"""Where a table's index is clipped: beyond, the function is flat and codes are better spent within."""
LOWS = (0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0)
"""Multiples of INDEX_LOW and INDEX_HIGH that the search for the least error tries."""
HIGHS = 48
"""Upper ends that it tries, equally spaced up to the largest value."""


class Form(enum.Enum):
    """How a use of a value reads it."""

    DIRECT = "no pair: producer and user are one step, or it is a constant"
    MATMUL = "int8, zero point 0"
    INDEX = "unsigned affine index of a table"
    TABLE = "output of a table, towards a matmul"
    WIDE = "int16, zero point 0"


class Clipping(NamedTuple):
    """How ranges become types: a method of `observers`, its percentile, and the headroom of int16 edges."""

    method: str
    percentile: float
    headroom: float


def symmetric(magnitude: float, bits: int) -> Dequantize:
    """Signed, zero point 0: +-(2^(bits-1) - 1) spans +-magnitude. A magnitude of 0 counts as 1."""
    top = 2 ** (bits - 1) - 1
    return Dequantize(single(_sensible(magnitude) / top), np.array(0), -top, top, f"int{bits}")


def affine(low: float, high: float, bits: int) -> Dequantize:
    """Unsigned: 0..2^bits - 1 spans low..high, widened to hold 0 exactly. An empty range counts as 0..1."""
    low, high = min(low, 0.0), max(high, 0.0)
    top = 2**bits - 1
    scale = single(_sensible(high - low) / top)
    zero = int(np.clip(np.rint(-low / scale), 0, top))
    return Dequantize(scale, np.array(zero), 0, top, "uint8" if bits == 8 else "int16")


def matmul_type(observed: Range, clipping: Clipping) -> Dequantize:
    """int8 for a range."""
    method, percentile, headroom = clipping
    clip = clip_magnitude(observed.magnitude, observed.histogram, method, percentile, 8)
    return symmetric(clip * growth(observed.rows, 8, headroom), 8)


def rectified_type(observed: Range, clipping: Clipping) -> Dequantize:
    """Unsigned, zero point 0, for what saturation at 0 leaves."""
    method, percentile, headroom = clipping
    method = "mse" if method == "auto" else method
    clip = clip_magnitude(max(observed.high, 0.0), observed.histogram, method, percentile, 9)
    return affine(0.0, clip * growth(observed.rows, 8, headroom), 8)


def wide_type(observed: Range, clipping: Clipping) -> Dequantize:
    """int16 for a range: nothing that was seen is clipped, whatever the method."""
    return symmetric(observed.magnitude * growth(observed.rows, 16, clipping.headroom), 16)


def index_type(
    observed: Range, kinds: Iterable[str], bits: int, output_bits: int, clipping: Clipping
) -> Dequantize:
    """The unsigned index of a table of `bits`; `kinds` are the functions that it serves."""
    names = tuple(sorted(set(kinds)))
    method, percentile, headroom = clipping
    more = growth(observed.rows, 8, headroom)
    if method in ("auto", "mse") and observed.histogram is not None and observed.histogram.total:
        low, high = _least_error(observed.histogram, names, bits, output_bits)
        return affine(low, high * more, bits)
    low, high = clip_sides(observed.low, observed.high, observed.histogram, method, percentile)
    low = min(max(low * more, INDEX_LOW.get(kind, -np.inf)) for kind in names)
    high = max(min(high * more, INDEX_HIGH.get(kind, np.inf)) for kind in names)
    return affine(low, high, bits)


def table_type(kind: str, index: Dequantize, bits: int) -> Dequantize:
    """A table's output: the exact range of the function over the range of its index, unsigned affine or int16."""
    image = ACTIVATIONS[kind](_points(index))
    low, high = float(image.min()), float(image.max())
    return symmetric(max(-low, high), 16) if bits == 16 else affine(low, high, 8)


@lru_cache(maxsize=512)
def _least_error(
    histogram: Histogram, kinds: tuple[str, ...], bits: int, output_bits: int
) -> tuple[float, float]:
    """(low, high) of the index with the least square error of the function, rounded index and output together."""
    x, weight = histogram.centres, histogram.counts.astype(np.float64)
    exact = [ACTIVATIONS[kind](x) for kind in kinds]

    def error(low: float, high: float) -> float:
        index = affine(low, high, bits)
        codes = np.clip(np.rint(x / float(index.scale)) + int(index.zero_point), 0, index.qmax).astype(int)
        total = 0.0
        for kind, want in zip(kinds, exact, strict=True):
            output = table_type(kind, index, output_bits)
            (stored,) = Quantize(**output.attributes()).golden(ACTIVATIONS[kind](_points(index)))
            (found,) = output.golden(stored)
            total += float((weight * (found[codes] - want) ** 2).sum())
        return total

    floor = min(INDEX_LOW.get(kind, -np.inf) for kind in kinds)
    ceiling = max(INDEX_HIGH.get(kind, np.inf) for kind in kinds)
    finite = np.isfinite(floor)
    lows = sorted({max(histogram.low, floor * share) for share in LOWS}) if finite else [histogram.low]
    highs = max(histogram.high, 0.0) * np.arange(HIGHS, 0, -1) / HIGHS
    if np.isfinite(ceiling):
        highs = np.array(sorted({min(histogram.high, ceiling * share) for share in LOWS}))
    best = min((error(low, float(high)), low, float(high)) for low in lows for high in highs)
    return best[1], best[2]


def _points(index: Dequantize) -> Real:
    codes = np.arange(index.qmin, index.qmax + 1, dtype=np.float64)
    points: Real = (codes - int(index.zero_point)) * float(index.scale)
    return points


def _sensible(span: float) -> float:
    return span if span > 1e-12 else 1.0


def single(scale: npt.ArrayLike) -> Real:
    """float32 values in float64: a scale reads the same from every file format."""
    return np.asarray(np.asarray(scale, dtype=np.float32), dtype=np.float64)
