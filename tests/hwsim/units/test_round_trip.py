"""From values to codes and back through hardware alone: the netlists of an engine and of its format's decoder."""

import dataclasses

import numpy as np
import pytest

from hwsim import golden, units
from hwsim.analysis import activity, netlist_reader
from hwsim.golden.engines import to_bf16
from hwsim.golden.formats import E2M1, E2M2, E8M0, UE4M3, decode
from hwsim.synthesis.mapping import Options, map_design
from hwsim.technology import catalogue
from hwsim.verification.netlist_model import NetlistModel

ROWS, K = 64, 512


def eighths(operands):
    """Values of sign and magnitude in eighths, the sign in bit 6."""
    return np.where(operands >> 6, -1, 1) * (operands & 63) / 8


CASES = {
    "mxfp4_quantize": ("mxfp4_decode", {"lanes": 32}, "mxfp4", {}, lambda o: decode(o, E2M1), E8M0),
    "m2xfp_quantize": ("m2xfp_decode", {}, "m2xfp_elem_em", {}, eighths, E8M0),
    "nvfp4_quantize": ("nvfp4_decode", {"lanes": 16}, "nvfp4", {}, lambda o: decode(o, E2M1), UE4M3),
    "mixfp4_quantize": (
        "mixfp4_decode", {"lanes": 16}, "mixfp4", {"measure": "exact"}, lambda o: decode(o, E2M2), UE4M3,
    ),
}  # fmt: skip


def words(bits, width):
    """Fields of a port from its bits."""
    each = bits.reshape(len(bits), -1, width)
    return (each << np.arange(width, dtype=np.uint8)[None, None]).sum(axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "mxfp4_quantize")) for n in CASES])
def test_values_come_back(name, tmp_path):
    decoder, settings, system, options, value_of, scale_format = CASES[name]
    rng = np.random.default_rng(9)
    x = (rng.standard_t(3, (ROWS, K)) * np.exp2(rng.integers(-9, 9, (ROWS, 1)))).astype(np.float32)
    x = (to_bf16(x.view(np.uint32)).astype(np.uint32) << 16).view(np.float32)
    library = catalogue.load("asap7", None, tmp_path)
    engine = units.design(name)
    size = engine.unit.operands(engine.parameters)
    ports = engine.unit.stimulus(engine.parameters, ROWS * K // size, 1, x)
    model = NetlistModel(engine, library, tmp_path)
    found = model.outputs({key: values for key, values in ports.items() if key != "valid"})
    inputs = {"codes": words(found["codes"], 4), "scale_code": words(found["scale"], 8)}
    if "metadata_code" in found:
        inputs["metadata_code"] = words(found["metadata_code"], 8)
    back = units.design(decoder, {"registered": 0, **settings})
    mapped = map_design(back, library, Options(library.clock_period_ns), tmp_path)
    netlist = netlist_reader.read(mapped.netlist_json, decoder, library)
    decoded = activity.simulate(netlist, inputs, 64).outputs
    assert not decoded["scale_nan"].any()
    width = decoded["operands"].shape[1] // size
    scales = scale_format.values[words(decoded["scale"], decoded["scale"].shape[1])[:, 0]]
    values = value_of(words(decoded["operands"], width)).astype(np.float64) * scales[:, None]
    t = golden.quantize(x, system, **options)
    wanted = golden.dequantize(dataclasses.replace(t, tensor_scale=None, tensor_amax=None))
    assert np.array_equal(values.reshape(x.shape), wanted)
