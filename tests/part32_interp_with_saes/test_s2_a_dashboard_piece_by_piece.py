"""3.2.2: what is right, on small random tensors."""

import pytest
import torch

from utils.testing import assert_same, generator, require, unchanged

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
        [[[1.0, 0.0, 2.0], [0.5, 0.0, 0.0]], [[0.0, 0.0, 3.0], [9.0, 9.0, 9.0]]], device=device
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


# ------------------------------------------------------------------------------------- predictions


def test_predict_median_density__is_right(impl, ref):
    """The density of the latent in the middle"""
    want = ref.predict_median_density
    require(impl.predict_median_density == want, "a few very busy latents pull the mean up")


def test_predict_below_half__is_right(impl, ref):
    """How many activations are below half of the largest"""
    want = ref.predict_below_half
    require(impl.predict_below_half == want, "a maximum is the most extreme of many")
