// Two registers in a stream of words: no combinational path through it in either direction, and a word a cycle.
module stream_slice #(
    parameter Width = 8
) (
    input  wire             clk_i,
    input  wire             rst_ni,
    input  wire             valid_i,
    output wire             ready_o,
    input  wire [Width-1:0] data_i,
    output wire             valid_o,
    input  wire             ready_i,
    output wire [Width-1:0] data_o
);

    // The head leaves; the tail takes what comes while the head does not leave.
    reg             head_valid_q, tail_valid_q;
    reg [Width-1:0] head_q, tail_q;

    wire move = !head_valid_q || ready_i;

    assign ready_o = !tail_valid_q;
    assign valid_o = head_valid_q;
    assign data_o = head_q;

    always @(posedge clk_i) begin
        if (move) head_q <= tail_valid_q ? tail_q : data_i;
        if (!tail_valid_q) tail_q <= data_i;
        if (!rst_ni) begin
            head_valid_q <= 1'b0;
            tail_valid_q <= 1'b0;
        end else if (move) begin
            head_valid_q <= tail_valid_q || valid_i;
            tail_valid_q <= 1'b0;
        end else if (valid_i) begin
            tail_valid_q <= 1'b1;
        end
    end

endmodule
