// ECP5's block RAM of 18 Kibit (FPGA-TN-02204, "ECP5 and ECP5-5G Memory Usage Guide"): two ports, output registers off.
//
// Held as 1,024 words of 18 bits, each two bytes of nine; widths of 1, 2 and 4 leave the ninth bit out. A port of 18 bits has
// its byte enables in the lowest address bits. With DATA_WIDTH_A = 36, port A writes two words at once, of which DIB brings the
// upper one; with DATA_WIDTH_B = 36, port B reads two, the lower one at DOA. INITVAL_xx hold 16 words each, in fields of 20 bits.
// A word that one port writes while the other reads it comes out old.
/* verilator lint_off UNUSEDSIGNAL */
/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off MULTIDRIVEN */
/* verilator lint_off WIDTH */
module DP16KD #(
    parameter DATA_WIDTH_A = 18,
    parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG",
    parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC",
    parameter WRITEMODE_A = "NORMAL",
    parameter WRITEMODE_B = "NORMAL",
    parameter CSDECODE_A = "0b000",
    parameter CSDECODE_B = "0b000",
    parameter CLKAMUX = "CLKA",
    parameter CLKBMUX = "CLKB",
    parameter GSR = "AUTO",
    parameter [319:0] INITVAL_00 = 320'd0,
    parameter [319:0] INITVAL_01 = 320'd0,
    parameter [319:0] INITVAL_02 = 320'd0,
    parameter [319:0] INITVAL_03 = 320'd0,
    parameter [319:0] INITVAL_04 = 320'd0,
    parameter [319:0] INITVAL_05 = 320'd0,
    parameter [319:0] INITVAL_06 = 320'd0,
    parameter [319:0] INITVAL_07 = 320'd0,
    parameter [319:0] INITVAL_08 = 320'd0,
    parameter [319:0] INITVAL_09 = 320'd0,
    parameter [319:0] INITVAL_0A = 320'd0,
    parameter [319:0] INITVAL_0B = 320'd0,
    parameter [319:0] INITVAL_0C = 320'd0,
    parameter [319:0] INITVAL_0D = 320'd0,
    parameter [319:0] INITVAL_0E = 320'd0,
    parameter [319:0] INITVAL_0F = 320'd0,
    parameter [319:0] INITVAL_10 = 320'd0,
    parameter [319:0] INITVAL_11 = 320'd0,
    parameter [319:0] INITVAL_12 = 320'd0,
    parameter [319:0] INITVAL_13 = 320'd0,
    parameter [319:0] INITVAL_14 = 320'd0,
    parameter [319:0] INITVAL_15 = 320'd0,
    parameter [319:0] INITVAL_16 = 320'd0,
    parameter [319:0] INITVAL_17 = 320'd0,
    parameter [319:0] INITVAL_18 = 320'd0,
    parameter [319:0] INITVAL_19 = 320'd0,
    parameter [319:0] INITVAL_1A = 320'd0,
    parameter [319:0] INITVAL_1B = 320'd0,
    parameter [319:0] INITVAL_1C = 320'd0,
    parameter [319:0] INITVAL_1D = 320'd0,
    parameter [319:0] INITVAL_1E = 320'd0,
    parameter [319:0] INITVAL_1F = 320'd0,
    parameter [319:0] INITVAL_20 = 320'd0,
    parameter [319:0] INITVAL_21 = 320'd0,
    parameter [319:0] INITVAL_22 = 320'd0,
    parameter [319:0] INITVAL_23 = 320'd0,
    parameter [319:0] INITVAL_24 = 320'd0,
    parameter [319:0] INITVAL_25 = 320'd0,
    parameter [319:0] INITVAL_26 = 320'd0,
    parameter [319:0] INITVAL_27 = 320'd0,
    parameter [319:0] INITVAL_28 = 320'd0,
    parameter [319:0] INITVAL_29 = 320'd0,
    parameter [319:0] INITVAL_2A = 320'd0,
    parameter [319:0] INITVAL_2B = 320'd0,
    parameter [319:0] INITVAL_2C = 320'd0,
    parameter [319:0] INITVAL_2D = 320'd0,
    parameter [319:0] INITVAL_2E = 320'd0,
    parameter [319:0] INITVAL_2F = 320'd0,
    parameter [319:0] INITVAL_30 = 320'd0,
    parameter [319:0] INITVAL_31 = 320'd0,
    parameter [319:0] INITVAL_32 = 320'd0,
    parameter [319:0] INITVAL_33 = 320'd0,
    parameter [319:0] INITVAL_34 = 320'd0,
    parameter [319:0] INITVAL_35 = 320'd0,
    parameter [319:0] INITVAL_36 = 320'd0,
    parameter [319:0] INITVAL_37 = 320'd0,
    parameter [319:0] INITVAL_38 = 320'd0,
    parameter [319:0] INITVAL_39 = 320'd0,
    parameter [319:0] INITVAL_3A = 320'd0,
    parameter [319:0] INITVAL_3B = 320'd0,
    parameter [319:0] INITVAL_3C = 320'd0,
    parameter [319:0] INITVAL_3D = 320'd0,
    parameter [319:0] INITVAL_3E = 320'd0,
    parameter [319:0] INITVAL_3F = 320'd0
) (
    input  wire DIA0,
    input  wire DIA1,
    input  wire DIA2,
    input  wire DIA3,
    input  wire DIA4,
    input  wire DIA5,
    input  wire DIA6,
    input  wire DIA7,
    input  wire DIA8,
    input  wire DIA9,
    input  wire DIA10,
    input  wire DIA11,
    input  wire DIA12,
    input  wire DIA13,
    input  wire DIA14,
    input  wire DIA15,
    input  wire DIA16,
    input  wire DIA17,
    input  wire ADA0,
    input  wire ADA1,
    input  wire ADA2,
    input  wire ADA3,
    input  wire ADA4,
    input  wire ADA5,
    input  wire ADA6,
    input  wire ADA7,
    input  wire ADA8,
    input  wire ADA9,
    input  wire ADA10,
    input  wire ADA11,
    input  wire ADA12,
    input  wire ADA13,
    input  wire CEA,
    input  wire OCEA,
    input  wire CLKA,
    input  wire WEA,
    input  wire RSTA,
    input  wire CSA0,
    input  wire CSA1,
    input  wire CSA2,
    input  wire DIB0,
    input  wire DIB1,
    input  wire DIB2,
    input  wire DIB3,
    input  wire DIB4,
    input  wire DIB5,
    input  wire DIB6,
    input  wire DIB7,
    input  wire DIB8,
    input  wire DIB9,
    input  wire DIB10,
    input  wire DIB11,
    input  wire DIB12,
    input  wire DIB13,
    input  wire DIB14,
    input  wire DIB15,
    input  wire DIB16,
    input  wire DIB17,
    input  wire ADB0,
    input  wire ADB1,
    input  wire ADB2,
    input  wire ADB3,
    input  wire ADB4,
    input  wire ADB5,
    input  wire ADB6,
    input  wire ADB7,
    input  wire ADB8,
    input  wire ADB9,
    input  wire ADB10,
    input  wire ADB11,
    input  wire ADB12,
    input  wire ADB13,
    input  wire CEB,
    input  wire OCEB,
    input  wire CLKB,
    input  wire WEB,
    input  wire RSTB,
    input  wire CSB0,
    input  wire CSB1,
    input  wire CSB2,
    output wire DOA0,
    output wire DOA1,
    output wire DOA2,
    output wire DOA3,
    output wire DOA4,
    output wire DOA5,
    output wire DOA6,
    output wire DOA7,
    output wire DOA8,
    output wire DOA9,
    output wire DOA10,
    output wire DOA11,
    output wire DOA12,
    output wire DOA13,
    output wire DOA14,
    output wire DOA15,
    output wire DOA16,
    output wire DOA17,
    output wire DOB0,
    output wire DOB1,
    output wire DOB2,
    output wire DOB3,
    output wire DOB4,
    output wire DOB5,
    output wire DOB6,
    output wire DOB7,
    output wire DOB8,
    output wire DOB9,
    output wire DOB10,
    output wire DOB11,
    output wire DOB12,
    output wire DOB13,
    output wire DOB14,
    output wire DOB15,
    output wire DOB16,
    output wire DOB17
);

    reg [17:0] word [0:1023];

    localparam [64*320-1:0] Preset = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
    };
    integer i;
    initial begin
        for (i = 0; i < 1024; i = i + 1) word[i] = Preset[(i / 16) * 320 + (i % 16) * 20 +: 18];
    end

    // The place of a bit in a word of two bytes of nine.
    function [4:0] bit_of;
        input [3:0] index;
        bit_of = index[3] ? {2'b01, index[2:0]} + 5'd1 : {2'b00, index[2:0]};
    endfunction

    // ---- port A
    wire [13:0] address_a = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
    };
    wire [17:0] data_a = {
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
        DIA1, DIA0
    };
    wire [17:0] old_a = word[address_a[13:4]];
    reg  [17:0] new_a, read_a;
    wire        selected_a = CEA && !CSA0 && !CSA1 && !CSA2;
    always @* begin
        new_a = old_a;
        case (DATA_WIDTH_A)
            1: new_a[bit_of(address_a[3:0])] = data_a[0];
            2: new_a[bit_of({address_a[3:1], 1'b0}) +: 2] = data_a[1:0];
            4: new_a[bit_of({address_a[3:2], 2'b00}) +: 4] = data_a[3:0];
            9: new_a[(address_a[3] ? 9 : 0) +: 9] = data_a[8:0];
            default: begin
                if (address_a[0]) new_a[8:0] = data_a[8:0];
                if (address_a[1]) new_a[17:9] = data_a[17:9];
            end
        endcase
    end

    // ---- port B
    wire [13:0] address_b = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
    };
    wire [17:0] data_b = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
        DIB1, DIB0
    };
    wire [17:0] old_b = word[address_b[13:4]];
    reg  [17:0] new_b, read_b;
    wire        selected_b = CEB && !CSB0 && !CSB1 && !CSB2;
    always @* begin
        new_b = old_b;
        case (DATA_WIDTH_B)
            1: new_b[bit_of(address_b[3:0])] = data_b[0];
            2: new_b[bit_of({address_b[3:1], 1'b0}) +: 2] = data_b[1:0];
            4: new_b[bit_of({address_b[3:2], 2'b00}) +: 4] = data_b[3:0];
            9: new_b[(address_b[3] ? 9 : 0) +: 9] = data_b[8:0];
            default: begin
                if (address_b[0]) new_b[8:0] = data_b[8:0];
                if (address_b[1]) new_b[17:9] = data_b[17:9];
            end
        endcase
    end

    function [17:0] narrow;
        input integer width;
        input [13:0] address;
        input [17:0] data;
        begin
            case (width)
                1: narrow = {17'd0, data[bit_of(address[3:0])]};
                2: narrow = {16'd0, data[bit_of({address[3:1], 1'b0}) +: 2]};
                4: narrow = {14'd0, data[bit_of({address[3:2], 2'b00}) +: 4]};
                9: narrow = {9'd0, data[(address[3] ? 9 : 0) +: 9]};
                default: narrow = data;
            endcase
        end
    endfunction

    wire clock_a = CLKAMUX == "INV" ? !CLKA : CLKA;
    wire clock_b = CLKBMUX == "INV" ? !CLKB : CLKB;
    reg [17:0] out_a, out_b, out_low;
    initial begin
        out_a = 18'd0;
        out_b = 18'd0;
        out_low = 18'd0;
    end

    always @(posedge clock_a) begin
        if (selected_a && WEA && !RSTA) begin
            if (DATA_WIDTH_A == 36) begin
                if (ADA0) word[{address_a[13:5], 1'b0}][8:0] <= data_a[8:0];
                if (ADA1) word[{address_a[13:5], 1'b0}][17:9] <= data_a[17:9];
                if (ADA2) word[{address_a[13:5], 1'b1}][8:0] <= data_b[8:0];
                if (ADA3) word[{address_a[13:5], 1'b1}][17:9] <= data_b[17:9];
            end else begin
                word[address_a[13:4]] <= new_a;
            end
        end
        if (RSTA) out_a <= 18'd0;
        else if (selected_a && (!WEA || WRITEMODE_A != "NORMAL")) begin
            out_a <= narrow(DATA_WIDTH_A, address_a, WEA && WRITEMODE_A == "WRITETHROUGH" ? new_a : old_a);
        end
    end

    always @(posedge clock_b) begin
        if (selected_b && WEB && !RSTB) word[address_b[13:4]] <= new_b;
        if (RSTB) begin
            out_b <= 18'd0;
            out_low <= 18'd0;
        end else if (selected_b && (!WEB || WRITEMODE_B != "NORMAL")) begin
            if (DATA_WIDTH_B == 36) begin
                out_low <= word[{address_b[13:5], 1'b0}];
                out_b <= word[{address_b[13:5], 1'b1}];
            end else begin
                out_b <= narrow(DATA_WIDTH_B, address_b, WEB && WRITEMODE_B == "WRITETHROUGH" ? new_b : old_b);
            end
        end
    end

    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0
    } = DATA_WIDTH_B == 36 ? out_low : out_a;
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
    } = out_b;

endmodule
