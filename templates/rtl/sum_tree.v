// The running sum of one query's numerators, P a cycle: `sum_o` includes those that came log2 P cycles ago; `valid_i`
// and `first_i` of theirs come beside it.
module sum_tree #(
    parameter Rows = 2,
    parameter SumBits = 20
) (
    input  wire               clk_i,
    input  wire [Rows*8-1:0]  low_i,
    input  wire [Rows*8-1:0]  high_i,
    input  wire               valid_i,
    input  wire               first_i,
    output wire [SumBits-1:0] sum_o
);
    // Many alike: compiled once.
    /* verilator no_inline_module */

    localparam NodeBits = 16 + $clog2(Rows);
    localparam WideBits = (SumBits > NodeBits ? SumBits : NodeBits) + 1;

    // Nodes 2^l .. 2^(l+1) - 1 are level l, node 1 is the top, the leaves are the inputs.
    wire [NodeBits-1:0] node [1:2*Rows-1];
    genvar n;
    generate
        for (n = 1; n < 2 * Rows; n = n + 1) begin : tree
            if (n >= Rows) begin : leaf
                wire [NodeBits+15:0] wide = {{NodeBits{1'b0}}, high_i[(n-Rows)*8 +: 8], low_i[(n-Rows)*8 +: 8]};
                assign node[n] = wide[NodeBits-1:0];
                wire unused = &{1'b0, wide[NodeBits+15:NodeBits]};
            end else begin : inner
                reg [NodeBits-1:0] value_q;
                always @(posedge clk_i) value_q <= node[2*n] + node[2*n+1];
                assign node[n] = value_q;
            end
        end
    endgenerate

    reg  [SumBits-1:0]  sum_q;
    wire [WideBits-1:0] top = {{(WideBits-NodeBits){1'b0}}, node[1]};
    assign sum_o = top[SumBits-1:0] + (first_i ? {SumBits{1'b0}} : sum_q);

    always @(posedge clk_i) if (valid_i) sum_q <= sum_o;

    wire unused = &{1'b0, top[WideBits-1:SumBits]};

endmodule
