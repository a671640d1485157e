// Sums of x and of x^2 of `Share` tokens in turn: L channels of one a cycle, added up by a pipelined tree and accumulated.
//
// Never stalled; everything keeps still without run_i. `first_i` starts a token's sums anew. Values of cycle t are in sum_o
// and squares_o from cycle t + `Latency` on, Latency = 2 + log2(L); a token's sums are at field 0 when it has been added to,
// and move up a field with each of the others. L multipliers of 16 x 16 bits with registers before (the
// user's) and behind.
module norm_moments #(
    parameter Lanes = 4,
    parameter CountBits = 12,
    parameter Share = 1,
    parameter Latency = 2 + $clog2(Lanes)
) (
    input  wire                  clk_i,
    input  wire                  run_i,
    input  wire                  valid_i,
    input  wire                  first_i,
    input  wire [Lanes*16-1:0]   x_i,
    output wire [Share*(CountBits+16)-1:0] sum_o,
    output wire [Share*(CountBits+30)-1:0] squares_o
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
    reg [Share*SumBits-1:0]              sum_q;
    reg [Share*SquareBits-1:0]           squares_q;

    // There are at least L channels, so the tree is not wider than the accumulators.
    wire [SumBits-1:0]    line = {{(SumBits-NodeBits){node_q[NodeBits-1]}}, node_q[NodeBits-1:0]};
    wire [SquareBits-1:0] line_squares = {{(SquareBits-NodeSquareBits){1'b0}}, square_q[NodeSquareBits-1:0]};

    // The token whose turn it is has the oldest sums; it leaves them at field 0.
    wire [SumBits-1:0]    old_sum = first_q[Latency-2] ? {SumBits{1'b0}} : sum_q[(Share-1)*SumBits +: SumBits];
    wire [SquareBits-1:0] old_squares =
        first_q[Latency-2] ? {SquareBits{1'b0}} : squares_q[(Share-1)*SquareBits +: SquareBits];
    wire [SumBits-1:0]    sum = old_sum + line;
    wire [SquareBits-1:0] squares = old_squares + line_squares;
    /* verilator lint_off UNUSEDSIGNAL */ // The oldest sums fall out.
    wire [(Share+1)*SumBits-1:0]    next_sums = {sum_q, sum};
    wire [(Share+1)*SquareBits-1:0] next_squares = {squares_q, squares};
    /* verilator lint_on UNUSEDSIGNAL */

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
            sum_q <= next_sums[Share*SumBits-1:0];
            squares_q <= next_squares[Share*SquareBits-1:0];
        end
    end

    assign sum_o = sum_q;
    assign squares_o = squares_q;

endmodule
