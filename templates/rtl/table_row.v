// A pointwise function as a table, looked up by T lanes at once; kept twice: for the step whose results pass by, and for
// the next, whose table is written meanwhile. Four entries a write; an entry comes four cycles after its index.
module table_row #(
    parameter Tokens = 2,
    parameter TableBits = 8
) (
    input  wire                 clk_i,
    input  wire                 we_i,
    input  wire                 bank_i,
    input  wire [TableBits-3:0] address_i,
    input  wire [63:0]          data_i,
    input  wire                 re_i,
    input  wire                 read_bank_i,
    // verilator lint_off UNUSEDSIGNAL
    // 16 bits a lane, clipped to the table.
    input  wire [Tokens*16-1:0] index_i,
    // verilator lint_on UNUSEDSIGNAL
    output wire [Tokens*16-1:0] entry_o
);

    wire [Tokens*(TableBits-1)-1:0] address;
    wire [Tokens*2-1:0]             which, which_late;
    wire [Tokens*64-1:0]            words;
    reg  [Tokens*16-1:0]            entry_q;

    delay_line #(.Width(Tokens * 2), .Length(2)) lanes (.clk_i(clk_i), .value_i(which), .value_o(which_late));
    delay_line #(.Width(Tokens * 16), .Length(1)) last (.clk_i(clk_i), .value_i(entry_q), .value_o(entry_o));

    ram_1wnr #(.Width(64), .Depth(2 << (TableBits - 2)), .Reads(Tokens), .AddressBits(TableBits - 1)) copies (
        .clk_i(clk_i),
        .we_i(we_i),
        .waddr_i({bank_i, address_i}),
        .wdata_i(data_i),
        .re_i(re_i),
        .raddr_i(address),
        .rdata_o(words)
    );

    genvar t;
    generate
        for (t = 0; t < Tokens; t = t + 1) begin : lane
            assign address[t*(TableBits-1)+:TableBits-1] = {read_bank_i, index_i[t*16+2+:TableBits-2]};
            assign which[t*2+:2] = index_i[t*16+:2];
            always @(posedge clk_i) entry_q[t*16+:16] <= words[t*64+{which_late[t*2+:2], 4'd0}+:16];
        end
    endgenerate

endmodule
