    // Every take shows the units that follow those of the take before, from the beat on which the section began; no beat
    // is asked for beyond what the take needs. Units are numbered from the section's first beat on; f_any is any of them.
    reg          f_past = 1'b0;
    reg  [9:0]   f_units;   // units that came in this section
    reg  [9:0]   f_next;    // number of the first unit of the current take
    (* anyconst *) reg [9:0] f_any;
    reg          f_seen;
    reg  [UnitBits-1:0] f_word;
    integer      u;
    reg  [9:0]   f_length;  // units of the current take
    wire         f_take = take_i && !restart_i;
    wire [9:0]   f_base = f_units - have_q * BeatUnits; // number of the window's first unit

    always @(posedge clk_i) begin
        f_past <= 1'b1;
        if (!f_past) assume (!rst_ni);
        // A take is made of what is valid; lengths are what `Beats` holds; after reset a section begins.
        if (take_i) assume (valid_o);
        assume ((units_i + BeatUnits - 1) * UnitBits <= Beats * BeatBits);
        assume ((first_i + BeatUnits - 1) * UnitBits <= Beats * BeatBits);
        assume (reach_i == (units_i == 0 ? 0 : units_i + BeatUnits - 1));
        if (change) f_length <= restart_i ? first_i : units_i;
        if (f_past && !$past(rst_ni)) assume (restart_i);
        if (restart_i) begin
            f_units <= append ? BeatUnits : 0;
            f_next <= start_i;
            f_seen <= append && f_any < BeatUnits;
            for (u = 0; u < BeatUnits; u = u + 1)
                if (f_any == u) f_word <= data_i[u*UnitBits +: UnitBits];
        end else begin
            if (append) f_units <= f_units + BeatUnits;
            if (f_take) f_next <= f_next + f_length;
            for (u = 0; u < BeatUnits; u = u + 1)
                if (append && f_any == f_units + u) begin
                    f_seen <= 1'b1;
                    f_word <= data_i[u*UnitBits +: UnitBits];
                end
        end
        assume (f_units < 10'd900 && f_next < 10'd900);
        if (f_past && rst_ni && $past(rst_ni)) begin
            if (valid_o && f_length != 0) begin
                assert (f_next + f_length <= f_units);
                assert (f_units < f_next + f_length + BeatUnits);
                if (f_any >= f_next && f_any < f_next + f_length && (f_any - f_next) * UnitBits < OutBits) begin
                    assert (f_seen);
                    for (u = 0; u < OutBits / UnitBits; u = u + 1)
                        if (f_any == f_next + u) assert (data_o[u*UnitBits +: UnitBits] == f_word);
                end
            end
            assert (valid_o == (have_q == need_q));
            // Stable while it is not taken.
            if ($past(valid_o) && !$past(change)) begin
                assert (valid_o);
                assert (data_o == $past(data_o));
            end
            // What holds whatever came before, and makes the above follow.
            assert (need_q == (f_length == 0 ? 0 : (pos_q + f_length + BeatUnits - 1) / BeatUnits));
            assert (need_q <= Beats);
            assert (end_q == pos_q + f_length);
            // A take of nothing behind one that ends within a beat keeps that beat; only a section comes behind it.
            assert (have_q <= need_q || (have_q == 1 && need_q == 0 && f_length == 0));
            assert (have_q * BeatUnits <= f_units && f_next == f_base + pos_q);
            assert (f_seen == (f_any < f_units));
            for (u = 0; u < Beats * BeatUnits; u = u + 1)
                if (u < have_q * BeatUnits && f_any == f_base + u)
                    assert (window_q[u*UnitBits +: UnitBits] == f_word);
            cover (f_take && f_length != 0 && f_next > 2 * BeatUnits);
        end
    end
