// INPUT and CONSTANT: a tensor from the input stream, or from the memory image, to lines of a memory.
//
// A beat a cycle where a beat holds no more than a line, else a line a cycle (tensor_split.v); a beat is taken into a
// register and written in the next cycle at the earliest. `constant_i` says which of the two a step is; an INPUT has
// ceil(length_i / T) tiles, a CONSTANT tiles_i. What is left of a tensor's last beat is dropped.
//
// `start_i` takes the words and comes only while done_o. The unit reads no memory, so issued_o is always high.
// The image's beats are taken while a CONSTANT step runs, not ahead of it: load_done_o is low from load_start_i until
// the step that it belongs to has taken its last beat.
module tensor_reader #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter BeatBytes = 16,
    parameter StreamBytes = 4
) (
    input  wire                      clk_i,
    input  wire                      rst_ni,
    // Words are 32 bits wide in a record; the sequencer has checked that what is not looked at here is 0.
    /* verilator lint_off UNUSEDSIGNAL */
    input  wire                      start_i,
    input  wire                      constant_i,
    input  wire [31:0]               length_i,
    input  wire [31:0]               planes_i,
    input  wire [31:0]               depth_i,
    input  wire [31:0]               space_i,
    input  wire [31:0]               base_i,
    input  wire [31:0]               tiles_i,
    /* verilator lint_on UNUSEDSIGNAL */
    output wire                      issued_o,
    output wire [15:0]               ready_tiles_o,
    output wire                      done_o,
    // The input stream.
    input  wire                      stream_valid_i,
    output wire                      stream_ready_o,
    input  wire [StreamBytes*8-1:0]  stream_data_i,
    // The image.
    input  wire                      load_start_i,
    output wire                      load_done_o,
    input  wire                      data_valid_i,
    output wire                      data_ready_o,
    input  wire [BeatBytes*8-1:0]    data_i,
    // The write bus.
    output wire                      write_valid_o,
    input  wire                      write_ready_i,
    output wire [1:0]                write_space_o,
    output wire [31:0]               write_line_o,
    output wire [Banks-1:0]          write_mask_o,
    output wire [Banks*Tokens*8-1:0] write_data_o
);

    localparam TokensLog2 = $clog2(Tokens);

    wire [15:0] length_tiles;
    generate
        if (Tokens > 1) begin : several
            assign length_tiles = length_i[15+TokensLog2:TokensLog2] +
                                  {15'd0, length_i[TokensLog2-1:0] != {TokensLog2{1'b0}}};
        end else begin : single
            assign length_tiles = length_i[15:0];
        end
    endgenerate

    reg        busy_q, constant_q, wanted_q;
    reg [15:0] tiles_q, ready_q;
    // Lines of a tile.
    reg [16:0] lines_q;
    reg        start_q;
    reg [31:0] line_q;
    reg [1:0]  space_q;

    wire line_end, last_line, last_tile;
    wire tile_end = line_end && last_line;
    wire given = write_valid_o && write_ready_i;
    wire last_piece = tile_end && last_tile;

    // Nothing is given in the cycle behind a start.
    countdown #(.Bits(17)) lines_left (
        .clk_i(clk_i), .start_i(start_q), .count_i(lines_q), .step_i(given && line_end), .last_o(last_line)
    );
    countdown #(.Bits(16)) tiles_left (
        .clk_i(clk_i), .start_i(start_q), .count_i(tiles_q), .step_i(given && tile_end), .last_o(last_tile)
    );

    always @(posedge clk_i) begin
        if (start_i) begin
            constant_q <= constant_i;
            tiles_q <= constant_i ? tiles_i[15:0] : length_tiles;
            lines_q <= planes_i[1] ? {depth_i[15:0], 1'b0} : {1'b0, depth_i[15:0]};
            space_q <= space_i[1:0];
            line_q <= base_i;
        end else if (given && line_end) begin
            line_q <= line_q + 32'd1;
        end
        if (!rst_ni) begin
            busy_q <= 1'b0;
            ready_q <= 16'd0;
            wanted_q <= 1'b0;
            start_q <= 1'b0;
        end else begin
            start_q <= start_i;
            if (start_i) busy_q <= 1'b1;
            else if (given && last_piece) busy_q <= 1'b0;
            if (start_i) ready_q <= 16'd0;
            else if (given && tile_end) ready_q <= ready_q + 16'd1;
            if (load_start_i) wanted_q <= 1'b1;
            else if (given && last_piece && constant_q) wanted_q <= 1'b0;
        end
    end

    wire                      stream_valid, stream_end, image_valid, image_end;
    wire [Banks-1:0]          stream_mask, image_mask;
    wire [Banks*Tokens*8-1:0] stream_line, image_line;
    tensor_split #(.Tokens(Tokens), .Banks(Banks), .BeatBytes(StreamBytes)) stream (
        .clk_i(clk_i), .rst_ni(rst_ni), .enable_i(busy_q && !constant_q), .valid_i(stream_valid_i),
        .ready_o(stream_ready_o), .data_i(stream_data_i), .piece_valid_o(stream_valid),
        .piece_ready_i(write_ready_i), .piece_last_i(last_piece), .line_end_o(stream_end),
        .piece_mask_o(stream_mask), .piece_data_o(stream_line)
    );
    tensor_split #(.Tokens(Tokens), .Banks(Banks), .BeatBytes(BeatBytes)) image (
        .clk_i(clk_i), .rst_ni(rst_ni), .enable_i(busy_q && constant_q), .valid_i(data_valid_i),
        .ready_o(data_ready_o), .data_i(data_i), .piece_valid_o(image_valid), .piece_ready_i(write_ready_i),
        .piece_last_i(last_piece), .line_end_o(image_end), .piece_mask_o(image_mask), .piece_data_o(image_line)
    );

    assign line_end = constant_q ? image_end : stream_end;
    assign issued_o = 1'b1;
    assign ready_tiles_o = ready_q;
    assign done_o = !busy_q;
    assign load_done_o = !wanted_q;
    assign write_valid_o = stream_valid || image_valid;
    assign write_space_o = space_q;
    assign write_line_o = line_q;
    assign write_mask_o = constant_q ? image_mask : stream_mask;
    assign write_data_o = constant_q ? image_line : stream_line;

endmodule
