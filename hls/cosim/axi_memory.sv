// An AXI4 memory to read from, as slow and as moody as a bench wants it.
//
// A toggle of `reload_i` reads memory.bin of the working directory: 8 bytes that say where its first beat lies, counted in
// beats, then the beats, each with its most significant byte first. What it holds changes, the rest stays. A burst's first
// beat comes `latency_i` cycles after its address; with `stall_i`/256 probability a cycle lets nothing through, on either
// channel. Up to `Outstanding` bursts wait in order. What was never written answers with DECERR.
module axi_memory #(
    parameter int DataBits = 64,
    parameter int Outstanding = 4
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  logic                reload_i,
    input  logic [15:0]         latency_i,
    input  logic [7:0]          stall_i,
    input  logic [31:0]         seed_i,
    input  logic [63:0]         araddr_i,
    input  logic [7:0]          arlen_i,
    input  logic [2:0]          arsize_i,
    input  logic [1:0]          arburst_i,
    input  logic                arvalid_i,
    output logic                arready_o,
    output logic [DataBits-1:0] rdata_o,
    output logic [1:0]          rresp_o,
    output logic                rlast_o,
    output logic                rvalid_o,
    input  logic                rready_i
);

    localparam int Size = $clog2(DataBits / 8);

    // By beat: only what was loaded takes room.
    logic [DataBits-1:0] content [longint unsigned];
    logic reloaded_q;

    // Bursts that wait, each with the cycle from which it may answer.
    longint unsigned at [$];
    int unsigned     beats [$];
    longint unsigned due [$];
    longint unsigned now;

    logic [31:0] noise_q;
    function automatic logic [31:0] xorshift(input logic [31:0] x);
        logic [31:0] y;
        y = x ^ (x << 13);
        y = y ^ (y >> 17);
        return y ^ (y << 5);
    endfunction

    function automatic void reload();
        int                  file;
        longint unsigned     place;
        logic [DataBits-1:0] beat;
        file = $fopen("memory.bin", "rb");
        void'($fread(place, file));
        while ($fread(beat, file) == DataBits / 8) begin
            content[place] = beat;
            place = place + 1;
        end
        $fclose(file);
    endfunction

    always_ff @(posedge clk_i) begin
        reloaded_q <= reload_i;
        if (reload_i != reloaded_q) reload();
    end

    // The queues are variables of this process alone.
    /* verilator lint_off BLKSEQ */
    always_ff @(posedge clk_i) begin
        if (!rst_ni) begin
            at.delete();
            beats.delete();
            due.delete();
            now <= 0;
            noise_q <= seed_i | 32'd1;
            arready_o <= 1'b0;
            rvalid_o <= 1'b0;
            rdata_o <= '0;
            rresp_o <= 2'b00;
            rlast_o <= 1'b0;
        end else begin
            now <= now + 1;
            noise_q <= xorshift(noise_q);
            if (arvalid_i && arready_o) begin
                if (arsize_i != 3'(Size) || arburst_i != 2'b01)
                    $fatal(1, "m_axi_gmem: found ARSIZE %0d and ARBURST %0d; expected %0d and 1", arsize_i, arburst_i, Size);
                if (64'(araddr_i[11:0]) + ((64'(arlen_i) + 1) << Size) > 4096 || araddr_i[Size-1:0] != '0)
                    $fatal(1, "m_axi_gmem: found a burst of %0d beats at %h; expected one on beats, inside a page of 4096 bytes",
                           9'(arlen_i) + 1, araddr_i);
                at.push_back(araddr_i >> Size);
                beats.push_back(32'(arlen_i) + 1);
                due.push_back(now + 64'(latency_i));
            end
            arready_o <= at.size() < Outstanding - 1 && noise_q[15:8] >= stall_i;
            if (!rvalid_o || rready_i) begin
                rvalid_o <= 1'b0;
                if (at.size() != 0 && now >= due[0] && noise_q[23:16] >= stall_i) begin
                    rvalid_o <= 1'b1;
                    rlast_o <= beats[0] == 1;
                    rresp_o <= content.exists(at[0]) != 0 ? 2'b00 : 2'b11;
                    rdata_o <= content.exists(at[0]) != 0 ? content[at[0]] : '0;
                    if (beats[0] == 1) begin
                        void'(at.pop_front());
                        void'(beats.pop_front());
                        void'(due.pop_front());
                    end else begin
                        at[0] = at[0] + 1;
                        beats[0] = beats[0] - 1;
                    end
                end
            end
        end
    end
    /* verilator lint_on BLKSEQ */

endmodule
