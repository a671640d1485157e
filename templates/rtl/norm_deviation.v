// 1/sd of one token from its sums: A = C*sum(x^2) - centre^2 + epsilon, sd = max(isqrt(A), 1), (r, n) = reciprocal(sd).
//
// Never stalled; the answer comes 58 cycles later. Tokens come at least `Fold` cycles apart, a power of two. The words of
// the step stay the same. Six multipliers of at most 18 x 18 bits with registers before and behind.
module norm_deviation #(
    parameter CountBits = 12,
    parameter Fold = 1
) (
    input  wire                  clk_i,
    input  wire                  rst_ni,
    input  wire [CountBits-1:0]  channels_i,
    input  wire [63:0]           epsilon_i,
    input  wire                  valid_i,
    input  wire [CountBits+15:0] centre_i,
    input  wire [CountBits+29:0] squares_i,
    output wire                  valid_o,
    output wire [16:0]           r_o,
    output wire [5:0]            n_o
);

    localparam SumBits = CountBits + 16;
    localparam SquareBits = CountBits + 30;
    // Stages of this module before the root.
    localparam Steps = 6;

    reg [Steps-1:0] valid_q;
    reg [31:0]      size_q;
    reg [46:0]      squares_q;
    reg [33:0]      part0_q, part1_q;
    reg [29:0]      part2_q, later_q;
    reg [31:0]      high_q, cross_q, low_q;
    reg [51:0]      sum01_q;
    reg [63:0]      square3_q, square4_q, square5_q;
    reg [63:0]      spread4_q, spread5_q, spread6_q;

    // |centre| is at most 2^31.
    wire [SumBits+31:0] wide = {{32{centre_i[SumBits-1]}}, centre_i};
    wire [31:0]         size = wide[SumBits+31] ? -wide[31:0] : wide[31:0];
    wire [33:0]         count = {{(34-CountBits){1'b0}}, channels_i};

    always @(posedge clk_i) begin
        size_q <= size;
        squares_q <= {{(47-SquareBits){1'b0}}, squares_i};

        part0_q <= count * {17'd0, squares_q[16:0]};
        part1_q <= count * {17'd0, squares_q[33:17]};
        part2_q <= count[29:0] * {17'd0, squares_q[46:34]};
        high_q <= {16'd0, size_q[31:16]} * {16'd0, size_q[31:16]};
        cross_q <= {16'd0, size_q[31:16]} * {16'd0, size_q[15:0]};
        low_q <= {16'd0, size_q[15:0]} * {16'd0, size_q[15:0]};

        sum01_q <= {18'd0, part0_q} + {1'b0, part1_q, 17'd0};
        later_q <= part2_q;
        square3_q <= {high_q, low_q} + {15'd0, cross_q, 17'd0};

        // Modulo 2^64, as the root takes it.
        spread4_q <= {12'd0, sum01_q} + {later_q, 34'd0};
        square4_q <= square3_q;

        spread5_q <= spread4_q + epsilon_i;
        square5_q <= square4_q;

        spread6_q <= spread5_q - square5_q;

        if (!rst_ni) valid_q <= {Steps{1'b0}};
        else valid_q <= {valid_q[Steps-2:0], valid_i};
    end

    wire        root_valid;
    wire [31:0] root;
    isqrt #(.Width(64), .Fold(Fold)) square_root (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(valid_q[Steps-1]), .value_i(spread6_q), .valid_o(root_valid),
        .root_o(root)
    );

    reg        deviation_valid_q;
    reg [31:0] deviation_q;
    always @(posedge clk_i) begin
        deviation_q <= root == 32'd0 ? 32'd1 : root;
        if (!rst_ni) deviation_valid_q <= 1'b0;
        else deviation_valid_q <= root_valid;
    end

    reciprocal #(.Width(32), .Fold(Fold)) divider (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(deviation_valid_q), .value_i(deviation_q), .valid_o(valid_o),
        .r_o(r_o), .n_o(n_o)
    );

endmodule
