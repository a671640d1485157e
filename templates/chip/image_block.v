// One block of the image's memory: beats of `BeatBytes`, written a word of 32 bits at a time, preset from a file.
//
// Read data come one cycle after the address. A word that is written is not read in the same cycle by anyone.
module image_block #(
    parameter BeatBytes = 8,
    parameter Depth = 1024,
    parameter File = "image_00.hex",
    parameter AddressBits = $clog2(Depth)
) (
    input  wire                   clk_i,
    input  wire [BeatBytes/4-1:0] we_i,
    input  wire [AddressBits-1:0] address_i,
    input  wire [8*BeatBytes-1:0] wdata_i,
    output wire [8*BeatBytes-1:0] rdata_o
);

    genvar w;
    (* no_rw_check *)
    reg [8*BeatBytes-1:0] word [0:Depth-1];
    reg [8*BeatBytes-1:0] rdata_q;

    assign rdata_o = rdata_q;

    initial $readmemh(File, word);

    always @(posedge clk_i) rdata_q <= word[address_i];

    generate
        for (w = 0; w < BeatBytes / 4; w = w + 1) begin : lanes
            always @(posedge clk_i) if (we_i[w]) word[address_i][32*w +: 32] <= wdata_i[32*w +: 32];
        end
    endgenerate

endmodule
