// A window on a stream of beats: the next `units_i` units of `UnitBits` bits, aligned to bit 0, wherever they begin.
//
// `restart_i` begins a section: what is left of the old one is dropped, and the section starts `start_i` units into
// the next beat. `take_i` uses the fields up. With either comes the length of the next take, `units_i` (0: it needs no
// data). `valid_o` says that `data_o` holds all of the current take; both are good from the cycle after the one in which
// the last of its beats came. Beats are asked for only as the current take needs them, in the cycle of the take or
// restart already: a beat a cycle goes through, and no beat of the next section is touched. `Beats` beats hold any
// take: Beats >= ceil((beat - 1 unit + longest take) / beat).
module field_window #(
    parameter BeatBytes = 8,
    parameter UnitBits = 8,
    parameter OutBits = 16,
    parameter TakeBits = 2,
    parameter Beats = 2,
    parameter PosBits = 8 * BeatBytes > UnitBits ? $clog2(8 * BeatBytes / UnitBits) : 1
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,

    input  wire                   valid_i,
    output wire                   ready_o,
    input  wire [8*BeatBytes-1:0] data_i,

    input  wire                   restart_i,
    input  wire [PosBits-1:0]     start_i,
    input  wire                   take_i,
    input  wire [TakeBits-1:0]    units_i,
    output wire                   valid_o,
    output wire [OutBits-1:0]     data_o
);

    localparam BeatBits = 8 * BeatBytes;
    localparam BeatUnits = BeatBits / UnitBits;
    localparam BeatUnitsLog2 = $clog2(BeatUnits);
    localparam UnitLog2 = $clog2(UnitBits);
    localparam SumBits = (TakeBits > PosBits ? TakeBits : PosBits) + 2;
    localparam HaveBits = $clog2(Beats + 1);
    localparam [31:0] InBeat = BeatUnits - 1;

    reg [Beats*BeatBits-1:0] window_q;
    reg [PosBits-1:0]        pos_q;
    reg [TakeBits-1:0]       units_q;
    reg [HaveBits-1:0]       have_q, need_q;

    // Where the next take begins, and what it needs.
    wire change = take_i || restart_i;
    wire [SumBits-1:0] behind = {{(SumBits-PosBits){1'b0}}, pos_q} + {{(SumBits-TakeBits){1'b0}}, units_q};
    wire [SumBits-1:0] behind_in_beat = behind & InBeat[SumBits-1:0];
    // A beat that the take has used in part stays; takes of nothing leave everything.
    wire partial = !restart_i && units_q != 0 && behind_in_beat != 0;
    wire [PosBits-1:0] pos_d = restart_i ? start_i : behind_in_beat[PosBits-1:0];
    wire [SumBits-1:0] ahead = {{(SumBits-PosBits){1'b0}}, pos_d} + {{(SumBits-TakeBits){1'b0}}, units_i} + InBeat[SumBits-1:0];
    wire [SumBits-1:0] beats_ahead = units_i == 0 ? 0 : ahead >> BeatUnitsLog2;
    wire [HaveBits-1:0] need_d = change ? beats_ahead[HaveBits-1:0] : need_q;
    wire [HaveBits-1:0] have = !change ? have_q : restart_i ? 0 : units_q == 0 ? have_q : {{(HaveBits-1){1'b0}}, partial};
    wire append = valid_i && ready_o;

    wire [Beats*BeatBits-1:0] aligned = window_q >> {pos_q, {UnitLog2{1'b0}}};

    assign ready_o = have < need_d;
    assign valid_o = have_q == need_q;
    assign data_o = aligned[OutBits-1:0];

    integer i;
    always @(posedge clk_i) begin
        if (change) begin
            pos_q <= pos_d;
            units_q <= units_i;
        end
        if (change && partial) begin
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
        end else begin
            have_q <= have + {{(HaveBits-1){1'b0}}, append};
            need_q <= need_d;
        end
    end

    wire unused = &{1'b0, behind[0], behind_in_beat, beats_ahead, aligned};

endmodule
