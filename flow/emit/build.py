"""The build directory: written whole or not at all, and read back with its hashes checked.

A build is assembled beside its destination and swapped in under a lock, so that an interrupted run leaves nothing, two runs
into one directory leave one whole build, and only a directory that holds our `manifest.json` is ever replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import flow.ops  # noqa: F401  (registers the operators that graph.json names)
from flow import __version__
from flow.engine import HEADER_BYTES, RECORD_BYTES, Engine, Port, Program, Record
from flow.errors import FlowError
from flow.ir import Array, Graph, graph_from_json, graph_to_json

MANIFEST = "manifest.json"
FORMAT = 1
LOCK_SECONDS = 600.0


def tree_of(graph: Graph, reference: Graph, program: Program) -> dict[str, bytes]:
    """The data files of a build: `graph.json` (integer), `reference.json` (float), their arrays, and the memory image."""
    arrays: dict[str, Array] = {}
    files = {
        "graph.json": _json(graph_to_json(graph, arrays)),
        "reference.json": _json(graph_to_json(reference, arrays)),
        "weights/image.bin": program.image,
        "weights/image.hex": _hex_words(program.image, program.engine.beat_bytes),
    }
    files["weights/arrays.safetensors"] = save_arrays(dict(sorted(arrays.items())))
    return files


def manifest_of(program: Program, info: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """What `manifest.json` holds: versions, model, board, engine, steps, ports, and every file with its sha256."""
    return {
        "format": FORMAT,
        "flow": __version__,
        **info,
        "engine": program.engine.to_json(),
        "engine_hash": f"{program.engine.hash:016x}",
        "tokens": program.tokens,
        "steps": list(program.steps),
        "inputs": [asdict(port) for port in program.inputs],
        "outputs": [asdict(port) for port in program.outputs],
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _hex_words(image: bytes, width: int) -> bytes:
    """One beat a line, most significant byte first, as `$readmemh` takes it."""
    lines = (image[i : i + width][::-1].hex() for i in range(0, len(image), width))
    return ("\n".join(lines) + "\n").encode()


def write_build(destination: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Put a whole build at `destination`.

    Raises:
        FlowError: the destination is not a build, not writable, or another run holds it for ten minutes.
    """
    destination = destination.absolute()
    check_destination(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _locked(destination), _staging(destination) as staging:
            for name, content in {**files, MANIFEST: _json(manifest)}.items():
                path = staging / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            check_destination(destination)
            _swap(staging, destination)
    except OSError as error:
        raise FlowError(
            f"{destination}: found {error.strerror or error}; expected a writable directory with room; choose another with -o"
        ) from error


def check_destination(destination: Path) -> None:
    """Refuse to replace what is not a build.

    Raises:
        FlowError: something without our manifest is in the way.
    """
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise FlowError(
            f"{destination}: found a file; expected a build directory or nothing; choose another with -o"
        )
    if destination.is_dir() and any(destination.iterdir()):
        try:
            ours = json.loads((destination / MANIFEST).read_bytes()).get("format") == FORMAT
        except (OSError, ValueError, AttributeError):
            ours = False
        if not ours:
            raise FlowError(
                f"{destination}: found a directory that is not a flow build; expected one with our {MANIFEST}, or nothing; choose another with -o"
            )


@contextlib.contextmanager
def _locked(destination: Path) -> Iterator[None]:
    lock = FileLock(destination.parent / f".{destination.name}.lock", timeout=LOCK_SECONDS)
    try:
        with lock:
            yield
    except Timeout as error:
        raise FlowError(
            f"{destination}: found another run writing it for {LOCK_SECONDS:.0f} s; expected it to end; choose another with -o"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()


@contextlib.contextmanager
def _staging(destination: Path) -> Iterator[Path]:
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        staging.chmod(0o755)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, destination: Path) -> None:
    """Move the new build in; the old one steps aside first and is deleted last."""
    if not destination.exists():
        os.rename(staging, destination)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}.old.", dir=destination.parent))
    try:
        os.rename(destination, old / "build")
        try:
            os.rename(staging, destination)
        except OSError:
            os.rename(old / "build", destination)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class Build:
    """A build directory opened for reading."""

    path: Path
    manifest: Mapping[str, Any]

    @staticmethod
    def open(path: Path) -> Build:
        """Open a build.

        Raises:
            FlowError: not a build, or written by another version of flow.
        """
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
        except OSError as error:
            raise FlowError(
                f"{path}: found no {MANIFEST} ({error.strerror}); expected a build directory; run `flow lower` first"
            ) from error
        except ValueError as error:
            raise FlowError(
                f"{path / MANIFEST}: found damaged JSON; expected what `flow lower` wrote; lower again"
            ) from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            found = manifest.get("format") if isinstance(manifest, dict) else manifest
            raise FlowError(
                f"{path / MANIFEST}: found build format {found!r}; expected {FORMAT}; lower again with this version of flow"
            )
        return Build(path, manifest)

    def read(self, name: str) -> bytes:
        """A file of the build, checked against its hash.

        Raises:
            FlowError: missing, or changed since `flow lower`.
        """
        expected = self.manifest.get("files", {}).get(name)
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise FlowError(
                f"{self.path / name}: found {error.strerror}; expected a file of this build; lower again"
            ) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise FlowError(
                f"{self.path / name}: found contents that differ from the manifest; expected sha256 {expected}; lower again"
            )
        return content

    @cached_property
    def engine(self) -> Engine:
        """The engine that the build was lowered to."""
        return Engine.from_json(self.manifest["engine"])

    @cached_property
    def _arrays(self) -> dict[str, Array]:
        try:
            return load_arrays(self.read("weights/arrays.safetensors"))
        except SafetensorError as error:
            raise FlowError(
                f"{self.path}: found damaged arrays ({error}); expected safetensors; lower again"
            ) from error

    @cached_property
    def graph(self) -> Graph:
        """The integer graph with its host prologue and epilogue."""
        return graph_from_json(json.loads(self.read("graph.json")), self._arrays)

    @cached_property
    def reference(self) -> Graph:
        """The recognised QDQ graph that it was made from."""
        return graph_from_json(json.loads(self.read("reference.json")), self._arrays)

    @cached_property
    def report(self) -> dict[str, Any]:
        """`report.json`: estimate, structure of the weights, sizes."""
        data: dict[str, Any] = json.loads(self.read("report.json"))
        return data

    @cached_property
    def program(self) -> Program:
        """The program with its memory image."""
        image = self.read("weights/image.bin")
        steps = tuple(self.manifest["steps"])
        records = tuple(
            Record.unpack(image[at : at + RECORD_BYTES])
            for at in range(HEADER_BYTES, HEADER_BYTES + RECORD_BYTES * len(steps), RECORD_BYTES)
        )
        inputs, outputs = (
            tuple(Port(**{**port, "physical": tuple(port["physical"])}) for port in self.manifest[kind])
            for kind in ("inputs", "outputs")
        )
        return Program(self.engine, records, image, steps, inputs, outputs, self.manifest["tokens"])
