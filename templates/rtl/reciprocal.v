// 1/value as r * 2^-(n+15): n = bit length of value, r = floor(2^(n+15) / value) in 2^15 .. 2^16; value >= 1.
//
// Restoring division, a quotient bit a cycle: the result exactly `Latency` = 19 cycles after its value (a value sampled
// at the end of cycle t is answered in cycle t + 19). A value stays `Fold` cycles in each stage, so that values come at
// least `Fold` cycles apart, and there are that much fewer stages. `Latency` tells users, it is not to be set.
module reciprocal #(
    parameter Width = 32,
    parameter Fold = 1,
    parameter Latency = 19
) (
    input  wire             clk_i,
    input  wire             rst_ni,
    input  wire             valid_i,
    input  wire [Width-1:0] value_i,
    output wire             valid_o,
    output wire [16:0]      r_o,
    output wire [5:0]       n_o
);

    localparam Steps = 17;
    localparam Stages = (Steps + Fold - 1) / Fold;
    // The rest stays below twice the divisor.
    localparam RestBits = Width + 1;

    // Highest set bit of value_i, alone: the rest that division starts with. All bits below it are set first, those of
    // one, two, four … bits at a time.
    localparam Doublings = Width > 1 ? $clog2(Width) : 1;
    reg [Width-1:0] smeared;
    integer         b;
    always @* begin
        smeared = value_i;
        for (b = 0; b < Doublings; b = b + 1) smeared = smeared | (smeared >> (1 << b));
    end
    wire [Width-1:0] top = smeared ^ (smeared >> 1);

    reg [Width-1:0] top_q, first_q;

    reg [5:0] length;
    integer   e;
    always @* begin
        length = 6'd0;
        for (e = 0; e < Width; e = e + 1) length = length | ({6{top_q[e]}} & (e[5:0] + 6'd1));
    end

    // Bit i: a value came i + 1 cycles ago; division begins with bit 1.
    reg [Latency-1:0] valid_q;
    // What division begins with; r is 0.
    reg [Width-1:0]   begun_rest_q, begun_value_q;
    reg [5:0]         begun_n_q;
    always @(posedge clk_i) begin
        top_q <= top;
        first_q <= value_i;
        begun_rest_q <= top_q;
        begun_value_q <= first_q;
        begun_n_q <= length;
        if (!rst_ni) valid_q <= {Latency{1'b0}};
        else valid_q <= {valid_q[Latency-2:0], valid_i};
    end

    // Field i is what stage i takes over.
    wire [6*(Stages+1)-1:0]        n;
    // verilator lint_off UNUSEDSIGNAL
    // Behind the last stage r and n alone matter; in front of it r has a bit less.
    wire [17*(Stages+1)-1:0]       r;
    wire [RestBits*(Stages+1)-1:0] rest;
    wire [Width*(Stages+1)-1:0]    value;
    // verilator lint_on UNUSEDSIGNAL
    assign rest[0 +: RestBits] = {1'b0, begun_rest_q};
    assign value[0 +: Width] = begun_value_q;
    assign r[0 +: 17] = 17'd0;
    assign n[0 +: 6] = begun_n_q;
    genvar s;
    generate
        for (s = 0; s < Stages; s = s + 1) begin : stage
            reg  [RestBits-1:0] rest_q;
            reg  [Width-1:0]    value_q;
            reg  [16:0]         r_q;
            reg  [5:0]          n_q;
            wire                takes = Fold == 1 || valid_q[s*Fold + 1];
            wire [RestBits-1:0] rest_now = takes ? rest[s*RestBits +: RestBits] : rest_q;
            wire [Width-1:0]    value_now = takes ? value[s*Width +: Width] : value_q;
            wire [15:0]         r_now = takes ? r[s*17 +: 16] : r_q[15:0];
            wire [5:0]          n_now = takes ? n[s*6 +: 6] : n_q;
            wire [RestBits:0]   difference = {1'b0, rest_now} - {2'b00, value_now};
            wire                fits = ~difference[RestBits];
            always @(posedge clk_i) begin
                // What is left is below the divisor: doubling it loses no bit.
                rest_q <= {fits ? difference[Width-1:0] : rest_now[Width-1:0], 1'b0};
                value_q <= value_now;
                r_q <= {r_now, fits};
                n_q <= n_now;
            end
            assign rest[(s+1)*RestBits +: RestBits] = rest_q;
            assign value[(s+1)*Width +: Width] = value_q;
            assign r[(s+1)*17 +: 17] = r_q;
            assign n[(s+1)*6 +: 6] = n_q;
        end
    endgenerate

    assign valid_o = valid_q[Latency-1];
    assign r_o = r[Stages*17 +: 17];
    assign n_o = n[Stages*6 +: 6];

endmodule
