// Commands: IDENTIFY, LOAD and RUN (docs/program-format.md), their status, and the counters of RUN.
//
// A RUN that meets damaged data waits for the steps before it, drops what the memory still sends, and resets every unit
// but the registers (`unit_rst_no`).
module command_control #(
    parameter [31:0] CommandIdentify = 0,
    parameter [31:0] CommandLoad = 1,
    parameter [31:0] CommandRun = 2,
    parameter [31:0] StatusOk = 0,
    parameter [31:0] StatusBadStep = 5,
    parameter [31:0] StatusNotLoaded = 7,
    parameter [31:0] StatusBadCommand = 8
) (
    input  wire        clk_i,
    input  wire        rst_ni,
    input  wire        start_i,
    input  wire [31:0] command_i,
    output wire        finish_o,

    output wire        load_start_o,
    // The memory reader serves the loader.
    output wire        loading_o,
    input  wire        load_done_i,
    input  wire [31:0] load_status_i,
    input  wire [31:0] load_failed_step_i,
    input  wire        loaded_i,

    output wire        run_start_o,
    output wire        run_stop_o,
    input  wire        front_finished_i,
    input  wire        front_failed_i,
    input  wire [31:0] front_status_i,
    input  wire [31:0] front_failed_step_i,
    input  wire        empty_frame_i,
    input  wire        dispatch_idle_i,
    input  wire        dispatch_failing_i,
    input  wire        dispatch_failed_i,
    input  wire [31:0] dispatch_failed_step_i,
    input  wire        frame_i,
    output wire        flush_o,
    input  wire        reader_idle_i,
    output wire        unit_rst_no,

    input  wire        stall_input_i,
    input  wire        stall_output_i,
    input  wire        stall_memory_i,

    output wire [31:0] status_o,
    output wire [31:0] failed_step_o,
    output wire [31:0] frames_done_o,
    output wire [63:0] cycles_o,
    output wire [31:0] stall_input_o,
    output wire [31:0] stall_output_o,
    output wire [31:0] stall_memory_o
);

    localparam [2:0] Idle = 0, Load = 1, RunStart = 2, Run = 3, Flush = 4, Reset = 5, Finish = 6;
    localparam [31:0] NoStep = 32'hFFFFFFFF;
    localparam [2:0] ResetCycles = 4;

    reg [2:0]  state_q, reset_q;
    reg        load_start_q;
    reg [31:0] status_q, failed_step_q, frames_q, stall_input_q, stall_output_q, stall_memory_q;
    reg [63:0] cycles_q;

    wire running = state_q == RunStart || state_q == Run;

    assign finish_o = state_q == Finish;
    assign load_start_o = load_start_q;
    assign loading_o = state_q == Load;
    assign run_start_o = state_q == RunStart;
    assign run_stop_o = dispatch_failing_i;
    assign flush_o = state_q == Flush;
    assign unit_rst_no = rst_ni && state_q != Reset;
    assign status_o = status_q;
    assign failed_step_o = failed_step_q;
    assign frames_done_o = frames_q;
    assign cycles_o = cycles_q;
    assign stall_input_o = stall_input_q;
    assign stall_output_o = stall_output_q;
    assign stall_memory_o = stall_memory_q;

    // Counted a cycle late, all of them before the command ends: nothing stalls when everything is done.
    reg [2:0] stalls_q;
    always @(posedge clk_i) begin
        stalls_q <= running ? {stall_memory_i, stall_output_i, stall_input_i} : 3'd0;
        load_start_q <= state_q == Idle && start_i && command_i == CommandLoad;
        if (state_q == Idle) begin
            if (start_i) begin
                frames_q <= 32'd0;
                cycles_q <= 64'd0;
                stall_input_q <= 32'd0;
                stall_output_q <= 32'd0;
                stall_memory_q <= 32'd0;
            end
        end else if (running) begin
            cycles_q <= cycles_q + 64'd1;
            frames_q <= frames_q + {31'd0, frame_i || empty_frame_i};
            stall_input_q <= stall_input_q + {31'd0, stalls_q[0]};
            stall_output_q <= stall_output_q + {31'd0, stalls_q[1]};
            stall_memory_q <= stall_memory_q + {31'd0, stalls_q[2]};
        end
        if (!rst_ni) begin
            state_q <= Idle;
            load_start_q <= 1'b0;
            status_q <= StatusOk;
            failed_step_q <= NoStep;
        end else begin
            case (state_q)
                Idle: if (start_i) begin
                    status_q <= StatusOk;
                    failed_step_q <= NoStep;
                    case (command_i)
                        CommandIdentify: state_q <= Finish;
                        CommandLoad: state_q <= Load;
                        CommandRun: begin
                            state_q <= loaded_i ? RunStart : Finish;
                            if (!loaded_i) status_q <= StatusNotLoaded;
                        end
                        default: begin
                            state_q <= Finish;
                            status_q <= StatusBadCommand;
                        end
                    endcase
                end
                Load: if (load_done_i) begin
                    state_q <= Finish;
                    status_q <= load_status_i;
                    failed_step_q <= load_failed_step_i;
                end
                RunStart: state_q <= Run;
                Run: if (dispatch_failed_i) begin
                    state_q <= Flush;
                    status_q <= StatusBadStep;
                    failed_step_q <= dispatch_failed_step_i;
                end else if (front_finished_i && dispatch_idle_i && !dispatch_failing_i) begin
                    state_q <= Finish;
                    if (front_failed_i) begin
                        status_q <= front_status_i;
                        failed_step_q <= front_failed_step_i;
                    end
                end
                Flush: if (reader_idle_i) begin
                    state_q <= Reset;
                    reset_q <= ResetCycles;
                end
                Reset: begin
                    reset_q <= reset_q - 3'd1;
                    if (reset_q == 3'd1) state_q <= Finish;
                end
                Finish: state_q <= Idle;
                default: state_q <= Idle;
            endcase
        end
    end

endmodule
