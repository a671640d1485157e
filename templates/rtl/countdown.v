// Counts `count_i` things down, again and again: `last_o` says that the one at hand is the last.
//
// `start_i` begins with the first one; each `step_i` goes on to the next, and from the last to the first. `count_i` is
// at least 1 and stands still from `start_i` on. `last_o` is a register, good from the cycle after `start_i` on.
module countdown #(
    parameter Bits = 16
) (
    input  wire            clk_i,
    input  wire            start_i,
    input  wire [Bits-1:0] count_i,
    input  wire            step_i,
    output wire            last_o
);

    localparam [Bits:0] One = 1, Two = 2;

    // Of what is left, the one at hand included: how much, and whether it is one. Whether one is all that there is.
    reg [Bits-1:0] left_q;
    reg            last_q, one_q;

    always @(posedge clk_i) begin
        one_q <= count_i == One[Bits-1:0];
        if (start_i) begin
            left_q <= count_i;
            last_q <= count_i == One[Bits-1:0];
        end else if (step_i) begin
            left_q <= last_q ? count_i : left_q - One[Bits-1:0];
            last_q <= last_q ? one_q : left_q == Two[Bits-1:0];
        end
    end

    assign last_o = last_q;

endmodule
