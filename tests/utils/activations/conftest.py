"""Small random models, made once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

N_LAYERS, D, HEADS, VOCAB = 3, 12, 3, 29


def random_model(seed: int = 0) -> Any:
    """A three-layer native bridge of width 12 with three heads of 4."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformerBridge.boot_native(
            TransformerBridgeConfig(
                d_model=D, d_head=4, n_layers=N_LAYERS, n_ctx=16, n_heads=HEADS, d_mlp=20,
                d_vocab=VOCAB, act_fn="gelu", normalization_type="LN",
            )
        )  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress bars."""
    monkeypatch.setenv("COURSE_PROGRESS", "0")


@pytest.fixture(scope="session")
def model() -> Any:
    """The model of these tests."""
    return random_model()


@pytest.fixture
def make_model() -> Callable[[int], Any]:
    """Another model of the same shape, or the same again (seed 0)."""
    return random_model


@pytest.fixture
def ids() -> torch.Tensor:
    """40 rows of 10 tokens."""
    return torch.randint(VOCAB, (40, 10), generator=torch.Generator().manual_seed(1))
