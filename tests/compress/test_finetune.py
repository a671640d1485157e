"""Fine-tuning wins back what four bits lost, keeps zeros, repeats, and stops at a loss that is not finite."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.errors import float_outputs, output_error
from flow.compress.finetune import finetune
from flow.compress.prepare import Prepared, prepare
from flow.compress.quantize import QuantizeOptions
from flow.compress.tuning import FinetuneOptions
from flow.errors import FlowError
from flow.ir import Array, Graph, print_graph, verify
from flow.ops.source import Constant
from flow.passes.to_integers import to_integers

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def sparse(transformer: Build, samples: Draw) -> tuple[Prepared, list[dict[str, Array]]]:
    graph = transformer(mask=True, layers=1)
    rng = np.random.default_rng(0)
    for node in graph:
        if isinstance(node.op, Constant) and node.op.value.ndim == 2:
            node.op.value[rng.random(node.op.value.shape) < 0.5] = 0
    drawn = samples(graph, 16)
    return prepare(graph, drawn, QuantizeOptions(weight_bits=4, rounding="nearest")), drawn


def integers(graph: Graph) -> dict[str, Array]:
    """Stored weights by name of the linear layer."""
    return {
        n.name: graph.producer(graph.producer(n.inputs[1]).inputs[0]).op.value  # type: ignore[attr-defined]
        for n in graph
        if n.op.name == "float.linear"
    }


def test_four_bits_come_nearer_to_the_float_model(transformer: Build, samples: Draw) -> None:
    prepared, drawn = sparse(transformer, samples)
    quantized = prepared.quantized()
    text, told = print_graph(quantized), []
    options = FinetuneOptions(steps=25, rate=8e-3)
    tuned = finetune(prepared.graph, quantized, drawn, options, lambda *what: told.append(what))
    assert print_graph(quantized) == text
    verify(tuned.graph)
    assert tuned.after < 0.7 * tuned.before
    assert told[-1] == ("fine-tune", 25, 25)
    want, fresh = float_outputs(prepared.graph, drawn), samples(prepared.graph, 8, seed=9)
    before = output_error(to_integers(quantized), drawn, want)
    after = output_error(to_integers(tuned.graph), drawn, want)
    assert after.sqnr_db["out"] > before.sqnr_db["out"] + 1
    unseen = [
        output_error(to_integers(g), fresh, float_outputs(prepared.graph, fresh)).noise
        for g in (quantized, tuned.graph)
    ]
    assert unseen[1] < unseen[0]
    old, new = integers(quantized), integers(tuned.graph)
    assert any(not np.array_equal(old[name], new[name]) for name in old)
    for name, weight in new.items():
        source = prepared.graph.producer(prepared.graph[name].inputs[1]).op
        assert isinstance(source, Constant)
        assert not weight[source.value == 0].any()
        assert np.abs(weight).max() <= 7
    short = FinetuneOptions(steps=3, rate=8e-3, batch=4)
    twice = [integers(finetune(prepared.graph, quantized, drawn, short).graph) for _ in range(2)]
    assert all(np.array_equal(twice[0][name], twice[1][name]) for name in new)


def test_what_does_not_help_is_not_kept(transformer: Build, samples: Draw) -> None:
    prepared, drawn = sparse(transformer, samples)
    quantized = prepared.quantized()
    tuned = finetune(prepared.graph, quantized, drawn, FinetuneOptions(steps=1, rate=1.0))
    assert tuned.graph is quantized
    assert tuned.after == tuned.before


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_a_loss_that_is_not_finite_stops(transformer: Build, samples: Draw) -> None:
    prepared, drawn = sparse(transformer, samples)
    quantized = prepared.quantized()
    bad = [{**sample, "x": np.full_like(sample["x"], np.nan)} for sample in drawn[:2]]
    message = "fine-tuning: found a loss of nan at step 1; expected a finite one; lower --finetune-rate"
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        finetune(prepared.graph, quantized, bad, FinetuneOptions(steps=1))
    message = "fine-tuning: found no samples; expected at least one; give the calibration samples"
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        finetune(prepared.graph, quantized, [], FinetuneOptions(steps=1))


def test_options_out_of_range_are_listed_together() -> None:
    message = (
        "fine-tuning options: found values out of range; choose others\n"
        "  - steps: found 0; expected at least 1\n"
        "  - rate: found 0; expected above 0, at most 1\n"
        "  - batch: found 0; expected at least 1\n"
        "  - seed: found -1; expected at least 0"
    )
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        FinetuneOptions(0, 0, 0, -1)
