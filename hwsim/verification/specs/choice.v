// What the modules of engines that choose between two candidates must do; see quantise.v for how to read this.

// The thresholds of a scale, and the scale normalised. Under a zero scale, the first threshold is that of the smallest.
module quantise_choice_row_spec #(parameter F = 7, UNIFORM = 0) (
  input [7:0] scale, element_base, input [32*F-1:0] element_fractions, input [31:0] element_carries,
  input [24*F-1:0] e1m2_fractions, input [23:0] e1m2_carries,
  input [(UNIFORM ? 7 : 4)*F-1:0] fractions, input [(UNIFORM ? 6 : 3)-1:0] carries, input [7:0] first, input clear,
  input [3:0] significand, input first_carry, odd,
  output ok_row, ok_uniform, ok_carries, ok_first, ok_clear, ok_scale
);
  integer i;
  reg [3:0] leading;
  reg [7:0] binade;
  wire zero = scale[6:0] == 0;
  always @* begin
    leading = {scale[6:3] != 0, scale[2:0]};
    binade = scale[6:3] == 0 ? 3 : scale[6:3] + 2;
    for (i = 0; i < 3; i = i + 1)
      if (!leading[3]) begin
        leading = leading << 1;
        binade = binade - 1;
      end
    if (zero) binade = 0;
  end
  wire [2:0] row = leading[2:0];
  // A NaN scale clears everything; bit 7 of a scale is 0.
  wire claimed = scale[7] == 0 && scale[6:0] != 127;
  wire [4*F-1:0] of_row = element_fractions >> (4 * F * row);
  wire [3*F-1:0] of_e1m2 = e1m2_fractions >> (3 * F * row);
  wire [3:0] carries_of_row = element_carries >> (4 * row);
  wire [2:0] carries_of_e1m2 = e1m2_carries >> (3 * row);
  assign ok_row = !claimed || fractions[4*F-1:0] == of_row;
  generate
    if (UNIFORM) begin
      assign ok_uniform = !claimed || fractions[7*F-1 -: 3*F] == of_e1m2;
      assign ok_carries = !claimed || carries == {carries_of_e1m2, carries_of_row[3:1]};
    end else begin
      assign ok_uniform = 1;
      assign ok_carries = !claimed || carries == carries_of_row[3:1];
    end
  endgenerate
  wire [7:0] at = element_base + binade + carries_of_row[0];
  assign ok_first = !claimed || first == at;
  assign ok_clear = scale[7] || clear == (zero || scale[6:0] == 127);
  assign ok_scale = !claimed || (significand == leading && first_carry == carries_of_row[0] && odd == binade[0]);
endmodule

// Binades that the larger scale's columns begin above the smaller scale's first threshold. Nothing is claimed of scales
// that are further apart than candidates are.
module quantise_distance_spec (
  input [7:0] first_small, first_large, input [2:0] carries, input [7:0] extras, output ok_extras
);
  integer i;
  reg ok;
  wire [8:0] apart = first_large - first_small;
  always @* begin
    ok = extras[1:0] == apart[1:0];
    for (i = 1; i < 4; i = i + 1)
      ok = ok && (apart + carries[i-1] > 3 || extras[2*i +: 2] == apart + carries[i-1]);
  end
  assign ok_extras = first_large < first_small || apart > 2 || ok;
endmodule

// Codes of a value under both scales, by thresholds: of E2M1, or with UNIFORM of E1M2, under the smaller, of E2M1 under
// the larger. Where a code is not 0, the significand is moved by its distance from the first threshold, or, with HOLD,
// by 6 at most: from 7 on, its upper bits are all ones.
module quantise_choosing_spec #(parameter F = 7, UNIFORM = 0, HOLD = 0) (
  input [F+8:0] x, input [7:0] first, input [(UNIFORM ? 7 : 4)*F-1:0] small_fractions,
  input [(UNIFORM ? 6 : 3)-1:0] small_carries, input small_clear, input [4*F-1:0] large_fractions,
  input [7:0] large_extras, input large_clear, input sign, input [2:0] small_code, large_code, input [F+6:0] moved,
  output ok_sign, ok_small, ok_large, ok_moved
);
  assign ok_sign = sign == x[F+8];
  // With two more bits of exponent, so that nothing overflows.
  wire [F+9:0] magnitude = {2'b0, x[F+7:0]};
  function [F+9:0] at(input [F-1:0] fraction, input [3:0] binades);
    at = {{2'b0, first} + {6'd0, binades}, fraction};
  endfunction
  wire [F+9:0] s1 = at(small_fractions[0 +: F], UNIFORM);
  wire [F+9:0] s2 = at(small_fractions[F +: F], UNIFORM + 1 + small_carries[0]);
  wire [F+9:0] s3 = at(small_fractions[2*F +: F], UNIFORM + 2 + small_carries[1]);
  wire [F+9:0] s4 = at(small_fractions[3*F +: F], UNIFORM + 2 + small_carries[2]);
  localparam [F+9:0] BINADE = 1 << F;
  wire [F+9:0] s5, s6, s7;
  generate
    if (UNIFORM) begin
      assign s5 = at(small_fractions[4*F +: F], 4 + small_carries[3]);
      assign s6 = at(small_fractions[5*F +: F], 4 + small_carries[4]);
      assign s7 = at(small_fractions[6*F +: F], 4 + small_carries[5]);
    end else begin
      assign s5 = s3 + BINADE;
      assign s6 = s4 + BINADE;
      assign s7 = s3 + 2 * BINADE;
    end
  endgenerate
  wire [2:0] small = (magnitude >= s1) + (magnitude >= s2) + (magnitude >= s3) + (magnitude >= s4)
    + (magnitude >= s5) + (magnitude >= s6) + (magnitude >= s7);
  wire small_ascends = s1 <= s2 && s2 <= s3 && s3 <= s4 && s4 <= s5 && s5 <= s6 && s6 <= s7;
  wire [1:0] e1 = large_extras[1:0], e2 = large_extras[3:2], e3 = large_extras[5:4], e4 = large_extras[7:6];
  wire [F+9:0] l1 = at(large_fractions[0 +: F], e1), l2 = at(large_fractions[F +: F], 1 + e2);
  wire [F+9:0] l3 = at(large_fractions[2*F +: F], 2 + e3), l4 = at(large_fractions[3*F +: F], 2 + e4);
  wire [2:0] large = (magnitude >= l1) + (magnitude >= l2) + (magnitude >= l3) + (magnitude >= l4)
    + (magnitude >= l3 + BINADE) + (magnitude >= l4 + BINADE) + (magnitude >= l3 + 2 * BINADE);
  wire large_ascends = l1 <= l2 && l2 <= l3 && l3 <= l4 && l4 <= l3 + BINADE
    && e1 != 3 && e2 != 3 && e3 != 3 && e4 != 3;
  assign ok_small = small_clear ? small_code == 0 : !small_ascends || small_code == small;
  assign ok_large = large_clear ? large_code == 0 : !large_ascends || large_code == large;
  wire [7:0] field = x[F +: 8];
  wire [7:0] distance = field - first;
  wire matters = field >= first;
  wire [F+13:0] significand = {7'd1, x[F-1:0]} << distance[2:0];
  assign ok_moved = !matters || (distance <= 6 ? moved == significand[F+6:0] : !HOLD || moved[F+6 -: F+1] == {(F+1){1'b1}});
endmodule

// The sum of magnitudes times codes: of E2M1 in halves, of E1M2 in ones.
module quantise_products_spec #(parameter N = 16, X = 14, W = 22, UNIFORM = 0) (
  input [N*X-1:0] moved, input [3*N-1:0] codes, output reg [W*N-1:0] terms, output [N-1:0] care
);
  function [3:0] units(input [2:0] code);
    units = UNIFORM || code < 5 ? code : code == 5 ? 6 : code == 6 ? 8 : 12;
  endfunction
  integer i;
  assign care = {N{1'b1}};
  reg [W-1:0] term;
  always @*
    for (i = 0; i < N; i = i + 1) begin
      term = moved[X*i +: X] * units(codes[3*i +: 3]);
      terms[W*i +: W] = term;
    end
endmodule

// The sum of the squares of codes, in the same units.
module quantise_squares_spec #(parameter N = 16, W = 12, UNIFORM = 0) (
  input [3*N-1:0] codes, output reg [W*N-1:0] terms, output [N-1:0] care
);
  function [3:0] units(input [2:0] code);
    units = UNIFORM || code < 5 ? code : code == 5 ? 6 : code == 6 ? 8 : 12;
  endfunction
  integer i;
  assign care = {N{1'b1}};
  reg [W-1:0] term;
  always @*
    for (i = 0; i < N; i = i + 1) begin
      term = units(codes[3*i +: 3]) * units(codes[3*i +: 3]);
      terms[W*i +: W] = term;
    end
endmodule

// The larger candidate's sum times its significand, less the smaller's; squares take the significand's square.
// Significands have a leading one or are 0.
module quantise_moment_spec #(parameter S = 21, L = 22, W = 28, DOUBLED = 1, SQUARES = 0) (
  input [3:0] small_significand, large_significand, input apart, input [S-1:0] small_sum,
  input [L-1:0] large_sum,
  output [2*W-1:0] terms, output [1:0] care
);
  wire [9:0] of_small = small_significand << DOUBLED, of_large = large_significand << apart;
  wire [9:0] by_small = SQUARES ? of_small * of_small : of_small, by_large = SQUARES ? of_large * of_large : of_large;
  wire [W-1:0] plus = large_sum * by_large, minus = small_sum * by_small;
  assign terms = {plus, -minus};
  assign care = {large_significand == 0 || large_significand[3], small_significand == 0 || small_significand[3]};
endmodule

// N times the factor and OF_SQUARES, less M times OF_PRODUCTS and, with the carry, 2. A term for every bit of the
// factor, and one for M.
module quantise_difference_spec #(parameter P = 28, Q = 23, FACTOR = 9, OF_SQUARES = 1, OF_PRODUCTS = 3, W = 37) (
  input signed [P-1:0] products, input signed [Q-1:0] squares, input first_carry, input [FACTOR-1:0] choice_factor,
  output reg [W*(FACTOR+1)-1:0] terms, output [FACTOR:0] care
);
  assign care = {(FACTOR+1){1'b1}};
  integer i;
  reg signed [W-1:0] square, product;
  always @* begin
    product = products;
    square = squares;
    for (i = 0; i < FACTOR; i = i + 1)
      terms[W*i +: W] = choice_factor[i] ? (square * OF_SQUARES) <<< i : 0;
    terms[W*FACTOR +: W] = -((product * OF_PRODUCTS) <<< first_carry);
  end
endmodule

// Codes and scale of the better candidate. Codes have signs unless the scale is zero or NaN; the top bit of the scale
// says with TYPED which candidate it is.
module quantise_chosen_spec #(parameter N = 16, TYPED = 0, POLARITY = 0) (
  input larger, input [N-1:0] signs, input [3*N-1:0] small_codes, large_codes, input [7:0] small_scale, large_scale,
  input [4*N-1:0] codes, input [7:0] scale, output ok_codes, ok_scale
);
  wire [7:0] taken = larger ? large_scale : small_scale;
  wire common = taken != 0 && taken != 127;
  integer i;
  reg ok;
  always @* begin
    ok = 1;
    for (i = 0; i < N; i = i + 1)
      ok = ok && codes[4*i +: 4] == {signs[i] && common, larger ? large_codes[3*i +: 3] : small_codes[3*i +: 3]};
  end
  assign ok_codes = ok;
  wire top = common && (larger ? POLARITY : !POLARITY);
  assign ok_scale = scale == (TYPED ? {top, taken[6:0]} : taken);
endmodule
