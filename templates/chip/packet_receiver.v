// Bytes of the UART to whole requests: docs/chip.md gives the format.
//
//     0xF1, opcode, count (u16), address (u32), payload (opcode bit 6: count words of 32 bits), CRC-16 of all but 0xF1
//
// A request is offered with `valid_o` until `done_i`; bytes that come meanwhile are dropped. `intact_o` says whether the
// checksum holds; nobody has seen any of the payload before it does, since that waits in a buffer, read through
// `index_i` with a cycle of latency.
//
// RESYNCHRONISING. Bytes other than 0xF1 between requests are dropped. Whatever the receiver is in the midst of ends
// after `IdleCycles` without a byte, so that a host that waits longer always begins anew. A count beyond the buffer
// makes the receiver wait for that silence.
module packet_receiver #(
    parameter IdleLog2 = 21,
    parameter BufferLog2 = 9
) (
    input  wire                  clk_i,
    input  wire                  rst_ni,
    input  wire                  byte_valid_i,
    input  wire [7:0]            byte_i,
    output wire                  valid_o,
    output wire                  intact_o,
    output wire [7:0]            opcode_o,
    output wire [15:0]           count_o,
    output wire [31:0]           address_o,
    input  wire                  done_i,
    input  wire [BufferLog2-1:0] index_i,
    output wire [31:0]           word_o
);

    localparam [7:0] Sync = 8'hF1;
    localparam [2:0] Hunt = 0, Header = 1, Payload = 2, Checksum = 3, Offer = 4, Drain = 5;
    localparam [15:0] MostWords = 1 << BufferLog2;

    reg [2:0]            state_q;
    reg [55:0]           header_q;
    reg [2:0]            at_q;
    reg [23:0]           word_q;
    reg [BufferLog2:0]   index_q;
    reg [15:0]           crc_q, sent_q;
    reg [IdleLog2-1:0]   idle_q;

    wire        take = byte_valid_i && state_q != Offer;
    wire        silent = &idle_q;
    wire [55:0] header = {byte_i, header_q[55:8]};
    wire [15:0] count = header[23:8];
    wire        last_word = {{(15-BufferLog2){1'b0}}, index_q} == count_o - 16'd1;
    wire [15:0] crc;

    crc16 crc_step (.crc_i(crc_q), .data_i(byte_i), .crc_o(crc));

    ram_1r1w #(.Width(32), .Depth(1 << BufferLog2), .AddressBits(BufferLog2)) buffer (
        .clk_i(clk_i),
        .we_i(take && state_q == Payload && at_q[1:0] == 2'd3),
        .waddr_i(index_q[BufferLog2-1:0]),
        .wdata_i({byte_i, word_q}),
        .re_i(1'b1),
        .raddr_i(index_i),
        .rdata_o(word_o)
    );

    assign opcode_o = header_q[7:0];
    assign count_o = header_q[23:8];
    assign address_o = header_q[55:24];
    assign valid_o = state_q == Offer;
    assign intact_o = crc_q == sent_q;

    always @(posedge clk_i) begin
        if (take) begin
            if (state_q == Header) header_q <= header;
            word_q <= {byte_i, word_q[23:8]};
            sent_q <= {byte_i, sent_q[15:8]};
            if (state_q == Header || state_q == Payload) crc_q <= crc;
            else if (state_q == Hunt) crc_q <= 16'hFFFF;
        end

        if (!rst_ni) begin
            state_q <= Hunt;
            at_q <= 3'd0;
            index_q <= 0;
            idle_q <= 0;
        end else begin
            idle_q <= byte_valid_i || state_q == Hunt ? 0 : idle_q + 1'b1;
            case (state_q)
                Offer: if (done_i) state_q <= Hunt;
                Drain: if (silent) state_q <= Hunt;
                default: if (take) begin
                    at_q <= at_q + 3'd1;
                    case (state_q)
                        Hunt: begin
                            at_q <= 3'd0;
                            index_q <= 0;
                            if (byte_i == Sync) state_q <= Header;
                        end
                        Header: if (at_q == 3'd6) begin
                            at_q <= 3'd0;
                            state_q <= !header[6] || count == 16'd0 ? Checksum : count > MostWords ? Drain : Payload;
                        end
                        Payload: if (at_q[1:0] == 2'd3) begin
                            index_q <= index_q + 1'b1;
                            if (last_word) begin
                                at_q <= 3'd0;
                                state_q <= Checksum;
                            end
                        end
                        default: if (at_q == 3'd1) state_q <= Offer;
                    endcase
                end else if (silent) begin
                    state_q <= Hunt;
                end
            endcase
        end
    end

endmodule
