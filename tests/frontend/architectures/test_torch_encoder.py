"""`nn.TransformerEncoder` from its state_dict against itself, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from flow.frontend.architectures import build_module

if TYPE_CHECKING:
    from tests.frontend.architectures.conftest import Reference, Zoo


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("final_norm", [False, True])
def test_torch_encoder_equals_torch(
    norm_first: bool, bias: bool, final_norm: bool, zoo: type[Zoo], reference: type[Reference]
) -> None:
    activation = "gelu" if norm_first else "relu"
    encoder = zoo.torch_encoder(norm_first, bias, final_norm, activation)
    config = zoo.encoder_config(
        norm_first=norm_first, bias=bias, final_norm=final_norm, activation=activation
    )
    config["inputs"] = ["src", "attention_mask"]
    state = {f"backbone.encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    module = build_module(config, state).double()
    src = torch.randn(1, zoo.TOKENS, zoo.WIDTH, dtype=torch.float64)
    mask = (torch.arange(zoo.TOKENS)[None] < 5).long()
    expected = encoder.double()(src, src_key_padding_mask=mask == 0)[:, :5]
    assert reference.close(module(src, mask)["last_hidden_state"][:, :5], expected)
    pooled = build_module(config | {"output": "mean_pooling"}, state).double()
    assert reference.close(pooled(src, mask)["mean_pooling"], expected.mean(1))
