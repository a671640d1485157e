// A memory with two read ports of which the first shares its address with the write port: one true dual-port block RAM.
//
// Read data come one cycle after the address. While `we_i` is high port A writes and its read data are without meaning.
module ram_2r1w #(
    parameter Width = 16,
    parameter AddressBits = 10
) (
    input  wire                   clk_i,
    input  wire                   we_i,
    input  wire [AddressBits-1:0] address_a_i,
    input  wire [Width-1:0]       wdata_i,
    output wire [Width-1:0]       rdata_a_o,
    input  wire [AddressBits-1:0] address_b_i,
    output wire [Width-1:0]       rdata_b_o
);

    reg [Width-1:0] word [0:(1<<AddressBits)-1];
    reg [Width-1:0] rdata_a_q, rdata_b_q;

    assign rdata_a_o = rdata_a_q;
    assign rdata_b_o = rdata_b_q;

    always @(posedge clk_i) begin
        if (we_i) word[address_a_i] <= wdata_i;
        else rdata_a_q <= word[address_a_i];
        rdata_b_q <= word[address_b_i];
    end

endmodule
