"""The emitted kernel as a program: compiled by g++ once per engine, then run on memory images and frames.

A compiled kernel is named by a hash of its sources, flags, compiler and processor and kept in the user's cache, so that
every model on an engine shares one. `FLOW_CACHE_DIR` moves the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from flow.emit.contexts import TOP
from flow.emit.hls import kernel_files
from flow.engine import INFO, INFO_WORDS, Engine, Program, Status
from flow.errors import ToolError
from flow.resources import cache_dir
from flow.sim.diagnostics import Origins, explain
from flow.sim.memories import Memories

FLAGS = ("-std=c++14", "-O3", "-march=native", "-mtune=generic")
"""`-march=native` vectorises the array: C simulation lives on it. Tuned for AMD's Zen 3, g++ 12.2 vectorises
straight-line code of the kernel wrongly (a sound stream is refused as damaged); with generic tuning it does not."""
BENCH_FLAGS = ("-std=c++14", "-O1")
"""The test bench holds a second copy of the kernel, for one traced frame. It is linked last: where both have a function
out of line, the fast one stands."""
WARNINGS = ("-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-label")
"""The kernel is clean under these; pragmas and loop labels speak to Vitis HLS."""
COMPILE_SECONDS = 900.0
RUN_SECONDS = 3600.0
_SHOWN = 4000
_KERNEL_ERROR, _DEADLOCK = 1, 4
_WATCH_SECONDS = 2.0
"""Between two looks at a tool that is watched."""
_AT_WORK: set[int] = set()
"""Process groups of the tools that run; added to under `_STARTING`."""
_STARTING = threading.Lock()


@dataclass(frozen=True)
class Compiler:
    """g++: where it is, and what of it decides the code that it makes."""

    path: str
    identity: str

    @staticmethod
    def find() -> Compiler:
        """The g++ on PATH.

        Raises:
            ToolError: there is none, or it does not run.
        """
        path = shutil.which("g++")
        if path is None:
            raise ToolError(
                "g++: found none on PATH; expected g++ 9 or later for C simulation; install it "
                "(Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++)"
            )
        # The line that starts the compiler proper spells out what `native` means on this processor.
        target = run_tool([path, "-march=native", "-E", "-v", "-x", "c++", os.devnull], 60.0)
        lines = [line for line in target.stderr.splitlines() if "version" in line or "cc1plus" in line]
        return Compiler(path, "\n".join(lines))


def run_tool(
    command: Sequence[str | Path],
    timeout: float,
    scratch: Path | None = None,
    variables: Mapping[str, str] | None = None,
    place: Path | None = None,
    watch: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in the folder `place`; temporary files go to `scratch`.

    `variables` are set beside those of our own environment. `watch` is called every few seconds; what it raises ends
    the program. The program leads a process group, so that nothing that it started (the passes of g++) outlives an
    interruption.
    """
    # Messages of the tools are read by machine: they have to be English.
    environment = {**os.environ, "LC_ALL": "C", **(variables or {})}
    if scratch is not None:
        environment["TMPDIR"] = str(scratch)
    pipe = subprocess.PIPE
    try:
        with _STARTING:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                text=True,
                errors="replace",
                env=environment,
                cwd=place,
                process_group=0,
            )
            _AT_WORK.add(process.pid)
        with process:
            try:
                said = _said(process, timeout, watch)
            except BaseException:
                _kill(process.pid)
                process.communicate()
                raise
            finally:
                _AT_WORK.discard(process.pid)
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"{command[0]}: found it running after {timeout:.0f} s; expected it to end; stopped it"
        ) from error
    except OSError as error:
        raise ToolError(
            f"{command[0]}: found {error.strerror or error}; expected a program that runs"
        ) from error
    return subprocess.CompletedProcess(command, process.returncode, *said)


def _said(
    process: subprocess.Popen[str], timeout: float, watch: Callable[[], None] | None
) -> tuple[str, str]:
    """What a program said until its end, on stdout and stderr."""
    if watch is None:
        return process.communicate(timeout=timeout)
    deadline = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(timeout=min(_WATCH_SECONDS, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(process.args, timeout) from None
            watch()


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def end_tools() -> None:
    """Kill whatever `run_tool` runs, for a process that is about to end without unwinding; it starts nothing more."""
    _STARTING.acquire()
    for group in list(_AT_WORK):
        _kill(group)


def compile_kernel(
    files: Mapping[str, bytes], vitis_include: Path | None = None, origins: Origins | None = None
) -> Path:
    """The test bench of a kernel as a program, from the cache or freshly compiled.

    `files` are the kernel's by path relative to `hls/`; `origins` say what wrote them. With `vitis_include` Vitis' own
    headers take the place of ours.

    Raises:
        ToolError: no g++, no Vitis headers, the compiler refuses (its messages are shown), or the cache cannot be
            written.
    """
    if vitis_include is not None and not (vitis_include / "ap_int.h").is_file():
        raise ToolError(
            f"{vitis_include}: found no ap_int.h; expected the headers of Vitis HLS; "
            "name the folder include/ of its installation"
        )
    compiler = Compiler.find()
    digest = hashlib.sha256(
        "\0".join((compiler.identity, *FLAGS, *BENCH_FLAGS, str(vitis_include or ""))).encode()
    )
    for path, content in sorted(files.items()):
        digest.update(f"\0{path}\0{len(content)}\0".encode() + content)
    home = cache_dir() / "csim"
    program = home / digest.hexdigest()[:32] / "testbench"
    if program.is_file():
        return program
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f"{program.parent.name}.lock", timeout=COMPILE_SECONDS):
            if not program.is_file():
                _compile(compiler, files, vitis_include, origins or Origins(), program)
    except Timeout as error:
        raise ToolError(
            f"{home}: found another run compiling this kernel for {COMPILE_SECONDS:.0f} s; expected it to end; "
            "try again"
        ) from error
    except OSError as error:
        raise ToolError(
            f"{home}: found {error.strerror or error}; expected a writable cache; set FLOW_CACHE_DIR to another folder"
        ) from error
    return program


def _compile(
    compiler: Compiler,
    files: Mapping[str, bytes],
    vitis_include: Path | None,
    origins: Origins,
    program: Path,
) -> None:
    """Compile beside the destination and move the folder in: another run never sees half of it."""
    with tempfile.TemporaryDirectory(dir=program.parent.parent) as name:
        scratch = Path(name)
        sources, built = scratch / "hls", scratch / "built"
        for path, content in files.items():
            (sources / path).parent.mkdir(parents=True, exist_ok=True)
            (sources / path).write_bytes(content)
        built.mkdir()
        include = vitis_include.absolute() if vitis_include is not None else sources / "compat"
        objects = []
        for unit, flags in ((TOP, FLAGS), ("testbench", BENCH_FLAGS)):
            objects.append(scratch / f"{unit}.o")
            command = [*flags, *WARNINGS, f"-I{sources}", f"-I{include}", "-c", sources / f"{unit}.cpp"]
            _call(compiler, [*command, "-o", objects[-1]], scratch, origins)
        _call(compiler, [*objects, "-o", built / program.name], scratch, origins)
        built.rename(program.parent)


def _call(compiler: Compiler, arguments: Sequence[str | Path], scratch: Path, origins: Origins) -> None:
    """Run the compiler.

    Raises:
        ToolError: it refuses; names templates and headers in its words.
    """
    done = run_tool([compiler.path, *arguments], COMPILE_SECONDS, scratch)
    if done.returncode:
        said = done.stderr.replace(f"{scratch}/", "").strip() or f"nothing, and ended with {done.returncode}"
        raise ToolError(explain(said, origins))


@dataclass(frozen=True)
class Outcome:
    """What the kernel did: the bytes that it sent, and its information block by word."""

    output: bytes
    info: Mapping[str, int]

    @property
    def status(self) -> Status:
        """Word 0 of the information block."""
        return Status(self.info["status"])


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel."""

    engine: Engine
    program: Path
    timeout: float = RUN_SECONDS

    @staticmethod
    def of(engine: Engine) -> Kernel:
        """The kernel that flow emits for an engine.

        Raises:
            ToolError: see `compile_kernel`.
        """
        return Kernel(engine, compile_kernel(kernel_files(engine)))

    def run(self, image: bytes, stream: bytes) -> Outcome:
        """LOAD the image, then RUN frames until the input stream is empty or the kernel reports an error.

        Raises:
            ToolError: the simulation crashed, hung, or broke the stream's protocol.
        """
        with tempfile.TemporaryDirectory(prefix="flow-csim-") as scratch:
            return self._simulate(Path(scratch), image, stream, None)

    def trace(self, image: bytes, stream: bytes) -> tuple[Outcome, list[Memories]]:
        """As `run`, for one frame, with the memories after every step that was completed.

        Raises:
            ToolError: see `run`.
        """
        with tempfile.TemporaryDirectory(prefix="flow-csim-") as scratch:
            folder = Path(scratch) / "trace"
            folder.mkdir()
            outcome = self._simulate(Path(scratch), image, stream, folder)
            count = len(list(folder.iterdir()))
            dumps = [Memories(self.engine, (folder / f"0.{step}.bin").read_bytes()) for step in range(count)]
        return outcome, dumps

    def _simulate(self, scratch: Path, image: bytes, stream: bytes, trace: Path | None) -> Outcome:
        names = ("image.bin", "input.bin", "output.bin")
        image_file, input_file, output_file = (scratch / name for name in names)
        image_file.write_bytes(image)
        input_file.write_bytes(stream)
        traces = [trace] if trace is not None else []
        done = run_tool([self.program, image_file, input_file, output_file, *traces], self.timeout)
        if done.returncode not in (0, _KERNEL_ERROR):
            raise ToolError(_crash(done))
        words = output_file.with_name("output.bin.info").read_bytes()
        info = dict(
            zip(
                INFO,
                (int.from_bytes(words[4 * i : 4 * i + 4], "little") for i in range(INFO_WORDS)),
                strict=False,
            )
        )
        return Outcome(output_file.read_bytes(), info)


def _crash(done: subprocess.CompletedProcess[str]) -> str:
    said = done.stderr.strip()[-_SHOWN:] or "nothing"
    if done.returncode == _DEADLOCK:
        return f"csim: found a deadlock; expected every frame to come whole; the kernel said: {said}"
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    return f"csim: found {how}; expected 0; the test bench said: {said}"


def run_frames(
    program: Program, frames: Sequence[bytes], lengths: Sequence[int], kernel: Kernel | None = None
) -> list[bytes]:
    """Output frames of a program, one per input frame; `lengths` are the tokens of each.

    Raises:
        ToolError: the simulation failed, or the kernel reports an error; it is named with the step.
    """
    outcome = (kernel or Kernel.of(program.engine)).run(program.image, b"".join(frames))
    check_status(outcome, program.steps)
    sizes = [program.output_bytes(length) for length in lengths]
    if len(outcome.output) != sum(sizes) or outcome.info["frames_done"] != len(frames):
        raise ToolError(
            f"csim: found {len(outcome.output)} bytes of output in {outcome.info['frames_done']} frames; "
            f"expected {sum(sizes)} in {len(frames)}"
        )
    results, at = [], 0
    for size in sizes:
        results.append(outcome.output[at : at + size])
        at += size
    return results


def check_status(outcome: Outcome, steps: Sequence[str]) -> None:
    """Demand status OK.

    Raises:
        ToolError: another status; it is named with the step and the number of frames done before it.
    """
    if outcome.status is Status.OK:
        return
    failed = outcome.info["failed_step"]
    where = f" at step {failed} ({steps[failed]})" if failed < len(steps) else ""
    raise ToolError(
        f"csim: found status {outcome.status.name}{where} after {outcome.info['frames_done']} frames; expected OK; "
        "lower the model again"
    )
