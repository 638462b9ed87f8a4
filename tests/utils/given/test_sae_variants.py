"""The parts that the variants of 3.1.6 share."""

import pytest
import torch

from utils.given.sae_variants import (
    Silence,
    by_feature,
    by_fifths,
    child_with_parent,
    encoder_tilt,
    hole_share,
    tree_features,
    two_features,
)
from utils.testing import binomial_bounds


@pytest.mark.parametrize("patience", [1, 3])
def test_silence__counts_steps_since_the_last_activity(patience):
    """A latent is dead after more than `patience` silent steps, and alive at once when it fires."""
    silence, off = Silence(patience), torch.zeros(2, 1, 2)
    one = off.clone()
    one[1, 0, 0] = 1e-6
    seen = [silence.dead(acts)[0].tolist() for acts in [one, *[off] * (patience + 1), one]]
    assert seen[:-2] == [[False, False]] * patience + [[False, True]]
    assert seen[-2:] == [[True, True], [False, True]]


def test_tree_features__have_children_only_with_their_parent():
    """At most one child per parent, never without it; shares within binomial bounds (1e-6)."""
    x = tree_features(3000, 2, torch.Generator().manual_seed(0))
    on = x > 0
    parents, children = on[..., :4], on[..., 4:].unflatten(-1, (4, 3)).sum(-1)
    assert (children <= parents.long()).all()
    low, high = binomial_bounds(24_000, 0.15)
    assert low <= parents.sum() <= high
    low, high = binomial_bounds(int(parents.sum()), 0.8)
    assert low <= children.sum() <= high
    assert x[on].min() >= 0.5 and x[on].max() < 1.5


def test_hole_share__by_hand():
    """One parent with one child, on together in three rows; its latent is silent in one: 1/3."""
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])[:, None]
    acts = torch.tensor([[0.0, 5.0], [2.0, 5.0], [0.0, 5.0], [2.0, 0.0]])[:, None]
    cosines = torch.tensor([[[0.9, 0.1], [0.0, 1.0]]])
    share = hole_share(x, acts, cosines, n_parent=1, n_child=1)
    torch.testing.assert_close(share, torch.tensor([1 / 3]))


def test_child_with_parent__by_hand():
    """Two parents with one child each: the child's best latent, and its cosine with the parent."""
    cosines = torch.tensor(
        [[[0.3, 0.1, 0.0], [0.0, 0.0, -0.4], [0.9, 0.2, 0.0], [0.1, 0.0, 0.8]]]
    )  # parent, parent, child of the first, child of the second
    lean = child_with_parent(cosines, n_parent=2, n_child=1)
    torch.testing.assert_close(lean, torch.tensor([[0.3, -0.4]]))


def test_by_feature__sorts_columns():
    """Each latent stands where its closest feature does."""
    cosines = torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.0, 0.1], [0.3, 0.1, 0.7]])
    torch.testing.assert_close(by_feature(cosines), cosines[:, [1, 0, 2]])


def test_by_fifths__means_in_order():
    """Ten values in the reverse order."""
    values = torch.arange(10.0)
    expected = torch.tensor([8.5, 6.5, 4.5, 2.5, 0.5])
    torch.testing.assert_close(by_fifths(values, -values), expected)


def test_two_features__have_their_angle():
    """Unit columns, the first along the axis, the second at the angle; n of each."""
    W = two_features(torch.tensor([30.0, 90.0]), 2)
    assert W.shape == (4, 2, 2)
    torch.testing.assert_close(W.norm(dim=1), torch.ones(4, 2))
    cosine = (W[..., 0] * W[..., 1]).sum(dim=1)
    torch.testing.assert_close(cosine, torch.tensor([0.75**0.5] * 2 + [0.0] * 2))


def test_encoder_tilt__in_degrees():
    """A column along the row, whatever its length, has 0; one across it has 90, one against 180."""
    params = {"W_dec": torch.tensor([[[1.0, 0.0]] * 3])}
    params["W_enc"] = torch.tensor([[[5.0, 0.0, -2.0], [0.0, 3.0, 0.0]]])
    torch.testing.assert_close(encoder_tilt(params), torch.tensor([[0.0, 90.0, 180.0]]))
