// Reads an int16 tensor of the store and hands it out L neighbouring channels of T tokens a cycle.
//
// Lines come tile by tile, or with `Across` line by line: a line's first B channels of all tiles, then the next.
// A line pair (both byte planes of B channels) takes two reads and leaves in N = B / L pieces, the first one in the
// cycle in which its high plane comes from the store, so that a single pair of line registers does: the next pair's
// low plane is asked for when at most three pieces are left, and arrives while the last one leaves. Sustained: N
// cycles a line pair where N >= 4 and both reads are granted at once (4 where N is less).
//
// `start_i`: depth_i, base_i and tiles_i are taken. A read is wanted by want_o (the pair's second by mid_o as well)
// with line_o; it is made where grant_i answers in the same cycle, and its line is in data_i two cycles later. The first
// read of a tile (a line with Across), number tile_o, waits for tile_ok_i; begin_o: it is made in this cycle. A piece
// leaves where ready_i is set (fire_o), and is in x_o one cycle later; with sure_i a user promises ready_i for this cycle
// and the next two. first_o, last_o: of the tile. idle_o: every read has been made; fire_o may still follow.
// x_o: channel l token t at ((l*T + t)*16 +: 16).
module line_reader #(
    parameter Tokens = 2,
    parameter Banks = 8,
    parameter Lanes = 2,
    parameter Across = 0
) (
    input  wire                       clk_i,
    input  wire                       rst_ni,
    input  wire                       start_i,
    input  wire [31:0]                depth_i,
    input  wire [31:0]                base_i,
    input  wire [15:0]                tiles_i,
    input  wire                       tile_ok_i,
    output wire [15:0]                tile_o,
    output wire                       want_o,
    output wire                       mid_o,
    output wire [31:0]                line_o,
    input  wire                       grant_i,
    input  wire [Banks*Tokens*8-1:0]  data_i,
    input  wire                       ready_i,
    input  wire                       sure_i,
    output wire                       fire_o,
    output wire                       first_o,
    output wire                       last_o,
    output wire [Lanes*Tokens*16-1:0] x_o,
    output wire                       begin_o,
    output wire                       idle_o
);

    localparam LineBits = Banks * Tokens * 8;
    localparam PieceBits = Lanes * Tokens * 8;
    localparam PieceShift = $clog2(PieceBits);
    localparam Pieces = Banks / Lanes;
    localparam PieceIndexBits = Pieces > 1 ? $clog2(Pieces) : 1;
    localparam LastPiece = Pieces - 1;

    // Requests.
    reg [31:0] line_q, depth_q;
    // Two loops: lines of a tile inside, tiles outside; the other way round with Across.
    reg [15:0] outer_q, outer_count_q;
    reg [15:0] inner_count_q;
    reg        inner_first_q;
    reg        start_q, idle_q, mid_q;
    // A pair whose high plane has not come yet, nor comes now.
    reg        pending_q;

    // Reads on their way, what of them is there now, and the line registers.
    reg                coming_q, coming_high_q, arrives_low_q, arrives_high_q;
    reg [LineBits-1:0] low_q, high_q;

    // Pieces of a line pair that is there.
    reg                        whole_q;
    reg [PieceIndexBits-1:0]   piece_q;
    reg                        piece_first_q, ending_q;
    reg [Lanes*Tokens*16-1:0]  x_q;

    // In the next cycle a high plane comes.
    wire comes_high = coming_q && coming_high_q;
    wire fire = whole_q && ready_i;
    wire last_piece = piece_q == LastPiece[PieceIndexBits-1:0];
    wire [PieceIndexBits-1:0] next_piece = last_piece ? {PieceIndexBits{1'b0}} : piece_q + 1'b1;
    wire [PieceIndexBits-1:0] coming_piece = fire ? next_piece : piece_q;

    wire free = !pending_q && (!whole_q || (ending_q && sure_i));
    // A cycle late: after the last read of a tile the next one waits for that read's line anyway.
    reg  tile_ok_q;
    always @(posedge clk_i) tile_ok_q <= tile_ok_i && !start_i;
    wire want = !idle_q && (mid_q || (free && (!inner_first_q || tile_ok_q)));
    wire granted = want && grant_i;

    // The line pair at hand is the inner loop's last one: of those that are read, and of those that leave.
    wire inner_end, piece_end;
    countdown #(.Bits(16)) inner_left (
        .clk_i(clk_i), .start_i(start_q), .count_i(inner_count_q), .step_i(granted && mid_q), .last_o(inner_end)
    );
    countdown #(.Bits(16)) piece_left (
        .clk_i(clk_i), .start_i(start_q), .count_i(inner_count_q), .step_i(fire && last_piece), .last_o(piece_end)
    );

    // From a low plane to its high plane, and from there to the next low plane.
    wire [31:0] next_line;
    generate
        if (Across != 0) begin : across
            reg [31:0] below_q;
            always @(posedge clk_i) begin
                if (start_i) below_q <= base_i + 32'd1;
                else if (granted && mid_q && inner_end) below_q <= below_q + 32'd1;
            end
            assign next_line = mid_q && inner_end ? below_q : line_q + depth_q;
        end else begin : along
            reg [31:0] back_q;
            always @(posedge clk_i) back_q <= 32'd1 - depth_q;
            assign next_line = line_q + (!mid_q ? depth_q : inner_end ? 32'd1 : back_q);
        end
    endgenerate

    // Values of a piece from its planes.
    function [2*PieceBits-1:0] values;
        input [PieceBits-1:0] low;
        input [PieceBits-1:0] high;
        integer               i;
        begin
            for (i = 0; i < Lanes * Tokens; i = i + 1) values[i*16 +: 16] = {high[i*8 +: 8], low[i*8 +: 8]};
        end
    endfunction

    // They stand still while there is no line pair: a simulator has no work with them then.
    generate
        if (Pieces > 1) begin : several
            wire [PieceIndexBits+PieceShift-1:0] at = {piece_q, {PieceShift{1'b0}}};
            always @(posedge clk_i) begin
                // The first piece may leave before its line is in the register.
                if (whole_q) begin
                    x_q <= values(low_q[at +: PieceBits],
                                  arrives_high_q ? data_i[0 +: PieceBits] : high_q[at +: PieceBits]);
                end
            end
        end else begin : one
            always @(posedge clk_i) if (whole_q) x_q <= values(low_q, arrives_high_q ? data_i : high_q);
        end
    endgenerate

    always @(posedge clk_i) begin
        if (start_i) depth_q <= depth_i;
        if (start_i) inner_count_q <= Across != 0 ? tiles_i : depth_i[15:0];
        if (start_i) outer_count_q <= Across != 0 ? depth_i[15:0] : tiles_i;
        if (start_i) line_q <= base_i;
        else if (granted) line_q <= next_line;
        if (arrives_low_q) low_q <= data_i;
        if (arrives_high_q) high_q <= data_i;
        coming_high_q <= mid_q;
    end

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            idle_q <= 1'b1;
            mid_q <= 1'b0;
            pending_q <= 1'b0;
            coming_q <= 1'b0;
            arrives_low_q <= 1'b0;
            arrives_high_q <= 1'b0;
            whole_q <= 1'b0;
            piece_q <= {PieceIndexBits{1'b0}};
            ending_q <= Pieces <= 3;
            start_q <= 1'b0;
            outer_q <= 16'd0;
        end else begin
            coming_q <= granted;
            arrives_low_q <= coming_q && !coming_high_q;
            arrives_high_q <= comes_high;
            start_q <= start_i;
            // At most three pieces are left, the one at hand included.
            ending_q <= Pieces <= 3 || {1'b0, coming_piece} + 3 >= Pieces[PieceIndexBits:0];
            pending_q <= (pending_q || (granted && !mid_q)) && !comes_high;
            if (start_i) begin
                idle_q <= 1'b0;
                outer_q <= 16'd0;
            end else if (granted) begin
                mid_q <= !mid_q;
                if (mid_q && inner_end) begin
                    outer_q <= outer_q + 16'd1;
                    idle_q <= outer_q + 16'd1 == outer_count_q;
                end
            end
            whole_q <= (whole_q && !(fire && last_piece)) || comes_high;
            if (fire) piece_q <= next_piece;
        end
    end

    // The first read is made two cycles behind the start at the earliest.
    always @(posedge clk_i) begin
        // No read is made in front of the first start.
        if (!rst_ni || start_q) inner_first_q <= 1'b1;
        else if (granted && mid_q) inner_first_q <= inner_end;
        if (start_q) piece_first_q <= 1'b1;
        else if (fire && last_piece) piece_first_q <= piece_end;
    end

    assign tile_o = outer_q;
    assign want_o = want;
    assign mid_o = mid_q;
    assign line_o = line_q;
    assign fire_o = fire;
    assign first_o = piece_q == {PieceIndexBits{1'b0}} && piece_first_q;
    assign last_o = last_piece && piece_end;
    assign x_o = x_q;
    assign begin_o = granted && !mid_q && inner_first_q;
    assign idle_o = idle_q;

endmodule
