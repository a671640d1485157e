// floor(sqrt(value)), `Width` an even number of bits.
//
// Digit by digit, a bit of the root a stage: a value every cycle, the root exactly Width/2 cycles after it (a value
// sampled at the end of cycle t is answered in cycle t + Width/2).
module isqrt #(
    parameter Width = 64
) (
    input  wire               clk_i,
    input  wire               rst_ni,
    input  wire               valid_i,
    input  wire [Width-1:0]   value_i,
    output wire               valid_o,
    output wire [Width/2-1:0] root_o
);

    localparam Steps = Width / 2;
    // The rest of a stage is at most twice its root; two more bits come in before the comparison.
    localparam TrialBits = Steps + 2;

    // Field i is what stage i starts from: field 0 is wired to the input.
    reg  [Steps-1:0]           valid_q;
    reg  [Width*(Steps-1)-1:0] value_q;
    reg  [Steps*(Steps-1)-1:0] rest_q;
    reg  [Steps*Steps-1:0]     root_q;
    wire [Width*Steps-1:0]     value = {value_q, value_i};
    wire [Steps*Steps-1:0]     rest = {rest_q, {Steps{1'b0}}};
    wire [Steps*Steps-1:0]     root = {root_q[Steps*(Steps-1)-1:0], {Steps{1'b0}}};
    wire [Steps-1:0]           fits;
    wire [Steps*Steps-1:0]     left;
    genvar s;
    generate
        for (s = 0; s < Steps; s = s + 1) begin : step
            wire [TrialBits-1:0] taken = {rest[s*Steps +: Steps], value[s*Width + Width - 2 +: 2]};
            wire [TrialBits-1:0] trial = {root[s*Steps +: Steps], 2'b01};
            wire [TrialBits:0]   difference = {1'b0, taken} - {1'b0, trial};
            assign fits[s] = ~difference[TrialBits];
            assign left[s*Steps +: Steps] = fits[s] ? difference[Steps-1:0] : taken[Steps-1:0];
        end
    endgenerate

    integer i;
    always @(posedge clk_i) begin
        for (i = 0; i < Steps - 1; i = i + 1) begin
            value_q[i*Width +: Width] <= {value[i*Width +: Width-2], 2'b00};
            rest_q[i*Steps +: Steps] <= left[i*Steps +: Steps];
        end
        for (i = 0; i < Steps; i = i + 1) begin
            root_q[i*Steps +: Steps] <= {root[i*Steps +: Steps-1], fits[i]};
        end
        if (!rst_ni) valid_q <= {Steps{1'b0}};
        else valid_q <= {valid_q[Steps-2:0], valid_i};
    end

    assign valid_o = valid_q[Steps-1];
    assign root_o = root_q[(Steps-1)*Steps +: Steps];

endmodule
