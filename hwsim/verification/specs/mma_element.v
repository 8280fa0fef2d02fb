// What the modules of MMA units whose terms are products of elements must do. How to read it: see mma_block.v.

module mma_decode_spec #(parameter K = 32, EXPONENT = 4, FRACTION = 3, SCALED = 1, IEEE = 0, ALL_ONES = 1,
                         W = 1 + EXPONENT + FRACTION) (
  input [W*K-1:0] codes, input [7:0] scales, input [EXPONENT*K-1:0] exponents, input [K-1:0] nonzero, infinite,
  input [(FRACTION+2)*K-1:0] numbers, input [7:0] base, input nan,
  output reg [K-1:0] ok_exponent, ok_nonzero, ok_number, ok_infinite, output ok_nan, ok_base
);
  integer i;
  reg sign;
  reg [EXPONENT-1:0] field;
  reg [FRACTION-1:0] fraction;
  reg [K-1:0] nans;
  always @*
    for (i = 0; i < K; i = i + 1) begin
      {sign, field, fraction} = codes[W*i +: W];
      ok_exponent[i] = exponents[EXPONENT*i +: EXPONENT] == (field == 0 ? 1 : field);
      ok_nonzero[i] = nonzero[i] == ({field, fraction} != 0);
      ok_number[i] = numbers[(FRACTION+2)*i +: FRACTION+2] == {sign, field != 0, fraction};
      ok_infinite[i] = infinite[i] == (IEEE && &field && fraction == 0);
      nans[i] = IEEE ? &field && fraction != 0 : ALL_ONES && &{field, fraction};
    end
  assign ok_nan = nan == (|nans || (SCALED && scales == 8'hff));
  assign ok_base = base == scales;
endmodule

// The product of two numbers {sign, significand} in two's complement, less one if the product's sign is set.
module mma_product_spec #(parameter S = 4) (input [S:0] a, b, input [2*S:0] q, output ok_product);
  wire sign = a[S] ^ b[S];
  wire [2*S:0] product = a[S-1:0] * b[S-1:0];
  assign ok_product = q == (sign ? -product - 1'b1 : product);
endmodule
