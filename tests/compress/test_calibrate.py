"""Calibration sees exactly what the float graph computes."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.calibrate import Range, Ranges, calibrate, concerns, observe
from flow.errors import FlowError
from flow.golden import execute
from flow.ir import Array, Graph, TensorType, Value
from flow.ops.float import FloatActivation
from flow.ops.source import Constant, Input

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def test_range_of_an_array_holds_extremes_and_channel_magnitudes() -> None:
    found = Range.of(np.array([[1.0, -5.0], [2.0, 3.0]]))
    assert (found.low, found.high, found.magnitude) == (-5.0, 3.0, 5.0)
    assert found.channels.tolist() == [2.0, 5.0]
    assert Range.of(np.zeros((0, 3))).channels.tolist() == [0.0, 0.0, 0.0]


def test_ranges_are_the_extremes_over_all_samples(transformer: Build, samples: Draw) -> None:
    graph, drawn, steps = transformer(), [], []
    drawn = samples(graph, 5)
    ranges = calibrate(graph, drawn, progress=lambda done, total: steps.append((done, total)))
    outputs = np.stack([execute(graph, s)["out"] for s in drawn])
    found = ranges[graph.outputs["out"]]
    assert (found.low, found.high) == (outputs.min(), outputs.max())
    np.testing.assert_array_equal(found.channels, np.abs(outputs).max((0, 1)))
    assert ranges.samples == 5
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_padding_does_not_count(transformer: Build, samples: Draw) -> None:
    graph = transformer(mask=True)
    drawn = samples(graph, 6)
    assert any(s["x"].max() == 1e3 for s in drawn)
    ranges = calibrate(graph, drawn)
    kept = max(float(np.abs(s["x"][: int(s["attention_mask"].sum())]).max()) for s in drawn)
    assert ranges[Value("x")].magnitude == pytest.approx(kept)
    assert ranges[Value("x")].magnitude < 50


def test_constants_are_not_observed(transformer: Build, samples: Draw) -> None:
    graph = transformer(mask=True, tokens=32)  # a weight of 32 rows must not be taken for 32 tokens
    ranges = calibrate(graph, samples(graph, 2))
    assert Value("final") in ranges
    assert Value("layers_0_attn_q_weight") not in ranges
    assert Value("attention_mask") not in ranges


def test_a_missing_range_says_to_calibrate() -> None:
    message = "calibration: found no range for %y; expected one; calibrate the graph that is quantized"
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        Ranges()[Value("y")]


@pytest.mark.parametrize(
    ("mask", "found", "remedy"),
    [
        ([1, 0, 1, 0], "ones that are no prefix", "pad sequences on the right"),
        ([0, 0, 0, 0], "no ones", "leave empty sequences out"),
    ],
)
def test_masks_other_than_prefixes_are_refused(
    transformer: Build, mask: list[int], found: str, remedy: str
) -> None:
    graph = transformer(mask=True, tokens=4)
    sample = {"x": np.ones((4, 32), np.float32), "attention_mask": np.array([mask])}
    message = f"sample 0, attention_mask: found {found}; expected ones, at least one, then zeros; {remedy}"
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        calibrate(graph, [sample])


def test_no_samples_are_refused(transformer: Build) -> None:
    message = (
        "calibration: found no samples; expected at least one; give inputs like those the model will see"
    )
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        calibrate(transformer(), [])


def test_values_that_are_not_finite_are_refused_by_name() -> None:
    graph = Graph()
    x = graph.add("x", Input("x", TensorType((2, 2), "float32")))
    graph.set_output("out", graph.add("act", FloatActivation("relu"), [x], module="ffn.act"))
    good = {"x": np.ones((2, 2), np.float32)}
    bad = {"x": np.full((2, 2), np.inf, np.float32)}
    message = (
        "x (input): found a value that is not finite on sample 1; expected finite activations; "
        "check the model and the sample"
    )
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        calibrate(graph, [good, bad])


def test_inputs_of_zeros_only_are_refused(transformer: Build, samples: Draw) -> None:
    graph = transformer()
    silent = [{"x": np.zeros((12, 32), np.float32)}] * 3
    message = (
        "calibration: found inputs without a signal; give inputs like those the model will see\n"
        "  - x: found only zeros in 3 samples; expected values that differ"
    )
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        calibrate(graph, silent)
    assert calibrate(graph, [*silent, *samples(graph, 1)]).samples == 4


def test_inputs_that_never_change_and_dead_values_are_concerns(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    weight = graph["layers_0_ffn_fc1_weight"].op, graph["layers_0_ffn_fc1_bias"].op
    for op in weight:
        assert isinstance(op, Constant)
        op.value[:] = 0
    drawn = samples(graph, 1) * 2
    found = concerns(graph, drawn, calibrate(graph, drawn))
    tail = "found only zeros; its step is arbitrary; expected some signal, unless the layers before it were pruned away"
    assert found == (
        "input x: found the same values in all 2 samples; expected inputs as different as the model will see",
        f"layers.0.ffn.fc1 (float.linear): {tail}",
        f"layers.0.ffn.act (gelu): {tail}",
    )
    assert concerns(graph, drawn[:1], calibrate(graph, drawn[:1])) == found[1:]


def test_observing_counts_every_value_of_real_tokens(transformer: Build, samples: Draw) -> None:
    graph = transformer(mask=True, layers=1)
    drawn = samples(graph, 5)
    ranges = observe(graph, drawn, calibrate(graph, drawn))
    rows = sum(int(s["attention_mask"].sum()) for s in drawn)
    found = ranges[Value("layers_0_ffn_norm")]
    assert found.rows == rows
    assert found.histogram is not None
    assert found.histogram.total == rows * 32
    values: list[Array] = []
    for sample in drawn:
        watched = graph.copy()
        watched.set_output("seen", Value("layers_0_ffn_norm"))
        values.append(execute(watched, sample)["seen"][: int(sample["attention_mask"].sum())])
    everything = np.concatenate(values)
    assert found.squares is not None
    np.testing.assert_allclose(found.squares, np.square(everything).mean(0), rtol=1e-5)
    counts, _ = np.histogram(everything, 16, (found.histogram.low, found.histogram.high))
    assert np.abs(found.histogram.counts.reshape(16, -1).sum(1) - counts).max() <= 2
    assert ranges[Value("layers_0_attn_q")].histogram is None  # nothing chooses from it
