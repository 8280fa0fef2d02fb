// What the modules of MMA units whose terms are blocks must do. A specification has the ports of its module, whose
// outputs are inputs here. It has outputs ok_*, every bit of which must be 1; or it has terms, which an output of the
// module must be the sum of where all bits of care are 1.

module mma_decode_spec #(parameter K = 64, BLOCK = 16, FRACTION = 3, TYPED = 0, POLARITY = 0, REFINED = 0,
                         B = K / BLOCK, G = K >= 8 ? K / 8 : 1, WIDTH = 6, OF_B = 0) (
  input [4*K-1:0] codes, input [8*B-1:0] scales, input [2*G-1:0] block_metadata,
  input [WIDTH*K-1:0] operands, input [(FRACTION ? 4 : 8)*B-1:0] exponents, input [4*B-1:0] significands,
  input [2*G-1:0] multipliers, input [11*K/8-1:0] refinements, input nan,
  output reg [K-1:0] ok_value, ok_encoding, ok_refined, output reg [B-1:0] ok_exponent, ok_significand,
  output ok_multiplier, ok_nan
);
  `include "mma_operands.vh"
  function [3:0] halves(input [2:0] code);
    case (code) 0: halves = 0; 1: halves = 1; 2: halves = 2; 3: halves = 3;
                4: halves = 4; 5: halves = 6; 6: halves = 8; 7: halves = 12; endcase
  endfunction
  function [5:0] from_e2m3(input [4:0] code);  // in eighths
    case (code[4:3])
      0: from_e2m3 = code[2:0];
      1: from_e2m3 = 8 + code[2:0];
      2: from_e2m3 = 16 + 2 * code[2:0];
      3: from_e2m3 = 32 + 4 * code[2:0];
    endcase
  endfunction
  integer i, j;
  reg [2:0] largest, top;
  reg [3:0] magnitude, step;
  reg [4:0] fine;
  reg signed [7:0] eighths, refined;
  reg [B-1:0] nans;
  reg [7:0] scale;
  always @* begin
    for (i = 0; i < K; i = i + 1) begin
      magnitude = TYPED && scales[8*(i/BLOCK) + 7] != POLARITY ? codes[4*i +: 3] : halves(codes[4*i +: 3]);
      ok_value[i] = value(OF_B, operands[WIDTH*i +: WIDTH])
        == (codes[4*i+3] ? -$signed({1'b0, magnitude}) : $signed({1'b0, magnitude}));
      ok_encoding[i] = is_operand(OF_B, operands[WIDTH*i +: WIDTH]);
    end
    // M2XFP: the largest of each 8, the first of equals, has the E2M3 magnitude code {code, metadata} - 1, at least 0.
    ok_refined = {K{1'b1}};
    for (i = 0; REFINED && i < K; i = i + 8) begin
      largest = codes[4*i +: 3];
      top = 0;
      for (j = 1; j < 8; j = j + 1)
        if (codes[4*(i+j) +: 3] > largest) begin
          largest = codes[4*(i+j) +: 3];
          top = j;
        end
      for (j = 0; j < 8; j = j + 1) begin
        fine = {codes[4*(i+j) +: 3], top == j ? block_metadata[2*(i/8) +: 2] : 2'd1};
        if (fine != 0) fine = fine - 5'd1;
        eighths = $signed({2'b0, from_e2m3(fine)});
        if (codes[4*(i+j) + 3]) eighths = -eighths;
        refined = value(OF_B, operands[WIDTH*(i+j) +: WIDTH]);
        refined = refined <<< 2;
        step = 4'd1 << refinements[11*(i/8) + 8 +: 2];
        if (refinements[11*(i/8) + j]) refined = refinements[11*(i/8) + 10] ? refined - step : refined + step;
        ok_refined[i+j] = refined == eighths;
      end
    end
    for (i = 0; i < B; i = i + 1) begin
      scale = scales[8*i +: 8];
      if (FRACTION) begin
        // An E1M2 block has half the magnitudes of its elements, so an E2M1 block has an exponent of one less.
        ok_exponent[i] = exponents[4*i +: 4]
          == (scale[6:3] == 0 ? 4'd1 : scale[6:3]) - (TYPED && scale[7] == POLARITY);
        ok_significand[i] = significands[4*i +: 4] == {scale[6:3] != 0, scale[2:0]};
        nans[i] = scale[6:0] == 7'h7f;
      end else begin
        ok_exponent[i] = exponents[8*i +: 8] == scale;
        ok_significand[i] = 1;
        nans[i] = scale == 8'hff;
      end
    end
  end
  assign ok_nan = nan == |nans;
  assign ok_multiplier = multipliers == block_metadata;
endmodule

// A block's total is the sum of its products, for all operands whose codes occur.
module mma_block_spec #(parameter LANES = 16, W = 13, WIDTH = 6) (
  input [WIDTH*LANES-1:0] a, b, output reg [W*LANES-1:0] terms, output reg [LANES-1:0] care
);
  `include "mma_operands.vh"
  integer i;
  reg signed [W-1:0] term;
  always @*
    for (i = 0; i < LANES; i = i + 1) begin
      term = value(0, a[WIDTH*i +: WIDTH]) * value(1, b[WIDTH*i +: WIDTH]);
      terms[W*i +: W] = term;
      care[i] = is_operand(0, a[WIDTH*i +: WIDTH]) && is_operand(1, b[WIDTH*i +: WIDTH]);
    end
endmodule

// M2XFP: a subgroup's total, in sixteenths, is the sum of its products (operands in halves) and of at most one
// refinement of an element of a (in eighths), times the element of b that it is multiplied with.
module mma_subgroup_spec #(parameter W = 15, WIDTH = 6) (
  input [8*WIDTH-1:0] a, b, input [10:0] refinement, output reg [W*9-1:0] terms, output reg [8:0] care
);
  `include "mma_operands.vh"
  integer i, chosen;
  reg signed [W-1:0] term;
  always @* begin
    chosen = 0;
    care[8] = 1;
    terms[W*8 +: W] = 0;
    for (i = 0; i < 8; i = i + 1) begin
      term = 4 * value(0, a[WIDTH*i +: WIDTH]) * value(1, b[WIDTH*i +: WIDTH]);
      terms[W*i +: W] = term;
      care[i] = is_operand(0, a[WIDTH*i +: WIDTH]) && is_operand(1, b[WIDTH*i +: WIDTH]);
      care[8] = care[8] && (!refinement[i] || is_operand(1, b[WIDTH*i +: WIDTH]));
      chosen = chosen + refinement[i];
      if (refinement[i]) begin
        term = value(1, b[WIDTH*i +: WIDTH]);
        term = term <<< refinement[9:8];
        terms[W*8 +: W] = refinement[10] ? -term : term;
      end
    end
    care[8] = care[8] && chosen <= 1;
  end
endmodule

// M2XFP: the totals of G subgroups, each times 4 + k, where k is the subgroup's field of multipliers.
module mma_multiplied_spec #(parameter S = 15, W = 19, G = 4) (
  input [G*S-1:0] totals, input [2*G-1:0] multipliers, output reg [W*G-1:0] terms, output [G-1:0] care
);
  integer i;
  reg signed [W-1:0] term;
  always @*
    for (i = 0; i < G; i = i + 1) begin
      term = $signed(totals[S*i +: S]);
      term = term * $signed({2'b01, multipliers[2*i +: 2]});
      terms[W*i +: W] = term;
    end
  assign care = {G{1'b1}};
endmodule

// The product of both scales' significands.
module mma_factor_spec (input [3:0] a, b, input [7:0] factor, output ok_factor);
  assign ok_factor = factor == {4'd0, a} * b;
endmodule

// A block's total times the factor of both scales, less one if the total is negative. There is one term for each bit of
// the total; that of the highest bit is negative.
module mma_scale_spec #(parameter S = 13, W = 20) (
  input [S-1:0] total, input [7:0] factor, output reg [W*S-1:0] terms, output [S-1:0] care
);
  integer i;
  always @* begin
    for (i = 0; i < S; i = i + 1) terms[W*i +: W] = total[i] ? {{W{1'b0}}, factor} << i : {W{1'b0}};
    if (total[S-1]) terms[W*(S-1) +: W] = -(({{W{1'b0}}, factor} << (S-1)) + 1);
  end
  assign care = {S{1'b1}};
endmodule

// A block's total, less one if negative, for formats whose scales have no significand.
module mma_unscaled_spec #(parameter S = 13, W = 14) (input [S-1:0] total, input [W-1:0] q, output ok_q);
  wire signed [W-1:0] extended = $signed(total);
  assign ok_q = q == extended - total[S-1];
endmodule
