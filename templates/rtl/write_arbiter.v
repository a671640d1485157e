// One write port for several writers: the lowest index with something to write goes first. What is granted reaches the
// memories in the same cycle.
module write_arbiter #(
    parameter Writers = 2,
    parameter Banks = 4,
    parameter WordBits = 16
) (
    input  wire [Writers-1:0]                valid_i,
    output wire [Writers-1:0]                ready_o,
    input  wire [2*Writers-1:0]              space_i,
    input  wire [32*Writers-1:0]             line_i,
    input  wire [Banks*Writers-1:0]          mask_i,
    input  wire [Banks*WordBits*Writers-1:0] data_i,

    output reg  [1:0]                        space_o,
    output reg  [31:0]                       line_o,
    // No bank where nobody writes.
    output reg  [Banks-1:0]                  mask_o,
    output reg  [Banks*WordBits-1:0]         data_o
);

    // The lowest bit that is set, and all below it.
    wire [Writers-1:0] first = valid_i & (-valid_i);
    assign ready_o = first | (first - 1'b1);

    integer i;
    always @* begin
        space_o = space_i[1:0];
        line_o = line_i[31:0];
        mask_o = valid_i[0] ? mask_i[Banks-1:0] : {Banks{1'b0}};
        data_o = data_i[Banks*WordBits-1:0];
        for (i = 1; i < Writers; i = i + 1) begin
            if (valid_i[i] && ready_o[i]) begin
                space_o = space_i[2*i +: 2];
                line_o = line_i[32*i +: 32];
                mask_o = mask_i[Banks*i +: Banks];
                data_o = data_i[Banks*WordBits*i +: Banks*WordBits];
            end
        end
    end

endmodule
