// What the modules of an accumulation step must do, from the accumulator contract. How to read it: see
// mma_block.v.

// The largest exponent of all terms and C that are not zero: none of theirs is larger, and one is equal (ok_attained).
module mma_exponents_spec #(parameter T = 4, E = 5, BASE = 0, TERM_OFFSET = 0, C_OFFSET = 0, CW = 9, D = 6, CD = 6,
                            GROUPS = 0, GROUP = 4) (
  input [T*E-1:0] exponents, input [T-1:0] nonzero, input [(BASE ? BASE : 1)-1:0] base,
  input [(GROUPS ? GROUPS : 1)*E-1:0] candidates, input [30:0] c,
  input [CW-1:0] largest, input [T*D-1:0] distances, input [CD-1:0] c_distance, input floats,
  output reg [T-1:0] ok_not_larger, ok_distance, output reg ok_c_not_larger, ok_c_distance, ok_attained, output ok_floats
);
  integer i, j;
  reg assumed, attained, found;
  reg [CW:0] exponent, distance, c_exponent;
  always @* begin
    // Candidates are the largest exponents of GROUP terms each, computed in the cycle before. Nothing is claimed of
    // candidates that are not.
    assumed = 1;
    for (i = 0; i < T; i = i + 1)
      if (GROUPS && nonzero[i] && exponents[E*i +: E] > candidates[E*(i/GROUP) +: E]) assumed = 0;
    for (i = 0; i < GROUPS; i = i + 1) begin
      found = candidates[E*i +: E] == 0;
      for (j = GROUP*i; j < GROUP*(i+1) && j < T; j = j + 1)
        if (nonzero[j] && exponents[E*j +: E] == candidates[E*i +: E]) found = 1;
      if (!found) assumed = 0;
    end
    attained = nonzero == 0 && c == 0;
    for (i = 0; i < T; i = i + 1) begin
      exponent = exponents[E*i +: E] + TERM_OFFSET + (BASE ? base : 0);
      distance = largest - exponent;
      if (distance >= (1 << D)) distance = (1 << D) - 1;
      ok_not_larger[i] = !assumed || !nonzero[i] || exponent <= largest;
      ok_distance[i] = !assumed || !nonzero[i] || distances[D*i +: D] == distance;
      if (nonzero[i] && exponent == largest) attained = 1;
    end
    c_exponent = (c[30:23] == 0 ? 1 : c[30:23]) + C_OFFSET;
    distance = largest - c_exponent;
    if (distance >= (1 << CD)) distance = (1 << CD) - 1;
    if (c != 0 && c_exponent == largest) attained = 1;
    ok_c_not_larger = !assumed || c == 0 || c_exponent <= largest;
    ok_c_distance = !assumed || c == 0 || c_distance == distance;
    ok_attained = !assumed || attained;
  end
  assign ok_floats = floats == (nonzero != 0 || c[30:23] != 0);
endmodule

// The sum of the terms and C, whose magnitudes are shifted by their distances and truncated, in two's complement; for
// magnitudes that are as small as the contract says.
module mma_sum_spec #(parameter T = 4, M = 20, D = 6, CD = 6, KEPT = 35, UP = 20, DOWN = 0, W = 41) (
  input [T*(M+1)-1:0] q, input [T*D-1:0] distances, input [24:0] c, input [CD-1:0] c_distance,
  output reg [W*(T+1)-1:0] terms, output reg [T:0] care
);
  localparam X = M + KEPT + 24;
  integer i;
  reg [X-1:0] magnitude;
  always @* begin
    for (i = 0; i < T; i = i + 1) begin
      magnitude = q[(M+1)*i + M] ? ~q[(M+1)*i +: M] & {M{1'b1}} : q[(M+1)*i +: M];
      magnitude = magnitude << UP >> DOWN >> distances[D*i +: D];
      terms[W*i +: W] = q[(M+1)*i + M] ? -magnitude[W-1:0] : magnitude[W-1:0];
      care[i] = magnitude >> (KEPT + 2) == 0;
    end
    magnitude = c[24] ? ~c[23:0] & 24'hffffff : c[23:0];
    magnitude = KEPT > 23 ? (magnitude << (KEPT - 23)) >> c_distance : (magnitude >> (23 - KEPT)) >> c_distance;
    terms[W*T +: W] = c[24] ? -magnitude[W-1:0] : magnitude[W-1:0];
    care[T] = magnitude >> (KEPT + 1) == 0;
  end
endmodule

// FP32 from the sum: R bits below the leading one, truncated (RNE 0) or rounded to nearest even (RNE 1). The module's
// exponent may be any number. It is computed here, as the larger of the inputs any and least, so that a case can bound
// it from below by a constant least; limit and lower follow from it.
module mma_normalise_spec #(parameter W = 41, E = 10, KEPT = 35, R = 23, LIMIT = 0, RNE = 0) (
  input [W-1:0] total, input signed [E-1:0] exponent, any, least, input floats, nan, infinite, infinity_sign,
  input [31:0] d, output reg [31:0] ok_d,
  output signed [E-1:0] given_exponent, output [(LIMIT ? LIMIT : 1)-1:0] given_limit, output [4:0] given_lower
);
  localparam TOP = W - 2, X = W + 26;
  integer i;
  reg assumed, up, under;
  reg [31:0] number, expected;
  reg [W-1:0] magnitude;
  reg [X-1:0] moved, lost;
  reg signed [E:0] field;
  wire signed [E:0] most = given_exponent - 1;
  assign given_exponent = any > least ? any : least;
  assign given_limit = most < 0 ? 0 : most > (1 << LIMIT) - 1 ? (1 << LIMIT) - 1 : most;
  assign given_lower = most >= 0 ? 0 : most < -31 ? 31 : -most;
  always @* begin
    magnitude = total[W-1] ? -total : total;
    if (R < 23 && !RNE)
      for (i = 0; i < W; i = i + 1)
        if (magnitude >> (i + R + 1) != 0) magnitude[i] = 0;
    field = exponent;
    lost = 0;
    // The leading one moves to bit X - 1. The 26 bits below the sum keep what a subnormal result shifts out.
    moved = {magnitude, 26'b0};
    // Only -2**(W-1) has a magnitude of W bits.
    if (moved[X-1]) field = field + 1; else moved = moved << 1;
    for (i = 0; i < TOP; i = i + 1)
      if (!moved[X-1] && (LIMIT ? field > 1 : floats)) begin
        moved = moved << 1;
        field = field - 1;
      end
    // Without limit no result of terms is subnormal, and nothing is claimed of exponents that would make it so.
    under = !LIMIT && floats && field < 1 && magnitude != 0;
    if (LIMIT || floats) begin
      for (i = 0; i < 26; i = i + 1)
        if (field < 1) begin
          lost = lost | moved[0];
          moved = moved >> 1;
          field = field + 1;
        end
      if (field < 1) moved = 0;
      number = {field[7:0], moved[X-2 -: 23]};
      if (!moved[X-1]) number[30:23] = 0;
      up = moved[X-2-R] && (moved[X-1-R] || moved[X-3-R:0] != 0 || lost != 0);
    end else begin
      number = KEPT < 23 ? magnitude << (23 - KEPT) : magnitude >> (KEPT - 23);
      up = 0;
      field = 0;
    end
    number[31] = 0;
    if (RNE && R < 23) number = number >> (23 - R) << (23 - R);
    if (RNE && up) number = number + (1 << (23 - R));
    expected = {total[W-1] && number != 0, number[30:0]};
    if (number[30:23] == 255 || (field >= 255 && magnitude != 0)) expected = {total[W-1], 31'h7f800000};
    if (infinite) expected = {infinity_sign, 31'h7f800000};
    if (nan) expected = 32'h7fc00000;
    // Without floats the sum is a subnormal C alone: below the place of the hidden bit, at the least exponent.
    assumed = LIMIT || floats || (magnitude >> KEPT == 0 && (KEPT < 23 || (magnitude & ((1 << (KEPT - 23)) - 1)) == 0));
    if (under) assumed = 0;
    if (!LIMIT && !floats && exponent != TOP - KEPT + 1) assumed = 0;
    // The bound of the sum (sum_width in rtl/tile/align.py) excludes -2**(W-1).
    if (R < 23 && total == 1 << (W-1)) assumed = 0;
    ok_d = ~(d ^ expected) | {32{!assumed}};
  end
endmodule
