"""M2XFP's metadata in a dot product: what they add to the largest activation of a subgroup, its refinement."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Value

from hwsim.rtl.arith import sized

#: Elements of a subgroup; subgroups of a block.
ELEMENTS, SUBGROUPS = 8, 4
BLOCK = ELEMENTS * SUBGROUPS
METADATA_WIDTH = 2
#: Bits of a refinement: which element (one-hot), log2 of what is added, and its sign; see :func:`refinement`.
REFINEMENT_WIDTH = ELEMENTS + 3
#: Sign and magnitude of an operand in eighths, at most 56.
FINE_WIDTH = 7


def top1(m: Module, magnitudes: Sequence[Value], name: str) -> tuple[Value, Value]:
    """The largest code and its position, one-hot, the lowest among equals. A tree of comparisons."""
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
    """Refinement of the largest element of a subgroup: the ``+-2**n`` eighths that its metadata add.

    The E2M3 code ``4 * code + metadata - 1`` lies one step below, at, or one or two steps above the element's own E2M1
    value. A step is a power of two, so that a shift multiplies by the difference.

    Returns
    -------
    Bits 0 to 7: which element, none if nothing is added. Bits 8 and 9: n. Bit 10: the sign of what is added.
    """
    code, places = top1(m, [c[:-1] for c in codes], name)
    sign = Cat(*(c[-1] for c in codes)) & places
    one, two = ~metadata[0] & metadata[1], metadata[0] & metadata[1]
    down = ~metadata[0] & ~metadata[1]
    # log2 of the step above the code; going down from a power of two, of the smaller step below it.
    step = Mux(down, Mux(code == 7, 2, code >= 5), Mux(code[2], 1 + code[1], 0))
    places = places & (one | two | (down & code.any())).replicate(ELEMENTS)
    exponent = sized(m, step + two, 2, f"{name}_exponent")
    return Cat(places, exponent, sign.any() ^ down)
