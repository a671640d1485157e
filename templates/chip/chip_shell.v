// Everything of a chip around its engine but the clock: UART, requests, image memory, stream buffers, lights.
//
//     uart_receiver -> packet_receiver -> shell_commands -> uart_transmitter
//                                              |-- chip_image      <- the engine's AXI4 read port
//                                              |-- AXI4-Lite       -> the engine's registers
//                                              '-- stream_buffers <-> the engine's streams
//
// Lights: 0 alive (about once a second), 1 a byte came, 2 a byte left, 3 the engine waits for input, 4 it waits for
// its output to be fetched, 5 it reads its image, 6 a request was refused, 7 out of reset.
module chip_shell #(
    parameter Divider = 40,
    parameter IdleLog2 = 21,
    parameter Version = 1,
    parameter BeatBytes = 8,
    parameter StreamBytes = 8,
    parameter ImageBeats = 1024,
    parameter BlockBeats = 1024,
    parameter Prefix = "image",
    parameter ControlBits = 8
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,
    input  wire                     rx_i,
    output wire                     tx_o,
    output wire [7:0]               led_o,

    output wire                     engine_rst_no,
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

    input  wire [63:0]              memory_araddr_i,
    input  wire [7:0]               memory_arlen_i,
    input  wire                     memory_arvalid_i,
    output wire                     memory_arready_o,
    output wire [8*BeatBytes-1:0]   memory_rdata_o,
    output wire                     memory_rlast_o,
    output wire                     memory_rvalid_o,
    input  wire                     memory_rready_i,

    output wire                     stream_valid_o,
    input  wire                     stream_ready_i,
    output wire [8*StreamBytes-1:0] stream_data_o,
    input  wire                     stream_valid_i,
    output wire                     stream_ready_o,
    input  wire [8*StreamBytes-1:0] stream_data_i
);

    localparam BufferLog2 = 9;
    localparam StreamLog2 = 8;
    // The shell sees whole blocks: what lies behind the image is there too.
    localparam Blocks = (ImageBeats + BlockBeats - 1) / BlockBeats;
    localparam ImageWords = Blocks * BlockBeats * BeatBytes / 4;
    localparam WordBits = $clog2(ImageWords);

    // Synchronous release, a while after the clock is there.
    reg [3:0] wake_q;
    wire      rst_n = wake_q[3];
    always @(posedge clk_i) begin
        if (!rst_ni) wake_q <= 4'd0;
        else if (!rst_n) wake_q <= wake_q + 4'd1;
    end

    wire       rx_valid, tx_valid, tx_ready;
    wire [7:0] rx_byte, tx_byte;

    uart_receiver #(.Divider(Divider)) receiver (
        .clk_i(clk_i), .rst_ni(rst_n), .rx_i(rx_i), .valid_o(rx_valid), .data_o(rx_byte)
    );
    uart_transmitter #(.Divider(Divider)) transmitter (
        .clk_i(clk_i), .rst_ni(rst_n), .valid_i(tx_valid), .ready_o(tx_ready), .data_i(tx_byte), .tx_o(tx_o)
    );

    wire                  request_valid, request_intact, request_done, refused;
    wire [7:0]            request_opcode;
    wire [15:0]           request_count;
    wire [31:0]           request_address, request_word;
    wire [BufferLog2-1:0] request_index;

    packet_receiver #(.IdleLog2(IdleLog2), .BufferLog2(BufferLog2)) packets (
        .clk_i(clk_i),
        .rst_ni(rst_n),
        .byte_valid_i(rx_valid),
        .byte_i(rx_byte),
        .valid_o(request_valid),
        .intact_o(request_intact),
        .opcode_o(request_opcode),
        .count_o(request_count),
        .address_o(request_address),
        .done_i(request_done),
        .index_i(request_index),
        .word_o(request_word)
    );

    wire                image_we, image_re, image_ready, image_valid;
    wire [WordBits-1:0] image_word;
    wire [31:0]         image_wdata, image_data;
    wire                send_valid, commit;
    wire [31:0]         send_word, receive_address, received, committed, receive_word;
    wire [15:0]         send_room;

    shell_commands #(
        .Version(Version),
        .BeatBytes(BeatBytes),
        .StreamBytes(StreamBytes),
        .ImageWords(ImageWords),
        .WordBits(WordBits),
        .ControlBits(ControlBits),
        .BufferLog2(BufferLog2)
    ) commands (
        .clk_i(clk_i),
        .rst_ni(rst_n),
        .request_valid_i(request_valid),
        .request_intact_i(request_intact),
        .request_opcode_i(request_opcode),
        .request_count_i(request_count),
        .request_address_i(request_address),
        .request_done_o(request_done),
        .request_index_o(request_index),
        .request_word_i(request_word),
        .byte_valid_o(tx_valid),
        .byte_ready_i(tx_ready),
        .byte_o(tx_byte),
        .memory_we_o(image_we),
        .memory_re_o(image_re),
        .memory_word_o(image_word),
        .memory_wdata_o(image_wdata),
        .memory_ready_i(image_ready),
        .memory_valid_i(image_valid),
        .memory_data_i(image_data),
        .awaddr_o(awaddr_o),
        .awvalid_o(awvalid_o),
        .awready_i(awready_i),
        .wdata_o(wdata_o),
        .wvalid_o(wvalid_o),
        .wready_i(wready_i),
        .bvalid_i(bvalid_i),
        .bready_o(bready_o),
        .araddr_o(araddr_o),
        .arvalid_o(arvalid_o),
        .arready_i(arready_i),
        .rdata_i(rdata_i),
        .rvalid_i(rvalid_i),
        .rready_o(rready_o),
        .send_valid_o(send_valid),
        .send_word_o(send_word),
        .send_room_i(send_room),
        .receive_commit_o(commit),
        .receive_address_o(receive_address),
        .received_i(received),
        .committed_i(committed),
        .receive_word_i(receive_word),
        .engine_rst_no(engine_rst_no),
        .refused_o(refused)
    );

    chip_image #(
        .BeatBytes(BeatBytes),
        .Beats(ImageBeats),
        .BlockBeats(BlockBeats),
        .Prefix(Prefix),
        .WordBits(WordBits)
    ) image (
        .clk_i(clk_i),
        .rst_ni(engine_rst_no),
        .araddr_i(memory_araddr_i),
        .arlen_i(memory_arlen_i),
        .arvalid_i(memory_arvalid_i),
        .arready_o(memory_arready_o),
        .rdata_o(memory_rdata_o),
        .rlast_o(memory_rlast_o),
        .rvalid_o(memory_rvalid_o),
        .rready_i(memory_rready_i),
        .we_i(image_we),
        .re_i(image_re),
        .word_i(image_word),
        .wdata_i(image_wdata),
        .word_ready_o(image_ready),
        .word_valid_o(image_valid),
        .word_o(image_data)
    );

    stream_buffers #(.StreamBytes(StreamBytes), .BufferLog2(StreamLog2)) streams (
        .clk_i(clk_i),
        .rst_ni(engine_rst_no),
        .send_valid_i(send_valid),
        .send_word_i(send_word),
        .send_room_o(send_room),
        .stream_valid_o(stream_valid_o),
        .stream_ready_i(stream_ready_i),
        .stream_data_o(stream_data_o),
        .stream_valid_i(stream_valid_i),
        .stream_ready_o(stream_ready_o),
        .stream_data_i(stream_data_i),
        .commit_i(commit),
        .receive_address_i(receive_address),
        .received_o(received),
        .committed_o(committed),
        .receive_word_o(receive_word)
    );

    // ---- lights: what happened stays lit until the next beat of the blinker, so that an eye sees it
    localparam BlinkLog2 = 26;
    reg [BlinkLog2-1:0] blink_q;
    reg [6:1]           seen_q, led_q;
    wire                beat = blink_q[BlinkLog2-4:0] == 0;
    wire [6:1]          now = {
        refused,
        memory_rvalid_o,
        stream_valid_i && !stream_ready_o,
        stream_ready_i && !stream_valid_o,
        tx_valid,
        rx_valid
    };
    always @(posedge clk_i) begin
        if (!rst_n) begin
            blink_q <= 0;
            seen_q <= 6'd0;
            led_q <= 6'd0;
        end else begin
            blink_q <= blink_q + 1'b1;
            seen_q <= beat ? now : seen_q | now;
            if (beat) led_q <= seen_q;
        end
    end
    assign led_o = {rst_n, led_q, blink_q[BlinkLog2-1]};

endmodule
