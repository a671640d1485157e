"""Where observers clip, against brute force on the values themselves."""

from __future__ import annotations

import numpy as np
import pytest

from flow.compress.calibrate import Range
from flow.compress.forms import Clipping, index_type, matmul_type, wide_type
from flow.compress.observers import BINS, Histogram, clip_magnitude, clip_sides, growth


def drawn(outliers: int = 4, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, 20000), rng.normal(0, 1, outliers) + 30]).astype(np.float32)


def histogram(x: np.ndarray, parts: int = 3) -> Histogram:
    found = Histogram.empty(float(x.min()), float(x.max()))
    for part in np.array_split(x, parts):
        found = found.counting(part)
    return found


def test_a_histogram_streams() -> None:
    x = drawn()
    found = histogram(x)
    assert found.total == x.size
    assert np.array_equal(found.counts, histogram(x, 1).counts)
    assert found.quantile(0.5) == pytest.approx(float(np.median(x)), abs=0.02)
    one = Histogram.empty(2.0, 2.0).counting(np.full(3, 2.0))
    assert one.counts[0] == 3


def test_percentile_leaves_out_its_share() -> None:
    x = drawn()
    clip = clip_magnitude(float(np.abs(x).max()), histogram(x), "percentile", 99.9, 8)
    assert np.mean(np.abs(x) > clip) == pytest.approx(0.001, rel=0.1)
    low, high = clip_sides(float(x.min()), float(x.max()), histogram(x), "percentile", 99.0)
    assert [np.mean(x < low), np.mean(x > high)] == pytest.approx([0.005, 0.005], rel=0.1)


@pytest.mark.parametrize("bits", [4, 8])
def test_mse_finds_the_clip_of_least_error(bits: int) -> None:
    x = drawn().astype(np.float64)
    top, largest = 2 ** (bits - 1) - 1, float(np.abs(x).max())

    def error(clip: float) -> float:
        return float(np.square(np.clip(np.rint(x / clip * top), -top, top) * clip / top - x).mean())

    found = clip_magnitude(largest, histogram(x), "mse", 0, bits)
    assert 2 < found < (0.3 if bits == 4 else 0.99) * largest
    assert error(found) <= 1.05 * min(error(c) for c in np.linspace(0.5, largest, 200))


def test_zeros_have_no_rounding_error() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, 1000), np.zeros(10**6)])
    dense = clip_magnitude(9.0, Histogram.empty(-9, 9).counting(x[:1000]), "mse", 0, 8)
    assert clip_magnitude(9.0, Histogram.empty(-9, 9).counting(x), "mse", 0, 8) == dense
    nothing = Histogram.empty(0.0, 0.0).counting(np.zeros(9))
    assert clip_magnitude(0.0, nothing, "mse", 0, 8) == 0.0


@pytest.mark.parametrize(
    ("rows", "bits", "room"),
    [(0, 8, 1.0), (0, 16, 1.1), (1, 8, 2.0), (1, 16, 5.0), (100, 8, 1.1), (100, 16, 1.4), (10000, 16, 1.1)],
)
def test_few_rows_leave_more_room(rows: int, bits: int, room: float) -> None:
    assert growth(rows, bits, 1.1) == pytest.approx(room)


def test_no_method_clips_int16() -> None:
    x = drawn()
    observed = Range(float(x.min()), float(x.max()), np.ones(1), x.size, None, histogram(x))
    for method in ("minmax", "percentile", "mse"):
        clipping = Clipping(method, 99.0, 1.1)
        assert float(wide_type(observed, clipping).scale) == pytest.approx(1.1 * x.max() / 32767, rel=1e-6)
    methods = ("auto", "minmax", "mse", "percentile")
    narrow = [float(matmul_type(observed, Clipping(method, 99.0, 1.1)).scale) for method in methods]
    assert narrow[0] == narrow[1]
    assert narrow == sorted(narrow, reverse=True)


@pytest.mark.parametrize("method", ["auto", "mse"])
@pytest.mark.parametrize(
    ("kind", "low", "high"), [("gelu", -4.5, 3.0), ("tanh", -3.0, 3.0), ("relu", -1.0, 4.0)]
)
def test_an_index_is_clipped_where_the_function_errs_least(
    kind: str, low: float, high: float, method: str
) -> None:
    x = drawn(outliers=0)
    x = np.concatenate([x, np.full(1, -25.0), np.full(1, 25.0)]).astype(np.float32)
    observed = Range(-25.0, 25.0, np.ones(1), 0, None, histogram(x))
    found = index_type(observed, [kind], 8, 8, Clipping(method, 0, 1.1))
    ends = [(code - int(found.zero_point)) * float(found.scale) for code in (0, 255)]
    assert ends[1] > high - 1.5
    assert ends[1] < 25.5
    if kind != "relu":
        assert ends[0] > low - 4.0
    assert histogram(x).counts.size == BINS
