"""What recipes do to a language model: error of the outputs of its linear layers, and of what it predicts."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import golden
from hwsim.base import text
from hwsim.golden.recipes import Recipe, scaled_product
from hwsim.golden.tensor import BlockTensor
from hwsim.layers.llama import Llama, log_probabilities
from hwsim.tensors.products import sqnr_db

#: Tokens whose losses are averaged before their spread is taken: neighbours are not independent.
BLOCK = 128


@dataclass
class Losses:
    """Of every scored token: negative log-likelihood in nats, divergence from FP32, whether FP32 predicts the same."""

    nll: list[np.ndarray] = field(default_factory=list)
    divergence: list[np.ndarray] = field(default_factory=list)
    agrees: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Accuracy:
    """Figures of a recipe.

    Attributes
    ----------
    recipe : str
    weight_bits, activation_bits : float
        Mean over the linear layers' elements, padding counted.
    output_db, worst_db : float
        Signal over noise of the outputs of linear layers whose inputs are those of the FP32 model: mean and least.
    worst : str
        The layer with the least.
    nll : float
        Nats a token.
    over_fp32, standard_error : float
        How much larger than in FP32, and the paired standard error of that.
    divergence : float
        Kullback-Leibler divergence of the predictions from those in FP32, nats a token.
    top1 : float
        Share of places at which FP32's most likely token is the same.
    """

    recipe: str
    weight_bits: float
    activation_bits: float
    output_db: float
    worst_db: float
    worst: str
    nll: float
    over_fp32: float
    standard_error: float
    divergence: float
    top1: float

    @property
    def perplexity(self) -> float:
        """Of the text."""
        return math.exp(self.nll)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"perplexity": self.perplexity}


class Quantised:
    """Linear layers of a model in a recipe, for :meth:`Llama.logits`.

    Parameters
    ----------
    model : Llama
    recipe : Recipe
    assignments : mapping of str to options
        What calibration gave, by the first weight of each group that shares its input; empty where nothing is
        calibrated.
    exact : bool
        Whether to multiply through ``golden.mma``; otherwise in FP32.
    """

    def __init__(self, model: Llama, recipe: Recipe, assignments: dict[str, dict[str, Any]], exact: bool):
        self.model, self.recipe, self.exact, self.assignments = model, recipe, exact, assignments
        self.weights: dict[str, BlockTensor] = {}
        self.decoded: dict[str, np.ndarray] = {}
        self.bits = np.zeros(3)

    def _quantised(self, x: np.ndarray, system: str, group: str) -> BlockTensor:
        options = {**self.recipe.options, **self.assignments.get(group, {})}
        return golden.quantize(self.recipe.padded(x), system, **options)

    def _weight(self, name: str, group: str) -> BlockTensor:
        if name not in self.weights:
            stored = self.model.weight(name)
            t = self._quantised(stored, self.recipe.weights, group)
            padded = t.codes.shape[1] / stored.shape[1]
            a_bits = golden.quantize(
                np.zeros((1, t.codes.shape[1]), np.float32), self.recipe.activations,
                **self.recipe.options, **self.assignments.get(group, {}),
            ).bits_per_element  # fmt: skip
            self.bits += stored.size * np.array([1.0, padded * t.bits_per_element, padded * a_bits])
            self.weights[name] = t
            self.decoded[name] = golden.dequantize(t)[:, : stored.shape[1]]
        return self.weights[name]

    def __call__(self, names: tuple[str, ...], x: np.ndarray) -> list[np.ndarray]:
        """Outputs of layers that share an input."""
        x = np.ascontiguousarray(x, np.float32)
        activations = self._quantised(x, self.recipe.activations, names[0])
        weights = [self._weight(name, names[0]) for name in names]
        if self.exact:
            return [scaled_product(activations, w) for w in weights]
        values = golden.dequantize(activations)[:, : x.shape[1]]
        return [values @ self.decoded[name].T for name in names]


def calibrated(model: Llama, recipe: Recipe, samples: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
    """Options that calibration on the activations of the FP32 model gives, by the first weight of each group.

    Parameters
    ----------
    model : Llama
    recipe : Recipe
    samples : sequence of int64 [tokens]
        Sequences of tokens.
    """
    if not recipe.is_calibrated:
        return {}
    inputs: dict[str, list[np.ndarray]] = {}

    def keep(names: tuple[str, ...], x: np.ndarray) -> list[np.ndarray]:
        inputs.setdefault(names[0], []).append(x)
        return model.in_fp32(names, x)

    for tokens in samples:
        model.logits(tokens, keep)
    return {name: recipe.calibrate(np.concatenate(parts).astype(np.float32)) for name, parts in inputs.items()}


def measure(
    model: Llama,
    recipes: Sequence[str],
    sequences: Sequence[np.ndarray],
    calibration: Sequence[np.ndarray],
    exact: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[float, list[Accuracy]]:
    """Negative log-likelihood of a text in FP32, and figures of every recipe.

    Parameters
    ----------
    model : Llama
    recipes : sequence of str
        Names in ``golden.RECIPES``.
    sequences : sequence of int64 [tokens]
        Every token but the first of each is scored. A tensor scale is that of a sequence.
    calibration : sequence of int64 [tokens]
        Other sequences, for recipes that are calibrated.
    exact : bool
        Whether linear layers multiply through ``golden.mma``.
    tell : callable (str)
        Told what is done.
    """
    with tempfile.TemporaryDirectory(prefix="hwsim-") as folder:
        # Predictions in FP32 are hundreds of megabytes a sequence.
        expected = []
        for i, tokens in enumerate(sequences):
            tell(f"FP32: sequence {i + 1} of {len(sequences)}")
            path = Path(folder) / f"{i}.npy"
            np.save(path, log_probabilities(model.logits(tokens, model.in_fp32)))
            expected.append(np.load(path, mmap_mode="r"))
        reference = [-p[np.arange(len(t) - 1), t[1:]] for p, t in zip(expected, sequences, strict=True)]
        found = []
        for name in recipes:
            recipe = golden.RECIPES[name]
            layers = Quantised(model, recipe, calibrated(model, recipe, calibration), exact)
            losses = Losses()
            for i, (tokens, wanted) in enumerate(zip(sequences, expected, strict=True)):
                tell(f"{name}: sequence {i + 1} of {len(sequences)}")
                _score(losses, log_probabilities(model.logits(tokens, layers)), wanted, tokens)
            outputs = output_errors(model, layers, sequences[0])
            worst = min(outputs, key=lambda layer: outputs[layer])
            over, error = paired(losses.nll, reference)
            finite = [v for v in outputs.values() if math.isfinite(v)]
            found.append(Accuracy(
                recipe=name, weight_bits=float(layers.bits[1] / layers.bits[0]),
                activation_bits=float(layers.bits[2] / layers.bits[0]),
                output_db=float(np.mean(finite)) if finite else math.inf, worst_db=outputs[worst], worst=worst,
                nll=float(np.concatenate(losses.nll).mean()), over_fp32=over, standard_error=error,
                divergence=float(np.concatenate(losses.divergence).mean()),
                top1=float(np.concatenate(losses.agrees).mean()),
            ))  # fmt: skip
        return float(np.concatenate(reference).mean()), found


def _score(losses: Losses, actual: np.ndarray, wanted: np.ndarray, tokens: np.ndarray) -> None:
    """Add what a sequence's predictions lose."""
    scored = actual[:-1]
    losses.nll.append(-scored[np.arange(len(tokens) - 1), tokens[1:]])
    divergence = []
    # Some places at a time: predictions are large.
    for first in range(0, len(scored), BLOCK):
        p = np.asarray(wanted[first : min(first + BLOCK, len(scored))])
        divergence.append((np.exp(p) * (p - scored[first : first + BLOCK])).sum(axis=1))
    losses.divergence.append(np.concatenate(divergence))
    losses.agrees.append(scored.argmax(axis=1) == np.asarray(wanted[:-1]).argmax(axis=1))


def paired(losses: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> tuple[float, float]:
    """Mean of the differences, and its standard error from the means of blocks of `BLOCK` tokens."""
    differences = [a - b for a, b in zip(losses, reference, strict=True)]
    blocks = [d[i : i + BLOCK].mean() for d in differences for i in range(0, len(d), BLOCK)]
    error = float(np.std(blocks, ddof=1) / math.sqrt(len(blocks))) if len(blocks) > 1 else math.nan
    return float(np.concatenate(differences).mean()), error


def output_errors(model: Llama, layers: Quantised, tokens: np.ndarray) -> dict[str, float]:
    """Signal over noise in dB of every linear layer's output, its input that of the FP32 model."""
    errors: dict[str, float] = {}

    def compared(names: tuple[str, ...], x: np.ndarray) -> list[np.ndarray]:
        wanted = model.in_fp32(names, x)
        for name, right, actual in zip(names, wanted, layers(names, x), strict=True):
            errors[name] = sqnr_db(right, actual)
        return wanted

    model.logits(tokens, compared)
    return errors


def table(nll: float, found: Sequence[Accuracy]) -> str:
    """The figures as a table, in the order of what is lost."""
    rows = [["recipe", "weight bits", "activation bits", "output SQNR (dB)", "worst (dB)", "in", "perplexity",
             "NLL over FP32", "+-", "divergence", "top-1 (%)"],
            ["FP32", "32", "32", "", "", "", f"{math.exp(nll):.2f}", "", "", "", ""]]  # fmt: skip
    for a in sorted(found, key=lambda a: a.over_fp32):
        rows.append([
            a.recipe, f"{a.weight_bits:.3f}", f"{a.activation_bits:.3f}", f"{a.output_db:.1f}", f"{a.worst_db:.1f}",
            a.worst, f"{a.perplexity:.2f}", f"{a.over_fp32:+.3f}", f"{a.standard_error:.3f}", f"{a.divergence:.3f}",
            f"{100 * a.top1:.1f}",
        ])  # fmt: skip
    return text.table(rows, right=(1, 2, 3, 4, 6, 7, 8, 9, 10))
