"""Runs the rules on a kernel and applies its waivers.

A waiver is a comment `// lint: allow RULE: reason` on the line of the finding, or above it and its label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import flow.lint.language
import flow.lint.loops
import flow.lint.pragmas  # noqa: F401  (registers)
from flow.emit.build import Build
from flow.emit.contexts import TOP
from flow.lint.rules import RULES, WAIVER, Finding
from flow.lint.source import parse

_WAIVER = re.compile(r"//\s*lint:\s*allow\b\s*([\w-]*)\s*:?\s*(.*)$")
_PASSED_BY = re.compile(r"\s*(//.*|\w+:\s*)$")
TESTBENCH = "testbench.cpp"


@dataclass(frozen=True)
class Waiver:
    """One rule allowed to fail at one place, for a reason. `target` is the line that it speaks of."""

    file: str
    line: int
    target: int
    rule: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What the lint found, what it was asked to let pass, and how much it looked at."""

    findings: tuple[Finding, ...]
    waived: tuple[tuple[Finding, str], ...]
    files: int
    loops: int
    pragmas: int

    def to_json(self) -> dict[str, Any]:
        """The object of `flow lint --json`."""
        return {
            "files": self.files, "loops": self.loops, "pragmas": self.pragmas, "rules": sorted([*RULES, WAIVER]),
            "findings": [{**asdict(f), "citation": citation(f.rule)} for f in self.findings],
            "waived": [{**asdict(f), "reason": reason} for f, reason in self.waived],
        }  # fmt: skip


def citation(name: str) -> str:
    """Where the vendor's guide speaks of a rule."""
    return RULES[name].citation if name in RULES else "flow's own: a waiver has a reason and a finding"


def waivers(files: Mapping[str, str]) -> Iterator[Waiver]:
    """Every waiver of a kernel: it speaks of its own line, or of the next that is no comment and no label."""
    for file, text in files.items():
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            match = _WAIVER.search(line)
            if match:
                target = number
                while target <= len(lines) and _PASSED_BY.match(lines[target - 1]):
                    target += 1
                yield Waiver(file, number, target, match[1], match[2].strip())


def lint_kernel(files: Mapping[str, bytes], top: str = TOP) -> Report:
    """Lint the kernel `top` in `TOP.cpp`; `files` by path relative to `hls/`.

    Stand-ins for Vitis' headers and the test bench are not synthesised and not looked at.

    Raises:
        ToolError: libclang is missing or does not work.
    """
    texts = {
        name: content.decode("utf-8", errors="replace") for name, content in files.items()
        if name.endswith((".hpp", ".cpp", ".h")) and not name.startswith("compat/") and name != TESTBENCH
    }  # fmt: skip
    source = parse(texts, f"{top}.cpp", top)
    found = {finding for rule in RULES.values() for finding in rule.findings(source)}
    kept, waived, used = [], [], set()
    allowed = list(waivers(source.texts))
    for finding in sorted(found):
        place = [
            w
            for w in allowed
            if (w.file, w.target, w.rule) == (finding.file, finding.line, finding.rule) and w.reason
        ]
        if place:
            used.add(place[0])
            waived.append((finding, place[0].reason))
        else:
            kept.append(finding)
    kept += [_useless(w) for w in allowed if w not in used]
    return Report(
        tuple(sorted(kept)), tuple(waived), len(source.texts), len(source.loops), len(source.pragmas)
    )


def _useless(waiver: Waiver) -> Finding:
    """A waiver without a rule, a reason, or a finding."""
    if waiver.rule not in RULES:
        found, expected = f"the rule {waiver.rule!r}", f"one of {', '.join(sorted(RULES))}"
    elif not waiver.reason:
        found, expected = "a waiver without a reason", "`// lint: allow RULE: reason`"
    else:
        found, expected = f"a waiver of {waiver.rule} without a finding", "one on the next line of code"
    return Finding(waiver.file, waiver.line, WAIVER, found, expected, "mend the comment or take it out")


def lint_build(build: Build) -> Report:
    """Lint the `hls/` folder of a build.

    Raises:
        FlowError: the build is damaged. ToolError: libclang is missing or does not work.
    """
    names = [name for name in build.manifest["files"] if name.startswith("hls/")]
    return lint_kernel({name.removeprefix("hls/"): build.read(name) for name in names})
