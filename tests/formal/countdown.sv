    // A counter that counts up from 1 says the same.
    reg            f_started = 1'b0;
    reg [Bits-1:0] f_at, f_count;

    always @(posedge clk_i) begin
        if (start_i) begin
            assume (count_i != 0);
            f_started <= 1'b1;
            f_count <= count_i;
            f_at <= 1;
        end else if (f_started) begin
            assume (count_i == f_count);
            if (step_i) f_at <= f_at == f_count ? 1 : f_at + 1'b1;
        end
        if (f_started) begin
            assert (f_count != 0 && f_at != 0 && f_at <= f_count);
            assert (left_q == f_count - f_at + 1'b1);
            assert (one_q == (f_count == 1));
            assert (last_o == (f_at == f_count));
            // From the last one to the first, and with a single one.
            cover (f_count == 3 && f_at == 3 && step_i && !start_i);
            cover (f_count == 1 && step_i && !start_i);
            cover (f_at == 2 && start_i && count_i == f_count);
        end
    end
