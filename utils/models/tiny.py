"""Small models that the course trains itself: written to and read from a folder of artifacts/.

artifacts/tiny_story_4l/config.json         the shape, by the library's own field names
                        model.safetensors   the weights in fp16 (or bf16)
                        tokenizer/          as `save_pretrained` writes it; none for Othello
                        sae/<name>/         its SAEs, each as `sae_lens` saves it
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from utils.files import write

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# what a native model's function depends on; `boot_native` takes all of them
FIELDS = (
    *("d_model", "d_head", "n_layers", "n_ctx", "n_heads", "d_mlp", "d_vocab", "d_vocab_out"),
    *("act_fn", "normalization_type", "eps", "final_rms", "gated_mlp", "attn_only"),
    *("positional_embedding_type", "rotary_dim", "rotary_base", "n_key_value_heads"),
    *("use_attn_scale", "attn_scale", "attn_scores_soft_cap", "output_logits_soft_cap"),
    *("attention_dir", "tokenizer_prepends_bos", "default_prepend_bos"),
)
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer"


class ModelMissing(FileNotFoundError):
    """There is no such model here; the message says how to get it."""


def save_tiny(
    model: "TransformerBridge",
    tokenizer: Any,
    directory: str | Path,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a native model, and its tokenizer unless that is None.

    Weights and configuration are written whole or not at all.

    Other files of the folder (a card, SAEs) stay. Raises ValueError where `dtype` cannot hold the
    weights, or where the tokenizer has no BOS token (the library would prepend an invented one).
    """
    from safetensors.torch import save

    if tokenizer is not None and tokenizer.bos_token_id is None:
        raise ValueError("the tokenizer has no BOS token: give it one (bos_token='<bos>')")
    weights = {
        name: value.detach().to("cpu", dtype).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    bad = [name for name, value in weights.items() if not value.isfinite().all()]
    if bad:
        raise ValueError(f"{', '.join(bad)}: not finite in {dtype}; save in torch.bfloat16")
    config = {name: getattr(model.cfg, name) for name in FIELDS if hasattr(model.cfg, name)}
    folder = Path(directory)
    write(folder / WEIGHTS, save(weights))
    write(folder / CONFIG, json.dumps(config, indent=1) + "\n")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder / TOKENIZER)


def load_tiny(directory: str | Path, device: str | torch.device = "cpu") -> "TransformerBridge":
    """The model of a folder behind `TransformerBridge`, in float32, with `model.tokenizer`.

    Raises ModelMissing where the folder holds no model, ValueError where its weights do not fit
    its configuration.
    """
    from safetensors.torch import load_file
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    folder = Path(directory)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelMissing(
                f"{folder / name} is missing: take it from the course (git checkout artifacts),"
                " or train it again (make artifacts)"
            )
    config = json.loads((folder / CONFIG).read_text())
    # without an initial draw: a load neither takes from nor sets the caller's random numbers
    cfg = TransformerBridgeConfig(**config, init_weights=False)
    with torch.random.fork_rng(devices=[]):
        model = TransformerBridge.boot_native(
            cfg, tokenizer=_tokenizer(folder / TOKENIZER), device=device, dtype=torch.float32
        )
    try:
        model.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except RuntimeError as error:
        raise ValueError(f"{folder}: {WEIGHTS} does not fit {CONFIG}: {error}") from None
    return model.eval().requires_grad_(False)


def _tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, None where there is none."""
    if not folder.is_dir():
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
