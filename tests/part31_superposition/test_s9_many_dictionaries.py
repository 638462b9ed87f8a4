"""Tests of 3.1.9, one function per property, named test_<exercise>__<property>."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from utils.given.dictionaries import sae_loss
from utils.testing import (
    assert_raises,
    assert_same,
    generator,
    require,
    unchanged,
    vjp,
)

ALARM = 1e-8  # of one comparison; no test makes more than a hundred


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def directions(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random rows of length 1."""
    v = normal(g, *shape, dtype=dtype)
    return v / v.norm(dim=-1, keepdim=True)


def strided(x: Tensor) -> Tensor:
    """The same values, not contiguous."""
    return x.mT.contiguous().mT


# -------------------------------------------------------------------------------- a1. pad_and_stack

PAD = ["inst n_max d_in", "inst n_max"]


def test_pad_and_stack__by_hand(impl, device):
    """Dictionaries of one and of two rows, filled up to three."""
    a = torch.tensor([[1.0, 2.0]], device=device)
    b = torch.tensor([[3.0, 4.0], [5.0, 6.0]], device=device)
    stack = torch.tensor([[[1.0, 2], [0, 0], [0, 0]], [[3, 4], [5, 6], [0, 0]]], device=device)
    mask = torch.tensor([[1.0, 0, 0], [1, 1, 0]], device=device)
    assert_same(impl.pad_and_stack([a, b], 3), (stack, mask), PAD)


def test_pad_and_stack__a_real_row_of_zeros_is_real(impl, device):
    """The mask says what is padding; a row of zeros of the dictionary itself is not."""
    D = torch.tensor([[0.0, 0.0], [1.0, 0.0]], device=device)
    _, mask = impl.pad_and_stack([D], 3)
    assert_same(mask, torch.tensor([[1.0, 1.0, 0.0]], device=device), "inst n_max", what="the mask")


def test_pad_and_stack__a_single_dictionary_that_just_fits(impl, seed, device):
    """One dictionary of exactly n_max rows is allowed, and nothing is padded."""
    D = normal(generator(seed, device), 3, 5)
    stack, mask = impl.pad_and_stack([D], 3)
    assert_same(stack, D[None], PAD[0], what="the stack")
    assert_same(mask, torch.ones(1, 3, device=device), PAD[1], what="the mask")


def test_pad_and_stack__makes_copies(impl, seed, device):
    """The stack shares no memory with the dictionaries."""
    D = normal(generator(seed, device), 3, 2)
    before = D.clone()
    stack, _ = impl.pad_and_stack([D, D], 3)
    stack += 1
    require(torch.equal(D, before), "changing the stack changed a dictionary")


def test_pad_and_stack__refuses_too_large_ones(impl, device):
    """A dictionary with more rows than n_max is a ValueError that names its size."""
    small, large = torch.ones(2, 3, device=device), torch.ones(7, 3, device=device)
    assert_raises(ValueError, impl.pad_and_stack, [small, large], 5, match="7")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pad_and_stack__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, keeps the dtype, and n_max may exceed every size."""
    g = generator(seed, device)
    parts = [strided(normal(g, n, 3, dtype=dtype)) for n in (4, 1, 3)]
    for n_max in (4, 6):
        with unchanged(*parts):
            out = impl.pad_and_stack(parts, n_max)
        assert_same(out, ref.pad_and_stack(parts, n_max), PAD)


# ---------------------------------------------------------------------------- a2. ensemble_gradient


def line_loss(params, batch, hyper):
    """A line through points: mean over the batch of (a x + b - y)^2, plus l1 a."""
    x, y = batch["x"], batch["y"]
    return (params["a"] * x + params["b"] - y).square().mean() + hyper["l1"] * params["a"]


def lines_to_fit(device):
    """Three lines, two points."""
    batch = {
        "x": torch.tensor([0.0, 2.0], device=device),
        "y": torch.tensor([1.0, 1.0], device=device),
    }
    params = {"a": torch.tensor([0.0, 1.0, 2.0], device=device), "b": torch.ones(3, device=device)}
    return params, batch, {"l1": torch.tensor([0.5, 0.0, 1.0], device=device)}


def test_ensemble_gradient__by_hand(impl, device):
    """Three lines through two points: every gradient and every loss worked out by hand."""
    params, batch, hyper = lines_to_fit(device)
    grads, losses = impl.ensemble_gradient(line_loss, params, batch, hyper)
    # residuals of member i at the two points: 0 and 2 a; d/da = 2 * mean(r x), d/db = 2 * mean(r)
    assert_same(losses, torch.tensor([0.0, 2.0, 10.0], device=device), "inst", what="the losses")
    assert_same(grads["a"], torch.tensor([0.5, 4.0, 9.0], device=device), "inst", what="d/da")
    assert_same(grads["b"], torch.tensor([0.0, 2.0, 4.0], device=device), "inst", what="d/db")


def small_ensemble(seed, device, dtype=torch.float64):
    """Parameters and hyper of three small SAEs, and a batch."""
    g = generator(seed, device)
    params = {
        "W_enc": normal(g, 3, 4, 5, dtype=dtype), "b_enc": normal(g, 3, 5, dtype=dtype),
        "W_dec": normal(g, 3, 5, 4, dtype=dtype), "b_dec": normal(g, 3, 4, dtype=dtype),
    }  # fmt: skip
    mask = torch.ones(3, 5, dtype=dtype, device=device)
    mask[0, 3:] = 0
    hyper = {"l1": [0.1, 0.5, 0.2], "tied": [0.0, 1.0, 0.0]}
    hyper = {k: torch.tensor(v, dtype=dtype, device=device) for k, v in hyper.items()}
    return params, normal(g, 6, 4, dtype=dtype), hyper | {"mask": mask}


def test_ensemble_gradient__each_member_has_its_own(impl, ref, seed, device):
    """Every member's gradient and loss are those that it has alone."""
    params, x, hyper = small_ensemble(seed, device)
    with unchanged(*params.values(), x, *hyper.values()):
        grads, losses = impl.ensemble_gradient(sae_loss, params, x, hyper)
    require(isinstance(grads, dict) and grads.keys() == params.keys(), "the gradients need names")
    for i in range(3):
        own = {name: value[i].clone().requires_grad_() for name, value in params.items()}
        loss = sae_loss(own, x, {name: value[i] for name, value in hyper.items()})
        alone = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
        assert_same(losses[i], loss.detach(), what=f"the loss of member {i}")
        for (name, value), grad in zip(own.items(), alone, strict=True):
            expected = torch.zeros_like(value).detach() if grad is None else grad
            assert_same(grads[name][i], expected, what=f"the gradient of {name}, member {i}")


def test_ensemble_gradient__of_a_single_member(impl, ref, seed, device):
    """A stack of one SAE, and a batch of one row."""
    params, x, hyper = small_ensemble(seed, device)
    params, hyper = ({k: v[1:2] for k, v in each.items()} for each in (params, hyper))
    grads, losses = impl.ensemble_gradient(sae_loss, params, x[:1], hyper)
    wanted, values = ref.ensemble_gradient(sae_loss, params, x[:1], hyper)
    assert_same(losses, values, "inst", what="the losses")
    for name, grad in wanted.items():
        assert_same(grads[name], grad, what=f"the gradient of {name}")


def test_ensemble_gradient__padding_gets_no_gradient(impl, ref, seed, device):
    """A latent that is masked off gets a gradient of exactly 0."""
    params, x, hyper = small_ensemble(seed, device)
    grads, _ = impl.ensemble_gradient(sae_loss, params, x, hyper)
    require((grads["W_dec"][0, 3:] == 0).all(), "the padding of W_dec has a gradient")
    require((grads["b_enc"][0, 3:] == 0).all(), "the padding of b_enc has a gradient")


def test_ensemble_gradient__equals_reference(impl, ref, seed, device):
    """It agrees with the reference, for SAEs and for lines, and keeps the dtype."""
    for loss, args in [
        (sae_loss, small_ensemble(seed + 1, device, torch.float32)),
        (line_loss, lines_to_fit(device)),
    ]:
        mine = impl.ensemble_gradient(loss, *args)
        theirs = ref.ensemble_gradient(loss, *args)
        require(isinstance(mine, tuple) and len(mine) == 2, "return the pair: gradients, losses")
        assert_same(mine[1], theirs[1], "inst", what="the losses")
        for name, grad in theirs[0].items():
            require(name in mine[0], f"the gradient of {name} is missing")
            assert_same(mine[0][name], grad, what=f"the gradient of {name}", rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------- a3. adam_update

ADAM = ["shape", "shape", "shape"]


def test_adam_update__first_step_has_the_size_of_lr(impl, device):
    """The first update moves every entry by lr against its gradient, however small that is."""
    theta, grad = torch.tensor([[1.0, 2.0, 3.0], [1e-3, -5.0, 0.2]], device=device)
    new, mean, square = impl.adam_update(theta, grad, 0 * grad, 0 * theta, 1, 0.1)
    expected = torch.tensor([0.9, 2.1, 2.9], device=device)
    assert_same(new, expected, "entry", rtol=1e-4, atol=1e-5, what="theta")
    assert_same(mean, 0.1 * grad, "entry", what="the mean")
    assert_same(square, 0.001 * grad**2, "entry", what="the square")


def test_adam_update__goes_on_without_gradient(impl, device):
    """With gradient 0 the averages decay and theta still moves."""
    one, zero = torch.ones(2, device=device), torch.zeros(2, device=device)
    new, mean, square = impl.adam_update(zero, 0 * one, one.clone(), one.clone(), 1000, 0.01)
    assert_same(mean, 0.9 * one, "entry", what="the mean")
    assert_same(square, 0.999 * one, "entry", what="the square")
    step = 0.9 / math.sqrt(0.999 / (1 - 0.999**1000))
    assert_same(new, -0.01 * step * one, "entry", rtol=1e-4, atol=1e-6, what="theta")


def test_adam_update__epsilon_matters_for_tiny_gradients(impl, device):
    """For a gradient of 1e-8 the first step is half of lr: epsilon stands outside the root."""
    zero = torch.zeros(1, dtype=torch.float64, device=device)
    new, *_ = impl.adam_update(zero.clone(), zero + 1e-8, zero.clone(), zero.clone(), 1, 1.0)
    assert_same(new, zero - 0.5, "entry", rtol=1e-6, atol=1e-6, what="theta")


def test_adam_update__matches_torch(impl, seed, device):
    """Five updates in a row are those of torch.optim.Adam."""
    g = generator(seed, device)
    theta = normal(g, 3, 4, dtype=torch.float64)
    leaf = theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.05)
    mean, square = torch.zeros_like(theta), torch.zeros_like(theta)
    for n in range(1, 6):
        grad = normal(g, 3, 4, dtype=torch.float64)
        leaf.grad = grad
        optimizer.step()
        theta, mean, square = impl.adam_update(theta, grad, mean, square, n, 0.05)
        assert_same(theta, leaf.detach(), "row col", what=f"theta after update {n}")


def test_adam_update__equals_reference(impl, ref, seed, device):
    """It agrees with the reference late in a run, and leaves its arguments alone."""
    g = generator(seed, device)
    theta, grad, mean = (strided(normal(g, 4, 3)) for _ in range(3))
    square = normal(g, 4, 3).square()
    for n in (2, 700):
        with unchanged(theta, grad, mean, square):
            out = impl.adam_update(theta, grad, mean, square, n, 0.01)
        assert_same(out, ref.adam_update(theta, grad, mean, square, n, 0.01), ADAM)


# -------------------------------------------------------------------------------------- b. rank_auc


def auc(impl, score, is_true, device):
    """Call with lists."""
    return impl.rank_auc(torch.tensor(score, device=device), torch.tensor(is_true, device=device))


def test_rank_auc__by_hand(impl, device):
    """Two true items among five: five of six pairs are in order."""
    score, is_true = [0.9, 0.1, 0.5, 0.3, 0.4], [True, False, False, False, True]
    assert_same(auc(impl, score, is_true, device), 5 / 6)


def test_rank_auc__perfect_and_reversed(impl, device):
    """A perfect score has 1, a reversed one 0."""
    is_true = [False, True, True, False, False]
    assert_same(auc(impl, [0.1, 0.8, 0.9, 0.2, 0.3], is_true, device), 1.0)
    assert_same(auc(impl, [0.7, 0.1, 0.2, 0.9, 0.8], is_true, device), 0.0)


def test_rank_auc__ties_count_one_half(impl, device):
    """Equal scores are worth one half; a constant score has 0.5."""
    assert_same(auc(impl, [0.5, 0.5, 0.5], [True, False, True], device), 0.5)
    assert_same(auc(impl, [0.5, 0.5, 0.1, 0.9], [True, False, False, False], device), 0.5)


def test_rank_auc__near_is_not_a_tie(impl, device):
    """Scores that differ by a millionth are in order; only equal ones are tied."""
    assert_same(auc(impl, [0.5, 0.500001], [False, True], device), 1.0)
    assert_same(auc(impl, [0.5, 0.500001], [True, False], device), 0.0)
    assert_same(auc(impl, [1e-7, 2e-7, -1.0], [False, True, True], device), 0.5)


def test_rank_auc__only_the_order_counts(impl, seed, device):
    """Any increasing function of the score leaves it alone."""
    g = generator(seed, device)
    score, is_true = normal(g, 12), torch.arange(12, device=device) % 3 == 0
    one, two = impl.rank_auc(score, is_true), impl.rank_auc(score.exp() * 5 + 2, is_true)
    assert_same(one, float(two))


def test_rank_auc__needs_both_kinds(impl, device):
    """With only true or only false items it is a ValueError."""
    for kind in (True, False):
        flags = torch.full((3,), kind, device=device)
        assert_raises(ValueError, impl.rank_auc, torch.ones(3, device=device), flags)


def test_rank_auc__matches_sklearn(impl, ref, seed, device):
    """It agrees with scikit-learn's roc_auc_score and with the reference, ties included."""
    g = generator(seed, device)
    for n in (9, 30):
        score = (4 * torch.rand(n, generator=g, device=device)).round() / 4
        is_true = torch.arange(n, device=device) % 4 == 1
        mine = impl.rank_auc(score, is_true)
        theirs = float(roc_auc_score(is_true.cpu().numpy(), score.cpu().numpy()))
        assert_same(mine, theirs, rtol=1e-5, atol=1e-6)
        assert_same(mine, ref.rank_auc(score, is_true), rtol=1e-5, atol=1e-6)


def test_rank_auc__equals_reference(impl, ref, seed, device):
    """It agrees with the reference where few items are true."""
    score = normal(generator(seed, device), 15)
    is_true = torch.arange(15, device=device) == 4
    assert_same(impl.rank_auc(score, is_true), ref.rank_auc(score, is_true), rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------------------- c1. noisy_relu_variance


def test_noisy_relu_variance__far_from_zero(impl, device):
    """Far above 0 the noise passes (sigma squared); far below it is blocked (0)."""
    z = torch.tensor([9.0, -9.0], dtype=torch.float64, device=device)
    expected = torch.tensor([0.25, 0.0], dtype=torch.float64, device=device)
    assert_same(impl.noisy_relu_variance(z, 0.5), expected, "entry", rtol=1e-6, atol=1e-9)


def test_noisy_relu_variance__at_zero(impl, device):
    """At 0 half of a normal number passes: sigma^2 (1/2 - 1/(2 pi))."""
    z = torch.zeros(2, dtype=torch.float64, device=device)
    expected = z + 9 * (0.5 - 0.5 / math.pi)
    assert_same(impl.noisy_relu_variance(z, 3.0), expected, "entry")


def test_noisy_relu_variance__scales(impl, seed, device):
    """Doubling z and sigma multiplies the variance by four."""
    z = normal(generator(seed, device), 6, dtype=torch.float64)
    once, twice = impl.noisy_relu_variance(z, 0.7), impl.noisy_relu_variance(2 * z, 1.4)
    assert_same(twice, 4 * once, "entry")
    small = impl.noisy_relu_variance(1e-3 * z, 0.7e-3)
    assert_same(1e6 * small, once, "entry", what="a million times the variance at a thousandth")


def test_noisy_relu_variance__is_the_variance_of_a_sample(impl, device):
    """It is the variance found by integrating over the noise numerically."""
    xi = torch.linspace(-9, 9, 20001, dtype=torch.float64, device=device)
    weight = torch.exp(-xi.square() / 2)
    weight = weight / weight.sum()
    z = torch.tensor([-1.3, -0.2, 0.4, 1.1], dtype=torch.float64, device=device)
    f = (z[:, None] + 0.8 * xi).relu()
    mean = (weight * f).sum(dim=1, keepdim=True)
    expected = (weight * (f - mean).square()).sum(dim=1)
    assert_same(impl.noisy_relu_variance(z, 0.8), expected, "entry", rtol=1e-4, atol=1e-5)


def test_noisy_relu_variance__equals_reference(impl, ref, seed, device):
    """It agrees with the reference in any shape, and its gradient too."""
    g = generator(seed, device)
    z, up = normal(g, 3, 4, dtype=torch.float64), normal(g, 3, 4, dtype=torch.float64)
    assert_same(impl.noisy_relu_variance(z, 0.6), ref.noisy_relu_variance(z, 0.6), "row col")
    mine = vjp(impl.noisy_relu_variance, (z, 0.6), up)
    assert_same(mine, vjp(ref.noisy_relu_variance, (z, 0.6), up), ["row col"])


# -------------------------------------------------------------------------------- c2. spike_slab_kl


def slab(device, *values):
    """Double precision tensors of one entry."""
    return [torch.tensor([v], dtype=torch.float64, device=device) for v in values]


def test_spike_slab_kl__is_zero_at_the_prior(impl, device):
    """An answer equal to the prior costs nothing."""
    logit, mean, log_std = slab(device, math.log(0.2 / 0.8), 0.0, 0.0)
    out = impl.spike_slab_kl(logit, mean, log_std, 0.2)
    assert_same(out, torch.zeros_like(logit), "entry", rtol=0, atol=1e-7)


def test_spike_slab_kl__spike_by_hand(impl, device):
    """On with 1/2 against a prior of 1/4, strength as in the prior: half the log of 4/3."""
    logit, mean, log_std = slab(device, 0.0, 0.0, 0.0)
    expected = torch.full_like(logit, 0.5 * math.log(4 / 3))
    assert_same(impl.spike_slab_kl(logit, mean, log_std, 0.25), expected, "entry")


def test_spike_slab_kl__slab_counts_as_often_as_it_is_on(impl, device):
    """The slab's term is weighted by q: on with 1/4 (as the prior), mean 2 and s = e."""
    logit, mean, log_std = slab(device, math.log(1 / 3), 2.0, 1.0)
    expected = torch.full_like(logit, 0.25 * 0.5 * (4 + math.e**2 - 1 - 2))
    assert_same(impl.spike_slab_kl(logit, mean, log_std, 0.25), expected, "entry")


def test_spike_slab_kl__extreme_logits_are_finite(impl, device):
    """Logits of 100 and -100 give the limits, not NaN: -ln(prior) and -ln(1 - prior)."""
    for dtype in (torch.float32, torch.float64):
        logit = torch.tensor([100.0, -100.0], dtype=dtype, device=device)
        zero = torch.zeros_like(logit)
        expected = torch.tensor([-math.log(0.1), -math.log(0.9)], dtype=dtype, device=device)
        assert_same(impl.spike_slab_kl(logit, zero, zero, 0.1), expected, "entry")


def test_spike_slab_kl__a_rare_latent_by_hand(impl, device):
    """Nearly always off, against a prior of 1e-4: the limits are not cut off."""
    logit, mean, log_std = slab(device, math.log(1e-5 / (1 - 1e-5)), 3.0, -2.0)
    q, prior = 1e-5, 1e-4
    spike = q * math.log(q / prior) + (1 - q) * math.log((1 - q) / (1 - prior))
    expected = spike + q * 0.5 * (9 + math.exp(-4) - 1 + 4)
    out = 1e5 * impl.spike_slab_kl(logit, mean, log_std, prior)
    what = "100,000 times the divergence"
    assert_same(
        out, torch.full_like(logit, 1e5 * expected), "entry", rtol=1e-6, atol=1e-6, what=what
    )


def test_spike_slab_kl__is_never_negative(impl, seed, device):
    """A divergence is not negative."""
    g = generator(seed, device)
    args = [normal(g, 20, dtype=torch.float64) for _ in range(3)]
    out = impl.spike_slab_kl(*args, 0.3)
    require((out > -1e-9).all(), f"the smallest divergence is {out.min():.3f}")


def test_spike_slab_kl__equals_reference(impl, ref, seed, device):
    """It agrees with the reference, with the prior as a number or a tensor, and in its gradient."""
    g = generator(seed, device)
    logit, mean, up = (normal(g, 3, 4, dtype=torch.float64) for _ in range(3))
    log_std = normal(g, 4, dtype=torch.float64)
    prior = torch.tensor(0.07, dtype=torch.float64, device=device)
    for p in (0.07, prior):
        with unchanged(logit, mean, log_std):
            out = impl.spike_slab_kl(logit, mean, log_std, p)
        assert_same(out, ref.spike_slab_kl(logit, mean, log_std, p), "batch latent")
    args = (logit, mean, log_std, 0.07)
    mine, theirs = (vjp(f.spike_slab_kl, args, up, (0, 1, 2)) for f in (impl, ref))
    assert_same(mine, theirs, ["batch latent", "batch latent", "latent"])


# ------------------------------------------------------------------------------ d1. self_similarity


def test_self_similarity__by_hand(impl, device):
    """Two latents over three frames: one turns by 90 degrees and stays, one only gets longer."""
    frames = [[[1.0, 0], [1, 1]], [[0, 2], [2, 2]], [[0, 1], [3, 3]]]
    expected = torch.tensor([[0.0, 1.0], [1.0, 1.0]], device=device)
    out = impl.self_similarity(torch.tensor(frames, device=device))
    assert_same(out, expected, "step latent", rtol=1e-5, atol=1e-6)


def test_self_similarity__keeps_the_sign(impl, device):
    """A latent that turns round has -1."""
    frames = torch.tensor([[[1.0, 0]], [[-2.0, 0]]], device=device)
    assert_same(impl.self_similarity(frames), torch.tensor([[-1.0]], device=device), "step latent")


def test_self_similarity__a_latent_meets_only_itself(impl, device):
    """Two latents that change places have similarity 0, though the dictionary is the same."""
    eye = torch.eye(2, device=device)
    out = impl.self_similarity(torch.stack([eye, eye.flip(0)]))
    assert_same(out, torch.zeros(1, 2, device=device), "step latent")


def test_self_similarity__dead_rows_and_short_ones(impl, seed, device):
    """A row of zeros has similarity 0, not NaN; a row of length 1e-4 counts like a long one."""
    frames = torch.zeros(2, 3, 4, device=device)
    frames[:, 1] = 1e-4 * normal(generator(seed, device), 4)
    expected = torch.tensor([[0.0, 1.0, 0.0]], device=device)
    assert_same(impl.self_similarity(frames), expected, "step latent", rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_self_similarity__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference."""
    frames = strided(normal(generator(seed, device), 5, 3, 4, dtype=dtype))
    with unchanged(frames):
        out = impl.self_similarity(frames)
    assert_same(out, ref.self_similarity(frames), "step latent")


# -------------------------------------------------------------------------------------- d2. settled

HISTORY = [
    [0.99, 0.10, 0.99, 0.95, 0.20, 0.99],
    [0.99, 0.20, 0.10, 0.95, 0.99, 0.10],
    [0.10, 0.99, 0.99, 0.90, 0.99, 0.99],
    [0.99, 0.99, 0.99, 0.95, 0.99, 0.10],
]


def test_settled__looks_at_the_last_steps(impl, device):
    """Over the last two steps; over the last three; a value at the threshold is not above it."""
    history = torch.tensor(HISTORY, device=device)
    two = [False, True, True, False, True, False]
    three = [False, False, False, False, True, False]
    for window, expected in [(2, two), (3, three)]:
        out = impl.settled(history, 0.9, window)
        hint = f"threshold 0.9, window {window}"
        assert_same(out, torch.tensor(expected, device=device), "latent", hint=hint)


def test_settled__the_threshold_is_exclusive(impl, device):
    """A latent at exactly the threshold has not settled."""
    history = torch.full((3, 2), 0.5, device=device)
    history[:, 1] = 0.75
    expected = torch.tensor([False, True], device=device)
    assert_same(impl.settled(history, 0.5, 2), expected, "latent")


def test_settled__nothing_settles_before_the_window_is_full(impl, device):
    """With fewer steps than the window nothing has settled."""
    history = torch.ones(2, 3, device=device)
    nothing, all_of_them = torch.zeros(3, device=device).bool(), torch.ones(3, device=device).bool()
    assert_same(impl.settled(history, 0.9, 3), nothing, "latent")
    assert_same(impl.settled(history, 0.9, 2), all_of_them, "latent")


def test_settled__equals_reference(impl, ref, seed, device):
    """It agrees with the reference."""
    history = torch.rand(6, 9, generator=generator(seed, device), device=device)
    for window in (1, 2, 4, 7):
        with unchanged(history):
            out = impl.settled(history, 0.4, window)
        assert_same(out, ref.settled(history, 0.4, window), "latent")


# --------------------------------------------------------------------------- e. participation_ratio


def test_participation_ratio__of_equal_entries_is_their_number(impl, device):
    """An axis has 1, two equal entries have 2, four have 4, whatever their signs and size."""
    D = [[0.0, 5, 0, 0], [1, 0, 0, -1], [0.1, 0.1, -0.1, 0.1]]
    expected = torch.tensor([1.0, 2.0, 4.0], device=device)
    out = impl.participation_ratio(torch.tensor(D, device=device))
    assert_same(out, expected, "latent", rtol=1e-4, atol=1e-4)


def test_participation_ratio__has_no_ceiling(impl, device):
    """Four hundred equal entries have 400."""
    D = torch.full((1, 400), 0.3, device=device)
    expected = torch.tensor([400.0], device=device)
    assert_same(impl.participation_ratio(D), expected, "latent", rtol=1e-4, atol=1e-2)


def test_participation_ratio__by_hand(impl, device):
    """Entries 1 and 2 are drawn with 1/5 and 4/5: the same one twice with 17/25."""
    out = impl.participation_ratio(torch.tensor([[1.0, 2.0, 0.0]], device=device))
    assert_same(out, torch.tensor([25 / 17], device=device), "latent", rtol=1e-4, atol=1e-5)


def test_participation_ratio__ignores_length(impl, seed, device):
    """Stretching or shrinking a row changes nothing."""
    D = normal(generator(seed, device), 4, 6)
    once = impl.participation_ratio(D)
    for factor in (1e-5, 1e3):
        out = impl.participation_ratio(factor * D)
        assert_same(out, once, "latent", rtol=1e-3, atol=1e-3, hint=f"the rows times {factor:g}")


def test_participation_ratio__of_nothing_is_zero(impl, device):
    """A row of zeros has 0, not NaN."""
    D = torch.tensor([[0.0, 0.0], [1.0, 1.0]], device=device)
    expected = torch.tensor([0.0, 2.0], device=device)
    assert_same(impl.participation_ratio(D), expected, "latent", rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_participation_ratio__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference."""
    D = strided(normal(generator(seed, device), 5, 7, dtype=dtype))
    with unchanged(D):
        out = impl.participation_ratio(D)
    assert_same(out, ref.participation_ratio(D), "latent")


# -------------------------------------------------------------------------------------- predictions


def test_predict_recovery_peak__is_in_between(impl, ref):
    """Too little L1 and too much both lose features."""
    wanted = ref.predict_recovery_peak
    require(impl.predict_recovery_peak == wanted, "look at the orange line on the left")


def test_predict_sparse_winner__is_told_by_the_table(impl, ref):
    """The league table of the sparser world."""
    wanted = ref.predict_sparse_winner
    require(impl.predict_sparse_winner == wanted, "compare the two best settings")


def test_predict_stable_true__is_told_by_the_truth(impl, ref):
    """The share of stable rows that are true features."""
    wanted = ref.predict_stable_true
    require(impl.predict_stable_true == wanted, "look at the third line that was printed")


def test_predict_noise_road__finds_some(impl, ref):
    """Noise alone makes codes sparse, but not as well as L1."""
    wanted = ref.predict_noise_road
    require(impl.predict_noise_road == wanted, "compare the counts beside the bars")


def test_predict_frozen__is_told_by_the_table(impl, ref):
    """The L0 of the frozen copy, against those of two others."""
    require(impl.predict_frozen == ref.predict_frozen, "compare the last column that was printed")
