// The query buffer: the queries of two pairs, fetched from the store while the array works on the pair before.
//
// A pair's `lines_i` lines go to slot 0 and 1 in turn. `full_o[slot]` is high from the cycle on when the last has been
// granted; reads then come at least three cycles later and find all. A read in cycle t is answered in t + 1; `free_i` may come two cycles
// before the last read of the slot, because a line fetched then is written three cycles later.
module attention_queries #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Lines = 2,
    parameter CycleBits = 2,
    parameter LineBits = 8,
    parameter WordBits = Banks * Tokens * 8
) (
    input  wire                 clk_i,
    input  wire                 rst_ni,
    // The next pair: valid and, in the cycle when it is taken, its first line.
    input  wire                 pair_valid_i,
    output wire                 pair_next_o,
    input  wire [LineBits-1:0]  pair_line_i,
    input  wire [CycleBits-1:0] lines_i,
    output wire                 store_re_o,
    output wire [LineBits-1:0]  store_line_o,
    input  wire                 store_grant_i,
    input  wire [WordBits-1:0]  store_data_i,
    output wire [1:0]           full_o,
    input  wire                 free_i,
    input  wire                 free_slot_i,
    input  wire                 re_i,
    input  wire                 slot_i,
    // Its lowest bits are the line.
    // verilator lint_off UNUSEDSIGNAL
    input  wire [CycleBits-1:0] cycle_i,
    // verilator lint_on UNUSEDSIGNAL
    output wire [WordBits-1:0]  data_o
);

    localparam [31:0] Two = 2;
    localparam IndexBits = Lines > 1 ? $clog2(Lines) : 1;

    reg                 active_q, slot_q;
    reg [LineBits-1:0]  line_q;
    reg [CycleBits-1:0] index_q;
    reg [1:0]           full_q;
    reg                 last_q;

    wire last = last_q;
    wire taken = active_q && store_grant_i;
    wire filled = taken && last;
    wire next_slot = ~slot_q;
    wire load = pair_valid_i && !full_q[next_slot] && (!active_q || filled);

    assign pair_next_o = load;
    assign store_re_o = active_q;
    assign store_line_o = line_q;
    assign full_o = full_q | {filled && slot_q, filled && !slot_q};

    // Data come two cycles after the grant.
    reg [1:0]         we_q;
    reg [IndexBits:0] target_q, late_q;

    always @(posedge clk_i) begin
        if (load) begin
            line_q <= pair_line_i;
            index_q <= {CycleBits{1'b0}};
            last_q <= lines_i == {{(CycleBits-1){1'b0}}, 1'b1};
        end else if (taken) begin
            last_q <= index_q + Two[CycleBits-1:0] == lines_i;
            line_q <= line_q + {{(LineBits-1){1'b0}}, 1'b1};
            index_q <= index_q + {{(CycleBits-1){1'b0}}, 1'b1};
        end
        target_q <= {slot_q, index_q[IndexBits-1:0]};
        late_q <= target_q;
        if (!rst_ni) begin
            active_q <= 1'b0;
            slot_q <= 1'b1;
            full_q <= 2'b00;
            we_q <= 2'b00;
        end else begin
            if (load) begin
                active_q <= 1'b1;
                slot_q <= next_slot;
            end else if (filled) begin
                active_q <= 1'b0;
            end
            if (filled) full_q[slot_q] <= 1'b1;
            if (free_i) full_q[free_slot_i] <= 1'b0;
            we_q <= {we_q[0], taken};
        end
    end

    ram_1r1w #(.Width(WordBits), .Depth(2 << IndexBits), .AddressBits(IndexBits + 1)) queries (
        .clk_i(clk_i),
        .we_i(we_q[1]),
        .waddr_i(late_q),
        .wdata_i(store_data_i),
        .re_i(re_i),
        .raddr_i({slot_i, cycle_i[IndexBits-1:0]}),
        .rdata_o(data_o)
    );

endmodule
