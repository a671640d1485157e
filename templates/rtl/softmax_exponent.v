// exp(score - maximum) of P keys, T queries and all heads a cycle: e = seen ? table[min(max - score, 255)] : 0.
//
// Timing, in cycles from the read of a group of scores (e0): e2 scores and what is seen of them (inputs), e3 index,
// e4 table entry, e5 low_o and high_o, the bytes of the numerators.
module softmax_exponent #(
    parameter Tokens = 2,
    parameter Rows = 1,
    parameter Heads = 1
) (
    input  wire                            clk_i,
    input  wire                            table_we_i,
    input  wire [7:0]                      table_address_i,
    input  wire [15:0]                     table_data_i,
    input  wire                            valid2_i,
    input  wire                            valid3_i,
    input  wire                            valid4_i,
    input  wire [Heads*Rows*Tokens*16-1:0] score_i,
    input  wire [Heads*Tokens*16-1:0]      maximum_i,
    input  wire [Rows*Tokens-1:0]          seen_i,
    // Lane (h*P + p)*T + t.
    output wire [Heads*Rows*Tokens*8-1:0]  low_o,
    output wire [Heads*Rows*Tokens*8-1:0]  high_o
);

    localparam HeadLanes = Rows * Tokens;
    localparam Lanes = Heads * HeadLanes;

    reg [HeadLanes-1:0] seen3_q, seen4_q;
    always @(posedge clk_i) begin
        seen3_q <= seen_i;
        seen4_q <= seen3_q;
    end

    genvar i;
    generate
        for (i = 0; i < Lanes; i = i + 2) begin : lanes
            // The second one, or the first again where there is only one.
            localparam Next = i + 1 < Lanes ? i + 1 : i;
            localparam Query0 = i / HeadLanes * Tokens + i % Tokens;
            localparam Query1 = Next / HeadLanes * Tokens + Next % Tokens;
            wire [15:0] low, high;
            softmax_lanes two (
                .clk_i(clk_i),
                .table_we_i(table_we_i),
                .table_address_i(table_address_i),
                .table_data_i(table_data_i),
                .valid2_i(valid2_i),
                .valid3_i(valid3_i),
                .valid4_i(valid4_i),
                .score_i({score_i[Next*16 +: 16], score_i[i*16 +: 16]}),
                .maximum_i({maximum_i[Query1*16 +: 16], maximum_i[Query0*16 +: 16]}),
                .seen_i({seen4_q[Next % HeadLanes], seen4_q[i % HeadLanes]}),
                .low_o(low),
                .high_o(high)
            );
            assign low_o[i*8 +: 8*(Next-i+1)] = low[8*(Next-i+1)-1:0];
            assign high_o[i*8 +: 8*(Next-i+1)] = high[8*(Next-i+1)-1:0];
            if (Next == i) begin : single
                wire unused = &{1'b0, low[15:8], high[15:8]};
            end
        end
    endgenerate

endmodule
