"""The weight matrices of a recognised float graph that pruning may touch, and where their channels lie on chip."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.ir import Array, Graph, Node, Value
from flow.ops.float import FloatAdd, FloatAttention, FloatLinear
from flow.ops.source import Constant
from flow.passes.order_channels import by_head, natural
from flow.passes.regions import device_values

Ints = npt.NDArray[np.int64]

_ROLES = ("q", "k", "v")


@dataclass(frozen=True, eq=False)
class Matrix:
    """One weight W[N, C], float32 in logical order.

    `name` is its Constant node, `module` the torch module path that messages and `--include` / `--exclude` globs use
    (with `.q`, `.k`, `.v` behind it where an attention stacks its projections in one parameter), `linears` the nodes
    that read it (several for tied weights). `heads` is the number of heads of the tensor that its columns index (the
    context of an attention), `row_heads` that of the tensor that its rows make (q, k or v); 0 is natural order.
    """

    name: str
    module: str
    linears: tuple[str, ...]
    weight: Array
    heads: int = 0
    row_heads: int = 0

    @property
    def rows(self) -> int:
        """N."""
        return int(self.weight.shape[0])

    @property
    def columns(self) -> int:
        """C."""
        return int(self.weight.shape[1])


def find_matrices(
    graph: Graph, include: Iterable[str] = (), exclude: Iterable[str] = ()
) -> tuple[Matrix, ...]:
    """The constant weights of linears that pruning takes by default, in topological order.

    Left out by default are patch embeddings (linears alone in reading a tensor of the host) and everything behind the
    last residual addition (a classifier head, a pooler). `include` adds those whose `module` (or `name`) a glob
    matches, `exclude`, which wins, removes.

    Raises:
        UnsupportedError: a glob matches nothing, listed all at once; or nothing is left to prune.
    """
    found = {matrix.name: matrix for matrix in all_matrices(graph)}
    body = _Body.of(graph)
    chosen = {name for name in found if all(body.holds(linear) for linear in found[name].linears)}
    unknown = []
    for globs, option in ((tuple(include), "--include"), (tuple(exclude), "--exclude")):
        for glob in globs:
            matched = {
                name for name, m in found.items() if fnmatchcase(m.module, glob) or fnmatchcase(name, glob)
            }
            chosen = chosen | matched if option == "--include" else chosen - matched
            if not matched:
                unknown.append(f"  - {option} {glob}: {_hint(glob, found.values())}")
    if unknown:
        raise UnsupportedError(
            f"{graph.name}: found {len(unknown)} globs that match no matrix; expected module paths of linear "
            "layers; correct them\n" + "\n".join(unknown)
        )
    if not chosen:
        raise UnsupportedError(
            f"{graph.name}: found no matrix to prune; expected linear layers with constant float weights inside "
            "residual branches; name others with --include, and prune before `flow quantize`"
        )
    return tuple(matrix for name, matrix in found.items() if name in chosen)


def all_matrices(graph: Graph) -> tuple[Matrix, ...]:
    """Every constant weight that a linear of the device reads, in topological order of its first reader."""
    readers: dict[str, list[Node]] = {}
    for node in graph:
        if isinstance(node.op, FloatLinear) and isinstance(graph.producer(node.inputs[1]).op, Constant):
            readers.setdefault(node.inputs[1].node, []).append(node)
    names: dict[str, int] = {}
    found = []
    for name, linears in readers.items():
        module = _module(graph, graph[name], linears[0])
        names[module] = names.get(module, 0) + 1
        if names[module] > 1:
            module = f"{module}#{names[module]}"
        constant = graph[name].op
        assert isinstance(constant, Constant)
        found.append(
            Matrix(
                name,
                module,
                tuple(linear.name for linear in linears),
                np.asarray(constant.value, np.float32),
                _context_heads(graph, linears[0]),
                max((heads for heads, _ in _attentions(graph, linears[0])), default=0),
            )
        )
    return tuple(found)


def physical_columns(matrix: Matrix, banks: int) -> Ints:
    """The physical channel [C] of each column on an engine of B banks, by the compiler's own functions.

    Column c then lies in bank `physical[c] mod B` at offset `physical[c] div B`.
    """
    return _physical(matrix.columns, matrix.heads, banks)


def physical_rows(matrix: Matrix, banks: int) -> Ints:
    """The physical channel [N] of each row: blocks of R rows are cut from these."""
    return _physical(matrix.rows, matrix.row_heads, banks)


def with_constants(graph: Graph, arrays: Mapping[str, Array]) -> Graph:
    """A copy of the graph with other values in the named constants (same shape, dtype kept), under the same names.

    Raises:
        UnsupportedError: a name is no constant of the graph, or its shape differs.
    """
    for name, array in arrays.items():
        op = graph[name].op if name in graph else None
        if not isinstance(op, Constant) or op.value.shape != np.shape(array):
            raise UnsupportedError(
                f"{name}: found no constant of shape {np.shape(array)} in graph {graph.name}; expected the graph "
                "that the arrays were made for; find the matrices again"
            )
    result = Graph(graph.name)
    for node in graph:
        op = node.op
        if isinstance(op, Constant) and node.name in arrays:
            op = replace(op, value=np.asarray(arrays[node.name]).astype(op.value.dtype))
        result.add(node.name, op, node.inputs, node.module)
    result.set_outputs(graph.outputs)
    return result


def _physical(channels: int, heads: int, banks: int) -> Ints:
    engine = Engine(tokens=1, banks=banks, rows=1, norm_lanes=1, heads=1)
    order = by_head(engine, channels, heads) if heads else natural(engine, channels)
    return order.physical


def _module(graph: Graph, weight: Node, linear: Node) -> str:
    """The parameter's own path where it is a whole `weight`, else the linear's with the part that it plays."""
    key = getattr(weight.op, "key", None) or ""
    if key.endswith(".weight"):
        return str(key.removesuffix(".weight"))
    base = linear.module or linear.name
    roles = [role for _, role in _attentions(graph, linear)]
    return f"{base}.{roles[0]}" if roles else base


def _attentions(graph: Graph, linear: Node) -> list[tuple[int, str]]:
    """Heads of the attentions that read a linear's result, and whether as q, k or v."""
    value = Value(linear.name)
    return [
        (user.op.heads, _ROLES[user.inputs.index(value)])
        for user in graph.users(value)
        if isinstance(user.op, FloatAttention) and value in user.inputs[:3]
    ]


def _context_heads(graph: Graph, linear: Node) -> int:
    op = graph.producer(linear.inputs[0]).op
    return op.heads if isinstance(op, FloatAttention) else 0


@dataclass(frozen=True)
class _Body:
    """The part of a graph whose matrices are pruned by default."""

    graph: Graph
    device: set[str]
    streams: set[str]

    @classmethod
    def of(cls, graph: Graph) -> _Body:
        return cls(graph, device_values(graph), _before_residuals(graph))

    def holds(self, linear: str) -> bool:
        """Whether the linear is no patch embedding and stands before a residual addition."""
        source = self.graph[linear].inputs[0]
        embeds = source.node not in self.device and len(self.graph.users(source)) == 1
        return not embeds and linear in self.streams


def _before_residuals(graph: Graph) -> set[str]:
    """Names of the nodes that a residual addition (of two computed tensors) depends on."""
    found: set[str] = set()
    for node in reversed(list(graph)):
        computed = not any(isinstance(graph.producer(v).op, Constant) for v in node.inputs)
        if node.name in found or (isinstance(node.op, FloatAdd) and computed):
            found.update(v.node for v in node.inputs)
    return found


def _hint(glob: str, matrices: Iterable[Matrix]) -> str:
    paths = [matrix.module for matrix in matrices]
    near = difflib.get_close_matches(glob, paths, n=2, cutoff=0.3) or paths[:2]
    return f"the model has {', '.join(near)}{', …' if len(paths) > len(near) else ''}" if near else "none"
