"""The stage on KL divergence: its forward is the coder's own, its gradient autograd's, it helps."""

from dataclasses import replace

import pytest
import torch

from utils.data.corpus import Rows
from utils.saes.coder import init_coder, reconstruct
from utils.saes.config import SAEConfig
from utils.saes.finetune import FinetuneConfig, differentiable, finetune_coder, finetune_loss

HOOK_IN, HOOK_OUT = "blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out"
RESID = "blocks.0.hook_resid_post"
KINDS = [
    ("topk", "sae", "average_norm"),
    ("batchtopk", "sae", "average_norm"),
    ("batchtopk", "sae", "constant_norm"),
    ("batchtopk", "skip_transcoder", "average_norm"),
]


def rows_of(n=16):
    gen = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 17, (n, 8), generator=gen)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 6:] = False
    return Rows(ids, mask, torch.arange(n))


def coder_of(architecture="topk", kind="sae", normalise="average_norm"):
    cfg = SAEConfig(12, 30, architecture, kind, None if kind == "sae" else 12, k=4)
    cfg = replace(cfg, normalise=normalise, decoder_init_norm=0.7)
    coder = init_coder(cfg, torch.Generator().manual_seed(2))
    gen = torch.Generator().manual_seed(3)
    for name in ("b_enc", "b_dec"):
        coder.params[name].copy_(0.1 * torch.randn(coder.params[name].shape, generator=gen))
    if "W_skip" in coder.params:
        coder.params["W_skip"].copy_(0.2 * torch.randn(12, 12, generator=gen))
    coder.cut.fill_(0.4)
    return replace(coder, scale_in=1.3, scale_out=1.3 if kind == "sae" else 0.8)


def hooks_of(kind):
    return (RESID, RESID) if kind == "sae" else (HOOK_IN, HOOK_OUT)


@pytest.mark.parametrize(("architecture", "kind", "normalise"), KINDS)
def test_forward_is_that_of_the_coder(architecture, kind, normalise):
    coder = coder_of(architecture, kind, normalise)
    x = torch.randn(40, 12, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(differentiable(coder, x), reconstruct(coder, x))


@pytest.mark.parametrize(("architecture", "kind", "normalise"), KINDS)
def test_finetune__lowers_the_divergence_and_leaves_everything_else(
    model, architecture, kind, normalise
):
    coder, hooks, rows = coder_of(architecture, kind, normalise), hooks_of(kind), rows_of(128)
    before = {n: v.clone() for n, v in coder.params.items()}
    weights = [value.clone() for value in model.parameters()]
    cfg = FinetuneConfig(lr=1e-2)
    tuned = finetune_coder(model, coder, hooks, rows, cfg)
    with torch.no_grad():
        first, last = (
            float(finetune_loss(model, c, hooks, rows.ids, rows.mask, cfg)) for c in (coder, tuned)
        )
    assert last < 0.8 * first
    assert all(torch.equal(v, coder.params[n]) for n, v in before.items())
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert not any(value.requires_grad for value in tuned.params.values())
    assert all(p.grad is None for p in model.parameters())


def test_loss__is_twice_the_squared_error_and_has_both_gradients(model):
    """Each part counts the same; the divergence's gradient is checked against differences."""
    coder, hooks, rows, cfg = coder_of(), (RESID, RESID), rows_of(), FinetuneConfig()
    params = {n: v.clone().requires_grad_() for n, v in coder.params.items()}
    live = replace(coder, params=params)
    seen = {}

    def tap(value, hook):
        seen["x"] = value

    model.run_with_hooks(rows.ids, fwd_hooks=[(RESID, tap)])
    keep = rows.mask.clone()
    keep[:, 0] = False
    x = seen["x"][keep]
    error = ((reconstruct(coder, x) - x) * coder.scale_in).square().sum(1).mean()
    loss = finetune_loss(model, live, hooks, rows.ids, rows.mask, cfg)
    assert loss.item() == pytest.approx(2 * float(error), rel=1e-5)
    loss.backward()
    mine = params["b_dec"].grad.clone()

    def parts(shift):
        moved = replace(coder, params={**coder.params, "b_dec": coder.params["b_dec"] + shift})
        with torch.no_grad():
            out = differentiable(moved, x)
            mse = ((out - x) * coder.scale_in).square().sum(1).mean()

            def write(value, hook):
                value = value.clone()
                value[keep] = out
                return value

            where = keep[:, :-1] & rows.mask[:, 1:]
            a = model.run_with_hooks(rows.ids, fwd_hooks=[])[:, :-1][where].log_softmax(-1)
            b = model.run_with_hooks(rows.ids, fwd_hooks=[(RESID, write)])[:, :-1][where]
            b = b.log_softmax(-1)
        return float(mse), float((a.exp() * (a - b)).sum(1).mean())

    mse, kl = parts(torch.zeros(12))
    for i in (0, 5):
        step = torch.zeros(12)
        step[i] = 1e-3
        up, down = parts(step), parts(-step)
        slope = [(u - d) / 2e-3 for u, d in zip(up, down, strict=True)]
        expected = slope[0] + slope[1] * mse / kl
        assert float(mine[i]) == pytest.approx(expected, rel=0.05, abs=0.02)


def test_loss__replaces_neither_the_first_position_nor_padding(model):
    coder, rows, cfg = coder_of(), rows_of(2), FinetuneConfig()
    hooks = (RESID, RESID)
    whole = float(finetune_loss(model, coder, hooks, rows.ids, rows.mask, cfg))
    other = rows.ids.clone()
    other[1, 6:] = (other[1, 6:] + 1) % 17  # padding: nothing after it is predicted
    assert float(finetune_loss(model, coder, hooks, other, rows.mask, cfg)) == pytest.approx(whole)


def test_finetune__refuses_what_it_cannot_do(model):
    coder = coder_of()
    wrong = replace(coder, cfg=replace(coder.cfg, architecture="relu"))
    with pytest.raises(ValueError, match="fine-tuning is for"):
        finetune_coder(model, wrong, (RESID, RESID), rows_of())
