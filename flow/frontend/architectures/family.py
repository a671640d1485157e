"""What a family makes of a configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from flow.frontend.architectures.config import ConfigReader

Names = Mapping[str, tuple[str, ...]]
"""Checkpoint tensor to the parameters it fills; several take equal parts of axis 0 (a packed q, k, v projection)."""


@dataclass(frozen=True)
class Architecture:
    """A module without weights (on the meta device) and how a checkpoint fills it.

    `inputs` are on the meta device too: absurd sizes cost nothing before weights have confirmed them. `unused` are
    prefixes of checkpoint tensors (without the family's prefix) that the chosen output does not need.
    """

    module: nn.Module
    names: Names
    inputs: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()

    def example_inputs(self) -> dict[str, Tensor]:
        """Zeros, and a full `attention_mask`, on the CPU."""
        filler = {"attention_mask": torch.ones_like}
        return {
            name: filler.get(name, torch.zeros_like)(tensor, device="cpu")
            for name, tensor in self.inputs.items()
        }


class Family(Protocol):
    """A function from a configuration to its architecture; the tensors' names hint at what it leaves open."""

    def __call__(
        self, config: Mapping[str, Any], where: str, tensors: Collection[str], /
    ) -> Architecture: ...


def sequence_length(read: ConfigReader, positions: int) -> int:
    """Tokens of a text model: `sequence_length`, else min(positions, 128)."""
    length = read.integer("sequence_length", min(positions, 128))
    read.at_most("sequence_length", length, positions, "max_position_embeddings")
    return length


def text_inputs(names: tuple[str, ...], length: int) -> dict[str, Tensor]:
    """Inputs [1, length] of a text model."""
    return {name: torch.empty(1, length, dtype=torch.int64, device="meta") for name in names}
