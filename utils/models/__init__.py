"""Models and SAEs by role: `language_model()`, `residual_sae()`, …

A section says what it needs, the profile says which model that is (`utils.models.profiles`):
`local` (default) needs neither a network nor a GPU, `hub` takes the field's published models,
`tiny` the course's own small ones. Choose with `profile=…` or COURSE_PROFILE. Every model comes
behind `TransformerBridge` with its parameters frozen; SAEs are put into it by `splice.spliced`.

Importing this package loads no model, and none of the libraries that hold models.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from utils.models.loaded import Loaded
    from utils.models.sae import Sae


def language_model(
    profile: str | None = None, name: str | None = None, device: "str | torch.device" = "cpu"
) -> "Loaded":
    """The language model of Part 3.2; `name` where the profile offers several."""
    return _model("language", profile, name, device)


def story_model(profile: str | None = None, device: "str | torch.device" = "cpu") -> "Loaded":
    """A one-layer model of short stories."""
    return _model("story", profile, None, device)


def attention_only_model(
    profile: str | None = None, name: str | None = None, device: "str | torch.device" = "cpu"
) -> "Loaded":
    """A two-layer model without MLPs, which does induction."""
    return _model("attention_only", profile, name, device)


def othello_model(profile: str | None = None, device: "str | torch.device" = "cpu") -> "Loaded":
    """A model of legal Othello games; it has no tokenizer."""
    return _model("othello", profile, None, device)


def residual_sae(
    layer: int | None = None,
    profile: str | None = None,
    name: str | None = None,
    width: int | None = None,
    device: "str | torch.device" = "cpu",
) -> "Sae":
    """An SAE on the language model's residual stream."""
    return _saes("language", "residual", profile, [layer], width, name, device)[0]


def attention_sae(
    layer: int | None = None,
    profile: str | None = None,
    name: str | None = None,
    width: int | None = None,
    device: "str | torch.device" = "cpu",
) -> "Sae":
    """An SAE on the language model's attention heads' outputs (z, heads side by side)."""
    return _saes("language", "attention", profile, [layer], width, name, device)[0]


def transcoders(
    layers: Sequence[int] | None = None,
    profile: str | None = None,
    name: str | None = None,
    width: int | None = None,
    device: "str | torch.device" = "cpu",
) -> "list[Sae]":
    """Transcoders of the language model's MLPs, one per layer; by default of one layer."""
    wanted: list[int | None] = [None] if layers is None else list(layers)
    return _saes("language", "transcoder", profile, wanted, width, name, device)


def sae_of(
    role: str,
    kind: str,
    layer: int | None = None,
    profile: str | None = None,
    name: str | None = None,
    width: int | None = None,
    device: "str | torch.device" = "cpu",
) -> "Sae":
    """An SAE of any role (`story`, `attention_only`, `othello`, `language`) and kind.

    Kinds are `residual`, `attention`, `mlp` and `transcoder`; on the hub there are `story`/`mlp`,
    `attention_only`/`attention` and `othello`/`mlp`.
    """
    return _saes(role, kind, profile, [layer], width, name, device)[0]


def _model(
    role: str, profile: str | None, name: str | None, device: "str | torch.device"
) -> "Loaded":
    from utils.models import profiles

    return profiles.load_model(role, profiles.profile(profile), name, device)


def _saes(
    role: str,
    kind: str,
    profile: str | None,
    layers: list[int | None],
    width: int | None,
    name: str | None,
    device: "str | torch.device",
) -> "list[Sae]":
    from utils.models import profiles

    chosen = profiles.profile(profile)
    return profiles.load_saes(role, kind, chosen, layers, width, name, device)
