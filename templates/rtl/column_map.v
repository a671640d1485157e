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
    localparam ReachBits = (BeatLog2 > 8 ? BeatLog2 : 8) + 1;
    localparam [31:0] InBeat = BeatBits - 1;
    localparam ChunksBits = CountBits - 4;
    localparam RawBits = ChunkBits + 3 + 2 + ColumnBits + 1 + 5 + BankBits + OffsetBits;

    // The next request: chunks of a bank behind the first one, entries and bits of the last one.
    reg                  next_q, next_empty_q;
    reg [1:0]            next_kind_q;
    reg [ColumnBits:0]   next_columns_q;
    reg [ChunksBits-1:0] next_more_q;
    reg                  next_one_q;
    reg [4:0]            next_end_q;
    reg [7:0]            next_full_q, next_tail_q;
    reg [15:0]           next_used_q;

    // Chunks: `left_q` of the bank behind this one. This chunk, or the one behind it, ends a bank; this one ends the map.
    reg                  active_q, empty_q;
    reg [1:0]            kind_q;
    reg [ColumnBits:0]   columns_q;
    reg [ChunksBits-1:0] more_q, left_q;
    reg                  one_q, is_tail_q, then_tail_q, ends_q;
    reg [4:0]            end_q;
    reg [7:0]            full_q, tail_q;
    reg [ReachBits-1:0]  full_reach_q, tail_reach_q;
    // Bits of the last chunk of a bank that belong to a bitmap; all of a list's.
    reg [15:0]           used_q;
    reg [BankBits-1:0]   bank_q;
    reg [OffsetBits-1:0] column_q;

    // A chunk: fields of a list, or of a bitmap the bits, and for each how many set ones are before it.
    reg                  sum_valid_q, sum_empty_q, sum_tail_q, sum_last_q;
    reg [1:0]            sum_kind_q;
    reg [ColumnBits:0]   sum_columns_q;
    reg [ChunkBits-1:0]  fields_q;
    reg [15:0]           set_q;
    reg [63:0]           below_q;
    reg [4:0]            sum_count_q;
    reg [BankBits-1:0]   sum_bank_q;
    reg [OffsetBits-1:0] sum_column_q;

    // A chunk's entries.
    reg                  put_valid_q, put_empty_q, put_tail_q, put_last_q, put_bitmap_q, put_identity_q, put_long_q;
    reg [ColumnBits:0]   put_columns_q;
    reg [WordBits:0]     put_words_q;
    reg [ChunkBits-1:0]  put_q;
    reg [4:0]            put_count_q;
    reg [BankBits-1:0]   put_bank_q;
    reg [15:0]           range_q;

    // The word of a bank's list that is being filled, and where it goes.
    reg                  granted_q, rest_q, half_q, long_q;
    reg [ChunkBits-1:0]  stage_q;
    reg [4:0]            fill_q;
    reg [OffsetBits-1:0] last_q;
    reg [WordBits:0]     words_q;
    reg [ColumnBits:0]   kept_q;

    // What a word brought, looked at a cycle later: entries of the bank up to here, or fields that are no columns.
    reg                  seen_q, seen_bitmap_q;
    reg [ColumnBits:0]   seen_kept_q, seen_columns_q;
    reg [15:0]           seen_range_q;

    reg                  list_valid_q, list_identity_q, error_q;
    reg [ColumnBits-1:0] list_base_q;
    reg [ColumnBits:0]   list_count_q;

    reg [Banks-1:0]      we_q;
    reg [WordBits-1:0]   word_q;
    reg [ChunkBits-1:0]  data_q;

    integer i, entry;

    // ---- Requests
    wire [CountBits-1:0] total = kind_i == Bitmap ? {{(CountBits-12){1'b0}}, depth_i}
        : {{(CountBits-ColumnBits-1){1'b0}}, columns_i};
    wire [ColumnBits+12:0] depth_wide = {{(ColumnBits+1){1'b0}}, depth_i};
    wire [11:0] depth_less = depth_i - 12'd1;
    wire [OffsetBits+11:0] last_wide = {{OffsetBits{1'b0}}, depth_less};
    wire [OffsetBits-1:0] last_column = last_wide[OffsetBits-1:0];
    // Of a bank's last chunk, 1 to 16 each.
    wire [7:0] list_tail = {3'd0, columns_i[3:0] == 0, columns_i[3:0]};
    wire [7:0] bitmap_tail = {3'd0, depth_i[3:0] == 0, depth_i[3:0]};
    wire [7:0] list_bits = (offset_bits_i[0] ? list_tail : 8'd0) + (offset_bits_i[1] ? list_tail << 1 : 8'd0)
        + (offset_bits_i[2] ? list_tail << 2 : 8'd0) + (offset_bits_i[3] ? list_tail << 3 : 8'd0);

    wire [CountBits-1:0] total_less = total - 1'b1;
    wire [7:0] full = kind_i == Bitmap ? 8'd16 : {offset_bits_i, 4'd0};

    wire window_valid, put_done, raw_valid, raw_ready, raw_room;
    wire [ChunkBits-1:0] window;
    wire fire = active_q && raw_room && (empty_q || window_valid);
    wire load = next_q && (!active_q || (fire && ends_q));
    wire [ChunksBits-1:0] left_d = is_tail_q ? more_q : left_q - 1'b1;
    wire [BankBits-1:0] bank_d = is_tail_q ? bank_q + 1'b1 : bank_q;
    // Of the chunk behind the next one: the first of a bank behind its tail.
    wire then_tail_d = then_tail_q ? one_q : is_tail_q ? more_q == 1 : left_q == 2;
    wire [ChunkBits+15:0] used = {{ChunkBits{1'b1}}, is_tail_q ? used_q : 16'hFFFF};

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
        .first_i(next_empty_q ? 8'd0 : next_one_q ? next_tail_q : next_full_q),
        .take_i(fire && !empty_q),
        // After the last chunk the window wants nothing more.
        .units_i(ends_q ? 8'd0 : then_tail_q ? tail_q : full_q),
        .reach_i(ends_q ? {ReachBits{1'b0}} : then_tail_q ? tail_reach_q : full_reach_q),
        .valid_o(window_valid),
        .data_o(window)
    );

    always @(posedge clk_i) begin
        if (request_ready_o) begin
            next_kind_q <= kind_i;
            next_columns_q <= kind_i == Identity ? depth_wide[ColumnBits:0] : columns_i;
            next_empty_q <= kind_i == Identity || total == 0;
            next_more_q <= total_less[CountBits-1:4];
            next_one_q <= total_less[CountBits-1:4] == 0;
            next_end_q <= kind_i == Bitmap ? bitmap_tail[4:0] : list_tail[4:0];
            next_full_q <= full;
            next_tail_q <= kind_i == Bitmap ? bitmap_tail : list_bits;
            next_used_q <= kind_i == Bitmap ? ~(16'hFFFF << bitmap_tail[4:0]) : 16'hFFFF;
        end
        if (load) begin
            kind_q <= next_kind_q;
            columns_q <= next_columns_q;
            more_q <= next_more_q;
            left_q <= next_more_q;
            one_q <= next_one_q;
            is_tail_q <= next_one_q;
            then_tail_q <= next_one_q || next_more_q == 1;
            ends_q <= next_empty_q || (next_one_q && LastBank == 0);
            end_q <= next_end_q;
            full_q <= next_full_q;
            tail_q <= next_tail_q;
            full_reach_q <= {{(ReachBits-8){1'b0}}, next_full_q} + InBeat[ReachBits-1:0];
            tail_reach_q <= {{(ReachBits-8){1'b0}}, next_tail_q} + InBeat[ReachBits-1:0];
            used_q <= next_used_q;
            empty_q <= next_empty_q;
            bank_q <= 0;
            column_q <= 0;
        end else if (fire) begin
            left_q <= left_d;
            is_tail_q <= then_tail_q;
            then_tail_q <= then_tail_d;
            ends_q <= then_tail_q && bank_d == LastBank[BankBits-1:0];
            bank_q <= bank_d;
            column_q <= is_tail_q ? 0 : column_q + Sixteen[OffsetBits-1:0];
        end
        if (!rst_ni) begin
            next_q <= 1'b0;
            active_q <= 1'b0;
        end else begin
            next_q <= request_ready_o ? request_valid_i : 1'b1;
            active_q <= load || (active_q && !(fire && ends_q));
        end
    end

    // The chunks wait here where the lists may not be written yet: the window takes no notice in the same cycle.
    wire                  raw_empty, raw_tail, raw_last;
    wire [1:0]            raw_kind;
    wire [ColumnBits:0]   raw_columns;
    wire [ChunkBits-1:0]  raw;
    wire [4:0]            raw_count;
    wire [BankBits-1:0]   raw_bank;
    wire [OffsetBits-1:0] raw_column;

    stream_slice #(.Width(RawBits)) chunks (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(fire),
        .ready_o(raw_room),
        .data_i({empty_q, is_tail_q, ends_q, kind_q, columns_q, window & used[ChunkBits-1:0],
            is_tail_q ? end_q : 5'd16, bank_q, column_q}),
        .valid_o(raw_valid),
        .ready_i(raw_ready),
        .data_o({raw_empty, raw_tail, raw_last, raw_kind, raw_columns, raw, raw_count, raw_bank, raw_column})
    );

    // ---- Bits to entries: fields of a list, or the numbers of the set bits moved together; two stages that move together
    wire advance = !put_valid_q || put_done;
    wire [15:0] bit_set = raw[15:0];

    assign raw_ready = advance;

    // Sixteen fields.
    function [ChunkBits-1:0] listed;
        input [ChunkBits-1:0] raw_bits;
        integer               at, width;
        begin
            listed = 0;
            for (at = 0; at < 16; at = at + 1)
                for (width = 1; width <= OffsetBits; width = width + 1)
                    if (offset_bits_i == width[3:0])
                        listed[at*OffsetBits +: OffsetBits] = raw_bits[at*width +: OffsetBits]
                            & ~({OffsetBits{1'b1}} << width);
        end
    endfunction

    // Of the first `entries` fields those that are no column.
    function [15:0] outside;
        input [ChunkBits-1:0] fields;
        input [4:0]           entries;
        integer               at;
        begin
            for (at = 0; at < 16; at = at + 1)
                outside[at] = at[4:0] < entries && fields[at*OffsetBits +: OffsetBits] > last_column;
        end
    endfunction

    // The sum modulo 16 in gates: carry chains one behind the other would take too long.
    function [3:0] plus;
        input [3:0] a, b;
        integer     at;
        reg         carry;
        begin
            carry = 1'b0;
            for (at = 0; at < 4; at = at + 1) begin
                plus[at] = a[at] ^ b[at] ^ carry;
                carry = (a[at] & b[at]) | (a[at] & carry) | (b[at] & carry);
            end
        end
    endfunction

    // For each bit how many of those before it are set; above the last one how many there are.
    function [68:0] sums;
        input [15:0] set;
        integer      at;
        // In front of the four bits, and of them those before this one.
        reg [3:0]    below, local_sum;
        begin
            below = 4'd0;
            local_sum = 4'd0;
            for (at = 0; at < 16; at = at + 1) begin
                sums[4*at +: 4] = plus(below, local_sum);
                local_sum = plus(local_sum, {3'd0, set[at]});
                if (at % 4 == 3) begin
                    below = plus(below, local_sum);
                    local_sum = 4'd0;
                end
            end
            sums[68:64] = {&set, below};
        end
    endfunction

    // Columns first + n of the set bits n, each at its place.
    function [ChunkBits-1:0] compact;
        input [15:0]           set;
        input [63:0]           below;
        input [OffsetBits-1:0] first;
        integer                at, to;
        begin
            compact = 0;
            for (at = 0; at < 16; at = at + 1)
                for (to = 0; to <= at; to = to + 1)
                    if (set[at] && below[4*at +: 4] == to[3:0])
                        compact[to*OffsetBits +: OffsetBits] = compact[to*OffsetBits +: OffsetBits]
                            | first | at[OffsetBits-1:0];
        end
    endfunction

    wire [68:0] raw_sums = sums(bit_set);
    wire [ColumnBits:0] round_up = sum_columns_q + {{(ColumnBits-3){1'b0}}, 4'd15};

    always @(posedge clk_i) begin
        // Left alone where nothing comes: the functions are large.
        if (advance && raw_valid) begin
            fields_q <= listed(raw);
            set_q <= bit_set;
            below_q <= raw_sums[63:0];
            sum_count_q <= raw_kind == Bitmap ? raw_sums[68:64] : raw_count;
            sum_empty_q <= raw_empty;
            sum_tail_q <= raw_tail;
            sum_last_q <= raw_last;
            sum_kind_q <= raw_kind;
            sum_columns_q <= raw_columns;
            sum_bank_q <= raw_bank;
            sum_column_q <= raw_column;
        end
        if (advance && sum_valid_q) begin
            put_q <= sum_kind_q == Bitmap ? compact(set_q, below_q, sum_column_q) : fields_q;
            put_count_q <= sum_count_q;
            range_q <= outside(fields_q, sum_count_q);
            put_empty_q <= sum_empty_q;
            put_tail_q <= sum_tail_q;
            put_last_q <= sum_last_q;
            put_bitmap_q <= sum_kind_q == Bitmap;
            put_identity_q <= sum_kind_q == Identity;
            put_long_q <= sum_columns_q > HalfColumns[ColumnBits:0] && sum_kind_q != Identity;
            put_columns_q <= sum_columns_q;
            put_words_q <= round_up[ColumnBits:4];
            put_bank_q <= sum_bank_q;
        end
        if (!rst_ni) begin
            sum_valid_q <= 1'b0;
            put_valid_q <= 1'b0;
        end else if (advance) begin
            sum_valid_q <= raw_valid;
            put_valid_q <= sum_valid_q;
        end
    end

    // ---- Entries to words: the last one repeated up to the end of a bank's list
    wire grant = !list_valid_q && (put_identity_q || (!list_old_i && (!(put_long_q || long_q) || list_waiting_i)));
    wire may_put = put_valid_q && (granted_q || grant);
    wire [4:0] count = rest_q ? 5'd0 : put_count_q;
    wire [5:0] filled = {1'b0, fill_q} + {1'b0, count};
    wire [2*ChunkBits-1:0] placed0 = rest_q ? 0 : {{ChunkBits{1'b0}}, put_q};
    wire [2*ChunkBits-1:0] placed1 = fill_q[0] ? placed0 << OffsetBits : placed0;
    wire [2*ChunkBits-1:0] placed2 = fill_q[1] ? placed1 << (2 * OffsetBits) : placed1;
    wire [2*ChunkBits-1:0] placed3 = fill_q[2] ? placed2 << (4 * OffsetBits) : placed2;
    wire [2*ChunkBits-1:0] placed4 = fill_q[3] ? placed3 << (8 * OffsetBits) : placed3;
    wire [2*ChunkBits-1:0] joined = {{ChunkBits{1'b0}}, stage_q} | placed4;
    wire [4:0] top = count - 5'd1;
    wire [OffsetBits-1:0] newest = count != 0 ? put_q[top[3:0]*OffsetBits +: OffsetBits] : last_q;
    wire writes = !put_empty_q && (put_tail_q || filled >= 16);
    wire [WordBits:0] words_d = writes ? words_q + 1'b1 : words_q;
    // A tail is written at once, however few entries there are.
    wire bank_done = put_tail_q && words_q + 1'b1 >= put_words_q;
    wire [WordBits-1:0] base_word = put_long_q || !half_q ? 0 : HalfWords[WordBits-1:0];
    wire [ColumnBits:0] kept_d = kept_q + {{(ColumnBits-4){1'b0}}, count};
    wire publish = may_put && put_last_q && (put_empty_q || bank_done);

    assign put_done = may_put && (put_empty_q || !put_tail_q || bank_done);

    reg [ChunkBits-1:0] closed;
    always @* begin
        closed = joined[ChunkBits-1:0];
        for (entry = 0; entry < 16; entry = entry + 1)
            if (put_tail_q && entry[5:0] >= filled) closed[entry*OffsetBits +: OffsetBits] = newest;
    end

    always @(posedge clk_i) begin
        if (may_put) begin
            data_q <= closed;
            word_q <= base_word + words_q[WordBits-1:0];
        end
        seen_bitmap_q <= put_bitmap_q;
        seen_kept_q <= kept_d;
        seen_columns_q <= put_columns_q;
        seen_range_q <= range_q;
        if (may_put && !put_empty_q) last_q <= bank_done ? 0 : newest;
        if (publish) begin
            list_identity_q <= put_identity_q;
            list_base_q <= put_identity_q ? 0 : {base_word, 4'd0};
            list_count_q <= put_columns_q;
        end
        if (!rst_ni) begin
            we_q <= 0;
            granted_q <= 1'b0;
            rest_q <= 1'b0;
            half_q <= 1'b0;
            long_q <= 1'b0;
            stage_q <= 0;
            fill_q <= 5'd0;
            words_q <= 0;
            kept_q <= 0;
            last_q <= 0;
            list_valid_q <= 1'b0;
            seen_q <= 1'b0;
            error_q <= 1'b0;
        end else begin
            for (i = 0; i < Banks; i = i + 1)
                we_q[i] <= may_put && writes && put_bank_q == i[BankBits-1:0] && words_q < put_words_q;
            if (may_put) granted_q <= !publish;
            if (may_put && !put_empty_q) begin
                rest_q <= put_tail_q && !bank_done;
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
                long_q <= put_long_q;
            end
            list_valid_q <= publish || (list_valid_q && !list_taken_i);
            seen_q <= may_put && !put_empty_q;
            error_q <= seen_q && (seen_bitmap_q ? seen_kept_q > seen_columns_q : seen_range_q != 0);
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
    assign idle_o = !next_q && !active_q && !raw_valid && !sum_valid_q && !put_valid_q && !seen_q && !error_q;

    wire unused = &{1'b0, depth_wide, last_wide, fill_q[4], top[4], round_up[3:0], words_q[WordBits], total_less[3:0], used};

endmodule
