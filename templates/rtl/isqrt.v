// floor(sqrt(value)), `Width` an even number of bits.
//
// Digit by digit, a bit of the root a cycle: the root exactly Width/2 cycles after its value (a value sampled at the end
// of cycle t is answered in cycle t + Width/2). A value stays `Fold` cycles in each stage, so that values come at least
// `Fold` cycles apart, and there are that much fewer stages.
module isqrt #(
    parameter Width = 64,
    parameter Fold = 1
) (
    input  wire               clk_i,
    input  wire               rst_ni,
    input  wire               valid_i,
    input  wire [Width-1:0]   value_i,
    output wire               valid_o,
    output wire [Width/2-1:0] root_o
);

    localparam Steps = Width / 2;
    localparam Stages = (Steps + Fold - 1) / Fold;
    // The rest of a digit is at most twice its root; two more bits come in before the comparison.
    localparam TrialBits = Steps + 2;

    // Bit i of valid: a value came i cycles ago.
    reg  [Steps-1:0] valid_q;
    wire [Steps-1:0] valid = {valid_q[Steps-2:0], valid_i};
    always @(posedge clk_i) begin
        if (!rst_ni) valid_q <= {Steps{1'b0}};
        else valid_q <= valid;
    end

    // Field i is what stage i takes over: field 0 is wired to the input.
    wire [Steps*(Stages+1)-1:0] root;
    // verilator lint_off UNUSEDSIGNAL
    // Behind the last stage the root alone matters.
    wire [Width*(Stages+1)-1:0] value;
    wire [Steps*(Stages+1)-1:0] rest;
    // verilator lint_on UNUSEDSIGNAL
    assign value[0 +: Width] = value_i;
    assign rest[0 +: Steps] = {Steps{1'b0}};
    assign root[0 +: Steps] = {Steps{1'b0}};
    genvar s;
    generate
        for (s = 0; s < Stages; s = s + 1) begin : stage
            reg  [Width-1:0]     value_q;
            reg  [Steps-1:0]     rest_q, root_q;
            wire                 takes = Fold == 1 || valid[s*Fold];
            wire [Width-1:0]     value_now = takes ? value[s*Width +: Width] : value_q;
            wire [Steps-1:0]     rest_now = takes ? rest[s*Steps +: Steps] : rest_q;
            wire [Steps-1:0]     root_now = takes ? root[s*Steps +: Steps] : root_q;
            wire [TrialBits-1:0] taken = {rest_now, value_now[Width-1 -: 2]};
            wire [TrialBits-1:0] trial = {root_now, 2'b01};
            wire [TrialBits:0]   difference = {1'b0, taken} - {1'b0, trial};
            wire                 fits = ~difference[TrialBits];
            always @(posedge clk_i) begin
                value_q <= {value_now[Width-3:0], 2'b00};
                rest_q <= fits ? difference[Steps-1:0] : taken[Steps-1:0];
                root_q <= {root_now[Steps-2:0], fits};
            end
            assign value[(s+1)*Width +: Width] = value_q;
            assign rest[(s+1)*Steps +: Steps] = rest_q;
            assign root[(s+1)*Steps +: Steps] = root_q;
        end
    endgenerate

    assign valid_o = valid_q[Steps-1];
    assign root_o = root[Stages*Steps +: Steps];

endmodule
