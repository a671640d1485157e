"""`Pruner` in a loop of one's own."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from flow.compress.plan import PruneOptions
from flow.compress.pruner import Pruner
from flow.errors import FlowError, UnsupportedError


class Tagger(nn.Module):
    def __init__(self, layers: int = 2, scale: float = 1.0) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 32)
        layer = nn.TransformerEncoderLayer(
            32, 2, 64, activation="gelu", batch_first=True, norm_first=True, dropout=0.0
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.encoder(self.embed(x)).mean(1))
        return y


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def test_the_example_of_the_docstring() -> None:
    model, criterion = Tagger(), nn.CrossEntropyLoss()
    example_inputs = (torch.randn(16, 5, 6),)
    batches = [(torch.randn(16, 5, 6), torch.randint(0, 3, (16,))) for _ in range(12)]

    pruner = Pruner(
        model, example_inputs, PruneOptions(sparsity=0.75, banks=4), steps=12, stages=3, lasso=0.01
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    densities = [pruner.plan.density]
    for x, y in batches:
        loss = criterion(model(x), y) + pruner.regulariser()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pruner.step()
        densities.append(pruner.plan.density)
    report = pruner.finalize()

    assert model.training
    assert densities == sorted(densities, reverse=True)
    assert len(set(densities)) == 3
    assert report.density == report.promised == pytest.approx(0.25)
    assert len(report.rows) == 12
    state = model.state_dict()
    assert set(pruner.masks) == {
        name for name in state if "weight" in name and name.startswith("encoder") and "norm" not in name
    }
    for name, mask in pruner.masks.items():
        assert mask.shape == state[name].shape
        assert int(mask.sum()) * 4 == mask.numel()
        assert not state[name][~mask].any()
        assert state[name][mask].all()
    assert (state["head.weight"] != 0).all()
    assert report.to_json()["sparsity"] == pytest.approx(0.75)


def test_layers_that_start_equal_are_told_apart_and_reordering_changes_nothing() -> None:
    model = Tagger().eval()
    x = torch.randn(4, 5, 6)
    before = model(x)
    order = model.encoder.layers[0].linear1.weight.detach().clone()
    pruner = Pruner(model, (x,), PruneOptions(sparsity=0.0, banks=4))
    torch.testing.assert_close(model(x), before)
    assert float(pruner.regulariser()) == 0
    Pruner(model, (x,), PruneOptions(sparsity=0.5, banks=4))
    assert not torch.equal(order, model.encoder.layers[0].linear1.weight)


def test_at_once_with_wanda_and_by_name() -> None:
    model = Tagger(1)
    samples = [{"x": torch.randn(1, 5, 6).numpy()} for _ in range(4)]
    options = PruneOptions(sparsity=0.5, banks=4, score="wanda")
    report = Pruner(model, {"x": torch.zeros(1, 5, 6)}, options, samples=samples).finalize()
    assert report.density == 0.5
    assert model.encoder.layers[0].linear1.weight.count_nonzero() == 1024


def test_saved_and_resumed() -> None:
    x = torch.randn(8, 5, 6)

    def run(model: Tagger, pruner: Pruner, first: int, last: int) -> None:
        for step in range(first, last):
            loss = model(x + step).square().mean() + pruner.regulariser()
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(0.01 * parameter.grad)
            pruner.step()

    options = PruneOptions(sparsity=0.5, banks=4, permute=False)
    whole = Tagger(1)
    start = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    pruner = Pruner(whole, (x,), options, steps=9, stages=3, lasso=0.1)
    run(whole, pruner, 0, 9)
    part = Tagger(1)
    part.load_state_dict(start)
    pruner = Pruner(part, (x,), options, steps=9, stages=3, lasso=0.1)
    run(part, pruner, 0, 5)
    file = io.BytesIO()
    torch.save({"model": part.state_dict(), "pruner": pruner.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = Tagger(1)
    again.load_state_dict(start)
    pruner = Pruner(again, (x,), options, steps=9, stages=3, lasso=0.1)
    again.load_state_dict(saved["model"])
    pruner.load_state_dict(saved["pruner"])
    run(again, pruner, 5, 9)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_module_loaded_before_its_pruner_is_refused() -> None:
    """The new pruner has reordered its channels once more: the masks would prune other weights."""
    x = torch.randn(8, 5, 6)
    saved = Tagger(1)
    state = Pruner(saved, (x,), PruneOptions(sparsity=0.5, banks=4)).state_dict()
    again = Tagger(1)
    pruner = Pruner(again, (x,), PruneOptions(sparsity=0.5, banks=4))
    again.load_state_dict(saved.state_dict())
    pruner.load_state_dict(state)
    again.load_state_dict(Tagger(1).state_dict())
    with pytest.raises(FlowError) as caught:
        pruner.load_state_dict(state)
    assert str(caught.value) == (
        f"Pruner: found weights in {next(iter(state['masks']))} where its masks have none; expected the module as it "
        "was saved with them, after `step`; make the pruner, load the module's state, then the pruner's"
    )


class Scaled(Tagger):
    """The weight that the layer applies is no parameter."""

    def __init__(self) -> None:
        super().__init__(1)
        self.gain = nn.Parameter(torch.rand(32, 1))
        self.matrix = nn.Parameter(torch.randn(32, 32))

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x)
        y = y + nn.functional.linear(y, self.gain * self.matrix)
        z: Tensor = self.head(self.encoder(y).mean(1))
        return z


def test_refusals() -> None:
    x = (torch.zeros(1, 5, 6),)
    with pytest.raises(FlowError) as caught:
        Pruner(Tagger(1), x, PruneOptions(), steps=2, stages=3)
    assert str(caught.value) == (
        "Pruner: found 3 stages in 2 steps; expected at least one stage and at most one a step; take other numbers"
    )
    with pytest.raises(UnsupportedError) as unsupported:
        Pruner(Scaled(), x, PruneOptions(sparsity=0.5, banks=4))
    found = str(unsupported.value)
    assert found.startswith(
        "Pruner: found 1 matrices that are no rows or columns of one parameter; expected weights that training can "
        "reach; remove reparametrizations and scales folded into them, or leave them out with exclude\n  - "
    )
    assert len(found.splitlines()) == 2

    class Untraceable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(FlowError) as caught:
        Pruner(Untraceable(), x, PruneOptions())
    assert str(caught.value).startswith("Pruner: torch.export failed with ")
    assert str(caught.value).endswith("; expected a module that it can trace")
