// Carries out the requests of a host and writes the answers: memory, registers, streams. docs/chip.md gives the format.
//
// One request at a time, in three phases: it is checked (Check), its words are moved (Execute, one word a step for writes
// and none for reads), and the answer is sent (Header, Words, Sum), whose words are fetched one by one as they leave.
// A request that is repeated because its answer was lost does no harm: words of the streams are numbered from the last
// reset on, and a request says which it means.
//
// `engine_rst_no` is low for 16 cycles after reset and after the request RESET.
module shell_commands #(
    parameter Version = 1,
    parameter BeatBytes = 8,
    parameter StreamBytes = 8,
    parameter ImageWords = 1024,
    parameter WordBits = 12,
    parameter ControlBits = 8,
    parameter BufferLog2 = 9
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,

    // The request (packet_receiver.v).
    input  wire                     request_valid_i,
    input  wire                     request_intact_i,
    input  wire [7:0]               request_opcode_i,
    input  wire [15:0]              request_count_i,
    input  wire [31:0]              request_address_i,
    output wire                     request_done_o,
    output wire [BufferLog2-1:0]    request_index_o,
    input  wire [31:0]              request_word_i,

    // Bytes of the answer.
    output wire                     byte_valid_o,
    input  wire                     byte_ready_i,
    output wire [7:0]               byte_o,

    // The image (chip_image.v).
    output wire                     memory_we_o,
    output wire                     memory_re_o,
    output wire [WordBits-1:0]      memory_word_o,
    output wire [31:0]              memory_wdata_o,
    input  wire                     memory_ready_i,
    input  wire                     memory_valid_i,
    input  wire [31:0]              memory_data_i,

    // AXI4-Lite.
    output wire [ControlBits-1:0]   awaddr_o,
    output wire                     awvalid_o,
    input  wire                     awready_i,
    output wire [31:0]              wdata_o,
    output wire                     wvalid_o,
    input  wire                     wready_i,
    input  wire                     bvalid_i,
    output wire                     bready_o,
    output wire [ControlBits-1:0]   araddr_o,
    output wire                     arvalid_o,
    input  wire                     arready_i,
    input  wire [31:0]              rdata_i,
    input  wire                     rvalid_i,
    output wire                     rready_o,

    // Words to and from the streams (stream_buffers.v).
    output wire                     send_valid_o,
    output wire [31:0]              send_word_o,
    input  wire [15:0]              send_room_i,
    output wire                     receive_commit_o,
    output wire [31:0]              receive_address_o,
    input  wire [31:0]              received_i,
    input  wire [31:0]              committed_i,
    input  wire [31:0]              receive_word_i,

    output wire                     engine_rst_no,
    output wire                     refused_o
);

    localparam [7:0] Ping = 8'h00, ReadMemory = 8'h01, ReadRegister = 8'h02, Receive = 8'h03, Reset = 8'h04;
    localparam [7:0] WriteMemory = 8'h41, WriteRegister = 8'h42, Send = 8'h43;
    localparam [5:0] Ok = 0, BadChecksum = 1, BadOpcode = 2, BadAddress = 3, BadCount = 4;
    localparam [7:0] Sync = 8'hF2;
    localparam StreamWords = StreamBytes / 4;
    localparam [31:0] Magic = 32'h504C4843;
    localparam [15:0] PingWords = 5;
    localparam [31:0] Words = ImageWords;
    localparam [31:0] Registers = 1 << (ControlBits - 2);
    localparam [15:0] MostWords = 1 << BufferLog2;

    localparam [2:0] Wait = 0, Check = 1, Fetch = 2, Execute = 3, Header = 4, Load = 5, Bytes = 6, Sum = 7;

    reg [2:0]  state_q;
    reg [5:0]  status_q;
    reg [15:0] count_q;
    reg [15:0] index_q;
    reg [31:0] address_q, sent_q, word_q;
    reg [2:0]  at_q;
    reg [15:0] crc_q;
    reg        issued_q, address_done_q, data_done_q;
    reg [4:0]  reset_q;
    reg        receive_commit_q;
    // A request has been there for a cycle.
    reg        waited_q;

    // ---- Check. Words of memory and registers are addressed in bytes.
    wire [31:0] first_word = {2'd0, request_address_i[31:2]};
    wire        aligned = request_address_i[1:0] == 2'd0;
    wire [31:0] count = {16'd0, request_count_i};
    wire        memory = request_opcode_i == ReadMemory || request_opcode_i == WriteMemory;
    wire        register = request_opcode_i == ReadRegister || request_opcode_i == WriteRegister;
    wire        known = memory || register || request_opcode_i == Ping || request_opcode_i == Reset
        || request_opcode_i == Send || request_opcode_i == Receive;
    // In two cycles: differences, then what is wrong.
    wire [31:0] limit = memory ? Words : Registers;
    reg         beyond_q, known_q;
    reg  [31:0] inside_q, available_words_q, consumed_q, held_q;
    always @(posedge clk_i) begin
        known_q <= known;
        beyond_q <= !aligned || first_word > limit;
        inside_q <= limit - first_word;
        available_words_q <= received_i - request_address_i;
        consumed_q <= request_address_i - committed_i;
        held_q <= received_i - committed_i;
    end
    wire        outside = beyond_q || count > inside_q;
    wire        count_wrong = request_count_i > MostWords
        || (request_opcode_i == Send && (request_count_i & (StreamWords[15:0] - 16'd1)) != 16'd0);
    // What is behind the last commit counts modulo 2^32: no more than the buffer holds.
    wire        receive_wrong = consumed_q > held_q;

    reg [5:0] checked_q;
    reg       writes_q;
    reg       reads_q;
    always @(posedge clk_i) begin
        checked_q <= !request_intact_i ? BadChecksum : !known_q ? BadOpcode : count_wrong ? BadCount
            : (memory || register) && outside ? BadAddress
            : request_opcode_i == Send && request_address_i != sent_q ? BadAddress
            : request_opcode_i == Receive && receive_wrong ? BadAddress : Ok;
        writes_q <= request_opcode_i[6];
        reads_q <= request_opcode_i == ReadMemory || request_opcode_i == ReadRegister;
    end
    reg [15:0] available_q;
    always @(posedge clk_i) begin
        available_q <= available_words_q > count ? request_count_i : available_words_q[15:0];
    end

    // ---- one word of memory or register
    wire is_memory = memory;
    wire is_write = request_opcode_i[6];
    wire access = state_q == Execute || state_q == Load;
    wire memory_access = access && is_memory && !issued_q;
    wire register_write = state_q == Execute && register;
    wire register_read = state_q == Load && register;
    assign memory_we_o = memory_access && is_write;
    assign memory_re_o = memory_access && !is_write;
    assign memory_word_o = address_q[WordBits+1:2];
    assign memory_wdata_o = request_word_i;
    assign awaddr_o = address_q[ControlBits-1:0];
    assign awvalid_o = register_write && !address_done_q;
    assign wdata_o = request_word_i;
    assign wvalid_o = register_write && !data_done_q;
    assign bready_o = register_write;
    assign araddr_o = address_q[ControlBits-1:0];
    assign arvalid_o = register_read && !issued_q;
    assign rready_o = 1'b1;
    assign send_valid_o = state_q == Execute && request_opcode_i == Send;
    assign send_word_o = request_word_i;
    assign receive_commit_o = receive_commit_q;
    assign receive_address_o = address_q;

    // The stream buffer's word comes two cycles after its address.
    reg [1:0] settle_q;

    wire written = is_memory ? memory_we_o && memory_ready_i : register ? bvalid_i : 1'b1;
    wire fetched = is_memory ? memory_valid_i : register ? rvalid_i : settle_q == 2'd3;
    reg [31:0] fetched_word;
    always @* begin
        case (request_opcode_i)
            ReadMemory: fetched_word = memory_data_i;
            ReadRegister: fetched_word = rdata_i;
            Receive: fetched_word = receive_word_i;
            default: case (index_q[2:0])
                3'd0: fetched_word = Magic;
                3'd1: fetched_word = Version;
                3'd2: fetched_word = {8'd0, StreamWords[7:0], BeatBytes[15:0]};
                3'd3: fetched_word = Words;
                default: fetched_word = sent_q;
            endcase
        endcase
    end

    // ---- the answer's bytes
    // Bit 6 of the status: the answer to a write, which carries no words.
    wire [63:0] header = {address_q, count_q, 1'b0, request_opcode_i[6], status_q, Sync};
    reg [7:0]   out;
    always @* begin
        case (state_q)
            Header: out = header[{at_q, 3'd0} +: 8];
            Sum: out = at_q[0] ? crc_q[15:8] : crc_q[7:0];
            default: out = word_q[{at_q[1:0], 3'd0} +: 8];
        endcase
    end
    wire [15:0] crc;
    crc16 crc_step (.crc_i(crc_q), .data_i(out), .crc_o(crc));
    assign byte_valid_o = state_q == Header || state_q == Bytes || state_q == Sum;
    assign byte_o = out;
    wire moved = byte_valid_o && byte_ready_i;

    wire last_word = index_q + 16'd1 == count_q;
    assign request_done_o = state_q == Sum && moved && at_q == 3'd1;
    assign request_index_o = index_q[BufferLog2-1:0];
    assign engine_rst_no = reset_q[4];
    assign refused_o = state_q == Header && status_q != Ok;

    wire accepted = checked_q == Ok;
    // SEND takes what there is room for.
    wire [15:0] taken = request_opcode_i == Send && send_room_i < request_count_i ? send_room_i : request_count_i;

    always @(posedge clk_i) begin
        word_q <= state_q == Load ? fetched_word : word_q;
        settle_q <= state_q == Load ? settle_q + 2'd1 : 2'd0;
        receive_commit_q <= state_q == Check && accepted && request_opcode_i == Receive;

        if (!rst_ni) begin
            state_q <= Wait;
            at_q <= 3'd0;
            index_q <= 16'd0;
            issued_q <= 1'b0;
            address_done_q <= 1'b0;
            data_done_q <= 1'b0;
            reset_q <= 5'd0;
            waited_q <= 1'b0;
            sent_q <= 32'd0;
            status_q <= Ok;
            count_q <= 16'd0;
            address_q <= 32'd0;
            crc_q <= 16'hFFFF;
        end else begin
            waited_q <= state_q == Wait && request_valid_i && !waited_q;
            if (!reset_q[4]) reset_q <= reset_q + 5'd1;
            if (moved && state_q != Sum) crc_q <= state_q == Header && at_q == 3'd0 ? 16'hFFFF : crc;
            case (state_q)
                // Two cycles for checked_q.
                Wait: if (waited_q) begin
                    state_q <= Check;
                    index_q <= 16'd0;
                    at_q <= 3'd0;
                end
                Check: begin
                    status_q <= checked_q;
                    address_q <= request_address_i;
                    state_q <= Header;
                    count_q <= 16'd0;
                    if (accepted) begin
                        if (writes_q) begin
                            // Of a write the count of the answer is what was taken.
                            count_q <= taken;
                            if (taken != 16'd0) state_q <= Fetch;
                        end else begin
                            count_q <= reads_q ? request_count_i : request_opcode_i == Receive ? available_q
                                : request_opcode_i == Ping ? PingWords : 16'd0;
                            if (request_opcode_i == Reset) begin
                                reset_q <= 5'd0;
                                sent_q <= 32'd0;
                            end
                        end
                    end
                end
                Fetch: state_q <= Execute;
                Execute: begin
                    if (awready_i && awvalid_o) address_done_q <= 1'b1;
                    if (wready_i && wvalid_o) data_done_q <= 1'b1;
                    if (written) begin
                        address_done_q <= 1'b0;
                        data_done_q <= 1'b0;
                        index_q <= index_q + 16'd1;
                        address_q <= address_q + 32'd4;
                        if (request_opcode_i == Send) sent_q <= sent_q + 32'd1;
                        state_q <= last_word ? Header : Fetch;
                    end
                end
                Header: begin
                    // Of SEND the answer's address tells how many words came in since the last reset.
                    if (request_opcode_i == Send) address_q <= sent_q;
                    else if (writes_q) address_q <= request_address_i;
                    if (moved) begin
                        at_q <= at_q + 3'd1;
                        index_q <= 16'd0;
                        if (at_q == 3'd7) state_q <= writes_q || count_q == 16'd0 || status_q != Ok ? Sum : Load;
                    end
                end
                Load: begin
                    if (memory_re_o && memory_ready_i) issued_q <= 1'b1;
                    if (arvalid_o && arready_i) issued_q <= 1'b1;
                    if (fetched) begin
                        issued_q <= 1'b0;
                        state_q <= Bytes;
                    end
                end
                Bytes: if (moved) begin
                    at_q <= at_q + 3'd1;
                    if (at_q[1:0] == 2'd3) begin
                        at_q <= 3'd0;
                        index_q <= index_q + 16'd1;
                        address_q <= address_q + (request_opcode_i == Receive ? 32'd1 : 32'd4);
                        state_q <= last_word ? Sum : Load;
                    end
                end
                default: if (moved) begin
                    at_q <= at_q == 3'd1 ? 3'd0 : 3'd1;
                    if (at_q == 3'd1) state_q <= Wait;
                end
            endcase
        end
    end

endmodule
