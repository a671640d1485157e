// A first-in, first-out queue of `Depth` words, a power of two; valid/ready on both sides, no combinational path between
// them. A word can leave two cycles after it came: the memory is read ahead into an output register.
module fifo #(
    parameter Width = 8,
    parameter DepthLog2 = 4
) (
    input  wire             clk_i,
    input  wire             rst_ni,
    input  wire             valid_i,
    output wire             ready_o,
    input  wire [Width-1:0] data_i,
    output wire             valid_o,
    input  wire             ready_i,
    output wire [Width-1:0] data_o
);

    // One bit more than an address: full and empty differ in it.
    reg [DepthLog2:0] write_q, read_q;
    reg               valid_q, full_q, empty_q;

    wire push = valid_i && !full_q;
    wire fetch = !empty_q && (!valid_q || ready_i);
    // Room for one more word, or one word: known before the word comes or goes.
    wire [DepthLog2:0] stored = write_q - read_q;
    wire one_free = stored == {1'b0, {DepthLog2{1'b1}}};
    wire one_stored = stored == {{DepthLog2{1'b0}}, 1'b1};

    assign ready_o = !full_q;
    assign valid_o = valid_q;

    ram_1r1w #(.Width(Width), .Depth(1 << DepthLog2), .AddressBits(DepthLog2)) words (
        .clk_i(clk_i),
        .we_i(push),
        .waddr_i(write_q[DepthLog2-1:0]),
        .wdata_i(data_i),
        .re_i(fetch),
        .raddr_i(read_q[DepthLog2-1:0]),
        .rdata_o(data_o)
    );

    always @(posedge clk_i) begin
        if (!rst_ni) begin
            write_q <= 0;
            read_q <= 0;
            valid_q <= 1'b0;
            full_q <= 1'b0;
            empty_q <= 1'b1;
        end else begin
            full_q <= !fetch && (full_q || (valid_i && one_free));
            empty_q <= !push && (empty_q || (fetch && one_stored));
            if (push) write_q <= write_q + 1'b1;
            if (fetch) read_q <= read_q + 1'b1;
            if (fetch) valid_q <= 1'b1;
            else if (ready_i) valid_q <= 1'b0;
        end
    end

endmodule
