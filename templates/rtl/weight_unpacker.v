// The weights of a record into the row buffer: WeightLanes = min(P*B, BeatBytes) weights a cycle, or twice that where
// they have 4 bits (all of a row buffer's word at most).
//
// Every record sends one beat with `start_i`: the first that holds weights, which begin with its 64-bit word `lane_i`,
// or any one where `cycles_i` (G*K) is 0. Records lie one behind the other in the row buffer, which is a ring; words of it
// come back with `free_i`. Writes come a cycle behind the fields; with the last write of a record, or in its place,
// `done_o` is high.
//
// `data_o` are two chunks of WeightLanes bytes (one where a word has one): the even and the odd chunks that `we_o` names.
module weight_unpacker #(
    parameter Banks = 2,
    parameter Rows = 1,
    parameter BeatBytes = 8,
    parameter RowCycles = 4,
    parameter RingLog2 = 9,
    parameter WeightLanes = Rows * Banks < BeatBytes ? Rows * Banks : BeatBytes,
    parameter Chunks = Rows * Banks / WeightLanes,
    parameter DataLanes = Chunks > 1 ? 2 * WeightLanes : WeightLanes,
    parameter CycleBits = RowCycles > 1 ? $clog2(RowCycles) : 1,
    parameter LaneBits = BeatBytes > 8 ? $clog2(BeatBytes / 8) : 1
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    input  wire                   four_bits_i,

    input  wire                   valid_i,
    output wire                   ready_o,
    input  wire [8*BeatBytes-1:0] beat_i,
    input  wire                   start_i,
    input  wire [CycleBits:0]     cycles_i,
    input  wire [LaneBits-1:0]    lane_i,
    input  wire [CycleBits:0]     free_i,

    output wire [Chunks-1:0]      we_o,
    output wire [RingLog2-1:0]    address_o,
    output wire [8*DataLanes-1:0] data_o,
    output wire                   done_o,
    output wire                   idle_o
);

    localparam RowBanks = Rows * Banks;
    localparam BeatBits = 8 * BeatBytes;
    // Sections begin on words; smaller fields never straddle one.
    localparam UnitBits = 4 * RowBanks < 64 ? 4 * RowBanks : 64;
    localparam ByteBits = 8 * RowBanks < BeatBits ? 8 * RowBanks : BeatBits;
    localparam NibbleBits = 4 * RowBanks < BeatBits ? 4 * RowBanks : BeatBits;
    localparam ByteUnits = ByteBits / UnitBits;
    localparam NibbleUnits = NibbleBits / UnitBits;
    localparam TakeBits = $clog2(ByteUnits + 1);
    localparam PosBits = BeatBits > UnitBits ? $clog2(BeatBits / UnitBits) : 1;
    localparam ReachBits = (TakeBits > PosBits ? TakeBits : PosBits) + 1;
    localparam LaneLog2 = $clog2(64 / UnitBits);
    localparam ChunkBits = Chunks > 1 ? $clog2(Chunks) : 1;
    localparam [31:0] LastByteChunk = Chunks - 1;
    // Four bits: two chunks a cycle.
    localparam NibbleTakes = Chunks > 1 ? Chunks / 2 : 1;
    localparam [31:0] LastNibbleChunk = NibbleTakes - 1;
    localparam [31:0] ByteTake = ByteUnits;
    localparam [31:0] NibbleTake = NibbleUnits;
    localparam [31:0] ByteReach = ByteUnits + BeatBits / UnitBits - 1;
    localparam [31:0] NibbleReach = NibbleUnits + BeatBits / UnitBits - 1;

    reg                   busy_q;
    reg [CycleBits:0]     left_q;
    reg [RingLog2-1:0]    word_q;
    reg [ChunkBits-1:0]   chunk_q;

    reg [Chunks-1:0]      we_q;
    reg [RingLog2-1:0]    address_q;
    reg [8*DataLanes-1:0] data_q;
    reg                   done_q;

    wire window_valid, window_ready;
    wire [ByteBits-1:0] fields;
    wire [PosBits+LaneBits+LaneLog2-1:0] start_unit = {{PosBits{1'b0}}, lane_i, {LaneLog2{1'b0}}};

    // A word's first chunk claims it.
    wire room;
    wire first_chunk = chunk_q == 0;
    wire take = busy_q && window_valid && (room || !first_chunk);
    wire last_chunk = chunk_q == (four_bits_i ? LastNibbleChunk[ChunkBits-1:0] : LastByteChunk[ChunkBits-1:0]);
    wire last_take = take && last_chunk && left_q == 1;
    wire empty = cycles_i == 0;
    // A record may begin beside the last take of the one before; one without weights says that it is done in that cycle,
    // and waits for it.
    wire may_begin = !busy_q || (last_take && !empty);
    wire begins = valid_i && start_i && may_begin;

    wire [TakeBits-1:0] units = four_bits_i ? NibbleTake[TakeBits-1:0] : ByteTake[TakeBits-1:0];

    assign ready_o = start_i ? may_begin : busy_q && window_ready;
    assign idle_o = !busy_q && !done_q;
    assign we_o = we_q;
    assign address_o = address_q;
    assign data_o = data_q;
    assign done_o = done_q;

    ring_room #(.RingLog2(RingLog2), .CycleBits(CycleBits)) words (
        .clk_i(clk_i), .rst_ni(rst_ni), .free_i(free_i), .claim_i(take && first_chunk), .room_o(room)
    );

    field_window #(
        .BeatBytes(BeatBytes), .UnitBits(UnitBits), .OutBits(ByteBits), .TakeBits(TakeBits), .Beats(2)
    ) window (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(start_i ? begins && !empty : valid_i && busy_q),
        .ready_o(window_ready),
        .data_i(beat_i),
        .restart_i(begins && !empty),
        .start_i(start_unit[PosBits-1:0]),
        .first_i(units),
        .take_i(take),
        .units_i(units),
        .reach_i(four_bits_i ? NibbleReach[ReachBits-1:0] : ByteReach[ReachBits-1:0]),
        .valid_o(window_valid),
        .data_o(fields)
    );

    integer i;
    always @(posedge clk_i) begin
        if (begins) begin
            left_q <= cycles_i;
            chunk_q <= 0;
        end else if (take) begin
            chunk_q <= last_chunk ? 0 : chunk_q + 1'b1;
            if (last_chunk) left_q <= left_q - 1'b1;
        end
        if (take) begin
            address_q <= word_q;
            for (i = 0; i < DataLanes; i = i + 1)
                data_q[8*i +: 8] <= four_bits_i ? {{4{fields[4*i+3]}}, fields[4*i +: 4]}
                    : fields[8*(i%WeightLanes) +: 8];
        end
        if (!rst_ni) begin
            busy_q <= 1'b0;
            word_q <= 0;
            we_q <= 0;
            done_q <= 1'b0;
        end else begin
            busy_q <= begins ? !empty : busy_q && !last_take;
            if (take && last_chunk) word_q <= word_q + 1'b1;
            for (i = 0; i < Chunks; i = i + 1)
                we_q[i] <= take && chunk_q == (four_bits_i ? i[ChunkBits:1] : i[ChunkBits-1:0]);
            done_q <= last_take || (begins && empty);
        end
    end

    wire unused = &{1'b0, start_unit};

endmodule
