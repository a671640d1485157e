// The weight loader of linear steps: code page, tables, and the records of the weight stream into the row buffer and the
// constants ring (docs/program-format.md, "Code page" and "Weight stream").
//
// `load_start_i` begins with the step's words, stable until `load_done_o` (level, high when idle). Exactly the beats of
// the step are taken: page, table or stage parameters, weights; `load_done_o` comes when the last row group stands in
// the row buffer. It may be loaded long before the array takes it: the row buffer is a ring of 2^RingLog2 words, of which
// a row group takes G*K, and up to `Ahead` groups wait in it.
//
// A row group is offered with `group_valid_o` and its cycles G*K (0: no weights); `group_ready_i` takes it. Groups lie
// one behind the other from word 0 of the ring on. `group_free_i` words of the ring, the oldest, are given back, as early
// as in the cycle in which they are read for the last time. The constants of a group lie at its number since reset
// modulo 64; `Ahead` leaves the results of groups taken before time to read theirs.
//
// THE TIMING LAW. With room in the ring, and sums over the records of a step, it is loaded in
//     5 + page + table + max(sum of beats, sum of look-ups + records, sum of maps) + about 35 cycles,
//     page      two cycles for its header, one for each shape, and for each entry one, or two where K > 8;
//     table     four entries a cycle, stage parameters one;
//     beats     of the records, one a cycle;
//     look-ups  G*K * P / Lanes, or G*K where the shape has no code bits; Lanes = max(1, min(P, BeatBytes / B)), so that
//               the weights of a look-up (B bytes) are at least a beat and look-ups never limit weights of 8 bits;
//     map       B for a list of up to 16 columns, B * ceil(M / 16) for longer ones, B * ceil(D / 16) for bitmaps.
// Codes wait in a queue of 2^CodeLog2 beats, maps in one of 32, records in one of 16: they even out that much.
//
// `load_error_o`: page, a record, a map or a code is damaged, or there are no row groups (BAD_STEP). It stays until the
// next start; the step's beats are taken to the end. Groups that were whole before stay on offer, others are lost, and
// the loader must be reset before the next start.
//
// Table: entries 4a .. 4a + 3 at address a, bank `parity_i`; stage parameters likewise, one at a time.
module weight_loader #(
    parameter Banks = 2,
    parameter Rows = 1,
    parameter BeatBytes = 8,
    parameter RowCycles = 4,
    parameter Depth = 4,
    parameter TableBits = 8,
    parameter CodeLog2 = 8,
    parameter RingLog2 = 9,
    parameter Lanes = BeatBytes <= Banks ? 1 : Rows < BeatBytes / Banks ? Rows : BeatBytes / Banks,
    parameter WeightLanes = Rows * Banks < BeatBytes ? Rows * Banks : BeatBytes,
    parameter Chunks = Rows * Banks / WeightLanes,
    parameter DataLanes = Chunks > 1 ? 2 * WeightLanes : WeightLanes,
    parameter CycleBits = RowCycles > 1 ? $clog2(RowCycles) : 1,
    parameter OffsetBits = Depth > 1 ? $clog2(Depth) : 1
) (
    input  wire                        clk_i,
    input  wire                        rst_ni,

    input  wire                        load_start_i,
    output wire                        load_done_o,
    output wire                        load_error_o,
    input  wire                        parity_i,
    input  wire [31:0]                 depth_i,
    input  wire [31:0]                 row_groups_i,
    input  wire [31:0]                 weight_bits_i,
    input  wire [31:0]                 weight_beats_i,
    input  wire [31:0]                 table_bits_i,
    input  wire [31:0]                 stage_i,
    input  wire [31:0]                 space_i,
    input  wire [31:0]                 heads_i,
    input  wire [31:0]                 pitch_i,

    input  wire                        data_valid_i,
    output wire                        data_ready_o,
    input  wire [8*BeatBytes-1:0]      data_i,

    output wire                        table_we_o,
    output wire                        table_bank_o,
    output wire [TableBits-3:0]        table_address_o,
    output wire [63:0]                 table_data_o,
    output wire                        stage_we_o,
    output wire                        stage_bank_o,
    output wire [3:0]                  stage_index_o,
    output wire [31:0]                 stage_data_o,

    output wire                        group_valid_o,
    input  wire                        group_ready_i,
    output wire [CycleBits:0]          group_cycles_o,
    input  wire [CycleBits:0]          group_free_i,

    // To row_buffer and constants_ring, as named there.
    output wire [Chunks-1:0]           weight_we_o,
    output wire [RingLog2-1:0]         weight_address_o,
    output wire [8*DataLanes-1:0]      weight_data_o,
    output wire [Rows-1:0]             offset_we_o,
    output wire [RingLog2-1:0]         offset_address_o,
    output wire [Lanes*Banks*OffsetBits-1:0] offset_data_o,
    output wire [Rows-1:0]             constants_we_o,
    output wire [5:0]                  constants_group_o,
    output wire [54*Rows-1:0]          constants_data_o
);

    localparam BeatBits = 8 * BeatBytes;
    localparam LaneBits = BeatBytes > 8 ? $clog2(BeatBytes / 8) : 1;
    localparam WordBits = $clog2((4 * Depth + 31) / 16);
    localparam ColumnBits = WordBits + 4;
    localparam RecordWidth = CycleBits + 1 + 43 + 1 + LaneBits;
    localparam RequestWidth = 2 + ColumnBits + 1;
    localparam [31:0] Values = 3;
    localparam [6:0] Ahead = 40;

    // ---- The step
    wire error;
    wire fail;
    reg units_idle_q;
    wire beat_valid, beat_ready, beat_first;
    wire [2:0] shapes;
    wire [4*43-1:0] shape;
    wire page_we;
    wire [8:0] page_address;
    wire [31:0] page_data;
    wire units_rst_n = rst_ni && !error;
    // The step's words stand long before its first record is here.
    reg four_bits_q;
    reg [11:0] depth_q;
    // ceil(log2 depth), at least 1
    wire [11:0] depth_less = depth_i[11:0] - 12'd1;
    reg [3:0] offset_bits_q;
    integer i;
    always @(posedge clk_i) begin
        four_bits_q <= weight_bits_i == 32'd4;
        depth_q <= depth_i[11:0];
        offset_bits_q <= 4'd1;
        for (i = 1; i < 12; i = i + 1)
            if (depth_less[i]) offset_bits_q <= i[3:0] + 4'd1;
    end

    assign load_error_o = error;
    assign table_bank_o = parity_i;
    assign stage_bank_o = parity_i;

    loader_front #(.Rows(Rows), .BeatBytes(BeatBytes), .TableBits(TableBits)) front (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .start_i(load_start_i),
        .units_idle_i(units_idle_q),
        .fail_i(fail),
        .done_o(load_done_o),
        .error_o(error),
        .row_groups_i(row_groups_i),
        .weight_beats_i(weight_beats_i),
        .table_bits_i(table_bits_i),
        .stage_i(stage_i),
        .values_i(space_i == Values),
        .heads_i(heads_i),
        .pitch_i(pitch_i),
        .data_valid_i(data_valid_i),
        .data_ready_o(data_ready_o),
        .data_i(data_i),
        .shapes_o(shapes),
        .shape_o(shape),
        .page_we_o(page_we),
        .page_address_o(page_address),
        .page_data_o(page_data),
        .table_we_o(table_we_o),
        .table_address_o(table_address_o),
        .table_data_o(table_data_o),
        .stage_we_o(stage_we_o),
        .stage_index_o(stage_index_o),
        .stage_data_o(stage_data_o),
        .beat_valid_o(beat_valid),
        .beat_ready_i(beat_ready),
        .beat_first_o(beat_first)
    );

    // ---- Records apart
    wire [BeatBits-1:0] beat, map_beat, code_beat;
    wire map_push, map_room, map_beat_valid, map_beat_ready;
    wire code_push, code_room, code_beat_valid, code_beat_ready;
    wire weight_valid, weight_ready, weight_start;
    wire [CycleBits:0] weight_cycles;
    wire [LaneBits-1:0] weight_lane;
    wire request_push, request_room, request_valid, request_ready;
    wire [1:0] push_kind, request_kind;
    wire [ColumnBits:0] push_columns, request_columns;
    wire record_push, record_room, record_valid, record_ready;
    wire [CycleBits:0] push_groups, record_groups;
    wire [42:0] push_shape, record_shape;
    wire push_map, record_map;
    wire [LaneBits-1:0] push_lane, record_lane;
    wire [CycleBits:0] push_cycles;
    wire router_idle, router_error, may_go;

    record_router #(
        .Banks(Banks), .Rows(Rows), .BeatBytes(BeatBytes), .RowCycles(RowCycles), .Depth(Depth)
    ) router (
        .clk_i(clk_i),
        .rst_ni(units_rst_n),
        .depth_i(depth_q),
        .offset_bits_i(offset_bits_q),
        .four_bits_i(four_bits_q),
        .shapes_i(shapes),
        .shape_i(shape),
        .valid_i(beat_valid),
        .ready_o(beat_ready),
        .first_i(beat_first),
        .beat_i(data_i),
        .constants_we_o(constants_we_o),
        .constants_group_o(constants_group_o),
        .constants_data_o(constants_data_o),
        .beat_o(beat),
        .map_valid_o(map_push),
        .map_ready_i(map_room),
        .code_valid_o(code_push),
        .code_ready_i(code_room),
        .weight_valid_o(weight_valid),
        .weight_ready_i(weight_ready),
        .weight_start_o(weight_start),
        .weight_cycles_o(weight_cycles),
        .weight_lane_o(weight_lane),
        .map_request_valid_o(request_push),
        .map_request_ready_i(request_room),
        .map_kind_o(push_kind),
        .map_columns_o(push_columns),
        .record_valid_o(record_push),
        .record_ready_i(record_room && may_go),
        .record_groups_o(push_groups),
        .record_shape_o(push_shape),
        .record_map_o(push_map),
        .record_lane_o(push_lane),
        .record_cycles_o(push_cycles),
        .idle_o(router_idle),
        .error_o(router_error)
    );

    fifo #(.Width(BeatBits), .DepthLog2(5)) map_beats (
        .clk_i(clk_i), .rst_ni(units_rst_n), .valid_i(map_push), .ready_o(map_room), .data_i(beat),
        .valid_o(map_beat_valid), .ready_i(map_beat_ready), .data_o(map_beat)
    );
    fifo #(.Width(BeatBits), .DepthLog2(CodeLog2)) code_beats (
        .clk_i(clk_i), .rst_ni(units_rst_n), .valid_i(code_push), .ready_o(code_room), .data_i(beat),
        .valid_o(code_beat_valid), .ready_i(code_beat_ready), .data_o(code_beat)
    );
    fifo #(.Width(RequestWidth), .DepthLog2(3)) requests (
        .clk_i(clk_i), .rst_ni(units_rst_n), .valid_i(request_push), .ready_o(request_room),
        .data_i({push_kind, push_columns}),
        .valid_o(request_valid), .ready_i(request_ready), .data_o({request_kind, request_columns})
    );
    fifo #(.Width(RecordWidth), .DepthLog2(4)) records (
        .clk_i(clk_i), .rst_ni(units_rst_n), .valid_i(record_push), .ready_o(record_room),
        .data_i({push_groups, push_shape, push_map, push_lane}),
        .valid_o(record_valid), .ready_i(record_ready), .data_o({record_groups, record_shape, record_map, record_lane})
    );

    // ---- Maps, codes and weights
    wire [Banks-1:0] list_we;
    wire [WordBits-1:0] list_word;
    wire [16*OffsetBits-1:0] list_data;
    wire list_valid, list_taken, list_identity, list_old, list_waiting;
    wire [ColumnBits-1:0] list_base;
    wire [ColumnBits:0] list_count;
    wire [10*Lanes*Banks-1:0] table_addresses;
    wire [16*Lanes*Banks-1:0] table_members;
    wire table_re, column_re, column_identity;
    wire [Lanes*Banks*ColumnBits-1:0] columns;
    wire map_idle, map_error, expander_idle, expander_error, offsets_done;
    wire unpacker_idle, weights_done;
    wire weights_valid, weights_ready, weights_start;
    wire [BeatBits-1:0] weights_beat;
    wire [CycleBits:0] weights_cycles;
    wire [LaneBits-1:0] weights_lane;

    column_map #(.Banks(Banks), .Rows(Rows), .BeatBytes(BeatBytes), .Depth(Depth)) map (
        .clk_i(clk_i),
        .rst_ni(units_rst_n),
        .depth_i(depth_q),
        .offset_bits_i(offset_bits_q),
        .request_valid_i(request_valid),
        .request_ready_o(request_ready),
        .kind_i(request_kind),
        .columns_i(request_columns),
        .beat_valid_i(map_beat_valid),
        .beat_ready_o(map_beat_ready),
        .beat_i(map_beat),
        .we_o(list_we),
        .word_o(list_word),
        .data_o(list_data),
        .list_valid_o(list_valid),
        .list_taken_i(list_taken),
        .list_identity_o(list_identity),
        .list_base_o(list_base),
        .list_count_o(list_count),
        .list_old_i(list_old),
        .list_waiting_i(list_waiting),
        .idle_o(map_idle),
        .error_o(map_error)
    );

    column_lists #(.Banks(Banks), .Depth(Depth), .Lanes(Lanes)) lists (
        .clk_i(clk_i),
        .we_i(list_we),
        .word_i(list_word),
        .data_i(list_data),
        .re_i(column_re),
        .identity_i(column_identity),
        .columns_i(columns),
        .offsets_o(offset_data_o)
    );

    code_table #(.Lookups(Lanes * Banks)) page (
        .clk_i(clk_i),
        .we_i(page_we),
        .waddress_i(page_address),
        .wdata_i(page_data),
        .re_i(table_re),
        .addresses_i(table_addresses),
        .members_o(table_members)
    );

    code_expander #(
        .Banks(Banks), .Rows(Rows), .BeatBytes(BeatBytes), .RowCycles(RowCycles), .Depth(Depth), .RingLog2(RingLog2),
        .Lanes(Lanes)
    ) expander (
        .clk_i(clk_i),
        .rst_ni(units_rst_n),
        .start_i(load_start_i),
        .record_valid_i(record_valid),
        .record_ready_o(record_ready),
        .groups_i(record_groups),
        .take_i(record_shape[4:0]),
        .code_bits_i(record_shape[8:5]),
        .stride_i(record_shape[24:9]),
        .first_entry_i(record_shape[32:25]),
        .entries_i(record_shape[41:33]),
        .identity_i(record_shape[42]),
        .map_i(record_map),
        .lane_i(record_lane),
        .free_i(group_free_i),
        .beat_valid_i(code_beat_valid),
        .beat_ready_o(code_beat_ready),
        .beat_i(code_beat),
        .list_valid_i(list_valid),
        .list_taken_o(list_taken),
        .list_identity_i(list_identity),
        .list_base_i(list_base),
        .list_count_i(list_count),
        .list_old_o(list_old),
        .list_waiting_o(list_waiting),
        .table_re_o(table_re),
        .table_addresses_o(table_addresses),
        .table_members_i(table_members),
        .column_re_o(column_re),
        .column_identity_o(column_identity),
        .columns_o(columns),
        .we_o(offset_we_o),
        .address_o(offset_address_o),
        .done_o(offsets_done),
        .idle_o(expander_idle),
        .error_o(expander_error)
    );

    // The router takes no notice of what the unpacker does in the same cycle.
    stream_slice #(.Width(BeatBits + 1 + CycleBits + 1 + LaneBits)) weight_beats (
        .clk_i(clk_i), .rst_ni(units_rst_n), .valid_i(weight_valid), .ready_o(weight_ready),
        .data_i({beat, weight_start, weight_cycles, weight_lane}),
        .valid_o(weights_valid), .ready_i(weights_ready),
        .data_o({weights_beat, weights_start, weights_cycles, weights_lane})
    );

    weight_unpacker #(
        .Banks(Banks), .Rows(Rows), .BeatBytes(BeatBytes), .RowCycles(RowCycles), .RingLog2(RingLog2)
    ) unpacker (
        .clk_i(clk_i),
        .rst_ni(units_rst_n),
        .four_bits_i(four_bits_q),
        .valid_i(weights_valid),
        .ready_o(weights_ready),
        .beat_i(weights_beat),
        .start_i(weights_start),
        .cycles_i(weights_cycles),
        .lane_i(weights_lane),
        .free_i(group_free_i),
        .we_o(weight_we_o),
        .address_o(weight_address_o),
        .data_o(weight_data_o),
        .done_o(weights_done),
        .idle_o(unpacker_idle)
    );

    assign fail = router_error || map_error || expander_error;

    // ---- Row groups: whole where both weights and offsets stand
    reg [6:0] weights_q, offsets_q, ahead_q;
    // weights_q != 0, offsets_q != 0, ahead_q != Ahead
    reg       some_weights_q, some_offsets_q, may_go_q;
    // Records that are on their way to the row buffer.
    reg [5:0] open_q;
    wire      lengths_room, lengths_valid;

    wire group_taken = group_valid_o && group_ready_i;

    fifo #(.Width(CycleBits + 1), .DepthLog2(6)) lengths (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(record_push), .ready_o(lengths_room), .data_i(push_cycles),
        .valid_o(lengths_valid), .ready_i(group_taken), .data_o(group_cycles_o)
    );

    // What comes with damage or in the cycle before the reset for it does not count.
    wire sound = !fail && !error;
    wire weights_whole = weights_done && sound;
    wire offsets_whole = offsets_done && sound;

    assign group_valid_o = some_weights_q && some_offsets_q && lengths_valid;
    assign may_go = may_go_q;
    wire all_idle = open_q == 0 && router_idle && map_idle && expander_idle && unpacker_idle && !weights_valid;

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            weights_q <= 7'd0;
            offsets_q <= 7'd0;
            ahead_q <= 7'd0;
            some_weights_q <= 1'b0;
            some_offsets_q <= 1'b0;
            may_go_q <= 1'b1;
        end else begin
            weights_q <= weights_q + {6'd0, weights_whole} - {6'd0, group_taken};
            offsets_q <= offsets_q + {6'd0, offsets_whole} - {6'd0, group_taken};
            ahead_q <= ahead_q + {6'd0, record_push} - {6'd0, group_taken};
            some_weights_q <= weights_whole || (group_taken ? weights_q > 7'd1 : some_weights_q);
            some_offsets_q <= offsets_whole || (group_taken ? offsets_q > 7'd1 : some_offsets_q);
            may_go_q <= group_taken || (record_push ? ahead_q < Ahead - 7'd1 : may_go_q);
        end
        units_idle_q <= rst_ni && all_idle;
        if (!units_rst_n) open_q <= 6'd0;
        else open_q <= open_q + {5'd0, record_push} - {5'd0, offsets_done};
    end

    wire unused = &{1'b0, depth_i[31:12], depth_less[0], lengths_room};

endmodule
