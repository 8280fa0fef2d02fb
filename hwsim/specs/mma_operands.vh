// How the data path writes a decoded 4-bit element: {sign, magnitude}, the magnitude in half units, that of an E1M2
// element in units. The only place that says so: other encodings need other functions here, and nothing else.
function signed [4:0] value(input [4:0] operand);
  value = operand[4] ? -$signed({1'b0, operand[3:0]}) : $signed({1'b0, operand[3:0]});
endfunction
function is_operand(input [4:0] operand, input typed);
  case (operand[3:0])
    0, 1, 2, 3, 4, 6, 8, 12: is_operand = 1;
    5, 7: is_operand = typed;
    default: is_operand = 0;
  endcase
endfunction
