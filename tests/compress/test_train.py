"""Training: what it minimises, its schedule, and that it stops and goes on in the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from flow.compress.batched import Batched
from flow.compress.lasso import GroupLasso
from flow.compress.matrices import with_constants
from flow.compress.objective import distance, supervision, turned
from flow.compress.oneshot import OneShot, one_shot
from flow.compress.plan import PruneOptions
from flow.compress.train import Trainer, TrainOptions, staged_sparsity
from flow.errors import FlowError
from flow.ir import Array, Graph

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def prepared(graph: Graph, drawn: list[dict[str, Array]]) -> OneShot:
    return one_shot(graph, PruneOptions(sparsity=0.5, banks=4, score="wanda", permute=False), drawn)


def trainer(
    start: OneShot, drawn: list[dict[str, Array]], options: TrainOptions, lasso: float = 0.0
) -> Trainer:
    pruned = Batched(with_constants(start.dense, start.pruned))

    def restage(stage: int, _: Mapping[str, Array]) -> Mapping[str, Array]:
        seen.append(stage)
        return start.masks

    seen: list[int] = []
    penalty = GroupLasso(start.plan, pruned.weight, lasso) if lasso else None
    labels = np.arange(len(drawn)) % 16 if options.kind == "train" else None
    made = Trainer(Batched(start.dense), pruned, drawn, options, start.masks, labels, restage, penalty)
    made.seen = seen  # type: ignore[attr-defined]
    return made


def test_distances() -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert float(distance(x, x)) == 0
    assert float(distance(x.mean(0).expand_as(x), x)) == pytest.approx(1, abs=1e-5)
    assert float(distance(torch.zeros(1, 8), x[:1])) == pytest.approx(1)
    assert float(turned(3 * x, x)) == pytest.approx(0, abs=1e-6)
    assert float(turned(-x, x)) == pytest.approx(2, abs=1e-6)


def test_supervision_mixes_in_the_soft_answers() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    label = torch.tensor([0])
    hard = float(supervision(logits, label, None, 0.5))
    assert hard == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(-1))), rel=1e-5)
    assert float(supervision(logits, label, logits, 0.5)) == pytest.approx(hard / 2, rel=1e-5)
    assert float(supervision(logits, label, -logits, 1.0)) > 1


def test_schedule() -> None:
    options = TrainOptions(steps=100, rate=1.0, warm=0.1, stages=4, batch=4)
    rates = [options.rate_at(t) for t in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[9])
    assert rates[99] < 0.001
    assert [options.stage_of(t) for t in (0, 24, 25, 74, 75, 99)] == [0, 0, 1, 2, 3, 3]
    assert [round(staged_sparsity(s, 4, 0.8), 4) for s in range(4)] == [0.4625, 0.7, 0.7875, 0.8]
    epoch = [i for t in range(5) for i in options.rows_at(t, 20)]
    assert sorted(epoch) == list(range(20))
    assert epoch != [i for t in range(5, 10) for i in options.rows_at(t, 20)]
    assert options.rows_at(3, 2) == options.rows_at(3, 2)
    assert len(options.rows_at(3, 2)) == 2


@pytest.mark.parametrize("fields", [{"mask": True, "pre_norm": False, "pool": "mean"}, {"pool": "mean"}, {}])
def test_distillation_lowers_the_loss_and_keeps_the_zeros(
    transformer: Build, samples: Draw, fields: dict[str, object]
) -> None:
    graph = transformer(**fields)
    drawn = samples(graph, 24)
    start = prepared(graph, drawn)
    run = trainer(start, drawn, TrainOptions(steps=40, batch=12, rate=3e-3, stages=2))
    losses: list[float] = []
    run.run(lambda *told: losses.append(told[2]))
    assert run.seen == [0, 1]  # type: ignore[attr-defined]
    assert len(losses) == 40
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    for name, mask in start.masks.items():
        weight = run.weights[name].detach().numpy()
        assert not weight[~mask].any()
        assert np.count_nonzero(weight) == mask.sum()


def test_supervised_training_learns_labels(transformer: Build, samples: Draw) -> None:
    graph = transformer(pool="mean", pooler=True)
    drawn = samples(graph, 32)
    run = trainer(
        prepared(graph, drawn), drawn, TrainOptions("train", steps=40, batch=16, rate=3e-3, soft=0.2)
    )
    losses: list[float] = []
    run.run(lambda *told: losses.append(told[2]))
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])


class Stopped(Exception):  # noqa: N818
    """Stands for a kill."""


@pytest.mark.parametrize("lasso", [0.0, 0.3])
@pytest.mark.parametrize("batch", [8, 1])  # with the dense model's values kept, and computed anew
def test_stopped_and_resumed_is_the_same_run(
    transformer: Build, samples: Draw, lasso: float, batch: int
) -> None:
    graph = transformer(mask=True, layers=1)
    drawn = samples(graph, 20)
    start = prepared(graph, drawn)
    options = TrainOptions(steps=9, batch=batch, stages=3)
    whole = trainer(start, drawn, options, lasso)
    whole.run()
    first = trainer(start, drawn, options, lasso)
    saved: dict[str, torch.Tensor] = {}

    def stop() -> None:
        if first.step == 5:
            saved.update({name: tensor.clone() for name, tensor in first.state().items()})
            raise Stopped

    # Stopped in the midst of `run`: steps taken one by one would compute the dense model's values in other batches,
    # which round otherwise on some processors.
    with pytest.raises(Stopped):
        first.run(after=stop)
    second = trainer(start, drawn, options, lasso)
    second.restore(saved)
    second.run()
    assert second.step == 9
    assert second.loss == whole.loss
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, second.state()[name]), name


def test_the_lasso_pushes_small_groups_to_zero(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    start = prepared(graph, samples(graph, 4))
    name = "layers_0_ffn_fc1_weight"
    model = Batched(graph)
    weight = model.weight(name)
    with torch.no_grad():
        weight[:16, 3] *= 0.01  # one column of the first block
    lasso = GroupLasso(start.plan, model.weight, 1.0)
    value = lasso()
    value.backward()  # type: ignore[no-untyped-call]
    assert 1.5 < float(value.detach()) < 2.0  # each kind of group counts 1 per matrix at the most
    assert weight.grad is not None
    pull = (weight.grad[:16] / weight.detach()[:16]).mean(0)
    assert pull.argmax() == 3
    assert (pull > 0).all()
    with torch.no_grad():
        weight[:, 5] = 0
    weight.grad = None
    lasso().backward()  # type: ignore[no-untyped-call]
    slope: Tensor | None = weight.grad
    assert slope is not None
    assert torch.isfinite(slope).all()


def test_a_loss_that_is_not_finite_is_an_error(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1, pool="mean")
    drawn = samples(graph, 8)
    run = trainer(prepared(graph, drawn), drawn, TrainOptions(steps=5, batch=4, rate=1e30, warm=0.0))
    with pytest.raises(FlowError) as caught:
        run.run()
    assert str(caught.value) == (
        f"training, step {run.step + 1} of 5: found a loss of nan; expected a finite one; lower --lr (now 1e+30) and "
        "start again"
    )
    assert 1 <= run.step < 5


def test_a_last_step_that_ruins_the_weights_is_an_error(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1, pool="mean")
    drawn = samples(graph, 8)
    run = trainer(prepared(graph, drawn), drawn, TrainOptions(steps=1, batch=4, rate=1e30))
    with pytest.raises(
        FlowError, match=r"^training, step 1 of 1: found a loss of (nan|inf); expected a finite"
    ):
        run.run()
    assert math.isfinite(run.loss)


@pytest.mark.parametrize("rate", [math.nan, math.inf, 0.0, -1.0])
def test_rates_that_are_none(rate: float) -> None:
    with pytest.raises(FlowError) as caught:
        TrainOptions(rate=rate)
    assert str(caught.value) == (
        f"--lr: found {rate:g}; expected a finite learning rate above 0; choose another"
    )
