"""The `.pt2` reader: an archive of torch.export to a level-0 `Graph`, with zipfile, json and numpy alone.

Nothing in the file can run: no pickle, no `torch.export.load`, no evaluation of symbolic expressions, no import
of torch. Everything that keeps the program from being lowered is collected and raised once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from flow.errors import FlowError, UnsupportedError, raise_all
from flow.frontend import schema
from flow.frontend.archive import Archive
from flow.frontend.functional import Names, functional, stale_fault, write_fault
from flow.frontend.naming import input_names, output_names
from flow.frontend.program import Call, Name, Scope, flatten
from flow.frontend.quantized import operator
from flow.frontend.storage import Storage
from flow.frontend.tensors import expression, tensor_type
from flow.ir import Array, Graph, Op, TensorType, Value
from flow.ops.aten import Aten, Ref
from flow.ops.aten_schema import DEFAULTS
from flow.ops.source import Constant, Input

_REMEDY = "write the file again with torch.export.save"


def read_pt2(path: str | Path) -> Graph:
    """The exported program as a graph of `Input`, `Constant`, `Aten`, `Quantize` and `Dequantize` nodes.

    Only what the outputs depend on is read: stored tensors that nobody uses are never touched. Every call carries all
    arguments of its schema, defaults included. Inputs are named as in the model's signature, outputs as in its result:
    dict keys and field names, else `output` or `output_0`, `output_1` …

    Raises:
        FlowError: the file is damaged, hostile, or not a `.pt2` of a supported version.
        UnsupportedError: lists everything in the program that no accelerator can be made from.
    """
    with Archive(Path(path)) as archive:
        model = _model(archive)
        where = f"{archive.path}: {model}"
        program = schema.read_program(archive.document(model), where).graph_module
        signature = program.module_call_graph[0].signature if program.module_call_graph else None
        if signature is None:
            raise FlowError(f"{where}: found no call signature; expected one; {_REMEDY}")
        name = Path(model).stem
        return _Reader(archive, where, program, signature, Storage(archive, name), Graph(name)).read()


def _model(archive: Archive) -> str:
    """The member that holds the program."""
    path = archive.path
    if "archive_format" not in archive or archive.read("archive_format", 64).strip() != b"pt2":
        raise FlowError(
            f"{path}: found a zip archive that is no .pt2; expected archive_format pt2; {_REMEDY}"
        )
    if "byteorder" in archive and archive.read("byteorder", 64).strip() != b"little":
        raise FlowError(
            f"{path}: found big-endian tensors; expected little-endian ones; export on another machine"
        )
    models = [m for m in archive if m.startswith("models/") and m.endswith(".json") and m.count("/") == 1]
    if len(models) != 1:
        raise FlowError(f"{path}: found {len(models)} programs; expected one; {_REMEDY}")
    return models[0]


class _MissingError(Exception):
    """An operand comes from a call that was refused; the refusal is reported, this call is not."""


@dataclass
class _Reader:
    archive: Archive
    where: str
    program: schema.ModuleRecord
    signature: schema.CallSignature
    storage: Storage
    graph: Graph
    stored: dict[str, tuple[str, TensorType]] = field(default_factory=dict)
    """Key and type of every parameter, buffer and constant, by graph name."""
    constants: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """Results of refused calls, and of those that depend on them."""

    def read(self) -> Graph:
        self._refuse_dynamic()
        inputs = self._bind_inputs()
        calls, scope = flatten(self.program.graph)
        kept = {name: (key, kind.dtype) for name, (key, kind) in self.stored.items()}
        pure, names = functional(calls, {**kept, **inputs})
        outputs, faults = self._outputs(scope, names)
        failed = self._emit_all(_live(pure, outputs.values()))
        alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for call in failed:
            alike[call.target, call.fault].append(call.where)
        lines = [f"{', '.join(where)} ({target}): {fault}" for (target, fault), where in alike.items()]
        raise_all(
            UnsupportedError,
            f"{self.archive.path}: found what cannot be lowered; expected a static program without side effects",
            [*lines, *faults],
        )
        for key, value in outputs.items():
            self.graph.set_output(
                key, self._value(value.text) if isinstance(value, Name) else self._number(key, value)
            )
        return self.graph

    # -- inputs and stored tensors -----------------------------------------------------------------------------

    def _refuse_dynamic(self) -> None:
        faults = []
        for kind, spec in self._specs(self.program.signature.input_specs):
            if kind != "user_input":
                continue
            name = spec.tensor(self.where)
            meta = self.program.graph.tensor_values.get(name)
            faults += [
                f"input {name}: found axis {axis} of size {expression(size)}; expected a number"
                for axis, size in enumerate(meta.sizes if meta else [])
                if "as_expr" in size
            ]
        raise_all(
            UnsupportedError,
            f"{self.archive.path}: found dynamic shapes; expected static ones; "
            "export with an example of the right size, without dynamic_shapes",
            faults,
        )

    def _bind_inputs(self) -> dict[str, tuple[str, str]]:
        """Note all stored tensors and add all input nodes; returns how messages name these, and element types."""
        users: list[str | None] = []
        for kind, spec in self._specs(self.program.signature.input_specs):
            if kind == "constant_input":
                users.append(None)
            elif kind == "user_input":
                users.append(spec.tensor(self.where))
            elif kind in ("parameter", "buffer", "tensor_constant"):
                name = spec.tensor(self.where)
                self.stored[name] = (spec.key, self._type(name))
            else:
                raise UnsupportedError(
                    f"{self.where}: found an input of kind {kind!r}; expected tensors and numbers; "
                    "export a model without custom objects"
                )
        tree = schema.read_tree(self.signature.in_spec, self.where)
        known = input_names(tree, self.signature.forward_arg_names, self.program.treespec_namedtuple_fields)
        if len(known) != len(users):
            raise FlowError(
                f"{self.where}: found {len(users)} inputs for {len(known)} arguments; expected as many; {_REMEDY}"
            )
        tensors = {user: key or user for user, key in zip(users, known, strict=True) if user is not None}
        if len(set(tensors.values())) != len(users) - users.count(None):
            shown = ", ".join(tensors.values())
            raise FlowError(f"{self.where}: found the inputs {shown}; expected no name twice; {_REMEDY}")
        types = {user: self._type(user) for user in tensors}
        for user, key in tensors.items():
            self.values[user] = self.graph.add(key, Input(key, types[user]))
        return {user: (f"input {key}", types[user].dtype) for user, key in tensors.items()}

    def _specs(self, unions: list[schema.Union]) -> Iterator[tuple[str, schema.Spec]]:
        """Kind and body of each input or output specification."""
        for union in unions:
            kind, body = schema.only(union, self.where)
            constant = kind == "constant_input"
            yield kind, schema.Spec() if constant else schema.convert(body, schema.Spec, self.where)

    def _type(self, name: str) -> TensorType:
        if name not in self.program.graph.tensor_values:
            raise FlowError(f"{self.where}: {name}: found no type; expected a tensor; {_REMEDY}")
        try:
            return tensor_type(self.program.graph.tensor_values[name])
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.where}: {name}: {error}; {_REMEDY}") from error

    def _constant(self, name: str) -> Array | None:
        """The stored tensor behind a name, read on first use; None if it is computed."""
        if name in self.stored and name not in self.constants:
            self.constants[name] = self.storage.load(*self.stored[name])
        return self.constants.get(name)

    def _value(self, name: str) -> Value:
        """The graph value of a name; stored tensors become nodes on first use."""
        if name in self.refused:
            raise _MissingError
        if name not in self.values:
            array = self._constant(name)
            if array is None:
                raise FlowError(f"{self.where}: found no tensor {name!r}; expected one; {_REMEDY}")
            key, _ = self.stored[name]
            self.values[name] = self.graph.add(key, Constant(array, key))
        return self.values[name]

    def _number(self, key: str, value: Any) -> Value:
        return self.graph.add(key, Constant(np.asarray(value), key))

    # -- results -----------------------------------------------------------------------------------------------

    def _outputs(self, scope: Scope, names: Names) -> tuple[dict[str, Any], list[str]]:
        """The `Name` of the tensor, or the number, behind each output; and what is wrong with them."""
        found: list[tuple[str, Any]] = []
        faults = []
        for kind, spec in self._specs(self.program.signature.output_specs):
            if kind != "user_output":
                faults.append(f"output ({kind}): {write_fault(spec.key or 'state')}")
                continue
            form, value = schema.only(spec.arg or {}, self.where)
            if form == "as_tensor":
                name = scope[spec.tensor(self.where)]
                if name in names.stale:
                    faults.append(f"output {name}: {stale_fault(names.stale[name])}")
                value = Name(names.current.get(name, name))
            elif form not in ("as_none", "as_int", "as_float", "as_bool"):
                faults.append(
                    f"output {len(found)}: found a value of kind {form!r}; expected tensors and numbers"
                )
            found.append((form, value))
        tree = schema.read_tree(self.signature.out_spec, self.where)
        keys = output_names(tree, self.program.treespec_namedtuple_fields)
        if len(keys) != len(found):
            raise FlowError(
                f"{self.where}: found {len(found)} outputs for {len(keys)} names; expected as many; {_REMEDY}"
            )
        outputs = [(key, value) for key, (form, value) in zip(keys, found, strict=True) if form != "as_none"]
        if not outputs or len(dict(outputs)) != len(outputs):
            shown = ", ".join(key for key, _ in outputs) or "none"
            raise FlowError(
                f"{self.where}: found the outputs {shown}; expected at least one and no name twice; {_REMEDY}"
            )
        return dict(outputs), faults

    # -- calls -------------------------------------------------------------------------------------------------

    def _emit_all(self, calls: list[Call]) -> list[Call]:
        """Add the calls to the graph; returns those that were refused, each with its fault."""
        failed = []
        for call in calls:
            try:
                if call.fault:
                    raise UnsupportedError(call.fault)
                self._emit(call)
            except UnsupportedError as error:
                failed.append(replace(call, fault=str(error)))
                self.refused.update(call.results)
            except _MissingError:
                self.refused.update(call.results)
        return failed

    def _emit(self, call: Call) -> None:
        if call.target.startswith("quantized_decomposed."):
            op, source = operator(call, self._constant)
            value = self._value(source)
            # Quantizers lose their module; they belong to the value that they quantize.
            self._add(call, op, [value], call.module or self.graph[value.node].module)
        elif call.target in _SPLITS:
            self._split(call)
        elif call.target in _COPIES and (array := self._constant(call.first)) is not None:
            self.values[call.results[0]], self.constants[call.results[0]] = self._value(call.first), array
        else:
            operands = iter(range(len(call.tensors)))
            arguments = {key: _referred(value, operands) for key, value in call.arguments.items()}
            aten = Aten(call.target, {**DEFAULTS.get(call.target, {}), **arguments}, call.types)
            self._add(call, aten, [self._value(name) for name in call.tensors], call.module)

    def _add(self, call: Call, op: Op, operands: list[Value], module: str) -> None:
        node = self.graph.add(call.results[0], op, operands, module)
        for i, result in enumerate(call.results):
            self.values[result] = Value(node.node, i)

    def _split(self, call: Call) -> None:
        """`split`, `chunk` and `unbind` as one slice for each result, so that every node has one output."""
        source = self._value(call.first)
        shape = self.graph.type_of(source).shape
        dim = call.arguments.get("dim", 0)
        if not isinstance(dim, int) or not -len(shape) <= dim < len(shape):
            raise UnsupportedError(f"found axis {dim!r} of {len(shape)}; expected one of them; {_REMEDY}")
        start = 0
        for i, (result, kind) in enumerate(zip(call.results, call.types, strict=True)):
            if call.target == "aten.unbind.int":
                op = Aten("aten.select.int", {"self": Ref(0), "dim": dim, "index": i}, (kind,))
            elif len(kind.shape) != len(shape):
                raise UnsupportedError(
                    f"found a part of {len(kind.shape)} axes; expected {len(shape)}; {_REMEDY}"
                )
            else:
                end = start + kind.shape[dim]
                bounds = {"dim": dim, "start": start, "end": end, "step": 1}
                op = Aten("aten.slice.Tensor", {"self": Ref(0), **bounds}, (kind,))
                start = end
            self.values[result] = self.graph.add(result, op, [source], call.module)


_COPIES = frozenset({"aten.alias.default", "aten.detach.default", "aten.lift_fresh_copy.default"})
"""What `torch.tensor(…)` in a forward function leaves around its constant."""

_SPLITS = frozenset(
    {
        "aten.chunk.default",
        "aten.split.Tensor",
        "aten.split.sizes",
        "aten.split_with_sizes.default",
        "aten.tensor_split.indices",
        "aten.tensor_split.sections",
        "aten.unbind.int",
        "aten.unsafe_chunk.default",
        "aten.unsafe_split.Tensor",
    }
)


def _referred(value: Any, operands: Iterator[int]) -> Any:
    """An argument with a `Ref` for each tensor, numbered in order."""
    if isinstance(value, Name):
        return Ref(next(operands))
    return tuple(_referred(item, operands) for item in value) if isinstance(value, tuple) else value


def _live(calls: list[Call], outputs: Iterable[Any]) -> list[Call]:
    """The calls that some output depends on, in order; a refused write counts, since it would outlive the call."""
    needed = {output.text for output in outputs if isinstance(output, Name)}
    live = []
    for call in reversed(calls):
        if call.lasting or not needed.isdisjoint(call.results):
            live.append(call)
            needed.update(call.tensors)
    return live[::-1]
