// Two lanes of the exponential: index = min(maximum - score, 255), a look-up in a table of their own, the mask.
//
// Cycle e2 scores, e3 index, e4 entry and seen_i, e5 the numerator's bytes; each step where its valid is high.
module softmax_lanes (
    input  wire        clk_i,
    input  wire        table_we_i,
    input  wire [7:0]  table_address_i,
    input  wire [15:0] table_data_i,
    input  wire        valid2_i,
    input  wire        valid3_i,
    input  wire        valid4_i,
    input  wire [31:0] score_i,
    input  wire [31:0] maximum_i,
    input  wire [1:0]  seen_i,
    output reg  [15:0] low_o,
    output reg  [15:0] high_o
);
    // Many alike: compiled once.
    /* verilator no_inline_module */

    // Not negative where the key is seen; what it is elsewhere does not matter.
    wire [16:0] distance0 = {maximum_i[15], maximum_i[15:0]} - {score_i[15], score_i[15:0]};
    wire [16:0] distance1 = {maximum_i[31], maximum_i[31:16]} - {score_i[31], score_i[31:16]};
    reg  [7:0]  index0_q, index1_q;
    wire [15:0] entry0, entry1;

    exp_table entries (
        .clk_i(clk_i),
        .we_i(table_we_i),
        .waddr_i(table_address_i),
        .wdata_i(table_data_i),
        .re_i(valid3_i),
        .raddr0_i(index0_q),
        .rdata0_o(entry0),
        .raddr1_i(index1_q),
        .rdata1_o(entry1)
    );

    always @(posedge clk_i) begin
        if (valid2_i) begin
            index0_q <= distance0[16:8] != 9'd0 ? 8'd255 : distance0[7:0];
            index1_q <= distance1[16:8] != 9'd0 ? 8'd255 : distance1[7:0];
        end
        if (valid4_i) begin
            low_o <= {entry1[7:0] & {8{seen_i[1]}}, entry0[7:0] & {8{seen_i[0]}}};
            high_o <= {entry1[15:8] & {8{seen_i[1]}}, entry0[15:8] & {8{seen_i[0]}}};
        end
    end

endmodule
