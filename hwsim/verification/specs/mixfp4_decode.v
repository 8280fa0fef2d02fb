// What mixfp4_decode must do, bit by bit, from MixFP4 (arXiv 2605.31035): per block E2M1 or E1M2, chosen by the sign
// bit of the E4M3 scale, both as one E2M2 operand {sign, exponent, fraction}.
module mixfp4_decode_spec #(parameter LANES = 16, REGISTERED = 1, POLARITY = 0) (
  input  wire clk, input wire rst,
  input  wire [4*LANES-1:0] codes, input wire [7:0] scale_code,
  output wire [5*LANES-1:0] operands, output wire [6:0] scale, output wire scale_nan
);
  wire [4*LANES-1:0] codes_in;
  wire [7:0] scale_in;
  reg [5*LANES-1:0] operands_out;
  reg [6:0] scale_out;
  reg nan_out;

  // Each row: the value, then the only E2M2 code that has it.
  function [3:0] from_e2m1(input [2:0] code);
    case (code)
      3'd0: from_e2m1 = 4'b00_00;  // 0
      3'd1: from_e2m1 = 4'b00_10;  // 0.5
      3'd2: from_e2m1 = 4'b01_00;  // 1
      3'd3: from_e2m1 = 4'b01_10;  // 1.5
      3'd4: from_e2m1 = 4'b10_00;  // 2
      3'd5: from_e2m1 = 4'b10_10;  // 3
      3'd6: from_e2m1 = 4'b11_00;  // 4
      3'd7: from_e2m1 = 4'b11_10;  // 6
    endcase
  endfunction
  function [3:0] from_e1m2(input [2:0] code);
    case (code)
      3'd0: from_e1m2 = 4'b00_00;  // 0
      3'd1: from_e1m2 = 4'b01_00;  // 1
      3'd2: from_e1m2 = 4'b10_00;  // 2
      3'd3: from_e1m2 = 4'b10_10;  // 3
      3'd4: from_e1m2 = 4'b11_00;  // 4
      3'd5: from_e1m2 = 4'b11_01;  // 5
      3'd6: from_e1m2 = 4'b11_10;  // 6
      3'd7: from_e1m2 = 4'b11_11;  // 7
    endcase
  endfunction

  integer i;
  always @* begin
    for (i = 0; i < LANES; i = i + 1) begin
      operands_out[5*i +: 4] = scale_in[7] == POLARITY ? from_e2m1(codes_in[4*i +: 3]) : from_e1m2(codes_in[4*i +: 3]);
      operands_out[5*i + 4] = codes_in[4*i + 3] && codes_in[4*i +: 3] != 0;  // -0 is zero
    end
    scale_out = scale_in[6:0];
    case (scale_in[6:0])
      7'h7f: nan_out = 1'b1;  // whatever the sign bit chooses
      default: nan_out = 1'b0;
    endcase
  end

  spec_registers #(.IN(4*LANES + 8), .OUT(5*LANES + 8), .REGISTERED(REGISTERED)) registers (
    .clk(clk), .rst(rst), .in({codes, scale_code}), .in_q({codes_in, scale_in}),
    .out({operands_out, scale_out, nan_out}), .out_q({operands, scale, scale_nan}));
endmodule
