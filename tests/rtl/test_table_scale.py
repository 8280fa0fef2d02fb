"""Parts of the NVFP4 engine, simulated one by one, against the golden model."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwsim.golden.engines import quantize_bits
from hwsim.golden.thresholds import thresholds
from hwsim.rtl.quantise.floats import INPUTS
from hwsim.rtl.quantise.table_scale import MagnitudeMaximum, RowSelect, ScaleFinder, ThresholdLane, Told
from hwsim.rtl.quantise.tables import FAMILIES, table_widths, tensor_fields

BF16 = INPUTS["bf16"]
NVFP4 = FAMILIES["nvfp4"]
TOLD = Told(BF16, NVFP4, constant=False)


def table_values(amax):
    """What the engine is told of a tensor, as one integer a port."""
    widths = table_widths(BF16, NVFP4, BF16)
    return {
        name: sum(int(value) << widths[name][1] * i for i, value in enumerate(fields))
        for name, fields in tensor_fields(amax).items()
    }


def simulate(part, inputs, outputs):
    """Outputs of a combinational part by name, for inputs that are lists of one length or constants."""
    results = {name: [] for name in outputs}
    count = max(len(values) for values in inputs.values() if not isinstance(values, int))

    async def bench(context):
        for i in range(count):
            for name, values in inputs.items():
                context.set(getattr(part, name), values if isinstance(values, int) else int(values[i]))
            await context.delay(1e-9)
            for name in outputs:
                results[name].append(context.get(getattr(part, name)))

    simulator = Simulator(part)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def engine(bits, table):
    """Scale bytes and codes of blocks, part by part."""
    finder, row = ({k: v for k, v in table.items() if k.startswith("element") == e} for e in (False, True))
    packed = [int.from_bytes(block.tobytes(), "little") for block in bits]
    largest = simulate(MagnitudeMaximum(BF16, 16), {"x": packed}, ("largest",))["largest"]
    scales = simulate(ScaleFinder(TOLD), {"largest": largest} | finder, ("scale",))["scale"]
    found = simulate(RowSelect(TOLD), {"scale": scales} | row, ("fractions", "carries", "first", "clear"))
    each = {name: [value for value in values for _ in range(16)] for name, values in found.items()}
    codes = simulate(ThresholdLane(BF16), {"x": bits.reshape(-1)} | each, ("code",))["code"]
    return np.array(scales), np.array(codes).reshape(bits.shape)


def blocks(amax, count, seed):
    """BF16 blocks below, at and above a tensor's maximum; zeros of both signs, infinities and NaN."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 16)) * amax * np.exp2(-rng.integers(0, 20, (count, 1)))
    x[:10], x[10:20] = rng.choice([0.0, -0.0], (10, 16)), x[10:20] * 100
    bits = (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    bits[20, 3], bits[21, 4], bits[22, 5] = 0x7F80, 0xFF80, 0x7FC1
    return bits


@pytest.mark.parametrize("amax", [1.0, 2.7, 7.7e20, 2.0**-100])
def test_blocks_are_golden(amax):
    bits = blocks(amax, 120, 1)
    scales, codes = engine(bits, table_values(amax))
    golden = quantize_bits(bits, "nvfp4", amax=amax)
    assert np.array_equal(scales, golden.scales) and np.array_equal(codes, golden.codes)
    # The tables of another tensor give other blocks.
    scales, codes = engine(bits, table_values(amax * 1.3))
    assert not np.array_equal(scales, golden.scales) and not np.array_equal(codes, golden.codes)


def test_scales_around_every_threshold_are_golden():
    """Among them code 8, which begins lower than eight times the exponent says."""
    amax = 2.7
    table = thresholds(amax)
    largest = np.concatenate([table.scales - 1, table.scales, table.scales + 1])
    finder = {k: v for k, v in table_values(amax).items() if not k.startswith("element")}
    scales = simulate(ScaleFinder(TOLD), {"largest": largest} | finder, ("scale",))["scale"]
    assert np.array_equal(scales, table.scale_codes(largest)) and set(scales) == set(range(127))


def test_a_tensor_of_zeros_has_zero_scales():
    bits = blocks(1.0, 30, 2) & 0x8000
    scales, codes = engine(bits, table_values(0.0))
    assert not scales.any() and not codes.any()


def test_maxima_without_thresholds_are_refused():
    with pytest.raises(ValueError, match="amax must be"):
        table_values(2.0**126)
