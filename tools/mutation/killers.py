"""What may notice a mutant. A killer compiles the mutated kernel and runs the stimulus; the first difference kills.

C simulation is one, with and without sanitizers; simulation beside a clock (`cosim.py`) and of the RTL are others, with
the same two methods.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flow.emit.contexts import TOP
from flow.engine import INFO, Status
from mutation.case import Case
from mutation.stimulus import Bench

COMPILE_SECONDS, RUN_SECONDS = 300, 900
CPU_SECONDS, MEMORY_BYTES = 3, 1 << 30
DEADLOCK, PROTOCOL, SANITIZER = 4, 3, 99
_PLAIN = ("-std=c++14", "-O0", "-w", "-ftrivial-auto-var-init=pattern", "-fsanitize-undefined-trap-on-error")
QUICK = (*_PLAIN, "-fsanitize=bounds")
"""Compiled in a second; what was never written and what lies beyond an array show."""
SANITIZED = (*_PLAIN, "-fsanitize=address,undefined")
"""Whatever C++ does not define shows, also behind a pointer."""
LIBRARY = ("cassert", "cstdint", "cstdio", "cstdlib", "cstring", "deque", "string", "type_traits", "vector")
# Each case in a process of its own, with limits of its own, forked from one that is loaded once.
RUNNER = f"""#undef main
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
extern "C" const char *__asan_default_options() {{ return "exitcode={SANITIZER}:detect_leaks=0"; }}
constexpr rlim_t CpuSeconds = {4 * CPU_SECONDS}, MemoryBytes = RLIM_INFINITY;  // its map of the memory is huge
#else
constexpr rlim_t CpuSeconds = {CPU_SECONDS}, MemoryBytes = {MEMORY_BYTES};
#endif
int main(int argc, char **argv) {{
    for (int i = 1; i < argc; ++i) {{
        const std::string folder = argv[i];
        const pid_t child = fork();
        if (child == 0) {{
            const rlimit seconds = {{CpuSeconds, CpuSeconds}}, bytes = {{MemoryBytes, MemoryBytes}};
            const rlimit none = {{0, 0}};
            setrlimit(RLIMIT_CPU, &seconds);
            setrlimit(RLIMIT_AS, &bytes);
            setrlimit(RLIMIT_CORE, &none);
            std::string names[] = {{"testbench", folder + "/image", folder + "/input", folder + "/output"}};
            char *arguments[] = {{&names[0][0], &names[1][0], &names[2][0], &names[3][0], nullptr}};
            std::exit(testbench(4, arguments));
        }}
        int status = 0;
        waitpid(child, &status, 0);
        std::FILE *file = std::fopen((folder + "/status").c_str(), "w");
        std::fprintf(file, "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
        std::fclose(file);
    }}
}}
"""


@dataclass(frozen=True)
class Verdict:
    """How a mutant ended: `how` is empty where it lived; `case` is the run that killed it."""

    how: str
    case: str = ""

    @property
    def killed(self) -> bool:
        """Whether something noticed it."""
        return bool(self.how) and self.how != REFUSED


REFUSED = "does not compile"
"""Not a mutant: the compiler would tell the engineer."""


@dataclass(frozen=True)
class Run:
    """How a case ended: `how` is empty where it came to an end, `done` 0 for status OK and 1 for another."""

    how: str
    done: int
    output: bytes
    info: bytes


class Killer(Protocol):
    """Runs the stimulus of a bench on a kernel."""

    name: str

    def baseline(self, files: Mapping[str, bytes], bench: Bench) -> None:
        """Run the unchanged kernel: it must pass, and its outputs are expected where the stimulus names none."""
        ...

    def judge(self, files: Mapping[str, bytes], bench: Bench) -> Verdict:
        """Run a mutated kernel until something differs."""
        ...


@dataclass
class CSim:
    """The emitted C++ as a program, compiled for quick compilation."""

    name: str = "csim"
    flags: Sequence[str] = QUICK
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    outputs: dict[tuple[str, str], tuple[bytes, bytes]] = field(default_factory=dict)
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def baseline(self, files: Mapping[str, bytes], bench: Bench) -> None:
        """See `Killer`. Raises AssertionError where the unchanged kernel does not do what the stimulus expects."""
        names = Counter(case.name for case in bench.cases)
        assert max(names.values()) == 1, f"{bench.name}: two cases of one name"
        with tempfile.TemporaryDirectory(prefix="flow-mutation-") as scratch:
            program = self._compile(files, Path(scratch))
            assert program is not None, f"{bench.name}: the unchanged kernel does not compile"
            for case, run in self._run(program, bench.cases, Path(scratch)):
                how = difference(case, run).how
                assert not how, f"{bench.name}: {case.name}: the unchanged kernel is killed by {how}"
                self.outputs[bench.name, case.name] = (run.output, run.info)

    def judge(self, files: Mapping[str, bytes], bench: Bench) -> Verdict:
        """See `Killer`. Cases that killed often come first."""
        order = sorted(bench.cases, key=lambda case: -self.kills[bench.name, case.name])
        with tempfile.TemporaryDirectory(prefix="flow-mutation-") as scratch:
            program = self._compile(files, Path(scratch))
            if program is None:
                return Verdict(REFUSED)
            for case, run in self._run(program, order, Path(scratch)):
                verdict = difference(case, run)
                if not verdict.how and (run.output, run.info) != self.outputs[bench.name, case.name]:
                    verdict = Verdict("other output", case.name)
                if verdict.how:
                    self.kills[bench.name, case.name] += 1
                    return verdict
        return Verdict("")

    def _compile(self, files: Mapping[str, bytes], scratch: Path) -> Path | None:
        """Kernel, test bench and what runs it as one unit, which halves the time."""
        sources = scratch / "hls"
        for name, content in files.items():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).write_bytes(content)
        unit, program = sources / "unit.cpp", scratch / "program"
        library = self._library()
        unit.write_text(f'#include "{TOP}.cpp"\n#define main testbench\n#include "testbench.cpp"\n{RUNNER}')
        include = ("-include", str(library), f"-I{sources}", f"-I{sources / 'compat'}")
        command = [shutil.which("g++") or "g++", *self.flags, *include, str(unit), "-o", str(program)]
        done = _process(command, COMPILE_SECONDS, scratch)
        return program if done == 0 else None

    def _library(self) -> Path:
        """The C++ library's headers, compiled once."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="flow-mutation-")
            header = Path(self._folder.name) / "library.hpp"
            header.write_text("".join(f"#include <{name}>\n" for name in LIBRARY))
            command = [
                shutil.which("g++") or "g++",
                *self.flags,
                "-x",
                "c++-header",
                str(header),
                "-o",
                f"{header}.gch",
            ]
            assert _process(command, COMPILE_SECONDS, header.parent) == 0, (
                "g++: the C++ library does not compile"
            )
        return Path(self._folder.name) / "library.hpp"

    def _run(self, program: Path, cases: Sequence[Case], scratch: Path) -> Iterator[tuple[Case, Run]]:
        """How each case ended; the first by itself, since it mostly kills."""
        for part in (cases[:1], cases[1:16], cases[16:]):
            folders = []
            for number, case in enumerate(part):
                folder = scratch / str(number)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                (folder / "image").write_bytes(case.image)
                (folder / "input").write_bytes(case.stream)
                folders.append(folder)
            _process([str(program), *map(str, folders)], RUN_SECONDS, scratch)
            for case, folder in zip(part, folders, strict=True):
                status, output, info = ((folder / n) for n in ("status", "output", "output.info"))
                done = int(status.read_text()) if status.exists() else -int(signal.SIGXCPU)
                yield case, Run(_ENDINGS.get(done, ""), done, *map(_content, (output, info)))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _process(command: Sequence[str], seconds: float, scratch: Path) -> int:
    """Exit status; minus the signal's number, SIGXCPU where it took too long."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0,
        env=os.environ | {"TMPDIR": str(scratch)},
    ) as process:  # fmt: skip
        try:
            return process.wait(seconds)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return -int(signal.SIGXCPU)
            raise


_ENDINGS = {
    DEADLOCK: "watchdog", PROTOCOL: "protocol", SANITIZER: "sanitizer", -int(signal.SIGXCPU): "timeout",
    -int(signal.SIGKILL): "timeout", -int(signal.SIGABRT): "assertion", -int(signal.SIGILL): "sanitizer",
}  # fmt: skip


def difference(case: Case, run: Run) -> Verdict:
    """What a run has in common with no good one."""
    words = {name: int.from_bytes(run.info[4 * i : 4 * i + 4], "little") for i, name in enumerate(INFO)}
    faults = (
        (bool(run.how), run.how),
        (run.done not in (0, 1) or not run.info, "crash"),
        (words["status"] != int(case.status) or (run.done == 0) != (case.status is Status.OK), "status"),
        (case.failed_step is not None and words["failed_step"] != case.failed_step, "failed step"),
        (not case.accepts(run.output), "output"),
    )
    how = next((how for wrong, how in faults if wrong), "")
    return Verdict(how, case.name if how else "")
