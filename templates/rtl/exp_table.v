// One copy of the exponential table with two read ports, of which the first shares its address with the write port.
module exp_table (
    input  wire        clk_i,
    input  wire        we_i,
    input  wire [7:0]  waddr_i,
    input  wire [15:0] wdata_i,
    input  wire        re_i,
    input  wire [7:0]  raddr0_i,
    output wire [15:0] rdata0_o,
    input  wire [7:0]  raddr1_i,
    output wire [15:0] rdata1_o
);

    // Under a quarter of a block memory of 18 Kbit; where these are plenty, look-up tables are not. Nobody reads while it
    // is written.
    (* no_rw_check *)
    reg [15:0] entry [0:255];
    reg [15:0] rdata0_q, rdata1_q;

    wire [7:0] address0 = we_i ? waddr_i : raddr0_i;

    assign rdata0_o = rdata0_q;
    assign rdata1_o = rdata1_q;

    always @(posedge clk_i) begin
        if (we_i) entry[address0] <= wdata_i;
        if (re_i) begin
            rdata0_q <= entry[address0];
            rdata1_q <= entry[raddr1_i];
        end
    end

endmodule
