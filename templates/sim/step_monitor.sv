// Watches the sequencer of the Verilog engine and writes steps.log: a line at the start of every step and at the end of
// every command, each with what happened since the line before.
//
//     cycle  step  slots  idle  data  source
//
// `step` is the index of the step that starts, -1 at the end of a command. Since the line before: slots that the array
// took, of them idle ones that only keep a pace; cycles without a slot in which an array step waited for weights
// (`data`) or for the step before it (`source`).
module step_monitor (
    input logic        clk_i,
    input logic        rst_ni,
    input logic        start_i,
    input logic [31:0] index_i,
    input logic        finish_i,
    input logic        slot_valid_i,
    input logic        slot_zero_i,
    input logic        data_waits_i,
    input logic        source_waits_i
);

    int              file;
    longint unsigned cycle_q;
    int unsigned     slots_q, idle_q, data_q, source_q;

    initial file = $fopen("steps.log", "w");

    always_ff @(posedge clk_i) begin
        if (!rst_ni) begin
            cycle_q <= 0;
            {slots_q, idle_q, data_q, source_q} <= '0;
        end else begin
            cycle_q <= cycle_q + 1;
            slots_q <= (start_i || finish_i ? 0 : slots_q) + 32'(slot_valid_i);
            idle_q <= (start_i || finish_i ? 0 : idle_q) + 32'(slot_valid_i && slot_zero_i);
            data_q <= (start_i || finish_i ? 0 : data_q) + 32'(data_waits_i && !slot_valid_i);
            source_q <= (start_i || finish_i ? 0 : source_q) + 32'(source_waits_i && !slot_valid_i);
            if (start_i || finish_i) begin
                $fwrite(file, "%0d %0d %0d %0d %0d %0d\n", cycle_q, finish_i ? -32'sd1 : $signed(index_i), slots_q, idle_q,
                        data_q, source_q);
                $fflush(file);
            end
        end
    end

endmodule

// Internal names of the engine: flow_engine.v.
bind flow_engine step_monitor monitor (
    .clk_i(ap_clk),
    .rst_ni(ap_rst_n),
    .start_i(step_start),
    .index_i(step_index),
    .finish_i(finish),
    .slot_valid_i(slot_valid),
    .slot_zero_i(slot_zero),
    .data_waits_i(data_waits),
    .source_waits_i(source_waits)
);
