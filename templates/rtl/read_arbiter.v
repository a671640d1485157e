// One read port for several readers: the lowest index that asks is granted, in the same cycle.
module read_arbiter #(
    parameter Readers = 2
) (
    input  wire [Readers-1:0]    re_i,
    input  wire [32*Readers-1:0] line_i,
    output wire [Readers-1:0]    grant_o,
    output wire                  re_o,
    output reg  [31:0]           line_o
);

    // The lowest bit that is set: gates, no carry chain.
    genvar r;
    generate
        for (r = 0; r < Readers; r = r + 1) begin : readers
            if (r == 0) begin : lowest
                assign grant_o[r] = re_i[r];
            end else begin : others
                assign grant_o[r] = re_i[r] && re_i[r-1:0] == 0;
            end
        end
    endgenerate
    assign re_o = re_i != {Readers{1'b0}};

    integer i;
    always @* begin
        line_o = 32'd0;
        for (i = 0; i < Readers; i = i + 1) line_o = line_o | (line_i[32*i +: 32] & {32{grant_o[i]}});
    end

endmodule
