"""Work: lists of GEMMs, from SCALE-Sim's CSV or from the shapes of a language model."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.base.errors import InputError
from hwsim.base.text import unknown

#: What B is: weights; the weights of an expert; keys or values of the cache.
KINDS = ("weight", "expert", "attention")
#: Seed of the draw that tells which tokens go to which experts.
SEED = 1
#: Where the shapes of models are.
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class GEMM:
    """``D[M, N] = A[M, K] B[N, K]^T``: A activations; B weights, or keys or values of the cache.

    Parameters
    ----------
    name : str
    m, n, k : int
    count : int
        How often it occurs in the work.
    kind : str
        One of :data:`KINDS`.
    quantised : int
        Elements of A that an engine quantises for it: none where an earlier GEMM has the same A.
    feeds : bool
        Whether an engine can quantise D on its way out, because the next GEMM multiplies what becomes of it.
    """

    name: str
    m: int
    n: int
    k: int
    count: int = 1
    kind: str = "weight"
    quantised: int = 0
    feeds: bool = True

    def __post_init__(self) -> None:
        for key in ("m", "n", "k", "count"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{self.name}: {key.upper() if key != 'count' else key} must be a positive whole "
                                 f"number, got {value!r}")  # fmt: skip
        if self.kind not in KINDS:
            raise InputError(f"{self.name}: kind must be {', '.join(KINDS)}, got {self.kind!r}")

    @property
    def multiply_adds(self) -> int:
        """Of one occurrence, without padding."""
        return self.m * self.n * self.k


@dataclass(frozen=True)
class Model:
    """Shapes of a decoder-only language model.

    Parameters
    ----------
    name : str
    hidden, heads, kv_heads, head_dim, vocabulary : int
    intermediate : int
        Width of the dense feed-forward network; 0: there is none.
    attention_layers, dense_layers, moe_layers, mamba_layers : int
        Layers that have each part.
    gated : bool
        Whether feed-forward networks have a gate beside the way up.
    tied : bool
        Whether the head is the embedding.
    experts, active, expert_intermediate, shared_intermediate : int
        Experts of a layer, how many a token goes to, their width, and that of the expert that all tokens go to.
    mamba_in, mamba_out : int
        N of the projection into, and K of that out of, a state-space layer, whose recurrence is not a GEMM.
    """

    name: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    intermediate: int
    attention_layers: int
    dense_layers: int
    moe_layers: int = 0
    mamba_layers: int = 0
    gated: bool = True
    tied: bool = False
    experts: int = 0
    active: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0
    mamba_in: int = 0
    mamba_out: int = 0

    @property
    def embedding_parameters(self) -> int:
        """Of the embedding and the head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def linear_parameters(self) -> int:
        """Of all linear layers but the head."""
        wide = (1 + self.gated) * self.hidden + self.hidden
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        moe = self.hidden * self.experts + wide * (self.experts * self.expert_intermediate + self.shared_intermediate)
        return (
            self.attention_layers * attention + self.dense_layers * wide * self.intermediate + self.moe_layers * moe
            + self.mamba_layers * self.hidden * (self.mamba_in + self.mamba_out)
        )  # fmt: skip

    def gemms(self, phase: str, batch: int, context: int, histogram: Mapping[int, int] | None = None) -> list[GEMM]:
        """The GEMMs of a phase.

        Grouped attention stacks the heads that share keys and values in M. The head runs once, on the last token of
        every sequence. Experts are as many GEMMs as there are, each with its own tokens.

        Parameters
        ----------
        phase : str
            ``prefill``: all tokens of ``batch`` prompts of ``context`` tokens; ``decode``: one token of every
            sequence, with ``context`` tokens in the cache.
        batch, context : int
        histogram : mapping of int to int, optional
            Tokens of an expert, and how many experts of a layer have so many; by default, a uniform draw with
            `SEED`.

        Raises
        ------
        InputError
            For another phase, or numbers that are not positive.
        """
        if phase not in ("prefill", "decode"):
            raise InputError(f"phase must be prefill or decode, got {phase!r}")
        for name, value in (("batch", batch), ("context", context)):
            if value < 1:
                raise InputError(f"{name} must be positive, got {value}")
        tokens = batch * context if phase == "prefill" else batch
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        gemms: list[GEMM] = []

        def add(name: str, m: int, n: int, k: int, count: int, kind: str = "weight", first: bool = True) -> None:
            if count and n:
                # Queries, keys and values stay in BF16, for attention; a gate waits for the way up.
                feeds = name.rpartition("_")[2] in ("o", "up", "down", "pv", "out")
                gemms.append(GEMM(name, m, n, k, count, kind, m * k if first else 0, feeds))

        layers = self.attention_layers
        add("q", tokens, q, self.hidden, layers)
        add("k", tokens, kv, self.hidden, layers, first=False)
        add("v", tokens, kv, self.hidden, layers, first=False)
        stacked = (context if phase == "prefill" else 1) * self.heads // self.kv_heads
        add("qk", stacked, context, self.head_dim, layers * self.kv_heads * batch, "attention")
        add("pv", stacked, self.head_dim, context, layers * self.kv_heads * batch, "attention")
        add("o", tokens, self.hidden, q, layers)
        if self.dense_layers:
            self._feed_forward(add, "", tokens, self.intermediate, self.dense_layers, "weight")
        if self.moe_layers:
            add("router", tokens, self.experts, self.hidden, self.moe_layers)
            drawn = histogram or uniform_histogram(tokens, self.experts, self.active)
            for of_expert, experts in sorted(drawn.items()):
                if of_expert:
                    self._feed_forward(
                        add, "expert_", of_expert, self.expert_intermediate, experts * self.moe_layers, "expert"
                    )
            if self.shared_intermediate:
                self._feed_forward(add, "shared_", tokens, self.shared_intermediate, self.moe_layers, "weight")
        add("mamba_in", tokens, self.mamba_in, self.hidden, self.mamba_layers)
        add("mamba_out", tokens, self.hidden, self.mamba_out, self.mamba_layers)
        add("lm_head", batch, self.vocabulary, self.hidden, 1)
        return gemms

    def _feed_forward(self, add: Any, prefix: str, tokens: int, width: int, count: int, kind: str) -> None:
        if self.gated:
            add(f"{prefix}gate", tokens, width, self.hidden, count, kind)
        add(f"{prefix}up", tokens, width, self.hidden, count, kind, first=not self.gated)
        add(f"{prefix}down", tokens, self.hidden, width, count, kind)


def uniform_histogram(tokens: int, experts: int, active: int) -> dict[int, int]:
    """How many experts get how many tokens, if every token draws ``active`` different ones at random, seed `SEED`.

    The mean, rounded, would not do: experts with few tokens fill tiles badly.
    """
    rng = np.random.default_rng(SEED)
    got = np.zeros(experts, int)
    for _ in range(tokens):
        got[rng.choice(experts, active, replace=False)] += 1
    return {int(n): int(c) for n, c in sorted(Counter(got.tolist()).items())}


def shipped() -> list[str]:
    """Names of the models that the package knows."""
    return sorted(path.stem for path in MODELS.glob("*.json"))


def model(name: str | Path) -> Model:
    """A model by its name, or by the path of its Hugging Face ``config.json``.

    Raises
    ------
    InputError
        For an unknown name, an unreadable file, or an architecture that is not known.
    """
    path = Path(name)
    if path.suffix == ".json":
        if not path.exists():
            raise InputError(f"--model: {path} does not exist")
    elif path.is_dir() and (path / "config.json").exists():
        path = path / "config.json"
    elif str(name).lower() in shipped():
        path = MODELS / f"{str(name).lower()}.json"
    else:
        raise InputError(unknown("model", str(name), shipped()))
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a JSON file that can be read: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected an object, got {type(config).__name__}")
    return _from_config(config, path)


#: Architectures, by ``model_type``.
_DENSE = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
_MOE = ("mixtral", "qwen3_moe", "qwen2_moe")
_HYBRID = ("nemotron_h",)


def _from_config(config: dict[str, Any], path: Path) -> Model:
    kind = config.get("model_type")
    if kind not in (*_DENSE, *_MOE, *_HYBRID):
        raise InputError(f"{path}: model_type must be one of {', '.join((*_DENSE, *_MOE, *_HYBRID))}, got {kind!r}")

    def number(*names: str, default: int | None = None) -> int:
        for name in names:
            value = config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{path}: {name} must be a whole number, got {value!r}")
            return value
        if default is None:
            raise InputError(f"{path}: {' or '.join(names)} is missing")
        return default

    hidden, heads, layers = number("hidden_size"), number("num_attention_heads"), number("num_hidden_layers")
    for name, value in (("hidden_size", hidden), ("num_attention_heads", heads), ("num_hidden_layers", layers)):
        if not value:
            raise InputError(f"{path}: {name} must be positive, got 0")
    kv_heads = number("num_key_value_heads", default=heads)
    if not kv_heads or heads % kv_heads:
        raise InputError(f"{path}: num_attention_heads ({heads}) must be a multiple of num_key_value_heads, "
                         f"got {kv_heads}")  # fmt: skip
    given: dict[str, Any] = {
        "hidden": hidden, "heads": heads, "kv_heads": kv_heads,
        "head_dim": number("head_dim", default=hidden // heads), "vocabulary": number("vocab_size"),
        "tied": bool(config.get("tie_word_embeddings", False)), "attention_layers": layers,
        "name": str(config.get("_name", path.parent.name if path.stem == "config" else path.stem)),
    }  # fmt: skip
    if kind in _DENSE:
        return Model(**given, intermediate=number("intermediate_size"), dense_layers=layers)
    experts: dict[str, Any] = {
        "experts": number("num_experts", "num_local_experts", "n_routed_experts"),
        "active": number("num_experts_per_tok"),
        "expert_intermediate": number("moe_intermediate_size", "intermediate_size"),
        "shared_intermediate": number("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
                                      default=0),
    }  # fmt: skip
    if not 0 < experts["active"] <= experts["experts"]:
        raise InputError(f"{path}: num_experts_per_tok must be 1 to {experts['experts']}, got {experts['active']}")
    if kind in _MOE:
        return Model(**given, **experts, intermediate=0, dense_layers=0, moe_layers=layers)
    pattern = str(config.get("hybrid_override_pattern", ""))
    counts = {letter: pattern.count(letter) for letter in "M*E-"}
    if len(pattern) != layers or sum(counts.values()) != layers:
        raise InputError(f"{path}: hybrid_override_pattern must have a letter of 'M*E-' for each of {layers} layers, "
                         f"got {pattern!r:.60}")  # fmt: skip
    inner = number("mamba_num_heads") * number("mamba_head_dim")
    states = 2 * number("n_groups") * number("ssm_state_size")
    return Model(
        **given | {"attention_layers": counts["*"]}, **experts, intermediate=number("intermediate_size"),
        dense_layers=counts["-"], moe_layers=counts["E"], mamba_layers=counts["M"], gated=False,
        mamba_in=2 * inner + states + number("mamba_num_heads"), mamba_out=inner,
    )  # fmt: skip


def read_csv(path: Path) -> list[GEMM]:
    """GEMMs of a CSV file as SCALE-Sim takes them: ``Layer, M, N, K,``, the trailing comma allowed, and, if the header
    says so, ``count`` and ``kind``.

    Raises
    ------
    InputError
        For a file that cannot be read, a wrong header, or a line that is no GEMM; its number is told.
    """
    try:
        with path.open(newline="") as file:
            lines = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(file), 1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {error}") from None
    lines = [(number, row[:-1] if row[-1] == "" else row) for number, row in lines if any(row)]
    if not lines:
        raise InputError(f"{path}: empty, expected a header: Layer, M, N, K")
    header = [cell.lower() for cell in lines[0][1]]
    if header[:4] != ["layer", "m", "n", "k"] or set(header[4:]) - {"count", "kind"}:
        raise InputError(f"{path}:{lines[0][0]}: expected the header Layer, M, N, K and perhaps count, kind; "
                         f"got {', '.join(lines[0][1])}")  # fmt: skip
    gemms = []
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise InputError(f"{path}:{number}: expected {len(header)} cells, got {len(row)}")
        cells = dict(zip(header, row, strict=True))
        try:
            sizes: dict[str, Any] = {name: int(cells[name]) for name in ("m", "n", "k", "count") if name in cells}
        except ValueError as error:
            raise InputError(f"{path}:{number}: M, N, K and count must be whole numbers: {error}") from None
        try:
            gemms.append(GEMM(cells["layer"], **sizes, kind=cells.get("kind", KINDS[0])))
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None
    if not gemms:
        raise InputError(f"{path}: no GEMM below the header")
    return gemms


def totals(gemms: Sequence[GEMM]) -> int:
    """Multiply-adds of all GEMMs, without padding."""
    return sum(g.count * g.multiply_adds for g in gemms)
