"""Build directories: written whole or not at all, read back with everything checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.emit import build as module
from flow.emit.build import Build, check_destination, write_build
from flow.engine import Engine
from flow.errors import FlowError
from flow.resources import cache_dir

FILES = {"a.txt": b"a", "deep/er/b.bin": b"\0" * 1000}
MANIFEST = {"format": 1}
Change = Callable[[dict[str, Any]], Any]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def whole(marker: int) -> dict[str, bytes]:
    return {f"{i}.txt": str(marker).encode() for i in range(20)}


def test_written_and_replaced(tmp_path: Path) -> None:
    destination = tmp_path / "new" / "build"
    write_build(destination, {**FILES, "old.txt": b""}, MANIFEST)
    write_build(destination, FILES, MANIFEST)
    assert tree(destination) == {**FILES, "manifest.json": b'{\n "format": 1\n}\n'}
    assert [p.name for p in destination.parent.iterdir()] == ["build"]
    (tmp_path / "usual").mkdir()
    assert destination.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_empty_directory_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    write_build(tmp_path / "build", FILES, MANIFEST)
    assert (tmp_path / "build" / "a.txt").is_file()


@pytest.mark.parametrize("content", [b"{}", b"[1]", b'{"format": 2}', b"not json", b"[" * 100_000])
def test_foreign_manifests(tmp_path: Path, content: bytes) -> None:
    """A manifest.json of somebody else does not make a directory ours."""
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(FlowError) as caught:
        check_destination(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: found a directory that is not a flow build; expected one with our manifest.json, or nothing; "
        "choose another with -o"
    )


class Failing:
    """Wraps calls to the file system; the `last` of them raises `error`, before or after it does its work."""

    def __init__(self, error: BaseException, last: int, after: bool) -> None:
        self.error, self.last, self.after, self.calls = error, last, after, 0

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            fails = self.calls == self.last
            if fails and not self.after:
                raise self.error
            result = real(*arguments, **options)
            if fails:
                raise self.error
            return result

        return call


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interrupted_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, error: BaseException
) -> None:
    """Whichever call to the file system is the last, where it cannot swap in one step: the old build, or nothing."""
    monkeypatch.setattr(module, "exchange", lambda *_: False)
    destination = tmp_path / "build"
    if existing:
        write_build(destination, {"old": b"old"}, MANIFEST)
    before = tree(tmp_path)
    calls = len(FILES) + 1 + (2 if existing else 1)  # files, manifest, moves
    moments = [(last, after) for last in range(1, calls + 1) for after in (False, True)]
    for last, after in moments:
        failing = Failing(error, last, after)
        with monkeypatch.context() as patch:
            for name in ("write_bytes", "rename"):
                patch.setattr(Path, name, failing.wrap(getattr(Path, name)))
            with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else FlowError):
                write_build(destination, FILES, MANIFEST)
        assert failing.calls >= last
        if (last, after) == moments[-1]:  # the new build was there already
            assert set(tree(tmp_path)) == {f"build/{name}" for name in (*FILES, "manifest.json")}
        else:
            assert tree(tmp_path) == before, (last, after)
        assert [p.name for p in tmp_path.iterdir()] == (["build"] if tree(tmp_path) else [])


def _write(destination: Path, marker: int) -> None:
    for _ in range(10):
        write_build(destination, whole(marker), MANIFEST)


def test_several_writers(tmp_path: Path) -> None:
    """Forty swaps by four processes: no half build, nothing beside it."""
    destination = tmp_path / "build"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(destination, marker)) for marker in range(4)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        with contextlib.suppress(FileNotFoundError):  # the first build is still to come
            seen.add(len(list(destination.iterdir())))
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = tree(destination)
    del found["manifest.json"]
    assert found in [whole(marker) for marker in range(4)]
    assert [p.name for p in tmp_path.iterdir()] == ["build"]


def test_the_lock_stays_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is unlinked can be held twice; one beside the build would be litter."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_build(tmp_path / "real" / "build", FILES, MANIFEST)
    write_build(tmp_path / "link" / "build", FILES, MANIFEST)
    assert cache_dir() == tmp_path / "cache"
    assert len(list((tmp_path / "cache" / "locks").iterdir())) == 1
    assert [p.name for p in (tmp_path / "real").iterdir()] == ["build"]


def test_locked_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.2)
    destination = tmp_path / "build"
    with module._locked(destination), pytest.raises(FlowError) as caught:
        write_build(destination, FILES, MANIFEST)
    assert str(caught.value) == (
        f"{destination}: found another run writing it for 0 s; expected it to end; choose another with -o"
    )
    assert list(tmp_path.iterdir()) == []


def test_no_place_for_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(FlowError) as caught:
        write_build(tmp_path / "build", FILES, MANIFEST)
    assert str(caught.value) == (
        f"{tmp_path}/file/locks: found Not a directory; expected a writable cache; "
        "set FLOW_CACHE_DIR to another folder"
    )


# -- reading -----------------------------------------------------------------------------------------------------


def test_round_trip(digits_build: Path) -> None:
    build = Build.open(digits_build)
    assert build.program.image == (digits_build / "weights/image.bin").read_bytes()
    lines = (digits_build / "weights/image.hex").read_text().split()
    image = b"".join(bytes.fromhex(line)[::-1] for line in lines)
    assert image == build.program.image
    assert {len(line) for line in lines} == {2 * build.engine.beat_bytes}
    assert len(build.program.records) == len(build.program.steps) == 43
    names = {str(p.relative_to(digits_build)) for p in digits_build.rglob("*") if p.is_file()}
    assert names == {*build.manifest["files"], "manifest.json"}
    for name, digest in build.manifest["files"].items():
        assert hashlib.sha256((digits_build / name).read_bytes()).hexdigest() == digest


DAMAGE = "found damage; expected what `flow lower` wrote; lower again"
JSON = "found damaged JSON; expected what `flow lower` wrote; lower again"
VERSION = "expected 1; lower again with this version of flow"
PORT = "image_gather_as_1_q"


def _set(key: str, value: Any) -> Change:
    return lambda manifest: manifest.update({key: value})


def _port(**values: Any) -> Change:
    return lambda manifest: manifest["inputs"][0].update(values)


def _file(name: str, digest: str = "0" * 64) -> Change:
    return lambda manifest: manifest["files"].update({name: digest})


CASES: list[tuple[Change, str]] = [
    (_set("format", 2), f"found build format 2; {VERSION}"),
    (_set("format", True), f"found build format True; {VERSION}"),
    (lambda manifest: manifest.pop("format"), f"found no build format; {VERSION}"),
    (
        lambda manifest: manifest.pop("steps"),
        "found damage (Object missing required field `steps`); expected what `flow lower` wrote; lower again",
    ),
    (
        _set("extra", 1),
        "found damage (Object contains unknown field `extra`); expected what `flow lower` wrote; lower again",
    ),
    (
        _port(planes=1 << 40),
        "found damage (Expected `int` <= 2 - at `$.inputs[0].planes`); expected what `flow lower` wrote; lower again",
    ),
    (
        lambda manifest: manifest["engine"].update(sequence=1 << 80),
        (
            "found damage (Expected `int` <= 2147483647 - at `$.engine[...]`); "
            "expected what `flow lower` wrote; lower again"
        ),
    ),
    (
        lambda manifest: manifest["engine"].update(tokens=3),
        (
            "found damage (engine 3x8x2: found 2 faults\n  - tokens = 3: expected a power of two\n"
            "  - rows = 2: expected a divisor of tokens = 3); expected what `flow lower` wrote; lower again"
        ),
    ),
    (
        lambda manifest: manifest["engine"].update(sequence=4096),
        f"{DAMAGE}\n  - engine_hash: found 'HASH'; expected OTHER, the hash of `engine`",
    ),
    (
        _set("tokens", 1_000_000),
        f"{DAMAGE}\n  - tokens: found 1000000; expected at most 16, the engine's sequence",
    ),
    (
        _set("steps", ["x"] * 1000),
        f"{DAMAGE}\n  - steps: found 1000; expected at most 64, the engine's steps",
    ),
    (
        _port(physical=[0, 1, 2, 1 << 30]),
        f"{DAMAGE}\n  - port '{PORT}': found a channel twice or beyond 7; expected each once",
    ),
    (
        _port(physical=[0, 1, 1, 2]),
        f"{DAMAGE}\n  - port '{PORT}': found a channel twice or beyond 7; expected each once",
    ),
    (
        _file("hls/../../evil.hpp"),
        f"{DAMAGE}\n  - files: found the name 'hls/../../evil.hpp'; expected a path inside the build",
    ),
    (
        _file("/etc/passwd"),
        f"{DAMAGE}\n  - files: found the name '/etc/passwd'; expected a path inside the build",
    ),
    (
        _file("a\\b"),
        f"{DAMAGE}\n  - files: found the name 'a\\\\b'; expected a path inside the build",
    ),
    (
        _file("x", "short"),
        (
            "found damage (Expected `str` matching regex '^[0-9a-f]{64}$' - at `$.files[...]`); "
            "expected what `flow lower` wrote; lower again"
        ),
    ),
    (
        lambda manifest: manifest["files"].pop("graph.json"),
        f"{DAMAGE}\n  - files: found no graph.json; expected it",
    ),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_manifests_that_cannot_be(build_copy: Path, case: int) -> None:
    change, message = CASES[case]
    path = build_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    if "OTHER" in message:
        other = f"{Engine.from_json(manifest['engine']).hash:016x}"
        message = message.replace("HASH", manifest["engine_hash"]).replace("OTHER", other)
    with pytest.raises(FlowError) as caught:
        Build.open(build_copy)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[" * 100_000, b'{"format": 1, "steps": ["a'])
def test_manifests_that_are_no_json(build_copy: Path, content: bytes) -> None:
    path = build_copy / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(FlowError) as caught:
        Build.open(build_copy)
    assert str(caught.value) == f"{path}: {JSON}"


def test_manifest_against_image_and_graph(build_copy: Path) -> None:
    """Each possible by itself, but not together."""
    path = build_copy / "manifest.json"
    original = json.loads(path.read_text())
    port = original["inputs"][0]["name"]

    def message(**values: Any) -> str:
        path.write_text(json.dumps({**original, **values}))
        with pytest.raises(FlowError) as caught:
            _ = Build.open(build_copy).program
        return str(caught.value)

    assert message(steps=original["steps"][:5]) == (
        f"{build_copy}/weights/image.bin: found another engine, size or number of steps than in the manifest; "
        "expected what `flow lower` wrote; lower again"
    )
    ports = (
        f"{path}: found ports that its graph does not have; expected what `flow lower` wrote; lower again\n"
    )
    assert message(tokens=8) == (
        f"{ports}  - inputs: found {{'{port}': (8, 4)}}; expected {{'{port}': (16, 4)}}"
    )
    assert message(inputs=[]) == f"{ports}  - inputs: found {{}}; expected {{'{port}': (16, 4)}}"
    renamed = [{**original["inputs"][0], "name": "x"}]
    assert message(inputs=renamed) == (
        f"{ports}  - inputs: found {{'x': (16, 4)}}; expected {{'{port}': (16, 4)}}"
    )


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"name": "x", "links": [{}], "nodes": [], "outputs": {}}']
)
def test_graphs_that_cannot_be(build_copy: Path, content: bytes) -> None:
    """Damage that the hashes do not show is still one message."""
    (build_copy / "graph.json").write_bytes(content)
    manifest = json.loads((build_copy / "manifest.json").read_text())
    manifest["files"]["graph.json"] = hashlib.sha256(content).hexdigest()
    (build_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(FlowError) as caught:
        _ = Build.open(build_copy).graph
    assert str(caught.value).endswith("expected what `flow lower` wrote; lower again")
    assert "graph.json: found damaged " in str(caught.value)
