// POOL: y = sat(rescale(a, multiplier, shift), bits), a the sum over tokens times floor(2^16 / length), or the first
// token's value; the result is token 0 of one tile, the other tokens are 0.
//
// Line by line (B channels), each over all tiles: L channels of T tokens a cycle are added up, then the B sums leave one
// a cycle through one scaling pipeline, while the next line is added up. A line takes max(B/L * tiles, 3 * tiles,
// B + 10) cycles where reads and writes are granted at once. Two multipliers, of 32 x 17 and
// 32 x 16 bits.
//
// `start_i` takes the words, which are stable until issued_o, and comes only while done_o. Nothing is read before all
// tiles that count may be read. ready_tiles_o is 1 when done.
module pool_unit #(
    parameter Tokens = 2,
    parameter Banks = 8,
    parameter NormLanes = 2
) (
    input  wire                      clk_i,
    input  wire                      rst_ni,
    // Words are 32 bits wide in a record; the sequencer has checked that what is not looked at here is 0.
    /* verilator lint_off UNUSEDSIGNAL */
    input  wire                      start_i,
    input  wire [31:0]               length_i,
    input  wire [31:0]               source_base_i,
    input  wire [31:0]               depth_i,
    input  wire [31:0]               mean_i,
    input  wire [31:0]               multiplier_i,
    input  wire [31:0]               shift_i,
    input  wire [31:0]               bits_i,
    input  wire [31:0]               space_i,
    input  wire [31:0]               base_i,
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
    localparam Pieces = Banks / Lanes;
    localparam PieceIndexBits = Pieces > 1 ? $clog2(Pieces) : 1;
    localparam LastPiece = Pieces - 1;
    localparam LaneIndexBits = Lanes > 1 ? $clog2(Lanes) : 1;
    localparam LastLane = Lanes - 1;
    localparam TokensLog2 = $clog2(Tokens);
    localparam TokenBits = TokensLog2 + 1;
    localparam BankBits = Banks > 1 ? $clog2(Banks) : 1;
    localparam LastBank = Banks - 1;
    // A sum of 2^16 int16 values.
    localparam SumBits = 32;
    // From a sum's cycle in the memory to the cycle of its result.
    localparam ScaleLatency = 7;

    reg  busy_q, waiting_q, seen_q;
    wire finished;
    wire [15:0] all_tiles;
    wire [TokenBits-1:0] all_rest;
    generate
        if (Tokens > 1) begin : several
            wire [TokensLog2-1:0] over = length_i[TokensLog2-1:0];
            assign all_tiles = length_i[15+TokensLog2:TokensLog2] + {15'd0, over != {TokensLog2{1'b0}}};
            assign all_rest = {over == {TokensLog2{1'b0}}, over};
        end else begin : single
            assign all_tiles = length_i[15:0];
            assign all_rest = 1'b1;
        end
    endgenerate
    wire        mean = mean_i != 32'd0;
    wire [15:0] tiles = mean ? all_tiles : 16'd1;
    // Both are known from registers: the step's words stand still, and source tiles only become more.
    reg  [15:0] needed_q;
    reg         enough_q;
    wire        run = waiting_q && enough_q;
    always @(posedge clk_i) begin
        needed_q <= tiles;
        enough_q <= waiting_q && !run && seen_q && source_tiles_i >= needed_q;
    end

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            busy_q <= 1'b0;
            waiting_q <= 1'b0;
            seen_q <= 1'b0;
        end else begin
            if (start_i) busy_q <= 1'b1;
            else if (finished) busy_q <= 1'b0;
            seen_q <= waiting_q && !run;
            if (run) waiting_q <= 1'b0;
            else if (start_i) waiting_q <= 1'b1;
        end
    end

    // The words.
    reg [15:0]          tiles_q, depth_q;
    // Tokens of the last tile that count.
    reg [TokenBits-1:0] rest_q;
    reg [15:0]          multiplier_q;
    reg [5:0]           shift_q;
    reg [4:0]           bits_q;
    reg [1:0]           space_q;

    // factor = floor(2^16 / length), a bit a cycle; 1 for the first token.
    reg [16:0] factor_q;
    reg [31:0] divisor_q;
    reg [32:0] remainder_q;
    reg [4:0]  division_q;
    wire       fits = remainder_q >= {1'b0, divisor_q};
    wire       dividing = division_q != 5'd0;

    always @(posedge clk_i) begin
        if (run) begin
            tiles_q <= tiles;
            depth_q <= depth_i[15:0];
            rest_q <= mean ? all_rest : {{(TokenBits-1){1'b0}}, 1'b1};
            multiplier_q <= multiplier_i[15:0];
            shift_q <= shift_i[5:0];
            bits_q <= bits_i[4:0];
            space_q <= space_i[1:0];
            divisor_q <= length_i;
            factor_q <= mean ? 17'd0 : 17'd1;
            remainder_q <= 33'd1;
        end else if (dividing) begin
            // The dividend's bits below its highest are 0.
            remainder_q <= {fits ? remainder_q[31:0] - divisor_q : remainder_q[31:0], 1'b0};
            factor_q <= {factor_q[15:0], fits};
        end
        if (!rst_ni) division_q <= 5'd0;
        else if (run) division_q <= mean ? 5'd17 : 5'd0;
        else if (dividing) division_q <= division_q - 5'd1;
    end

    // Lines are added up into one half of the sums' memory while the other half leaves.
    wire [15:0]                reading_line;
    wire                       fire, last_piece, reader_idle;
    wire [Lanes*Tokens*16-1:0] x;
    reg  [15:0]                summed_q, left_q, drained_q;
    wire [15:0]                ahead = reading_line - left_q;
    /* verilator lint_off PINCONNECTEMPTY */
    line_reader #(.Tokens(Tokens), .Banks(Banks), .Lanes(Lanes), .Across(1)) reader (
        .clk_i(clk_i), .rst_ni(rst_ni), .start_i(run), .depth_i(depth_i), .base_i(source_base_i), .tiles_i(tiles),
        .tile_ok_i(ahead < 16'd2), .tile_o(reading_line), .want_o(store_re_o), .mid_o(), .line_o(store_line_o),
        .grant_i(store_grant_i), .data_i(store_data_i), .ready_i(1'b1), .sure_i(1'b1), .fire_o(fire),
        .first_o(), .last_o(last_piece), .x_o(x), .begin_o(), .idle_o(reader_idle)
    );
    /* verilator lint_on PINCONNECTEMPTY */

    // Piece and tile of x; then of the tokens that count; then of their sums.
    reg                        x_valid_q, x_end_q, token_valid_q, token_end_q, sum_valid_q, sum_end_q;
    reg [PieceIndexBits-1:0]   piece_q, token_piece_q, sum_piece_q;
    reg [15:0]                 tile_q;
    reg                        token_first_q, sum_first_q;
    reg [Lanes*Tokens*16-1:0]  token_q;
    reg [Lanes*SumBits-1:0]    sum_q;
    wire                       piece_end = piece_q == LastPiece[PieceIndexBits-1:0];
    wire                       last_tile = tile_q == tiles_q - 16'd1;

    integer cl;
    integer ct;
    always @(posedge clk_i) begin
        x_end_q <= last_piece;
        token_end_q <= x_end_q;
        token_piece_q <= piece_q;
        token_first_q <= tile_q == 16'd0;
        sum_end_q <= token_end_q;
        sum_piece_q <= token_piece_q;
        sum_first_q <= token_first_q;
        for (cl = 0; cl < Lanes; cl = cl + 1) begin
            for (ct = 0; ct < Tokens; ct = ct + 1) begin
                if (!last_tile || ct[TokenBits-1:0] < rest_q) begin
                    token_q[(cl*Tokens+ct)*16 +: 16] <= x[(cl*Tokens+ct)*16 +: 16];
                end else begin
                    token_q[(cl*Tokens+ct)*16 +: 16] <= 16'd0;
                end
            end
        end
    end
    reg [Lanes*SumBits-1:0] sum;
    integer                 l;
    integer                 t;
    always @* begin
        sum = 0;
        for (l = 0; l < Lanes; l = l + 1) begin
            for (t = 0; t < Tokens; t = t + 1) begin
                sum[l*SumBits +: SumBits] = sum[l*SumBits +: SumBits] +
                    {{(SumBits-16){token_q[(l*Tokens+t)*16+15]}}, token_q[(l*Tokens+t)*16 +: 16]};
            end
        end
    end
    always @(posedge clk_i) sum_q <= sum;

    reg [Lanes*SumBits-1:0] sums [0:(2<<PieceIndexBits)-1];
    wire [PieceIndexBits:0] sum_at = {sum_piece_q, summed_q[0]};
    wire [Lanes*SumBits-1:0] sum_old = sums[sum_at];
    reg  [Lanes*SumBits-1:0] sum_new;
    integer                  n;
    always @* begin
        for (n = 0; n < Lanes; n = n + 1) begin
            sum_new[n*SumBits +: SumBits] =
                (sum_first_q ? {SumBits{1'b0}} : sum_old[n*SumBits +: SumBits]) + sum_q[n*SumBits +: SumBits];
        end
    end
    always @(posedge clk_i) begin
        if (sum_valid_q) sums[sum_at] <= sum_new;
    end

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            x_valid_q <= 1'b0;
            token_valid_q <= 1'b0;
            sum_valid_q <= 1'b0;
            piece_q <= {PieceIndexBits{1'b0}};
            tile_q <= 16'd0;
            summed_q <= 16'd0;
        end else begin
            x_valid_q <= fire;
            token_valid_q <= x_valid_q;
            sum_valid_q <= token_valid_q;
            if (x_valid_q) begin
                piece_q <= piece_end ? {PieceIndexBits{1'b0}} : piece_q + 1'b1;
                if (piece_end) tile_q <= last_tile ? 16'd0 : tile_q + 16'd1;
            end
            if (run) summed_q <= 16'd0;
            else if (sum_valid_q && sum_end_q) summed_q <= summed_q + 16'd1;
        end
    end

    // A line's sums leave one a cycle, and the scaled values move into the result from its end.
    reg                      leaving_q;
    reg [PieceIndexBits-1:0] leave_piece_q;
    reg [LaneIndexBits-1:0]  leave_lane_q;
    reg [SumBits-1:0]        value_q;
    reg [ScaleLatency-1:0]   scaling_q;
    reg [Banks*8-1:0]        low_q, high_q;
    reg [BankBits-1:0]       count_q;
    // The planes that are to be written; a line leaves when both are.
    reg                      write_low_q, write_high_q;
    wire [15:0]              y;

    wire writing = write_low_q || write_high_q;
    wire lane_end = leave_lane_q == LastLane[LaneIndexBits-1:0];
    wire leave_end = lane_end && leave_piece_q == LastPiece[PieceIndexBits-1:0];
    wire scaled = scaling_q[ScaleLatency-1];
    wire line_end = scaled && count_q == LastBank[BankBits-1:0];
    wire written = writing && write_ready_i && !(write_low_q && write_high_q);
    wire starts = summed_q != drained_q && !dividing && !leaving_q && scaling_q == {ScaleLatency{1'b0}} && !writing;
    wire [Lanes*SumBits-1:0] leave_word = sums[{leave_piece_q, drained_q[0]}];
    wire [SumBits-1:0]       leave_value;
    generate
        if (Lanes > 1) begin : lanes
            wire [LaneIndexBits+4:0] at = {leave_lane_q, 5'd0};
            assign leave_value = leave_word[at +: SumBits];
        end else begin : lane
            assign leave_value = leave_word;
        end
    endgenerate

    reg signed [SumBits-1:0]  mean_q;
    wire signed [SumBits-1:0] factor = {{(SumBits-17){1'b0}}, factor_q};
    wire signed [SumBits-1:0] value = value_q;
    norm_gain #(.ZBits(SumBits)) scale (
        .clk_i(clk_i), .run_i(1'b1), .shift_i(shift_q), .bits_i(bits_q), .z_i(mean_q), .gain_i(multiplier_q), .bias_i(48'd0),
        .y_o(y)
    );

    /* verilator lint_off UNUSEDSIGNAL */ // The lowest value falls out.
    wire [Banks*8+7:0] result_low = {y[7:0], low_q};
    wire [Banks*8+7:0] result_high = {y[15:8], high_q};
    /* verilator lint_on UNUSEDSIGNAL */
    reg [31:0] low_line_q, high_line_q;
    always @(posedge clk_i) begin
        value_q <= leave_value;
        // |sum * floor(2^16 / length)| is at most 2^31.
        mean_q <= value * factor;
        if (scaled) begin
            low_q <= result_low[Banks*8+7:8];
            high_q <= result_high[Banks*8+7:8];
        end
        if (run) begin
            low_line_q <= base_i;
            high_line_q <= base_i + depth_i;
        end else if (written) begin
            low_line_q <= low_line_q + 32'd1;
            high_line_q <= high_line_q + 32'd1;
        end
    end
    always @(posedge clk_i) begin
        if (!rst_ni) begin
            leaving_q <= 1'b0;
            leave_piece_q <= {PieceIndexBits{1'b0}};
            leave_lane_q <= {LaneIndexBits{1'b0}};
            scaling_q <= {ScaleLatency{1'b0}};
            count_q <= {BankBits{1'b0}};
            write_low_q <= 1'b0;
            write_high_q <= 1'b0;
            left_q <= 16'd0;
            drained_q <= 16'd0;
        end else begin
            if (starts) leaving_q <= 1'b1;
            else if (leave_end) leaving_q <= 1'b0;
            if (leaving_q) begin
                leave_lane_q <= lane_end ? {LaneIndexBits{1'b0}} : leave_lane_q + 1'b1;
                if (lane_end) leave_piece_q <= leave_end ? {PieceIndexBits{1'b0}} : leave_piece_q + 1'b1;
            end
            scaling_q <= {scaling_q[ScaleLatency-2:0], leaving_q};
            if (scaled) count_q <= line_end ? {BankBits{1'b0}} : count_q + 1'b1;
            if (line_end) write_low_q <= 1'b1;
            else if (write_ready_i) write_low_q <= 1'b0;
            if (line_end) write_high_q <= bits_q > 5'd8;
            else if (write_ready_i && !write_low_q) write_high_q <= 1'b0;
            if (run) left_q <= 16'd0;
            else if (leaving_q && leave_end) left_q <= left_q + 16'd1;
            if (run) drained_q <= 16'd0;
            else if (written) drained_q <= drained_q + 16'd1;
        end
    end

    assign finished = written && drained_q + 16'd1 == depth_q;
    assign issued_o = !busy_q || (!waiting_q && reader_idle);
    assign ready_tiles_o = {15'd0, !busy_q};
    assign done_o = !busy_q;
    assign write_valid_o = writing;
    assign write_space_o = space_q;
    assign write_line_o = write_low_q ? low_line_q : high_line_q;
    assign write_mask_o = {Banks{1'b1}};
    genvar b;
    generate
        for (b = 0; b < Banks; b = b + 1) begin : bank
            assign write_data_o[b*Tokens*8 +: Tokens*8] =
                {{((Tokens-1)*8){1'b0}}, write_low_q ? low_q[b*8 +: 8] : high_q[b*8 +: 8]};
        end
    endgenerate

endmodule
