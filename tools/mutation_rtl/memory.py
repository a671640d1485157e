"""How mutants ended on a bench, in the user's cache: a run that is repeated tries only what it has not tried before.

A mutant that lived is remembered like one that was noticed, so that a key has to name all that decides it: the Verilog,
the bench and what it is given. Simulation is seeded, and ends the same way again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mutation.killers import Verdict

from flow.resources import cache_dir


def key_of(what: str, files: Mapping[str, bytes]) -> str:
    """Names a bench, as `what` and some of the files describe it, with the Verilog that it meets."""
    digest = hashlib.sha256(what.encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


class Outcomes:
    """A folder with a file for each; several runs may share it."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = home or cache_dir() / "mutation_rtl"

    def find(self, key: str) -> Verdict | None:
        """How it ended, if that is known."""
        place = self._home / key
        return Verdict(*json.loads(place.read_text(encoding="utf-8"))) if place.is_file() else None

    def add(self, key: str, verdict: Verdict) -> Verdict:
        """Remember how it ended; returns the verdict."""
        self._home.mkdir(parents=True, exist_ok=True)
        beside = self._home / f"{key}.part"
        beside.write_text(json.dumps([verdict.how, verdict.case]), encoding="utf-8")
        beside.replace(self._home / key)
        return verdict
