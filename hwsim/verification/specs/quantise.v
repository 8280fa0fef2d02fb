// What the modules of quantisation engines must do. A specification has the ports of its module, whose outputs are
// inputs here; every bit of its outputs ok_* must be 1.

// The largest exponent field of a block, with the carry of the rule (0 floor, 1 ceil, 2 even, 3 rceil, 4 OAS), of values
// with F fraction bits.
module quantise_maximum_spec #(parameter N = 32, F = 7, RULE = 0, SUBNORMALS = 0) (
  input [N*(F+9)-1:0] x, input [7:0] reference, input carry, special, zero,
  output ok_reference, ok_special, ok_zero
);
  wire [8:0] largest = reference + (RULE != 0 && carry);
  integer i;
  reg [7:0] field;
  reg [F-1:0] fraction;
  reg carries, bounded, reached, any_special, any_present;
  reg [8:0] raised;
  localparam [F-1:0] HALF = 1 << (F-1), MOST = 3 << (F-2);
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
        2: carries = fraction >= MOST;
        // FP32 divides by 6, and rounds one quotient, a subnormal number, down.
        3: carries = fraction > HALF && !(F == 23 && field == 2 && fraction == HALF + 1);
        4: carries = fraction > MOST;
      endcase
      raised = field + carries;
      bounded = bounded && raised <= largest;
      reached = reached || raised == largest;
      any_special = any_special || field == 255;
      any_present = any_present || field != 0 || (SUBNORMALS && fraction != 0);
    end
  end
  assign ok_reference = any_special || (bounded && reached);
  assign ok_special = special == any_special;
  assign ok_zero = zero == !any_present;
endmodule

// The scale byte, for elements whose largest exponent is EMAX, of blocks whose exponent field counts as LEAST at least.
module quantise_scale_spec #(parameter EMAX = 2, ZERO = 0, LEAST = 2, SIGNED_ZEROS = 0, CARRIES = 0) (
  input [7:0] reference, input carry, special, zero, input [7:0] scale, highest, input clear,
  output ok_scale, ok_highest, ok_clear
);
  wire [8:0] exponent = reference + (CARRIES && carry);
  wire [7:0] common = (exponent > LEAST ? exponent : LEAST) - EMAX;
  // Only special blocks have that.
  wire beyond = exponent == 256;
  assign ok_scale = special ? scale == 255 : beyond || scale == (zero && ZERO ? ZERO : common);
  assign ok_highest = beyond || highest == common + EMAX;
  assign ok_clear = clear == (special || (zero && !SIGNED_ZEROS));
endmodule

// The E2M1 code of a value, and, for M2XFP, its distance from the highest binade and the beginning of its fraction.
// Nothing is claimed of values above the highest binade, nor where HIGHEST is less than LEAST.
module quantise_lane_spec #(parameter F = 7, SUBNORMALS = 0, LEAST = 2) (
  input [F+8:0] x, input [7:0] highest, input clear, input [3:0] code, input [2:0] near, input [4:0] fraction,
  output ok_code, ok_near, ok_fraction
);
  wire [7:0] field = x[F +: 8];
  wire [7:0] exponent = field == 0 ? 8'd1 : field;
  wire [F:0] significand = {field != 0, field != 0 || SUBNORMALS ? x[F-1:0] : {F{1'b0}}};
  // A value is significand * 2**(2 - below - F) in units of the scale. Further down than this, all codes are 0.
  wire [7:0] full = highest - exponent;
  wire [3:0] below = full > 10 ? 4'd10 : full[3:0];
  // In quarters, as the points between codes, times 2**(F + below).
  wire [F+16:0] value = {significand, 4'd0};
  function [F+16:0] point(input [4:0] quarters);
    point = {{(F+12){1'b0}}, quarters} << (F + below);
  endfunction
  // Magnitudes in halves.
  function [3:0] e2m1(input [2:0] magnitude);
    case (magnitude)
      7: e2m1 = 12;
      6: e2m1 = 8;
      5: e2m1 = 6;
      default: e2m1 = magnitude;
    endcase
  endfunction
  integer i;
  reg [2:0] coarse;
  reg [4:0] middle;
  always @* begin
    // A tie goes to the even code.
    coarse = 0;
    for (i = 1; i < 8; i = i + 1) begin
      middle = e2m1(i - 1) + e2m1(i);
      if (i % 2 ? value > point(middle) : value >= point(middle)) coarse = i;
    end
  end
  wire claimed = field <= highest && highest >= LEAST;
  assign ok_code = clear ? code == 0 : !claimed || code == {x[F+8], coarse};
  wire [7:0] distance = highest - field;
  assign ok_near = !claimed || near == (distance > 7 ? 7 : distance);
  assign ok_fraction = fraction == {x[F-1 -: 4], x[F-5:0] != 0};
endmodule

// M2XFP: what is known of the largest of 8 codes, the first of equals.
module quantise_top_spec (
  input [23:0] magnitudes, near, input [39:0] fraction, input [2:0] near_of_top, input [4:0] fraction_of_top,
  output ok_near, ok_fraction
);
  integer i;
  reg [2:0] top;
  always @* begin
    top = 0;
    for (i = 1; i < 8; i = i + 1)
      if (magnitudes[3*i +: 3] > ((magnitudes >> (3 * top)) & 7)) top = i;
  end
  wire [2:0] wanted_near = near >> (3 * top);
  wire [4:0] wanted_fraction = fraction >> (5 * top);
  assign ok_near = near_of_top == wanted_near;
  assign ok_fraction = fraction_of_top == wanted_fraction;
endmodule

// M2XFP: metadata of a value that is NEAR binades below E2M1's highest, from the codes that it rounds to. Its fraction
// has four bits and one that stands for all further ones, which no point between codes has.
module quantise_metadata_spec (
  input [2:0] near, input [4:0] fraction, input clear, input [1:0] metadata_code, output ok_metadata
);
  // In sixteenths, times 2**near.
  wire [15:0] value = {1'b1, fraction} << 1;
  // Magnitudes of E2M3 in eighths; those of E2M1 are every fourth.
  function [5:0] e2m3(input [4:0] magnitude);
    case (magnitude[4:3])
      0: e2m3 = magnitude[2:0];
      1: e2m3 = 8 + magnitude[2:0];
      2: e2m3 = 16 + 2 * magnitude[2:0];
      3: e2m3 = 32 + 4 * magnitude[2:0];
    endcase
  endfunction
  function [15:0] point(input [6:0] sixteenths);
    point = {9'd0, sixteenths} << near;
  endfunction
  integer i;
  reg [4:0] fine;
  reg [2:0] coarse;
  reg [6:0] middle;
  reg signed [6:0] step;
  reg [1:0] held;
  always @* begin
    fine = 0;
    for (i = 1; i < 32; i = i + 1) begin
      middle = e2m3(i - 1) + e2m3(i);
      if (i % 2 ? value > point(middle) : value >= point(middle)) fine = i;
    end
    coarse = 0;
    for (i = 1; i < 8; i = i + 1) begin
      middle = e2m3(4 * i - 4) + e2m3(4 * i);
      if (i % 2 ? value > point(middle) : value >= point(middle)) coarse = i;
    end
    step = $signed({2'b0, fine}) + 7'sd1 - $signed({2'b0, coarse, 2'b0});
    held = step < 0 ? 2'd0 : step > 3 ? 2'd3 : step[1:0];
  end
  // From 7 binades on, both codes are 0.
  assign ok_metadata = metadata_code == (clear ? 2'd0 : near == 7 ? 2'd1 : held);
endmodule

// NVFP4's family. The largest magnitude of a block.
module quantise_magnitude_spec #(parameter N = 16, F = 7) (
  input [N*(F+9)-1:0] x, input [F+7:0] largest, output ok_largest
);
  integer i, step;
  reg [N*(F+8)-1:0] left;
  always @* begin
    for (i = 0; i < N; i = i + 1) left[i*(F+8) +: F+8] = x[i*(F+9) +: F+8];
    // Pairs, pairs of pairs, and so on: the larger one stays at the lower place.
    for (step = 1; step < N; step = 2 * step)
      for (i = 0; i + step < N; i = i + 2 * step)
        if (left[(i+step)*(F+8) +: F+8] > left[i*(F+8) +: F+8])
          left[i*(F+8) +: F+8] = left[(i+step)*(F+8) +: F+8];
  end
  assign ok_largest = largest == left[F+7:0];
endmodule

// The scale byte by thresholds: of their own, which ascend, for codes up to 8, eight a binade above.
module quantise_table_scale_spec #(parameter F = 7) (
  input [F+7:0] largest, input live, input [8*F-1:0] scale_fractions, input [10:0] scale_offset,
  input [8*(F+8)-1:0] scale_thresholds, input [7:0] scale, output ok_scale
);
  integer i, code, small;
  reg ascend;
  reg [7:0] wanted;
  always @* begin
    code = 8 * largest[F +: 8];
    small = 0;
    ascend = 1;
    for (i = 0; i < 8; i = i + 1) begin
      if (largest[F-1:0] >= scale_fractions[F*i +: F]) code = code + 1;
      if (i < 7 && largest >= scale_thresholds[(F+8)*i +: F+8]) small = small + 1;
      if (i > 0 && scale_thresholds[(F+8)*i +: F+8] < scale_thresholds[(F+8)*(i-1) +: F+8]) ascend = 0;
    end
    code = code - scale_offset;
    if (code < 8) code = 8;
    if (code > 126) code = 126;
    if (largest < scale_thresholds[7*(F+8) +: F+8]) code = small;
    wanted = largest[F +: 8] == 255 ? 127 : live ? code : 0;
  end
  assign ok_scale = !ascend || scale == wanted;
endmodule

// The thresholds of a scale: those of its significand, moved by its exponent, which counts from the smallest scale's.
module quantise_row_spec #(parameter F = 7) (
  input [7:0] scale, element_base, input [32*F-1:0] element_fractions, input [31:0] element_carries,
  input [4*F-1:0] fractions, input [2:0] carries, input [7:0] first, input clear,
  output ok_fractions, ok_carries, ok_first, ok_clear
);
  integer i;
  reg [3:0] significand;
  reg [7:0] binade;
  always @* begin
    significand = {scale[6:3] != 0, scale[2:0]};
    binade = scale[6:3] == 0 ? 3 : scale[6:3] + 2;
    for (i = 0; i < 3; i = i + 1)
      if (!significand[3]) begin
        significand = significand << 1;
        binade = binade - 1;
      end
  end
  wire [2:0] row = significand[2:0];
  wire common = scale[6:0] != 0 && scale[6:0] != 127;
  wire [4*F-1:0] of_row = element_fractions >> (4 * F * row);
  wire [3:0] carries_of_row = element_carries >> (4 * row);
  wire [7:0] at = element_base + binade + carries_of_row[0];
  assign ok_fractions = !common || fractions == of_row;
  assign ok_carries = !common || carries == carries_of_row[3:1];
  assign ok_first = !common || first == at;
  assign ok_clear = scale[7] || clear == !common;
endmodule

// The code of a value: how many of seven thresholds its magnitude reaches. Nothing is claimed of thresholds that do not
// ascend, or that no number of eight exponent bits reaches.
module quantise_threshold_spec #(parameter F = 7) (
  input [F+8:0] x, input [4*F-1:0] fractions, input [2:0] carries, input [7:0] first, input clear, input [3:0] code,
  output ok_code
);
  // With one more bit of exponent, so that nothing overflows.
  wire [F+8:0] magnitude = {1'b0, x[F+7:0]};
  wire [8:0] e1 = first, e3 = first + 1 + carries[0], e5 = first + 2 + carries[1], e7 = first + 2 + carries[2];
  wire [F+8:0] t1 = {e1, fractions[0 +: F]}, t3 = {e3, fractions[F +: F]};
  wire [F+8:0] t5 = {e5, fractions[2*F +: F]}, t7 = {e7, fractions[3*F +: F]};
  localparam [F+8:0] BINADE = 1 << F;
  wire [2:0] count = (magnitude >= t1) + (magnitude >= t3) + (magnitude >= t5) + (magnitude >= t7)
    + (magnitude >= t5 + BINADE) + (magnitude >= t7 + BINADE) + (magnitude >= t5 + 2 * BINADE);
  wire ascend = t1 <= t3 && t3 <= t5 && t5 <= t7 && t7 <= t5 + BINADE;
  assign ok_code = clear ? code == 0 : !ascend || code == {x[F+8], count};
endmodule
