"""A small random model with the stories' tokenizer; the network is refused."""

import socket

import pytest
import torch

from utils.models.loaded import Loaded


@pytest.fixture(autouse=True)
def offline_and_quiet(monkeypatch):
    def refuse(*address, **_):
        pytest.fail(f"a test reached for the network: {address[-1]}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setenv("COURSE_PROGRESS", "0")


@pytest.fixture(scope="session")
def loaded(tmp_path_factory):
    """Three layers, three heads of six, width 24, RMS norms."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    from utils.data.stories.tokenizer import story_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    story_tokenizer().save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    shape = {"d_model": 24, "d_head": 6, "n_heads": 3, "n_layers": 3, "n_ctx": 16, "d_mlp": 40}
    shape |= {"d_vocab": len(tokenizer), "act_fn": "gelu", "normalization_type": "RMS"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TransformerBridge.boot_native(TransformerBridgeConfig(**shape), tokenizer=tokenizer)
        for name, value in model.named_parameters():  # no biases, as the real one
            value.data.copy_((0.0 if name.endswith("bias") else 0.3) * torch.randn_like(value))
    return Loaded(model.eval().requires_grad_(False), tokenizer, "random")
