"""The M2XFP metadata unit: vectors worked out by hand from arXiv 2601.19213, Algorithm 1, and the golden model."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwsim import units
from hwsim.base.bits import to_integers
from hwsim.rtl.m2xfp import M2XFPDecode

#: Magnitudes of E2M1 codes 0 to 7 in eighths: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
PLAIN = [0, 4, 8, 12, 16, 24, 32, 48]
#: A largest element of E2M1 code f4 decodes as the E2M3 magnitude ``{f4, metadata} - 1``, in eighths; by metadata.
REFINED = [
    [0, 0, 1, 2],  # 0: floor at 0, 0, 1/8, 2/8
    [3, 4, 5, 6],  # 0.5
    [7, 8, 9, 10],  # 1
    [11, 12, 13, 14],  # 1.5
    [15, 16, 18, 20],  # 2: from here steps are 1/4
    [22, 24, 26, 28],  # 3
    [30, 32, 36, 40],  # 4: from here steps are 1/2
    [44, 48, 52, 56],  # 6, up to 7.0
]


def decode(codes, metadata=(0, 0, 0, 0), scale=127):
    """Operands as signed eighths (-0 would show as 64), scale and NaN flag of the combinational unit."""
    return decode_many([(codes, metadata, scale)])[0]


def decode_many(blocks):
    unit = M2XFPDecode(registered=False)
    found = []

    async def process(ctx):
        for codes, metadata, scale in blocks:
            ctx.set(unit.codes, sum(int(c) << 4 * i for i, c in enumerate(codes)))
            ctx.set(unit.metadata_code, sum(int(k) << 2 * i for i, k in enumerate(metadata)))
            ctx.set(unit.scale_code, int(scale))
            word = ctx.get(unit.operands)
            raw = [word >> 7 * i & 127 for i in range(32)]
            operands = [64 if r == 64 else -(r & 63) if r & 64 else r for r in raw]
            found.append((operands, ctx.get(unit.scale), ctx.get(unit.scale_nan)))

    simulator = Simulator(unit)
    simulator.add_testbench(process)
    simulator.run()
    return found


def subgroups(first, rest=(0,) * 8):
    return [*first, *rest, *rest, *rest]


@pytest.mark.parametrize("sign", [0, 8])
@pytest.mark.parametrize("code", range(8))
def test_largest_element_takes_the_code_below_to_two_above(code, sign):
    blocks = [(subgroups([0, 0, 0, code | sign, 0, 0, 0, 0]), (m, 1, 1, 1), 127) for m in range(4)]
    place = 3 if code else 0
    for m, (operands, _, _) in enumerate(decode_many(blocks)):
        negative = sign and code
        want = [0] * 32
        want[place] = -REFINED[code][m] if negative else REFINED[code][m]
        assert operands == want


@pytest.mark.parametrize("metadata", range(4))
def test_equals_refine_the_lowest_place_whatever_the_signs(metadata):
    for signs in (0b00000000, 0b11111111, 0b00000100, 0b11111011):
        codes = [5 | (signs >> i & 1) << 3 if i >= 2 else 3 for i in range(8)]
        operands = decode(subgroups(codes), (metadata, 1, 1, 1))[0]
        magnitudes = [12, 12, REFINED[5][metadata], 24, 24, 24, 24, 24]
        assert operands[:8] == [-v if i >= 2 and signs >> i & 1 else v for i, v in enumerate(magnitudes)]


def test_every_pair_of_places_and_codes_refines_the_larger_or_the_lower():
    cases = [(i, j, a, b) for i in range(8) for j in range(i + 1, 8) for a in range(1, 8) for b in range(1, 8)]
    blocks = []
    for i, j, a, b in cases:
        codes = [0] * 8
        codes[i], codes[j] = a, b | 8
        blocks.append((subgroups(codes), (3, 1, 1, 1), 127))
    for (i, j, a, b), (operands, _, _) in zip(cases, decode_many(blocks), strict=True):
        want = [0] * 8
        want[i], want[j] = (REFINED[a][3], -PLAIN[b]) if a >= b else (PLAIN[a], -REFINED[b][3])
        assert operands[:8] == want, (i, j, a, b)


def test_negative_largest_of_one_half_with_metadata_0_keeps_its_sign():
    # {1, 0} - 1 = 3 eighths: smaller, not zero.
    assert decode(subgroups([9, 0, 0, 0, 0, 0, 0, 0]), (0, 1, 1, 1))[0][0] == -3


def test_code_zero_is_refined_in_place_0_with_the_sign_that_stands_there():
    # A subgroup of zeros: all equal, so the lowest; -0 with metadata 0 and 1 stays +0, above it is negative.
    for metadata, want in enumerate((0, 0, -1, -2)):
        operands = decode(subgroups([8] * 8), (metadata, 1, 1, 1))[0]
        assert operands[:8] == [want] + [0] * 7


def test_subgroups_have_metadata_and_largest_elements_of_their_own():
    codes = [1, 2, 3, 4, 5, 6, 7, 0] + [7, 15, 7, 15, 7, 15, 7, 15] + [0] * 8 + [2, 0, 0, 0, 0, 0, 0, 10]
    operands = decode(codes, (0, 1, 2, 3))[0]
    assert operands[:8] == [4, 8, 12, 16, 24, 32, 44, 0]
    assert operands[8:16] == [48, -48] * 4
    assert operands[16:24] == [1] + [0] * 7
    assert operands[24:] == [10, 0, 0, 0, 0, 0, 0, -8]


def test_scale_passes_and_only_byte_255_is_nan():
    found = decode_many([([0] * 32, (1, 1, 1, 1), scale) for scale in range(256)])
    assert [scale for _, scale, _ in found] == list(range(256))
    assert [nan for _, _, nan in found] == [0] * 255 + [1]


def differing(golden_metadata):
    """Blocks in which RTL and golden differ, golden being given the metadata that the function makes of the RTL's."""
    design = units.design("m2xfp_decode", {"registered": 0})
    ports = {k: v[:300] for k, v in design.unit.testbench(design.parameters, 3).items()}
    metadata = ports["metadata_code"][:, 0].astype(int)
    split = (metadata[:, None] >> np.array([0, 2, 4, 6])) & 3
    got = decode_many(zip(ports["codes"], split, ports["scale_code"][:, 0], strict=True))
    want = design.unit.golden(ports | {"metadata_code": golden_metadata(ports["metadata_code"])}, design.parameters)
    words = to_integers(want["operands"], 32 * 7)
    fields = [[w >> 7 * i & 127 for i in range(32)] for w in words]
    signed = [[-(r & 63) if r & 64 else r for r in row] for row in fields]
    nan = want["scale_nan"][:, 0].tolist()
    return sum(o != s or n != f for (o, _, n), s, f in zip(got, signed, nan, strict=True))


def test_rtl_equals_golden_on_blocks_with_many_equals():
    assert differing(lambda metadata: metadata) == 0


def test_golden_with_other_metadata_is_noticed():
    assert differing(lambda metadata: metadata ^ 1) > 250
