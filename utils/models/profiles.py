"""Which models stand behind the roles: profile `local`, `hub` or `tiny`.

| role | local | hub | tiny |
|---|---|---|---|
| language | SmolLM2-135M-Instruct | gpt2-small (also gemma-2-2b) | tiny_story_4l |
| story | tiny_story_1l | tiny-stories-1L-21M | tiny_story_1l |
| attention_only | tiny_attn_only_2l | attn-only-2l-demo (also attn-only-2l) | tiny_attn_only_2l |
| othello | tiny_othello | othello-gpt | tiny_othello |
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch

from utils.course import ARTIFACTS
from utils.models.loaded import Loaded
from utils.models.sae import Entry, Sae, entries, load_sae
from utils.models.tiny import ModelMissing, load_tiny

Profile = Literal["local", "hub", "tiny"]
PROFILES = get_args(Profile)
OURS = {"story": "tiny_story_1l", "attention_only": "tiny_attn_only_2l", "othello": "tiny_othello"}
# the first name of each role is the one that is taken
MODELS: dict[str, dict[str, tuple[str, ...]]] = {
    "local": {"language": ("smollm2",), **{role: (name,) for role, name in OURS.items()}},
    "tiny": {"language": ("tiny_story_4l",), **{role: (name,) for role, name in OURS.items()}},
    "hub": {
        "language": ("gpt2-small", "gemma-2-2b"),
        "story": ("tiny-stories-1L-21M",),
        "attention_only": ("attn-only-2l-demo", "attn-only-2l"),
        "othello": ("othello-gpt",),
    },
}


def profile(name: str | None = None) -> Profile:
    """The profile: the argument, else COURSE_PROFILE, else `local`."""
    chosen = name or os.environ.get("COURSE_PROFILE") or "local"
    for known in PROFILES:
        if chosen == known:
            return known
    raise ValueError(f"there is no profile {chosen!r}: choose {', '.join(PROFILES)}")


def describe(loaded: Loaded, saes: Sequence[Sae]) -> str:
    """What a notebook works with: the profile, the model, and each SAE's place and size."""
    chosen = loaded.profile or profile()
    lines = [f"profile {chosen}: {loaded.name}, {loaded.n_layers} layers, on {loaded.device}"]
    for sae in saes:
        where = sae.hook_in if not sae.is_transcoder else f"{sae.hook_in} to {sae.hook_out}"
        lines.append(f"{sae.kind} SAE at {where}: {sae.n_latents:,} latents")
    return "\n".join(lines)


def artifacts() -> Path:
    """Where the course's trained weights lie; COURSE_ARTIFACTS names another folder."""
    return Path(os.environ.get("COURSE_ARTIFACTS") or ARTIFACTS)


def model_name(role: str, chosen: Profile, name: str | None = None) -> str:
    """The name of the model behind a role; `name` must be one that the role offers."""
    offered = MODELS[chosen][role]
    if name is not None and name not in offered:
        raise ValueError(
            f"profile {chosen} offers {', '.join(offered)} for this role, not {name!r}"
        )
    return name or offered[0]


def load_model(role: str, chosen: Profile, name: str | None, device: str | torch.device) -> Loaded:
    """The model behind a role."""
    name = model_name(role, chosen, name)
    if chosen == "hub":
        from utils.models import hub

        found = hub.load(name, device)
    elif name == "smollm2":
        from utils.models import smollm2

        found = smollm2.load(device=device)
    else:
        model = load_tiny(artifacts() / name, device)
        found = Loaded(model, model.tokenizer, name)
    return replace(found, profile=chosen)


def load_saes(
    role: str,
    kind: str,
    chosen: Profile,
    layers: list[int | None],
    width: int | None,
    name: str | None,
    device: str | torch.device,
) -> list[Sae]:
    """SAEs of one kind for the model behind a role, one per layer; None is the default layer."""
    name = model_name(role, chosen, name)
    if chosen == "hub":
        from utils.models import hub

        if width is not None:
            raise ValueError("the hub's SAEs have one width here: leave `width` out")
        return [hub.load_sae(name, kind, layer, device) for layer in layers]
    folder = artifacts() / name
    found = [entry for entry in entries(folder) if entry.kind == kind]
    width = common_width(found, layers) if width is None else width
    return [load_sae(choose(found, folder, kind, layer, width).folder, device) for layer in layers]


def common_width(found: list[Entry], layers: list[int | None]) -> int | None:
    """The largest width that all of several layers have: a set is of one width where it can be."""
    asked = {layer for layer in layers if layer is not None}
    if len(asked) < 2:
        return None
    widths = [{e.n_latents for e in found if e.layer == layer} for layer in asked]
    return max(set.intersection(*widths), default=None)


def choose(
    found: list[Entry], folder: Path, kind: str, layer: int | None, width: int | None
) -> Entry:
    """The entry of a layer (default: the middle one of the widest) and a width (the widest)."""
    if not found:
        raise ModelMissing(
            f"there is no {kind} SAE under {folder}: take it from the course (git checkout"
            " artifacts), or train it again (make artifacts; SmolLM2's: make saes)"
        )
    widest = width or max(entry.n_latents for entry in found)
    layers = sorted({entry.layer for entry in found if entry.n_latents == widest})
    layers = layers or sorted({entry.layer for entry in found})
    layer = layers[len(layers) // 2] if layer is None else layer
    here = [entry for entry in found if entry.layer == layer]
    fits = [entry for entry in here if width in (None, entry.n_latents)]
    if not fits:
        has = ", ".join(f"layer {e.layer} with {e.n_latents} latents" for e in here or found)
        wanted = f"layer {layer}" + (f" with {width} latents" if width else "")
        raise ModelMissing(f"{folder.name} has no {kind} SAE for {wanted}; it has {has}")
    return fits[-1]
