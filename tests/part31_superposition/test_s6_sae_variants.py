"""Tests of 3.1.6: each docstring is a property, told to the learner when it fails."""

import math

import torch
from torch import Tensor

from utils.testing import (
    assert_same,
    generator,
    hoeffding,
    require,
    unchanged,
    vjp,
)

BATCH, INST, D_IN, LATENT, FEATURE = 7, 3, 4, 6, 5  # unequal, so that no two axes can be confused
AXES = {"W_dec": "inst latent d_in", "b_dec": "inst d_in"}


# ----------------------------------------------------------------------------------------- helpers


def normal(seed, device, *size, dtype=torch.float32):
    """Fixed normal numbers."""
    return torch.randn(size, generator=generator(seed, device), device=device, dtype=dtype)


def make_params(seed, device, dtype=torch.float32):
    """SAE parameters with no zero in them; decoder rows have length 1."""
    W_dec = normal(seed, device, INST, LATENT, D_IN, dtype=dtype)
    return {
        "W_enc": normal(seed + 1, device, INST, D_IN, LATENT, dtype=dtype),
        "b_enc": normal(seed + 2, device, INST, LATENT, dtype=dtype) / 2,
        "W_dec": W_dec / W_dec.norm(dim=-1, keepdim=True),
        "b_dec": normal(seed + 3, device, INST, D_IN, dtype=dtype) / 2,
    }


def strided(x: Tensor) -> Tensor:
    """The same values in memory of another order."""
    return x.mT.contiguous().mT


# ---------------------------------------------------------------------------------------- a. gated


def gated_args(seed, device, dtype=torch.float32, batch=BATCH):
    """h, W_gate, b_gate, r_mag, b_mag, b_dec."""
    params = make_params(seed, device, dtype)
    h = normal(seed + 9, device, batch, INST, D_IN, dtype=dtype)
    W, b_gate, b_dec = params["W_enc"], params["b_enc"], params["b_dec"]
    r = 0.5 * normal(seed + 20, device, INST, LATENT, dtype=dtype)
    b_mag = 0.5 * normal(seed + 21, device, INST, LATENT, dtype=dtype)
    return h, W, b_gate, r, b_mag, b_dec


def test_gated_encode__equals_the_reference(impl, ref, seed, device):
    """Activations and gate agree with the reference, in both precisions, and for one row."""
    axes = ["batch inst latent"] * 2
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, BATCH), (torch.float32, 1)):
        args = gated_args(seed, device, dtype, batch)
        with unchanged(*args):
            out = impl.gated_encode(*args)
        assert_same(out, ref.gated_encode(*args), axes)


def test_gated_encode__by_hand(impl, device):
    """One number z, worked by hand: the gate asks z + b_gate > 0, the strength is 3 z + b_mag."""
    t = torch.tensor
    h = t([[[1.0]], [[3.0]], [[4.0]], [[0.0]]], device=device)
    W = t([[[1.0, 1.0]]], device=device)
    b_gate, b_mag = t([[-2.0, 3.0]], device=device), t([[1.0, -3.0]], device=device)
    r = torch.full((1, 2), math.log(3), device=device)
    acts, gate = impl.gated_encode(h, W, b_gate, r, b_mag, t([[1.0]], device=device))
    expected = t([[[-2.0, 3.0]], [[0.0, 5.0]], [[1.0, 6.0]], [[-3.0, 2.0]]], device=device)
    assert_same(gate, expected, "batch inst latent", what="the gate")
    expected = t([[[0.0, 0.0]], [[0.0, 3.0]], [[10.0, 6.0]], [[0.0, 0.0]]], device=device)
    hint = "at h = 3 the first gate is exactly 0: closed"
    assert_same(acts, expected, "batch inst latent", hint=hint, what="acts", rtol=1e-5, atol=1e-5)


def test_gated_encode__is_a_relu_without_gates(impl, seed, device):
    """With r_mag = 0 and b_mag = b_gate it is the ReLU SAE."""
    h, W, b_gate, r, _, b_dec = gated_args(seed, device)
    acts, gate = impl.gated_encode(h, W, b_gate, torch.zeros_like(r), b_gate, b_dec)
    assert_same(acts, gate.relu(), "batch inst latent", what="acts")


def test_gated_encode__gradients(impl, ref, seed, device):
    """Gradients flow through both paths; the step itself has none."""
    args = gated_args(seed, device)
    up = [normal(seed + k, device, BATCH, INST, LATENT) for k in (5, 6)]
    every = (0, 1, 2, 3, 4, 5)
    mine = vjp(impl.gated_encode, args, up, every)
    assert_same(mine, vjp(ref.gated_encode, args, up, every), rtol=1e-5, atol=1e-4)


def gated_loss_args(seed, device, dtype=torch.float32, l1=0.4, batch=BATCH):
    """h, acts, gate, W_dec, b_dec, l1_coeff; acts and gate are unrelated here."""
    params = make_params(seed, device, dtype=dtype)
    h, acts, gate = (
        normal(seed + k, device, batch, INST, n, dtype=dtype)
        for k, n in ((9, D_IN), (10, LATENT), (11, LATENT))
    )
    return h, acts.relu(), gate, params["W_dec"], params["b_dec"], l1


def test_gated_loss__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, with one coefficient or one per instance; for one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, INST), (torch.float32, 1)):
        for l1 in (0.4, torch.tensor([0.0, 0.3, 2.0], device=device, dtype=dtype)):
            args = gated_loss_args(seed, device, dtype, l1, batch)
            with unchanged(*args[:5]):
                out = impl.gated_loss(*args)
            assert_same(out, ref.gated_loss(*args))


def test_gated_loss__by_hand(impl, device):
    """h = 3, f = 2, π = (5, -7), all weights 1: 1 + 5 λ + 4."""
    t = torch.tensor
    h, acts, gate = (
        t([[[3.0]]], device=device), t([[[2.0, 0.0]]], device=device),
        t([[[5.0, -7.0]]], device=device),
    )  # fmt: skip
    W, b = torch.ones(1, 2, 1, device=device), torch.zeros(1, 1, device=device)
    for l1 in (0.0, 0.1, 2.0):
        out = impl.gated_loss(h, acts, gate, W, b, l1)
        assert_same(out, t(5.0 + 5 * l1, device=device), hint=f"λ = {l1:g}")


def test_gated_loss__freezes_the_decoder(impl, seed, device):
    """If acts are zero and λ = 0, W_dec gets no gradient, and b_dec only that of the first term."""
    h, acts, gate, W, b, _ = gated_loss_args(seed, device)
    args = (h, torch.zeros_like(acts), gate, W, b, 0.0)
    up = torch.tensor(1.7, device=device)
    of_W, of_b = vjp(impl.gated_loss, args, up, (3, 4))
    hint = "the third term must use frozen copies of W_dec and b_dec"
    assert_same(of_W, torch.zeros_like(W), AXES["W_dec"], hint=hint, what="the gradient of W_dec")
    expected = 1.7 * 2 / D_IN * (b - h).mean(dim=0)
    assert_same(of_b, expected, AXES["b_dec"], hint=hint, what="the gradient of b_dec")


def test_gated_loss__gradients(impl, ref, seed, device):
    """Gradients of all five tensors agree with the reference for a random upstream gradient."""
    args = gated_loss_args(seed, device)
    up = torch.tensor(-0.7, device=device)
    wrt = (0, 1, 2, 3, 4)
    assert_same(vjp(impl.gated_loss, args, up, wrt), vjp(ref.gated_loss, args, up, wrt))


# ------------------------------------------------------------------------------------- b. jumprelu


def test_rectangle__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions, for any shape."""
    for dtype in (torch.float32, torch.float64):
        for size in ((9,), (BATCH, INST, LATENT)):
            u = normal(seed, device, *size, dtype=dtype)
            with unchanged(u):
                out = impl.rectangle(u)
            assert_same(out, ref.rectangle(u))


def test_rectangle__by_hand(impl, device):
    """1 at -0.49, 0 and 0.49; 0 at ±0.5 and beyond."""
    u = torch.tensor([-0.6, -0.5, -0.49, 0.0, 0.49, 0.5, 0.99], device=device)
    expected = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0], device=device)
    assert_same(impl.rectangle(u), expected, "point")


def test_rectangle__is_a_density(impl, device):
    """Its integral is 1."""
    u = (torch.arange(-2000, 2000, device=device, dtype=torch.float64) + 0.5) / 1000
    total = impl.rectangle(u).sum() / 1000
    require(abs(total - 1) < 1e-9, f"the integral is {total:.3f}, a density's is 1")


def jump_args(seed, device, dtype=torch.float32, batch=BATCH):
    """z and theta such that active, silent, near and far from the threshold all occur."""
    theta = normal(seed, device, INST, LATENT, dtype=dtype).abs() / 3 + 0.2
    return normal(seed + 1, device, batch, INST, LATENT, dtype=dtype) / 2 + theta, theta


def tie_args(device):
    """z below, at, and above theta = 0.5, then at both edges of a window of width 1 (exact)."""
    z = torch.tensor([0.25, 0.5, 0.75, -1.0, 3.0, 0.0, 1.0], device=device)
    return z[:, None, None], torch.tensor([[0.5]], device=device)


def test_jumprelu__equals_the_reference(impl, ref, seed, device):
    """Values agree with the reference: both precisions, any memory layout, one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, BATCH), (torch.float32, 1)):
        z, theta = jump_args(seed, device, dtype, batch)
        for args in ((z, theta), (strided(z), strided(theta))):
            with unchanged(*args):
                out = impl.jumprelu(*args, 0.7)
            assert_same(out, ref.jumprelu(z, theta, 0.7), "batch inst latent")


def test_jumprelu__keeps_what_is_above(impl, device):
    """At θ = 0.5: 0.25 and 0.5 become 0, 0.75 and 3 stay as they are."""
    z, theta = tie_args(device)
    expected = torch.tensor([0.0, 0.0, 0.75, 0.0, 3.0, 0.0, 1.0], device=device)
    hint = "at z = θ the output is 0"
    assert_same(impl.jumprelu(z, theta, 1.0)[:, 0, 0], expected, "batch", hint=hint)


def test_jumprelu__gradients_are_multiplied(impl, ref, seed, device):
    """Both gradients agree with the reference for a random upstream gradient."""
    for bandwidth in (0.2, 1.5):
        args = (*jump_args(seed, device), bandwidth)
        up = normal(seed + 5, device, BATCH, INST, LATENT)
        mine = vjp(impl.jumprelu, args, up, (0, 1))
        assert_same(
            mine, vjp(ref.jumprelu, args, up, (0, 1)), ["batch inst latent", "inst latent"],
            hint="[0] is the gradient of z, [1] of theta", what="the gradients",
        )  # fmt: skip


def test_jumprelu__gradients_by_hand(impl, device):
    """θ = 0.5, bandwidth 1: θ gets -0.5 from each row with |z - 0.5| < 0.5, times upstream."""
    z, theta = tie_args(device)
    up = torch.tensor([1.0, 10.0, 100.0, 1000.0, 3000.0, 5000.0, 7000.0], device=device)
    up = up[:, None, None]
    of_z, of_theta = vjp(impl.jumprelu, (z, theta, 1.0), up, (0, 1))
    expected = torch.tensor([0.0, 0.0, 100.0, 0.0, 3000.0, 0.0, 7000.0], device=device)
    assert_same(of_z[:, 0, 0], expected, "batch", what="the gradient of z")
    expected = torch.tensor([[-55.5]], device=device)
    hint = "z is 0.25, 0.5, 0.75, -1, 3, 0, 1: only the first three are inside the window"
    assert_same(of_theta, expected, "inst latent", what="the gradient of theta", hint=hint)


def test_jumprelu__gradient_of_theta_is_that_of_the_mean(impl, seed, device):
    """For z uniform on (0, 1) the mean output is (1 - θ²)/2, of slope -θ (false alarm 1e-6)."""
    n, theta, bandwidth = 20_000, 0.6, 0.4
    z = torch.rand(n, 1, 1, generator=generator(seed, device), device=device)
    theta = torch.tensor([[theta]], device=device)
    up = torch.full_like(z, 1 / n)
    (slope,) = vjp(impl.jumprelu, (z, theta, bandwidth), up, (1,))
    bound = hoeffding(n, 0.6 / bandwidth)
    require(
        abs(slope.item() + 0.6) < bound,
        f"the slope of the mean is -0.6, your estimate is {slope.item():.3f} ± {bound:.3f}",
    )


def test_heaviside__equals_the_reference(impl, ref, seed, device):
    """Values agree with the reference: both precisions, any memory layout, one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, BATCH), (torch.float32, 1)):
        z, theta = jump_args(seed, device, dtype, batch)
        for args in ((z, theta), (strided(z), strided(theta))):
            with unchanged(*args):
                out = impl.heaviside(*args, 0.7)
            assert_same(out, ref.heaviside(z, theta, 0.7), "batch inst latent")


def test_heaviside__counts_what_is_above(impl, device):
    """At θ = 0.5: 0.25 and 0.5 give 0, 0.75 and 3 give 1."""
    z, theta = tie_args(device)
    expected = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], device=device)
    hint = "at z = θ the step is 0"
    assert_same(impl.heaviside(z, theta, 1.0)[:, 0, 0], expected, "batch", hint=hint)


def test_heaviside__gradients_are_multiplied(impl, ref, seed, device):
    """The gradient of theta agrees with the reference for a random upstream gradient; z gets 0."""
    for bandwidth in (0.2, 1.5):
        args = (*jump_args(seed, device), bandwidth)
        up = normal(seed + 5, device, BATCH, INST, LATENT)
        mine = vjp(impl.heaviside, args, up, (0, 1))
        assert_same(
            mine, vjp(ref.heaviside, args, up, (0, 1)), ["batch inst latent", "inst latent"],
            hint="[0] is the gradient of z, [1] of theta", what="the gradients",
        )  # fmt: skip


def test_heaviside__gradients_by_hand(impl, device):
    """θ = 0.5, bandwidth 1: θ gets -1 from each row with |z - 0.5| < 0.5, times upstream."""
    z, theta = tie_args(device)
    up = torch.tensor([1.0, 10.0, 100.0, 1000.0, 3000.0, 5000.0, 7000.0], device=device)
    up = up[:, None, None]
    of_z, of_theta = vjp(impl.heaviside, (z, theta, 1.0), up, (0, 1))
    assert_same(of_z, torch.zeros_like(z), "batch inst latent", what="the gradient of z")
    expected = torch.tensor([[-111.0]], device=device)
    hint = "z is 0.25, 0.5, 0.75, -1, 3, 0, 1: only the first three are inside the window"
    assert_same(of_theta, expected, "inst latent", what="the gradient of theta", hint=hint)


def jump_loss_args(seed, device, dtype=torch.float32, coeff=0.3, batch=BATCH):
    """h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth."""
    z, theta = jump_args(seed, device, dtype, batch)
    params = make_params(seed, device, dtype=dtype)
    h = normal(seed + 9, device, batch, INST, D_IN, dtype=dtype)
    return h, z, theta.log(), params["W_dec"], params["b_dec"], coeff, 0.6


def test_jumprelu_loss__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, with one coefficient or one per instance; for one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, INST), (torch.float32, 1)):
        for coeff in (0.3, torch.tensor([0.0, 0.2, 1.0], device=device, dtype=dtype)):
            args = jump_loss_args(seed, device, dtype, coeff, batch)
            with unchanged(*args[:5]):
                out = impl.jumprelu_loss(*args)
            assert_same(out, ref.jumprelu_loss(*args))


def test_jumprelu_loss__by_hand(impl, device):
    """Two latents above θ = 1, one at it, one below; all rows decode to 0: the loss is 2 λ."""
    z = torch.tensor([[[2.0, 5.0, 1.0, 0.3]]], device=device)
    W, b = torch.zeros(1, 4, 2, device=device), torch.zeros(1, 2, device=device)
    h, log_theta = torch.zeros(1, 1, 2, device=device), torch.zeros(1, 4, device=device)
    out = impl.jumprelu_loss(h, z, log_theta, W, b, 0.25, 0.1)
    assert_same(out, torch.tensor(0.5, device=device), hint="the count is 2, λ is 0.25")


def test_jumprelu_loss__gradients(impl, ref, seed, device):
    """Gradients of h, z, log_theta and the decoder agree for a random upstream gradient."""
    args = jump_loss_args(seed, device)
    up, wrt = torch.tensor(-0.7, device=device), (0, 1, 2, 3, 4)
    assert_same(vjp(impl.jumprelu_loss, args, up, wrt), vjp(ref.jumprelu_loss, args, up, wrt))


# --------------------------------------------------------------------------- c. TopK and BatchTopK


def test_topk_acts__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference for several k: both precisions, any memory layout, one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, BATCH), (torch.float32, 1)):
        z = normal(seed, device, batch, INST, LATENT, dtype=dtype)
        for k in (1, 2, LATENT):
            for x in (z, strided(z)):
                with unchanged(x):
                    out = impl.topk_acts(x, k)
                assert_same(out, ref.topk_acts(z, k), "batch inst latent", hint=f"k = {k}")


def test_topk_acts__by_hand(impl, device):
    """k = 2 of (1, -2, 5, 3) keeps 5 and 3; of (-1, 4, -3, -2) only 4 is positive."""
    z = torch.tensor([[[1.0, -2.0, 5.0, 3.0]], [[-1.0, 4.0, -3.0, -2.0]]], device=device)
    expected = torch.tensor([[[0.0, 0.0, 5.0, 3.0]], [[0.0, 4.0, 0.0, 0.0]]], device=device)
    assert_same(impl.topk_acts(z, 2), expected, "batch inst latent")


def test_topk_acts__keeps_k_even_if_they_tie(impl, device):
    """Of four equal values exactly k survive."""
    z = torch.full((2, 2, 4), 1.5, device=device)
    for k in (1, 3):
        kept = (impl.topk_acts(z, k) > 0).sum(dim=-1)
        expected = torch.full((2, 2), k, device=device)
        assert_same(kept, expected, "batch inst", what="the number of active latents")


def test_topk_acts__gradient_flows_through_the_winners(impl, ref, seed, device):
    """The gradient is the upstream one where a latent is active, and 0 elsewhere."""
    args = (normal(seed, device, BATCH, INST, LATENT), 2)
    up = normal(seed + 5, device, BATCH, INST, LATENT)
    (mine,) = vjp(impl.topk_acts, args, up)
    active = impl.topk_acts(*args) > 0
    assert_same(mine, up * active, "batch inst latent", what="the gradient of z")


def test_batch_topk_acts__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference for whole and broken k, in both precisions, and for one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, INST), (torch.float32, 1)):
        z = normal(seed, device, batch, INST, LATENT, dtype=dtype)
        for k in (0.3, 1.0, 1.8, float(LATENT)):
            hint = f"k = {k}, batch = {batch}"
            for x in (z, strided(z)):
                with unchanged(x):
                    out = impl.batch_topk_acts(x, k)
                assert_same(out, ref.batch_topk_acts(z, k), "batch inst latent", hint=hint)


def test_batch_topk_acts__by_hand(impl, device):
    """k = 1 with two rows keeps the two largest of all, here both in row 0; instances apart."""
    z = torch.tensor(
        [[[9.0, 8.0, 1.0], [1.0, 2.0, -3.0]], [[7.0, 0.5, -1.0], [-1.0, -2.0, -4.0]]], device=device
    )
    expected = torch.tensor(
        [[[9.0, 8.0, 0.0], [1.0, 2.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]], device=device
    )
    assert_same(impl.batch_topk_acts(z, 1.0), expected, "batch inst latent")


def test_batch_topk_acts__spends_the_budget(impl, seed, device):
    """Each instance has exactly round(k · batch) active entries if enough are positive."""
    z = normal(seed, device, 10, INST, LATENT).abs() + 0.1
    for k, wanted in ((0.5, 5), (1.26, 13), (1.24, 12), (2.0, 20)):
        count = (impl.batch_topk_acts(z, k) > 0).sum(dim=(0, 2))
        expected = torch.full((INST,), wanted, device=device)
        assert_same(count, expected, "inst", hint=f"k = {k}, batch = 10", what="the number active")


def test_batch_topk_acts__keeps_its_budget_even_if_they_tie(impl, device):
    """Of equal values exactly round(k · batch) survive."""
    z = torch.full((4, 2, 3), 0.5, device=device)
    count = (impl.batch_topk_acts(z, 1.25) > 0).sum(dim=(0, 2))
    assert_same(count, torch.tensor([5, 5], device=device), "inst", what="the number active")


def test_batch_topk_acts__gradient_flows_through_the_winners(impl, seed, device):
    """The gradient is the upstream one where a latent is active, and 0 elsewhere."""
    args = (normal(seed, device, BATCH, INST, LATENT), 1.3)
    up = normal(seed + 5, device, BATCH, INST, LATENT)
    (mine,) = vjp(impl.batch_topk_acts, args, up)
    active = impl.batch_topk_acts(*args) > 0
    assert_same(mine, up * active, "batch inst latent", what="the gradient of z")


def threshold_acts(seed, device, dtype=torch.float32):
    """Sparse activations; instance 1 is silent in the first step, instance 2 always."""
    acts = normal(seed, device, 4, BATCH, INST, LATENT, dtype=dtype).relu() + 0
    acts[0, :, 1], acts[:, :, 2] = 0, 0
    return acts


def test_batch_topk_threshold__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        acts = threshold_acts(seed, device, dtype)
        with unchanged(acts):
            out = impl.batch_topk_threshold(acts)
        assert_same(out, ref.batch_topk_threshold(acts), "inst")


def test_batch_topk_threshold__of_one_lively_batch(impl, device):
    """If only one of three batches has an activation, its smallest one counts, however weak."""
    acts = torch.zeros(3, 1, 2, 3, device=device)
    acts[1, 0] = torch.tensor([[0.5, 0.0, 0.25], [2e-5, 1e-5, 0.0]], device=device)
    expected = torch.tensor([0.25, 1e-5], device=device)
    assert_same(impl.batch_topk_threshold(acts), expected, "inst", rtol=1e-5, atol=1e-9)


def test_batch_topk_threshold__by_hand(impl, device):
    """Smallest positive entries 2, none, and 4 give (2 + 4)/2 = 3; a silent instance gives 0."""
    acts = torch.zeros(3, 2, 2, 2, device=device)
    acts[0, :, 0] = torch.tensor([[5.0, 2.0], [0.0, 3.0]], device=device)
    acts[2, :, 0] = torch.tensor([[0.0, 4.0], [9.0, 6.0]], device=device)
    expected = torch.tensor([3.0, 0.0], device=device)
    assert_same(impl.batch_topk_threshold(acts), expected, "inst")


def test_batch_topk_threshold__separates_kept_from_dropped(impl, seed, device):
    """In one batch it lies at the smallest survivor: nothing that was kept is below it."""
    acts = threshold_acts(seed, device)[1:2, :, :2]
    theta = impl.batch_topk_threshold(acts)
    above = (acts[0] >= theta[:, None]).sum(dim=(0, 2))
    assert_same(above, (acts[0] > 0).sum(dim=(0, 2)), "inst", what="the number at or above θ")


def aux_args(seed, device, dtype=torch.float32, k_aux=2, batch=BATCH):
    """h, h_hat, z, dead, W_dec, k_aux; instance 0 has no dead latents, instance 2 only one."""
    h, h_hat, z = (
        normal(seed + k, device, batch, INST, n, dtype=dtype)
        for k, n in ((9, D_IN), (10, D_IN), (11, LATENT))
    )
    dead = torch.zeros(INST, LATENT, dtype=torch.bool, device=device)
    dead[1, [0, 2, 3, 5]] = dead[2, 3] = True
    return h, h_hat, z, dead, make_params(seed, device, dtype=dtype)["W_dec"], k_aux


def test_dead_aux_loss__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference for several k_aux, in both precisions, and for one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, INST), (torch.float32, 1)):
        for k_aux in (1, 2, 5):
            args = aux_args(seed, device, dtype, k_aux, batch)
            with unchanged(*args[:5]):
                out = impl.dead_aux_loss(*args)
            assert_same(out, ref.dead_aux_loss(*args), hint=f"k_aux = {k_aux}")


def test_dead_aux_loss__by_hand(impl, device):
    """Error (4, 0); dead latents with z = 3, 1 and -5 write along the first axis: k_aux = 1, 2."""
    t = torch.tensor
    h, h_hat = t([[[5.0, 1.0]]], device=device), t([[[1.0, 1.0]]], device=device)
    z = t([[[3.0, 1.0, -5.0, 9.0]]], device=device)
    dead = t([[True, True, True, False]], device=device)
    W_dec = t([[[1.0, 0.0]] * 4], device=device)
    for k_aux, left in ((1, 1.0), (2, 0.0), (3, 0.0)):
        out = impl.dead_aux_loss(h, h_hat, z, dead, W_dec, k_aux)
        hint = f"k_aux = {k_aux}: the dead may write {4 - left:g} of 4"
        assert_same(out, t(left**2 / 2, device=device), hint=hint)


def test_dead_aux_loss__is_0_without_dead_latents(impl, seed, device):
    """If all latents live, the loss is 0."""
    h, h_hat, z, dead, W_dec, k = aux_args(seed, device)
    out = impl.dead_aux_loss(h, h_hat, z, torch.zeros_like(dead), W_dec, k)
    assert_same(out, torch.zeros((), device=device))


def test_dead_aux_loss__ignores_the_living(impl, seed, device):
    """The pre-activations and decoder rows of living latents get no gradient."""
    args = aux_args(seed, device)
    up = torch.tensor(1.3, device=device)
    of_z, of_W = vjp(impl.dead_aux_loss, args, up, (2, 4))
    alive = ~args[3]
    require((of_W[alive] == 0).all(), "decoder rows of living latents get a gradient")
    require((of_z[:, alive] == 0).all(), "pre-activations of living latents get a gradient")
    require((of_W[args[3]] != 0).any(), "no dead latent gets a gradient")


def test_dead_aux_loss__treats_the_error_as_constant(impl, ref, seed, device):
    """No gradient flows through h or h_hat, and those of z and W_dec agree with the reference."""
    h, h_hat, z, dead, W_dec, k = aux_args(seed, device)
    up = torch.tensor(-0.7, device=device)
    args = (h, h_hat, z, dead, W_dec, k)
    assert_same(vjp(impl.dead_aux_loss, args, up, (2, 4)), vjp(ref.dead_aux_loss, args, up, (2, 4)))
    for name, moving in (("h_hat", 1), ("h", 0)):
        leaves = [a.clone().requires_grad_() if i == moving else a for i, a in enumerate(args[:5])]
        still = impl.dead_aux_loss(*leaves, k)
        require(not still.requires_grad, f"the loss has a gradient through {name}: e is a constant")


# ----------------------------------------------------------------------------------- d. Matryoshka


def nested_args(seed, device, dtype=torch.float32, sizes=(2, 3, 6), batch=BATCH):
    """h, acts, W_dec, b_dec, sizes."""
    params = make_params(seed, device, dtype=dtype)
    h = normal(seed + 9, device, batch, INST, D_IN, dtype=dtype)
    acts = normal(seed + 10, device, batch, INST, LATENT, dtype=dtype).relu()
    return h, acts, params["W_dec"], params["b_dec"], list(sizes)


def test_matryoshka_loss__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference for several lists of sizes, both precisions, and one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, INST), (torch.float32, 1)):
        for sizes in ((2, 3, 6), (1, 5), (4,)):
            args = nested_args(seed, device, dtype, sizes, batch)
            with unchanged(*args[:4]):
                out = impl.matryoshka_loss(*args)
            assert_same(out, ref.matryoshka_loss(*args), hint=f"sizes = {list(sizes)}")


def test_matryoshka_loss__with_one_size_is_the_squared_error(impl, seed, device):
    """With the one size `latent` it is L2: mean over batch and d_in, sum over instances."""
    h, acts, W, b, _ = nested_args(seed, device)
    h_hat = torch.einsum("bil,ild->bid", acts, W) + b
    expected = (h - h_hat).square().mean(dim=(0, 2)).sum()
    assert_same(impl.matryoshka_loss(h, acts, W, b, [LATENT]), expected)


def test_matryoshka_loss__by_hand(impl, device):
    """h = 10, f = (1, 2, 4), weights 1, b_dec = 3: 36 with one latent, 0 with all three."""
    h = torch.tensor([[[10.0]]], device=device)
    acts = torch.tensor([[[1.0, 2.0, 4.0]]], device=device)
    W, b = torch.ones(1, 3, 1, device=device), torch.full((1, 1), 3.0, device=device)
    for sizes, value in (([1], 36), ([2], 16), ([3], 0), ([1, 3], 36), ([1, 2, 3], 52)):
        out = impl.matryoshka_loss(h, acts, W, b, sizes)
        assert_same(out, torch.tensor(float(value), device=device), hint=f"sizes = {sizes}")


def test_matryoshka_loss__gradients(impl, ref, seed, device):
    """Gradients of h, acts and the decoder agree for a random upstream gradient."""
    args = nested_args(seed, device)
    up, wrt = torch.tensor(-0.7, device=device), (0, 1, 2, 3)
    assert_same(vjp(impl.matryoshka_loss, args, up, wrt), vjp(ref.matryoshka_loss, args, up, wrt))


# ------------------------------------------------------------------------------- e. tied or untied


def test_dual_encoder__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference for fewer features than dimensions, and for as many."""
    for n in (2, 3, D_IN):
        eye = torch.eye(D_IN, n, device=device, dtype=torch.float64)
        W = eye + normal(seed, device, INST, D_IN, n, dtype=torch.float64) / 4  # far from singular
        with unchanged(W):
            out = impl.dual_encoder(W)
        assert_same(out, ref.dual_encoder(W), "inst d_in feature", rtol=1e-6, atol=1e-7)


def test_dual_encoder__reads_each_feature_alone(impl, seed, device):
    """E^T W is the identity, for each instance."""
    W = normal(seed, device, INST, D_IN, 3, dtype=torch.float64)
    product = impl.dual_encoder(W).mT @ W
    expected = torch.eye(3, device=device, dtype=torch.float64).expand(INST, 3, 3)
    assert_same(product, expected, "inst feature feature", rtol=1e-5, atol=1e-9, what="E^T W")


def test_dual_encoder__separates_close_features(impl, device):
    """Two features at 2 degrees are still read apart: E^T W is the identity."""
    angle = math.radians(2)
    W = torch.tensor([[[1.0, math.cos(angle)], [0.0, math.sin(angle)], [0.0, 0.0]]], device=device)
    W = W.double()
    eye = torch.eye(2, device=device, dtype=torch.float64)[None]
    product = impl.dual_encoder(W).mT @ W
    assert_same(product, eye, "inst feature feature", rtol=1e-5, atol=1e-5, what="E^T W")


def test_dual_encoder__stays_in_the_span(impl, seed, device):
    """Its columns are sums of features: nothing orthogonal to all features is read."""
    W = normal(seed, device, INST, D_IN, 2, dtype=torch.float64)
    Q = torch.linalg.qr(W).Q
    E = impl.dual_encoder(W)
    assert_same(Q @ (Q.mT @ E), E, "inst d_in feature", rtol=1e-6, atol=1e-9)


def test_dual_encoder__is_the_feature_when_they_are_orthogonal(impl, device):
    """Orthogonal features of lengths 2 and 5 have dual vectors of lengths 1/2 and 1/5."""
    W = torch.tensor([[[2.0, 0.0], [0.0, 5.0], [0.0, 0.0]]], device=device)
    expected = torch.tensor([[[0.5, 0.0], [0.0, 0.2], [0.0, 0.0]]], device=device)
    assert_same(impl.dual_encoder(W), expected, "inst d_in feature")


def test_dual_encoder__leans_away(impl, device):
    """For two unit features at 30° each dual vector is 60° away from its feature."""
    angle = math.pi / 6
    W = torch.tensor([[[1.0, math.cos(angle)], [0.0, math.sin(angle)]]], device=device)
    E = impl.dual_encoder(W)
    cosine = (E * W).sum(dim=1) / E.norm(dim=1)
    expected = torch.full((1, 2), 0.5, device=device)
    assert_same(
        cosine, expected, "inst feature", rtol=1e-5, atol=1e-5, what="the cosine with the feature"
    )


# ------------------------------------------------------------------------------ f. unequal features


def test_latent_value__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, with broadcasting, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        norm = normal(seed, device, INST, FEATURE, dtype=dtype).abs()
        p = torch.rand(FEATURE, generator=generator(seed, device), device=device, dtype=dtype)
        with unchanged(norm, p):
            out = impl.latent_value(norm, p, 0.1, 3)
        assert_same(out, ref.latent_value(norm, p, 0.1, 3), "inst feature")


def test_latent_value__is_the_mean_saving(impl, device):
    """It is the mean over magnitudes of (loss without the latent) minus (smallest loss with it)."""
    u = (torch.arange(200, device=device, dtype=torch.float64) + 0.5) / 200
    grid = torch.linspace(0, 2, 801, device=device, dtype=torch.float64)
    for s, p, l1, d_in in ((1.2, 0.1, 0.3, 2), (0.8, 0.4, 0.05, 9), (0.5, 0.9, 0.4, 3)):
        m = s * u
        with_it = ((m[:, None] - grid).square() / d_in + l1 * grid).amin(dim=1)
        expected = (p * (m.square() / d_in - with_it).mean())[None]
        out = impl.latent_value(expected * 0 + s, expected * 0 + p, l1, d_in)
        hint = f"norm {s:g}, probability {p:g}, λ = {l1:g}, d_in = {d_in}"
        assert_same(out, expected, "feature", rtol=2e-3, atol=1e-6, hint=hint)


def test_latent_value__by_hand(impl, device):
    """Without a penalty it is p s² / (3 d_in); with t = 1, s = 3, d_in = 2, p = 0.9 it is 0.4."""
    norm, p = torch.tensor([2.0, 3.0], device=device), torch.tensor([0.3, 0.9], device=device)
    expected = torch.tensor([0.3 * 4 / 6, 0.9 * 9 / 6], device=device)
    assert_same(impl.latent_value(norm, p, 0.0, 2), expected, "feature", hint="λ = 0")
    out = impl.latent_value(norm[1:], p[1:], 1.0, 2)
    assert_same(out, torch.tensor([0.4], device=device), "feature")


def test_latent_value__works_for_small_norms(impl, device):
    """Without a penalty the value is p s² / (3 d_in), for s = 1 and for s = 0.001."""
    norm = torch.tensor([1.0, 1e-2, 1e-3], device=device, dtype=torch.float64)
    expected = 0.3 * norm.square() / 6
    out = impl.latent_value(norm, torch.full_like(norm, 0.3), 0.0, 2)
    assert_same(out / norm.square(), expected / norm.square(), "feature", hint="λ = 0")


def test_latent_value__is_0_for_weak_features(impl, device):
    """A feature whose largest magnitude is below t is worth nothing, and norm 0 gives no NaN."""
    norm = torch.tensor([0.0, 0.2, 0.5, 0.7], device=device)
    out = impl.latent_value(norm, torch.full_like(norm, 0.5), 0.5, 2)
    require(
        (out[:3] == 0).all(), f"t is 0.5, so the first three are worth 0; yours: {out.tolist()}"
    )
    require(out[3] > 0, "t is 0.5: a norm of 0.7 is worth something")


# ------------------------------------------------------------------------------------- g. measures


def test_variance_unexplained__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        h = normal(seed, device, BATCH, INST, D_IN, dtype=dtype) + 2
        h_hat = h + 0.5 * normal(seed + 1, device, BATCH, INST, D_IN, dtype=dtype)
        with unchanged(h, h_hat):
            out = impl.variance_unexplained(h, h_hat)
        assert_same(out, ref.variance_unexplained(h, h_hat), "inst")


def test_variance_unexplained__has_its_anchors(impl, seed, device):
    """A perfect copy gives 0, and the mean over the batch gives 1, wherever the data lies."""
    h = normal(seed, device, BATCH, INST, D_IN, dtype=torch.float64) + 5
    zero = torch.zeros(INST, device=device, dtype=torch.float64)
    assert_same(impl.variance_unexplained(h, h), zero, "inst", hint="h_hat equals h")
    mean = h.mean(dim=0).expand_as(h)
    hint = "h_hat is the mean row: nothing is explained"
    assert_same(impl.variance_unexplained(h, mean), zero + 1, "inst", hint=hint)


def test_variance_unexplained__does_not_depend_on_units(impl, seed, device):
    """Rows and reconstructions a hundred times smaller give the same share."""
    h = normal(seed, device, BATCH, INST, D_IN)
    h_hat = h + 0.5 * normal(seed + 1, device, BATCH, INST, D_IN)
    once = impl.variance_unexplained(h, h_hat)
    small = impl.variance_unexplained(h / 100, h_hat / 100)
    assert_same(small, once, "inst", rtol=1e-5, atol=1e-6)


def test_variance_unexplained__by_hand(impl, device):
    """Rows (0, 0) and (2, 4), one entry wrong by 1 and another by 2: 5 / (2 + 8) = 0.5."""
    h = torch.tensor([[[0.0, 0.0]], [[2.0, 4.0]]], device=device)
    h_hat = torch.tensor([[[1.0, 0.0]], [[2.0, 6.0]]], device=device)
    expected = torch.tensor([0.5], device=device)
    hint = "sum first, then divide: dimensions do not count alike"
    assert_same(impl.variance_unexplained(h, h_hat), expected, "inst", hint=hint)


def test_mean_l0__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference for activations of any size, both precisions, and one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, INST), (torch.float32, 1)):
        acts = normal(seed, device, batch, INST, LATENT, dtype=dtype).relu() * 1e-3
        with unchanged(acts):
            out = impl.mean_l0(acts)
        assert_same(out, ref.mean_l0(acts), "inst")


def test_mean_l0__by_hand(impl, device):
    """Two rows with 2 and 1 active latents: 1.5; a silent instance: 0."""
    acts = torch.tensor(
        [[[0.1, 0.0, 7.0], [0.0] * 3], [[0.0, 0.0, 1e-20], [0.0] * 3]], device=device
    )
    assert_same(impl.mean_l0(acts), torch.tensor([1.5, 0.0], device=device), "inst")


# -------------------------------------------------------------------------- predictions


def test_predict_unbiased__is_right(impl, ref):
    """Which architectures reconstruct without bias."""
    require(impl.predict_unbiased == ref.predict_unbiased, "look at the printed γ of each")


def test_predict_child__is_right(impl, ref):
    """What the latent of a child looks like in a plain SAE."""
    require(impl.predict_child == ref.predict_child, "look at the child rows of the left map")


def test_predict_tilt__is_right(impl, ref):
    """How far a free encoder leans in the pentagon."""
    require(impl.predict_tilt == ref.predict_tilt, "to which side should it lean in a pentagon?")


def test_predict_found__is_right(impl, ref):
    """Which features the SAE finds."""
    require(impl.predict_found == ref.predict_found, "which line rises most from left to right?")


def test_predict_peak__is_right(impl, ref):
    """What happens to recovery when sparsity is relaxed."""
    require(impl.predict_peak == ref.predict_peak, "follow the ReLU line in the right panel")
