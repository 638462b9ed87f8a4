"""What is summed batch by batch is what all numbers at once give."""

import numpy as np
import pytest
import scipy.stats
import torch

from utils.dashboards.statistics import enrichment, tail, wilson
from utils.dashboards.sums import Histogram, Moments, TokenCounts, pearson
from utils.dashboards.tables import Events, Table, apart, draw
from utils.testing import generator


def sparse(x):
    """Token, column and value of what is not 0."""
    token, column = x.nonzero(as_tuple=True)
    return token, column, x[token, column]


def test_histogram__is_that_of_all_numbers_at_once(seed):
    gen = generator(seed)
    latent = torch.randint(0, 5, (3000,), generator=gen)
    value = torch.randn(3000, generator=gen).exp() * 10.0 ** (latent - 2)
    found = Histogram(6, 16)
    for cut in zip(latent.split(170), value.split(170), strict=True):
        largest = torch.zeros(6).scatter_reduce(0, cut[0], cut[1], "amax")
        found.grow(largest)
        found.add(cut[0], found.bin(*cut))
    for i in range(5):
        mine = value[latent == i].numpy()
        top = 2.0 ** int(found.exponent[i])
        assert top / 2 <= mine.max() < top
        wanted = np.histogram(mine, bins=16, range=(0, top))[0]
        assert found.counts[i].tolist() == wanted.tolist()
    assert found.counts[5].sum() == 0


@pytest.mark.parametrize("density", [0.02, 0.9])
def test_moments__give_numpy_s_correlations(seed, density):
    gen = generator(seed)
    n, n_all, columns = 900, 31, torch.tensor([4, 0, 19])
    x = torch.rand(n, n_all, generator=gen) * (torch.rand(n, n_all, generator=gen) < density)
    x[:, 7] = 0  # a dead one
    y = torch.randn(n, 6, generator=gen) + x[:, 4:5]
    codes, inputs = Moments(3, n_all), Moments(3, 6)
    for part, other in zip(x.split(130), y.split(130), strict=True):
        codes.add(sparse(part[:, columns]), sparse(part), len(part))
        inputs.add_dense(sparse(part[:, columns]), other)
    mine = (codes.total[columns], codes.square[columns])
    found = pearson(codes.product, (mine[0], codes.total), (mine[1], codes.square), n)
    alive = [i for i in range(n_all) if i != 7]
    wanted = np.corrcoef(x[:, alive].double().numpy().T)
    which = [alive.index(int(c)) for c in columns]
    np.testing.assert_allclose(found[:, alive].numpy(), wanted[which], atol=1e-10)
    assert (found[:, 7] == 0).all()
    found = pearson(inputs.product, (mine[0], inputs.total), (mine[1], inputs.square), n)
    wanted = np.corrcoef(x[:, columns].double().numpy().T, y.double().numpy().T)[:3, 3:]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-10)


def test_moments__take_many_pairs_in_parts(monkeypatch):
    monkeypatch.setattr("utils.dashboards.sums.PAIRS", 50)
    x = torch.rand(40, 9, generator=torch.Generator().manual_seed(0))
    found = Moments(9, 9)
    found.add(sparse(x), sparse(x), 40)
    torch.testing.assert_close(found.product, x.double().T @ x.double())


def test_token_counts__are_those_of_the_whole_text(seed, monkeypatch):
    monkeypatch.setattr("utils.dashboards.sums.PENDING", 100)
    gen = generator(seed)
    ids, latent = (torch.randint(0, k, (2000,), generator=gen) for k in (50, 4))
    found = TokenCounts(50)
    for part in zip(ids.split(90), latent.split(90), strict=True):
        found.add(part[0], part[1], part[0])
    found.settle()
    assert found.seen.tolist() == ids.bincount(minlength=50).tolist()
    table = torch.zeros(4 * 50, dtype=torch.int64)
    table[found.key] = found.count
    assert table.tolist() == (latent * 50 + ids).bincount(minlength=200).tolist()


def brute(values, row, pos, n, span):
    """Greedy by hand: the largest, then the largest that is apart from all taken."""
    taken = []
    for i in sorted(range(len(values)), key=lambda i: (-values[i], i)):
        if all(row[i] != row[j] or abs(pos[i] - pos[j]) > span for j in taken):
            taken.append(i)
    return taken[:n]


@pytest.mark.parametrize("batch", [1, 4, 30])
def test_table__keeps_the_strongest_places_of_the_text(seed, batch):
    gen = generator(seed)
    acts = torch.rand(30, 17, 3, generator=gen).mul(20).round().div(20)  # with ties
    acts = acts * (torch.rand(acts.shape, generator=gen) < 0.5)
    table = Table(3, 6, 5)
    for first in range(0, 30, batch):
        part = acts[first : first + batch]
        row, pos, column = (part > 0).nonzero(as_tuple=True)
        value = part[row, pos, column]
        events = Events(column, -value.double(), row, pos, column, value)
        table.offer(apart(events, span=4), part, first, before=2)
    for latent in range(3):
        row, pos = acts[..., latent].nonzero(as_tuple=True)
        value = acts[row, pos, latent].tolist()
        wanted = brute(value, row.tolist(), pos.tolist(), 6, 4)
        assert table.value[latent].tolist() == pytest.approx([value[i] for i in wanted])
        places = [(int(row[i]), int(pos[i])) for i in wanted]
        assert (
            list(zip(table.row[latent].tolist(), table.pos[latent].tolist(), strict=True)) == places
        )
        padded = torch.nn.functional.pad(acts[..., latent], (2, 2))
        windows = [padded[r, p : p + 5].tolist() for r, p in places]
        assert table.window[latent].tolist() == windows


def test_table__merges_bins_as_if_they_had_been_one(seed):
    gen = generator(seed)
    bins, n = 8, 400
    bin, key = torch.randint(0, bins, (n,), generator=gen), torch.rand(n, generator=gen).double()
    at = torch.arange(n)
    acts = torch.rand(1, n, 1, generator=gen)

    def table(group):
        found = Table(2 * bins, 3, 4)
        none = torch.zeros_like(at)
        found.offer(Events(group + bins, key, none, at, none, acts[0, :, 0]), acts, 7, 1)
        return found

    merged, once = table(bin), table(bin // 2)
    merged.halve(torch.tensor([1]), bins)
    for name, value in vars(once).items():
        torch.testing.assert_close(vars(merged)[name], value, rtol=0, atol=0)


def test_draw__is_uniform_and_depends_on_every_part():
    at = torch.arange(20000)
    u = draw(at % 50, at // 50, at % 7, seed=0)
    assert scipy.stats.kstest(u.numpy(), "uniform").pvalue > 1e-6
    assert len(u.unique()) == len(u)
    base = draw(at, at, at, 0)
    one = torch.ones_like(at)
    others = [draw(at + one, at, at, 0), draw(at, at + one, at, 0), draw(at, at, at + one, 0)]
    for other in [*others, draw(at, at, at, 1)]:
        assert abs(np.corrcoef(base.numpy(), other.numpy())[0, 1]) < 0.04


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (57, 90000), (0, 0)])
def test_wilson__is_scipy_s(k, n):
    if n == 0:
        assert wilson(k, n) == (0, 1)
        return
    wanted = scipy.stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    assert wilson(k, n) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_tail__is_the_sum_of_hypergeometric_probabilities_and_never_0():
    k, active, seen = np.array([2, 5, 1]), np.array([5, 9, 3]), np.array([6, 7, 30])
    for i, found in enumerate(tail(k, 40, active, seen)):
        over = range(int(k[i]), int(min(active[i], seen[i])) + 1)
        pmf = scipy.stats.hypergeom.pmf(list(over), 40, seen[i], active[i])
        assert found == pytest.approx(np.log10(pmf.sum()))
    tiny = tail(np.array([4000]), 10**6, np.array([5000]), np.array([4000]))[0]
    assert -20000 < tiny < -5000


def test_enrichment__finds_a_token_by_chance_at_most_as_often_as_it_says():
    """under the null, a latent has a token with corrected p ≤ 0.05 in at most 5 % of cases"""
    gen = torch.Generator().manual_seed(0)
    vocabulary, n, n_latents = 40, 1500, 800
    ids = (torch.rand(n, generator=gen).square() * vocabulary).long()
    found = TokenCounts(vocabulary)
    found.add(ids, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    active = torch.randint(1, 200, (n_latents,), generator=gen)
    for latent in range(n_latents):
        where = torch.randperm(n, generator=gen)[: active[latent]]
        found.add(ids[:0], torch.full_like(where, latent), ids[where])
    found.settle()
    tokens = enrichment(found.key, found.count, found.seen, active, 3)
    false = sum(bool(mine) for mine in tokens)
    assert scipy.stats.binomtest(false, n_latents, 0.05, "greater").pvalue > 1e-6
    assert all(t.log10_p <= np.log10(0.05) for mine in tokens for t in mine)


def test_enrichment__names_the_token_first():
    seen = torch.tensor([500, 30, 470])
    key, count = torch.tensor([0, 1, 2]), torch.tensor([5, 28, 4])
    [mine] = enrichment(key, count, seen, torch.tensor([37]), 5)
    assert [(t.token, t.active, t.seen) for t in mine] == [(1, 28, 30)]
    wanted = scipy.stats.hypergeom.logsf(27, 1000, 30, 37) / np.log(10) + np.log10(3)
    assert mine[0].log10_p == pytest.approx(wanted)
