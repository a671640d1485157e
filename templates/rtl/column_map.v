// The column maps of the records, out of their bits into `column_lists`: up to 16 entries or 16 columns a cycle.
//
// A request is the map of one record: kind 1 identity, 2 list, 3 bitmap; its bits begin with 64-bit word `StartLane` of
// the next beat. When the lists stand, they are offered with `list_valid_o` until `list_taken_i`; they lie from column
// `list_base_o` of the memory on. Two short lists (half of the memory each) live beside each other, so that one is
// filled while codes look columns up in the other: writes wait until the lists before are taken and no look-up in older
// ones is under way (`list_old_i`). Before and after a longer list they wait until the expander stands before this very
// record (`list_waiting_i`).
//
// `error_o`: an offset beyond the depth, or a bitmap of more columns than the header says.
module column_map #(
    parameter Banks = 2,
    parameter Rows = 1,
    parameter BeatBytes = 8,
    parameter Depth = 4,
    parameter OffsetBits = Depth > 1 ? $clog2(Depth) : 1,
    parameter Words = (4 * Depth + 31) / 16,
    parameter WordBits = $clog2(Words),
    parameter ColumnBits = WordBits + 4
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,
    // Of the step: words per bank, and the bits of an offset in a list.
    input  wire [11:0]              depth_i,
    input  wire [3:0]               offset_bits_i,

    input  wire                     request_valid_i,
    output wire                     request_ready_o,
    input  wire [1:0]               kind_i,
    input  wire [ColumnBits:0]      columns_i,
    input  wire                     beat_valid_i,
    output wire                     beat_ready_o,
    input  wire [8*BeatBytes-1:0]   beat_i,

    output wire [Banks-1:0]         we_o,
    output wire [WordBits-1:0]      word_o,
    output wire [16*OffsetBits-1:0] data_o,

    output wire                     list_valid_o,
    input  wire                     list_taken_i,
    output wire                     list_identity_o,
    output wire [ColumnBits-1:0]    list_base_o,
    output wire [ColumnBits:0]      list_count_o,
    input  wire                     list_old_i,
    input  wire                     list_waiting_i,

    output wire                     idle_o,
    output wire                     error_o
);

    localparam [1:0] Identity = 1, Bitmap = 3;
    localparam [31:0] Sixteen = 16;
    localparam BeatBits = 8 * BeatBytes;
    localparam BeatLog2 = $clog2(BeatBits);
    localparam ChunkBits = 16 * OffsetBits;
    localparam WindowBeats = (BeatBits - 1 + ChunkBits + BeatBits - 1) / BeatBits;
    localparam [31:0] StartBit = 64 * ((1 + Rows) % (BeatBytes / 8));
    localparam [31:0] HalfWords = Words / 2;
    localparam [31:0] HalfColumns = 16 * (Words / 2);
    localparam BankBits = Banks > 1 ? $clog2(Banks) : 1;
    localparam [31:0] LastBank = Banks - 1;
    // Entries of a bank: of a list, or bits of a bitmap.
    localparam CountBits = ColumnBits + 1 > 12 ? ColumnBits + 1 : 12;

    // The next request, with the length of its chunks.
    reg                  next_q;
    reg [1:0]            next_kind_q;
    reg [ColumnBits:0]   next_columns_q;
    reg [CountBits-1:0]  next_total_q;
    reg [7:0]            next_full_q, next_tail_q;

    // Chunks: `left_q` of the bank, with this one.
    reg                  active_q, empty_q;
    reg [1:0]            kind_q;
    reg [ColumnBits:0]   columns_q;
    reg [CountBits-1:0]  total_q, left_q;
    reg [7:0]            full_q, tail_q;
    reg [BankBits-1:0]   bank_q;
    reg [OffsetBits-1:0] column_q;

    // A chunk's bits.
    reg                  raw_valid_q, raw_empty_q, raw_tail_q, raw_last_q;
    reg [1:0]            raw_kind_q;
    reg [ColumnBits:0]   raw_columns_q;
    reg [ChunkBits-1:0]  raw_q;
    reg [4:0]            raw_count_q;
    reg [BankBits-1:0]   raw_bank_q;
    reg [OffsetBits-1:0] raw_column_q;

    // A chunk's entries.
    reg                  put_valid_q, put_empty_q, put_tail_q, put_last_q, put_bitmap_q, put_identity_q, range_q;
    reg [ColumnBits:0]   put_columns_q;
    reg [ChunkBits-1:0]  put_q;
    reg [4:0]            put_count_q;
    reg [BankBits-1:0]   put_bank_q;

    // The word of a bank's list that is being filled, and where it goes.
    reg                  granted_q, more_q, half_q, long_q;
    reg [ChunkBits-1:0]  stage_q;
    reg [4:0]            fill_q;
    reg [OffsetBits-1:0] last_q;
    reg [WordBits:0]     words_q;
    reg [ColumnBits:0]   kept_q;

    reg                  list_valid_q, list_identity_q, error_q;
    reg [ColumnBits-1:0] list_base_q;
    reg [ColumnBits:0]   list_count_q;

    reg [Banks-1:0]      we_q;
    reg [WordBits-1:0]   word_q;
    reg [ChunkBits-1:0]  data_q;

    integer i;

    // ---- Requests
    wire [CountBits-1:0] total = kind_i == Bitmap ? {{(CountBits-12){1'b0}}, depth_i}
        : {{(CountBits-ColumnBits-1){1'b0}}, columns_i};
    wire [ColumnBits+12:0] depth_wide = {{(ColumnBits+1){1'b0}}, depth_i};
    wire [11:0] depth_less = depth_i - 12'd1;
    wire [OffsetBits+11:0] last_wide = {{OffsetBits{1'b0}}, depth_less};
    wire [OffsetBits-1:0] last_column = last_wide[OffsetBits-1:0];
    wire [3:0] tail_less = total[3:0] - 4'd1;
    wire [4:0] tail = {1'b0, tail_less} + 5'd1;
    wire [7:0] tail_wide = {3'd0, tail};
    wire [7:0] tail_bits = (offset_bits_i[0] ? tail_wide : 8'd0) + (offset_bits_i[1] ? tail_wide << 1 : 8'd0)
        + (offset_bits_i[2] ? tail_wide << 2 : 8'd0) + (offset_bits_i[3] ? tail_wide << 3 : 8'd0);

    wire window_valid, put_done;
    wire [ChunkBits-1:0] window;
    wire advance = !put_valid_q || put_done;
    wire is_tail = left_q <= 16;
    wire fire = active_q && advance && (empty_q || window_valid);
    wire last = empty_q || (is_tail && bank_q == LastBank[BankBits-1:0]);
    wire load = next_q && (!active_q || (fire && last));
    wire next_empty = next_kind_q == Identity || next_total_q == 0;
    wire [CountBits-1:0] left_d = is_tail ? total_q : left_q - {{(CountBits-5){1'b0}}, 5'd16};
    wire [7:0] units = load ? (next_total_q <= 16 ? next_tail_q : next_full_q) : left_d <= 16 ? tail_q : full_q;

    assign request_ready_o = !next_q || load;

    field_window #(
        .BeatBytes(BeatBytes), .UnitBits(1), .OutBits(ChunkBits), .TakeBits(8), .Beats(WindowBeats)
    ) bits (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(beat_valid_i),
        .ready_o(beat_ready_o),
        .data_i(beat_i),
        .restart_i(load),
        .start_i(StartBit[BeatLog2-1:0]),
        .take_i(fire && !empty_q),
        // After the last chunk the window wants nothing more.
        .units_i((load ? next_empty : last) ? 8'd0 : units),
        .valid_o(window_valid),
        .data_o(window)
    );

    always @(posedge clk_i) begin
        if (request_valid_i && request_ready_o) begin
            next_kind_q <= kind_i;
            next_columns_q <= kind_i == Identity ? depth_wide[ColumnBits:0] : columns_i;
            next_total_q <= total;
            next_full_q <= kind_i == Bitmap ? 8'd16 : {offset_bits_i, 4'd0};
            next_tail_q <= kind_i == Bitmap ? tail_wide : tail_bits;
        end
        if (load) begin
            kind_q <= next_kind_q;
            columns_q <= next_columns_q;
            total_q <= next_total_q;
            left_q <= next_total_q;
            full_q <= next_full_q;
            tail_q <= next_tail_q;
            empty_q <= next_empty;
            bank_q <= 0;
            column_q <= 0;
        end else if (fire) begin
            left_q <= left_d;
            column_q <= is_tail ? 0 : column_q + Sixteen[OffsetBits-1:0];
            if (is_tail) bank_q <= bank_q + 1'b1;
        end
        if (advance) begin
            raw_q <= window;
            raw_empty_q <= empty_q;
            raw_tail_q <= is_tail;
            raw_last_q <= last;
            raw_kind_q <= kind_q;
            raw_columns_q <= columns_q;
            raw_count_q <= is_tail ? left_q[4:0] : 5'd16;
            raw_bank_q <= bank_q;
            raw_column_q <= column_q;
        end
        if (!rst_ni) begin
            next_q <= 1'b0;
            active_q <= 1'b0;
            raw_valid_q <= 1'b0;
            put_valid_q <= 1'b0;
        end else begin
            next_q <= (request_valid_i && request_ready_o) || (next_q && !load);
            active_q <= load || (active_q && !(fire && last));
            if (advance) begin
                raw_valid_q <= fire;
                put_valid_q <= raw_valid_q;
            end
        end
    end

    // ---- Bits to entries: fields of a list, or the numbers of the set bits moved together
    wire [15:0] bit_set = raw_q[15:0] & ~(16'hFFFF << raw_count_q);

    // Sixteen fields, and above them whether one of the first `count` is no column.
    function [ChunkBits:0] listed;
        input [ChunkBits-1:0] raw;
        input [4:0]           entries;
        integer               at, width;
        reg [OffsetBits-1:0]  field;
        begin
            listed = 0;
            for (at = 0; at < 16; at = at + 1) begin
                field = 0;
                for (width = 1; width <= OffsetBits; width = width + 1)
                    if (offset_bits_i == width[3:0])
                        field = raw[at*width +: OffsetBits] & ~({OffsetBits{1'b1}} << width);
                listed[at*OffsetBits +: OffsetBits] = field;
                if (at[4:0] < entries && field > last_column) listed[ChunkBits] = 1'b1;
            end
        end
    endfunction

    // Columns first + n of the set bits n.
    function [ChunkBits-1:0] compact;
        input [15:0]           set;
        input [OffsetBits-1:0] first;
        integer                at, to;
        reg [4:0]              below;
        reg [OffsetBits-1:0]   number;
        begin
            compact = 0;
            below = 5'd0;
            for (at = 0; at < 16; at = at + 1) begin
                number = first | at[OffsetBits-1:0];
                for (to = 0; to <= at; to = to + 1)
                    if (set[at] && below == to[4:0])
                        compact[to*OffsetBits +: OffsetBits] = compact[to*OffsetBits +: OffsetBits]
                            | number;
                below = below + {4'd0, set[at]};
            end
        end
    endfunction

    function [4:0] ones;
        input [15:0] set;
        integer      at;
        begin
            ones = 5'd0;
            for (at = 0; at < 16; at = at + 1) ones = ones + {4'd0, set[at]};
        end
    endfunction

    always @(posedge clk_i) begin
        // Left alone where nothing comes: the functions are large.
        if (advance && raw_valid_q) begin
            if (raw_kind_q == Bitmap) begin
                put_q <= compact(bit_set, raw_column_q);
                put_count_q <= ones(bit_set);
                range_q <= 1'b0;
            end else begin
                {range_q, put_q} <= listed(raw_q, raw_count_q);
                put_count_q <= raw_count_q;
            end
            put_empty_q <= raw_empty_q;
            put_tail_q <= raw_tail_q;
            put_last_q <= raw_last_q;
            put_bitmap_q <= raw_kind_q == Bitmap;
            put_identity_q <= raw_kind_q == Identity;
            put_columns_q <= raw_columns_q;
            put_bank_q <= raw_bank_q;
        end
    end

    // ---- Entries to words: the last one repeated up to the end of a bank's list
    wire long = put_columns_q > HalfColumns[ColumnBits:0] && !put_identity_q;
    wire grant = !list_valid_q && (put_identity_q || (!list_old_i && (!(long || long_q) || list_waiting_i)));
    wire may_put = put_valid_q && (granted_q || grant);
    wire [4:0] count = more_q ? 5'd0 : put_count_q;
    wire [5:0] filled = {1'b0, fill_q} + {1'b0, count};
    wire [2*ChunkBits-1:0] placed0 = more_q ? 0 : {{ChunkBits{1'b0}}, put_q};
    wire [2*ChunkBits-1:0] placed1 = fill_q[0] ? placed0 << OffsetBits : placed0;
    wire [2*ChunkBits-1:0] placed2 = fill_q[1] ? placed1 << (2 * OffsetBits) : placed1;
    wire [2*ChunkBits-1:0] placed3 = fill_q[2] ? placed2 << (4 * OffsetBits) : placed2;
    wire [2*ChunkBits-1:0] placed4 = fill_q[3] ? placed3 << (8 * OffsetBits) : placed3;
    wire [2*ChunkBits-1:0] joined = {{ChunkBits{1'b0}}, stage_q} | placed4;
    wire [4:0] top = count - 5'd1;
    wire [OffsetBits-1:0] newest = count != 0 ? put_q[top[3:0]*OffsetBits +: OffsetBits] : last_q;
    wire [ColumnBits:0] round_up = put_columns_q + {{(ColumnBits-3){1'b0}}, 4'd15};
    wire [WordBits:0] words_total = round_up[ColumnBits:4];
    wire writes = !put_empty_q && (put_tail_q || filled >= 16);
    wire [WordBits:0] words_d = writes ? words_q + 1'b1 : words_q;
    wire bank_done = put_tail_q && words_d >= words_total;
    wire [WordBits-1:0] base_word = long || !half_q ? 0 : HalfWords[WordBits-1:0];
    wire [ColumnBits:0] kept_d = kept_q + {{(ColumnBits-4){1'b0}}, count};
    wire publish = may_put && put_last_q && (put_empty_q || bank_done);

    assign put_done = may_put && (put_empty_q || !put_tail_q || bank_done);

    reg [ChunkBits-1:0] closed;
    always @* begin
        closed = joined[ChunkBits-1:0];
        for (i = 0; i < 16; i = i + 1)
            if (put_tail_q && i[5:0] >= filled) closed[i*OffsetBits +: OffsetBits] = newest;
    end

    always @(posedge clk_i) begin
        if (may_put) begin
            data_q <= closed;
            word_q <= base_word + words_q[WordBits-1:0];
        end
        if (may_put && !put_empty_q) last_q <= bank_done ? 0 : newest;
        if (publish) begin
            list_identity_q <= put_identity_q;
            list_base_q <= put_identity_q ? 0 : {base_word, 4'd0};
            list_count_q <= put_columns_q;
        end
        if (!rst_ni) begin
            we_q <= 0;
            granted_q <= 1'b0;
            more_q <= 1'b0;
            half_q <= 1'b0;
            long_q <= 1'b0;
            stage_q <= 0;
            fill_q <= 5'd0;
            words_q <= 0;
            kept_q <= 0;
            last_q <= 0;
            list_valid_q <= 1'b0;
            error_q <= 1'b0;
        end else begin
            for (i = 0; i < Banks; i = i + 1)
                we_q[i] <= may_put && writes && put_bank_q == i[BankBits-1:0] && words_q < words_total;
            if (may_put) granted_q <= !publish;
            if (may_put && !put_empty_q) begin
                more_q <= put_tail_q && !bank_done;
                if (bank_done) begin
                    stage_q <= 0;
                    fill_q <= 5'd0;
                    words_q <= 0;
                    kept_q <= 0;
                end else begin
                    stage_q <= writes ? joined[2*ChunkBits-1:ChunkBits] : joined[ChunkBits-1:0];
                    fill_q <= writes ? (filled > 16 ? filled[4:0] - 5'd16 : 5'd0) : filled[4:0];
                    words_q <= words_d;
                    kept_q <= kept_d;
                end
            end
            if (publish && !put_identity_q) begin
                half_q <= !half_q;
                long_q <= long;
            end
            list_valid_q <= publish || (list_valid_q && !list_taken_i);
            error_q <= may_put && !put_empty_q && (put_bitmap_q ? kept_d > put_columns_q : range_q);
        end
    end

    assign we_o = we_q;
    assign word_o = word_q;
    assign data_o = data_q;
    assign list_valid_o = list_valid_q;
    assign list_identity_o = list_identity_q;
    assign list_base_o = list_base_q;
    assign list_count_o = list_count_q;
    assign error_o = error_q;
    assign idle_o = !next_q && !active_q && !raw_valid_q && !put_valid_q && !error_q;

    wire unused = &{1'b0, depth_wide, last_wide, fill_q[4], top[4], round_up[3:0], words_q[WordBits]};

endmodule
