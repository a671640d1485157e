"""Checkpoint files to graphs that compute what the module computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flow.frontend.architectures import build, build_module
from flow.golden import execute

if TYPE_CHECKING:
    from tests.frontend.architectures.conftest import Reference, Tensors, Zoo


def cases(zoo: type[Zoo]) -> dict[str, tuple[dict[str, Any], Tensors, dict[str, Tensor]]]:
    encoder = zoo.torch_encoder(True, True, True, "relu")
    return {
        "bert": (zoo.bert_config(), zoo.without(zoo.bert_tensors("bert."), "classifier"), zoo.text(5)),
        "bert_types": (
            zoo.bert_config(inputs=["input_ids", "attention_mask", "token_type_ids"], output="mean_pooling"),
            zoo.without(zoo.bert_tensors(), "classifier"),
            zoo.text(3) | {"token_type_ids": torch.tensor([[0, 1, 2, 1, 0, 0, 1]])},
        ),
        "bert_logits": (zoo.bert_config(architectures=None, num_labels=4), zoo.bert_tensors(), zoo.text(1)),
        "distilbert": (zoo.distilbert_config(), zoo.distilbert_tensors(), zoo.text()),
        "vit": (
            zoo.vit_config(),
            zoo.without(zoo.vit_tensors(), "vit.pooler"),
            {"pixel_values": zoo.pixels().float()},
        ),
        "deit": (
            zoo.vit_config(model_type="deit"),
            zoo.without(
                zoo.vit_tensors("deit.", 2, heads=("cls_classifier", "distillation_classifier")),
                "deit.pooler",
            ),
            {"pixel_values": zoo.pixels().float()},
        ),
        "torch_encoder": (
            zoo.encoder_config(norm_first=True, final_norm=True),
            dict(encoder.state_dict()),
            {"src": torch.randn(1, zoo.TOKENS, zoo.WIDTH, generator=torch.Generator().manual_seed(1))},
        ),
    }


@pytest.mark.parametrize(
    "name", ["bert", "bert_logits", "bert_types", "deit", "distilbert", "torch_encoder", "vit"]
)
def test_files_become_a_graph_that_computes_the_same(
    name: str, tmp_path: Path, zoo: type[Zoo], reference: type[Reference]
) -> None:
    config, tensors, inputs = cases(zoo)[name]
    expected = build_module(config, tensors)(**inputs)
    arrays = {key: tensor.numpy() for key, tensor in inputs.items()}
    printed = set()
    for how in ("safetensors", "zip", "legacy"):
        path, config_path = zoo.write(tmp_path / how, config, tensors, how)
        graph = build(path, config_path, "safetensors" if how == "safetensors" else "state_dict")
        found = execute(graph, arrays)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert reference.close(torch.from_numpy(np.asarray(found[key])), value.detach(), reference.SINGLE)
        printed.add(str([(n.name, n.types, n.module) for n in graph]))
    assert len(printed) == 1
    assert any(node.module.startswith("encoder.layers.1.") for node in graph)


def test_nested_checkpoint(tmp_path: Path, zoo: type[Zoo], reference: type[Reference]) -> None:
    config, tensors, inputs = cases(zoo)["vit"]
    path, config_path = zoo.write(tmp_path, config, tensors, "zip")
    torch.save({"epoch": 3, "state_dict": tensors}, path)
    found = execute(build(path, config_path, "state_dict"), {"pixel_values": inputs["pixel_values"].numpy()})
    assert reference.close(
        torch.from_numpy(found["logits"]),
        build_module(config, tensors)(**inputs)["logits"].detach(),
        reference.SINGLE,
    )


def test_importing_the_frontend_does_not_import_torch() -> None:
    program = "import flow, flow.frontend, flow.frontend.architectures, sys; print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "False\n"
