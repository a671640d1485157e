"""Everything that can be wrong with a checkpoint or its configuration, by the full text of the message."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from flow.errors import FlowError, ToolError
from flow.frontend.architectures import build, build_module, example_inputs

if TYPE_CHECKING:
    from tests.frontend.architectures.conftest import Zoo


def message(call: Callable[[], object], kind: type[Exception] = FlowError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


def test_every_config_fault_is_listed(zoo: type[Zoo]) -> None:
    config = zoo.bert_config(
        architectures=["BertForMaskedLM"],
        hidden_size="60",
        num_attention_heads=0,
        hidden_act="mish",
        layer_norm_eps=-1,
        num_hidden_layers=10**9,
        type_vocab_size=True,
        position_embedding_type="relative_key",
        is_decoder=True,
        quantization_config={"bits": 4},
        sequence_length=10,
        inputs=["attention_mask"],
        output="logits",
        num_labels=0,
    )
    del config["vocab_size"]
    assert message(lambda: example_inputs(config, "config.json")) == (
        "config.json: found keys that cannot be built; expected the values below\n"
        "  - is_decoder: found True; expected it absent or false; decoders are not supported\n"
        "  - quantization_config: found {'bits': 4}; expected it absent or false; "
        "dequantize the checkpoint to float weights first\n"
        "  - position_embedding_type: found 'relative_key'; expected 'absolute'; relative positions are not supported\n"
        "  - architectures: found 'BertForMaskedLM'; expected one of BertModel, BertForSequenceClassification; "
        "name BertModel to take the encoder alone\n"
        "  - output: found 'logits'; expected one of last_hidden_state, pooler_output, mean_pooling\n"
        "  - hidden_size: found '60'; expected an integer in 1..1048576\n"
        "  - num_attention_heads: found 0; expected an integer in 1..1048576\n"
        "  - hidden_act: found 'mish'; expected one of gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish, tanh\n"
        "  - layer_norm_eps: found -1; expected a number greater than 0 and at most 1\n"
        "  - num_hidden_layers: found 1000000000; expected an integer in 1..1024\n"
        "  - vocab_size: found nothing; expected an integer in 1..1048576\n"
        "  - type_vocab_size: found True; expected an integer in 1..1048576\n"
        "  - sequence_length: found 10; expected at most 9 (max_position_embeddings)\n"
        "  - inputs: found ['attention_mask']; expected a list of input_ids, optionally attention_mask, "
        "optionally token_type_ids\n"
        "  - num_labels: found 0; expected an integer in 1..1048576"
    )


def test_sizes_that_do_not_divide(zoo: type[Zoo]) -> None:
    config = zoo.vit_config(num_attention_heads=7, image_size=10, patch_size=[3, 5], qkv_bias="no")
    assert message(lambda: example_inputs(config)) == (
        "config: found keys that cannot be built; expected the values below\n"
        "  - qkv_bias: found 'no'; expected true or false\n"
        "  - num_attention_heads: found 7, which does not divide hidden_size 60; expected a divisor\n"
        "  - patch_size: found 3, which does not divide image_size 10; expected a divisor"
    )
    assert message(lambda: example_inputs(zoo.vit_config(image_size=[1, 2, 3]))) == (
        "config: found keys that cannot be built; expected the values below\n"
        "  - image_size: found [1, 2, 3]; expected an integer in 1..1048576 or a list of two"
    )


def test_unknown_model_type() -> None:
    families = "bert, deit, distilbert, torch_encoder, vit"
    advice = (
        "export other models with torch.export.export(model, example, strict=False) and torch.export.save"
    )
    for config, found in (({"model_type": "gpt2"}, "model_type 'gpt2'"), ({}, "no model_type")):
        assert message(lambda c=config: example_inputs(c, "c.json")) == (  # type: ignore[misc]
            f"c.json: found {found}; expected one of {families}; {advice}"
        )


def test_every_tensor_fault_is_listed(zoo: type[Zoo]) -> None:
    tensors = zoo.bert_tensors("bert.")
    del tensors["bert.encoder.layer.1.attention.self.key.bias"]
    tensors["bert.encoder.layer.0.attention.self.query.weight"] = torch.zeros(zoo.WIDTH, zoo.WIDTH - 1)
    tensors["bert.encoder.layer.0.output.dense.weight"] = torch.zeros(zoo.WIDTH, zoo.HIDDEN, dtype=torch.int8)
    tensors["bert.encoder.layer.0.output.dense.bias"][3] = torch.nan
    tensors["bert.encoder.layer.2.output.dense.bias"] = torch.zeros(zoo.WIDTH)
    config = zoo.bert_config(architectures=["BertForSequenceClassification"], num_labels=3)
    assert message(lambda: build_module(config, tensors, "model.bin")) == (
        "model.bin: found tensors that do not fit the configuration; expected exactly those it describes\n"
        "  - encoder.layer.1.attention.self.key.bias: found nothing; expected [60]\n"
        "  - encoder.layer.2.output.dense.bias: found [60]; expected no such tensor\n"
        "  - classifier.bias: found [4]; expected [3]\n"
        "  - classifier.weight: found [4, 60]; expected [3, 60]\n"
        "  - encoder.layer.0.attention.self.query.weight: found [60, 59]; expected [60, 60]\n"
        "  - encoder.layer.0.output.dense.bias: found NaN or infinity; expected finite weights\n"
        "  - encoder.layer.0.output.dense.weight: found torch.int8 (torch.strided); expected dense floating point"
    )


def test_long_lists_are_cut(zoo: type[Zoo]) -> None:
    found = message(lambda: build_module(zoo.bert_config(), {}))
    lines = found.splitlines()
    assert len(lines) == 22
    assert lines[1] == "  - embeddings.word_embeddings.weight: found nothing; expected [37, 60]"
    assert lines[-1] == "  - … and 17 more of this kind"


def test_packed_projection_of_another_width(zoo: type[Zoo]) -> None:
    state = dict(zoo.torch_encoder(False, True, False, "relu").state_dict())
    state["layers.0.self_attn.in_proj_weight"] = torch.zeros(3 * zoo.WIDTH - 3, zoo.WIDTH)
    assert message(lambda: build_module(zoo.encoder_config(), state)) == (
        "checkpoint: found tensors that do not fit the configuration; expected exactly those it describes\n"
        "  - layers.0.self_attn.in_proj_weight: found [177, 60]; expected [180, 60]"
    )


def test_two_tensors_of_one_name(zoo: type[Zoo]) -> None:
    tensors = zoo.bert_tensors() | {"bert.pooler.dense.bias": torch.zeros(zoo.WIDTH)}
    assert message(lambda: build_module(zoo.bert_config(), tensors)) == (
        "checkpoint: found tensors that share a name; expected one of each\n"
        "  - pooler.dense.bias and bert.pooler.dense.bias: found two tensors for pooler.dense.bias; expected one"
    )


def test_absurd_sizes_cost_nothing(tmp_path: Path, zoo: type[Zoo]) -> None:
    huge = zoo.bert_config(
        hidden_size=1 << 20, num_attention_heads=1, intermediate_size=1 << 20, vocab_size=1 << 20
    )
    path, config_path = zoo.write(tmp_path, huge, zoo.without(zoo.bert_tensors(), "classifier"), "zip")
    found = message(lambda: build(path, config_path, "state_dict"))
    assert found.startswith(f"{path}: found tensors that do not fit the configuration")
    assert "word_embeddings.weight: found [37, 60]; expected [1048576, 1048576]" in found


class Payload:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("owned"),))


def test_broken_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo: type[Zoo]) -> None:
    monkeypatch.chdir(tmp_path)
    path, config_path = zoo.write(tmp_path, zoo.bert_config(), {}, "zip")
    refused = (
        f"{path}: found a file that torch.load(weights_only=True) refuses; expected a state_dict of plain tensors; "
        "write one with torch.save(model.state_dict(), path)"
    )

    def load() -> str:
        return message(lambda: build(path, config_path, "state_dict"))

    assert load() == f"{path}: found an empty dictionary; expected a state_dict: tensors by name"
    torch.save(nn.Linear(2, 2), path)
    assert load() == refused
    path.write_bytes(pickle.dumps({"weight": Payload()}))
    assert load() == refused
    torch.save({"weight": Payload()}, path)
    assert load() == refused
    assert not Path("owned").exists()
    path.write_bytes(b"")
    assert load() == refused
    torch.save(zoo.bert_tensors(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert load() == refused
    torch.save([torch.zeros(1)], path)
    assert load() == f"{path}: found list; expected a state_dict: tensors by name"
    torch.save({"weight": torch.zeros(1), "epoch": 3}, path)
    assert load() == (
        f"{path}: found entries that are no tensors; expected a state_dict\n  - epoch: found int; expected a tensor"
    )
    path.unlink()
    assert load() == f"{path}: found No such file or directory; expected a readable file"


def test_broken_safetensors(tmp_path: Path, zoo: type[Zoo]) -> None:
    path, config_path = zoo.write(tmp_path, zoo.bert_config(), zoo.bert_tensors(), "safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    found = message(lambda: build(path, config_path, "safetensors"))
    assert found.startswith(f"{path}: found a broken safetensors file (")
    assert found.endswith("); expected a whole one; download or write it again")
    path.unlink()
    assert message(lambda: build(path, config_path, "safetensors")) == (
        f"{path}: found No such file or directory; expected a readable file"
    )


def test_broken_configurations(tmp_path: Path, zoo: type[Zoo]) -> None:
    path, config_path = zoo.write(tmp_path, {}, zoo.bert_tensors(), "zip")

    def load(text: str) -> str:
        config_path.write_text(text)
        return message(lambda: build(path, config_path, "state_dict"))

    assert load("[]") == f"{config_path}: found a JSON list; expected an object"
    assert load("{") == (
        f"{config_path}: found no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); "
        "expected a config.json"
    )
    assert load("[" * 100_000).startswith(f"{config_path}: found no JSON (maximum recursion depth exceeded")
    assert load(" " * (16 << 20) + "{}") == (
        f"{config_path}: found 16777218 bytes; expected a configuration of at most 16777216"
    )
    config_path.unlink()
    assert message(lambda: build(path, config_path, "state_dict")) == (
        f"{config_path}: found No such file or directory; expected a readable config.json"
    )


def test_torch_missing_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = "expected torch 2.10 or newer; pip install 'flow-hls[train]'"

    monkeypatch.setitem(sys.modules, "torch", None)
    assert message(lambda: example_inputs({}), ToolError) == f"building a model: found no torch; {remedy}"
    assert message(lambda: build("m.pt", "c.json", "state_dict"), ToolError) == (
        f"m.pt (a checkpoint with --config): found no torch; {remedy}"
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.9.1+cpu"))
    assert (
        message(lambda: build_module({}, {}), ToolError)
        == f"building a model: found torch 2.9.1+cpu; {remedy}"
    )
