"""Files are told apart by their bytes; everything that is refused says why and what to do."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flow.errors import FlowError
from flow.frontend import Kind, load, sniff

_LINES = (
    "expected a .pt2 archive; make one where the model is defined:\n"
    "    ep = torch.export.export(model.eval(), (example,), strict=False)\n"
    '    torch.export.save(ep, "model.pt2")'
)
_KINDS = "expected a .pt2 archive, a state_dict or a safetensors file"


class Net(nn.Module):
    """Something to pickle."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # torch deprecates what users still have
        torch.jit.save(torch.jit.trace(Net().eval(), torch.zeros(1, 2)), buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def safetensors(tensors: dict[str, Any], data: bytes) -> bytes:
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + data


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def state() -> dict[str, Tensor]:
    return {**Net().state_dict(), "half": torch.zeros(2).half(), "brain": torch.zeros(2).bfloat16()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """No ending: it must not matter."""
    return tmp_path / "model"


def message(path: Path, config: Path | None = None) -> str:
    with pytest.raises(FlowError) as error:
        load(path, config)
    return str(error.value)


def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(1, 2),), strict=False), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (exported, Kind.PT2),
        (lambda: saved(state()), Kind.STATE_DICT),
        (lambda: saved(Net().state_dict()), Kind.STATE_DICT),
        (lambda: saved(dict(Net().named_parameters())), Kind.STATE_DICT),
        (lambda: saved({"model": state(), "epoch": 3, "loss": [0.5, (1, None)]}), Kind.STATE_DICT),
        (lambda: saved(state(), _use_new_zipfile_serialization=False), Kind.STATE_DICT),
        (
            lambda: safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8),
            Kind.SAFETENSORS,
        ),
    ],
)
def test_kinds(path: Path, make: Callable[[], bytes], kind: Kind) -> None:
    path.write_bytes(make())
    assert sniff(path) is kind


_MODULE = f"{Net.__module__}.Net"

REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    (
        "module",
        lambda: saved(Net()),
        f"found a pickled module or object (it needs {_MODULE}), which would run code when loaded; {_LINES}",
    ),
    (
        "module_protocol_4",
        lambda: saved(Net(), pickle_protocol=4),
        f"found a pickled module or object (it needs {_MODULE}), which would run code when loaded; {_LINES}",
    ),
    (
        "module_legacy",
        lambda: saved(Net(), _use_new_zipfile_serialization=False),
        f"found a pickled module or object (it needs {_MODULE}), which would run code when loaded; {_LINES}",
    ),
    (
        "graph_module",
        lambda: saved(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3)))),
        f"found a pickled fx GraphModule, which would run code when loaded; {_LINES}",
    ),
    (
        "torchscript",
        scripted,
        f"found a TorchScript archive, which has lost the model's modules; {_LINES}",
    ),
    (
        "old_export",
        lambda: zipped(**{"serialized_exported_program.json": b"{}", "serialized_state_dict.pt": b""}),
        f"found an exported program of torch before 2.7, whose weights are pickled; {_LINES}",
    ),
    (
        "plain_pickle",
        lambda: pickle.dumps({"w": [1.0]}),
        f"found a pickle that torch.save did not write, which could run code when loaded; {_LINES}",
    ),
    (
        "protocol_4",
        lambda: saved(state(), pickle_protocol=4),
        (
            "found a state_dict in pickle protocol 4; expected protocol 2, which torch can load safely; "
            "write it again with torch.save(state_dict, path)"
        ),
    ),
    (
        "damaged_pickle",
        lambda: zipped(**{"m/data.pkl": b"\x80\x02}q\x00X\xff\xff\xff\x00abc", "m/version": b"3"}),
        (
            "found a damaged pickle (expected 16777215 bytes in a unicodestring4, but only 3 remain); "
            "expected a state_dict; write it again with torch.save"
        ),
    ),
    (
        "other_zip",
        lambda: zipped(readme=b"hello"),
        f"found a zip archive that torch did not write; {_KINDS}; write it again with torch.export.save",
    ),
    (
        "truncated_zip",
        lambda: saved(state())[:-30],
        (
            "found a truncated or damaged zip archive (File is not a zip file); expected a whole one; "
            "write the file again with torch.export.save or torch.save"
        ),
    ),
    (
        "truncated_safetensors",
        lambda: safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 7),
        "found a truncated or damaged safetensors file; expected a whole one; save or download it again",
    ),
    (
        "nested_safetensors",
        lambda: struct.pack("<Q", 100_000) + b'{"a":' + b"[" * 99_995,
        "found a truncated or damaged safetensors file; expected a whole one; save or download it again",
    ),
    ("empty", lambda: b"", "found an empty file; expected a model; write it again"),
    (
        "junk",
        lambda: b"\x89HDF\r\n\x1a\n" + bytes(100),
        f"found an unknown kind of file (it begins with 89 48 44 46 0d 0a 1a 0a); {_KINDS}",
    ),
]


@pytest.mark.parametrize(("make", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_by_name(path: Path, make: Callable[[], bytes], text: str) -> None:
    path.write_bytes(make())
    assert message(path) == f"{path}: {text}"


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trap),))


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}])
def test_nothing_in_a_pickle_runs(path: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    trap = tmp_path / "trap"
    path.write_bytes(saved({"w": torch.zeros(1), "bomb": Bomb(trap)}, **options))
    assert message(path) == (
        f"{path}: found a pickled module or object (it needs {os.mkdir.__module__}.mkdir), "
        f"which would run code when loaded; {_LINES}"
    )
    assert not trap.exists()


def test_names_hidden_from_the_scan_are_refused(path: Path) -> None:
    """A name put together on the stack cannot be read off the opcodes."""
    pickled = b"\x80\x04N\x85\x8c\x02os\x94N\x93."  # the name is None
    path.write_bytes(zipped(**{"m/data.pkl": pickled, "m/version": b"3"}))
    assert message(path) == (
        f"{path}: found a pickled module or object (it needs ?), which would run code when loaded; {_LINES}"
    )


def test_every_prefix_of_every_kind_is_a_message(path: Path) -> None:
    tried = 0
    for make in (
        scripted,
        lambda: saved(state()),
        lambda: saved(Net(), _use_new_zipfile_serialization=False),
    ):
        data = make()
        for size in range(0, len(data) - 1, max(len(data) // 60, 1)):
            path.write_bytes(data[:size])
            assert message(path).startswith(f"{path}: found ")
            tried += 1
    assert tried > 150


def test_directory(tmp_path: Path) -> None:
    assert message(tmp_path) == f"{tmp_path}: found a directory; expected a model file; name a file in it"


def test_missing(tmp_path: Path) -> None:
    path = tmp_path / "gone.pt2"
    assert message(path) == f"{path}: found no such file; expected a model; check the path"


def test_device() -> None:
    assert message(Path("/dev/null")) == (
        "/dev/null: found a device or pipe; expected a model file; copy it to a file first"
    )


def test_unreadable(tmp_path: Path) -> None:
    """A name that no file system takes; permissions do not stop root."""
    path = tmp_path / ("x" * 5000)
    assert message(path) == (
        f"{path}: found an unreadable file (file name too long); expected a model; check its permissions"
    )


def test_state_dict_without_configuration(path: Path) -> None:
    path.write_bytes(saved(state()))
    assert message(path) == (
        f"{path}: found a state_dict, which holds weights and no architecture; expected a .pt2 archive, or "
        "--config config.json beside it; name the model's configuration with --config"
    )


def test_safetensors_without_configuration(path: Path) -> None:
    path.write_bytes(safetensors({}, b""))
    assert message(path) == (
        f"{path}: found a safetensors file, which holds weights and no architecture; expected a .pt2 archive, or "
        "--config config.json beside it; name the model's configuration with --config"
    )


def test_pt2_with_configuration(path: Path, tmp_path: Path) -> None:
    path.write_bytes(exported())
    assert message(path, tmp_path / "config.json") == (
        f"{path}: found a .pt2 archive, which holds its architecture; expected no --config; leave it out"
    )


def test_sniffing_imports_no_torch(path: Path) -> None:
    path.write_bytes(saved(state()))
    script = (
        "import sys\nfrom flow.frontend import sniff\nprint(sniff(sys.argv[1]).name, 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.stdout, run.stderr) == ("STATE_DICT False\n", "")
