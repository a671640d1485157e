"""What the mutants run: small engines of different shape, and on each programs that use every opcode.

Graphs, whose outputs the golden model gives, and the programs of `edges.py`, whose status is known.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import flow.ops  # noqa: F401  (fills the registry)
from flow import numerics
from flow.emit.lower import lay_out
from flow.engine import Engine, Program, Status
from flow.formats.synthetic import Hierarchy, random_hp
from flow.golden import execute
from flow.ir import REGISTRY, Array, Graph, Node, TensorType
from flow.ops.boundary import DeviceOutput
from flow.ops.device import DeviceOp
from flow.ops.examples import MASK, attention_graph, residual_graph
from flow.ops.linear import Linear
from flow.ops.post import PostStage, register_outside
from flow.ops.requantise import Requantise
from flow.ops.source import Input
from flow.ops.table import Table
from mutation.case import Case
from mutation.edges import Edges

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 4
STEP = 2.0**-8


@dataclass(frozen=True)
class Bench:
    """An engine, how its multipliers are packed, and what it runs."""

    name: str
    engine: Engine
    packing: str
    cases: tuple[Case, ...] = field(repr=False)


_SMALL = Engine(
    8, 4, 2, 4, 2, sequence=13, operand_depth=64, store_depth=128, values_depth=64, table_bits=11, steps=20
)  # fmt: skip
SHAPES = (
    # A word is wider than a stream beat and a beat holds two lines; more tokens than a head has banks.
    ("wide word", replace(_SMALL, beat_bytes=64, stream_bytes=4, depth=9, row_cycles=12), "DSP48E2"),
    # A stream beat holds four lines, a beat one word; one row; every lane by itself.
    (
        "wide beat",
        replace(
            _SMALL, tokens=2, banks=8, rows=1, norm_lanes=2, heads=4, beat_bytes=8, stream_bytes=64, depth=6,
            row_cycles=12,
        ),
        "MULT18X18D",
    ),
    # The whole array is one segment of several chains; heads one after the other.
    (
        "one segment",
        replace(
            _SMALL, tokens=4, banks=16, rows=4, norm_lanes=8, heads=1, beat_bytes=32, stream_bytes=16, depth=3,
            row_cycles=6,
        ),
        "DSP48E2",
    ),
)  # fmt: skip
EXAMPLE = ROOT / "docs" / "examples" / "hardswish"


def benches() -> Iterator[Bench]:
    """Every engine with its cases, in the order in which mutants meet them; the last has the stage of a plug-in."""
    for name, engine, packing in SHAPES:
        yield Bench(name, engine, packing, tuple(cases(engine)))
    yield plugged()


def plugged() -> Bench:
    """The first engine with the stage of the guide's plug-in, which is registered."""
    sys.path.append(str(EXAMPLE))
    stage: type[PostStage] = importlib.import_module("flow_hardswish").HardSwish
    register_outside(stage)
    name, engine, packing = SHAPES[0]
    engine = replace(engine, features=tuple(sorted({*engine.features, stage.name})))
    models = (_model(f"{stage.name} {index}", graph, engine) for index, graph in enumerate(stage.examples()))
    return Bench(f"{name}, plug-in", engine, packing, (*models, *Edges(engine).stages()))


def cases(engine: Engine) -> Iterator[Case]:
    """What an engine runs."""
    for index, graph in enumerate(_graphs()):
        yield _model(f"{index} {graph.name}", graph, engine)
    # One head as wide as a tensor may be.
    yield _model("widest head", attention_graph(tokens=4, heads=1, width=engine.depth * engine.banks), engine)
    yield from Edges(engine).cases()


# -- models ------------------------------------------------------------------------------------------------------


def _graphs() -> Iterator[Graph]:
    """Every operator's examples, then weights of every structure."""
    for _, op in sorted(REGISTRY.items()):
        if issubclass(op, DeviceOp) and not issubclass(op, PostStage):
            yield from op.examples()
    yield attention_graph(tokens=13, heads=3, width=2, causal=True, exp_bits=16, masked=True)
    yield attention_graph(tokens=11, heads=4, width=2, masked=True)
    yield attention_graph(tokens=9, heads=1, width=20, causal=True)
    # So narrow that heads side by side leave banks of the array idle: their scores come one after the other.
    yield attention_graph(tokens=7, heads=3, width=1, masked=True)
    yield residual_graph(tokens=13, channels=12, masked=True)
    rng = np.random.default_rng(0)
    dense = rng.integers(-127, 128, (24, 24)).astype(np.int8)
    yield _linear("quarter", np.where(rng.random(dense.shape) < 0.25, dense, 0))
    columns = rng.random((3, 24)) < 0.4
    yield _linear("columns", np.where(np.repeat(columns, 8, axis=0), dense, 0))
    yield _linear("nibbles", (dense // 16).astype(np.int8), weight_bits=4)
    rows = dense.copy()
    rows[4:12] = 0
    yield _linear("zero rows", rows)
    yield _linear("nothing", np.zeros_like(dense))
    # Sums of packed products that fill their bits: unsigned inputs, all weights at one end in each row.
    heavy = np.where(np.arange(24)[:, None] % 2, 127, -127) * np.ones((1, 24), int)
    yield _linear("heaviest", heavy, dtype="uint8", reach=15_000, bits=16)
    yield _tables()
    for banks in (4, 8):
        hierarchy = Hierarchy.nearest(32 // banks, 0.5)
        yield _linear(
            f"hierarchy {banks}", random_hp(rng, 24, 32, banks=banks, block_rows=8, hierarchy=hierarchy)
        )


def _linear(
    name: str, weight: Array, weight_bits: int = 8, *, dtype: str = "int8", reach: float = 60, bits: int = 8
) -> Graph:
    """x -> a given matrix -> `bits` bits, signed, for nine tokens or as many as the mask says."""
    graph = Graph(name)
    rng = np.random.default_rng([*name.encode()])
    x = graph.add("x", Input("x", TensorType((9, weight.shape[1]), dtype, STEP)))
    mask = graph.add(MASK, Input(MASK, TensorType((1, 9), "int64")))
    middle = 128 if dtype == "uint8" else 0
    bias = rng.integers(-500, 500, len(weight)) - middle * weight.astype(np.int64).sum(axis=1)
    acc = graph.add("acc", Linear(weight.astype(np.int8), bias, weight_bits), [x])
    spread = 74 * np.sqrt((weight.astype(np.float64) ** 2).sum(axis=1) + 50)
    multiplier, shift = numerics.derive_scales(reach / spread)
    y = graph.add("y", Requantise(multiplier, shift, bits, True, 0, STEP), [acc])
    graph.set_output("out", graph.add("out", DeviceOutput("out"), [y, mask]))
    return graph


def _tables() -> Graph:
    """Six large linear steps in a row, each with a table of its own, which may not come while another is in use."""
    graph = Graph("tables")
    rng = np.random.default_rng(13)
    tokens, channels = 13, 36
    mask = graph.add(MASK, Input(MASK, TensorType((1, tokens), "int64")))
    y = graph.add("x", Input("x", TensorType((tokens, channels), "int8", STEP)))
    multiplier, shift = numerics.derive_scales(np.full(channels, 60 / (74 * 74 * channels**0.5)))
    for index in range(6):
        weight = rng.integers(-127, 128, (channels, channels)).astype(np.int8)
        acc = graph.add(f"acc{index}", Linear(weight, rng.integers(-500, 500, channels), 8), [y])
        entry = graph.add(f"entry{index}", Requantise(multiplier, shift, 8, False, 128, STEP), [acc])
        y = graph.add(f"y{index}", Table(rng.integers(-128, 128, 256), 8, True, STEP, 0), [entry])
    graph.set_output("out", graph.add("out", DeviceOutput("out"), [y, mask]))
    return graph


def _samples(graph: Graph) -> list[dict[str, Array]]:
    """Random over the whole type, then the lowest and the highest; lengths from the longest to the shortest."""
    rng = np.random.default_rng([11, *graph.name.encode()])
    kinds = {n.op.key: n.op.type for n in graph if isinstance(n.op, Input)}
    found: list[dict[str, Array]] = []
    for index in range(SAMPLES):
        sample: dict[str, Array] = {}
        for key, kind in kinds.items():
            if key == MASK:
                tokens = kind.shape[1]
                length = (tokens, 1, max(1, tokens - 1), max(1, tokens // 2))[index % 4]
                sample[key] = (np.arange(tokens) < length).astype(np.int64)[None]
            else:
                bounds = np.iinfo(kind.dtype)
                sample[key] = rng.integers(bounds.min, bounds.max + 1, kind.shape)
                if index == 1:
                    sample[key] = np.full(kind.shape, bounds.min, np.int64)
                elif index == 2:
                    sample[key] = np.where(rng.random(kind.shape) < 0.5, bounds.max, sample[key])
        found.append(sample)
    return found


def _model(name: str, graph: Graph, engine: Engine) -> Case:
    program = lay_out(graph, engine).program
    given: list[bytes] = []
    expected, mask = b"", b""
    for sample in _samples(graph):
        length = int(sample[MASK].sum()) if MASK in sample else program.tokens
        given.append(program.frame(sample, length))
        expected += _answer(graph, program, sample, length)
        for port in program.outputs:
            tokens = 1 if port.single_token else length
            mask += port.pack(engine, np.full((tokens, len(port.physical)), -1), length)
    return Case(
        name, program.image, b"".join(given), Status.OK, expected, mask=mask, frames=tuple(map(len, given))
    )


def _answer(graph: Graph, program: Program, sample: dict[str, Array], length: int) -> bytes:
    found: dict[str, Array] = {}

    def keep(node: Node, values: tuple[Array, ...]) -> None:
        if isinstance(node.op, DeviceOutput):
            found[node.op.key] = values[0]

    execute(graph, sample, keep)
    return b"".join(port.pack(program.engine, found[port.name], length) for port in program.outputs)
