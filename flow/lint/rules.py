"""What a rule is, and the list of them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flow.lint.source import Node, Source


@dataclass(frozen=True, order=True)
class Finding:
    """One breach of a rule: *where: found; expected; remedy*."""

    file: str
    line: int
    rule: str
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: found {self.found}; expected {self.expected}; {self.remedy}"


@dataclass(frozen=True)
class Fault:
    """A finding that does not know its rule yet."""

    file: str
    line: int
    found: str
    expected: str
    remedy: str


Check = Callable[[Source], Iterator[Fault]]


@dataclass(frozen=True)
class Rule:
    """A rule: its name, what it demands in a few words, where the vendor's guide says why, and its check."""

    name: str
    demands: str
    citation: str
    check: Check

    def findings(self, source: Source) -> Iterator[Finding]:
        """Every breach in a kernel."""
        for fault in self.check(source):
            yield Finding(fault.file, fault.line, self.name, fault.found, fault.expected, fault.remedy)


RULES: dict[str, Rule] = {}
"""Every rule by name; the modules beside this one fill it."""
WAIVER = "waiver"
"""The rule about waivers themselves; `run.py` applies it, since it needs the others' findings."""


def rule(name: str, demands: str, citation: str) -> Callable[[Check], Check]:
    """Register a check as a rule."""

    def register(check: Check) -> Check:
        RULES[name] = Rule(name, demands, citation, check)
        return check

    return register


def at(node: Node, found: str, expected: str, remedy: str) -> Fault:
    """A fault at a node."""
    return Fault(node.file, node.line, found, expected, remedy)
