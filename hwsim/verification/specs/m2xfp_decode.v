// What m2xfp_decode must do, bit by bit, from M2XFP (arXiv 2601.19213, Algorithm 1). A block has 32 E2M1 codes in
// subgroups of 8. The element of largest magnitude in a subgroup, the first of equals, is an E2M3 number instead: its
// magnitude code is {code, metadata} - 1, at least 0. Operands are {sign, magnitude in eighths}.
module m2xfp_decode_spec #(parameter REGISTERED = 1) (
  input  wire clk, input wire rst,
  input  wire [127:0] codes, input wire [7:0] scale_code, input wire [7:0] metadata_code,
  output wire [223:0] operands, output wire [7:0] scale, output wire scale_nan
);
  wire [127:0] codes_in;
  wire [7:0] scale_in, metadata_in;
  reg [223:0] operands_out;
  reg nan_out;

  function [5:0] from_e2m3(input [4:0] code);
    case (code[4:3])
      2'd0: from_e2m3 = code[2:0];
      2'd1: from_e2m3 = 8 + code[2:0];
      2'd2: from_e2m3 = 16 + 2 * code[2:0];
      2'd3: from_e2m3 = 32 + 4 * code[2:0];
    endcase
  endfunction

  integer group, i, top;
  reg [4:0] fine;
  reg [5:0] value;
  always @* begin
    for (group = 0; group < 4; group = group + 1) begin
      top = 0;
      for (i = 1; i < 8; i = i + 1)
        if (codes_in[32*group + 4*i +: 3] > codes_in[32*group + 4*top +: 3]) top = i;
      for (i = 0; i < 8; i = i + 1) begin
        fine = {codes_in[32*group + 4*i +: 3], 2'b01};
        if (i == top) fine = {codes_in[32*group + 4*i +: 3], metadata_in[2*group +: 2]};
        value = from_e2m3(fine == 0 ? 5'd0 : fine - 5'd1);
        operands_out[56*group + 7*i +: 7] = {codes_in[32*group + 4*i + 3] && value != 0, value};
      end
    end
    nan_out = scale_in == 8'hff;
  end

  spec_registers #(.IN(144), .OUT(233), .REGISTERED(REGISTERED)) registers (
    .clk(clk), .rst(rst), .in({codes, scale_code, metadata_code}), .in_q({codes_in, scale_in, metadata_in}),
    .out({operands_out, scale_in, nan_out}), .out_q({operands, scale, scale_nan}));
endmodule
