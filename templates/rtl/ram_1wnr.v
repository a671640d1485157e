// A memory with one write port and several read ports, data two cycles after the address. One array: tools make as many
// copies as the read ports need. A word may be read from the cycle after its write on.
module ram_1wnr #(
    parameter Width = 8,
    parameter Depth = 16,
    parameter Reads = 2,
    parameter AddressBits = Depth > 1 ? $clog2(Depth) : 1
) (
    input  wire                         clk_i,
    input  wire                         we_i,
    input  wire [AddressBits-1:0]       waddr_i,
    input  wire [Width-1:0]             wdata_i,
    input  wire                         re_i,
    input  wire [Reads*AddressBits-1:0] raddr_i,
    output wire [Reads*Width-1:0]       rdata_o
);
    /* verilator no_inline_module */

    (* no_rw_check *)
    reg [Width-1:0]       word [0:Depth-1];
    reg [Reads*Width-1:0] read_q, data_q;

    assign rdata_o = data_q;

    integer r;
    always @(posedge clk_i) begin
        if (we_i) word[waddr_i] <= wdata_i;
        data_q <= read_q;
        if (re_i) begin
            for (r = 0; r < Reads; r = r + 1) read_q[Width*r +: Width] <= word[raddr_i[AddressBits*r +: AddressBits]];
        end
    end

endmodule
