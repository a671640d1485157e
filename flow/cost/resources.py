"""Stages to a board's primitives. First-principles, not yet calibrated against synthesis.

Multipliers and memories follow the data sheets' geometry and are exact for the stated hardware; LUT and FF
follow from its adders, multiplexers and registers, and leave out what a tool adds (control, replication) or
saves (merging).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache

from flow.boards import DSP_KINDS, Board, DspKind
from flow.engine import RECORD_WORDS, Engine
from flow.ir.op import REGISTRY
from flow.ops.device import DeviceOp, hardware_of
from flow.ops.hardware import AdderTree, Memory, Multiplier, Mux, Resources, address_bits

# Width and words of one block RAM of 18 Kibit. AMD RAMB18 (UG573, UG473): simple dual port up to 36 bits,
# true dual port up
# to 18; a RAMB36 is two of them. Lattice DP16KD and PDPW16KD (FPGA-DS-02012): the same shapes.
BRAM18_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
TRUE_DUAL_WIDTH = 18
URAM_WIDTH, URAM_WORDS = 72, 4096
"""UltraRAM (UG573): both ports read or write 72 bits."""
LUTRAM_WORDS = {6: 64, 4: 16}
"""Words up to which a memory with one read port goes to LUTs, by LUT inputs."""
LUTRAM_LUTS = {6: (64, 3, 4), 4: (16, 4, 6)}
"""(words, bits, LUTs) of one distributed memory: RAM64M (UG574, UG474); DPR16X4 with its write logic
(FPGA-DS-02012)."""


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
    """What an engine may take: the board's `max_utilisation` of every resource, rounded down."""
    whole = available(board)
    return Usage(*(math.floor(getattr(whole, f.name) * board.max_utilisation + 1e-9) for f in fields(Usage)))


def stages(engine: Engine) -> dict[str, Resources]:
    """Hardware of the engine by stage: `control`, and every registered device operator that
    `engine.features` asks for."""
    found = {"control": control(engine)}
    for name, op in sorted(REGISTRY.items()):
        if issubclass(op, DeviceOp) and (op.stage is None or op.stage in engine.features):
            found[name] = hardware_of(op, engine)
    return found


def control(engine: Engine) -> Resources:
    """Sequencer, store and AXI: what no single operator owns.

    The store has B banks of one read and one write port. The sequencer holds one record in registers and has
    eight counters of 32 bits (token tile, row group, cycle, plane, addresses); the AXI4-Lite block has a
    register for every word of information; the AXI4 master a FIFO of one burst of 64 beats; each AXI4-Stream
    two registers a beat.
    """
    record, axi = 32 * RECORD_WORDS, 32 * RECORD_WORDS
    store = Memory("store", engine.store_depth, 8 * engine.tokens, 1, engine.banks)
    program = Memory("program", engine.steps * RECORD_WORDS, 32, 1, 1)
    fifo = Memory("read fifo", 64, 8 * engine.beat_bytes, 1, 1)
    writers = Mux(8 * engine.tokens * engine.rows, 5)
    return Resources(
        products=0,
        wide=(),
        trees=(),
        adder_bits=8 * 32 + 64 + 2 * address_bits(engine.store_depth),
        muxes=(writers, Mux(32, RECORD_WORDS)),
        ff=record + axi + 8 * 32 + 2 * 64 + 4 * 8 * engine.stream_bytes + 2 * 8 * engine.beat_bytes,
        memories=(store, program, fifo),
    )


def dsp_of(multiplier: Multiplier, kind: DspKind) -> int:
    """Primitives of one wide product: each operand is cut into signed chunks of its port, of which all but
    the top one lose the sign bit.

    A port of w bits takes n bits in 1 + ceil((n - w)/(w - 1)) chunks; of the two ways round the cheaper one.
    """

    def chunks(bits: int, port: int) -> int:
        return 1 + max(0, -(-(bits - port) // (port - 1)))

    a, b, wide, narrow = multiplier.a_bits, multiplier.b_bits, kind.wide_bits, kind.narrow_bits
    return min(chunks(a, wide) * chunks(b, narrow), chunks(a, narrow) * chunks(b, wide))


def bram18_of(memory: Memory) -> int:
    """Blocks of 18 Kibit: the fewest over all shapes, `ceil(bits/width) * ceil(words/depth)` a copy."""
    shapes = [s for s in BRAM18_SHAPES if memory.reads == 1 or s[0] <= TRUE_DUAL_WIDTH]
    return memory.copies * min(
        -(-memory.bits // width) * -(-memory.words // words) for width, words in shapes
    )


def uram_of(memory: Memory) -> int:
    """UltraRAMs: `ceil(bits/72) * ceil(words/4096)` a copy; either port reads or writes."""
    return memory.copies * -(-memory.bits // URAM_WIDTH) * -(-memory.words // URAM_WORDS)


def mux_luts(mux: Mux, lut_inputs: int) -> int:
    """LUTs of multiplexers: a 6-input LUT with F7 and F8 takes 4 ways, a 4-input one with PFUMX and L6MUX 2."""
    return -(-mux.bits * mux.ways // (4 if lut_inputs >= 6 else 2)) if mux.ways > 1 else 0


def tree_bits(tree: AdderTree, kind: DspKind) -> int:
    """Carry-chain bits of adder trees on this kind of multiplier; products that share one are added along
    its cascade first."""
    chain = 1 << max(0, kind.packed_terms.bit_length() - 1) if tree.products else 1
    return tree.adder_bits(min(chain, tree.leaves))


def usage(resources: Resources, board: Board) -> Usage:
    """Primitives of `board` for a stage, or for all stages added up.

    Memories go to LUTs where they are shallow and have one read port, else to block RAM; those that UltraRAM
    holds in exchange for most block RAM move there, but only while block RAM is short.
    """
    return _usage(resources, DSP_KINDS[board.dsp_kind], board.lut_inputs, budget(board))


@lru_cache(maxsize=4096)
def _usage(resources: Resources, kind: DspKind, lut_inputs: int, limit: Usage) -> Usage:
    inputs = 6 if lut_inputs >= 6 else 4
    products = -(-resources.products // kind.products)
    dsp = products + sum(m.count * dsp_of(m, kind) for m in resources.wide)
    trees = sum(tree_bits(tree, kind) for tree in resources.trees)
    shallow = [m for m in resources.memories if m.reads == 1 and m.words <= LUTRAM_WORDS[inputs]]
    words, bits, luts = LUTRAM_LUTS[inputs]
    lutram = sum(m.copies * -(-m.words // words) * -(-m.bits // bits) * luts for m in shallow)
    lut = trees + resources.adder_bits + lutram + sum(mux_luts(m, inputs) for m in resources.muxes)
    bram18, uram = place([m for m in resources.memories if m not in shallow], limit)
    return Usage(dsp, lut, resources.ff + trees, bram18, uram)


def place(memories: list[Memory], limit: Usage) -> tuple[int, int]:
    """(block RAMs of 18 Kibit, UltraRAMs): all in block RAM, then those that free most of it for each
    UltraRAM move until it fits."""
    bram18, uram = sum(bram18_of(m) for m in memories), 0
    for memory in sorted(memories, key=lambda m: (-bram18_of(m) / uram_of(m), m.name)):
        if bram18 <= limit.bram18:
            break
        if uram + uram_of(memory) <= limit.uram:
            bram18, uram = bram18 - bram18_of(memory), uram + uram_of(memory)
    return bram18, uram


def engine_usage(engine: Engine, board: Board) -> Usage:
    """Primitives of the whole engine. Multipliers are rounded up once, block RAM and UltraRAM are shared out
    over all memories."""
    parts = list(stages(engine).values())
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return usage(total, board)
