"""Run a build on samples with one backend and demand that every output bit equals the golden model's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flow.emit.build import Build
from flow.emit.manifest import ARRAYS
from flow.errors import FlowError
from flow.golden import execute
from flow.golden.host import HostProgram, raw_outputs
from flow.golden.samples import Sample, Samples
from flow.ir import Array, Graph, Node
from flow.ops.boundary import DeviceOutput
from flow.passes.strip_quantize import StripQuantize, float_value
from flow.sim.compare import Mismatch, count_differences, first_difference, sqnr_db
from flow.sim.cosim import Bench, CoSim
from flow.sim.csim import CSim
from flow.sim.rtl import PATIENCE, QUIET, Rtl, cycles_json

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""
BACKENDS = ("golden", "csim", "cosim", "rtl")
Device = dict[str, Array]
Known = dict[str, list[Device]]


class Backend(Protocol):
    """Something that runs the program: frames in, frames out, and for one frame the tensors after every step."""

    def run(self, frames: Sequence[bytes], lengths: Sequence[int]) -> list[bytes]:
        """Output frames, one for each input frame."""
        ...

    def trace(self, frame: bytes, length: int) -> list[dict[str, Array]]:
        """For each step of the program, the tensors that it wrote, by name."""
        ...


@dataclass
class SimReport:
    """What `flow sim` found. `sqnr` holds, per step, the worst and the mean SQNR in dB against the float model;
    `cycles` what the Verilog engine took (`flow.sim.rtl.cycles_json`)."""

    backend: str
    samples: int
    outputs_compared: int = 0
    mismatches: int = 0
    first_mismatch: Mismatch | None = None
    accuracy: float | None = None
    float_accuracy: float | None = None
    sqnr: dict[str, tuple[float, float]] = field(default_factory=dict)
    outputs: dict[str, Array] = field(default_factory=dict)
    cycles: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object of `flow sim --json`."""
        data: dict[str, Any] = {
            "backend": self.backend,
            "samples": self.samples,
            "outputs_compared": self.outputs_compared,
            "mismatches": self.mismatches,
        }
        if self.first_mismatch is not None:
            data["first_mismatch"] = str(self.first_mismatch)
        if self.accuracy is not None:
            data |= {"accuracy": self.accuracy, "float_accuracy": self.float_accuracy}
        if self.sqnr:
            data["trace"] = {
                step: {"sqnr_db_worst": _finite(low), "sqnr_db_mean": _finite(mean)}
                for step, (low, mean) in self.sqnr.items()
            }
        return data | self.cycles


def _finite(value: float) -> float | None:
    return round(value, 2) if np.isfinite(value) else None


def bench_of(backend: str, seed: int, waves: Path | None = None) -> Bench:
    """How a backend is driven by default: cosim under random stalls, rtl with the memory's latency alone, since its
    cycles are counted."""
    if backend == "rtl":
        return Bench(seed, QUIET, PATIENCE, waves)
    return Bench(seed, waves=waves)


def simulate(
    build: Build,
    backend: str,
    samples: Samples,
    *,
    trace: bool = False,
    vitis_include: Path | None = None,
    bench: Bench | None = None,
    progress: Progress | None = None,
    known: Known | None = None,
) -> SimReport:
    """Run every sample through golden and through `backend`, and compare.

    `known` keeps golden outputs from one call to the next, for those who simulate one model again and again.

    Raises:
        FlowError: unknown backend or bad samples. ToolError: the backend's tools are missing or failed.
    """
    if backend not in BACKENDS:
        raise FlowError(f"--backend: found {backend!r}; expected one of {', '.join(BACKENDS)}")
    tell = progress or (lambda *_: None)
    program, graph = build.program, build.graph
    host = HostProgram.of(graph, program.tokens)
    report = SimReport(backend, len(samples.samples))
    device: Backend | None = None
    rtl: Rtl | None = None
    if backend == "csim":
        device = CSim(build, vitis_include)
    elif backend == "cosim":
        device = CoSim(build, bench or bench_of(backend, 0))
    elif backend == "rtl":
        device = rtl = Rtl(build, bench or bench_of(backend, 0))
    key = _content(build, samples.samples) if known is not None else ""
    golden = known[key] if known and key in known else _golden(graph, samples.samples, tell)
    if known is not None:
        known[key] = golden
    if device is not None:
        _compare(report, device, host, build, samples.samples, golden, tell)
    if rtl is not None and rtl.cycles is not None:
        report.cycles = cycles_json(rtl.cycles, build)
    report.outputs = _collect(graph, samples.samples, golden, host)
    if samples.labels is not None:
        _score(report, build, samples, tell)
    if trace:
        report.sqnr = _trace(build, samples.samples, tell)
    return report


def _content(build: Build, samples: Sequence[Sample]) -> str:
    """A hash of all that golden outputs depend on."""
    files = build.manifest["files"]
    digest = hashlib.sha256("".join(files[name] for name in ("graph.json", ARRAYS)).encode())
    for sample in samples:
        for name, array in sorted(sample.items()):
            digest.update(
                f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()
            )
    return digest.hexdigest()


def _golden(graph: Graph, samples: Sequence[Sample], tell: Progress) -> list[Device]:
    """Device outputs by key, for each sample."""
    keys = {node.name: node.op.key for node in graph if isinstance(node.op, DeviceOutput)}
    results = []
    for index, sample in enumerate(samples):
        found = _observed(graph, sample, keys)
        results.append({key: found[name] for name, key in keys.items()})
        tell("golden", index + 1, len(samples))
    return results


def _observed(graph: Graph, sample: Sample, names: Container[str]) -> dict[str, Array]:
    """First results of the named nodes on one sample."""
    found: dict[str, Array] = {}

    def observe(node: Node, values: tuple[Array, ...]) -> None:
        if node.name in names:
            found[node.name] = np.asarray(values[0])

    execute(graph, sample, observe)
    return found


def _compare(
    report: SimReport,
    device: Backend,
    host: HostProgram,
    build: Build,
    samples: Sequence[Sample],
    golden: Sequence[Device],
    tell: Progress,
) -> None:
    program = build.program
    lengths = [host.length(sample) for sample in samples]
    frames = [
        program.frame(host.before(sample), length) for sample, length in zip(samples, lengths, strict=True)
    ]
    tell(report.backend, 0, len(samples))
    results = device.run(frames, lengths)
    if len(results) != len(frames):
        raise FlowError(f"{report.backend}: found {len(results)} output frames; expected {len(frames)}")
    for index, (data, length, expected) in enumerate(zip(results, lengths, golden, strict=True)):
        if len(data) != program.output_bytes(length):
            raise FlowError(
                f"{report.backend}: found {len(data)} bytes in output frame {index}; "
                f"expected {program.output_bytes(length)}"
            )
        found = {
            port.name: tensor
            for port, tensor in zip(program.outputs, program.read_frame(data, length).values(), strict=True)
        }
        compared, differing = count_differences(expected, found)
        report.outputs_compared += compared
        report.mismatches += differing
        if differing and report.first_mismatch is None:
            report.first_mismatch = _locate(
                build, device, index, samples[index], frames[index], length
            ) or _first(index, expected, found)
        tell(report.backend, index + 1, len(samples))


def _first(index: int, golden: Device, found: Mapping[str, Array]) -> Mismatch | None:
    differences = (first_difference(index, "output", key, golden[key], found[key]) for key in golden)
    return next((d for d in differences if d is not None), None)


def _locate(
    build: Build, device: Backend, index: int, sample: Sample, frame: bytes, length: int
) -> Mismatch | None:
    """The first step whose tensors differ from golden: rows at or beyond the length are nobody's."""
    expected = _observed(build.graph, sample, {node.name for node in build.graph})
    for step, tensors in zip(build.program.steps, device.trace(frame, length), strict=True):
        for name, found in tensors.items():
            rows = min(len(expected[name]), length)
            different = first_difference(index, step, name, expected[name][:rows], found[:rows])
            if different is not None:
                return different
    return None


def _collect(
    graph: Graph, samples: Sequence[Sample], golden: Sequence[Device], host: HostProgram
) -> dict[str, Array]:
    """Stacked outputs: real ones under their names, raw integers under `NAME__int`."""
    real = [host.after(device, sample) for device, sample in zip(golden, samples, strict=True)]
    stacked: dict[str, Array] = {
        name: np.stack([_unbatched(r[name]) for r in real]).astype(np.float32) for name in graph.outputs
    }
    for name, key in raw_outputs(graph).items():
        stacked[f"{name}__int"] = np.stack([device[key] for device in golden])
    return stacked


def _unbatched(array: Array) -> Array:
    """One sample's output without its batch of 1; what has none stays as it is."""
    return array[0] if array.ndim and array.shape[0] == 1 else array


def _float_model(build: Build) -> Graph:
    """The float graph that the build's QDQ graph was made from; it takes the same inputs."""
    graph = StripQuantize()(build.reference)
    graph.prune([n.name for n in graph if n.op.name == "input"])
    return graph


def _score(report: SimReport, build: Build, samples: Samples, tell: Progress) -> None:
    """Top-1 accuracy of the first output, and of the float model on the same samples."""
    assert samples.labels is not None
    name = next(iter(build.graph.outputs))
    reference = _float_model(build)
    floats = []
    for index, sample in enumerate(samples.samples):
        floats.append(execute(reference, sample)[name])
        tell("float", index + 1, len(samples.samples))
    report.accuracy = _accuracy(report.outputs[name], samples.labels)
    report.float_accuracy = _accuracy(np.concatenate(floats), samples.labels)


def _accuracy(scores: Array, labels: Array) -> float:
    return float((scores.argmax(axis=-1) == labels).mean())


def _trace(build: Build, samples: Sequence[Sample], tell: Progress) -> dict[str, tuple[float, float]]:
    """(worst, mean) SQNR of every integer tensor that has a counterpart in the float model."""
    graph, reference, real_graph = build.graph, build.reference, _float_model(build)
    pairs = {
        node.name: value.node
        for node in graph
        if (value := float_value(reference, node.name.removesuffix("_wide"))) is not None
        and value.node in real_graph
        and node.type.scale is not None
    }
    scores: dict[str, list[float]] = {name: [] for name in pairs}
    host = HostProgram.of(graph, build.program.tokens)
    wanted = frozenset(pairs.values())
    for index, sample in enumerate(samples):
        real, integers = _observed(real_graph, sample, wanted), _observed(graph, sample, pairs)
        length = host.length(sample)
        for name, counterpart in pairs.items():
            kind = graph[name].type
            rows = min(len(integers[name]), length)
            dequantised = (integers[name][:rows].astype(np.float64) - kind.zero_point) * (kind.scale or 1.0)
            scores[name].append(sqnr_db(real[counterpart][:rows], dequantised))
        tell("trace", index + 1, len(samples))
    return {name: _summary(values) for name, values in scores.items()}


def _summary(decibels: Sequence[float]) -> tuple[float, float]:
    """Worst, and mean over the finite ones: an all-zero tensor is exact or has no signal to compare with."""
    finite = [value for value in decibels if np.isfinite(value)]
    return min(decibels), float(np.mean(finite)) if finite else min(decibels)
