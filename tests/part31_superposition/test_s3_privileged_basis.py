"""Tests of 3.1.3, one function per property, named test_<exercise>__<property>."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from utils.testing import (
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
NEURONS = "inst hidden feature"
SHAPES = [(5, 3, 4, 2), (1, 1, 2, 1), (1, 2, 5, 3), (4, 2, 3, 6)]  # batch, inst, feature, hidden


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def uniform(g: torch.Generator, *shape: int) -> Tensor:
    """Uniform numbers on the generator's device."""
    return torch.rand(shape, generator=g, device=g.device)


def tied(seed, device, shape=(5, 3, 4, 2), dtype=torch.float32):
    """x (sparse, not negative), W, b (not zero) for one size."""
    batch, inst, feature, hidden = shape
    g = generator(seed + 100, device)
    x = normal(g, batch, inst, feature, dtype=dtype).clamp(min=0)
    return x, normal(g, inst, hidden, feature, dtype=dtype), normal(g, inst, feature, dtype=dtype)


def untied(seed, device, shape=(5, 3, 4, 2), dtype=torch.float32):
    """x (both signs), W1, W2, b (not zero) for one size."""
    batch, inst, feature, hidden = shape
    g = generator(seed + 200, device)
    x = normal(g, batch, inst, feature, dtype=dtype)
    W1 = normal(g, inst, hidden, feature, dtype=dtype)
    W2 = normal(g, inst, feature, hidden, dtype=dtype)
    return x, W1, W2, normal(g, inst, feature, dtype=dtype)


def network(x: Tensor, W1: Tensor, W2: Tensor, b: Tensor) -> Tensor:
    """The network for |x| written with plain matrix products, instance by instance."""
    outs = [
        ((x[:, k] @ W1[k].T).clamp(min=0) @ W2[k].T + b[k]).clamp(min=0) for k in range(len(W1))
    ]
    return torch.stack(outs, dim=1)


def views(*tensors: Tensor) -> list[Tensor]:
    """The same values in tensors that are not contiguous."""
    return [t.mT.contiguous().mT for t in tensors]


# ------------------------------------------------------------------------------- a1. neuron_forward


def test_neuron_forward__two_small_models_by_hand(impl, device):
    """Two instances worked out by hand come out right."""
    x = torch.tensor([[[0.5, 0.25], [0.5, 0.25]]], device=device)
    W = torch.tensor([[[1.0, -1.0], [-2.0, 1.0]], [[2.0, 0.0], [0.0, -1.0]]], device=device)
    b = torch.tensor([[0.5, 0.5], [-1.0, 0.25]], device=device)
    # inst 0: Wx = (0.25, -0.75), h = (0.25, 0), W^T h = (0.25, -0.25)
    # inst 1: Wx = (1, -0.25), h = (1, 0), W^T h = (2, 0)
    expected = torch.tensor([[[0.75, 0.25], [1.0, 0.25]]], device=device)
    assert_same(impl.neuron_forward(x, W, b), expected, AXES)


def test_neuron_forward__a_neuron_below_zero_says_nothing(impl, seed, device):
    """Where all neurons are pushed below zero, only the bias is left."""
    x, W, b = tied(seed, device)
    out = impl.neuron_forward(x, -W.abs(), b)
    hint = "here Wx is negative everywhere, so h should be zero: where is the hidden ReLU?"
    assert_same(out, b.clamp(min=0).expand(5, 3, 4), AXES, hint=hint)


def test_neuron_forward__is_never_negative(impl, seed, device):
    """Negative outputs become zero."""
    x, W, b = tied(seed, device)
    out = impl.neuron_forward(x, W, b - 1)
    bad = out < 0
    where = first_index(bad, AXES) if bad.any() and out.ndim == 3 else "some entry"
    require(not bad.any(), f"the output is negative at {where}: is a ReLU the last step?")


def test_neuron_forward__is_identity_with_a_neuron_for_each_feature(impl, seed, device):
    """With one neuron per feature and no bias every non-negative x comes back."""
    g = generator(seed + 7, device)
    W = torch.eye(6, device=device)[:, :4].expand(2, 6, 4).flip(1)
    x = uniform(g, 5, 2, 4)
    assert_same(impl.neuron_forward(x, W, torch.zeros(2, 4, device=device)), x, AXES)


def test_neuron_forward__keeps_instances_apart(impl, seed, device):
    """Changing one instance's weights changes that instance's output only."""
    x, W, b = tied(seed, device)
    other = W.clone()
    other[1] = 2 * W[1] + 1
    before, after = impl.neuron_forward(x, W, b), impl.neuron_forward(x, other, b)
    keep = torch.tensor([0, 2], device=device)
    hint = "only instance 1 of W was changed, and another instance's output moved"
    assert_same(after.index_select(1, keep), before.index_select(1, keep), AXES, hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_neuron_forward__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for several sizes, and keeps the dtype."""
    x, W, b = tied(seed, device, shape, dtype)
    with unchanged(x, W, b):
        out = impl.neuron_forward(x, W, b)
    assert_same(out, ref.neuron_forward(x, W, b), AXES)


def test_neuron_forward__takes_tensors_that_are_not_contiguous(impl, ref, seed, device):
    """Transposed views are as good as fresh tensors."""
    args = tied(seed, device)
    assert_same(impl.neuron_forward(*views(*args)), ref.neuron_forward(*args), AXES)


def test_neuron_forward__sends_gradients_through_both_uses_of_W(impl, ref, seed, device):
    """Gradients reach x, b and both places where W is used."""
    x, W, b = tied(seed, device, dtype=torch.float64)
    args = (x + 0.1, W, b)  # no row without features: where Wx is exactly 0 a ReLU has a kink
    up = normal(generator(seed + 5, device), 5, 3, 4, dtype=torch.float64)
    mine = vjp(impl.neuron_forward, args, up, wrt=(0, 1, 2))
    theirs = vjp(ref.neuron_forward, args, up, wrt=(0, 1, 2))
    axes = [AXES, NEURONS, "inst feature"]
    assert_same(mine, theirs, axes, what="the gradient by (x, W, b)")


# -------------------------------------------------------------------------- a2. basis_change_effect


def rotations(g: torch.Generator, inst: int, hidden: int) -> Tensor:
    """Random orthogonal matrices."""
    return torch.linalg.qr(normal(g, inst, hidden, hidden)).Q


def test_basis_change_effect__a_permutation_only_renames_neurons(impl, seed, device):
    """Permuting the neurons changes no output."""
    x, W, b = tied(seed, device, (6, 2, 3, 4))
    T = torch.eye(4, device=device)[torch.tensor([[2, 0, 3, 1], [1, 2, 3, 0]], device=device)]
    effect = impl.basis_change_effect(x, W, b, T)
    zero = torch.zeros(2, device=device)
    assert_same(effect, zero, "inst", rtol=0, atol=1e-5, hint="T is a permutation here")


def test_basis_change_effect__a_rotation_matters(impl, seed, device):
    """A random rotation changes the outputs."""
    x, W, b = tied(seed, device, (40, 2, 5, 4))
    effect = impl.basis_change_effect(x, W, b.abs(), rotations(generator(seed, device), 2, 4))
    require((effect > 1e-2).all(), f"a random rotation seems to change nothing: {effect.tolist()}")


def test_basis_change_effect__a_rotation_is_harmless_where_no_neuron_is_cut_off(impl, device):
    """Where all pre-activations stay positive, a rotation changes nothing."""
    W = torch.tensor([[[3.0, 2.0], [2.0, 3.0]]], device=device)
    T = torch.tensor([[[0.8, 0.6], [-0.6, 0.8]]], device=device)  # TW = (3.6, 3.4; -0.2, 1.2)
    x = torch.tensor([[[0.1, 0.9]], [[0.5, 0.5]]], device=device)
    b = torch.tensor([[0.5, -0.25]], device=device)
    effect = impl.basis_change_effect(x, W, b, T)
    hint = "all neurons are active before and after this rotation"
    assert_same(effect, torch.zeros(1, device=device), "inst", rtol=0, atol=1e-5, hint=hint)


def test_basis_change_effect__by_hand(impl, device):
    """A shear of two neurons, worked out by hand, comes out right."""
    W = torch.eye(2, device=device).expand(2, 2, 2)
    T = torch.tensor([[[1.0, 0.0], [-2.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]], device=device)
    x = torch.tensor([[[1.0, 1.0]] * 2, [[0.0, 0.5]] * 2], device=device)
    b = torch.zeros(2, 2, device=device)
    # TW = (1, 0; -2, 1). Row 0: h = (1, 0), out (1, 0), was (1, 1); row 1: h = (0, 0.5),
    # out (ReLU(-1), 0.5), was (0, 0.5). The largest change is 1; instance 1 has T = identity
    expected = torch.tensor([1.0, 0.0], device=device)
    assert_same(impl.basis_change_effect(x, W, b, T), expected, "inst")


def test_basis_change_effect__an_output_that_falls_has_changed(impl, device):
    """Where every output falls, the largest fall counts, and it counts as positive."""
    W = torch.eye(2, device=device).expand(2, 2, 2)
    T = 0.5 * W  # outputs become a quarter
    x = torch.tensor([[[1.0, 2.0], [0.5, 1.0]], [[4.0, 1.0], [1.0, 1.0]]], device=device)
    expected = torch.tensor([3.0, 0.75], device=device)
    out = impl.basis_change_effect(x, W, torch.zeros(2, 2, device=device), T)
    assert_same(out, expected, "inst", hint="every output falls to a quarter here")
    positive = impl.basis_change_effect(x + 1, W, torch.zeros(2, 2, device=device), T)
    assert_same(positive, torch.tensor([3.75, 1.5], device=device), "inst")


def test_basis_change_effect__looks_at_the_largest_change(impl, seed, device):
    """Rows that repeat, and rows without features, do not dilute the result."""
    x, W, b = tied(seed, device, (5, 2, 3, 4))
    T = rotations(generator(seed + 3, device), 2, 4)
    more = torch.cat([x, x, torch.zeros_like(x)])
    one, other = impl.basis_change_effect(x, W, b, T), impl.basis_change_effect(more, W, b, T)
    assert_same(other, one, "inst", hint="the batch was padded; the largest change is the same")


@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (1, 3, 2, 5), (4, 2, 3, 6)])
def test_basis_change_effect__equals_reference(impl, ref, seed, device, shape):
    """It agrees with the reference for any T, and leaves its inputs alone."""
    x, W, b = tied(seed, device, shape, torch.float64)
    T = normal(generator(seed + 9, device), shape[1], shape[3], shape[3], dtype=torch.float64)
    with unchanged(x, W, b, T):
        out = impl.basis_change_effect(x, W, b, T)
    assert_same(out, ref.basis_change_effect(x, W, b, T), "inst")


# -------------------------------------------------------------------------------- b1. stack_bottoms


def test_stack_bottoms__by_hand(impl, device):
    """A neuron with weights of both signs, worked out by hand, comes out right."""
    W = torch.tensor([[[1.0, -2.0, 0.5, -1.0, 3.0]]], device=device)
    expected = torch.tensor([[[0.0, 0.0, 1.0, -2.0, 1.5]]], device=device)
    assert_same(impl.stack_bottoms(W), expected, NEURONS)


def test_stack_bottoms__rectangles_tile_both_piles(impl, seed, device):
    """Without gaps or overlaps the rectangles fill the piles of both signs."""
    W = normal(generator(seed + 1, device), 2, 3, 7, dtype=torch.float64)
    start = impl.stack_bottoms(W)
    require(start.shape == W.shape, f"the result has shape {tuple(start.shape)}, not W's")
    for inst in range(2):
        for k in range(3):
            for sign, name in ((1, "positive"), (-1, "negative")):
                w, low = sign * W[inst, k], sign * start[inst, k]
                order = low[w > 0].argsort()
                low, high = low[w > 0][order], (low + w)[w > 0][order]
                ends = torch.cat([torch.zeros_like(high[:1]), high])
                gap = (low - ends[:-1]).abs()
                say = f"inst {inst}, neuron {k}: the {name} rectangles leave gaps, overlap or"
                require((gap < 1e-9).all(), f"{say} do not begin at 0")


def test_stack_bottoms__mirrored_weights_give_a_mirrored_plot(impl, seed, device):
    """With all signs turned round, the plot is turned upside down."""
    W = normal(generator(seed + 2, device), 2, 3, 5)
    assert_same(impl.stack_bottoms(-W), -impl.stack_bottoms(W), NEURONS)


def test_stack_bottoms__neurons_have_piles_of_their_own(impl, seed, device):
    """Changing one neuron moves the rectangles of that neuron only."""
    W = normal(generator(seed + 3, device), 2, 3, 5)
    other = W.clone()
    other[0, 1] += 1
    keep = torch.tensor([0, 2], device=device)
    before, after = impl.stack_bottoms(W), impl.stack_bottoms(other)
    assert_same(after[0, keep], before[0, keep], "hidden feature", hint="neuron 1 was changed")
    assert_same(after[1], before[1], "hidden feature", hint="instance 0 was changed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stack_bottoms__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, also for views, and does not touch the weights."""
    W = normal(generator(seed + 4, device), 3, 2, 6, dtype=dtype)
    with unchanged(W):
        out = impl.stack_bottoms(views(W)[0])
        impl.stack_bottoms(W)
    assert_same(out, ref.stack_bottoms(W), NEURONS)


# ------------------------------------------------------------------------------ b2. monosemanticity


def gains(seed, device, shape=(3, 4, 5)):
    """Gains that are positive, all different, with one dead neuron."""
    gain = uniform(generator(seed + 41, device), *shape) + 0.05
    gain[0, 1] = 0
    return gain


def test_monosemanticity__by_hand(impl, device):
    """One feature gives 1, four equal ones 1/4, shares of 3 and 1 give 3/4."""
    gain = torch.tensor(
        [[[0.0, 2.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5], [3.0, 1.0, 0.0, 0.0]]], device=device
    )
    expected = torch.tensor([[1.0, 0.25, 0.75]], device=device)
    assert_same(impl.monosemanticity(gain), expected, "inst hidden")


def test_monosemanticity__of_a_dead_neuron_is_zero(impl, seed, device):
    """A neuron without any gain scores 0, and the others are finite."""
    score = impl.monosemanticity(gains(seed, device))
    require(score.isfinite().all(), "a dead neuron gives NaN: what is 0 / 0 here?")
    require(score[0, 1] == 0, f"a dead neuron scores {float(score[0, 1]):.3g}, not 0")


def test_monosemanticity__does_not_depend_on_the_scale(impl, seed, device):
    """Each neuron's gains may be multiplied by any positive number."""
    gain = gains(seed, device)
    scale = torch.tensor([1e-12, 1.0, 30.0, 1e-5], device=device)[None, :, None]
    one = impl.monosemanticity(gain)
    hint = "neurons were multiplied by 1e-12, 1, 30 and 1e-5: only a gain of exactly 0 is dead"
    assert_same(impl.monosemanticity(scale * gain), one, "inst hidden", 1e-4, 1e-6, hint)


def test_monosemanticity__does_not_depend_on_the_order(impl, seed, device):
    """Renaming features changes nothing; renaming neurons renames the scores."""
    gain, score = gains(seed, device), impl.monosemanticity(gains(seed, device))
    features = torch.tensor([3, 0, 4, 1, 2], device=device)
    neurons = torch.tensor([2, 0, 3, 1], device=device)
    assert_same(impl.monosemanticity(gain[:, :, features]), score, "inst hidden")
    assert_same(impl.monosemanticity(gain[:, neurons]), score[:, neurons], "inst hidden")


def test_monosemanticity__lies_between_one_nth_and_one(impl, seed, device):
    """With five features the score of a live neuron is at least 1/5 and at most 1."""
    score = impl.monosemanticity(gains(seed, device)[1:])
    say = f"scores between {score.min():.3f} and {score.max():.3f}; the bounds are 0.2 and 1"
    require(((score >= 0.2 - 1e-6) & (score <= 1 + 1e-6)).all(), say)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_monosemanticity__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference and keeps dtype and inputs."""
    gain = gains(seed, device).to(dtype)
    with unchanged(gain):
        out = impl.monosemanticity(gain)
    assert_same(out, ref.monosemanticity(views(gain)[0]), "inst hidden")


# ------------------------------------------------------------------------ b3. monosemantic_fraction


def test_monosemantic_fraction__by_hand(impl, device):
    """Two of three live neurons are monosemantic; the dead one is not counted."""
    gain = torch.tensor(
        [[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.02, 0.98], [0.0, 0.0, 0.0]]], device=device
    )
    assert_same(impl.monosemantic_fraction(gain), torch.tensor([2 / 3], device=device), "inst")


def test_monosemantic_fraction__counts_a_neuron_at_the_threshold(impl, device):
    """A score exactly at the threshold is enough."""
    gain = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]], device=device)
    out = impl.monosemantic_fraction(gain, 0.75, 0.1)
    hint = "one score is exactly 0.75, and so is the threshold"
    assert_same(out, torch.tensor([0.5], device=device), "inst", hint=hint)


def test_monosemantic_fraction__counts_a_neuron_at_the_bound_of_life(impl, device):
    """A total gain exactly at `alive` is enough, and it is the total that counts."""
    gain = torch.tensor([[[0.125, 0.125], [0.0, 1.0], [0.0, 0.0625]]], device=device)
    out = impl.monosemantic_fraction(gain, 0.9, 0.25)
    hint = "the total gains are 0.25, 1 and 0.0625, and alive = 0.25: two neurons count"
    assert_same(out, torch.tensor([0.5], device=device), "inst", hint=hint)


def test_monosemantic_fraction__of_a_dead_layer_is_zero(impl, device):
    """Without any live neuron the fraction is 0, not NaN."""
    gain = torch.zeros(2, 3, 4, device=device)
    gain[1, 0, 2] = 1
    expected = torch.tensor([0.0, 1.0], device=device)
    assert_same(impl.monosemantic_fraction(gain), expected, "inst")


def test_monosemantic_fraction__uses_both_bounds(impl, device):
    """Stricter bounds give other fractions."""
    gain = torch.tensor([[[4.0, 1.0], [0.0, 0.5], [1.0, 1.0], [0.0, 3.0]]], device=device)
    for threshold, alive, expected in (
        (0.9, 0.1, 0.5),
        (0.7, 0.1, 0.75),
        (0.7, 1.0, 2 / 3),
        (0.9, 2.5, 0.5),
        (0.4, 0.1, 1.0),
    ):
        out = impl.monosemantic_fraction(gain, threshold, alive)
        hint = f"threshold = {threshold}, alive = {alive}"
        assert_same(out, torch.tensor([expected], device=device), "inst", hint=hint)


def test_monosemantic_fraction__equals_reference(impl, ref, seed, device):
    """It agrees with the reference for several instances."""
    gain = uniform(generator(seed + 43, device), 6, 7, 3) ** 6
    with unchanged(gain):
        out = impl.monosemantic_fraction(gain, 0.8, 0.05)
    assert_same(out, ref.monosemantic_fraction(gain, 0.8, 0.05), "inst")


# ---------------------------------------------------------------------------------- d1. abs_forward


def test_abs_forward__by_hand(impl, device):
    """One feature with a positive and a negative neuron gives |x|, plus the bias."""
    x = torch.tensor([[[0.5]], [[-0.75]], [[0.0]]], device=device)
    W1, W2 = torch.tensor([[[1.0], [-2.0]]], device=device), torch.tensor([[[1.0, 0.5]]]).to(device)
    for bias, expected in ((0.0, [0.5, 0.75, 0.0]), (-0.6, [0.0, 0.15, 0.0])):
        out = impl.abs_forward(x, W1, W2, torch.full((1, 1), bias, device=device))
        assert_same(out, torch.tensor(expected, device=device)[:, None, None], AXES)


def test_abs_forward__a_neuron_below_zero_says_nothing(impl, seed, device):
    """Where all neurons are pushed below zero, only the bias is left."""
    x, W1, W2, b = untied(seed, device)
    out = impl.abs_forward(x.abs(), -W1.abs(), W2, b)
    hint = "here W1 x is negative everywhere, so h should be zero"
    assert_same(out, b.clamp(min=0).expand(5, 3, 4), AXES, hint=hint)


def test_abs_forward__is_never_negative(impl, seed, device):
    """Negative outputs become zero."""
    x, W1, W2, b = untied(seed, device)
    out = impl.abs_forward(x, W1, W2, b - 1)
    require((out >= 0).all(), "some outputs are negative: is a ReLU the last step?")


def test_abs_forward__equals_plain_matrix_products(impl, seed, device):
    """Each instance gives what plain matrix products give for it alone."""
    args = untied(seed, device, (5, 3, 4, 2))
    assert_same(impl.abs_forward(*args), network(*args), AXES, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_abs_forward__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for several sizes, and keeps the dtype."""
    args = untied(seed, device, shape, dtype)
    with unchanged(*args):
        out = impl.abs_forward(*args)
    assert_same(out, ref.abs_forward(*args), AXES)
    assert_same(impl.abs_forward(*views(*args)), out, AXES, hint="the inputs are transposed views")


def test_abs_forward__sends_gradients_to_both_matrices(impl, ref, seed, device):
    """Gradients reach x, W1, W2 and b."""
    args = untied(seed, device, dtype=torch.float64)
    up = normal(generator(seed + 6, device), 5, 3, 4, dtype=torch.float64)
    mine = vjp(impl.abs_forward, args, up, wrt=(0, 1, 2, 3))
    theirs = vjp(ref.abs_forward, args, up, wrt=(0, 1, 2, 3))
    axes = [AXES, NEURONS, "inst feature hidden", "inst feature"]
    assert_same(mine, theirs, axes, what="the gradient by (x, W1, W2, b)")


# ------------------------------------------------------------------------------ d2. signed_features

# Every check below is one of at most 100 comparisons, each with a false alarm of at most 1e-8.
ALARM = 1e-8
N = 4000
P_INST = [[0.05], [0.35], [0.8]]
P_FEATURE = [[0.9, 0.3, 0.1, 0.6]]
P_BOTH = [[0.05, 0.2, 0.35, 0.9], [0.8, 0.1, 0.65, 0.3], [0.25, 0.7, 0.15, 0.4]]


def sampled(impl, seed, device, probability, n=N):
    """A batch, and the probability of each (inst, feature)."""
    p = probability if isinstance(probability, float) else torch.tensor(probability, device=device)
    x = impl.signed_features(n, 3, 4, p, generator(seed + 31, device))
    require(isinstance(x, Tensor), "return a tensor")
    require(
        tuple(x.shape) == (n, 3, 4),
        f"the batch has shape {tuple(x.shape)}, expected ({n}, 3, 4) (batch, inst, feature)",
    )
    return x, torch.as_tensor(p, device=device).expand(3, 4)


def test_signed_features__shape_dtype_and_range(impl, seed, device):
    """A batch is float32, on the generator's device, with both signs, all in [-1, 1]."""
    x, _ = sampled(impl, seed, device, 0.4)
    require(x.dtype == torch.float32, f"the batch is {x.dtype}, expected torch.float32")
    require(x.device == generator(0, device).device, f"the batch is on {x.device}, not {device}")
    require(x.abs().max() <= 1, f"values up to {x.abs().max():.2f}; they should stay in [-1, 1]")
    require((x < 0).any(), "no value is negative: features lie in [-1, 1] here")


@pytest.mark.parametrize(
    "p", [0.3, P_INST, P_FEATURE, P_BOTH], ids=["number", "inst", "feature", "both"]
)
def test_signed_features__are_active_as_often_as_asked(impl, seed, device, p):
    """Each feature of each instance is active with its own probability."""
    x, full = sampled(impl, seed, device, p)
    counts = (x != 0).sum(0)
    for i in range(3):
        for f in range(4):
            low, high = binomial_bounds(N, float(full[i, f]), ALARM)
            share, asked = int(counts[i, f]) / N, float(full[i, f])
            say = f"inst {i}, feature {f} is active in {share:.3f} of the rows, not in {asked:.3f}"
            require(low <= counts[i, f] <= high, say)


def test_signed_features__have_both_signs_equally_often(impl, seed, device):
    """Half of the active values are positive, for every feature."""
    x, _ = sampled(impl, seed, device, P_BOTH)
    for i in range(3):
        for f in range(4):
            on = x[:, i, f][x[:, i, f] != 0]
            low, high = binomial_bounds(len(on), 0.5, ALARM)
            say = f"inst {i}, feature {f}: {int((on > 0).sum())} of {len(on)} active values are > 0"
            require(low <= (on > 0).sum() <= high, f"{say}; it should be about half")


def test_signed_features__are_uniform_when_active(impl, seed, device):
    """An active feature is uniform on [-1, 1], however rare it is."""
    x, full = sampled(impl, seed, device, P_BOTH)
    for i in range(3):
        for f in range(4):
            on = x[:, i, f][x[:, i, f] != 0].double().sort().values
            n, p = len(on), float(full[i, f])
            require(n > 50, f"inst {i}, feature {f} with p = {p:.2f} is hardly ever active")
            grid = torch.arange(n + 1, device=on.device, dtype=torch.float64) / n
            rank = (on + 1) / 2
            distance = torch.maximum((grid[1:] - rank).abs().max(), (rank - grid[:-1]).abs().max())
            say = f"active values of inst {i}, feature {f} (p = {p:.2f}) lie between {on[0]:.2f}"
            shape = f"{say} and {on[-1]:.2f} with mean {on.mean():.2f} and spread {on.std():.2f}"
            # Dvoretzky-Kiefer-Wolfowitz: the bound has the form of Hoeffding's
            fits = distance <= hoeffding(n, 1.0, ALARM)
            require(fits, f"{shape}; uniform on [-1, 1] has mean 0 and spread 0.58")


def test_signed_features__follow_the_uniform_law_closely(impl, seed, device):
    """All active values together have the distribution function of a uniform law on [-1, 1]."""
    x, _ = sampled(impl, seed, device, 0.9)
    rank = (x[x != 0].double().sort().values + 1) / 2
    n = len(rank)
    grid = torch.arange(n + 1, device=rank.device, dtype=torch.float64) / n
    distance = torch.maximum((grid[1:] - rank).abs().max(), (rank - grid[:-1]).abs().max())
    say = f"their distribution function is off by {distance:.3f} in the worst place"
    # Dvoretzky-Kiefer-Wolfowitz again: 0.015 for these 43,000 values
    require(distance <= hoeffding(n, 1.0, ALARM), f"the active values are not uniform: {say}")


@pytest.mark.parametrize(("batch", "inst", "feature"), [(1, 1, 1), (3, 2, 5), (1, 4, 2)])
def test_signed_features__come_in_any_size(impl, seed, device, batch, inst, feature):
    """Batches of one row, one instance or one feature are fine, whatever the probability's form."""
    for p in (0.5, torch.rand(inst, 1, generator=generator(seed)).to(device)):
        x = impl.signed_features(batch, inst, feature, p, generator(seed, device))
        say = f"the batch has shape {tuple(x.shape)}, expected ({batch}, {inst}, {feature})"
        require(tuple(x.shape) == (batch, inst, feature), say)


def test_signed_features__leave_the_probabilities_alone(impl, seed, device):
    """The probabilities that were given stay as they are."""
    p = torch.tensor(P_BOTH, device=device)
    with unchanged(p):
        impl.signed_features(5, 3, 4, p, generator(seed, device))


def _pairs(x: Tensor, axis: str) -> list[tuple[str, Tensor, Tensor]]:
    """(what, one, other): columns that must be independent along an axis."""
    if axis == "feature":
        return [
            (f"features {i} and {j}", x[:, 1, i], x[:, 1, j]) for i, j in combinations(range(4), 2)
        ]
    if axis == "inst":
        return [
            (f"instances {i} and {j}", x[:, i, 2], x[:, j, 2]) for i, j in combinations(range(3), 2)
        ]
    return [("neighbouring rows of the batch", x[0::2, i, i], x[1::2, i, i]) for i in range(3)]


@pytest.mark.parametrize("axis", ["batch", "inst", "feature"])
def test_signed_features__are_switched_on_independently(impl, seed, device, axis):
    """Whether one entry is active says nothing about another."""
    x, _ = sampled(impl, seed, device, 0.5)
    for what, one, other in _pairs(x, axis):
        both = ((one != 0) & (other != 0)).double().mean().item()
        say = f"{what} are active together in {both:.3f} of the cases; independent ones in 0.250"
        require(abs(both - 0.25) <= hoeffding(len(one), 1.0, ALARM), say)


@pytest.mark.parametrize("axis", ["batch", "inst", "feature"])
def test_signed_features__have_independent_signs_and_sizes(impl, seed, device, axis):
    """Neither the sign nor the size of one entry says anything about another."""
    x, _ = sampled(impl, seed, device, 0.9)
    for what, one, other in _pairs(x, axis):
        on = (one != 0) & (other != 0)
        require(on.sum() > 500, f"{what} are hardly ever active together at p = 0.9")
        a, c, n = one[on].double(), other[on].double(), int(on.sum())
        agree = (a * c > 0).double().mean().item()
        say = f"{what} have the same sign in {agree:.3f} of the cases; independent ones in 0.500"
        require(abs(agree - 0.5) <= hoeffding(n, 1.0, ALARM), say)
        together = ((a.abs() - 0.5) * (c.abs() - 0.5)).mean().item()
        say = f"the sizes of {what} go together (covariance {together:.3f}; independent ones: 0)"
        require(abs(together) <= hoeffding(n, 0.5, ALARM), say)


def test_signed_features__come_from_the_generator(impl, device, seed):
    """The same generator state gives the same batch, another one gives another batch."""
    one = impl.signed_features(6, 3, 4, 0.5, generator(seed, device))
    same = impl.signed_features(6, 3, 4, 0.5, generator(seed, device))
    other = impl.signed_features(6, 3, 4, 0.5, generator(seed + 1, device))
    say = "use gen for every draw"
    require(torch.equal(one, same), f"two calls with equal generators differ: {say}")
    require(not torch.equal(one, other), f"another generator gave the same batch: {say}")


def test_signed_features__never_and_always(impl, seed, device):
    """Probability 0 gives zeros only, probability 1 gives (almost) none."""
    x, _ = sampled(impl, seed, device, [[0.0], [1.0], [0.5]], n=1000)
    require(not x[:, 0].any(), "a feature with probability 0 is active")
    zeros = int((x[:, 1] == 0).sum())  # a float32 uniform is exactly 1/2 once in 2^24 draws
    require(zeros <= 3, f"{zeros} of 4000 entries with probability 1 are 0")


def test_signed_features__have_the_mean_square_of_the_reference(impl, ref, seed, device):
    """The mean square of each feature agrees with the reference's, within chance."""
    x, full = sampled(impl, seed, device, P_BOTH)
    expected = ref.signed_features(N, 3, 4, full, generator(seed + 77, device)).square().mean(0)
    gap = (x.square().mean(0) - expected).abs()
    where = first_index(gap == gap.max(), "inst feature")
    allowed = 2 * hoeffding(N, 1.0, ALARM)
    require((gap <= allowed).all(), f"the mean square at {where} is off by {gap.max():.3f}")


# ----------------------------------------------------------------------------- d3. two_neurons_each


def built(impl, feature: int):
    """The learner's weights, with their shapes checked."""
    weights = impl.two_neurons_each(feature)
    require(
        isinstance(weights, list | tuple) and len(weights) == 3,
        "return W1, W2 and b, in this order",
    )
    shapes = [(1, 2 * feature, feature), (1, feature, 2 * feature), (1, feature)]
    for name, w, shape in zip(("W1", "W2", "b"), weights, shapes, strict=True):
        require(isinstance(w, Tensor), f"{name} is not a tensor")
        require(tuple(w.shape) == shape, f"{name} has shape {tuple(w.shape)}, expected {shape}")
        say = f"{name} is {w.dtype}; the weights should be torch.float32, torch's default"
        require(w.dtype == torch.float32, say)
    return weights


@pytest.mark.parametrize("feature", [1, 2, 5])
def test_two_neurons_each__of_one_feature_alone(impl, feature):
    """With one feature on, its output is |x| and all other outputs are 0."""
    W1, W2, b = (w.double() for w in built(impl, feature))
    eye = torch.eye(feature, dtype=torch.float64)
    x = torch.cat([0.75 * eye, -0.5 * eye])[:, None]
    hint = "x has one entry, 0.75 or -0.5, and zeros elsewhere"
    assert_same(network(x, W1, W2, b), x.abs(), AXES, hint=hint)


def test_two_neurons_each__of_all_features_at_once(impl, ref, seed):
    """The network, run by the reference's forward pass, gives |x| for any x."""
    g = generator(seed + 51)
    for feature in (1, 3, 6):
        x = 4 * torch.rand(20, 1, feature, generator=g) - 2
        assert_same(ref.abs_forward(x, *built(impl, feature)), x.abs(), AXES)


def test_two_neurons_each__is_sure_that_nothing_is_nothing(impl):
    """x = 0 gives 0."""
    W1, W2, b = (w.double() for w in built(impl, 3))
    out = network(torch.zeros(1, 1, 3, dtype=torch.float64), W1, W2, b)
    assert_same(out, torch.zeros(1, 1, 3, dtype=torch.float64), AXES, hint="here x = 0")


# ------------------------------------------------------------------------------ d4. rescale_neurons


def pair(seed, device, shape=(3, 5, 4), dtype=torch.float32):
    """W1 (inst, hidden, feature) and W2 with one dead neuron."""
    g = generator(seed + 61, device)
    inst, hidden, feature = shape
    W1 = 3 * normal(g, inst, hidden, feature, dtype=dtype)
    W1[0, 2] = 0
    return W1, normal(g, inst, feature, hidden, dtype=dtype)


def test_rescale_neurons__makes_the_largest_input_weight_one(impl, seed, device):
    """Every live neuron's largest input weight is 1 in size."""
    W1, W2 = pair(seed, device)
    new = impl.rescale_neurons(W1, W2)[0]
    require(new.isfinite().all(), "a dead neuron gives NaN or infinity: its scale is 0")
    largest = new.abs().amax(-1)
    expected = torch.ones(3, 5, device=device)
    expected[0, 2] = 0  # the dead neuron
    assert_same(largest, expected, "inst hidden", hint="the largest |W1| of each neuron")


@pytest.mark.parametrize("size", [0.02, 1e-4, 1e-12])
def test_rescale_neurons__raises_small_weights_too(impl, seed, device, size):
    """Neurons whose largest input weight is far below 1 are scaled up to 1."""
    W1, W2 = pair(seed, device, dtype=torch.float64)
    small = size * W1 / W1.abs().amax()
    new = impl.rescale_neurons(small, W2)
    expected = torch.ones(3, 5, device=device, dtype=torch.float64)
    expected[0, 2] = 0  # the dead neuron
    hint = f"all input weights are at most {size:g} in size here"
    assert_same(new[0].abs().amax(-1), expected, "inst hidden", hint=hint)
    product = new[1].mT[..., None] * new[0][..., None, :]  # what a neuron hands on, per unit of x
    handed = W2.mT[..., None] * small[..., None, :]
    assert_same(product / size, handed / size, "inst hidden feature source", hint=hint)


def test_rescale_neurons__of_one_neuron_and_one_feature(impl, device):
    """The smallest network: W1 = -0.5 becomes -1, and W2 = 3 becomes 1.5."""
    W1, W2 = torch.full((1, 1, 1), -0.5, device=device), torch.full((1, 1, 1), 3.0, device=device)
    expected = (2 * W1, W2 / 2)
    out = impl.rescale_neurons(W1, W2)
    assert_same(list(out), list(expected), [NEURONS, "inst feature hidden"])


def test_rescale_neurons__leaves_the_network_as_it_was(impl, seed, device):
    """The network computes the same as before."""
    W1, W2 = pair(seed, device, dtype=torch.float64)
    x = normal(generator(seed + 62, device), 20, 3, 4, dtype=torch.float64)
    b = normal(generator(seed + 63, device), 3, 4, dtype=torch.float64)
    new = impl.rescale_neurons(W1, W2)
    hint = "the outputs of the rescaled network"
    assert_same(network(x, new[0], new[1], b), network(x, W1, W2, b), AXES, hint=hint)


def test_rescale_neurons__leaves_a_dead_neuron_alone(impl, seed, device):
    """A neuron that reads nothing keeps its output weights."""
    W1, W2 = pair(seed, device)
    new = impl.rescale_neurons(W1, W2)
    assert_same(new[0][0, 2], W1[0, 2], "feature")
    assert_same(new[1][0, :, 2], W2[0, :, 2], "feature", hint="neuron 2 of instance 0 is dead")


def test_rescale_neurons__keeps_signs_and_a_second_time_changes_nothing(impl, seed, device):
    """Signs stay, and a rescaled network stays as it is."""
    W1, W2 = pair(seed, device)
    once = impl.rescale_neurons(W1, W2)
    require(torch.equal(once[0].sign(), W1.sign()), "a sign of W1 changed: divide by a size")
    twice = impl.rescale_neurons(*once)
    assert_same(list(twice), list(once), [NEURONS, "inst feature hidden"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rescale_neurons__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, keeps the dtype and makes new tensors."""
    W1, W2 = pair(seed, device, dtype=dtype)
    with unchanged(W1, W2):
        out = impl.rescale_neurons(W1, W2)
    axes = [NEURONS, "inst feature hidden"]
    assert_same(list(out), list(ref.rescale_neurons(W1, W2)), axes)


# ---------------------------------------------------------------------------------- d5. unexplained


def fraction_args(seed, device, dtype=torch.float32, shape=(7, 3, 4)):
    """x, y_hat and a probability for each instance and feature."""
    g = generator(seed + 81, device)
    x, y_hat = normal(g, *shape, dtype=dtype), normal(g, *shape, dtype=dtype)
    return x, y_hat, (0.1 + 0.8 * uniform(g, *shape[1:])).to(dtype)


def test_unexplained__by_hand(impl, device):
    """With p = 1 the variance is 1/12, so the fraction is twelve times the mean squared error."""
    x = torch.tensor([[[-1.0, 0.5]], [[0.0, -0.5]]], device=device)
    y_hat = torch.tensor([[[0.5, 0.5]], [[0.5, 0.0]]], device=device)
    # mean squared errors (0.25 + 0.25) / 2 and (0 + 0.25) / 2
    expected = torch.tensor([[3.0, 1.5]], device=device)
    assert_same(impl.unexplained(x, y_hat, torch.ones(1, 1, device=device)), expected)


def test_unexplained__of_the_right_answer_is_zero(impl, seed, device):
    """y_hat = |x| leaves nothing."""
    x, _, p = fraction_args(seed, device)
    assert_same(impl.unexplained(x, x.abs(), p), torch.zeros(3, 4, device=device), "inst feature")


def test_unexplained__of_the_best_constant_is_one(impl, device):
    """The mean of |x| as an answer leaves everything."""
    grid = (torch.arange(1000, device=device).double() + 0.5) / 1000  # |x| for p = 1, evenly
    sign = torch.where(torch.arange(1000, device=device) % 2 == 0, 1.0, -1.0)
    x = (grid * sign)[:, None, None].expand(1000, 2, 3)
    left = impl.unexplained(x, torch.full_like(x, 0.5), torch.ones(2, 1, device=device).double())
    expected = torch.ones(2, 3, device=device, dtype=torch.float64)
    assert_same(left, expected, "inst feature", 1e-4, 1e-6, "here y_hat is the mean of |x|")


@pytest.mark.parametrize("p", [1e-6, 0.01, 0.35, 0.8])
def test_unexplained__is_one_where_the_error_is_that_of_the_best_constant(impl, device, p):
    """The least expected loss over many constants counts as 1, however rare the feature is."""
    c = torch.linspace(0, 1, 8001, device=device, dtype=torch.float64) * min(1.0, 4 * p)
    loss = (1 - p) * c**2 + p * ((1 - c) ** 3 + c**3) / 3  # off; on, and uniform on [0, 1]
    y_hat = loss.min().sqrt().expand(2, 1, 1)
    left = impl.unexplained(torch.zeros_like(y_hat), y_hat, torch.full_like(y_hat[0], p))
    hint = f"p = {p:g}; the mean squared error is {loss.min():.3g}, that of the best constant"
    assert_same(left, torch.ones_like(left), "inst feature", 1e-4, 1e-6, hint)


@pytest.mark.parametrize("shape", [(3, 4), (3, 1), (1, 4), (1, 1)])
def test_unexplained__equals_reference(impl, ref, seed, device, shape):
    """It agrees with the reference for every shape that a probability may have."""
    x, y_hat, p = fraction_args(seed, device, torch.float64)
    p = p[: shape[0], : shape[1]]
    with unchanged(x, y_hat, p):
        out = impl.unexplained(x, y_hat, p)
    assert_same(out, ref.unexplained(x, y_hat, p), "inst feature")


def test_unexplained__of_a_single_row(impl, ref, seed, device):
    """A batch of one row is its own mean."""
    x, y_hat, p = fraction_args(seed, device, shape=(1, 2, 3))
    assert_same(impl.unexplained(x, y_hat, p), ref.unexplained(x, y_hat, p), "inst feature")


def test_unexplained__keeps_features_and_instances_apart(impl, seed, device):
    """A worse output for one feature changes the fraction of that feature only."""
    x, y_hat, p = fraction_args(seed, device)
    worse = y_hat.clone()
    worse[:, 1, 2] += 3
    moved = impl.unexplained(x, worse, p) - impl.unexplained(x, y_hat, p)
    expected = torch.zeros(3, 4, dtype=torch.bool, device=device)
    expected[1, 2] = True
    require(moved.shape == expected.shape, f"the result has shape {tuple(moved.shape)}, not (3, 4)")
    same = torch.equal(moved.abs() > 1e-4, expected)
    require(same, "only feature 2 of instance 1 was changed, but other entries moved (or none)")


# ------------------------------------------------------------------------------------ e1. path_gain

GAIN = "inst hidden target source"
READ, WRITE = [[2.0, -0.5]], [[0.5], [2.0]]  # TMS's asymmetric neuron


def test_path_gain__of_the_asymmetric_neuron(impl, device):
    """The neuron of TMS has own gains 1 and 1, and interferences 4 and 1/4."""
    W1, W2 = torch.tensor([READ], device=device), torch.tensor([WRITE], device=device)
    expected = torch.tensor([[[[1.0, 0.25], [4.0, 1.0]]]], device=device)
    assert_same(impl.path_gain(W1, W2), expected, GAIN)


def test_path_gain__is_what_one_feature_does_through_one_neuron(impl, seed, device):
    """It equals the push on each output with one feature on and all other neurons removed."""
    _, W1, W2, _ = untied(seed, device, (1, 2, 3, 4), torch.float64)
    gain = impl.path_gain(W1, W2)
    require(gain.shape == (2, 4, 3, 3), f"the result has shape {tuple(gain.shape)}: {GAIN}?")
    for i in range(2):
        for k in range(4):
            for s in range(3):
                h = max(float(W1[i, k, s]), -float(W1[i, k, s]))  # on the side where it fires
                hint = f"inst {i}, neuron {k}, source {s} at the side where the neuron fires"
                assert_same(gain[i, k, :, s], W2[i, :, k] * h, "target", hint=hint)


def test_path_gain__does_not_depend_on_a_neurons_scale(impl, seed, device):
    """Twice the input weights and half the output weights give the same gains."""
    _, W1, W2, _ = untied(seed, device)
    scale = torch.tensor([2.0, 0.25], device=device)
    moved = impl.path_gain(W1 * scale[:, None], W2 / scale)
    assert_same(moved, impl.path_gain(W1, W2), GAIN)


def test_path_gain__interferences_have_the_product_of_the_own_gains(impl, seed, device):
    """For two features of one neuron both products of gains are the same."""
    _, W1, W2, _ = untied(seed, device, (1, 2, 4, 3), torch.float64)
    gain = impl.path_gain(W1, W2)
    own = gain.diagonal(dim1=-2, dim2=-1)
    assert_same(gain * gain.mT, own[..., :, None] * own[..., None, :], GAIN)


@pytest.mark.parametrize("shape", [(1, 3, 4, 2), (1, 2, 3, 6)])
def test_path_gain__equals_reference(impl, ref, seed, device, shape):
    """It agrees with the reference, keeps the dtype and leaves its inputs alone."""
    _, W1, W2, _ = untied(seed, device, shape, torch.float64)
    with unchanged(W1, W2):
        out = impl.path_gain(*views(W1, W2))
        impl.path_gain(W1, W2)
    assert_same(out, ref.path_gain(W1, W2), GAIN)


# ----------------------------------------------------------------------------- e2. asymmetric_pairs

MASK = "inst hidden strong weak"


def gain_of(device, read, write) -> Tensor:
    """Path gains (inst hidden target source) of one instance, from its input and output weights."""
    W1, W2 = torch.tensor(read, device=device), torch.tensor(write, device=device)
    return (W2.T[:, :, None] * W1.abs()[:, None, :])[None]


def test_asymmetric_pairs__finds_the_motif(impl, device):
    """In the neuron of TMS, feature 0 is the strong one and feature 1 the weak one."""
    expected = torch.zeros(1, 1, 2, 2, dtype=torch.bool, device=device)
    expected[0, 0, 0, 1] = True
    assert_same(impl.asymmetric_pairs(gain_of(device, READ, WRITE)), expected, MASK)


def test_asymmetric_pairs__a_symmetric_neuron_has_none(impl, device):
    """A neuron that reads and writes two features alike is not asymmetric."""
    gain = gain_of(device, [[1.0, -1.0], [1.5, 1.0]], [[1.0, 0.7], [1.0, 1.0]])
    expected = torch.zeros(1, 2, 2, 2, dtype=torch.bool, device=device)
    assert_same(impl.asymmetric_pairs(gain), expected, MASK)


def test_asymmetric_pairs__both_features_must_be_served_by_the_same_neuron(impl, device):
    """A push on an output that the neuron does not serve is no pair."""
    read = [[2.0, -0.05, 0.0], [0.0, 0.5, 0.4]]
    write = [[0.5, 0.1], [2.0, 2.0], [-3.0, 2.5]]
    # neuron 0 serves feature 0 (own gains 1, 0.1, 0), neuron 1 serves 1 and 2 (0, 1, 1)
    gain = gain_of(device, read, write)
    found = impl.asymmetric_pairs(gain, 0.5, 1.5)
    expected = torch.zeros(1, 2, 3, 3, dtype=torch.bool, device=device)
    expected[0, 1, 1, 2] = True  # 2.5 * 0.5 against 2 * 0.4
    assert_same(found, expected, MASK, hint="min_gain = 0.5, ratio = 1.5")


def test_asymmetric_pairs__counts_what_lies_on_the_bounds(impl, device):
    """At exactly `min_gain` and exactly `ratio` a pair still counts; just above, it does not."""
    gain = gain_of(device, READ, WRITE)  # own gains 1, ratio 16, all exact in binary
    for bounds, what in (((1.0, 8.0), "min_gain = 1 is"), ((0.5, 16.0), "ratio = 16 is")):
        found = impl.asymmetric_pairs(gain, *bounds)
        require(found.sum() == 1, f"{what} met exactly, and so the pair counts")
    for bounds in ((1.0, 16.5), (1.01, 16.0)):
        found = impl.asymmetric_pairs(gain, *bounds)
        require(not found.any(), f"min_gain, ratio = {bounds} are not met")


def test_asymmetric_pairs__renaming_features_renames_pairs(impl, seed, device):
    """A permutation of the features permutes the mask."""
    g = generator(seed + 101, device)
    gain = gain_of(device, normal(g, 5, 6).tolist(), normal(g, 6, 5).abs().tolist())
    order = torch.tensor([4, 2, 0, 5, 1, 3], device=device)
    renamed = gain[:, :, order][:, :, :, order]
    found = impl.asymmetric_pairs(gain, 0.1, 2.0)
    expected = found[:, :, order][:, :, :, order]
    assert_same(impl.asymmetric_pairs(renamed, 0.1, 2.0), expected, MASK)


@pytest.mark.parametrize(("min_gain", "ratio"), [(0.5, 4.0), (0.1, 1.5), (0.8, 3.0)])
def test_asymmetric_pairs__equals_reference(impl, ref, seed, device, min_gain, ratio):
    """It agrees with the reference on random weights of several instances."""
    g = generator(seed + 102, device)
    W1, W2 = normal(g, 3, 4, 5), normal(g, 3, 5, 4)
    gain = ref.path_gain(W1, W2)
    with unchanged(gain):
        out = impl.asymmetric_pairs(gain, min_gain, ratio)
    assert_same(out, ref.asymmetric_pairs(gain, min_gain, ratio), MASK)


# ----------------------------------------------------------------------------------- e3. lone_drive

DRIVE = "inst side target source"


def test_lone_drive__by_hand(impl, device):
    """Two neurons and two features, worked out by hand, come out right."""
    W1 = torch.tensor([[[2.0, -0.5], [1.0, 0.0]]], device=device)
    W2 = torch.tensor([[[0.5, 0.0], [2.0, -3.0]]], device=device)
    # +1: source 0 gives h = (2, 1), pushes (1, 1); source 1 gives h = (0, 0)
    # -1: source 0 gives h = (0, 0); source 1 gives h = (0.5, 0), pushes (0.25, 1)
    expected = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.25], [0.0, 1.0]]]], device=device)
    assert_same(impl.lone_drive(W1, W2), expected, DRIVE)


def test_lone_drive__is_the_network_with_one_feature_on(impl, seed, device):
    """It equals what the network gives for one feature at +1 or -1, before bias and ReLU."""
    _, W1, W2, _ = untied(seed, device, (1, 2, 3, 5), torch.float64)
    drive = impl.lone_drive(W1, W2)
    require(drive.shape == (2, 2, 3, 3), f"the result has shape {tuple(drive.shape)}: {DRIVE}?")
    bias = torch.full((2, 3), 100.0, dtype=torch.float64, device=device)  # keeps the ReLU open
    for side, sign in enumerate((1.0, -1.0)):
        x = sign * torch.eye(3, dtype=torch.float64, device=device)
        out = network(x[:, None].expand(3, 2, 3), W1, W2, bias) - bias  # source inst target
        hint = f"side {side}: one feature is {sign:+.0f}, all others are 0"
        assert_same(drive[:, side], out.permute(1, 2, 0), "inst target source", 1e-7, 1e-9, hint)


def test_lone_drive__turning_x_round_swaps_the_sides(impl, seed, device):
    """With -W1 the two sides change places."""
    _, W1, W2, _ = untied(seed, device)
    assert_same(impl.lone_drive(-W1, W2), impl.lone_drive(W1, W2).flip(1), DRIVE)


@pytest.mark.parametrize("shape", [(1, 3, 4, 2), (1, 1, 2, 5)])
def test_lone_drive__equals_reference(impl, ref, seed, device, shape):
    """It agrees with the reference, keeps the dtype and leaves its inputs alone."""
    _, W1, W2, _ = untied(seed, device, shape, torch.float64)
    with unchanged(W1, W2):
        out = impl.lone_drive(*views(W1, W2))
        impl.lone_drive(W1, W2)
    assert_same(out, ref.lone_drive(W1, W2), DRIVE)


# ------------------------------------------------------------------------------ e4. inhibited_pairs


def circuit(device, inhibitor_reads=1.0, inhibitor_writes=-4.0, sign=1.0):
    """TMS's asymmetric neuron, and a second neuron that inhibits the weak output."""
    W1 = torch.tensor([[[2.0 * sign, -0.5], [inhibitor_reads, 0.0]]], device=device)
    W2 = torch.tensor([[[0.5, 0.0], [2.0, inhibitor_writes]]], device=device)
    pairs = torch.zeros(1, 2, 2, 2, dtype=torch.bool, device=device)
    pairs[0, 0, 0, 1] = True
    return W1, W2, pairs


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_inhibited_pairs__finds_the_inhibitor_on_the_right_side(impl, device, sign):
    """An inhibitor counts when it fires together with the shared neuron, not on the other side."""
    W1, W2, pairs = circuit(device, inhibitor_reads=sign, sign=sign)
    found = impl.inhibited_pairs(W1, W2, pairs)
    hint = f"the shared neuron fires for x = {sign:+.0f}, and so does the inhibitor"
    assert_same(found, pairs, MASK, hint=hint)
    W1, W2, pairs = circuit(device, inhibitor_reads=-sign, sign=sign)
    found = impl.inhibited_pairs(W1, W2, pairs)
    hint = f"the shared neuron fires for x = {sign:+.0f}, the inhibitor on the other side"
    assert_same(found, torch.zeros_like(pairs), MASK, hint=hint)


def test_inhibited_pairs__without_an_inhibitor_there_are_none(impl, device):
    """A second neuron that writes nothing, or pushes up, does not inhibit."""
    for writes in (0.0, 1.0):
        W1, W2, pairs = circuit(device, inhibitor_writes=writes)
        found = impl.inhibited_pairs(W1, W2, pairs)
        hint = f"the second neuron writes {writes} into the weak output"
        assert_same(found, torch.zeros_like(pairs), MASK, hint=hint)


def test_inhibited_pairs__the_total_may_be_a_share_of_the_own_push(impl, device):
    """With an own push of 4, a total of 1 counts for share 1/4 and not for less."""
    W1, W2, pairs = circuit(device, inhibitor_writes=-3.0)  # total 4 - 3 = 1
    for share, yes in ((0.25, True), (0.5, True), (0.2, False)):
        found = impl.inhibited_pairs(W1, W2, pairs, share)
        require(
            bool(found[0, 0, 0, 1]) == yes, f"own push 4, total 1, share {share}: {yes} expected"
        )


def test_inhibited_pairs__only_asks_about_the_given_pairs(impl, seed, device):
    """Without pairs there is nothing to find, and no pair is added."""
    W1, W2, pairs = circuit(device)
    empty = torch.zeros_like(pairs)
    assert_same(impl.inhibited_pairs(W1, W2, empty), empty, MASK, hint="no pairs were given")


def test_inhibited_pairs__a_neuron_that_does_not_read_the_strong_feature_is_on_side_one(
    impl, device
):
    """Where the input weight is exactly 0, side 1 counts."""
    W1 = torch.tensor([[[0.0, -0.5], [1.0, 0.0]]], device=device)
    pairs = torch.zeros(1, 2, 2, 2, dtype=torch.bool, device=device)
    pairs[0, 0, 0, 1] = True
    for sign in (1.0, -1.0):  # neuron 1 pushes the weak output down at +1, or at -1
        turned = W1 * torch.tensor([1.0, sign], device=device)[:, None]
        W2 = torch.tensor([[[0.5, 0.0], [2.0, 3.0]]], device=device)
        found = impl.inhibited_pairs(turned, W2, pairs)
        hint = (
            f"neuron 0 does not read feature 0; neuron 1 pushes the weak output up at {sign:+.0f}"
        )
        expected = pairs if sign > 0 else torch.zeros_like(pairs)
        assert_same(found, expected, MASK, hint=hint)


@pytest.mark.parametrize("share", [0.25, -0.5, 0.9])
def test_inhibited_pairs__equals_reference(impl, ref, seed, device, share):
    """It agrees with the reference on random weights and random pairs."""
    g = generator(seed + 111, device)
    W1, W2 = normal(g, 3, 4, 5), normal(g, 3, 5, 4)
    pairs = uniform(g, 3, 4, 5, 5) < 0.5
    with unchanged(W1, W2, pairs):
        out = impl.inhibited_pairs(W1, W2, pairs, share)
    assert_same(out, ref.inhibited_pairs(W1, W2, pairs, share), MASK)


# -------------------------------------------------------------------------- f1. features_per_neuron


def test_features_per_neuron__counts_equal_gains(impl, device):
    """One gain counts 1, two equal gains 2, four equal gains 4."""
    gain = torch.tensor(
        [[[0.0, 2.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5], [3.0, 3.0, 3.0, 3.0]]], device=device
    )
    expected = torch.tensor([[1.0, 2.0, 4.0]], device=device)
    assert_same(impl.features_per_neuron(gain), expected, "inst hidden")


def test_features_per_neuron__by_hand(impl, device):
    """Gains 3 and 1 count 16 / 10."""
    gain = torch.tensor([[[3.0, 0.0, 1.0]]], device=device)
    expected = torch.tensor([[1.6]], device=device)
    assert_same(impl.features_per_neuron(gain), expected, "inst hidden")


def test_features_per_neuron__of_a_dead_neuron_is_zero(impl, seed, device):
    """A neuron without any gain counts 0, and the others are finite."""
    count = impl.features_per_neuron(gains(seed, device))
    require(count.isfinite().all(), "a dead neuron gives NaN: what is 0 / 0 here?")
    require(count[0, 1] == 0, f"a dead neuron counts {float(count[0, 1]):.3g}, not 0")


def test_features_per_neuron__does_not_depend_on_the_scale(impl, seed, device):
    """Each neuron's gains may be multiplied by any positive number."""
    gain = gains(seed, device)
    scale = torch.tensor([1e-10, 1.0, 30.0, 1e-5], device=device)[None, :, None]
    one = impl.features_per_neuron(gain)
    hint = "neurons were multiplied by 1e-10, 1, 30 and 1e-5: only a gain of exactly 0 is dead"
    assert_same(impl.features_per_neuron(scale * gain), one, "inst hidden", 1e-4, 1e-6, hint)


def test_features_per_neuron__is_at_least_one_over_the_score(impl, ref, seed, device):
    """A live neuron counts at least 1 / monosemanticity, and at most the number of features."""
    gain = gains(seed, device)[1:]
    count, least = impl.features_per_neuron(gain), 1 / ref.monosemanticity(gain)
    say = "below 1 / monosemanticity, or above 5 with 5 features"
    require(((count >= least - 1e-4) & (count <= 5 + 1e-4)).all(), f"some counts are {say}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_per_neuron__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference and keeps dtype and inputs."""
    gain = gains(seed, device).to(dtype)
    with unchanged(gain):
        out = impl.features_per_neuron(gain)
    assert_same(out, ref.features_per_neuron(views(gain)[0]), "inst hidden")


# -------------------------------------------------------------------------------------- predictions


def test_predict_pure_neurons__fits_the_experiment(impl, ref):
    """At p = 0.02 almost no neuron is monosemantic."""
    assert_same(impl.predict_pure_neurons, ref.predict_pure_neurons)


def test_predict_slowest__fits_the_experiment(impl, ref):
    """The densest model aligns last."""
    assert_same(impl.predict_slowest, ref.predict_slowest)


def test_predict_linear__follows_from_symmetry(impl):
    """The covariance of x and |x| decides."""
    u = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    slope = (u * u.abs()).mean() / u.square().mean()  # of the best line through |x| - 1/2
    truth = "is exactly as good" if abs(slope) < 1e-9 else "is better"
    assert_same(impl.predict_linear, truth)


def test_predict_one_side__is_the_variance_on_the_other(impl):
    """Half of the rows are exact, the other half have the variance of a uniform number."""
    truth = (0.5 * 0 + 0.5 / 12) / (1 / 12)
    near = abs(impl.predict_one_side - truth) <= 0.02  # room for a value worked out on samples
    require(near, f"{impl.predict_one_side} is not the fraction that one side leaves")


def test_predict_large_start__fits_the_experiment(impl, ref):
    """Large initial weights leave many features half computed."""
    assert_same(impl.predict_large_start, ref.predict_large_start)


def test_predict_weak_output__fits_the_experiment(impl, ref):
    """The other neurons cancel the push, and the ReLU removes the rest."""
    assert_same(impl.predict_weak_output, ref.predict_weak_output)


def test_predict_decay__fits_the_experiment(impl, ref):
    """Unequal importances keep neurons pure."""
    assert_same(impl.predict_decay, ref.predict_decay)
