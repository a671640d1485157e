// LOAD: reads an image's header and records through the memory reader, checks them, and writes the records to the
// program memory, two words a cycle.
//
// `done_o` is high for one cycle; what it reports stays until the next `start_i`. A load that fails leaves no program.
module program_loader #(
    parameter BeatBytes = 16,
    parameter Steps = 16,
    parameter [31:0] Magic = 32'h574F4C46,
    parameter [31:0] Version = 1,
    parameter [63:0] EngineHash = 0,
    // Bit i: opcode i is compiled in.
    parameter [31:0] Opcodes = 32'hFF,
    parameter [31:0] OpcodeEnd = 0,
    parameter [31:0] OpcodeOutput = 7,
    parameter [31:0] StatusOk = 0,
    parameter [31:0] StatusBadMagic = 1,
    parameter [31:0] StatusBadVersion = 2,
    parameter [31:0] StatusWrongEngine = 3,
    parameter [31:0] StatusTooManySteps = 4,
    parameter [31:0] StatusBadStep = 5,
    parameter AddressBits = $clog2(16 * Steps)
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,

    input  wire                   start_i,
    output wire                   done_o,
    output wire [31:0]            status_o,
    output wire [31:0]            failed_step_o,
    output wire                   loaded_o,
    output wire [31:0]            steps_o,
    output wire [31:0]            image_beats_o,
    // The step whose last beat carries TLAST; all ones where there is none.
    output wire [31:0]            last_output_o,

    output wire                   span_valid_o,
    input  wire                   span_ready_i,
    output wire [31:0]            span_offset_o,
    output wire [31:0]            span_beats_o,
    input  wire                   data_valid_i,
    output wire                   data_ready_o,
    input  wire [8*BeatBytes-1:0] data_i,

    output wire                   we_o,
    output wire [AddressBits-1:0] address_o,
    output wire [63:0]            data_o
);

    localparam BeatWords = BeatBytes / 8;
    localparam BeatLog2 = $clog2(BeatBytes);
    localparam WordBits = BeatWords > 1 ? $clog2(BeatWords) : 1;
    localparam HeaderWords = 8;
    localparam RecordWords = 16;
    localparam [31:0] HeaderBeats = (8 * HeaderWords + BeatBytes - 1) / BeatBytes;
    localparam [31:0] MaxSteps = Steps;
    localparam [31:0] NoStep = 32'hFFFFFFFF;
    localparam [31:0] LastWord = BeatWords - 1;

    localparam [2:0] Idle = 0, AskHeader = 1, TakeHeader = 2, Check = 3, AskRecords = 4, TakeRecords = 5, Finish = 6, Settle = 7;

    reg [2:0]          state_q;
    reg [31:0]         magic_q, version_q, count_q, records_q, beats_q;
    reg [63:0]         hash_q;
    reg [31:0]         status_q, failed_q, steps_q, last_output_q;
    reg                loaded_q, ended_q;
    // Words of the span taken so far, and those of them that belong to records.
    reg [WordBits-1:0] word_q;
    reg [31:0]         left_q, taken_q;
    reg [WordBits:0]   skip_q;

    wire taking = state_q == TakeHeader || state_q == TakeRecords;
    wire take = taking && data_valid_i;
    wire [63:0] word = data_i[64*word_q +: 64];
    wire beat_end = word_q == LastWord[WordBits-1:0];

    assign data_ready_o = taking && beat_end;
    assign span_valid_o = state_q == AskHeader || state_q == AskRecords;
    assign span_offset_o = state_q == AskHeader ? 32'd0 : records_q >> BeatLog2;
    // The end of the records, rounded up to beats; at most 2^32 bytes and a few records away.
    wire [32:0] end_byte = {1'b0, records_q} + {1'b0, count_q[24:0], 7'd0};
    wire [39:0] image_bytes = {8'd0, beats_q} << BeatLog2;
    reg  [32:0] end_beat_q;
    assign span_beats_o = state_q == AskHeader ? HeaderBeats : end_beat_q[31:0] - span_offset_o;

    assign done_o = state_q == Finish;
    assign status_o = status_q;
    assign failed_step_o = failed_q;
    assign loaded_o = loaded_q;
    assign steps_o = steps_q;
    assign image_beats_o = beats_q;
    assign last_output_o = last_output_q;

    wire        skipping = skip_q != 0;
    wire        keep = state_q == TakeRecords && take && !skipping && taken_q != most_taken_q;
    wire        opcode_word = taken_q[3:0] == 4'd0;
    reg         opcode_valid_q, settled_q, failing_q;
    reg  [31:0] opcode_q, opcode_index_q;
    wire        known = opcode_q[31:5] == 0 && Opcodes[opcode_q[4:0]];
    wire [31:0] index = {4'd0, taken_q[31:4]};
    assign we_o = keep;
    assign address_o = taken_q[AddressBits-1:0];
    assign data_o = word;

    // What the header says, checked bit by bit: nothing of it changes while the loader asks for records.
    reg  [32:0] end_byte_q;
    reg  [31:0] most_taken_q;
    reg         magic_ok_q, version_ok_q, hash_ok_q, steps_ok_q, records_ok_q;
    always @(posedge clk_i) begin
        opcode_q <= word[31:0];
        opcode_index_q <= index;
        end_byte_q <= end_byte;
        most_taken_q <= count_q * RecordWords;
        magic_ok_q <= magic_q == Magic;
        version_ok_q <= version_q == Version;
        hash_ok_q <= hash_q == EngineHash;
        steps_ok_q <= count_q <= MaxSteps;
        records_ok_q <= records_q[2:0] == 0 && records_q >= 8 * HeaderWords && {7'd0, end_byte_q} <= image_bytes;
        end_beat_q <= (end_byte_q + BeatBytes - 33'd1) >> BeatLog2;
    end

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            state_q <= Idle;
            loaded_q <= 1'b0;
            steps_q <= 32'd0;
            status_q <= StatusOk;
            failed_q <= NoStep;
            last_output_q <= NoStep;
            beats_q <= 32'd0;
            opcode_valid_q <= 1'b0;
            settled_q <= 1'b0;
            failing_q <= 1'b0;
        end else begin
            opcode_valid_q <= keep && opcode_word;
            case (state_q)
                Idle: if (start_i) begin
                    state_q <= AskHeader;
                    loaded_q <= 1'b0;
                    steps_q <= 32'd0;
                    status_q <= StatusOk;
                    failed_q <= NoStep;
                    last_output_q <= NoStep;
                    failing_q <= 1'b0;
                end
                AskHeader: if (span_ready_i) begin
                    state_q <= TakeHeader;
                    left_q <= HeaderBeats;
                    word_q <= 0;
                    taken_q <= 32'd0;
                end
                TakeHeader: if (take) begin
                    word_q <= beat_end ? 0 : word_q + 1'b1;
                    taken_q <= taken_q + 32'd1;
                    if (taken_q == 0) begin
                        magic_q <= word[31:0];
                        version_q <= word[63:32];
                    end
                    if (taken_q == 1) hash_q <= word;
                    if (taken_q == 2) begin
                        count_q <= word[31:0];
                        records_q <= word[63:32];
                    end
                    if (taken_q == 3) beats_q <= word[31:0];
                    if (beat_end) begin
                        left_q <= left_q - 32'd1;
                        if (left_q == 1) state_q <= Check;
                    end
                end
                Check: begin
                    state_q <= Finish;
                    if (!magic_ok_q) status_q <= StatusBadMagic;
                    else if (!version_ok_q) status_q <= StatusBadVersion;
                    else if (!hash_ok_q) status_q <= StatusWrongEngine;
                    else if (!steps_ok_q) status_q <= StatusTooManySteps;
                    else if (!records_ok_q) status_q <= StatusBadStep;
                    else if (count_q == 0) loaded_q <= 1'b1;
                    else state_q <= AskRecords;
                end
                AskRecords: if (span_ready_i) begin
                    state_q <= TakeRecords;
                    left_q <= span_beats_o;
                    word_q <= 0;
                    taken_q <= 32'd0;
                    skip_q <= BeatWords > 1 ? {1'b0, records_q[3 +: WordBits]} : 0;
                end
                TakeRecords: if (take) begin
                    word_q <= beat_end ? 0 : word_q + 1'b1;
                    if (skipping) skip_q <= skip_q - 1'b1;
                    if (keep) begin
                        taken_q <= taken_q + 32'd1;
                    end
                    if (beat_end) begin
                        left_q <= left_q - 32'd1;
                        if (left_q == 1) state_q <= Settle;
                    end
                end
                Settle: begin
                    settled_q <= !settled_q;
                    if (settled_q) state_q <= Finish;
                end
                Finish: begin
                    state_q <= Idle;
                end
                default: state_q <= Idle;
            endcase
            // A record's first word, a cycle later.
            if (state_q == AskRecords) begin
                ended_q <= 1'b0;
            end else if (opcode_valid_q && !ended_q) begin
                if (opcode_q == OpcodeEnd) begin
                    ended_q <= 1'b1;
                end else begin
                    steps_q <= opcode_index_q + 32'd1;
                    if (opcode_q == OpcodeOutput) last_output_q <= opcode_index_q;
                    if (!known && !failing_q) begin
                        failing_q <= 1'b1;
                        failed_q <= opcode_index_q;
                    end
                end
            end
            // A step that is not compiled in: no program at all.
            if (settled_q) begin
                loaded_q <= !failing_q;
                if (failing_q) begin
                    status_q <= StatusBadStep;
                    steps_q <= 32'd0;
                end
            end
        end
    end

    // At most a record's worth beyond 2^32 bytes.
    wire unused = &{1'b0, end_beat_q[32]};

endmodule
