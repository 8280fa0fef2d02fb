"""``reports/accuracy``: a language model in every recipe, from several runs of ``hwsim.accuracy``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hwsim.base.errors import InputError
from hwsim.base.files import replace_all
from hwsim.base.text import filled, markdown
from hwsim.synthesis import emit

#: Where the runs are looked for, in the build folder.
FOLDER = "accuracy"
#: Claims of papers on accuracy: better, worse, and in words.
CLAIMS = (
    ("mixfp4", "nvfp4", "MixFP4 is better than NVFP4"),
    ("mixfp4", "four_over_six", "MixFP4 is better than Four Over Six"),
    ("four_over_six", "nvfp4", "Four Over Six is better than NVFP4"),
    ("m2xfp", "mxfp4", "M2XFP is better than MXFP4"),
    ("m2xfp", "nvfp4", "M2XFP is better than NVFP4"),
    ("oas", "mxfp4_16", "OAS is better than MXFP4 with blocks of 16"),
    ("mbs_h", "oas", "MBS-H is better than OAS"),
    ("mbs_h", "nvfp4", "MBS-H is as good as NVFP4"),
    ("micromix", "mxfp8", "MicroMix is as good as MXFP8"),
)


def write(folder: Path, build: Path) -> list[Path]:
    """Put runs together and write ``accuracy.md`` and ``accuracy.json``.

    Raises
    ------
    InputError
        If there are no runs; the message says how to make them.
    """
    runs = sorted((build / FOLDER).glob("*.json"))
    if not runs:
        raise InputError(f"no runs in {build / FOLDER}: make some with python -m hwsim.accuracy MODEL.gguf --text FILE "
                         f"--seed N --json {build / FOLDER}/runN.json")  # fmt: skip
    document = {"made_by": emit.generator(), "runs": [json.loads(path.read_text()) for path in runs]}
    paths = {name: folder / f"accuracy.{name}" for name in ("md", "json")}
    replace_all({paths["md"]: to_text(document), paths["json"]: json.dumps(document, indent=1) + "\n"})
    return list(paths.values())


_TEXT = """\
# A language model in every recipe

Made by `python -m hwsim.report accuracy` from runs of `python -m hwsim.accuracy`; not edited by hand. All figures:
`accuracy.json`.

{made_by}. {model}, {tokens} tokens of {texts} in sequences of {length}, calibration on {calibration} others. Inputs
and weights of all linear layers but the head are quantised; tensor scales of activations are those of a sequence. In
FP32 the perplexity is {perplexity:.2f}.

{table}

*output*: signal over noise of a linear layer's output whose input is the FP32 model's, mean over all layers, and the
least; the same in every run but for the last digits. *NLL*: nats a token over FP32, with its standard error from the
paired differences of blocks of 128 tokens; one column a run{seeds}. *KL*: divergence of the predictions from FP32's.
*top-1*: how often the most likely token is FP32's.

Quantised inference is chaotic: codes at rounding boundaries flip with the last bit of their inputs, and layers behind
them amplify it. {spread} Differences below that say nothing; output errors do.

## Claims

| claim | output SQNR (dB) | NLL (nats a token) | here |
| --- | ---: | ---: | --- |
{claims}

*here*: by NLL; differences below two standard errors, or below what runs differ by, are not resolved. One model of this
size loses far more than those of the papers; compare orders, not amounts.
"""


_ONE_RUN = "One run does not show by how much; a few hundredths of a nat are usual for some thousand tokens."


def _mean(document: dict[str, Any], recipe: str, key: str) -> float:
    values = [r[key] for run in document["runs"] for r in run["recipes"] if r["recipe"] == recipe]
    return sum(values) / len(values)


def spread(document: dict[str, Any]) -> float:
    """The most by which the NLL of a recipe differs between runs."""
    first = document["runs"][0]["recipes"]
    each = [
        [r["over_fp32"] for run in document["runs"] for r in run["recipes"] if r["recipe"] == f["recipe"]]
        for f in first
    ]
    return max(max(values) - min(values) for values in each)


def claims(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Whether the published orders hold: differences of NLL and of output error, and what they say."""
    names = {r["recipe"] for r in document["runs"][0]["recipes"]}
    found = []
    apart = spread(document)
    for one, other, words in CLAIMS:
        if not {one, other} <= names:
            continue
        nll = _mean(document, one, "over_fp32") - _mean(document, other, "over_fp32")
        db = _mean(document, one, "output_db") - _mean(document, other, "output_db")
        error = math.hypot(_mean(document, one, "standard_error"), _mean(document, other, "standard_error"))
        limit = max(2 * error, apart)
        verdict = "not resolved" if abs(nll) < limit else "holds" if nll < 0 else "does not hold"
        found.append({"claim": words, "nll": nll, "error": error, "db": db, "verdict": verdict})
    return found


def to_text(document: dict[str, Any]) -> str:
    """The report for people."""
    runs = document["runs"]
    first = runs[0]
    rows = [["recipe", "bits W / A", "output (dB)", "least (dB)", "perplexity",
             *(f"NLL, run {i + 1}" for i in range(len(runs))), "+-", "KL", "top-1"]]  # fmt: skip
    names = sorted((r["recipe"] for r in first["recipes"]), key=lambda name: _mean(document, name, "over_fp32"))
    for name in names:
        # Not every run has all recipes.
        of_run = [next((r for r in run["recipes"] if r["recipe"] == name), None) for run in runs]
        one = of_run[0]
        assert one is not None, "names are those of the first run"
        rows.append([
            name, f"{one['weight_bits']:.2f} / {one['activation_bits']:.2f}",
            f"{_mean(document, name, 'output_db'):.1f}", f"{_mean(document, name, 'worst_db'):.1f}",
            f"{one['perplexity']:.1f}", *(f"{r['over_fp32']:+.3f}" if r else "" for r in of_run),
            f"{_mean(document, name, 'standard_error'):.3f}", f"{_mean(document, name, 'divergence'):.3f}",
            f"{100 * _mean(document, name, 'top1'):.1f} %",
        ])  # fmt: skip
    table_of_claims = "\n".join(
        f"| {c['claim']} | {c['db']:+.1f} | {c['nll']:+.3f} +- {c['error']:.3f} | {c['verdict']} |"
        for c in claims(document)
    )
    seeds = ", in which embeddings were changed by one part in a million" if len(runs) > 1 else ""
    text = _TEXT.format(
        made_by=document["made_by"], model=first["model"], tokens=first["tokens"], texts=" and ".join(first["texts"]),
        length=first["length"], calibration=first["calibration"], perplexity=math.exp(first["nll_fp32"]),
        table=markdown(rows, right=range(1, len(rows[0]))), claims=table_of_claims, seeds=seeds,
        spread=f"Runs here differ by up to {spread(document):.3f} nats a token." if len(runs) > 1 else _ONE_RUN,
    )  # fmt: skip
    return filled(text)
