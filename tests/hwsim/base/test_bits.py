"""Port values as fields, integers and bits."""

import numpy as np
import pytest

from hwsim.base.bits import to_bits, to_integers


def test_bits_round_trip_and_refuse():
    fields = np.array([[1, 2, 15], [0, 8, 7]], np.uint8)
    assert to_integers(fields, 12) == [0xF21, 0x780]
    assert to_bits(fields, 12)[0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1]
    with pytest.raises(ValueError, match="does not fit its field of 3 bits"):
        to_bits(fields, 9)
    with pytest.raises(ValueError, match="3 fields do not divide a port of 10 bits"):
        to_bits(fields, 10)
