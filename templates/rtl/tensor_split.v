// Beats of a tensor to lines of the memories: pieces of a line, a piece a cycle.
//
// A piece is what a beat holds, but at least a word and at most a line: a beat is a piece (some banks of a line), or
// several lines, or a part of one word. So a beat a cycle is taken where a beat holds no more than a line, else a line
// a cycle is given. Beats are taken while enable_i is set. A piece is valid until it is taken (piece_ready_i, which
// piece_last_i accompanies: the tensor ends here, and what is left of its beat is dropped).
// piece_data_o holds the piece once for each of its places in a line, piece_mask_o says which of them is meant;
// line_end_o: it is the last one.
module tensor_split #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter BeatBytes = 8
) (
    input  wire                      clk_i,
    input  wire                      rst_ni,
    input  wire                      enable_i,
    input  wire                      valid_i,
    output wire                      ready_o,
    input  wire [BeatBytes*8-1:0]    data_i,
    output wire                      piece_valid_o,
    input  wire                      piece_ready_i,
    input  wire                      piece_last_i,
    output wire                      line_end_o,
    output wire [Banks-1:0]          piece_mask_o,
    output wire [Banks*Tokens*8-1:0] piece_data_o
);

    localparam LineBytes = Banks * Tokens;
    localparam CutBytes = BeatBytes < LineBytes ? BeatBytes : LineBytes;
    localparam PieceBytes = CutBytes > Tokens ? CutBytes : Tokens;
    localparam PieceBits = PieceBytes * 8;
    localparam PieceBanks = PieceBytes / Tokens;
    localparam Pieces = LineBytes / PieceBytes;
    // A piece is put together from beats, or a beat is cut into pieces.
    localparam PartBeats = PieceBytes > BeatBytes ? PieceBytes / BeatBytes : 1;
    localparam BeatParts = BeatBytes > PieceBytes ? BeatBytes / PieceBytes : 1;
    localparam Parts = PartBeats > BeatParts ? PartBeats : BeatParts;
    localparam PartBits = Parts > 1 ? $clog2(Parts) : 1;
    localparam LastPart = Parts - 1;

    reg  [PieceBits-1:0] piece;
    reg                  valid_q;
    wire                 take = valid_i && ready_o;
    wire                 given = valid_q && piece_ready_i;

    generate
        if (PartBeats > 1) begin : gather
            // The piece's beats move in from its end.
            reg [PieceBits-1:0] held_q;
            reg [PartBits-1:0]  part_q;
            always @(posedge clk_i) begin
                if (take) held_q <= {data_i, held_q[PieceBits-1:BeatBytes*8]};
                if (!rst_ni) begin
                    part_q <= {PartBits{1'b0}};
                    valid_q <= 1'b0;
                end else begin
                    if (take) part_q <= part_q == LastPart[PartBits-1:0] ? {PartBits{1'b0}} : part_q + 1'b1;
                    if (take && part_q == LastPart[PartBits-1:0]) valid_q <= 1'b1;
                    else if (given) valid_q <= 1'b0;
                end
            end
            assign ready_o = enable_i && (!valid_q || (piece_ready_i && !piece_last_i));
            always @* piece = held_q;
        end else if (BeatParts > 1) begin : cut
            // The lowest piece leaves, the others move down.
            reg [BeatBytes*8-1:0] held_q;
            reg [PartBits-1:0]    part_q;
            wire                  cut_end = given && (part_q == LastPart[PartBits-1:0] || piece_last_i);
            always @(posedge clk_i) begin
                if (take) held_q <= data_i;
                else if (given) held_q <= held_q >> PieceBits;
                if (!rst_ni) begin
                    part_q <= {PartBits{1'b0}};
                    valid_q <= 1'b0;
                end else begin
                    if (cut_end) part_q <= {PartBits{1'b0}};
                    else if (given) part_q <= part_q + 1'b1;
                    if (take) valid_q <= 1'b1;
                    else if (cut_end) valid_q <= 1'b0;
                end
            end
            assign ready_o = enable_i && (!valid_q || (cut_end && !piece_last_i));
            always @* piece = held_q[PieceBits-1:0];
        end else begin : pass
            reg [PieceBits-1:0] held_q;
            always @(posedge clk_i) begin
                if (take) held_q <= data_i;
                if (!rst_ni) valid_q <= 1'b0;
                else if (take) valid_q <= 1'b1;
                else if (given) valid_q <= 1'b0;
            end
            assign ready_o = enable_i && (!valid_q || (piece_ready_i && !piece_last_i));
            always @* piece = held_q;
        end
    endgenerate

    genvar p;
    generate
        if (Pieces > 1) begin : several
            localparam IndexBits = $clog2(Pieces);
            localparam LastPiece = Pieces - 1;
            reg [IndexBits-1:0] index_q;
            always @(posedge clk_i) begin
                if (!rst_ni) index_q <= {IndexBits{1'b0}};
                else if (given) index_q <= index_q + 1'b1;
            end
            assign line_end_o = index_q == LastPiece[IndexBits-1:0];
            for (p = 0; p < Pieces; p = p + 1) begin : place
                localparam Number = p;
                assign piece_mask_o[p*PieceBanks +: PieceBanks] = {PieceBanks{index_q == Number[IndexBits-1:0]}};
            end
        end else begin : whole
            assign line_end_o = 1'b1;
            assign piece_mask_o = {Banks{1'b1}};
        end
    endgenerate

    assign piece_valid_o = valid_q;
    assign piece_data_o = {Pieces{piece}};

endmodule
