// A memory with two ports that read and write: one true dual-port block RAM.
//
// Read data come one cycle after `re_i` and stay until the next read. A word that is written in the cycle in which
// either port reads it, or both ports write it, is without meaning.
module ram_2rw #(
    parameter Width = 16,
    parameter AddressBits = 10
) (
    input  wire                   clk_i,
    input  wire                   re_i,
    input  wire                   we_a_i,
    input  wire [AddressBits-1:0] address_a_i,
    input  wire [Width-1:0]       wdata_a_i,
    output wire [Width-1:0]       rdata_a_o,
    input  wire                   we_b_i,
    input  wire [AddressBits-1:0] address_b_i,
    input  wire [Width-1:0]       wdata_b_i,
    output wire [Width-1:0]       rdata_b_o
);
    /* verilator no_inline_module */

    // Without the attribute Yosys adds logic for the cycles that are without meaning.
    (* no_rw_check *)
    reg [Width-1:0] word [0:(1<<AddressBits)-1];
    reg [Width-1:0] rdata_a_q, rdata_b_q;

    assign rdata_a_o = rdata_a_q;
    assign rdata_b_o = rdata_b_q;

    always @(posedge clk_i) begin
        if (we_a_i) word[address_a_i] <= wdata_a_i;
        if (re_i) rdata_a_q <= word[address_a_i];
    end

    always @(posedge clk_i) begin
        if (we_b_i) word[address_b_i] <= wdata_b_i;
        if (re_i) rdata_b_q <= word[address_b_i];
    end

endmodule
