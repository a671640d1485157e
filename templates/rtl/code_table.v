// The code page's table, as many times as the look-ups of a cycle need it: two of them read one true dual-port block RAM.
//
// A word is four 4-bit members of an entry: address {entry, member / 4}. Read data come one cycle after `re_i` and stay.
// A write takes eight members through both ports, at {entry, member / 8}; the page is written while no code is looked up.
module code_table #(
    parameter Lookups = 2
) (
    input  wire                  clk_i,
    input  wire                  we_i,
    input  wire [8:0]            waddress_i,
    input  wire [31:0]           wdata_i,
    input  wire                  re_i,
    input  wire [10*Lookups-1:0] addresses_i,
    output wire [16*Lookups-1:0] members_o
);

    localparam Pairs = (Lookups + 1) / 2;
    // An engine of one look-up a cycle has a second port that nobody reads.
    localparam Readers = 2 * Pairs;

    wire [10*Readers+9:0] padded = {{10 * (Readers - Lookups + 1){1'b0}}, addresses_i};
    wire [10*Readers-1:0] addresses = padded[10*Readers-1:0];
    wire [16*Readers-1:0] members;

    assign members_o = members[16*Lookups-1:0];

    genvar i;
    generate
        for (i = 0; i < Pairs; i = i + 1) begin : pair
            ram_2rw #(.Width(16), .AddressBits(10)) table_words (
                .clk_i(clk_i),
                .re_i(re_i),
                .we_a_i(we_i),
                .address_a_i(we_i ? {waddress_i, 1'b0} : addresses[20*i +: 10]),
                .wdata_a_i(wdata_i[15:0]),
                .rdata_a_o(members[32*i +: 16]),
                .we_b_i(we_i),
                .address_b_i(we_i ? {waddress_i, 1'b1} : addresses[20*i+10 +: 10]),
                .wdata_b_i(wdata_i[31:16]),
                .rdata_b_o(members[32*i+16 +: 16])
            );
        end
    endgenerate

    wire unused = &{1'b0, members, padded};

endmodule
