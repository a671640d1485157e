// Sums of numerators, and their reciprocals as the post pipeline wants them.
//
// Numerators of P keys may come every cycle (valid_i, e5 of softmax_exponent). A head's T sums then go through one
// divider, one a cycle, heads in order: Tokens * A cycles for A heads abreast, and passes are no closer than that.
// `ready_o` pulses three cycles before the cycle t of the first slot whose result finds its reciprocals at
// t + ArrayLatency + 1, when the post pipeline reads them.
module softmax_sum #(
    parameter Tokens = 2,
    parameter Rows = 1,
    parameter Heads = 1,
    parameter Sequence = 16,
    parameter ArrayLatency = 11,
    parameter ShiftBits = 3
) (
    input  wire                            clk_i,
    input  wire                            rst_ni,
    input  wire [ShiftBits-1:0]            abreast_log2_i,
    input  wire                            valid_i,
    input  wire                            first_i,
    input  wire                            last_i,
    // Lane (h*P + p)*T + t.
    input  wire [Heads*Rows*Tokens*8-1:0]  low_i,
    input  wire [Heads*Rows*Tokens*8-1:0]  high_i,
    output wire                            ready_o,
    // Pair slot, head, query.
    output reg  [2*Heads*Tokens*17-1:0]    scale_r_o,
    output reg  [2*Heads*Tokens*6-1:0]     scale_n_o
);

    localparam Levels = $clog2(Rows);
    localparam Queries = Heads * Tokens;
    localparam QueryBits = Queries > 1 ? $clog2(Queries) : 1;
    localparam SumBits = 16 + $clog2(Sequence + 1);
    localparam DividerLatency = 19;
    // Cycles from the last division's start that are still to wait for, less those that a slot takes.
    localparam Early = DividerLatency - ArrayLatency - 3;
    localparam Late = Early > 0 ? Early : 0;
    localparam Ahead = Early < 0 ? -Early : 0;

    // Beside the trees.
    wire valid, first, last;
    generate
        if (Levels == 0) begin : at_once
            assign {valid, first, last} = {valid_i, first_i, last_i};
        end else begin : later
            reg [Levels-1:0] valid_q, first_q, last_q;
            always @(posedge clk_i) begin
                first_q <= (first_q << 1) | {{(Levels-1){1'b0}}, first_i};
                last_q <= (last_q << 1) | {{(Levels-1){1'b0}}, last_i};
                if (!rst_ni) valid_q <= {Levels{1'b0}};
                else valid_q <= (valid_q << 1) | {{(Levels-1){1'b0}}, valid_i};
            end
            assign {valid, first, last} = {valid_q[Levels-1], first_q[Levels-1], last_q[Levels-1]};
        end
    endgenerate

    wire [Queries*SumBits-1:0] sum;
    genvar h, t, p;
    generate
        for (h = 0; h < Heads; h = h + 1) begin : head
            for (t = 0; t < Tokens; t = t + 1) begin : query
                wire [Rows*8-1:0] low, high;
                for (p = 0; p < Rows; p = p + 1) begin : key
                    assign low[p*8 +: 8] = low_i[((h*Rows + p)*Tokens + t)*8 +: 8];
                    assign high[p*8 +: 8] = high_i[((h*Rows + p)*Tokens + t)*8 +: 8];
                end
                sum_tree #(.Rows(Rows), .SumBits(SumBits)) tree (
                    .clk_i(clk_i),
                    .low_i(low),
                    .high_i(high),
                    .valid_i(valid),
                    .first_i(first),
                    .sum_o(sum[(h*Tokens + t)*SumBits +: SumBits])
                );
            end
        end
    endgenerate

    // The queue in front of the divider.
    reg [Queries*SumBits-1:0] queue_q;
    reg [QueryBits:0]         left_q, wait_q;
    reg                       waiting_q;
    wire                      dividing = left_q != {(QueryBits+1){1'b0}};
    wire                      waited = waiting_q && wait_q == {(QueryBits+1){1'b0}};
    // No more than all queries.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0]               divisions = Tokens << abreast_log2_i;
    wire [31:0]               waits = divisions > Ahead + 1 ? divisions - Ahead - 1 : 32'd0;
    // verilator lint_on UNUSEDSIGNAL
    wire [SumBits-1:0]        value = queue_q[0 +: SumBits];
    // All keys of a query masked: a sum of 0 counts as 1.
    wire [SumBits-1:0]        divisor = value | {{(SumBits-1){1'b0}}, value == {SumBits{1'b0}}};

    always @(posedge clk_i) begin
        if (valid && last) queue_q <= sum;
        else queue_q <= queue_q >> SumBits;
        if (!rst_ni) begin
            left_q <= {(QueryBits+1){1'b0}};
            waiting_q <= 1'b0;
        end else if (valid && last) begin
            left_q <= divisions[QueryBits:0];
            waiting_q <= 1'b1;
            wait_q <= waits[QueryBits:0];
        end else begin
            if (dividing) left_q <= left_q - {{QueryBits{1'b0}}, 1'b1};
            if (waited) waiting_q <= 1'b0;
            wait_q <= wait_q - {{QueryBits{1'b0}}, 1'b1};
        end
    end

    generate
        if (Late == 0) begin : in_time
            assign ready_o = waited;
        end else begin : late
            reg [Late-1:0] ready_q;
            always @(posedge clk_i) begin
                if (!rst_ni) ready_q <= {Late{1'b0}};
                else ready_q <= (ready_q << 1) | {{(Late-1){1'b0}}, waited};
            end
            assign ready_o = ready_q[Late-1];
        end
    endgenerate

    wire        divided;
    wire [16:0] r;
    wire [5:0]  count;
    reciprocal #(.Width(SumBits), .Latency(DividerLatency)) divider (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(dividing),
        .value_i(divisor),
        .valid_o(divided),
        .r_o(r),
        .n_o(count)
    );

    // Pairs take the slots in turn.
    reg                 pair_q;
    reg [QueryBits:0]   query_q;
    wire [QueryBits:0]  next_query = query_q + {{QueryBits{1'b0}}, 1'b1};
    wire                pair_ends = next_query == divisions[QueryBits:0];
    integer             s, q;
    always @(posedge clk_i) begin
        for (s = 0; s < 2; s = s + 1) begin
            for (q = 0; q < Queries; q = q + 1) begin
                if (divided && pair_q == s[0] && query_q == q[QueryBits:0]) begin
                    scale_r_o[(s*Queries + q)*17 +: 17] <= r;
                    scale_n_o[(s*Queries + q)*6 +: 6] <= count;
                end
            end
        end
        if (!rst_ni) begin
            pair_q <= 1'b0;
            query_q <= {(QueryBits+1){1'b0}};
        end else if (divided) begin
            query_q <= pair_ends ? {(QueryBits+1){1'b0}} : next_query;
            if (pair_ends) pair_q <= ~pair_q;
        end
    end

endmodule
