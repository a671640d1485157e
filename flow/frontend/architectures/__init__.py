"""Checkpoints without a graph: a state_dict or safetensors file plus a configuration, built here in plain torch.

Families by `model_type`: `bert`, `distilbert`, `vit`, `deit` (with Hugging Face's tensor names and `config.json`)
and `torch_encoder` (`nn.TransformerEncoder`; its configuration stands in
`flow.frontend.architectures.torch_encoder`).

Beside Hugging Face's keys, every configuration may hold

- `sequence_length`: tokens S of a text model, by default min(max_position_embeddings, 128);
- `inputs`: of `input_ids`, `attention_mask` (both by default) and, for BERT, `token_type_ids` (zeros by default);
- `output`: `last_hidden_state` (the default of a model without a head), `pooler_output` or `mean_pooling`.

Importing this package does not import torch; calling it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flow.frontend.torch_required import require_torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flow.ir import Graph

__all__ = ["build", "build_module", "example_inputs"]


def build(path: str | Path, config_path: str | Path, kind: Literal["state_dict", "safetensors"]) -> Graph:
    """Checkpoint and configuration to the raw graph that a `.pt2` of the same model would give.

    Raises:
        FlowError: a file is unreadable, or configuration and tensors do not fit; every fault is listed.
        ToolError: torch is missing or older than 2.10.
    """
    require_torch(f"{path} (a checkpoint with --config)")
    from flow.frontend.architectures import assemble

    return assemble.build(path, config_path, kind)


def build_module(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    where: str = "checkpoint",
    config_where: str = "config",
) -> nn.Module:
    """The family's module in evaluation mode with these weights as float32; maps inputs by name to outputs by name.

    Raises:
        FlowError: configuration and tensors do not fit; every fault is listed.
        ToolError: torch is missing or older than 2.10.
    """
    require_torch("building a model")
    from flow.frontend.architectures import assemble

    return assemble.build_module(config, tensors, where, config_where)


def example_inputs(config: Mapping[str, Any], where: str = "config") -> dict[str, Tensor]:
    """Inputs by name with the static shapes of the export: zeros, and a full `attention_mask`.

    Raises:
        FlowError: the configuration has faults; all are listed.
        ToolError: torch is missing or older than 2.10.
    """
    require_torch("building a model")
    from flow.frontend.architectures import assemble

    return assemble.example_inputs(config, where)
