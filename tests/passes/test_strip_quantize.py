from __future__ import annotations

from flow.ir import Value
from flow.passes.strip_quantize import StripQuantize, float_value
from tests.conftest import Golden
from tests.passes.building import Builder, block, text


def test_block(golden: Golden) -> None:
    stripped = StripQuantize()(block())
    stripped.prune(keep=["x"])
    golden("passes/strip_quantize.txt", text(stripped))


def test_float_value_is_behind_every_rounding_of_it() -> None:
    b = Builder()
    x = b.linear("layer", b.qdq(b.input("x", 3, 4), 0.5), 5)
    b.qdq(b.wide(x), 2.0**-5)
    assert float_value(b.graph, "layer_q") == x
    assert float_value(b.graph, "layer_dq_q") == x
    assert float_value(b.graph, "layer") is None
    assert float_value(b.graph, "nobody") is None
    assert float_value(b.graph, "x_q") == Value("x")
