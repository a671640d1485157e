// Sums of x and of x^2 of one token: L channels a cycle, added up by a pipelined tree and accumulated.
//
// Never stalled; everything keeps still without run_i. `first_i` starts the sums anew. Values of cycle t are in sum_o and
// squares_o from cycle t + `Latency` on, Latency = 2 + log2(L). L multipliers of 16 x 16 bits with registers before (the
// user's) and behind.
module norm_moments #(
    parameter Lanes = 4,
    parameter CountBits = 12,
    parameter Latency = 2 + $clog2(Lanes)
) (
    input  wire                  clk_i,
    input  wire                  run_i,
    input  wire                  valid_i,
    input  wire                  first_i,
    input  wire [Lanes*16-1:0]   x_i,
    output wire [CountBits+15:0] sum_o,
    output wire [CountBits+29:0] squares_o
);
    /* verilator no_inline_module */

    localparam SumBits = CountBits + 16;
    localparam SquareBits = CountBits + 30;
    // Wide enough for every level of the tree.
    localparam NodeBits = 17 + $clog2(Lanes);
    localparam NodeSquareBits = 31 + $clog2(Lanes);

    // A heap: node n adds up nodes 2n and 2n + 1, node 1 is the total; leaves are L .. 2L - 1. Node n is field n - 1.
    reg [NodeBits*(2*Lanes-1)-1:0]       node_q;
    reg [NodeSquareBits*(2*Lanes-1)-1:0] square_q;
    reg [Latency-2:0]                    valid_q, first_q;
    reg [SumBits-1:0]                    sum_q;
    reg [SquareBits-1:0]                 squares_q;

    // There are at least L channels, so the tree is not wider than the accumulators.
    wire [SumBits-1:0]    line = {{(SumBits-NodeBits){node_q[NodeBits-1]}}, node_q[NodeBits-1:0]};
    wire [SquareBits-1:0] line_squares = {{(SquareBits-NodeSquareBits){1'b0}}, square_q[NodeSquareBits-1:0]};

    integer l;
    integer n;
    always @(posedge clk_i) if (run_i) begin
        for (l = 0; l < Lanes; l = l + 1) begin
            node_q[(Lanes+l-1)*NodeBits +: NodeBits] <= {{(NodeBits-16){x_i[l*16+15]}}, x_i[l*16 +: 16]};
            square_q[(Lanes+l-1)*NodeSquareBits +: NodeSquareBits] <=
                {{(NodeSquareBits-16){x_i[l*16+15]}}, x_i[l*16 +: 16]} *
                {{(NodeSquareBits-16){x_i[l*16+15]}}, x_i[l*16 +: 16]};
        end
        for (n = 1; n < Lanes; n = n + 1) begin
            node_q[(n-1)*NodeBits +: NodeBits] <=
                node_q[(2*n-1)*NodeBits +: NodeBits] + node_q[2*n*NodeBits +: NodeBits];
            square_q[(n-1)*NodeSquareBits +: NodeSquareBits] <=
                square_q[(2*n-1)*NodeSquareBits +: NodeSquareBits] + square_q[2*n*NodeSquareBits +: NodeSquareBits];
        end
        valid_q[0] <= valid_i;
        first_q[0] <= first_i;
        for (n = 1; n < Latency - 1; n = n + 1) begin
            valid_q[n] <= valid_q[n-1];
            first_q[n] <= first_q[n-1];
        end
        if (valid_q[Latency-2]) begin
            sum_q <= (first_q[Latency-2] ? {SumBits{1'b0}} : sum_q) + line;
            squares_q <= (first_q[Latency-2] ? {SquareBits{1'b0}} : squares_q) + line_squares;
        end
    end

    assign sum_o = sum_q;
    assign squares_o = squares_q;

endmodule
