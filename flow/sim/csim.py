"""`flow sim --backend csim`: the C++ that lies in a build, on the build's program."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from flow.emit.build import Build
from flow.emit.lower import lay_out
from flow.engine import Program, Space
from flow.errors import FlowError
from flow.ir import Array
from flow.passes.lay_out import Layout, Placed
from flow.sim.diagnostics import Origins
from flow.sim.kernel import Kernel, check_status, compile_kernel, run_frames
from flow.sim.memories import Memories

DATA = frozenset("data page weights weight_beats table exp constants0 constants1".split())
"""Words that say where data lie in the image: other code tables over the same weights may move them."""


def _places(program: Program) -> list[tuple[int, dict[str, int]]]:
    """The records without the offsets of their data: what decides where tensors lie.

    A record read back from an image names its opcode among its words, and words of 0; one that is laid out does not.
    """
    left_out = {*DATA, "opcode"}
    return [
        (r.opcode, {name: word for name, word in r.words.items() if name not in left_out and word})
        for r in program.records
    ]


class CSim:
    """A build's kernel, compiled, and its program."""

    def __init__(self, build: Build, vitis_include: Path | None = None) -> None:
        names = [
            name
            for name in build.manifest["files"]
            if name.startswith("hls/") and name.endswith((".hpp", ".cpp", ".h"))
        ]
        files = {name.removeprefix("hls/"): build.read(name) for name in names}
        self._build = build
        self._kernel = Kernel(build.engine, compile_kernel(files, vitis_include, Origins.of(build)))

    @cached_property
    def _layout(self) -> Layout:
        return lay_out(self._build.graph, self._build.engine)

    def run(self, frames: Sequence[bytes], lengths: Sequence[int]) -> list[bytes]:
        """Output frames, one for each input frame.

        Raises:
            ToolError: see `run_frames`.
        """
        return run_frames(self._build.program, frames, lengths, self._kernel)

    def trace(self, frame: bytes, length: int) -> list[dict[str, Array]]:
        """For each step of the program, the tensors that it wrote, by name, as integers [tokens, C].

        Raises:
            ToolError: the simulation failed. FlowError: the build's program is not the one that its graph gives.
        """
        program = self._build.program
        if _places(self._layout.program) != _places(program):
            raise FlowError(
                f"{self._build.path}: found step records that its graph does not give; "
                "expected what `flow lower` wrote; lower again"
            )
        outcome, dumps = self._kernel.trace(program.image, frame)
        check_status(outcome, program.steps)
        return [self._tensors(placed, dump) for placed, dump in zip(self._layout.placed, dumps, strict=True)]

    def _tensors(self, placed: Placed, dump: Memories) -> dict[str, Array]:
        graph, orders = self._build.graph, self._layout.orders
        found: dict[str, Array] = {}
        for value, place in placed.writes:
            kind, order = graph.type_of(value), orders[value]
            if place.space is Space.VALUES:
                heads = int(order.physical.max()) // order.pitch + 1
                tensor = dump.read_values(place.base, kind.shape[0], heads, order.pitch, order.physical)
            else:
                planes = 2 if kind.bits > 8 else 1
                tensor = dump.read_tensor(
                    place.space,
                    place.base,
                    order.depth,
                    planes,
                    kind.shape[0],
                    order.physical,
                    signed=kind.signed,
                )
            found[value.node] = tensor
        return found
