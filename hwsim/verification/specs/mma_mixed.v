// What the modules of the tile of mixed formats must do, where they differ from those of a tile of elements. How to
// read it: see mma_block.v. Formats are listed in FRACTIONS and EXPONENTS (widths, four bits each), BIASES (five bits
// each), IEEE (infinities and NaN as IEEE 754 has them) and ALL_ONES (NaN of all ones; one bit each). E2M1 is the
// number of that format. All others are decoded to EXPONENT, FRACTION and BIAS.

// 32 elements of one format, or, if both operands are E2M1, 64 in two blocks; what is not in use is zero.
module mma_mixed_decode_spec #(parameter COUNT = 5, C = 3, BLOCKS = 1, STRIDE = 8, EXPONENT = 5, FRACTION = 3, BIAS = 15,
                               OFFSET = 39, BW = 9, E2M1 = 0, OF_B = 0, WIDTH = 5,
                               parameter [19:0] FRACTIONS = 0, EXPONENTS = 0, parameter [24:0] BIASES = 0,
                               parameter [4:0] IEEE = 0, ALL_ONES = 0) (
  input [32*STRIDE-1:0] codes, input [(BLOCKS ? 16 : 8)-1:0] scales, input [C-1:0] element, partner,
  input [32*EXPONENT-1:0] exponents, input [31:0] nonzero, infinite, input [32*(FRACTION+2)-1:0] numbers,
  input [7:0] base, input [64*WIDTH-1:0] operands, input [2*BW-1:0] bases, input nan,
  output reg [31:0] ok_exponent, ok_nonzero, ok_number, ok_infinite, output ok_base, ok_nan,
  output reg [63:0] ok_value, ok_encoding, output reg [1:0] ok_bases
);
  `include "mma_operands.vh"
  function [3:0] halves(input [2:0] code);
    case (code) 0: halves = 0; 1: halves = 1; 2: halves = 2; 3: halves = 3;
                4: halves = 4; 5: halves = 6; 6: halves = 8; 7: halves = 12; endcase
  endfunction
  wire [2:0] index = COUNT == 1 ? 0 : element < COUNT ? element : COUNT - 1;
  wire [2:0] other = !BLOCKS ? 0 : partner < COUNT ? partner : COUNT - 1;
  wire in_blocks = BLOCKS && index == E2M1 && other == E2M1;
  wire [3:0] fw = FRACTIONS >> (4 * index), ew = EXPONENTS >> (4 * index);
  wire [4:0] bias = BIASES >> (5 * index);
  wire ieee = IEEE >> index, all_ones = ALL_ONES >> index;
  integer i;
  reg [7:0] word;
  reg [4:0] field;
  reg [2:0] fraction;
  reg sign;
  reg [3:0] code, magnitude;
  reg [31:0] nans;
  always @* begin
    for (i = 0; i < 32; i = i + 1) begin
      word = codes[STRIDE*i +: STRIDE];
      fraction = word & ((1 << fw) - 1);
      field = (word >> fw) & ((1 << ew) - 1);
      sign = word >> (fw + ew);
      ok_exponent[i] = exponents[EXPONENT*i +: EXPONENT] == (in_blocks ? 0 : (field == 0 ? 1 : field) + BIAS - bias);
      ok_nonzero[i] = nonzero[i] == (!in_blocks && (field != 0 || fraction != 0));
      ok_number[i] = numbers[(FRACTION+2)*i +: FRACTION+2]
        == (in_blocks ? 0 : (((sign << 1 | (field != 0)) << FRACTION) | (fraction << (FRACTION - fw))));
      ok_infinite[i] = infinite[i] == (!in_blocks && ieee && field == (1 << ew) - 1 && fraction == 0);
      nans[i] = !in_blocks && field == (1 << ew) - 1
        && (ieee ? fraction != 0 : all_ones && fraction == (1 << fw) - 1);
    end
    ok_value = ~64'd0;
    ok_encoding = ~64'd0;
    ok_bases = 2'd3;
    for (i = 0; BLOCKS && i < 64; i = i + 1) begin
      code = codes[4*i +: 4];
      magnitude = in_blocks ? halves(code[2:0]) : 4'd0;
      ok_value[i] = value(OF_B, operands[WIDTH*i +: WIDTH])
        == (code[3] ? -$signed({1'b0, magnitude}) : $signed({1'b0, magnitude}));
      ok_encoding[i] = is_operand(OF_B, operands[WIDTH*i +: WIDTH]);
    end
    for (i = 0; BLOCKS && i < 2; i = i + 1)
      ok_bases[i] = bases[BW*i +: BW] == (in_blocks ? scales[8*i +: 8] + OFFSET : 0);
  end
  assign ok_base = base == (in_blocks ? 8'd0 : scales[7:0]);
  assign ok_nan = nan == (nans != 0 || scales[7:0] == 255 || (in_blocks && (scales >> 8) == 255));
endmodule

// As mma_exponents_spec, of T products or two blocks. Exponents of blocks have the bias of the largest; APART is their
// difference, as a distance. Of products and blocks, those that are not in use are zero.
module mma_mixed_exponents_spec #(parameter T = 32, E = 6, BASE = 9, C_OFFSET = 0, CW = 10, D = 5, CD = 5,
                                  GROUPS = 2, GROUP = 16) (
  input [T*E-1:0] exponents, input [T-1:0] nonzero, input [BASE-1:0] base,
  input [(GROUPS ? GROUPS : 1)*E-1:0] candidates, input [30:0] c,
  input [2*CW-1:0] blocks, input [1:0] block_nonzero, input [D-1:0] apart, input second_above, in_blocks,
  input [CW-1:0] largest, input [T*D-1:0] distances, input [CD-1:0] c_distance,
  output reg [T-1:0] ok_not_larger, ok_distance, output reg ok_c_not_larger, ok_c_distance, ok_attained
);
  integer i, j;
  reg assumed, attained, found, present;
  reg [CW:0] exponent, distance, c_exponent;
  wire [CW-1:0] first = blocks[0 +: CW], second = blocks[CW +: CW];
  wire [CW-1:0] gap = second > first ? second - first : first - second;
  always @* begin
    assumed = second_above == (second > first) && apart == (gap >= (1 << D) ? (1 << D) - 1 : gap)
      && (in_blocks ? nonzero == 0 : block_nonzero == 0);
    for (i = 0; i < T; i = i + 1)
      if (GROUPS && nonzero[i] && exponents[E*i +: E] > candidates[E*(i/GROUP) +: E]) assumed = 0;
    for (i = 0; i < GROUPS; i = i + 1) begin
      found = candidates[E*i +: E] == 0;
      for (j = GROUP*i; j < GROUP*(i+1) && j < T; j = j + 1)
        if (nonzero[j] && exponents[E*j +: E] == candidates[E*i +: E]) found = 1;
      if (!found) assumed = 0;
    end
    attained = nonzero == 0 && block_nonzero == 0 && c == 0;
    for (i = 0; i < T; i = i + 1) begin
      exponent = exponents[E*i +: E] + base;
      present = nonzero[i];
      if (in_blocks) begin
        exponent = i == 0 ? first : second;
        present = i < 2 && block_nonzero[i % 2];
      end
      distance = largest - exponent;
      if (distance >= (1 << D)) distance = (1 << D) - 1;
      ok_not_larger[i] = !assumed || !present || exponent <= largest;
      ok_distance[i] = !assumed || !present || distances[D*i +: D] == distance;
      if (present && exponent == largest) attained = 1;
    end
    c_exponent = (c[30:23] == 0 ? 1 : c[30:23]) + C_OFFSET;
    distance = largest - c_exponent;
    if (distance >= (1 << CD)) distance = (1 << CD) - 1;
    if (c != 0 && c_exponent == largest) attained = 1;
    ok_c_not_larger = !assumed || c == 0 || c_exponent <= largest;
    ok_c_distance = !assumed || c == 0 || c_distance == distance;
    ok_attained = !assumed || attained;
  end
endmodule

// As mma_sum_spec, with EXTRA more bits of the first two terms, which are fraction bits.
module mma_mixed_sum_spec #(parameter T = 32, M = 8, EXTRA = 5, D = 5, CD = 5, KEPT = 25, FRACTION = 6, W = 33) (
  input [T*(M+1)+2*EXTRA-1:0] q, input [T*D-1:0] distances, input [24:0] c, input [CD-1:0] c_distance,
  output reg [W*(T+1)-1:0] terms, output reg [T:0] care
);
  localparam X = M + EXTRA + KEPT + 24;
  integer i, at, width, fraction;
  reg [M+EXTRA:0] number;
  reg [X-1:0] magnitude;
  always @* begin
    at = 0;
    for (i = 0; i < T; i = i + 1) begin
      width = i < 2 ? M + EXTRA : M;
      fraction = i < 2 ? FRACTION + EXTRA : FRACTION;
      number = (q >> at) & ((1 << (width + 1)) - 1);
      magnitude = number[width] ? ~number & ((1 << width) - 1) : number;
      magnitude = ((magnitude << KEPT) >> fraction) >> distances[D*i +: D];
      terms[W*i +: W] = number[width] ? -magnitude[W-1:0] : magnitude[W-1:0];
      care[i] = magnitude >> (KEPT + 2) == 0;
      at = at + width + 1;
    end
    magnitude = c[24] ? ~c[23:0] & 24'hffffff : c[23:0];
    magnitude = KEPT > 23 ? (magnitude << (KEPT - 23)) >> c_distance : (magnitude >> (23 - KEPT)) >> c_distance;
    terms[W*T +: W] = c[24] ? -magnitude[W-1:0] : magnitude[W-1:0];
    care[T] = magnitude >> (KEPT + 1) == 0;
  end
endmodule
