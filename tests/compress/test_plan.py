"""Plans promise a density, keep it, and refuse what cannot be expressed."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.allocate import Choice, by_sensitivity, uniform
from flow.compress.matrices import find_matrices, with_constants
from flow.compress.plan import PruneOptions, default_banks, make_plan, masks_of
from flow.compress.schemes import SCHEMES
from flow.compress.scores import scores_of
from flow.errors import UnsupportedError
from flow.ir import Graph

Build = Callable[..., Graph]


@pytest.fixture
def graph(transformer: Build) -> Graph:
    return transformer(layers=2, width=64, heads=4, hidden=256)


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8])
def test_masks_have_the_density_that_the_plan_promises(graph: Graph, scheme: str, sparsity: float) -> None:
    plan = make_plan(graph, PruneOptions(scheme, sparsity))
    masks = masks_of(plan, scores_of(plan.matrices))
    total = sum(mask.size for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) / total == pytest.approx(plan.density)
    assert plan.density == pytest.approx(1 - sparsity, abs=0.0075)
    assert plan.banks == 8
    report = plan.to_json()
    assert [m["module"] for m in report["matrices"]][:2] == ["layers.0.attn.q", "layers.0.attn.k"]
    assert report["density"] == plan.density


def test_coarse_steps_are_made_up_for_by_fine_ones(graph: Graph) -> None:
    plan = make_plan(graph, PruneOptions(sparsity=0.8))
    cycles = [plan.structures[m.name].cycles for m in plan.matrices]
    assert cycles == [2, 2, 2, 2, 2, 3] * 2
    assert plan.density == pytest.approx(0.1979, abs=1e-4)


def test_the_nearest_sparsities_are_offered(graph: Graph) -> None:
    message = (
        "random, --sparsity 0.95: found 0.9062 as the nearest that scheme hp gives on 8 banks; expected a sparsity "
        "that it can express; choose one (expressible: 0.9062) or other --banks"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        make_plan(graph, PruneOptions(sparsity=0.95))
    assert make_plan(graph, PruneOptions(sparsity=0.95), nearest=True).density == pytest.approx(1 - 0.90625)
    make_plan(graph, PruneOptions(sparsity=0.9062))
    message = (
        "random, --sparsity 0.7: found 0.7500 as the nearest that scheme hp gives on 8 banks; expected a sparsity "
        "that it can express; choose one (expressible: 0.6250, 0.7500) or other --banks"
    )
    options = PruneOptions(sparsity=0.7, include=("layers.0.attn.q",), exclude=("*.ffn.*", "*.attn.[kvo]*"))
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        make_plan(graph, options)


def test_options_out_of_range_are_listed_together() -> None:
    message = (
        "prune options: found 8 values out of range; choose others\n"
        "  - scheme: found 'x'; expected hp, block, nm, pattern, unstructured\n"
        "  - sparsity: found 1.0; expected at least 0 and less than 1\n"
        "  - banks: found 12; expected a power of two\n"
        "  - block_rows: found 0; expected at least 1\n"
        "  - score: found 'y'; expected magnitude, wanda\n"
        "  - allocation: found 'z'; expected uniform, sensitivity\n"
        "  - nm_group: found 17; expected 0 (chosen) to 16\n"
        "  - patterns: found 1; expected 2 to 128"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        PruneOptions("x", 1.0, 12, 0, "y", "z", nm_group=17, patterns=1)


def test_wanda_weighs_columns_by_their_inputs(graph: Graph) -> None:
    matrices = find_matrices(graph)
    norms = {m.name: np.arange(m.columns, dtype=np.float64) for m in matrices}
    scores = scores_of(matrices, "wanda", norms)
    for m in matrices:
        np.testing.assert_allclose(scores[m.name], np.abs(m.weight) * np.arange(m.columns), rtol=1e-6)
    plan = make_plan(graph, PruneOptions(score="wanda", scheme="unstructured"), norms=norms)
    assert not any(mask[:, 0].any() for mask in masks_of(plan, scores).values())


def test_norms_that_are_missing_or_bad_are_listed(transformer: Build) -> None:
    matrices = find_matrices(transformer(layers=1))[:3]
    norms = {matrices[0].name: np.ones(5), matrices[1].name: np.full(32, -1.0)}
    message = (
        "--score wanda: found 3 matrices without input norms; expected one finite norm per input channel; give "
        "calibration data with --data, or choose --score magnitude\n"
        "  - layers.0.attn.q: found no norms; expected 32\n"
        "  - layers.0.attn.k: found norms that are negative or not finite\n"
        "  - layers.0.attn.v: found no norms; expected 32"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        scores_of(matrices, "wanda", norms)
    message = "--score: found 'x'; expected magnitude or wanda; choose one"
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        scores_of(matrices, "x")


def test_sensitivity_needs_curves(graph: Graph) -> None:
    message = (
        "random: found no measured sensitivity of layers.0.attn.q, layers.0.attn.k, layers.0.attn.v and others; "
        "expected errors at some densities for every matrix; give data with --data, or choose --allocation uniform"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        make_plan(graph, PruneOptions(allocation="sensitivity"))


def test_what_hurts_most_is_pruned_least(graph: Graph) -> None:
    matrices = find_matrices(graph)
    curves = {
        m.name: [(d, (50.0 if "fc1" in m.module else 1.0) * (1 - d) ** 2 / d) for d in (0.125, 0.25, 0.5)]
        for m in matrices
    }
    plan = make_plan(graph, PruneOptions(sparsity=0.5, allocation="sensitivity"), sensitivity=curves)
    density = {m.module: plan.structures[m.name].density for m in matrices}
    assert plan.density == pytest.approx(0.5, abs=0.0075)
    assert min(density[m] for m in density if "fc1" in m) > max(density[m] for m in density if "fc1" not in m)


def test_marginal_costs_meet_the_best_allocation() -> None:
    steps = tuple((i + 1) / 4 for i in range(4))
    choices = [Choice("a", 100, steps), Choice("b", 100, steps), Choice("c", 200, steps)]
    curves = {
        "a": [(d, (1 - d) ** 2) for d in steps[:3]],
        "b": [(d, 4 * (1 - d) ** 2) for d in steps[:3]],
        "c": [(d, 3 * (1 - d) ** 2) for d in steps[:3]],
    }
    for target in (0.3, 0.5, 0.75, 1.0):
        found = by_sensitivity(choices, curves, target)
        kept = sum(c.size * found[c.name] for c in choices)

        def error(densities: dict[str, float]) -> float:
            return sum(dict(curves[n] + [(1.0, 0.0)])[d] for n, d in densities.items())

        best = min(
            error({"a": a, "b": b, "c": c})
            for a in steps
            for b in steps
            for c in steps
            if 100 * a + 100 * b + 200 * c <= kept + 1e-9
        )
        assert error(found) == pytest.approx(best)
        assert abs(kept - 400 * target) <= 50
    assert by_sensitivity(choices, {name: [(0.5, 0.0)] for name in "abc"}, 0.5).keys() == set("abc")


def test_errors_that_fall_with_pruning_and_one_point_curves_are_no_trouble() -> None:
    steps = tuple((i + 1) / 8 for i in range(8))
    choices = [Choice(n, 64, steps) for n in "ab"]
    curves = {"a": [(0.25, -1.0), (0.5, 3.0)], "b": [(0.5, 0.0)]}
    found = by_sensitivity(choices, curves, 0.5)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["a"] < found["b"]


def test_uniform_takes_coarse_matrices_first() -> None:
    coarse, fine = tuple((i + 1) / 4 for i in range(4)), tuple((i + 1) / 32 for i in range(32))
    found = uniform([Choice("fine", 100, fine), Choice("coarse", 100, coarse)], 0.3)
    assert list(found) == ["fine", "coarse"]
    assert found["coarse"] == 0.25
    assert found["fine"] == pytest.approx(0.34375)


def test_default_banks_leave_eight_columns_in_the_narrowest(transformer: Build) -> None:
    for width, banks in ((8, 1), (32, 4), (60, 4), (64, 8)):
        heads = 5 if width == 60 else 2
        assert (
            default_banks(find_matrices(transformer(layers=1, width=width, heads=heads, hidden=128))) == banks
        )


def test_unusable_scores_are_listed(graph: Graph) -> None:
    plan = make_plan(graph, PruneOptions())
    scores = scores_of(plan.matrices)
    names = [m.name for m in plan.matrices]
    scores[names[0]] = scores[names[0]][:5]
    scores[names[2]] = np.full((64, 64), np.nan, np.float32)
    del scores[names[5]]
    message = (
        "pruning: found 3 matrices without usable scores; expected a finite score for every weight; check the weights "
        "and the calibration data\n"
        "  - layers.0.attn.q: found shape (5, 64); expected shape (64, 64)\n"
        "  - layers.0.attn.v: found values that are not finite\n"
        "  - layers.0.ffn.fc2: found none; expected shape (64, 256)"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        masks_of(plan, scores)


def test_weights_that_are_not_finite_are_refused(graph: Graph) -> None:
    matrix = find_matrices(graph)[1]
    broken = with_constants(graph, {matrix.name: np.full((64, 64), np.inf)})
    message = (
        "pruning: found 1 matrices without usable scores; expected a finite score for every weight; check the weights "
        "and the calibration data\n  - layers.0.attn.k: found values that are not finite"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        make_plan(broken, PruneOptions())
