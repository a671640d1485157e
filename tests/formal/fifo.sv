    // What goes in comes out, in order, once, and stays while nobody takes it. Words: one is followed, any one.
    localparam [DepthLog2:0] Most = 1 << DepthLog2;
    reg                f_past = 1'b0;
    reg                f_armed = 1'b0, f_ahead = 1'b0;
    reg  [Width-1:0]   f_word;
    reg  [DepthLog2:0] f_at;
    (* anyseq *) wire  f_pick;
    wire [DepthLog2:0] f_count = write_q - read_q;
    // Words of the memory in front of the one that is followed.
    wire [DepthLog2:0] f_before = f_at - read_q;
    wire [Width-1:0]   f_stored;

    always @(posedge clk_i) begin
        f_past <= 1'b1;
        if (!f_past) assume (!rst_ni);
        if (!rst_ni) begin
            f_armed <= 1'b0;
            f_ahead <= 1'b0;
        end else begin
            if (push && f_pick && !f_armed) begin
                f_armed <= 1'b1;
                f_ahead <= 1'b0;
                f_word <= data_i;
                f_at <= write_q;
            end
            // It moves to the output register, and leaves.
            if (f_armed && !f_ahead && fetch && f_before == 0) f_ahead <= 1'b1;
            if (f_armed && f_ahead && ready_i) f_armed <= 1'b0;
        end
        if (f_past) begin
            assert (f_count <= Most);
            assert (full_q == (f_count == Most) && empty_q == (f_count == 0));
            assert (valid_o || !f_ahead || !f_armed);
            if (f_armed && !f_ahead) begin
                assert (f_before < f_count);
                assert (f_stored == f_word);
            end
            if (f_armed && f_ahead) assert (data_o == f_word);
            // Nothing is taken that is not there, nothing refused while there is room.
            assert (ready_o == (f_count != Most));
            if ($past(rst_ni) && $past(valid_o) && !$past(ready_i)) begin
                assert (valid_o);
                assert (data_o == $past(data_o));
            end
            if (!$past(rst_ni)) assert (!valid_o && ready_o);
            cover (f_armed && f_ahead && ready_i && f_at[DepthLog2]);
            cover (!ready_o);
        end
    end
