"""3.2.2: what is right, on small random tensors."""

import html
import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from utils.testing import (
    assert_raises,
    assert_same,
    binomial_bounds,
    generator,
    require,
    unchanged,
)

BOS = 7


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


def some_mask(g, row, pos, share=0.7):
    """A mask that is neither all true nor all false, and differs between rows."""
    mask = torch.rand(row, pos, generator=g, device=g.device) < share
    mask[0, 0], mask[-1, -1] = True, False
    return mask


# ------------------------------------------------------------------------------ a1. count_active


def test_count_active__by_hand(impl, device):
    """Two rows of two tokens, one of them padding that must not count"""
    f = torch.tensor(
        [[[1.0, 0.0, 2.0], [-0.5, 0.0, 0.0]], [[0.0, 0.0, 3.0], [9.0, 9.0, 9.0]]], device=device
    )
    mask = torch.tensor([[True, True], [True, False]], device=device)
    times, n = impl.count_active(f, mask)
    assert_same(times, torch.tensor([2, 0, 2], device=device), "latent")
    require(n == 3, f"there are 3 tokens in the mask, not {n}")


def test_count_active__of_two_batches_add_up(impl, seed, device):
    """Counted in two unequal parts and added, or all at once: the same"""
    g = generator(seed, device)
    f, mask = sparse(g, 5, 4, 6), some_mask(g, 5, 4)
    times, n = impl.count_active(f, mask)
    (t1, n1), (t2, n2) = (impl.count_active(f[s], mask[s]) for s in (slice(1), slice(1, 5)))
    assert_same(t1 + t2, times, "latent")
    require(n1 + n2 == n, f"{n1} and {n2} tokens are not {n}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(3, 5, 4), (1, 7, 2), (4, 4, 4)])
def test_count_active__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes and masks; the inputs stay as they are"""
    g = generator(seed + 1, device)
    f, mask = sparse(g, *size, dtype=dtype), some_mask(g, *size[:2])
    f = f * normal(g, *size, dtype=dtype).sign()  # active means different from 0
    with unchanged(f, mask):
        mine = impl.count_active(f, mask)
    theirs = ref.count_active(f, mask)
    assert_same(mine[0], theirs[0], "latent")
    require(int(mine[1]) == theirs[1], f"the number of tokens is {mine[1]}, not {theirs[1]}")


# ----------------------------------------------------------------------------- a2. log_densities


def test_log_densities__by_hand(impl, device):
    """Active on 10, 0, 1 and 100 of 1,000 tokens"""
    logs, dead = impl.log_densities(torch.tensor([10, 0, 1, 100], device=device), 1000)
    assert_same(logs, torch.tensor([-2.0, -3.0, -1.0], device=device), "chosen", 1e-5, 1e-5)
    require(dead == 1, f"one latent is dead, not {dead}")


def test_log_densities__are_finite_and_none_is_lost(impl, seed, device):
    """No infinity, nothing above 0, and live and dead latents together are all"""
    g = generator(seed, device)
    times = whole(g, 4, 60)
    logs, dead = impl.log_densities(times, 3)
    require(bool(logs.isfinite().all()), "a logarithm is infinite: where does log 0 come from?")
    require(len(logs) + dead == 60, f"{len(logs)} live and {dead} dead latents are not 60")
    require(float(logs.max()) <= 1e-6, "a density is above 1")


@pytest.mark.parametrize("n", [1, 9, 40])
def test_log_densities__agree_with_the_worked_ones(impl, ref, seed, device, n):
    """Other numbers of latents, in the latents' order"""
    times = whole(generator(seed + 1, device), 5, n) * 7
    times[0] = 3
    mine, theirs = impl.log_densities(times, 1234), ref.log_densities(times, 1234)
    assert_same(mine[0], theirs[0], "chosen", 1e-5, 1e-5)
    require(int(mine[1]) == theirs[1], f"{mine[1]} dead latents, not {theirs[1]}")


# ---------------------------------------------------------------------- a3. activation_histogram


def test_activation_histogram__by_hand(impl, device):
    """Values on the edges, two zeros, and the largest one in the last interval"""
    acts = torch.tensor([0.0, 1.0, 4.0, 2.0, 0.5, 0.0, 3.5, 4.0], device=device)
    counts, edges = impl.activation_histogram(acts, 4)
    assert_same(counts, torch.tensor([1, 1, 1, 3], device=device), "bin")
    assert_same(edges, torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], device=device), "edge", 1e-5, 1e-6)


def test_activation_histogram__loses_nothing(impl, seed, device):
    """All positive activations are in some interval, and no 0 is"""
    g = generator(seed, device)
    for n_bins in (1, 3, 10):
        acts = sparse(g, 50)
        counts, edges = impl.activation_histogram(acts, n_bins)
        require(counts.shape == (n_bins,), f"the counts have shape {tuple(counts.shape)}")
        n = int((acts > 0).sum())
        require(int(counts.sum()) == n, f"{int(counts.sum())} of {n} positive activations")
        assert_same(edges[-1], acts.max(), "", 1e-5, 1e-6, what="the last edge")


def test_activation_histogram__does_not_depend_on_the_unit(impl, seed, device):
    """Activations four times as large give the same counts and edges four times as large"""
    acts = sparse(generator(seed + 1, device), 60)
    one, four = impl.activation_histogram(acts, 6), impl.activation_histogram(4 * acts, 6)
    assert_same(four[0], one[0], "bin")
    assert_same(four[1], 4 * one[1], "edge", 1e-5, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_bins", [2, 7])
def test_activation_histogram__agrees_with_the_worked_one(impl, ref, seed, device, n_bins, dtype):
    """Other numbers of intervals"""
    acts = sparse(generator(seed + 2, device), 90, dtype=dtype)
    with unchanged(acts):
        mine = impl.activation_histogram(acts, n_bins)
    theirs = ref.activation_histogram(acts, n_bins)
    assert_same(list(mine), list(theirs), ("bin", "edge"), 1e-5, 1e-6)


# --------------------------------------------------------------------------------- b1. merge_top


def start(latent, n, device, dtype=torch.float32):
    """Nothing found so far."""
    values = torch.zeros(latent, n, device=device, dtype=dtype)
    return values, torch.full((latent, n), -1, device=device)


def test_merge_top__by_hand(impl, device):
    """A new one comes between two old ones; a latent with too few keeps empty slots"""
    values = torch.tensor([[5.0, 2.0], [0.0, 0.0]], device=device)
    places = torch.tensor([[8, 3], [-1, -1]], device=device)
    f = torch.tensor([[3.0, 0.0], [1.0, 0.5], [2.0, 0.0]], device=device)
    values, places = impl.merge_top(values, places, f, 10)
    assert_same(values, torch.tensor([[5.0, 3.0], [0.5, 0.0]], device=device), "latent n")
    assert_same(places, torch.tensor([[8, 10], [11, -1]], device=device), "latent n")


def test_merge_top__of_batches_is_the_top_of_everything(impl, seed, device):
    """Batch by batch, in parts of unequal size: the same as sorting all at once"""
    g = generator(seed, device)
    f = sparse(g, 30, 4)
    found, first = start(4, 5, device), 0
    for size in (2, 13, 1, 14):
        found = impl.merge_top(*found, f[first : first + size], first)
        first += size
    values, places = f.sort(dim=0, descending=True, stable=True)
    assert_same(found[0], values[:5].T.contiguous(), "latent n")
    want = places[:5].T.masked_fill(values[:5].T == 0, -1)
    assert_same(found[1], want, "latent n")


def test_merge_top__keeps_the_earlier_of_two_equal_ones(impl, device):
    """Equal activations: the earlier place first, whether in this batch or before"""
    values, places = torch.tensor([[2.0, 1.0, 1.0]], device=device), torch.tensor(
        [[4, 0, 2]], device=device
    )  # fmt: skip
    f = torch.tensor([[2.0], [2.0], [1.0]], device=device)
    values, places = impl.merge_top(values, places, f, 5)
    assert_same(values, torch.tensor([[2.0, 2.0, 2.0]], device=device), "latent n")
    assert_same(places, torch.tensor([[4, 5, 6]], device=device), "latent n")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(3, 4, 6), (5, 1, 2), (2, 7, 3)])
def test_merge_top__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes, negative numbers among them, from a start that is half empty"""
    latent, n, token = size
    g = generator(seed + 1, device)
    begin = ref.merge_top(*start(latent, n, device, dtype), sparse(g, 4, latent, dtype=dtype), 0)
    f = normal(g, token, latent, dtype=dtype)
    with unchanged(*begin, f):
        mine = impl.merge_top(*begin, f, 4)
    assert_same(list(mine), list(ref.merge_top(*begin, f, 4)), ("latent n", "latent n"))


# ---------------------------------------------------------------------------- b2. context_window

PACKED = [BOS, 1, 2, 3, BOS, 4, 5, 6, 8, 9, BOS, 3, 3, 0, 0]  # three documents, then padding


@pytest.mark.parametrize(
    ("at", "before", "after", "want"),
    [
        (7, 1, 1, (6, 9)), (7, 5, 0, (5, 8)), (7, 0, 5, (7, 10)), (2, 9, 9, (1, 4)),
        (5, 3, 1, (5, 7)), (12, 4, 4, (11, 13)), (9, 2, 3, (7, 10)), (8, 0, 0, (8, 9)),
    ],
)  # fmt: skip
def test_context_window__by_hand(impl, device, at, before, after, want):
    """A packed row of three documents with padding at its end"""
    ids = torch.tensor(PACKED, device=device)
    mask = torch.arange(15, device=device) < 13
    got = tuple(int(v) for v in impl.context_window(ids, mask, BOS, at, before, after))
    says = f"for position {at} with {before} before and {after} after it is {got}, not {want}"
    require(got == want, says)


def test_context_window__is_cut_at_the_ends_of_the_row(impl, device):
    """A row with no BOS and no padding: the window ends where the row ends"""
    ids, mask = torch.arange(10, 16, device=device), torch.ones(6, dtype=torch.bool, device=device)
    for at, want in ((0, (0, 4)), (5, (1, 6)), (3, (0, 6))):
        got = tuple(int(v) for v in impl.context_window(ids, mask, BOS, at, 4, 3))
        require(got == want, f"for position {at} it is {got}, not {want}")


def test_context_window__holds_text_only_and_cannot_be_longer(impl, seed, device):
    """Inside is no BOS and no padding; one token further out is one, or the window is full"""
    g = generator(seed, device)
    ids = whole(g, 10, 40)
    mask = torch.arange(40, device=device) < 36
    for at in ((ids != BOS) & mask).nonzero()[:, 0].tolist():
        a, b = (int(v) for v in impl.context_window(ids, mask, BOS, at, 4, 6))
        require(a <= at < b, f"position {at} is not in its window ({a}, {b})")
        text = (ids[a:b] != BOS) & mask[a:b]
        require(text.all(), f"the window ({a}, {b}) around {at} holds a BOS or padding")
        left = a == at - 4 or a == 0 or int(ids[a - 1]) == BOS
        right = b == at + 7 or b == 40 or int(ids[b]) == BOS or not mask[b]
        require(left and right, f"the window ({a}, {b}) around {at} could be longer")


def test_context_window__agrees_with_the_worked_one(impl, ref, seed, device):
    """Other rows, with padding and another BOS in the middle"""
    g = generator(seed + 1, device)
    for bos in (3, 5):
        ids, mask = whole(g, 12, 25), some_mask(g, 1, 25, 0.8)[0]
        for at in ((ids != bos) & mask).nonzero()[:, 0].tolist():
            mine = tuple(int(v) for v in impl.context_window(ids, mask, bos, at, 7, 3))
            theirs = ref.context_window(ids, mask, bos, at, 7, 3)
            require(mine == theirs, f"for position {at}: {mine}, not {theirs}")


# -------------------------------------------------------------------------------- b3. spread_out


def test_spread_out__by_hand(impl, device):
    """One that was left out pushes nobody out; another row is far; `distance` is far enough"""
    row = torch.tensor([0, 0, 0, 1, 0, 0], device=device)
    pos = torch.tensor([10, 12, 14, 11, 13, 5], device=device)
    want = torch.tensor([0, 3, 4, 5], device=device)
    assert_same(impl.spread_out(row, pos, 3), torch.tensor([0, 2, 3, 5], device=device), "chosen")
    assert_same(impl.spread_out(row, pos[[0, 1, 1, 3, 4, 5]], 3), want, "chosen")


def test_spread_out__keeps_what_is_far_and_leaves_out_what_is_near(impl, seed, device):
    """No two kept ones are near; each one left out is near to a stronger kept one"""
    g = generator(seed, device)
    row, pos = whole(g, 3, 40), whole(g, 60, 40)
    kept = impl.spread_out(row, pos, 8).tolist()
    require(kept == sorted(kept), "the kept examples are not in the given order")
    for i in range(40):
        near = [j for j in kept if j < i and row[j] == row[i] and abs(int(pos[j] - pos[i])) < 8]
        require((i in kept) == (not near), f"example {i}: near kept ones are {near}")


@pytest.mark.parametrize("n", [0, 1, 25])
@pytest.mark.parametrize("distance", [1, 4, 100])
def test_spread_out__agrees_with_the_worked_one(impl, ref, seed, device, n, distance):
    """Other numbers of examples, none among them"""
    g = generator(seed + 1, device)
    row, pos = whole(g, 4, n), whole(g, 30, n)
    with unchanged(row, pos):
        mine = impl.spread_out(row, pos, distance)
    assert_same(mine, ref.spread_out(row, pos, distance), "chosen")


# ---------------------------------------------------------------------------- c1. quantile_edges


def test_quantile_edges__by_hand(impl, device):
    """Positive activations 1, 2, 3, 4, 5 and some zeros, in two and in four intervals"""
    acts = torch.tensor([0.0, 4.0, 1.0, 0.0, 5.0, 2.0, 3.0, 0.0], device=device)
    two, four = impl.quantile_edges(acts, 2), impl.quantile_edges(acts, 4)
    assert_same(two, torch.tensor([1.0, 3.0, 5.0], device=device), "edge")
    assert_same(four, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], device=device), "edge")


def test_quantile_edges__put_equally_many_into_each_interval(impl, seed, device):
    """60 positive activations in 4 intervals: 15 in each"""
    g = generator(seed, device)
    acts = torch.cat([normal(g, 60).exp(), torch.zeros(30, device=device)])
    edges = impl.quantile_edges(acts, 4)
    require(edges.shape == (5,), f"4 intervals have 5 edges, not {tuple(edges.shape)}")
    inside = [int(((acts > 0) & (acts >= a) & (acts < b)).sum()) for a, b in pairwise(edges)]
    inside[-1] += 1  # the largest one is on the last edge
    require(inside == [15, 15, 15, 15], f"there are {inside} activations in the intervals")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 3, 10])
def test_quantile_edges__agree_with_the_worked_ones(impl, ref, seed, device, n, dtype):
    """Other numbers of intervals, both dtypes"""
    acts = sparse(generator(seed + 1, device), 41, dtype=dtype)
    with unchanged(acts):
        mine = impl.quantile_edges(acts, n)
    assert_same(mine, ref.quantile_edges(acts, n), "edge", 1e-5, 1e-6)


# -------------------------------------------------------------------------- c2. sample_intervals


def as_sets(found):
    """The drawn places as Python lists."""
    return [sorted(int(i) for i in part) for part in found]


def test_sample_intervals__by_hand(impl, device):
    """All that are in it: lower edges inside, upper ones not, the last interval has both"""
    acts = torch.tensor([0.0, 1.0, 2.0, 4.0, 3.0, 0.0, 0.5, 2.0], device=device)
    edges = torch.tensor([0.0, 1.0, 2.0, 4.0], device=device)
    found = as_sets(impl.sample_intervals(acts, edges, 9, generator(0, device)))
    require(found == [[6], [1], [2, 3, 4, 7]], f"the places are {found}")
    edges = torch.tensor([0.5, 3.0], device=device)
    found = as_sets(impl.sample_intervals(acts, edges, 9, generator(0, device)))
    require(found == [[1, 2, 4, 6, 7]], f"with edges 0.5 and 3 the places are {found}")


def test_sample_intervals__draws_without_replacement_from_the_interval(impl, seed, device):
    """As many as asked for, or all there are; none twice; each in its interval"""
    g = generator(seed, device)
    acts = sparse(g, 80)
    edges = torch.tensor([0.0, 0.4, 1.0, 1.5, 9.0], device=device)
    for n_each in (1, 5, 30):
        found = impl.sample_intervals(acts, edges, n_each, g)
        require(len(found) == 4, f"there are {len(found)} lists for 4 intervals")
        for i, part in enumerate(as_sets(found)):
            there = ((acts > 0) & (acts >= edges[i]) & (acts < edges[i + 1])).nonzero()[:, 0]
            size = min(n_each, len(there))
            require(len(part) == size, f"interval {i} has {len(part)} places, not {size}")
            require(len(set(part)) == len(part), f"interval {i} has a place twice")
            require(set(part) <= set(there.tolist()), f"interval {i} has a place from outside")


def test_sample_intervals__draws_each_place_equally_often(impl, seed, device):
    """Each of ten places is drawn about as often as the others"""
    acts = torch.tensor([1.0, 2.0] * 10 + [0.0] * 5, device=device)
    edges = torch.tensor([0.0, 1.5, 2.0], device=device)
    g, n = generator(seed + 1, device), 300
    times = torch.zeros(25, dtype=torch.int64)
    for _ in range(n):
        for part in impl.sample_intervals(acts, edges, 3, g):
            times[part.cpu()] += 1
    low, high = binomial_bounds(n, 0.3, 1e-7)
    worst = times[:20]
    says = f"a place is drawn {int(worst.min())} to {int(worst.max())} times, expected near 90"
    require(low <= int(worst.min()) and int(worst.max()) <= high, says)


def test_sample_intervals__depends_on_the_generator_alone(impl, ref, seed, device):
    """The same generator gives the same places, another one gives others"""
    g = generator(seed + 2, device)
    acts = sparse(g, 200)
    edges = torch.tensor([0.0, 0.7, 5.0], device=device)
    with unchanged(acts, edges):
        draws = [
            as_sets(impl.sample_intervals(acts, edges, 10, generator(seed + s, device)))
            for s in (3, 3, 4)
        ]
    require(draws[0] == draws[1], "the same generator draws other places: is `gen` used?")
    require(draws[0] != draws[2], "another generator draws the same places")
    sizes = [len(p) for p in ref.sample_intervals(acts, edges, 10, generator(seed, device))]
    require([len(p) for p in draws[0]] == sizes, f"the lists should have lengths {sizes}")


# ------------------------------------------------------------------------ c3. share_of_favourite


@pytest.mark.parametrize(
    ("top", "other", "want"),
    [
        ([5, 5, 9], [5, 9, 9, 9], 0.25), ([3], [3, 3], 1.0), ([2, 2, 7], [7, 7, 7], 0.0),
        ([9, 4, 9, 4, 1], [9, 4, 4, 4, 1], 0.6), ([8, 6], [8, 6, 6], 2 / 3),
        ([7, 3, 3, 7], [7, 7, 3, 1, 7], 0.2), ([1, 1, 2, 2, 2], [2, 1], 0.5),
    ],
)  # fmt: skip
def test_share_of_favourite__by_hand(impl, device, top, other, want):
    """One favourite, and several: then the smallest id counts"""
    got = impl.share_of_favourite(*(torch.tensor(v, device=device) for v in (top, other)))
    assert_same(got, want)


def test_share_of_favourite__is_not_defined_for_no_examples(impl, device):
    """NaN where there are no other examples"""
    top, none = torch.tensor([1, 2, 2], device=device), torch.tensor([], device=device).long()
    got = impl.share_of_favourite(top, none)
    require(isinstance(got, float) and math.isnan(got), f"it is {got}, not NaN")


@pytest.mark.parametrize("n", [1, 6, 30])
def test_share_of_favourite__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Other numbers of examples; the order of either list does not matter"""
    g = generator(seed + 1, device)
    for _ in range(8):
        top, other = whole(g, 5, n), whole(g, 5, 17)
        want = ref.share_of_favourite(top, other)
        with unchanged(top, other):
            assert_same(impl.share_of_favourite(top, other), want)
        assert_same(impl.share_of_favourite(top.flip(0), other.flip(0)), want)


# ----------------------------------------------------------------------------- d1. logit_weights


def test_logit_weights__by_hand(impl, device):
    """Two dimensions, three tokens"""
    W_U = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 5.0]], device=device)
    gain = torch.tensor([2.0, 3.0], device=device)
    # (1 · 2, -1 · 3) W_U = (2, -3, -11), with mean -4
    got = impl.logit_weights(torch.tensor([1.0, -1.0], device=device), gain, W_U)
    assert_same(got, torch.tensor([6.0, 1.0, -7.0], device=device), "vocab", 1e-5, 1e-5)


def test_logit_weights__are_what_one_unit_does_to_the_log_probabilities(impl, seed, device):
    """Adding the row to a stream with a frozen norm changes each logit by its weight, up to a
    constant"""
    g = generator(seed, device)
    write, gain, W_U, resid = normal(g, 5), normal(g, 5), normal(g, 5, 9), normal(g, 5)
    change = ((resid + write) * gain) @ W_U - (resid * gain) @ W_U
    got = impl.logit_weights(write, gain, W_U)
    assert_same(got, change - change.mean(), "vocab", 1e-4, 1e-4)
    require(abs(float(got.sum())) < 1e-3, "the weights of all tokens do not sum to 0")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lead", [(), (3,), (2, 4)])
def test_logit_weights__agree_with_the_worked_ones(impl, ref, seed, device, lead, dtype):
    """One row, several, other sizes"""
    g = generator(seed + 1, device)
    args = (
        normal(g, *lead, 6, dtype=dtype),
        normal(g, 6, dtype=dtype),
        normal(g, 6, 11, dtype=dtype),
    )
    with unchanged(*args):
        mine = impl.logit_weights(*args)
    assert_same(mine, ref.logit_weights(*args), rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------- d2. tail_shape


def test_tail_shape__by_hand(impl, device):
    """A fair coin has skewness 0 and excess kurtosis -2; one token in five has 1.5 and 0.25"""
    coin = torch.tensor([1.0, -1.0, 1.0, -1.0], device=device)
    one = torch.tensor([10.0, 0.0, 0.0, 0.0, 0.0], device=device)
    for weights, want in ((coin, (0.0, -2.0)), (one, (1.5, 0.25))):
        got = impl.tail_shape(weights)
        for value, number, name in zip(got, want, ("skewness", "kurtosis"), strict=True):
            assert_same(value, torch.tensor(number, device=device), "", 1e-4, 1e-5, what=name)


def test_tail_shape__does_not_depend_on_shift_and_scale_and_turns_with_the_sign(impl, seed, device):
    """A constant added or a positive factor changes nothing; the negative has the other skewness"""
    w = normal(generator(seed, device), 4, 30).exp()
    skew, excess = impl.tail_shape(w)
    for other, sign in ((3 * w + 5, 1), (-2 * w, -1)):
        got = impl.tail_shape(other)
        assert_same(got[0], sign * skew, "batch", 1e-3, 1e-3, what="the skewness")
        assert_same(got[1], excess, "batch", 1e-3, 1e-3, what="the excess kurtosis")


def test_tail_shape__is_what_scipy_says(impl, seed, device):
    """scipy's skew and kurtosis of the same numbers"""
    w = normal(generator(seed + 1, device), 3, 25, dtype=torch.float64).exp()
    want = [torch.from_numpy(f(w.cpu().numpy(), axis=1)).to(device) for f in (
        stats.skew, stats.kurtosis
    )]  # fmt: skip
    assert_same(list(impl.tail_shape(w)), want, ("batch", "batch"), 1e-5, 1e-6)


@pytest.mark.parametrize("size", [(7,), (2, 12), (3, 1, 40)])
def test_tail_shape__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes"""
    w = normal(generator(seed + 2, device), *size)
    with unchanged(w):
        mine = impl.tail_shape(w)
    assert_same(list(mine), list(ref.tail_shape(w)), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------ e1. direct_loss_effect


def direct_args(g, item, d_model, vocab, dtype=torch.float32):
    """logits, write, scale, target, gain, W_U."""
    return (
        normal(g, item, vocab, dtype=dtype), normal(g, item, d_model, dtype=dtype),
        0.5 + normal(g, item, dtype=dtype).abs(), whole(g, vocab, item),
        normal(g, d_model, dtype=dtype), normal(g, d_model, vocab, dtype=dtype),
    )  # fmt: skip


def test_direct_loss_effect__by_hand(impl, device):
    """Two tokens at equal odds; the latent had raised one by log 3"""
    logits = torch.zeros(2, 2, device=device)
    write = torch.tensor([[math.log(3.0)], [math.log(3.0)]], device=device)
    scale, gain = torch.tensor([2.0, 2.0], device=device), torch.tensor([2.0], device=device)
    W_U = torch.tensor([[1.0, 0.0]], device=device)
    # without it the odds are 1 : 3, so p goes from 1/2 to 1/4, and to 3/4 for the other token
    got = impl.direct_loss_effect(
        logits, write, scale, torch.tensor([0, 1], device=device), gain, W_U
    )
    want = torch.tensor([math.log(2.0), math.log(2.0 / 3.0)], device=device)
    assert_same(got, want, "item", 1e-4, 1e-5)


def test_direct_loss_effect__is_exact_for_a_linear_read_out(impl, seed, device):
    """Where the norm does nothing but divide by `scale`, it is the change of the real loss"""
    g = generator(seed, device)
    _, write, scale, target, gain, W_U = direct_args(g, 6, 4, 9)
    resid = normal(g, 6, 4)

    def nats(x):
        return nn.functional.cross_entropy(
            (x / scale[:, None] * gain) @ W_U, target, reduction="none"
        )

    logits = (resid / scale[:, None] * gain) @ W_U
    got = impl.direct_loss_effect(logits, write, scale, target, gain, W_U)
    assert_same(got, nats(resid - write) - nats(resid), "item", 1e-3, 1e-4)


def test_direct_loss_effect__of_nothing_is_zero_and_constants_do_not_count(impl, seed, device):
    """Removing nothing changes nothing; a constant on all logits of an example changes nothing"""
    g = generator(seed + 1, device)
    logits, write, *others = direct_args(g, 5, 3, 7)
    zero = impl.direct_loss_effect(logits, 0 * write, *others)
    assert_same(zero, torch.zeros(5, device=device), "item", 1e-5, 1e-5)
    one = impl.direct_loss_effect(logits, write, *others)
    shifted = impl.direct_loss_effect(logits + normal(g, 5, 1), write, *others)
    assert_same(shifted, one, "item", 1e-3, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(4, 3, 7), (1, 5, 6), (6, 6, 6)])
def test_direct_loss_effect__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes, as many examples as dimensions among them"""
    args = direct_args(generator(seed + 2, device), *size, dtype)
    with unchanged(*args):
        mine = impl.direct_loss_effect(*args)
    assert_same(mine, ref.direct_loss_effect(*args), "item", 1e-3, 1e-4)


# -------------------------------------------------------------------------- e2. full_loss_effect


def reader(g, d_model, vocab, dtype=torch.float32):
    """A small rest of a model: positions see each other, and a norm divides by the length."""
    mix, W = normal(g, d_model, d_model, dtype=dtype), normal(g, d_model, vocab, dtype=dtype)

    def rest(x):
        y = x + (x.mean(dim=1, keepdim=True) @ mix).tanh()
        return (y / y.norm(dim=-1, keepdim=True)) @ W

    return rest


def test_full_loss_effect__by_hand(impl, device):
    """The logits are the stream itself: removing log 3 from one of two equal logits"""
    resid = torch.zeros(2, 3, 2, device=device)
    write = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(3.0)]], device=device)
    at, target = torch.tensor([1, 2], device=device), torch.tensor([0, 0], device=device)
    got = impl.full_loss_effect(resid, write, at, target, lambda x: x)
    want = torch.tensor([math.log(2.0), math.log(2.0 / 3.0)], device=device)
    assert_same(got, want, "row", 1e-4, 1e-5)


def test_full_loss_effect__is_the_direct_one_for_a_linear_rest(impl, seed, device):
    """If the rest is a linear read-out, only the logits at `at` change, by write W"""
    g = generator(seed, device)
    resid, write, W = normal(g, 4, 5, 3), normal(g, 4, 3), normal(g, 3, 8)
    at, target = whole(g, 5, 4), whole(g, 8, 4)
    rows = torch.arange(4, device=device)
    logits = (resid @ W)[rows, at]
    nats = [nn.functional.cross_entropy(v, target, reduction="none") for v in (
        logits - write @ W, logits
    )]  # fmt: skip
    got = impl.full_loss_effect(resid, write, at, target, lambda x: x @ W)
    assert_same(got, nats[0] - nats[1], "row", 1e-3, 1e-4)


def test_full_loss_effect__removes_it_at_one_position_of_each_row(impl, seed, device):
    """Where all positions see each other it counts where it is removed; `resid` stays as it is"""
    g = generator(seed + 1, device)
    resid, write, at = normal(g, 3, 6, 4), normal(g, 3, 4), torch.tensor([5, 0, 2], device=device)
    target, rest = torch.tensor([0, 1, 3], device=device), reader(g, 4, 7)
    with unchanged(resid, write):
        got = impl.full_loss_effect(resid, write, at, target, rest)
    for row in range(3):
        cut = resid.clone()
        cut[row, at[row]] = cut[row, at[row]] - write[row]
        log_p = [rest(x)[row, at[row]].log_softmax(dim=-1)[target[row]] for x in (resid, cut)]
        assert_same(got[row], log_p[0] - log_p[1], "", 1e-3, 1e-4, what=f"the effect in row {row}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(3, 5, 4, 7), (1, 6, 2, 5), (4, 4, 4, 4)])
def test_full_loss_effect__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """A rest in which positions see each other; other sizes"""
    row, pos, d_model, vocab = size
    g = generator(seed + 2, device)
    args = (
        normal(g, row, pos, d_model, dtype=dtype), normal(g, row, d_model, dtype=dtype),
        whole(g, pos, row), whole(g, vocab, row), reader(g, d_model, vocab, dtype),
    )  # fmt: skip
    assert_same(impl.full_loss_effect(*args), ref.full_loss_effect(*args), "row", 1e-3, 1e-4)


# --------------------------------------------------------------------------------- f1. pair_sums

SUMS = {"n", "x", "y", "xx", "yy", "xy"}


def test_pair_sums__by_hand(impl, device):
    """Two tokens, one latent, two neurons"""
    x = torch.tensor([[1.0], [3.0]], device=device)
    y = torch.tensor([[2.0, 0.0], [1.0, 5.0]], device=device)
    got = impl.pair_sums(x, y)
    require(set(got) == SUMS, f"the keys are {sorted(got)}, not {sorted(SUMS)}")
    want = {"n": 2, "x": [4], "y": [3, 5], "xx": [10], "yy": [5, 25], "xy": [[5, 15]]}
    for name, value in want.items():
        right = torch.tensor(value, dtype=torch.float64, device=device)
        assert_same(got[name], right, what=name)


def test_pair_sums__of_two_batches_add_up(impl, seed, device):
    """Added over two unequal batches, or all at once: the same"""
    g = generator(seed, device)
    x, y = normal(g, 9, 3), normal(g, 9, 4)
    a, b, both = (impl.pair_sums(x[s], y[s]) for s in (slice(2), slice(2, 9), slice(9)))
    for name in SUMS:
        assert_same(a[name] + b[name], both[name], what=name)


def test_pair_sums__are_exact_where_float32_is_not(impl, device):
    """Two huge numbers that cancel, and a 3 between them: in float32 the 3 is lost"""
    x = torch.tensor([[1e10], [3.0], [-1e10]], device=device)
    got = impl.pair_sums(x, torch.ones_like(x))
    three = torch.tensor([3.0], dtype=torch.float64, device=device)
    assert_same(got["x"], three, "latent", 1e-6, 1e-6, what="x")
    assert_same(got["xy"], three[:, None], "latent hidden", 1e-6, 1e-6, what="xy")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(6, 2, 5), (1, 4, 3), (5, 5, 5)])
def test_pair_sums__agree_with_the_worked_ones(impl, ref, seed, device, size, dtype):
    """Other sizes"""
    g = generator(seed + 1, device)
    token, latent, hidden = size
    x, y = normal(g, token, latent, dtype=dtype), normal(g, token, hidden, dtype=dtype)
    with unchanged(x, y):
        mine = impl.pair_sums(x, y)
    for name, value in ref.pair_sums(x, y).items():
        assert_same(mine[name], value, what=name)


# ----------------------------------------------------------------------------------- f2. pearson


def sums_of(x, y):
    """The sums that `pair_sums` should give."""
    x, y = x.double(), y.double()
    return {
        "n": x.new_tensor(len(x)), "x": x.sum(0), "y": y.sum(0), "xy": x.T @ y,
        "xx": x.square().sum(0), "yy": y.square().sum(0),
    }  # fmt: skip


def test_pearson__is_what_numpy_says(impl, seed, device):
    """numpy.corrcoef on all data, with means that are far from 0"""
    g = generator(seed, device)
    x = 3 + normal(g, 40, 3)
    y = torch.cat([x[:, :2] + normal(g, 40, 2), normal(g, 40, 3) - 5], dim=1)
    want = np.corrcoef(x.double().cpu().numpy().T, y.double().cpu().numpy().T)[:3, 3:]
    got = impl.pearson(sums_of(x, y))
    assert_same(got, torch.from_numpy(want).to(device), "latent hidden", 1e-6, 1e-8)


def test_pearson__by_hand(impl, device):
    """1 with itself, -1 with its negative, 0 with something unrelated"""
    x = torch.tensor([[0.0], [1.0], [0.0], [1.0]], device=device)
    y = torch.cat([2 * x + 7, -x, torch.tensor([[1.0], [1.0], [0.0], [0.0]], device=device)], dim=1)
    want = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64, device=device)
    assert_same(impl.pearson(sums_of(x, y)), want, "latent hidden", 1e-6, 1e-8)


def test_pearson__is_zero_where_one_is_constant(impl, seed, device):
    """A latent that is always 0, or always 0.1, has correlation 0 with everything"""
    g = generator(seed + 1, device)
    x, y = (normal(g, 37, n, dtype=torch.float64) for n in (3, 9))
    always = torch.arange(1, 8, device=device, dtype=torch.float64) * 0.1
    x[:, 1], y[:, :7] = 0.0, always
    got = impl.pearson(sums_of(x, y))
    zero = torch.zeros(3, 9, dtype=torch.bool, device=device)
    zero[1], zero[:, :7] = True, True
    require(bool(got.isfinite().all()), "a correlation is not finite: what was divided by 0?")
    require(bool((got[zero] == 0).all()), "a constant has a correlation that is not 0")
    require(bool((got[~zero] != 0).all()), "the others have lost their correlation")


@pytest.mark.parametrize("size", [(20, 3, 5), (7, 6, 2), (5, 4, 4)])
def test_pearson__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes and small scales"""
    token, latent, hidden = size
    g = generator(seed + 2, device)
    sums = sums_of(1e-7 * sparse(g, token, latent), 2 + normal(g, token, hidden))
    with unchanged(*sums.values()):
        mine = impl.pearson(sums)
    assert_same(mine, ref.pearson(sums), "latent hidden", 1e-6, 1e-8)


# ------------------------------------------------------------------------- f3. cosine_neighbours


def test_cosine_neighbours__by_hand(impl, device):
    """Length does not matter, and the opposite direction is the furthest"""
    W = torch.tensor([[1.0, 0.0], [5.0, 5.0], [-1.0, 0.0], [4.0, 3.0]], device=device)
    numbers, cosines = impl.cosine_neighbours(W, 0, 3)
    assert_same(numbers, torch.tensor([3, 1, 2], device=device), "chosen")
    want = torch.tensor([0.8, math.sqrt(0.5), -1.0], device=device)
    assert_same(cosines, want, "chosen", 1e-4, 1e-5)


def test_cosine_neighbours__leave_out_the_latent_and_not_its_twin(impl, seed, device):
    """A latent with the same row is the nearest; the latent itself is never there"""
    W = normal(generator(seed, device), 9, 5)
    W[2] = 3 * W[6]
    for number, twin in ((2, 6), (6, 2)):
        numbers, cosines = impl.cosine_neighbours(W, number, 8)
        require(number not in numbers.tolist(), f"latent {number} is its own neighbour")
        require(int(numbers[0]) == twin, f"the nearest is {int(numbers[0])}, not {twin}")
        require(abs(float(cosines[0]) - 1) < 1e-4, "twins have cosine 1")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(7, 3, 2), (12, 20, 11), (6, 6, 1)])
def test_cosine_neighbours__agree_with_the_worked_ones(impl, ref, seed, device, size, dtype):
    """Other sizes; rows of different lengths"""
    latent, d_model, n = size
    g = generator(seed + 1, device)
    W = normal(g, latent, d_model, dtype=dtype) * normal(g, latent, 1, dtype=dtype).exp()
    with unchanged(W):
        mine = impl.cosine_neighbours(W, 4, n)
    assert_same(list(mine), list(ref.cosine_neighbours(W, 4, n)), ("chosen", "chosen"), 1e-4, 1e-5)


# ------------------------------------------------------------------------------- g1. token_table


def test_token_table__by_hand(impl, device):
    """Six tokens, of which the latent fires on three"""
    tokens = torch.tensor([2, 0, 2, 3, 2, 0], device=device)
    fires = torch.tensor([True, False, True, True, False, False], device=device)
    both, of_token = impl.token_table(tokens, fires, 6)
    assert_same(both, torch.tensor([0, 0, 2, 1, 0, 0], device=device), "vocab")
    assert_same(of_token, torch.tensor([2, 0, 3, 1, 0, 0], device=device), "vocab")


def test_token_table__adds_up(impl, seed, device):
    """Firing and silent tokens together are all; the sums are the numbers of tokens"""
    g = generator(seed, device)
    tokens, fires = whole(g, 8, 50), normal(g, 50) > 0.5
    both, of_token = impl.token_table(tokens, fires, 10)
    silent, _ = impl.token_table(tokens, ~fires, 10)
    assert_same(both + silent, of_token, "vocab")
    require(int(both.sum()) == int(fires.sum()), "the counts do not sum to the active tokens")


@pytest.mark.parametrize("size", [(30, 7), (1, 3), (12, 12)])
def test_token_table__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes; a latent that never fires"""
    g = generator(seed + 1, device)
    tokens, fires = whole(g, size[1], size[0]), normal(g, size[0]) > 0
    for on in (fires, torch.zeros_like(fires)):
        with unchanged(tokens, on):
            mine = impl.token_table(tokens, on, size[1])
        assert_same(list(mine), list(ref.token_table(tokens, on, size[1])), ("vocab", "vocab"))


# ---------------------------------------------------------------------------- g2. log_p_enriched


def test_log_p_enriched__by_hand(impl):
    """Two of two black balls among three of five; and at least none, which is certain"""
    assert_same(impl.log_p_enriched(2, 2, 3, 5), math.log(0.3), rtol=1e-6)
    assert_same(impl.log_p_enriched(1, 2, 3, 5), math.log(0.9), rtol=1e-6)
    got = impl.log_p_enriched(0, 2, 3, 5)
    require(-1e-9 < got <= 0, f"at least none: log 1 = 0, not {got}")


@pytest.mark.parametrize(
    ("both", "of_token", "n_fires", "n_all"),
    [(3, 10, 20, 100), (7, 9, 50, 80), (20, 20, 30, 400), (5, 40, 6, 60), (1, 1, 9, 30000)],
)
def test_log_p_enriched__is_what_scipy_says(impl, both, of_token, n_fires, n_all):
    """scipy's hypergeometric tail"""
    want = float(stats.hypergeom.logsf(both - 1, n_all, of_token, n_fires))
    assert_same(impl.log_p_enriched(both, of_token, n_fires, n_all), want, rtol=1e-6, atol=1e-8)


def test_log_p_enriched__does_not_underflow(impl):
    """300 of 300 among 300 of 30,000: one way out of C(30000, 300)"""
    got = impl.log_p_enriched(300, 300, 300, 30000)
    want = math.lgamma(301) + math.lgamma(29701) - math.lgamma(30001)
    require(math.isfinite(got), f"the logarithm is {got}: it must not leave the log space")
    assert_same(got, want, rtol=1e-6)


def test_log_p_enriched__is_a_p_value_for_a_latent_that_fires_at_random(impl, seed):
    """Under chance, p is at most 0.1 in at most 10 % of the cases"""
    g = generator(seed)
    n, cases = 40, 400
    drawn = torch.stack([torch.randperm(n, generator=g)[:12] for _ in range(cases)])
    counts = (drawn < 15).sum(dim=1).tolist()  # 15 of 40 tokens are the one in question
    small = {k: impl.log_p_enriched(k, 15, 12, n) <= math.log(0.1) for k in set(counts)}
    hits = sum(small[k] for k in counts)
    _, most = binomial_bounds(cases, 0.1)
    require(hits <= most, f"{hits} of {cases} p-values are at most 0.1; 10 % were expected")
    require(hits > 0, "no p-value is small: are these probabilities of at least as many?")


def test_log_p_enriched__agrees_with_the_worked_one(impl, ref, seed):
    """Other tables"""
    g = generator(seed + 1)
    for _ in range(12):
        n_all = 20 + int(whole(g, 100))
        of_token, n_fires = 1 + int(whole(g, 18)), 1 + int(whole(g, 18))
        least = max(0, of_token + n_fires - n_all)
        both = least + int(whole(g, min(of_token, n_fires) - least + 1))
        args = both, of_token, n_fires, n_all
        got, want = impl.log_p_enriched(*args), ref.log_p_enriched(*args)
        assert_same(got, want, rtol=1e-6, atol=1e-8)


# ------------------------------------------------------------------------------- g3. discoveries


def logs(device, *p):
    return torch.tensor(p, device=device, dtype=torch.float64).log()


def test_discoveries__by_hand(impl, device):
    """Limits 0.02, 0.04, … 0.1: the third smallest passes and takes the second with it"""
    p = logs(device, 0.9, 0.055, 0.01, 0.05, 0.5)
    want = torch.tensor([False, True, True, True, False], device=device)
    assert_same(impl.discoveries(p, 0.1), want, "item")
    one = torch.tensor([False, False, True, False, False], device=device)
    assert_same(impl.discoveries(p, 0.06), one, "item")


def test_discoveries__may_be_none_or_all(impl, device):
    """No p-value below its limit; all of them; and one test, where the limit is the level"""
    none, every = impl.discoveries(logs(device, 0.3, 0.2), 0.05), logs(device, 0.04, 0.03, 0.01)
    require(not none.any(), "0.2 and 0.3 are no findings at the level 0.05")
    require(impl.discoveries(every, 0.05).all(), "all three are findings: the last is below 0.05")
    require(impl.discoveries(logs(device, 1.0), 1.0).all(), "p = 1 is at most the level 1")
    for p, finding in ((0.04, True), (0.06, False)):
        got = impl.discoveries(logs(device, p), 0.05)
        require(got.shape == (1,) and bool(got[0]) == finding, f"one test with p = {p}: {got}")


def test_discoveries__of_chance_are_rare(impl, seed, device):
    """Where all is chance, something is found in at most 10 % of the trials"""
    g, trials = generator(seed, device), 300
    p = torch.rand(trials, 20, generator=g, device=g.device, dtype=torch.float64)
    hits = sum(bool(impl.discoveries(row.log(), 0.1).any()) for row in p)
    low, most = binomial_bounds(trials, 0.1)
    says = f"something was found in {hits} of {trials} trials; about {trials // 10} were expected"
    require(low <= hits <= most, says)


@pytest.mark.parametrize("n", [1, 6, 40])
def test_discoveries__agree_with_the_worked_ones(impl, ref, seed, device, n):
    """Other numbers of tests, some of them with a real effect"""
    g = generator(seed + 1, device)
    for level in (0.01, 0.2, 0.5):
        p = torch.rand(n, generator=g, device=g.device, dtype=torch.float64)
        log_p = p.log() * (1 + 5 * (whole(g, 3, n) == 0))
        with unchanged(log_p):
            mine = impl.discoveries(log_p, level)
        assert_same(mine, ref.discoveries(log_p, level), "item")


# ------------------------------------------------------------------------------- h1. script_json


@pytest.mark.parametrize(
    "data",
    [
        {"token": "</script><script>alert(1)"}, ["<!--", "-->", "a & b", "&lt;"],
        "\u2028 and \u2029", {"<key>": [1, 2.5, None, True, "ü → 🙂"]}, [],
        "a \\ b \" c ' d \n e", {"a": {"b": ["\\u003c"]}},
    ],
)  # fmt: skip
def test_script_json__gives_the_data_back_and_stays_inside(impl, data):
    """Read as JSON it is the data; no character is left that could end the script or a line"""
    text = impl.script_json(data)
    require(isinstance(text, str), f"the result is {type(text).__name__}, not text")
    left = sorted(c for c in "<>&\u2028\u2029" if c in text)
    require(not left, f"these characters are left in the text: {[hex(ord(c)) for c in left]}")
    try:
        again = json.loads(text)
    except json.JSONDecodeError as error:
        again = f"no JSON ({error})"
    require(again == data, f"read again it is {again!r}, not {data!r}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_script_json__refuses_what_is_no_json(impl, value):
    """NaN and infinities raise a ValueError"""
    assert_raises(ValueError, impl.script_json, {"values": [1.0, value]})


@pytest.mark.parametrize("data", [{"a": 1, "b": "x<y"}, [1.5, "&", None], "plain"])
def test_script_json__means_what_the_worked_one_means(impl, ref, data):
    """The same data as the worked one, whatever the spaces and escapes"""
    mine, theirs = impl.script_json(data), ref.script_json(data)
    require(json.loads(mine) == json.loads(theirs), f"{mine} is not {theirs}")


# -------------------------------------------------------------------------------- h2. token_span


@pytest.mark.parametrize(
    ("token", "share", "style", "shown"),
    [
        (" more", 0.5, "0.50);border-bottom:2px", "·more"),
        ("\n", 1.0, "1.00);border-bottom:4px", "⏎"),
        ("<b>", 0.0, "0.00);border-bottom:0px", "&lt;b&gt;"),
        ("\t ", 0.2, "0.20);border-bottom:1px", "⇥·"),
        ('"&', 0.674, "0.67);border-bottom:3px", "&quot;&amp;"),
        ("a b", 0.1, "0.10);border-bottom:0px", "a·b"),
    ],
)  # fmt: skip
def test_token_span__by_hand(impl, token, share, style, shown):
    """Spaces, newlines, tabs, tags and quotes; opacity and underline"""
    want = f'<span style="background:rgba(0,158,115,{style} solid">{shown}</span>'
    got = impl.token_span(token, share)
    require(got == want, f"for {token!r} and {share} it is\n{got}\nnot\n{want}")


def test_token_span__shows_every_character(impl):
    """Without the tags and unescaped, the token is all there, and no blank is left inside"""
    for token in (" a\n\n", "  ", "x<y & z>", "&lt;", "é 🙂"):
        inside = re.sub(r"^<span [^>]*>|</span>$", "", impl.token_span(token, 0.3))
        require(not re.search(r"\s|<|>", inside), f"{inside!r} still has a blank or a bracket")
        back = html.unescape(inside).translate({ord("·"): " ", ord("⏎"): "\n", ord("⇥"): "\t"})
        require(back == token, f"{inside!r} shows {back!r}, not {token!r}")


@pytest.mark.parametrize("share", [0.0, 0.124, 0.126, 0.38, 0.62, 0.88, 1.0])
def test_token_span__agrees_with_the_worked_one(impl, ref, share):
    """Other shares"""
    got, want = impl.token_span(" w<\n", share), ref.token_span(" w<\n", share)
    require(got == want, f"for {share} it is {got}, not {want}")


# ------------------------------------------------------------------------------- i1. merge_parts


def part_of(f, first, n):
    """The state of a text: tokens, counts, and the n best with their places."""
    values, order = f.T.sort(dim=1, descending=True, stable=True)
    values, places = values[:, :n], order[:, :n] + first
    short = n - values.shape[1]
    values = nn.functional.pad(values, (0, short))
    places = nn.functional.pad(places, (0, short), value=-1).masked_fill(values == 0, -1)
    counts = torch.tensor(len(f), device=f.device), (f > 0).sum(dim=0)
    return {"n_tokens": counts[0], "times": counts[1], "values": values, "places": places}


def same_part(got, want):
    """Compare two states, name by name."""
    require(set(got) == set(want), f"the keys are {sorted(got)}, not {sorted(want)}")
    for name, value in want.items():
        assert_same(got[name], value, what=f"{name!r}")


def coarse(g, token, latent):
    """Activations with many equal values, and many zeros."""
    return whole(g, 5, token, latent).float() * (whole(g, 2, token, latent) == 0)


def test_merge_parts__by_hand(impl, device):
    """One latent, two best; of two equal values the earlier place"""

    def part(n, times, values, places):
        lists = {"n_tokens": n, "times": [times], "values": [values], "places": [places]}
        return {name: torch.tensor(v, device=device) for name, v in lists.items()}

    a, b = part(5, 2, [3.0, 1.0], [9, 7]), part(4, 1, [3.0, 0.0], [2, -1])
    for got in (impl.merge_parts(a, b), impl.merge_parts(b, a)):
        same_part(got, part(9, 3, [3.0, 3.0], [2, 9]))


def test_merge_parts__is_the_part_of_the_whole_text_in_any_order(impl, seed, device):
    """Three parts, merged in every order and grouping: the state of all tokens"""
    g = generator(seed, device)
    f = coarse(g, 14, 3)
    a, b, c = part_of(f[:3], 0, 5), part_of(f[3:12], 3, 5), part_of(f[12:], 12, 5)
    want = part_of(f, 0, 5)
    for x, y, z in ((a, b, c), (c, a, b), (b, c, a), (c, b, a)):
        same_part(impl.merge_parts(impl.merge_parts(x, y), z), want)
        same_part(impl.merge_parts(x, impl.merge_parts(y, z)), want)


def test_merge_parts__with_nothing_changes_nothing(impl, seed, device):
    """The state of no text is neutral; the given parts stay as they are"""
    a = part_of(coarse(generator(seed + 1, device), 6, 4), 2, 3)
    nothing = part_of(torch.zeros(0, 4, device=device), 0, 3)
    with unchanged(*a.values(), *nothing.values()):
        got = impl.merge_parts(a, nothing), impl.merge_parts(nothing, a)
    for one in got:
        same_part(one, a)


@pytest.mark.parametrize("size", [(4, 7, 3, 2), (9, 2, 5, 6), (3, 3, 3, 3)])
def test_merge_parts__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes"""
    t1, t2, latent, n = size
    g = generator(seed + 2, device)
    a, b = part_of(coarse(g, t1, latent), t2, n), part_of(coarse(g, t2, latent), 0, n)
    same_part(impl.merge_parts(a, b), ref.merge_parts(a, b))


# --------------------------------------------------------------------------- i2. share_explained


def test_share_explained__by_hand(impl, device):
    """Groups of one and three tokens: 12 of 14 between them"""
    acts = torch.tensor([5.0, 0.0, 1.0, 2.0], device=device)  # mean 2; 9 + 4 + 1 + 0
    group = torch.tensor([7, 3, 3, 3], device=device)  # means 5 and 1: 9 + 3 · 1
    assert_same(impl.share_explained(acts, group), 12 / 14, rtol=1e-5)


def test_share_explained__is_one_for_a_function_of_the_group_and_zero_for_one_group(
    impl, seed, device
):
    """1 where the group decides, 0 for a single group and for a constant"""
    g = generator(seed, device)
    group = whole(g, 5, 30)
    assert_same(impl.share_explained(group.float().square(), 3 * group + 4), 1.0, rtol=1e-5)
    zero = impl.share_explained(normal(g, 30), torch.zeros_like(group))
    require(abs(zero) < 1e-6, f"one group explains nothing, not {zero}")
    for value in (2.0, 0.1):  # seven times 0.1 in float64: the mean is not quite 0.1
        acts = torch.full((7,), value, device=device, dtype=torch.float64)
        constant = impl.share_explained(acts, group[:7])
        require(constant == 0, f"for a constant it is 0, not {constant}")


def test_share_explained__does_not_depend_on_names_or_units(impl, seed, device):
    """Other numbers for the groups, another order, unit or zero: the same"""
    g = generator(seed + 1, device)
    acts, group = sparse(g, 40), whole(g, 6, 40)
    one, order = impl.share_explained(acts, group), torch.randperm(40, generator=g, device=g.device)
    for other in (
        (acts[order], group[order]),
        (3 * acts + 2, 17 - 2 * group),
        (1e-6 * acts, group),
    ):
        assert_same(impl.share_explained(*other), one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 25, 60])
def test_share_explained__agrees_with_the_worked_one(impl, ref, seed, device, n, dtype):
    """Other sizes, groups of unequal size, far from 0"""
    g = generator(seed + 2, device)
    acts, group = 1000 + normal(g, n, dtype=dtype), whole(g, 9, n) * whole(g, 3, n)
    acts[0] = 0
    with unchanged(acts, group):
        mine = impl.share_explained(acts, group)
    assert_same(mine, ref.share_explained(acts, group), rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------------------- i3. antipodal_pairs


def test_antipodal_pairs__by_hand(impl, device):
    """Opposite rows of different length; one such pair is active together once"""
    W = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-5.0, 0.0], [0.0, -1.0], [3.0, 0.1]], device=device)
    together = torch.zeros(5, 5, dtype=torch.int64, device=device)
    together[1, 3] = together[3, 1] = 1
    got = impl.antipodal_pairs(W, together, -0.9)
    assert_same(got, torch.tensor([[0, 2], [2, 4]], device=device), "pair 2")
    for most in (-0.99999, -1.0):  # a cosine of exactly -1 is at most -1
        assert_same(impl.antipodal_pairs(W, together, most), got[:1], "pair 2")


def test_antipodal_pairs__are_each_there_once_and_opposite(impl, seed, device):
    """i < j, in order, with a cosine of at most the limit; and no such pair is missing"""
    g = generator(seed, device)
    W, together = normal(g, 12, 3), (whole(g, 3, 12, 12) == 0).long()
    together = together + together.T
    got = impl.antipodal_pairs(W, together, -0.4).tolist()
    unit = (W / W.norm(dim=1, keepdim=True)).tolist()
    cosine = [[sum(a * b for a, b in zip(u, v, strict=True)) for v in unit] for u in unit]
    want = [[i, j] for i in range(12) for j in range(i + 1, 12)
            if cosine[i][j] <= -0.4 and together[i, j] == 0]  # fmt: skip
    require(got == want, f"the pairs are {got}, not {want}")


@pytest.mark.parametrize("size", [(9, 2), (15, 4), (5, 5)])
def test_antipodal_pairs__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes and limits; rows of different lengths"""
    g = generator(seed + 1, device)
    W = normal(g, *size) * (2 * normal(g, size[0], 1)).exp()
    together = whole(g, 2, size[0], size[0])
    together = together * together.T
    for most in (-0.1, -0.6):
        with unchanged(W, together):
            mine = impl.antipodal_pairs(W, together, most)
        assert_same(mine, ref.antipodal_pairs(W, together, most), "pair 2")


# ------------------------------------------------------------------------------------- predictions


def test_predict_median_density__is_right(impl, ref):
    """The density of the latent in the middle"""
    want = ref.predict_median_density
    require(impl.predict_median_density == want, "a long upper tail pulls the mean up")


def test_predict_below_half__is_right(impl, ref):
    """How many activations are below half of the largest"""
    want = ref.predict_below_half
    require(impl.predict_below_half == want, "a maximum is the most extreme of many")


def test_predict_middle__is_right(impl, ref):
    """How often the favourite occurs in the middle interval"""
    require(impl.predict_middle == ref.predict_middle, "look at the middle number of the demo")


def test_predict_kurtosis__is_right(impl, ref):
    """How heavy the latents' tails are, against random directions"""
    want = ref.predict_kurtosis
    require(impl.predict_kurtosis == want, "compare the two middle numbers (50 %)")


def test_predict_sign__is_right(impl, ref):
    """How often the direct and the full effect have the same sign"""
    require(impl.predict_sign == ref.predict_sign, "how many blocks can react in between?")


def test_predict_same_neighbour__is_right(impl, ref):
    """How often the partner in time is the partner in direction"""
    want = ref.predict_same_neighbour
    require(impl.predict_same_neighbour == want, "the first line of the demo says it")


def test_predict_densest__is_right(impl, ref):
    """What explains most of the densest latent's variance"""
    want = ref.predict_densest
    require(impl.predict_densest == want, "look for the largest of the four numbers")
