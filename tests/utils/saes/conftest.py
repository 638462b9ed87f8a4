"""A random model of two layers; no progress bars."""

import pytest
import torch


@pytest.fixture(scope="module")
def model():
    """Two layers, random."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    shape = {"d_model": 12, "d_head": 4, "n_heads": 3, "n_layers": 2, "n_ctx": 8, "d_mlp": 20}
    shape |= {"d_vocab": 17, "act_fn": "gelu", "normalization_type": "LN"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TransformerBridge.boot_native(TransformerBridgeConfig(**shape))
        for value in model.parameters():
            value.data.copy_(0.5 * torch.randn_like(value))
    return model.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")
