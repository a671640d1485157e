// NORM: LayerNorm and RMSNorm over channels, token tile by token tile, L channels of T tokens a cycle.
//
// Every tile is read twice: once for its statistics (sums, square root, reciprocal: a token every `Fold` cycles, the first
// about 65 cycles behind the tile's last channel), once to be normalised. Statistics run ahead, up to 128 tokens and at
// least 4 tiles, so a tile takes max(D*B/L, 4*D, T + 4) cycles where reads and writes are granted at once; where
// D*B/L < T*Fold each tile's statistics wait for those of the tile before. The source may be the place of an output that has its base and
// two planes.
//
// The next step's constants are loaded (load_start_i with load_depth_i and load_outputs_i, stable until load_done_o)
// once the constants before are no more in use; a step waits for its constants by itself. `start_i` comes only while
// done_o; words are taken then, or when the constants are complete: they are stable until issued_o.
// Tokens beyond the length are worked on as any other; their results may differ from the C++ kernel's.
//
// Multipliers, for each of L*T lanes: 16 x 16 (x^2), 16 x 18, 16 x (log2(C) + 1), and two of 16 x ZBits (ZBits = 15 +
// ceil(log2(C)/2), see norm_lane.v); once: nine of at most 18 x 18 (six in norm_deviation.v, three here).
module norm_unit #(
    parameter Tokens = 2,
    parameter Banks = 8,
    parameter NormLanes = 2,
    parameter Depth = 16,
    parameter BeatBytes = 8,
    // Of the constants' memory, as ram_1r1w has it.
    parameter Style = "auto",
    // Cycles that a root and a division take a digit stage: a power of two.
    parameter Fold = 1
) (
    input  wire                      clk_i,
    input  wire                      rst_ni,
    // Constants.
    input  wire                      load_start_i,
    input  wire [31:0]               load_depth_i,
    input  wire [31:0]               load_outputs_i,
    output wire                      load_done_o,
    input  wire                      data_valid_i,
    output wire                      data_ready_o,
    input  wire [BeatBytes*8-1:0]    data_i,
    // A step. Words are 32 bits wide in a record; the sequencer has checked that what is not looked at here is 0.
    /* verilator lint_off UNUSEDSIGNAL */
    input  wire                      start_i,
    input  wire [31:0]               length_i,
    input  wire [31:0]               source_base_i,
    input  wire [31:0]               depth_i,
    input  wire [31:0]               channels_i,
    input  wire [31:0]               centred_i,
    input  wire [31:0]               epsilon_low_i,
    input  wire [31:0]               epsilon_high_i,
    input  wire [31:0]               outputs_i,
    input  wire [31:0]               shift0_i,
    input  wire [31:0]               bits0_i,
    input  wire [31:0]               space0_i,
    input  wire [31:0]               base0_i,
    input  wire [31:0]               shift1_i,
    input  wire [31:0]               bits1_i,
    input  wire [31:0]               space1_i,
    input  wire [31:0]               base1_i,
    /* verilator lint_on UNUSEDSIGNAL */
    input  wire [15:0]               source_tiles_i,
    output wire                      issued_o,
    output wire [15:0]               ready_tiles_o,
    output wire                      done_o,
    // The store's read port.
    output wire                      store_re_o,
    output wire [31:0]               store_line_o,
    input  wire                      store_grant_i,
    input  wire [Banks*Tokens*8-1:0] store_data_i,
    // The write bus.
    output wire                      write_valid_o,
    input  wire                      write_ready_i,
    output wire [1:0]                write_space_o,
    output wire [31:0]               write_line_o,
    output wire [Banks-1:0]          write_mask_o,
    output wire [Banks*Tokens*8-1:0] write_data_o
);

    localparam Lanes = NormLanes < Banks ? NormLanes : Banks;
    localparam PiecesLog2 = $clog2(Banks / Lanes);
    localparam TokensLog2 = $clog2(Tokens);
    // At least two, so that every field below has a bit.
    localparam CountBits = Depth * Banks > 1 ? $clog2(Depth * Banks + 1) : 2;
    localparam SumBits = CountBits + 16;
    localparam FactorBits = CountBits + 17;
    localparam OffsetBits = CountBits + 32;
    localparam FieldBits = OffsetBits + FactorBits + 6;
    localparam ValueBits = Lanes * Tokens * 16;
    // Tokens whose statistics may run ahead.
    localparam AheadLog2 = TokensLog2 + 2 > 7 ? TokensLog2 + 2 : 7;
    localparam AheadTiles = 1 << (AheadLog2 - TokensLog2);
    // Places of the queue in norm_collect, and cycles that a value takes to it.
    localparam Places = 32;
    localparam LaneLatency = 11;
    localparam TokenBits = $clog2(Tokens + 1);
    // In which a tile's tokens leave the statistics.
    localparam TileCycles = Tokens * Fold;

    // The step.
    reg        busy_q, waiting_q, running_q;
    wire       full;
    wire       last_done;
    wire       run = (start_i || waiting_q) && full;
    wire [15:0] tiles = length_i[15+TokensLog2:TokensLog2] + {15'd0, odd};
    wire       odd;
    generate
        if (Tokens > 1) begin : ragged
            assign odd = length_i[TokensLog2-1:0] != {TokensLog2{1'b0}};
        end else begin : even
            assign odd = 1'b0;
        end
    endgenerate

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            busy_q <= 1'b0;
            waiting_q <= 1'b0;
            running_q <= 1'b0;
        end else begin
            if (start_i) busy_q <= 1'b1;
            else if (last_done) busy_q <= 1'b0;
            if (run) waiting_q <= 1'b0;
            else if (start_i) waiting_q <= 1'b1;
            if (run) running_q <= 1'b1;
            else if (last_done) running_q <= 1'b0;
        end
    end

    reg [CountBits-1:0] channels_q;
    reg                 centred_q, single_q;
    reg [63:0]          epsilon_q;
    reg [5:0]           shift0_q, shift1_q;
    reg [4:0]           bits0_q, bits1_q;
    always @(posedge clk_i) begin
        if (run) begin
            channels_q <= channels_i[CountBits-1:0];
            centred_q <= centred_i != 32'd0;
            epsilon_q <= {epsilon_high_i, epsilon_low_i};
            shift0_q <= shift0_i[5:0];
            shift1_q <= shift1_i[5:0];
            bits0_q <= bits0_i[4:0];
            bits1_q <= bits1_i[4:0];
            // Tiles too short to let their tokens leave meanwhile: one at a time.
            single_q <= {depth_i[15:0], {PiecesLog2{1'b0}}} < TileCycles[15+PiecesLog2:0];
        end
    end

    // Two readers at the store's port, a line pair at a time in turns.
    wire        scan_want, scan_mid, scan_idle;
    wire        apply_want, apply_mid, apply_idle;
    wire [31:0] scan_line, apply_line;
    reg         scan_turn_q;
    wire        scan_chosen = scan_want && (scan_mid || !apply_want || (!apply_mid && scan_turn_q));

    assign store_re_o = scan_want || apply_want;
    assign store_line_o = scan_chosen ? scan_line : apply_line;
    always @(posedge clk_i) begin
        if (!rst_ni) scan_turn_q <= 1'b0;
        else if (store_re_o && store_grant_i) scan_turn_q <= !scan_chosen;
    end

    // Statistics: room is taken when a tile is begun and is free when the tile is normalised.
    wire [15:0]          scan_tile;
    wire                 scan_fire, scan_first, scan_last;
    wire [ValueBits-1:0] scan_x;
    reg                  scan_fire_q, scan_first_q, scan_last_q;
    reg [15:0]           measured_q, used_q;
    wire                 tile_measured;
    wire [15:0]          ahead = scan_tile - used_q;
    wire                 scan_ok = scan_tile < source_tiles_i && ahead < AheadTiles[15:0] &&
                                   (!single_q || scan_tile == measured_q);

    /* verilator lint_off PINCONNECTEMPTY */
    line_reader #(.Tokens(Tokens), .Banks(Banks), .Lanes(Lanes)) scan (
        .clk_i(clk_i), .rst_ni(rst_ni), .start_i(run), .depth_i(depth_i), .base_i(source_base_i), .tiles_i(tiles),
        .tile_ok_i(scan_ok), .tile_o(scan_tile), .want_o(scan_want), .mid_o(scan_mid), .line_o(scan_line),
        .grant_i(store_grant_i && scan_chosen), .data_i(store_data_i), .ready_i(1'b1), .sure_i(1'b1),
        .fire_o(scan_fire), .first_o(scan_first), .last_o(scan_last), .x_o(scan_x), .begin_o(), .idle_o(scan_idle)
    );
    /* verilator lint_on PINCONNECTEMPTY */

    wire               centre_valid, scale_valid;
    wire [SumBits-1:0] centre;
    wire [16:0]        scale_r;
    wire [5:0]         scale_n;
    norm_statistics #(.Tokens(Tokens), .Lanes(Lanes), .CountBits(CountBits), .Fold(Fold)) statistics (
        .clk_i(clk_i), .rst_ni(rst_ni), .run_i(running_q), .channels_i(channels_q), .centred_i(centred_q), .epsilon_i(epsilon_q),
        .valid_i(scan_fire_q), .first_i(scan_first_q), .last_i(scan_last_q), .x_i(scan_x),
        .tile_done_o(tile_measured), .centre_valid_o(centre_valid), .centre_o(centre), .scale_valid_o(scale_valid),
        .r_o(scale_r), .n_o(scale_n)
    );

    // A token's centre waits for its r; then its factor C*r and its offset centre*r are what its channels need.
    // A centre comes long before its r: one waits in a register, in front of the multipliers.
    wire               centre_waits;
    wire               centre_moves;
    reg                centre_valid_q;
    reg  [SumBits-1:0] centre_q;
    wire [SumBits-1:0] centre_next;
    assign centre_moves = !centre_valid_q || scale_valid;
    always @(posedge clk_i) begin
        if (centre_moves) centre_q <= centre_next;
        if (!rst_ni) centre_valid_q <= 1'b0;
        else if (centre_moves) centre_valid_q <= centre_waits;
    end
    /* verilator lint_off PINCONNECTEMPTY */
    fifo #(.Width(SumBits), .DepthLog2(AheadLog2)) centres (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(centre_valid), .ready_o(), .data_i(centre),
        .valid_o(centre_waits), .ready_i(centre_moves), .data_o(centre_next)
    );
    /* verilator lint_on PINCONNECTEMPTY */

    reg                          product_valid_q, token_valid_q;
    reg        [FactorBits-1:0]  factor1_q, factor2_q;
    reg        [5:0]             round1_q, round2_q;
    reg signed [OffsetBits-18:0] offset_high_q;
    reg        [33:0]            offset_low_q;
    reg        [OffsetBits-1:0]  offset_q;
    wire signed [OffsetBits-18:0] centre_high =
        {{(OffsetBits-SumBits){centre_q[SumBits-1]}}, centre_q[SumBits-1:17]};
    wire signed [OffsetBits-18:0] r_high = {{(OffsetBits-34){1'b0}}, scale_r};
    always @(posedge clk_i) begin
        factor1_q <= {17'd0, channels_q} * {{CountBits{1'b0}}, scale_r};
        factor2_q <= factor1_q;
        offset_high_q <= centre_high * r_high;
        offset_low_q <= {17'd0, centre_q[16:0]} * {17'd0, scale_r};
        offset_q <= {offset_high_q, 17'd0} + {{(OffsetBits-34){1'b0}}, offset_low_q};
        round1_q <= scale_n + 6'd2;
        round2_q <= round1_q;
        product_valid_q <= scale_valid && rst_ni;
        token_valid_q <= product_valid_q && rst_ni;
    end

    // What the tokens wait in until their tile is normalised.
    wire                  token_waits;
    wire [FieldBits-1:0]  token_next;
    wire                  move;
    /* verilator lint_off PINCONNECTEMPTY */
    fifo #(.Width(FieldBits), .DepthLog2(AheadLog2)) tokens (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(token_valid_q), .ready_o(),
        .data_i({offset_q, factor2_q, round2_q}), .valid_o(token_waits), .ready_i(move), .data_o(token_next)
    );
    /* verilator lint_on PINCONNECTEMPTY */

    // The next tile's tokens, token 0 lowest when all have moved in; round is n + 2.
    reg [Tokens*OffsetBits-1:0] next_offset_q;
    reg [Tokens*FactorBits-1:0] next_factor_q;
    reg [Tokens*6-1:0]          next_round_q;
    reg [TokenBits-1:0]         moved_q;
    reg                         next_taken_q;
    wire                        next_whole = moved_q == Tokens[TokenBits-1:0];
    wire                        switch_tile;

    assign move = token_waits && !next_whole;
    /* verilator lint_off UNUSEDSIGNAL */ // The lowest field falls out.
    wire [(Tokens+1)*OffsetBits-1:0] shifted_offset = {token_next[FieldBits-1:FactorBits+6], next_offset_q};
    wire [(Tokens+1)*FactorBits-1:0] shifted_factor = {token_next[FactorBits+5:6], next_factor_q};
    wire [(Tokens+1)*6-1:0]          shifted_round = {token_next[5:0], next_round_q};
    /* verilator lint_on UNUSEDSIGNAL */
    always @(posedge clk_i) begin
        if (move) begin
            next_offset_q <= shifted_offset[(Tokens+1)*OffsetBits-1:OffsetBits];
            next_factor_q <= shifted_factor[(Tokens+1)*FactorBits-1:FactorBits];
            next_round_q <= shifted_round[(Tokens+1)*6-1:6];
        end
    end

    // Normalising.
    wire [15:0]          apply_tile;
    wire                 apply_fire, apply_first, apply_last, apply_begin;
    wire [ValueBits-1:0] apply_x;
    // Places that are free, and whether they are one at least, and three.
    reg [5:0]            places_q;
    reg                  place_q, places3_q;
    wire                 pop;
    line_reader #(.Tokens(Tokens), .Banks(Banks), .Lanes(Lanes)) apply (
        .clk_i(clk_i), .rst_ni(rst_ni), .start_i(run), .depth_i(depth_i), .base_i(source_base_i), .tiles_i(tiles),
        .tile_ok_i(next_whole && !next_taken_q && apply_tile < source_tiles_i), .tile_o(apply_tile),
        .want_o(apply_want), .mid_o(apply_mid), .line_o(apply_line), .grant_i(store_grant_i && !scan_chosen),
        .data_i(store_data_i), .ready_i(place_q), .sure_i(places3_q), .fire_o(apply_fire),
        .first_o(apply_first), .last_o(apply_last), .x_o(apply_x), .begin_o(apply_begin), .idle_o(apply_idle)
    );
    assign switch_tile = apply_fire && apply_first;

    // Field i: a value is i + 1 cycles behind apply_fire, i cycles behind x.
    reg [LaneLatency:0] flow_q;
    reg [4:0]           flow_last_q;
    always @(posedge clk_i) begin
        scan_first_q <= scan_first;
        scan_last_q <= scan_last;
        flow_last_q <= {flow_last_q[3:0], apply_last};
        if (!rst_ni) begin
            scan_fire_q <= 1'b0;
            measured_q <= 16'd0;
            used_q <= 16'd0;
            moved_q <= {TokenBits{1'b0}};
            next_taken_q <= 1'b0;
            places_q <= Places[5:0];
            place_q <= 1'b1;
            places3_q <= 1'b1;
            flow_q <= {(LaneLatency+1){1'b0}};
        end else begin
            scan_fire_q <= scan_fire;
            flow_q <= {flow_q[LaneLatency-1:0], apply_fire};
            if (run) measured_q <= 16'd0;
            else if (tile_measured) measured_q <= measured_q + 16'd1;
            if (run) used_q <= 16'd0;
            else if (switch_tile) used_q <= used_q + 16'd1;
            if (switch_tile) moved_q <= {TokenBits{1'b0}};
            else if (move) moved_q <= moved_q + 1'b1;
            if (switch_tile) next_taken_q <= 1'b0;
            else if (apply_begin) next_taken_q <= 1'b1;
            if (pop != apply_fire) begin
                places_q <= pop ? places_q + 6'd1 : places_q - 6'd1;
                place_q <= pop || places_q != 6'd1;
                places3_q <= pop ? places_q >= 6'd2 : places_q >= 6'd4;
            end
        end
    end

    // The tile's tokens, each field as many cycles behind x as norm_lane wants it.
    reg [Tokens*FactorBits-1:0]   factor_q;
    reg [3*Tokens*OffsetBits-1:0] tile_offset_q;
    reg [4*Tokens*6-1:0]          round_q;
    always @(posedge clk_i) begin
        if (switch_tile) begin
            factor_q <= next_factor_q;
            tile_offset_q[0 +: Tokens*OffsetBits] <= next_offset_q;
            round_q[0 +: Tokens*6] <= next_round_q;
        end
        tile_offset_q[Tokens*OffsetBits +: 2*Tokens*OffsetBits] <= tile_offset_q[0 +: 2*Tokens*OffsetBits];
        round_q[Tokens*6 +: 3*Tokens*6] <= round_q[0 +: 3*Tokens*6];
    end

    wire [2*Lanes*16-1:0] gain;
    wire [2*Lanes*48-1:0] bias;
    norm_constants #(.Banks(Banks), .Lanes(Lanes), .Depth(Depth), .BeatBytes(BeatBytes), .Style(Style)) constants (
        .clk_i(clk_i), .rst_ni(rst_ni), .load_start_i(load_start_i), .load_depth_i(load_depth_i),
        .load_outputs_i(load_outputs_i), .load_done_o(load_done_o), .data_valid_i(data_valid_i),
        .data_ready_o(data_ready_o), .data_i(data_i), .full_o(full), .release_i(last_done), .next_i(flow_q[4]),
        .last_i(flow_last_q[4]), .gain_o(gain), .bias_o(bias)
    );

    wire [15:0]          ready_tiles;
    wire [ValueBits-1:0] y0;
    wire [ValueBits-1:0] y1;
    genvar l;
    genvar t;
    generate
        for (l = 0; l < Lanes; l = l + 1) begin : channel
            for (t = 0; t < Tokens; t = t + 1) begin : token
                norm_lane #(.CountBits(CountBits)) lane (
                    .clk_i(clk_i), .run_i(running_q), .shift0_i(shift0_q), .shift1_i(shift1_q),
                    .bits0_i(bits0_q), .bits1_i(bits1_q), .x_i(apply_x[(l*Tokens+t)*16 +: 16]),
                    .factor_i(factor_q[t*FactorBits +: FactorBits]),
                    .offset_i(tile_offset_q[(2*Tokens+t)*OffsetBits +: OffsetBits]),
                    .round_i(round_q[(3*Tokens+t)*6 +: 6]), .gain0_i(gain[l*16 +: 16]),
                    .gain1_i(gain[(Lanes+l)*16 +: 16]), .bias0_i(bias[l*48 +: 48]),
                    .bias1_i(bias[(Lanes+l)*48 +: 48]), .y0_o(y0[(l*Tokens+t)*16 +: 16]),
                    .y1_o(y1[(l*Tokens+t)*16 +: 16])
                );
            end
        end
    endgenerate

    norm_collect #(.Tokens(Tokens), .Banks(Banks), .Lanes(Lanes)) collect (
        .clk_i(clk_i), .rst_ni(rst_ni), .start_i(run), .tiles_i(tiles), .depth_i(depth_i),
        .both_i(outputs_i == 32'd2), .wide0_i(bits0_i > 32'd8), .space0_i(space0_i[1:0]), .base0_i(base0_i),
        .wide1_i(bits1_i > 32'd8), .space1_i(space1_i[1:0]), .base1_i(base1_i), .valid_i(flow_q[LaneLatency]),
        .y0_i(y0), .y1_i(y1), .pop_o(pop), .write_valid_o(write_valid_o), .write_ready_i(write_ready_i),
        .write_space_o(write_space_o), .write_line_o(write_line_o), .write_mask_o(write_mask_o),
        .write_data_o(write_data_o), .ready_tiles_o(ready_tiles), .last_done_o(last_done)
    );

    // A step is issued when its last value is on its way from the store.
    assign issued_o = !busy_q || (running_q && scan_idle && apply_idle);
    assign ready_tiles_o = waiting_q ? 16'd0 : ready_tiles;
    assign done_o = !busy_q;

endmodule
