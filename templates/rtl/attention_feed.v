// Operands and weights of attention's slots, in cycle t + 4 of the slot in cycle t.
//
// Scores: a line of queries, and P keys of a store line; context: numerators, and P channels of a values line.
//
//     cycle   operands                          weights
//     t+1                                       key line arrives (granted in t-1); values line requested
//     t+2     queries, numerators requested     keys of the part of the tile
//     t+3     they arrive                       keys of the banks that count; values line arrives
//     t+4     operand_o                         weight_o
module attention_feed #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter CycleBits = 2,
    parameter PartBits = 1,
    parameter RowBits = 3,
    parameter ValueBits = 8
) (
    input  wire                          clk_i,
    input  wire                          rst_ni,
    input  wire                          slot_valid_i,
    input  wire                          slot_context_i,
    input  wire                          slot_high_i,
    input  wire                          slot_pair_i,
    input  wire [CycleBits-1:0]          slot_head_line_i,
    input  wire [PartBits-1:0]           slot_part_i,
    input  wire [Banks/Rows-1:0]         slot_key_banks_i,
    input  wire [RowBits-1:0]            slot_row_i,
    input  wire [ValueBits-1:0]          slot_value_line_i,
    input  wire [Banks*Tokens*8-1:0]     store_data_i,
    output wire                          values_re_o,
    output wire [ValueBits-1:0]          values_line_o,
    input  wire [Banks*Rows*8-1:0]       values_data_i,
    output wire                          query_re_o,
    output wire                          query_pair_o,
    output wire [CycleBits-1:0]          query_line_o,
    input  wire [Banks*Tokens*8-1:0]     query_data_i,
    output wire                          numerator_re_o,
    output wire                          numerator_pair_o,
    output wire [RowBits-1:0]            numerator_row_o,
    input  wire [Banks*Tokens*8-1:0]     numerator_low_i,
    input  wire [Banks*Tokens*8-1:0]     numerator_high_i,
    output reg  [Banks*Tokens*8-1:0]     operand_o,
    output wire [Rows*Banks*8-1:0]       weight_o
);

    localparam Parts = Tokens / Rows;
    localparam GroupBits = Rows * Rows * 8;

    reg                  scores1_q, scores2_q, scores3_q, context1_q, context2_q, context3_q;
    reg                  pair1_q, pair2_q, high1_q, high2_q, high3_q;
    reg [CycleBits-1:0]  line1_q, line2_q;
    reg [PartBits-1:0]   part1_q;
    reg [Banks/Rows-1:0] banks1_q, banks2_q;
    reg [RowBits-1:0]    row1_q, row2_q;
    reg [ValueBits-1:0]  values1_q;

    assign values_re_o = context1_q;
    assign values_line_o = values1_q;
    assign query_re_o = scores2_q;
    assign query_pair_o = pair2_q;
    assign query_line_o = line2_q;
    assign numerator_re_o = context2_q;
    assign numerator_pair_o = pair2_q;
    assign numerator_row_o = row2_q;

    // Bank by bank, as memory words lie; the keys of P banks at a time count or do not.
    wire [Banks*Rows*8-1:0] keys, counted;
    reg  [Banks*Rows*8-1:0] keys2_q, keys3_q, weight_q;
    genvar b, p, g;
    generate
        if (Parts == 1) begin : whole
            assign keys = store_data_i;
            wire unused = &{1'b0, part1_q};
        end else begin : some
            for (b = 0; b < Banks; b = b + 1) begin : bank
                wire [Tokens*8-1:0] word = store_data_i[b*Tokens*8 +: Tokens*8];
                assign keys[b*Rows*8 +: Rows*8] = word[part1_q*Rows*8 +: Rows*8];
            end
        end
        for (g = 0; g < Banks / Rows; g = g + 1) begin : bank_group
            assign counted[g*GroupBits +: GroupBits] = keys2_q[g*GroupBits +: GroupBits] & {GroupBits{banks2_q[g]}};
        end
        // The array wants them row by row.
        for (p = 0; p < Rows; p = p + 1) begin : row
            for (b = 0; b < Banks; b = b + 1) begin : weight
                assign weight_o[(p*Banks + b)*8 +: 8] = weight_q[(b*Rows + p)*8 +: 8];
            end
        end
    endgenerate

    always @(posedge clk_i) begin
        pair1_q <= slot_pair_i;
        pair2_q <= pair1_q;
        high1_q <= slot_high_i;
        high2_q <= high1_q;
        high3_q <= high2_q;
        line1_q <= slot_head_line_i;
        line2_q <= line1_q;
        part1_q <= slot_part_i;
        banks1_q <= slot_key_banks_i;
        banks2_q <= banks1_q;
        row1_q <= slot_row_i;
        row2_q <= row1_q;
        values1_q <= slot_value_line_i;
        if (scores1_q) keys2_q <= keys;
        if (scores2_q) keys3_q <= counted;
        if (scores3_q) operand_o <= query_data_i;
        else if (context3_q) operand_o <= high3_q ? numerator_high_i : numerator_low_i;
        if (scores3_q) weight_q <= keys3_q;
        else if (context3_q) weight_q <= values_data_i;
        if (!rst_ni) begin
            scores1_q <= 1'b0;
            scores2_q <= 1'b0;
            scores3_q <= 1'b0;
            context1_q <= 1'b0;
            context2_q <= 1'b0;
            context3_q <= 1'b0;
        end else begin
            scores1_q <= slot_valid_i && !slot_context_i;
            scores2_q <= scores1_q;
            scores3_q <= scores2_q;
            context1_q <= slot_valid_i && slot_context_i;
            context2_q <= context1_q;
            context3_q <= context2_q;
        end
    end

endmodule
