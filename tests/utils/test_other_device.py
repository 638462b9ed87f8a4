"""On a device that refuses what CUDA refuses, the same comes out as on a CPU."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.pretend import DEVICE, pretended
from utils import toy
from utils.activations import StoreConfig, write_activations
from utils.course import ARTIFACTS
from utils.dashboards import collect
from utils.given.in_model import sample_rows
from utils.graphs import attribute, freeze
from utils.models.loaded import Loaded
from utils.models.sae import load_sae
from utils.models.splice import spliced
from utils.models.tiny import load_tiny
from utils.sae_metrics.recovered import in_model
from utils.saes.coder import encode, init_coder, reconstruct
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.distance import mean_fisher
from utils.saes.finetune import FinetuneConfig, finetune_coder
from utils.saes.stack import STACKABLE, train_stack
from utils.saes.train import train_coder

CPU = torch.device("cpu")
KINDS = [(a, "sae") for a in ("relu", "gated", "jumprelu", "topk", "batchtopk", "matryoshka")]
KINDS += [("relu", "transcoder"), ("batchtopk", "skip_transcoder")]
TRAIN = SAETrainConfig(
    n_steps=12, lr=3e-3, warmup_steps=3, decay_steps=3, record_every=4, dead_window=100,
    n_norm_batches=2, k_start=7, sparsity_warmup=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with pretended():
        x, gen = torch.ones(3, device=DEVICE), torch.Generator(DEVICE).manual_seed(0)
        assert x.device == DEVICE and (2 * x)[1:].device == DEVICE and x.cpu().device == CPU
        assert torch.randn(2, generator=gen, device=DEVICE).device == DEVICE
        assert (x + torch.tensor(1.0)).device == x[torch.tensor([0, 2])].device == DEVICE
        refused = [
            lambda: x + torch.ones(3),
            lambda: torch.stack([x, torch.ones(3)]),
            lambda: torch.ones(3)[x.long()],
            lambda: x.quantile(torch.tensor([0.1, 0.9])),
            lambda: torch.randn(2, generator=gen),
            lambda: torch.nn.Linear(3, 2)(x),
            lambda: x.numpy(),
        ]
        for call in refused:
            with pytest.raises((RuntimeError, TypeError), match="device"):
                call()
    assert torch.ones(2).device == CPU and isinstance(gen, torch.Generator)


def batches(cfg: SAEConfig, device: torch.device) -> list[Any]:
    """Rows with few directions on; with targets for a transcoder."""
    gen = torch.Generator().manual_seed(5)
    directions, out = torch.randn(30, 12, generator=gen), torch.randn(12, 6, generator=gen)
    strengths = torch.rand(5, 32, 30, generator=gen)
    rows = [x.to(device) for x in (strengths * (strengths > 0.9)) @ directions * 3]
    return rows if cfg.kind == "sae" else [(x, (x @ out.to(device)).relu()) for x in rows]


def config(architecture: str, kind: str = "sae", **more: Any) -> SAEConfig:
    widths = (16, 40) if architecture == "matryoshka" else ()
    fields = {"k": 4, "sparsity": 0.1, "widths": widths, "bandwidth": 0.5, "threshold": 0.3} | more
    d_out = None if kind == "sae" else 6
    return SAEConfig(12, 40, architecture=architecture, kind=kind, d_out=d_out, **fields)


def same_run(there: Any, here: Any) -> None:
    """Weights and logs of two trained coders."""
    for name, value in here.coder.params.items():
        assert there.coder.params[name].device == DEVICE, name
        assert torch.allclose(there.coder.params[name].cpu(), value, atol=1e-4), name
    for mine, other in zip(there.records, here.records, strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.filterwarnings("ignore:after")
@pytest.mark.parametrize(("architecture", "kind"), KINDS)
def test_saes_are_trained_there(architecture, kind):
    """The code for a GPU, where it has its own, and the code for a CPU find the same SAE"""
    cfg = config(architecture, kind)

    def run(device):
        coder = init_coder(cfg, torch.Generator().manual_seed(0), device)
        trained = train_coder(coder, batches(cfg, device), TRAIN)
        x = batches(cfg, device)[0]
        x = x if kind == "sae" else x[0]
        f = encode(trained.coder, x)
        assert reconstruct(trained.coder, x).device == f.device == device
        return trained, f.cpu()

    here, f_here = run(CPU)
    with pretended():
        there, f_there = run(DEVICE)
        same_run(there, here)
        assert torch.allclose(f_there, f_here, atol=1e-3)


@pytest.mark.filterwarnings("ignore:after")
@pytest.mark.parametrize("architecture", STACKABLE)
def test_stacks_are_trained_there(architecture):
    """Several SAEs at once, with sparsities of their own"""
    cfg = config(architecture)

    def run(device):
        start = [
            init_coder(replace(cfg, k=k), torch.Generator().manual_seed(k), device) for k in (3, 5)
        ]
        return train_stack(start, batches(cfg, device), replace(TRAIN, k_start=None))

    here = run(CPU)
    with pretended():
        for mine, other in zip(run(DEVICE), here, strict=True):
            same_run(mine, other)


def test_toy_models_are_trained_there(monkeypatch):
    """The fast trainer; a graph of kernels cannot be pretended, so its steps run one by one"""
    monkeypatch.setattr(toy, "replayed", lambda step: step)
    cfg, train = toy.ToyConfig(inst=3, feature=8, hidden=2), toy.TrainConfig(n_steps=250, batch=64)

    def run(device):
        gen = torch.Generator(device).manual_seed(0)
        W, b = toy.init_toy(cfg, gen, device)
        return toy.train_toy_fast(W, b, 1.0, 0.1, train, gen)

    with pretended():
        there = run(DEVICE)
        assert there.W.device == DEVICE
        losses = there.losses.float().cpu()
    assert losses.isfinite().all() and (losses[-1] < losses[0]).all()


def story(device: torch.device) -> SimpleNamespace:
    """The small story model, its SAE and some stories."""
    model = load_tiny(ARTIFACTS / "tiny_story_1l", device)
    loaded = Loaded(model, model.tokenizer, "tiny_story_1l")
    sae = load_sae(ARTIFACTS / "tiny_story_1l" / "residual_0_256", device=device)
    return SimpleNamespace(loaded=loaded, sae=sae, rows=sample_rows(loaded, 12, 0))


def test_models_and_saes_work_there(tmp_path):
    """Splices with every error term, what an SAE costs, a store, a distance, fine-tuning"""
    hook = "blocks.0.hook_resid_post"

    def run(device, folder):
        s = story(device)
        model, ids = s.loaded.model, s.rows.ids.to(device)
        found = [spliced(model, ids, s.sae, term).output for term in ("none", "constant", "live")]
        costs = in_model(model, s.rows, s.sae, "mean")
        store = write_activations(model, s.rows, folder, StoreConfig((s.sae.hook_in,)))
        fisher = mean_fisher(model, s.rows, s.sae.hook_in, torch.Generator().manual_seed(0))
        cfg = SAEConfig(s.sae.d_in, 64, k=4)
        coder = init_coder(cfg, torch.Generator().manual_seed(0), device)
        tuned = finetune_coder(model, coder, (hook, hook), s.rows, FinetuneConfig(batch_rows=4))
        found += [
            torch.tensor([costs.loss_recovered, store.index["shards"][0]["tokens"]]),
            fisher,
            tuned.params["W_dec"],
        ]
        return [x.float().cpu() for x in found]

    here = run(CPU, tmp_path / "here")
    with pretended():
        for mine, other in zip(run(DEVICE, tmp_path / "there"), here, strict=True):
            assert torch.allclose(mine, other, atol=1e-3)


def test_dashboards_are_made_there():
    """All numbers of every latent's page"""

    def run(device):
        s = story(device)
        return collect(s.loaded, s.sae, s.rows, latents=range(40), progress=False)

    here = run(CPU)
    with pretended():
        there = run(DEVICE)
    for mine, other in zip(there.latents, here.latents, strict=True):
        assert mine.index == other.index
        assert mine.density == pytest.approx(other.density, rel=1e-4)


def test_graphs_are_traced_there():
    """An attribution graph has the same edges"""
    folder = ARTIFACTS / "tiny_story_4l"
    text = "after Daisy and Henry walk to the market , Henry talks to Daisy ."

    def run(device):
        model = load_tiny(folder, device)
        saes = [load_sae(folder / f"transcoder_{i}_192", device=device) for i in range(4)]
        frozen = freeze(Loaded(model, model.tokenizer, "story"), model.to_tokens(text)[0])
        return attribute(frozen, saes, max_features=60)

    here = run(CPU)
    with pretended():
        there = run(DEVICE)
        assert torch.allclose(there.adjacency.cpu(), here.adjacency, atol=1e-4)
