// Registers of every kind that ECP5 has, for a comparison of their model with this text.
module kinds_of_registers (
    input  wire       clk_i,
    input  wire       set_i,
    input  wire       enable_i,
    input  wire [1:0] data_i,
    output wire [9:0] seen_o
);

    reg [1:0] plain_q = 2'b00, enabled_q = 2'b11, reset_first_q = 2'b01, enable_first_q = 2'b10, low_q = 2'b00;

    always @(posedge clk_i) begin
        plain_q <= data_i;
        if (enable_i) enabled_q <= data_i;
        if (set_i) reset_first_q <= 2'b01;
        else if (enable_i) reset_first_q <= data_i;
        if (enable_i) begin
            if (set_i) enable_first_q <= 2'b10;
            else enable_first_q <= data_i;
        end
        // Both inverted.
        if (!set_i) low_q <= 2'b00;
        else if (!enable_i) low_q <= data_i;
    end

    assign seen_o = {plain_q, enabled_q, reset_first_q, enable_first_q, low_q};

endmodule
