// The code page's table, as many times as the bank lanes need it: two lanes read one true dual-port block RAM.
//
// A word is four 4-bit members of an entry: address {entry, member / 4}. Read data come one cycle after the address.
// While a word is written, the even lanes read nothing: the page is written while no code is looked up.
module code_table #(
    parameter Banks = 2
) (
    input  wire                clk_i,
    input  wire                we_i,
    input  wire [9:0]          waddress_i,
    input  wire [15:0]         wdata_i,
    input  wire [10*Banks-1:0] addresses_i,
    output wire [16*Banks-1:0] members_o
);

    localparam Pairs = (Banks + 1) / 2;
    // An engine of one bank has a second lane that nobody reads.
    localparam Lanes = 2 * Pairs;

    wire [10*Lanes+9:0] padded = {{10 * (Lanes - Banks + 1){1'b0}}, addresses_i};
    wire [10*Lanes-1:0] addresses = padded[10*Lanes-1:0];
    wire [16*Lanes-1:0] members;

    assign members_o = members[16*Banks-1:0];

    genvar i;
    generate
        for (i = 0; i < Pairs; i = i + 1) begin : pair
            ram_2r1w #(.Width(16), .AddressBits(10)) table_words (
                .clk_i(clk_i),
                .we_i(we_i),
                .address_a_i(we_i ? waddress_i : addresses[20*i +: 10]),
                .wdata_i(wdata_i),
                .rdata_a_o(members[32*i +: 16]),
                .address_b_i(addresses[20*i+10 +: 10]),
                .rdata_b_o(members[32*i+16 +: 16])
            );
        end
    endgenerate

    wire unused = &{1'b0, members, padded};

endmodule
