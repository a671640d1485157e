// A value `Length` cycles later; Length may be 0. Not reset, so that it may become shift registers in LUTs.
module delay_line #(
    parameter Width = 8,
    parameter Length = 2
) (
    input  wire             clk_i,
    input  wire [Width-1:0] value_i,
    output wire [Width-1:0] value_o
);

    generate
        if (Length == 0) begin : none
            // verilator lint_off UNUSEDSIGNAL
            // Nothing is delayed.
            wire unused = clk_i;
            // verilator lint_on UNUSEDSIGNAL
            assign value_o = value_i;
        end else if (Length == 1) begin : one
            reg [Width-1:0] value_q;
            always @(posedge clk_i) value_q <= value_i;
            assign value_o = value_q;
        end else begin : many
            reg [Length*Width-1:0] value_q;
            always @(posedge clk_i) value_q <= {value_q[(Length-1)*Width-1:0], value_i};
            assign value_o = value_q[Length*Width-1-:Width];
        end
    endgenerate

endmodule
