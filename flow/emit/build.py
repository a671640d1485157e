"""The build directory: written whole or not at all, and read back with its hashes checked.

A build is assembled beside its destination and swapped in under a lock, so that an interrupted run leaves nothing,
two runs into one directory leave one whole build, and only a directory that holds our `manifest.json` is ever replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import flow.ops  # noqa: F401  (registers the operators that graph.json names)
from flow import __version__
from flow.boards import NOMINAL, Board, load_board, parse_board
from flow.emit.exchange import exchange
from flow.emit.manifest import ARRAYS, FORMAT, IMAGE, read_manifest
from flow.engine import HEADER_BYTES, RECORD_BYTES, Engine, Port, Program, Record, pack_header
from flow.errors import FlowError, raise_all
from flow.ir import Array, Graph, graph_from_json, graph_to_json
from flow.ops.boundary import DeviceOutput
from flow.ops.post import load_plugins
from flow.passes.fuse_steps import device_inputs
from flow.resources import alone_at

MANIFEST = "manifest.json"
BOARD_FILE = "board.toml"
"""In a build on a board that flow does not bring: the user's board file."""
LOCK_SECONDS = 600.0


def tree_of(graph: Graph, reference: Graph, program: Program) -> dict[str, bytes]:
    """The data files of a build: `graph.json` (integer), `reference.json` (float), their arrays, the memory image."""
    arrays: dict[str, Array] = {}
    files = {
        "graph.json": _json(graph_to_json(graph, arrays)),
        "reference.json": _json(graph_to_json(reference, arrays)),
        IMAGE: program.image,
        "weights/image.hex": _hex_words(program.image, program.engine.beat_bytes),
    }
    files[ARRAYS] = save_arrays(dict(sorted(arrays.items())))
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
        with _locked(destination), _scratch(destination) as scratch:
            put_files(scratch / "new", files, manifest)
            check_destination(destination)
            _swap(scratch / "new", destination, aside=scratch / "old")
    except OSError as error:
        raise _unwritable(destination, error) from error


def put_files(folder: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """A build's files in a folder that nobody else knows of; `write_build` is for any other."""
    for name, content in {**files, MANIFEST: _json(manifest)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _unwritable(destination: Path, error: OSError) -> FlowError:
    return FlowError(
        f"{destination}: found {error.strerror or error}; expected a writable place with room; choose another with -o"
    )


def check_destination(destination: Path) -> None:
    """Refuse to replace what is not a build, and a place where none can come to lie.

    Raises:
        FlowError: something without our manifest is in the way, or a file stands where a directory above it should.
    """
    try:
        if destination.is_symlink():
            raise FlowError(
                f"{destination}: found a symbolic link; expected a build directory or nothing; "
                "name what it points to with -o"
            )
        if destination.exists():
            _check_ours(destination)
        else:
            _check_above(destination)
    except OSError as error:
        raise _unwritable(destination, error) from error


def _check_ours(destination: Path) -> None:
    if not destination.is_dir():
        raise FlowError(
            f"{destination}: found a file; expected a build directory or nothing; choose another with -o"
        )
    if any(destination.iterdir()):
        try:
            ours = json.loads((destination / MANIFEST).read_bytes()).get("format") == FORMAT
        except (OSError, ValueError, AttributeError, RecursionError):
            ours = False
        if not ours:
            raise FlowError(
                f"{destination}: found a directory that is not a flow build; expected one with our {MANIFEST}, "
                "or nothing; choose another with -o"
            )


def _check_above(destination: Path) -> None:
    above = next(parent for parent in destination.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        found = "a directory that you cannot write to" if above.is_dir() else "a file"
        raise FlowError(
            f"{destination}: found {found} at {above}; expected a writable directory; choose another with -o"
        )


def _locked(destination: Path) -> AbstractContextManager[None]:
    return alone_at(
        destination,
        LOCK_SECONDS,
        f"{destination}: found another run writing it for {LOCK_SECONDS:.0f} s; expected it to end; "
        "choose another with -o",
    )


@contextlib.contextmanager
def _scratch(destination: Path) -> Iterator[Path]:
    """A folder on the destination's file system, gone in the end."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{destination.name[:100]}.", dir=destination.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _swap(new: Path, destination: Path, aside: Path) -> None:
    """Move the new build in, in one step where the system can; else the old one steps aside, and comes back on
    failure."""
    if destination.exists() and exchange(new, destination):
        return  # the old build now lies in the scratch folder
    try:
        if destination.exists():
            destination.rename(aside)
        new.rename(destination)
    except BaseException:  # an interruption too: between the two moves there is no build
        if aside.exists() and not destination.exists():
            aside.rename(destination)
        raise


@dataclass(frozen=True)
class Build:
    """A build directory opened for reading."""

    path: Path
    manifest: Mapping[str, Any]

    @staticmethod
    def open(path: Path) -> Build:
        """Open a build.

        Raises:
            FlowError: not a build, damaged, or written by another version of flow.
        """
        load_plugins()  # an engine of the manifest may have their stages
        try:
            content = (path / MANIFEST).read_bytes()
        except OSError as error:
            raise FlowError(
                f"{path}: found no {MANIFEST} ({error.strerror}); expected a build directory; run `flow lower` first"
            ) from error
        return Build(path, read_manifest(content, str(path / MANIFEST)))

    def read(self, name: str) -> bytes:
        """A file of the build, checked against its hash.

        Raises:
            FlowError: missing, or changed since `flow lower`.
        """
        expected = self.manifest["files"][name]
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise FlowError(
                f"{self.path / name}: found {error.strerror}; expected a file of this build; lower again"
            ) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise FlowError(
                f"{self.path / name}: found contents that differ from the manifest; expected sha256 {expected}; "
                "lower again"
            )
        return content

    @cached_property
    def board(self) -> Board:
        """The board that it was lowered to, at the level that it was lowered at.

        Raises:
            FlowError: see `nominal_board`, or the board no longer has that level.
        """
        return self.nominal_board.at(self.manifest.get("level", NOMINAL))

    @cached_property
    def nominal_board(self) -> Board:
        """The board that it was lowered to: the user's own as the build carries it, or one that flow brings.

        Raises:
            FlowError: flow does not bring it, or the build's file of it is damaged.
        """
        name = str(self.manifest["board"])
        if BOARD_FILE not in self.manifest["files"]:
            return load_board(name)
        return parse_board(self.read(BOARD_FILE).decode(errors="replace"), Path(f"{name}.toml"))

    @cached_property
    def engine(self) -> Engine:
        """The engine that the build was lowered to."""
        return Engine.from_json(self.manifest["engine"])

    @cached_property
    def _arrays(self) -> dict[str, Array]:
        try:
            return load_arrays(self.read(ARRAYS))
        except SafetensorError as error:
            raise FlowError(
                f"{self.path}: found damaged arrays ({error}); expected safetensors; lower again"
            ) from error

    def _document(self, name: str) -> Any:
        content = self.read(name)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise FlowError(
                f"{self.path / name}: found damaged JSON; expected what `flow lower` wrote; lower again"
            ) from error

    @cached_property
    def graph(self) -> Graph:
        """The integer graph with its host prologue and epilogue."""
        return graph_from_json(self._document("graph.json"), self._arrays)

    @cached_property
    def reference(self) -> Graph:
        """The recognised QDQ graph that it was made from."""
        return graph_from_json(self._document("reference.json"), self._arrays)

    @cached_property
    def report(self) -> dict[str, Any]:
        """`report.json`: estimate, structure of the weights, sizes."""
        data: dict[str, Any] = self._document("report.json")
        return data

    @cached_property
    def program(self) -> Program:
        """The program with its memory image.

        Raises:
            FlowError: manifest, image and graph contradict each other.
        """
        image = self.read(IMAGE)
        steps = tuple(self.manifest["steps"])
        head = pack_header(self.engine, len(steps), HEADER_BYTES, len(image) // self.engine.beat_bytes)
        if not image.startswith(head) or len(image) < HEADER_BYTES + RECORD_BYTES * len(steps):
            raise FlowError(
                f"{self.path / IMAGE}: found another engine, size or number of steps than in the manifest; "
                "expected what `flow lower` wrote; lower again"
            )
        records = tuple(
            Record.unpack(image[at : at + RECORD_BYTES])
            for at in range(HEADER_BYTES, HEADER_BYTES + RECORD_BYTES * len(steps), RECORD_BYTES)
        )
        inputs, outputs = (
            tuple(Port(**{**port, "physical": tuple(port["physical"])}) for port in self.manifest[kind])
            for kind in ("inputs", "outputs")
        )
        program = Program(self.engine, records, image, steps, inputs, outputs, self.manifest["tokens"])
        raise_all(
            FlowError,
            f"{self.path / MANIFEST}: found ports that its graph does not have; expected what `flow lower` wrote; "
            "lower again",
            _port_faults(program, self.graph),
        )
        return program


def _port_faults(program: Program, graph: Graph) -> Iterator[str]:
    """Where the ports of a program differ from the device inputs and outputs of its graph."""
    inputs = {value.node: graph.type_of(value).shape for value in device_inputs(graph)}
    outputs = {node.op.key: node.type.shape for node in graph if isinstance(node.op, DeviceOutput)}
    for kind, ports, wanted in (("inputs", program.inputs, inputs), ("outputs", program.outputs, outputs)):
        found = {p.name: (1 if p.single_token else program.tokens, len(p.physical)) for p in ports}
        if found != wanted or len(found) != len(ports):
            yield f"{kind}: found {found}; expected {wanted}"
