    // One reader at most is granted, one if any asks; none before another of a lower number; its line goes out.
    (* anyconst *) reg [31:0] f_any;
    (* anyconst *) reg [31:0] f_other;
    always @* begin
        assume (f_any < Readers && f_other < f_any);
        assert (re_o == (re_i != 0));
        assert ((grant_o != 0) == re_o);
        assert ((grant_o & (grant_o - 1'b1)) == 0);
        if (grant_o[f_any]) begin
            assert (re_i[f_any] && !re_i[f_other]);
            assert (line_o == line_i[32*f_any +: 32]);
        end
        if (grant_o[0]) assert (line_o == line_i[31:0]);
        cover (grant_o[Readers-1]);
    end
