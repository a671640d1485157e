"""An exported program as a flat list of calls: regions inlined, arguments as plain values, still in torch's order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flow.errors import UnsupportedError
from flow.frontend.schema import GraphRecord, Named, NodeRecord, Union, convert, only
from flow.frontend.tensors import STRIDED, element_type, tensor_type
from flow.ir import TensorType

MAX_REGIONS = 8
"""Regions (`torch.no_grad()` and the like) inside regions."""


@dataclass(frozen=True)
class Name:
    """Stands in an argument for a tensor."""

    text: str


@dataclass(frozen=True)
class Call:
    """`results = target(arguments)`. `fault` says why it cannot be lowered, or ''; `lasting` calls outlive the run."""

    target: str
    arguments: Mapping[str, Any]
    results: tuple[str, ...]
    types: tuple[TensorType, ...]
    module: str
    fault: str = ""
    lasting: bool = False

    @property
    def where(self) -> str:
        """How messages name the place of this call."""
        return self.module or "/".join(self.results) or "model"

    @property
    def tensors(self) -> list[str]:
        """Names of all tensor arguments, in order."""
        return [name for value in self.arguments.values() for name in names_in(value)]

    @property
    def first(self) -> str:
        """Name of the first tensor argument.

        Raises:
            UnsupportedError: there is none.
        """
        if not self.tensors:
            raise UnsupportedError("found no tensor among its arguments; expected one")
        return self.tensors[0]


def names_in(value: Any) -> list[str]:
    """Names of the tensors in an argument."""
    if isinstance(value, Name):
        return [value.text]
    return [name for item in value for name in names_in(item)] if isinstance(value, tuple) else []


class Scope:
    """Names inside a region to names in the whole program: bound ones as bound, others behind the region's prefix."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.bound: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self.bound.get(name, self.prefix + name)


def flatten(graph: GraphRecord) -> tuple[list[Call], Scope]:
    """All calls in order, and the scope that resolves the names of the graph's outputs.

    Raises:
        FlowError: the graph is not as torch writes it.
    """
    calls: list[Call] = []
    scope = Scope()
    _append(graph, scope, calls, 0)
    return calls, scope


def _append(graph: GraphRecord, scope: Scope, calls: list[Call], depth: int) -> None:
    for node in graph.nodes:
        region = _region(node) if depth < MAX_REGIONS else None
        if region is None:
            calls.append(_call(node, graph, scope))
            continue
        body, operands = region
        results = _results(node)
        inner = Scope(f"{scope.prefix}{'_'.join(results)}.")
        for parameter, operand in zip(body.inputs, operands, strict=True):
            inner.bound[_tensor(parameter, node.target)] = scope[operand]
        _append(body, inner, calls, depth + 1)
        for result, output in zip(results, body.outputs, strict=True):
            scope.bound[result] = inner[_tensor(output, node.target)]


def _region(node: NodeRecord) -> tuple[GraphRecord, list[str]] | None:
    """Body and operands of a region that changes nothing but gradients; None for every other operator."""
    position = {
        "torch.ops.higher_order.wrap_with_set_grad_enabled": 1,
        "torch.ops.higher_order.wrap_with_autocast": 4,
    }.get(node.target)
    if position is None or len(node.inputs) <= position:
        return None
    arguments = [only(argument.arg, node.target) for argument in node.inputs]
    (kind, region), operands = arguments[position], arguments[position + 1 :]
    casts = position == 4 and arguments[2] != ("as_bool", False)
    if kind != "as_graph" or casts or any(operand[0] != "as_tensor" for operand in operands):
        return None
    body = convert(region.get("graph") if isinstance(region, dict) else None, GraphRecord, node.target)
    if len(operands) != len(body.inputs) or len(_results(node)) != len(body.outputs):
        return None
    return body, [_name(value, node.target) for _, value in operands]


def _call(node: NodeRecord, graph: GraphRecord, scope: Scope) -> Call:
    target = node.target.removeprefix("torch.ops.")
    faults = []
    if any(only(output, target)[0] not in ("as_tensor", "as_tensors") for output in node.outputs):
        faults.append(
            "found a result that is no tensor; expected sizes and branches that are fixed at export; "
            "compute them from shapes, not from data"
        )
    arguments: dict[str, Any] = {}
    for position, argument in enumerate(node.inputs):
        name = argument.name or str(position)
        try:
            arguments[name] = _value(argument.arg, scope)
        except UnsupportedError as error:
            faults.append(f"argument {name}: {error}")
    results = _results(node)
    types = []
    for result in results:
        try:
            types.append(tensor_type(graph.tensor_values[result]))
        except KeyError:
            faults.append(f"result {result}: found no type; expected a tensor")
        except UnsupportedError as error:
            faults.append(f"result {result}: {error}")
    fault = refusal(target, arguments) or (faults[0] if faults else "")
    names = tuple(scope[result] for result in results)
    return Call(target, arguments, names, tuple(types), module_path(node.metadata), fault)


def module_path(metadata: Mapping[str, str]) -> str:
    """The innermost module that a call came from: `encoder.layers.0.self_attn`, '' for the model itself.

    `nn_module_stack` reads `key,path,type;key,path,type`; a module that is called again carries `@1` and so on.
    """
    innermost = metadata.get("nn_module_stack", "").rpartition(";")[2].split(",")
    return re.sub(r"@\d+", "", innermost[1]) if len(innermost) > 1 else ""


_FUSED = (
    "found torch's fused inference path; expected its separate operators; export with\n"
    "      torch.backends.mha.set_fastpath_enabled(False)\n"
    "      ep = torch.export.export(model.eval(), (example,), strict=False)"
)
_TRAINING = "found training mode; expected evaluation mode; call model.eval() before torch.export.export"
_RANDOM = "found random numbers; expected a model that computes the same twice; draw them outside the model"
_REFUSED = {
    "aten._transformer_encoder_layer_fwd": _FUSED,
    "aten._native_multi_head_attention": _FUSED,
    "aten.bernoulli": _RANDOM,
    "aten.bernoulli_": _RANDOM,
    "aten.multinomial": _RANDOM,
    "aten.normal": _RANDOM,
    "aten.normal_": _RANDOM,
    "aten.rand": _RANDOM,
    "aten.rand_like": _RANDOM,
    "aten.randint": _RANDOM,
    "aten.randn": _RANDOM,
    "aten.randn_like": _RANDOM,
    "aten.randperm": _RANDOM,
    "aten.uniform_": _RANDOM,
    "higher_order.wrap_with_autocast": (
        "found torch.autocast; expected arithmetic as written; export outside torch.autocast"
    ),
}
_HIGHER_ORDER = (
    "found a branch, loop or other operator on functions; expected straight-line code; take one way at export"
)
_FOREIGN = (
    "found an operator that is not torch's own; expected aten operators; spell it out in torch functions"
)


def refusal(target: str, arguments: Mapping[str, Any]) -> str:
    """Why an operator cannot be lowered by its nature, or ''."""
    operator = target if target.startswith("higher_order.") else target.rpartition(".")[0]
    if operator in _REFUSED:
        return _REFUSED[operator]
    trains = arguments.get("train") or arguments.get("training") or arguments.get("dropout_p")
    if trains and ("dropout" in operator or "dropout_p" in arguments or "norm" in operator):
        return _TRAINING
    if target.startswith("higher_order."):
        return _HIGHER_ORDER
    return "" if target.startswith(("aten.", "quantized_decomposed.")) else _FOREIGN


def _results(node: NodeRecord) -> list[str]:
    """Local names of the tensors that a node makes."""
    names: list[str] = []
    for output in node.outputs:
        kind, value = only(output, node.target)
        if kind == "as_tensor":
            names.append(_name(value, node.target))
        elif kind == "as_tensors":
            names += [item.name for item in convert(value, list[Named], node.target)]
    return names


def _tensor(union: Union, where: str) -> str:
    kind, value = only(union, where)
    return _name(value if kind == "as_tensor" else None, where)


def _name(value: Any, where: str) -> str:
    """The name in `{"name": "x"}`."""
    return convert(value, Named, where).name


_MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
_LISTS = {
    "as_ints": "as_int",
    "as_floats": "as_float",
    "as_bools": "as_bool",
    "as_strings": "as_string",
    "as_int_lists": "as_ints",
    "as_float_lists": "as_floats",
    "as_tensors": "as_tensor",
}


def _value(union: Union, scope: Scope) -> Any:
    """An argument as a plain value.

    Raises:
        UnsupportedError: it is symbolic, or of a kind that no static model needs.
    """
    kind, value = only(union, "argument")
    match kind, value:
        case "as_optional_tensor" | "as_sym_int" | "as_sym_float" | "as_sym_bool", dict():
            if "as_name" in value:
                raise UnsupportedError(
                    "found a dynamic size; expected a number; export without dynamic_shapes"
                )
            return _value(value, scope)
        case "as_optional_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools", list():
            inner = {"as_optional_tensors": "as_optional_tensor"}.get(kind, kind.removesuffix("s"))
            return tuple(_value({inner: item}, scope) for item in value)
        case _, list() if kind in _LISTS:
            return tuple(_value({_LISTS[kind]: item}, scope) for item in value)
        case "as_tensor", dict():
            return Name(scope[_name(value, "argument")])
        case "as_device", dict():
            return str(value.get("type"))
    return _plain(kind, value)


_PLAIN: Mapping[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    "as_none": (lambda _: True, lambda _: None),
    "as_bool": (lambda value: isinstance(value, bool), bool),
    "as_int": (lambda value: isinstance(value, int), int),
    "as_float": (
        lambda value: isinstance(value, (int, float)) or value in ("Infinity", "-Infinity", "NaN"),
        float,
    ),
    "as_string": (lambda value: isinstance(value, str), str),
    "as_scalar_type": (lambda _: True, element_type),
    "as_memory_format": (lambda value: value in list(_MEMORY_FORMATS), lambda value: _MEMORY_FORMATS[value]),
    "as_layout": (lambda value: value == STRIDED, lambda _: "strided"),
}
"""Kinds of plain arguments: which values they may have, and what these are here."""


def _plain(kind: str, value: Any) -> Any:
    """A number, text or constant of torch."""
    if kind not in _PLAIN:
        raise UnsupportedError(f"found a value of kind {kind!r}; expected tensors, numbers and texts")
    accepts, convert_value = _PLAIN[kind]
    if not accepts(value):
        raise UnsupportedError(f"found {str(value)[:40]!r} as {kind!r}; expected a value of that kind")
    return convert_value(value)
