"""3.2.3: what is right, on small random tensors."""

import math

import pytest
import torch
from scipy import stats

from utils.testing import assert_same, generator, require, unchanged


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def sparse(g, *shape, share=0.5, dtype=torch.float32):
    """Activations as an SAE gives them: many are 0, none is negative."""
    on = torch.rand(shape, generator=g, device=g.device) < share
    return normal(g, *shape, dtype=dtype).abs() * on


def whole(g, high, *shape):
    """Whole numbers from 0 to high - 1."""
    return torch.randint(high, shape, generator=g, device=g.device)


def shuffled(g, n):
    """The numbers 0 to n - 1 in random order."""
    return torch.randperm(n, generator=g, device=g.device)


def names(g, n, vocab):
    """Two different tokens for each prompt."""
    right = whole(g, vocab, n)
    return right, (right + 1 + whole(g, vocab - 1, n)) % vocab


# --------------------------------------------------------------------------- a1. name_difference


def test_name_difference__by_hand(impl, device):
    """Two prompts with four words"""
    logits = torch.tensor([[1.0, 5.0, 2.0, 0.5], [4.0, 3.0, -1.0, 7.0]], device=device)
    right, repeated = torch.tensor([1, 2], device=device), torch.tensor([3, 0], device=device)
    got = impl.name_difference(logits, right, repeated)
    assert_same(got, torch.tensor([4.5, -5.0], device=device), "prompt")


def test_name_difference__changes_sign_with_the_names(impl, seed, device):
    """Right and repeated name exchanged; and a number added to all logits changes nothing"""
    g = generator(seed, device)
    logits, (a, b) = normal(g, 6, 9), names(g, 6, 9)
    one = impl.name_difference(logits, a, b)
    assert_same(impl.name_difference(logits, b, a), -one, "prompt")
    assert_same(impl.name_difference(logits + 8, a, b), one, "prompt", 1e-4, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(5, 8), (8, 5), (1, 3)])
def test_name_difference__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    logits, (a, b) = normal(g, *size, dtype=dtype), names(g, *size)
    with unchanged(logits, a, b):
        mine = impl.name_difference(logits, a, b)
    assert_same(mine, ref.name_difference(logits, a, b), "prompt")


# --------------------------------------------------------------------------- a2. wilson_interval


@pytest.mark.parametrize("case", [(10, 10), (0, 10), (1, 1), (33, 120), (117, 120)])
@pytest.mark.parametrize("z", [1.96, 1.0, 2.5758])
def test_wilson_interval__agrees_with_scipy(impl, case, z):
    """Shares of 0, of 1 and between"""
    low, high = impl.wilson_interval(*case, z)
    level = 2 * stats.norm.cdf(z) - 1
    want = stats.binomtest(*case).proportion_ci(level, method="wilson")
    assert_same([float(low), float(high)], [float(want.low), float(want.high)], "", 1e-6, 1e-6)


def test_wilson_interval__is_95_percent_unless_told(impl):
    """Without z it is that of 1.96; it mirrors when failures are counted instead"""
    low, high = impl.wilson_interval(7, 9)
    assert_same([float(v) for v in impl.wilson_interval(7, 9, 1.96)], [float(low), float(high)])
    mirrored = [1 - float(v) for v in reversed(impl.wilson_interval(2, 9))]
    assert_same(mirrored, [float(low), float(high)])


@pytest.mark.parametrize("case", [(3, 7), (200, 400), (0, 1)])
def test_wilson_interval__agrees_with_the_worked_one(impl, ref, case):
    """Other numbers"""
    mine = [float(v) for v in impl.wilson_interval(*case, 1.5)]
    assert_same(mine, list(ref.wilson_interval(*case, 1.5)))


# ------------------------------------------------------------------------- b1. strongest_latents


def test_strongest_latents__by_hand(impl, device):
    """Position 0 would win, one latent is silent, two are equal"""
    f = torch.tensor(
        [[9.0, 0.0, 0.0, 9.0, 0.0], [0.0, 2.0, 0.0, 0.5, 2.0], [1.0, 0.0, 0.0, 3.0, 1.0]],
        device=device,
    )
    numbers, values = impl.strongest_latents(f, 3)
    assert_same(numbers, torch.tensor([3, 1, 4], device=device), "chosen")
    assert_same(values, torch.tensor([3.0, 2.0, 2.0], device=device), "chosen")
    numbers, values = impl.strongest_latents(f, 10)
    assert_same(numbers, torch.tensor([3, 1, 4, 0], device=device), "chosen")
    assert_same(values, torch.tensor([3.0, 2.0, 2.0, 1.0], device=device), "chosen")


def test_strongest_latents__of_a_silent_prompt_are_none(impl, device):
    """Only position 0 is active: nothing is listed"""
    f = torch.zeros(4, 6, device=device)
    f[0] = 2.0
    numbers, values = impl.strongest_latents(f, 3)
    require(len(numbers) == 0 and len(values) == 0, f"{len(numbers)} latents are listed, not 0")


def test_strongest_latents__keep_equal_ones_in_order(impl, seed, device):
    """Many equal activations: the smaller number comes first"""
    f = whole(generator(seed, device), 3, 5, 60).float()
    numbers, values = impl.strongest_latents(f, 40)
    best = f[1:].amax(dim=0)
    assert_same(values, best.sort(descending=True).values[:40], "chosen")
    assert_same(best[numbers], values, "chosen")
    same = values[1:] == values[:-1]
    require(bool((numbers.diff()[same] > 0).all()), "of equal latents a larger number comes first")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(7, 12, 4), (3, 20, 20), (12, 5, 1)])
def test_strongest_latents__agree_with_the_worked_ones(impl, ref, seed, device, size, dtype):
    """Other sizes; the input stays as it is"""
    f = sparse(generator(seed + 1, device), *size[:2], share=0.3, dtype=dtype)
    with unchanged(f):
        mine = impl.strongest_latents(f, size[2])
    assert_same(list(mine), list(ref.strongest_latents(f, size[2])), ("chosen", "chosen"))


# ------------------------------------------------------------------------------- b2. stronger_in


def test_stronger_in__by_hand(impl, device):
    """Three positions against two; position 0 counts in neither"""
    f = torch.tensor([[9.0, 0.0], [1.0, 2.0], [3.0, 0.0]], device=device)
    other = torch.tensor([[0.0, 8.0], [0.5, 2.5]], device=device)
    assert_same(impl.stronger_in(f, other), torch.tensor([2.5, -0.5], device=device), "latent")


def test_stronger_in__changes_sign(impl, seed, device):
    """Prompts exchanged; the order of positions does not matter"""
    g = generator(seed, device)
    f, other = sparse(g, 6, 8), sparse(g, 4, 8)
    one = impl.stronger_in(f, other)
    assert_same(impl.stronger_in(other, f), -one, "latent")
    mixed = torch.cat([f[:1], f[1:].flip(0)])
    assert_same(impl.stronger_in(mixed, other), one, "latent")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stronger_in__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Other lengths; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for a, b in ((5, 5), (2, 7), (6, 3)):
        f, other = sparse(g, a, 9, dtype=dtype), sparse(g, b, 9, dtype=dtype)
        with unchanged(f, other):
            mine = impl.stronger_in(f, other)
        assert_same(mine, ref.stronger_in(f, other), "latent")


# ------------------------------------------------------------------------- b3. weighted_strength


def test_weighted_strength__by_hand(impl, device):
    """Always active: weight 0; never active: the largest weight"""
    f = torch.tensor([[50.0, 50.0, 50.0], [2.0, 1.0, 3.0], [1.0, 0.5, 0.0]], device=device)
    got = impl.weighted_strength(f, torch.tensor([99, 9, 0], device=device), 99)
    want = torch.tensor([0.0, math.log(10), 3 * math.log(100)], device=device)
    assert_same(got, want, "latent", 1e-5, 1e-5)


def test_weighted_strength__is_linear_in_the_activation(impl, seed, device):
    """Three times as active: three times the weight; rarer: more"""
    g = generator(seed, device)
    f, times = sparse(g, 5, 7, share=1.0), whole(g, 80, 7)
    one = impl.weighted_strength(f, times, 100)
    assert_same(impl.weighted_strength(3 * f, times, 100), 3 * one, "latent", 1e-5, 1e-5)
    rarer = impl.weighted_strength(f, times // 2, 100) >= one
    require(bool(rarer.all()), "a rarer latent got a smaller weight")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_strength__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for size, n in (((6, 9), 40), ((2, 3), 7), ((9, 4), 5000)):
        f, times = sparse(g, *size, dtype=dtype), whole(g, n + 1, size[1])
        with unchanged(f, times):
            mine = impl.weighted_strength(f, times, n)
        assert_same(mine, ref.weighted_strength(f, times, n).to(dtype), "latent", 1e-5, 1e-5)


# ------------------------------------------------------------------------- c1. readout_direction


def stream(g, n, d, vocab, centred, dtype=torch.float64):
    """A random last stream with a norm, an unembedding, and the logits that follow."""
    x, W_U, gain = normal(g, n, d, dtype=dtype) + 0.7, normal(g, d, vocab, dtype=dtype), None
    gain = 0.5 + torch.rand(d, generator=g, device=g.device, dtype=dtype)
    y = x - x.mean(dim=1, keepdim=True) if centred else x
    scale = (y.square().mean(dim=1) + 1e-5).sqrt()
    return x, W_U, gain, scale, (y / scale[:, None] * gain) @ W_U


@pytest.mark.parametrize("centred", [True, False])
def test_readout_direction__gives_the_difference_of_logits(impl, seed, device, centred):
    """Stream times direction is the difference that the norm and the unembedding give"""
    g = generator(seed, device)
    x, W_U, gain, scale, logits = stream(g, 5, 7, 11, centred)
    right, repeated = names(g, 5, 11)
    direction = impl.readout_direction(W_U, gain, scale, right, repeated, centred)
    rows = torch.arange(5, device=device)
    want = logits[rows, right] - logits[rows, repeated]
    assert_same((x * direction).sum(dim=1), want, "prompt", 1e-6, 1e-6)


def test_readout_direction__by_hand(impl, device):
    """Two dimensions, one prompt"""
    W_U = torch.tensor([[1.0, 3.0, 0.0], [2.0, -2.0, 4.0]], device=device)
    gain, scale = torch.tensor([2.0, 3.0], device=device), torch.tensor([4.0], device=device)
    a, b = torch.tensor([1], device=device), torch.tensor([2], device=device)
    want = torch.tensor([[1.5, -4.5]], device=device)
    assert_same(impl.readout_direction(W_U, gain, scale, a, b, False), want, "prompt d_model")
    want = torch.tensor([[3.0, -3.0]], device=device)
    assert_same(impl.readout_direction(W_U, gain, scale, a, b, True), want, "prompt d_model")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centred", [True, False])
def test_readout_direction__agrees_with_the_worked_one(impl, ref, seed, device, centred, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, d, vocab in ((4, 6, 9), (6, 4, 5), (1, 3, 8)):
        _, W_U, gain, scale, _ = stream(g, n, d, vocab, centred, dtype)
        args = (W_U, gain, scale, *names(g, n, vocab))
        with unchanged(*args):
            mine = impl.readout_direction(*args, centred)
        want = ref.readout_direction(*args, centred)
        assert_same(mine, want, "prompt d_model", 1e-5, 1e-5)


# ----------------------------------------------------------------------------- c2. latent_shares


def written(g, n=5, latent=7, d=4, dtype=torch.float32):
    """Latents, what they write, a bias, an error term, and directions."""
    f, write = sparse(g, n, latent, dtype=dtype), normal(g, latent, d, dtype=dtype)
    bias, error = normal(g, d, dtype=dtype) + 1, normal(g, n, d, dtype=dtype)
    return f, write, bias, error, normal(g, n, d, dtype=dtype)


AXES_SHARES = ("prompt latent", "prompt", "prompt")


def test_latent_shares__add_up(impl, seed, device):
    """Latents, bias and error together are what the place writes along the direction"""
    f, write, bias, error, direction = written(generator(seed, device), dtype=torch.float64)
    latents, constant, rest = impl.latent_shares(f, write, bias, error, direction)
    want = ((f @ write + bias + error) * direction).sum(dim=1)
    assert_same(latents.sum(dim=1) + constant + rest, want, "prompt", 1e-8, 1e-8)


def test_latent_shares__by_hand(impl, device):
    """Two latents, one prompt"""
    rows = [[[2.0, 0.0]], [[1.0, 1.0], [5.0, 7.0]], [0.5, 0.0], [[0.0, 1.0]], [[3.0, -1.0]]]
    got = impl.latent_shares(*(torch.tensor(row, device=device) for row in rows))
    want = [torch.tensor(v, device=device) for v in ([[4.0, 0.0]], [1.5], [-1.0])]
    assert_same(list(got), want, AXES_SHARES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_latent_shares__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Other sizes; the inputs stay as they are"""
    for size in ((3, 6, 5), (6, 3, 2), (4, 4, 4)):
        args = written(generator(seed + 1, device), *size, dtype=dtype)
        with unchanged(*args):
            mine = impl.latent_shares(*args)
        assert_same(list(mine), list(ref.latent_shares(*args)), AXES_SHARES, 1e-5, 1e-5)


# ------------------------------------------------------------------------------- c3. head_shares


def test_head_shares__add_up(impl, seed, device):
    """Over all heads: what the layer adds, without its bias, along the direction"""
    g = generator(seed, device)
    z, W_O, d = normal(g, 4, 3, 5), normal(g, 3, 5, 6), normal(g, 4, 6)
    want = ((z.flatten(1) @ W_O.flatten(0, 1)) * d).sum(dim=1)
    assert_same(impl.head_shares(z, W_O, d).sum(dim=1), want, "prompt", 1e-4, 1e-4)


def test_head_shares__by_hand(impl, device):
    """One prompt, two heads; the second head writes nothing along the direction"""
    z = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], device=device)
    W_O = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 5.0], [0.0, 0.0]]], device=device)
    got = impl.head_shares(z, W_O, torch.tensor([[2.0, 0.0]], device=device))
    assert_same(got, torch.tensor([[2.0, 0.0]], device=device), "prompt head")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_head_shares__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, h, k, m in ((5, 2, 3, 7), (2, 4, 4, 4), (1, 3, 2, 5)):
        shapes = ((n, h, k), (h, k, m), (n, m))
        args = [normal(g, *shape, dtype=dtype) for shape in shapes]
        with unchanged(*args):
            mine = impl.head_shares(*args)
        assert_same(mine, ref.head_shares(*args), "prompt head", 1e-4, 1e-4)


# --------------------------------------------------------------------------- d1. without_latents


def place(g, n=5, latent=8, d=4, dtype=torch.float32):
    """A place with an SAE: activations, latents and decoder rows; bias and error are in x."""
    f, W_dec = sparse(g, n, latent, dtype=dtype), normal(g, latent, d, dtype=dtype)
    return f @ W_dec + normal(g, d, dtype=dtype) + normal(g, n, d, dtype=dtype), f, W_dec


def test_without_latents__of_all_leaves_bias_and_error(impl, seed, device):
    """All latents at 0: only what no latent wrote is left"""
    g = generator(seed, device)
    f, W_dec = sparse(g, 5, 7), normal(g, 7, 4)
    rest = normal(g, 4) + normal(g, 5, 4)
    everything = shuffled(g, 7)
    got = impl.without_latents(
        f @ W_dec + rest, f, W_dec, everything, torch.zeros(7, device=device)
    )
    assert_same(got, rest, "prompt d_in", 1e-4, 1e-4)


def test_without_latents__with_their_own_values_changes_nothing(impl, seed, device):
    """One prompt whose latents are set to what they are; and nobody chosen"""
    g = generator(seed, device)
    x, f, W_dec = place(g, n=1)
    chosen = torch.tensor([6, 1, 2], device=device)
    got = impl.without_latents(x, f, W_dec, chosen, f[0, chosen])
    assert_same(got, x, "prompt d_in", 1e-5, 1e-5)
    none = torch.zeros(0, dtype=torch.int64, device=device)
    assert_same(impl.without_latents(x, f, W_dec, none, x.new_zeros(0)), x, "prompt d_in")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_latents__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Other sizes, values that are not 0; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for size in ((3, 9, 5), (6, 4, 4), (2, 5, 7)):
        x, f, W_dec = place(g, *size, dtype=dtype)
        chosen = shuffled(g, size[1])[:3]
        to = normal(g, 3, dtype=dtype)
        with unchanged(x, f, W_dec, chosen, to):
            mine = impl.without_latents(x, f, W_dec, chosen, to)
        want = ref.without_latents(x, f, W_dec, chosen, to)
        assert_same(mine, want, "prompt d_in", 1e-5, 1e-5)


# -------------------------------------------------------------------------- d2. ablation_effects


class Rest:
    """A small random rest of the model; every prompt has its own, and calls are noted."""

    def __init__(self, g, n, d, dtype=torch.float32, linear=False, most=10**9):
        self.a, self.b = normal(g, n, d, 6, dtype=dtype), normal(g, n, 6, dtype=dtype)
        self.shift, self.linear = normal(g, n, dtype=dtype), linear
        self.rows, self.most = [], most

    def __call__(self, x, prompt):
        require(len(x) <= self.most, f"metric was given {len(x)} rows at once, not {self.most}")
        self.rows.append(len(x))
        hidden = torch.einsum("id,idk->ik", x, self.a[prompt])
        out = hidden if self.linear else hidden.tanh()
        return (out * self.b[prompt]).sum(dim=-1) + self.shift[prompt]

    def __eq__(self, other):
        """Alike are two that ran as many rows."""
        return sum(self.rows) == sum(other.rows)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_ablation_effects__are_exact_where_the_rest_is_linear(impl, seed, device, size):
    """In a linear model the effect of a latent is what it writes, times the slope"""
    g = generator(seed, device)
    x, f, W_dec = place(g, dtype=torch.float64)
    rest = Rest(g, 5, 4, torch.float64, linear=True)
    slope = torch.einsum("ndk,nk->nd", rest.a, rest.b)
    want = f * (slope @ W_dec.T)
    got = impl.ablation_effects(x, f, W_dec, rest, size)
    assert_same(got, want, "prompt latent", 1e-6, 1e-6)


def test_ablation_effects__run_active_pairs_only(impl, seed, device):
    """At most `size` rows a time; one run for each prompt and each active pair, no more"""
    g = generator(seed, device)
    x, f, W_dec = place(g, n=6, latent=9)
    f[2] = 0
    rest = Rest(g, 6, 4, most=4)
    effects = impl.ablation_effects(x, f, W_dec, rest, 4)
    n_active = int((f != 0).sum())
    most = 6 + 2 * n_active
    require(sum(rest.rows) <= most, f"{sum(rest.rows)} rows were run for {n_active} active pairs")
    require(bool((effects[f == 0] == 0).all()), "a silent latent has an effect")


def test_ablation_effects__of_silence_are_zeros(impl, seed, device):
    """No latent is active anywhere"""
    g = generator(seed, device)
    x, f, W_dec = place(g, n=3)
    got = impl.ablation_effects(x, torch.zeros_like(f), W_dec, Rest(g, 3, 4), 2)
    assert_same(got, torch.zeros_like(f), "prompt latent")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ablation_effects__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """A rest that is not linear, other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, latent, d, size in ((4, 7, 5, 3), (7, 4, 3, 5), (2, 6, 6, 64)):
        x, f, W_dec = place(g, n, latent, d, dtype)
        rest = Rest(g, n, d, dtype)
        with unchanged(x, f, W_dec):
            mine = impl.ablation_effects(x, f, W_dec, rest, size)
        want = ref.ablation_effects(x, f, W_dec, rest, size)
        assert_same(mine, want, "prompt latent", 1e-4, 1e-5)


# -------------------------------------------------------------------------- e1. latent_gradients


class Curve:
    """A smooth metric: one number per prompt from its own latents."""

    def __init__(self, g, latent, dtype=torch.float32):
        self.a, self.b = 0.5 * normal(g, latent, 5, dtype=dtype), normal(g, 5, dtype=dtype)

    def __call__(self, f):
        return (f @ self.a).tanh() @ self.b

    def __eq__(self, other):
        """Alike are two if a gradient was left in both or in neither."""
        return (self.a.grad is None) == (other.a.grad is None)

    def slope(self, f):
        """Its gradient, by hand."""
        return ((1 - (f @ self.a).tanh().square()) * self.b) @ self.a.T


def test_latent_gradients__by_hand(impl, seed, device):
    """A slope that we can differentiate ourselves; the metric knows each prompt by its place"""
    g = generator(seed, device)
    f, curve, own = sparse(g, 6, 4), Curve(g, 4), normal(g, 6)
    got = impl.latent_gradients(f, lambda v: own * curve(v))
    assert_same(got, own[:, None] * curve.slope(f), "prompt latent", 1e-4, 1e-5)


def test_latent_gradients__do_not_depend_on_the_number_of_prompts(impl, seed, device):
    """The same prompts, alone or in company: the sum gives each its own gradient"""
    g = generator(seed, device)
    f, curve = sparse(g, 5, 4), Curve(g, 4)
    alone = torch.cat([impl.latent_gradients(row[None], curve) for row in f])
    assert_same(impl.latent_gradients(f, curve), alone, "prompt latent", 1e-5, 1e-6)


def test_latent_gradients__leave_nothing_behind(impl, seed, device):
    """No graph, nothing in .grad, and it works where gradients are off"""
    g = generator(seed, device)
    f, curve = sparse(g, 3, 4), Curve(g, 4)
    curve.a.requires_grad_()
    with torch.no_grad():
        off = impl.latent_gradients(f, curve)
    got = impl.latent_gradients(f, curve)
    assert_same(off, got.detach(), "prompt latent")
    require(not got.requires_grad, "the result is part of a graph")
    require(f.grad is None and not f.requires_grad, "`f` was made a leaf: take a copy")
    require(curve.a.grad is None, "the weights got a gradient: use torch.autograd.grad")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_latent_gradients__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Other sizes, an `f` that is part of a graph; the input stays as it is"""
    g = generator(seed + 1, device)
    for n, latent in ((4, 6), (6, 3), (1, 5)):
        f, curve = sparse(g, n, latent, dtype=dtype), Curve(g, latent, dtype)
        with unchanged(f):
            mine = impl.latent_gradients(f.clone().requires_grad_() * 1, curve)
        assert_same(mine, ref.latent_gradients(f, curve), "prompt latent", 1e-4, 1e-5)


# ---------------------------------------------------------------------------- e2. patch_estimate


def test_patch_estimate__is_exact_where_the_metric_is_linear(impl, seed, device):
    """The sum of the estimates is the change when all latents move"""
    g = generator(seed, device)
    f, to, slope = sparse(g, 5, 7), sparse(g, 5, 7), normal(g, 5, 7)
    want = (to * slope).sum(dim=1) - (f * slope).sum(dim=1)
    got = impl.patch_estimate(f, to, slope)
    assert_same(got.sum(dim=1), want, "prompt", 1e-4, 1e-4)


def test_patch_estimate__has_an_error_of_second_order(impl, seed, device):
    """Half the step: a quarter of the error"""
    g = generator(seed, device)
    f, curve = sparse(g, 8, 6, dtype=torch.float64), Curve(g, 6, torch.float64)
    step, gaps = normal(g, 8, 6, dtype=torch.float64), []
    for size in (2e-3, 1e-3):
        to = f + size * step
        guess = impl.patch_estimate(f, to, curve.slope(f)).sum(dim=1)
        gaps.append(float((guess - (curve(to) - curve(f))).norm()))
    require(
        3.7 < gaps[0] / gaps[1] < 4.3, f"half the step: the error falls by {gaps[0] / gaps[1]:.2f}"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patch_estimate__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for size in ((4, 6), (6, 2)):
        args = [normal(g, *size, dtype=dtype) for _ in range(3)]
        with unchanged(*args):
            mine = impl.patch_estimate(*args)
        assert_same(mine, ref.patch_estimate(*args), "prompt latent")


# -------------------------------------------------------------------------- e3. rank_correlation


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("high", [3, 6, 1000])
def test_rank_correlation__agrees_with_scipy(impl, seed, device, high, dtype):
    """With many equal values, with few, with none"""
    g = generator(seed, device)
    for n in (5, 40):
        x = torch.cat([whole(g, high, n), torch.tensor([0, 1], device=device)]).to(dtype)
        y = torch.cat([whole(g, high, n), torch.tensor([2, 0], device=device)]).to(dtype) + x / 2
        want = float(stats.spearmanr(x.cpu(), y.cpu()).statistic)
        assert_same(float(impl.rank_correlation(x, y)), want, "", 1e-6, 1e-6)


def test_rank_correlation__sees_the_order_only(impl, seed, device):
    """A growing function of x changes nothing; minus x changes the sign"""
    g = generator(seed, device)
    x, y = normal(g, 30), normal(g, 30)
    one = float(impl.rank_correlation(x, y))
    assert_same(float(impl.rank_correlation(x.exp(), y)), one)
    assert_same(float(impl.rank_correlation(-x, y)), -one)
    assert_same(float(impl.rank_correlation(x, x.pow(3))), 1.0)


def test_rank_correlation__of_two_points(impl, device):
    """The least that has an order: the same, or turned"""
    x = torch.tensor([0.1, 0.2], device=device)
    assert_same(float(impl.rank_correlation(x, 5 * x)), 1.0)
    assert_same(float(impl.rank_correlation(x, x.flip(0))), -1.0)


def test_rank_correlation__of_a_constant_is_zero(impl, device):
    """No order to compare with"""
    x, flat = torch.tensor([3.0, 1.0, 2.0], device=device), torch.full((3,), 5.0, device=device)
    for pair in ((x, flat), (flat, x), (flat, flat)):
        assert_same(float(impl.rank_correlation(*pair)), 0.0)


def test_rank_correlation__agrees_with_the_worked_one(impl, ref, seed, device):
    """Sparse values as effects are; the inputs stay as they are"""
    g = generator(seed + 1, device)
    x, y = sparse(g, 50, share=0.3), sparse(g, 50, share=0.4)
    with unchanged(x, y):
        mine = float(impl.rank_correlation(x, y))
    assert_same(mine, ref.rank_correlation(x, y))


# ------------------------------------------------------------------------ e4. bootstrap_interval


def mean(rows):
    """The mean of all numbers."""
    return float(rows.mean())


def test_bootstrap_interval__of_equal_rows_has_no_width(impl, seed, device):
    """All rows are the same, so every resample is"""
    rows = torch.tensor([[1.0, -2.0, 4.0]], device=device).expand(7, 3)
    got = impl.bootstrap_interval(rows, mean, 20, 0.95, generator(seed, device))
    assert_same([float(v) for v in got], [1.0, 1.0], "", 1e-5, 1e-5)


@pytest.mark.parametrize("level", [0.95, 0.8, 0.5])
def test_bootstrap_interval__of_a_mean_has_the_known_width(impl, seed, device, level):
    """For a mean of n numbers: about ± z σ / √n around the mean, at every level"""
    g = generator(seed, device)
    rows = normal(g, 60, 1, dtype=torch.float64) * 2 + 5
    low, high = (float(v) for v in impl.bootstrap_interval(rows, mean, 1500, level, g))
    half = float(stats.norm.ppf((1 + level) / 2) * rows.std(correction=0) / 60**0.5)
    off = max(abs(low - (mean(rows) - half)), abs(high - (mean(rows) + half))) / half
    require(off < 0.4, f"({low:.3f}, {high:.3f}) is not near {mean(rows):.3f} ± {half:.3f}")


def test_bootstrap_interval__draws_from_gen(impl, seed, device):
    """The same generator gives the same interval, another one another"""
    rows = normal(generator(seed, device), 30, 2)
    runs = [
        [float(v) for v in impl.bootstrap_interval(rows, mean, 40, 0.9, generator(s, device))]
        for s in (seed + 1, seed + 1, seed + 2)
    ]
    require(runs[0] == runs[1], "twice the same generator, two intervals: draw from `gen`")
    require(runs[0] != runs[2], "two generators, the same interval: draw from `gen`")


def test_bootstrap_interval__draws_whole_rows(impl, seed, device):
    """Rows (x, x + 3): in each resample the columns' means differ by 3; n rows, some twice"""
    g, seen = generator(seed, device), []
    x = torch.arange(9, device=device, dtype=torch.float32)
    rows = torch.stack([x, x + 3], dim=1)

    def difference(drawn):
        seen.append(drawn)
        return float((drawn[:, 1] - drawn[:, 0]).mean())

    got = impl.bootstrap_interval(rows, difference, 30, 0.9, g)
    assert_same([float(v) for v in got], [3.0, 3.0], "", 1e-5, 1e-5)
    require(len(seen) >= 30, f"{len(seen)} resamples were drawn, not 30: that is `n_draws`")
    require(all(len(d) == 9 for d in seen), f"a resample has {len(seen[0])} rows, not 9")
    twice = sum(len(d[:, 0].unique()) < 9 for d in seen)
    require(twice >= len(seen) // 2, "no row comes twice: draw with replacement")


def test_bootstrap_interval__ends_like_the_worked_one(impl, ref, seed, device):
    """Other statistics: the ends are those of the worked one, up to chance"""
    g = generator(seed + 1, device)
    rows = torch.rand(40, 2, 3, generator=g, device=device).square()

    def largest(drawn):
        return float(drawn.mean(dim=0).max())

    with unchanged(rows):
        mine = [float(v) for v in impl.bootstrap_interval(rows, largest, 800, 0.9, g)]
    theirs = ref.bootstrap_interval(rows, largest, 800, 0.9, g)
    width = theirs[1] - theirs[0]
    off = max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) / width
    require(off < 0.3, f"{mine} is not near {list(theirs)}")


# ---------------------------------------------------------------------- f1. integrated_gradients


def test_integrated_gradients__are_complete(impl, seed, device):
    """With many steps the attributions add up to the change of the metric"""
    g = generator(seed, device)
    f, to = (sparse(g, 5, 6, dtype=torch.float64) for _ in range(2))
    curve = Curve(g, 6, torch.float64)
    got = impl.integrated_gradients(f, to, curve, 60)
    assert_same(got.sum(dim=1), curve(to) - curve(f), "prompt", 1e-3, 1e-3)


def test_integrated_gradients__of_a_square_are_exact_in_one_step(impl, seed, device):
    """The midpoint rule is exact where the slope is linear: Σ f² gives to² - f²"""
    g = generator(seed, device)
    f, to = sparse(g, 4, 5), sparse(g, 4, 5)
    for n_steps in (1, 2, 5):
        got = impl.integrated_gradients(f, to, lambda v: v.square().sum(dim=1), n_steps)
        assert_same(got, to.square() - f.square(), "prompt latent", 1e-4, 1e-5)


def test_integrated_gradients__look_at_the_midpoints(impl, seed, device):
    """Two steps: a quarter and three quarters of the way; nothing is left behind"""
    g, seen = generator(seed, device), []
    f, to, curve = sparse(g, 3, 4), sparse(g, 3, 4), Curve(g, 4)

    def noted(v):
        seen.append(v.detach().clone())
        return curve(v)

    with torch.no_grad():
        got = impl.integrated_gradients(f, to, noted, 2)
    want = [f + 0.25 * (to - f), f + 0.75 * (to - f)]
    require(len(seen) == 2, f"the metric was asked {len(seen)} times, not 2: all prompts at once")
    points = sorted(seen, key=lambda v: float((v - f).norm()))
    assert_same(points, want, ("prompt latent", "prompt latent"), 1e-5, 1e-6, what="the points")
    require(not got.requires_grad, "the result is part of a graph")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_integrated_gradients__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Other sizes and steps; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, latent, steps in ((4, 6, 3), (6, 2, 1), (1, 5, 8)):
        f, to = (sparse(g, n, latent, dtype=dtype) for _ in range(2))
        curve = Curve(g, latent, dtype)
        with unchanged(f, to):
            mine = impl.integrated_gradients(f, to, curve, steps)
        want = ref.integrated_gradients(f, to, curve, steps)
        assert_same(mine, want, "prompt latent", 1e-4, 1e-5)


# -------------------------------------------------------------------------- f2. completeness_gap


def test_completeness_gap__is_zero_for_a_linear_metric(impl, seed, device):
    """A linear metric, and its first-order attributions: nothing is missing"""
    g = generator(seed, device)
    f, to, slope = sparse(g, 5, 6), sparse(g, 5, 6), normal(g, 6)
    gap = impl.completeness_gap((to - f) * slope, f, to, lambda v: v @ slope)
    assert_same(gap, torch.zeros(5, device=device), "prompt", 1e-4, 1e-4)


def test_completeness_gap__has_a_sign(impl, device):
    """Attributions that are 2 too large in the first prompt, 2 too small in the second"""
    f, to = torch.tensor([[1.0, 2.0], [0.0, 1.0]], device=device), torch.zeros(2, 2, device=device)
    attributions = torch.tensor([[-1.0, 0.0], [-3.0, 0.0]], device=device)
    gap = impl.completeness_gap(attributions, f, to, lambda v: v.sum(dim=1))
    assert_same(gap, torch.tensor([2.0, -2.0], device=device), "prompt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_completeness_gap__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """A curved metric; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, latent in ((4, 6), (6, 3)):
        args = [normal(g, n, latent, dtype=dtype) for _ in range(3)]
        curve = Curve(g, latent, dtype)
        with unchanged(*args):
            mine = impl.completeness_gap(*args, curve)
        assert_same(mine, ref.completeness_gap(*args, curve), "prompt", 1e-4, 1e-5)


# --------------------------------------------------------------------- g1. preactivation_by_head


def encoder(g, heads=3, d_head=4, latent=5, n=6, dtype=torch.float32):
    """z with an encoder that reads all heads."""
    z, d_in = normal(g, n, heads, d_head, dtype=dtype), heads * d_head
    W_enc, b_enc = normal(g, d_in, latent, dtype=dtype), normal(g, latent, dtype=dtype)
    return z, W_enc, b_enc, normal(g, d_in, dtype=dtype)


@pytest.mark.parametrize("centred", [True, False])
def test_preactivation_by_head__adds_up(impl, seed, device, centred):
    """Parts and constant are the encoder's pre-activation, with and without b_dec"""
    z, W_enc, b_enc, b_dec = encoder(generator(seed, device), dtype=torch.float64)
    parts, constant = impl.preactivation_by_head(z, W_enc, b_enc, b_dec, centred)
    x = z.flatten(1) - b_dec if centred else z.flatten(1)
    want = x @ W_enc + b_enc
    assert_same(parts.sum(dim=1) + constant, want, "prompt latent", 1e-8, 1e-8)


def test_preactivation_by_head__of_a_silent_head_is_zero(impl, seed, device):
    """z of head 1 is 0: its part is 0, and the others' stay"""
    z, W_enc, b_enc, b_dec = encoder(generator(seed, device))
    before, _ = impl.preactivation_by_head(z, W_enc, b_enc, b_dec, True)
    z = z.clone()
    z[:, 1] = 0
    after, _ = impl.preactivation_by_head(z, W_enc, b_enc, b_dec, True)
    assert_same(after[:, 1], torch.zeros_like(after[:, 1]), "prompt latent")
    assert_same(after[:, [0, 2]], before[:, [0, 2]], "prompt head latent", 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centred", [True, False])
def test_preactivation_by_head__agrees_with_the_worked_one(impl, ref, seed, device, centred, dtype):
    """Other sizes; the inputs stay as they are"""
    for size in ((2, 5, 3, 4), (4, 2, 6, 3), (3, 3, 3, 3)):
        args = encoder(generator(seed + 1, device), *size, dtype=dtype)
        with unchanged(*args):
            mine = impl.preactivation_by_head(*args, centred)
        want = ref.preactivation_by_head(*args, centred)
        assert_same(list(mine), list(want), ("prompt head latent", "latent"), 1e-4, 1e-5)


# ------------------------------------------------------------------- g2. preactivation_by_source


def attention(g, n=4, heads=6, k=3, pos=5, d_head=2, dtype=torch.float32):
    """A pattern from one position, values with shared heads, and a column that reads."""
    pattern = normal(g, n, heads, pos, dtype=dtype).softmax(dim=-1)
    v = normal(g, n, pos, k, d_head, dtype=dtype)
    return pattern, v, normal(g, heads * d_head, dtype=dtype)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_preactivation_by_source__adds_up(impl, seed, device, k):
    """Over the positions: the head's z times what the latent reads of it"""
    pattern, v, read = attention(generator(seed, device), k=k, dtype=torch.float64)
    z = torch.stack(
        [torch.einsum("nj,njd->nd", pattern[:, h], v[:, :, h * k // 6]) for h in range(6)], dim=1
    )
    want = (z * read.reshape(6, 2)).sum(dim=2)
    got = impl.preactivation_by_source(pattern, v, read)
    assert_same(got.sum(dim=2), want, "prompt head", 1e-8, 1e-8)


def test_preactivation_by_source__is_zero_where_nobody_looks(impl, seed, device):
    """A position with pattern 0 has no part"""
    pattern, v, read = attention(generator(seed, device))
    pattern = pattern.clone()
    pattern[:, :, 3] = 0
    got = impl.preactivation_by_source(pattern, v, read)
    assert_same(got[:, :, 3], torch.zeros_like(got[:, :, 3]), "prompt head")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_preactivation_by_source__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Other sizes; the inputs stay as they are"""
    for size in ((3, 4, 2, 7, 5), (2, 9, 3, 4, 3), (5, 2, 2, 3, 4)):
        args = attention(generator(seed + 1, device), *size, dtype=dtype)
        with unchanged(*args):
            mine = impl.preactivation_by_source(*args)
        want = ref.preactivation_by_source(*args)
        assert_same(mine, want, "prompt head pos", 1e-4, 1e-5)


# ----------------------------------------------------------------------- h1. decoder_head_shares


def test_decoder_head_shares__by_hand(impl, device):
    """3² + 4² = 25 in one head, 5² + 5² = 50 in the other"""
    W_dec = torch.tensor([[3.0, -4.0, 5.0, 5.0], [0.0, 0.0, 2.0, 0.0]], device=device)
    want = torch.tensor([[1 / 3, 2 / 3], [0.0, 1.0]], device=device)
    assert_same(impl.decoder_head_shares(W_dec, 2), want, "latent head", 1e-5, 1e-6)


def test_decoder_head_shares__sum_to_one(impl, seed, device):
    """Also for rows of other lengths"""
    W_dec = 7 * normal(generator(seed, device), 6, 12)
    for n_heads in (1, 3, 4, 12):
        got = impl.decoder_head_shares(W_dec, n_heads)
        assert_same(got.sum(dim=1), torch.ones(6, device=device), "latent", 1e-5, 1e-5)
        assert_same(impl.decoder_head_shares(0.01 * W_dec, n_heads), got, "latent head", 1e-4, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decoder_head_shares__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Other sizes; the input stays as it is"""
    for latent, heads, d_head in ((4, 3, 5), (7, 5, 2), (1, 2, 3)):
        W_dec = normal(generator(seed + 1, device), latent, heads * d_head, dtype=dtype)
        with unchanged(W_dec):
            mine = impl.decoder_head_shares(W_dec, heads)
        assert_same(mine, ref.decoder_head_shares(W_dec, heads), "latent head", 1e-5, 1e-6)


# ---------------------------------------------------------------------------- i1. copying_scores


def test_copying_scores__of_a_copier_and_its_opposite(impl, device):
    """Writes the name's own direction: positive. Writes against it: the same, negative"""
    W_U, gain = torch.eye(5, device=device), torch.full((5,), 2.0, device=device)
    who = torch.tensor([4, 0, 2], device=device)
    writes = 3.0 * W_U[:, who].T
    want = torch.full((3,), 6.0, device=device)
    assert_same(impl.copying_scores(writes, gain, W_U, who), want, "item")
    assert_same(impl.copying_scores(-writes, gain, W_U, who), -want, "item")


def test_copying_scores__do_not_see_what_all_names_share(impl, seed, device):
    """A direction that raises all names alike changes nothing"""
    g = generator(seed, device)
    writes, gain, W_U = (
        normal(g, 4, 6),
        1 + torch.rand(6, generator=g, device=device),
        normal(g, 6, 9),
    )
    who = shuffled(g, 9)[:4]
    one = impl.copying_scores(writes, gain, W_U, who)
    inverse = torch.linalg.pinv(W_U[:, who].T.double()).sum(dim=1).float() / gain
    other = impl.copying_scores(writes + 2 * inverse, gain, W_U, who)
    assert_same(other, one, "item", 1e-3, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copying_scores__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, d, vocab in ((4, 6, 9), (2, 3, 5), (7, 4, 7)):
        args = [normal(g, *shape, dtype=dtype) for shape in ((n, d), (d,), (d, vocab))]
        args.append(shuffled(g, vocab)[:n])
        with unchanged(*args):
            mine = impl.copying_scores(*args)
        assert_same(mine, ref.copying_scores(*args), "item", 1e-4, 1e-5)


# --------------------------------------------------------------------------------- i2. name_role


def around(middle, n=8, spread=1.0):
    """n numbers with this mean and this standard deviation (with n - 1)."""
    x = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return middle + spread * x / x.std()


UP, DOWN, FLAT = around(1.0), around(-1.0), around(0.3)
TRIPLES = [
    (UP, UP, UP, "name mover"), (DOWN, DOWN, UP, "suppressor"), (UP, UP, FLAT, "unclear"),
    (DOWN, DOWN, DOWN, "unclear"), (UP, DOWN, UP, "unclear"), (DOWN, UP, UP, "unclear"),
    (FLAT, UP, UP, "unclear"), (UP, FLAT, UP, "unclear"), (DOWN, FLAT, UP, "unclear"),
    (-FLAT, DOWN, UP, "unclear"), (UP, UP, DOWN, "unclear"), (DOWN, DOWN, FLAT, "unclear"),
]  # fmt: skip


@pytest.mark.parametrize("case", TRIPLES)
def test_name_role__by_hand(impl, device, case):
    """Every kind of evidence, and every way to miss one"""
    got = impl.name_role(*(v.to(device) for v in case[:3]))
    means = [round(float(v.mean()), 1) for v in case[:3]]
    require(
        got == case[3], f"for means of {means} (spread 1, n = 8) it is {got!r}, not {case[3]!r}"
    )


@pytest.mark.parametrize("n", [3, 12, 50])
@pytest.mark.parametrize("factor", [0.95, 1.05])
@pytest.mark.parametrize("spread", [1.0, 0.2, 3.0])
def test_name_role__at_the_edge_of_an_interval(impl, device, n, factor, spread):
    """Means a little inside and a little outside of 1.96 standard errors"""
    edge = around(factor * 1.96 * spread / n**0.5, n, spread).to(device)
    strong = around(9.0, n).to(device)
    want = "name mover" if factor > 1 else "unclear"
    for case in ((edge, strong, strong), (strong, edge, strong), (strong, strong, edge)):
        got = impl.name_role(*case)
        require(got == want, f"a mean of {factor} half widths gives {got!r}, not {want!r}")


def test_name_role__of_constants_at_zero(impl, device):
    """All effects are exactly 0: the interval is the point 0, which is not above 0"""
    zero, strong = torch.zeros(4, device=device), around(9.0, 4).float().to(device)
    require(impl.name_role(strong, strong, zero) == "unclear", "0 is not above 0")
    require(impl.name_role(zero, -strong, strong) == "unclear", "0 is not below 0")


def test_name_role__agrees_with_the_worked_one(impl, ref, seed, device):
    """Random evidence of different lengths; the inputs stay as they are"""
    g = generator(seed, device)
    for shift in (-0.8, -0.4, 0.0, 0.4, 0.8):
        args = [normal(g, 9) + shift, normal(g, 6) + shift, normal(g, 9) + abs(shift)]
        with unchanged(*args):
            mine = impl.name_role(*args)
        require(mine == ref.name_role(*args), f"{mine!r} is not {ref.name_role(*args)!r}")


# --------------------------------------------------------------------------- i3. swapped_latents


def test_swapped_latents__of_all_leave_bias_and_error(impl, seed, device):
    """All latents swapped: the partner's latents with one's own rest"""
    g = generator(seed, device)
    f, W_dec, rest = sparse(g, 4, 6), normal(g, 6, 5), normal(g, 4, 5)
    partner = torch.tensor([1, 0, 3, 2], device=device)
    got = impl.swapped_latents(f @ W_dec + rest, f, W_dec, shuffled(g, 6), partner)
    assert_same(got, f[partner] @ W_dec + rest, "prompt d_in", 1e-4, 1e-4)


def test_swapped_latents__with_oneself_change_nothing(impl, seed, device):
    """Everybody is the own partner; and nobody chosen"""
    g = generator(seed, device)
    x, f, W_dec = place(g)
    same, chosen = torch.arange(5, device=device), torch.tensor([2, 5], device=device)
    assert_same(impl.swapped_latents(x, f, W_dec, chosen, same), x, "prompt d_in", 1e-5, 1e-5)
    got = impl.swapped_latents(x, f, W_dec, chosen[:0], same.flip(0))
    assert_same(got, x, "prompt d_in", 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_swapped_latents__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Partners in a circle, other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, latent, d in ((3, 9, 5), (6, 4, 4), (5, 6, 2)):
        x, f, W_dec = place(g, n, latent, d, dtype)
        args = (x, f, W_dec, shuffled(g, latent)[:3], torch.arange(n, device=device).roll(1))
        with unchanged(*args):
            mine = impl.swapped_latents(*args)
        assert_same(mine, ref.swapped_latents(*args), "prompt d_in", 1e-4, 1e-5)


# --------------------------------------------------------------------------- j1. control_latents


def test_control_latents__by_hand(impl, device):
    """Three values, four latents"""
    f = torch.tensor([[0.0, 2.0, 5.0, 0.0], [1.0, 0.0, 0.0, 0.0]], device=device)
    scores = torch.tensor([[-1.0, 9.0, 3.0, 4.0], [0.1, -5.0, 0.3, 0.2]], device=device)
    want = torch.tensor([[0.0, 5.0, 0.0, 2.0], [0.0, 0.0, 1.0, 0.0]], device=device)
    assert_same(impl.control_latents(f, scores), want, "prompt latent")


def test_control_latents__have_the_same_values_and_follow_the_scores(impl, seed, device):
    """As many active, with the same values; a larger score never has a smaller value"""
    g = generator(seed, device)
    f, scores = sparse(g, 6, 9, share=0.4), normal(g, 6, 9)
    got = impl.control_latents(f, scores)
    assert_same(got.sort(dim=1).values, f.sort(dim=1).values, "prompt latent", what="the values")
    ordered = got.gather(1, scores.argsort(dim=1))
    require(bool((ordered.diff(dim=1) >= 0).all()), "a latent with a smaller score is stronger")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_control_latents__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    for n, latent in ((4, 7), (7, 4), (1, 5)):
        f, scores = sparse(g, n, latent, dtype=dtype), normal(g, n, latent, dtype=dtype)
        with unchanged(f, scores):
            mine = impl.control_latents(f, scores)
        assert_same(mine, ref.control_latents(f, scores), "prompt latent")


# ------------------------------------------------------------------------------------- predictions


def test_predict_through__is_right(impl, ref):
    """How much of the difference is left with the residual SAE"""
    require(impl.predict_through == ref.predict_through, "read the third line of the demo")


def test_predict_listed__is_right(impl, ref):
    """Whether the two latents are among the ten with the largest weight"""
    want = ref.predict_listed
    require(impl.predict_listed == want, "how often are they active on ordinary text?")


def test_predict_looks__is_right(impl, ref):
    """Where head 23.3 looks from the end"""
    require(impl.predict_looks == ref.predict_looks, "compare the three shares of its attention")


def test_predict_gradient__is_right(impl, ref):
    """How well the gradient predicts the ablations at the end"""
    want = ref.predict_gradient
    require(impl.predict_gradient == want, "how many blocks can bend the line in between?")


def test_predict_estimates__is_right(impl, ref):
    """For how many of the two strongest latents the estimate is half of the effect"""
    require(
        impl.predict_estimates == ref.predict_estimates, "compare the first two lines of the demo"
    )


def test_predict_movers__is_right(impl, ref):
    """What happens without the heads that look at the right name and write it"""
    want = ref.predict_movers
    require(impl.predict_movers == want, "the last line of the demo has their effect")


def test_predict_swap__is_right(impl, ref):
    """The difference with head 23.3 from the partner"""
    require(impl.predict_swap == ref.predict_swap, "the first line of the demo says it")


def test_predict_story__is_right(impl, ref):
    """Which roles there are in the story model"""
    require(impl.predict_story == ref.predict_story, "count the verdicts of both blocks")
