// Collects normalised values to lines of the memories and writes them: two outputs of one or two byte planes.
//
// L channels of T tokens come in with `valid_i`, never stalled: 32 places (a user counts them; pop_o: one is free
// again). W = min(B, 4*L) banks are collected, then each byte plane of them is written, in the order output 0 low,
// high, output 1 low, high. A round of four cycles takes in W / L values and writes the (up to four) planes of the W
// banks before; plane s is collected s cycles behind plane 0, so that one set of registers does. Sustained: four cycles
// for W banks, at most one write a cycle.
//
// `start_i` takes the words. ready_tiles_o: tiles completely written; tile_done_o, last_done_o: a tile, or the last
// one, is complete with the write of this cycle.
module norm_collect #(
    parameter Tokens = 2,
    parameter Banks = 8,
    parameter Lanes = 2
) (
    input  wire                       clk_i,
    input  wire                       rst_ni,
    input  wire                       start_i,
    input  wire [15:0]                tiles_i,
    input  wire [31:0]                depth_i,
    input  wire                       both_i,
    input  wire                       wide0_i,
    input  wire [1:0]                 space0_i,
    input  wire [31:0]                base0_i,
    input  wire                       wide1_i,
    input  wire [1:0]                 space1_i,
    input  wire [31:0]                base1_i,
    input  wire                       valid_i,
    input  wire [Lanes*Tokens*16-1:0] y0_i,
    input  wire [Lanes*Tokens*16-1:0] y1_i,
    output wire                       pop_o,
    output wire                       write_valid_o,
    input  wire                       write_ready_i,
    output wire [1:0]                 write_space_o,
    output wire [31:0]                write_line_o,
    output wire [Banks-1:0]           write_mask_o,
    output wire [Banks*Tokens*8-1:0]  write_data_o,
    output wire [15:0]                ready_tiles_o,
    output wire                       last_done_o
);

    localparam Values = Lanes * Tokens;
    localparam PieceBits = Values * 8;
    localparam Pieces = Banks >= 4 * Lanes ? 4 : Banks / Lanes;
    localparam GroupBanks = Pieces * Lanes;
    localparam GroupBits = Pieces * PieceBits;
    localparam Groups = Banks / GroupBanks;
    localparam GroupIndexBits = Groups > 1 ? $clog2(Groups) : 1;
    localparam LastGroup = Groups - 1;

    wire                queue_valid;
    wire [Values*32-1:0] queue_data;
    wire                queue_ready;
    /* verilator lint_off PINCONNECTEMPTY */
    fifo #(.Width(Values * 32), .DepthLog2(5)) queue (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(valid_i), .ready_o(), .data_i({y1_i, y0_i}),
        .valid_o(queue_valid), .ready_i(queue_ready), .data_o(queue_data)
    );
    /* verilator lint_on PINCONNECTEMPTY */

    // The words.
    reg [15:0] tiles_q;
    reg [31:0] depth_q;
    // From a plane's last line of a tile to its first of the next, where a tile has two planes.
    reg [31:0] next_tile_q;
    reg        start_q;
    reg        wide0_q, wide1_q;
    reg [1:0]  space0_q, space1_q;
    reg [1:0]  last_slot_q;

    // The round.
    reg [1:0] phase_q;
    // Whether values come in, and whether the banks that the round before took in are to be written.
    reg       filling_q, full_q;

    reg        write_valid_q;
    wire       space = !write_valid_q || write_ready_i;
    wire       filling = phase_q == 2'd0 ? queue_valid : filling_q;
    wire [2:0] phase = {1'b0, phase_q};
    wire       takes = filling && phase < Pieces[2:0];
    wire       step = space && (phase_q == 2'd0 ? queue_valid || full_q : !takes || queue_valid);
    wire       write = step && full_q && phase_q <= last_slot_q;

    assign queue_ready = step && takes;
    assign pop_o = queue_ready;

    // A byte plane of an output, taken out where it is used alone: a simulator has no work with it otherwise.
    function [PieceBits-1:0] plane;
        input [Values*16-1:0] y;
        input                 high;
        integer               v;
        begin
            for (v = 0; v < Values; v = v + 1) plane[v*8 +: 8] = high ? y[v*16+8 +: 8] : y[v*16 +: 8];
        end
    endfunction
    wire [Values*16-1:0] y0 = queue_data[0 +: Values*16];
    wire [Values*16-1:0] y1 = queue_data[Values*16 +: Values*16];

    // With one plane of output 0, those of output 1 move up.
    reg [PieceBits-1:0] slot1_q;
    reg [2*PieceBits-1:0] slot2_q;
    reg [3*PieceBits-1:0] slot3_q;
    wire [3*PieceBits-1:0] slots = {slot3_q[2*PieceBits +: PieceBits], slot2_q[PieceBits +: PieceBits], slot1_q};

    reg [4*GroupBits-1:0] group_q;
    reg [GroupBits-1:0]   data_q;
    integer               s;
    integer               p;
    always @(posedge clk_i) begin
        if (step) begin
            slot1_q <= wide0_q ? plane(y0, 1'b1) : plane(y1, 1'b0);
            slot2_q <= {slot2_q[0 +: PieceBits], plane(y1, !wide0_q)};
            slot3_q <= {slot3_q[0 +: 2*PieceBits], plane(y1, 1'b1)};
            for (p = 0; p < Pieces; p = p + 1) begin
                if (phase_q == p[1:0]) group_q[p*PieceBits +: PieceBits] <= plane(y0, 1'b0);
                for (s = 1; s < 4; s = s + 1) begin
                    if (phase_q == p[1:0] + s[1:0]) begin
                        group_q[s*GroupBits + p*PieceBits +: PieceBits] <= slots[(s-1)*PieceBits +: PieceBits];
                    end
                end
            end
        end
        if (write) data_q <= phase_q[1] ? (phase_q[0] ? group_q[3*GroupBits +: GroupBits]
                                                      : group_q[2*GroupBits +: GroupBits])
                                        : (phase_q[0] ? group_q[GroupBits +: GroupBits]
                                                      : group_q[0 +: GroupBits]);
    end

    // Where the planes' next banks go.
    reg [31:0]               low0_q, high0_q, low1_q, high1_q;
    reg [GroupIndexBits-1:0] index_q;

    wire slot_output = phase_q[1] ? 1'b1 : phase_q[0] && !wide0_q;
    wire slot_high = phase_q == 2'd3 || (phase_q == 2'd2 && !wide0_q) || (phase_q == 2'd1 && wide0_q);
    wire group_end = write && phase_q == last_slot_q;
    wire line_end = group_end && index_q == LastGroup[GroupIndexBits-1:0];
    // The line is its tile's last one. Values come many cycles after the start.
    wire row_end;
    wire tile_end = line_end && row_end;
    countdown #(.Bits(32)) lines_left (
        .clk_i(clk_i), .start_i(start_q), .count_i(depth_q), .step_i(line_end), .last_o(row_end)
    );

    // The written piece.
    reg [31:0]               line_q;
    reg [1:0]                space_q;
    reg [GroupIndexBits-1:0] mask_q;
    reg                      tile_end_q;
    reg [15:0]               ready_q;

    always @(posedge clk_i) begin
        start_q <= start_i;
        next_tile_q <= depth_q + 32'd1;
        if (start_i) begin
            tiles_q <= tiles_i;
            depth_q <= depth_i;
            wide0_q <= wide0_i;
            wide1_q <= wide1_i;
            space0_q <= space0_i;
            space1_q <= space1_i;
            last_slot_q <= {1'b0, wide0_i} + (both_i ? {1'b0, wide1_i} + 2'd1 : 2'd0);
            low0_q <= base0_i;
            high0_q <= base0_i + depth_i;
            low1_q <= base1_i;
            high1_q <= base1_i + depth_i;
        end else if (line_end) begin
            low0_q <= low0_q + (row_end && wide0_q ? next_tile_q : 32'd1);
            high0_q <= high0_q + (row_end ? next_tile_q : 32'd1);
            low1_q <= low1_q + (row_end && wide1_q ? next_tile_q : 32'd1);
            high1_q <= high1_q + (row_end ? next_tile_q : 32'd1);
        end
        if (write) begin
            line_q <= slot_output ? (slot_high ? high1_q : low1_q) : (slot_high ? high0_q : low0_q);
            space_q <= slot_output ? space1_q : space0_q;
            mask_q <= index_q;
        end
    end

    wire written = write_valid_q && write_ready_i;
    always @(posedge clk_i) begin
        if (!rst_ni) begin
            phase_q <= 2'd0;
            filling_q <= 1'b0;
            full_q <= 1'b0;
            write_valid_q <= 1'b0;
            index_q <= {GroupIndexBits{1'b0}};
            tile_end_q <= 1'b0;
            ready_q <= 16'd0;
        end else begin
            if (step) begin
                phase_q <= phase_q + 2'd1;
                filling_q <= filling;
                if (phase_q == 2'd3) full_q <= filling;
            end
            if (space) begin
                write_valid_q <= write;
                tile_end_q <= tile_end;
            end
            if (group_end) index_q <= line_end ? {GroupIndexBits{1'b0}} : index_q + 1'b1;
            if (start_i) ready_q <= 16'd0;
            else if (written && tile_end_q) ready_q <= ready_q + 16'd1;
        end
    end

    assign write_valid_o = write_valid_q;
    assign write_space_o = space_q;
    assign write_line_o = line_q;
    assign write_data_o = {Groups{data_q}};
    genvar g;
    generate
        for (g = 0; g < Groups; g = g + 1) begin : group
            localparam Number = g;
            assign write_mask_o[g*GroupBanks +: GroupBanks] =
                {GroupBanks{mask_q == Number[GroupIndexBits-1:0]}};
        end
    endgenerate
    assign ready_tiles_o = ready_q;
    assign last_done_o = written && tile_end_q && ready_q + 16'd1 == tiles_q;

endmodule
