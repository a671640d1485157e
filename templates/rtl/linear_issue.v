// Issues the slots of linear steps: row groups outermost, token tiles inside, for each tile its byte planes and cycles.
//
// `start_i` comes with the step's words, which stay until `issued_o`. A slot leaves every cycle as long as row groups
// are ready; the first pass over the tiles waits for each tile of the source (`source_tiles_i`). A result takes at least
// one slot, two where it has two byte planes, and T/W where it goes to VALUES and the W banks of a head hold fewer than
// T keys: slots beyond the weights multiply nothing (`slot_zero_o`).
//
// Of two byte planes, the high one is written a cycle after the low one, which keeps the banks of the row group busy. So
// two row groups of one slot or none, which lie in different banks, take turns for each tile (a pair): none of them is
// wasted. The first group of a pair is the first that is not in one before it; a group waits until the next one is there.
//
// Row groups lie one behind the other in the row buffer, which is a ring of 2^RingLog2 words: `slot_word_o` is that of a
// slot. `group_free_o` words, the oldest, are given back in the cycle of their last read (all of a group at once where
// there is no tile). The tag is laid out as post_pipeline.v says.
// The first slot leaves ten cycles after `start_i`, or later.
module linear_issue #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Heads = 1,
    parameter RowCycles = 8,
    parameter RingLog2 = 9,
    // Of a tag's line.
    parameter LineBits = 6,
    parameter TagBits = 40,
    parameter CycleBits = RowCycles > 1 ? $clog2(RowCycles) : 1
) (
    input  wire                 clk_i,
    input  wire                 rst_ni,

    input  wire                 start_i,
    input  wire                 parity_i,
    input  wire [31:0]          length_i,
    input  wire [31:0]          source_space_i,
    input  wire [31:0]          source_base_i,
    input  wire [31:0]          source_planes_i,
    input  wire [31:0]          source_signed_i,
    input  wire [31:0]          depth_i,
    input  wire [31:0]          row_groups_i,
    input  wire [31:0]          out_bits_i,
    input  wire [31:0]          space_i,
    input  wire [31:0]          base_i,
    input  wire [31:0]          out_depth_i,
    input  wire [31:0]          heads_i,
    input  wire [31:0]          pitch_i,
    input  wire [31:0]          first_tile_i,
    input  wire [31:0]          tiles_i,
    input  wire [15:0]          source_tiles_i,
    output wire                 issued_o,
    // Waiting for row groups, for tiles of the source.
    output wire                 data_waits_o,
    output wire                 source_waits_o,

    input  wire                 group_valid_i,
    output wire                 group_ready_o,
    input  wire [CycleBits:0]   group_cycles_i,
    output wire [CycleBits:0]   group_free_o,

    output wire                 slot_valid_o,
    output wire                 slot_first_o,
    output wire                 slot_last_o,
    output wire                 slot_high_o,
    output wire                 slot_signed_o,
    output wire                 slot_zero_o,
    output wire [TagBits-1:0]   slot_tag_o,
    output wire [RingLog2-1:0]  slot_word_o,
    output wire                 slot_operand_o,
    output wire [31:0]          slot_line_o
);

    localparam TokensLog2 = $clog2(Tokens);
    localparam BanksLog2 = $clog2(Banks);
    localparam RowsLog2 = $clog2(Rows);
    localparam HeadsLog2 = $clog2(Heads);
    localparam Groups = Banks / Rows;
    localparam GroupBits = Groups > 1 ? $clog2(Groups) : 1;
    localparam [31:0] LastGroup = Groups - 1;
    localparam GroupAt = 4 + LineBits;
    localparam ExtraAt = GroupAt + Groups;
    localparam KeysAt = ExtraAt + 6;
    localparam KeyBits = TokensLog2 + 1;
    localparam BankBits = BanksLog2 + 1;
    localparam [31:0] Step = Tokens;
    localparam FinalAt = KeysAt + KeyBits;
    localparam [31:0] Values = 3;
    // Of the least number of slots of a result: T at most, or 2.
    localparam LeastBits = TokensLog2 + 2;

    // ---- words of the step, and what follows from them: five cycles of setup, each of which takes one carry chain
    // Drain: the writer still puts keys away, part by part.
    localparam [3:0] Idle = 0, Multiply = 1, Place = 2, Fetch = 3, Issue = 4, Drain = 5, Clip = 6, Rest = 7, Range = 8;
    reg [3:0]  state_q;
    // `none_q`: no tile at all, so that row groups pass by unused.
    reg        parity_q, operand_q, two_q, signed_q, values_q, none_q, pairs_q;
    reg [1:0]  space_q;
    reg [31:0] first_q, depth_q, out_stride_q, source_base_q, base_q, source_start_q, out_start_q;
    reg [31:0] row_groups_q, abreast_q, key_log2_q, rounds_q, chunks_q, key_stride_q, length_q, least_q, heads_q;
    reg [31:0] skipped_q, out_skipped_q, key_start_q, row_stride_q;

    reg  [31:0] all_tiles_q, rest_tiles_q, tiles_q, abreast_log2_q;
    reg  [BankBits-1:0] key_bank_start_q, last_bank_q;
    wire        two_out = out_bits_i > 8;
    wire        values = space_i == Values;

    reg [31:0] abreast_log2;
    integer    i;
    always @* begin
        abreast_log2 = 32'd0;
        for (i = 1; i <= HeadsLog2; i = i + 1) begin
            if ((pitch_i << i) <= Banks) abreast_log2 = i;
        end
    end
    wire [31:0] key_log2 = BanksLog2 - abreast_log2;
    // Rows beyond the last head are padding that VALUES has no room for. Known two cycles behind the heads, long before
    // anybody asks.
    reg [31:0] head_groups_q;
    reg        fewer_q;
    always @(posedge clk_i) begin
        head_groups_q <= {16'd0, heads_q[15:0]} * {16'd0, chunks_q[15:0]};
        fewer_q <= head_groups_q < row_groups_q;
    end

    // ---- where the issue stands
    reg [31:0]          tile_q, source_line_q, out_line_q, row_line_q;
    reg [GroupBits-1:0] bank_group_q;
    reg                 plane_q, empty_q;
    reg [CycleBits:0]   cycle_q, cycles_q;
    // The group in hand is the first of a pair, whose other one is at work or has these cycles.
    reg                 pair_q, other_q;
    reg [CycleBits:0]   other_cycles_q;
    // Of the ring: the group's first word.
    reg [RingLog2-1:0]  word_q;
    // Lengths of the groups that come next, of the next step as well.
    reg                 next0_q, next1_q;
    reg [CycleBits:0]   cycles0_q, cycles1_q;
    // Slots that the result at hand has to take at least, behind this one.
    reg [LeastBits-1:0] rest_q;
    reg                 first_slot_q;
    reg [TokensLog2:0]  drain_q;
    reg [5:0]           ring_q;
    // Of VALUES: the head among those abreast, the chunk in it, and the line of the round.
    reg [31:0]          side_q, chunk_q, round_line_q, last_side_q, last_chunk_q;
    // Of the tile's first key: its line from there, and its bank among those of its head.
    reg [31:0]          key_offset_q;
    reg [BankBits-1:0]  key_bank_q;

    wire [RingLog2:0] cycle_word = {{(RingLog2-CycleBits){1'b0}}, cycle_q};
    wire [RingLog2:0] cycles_word = {{(RingLog2-CycleBits){1'b0}}, cycles_q};
    wire [RingLog2:0] other_word = {{(RingLog2-CycleBits){1'b0}}, other_cycles_q};
    // What would take a carry chain to know is known from registers: of the tile and group at hand, worked out for these or
    // for the next ones the cycle before. Source tiles only become more, so that it does no harm to learn of one late.
    reg  last_tile_q, last_group_q, source_ready_q, enough_q, started_q, later_group_q, single_tile_q;
    // Groups that nobody has taken, and whether they are one or two.
    reg  [31:0] left_q;
    reg  left1_q, left2_q;
    // State Issue, with tiles and without.
    reg  run_q, pass_q;
    // The slot at hand is its plane's last one; the last of its weights, or one beyond them.
    reg  last_cycle_q, weights_end_q;
    // Of the group at hand: a cycle a plane at most; no cycle, and none of the other group of a pair; one slot or none.
    reg  single_q, none0_q, none1_q, short_q;
    // Of the step: results need no slot but those of their weights.
    reg  least_one_q;
    wire last_tile = last_tile_q;
    wire last_group = last_group_q;
    wire last_plane = !two_q || plane_q;
    wire last_slot = weights_end_q && (pair_q || enough_q);
    wire issue = run_q && (started_q || source_ready_q);
    wire result_end = issue && last_slot;
    wire tile_end = issue && weights_end_q && (pair_q ? other_q : enough_q);
    wire group_end = pass_q || (tile_end && last_tile);
    wire step_end = group_end && last_group;
    wire last_read = issue && last_tile && last_plane && !empty_q;
    // The slot behind the one at hand is its plane's last one.
    wire near = {1'b0, cycle_q} + {{CycleBits{1'b0}}, 2'd2} >= {1'b0, cycles_q};

    // The next group or pair, for which the one in hand makes room.
    wire single0 = cycles0_q <= 1;
    wire short0 = cycles0_q == 0 || (cycles0_q == 1 && !two_q);
    wire short1 = cycles1_q == 0 || (cycles1_q == 1 && !two_q);
    wire may_pair = pairs_q && short0 && !left1_q;
    wire wanted = state_q == Fetch || (group_end && !last_group);
    wire take = wanted && next0_q && (!may_pair || next1_q);
    wire take_pair = take && may_pair && short1;
    wire come = group_valid_i && group_ready_o;

    assign group_ready_o = !next1_q;
    assign issued_o = state_q == Idle;
    assign data_waits_o = state_q == Fetch && !take;
    assign source_waits_o = run_q && !issue;

    // ---- the tag
    // In three steps, each with a register behind it: shifts and first sums, second sums, places.
    wire [31:0] first_of_range = first_q << TokensLog2;
    wire [31:0] row_keys = 32'd1 << key_log2_q;
    wire [31:0] last_key = row_keys - 32'd1;
    reg  [31:0] first_row_q;
    always @(posedge clk_i) first_row_q <= first_of_range >> key_log2_q;
    wire [31:0] first_key = tile_q << TokensLog2;
    wire [31:0] key_groups = least_q > 1 ? (32'd1 << key_log2_q) >> RowsLog2 : Tokens >> RowsLog2;
    // The keys of the next tile: further along the row, or in the row after the last of this tile.
    // Both are whole tiles, or one tile is a row or more.
    wire        next_row = key_bank_q == last_bank_q;
    // Of the other group of a pair: the next bank group, which may lie in the next line.
    wire [GroupBits:0] other_group = {1'b0, bank_group_q} + 1'b1;
    wire other_wraps = {{(31-GroupBits){1'b0}}, other_group} == LastGroup + 32'd1;
    wire [GroupBits-1:0] at_group = !other_q ? bank_group_q : other_wraps ? 0 : other_group[GroupBits-1:0];
    wire [5:0] ring = ring_q + {5'd0, other_q};
    wire [Groups-1:0] one = 1;
    reg  [Groups-1:0] several_q, places_b_q;
    reg  [32:0] left_a_q;
    reg  [31:0] side_a_q, bank_a_q, line_a_q, offset_a_q, out_a_q, group_b_q, line_b_q;
    reg  [GroupBits-1:0] bank_group_a_q;
    reg  [KeyBits-1:0]   keys_b_q;
    reg  [1:0]           last_group_ab_q, space_b_q;
    reg  [5:0]           ring_a_q, ring_b_q;
    reg                  wraps_a_q, values_b_q, parity_b_q;
    reg  [TagBits-1:0]   tag_q;
    wire [31:0] keys_left = left_a_q[32] ? 32'd0 : left_a_q[31:0];
    wire [31:0] keys = keys_left > Tokens ? Tokens : keys_left;
    wire [31:0] key_group = (side_a_q + bank_a_q) >> RowsLog2;
    wire [Groups-1:0] mask = values_b_q ? several_q << group_b_q[GroupBits-1:0] : places_b_q;
    always @(posedge clk_i) begin
        several_q <= (one << key_groups) - one;
        side_a_q <= side_q << key_log2_q;
        bank_a_q <= {{(32-BankBits){1'b0}}, key_bank_q};
        line_a_q <= round_line_q + chunk_q;
        offset_a_q <= key_offset_q;
        out_a_q <= out_line_q + row_line_q;
        wraps_a_q <= other_q && other_wraps;
        left_a_q <= {1'b0, length_q} - {1'b0, first_key};
        bank_group_a_q <= at_group;
        ring_a_q <= ring;

        group_b_q <= key_group;
        line_b_q <= (values_q ? line_a_q : out_a_q) + (values_q ? offset_a_q : {31'd0, wraps_a_q});
        keys_b_q <= keys[KeyBits-1:0];
        places_b_q <= one << bank_group_a_q;
        ring_b_q <= ring_a_q;
        // The step's own words stand until its last slot has left.
        values_b_q <= values_q;
        space_b_q <= space_q;
        parity_b_q <= parity_q;
        last_group_ab_q <= {last_group_ab_q[0], last_group && (!pair_q || other_q)};

        tag_q <= {
            {TagBits - FinalAt - 1{1'b0}}, last_group_ab_q[1], keys_b_q, ring_b_q, mask, line_b_q[LineBits-1:0], space_b_q,
            1'b0, parity_b_q
        };
    end

    // The sequencer bounds tiles to 16 bits. A step's first group finds its first tile at hand when it is fetched.
    reg  [15:0] next_tile_q, left_tiles_q;
    wire all_ready = later_group_q || source_tiles_i == 16'hFFFF;
    wire this_ready = all_ready || source_tiles_i > tile_q[15:0];
    wire next_ready = all_ready || source_tiles_i > next_tile_q;
    always @(posedge clk_i) begin
        single_tile_q <= tiles_q == 32'd1;
        if (take) begin
            last_tile_q <= single_tile_q;
            source_ready_q <= state_q != Fetch || this_ready;
            started_q <= 1'b0;
            left_tiles_q <= tiles_q[15:0];
            next_tile_q <= first_q[15:0] + 16'd1;
        end else if (tile_end) begin
            last_tile_q <= left_tiles_q == 16'd2;
            source_ready_q <= next_ready;
            started_q <= 1'b0;
            left_tiles_q <= left_tiles_q - 16'd1;
            next_tile_q <= next_tile_q + 16'd1;
        end else begin
            source_ready_q <= this_ready;
            if (issue) started_q <= 1'b1;
        end
        // Of the next slot: of the next group, the next result, or this one.
        if (take) begin
            last_cycle_q <= single0;
            weights_end_q <= short0;
            single_q <= single0;
            short_q <= short0;
            none0_q <= cycles0_q == 0;
            none1_q <= cycles1_q == 0;
        end else if (result_end) begin
            last_cycle_q <= single_q;
            weights_end_q <= short_q;
        end else if (issue) begin
            last_cycle_q <= last_cycle_q ? single_q : near;
            // Behind the low plane's last slot comes the high plane.
            if (last_cycle_q ? single_q : near && last_plane) weights_end_q <= 1'b1;
        end
        if (take || result_end) begin
            first_slot_q <= 1'b1;
            enough_q <= least_one_q;
            rest_q <= least_q[LeastBits-1:0] - 1'b1;
        end else if (issue) begin
            first_slot_q <= 1'b0;
            enough_q <= rest_q <= 1;
            if (!enough_q) rest_q <= rest_q - 1'b1;
        end
        if (state_q == Place) begin
            later_group_q <= 1'b0;
            left_q <= row_groups_q;
            left1_q <= row_groups_q == 32'd1;
            left2_q <= row_groups_q == 32'd2;
        end else begin
            // A group that ends is followed by one that is not the first.
            if (group_end) later_group_q <= 1'b1;
            if (take) begin
                last_group_q <= take_pair ? left2_q : left1_q;
                left_q <= take_pair ? left_q - 32'd2 : left_q - 32'd1;
                left1_q <= take_pair ? left_q == 32'd3 : left2_q;
                left2_q <= take_pair ? left_q == 32'd4 : left_q == 32'd3;
            end
        end
    end

    // ---- registers in front of the array, as many as the tag needs
    localparam SlotBits = 5 + RingLog2 + 32;
    reg [2*SlotBits-1:0] slots_q;
    reg [1:0]            valids_q;
    reg [2*CycleBits+1:0] frees_q;
    reg                  slot_valid_q, slot_first_q, slot_last_q, slot_high_q, slot_signed_q, slot_zero_q;
    reg [CycleBits:0]   free_q;
    reg [RingLog2-1:0]  slot_word_q;
    reg [31:0]          slot_line_q;
    reg [1:0]            operands_q;
    assign slot_valid_o = valids_q[1];
    assign {slot_first_o, slot_last_o, slot_high_o, slot_signed_o, slot_zero_o, slot_word_o, slot_line_o}
        = slots_q[SlotBits +: SlotBits];
    assign slot_tag_o = tag_q;
    assign slot_operand_o = operands_q[1];
    assign group_free_o = frees_q[CycleBits+1 +: CycleBits+1];
    always @(posedge clk_i) begin
        slots_q <= {
            slots_q[SlotBits-1:0], slot_first_q, slot_last_q, slot_high_q, slot_signed_q, slot_zero_q, slot_word_q,
            slot_line_q
        };
        operands_q <= {operands_q[0], operand_q};
        if (!rst_ni) begin
            valids_q <= 2'b00;
            frees_q <= 0;
        end else begin
            valids_q <= {valids_q[0], slot_valid_q};
            frees_q <= {frees_q[CycleBits:0], free_q};
        end
    end

    always @(posedge clk_i) begin
        slot_first_q <= first_slot_q;
        slot_last_q <= last_slot;
        slot_high_q <= plane_q;
        // Of two byte planes the low one is unsigned and the high one signed.
        slot_signed_q <= two_q ? plane_q : signed_q;
        slot_zero_q <= empty_q;
        slot_word_q <= word_q + (other_q ? cycles_word[RingLog2-1:0] : cycle_word[RingLog2-1:0]);
        slot_line_q <= source_line_q;
        if (take) begin
            cycles_q <= cycles0_q;
            pair_q <= take_pair;
            other_cycles_q <= take_pair ? cycles1_q : 0;
        end
        // What is taken makes room for what comes.
        if (come && (take ? take_pair || !next1_q : !next0_q)) cycles0_q <= group_cycles_i;
        else if (take) cycles0_q <= cycles1_q;
        if (come) cycles1_q <= group_cycles_i;
        case (state_q)
            Idle: if (start_i) begin
                parity_q <= parity_i;
                operand_q <= source_space_i[0];
                two_q <= source_planes_i == 2;
                signed_q <= source_signed_i != 0;
                values_q <= values;
                space_q <= space_i[1:0];
                all_tiles_q <= (length_i + Tokens - 32'd1) >> TokensLog2;
                depth_q <= depth_i;
                out_stride_q <= two_out ? out_depth_i << 1 : out_depth_i;
                source_base_q <= source_base_i;
                base_q <= base_i;
                row_groups_q <= row_groups_i;
                heads_q <= heads_i;
                chunks_q <= pitch_i >> RowsLog2;
                abreast_q <= 32'd1 << abreast_log2;
                abreast_log2_q <= abreast_log2;
                key_log2_q <= key_log2;
                length_q <= length_i;
            end
            Clip: begin
                first_q <= first_tile_i < all_tiles_q ? first_tile_i : all_tiles_q;
                rounds_q <= heads_q + abreast_q - 32'd1;
                least_q <= values_q && (Tokens >> key_log2_q) > 1 ? Tokens >> key_log2_q : two_out ? 32'd2 : 32'd1;
            end
            Rest: begin
                rest_tiles_q <= all_tiles_q - first_q;
                rounds_q <= rounds_q >> abreast_log2_q;
                key_bank_start_q <= first_of_range[BankBits-1:0] & last_key[BankBits-1:0];
                last_bank_q <= row_keys > Tokens ? row_keys[BankBits-1:0] - Step[BankBits-1:0] : 0;
            end
            Range: tiles_q <= tiles_i == 0 || tiles_i > rest_tiles_q ? rest_tiles_q : tiles_i;
            Multiply: begin
                none_q <= tiles_q == 0;
                pairs_q <= two_out && !values_q && Groups > 1 && tiles_q != 0;
                skipped_q <= {16'd0, first_q[15:0]} * {16'd0, two_q ? depth_q[15:0] << 1 : depth_q[15:0]};
                out_skipped_q <= {16'd0, first_q[15:0]} * {16'd0, out_stride_q[15:0]};
                key_stride_q <= {16'd0, rounds_q[15:0]} * {16'd0, chunks_q[15:0]};
                if (values_q && fewer_q) row_groups_q <= head_groups_q;
                least_one_q <= least_q == 32'd1;
            end
            Place: begin
                tile_q <= first_q;
                key_start_q <= {16'd0, first_row_q[15:0]} * {16'd0, key_stride_q[15:0]};
                // As many rows as a tile of keys fills.
                row_stride_q <= values_q ? {16'd0, key_stride_q[15:0]} * {16'd0, least_q[15:0]} : key_stride_q;
                source_start_q <= source_base_q + skipped_q;
                out_start_q <= base_q + out_skipped_q;
                row_line_q <= 32'd0;
                bank_group_q <= 0;
                side_q <= 32'd0;
                chunk_q <= 32'd0;
                round_line_q <= base_q;
            end
            default: ;
        endcase
        last_side_q <= abreast_q - 32'd1;
        last_chunk_q <= chunks_q - 32'd1;
        drain_q <= state_q == Drain ? drain_q - 1'b1 : least_q[TokensLog2:0];
        if (issue && !last_slot) begin
            if (weights_end_q) empty_q <= 1'b1;
            else if (!last_cycle_q) cycle_q <= cycle_q + 1'b1;
            else begin
                cycle_q <= 0;
                plane_q <= 1'b1;
                source_line_q <= source_line_q + depth_q;
            end
        end
        if (result_end) begin
            cycle_q <= 0;
            plane_q <= 1'b0;
            empty_q <= pair_q && !other_q ? none1_q : none0_q;
        end
        if (tile_end) begin
            tile_q <= tile_q + 32'd1;
            source_line_q <= source_line_q + depth_q;
            out_line_q <= out_line_q + out_stride_q;
            key_bank_q <= next_row ? 0 : key_bank_q + Step[BankBits-1:0];
            if (next_row) key_offset_q <= key_offset_q + row_stride_q;
        end
        if (group_end) begin
            // Of a pair, the other group is in hand when it ends.
            bank_group_q <= at_group == LastGroup[GroupBits-1:0] ? 0 : at_group + 1'b1;
            // One of two neighbours at most is the last bank group of its line.
            if ((other_q && other_wraps) || at_group == LastGroup[GroupBits-1:0]) row_line_q <= row_line_q + 32'd1;
            chunk_q <= chunk_q + 32'd1;
            if (chunk_q == last_chunk_q) begin
                chunk_q <= 32'd0;
                side_q <= side_q + 32'd1;
                if (side_q == last_side_q) begin
                    side_q <= 32'd0;
                    round_line_q <= round_line_q + chunks_q;
                end
            end
        end
        if (take) begin
            cycle_q <= 0;
            plane_q <= 1'b0;
            empty_q <= cycles0_q == 0;
            tile_q <= first_q;
            source_line_q <= source_start_q;
            out_line_q <= out_start_q;
            key_offset_q <= key_start_q;
            key_bank_q <= key_bank_start_q;
        end
        if (!rst_ni) begin
            state_q <= Idle;
            run_q <= 1'b0;
            pass_q <= 1'b0;
            slot_valid_q <= 1'b0;
            free_q <= 0;
            ring_q <= 6'd0;
            word_q <= 0;
            other_q <= 1'b0;
            next0_q <= 1'b0;
            next1_q <= 1'b0;
        end else begin
            if (result_end) other_q <= pair_q && !other_q;
            next0_q <= come || (next0_q && !take) || (next1_q && !take_pair);
            next1_q <= (next1_q && !take) || (come && next0_q && !take);
            // As `state_q` goes to Issue and leaves it.
            run_q <= !none_q && (take || (run_q && !group_end));
            pass_q <= none_q && take;
            slot_valid_q <= issue;
            free_q <= pass_q ? cycles_q : {{CycleBits{1'b0}}, last_read};
            if (group_end) ring_q <= ring + 6'd1;
            if (group_end) word_q <= word_q + cycles_word[RingLog2-1:0] + (pair_q ? other_word[RingLog2-1:0] : 0);
            case (state_q)
                Idle: if (start_i) state_q <= Clip;
                Clip: state_q <= Rest;
                Rest: state_q <= Range;
                Range: state_q <= Multiply;
                Multiply: state_q <= Place;
                Place: state_q <= Fetch;
                Fetch: if (take) state_q <= Issue;
                Drain: if (drain_q == 0) state_q <= Idle;
                default: if (step_end) state_q <= least_q > 2 ? Drain : Idle;
                else if (group_end && !take) state_q <= Fetch;
            endcase
        end
    end

    // Words that the sequencer has bounded.
    wire unused = &{
        1'b0, source_space_i, last_key, row_keys, key_stride_q, first_row_q, key_group, group_b_q, line_b_q, keys, depth_q,
        out_stride_q, rounds_q, heads_q, cycle_word, cycles_word, other_word, other_group
    };

endmodule
