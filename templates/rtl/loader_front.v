// What a linear step reads, in order: code page, table or stage parameters, weight stream; the first two a 64-bit word
// at a time, the third as beats of records.
//
// `start_i` begins with the step's words, stable until `done_o` (level, high when idle). Exactly the step's beats are
// taken: also where the page or a record is damaged (`error_o` or `fail_i`), and those beyond the last record. Where the
// result goes to VALUES, the records of heads beyond `heads_i` are not read. `units_idle_i`: nothing of a record is in
// work behind this module; the page is only written while that holds, and `done_o` waits for it.
//
// Table: four entries of 16 bits a cycle, at `table_address_o` in fours. Parameters: one of 32 bits a cycle. Page: an
// entry of K members takes ceil(max K / 8) cycles, at {entry, member / 8} eight members of 4 bits; its header takes two.
module loader_front #(
    parameter Rows = 1,
    parameter BeatBytes = 8,
    parameter TableBits = 8
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,

    input  wire                   start_i,
    input  wire                   units_idle_i,
    input  wire                   fail_i,
    output wire                   done_o,
    output wire                   error_o,
    input  wire [31:0]            row_groups_i,
    input  wire [31:0]            weight_beats_i,
    input  wire [31:0]            table_bits_i,
    input  wire [31:0]            stage_i,
    // VALUES, with its heads and their pitch.
    input  wire                   values_i,
    input  wire [31:0]            heads_i,
    input  wire [31:0]            pitch_i,

    input  wire                   data_valid_i,
    output wire                   data_ready_o,
    input  wire [8*BeatBytes-1:0] data_i,

    // {identity, entries, first entry, stride, code bits, take} of each shape
    output wire [2:0]             shapes_o,
    output wire [4*43-1:0]        shape_o,
    output wire                   page_we_o,
    output wire [8:0]             page_address_o,
    output wire [31:0]            page_data_o,
    output wire                   table_we_o,
    output wire [TableBits-3:0]   table_address_o,
    output wire [63:0]            table_data_o,
    output wire                   stage_we_o,
    output wire [3:0]             stage_index_o,
    output wire [31:0]            stage_data_o,

    output wire                   beat_valid_o,
    input  wire                   beat_ready_i,
    output wire                   beat_first_o
);

    localparam Page = 0, Table = 1, Parameters = 2, Records = 3, Drain = 4, Finish = 5;
    localparam BeatWords = BeatBytes / 8;
    localparam WordBits = BeatWords > 1 ? $clog2(BeatWords) : 1;
    localparam [31:0] LastBeatWord = BeatWords - 1;
    localparam RowsLog2 = $clog2(Rows);
    localparam [15:0] MaxEntries = 256;

    // One bit of a state; none is idle.
    reg [Finish:0]     state_q;
    reg                error_q;
    // Words of a section: where in the beat, how many came before, and the part of a word that takes several cycles.
    reg [WordBits-1:0] word_q;
    reg [12:0]         count_q;
    reg                part_q;
    // The page.
    reg [15:0]         shapes_q, entries_q;
    reg                two_q;
    reg [4*43-1:0]     shape_q;
    // The page's word at hand: its header, a shape, or else of an entry. A shape that came is looked at a cycle later.
    reg                header_q, is_shape_q, came_q, bad_q;
    reg [7:0]          entry_q, take_q, code_bits_q;
    reg [15:0]         first_entry_q, shape_entries_q;
    // The section's last word, and whether it is at hand.
    reg [12:0]         last_q;
    reg                is_last_q;
    // Records: of the stream, of the head, of the step; beats of the record, and of the stream.
    reg [31:0]         heads_q, groups_q, left_q, beats_q;
    // What follows from them: a record begins, there are no more of them, no more beats, the stream is too short.
    reg                new_q, ends_q, empty_q, short_q;

    wire [63:0] word = data_i[64*word_q +: 64];
    wire page_fits = word[15:0] <= 16'd4 && word[31:16] <= MaxEntries;
    wire [12:0] page_last = shapes_q[12:0] + entries_q[12:0];
    wire [12:0] table_last = table_bits_i[3:0] <= 4'd2 ? 13'd0 : (13'd1 << (table_bits_i[3:0] - 4'd2)) - 13'd1;
    wire to_table = state_q[Page] && table_bits_i != 0;

    wire idle = state_q == 0;
    wire section = state_q[Page] || state_q[Table] || state_q[Parameters];
    wire last_part = state_q[Parameters] || (state_q[Page] && (header_q || (!is_shape_q && two_q)));
    wire step = data_valid_i && (state_q[Table] || state_q[Parameters] || (state_q[Page] && units_idle_i));
    wire word_done = step && part_q == last_part;
    wire section_done = word_done && is_last_q;
    wire beat_done = section_done || (word_done && word_q == LastBeatWord[WordBits-1:0]);

    // A shape of the page.
    wire [15:0] first_entry = word[47:32];
    wire identity = first_entry == 16'hFFFF;
    wire identity_q = first_entry_q == 16'hFFFF;
    wire in_table = {1'b0, first_entry_q} + {1'b0, shape_entries_q} <= {1'b0, entries_q} && shape_entries_q != 0;
    wire shape_ok = take_q >= 8'd1 && take_q <= 8'd16 && code_bits_q <= 8'd12 && (identity_q ? take_q == 8'd1 : in_table);

    // Records.
    wire over = new_q && ends_q;
    wire failed = error_q || fail_i || short_q;
    wire open = state_q[Records] && !over && !failed && !empty_q;
    wire beat_taken = open && data_valid_i && beat_ready_i;
    wire drained = state_q[Drain] && !empty_q;
    wire [31:0] record_beats = data_i[63:32];
    // Records of a head.
    wire last_chunk;
    countdown #(.Bits(32)) chunks_left (
        .clk_i(clk_i), .start_i(start_i && idle), .count_i(pitch_i >> RowsLog2), .step_i(beat_taken && new_q),
        .last_o(last_chunk)
    );

    assign data_ready_o = section ? beat_done : drained || (open && beat_ready_i);
    assign beat_valid_o = open && data_valid_i;
    assign beat_first_o = new_q;
    assign done_o = idle;
    assign error_o = error_q;
    assign shapes_o = shapes_q[2:0];
    assign shape_o = shape_q;
    assign page_we_o = step && state_q[Page] && !header_q && !is_shape_q;
    assign page_address_o = {entry_q, part_q};
    assign page_data_o = word[32*part_q +: 32];
    assign table_we_o = step && state_q[Table];
    assign table_address_o = count_q[TableBits-3:0];
    assign table_data_o = word;
    assign stage_we_o = step && state_q[Parameters];
    assign stage_index_o = {count_q[2:0], part_q};
    assign stage_data_o = word[32*part_q +: 32];

    integer i;
    always @(posedge clk_i) begin
        if (start_i && idle) begin
            heads_q <= heads_i;
            groups_q <= row_groups_i;
            new_q <= 1'b1;
            ends_q <= row_groups_i == 0 || (values_i && heads_i == 0);
            beats_q <= weight_beats_i;
            empty_q <= weight_beats_i == 0;
        end else begin
            if (beat_taken || (drained && data_valid_i)) begin
                beats_q <= beats_q - 32'd1;
                empty_q <= beats_q == 32'd1;
            end
            if (beat_taken) begin
                left_q <= (new_q ? record_beats : left_q) - 32'd1;
                new_q <= new_q ? record_beats[31:1] == 0 : left_q == 32'd1;
            end
            if (beat_taken && new_q) begin
                groups_q <= groups_q - 32'd1;
                if (last_chunk) heads_q <= heads_q - 32'd1;
                ends_q <= groups_q == 32'd1 || (values_i && last_chunk && heads_q == 32'd1);
            end
        end

        // The page; its header takes two cycles.
        if (step && header_q) begin
            if (!part_q) begin
                shapes_q <= word[15:0];
                entries_q <= word[31:16];
            end
            two_q <= 1'b0;
            entry_q <= 8'd0;
        end
        if (step && state_q[Page] && !header_q && is_shape_q) begin
            for (i = 0; i < 4; i = i + 1)
                if (count_q[2:0] == i[2:0] + 3'd1)
                    shape_q[43*i +: 43] <= {identity, word[56:48], first_entry[7:0], word[31:16], word[11:8], word[4:0]};
            take_q <= word[7:0];
            code_bits_q <= word[15:8];
            first_entry_q <= first_entry;
            shape_entries_q <= word[63:48];
            if (!identity && word[7:0] > 8'd8) two_q <= 1'b1;
        end
        if (page_we_o && word_done) entry_q <= entry_q + 8'd1;

        if (section_done) begin
            is_last_q <= to_table && table_last == 0;
            last_q <= to_table ? table_last : 13'd7;
        end else if (word_done) begin
            if (header_q) last_q <= page_last;
            is_last_q <= header_q ? page_last == 13'd1 : count_q + 13'd1 == last_q;
        end else if (step && header_q) begin
            // A page of its header alone.
            is_last_q <= !page_fits || word[31:0] == 0;
        end

        if (!rst_ni) begin
            state_q <= 0;
            error_q <= 1'b0;
            short_q <= 1'b0;
            came_q <= 1'b0;
            bad_q <= 1'b0;
            word_q <= 0;
            count_q <= 13'd0;
            part_q <= 1'b0;
            header_q <= 1'b0;
        end else begin
            came_q <= step && state_q[Page] && !header_q && is_shape_q;
            bad_q <= came_q && !shape_ok;
            // The stream is shorter than its records say.
            short_q <= state_q[Records] && new_q && !ends_q && !failed && (empty_q || (beat_taken && record_beats > beats_q));
            if (start_i && idle) error_q <= row_groups_i == 0;
            else if (fail_i || short_q || bad_q) error_q <= 1'b1;
            else if (step && header_q && !page_fits) error_q <= 1'b1;

            if (step) part_q <= !word_done;
            if (word_done) begin
                word_q <= beat_done ? 0 : word_q + 1'b1;
                count_q <= section_done ? 13'd0 : count_q + 13'd1;
                header_q <= 1'b0;
                is_shape_q <= header_q ? shapes_q != 0 : count_q[2:0] < shapes_q[2:0] && is_shape_q;
            end

            if (idle) begin
                state_q[Page] <= start_i;
                header_q <= start_i;
            end
            if (section_done) begin
                state_q[Parameters:Page] <= 0;
                if (to_table) state_q[Table] <= 1'b1;
                else if (stage_i != 0 && !state_q[Parameters]) state_q[Parameters] <= 1'b1;
                else state_q[Records] <= 1'b1;
            end
            if (state_q[Records] && (over || failed)) begin
                state_q[Records] <= 1'b0;
                state_q[Drain] <= 1'b1;
            end
            if (state_q[Drain] && empty_q) begin
                state_q[Drain] <= 1'b0;
                state_q[Finish] <= 1'b1;
            end
            if (state_q[Finish] && units_idle_i) state_q[Finish] <= 1'b0;
        end
    end

    wire unused = &{1'b0, table_bits_i, word, first_entry_q, shape_entries_q};

endmodule
