"""The JSON documents of a `.pt2` archive, as far as a static model needs them.

Mirrors torch's `torch/_export/serde/schema.py`, major version 8: later minor versions only add fields, which are
ignored here. Union types (one key of several, as in `{"as_tensor": {"name": "x"}}`) stay dicts; `only` opens them.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from flow.errors import FlowError

MAJOR = 8
"""The schema version that torch 2.5 and later write; another major means another meaning."""

Union = dict[str, Any]


class Named(msgspec.Struct):
    """A reference to a tensor by its name in the graph."""

    name: str


class TensorMeta(msgspec.Struct):
    """Shape, strides (in elements), offset and type code of a tensor; sizes are `{"as_int": n}` or symbolic."""

    dtype: int
    sizes: list[Union]
    strides: list[Union]
    storage_offset: Union
    layout: int


class NamedArgument(msgspec.Struct):
    """One argument of a call, under its name in the operator's schema."""

    name: str
    arg: Union


class NodeRecord(msgspec.Struct):
    """One call."""

    target: str
    inputs: list[NamedArgument]
    outputs: list[Union]
    metadata: dict[str, str]


class GraphRecord(msgspec.Struct):
    """The program, or the body of a higher-order operator."""

    inputs: list[Union]
    outputs: list[Union]
    nodes: list[NodeRecord]
    tensor_values: dict[str, TensorMeta]
    sym_int_values: dict[str, Union] = {}


class SignatureRecord(msgspec.Struct):
    """What each graph input and output is: parameter, buffer, user input, mutation …"""

    input_specs: list[Union]
    output_specs: list[Union]


class Spec(msgspec.Struct):
    """What one graph input or output is: the tensor (or value) and, for stored ones, the name in the model."""

    arg: Union | None = None
    parameter_name: str | None = None
    buffer_name: str | None = None
    tensor_constant_name: str | None = None
    user_input_name: str | None = None

    @property
    def key(self) -> str:
        """The name in the model, whatever the kind; '' if there is none."""
        names = (self.parameter_name, self.buffer_name, self.tensor_constant_name, self.user_input_name)
        return next((name for name in names if name is not None), "")

    def tensor(self, where: str) -> str:
        """The tensor's name in the graph.

        Raises:
            FlowError: the argument is no tensor.
        """
        argument = self.arg or {}
        return convert(argument.get("as_tensor", argument), Named, where).name


class CallSignature(msgspec.Struct):
    """How the arguments and results nest: JSON texts of tree specifications."""

    in_spec: str
    out_spec: str
    forward_arg_names: list[str] | None = None


class CallEntry(msgspec.Struct):
    """A module and its signature; the first entry, '', is the model."""

    fqn: str
    signature: CallSignature | None = None


class NamedTupleRecord(msgspec.Struct):
    """Field names of a named tuple type."""

    field_names: list[str]


class ModuleRecord(msgspec.Struct):
    """The program with its signature."""

    graph: GraphRecord
    signature: SignatureRecord
    module_call_graph: list[CallEntry]
    treespec_namedtuple_fields: dict[str, NamedTupleRecord] = {}


class SchemaVersion(msgspec.Struct):
    """Version of the format."""

    major: int
    minor: int


class Versioned(msgspec.Struct):
    """The part that every version shares."""

    schema_version: SchemaVersion
    torch_version: str = "unknown"


class Program(msgspec.Struct):
    """`models/<name>.json`."""

    graph_module: ModuleRecord


class PayloadMeta(msgspec.Struct):
    """Where one parameter, buffer or constant is stored."""

    path_name: str
    use_pickle: bool
    tensor_meta: TensorMeta | None = None


class PayloadConfig(msgspec.Struct):
    """`data/weights/<name>_weights_config.json` and its twin for constants."""

    config: dict[str, PayloadMeta]


class TreeSpec(msgspec.Struct):
    """One level of nested arguments or results; `type` is None for a leaf."""

    type: str | None
    context: str | None
    children_spec: list[TreeSpec]


Record = TypeVar("Record")


def parse(document: bytes | str, where: str) -> Any:
    """JSON to plain values.

    Raises:
        FlowError: it is not JSON.
    """
    try:
        return json.loads(document)
    except (ValueError, RecursionError) as error:
        raise FlowError(
            f"{where}: found broken JSON ({error}); expected a file as torch.export.save writes it"
        ) from error


def convert(value: Any, kind: type[Record], where: str) -> Record:
    """Plain values to a record.

    Raises:
        FlowError: a field is missing or of another type; names its path.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise FlowError(f"{where}: found {error}; expected a file as torch.export.save writes it") from error


def only(union: Union, where: str) -> tuple[str, Any]:
    """Kind and value of a union.

    Raises:
        FlowError: it does not hold exactly one.
    """
    if len(union) != 1:
        raise FlowError(
            f"{where}: found {sorted(union)}; expected exactly one kind, as torch.export.save writes it"
        )
    return next(iter(union.items()))


def read_program(document: bytes, where: str) -> Program:
    """`models/<name>.json`, its version checked first.

    Raises:
        FlowError: not JSON, another schema, or another major version.
    """
    plain = parse(document, where)
    version = convert(plain, Versioned, where)
    if version.schema_version.major != MAJOR:
        found = f"schema {version.schema_version.major}.{version.schema_version.minor} of torch {version.torch_version}"
        raise FlowError(
            f"{where}: found {found}; expected schema {MAJOR}; export the model again with torch 2.13"
        )
    return convert(plain, Program, where)


def read_payloads(document: bytes, where: str) -> dict[str, PayloadMeta]:
    """Payloads by parameter or constant name.

    Raises:
        FlowError: not JSON or another schema.
    """
    return convert(parse(document, where), PayloadConfig, where).config


def read_tree(text: str, where: str) -> TreeSpec:
    """The tree specification in `[1, {…}]`.

    Raises:
        FlowError: not JSON, or another version.
    """
    plain = parse(text, where)
    if not isinstance(plain, list) or len(plain) != 2 or plain[0] != 1:
        raise FlowError(
            f"{where}: found another tree format; expected version 1; export the model again with torch 2.13"
        )
    return convert(plain[1], TreeSpec, where)
