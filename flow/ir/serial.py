"""A graph as node-link JSON plus named arrays, and back.

Arrays are stored once per content, under their hash. Nothing is evaluated on the way back: operators are
looked up in the registry by name, attributes are plain data, and the verifier types the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from flow.errors import FlowError
from flow.ir.graph import Graph, Value
from flow.ir.op import REGISTRY, Array, Op, Ref
from flow.ir.types import TensorType

Arrays = dict[str, Array]


def graph_to_json(graph: Graph, arrays: Arrays) -> dict[str, Any]:
    """Node-link form: `nodes` with op and attributes, `links` with operand and result, `outputs`. Array
    attributes go into `arrays`."""
    nodes, links = [], []
    for node in graph:
        attributes = {k: _encode(v, arrays) for k, v in node.op.attributes().items()}
        nodes.append(
            {
                "id": node.name,
                "op": node.op.name,
                "module": node.module,
                "attributes": attributes,
                "type": [str(t) for t in node.types],
            }
        )
        links += [
            {"source": v.node, "result": v.index, "target": node.name, "operand": i}
            for i, v in enumerate(node.inputs)
        ]
    outputs = {name: [value.node, value.index] for name, value in graph.outputs.items()}
    return {
        "name": graph.name,
        "directed": True,
        "multigraph": True,
        "nodes": nodes,
        "links": links,
        "outputs": outputs,
    }


def graph_from_json(data: Mapping[str, Any], arrays: Mapping[str, Array]) -> Graph:
    """The graph of `graph_to_json`.

    Raises:
        FlowError: the data does not describe a graph of known operators.
    """
    try:
        graph = Graph(data["name"])
        operands: dict[str, dict[int, Value]] = {}
        for link in data["links"]:
            operands.setdefault(link["target"], {})[int(link["operand"])] = Value(
                link["source"], int(link["result"])
            )
        for item in data["nodes"]:
            inputs = operands.get(item["id"], {})
            op = _operator(item["op"], item["attributes"], arrays)
            value = graph.add(item["id"], op, [inputs[i] for i in range(len(inputs))], module=item["module"])
            if value.node != item["id"]:
                raise FlowError(
                    f"graph.json: found node {item['id']!r} twice or misnamed; expected unique names"
                )
        for name, (node, index) in data["outputs"].items():
            graph.set_output(name, Value(node, int(index)))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FlowError(
            f"graph.json: found damaged data ({type(error).__name__}: {error}); expected what `flow lower` "
            "wrote; lower again"
        ) from error
    return graph


def _operator(name: str, attributes: Mapping[str, Any], arrays: Mapping[str, Array]) -> Op:
    cls = REGISTRY.get(name)
    if cls is None:
        raise FlowError(
            f"graph.json: found operator {name!r}; expected one of {', '.join(sorted(REGISTRY))}; is a plug-in missing?"
        )
    wanted = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if set(attributes) != wanted:
        raise FlowError(
            f"graph.json: found attributes {sorted(attributes)} of {name}; expected {sorted(wanted)}; lower again"
        )
    return cls(**{k: _decode(v, arrays) for k, v in attributes.items()})


def _encode(value: Any, arrays: Arrays) -> Any:  # noqa: PLR0911  (one return per kind of value)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        head = f"{array.dtype.str}{array.shape}".encode()
        key = hashlib.sha256(head + array.tobytes()).hexdigest()[:24]
        arrays[key] = array
        return {"$array": key}
    if isinstance(value, Ref):
        return {"$ref": value.operand}
    if isinstance(value, TensorType):
        return {"$type": [list(value.shape), value.dtype, value.scale, value.zero_point]}
    if isinstance(value, tuple):
        return [_encode(v, arrays) for v in value]
    if isinstance(value, Mapping):
        return {"$map": {k: _encode(v, arrays) for k, v in value.items()}}
    if isinstance(value, float) and not np.isfinite(value):
        return {"$float": repr(value)}
    return value


def _decode(value: Any, arrays: Mapping[str, Array]) -> Any:  # noqa: PLR0911  (one return per tag)
    if isinstance(value, list):
        return tuple(_decode(v, arrays) for v in value)
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "$array":
        return arrays[inner]
    if tag == "$ref":
        return Ref(inner)
    if tag == "$type":
        shape, dtype, scale, zero = inner
        return TensorType(tuple(shape), dtype, scale, zero)
    if tag == "$map":
        return {k: _decode(v, arrays) for k, v in inner.items()}
    if tag == "$float":
        return float(inner)
    raise FlowError(
        f"graph.json: found the tag {tag!r}; expected $array, $ref, $type, $map or $float; lower again"
    )
