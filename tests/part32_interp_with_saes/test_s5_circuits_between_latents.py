"""3.2.5: what is right, on small random tensors."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from utils.testing import assert_raises, assert_same, generator, require, unchanged, vjp


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def sparse(g, *shape, share=0.5, dtype=torch.float32):
    """Activations as an SAE gives them: many are 0, none is negative."""
    on = torch.rand(shape, generator=g, device=g.device) < share
    return normal(g, *shape, dtype=dtype).abs() * on


def coin(g, *shape, share=0.5):
    """Random booleans."""
    return torch.rand(shape, generator=g, device=g.device) < share


def places(g, n, pos, latent):
    """n random pairs (pos, latent)."""
    rows = torch.randint(pos, (n,), generator=g, device=g.device)
    return torch.stack(
        [rows, torch.randint(latent, (n,), generator=g, device=g.device)], dim=1
    )  # fmt: skip


def mixer(g, pos, d_in, d_out, dtype=torch.float64):
    """A small causal model between two sites: positions mix, and nothing is linear."""
    A, B = normal(g, d_in, d_out, dtype=dtype) / 2, normal(g, d_in, d_out, dtype=dtype) / 2
    look = normal(g, pos, pos, dtype=dtype).tril() / pos**0.5
    return lambda x: (look @ x @ A).tanh() + (x @ B).sin()


# ---------------------------------------------------------------------------- a1. active_entries


def test_active_entries__by_hand(impl, device):
    """Two positions, one of them before `first`; the values stay with their places"""
    f = torch.tensor([[9.0, 0.0, 8.0], [0.0, 2.0, 0.5], [7.0, 0.0, 0.0]], device=device)
    index, value = impl.active_entries(f, 1)
    assert_same(index, torch.tensor([[1, 1], [1, 2], [2, 0]], device=device), "entry col")
    assert_same(value, torch.tensor([2.0, 0.5, 7.0], device=device), "entry")


def test_active_entries__rebuild_the_tensor(impl, seed, device):
    """Written back to their places, the entries give the tensor again, from `first` on"""
    f = sparse(generator(seed, device), 6, 9)
    for first in (0, 1, 5):
        index, value = impl.active_entries(f, first)
        again = torch.zeros_like(f)
        again[index[:, 0], index[:, 1]] = value
        assert_same(again[first:], f[first:], "pos latent")
        require(not bool(again[:first].any()), "an entry before `first` is listed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(4, 7), (1, 5), (7, 3)])
def test_active_entries__agree_with_the_worked_ones(impl, ref, seed, device, size, dtype):
    """Other sizes, negative values among them (they are active too)"""
    g = generator(seed + 1, device)
    f = normal(g, *size, dtype=dtype) * coin(g, *size)
    with unchanged(f):
        mine = impl.active_entries(f, 1)
    assert_same(list(mine), list(ref.active_entries(f, 1)), ("entry col", "entry"))


# --------------------------------------------------------------------------- b1. latent_jacobian


@pytest.mark.parametrize("size", [(4, 5, 3, 6, 7), (3, 2, 4, 5, 2), (2, 4, 4, 3, 9)])
def test_latent_jacobian__equals_finite_differences(impl, seed, device, size):
    """On a random model: activate one source a little more, and look at the targets"""
    pos, d_in, d_out, latent, hidden = size
    g = generator(seed, device)
    rest, x = mixer(g, pos, d_in, d_out), normal(g, pos, d_in, dtype=torch.float64)
    W_dec = normal(g, latent, d_in, dtype=torch.float64)
    W_enc = normal(g, d_out, hidden, dtype=torch.float64)
    s, t = places(g, 5, pos, latent), places(g, 3, pos, hidden)
    step, columns = 1e-5, []
    for p, i in s.tolist():
        up, down = x.clone(), x.clone()
        up[p] += step * W_dec[i]
        down[p] -= step * W_dec[i]
        columns.append((((rest(up) - rest(down)) / (2 * step)) @ W_enc)[t[:, 0], t[:, 1]])
    with unchanged(x, W_dec, W_enc):
        J = impl.latent_jacobian(rest, x, s, t, W_dec, W_enc)
    assert_same(J, torch.stack(columns, dim=1), "target source", 1e-3, 1e-6)


def test_latent_jacobian__of_a_copy_are_products_at_the_same_position(impl, seed, device):
    """If nothing lies between the sites: encoder column times decoder row, and 0 elsewhere"""
    g = generator(seed, device)
    x, W_dec, W_enc = normal(g, 3, 4), normal(g, 5, 4), normal(g, 4, 6)
    s = torch.tensor([[0, 1], [2, 4], [2, 0]], device=device)
    t = torch.tensor([[2, 5], [0, 3]], device=device)
    J = impl.latent_jacobian(lambda x: x + 3.0, x, s, t, W_dec, W_enc)
    full = W_enc.T @ W_dec.T
    same = t[:, :1] == s[:, 0]
    assert_same(J, full[t[:, 1]][:, s[:, 1]] * same, "target source", 1e-4, 1e-5)


def test_latent_jacobian__composes_by_the_chain_rule(impl, seed, device):
    """Two linear layers with a full set of latents between: the matrices multiply"""
    g = generator(seed + 1, device)
    kind = {"dtype": torch.float64}
    A, B = normal(g, 3, 4, **kind), normal(g, 4, 2, **kind)
    x, look = normal(g, 3, 3, **kind), normal(g, 3, 3, **kind).tril()
    W_dec, W_last = normal(g, 5, 3, **kind), normal(g, 2, 6, **kind)
    s, t = places(g, 4, 3, 5), places(g, 2, 3, 6)
    mid = torch.tensor([[p, i] for p in range(3) for i in range(4)], device=device)
    eye = torch.eye(4, device=device, **kind)
    low = impl.latent_jacobian(lambda x: look @ x @ A, x, s, mid, W_dec, eye)
    y = look @ x @ A
    high = impl.latent_jacobian(lambda y: look @ y @ B, y, mid, t, eye, W_last)
    both = impl.latent_jacobian(lambda x: look @ (look @ x @ A) @ B, x, s, t, W_dec, W_last)
    assert_same(high @ low, both, "target source", 1e-6, 1e-8)


def test_latent_jacobian__agrees_with_the_worked_one(impl, ref, seed, device):
    """In float32; one source and one target, or several"""
    g = generator(seed + 2, device)
    for n_s, n_t in ((1, 1), (6, 2)):
        rest = mixer(g, 4, 3, 5, torch.float32)
        args = (rest, normal(g, 4, 3), places(g, n_s, 4, 6), places(g, n_t, 4, 7))
        args += (normal(g, 6, 3), normal(g, 5, 7))
        mine, theirs = impl.latent_jacobian(*args), ref.latent_jacobian(*args)
        assert_same(mine.detach(), theirs, "target source", 1e-4, 1e-5)


# -------------------------------------------------------------------------------- b2. with_error


def coder(g, d_in, latent, dtype=torch.float64):
    """A small SAE with biases: its two functions."""
    W_enc, W_dec = normal(g, d_in, latent, dtype=dtype), normal(g, latent, d_in, dtype=dtype) / 3
    b_enc, b_dec = normal(g, latent, dtype=dtype), normal(g, d_in, dtype=dtype)
    return lambda x: (x @ W_enc + b_enc).relu(), lambda f: f @ W_dec + b_dec


def test_with_error__has_the_value_that_the_mode_says(impl, seed, device):
    """live and constant: x itself; none: the reconstruction"""
    g = generator(seed, device)
    encode, decode = coder(g, 4, 7)
    x = normal(g, 3, 4, dtype=torch.float64)
    with unchanged(x):
        values = {mode: impl.with_error(x, encode, decode, mode) for mode in
                  ("live", "constant", "none")}  # fmt: skip
    assert_same(values["live"].detach(), x, "pos d_in", 1e-6, 1e-9)
    assert_same(values["constant"].detach(), x, "pos d_in", 1e-6, 1e-9)
    assert_same(values["none"].detach(), decode(encode(x)), "pos d_in", 1e-6, 1e-9)


def test_with_error__has_the_gradient_that_the_mode_says(impl, seed, device):
    """live: that of x; constant and none: that of the reconstruction"""
    g = generator(seed + 1, device)
    encode, decode = coder(g, 4, 7)
    x, up = normal(g, 5, 4, dtype=torch.float64), normal(g, 5, 4, dtype=torch.float64)
    (through,) = vjp(lambda x: decode(encode(x)), [x], up)
    for mode, right in (("live", up), ("constant", through), ("none", through)):
        (grad,) = vjp(impl.with_error, [x, encode, decode, mode], up)
        assert_same(grad, right, "pos d_in", 1e-6, 1e-9, hint=f'mode "{mode}"')


def test_with_error__names_a_mode_that_it_does_not_know(impl, device):
    """Another mode is a ValueError that names it"""
    x = torch.ones(2, 3, device=device)
    for mode in ("frozen", "dropped"):
        assert_raises(
            ValueError, impl.with_error, x, torch.relu, torch.clone, mode, names=(mode,)
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["live", "constant", "none"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (5,)])
def test_with_error__agrees_with_the_worked_one(impl, ref, seed, device, mode, shape):
    """With more axes or fewer, in float32"""
    g = generator(seed + 2, device)
    encode, decode = coder(g, 5, 6, torch.float32)
    x = normal(g, *shape)
    mine, theirs = (m.with_error(x, encode, decode, mode) for m in (impl, ref))
    assert_same(mine, theirs, "", 1e-4, 1e-5)


# --------------------------------------------------------------------------------- b3. two_roads


def test_two_roads__are_what_autograd_finds(impl, seed, device):
    """Through a ReLU SAE: the gradient with the error constant, and with the latents constant"""
    g = generator(seed, device)
    kind = {"dtype": torch.float64}
    W_enc, W_dec = normal(g, 4, 7, **kind), normal(g, 7, 4, **kind)
    x, grad, b = normal(g, 3, 4, **kind), normal(g, 3, 4, **kind), normal(g, 7, **kind)
    leaf = x.clone().requires_grad_()
    f = (leaf @ W_enc + b).relu()
    (via,) = torch.autograd.grad(f @ W_dec, leaf, grad, retain_graph=True)
    (rest,) = torch.autograd.grad(leaf - f @ W_dec, leaf, grad)
    with unchanged(grad, W_enc, W_dec):
        mine = impl.two_roads(grad, f.detach() > 0, W_enc, W_dec)
    assert_same(list(mine), [via, rest], ("pos d_in", "pos d_in"), 1e-6, 1e-9)


def test_two_roads__lead_back_together(impl, seed, device):
    """Their sum is the gradient; with no latent active all of it goes through the error"""
    g = generator(seed + 1, device)
    W_enc, W_dec, grad = normal(g, 3, 5), normal(g, 5, 3), normal(g, 2, 3)
    via, rest = impl.two_roads(grad, coin(g, 2, 5), W_enc, W_dec)
    assert_same(via + rest, grad, "pos d_in", 1e-4, 1e-5)
    via, rest = impl.two_roads(grad, torch.zeros(2, 5, dtype=torch.bool, device=device),
                               W_enc, W_dec)  # fmt: skip
    assert_same(via, torch.zeros_like(grad), "pos d_in")
    assert_same(rest, grad, "pos d_in")


@pytest.mark.parametrize("size", [(4, 3, 6), (1, 5, 2), (3, 3, 3)])
def test_two_roads__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes, among them one where no transpose shows in a shape"""
    pos, d_in, latent = size
    g = generator(seed + 2, device)
    args = normal(g, pos, d_in), coin(g, pos, latent), normal(g, d_in, latent)
    mine, theirs = (m.two_roads(*args, normal(generator(seed, device), latent, d_in))
                    for m in (impl, ref))  # fmt: skip
    assert_same(list(mine), list(theirs), ("pos d_in", "pos d_in"), 1e-4, 1e-5)


# -------------------------------------------------------------------------- d1. frozen_attention


def layer(g, pos, d_model, head, d_head, dtype=torch.float64):
    """x and what is frozen: patterns that sum to 1 over the past, scales, weights."""
    x = normal(g, pos, d_model, dtype=dtype) + 0.7
    scores = normal(g, head, pos, pos, dtype=dtype)
    future = torch.ones(pos, pos, dtype=torch.bool, device=g.device).triu(1)
    pattern = scores.masked_fill(future, -1e9).softmax(dim=-1)
    scale = normal(g, pos, dtype=dtype).abs() + 0.5
    W_V = normal(g, head, d_model, d_head, dtype=dtype)
    return x, pattern, scale, W_V, normal(g, head, d_head, d_model, dtype=dtype)


def test_frozen_attention__is_linear(impl, seed, device):
    """Scaling and adding inputs scales and adds outputs: nothing may be left that is not linear"""
    g = generator(seed, device)
    x, *frozen = layer(g, 5, 6, 3, 2)
    y = normal(g, 5, 6, dtype=torch.float64)
    apart = [impl.frozen_attention(v, *frozen) for v in (x, y)]
    assert_same(impl.frozen_attention(2.5 * x, *frozen), 2.5 * apart[0], "pos d_model", 1e-6, 1e-8)
    assert_same(impl.frozen_attention(x + y, *frozen), apart[0] + apart[1], "pos d_model",
                1e-6, 1e-8)  # fmt: skip


def test_frozen_attention__is_the_layer_where_it_was_frozen(impl, seed, device):
    """With the layer norm's own scale: what the layer itself computes"""
    g = generator(seed + 1, device)
    x, pattern, _, W_V, W_O = layer(g, 4, 6, 2, 3)
    scale = x.var(dim=-1, correction=0).sqrt()
    normed = torch.nn.functional.layer_norm(x, (6,), eps=0.0)
    right = x + sum(pattern[h] @ normed @ W_V[h] @ W_O[h] for h in range(2))
    with unchanged(x, pattern, scale, W_V, W_O):
        mine = impl.frozen_attention(x, pattern, scale, W_V, W_O)
    assert_same(mine, right, "pos d_model", 1e-6, 1e-8)


def test_frozen_attention__does_not_look_ahead(impl, seed, device):
    """A word that changes changes nothing before it"""
    g = generator(seed + 2, device)
    x, *frozen = layer(g, 5, 4, 2, 3)
    y = x.clone()
    y[3] += normal(g, 4, dtype=torch.float64)
    a, b = impl.frozen_attention(x, *frozen), impl.frozen_attention(y, *frozen)
    assert_same(a[:3], b[:3], "pos d_model", 1e-6, 1e-9)
    require(bool((a[4] - b[4]).abs().max() > 1e-6), "the last word does not see the one before it")


@pytest.mark.parametrize("size", [(3, 4, 2, 5), (1, 3, 1, 2), (4, 4, 4, 4)])
def test_frozen_attention__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes, one position, all sizes equal; gradients too"""
    args = layer(generator(seed + 3, device), *size, dtype=torch.float32)
    mine, theirs = impl.frozen_attention(*args), ref.frozen_attention(*args)
    assert_same(mine, theirs, "pos d_model", 1e-4, 1e-4)
    up = normal(generator(seed, device), *size[:2])
    assert_same(vjp(impl.frozen_attention, args, up), vjp(ref.frozen_attention, args, up), "",
                1e-3, 1e-4)  # fmt: skip


# ----------------------------------------------------------------------- c1. token_contributions


def test_token_contributions__of_a_linear_map_leave_only_its_constant(impl, seed, device):
    """A constant of 3 and a sum over words: 3 is left over"""
    g = generator(seed, device)
    embed, w = normal(g, 4, 5, dtype=torch.float64), normal(g, 4, 5, dtype=torch.float64)
    with unchanged(embed):
        parts, left = impl.token_contributions(embed, lambda e: (e * w).sum() + 3.0)
    assert_same(parts.detach(), (embed * w).sum(dim=1), "pos", 1e-6, 1e-9)
    assert_same(left, 3.0, rtol=1e-6, atol=1e-8)


def test_token_contributions__and_the_rest_are_the_number(impl, seed, device):
    """On a map that is not linear too; for a quadratic one half is left over, with its sign"""
    g = generator(seed + 1, device)
    embed = normal(g, 3, 4, dtype=torch.float64)
    parts, left = impl.token_contributions(embed, lambda e: -e.square().sum())
    assert_same(float(parts.sum()), -2 * float(embed.square().sum()), rtol=1e-6)
    assert_same(left, float(embed.square().sum()), rtol=1e-6)


@pytest.mark.parametrize("size", [(5, 3), (1, 4), (2, 2)])
def test_token_contributions__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Through a small model, in float32"""
    g = generator(seed + 2, device)
    rest, embed = mixer(g, size[0], size[1], 3, torch.float32), normal(g, *size)
    (mine, left), (theirs, right) = (m.token_contributions(embed, lambda e: rest(e)[-1].sum())
                                     for m in (impl, ref))  # fmt: skip
    assert_same(mine.detach(), theirs, "pos", 1e-4, 1e-5)
    assert_same(left, right, rtol=1e-3, atol=1e-4)


# -------------------------------------------------------------------------- e1. node_attribution


def site(g, row, pos, d_in, latent, own, dtype=torch.float64):
    """Latents, errors and baselines at a site, the gradient, decoder rows."""
    lead = (row,) if own else ()
    return (
        sparse(g, row, pos, latent, dtype=dtype), sparse(g, *lead, pos, latent, dtype=dtype),
        normal(g, row, pos, d_in, dtype=dtype), normal(g, *lead, pos, d_in, dtype=dtype),
        normal(g, row, pos, d_in, dtype=dtype), normal(g, latent, d_in, dtype=dtype),
    )  # fmt: skip


@pytest.mark.parametrize("own", [True, False])
def test_node_attribution__adds_up_to_the_first_order_change(impl, seed, device, own):
    """Latents and errors together: (x_base - x) · grad, meaned over rows"""
    f, f_base, e, e_base, grad, W_dec = args = site(generator(seed, device), 3, 4, 5, 6, own)
    with unchanged(*args):
        latents, errors = impl.node_attribution(*args)
    moved = (f_base - f) @ W_dec + e_base - e
    assert_same(
        latents.sum(dim=1) + errors, (moved * grad).sum(dim=-1).mean(dim=0), "pos", 1e-6, 1e-9
    )


def test_node_attribution__is_the_change_where_all_is_linear(impl, seed, device):
    """For a linear metric: replace one latent in all rows, and take the mean change"""
    f, f_base, e, _, grad, W_dec = args = site(generator(seed + 1, device), 2, 3, 4, 5, False)
    latents, _ = impl.node_attribution(*args)
    x = f @ W_dec + e
    for pos in range(3):
        for latent in range(5):
            g = f.clone()
            g[:, pos, latent] = f_base[pos, latent]
            change = ((g @ W_dec + e - x) * grad).sum(dim=(1, 2)).mean()
            assert_same(latents[pos, latent], change, "", 1e-6, 1e-9)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("size", [(4, 2, 3, 6), (1, 5, 4, 3), (3, 3, 3, 3)])
def test_node_attribution__agrees_with_the_worked_one(impl, ref, seed, device, own, size):
    """Other sizes, one row, baselines per row or for all"""
    args = site(generator(seed + 2, device), *size, own, dtype=torch.float32)
    mine, theirs = impl.node_attribution(*args), ref.node_attribution(*args)
    assert_same(list(mine), list(theirs), ("pos latent", "pos"), 1e-4, 1e-5)


# ----------------------------------------------------------------------- e2. integrated_gradient


def test_integrated_gradient__is_exact_for_a_quadratic(impl, seed, device):
    """Already with one step: the slope in the middle"""
    g = generator(seed, device)
    x, base = normal(g, 2, 3, 4, dtype=torch.float64), normal(g, 2, 3, 4, dtype=torch.float64)
    for n in (1, 3):
        mean = impl.integrated_gradient(lambda x: x.square().sum(dim=(1, 2)), x, base, n)
        assert_same(mean.detach(), x + base, "row pos d_in", 1e-6, 1e-9)


def test_integrated_gradient__is_complete(impl, seed, device):
    """Many steps: gradient · way is the change of the number, row by row"""
    g = generator(seed + 1, device)
    f = mixer(g, 3, 4, 2)
    rest = lambda x: f(x).sum(dim=(1, 2))  # noqa: E731
    x, base = normal(g, 2, 3, 4, dtype=torch.float64), normal(g, 2, 3, 4, dtype=torch.float64)
    with unchanged(x, base):
        mean = impl.integrated_gradient(rest, x, base, 300)
    change = ((base - x) * mean.detach()).sum(dim=(1, 2))
    assert_same(change, rest(base) - rest(x), "row", 1e-3, 1e-4)


def test_integrated_gradient__keeps_rows_apart(impl, seed, device):
    """What one row does on its way changes nothing in another"""
    g = generator(seed + 2, device)
    f = mixer(g, 2, 3, 4)
    rest = lambda x: f(x).prod(dim=-1).sum(dim=1)  # noqa: E731
    x, base = normal(g, 3, 2, 3, dtype=torch.float64), normal(g, 3, 2, 3, dtype=torch.float64)
    all_rows = impl.integrated_gradient(rest, x, base, 4)
    one = impl.integrated_gradient(rest, x[1:2], base[1:2], 4)
    assert_same(all_rows[1:2].detach(), one.detach(), "row pos d_in", 1e-6, 1e-9)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_integrated_gradient__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Few steps, where it matters at which points the gradient is taken"""
    g = generator(seed + 3, device)
    f = mixer(g, 4, 3, 5, torch.float32)
    x, base = normal(g, 2, 4, 3), normal(g, 2, 4, 3)
    mine, theirs = (
        m.integrated_gradient(lambda x: f(x).square().sum(dim=(1, 2)), x, base, n)
        for m in (impl, ref)
    )
    assert_same(mine.detach(), theirs, "row pos d_in", 1e-4, 1e-5)


# -------------------------------------------------------------------------- e3. edge_attribution


def test_edge_attribution__by_hand(impl, device):
    """Two sources, three targets"""
    change = torch.tensor([2.0, -1.0], device=device)
    jacobian = torch.tensor([[1.0, 0.5], [0.0, 3.0], [-2.0, 4.0]], device=device)
    slope = torch.tensor([1.0, 10.0, -1.0], device=device)
    right = torch.tensor([[2.0, -0.5], [0.0, -30.0], [4.0, 4.0]], device=device)
    assert_same(impl.edge_attribution(change, jacobian, slope), right, "target source")


def test_edge_attribution__sums_to_the_node_scores(impl, seed, device):
    """Over all targets: change times the metric's gradient by the source, for a linear way"""
    g = generator(seed, device)
    change, J, slope = normal(g, 4), normal(g, 4, 4), normal(g, 4)
    edges = impl.edge_attribution(change, J, slope)
    assert_same(edges.sum(dim=0), change * (slope @ J), "source", 1e-4, 1e-5)
    assert_same(edges.sum(dim=1), slope * (J @ change), "target", 1e-4, 1e-5)


@pytest.mark.parametrize("size", [(3, 5), (1, 4), (4, 1)])
def test_edge_attribution__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes; the inputs stay"""
    g = generator(seed + 1, device)
    args = normal(g, size[1]), normal(g, *size), normal(g, size[0])
    with unchanged(*args):
        mine = impl.edge_attribution(*args)
    assert_same(mine, ref.edge_attribution(*args), "target source", 1e-5, 1e-6)


# ----------------------------------------------------------------------- e4. edge_attribution_ig


def bent(g, source, target, dtype=torch.float64):
    """A Jacobian and slopes that change along the way."""
    A, B = normal(g, target, source, dtype=dtype), normal(g, target, dtype=dtype)
    return lambda x: A * (1 + x.sum()).sin(), lambda x: B * (x.square().sum() - x[0, 0]).cos()


def test_edge_attribution_ig__sums_to_the_change_of_a_quadratic(impl, seed, device):
    """Linear way to the targets, quadratic metric: with one step or four, exact"""
    g = generator(seed, device)
    kind = {"dtype": torch.float64}
    J, Q, c = normal(g, 3, 4, **kind), normal(g, 3, 3, **kind), normal(g, 3, **kind)
    x, base = normal(g, 1, 4, **kind), normal(g, 1, 4, **kind)
    metric = lambda x: (J @ x[0]) @ Q @ (J @ x[0]) + c @ (J @ x[0])  # noqa: E731
    slope = lambda x: (Q + Q.T) @ (J @ x[0]) + c  # noqa: E731
    for n in (1, 4):
        edges = impl.edge_attribution_ig((base - x)[0], lambda x: J, slope, x, base, n)
        assert_same(edges.sum(), metric(base) - metric(x), "", 1e-6, 1e-8)


def test_edge_attribution_ig__is_the_mean_of_products(impl, seed, device):
    """Where the slope is 1 at one point and the Jacobian at another, no edge is worth anything"""
    x, base = torch.zeros(1, 1, device=device), torch.ones(1, 1, device=device)
    early = lambda x: (x[0, :1] < 0.5).float()  # noqa: E731
    late = lambda x: (x[:1, :1] >= 0.5).float()  # noqa: E731
    change = torch.ones(1, device=device)
    edges = impl.edge_attribution_ig(change, late, early, x, base, 2)
    assert_same(edges, torch.zeros(1, 1, device=device), "target source")


@pytest.mark.parametrize("n", [1, 3, 6])
def test_edge_attribution_ig__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Both factors change along the way; the inputs stay"""
    g = generator(seed + 1, device)
    jacobian, slope = bent(g, 4, 3, torch.float32)
    change, x, base = normal(g, 4), normal(g, 2, 5), normal(g, 2, 5)
    with unchanged(change, x, base):
        mine = impl.edge_attribution_ig(change, jacobian, slope, x, base, n)
    theirs = ref.edge_attribution_ig(change, jacobian, slope, x, base, n)
    assert_same(mine, theirs, "target source", 1e-4, 1e-5)


# ------------------------------------------------------------------------------ f1. select_nodes


def test_select_nodes__by_hand(impl, device):
    """Two tensors, a negative score, a tie, and zeros"""
    scores = [
        torch.tensor([[0.5, -3.0], [0.0, 1.0]], device=device),
        torch.tensor([2.0, -1.0, 0.0], device=device),
    ]
    first, second = impl.select_nodes(scores, 3)
    tie = "of equal scores the earlier counts (`topk` does not promise that)"
    right = torch.tensor([[False, True], [False, True]], device=device)
    assert_same(first, right, "pos latent", hint=tie)
    assert_same(second, torch.tensor([True, False, False], device=device), "pos")


def test_select_nodes__keeps_n_and_no_zero(impl, seed, device):
    """As many as asked, or all that are not 0; every kept one is at least as large as any other"""
    g = generator(seed, device)
    scores = [normal(g, 3, 4) * coin(g, 3, 4), normal(g, 5), normal(g, 2, 2) * 0]
    alive = sum(int((s != 0).sum()) for s in scores)
    for n in (0, 1, 6, 21):
        masks = impl.select_nodes(scores, n)
        kept = torch.cat([s[m] for s, m in zip(scores, masks, strict=True)]).abs()
        left = torch.cat([s[~m] for s, m in zip(scores, masks, strict=True)]).abs()
        require(len(kept) == min(n, alive), f"{len(kept)} nodes for n = {n}, {alive} are not 0")
        require(not n or bool((kept > 0).all()), "a score of 0 is kept")
        require(not len(kept) or kept.min() >= left.max(), "a larger score is left out")


def test_select_nodes__takes_the_earlier_of_equals(impl, device):
    """All equal: the first tensor's first entries"""
    scores = [torch.ones(2, 20, device=device), -torch.ones(30, device=device)]
    first, second = impl.select_nodes(scores, 45)
    require(bool(first.all()) and int(second[:5].sum()) == 5, "of equals the earlier ones count")


@pytest.mark.parametrize("n", [2, 9])
def test_select_nodes__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Ties among small whole numbers, tensors of one axis and of three"""
    g = generator(seed + 1, device)
    scores = [(normal(g, *size) * 2).round() for size in ((4, 5), (3,), (2, 2, 3))]
    with unchanged(*scores):
        mine = impl.select_nodes(scores, n)
    assert_same(list(mine), ref.select_nodes(scores, n))


# -------------------------------------------------------------------------------- f2. keep_nodes


def cut(g, row, pos, d_in, latent, dtype=torch.float64):
    """An activation, an SAE, and baselines."""
    encode, decode = coder(g, d_in, latent, dtype)
    base = sparse(g, pos, latent, dtype=dtype), normal(g, pos, d_in, dtype=dtype)
    return normal(g, row, pos, d_in, dtype=dtype), encode, decode, *base


def test_keep_nodes__all_is_x_and_none_is_the_baseline(impl, seed, device):
    """Everything kept: nothing changes. Nothing kept: all rows are alike"""
    x, encode, decode, f_base, e_base = cut(generator(seed, device), 3, 4, 5, 6)
    yes, no = (
        torch.ones(4, 6, dtype=torch.bool, device=device),
        torch.zeros(4, device=device).bool(),
    )
    with unchanged(x, f_base, e_base):
        every = impl.keep_nodes(x, encode, decode, yes, ~no, f_base, e_base)
        nothing = impl.keep_nodes(x, encode, decode, ~yes, no, f_base, e_base)
    assert_same(every, x, "row pos d_in", 1e-6, 1e-9)
    right = (decode(f_base) + e_base).expand_as(x)
    assert_same(nothing.expand_as(x).contiguous(), right.contiguous(), "row pos d_in", 1e-6, 1e-9)


def test_keep_nodes__one_latent_out_moves_x_along_its_row(impl, seed, device):
    """With the error kept: x + (baseline - activation) × decoder row, at that position only"""
    g = generator(seed + 1, device)
    x, encode, decode, f_base, e_base = cut(g, 2, 3, 4, 5)
    keep = torch.ones(3, 5, dtype=torch.bool, device=device)
    keep[1, 2] = False
    kept = torch.ones(3, dtype=torch.bool, device=device)
    mine = impl.keep_nodes(x, encode, decode, keep, kept, f_base, e_base)
    unit = torch.eye(5, dtype=torch.float64, device=device)[2]
    write = decode(unit) - decode(0 * unit)
    right = x.clone()
    right[:, 1] += (f_base[1, 2] - encode(x)[:, 1, 2])[:, None] * write
    assert_same(mine, right, "row pos d_in", 1e-6, 1e-9)


@pytest.mark.parametrize("size", [(3, 4, 5, 6), (1, 2, 3, 4), (4, 4, 4, 4)])
def test_keep_nodes__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Random circuits, with some errors in and some out"""
    g = generator(seed + 2, device)
    x, encode, decode, f_base, e_base = cut(g, *size, dtype=torch.float32)
    masks = coin(g, size[1], size[3]), coin(g, size[1])
    args = x, encode, decode, *masks, f_base, e_base
    mine, theirs = impl.keep_nodes(*args), ref.keep_nodes(*args)
    assert_same(mine, theirs, "row pos d_in", 1e-4, 1e-4)


# ------------------------------------------------------------------------------ f3. faithfulness


def test_faithfulness__is_1_for_all_and_0_for_nothing(impl, seed, device):
    """The whole model gives 1, the empty circuit 0, the middle one half"""
    g = generator(seed, device)
    empty, full = normal(g, 7), normal(g, 7) + 5
    for circuit, right in ((full, 1.0), (empty, 0.0), ((full + empty) / 2, 0.5)):
        assert_same(impl.faithfulness(circuit, empty, full), right, rtol=1e-5, atol=1e-5)


def test_faithfulness__is_not_cut_and_not_a_mean_of_ratios(impl, device):
    """Values beyond 1 and below 0 stay; one row where nothing changes does no harm"""
    empty = torch.tensor([0.0, 1.0, -1.0], device=device)
    full = torch.tensor([2.0, 1.0, 3.0], device=device)
    over = torch.tensor([5.0, 2.0, 2.0], device=device)
    assert_same(impl.faithfulness(over, empty, full), 1.5, rtol=1e-5)
    assert_same(impl.faithfulness(-over, empty, full), -1.5, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 6])
def test_faithfulness__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Also for a metric that the task lowers"""
    g = generator(seed + 1, device)
    args = normal(g, n), normal(g, n), normal(g, n) - 4
    assert_same(impl.faithfulness(*args), ref.faithfulness(*args), rtol=1e-4)


# ------------------------------------------------------------------------------- f4. random_like


def circuits(g, sites, pos, latent):
    """Masks to choose from, and a circuit within them; at one place all must be taken."""
    eligible = [coin(g, pos, latent, share=0.6) for _ in range(sites)]
    circuit = [may & coin(g, pos, latent, share=0.5) for may in eligible]
    circuit[0][0] = eligible[0][0]
    return circuit, eligible


def test_random_like__has_as_many_at_each_place(impl, seed, device):
    """Equal counts at every site and position, and only eligible latents"""
    g = generator(seed, device)
    circuit, eligible = circuits(g, 3, 4, 9)
    with unchanged(*circuit, *eligible):
        mine = impl.random_like(circuit, eligible, generator(seed, device))
    require(len(mine) == 3, f"{len(mine)} masks for 3 sites")
    for mask, wanted, may in zip(mine, circuit, eligible, strict=True):
        require(mask.dtype == torch.bool, "masks are booleans")
        assert_same(mask.sum(dim=1), wanted.sum(dim=1), "pos", hint="count at each position")
        require(not bool((mask & ~may).any()), "a latent that is not eligible is in")


def test_random_like__takes_each_latent_equally_often(impl, seed, device):
    """Two of five, 4,000 positions: each about 1,600 times, and places do not repeat"""
    circuit = torch.zeros(4000, 6, dtype=torch.bool, device=device)
    circuit[:, :2] = True
    eligible = torch.ones_like(circuit)
    eligible[:, 3] = False
    (mine,) = impl.random_like([circuit], [eligible], generator(seed + 1, device))
    share = mine.double().mean(dim=0)
    off = float((share - torch.tensor([0.4, 0.4, 0.4, 0, 0.4, 0.4], device=device)).abs().max())
    require(off < 0.045, f"a latent's share is {off:.3f} away from 0.4")  # 5.8 standard deviations
    rows = mine[:-1] == mine[1:]
    require(float(rows.all(dim=1).double().mean()) < 0.2, "all positions get the same latents")


def test_random_like__two_draws_differ_and_a_seed_repeats(impl, ref, seed, device):
    """The generator decides; counts are those of the worked one"""
    g = generator(seed + 2, device)
    circuit, eligible = circuits(g, 2, 6, 20)
    one, same = (impl.random_like(circuit, eligible, generator(seed, device)) for _ in range(2))
    other = impl.random_like(circuit, eligible, generator(seed + 77, device))
    assert_same(list(one), list(same))
    require(any(not torch.equal(a, b) for a, b in zip(one, other, strict=True)),
            "two generators give the same circuit: is it random?")  # fmt: skip
    theirs = ref.random_like(circuit, eligible, generator(seed, device))
    assert_same([m.sum(dim=1) for m in one], [m.sum(dim=1) for m in theirs])


# --------------------------------------------------------------------------------- g1. label_auc


def test_label_auc__by_hand(impl, device):
    """Three pairs won, one tie, two lost"""
    score = torch.tensor([1.0, 3.0, 2.0, 1.0, 0.0], device=device)
    label = torch.tensor([True, False, True, False, False], device=device)
    assert_same(impl.label_auc(score, label), 3.5 / 6, rtol=1e-6)


def test_label_auc__knows_chance_and_direction(impl, seed, device):
    """A constant gives one half; the negated score gives 1 minus it; an order is all that counts"""
    g = generator(seed, device)
    score, label = sparse(g, 40), coin(g, 40, share=0.3)
    label[:2] = torch.tensor([True, False], device=device)
    auc = impl.label_auc(score, label)
    assert_same(impl.label_auc(0 * score, label), 0.5, rtol=1e-6)
    assert_same(impl.label_auc(-score, label), 1 - auc, rtol=1e-6)
    assert_same(impl.label_auc(score.exp(), label), auc, rtol=1e-6)


def test_label_auc__needs_both_kinds(impl, device):
    """Only true items, only false ones: NaN"""
    score = torch.tensor([1.0, 2.0], device=device)
    for value in (True, False):
        found = impl.label_auc(score, torch.full((2,), value, device=device))
        require(math.isnan(found), f"with one kind of items the result is {found}, not NaN")


def test_label_auc__is_content_with_one_item_of_a_kind(impl, device):
    """One true item among three false ones, and one false among three true ones"""
    score = torch.tensor([2.0, 1.0, 2.0, 3.0], device=device)
    label = torch.tensor([True, False, False, False], device=device)
    assert_same(impl.label_auc(score, label), 0.5, rtol=1e-6)
    assert_same(impl.label_auc(score + label, ~label), 1 / 6, rtol=1e-6)


@pytest.mark.parametrize("n", [5, 60])
def test_label_auc__agrees_with_scikit_learn(impl, ref, seed, device, n):
    """Many ties at 0"""
    g = generator(seed + 1, device)
    score, label = sparse(g, n, share=0.4), coin(g, n)
    label[:2] = torch.tensor([True, False], device=device)
    with unchanged(score, label):
        mine = impl.label_auc(score, label)
    assert_same(mine, float(roc_auc_score(label.cpu().numpy(), score.cpu().numpy())), rtol=1e-6)
    assert_same(mine, ref.label_auc(score, label), rtol=1e-6)


# ---------------------------------------------------------------------- h1. worst_group_accuracy


def test_worst_group_accuracy__by_hand(impl, device):
    """Four groups with accuracies 1, 1/2, 2/3 and 1/3"""
    table = [(1, 0, 0), (1, 0, 1), (0, 0, 1), (1, 1, 0), (1, 1, 0), (0, 1, 0)]
    table += [(1, 1, 1), (0, 1, 1), (0, 1, 1)]
    right, label, group = (torch.tensor(c, device=device) == 1 for c in zip(*table, strict=True))
    assert_same(impl.worst_group_accuracy(right, label, group), 1 / 3, rtol=1e-6)


def test_worst_group_accuracy__leaves_out_groups_without_items(impl, device):
    """Biased data: two of the four groups are empty"""
    right = torch.tensor([True, False, True, True, True], device=device)
    label = torch.tensor([True, True, False, False, False], device=device)
    assert_same(impl.worst_group_accuracy(right, label, label), 0.5, rtol=1e-6)
    assert_same(impl.worst_group_accuracy(right | True, label, ~label), 1.0, rtol=1e-6)


def test_worst_group_accuracy__does_not_depend_on_names(impl, seed, device):
    """Swap the two labels, or label and group: the same"""
    g = generator(seed, device)
    right, label, group = coin(g, 50, share=0.7), coin(g, 50, share=0.3), coin(g, 50)
    worst = impl.worst_group_accuracy(right, label, group)
    assert_same(impl.worst_group_accuracy(right, ~label, group), worst, rtol=1e-6)
    assert_same(impl.worst_group_accuracy(right, group, label), worst, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 9, 80])
def test_worst_group_accuracy__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Few items, many items"""
    g = generator(seed + 1, device)
    args = coin(g, n, share=0.8), coin(g, n, share=0.2), coin(g, n)
    with unchanged(*args):
        mine = impl.worst_group_accuracy(*args)
    assert_same(mine, ref.worst_group_accuracy(*args), rtol=1e-6)


# ----------------------------------------------------------------------------- h2. probe_effects


def probe(g, item, latent, d_in, dtype=torch.float64):
    """Activations, labels of both kinds, decoder rows and a probe's direction."""
    f, label = sparse(g, item, latent, dtype=dtype), coin(g, item, share=0.4)
    label[:2] = torch.tensor([True, False], device=g.device)
    return f, label, normal(g, latent, d_in, dtype=dtype), normal(g, d_in, dtype=dtype)


def test_probe_effects__add_up_to_the_difference_of_outputs(impl, seed, device):
    """Where x is what the latents write: mean output of true items minus that of false ones"""
    f, label, W_dec, w = args = probe(generator(seed, device), 30, 6, 4)
    with unchanged(*args):
        effects = impl.probe_effects(*args)
    out = f @ W_dec @ w
    assert_same(effects.sum(), out[label].mean() - out[~label].mean(), "", 1e-6, 1e-9)


def test_probe_effects__of_a_latent_that_the_probe_cannot_see_is_0(impl, device):
    """A row at right angles to the probe; a latent that is equal in both classes"""
    f = torch.tensor([[1.0, 2.0, 1.0], [5.0, 2.0, 0.0], [0.0, 2.0, 3.0]], device=device)
    label = torch.tensor([True, True, False], device=device)
    W_dec = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]], device=device)
    effects = impl.probe_effects(f, label, W_dec, torch.tensor([1.0, 0.0], device=device))
    assert_same(effects, torch.tensor([0.0, 0.0, -5.0], device=device), "latent", 1e-5, 1e-6)


@pytest.mark.parametrize("size", [(9, 5, 3), (2, 3, 6), (4, 4, 4)])
def test_probe_effects__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes; gradients reach the probe and the latents"""
    args = probe(generator(seed + 1, device), *size, dtype=torch.float32)
    assert_same(impl.probe_effects(*args), ref.probe_effects(*args), "latent", 1e-4, 1e-5)


# ----------------------------------------------------------------------------- h3. probe_without


def dropped(g, item, latent, d_in, n, dtype=torch.float64):
    """x with an error, latents, some to drop, decoder rows, a probe."""
    f, W_dec = sparse(g, item, latent, dtype=dtype), normal(g, latent, d_in, dtype=dtype)
    x = f @ W_dec + normal(g, item, d_in, dtype=dtype)
    drop = torch.randperm(latent, generator=g, device=g.device)[:n]
    return x, f, drop, W_dec, normal(g, d_in, dtype=dtype), 0.7


def test_probe_without__nothing_is_the_probe_and_all_leaves_the_error(impl, seed, device):
    """No latent dropped: x · w + b. All dropped: the error · w + b"""
    x, f, drop, W_dec, w, b = args = dropped(generator(seed, device), 8, 5, 4, 5)
    none = drop[:0]
    with unchanged(x, f, W_dec, w):
        assert_same(impl.probe_without(x, f, none, W_dec, w, b), x @ w + b, "item", 1e-6, 1e-9)
        error = x - f @ W_dec
        assert_same(impl.probe_without(*args), error @ w + b, "item", 1e-6, 1e-9)


def test_probe_without__is_the_same_in_steps(impl, seed, device):
    """Removing some and then others is removing both"""
    x, f, drop, W_dec, w, b = dropped(generator(seed + 1, device), 6, 7, 3, 4)
    first = x - f[:, drop[:2]] @ W_dec[drop[:2]]
    both = impl.probe_without(x, f, drop, W_dec, w, b)
    assert_same(impl.probe_without(first, f, drop[2:], W_dec, w, b), both, "item", 1e-6, 1e-9)


@pytest.mark.parametrize("size", [(5, 4, 3, 2), (1, 6, 2, 1), (4, 4, 4, 3)])
def test_probe_without__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes, in float32"""
    args = dropped(generator(seed + 2, device), *size, dtype=torch.float32)
    assert_same(impl.probe_without(*args), ref.probe_without(*args), "item", 1e-4, 1e-4)


# ---------------------------------------------------------------------------------- predictions


def test_predict_frozen_removal__is_right(impl, ref):
    """How the frozen gradient compares with the live one where a latent is wholly removed"""
    require(
        impl.predict_frozen_removal == ref.predict_frozen_removal,
        "compare two bars of the second kind",
    )


def test_predict_first_order__is_right(impl, ref):
    """What first order says of a metric on a plateau"""
    want = ref.predict_first_order
    require(impl.predict_first_order == want, "look at the sign for layer 0")


def test_predict_frozen_copy__is_right(impl, ref):
    """What is left of the layer-0 nodes when no head may look elsewhere"""
    want = ref.predict_frozen_copy
    require(impl.predict_frozen_copy == want, "what do layer 0's latents do: pass on, or point?")


def test_predict_where__is_right(impl, ref):
    """At which word the number is after block 0"""
    require(impl.predict_where == ref.predict_where, "look for the longest bar of block 0")


def test_predict_size__is_right(impl, ref):
    """How many nodes are enough"""
    require(impl.predict_size == ref.predict_size, "the line of the circuit crosses 0.8 where?")


def test_predict_cleaned__is_right(impl, ref):
    """How the probe does without latents, and without coordinates"""
    want = ref.predict_cleaned
    require(impl.predict_cleaned == want, "compare two lines of the table")
