// A window on a stream of beats: the next `units_i` units of `UnitBits` bits, aligned to bit 0, wherever they begin.
//
// `restart_i` begins a section: what is left of the old one is dropped, and the section starts `start_i` units into
// the next beat with a take of `first_i` units. `take_i` uses the fields up; the take behind it has `units_i` units. A
// take of 0 units needs no data; `reach_i` is what goes with `units_i`: 0, or units_i + units of a beat - 1. `valid_o`
// says that `data_o` holds all of the current take; both are good from the cycle after the one in which the last of its
// beats came. Beats are asked for only as the current take needs them, in the cycle of the take or restart already: a
// beat a cycle goes through, and no beat of the next section is touched. `Beats` beats hold any take:
// Beats >= ceil((beat - 1 unit + longest take) / beat).
//
// `take_i` and `restart_i` may come late in a cycle: they choose among what the lengths, which are to come early, lead to.
module field_window #(
    parameter BeatBytes = 8,
    parameter UnitBits = 8,
    parameter OutBits = 16,
    parameter TakeBits = 2,
    parameter Beats = 2,
    parameter PosBits = 8 * BeatBytes > UnitBits ? $clog2(8 * BeatBytes / UnitBits) : 1,
    parameter ReachBits = (TakeBits > PosBits ? TakeBits : PosBits) + 1
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,

    input  wire                   valid_i,
    output wire                   ready_o,
    input  wire [8*BeatBytes-1:0] data_i,

    input  wire                   restart_i,
    input  wire [PosBits-1:0]     start_i,
    input  wire [TakeBits-1:0]    first_i,
    input  wire                   take_i,
    input  wire [TakeBits-1:0]    units_i,
    input  wire [ReachBits-1:0]   reach_i,
    output wire                   valid_o,
    output wire [OutBits-1:0]     data_o
);

    localparam BeatBits = 8 * BeatBytes;
    localparam BeatUnits = BeatBits / UnitBits;
    localparam BeatUnitsLog2 = $clog2(BeatUnits);
    localparam UnitLog2 = $clog2(UnitBits);
    localparam SumBits = ReachBits + 1;
    localparam HaveBits = $clog2(Beats + 1);
    localparam [31:0] InBeat = BeatUnits - 1;

    reg [Beats*BeatBits-1:0] window_q;
    reg [PosBits-1:0]        pos_q;
    // Where the current take ends, from the beat on in which it begins.
    reg [SumBits-1:0]        end_q;
    reg [HaveBits-1:0]       have_q, need_q;
    // have_q == need_q
    reg                      valid_q;

    // What the take behind the current one needs, and a section's first.
    wire [SumBits-1:0] in_beat = end_q & InBeat[SumBits-1:0];
    wire [SumBits-1:0] units = {{(SumBits-TakeBits){1'b0}}, units_i};
    wire [SumBits-1:0] first = {{(SumBits-TakeBits){1'b0}}, first_i};
    wire [SumBits-1:0] start = {{(SumBits-PosBits){1'b0}}, start_i};
    wire [SumBits-1:0] take_ahead = in_beat + {{(SumBits-ReachBits){1'b0}}, reach_i};
    wire [SumBits-1:0] first_ahead = start + first + InBeat[SumBits-1:0];
    wire [SumBits-1:0] take_beats = take_ahead >> BeatUnitsLog2;
    wire [SumBits-1:0] first_beats = first_i == 0 ? 0 : first_ahead >> BeatUnitsLog2;
    wire [HaveBits-1:0] take_need = take_beats[HaveBits-1:0];
    wire [HaveBits-1:0] first_need = first_beats[HaveBits-1:0];
    // A beat that the take has used in part stays; takes of nothing leave everything.
    wire [HaveBits-1:0] take_have = need_q == 0 ? have_q : {{(HaveBits-1){1'b0}}, in_beat != 0};

    wire change = take_i || restart_i;
    wire [HaveBits-1:0] have = restart_i ? 0 : take_i ? take_have : have_q;
    wire append = valid_i && ready_o;

    wire [Beats*BeatBits-1:0] aligned = window_q >> {pos_q, {UnitLog2{1'b0}}};

    assign ready_o = restart_i ? first_i != 0 : take_i ? take_have < take_need : have_q < need_q;
    assign valid_o = valid_q;
    assign data_o = aligned[OutBits-1:0];

    integer i;
    always @(posedge clk_i) begin
        if (change) begin
            pos_q <= restart_i ? start_i : in_beat[PosBits-1:0];
            end_q <= restart_i ? start + first : in_beat + units;
        end
        // The take's last beat; where it is used up, nothing is left of what moves.
        if (take_i) begin
            for (i = 1; i < Beats; i = i + 1)
                if (need_q == i[HaveBits-1:0] + 1'b1) window_q[BeatBits-1:0] <= window_q[i*BeatBits +: BeatBits];
        end
        if (append) begin
            for (i = 0; i < Beats; i = i + 1)
                if (have == i[HaveBits-1:0]) window_q[i*BeatBits +: BeatBits] <= data_i;
        end
        if (!rst_ni) begin
            have_q <= 0;
            need_q <= 0;
            valid_q <= 1'b1;
        end else begin
            have_q <= have + {{(HaveBits-1){1'b0}}, append};
            need_q <= restart_i ? first_need : take_i ? take_need : need_q;
            valid_q <= restart_i ? first_i == 0 || (valid_i && first_need == 1)
                : take_i ? take_have == take_need || (valid_i && take_have + 1'b1 == take_need)
                : valid_q || (valid_i && have_q + 1'b1 == need_q);
        end
    end

    wire unused = &{1'b0, take_ahead, first_ahead, take_beats, first_beats, aligned};

endmodule
