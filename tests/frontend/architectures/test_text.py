"""BERT and DistilBERT against literal torch, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flow.frontend.architectures import build_module, example_inputs

if TYPE_CHECKING:
    from tests.frontend.architectures.conftest import Reference, Zoo


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh"])
@pytest.mark.parametrize("length", [7, 4, 1])
def test_bert_equals_post_norm_encoder(
    activation: str, length: int, zoo: type[Zoo], reference: type[Reference]
) -> None:
    tensors = zoo.bert_tensors()
    module = build_module(zoo.bert_config(hidden_act=activation), tensors).double()
    inputs = zoo.text(length)
    found = module(**inputs)["last_hidden_state"][:, :length]
    types = torch.zeros(1, zoo.TOKENS, dtype=torch.long)
    assert reference.close(
        found, reference.bert(tensors, inputs["input_ids"], length, types, activation)[:, :length]
    )
    other = "gelu_new" if activation == "gelu" else "gelu"
    assert not reference.close(
        found, reference.bert(tensors, inputs["input_ids"], length, types, other)[:, :length], 1e-6
    )


def test_bert_with_token_types(zoo: type[Zoo], reference: type[Reference]) -> None:
    tensors = zoo.bert_tensors()
    config = zoo.bert_config(inputs=["input_ids", "token_type_ids"])
    types = torch.tensor([[0, 1, 2, 1, 0, 0, 1]])
    ids = zoo.text()["input_ids"]
    module = build_module(config, tensors).double()
    assert list(example_inputs(config)) == ["input_ids", "token_type_ids"]
    found = module(input_ids=ids, token_type_ids=types)["last_hidden_state"]
    assert reference.close(found, reference.bert(tensors, ids, zoo.TOKENS, types))


@pytest.mark.parametrize("output", ["pooler_output", "mean_pooling", "logits"])
def test_bert_heads(output: str, zoo: type[Zoo], reference: type[Reference]) -> None:
    tensors = zoo.bert_tensors()
    classify = output == "logits"
    config = zoo.bert_config(
        architectures=["BertForSequenceClassification" if classify else "BertModel"],
        id2label={str(i): f"class {i}" for i in range(4)},
        output=output,
    )
    inputs = zoo.text(5)
    found = build_module(config, tensors).double()(**inputs)
    hidden = reference.bert(tensors, inputs["input_ids"], 5, torch.zeros(1, zoo.TOKENS, dtype=torch.long))
    pooled = torch.tanh(reference.linear(hidden[:, 0], tensors, "pooler.dense"))
    expected = {
        "pooler_output": pooled,
        "mean_pooling": hidden[:, :5].mean(1),
        "logits": reference.linear(pooled, tensors, "classifier"),
    }
    assert list(found) == [output]
    # The weights of masked pooling are float32 ones and zeros, and its sum of them is exact, so nothing is lost.
    assert reference.close(found[output], expected[output])


def test_bert_checkpoint_spellings_are_one(zoo: type[Zoo]) -> None:
    plain = zoo.without(zoo.bert_tensors(), "classifier", "pooler")
    legacy = zoo.without(zoo.bert_tensors("bert.", ("gamma", "beta")), "classifier", "bert.pooler")
    legacy |= {"bert.embeddings.position_ids": torch.arange(9)[None], "cls.predictions.bias": torch.zeros(37)}
    wrapped = {f"module.{name}": tensor.half().float() for name, tensor in plain.items()}
    halves = {name: tensor.half() for name, tensor in plain.items()}
    inputs = zoo.text()
    first, second, third, fourth = (
        build_module(zoo.bert_config(), tensors)(**inputs)["last_hidden_state"]
        for tensors in (plain, legacy, wrapped, halves)
    )
    assert torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert third.dtype == torch.float32


def test_head_follows_the_tensors_where_the_config_is_silent(zoo: type[Zoo]) -> None:
    config = zoo.bert_config(num_labels=4)
    del config["architectures"]
    assert list(build_module(config, zoo.bert_tensors())(**zoo.text())) == ["logits"]
    assert list(build_module(config, zoo.without(zoo.bert_tensors(), "classifier"))(**zoo.text())) == [
        "last_hidden_state"
    ]


def test_torch_prune_masks_fold(zoo: type[Zoo]) -> None:
    tensors = zoo.without(zoo.bert_tensors(), "classifier")
    name = "encoder.layer.1.output.dense.weight"
    mask = (torch.arange(zoo.WIDTH * zoo.HIDDEN).reshape(zoo.WIDTH, zoo.HIDDEN) % 3 == 0).float()
    pruned = zoo.without(tensors, name) | {f"{name}_orig": tensors[name], f"{name}_mask": mask}
    dense = tensors | {name: tensors[name] * mask}
    inputs = zoo.text()
    found, expected = (
        build_module(zoo.bert_config(), t)(**inputs)["last_hidden_state"] for t in (pruned, dense)
    )
    assert torch.equal(found, expected)


def test_distilbert_equals_reference(zoo: type[Zoo], reference: type[Reference]) -> None:
    tensors = zoo.distilbert_tensors()
    inputs = zoo.text(5)
    base = {name.removeprefix("distilbert."): tensor for name, tensor in tensors.items()}
    x = functional.embedding(inputs["input_ids"], base["embeddings.word_embeddings.weight"].double())
    x = x + base["embeddings.position_embeddings.weight"].double()[: zoo.TOKENS]

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias = (base[f"{name}.{leaf}"].double() for leaf in ("weight", "bias"))
        return functional.layer_norm(x, (zoo.WIDTH,), weight, bias, 1e-12)

    x = norm(x, "embeddings.LayerNorm")
    for i in range(zoo.LAYERS):
        layer = f"transformer.layer.{i}"
        names = [f"{layer}.attention.{part}" for part in ("q_lin", "k_lin", "v_lin", "out_lin")]
        x = norm(x + reference.attention(x, base, names, 5), f"{layer}.sa_layer_norm")
        hidden = reference.ACTIVATIONS["gelu"](reference.linear(x, base, f"{layer}.ffn.lin1"))
        x = norm(x + reference.linear(hidden, base, f"{layer}.ffn.lin2"), f"{layer}.output_layer_norm")
    logits = reference.linear(
        reference.linear(x[:, 0], base, "pre_classifier").clamp(min=0), base, "classifier"
    )
    assert reference.close(
        build_module(zoo.distilbert_config(), tensors).double()(**inputs)["logits"], logits
    )
    encoder = build_module(zoo.distilbert_config(architectures=["DistilBertModel"]), tensors).double()
    assert reference.close(encoder(**inputs)["last_hidden_state"][:, :5], x[:, :5])
    pooled = build_module(
        zoo.distilbert_config(architectures=["DistilBertModel"], output="mean_pooling"), tensors
    ).double()
    assert reference.close(pooled(**inputs)["mean_pooling"], x[:, :5].mean(1))


def test_default_sequence_length(zoo: type[Zoo]) -> None:
    config = zoo.bert_config()
    del config["sequence_length"]
    assert {k: tuple(v.shape) for k, v in example_inputs(config).items()} == {
        "input_ids": (1, 9),
        "attention_mask": (1, 9),
    }
    long = example_inputs(config | {"max_position_embeddings": 512})
    assert long["input_ids"].shape == (1, 128)
    assert long["input_ids"].dtype == torch.int64
    assert bool((long["attention_mask"] == 1).all())
