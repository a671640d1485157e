// The largest of P scores of one query, of those that count: log2 P + 1 cycles later, a set every cycle.
module maximum_tree #(
    parameter Rows = 2
) (
    input  wire               clk_i,
    input  wire [Rows*16-1:0] score_i,
    input  wire [Rows-1:0]    seen_i,
    output wire [15:0]        maximum_o
);
    // Many alike: compiled once.
    /* verilator no_inline_module */

    // Scores are symmetric: the least int16 is none.
    localparam [15:0] None = 16'h8000;

    // Nodes 2^l .. 2^(l+1) - 1 are level l, node 1 is the top, the leaves are the scores that count.
    wire [15:0] node [1:2*Rows-1];
    assign maximum_o = node[1];
    genvar n;
    generate
        for (n = 1; n < 2 * Rows; n = n + 1) begin : tree
            reg [15:0] value_q;
            assign node[n] = value_q;
            if (n >= Rows) begin : leaf
                always @(posedge clk_i) value_q <= seen_i[n-Rows] ? score_i[(n-Rows)*16 +: 16] : None;
            end else begin : inner
                always @(posedge clk_i)
                    value_q <= $signed(node[2*n]) > $signed(node[2*n+1]) ? node[2*n] : node[2*n+1];
            end
        end
    endgenerate

endmodule
