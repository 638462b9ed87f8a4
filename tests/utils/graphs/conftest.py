"""Small random models of many architectures, and random transcoders."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from utils.models.loaded import Loaded
from utils.models.sae import Sae


@pytest.fixture(autouse=True)
def no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress bars."""
    monkeypatch.setenv("COURSE_PROGRESS", "0")


HIDDEN = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 4}
SHARED = {"num_key_value_heads": 2}
NATIVE: dict[str, dict[str, Any]] = {
    "native LayerNorm": {},
    "native RMSNorm, gated": {
        "normalization_type": "RMS",
        "gated_mlp": True,
        "act_fn": "silu",
        "positional_embedding_type": "rotary",
        "rotary_dim": 6,
        "n_key_value_heads": 1,
    },
    "native without norms": {"normalization_type": None},
}
FOREIGN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", "LlamaForCausalLM", HIDDEN | HEADS | SHARED),
    "Gemma 2": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        HIDDEN | HEADS | SHARED | {"head_dim": 6, "query_pre_attn_scalar": 6},
    ),
    "Qwen 3": ("Qwen3Config", "Qwen3ForCausalLM", HIDDEN | HEADS | SHARED | {"head_dim": 6}),
    "GPT-2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 16},
    ),
    "GPT-NeoX": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        HIDDEN | HEADS | {"max_position_embeddings": 16},
    ),
}
ARCHITECTURES = [*NATIVE, *FOREIGN]


def randomised(model: Any) -> Any:
    """Every parameter random, biases and gains too."""
    for value in model.parameters():
        value.data.copy_(0.3 * torch.randn_like(value))
    return model


def native(changes: dict[str, Any]) -> Any:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    shape = {"d_model": 24, "d_head": 6, "n_heads": 3, "n_layers": 3, "n_ctx": 16, "d_vocab": 20}
    shape |= {"d_mlp": 40, "act_fn": "gelu", "normalization_type": "LN"}
    return randomised(TransformerBridge.boot_native(TransformerBridgeConfig(**shape | changes)))


def foreign(folder: Path, config: str, model: str, sizes: dict[str, Any]) -> Any:
    import transformers
    from transformer_lens.model_bridge import TransformerBridge

    from tests.utils.models.conftest import make_tokenizer

    make_tokenizer(folder)
    special = {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    cfg = getattr(transformers, config)(**sizes, **special)
    randomised(getattr(transformers, model)(cfg)).save_pretrained(folder)
    return TransformerBridge.boot_transformers(str(folder))


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Loaded]:
    """A random model by its architecture, made once."""
    made: dict[str, Loaded] = {}

    def of(name: str) -> Loaded:
        if name not in made:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                if name in NATIVE:
                    model = native(NATIVE[name])
                else:
                    model = foreign(tmp_path_factory.mktemp("model"), *FOREIGN[name])
            made[name] = Loaded(model.eval().requires_grad_(False), None, name)
        return made[name]

    return of


@pytest.fixture(params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest, model_of: Callable[[str], Loaded]) -> Loaded:
    """Each of them."""
    return model_of(request.param)


@dataclass
class RandomTranscoder:
    """f = kind(x W_enc + b_enc), f W_dec + b_dec (+ x W_skip^T, which the caller adds)."""

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    b_dec: torch.Tensor
    W_skip: torch.Tensor | None
    kind: str

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        pre = x @ self.W_enc + self.b_enc
        if self.kind == "topk":
            least = pre.topk(4, dim=-1).values[..., -1:]
            return pre.relu() * (pre >= least)
        return pre * (pre > (0.5 if self.kind == "jumprelu" else 0.0))

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        return f @ self.W_dec + self.b_dec


def random_transcoders(loaded: Loaded, kind: str = "relu", skip: bool = True) -> list[Sae]:
    """One for each layer: 12 latents."""
    gen = torch.Generator().manual_seed(5)
    d = int(loaded.model.cfg.d_model)
    found = []
    for layer in range(loaded.n_layers):
        sizes = [(d, 12), (12,), (12, d), (d,), (d, d)]
        parts = [0.3 * torch.randn(size, generator=gen) for size in sizes]
        inner = RandomTranscoder(*parts[:4], parts[4] if skip else None, kind)
        hooks = (loaded.hook("mlp_in", layer), loaded.hook("mlp_out", layer))
        found.append(Sae(inner, *hooks, d, 12))
    return found
