"""The table of units."""

import pytest

from hwsim import units
from hwsim.base.errors import InputError


def test_unknown_names_say_what_exists():
    with pytest.raises(InputError, match="unknown unit: mixfp4_decod .*did you mean mixfp4_decode"):
        units.design("mixfp4_decod")
    with pytest.raises(InputError, match="unknown parameter of nvfp4_decode: lane .*did you mean lanes"):
        units.design("nvfp4_decode", {"lane": 3})
