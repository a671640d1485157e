// The records of a weight stream, beat by beat: which words belong to which section, and who gets them.
//
// Beats come with `first_i` on a record's first one and leave eight stages later, a beat a cycle as long as everybody
// takes theirs (`ready_o` is a register): row constants go to the constants ring, beats with words of a map or of codes to their queues, beats with
// weights to the unpacker. A beat may go to several; it goes to all in the same cycle. On its first beat the record itself
// goes to the map and code queues. The unpacker gets one beat of every record with `weight_start_o`.
//
// `error_o`: a header whose record cannot be (docs/program-format.md, "Weight stream"); nothing of it is passed on.
module record_router #(
    parameter Banks = 2,
    parameter Rows = 1,
    parameter BeatBytes = 8,
    parameter RowCycles = 4,
    parameter Depth = 4,
    parameter CycleBits = RowCycles > 1 ? $clog2(RowCycles) : 1,
    parameter LaneBits = BeatBytes > 8 ? $clog2(BeatBytes / 8) : 1,
    parameter ColumnBits = $clog2((4 * Depth + 31) / 16) + 4
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    // Of the step.
    input  wire [11:0]            depth_i,
    input  wire [3:0]             offset_bits_i,
    input  wire                   four_bits_i,
    // Of the code page: shapes there are, and of each {identity, entries, first entry, stride, code bits, take}.
    input  wire [2:0]             shapes_i,
    input  wire [4*43-1:0]        shape_i,

    input  wire                   valid_i,
    output wire                   ready_o,
    input  wire                   first_i,
    input  wire [8*BeatBytes-1:0] beat_i,

    output wire [Rows-1:0]        constants_we_o,
    output wire [5:0]             constants_group_o,
    output wire [54*Rows-1:0]     constants_data_o,

    output wire [8*BeatBytes-1:0] beat_o,
    output wire                   map_valid_o,
    input  wire                   map_ready_i,
    output wire                   code_valid_o,
    input  wire                   code_ready_i,
    output wire                   weight_valid_o,
    input  wire                   weight_ready_i,
    output wire                   weight_start_o,
    output wire [CycleBits:0]     weight_cycles_o,
    output wire [LaneBits-1:0]    weight_lane_o,

    output wire                   map_request_valid_o,
    input  wire                   map_request_ready_i,
    output wire [1:0]             map_kind_o,
    output wire [ColumnBits:0]    map_columns_o,
    output wire                   record_valid_o,
    input  wire                   record_ready_i,
    output wire [CycleBits:0]     record_groups_o,
    // As in `shape_i`.
    output wire [42:0]            record_shape_o,
    output wire                   record_map_o,
    output wire [LaneBits-1:0]    record_lane_o,
    // G*K of the record that goes.
    output wire [CycleBits:0]     record_cycles_o,

    output wire                   idle_o,
    output wire                   error_o
);

    localparam [1:0] Keep = 0, List = 2, Bitmap = 3;
    localparam BeatBits = 8 * BeatBytes;
    localparam BeatWords = BeatBytes / 8;
    localparam BeatWordsLog2 = $clog2(BeatWords);
    localparam RowBanks = Rows * Banks;
    localparam MaxColumns = 4 * Depth + 16;
    localparam Stages = 7;
    // Words of a record that passes the checks.
    localparam MaxWords = 1 + Rows + (12 * MaxColumns * Banks + 63) / 64 + (12 * RowCycles * RowBanks + 63) / 64
        + (8 * RowCycles * RowBanks + 63) / 64;
    localparam WordBits = $clog2(MaxWords + 1);
    // One more, so that a counter that stays at its top is beyond every section.
    localparam IndexBits = WordBits + 1;
    localparam [31:0] FirstWord = 1 + Rows;
    localparam [31:0] MaxColumnsWord = MaxColumns;
    localparam [31:0] RowCyclesWord = RowCycles;
    localparam [31:0] LastConstants = Rows / (BeatBytes / 8);
    localparam [31:0] MapFirst = (1 + Rows) / (BeatBytes / 8);
    localparam RowBanksLog2 = $clog2(RowBanks);
    localparam BanksLog2 = $clog2(Banks);

    // The beats of the stages 0 to 6, and 7 (which leaves); all move together. One more waits in front of them, so that
    // who sends them need not hear of it in the same cycle.
    reg [BeatBits-1:0]        next_q;
    reg                       next_valid_q, next_first_q;
    reg [Stages*BeatBits-1:0] beats_q;
    reg [Stages-1:0]          valid_q, first_q;
    reg [BeatBits-1:0]        beat_q;
    reg                       leave_q;
    wire                      push;
    wire move = !leave_q || push;

    assign ready_o = !next_valid_q;

    always @(posedge clk_i) begin
        if (move) begin
            beats_q <= {beats_q[(Stages-1)*BeatBits-1:0], next_valid_q ? next_q : beat_i};
            beat_q <= beats_q[(Stages-1)*BeatBits +: BeatBits];
            first_q <= {first_q[Stages-2:0], next_valid_q ? next_first_q : first_i};
        end
        if (!next_valid_q) begin
            next_q <= beat_i;
            next_first_q <= first_i;
        end
        if (!rst_ni) begin
            valid_q <= 0;
            next_valid_q <= 1'b0;
        end else begin
            if (move) valid_q <= {valid_q[Stages-2:0], next_valid_q || valid_i};
            next_valid_q <= !move && (next_valid_q || valid_i);
        end
    end

    // ---- A record's header travels with its beats: the registers of a stage change where a first beat enters it.
    wire [Stages-1:0] enters = first_q & valid_q & {Stages{move}};
    wire [63:0] header = beats_q[63:0];

    // Stage 1: the header's fields.
    reg [11:0] groups1_q, columns1_q;
    reg [3:0]  index1_q;
    reg [1:0]  kind1_q;
    reg [31:0] beats1_q;
    // Stage 2: its shape.
    reg [11:0] groups2_q, columns2_q;
    reg [42:0] shape2_q;
    reg [1:0]  kind2_q;
    reg [31:0] beats2_q;
    reg        bad2_q;
    // Stage 3: fields of the sections.
    reg [11:0] groups3_q, columns3_q;
    reg [42:0] shape3_q;
    reg [1:0]  kind3_q;
    reg [31:0] beats3_q;
    reg        bad3_q;
    reg [16:0] cycles3_q;
    reg [15:0] codes3_q, map3_q;
    // Stage 4: words of the sections.
    reg [CycleBits:0]  groups4_q, cycles4_q;
    reg [ColumnBits:0] columns4_q;
    reg [42:0]         shape4_q;
    reg [1:0]          kind4_q;
    reg [31:0]         beats4_q;
    reg                bad4_q;
    reg [WordBits-1:0] map4_q, codes4_q, weights4_q;
    // Stage 5: where the sections end.
    reg [CycleBits:0]  groups5_q, cycles5_q;
    reg [ColumnBits:0] columns5_q;
    reg [42:0]         shape5_q;
    reg [1:0]          kind5_q;
    reg [31:0]         beats5_q;
    reg                bad5_q;
    reg [WordBits-1:0] map_end5_q, code_end5_q, end5_q;
    // Stage 6: in beats.
    reg [CycleBits:0]  groups6_q, cycles6_q;
    reg [ColumnBits:0] columns6_q;
    reg [42:0]         shape6_q;
    reg [1:0]          kind6_q;
    reg                bad6_q;
    reg [IndexBits-1:0] map_last6_q, code_first6_q, code_last6_q, weight_first6_q, last6_q;
    reg                has_map6_q, has_codes6_q, has_weights6_q;
    reg [LaneBits-1:0] code_lane6_q, weight_lane6_q;
    // Stage 7: the beat that leaves.
    reg [CycleBits:0]  groups_q, cycles_q;
    reg [ColumnBits:0] columns_q;
    reg [42:0]         shape_q;
    reg [1:0]          kind_q;
    reg [LaneBits-1:0] code_lane_q, weight_lane_q;
    reg                open_q, request_q, map_q, code_q, weight_q, start_q;
    reg [IndexBits-1:0] index6_q, index_q;
    reg [5:0]          group_q, next_group_q;
    reg                error_q;

    wire [42:0] shape1 = shape_i[43*index1_q[1:0] +: 43];
    wire [4:0]  take2 = shape2_q[4:0];
    wire [3:0]  code_bits2 = shape2_q[8:5];
    wire [16:0] groups2 = {5'd0, groups2_q};
    wire [15:0] columns2 = {4'd0, columns2_q};
    // Small products without multipliers: those of the array are counted.
    wire [16:0] cycles2 = (take2[0] ? groups2 : 17'd0) + (take2[1] ? groups2 << 1 : 17'd0)
        + (take2[2] ? groups2 << 2 : 17'd0) + (take2[3] ? groups2 << 3 : 17'd0) + (take2[4] ? groups2 << 4 : 17'd0);
    wire [15:0] codes2 = (code_bits2[0] ? groups2[15:0] : 16'd0) + (code_bits2[1] ? groups2[15:0] << 1 : 16'd0)
        + (code_bits2[2] ? groups2[15:0] << 2 : 16'd0) + (code_bits2[3] ? groups2[15:0] << 3 : 16'd0);
    wire [15:0] list2 = (offset_bits_i[0] ? columns2 : 16'd0) + (offset_bits_i[1] ? columns2 << 1 : 16'd0)
        + (offset_bits_i[2] ? columns2 << 2 : 16'd0) + (offset_bits_i[3] ? columns2 << 3 : 16'd0);

    wire [ColumnBits+12:0] columns3_wide = {{(ColumnBits+1){1'b0}}, columns3_q};
    // Bits to words; sections begin on words.
    wire [47:0] map_bits3 = {32'd0, map3_q} << BanksLog2;
    wire [47:0] map_words3 = (map_bits3 + 48'd63) >> 6;
    wire [47:0] code_bits3 = {32'd0, codes3_q} << RowBanksLog2;
    wire [47:0] code_words3 = (code_bits3 + 48'd63) >> 6;
    wire [47:0] weight_bits3 = {31'd0, cycles3_q} << (RowBanksLog2 + 2);
    wire [47:0] weight_words3 = ((four_bits_i ? weight_bits3 : weight_bits3 << 1) + 48'd63) >> 6;

    wire [WordBits-1:0] map_end4 = FirstWord[WordBits-1:0] + map4_q;
    wire [WordBits-1:0] map_last5 = map_end5_q - 1'b1;
    wire [WordBits-1:0] code_last5 = code_end5_q - 1'b1;
    wire [WordBits-1:0] last5 = end5_q - 1'b1;
    wire [31:0] needed5 = ({{(32-WordBits){1'b0}}, last5} >> BeatWordsLog2) + 32'd1;
    wire constants_end = index6_q == LastConstants[IndexBits-1:0];
    wire [LaneBits-1:0] in_beat = BeatWords > 1 ? {LaneBits{1'b1}} : 0;

    always @(posedge clk_i) begin
        if (enters[0]) begin
            groups1_q <= header[11:0];
            index1_q <= header[15:12];
            kind1_q <= header[17:16];
            columns1_q <= header[29:18];
            beats1_q <= header[63:32];
        end
        if (enters[1]) begin
            groups2_q <= groups1_q;
            shape2_q <= shape1;
            kind2_q <= kind1_q;
            columns2_q <= columns1_q;
            beats2_q <= beats1_q;
            bad2_q <= groups1_q != 0 && index1_q >= {1'b0, shapes_i};
        end
        if (enters[2]) begin
            groups3_q <= groups2_q;
            shape3_q <= shape2_q;
            kind3_q <= kind2_q;
            columns3_q <= columns2_q;
            beats3_q <= beats2_q;
            bad3_q <= bad2_q;
            cycles3_q <= cycles2;
            codes3_q <= codes2;
            map3_q <= kind2_q == List ? list2 : kind2_q == Bitmap ? {4'd0, depth_i} : 16'd0;
        end
        if (enters[3]) begin
            groups4_q <= groups3_q[CycleBits:0];
            cycles4_q <= cycles3_q[CycleBits:0];
            shape4_q <= shape3_q;
            kind4_q <= kind3_q;
            columns4_q <= columns3_wide[ColumnBits:0];
            beats4_q <= beats3_q;
            bad4_q <= bad3_q || {15'd0, cycles3_q} > RowCyclesWord
                || (kind3_q[1] && {20'd0, columns3_q} > MaxColumnsWord);
            map4_q <= map_words3[WordBits-1:0];
            codes4_q <= code_words3[WordBits-1:0];
            weights4_q <= weight_words3[WordBits-1:0];
        end
        if (enters[4]) begin
            groups5_q <= groups4_q;
            cycles5_q <= cycles4_q;
            shape5_q <= shape4_q;
            kind5_q <= kind4_q;
            columns5_q <= columns4_q;
            beats5_q <= beats4_q;
            bad5_q <= bad4_q;
            map_end5_q <= map_end4;
            code_end5_q <= map_end4 + codes4_q;
            end5_q <= map_end4 + codes4_q + weights4_q;
        end
        if (enters[5]) begin
            groups6_q <= groups5_q;
            cycles6_q <= cycles5_q;
            shape6_q <= shape5_q;
            kind6_q <= kind5_q;
            columns6_q <= columns5_q;
            bad6_q <= bad5_q || needed5 > beats5_q;
            has_map6_q <= map_end5_q != FirstWord[WordBits-1:0];
            has_codes6_q <= code_end5_q != map_end5_q;
            has_weights6_q <= end5_q != code_end5_q;
            map_last6_q <= {1'b0, map_last5 >> BeatWordsLog2};
            code_first6_q <= {1'b0, map_end5_q >> BeatWordsLog2};
            code_last6_q <= {1'b0, code_last5 >> BeatWordsLog2};
            weight_first6_q <= {1'b0, code_end5_q >> BeatWordsLog2};
            last6_q <= {1'b0, last5 >> BeatWordsLog2};
            code_lane6_q <= map_end5_q[LaneBits-1:0] & in_beat;
            weight_lane6_q <= code_end5_q[LaneBits-1:0] & in_beat;
        end
        if (enters[6]) begin
            groups_q <= groups6_q;
            cycles_q <= cycles6_q;
            shape_q <= shape6_q;
            kind_q <= kind6_q;
            columns_q <= columns6_q;
            code_lane_q <= code_lane6_q;
            weight_lane_q <= weight_lane6_q;
            group_q <= next_group_q;
        end
        if (move && valid_q[5]) index6_q <= first_q[5] ? 0 : &index6_q ? index6_q : index6_q + 1'b1;
        if (move && valid_q[6]) begin
            index_q <= index6_q;
            open_q <= first_q[6];
            request_q <= first_q[6] && kind6_q != Keep;
            map_q <= has_map6_q && index6_q + 1'b1 > MapFirst[IndexBits-1:0] && index6_q <= map_last6_q;
            code_q <= has_codes6_q && index6_q >= code_first6_q && index6_q <= code_last6_q;
            // A group without weights is whole when its constants stand.
            weight_q <= has_weights6_q ? index6_q >= weight_first6_q && index6_q <= last6_q : constants_end;
            start_q <= has_weights6_q ? index6_q == weight_first6_q : constants_end;
        end
        if (!rst_ni) begin
            leave_q <= 1'b0;
            next_group_q <= 6'd0;
            error_q <= 1'b0;
        end else begin
            if (move) leave_q <= valid_q[6] && !(first_q[6] && bad6_q) && !error_q;
            if (enters[6]) next_group_q <= next_group_q + 6'd1;
            error_q <= error_q || (enters[6] && bad6_q);
        end
    end

    // ---- Stage 7: everybody takes the beat in the same cycle.
    wire wants_record = open_q;
    wire wants_request = request_q;
    wire codes_ok = !code_q || code_ready_i;
    wire maps_ok = !map_q || map_ready_i;
    wire weights_ok = !weight_q || weight_ready_i;
    wire record_ok = !wants_record || record_ready_i;
    wire request_ok = !wants_request || map_request_ready_i;

    assign push = leave_q && codes_ok && maps_ok && weights_ok && record_ok && request_ok;
    assign beat_o = beat_q;
    assign map_valid_o = push && map_q;
    assign code_valid_o = push && code_q;
    assign weight_valid_o = push && weight_q;
    assign weight_start_o = start_q;
    assign weight_cycles_o = cycles_q;
    assign weight_lane_o = weight_lane_q;
    assign map_request_valid_o = push && wants_request;
    assign map_kind_o = kind_q;
    assign map_columns_o = columns_q;
    assign record_valid_o = push && wants_record;
    assign record_groups_o = groups_q;
    assign record_shape_o = shape_q;
    assign record_map_o = kind_q != Keep;
    assign record_lane_o = code_lane_q;
    assign record_cycles_o = cycles_q;
    assign constants_group_o = group_q;
    assign idle_o = valid_q == 0 && !next_valid_q && !leave_q && !error_q;
    assign error_o = error_q;

    // Sizes of records that pass the checks fit.
    wire unused = &{1'b0, header[31:30], groups3_q, columns3_wide, map_words3, code_words3, weight_words3};

    // Row p is word p + 1 of every record, and records begin on beats.
    genvar p;
    generate
        for (p = 0; p < Rows; p = p + 1) begin : row
            localparam [31:0] Beat = (p + 1) / BeatWords;
            localparam Lane = (p + 1) % BeatWords;
            assign constants_we_o[p] = push && index_q == Beat[IndexBits-1:0];
            assign constants_data_o[54*p +: 54] = beat_q[64*Lane +: 54];
        end
    endgenerate

endmodule
