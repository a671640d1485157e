"""ViT and DeiT against literal torch, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from flow.frontend.architectures import build_module

if TYPE_CHECKING:
    from tests.frontend.architectures.conftest import Reference, Zoo


@pytest.mark.parametrize("biased", [True, False])
def test_vit_equals_pre_norm_encoder(biased: bool, zoo: type[Zoo], reference: type[Reference]) -> None:
    tensors = zoo.vit_tensors(biased=biased)
    base = {name.removeprefix("vit."): tensor for name, tensor in tensors.items()}
    hidden = reference.vit(base, zoo.pixels())
    config = zoo.vit_config(architectures=["ViTModel"], qkv_bias=biased)
    assert reference.close(build_module(config, tensors).double()(zoo.pixels())["last_hidden_state"], hidden)
    pooled = build_module(config | {"output": "pooler_output"}, tensors).double()(zoo.pixels())[
        "pooler_output"
    ]
    assert reference.close(pooled, torch.tanh(reference.linear(hidden[:, 0], base, "pooler.dense")))
    classifier = build_module(zoo.vit_config(qkv_bias=biased), zoo.without(tensors, "vit.pooler")).double()
    assert reference.close(
        classifier(zoo.pixels())["logits"], reference.linear(hidden[:, 0], base, "classifier")
    )


def test_deit_equals_pre_norm_encoder(zoo: type[Zoo], reference: type[Reference]) -> None:
    tensors = zoo.vit_tensors("deit.", extra=2, heads=("cls_classifier", "distillation_classifier"))
    tensors |= {"deit.embeddings.mask_token": torch.zeros(1, 1, zoo.WIDTH)}
    base = {name.removeprefix("deit."): tensor for name, tensor in tensors.items()}
    hidden = reference.vit(base, zoo.pixels(), extra=2)
    config = zoo.vit_config(model_type="deit")
    heads = zoo.without(tensors, "deit.pooler")
    both = (
        reference.linear(hidden[:, 0], base, "cls_classifier")
        + reference.linear(hidden[:, 1], base, "distillation_classifier")
    ) / 2
    assert reference.close(build_module(config, heads).double()(zoo.pixels())["logits"], both)
    encoder = build_module(config | {"architectures": ["DeiTModel"]}, tensors).double()
    assert reference.close(encoder(zoo.pixels())["last_hidden_state"], hidden)
    single = zoo.without(zoo.vit_tensors("deit.", extra=2), "deit.pooler")
    logits = reference.linear(
        reference.vit({k.removeprefix("deit."): v for k, v in single.items()}, zoo.pixels(), 2)[:, 0],
        single,
        "classifier",
    )
    assert reference.close(build_module(config, single).double()(zoo.pixels())["logits"], logits)
