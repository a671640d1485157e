    // Of those that write, one is taken: `valid && ready`; it is the lowest, and what it brings reaches the memories whole, a
    // cycle later. Where nobody wrote, nothing is written. `ready` waits for nothing that `valid` of the same writer says.
    wire [Writers-1:0] f_taken = valid_i & ready_o;
    (* anyconst *) reg [31:0] f_any;
    (* anyconst *) reg [31:0] f_other;
    reg f_begun = 1'b0;
    always @(posedge clk_i) f_begun <= 1'b1;
    always @* begin
        assume (f_any < Writers && f_other < f_any);
        assert ((f_taken & (f_taken - 1'b1)) == 0);
        assert ((f_taken != 0) == (valid_i != 0));
        if (valid_i == 0) assert (ready_o == {Writers{1'b1}});
        if (f_taken[f_any]) assert (!valid_i[f_other]);
        cover (f_begun && f_taken[Writers-1]);
    end
    always @(posedge clk_i) begin
        if (f_begun) begin
            if ($past(valid_i) == 0) assert (mask_o == 0);
            if ($past(f_taken[f_any])) begin
                assert (space_o == $past(space_i[2*f_any +: 2]));
                assert (line_o == $past(line_i[32*f_any +: 32]));
                assert (mask_o == $past(mask_i[Banks*f_any +: Banks]));
                assert (data_o == $past(data_i[Banks*WordBits*f_any +: Banks*WordBits]));
            end
            if ($past(f_taken[0])) assert (mask_o == $past(mask_i[Banks-1:0]));
            if ($past(f_taken[0])) assert (data_o == $past(data_i[Banks*WordBits-1:0]));
            if ($past(f_taken[0])) assert (space_o == $past(space_i[1:0]) && line_o == $past(line_i[31:0]));
            assert (high_o == $past(high_i) && high_line_o == $past(high_line_i));
        end
    end
