"""Candidates: what is measured of a matrix and its weights decides its density; training that was killed goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow.boards import load_board
from flow.compress.calibrate import calibrate
from flow.compress.checkpoint import Checkpoint
from flow.compress.matrices import find_matrices, with_constants
from flow.compress.plan import PruneOptions, make_plan
from flow.compress.quantize import quantize
from flow.compress.train import Trainer, TrainOptions
from flow.cost import beat_cycles, fit
from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.golden.samples import Samples
from flow.ir import Graph
from flow.ops.source import Constant
from flow.passes import recognise
from flow.passes.to_integers import to_integers
from flow.search.pruning import Way, priced, prices, prune, sensitivities
from tests.transformers import zoo
from tests.transformers.specs import Spec

SPEC = Spec(width=32, heads=2, hidden=64, tokens=12, head="classifier")
OPTIONS = PruneOptions(sparsity=0.5, banks=4, score="wanda", allocation="sensitivity")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    import torch

    from flow.frontend import load

    path = tmp_path_factory.mktemp("pruning") / "float.pt2"
    torch.export.save(zoo.export(SPEC, zoo.build(SPEC)), path)
    return recognise(load(path))


@pytest.fixture(scope="module")
def samples() -> Samples:
    rng = np.random.default_rng(1)
    drawn = (rng.normal(size=(1, SPEC.tokens, SPEC.width)).astype(np.float32) for _ in range(24))
    return Samples(tuple({"x": x} for x in drawn), np.arange(24) % 4)


def integers(graph: Graph, samples: Samples) -> Graph:
    return to_integers(quantize(graph, calibrate(graph, samples.samples[:4])))


def test_a_price_is_cycles_saved(graph: Graph, samples: Samples) -> None:
    """Every matrix has one, about 1 where rows and columns fill the array alike."""
    names = [m.name for m in find_matrices(graph)]
    uniform = replace(OPTIONS, allocation="uniform", score="magnitude")
    way = Way(uniform, TrainOptions())
    pruned, _ = prune(graph, samples, way, Checkpoint(Path("none"), {}))
    models = integers(graph, samples), integers(pruned, samples)
    board = load_board("pynq-z2")
    engine = fit(models[1], board)
    pace = beat_cycles(engine, board)
    found = prices(graph, *models, [(engine, pace)])
    # One that saves nothing has no say: the array of all rows and columns at once. Alone, it is told.
    whole = Engine(16, 64, 16, norm_lanes=1, heads=1, beat_bytes=64, features=engine.features)
    assert prices(graph, *models, [(whole, 1.0), (engine, pace)]) == found
    with pytest.raises(UnsupportedError) as caught:
        prices(graph, *models, [(whole, 1.0)])
    assert str(caught.value) == "flow select: found no cycle saved by pruning; expected some on one engine"
    assert list(found) == names
    assert all(0.05 <= price <= 4 for price in found.values())
    sizes = {m.name: m.weight.size for m in find_matrices(graph)}
    mean = sum(found[n] * sizes[n] for n in names) / sum(sizes.values())
    assert mean == pytest.approx(1, abs=0.25)


def test_what_costs_more_is_pruned_more(graph: Graph, samples: Samples) -> None:
    curves = sensitivities(graph, samples, OPTIONS)
    assert set(curves) == {m.name for m in find_matrices(graph)}
    for curve in curves.values():
        densities = [density for density, _ in curve]
        assert densities == sorted(set(densities))
        assert len(densities) >= 4
        assert curve[0][1] > curve[-1][1], "the error falls with density"

    def density(name: str, price: float) -> float:
        price_of = dict.fromkeys(curves, 1.0) | {name: price}
        plan = make_plan(
            graph, replace(OPTIONS, score="magnitude"), sensitivity=priced(curves, price_of), nearest=True
        )
        assert plan.density == pytest.approx(0.5, abs=0.02)
        return plan.structures[name].density

    name = max(curves, key=lambda n: curves[n][0][1])
    assert density(name, 1000.0) < density(name, 1.0) <= density(name, 0.001)


def weights(graph: Graph) -> dict[str, bytes]:
    return {n.name: n.op.value.tobytes() for n in graph if isinstance(n.op, Constant)}


def test_killed_training_goes_on(
    graph: Graph, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits as without the kill, and no step is taken twice."""
    way = Way(replace(OPTIONS, allocation="uniform"), TrainOptions(kind="train", steps=6))
    whole = weights(prune(graph, samples, way, Checkpoint(tmp_path / "a", {}))[0])
    steps: list[int] = []
    advance = Trainer.advance

    def killed(trainer: Trainer) -> None:
        if len(steps) == 4 and 9 not in steps:
            steps.append(9)
            raise KeyboardInterrupt
        steps.append(trainer.step)
        advance(trainer)

    monkeypatch.setattr(Trainer, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(graph, samples, way, Checkpoint(tmp_path / "b", {}, seconds=0.0))
    found = weights(prune(graph, samples, way, Checkpoint(tmp_path / "b", {}, seconds=0.0))[0])
    assert steps == [0, 1, 2, 3, 9, 4, 5]
    assert found == whole
    assert whole != weights(with_constants(graph, {}))
