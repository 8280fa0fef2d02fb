// What the modules of the OCP MX and MBS engines, and of what stands around engines, must do; see quantise.v.

// The largest exponent field with the rule's carry (0 floor, 1 ceil, 2 even, 3 rceil), for element formats listed in
// FRACTIONS (fraction bits) and LAST (fraction of the largest value), four bits each, and HIGH (its exponent), eight.
module quantise_mx_maximum_spec #(parameter N = 32, F = 7, RULE = 0, COUNT = 5, C = 3,
                                  parameter [31:0] FRACTIONS = 0, LAST = 0, parameter [63:0] HIGH = 0) (
  input [N*(F+9)-1:0] x, input [COUNT-1:0] takes, input [7:0] reference, input carry, special, zero,
  output ok_reference, ok_special, ok_zero
);
  // One format is taken; otherwise nothing is claimed of the exponent.
  wire one = COUNT == 1 || RULE == 0 || (takes != 0 && (takes & (takes - 1)) == 0);
  wire [2:0] index = COUNT == 1 ? 0 : takes[0] ? 0 : takes >> 1 & 1 ? 1 : takes >> 2 & 1 ? 2 : takes >> 3 & 1 ? 3 : 4;
  wire [3:0] width = FRACTIONS >> (4 * index), last = LAST >> (4 * index);
  wire [7:0] high = HIGH >> (8 * index);
  // As fractions of F bits.
  wire [F:0] largest = {{F{1'b0}}, last} << (F - width), half = ((2 << width) - 1) << (F - 1 - width);
  wire [8:0] exponent = reference + (RULE != 0 && carry);
  integer i;
  reg [7:0] field;
  reg [F-1:0] fraction;
  reg carries, bounded, reached, any_special, any_present;
  reg [8:0] raised;
  always @* begin
    bounded = 1;
    reached = 0;
    any_special = 0;
    any_present = 0;
    for (i = 0; i < N; i = i + 1) begin
      field = x[i*(F+9) + F +: 8];
      fraction = x[i*(F+9) +: F];
      case (RULE)
        0: carries = 0;
        1: carries = fraction != 0;
        2: carries = fraction >= half;
        // FP32 divides by the largest value, and rounds one quotient, a subnormal number, down.
        3: carries = fraction > largest && !(F == 23 && field == high && fraction == largest + 1);
      endcase
      raised = field + carries;
      bounded = bounded && raised <= exponent;
      reached = reached || raised == exponent;
      any_special = any_special || field == 255;
      any_present = any_present || field != 0;
    end
  end
  assign ok_reference = !one || any_special || (bounded && reached);
  assign ok_special = special == any_special;
  assign ok_zero = zero == !any_present;
endmodule

// The scale byte, for elements whose largest exponents are listed in HIGH.
module quantise_mx_scale_spec #(parameter COUNT = 5, C = 3, CARRIES = 0, parameter [63:0] HIGH = 0) (
  input [7:0] reference, input carry, special, zero, input [C-1:0] element, input [7:0] scale, highest, input clear,
  output ok_scale, ok_highest, ok_clear
);
  wire [2:0] index = COUNT == 1 ? 0 : element < COUNT ? element : COUNT - 1;
  wire [7:0] high = HIGH >> (8 * index);
  // Field 255 with a carry is that of special blocks only.
  wire [8:0] exponent = reference + (CARRIES && carry);
  wire beyond = exponent == 256;
  wire [7:0] common = (exponent > high ? exponent : high) - high;
  assign ok_scale = special ? scale == 255 : beyond || scale == common;
  assign ok_highest = beyond || highest == common + high;
  assign ok_clear = clear == (special || zero);
endmodule

// The code of a value in one of several formats: FRACTIONS, LAST and HIGH as above, BIAS of exponent fields, five bits
// each. Of all magnitude codes it is the nearest, and the even one of two as near. Nothing is claimed of values above the
// highest binade.
module quantise_mx_lane_spec #(parameter F = 7, COUNT = 5, C = 3, W = 8, BOUNDED = 1,
                               parameter [31:0] FRACTIONS = 0, LAST = 0, parameter [63:0] HIGH = 0,
                               parameter [39:0] BIAS = 0) (
  input [F+8:0] x, input [C-1:0] element, input [7:0] highest, input clear, input [W-1:0] code, output ok_code
);
  wire [2:0] index = COUNT == 1 ? 0 : element < COUNT ? element : COUNT - 1;
  wire [3:0] width = FRACTIONS >> (4 * index), last = LAST >> (4 * index);
  wire [7:0] high = HIGH >> (8 * index);
  wire [4:0] bias = BIAS >> (5 * index);
  wire [5:0] top = high + bias;
  wire [7:0] field = x[F +: 8];
  wire [7:0] below = highest - field;
  // Binades below that of subnormal numbers.
  wire signed [9:0] under = $signed({2'b0, below}) - $signed({4'b0, top}) + 10'sd1;
  wire [9:0] cut = under > 0 ? under[9:0] : 10'd0;
  // In units of the last place of a binade of WIDTH fraction bits: a whole number and the rest, of F + 16 bits.
  wire [F+20:0] scaled = (({{20{1'b0}}, 1'b1, x[F-1:0]} << 16) << width) >> (cut > 12 ? 12 : cut);
  wire [4:0] whole = scaled[F+20:F+16];
  wire [F+15:0] rest = scaled[F+15:0];
  localparam [F+15:0] HALF = 1 << (F+15);
  wire [4:0] nearest = whole + (rest > HALF || (rest == HALF && whole[0]));
  // Codes ascend with values: those of the binades below, and the place in this one.
  wire [7:0] first = under > 0 ? 8'd0 : (top - 1 - below[5:0]) << width;
  wire [7:0] most = (top << width) + last;
  wire [7:0] ranged = first + nearest;
  wire [6:0] magnitude = field == 0 ? 7'd0 : ranged > most ? most : ranged;
  // The sign stands above the fraction and as many exponent bits as the largest value needs.
  integer i;
  reg [3:0] sign;
  always @* begin
    sign = width;
    for (i = 0; i < 5; i = i + 1)
      if (most >> width >> i != 0) sign = width + i + 1;
  end
  wire [W-1:0] signed_code = magnitude | (x[F+8] << sign);
  wire claimed = field <= highest && (!BOUNDED || ranged <= most || field == 0);
  assign ok_code = clear ? code == 0 : !claimed || code == signed_code;
endmodule

// MBS: the factor is 6 / largest over its power of two, cut to 8 fraction bits; the thresholds of the lanes are the least
// magnitudes whose product with it reaches E2M1's codes 1 to 4, and OAS's carries those above 1.75 and 3.5.
module quantise_factor_spec (
  input [14:0] macro_max, input [7:0] factor, carry_1, carry_2, input [27:0] fractions, input [3:0] extras,
  output ok_factor, ok_carries, ok_thresholds
);
  wire tiny = macro_max < 15'h00c0;
  wire [7:0] significand = tiny ? 8'd192 : {1'b1, macro_max[6:0]};
  // 6 / significand * 128 is 3 * 2**8 / significand, between 3 and 6: 2 or 1 places to 1..2.
  wire [17:0] by_two = 18'd98304 / significand, by_four = 18'd49152 / significand;
  wire [8:0] quotient = by_four >= 256 ? by_four[8:0] : by_two[8:0];
  assign ok_factor = factor == quotient - 256;
  wire [17:0] scale = 256 + factor;
  // Significands in 128ths times the factor in 256ths.
  function above(input [7:0] least, input [17:0] point);
    above = (least == 128 || (128 + least) * scale > point) && (least == 0 || (127 + least) * scale <= point);
  endfunction
  assign ok_carries = above(carry_1, 57344) && above(carry_2, 114688);
  // Column i begins at POINTS[i] quarters, in units of 2**-8 * 2**-7 * 2**-4: twice as fine as the least threshold.
  function right(input [6:0] fraction, input extra, input [1:0] column, input [2:0] quarters, input strict);
    reg [3:0] up;
    reg [24:0] threshold, before, point;
    begin
      up = (column == 0 ? 0 : column == 1 ? 1 : 2) + extra;
      // From 2**-3 on, in sixteenths: 2 << up is 2**up eighths.
      threshold = {17'd1, fraction} << (1 + up);
      before = threshold - (fraction == 0 ? 25'd1 << up : 25'd2 << up);
      point = quarters * 25'd131072;
      right = strict ? threshold * scale > point && before * scale <= point
                     : threshold * scale >= point && before * scale < point;
    end
  endfunction
  assign ok_thresholds = right(fractions[6:0], extras[0], 0, 1, 1) && right(fractions[13:7], extras[1], 1, 3, 0)
    && right(fractions[20:14], extras[2], 2, 5, 1) && right(fractions[27:21], extras[3], 3, 7, 0);
endmodule

// MBS: the scale byte, from the largest magnitude and OAS's carries.
module quantise_factor_scale_spec (
  input [14:0] largest, input macro_special, input [7:0] carry_1, carry_2, input [7:0] scale, input [8:0] highest,
  input clear, special, output ok_scale, ok_highest, ok_flags
);
  wire [9:0] reference = largest[14:7] + (largest[6:0] >= carry_1) + (largest[6:0] >= carry_2);
  wire any_special = macro_special || largest[14:7] == 255;
  wire zero = largest[14:7] == 0;
  wire [9:0] common = reference < 2 ? 0 : reference - 2;
  assign ok_scale = scale == (any_special ? 255 : zero ? 127 : common);
  assign ok_highest = highest == common + 2;
  assign ok_flags = special == any_special && clear == (any_special || zero);
endmodule

// MBS: how many of seven thresholds a magnitude reaches, which begin 5 binades below the highest or 4.
module quantise_factor_lane_spec (
  input [15:0] x, input [8:0] highest, input clear, input [27:0] fractions, input [3:0] extras, input [3:0] code,
  output ok_code
);
  // Eight binades up, so that nothing is negative.
  wire [16:0] magnitude = {{2'b0, x[14:7]} + 10'd8, x[6:0]};
  function [16:0] at(input [6:0] fraction, input [2:0] below);
    at = {{1'b0, highest} + 10'd8 - below, fraction};
  endfunction
  wire [16:0] t1 = at(fractions[6:0], 5 - extras[0]), t3 = at(fractions[13:7], 4 - extras[1]);
  wire [16:0] t5 = at(fractions[20:14], 3 - extras[2]), t7 = at(fractions[27:21], 3 - extras[3]);
  localparam [16:0] BINADE = 128;
  wire [2:0] count = (magnitude >= t1) + (magnitude >= t3) + (magnitude >= t5) + (magnitude >= t7)
    + (magnitude >= t5 + BINADE) + (magnitude >= t7 + BINADE) + (magnitude >= t5 + 2 * BINADE);
  wire ascend = t1 <= t3 && t3 <= t5 && t5 <= t7 && t7 <= t5 + BINADE;
  wire claimed = ascend && {1'b0, x[14:7]} <= highest && highest <= 256;
  assign ok_code = clear ? code == 0 : !claimed || code == {x[15], x[14:7] == 0 ? 3'd0 : count};
endmodule

// FP32 to BF16: the nearest, the even one of two as near; NaN is quiet.
module quantise_rounder_spec (input [31:0] x, input [15:0] y, output ok_y);
  wire nan = x[30:23] == 255 && x[22:0] != 0;
  wire [15:0] below = x[31:16];
  wire [16:0] twice = {x[15:0], 1'b0};
  wire up = twice > 17'h10000 || (twice == 17'h10000 && x[16]);
  assign ok_y = y == (nan ? {x[31], 15'h7fc0} : below + up);
endmodule
