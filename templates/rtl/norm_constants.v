// Gains and biases of a NORM step: 8 bytes a physical channel (bits 0..15 the gain, 16..63 the bias) and output.
//
// Loading: `load_start_i` with the step's depth and number of outputs, both stable until `load_done_o`; a beat a cycle
// is taken as soon as the memory is free, that is not `full_o`. What was loaded stays until `release_i`.
// Reading: `next_i` asks for the next L channels, from the first one on after reset and after a `next_i` with `last_i`;
// gains come two cycles later, their biases three. Output o, lane l: gain_o[(o*L + l)*16 +: 16], bias_o likewise.
module norm_constants #(
    parameter Banks = 8,
    parameter Lanes = 2,
    parameter Depth = 16,
    parameter BeatBytes = 8,
    // Of the memory, as ram_1r1w has it.
    parameter Style = "auto"
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    input  wire                   load_start_i,
    input  wire [31:0]            load_depth_i,
    input  wire [31:0]            load_outputs_i,
    output wire                   load_done_o,
    input  wire                   data_valid_i,
    output wire                   data_ready_o,
    input  wire [BeatBytes*8-1:0] data_i,
    output wire                   full_o,
    input  wire                   release_i,
    input  wire                   next_i,
    input  wire                   last_i,
    output wire [2*Lanes*16-1:0]  gain_o,
    output wire [2*Lanes*48-1:0]  bias_o
);

    localparam BeatWords = BeatBytes / 8;
    // A row of the memory is what a beat holds, or what is read in a cycle, whichever is more: groups of the lesser.
    localparam RowChannels = BeatWords > Lanes ? BeatWords : Lanes;
    localparam GroupChannels = BeatWords > Lanes ? Lanes : BeatWords;
    localparam Groups = RowChannels / GroupChannels;
    localparam GroupBits = Groups > 1 ? $clog2(Groups) : 1;
    localparam LastGroup = Groups - 1;
    localparam Rows = (Depth * Banks + RowChannels - 1) / RowChannels;
    localparam RowBits = Rows > 1 ? $clog2(Rows) : 1;
    localparam BeatBits = $clog2(Depth * Banks + 1);
    localparam WidthLog2 = $clog2(BeatWords);

    // Loading.
    reg                 wanted_q, full_q, output_q;
    reg [BeatBits-1:0]  beat_q;
    reg [GroupBits-1:0] write_group_q;
    reg [RowBits-1:0]   write_row_q;

    wire [31:0] beats = (load_depth_i * Banks + (BeatWords - 1)) >> WidthLog2;
    wire        loading = wanted_q && !full_q;
    wire        take = loading && data_valid_i;
    wire        last_beat = {{(32-BeatBits){1'b0}}, beat_q} == beats - 32'd1;
    wire        last_output = output_q || load_outputs_i != 32'd2;
    wire        step_write_row = BeatWords >= Lanes || write_group_q == LastGroup[GroupBits-1:0];

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            wanted_q <= 1'b0;
            full_q <= 1'b0;
        end else begin
            if (load_start_i) wanted_q <= 1'b1;
            else if (take && last_beat && last_output) wanted_q <= 1'b0;
            if (take && last_beat && last_output) full_q <= 1'b1;
            else if (release_i) full_q <= 1'b0;
        end
        if (!loading) begin
            beat_q <= {BeatBits{1'b0}};
            output_q <= 1'b0;
            write_group_q <= {GroupBits{1'b0}};
            write_row_q <= {RowBits{1'b0}};
        end else if (take) begin
            beat_q <= last_beat ? {BeatBits{1'b0}} : beat_q + 1'b1;
            if (last_beat) output_q <= 1'b1;
            if (last_beat || step_write_row) write_group_q <= {GroupBits{1'b0}};
            else write_group_q <= write_group_q + 1'b1;
            if (last_beat) write_row_q <= {RowBits{1'b0}};
            else if (step_write_row) write_row_q <= write_row_q + 1'b1;
        end
    end

    assign load_done_o = !wanted_q;
    assign data_ready_o = loading;
    assign full_o = full_q;

    // Reading: of wide rows a group at a time.
    reg [GroupBits-1:0] read_group_q;
    reg [RowBits-1:0]   read_row_q;
    wire step_read_row = BeatWords <= Lanes || read_group_q == LastGroup[GroupBits-1:0];

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            read_group_q <= {GroupBits{1'b0}};
            read_row_q <= {RowBits{1'b0}};
        end else if (next_i) begin
            if (last_i || step_read_row) read_group_q <= {GroupBits{1'b0}};
            else read_group_q <= read_group_q + 1'b1;
            if (last_i) read_row_q <= {RowBits{1'b0}};
            else if (step_read_row) read_row_q <= read_row_q + 1'b1;
        end
    end

    reg [2*Lanes*64-1:0] word_q;
    reg [2*Lanes*48-1:0] bias_q;
    genvar o;
    genvar g;
    generate
        for (o = 0; o < 2; o = o + 1) begin : result
            wire [RowChannels*64-1:0] row;
            for (g = 0; g < Groups; g = g + 1) begin : group
                // A beat fills a row, or one group of it.
                localparam BeatOffset = BeatWords > Lanes ? g * GroupChannels * 64 : 0;
                localparam OutputNumber = o;
                localparam GroupNumber = g;
                wire here = BeatWords >= Lanes || write_group_q == GroupNumber[GroupBits-1:0];
                ram_1r1w #(.Width(GroupChannels * 64), .Depth(Rows), .AddressBits(RowBits), .Style(Style)) words (
                    .clk_i(clk_i),
                    .we_i(take && output_q == OutputNumber[0] && here),
                    .waddr_i(write_row_q),
                    .wdata_i(data_i[BeatOffset +: GroupChannels*64]),
                    .re_i(next_i),
                    .raddr_i(read_row_q),
                    .rdata_o(row[g*GroupChannels*64 +: GroupChannels*64])
                );
            end
            if (BeatWords > Lanes) begin : narrow
                reg [GroupBits-1:0] group_q;
                localparam GroupShift = $clog2(Lanes * 64);
                wire [GroupBits+GroupShift-1:0] at = {group_q, {GroupShift{1'b0}}};
                always @(posedge clk_i) begin
                    group_q <= read_group_q;
                    word_q[o*Lanes*64 +: Lanes*64] <= row[at +: Lanes*64];
                end
            end else begin : whole
                always @(posedge clk_i) word_q[o*Lanes*64 +: Lanes*64] <= row;
            end
        end
    endgenerate

    integer i;
    always @(posedge clk_i) begin
        for (i = 0; i < 2 * Lanes; i = i + 1) bias_q[i*48 +: 48] <= word_q[i*64+16 +: 48];
    end

    genvar l;
    generate
        for (l = 0; l < 2 * Lanes; l = l + 1) begin : lane
            assign gain_o[l*16 +: 16] = word_q[l*64 +: 16];
        end
    endgenerate
    assign bias_o = bias_q;

endmodule
