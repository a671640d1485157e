// Numerators of two pairs as the array wants them: key s of head h at line s / W, bank h*W + s % W, W = B / A banks for
// each of A heads abreast; a low and a high byte plane. P keys of all heads are written at once, a line of both planes
// is read; data come a cycle after `re_i`.
module numerator_memory #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Heads = 1,
    parameter RowBits = 3,
    parameter GroupBits = 5,
    parameter ShiftBits = 3
) (
    input  wire                            clk_i,
    input  wire [ShiftBits-1:0]            abreast_log2_i,
    input  wire                            we_i,
    input  wire                            write_pair_i,
    input  wire [GroupBits-1:0]            group_i,
    // Lane (h*P + p)*T + t.
    input  wire [Heads*Rows*Tokens*8-1:0]  numerator_low_i,
    input  wire [Heads*Rows*Tokens*8-1:0]  numerator_high_i,
    input  wire                            re_i,
    input  wire                            read_pair_i,
    input  wire [RowBits-1:0]              row_i,
    output wire [Banks*Tokens*8-1:0]       low_o,
    output wire [Banks*Tokens*8-1:0]       high_o
);

    localparam BankGroups = Banks / Rows;
    localparam GroupsLog2 = $clog2(BankGroups);
    localparam HeadsLog2 = $clog2(Heads);
    localparam Width = Rows * Tokens * 8;
    // Wide enough for a line of either side.
    localparam LineBits = GroupBits > RowBits ? GroupBits : RowBits;

    // Groups of a head in a line, less 1.
    // A power of two up to the bank groups.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0] head_groups = BankGroups >> abreast_log2_i;
    // verilator lint_on UNUSEDSIGNAL
    wire [GroupBits-1:0] place = head_groups[GroupBits-1:0] - {{(GroupBits-1){1'b0}}, 1'b1};
    wire [LineBits-1:0] group = {{(LineBits-GroupBits){1'b0}}, group_i};
    wire [ShiftBits-1:0] head_groups_log2 = GroupsLog2[ShiftBits-1:0] - abreast_log2_i;
    // Keys beyond the longest sequence are in its last line.
    // verilator lint_off UNUSEDSIGNAL
    wire [LineBits-1:0] line = group >> head_groups_log2;
    // verilator lint_on UNUSEDSIGNAL

    genvar g, s;
    generate
        for (g = 0; g < BankGroups; g = g + 1) begin : bank_group
            localparam [GroupBits-1:0] Index = g;
            wire we = we_i && (Index & place) == (group_i & place);
            // Candidates by log2 of the heads abreast.
            wire [(HeadsLog2+1)*Width-1:0] low, high;
            for (s = 0; s <= HeadsLog2; s = s + 1) begin : abreast
                localparam Head = (g << s) >> GroupsLog2;
                assign low[s*Width +: Width] = numerator_low_i[Head*Width +: Width];
                assign high[s*Width +: Width] = numerator_high_i[Head*Width +: Width];
            end
            ram_1r1w #(.Width(Width), .Depth(2 << RowBits), .AddressBits(RowBits + 1)) low_plane (
                .clk_i(clk_i),
                .we_i(we),
                .waddr_i({write_pair_i, line[RowBits-1:0]}),
                .wdata_i(low[abreast_log2_i*Width +: Width]),
                .re_i(re_i),
                .raddr_i({read_pair_i, row_i}),
                .rdata_o(low_o[g*Width +: Width])
            );
            ram_1r1w #(.Width(Width), .Depth(2 << RowBits), .AddressBits(RowBits + 1)) high_plane (
                .clk_i(clk_i),
                .we_i(we),
                .waddr_i({write_pair_i, line[RowBits-1:0]}),
                .wdata_i(high[abreast_log2_i*Width +: Width]),
                .re_i(re_i),
                .raddr_i({read_pair_i, row_i}),
                .rdata_o(high_o[g*Width +: Width])
            );
        end
    endgenerate

endmodule
