"""Stages to a board's primitives, as Yosys maps the Verilog engine.

Multipliers and memories follow the widths and geometry of the RTL by the rules of Yosys' own mapping, exactly; logic is
linear in the amounts of `flow.ops.blocks`, with coefficients that `tools/bench/resources.py` fits to what Yosys says
(`calibration.json`; 7 series takes those of UltraScale+, which has the same look-up tables). Stages of plug-ins are
first-principles.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path

from flow.boards import DSP_KINDS, Board, DspKind
from flow.engine import Engine
from flow.ir.op import REGISTRY
from flow.ops import blocks
from flow.ops.device import DeviceOp, hardware_of
from flow.ops.hardware import AdderTree, Memory, Multiplier, Mux, Resources, Term

# Width and words of one block RAM of 18 Kibit. AMD RAMB18 (UG573, UG473): simple dual port up to 36 bits,
# true dual port up
# to 18; a RAMB36 is two of them. Lattice DP16KD and PDPW16KD (FPGA-DS-02012): the same shapes.
BRAM18_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
BRAM36_SHAPES = ((72, 512), (36, 1024), (18, 2048), (9, 4096), (4, 8192), (2, 16384), (1, 32768))
TRUE_DUAL_WIDTH = 18
URAM_WIDTH, URAM_WORDS, URAM_BYTES = 72, 4096, (8, 9)
"""UltraRAM (UG573): both ports read or write 72 bits, by bytes of 8 or of 9."""
LUTRAM_WORDS = {6: (32, 64), 4: (16, 32)}
"""Words of distributed memories that cost as much with fewer, by LUT inputs."""


@dataclass(frozen=True)
class Shape:
    """A RAM primitive: `bits` x `words`, what Yosys takes it to cost, and what it takes: `bram18` blocks or `luts`.

    With `shared` unused bits of the primitive cost nothing.
    """

    bits: int
    words: int
    cost: float
    bram18: int
    luts: int
    shared: bool = False


def _blocks(shapes: Iterable[tuple[int, int]], cost: float, bram18: int) -> tuple[Shape, ...]:
    return tuple(Shape(width, words, cost, bram18, 0) for width, words in shapes)


MEMORY_SHAPES: dict[str, tuple[Shape, ...]] = {
    # Yosys 0.70, xilinx/lutrams_xcu.txt, lutrams_xc5v.txt, brams_xc4v.txt; lattice/lutrams_trellis.txt, brams_16kd.txt.
    "DSP48E2": (
        Shape(14, 32, 16, 0, 8, shared=True),
        Shape(7, 64, 16, 0, 8, shared=True),
        *_blocks(BRAM18_SHAPES, 129, 1),
        *_blocks(BRAM36_SHAPES, 257, 2),
    ),
    "DSP48E1": (
        Shape(6, 32, 8, 0, 4, shared=True),
        Shape(3, 64, 8, 0, 4, shared=True),
        *_blocks(BRAM18_SHAPES, 129, 1),
        *_blocks(BRAM36_SHAPES, 257, 2),
    ),
    "MULT18X18D": (Shape(4, 16, 4, 0, 6), *_blocks(BRAM18_SHAPES, 128, 1)),
}
"""RAM primitives of the families, by their multiplier."""
LEAST_PRODUCT_BITS = 9
"""Of a product that AMD's map gives a multiplier."""
MUX_COST = 0.5
"""What Yosys takes one bit of a choice between stacked primitives to cost."""
CALIBRATED = {"DSP48E2": "xcup", "DSP48E1": "xcup", "MULT18X18D": "ecp5"}
"""The family of `calibration.json` whose coefficients a kind of multiplier takes."""
CALIBRATION = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True)
class Usage:
    """Primitives: `dsp` multipliers, `lut`, `ff`, `bram18` blocks of 18 Kibit (an AMD block of 36 is two),
    `uram` UltraRAMs."""

    dsp: int
    lut: int
    ff: int
    bram18: int
    uram: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def over(self, budget: Usage) -> dict[str, int]:
        """How much of each resource is missing in `budget`; empty where everything fits."""
        missing = {f.name: getattr(self, f.name) - getattr(budget, f.name) for f in fields(self)}
        return {name: count for name, count in missing.items() if count > 0}

    def share(self, budget: Usage) -> float:
        """The largest share of a resource of `budget` that is taken; infinite where something is taken of
        nothing."""
        pairs = [(getattr(self, f.name), getattr(budget, f.name)) for f in fields(self)]
        return max((used / have if have else math.inf) for used, have in pairs if used)


def available(board: Board) -> Usage:
    """Everything that the device has."""
    return Usage(board.dsp, board.lut, board.ff, board.bram18, board.uram)


def budget(board: Board) -> Usage:
    """What an engine may take: of every super logic region (SLR) the board's `max_utilisation` of its share of each
    resource, rounded down. The rest of every SLR is left to shell, interconnect and crossings.

    An engine larger than one SLR's budget may lie across several (`slrs_of`).
    """
    one = slr_budget(board)
    return Usage(*(getattr(one, f.name) * board.slrs for f in fields(Usage)))


def slr_budget(board: Board) -> Usage:
    """What an engine may take of one SLR, all of them supposed to be equal."""
    whole = available(board)
    share = board.max_utilisation / board.slrs
    return Usage(*(math.floor(getattr(whole, f.name) * share + 1e-9) for f in fields(Usage)))


def slrs_of(used: Usage, board: Board) -> int:
    """SLRs that something lies across at least, were it cut anywhere: `ceil(largest share of one SLR's budget)`; the
    board's own number where even those do not hold it."""
    share = used.share(slr_budget(board))
    return min(board.slrs, max(1, math.ceil(share))) if math.isfinite(share) else board.slrs


def stages(engine: Engine) -> dict[str, Resources]:
    """Hardware of the engine by stage: `control`, and every registered device operator that
    `engine.features` asks for."""
    found = {"control": blocks.control(engine)}
    for name, op in sorted(REGISTRY.items()):
        if issubclass(op, DeviceOp) and (op.stage is None or op.stage in engine.features):
            found[name] = hardware_of(op, engine)
    return found


def dsp_of(multiplier: Multiplier, kind: DspKind) -> int:
    """Primitives of one product, by the rule of Yosys' mul2dsp.

    The wider operand takes the wider port. What exceeds a port of w bits is cut off in pieces of 18 bits; AMD's
    multipliers lose one to the sign: `n = ceil((bits - w) / piece)` and one more for the rest, if that has two
    bits at least. AMD's map leaves products of fewer than 9 bits to look-up tables.
    """
    signed_only = kind.name != "MULT18X18D"
    piece = 17 if signed_only else 18

    def parts(bits: int, port: int) -> int:
        n = max(0, -(-(bits - port) // piece))
        return n + (1 if bits - n * piece >= 2 else 0)

    a, b = max(multiplier.a_bits, multiplier.b_bits), min(multiplier.a_bits, multiplier.b_bits)
    if signed_only and a + b < LEAST_PRODUCT_BITS:
        return 0
    return parts(a, kind.wide_bits) * parts(b, kind.narrow_bits)


@dataclass(frozen=True)
class Mapped:
    """What one copy of a memory takes: block RAM, or LUTs (`lutram` of them distributed RAM), and registers."""

    bram18: int
    lut: int
    ff: int
    lutram: int


@lru_cache(maxsize=8192)
def mapped(memory: Memory, dsp_kind: str) -> Mapped:
    """One copy of a memory on the family of a kind of multiplier, as Yosys' memory_libmap chooses.

    The cheapest primitive: `cost * ceil(bits/width) * ceil(words/depth)` (without rounding the width where unused bits
    are shared), and half a unit for each bit of a choice between stacked ones. Distributed RAM has its read register in
    flip-flops.
    """
    words, bits = memory.words, memory.bits

    def cost(shape: Shape) -> float:
        wide = bits / shape.bits if shape.shared else -(-bits // shape.bits)
        stacked = -(-words // shape.words)
        return shape.cost * wide * stacked + MUX_COST * bits * (stacked - 1)

    shapes = [s for s in MEMORY_SHAPES[dsp_kind] if _takes(s, memory)]
    best = min(shapes, key=cost)
    stacked = -(-words // best.words)
    count = -(-bits // best.bits) * stacked
    wide_lut = dsp_kind != "MULT18X18D"
    choice = bits * (-(-(stacked - 1) // 3) if wide_lut else stacked - 1)
    if best.luts:
        lutram = count * best.luts
        return Mapped(0, lutram + choice, 0 if memory.asynchronous else bits, lutram)
    return Mapped(count * best.bram18, choice if stacked > 1 else 0, 0, 0)


def _takes(shape: Shape, memory: Memory) -> bool:
    """Whether a primitive has the ports that a memory needs."""
    if memory.asynchronous:
        return shape.luts > 0
    if memory.reads > 1:
        return not shape.luts and shape.bits <= TRUE_DUAL_WIDTH * shape.bram18
    return True


def bram18_of(memory: Memory, dsp_kind: str = "DSP48E2") -> int:
    """Blocks of 18 Kibit of all copies of a memory; 0 where it goes to LUTs."""
    return memory.copies * mapped(memory, dsp_kind).bram18


def uram_of(memory: Memory) -> int:
    """UltraRAMs of all copies of a memory, as Yosys' memory_libmap puts it there.

    Of more than 4,096 words, `lanes` of that many lie side by side and are written by whole bytes, of 8 or of 9 bits:
    `ceil(lanes * bits / 72)`, with bits rounded up to bytes where there is more than one lane.
    """
    lanes = _lanes(memory)
    bits = memory.bits if lanes == 1 else min(-(-memory.bits // byte) * byte for byte in URAM_BYTES)
    return memory.copies * -(-lanes * bits // URAM_WIDTH)


def _lanes(memory: Memory) -> int:
    return -(-memory.words // URAM_WORDS)


def placed(memory: Memory, dsp_kind: str, ultra: bool) -> Mapped:
    """One copy of a memory, in UltraRAM if it is `ultra`: then look-up tables choose between its lanes alone."""
    if not ultra:
        return mapped(memory, dsp_kind)
    return Mapped(0, memory.bits * -(-(_lanes(memory) - 1) // 3), 0, 0)


def mux_luts(mux: Mux, lut_inputs: int) -> int:
    """LUTs of multiplexers: a 6-input LUT with F7 and F8 takes 4 ways, a 4-input one with PFUMX and L6MUX 2."""
    return -(-mux.bits * mux.ways // (4 if lut_inputs >= 6 else 2)) if mux.ways > 1 else 0


def tree_bits(tree: AdderTree, kind: DspKind) -> int:
    """Carry-chain bits of adder trees on this kind of multiplier; products that share one are added along
    its cascade first."""
    chain = 1 << max(0, kind.packed_terms.bit_length() - 1) if tree.products else 1
    return tree.adder_bits(min(chain, tree.leaves))


@cache
def calibration() -> dict[str, dict[str, dict[str, float]]]:
    """Look-up tables and flip-flops of a unit of every term, `block.name`, by family and `lut` or `ff`."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(CALIBRATION.read_text(encoding="utf-8"))[
        "families"
    ]
    return found


def term_usage(terms: Iterable[Term], dsp_kind: str) -> tuple[int, int]:
    """(LUT, FF) of logic: the sum over terms of amount times coefficient, each rounded."""
    family = calibration()[CALIBRATED[dsp_kind]]
    lut = ff = 0
    for term in terms:
        key = f"{term.block}.{term.name}"
        lut += round(family["lut"][key] * term.amount)
        ff += round(family["ff"][key] * term.amount)
    return lut, ff


def usage(resources: Resources, board: Board) -> Usage:
    """Primitives of `board` for a stage, or for all stages added up.

    Memories go where Yosys puts them, but those that `place` moves to UltraRAM.
    """
    return _usage(resources, board.dsp_kind, board.lut_inputs, budget(board))


@lru_cache(maxsize=4096)
def _usage(resources: Resources, dsp_kind: str, lut_inputs: int, limit: Usage) -> Usage:
    kind, inputs = DSP_KINDS[dsp_kind], 6 if lut_inputs >= 6 else 4
    products = -(-resources.products // kind.products)
    dsp = resources.dsp + products + sum(m.count * dsp_of(m, kind) for m in resources.wide)
    trees = sum(tree_bits(tree, kind) for tree in resources.trees)
    lut, ff = term_usage(resources.terms, dsp_kind)
    lut += trees + resources.adder_bits + sum(mux_luts(m, inputs) for m in resources.muxes)
    ultra = place(resources.memories, limit, dsp_kind)
    bram18 = uram = 0
    for memory in resources.memories:
        one = placed(memory, dsp_kind, memory.name in ultra)
        lut, ff = lut + memory.copies * one.lut, ff + memory.copies * one.ff
        bram18 += memory.copies * one.bram18
        uram += uram_of(memory) if memory.name in ultra else 0
    return Usage(dsp, lut, ff + resources.ff + trees, bram18, uram)


def place(memories: Iterable[Memory], limit: Usage, dsp_kind: str = "DSP48E2") -> frozenset[str]:
    """Names of the memories that go to UltraRAM: of those whose Verilog can lie there, the ones that free most block
    RAM for each UltraRAM, until the rest fits; none while block RAM is not short."""
    blocks = [(memory, bram18_of(memory, dsp_kind)) for memory in memories]
    bram18, uram, ultra = sum(count for _, count in blocks), 0, set()
    movable = [(memory, count, uram_of(memory)) for memory, count in blocks if count and memory.ultra]
    for memory, count, ultras in sorted(movable, key=lambda one: (-one[1] / one[2], one[0].name)):
        if bram18 <= limit.bram18:
            break
        if uram + ultras <= limit.uram:
            bram18, uram = bram18 - count, uram + ultras
            ultra.add(memory.name)
    return frozenset(ultra)


def ultra_memories(engine: Engine, board: Board) -> frozenset[str]:
    """Names of the engine's memories that lie in UltraRAM on a board."""
    memories = [memory for part in stages(engine).values() for memory in part.memories]
    return place(memories, budget(board), board.dsp_kind)


def engine_usage(engine: Engine, board: Board) -> Usage:
    """Primitives of the whole engine. Multipliers are rounded up once, block RAM and UltraRAM are shared out
    over all memories."""
    parts = list(stages(engine).values())
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return usage(total, board)
