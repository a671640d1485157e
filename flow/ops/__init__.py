"""One module per operator. Importing this package registers them all in `flow.ir.REGISTRY`."""

from flow.ops.add import ResidualAdd
from flow.ops.aten import Aten, Ref
from flow.ops.attention import Attention
from flow.ops.boundary import DeviceOutput
from flow.ops.constant import DeviceConstant
from flow.ops.device import DeviceOp
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
    FloatScale,
)
from flow.ops.linear import Linear
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.post import PostStage
from flow.ops.quant import Dequantize, Quantize
from flow.ops.requantise import Requantise
from flow.ops.source import Constant, Input
from flow.ops.table import Table

__all__ = [
    "Aten",
    "Attention",
    "Constant",
    "Dequantize",
    "DeviceConstant",
    "DeviceOp",
    "DeviceOutput",
    "FloatActivation",
    "FloatAdd",
    "FloatAttention",
    "FloatLinear",
    "FloatNorm",
    "FloatPool",
    "FloatScale",
    "Input",
    "Linear",
    "Norm",
    "Pool",
    "PostStage",
    "Quantize",
    "Ref",
    "Requantise",
    "ResidualAdd",
    "Table",
]
