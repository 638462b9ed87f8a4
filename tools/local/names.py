"""Which attention layer moves names: direct logit attribution on indirect-object prompts.

The final residual stream is the embedding plus what each layer's attention and MLP wrote. With the
last norm's scale s held at what it was, the logit difference is linear in it: a layer that wrote y
at the last position contributes (y · g / s) · (W_U[:, right] - W_U[:, repeated]), with g the norm's
gain. The contributions sum to the logit difference. (Where a norm also centres, y is centred;
biases of norm and unembedding are left out: this model has none.)
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils import files
from utils.models import ioi
from utils.models.loaded import Loaded
from utils.progress import track

STORIES = (
    "When {a} and {b} went to the store, {s} gave a drink to",
    "Then, {a} and {b} had a long argument, and afterwards {s} said to",
    "After {a} and {b} came home from school, {s} decided to give the book to",
)
ORDERS = (("{io}", "{s}"), ("{s}", "{io}"))  # ABBA and BABA
TEMPLATES = [story.replace("{a}", a).replace("{b}", b) for story in STORIES for a, b in ORDERS]


@dataclass(frozen=True)
class Contributions:
    """Mean over prompts of each part's share in the logit difference."""

    attention: Float[Tensor, " layer"]
    mlp: Float[Tensor, " layer"]
    embedding: float
    total: float  # the logit difference itself

    @property
    def layer(self) -> int:
        """The attention layer that contributes most."""
        return int(self.attention.argmax())


def asked() -> list[ioi.Prompt]:
    """Sixty prompts: three stories, the right name first or second, ten pairs of names."""
    return [prompt for template in TEMPLATES for prompt in ioi.prompts(template)]


@torch.no_grad()
def contributions(loaded: Loaded, prompts: list[ioi.Prompt]) -> Contributions:
    """Attribute the logit difference at the last position to the layers, averaged over prompts."""
    model, n = loaded.model, loaded.n_layers
    names = [loaded.hook(site, i) for i in range(n) for site in ("attn_out", "mlp_out")]
    first, scale = loaded.hook("resid_pre", 0), "ln_final.hook_scale"
    parts, totals = torch.zeros(2 * n + 1), []
    gain, W_U = model.ln_final.weight, model.W_U
    for prompt in track(prompts, "attributing"):  # one at a time: lengths differ
        tokens = model.to_tokens(prompt.text)
        logits, cache = model.run_with_cache(tokens, names_filter=[*names, first, scale])
        right, wrong = (model.to_single_token(name) for name in (prompt.io, prompt.s))
        towards = gain * (W_U[:, right] - W_U[:, wrong]) / cache[scale][0, -1]
        written = torch.stack([cache[name][0, -1] for name in [*names, first]])
        if str(model.cfg.normalization_type).startswith("LN"):
            written = written - written.mean(dim=1, keepdim=True)
        parts += (written @ towards).cpu()
        totals.append(float(logits[0, -1, right] - logits[0, -1, wrong]))
    parts = parts / len(prompts)
    total = sum(totals) / len(totals)
    return Contributions(parts[:-1:2], parts[1:-1:2], float(parts[-1]), total)


def write_table(loaded: Loaded, file: Path, prompts: list[ioi.Prompt]) -> dict[str, Any]:
    """Find the layer and keep the table; one that is there is taken as it is."""
    if file.exists():
        return json.loads(file.read_text())
    found = contributions(loaded, prompts)
    table = {
        "what": "share of each layer in the logit difference (right name less repeated one) on "
        f"{len(prompts)} indirect-object prompts, by direct logit attribution (tools/local/names)",
        "model": loaded.name,
        "layer": found.layer,
        "logit_difference": round(found.total, 4),
        "embedding": round(found.embedding, 4),
        "attention": [round(x, 4) for x in found.attention.tolist()],
        "mlp": [round(x, 4) for x in found.mlp.tolist()],
    }
    files.write(file, json.dumps(table, indent=1) + "\n")
    return table
