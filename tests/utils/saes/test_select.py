"""Selections keep exactly the largest positive scores, ties and edges included."""

import pytest
import torch

from utils.saes import select
from utils.saes.select import batch_topk_support, topk_support
from utils.saes.support import Dense, Ragged, above


def scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("latent", "k"), [(7, 1), (7, 7), (40, 3), (129, 16), (1024, 32)])
def test_topk__keeps_what_torch_keeps(latent, k):
    S = scores(13, latent)
    at, value = topk_support(S, k)
    kept = S.topk(k, dim=1)
    expected = torch.zeros_like(S).scatter(1, kept.indices, kept.values.relu())
    torch.testing.assert_close(at.scatter(value), expected, rtol=0, atol=0)
    plain, plain_value = select._topk_support_plain(S, k)
    torch.testing.assert_close(plain.scatter(plain_value), expected, rtol=0, atol=0)


@pytest.mark.parametrize("n", [1, 30, 400, 13 * 300])
def test_batch_topk__keeps_what_torch_keeps(n):
    S = scores(13, 300)
    at, value = batch_topk_support(S, n)
    kept = S.relu().flatten().topk(n)
    expected = torch.zeros(S.numel()).scatter(0, kept.indices, kept.values).view_as(S)
    torch.testing.assert_close(at.scatter(value), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_selection__of_half_precision_keeps_as_many_and_the_largest(dtype):
    S = scores(13, 300).to(dtype)
    at, value = topk_support(S, 5)
    assert value.dtype == dtype and torch.bincount(at.rows).tolist() == [5] * 13
    least = S.topk(5, dim=1).values[:, -1]
    assert (value >= least[at.rows]).all() and torch.equal(at.take(S), value)
    at, value = batch_topk_support(S, 70)
    assert value.dtype == dtype and len(value) == 70 and torch.equal(at.take(S), value)
    assert value.min() == S.flatten().topk(70).values[-1]


def test_topk__keeps_k_of_tied_scores():
    S = torch.zeros(4, 50)
    S[0, :10], S[1], S[2, 3:5] = 1.0, 2.0, 1.0
    S[3] = torch.arange(50) // 3  # threes of a kind, and a pair at the top
    at, value = topk_support(S, 4)
    assert torch.bincount(at.rows, minlength=4).tolist() == [4, 4, 2, 4]
    assert at.latents[at.rows == 0].tolist() == [0, 1, 2, 3]  # the first of equals
    assert value[at.rows == 3].tolist() == [15.0, 15.0, 16.0, 16.0]


def test_batch_topk__keeps_n_of_tied_scores():
    at, value = batch_topk_support(torch.ones(4, 50), 7)
    assert at.latents.tolist() == list(range(7))
    assert (value == 1).all()


def test_batch_topk__a_bound_from_unlucky_samples_is_replaced():
    S = torch.full((8, 61), -1.0)
    S.flatten()[::61] = 100.0  # exactly the scores that the sample sees
    S.flatten()[1:20] = 1.0
    at, value = batch_topk_support(S, 20)
    assert len(value) == 20
    assert int((value == 100).sum()) == 8
    assert len(at.rows) == 20


@pytest.mark.parametrize("kept", [topk_support, batch_topk_support])
def test_selection__keeps_no_zero_and_nothing_negative(kept):
    S = -scores(5, 64).abs()
    S[2, 7] = 0.0
    assert len(kept(S, 6)[1]) == 0
    S[1, 3] = 0.5
    at, value = kept(S, 6)
    assert (at.rows.tolist(), at.latents.tolist(), value.tolist()) == ([1], [3], [0.5])


def test_above__is_strict_and_dense_only_where_much_is_active():
    S = torch.zeros(10, 100)
    S[1, 4], S[2, 5] = 1.0, 2.0
    at = above(S, 1.0)
    assert isinstance(at, Ragged)
    assert (at.rows.tolist(), at.latents.tolist()) == ([2], [5])
    assert isinstance(above(S, -1.0), Dense)
