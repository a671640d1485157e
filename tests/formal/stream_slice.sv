    // What goes in comes out, in order, once, and stays while nobody takes it. Words: one is followed, any one.
    reg               f_past = 1'b0;
    reg               f_armed = 1'b0, f_tail;
    reg  [Width-1:0]  f_word;
    reg  [1:0]        f_held;   // words that came and have not left
    (* anyseq *) wire f_pick;
    wire              f_in = valid_i && ready_o;
    wire              f_out = valid_o && ready_i;

    always @(posedge clk_i) begin
        f_past <= 1'b1;
        if (!f_past) assume (!rst_ni);
        if (!rst_ni) begin
            f_armed <= 1'b0;
            f_held <= 2'd0;
        end else begin
            f_held <= f_held + {1'b0, f_in} - {1'b0, f_out};
            // It waits behind another word, or stands at the head; from there it leaves.
            if (f_in && f_pick && !f_armed) begin
                f_armed <= 1'b1;
                f_tail <= f_held != {1'b0, f_out};
                f_word <= data_i;
            end else if (f_armed && f_out) begin
                f_tail <= 1'b0;
                if (!f_tail) f_armed <= 1'b0;
            end
        end
        if (f_past) begin
            assert (f_held <= 2'd2 && valid_o == (f_held != 0) && ready_o == (f_held != 2));
            if (f_armed) assert (f_held > {1'b0, f_tail});
            if (f_armed && !f_tail) assert (data_o == f_word);
            if (f_armed && f_tail) assert (tail_valid_q && tail_q == f_word);
            assert (!tail_valid_q || head_valid_q);
            assert (f_held == {1'b0, head_valid_q} + {1'b0, tail_valid_q});
            if ($past(rst_ni) && $past(valid_o) && !$past(ready_i)) begin
                assert (valid_o);
                assert (data_o == $past(data_o));
            end
            cover (f_armed && f_tail && ready_i);
            cover (!ready_o);
        end
    end
