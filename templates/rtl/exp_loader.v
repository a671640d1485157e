// The exponential table of an attention step from its beats to the copies, an entry a cycle.
//
// Beats wait in a queue as long as a table, so that they are taken one a cycle and the data behind them need not wait:
// `load_done_o` is high when they all have come. A table is in use (`valid_o`) from its last entry to `release_i`; the
// entries of the next one wait for that.
module exp_loader #(
    parameter BeatBytes = 8
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    input  wire                   load_start_i,
    output wire                   load_done_o,
    input  wire                   data_valid_i,
    output wire                   data_ready_o,
    input  wire [8*BeatBytes-1:0] data_i,
    input  wire                   release_i,
    output wire                   valid_o,
    output wire                   we_o,
    output wire [7:0]             address_o,
    output wire [15:0]            data_o
);

    localparam Entries = BeatBytes / 2;
    localparam IndexBits = $clog2(Entries);
    localparam BeatsLog2 = 8 - IndexBits;

    reg        loading_q, valid_q, we_q;
    reg [BeatsLog2-1:0] beat_q;
    reg [7:0]  entry_q, address_q;
    reg [15:0] data_q;

    wire [IndexBits-1:0] index = entry_q[IndexBits-1:0];
    wire room, beat_valid;
    wire [8*BeatBytes-1:0] beat;
    wire come = loading_q && data_valid_i && room;
    wire take = !valid_q && beat_valid;
    wire last = &entry_q;

    fifo #(.Width(8 * BeatBytes), .DepthLog2(BeatsLog2)) beats (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(loading_q && data_valid_i), .ready_o(room), .data_i(data_i),
        .valid_o(beat_valid), .ready_i(take && &index), .data_o(beat)
    );

    assign data_ready_o = loading_q && room;
    assign load_done_o = !loading_q;
    assign valid_o = valid_q;
    assign we_o = we_q;
    assign address_o = address_q;
    assign data_o = data_q;

    always @(posedge clk_i) begin
        address_q <= entry_q;
        data_q <= beat[index*16 +: 16];
        if (!rst_ni) begin
            loading_q <= 1'b0;
            valid_q <= 1'b0;
            we_q <= 1'b0;
            entry_q <= 8'd0;
            beat_q <= 0;
        end else begin
            if (load_start_i) loading_q <= 1'b1;
            else if (come && &beat_q) loading_q <= 1'b0;
            if (come) beat_q <= beat_q + 1'b1;
            if (take) entry_q <= entry_q + 8'd1;
            if (take && last) valid_q <= 1'b1;
            else if (release_i) valid_q <= 1'b0;
            we_q <= take;
        end
    end

endmodule
