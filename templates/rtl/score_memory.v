// Scores of four pairs: P keys of T queries and every head a word. Data come two cycles after `re_i`, from a register
// behind the memory.
//
// Heads abreast are written at once; where they follow one another, all lanes are those of head 0 and belong to head
// `sweep_i`.
module score_memory #(
    parameter Tokens = 2,
    parameter Rows = 1,
    parameter Heads = 1,
    parameter AddressBits = 4,
    parameter SweepBits = 1
) (
    input  wire                            clk_i,
    input  wire                            we_i,
    input  wire [AddressBits-1:0]          waddr_i,
    input  wire                            together_i,
    input  wire [SweepBits-1:0]            sweep_i,
    input  wire [Heads*Rows*Tokens*16-1:0] wdata_i,
    input  wire                            re_i,
    input  wire [AddressBits-1:0]          raddr_i,
    output wire [Heads*Rows*Tokens*16-1:0] rdata_o
);

    localparam Width = Rows * Tokens * 16;

    wire [Heads*Width-1:0] read;
    reg  [Heads*Width-1:0] read_q;
    assign rdata_o = read_q;
    always @(posedge clk_i) read_q <= read;

    genvar h;
    generate
        for (h = 0; h < Heads; h = h + 1) begin : head
            localparam [SweepBits-1:0] Head = h;
            ram_1r1w #(.Width(Width), .Depth(1 << AddressBits), .AddressBits(AddressBits)) scores (
                .clk_i(clk_i),
                .we_i(we_i && (together_i || sweep_i == Head)),
                .waddr_i(waddr_i),
                .wdata_i(together_i ? wdata_i[h*Width +: Width] : wdata_i[0 +: Width]),
                .re_i(re_i),
                .raddr_i(raddr_i),
                .rdata_o(read[h*Width +: Width])
            );
        end
    endgenerate

endmodule
