// A UART's receiver: eight data bits, no parity, one stop bit at least, least significant bit first.
//
// A bit lasts `Divider` cycles; it is sampled once, in its middle, after two registers that bring the pin into the
// clock. A start bit that is gone by its middle is noise, and a byte without a stop bit is dropped: garbage on the line
// gives bytes at most, which the packet's checksum refuses.
module uart_receiver #(
    parameter Divider = 40
) (
    input  wire       clk_i,
    input  wire       rst_ni,
    input  wire       rx_i,
    output wire       valid_o,
    output wire [7:0] data_o
);

    localparam CountBits = $clog2(Divider + 1);
    localparam HalfCycles = Divider / 2 - 1;
    localparam WholeCycles = Divider - 1;

    reg [2:0]           pin_q;
    reg                 busy_q, valid_q;
    reg [CountBits-1:0] count_q;
    reg [3:0]           bit_q;
    reg [7:0]           data_q;

    wire sample = busy_q && count_q == 0;

    assign valid_o = valid_q;
    assign data_o = data_q;

    always @(posedge clk_i) begin
        // Its idle level, so that reset is no start bit.
        if (!rst_ni) pin_q <= 3'b111;
        else pin_q <= {pin_q[1:0], rx_i};
        if (sample && bit_q != 4'd0 && bit_q != 4'd9) data_q <= {pin_q[1], data_q[7:1]};

        if (!rst_ni) begin
            busy_q <= 1'b0;
            valid_q <= 1'b0;
            count_q <= 0;
            bit_q <= 4'd0;
        end else begin
            valid_q <= sample && bit_q == 4'd9 && pin_q[1];
            if (!busy_q) begin
                busy_q <= pin_q[2] && !pin_q[1];
                count_q <= HalfCycles[CountBits-1:0];
                bit_q <= 4'd0;
            end else if (sample) begin
                count_q <= WholeCycles[CountBits-1:0];
                bit_q <= bit_q + 4'd1;
                // Half a stop bit is left for the next start bit to come early.
                if (bit_q == 4'd9 || (bit_q == 4'd0 && pin_q[1])) busy_q <= 1'b0;
            end else begin
                count_q <= count_q - 1'b1;
            end
        end
    end

endmodule
