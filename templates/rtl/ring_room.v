// Room in the row buffer's ring for one of the units that fill it: words that may be written and are not yet claimed.
//
// `free_i` words are given back. `claim_i` takes one and comes only with `room_o`, which is a register: a word that is
// given back may be claimed three cycles later, one a cycle.
module ring_room #(
    parameter RingLog2 = 9,
    parameter CycleBits = 1
) (
    input  wire               clk_i,
    input  wire               rst_ni,
    input  wire [CycleBits:0] free_i,
    input  wire               claim_i,
    output wire               room_o
);

    reg [CycleBits:0] given_q;
    reg [RingLog2:0]  free_q;
    reg               room_q;

    wire [RingLog2:0] one = {{RingLog2{1'b0}}, 1'b1};

    assign room_o = room_q;

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            given_q <= 0;
            free_q <= {1'b1, {RingLog2{1'b0}}};
            room_q <= 1'b1;
        end else begin
            given_q <= free_i;
            free_q <= free_q + {{(RingLog2-CycleBits){1'b0}}, given_q} - {{RingLog2{1'b0}}, claim_i};
            room_q <= free_q > one || (free_q == one && !claim_i);
        end
    end

endmodule
