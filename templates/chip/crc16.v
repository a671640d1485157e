// One byte further in a CRC-16/CCITT: polynomial x^16 + x^12 + x^5 + 1, most significant bit first (ITU-T V.41).
module crc16 (
    input  wire [15:0] crc_i,
    input  wire [7:0]  data_i,
    output wire [15:0] crc_o
);

    // Division by the polynomial, eight bits at a time: the quotient's bits are the upper byte's, with its own upper
    // half added to the lower one.
    wire [7:0] sum = crc_i[15:8] ^ data_i;
    wire [7:0] quotient = sum ^ {4'd0, sum[7:4]};

    assign crc_o = {crc_i[7:0], 8'd0} ^ {quotient[3:0], 12'd0} ^ {3'd0, quotient, 5'd0} ^ {8'd0, quotient};

endmodule
