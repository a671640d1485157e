// The AXI4-Lite register map of docs/program-format.md: start, interrupts, arguments and the information block.
//
// `start_o` is high for one cycle when a command begins; the command ends with one cycle of `finish_i`, in which
// `info_i` is taken. Registers behave as those that Vitis HLS generates (UG1399): `done` is cleared by a read, `isr`
// toggles where a 1 is written.
module control_registers #(
    parameter AddressBits = 8,
    parameter InfoWords = 32,
    parameter [31:0] AddressApCtrl = 0,
    parameter [31:0] AddressGie = 4,
    parameter [31:0] AddressIer = 8,
    parameter [31:0] AddressIsr = 12,
    parameter [31:0] AddressMemory = 16,
    parameter [31:0] AddressCommand = 28,
    parameter [31:0] AddressFrames = 36,
    parameter [31:0] AddressInfo = 128
) (
    input  wire                    clk_i,
    input  wire                    rst_ni,

    input  wire [AddressBits-1:0]  awaddr_i,
    input  wire                    awvalid_i,
    output wire                    awready_o,
    input  wire [31:0]             wdata_i,
    input  wire [3:0]              wstrb_i,
    input  wire                    wvalid_i,
    output wire                    wready_o,
    output wire [1:0]              bresp_o,
    output wire                    bvalid_o,
    input  wire                    bready_i,
    input  wire [AddressBits-1:0]  araddr_i,
    input  wire                    arvalid_i,
    output wire                    arready_o,
    output wire [31:0]             rdata_o,
    output wire [1:0]              rresp_o,
    output wire                    rvalid_o,
    input  wire                    rready_i,
    output wire                    interrupt_o,

    output wire                    start_o,
    output wire [63:0]             memory_o,
    output wire [31:0]             command_o,
    output wire [31:0]             frames_o,
    input  wire                    finish_i,
    input  wire [32*InfoWords-1:0] info_i
);

    localparam IndexBits = AddressBits - 2;
    localparam [IndexBits-1:0] WordApCtrl = AddressApCtrl[AddressBits-1:2];
    localparam [IndexBits-1:0] WordGie = AddressGie[AddressBits-1:2];
    localparam [IndexBits-1:0] WordIer = AddressIer[AddressBits-1:2];
    localparam [IndexBits-1:0] WordIsr = AddressIsr[AddressBits-1:2];
    localparam [IndexBits-1:0] WordMemoryLow = AddressMemory[AddressBits-1:2];
    localparam [IndexBits-1:0] WordMemoryHigh = AddressMemory[AddressBits-1:2] + 1;
    localparam [IndexBits-1:0] WordCommand = AddressCommand[AddressBits-1:2];
    localparam [IndexBits-1:0] WordFrames = AddressFrames[AddressBits-1:2];
    localparam [IndexBits-1:0] WordInfo = AddressInfo[AddressBits-1:2];
    localparam InfoBits = $clog2(InfoWords);

    reg                    start_q, done_q, restart_q, busy_q, gie_q;
    reg [1:0]              ier_q, isr_q;
    reg [63:0]             memory_q;
    reg [31:0]             command_q, frames_q;
    reg [32*InfoWords-1:0] info_q;

    // Address and data of a write may come in any order.
    reg                    write_address_q, write_data_q, bvalid_q, rvalid_q;
    reg [IndexBits-1:0]    write_word_q;
    reg [31:0]             write_value_q, rdata_q;
    reg [3:0]              write_strobe_q;

    wire        write = write_address_q && write_data_q && !bvalid_q;
    wire        read = arvalid_i && arready_o;
    wire [31:0] write_mask = {
        {8{write_strobe_q[3]}}, {8{write_strobe_q[2]}}, {8{write_strobe_q[1]}}, {8{write_strobe_q[0]}}
    };
    wire [IndexBits-1:0] read_word = araddr_i[AddressBits-1:2];
    wire [IndexBits-1:0] info_word = read_word - WordInfo;

    assign start_o = start_q && !busy_q;
    assign memory_o = memory_q;
    assign command_o = command_q;
    assign frames_o = frames_q;
    assign interrupt_o = gie_q && isr_q != 2'b00;
    assign awready_o = !write_address_q;
    assign wready_o = !write_data_q;
    assign bresp_o = 2'b00;
    assign bvalid_o = bvalid_q;
    assign arready_o = !rvalid_q;
    assign rresp_o = 2'b00;
    assign rvalid_o = rvalid_q;
    assign rdata_o = rdata_q;

    reg [31:0] read_value;
    always @* begin
        case (read_word)
            WordApCtrl: read_value = {24'd0, restart_q, 3'd0, done_q, !busy_q && !start_q, done_q, start_q};
            WordGie: read_value = {31'd0, gie_q};
            WordIer: read_value = {30'd0, ier_q};
            WordIsr: read_value = {30'd0, isr_q};
            WordMemoryLow: read_value = memory_q[31:0];
            WordMemoryHigh: read_value = memory_q[63:32];
            WordCommand: read_value = command_q;
            WordFrames: read_value = frames_q;
            default: read_value = read_word >= WordInfo ? info_q[32*info_word[InfoBits-1:0] +: 32] : 32'd0;
        endcase
    end

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            write_address_q <= 1'b0;
            write_data_q <= 1'b0;
            bvalid_q <= 1'b0;
            rvalid_q <= 1'b0;
            rdata_q <= 32'd0;
            start_q <= 1'b0;
            done_q <= 1'b0;
            restart_q <= 1'b0;
            busy_q <= 1'b0;
            gie_q <= 1'b0;
            ier_q <= 2'b00;
            isr_q <= 2'b00;
            memory_q <= 64'd0;
            command_q <= 32'd0;
            frames_q <= 32'd0;
            info_q <= {32 * InfoWords{1'b0}};
        end else begin
            busy_q <= (busy_q || start_o) && !finish_i;
            if (awvalid_i && awready_o) begin
                write_address_q <= 1'b1;
                write_word_q <= awaddr_i[AddressBits-1:2];
            end
            if (wvalid_i && wready_o) begin
                write_data_q <= 1'b1;
                write_value_q <= wdata_i;
                write_strobe_q <= wstrb_i;
            end
            if (bvalid_q && bready_i) bvalid_q <= 1'b0;
            if (read) begin
                rvalid_q <= 1'b1;
                rdata_q <= read_value;
                if (read_word == WordApCtrl) done_q <= 1'b0;
            end else if (rready_i) begin
                rvalid_q <= 1'b0;
            end
            if (finish_i) begin
                start_q <= restart_q;
                done_q <= 1'b1;
                isr_q <= isr_q | ier_q;
                info_q <= info_i;
            end
            if (write) begin
                write_address_q <= 1'b0;
                write_data_q <= 1'b0;
                bvalid_q <= 1'b1;
                case (write_word_q)
                    WordApCtrl: if (write_strobe_q[0]) begin
                        if (write_value_q[0]) start_q <= 1'b1;
                        restart_q <= write_value_q[7];
                    end
                    WordGie: if (write_strobe_q[0]) gie_q <= write_value_q[0];
                    WordIer: if (write_strobe_q[0]) ier_q <= write_value_q[1:0];
                    WordIsr: if (write_strobe_q[0]) isr_q <= isr_q ^ write_value_q[1:0];
                    WordMemoryLow: memory_q[31:0] <= (memory_q[31:0] & ~write_mask) | (write_value_q & write_mask);
                    WordMemoryHigh: memory_q[63:32] <= (memory_q[63:32] & ~write_mask) | (write_value_q & write_mask);
                    WordCommand: command_q <= (command_q & ~write_mask) | (write_value_q & write_mask);
                    WordFrames: frames_q <= (frames_q & ~write_mask) | (write_value_q & write_mask);
                    default: ;
                endcase
            end
        end
    end

    // Registers are whole words.
    wire unused = &{1'b0, awaddr_i[1:0], araddr_i[1:0], info_word};

endmodule
