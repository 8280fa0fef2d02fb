// A map for techmap: additions as ripples of full adders, whose sums and carries hwsim/verification/adders.py finds in
// the graph. Yosys' own map makes prefix adders, where they are hidden.
(* techmap_celltype = "$add" *)
module ripple_add #(parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1) (
  input [A_WIDTH-1:0] A, input [B_WIDTH-1:0] B, output [Y_WIDTH-1:0] Y
);
  wire _TECHMAP_FAIL_ = A_WIDTH == 0 || B_WIDTH == 0;
  wire [Y_WIDTH-1:0] a, b;
  wire [Y_WIDTH:0] carry;
  generate
    if (A_SIGNED && B_SIGNED) begin
      assign a = $signed(A);
      assign b = $signed(B);
    end else begin
      assign a = A;
      assign b = B;
    end
  endgenerate
  assign carry = {(a & b) | (carry[Y_WIDTH-1:0] & (a ^ b)), 1'b0};
  assign Y = a ^ b ^ carry[Y_WIDTH-1:0];
endmodule
