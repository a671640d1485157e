"""What g++ and Verilator say about emitted sources, mapped back to the templates and headers that they came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flow.emit.build import MANIFEST, Build
from flow.emit.hls import LINES
from flow.emit.rendering import origin_of

SHOWN = 3
"""Errors shown in full; the rest mostly follows from them."""
_WORDS = 4000
_FULL = "No space left on device"
_WHAT = {
    "g++": ("kernel", "C++ that compiles"),
    "verilator": ("model", "SystemVerilog and C++ that compile"),
}
_COPIED = {"hls": "", "sim": "cosim/"}
"""Folders of a build with files that were copied as they are, and the folder of `hls/` that those come from."""
_PLACE = r"(?P<path>[^:\n]+):(?P<line>[0-9]+):(?P<column>[0-9]+): "
_ERRORS = (
    re.compile(_PLACE + r"(?:fatal )?error: (?P<text>.*)"),
    # Verilator ends on a warning as on an error.
    re.compile(r"%(?:Error|Warning)(?:-\w+)?: " + _PLACE + r"(?P<text>.*)"),
)
_EXCERPT = re.compile(r" *[0-9]* \|")
_ASIDE = re.compile(r" +(?:: )?\.\.\. ")


@dataclass(frozen=True)
class Origins:
    """Where the sources of a build came from.

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

    @staticmethod
    def at(folder: Path) -> Origins:
        """The origins that lie in a build's folder, whose files may have been edited; none where it lost its record."""
        try:
            lines = json.loads((folder / LINES).read_bytes())
            overlaid = json.loads((folder / MANIFEST).read_bytes()).get("templates", ())
            return Origins(lines, frozenset(overlaid))
        except (OSError, ValueError):
            return Origins()

    def name(self, path: str, line: int, column: int) -> str:
        """How messages name a place in a build: by the file that an engineer edits."""
        origin = origin_of(self.lines.get(path, ()), line)
        if origin is not None:
            return f"{origin[0]}:{origin[1]} of {self._owner(origin[0])} (written to {path}:{line}:{column})"
        folder, _, rest = path.partition("/")
        if folder not in _COPIED or path in self.lines:
            return f"{path}:{line}:{column}"
        header = _COPIED[folder] + rest
        return f"{header}:{line}:{column} of {self._owner(header)}"

    def _owner(self, name: str) -> str:
        return "your --templates" if name in self.overlaid else "flow"


def explain(said: str, origins: Origins, tool: str = "g++") -> str:
    """One message for what the compiler said, paths relative to the build; its own words where it named no line."""
    what = _WHAT[tool]
    if _FULL in said:
        return (
            f"{tool}: found no space left on the device for the compiled {what[0]}; expected some megabytes; "
            "free them, or set FLOW_CACHE_DIR to a folder elsewhere"
        )
    errors = dict(_errors(said, origins))
    if not errors:
        return f"{tool}: found errors in the {what[0]}; expected it to compile; it said:\n{said[:_WORDS].rstrip()}"
    count = f"{len(errors)} errors" if len(errors) > 1 else "an error"
    shown = [f"  - {head}" + "".join(f"\n    {line}" for line in lines) for head, lines in errors.items()]
    more = [f"  and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    summary = f"{tool}: found {count} in the {what[0]}; expected {what[1]}; mend what it came from"
    return "\n".join([summary, *shown[:SHOWN], *more])


def _errors(said: str, origins: Origins) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each error as its place with its text, and the excerpt that follows it."""
    lines = said.splitlines()
    for i, line in enumerate(lines):
        found = next(filter(None, (pattern.fullmatch(line) for pattern in _ERRORS)), None)
        if found is None:
            continue
        excerpt = []
        for after in lines[i + 1 :]:
            if _EXCERPT.match(after):
                excerpt.append(after)
            elif not _ASIDE.match(after):
                break
        place = origins.name(found["path"], int(found["line"]), int(found["column"]))
        yield f"{place}: {found['text']}", tuple(excerpt)
