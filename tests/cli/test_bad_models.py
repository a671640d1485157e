"""Files that are no model for `flow lower`: one message, exit status 2, nothing written."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

EXPORT = """expected a .pt2 archive; make one where the model is defined:
    ep = torch.export.export(model.eval(), (example,), strict=False)
    torch.export.save(ep, "model.pt2")
"""
AGAIN = "write the file again with torch.export.save or torch.save"


@pytest.fixture
def refused(flow: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """`refused(model, *options)`: the message of `flow lower`, which has to refuse and to leave nothing."""

    def lower(model: Path, *options: str) -> str:
        output = tmp_path / "build"
        outcome = flow("lower", model, "--board", "u250", "-o", output, "--json", *options)
        assert (outcome.status, outcome.out) == (2, "")
        assert not output.exists()
        message: str = outcome.err.removeprefix("error: ").replace(f"{model}: ", "FILE: ", 1)
        return message

    return lower


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "FILE: found an empty file; expected a model; write it again\n"),
        (
            b"GIF89a\x01\x02",
            (
                "FILE: found an unknown kind of file (it begins with 47 49 46 38 39 61 01 02); "
                "expected a .pt2 archive, a state_dict or a safetensors file\n"
            ),
        ),
        (
            pickle.dumps({"weight": 1}),
            "FILE: found a pickle that torch.save did not write, which could run code when loaded; " + EXPORT,
        ),
    ],
)
def test_other_files(refused: Callable[..., str], tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    assert refused(path) == message


def test_no_file(refused: Callable[..., str], tmp_path: Path) -> None:
    assert refused(tmp_path / "model.pt2") == "FILE: found no such file; expected a model; check the path\n"
    assert refused(tmp_path) == "FILE: found a directory; expected a model file; name a file in it\n"


def test_truncated(refused: Callable[..., str], models: Path, tmp_path: Path) -> None:
    whole = (models / "digits_vit_hp80.pt2").read_bytes()
    path = tmp_path / "half.pt2"
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path) == (
        f"FILE: found a truncated or damaged zip archive (File is not a zip file); expected a whole one; {AGAIN}\n"
    )


def test_pickled_module(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    assert refused(tmp_path / "module.pt") == (
        "FILE: found a pickled module or object (it needs torch.nn.modules.linear.Linear), "
        "which would run code when loaded; " + EXPORT
    )


def test_torchscript(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:  # what torch.jit.save writes, as far as its kind shows
        archive.writestr("script/constants.pkl", b"\x80\x02)\x81.")
        archive.writestr("script/code/__torch__.py", b"")
    assert refused(path) == "FILE: found a TorchScript archive, which has lost the model's modules; " + EXPORT


def test_state_dict_without_config(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "weights.pt")
    assert refused(tmp_path / "weights.pt") == (
        "FILE: found a state_dict, which holds weights and no architecture; expected a .pt2 archive, or "
        "--config config.json beside it; name the model's configuration with --config\n"
    )


def _first_payload(key: str, value: Any) -> Callable[[dict[str, bytes]], Mapping[str, bytes]]:
    def change(members: dict[str, bytes]) -> Mapping[str, bytes]:
        name = "data/weights/model_weights_config.json"
        document = json.loads(members[name])
        entry = document["config"]["position"]
        assert key in entry
        entry[key] = {**entry[key], **value} if isinstance(value, dict) else value
        return {**members, name: json.dumps(document).encode()}

    return change


HUGE = [{"as_int": 1 << 62}, {"as_int": 1 << 62}]
HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], Mapping[str, bytes]], str]] = {
    "pickled payload": (
        _first_payload("use_pickle", True),
        (
            "FILE: tensor position: found a pickled payload, which could run code; expected raw data; "
            "export a model of plain tensors, without tensor subclasses\n"
        ),
    ),
    "zip bomb": (
        lambda members: {**members, "data/bomb": bytes(200 << 20)},
        (
            "FILE: found an archive that cannot be trusted; expected one as torch writes it; "
            f"{AGAIN}\n  - member 'archive/data/bomb': found SOME bytes that grow to 209715200; "
            "expected at most 100 times\n"
        ),
    ),
    "../ members": (
        lambda members: {**members, "../../evil": b"x"},
        (
            "FILE: found an archive that cannot be trusted; expected one as torch writes it; "
            f"{AGAIN}\n  - member 'archive/../../evil': found a name that leaves the archive; "
            "expected a plain relative path\n"
        ),
    ),
    "absurd shapes": (
        _first_payload("tensor_meta", {"sizes": HUGE}),
        (
            "FILE: tensor position: found shape 4611686018427387904x4611686018427387904; "
            "expected at most 32 axes and 2^33 elements; write the file again with torch.export.save\n"
        ),
    ),
    "nested JSON": (
        lambda members: {**members, "models/model.json": b"[" * 100_000 + b"]" * 100_000},
        f"FILE: member 'models/model.json': found JSON nested 100000 deep; expected at most 100; {AGAIN}\n",
    ),
    "no program": (
        lambda members: {**members, "models/model.json": b"{}"},
        (
            "FILE: models/model.json: found Object missing required field `schema_version`; "
            "expected a file as torch.export.save writes it\n"
        ),
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(refused: Callable[..., str], edit_archive: Callable[..., Path], case: str) -> None:
    change, message = HOSTILE[case]
    found = re.sub(r"found \d+ bytes that", "found SOME bytes that", refused(edit_archive(change)))
    assert found == message


def test_float_model(refused: Callable[..., str], float_model: Path) -> None:
    assert refused(float_model) == (
        "float.pt2: found a float model; expected quantize/dequantize operators; "
        "run `flow quantize` on the float model\n"
    )


def test_dynamic_shapes(refused: Callable[..., str], dynamic_model: Path) -> None:
    message = refused(dynamic_model)
    head, _, line = message.partition("\n")
    assert head == (
        "FILE: found dynamic shapes; expected static ones; "
        "export with an example of the right size, without dynamic_shapes"
    )
    # torch counts its symbols through a process, so only their form is known.
    assert line.startswith("  - input x: found axis 0 of size s")
    assert line.endswith("; expected a number\n")


def test_unsupported_operator(refused: Callable[..., str], foreign_model: Path) -> None:
    assert refused(foreign_model) == (
        "foreign.pt2: found 1 operations that flow cannot lower\n"
        "  - head: aten.erfinv.default between device operators; "
        "replace it by one of the operators in docs/operators.md\n"
    )


def _int8_residual(program: dict[str, Any]) -> None:
    """Every residual sum to int8, quantizer and dequantizers alike."""
    graph = program["graph_module"]["graph"]
    narrowed = set()
    for node in graph["nodes"]:
        operator = node["target"].rpartition("decomposed.")[2]
        if not operator.endswith("quantize_per_tensor.default"):
            continue
        arguments = {item["name"]: item["arg"] for item in node["inputs"]}
        source = arguments["input"]["as_tensor"]["name"]
        if source.startswith("add") or source in narrowed:
            result = node["outputs"][0]["as_tensor"]["name"]
            arguments["scale"]["as_float"] *= 258
            arguments["quant_min"]["as_int"], arguments["quant_max"]["as_int"] = -127, 127
            arguments["dtype"]["as_scalar_type"] = 2
            if operator.startswith("quantize"):
                narrowed.add(result)
                graph["tensor_values"][result]["dtype"] = 2
    assert len(narrowed) == 9


def test_int8_residual(
    refused: Callable[..., str], flow: Callable[..., Any], edit_program: Callable[..., Path], tmp_path: Path
) -> None:
    model = edit_program(_int8_residual)
    advice = (
        "(quantize): found an int8 residual stream; expected int16; "
        "run `flow quantize` on the float model, or pass --allow-int8-residual\n"
    )
    places = ("add_q", *(f"encoder.layers.{i}" for i in range(4)))
    assert refused(model) == "edited.pt2: found 5 places outside the number contract\n" + "".join(
        f"  - {place} {advice}" for place in places
    )
    lowered = flow(
        "lower", model, "--board", "pynq-z2", "-o", tmp_path / "wide", "--allow-int8-residual", "--json"
    )
    assert (lowered.status, lowered.err) == (0, "")
    outcome = flow("sim", tmp_path / "wide", "--samples", "6", "--json")
    assert outcome.json() == {"backend": "csim", "samples": 6, "outputs_compared": 60, "mismatches": 0}
