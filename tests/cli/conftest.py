"""Float models, exported as their owners would."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

TOKENS, FEATURES, WIDTH = 5, 6, 16


class Tagger(nn.Module):
    """One pre-norm encoder layer between a linear embedding and a classifier of the mean."""

    def __init__(self, *, foreign: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 2, 2 * WIDTH, activation="gelu", batch_first=True, norm_first=True, dropout=0.0
        )
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = Foreign() if foreign else nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.encoder(self.embed(x)).mean(1))
        return y


class Foreign(nn.Module):
    """Holds an operator that no accelerator of flow's has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.erfinv(self.first(x)))
        return y


def export(module: nn.Module, path: Path, *, dynamic: bool = False) -> Path:
    example = torch.zeros(3 if dynamic else 1, TOKENS, FEATURES)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    program = torch.export.export(module.eval(), (example,), strict=False, dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="session")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return export(Tagger(), tmp_path_factory.mktemp("float") / "float.pt2")


@pytest.fixture(scope="session")
def dynamic_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Tagger(), tmp_path_factory.mktemp("dynamic") / "dynamic.pt2", dynamic=True)


@pytest.fixture(scope="session")
def foreign_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Tagger(foreign=True), tmp_path_factory.mktemp("foreign") / "foreign.pt2")
