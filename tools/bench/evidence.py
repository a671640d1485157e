"""Bench results as evidence: JSON under `tools/bench/results/` that names and hashes the sources it measured.

`tests/test_evidence.py` recomputes the hashes and names every result whose sources have changed since.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"


def source_hash(patterns: Iterable[str]) -> str:
    """sha256 over path and content of every file of the repository that matches a glob, in sorted order."""
    digest = hashlib.sha256()
    paths = sorted(
        {
            path
            for pattern in patterns
            for path in ROOT.glob(pattern)
            if path.is_file() and "__pycache__" not in path.parts
        }
    )
    for path in paths:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def write_evidence(name: str, command: str, sources: Iterable[str], data: Mapping[str, Any]) -> Path:
    """Write `results/NAME.json`: the command, the sources with their hash, the processor, and the data."""
    patterns = sorted(sources)
    content = {
        "command": command,
        "sources": patterns,
        "sources_sha256": source_hash(patterns),
        "machine": {"processor": _processor(), "python": platform.python_version()},
        **data,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def stale() -> list[str]:
    """One line for each result whose sources have changed, with the command that renews it."""
    found = []
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        if source_hash(content["sources"]) != content["sources_sha256"]:
            found.append(
                f"{path.name}: its sources have changed since it was measured; renew it with `{content['command']}`"
            )
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
