// Bias, multiplier and shift of the rows of the last 64 row groups, in the order of the groups since reset.
//
// A row's word is {shift[5:0], multiplier[15:0], bias[31:0]}; rows of a group are written as they come. Read data come
// two cycles after `group_i`, from a register behind the memory.
module constants_ring #(
    parameter Rows = 1
) (
    input  wire               clk_i,
    input  wire [Rows-1:0]    we_i,
    input  wire [5:0]         wgroup_i,
    input  wire [54*Rows-1:0] wdata_i,
    input  wire               re_i,
    input  wire [5:0]         group_i,
    output wire [32*Rows-1:0] bias_o,
    output wire [16*Rows-1:0] multiplier_o,
    output wire [6*Rows-1:0]  shift_o
);

    wire [54*Rows-1:0] word;
    reg  [54*Rows-1:0] word_q;
    always @(posedge clk_i) word_q <= word;

    genvar p;
    generate
        for (p = 0; p < Rows; p = p + 1) begin : row
            ram_1r1w #(.Width(54), .Depth(64), .AddressBits(6)) constants (
                .clk_i(clk_i),
                .we_i(we_i[p]),
                .waddr_i(wgroup_i),
                .wdata_i(wdata_i[54*p +: 54]),
                .re_i(re_i),
                .raddr_i(group_i),
                .rdata_o(word[54*p +: 54])
            );
            assign {shift_o[6*p +: 6], multiplier_o[16*p +: 16], bias_o[32*p +: 32]} = word_q[54*p +: 54];
        end
    endgenerate

endmodule
