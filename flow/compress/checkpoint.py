"""Checkpoints of a long run: a folder that a killed run leaves and the same command picks up again.

Each file is one safetensors archive, written beside and renamed, with the run's identity in its header; so a folder
holds whole files of one run at every moment. A run is identified by what determines its result: the version of flow,
the bytes of model, configuration and data, and the options.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from flow.errors import FlowError
from flow.frontend.torch_export import write_atomically
from flow.resources import alone_at

SECONDS = 30.0
"""Between two checkpoints of one loop."""
HEADER = "flow-prune"
SUFFIX = ".safetensors"

Identity = dict[str, Any]


def digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        FlowError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FlowError(f"{path}: found {error.strerror or error}; expected a readable file") from error


@dataclass
class Checkpoint:
    """The checkpoints of one run in `folder`.

    `identity` is plain data; what a folder holds under another identity is refused, never used.
    """

    folder: Path
    identity: Identity
    seconds: float = SECONDS
    _saved: float = field(default_factory=time.monotonic)

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors, data) as saved under a name; None if there is no such file.

        Raises:
            FlowError: the file is damaged, or belongs to another run.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as archive:
                header = json.loads((archive.metadata() or {})[HEADER])
                self._compare(header["identity"])
                return {key: archive.get_tensor(key) for key in archive.keys()}, dict(header["data"])  # noqa: SIM118
        except FlowError:
            raise
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise FlowError(
                f"{path}: found a damaged checkpoint ({str(error) or type(error).__name__}); expected one that "
                f"`flow prune` wrote; remove {self.folder} to start over"
            ) from error

    def save(self, name: str, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Replace what is saved under a name.

        Raises:
            FlowError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FlowError(
                f"{self.folder}: found {error.strerror or error}; expected a writable place; "
                "choose another with --checkpoint"
            ) from error
        header = json.dumps({"identity": self.identity, "data": data})
        write_atomically(self._path(name), save(dict(tensors), {HEADER: header}))
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        return time.monotonic() - self._saved >= self.seconds

    def drop(self, name: str) -> None:
        """Forget what is saved under a name."""
        self._path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove every checkpoint, what a killed run left half-written, and the folder where nothing else is in it."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path.suffix == SUFFIX or (path.suffix == ".part" and SUFFIX in path.name):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _compare(self, found: Identity) -> None:
        here = json.loads(json.dumps(self.identity))
        differing = [
            f"{key} {_brief(found.get(key))} instead of {_brief(here.get(key))}"
            for key in {**here, **found}
            if found.get(key) != here.get(key)
        ]
        if differing:
            raise FlowError(
                f"{self.folder}: found a checkpoint of another run ({', '.join(differing)}); expected one of this "
                "command; repeat the command that it is of, remove the folder to start over, or choose another with "
                "--checkpoint"
            )


def _brief(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text[:12] if len(text) == 64 else text


def only_run(output: Path) -> AbstractContextManager[None]:
    """Hold an output file's lock; refuses at once where another run holds it."""
    return alone_at(
        output,
        0,
        f"{output}: found another `flow prune` at work on it; expected one at a time; wait for its end, or choose "
        "another output with -o",
    )
