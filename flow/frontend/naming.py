"""The names under which users know a model's inputs and outputs, from torch's tree specifications."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flow.frontend.schema import NamedTupleRecord, TreeSpec

Path = tuple[int | str, ...]
Tuples = Mapping[str, NamedTupleRecord]


def input_names(tree: TreeSpec, arguments: Sequence[str] | None, tuples: Tuples) -> list[str | None]:
    """Names of the leaves of (args, kwargs): `x`, or `x.0` and `x.mask` inside a nested argument; None if unknown."""
    names: list[str | None] = []
    for path in leaves(tree, tuples):
        if len(path) < 2:
            names.append(None)
            continue
        kind, key, *rest = path
        if kind == 0 and isinstance(key, int):
            top = arguments[key] if arguments is not None and key < len(arguments) else None
        else:
            top = str(key)
        names.append(None if top is None else ".".join([top, *map(str, rest)]))
    return names


def output_names(tree: TreeSpec, tuples: Tuples) -> list[str]:
    """Names of the leaves of the result: dict keys and field names as they are, `output`, `output_0` … otherwise."""
    names = []
    for path in leaves(tree, tuples):
        top = f"output_{path[0]}" if path and isinstance(path[0], int) else str(path[0]) if path else "output"
        names.append(".".join([top, *map(str, path[1:])]))
    return names


def leaves(tree: TreeSpec, tuples: Tuples) -> list[Path]:
    """Paths of all leaves, in order."""
    if tree.type is None:
        return [()]
    keys = _keys(tree, tuples)
    return [
        (key, *path)
        for key, child in zip(keys, tree.children_spec, strict=True)
        for path in leaves(child, tuples)
    ]


def _keys(tree: TreeSpec, tuples: Tuples) -> Sequence[int | str]:
    """Keys of the children: of a dict or a model output, field names, or positions."""
    count = len(tree.children_spec)
    context = tree.context or "null"
    if context in tuples:
        names: Any = tuples[context].field_names
    else:
        try:
            names = json.loads(context)
        except (ValueError, RecursionError):
            names = None
        if isinstance(names, list) and names and isinstance(names[0], list):
            names = names[0]  # a dataclass: [fields with values, fields that are None]
    if isinstance(names, list) and len(names) == count:
        return [str(name) for name in names]
    return range(count)
