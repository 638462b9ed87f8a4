"""Dashboards as one JSON file.

    about     model, SAE, text, settings, and what the numbers are in
    vocab     texts of the tokens that occur; everywhere below a token is an index into it
    ids       their numbers in the model's vocabulary
    latents   a list, in the order asked for; of each:
      index, n_active (tokens), n_rows, density [estimate, low, high] (Wilson, 95 %),
      largest, mean, std (of the activation where it is active)
      histogram    {width, counts}: bins from 0 upwards
      logits       null, or {top, bottom: [token, weight]…, low, high, counts, std, skew, kurtosis}
      enriched     [token, active, seen, log10 of the corrected p]…
      correlated, cosine                   [latent, r or cosine]…
      inputs, outputs                      [coordinate, r], [coordinate, weight]…
      heads        null, or the share of each head in the decoder row
      groups       {kind: strongest | interval | quantile, low, high, n, examples}: indices into
      examples     {row, pos, start, tokens, acts}; where measured, by token: direct, full (change
                   of the loss on the next token in nats, latent set to 0), sources, outside, heads

Numbers have four significant digits; null is "unknown".
"""  # fmt: skip

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils import files
from utils.dashboards.result import Dashboards, Example, Group, Latent, Partner
from utils.dashboards.weights import LogitWeights

FORMAT = "dashboards 1"


def short(value: Any) -> Any:
    """Four significant digits, whole numbers as such; also in lists."""
    if isinstance(value, (list, tuple)):
        return [short(x) for x in value]
    if not isinstance(value, float):
        return value
    found = float(f"{value:.4g}")
    return int(found) if found.is_integer() and abs(found) < 1e15 else found


def as_data(dashboards: Dashboards) -> dict[str, Any]:
    """The data of the file, as lists and dictionaries."""
    told = Counter(t for latent in dashboards.latents for e in latent.examples for t in e.tokens)
    ids = sorted(dashboards.vocab, key=lambda i: (-told[i], i))  # short numbers for frequent ones
    place = {token: i for i, token in enumerate(ids)}
    names = ("model", "kind", "hook_in", "hook_out", "n_latents", "n_rows", "n_tokens", "n_pos")
    about = {name: getattr(dashboards, name) for name in (*names, "n_vocab_seen", "partners")}
    return {
        "about": {"format": FORMAT, **about, "settings": asdict(dashboards.settings)},
        "vocab": [dashboards.vocab[i] for i in ids],
        "ids": ids,
        "latents": [_latent(latent, place) for latent in dashboards.latents],
    }


def as_json(dashboards: Dashboards) -> str:
    """The file's text."""
    return json.dumps(as_data(dashboards), ensure_ascii=False, separators=(",", ":"))


def write_data(dashboards: Dashboards, path: str | Path) -> Path:
    """Write the file, whole or not at all."""
    files.write(Path(path), as_json(dashboards) + "\n")
    return Path(path)


def _latent(latent: Latent, place: dict[int, int]) -> dict[str, Any]:
    """One latent."""
    names = ("index", "n_active", "n_rows", "largest", "mean", "std", "heads")
    told = {name: short(getattr(latent, name)) for name in names}
    told["density"] = short([latent.density, latent.density_low, latent.density_high])
    told["histogram"] = {"width": latent.bin_width, "counts": latent.histogram}
    told["logits"] = _logits(latent.logits, place)
    told["enriched"] = [
        [place[e.token], e.active, e.seen, round(e.log10_p, 2)] for e in latent.enriched
    ]
    told |= {"correlated": _pairs(latent.correlated), "cosine": _pairs(latent.cosine)}
    told["inputs"] = _pairs(latent.inputs_correlated)
    told["outputs"] = _pairs(latent.outputs_aligned)
    told["groups"] = [_group(group) for group in latent.groups]
    told["examples"] = [_example(example, place) for example in latent.examples]
    return told


def _pairs(partners: list[Partner]) -> list[list[float]]:
    return [[p.index, short(p.value)] for p in partners]


def _group(group: Group) -> dict[str, Any]:
    return {**vars(group), "low": short(group.low), "high": short(group.high)}


def _logits(logits: LogitWeights | None, place: dict[int, int]) -> dict[str, Any] | None:
    if logits is None:
        return None
    told = {name: short(value) for name, value in vars(logits).items()}
    for name in ("top", "bottom"):
        told[name] = [[place[token], short(value)] for token, value in getattr(logits, name)]
    return told


def _example(example: Example, place: dict[int, int]) -> dict[str, Any]:
    told: dict[str, Any] = {"row": example.row, "pos": example.pos, "start": example.start}
    told["tokens"] = [place[token] for token in example.tokens]
    told["acts"] = short(example.activations)
    for name in ("direct", "full", "sources", "outside", "heads"):
        if getattr(example, name) is not None:
            told[name] = rounded(getattr(example, name))
    return told


def rounded(value: Any, digits: int = 5) -> Any:
    """Some digits behind the point: what is smaller is rounding of the model's."""
    if isinstance(value, list):
        return [rounded(x, digits) for x in value]
    return value if value is None else short(round(value, digits))
