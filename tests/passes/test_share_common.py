from __future__ import annotations

from flow.ops.float import FloatAdd
from flow.passes.share_common import ShareCommon
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite


def test_equal_pairs_become_one(golden: Golden) -> None:
    b = Builder()
    x = b.input("x", 3, 4)
    one, two = b.linear("q", b.qdq(x, 0.5), 4), b.linear("k", b.qdq(x, 0.5), 4)
    golden("passes/share_common.txt", rewrite(b.output(b.add("sum", FloatAdd(), one, two)), ShareCommon()))


def test_other_scales_stay_apart() -> None:
    b = Builder()
    x = b.input("x", 3, 4)
    one, two = b.linear("q", b.qdq(x, 0.5), 4), b.linear("k", b.qdq(x, 0.25), 4)
    graph = b.output(b.add("sum", FloatAdd(), one, two))
    assert len(ShareCommon()(graph)) == len(graph)
