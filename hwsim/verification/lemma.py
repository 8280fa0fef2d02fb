"""What a module of the RTL must do, for :mod:`hwsim.verification.lemma_proofs` to prove."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Lemma:
    """What a module must do.

    Attributes
    ----------
    module : str
        Name of the RTL module.
    claim : str
        What the module does, in words.
    file, top : str
        The specification: a file in ``hwsim/verification/specs``, and its top module.
    parameters : dict
        Verilog parameters of the specification.
    sum_of : str
        Output that must be the sum of the specification's terms; empty if the specification is a property.
    cases : list of dict
        Constants for some inputs, case by case: the solver is asked once per case. Together the cases cover all inputs.
    codes : str
        Text of ``mma_codes.vh``: see ``mma_operands.vh``.
    """

    module: str
    claim: str
    file: str
    top: str
    parameters: dict[str, int]
    sum_of: str = ""
    cases: list[dict[str, int]] = field(default_factory=lambda: [{}])
    codes: str = ""
