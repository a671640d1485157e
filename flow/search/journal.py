"""What a search has found so far, so that a stopped one goes on and a repeated one answers at once.

A folder of small JSON files, one for each finished piece of work, named by the hash of everything that determines it
(contents of model and data, options, version of flow); beside them the files that the work made. A record is written
beside its place and renamed after its files stand, so the folder holds whole pieces at every moment, however many
processes write it and whichever of them are killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flow.errors import FlowError

KEY_DIGITS = 24
RENAMES = 5


@dataclass(frozen=True)
class Entry:
    """A finished piece of work: its plain data, and the folder with its files."""

    data: Mapping[str, Any]
    folder: Path


class Journal:
    """The journal in `folder`, made where it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FlowError(
                f"{folder}: found {error.strerror or error}; expected a writable folder; choose another with --journal"
            ) from error

    def entry(
        self, kind: str, identity: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]]
    ) -> Entry:
        """What `work(folder)` returned when it was done for this identity, doing it now where it was not.

        `work` writes its files into the folder that it gets and returns plain data.
        """
        place = self.folder / f"{kind}-{self.key(identity)}"
        record = place / "record.json"
        found = self._read(record, identity)
        if found is not None:
            return Entry(found, place)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=self.folder))
        try:
            data = json.loads(json.dumps(work(scratch)))
            (scratch / "record.json").write_text(
                json.dumps({"identity": _plain(identity), "data": data}, indent=1, sort_keys=True) + "\n"
            )
            return Entry(self._put(scratch, place, identity, data), place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def key(self, identity: Mapping[str, Any]) -> str:
        """The hash that names an entry."""
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]

    def checkpoint(self, kind: str, identity: Mapping[str, Any]) -> Path:
        """Where work of that identity may keep what it has so far; it removes it when it is done."""
        return self.folder / f"{kind}-{self.key(identity)}.checkpoint"

    def clear(self) -> None:
        """Remove what killed runs left half-written. Only for one who knows that no other is at work."""
        for scratch in self.folder.glob(".*"):
            if scratch.is_dir():
                shutil.rmtree(scratch, ignore_errors=True)
            else:
                scratch.unlink(missing_ok=True)

    def _put(
        self, scratch: Path, place: Path, identity: Mapping[str, Any], data: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Rename a whole entry to its place; where another process was faster, take what it has put there."""
        for _ in range(RENAMES):
            with contextlib.suppress(OSError):
                scratch.replace(place)
                return data
            found = self._read(place / "record.json", identity)
            if found is not None:
                return found
            # A damaged one. Renamed first: a reader never sees half of it, and of two that try one succeeds.
            with contextlib.suppress(OSError):
                place.replace(scratch.with_name(f"{scratch.name}.damaged"))
                shutil.rmtree(scratch.with_name(f"{scratch.name}.damaged"), ignore_errors=True)
        raise FlowError(
            f"{place}: found a folder that cannot be replaced; expected a journal entry; remove it"
        )

    def _read(self, record: Path, identity: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The data of a record; None where there is none that is whole and of this identity."""
        try:
            content = json.loads(record.read_text())
            data = content["data"]
            return data if content["identity"] == _plain(identity) and isinstance(data, dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _plain(identity: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(identity, sort_keys=True))
