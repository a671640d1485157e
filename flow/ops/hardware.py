"""What an operator's stage is built of, in terms that no board defines: `flow.cost.resources` maps them to one.

Flow's own stages are blocks of the Verilog engine (`flow.ops.blocks`): multipliers and memories exactly, logic as
`Term`s whose cost in look-up tables and flip-flops is calibrated against Yosys. Plug-ins describe theirs by adders,
multiplexers and registers, first-principles.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Multiplier:
    """`count` signed products of `a_bits` x `b_bits`, one each a cycle."""

    count: int
    a_bits: int
    b_bits: int


@dataclass(frozen=True)
class AdderTree:
    """`count` pipelined trees that add `leaves` signed numbers of `bits` in a cycle.

    Level l = 1 .. log2(leaves) has leaves/2^l adders of bits + l bits, and as many registers. With `products`
    the leaves are products of the array, of which boards that pack two into one primitive add the first few
    along its cascade.
    """

    count: int
    leaves: int
    bits: int
    products: bool

    def adder_bits(self, chain: int = 1) -> int:
        """Bits of all adders when the first log2(`chain`) levels are added elsewhere:
        `count * sum_l leaves/2^l * (bits + l)`."""
        total, level, nodes = 0, 1, self.leaves // 2
        while nodes:
            total += nodes * (self.bits + level) if 1 << level > chain else 0
            level, nodes = level + 1, nodes // 2
        return self.count * total


@dataclass(frozen=True)
class Mux:
    """`bits` multiplexers, each one of `ways` to 1."""

    bits: int
    ways: int


@dataclass(frozen=True)
class Memory:
    """`copies` equal memories of `words` x `bits`, each with one write port and `reads` read ports.

    One read port beside the write port is simple dual port; two read ports are true dual port, and writing
    then takes one of them while nothing is read. Nobody reads a word in the cycle in which it is written. An
    `asynchronous` memory is read without a clock, which distributed RAM alone does.
    `block` is the instance in the Verilog engine that holds it. `ultra`: its Verilog can be told to lie in UltraRAM
    (parameter `Style`).
    """

    name: str
    words: int
    bits: int
    reads: int
    copies: int
    asynchronous: bool = False
    block: str = ""
    ultra: bool = False


@dataclass(frozen=True)
class Term:
    """`amount` units of logic of a block, an instance in the Verilog engine; what a unit costs is calibrated."""

    block: str
    name: str
    amount: int


@dataclass(frozen=True)
class Resources:
    """Hardware of a stage.

    Attributes:
        products: multiplications of a 9-bit activation by an 8-bit weight, each cycle.
        wide: wider multipliers.
        trees: adder trees.
        adder_bits: bits of carry chains (adders, comparators, counters).
        muxes: multiplexers.
        ff: registers outside DSP primitives and adder trees.
        memories: memories; small ones may be left to `terms`.
        dsp: multiplier primitives beyond `products` and `wide`, the same on every family.
        terms: logic of the Verilog engine's blocks.
    """

    products: int
    wide: tuple[Multiplier, ...]
    trees: tuple[AdderTree, ...]
    adder_bits: int
    muxes: tuple[Mux, ...]
    ff: int
    memories: tuple[Memory, ...]
    dsp: int = 0
    terms: tuple[Term, ...] = ()

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.products + other.products,
            self.wide + other.wide,
            self.trees + other.trees,
            self.adder_bits + other.adder_bits,
            self.muxes + other.muxes,
            self.ff + other.ff,
            self.memories + other.memories,
            self.dsp + other.dsp,
            self.terms + other.terms,
        )


def logic(adder_bits: int, muxes: tuple[Mux, ...], ff: int) -> Resources:
    """Plain logic: neither multipliers nor memories."""
    return Resources(products=0, wide=(), trees=(), adder_bits=adder_bits, muxes=muxes, ff=ff, memories=())


def shifter(lanes: int, in_bits: int, out_bits: int) -> Resources:
    """`lanes` arithmetic right shifts of `in_bits` by 0 .. in_bits - 1, of which the low `out_bits` are
    kept, rounded half up.

    Stages of 4-to-1 multiplexers, coarse first: the stage that shifts by 4^j * (0..3) passes on min(in_bits,
    out_bits + 4^j - 1) bits, registered. Rounding adds the last bit shifted out, `(x >> s) + x[s-1]`, as the
    carry into an adder of out_bits; what is cut off is compared with the sign for saturation, one carry bit
    for 4 bits.
    """
    stages, widths = 1, [out_bits]
    while 4**stages < in_bits:
        widths.append(min(in_bits, out_bits + 4**stages - 1))
        stages += 1
    return logic(
        adder_bits=lanes * (out_bits + -(-in_bits // 4)),
        muxes=(Mux(lanes * sum(widths), 4),),
        ff=lanes * (sum(widths) + out_bits),
    )


def divider(bits: int, quotient_bits: int) -> Resources:
    """One restoring divider, a result a cycle: `quotient_bits` stages of a subtraction of `bits` + 1,
    remainder, divisor and quotient registered."""
    return logic(
        adder_bits=quotient_bits * (bits + 1),
        muxes=(Mux(quotient_bits * (bits + 1), 2),),
        ff=quotient_bits * (2 * bits + 1) + quotient_bits * (quotient_bits + 1) // 2,
    )


def square_root(bits: int) -> Resources:
    """One integer square root of `bits`, a result a cycle: bits/2 stages that subtract (root << 2 | 1) and
    keep the remainder and root."""
    stages = -(-bits // 2)
    return logic(
        adder_bits=sum(stage + 3 for stage in range(1, stages + 1)),
        muxes=(Mux(sum(stage + 2 for stage in range(1, stages + 1)), 2),),
        ff=sum(2 * stage + 2 + (bits - 2 * stage) for stage in range(1, stages + 1)),
    )
