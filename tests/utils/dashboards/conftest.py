"""Small random models, and SAEs of plain tensors: nothing here needs `sae_lens`."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from utils.data.corpus import Rows
from utils.models.loaded import Loaded
from utils.models.sae import Sae

BOS, VOCABULARY, N_POS = 0, 23, 19
SHAPE = {"d_model": 24, "d_head": 6, "n_heads": 4, "n_layers": 2, "n_ctx": 32, "d_mlp": 30}
MODELS = {
    "layer norm": {"normalization_type": "LN"},
    "grouped queries, RMS norm": {"normalization_type": "RMS", "n_key_value_heads": 2},
    "no norm": {"normalization_type": None},
}
HOOKS = {
    "residual": ("blocks.0.hook_resid_post", "blocks.0.hook_resid_post", 24, 24),
    "last residual": ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post", 24, 24),
    "attention": ("blocks.1.attn.hook_z", "blocks.1.attn.hook_z", 24, 24),
    "transcoder": ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out", 24, 24),
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    monkeypatch.delenv("COURSE_PROFILE", raising=False)


class Words:
    """A tokenizer of words; some of them would be markup if nobody took care."""

    bos_token_id = BOS
    all_special_ids = (BOS,)
    words = ("<bos>", "<script>", '"quoted"', "</script>", "<!--", "שלום", "\n", "a&b", "'", "\\")
    words = (*words, *(f"w{i}" for i in range(VOCABULARY - len(words))))

    def __len__(self) -> int:
        return len(self.words)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.words[i] for i in ids]


class Coder(torch.nn.Module):
    """ReLU(x W_enc + b_enc), and back."""

    def __init__(self, d_in: int, d_out: int, n: int, seed: int, bias: float = -0.2):
        super().__init__()
        gen = torch.Generator().manual_seed(seed)
        self.W_enc = torch.nn.Parameter(torch.randn(d_in, n, generator=gen) / d_in**0.5)
        self.b_enc = torch.nn.Parameter(torch.full((n,), bias))
        self.W_dec = torch.nn.Parameter(torch.randn(n, d_out, generator=gen))
        self.b_dec = torch.nn.Parameter(torch.randn(d_out, generator=gen))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.W_enc + self.b_enc).relu()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents @ self.W_dec + self.b_dec


@pytest.fixture(scope="session")
def models() -> Callable[[str], Loaded]:
    """Native models by name, each made once."""
    made: dict[str, Loaded] = {}

    def get(name: str) -> Loaded:
        if name not in made:
            made[name] = Loaded(make_model(MODELS[name]), Words(), f"small, {name}")
        return made[name]

    return get


def make_model(changes: dict[str, Any]) -> Any:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cfg = TransformerBridgeConfig(**SHAPE, d_vocab=VOCABULARY, act_fn="gelu", **changes)
        model = TransformerBridge.boot_native(cfg, tokenizer=None)
        for name, value in model.named_parameters():
            value.data.copy_(0.3 * torch.randn_like(value) + 1.0 * ("ln" in name))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def saes() -> Callable[..., Sae]:
    """SAEs by their place."""

    def make(name: str = "residual", n: int = 13, seed: int = 1, bias: float = -0.2) -> Sae:
        hook_in, hook_out, d_in, d_out = HOOKS[name]
        coder = Coder(d_in, d_out, n, seed, bias).requires_grad_(False)
        return Sae(coder, hook_in, hook_out, d_in, n)

    return make


@pytest.fixture(scope="session")
def rows() -> Rows:
    """25 rows, some padded, some with a second document."""
    gen = torch.Generator().manual_seed(3)
    ids = torch.randint(1, VOCABULARY, (25, N_POS), generator=gen)
    ids[:, 0] = BOS
    ids[4, 9] = ids[11, 2] = BOS
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[2, 7:] = mask[9, 3:] = mask[24, 12:] = False
    return Rows(ids, mask, torch.arange(25))


@pytest.fixture
def case(models: Any, saes: Any, rows: Rows) -> SimpleNamespace:
    """The usual one."""
    return SimpleNamespace(loaded=models("layer norm"), sae=saes(), rows=rows)
