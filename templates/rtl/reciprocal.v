// 1/value as r * 2^-(n+15): n = bit length of value, r = floor(2^(n+15) / value) in 2^15 .. 2^16; value >= 1.
//
// Restoring division, a quotient bit a stage: a value every cycle, the result exactly `Latency` = 19 cycles after it
// (a value sampled at the end of cycle t is answered in cycle t + 19). `Latency` tells users, it is not to be set.
module reciprocal #(
    parameter Width = 32,
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

    // Field i holds what stage i works on.
    reg [Latency-1:0]        valid_q;
    reg [RestBits*Steps-1:0] rest_q;
    reg [Width*Steps-1:0]    value_q;
    reg [17*(Steps+1)-1:0]   r_q;
    reg [6*(Steps+1)-1:0]    n_q;

    wire [Steps-1:0]       fits;
    wire [Width*Steps-1:0] left;
    genvar s;
    generate
        for (s = 0; s < Steps; s = s + 1) begin : step
            wire [RestBits-1:0] rest = rest_q[s*RestBits +: RestBits];
            wire [RestBits-1:0] value = {1'b0, value_q[s*Width +: Width]};
            wire [RestBits:0]   difference = {1'b0, rest} - {1'b0, value};
            assign fits[s] = ~difference[RestBits];
            assign left[s*Width +: Width] = fits[s] ? difference[Width-1:0] : rest[Width-1:0];
        end
    endgenerate

    integer i;
    always @(posedge clk_i) begin
        top_q <= top;
        first_q <= value_i;
        rest_q[0 +: RestBits] <= {1'b0, top_q};
        value_q[0 +: Width] <= first_q;
        r_q[0 +: 17] <= 17'd0;
        n_q[0 +: 6] <= length;
        // What is left is below the divisor: doubling it loses no bit.
        for (i = 0; i < Steps - 1; i = i + 1) begin
            rest_q[(i+1)*RestBits +: RestBits] <= {left[i*Width +: Width], 1'b0};
            value_q[(i+1)*Width +: Width] <= value_q[i*Width +: Width];
        end
        for (i = 0; i < Steps; i = i + 1) begin
            r_q[(i+1)*17 +: 17] <= {r_q[i*17 +: 16], fits[i]};
            n_q[(i+1)*6 +: 6] <= n_q[i*6 +: 6];
        end
        if (!rst_ni) valid_q <= {Latency{1'b0}};
        else valid_q <= {valid_q[Latency-2:0], valid_i};
    end

    assign valid_o = valid_q[Latency-1];
    assign r_o = r_q[Steps*17 +: 17];
    assign n_o = n_q[Steps*6 +: 6];

endmodule
