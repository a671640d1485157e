// Zeros in the channels beyond the last head, for one query tile: part of a line, then whole lines.
//
// `start_i` takes a tile; `done_o` pulses when its last line is written (or at once where there is nothing to clear).
module attention_clear #(
    parameter Banks = 4,
    parameter LineBits = 8,
    parameter ChannelBits = 8
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    input  wire                   start_i,
    // First line of the tile, lines of a tile, channels of all heads.
    input  wire [LineBits-1:0]    tile_line_i,
    input  wire [LineBits-1:0]    depth_i,
    input  wire [ChannelBits-1:0] used_i,
    output wire                   busy_o,
    output wire                   done_o,
    output wire                   write_valid_o,
    input  wire                   write_ready_i,
    output wire [LineBits-1:0]    write_line_o,
    output wire [Banks-1:0]       write_mask_o
);

    localparam BanksLog2 = $clog2(Banks);
    localparam BankMask = Banks - 1;
    localparam WideBits = LineBits > ChannelBits ? LineBits : ChannelBits;

    reg                busy_q;
    reg [LineBits-1:0] line_q, index_q;
    reg                first_q;

    wire [ChannelBits-1:0] used_lines = used_i >> BanksLog2;
    // The first line is one of a tile: it fits.
    // verilator lint_off UNUSEDSIGNAL
    wire [WideBits-1:0] first_line = {{(WideBits-ChannelBits){1'b0}}, used_lines};
    // verilator lint_on UNUSEDSIGNAL
    wire [ChannelBits-1:0] used_banks = used_i & BankMask[ChannelBits-1:0];
    reg  none_q;
    wire taken = !none_q && write_ready_i;

    wire [LineBits-1:0] next = index_q + {{(LineBits-1){1'b0}}, 1'b1};

    assign busy_o = busy_q;
    assign done_o = busy_q && none_q;
    assign write_valid_o = busy_q && !none_q;
    assign write_line_o = line_q;

    genvar b;
    generate
        for (b = 0; b < Banks; b = b + 1) begin : bank
            localparam [ChannelBits-1:0] Bank = b;
            assign write_mask_o[b] = !first_q || Bank >= used_banks;
        end
    endgenerate

    always @(posedge clk_i) begin
        if (start_i) begin
            line_q <= tile_line_i + first_line[LineBits-1:0];
            index_q <= first_line[LineBits-1:0];
            none_q <= first_line[LineBits-1:0] == depth_i;
            first_q <= 1'b1;
        end else if (busy_q && taken) begin
            line_q <= line_q + {{(LineBits-1){1'b0}}, 1'b1};
            index_q <= next;
            none_q <= next == depth_i;
            first_q <= 1'b0;
        end
        if (!rst_ni) busy_q <= 1'b0;
        else if (start_i) busy_q <= 1'b1;
        else if (none_q) busy_q <= 1'b0;
    end

endmodule
