"""Damaged and hostile archives: one message each, never a traceback, never much memory or time."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import struct
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flow.errors import FlowError
from flow.frontend import read_pt2

if TYPE_CHECKING:
    from tests.frontend.pt2.conftest import Rewritten, Zoo

Members = dict[str, bytes]
_REMEDY = "write the file again with torch.export.save"
_REWRITE = "write the file again with torch.export.save or torch.save"
_WEIGHTS = "model_weights_config.json"
_KEY = "encoder.layers.0.linear1.weight"


def message(path: Path) -> str:
    with pytest.raises(FlowError) as error:
        read_pt2(path)
    return str(error.value)


@pytest.fixture
def source(zoo: Zoo) -> Path:
    return zoo["pre_norm"].path


# -- the archive -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "reason"), [(-100, "its directory is gone"), (1000, "File is not a zip file")]
)
def test_truncated_archive(source: Path, tmp_path: Path, kept: int, reason: str) -> None:
    """With most of it there, the last directory is that of the example inputs, an archive within."""
    data, path = source.read_bytes(), tmp_path / "model.pt2"
    path.write_bytes(data[:kept])
    assert message(path) == (
        f"{path}: found a truncated or damaged zip archive ({reason}); expected a whole one; {_REWRITE}"
    )


def test_every_truncation_is_a_message(source: Path, tmp_path: Path) -> None:
    data, path = source.read_bytes(), tmp_path / "model.pt2"
    for size in range(0, len(data), len(data) // 40):
        path.write_bytes(data[:size])
        assert message(path).startswith(f"{path}: found ")


def test_flipped_bits_are_messages(source: Path, tmp_path: Path) -> None:
    """Most are seen by the checksums; none is a traceback."""
    data, path, rng = source.read_bytes(), tmp_path / "model.pt2", random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            read_pt2(path)
        except FlowError:
            refused += 1
    assert refused > 100


def test_damaged_member(source: Path, tmp_path: Path) -> None:
    data, path = bytearray(source.read_bytes()), tmp_path / "model.pt2"
    with zipfile.ZipFile(source) as archive:
        name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        data[archive.getinfo(name).header_offset + 2000] ^= 1
    path.write_bytes(data)
    assert message(path) == (
        f"{path}: member 'models/model.json': found damaged data (Bad CRC-32 for file {name!r}); "
        f"expected a whole archive; {_REWRITE}"
    )


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "c:/evil", "a\\..\\evil", "a//evil"])
def test_names_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
        archive.writestr(name, "x")
    assert message(path) == (
        f"{path}: found an archive that cannot be trusted; expected one as torch writes it; {_REWRITE}\n"
        f"  - member {name!r}: found a name that leaves the archive; expected a plain relative path"
    )
    assert sorted(tmp_path.parent.rglob("evil")) == []


def test_member_twice(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("model/archive_format", "pt2")
    assert message(path) == (
        f"{path}: found an archive that cannot be trusted; expected one as torch writes it; {_REWRITE}\n"
        "  - member 'model/archive_format': found twice; expected once"
    )


def test_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/archive_format", "pt2")
        archive.writestr("model/models/model.json", b"[" * (32 << 20))
        stored = archive.getinfo("model/models/model.json").compress_size
    assert message(path) == (
        f"{path}: found an archive that cannot be trusted; expected one as torch writes it; {_REWRITE}\n"
        f"  - member 'model/models/model.json': found {stored} bytes that grow to 33554432; expected at most 100 times"
    )


def _patched(data: bytes, name: bytes, offset: int, value: bytes, headers: bytes = b"PK\x01\x02") -> bytes:
    """An archive with a field of the directory entry of `name` overwritten."""
    start = data.rindex(headers, 0, data.rindex(name))
    return data[: start + offset] + value + data[start + offset + len(value) :]


def test_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    """The directory says 100 bytes where 64 MB come out: no more than 100 are ever inflated."""
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/archive_format", "pt2")
        archive.writestr("model/models/model.json", b"[" * (64 << 20))
    path.write_bytes(_patched(path.read_bytes(), b"model/models/model.json", 24, struct.pack("<I", 100)))
    assert message(path) == (
        f"{path}: member 'models/model.json': found damaged data (Bad CRC-32 for file 'model/models/model.json'); "
        f"expected a whole archive; {_REWRITE}"
    )


def test_members_that_share_bytes(tmp_path: Path) -> None:
    """Overlapping members multiply data without any compression."""
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
        archive.writestr("model/first", b"x" * 1000)
        archive.writestr("model/second", b"y" * 1000)
        offset = archive.getinfo("model/first").header_offset
    data = _patched(path.read_bytes(), b"model/second", 42, struct.pack("<I", offset))
    path.write_bytes(data)
    assert message(path) == (
        f"{path}: found an archive that cannot be trusted; expected one as torch writes it; {_REWRITE}\n"
        f"  - member 'model/first': found 1000 bytes at {offset}; expected it to end before {offset}"
    )


def test_encrypted_member(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    path.write_bytes(_patched(path.read_bytes(), b"model/archive_format", 8, b"\x01\x00"))
    assert message(path) == (
        f"{path}: found an archive that cannot be trusted; expected one as torch writes it; {_REWRITE}\n"
        "  - member 'model/archive_format': found encryption; expected plain data"
    )


def test_other_compression(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("model/archive_format", "pt2")
    assert message(path) == (
        f"{path}: found an archive that cannot be trusted; expected one as torch writes it; {_REWRITE}\n"
        "  - member 'model/archive_format': found compression method 14; expected stored or deflated"
    )


def test_recompressed_archive_is_welcome(source: Path, tmp_path: Path) -> None:
    """What zip tools make of an archive still reads."""
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name.partition("/")[2], old.read(name))
    assert len(read_pt2(path)) == len(read_pt2(source))


# -- the documents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "depth"),
    [
        (b"[" * 200_000, 200_000),
        (b'{"a":' * 101 + b"1" + b"}" * 101, 101),
        (b'["\\"[[[[", ' + b"[" * 500, 501),
    ],
)
def test_absurdly_nested_json(source: Path, rewritten: Rewritten, document: bytes, depth: int) -> None:
    path = rewritten(source, lambda members: members.update({"models/model.json": document}))
    assert message(path) == (
        f"{path}: member 'models/model.json': found JSON nested {depth} deep; expected at most 100; {_REWRITE}"
    )


def test_nesting_ignores_strings(source: Path, rewritten: Rewritten) -> None:
    def decorate(program: Any) -> None:
        program["torch_version"] = '"\\' + "[" * 5000

    assert len(read_pt2(rewritten.program(source, decorate))) == len(read_pt2(source))


def test_unfinished_strings_take_linear_time(source: Path, rewritten: Rewritten) -> None:
    document = b'"' + b'\\"' * (4 << 20)
    path = rewritten(source, lambda members: members.update({"models/model.json": document}))
    start = time.monotonic()
    assert message(path).startswith(f"{path}: models/model.json: found broken JSON (Unterminated string")
    assert time.monotonic() - start < 10


def test_broken_json(source: Path, rewritten: Rewritten) -> None:
    path = rewritten(source, lambda members: members.update({"models/model.json": b'{"graph_module": '}))
    assert message(path) == (
        f"{path}: models/model.json: found broken JSON (Expecting value: line 1 column 18 (char 17)); "
        "expected a file as torch.export.save writes it"
    )


def test_missing_field(source: Path, rewritten: Rewritten) -> None:
    path = rewritten.program(source, lambda program: program["graph_module"]["graph"].pop("nodes"))
    assert message(path) == (
        f"{path}: models/model.json: found Object missing required field `nodes` - at `$.graph_module.graph`; "
        "expected a file as torch.export.save writes it"
    )


def test_other_schema(source: Path, rewritten: Rewritten) -> None:
    version = {"schema_version": {"major": 5, "minor": 3}, "torch_version": "2.3.0"}
    path = rewritten.program(source, lambda program: program.update(version))
    assert message(path) == (
        f"{path}: models/model.json: found schema 5.3 of torch 2.3.0; expected schema 8; "
        "export the model again with torch 2.13"
    )


def test_other_trees(source: Path, rewritten: Rewritten) -> None:
    def edit(program: Any) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = '[2, {"type": null}]'

    path = rewritten.program(source, edit)
    assert message(path) == (
        f"{path}: models/model.json: found another tree format; expected version 1; "
        "export the model again with torch 2.13"
    )


def test_no_pt2(source: Path, rewritten: Rewritten) -> None:
    path = rewritten(source, lambda members: members.update({"archive_format": b"tar"}))
    assert (
        message(path)
        == f"{path}: found a zip archive that is no .pt2; expected archive_format pt2; {_REMEDY}"
    )


def test_big_endian(source: Path, rewritten: Rewritten) -> None:
    path = rewritten(source, lambda members: members.update({"byteorder": b"big"}))
    assert message(path) == (
        f"{path}: found big-endian tensors; expected little-endian ones; export on another machine"
    )


def test_two_programs(source: Path, rewritten: Rewritten) -> None:
    path = rewritten(
        source, lambda members: members.update({"models/other.json": members["models/model.json"]})
    )
    assert message(path) == f"{path}: found 2 programs; expected one; {_REMEDY}"


# -- the tensors -----------------------------------------------------------------------------------------------


def _meta(**changes: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        document["config"][_KEY]["tensor_meta"].update(changes)

    return edit


def _sizes(*values: int) -> list[dict[str, int]]:
    return [{"as_int": value} for value in values]


def test_pickled_payload(source: Path, rewritten: Rewritten) -> None:
    path = rewritten.json(source, _WEIGHTS, lambda document: document["config"][_KEY].update(use_pickle=True))
    assert message(path) == (
        f"{path}: tensor {_KEY}: found a pickled payload, which could run code; expected raw data; "
        "export a model of plain tensors, without tensor subclasses"
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"sizes": _sizes(1 << 20, 1 << 12), "strides": _sizes(1 << 12, 1)},
            "shape [1048576, 4096], strides [4096, 1], offset 0",
        ),
        ({"strides": _sizes(20, 2)}, "shape [28, 20], strides [20, 2], offset 0"),
        ({"storage_offset": {"as_int": 1}}, "shape [28, 20], strides [20, 1], offset 1"),
        ({"strides": _sizes(20)}, "shape [28, 20], strides [20], offset 0"),
        (
            {"sizes": _sizes(1 << 16, 1 << 12), "strides": _sizes(0, 0)},
            "shape [65536, 4096], strides [0, 0], offset 0",
        ),
    ],
)
def test_tensors_outside_their_payload(source: Path, rewritten: Rewritten, changes: Any, found: str) -> None:
    """Absurd shapes and strides, and a broadcast of one number to a gigabyte."""
    path = rewritten.json(source, _WEIGHTS, _meta(**changes))
    assert message(path) == (
        f"{path}: tensor {_KEY}: found {found} on 560 stored elements; expected them to lie inside; {_REMEDY}"
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"sizes": _sizes(1 << 40, 1 << 40)},
            "found shape 1099511627776x1099511627776; expected at most 32 axes and 2^33 elements",
        ),
        (
            {"sizes": _sizes(*[1] * 40)},
            "found shape 1x1x1x1x1x1x1x1; expected at most 32 axes and 2^33 elements",
        ),
        ({"sizes": _sizes(-1, 4)}, "found size -1; expected a number in 0..2^62"),
        ({"strides": [{"as_expr": {"expr_str": "s0"}}]}, "found the dynamic size s0; expected a number"),
    ],
)
def test_absurd_shapes(source: Path, rewritten: Rewritten, changes: Any, found: str) -> None:
    path = rewritten.json(source, _WEIGHTS, _meta(**changes))
    assert message(path) == f"{path}: tensor {_KEY}: {found}; {_REMEDY}"


def test_absurd_shape_of_a_result(source: Path, rewritten: Rewritten) -> None:
    def edit(program: Any) -> None:
        program["graph_module"]["graph"]["tensor_values"]["relu"]["sizes"] = _sizes(1 << 20, 1 << 20)

    path = rewritten.program(source, edit)
    assert message(path) == (
        f"{path}: found what cannot be lowered; expected a static program without side effects\n"
        "  - encoder.layers.0 (aten.relu.default): result relu: found shape 1048576x1048576; "
        "expected at most 32 axes and 2^33 elements"
    )


def test_sparse_tensor(source: Path, rewritten: Rewritten) -> None:
    path = rewritten.json(source, _WEIGHTS, _meta(layout=1))
    assert message(path) == (
        f"{path}: tensor {_KEY}: found layout 1; expected a dense (strided) tensor; call to_dense() first"
    )


def test_tensor_that_the_program_describes_otherwise(source: Path, rewritten: Rewritten) -> None:
    path = rewritten.json(source, _WEIGHTS, _meta(sizes=_sizes(20, 28), strides=_sizes(28, 1)))
    assert message(path) == (
        f"{path}: tensor {_KEY}: found float32[20x28]; expected float32[28x20], as the program says; {_REMEDY}"
    )


def test_missing_tensor(source: Path, rewritten: Rewritten) -> None:
    path = rewritten.json(source, _WEIGHTS, lambda document: document["config"].pop(_KEY))
    assert message(path) == f"{path}: tensor {_KEY}: found no data; expected a payload; {_REMEDY}"


def test_missing_payload(source: Path, rewritten: Rewritten) -> None:
    path = rewritten.json(
        source, _WEIGHTS, lambda document: document["config"][_KEY].update(path_name="gone")
    )
    assert message(path) == f"{path}: found no member 'data/weights/gone'; expected one; {_REWRITE}"


def test_payload_outside_its_folder(source: Path, rewritten: Rewritten) -> None:
    name = "../../models/model.json"
    path = rewritten.json(source, _WEIGHTS, lambda document: document["config"][_KEY].update(path_name=name))
    assert message(path) == (
        f"{path}: tensor {_KEY}: found the payload name {name!r}; expected a plain name; {_REMEDY}"
    )


# -- anything at all -------------------------------------------------------------------------------------------

_JUNK: list[Any] = [
    None, -1, 0, True, 2**70, 1e300, "", "x", "torch.ops.", "[1, 2]", [], {}, [[]],
    {"as_int": -5}, {"as_int": 2**61}, {"as_expr": 3}, {"as_tensor": 3}, {"as_tensor": {"name": "nobody"}},
    {"as_graph": 3}, {"as_none": True}, {"user_output": {"arg": {"as_int": 1}}},
]  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


@pytest.mark.parametrize("name", ["quantized", "padded", "einsum", "nested"])
def test_random_documents_are_messages(zoo: Zoo, rewritten: Rewritten, name: str) -> None:
    """Fields replaced by junk or removed: a graph or a FlowError, nothing else."""
    rng = random.Random(zlib.crc32(name.encode()))
    outcomes: Counter[str] = Counter()
    for _ in range(150):

        def damage(document: Any) -> None:
            for _ in range(rng.choice((1, 1, 2))):
                *parents, last = rng.choice(list(_paths(document)))
                for key in parents:
                    document = document[key]
                if rng.random() < 0.2:
                    del document[last]
                else:
                    document[last] = copy.deepcopy(rng.choice(_JUNK))
                if not isinstance(document, dict) or not document:
                    return

        member = rng.choice(("models/model.json", "models/model.json", _WEIGHTS))
        path = rewritten.json(zoo[name].path, member, damage)
        with contextlib.suppress(FlowError):
            read_pt2(path)
            outcomes["read"] += 1
        outcomes["tried"] += 1
    assert 10 < outcomes["read"] < outcomes["tried"] - 10


def test_json_is_what_the_tests_damage(source: Path) -> None:
    """Guards the tests above: the members that they edit are the ones that torch writes."""
    with zipfile.ZipFile(source) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(_WEIGHTS))
        assert _KEY in json.loads(archive.read(name))["config"]
