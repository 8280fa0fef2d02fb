"""Blocks of OCP MX: a power-of-two scale, and elements of any of its float formats, chosen as the hardware runs."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.golden.formats import E2M1, E2M3, E3M2, E4M3, E5M2, MiniFloat
from hwsim.rtl.arith import any_bit, sized
from hwsim.rtl.hierarchy import Pipeline, Registers, instantiate
from hwsim.rtl.quantise.engine import SCALE_WIDTH, QuantiserPath
from hwsim.rtl.quantise.floats import Fields, ValueFormat
from hwsim.rtl.quantise.power_of_two import (
    PowerOfTwoScale,
    ReferenceExponent,
    element_port,
    has_carry,
    of_element,
    scaled,
)
from hwsim.rtl.quantise.stage import QuantiserStage

#: Element formats that a build may have, by name.
ELEMENTS = {element.name: element for element in (E2M1, E2M3, E3M2, E4M3, E5M2)}
#: Bits of a significand with the most fraction bits.
_KEPT = 1 + max(element.fraction_width for element in ELEMENTS.values())
#: Rules under which no value exceeds the largest element.
_BOUNDED = ("ceil", "rceil")


def chosen_elements(names: str) -> tuple[MiniFloat, ...]:
    """Element formats from their names, separated by ``+``; ValueError for an unknown or repeated one."""
    chosen = str(names).split("+")
    for name in chosen:
        if name not in ELEMENTS or chosen.count(name) > 1:
            raise ValueError(f"formats must be different ones among {'+'.join(ELEMENTS)}, got {names!r}")
    return tuple(ELEMENTS[name] for name in chosen)


class ElementLane(wiring.Component):
    """The code of a value under a power of two, in one of several formats: round to nearest, ties to even, saturated.

    Combinational. The significand is cut where the format's last place is, and rounded; the code is the sum of what is
    left and of the exponent field, so that a carry goes where it belongs.

    Parameters
    ----------
    fmt : ValueFormat
        Format of the value; subnormals are zeros.
    elements : sequence of MiniFloat
    saturates : bool
        Whether values may exceed the largest element.

    Ports
    -----
    x : in
    element : in; only with several formats
    highest : in, 8 bits
        At least the exponent field of ``x``: see :class:`hwsim.rtl.quantise.power_of_two.PowerOfTwoScale`.
    clear : in, 1 bit
    code : out
        As stored, in the lowest bits.
    """

    stage = QuantiserStage.LANES

    def __init__(self, fmt: ValueFormat, elements: Sequence[MiniFloat], saturates: bool):
        super().__init__({
            "x": In(fmt.width), **element_port(elements), "highest": In(SCALE_WIDTH), "clear": In(1),
            "code": Out(max(element.width for element in elements)),
        })  # fmt: skip
        self.fmt, self.elements, self.saturates = fmt, tuple(elements), saturates

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Fields.of(self.x, self.fmt)
        chosen = self.element if len(self.elements) > 1 else None

        def constant(values: Sequence[int], width: int) -> Value:
            return of_element(values, width, chosen)

        distance = sized(m, self.highest - x.exponent, SCALE_WIDTH, "distance", "Binades below the highest")
        # The highest exponent field, and places by which a normal number is cut beyond the longest significand.
        tops = [element.max_exponent + element.bias for element in self.elements]
        cuts = [_KEPT - 1 - element.fraction_width for element in self.elements]
        top, cut = constant(tops, SCALE_WIDTH), constant(cuts, 2)
        normal = sized(m, distance < top, 1, "normal", "The code is that of a normal number")
        # Below, every binade costs a place.
        below = [cut_of + 1 - top_of for cut_of, top_of in zip(cuts, tops, strict=True)]
        mask = (2 << SCALE_WIDTH) - 1
        places = sized(
            m,
            Mux(normal, cut, distance + constant([n & mask for n in below], SCALE_WIDTH + 1)),
            SCALE_WIDTH + 1,
            "places",
        )
        rounded = self._rounded(m, x, places)
        if self.saturates:
            # Of the highest binade.
            most = constant(
                [e.max_code - ((t - 1) << e.fraction_width) for e, t in zip(self.elements, tops, strict=True)],
                _KEPT + 1,
            )
            beyond = sized(m, ~distance.any() & (rounded > most), 1, "beyond", "The value exceeds the largest element")
            rounded = sized(m, Mux(beyond, most, rounded), _KEPT + 1, "held")
        width = max(element.magnitude_width for element in self.elements)
        field = sized(m, Mux(normal, top - 1 - distance, 0), max(tops).bit_length(), "field", "Exponent field less one")
        widths = sorted({element.fraction_width for element in self.elements})
        moved: Value = Cat(Const(0, widths[-1]), field)
        for places_of in reversed(widths[:-1]):
            which = constant([int(e.fraction_width == places_of) for e in self.elements], 1)
            moved = Mux(which, Cat(Const(0, places_of), field), moved)
        magnitude = sized(m, moved + rounded, width, "magnitude", "Code without its sign")
        kept = sized(m, ~self.clear & x.exponent.any(), 1, "kept", "The value is not zero, nor the block")
        code: Value = magnitude & kept.replicate(width)
        # Signs of zeros count, but not those of a block that is cleared.
        sign = x.sign & ~self.clear
        signs = constant([1 << element.magnitude_width for element in self.elements], len(self.code))
        m.d.comb += self.code.eq(code | (signs & sign.replicate(len(self.code))))
        return m

    def _rounded(self, m: Module, x: Fields, places: Value) -> Signal:
        """The significand cut by ``places`` beyond the longest one, and rounded to nearest, ties to even."""
        significand = Cat(x.fraction, Const(1, 1))
        first = len(significand) - _KEPT
        low = sized(m, any_bit(significand[: first - 1]), 1, "low", "Bits below all that may be rounded")
        kept, guard, sticky = Signal(_KEPT), Signal(), Signal()
        below: Value = low
        with m.Switch(places):
            for cut in range(_KEPT + 1):
                with m.Case(cut):
                    m.d.comb += [
                        kept.eq(significand[first + cut :]), guard.eq(significand[first + cut - 1]), sticky.eq(below)
                    ]  # fmt: skip
                below = sized(m, below | significand[first + cut - 1], 1, f"below_{cut}")
        return sized(m, kept + (guard & (sticky | kept[0])), _KEPT + 1, "rounded")


class ElementPath(QuantiserPath):
    """Blocks of values to codes and an E8M0 scale byte; ports: :class:`QuantiserPath`, and

    element : in; only with several formats
        Which of them the block takes, counted as they are listed.

    Parameters
    ----------
    fmt : ValueFormat
    elements : sequence of MiniFloat
    block_size : int
    scale_rule : str
        One of :data:`hwsim.rtl.quantise.power_of_two.CARRIES` but ``oas``.
    pipeline : str
        ``maximum`` for a register behind the largest exponent, or ``none``.
    """

    def __init__(
        self, fmt: ValueFormat, elements: Sequence[MiniFloat], block_size: int, scale_rule: str, pipeline: str
    ):
        lane = ElementLane(fmt, elements, scale_rule not in _BOUNDED)
        super().__init__(fmt, block_size, len(lane.code), Pipeline(("maximum",), pipeline), element_port(elements))
        self.elements = tuple(elements)
        self.parts = {
            "quantise_maximum": ReferenceExponent(fmt, block_size, scale_rule, False, elements=elements),
            "quantise_scale": PowerOfTwoScale(elements, carries=has_carry(scale_rule)),
            "quantise_lane": lane,
        }

    def results(self, m: Module, registers: Registers, inputs: dict[str, Value]) -> dict[str, Value]:
        element = inputs.get("element")
        late, scale, highest, clear = scaled(m, self, registers, inputs["x"], element)
        chosen = {} if element is None else {"element": registers.at("maximum", element, "element_late")}
        codes = []
        for i in range(self.block_size):
            code = Signal(len(self.parts["quantise_lane"].code), name=f"code_{i}")
            x = late.word_select(i, self.fmt.width)
            instantiate(m, self, "quantise_lane", f"lane_{i}", x=x, highest=highest, clear=clear, code=code, **chosen)
            codes.append(code)
        return {"codes": Cat(*codes), "scale": scale}
