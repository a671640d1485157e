// The largest score of every query and head, over the keys that it sees.
//
// Scores of P keys may come every cycle; `complete_o` pulses `Levels` = log2 P cycles after those that `last_i` marks,
// and two cycles later `maximum_o` of the pair slot holds the maximum, until scores of the slot's next pair come.
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
    input  wire                            pair_i,
    output wire                            complete_o,
    // Pair slot, head, query.
    output wire [2*Heads*Tokens*16-1:0]    maximum_o
);

    localparam Levels = $clog2(Rows);
    localparam LaneBits = Tokens * 16;
    // Scores are symmetric: the least int16 is none.
    localparam [15:0] None = 16'h8000;

    // Control beside the tree; field 0 is the masked scores' stage.
    localparam ControlBits = SweepBits + 4;
    reg [Levels:0]                     valid_q;
    reg [(Levels+1)*ControlBits-1:0]   control_q;
    wire [ControlBits-1:0] control = control_q[Levels*ControlBits +: ControlBits];
    wire                   last, together, first, pair;
    wire [SweepBits-1:0]   sweep;
    assign {last, together, first, pair, sweep} = control;

    integer k;
    always @(posedge clk_i) begin
        control_q[0 +: ControlBits] <= {last_i, together_i, first_i, pair_i, sweep_i};
        for (k = 1; k <= Levels; k = k + 1) begin
            control_q[k*ControlBits +: ControlBits] <= control_q[(k-1)*ControlBits +: ControlBits];
        end
        if (!rst_ni) valid_q <= {(Levels+1){1'b0}};
        else valid_q <= (valid_q << 1) | {{Levels{1'b0}}, valid_i};
    end

    generate
        if (Levels == 0) begin : at_once
            assign complete_o = valid_i && last_i;
        end else begin : later
            assign complete_o = valid_q[Levels-1] && control_q[Levels*ControlBits-1];
        end
    endgenerate

    // Nodes 2^l .. 2^(l+1) - 1 are level l, node 1 is the top.
    genvar h, n;
    wire [Heads*LaneBits-1:0] largest;
    generate
        for (h = 0; h < Heads; h = h + 1) begin : head
            wire [2*Rows*LaneBits-1:0] node;
            assign node[0 +: LaneBits] = {LaneBits{1'b0}};
            for (n = 1; n < 2 * Rows; n = n + 1) begin : tree
                reg [LaneBits-1:0] value_q;
                assign node[n*LaneBits +: LaneBits] = value_q;
                if (n >= Rows) begin : leaf
                    integer t;
                    always @(posedge clk_i) begin
                        for (t = 0; t < Tokens; t = t + 1) begin
                            value_q[t*16 +: 16] <= seen_i[(n-Rows)*Tokens + t]
                                ? score_i[((h*Rows + n - Rows)*Tokens + t)*16 +: 16] : None;
                        end
                    end
                end else begin : inner
                    wire [LaneBits-1:0] a = node[2*n*LaneBits +: LaneBits];
                    wire [LaneBits-1:0] b = node[(2*n+1)*LaneBits +: LaneBits];
                    integer t;
                    always @(posedge clk_i) begin
                        for (t = 0; t < Tokens; t = t + 1) begin
                            value_q[t*16 +: 16] <= $signed(a[t*16 +: 16]) > $signed(b[t*16 +: 16])
                                ? a[t*16 +: 16] : b[t*16 +: 16];
                        end
                    end
                end
            end
            assign largest[h*LaneBits +: LaneBits] = node[LaneBits +: LaneBits];
        end

        for (h = 0; h < Heads; h = h + 1) begin : running
            localparam [SweepBits-1:0] Head = h;
            wire mine = valid_q[Levels] && (together || sweep == Head);
            wire [LaneBits-1:0] fresh = together ? largest[h*LaneBits +: LaneBits] : largest[0 +: LaneBits];
            for (n = 0; n < 2; n = n + 1) begin : slot
                reg [LaneBits-1:0] maximum_q;
                integer t;
                always @(posedge clk_i) begin
                    if (mine && pair == (n == 1)) begin
                        for (t = 0; t < Tokens; t = t + 1) begin
                            if (first || $signed(fresh[t*16 +: 16]) > $signed(maximum_q[t*16 +: 16])) begin
                                maximum_q[t*16 +: 16] <= fresh[t*16 +: 16];
                            end
                        end
                    end
                end
                assign maximum_o[(n*Heads + h)*LaneBits +: LaneBits] = maximum_q;
            end
        end
    endgenerate

    // Where the last level's flag is told: complete_o comes a level before.
    wire unused = &{1'b0, last};

endmodule
