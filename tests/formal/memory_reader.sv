    // Beats of all spans come in order, none lost, none twice; those beyond the image are zeros; a beat that is not taken
    // stays; a burst keeps inside its page. The memory answers bursts in order, whenever it likes: beat n holds n + 1.
    reg         f_past = 1'b0;
    // Bursts asked for and not answered: first beat and beats left.
    reg  [15:0] f_from [0:15];
    reg  [7:0]  f_length [0:15];
    reg  [3:0]  f_asked, f_answered;
    reg  [7:0]  f_beat;
    wire        f_open = f_asked != f_answered;
    wire [15:0] f_number = f_from[f_answered] + f_beat;
    // Spans accepted and not delivered.
    reg  [15:0] f_offset [0:15];
    reg  [15:0] f_beats [0:15];
    reg  [3:0]  f_given, f_span;
    reg  [15:0] f_at;
    wire        f_taken = data_valid_o && data_ready_i;
    wire        f_wants = f_given != f_span;
    wire [15:0] f_due = f_offset[f_span] + f_at;

    always @(posedge clk_i) begin
        f_past <= 1'b1;
        if (!f_past) assume (!rst_ni);
        else assume (rst_ni && !flush_i);
        assume (image_base_i == 64'd0);
        assume (image_beats_i == $past(image_beats_i) || !f_past);
        assume (image_beats_i <= 32'd520);
        // No pages here: the module's bench knows them. Spans lie about the end of a page and of the image.
        assume (!span_page_i && span_beats_i <= 32'd5 && span_beats_i != 0);
        assume (span_offset_i >= 32'd508 && span_offset_i <= 32'd522);
        assume (!rvalid_i || f_open);
        assume (rdata_i == {48'd0, f_number + 16'd1});
        assume (rlast_i == (f_beat + 8'd1 == f_length[f_answered]));
        if (!rst_ni) begin
            f_asked <= 4'd0;
            f_answered <= 4'd0;
            f_beat <= 8'd0;
            f_given <= 4'd0;
            f_span <= 4'd0;
            f_at <= 16'd0;
        end else begin
            if (arvalid_o && arready_i) begin
                f_from[f_asked] <= araddr_o[18:3];
                f_length[f_asked] <= arlen_o + 8'd1;
                f_asked <= f_asked + 4'd1;
            end
            if (rvalid_i) begin
                f_beat <= rlast_i ? 8'd0 : f_beat + 8'd1;
                if (rlast_i) f_answered <= f_answered + 4'd1;
            end
            if (span_valid_i && span_ready_o) begin
                f_offset[f_given] <= span_offset_i[15:0];
                f_beats[f_given] <= span_beats_i[15:0];
                f_given <= f_given + 4'd1;
            end
            if (f_taken) begin
                f_at <= f_at + 16'd1 == f_beats[f_span] ? 16'd0 : f_at + 16'd1;
                if (f_at + 16'd1 == f_beats[f_span]) f_span <= f_span + 4'd1;
            end
        end
        if (f_past && $past(rst_ni)) begin
            if (data_valid_o) begin
                assert (f_wants);
                assert (data_o == (f_due < image_beats_i ? {48'd0, f_due + 16'd1} : 64'd0));
            end
            if ($past(data_valid_o) && !$past(data_ready_i)) begin
                assert (data_valid_o);
                assert (data_o == $past(data_o));
            end
            if (arvalid_o) assert (araddr_o[11:3] + arlen_o < 10'd512);
            if ($past(arvalid_o) && !$past(arready_i)) begin
                assert (arvalid_o);
                assert (araddr_o == $past(araddr_o) && arlen_o == $past(arlen_o));
            end
            // Room is booked before data are asked for.
            assert (!push || fifo_ready);
            cover (f_taken && f_due == 16'd513 && f_at == 16'd2 && f_span == 4'd0);
            cover (f_taken && f_due >= image_beats_i && f_at == 16'd2);
        end
    end
