"""The file: small, repeatable, standard, whole or absent."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from flow.errors import FlowError
from flow.frontend.to_torch import write_pt2
from flow.ops.aten import Aten
from flow.ops.float import FloatAdd, FloatLinear
from flow.ops.source import Constant, Input

if TYPE_CHECKING:
    from tests.frontend.to_torch.conftest import Models


def test_unused_input_stays_and_unused_constant_goes(tmp_path: Path, models: type[Models]) -> None:
    b = models.Build()
    x = b.input("x", (1, 3))
    b.input("token_type_ids", (1, 3), "int64")
    b.random(1000, 1000, key="dead.weight")
    b.graph.set_output("y", b.op(FloatAdd(), x, x))
    again = models.there_and_back(b.graph, tmp_path)
    assert [n.op.key for n in again if isinstance(n.op, Input)] == ["x", "token_type_ids"]
    assert (tmp_path / "model.pt2").stat().st_size < 20_000


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_file_is_small_and_holds_integers_only_where_quantized(tmp_path: Path, models: type[Models]) -> None:
    path = tmp_path / "digits.pt2"
    write_pt2(models.digits_sized(), path)
    content = members(path)
    weights = 4 * (4 * 64 * 64 + 2 * 64 * 256)
    payloads = sum(len(data) for name, data in content.items() if "/data/weights/weight_" in name)
    rows = 4 * (4 * 64 + 256 + 64)
    assert payloads == weights + rows * (4 + 4 + 8)  # biases and scales float32, zero points int64
    assert path.stat().st_size < 1_000_000
    assert str(Path.cwd()).encode() not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()


def test_bytes_repeat_and_torch_reads_them(tmp_path: Path, models: type[Models]) -> None:
    graph = models.encoder(quantized=True)
    first, second = tmp_path / "first.pt2", tmp_path / "another_name.pt2"
    write_pt2(graph, first)
    write_pt2(models.encoder(quantized=True), second)
    assert first.read_bytes() == second.read_bytes()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["another_name.pt2", "first.pt2"]
    program = torch.export.load(first)
    inputs = {key: torch.from_numpy(value) for key, value in models.sample(graph).items()}
    with torch.no_grad():
        loaded = {key: value.numpy() for key, value in program.module()(**inputs).items()}
    models.assert_close(loaded, models.run(graph, {k: v.numpy() for k, v in inputs.items()}), 1e-6)


def test_module_paths_and_names_survive(tmp_path: Path, models: type[Models]) -> None:
    graph = models.encoder(quantized=True)
    again = models.there_and_back(graph, tmp_path)
    assert list(again.outputs) == ["hidden", "logits"]
    assert [n.op.key for n in again if isinstance(n.op, Input)] == ["src", "attention_mask"]
    linears = {n.module for n in again if isinstance(n.op, Aten) and n.op.target == "aten.linear.default"}
    assert linears == {n.module for n in graph if isinstance(n.op, FloatLinear)}
    assert "encoder.layers.0.linear1" in linears
    keys = {n.op.key for n in again if isinstance(n.op, Constant)}
    assert {n.op.key for n in graph if isinstance(n.op, Constant) and n.op.key} <= keys


def test_unwritable_output(tmp_path: Path, models: type[Models]) -> None:
    graph = models.encoder(quantized=False)
    with pytest.raises(FlowError) as caught:
        write_pt2(graph, tmp_path / "missing" / "model.pt2")
    assert str(caught.value) == (
        f"{tmp_path}/missing/model.pt2: found No such file or directory; expected a writable file; "
        "choose another output"
    )
    (tmp_path / "directory.pt2").mkdir()
    with pytest.raises(FlowError) as caught:
        write_pt2(graph, tmp_path / "directory.pt2")
    assert str(caught.value) == (
        f"{tmp_path}/directory.pt2: found Is a directory; expected a writable file; choose another output"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["directory.pt2"]


def test_archive_holds_standard_json(tmp_path: Path, models: type[Models]) -> None:
    write_pt2(models.encoder(quantized=False), tmp_path / "model.pt2")
    content = members(tmp_path / "model.pt2")
    model = json.load(io.BytesIO(content["archive/models/model.json"]))
    assert {
        node["metadata"].keys() <= {"nn_module_stack"} for node in model["graph_module"]["graph"]["nodes"]
    } == {True}
