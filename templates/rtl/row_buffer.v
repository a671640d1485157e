// Row groups in front of the array, one behind the other in a ring of 2^RingLog2 words: for every cycle of a group P*B
// weights and operand offsets.
//
// The read port gives weights and offsets a cycle after the address; they stay until the next read. Weights are written
// in chunks of WeightLanes bytes (chunk c takes the even or odd half of `weight_data_i` by its lowest bit), offsets B at
// a time for each of `Lanes` rows that follow each other: of the rows that `offset_we_i` names, row p takes those of lane
// p % Lanes. What is read in the cycle in which it is written is the old word.
module row_buffer #(
    parameter Banks = 2,
    parameter Rows = 1,
    parameter BeatBytes = 8,
    parameter Depth = 4,
    parameter RingLog2 = 9,
    parameter Lanes = 1,
    parameter WeightLanes = Rows * Banks < BeatBytes ? Rows * Banks : BeatBytes,
    parameter Chunks = Rows * Banks / WeightLanes,
    parameter DataLanes = Chunks > 1 ? 2 * WeightLanes : WeightLanes,
    parameter OffsetBits = Depth > 1 ? $clog2(Depth) : 1
) (
    input  wire                             clk_i,

    input  wire                             re_i,
    input  wire [RingLog2-1:0]              address_i,
    output wire [8*Rows*Banks-1:0]          weights_o,
    output wire [Rows*Banks*OffsetBits-1:0] offsets_o,

    input  wire [Chunks-1:0]                weight_we_i,
    input  wire [RingLog2-1:0]              weight_address_i,
    input  wire [8*DataLanes-1:0]           weight_data_i,
    input  wire [Rows-1:0]                  offset_we_i,
    input  wire [RingLog2-1:0]              offset_address_i,
    input  wire [Lanes*Banks*OffsetBits-1:0] offset_data_i
);

    genvar i;
    generate
        for (i = 0; i < Chunks; i = i + 1) begin : chunk
            ram_1r1w #(.Width(8 * WeightLanes), .Depth(1 << RingLog2), .AddressBits(RingLog2)) weight (
                .clk_i(clk_i),
                .we_i(weight_we_i[i]),
                .waddr_i(weight_address_i),
                .wdata_i(weight_data_i[8*WeightLanes*(i%(DataLanes/WeightLanes)) +: 8*WeightLanes]),
                .re_i(re_i),
                .raddr_i(address_i),
                .rdata_o(weights_o[8*WeightLanes*i +: 8*WeightLanes])
            );
        end
        for (i = 0; i < Rows; i = i + 1) begin : row
            ram_1r1w #(.Width(Banks * OffsetBits), .Depth(1 << RingLog2), .AddressBits(RingLog2)) offset (
                .clk_i(clk_i),
                .we_i(offset_we_i[i]),
                .waddr_i(offset_address_i),
                .wdata_i(offset_data_i[Banks*OffsetBits*(i%Lanes) +: Banks*OffsetBits]),
                .re_i(re_i),
                .raddr_i(address_i),
                .rdata_o(offsets_o[Banks*OffsetBits*i +: Banks*OffsetBits])
            );
        end
    endgenerate

endmodule
