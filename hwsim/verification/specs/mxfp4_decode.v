// What mxfp4_decode must do, bit by bit, from OCP Microscaling Formats (MX) v1.0: E2M1 elements, E8M0 scale.
module mxfp4_decode_spec #(parameter LANES = 32, REGISTERED = 1) (
  input  wire clk, input wire rst,
  input  wire [4*LANES-1:0] codes, input wire [7:0] scale_code,
  output wire [4*LANES-1:0] operands, output wire [7:0] scale, output wire scale_nan
);
  wire [4*LANES-1:0] codes_in;
  wire [7:0] scale_in;
  reg [4*LANES-1:0] operands_out;
  reg nan_out;

  integer i;
  always @* begin
    for (i = 0; i < LANES; i = i + 1)
      case (codes_in[4*i +: 4])
        4'h8: operands_out[4*i +: 4] = 4'h0;  // -0 is zero
        default: operands_out[4*i +: 4] = codes_in[4*i +: 4];
      endcase
    case (scale_in)
      8'hff: nan_out = 1'b1;
      default: nan_out = 1'b0;
    endcase
  end

  spec_registers #(.IN(4*LANES + 8), .OUT(4*LANES + 9), .REGISTERED(REGISTERED)) registers (
    .clk(clk), .rst(rst), .in({codes, scale_code}), .in_q({codes_in, scale_in}),
    .out({operands_out, scale_in, nan_out}), .out_q({operands, scale, scale_nan}));
endmodule
