"""What is proven, and one change each that the proof must notice."""

from __future__ import annotations

from tests.formal.prover import Proof

FIFO_GHOSTS = (
    (
        "ram_1r1w",
        "    output wire [Width-1:0]       rdata_o\n",
        "    output wire [Width-1:0]       rdata_o,\n    input wire [AddressBits-1:0] ghost_i,\n"
        "    output wire [Width-1:0] ghost_o\n",
    ),
    ("ram_1r1w", "endmodule", "    assign ghost_o = word[ghost_i];\nendmodule"),
    ("fifo", ".rdata_o(data_o)", ".rdata_o(data_o), .ghost_i(f_at[DepthLog2-1:0]), .ghost_o(f_stored)"),
)
PROOFS = {
    "fifo": Proof("fifo", {"Width": 3, "DepthLog2": 2}, 3, units=("ram_1r1w",), ghosts=FIFO_GHOSTS, cover=12),
    "deep fifo": Proof("fifo", {"Width": 2, "DepthLog2": 4}, 3, units=("ram_1r1w",), ghosts=FIFO_GHOSTS),
    "read_arbiter": Proof("read_arbiter", {"Readers": 5}, 1, cover=1),
    **{
        f"tensor_split {tokens}x{banks}, {beat}": Proof(
            "tensor_split", {"Tokens": tokens, "Banks": banks, "BeatBytes": beat}, 12, induction=False, cover=10
        )
        for tokens, banks, beat in ((2, 2, 8), (4, 2, 2), (2, 4, 2), (2, 4, 8))
    },
    "field_window": Proof(
        "field_window",
        {"BeatBytes": 2, "UnitBits": 4, "OutBits": 16, "TakeBits": 3, "Beats": 2}, 10, induction=False, cover=12,
    ),
    "memory_reader": Proof(
        "memory_reader", {"BeatBytes": 8, "FifoLog2": 3}, 14, induction=False, units=("fifo", "ram_1r1w"), cover=22
    ),
    "write_arbiter": Proof("write_arbiter", {"Writers": 5, "Banks": 4, "WordBits": 8}, 1, cover=1),
}
