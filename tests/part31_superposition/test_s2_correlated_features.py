"""Tests of 3.1.2, one function per property, named test_<exercise>__<property>."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from part31_superposition import s1_nonprivileged_basis as s1
from utils.testing import (
    AWAITED,
    assert_raises,
    assert_same,
    binomial_bounds,
    first_index,
    generator,
    hoeffding,
    require,
    unchanged,
    vjp,
)

AXES = "batch inst feature"
N = 4000
# Every statistical check below is one of at most 1000 comparisons of its exercise, each with a
# false alarm of at most 1e-9: a right answer fails an exercise by chance once in a million runs.
ALARM = 1e-9
# torch.rand is exactly 0 once in 2^24 draws, so an active feature can be 0. A batch has at most
# 4000 * 3 * 8 draws: more than 3 such zeros have a probability below 1e-9 (Poisson).
FREE = 3


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def batch_of(x, n, inst, feature, device):
    """The batch itself, if it is a tensor of the right shape on the right device."""
    require(isinstance(x, Tensor), "return a tensor")
    shape = tuple(x.shape)
    require(
        shape == (n, inst, feature),
        f"the batch has shape {shape}, expected ({n}, {inst}, {feature}) (batch, inst, feature)",
    )
    where = torch.empty(0, device=device).device
    require(x.device == where, f"the batch is on {x.device}, not {where}: use gen.device")
    return x


def require_range(x):
    """Float32 with all values in [0, 1]."""
    require(x.dtype == torch.float32, f"the batch is {x.dtype}, expected torch.float32")
    bad = ~((x >= 0) & (x <= 1))
    require(not bad.any(), "values outside [0, 1]: strengths are uniform on [0, 1]")


def require_shares(events, wanted, what, ask):
    """How often each event happens fits its probability: exact binomial tails, each at ALARM.

    `events` is boolean, batch first; `what` formats an index of the other axes into words.
    """
    require_counts(len(events), events.sum(0), wanted, what, ask)


def require_counts(n, counts, wanted, what, ask):
    """The same, given how often each event happened in `n` rows."""
    counts = counts.cpu().numpy()
    p = torch.as_tensor(wanted).double().cpu().expand(counts.shape).numpy()
    law = stats.binom(n, p)
    bad = (counts < law.ppf(ALARM / 2) - 1) | (counts > law.isf(ALARM / 2) + 1)
    if bad.any():
        at = tuple(np.argwhere(bad)[0].tolist())
        say = f"{what.format(*at)} in {counts[at] / n:.3f} of the rows"
        require(False, f"{say}; {ask.format(*at)} {p[at]:.3f}")


def require_uniform(x, least=50):
    """Active values are uniform on [0, 1].

    The largest gap of the empirical distribution, by Dvoretzky-Kiefer-Wolfowitz with Massart's
    constant (1990): P(gap > t) <= 2 exp(-2 n t^2) for every n; each feature at ALARM.
    """
    for i in range(x.shape[1]):
        for f in range(x.shape[2]):
            on = x[:, i, f][x[:, i, f] > 0].double().sort().values
            n = len(on)
            require(n > least, f"inst {i}, feature {f} is hardly ever active")
            grid = torch.arange(n + 1, device=on.device, dtype=torch.float64) / n
            distance = max((grid[1:] - on).abs().max().item(), (on - grid[:-1]).abs().max().item())
            say = f"active values of inst {i}, feature {f} lie between {on[0]:.2f} and {on[-1]:.2f}"
            ask = "they should be uniform on [0, 1]"
            allowed = math.sqrt(math.log(2 / ALARM) / (2 * n))
            require(distance <= allowed, f"{say} with mean {on.mean():.2f}; {ask}")


def require_filled(x):
    """Strengths of all entries together: uniform, and as near to 0 and 1 as chance brings them."""
    on = x[x > 0].double().sort().values
    n = len(on)
    require(n > 20_000, f"only {n} of {x.numel()} entries are on")
    grid = torch.arange(n + 1, device=on.device, dtype=torch.float64) / n
    distance = max((grid[1:] - on).abs().max().item(), (on - grid[:-1]).abs().max().item())
    say = f"active values lie between {on[0]:.3f} and {on[-1]:.3f} with mean {on.mean():.3f}"
    allowed = math.sqrt(math.log(2 / ALARM) / (2 * n))
    require(distance <= allowed, f"{say}; they should be uniform on [0, 1]")
    # none of 20,000 uniform numbers below 0.0015, or above 0.9985: (1 - 0.0015)^20000 < 1e-13
    require(on[0] < 0.0015 and on[-1] > 0.9985, f"{say}: the ends of [0, 1] are never reached")


def require_strength_apart(one, other, what):
    """How strong `one` is does not depend on whether `other` is on (Hoeffding)."""
    groups = [one[(one > 0) & keep].double() for keep in (other > 0, other == 0)]
    gap = abs(groups[0].mean() - groups[1].mean()).item()
    allowed = sum(hoeffding(len(g), 1.0, ALARM) for g in groups)
    say = f"{what}: the strength of one depends on whether the other is on"
    require(gap <= allowed, f"{say} (means {groups[0].mean():.2f} and {groups[1].mean():.2f})")


def require_sizes(draw, device, factor=2):
    """A batch of one row, one instance, one pair, and odd sizes."""
    for n, inst, pair in [(1, 2, 3), (7, 1, 1), (3, 5, 2)]:
        batch_of(draw(n, inst, pair, generator(0, device)), n, inst, factor * pair, device)


def allowed(fn, *args):
    """`fn(*args)` where nothing is to be refused: an error that comes is free in its wording."""
    waiting = AWAITED.set(lambda _error: "these arguments are allowed")
    try:
        return fn(*args)
    finally:
        AWAITED.reset(waiting)


def require_numbers(values, axes, why):
    """No NaN."""
    bad = values.isnan()
    require(not bad.any(), f"NaN at {first_index(bad, axes) if bad.any() else ''}: {why}")


def require_no_covariance(one, other, what):
    """Strengths of two columns, where both are on, have no covariance (Hoeffding)."""
    on = (one > 0) & (other > 0)
    n = int(on.sum())
    require(n > 200, f"{what} are hardly ever on together in a batch where they should be")
    product = ((one[on] - 0.5) * (other[on] - 0.5)).double().mean().item()
    say = f"the strengths of {what} go together: covariance {product:.3f}, expected 0"
    require(abs(product) <= hoeffding(n, 0.5, ALARM), say)


def columns(events, axis):
    """(what, one, other): boolean columns that must be independent along an axis."""
    n_inst, n_feature = events.shape[1:]
    if axis == "pair":
        return [
            (f"pairs {i} and {j}", events[:, 1, i], events[:, 1, j])
            for i, j in combinations(range(n_feature), 2)
        ]
    if axis == "inst":
        return [
            (f"instances {i} and {j}", events[:, i, 1], events[:, j, 1])
            for i, j in combinations(range(n_inst), 2)
        ]
    half = len(events) // 2
    rows = [
        ("neighbouring rows of the batch", events[0::2, i, i], events[1::2, i, i]) for i in (0, 2)
    ]
    return [*rows, ("the two halves of the batch", events[:half, 0, 1], events[half:, 0, 1])]


def require_independent(events, wanted, axis, verb):
    """Joint events of independent columns happen as often as the product of their probabilities."""
    for what, one, other in columns(events, axis):
        n, count = len(one), int((one & other).sum())
        low, high = binomial_bounds(n, wanted**2, ALARM)
        say = f"{what} {verb} together in {count / n:.3f} of the cases"
        require(low <= count <= high, f"{say}; independent ones in {wanted**2:.3f}")


def require_repeats(draw, device, seed):
    """Equal generators give equal batches."""
    one, same = draw(generator(seed, device)), draw(generator(seed, device))
    say = "two calls with equal generators differ: use gen for every draw"
    require(torch.equal(one, same), say)


def require_moves_on(draw, device, seed):
    """Another generator, and a second call with the same one, give another batch."""
    g = generator(seed, device)
    one, again, other = draw(g), draw(g), draw(generator(seed + 1, device))
    require(not torch.equal(one, other), "another generator gave the same batch: draw from gen")
    require(not torch.equal(one, again), "a second call with the same generator repeated the batch")


def as_given(probability, device):
    """A number stays a number; nested lists become a tensor on `device`."""
    if isinstance(probability, float):
        return probability
    return torch.tensor(probability, device=device)


P_INST = [[0.05], [0.45], [0.2]]
P_PAIR = [[0.45, 0.1, 0.3, 0.2]]
P_BOTH = [[0.05, 0.2, 0.35, 0.45], [0.4, 0.1, 0.3, 0.25], [0.15, 0.45, 0.2, 0.08]]
PS = pytest.mark.parametrize(
    "p", [0.3, P_INST, P_PAIR, P_BOTH], ids=["number", "inst", "pair", "both"]
)
AXIS = pytest.mark.parametrize("axis", ["batch", "inst", "pair"])

# ----------------------------------------------------------------------------- a. correlated_pairs


def correlated(impl, seed, device, p, n=N):
    """A batch of three instances and four pairs."""
    x = impl.correlated_pairs(n, 3, 4, as_given(p, device), generator(seed + 11, device))
    return batch_of(x, n, 3, 8, device)


def test_correlated_pairs__shape_dtype_and_range(impl, seed, device):
    """A batch is float32 with two features a pair, all values in [0, 1]."""
    require_range(correlated(impl, seed, device, 0.4))


@PS
def test_correlated_pairs__each_feature_is_on_as_often_as_asked(impl, seed, device, p):
    """Each feature of each instance is on with exactly its pair's probability."""
    x = correlated(impl, seed, device, p)
    full = torch.as_tensor(p).expand(3, 4).repeat_interleave(2, dim=-1)
    require_shares(x > 0, full, "inst {}, feature {} is on", "it should be")


def test_correlated_pairs__partners_are_on_together(impl, seed, device):
    """Features 2k and 2k + 1 are on in the same rows."""
    x = correlated(impl, seed, device, 0.5) > 0
    alone = x[..., 0::2] != x[..., 1::2]
    count = alone.sum(0)
    worst = int(count.argmax())
    i, k = divmod(worst, 4)
    say = f"features {2 * k} and {2 * k + 1} of inst {i} differ in {int(count.max())} of {N} rows"
    require(int(alone.sum()) <= FREE, f"{say}: is each feature's neighbour its partner?")


@AXIS
def test_correlated_pairs__different_pairs_are_independent(impl, seed, device, axis):
    """One pair's coin says nothing about another pair, instance or row."""
    x = correlated(impl, seed, device, 0.4)
    require_independent(x[..., 1::2] > 0, 0.4, axis, "are on")


def test_correlated_pairs__have_uniform_strengths(impl, seed, device):
    """An active feature is uniform on [0, 1], however rare it is."""
    require_uniform(correlated(impl, seed, device, P_BOTH))


def test_correlated_pairs__partners_have_strengths_of_their_own(impl, seed, device):
    """How strong a feature is says nothing about its partner, or any other feature."""
    x = correlated(impl, seed, device, 0.7)
    for k in range(4):
        what = f"the partners {2 * k} and {2 * k + 1}"
        require_no_covariance(x[:, 1, 2 * k], x[:, 1, 2 * k + 1], what)
    require_no_covariance(x[:, 0, 0], x[:, 0, 3], "features 0 and 3")
    require_no_covariance(x[:, 0, 2], x[:, 2, 2], "instances 0 and 2")
    require_no_covariance(x[0::2, 1, 5], x[1::2, 1, 5], "neighbouring rows")


def test_correlated_pairs__fill_the_whole_interval(impl, seed, device):
    """Strengths reach both ends of [0, 1] and crowd nowhere."""
    require_filled(correlated(impl, seed, device, 0.5))


def test_correlated_pairs__strength_and_coin_are_independent(impl, seed, device):
    """Another pair's coin says nothing about how strong a feature is."""
    x = correlated(impl, seed, device, 0.5)
    for i, j in [(0, 2), (3, 5), (7, 1)]:
        require_strength_apart(x[:, 1, i], x[:, 1, j], f"features {i} and {j}")
    require_strength_apart(x[:, 0, 2], x[:, 2, 2], "instances 0 and 2")


def test_correlated_pairs__take_any_sizes(impl, device):
    """A batch of one row, one instance, one pair, and odd sizes are fine."""
    require_sizes(lambda n, i, k, g: impl.correlated_pairs(n, i, k, 0.5, g), device)


def test_correlated_pairs__repeat_with_the_generator(impl, seed, device):
    """Equal generators give equal batches."""
    require_repeats(lambda g: impl.correlated_pairs(6, 3, 4, 0.5, g), device, seed)


def test_correlated_pairs__change_with_the_generator(impl, seed, device):
    """Another generator, and a second call with the same one, give another batch."""
    require_moves_on(lambda g: impl.correlated_pairs(6, 3, 4, 0.5, g), device, seed)


def test_correlated_pairs__never_and_always(impl, seed, device):
    """Probability 0 gives zeros only, probability 1 gives (almost) none."""
    x = correlated(impl, seed, device, [[0.0], [1.0], [0.5]], n=1000)
    require(not x[:, 0].any(), "a feature with probability 0 is on")
    zeros = int((x[:, 1] == 0).sum())
    require(zeros <= FREE, f"{zeros} of 8000 entries with probability 1 are 0")


def test_correlated_pairs__have_the_products_of_the_reference(impl, ref, seed, device):
    """The mean product of two partners agrees with the reference's, within chance."""
    x = correlated(impl, seed, device, P_BOTH)
    y = ref.correlated_pairs(N, 3, 4, as_given(P_BOTH, device), generator(seed + 77, device))
    mine, theirs = ((z[..., 0::2] * z[..., 1::2]).mean(0) for z in (x, y))
    gap = (mine - theirs).abs()
    at = first_index(gap == gap.max(), "inst pair")
    say = f"the mean product of two partners is {mine.flatten()[gap.argmax()]:.3f} at {at}"
    allowed = 2 * hoeffding(N, 1.0, ALARM)
    require((gap <= allowed).all(), f"{say}; expected {theirs.flatten()[gap.argmax()]:.3f}")


# ------------------------------------------------------------------------- b. anticorrelated_pairs


def apart(impl, seed, device, p, n=N):
    """A batch of three instances and four pairs."""
    x = allowed(
        impl.anticorrelated_pairs, n, 3, 4, as_given(p, device), generator(seed + 12, device)
    )
    return batch_of(x, n, 3, 8, device)


def test_anticorrelated_pairs__shape_dtype_and_range(impl, seed, device):
    """A batch is float32 with two features a pair, all values in [0, 1]."""
    require_range(apart(impl, seed, device, 0.4))


@pytest.mark.parametrize("p", [0.3, 0.5, P_BOTH], ids=["0.3", "0.5", "both"])
def test_anticorrelated_pairs__partners_are_never_on_together(impl, seed, device, p):
    """At most one of the features 2k and 2k + 1 is on."""
    x = apart(impl, seed, device, p) > 0
    both = x[..., 0::2] & x[..., 1::2]
    if both.any():
        b, i, k = both.nonzero()[0].tolist()
        share = both.float().mean().item()
        where = f"features {2 * k} and {2 * k + 1} (batch {b}, inst {i})"
        require(False, f"{where} are both on; so are partners in {share:.3f} of all cases")


@PS
def test_anticorrelated_pairs__each_feature_is_on_as_often_as_asked(impl, seed, device, p):
    """Each of the two features is on with exactly probability p."""
    x = apart(impl, seed, device, p)
    full = torch.as_tensor(p).expand(3, 4).repeat_interleave(2, dim=-1)
    require_shares(x > 0, full, "inst {}, feature {} is on", "it should be")


def test_anticorrelated_pairs__at_one_half_one_is_always_on(impl, seed, device):
    """p = 1/2 is allowed: then exactly one of the two is on in every row."""
    x = apart(impl, seed, device, 0.5) > 0
    none = int((x[..., 0::2] | x[..., 1::2]).logical_not().sum())
    require(
        none <= FREE, f"with p = 0.5 both features of a pair are off in {none} of {N * 12} cases"
    )


@AXIS
def test_anticorrelated_pairs__different_pairs_are_independent(impl, seed, device, axis):
    """Whether a pair fires, and who of the two, says nothing about other pairs, instances, rows."""
    x = apart(impl, seed, device, 0.25) > 0
    require_independent(x[..., 0::2] | x[..., 1::2], 0.5, axis, "fire")
    require_independent(x[..., 0::2], 0.25, axis, "have their first feature on")
    require_independent(x[..., 1::2], 0.25, axis, "have their second feature on")


def test_anticorrelated_pairs__have_uniform_strengths(impl, seed, device):
    """An active feature is uniform on [0, 1], however rare it is."""
    require_uniform(apart(impl, seed, device, P_BOTH))


def test_anticorrelated_pairs__have_independent_strengths(impl, seed, device):
    """How strong a feature is says nothing about other pairs, instances and rows."""
    x = apart(impl, seed, device, 0.5)
    require_no_covariance(x[:, 0, 0], x[:, 0, 2], "features 0 and 2")
    require_no_covariance(x[:, 1, 1], x[:, 1, 6], "features 1 and 6")
    require_no_covariance(x[:, 0, 3], x[:, 2, 3], "instances 0 and 2")
    require_no_covariance(x[0::2, 1, 5], x[1::2, 1, 5], "neighbouring rows")


@pytest.mark.parametrize(
    "p",
    [0.75, [[0.2, 0.5, 0.1, 0.75]], [[0.3], [0.72], [0.2]], 0.501],
    ids=["number", "last pair", "second instance", "just above"],
)
def test_anticorrelated_pairs__refuse_more_than_one_half(impl, device, p):
    """A probability above 1/2 anywhere is a ValueError."""
    assert_raises(
        ValueError, impl.anticorrelated_pairs, 5, 3, 4, as_given(p, device), generator(0, device)
    )


def test_anticorrelated_pairs__name_the_largest(impl, device):
    """The error's text contains the largest probability."""
    gen, p = generator(0, device), as_given([[0.3, 0.61], [0.72, 0.1], [0.55, 0.2]], device)
    assert_raises(ValueError, impl.anticorrelated_pairs, 5, 3, 2, p, gen, names=(0.72,))
    assert_raises(ValueError, impl.anticorrelated_pairs, 5, 3, 2, 0.64, gen, names=(0.64,))


def test_anticorrelated_pairs__fill_the_whole_interval(impl, seed, device):
    """Strengths reach both ends of [0, 1] and crowd nowhere."""
    require_filled(apart(impl, seed, device, 0.45))


def test_anticorrelated_pairs__strength_and_lot_are_independent(impl, seed, device):
    """What another pair does says nothing about how strong a feature is."""
    x = apart(impl, seed, device, 0.45)
    for i, j in [(0, 2), (3, 5), (7, 1)]:
        require_strength_apart(x[:, 1, i], x[:, 1, j], f"features {i} and {j}")
    require_strength_apart(x[:, 0, 2], x[:, 2, 2], "instances 0 and 2")


def test_anticorrelated_pairs__take_any_sizes(impl, device):
    """A batch of one row, one instance, one pair, and odd sizes are fine."""
    require_sizes(lambda n, i, k, g: impl.anticorrelated_pairs(n, i, k, 0.3, g), device)


def test_anticorrelated_pairs__repeat_with_the_generator(impl, seed, device):
    """Equal generators give equal batches."""
    require_repeats(lambda g: impl.anticorrelated_pairs(6, 3, 4, 0.5, g), device, seed)


def test_anticorrelated_pairs__change_with_the_generator(impl, seed, device):
    """Another generator, and a second call with the same one, give another batch."""
    require_moves_on(lambda g: impl.anticorrelated_pairs(6, 3, 4, 0.5, g), device, seed)


def test_anticorrelated_pairs__have_the_mean_of_the_reference(impl, ref, seed, device):
    """The mean of each feature agrees with the reference's, within chance."""
    x = apart(impl, seed, device, P_BOTH)
    y = ref.anticorrelated_pairs(N, 3, 4, as_given(P_BOTH, device), generator(seed + 77, device))
    gap = (x.mean(0) - y.mean(0)).abs()
    say = f"the mean at {first_index(gap == gap.max(), 'inst feature')} is off by {gap.max():.3f}"
    allowed = 2 * hoeffding(N, 1.0, ALARM)
    require((gap <= allowed).all(), f"{say}; chance allows {allowed:.3f}")


# --------------------------------------------------------------------------- c. firing_correlation

PHI = "inst feature feature"


def patterns(seed, device, dtype=torch.float32):
    """x of shape (12, 2, 5): strengths of any size; a dead and an always-active feature."""
    g = generator(seed + 21, device)
    x = torch.rand(12, 2, 5, generator=g, device=device, dtype=dtype) + 0.1
    x = x * (torch.rand(12, 2, 5, generator=g, device=device) < 0.5)
    x[0, :, :3], x[1, :, :3] = 0.3, 0  # each of the first three changes at least once
    x[:, 0, 3], x[:, 1, 4] = 0, 0.7
    x[2, 0, 4], x[3, 0, 4], x[2, 1, 3], x[3, 1, 3] = 1.5, 0, 1.5, 0
    return x


def test_firing_correlation__by_hand(impl, device):
    """Four rows worked out by hand come out right."""
    a = torch.tensor([[0.9, 0.2, 0.0], [0.1, 0.4, 0.0], [0.0, 0.0, 0.6], [0.0, 0.7, 0.5]])
    x = a[:, None].to(device)
    # indicators 1100, 1101, 0011; means 1/2, 3/4, 1/2; variances 1/4, 3/16, 1/4
    r = (0.5 - 0.375) / math.sqrt(0.25 * 0.1875)
    s = (0.25 - 0.375) / math.sqrt(0.25 * 0.1875)
    expected = torch.tensor([[[1.0, r, -1.0], [r, 1.0, s], [-1.0, s, 1.0]]], device=device)
    assert_same(impl.firing_correlation(x), expected, PHI)


def test_firing_correlation__of_a_correlated_pair_is_one(impl, device):
    """Two features with the same on/off pattern have correlation 1, whatever their strengths."""
    x = torch.tensor([[0.1, 0.9], [0.0, 0.0], [0.8, 0.2], [0.0, 0.0], [0.3, 0.3]], device=device)
    out = impl.firing_correlation(x[:, None])
    assert_same(out, torch.ones(1, 2, 2, device=device), PHI)


def test_firing_correlation__of_disjoint_features_is_minus_p_over_1_minus_p(impl, device):
    """Features that are on in a quarter of the rows each, never together: -1/3."""
    x = torch.zeros(8, 1, 2, device=device)
    x[:2, 0, 0], x[2:4, 0, 1] = 0.4, 0.9
    out = impl.firing_correlation(x)
    third = torch.tensor(-1 / 3, device=device)
    assert_same(out[0, 0, 1], third, hint="p = 1/4: -p / (1 - p)")


def test_firing_correlation__ignores_strengths(impl, seed, device):
    """Other strengths, same on/off pattern: the same result."""
    x = patterns(seed, device)
    squashed = x.square() * 0.3
    assert_same(impl.firing_correlation(squashed), impl.firing_correlation(x), PHI)


def test_firing_correlation__is_zero_for_features_that_never_change(impl, seed, device):
    """A feature that is always on or always off has 0 everywhere, not NaN."""
    out = impl.firing_correlation(patterns(seed, device))
    require_numbers(out, PHI, "what was divided by zero?")
    for i, f, state in [(0, 3, "off"), (1, 4, "on")]:
        rows = torch.cat([out[i, f], out[i, :, f]])
        require(
            (rows.abs() < 1e-6).all(),
            f"inst {i}, feature {f} is always {state}: all its entries are 0",
        )


def test_firing_correlation__agrees_with_numpy(impl, seed, device):
    """For features that change it is numpy's corrcoef of the indicators."""
    x = patterns(seed, device, torch.float64)[..., :3]
    expected = np.stack([np.corrcoef((x[:, i] > 0).cpu().numpy().T) for i in range(2)])
    assert_same(impl.firing_correlation(x), torch.tensor(expected, device=device), PHI)


def test_firing_correlation__of_features_that_hardly_ever_change(impl, device):
    """On in one of 20,000 rows, or off in one of them: still correlations of 1, 0 or -1."""
    x = torch.zeros(20_000, 1, 4, device=device, dtype=torch.float64)
    x[7, 0, 0] = x[7, 0, 1] = 0.5
    x[:, 0, 2], x[:, 0, 3] = 0.5, 0.2
    x[7, 0, 2], x[9, 0, 3] = 0.0, 0.0
    out = impl.firing_correlation(x)[0]
    expected = torch.tensor([1.0, 1.0, -1.0, 0.0], device=device, dtype=torch.float64)
    hint = "features 0 and 1 are on in one row only, feature 2 is off in that row only"
    assert_same(out[0], expected, "feature", rtol=1e-3, atol=1e-3, hint=hint)


def test_firing_correlation__counts_the_weakest_strengths(impl, seed, device):
    """A strength of 1e-6 is on: only 0 is off."""
    x = patterns(seed, device)
    assert_same(impl.firing_correlation(1e-6 * x), impl.firing_correlation(x), PHI)


def test_firing_correlation__of_a_single_row(impl, device):
    """In a batch of one row no feature changes: all is 0, not NaN."""
    x = torch.tensor([[[0.3, 0.0, 0.9], [0.0, 0.0, 0.1]]], device=device)
    assert_same(impl.firing_correlation(x), torch.zeros(2, 3, 3, device=device), PHI)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_firing_correlation__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, keeps the dtype and leaves x alone."""
    x = patterns(seed, device, dtype)
    with unchanged(x):
        out = impl.firing_correlation(x.mT.contiguous().mT)
    assert_same(out, ref.firing_correlation(x), PHI)


# ------------------------------------------------------------------------------- d. mixed_features


def mixed(impl, seed, device, p, counts=(2, 1, 3), n=N):
    """A batch of three instances with these numbers of pairs, pairs and features."""
    x = impl.mixed_features(n, 3, *counts, as_given(p, device), generator(seed + 13, device))
    return batch_of(x, n, 3, 2 * counts[0] + 2 * counts[1] + counts[2], device)


def joint(x):
    """How many rows have each two features on together: (inst, feature, feature)."""
    on = (x > 0).float().movedim(1, 0)
    return on.mT @ on  # sums of ones up to 4000 are exact in float32


MIXED_P = [[0.3], [0.1], [0.45]]


def test_mixed_features__every_feature_is_on_as_often_as_asked(impl, seed, device):
    """All features of an instance are on with its probability."""
    x = mixed(impl, seed, device, MIXED_P)
    require_range(x)
    full = torch.tensor(MIXED_P).expand(3, 9)
    require_shares(x > 0, full, "inst {}, feature {} is on", "it should be")


@pytest.mark.parametrize("counts", [(2, 1, 3), (2, 2, 2)])
def test_mixed_features__has_its_three_kinds_in_order(impl, seed, device, counts):
    """First the correlated pairs, then the anticorrelated ones, then the rest; kinds don't mix."""
    x = mixed(impl, seed, device, MIXED_P, counts)
    n, p = x.shape[-1], torch.tensor(MIXED_P)[..., None]
    wanted = (p * p).expand(3, n, n).clone()
    for k in range(counts[0] + counts[1]):
        together = p[..., 0] if k < counts[0] else 0.0
        wanted[:, [2 * k, 2 * k + 1], [2 * k + 1, 2 * k]] = together
    wanted[:, range(n), range(n)] = p[..., 0]
    ask = f"{counts[0]} + {counts[1]} pairs, {counts[2]} features, p = 0.3, 0.1, 0.45: it should be"
    require_counts(N, joint(x), wanted, "inst {}, features {} and {} are on together", ask)


def test_mixed_features__strengths_are_independent_across_kinds(impl, seed, device):
    """A correlated, an anticorrelated and an independent feature have strengths of their own."""
    x = mixed(impl, seed, device, 0.45)
    require_uniform(x)
    for i, j in [(0, 4), (1, 5), (0, 6), (2, 7), (4, 6), (5, 7), (0, 1), (6, 7)]:
        require_no_covariance(x[:, 1, i], x[:, 1, j], f"features {i} and {j}")


@pytest.mark.parametrize("counts", [(0, 2, 1), (1, 0, 2), (2, 1, 0), (0, 0, 3), (3, 2, 4)])
def test_mixed_features__works_with_any_counts(impl, ref, seed, device, counts):
    """A kind may be missing; the shape is the reference's."""
    x = mixed(impl, seed, device, 0.2, counts, n=7)
    y = ref.mixed_features(7, 3, *counts, 0.2, generator(seed, device))
    require(x.shape == y.shape and x.dtype == y.dtype, f"{tuple(x.shape)}, not {tuple(y.shape)}")


def test_mixed_features__refuses_more_than_one_half(impl, device):
    """With anticorrelated pairs a probability above 1/2 is a ValueError."""
    assert_raises(ValueError, impl.mixed_features, 5, 3, 1, 1, 1, 0.75, generator(0, device))


def test_mixed_features__take_a_single_row(impl, device):
    """One row of one instance is a batch."""
    batch_of(impl.mixed_features(1, 1, 1, 1, 1, 0.3, generator(0, device)), 1, 1, 5, device)


def test_mixed_features__repeat_with_the_generator(impl, seed, device):
    """Equal generators give equal batches."""
    require_repeats(lambda g: impl.mixed_features(6, 3, 2, 2, 2, 0.4, g), device, seed)


def test_mixed_features__change_with_the_generator(impl, seed, device):
    """Another generator, and a second call with the same one, give another batch."""
    require_moves_on(lambda g: impl.mixed_features(6, 3, 2, 2, 2, 0.4, g), device, seed)


# -------------------------------------------------------------------------------- e1. pair_cosines

COS = "inst pair"


def weights(seed, device, dtype=torch.float32, shape=(3, 5, 8)):
    """W, not normalised."""
    return normal(generator(seed + 31, device), *shape, dtype=dtype) * 1.7


def test_pair_cosines__by_hand(impl, device):
    """Opposite, orthogonal, equal and in between, with different lengths."""
    columns_ = [(2, 0), (-0.5, 0), (0, 3), (1, 0), (1, 1), (2, 2), (1, 0), (1, 1)]
    W = torch.tensor(columns_, device=device, dtype=torch.float32).T[None]
    expected = torch.tensor([[-1.0, 0.0, 1.0, math.sqrt(0.5)]], device=device)
    assert_same(impl.pair_cosines(W), expected, COS)


def test_pair_cosines__ignore_lengths(impl, seed, device):
    """Stretching a direction changes nothing."""
    W = weights(seed, device)
    stretch = torch.rand(8, generator=generator(seed, device), device=device) * 3 + 0.2
    assert_same(impl.pair_cosines(W * stretch), impl.pair_cosines(W), COS, rtol=1e-4, atol=1e-5)


def test_pair_cosines__ignore_rotations(impl, seed, device):
    """Turning the hidden space changes nothing."""
    W = weights(seed, device, torch.float64)
    R = torch.linalg.qr(normal(generator(seed, device), 5, 5, dtype=torch.float64)).Q
    assert_same(impl.pair_cosines(R @ W), impl.pair_cosines(W), COS)


def test_pair_cosines__are_zero_without_a_direction(impl, seed, device):
    """A pair with a zero column has cosine 0, not NaN."""
    W = weights(seed, device)
    W[0, :, 3], W[1, :, 4:6] = 0, 0
    out = impl.pair_cosines(W)
    require_numbers(out, COS, "a zero column has no angle")
    found = max(abs(out[0, 1].item()), abs(out[1, 2].item()))
    require(found < 1e-6, f"a pair with a zero column has cosine {found:.3f}; it should be 0")


@pytest.mark.parametrize("scale", [1e-1, 2e-4])
def test_pair_cosines__of_short_directions(impl, seed, device, scale):
    """Directions much shorter have the same angles."""
    W = weights(seed, device, torch.float64)
    W = W / W.norm(dim=1, keepdim=True)
    short = impl.pair_cosines(scale * W)
    assert_same(short, impl.pair_cosines(W), COS, rtol=0.3, atol=0, hint=f"all norms are {scale}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5, 8), (1, 2, 2), (2, 1, 6), (4, 4, 4)])
def test_pair_cosines__equal_reference(impl, ref, seed, device, shape, dtype):
    """They agree with the reference for several sizes, keep the dtype and leave W alone."""
    W = weights(seed, device, dtype, shape)
    with unchanged(W):
        out = impl.pair_cosines(W.mT.contiguous().mT)
    assert_same(out, ref.pair_cosines(W), COS)


def test_pair_cosines__send_gradients_to_both_partners(impl, ref, seed, device):
    """Gradients reach both columns of a pair."""
    W = weights(seed, device, torch.float64)
    up = normal(generator(seed + 3, device), 3, 4, dtype=torch.float64)
    mine, theirs = vjp(impl.pair_cosines, (W,), up), vjp(ref.pair_cosines, (W,), up)
    assert_same(mine, theirs, ["inst hidden feature"], what="the gradient by W")


# ---------------------------------------------------------------------------- e2. pair_arrangement


def at_angles(degrees, first=1.0, second=1.0, device="cpu"):
    """One instance in the plane; pair k has this angle between its two directions."""
    angle = torch.tensor(degrees, dtype=torch.float32, device=device).deg2rad()
    start = torch.linspace(0.3, 2.0, len(degrees), device=device)
    one = torch.stack([start.cos(), start.sin()]) * first
    other = torch.stack([(start + angle).cos(), (start + angle).sin()]) * second
    return torch.stack([one, other], dim=-1).flatten(1)[None]


def codes(*values, device="cpu"):
    return torch.tensor([values], device=device)


def test_pair_arrangement__names_the_clear_cases(impl, device):
    """180, 90, 0 and 50 degrees are opposite, orthogonal, same direction, in between."""
    W = at_angles([180, 90, 0, 50, 130, -90], device=device)
    assert_same(impl.pair_arrangement(W), codes(1, 2, 3, 4, 4, 2, device=device), COS)


def test_pair_arrangement__is_about_directions(impl, device):
    """Long and short directions have the same name as unit ones."""
    W = at_angles([180, 90, 0, 50], first=3.0, second=0.7, device=device)
    assert_same(impl.pair_arrangement(W), codes(1, 2, 3, 4, device=device), COS)


def test_pair_arrangement__is_missing_when_one_feature_is(impl, device):
    """One short direction is enough for a missing pair, first or second, at any angle."""
    expected = codes(0, 0, 0, 0, device=device)
    for first, second in [(0.3, 1.0), (1.0, 0.3), (0.3, 0.3), (0.0, 1.0)]:
        W = at_angles([180, 90, 0, 50], first, second, device)
        hint = f"norms {first} and {second}"
        assert_same(impl.pair_arrangement(W), expected, COS, hint=hint)


def test_pair_arrangement__obeys_the_tolerance(impl, device):
    """Each target has its own neighbourhood, as wide as the tolerance says."""
    W = at_angles([155, 80, 25, 97, 130], device=device)  # cosines -0.91, 0.17, 0.91, -0.12, -0.64
    assert_same(impl.pair_arrangement(W), codes(1, 2, 3, 2, 4, device=device), COS)
    assert_same(impl.pair_arrangement(W, 0.5, 0.15), codes(1, 4, 3, 2, 4, device=device), COS)
    assert_same(impl.pair_arrangement(W, 0.5, 0.4), codes(1, 2, 3, 2, 1, device=device), COS)
    assert_same(impl.pair_arrangement(W, 0.5, 0.05), codes(4, 4, 4, 4, 4, device=device), COS)


def test_pair_arrangement__obeys_the_norm_threshold(impl, device):
    """`norm_above` decides who is missing."""
    W = at_angles([180, 90], first=0.8, second=0.6, device=device)
    assert_same(impl.pair_arrangement(W, 0.7), codes(0, 0, device=device), COS)
    assert_same(impl.pair_arrangement(W, 0.55), codes(1, 2, device=device), COS)


def by_signs(*pairs, device):
    """Pairs of vectors of +1 and -1 in 16 dimensions, times 1/4: unit vectors, exact cosines."""
    rows = [torch.tensor([1.0] * 16), *(torch.tensor([1.0] * (16 - k) + [-1.0] * k) for k in pairs)]
    columns_ = [v for row in rows[1:] for v in (rows[0], row)]
    return (torch.stack(columns_, dim=1) / 4)[None].to(device)


def test_pair_arrangement__within_means_strictly(impl, device):
    """A cosine exactly at the tolerance from a target is not within it."""
    W = by_signs(16, 14, 10, 8, 6, 2, 0, device=device)  # -1, -3/4, -1/4, 0, 1/4, 3/4, 1
    expected = codes(1, 4, 4, 2, 4, 4, 3, device=device)
    hint = "cosines -1, -3/4, -1/4, 0, 1/4, 3/4, 1 with tolerance 1/4"
    assert_same(impl.pair_arrangement(W), expected, COS, hint=hint)


def test_pair_arrangement__a_norm_at_the_threshold_is_not_above_it(impl, device):
    """A norm exactly at `norm_above`, of the first or the second feature, is a missing one."""
    W = by_signs(16, 8, 0, device=device)
    W[0, :, 0], W[0, :, 3] = W[0, :, 0] / 2, W[0, :, 3] / 2
    hint = "norms (1/2, 1), (1, 1/2), (1, 1) against 1/2"
    assert_same(impl.pair_arrangement(W), codes(0, 0, 3, device=device), COS, hint=hint)
    hint = "the same against 0.4"
    assert_same(impl.pair_arrangement(W, 0.4), codes(1, 2, 3, device=device), COS, hint=hint)


def test_pair_arrangement__the_first_rule_that_fits_counts(impl, device):
    """With a tolerance of 0.6 two rules fit some cosines: the earlier one in the table counts."""
    W = at_angles([118, 63, 97], device=device)  # cosines -0.47, 0.45, -0.12
    hint = "cosines -0.47, 0.45, -0.12 with tolerance 0.6"
    assert_same(impl.pair_arrangement(W, 0.5, 0.6), codes(1, 2, 2, device=device), COS, hint=hint)


def test_pair_arrangement__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random weights, as int64, and leaves W alone."""
    for shape in [(40, 2, 8), (30, 3, 4), (1, 4, 4)]:
        W = weights(seed, device, shape=shape) * 0.6
        with unchanged(W):
            out = impl.pair_arrangement(W.mT.contiguous().mT)
        assert_same(out, ref.pair_arrangement(W), COS)


# --------------------------------------------------------------------------------- e3. best_starts


def test_best_starts__by_hand(impl, device):
    """Two models, three starts: instances 0, 2, 4 are starts of model 0, the others of model 1."""
    loss = torch.tensor([0.5, 0.9, 0.2, 0.3, 0.7, 0.1], device=device)
    hint = "losses 0.5 0.9 | 0.2 0.3 | 0.7 0.1, three starts of two models"
    assert_same(impl.best_starts(loss, 3), torch.tensor([2, 5], device=device), "model", hint=hint)


@pytest.mark.parametrize(("n_starts", "n_models"), [(4, 3), (3, 5), (1, 4), (6, 1), (3, 3)])
def test_best_starts__have_the_lowest_loss_of_their_model(impl, seed, device, n_starts, n_models):
    """Each index is a start of its own model, and no other start of it has a lower loss."""
    loss = normal(generator(seed + 6, device), n_starts * n_models)
    best = impl.best_starts(loss, n_starts)
    of_model = [int(loss[k::n_models].argmin()) * n_models + k for k in range(n_models)]
    expected = torch.tensor(of_model, device=device)
    assert_same(best, expected, "model", hint=f"{n_starts} starts of {n_models} models")


def test_best_starts__the_first_of_equals(impl, device):
    """Of equal losses the first start counts."""
    loss = torch.tensor([0.5, 0.1, 0.5, 0.1, 0.5, 0.2], device=device)
    assert_same(impl.best_starts(loss, 3), torch.tensor([0, 1], device=device), "model")


def test_best_starts__equals_reference(impl, ref, seed, device):
    """It agrees with the reference, as int64, and leaves the losses alone."""
    for dtype in (torch.float32, torch.float64):
        loss = normal(generator(seed + 7, device), 24, dtype=dtype)
        with unchanged(loss):
            best = impl.best_starts(loss, 6)
        assert_same(best, ref.best_starts(loss, 6), "model")


# ------------------------------------------------------------------------------ e4. pair_variances


def moments(p, both, side=300):
    """Variance of the sum and the difference of a pair, over root 2, by the midpoint rule."""
    u = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    one, other = torch.cartesian_prod(u, u).unbind(1)
    none = torch.zeros_like(u)
    cases = [(1 - 2 * p + both, none, none), (p - both, u, none), (p - both, none, u)]
    out = []
    for sign in (1, -1):
        values = [
            (mass, (a + sign * b) / math.sqrt(2)) for mass, a, b in [*cases, (both, one, other)]
        ]
        mean = sum(mass * v.mean() for mass, v in values)
        out.append(sum(mass * v.square().mean() for mass, v in values) - mean**2)
    return torch.stack(out)


@pytest.mark.parametrize(("p", "both"), [(0.3, 0.3), (0.3, 0.09), (0.4, 0.0), (0.02, 0.01), (1, 1)])
def test_pair_variances__are_those_of_the_data(impl, device, p, both):
    """Both variances, integrated numerically over the law of a pair."""
    given = (torch.tensor(float(v), dtype=torch.float64, device=device) for v in (p, both))
    hint = f"p = {p}, P(both on) = {both}; first the sum, then the difference"
    expected = moments(p, both).to(device)
    assert_same(impl.pair_variances(*given), expected, "direction", rtol=1e-3, atol=0, hint=hint)


def test_pair_variances__agree_for_independent_features(impl, device):
    """Where both = p², sum and difference have the variance of one feature."""
    p = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64, device=device)
    out = impl.pair_variances(p, p**2)
    expected = (p / 3 - p**2 / 4).expand(2, 3)
    assert_same(out, expected, "direction grid", hint="both = p²: independent")


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 2)])
def test_pair_variances__equal_reference(impl, ref, seed, device, shape):
    """They agree with the reference on grids of any shape, and leave their inputs alone."""
    g = generator(seed + 62, device)
    p = torch.rand(shape, generator=g, device=device)
    both = p * torch.rand(shape, generator=g, device=device)
    with unchanged(p, both):
        out = impl.pair_variances(p, both)
    assert_same(out, ref.pair_variances(p, both), "direction" + " grid" * len(shape))


# ----------------------------------------------------------------------------- f1. correlated_sets


def sets(impl, seed, device, p, within, n=N, shape=(3, 2, 4)):
    """A batch of three instances, two sets of four features."""
    x = impl.correlated_sets(n, *shape, p, within, generator(seed + 14, device))
    return batch_of(x, n, shape[0], shape[1] * shape[2], device)


SETS = pytest.mark.parametrize(("p", "within"), [(0.3, 0.6), (0.1, 0.5), (0.2, 1.0), (0.4, 0.4)])


@SETS
def test_correlated_sets__each_feature_is_on_as_often_as_asked(impl, seed, device, p, within):
    """Each feature is on with exactly `probability`, whatever `within` is."""
    x = sets(impl, seed, device, p, within)
    require_range(x)
    say = f"within = {within}: inst {{}}, feature {{}} is on"
    require_shares(x > 0, torch.full((3, 8), p), say, "it should be")


@SETS
def test_correlated_sets__go_together_within_and_not_between(impl, seed, device, p, within):
    """Two features of a set are on together with probability p * within, of two sets with p * p."""
    x = sets(impl, seed, device, p, within)
    block = torch.arange(8) // 4
    wanted = torch.where(block[:, None] == block, p * within, p * p).expand(3, 8, 8).clone()
    wanted[:, range(8), range(8)] = p
    say = f"within = {within}: inst {{}}, features {{}} and {{}} are on together"
    require_counts(N, joint(x), wanted, say, f"with p = {p} it should be")


def test_correlated_sets__features_of_a_set_decide_alone(impl, seed, device):
    """In a set that is on, three features are on together as often as independence says."""
    on = sets(impl, seed, device, 0.3, 0.6) > 0
    for i, (a, b, c) in enumerate([(0, 1, 2), (1, 2, 3), (4, 6, 7)]):
        low, high = binomial_bounds(N, 0.5 * 0.6**3, ALARM)
        count = int((on[:, i, a] & on[:, i, b] & on[:, i, c]).sum())
        say = f"features {a}, {b}, {c} are all on in {count / N:.3f} of the rows"
        require(low <= count <= high, f"{say}; it should be {0.5 * 0.6**3:.3f}")


@pytest.mark.parametrize("axis", ["batch", "inst"])
def test_correlated_sets__are_independent_over_rows_and_instances(impl, seed, device, axis):
    """Whether a set is on says nothing about other rows and instances."""
    x = sets(impl, seed, device, 0.4, 0.8) > 0
    require_independent(x, 0.4, axis, "have a feature on")


def test_correlated_sets__have_uniform_strengths_of_their_own(impl, seed, device):
    """Active features are uniform on [0, 1], independent also within a set."""
    x = sets(impl, seed, device, 0.4, 0.8)
    require_uniform(x)
    for i, j in [(0, 1), (2, 3), (0, 3), (1, 4), (5, 7)]:
        require_no_covariance(x[:, 1, i], x[:, 1, j], f"features {i} and {j}")
    require_no_covariance(x[:, 0, 3], x[:, 2, 3], "instances 0 and 2")
    require_no_covariance(x[0::2, 1, 5], x[1::2, 1, 5], "neighbouring rows")


def test_correlated_sets__name_the_within(impl, device):
    """The error's text contains the value of `within`."""
    gen = generator(0, device)
    assert_raises(ValueError, impl.correlated_sets, 5, 3, 2, 4, 0.51, 0.37, gen, names=(0.37,))


def test_correlated_sets__refuse_a_within_below_p(impl, device):
    """`within` below `probability` is a ValueError; equal is allowed."""
    gen = generator(0, device)
    assert_raises(ValueError, impl.correlated_sets, 5, 3, 2, 4, 0.5, 0.25, gen)
    assert_raises(ValueError, impl.correlated_sets, 5, 3, 2, 4, 0.5, 0.499, gen)
    batch_of(impl.correlated_sets(5, 3, 2, 4, 0.25, 0.25, gen), 5, 3, 8, device)


def test_correlated_sets__fill_the_whole_interval(impl, seed, device):
    """Strengths reach both ends of [0, 1] and crowd nowhere."""
    require_filled(sets(impl, seed, device, 0.5, 0.8))


def test_correlated_sets__strength_and_coins_are_independent(impl, seed, device):
    """Whether another feature is on says nothing about how strong a feature is."""
    x = sets(impl, seed, device, 0.5, 0.8)
    for i, j in [(0, 1), (3, 5), (7, 1)]:
        require_strength_apart(x[:, 1, i], x[:, 1, j], f"features {i} and {j}")
    require_strength_apart(x[:, 0, 2], x[:, 2, 2], "instances 0 and 2")


def test_correlated_sets__take_any_sizes(impl, device):
    """A batch of one row, one set, sets of one feature, and odd sizes are fine."""
    for size in (1, 3):
        draw = lambda n, i, k, g, s=size: impl.correlated_sets(n, i, k, s, 0.3, 0.5, g)  # noqa: E731
        require_sizes(draw, device, size)


def test_correlated_sets__repeat_with_the_generator(impl, seed, device):
    """Equal generators give equal batches."""
    require_repeats(lambda g: impl.correlated_sets(6, 3, 2, 4, 0.4, 0.8, g), device, seed)


def test_correlated_sets__change_with_the_generator(impl, seed, device):
    """Another generator, and a second call with the same one, give another batch."""
    require_moves_on(lambda g: impl.correlated_sets(6, 3, 2, 4, 0.4, 0.8, g), device, seed)


def test_correlated_sets__have_the_counts_of_the_reference(impl, ref, seed, device):
    """The number of active features of a set is spread as the reference's is."""
    mine = sets(impl, seed, device, 0.3, 0.6)
    theirs = ref.correlated_sets(N, 3, 2, 4, 0.3, 0.6, generator(seed + 77, device))
    for k in range(5):
        one, two = ((x.unflatten(2, (2, 4)) > 0).sum(-1)[:, 0, 0] == k for x in (mine, theirs))
        gap = abs(one.double().mean().item() - two.double().mean().item())
        say = f"{k} of the 4 features of a set are on in {one.double().mean():.3f} of the rows"
        expect = f"the reference has {two.double().mean():.3f}"
        require(gap <= 2 * hoeffding(N, 1.0, ALARM), f"{say}; {expect}")


# ---------------------------------------------------------------------------- f2. set_interference

BOTH_PARTS = ["inst feature", "inst feature"]


def test_set_interference__by_hand(impl, device):
    """Two sets of two features in the plane, worked out by hand."""
    columns_ = [(2, 0), (0, 1), (-1, 0), (0.6, 0.8)]
    W = torch.tensor(columns_, device=device).T[None]
    # W_hat_0 = (1, 0): 0 within; 1 + 0.36 between. W_hat_3 . W_2 = -0.6, . W_0 = 1.2, . W_1 = 0.8
    within = torch.tensor([[0.0, 0.0, 0.36, 0.36]], device=device)
    between = torch.tensor([[1.36, 0.64, 4.0, 2.08]], device=device)
    assert_same(impl.set_interference(W, 2), (within, between), BOTH_PARTS)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_set_interference__parts_add_up_to_the_whole(impl, seed, device, size):
    """Within and between add up to the interference of 3.1.1."""
    W = weights(seed, device, torch.float64, (3, 4, 6))
    within, between = impl.set_interference(W, size)
    hint = f"sets of {size}: the two parts should add up to 3.1.1's interference"
    assert_same(within + between, s1.interference(W), "inst feature", hint=hint)


def test_set_interference__one_set_has_nothing_between(impl, seed, device):
    """With one set all of it is within, with sets of one feature all of it is between."""
    W = weights(seed, device, torch.float64, (3, 4, 6))
    zeros = torch.zeros(3, 6, device=device, dtype=torch.float64)
    assert_same(impl.set_interference(W, 6)[1], zeros, "inst feature", hint="one set of 6")
    assert_same(impl.set_interference(W, 1)[0], zeros, "inst feature", hint="sets of 1")


def test_set_interference__of_two_bases(impl, seed, device):
    """Two orthonormal bases of one space: 0 within, 1 between, for every feature."""
    g = generator(seed + 4, device)
    bases = [torch.linalg.qr(normal(g, 2, 5, 5, dtype=torch.float64)).Q for _ in range(2)]
    W = torch.cat(bases, dim=-1)
    within, between = impl.set_interference(W, 5)
    assert_same(within, torch.zeros_like(within), "inst feature", atol=1e-9, rtol=0)
    assert_same(between, torch.ones_like(between), "inst feature")


def test_set_interference__is_zero_for_a_dropped_feature(impl, seed, device):
    """A feature of norm 0 has interference 0 in both parts, not NaN."""
    W = weights(seed, device, shape=(3, 4, 6))
    W[1, :, 2] = 0
    for part in impl.set_interference(W, 3):
        require_numbers(part, "inst feature", "a dropped feature was divided by its norm 0")
        require(
            abs(part[1, 2].item()) < 1e-6,
            "the dropped feature (inst 1, feature 2) has interference",
        )


@pytest.mark.parametrize("length", [1e-2, 5e-7])
def test_set_interference__of_a_short_feature_is_that_of_its_direction(impl, seed, device, length):
    """A feature that is short, but not 0, has the interference of its direction."""
    W = weights(seed, device, torch.float64, (3, 4, 6))
    W[:, :, 1] /= W[:, :, 1].norm(dim=1, keepdim=True)
    short = W.clone()
    short[:, :, 1] *= length
    before, after = (tuple(part[:, 1] for part in impl.set_interference(V, 3)) for V in (W, short))
    hint = f"feature 1 has norm {length}: only a norm of 0 has no direction"
    assert_same(after, before, ["inst", "inst"], rtol=0.1, atol=0, hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_set_interference__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, keeps the dtype and leaves W alone."""
    for shape, size in [((3, 4, 6), 2), ((4, 4, 4), 2), ((1, 2, 9), 3), ((2, 1, 2), 1)]:
        W = weights(seed, device, dtype, shape)
        with unchanged(W):
            out = impl.set_interference(W.mT.contiguous().mT, size)
        expected, hint = ref.set_interference(W, size), f"sets of {size}"
        assert_same(out, expected, BOTH_PARTS, rtol=1e-4, atol=1e-4, hint=hint)


# ------------------------------------------------------------------------------- g1. coupled_pairs

C_BOTH = [[0.0, 0.2, 0.9, 1.0], [1.0, 0.7, 0.3, 0.0], [0.5, 0.1, 0.6, 0.4]]
CS = pytest.mark.parametrize(
    ("p", "c"),
    [(0.3, 0.6), (P_BOTH, 0.35), (0.4, C_BOTH), (P_BOTH, C_BOTH), (P_INST, [[0.9, 0.5, 0.1, 0.7]])],
    ids=["numbers", "p tensor", "c tensor", "both", "inst and pair"],
)


def coupled(impl, seed, device, p, c, n=N):
    """A batch of three instances and four pairs."""
    given = as_given(p, device), as_given(c, device)
    x = allowed(impl.coupled_pairs, n, 3, 4, *given, generator(seed + 15, device))
    return batch_of(x, n, 3, 8, device)


@CS
def test_coupled_pairs__each_feature_is_on_as_often_as_asked(impl, seed, device, p, c):
    """Each feature is on with exactly probability p, whatever c is."""
    x = coupled(impl, seed, device, p, c)
    require_range(x)
    full = torch.as_tensor(p).expand(3, 4).repeat_interleave(2, dim=-1)
    require_shares(x > 0, full, "inst {}, feature {} is on", "it should be")


@CS
def test_coupled_pairs__partners_are_on_together_as_often_as_asked(impl, seed, device, p, c):
    """Both features of pair k are on with exactly probability p c."""
    on = coupled(impl, seed, device, p, c) > 0
    wanted = (torch.as_tensor(p) * torch.as_tensor(c)).expand(3, 4)
    both = on[..., 0::2] & on[..., 1::2]
    require_shares(both, wanted, "inst {}, pair {}: both are on", "p c =")


def test_coupled_pairs__at_the_ends_of_the_dial(impl, seed, device):
    """c = 0 never has both on, c = 1 never has one alone."""
    on = coupled(impl, seed, device, 0.5, [[0.0, 1.0, 0.0, 1.0]]) > 0
    first, second = on[..., 0::2], on[..., 1::2]
    both, alone = (first & second)[..., [0, 2]], (first != second)[..., [1, 3]]
    require(not both.any(), f"c = 0: both are on in {int(both.sum())} cases")
    require(int(alone.sum()) <= FREE, f"c = 1: one is on alone in {int(alone.sum())} cases")


@AXIS
def test_coupled_pairs__different_pairs_are_independent(impl, seed, device, axis):
    """What one pair does says nothing about another pair, instance or row."""
    on = coupled(impl, seed, device, 0.4, 0.5) > 0
    first, second = on[..., 0::2], on[..., 1::2]
    require_independent(first, 0.4, axis, "have their first feature on")
    require_independent(second, 0.4, axis, "have their second feature on")
    require_independent(first | second, 0.6, axis, "fire")
    require_independent(first & second, 0.2, axis, "have both features on")


def test_coupled_pairs__have_uniform_strengths_of_their_own(impl, seed, device):
    """Active features are uniform on [0, 1], independent also within a pair."""
    require_uniform(coupled(impl, seed, device, P_BOTH, C_BOTH))
    x = coupled(impl, seed, device, 0.5, 0.8)
    for k in range(4):
        what = f"the partners {2 * k} and {2 * k + 1}"
        require_no_covariance(x[:, 1, 2 * k], x[:, 1, 2 * k + 1], what)
    require_no_covariance(x[:, 0, 2], x[:, 2, 2], "instances 0 and 2")
    require_no_covariance(x[:, 0, 1], x[:, 0, 2], "features 1 and 2")
    require_no_covariance(x[0::2, 1, 5], x[1::2, 1, 5], "neighbouring rows")


@pytest.mark.parametrize(
    ("p", "c"),
    [(0.75, 0.5), ([[0.2, 0.75, 0.1, 0.3]], 0.5), (0.75, [[1.0, 0.9, 0.5, 1.0]])],
    ids=["numbers", "one p of four", "one c of four"],
)
def test_coupled_pairs__refuse_the_impossible(impl, device, p, c):
    """p (2 - c) above 1 anywhere is a ValueError."""
    given = as_given(p, device), as_given(c, device)
    assert_raises(ValueError, impl.coupled_pairs, 5, 3, 4, *given, generator(0, device))


def test_coupled_pairs__name_the_largest(impl, device):
    """The error's text contains the largest p (2 - c)."""
    gen, c = generator(0, device), as_given([[0.9, 0.3, 1.0, 0.5]], device)
    assert_raises(ValueError, impl.coupled_pairs, 5, 3, 4, 0.8, c, gen, names=(1.36,))
    assert_raises(ValueError, impl.coupled_pairs, 5, 3, 4, 0.7, 0.2, gen, names=(1.26,))


@pytest.mark.parametrize(("p", "c"), [(0.5000008, 0.0), (0.50001, 0.0), (0.75, 0.66)])
def test_coupled_pairs__refuse_what_is_just_impossible(impl, device, p, c):
    """p (2 - c) above 1 by more than a rounding error is a ValueError, however little it is."""
    assert_raises(ValueError, impl.coupled_pairs, 5, 3, 4, p, c, generator(0, device))


def test_coupled_pairs__allow_a_rounding_error(impl, device):
    """p (2 - c) = 1.0000004 is 1 up to rounding."""
    x = allowed(impl.coupled_pairs, 5, 3, 4, 0.5000002, 0.0, generator(0, device))
    batch_of(x, 5, 3, 8, device)


def test_coupled_pairs__fill_the_whole_interval(impl, seed, device):
    """Strengths reach both ends of [0, 1] and crowd nowhere."""
    require_filled(coupled(impl, seed, device, 0.5, 0.6))


def test_coupled_pairs__strength_and_coins_are_independent(impl, seed, device):
    """Whether another feature is on says nothing about how strong a feature is."""
    x = coupled(impl, seed, device, 0.5, 0.6)
    for i, j in [(0, 1), (1, 0), (3, 5), (7, 1)]:
        require_strength_apart(x[:, 1, i], x[:, 1, j], f"features {i} and {j}")
    require_strength_apart(x[:, 0, 2], x[:, 2, 2], "instances 0 and 2")


def test_coupled_pairs__take_any_sizes(impl, device):
    """A batch of one row, one instance, one pair, and odd sizes are fine."""
    require_sizes(lambda n, i, k, g: impl.coupled_pairs(n, i, k, 0.4, 0.5, g), device)


@pytest.mark.parametrize(("p", "c"), [(0.5, 0.0), (0.8, 0.75), (1.0, 1.0), (0.6, 1 / 3)])
def test_coupled_pairs__go_up_to_the_limit(impl, device, seed, p, c):
    """p (2 - c) = 1 is allowed, rounding errors included, and dense pairs are right too."""
    on = coupled(impl, seed, device, p, torch.full((1, 4), c).tolist()) > 0
    first, second = on[..., 0::2], on[..., 1::2]
    none = int((first | second).logical_not().sum())
    require(none <= FREE, f"p = {p}, c = {c:.3f}: none of the two is on in {none} cases")
    require_shares(first & second, torch.full((3, 4), p * c), "inst {}, pair {}: both on", "p c =")
    # a dense pair and one that never meets may stand side by side: each has its own limit
    coupled(impl, seed, device, [[p, 0.3, p, 0.2]], [[c, 0.0, c, 0.1]], n=5)


def test_coupled_pairs__repeat_with_the_generator(impl, seed, device):
    """Equal generators give equal batches."""
    require_repeats(lambda g: impl.coupled_pairs(6, 3, 4, 0.4, 0.5, g), device, seed)


def test_coupled_pairs__change_with_the_generator(impl, seed, device):
    """Another generator, and a second call with the same one, give another batch."""
    require_moves_on(lambda g: impl.coupled_pairs(6, 3, 4, 0.4, 0.5, g), device, seed)


def test_coupled_pairs__have_the_products_of_the_reference(impl, ref, seed, device):
    """The mean product of two partners agrees with the reference's, within chance."""
    x = coupled(impl, seed, device, P_BOTH, C_BOTH)
    given = as_given(P_BOTH, device), as_given(C_BOTH, device)
    y = ref.coupled_pairs(N, 3, 4, *given, generator(seed + 77, device))
    mine, theirs = ((z[..., 0::2] * z[..., 1::2]).mean(0) for z in (x, y))
    gap = (mine - theirs).abs()
    say = f"the mean product of two partners is off by {gap.max():.3f}"
    allowed = 2 * hoeffding(N, 1.0, ALARM)
    require((gap <= allowed).all(), f"{say} at {first_index(gap == gap.max(), COS)}")


# ----------------------------------------------------------------------------------- g2. sum_share


def test_sum_share__by_hand(impl, device):
    """Equal 1, opposite 0, orthogonal 1/2, one alone 1/2, unequal lengths in between."""
    columns_ = [(1, 1), (1, 1), (2, 0), (-2, 0), (0, 3), (1, 0), (0, 0), (1, 2), (3, 0), (1, 0)]
    W = torch.tensor(columns_, device=device, dtype=torch.float32).T[None]
    # the last pair: S^2 = 16/2, D^2 = 4/2
    expected = torch.tensor([[1.0, 0.0, 0.5, 0.5, 0.8]], device=device)
    assert_same(impl.sum_share(W), expected, COS)


def test_sum_share__knows_lengths(impl, device):
    """Same direction, one much longer: not 1, because a sum has equal parts."""
    W = torch.tensor([[[1.0, 0.1]]], device=device)
    share = torch.tensor([[1.21 / 2.02]], device=device)
    assert_same(impl.sum_share(W), share, COS, hint="W = (1, 0.1): S^2 = 1.21/2, D^2 = 0.81/2")


def test_sum_share__of_a_flipped_partner_is_the_rest(impl, seed, device):
    """Flipping one direction of each pair turns the share s into 1 - s."""
    W = weights(seed, device, torch.float64)
    sign = torch.tensor([1.0, -1.0] * 4, device=device, dtype=torch.float64)
    assert_same(impl.sum_share(W * sign), 1 - impl.sum_share(W), COS)


def test_sum_share__ignores_scale_and_rotation(impl, seed, device):
    """Turning the hidden space, or scaling all of W, changes nothing."""
    W = weights(seed, device, torch.float64)
    R = torch.linalg.qr(normal(generator(seed, device), 5, 5, dtype=torch.float64)).Q
    assert_same(impl.sum_share(0.3 * R @ W), impl.sum_share(W), COS)


def test_sum_share__is_zero_without_directions(impl, seed, device):
    """Where both directions are zero the share is 0, not NaN."""
    W = weights(seed, device)
    W[1, :, 2:4] = 0
    out = impl.sum_share(W)
    require_numbers(out, COS, "0 / 0")
    require(abs(out[1, 1].item()) < 1e-6, "inst 1, pair 1 has no directions: its share is 0")


@pytest.mark.parametrize("scale", [1e-1, 1e-3])
def test_sum_share__of_short_directions(impl, seed, device, scale):
    """Directions a thousand times shorter have the same share."""
    W = weights(seed, device, torch.float64)
    W = W / W.norm(dim=1, keepdim=True)
    hint = f"all norms are {scale}"
    assert_same(impl.sum_share(scale * W), impl.sum_share(W), COS, rtol=0.01, atol=0, hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5, 8), (1, 2, 2), (2, 1, 6), (4, 4, 4)])
def test_sum_share__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for several sizes, keeps the dtype and leaves W alone."""
    W = weights(seed, device, dtype, shape)
    with unchanged(W):
        out = impl.sum_share(W.mT.contiguous().mT)
    assert_same(out, ref.sum_share(W), COS)


# ----------------------------------------------------------------------------- g3. strategy_losses


def by_integration(W, p_both, p_one, side=200):
    """Loss of two features in one dimension: outputs ReLU(W^T W x), midpoints, mean of the two."""
    u = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    zero = torch.zeros_like(u)
    W = torch.tensor(W, dtype=torch.float64)

    def error(x):
        out = ((x @ W)[:, None] * W).clamp(min=0)
        return (out - x).square().mean().item()

    one = error(torch.stack([u, zero], 1)) + error(torch.stack([zero, u], 1))
    return p_one * one + p_both * error(torch.cartesian_prod(u, u))


@pytest.mark.parametrize(("p", "c"), [(0.1, 0.0), (0.3, 0.2), (0.2, 1.0), (0.5, 0.6), (0.01, 0.3)])
def test_strategy_losses__are_what_the_strategies_cost(impl, device, p, c):
    """Each loss is the expected loss of its W, by numerical integration."""
    half = math.sqrt(0.5)
    expected = [
        by_integration([1.0, -1.0], p * c, p - p * c),
        by_integration([1.0, -1.0], p * p, p - p * p),  # one feature of each pair: independent
        by_integration([half, half], p * c, p - p * c),
    ]
    given = (torch.tensor([v], dtype=torch.float64, device=device) for v in (p, c))
    out = impl.strategy_losses(*given)
    column = torch.tensor(expected, dtype=torch.float64, device=device)[:, None]
    hint = f"p = {p}, c = {c}; strategies: opposite, orthogonal, sum"
    assert_same(out, column, "strategy grid", rtol=1e-3, atol=1e-9, hint=hint)


def test_strategy_losses__tie_where_they_should(impl, device):
    """Independent partners tie opposite with orthogonal; p = c = 4/7 ties all three."""
    p = torch.tensor([0.1, 0.3, 4 / 7], dtype=torch.float64, device=device)
    out = impl.strategy_losses(p, p)
    assert_same(out[0], out[1], "grid", hint="c = p: partners are independent")
    assert_same(out[2, 2], out[0, 2], hint="c = p = 4/7: the sum ties, too")


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 1, 3), (3, 3)])
def test_strategy_losses__equal_reference(impl, ref, seed, device, shape):
    """They agree with the reference for grids of any shape, and leave their inputs alone."""
    g = generator(seed + 61, device)
    p, c = (torch.rand(shape, generator=g, device=device) for _ in range(2))
    with unchanged(p, c):
        out = impl.strategy_losses(p, c)
    assert_same(out, ref.strategy_losses(p, c), "strategy" + " grid" * len(shape))


def test_strategy_losses__keep_the_dtype(impl, device):
    """Float64 goes in and comes out; at c = 0 opposite partners cost nothing."""
    p = torch.tensor([0.2, 0.4], dtype=torch.float64, device=device)
    expected = torch.stack([0 * p, p * p / 6, p / 6])
    assert_same(impl.strategy_losses(p, 0 * p), expected, "strategy grid")


# ------------------------------------------------------------------------------------- predictions


def same_prediction(mine, truth, why):
    """The prediction is the measured outcome (see the claims of this section)."""
    require(mine == truth, f"you said {mine!r}: {why}")


def test_predict_correlated__is_what_happens(impl, ref):
    """Correlated partners: how the best model arranges them."""
    same_prediction(impl.predict_correlated, ref.predict_correlated, "look at the first panel")


def test_predict_anticorrelated__is_what_happens(impl, ref):
    """Anticorrelated partners: how the best model arranges them."""
    say = "look at the third panel, the best of all starts"
    same_prediction(impl.predict_anticorrelated, ref.predict_anticorrelated, say)


def test_predict_crowded__is_what_happens(impl, ref):
    """Three correlated pairs in a plane at p = 0.01."""
    same_prediction(impl.predict_crowded, ref.predict_crowded, "look at the angles at p = 0.01")


def test_predict_interference__is_what_happens(impl, ref):
    """Where the interference goes when there are sets."""
    say = "compare the two numbers printed for the sets"
    same_prediction(impl.predict_interference, ref.predict_interference, say)


def test_predict_collapse__is_where_the_losses_tie(impl):
    """At c = 1 the sum ties with orthogonal where p = 1 - 3/4."""
    # half the distance between two columns of the trained map: nothing finer can be seen in it
    near = abs(impl.predict_collapse - 0.25) <= 0.025
    say = f"you said {impl.predict_collapse}: at c = 1, where is your loss of the sum equal to the"
    require(near, f"{say} least of the other two?")


def test_predict_dimensions__is_what_happens(impl, ref):
    """When most of six pairs collapse."""
    say = "look at the column c = 1 of the table"
    same_prediction(impl.predict_dimensions, ref.predict_dimensions, say)
