"""Another pattern set for a build: other code tables over the same stored weights and codes.

A code names a subset of columns through its table, and the table is data: rewriting a code page moves the stored
weights of a matrix to other columns, without a change of weights, codes, records or engine. That is run-time
switching between pattern sets (RT3, "Dancing along Battery: Enabling Transformer with Run-time Reconfigurability on
Mobile Devices", DAC 2021). A driver writes `Switched.patches` over the loaded image between two RUN commands; LOAD is
not needed again. `write_build` of the files gives a build whose golden model has the weights that the tables imply.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from flow.emit.build import Build, manifest_of, tree_of
from flow.emit.chip import chip_presets
from flow.emit.lower import sim_files
from flow.emit.report import OTHERS, matrix_of
from flow.engine import Opcode, Program, Record
from flow.errors import FlowError, raise_all
from flow.formats import CodePage, EncodedMatrix, GroupShape, decode, unpack
from flow.ir import Array, Graph, Node, verify
from flow.ops.float import FloatLinear
from flow.ops.linear import Linear
from flow.ops.quant import Dequantize
from flow.ops.source import Constant
from flow.passes.fuse_steps import FuseSteps, Step
from flow.passes.order_channels import OrderChannels


@dataclass(frozen=True)
class LoadedPage:
    """A code page in the image of a program: its byte offset, its contents, and the steps that read it."""

    offset: int
    page: CodePage
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Switched:
    """A build with other tables: `write_build(destination, files, manifest)` puts it on disk.

    `patches` are the (byte offset, bytes) in which the two memory images differ.
    """

    files: Mapping[str, bytes]
    manifest: Mapping[str, Any]
    patches: tuple[tuple[int, bytes], ...]


def code_pages(program: Program) -> tuple[LoadedPage, ...]:
    """The code pages of a program in the order of its steps. Matrices of equal shapes and tables share one."""
    readers: dict[int, list[str]] = {}
    for name, record in _linears(program):
        readers.setdefault(record.words["page"] * program.engine.beat_bytes, []).append(name)
    return tuple(
        LoadedPage(offset, _read_page(program, offset), tuple(dict.fromkeys(names)))
        for offset, names in readers.items()
    )


def switch_tables(build: Build, pages: Mapping[str, CodePage]) -> Switched:
    """The build with the code pages of the named steps replaced; nothing else in its image changes.

    A page must have the shapes of the one that it replaces: V, K, stride and number of entries; its entries are
    K-subsets of 0..V-1, in the order of the codes. Steps that share a page are switched together.

    Raises:
        FlowError: lists every page that does not fit, or that would put weights on padding or two on one column.
    """
    switch = _Switch(build, pages)
    raise_all(
        FlowError,
        f"{build.path}: found code pages that its weights cannot use; expected the shapes of the pages in force; "
        "correct the tables",
        switch.faults(),
    )
    return switch.run()


def _linears(program: Program) -> Iterator[tuple[str, Record]]:
    for name, record in zip(program.steps, program.records, strict=True):
        if record.opcode is Opcode.LINEAR:
            yield name, record


def _read_page(program: Program, offset: int) -> CodePage:
    """A page says its length in its first word."""
    shapes, entries = (int.from_bytes(program.image[offset + i : offset + i + 2], "little") for i in (0, 2))
    return CodePage.unpack(program.image[offset : offset + 8 * (1 + shapes + entries)])


def _form(shape: GroupShape) -> tuple[int, int, int, int]:
    return shape.width, shape.take, shape.stride, shape.entries


def _shown(shape: GroupShape) -> str:
    return f"V={shape.width} K={shape.take} stride={shape.stride} with {shape.entries} entries"


@dataclass
class _Switch:
    """One switch: what the build holds, and the weights that the new tables imply, by step."""

    build: Build
    pages: Mapping[str, CodePage]
    steps: dict[str, Step] = field(init=False)
    before: dict[str, LoadedPage] = field(init=False)
    encoded: dict[str, EncodedMatrix] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = {step.name: step for step in FuseSteps()(self.build.graph)}
        self.before = {name: page for page in code_pages(self.build.program) for name in page.steps}

    def faults(self) -> Iterator[str]:
        """What is wrong with the pages; fills `encoded` and `weights` where nothing is."""
        records = dict(_linears(self.build.program))
        orders = OrderChannels(self.build.engine)(self.build.graph, tuple(self.steps.values()))
        for name, page in self.pages.items():
            old = self.before.get(name)
            fault = self._page_fault(name, page, old)
            if fault is not None:
                yield fault
                continue
            assert old is not None
            encoded = replace(self._stored(records[name], old.page), shapes=page.shapes)
            step = self.steps[name]
            rows, columns = (orders[value].physical for value in (step.writes[0], step.reads[0]))
            try:
                physical = decode(encoded)
            except FlowError:
                physical = np.full((encoded.rows, encoded.columns), -128, np.int8)  # beyond any weight
            logical = physical[np.ix_(rows, columns)]
            most = (1 << (encoded.weight_bits - 1)) - 1
            if np.abs(physical.astype(np.int64)).max(initial=0) > most:
                yield f"{name}: found weights that add up beyond {most} on one column; expected one weight on each"
            elif np.count_nonzero(logical) < np.count_nonzero(physical):
                yield f"{name}: found weights on padding columns; expected them on the {len(columns)} channels"
            else:
                self.encoded[name], self.weights[name] = encoded, logical

    def _page_fault(self, name: str, page: CodePage, old: LoadedPage | None) -> str | None:
        if old is None:
            return f"{name}: found no such step; expected one of {', '.join(self.before)}"
        if [_form(s) for s in page.shapes] != [_form(s) for s in old.page.shapes]:
            found, expected = (" and ".join(map(_shown, p.shapes)) for p in (page, old.page))
            return f"{name}: found {found}; expected {expected}"
        moved = [a for a, b in zip(page.shapes, old.page.shapes, strict=True) if a != b]
        if any(not shape.stride for shape in moved):
            return (
                f"{name}: found another table for groups that share columns; expected one for disjoint groups"
            )
        others = [other for other in old.steps if self.pages.get(other) != page]
        if others:
            return f"{name}: found a page that {', '.join(others)} shares; expected the same new page for all of them"
        return None

    def _stored(self, record: Record, page: CodePage) -> EncodedMatrix:
        words, engine = record.words, self.build.engine
        first, last = (
            engine.beat_bytes * b for b in (words["weights"], words["weights"] + words["weight_beats"])
        )
        return unpack(
            self.build.program.image[first:last],
            page,
            rows=words["row_groups"] * engine.rows,
            banks=engine.banks,
            depth=words["depth"],
            rows_per_group=engine.rows,
            weight_bits=words["weight_bits"],
            beat_bytes=engine.beat_bytes,
        )[0]

    def run(self) -> Switched:
        """Write the new pages, and make graphs, bench frames and report agree with them."""
        build, program = self.build, self.build.program
        image, patches = bytearray(program.image), []
        for page in code_pages(program):
            data = self.pages[page.steps[0]].pack(8) if page.steps[0] in self.pages else b""
            if data != program.image[page.offset : page.offset + len(data)]:
                image[page.offset : page.offset + len(data)] = data
                patches.append((page.offset, data))
        program = replace(program, image=bytes(image))
        graph, reference = build.graph.copy(), build.reference.copy()
        for name, weight in self.weights.items():
            linear = self.steps[name].nodes[0]
            _exchange_reference(reference, linear, weight)
            assert isinstance(linear.op, Linear)
            graph.replace_op(linear.name, replace(linear.op, weight=weight))
        for changed in (graph, reference):
            changed.prune([node.name for node in changed if node.op.name == "input"])
            verify(changed, after="switch_tables")
        files = {
            **{name: build.read(name) for name in build.manifest["files"]},
            **tree_of(graph, reference, program),
            **sim_files(graph, program),
            **chip_presets(build, program.image),
            "report.json": self._report(graph),
        }
        options = dict(build.manifest["options"])
        options["switched"] = sorted({*options.get("switched", ()), *self.pages})
        info = {"model": build.manifest["model"], "board": build.manifest["board"], "options": options}
        return Switched(files, manifest_of(program, info, files), tuple(patches))

    def _report(self, graph: Graph) -> bytes:
        """The build's report with the switched matrices described anew."""
        data = json.loads(json.dumps(self.build.report))
        steps = {step.name: step for step in FuseSteps()(graph)}
        for at, matrix in enumerate(data["matrices"]):
            if (name := matrix["step"]) in self.encoded:
                data["matrices"][at] = matrix_of(
                    steps[name], self.encoded[name], self.build.engine.beat_bytes
                )
        data["weight_bits"] = {
            key: sum(m["bits"][key] for m in data["matrices"]) for key in ("total", *OTHERS)
        }
        return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _exchange_reference(reference: Graph, linear: Node, weight: Array) -> None:
    """Give the float layer behind an integer one its new integers, at the scales that it has."""
    layer = _float_layer(reference, linear.name.removesuffix("_acc").removesuffix("_wide"))
    source = reference.producer(layer.inputs[1])
    assert isinstance(source.op, Dequantize)
    integers = reference.add(f"{layer.name}_switched", Constant(weight), module=layer.module)
    real = reference.add(f"{layer.name}_switched_d", source.op, [integers], module=layer.module)
    reference.rewire(layer.name, [layer.inputs[0], real, *layer.inputs[2:]])


def _float_layer(reference: Graph, quantize: str) -> Node:
    """The float linear whose result the Quantize node of this name rounds, post stages between them or not."""
    node = reference[quantize]
    while not isinstance(node.op, FloatLinear):
        sources: Sequence[Node] = [reference.producer(v) for v in node.inputs]
        node = next((s for s in sources if isinstance(s.op, FloatLinear)), sources[0])
    return node
