"""Kills that are known: a run that is repeated after a change of the stimulus tries only what may end otherwise.

A kill is remembered by the whole mutated kernel, its backend and the run that noticed it; it holds as long as the bench
still has that run. What lived is never remembered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from flow.resources import cache_dir
from mutation.killers import REFUSED, Verdict
from mutation.stimulus import Bench


class Memory:
    """A file of kills in the user's cache."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_dir() / "mutation.json"
        self._known: dict[str, list[str]] = {}
        if self._path.is_file():
            self._known = json.loads(self._path.read_text(encoding="utf-8"))

    @staticmethod
    def key(killer: str, files: Mapping[str, bytes]) -> str:
        """Names a kernel and what runs it."""
        digest = hashlib.sha256(killer.encode())
        for name, content in sorted(files.items()):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    def find(self, key: str, bench: Bench) -> Verdict | None:
        """The remembered kill, if the bench still has the run behind it."""
        if key not in self._known:
            return None
        how, digest = self._known[key]
        if how == REFUSED:
            return Verdict(how)
        return next((Verdict(how, case.name) for case in bench.cases if case.digest == digest), None)

    def add(self, key: str, bench: Bench, verdict: Verdict) -> None:
        """Remember a verdict that is no survival."""
        if not verdict.how:
            return
        digest = next((case.digest for case in bench.cases if case.name == verdict.case), "")
        self._known[key] = [verdict.how, digest]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(self._known), encoding="utf-8")
        beside.replace(self._path)
