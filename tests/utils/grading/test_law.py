"""Laws of random functions: the same in another order, apart where the numbers differ."""

import pytest
import torch

from utils.grading.law import ALIKE, APART, distance, law_of, statistics


def normal(n, gen):
    return torch.randn(n, 3, generator=gen)


def normal_turned(n, gen):
    return -torch.randn(3, n, generator=gen).T


def uniform(n, gen):
    return (torch.rand(n, 3, generator=gen) - 0.5) * 12**0.5


@pytest.mark.parametrize(("other", "alike"), [(normal_turned, True), (uniform, False)])
def test_order_does_not_matter_and_the_shape_of_the_law_does(other, alike):
    given = {"n": 400, "gen": torch.Generator()}
    gap = distance(law_of(normal, given), law_of(other, given))
    assert gap <= ALIKE if alike else gap > APART


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
def test_an_empty_part_has_no_statistics_and_the_rest_keeps_its_own(shape):
    full = torch.arange(24.0).reshape(24, 1)
    found = statistics([(torch.zeros(shape), x) for x in full])
    torch.testing.assert_close(found, statistics([(x,) for x in full]))
    assert found.shape[1] > 0


def test_a_function_that_sometimes_returns_nothing_can_still_be_compared():
    def kept(n, gen):
        return torch.randn(0, n, generator=gen), torch.rand(n, generator=gen)

    given = {"n": 50, "gen": torch.Generator()}
    assert distance(law_of(kept, given), law_of(kept, given)) == 0.0
