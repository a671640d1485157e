// Writes what leaves the post pipeline: a plane of P channels by T tokens a cycle to the token memories, P channels a key
// to VALUES. Fields of the tag: post_pipeline.v.
//
// A value that comes in cycle v is written in v+1; its high byte plane, out_depth lines further, in v+2, where a value of
// another bank group may be written at the same time: `write_high_groups_o` names the bank groups that take line
// `write_high_line_o`. Keys beyond the W banks of a head are written in the cycles after; whoever issues the slots leaves
// that many cycles between results, and two where the bank groups are the same.
// `retired_tiles_o` counts, for each parity since its step began, the results that completed a token tile.
module result_writer #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Heads = 1,
    // Of a line in the tag.
    parameter LineBits = 6,
    parameter TagBits = 40
) (
    input  wire                            clk_i,
    input  wire                            rst_ni,

    // A step begins: its words for the results of this parity.
    input  wire                            step_load_i,
    input  wire                            step_parity_i,
    input  wire                            step_linear_i,
    input  wire [31:0]                     out_bits_i,
    input  wire [31:0]                     out_depth_i,
    input  wire [31:0]                     heads_i,
    input  wire [31:0]                     pitch_i,

    input  wire                            value_valid_i,
    input  wire [3:0]                      value_merge_i,
    input  wire [TagBits-1:0]              value_tag_i,
    input  wire [Heads*Rows*Tokens*16-1:0] value_i,

    output wire                            write_valid_o,
    output wire [1:0]                      write_space_o,
    output wire [31:0]                     write_line_o,
    output wire [Banks-1:0]                write_mask_o,
    output wire [Banks*Tokens*8-1:0]       write_data_o,
    output wire [Banks/Rows-1:0]           write_high_groups_o,
    output wire [31:0]                     write_high_line_o,
    output wire [Banks-1:0]                values_we_o,
    output wire [31:0]                     values_line_o,
    output wire [Banks*Rows*8-1:0]         values_data_o,

    output wire [31:0]                     retired_tiles_o
);

    localparam TokensLog2 = $clog2(Tokens);
    localparam BanksLog2 = $clog2(Banks);
    localparam RowsLog2 = $clog2(Rows);
    localparam HeadsLog2 = $clog2(Heads);
    localparam Groups = Banks / Rows;
    localparam GroupAt = 4 + LineBits;
    localparam ExtraAt = GroupAt + Groups;
    localparam KeysAt = ExtraAt + 6;
    localparam KeyBits = TokensLog2 + 1;
    localparam [31:0] TokenCount = Tokens;
    localparam FinalAt = KeysAt + KeyBits;
    localparam [1:0] Values = 3;
    localparam Lanes = Rows * Tokens;
    // Log2 of the banks of a head, at least.
    localparam LeastKeyLog2 = BanksLog2 - HeadsLog2;

    // ---- words by parity
    reg [1:0]  two_q;
    reg [31:0] depth0_q, depth1_q, stride0_q, stride1_q;
    reg [5:0]  key_log2_0_q, key_log2_1_q;

    reg [31:0] abreast_log2;
    integer    i;
    always @* begin
        abreast_log2 = 32'd0;
        for (i = 1; i <= HeadsLog2; i = i + 1) begin
            if ((pitch_i << i) <= Banks) abreast_log2 = i;
        end
    end
    wire [31:0] rounds = (heads_i + (32'd1 << abreast_log2) - 32'd1) >> abreast_log2;
    wire [31:0] chunks = pitch_i >> RowsLog2;
    wire [31:0] key_log2 = BanksLog2 - abreast_log2;

    // ---- the value in hand
    // `low_q`: it goes to the token memories, in this cycle alone.
    reg                            valid_q, low_q;
    // verilator lint_off UNUSEDSIGNAL
    // With one head there is no choice.
    reg [3:0]                      merge_q;
    // verilator lint_on UNUSEDSIGNAL
    reg [TagBits-1:0]              tag_q;
    reg [31:0]                     line_q;
    reg [Heads*Rows*Tokens*16-1:0] value_q;
    // Cycles that its keys have been written.
    reg [KeyBits-1:0]              phase_q;
    // The high plane of the value before: of a linear step, so of the first head.
    reg                            high_q, high_completes_q, high_parity_q;
    reg [1:0]                      high_space_q;
    reg [Groups-1:0]               high_groups_q;
    reg [31:0]                     high_line_q;
    reg [Lanes*8-1:0]              high_plane_q;

    wire              parity = tag_q[0];
    wire [1:0]        space = tag_q[3:2];
    wire [Groups-1:0] groups = tag_q[GroupAt +: Groups];
    // verilator lint_off UNUSEDSIGNAL
    // With one head there is no choice.
    wire [5:0]        pitch_log2 = tag_q[ExtraAt +: 6];
    // verilator lint_on UNUSEDSIGNAL
    wire [KeyBits-1:0] keys = tag_q[KeysAt +: KeyBits];
    wire              completes = tag_q[FinalAt];
    wire              two = two_q[parity];
    wire [5:0]        head_key_log2 = parity ? key_log2_1_q : key_log2_0_q;
    wire              is_values = space == Values;
    // Parts of a tile's keys; none is a fraction of one.
    wire [31:0]       parts = TokenCount >> head_key_log2;
    wire              last = !is_values || {{32 - KeyBits{1'b0}}, phase_q} + 32'd1 >= parts;
    wire              low = low_q;

    assign write_valid_o = low || high_q;
    assign write_space_o = low ? space : high_space_q;
    assign write_line_o = line_q;
    assign write_high_line_o = high_line_q;
    assign write_high_groups_o = high_q ? high_groups_q : {Groups{1'b0}};
    assign values_line_o = line_q;

    // The low plane, P words of T bytes a head; and the keys' words, P bytes each, of the first head.
    wire [Heads*Lanes*8-1:0] plane;
    wire [Lanes*8-1:0]       words;
    genvar g, p, t, b;
    generate
        for (t = 0; t < Heads * Lanes; t = t + 1) begin : bytes
            assign plane[8*t+:8] = value_q[16*t+:8];
        end
        for (t = 0; t < Tokens; t = t + 1) begin : tokens
            for (p = 0; p < Rows; p = p + 1) begin : channels
                assign words[8*(t*Rows+p)+:8] = value_q[16*(p*Tokens+t)+:8];
            end
        end
        for (g = 0; g < Groups; g = g + 1) begin : banks
            localparam [31:0] First = g * Rows;
            wire is_high = high_q && high_groups_q[g];
            assign write_mask_o[g*Rows+:Rows] = {Rows{(groups[g] && low) || is_high}};
            if (Heads == 1) begin : single
                assign write_data_o[8*Lanes*g+:8*Lanes] = is_high ? high_plane_q : plane;
            end else begin : several
                reg [8*Lanes-1:0] mine;
                wire [31:0] head = (First >> pitch_log2) & ((32'd1 << merge_q) - 32'd1);
                integer n;
                always @* begin
                    mine = plane[0+:8*Lanes];
                    for (n = 1; n < Heads; n = n + 1) if (head == n) mine = plane[8*Lanes*n+:8*Lanes];
                end
                assign write_data_o[8*Lanes*g+:8*Lanes] = is_high ? high_plane_q : mine;
            end
        end
        for (b = 0; b < Banks; b = b + 1) begin : keys_of_banks
            // The token whose key lies in the bank: only engines whose heads have fewer banks than tokens have a choice.
            wire [31:0] token;
            if (TokensLog2 <= LeastKeyLog2) begin : fixed
                assign token = b % Tokens;
                assign values_data_o[8*b*Rows+:8*Rows] = words[8*Rows*(b%Tokens)+:8*Rows];
            end else begin : chosen
                wire [31:0] in_row = b & ((32'd1 << head_key_log2) - 32'd1);
                assign token = (in_row & (Tokens - 1)) | ({{(32-KeyBits){1'b0}}, phase_q} << head_key_log2);
                assign values_data_o[8*b*Rows+:8*Rows] = words[8*Rows*token+:8*Rows];
            end
            assign values_we_o[b] = valid_q && is_values && groups[b/Rows] && token < {{(32-KeyBits){1'b0}}, keys};
        end
    endgenerate

    // ---- progress
    reg [15:0] retired0_q, retired1_q;
    assign retired_tiles_o = {retired1_q, retired0_q};
    wire retire = valid_q && last && completes && (is_values || !two);
    wire high_retire = high_q && high_completes_q;
    wire [15:0] retired0 = {15'd0, retire && !parity} + {15'd0, high_retire && !high_parity_q};
    wire [15:0] retired1 = {15'd0, retire && parity} + {15'd0, high_retire && high_parity_q};
    integer n;

    always @(posedge clk_i) begin
        if (value_valid_i) begin
            value_q <= value_i;
            tag_q <= value_tag_i;
            merge_q <= value_merge_i;
            phase_q <= 0;
            line_q <= {{(32-LineBits){1'b0}}, value_tag_i[4+:LineBits]};
        end else if (valid_q) begin
            phase_q <= phase_q + 1'b1;
            line_q <= line_q + (parity ? stride1_q : stride0_q);
        end
        if (low && two) begin
            high_completes_q <= completes;
            high_parity_q <= parity;
            high_space_q <= space;
            high_groups_q <= groups;
            high_line_q <= line_q + (parity ? depth1_q : depth0_q);
            for (n = 0; n < Lanes; n = n + 1) high_plane_q[8*n+:8] <= value_q[16*n+8+:8];
        end
        if (step_load_i) begin
            two_q[step_parity_i] <= step_linear_i && out_bits_i > 8;
            if (step_parity_i) begin
                depth1_q <= out_depth_i;
                stride1_q <= {16'd0, rounds[15:0]} * {16'd0, chunks[15:0]};
                key_log2_1_q <= key_log2[5:0];
            end else begin
                depth0_q <= out_depth_i;
                stride0_q <= {16'd0, rounds[15:0]} * {16'd0, chunks[15:0]};
                key_log2_0_q <= key_log2[5:0];
            end
        end
        if (!rst_ni) begin
            valid_q <= 1'b0;
            low_q <= 1'b0;
            high_q <= 1'b0;
            retired0_q <= 16'd0;
            retired1_q <= 16'd0;
        end else begin
            valid_q <= value_valid_i || (valid_q && !last);
            low_q <= value_valid_i && value_tag_i[3:2] != Values;
            high_q <= low && two;
            retired0_q <= retired0_q + retired0;
            retired1_q <= retired1_q + retired1;
            // Results of the step before last of this parity have all been written.
            if (step_load_i && !step_parity_i) retired0_q <= 16'd0;
            if (step_load_i && step_parity_i) retired1_q <= 16'd0;
        end
    end

    wire unused = &{1'b0, rounds, chunks, key_log2, tag_q};

endmodule
