"""A language model of the Llama architecture from a GGUF file, in NumPy: every linear layer goes through a function.

Reading files and tokens is the work of the packages ``gguf`` and ``tokenizers`` (the extra ``accuracy``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.base.errors import InputError

#: ``linear(names, x)``: outputs of linear layers, by the names of their weights, that have the same input, float32
#: [tokens, K].
Linear = Callable[[tuple[str, ...], np.ndarray], list[np.ndarray]]

_ARCHITECTURE = "llama"
#: What splits text before byte pairs are merged, by the name that a GGUF file has for it.
_DIGITS_APART = ("smollm",)
_PLAIN = ("gpt-2", "default")


@dataclass(frozen=True, eq=False)
class Llama:
    """A model of the Llama architecture.

    Attributes
    ----------
    weights : dict of str to float32 array
        By their names in the file, decoded.
    layers, heads, kv_heads, head_dim : int
    rope_base, epsilon : float
    tokenizer : tokenizers.Tokenizer
    bos : int or None
        Token that every sequence begins with.
    """

    weights: dict[str, np.ndarray]
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_base: float
    epsilon: float
    tokenizer: Any
    bos: int | None

    @property
    def linears(self) -> list[str]:
        """Names of the weights of the linear layers, without the head."""
        parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        return [f"blk.{i}.{part}" for i in range(self.layers) for part in parts]

    def weight(self, name: str) -> np.ndarray:
        """Weights of a linear layer, float32 [N, K]."""
        return self.weights[f"{name}.weight"]

    def tokens(self, text: str) -> np.ndarray:
        """Tokens of a text, int64."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return np.array(ids, np.int64)

    def in_fp32(self, names: tuple[str, ...], x: np.ndarray) -> list[np.ndarray]:
        """Linear layers without quantisation."""
        return [x @ self.weight(name).T for name in names]

    def logits(self, tokens: np.ndarray, linear: Linear) -> np.ndarray:
        """Scores of the next token at every place of a sequence, float32 [tokens, vocabulary].

        Parameters
        ----------
        tokens : int64 [tokens]
        linear : callable
            Computes the linear layers; embedding, attention and head are in FP32.
        """
        x = self.weights["token_embd.weight"][tokens]
        turns = self._rope(len(tokens))
        for i in range(self.layers):
            block = f"blk.{i}"
            h = self._norm(x, f"{block}.attn_norm")
            q, k, v = linear((f"{block}.attn_q", f"{block}.attn_k", f"{block}.attn_v"), h)
            [attended] = linear((f"{block}.attn_output",), self._attention(q, k, v, turns))
            x = x + attended
            h = self._norm(x, f"{block}.ffn_norm")
            gate, up = linear((f"{block}.ffn_gate", f"{block}.ffn_up"), h)
            [down] = linear((f"{block}.ffn_down",), gate / (1 + np.exp(-gate)) * up)
            x = x + down
        head = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return self._norm(x, "output_norm") @ head.T

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        size = np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + np.float32(self.epsilon))
        return x / size * self.weights[f"{name}.weight"]

    def _rope(self, length: int) -> np.ndarray:
        """Turns of all places, complex64 [length, head_dim / 2]."""
        angles = self.rope_base ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        return np.exp(1j * np.outer(np.arange(length), angles)).astype(np.complex64)

    def _turned(self, x: np.ndarray, heads: int, turns: np.ndarray) -> np.ndarray:
        """Queries or keys with their places, float32 [heads, tokens, head_dim]. GGUF stores pairs side by side."""
        pairs = np.ascontiguousarray(x.reshape(len(x), heads, self.head_dim)).view(np.complex64)
        return np.ascontiguousarray((pairs * turns[:, None]).transpose(1, 0, 2)).view(np.float32)

    def _attention(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, turns: np.ndarray) -> np.ndarray:
        length, shared = len(q), self.heads // self.kv_heads
        queries, keys = self._turned(q, self.heads, turns), self._turned(k, self.kv_heads, turns)
        values = v.reshape(length, self.kv_heads, self.head_dim)
        future = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        out = np.empty((length, self.heads, self.head_dim), np.float32)
        scale = np.float32(self.head_dim**-0.5)
        for head in range(self.heads):
            scores = queries[head] @ keys[head // shared].T * scale + future
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[:, head] = scores @ values[:, head // shared] / scores.sum(axis=1, keepdims=True)
        return out.reshape(length, -1)


def shaken(model: Llama, seed: int) -> Llama:
    """The model with embeddings changed at random by one part in a million."""
    name, rng = "token_embd.weight", np.random.default_rng(seed)
    changed = model.weights[name] * (1 + 1e-6 * rng.standard_normal(model.weights[name].shape)).astype(np.float32)
    return replace(model, weights=model.weights | {name: changed})


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities of all tokens, float32 of the same shape."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def load(path: Path) -> Llama:
    """The model of a GGUF file.

    Raises
    ------
    InputError
        If the packages are missing, the file cannot be read, or it is of another architecture or kind of tokens.
    """
    try:
        import gguf
        from gguf.quants import dequantize
    except ImportError:
        raise InputError("reading GGUF needs the packages gguf and tokenizers: pip install 'hwsim[accuracy]'") from None
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: not a readable GGUF file ({error})") from None
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields.get("general.architecture") != _ARCHITECTURE:
        raise InputError(f"{path}: architecture must be {_ARCHITECTURE}, got {fields.get('general.architecture')!r}")
    heads = int(fields["llama.attention.head_count"])
    add_bos = fields.get("tokenizer.ggml.add_bos_token", False)
    weights = {t.name: np.asarray(dequantize(t.data, t.tensor_type), np.float32) for t in reader.tensors}
    return Llama(
        weights=weights,
        layers=int(fields["llama.block_count"]),
        heads=heads,
        kv_heads=int(fields.get("llama.attention.head_count_kv", heads)),
        head_dim=int(fields.get("llama.rope.dimension_count", fields["llama.embedding_length"] // heads)),
        rope_base=float(fields.get("llama.rope.freq_base", 10000.0)),
        epsilon=float(fields["llama.attention.layer_norm_rms_epsilon"]),
        tokenizer=_tokenizer(fields, path),
        bos=int(fields["tokenizer.ggml.bos_token_id"]) if add_bos else None,
    )


def _tokenizer(fields: dict[str, Any], path: Path) -> Any:
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers
    except ImportError:
        raise InputError("reading tokens needs the package tokenizers: pip install 'hwsim[accuracy]'") from None
    kind, split = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or split not in (*_DIGITS_APART, *_PLAIN):
        raise InputError(f"{path}: tokens must be byte pairs (gpt2) split as one of "
                         f"{', '.join((*_DIGITS_APART, *_PLAIN))}, got {kind!r} and {split!r}")  # fmt: skip
    vocabulary = {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if split in _DIGITS_APART else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def sequences(model: Llama, text: str, length: int, count: int, skip: int = 0) -> list[np.ndarray]:
    """Sequences of tokens of a text, one after the other; each begins with the model's first token, if it has one.

    Parameters
    ----------
    model : Llama
    text : str
    length, count : int
    skip : int
        Sequences left out at the beginning.

    Raises
    ------
    InputError
        If the text is too short.
    """
    tokens = model.tokens(text)
    own = length - (model.bos is not None)
    if len(tokens) < (skip + count) * own:
        raise InputError(f"--text: {(skip + count) * own} tokens are needed, {skip + count} sequences of {length}, the "
                         f"text has {len(tokens)}")  # fmt: skip
    parts = tokens[skip * own : (skip + count) * own].reshape(count, own)
    first: Sequence[int] = [] if model.bos is None else [model.bos]
    return [np.concatenate([np.array(first, np.int64), part]) for part in parts]
