// The statistics of token tiles: for each token its centre (sum x, or 0 where not centred) and (r, n) = 1/sd.
//
// Values come L channels of all T tokens a cycle, `first_i` and `last_i` marking a tile's first and last cycle; tokens
// leave in order, one every `Fold` cycles, the centre at once (centre_valid_o), r and n `norm_deviation`'s latency later.
// Nothing is ever stalled: a user leaves room for what comes, and at least T*Fold cycles between one `last_i` and the next.
// `tile_done_o`: a tile's last token leaves. run_i: a step is under way; the sums keep still without it.
// Values of token t of lane l: x_i[(l*T + t)*16 +: 16].
module norm_statistics #(
    parameter Tokens = 2,
    parameter Lanes = 4,
    parameter CountBits = 12,
    // A power of two.
    parameter Fold = 1
) (
    input  wire                       clk_i,
    input  wire                       rst_ni,
    input  wire                       run_i,
    input  wire [CountBits-1:0]       channels_i,
    input  wire                       centred_i,
    input  wire [63:0]                epsilon_i,
    input  wire                       valid_i,
    input  wire                       first_i,
    input  wire                       last_i,
    input  wire [Lanes*Tokens*16-1:0] x_i,
    output wire                       tile_done_o,
    output wire                       centre_valid_o,
    output wire [CountBits+15:0]      centre_o,
    output wire                       scale_valid_o,
    output wire [16:0]                r_o,
    output wire [5:0]                 n_o
);

    localparam SumBits = CountBits + 16;
    localparam SquareBits = CountBits + 30;
    localparam MomentsLatency = 2 + $clog2(Lanes);
    localparam CountTokenBits = $clog2(Tokens + 1);

    wire [Tokens*SumBits-1:0]    sums;
    wire [Tokens*SquareBits-1:0] squares;
    genvar t;
    genvar l;
    generate
        for (t = 0; t < Tokens; t = t + 1) begin : token
            wire [Lanes*16-1:0] x;
            for (l = 0; l < Lanes; l = l + 1) begin : lane
                assign x[l*16 +: 16] = x_i[(l*Tokens+t)*16 +: 16];
            end
            norm_moments #(.Lanes(Lanes), .CountBits(CountBits)) moments (
                .clk_i(clk_i), .run_i(run_i), .valid_i(valid_i), .first_i(first_i), .x_i(x),
                .sum_o(sums[t*SumBits +: SumBits]), .squares_o(squares[t*SquareBits +: SquareBits])
            );
        end
    endgenerate

    // A tile's sums, token 0 lowest; they move down as tokens leave.
    reg [Tokens*SumBits-1:0]    sums_q;
    reg [Tokens*SquareBits-1:0] squares_q;
    reg [MomentsLatency-1:0]    last_q;
    reg [CountTokenBits-1:0]    left_q;

    wire taken = last_q[MomentsLatency-1];
    // The roots take a token.
    wire takes;
    wire leaving = left_q != {CountTokenBits{1'b0}} && takes;
    generate
        if (Fold == 1) begin : unfolded
            assign takes = 1'b1;
        end else begin : folded
            reg [$clog2(Fold)-1:0] gap_q;
            assign takes = gap_q == {$clog2(Fold){1'b0}};
            always @(posedge clk_i) gap_q <= taken ? {$clog2(Fold){1'b0}} : gap_q + 1'b1;
        end
    endgenerate

    always @(posedge clk_i) begin
        if (taken) begin
            sums_q <= sums;
            squares_q <= squares;
        end else if (takes) begin
            sums_q <= sums_q >> SumBits;
            squares_q <= squares_q >> SquareBits;
        end
        if (!rst_ni) begin
            last_q <= {MomentsLatency{1'b0}};
            left_q <= {CountTokenBits{1'b0}};
        end else begin
            last_q <= {last_q[MomentsLatency-2:0], valid_i && last_i};
            if (taken) left_q <= Tokens[CountTokenBits-1:0];
            else if (leaving) left_q <= left_q - 1'b1;
        end
    end

    assign tile_done_o = leaving && left_q == {{(CountTokenBits-1){1'b0}}, 1'b1};
    assign centre_valid_o = leaving;
    assign centre_o = centred_i ? sums_q[SumBits-1:0] : {SumBits{1'b0}};

    norm_deviation #(.CountBits(CountBits), .Fold(Fold)) deviation (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .channels_i(channels_i),
        .epsilon_i(epsilon_i),
        .valid_i(leaving),
        .centre_i(centre_o),
        .squares_i(squares_q[SquareBits-1:0]),
        .valid_o(scale_valid_o),
        .r_o(r_o),
        .n_o(n_o)
    );

endmodule
