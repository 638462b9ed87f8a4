"""The field's published models and SAEs (profile `hub`), behind the same interface.

Models of transformers are booted by name. Two models are published as plain state dictionaries
(utils/models/statedict.py). SAEs come from `sae_lens`' directory, or by repository where it has
none. SAEs were trained on a model as `HookedTransformer` processed it; `Published.processing`
says how, and without it their inputs would be shifted.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from utils.models.loaded import Loaded
from utils.models.sae import Sae, as_sae
from utils.models.wheel import ModelUnavailable

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

FOLDED = {"fold_ln": True, "center_writing_weights": True, "fold_value_biases": True}
CENTERED = {"fold_ln": False, "center_writing_weights": True, "center_unembed": False}


@dataclass(frozen=True)
class PublishedSae:
    """Where an SAE lies; `{layer}` in its id is filled in."""

    release: str  # a release of sae_lens' directory, or a repository
    sae_id: str
    layer: int  # taken where none is asked for
    hook_in: str | None = None  # where its own metadata are missing or wrong
    hook_out: str | None = None
    # SAEs of one release may differ in id beyond the layer: their prefix up to the layer is unique
    by_prefix: bool = False
    subtracts_b_dec: bool | None = None  # None: as its own configuration says


@dataclass(frozen=True)
class Published:
    """A model of the hub, what is done to its weights, and its SAEs by kind."""

    hub_id: str
    processing: dict[str, bool] | None = None  # None: as published
    is_statedict: bool = False
    saes: dict[str, PublishedSae] = field(default_factory=dict)


# gpt2-small's residual and attention SAEs and Gemma's come from sae_lens' directory. The others are
# by repository, as their makers' own code names them; none could be downloaded where this was
# written, so only their layout is tested.
CATALOGUE = {
    "gpt2-small": Published(
        "openai-community/gpt2",
        processing=FOLDED,
        saes={
            "residual": PublishedSae("gpt2-small-res-jb", "blocks.{layer}.hook_resid_pre", 8),
            # its own configuration may say hook_z without attn: the hook is named here
            "attention": PublishedSae(
                "gpt2-small-hook-z-kk", "blocks.{layer}.hook_z", 9, "blocks.{layer}.attn.hook_z"
            ),
            # Dunefsky et al. (2024), repacked as SAEs that do not say where they write
            "transcoder": PublishedSae(
                "callummcdougall/arena-demos-transcoder",
                "gpt2-small-layer-{layer}-mlp-transcoder-folded-b_dec_out",
                8,
                "blocks.{layer}.ln2.hook_normalized",
                "blocks.{layer}.hook_mlp_out",
                subtracts_b_dec=False,
            ),
        },
    ),
    "gemma-2-2b": Published(
        "google/gemma-2-2b",
        saes={
            "residual": PublishedSae(
                "gemma-scope-2b-pt-res-canonical", "layer_{layer}/width_16k/canonical", 12
            ),
            # read after the norm, before its gain (Gemma Scope folds the gain into the MLP)
            "transcoder": PublishedSae(
                "gemma-scope-2b-pt-transcoders", "layer_{layer}/width_16k/", 12, by_prefix=True
            ),
        },
    ),
    "tiny-stories-1L-21M": Published(
        "roneneldan/TinyStories-1Layer-21M",
        processing=CENTERED,
        saes={
            "mlp": PublishedSae(
                "callummcdougall/arena-demos-tinystories", "blocks.{layer}.hook_mlp_out", 0
            )
        },
    ),
    # The published SAE was trained on attn-only-2l-demo, another model than attn-only-2l.
    "attn-only-2l": Published("NeelNanda/Attn_Only_2L512W_C4_Code", is_statedict=True),
    "attn-only-2l-demo": Published(
        "NeelNanda/Attn-Only-2L512W-Shortformer-6B-big-lr",
        is_statedict=True,
        saes={
            "attention": PublishedSae(
                "callummcdougall/arena-demos-attn2l", "blocks.{layer}.attn.hook_z-v2", 0
            )
        },
    ),
    "othello-gpt": Published(
        "Baidicoot/Othello-GPT-Transformer-Lens",
        is_statedict=True,
        saes={
            "mlp": PublishedSae(
                "callummcdougall/arena-demos-othellogpt", "blocks.{layer}.mlp.hook_post-v1", 5
            )
        },
    ),
}


def published(name: str) -> Published:
    """The catalogue's entry; an unknown name is an error that lists the known ones."""
    if name not in CATALOGUE:
        raise ValueError(f"profile hub has no {name!r}; it has {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


@contextmanager
def from_hub(what: str) -> Iterator[None]:
    """Turn what the hub's clients raise into a sentence with its cure."""
    from huggingface_hub import errors

    try:
        yield
    except (OSError, errors.HfHubHTTPError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, errors.GatedRepoError):
            cause = cause.__cause__  # transformers makes an OSError of it
        if cause is not None:
            raise ModelUnavailable(
                f"{what} is given out only to people who accepted its licence: do that on its page"
                " on huggingface.co, run `hf auth login`, then the same again."
            ) from error
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailable(
            f"{what} is not in this machine's hub cache and could not be downloaded."
            f"\n  | {first[:160]}"
            "\nWith a network, run the same again (HF_HOME names another cache, HF_HUB_OFFLINE=0"
            " allows the network). Without one, COURSE_PROFILE=local needs no hub."
        ) from error


def boot(
    hub_id: str, device: str | torch.device = "cpu", processing: dict[str, bool] | None = None
) -> "tuple[TransformerBridge, Any]":
    """A model of transformers behind the bridge, and its tokenizer."""
    from transformer_lens.model_bridge import TransformerBridge

    with from_hub(hub_id):
        model = TransformerBridge.boot_transformers(hub_id, device=device)
    if processing is not None:
        model.enable_compatibility_mode(disable_warnings=True, **processing)
    return model.eval().requires_grad_(False), model.tokenizer


def load(name: str, device: str | torch.device = "cpu") -> Loaded:
    """A model of the catalogue."""
    entry = published(name)
    if not entry.is_statedict:
        return Loaded(*boot(entry.hub_id, device, entry.processing), name)
    from utils.models.statedict import boot_statedict

    with from_hub(entry.hub_id):
        model = boot_statedict(entry.hub_id, device)
    return Loaded(model, model.tokenizer, name)


def load_sae(
    name: str, kind: str, layer: int | None = None, device: str | torch.device = "cpu"
) -> Sae:
    """A published SAE of a model of the catalogue."""
    found = published(name).saes
    if kind not in found:
        has = ", ".join(found) or "none"
        raise ValueError(f"no {kind} SAE is published for {name} (there are: {has})")
    entry = found[kind]
    layer = entry.layer if layer is None else layer
    sae_id = entry.sae_id.format(layer=layer)
    if entry.by_prefix:
        sae_id = _id_by_prefix(entry.release, sae_id)
    from sae_lens import SAE

    with from_hub(f"{entry.release} ({sae_id})"), warnings.catch_warnings():
        # on how to load the model: `processing` does that
        warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from")
        sae = SAE.from_pretrained(entry.release, sae_id, device=str(device))
    if entry.subtracts_b_dec is not None:
        sae.cfg.apply_b_dec_to_input = entry.subtracts_b_dec
    hooks = (hook and hook.format(layer=layer) for hook in (entry.hook_in, entry.hook_out))
    return as_sae(sae, *hooks)


def _id_by_prefix(release: str, prefix: str) -> str:
    """The first id of a release that begins so, by sae_lens' own directory."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    ids = list(get_pretrained_saes_directory()[release].saes_map)
    found = [sae_id for sae_id in ids if sae_id.startswith(prefix)]
    if not found:
        raise ValueError(f"{release} has no SAE {prefix}…; it has {ids[0]} to {ids[-1]}")
    return found[0]
