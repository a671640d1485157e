    // Beats become pieces in order, none lost, none twice; a piece that is not taken stays. Bytes: one is followed, any one
    // of those that come before the tensor ends.
    localparam FBeat = BeatBytes < PieceBytes ? BeatBytes : PieceBytes;
    reg          f_past = 1'b0;
    // Units of FBeat bytes that came in and went out since the last end of a tensor.
    reg  [7:0]   f_in, f_out;
    (* anyconst *) reg [7:0] f_unit;
    reg          f_seen;
    reg  [8*FBeat-1:0] f_word;
    localparam InUnits = BeatBytes / FBeat;
    localparam OutUnits = PieceBytes / FBeat;
    integer      u;

    always @(posedge clk_i) begin
        f_past <= 1'b1;
        if (!f_past) assume (!rst_ni);
        // A tensor ends with its last piece; its user then takes no further beat for it.
        if (!rst_ni || (given && piece_last_i)) begin
            f_in <= 8'd0;
            f_out <= 8'd0;
            f_seen <= 1'b0;
        end else begin
            if (take) f_in <= f_in + InUnits;
            if (given) f_out <= f_out + OutUnits;
            for (u = 0; u < InUnits; u = u + 1)
                if (take && f_in + u == f_unit) begin
                    f_seen <= 1'b1;
                    f_word <= data_i[8*FBeat*u +: 8*FBeat];
                end
        end
        if (f_past && $past(rst_ni) && rst_ni) begin
            // Only what came leaves, and no more waits than one piece and one beat.
            assert (f_out <= f_in);
            assert (!piece_valid_o || f_out + OutUnits <= f_in);
            assert (f_in - f_out <= (InUnits > OutUnits ? InUnits : OutUnits));
            for (u = 0; u < OutUnits; u = u + 1)
                if (piece_valid_o && f_out + u == f_unit) begin
                    assert (f_seen);
                    assert (piece[8*FBeat*u +: 8*FBeat] == f_word);
                end
            if ($past(piece_valid_o) && !$past(piece_ready_i)) begin
                assert (piece_valid_o);
                assert (piece_data_o == $past(piece_data_o) && piece_mask_o == $past(piece_mask_o));
            end
            if ($past(given) && !$past(piece_last_i)) assert (line_end_o == (piece_mask_o[Banks-1]));
        end
        // Ends come where pieces do, and the line is then whole; counts stay below what they hold.
        assume (!(piece_last_i && piece_valid_o) || line_end_o);
        assume (f_in < 8'd100);
        cover (f_past && rst_ni && f_out == 8'd4 && f_seen && given);
    end
