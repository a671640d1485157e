// OUTPUT: a tensor of a memory as beats of the output stream; tokens beyond the length are 0, and so is what fills the
// last beat. stream_last_o stands on the last beat where `last_output_i` is set.
//
// A beat that holds less than a line reads its line anew, so that no line is ever held: a read for every beat, and
// a beat a cycle. A beat that holds several lines takes a cycle for each. Beats wait in a queue of 8 places; what is
// read has a place there. Reads of STORE are made where store_grant_i answers, those of OPERAND0 (operand_select_o 0)
// and OPERAND1 always; both have their data two cycles later.
//
// `start_i` takes the words and comes only while done_o; issued_o: every read has been made. done_o: every beat
// has been taken.
module tensor_writer #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter StreamBytes = 4
) (
    input  wire                      clk_i,
    input  wire                      rst_ni,
    // Words are 32 bits wide in a record; the sequencer has checked that what is not looked at here is 0.
    /* verilator lint_off UNUSEDSIGNAL */
    input  wire                      start_i,
    input  wire                      last_output_i,
    input  wire [31:0]               length_i,
    input  wire [31:0]               source_space_i,
    input  wire [31:0]               source_base_i,
    input  wire [31:0]               planes_i,
    input  wire [31:0]               depth_i,
    /* verilator lint_on UNUSEDSIGNAL */
    input  wire [15:0]               source_tiles_i,
    output wire                      issued_o,
    output wire                      done_o,
    // The store's read port.
    output wire                      store_re_o,
    output wire [31:0]               store_line_o,
    input  wire                      store_grant_i,
    input  wire [Banks*Tokens*8-1:0] store_data_i,
    // The operand memories' read port.
    output wire                      operand_re_o,
    output wire                      operand_select_o,
    output wire [31:0]               operand_line_o,
    input  wire [Banks*Tokens*8-1:0] operand_data_i,
    // The output stream.
    output wire                      stream_valid_o,
    input  wire                      stream_ready_i,
    output wire [StreamBytes*8-1:0]  stream_data_o,
    output wire                      stream_last_o
);

    localparam TokensLog2 = $clog2(Tokens);
    localparam TokenBits = TokensLog2 + 1;
    localparam LineBytes = Banks * Tokens;
    localparam PieceBytes = StreamBytes < LineBytes ? StreamBytes : LineBytes;
    localparam Pieces = LineBytes / PieceBytes;
    localparam PieceIndexBits = Pieces > 1 ? $clog2(Pieces) : 1;
    localparam LastPiece = Pieces - 1;
    // Lines of a beat.
    localparam Lines = StreamBytes / PieceBytes;
    localparam LineIndexBits = Lines > 1 ? $clog2(Lines) : 1;
    localparam LastLine = Lines - 1;
    localparam PlacesLog2 = 3;
    localparam Places = 1 << PlacesLog2;

    wire [15:0]          tiles;
    wire [TokenBits-1:0] rest;
    generate
        if (Tokens > 1) begin : several
            wire [TokensLog2-1:0] over = length_i[TokensLog2-1:0];
            assign tiles = length_i[15+TokensLog2:TokensLog2] + {15'd0, over != {TokensLog2{1'b0}}};
            assign rest = {over == {TokensLog2{1'b0}}, over};
        end else begin : single
            assign tiles = length_i[15:0];
            assign rest = 1'b1;
        end
    endgenerate

    // The words; `reading_q`: reads are still to be made.
    reg                 busy_q, reading_q, last_output_q, select_q, store_q;
    reg [15:0]          tiles_q, tile_q;
    // Lines of a tile.
    reg [16:0]          lines_q;
    reg                 start_q;
    reg [31:0]          line_q;
    reg [TokenBits-1:0] rest_q;
    // What a read is of: the piece of a line, the line of a beat.
    reg [PieceIndexBits-1:0] piece_q;
    reg [LineIndexBits-1:0]  part_q;
    reg [PlacesLog2:0]       places_q;

    wire line_end = piece_q == LastPiece[PieceIndexBits-1:0];
    wire last_line, last_tile;
    wire tile_end = line_end && last_line;
    wire final_read = tile_end && last_tile;
    wire beat_start = part_q == {LineIndexBits{1'b0}};
    wire beat_end = part_q == LastLine[LineIndexBits-1:0] || final_read;
    // Known a cycle late, and of a new tile not in its first cycle.
    reg  tile_ready_q;
    always @(posedge clk_i) tile_ready_q <= tile_q < source_tiles_i && !start_i && !(read && tile_end);
    wire want = reading_q && tile_ready_q && (!beat_start || places_q != {(PlacesLog2+1){1'b0}});
    wire read = want && (!store_q || store_grant_i);
    wire sent = stream_valid_o && stream_ready_i;

    // Nothing is read in the cycle behind a start.
    countdown #(.Bits(17)) lines_left (
        .clk_i(clk_i), .start_i(start_q), .count_i(lines_q), .step_i(read && line_end), .last_o(last_line)
    );
    countdown #(.Bits(16)) tiles_left (
        .clk_i(clk_i), .start_i(start_q), .count_i(tiles_q), .step_i(read && tile_end), .last_o(last_tile)
    );

    always @(posedge clk_i) begin
        if (start_i) begin
            last_output_q <= last_output_i;
            store_q <= source_space_i[1];
            select_q <= source_space_i[0];
            tiles_q <= tiles;
            rest_q <= rest;
            lines_q <= planes_i[1] ? {depth_i[15:0], 1'b0} : {1'b0, depth_i[15:0]};
            line_q <= source_base_i;
            tile_q <= 16'd0;
        end else if (read && line_end) begin
            line_q <= line_q + 32'd1;
            if (tile_end) tile_q <= tile_q + 16'd1;
        end
        start_q <= start_i;
        if (!rst_ni) begin
            busy_q <= 1'b0;
            reading_q <= 1'b0;
            piece_q <= {PieceIndexBits{1'b0}};
            part_q <= {LineIndexBits{1'b0}};
            places_q <= Places[PlacesLog2:0];
        end else begin
            if (start_i) busy_q <= 1'b1;
            else if (!reading_q && places_q == Places[PlacesLog2:0]) busy_q <= 1'b0;
            if (start_i) reading_q <= 1'b1;
            else if (read && final_read) reading_q <= 1'b0;
            if (read) begin
                piece_q <= line_end ? {PieceIndexBits{1'b0}} : piece_q + 1'b1;
                part_q <= beat_end ? {LineIndexBits{1'b0}} : part_q + 1'b1;
            end
            places_q <= places_q - {{PlacesLog2{1'b0}}, read && beat_start} + {{PlacesLog2{1'b0}}, sent};
        end
    end

    // What comes with a read's data: field 0 one cycle, field 1 two cycles behind it.
    reg [1:0]                  coming_q, ragged_q, end_q, final_q;
    reg [2*PieceIndexBits-1:0] which_q;
    reg [2*LineIndexBits-1:0]  where_q;
    /* verilator lint_off UNUSEDSIGNAL */ // A line that is one piece has no use for it.
    wire [PieceIndexBits-1:0]  which = which_q[PieceIndexBits +: PieceIndexBits];
    /* verilator lint_on UNUSEDSIGNAL */
    always @(posedge clk_i) begin
        coming_q <= rst_ni ? {coming_q[0], read} : 2'b00;
        ragged_q <= {ragged_q[0], last_tile};
        end_q <= {end_q[0], beat_end};
        final_q <= {final_q[0], final_read && last_output_q};
        which_q <= {which_q[0 +: PieceIndexBits], piece_q};
        where_q <= {where_q[0 +: LineIndexBits], part_q};
    end

    wire [LineBytes*8-1:0]  line = store_q ? store_data_i : operand_data_i;
    wire [PieceBytes*8-1:0] chosen;
    // The token of the piece's first byte, which is not 0 where a beat is a part of a word.
    wire [TokenBits-1:0]    first_token;
    generate
        if (Pieces > 1) begin : pieces
            localparam Shift = $clog2(PieceBytes * 8);
            wire [PieceIndexBits+Shift-1:0] at = {which, {Shift{1'b0}}};
            assign chosen = line[at +: PieceBytes*8];
        end else begin : lines
            assign chosen = line;
        end
        if (Tokens > PieceBytes) begin : parts
            localparam PartLog2 = $clog2(Tokens / PieceBytes);
            wire [TokenBits-1:0] part = {{(TokenBits-PartLog2){1'b0}}, which[PartLog2-1:0]};
            assign first_token = part << $clog2(PieceBytes);
        end else begin : words
            assign first_token = {TokenBits{1'b0}};
        end
    endgenerate

    // The chosen piece, behind the memory's output.
    reg [PieceBytes*8-1:0]  data_q;
    reg                     data_valid_q, data_ragged_q, data_end_q, data_final_q;
    reg [TokenBits-1:0]     data_token_q;
    reg [LineIndexBits-1:0] data_where_q;
    always @(posedge clk_i) begin
        data_q <= chosen;
        data_valid_q <= coming_q[1] && rst_ni;
        data_ragged_q <= ragged_q[1];
        data_end_q <= end_q[1];
        data_final_q <= final_q[1];
        data_token_q <= first_token;
        data_where_q <= where_q[LineIndexBits +: LineIndexBits];
    end

    reg [PieceBytes*8-1:0] clean;
    integer                i;
    always @* begin
        for (i = 0; i < PieceBytes; i = i + 1) begin
            clean[i*8 +: 8] = data_ragged_q &&
                {{(32-TokenBits){1'b0}}, data_token_q} + (i % Tokens) >= {{(32-TokenBits){1'b0}}, rest_q}
                ? 8'd0 : data_q[i*8 +: 8];
        end
    end

    reg                     beat_valid_q, beat_last_q;
    reg [StreamBytes*8-1:0] beat_q;
    integer                 p;
    always @(posedge clk_i) begin
        beat_valid_q <= data_valid_q && data_end_q && rst_ni;
        beat_last_q <= data_final_q;
        if (data_valid_q) begin
            for (p = 0; p < Lines; p = p + 1) begin
                if (data_where_q == p[LineIndexBits-1:0]) beat_q[p*PieceBytes*8 +: PieceBytes*8] <= clean;
                else if (data_where_q == {LineIndexBits{1'b0}}) beat_q[p*PieceBytes*8 +: PieceBytes*8] <= 0;
            end
        end
    end

    /* verilator lint_off PINCONNECTEMPTY */ // There is always a place.
    fifo #(.Width(StreamBytes * 8 + 1), .DepthLog2(PlacesLog2)) beats (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(beat_valid_q), .ready_o(), .data_i({beat_last_q, beat_q}),
        .valid_o(stream_valid_o), .ready_i(stream_ready_i), .data_o({stream_last_o, stream_data_o})
    );
    /* verilator lint_on PINCONNECTEMPTY */

    assign issued_o = !reading_q;
    assign done_o = !busy_q;
    assign store_re_o = want && store_q;
    assign store_line_o = line_q;
    assign operand_re_o = want && !store_q;
    assign operand_select_o = select_q;
    assign operand_line_o = line_q;

endmodule
