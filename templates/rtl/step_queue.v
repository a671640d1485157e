// Steps between front and dispatch: the front checks up to five steps ahead, so that their data are on the way long before
// they are wanted, also where steps are short.
//
// What kind of step a record is goes with it: its unit, one of linear, attention, norm, pool, tensors in, tensors out from
// the lowest bit on; an input; a constant; a linear step that has a table or a stage's parameters (`tables_i`).
//
// `empty_o`: nothing is in the queue. `stream_free_o`: no step in it is an input.
module step_queue #(
    parameter [31:0] OpcodeInput = 1,
    parameter [31:0] OpcodeConstant = 2,
    parameter [31:0] OpcodeLinear = 3,
    parameter [31:0] OpcodeNorm = 4,
    parameter [31:0] OpcodeAttention = 5,
    parameter [31:0] OpcodePool = 6
) (
    input  wire          clk_i,
    input  wire          rst_ni,

    input  wire          valid_i,
    output wire          ready_o,
    input  wire [1023:0] record_i,
    input  wire          tables_i,
    input  wire [31:0]   tokens_i,
    input  wire [31:0]   index_i,
    input  wire          ends_frame_i,
    input  wire          last_output_i,

    output wire          valid_o,
    input  wire          ready_i,
    output wire [1023:0] record_o,
    output wire [5:0]    unit_o,
    output wire          input_o,
    output wire          constant_o,
    output wire          tables_o,
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
    wire [31:0] opcode = record_i[31:0];
    wire is_input = opcode == OpcodeInput;
    wire is_constant = opcode == OpcodeConstant;
    wire is_linear = opcode == OpcodeLinear;
    wire is_norm = opcode == OpcodeNorm;
    wire is_attention = opcode == OpcodeAttention;
    wire is_pool = opcode == OpcodePool;
    wire is_reader = is_input || is_constant;
    wire is_writer = !(is_reader || is_linear || is_norm || is_attention || is_pool);
    wire push_input = push && is_input;
    wire pop_input = pop && input_o;

    assign empty_o = steps_q == 0;
    assign stream_free_o = inputs_q == 0;

    fifo #(.Width(1099), .DepthLog2(2)) steps (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(valid_i),
        .ready_o(ready_o),
        .data_i({
            tables_i && is_linear, is_constant, is_input, is_writer, is_reader, is_pool, is_norm, is_attention, is_linear,
            last_output_i, ends_frame_i, index_i, tokens_i, record_i
        }),
        .valid_o(valid_o),
        .ready_i(ready_i),
        .data_o({tables_o, constant_o, input_o, unit_o, last_output_o, ends_frame_o, index_o, tokens_o, record_o})
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
