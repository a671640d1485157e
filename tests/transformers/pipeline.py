"""The way of a random transformer from torch to integers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from flow.compress.calibrate import calibrate
from flow.compress.quantize import quantize
from flow.emit.lower import LowerOptions, integerise
from flow.frontend.pt2 import read_pt2
from flow.frontend.to_torch import write_pt2
from flow.ir import Array, Graph
from flow.passes import recognise
from tests.transformers import zoo
from tests.transformers.specs import Spec

Sample = dict[str, Array]


class Model(NamedTuple):
    """One spec on its way: the torch module, the recognised float graph, the QDQ graph read back from its
    file, the integer graph."""

    spec: Spec
    module: nn.Module
    floats: Graph
    reference: Graph
    graph: Graph
    calibrated: list[Sample]


def make(spec: Spec, folder: Path) -> Model:
    """Export, read, recognise, calibrate, quantize, write, read again, recognise, integerise."""
    module = zoo.build(spec)
    path = folder / "model.pt2"
    torch.export.save(zoo.export(spec, module), path)
    floats = recognise(read_pt2(path))
    rows = 1 if spec.pool == "first" else spec.tokens  # what reaches the head of one sample
    calibrated = zoo.samples(spec, min(max(24, 600 // rows), 120), seed=1)
    write_pt2(quantize(floats, calibrate(floats, calibrated)), folder / "quantized.pt2")
    reference = recognise(read_pt2(folder / "quantized.pt2"))
    return Model(spec, module, floats, reference, integerise(reference, LowerOptions()), calibrated)
