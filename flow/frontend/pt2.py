"""The `.pt2` reader: an archive of torch.export to a level-0 `Graph`, with zipfile, json and numpy alone.

Nothing in the file can run: no pickle, no `torch.export.load`, no evaluation of symbolic expressions, no import
of torch. What the model cannot be lowered with is collected and raised once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
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
from flow.frontend.quantized import HANDLERS
from flow.frontend.tensors import expression, tensor, tensor_type
from flow.ir import Array, Graph, Op, TensorType, Value
from flow.ops.aten import Aten, Ref
from flow.ops.aten_schema import DEFAULTS
from flow.ops.source import Constant, Input

_REMEDY = "write the file again with torch.export.save"
_STATIC = "found dynamic shapes; expected static ones; export with an example of the right size, without dynamic_shapes"


def read_pt2(path: str | Path) -> Graph:
    """The exported program as a graph of `Input`, `Constant`, `Aten`, `Quantize` and `Dequantize` nodes.

    Only what the outputs depend on is read: stored tensors that nobody uses are never touched. Every call carries all
    arguments of its schema, defaults included. Inputs are named as in the model's signature, outputs as in its result:
    dict keys and field names, else `output` or `output_0`, `output_1` …

    Raises:
        FlowError: the file is damaged, hostile, or not a `.pt2` of a supported version.
        UnsupportedError: lists everything in the program that no accelerator can be made from.
    """
    path = Path(path)
    with Archive(path) as archive:
        return _Reader(archive).read()


@dataclass(frozen=True)
class _Stored:
    """A parameter, buffer or constant: its key, and the type that the graph gives it."""

    key: str
    type: TensorType


@dataclass
class _Reader:
    archive: Archive
    graph: Graph = field(default_factory=Graph)
    values: dict[str, Value] = field(default_factory=dict)
    stored: dict[str, _Stored] = field(default_factory=dict)
    payloads: dict[str, tuple[str, schema.PayloadMeta]] = field(default_factory=dict)
    cache: dict[str, bytes] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)

    def read(self) -> Graph:
        model, where = self._model()
        program = schema.read_program(self.archive.document(model), where).graph_module
        signature = program.module_call_graph[0].signature if program.module_call_graph else None
        if signature is None:
            raise FlowError(f"{where}: found no call signature; expected one; {_REMEDY}")
        name = Path(model).stem
        self.graph.name = name
        self._find_payloads(name)
        self._refuse_dynamic(program, where)
        inputs = self._bind_inputs(program, signature, where)
        calls, scope = flatten(program.graph)
        kept = {name: (stored.key, stored.type.dtype) for name, stored in self.stored.items()}
        kept.update((name, (f"input {name}", kind.dtype)) for name, kind in inputs.items())
        pure, names = functional(calls, kept)
        outputs, faults = self._outputs(program, signature, scope, names, where)
        live = _live(pure, [value for _, value in outputs if isinstance(value, str)])
        self._raise([call for call in live if call.fault], faults)
        unsupported = []
        for call in live:
            try:
                self._emit(call)
            except UnsupportedError as error:
                unsupported.append(replace(call, fault=str(error)))
        self._raise(unsupported, [])
        for key, value in outputs:
            self.graph.set_output(
                key, self._value(value) if isinstance(value, str) else self._literal(key, value)
            )
        return self.graph

    def _raise(self, calls: list[Call], faults: list[str]) -> None:
        """Raise for all faults at once; calls with the same one share a line."""
        alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for call in calls:
            alike[call.target, call.fault].append(call.where)
        lines = [f"{', '.join(where)} ({target}): {fault}" for (target, fault), where in alike.items()]
        raise_all(
            UnsupportedError,
            f"{self.archive.path}: found what cannot be lowered; expected a static program without side effects",
            [*lines, *faults],
        )

    # -- what the file holds -----------------------------------------------------------------------------------

    def _model(self) -> tuple[str, str]:
        """The member that holds the program, and how messages name it."""
        path = self.archive.path
        if "archive_format" not in self.archive or self.archive.read("archive_format", 64).strip() != b"pt2":
            raise FlowError(
                f"{path}: found a zip archive that is no .pt2; expected archive_format pt2; {_REMEDY}"
            )
        if "byteorder" in self.archive and self.archive.read("byteorder", 64).strip() != b"little":
            raise FlowError(
                f"{path}: found big-endian tensors; expected little-endian ones; export on another machine"
            )
        models = [
            m for m in self.archive if m.startswith("models/") and m.endswith(".json") and m.count("/") == 1
        ]
        if len(models) != 1:
            raise FlowError(f"{path}: found {len(models)} programs; expected one; {_REMEDY}")
        return models[0], f"{path}: {models[0]}"

    def _find_payloads(self, name: str) -> None:
        for folder in ("constants", "weights"):
            document = f"data/{folder}/{name}_{folder}_config.json"
            if document in self.archive:
                where = f"{self.archive.path}: {document}"
                for key, payload in schema.read_payloads(self.archive.document(document), where).items():
                    self.payloads[key] = (folder, payload)

    def _refuse_dynamic(self, program: schema.ModuleRecord, where: str) -> None:
        faults = []
        for kind, spec in _specs(program.signature.input_specs, where):
            if kind == "user_input":
                name = spec.tensor(where)
                meta = program.graph.tensor_values.get(name)
                for axis, size in enumerate(meta.sizes if meta else []):
                    if "as_expr" in size:
                        faults.append(
                            f"input {name}: found axis {axis} of size {expression(size)}; expected a number"
                        )
        raise_all(UnsupportedError, f"{self.archive.path}: {_STATIC}", faults)

    # -- inputs and stored tensors -----------------------------------------------------------------------------

    def _bind_inputs(
        self, program: schema.ModuleRecord, signature: schema.CallSignature, where: str
    ) -> dict[str, TensorType]:
        """Add all input nodes and note all stored tensors; returns the types of the inputs by graph name."""
        users: list[str | None] = []
        for kind, spec in _specs(program.signature.input_specs, where):
            if kind == "constant_input":
                users.append(None)
            elif kind == "user_input":
                users.append(spec.tensor(where))
            elif kind in ("parameter", "buffer", "tensor_constant"):
                name = spec.tensor(where)
                self.stored[name] = _Stored(spec.key, self._type(program, name, where))
            else:
                raise UnsupportedError(
                    f"{where}: found an input of kind {kind!r}; expected tensors and numbers; "
                    "export a model without custom objects"
                )
        tree = schema.read_tree(signature.in_spec, where)
        known = input_names(tree, signature.forward_arg_names, program.treespec_namedtuple_fields)
        if len(known) != len(users):
            raise FlowError(
                f"{where}: found {len(users)} inputs for {len(known)} arguments; expected as many; {_REMEDY}"
            )
        keys = [k or u for k, u in zip(known, users, strict=True)]
        times = Counter(keys)
        types: dict[str, TensorType] = {}
        for user, key in zip(users, keys, strict=True):
            if user is not None and key is not None:
                types[user] = self._type(program, user, where)
                shown = key if times[key] == 1 else user
                self.values[user] = self.graph.add(shown, Input(shown, types[user]))
        return types

    def _type(self, program: schema.ModuleRecord, name: str, where: str) -> TensorType:
        if name not in program.graph.tensor_values:
            raise FlowError(f"{where}: {name}: found no type; expected a tensor; {_REMEDY}")
        try:
            return tensor_type(program.graph.tensor_values[name])
        except UnsupportedError as error:
            raise UnsupportedError(f"{where}: {name}: {error}; {_REMEDY}") from error

    def constant(self, name: str) -> Array | None:
        """The stored tensor of a graph name, read on first use; None if the name is no stored tensor."""
        if name in self.stored and name not in self.constants:
            self.constants[name] = self._load(self.stored[name])
        return self.constants.get(name)

    def _load(self, stored: _Stored) -> Array:
        where = f"{self.archive.path}: tensor {stored.key}"
        if stored.key not in self.payloads:
            raise FlowError(f"{where}: found no data; expected a payload; {_REMEDY}")
        folder, payload = self.payloads[stored.key]
        if payload.use_pickle or payload.tensor_meta is None:
            raise FlowError(
                f"{where}: found a pickled payload, which could run code; expected raw data; "
                "export a model of plain tensors, without tensor subclasses"
            )
        if payload.path_name in ("", ".", "..") or "/" in payload.path_name or "\\" in payload.path_name:
            raise FlowError(
                f"{where}: found the payload name {payload.path_name!r}; expected a plain name; {_REMEDY}"
            )
        member = f"data/{folder}/{payload.path_name}"
        if member not in self.cache:
            self.cache[member] = self.archive.read(member)
        array = tensor(payload.tensor_meta, self.cache[member], where)
        if array.shape != stored.type.shape or str(array.dtype) != stored.type.dtype:
            found = TensorType(tuple(array.shape), str(array.dtype))
            raise FlowError(f"{where}: found {found}; expected {stored.type}, as the program says; {_REMEDY}")
        return array

    def _value(self, name: str) -> Value:
        """The graph value of a name; stored tensors become nodes on first use."""
        if name not in self.values:
            array = self.constant(name)
            if array is None:
                raise FlowError(f"{self.archive.path}: found no tensor {name!r}; expected one; {_REMEDY}")
            key = self.stored[name].key
            self.values[name] = self.graph.add(key, Constant(array, key))
        return self.values[name]

    def _literal(self, key: str, value: Any) -> Value:
        return self.graph.add(key, Constant(np.asarray(value), key))

    # -- results -----------------------------------------------------------------------------------------------

    def _outputs(
        self,
        program: schema.ModuleRecord,
        signature: schema.CallSignature,
        scope: Scope,
        names: Names,
        where: str,
    ) -> tuple[list[tuple[str, Any]], list[str]]:
        """Output names with the tensor name (a str) or the number behind each, and what is wrong with them."""
        found: list[Any] = []
        faults: list[str] = []
        for kind, spec in _specs(program.signature.output_specs, where):
            if kind != "user_output":
                faults.append(f"output ({kind}): {write_fault(spec.key or 'state')}")
                continue
            form, result = schema.only(spec.arg or {}, where)
            if form == "as_tensor":
                name = scope[spec.tensor(where)]
                if name in names.stale:
                    faults.append(f"output {name}: {stale_fault(names.stale[name])}")
                found.append(names.current.get(name, name))
            else:
                found.append(_Literal(form, result))
        tree = schema.read_tree(signature.out_spec, where)
        keys = output_names(tree, program.treespec_namedtuple_fields)
        if len(keys) != len(found):
            raise FlowError(
                f"{where}: found {len(found)} outputs for {len(keys)} names; expected as many; {_REMEDY}"
            )
        outputs: list[tuple[str, Any]] = []
        for key, value in zip(keys, found, strict=True):
            if isinstance(value, str):
                outputs.append((key, value))
            elif value.kind in ("as_int", "as_float", "as_bool"):
                outputs.append((key, value.value))
            elif value.kind != "as_none":
                faults.append(
                    f"output {key}: found a value of kind {value.kind!r}; expected tensors and numbers"
                )
        if len({key for key, _ in outputs}) != len(outputs) or not outputs:
            shown = ", ".join(key for key, _ in outputs) or "none"
            raise FlowError(
                f"{where}: found the outputs {shown}; expected at least one and no name twice; {_REMEDY}"
            )
        return outputs, faults

    # -- calls -------------------------------------------------------------------------------------------------

    def _emit(self, call: Call) -> None:
        if not call.tensors and call.target in _SPLITS | _COPIES:
            raise UnsupportedError("found no tensor among its arguments; expected one")
        if call.target in _SPLITS:
            self._split(call)
            return
        if call.target in _COPIES and (array := self.constant(call.tensors[0])) is not None:
            self.values[call.results[0]] = self._value(call.tensors[0])
            self.constants[call.results[0]] = array
            return
        op: Op
        if call.target.startswith("quantized_decomposed."):
            handler = HANDLERS.get(call.target.removeprefix("quantized_decomposed."))
            if handler is None:
                known = ", ".join(sorted({name.partition(".")[0] for name in HANDLERS}))
                raise UnsupportedError(
                    f"found this form of quantization; expected one of {known}, with static scales"
                )
            op, source = handler(call, self.constant)
            self._add(call, op, [self._value(source)], call.module or self._module_of(source))
            return
        operands = call.tensors
        counter = iter(range(len(operands)))
        arguments = {key: _referred(value, counter) for key, value in call.arguments.items()}
        op = Aten(call.target, {**DEFAULTS.get(call.target, {}), **arguments}, call.types)
        self._add(call, op, [self._value(name) for name in operands], call.module)

    def _module_of(self, name: str) -> str:
        """Quantizers lose their module; they belong to the value that they quantize."""
        return self.graph[self.values[name].node].module if name in self.values else ""

    def _add(self, call: Call, op: Op, operands: list[Value], module: str) -> None:
        node = self.graph.add(call.results[0], op, operands, module)
        for i, result in enumerate(call.results):
            self.values[result] = Value(node.node, i)

    def _split(self, call: Call) -> None:
        """`split`, `chunk` and `unbind` as one slice for each result, so that every node has one output."""
        source = self._value(call.tensors[0])
        shape = self.graph.type_of(source).shape
        dim = call.arguments.get("dim", 0)
        if not isinstance(dim, int) or not -len(shape) <= dim < len(shape):
            raise UnsupportedError(f"found axis {dim!r} of {len(shape)}; expected one of them; {_REMEDY}")
        start = 0
        for i, (result, kind) in enumerate(zip(call.results, call.types, strict=True)):
            if call.target == "aten.unbind.int":
                op = Aten("aten.select.int", {"self": Ref(0), "dim": dim, "index": i}, (kind,))
            elif len(kind.shape) != len(shape):
                raise UnsupportedError(f"found a part of {len(kind.shape)} axes; expected {len(shape)}")
            else:
                end = start + kind.shape[dim]
                where = {"dim": dim, "start": start, "end": end, "step": 1}
                op = Aten("aten.slice.Tensor", {"self": Ref(0), **where}, (kind,))
                start = end
            self.values[result] = self.graph.add(result, op, [source], call.module)


@dataclass(frozen=True)
class _Literal:
    kind: str
    value: Any


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


def _specs(unions: list[schema.Union], where: str) -> Iterator[tuple[str, schema.Spec]]:
    """Kind and body of each input or output specification."""
    for union in unions:
        kind, body = schema.only(union, where)
        if kind == "constant_input":
            yield kind, schema.Spec()
        else:
            yield kind, schema.convert(body, schema.Spec, where)


def _referred(value: Any, counter: Any) -> Any:
    """An argument with a `Ref` for each tensor, numbered in order."""
    if isinstance(value, Name):
        return Ref(next(counter))
    return tuple(_referred(item, counter) for item in value) if isinstance(value, tuple) else value


def _live(calls: list[Call], outputs: list[str]) -> list[Call]:
    """The calls that some output depends on, in order; a refused write counts, since it outlives the call."""
    needed = set(outputs)
    live = []
    for call in reversed(calls):
        if needed.intersection(call.results) or "found a write to" in call.fault:
            live.append(call)
            needed.update(call.tensors)
    return live[::-1]
