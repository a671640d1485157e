"""The rounding bounds of `bounds.py` hold on a sound model and notice arithmetic that is slightly wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flow import numerics
from flow.ir import Array
from flow.ops.table import Table
from tests.transformers import zoo
from tests.transformers.bounds import Checked, check_steps, closing_steps
from tests.transformers.pipeline import Model, make
from tests.transformers.specs import Spec

SPEC = Spec(
    seed=7,
    width=40,
    heads=2,
    hidden=56,
    tokens=13,
    pre_norm=False,
    final_norm=False,
    eps=1e-2,
    mask="padding",
    head="pooler",
)
"""A model with every kind of step: norms, attention, residuals, a table, a mean, linear layers of every sort."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make(SPEC, tmp_path_factory.mktemp("bounds"))


def steps(model: Model) -> list[Checked]:
    found = []
    for sample in zoo.samples(SPEC, 3, seed=9):
        checked = check_steps(model.reference, model.graph, sample, zoo.length(SPEC, sample))
        assert {step.name for step in checked} == closing_steps(model.graph)
        found += checked
    return found


def test_every_kind_of_step_is_within_its_bound(model: Model) -> None:
    found = steps(model)
    kinds = ("linear", "add", "norm", "scale", "attention", "activation", "pool")
    assert {step.kind for step in found} == {f"float.{kind}" for kind in kinds}
    assert all(step.holds for step in found)
    assert max(step.share for step in found) > 0.9, (
        "the bounds are far from what happens: they would notice little"
    )


def floored(acc: Array, multiplier: Array | int, shift: Array | int) -> Array:
    """`rescale` without rounding."""
    return (np.asarray(acc, np.int64) * multiplier) >> np.asarray(shift, np.int64)


def no_eps(x: Array, epsilon: int, centred: bool) -> Array:
    return numerics.normalise(x, 0 * epsilon, centred)


def coarse_norm(x: Array, epsilon: int, centred: bool) -> Array:
    """Eight fraction bits instead of twelve."""
    return numerics.normalise(x, epsilon, centred) >> 4 << 4


def warm_numerators(scores: Array, mask: Array, bits: int) -> Array:
    """Scores at a step 1/8 too large."""
    return numerics.softmax_numerators(scores - scores // 8, mask, bits)


def unmasked_numerators(scores: Array, mask: Array, bits: int) -> Array:
    return numerics.softmax_numerators(scores, np.ones_like(mask), bits)


def coarse_softmax(acc: Array, numerators: Array) -> Array:
    """No fraction bits instead of eight."""
    return numerics.softmax_scale(acc, numerators) >> 8 << 8


def longer_mean(total: Array, length: int, scale: numerics.Scale, bits: int) -> Array:
    return numerics.mean_pool(total, length + 1, scale, bits)


@pytest.mark.parametrize(
    ("target", "wrong", "kind"),
    [
        ("requantise.rescale", floored, "linear"),
        ("add.rescale", floored, "add"),
        ("norm.normalise", no_eps, "norm"),
        ("norm.normalise", coarse_norm, "norm"),
        ("attention.softmax_numerators", warm_numerators, "attention"),
        ("attention.softmax_numerators", unmasked_numerators, "attention"),
        ("attention.softmax_scale", coarse_softmax, "attention"),
        ("pool.mean_pool", longer_mean, "pool"),
    ],
)
def test_bounds_notice(
    model: Model, monkeypatch: pytest.MonkeyPatch, target: str, wrong: Callable[..., Array], kind: str
) -> None:
    monkeypatch.setattr(f"flow.ops.{target}", wrong)
    failed = {step.kind for step in steps(model) if not step.holds}
    assert f"float.{kind}" in failed


def test_bounds_notice_a_table_one_entry_off(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Table.golden
    monkeypatch.setattr(Table, "golden", lambda self, index: right(self, np.minimum(index + 1, 255)))
    failed = {step.kind for step in steps(model) if not step.holds}
    assert "float.activation" in failed
