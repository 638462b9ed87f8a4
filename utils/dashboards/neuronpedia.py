"""Dashboards in the JSON form of SAEDashboard and Neuronpedia: files `batch-0.json`, …"""

import json
import re
from pathlib import Path
from typing import Any

from utils import files
from utils.dashboards.result import Dashboards, Example, Group, Latent, Partner

DECIMALS = 5
SIDE = 10  # tokens at either end of the logit weights


def write_neuronpedia(
    dashboards: Dashboards,
    folder: str | Path,
    sae_set: str = "course",
    suffix: str = "",
    dataset: str = "",
    batch: int = 128,
) -> list[Path]:
    """Write `batch` latents to a file; returns the files.

    Of an activation only the window shown is given, not the whole row. Left empty, since it is
    not kept here: `vector`. Latents that are dead have no activations. Further `batch-N.json` in
    the folder, of a larger run, are deleted: an upload of the folder would mix the two.
    """
    written = []
    for number, first in enumerate(range(0, len(dashboards.latents), batch)):
        features = [
            feature(latent, dashboards, dataset)
            for latent in dashboards.latents[first : first + batch]
        ]
        told = {
            "model_id": dashboards.model,
            "layer": layer_of(dashboards.hook_in),
            "sae_set": sae_set,
            "sae_id_suffix": suffix,
            "features": features,
        }
        written.append(Path(folder) / f"batch-{number}.json")
        files.write(written[-1], json.dumps(rounded(told), ensure_ascii=False) + "\n")
    for old in set(Path(folder).glob("batch-*.json")) - set(written):
        if re.fullmatch(r"batch-\d+\.json", old.name):
            old.unlink()
    return written


def layer_of(hook: str) -> int:
    """The block of a hook; −1 for the embedding."""
    parts = hook.split(".")
    return int(parts[1]) if parts[0] == "blocks" else -1


def rounded(value: Any) -> Any:
    """Every number with five decimals."""
    if isinstance(value, dict):
        return {key: rounded(x) for key, x in value.items()}
    if isinstance(value, list):
        return [rounded(x) for x in value]
    return round(value, DECIMALS) if isinstance(value, float) else value


def feature(latent: Latent, dashboards: Dashboards, dataset: str) -> dict[str, Any]:
    """One latent; the field's names."""
    rows = latent.outputs_aligned
    told = {
        "feature_index": latent.index,
        "neuron_alignment_indices": [p.index for p in rows],
        "neuron_alignment_values": [p.value for p in rows],
        "neuron_alignment_l1": [abs(p.value) / (latent.outputs_l1 or 1.0) for p in rows],
        **_correlated("neurons", latent.inputs_correlated),
        **_correlated("features", latent.correlated),
        **_logits(latent, dashboards.vocab),
        "frac_nonzero": latent.density,
        "freq_hist_data_bar_values": [
            (i + 0.5) * latent.bin_width for i in range(len(latent.histogram))
        ],
        "freq_hist_data_bar_heights": latent.histogram,
        "n_prompts_total": dashboards.n_rows,
        "n_tokens_in_prompt": dashboards.n_pos,
        "dataset": dataset,
        "decoder_weights_dist": latent.heads or [],
        "vector": [],
    }
    told["activations"] = [
        activation(latent.examples[i], group, latent, dashboards.vocab)
        for group in latent.groups
        if group.kind != "quantile"
        for i in group.examples
    ]
    return told


def _correlated(what: str, partners: list[Partner]) -> dict[str, Any]:
    """Pearson's r; what is called l1 there is the cosine of the activations."""
    return {
        f"correlated_{what}_indices": [p.index for p in partners],
        f"correlated_{what}_l1": [p.cosine or 0.0 for p in partners],
        f"correlated_{what}_pearson": [p.value for p in partners],
    }


def _logits(latent: Latent, vocab: dict[int, str]) -> dict[str, Any]:
    """Tokens at both ends and the histogram; empty where nothing reaches the residual stream."""
    names = ("neg_str", "neg_values", "pos_str", "pos_values")
    bars = ("logits_hist_data_bar_heights", "logits_hist_data_bar_values")
    found = latent.logits
    if found is None:
        return {name: [] for name in (*names, *bars)}
    ends = [pairs[:SIDE] for pairs in (found.bottom, found.top)]
    lists = [
        part for pairs in ends for part in ([vocab[t] for t, _ in pairs], [v for _, v in pairs])
    ]
    width = (found.high - found.low) / len(found.counts)
    middles = [found.low + (i + 0.5) * width for i in range(len(found.counts))]
    return dict(zip((*names, *bars), (*lists, found.counts, middles), strict=True))


def activation(
    example: Example, group: Group, latent: Latent, vocab: dict[int, str]
) -> dict[str, Any]:
    """One example: the strongest have −1 for their bin, others their share of active tokens."""
    is_top, at = group.kind == "strongest", example.pos - example.start
    told: dict[str, Any] = {
        "bin_min": -1.0 if is_top else group.low,
        "bin_max": -1.0 if is_top else group.high,
        "bin_contains": -1.0 if is_top else group.n / latent.n_active,
        "tokens": [vocab[token] for token in example.tokens],
        "values": example.activations,
        "qualifying_token_index": at,
    }
    if example.sources is not None:
        values = [value or 0.0 for value in example.sources]
        told["dfa_values"], told["dfa_maxValue"] = values, max(values)
        told["dfa_targetIndex"] = at
    return told
