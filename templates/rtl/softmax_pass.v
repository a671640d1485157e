// Control of the exponential pass over a pair's scores: P keys of T queries and all heads abreast a cycle.
//
// A pass starts when all scores of a pair are there and a numerator buffer is free. It reads whole rows of keys, masked
// where there is no key, and takes at least as many cycles as the pair has reciprocals: their divider then keeps up.
// `start_o` pulses a cycle before the first group (e0 in softmax_exponent).
module softmax_pass #(
    parameter Tokens = 2,
    parameter Rows = 1,
    parameter Heads = 1,
    parameter LengthBits = 5,
    parameter TileBits = 4,
    parameter GroupBits = 5,
    parameter ShiftBits = 3
) (
    input  wire                  clk_i,
    input  wire                  rst_ni,
    // Of the step: stable long before its first pass. Heads abreast (log2), and keys of a row, less 1.
    input  wire [ShiftBits-1:0]  abreast_log2_i,
    input  wire [31:0]           key_row_i,
    // The next pair.
    input  wire                  pair_valid_i,
    output wire                  pair_next_o,
    input  wire [TileBits-1:0]   pair_tile_i,
    input  wire [LengthBits-1:0] pair_keys_i,
    input  wire                  pair_last_i,
    // A pulse for each pair whose scores are complete, and for each whose numerators were read for the last time.
    input  wire                  complete_i,
    input  wire                  context_finish_i,
    input  wire                  table_valid_i,
    output wire                  table_release_o,
    output wire                  start_o,
    // A group of scores is read.
    output wire                  valid_o,
    output wire                  first_o,
    output wire                  last_o,
    // Slot of its scores; the lowest bit is the one of its numerators.
    output wire [1:0]            slot_o,
    output wire [TileBits-1:0]   tile_o,
    output wire [GroupBits-1:0]  group_o
);

    localparam RowsLog2 = $clog2(Rows);
    localparam CountBits = (GroupBits > $clog2(Tokens * Heads) ? GroupBits : $clog2(Tokens * Heads)) + 1;

    reg                 active_q, final_q;
    reg [1:0]           slot_q;
    reg [TileBits-1:0]  tile_q;
    reg [CountBits-1:0] group_q, groups_q, cycles_q;
    reg [2:0]           pending_q;
    reg [1:0]           used_q;
    // The last look-ups are made three cycles after the last group is read.
    reg [3:0]           release_q;

    reg [CountBits-1:0] divisions_q;
    // Counts are cut to what the engine holds.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0] dividing = Tokens << abreast_log2_i;
    wire [31:0] row_groups = (({{(32-LengthBits){1'b0}}, pair_keys_i} + key_row_i) & ~key_row_i) >> RowsLog2;
    // verilator lint_on UNUSEDSIGNAL
    wire [CountBits-1:0] groups = row_groups[CountBits-1:0];
    always @(posedge clk_i) divisions_q <= dividing[CountBits-1:0];

    wire [CountBits-1:0] next_group = group_q + {{(CountBits-1){1'b0}}, 1'b1};
    // The cycle at hand is the pass's last one: worked out a cycle before.
    localparam [31:0] Two = 2;
    reg  ending_q;
    wire start = pair_valid_i && table_valid_i && pending_q != 3'd0 && !used_q[1] && (!active_q || ending_q);

    assign start_o = start;
    assign pair_next_o = start;
    assign valid_o = active_q && group_q < groups_q;
    assign first_o = group_q == {CountBits{1'b0}};
    assign last_o = next_group == groups_q;
    assign slot_o = slot_q;
    assign tile_o = tile_q;
    assign group_o = group_q[GroupBits-1:0];
    assign table_release_o = release_q[3];

    always @(posedge clk_i) begin
        if (start) begin
            tile_q <= pair_tile_i;
            groups_q <= groups;
            cycles_q <= groups > divisions_q ? groups : divisions_q;
            group_q <= {CountBits{1'b0}};
            final_q <= pair_last_i;
            ending_q <= groups <= 1 && divisions_q == 1;
        end else begin
            group_q <= next_group;
            ending_q <= group_q + Two[CountBits-1:0] == cycles_q;
        end
        if (!rst_ni) begin
            active_q <= 1'b0;
            slot_q <= 2'd3;
            pending_q <= 3'd0;
            used_q <= 2'd0;
            release_q <= 4'b0000;
        end else begin
            if (start) begin
                active_q <= 1'b1;
                slot_q <= slot_q + 2'd1;
            end else if (ending_q) begin
                active_q <= 1'b0;
            end
            pending_q <= pending_q + {2'b00, complete_i} - {2'b00, start};
            used_q <= used_q + {1'b0, start} - {1'b0, context_finish_i};
            release_q <= {release_q[2:0], active_q && ending_q && final_q};
        end
    end

endmodule
