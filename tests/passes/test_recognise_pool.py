from __future__ import annotations

from flow.ir import Graph, Value
from flow.ops.float import FloatPool
from flow.passes.recognise_pool import RecognisePool
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite

S, C = 4, 3


def device_rows(b: Builder) -> Value:
    """[1, S, C] from the device: pooling of host values stays on the host."""
    norm = b.norm("norm", b.input("x", S, C))
    return b.aten("aten.reshape.default", (1, S, C), self=norm, shape=(1, S, C))


def masked_mean(b: Builder, least: float = 1e-9, weight: float = 1.0) -> Graph:
    """`(x * m).sum(1) / m.sum(1).clamp(min=least)`."""
    x = device_rows(b)
    mask = b.input("attention_mask", 1, S, dtype="int64")
    wide = b.aten("aten.unsqueeze.default", (1, S, 1), dtype="int64", self=mask, dim=-1)
    real = b.aten("aten.to.dtype", (1, S, 1), self=wide, dtype_="float32", non_blocking=False, copy=False)
    scaled = b.aten("aten.mul.Tensor", (1, S, 1), self=real, other=weight)
    weighted = b.aten("aten.mul.Tensor", (1, S, C), self=x, other=scaled)
    total = b.aten("aten.sum.dim_IntList", (1, C), self=weighted, dim=(1,), keepdim=False, dtype_=None)
    count = b.aten("aten.sum.dim_IntList", (1, 1), self=real, dim=(1,), keepdim=False, dtype_=None)
    floor = b.aten("aten.clamp.default", (1, 1), self=count, min=least, max=None)
    return b.output(b.aten("aten.div.Tensor", (1, C), self=total, other=floor, module="pool"))


def pools(graph: Graph) -> list[FloatPool]:
    return [n.op for n in RecognisePool()(graph) if isinstance(n.op, FloatPool)]


def test_mean(golden: Golden) -> None:
    b = Builder()
    mean = b.aten("aten.mean.dim", (1, C), self=device_rows(b), dim=(1,), keepdim=False, dtype_=None)
    golden("passes/recognise_pool.txt", rewrite(b.output(mean), RecognisePool()))


def test_masked_mean(golden: Golden) -> None:
    golden("passes/recognise_pool_masked.txt", rewrite(masked_mean(Builder()), RecognisePool()))


def test_mean_over_channels_is_no_pooling() -> None:
    b = Builder()
    mean = b.aten("aten.mean.dim", (1, S), self=device_rows(b), dim=(2,), keepdim=False, dtype_=None)
    assert not pools(b.output(mean))


def test_mean_on_the_host_stays_there() -> None:
    b = Builder()
    x = b.input("x", 1, S, C)
    assert not pools(b.output(b.aten("aten.mean.dim", (1, C), self=x, dim=(1,), keepdim=False, dtype_=None)))


def test_other_weights_are_no_mean() -> None:
    assert not pools(masked_mean(Builder(), least=2.0)), "one token would be halved"
    assert not pools(masked_mean(Builder(), weight=0.5))


def test_part_of_the_channels_is_no_pooling_of_all() -> None:
    b = Builder()
    x = device_rows(b)
    mask = b.input("attention_mask", 1, S, dtype="int64")
    wide = b.aten("aten.unsqueeze.default", (1, S, 1), dtype="int64", self=mask, dim=-1)
    real = b.aten("aten.to.dtype", (1, S, 1), self=wide, dtype_="float32", non_blocking=False, copy=False)
    weighted = b.aten("aten.mul.Tensor", (1, S, C), self=x, other=real)
    total = b.aten("aten.sum.dim_IntList", (1, C), self=weighted, dim=(1,), keepdim=False, dtype_=None)
    part = b.aten("aten.slice.Tensor", (1, 2), self=total, dim=1, start=0, end=2, step=1)
    count = b.aten("aten.sum.dim_IntList", (1, 1), self=real, dim=(1,), keepdim=False, dtype_=None)
    assert not pools(b.output(b.aten("aten.div.Tensor", (1, 2), self=part, other=count)))
