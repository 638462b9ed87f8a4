"""Tests of 3.1.8, one function per property, named test_<exercise>__<property>."""

import contextlib
import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import linprog
from sklearn.linear_model import orthogonal_mp
from torch import Tensor

from utils.testing import (
    AWAITED,
    assert_raises,
    assert_same,
    binomial_bounds,
    first_index,
    generator,
    hoeffding,
    ks_distance,
    require,
    unchanged,
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


@contextlib.contextmanager
def words_are_free():
    """Answers that raise where nothing is wrong are alike, whatever their errors say."""
    waiting = AWAITED.set(lambda error: f"an error for what is allowed: {error}")
    try:
        yield
    finally:
        AWAITED.reset(waiting)


# ----------------------------------------------------------------------------- a1. zipf_probability


def test_zipf_probability__by_hand(impl):
    """Three features with exponent 1: proportional to 1, 1/2, 1/3."""
    expected = torch.tensor([6 / 11, 3 / 11, 2 / 11])
    assert_same(impl.zipf_probability(3, 1.0, 1.0), expected, "feature")


def test_zipf_probability__sums_to_the_mean_l0(impl):
    """The probabilities sum to the number of features that should be active on average."""
    for n, exponent, l0 in [(40, 0.7, 3.0), (7, 1.3, 0.5), (12, 0.0, 6.0)]:
        p = impl.zipf_probability(n, exponent, l0)
        total = float(p.sum())
        require(abs(total - l0) < 1e-4, f"they sum to {total:.4f}; mean_l0 is {l0}")


def test_zipf_probability__ratios_are_powers(impl):
    """The first feature is 2^a times as frequent as the second, n^a times as the last."""
    p = impl.zipf_probability(9, 1.7, 1.2)
    ratios = torch.stack([p[0] / p[1], p[0] / p[8]])
    assert_same(ratios, torch.tensor([2.0, 9.0]) ** 1.7, rtol=1e-4, atol=1e-4, what="the ratio")


def test_zipf_probability__equals_reference(impl, ref):
    """It agrees with the reference for several sizes."""
    for args in [(40, 0.7, 3.0), (5, 2.0, 1.0), (1, 0.5, 0.3), (6, 0.0, 5.0)]:
        assert_same(impl.zipf_probability(*args), ref.zipf_probability(*args), "feature")


def test_zipf_probability__refuses_what_is_no_probability(impl):
    """A mean_l0 that needs a probability above 1 is a ValueError, also if it is only just above."""
    for args in [(10, 2.0, 3.0), (4, 0.0, 4.01), (2, 1.0, 1.6)]:
        assert_raises(ValueError, impl.zipf_probability, *args)


def test_zipf_probability__exactly_one_is_a_probability(impl):
    """Probabilities of exactly 1 are allowed."""
    with words_are_free():
        for n in (4, 6):
            assert_same(impl.zipf_probability(n, 0.0, float(n)), torch.ones(n), "feature")


def test_zipf_probability__tiny_probabilities_stay(impl):
    """Far down the tail nothing is cut off: the last of 1,000 features has 1e-6 of the first."""
    p = impl.zipf_probability(1000, 2.0, 0.1)
    assert_same(p[-1] / p[0], torch.tensor(1e-6), rtol=1e-3, atol=1e-9, what="the ratio")


# ------------------------------------------------------------------------------ a2. correlated_mask

MASK_P = [0.45, 0.05, 0.2, 0.3, 0.1]
MASK_GROUP = [0, 1, 0, 1, 0]
N_MASK = 6000


def masks(impl, seed, device, rho, p=MASK_P, group=MASK_GROUP, n=N_MASK):
    """A mask with a few features, checked for shape, and its probabilities."""
    args = torch.tensor(p, device=device), torch.tensor(group, device=device)
    mask = impl.correlated_mask(*args, rho, n, generator(seed + 11, device))
    require(isinstance(mask, Tensor) and mask.dtype == torch.bool, "return a boolean tensor")
    require(tuple(mask.shape) == (n, len(p)), f"the shape is {tuple(mask.shape)}: (batch, feature)")
    return mask


def expect_share(mask: Tensor, p: float, what: str) -> None:
    """The count of True must fit a binomial law."""
    low, high = binomial_bounds(len(mask), p, ALARM)
    share = float(mask.float().mean())
    require(low <= int(mask.sum()) <= high, f"{what} in {share:.3f} of the rows; expected {p:.3f}")


@pytest.mark.parametrize("rho", [0.0, 0.36, 0.81])
def test_correlated_mask__keeps_every_probability(impl, seed, device, rho):
    """However strong the correlation, each feature is active with exactly its own probability."""
    mask = masks(impl, seed, device, rho)
    for i, p in enumerate(MASK_P):
        expect_share(mask[:, i], p, f"feature {i} is active (rho = {rho})")


@pytest.mark.parametrize("rho", [0.36, 0.81])
def test_correlated_mask__features_of_a_group_come_together(impl, seed, device, rho):
    """Two features of one group are both active as often as a bivariate normal law says."""
    mask = masks(impl, seed, device, rho)
    for i, j in [(0, 2), (0, 4), (2, 4), (1, 3)]:
        cut = stats.norm.isf([MASK_P[i], MASK_P[j]])
        both = stats.multivariate_normal.cdf(-cut, cov=[[1, rho], [rho, 1]])
        say = f"features {i} and {j} (one group, rho = {rho}) are both active"
        expect_share(mask[:, i] & mask[:, j], float(both), say)


def test_correlated_mask__groups_are_independent(impl, seed, device):
    """Features of different groups are both active as often as independent ones."""
    mask = masks(impl, seed, device, 0.81)
    for i, j in [(0, 1), (0, 3), (2, 3), (3, 4)]:
        say = f"features {i} and {j} (two groups) are both active"
        expect_share(mask[:, i] & mask[:, j], MASK_P[i] * MASK_P[j], say)


def test_correlated_mask__rows_are_independent(impl, seed, device):
    """Neighbouring rows know nothing of each other."""
    mask = masks(impl, seed, device, 0.81)
    for i in (0, 3):
        say = f"feature {i} is active in two neighbouring rows"
        expect_share(mask[0::2, i] & mask[1::2, i], MASK_P[i] ** 2, say)


def test_correlated_mask__without_correlation_nobody_shares(impl, seed, device):
    """With rho = 0 two features of one group are independent."""
    mask = masks(impl, seed, device, 0.0)
    expect_share(mask[:, 0] & mask[:, 2], MASK_P[0] * MASK_P[2], "features 0 and 2 are both active")


def test_correlated_mask__draws_from_the_generator(impl, seed, device):
    """Equal generators give equal masks; one generator gives two different ones."""
    p, group = torch.full((6,), 0.5, device=device), torch.arange(6, device=device) // 2
    g = generator(seed, device)
    first = impl.correlated_mask(p, group, 0.3, 40, g)
    second = impl.correlated_mask(p, group, 0.3, 40, g)
    again = impl.correlated_mask(p, group, 0.3, 40, generator(seed, device))
    require(not torch.equal(first, second), "two calls gave the same mask: draw from `gen`")
    require(torch.equal(first, again), "two equal generators gave different masks: draw from `gen`")


def test_correlated_mask__equals_reference_in_its_frequencies(impl, ref, seed, device):
    """It has the reference's frequencies and co-occurrences, up to chance."""
    mine = masks(impl, seed, device, 0.5).double()
    args = torch.tensor(MASK_P, device=device), torch.tensor(MASK_GROUP, device=device)
    theirs = ref.correlated_mask(*args, 0.5, N_MASK, generator(seed + 12, device)).double()
    # 2 asin(sqrt(share)) has a variance of 1 / n, whatever the share; 7 sigma are 3e-12
    angles = [2 * (m.T @ m / N_MASK).sqrt().asin() for m in (mine, theirs)]
    gap = (angles[0] - angles[1]).abs() / math.sqrt(2 / N_MASK)
    worst = first_index(gap == gap.max(), "feature feature")
    say = f"features {worst} are active together more or less often than the reference's"
    require(gap.max() < 7, f"{say} ({gap.max():.1f} standard errors)")


@pytest.mark.parametrize("n", [1, 3])
def test_correlated_mask__few_rows_and_single_features(impl, device, n):
    """One row and groups of a single feature are fine; probability 0 is never, 1 is always."""
    p, group = torch.tensor([0.0, 1.0], device=device), torch.tensor([0, 1], device=device)
    mask = impl.correlated_mask(p, group, 0.5, n, generator(1, device))
    expected = torch.tensor([[False, True]] * n, device=device)
    assert_same(mask, expected, "batch feature")


# ----------------------------------------------------------------------------- a3. dictionary_batch

N_ROWS = 4000


def batch_of(impl, seed, device, noise, n=N_ROWS):
    """D, active, x, f for four features in three dimensions; each feature active half the time."""
    g = generator(seed + 21, device)
    D = directions(g, 4, 3)
    active = torch.rand(n, 4, generator=g, device=device) < 0.5
    with unchanged(D, active):
        out = impl.dictionary_batch(D, active, noise, g)
    require(isinstance(out, tuple) and len(out) == 2, "return the pair x, f")
    x, f = out
    require(tuple(f.shape) == (n, 4), f"f has shape {tuple(f.shape)}, expected ({n}, 4)")
    require(tuple(x.shape) == (n, 3), f"x has shape {tuple(x.shape)}, expected ({n}, 3)")
    return D, active, x, f


def test_dictionary_batch__without_noise_is_the_sum_of_its_features(impl, seed, device):
    """With noise 0, x is exactly f D."""
    D, _, x, f = batch_of(impl, seed, device, 0.0, 50)
    assert_same(x, f @ D, "batch d_in", rtol=1e-4, atol=1e-5, what="x")


def test_dictionary_batch__codes_follow_the_mask(impl, seed, device):
    """Codes are 0 where a feature is not active, and between 0.5 and 1.5 where it is."""
    _, active, _, f = batch_of(impl, seed, device, 0.1)
    require((f[~active] == 0).all(), "a feature that is not active has a code")
    on = f[active]
    say = f"the codes of active features lie between {on.min():.2f} and {on.max():.2f}"
    require((on >= 0.5).all() and (on <= 1.5).all(), f"{say}, not between 0.5 and 1.5")


def test_dictionary_batch__magnitudes_are_uniform(impl, seed, device):
    """Magnitudes of active features are uniform on [0.5, 1.5], for every feature."""
    _, active, _, f = batch_of(impl, seed, device, 0.1)
    for i in range(4):
        on = f[active[:, i], i].double().sort().values
        grid = torch.arange(1, len(on) + 1, device=on.device) / len(on)
        gap = float((grid - (on - 0.5)).abs().max())
        bound = hoeffding(len(on), 1.0, ALARM) + 1 / len(on)  # Dvoretzky-Kiefer-Wolfowitz
        say = f"feature {i}: mean {on.mean():.2f}, from {on[0]:.2f} to {on[-1]:.2f}"
        require(gap < bound, f"{say}; they should be uniform on [0.5, 1.5]")


def correlation_of(a: Tensor, b: Tensor, what: str) -> None:
    """Two columns must be uncorrelated: |r| sqrt(n) is normal to a good approximation."""
    r = float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])
    bound = 6.5 / math.sqrt(len(a))  # 6.5 sigma: 1e-10
    require(abs(r) < bound, f"{what} have correlation {r:.2f}; they should be independent")


def test_dictionary_batch__magnitudes_are_independent(impl, seed, device):
    """Two features that are active in one row have independent magnitudes; so have two rows."""
    _, active, _, f = batch_of(impl, seed, device, 0.1)
    for i, j in [(0, 1), (1, 3)]:
        both = active[:, i] & active[:, j]
        correlation_of(f[both, i], f[both, j], f"the magnitudes of features {i} and {j}")
    on = f[active[:, 2], 2]
    half = len(on) // 2
    correlation_of(on[0 : 2 * half : 2], on[1 : 2 * half : 2], "neighbouring magnitudes")


def test_dictionary_batch__noise_has_the_given_size(impl, seed, device):
    """x - f D has mean 0 and standard deviation `noise` in every dimension."""
    D, _, x, f = batch_of(impl, seed, device, 0.25)
    rest = (x - f @ D).double()
    for i in range(3):
        share = float((rest[:, i].square().sum() / 0.25**2).cpu())
        low, high = stats.chi2(N_ROWS).ppf([ALARM / 2, 1 - ALARM / 2])
        say = f"the noise in dimension {i} has standard deviation {rest[:, i].std():.3f}"
        require(low < share < high, f"{say}, expected 0.25")
        bound = 6.5 * 0.25 / math.sqrt(N_ROWS)
        require(rest[:, i].mean().abs() < bound, f"the noise in dimension {i} has not mean 0")


def test_dictionary_batch__noise_is_normal(impl, seed, device):
    """The noise has the shape of a normal law, not only its standard deviation."""
    D, _, x, f = batch_of(impl, seed, device, 0.25)
    rest = (x - f @ D).double().flatten().cpu().numpy()
    distance = stats.kstest(rest / 0.25, "norm").statistic
    bound = ks_distance(len(rest), ALARM)
    beyond = float((abs(rest) > 0.75).mean())
    say = f"{beyond:.2%} of the noise is beyond three standard deviations; of normal noise 0.27 %"
    require(distance < bound, f"the noise is not normal: {say}")


def test_dictionary_batch__of_one_row(impl, device):
    """A batch of one row has both its axes."""
    D = torch.eye(3, device=device)[:2]
    active = torch.tensor([[False, True]], device=device)
    x, f = impl.dictionary_batch(D, active, 0.0, generator(2, device))
    require(tuple(x.shape) == (1, 3) and tuple(f.shape) == (1, 2), "the shapes are (1, 3), (1, 2)")
    assert_same(x[0, 1], f[0, 1], what="x along the only active feature")
    require(x[0, 0] == 0 and x[0, 2] == 0, "x has a part along a feature that is not active")


def test_dictionary_batch__noise_is_fresh_in_every_entry(impl, seed, device):
    """Noise is independent between dimensions, between rows, and of the codes."""
    D, active, x, f = batch_of(impl, seed, device, 0.25)
    rest = x - f @ D
    correlation_of(rest[:, 0], rest[:, 1], "the noise of two dimensions")
    correlation_of(rest[0::2, 2], rest[1::2, 2], "the noise of neighbouring rows")
    empty = ~active.any(dim=1)
    require((rest[empty].abs().sum(dim=1) > 0).all(), "rows without a feature have no noise")
    strength = f.sum(dim=1)
    correlation_of(rest[:, 0].abs(), strength, "the size of the noise and the sum of the codes")


def test_dictionary_batch__draws_from_the_generator(impl, device):
    """Equal generators give equal batches, on the device of the generator."""
    D, active = torch.eye(3, device=device), torch.ones(5, 3, dtype=torch.bool, device=device)
    one, two = (impl.dictionary_batch(D, active, 0.1, generator(4, device)) for _ in range(2))
    other = impl.dictionary_batch(D, active, 0.1, generator(5, device))
    assert_same(one, two, ["batch d_in", "batch feature"], hint="draw from `gen`")
    require(not torch.equal(one[1], other[1]), "another generator gave the same codes")


def test_dictionary_batch__equals_reference_in_its_moments(impl, ref, seed, device):
    """Its second moments are those of the reference, up to chance."""
    D, active, x, _ = batch_of(impl, seed, device, 0.25)
    theirs, _ = ref.dictionary_batch(D, active, 0.25, generator(seed + 33, device))
    products = [(y[:, :, None] * y[:, None]).double() for y in (x, theirs)]
    error = (sum(p.var(dim=0) for p in products) / N_ROWS).sqrt()
    gap = (products[0].mean(dim=0) - products[1].mean(dim=0)).abs() / error
    require(gap.max() < 7, f"a second moment of x is off by {gap.max():.1f} standard errors")


# -------------------------------------------------------------------------------- b1. directed_mmcs


def small_pair(device):
    """Two small dictionaries with cosines that are easy to read off."""
    A = torch.tensor([[2.0, 0.0], [0.0, 3.0]], device=device)
    B = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]], device=device)
    return A, B


def test_directed_mmcs__by_hand(impl, device):
    """Rows (2, 0) and (0, 3) find cosines 1 and 0.8: the mean is 0.9."""
    A, B = small_pair(device)
    assert_same(impl.directed_mmcs(A, B), torch.tensor(0.9, device=device))


def test_directed_mmcs__has_a_direction(impl, device):
    """The other way round, the three rows find 1, 0.8 and 0: the mean is 0.6."""
    A, B = small_pair(device)
    assert_same(impl.directed_mmcs(B, A), torch.tensor(0.6, device=device))


def test_directed_mmcs__sign_counts(impl, device):
    """A row that points the other way is not the same direction."""
    row = torch.tensor([[0.0, 2.0, 0.0]], device=device)
    assert_same(impl.directed_mmcs(row, -row), torch.tensor(-1.0, device=device))


def test_directed_mmcs__is_one_where_every_row_is_found(impl, seed, device):
    """Rows that all occur in the target, at any length and in any order, score 1."""
    g = generator(seed, device)
    target = normal(g, 6, 4)
    source = target[[4, 1, 1]] * torch.tensor([[0.1], [3.0], [20.0]], device=device)
    assert_same(impl.directed_mmcs(source, target), torch.tensor(1.0, device=device))


def test_directed_mmcs__ignores_rows_of_zeros(impl, device):
    """A dead latent has cosine 0 with everything; nothing becomes NaN."""
    A = torch.tensor([[0.0, 0.0], [1.0, 0.0]], device=device)
    assert_same(impl.directed_mmcs(A, A), torch.tensor(0.5, device=device))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directed_mmcs__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference for several sizes, dtypes and strides."""
    g = generator(seed, device)
    for n, m, d in [(3, 5, 4), (6, 2, 3), (1, 1, 2), (4, 4, 4)]:
        A, B = normal(g, n, d, dtype=dtype), strided(normal(g, m, d, dtype=dtype))
        with unchanged(A, B):
            assert_same(impl.directed_mmcs(A, B), ref.directed_mmcs(A, B))
        assert_same(impl.directed_mmcs(1e-4 * A, B), ref.directed_mmcs(A, B), rtol=1e-3, atol=1e-4)


# ----------------------------------------------------------------------------------- b2. one_to_one

PAIR = ["feature", "feature"]


def test_one_to_one__the_greedy_choice_is_not_the_best(impl, device):
    """Taking the best pair first can spoil the sum: 0.8 + 0.9 beats 1.0 + 0.2."""
    angle = torch.tensor([0.0, 0.4510], device=device)  # the second feature is at 26 degrees
    truth = torch.stack([angle.cos(), angle.sin()], dim=1)
    angle = torch.tensor([0.1, -1.0], device=device)
    latents = torch.stack([angle.cos(), angle.sin()], dim=1)
    cosine, partner = impl.one_to_one(truth, latents)
    # latent 0 is nearest to feature 0 *and* to feature 1, but feature 1 has nothing else
    assert_same(partner, torch.tensor([1, 0], device=device), "feature", what="the partners")
    expected = torch.stack([torch.tensor(1.0).cos(), torch.tensor(0.3510).cos()]).to(device)
    assert_same(cosine, expected, "feature", what="the cosines")


def test_one_to_one__finds_a_permutation(impl, seed, device):
    """The rows of the truth, shuffled and stretched, are all found again."""
    g = generator(seed, device)
    truth = normal(g, 6, 5)
    order = torch.randperm(6, generator=g, device=device)
    cosine, partner = impl.one_to_one(truth, 3 * truth[order])
    assert_same(cosine, torch.ones(6, device=device), "feature", what="the cosines")
    assert_same(order[partner], torch.arange(6, device=device), "feature", what="the partners")


def test_one_to_one__no_latent_is_used_twice(impl, device):
    """Two equal features share one good latent: only one of them gets it."""
    truth = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], device=device)
    latents = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], device=device)
    cosine, partner = impl.one_to_one(truth, latents)
    require(sorted(partner.tolist()) == [0, 1, 2], f"the partners are {partner.tolist()}")
    total = float(cosine.sum())
    require(abs(total - 2.6) < 1e-5, f"the cosines sum to {total:.3f}; 1 + 0.6 + 1 is possible")


def test_one_to_one__features_without_partner(impl, device):
    """With fewer latents than features, who goes without has cosine 0 and partner -1."""
    truth = torch.tensor([[0.8, 0.6, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], device=device)
    latents = torch.tensor([[0.0, 0.0, 2.0], [5.0, 0.0, 0.0]], device=device)
    cosine, partner = impl.one_to_one(truth, latents)
    expected = torch.tensor([0.0, 1.0, 1.0], device=device), torch.tensor([-1, 0, 1], device=device)
    assert_same((cosine, partner), expected, PAIR)


def test_one_to_one__is_the_best_of_all_permutations(impl, seed, device):
    """No other assignment has a larger sum (all of them tried)."""
    g = generator(seed, device)
    truth, latents = directions(g, 4, 3), directions(g, 5, 3)
    cosine, partner = impl.one_to_one(truth, latents)
    table = truth @ latents.T
    best = max(sum(float(table[i, j]) for i, j in enumerate(p)) for p in permutations(range(5), 4))
    require(
        abs(float(cosine.sum()) - best) < 1e-5, f"the sum is {cosine.sum():.3f}, not {best:.3f}"
    )
    own = table[torch.arange(4), partner]
    assert_same(cosine, own, "feature", what="the cosine with the partner named")


def test_one_to_one__surplus_latents_cost_nothing(impl, seed, device):
    """The truth among many false latents is found in full, and short rows count like long ones."""
    g = generator(seed, device)
    truth, false = directions(g, 4, 6), directions(g, 9, 6)
    latents = torch.cat([false[:5], 1e-4 * truth, false[5:]])
    cosine, partner = impl.one_to_one(truth, latents)
    expected = torch.ones(4, device=device), torch.arange(5, 9, device=device)
    assert_same((cosine, partner), expected, PAIR, rtol=1e-3, atol=1e-4)


def test_one_to_one__a_partner_may_have_a_negative_cosine(impl, device):
    """With as many latents as features everybody gets a partner, however unlike it is."""
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]], device=device)
    latents = torch.tensor([[1.0, 0.0], [0.0, -1.0]], device=device)
    expected = torch.tensor([1.0, -1.0], device=device), torch.tensor([0, 1], device=device)
    assert_same(impl.one_to_one(truth, latents), expected, PAIR)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_to_one__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference for several sizes, and keeps the dtype."""
    g = generator(seed, device)
    for n, m in [(5, 8), (6, 3), (4, 4), (3, 1), (1, 3), (1, 1)]:
        truth, latents = normal(g, n, 7, dtype=dtype), strided(normal(g, m, 7, dtype=dtype))
        with unchanged(truth, latents):
            mine = impl.one_to_one(truth, latents)
        assert_same(mine, ref.one_to_one(truth, latents), PAIR)


# ------------------------------------------------------------------------------- c1. ica_dictionary


def sources(seed, device, n=400):
    """Three independent uniform sources, mixed by a matrix that is far from orthogonal."""
    g = generator(seed + 3, device)
    s = torch.rand(n, 3, generator=g, device=device) - 0.5
    mixing = torch.tensor([[1.0, 0.5, 0.0], [1.2, -0.4, 0.3], [0.6, 0.8, 2.0]], device=device)
    # in double precision, so that it does not matter in which one ICA is computed
    return (s @ mixing + 3.0).double(), (mixing / mixing.norm(dim=1, keepdim=True)).double()


def test_ica_dictionary__finds_the_mixing_directions(impl, seed, device):
    """Of independent sources, mixed by a known matrix, it finds the directions (cosine > 0.95)."""
    x, mixing = sources(seed, device)
    with unchanged(x):
        D = impl.ica_dictionary(x, 0)
    require(isinstance(D, Tensor) and D.shape[-1] == 3, "return a tensor with d_in columns")
    D = D.to(mixing)
    best = (D / D.norm(dim=1, keepdim=True) @ mixing.T).abs().max(dim=0).values
    say = f"the best cosines with the true directions are {[round(v, 2) for v in best.tolist()]}"
    require((best > 0.95).all(), say)


def test_ica_dictionary__has_both_signs(impl, seed, device):
    """There are 2 d_in rows, and with every direction its opposite is there."""
    x, _ = sources(seed, device)
    D = impl.ica_dictionary(x, 0)
    require(tuple(D.shape) == (6, 3), f"the shape is {tuple(D.shape)}, expected (6, 3)")
    cosine = D @ D.T / (D.norm(dim=1)[:, None] * D.norm(dim=1))
    require((cosine.min(dim=1).values < -0.9999).all(), "a direction lacks its opposite")


def test_ica_dictionary__rows_have_length_one(impl, seed, device):
    """Every row has length 1, and dtype and device are those of x."""
    for dtype in (torch.float32, torch.float64):
        x, _ = sources(seed, device)
        D = impl.ica_dictionary(x.to(dtype), 0)
        ones = torch.ones(6, dtype=dtype, device=device)
        assert_same(D.norm(dim=1), ones, "latent", rtol=1e-4, atol=1e-5, what="the length")


def test_ica_dictionary__equals_reference_up_to_order(impl, ref, seed, device):
    """It has the same directions as the reference, in any order."""
    x, _ = sources(seed, device)
    mine, theirs = impl.ica_dictionary(strided(x), 1), ref.ica_dictionary(x, 1)
    require(mine.shape == theirs.shape, f"the shape is {tuple(mine.shape)}")
    best = (theirs @ mine.to(theirs).T).max(dim=1).values
    require(
        (best > 0.999).all(), f"a direction of the reference is missing (cosine {best.min():.3f})"
    )


# ------------------------------------------------------------------------------------ c2. omp_codes


def test_omp_codes__recovers_a_sparse_code(impl, device):
    """With nearly orthogonal rows, the code that made x comes back."""
    D = torch.eye(4, dtype=torch.float64, device=device)
    D[3] = torch.tensor([0.1, 0.1, 0.1, 0.97], dtype=torch.float64)
    D = D / D.norm(dim=1, keepdim=True)
    f = torch.tensor([[2.0, 0, 0, -1.0], [0, 0.5, 3.0, 0]], dtype=torch.float64, device=device)
    assert_same(impl.omp_codes(f @ D, D, 2), f, "batch latent", rtol=1e-4, atol=1e-4)


def test_omp_codes__one_entry_is_the_best_projection(impl, device):
    """With k = 1 the row with the largest |x . d| is used, also with a negative code."""
    D = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], device=device)
    x = torch.tensor([[1.0, 0.1], [0.5, 0.9], [-2.0, 0.3]], device=device)
    expected = torch.tensor([[1.0, 0, 0], [0, 1.02, 0], [-2.0, 0, 0]], device=device)
    assert_same(impl.omp_codes(x, D, 1), expected, "batch latent", rtol=1e-4, atol=1e-4)


def test_omp_codes__refits_all_that_was_chosen(impl, device):
    """After the second choice the first code is fitted again, together with it."""
    D = torch.tensor([[1.0, 0.0], [0.8, 0.6]], device=device)
    x = torch.tensor([[1.0, 1.0]], device=device)
    codes = impl.omp_codes(x, D, 2)
    expected = torch.tensor([[-1 / 3, 5 / 3]], device=device)
    hint = "two rows span the plane, so two codes reconstruct x exactly"
    assert_same(codes, expected, "batch latent", rtol=1e-4, atol=1e-4, hint=hint)


def test_omp_codes__has_k_entries_and_an_orthogonal_residual(impl, seed, device):
    """Each row has exactly k codes, and what they leave is orthogonal to the rows they use."""
    g = generator(seed, device)
    x, D = normal(g, 7, 6, dtype=torch.float64), directions(g, 9, 6, dtype=torch.float64)
    for k in (1, 3):
        codes = impl.omp_codes(x, D, k)
        counts = (codes != 0).sum(dim=1)
        require((counts == k).all(), f"rows have {counts.tolist()} codes; k is {k}")
        left = ((x - codes @ D) @ D.T)[codes != 0].abs().max()
        require(left < 1e-3, f"the residual has a product of {left:.3f} with a row in use")


@pytest.mark.parametrize("k", [1, 2, 4])
def test_omp_codes__matches_sklearn(impl, seed, device, k):
    """It agrees with scikit-learn's orthogonal_mp."""
    g = generator(seed, device)
    x, D = normal(g, 6, 8, dtype=torch.float64), directions(g, 12, 8, dtype=torch.float64)
    with unchanged(x, D):
        codes = impl.omp_codes(x, D, k)
    theirs = orthogonal_mp(D.T.cpu().numpy(), x.T.cpu().numpy(), n_nonzero_coefs=k).T
    expected = torch.as_tensor(np.ascontiguousarray(theirs)).to(x)
    assert_same(codes, expected, "batch latent", rtol=1e-3, atol=1e-4)


def test_omp_codes__equal_rows_do_no_harm(impl, device):
    """A dictionary that holds a row twice gives finite codes with a perfect reconstruction."""
    D = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], device=device)
    x = torch.tensor([[3.0, 0.0], [1.0, 2.0]], device=device)
    codes = impl.omp_codes(x, D, 2)
    require(codes.isfinite().all(), "codes are not finite: did the equations become singular?")
    assert_same(codes @ D, x, "batch d_in", rtol=1e-3, atol=1e-3, what="the reconstruction")


def test_omp_codes__small_rows_are_coded_like_large_ones(impl, ref, seed, device):
    """A data row a thousand times smaller has codes a thousand times smaller; so has one alone."""
    g = generator(seed, device)
    x, D = normal(g, 4, 6, dtype=torch.float64), directions(g, 7, 6, dtype=torch.float64)
    whole = ref.omp_codes(x, D, 3)
    small = 1e3 * impl.omp_codes(1e-3 * x, D, 3)
    assert_same(small, whole, "batch latent", rtol=1e-3, atol=1e-4, what="the codes times 1,000")
    alone = impl.omp_codes(x[2:3], D, 3)
    assert_same(alone, whole[2:3], "batch latent", rtol=1e-3, atol=1e-4, what="one row alone")


def test_omp_codes__may_use_all_rows(impl, seed, device):
    """With as many choices as rows every row is chosen once, and x is reconstructed."""
    g = generator(seed, device)
    x = normal(g, 3, 4, dtype=torch.float64)
    D = torch.eye(4, dtype=x.dtype, device=device) + 0.3 * directions(g, 4, 4, dtype=x.dtype)
    D = D / D.norm(dim=1, keepdim=True)  # far from singular: a small ridge does no harm
    codes = impl.omp_codes(x, D, 4)
    require(((codes != 0).sum(dim=1) == 4).all(), "with k = 4 of 4 rows each row has a code")
    assert_same(codes @ D, x, "batch d_in", rtol=1e-2, atol=1e-2, what="the reconstruction")


def test_omp_codes__equals_reference(impl, ref, seed, device):
    """It agrees with the reference, also in single precision and for transposed views."""
    g = generator(seed, device)
    x, D = normal(g, 5, 7), directions(g, 9, 7)
    expected = ref.omp_codes(x, D, 3)
    assert_same(
        impl.omp_codes(strided(x), strided(D), 3), expected, "batch latent", rtol=1e-3, atol=1e-3
    )


# -------------------------------------------------------------------------------- c3. best_rank_one

RANK = ["d_in", "row"]


def test_best_rank_one__of_a_product_is_its_factors(impl, device):
    """From codes times a unit direction both come back."""
    direction = torch.tensor([0.6, 0.0, -0.8], device=device)
    codes = torch.tensor([2.0, 0.5, -1.0, 3.0], device=device)
    out = impl.best_rank_one(codes[:, None] * direction)
    assert_same(out, (direction, codes), RANK, rtol=1e-4, atol=1e-4)


def test_best_rank_one__codes_do_not_sum_to_a_negative_number(impl, seed, device):
    """The sign is chosen by the codes, not by the direction."""
    g = generator(seed, device)
    cases = [normal(g, 6, 4), normal(g, 5, 3).abs(), normal(g, 9, 3), normal(g, 4, 3) / 50]
    for error in [sign * case for case in cases for sign in (1, -1)]:
        direction, codes = impl.best_rank_one(error)
        length = float(direction.norm())
        require(abs(length - 1) < 1e-4, f"the direction has length {length:.3f}")
        require(codes.sum() >= 0, f"the codes sum to {codes.sum():.3f}")


def test_best_rank_one__leaves_the_least_error(impl, seed, device):
    """The squared error left is that of the other singular values, the least possible."""
    error = normal(generator(seed, device), 8, 5, dtype=torch.float64)
    direction, codes = impl.best_rank_one(error)
    left = (error - codes[:, None] * direction).square().sum()
    rest = torch.linalg.svdvals(error)[1:].square().sum()
    assert_same(left, rest, rtol=1e-6, atol=1e-8, what="the squared error left")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_best_rank_one__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, for more rows than columns and fewer."""
    g = generator(seed + 50, device)
    for n, d in [(9, 4), (3, 6), (2, 2), (1, 3), (4, 1)]:
        error = strided(normal(g, n, d, dtype=dtype) + 1)
        with unchanged(error):
            mine = impl.best_rank_one(error)
        assert_same(mine, ref.best_rank_one(error), RANK, rtol=1e-3, atol=1e-3)


# ----------------------------------------------------------------------------------------- c4. ksvd


def sparse_data(seed, device, n=120, n_feature=6, d_in=4):
    """Rows that are a positive multiple of one of a few directions, and these directions."""
    g = generator(seed + 77, device)
    truth = directions(g, n_feature, d_in, dtype=torch.float64)
    which = torch.arange(n, device=device) % n_feature
    size = 0.5 + torch.rand(n, 1, generator=g, device=device, dtype=torch.float64)
    return size * truth[which], truth, g


def test_ksvd__improves_a_blurred_dictionary(impl, seed, device):
    """From a blurred start, rows that are multiples of one direction each pull it into place."""
    x, truth, g = sparse_data(seed, device, n_feature=4, d_in=6)
    start = truth + 0.1 * directions(g, 4, 6, dtype=torch.float64)
    start = start / start.norm(dim=1, keepdim=True)
    D = impl.ksvd(x, start, 1, 3)
    own = (D * truth).sum(dim=1)
    require((own > 0.999).all(), f"the cosines with the truth are {own.tolist()}")


def test_ksvd__one_round_by_hand(impl, device):
    """Two rows in the plane: each moves to the best direction of the points that use it."""
    x = torch.tensor([[2.0, 0.2], [1.0, -0.1], [2.0, 0.2], [0.1, 1.0], [0.0, 3.0]], device=device)
    D = impl.ksvd(x.double(), torch.eye(2, dtype=torch.float64, device=device), 1, 1)
    for row, points in [(0, x[:3]), (1, x[3:])]:
        best = torch.linalg.svd(points.double()).Vh[0]
        best = best * (points.double() @ best).sum().sign()
        what = f"row {row}"
        assert_same(D[row], best, "d_in", rtol=1e-6, atol=1e-6, what=what)


def test_ksvd__more_rounds_explain_more(impl, ref, seed, device):
    """The squared error after four rounds is below that after one; all rows have length 1."""
    g = generator(seed + 5, device)
    active = torch.rand(60, 8, generator=g, device=device) < 0.25
    f = active * (0.5 + torch.rand(60, 8, generator=g, device=device))
    x = f.double() @ directions(g, 8, 5, dtype=torch.float64)
    start, errors = directions(g, 8, 5, dtype=torch.float64), []
    for rounds in (1, 4):
        D = impl.ksvd(x, start, 2, rounds)
        require(((D.norm(dim=1) - 1).abs() < 1e-6).all(), "a row has not length 1")
        errors.append(float((x - ref.omp_codes(x, D, 2) @ D).square().sum()))
    require(
        errors[1] < errors[0], f"the squared error goes from {errors[0]:.3f} to {errors[1]:.3f}"
    )


def test_ksvd__a_row_without_use_starts_again(impl, device):
    """A row that no data row uses is replaced by the worst explained data row, of length 1."""
    x = torch.tensor([[3.0, 0, 0], [2.0, 0, 0.3], [0, 2.0, 0], [0, 1.0, 0]], device=device).double()
    start = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]], device=device).double()
    D = impl.ksvd(x, start, 1, 1)
    worst = x[1] / x[1].norm()
    assert_same(D[2], worst, "d_in", rtol=1e-4, atol=1e-4, what="the replaced row")


def test_ksvd__leaves_its_inputs_alone(impl, seed, device):
    """The data and the dictionary given are not changed; the result is another tensor."""
    x, truth, _ = sparse_data(seed, device)
    with unchanged(x, truth):
        D = impl.ksvd(x, truth, 1, 1)
    require(D.shape == truth.shape, f"the shape is {tuple(D.shape)}")


def test_ksvd__equals_reference(impl, ref, seed, device):
    """It agrees with the reference, with unused rows and without, for one round and three."""
    g = generator(seed + 9, device)
    x = normal(g, 30, 4, dtype=torch.float64)
    for n, k, rounds in [(5, 1, 1), (6, 2, 3), (12, 1, 2)]:
        start = directions(g, n, 4, dtype=torch.float64)
        expected = ref.ksvd(x, start, k, rounds)  # with a ridge: exact least squares end near it
        mine = impl.ksvd(strided(x), start, k, rounds)
        assert_same(mine, expected, "latent d_in", rtol=0, atol=2e-2)


# ----------------------------------------------------------------------------------- d. fista_codes


def objective(x: Tensor, codes: Tensor, D: Tensor, l1: float) -> Tensor:
    """|x - f D|^2 + l1 sum f of every row."""
    return (x - codes @ D).square().sum(dim=1) + l1 * codes.sum(dim=1)


def test_fista_codes__first_step_is_a_tied_encoder(impl, device):
    """One step from zero is ReLU(2 s x D^T - s l1), with s = 1 / (2 |D|^2)."""
    D = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, -0.5]], device=device)  # |D| = 3, so s = 1/18
    x = torch.tensor([[1.0, 4.0], [-1.0, -4.0]], device=device)
    expected = torch.tensor([[6.0, 8.0, 0.9], [0.9, 0.9, 4.0]], device=device) / 18 - 0.05
    assert_same(impl.fista_codes(x, D, 0.9, 1), expected, "batch latent", rtol=1e-4, atol=1e-5)


def test_fista_codes__two_steps_with_one_row_by_hand(impl, device):
    """The second step has no momentum yet: t goes from 1 to 1.618, so the weight is still 0."""
    D = torch.tensor([[1.0, 0.0], [0.6, 0.8]], device=device)  # |D|^2 = 1.6, s = 1 / 3.2
    x = torch.tensor([[1.0, 0.2]], device=device)
    step = 1 / 3.2
    f = torch.zeros(1, 2, device=device)
    for _ in range(2):
        f = (f - step * (2 * (f @ D - x) @ D.T + 0.1)).relu()
    assert_same(impl.fista_codes(x, D, 0.1, 2), f, "batch latent", rtol=1e-4, atol=1e-5)


def test_fista_codes__has_momentum_from_the_third_step(impl, device):
    """Three steps from zero, worked out by hand with t = 1, 1.618, 2.194."""
    D = torch.tensor([[1.0, 0.0], [0.6, 0.8]], device=device)
    x, step = torch.tensor([[1.0, 0.2]], device=device), 1 / 3.2
    f = [torch.zeros(1, 2, device=device)]
    ahead, t = f[0], 1.0
    for _ in range(3):
        f.append((ahead - step * (2 * (ahead @ D - x) @ D.T + 0.1)).relu())
        later = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead, t = f[-1] + (t - 1) / later * (f[-1] - f[-2]), later
    assert_same(impl.fista_codes(x, D, 0.1, 3), f[3], "batch latent", rtol=1e-4, atol=1e-5)


def test_fista_codes__orthonormal_rows_have_a_closed_form(impl, seed, device):
    """With orthonormal rows the best codes are ReLU(x D^T - l1 / 2)."""
    g = generator(seed, device)
    D = torch.linalg.qr(normal(g, 5, 5, dtype=torch.float64)).Q[:3]
    x = normal(g, 6, 5, dtype=torch.float64)
    best = (x @ D.T - 0.3).relu()
    assert_same(impl.fista_codes(x, D, 0.6, 50), best, "batch latent", rtol=1e-5, atol=1e-6)


def test_fista_codes__ends_at_the_optimum(impl, seed, device):
    """Where a code is positive the gradient is 0, elsewhere it is not negative (KKT)."""
    g = generator(seed, device)
    D, x = directions(g, 5, 4, dtype=torch.float64), normal(g, 6, 4, dtype=torch.float64)
    codes = impl.fista_codes(x, D, 0.3, 400)
    require((codes >= 0).all(), "some codes are negative")
    gradient = 2 * (codes @ D - x) @ D.T + 0.3
    require(gradient.min() > -1e-3, f"a gradient is {gradient.min():.4f}: a code should grow")
    slack = (gradient * (codes > 1e-4)).abs().max()
    require(slack < 1e-3, f"a positive code has gradient {slack:.4f}: it should be 0")


def test_fista_codes__zero_steps_and_one_row(impl, ref, seed, device):
    """After no step all codes are 0; a row alone is solved as it is in a batch."""
    g = generator(seed, device)
    x, D = normal(g, 5, 4), directions(g, 6, 4)
    nothing = impl.fista_codes(x, D, 0.1, 0)
    assert_same(nothing, torch.zeros(5, 6, device=device), "batch latent", what="after no step")
    alone, all_of_them = impl.fista_codes(x[3:4], D, 0.1, 9), ref.fista_codes(x, D, 0.1, 9)
    assert_same(alone, all_of_them[3:4], "batch latent", rtol=1e-3, atol=1e-5, what="one row")


def test_fista_codes__is_faster_than_without_momentum(impl, seed, device):
    """After 25 steps its objective is not above that of plain steps (ISTA)."""
    g = generator(seed, device)
    D, x = directions(g, 9, 4, dtype=torch.float64), normal(g, 8, 4, dtype=torch.float64)
    plain, step = (
        torch.zeros(8, 9, dtype=x.dtype, device=device),
        0.5 / torch.linalg.svdvals(D)[0] ** 2,
    )
    for _ in range(25):
        plain = (plain - step * (2 * (plain @ D - x) @ D.T + 0.1)).relu()
    mine = objective(x, impl.fista_codes(x, D, 0.1, 25), D, 0.1).mean()
    theirs = objective(x, plain, D, 0.1).mean()
    require(
        mine < theirs + 1e-9, f"the objective is {mine:.5f}; without momentum it is {theirs:.5f}"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fista_codes__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference for several sizes, step counts and strides."""
    g = generator(seed, device)
    for n, m, d, steps in [(4, 7, 3, 6), (3, 2, 5, 1), (5, 6, 4, 30)]:
        x, D = strided(normal(g, n, d, dtype=dtype)), strided(1.5 * normal(g, m, d, dtype=dtype))
        with unchanged(x, D):
            out = impl.fista_codes(x, D, 0.2, steps)
        expected = ref.fista_codes(x, D, 0.2, steps)
        assert_same(out, expected, "batch latent", rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------- e. smallest_cosine


def test_smallest_cosine__by_hand(impl, device):
    """Three directions in the plane: 0, 90 and 180 degrees, of lengths 1, 2 and 3."""
    D = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]], device=device)
    assert_same(impl.smallest_cosine(D), torch.tensor([-1.0, 0.0, -1.0], device=device), "latent")


def test_smallest_cosine__keeps_its_sign(impl, device):
    """It is the most negative cosine, not the one nearest to zero."""
    D = torch.tensor([[1.0, 0.0], [-0.8, 0.6], [0.6, 0.8]], device=device)
    expected = torch.tensor([-0.8, -0.8, 0.0], device=device)
    assert_same(impl.smallest_cosine(D), expected, "latent", atol=1e-5, rtol=1e-5)


def test_smallest_cosine__may_be_positive(impl, device):
    """Where all directions are alike, the smallest cosine is large: nothing is 0 by itself."""
    D = torch.tensor([[1.0, 0.0], [0.8, 0.6]], device=device)
    assert_same(impl.smallest_cosine(D), torch.tensor([0.8, 0.8], device=device), "latent")
    short = impl.smallest_cosine(1e-4 * D)
    expected = torch.tensor([0.8, 0.8], device=device)
    assert_same(short, expected, "latent", rtol=1e-3, atol=1e-4, what="of the rows times 1e-4")


def test_smallest_cosine__is_minus_one_for_a_dictionary_and_its_opposite(impl, seed, device):
    """In [R, -R] every row has an opposite, for any directions R."""
    R = normal(generator(seed, device), 5, 4)
    out = impl.smallest_cosine(torch.cat([R, -2 * R]))
    assert_same(out, -torch.ones(10, device=device), "latent", rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smallest_cosine__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, also where a row is zero."""
    D = strided(normal(generator(seed, device), 7, 5, dtype=dtype))
    D[2] = 0
    with unchanged(D):
        assert_same(impl.smallest_cosine(D), ref.smallest_cosine(D), "latent")


# -------------------------------------------------------------------------------- f1. cheapest_code

HALF = math.sqrt(0.5)
RIVAL = [[HALF, HALF], [HALF, -HALF], [-HALF, HALF]]


def in_square(seed, device, n=40):
    """Points of the unit square."""
    return torch.rand(n, 2, generator=generator(seed, device), device=device)


def test_cheapest_code__axes_cost_the_sum(impl, seed, device):
    """With the axes a point (a, b) costs a + b."""
    x = in_square(seed, device)
    assert_same(impl.cheapest_code(x, torch.eye(2, device=device)), x.sum(dim=1), "batch")


def test_cheapest_code__three_diagonals_cost_the_maximum(impl, seed, device):
    """With the three diagonals a point (a, b) costs sqrt(2) max(a, b)."""
    x = in_square(seed, device)
    expected = math.sqrt(2) * x.max(dim=1).values
    out = impl.cheapest_code(x, torch.tensor(RIVAL, device=device))
    assert_same(out, expected, "batch", rtol=1e-4, atol=1e-5)


def test_cheapest_code__takes_the_cheapest_pair(impl, device):
    """With axes and diagonal, (1, 1) costs sqrt(2) and (2, 1) costs sqrt(2) + 1."""
    D = torch.tensor([[1.0, 0.0], [0.0, 1.0], [HALF, HALF]], device=device)
    x = torch.tensor([[1.0, 1.0], [2.0, 1.0], [0.0, 3.0]], device=device)
    expected = torch.tensor([math.sqrt(2), math.sqrt(2) + 1, 3.0], device=device)
    assert_same(impl.cheapest_code(x, D), expected, "batch", rtol=1e-4, atol=1e-5)


def test_cheapest_code__out_of_reach_costs_infinity(impl, device):
    """A point that no non-negative code reconstructs costs infinity."""
    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [0.5, -0.1]], device=device)
    out = impl.cheapest_code(x, torch.eye(2, device=device))
    assert_same(out.isinf(), torch.tensor([False, True, True], device=device), "batch")
    alone = impl.cheapest_code(x, torch.tensor([[1.0, 1.0], [2.0, 2.0]], device=device))
    require(alone.isinf().all(), "two parallel rows reach no point of general position")


def test_cheapest_code__what_counts_as_parallel_and_as_rounding(impl, device):
    """A determinant just above 1e-6 makes a pair, one below does not; codes down to -1e-6 count."""
    for det, cost in [(1.5e-6, 1.0), (0.7e-6, math.inf)]:
        D = torch.tensor([[1.0, 0.0], [1.0, det]], dtype=torch.float64, device=device)
        x = torch.tensor([[1.0, det / 2]], dtype=torch.float64, device=device)
        found = impl.cheapest_code(x, D)[0].item()
        same = found == cost or abs(found - cost) < 1e-4
        require(same, f"with a determinant of {det:g} the cost is {found:.4g}, expected {cost:.4g}")
    axes = torch.eye(2, dtype=torch.float64, device=device)
    second = [-5e-7, -1e-6, -1.5e-6, -1e-4]
    points = torch.tensor([[1.0, s] for s in second], dtype=torch.float64, device=device)
    allowed = impl.cheapest_code(points, axes).isfinite()
    expected = torch.tensor([True, True, False, False], device=device)
    hint = f"the codes of the second row are {second}"
    assert_same(allowed, expected, "batch", what="whether the point is reconstructed", hint=hint)


def test_cheapest_code__the_length_of_a_row_counts(impl, device):
    """A row of length 2 costs half as much to use."""
    x = torch.tensor([[3.0, 4.0]], device=device)
    D = torch.tensor([[2.0, 0.0], [0.0, 1.0]], device=device)
    assert_same(impl.cheapest_code(x, D), torch.tensor([5.5], device=device), "batch")


def test_cheapest_code__matches_a_linear_program(impl, seed, device):
    """It agrees with scipy's linear programming on random dictionaries."""
    g = generator(seed, device)
    D, x = directions(g, 5, 2, dtype=torch.float64), normal(g, 6, 2, dtype=torch.float64)
    with unchanged(x, D):
        costs = impl.cheapest_code(x, D)
    for point, cost in zip(x.cpu().numpy(), costs.tolist(), strict=True):
        best = linprog(np.ones(5), A_eq=D.T.cpu().numpy(), b_eq=point, bounds=(0, None))
        expected = best.fun if best.success else math.inf
        same = cost == expected or abs(cost - expected) < 1e-6
        require(
            same, f"the point {point.round(3)} costs {cost:.4f}; the program says {expected:.4f}"
        )


def test_cheapest_code__equals_reference(impl, ref, seed, device):
    """It agrees with the reference for several dictionaries and for transposed views."""
    g = generator(seed, device)
    for n, points in [(2, 9), (4, 1), (7, 2)]:
        D, x = directions(g, n, 2), strided(normal(g, points, 2))
        assert_same(
            impl.cheapest_code(x, strided(D)),
            ref.cheapest_code(x, D),
            "batch",
            rtol=1e-3,
            atol=1e-4,
        )


# --------------------------------------------------------------------------------- f2. square_costs


def test_square_costs__in_the_full_square(impl, device):
    """At p = 1 the axes cost 1 and the diagonals 2 sqrt(2) / 3."""
    out = impl.square_costs(torch.ones(1, device=device))
    expected = torch.tensor([[1.0], [2 * math.sqrt(2) / 3]], device=device)
    assert_same(out, expected, "rival p")


def test_square_costs__tie_where_the_text_says(impl, device):
    """They tie at p = 3 - 3 / sqrt(2); for p near 0 the diagonals cost sqrt(2) times as much."""
    p = torch.tensor([3 - 3 / math.sqrt(2), 1e-4], dtype=torch.float64, device=device)
    axes, rival = impl.square_costs(p)
    expected = torch.tensor([1.0, math.sqrt(2)], dtype=torch.float64, device=device)
    assert_same(rival / axes, expected, "p", rtol=1e-4, atol=1e-4, what="the ratio of the two")


def test_square_costs__are_what_a_sample_gives(impl, seed, device):
    """They are the mean costs of a large sample, at p = 0.3 and 0.6."""
    g, n = generator(seed, device), 40_000
    for p in (0.3, 0.6):
        x = torch.rand(n, 2, generator=g, device=device)
        x = x * (torch.rand(n, 2, generator=g, device=device) < p)
        costs = torch.stack([x.sum(dim=1), math.sqrt(2) * x.max(dim=1).values])
        error, mean = costs.std(dim=1) / n**0.5, costs.mean(dim=1)
        theory = impl.square_costs(torch.tensor(p, device=device))
        for i, name in enumerate(("the axes", "the rival")):
            say = f"at p = {p} {name} cost {mean[i]:.3f} in a sample of {n:,} points"
            require((theory[i] - mean[i]).abs() < 6.5 * error[i], f"{say}; yours {theory[i]:.3f}")


def test_square_costs__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on a grid of any shape."""
    p = torch.rand(4, 3, generator=generator(seed, device), device=device, dtype=torch.float64)
    assert_same(impl.square_costs(p), ref.square_costs(p), "rival row col")


# -------------------------------------------------------------------------------------- predictions


def test_predict_fooled_score__is_from_the_latents(impl, ref):
    """Every latent is a feature, so the score from the latents is perfect."""
    wanted = ref.predict_fooled_score
    require(impl.predict_fooled_score == wanted, "which score asks only about the latents?")


def test_predict_half_found__one_of_them(impl, ref):
    """One of the four finds half of the features."""
    wanted = ref.predict_half_found
    require(impl.predict_half_found == wanted, "look at the numbers beside the bars")


def test_predict_gap__is_between(impl, ref):
    """The gap is some per cent."""
    require(impl.predict_gap == ref.predict_gap, "look at the printed percentage")


def test_predict_restored_at__is_where_the_costs_tie(impl):
    """p = sqrt(2) p (1 - p / 3) at p = 3 - 3 / sqrt(2) = 0.879 (an answer within 0.01 counts)."""
    tie = 3 - 3 / math.sqrt(2)
    require(abs(impl.predict_restored_at - tie) < 0.01, "solve 1 = sqrt(2) (1 - p / 3)")
