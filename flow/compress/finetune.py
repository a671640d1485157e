"""Quantization-aware fine-tuning: weights learn to live with the integers around them.

The quantized graph runs in torch with float weights that are rounded on the way: `w~ = s clip(round(w / s))`, and every
activation edge likewise at the scale and zero point that it was given. Gradients pass rounding as if it were not there
and stop where it clips (the straight-through estimator, Bengio et al. 2013). The float model is the teacher: the loss
is the square error of the outputs and of the residual stream, each as a share of the teacher's power, on the
calibration samples; labels are not needed.

Scales are fixed, so that the integers around a weight (biases, requantise factors, headroom) stay what they were proven
to be. Weights that are zero stay zero. Softmax is exact here: its numerators are the engine's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flow.compress.batched import Batch, Batched
from flow.compress.tuning import FinetuneOptions
from flow.errors import FlowError
from flow.frontend.to_torch import Step, to_module
from flow.golden.samples import Sample
from flow.ir import Array, Graph, Node, Value
from flow.ops.float import FloatAdd, FloatLinear, FloatNorm
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant

Progress = Callable[[str, int, int], None]
WITHIN = 0.45
"""Weights start where they are, but at most so many steps from the integer that rounding chose."""
CHECKED = 32
"""Samples on which the loss is compared before and after."""


@dataclass(frozen=True, eq=False)
class Finetuned:
    """The graph with new integers, and the loss on the first samples before and after; it keeps the better of both."""

    graph: Graph
    before: float
    after: float


def finetune(
    floats: Graph,
    quantized: Graph,
    samples: Sequence[Sample],
    options: FinetuneOptions,
    progress: Progress | None = None,
) -> Finetuned:
    """`quantized` (made from `floats`, names and all) with weights, biases and norms fine-tuned; pure, deterministic.

    Raises:
        FlowError: no samples, or the loss is not finite.
    """
    if not samples:
        raise FlowError("fine-tuning: found no samples; expected at least one; give the calibration samples")
    teacher, student = Batched(floats), _Student(floats, quantized)
    checks = [student.batched.batch(samples[:CHECKED])], [teacher.batch(samples[:CHECKED])]
    before = _loss(student, checks[0][0], teacher, checks[1][0]).item()
    optimiser = torch.optim.Adam(student.groups(options.rate))
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    for step, chosen in enumerate(_batches(len(samples), options)):
        given = [samples[i] for i in chosen]
        optimiser.zero_grad()
        loss = _loss(student, student.batched.batch(given), teacher, teacher.batch(given), learn=True)
        if not bool(torch.isfinite(loss)):
            raise FlowError(
                f"fine-tuning: found a loss of {loss.item()} at step {step + 1}; expected a finite one; "
                "lower --finetune-rate"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        fall.step()
        student.keep_zeros()
        if progress is not None:
            progress("fine-tune", step + 1, options.steps)
    after = _loss(student, checks[0][0], teacher, checks[1][0]).item()
    graph = student.result() if after < before else quantized
    return Finetuned(graph, before, min(after, before))


def _batches(count: int, options: FinetuneOptions) -> Iterator[list[int]]:
    """Sample numbers of every step: each pass over the samples has an order of its own."""
    rng, queue = np.random.default_rng(options.seed), list[int]()
    size = min(options.batch, count)
    for _ in range(options.steps):
        if len(queue) < size:
            queue += rng.permutation(count).tolist()
        yield [queue.pop(0) for _ in range(size)]


def _loss(student: _Student, given: Batch, teacher: Batched, same: Batch, *, learn: bool = False) -> Tensor:
    """Mean share of square error of outputs and of sums; outputs weigh as much as all sums together."""
    adds = [Value(s.node.name) for s in teacher.steps if isinstance(s.node.op, FloatAdd)]
    with torch.no_grad():
        want = teacher.run(same, keep=[*teacher.outputs, *adds])
    with torch.set_grad_enabled(learn):
        got = student.batched.run(given, keep=[*student.batched.outputs, *adds])
        pairs = zip(student.batched.outputs, teacher.outputs, strict=True)
        outputs = [_share(got[mine], want[theirs]) for mine, theirs in pairs]
        sums = [_share(got[value], want[value]) for value in adds]
        loss = torch.stack(outputs).mean()
        return loss + torch.stack(sums).mean() if sums else loss


def _share(got: Tensor, want: Tensor) -> Tensor:
    return (got - want).square().mean() / want.square().mean().clamp_min(1e-12)


class _Student:
    """The quantized graph with float weights in place of integers, rounded where linear layers read them."""

    def __init__(self, floats: Graph, quantized: Graph) -> None:
        self.quantized, self.graph = quantized, quantized.copy()
        self.specs: dict[str, Dequantize] = {}
        self.constants: dict[str, str] = {}
        for node in quantized:
            if isinstance(node.op, FloatLinear):
                self._float_weight(floats, node)
        self.graph.prune(keep=[n.name for n in quantized if n.op.name == "input"])
        self.module = to_module(self.graph)
        self.batched = Batched(self.graph, self.module)
        self.batched.steps = [self._straight_through(step) for step in self.batched.steps]
        self.zeros = {
            name: self._parameter(constant).detach() == 0 for name, constant in self.constants.items()
        }

    def _float_weight(self, floats: Graph, node: Node) -> None:
        spec = self.quantized.producer(node.inputs[1])
        assert isinstance(spec.op, Dequantize)
        source = floats.producer(floats[node.name].inputs[1])
        codes = self.quantized.producer(spec.inputs[0]).op
        assert isinstance(source.op, Constant)
        assert isinstance(codes, Constant)
        key, scale = f"{node.name}_weight", spec.op.scale[:, None]
        middle = codes.value * scale
        value = np.clip(source.op.value, middle - WITHIN * scale, middle + WITHIN * scale)
        constant = self.graph.add(key, Constant(value.astype(np.float32), key), module=source.module)
        self.graph.rewire(node.name, [node.inputs[0], constant, *node.inputs[2:]])
        self.specs[node.name], self.constants[node.name] = spec.op, constant.node

    def _straight_through(self, step: Step) -> Step:
        op = step.node.op
        if isinstance(op, Quantize):
            return replace(step, function=_quantize(op))
        if isinstance(op, Dequantize):
            scale, zero = float(op.scale), int(op.zero_point)
            return replace(step, function=lambda q: (q - zero) * scale)
        if isinstance(op, FloatLinear):
            return replace(step, function=_linear(self.specs[step.node.name]))
        return step

    def _parameter(self, constant: str) -> Tensor:
        return self.module.tensor(self.module.slots[constant])

    def _learning(self) -> dict[str, Tensor]:
        """Parameters by constant: weights and biases of linear layers, gains and biases of norms."""
        names = {
            value.node
            for node in self.graph
            if isinstance(node.op, (FloatLinear, FloatNorm))
            for value in node.inputs[1:]
            if value.node in self.module.slots
        }
        return {name: self._parameter(name) for name in sorted(names)}

    def groups(self, rate: float) -> list[dict[str, object]]:
        """One group for each tensor, with a rate relative to its values; what is all zero stays so."""
        sizes = {name: float(p.detach().square().mean().sqrt()) for name, p in self._learning().items()}
        return [
            {"params": [p], "lr": rate * sizes[name]}
            for name, p in self._learning().items()
            if sizes[name] > 0
        ]

    def keep_zeros(self) -> None:
        """Pruned weights are pruned still."""
        with torch.no_grad():
            for name, constant in self.constants.items():
                self._parameter(constant)[self.zeros[name]] = 0.0

    def result(self) -> Graph:
        """The quantized graph with the learned parameters, weights as integers again."""
        graph = self.quantized.copy()
        weights = set(self.constants.values())
        for name, parameter in self._learning().items():
            old = graph[name].op if name in graph and name not in weights else None
            if isinstance(old, Constant):
                value = parameter.detach().cpu().numpy().astype(old.value.dtype)
                new = graph.add(name, Constant(value, old.key), module=graph[name].module)
                graph.replace_value(Value(name), new)
        for linear, constant in self.constants.items():
            self._store(graph, graph[linear], self._parameter(constant).detach().cpu().numpy())
        graph.prune(keep=[n.name for n in self.quantized if n.op.name == "input"])
        return graph

    def _store(self, graph: Graph, linear: Node, weight: Array) -> None:
        spec = graph.producer(linear.inputs[1])
        old = graph.producer(spec.inputs[0])
        assert isinstance(old.op, Constant)
        (integers,) = Quantize(**self.specs[linear.name].attributes()).golden(weight)
        constant = graph.add(old.name, replace(old.op, value=integers), module=old.module)
        read = graph.add(spec.name, spec.op, [constant], spec.module)
        graph.rewire(linear.name, [linear.inputs[0], read, *graph[linear.name].inputs[2:]])


def _round(x: Tensor) -> Tensor:
    """round(x), with the gradient of x."""
    rounded: Tensor = x + (torch.round(x) - x).detach()
    return rounded


def _quantize(op: Quantize) -> Callable[[Tensor], Tensor]:
    scale, zero = float(op.scale), int(op.zero_point)
    return lambda x: torch.clamp(_round(x / scale) + zero, op.qmin, op.qmax)


def _linear(spec: Dequantize) -> Callable[..., Tensor]:
    scale = torch.from_numpy(spec.scale.astype(np.float32))[:, None]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        codes = torch.clamp(_round(weight / scale), spec.qmin, spec.qmax)
        return functional.linear(x, codes * scale, bias)

    return run
