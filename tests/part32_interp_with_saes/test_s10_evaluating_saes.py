"""3.2.10: what is right, on small random tensors."""

import math

import pytest
import torch
from scipy import stats

from utils.testing import (
    assert_same,
    binomial_bounds,
    generator,
    require,
    unchanged,
)

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def sparse(g, *shape, share=0.5, dtype=torch.float32):
    """Activations as an SAE gives them: many are 0, none is negative."""
    on = torch.rand(shape, generator=g, device=g.device) < share
    return normal(g, *shape, dtype=dtype).abs() * on


def coins(g, *shape, share=0.5):
    """Booleans, true with this probability."""
    return torch.rand(shape, generator=g, device=g.device) < share


def both_kinds(g, n, share=0.3):
    """Booleans of which some are true and some false."""
    truth = coins(g, n, share=share)
    truth[0], truth[-1] = True, False
    return truth


def whole(g, high, *shape):
    """Whole numbers from 0 to high - 1."""
    return torch.randint(high, shape, generator=g, device=g.device)


def basis(g, d, dtype=torch.float32):
    """A random orthonormal basis, by rows."""
    return torch.linalg.qr(normal(g, d, d, dtype=torch.float64)).Q.to(dtype)


# ------------------------------------------------------------------------------ a1. identity_sae


@BOTH
def test_identity_sae__reconstructs_everything(impl, seed, device, dtype):
    """ReLU(x W_enc) W_dec = x for any x"""
    g = generator(seed, device)
    for d in (1, 3, 6):
        Q, x = basis(g, d, dtype), normal(g, 5, d, dtype=dtype)
        with unchanged(Q):
            W_enc, W_dec = impl.identity_sae(Q)
        shapes = (tuple(W_enc.shape), tuple(W_dec.shape))
        require(shapes == ((d, 2 * d), (2 * d, d)), f"the shapes are {shapes} for d = {d}")
        assert_same((x @ W_enc).relu() @ W_dec, x, "item d_in", 1e-4, 1e-5)


def test_identity_sae__latents_read_the_basis_then_its_negative(impl, ref, seed, device):
    """Column i of W_enc is q_i, column d + i is -q_i; the decoder writes what is read"""
    Q = basis(generator(seed + 1, device), 4)
    got = impl.identity_sae(Q)
    assert_same(got[0][:, :4], Q.T, "d_in latent", 1e-5, 1e-6)
    assert_same(got, ref.identity_sae(Q), ("d_in latent", "latent d_in"), 1e-5, 1e-6)


# -------------------------------------------------------------------------- a2. two_dense_latents


def rebuilt(parts, x):
    """What the two latents make of x."""
    W_enc, W_dec, b = parts
    return ((x - b) @ W_enc).relu() @ W_dec + b


@BOTH
def test_two_dense_latents__keep_the_principal_part(impl, ref, seed, device, dtype):
    """Mean plus the projection on the direction of largest variance; as the worked one"""
    g = generator(seed, device)
    for n, d in ((9, 4), (8, 7)):
        stretch = torch.arange(d, 0, -1, device=device, dtype=dtype)
        x = (normal(g, n, d, dtype=dtype) * stretch) @ basis(g, d, dtype) + 5
        with unchanged(x):
            got = impl.two_dense_latents(x)
        want = ref.two_dense_latents(x)
        shapes = [tuple(t.shape) for t in got]
        require(shapes == [(d, 2), (2, d), (d,)], f"the shapes are {shapes}")
        assert_same(got[2], x.mean(dim=0), "d_in", 1e-4, 1e-5, what="the bias")
        assert_same(rebuilt(got, x), rebuilt(want, x), "item d_in", 1e-3, 1e-4)


def test_two_dense_latents__one_is_on_at_a_time(impl, seed, device):
    """v and -v, of length 1, read and written: never both active"""
    x = normal(generator(seed + 1, device), 12, 5) + 3
    W_enc, W_dec, b = impl.two_dense_latents(x)
    assert_same(W_dec[1], -W_dec[0], "d_in", 1e-5, 1e-6, hint="the second latent is -v")
    assert_same(W_enc, W_dec.T, "d_in latent", 1e-5, 1e-6, hint="latents read what they write")
    assert_same(W_dec.norm(dim=1), torch.ones(2, device=device), "latent", 1e-5, 1e-5)
    f = ((x - b) @ W_enc).relu()
    require(int((f > 0).all(dim=1).sum()) == 0, "both latents are active on one item")


def test_two_dense_latents__a_far_mean_is_no_variance(impl, device):
    """Rows vary along the second axis; their mean is far out along the first"""
    x = torch.tensor([[50.0, 1.0, 0.1], [50.0, -1.0, 0.0], [50.2, 3.0, 0.0]], device=device)
    got = rebuilt(impl.two_dense_latents(x), x)
    require(float((got - x).abs().max()) < 0.3, "the direction is that of the mean: centre first")


# ------------------------------------------------------------------------------ a3. memorise_rows


@BOTH
def test_memorise_rows__each_row_needs_its_own_latent(impl, ref, seed, device, dtype):
    """The largest pre-activation of row i is latent i, and gives the row back"""
    g = generator(seed, device)
    for n, d in ((7, 3), (4, 6)):
        x = normal(g, n, d, dtype=dtype) * (1 + 9 * torch.rand(n, 1, generator=g, device=device))
        x = x.to(dtype)
        with unchanged(x):
            W_enc, W_dec = impl.memorise_rows(x)
        ones = torch.ones(n, device=device, dtype=dtype)
        assert_same(W_dec.norm(dim=1), ones, "item", 1e-5, 1e-5, hint="rows have length 1")
        value, which = (x @ W_enc).max(dim=1)
        assert_same(which, torch.arange(n, device=device), "item", hint="each row its own latent")
        assert_same(value[:, None] * W_dec[which], x, "item d_in", 1e-4, 1e-4)
        want = ref.memorise_rows(x)
        assert_same((W_enc, W_dec), want, ("d_in item", "item d_in"), 1e-5, 1e-5)


def test_memorise_rows__by_hand(impl, device):
    """A long row and a short one: the short one must still win on itself"""
    x = torch.tensor([[30.0, 40.0], [0.0, 0.5]], device=device)
    W_enc, W_dec = impl.memorise_rows(x)
    want = torch.tensor([[0.6, 0.8], [0.0, 1.0]], device=device)
    assert_same(W_dec, want, "item d_in", 1e-6, 1e-6)
    assert_same(W_enc, want.T, "d_in item", 1e-6, 1e-6)


# ---------------------------------------------------------------------------- a4. stretch_latents


@BOTH
def test_stretch_latents__scales_the_latents_and_not_the_output(impl, ref, seed, device, dtype):
    """Latents times s, same output; the inputs stay as they are"""
    g = generator(seed, device)
    W_enc, W_dec, b = (normal(g, *s, dtype=dtype) for s in ((4, 6), (6, 4), (6,)))
    s = 0.2 + 3 * torch.rand(6, generator=g, device=device, dtype=dtype)
    x = normal(g, 9, 4, dtype=dtype)
    with unchanged(W_enc, W_dec, b, s):
        got = impl.stretch_latents(W_enc, b, W_dec, s)
    f, f_new = (x @ W_enc + b).relu(), (x @ got[0] + got[1]).relu()
    assert_same(f_new, f * s, "item latent", 1e-4, 1e-5, hint="latents: s times as large")
    assert_same(f_new @ got[2], f @ W_dec, "item d_in", 1e-4, 1e-4, hint="the output stays")
    axes = ("d_in latent", "latent", "latent d_in")
    assert_same(got, ref.stretch_latents(W_enc, b, W_dec, s), axes, 1e-5, 1e-6)


def test_stretch_latents__a_square_sae_by_hand(impl, device):
    """As many latents as dimensions: columns of one matrix, rows of the other"""
    W = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
    b, s = torch.tensor([1.0, -1.0], device=device), torch.tensor([2.0, 10.0], device=device)
    got = impl.stretch_latents(W, b, W, s)
    assert_same(got[0], torch.tensor([[2.0, 20.0], [6.0, 40.0]], device=device), "d_in latent")
    assert_same(got[1], torch.tensor([2.0, -10.0], device=device), "latent")
    assert_same(got[2], torch.tensor([[0.5, 1.0], [0.3, 0.4]], device=device), "latent d_in")


# --------------------------------------------------------------------------------- a5. written_l1


def test_written_l1__by_hand(impl, device):
    """Two latents of lengths 5 and 1; items write 5 · 1 + 2 and 0"""
    W = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, -1.0]], device=device)
    f = torch.tensor([[1.0, 2.0], [0.0, 0.0]], device=device)
    assert_same(impl.written_l1(f, W), 3.5, rtol=1e-5)


@BOTH
def test_written_l1__does_not_depend_on_units(impl, ref, seed, device, dtype):
    """Latents times s, rows divided by s: the same number; as the worked one"""
    g = generator(seed, device)
    f, W = sparse(g, 7, 5, dtype=dtype), normal(g, 5, 3, dtype=dtype)
    s = 0.1 + 5 * torch.rand(5, generator=g, device=device, dtype=dtype)
    with unchanged(f, W):
        mine = impl.written_l1(f, W)
    assert_same(mine, ref.written_l1(f, W), rtol=1e-4)
    assert_same(impl.written_l1(f * s, W / s[:, None]), mine, rtol=1e-4, hint="units matter here")


# ------------------------------------------------------------------------------ f. best_detectors


def test_best_detectors__by_hand(impl, device):
    """Latent 1 is exact for the first label; for the second latent 0 is on once too often"""
    fires = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], device=device) > 0
    labels = torch.tensor([[0, 1], [0, 1], [1, 0], [1, 0]], device=device) > 0
    best, precision, recall = impl.best_detectors(fires, labels)
    assert_same(best, torch.tensor([1, 0], device=device), "predicate")
    want = torch.tensor([1, 2 / 3], dtype=torch.float64, device=device)
    assert_same(precision, want, "predicate", 1e-9, 1e-9)
    ones = torch.ones(2, dtype=torch.float64, device=device)
    assert_same(recall, ones, "predicate", 1e-9, 1e-9)
    # precision 1, recall 0.2 against 0.5 and 0.6: F1 is 1/3 and 6/11, their plain mean 0.6 and 0.55
    rare, often = [1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 1, 1, 1]
    fires = torch.tensor([rare, often], device=device).T > 0
    label = torch.tensor([1, 1, 1, 1, 1, 0, 0, 0], device=device)[:, None] > 0
    require(impl.best_detectors(fires, label)[0].tolist() == [1], "latent 1 has the larger F1")


def test_best_detectors__agrees_with_the_worked_one(impl, ref, seed, device):
    """Random activations and labels, rare and frequent; the inputs stay as they are"""
    for i, (n, m, k) in enumerate(((40, 7, 3), (90, 4, 6), (25, 11, 2))):
        g = generator(seed + i, device)
        fires = coins(g, n, m) & coins(g, n, 1, share=0.8)
        labels = coins(g, n, k) & (torch.rand(k, generator=g, device=device) > 0.3)
        labels[0] = True
        with unchanged(fires, labels):
            got = impl.best_detectors(fires, labels)
        want = ref.best_detectors(fires, labels)
        assert_same(got, want, ("predicate",) * 3, 1e-9, 1e-9)


def test_best_detectors__silent_latents_and_equals(impl, device):
    """Nobody is active: latent 0, precision 0, recall 0. Two equal latents: the first"""
    labels = torch.tensor([[True], [False], [True]], device=device)
    silent = torch.zeros(3, 4, dtype=torch.bool, device=device)
    best, precision, recall = impl.best_detectors(silent, labels)
    require(best.tolist() == [0], f"of equals the first: yours is {best.tolist()}")
    require(float(precision[0]) == 0 and float(recall[0]) == 0, "both are 0 where nobody is active")
    twins = labels.expand(3, 2) & True
    require(impl.best_detectors(twins, labels)[0].tolist() == [0], "of equals the first")


# ------------------------------------------------------------------------- b1. difference_latents


def test_difference_latents__by_hand(impl, device):
    """Gaps of the means: -3, 0.5, 2, 2"""
    f = torch.tensor(
        [[0.0, 1.5, 4.0, 2.0], [3.0, 1.0, 2.0, 0.0], [3.0, 1.0, 2.0, 0.0]], device=device
    )
    label = torch.tensor([True, False, False], device=device)
    for k, want in ((1, [0]), (3, [0, 2, 3]), (4, [0, 2, 3, 1])):
        got = impl.difference_latents(f, label, k)
        assert_same(got, torch.tensor(want, device=device), "k")


@BOTH
def test_difference_latents__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Random activations, few yeses, many; the inputs stay as they are"""
    for i, (n, m, k, share) in enumerate(((30, 8, 3, 0.1), (50, 5, 5, 0.8), (9, 12, 1, 0.5))):
        g = generator(seed + i, device)
        scale = 0.1 + 4 * torch.rand(m, generator=g, device=device)
        f, label = sparse(g, n, m, dtype=dtype) * scale.to(dtype), both_kinds(g, n, share)
        with unchanged(f, label):
            got = impl.difference_latents(f, label, k)
        assert_same(got, ref.difference_latents(f, label, k), "k")


def test_difference_latents__does_not_care_what_is_called_yes(impl, seed, device):
    """Negated labels give the same latents; so does a constant added to a latent"""
    g = generator(seed + 5, device)
    f, label = sparse(g, 40, 9), both_kinds(g, 40)
    got = impl.difference_latents(f, label, 4)
    assert_same(impl.difference_latents(f, ~label, 4), got, "k")
    shifted = f + 2 * torch.arange(9, device=device)
    assert_same(impl.difference_latents(shifted, label, 4), got, "k", hint="only gaps count")


# -------------------------------------------------------------------------------- b2. flip_labels


def test_flip_labels__flips_exactly_so_many(impl, seed, device):
    """share · n entries differ, both yeses and noes among them; the given labels stay"""
    for i, (n, share) in enumerate(
        ((40, 0.25), (10, 0.0), (12, 1.0), (50, 0.3), (300, 0.5), (100, 0.29), (50, 0.58))
    ):
        g = generator(seed + i, device)
        label = both_kinds(g, n, 0.5)
        with unchanged(label):
            got = impl.flip_labels(label, share, g)
        require(got.dtype == torch.bool and got.shape == label.shape, "a Bool of the same shape")
        n_flipped = int((got != label).sum())
        require(n_flipped == round(share * n), f"{n_flipped} of {n} flipped at share {share}")
        if share >= 0.5:
            require((got != label)[label].any(), "no yes has become a no")
            require((got != label)[~label].any(), "no no has become a yes")


def test_flip_labels__every_item_is_as_likely(impl, seed, device):
    """Over many draws each place, yes or no, is flipped equally often"""
    g, n, draws = generator(seed + 9, device), 8, 600
    label = torch.arange(n, device=device) % 2 == 0
    counts = torch.zeros(n, device=device)
    for _ in range(draws):
        counts += impl.flip_labels(label, 0.25, g) != label
    low, high = binomial_bounds(draws, 0.25, 1e-7)
    bad = [(i, int(c)) for i, c in enumerate(counts.tolist()) if not low <= c <= high]
    require(not bad, f"flipped in {draws} draws, place and times: {bad}, expected {draws // 4}")


def test_flip_labels__depends_on_the_generator_alone(impl, ref, seed, device):
    """The same generator flips the same items, another one others"""
    label = both_kinds(generator(seed, device), 60, 0.5)
    a, b, c = (impl.flip_labels(label, 0.4, generator(seed + s, device)) for s in (3, 3, 4))
    require(torch.equal(a, b), "the same generator flips other items: is `gen` used?")
    require(not torch.equal(a, c), "another generator flips the same items")
    other = ref.flip_labels(label, 0.4, generator(seed, device))
    require(int((other != label).sum()) == int((a != label).sum()), "not as many as the worked one")


# -------------------------------------------------------------------------------- b3. quiver_gain


def test_quiver_gain__by_hand(impl, device):
    """Task 0: latents win in validation and lose in the test. Task 1: they are never chosen"""
    valid = torch.tensor([[0.7, 0.6, 0.9], [0.8, 0.9, 0.1]], device=device, dtype=torch.float64)
    test = torch.tensor([[0.75, 0.9, 0.5], [0.6, 0.7, 1.0]], device=device, dtype=torch.float64)
    sae = torch.tensor([False, False, True], device=device)
    want = torch.tensor([-0.25, 0.0], device=device, dtype=torch.float64)
    assert_same(impl.quiver_gain(valid, test, sae), want, "setting", 1e-9, 1e-9)


@BOTH
def test_quiver_gain__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Random scores, some negative or equal; latents' probes anywhere"""
    for i, (n, m) in enumerate(((12, 5), (7, 3), (30, 6))):
        g = generator(seed + i, device)
        valid = (whole(g, 9, n, m).to(dtype) - 6) / 4
        test, sae = normal(g, n, m, dtype=dtype), coins(g, m)
        sae[int(whole(g, m, 1))] = False
        with unchanged(valid, test, sae):
            got = impl.quiver_gain(valid, test, sae)
        assert_same(got, ref.quiver_gain(valid, test, sae), "setting", 1e-6, 1e-6)


def test_quiver_gain__is_0_without_latents(impl, seed, device):
    """No probe on latents: nothing is added, however different validation and test are"""
    g = generator(seed, device)
    none = torch.zeros(4, dtype=torch.bool, device=device)
    got = impl.quiver_gain(normal(g, 6, 4), normal(g, 6, 4), none)
    assert_same(got, torch.zeros(6, device=device), "setting")


# ------------------------------------------------------------------------- c1. absorption_contrast


def test_absorption_contrast__by_hand(impl, device):
    """With a child silent in 2 of 3, alone in 1 of 2; the last two items have no parent"""
    parent = torch.tensor([1, 1, 1, 1, 1, 0, 0], device=device) > 0
    child = torch.tensor([1, 1, 1, 0, 0, 1, 0], device=device) > 0
    fires = torch.tensor([0, 0, 1, 1, 0, 0, 0], device=device) > 0
    assert_same(impl.absorption_contrast(fires, parent, child), 2 / 3 - 1 / 2, rtol=1e-6)
    assert_same(impl.absorption_contrast(~parent & parent, parent, child), 0.0)
    assert_same(impl.absorption_contrast(parent & ~child, parent, child), 1.0)


def test_absorption_contrast__agrees_with_the_worked_one(impl, ref, seed, device):
    """Random items, children without parents too; the inputs stay as they are"""
    for i in range(4):
        g = generator(seed + i, device)
        fires, parent, child = (coins(g, 60, share=s) for s in (0.6, 0.5, 0.3 + 0.1 * i))
        parent[:2], child[0], child[1] = True, True, False
        with unchanged(fires, parent, child):
            got = impl.absorption_contrast(fires, parent, child)
        assert_same(got, ref.absorption_contrast(fires, parent, child), rtol=1e-6)


def test_absorption_contrast__is_nan_without_one_kind(impl, device):
    """No parent with a child, no parent alone, no parent at all"""
    yes = torch.ones(4, dtype=torch.bool, device=device)
    for parent, child in ((yes, yes), (yes, ~yes), (~yes, yes)):
        got = impl.absorption_contrast(yes, parent, child)
        require(isinstance(got, float) and math.isnan(got), f"{got!r}: NaN was asked for")


# ------------------------------------------------------------------------ c2. feature_coefficients


@BOTH
def test_feature_coefficients__finds_what_rows_were_made_of(impl, seed, device, dtype):
    """Rows made of features that are neither orthogonal nor equally long"""
    g = generator(seed, device)
    for n, m, d in ((5, 3, 6), (2, 4, 4), (7, 2, 3)):
        mix = 2 * torch.eye(m, device=device, dtype=torch.float64) + 0.7
        lengths = torch.arange(1, m + 1, device=device)[:, None]
        W = mix @ basis(g, d, torch.float64)[:m] * lengths
        C = normal(g, n, m, dtype=torch.float64)
        rows, W = (C @ W).to(dtype), W.to(dtype)
        with unchanged(rows, W):
            got = impl.feature_coefficients(rows, W)
        assert_same(got, C.to(dtype), "latent feature", 2e-3, 2e-3)


def test_feature_coefficients__leaves_the_smallest_error(impl, ref, seed, device):
    """What the features cannot make is orthogonal to all of them; as the worked one"""
    g = generator(seed + 1, device)
    W, rows = normal(g, 3, 7, dtype=torch.float64), normal(g, 5, 7, dtype=torch.float64)
    got = impl.feature_coefficients(rows, W)
    left = (rows - got @ W) @ W.T
    assert_same(left, torch.zeros_like(left), "latent feature", 1e-6, 1e-6)
    assert_same(got, ref.feature_coefficients(rows, W), "latent feature", 1e-6, 1e-6)


# ---------------------------------------------------------------------------------- d1. scr_score


@BOTH
def test_scr_score__by_hand(impl, device, dtype):
    """From 0.6 to 0.8: nothing gained, half, all, more than all, worse"""
    ablated = torch.tensor([0.6, 0.7, 0.8, 0.9, 0.5], device=device, dtype=dtype)
    want = torch.tensor([0.0, 0.5, 1.0, 1.5, -0.5], device=device, dtype=dtype)
    assert_same(impl.scr_score(0.6, ablated, 0.8), want, "item", 1e-5, 1e-5)


def test_scr_score__agrees_with_the_worked_one(impl, ref, seed, device):
    """Random accuracies; the input stays as it is"""
    g = generator(seed, device)
    ablated = torch.rand(6, generator=g, device=device)
    for base, oracle in ((0.5, 0.95), (0.72, 0.73), (0.0, 1.0)):
        with unchanged(ablated):
            got = impl.scr_score(base, ablated, oracle)
        assert_same(got, ref.scr_score(base, ablated, oracle), "item", 1e-4, 1e-5)


@BOTH
def test_scr_score__is_nan_where_there_was_nothing_to_gain(impl, device, dtype):
    """The oracle as good as the base, or worse"""
    ablated = torch.tensor([0.6, 0.9, 0.7], device=device, dtype=dtype)
    for oracle in (0.7, 0.65):
        got = impl.scr_score(0.7, ablated, oracle)
        require(got.shape == ablated.shape and got.dtype == dtype, "one NaN per entry, same dtype")
        require(got.isnan().all(), f"{got.tolist()} with base 0.7 and oracle {oracle}: NaN")


# ---------------------------------------------------------------------------------- d2. tpp_score


def test_tpp_score__by_hand(impl, device):
    """Own probes lose 0.3 and 0.1, the others 0.1 and -0.1"""
    before = torch.tensor([0.9, 0.7], device=device)
    after = torch.tensor([[0.6, 0.8], [0.8, 0.6]], device=device)
    assert_same(impl.tpp_score(before, after), 0.2, rtol=1e-5, atol=1e-6)


@BOTH
def test_tpp_score__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Random tables of several sizes; the inputs stay as they are"""
    for i, n in enumerate((2, 3, 6)):
        g = generator(seed + i, device)
        before = torch.rand(n, generator=g, device=device, dtype=dtype)
        after = torch.rand(n, n, generator=g, device=device, dtype=dtype)
        with unchanged(before, after):
            got = impl.tpp_score(before, after)
        assert_same(got, ref.tpp_score(before, after), rtol=1e-4, atol=1e-5)


def test_tpp_score__harm_to_all_is_no_score(impl, seed, device):
    """Every probe loses as much whatever is removed: 0"""
    g = generator(seed, device)
    before = 0.7 + 0.2 * torch.rand(5, generator=g, device=device, dtype=torch.float64)
    assert_same(impl.tpp_score(before, (before - 0.1).expand(5, 5).clone()), 0.0, atol=1e-9)


# ---------------------------------------------------------------------------- e. scramble_weights


def model_like(g):
    """Weights of several shapes, a mask and a counter."""
    return {
        "W": normal(g, 7, 5), "b": normal(g, 12), "deep": normal(g, 2, 3, 4, dtype=torch.float64),
        "mask": torch.tril(torch.ones(4, 4, device=g.device)) > 0,
        "step": torch.arange(9, device=g.device).reshape(3, 3),
    }  # fmt: skip


def test_scramble_weights__same_numbers_elsewhere(impl, seed, device):
    """The same sorted numbers, shapes and dtypes; masks and counters untouched; a new dictionary"""
    g = generator(seed, device)
    weights = model_like(g)
    with unchanged(*weights.values()):
        got = impl.scramble_weights(weights, g)
    require(list(got) == list(weights), f"the names are {list(got)}, not {list(weights)}")
    for name, W in weights.items():
        new = got[name]
        require(new.shape == W.shape and new.dtype == W.dtype, f"{name}: another shape or dtype")
        if W.is_floating_point():
            require(torch.equal(new.flatten().sort().values, W.flatten().sort().values),
                    f"{name}: these are not the same numbers")  # fmt: skip
            require(not torch.equal(new, W), f"{name} is as it was")
        else:
            require(torch.equal(new, W), f"{name} holds no weights and should stay")


def test_scramble_weights__every_place_is_as_likely(impl, seed, device):
    """Over many draws each number of a 2 × 3 matrix is in each place equally often"""
    g, draws = generator(seed + 2, device), 600
    W = torch.arange(6.0, device=device).reshape(2, 3)
    counts, together = torch.zeros(6, 6, device=device), 0
    for _ in range(draws):
        new = impl.scramble_weights({"W": W}, g)["W"]
        counts[torch.arange(6, device=device), new.flatten().long()] += 1
        together += int(((new == 0) | (new == 1)).sum(dim=1).max()) == 2
    low, high = binomial_bounds(draws, 1 / 6, 1e-8)
    require(bool(((counts >= low) & (counts <= high)).all()), "some places are more likely")
    low, high = binomial_bounds(draws, 2 / 5, 1e-8)  # 0 is somewhere; 2 of 5 places share its row
    require(low <= together <= high, f"0 and 1 share a row {together} times of {draws}")


def test_scramble_weights__each_tensor_has_its_own_order(impl, ref, seed, device):
    """Two equal tensors come out differently; the same generator gives the same result"""
    W = torch.arange(40.0, device=device)
    weights = {"first": W, "second": W.clone()}
    a, b, c = (impl.scramble_weights(weights, generator(seed + s, device)) for s in (3, 3, 4))
    require(not torch.equal(a["first"], a["second"]), "one order for both tensors")
    require(torch.equal(a["first"], b["first"]), "the same generator, another order: use `gen`")
    require(not torch.equal(a["first"], c["first"]), "another generator, the same order")
    require(list(a) == list(ref.scramble_weights(weights, generator(seed, device))), "the names")


# --------------------------------------------------------------------------------- g1. kendall_tau


@pytest.mark.parametrize(
    ("x", "y", "want"),
    [
        ([1.0, 2.0, 3.0], [10.0, 20.0, 21.0], 1.0),
        ([1.0, 2.0, 3.0], [5.0, 4.0, -1.0], -1.0),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], 2 / 3),
        ([1.0, 1.0, 2.0], [1.0, 2.0, 3.0], 2 / math.sqrt(6)),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], 0.0),
        ([1.0, 2.0], [4.0, 4.0], 0.0),
    ],
)
def test_kendall_tau__by_hand(impl, device, x, y, want):
    """Same order, opposite order, one pair swapped, ties, constants"""
    got = impl.kendall_tau(torch.tensor(x, device=device), torch.tensor(y, device=device))
    assert_same(got, want, rtol=1e-5, atol=1e-6)


@BOTH
def test_kendall_tau__matches_scipy(impl, ref, seed, device, dtype):
    """Random numbers, with many equal ones and with few; the inputs stay as they are"""
    for i, (n, high) in enumerate(((15, 4), (30, 1000), (9, 2))):
        g = generator(seed + i, device)
        x = whole(g, high, n).to(dtype) / 7 - 1
        y = whole(g, high, n).to(dtype) + x
        y[0], x[0], y[1], x[1] = 50.0, -2.0, -50.0, -1.9
        with unchanged(x, y):
            got = impl.kendall_tau(x, y)
        truth = float(stats.kendalltau(x.cpu().numpy(), y.cpu().numpy()).statistic)
        assert_same(got, truth, rtol=1e-4, atol=1e-6)
        assert_same(got, ref.kendall_tau(x, y), rtol=1e-5, atol=1e-6)


def test_kendall_tau__knows_orders_only(impl, seed, device):
    """exp of one, minus of the other"""
    g = generator(seed + 7, device)
    x, y = normal(g, 12), normal(g, 12)
    tau = impl.kendall_tau(x, y)
    assert_same(impl.kendall_tau(x.exp(), y), tau, rtol=1e-5, atol=1e-6)
    assert_same(impl.kendall_tau(x, -y), -tau, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------- g2. choice_regret


@pytest.mark.parametrize(
    ("proxy", "truth", "want"),
    [
        ([1.0, 5.0, 3.0], [0.2, 0.4, 0.9], 0.5),
        ([1.0, 5.0, 3.0], [0.2, 0.9, 0.4], 0.0),
        ([5.0, 5.0, 3.0], [0.2, 0.4, 0.9], 0.6),
        ([-5.0, -2.0], [-0.5, -0.7], 0.2),
        ([2.0, 2.0], [1.0, 1.0], 0.0),
    ],
)
def test_choice_regret__by_hand(impl, device, proxy, truth, want):
    """One favourite, the right one, two, negative numbers"""
    got = impl.choice_regret(torch.tensor(proxy, device=device), torch.tensor(truth, device=device))
    assert_same(got, want, rtol=1e-5, atol=1e-6)


@BOTH
def test_choice_regret__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Random proxies with equal ones; never negative"""
    for i, n in enumerate((5, 12, 1)):
        g = generator(seed + i, device)
        proxy, truth = whole(g, 4, n).to(dtype), normal(g, n, dtype=dtype)
        with unchanged(proxy, truth):
            got = impl.choice_regret(proxy, truth)
        assert_same(got, ref.choice_regret(proxy, truth), rtol=1e-5, atol=1e-6)
        require(got >= -1e-6, f"the regret is {got}: nothing is better than the best")


# ------------------------------------------------------------------------------ j. decoder_overlap


def test_decoder_overlap__by_hand(impl, device):
    """Cosines 0.6, 0 and -0.8; lengths do not matter; a zero row counts"""
    W = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, -9.0]], device=device)
    assert_same(impl.decoder_overlap(W), 1.4 / 3, rtol=1e-5)
    with_zero = torch.cat([W, torch.zeros(1, 2, device=device)])
    assert_same(impl.decoder_overlap(with_zero), 1.4 / 6, rtol=1e-5)
    assert_same(impl.decoder_overlap(torch.eye(5, device=device)), 0.0, atol=1e-7)
    assert_same(impl.decoder_overlap(1e-5 * W), 1.4 / 3, rtol=1e-4, hint="short rows are rows")


@BOTH
def test_decoder_overlap__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Random rows of random lengths, in three sizes; the input stays as it is"""
    for i, (n, d) in enumerate(((2, 5), (9, 3), (6, 6))):
        g = generator(seed + i, device)
        W = normal(g, n, d, dtype=dtype) * (0.1 + torch.arange(n, device=device)[:, None])
        with unchanged(W):
            got = impl.decoder_overlap(W)
        assert_same(got, ref.decoder_overlap(W), rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------- j2. mates_and_strangers


def test_mates_and_strangers__by_hand(impl, device):
    """Row 0: 9 own, 4 mates, 3 strangers, 16 in all. Row 1: all own. Row 2: 1 of 5 strangers"""
    C = torch.tensor([[3.0, -2.0, 3**0.5], [0.0, -7.0, 0.0], [0.0, 1.0, 2.0]], device=device)
    group = torch.tensor([4, 4, 1], device=device)
    mates, strangers = impl.mates_and_strangers(C, group)
    assert_same(mates, 4 / 16 / 3, rtol=1e-5)
    assert_same(strangers, (3 / 16 + 1 / 5) / 3, rtol=1e-5)


@BOTH
def test_mates_and_strangers__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Groups of several sizes in any order; lengths of rows do not matter; inputs unchanged"""
    for i, n in enumerate((7, 12, 3)):
        g = generator(seed + i, device)
        C, group = normal(g, n, n, dtype=dtype), whole(g, 3, n)
        with unchanged(C, group):
            got = impl.mates_and_strangers(C, group)
        want = ref.mates_and_strangers(C, group)
        assert_same(got[0], want[0], rtol=1e-4, atol=1e-6, what="the share of mates")
        assert_same(got[1], want[1], rtol=1e-4, atol=1e-6, what="the share of strangers")
        longer = C * (0.2 + torch.arange(n, device=device)[:, None])
        again = impl.mates_and_strangers(longer, group)
        assert_same(again[0], got[0], rtol=1e-4, atol=1e-6, hint="a row's length plays no role")


def test_mates_and_strangers__one_group_or_as_many_as_features(impl, seed, device):
    """All in one group: no strangers. Each in its own: no mates. The rest is the feature's own"""
    C = normal(generator(seed + 1, device), 5, 5, dtype=torch.float64)
    own = float((C.diagonal().square() / C.square().sum(dim=1)).mean())
    one, each = (torch.zeros(5, device=device).long(), torch.arange(5, device=device))
    mates, strangers = impl.mates_and_strangers(C, one)
    assert_same(strangers, 0.0, atol=1e-9)
    assert_same(mates, 1 - own, rtol=1e-5)
    mates, strangers = impl.mates_and_strangers(C, each)
    assert_same(mates, 0.0, atol=1e-9)
    assert_same(strangers, 1 - own, rtol=1e-5)


# -------------------------------------------------------------------------- h. tokenwise_explained


def test_tokenwise_explained__by_hand(impl, device):
    """Distances from the mean 1, 1, 2, 2 (squared 1, 1, 4, 4), errors 0, 1, 1, 4 (squared)"""
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]], device=device) + 3
    off = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 2.0]], device=device)
    assert_same(impl.tokenwise_explained(x, x + off), (1 + 0 + 0.75 + 0) / 4, rtol=1e-5)


@BOTH
def test_tokenwise_explained__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Random tokens far from 0; the inputs stay as they are"""
    for i, (n, d) in enumerate(((8, 3), (5, 9))):
        g = generator(seed + i, device)
        x = normal(g, n, d, dtype=dtype) * (1 + torch.arange(n, device=device)[:, None]) + 4
        x_hat = x + 0.4 * normal(g, n, d, dtype=dtype)
        with unchanged(x, x_hat):
            got = impl.tokenwise_explained(x, x_hat)
        assert_same(got, ref.tokenwise_explained(x, x_hat), rtol=1e-3, atol=1e-4)


def test_tokenwise_explained__is_1_and_0_at_the_ends(impl, seed, device):
    """1 for a perfect reconstruction, 0 for the mean; the usual one if all tokens are as far"""
    g = generator(seed + 3, device)
    x = normal(g, 6, 4, dtype=torch.float64)
    assert_same(impl.tokenwise_explained(x, x), 1.0, rtol=1e-9)
    mean = x.mean(dim=0).expand_as(x).clone()
    assert_same(impl.tokenwise_explained(x, mean), 0.0, atol=1e-9)
    ring = torch.cat([basis(g, 4, torch.float64), torch.zeros(0, 4, device=device)])
    ring = torch.cat([ring, -ring]) + 2
    near = ring + 0.3 * normal(g, 8, 4, dtype=torch.float64)
    usual = 1 - float((ring - near).square().sum() / (ring - 2).square().sum())
    assert_same(impl.tokenwise_explained(ring, near), usual, rtol=1e-6)


# -------------------------------------------------------------------------------- i. pareto_front


def test_pareto_front__by_hand(impl, device):
    """Beaten in one and equal in the other is beaten; equal in both is not"""
    less = torch.tensor([1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 3.0], device=device)
    more = torch.tensor([0.1, 0.5, 0.4, 0.5, 0.9, 0.9, 0.7], device=device)
    want = torch.tensor([1, 1, 0, 0, 1, 1, 1], device=device) > 0
    assert_same(impl.pareto_front(less, more), want, "item")


@BOTH
def test_pareto_front__is_what_nobody_beats(impl, ref, seed, device, dtype):
    """Brute force over pairs, with many equal numbers and negative ones; as the worked one"""
    for i, (n, high) in enumerate(((12, 4), (25, 100), (1, 3))):
        g = generator(seed + i, device)
        less, more = (whole(g, high, n).to(dtype) - high / 2 for _ in range(2))
        with unchanged(less, more):
            got = impl.pareto_front(less, more)
        pairs = list(zip(less.tolist(), more.tolist(), strict=True))
        for (a, b), on in zip(pairs, got.tolist(), strict=True):
            beaten = any(c <= a and d >= b and (c, d) != (a, b) for c, d in pairs)
            require(on != beaten, f"({a}, {b}) among {pairs}: on the front {on}, beaten {beaten}")
        assert_same(got, ref.pareto_front(less, more), "item")


# ------------------------------------------------------------------------------------ predictions


def test_predict_two_latents__is_right(impl, ref):
    """The line after block 12 with every token counted"""
    want = ref.predict_two_latents
    require(impl.predict_two_latents == want, "look at the third line: with the first token")


def test_predict_regimes__is_right(impl, ref):
    """An interval above 0 in the lines of the latents"""
    want = ref.predict_regimes
    require(impl.predict_regimes == want, "count the regimes whose interval lies above 0")


def test_predict_controls__is_right(impl, ref):
    """Compare the means of the sentences' scores"""
    want = ref.predict_controls
    require(impl.predict_controls == want, "which of the two is within 0.05 of the first line?")


def test_predict_proxy__is_right(impl, ref):
    """The largest tau on made data"""
    require(impl.predict_proxy == ref.predict_proxy, "compare the taus, not what choosing costs")


def test_predict_two_variances__is_right(impl, ref):
    """`explained` beside `older` in the last of the lines"""
    want = ref.predict_two_variances
    require(impl.predict_two_variances == want, "tokens near the mean have small divisors")


def test_predict_best_k__is_right(impl, ref):
    """The lines called cosine: third number against second and fifth"""
    want = ref.predict_best_k
    require(impl.predict_best_k == want, "three features are on in a row: compare 2, 3 and 5")
