// Steps between front and dispatch: the front checks up to five steps ahead, so that their data are on the way long before
// they are wanted, also where steps are short.
//
// `empty_o`: nothing is in the queue. `stream_free_o`: no step in it has opcode `OpcodeInput`.
module step_queue #(
    parameter [31:0] OpcodeInput = 1
) (
    input  wire          clk_i,
    input  wire          rst_ni,

    input  wire          valid_i,
    output wire          ready_o,
    input  wire [1023:0] record_i,
    input  wire [31:0]   tokens_i,
    input  wire [31:0]   index_i,
    input  wire          ends_frame_i,
    input  wire          last_output_i,

    output wire          valid_o,
    input  wire          ready_i,
    output wire [1023:0] record_o,
    output wire [31:0]   tokens_o,
    output wire [31:0]   index_o,
    output wire          ends_frame_o,
    output wire          last_output_o,

    output wire          empty_o,
    output wire          stream_free_o
);

    // At most four steps in the memory and one in front of it.
    reg [2:0] steps_q, inputs_q;

    wire push = valid_i && ready_o;
    wire pop = valid_o && ready_i;
    wire push_input = push && record_i[31:0] == OpcodeInput;
    wire pop_input = pop && record_o[31:0] == OpcodeInput;

    assign empty_o = steps_q == 0;
    assign stream_free_o = inputs_q == 0;

    fifo #(.Width(1090), .DepthLog2(2)) steps (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(valid_i),
        .ready_o(ready_o),
        .data_i({last_output_i, ends_frame_i, index_i, tokens_i, record_i}),
        .valid_o(valid_o),
        .ready_i(ready_i),
        .data_o({last_output_o, ends_frame_o, index_o, tokens_o, record_o})
    );

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            steps_q <= 3'd0;
            inputs_q <= 3'd0;
        end else begin
            steps_q <= steps_q + {2'd0, push} - {2'd0, pop};
            inputs_q <= inputs_q + {2'd0, push_input} - {2'd0, pop_input};
        end
    end

endmodule
