// The front of RUN: takes each frame's length from the input stream, reads and checks the step records in order, asks
// the memory reader for their data, and hands them on. It works ahead of the steps that execute, so that data are on
// their way before a step begins.
//
// A step's record, tokens and index are offered with `entry_valid_o` until `entry_ready_i`. On an error it stops with
// `failed_o`; steps that were handed on before still run. `finished_o` stays until the next `start_i`.
module step_front #(
    parameter Steps = 16,
    parameter StreamBytes = 4,
    parameter Sequence = 16,
    parameter [31:0] StatusBadStep = 5,
    parameter [31:0] StatusBadLength = 6,
    parameter AddressBits = $clog2(16 * Steps)
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,

    input  wire                     start_i,
    input  wire                     stop_i,
    input  wire [31:0]              frames_i,
    input  wire [31:0]              steps_i,
    input  wire [31:0]              last_output_i,
    output wire                     finished_o,
    output wire                     failed_o,
    output wire [31:0]              status_o,
    output wire [31:0]              failed_step_o,
    // Frames without a step complete here.
    output wire                     empty_frame_o,
    // Waiting for a frame to begin.
    output wire                     waiting_o,

    // The input stream, while no tensor is read from it.
    input  wire                     stream_free_i,
    input  wire                     header_valid_i,
    output wire                     header_ready_o,
    input  wire [8*StreamBytes-1:0] header_i,

    output wire                     record_re_o,
    output wire [AddressBits-1:0]   record_address_o,
    input  wire [63:0]              record_data_i,

    output wire                     check_start_o,
    output wire [31:0]              check_length_o,
    input  wire                     check_done_i,
    input  wire                     check_ok_i,
    input  wire [31:0]              check_tokens_i,
    input  wire                     page_valid_i,
    input  wire [31:0]              page_offset_i,
    input  wire [31:0]              first_offset_i,
    input  wire [31:0]              first_beats_i,
    input  wire [31:0]              second_offset_i,
    input  wire [31:0]              second_beats_i,

    output wire                     span_valid_o,
    input  wire                     span_ready_i,
    output wire                     span_page_o,
    output wire [31:0]              span_offset_o,
    output wire [31:0]              span_beats_o,

    output wire                     entry_valid_o,
    input  wire                     entry_ready_i,
    // Also what the checker looks at.
    output wire [1023:0]            entry_record_o,
    output wire [31:0]              entry_tokens_o,
    output wire [31:0]              entry_index_o,
    output wire                     entry_ends_frame_o,
    output wire                     entry_last_output_o
);

    localparam [3:0] Idle = 0, Frame = 1, Header = 2, Read = 3, Gap = 4, Check = 5, Wait = 6, Page = 7, First = 8,
        Second = 9, Offer = 10, Finished = 11, Length = 12;
    localparam [31:0] MaxLength = Sequence;
    // Words of a record, 64 bits each.
    localparam [4:0] RecordWords = 16;

    reg [3:0]    state_q;
    reg [1023:0] record_q;
    reg [31:0]   frame_q, index_q, length_q, status_q, failed_step_q;
    reg [4:0]    word_q;
    reg          arriving_q, failed_q;

    // Of the record at hand, and of what the checker has found: known long before it is asked for.
    reg  last_step_q, last_output_q, first_none_q, second_none_q, no_step_q;
    always @(posedge clk_i) begin
        last_step_q <= index_q + 32'd1 == steps_i;
        last_output_q <= index_q == last_output_i;
        first_none_q <= first_beats_i == 0;
        second_none_q <= second_beats_i == 0;
        no_step_q <= steps_i == 0;
    end
    wire length_ok = length_q != 0 && length_q <= MaxLength;
    wire header_taken = header_ready_o && header_valid_i;
    wire entry_taken = entry_valid_o && entry_ready_i;

    assign finished_o = state_q == Finished;
    assign failed_o = failed_q;
    assign status_o = status_q;
    assign failed_step_o = failed_step_q;
    assign empty_frame_o = state_q == Length && length_ok && no_step_q;
    assign waiting_o = state_q == Header;

    assign header_ready_o = state_q == Header && stream_free_i && !stop_i;
    assign record_re_o = state_q == Read;
    assign record_address_o = {index_q[AddressBits-5:0], word_q[3:0]};
    assign check_start_o = state_q == Check;
    assign check_length_o = length_q;

    // Nothing is asked for where a step has no such span.
    assign span_valid_o = state_q == Page || (state_q == First && !first_none_q) || (state_q == Second && !second_none_q);
    assign span_page_o = state_q == Page;
    assign span_offset_o = state_q == Page ? page_offset_i : state_q == First ? first_offset_i : second_offset_i;
    assign span_beats_o = state_q == Page ? 32'd1 : state_q == First ? first_beats_i : second_beats_i;

    assign entry_valid_o = state_q == Offer;
    assign entry_record_o = record_q;
    assign entry_tokens_o = check_tokens_i;
    assign entry_index_o = index_q;
    assign entry_ends_frame_o = last_step_q;
    assign entry_last_output_o = last_output_q;

    always @(posedge clk_i) begin
        arriving_q <= record_re_o;
        // Word 0 arrives first and moves down to the bottom.
        if (arriving_q) record_q <= {record_data_i, record_q[1023:64]};
        if (!rst_ni) begin
            state_q <= Idle;
            failed_q <= 1'b0;
            status_q <= 32'd0;
            failed_step_q <= 32'hFFFFFFFF;
        end else begin
            case (state_q)
                Idle, Finished: if (start_i) begin
                    state_q <= Frame;
                    frame_q <= 32'd0;
                    failed_q <= 1'b0;
                    status_q <= 32'd0;
                    failed_step_q <= 32'hFFFFFFFF;
                end
                Frame: state_q <= frame_q == frames_i ? Finished : Header;
                Header: if (header_taken) begin
                    length_q <= header_i[31:0];
                    index_q <= 32'd0;
                    word_q <= 5'd0;
                    state_q <= Length;
                end
                // The stream's word comes late in a cycle.
                Length: if (!length_ok) begin
                    state_q <= Finished;
                    failed_q <= 1'b1;
                    status_q <= StatusBadLength;
                end else if (no_step_q) begin
                    frame_q <= frame_q + 32'd1;
                    state_q <= Frame;
                end else begin
                    state_q <= Read;
                end
                Read: begin
                    word_q <= word_q + 5'd1;
                    if (word_q == RecordWords - 5'd1) state_q <= Gap;
                end
                // The last word is on its way.
                Gap: state_q <= Check;
                Check: state_q <= Wait;
                Wait: if (check_done_i) begin
                    state_q <= page_valid_i ? Page : First;
                    if (!check_ok_i) begin
                        state_q <= Finished;
                        failed_q <= 1'b1;
                        status_q <= StatusBadStep;
                        failed_step_q <= index_q;
                    end
                end
                Page: if (span_ready_i) state_q <= First;
                First: if (span_ready_i || first_none_q) state_q <= Second;
                Second: if (span_ready_i || second_none_q) state_q <= Offer;
                Offer: if (entry_taken) begin
                    word_q <= 5'd0;
                    index_q <= index_q + 32'd1;
                    state_q <= Read;
                    if (last_step_q) begin
                        frame_q <= frame_q + 32'd1;
                        state_q <= Frame;
                    end
                end
                default: state_q <= Idle;
            endcase
            if (stop_i) state_q <= Finished;
        end
    end

    // An input step holds the stream until it is done: `stream_free_i` says so.
    wire unused = &{1'b0, header_i, index_q};

endmodule
