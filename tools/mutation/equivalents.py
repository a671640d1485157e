"""Mutants that no simulation can notice, each with the reason: `equivalents.toml`, read and held to the sources."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from mutation.mutants import Mutant

PATH = Path(__file__).resolve().parent / "equivalents.toml"
FIELDS = ("file", "function", "kind", "before", "after", "reason")
OPTIONAL = ("occurrence",)


class BadEquivalentsError(Exception):
    """The list of equivalents does not fit the sources."""


def read(every: Iterable[Mutant], path: Path = PATH) -> dict[str, str]:
    """Reasons by key of mutant.

    Raises:
        BadEquivalentsError: an entry names no mutant of these sources, or lacks a field; all of them are listed.
    """
    known = {mutant.key for mutant in every}
    found: dict[str, str] = {}
    faults = []
    for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", []), 1):
        missing = [name for name in FIELDS if not str(entry.get(name, "")).strip()]
        if missing or entry.keys() - {*FIELDS, *OPTIONAL}:
            faults.append(f"entry {number}: found {sorted(entry)}; expected {', '.join(FIELDS)}")
            continue
        mutant = Mutant(
            entry["file"], 0, entry["kind"], entry["before"], entry["after"], entry["function"],
            entry.get("occurrence", 1),
        )  # fmt: skip
        if mutant.key not in known:
            where = f"{entry['function']} in {entry['file']}"
            faults.append(
                f"entry {number}: found no mutant of {where} that makes {entry['before']!r} into {entry['after']!r} "
                f"({entry['kind']}); expected one; the line has changed: argue anew or take it out"
            )
        found[mutant.key] = entry["reason"]
    if faults:
        raise BadEquivalentsError("\n".join([f"{path.name}: found {len(faults)} faults", *faults]))
    return found
