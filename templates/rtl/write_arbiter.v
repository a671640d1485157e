// One write port for several writers: the lowest index with something to write goes first. What is granted reaches the
// memories a cycle later, from registers: whoever follows a writer tile by tile learns of a tile a cycle later still.
// The first writer may have banks write another line, the high one; it names none where it writes nothing.
module write_arbiter #(
    parameter Writers = 2,
    parameter Banks = 4,
    parameter WordBits = 16
) (
    input  wire                              clk_i,
    input  wire [Writers-1:0]                valid_i,
    output wire [Writers-1:0]                ready_o,
    input  wire [2*Writers-1:0]              space_i,
    input  wire [32*Writers-1:0]             line_i,
    input  wire [Banks*Writers-1:0]          mask_i,
    input  wire [Banks*WordBits*Writers-1:0] data_i,
    input  wire [Banks-1:0]                  high_i,
    input  wire [31:0]                       high_line_i,

    output wire [1:0]                        space_o,
    output wire [31:0]                       line_o,
    // No bank where nobody writes.
    output wire [Banks-1:0]                  mask_o,
    output wire [Banks*WordBits-1:0]         data_o,
    output wire [Banks-1:0]                  high_o,
    output wire [31:0]                       high_line_o
);

    // The lowest bit that is set, and all below it: gates, no carry chain.
    wire [Writers-1:0] first = valid_i & ready_o;
    genvar w;
    generate
        for (w = 0; w < Writers; w = w + 1) begin : writers
            if (w == 0) begin : lowest
                assign ready_o[w] = 1'b1;
            end else begin : others
                assign ready_o[w] = valid_i[w-1:0] == 0;
            end
        end
    endgenerate

    reg [1:0]                space_q;
    reg [31:0]               line_q;
    reg [Banks-1:0]          mask_q;
    reg [Banks*WordBits-1:0] data_q;
    reg [Banks-1:0]          high_q;
    reg [31:0]               high_line_q;
    assign space_o = space_q;
    assign line_o = line_q;
    assign mask_o = mask_q;
    assign data_o = data_q;
    assign high_o = high_q;
    assign high_line_o = high_line_q;

    integer i;
    always @(posedge clk_i) begin
        space_q <= space_i[1:0];
        line_q <= line_i[31:0];
        mask_q <= valid_i[0] ? mask_i[Banks-1:0] : {Banks{1'b0}};
        data_q <= data_i[Banks*WordBits-1:0];
        high_q <= high_i;
        high_line_q <= high_line_i;
        for (i = 1; i < Writers; i = i + 1) begin
            if (first[i]) begin
                space_q <= space_i[2*i +: 2];
                line_q <= line_i[32*i +: 32];
                mask_q <= mask_i[Banks*i +: Banks];
                data_q <= data_i[Banks*WordBits*i +: Banks*WordBits];
            end
        end
    end

endmodule
