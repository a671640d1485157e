    // Nobody claims a word that is not free, and a word that is given back is claimed again.
    localparam [RingLog2:0] Most = 1 << RingLog2;
    reg               f_past = 1'b0;
    reg  [RingLog2:0] f_free;   // words that are given back or were never claimed
    wire [RingLog2:0] f_given = free_i;

    always @(posedge clk_i) begin
        f_past <= 1'b1;
        if (!f_past) assume (!rst_ni);
        assume (!claim_i || room_o);
        if (!rst_ni) begin
            f_free <= Most;
        end else begin
            // What is given back was claimed.
            assume (f_given <= Most - f_free);
            f_free <= f_free + f_given - {{RingLog2{1'b0}}, claim_i};
        end
        if (f_past) begin
            assert (f_free <= Most);
            assert (!room_o || free_q != 0);
            assert ({1'b0, f_free} == {1'b0, free_q} + {{(RingLog2+1-CycleBits){1'b0}}, given_q});
            if ($past(f_past) && $past(rst_ni) && $past(free_q) != 0 && !$past(claim_i)) assert (room_o);
            cover (room_o && $past(!room_o) && f_free == 1);
        end
    end
