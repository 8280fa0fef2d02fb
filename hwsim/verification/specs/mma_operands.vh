// How the data path writes a decoded 4-bit element: {sign, code of the magnitude}. Magnitudes of E2M1 are in half
// units, those of E1M2 in units. The codes are an interface inside the data path. mma_codes.vh, generated from the
// RTL's table (rtl/tile/products.py), has the magnitude of every code; with it, decoders and products are each proven
// against magnitudes, independently of each other.
`include "mma_codes.vh"
function [4:0] magnitude_of(input of_b, input [WIDTH-1:0] operand);
  magnitude_of = of_b ? decoded_b(operand[WIDTH-2:0]) : decoded_a(operand[WIDTH-2:0]);
endfunction
function signed [4:0] value(input of_b, input [WIDTH-1:0] operand);
  reg [4:0] magnitude;
  begin
    magnitude = magnitude_of(of_b, operand);
    value = operand[WIDTH-1] ? -magnitude : magnitude;
  end
endfunction
function is_operand(input of_b, input [WIDTH-1:0] operand);
  reg [4:0] magnitude;
  begin
    magnitude = magnitude_of(of_b, operand);
    is_operand = !magnitude[4];
  end
endfunction
