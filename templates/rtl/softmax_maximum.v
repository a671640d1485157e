// The largest score of every query and head, over the keys that it sees.
//
// Scores of P keys may come every cycle; `complete_o` pulses `Levels` = log2 P cycles after those that `last_i` marks,
// and two cycles later `maximum_o` of the score slot holds the maximum, until scores of the slot's next pair come.
module softmax_maximum #(
    parameter Tokens = 2,
    parameter Rows = 1,
    parameter Heads = 1,
    parameter SweepBits = 1
) (
    input  wire                            clk_i,
    input  wire                            rst_ni,
    input  wire                            valid_i,
    // Lane (h*P + p)*T + t; heads abreast, or all lanes of head 0 belong to head `sweep_i`.
    input  wire [Heads*Rows*Tokens*16-1:0] score_i,
    input  wire [Rows*Tokens-1:0]          seen_i,
    input  wire                            together_i,
    input  wire [SweepBits-1:0]            sweep_i,
    input  wire                            first_i,
    input  wire                            last_i,
    input  wire [1:0]                      slot_i,
    output wire                            complete_o,
    // Score slot, head, query.
    output wire [4*Heads*Tokens*16-1:0]    maximum_o
);

    localparam Levels = $clog2(Rows);
    localparam LaneBits = Tokens * 16;

    // Beside the tree; field 0 is its first register.
    localparam ControlBits = SweepBits + 4;
    reg  [Levels:0]                   valid_q, last_q;
    reg  [(Levels+1)*ControlBits-1:0] control_q;
    wire                              together, first;
    wire [1:0]                        slot;
    wire [SweepBits-1:0]              sweep;
    assign {together, first, slot, sweep} = control_q[Levels*ControlBits +: ControlBits];

    integer k;
    always @(posedge clk_i) begin
        control_q[0 +: ControlBits] <= {together_i, first_i, slot_i, sweep_i};
        for (k = 1; k <= Levels; k = k + 1) begin
            control_q[k*ControlBits +: ControlBits] <= control_q[(k-1)*ControlBits +: ControlBits];
        end
        if (!rst_ni) begin
            valid_q <= {(Levels+1){1'b0}};
            last_q <= {(Levels+1){1'b0}};
        end else begin
            valid_q <= (valid_q << 1) | {{Levels{1'b0}}, valid_i};
            last_q <= (last_q << 1) | {{Levels{1'b0}}, valid_i && last_i};
        end
    end

    genvar h, t, p, n;
    wire [Heads*LaneBits-1:0] largest;
    generate
        if (Levels == 0) begin : at_once
            assign complete_o = valid_i && last_i;
        end else begin : later
            assign complete_o = last_q[Levels-1];
        end

        for (h = 0; h < Heads; h = h + 1) begin : head
            for (t = 0; t < Tokens; t = t + 1) begin : query
                wire [Rows*16-1:0] score;
                wire [Rows-1:0]    seen;
                for (p = 0; p < Rows; p = p + 1) begin : key
                    assign score[p*16 +: 16] = score_i[((h*Rows + p)*Tokens + t)*16 +: 16];
                    assign seen[p] = seen_i[p*Tokens+t];
                end
                maximum_tree #(.Rows(Rows)) tree (
                    .clk_i(clk_i),
                    .score_i(score),
                    .seen_i(seen),
                    .maximum_o(largest[(h*Tokens + t)*16 +: 16])
                );
            end
        end

        for (h = 0; h < Heads; h = h + 1) begin : running
            localparam [SweepBits-1:0] Head = h;
            wire mine = valid_q[Levels] && (together || sweep == Head);
            wire [LaneBits-1:0] found = together ? largest[h*LaneBits +: LaneBits] : largest[0 +: LaneBits];
            for (n = 0; n < 4; n = n + 1) begin : slots
                localparam [1:0] Slot = n;
                reg [LaneBits-1:0] maximum_q;
                integer i;
                always @(posedge clk_i) begin
                    if (mine && slot == Slot) begin
                        for (i = 0; i < Tokens; i = i + 1) begin
                            if (first || $signed(found[i*16 +: 16]) > $signed(maximum_q[i*16 +: 16])) begin
                                maximum_q[i*16 +: 16] <= found[i*16 +: 16];
                            end
                        end
                    end
                end
                assign maximum_o[(n*Heads + h)*LaneBits +: LaneBits] = maximum_q;
            end
        end
    endgenerate

    // Completion is told a level before the last one.
    wire unused = &{1'b0, last_q[Levels]};

endmodule
