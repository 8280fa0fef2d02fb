"""Lemmas of quantisation engines: modules of the RTL do what specifications say; wrong specifications are refuted."""

import shutil

import pytest

from hwsim import units
from hwsim.verification import lemma_proofs, sources
from hwsim.verification.equivalence import PROVEN, REFUTED
from hwsim.verification.lemmas import lemmas

ENGINES = [name for name, unit in units.UNITS.items() if unit.engine] + ["fp32_to_bf16"]
#: Sums of products with a multiplier of several bits take the solver up to a minute.
LONG = ("quantise_difference", "quantise_moment_of_products")
CHOOSING = ["four_over_six_quantize", "mixfp4_quantize"]
#: What is proven in seconds; ``report verification`` proves everything too.
QUICK = ["mxfp4_quantize", "fp32_to_bf16"]
OTHER_SETTINGS = [
    ("mxfp4_quantize", {"scale_rule": "ceil", "subnormals": 1}),
    ("mxfp4_quantize", {"scale_rule": "even", "block_size": 16}),
    ("mxfp4_quantize", {"scale_rule": "rceil"}),
    ("mxfp4_quantize", {"scale_rule": "oas", "block_size": 16, "subnormals": 1}),
    ("mxfp4_quantize", {"block_size": 16, "scale_rule": "rceil", "input": "fp32", "subnormals": 1}),
    ("mxfp4_quantize", {"scale_rule": "rceil", "input": "fp32"}),
    ("mxfp4_quantize", {"scale_rule": "oas", "subnormals": 1, "input": "fp32"}),
    ("mx_quantize", {"formats": "e5m2", "scale_rule": "even", "block_size": 16}),
    ("mx_quantize", {"formats": "e2m3+e2m1", "scale_rule": "floor", "block_size": 16}),
    ("mx_quantize", {"scale_rule": "even", "block_size": 16}),
    ("mx_quantize", {"formats": "e4m3+e2m1", "scale_rule": "rceil", "block_size": 16, "input": "fp32"}),
    ("m2xfp_quantize", {"input": "fp32"}),
]
#: Wrong specifications, each wrong in one thing: the design, the module, the file, what stands there, and what instead.
WRONG = {
    "a tie turned": (
        "mxfp4_quantize", "quantise_lane", "quantise.v",
        "if (i % 2 ? value > point(middle) : value >= point(middle)) coarse = i;",
        "if (value > point(middle)) coarse = i;",
    ),
    "the sign of -0": (
        "mxfp4_quantize", "quantise_scale", "quantise.v", "(special || (zero && !SIGNED_ZEROS))", "special",
    ),
    "top-1 of equals to the higher index": (
        "m2xfp_quantize", "quantise_top", "quantise.v", "> ((magnitudes >> (3 * top)) & 7)",
        ">= ((magnitudes >> (3 * top)) & 7)",
    ),
    "metadata held to 2": (
        "m2xfp_quantize", "quantise_metadata", "quantise.v", "step > 3 ? 2'd3", "step > 2 ? 2'd2",
    ),
    "one threshold more": (
        "nvfp4_quantize", "quantise_lane", "quantise.v", "(magnitude >= t3)", "(magnitude > t3)",
    ),
    "a carry stuck": (
        "nvfp4_quantize", "quantise_lane", "quantise.v", "e3 = first + 1 + carries[0]", "e3 = first + 1",
    ),
    "the floor of 8 left out": (
        "nvfp4_quantize", "quantise_scale", "quantise.v", "if (code < 8) code = 8;", "",
    ),
    "a subnormal scale's row": (
        "nvfp4_quantize", "quantise_row", "quantise.v", "significand = significand << 1;", "",
    ),
    "E4M3's code NaN": (
        "mx_quantize-saturating", "quantise_lane", "blocks.v", "ranged > most ? most : ranged", "ranged",
    ),
    "a tie of any element turned": (
        "mx_quantize", "quantise_lane", "blocks.v", "(rest == HALF && whole[0])", "rest == HALF",
    ),
    "rceil carries at the largest element": (
        "mx_quantize", "quantise_maximum", "blocks.v", "carries = fraction > largest &&",
        "carries = fraction >= largest &&",
    ),
    "a factor rounded instead of cut": (
        "mbs_quantize", "quantise_factor", "blocks.v", "by_two = 18'd98304 / significand",
        "by_two = (18'd98304 + significand / 2) / significand",
    ),
    "OAS carries at 1.75": (
        "mbs_quantize", "quantise_factor", "blocks.v", "(127 + least) * scale <= point",
        "(127 + least) * scale < point",
    ),
    "the other candidate where errors tie": (
        "four_over_six_quantize", "quantise_difference", "choice.v", "-((product * OF_PRODUCTS) <<< first_carry)",
        "-((product * OF_PRODUCTS) <<< first_carry) - 1",
    ),
    "the scale of the other candidate": (
        "four_over_six_quantize", "quantise_chosen", "choice.v", "larger ? large_scale : small_scale",
        "larger ? small_scale : large_scale",
    ),
    "a binade between candidates forgotten": (
        "mixfp4_quantize", "quantise_large_distance", "choice.v", "apart + carries[i-1] > 3 ||",
        "apart + carries[i-1] > 4 || 0 &&",
    ),
    "magnitudes not held": (
        "mixfp4_quantize", "quantise_lane", "choice.v", "distance <= 6 ?", "distance <= 7 ?",
    ),
    "squares of E1M2 in units of E2M1": (
        "mixfp4_quantize", "quantise_small_squares", "choice.v",
        "term = units(codes[3*i +: 3]) * units(codes[3*i +: 3]);",
        "term = 4 * units(codes[3*i +: 3]) * units(codes[3*i +: 3]);",
    ),
    "FP32 to BF16 away from zero": (
        "fp32_to_bf16", "quantise_rounder", "blocks.v", "(twice == 17'h10000 && x[16])", "twice == 17'h10000",
    ),
}  # fmt: skip
SATURATING = {"mx_quantize-saturating": ("mx_quantize", {"formats": "e4m3", "scale_rule": "floor", "block_size": 16})}


def graphs(design, build):
    return sources.graphs(design, sources.rtl_modules(design, build), build, "rtl")


def check(design, build, long):
    modules = graphs(design, build)
    checked = []
    for lemma in lemmas(design):
        if (lemma.module in LONG) == long:
            proof = lemma_proofs.decide(lemma, modules[lemma.module], build)
            twin = lemma_proofs.decide(lemma, modules[lemma.module], build, 1)
            assert (proof.outcome, twin.outcome) == (PROVEN, REFUTED), (lemma.module, proof, twin)
            checked.append(lemma.module)
    return checked


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in ENGINES]
)
def test_every_module_does_what_its_specification_says(name, tmp_path):
    design = units.design(name)
    paths = {"quantise_path", *LONG}
    assert set(check(design, tmp_path, False)) == set(graphs(design, tmp_path)) - paths - {name}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), OTHER_SETTINGS)
def test_other_parameters(name, settings, tmp_path):
    assert check(units.design(name, settings), tmp_path, False)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOOSING)
def test_what_decides_does_what_its_specification_says(name, tmp_path):
    assert check(units.design(name), tmp_path, True) == ["quantise_moment_of_products", "quantise_difference"]


def quickly_refuted(name):
    return WRONG[name][0] in QUICK or name == "one threshold more"


@pytest.mark.parametrize(
    "wrong", [pytest.param(name, marks=[pytest.mark.slow] * (not quickly_refuted(name))) for name in WRONG]
)
def test_wrong_specifications_are_refuted(wrong, tmp_path, monkeypatch):
    name, module, file, right, instead = WRONG[wrong]
    specs = tmp_path / "specs"
    shutil.copytree(lemma_proofs.SPECS, specs)
    text = (specs / file).read_text()
    assert right in text
    (specs / file).write_text(text.replace(right, instead))
    monkeypatch.setattr(lemma_proofs, "SPECS", specs)
    design = units.design(*SATURATING.get(name, (name,)))
    [lemma] = [lemma for lemma in lemmas(design) if lemma.module == module]
    assert lemma_proofs.decide(lemma, graphs(design, tmp_path)[module], tmp_path).outcome == REFUTED
