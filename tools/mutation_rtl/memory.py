"""How mutants ended on a bench, in the user's cache: a run that is repeated tries only what it has not tried before.

A mutant that lived is remembered like one that was noticed, so that a key has to name all that decides it: the Verilog,
the bench and what it is given (`mutation.memory.Memory.key`). Simulation is seeded, and ends the same way again.
"""

from __future__ import annotations

import json
from pathlib import Path

from mutation.killers import REFUSED, Verdict

from flow.resources import cache_dir

PASSING = (REFUSED, "timeout", "crash")
"""Ends that a full disk, a busy machine or somebody's `kill` bring about as well: never remembered."""


class Outcomes:
    """A folder with a file for each; several runs may share it."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = home or cache_dir() / "mutation_rtl"

    def find(self, key: str) -> Verdict | None:
        """How it ended, if that is known."""
        place = self._home / key
        return Verdict(*json.loads(place.read_text(encoding="utf-8"))) if place.is_file() else None

    def add(self, key: str, verdict: Verdict) -> Verdict:
        """Remember how it ended, unless the machine may be why; returns the verdict."""
        if verdict.how in PASSING:
            return verdict
        self._home.mkdir(parents=True, exist_ok=True)
        beside = self._home / f"{key}.part"
        beside.write_text(json.dumps([verdict.how, verdict.case]), encoding="utf-8")
        beside.replace(self._home / key)
        return verdict
