// Registers of a specification: with REGISTERED one stage at the inputs and one at the outputs, as the unit documents
// them; rst clears only the stage at the outputs.
module spec_registers #(parameter IN = 1, OUT = 1, REGISTERED = 1) (
  input  wire clk, input wire rst,
  input  wire [IN-1:0] in, output wire [IN-1:0] in_q,
  input  wire [OUT-1:0] out, output wire [OUT-1:0] out_q
);
  reg [IN-1:0] first;
  reg [OUT-1:0] last;
  always @(posedge clk) begin
    first <= in;
    last <= rst ? {OUT{1'b0}} : out;
  end
  assign in_q = REGISTERED ? first : in;
  assign out_q = REGISTERED ? last : out;
endmodule
