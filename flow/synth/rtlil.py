"""A design that Yosys has elaborated: its modules with the values of their parameters, and what they instantiate.

Reads RTLIL, Yosys' own text form, line by line; of a module only its head, its ports and its instances of other modules
are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_MODULE = re.compile(r"^module (\S+)$", re.MULTILINE)
_CELL = re.compile(r"^  cell (\S+) (\S+)$", re.MULTILINE)
_PARAMETER = re.compile(r"^  parameter \\(\S+) (.+)$", re.MULTILINE)
_NAME = re.compile(r'^attribute \\hdlname "(.+)"$', re.MULTILINE)
_PORT = re.compile(r"^  wire .*\b(?:input|output|inout) \d+ \S+$", re.MULTILINE)


@dataclass
class Module:
    """An elaborated module.

    Attributes:
        name: as RTLIL has it; one for every set of parameter values.
        base: as the source has it.
        text: its RTLIL.
        parameters: values by name.
        instances: name of the module by name of the instance, of elaborated modules alone.
    """

    name: str
    base: str
    text: str
    parameters: dict[str, str]
    instances: dict[str, str] = field(default_factory=dict)

    @property
    def stub(self) -> str:
        """Its RTLIL as a black box: ports alone."""
        parameters = "\n".join(match.group(0) for match in _PARAMETER.finditer(self.text))
        ports = "\n".join(match.group(0) for match in _PORT.finditer(self.text))
        return f"attribute \\blackbox 1\nmodule {self.name}\n{parameters}\n{ports}\nend\n"


@dataclass(frozen=True)
class Hierarchy:
    """Modules by name, and the name of the top one."""

    top: str
    modules: dict[str, Module]

    def counts(self, root: str | None = None) -> dict[str, int]:
        """How often each module stands below `root` (the top), itself included."""
        found: dict[str, int] = {}

        def visit(name: str, times: int) -> None:
            found[name] = found.get(name, 0) + times
            for child, count in _tally(self.modules[name].instances.values()).items():
                visit(child, times * count)

        visit(root or self.top, 1)
        return found

    def keys_below(self, name: str) -> list[str]:
        """The modules that a module instantiates itself, in order of their names."""
        return sorted(set(self.modules[name].instances.values()))


def _tally(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def _split(text: str) -> Iterator[str]:
    """One text for each module, with the attributes in front of it."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(("#", "autoidx")) or (not lines and not line.strip()):
            continue
        lines.append(line)
        if line.rstrip() == "end":
            yield "".join(lines)
            lines = []


def parse(text: str, top: str) -> Hierarchy:
    """The hierarchy of an RTLIL text whose top module is `top`."""
    modules: dict[str, Module] = {}
    for part in _split(text):
        head = _MODULE.search(part)
        assert head is not None
        name = head.group(1)
        hdl = _NAME.search(part[: head.start()])
        parameters = {m.group(1): m.group(2) for m in _PARAMETER.finditer(part)}
        modules[name] = Module(name, hdl.group(1) if hdl else name.removeprefix("\\"), part, parameters)
    for module in modules.values():
        cells = ((m.group(2), m.group(1)) for m in _CELL.finditer(module.text))
        module.instances = {instance.removeprefix("\\"): kind for instance, kind in cells if kind in modules}
    return Hierarchy("\\" + top, modules)
