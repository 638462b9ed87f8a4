"""Models built or loaded once, and no settings from outside."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the person who runs the tests."""
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    for name in ("COURSE_PROFILE", "COURSE_SMOLLM2", "COURSE_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)


def make_tokenizer(folder: Path) -> Any:
    """A word tokenizer with a BOS token, read back from a folder as the library wants it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    words = ["<bos>", "<pad>", "the", "cat", "sat", "on", "a", "mat"]
    words += ["When", "Mary", "and", "John", "went", "gave", "it", "to"]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<bos>", "eos_token": "<bos>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<pad>", **special
    ).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The word tokenizer."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def make_model(tokenizer: Any) -> Callable[..., Any]:
    """A small random native model; its configuration can be varied."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    def make(**changes: Any) -> Any:
        shape = {"d_model": 24, "d_head": 6, "n_heads": 3, "n_layers": 3, "n_ctx": 16}
        shape |= {"d_vocab": 20, "d_mlp": 40, "act_fn": "gelu", "normalization_type": "LN"}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            with_tokenizer = changes.pop("tokenizer", tokenizer)
            cfg = TransformerBridgeConfig(**{**shape, **changes})
            model = TransformerBridge.boot_native(cfg, tokenizer=with_tokenizer)
            for value in model.parameters():
                value.data.copy_(0.3 * torch.randn_like(value))
        return model.eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def model(make_model: Callable[..., Any]) -> Any:
    """Three layers, three heads of six, d_model 24."""
    return make_model()


@pytest.fixture(scope="session")
def hf_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random Llama of two layers from a folder, as the language model comes from one."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    make_tokenizer(folder)
    shape = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 20}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**shape, **heads, **special))
        for value in model.parameters():
            value.data.copy_(0.3 * torch.randn_like(value))
        model.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(str(folder))
    return bridge.eval().requires_grad_(False)


@pytest.fixture
def tokens() -> torch.Tensor:
    """Two rows of seven tokens."""
    return torch.randint(0, 20, (2, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def random_sae() -> Callable[..., Any]:
    """A random SAE of `sae_lens`, by its architecture, sizes and hooks."""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    def make(hook_in: str, hook_out: str | None = None, kind: str = "standard", **sizes: Any):
        sae_class, cfg_class = get_sae_class(kind)
        meta = SAEMetadata(hook_name=hook_in, **({"hook_name_out": hook_out} if hook_out else {}))
        more = {"apply_b_dec_to_input": False} if "transcoder" in kind else {}
        reshape = {"reshape_activations": "hook_z"} if hook_in.endswith("hook_z") else {}
        sae = sae_class(cfg_class(**{**more, **reshape, **sizes}, metadata=meta))
        gen = torch.Generator().manual_seed(2)
        for value in sae.parameters():
            value.data.copy_(0.3 * torch.randn(value.shape, generator=gen))
        return sae

    return make


class Identity:
    """The SAE that changes nothing: as many latents as inputs."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


@pytest.fixture
def identity() -> Callable[[str, int], Any]:
    """An identity at a hook."""
    from utils.models.sae import Sae

    return lambda hook, size: Sae(Identity(), hook, hook, size, size)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """An empty hub cache, laid out as the hub's own, with the hub itself refused."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def plant(repo: str) -> Path:
        folder = tmp_path / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        return folder / "snapshots" / ("0" * 40)

    yield SimpleNamespace(plant=plant)
