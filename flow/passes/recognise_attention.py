"""Scaled dot-product attention, as one operator or spelled out, becomes `float.attention` on `[S,
heads*d]`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flow.errors import UnsupportedError
from flow.ir import Array, Graph, Node, Value
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatAttention
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant
from flow.passes.masks import HIDDEN_BELOW, Evaluated, classify, keep_additive, mask_expression
from flow.passes.movement import is_movement, is_view, permuted, reshaped

PRODUCTS = frozenset({"aten.matmul.default", "aten.bmm.default", "aten.baddbmm.default"})
SOFTMAX = frozenset({"aten.softmax.int", "aten._softmax.default", "aten._safe_softmax.default"})


@dataclass
class _Core:
    """One attention found: operands `[.., heads, S, d]`, and the masks met on the way."""

    query: Value
    key: Value
    value: Value
    scale: float
    causal: bool
    output: Node
    masks: list[tuple[Evaluated, Callable[[Array], Array]]] = field(default_factory=list)
    numerator_bits: int | None = None


@dataclass(frozen=True)
class RecogniseAttention:
    """Before: `sdpa(%q, %k, %v, %mask)` on `[1,h,S,d]`, or `matmul, scale, mask, softmax, matmul`.

    After: `float.attention(heads, scale, causal, numerator_bits) %q2 %k2 %v2 (%attention_mask)`, operands permuted
    to `[S, h*d]` and the result back; `CancelMovement` then joins them with the projections. Probabilities that are
    quantised say how wide softmax numerators are: 8 bits, or 16 where they have more.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        kinds: dict[Value, Evaluated | None] = {}
        core: _Core | None
        for node in list(graph):
            if not isinstance(node.op, Aten):
                continue
            if node.op.target == "aten.scaled_dot_product_attention.default":
                core = self._fused(graph, graph[node.name], kinds)
            elif node.op.target in SOFTMAX:
                core = self._spelled(graph, graph[node.name], kinds)
            else:
                continue
            if core is not None:
                self._replace(graph, core)
        return graph

    def _fused(self, graph: Graph, node: Node, kinds: dict[Value, Evaluated | None]) -> _Core:
        op = node.op
        assert isinstance(op, Aten)
        q, k, v = (node.inputs[op.arguments[name].operand] for name in ("query", "key", "value"))
        given = op.arguments.get("scale")
        scale = float(given) if given is not None else 1.0 / math.sqrt(graph.type_of(q).shape[-1])
        core = _Core(q, k, v, scale, bool(op.arguments.get("is_causal")), node)
        mask = op.arguments.get("attn_mask")
        if isinstance(mask, Ref):
            value = node.inputs[mask.operand]
            boolean = graph.type_of(value).dtype == "bool"
            core.masks.append(
                (_known(graph, value, kinds, node.where), _as_bool if boolean else keep_additive)
            )
        return core

    def _spelled(self, graph: Graph, node: Node, kinds: dict[Value, Evaluated | None]) -> _Core | None:
        op = node.op
        assert isinstance(op, Aten)
        rank = len(node.type.shape)
        if op.arguments["dim"] not in (-1, rank - 1) or rank < 3:
            return None
        masks: list[tuple[Evaluated, Callable[[Array], Array]]] = []
        scale, product = self._scores(graph, node.inputs[0], masks, kinds)
        output = _only_product_of(graph, node)
        if product is None or output is None:
            return None
        first, second = _factors(product)
        query, q_scale = _unscaled(graph, first)
        key, k_scale = _unscaled(graph, second)
        dims = tuple(range(len(graph.type_of(key).shape)))
        key = permuted(graph, key, (*dims[:-2], dims[-1], dims[-2]))
        bits = _probability_bits(graph, _factors(output)[0])
        return _Core(query, key, _factors(output)[1], scale * q_scale * k_scale, False, output, masks, bits)

    def _scores(
        self,
        graph: Graph,
        value: Value,
        masks: list[tuple[Evaluated, Callable[[Array], Array]]],
        kinds: dict[Value, Evaluated | None],
    ) -> tuple[float, Node | None]:
        """Walk from softmax back to the product of q and k, collecting the scale and the masks."""
        scale = 1.0
        while True:
            node = graph.producer(value)
            if isinstance(node.op, (Quantize, Dequantize)) or _keeps_matrices(graph, node):
                value = node.inputs[0]  # the contract fixes the scores' type, whatever the file says
                continue
            op = node.op
            if not isinstance(op, Aten):
                return scale, None
            if op.target in PRODUCTS:
                if op.target == "aten.baddbmm.default":
                    if op.arguments.get("alpha", 1) != 1 or op.arguments.get("beta", 1) != 1:
                        return scale, None
                    masks.append(
                        (
                            _known(graph, node.inputs[op.arguments["self"].operand], kinds, node.where),
                            _additive_after(scale),
                        )
                    )
                return scale, node
            factor = _scalar_factor(graph, node)
            if factor is not None:
                scale, value = scale * factor[1], factor[0]
                continue
            masked = self._masked(graph, node, kinds, scale)
            if masked is None:
                return scale, None
            value, evaluated, keep = masked
            masks.append((evaluated, keep))

    def _masked(
        self, graph: Graph, node: Node, kinds: dict[Value, Evaluated | None], scale: float
    ) -> tuple[Value, Evaluated, Callable[[Array], Array]] | None:
        """(scores, mask, meaning) if the node applies a mask to scores that `scale` multiplies afterwards."""
        op = node.op
        assert isinstance(op, Aten)
        if op.target == "aten.add.Tensor" and len(node.inputs) == 2 and op.arguments.get("alpha", 1) == 1:
            for scores, mask in (node.inputs, node.inputs[::-1]):
                evaluated = _expression(graph, mask, kinds)
                if evaluated is not None:
                    return scores, evaluated, _additive_after(scale)
        if op.target in ("aten.masked_fill.Scalar", "aten.masked_fill.Tensor"):
            scores, mask = (
                node.inputs[op.arguments["self"].operand],
                node.inputs[op.arguments["mask"].operand],
            )
            if _fill_value(graph, node, "value") * scale <= HIDDEN_BELOW:
                return scores, _known(graph, mask, kinds, node.where), lambda m: ~np.asarray(m, bool)
        if op.target in ("aten.where.self", "aten.where.ScalarOther") and isinstance(
            op.arguments["self"], Ref
        ):
            condition, scores = (
                node.inputs[op.arguments["condition"].operand],
                node.inputs[op.arguments["self"].operand],
            )
            if _fill_value(graph, node, "other") * scale <= HIDDEN_BELOW:
                return scores, _known(graph, condition, kinds, node.where), _as_bool
        return None

    def _replace(self, graph: Graph, core: _Core) -> None:
        shapes = [graph.type_of(v).shape for v in (core.query, core.key, core.value)]
        *_, tokens, width = shapes[0]
        heads = math.prod(shapes[0][:-2])
        if any(shape != shapes[0] for shape in shapes):
            raise UnsupportedError(
                f"{core.output.where}: found query {shapes[0]}, key {shapes[1]}, value {shapes[2]}; "
                "expected self-attention over equal shapes (no cross or grouped-query attention)"
            )
        found = [classify(evaluated, tokens, keep, core.output.where) for evaluated, keep in core.masks]
        padding = next(
            (
                e.mask
                for (e, _), (pads, _) in zip(core.masks, found, strict=True)
                if pads and e.mask is not None
            ),
            None,
        )
        causal = core.causal or any(c for _, c in found)
        operands = [_rows(graph, v, heads, tokens, width) for v in (core.query, core.key, core.value)]
        if padding is not None:
            operands.append(padding)
        module = core.output.module
        attention = graph.add(
            f"{core.output.name}_attention",
            FloatAttention(heads, core.scale, causal, core.numerator_bits),
            operands,
            module=module,
        )
        split = permuted(graph, reshaped(graph, attention, (tokens, heads, width)), (1, 0, 2))
        graph.replace_value(Value(core.output.name), reshaped(graph, split, core.output.type.shape))


def _rows(graph: Graph, value: Value, heads: int, tokens: int, width: int) -> Value:
    flat = reshaped(graph, value, (heads, tokens, width))
    return reshaped(graph, permuted(graph, flat, (1, 0, 2)), (tokens, heads * width))


def _as_bool(mask: Array) -> Array:
    return np.asarray(mask, bool)


def _additive_after(scale: float) -> Callable[[Array], Array]:
    """A mask that is added before the scores are scaled."""
    return lambda mask: keep_additive(np.asarray(mask) * scale)


def _expression(graph: Graph, value: Value, kinds: dict[Value, Evaluated | None]) -> Evaluated | None:
    if value not in kinds:
        found = mask_expression(graph, value)
        cache: dict[int, Array] = {}
        if found is not None:
            run = found.run
            kinds[value] = Evaluated(
                lambda n: cache[n] if n in cache else cache.setdefault(n, run(n)), found.mask
            )
        else:
            kinds[value] = None
    return kinds[value]


def _known(graph: Graph, value: Value, kinds: dict[Value, Evaluated | None], where: str) -> Evaluated:
    found = _expression(graph, value, kinds)
    if found is None:
        raise UnsupportedError(
            f"{where}: found an attention mask that depends on other inputs; expected one made of constants "
            "and of the input 'attention_mask' [1, S]"
        )
    return found


def _factors(product: Node) -> tuple[Value, Value]:
    assert isinstance(product.op, Aten)
    arguments = product.op.arguments
    names = (
        ("batch1", "batch2")
        if product.op.target == "aten.baddbmm.default"
        else ("self", "mat2" if "mat2" in arguments else "other")
    )
    first, second = (product.inputs[arguments[name].operand] for name in names)
    return first, second


def _only_product_of(graph: Graph, softmax: Node) -> Node | None:
    """The product probabilities x values, through views and QDQ."""
    frontier = [Value(softmax.name)]
    while frontier:
        value = frontier.pop()
        for user in graph.users(value):
            if isinstance(user.op, Aten) and user.op.target in PRODUCTS and _factors(user)[0] == value:
                return user
            if isinstance(user.op, (Quantize, Dequantize)) or _keeps_matrices(graph, user):
                frontier.append(Value(user.name))
    return None


def _probability_bits(graph: Graph, value: Value) -> int | None:
    """Width of numerators that quantised probabilities ask for: `value` and its sources, back to the softmax."""
    while True:
        node = graph.producer(value)
        if isinstance(node.op, Quantize):
            return 8 if node.op.bits <= 8 else 16
        if isinstance(node.op, Aten) and node.op.target in SOFTMAX:
            return None
        value = node.inputs[0]


def _keeps_matrices(graph: Graph, node: Node) -> bool:
    """Whether a node is a view of the leading dimensions only: scores stay rows of queries and columns of keys."""
    return is_view(graph, node) and node.type.shape[-2:] == graph.type_of(node.inputs[0]).shape[-2:]


def _constant_scalar(graph: Graph, value: Value) -> float | None:
    op = graph.producer(value).op
    return float(op.value.reshape(())) if isinstance(op, Constant) and op.value.size == 1 else None


def _scalar_factor(graph: Graph, node: Node) -> tuple[Value, float] | None:
    """(operand, factor) of a multiplication or division by a constant scalar."""
    op = node.op
    if not isinstance(op, Aten) or op.target not in (
        "aten.mul.Tensor",
        "aten.div.Tensor",
        "aten.mul.Scalar",
        "aten.div.Scalar",
        "aten.mul_.Tensor",
        "aten.div_.Tensor",
    ):
        return None
    other = op.arguments["other"]
    factor = _constant_scalar(graph, node.inputs[other.operand]) if isinstance(other, Ref) else float(other)
    this = op.arguments["self"]
    if factor is None and isinstance(this, Ref) and isinstance(other, Ref) and "mul" in op.target:
        factor, this = _constant_scalar(graph, node.inputs[this.operand]), other
    if factor is None or not isinstance(this, Ref):
        return None
    return node.inputs[this.operand], (1.0 / factor if "div" in op.target else factor)


def _unscaled(graph: Graph, value: Value) -> tuple[Value, float]:
    """Pull constant factors out of a product's operand, across views."""
    chain: list[Node] = []
    scale, probe = 1.0, value
    while True:
        node = graph.producer(probe)
        factor = _scalar_factor(graph, node)
        if factor is not None:
            probe, scale = factor[0], scale * factor[1]
        elif is_movement(node):
            chain.append(node)
            probe = node.inputs[0]
        else:
            break
    if scale == 1.0:
        return value, 1.0
    for node in reversed(chain):
        probe = graph.add(node.name, node.op, [probe], module=node.module)
    return probe, scale


def _fill_value(graph: Graph, node: Node, name: str) -> float:
    assert isinstance(node.op, Aten)
    given = node.op.arguments[name]
    if not isinstance(given, Ref):
        return float(given)
    op = graph.producer(node.inputs[given.operand]).op
    return float(op.value.max()) if isinstance(op, Constant) else 0.0
