"""Lemmas: what each module of a quantisation engine must do; see :mod:`hwsim.verification.lemmas`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hwsim.golden.formats import MiniFloat
from hwsim.rtl.quantise.around import Rounder
from hwsim.rtl.quantise.choice import (
    ChoosingLane,
    Chosen,
    Difference,
    LargeRow,
    Moment,
    ProductSum,
    SquareSum,
)
from hwsim.rtl.quantise.elem_em import ElemEMLane, Metadata, SubgroupTop
from hwsim.rtl.quantise.elements import ElementLane
from hwsim.rtl.quantise.macro_block import FactorLane, FactorRow, FactorScale
from hwsim.rtl.quantise.power_of_two import CARRIES, E2M1Lane, PowerOfTwoScale, ReferenceExponent
from hwsim.rtl.quantise.table_scale import MagnitudeMaximum, RowSelect, ScaleFinder, ThresholdLane
from hwsim.rtl.quantise.tables import E1M2_LADDER, Ladder
from hwsim.verification.lemma import Lemma

_QUANTISE, _CHOICE, _BLOCKS = "quantise.v", "choice.v", "blocks.v"
#: Specification and its parameters: file, top module, claim, parameters, the output that is a sum.
_Spec = tuple[str, str, str, dict[str, int], str]


def engine_lemmas(parts: dict[str, Any]) -> Iterator[Lemma]:
    """The lemmas of the modules of an engine, by module name; paths, which are wires and registers, have none."""
    for module, part in parts.items():
        for kind, specify in _SPECIFIED.items():
            if type(part) is kind:
                for file, top, claim, parameters, sum_of in specify(part, parts):
                    yield Lemma(module, claim, file, top, parameters, sum_of)


def _reference(part: ReferenceExponent, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {
        "N": len(part.x) // part.fmt.width, "F": part.fmt.fraction_width, "RULE": list(CARRIES).index(part.scale_rule)
    }  # fmt: skip
    claim = "largest exponent, zeros, infinities and NaN"
    if isinstance(parts["quantise_lane"], ElementLane):
        yield (
            _BLOCKS,
            "quantise_mx_maximum_spec",
            claim,
            settings | _of_elements(part.elements, "LAST", "FRACTIONS"),
            "",
        )
    else:
        settings["SUBNORMALS"] = int(part.subnormals)
        yield _QUANTISE, "quantise_maximum_spec", claim, settings, ""


def _of_elements(elements: tuple[MiniFloat, ...], *names: str) -> dict[str, int]:
    """What specifications are told of element formats, packed."""
    fields: dict[str, tuple[int, Callable[[MiniFloat], int]]] = {
        "FRACTIONS": (4, lambda e: e.fraction_width),
        "LAST": (4, lambda e: e.max_code & ((1 << e.fraction_width) - 1)),
        "HIGH": (8, lambda e: e.max_exponent),
        "BIAS": (5, lambda e: e.bias),
    }
    settings = {"COUNT": len(elements), "C": max((len(elements) - 1).bit_length(), 1)}
    for name in ("HIGH", *names):
        width, value = fields[name]
        settings[name] = sum(value(element) << (width * i) for i, element in enumerate(elements))
    return settings


def _power_of_two(part: PowerOfTwoScale, parts: dict[str, Any]) -> Iterator[_Spec]:
    if isinstance(parts["quantise_lane"], ElementLane):
        settings = {"CARRIES": int(part.carries)} | _of_elements(part.elements)
        yield _BLOCKS, "quantise_mx_scale_spec", "scale byte", settings, ""
        return
    [element], [least] = part.elements, part.least
    settings = {
        "EMAX": element.max_exponent, "ZERO": part.zero_scale, "LEAST": least, "SIGNED_ZEROS": int(part.signed_zeros),
        "CARRIES": int(part.carries),
    }  # fmt: skip
    yield _QUANTISE, "quantise_scale_spec", "scale byte", settings, ""


def _e2m1_lane(part: E2M1Lane | ElemEMLane, parts: dict[str, Any]) -> Iterator[_Spec]:
    [least] = parts["quantise_scale"].least
    settings = {
        "F": part.fmt.fraction_width, "SUBNORMALS": int(parts["quantise_maximum"].subnormals), "LEAST": least
    }  # fmt: skip
    yield _QUANTISE, "quantise_lane_spec", "code is that of seven thresholds", settings, ""


def _element_lane(part: ElementLane, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {"F": part.fmt.fraction_width, "W": len(part.code), "BOUNDED": int(not part.saturates)}
    settings |= _of_elements(part.elements, "FRACTIONS", "LAST", "BIAS")
    yield _BLOCKS, "quantise_mx_lane_spec", "code is the nearest, ties to even", settings, ""


def _finder(part: ScaleFinder, parts: dict[str, Any]) -> Iterator[_Spec]:
    if not part.told.constant:
        settings = {"F": part.told.fmt.fraction_width}
        yield _QUANTISE, "quantise_table_scale_spec", "scale by thresholds", settings, ""


def _row(part: RowSelect, parts: dict[str, Any]) -> Iterator[_Spec]:
    if part.told.constant:
        return
    settings = {"F": part.told.fmt.fraction_width}
    if part.normalised:
        settings["UNIFORM"] = _uniform(part.ladder)
        yield _CHOICE, "quantise_choice_row_spec", "thresholds of a scale, and the scale normalised", settings, ""
    else:
        yield _QUANTISE, "quantise_row_spec", "thresholds of a scale", settings, ""


def _uniform(ladder: Ladder) -> int:
    return int(ladder is E1M2_LADDER)


def _choosing_lane(part: ChoosingLane, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {"F": part.fmt.fraction_width, "UNIFORM": _uniform(part.small), "HOLD": int(part.hold)}
    yield _CHOICE, "quantise_choosing_spec", "codes by thresholds, significand moved", settings, ""


def _products(part: ProductSum, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {"N": part.block_size, "X": part.width, "W": len(part.total), "UNIFORM": _uniform(part.ladder)}
    yield _CHOICE, "quantise_products_spec", "total is the sum of magnitudes times codes", settings, "total"


def _squares(part: SquareSum, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {"N": part.block_size, "W": len(part.total), "UNIFORM": _uniform(part.ladder)}
    yield _CHOICE, "quantise_squares_spec", "total is the sum of the codes' squares", settings, "total"


def _moment(part: Moment, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {
        "S": len(part.small_sum), "L": len(part.large_sum), "W": len(part.total), "DOUBLED": part.doubled,
        "SQUARES": int(part.power == 2),
    }  # fmt: skip
    yield _CHOICE, "quantise_moment_spec", "total is the candidates' difference", settings, "total"


def _difference(part: Difference, parts: dict[str, Any]) -> Iterator[_Spec]:
    of_squares, of_products = part.multiples
    settings = {
        "P": len(part.products), "Q": len(part.squares), "OF_SQUARES": of_squares, "OF_PRODUCTS": of_products,
        "FACTOR": 1 if part.told.constant else len(part.choice_factor), "W": len(part.total),
    }  # fmt: skip
    if not part.told.constant:
        yield _CHOICE, "quantise_difference_spec", "total is the rule's two sides' difference", settings, "total"


def _chosen(part: Chosen, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {"N": part.block_size, "TYPED": int(part.typed), "POLARITY": part.polarity}
    yield _CHOICE, "quantise_chosen_spec", "codes and scale of the better candidate", settings, ""


def _simple(file: str, top: str, claim: str) -> Callable[[Any, dict[str, Any]], Iterator[_Spec]]:
    """A specification without parameters."""

    def specify(part: Any, parts: dict[str, Any]) -> Iterator[_Spec]:
        yield file, top, claim, {}, ""

    return specify


def _magnitude(part: MagnitudeMaximum, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {"F": part.fmt.fraction_width, "N": part.block_size}
    yield _QUANTISE, "quantise_magnitude_spec", "largest magnitude", settings, ""


def _threshold_lane(part: ThresholdLane, parts: dict[str, Any]) -> Iterator[_Spec]:
    settings = {"F": part.fmt.fraction_width}
    yield _QUANTISE, "quantise_threshold_spec", "code is that of seven thresholds", settings, ""


_SPECIFIED: dict[type, Callable[[Any, dict[str, Any]], Iterator[_Spec]]] = {
    ReferenceExponent: _reference,
    PowerOfTwoScale: _power_of_two,
    E2M1Lane: _e2m1_lane,
    ElemEMLane: _e2m1_lane,
    SubgroupTop: _simple(_QUANTISE, "quantise_top_spec", "what is known of the largest code"),
    Metadata: _simple(_QUANTISE, "quantise_metadata_spec", "metadata of the largest element"),
    ElementLane: _element_lane,
    MagnitudeMaximum: _magnitude,
    ScaleFinder: _finder,
    RowSelect: _row,
    ThresholdLane: _threshold_lane,
    LargeRow: _simple(_CHOICE, "quantise_distance_spec", "binades between the scales' thresholds"),
    ChoosingLane: _choosing_lane,
    ProductSum: _products,
    SquareSum: _squares,
    Moment: _moment,
    Difference: _difference,
    Chosen: _chosen,
    FactorRow: _simple(_BLOCKS, "quantise_factor_spec", "factor, carries and thresholds of a macro-block"),
    FactorScale: _simple(_BLOCKS, "quantise_factor_scale_spec", "scale byte"),
    FactorLane: _simple(_BLOCKS, "quantise_factor_lane_spec", "code is that of seven thresholds"),
    Rounder: _simple(_BLOCKS, "quantise_rounder_spec", "nearest, ties to even"),
}
