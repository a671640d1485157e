"""SmoothQuant is a rewrite to an equal float graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.calibrate import calibrate
from flow.compress.smooth import Smooth
from flow.golden import execute
from flow.ir import Array, Graph, Value, print_graph, verify
from flow.ops.float import FloatLinear, FloatNorm, FloatScale
from flow.ops.source import Constant

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_stay_equal(transformer: Build, samples: Draw, pre_norm: bool, bias: bool) -> None:
    graph = transformer(pre_norm=pre_norm, bias=bias, pool="mean", pooler=True)
    drawn = samples(graph, 4)
    before = print_graph(graph)
    smoothed, _ = Smooth()(graph, calibrate(graph, drawn))
    verify(smoothed)
    assert print_graph(graph) == before
    scales = [n for n in smoothed if isinstance(n.op, FloatScale)]
    readers = {
        n.name for norm in graph if isinstance(norm.op, FloatNorm) for n in graph.users(Value(norm.name))
    }
    assert len(scales) == (5 if pre_norm else 4)  # the last norm is scaled for the layer behind the pool
    assert len(readers) >= len(scales)
    for sample in drawn:
        np.testing.assert_allclose(
            execute(smoothed, sample)["out"], execute(graph, sample)["out"], rtol=2e-3, atol=2e-5
        )


def test_ranges_of_the_smoothed_graph_are_what_calibrating_it_gives(
    transformer: Build, samples: Draw
) -> None:
    graph = transformer()
    drawn = samples(graph, 4)
    smoothed, ranges = Smooth()(graph, calibrate(graph, drawn))
    again = calibrate(smoothed, drawn)
    assert len(again.values) == len(graph) - sum(isinstance(n.op, Constant) for n in graph) + 4
    for value, observed in again.values.items():
        np.testing.assert_allclose(ranges[value].channels, observed.channels, rtol=1e-4, err_msg=str(value))
        assert ranges[value].magnitude == pytest.approx(observed.magnitude, rel=1e-4)


def test_a_loud_channel_is_quietened(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    norm = graph["layers_0_attn_norm"]
    gain = graph.producer(norm.inputs[1]).op
    assert isinstance(gain, Constant)
    gain.value[5] = 100.0
    ranges = calibrate(graph, samples(graph, 4))
    smoothed, after = Smooth()(graph, ranges)

    def spread(channels: Array) -> float:
        return float(channels.max() / np.median(channels))

    assert spread(ranges[Value(norm.name)].channels) > 50
    (scale,) = [n for n in smoothed.users(Value(norm.name)) if isinstance(n.op, FloatScale)]
    assert spread(after[Value(scale.name)].channels) < 15


def test_fully_pruned_columns_do_not_blow_up() -> None:
    weight = np.ones((4, 6))
    weight[:, 2] = 0.0
    factors = Smooth().factors(np.ones(6), [weight])
    assert np.isfinite(factors).all()
    assert factors[2] / factors[0] == pytest.approx(50**0.5, rel=1e-6)
    assert Smooth().factors(np.ones(6), [np.zeros((4, 6))]).tolist() == [1.0] * 6
    assert (Smooth().factors(np.zeros(6), [np.ones((4, 6))]) == 1.0).all()


def test_pruned_weights_stay_zero(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    for node in graph:
        if isinstance(node.op, Constant) and node.op.value.ndim == 2:
            node.op.value[:, ::3] = 0.0
    smoothed, _ = Smooth()(graph, calibrate(graph, samples(graph, 2)))
    checked = 0
    for node in smoothed:
        if isinstance(node.op, FloatLinear):
            weight = smoothed.producer(node.inputs[1]).op
            assert isinstance(weight, Constant)
            assert (weight.value[:, ::3] == 0).all()
            assert (weight.value[:, 1::3] != 0).all()
            checked += 1
    assert checked == 6


def test_values_with_another_reader_keep_their_scale(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    graph.set_output("values", Value("layers_0_attn_v"))
    drawn = samples(graph, 2)
    smoothed, _ = Smooth()(graph, calibrate(graph, drawn))
    np.testing.assert_allclose(
        execute(smoothed, drawn[0])["values"], execute(graph, drawn[0])["values"], rtol=1e-3, atol=1e-5
    )
