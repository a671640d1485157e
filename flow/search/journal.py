"""What a search has found so far, so that a stopped one goes on and a repeated one answers at once.

A folder of small JSON files, one for each finished piece of work, named by the hash of everything that determines it
(contents of model and data, options, version of flow); beside them the files that the work made. A record is written
beside its place and renamed after its files stand, so the folder holds whole pieces at every moment.
"""

from __future__ import annotations

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
        place = self.folder / f"{kind}-{_key(identity)}"
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
            if place.exists():  # damaged, or another run was faster
                shutil.rmtree(place)
            scratch.replace(place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return Entry(data, place)

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


def _key(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]
