"""What g++ says about the emitted C++, mapped back to the templates and headers that it came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flow.emit.build import Build
from flow.emit.hls import LINES
from flow.emit.rendering import origin_of

SHOWN = 3
"""Errors shown in full; the rest mostly follows from them."""
_ERROR = re.compile(r"(?P<path>[^:\n]+):(?P<line>[0-9]+):(?P<column>[0-9]+): (?:fatal )?error: (?P<text>.*)")
_EXCERPT = re.compile(r" *[0-9]* \|")


@dataclass(frozen=True)
class Origins:
    """Where the files of `hls/` came from.

    Attributes:
        lines: of each file that a template wrote, by its path in the build, the segments of `lines.json`.
        overlaid: names of templates and headers that are not flow's own.
    """

    lines: Mapping[str, list[list[Any]]] = field(default_factory=dict)
    overlaid: frozenset[str] = frozenset()

    @staticmethod
    def of(build: Build) -> Origins:
        """The origins that a build records.

        Raises:
            FlowError: the record is damaged.
        """
        lines = json.loads(build.read(LINES)) if LINES in build.manifest["files"] else {}
        return Origins(lines, frozenset(build.manifest.get("templates", ())))

    def name(self, path: str, line: int, column: int) -> str:
        """How messages name a place in `hls/`: by the file that an engineer edits."""
        origin = origin_of(self.lines.get(path, ()), line)
        if origin is not None:
            return f"{origin[0]}:{origin[1]} of {self._owner(origin[0])} (written to {path}:{line}:{column})"
        header = path.removeprefix("hls/")
        if header == path or path in self.lines:
            return f"{path}:{line}:{column}"
        return f"{header}:{line}:{column} of {self._owner(header)}"

    def _owner(self, name: str) -> str:
        return "your --templates" if name in self.overlaid else "flow"


def explain(said: str, origins: Origins) -> str:
    """One message for what the compiler said, paths relative to the build; its own words where it named no line."""
    errors = dict(_errors(said, origins))
    if not errors:
        return f"g++: found errors in the kernel; expected it to compile; it said:\n{said}"
    count = f"{len(errors)} errors" if len(errors) > 1 else "an error"
    shown = [f"  - {head}" + "".join(f"\n    {line}" for line in lines) for head, lines in errors.items()]
    more = [f"  and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    summary = f"g++: found {count} in the kernel; expected C++ that compiles; mend what it came from"
    return "\n".join([summary, *shown[:SHOWN], *more])


def _errors(said: str, origins: Origins) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each error as its place with its text, and the excerpt that follows it."""
    lines = said.splitlines()
    for i, line in enumerate(lines):
        found = _ERROR.fullmatch(line)
        if found is None:
            continue
        excerpt = []
        for after in lines[i + 1 :]:
            if not _EXCERPT.match(after):
                break
            excerpt.append(after)
        place = origins.name(found["path"], int(found["line"]), int(found["column"]))
        yield f"{place}: {found['text']}", tuple(excerpt)
