"""`flow quantize` refuses what `flow lower` would refuse, without sending the user back to `flow quantize`."""

from __future__ import annotations

import numpy as np
import pytest

from flow.compress.run import _integers
from flow.errors import UnsupportedError
from flow.ir import Graph, TensorType
from flow.ops import Dequantize, FloatNorm, Input, Quantize
from flow.ops.source import Constant
from flow.passes.qdq import ADVICE

SCALE, ZERO = np.float64(0.1) * np.ones(()), np.zeros((), np.int64)


def test_the_advice_to_quantize_is_left_out() -> None:
    graph = Graph("net.pt2")
    x = graph.add("x", Input("x", TensorType((4, 6), "float32")))
    q = graph.add("q", Quantize(SCALE, ZERO, -127, 127, "int8"), [x])
    d = graph.add("d", Dequantize(SCALE, ZERO, -127, 127, "int8"), [q])
    one, none = (graph.add("c", Constant(np.full(6, v, np.float32))) for v in (1, 0))
    graph.set_output("output", graph.add("norm", FloatNorm(1e-5), [d, one, none]))
    with pytest.raises(UnsupportedError) as caught:
        _integers(graph)
    assert ADVICE not in str(caught.value)
    assert str(caught.value) == (
        "net.pt2: found 1 places outside the number contract\n"
        "  - norm (float.norm): found a float result that leaves the device; expected an int16 quantize at the "
        "model output"
    )
