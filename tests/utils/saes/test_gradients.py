"""Every hand-written gradient equals autograd's of the plain loss, on both kinds of support."""

import pytest
import torch

from utils.saes import support
from utils.saes.aux import add_dead_latents_loss
from utils.saes.coder import SparseCoder, init_coder
from utils.saes.config import SAEConfig
from utils.saes.gradients import Batch, loss_and_gradient

ARCHITECTURES = ("relu", "gated", "jumprelu", "topk", "batchtopk", "matryoshka")
SIZES = {"d_in": 7, "latent": 23, "k": 3}


class Step(torch.autograd.Function):
    """H(z - threshold) whose slope is a rectangle of the bandwidth's width, into the threshold."""

    @staticmethod
    def forward(ctx, z, threshold, width):
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return (z > threshold).to(z)

    @staticmethod
    def backward(ctx, grad):
        z, threshold = ctx.saved_tensors
        near = ((z - threshold).abs() < ctx.width / 2).to(z)
        return None, -(near / ctx.width * grad).sum(0), None


def plain_loss(cfg: SAEConfig, p, x, y, sparsity: float, k: int):
    """The loss of normalised rows; `p` takes gradients."""
    x_c = x - p["b_dec"] if cfg.kind == "sae" else x
    skip = x @ p["W_skip"].T if "W_skip" in p else 0
    norms = p["W_dec"].norm(dim=1) if cfg.decoder_norm == "free" else torch.ones(cfg.latent).to(x)

    def output(a):
        return a @ p["W_dec"] + p["b_dec"] + skip

    def mse(a):
        return (output(a) - y).square().sum(1).mean()

    product = x_c @ p["encoder"].T
    if cfg.architecture == "gated":
        gate = product + p["b_gate"]
        a = (gate > 0) * (p["r_mag"].exp() * product + p["b_mag"]).relu()
        frozen = skip if isinstance(skip, int) else skip.detach()
        aux = gate.relu() @ p["W_dec"].detach() + p["b_dec"].detach() + frozen
        penalty = sparsity * (gate.relu() * norms).sum(1).mean()
        return mse(a) + penalty + (aux - y).square().sum(1).mean()
    pre = product + p["b_enc"]
    if cfg.architecture == "relu":
        return mse(pre.relu()) + sparsity * (pre.relu() * norms).sum(1).mean()
    if cfg.architecture == "jumprelu":
        step = Step.apply(pre, p["threshold"], cfg.bandwidth)
        # the reconstruction's slope at the jump is the threshold times the step's (eq. 11)
        a = pre * step.detach() + (p["threshold"] * (step - step.detach()))
        return mse(a) + sparsity * step.sum(1).mean()
    scores = (pre * norms).relu().detach()
    if cfg.architecture == "topk":
        edge = scores.topk(k, dim=1).values[:, -1:]
    else:
        edge = scores.flatten().topk(k * len(x)).values[-1]
    a = pre.relu() * (scores >= edge)
    widths = cfg.widths or (cfg.latent,)
    return sum(mse(a * (torch.arange(cfg.latent) < w)) for w in widths)


def config(architecture: str, kind: str = "sae", **more) -> SAEConfig:
    """A small config of every architecture."""
    widths = (4, 11, 23) if architecture == "matryoshka" else ()
    d_out = None if kind == "sae" else 5
    fields = SIZES | {"widths": widths, "d_out": d_out, "bandwidth": 0.4} | more
    return SAEConfig(architecture=architecture, kind=kind, **fields)


def random_coder(cfg: SAEConfig, seed: int = 0) -> SparseCoder:
    """Weights with nothing left at 0, in float64."""
    gen = torch.Generator().manual_seed(seed)
    coder = init_coder(cfg, gen, dtype=torch.float64)
    for name, value in coder.params.items():
        if name != "W_dec" or cfg.decoder_norm == "free":
            value.add_(torch.randn(value.shape, generator=gen, dtype=value.dtype) * 0.3)
        if name == "threshold":
            value.abs_()
    return coder


def random_batch(cfg: SAEConfig, n: int = 19) -> Batch:
    gen = torch.Generator().manual_seed(1)
    x = torch.randn(n, cfg.d_in, generator=gen, dtype=torch.float64)
    y = x if cfg.kind == "sae" else torch.randn(n, 5, generator=gen, dtype=torch.float64)
    return Batch(x, y, 0.7, cfg.k)


def autograd(cfg, coder, loss):
    live = {name: value.clone().requires_grad_() for name, value in coder.params.items()}
    value = loss(live)
    grads = torch.autograd.grad(value, live.values(), allow_unused=True)
    return value.detach(), {
        name: torch.zeros_like(coder.params[name]) if grad is None else grad
        for name, grad in zip(live, grads, strict=True)
    }


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "ragged"])
@pytest.mark.parametrize("kind", ["sae", "transcoder", "skip_transcoder"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient__equals_autograd_of_the_plain_loss(architecture, kind, dense, monkeypatch):
    monkeypatch.setattr(support, "RAGGED_BELOW", -1.0 if dense else 1.0)
    cfg = config(architecture, kind)
    coder, batch = random_coder(cfg), random_batch(cfg)
    step = loss_and_gradient(coder, batch)
    loss, grads = autograd(
        cfg, coder, lambda p: plain_loss(cfg, p, batch.x, batch.y, batch.sparsity, batch.k)
    )
    torch.testing.assert_close(sum(step.losses.values()), loss)
    assert step.grads.keys() == grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(step.grads[name], grad, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient__equals_autograd_with_unit_decoder_norms(architecture):
    cfg = config(architecture, decoder_norm="unit")
    coder, batch = random_coder(cfg), random_batch(cfg)
    step = loss_and_gradient(coder, batch)
    loss, grads = autograd(
        cfg, coder, lambda p: plain_loss(cfg, p, batch.x, batch.y, batch.sparsity, batch.k)
    )
    torch.testing.assert_close(sum(step.losses.values()), loss)
    for name in grads.keys() - {"W_dec"}:  # W_dec's part along itself is projected out
        torch.testing.assert_close(step.grads[name], grads[name])

    def across(grad):
        W = coder.params["W_dec"]
        return grad - (grad * W).sum(1, keepdim=True) * W

    torch.testing.assert_close(across(step.grads["W_dec"]), across(grads["W_dec"]))


@pytest.mark.parametrize("aux_k", [2, 50], ids=["some", "all"])
@pytest.mark.parametrize("kind", ["sae", "skip_transcoder"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dead_latents_loss__gradient_equals_autograd(architecture, kind, aux_k):
    cfg, dead = config(architecture, kind), torch.tensor([1, 4, 5, 20])
    coder, batch = random_coder(cfg), random_batch(cfg)
    with torch.no_grad():
        before = loss_and_gradient(coder, batch)
        residual = -before.error.clone()
        step = loss_and_gradient(coder, batch)
        add_dead_latents_loss(coder, step, dead, 0.5, aux_k)
    norms = coder.params["W_dec"].norm(dim=1)
    weigh = architecture in ("topk", "batchtopk", "matryoshka")
    weight = 0.5 * min(4 / aux_k, 1)

    def aux(p):
        x_c = batch.x - p["b_dec"] if kind == "sae" else batch.x
        z = (x_c @ p["encoder"].T + p["b_gate" if "b_gate" in p else "b_enc"])[:, dead]
        score = (z * norms[dead] if weigh else z).detach()
        edge = score.topk(min(aux_k, 4), dim=1).values[:, -1:]
        recons = (z * (score >= edge)) @ p["W_dec"][dead]
        return weight * (recons - residual).square().sum(1).mean()

    loss, grads = autograd(cfg, coder, aux)
    torch.testing.assert_close(step.losses["aux"], loss)
    for name, grad in grads.items():
        torch.testing.assert_close(step.grads[name] - before.grads[name], grad)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_support__both_kinds_give_the_same_step(architecture, monkeypatch):
    cfg = config(architecture)
    coder, batch = random_coder(cfg), random_batch(cfg)
    steps = []
    for below in (-1.0, 1.0):
        monkeypatch.setattr(support, "RAGGED_BELOW", below)
        steps.append(loss_and_gradient(coder, batch))
    torch.testing.assert_close(steps[0].fired, steps[1].fired)
    torch.testing.assert_close(steps[0].grads, steps[1].grads)


def test_relu__an_entry_at_zero_is_inactive():
    cfg = config("relu")
    coder, batch = random_coder(cfg), random_batch(cfg)
    coder.params["encoder"][0], coder.params["b_enc"][0] = 0.0, 0.0  # pre is 0 everywhere
    step = loss_and_gradient(coder, batch)
    assert step.fired[0] == 0
    assert step.grads["encoder"][0].abs().sum() == 0


def test_jumprelu__an_entry_at_the_threshold_is_inactive():
    cfg = config("jumprelu")
    coder, batch = random_coder(cfg), random_batch(cfg)
    coder.params["encoder"][0], coder.params["b_enc"][0] = 0.0, 0.5
    coder.params["threshold"][0] = 0.5
    assert loss_and_gradient(coder, batch).fired[0] == 0
    coder.params["threshold"][0] = 0.5 - 1e-12
    assert loss_and_gradient(coder, batch).fired[0] == len(batch.x)


def test_gated__the_second_reconstruction_does_not_reach_the_decoder():
    cfg = config("gated")
    coder, batch = random_coder(cfg), random_batch(cfg)
    coder.params["b_mag"].fill_(-100.0)  # no latent is active: only the gate's path is left
    quiet = Batch(batch.x, batch.y, 0.0, batch.k)
    step = loss_and_gradient(coder, quiet)
    assert step.grads["W_dec"].abs().max() == 0
    assert step.grads["encoder"].abs().max() > 0


@pytest.mark.parametrize("latent", [23, 200, 4096])
def test_gathered_products__equal_dense_ones(latent):
    gen = torch.Generator().manual_seed(0)
    code = torch.randn(9, latent, generator=gen)
    code[torch.rand(code.shape, generator=gen) < 0.95] = 0
    code[3] = 0  # a row without entries
    rows, latents = code.nonzero(as_tuple=True)
    at = support.Ragged(rows, latents, (9, latent))
    value, W = code[rows, latents], torch.randn(latent, 6, generator=gen)
    x = torch.randn(9, 6, generator=gen)
    torch.testing.assert_close(at.scatter(value), code)
    torch.testing.assert_close(at.take(code), value)
    torch.testing.assert_close(at.decode(value, W), code @ W)
    torch.testing.assert_close(at.sample(x, W), (x @ W.T)[rows, latents])
    torch.testing.assert_close(at._sample_by_autograd(x, W), (x @ W.T)[rows, latents])
    torch.testing.assert_close(at.outer(value, x), code.T @ x)
    torch.testing.assert_close(at.latent_sum(value), code.sum(0))
    here, part = at.within(5, 20)
    torch.testing.assert_close(part.scatter(value[here]), code[:, 5:20])


def test_gathered_products__of_no_entries_are_zero():
    none = torch.zeros(0, dtype=torch.int64)
    at = support.Ragged(none, none, (4, 11))
    W, empty = torch.randn(11, 3), torch.zeros(0)
    assert at.decode(empty, W).abs().sum() == 0
    assert at.sample(torch.randn(4, 3), W).shape == (0,)
    assert at.outer(empty, torch.randn(4, 3)).abs().sum() == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient__is_the_same_on_a_gpu(architecture):
    cfg = config(architecture)
    coder, batch = random_coder(cfg), random_batch(cfg)
    here = loss_and_gradient(coder, batch)
    x = batch.x.to("cuda")
    there = loss_and_gradient(coder.to("cuda"), Batch(x, x, batch.sparsity, batch.k))
    for name, grad in here.grads.items():
        torch.testing.assert_close(there.grads[name].cpu(), grad)
