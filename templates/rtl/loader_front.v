// What a linear step reads, in order: code page, table or stage parameters, weight stream; the first two a 64-bit word
// at a time, the third as beats of records.
//
// `start_i` begins with the step's words, stable until `done_o` (level, high when idle). Exactly the step's beats are
// taken: also where the page or a record is damaged (`error_o` or `fail_i`), and those beyond the last record. Where the
// result goes to VALUES, the records of heads beyond `heads_i` are not read. `units_idle_i`: nothing of a record is in
// work behind this module; the page is only written while that holds, and `done_o` waits for it.
//
// Table: four entries of 16 bits a cycle, at `table_address_o` in fours. Parameters: one of 32 bits a cycle. Page: an
// entry of K members takes ceil(max K / 8) cycles, at {entry, member / 8} eight members of 4 bits.
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

    localparam [2:0] Idle = 0, Page = 1, Table = 2, Parameters = 3, Records = 4, Drain = 5, Finish = 6;
    localparam BeatWords = BeatBytes / 8;
    localparam WordBits = BeatWords > 1 ? $clog2(BeatWords) : 1;
    localparam [31:0] LastBeatWord = BeatWords - 1;
    localparam RowsLog2 = $clog2(Rows);
    localparam [15:0] MaxEntries = 256;

    reg [2:0]          state_q;
    reg                error_q;
    // Words of a section: where in the beat, how many came before, and the part of a word that takes several cycles.
    reg [WordBits-1:0] word_q;
    reg [12:0]         count_q;
    reg                part_q;
    // The page.
    reg [15:0]         shapes_q, entries_q;
    reg                two_q;
    reg [4*43-1:0]     shape_q;
    // Records: of the stream, of the head, of the step; beats of the record, and of the stream.
    reg [31:0]         chunks_q, heads_q, groups_q, left_q, beats_q;

    wire [63:0] word = data_i[64*word_q +: 64];
    wire page_first = count_q == 0;
    wire [15:0] page_shapes = page_first ? word[15:0] : shapes_q;
    wire [15:0] page_entries = page_first ? word[31:16] : entries_q;
    wire page_fits = page_shapes <= 16'd4 && page_entries <= MaxEntries;
    wire [12:0] page_last = page_fits ? page_shapes[12:0] + page_entries[12:0] : 13'd0;
    wire is_shape = !page_first && {3'd0, count_q} <= shapes_q;
    wire [12:0] entry = count_q - 13'd1 - shapes_q[12:0];
    wire [12:0] table_last = table_bits_i[3:0] <= 4'd2 ? 13'd0 : (13'd1 << (table_bits_i[3:0] - 4'd2)) - 13'd1;

    wire section = state_q == Page || state_q == Table || state_q == Parameters;
    wire [12:0] section_last = state_q == Page ? page_last : state_q == Table ? table_last : 13'd7;
    wire last_part = state_q == Parameters || (state_q == Page && !page_first && !is_shape && two_q);
    wire step = section && data_valid_i && (state_q != Page || units_idle_i);
    wire word_done = step && part_q == last_part;
    wire section_done = word_done && count_q == section_last;
    wire beat_done = section_done || (word_done && word_q == LastBeatWord[WordBits-1:0]);

    // A shape of the page.
    wire [7:0]  take = word[7:0];
    wire [7:0]  code_bits = word[15:8];
    wire [15:0] first_entry = word[47:32];
    wire [15:0] shape_entries = word[63:48];
    wire identity = first_entry == 16'hFFFF;
    wire in_table = {1'b0, first_entry} + {1'b0, shape_entries} <= {1'b0, entries_q} && shape_entries != 0;
    wire shape_ok = take >= 8'd1 && take <= 8'd16 && code_bits <= 8'd12 && (identity ? take == 8'd1 : in_table);

    // Records.
    wire ends = groups_q == 0 || (values_i && heads_q == 0);
    wire new_record = left_q == 0;
    wire over = new_record && ends;
    wire failed = error_q || fail_i;
    wire open = state_q == Records && !over && !failed && beats_q != 0;
    wire beat_taken = open && data_valid_i && beat_ready_i;
    wire drained = state_q == Drain && beats_q != 0;
    wire [31:0] record_beats = data_i[63:32];
    // The stream is shorter than its records say.
    wire short_stream = state_q == Records && new_record && !ends
        && (beats_q == 0 || (data_valid_i && record_beats > beats_q));

    assign data_ready_o = section ? beat_done : drained || (open && beat_ready_i && !short_stream);
    assign beat_valid_o = open && data_valid_i && !short_stream;
    assign beat_first_o = new_record;
    assign done_o = state_q == Idle;
    assign error_o = error_q;
    assign shapes_o = shapes_q[2:0];
    assign shape_o = shape_q;
    assign page_we_o = step && state_q == Page && !page_first && !is_shape;
    assign page_address_o = {entry[7:0], part_q};
    assign page_data_o = word[32*part_q +: 32];
    assign table_we_o = step && state_q == Table;
    assign table_address_o = count_q[TableBits-3:0];
    assign table_data_o = word;
    assign stage_we_o = step && state_q == Parameters;
    assign stage_index_o = {count_q[2:0], part_q};
    assign stage_data_o = word[32*part_q +: 32];

    integer i;
    always @(posedge clk_i) begin
        if (start_i && state_q == Idle) begin
            chunks_q <= (pitch_i >> RowsLog2) - 32'd1;
            heads_q <= heads_i;
            groups_q <= row_groups_i;
            left_q <= 32'd0;
            beats_q <= weight_beats_i;
        end else if (state_q == Drain && beats_q != 0) begin
            if (data_valid_i) beats_q <= beats_q - 32'd1;
        end else if (beat_taken && !short_stream) begin
            beats_q <= beats_q - 32'd1;
            left_q <= !new_record ? left_q - 32'd1 : record_beats == 0 ? 32'd0 : record_beats - 32'd1;
            if (new_record) begin
                groups_q <= groups_q - 32'd1;
                chunks_q <= chunks_q == 0 ? (pitch_i >> RowsLog2) - 32'd1 : chunks_q - 32'd1;
                if (chunks_q == 0) heads_q <= heads_q - 32'd1;
            end
        end

        if (step && state_q == Page && page_first) begin
            shapes_q <= page_shapes;
            entries_q <= page_entries;
            two_q <= 1'b0;
        end
        if (step && state_q == Page && is_shape) begin
            for (i = 0; i < 4; i = i + 1)
                if (count_q == i[12:0] + 13'd1)
                    shape_q[43*i +: 43] <= {identity, shape_entries[8:0], first_entry[7:0], word[31:16], code_bits[3:0],
                        take[4:0]};
            if (!identity && take > 8'd8) two_q <= 1'b1;
        end

        if (!rst_ni) begin
            state_q <= Idle;
            error_q <= 1'b0;
            word_q <= 0;
            count_q <= 13'd0;
            part_q <= 1'b0;
        end else begin
            if (start_i && state_q == Idle) error_q <= row_groups_i == 0;
            else if (fail_i || short_stream) error_q <= 1'b1;
            else if (step && state_q == Page && (page_first ? !page_fits : is_shape && !shape_ok)) error_q <= 1'b1;

            if (step) part_q <= !word_done;
            if (word_done) begin
                word_q <= beat_done ? 0 : word_q + 1'b1;
                count_q <= section_done ? 13'd0 : count_q + 13'd1;
            end

            case (state_q)
                Idle: if (start_i) state_q <= Page;
                Page: if (section_done) state_q <= table_bits_i != 0 ? Table : stage_i != 0 ? Parameters : Records;
                Table: if (section_done) state_q <= stage_i != 0 ? Parameters : Records;
                Parameters: if (section_done) state_q <= Records;
                Records: if (over || failed || short_stream) state_q <= Drain;
                Drain: if (beats_q == 0) state_q <= Finish;
                default: if (units_idle_i) state_q <= Idle;
            endcase
        end
    end

    wire unused = &{1'b0, page_shapes, page_entries, entry, table_bits_i, shape_entries, first_entry, count_q};

endmodule
