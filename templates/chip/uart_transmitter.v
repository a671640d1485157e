// A UART's transmitter: eight data bits, no parity, one stop bit, least significant bit first; `Divider` cycles a bit.
module uart_transmitter #(
    parameter Divider = 40
) (
    input  wire       clk_i,
    input  wire       rst_ni,
    input  wire       valid_i,
    output wire       ready_o,
    input  wire [7:0] data_i,
    output wire       tx_o
);

    localparam CountBits = $clog2(Divider + 1);
    localparam WholeCycles = Divider - 1;

    // What is still to go, the stop bit last; the line idles at 1.
    reg [9:0]           shift_q;
    reg [3:0]           left_q;
    reg [CountBits-1:0] count_q;

    assign ready_o = left_q == 4'd0;
    assign tx_o = shift_q[0];

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            shift_q <= 10'h3FF;
            left_q <= 4'd0;
            count_q <= 0;
        end else if (left_q == 4'd0) begin
            count_q <= WholeCycles[CountBits-1:0];
            if (valid_i) begin
                shift_q <= {1'b1, data_i, 1'b0};
                left_q <= 4'd10;
            end
        end else if (count_q == 0) begin
            count_q <= WholeCycles[CountBits-1:0];
            shift_q <= {1'b1, shift_q[9:1]};
            left_q <= left_q - 4'd1;
        end else begin
            count_q <= count_q - 1'b1;
        end
    end

endmodule
