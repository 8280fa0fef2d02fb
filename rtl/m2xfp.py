"""M2XFP: metadata that refine the largest element of a subgroup, and multiply the sum of a weight's subgroup."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import E2M3, E8M0
from rtl.arith import sized
from rtl.hierarchy import registered

#: Elements of a subgroup; subgroups of a block.
ELEMENTS, SUBGROUPS = 8, 4
BLOCK = ELEMENTS * SUBGROUPS
METADATA_WIDTH = 2
#: A refinement: which element, the logarithm of how much, and whether it makes the product smaller.
REFINEMENT_WIDTH = ELEMENTS + 3
#: Sign and magnitude of an operand in eighths, at most 56.
FINE_WIDTH = 7


def top1(m: Module, magnitudes: Sequence[Value], name: str) -> tuple[Value, Value]:
    """The largest code and, one bit an element, where it stands: the lowest place of equals. A tree of comparisons."""
    level: list[tuple[Value, list[Value]]] = [(code, [Const(1, 1)]) for code in magnitudes]
    depth = 0
    while len(level) > 1:
        following: list[tuple[Value, list[Value]]] = []
        for i in range(0, len(level), 2):
            (low, low_places), (high, high_places) = level[i], level[i + 1]
            higher = sized(m, high > low, 1, f"{name}_higher_{depth}_{i // 2}")
            code = sized(m, Mux(higher, high, low), len(low), f"{name}_code_{depth}_{i // 2}")
            following.append((code, [p & ~higher for p in low_places] + [p & higher for p in high_places]))
        level, depth = following, depth + 1
    [(code, places)] = level
    return code, sized(m, Cat(*places), len(places), f"{name}_places")


def refinement(m: Module, codes: Sequence[Value], metadata: Value, name: str) -> Value:
    """What metadata add to the largest element of a subgroup: ``+-2**n`` eighths.

    The E2M3 code ``4 code + metadata - 1`` is a step below, at, a step or two steps above the element's own E2M1
    value; a step is a power of two, so that the difference never needs more than a shift.

    Returns
    -------
    Bits 0 to 7: which element, none if nothing is added. Bits 8 and 9: n. Bit 10: the sign of what is added.
    """
    code, places = top1(m, [c[:-1] for c in codes], name)
    sign = Cat(*(c[-1] for c in codes)) & places
    one, two = ~metadata[0] & metadata[1], metadata[0] & metadata[1]
    down = ~metadata[0] & ~metadata[1]
    # The step above the code; going down from a power of two, that below it.
    step = Mux(down, Mux(code == 7, 2, code >= 5), Mux(code[2], 1 + code[1], 0))
    places = places & (one | two | (down & code.any())).replicate(ELEMENTS)
    exponent = sized(m, step + two, 2, f"{name}_exponent")
    return Cat(places, exponent, sign.any() ^ down)


class M2XFPDecode(wiring.Component):
    """M2XFP activations: a block of E2M1 codes with metadata to operands in eighths.

    The largest element of each subgroup of 8 (the lowest of equals, whatever the signs) becomes the E2M3 number of
    code ``4 code + metadata - 1``, at least 0; the others keep their values. Registered at inputs and outputs: latency
    2 cycles, one block a cycle. ``rst`` clears the output registers.

    Source: M2XFP, arXiv 2601.19213, Algorithm 1.

    Parameters
    ----------
    registered : bool
        Without registers the unit is combinational and has neither ``clk`` nor ``rst``.

    Ports
    -----
    codes : in, 128 bits
        E2M1 codes, element 0 in the lowest bits.
    scale_code : in, 8 bits
        E8M0.
    metadata_code : in, 8 bits
        Two bits a subgroup, subgroup 0 in the lowest.
    operands : out, 7 bits an element
        Sign and magnitude; zero is +0 only.
    scale : out, 8 bits
    scale_nan : out, 1 bit
    """

    def __init__(self, registered: bool = True):
        if not isinstance(registered, bool | int) or registered not in (0, 1):
            raise ValueError(f"registered must be 0 or 1, got {registered!r}")
        super().__init__({
            "codes": In(BLOCK * 4),
            "scale_code": In(8),
            "metadata_code": In(SUBGROUPS * METADATA_WIDTH),
            "operands": Out(BLOCK * FINE_WIDTH),
            "scale": Out(8),
            "scale_nan": Out(1),
        })  # fmt: skip
        self.registered = bool(registered)

    @property
    def latency(self) -> int:
        """Cycles from inputs to outputs."""
        return 2 if self.registered else 0

    def elaborate(self, platform) -> Module:
        m = Module()
        codes, scale, metadata = self.codes, self.scale_code, self.metadata_code
        if self.registered:
            codes = registered(m, codes, "codes_q")
            scale = registered(m, scale, "scale_code_q")
            metadata = registered(m, metadata, "metadata_q")
        result = m.d.sync if self.registered else m.d.comb
        for group in range(SUBGROUPS):
            elements = [codes.word_select(group * ELEMENTS + i, 4) for i in range(ELEMENTS)]
            code, places = top1(m, [c[:-1] for c in elements], f"group_{group}")
            fine = self._fine(m, code, metadata.word_select(group, METADATA_WIDTH), group)
            for i, element in enumerate(elements):
                value = Mux(places[i], fine, _eighths(Cat(0, 0, element[:-1])))
                lane = group * ELEMENTS + i
                magnitude = sized(m, value, FINE_WIDTH - 1, f"magnitude_{lane}")
                result += self.operands.word_select(lane, FINE_WIDTH).eq(Cat(magnitude, element[-1] & magnitude.any()))
        result += [self.scale.eq(scale), self.scale_nan.eq(scale == E8M0.nan_code)]
        return m

    @staticmethod
    def _fine(m: Module, code: Value, metadata: Value, group: int) -> Signal:
        """The refined magnitude in eighths."""
        appended = Cat(metadata, code)
        biased = sized(m, Mux(appended.any(), appended - 1, 0), len(appended), f"fine_code_{group}")
        return sized(m, _eighths(biased), FINE_WIDTH - 1, f"fine_{group}")


def _eighths(code: Value) -> Value:
    """An E2M3 magnitude code as an integer."""
    fraction, exponent = code[: E2M3.fraction_width], code[E2M3.fraction_width :]
    return Mux(
        exponent[1],
        Mux(exponent[0], Cat(0, 0, fraction, 1), Cat(0, fraction, 1)),
        Cat(fraction, exponent[0]),
    )
