    // Of those that write, one is taken: `valid && ready`; it is the lowest, and what it brings reaches the memories whole.
    // Where nobody writes, nothing is written. `ready` waits for nothing that `valid` of the same writer says.
    wire [Writers-1:0] f_taken = valid_i & ready_o;
    (* anyconst *) reg [31:0] f_any;
    (* anyconst *) reg [31:0] f_other;
    always @* begin
        assume (f_any < Writers && f_other < f_any);
        assert ((f_taken & (f_taken - 1'b1)) == 0);
        assert ((f_taken != 0) == (valid_i != 0));
        if (valid_i == 0) assert (mask_o == 0 && ready_o == {Writers{1'b1}});
        if (f_taken[f_any]) begin
            assert (!valid_i[f_other]);
            assert (space_o == space_i[2*f_any +: 2]);
            assert (line_o == line_i[32*f_any +: 32]);
            assert (mask_o == mask_i[Banks*f_any +: Banks]);
            assert (data_o == data_i[Banks*WordBits*f_any +: Banks*WordBits]);
        end
        if (f_taken[0]) assert (mask_o == mask_i[Banks-1:0] && data_o == data_i[Banks*WordBits-1:0]);
        if (f_taken[0]) assert (space_o == space_i[1:0] && line_o == line_i[31:0]);
        cover (f_taken[Writers-1]);
    end
