// Steps in order: their data to the unit that takes them (load), and their work to the unit that does it (execute).
//
// Loading runs up to two steps ahead of execution. A step starts when the one before it has read all that it reads
// (`issued`) and everything older is written (`done`); it then follows the one before it tile by tile
// (`source_tiles_o`). That order is enough for every hazard: the units' pipelines read before they write, and a unit
// that writes soon after its start waits for `done`.
//
// Array steps (linear, attention) alternate between two parities, which name the double-buffered tables and constants of
// stages; these are loaded once the array steps before of the same parity have left the pipeline, `DrainCycles` after
// their last slots. Row groups need no parity: they queue in the weight loader. Norm and attention start before their
// constants have come, and wait for them where they need them.
module step_dispatch #(
    parameter DrainCycles = 64
) (
    input  wire          clk_i,
    input  wire          rst_ni,

    input  wire          entry_valid_i,
    output wire          entry_ready_o,
    input  wire [1023:0] entry_record_i,
    input  wire [31:0]   entry_tokens_i,
    input  wire [31:0]   entry_index_i,
    input  wire          entry_ends_frame_i,
    input  wire          entry_last_output_i,
    // Its unit (step_queue.v); an input; a constant; a linear step that has a table or a stage's parameters.
    input  wire [5:0]    entry_unit_i,
    input  wire          entry_input_i,
    input  wire          entry_constant_i,
    input  wire          entry_tables_i,
    // No step in hand reads the input stream.
    output wire          stream_free_o,
    // Nothing loads, waits or executes.
    output wire          idle_o,
    // One cycle for each frame whose last step is done.
    output wire          frame_o,

    // Damaged data: `failed_o` with the step's index, once all older steps are written.
    input  wire          load_error_i,
    output wire          failing_o,
    output wire          failed_o,
    output wire [31:0]   failed_step_o,

    output wire [1023:0] load_record_o,
    output wire [31:0]   load_tokens_o,
    output wire          load_parity_o,
    output wire          load_linear_o,
    output wire          load_norm_o,
    output wire          load_attention_o,
    output wire          load_constant_o,
    output wire          load_start_o,
    input  wire          linear_loaded_i,
    input  wire          norm_loaded_i,
    input  wire          attention_loaded_i,

    output wire [1023:0] record_o,
    output wire [31:0]   tokens_o,
    output wire          parity_o,
    output wire          last_output_o,
    output wire          start_linear_o,
    output wire          start_attention_o,
    output wire          start_norm_o,
    output wire          start_pool_o,
    output wire          start_reader_o,
    output wire          start_writer_o,
    output wire [15:0]   source_tiles_o,
    // The unit at work: monitors and stall counters look at these.
    output wire [5:0]    active_o,
    output wire [31:0]   index_o,

    input  wire          slot_valid_i,
    input  wire          linear_issued_i,
    // By parity, as a linear step's results are written.
    input  wire [31:0]   linear_ready_i,
    input  wire          attention_issued_i,
    input  wire          attention_done_i,
    input  wire [15:0]   attention_ready_i,
    input  wire          norm_issued_i,
    input  wire          norm_done_i,
    input  wire [15:0]   norm_ready_i,
    input  wire          pool_done_i,
    input  wire          reader_done_i,
    input  wire          writer_done_i
);

    localparam UnitBits = 6;
    // Bits of a unit.
    localparam Linear = 0, Attention = 1, Norm = 2, Pool = 3, Reader = 4, Writer = 5;
    localparam [31:0] Drain = DrainCycles;
    localparam DrainBits = $clog2(DrainCycles + 1);
    localparam [15:0] AllTiles = 16'hFFFF;

    // Loading.
    localparam [1:0] LoadIdle = 0, LoadStart = 1, LoadWait = 2;
    reg [1:0]          load_state_q;
    reg [1023:0]       load_record_q;
    reg [31:0]         load_tokens_q, load_index_q;
    reg [UnitBits-1:0] load_unit_q;
    reg                load_constant_q, load_parity_q, loads_linear_q, loads_norm_q, loads_attention_q, loads_constant_q;
    // Of each parity, array steps that are loaded, loading or at work.
    reg [2:0]          used0_q, used1_q;
    reg                next_parity_q;

    // Steps that are loaded or loading and have not started: two of them.
    reg [1:0]          waiting_q;
    reg [1023:0]       record0_q, record1_q;
    reg [31:0]         tokens0_q, tokens1_q, index0_q, index1_q;
    reg [UnitBits-1:0] unit0_q, unit1_q;
    reg                parity0_q, parity1_q, ends0_q, ends1_q, last0_q, last1_q;
    reg                input0_q, input1_q, constant0_q, constant1_q;

    // Executing: the step that started last, and the one before it.
    reg [1023:0]       record_q;
    reg [31:0]         tokens_q, index_q;
    reg [UnitBits-1:0] unit_q, before_unit_q, start_q;
    reg                parity_q, last_output_q, before_parity_q, before_done_q, starting_q;
    reg                go_q, started_q;
    reg [15:0]         ready_q;
    wire               start = go_q;
    reg [15:0]         source_tiles_q;
    reg                array_parity_q;
    reg [DrainBits-1:0] drain0_q, drain1_q;
    // Inputs in hand: one executes, two wait.
    reg [1:0]          inputs_q;
    reg                failing_q, input_q, ends_q;

    // What kind of step stands at the entrance.
    wire entry_array = entry_unit_i[Linear] || entry_unit_i[Attention];
    wire parity_free = next_parity_q ? used1_q == 0 : used0_q == 0;
    assign entry_ready_o = load_state_q == LoadIdle && waiting_q != 2'd2 && (!entry_tables_i || parity_free) && !failing_q;
    wire accept = entry_valid_i && entry_ready_o;
    wire entry_loads = entry_array || entry_unit_i[Norm] || entry_constant_i;

    // A constant's data are taken while it executes.
    reg constant_started_q;
    wire load_done = load_constant_q ? constant_started_q && !starting_q && reader_done_q
        : load_unit_q[Linear] ? linear_loaded_i
        : load_unit_q[Norm] ? norm_loaded_i : attention_loaded_i;
    wire loaded = load_state_q == LoadWait && load_done && !load_error_i;

    assign load_record_o = load_record_q;
    assign load_tokens_o = load_tokens_q;
    assign load_parity_o = load_parity_q;
    assign load_linear_o = loads_linear_q;
    assign load_norm_o = loads_norm_q;
    assign load_attention_o = loads_attention_q;
    assign load_constant_o = loads_constant_q;
    assign load_start_o = load_state_q == LoadStart;

    // What the unit at work and the one before it say of themselves, a cycle late: each of it ends a long way through a
    // unit. Of a step that has just been started, nothing is to be looked at; of the one before it, what it says itself.
    reg said_issued_q, said_done_q, said_before_q, reader_done_q;
    wire [UnitBits-1:0] said_unit = start ? unit_q : before_unit_q;
    always @(posedge clk_i) begin
        said_issued_q <= unit_q[Linear] ? linear_issued_i
            : unit_q[Attention] ? attention_issued_i
            : unit_q[Norm] ? norm_issued_i
            : unit_q[Pool] ? pool_done_i : unit_q[Reader] ? reader_done_i : writer_done_i;
        said_done_q <= unit_q[Attention] ? attention_done_i : unit_q[Norm] ? norm_done_i : 1'b1;
        said_before_q <= said_unit[Linear] ? 1'b1 : said_unit[Attention] ? attention_done_i : norm_done_i;
        reader_done_q <= reader_done_i;
    end

    // Executing.
    reg  drained0_q, drained1_q;
    wire drained = parity_q ? drained1_q : drained0_q;
    wire before_drained = before_parity_q ? drained1_q : drained0_q;
    wire is_array = unit_q[Linear] || unit_q[Attention];
    wire before_array = before_unit_q[Linear] || before_unit_q[Attention];
    wire issued = !starting_q && said_issued_q;
    wire done = issued && said_done_q && (!is_array || drained);
    wire before_done_now = said_before_q && (!before_array || before_drained);
    // A step whose unit is not taken again until it is done; the others are followed tile by tile.
    wire head_streams = unit0_q[Linear] || unit0_q[Attention] || unit0_q[Norm];
    wire streams = is_array || unit_q[Norm];
    wire again = (unit0_q[Attention] && unit_q[Attention]) || (unit0_q[Norm] && unit_q[Norm]);
    wire follows = streams && head_streams && !again;
    // What loads was accepted last: it stands at the head where nothing waits behind it.
    wire head_loads = load_state_q != LoadIdle && waiting_q == 2'd1;
    // What is decided is done a cycle later: it moves thousands of bits. Nothing that allowed it goes away meanwhile.
    wire startable = waiting_q != 0 && !starting_q && !start && (follows ? issued : done) && before_done_q
        && !(head_loads && failing_q);

    // Array steps that end: the one before the last at once, the last where another one follows it.
    wire ends = start && is_array && done;
    wire before_ends = before_done_now && !before_done_q && before_array;
    wire take0 = accept && entry_array && !next_parity_q;
    wire take1 = accept && entry_array && next_parity_q;
    wire [2:0] free0 = {2'd0, ends && !parity_q} + {2'd0, before_ends && !before_parity_q};
    wire [2:0] free1 = {2'd0, ends && parity_q} + {2'd0, before_ends && before_parity_q};

    assign record_o = record_q;
    assign tokens_o = tokens_q;
    assign parity_o = parity_q;
    assign last_output_o = last_output_q;
    assign start_linear_o = start_q[Linear];
    assign start_attention_o = start_q[Attention];
    assign start_norm_o = start_q[Norm];
    assign start_pool_o = start_q[Pool];
    assign start_reader_o = start_q[Reader];
    assign start_writer_o = start_q[Writer];
    assign source_tiles_o = source_tiles_q;
    assign active_o = done ? {UnitBits{1'b0}} : unit_q;
    assign index_o = index_q;
    assign frame_o = ends_q && !starting_q && (done || start);
    assign stream_free_o = inputs_q == 0;
    assign idle_o = load_state_q == LoadIdle && waiting_q == 0 && done && before_done_q;

    // The failing step loads; where it has started, nothing older is left but the one before it.
    assign failing_o = failing_q;
    assign failed_o = failing_q && before_done_q && (waiting_q == 0 || (waiting_q == 2'd1 && done));
    assign failed_step_o = load_index_q;

    wire [15:0] ready = before_unit_q[Linear] ? (before_parity_q ? linear_ready_i[31:16] : linear_ready_i[15:0])
        : before_unit_q[Attention] ? attention_ready_i
        : before_unit_q[Norm] ? norm_ready_i : 16'd0;
    wire input_ends = input_q && issued;
    wire array_busy = !starting_q && is_array && !(said_issued_q && said_done_q);
    wire fill0 = !array_parity_q && (array_busy || start_q[Linear] || start_q[Attention] || slot_valid_i);
    wire fill1 = array_parity_q && (array_busy || start_q[Linear] || start_q[Attention] || slot_valid_i);

    always @(posedge clk_i) begin
        if (accept) begin
            load_record_q <= entry_record_i;
            load_tokens_q <= entry_tokens_i;
            load_index_q <= entry_index_i;
            load_unit_q <= entry_unit_i;
            load_constant_q <= entry_constant_i;
            load_parity_q <= next_parity_q;
        end
        // The queue's head moves down; what is accepted goes behind it.
        if (start) begin
            record_q <= record0_q;
            tokens_q <= tokens0_q;
            index_q <= index0_q;
            parity_q <= parity0_q;
            last_output_q <= last0_q;
            record0_q <= record1_q;
            tokens0_q <= tokens1_q;
            index0_q <= index1_q;
            unit0_q <= unit1_q;
            input0_q <= input1_q;
            constant0_q <= constant1_q;
            parity0_q <= parity1_q;
            ends0_q <= ends1_q;
            last0_q <= last1_q;
        end
        if (accept) begin
            if (waiting_q == 0 || (start && waiting_q == 2'd1)) begin
                record0_q <= entry_record_i;
                tokens0_q <= entry_tokens_i;
                index0_q <= entry_index_i;
                unit0_q <= entry_unit_i;
                input0_q <= entry_input_i;
                constant0_q <= entry_constant_i;
                parity0_q <= next_parity_q;
                ends0_q <= entry_ends_frame_i;
                last0_q <= entry_last_output_i;
            end else begin
                record1_q <= entry_record_i;
                tokens1_q <= entry_tokens_i;
                index1_q <= entry_index_i;
                unit1_q <= entry_unit_i;
                input1_q <= entry_input_i;
                constant1_q <= entry_constant_i;
                parity1_q <= next_parity_q;
                ends1_q <= entry_ends_frame_i;
                last1_q <= entry_last_output_i;
            end
        end
        if (!rst_ni) begin
            load_state_q <= LoadIdle;
            used0_q <= 3'd0;
            used1_q <= 3'd0;
            next_parity_q <= 1'b0;
            waiting_q <= 2'd0;
            unit_q <= {UnitBits{1'b0}};
            before_unit_q <= {UnitBits{1'b0}};
            before_done_q <= 1'b1;
            start_q <= {UnitBits{1'b0}};
            starting_q <= 1'b0;
            started_q <= 1'b0;
            ready_q <= 16'd0;
            go_q <= 1'b0;
            source_tiles_q <= AllTiles;
            array_parity_q <= 1'b0;
            drain0_q <= 0;
            drain1_q <= 0;
            drained0_q <= 1'b1;
            drained1_q <= 1'b1;
            {loads_linear_q, loads_norm_q, loads_attention_q, loads_constant_q} <= 4'd0;
            inputs_q <= 2'd0;
            failing_q <= 1'b0;
            input_q <= 1'b0;
            ends_q <= 1'b0;
            constant_started_q <= 1'b0;
        end else begin
            case (load_state_q)
                LoadIdle: if (accept && entry_loads) load_state_q <= LoadStart;
                LoadStart: load_state_q <= LoadWait;
                default: if (loaded) load_state_q <= LoadIdle;
            endcase
            // Who takes data, as long as a step loads.
            if (accept && entry_loads) begin
                loads_linear_q <= entry_unit_i[Linear];
                loads_norm_q <= entry_unit_i[Norm];
                loads_attention_q <= entry_unit_i[Attention];
                loads_constant_q <= entry_constant_i;
            end else if (loaded) begin
                {loads_linear_q, loads_norm_q, loads_attention_q, loads_constant_q} <= 4'd0;
            end
            if (load_error_i && load_state_q == LoadWait) failing_q <= 1'b1;
            if (accept && entry_array) next_parity_q <= !next_parity_q;
            waiting_q <= waiting_q + {1'b0, accept} - {1'b0, start};
            used0_q <= used0_q + {2'd0, take0} - free0;
            used1_q <= used1_q + {2'd0, take1} - free1;

            // A start pulse lasts a cycle; what the unit says of itself counts from the cycle after it, and comes late.
            go_q <= startable;
            started_q <= start;
            starting_q <= start || started_q;
            // Of the step that is now the one before: nothing of it is known in the cycle of the start.
            ready_q <= start ? 16'd0 : ready;
            start_q <= start ? unit0_q : {UnitBits{1'b0}};
            if (start) begin
                unit_q <= unit0_q;
                before_unit_q <= unit_q;
                before_parity_q <= parity_q;
                before_done_q <= done;
                input_q <= input0_q;
                constant_started_q <= constant0_q;
                source_tiles_q <= done ? AllTiles : 16'd0;
                if (unit0_q[Linear] || unit0_q[Attention]) array_parity_q <= parity0_q;
                ends_q <= ends0_q;
            end else begin
                if (frame_o) ends_q <= 1'b0;
                if (before_done_now) before_done_q <= 1'b1;
                if (before_done_q || before_done_now) source_tiles_q <= AllTiles;
                else if (ready_q > source_tiles_q) source_tiles_q <= ready_q;
                if (input_ends) input_q <= 1'b0;
            end
            inputs_q <= inputs_q + {1'd0, accept && entry_input_i} - {1'd0, input_ends};

            // Results leave the pipeline a fixed time after their slots.
            if (fill0) drain0_q <= Drain[DrainBits-1:0];
            else if (!drained0_q) drain0_q <= drain0_q - 1'b1;
            drained0_q <= !fill0 && (drained0_q || drain0_q == 1);
            if (fill1) drain1_q <= Drain[DrainBits-1:0];
            else if (!drained1_q) drain1_q <= drain1_q - 1'b1;
            drained1_q <= !fill1 && (drained1_q || drain1_q == 1);
        end
    end

endmodule
