// Codes to operand offsets: one member of the codes of `Lanes` rows in all banks a cycle.
//
// For each record, in order: for g < G, for p < P, for k < K the offsets list[bank][g*stride + member k] of all banks
// go to word g*K + k of the record in the row buffer, row p; lane l works on rows l, l + Lanes, ... A shape without code
// bits (dense: every row reads the same columns) takes G*K cycles, the others P/Lanes*G*K; records follow each other with
// at most one lost cycle. With `map_i` a record waits until its lists stand. Records lie one behind the other in the row
// buffer, which is a ring; words of it come back with `free_i`, and a look-up waits at the window until there is room for
// what it writes: the stages behind never stand still. With the last write of a record, or in its place, `done_o` is high.
//
//     X   the row's codes leave the window     3   table's members
//     1   codes of 0 to 12 bits, aligned       4   column of the list
//     2   codes, table's address               5   offset, which stage 6 writes to the row buffer
//
// `list_old_o`: look-ups in lists before the current ones are under way. `list_waiting_o`: nothing is under way, and the
// next record has a map. `error_o`: a code beyond the table's part, or a column beyond the list.
module code_expander #(
    parameter Banks = 2,
    parameter Rows = 1,
    parameter BeatBytes = 8,
    parameter RowCycles = 4,
    parameter Depth = 4,
    parameter RingLog2 = 9,
    parameter Lanes = 1,
    parameter CycleBits = RowCycles > 1 ? $clog2(RowCycles) : 1,
    parameter LaneBits = BeatBytes > 8 ? $clog2(BeatBytes / 8) : 1,
    parameter ColumnBits = $clog2((4 * Depth + 31) / 16) + 4
) (
    input  wire                        clk_i,
    input  wire                        rst_ni,
    // A step begins: no list is in force.
    input  wire                        start_i,

    input  wire                        record_valid_i,
    output wire                        record_ready_o,
    input  wire [CycleBits:0]          groups_i,
    input  wire [4:0]                  take_i,
    input  wire [3:0]                  code_bits_i,
    input  wire [15:0]                 stride_i,
    input  wire [7:0]                  first_entry_i,
    input  wire [8:0]                  entries_i,
    input  wire                        identity_i,
    input  wire                        map_i,
    input  wire [LaneBits-1:0]         lane_i,
    input  wire [CycleBits:0]          free_i,

    input  wire                        beat_valid_i,
    output wire                        beat_ready_o,
    input  wire [8*BeatBytes-1:0]      beat_i,

    input  wire                        list_valid_i,
    output wire                        list_taken_o,
    input  wire                        list_identity_i,
    input  wire [ColumnBits-1:0]       list_base_i,
    input  wire [ColumnBits:0]         list_count_i,
    output wire                        list_old_o,
    output wire                        list_waiting_o,

    output wire                        table_re_o,
    output wire [10*Lanes*Banks-1:0]   table_addresses_o,
    input  wire [16*Lanes*Banks-1:0]   table_members_i,
    output wire                        column_re_o,
    output wire                        column_identity_o,
    output wire [Lanes*Banks*ColumnBits-1:0] columns_o,

    output wire [Rows-1:0]             we_o,
    output wire [RingLog2-1:0]         address_o,
    output wire                        done_o,
    output wire                        idle_o,
    output wire                        error_o
);

    localparam BeatBits = 8 * BeatBytes;
    // Look-ups of a cycle: their codes are code_bits times as many bits, and sections begin on words.
    localparam Wide = Lanes * Banks;
    localparam UnitBits = Wide < 64 ? Wide : 64;
    localparam RowUnits = Wide / UnitBits;
    localparam BeatUnits = BeatBits / UnitBits;
    localparam TakeBits = $clog2(12 * RowUnits + 1);
    localparam PosBits = BeatUnits > 1 ? $clog2(BeatUnits) : 1;
    localparam ReachBits = (TakeBits > PosBits ? TakeBits : PosBits) + 1;
    localparam [31:0] InBeat = BeatUnits - 1;
    localparam LaneLog2 = $clog2(64 / UnitBits);
    localparam RowUnitsLog2 = $clog2(RowUnits);
    localparam WindowBeats = (BeatUnits - 1 + 12 * RowUnits + BeatUnits - 1) / BeatUnits;
    localparam Turns = Rows / Lanes;
    localparam TurnBits = Turns > 1 ? $clog2(Turns) : 1;
    localparam BaseBits = 17 + CycleBits + ColumnBits;
    localparam SumBits = (ColumnBits > 12 ? ColumnBits : 12) + 1;
    localparam InfoBits = Rows + RingLog2;
    localparam [31:0] LastTurn = Turns - 1;

    // The record in work.
    reg                  active_q;
    reg [CycleBits:0]    left_q;
    reg [4:0]            take_q, member_q;
    // The first and the last member of a row.
    reg                  new_row_q, row_done_q;
    reg [3:0]            code_bits_q;
    reg [15:0]           stride_q;
    reg [7:0]            first_entry_q;
    reg [8:0]            entries_q;
    reg                  identity_q;
    reg [TurnBits-1:0]   turn_q;
    // All rows at once where nothing tells them apart; the record's last group; what goes with a row's codes.
    reg                  all_rows_q, last_group_q;
    reg [ReachBits-1:0]  reach_q;
    // Of the row buffer: where the group in work lies.
    reg [RingLog2-1:0]   word_q;
    reg [BaseBits-1:0]   base_q;

    // The lists in force lie from `list_base_q` on, and end before `list_end_q`.
    reg                  list_identity_q;
    reg [ColumnBits-1:0] list_base_q;
    reg [ColumnBits:0]   list_end_q;

    // What goes with a look-up through the stages; `done_q` also stands alone, for a record without codes.
    reg [6:1]            valid_q, done_q;
    reg [3:0]            old_q;
    reg                  some_old_q, waiting_q;
    reg [InfoBits-1:0]   info1_q, info2_q, info3_q, info4_q, info5_q, info6_q;
    reg                  new1_q;
    reg [3:0]            code_bits1_q, member1_q, member2_q;
    reg [1:0]            member3_q;
    reg [7:0]            first1_q, first2_q;
    reg [8:0]            entries1_q, entries2_q;
    reg                  identity1_q, identity2_q, identity3_q;
    reg [BaseBits-1:0]   base1_q, base2_q, base3_q, base4_q;
    reg [ColumnBits:0]   end1_q, end2_q, end3_q, end4_q;
    reg                  same1_q, same2_q, same3_q, same4_q, same5_q;
    reg                  unknown3_q, unknown4_q, unknown5_q, beyond5_q, error_q;
    // All banks.
    reg [12*Wide-1:0]    raw_q, code2_q, code3_q, member4_q;
    reg [Wide*ColumnBits-1:0] column5_q;

    wire window_valid;
    wire [12*Wide-1:0] window;
    wire [PosBits+LaneBits+LaneLog2-1:0] start_unit = {{PosBits{1'b0}}, lane_i, {LaneLog2{1'b0}}};

    // A group's words are claimed with its first row.
    wire room;
    wire first_row = turn_q == 0;
    wire fire = active_q && (!new_row_q || window_valid) && (!first_row || room);
    wire last_row = all_rows_q || turn_q == LastTurn[TurnBits-1:0];
    wire group_done = row_done_q && last_row;
    wire record_done = group_done && last_group_q;
    wire last = fire && record_done;
    wire empty = groups_i == 0;
    wire load = record_valid_i && (!active_q || (last && !empty)) && (!map_i || list_valid_i);
    wire [TakeBits+3:0] load_units = {{TakeBits{1'b0}}, code_bits_i} << RowUnitsLog2;
    wire [TakeBits+3:0] row_units = {{TakeBits{1'b0}}, code_bits_q} << RowUnitsLog2;
    wire [ReachBits-1:0] load_reach = {{(ReachBits-TakeBits){1'b0}}, load_units[TakeBits-1:0]} + InBeat[ReachBits-1:0];
    // After the last row of a record the window wants nothing more of it.
    wire behind = last_row && last_group_q;
    wire [4:0] member_d = row_done_q ? 5'd0 : member_q + 5'd1;

    assign record_ready_o = load;
    assign list_taken_o = load && map_i;
    assign list_old_o = some_old_q;
    assign list_waiting_o = waiting_q;
    assign idle_o = !active_q && valid_q == 0 && done_q == 0 && !error_q;

    ring_room #(.RingLog2(RingLog2), .CycleBits(CycleBits)) words (
        .clk_i(clk_i), .rst_ni(rst_ni), .free_i(free_i), .claim_i(fire && first_row), .room_o(room)
    );

    field_window #(
        .BeatBytes(BeatBytes), .UnitBits(UnitBits), .OutBits(12 * Wide), .TakeBits(TakeBits), .Beats(WindowBeats)
    ) codes (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(beat_valid_i),
        .ready_o(beat_ready_o),
        .data_i(beat_i),
        .restart_i(load),
        .start_i(start_unit[PosBits-1:0]),
        .first_i(empty ? {TakeBits{1'b0}} : load_units[TakeBits-1:0]),
        .take_i(fire && new_row_q),
        .units_i(behind ? {TakeBits{1'b0}} : row_units[TakeBits-1:0]),
        .reach_i(behind ? {ReachBits{1'b0}} : reach_q),
        .valid_o(window_valid),
        .data_o(window)
    );

    wire [ColumnBits-1:0] list_base = map_i ? list_base_i : list_base_q;
    wire [Rows-1:0] row_mask;
    wire [RingLog2+4:0] word = {5'd0, word_q} + {{RingLog2{1'b0}}, member_q};
    wire [RingLog2+4:0] next_word = {5'd0, word_q} + {{RingLog2{1'b0}}, take_q};

    always @(posedge clk_i) begin
        if (load) begin
            left_q <= groups_i;
            take_q <= take_i;
            member_q <= 5'd0;
            new_row_q <= 1'b1;
            row_done_q <= take_i == 5'd1;
            code_bits_q <= code_bits_i;
            stride_q <= stride_i;
            first_entry_q <= first_entry_i;
            entries_q <= entries_i;
            identity_q <= identity_i;
            turn_q <= 0;
            all_rows_q <= code_bits_i == 0;
            last_group_q <= groups_i == 1;
            reach_q <= code_bits_i == 0 ? 0 : load_reach;
            base_q <= {{(BaseBits-ColumnBits){1'b0}}, list_base};
        end else if (fire) begin
            member_q <= member_d;
            new_row_q <= row_done_q;
            row_done_q <= member_d + 5'd1 == take_q;
            if (row_done_q) turn_q <= last_row ? 0 : turn_q + 1'b1;
            if (group_done) begin
                left_q <= left_q - 1'b1;
                last_group_q <= left_q == 2;
                base_q <= base_q + {{(BaseBits-16){1'b0}}, stride_q};
            end
        end
        if (start_i) begin
            list_base_q <= 0;
            list_end_q <= 0;
            list_identity_q <= 1'b0;
        end else if (load && map_i) begin
            list_base_q <= list_base_i;
            list_end_q <= {1'b0, list_base_i} + list_count_i;
            list_identity_q <= list_identity_i;
        end
        if (!rst_ni) word_q <= 0;
        else if (fire && group_done) word_q <= next_word[RingLog2-1:0];
        if (!rst_ni) begin
            active_q <= 1'b0;
            old_q <= 4'd0;
            some_old_q <= 1'b0;
            waiting_q <= 1'b0;
            valid_q <= 6'd0;
            done_q <= 6'd0;
        end else begin
            active_q <= load ? !empty : active_q && !last;
            old_q <= load && map_i ? {valid_q[3:1], fire} : {old_q[2:0], 1'b0};
            some_old_q <= load && map_i ? valid_q[4:1] != 0 || fire : old_q != 0;
            waiting_q <= record_valid_i && map_i && !active_q && valid_q[5:1] == 0 && !load;
            valid_q <= {valid_q[5:1], fire};
            done_q <= {done_q[5:1], last || (load && empty)};
        end
    end

    // ---- Stages 1 to 6
    // Fields of `width` bits to twelve bits each.
    function [12*Wide-1:0] fields;
        input [12*Wide-1:0] bits;
        input [3:0]          width;
        integer              bank, w;
        begin
            fields = 0;
            for (w = 1; w <= 12; w = w + 1)
                if (width == w[3:0])
                    for (bank = 0; bank < Wide; bank = bank + 1)
                        fields[12*bank +: 12] = bits[bank*w +: 12] & ~(12'hFFF << w);
        end
    endfunction

    wire base_beyond = base4_q[BaseBits-1:ColumnBits] != 0;
    wire [SumBits-1:0] base_sum = {{(SumBits-ColumnBits){1'b0}}, base4_q[ColumnBits-1:0]};
    wire [SumBits-1:0] end_sum = {{(SumBits-ColumnBits-1){1'b0}}, end4_q};
    wire [Wide-1:0]            unknown2, beyond4;
    wire [12*Wide-1:0]         member3;
    wire [Wide*ColumnBits-1:0] column4;

    always @(posedge clk_i) begin
        info1_q <= {row_mask, word[RingLog2-1:0]};
        new1_q <= new_row_q;
        code_bits1_q <= code_bits_q;
        member1_q <= member_q[3:0];
        first1_q <= first_entry_q;
        entries1_q <= entries_q;
        identity1_q <= identity_q;
        base1_q <= base_q;
        end1_q <= list_end_q;
        same1_q <= list_identity_q;

        info2_q <= info1_q;
        member2_q <= member1_q;
        first2_q <= first1_q;
        entries2_q <= entries1_q;
        identity2_q <= identity1_q;
        base2_q <= base1_q;
        end2_q <= end1_q;
        same2_q <= same1_q;

        info3_q <= info2_q;
        member3_q <= member2_q[1:0];
        identity3_q <= identity2_q;
        base3_q <= base2_q;
        end3_q <= end2_q;
        same3_q <= same2_q;

        info4_q <= info3_q;
        base4_q <= base3_q;
        end4_q <= end3_q;
        same4_q <= same3_q;
        unknown4_q <= unknown3_q;

        info5_q <= info4_q;
        same5_q <= same4_q;
        unknown5_q <= unknown4_q;

        info6_q <= info5_q;
        error_q <= rst_ni && valid_q[5] && (unknown5_q || beyond5_q);

        // All banks: left alone where nothing comes, for they are many.
        if (fire && new_row_q) raw_q <= window;
        if (valid_q[1] && new1_q) code2_q <= fields(raw_q, code_bits1_q);
        if (valid_q[2]) begin
            code3_q <= code2_q;
            unknown3_q <= unknown2 != 0;
        end
        if (valid_q[3]) member4_q <= member3;
        if (valid_q[4]) begin
            column5_q <= column4;
            beyond5_q <= base_beyond || beyond4 != 0;
        end
    end

    genvar b;
    generate
        for (b = 0; b < Rows; b = b + 1) begin : row
            localparam [31:0] Turn = b / Lanes;
            assign row_mask[b] = all_rows_q || turn_q == Turn[TurnBits-1:0];
        end
        for (b = 0; b < Wide; b = b + 1) begin : bank
            wire [7:0]         entry = first2_q + code2_q[12*b +: 8];
            wire [SumBits-1:0] column = base_sum + {{(SumBits-12){1'b0}}, member4_q[12*b +: 12]};
            assign table_addresses_o[10*b +: 10] = {entry, member2_q[3:2]};
            assign unknown2[b] = !identity2_q && code2_q[12*b +: 12] >= {3'd0, entries2_q};
            assign member3[12*b +: 12] = identity3_q ? code3_q[12*b +: 12]
                : {8'd0, table_members_i[16*b + 4*member3_q +: 4]};
            assign column4[ColumnBits*b +: ColumnBits] = column[ColumnBits-1:0];
            assign beyond4[b] = column >= end_sum;
        end
    endgenerate

    assign table_re_o = valid_q[2];
    assign column_re_o = valid_q[5];
    assign column_identity_o = same5_q;
    assign columns_o = column5_q;
    assign we_o = info6_q[RingLog2 +: Rows] & {Rows{valid_q[6]}};
    assign address_o = info6_q[RingLog2-1:0];
    assign done_o = done_q[6];
    assign error_o = error_q;

    wire unused = &{1'b0, start_unit, load_units, row_units, word, next_word};

endmodule
