// exp(score - maximum) of P keys, T queries and all heads a cycle, by table: e = seen ? table[min(max - score, 255)] : 0.
//
// Timing, in cycles from the read of a group of scores (e0): e1 scores and what is seen of them (inputs), e2 index,
// e3 table entry, e4 `numerator_o`.
module softmax_exponent #(
    parameter Tokens = 2,
    parameter Rows = 1,
    parameter Heads = 1
) (
    input  wire                            clk_i,
    input  wire                            table_we_i,
    input  wire [7:0]                      table_address_i,
    input  wire [15:0]                     table_data_i,
    input  wire                            valid_i,
    input  wire [Heads*Rows*Tokens*16-1:0] score_i,
    input  wire [Heads*Tokens*16-1:0]      maximum_i,
    input  wire [Rows*Tokens-1:0]          seen_i,
    // Lane (h*P + p)*T + t.
    output reg  [Heads*Rows*Tokens*16-1:0] numerator_o
);

    localparam Lanes = Heads * Rows * Tokens;
    localparam Copies = (Lanes + 1) / 2;

    reg  [Copies*2*8-1:0]   index_q;
    wire [Copies*2*16-1:0]  entry;
    reg  [Rows*Tokens-1:0]  seen2_q, seen3_q;
    reg                     valid2_q, valid3_q;

    // Not negative where the key is seen; what it is elsewhere does not matter.
    function [7:0] distance_of;
        input [15:0] maximum;
        input [15:0] score;
        reg [16:0] distance;
        begin
            distance = {maximum[15], maximum} - {score[15], score};
            distance_of = distance[16:8] != 9'd0 ? 8'd255 : distance[7:0];
        end
    endfunction

    integer h, k;
    always @(posedge clk_i) begin
        valid2_q <= valid_i;
        valid3_q <= valid2_q;
        seen2_q <= seen_i;
        seen3_q <= seen2_q;
        if (Copies * 2 != Lanes) index_q[(Copies*2-1)*8 +: 8] <= 8'd0;
        if (valid_i) begin
            for (h = 0; h < Heads; h = h + 1) begin
                for (k = 0; k < Rows * Tokens; k = k + 1) begin
                    index_q[(h*Rows*Tokens + k)*8 +: 8] <= distance_of(
                        maximum_i[(h*Tokens + k%Tokens)*16 +: 16], score_i[(h*Rows*Tokens + k)*16 +: 16]
                    );
                end
            end
        end
        if (valid3_q) begin
            for (h = 0; h < Heads; h = h + 1) begin
                for (k = 0; k < Rows * Tokens; k = k + 1) begin
                    numerator_o[(h*Rows*Tokens + k)*16 +: 16] <= entry[(h*Rows*Tokens + k)*16 +: 16]
                        & {16{seen3_q[k]}};
                end
            end
        end
    end

    genvar c;
    generate
        for (c = 0; c < Copies; c = c + 1) begin : copy
            exp_table entries (
                .clk_i(clk_i),
                .we_i(table_we_i),
                .waddr_i(table_address_i),
                .wdata_i(table_data_i),
                .re_i(valid2_q),
                .raddr0_i(index_q[2*c*8 +: 8]),
                .rdata0_o(entry[2*c*16 +: 16]),
                .raddr1_i(index_q[(2*c+1)*8 +: 8]),
                .rdata1_o(entry[(2*c+1)*16 +: 16])
            );
        end
        if (Copies * 2 != Lanes) begin : odd
            wire unused = &{1'b0, entry[(Copies*2-1)*16 +: 16]};
        end
    endgenerate

endmodule
