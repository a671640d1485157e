"""Runs the device's part of a float graph on many samples at once, in torch, differentiably.

A graph is written for one sample of S tokens. Everything on the device but attention and pooling works on single
tokens, so a batch is the concatenation of its samples' real tokens: values are [T, C], T being the sum of the samples'
lengths, and padding costs nothing, enters no statistic and no loss. Attention gathers tokens to [n, L, C], L the
longest of the batch. Where the graph has no `attention_mask`, or something on the device looks past it, every sample
has S tokens.

What the host computes before the device (embeddings, cutting of patches) runs in numpy, once for each sample; what
it computes behind the device is run by torch, a sample at a time, and only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flow.frontend.to_torch import GraphModule, Slot, Step, to_module
from flow.golden import execute
from flow.golden.samples import Sample
from flow.ir import Graph, Node, Value
from flow.ops.float import FloatAttention, FloatPool
from flow.ops.source import Constant, Input
from flow.passes.masks import MASK_KEY
from flow.passes.regions import device_values

Values = dict[Value, Tensor]
Observer = Callable[[Node, tuple[Tensor, ...], Tensor], None]
"""Called with a node, its operands and its result, all [T, C]."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the tokens of a batch lie: sample i has `lengths[i]` rows, one sample after the other."""

    lengths: Tensor

    @cached_property
    def sizes(self) -> list[int]:
        """The lengths as integers."""
        return [int(n) for n in self.lengths]

    @cached_property
    def longest(self) -> int:
        """L."""
        return max(self.sizes)

    @cached_property
    def even(self) -> bool:
        """Whether all samples have the same length."""
        return min(self.sizes) == self.longest

    @cached_property
    def sample(self) -> Tensor:
        """The sample of each row, [T]."""
        owners = torch.arange(len(self.lengths), device=self.lengths.device)
        return torch.repeat_interleave(owners, self.lengths)

    @cached_property
    def starts(self) -> Tensor:
        """The first row of each sample."""
        return torch.cumsum(self.lengths, 0) - self.lengths

    @cached_property
    def position(self) -> Tensor:
        """The token of each row within its sample, [T]."""
        rows = torch.arange(sum(self.sizes), device=self.lengths.device)
        return rows - self.starts[self.sample]

    @cached_property
    def padded(self) -> Tensor:
        """The row of each token in [n * L], [T]."""
        return self.sample * self.longest + self.position

    @cached_property
    def keys(self) -> Tensor | None:
        """[n, 1, 1, L]: the tokens that are there; None if all are."""
        if self.even:
            return None
        return (torch.arange(self.longest, device=self.lengths.device) < self.lengths[:, None])[:, None, None]

    def pad(self, x: Tensor) -> Tensor:
        """[T, C] to [n, L, C], zeros behind a sample's end."""
        shape = (len(self.sizes), self.longest, x.shape[1])
        if self.even:
            return x.view(shape)
        return x.new_zeros(shape[0] * shape[1], shape[2]).index_copy(0, self.padded, x).view(shape)

    def unpad(self, x: Tensor) -> Tensor:
        """[n, L, C] to [T, C]."""
        flat = x.reshape(-1, x.shape[-1])
        return flat if self.even else flat.index_select(0, self.padded)


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples on their way through the device: its inputs [T, C], and layouts by the rows that one sample has."""

    inputs: Values
    layouts: Mapping[int, Layout]
    valid: Tensor
    """Keys that each sample's attention may see, [n]."""
    samples: Sequence[Sample]


class Batched:
    """A float graph as something that runs batches, with the weights of `module` (made by `to_module`).

    `taps` are the values of the residual stream, in order, as whatever follows reads them: behind the norm in a
    post-norm model, else behind the addition. `outputs` are the values that leave the device.
    """

    def __init__(self, graph: Graph, module: GraphModule | None = None) -> None:
        self.graph = graph
        self.module = module if module is not None else to_module(graph)
        self._device = device_values(graph) - _host_behind(graph)
        self.steps = [step for step in self.module.steps if step.node.name in self._device]
        self.entries = self._entries()
        self.outputs = self._leaving()
        self.taps = self._residual()
        self._prologue = graph.copy()
        self._prologue.set_outputs({str(value): value for value in self.entries})
        self._prologue.prune(keep=[n.name for n in graph if isinstance(n.op, Input)])
        self.tokens, self.masked = self._length()
        self._tables = {
            value
            for step in self.steps
            if step.node.op.name == "float.add"
            for value in step.node.inputs
            if isinstance(graph.producer(value).op, Constant)
        }

    def weight(self, name: str) -> Tensor:
        """The parameter behind a constant of the graph."""
        return self.module.tensor(self.module.slots[name])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    # -- structure ---------------------------------------------------------------------------------------------

    def _entries(self) -> tuple[Value, ...]:
        """Values of the host that device operators read, in order."""
        found: dict[Value, None] = {}
        for step in self.steps:
            for value, operand in zip(step.node.inputs, step.operands, strict=False):
                source = self.graph.producer(value)
                mask = isinstance(source.op, Input) and source.op.key == MASK_KEY
                if not isinstance(operand, Slot) and value.node not in self._device and not mask:
                    found[value] = None
        return tuple(found)

    def _leaving(self) -> tuple[Value, ...]:
        """Values of the device that are outputs, or that the host reads."""
        return tuple(
            Value(step.node.name)
            for step in self.steps
            if self.graph.is_output(Value(step.node.name))
            or any(u.name not in self._device for u in self.graph.users(Value(step.node.name)))
        )

    def _residual(self) -> tuple[Value, ...]:
        found = []
        for step in self.steps:
            if step.node.op.name != "float.add" or any(isinstance(o, Slot) for o in step.operands):
                continue
            users = self.graph.users(Value(step.node.name))
            behind = users[0].name if len(users) == 1 and users[0].op.name == "float.norm" else step.node.name
            found.append(Value(behind))
        return tuple(dict.fromkeys(found))

    def _length(self) -> tuple[int, bool]:
        """(S, whether samples end at their mask's length)."""
        tokens, masked, blind = 0, False, False
        for step in self.steps:
            op = step.node.op
            if isinstance(op, FloatAttention) or (isinstance(op, FloatPool) and op.kind == "mean"):
                rows = self.graph.type_of(step.node.inputs[0]).shape[0]
                seeing = len(step.node.inputs) == (4 if isinstance(op, FloatAttention) else 2)
                tokens = max(tokens, rows)
                masked |= seeing
                blind |= not seeing and not getattr(op, "causal", False) and rows > 1
        return tokens, masked and not blind

    # -- batches -----------------------------------------------------------------------------------------------

    def lengths(self, samples: Iterable[Sample]) -> list[int]:
        """Tokens of each sample that are computed."""
        return [int(np.count_nonzero(s[MASK_KEY])) if self.masked else self.tokens for s in samples]

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Samples as one batch: the host's part before the device is run here."""
        device = self.device
        lengths = self.lengths(samples)
        rows: dict[Value, list[Tensor]] = {value: [] for value in self.entries}
        for sample, length in zip(samples, lengths, strict=True):
            computed = execute(self._prologue, sample)
            for value in self.entries:
                array = np.asarray(computed[str(value)])
                cut = array[:length] if self.masked and array.shape[0] == self.tokens else array
                rows[value].append(torch.from_numpy(np.ascontiguousarray(cut, np.float32)))
        count = len(samples)
        sizes = {
            self.graph.type_of(v).shape[0] for s in self.steps for v in (*s.node.inputs, Value(s.node.name))
        }
        layouts = {
            size: Layout(
                torch.tensor(lengths if self.masked and size == self.tokens else [size] * count).to(device)
            )
            for size in sorted(sizes)
        }
        valid = [int(np.count_nonzero(s[MASK_KEY])) if MASK_KEY in s else self.tokens for s in samples]
        inputs = {value: torch.cat(parts).to(device) for value, parts in rows.items()}
        return Batch(inputs, layouts, torch.tensor(valid).to(device), samples)

    # -- running -----------------------------------------------------------------------------------------------

    def run(self, batch: Batch, keep: Iterable[Value] = (), observe: Observer | None = None) -> Values:
        """The values `keep` (by default the outputs), [T, C] each."""
        wanted = set(keep) or set(self.outputs)
        values: Values = dict(batch.inputs)
        for step in self.steps:
            operands = [self._fetch(step, i, values, batch) for i in range(len(step.operands))]
            result = self.compute(step, operands, batch)
            values[Value(step.node.name)] = result
            if observe is not None:
                observe(step.node, tuple(operands), result)
        return {value: values[value] for value in values if value in wanted}

    def _fetch(self, step: Step, index: int, values: Values, batch: Batch) -> Tensor:
        operand, value = step.operands[index], step.node.inputs[index]
        if isinstance(operand, Slot):
            tensor = self.module.tensor(operand)
            rows = step.node.type.shape[0]
            if value in self._tables and rows > 1:
                return tensor[batch.layouts[rows].position]
            return tensor
        return values.get(value, batch.valid)

    def compute(self, step: Step, operands: Sequence[Tensor], batch: Batch) -> Tensor:
        """One node of the device on the rows of a batch."""
        op = step.node.op
        if isinstance(op, FloatAttention):
            layout = batch.layouts[self.graph.type_of(step.node.inputs[0]).shape[0]]
            return _attend(op, operands[:3], layout, batch.valid if len(operands) == 4 else None)
        if isinstance(op, FloatPool):
            layout = batch.layouts[self.graph.type_of(step.node.inputs[0]).shape[0]]
            return _pool(op, operands[0], layout, batch.valid if len(operands) == 2 else None)
        result = step.function(*operands)
        assert isinstance(result, Tensor)
        return result

    def operands(self, step: Step, values: Values, batch: Batch) -> list[Tensor]:
        """What a node reads, from the values computed so far."""
        return [self._fetch(step, i, values, batch) for i in range(len(step.operands))]

    def finish(self, batch: Batch, values: Values) -> dict[str, list[Tensor]]:
        """The model's outputs by name, one tensor a sample, from the values that leave the device."""
        if all(value in values for value in self.graph.outputs.values()):
            return {name: self._split(values[v], v, batch) for name, v in self.graph.outputs.items()}
        split = {value: self._split(x, value, batch) for value, x in values.items()}
        behind = [s for s in self.module.steps if s.node.name not in self._device]
        results: dict[str, list[Tensor]] = {name: [] for name in self.graph.outputs}
        for i, sample in enumerate(batch.samples):
            known = {value: parts[i] for value, parts in split.items()}
            for name, value in self._behind(behind, known, sample).items():
                results[name].append(value)
        return results

    def _split(self, x: Tensor, value: Value, batch: Batch) -> list[Tensor]:
        """Rows [T, C] as one [S, C] a sample, zeros behind its end."""
        rows = self.graph.type_of(value).shape[0]
        parts = torch.split(x, batch.layouts[rows].sizes)
        return [functional.pad(part, (0, 0, 0, rows - part.shape[0])) for part in parts]

    def _behind(self, steps: list[Step], known: Values, sample: Sample) -> dict[str, Tensor]:
        values: dict[Value, Tensor] = dict(known)
        for node in self.graph:
            if isinstance(node.op, Input):
                values[Value(node.name)] = torch.from_numpy(sample[node.op.key]).to(self.device)
        for step in steps:
            operands = [
                self.module.tensor(o) if isinstance(o, Slot) else values.get(o) for o in step.operands
            ]
            if any(o is None for o in operands):
                continue
            result = step.function(*operands)
            parts = result if isinstance(result, (tuple, list)) else (result,)
            values.update({Value(step.node.name, i): part for i, part in enumerate(parts)})
        constants = {name: self.module.tensor(slot) for name, slot in self.module.slots.items()}
        return {n: values[v] if v in values else constants[v.node] for n, v in self.graph.outputs.items()}


def _host_behind(graph: Graph) -> set[str]:
    """Raw operators behind the device, and what depends on them."""
    device, found = device_values(graph), set[str]()
    for node in graph:
        if node.name in device and (node.op.name == "aten" or any(v.node in found for v in node.inputs)):
            found.add(node.name)
    return found


def _attend(op: FloatAttention, qkv: Sequence[Tensor], layout: Layout, valid: Tensor | None) -> Tensor:
    count, longest = len(layout.sizes), layout.longest

    def heads(x: Tensor) -> Tensor:
        return layout.pad(x).view(count, longest, op.heads, -1).transpose(1, 2)

    keys = layout.keys
    if valid is not None and keys is None and bool((valid < longest).any()):
        keys = (torch.arange(longest, device=valid.device) < valid[:, None])[:, None, None]
    causal = op.causal
    if causal and keys is not None:
        keys = keys & torch.ones(longest, longest, dtype=torch.bool, device=keys.device).tril()
        causal = False
    q, k, v = (heads(x) for x in qkv)
    y = functional.scaled_dot_product_attention(q, k, v, attn_mask=keys, is_causal=causal, scale=op.scale)
    return layout.unpad(y.transpose(1, 2).reshape(count, longest, -1))


def _pool(op: FloatPool, x: Tensor, layout: Layout, valid: Tensor | None) -> Tensor:
    if op.kind == "first":
        return x.index_select(0, layout.starts)
    lengths = layout.lengths if valid is None else torch.minimum(layout.lengths, valid)
    weight = 1.0 / lengths.to(x.dtype)
    share = weight[layout.sample] * (layout.position < lengths[layout.sample])
    return x.new_zeros(len(layout.sizes), x.shape[1]).index_add(0, layout.sample, x * share[:, None])
