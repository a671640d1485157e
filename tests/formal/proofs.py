"""What is proven, and one change each that the proof must notice."""

from __future__ import annotations

from tests.formal.prover import Proof

FIFO_GHOSTS = (
    (
        "ram_1r1w",
        "    output wire [Width-1:0]       rdata_o\n",
        "    output wire [Width-1:0] rdata_o, input wire [AddressBits-1:0] ghost_i, output wire [Width-1:0] ghost_o\n",
    ),
    ("ram_1r1w", "endmodule", "    assign ghost_o = word[ghost_i];\nendmodule"),
    ("fifo", ".rdata_o(data_o)", ".rdata_o(data_o), .ghost_i(f_at[DepthLog2-1:0]), .ghost_o(f_stored)"),
)
PROOFS = {
    "countdown": Proof("countdown", {"Bits": 3}, 2, cover=6),
    "countdown of one or two": Proof("countdown", {"Bits": 2}, 2, cover=6),
    "fifo": Proof("fifo", {"Width": 3, "DepthLog2": 2}, 3, units=("ram_1r1w",), ghosts=FIFO_GHOSTS, cover=12),
    "deep fifo": Proof("fifo", {"Width": 2, "DepthLog2": 4}, 3, units=("ram_1r1w",), ghosts=FIFO_GHOSTS),
    "read_arbiter": Proof("read_arbiter", {"Readers": 5}, 1, cover=1),
    **{
        f"tensor_split {tokens}x{banks}, {beat}": Proof(
            "tensor_split",
            {"Tokens": tokens, "Banks": banks, "BeatBytes": beat},
            12,
            induction=False,
            cover=10,
        )
        for tokens, banks, beat in ((2, 2, 8), (4, 2, 2), (2, 4, 2), (2, 4, 8))
    },
    "field_window": Proof(
        "field_window", {"BeatBytes": 2, "UnitBits": 4, "OutBits": 16, "TakeBits": 3, "Beats": 2}, 5, cover=12
    ),
    "field_window of bits": Proof(
        "field_window", {"BeatBytes": 1, "UnitBits": 1, "OutBits": 12, "TakeBits": 4, "Beats": 3}, 3, cover=12
    ),
    "memory_reader": Proof(
        "memory_reader",
        {"BeatBytes": 8, "FifoLog2": 3},
        14,
        induction=False,
        sat=True,
        units=("fifo", "ram_1r1w", "stream_slice"),
        cover=22,
    ),
    "ring_room": Proof("ring_room", {"RingLog2": 2, "CycleBits": 1}, 3, cover=12),
    "stream_slice": Proof("stream_slice", {"Width": 3}, 2, cover=6),
    "write_arbiter": Proof("write_arbiter", {"Writers": 5, "Banks": 4, "WordBits": 8}, 3, cover=3),
}

SLOW = ("memory_reader",)
"""Minutes."""

_PASSED = """                else if (take) valid_q <= 1'b1;
                else if (given) valid_q <= 1'b0;
            end
"""
_READY = "            assign ready_o = enable_i && (!valid_q || (piece_ready_i && !piece_last_i));\n"
BROKEN = {
    # What follows the last one is taken for the last where there are two, and for another where there is one.
    "countdown": ("countdown", "last_q <= last_q ? one_q :", "last_q <= !last_q &&"),
    "countdown of one or two": ("countdown", "left_q <= last_q ? count_i :", "left_q <="),
    # A word is written where another waits.
    "fifo": ("fifo", "wire push = valid_i && !full_q;", "wire push = valid_i;"),
    # Full where one place is left: no word is lost, but one is refused.
    "deep fifo": ("fifo", "assign ready_o = !full_q;", "assign ready_o = !full_q && !(valid_i && empty_q);"),
    "read_arbiter": ("read_arbiter", "{32{grant_o[i]}}", "{32{re_i[i]}}"),
    "write_arbiter": ("write_arbiter", "if (first[i]) begin", "if (valid_i[i]) begin"),
    # A beat in three pieces of four; a piece that changes while it waits.
    "tensor_split 2x2, 8": ("tensor_split", "else if (given) held_q <= held_q >> PieceBits;", ""),
    "tensor_split 4x2, 2": (
        "tensor_split", "held_q <= {data_i, held_q[PieceBits-1:BeatBytes*8]};", "held_q <= {PartBeats{data_i}};"
    ),
    "tensor_split 2x4, 2": (
        "tensor_split", "else if (given) index_q <= index_q + 1'b1;", "else index_q <= index_q + 1'b1;"
    ),
    # A beat is taken while a piece waits.
    "tensor_split 2x4, 8": ("tensor_split", f"{_PASSED}{_READY}", f"{_PASSED}            assign ready_o = enable_i;\n"),
    "field_window": ("field_window", "take_have = need_q == 0 ? have_q : ", "take_have = "),
    # What a take has used in part is dropped.
    "field_window of bits": ("field_window", "{{(HaveBits-1){1'b0}}, in_beat != 0}", "{HaveBits{1'b0}}"),
    # The last word is claimed twice.
    "ring_room": ("ring_room", "free_q > one || (free_q == one && !claim_i)", "free_q != 0"),
    # A word that comes as the head leaves goes past the one that waits.
    "stream_slice": ("stream_slice", "head_q <= tail_valid_q ? tail_q : data_i;", "head_q <= data_i;"),
    # What lies behind the image is read.
    "memory_reader": ("memory_reader", "left_q <= beyond ? image_left_q : span_beats_q;", "left_q <= span_beats_q;"),
}  # fmt: skip
"""One change of each module that its proof has to notice."""
