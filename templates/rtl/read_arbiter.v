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

    // The lowest bit that is set.
    assign grant_o = re_i & (-re_i);
    assign re_o = re_i != {Readers{1'b0}};

    integer i;
    always @* begin
        line_o = line_i[31:0];
        for (i = 1; i < Readers; i = i + 1) begin
            if (grant_o[i]) line_o = line_i[32*i +: 32];
        end
    end

endmodule
