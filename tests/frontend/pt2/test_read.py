"""The reader gives the graph that torch exported: same numbers, names, types, modules."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from flow.frontend import load, read_pt2
from flow.golden import execute
from flow.ir import Array, Graph, Node, verify
from flow.ops.aten import Aten
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant, Input

if TYPE_CHECKING:
    from tests.frontend.pt2.conftest import Exported, Zoo


def inputs_of(exported: Exported) -> dict[str, Array]:
    """The example's tensors under the names that the graph gives its inputs."""
    keys = [node.op.key for node in read_pt2(exported.path) if isinstance(node.op, Input)]
    leaves = torch.utils._pytree.tree_leaves((exported.sample.args, dict(exported.sample.kwargs)))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return {key: tensor.numpy() for key, tensor in zip(keys, tensors, strict=True)}


def nodes(graph: Graph, target: str) -> list[Node]:
    return [node for node in graph if isinstance(node.op, Aten) and node.op.target == target]


def test_execution_equals_torch(exported: Exported) -> None:
    """Every node has the shape and element type that torch recorded, and every output torch's numbers."""
    graph = read_pt2(exported.path)
    verify(graph)
    seen = 0

    def check(node: Node, results: tuple[Array, ...]) -> None:
        nonlocal seen
        for result, kind in zip(results, node.types, strict=True):
            assert (result.shape, str(result.dtype)) == (kind.shape, kind.dtype), node.where
            seen += 1

    found = execute(graph, inputs_of(exported), check)
    assert seen >= len(graph)
    expected = [leaf for leaf in torch.utils._pytree.tree_leaves(exported.run()) if leaf is not None]
    assert len(found) == len(expected)
    for (name, ours), theirs in zip(found.items(), expected, strict=True):
        if isinstance(theirs, torch.Tensor) and theirs.is_floating_point():
            # float32 throughout: a few hundred roundings of values of order 1.
            np.testing.assert_allclose(
                ours, theirs.to(torch.float64).numpy(), rtol=1e-4, atol=1e-5, err_msg=name
            )
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize("length", range(1, 7))
def test_padding_is_an_input_and_not_an_example(zoo: Zoo, length: int) -> None:
    """A file is exported with one mask and must follow every other."""
    exported = zoo["bert"]
    ids = torch.arange(1, 7)[None]
    mask = (torch.arange(6) < length).long()[None]
    found = execute(read_pt2(exported.path), {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    with torch.no_grad():
        expected = exported.model(input_ids=ids, attention_mask=mask)
    np.testing.assert_allclose(found["embedding"], expected["embedding"].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        (
            "bert",
            {"input_ids": "int64[1x6]", "attention_mask": "int64[1x6]"},
            ["last_hidden_state", "pooler_output", "embedding"],
        ),
        ("vit", {"pixel_values": "float32[1x3x8x8]"}, ["output_0", "output_1"]),
        ("pre_norm", {"x": "float32[1x6x20]"}, ["output"]),
        ("padded", {"x": "float32[1x6x20]", "padding": "bool[1x6]"}, ["output"]),
        (
            "nested",
            {
                "d.x": "float32[1x6x20]",
                "d.pair.0": "float32[1x6x20]",
                "d.pair.1": "float32[2]",
                "mask": "float32[1]",
            },
            ["output_0.sum", "output_0.parts.0", "output_0.parts.1", "output_2"],
        ),
    ],
)
def test_inputs_and_outputs_carry_the_names_of_the_signature(
    zoo: Zoo, name: str, inputs: dict[str, str], outputs: list[str]
) -> None:
    graph = read_pt2(zoo[name].path)
    assert {n.op.key: str(n.type) for n in graph if isinstance(n.op, Input)} == inputs
    assert list(graph.outputs) == outputs


def test_nodes_carry_their_innermost_module(zoo: Zoo) -> None:
    graph = read_pt2(zoo["pre_norm"].path)
    assert [n.module for n in nodes(graph, "aten.relu.default")] == ["encoder.layers.0", "encoder.layers.1"]
    assert {n.module for n in nodes(graph, "aten.scaled_dot_product_attention.default")} == {
        "encoder.layers.0.self_attn",
        "encoder.layers.1.self_attn",
    }
    keys = {node.op.key for node in graph if isinstance(node.op, Constant)}
    assert "encoder.layers.1.linear2.weight" in keys


def test_every_argument_of_the_schema_is_there(zoo: Zoo) -> None:
    """Exported files leave out what is at its default."""
    attention = nodes(read_pt2(zoo["pre_norm"].path), "aten.scaled_dot_product_attention.default")[0]
    assert str(attention.op) == (
        "aten.scaled_dot_product_attention.default("
        "dropout_p=0.0, is_causal=False, enable_gqa=False, query=$0, key=$1, value=$2)"
    )
    for name in ("bert", "vit", "gpt", "padded"):
        for node in read_pt2(zoo[name].path):
            if isinstance(node.op, Aten):
                namespace, operator, overload = node.op.target.split(".")
                schema = getattr(getattr(getattr(torch.ops, namespace), operator), overload)._schema
                assert set(node.op.arguments) == {argument.name for argument in schema.arguments}, (
                    node.op.target
                )


def test_multiple_results_become_slices(zoo: Zoo) -> None:
    gpt, vit = read_pt2(zoo["gpt"].path), read_pt2(zoo["vit"].path)
    assert not nodes(gpt, "aten.split.Tensor")
    parts = [str(n.op) for n in nodes(gpt, "aten.slice.Tensor") if n.type.shape == (1, 6, 20)]
    assert parts == [
        f"aten.slice.Tensor(self=$0, dim=2, start={i * 20}, end={i * 20 + 20}, step=1)" for i in range(3)
    ]
    assert not nodes(vit, "aten.unbind.int")
    assert [n.op.arguments["index"] for n in nodes(vit, "aten.select.int") if isinstance(n.op, Aten)][:3] == [
        0,
        1,
        2,
    ]


def test_in_place_operators_become_pure(zoo: Zoo) -> None:
    targets = {n.op.target for n in read_pt2(zoo["in_place"].path) if isinstance(n.op, Aten)}
    assert {"aten.add.Tensor", "aten.mul.Tensor", "aten.relu.default"} <= targets
    assert "aten.__or__.Tensor" in targets
    assert not [t for t in targets if re.search(r"[a-z]_\.|__i", t)]


def test_regions_are_inlined(zoo: Zoo) -> None:
    graph = read_pt2(zoo["einsum"].path)
    assert [n.module for n in nodes(graph, "aten.linear.default")] == ["inner"]


def test_quantization_becomes_our_operators(zoo: Zoo) -> None:
    graph = read_pt2(zoo["quantized"].path)
    found = [node.op for node in graph if isinstance(node.op, (Quantize, Dequantize))]
    weights = [op for op in found if op.axis == 0]
    assert len(weights) == 1
    assert weights[0].scale.dtype == np.float64
    assert weights[0].scale.shape == (20,)
    assert [
        (type(op).__name__, op.bits, float(op.scale), int(op.zero_point)) for op in found if op.per_tensor
    ] == [
        ("Quantize", 8, 0.031, 3),
        ("Dequantize", 8, 0.031, 3),
        ("Quantize", 16, float(np.float32(1e-4)), 0),
        ("Dequantize", 16, float(np.float32(1e-4)), 0),
    ]
    assert "linear.weight" not in {node.op.key for node in graph if isinstance(node.op, Constant)}


def test_tensors_nobody_uses_are_not_read(zoo: Zoo) -> None:
    keys = {node.op.key for node in read_pt2(zoo["storage"].path) if isinstance(node.op, Constant)}
    assert "second.weight" in keys
    assert "unused.weight" not in keys


def test_stored_tensors_are_read_only(zoo: Zoo) -> None:
    graph = read_pt2(zoo["pre_norm"].path)
    weight = next(
        n.op.value for n in graph if isinstance(n.op, Constant) and n.op.key.endswith("linear1.weight")
    )
    with pytest.raises(ValueError, match=r"^assignment destination is read-only$"):
        weight[0] = 0


def test_reading_imports_no_torch(zoo: Zoo) -> None:
    """Nor does executing: the golden model of a `.pt2` needs numpy alone."""
    script = (
        "import sys\nfrom flow.frontend import load\nfrom flow.golden import execute\nimport numpy as np\n"
        "graph = load(sys.argv[1])\nexecute(graph, {'x': np.zeros((1, 6, 20), np.float32)})\n"
        "print(len(graph), sorted({'torch', 'safetensors', 'sympy'} & set(sys.modules)))"
    )
    path = str(zoo["pre_norm"].path)
    run = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ,
    )
    assert run.stderr == ""
    count, _, modules = run.stdout.strip().partition(" ")
    assert int(count) > 50
    assert modules == "[]"


def test_reading_never_unpickles(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, refuse)
    for name in ("load", "jit.load", "export.load"):
        monkeypatch.setattr(f"torch.{name}", refuse)
    assert len(load(zoo["bert"].path)) > 100
