// A pointwise function as a table, twice: a bank that steps read and one that the next step's table is written to. Four
// entries a write; an entry comes a cycle after its index.
module lookup_table #(
    parameter TableBits = 8
) (
    input  wire                 clk_i,
    input  wire                 we_i,
    input  wire                 bank_i,
    input  wire [TableBits-3:0] address_i,
    input  wire [63:0]          data_i,
    input  wire                 read_bank_i,
    input  wire [TableBits-1:0] index_i,
    output wire [15:0]          entry_o
);
    /* verilator no_inline_module */

    wire [63:0] entries;
    reg [1:0]   which_q;

    ram_1r1w #(.Width(64), .Depth(2 << (TableBits - 2)), .AddressBits(TableBits - 1)) table_words (
        .clk_i(clk_i),
        .we_i(we_i),
        .waddr_i({bank_i, address_i}),
        .wdata_i(data_i),
        .re_i(1'b1),
        .raddr_i({read_bank_i, index_i[TableBits-1:2]}),
        .rdata_o(entries)
    );
    always @(posedge clk_i) which_q <= index_i[1:0];
    assign entry_o = entries[16*which_q +: 16];

endmodule
