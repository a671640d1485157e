"""Templates and static headers of the engine: flow's own, with a user's folder laid over them.

A file of the folder replaces the one of flow's that has its name: a template's path relative to `templates/`
(`dispatch.hpp.j2`, `vitis/csynth.tcl.j2`, `sim/bench.py`), a header's relative to `hls/` (`engine/array.hpp`). A file
of another name has to be included, directly or not, by one that replaces something; it then is copied to `hls/` (a
header) or rendered into what includes it (a template). Any other is refused, so that a misspelt name is never silently
without effect. Hidden files, `*~` and `*.md` are nobody's.
"""

from __future__ import annotations

import difflib
import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError, meta

from flow.errors import FlowError, raise_all
from flow.ops.post import OUTSIDE, load_plugins
from flow.resources import asset_dir

TEMPLATE_ENDING = ".j2"
HEADER_FOLDERS = ("engine", "compat", "cosim")
"""Folders of `hls/` that every build gets: the kernel's in its `hls/`, the simulation shell's in its `sim/`."""
_COPIED_FOLDERS = ("sim", "driver", "rtl", "chip")
"""Folders of `templates/` whose other files are copied as they are."""
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]+"([^"\n]+)"', re.MULTILINE)
_CONTEXT = re.compile(r"\{# context: ([\w.]+), as ctx #\}")
_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*")


@dataclass(frozen=True)
class Source:
    """One template or header. `path` is where it was read, `overlaid` whether a user's folder holds it."""

    name: str
    content: bytes
    path: Path
    overlaid: bool = False

    @property
    def is_template(self) -> bool:
        """Whether it is rendered rather than copied."""
        return self.name.endswith(TEMPLATE_ENDING)

    @property
    def emits(self) -> str:
        """The file of a build that it becomes."""
        name = self.name.removesuffix(TEMPLATE_ENDING)
        folder, _, rest = name.partition("/")
        if folder == "cosim":
            return f"sim/{rest}"
        if (self.is_template and rest and folder != "vitis") or folder in _COPIED_FOLDERS:
            return name
        return f"hls/{rest}" if self.is_template and rest else f"hls/{name}"

    @property
    def context(self) -> str:
        """The dataclass that a template gets as `ctx`, as its first line names it; empty for a header."""
        found = _CONTEXT.match(self.content.decode(errors="replace")) if self.is_template else None
        return found[1] if found else ""

    @property
    def sha256(self) -> str:
        """Hash of the content."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, eq=False)
class Sources:
    """Everything that emission places, by name in sorted order. `extra` are the overlay's files of new names."""

    files: Mapping[str, Source]
    extra: Mapping[str, Source] = field(default_factory=dict)

    @cached_property
    def _all(self) -> dict[str, Source]:
        return dict(sorted({**self.files, **self.extra}.items()))

    @cached_property
    def templates(self) -> dict[str, Source]:
        """Every template, those included by others among them."""
        return {name: s for name, s in self._all.items() if s.is_template}

    @cached_property
    def headers(self) -> dict[str, Source]:
        """Every static header of the kernel."""
        return {n: s for n, s in self._all.items() if not s.is_template and s.emits.startswith("hls/")}

    @cached_property
    def copied(self) -> dict[str, Source]:
        """Every file that comes as it is into another folder of a build than `hls/`."""
        return {n: s for n, s in self._all.items() if not s.is_template and not s.emits.startswith("hls/")}

    @property
    def overlaid(self) -> dict[str, str]:
        """sha256 of every file that comes from a user's folder, by name: what the manifest records."""
        return {name: s.sha256 for name, s in self._all.items() if s.overlaid}

    @cached_property
    def digest(self) -> str:
        """Hash over every name and content: equal sources emit equal files."""
        total = hashlib.sha256()
        for name, source in self._all.items():
            total.update(f"{name}\0{source.sha256}\0".encode())
        return total.hexdigest()

    @staticmethod
    def of(overlay: Path | None = None) -> Sources:
        """Flow's own templates and headers, with the files of `overlay` in place of those they are named after.

        Raises:
            FlowError: no such folder, or lists every file in it that replaces nothing and that nothing includes.
        """
        ours = _ours()
        if overlay is None:
            return Sources(ours)
        found = _read_folder(overlay)
        replaced = {name: source for name, source in found.items() if name in ours}
        rest = {name: source for name, source in found.items() if name not in ours}
        extra = {name: rest[name] for name in sorted(_reached(replaced, rest))}
        faults = [_nameless(source, ours) for name, source in sorted(rest.items()) if name not in extra]
        faults += [fault for source in extra.values() for fault in _misplaced(source, ours)]
        raise_all(FlowError, f"{overlay}: found files that replace nothing of flow's", faults)
        return Sources(dict(sorted((ours | replaced).items())), extra)


def _ours() -> dict[str, Source]:
    """Flow's own templates and headers.

    Raises:
        FlowError: a folder of the package is empty.
    """
    templates, headers = asset_dir("templates"), asset_dir("hls")
    paths = [(templates, p) for p in templates.rglob(f"*{TEMPLATE_ENDING}")]
    static = [(headers, p) for name in HEADER_FOLDERS for p in (headers / name).rglob("*") if p.is_file()]
    if not static:
        raise FlowError(f"{headers}: found no headers; expected engine/ and compat/; install flow-hls again")
    copied = [(templates, p) for name in _COPIED_FOLDERS for p in _files(templates / name)]
    names = {path.relative_to(root).as_posix(): path for root, path in paths + static + copied}
    load_plugins()
    names |= {outside_header(name): stage.header_path() for name, stage in OUTSIDE.items()}
    names |= {outside_module(name): stage.module_path() for name, stage in OUTSIDE.items() if stage.module}
    return {name: Source(name, path.read_bytes(), path) for name, path in sorted(names.items())}


def _files(folder: Path) -> list[Path]:
    """Files of a folder that are to be copied; Python may have left its own beside them."""
    return [p for p in folder.iterdir() if p.is_file() and p.suffix not in (TEMPLATE_ENDING, ".pyc")]


def outside_header(stage: str) -> str:
    """The name of the header of a plug-in's stage."""
    return f"engine/stages/{stage}.hpp"


def outside_module(stage: str) -> str:
    """The name of the Verilog module of a plug-in's stage."""
    return f"rtl/{stage}_stage.v"


def _read_folder(folder: Path) -> dict[str, Source]:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise FlowError(
            f"{folder}: found {found}; expected a folder of templates and headers; "
            "make one with `flow templates eject`"
        )
    # A link that leads nowhere would leave flow's own in force without a word.
    odd = [
        f"{name}: found {_kind(path)}; expected a file"
        for name, path in _visible(folder)
        if not path.is_file() and (not path.is_dir() or path.name.endswith(TEMPLATE_ENDING))
    ]
    raise_all(FlowError, f"{folder}: found what cannot be read; mend or remove it", odd)
    return {
        name: Source(name, path.read_bytes(), path, overlaid=True) for name, path in overlay_files(folder)
    }


def _kind(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {path.readlink()}, which is no file"
    return "a folder" if path.is_dir() else "a device, pipe or socket"


def overlay_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of every file of an overlay, in sorted order."""
    yield from ((name, path) for name, path in _visible(folder) if path.is_file())


def _visible(folder: Path) -> Iterator[tuple[str, Path]]:
    """Whatever is not hidden, a backup or a page of documentation."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and not path.name.endswith(("~", ".md")):
            yield name.as_posix(), path


def _reached(replaced: Mapping[str, Source], rest: Mapping[str, Source]) -> set[str]:
    """Names in `rest` that files of `replaced` include, directly or not."""
    reached: set[str] = set()
    frontier = list(replaced.values())
    while frontier:
        for name in _includes(frontier.pop()):
            if name in rest and name not in reached:
                reached.add(name)
                frontier.append(rest[name])
    return reached


def _includes(source: Source) -> Iterator[str]:
    """Names that a file may mean by its `#include "…"` lines and, of a template, its includes and imports."""
    # A root template becomes a file at the top of hls/, which the compiler searches too.
    folder = posixpath.dirname(source.name)
    for found in _INCLUDE.findall(source.content):
        target = found.decode(errors="replace")
        yield posixpath.normpath(target)
        yield posixpath.normpath(posixpath.join(folder, target))
    if source.is_template:
        try:
            tree = Environment(autoescape=False).parse(source.content.decode(errors="replace"))
        except TemplateSyntaxError:
            return  # rendering says so, with its line
        yield from (name for name in meta.find_referenced_templates(tree) if name)


def _nameless(source: Source, ours: Mapping[str, Source]) -> str:
    near = near_names(source.name, ours)
    return (
        f"{source.name}: expected the name of one of flow's (`flow templates list`), or an overlaid file that "
        f"includes it{near}"
    )


def _misplaced(source: Source, ours: Mapping[str, Source]) -> Iterator[str]:
    """Why a new file cannot come to lie where its name says."""
    if not _NAME.fullmatch(source.name):
        yield f"{source.name}: expected a name of letters, digits and any of . _ + -; rename it"
    writers = [s.name for s in ours.values() if s.is_template and s.emits == source.emits]
    if not source.is_template and writers:
        yield f"{source.name}: flow writes that file from {writers[0]}; expected that template; overlay it instead"


def near_names(name: str, names: Iterable[str]) -> str:
    """`; did you mean A or B?` for names near to `name`, or nothing."""
    pool = list(names)
    near = difflib.get_close_matches(name, pool, n=2, cutoff=0.6)
    near += [n for n in pool if posixpath.basename(n) == posixpath.basename(name) and n not in near][:2]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def eject(names: Iterable[str], folder: Path, force: bool = False) -> list[str]:
    """Copy flow's own files of these names (all where there are none) into an overlay; the names, in sorted order.

    Raises:
        FlowError: lists every unknown name, or every file that is in the way.
    """
    ours = _ours()
    chosen = sorted(set(names)) or list(ours)
    unknown = [f"{name}: unknown{near_names(name, ours)}" for name in chosen if name not in ours]
    raise_all(
        FlowError, "flow templates eject: found names that flow has not; see `flow templates list`", unknown
    )
    taken = [name for name in chosen if (folder / name).exists()]
    if taken and not force:
        raise_all(
            FlowError,
            f"{folder}: found files that are there already; expected none; choose another folder, or overwrite "
            "them with --force",
            taken,
        )
    if folder.exists() and not folder.is_dir():
        raise FlowError(f"{folder}: found a file; expected a folder or nothing; choose another")
    for name in chosen:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ours[name].content)
    return chosen
