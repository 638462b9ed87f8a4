"""Tests of 3.1.7, one function per property, named test_<exercise>__<property>."""

import itertools
import math

import pytest
import torch

from utils.testing import (
    assert_same,
    binomial_bounds,
    generator,
    hoeffding,
    require,
    unchanged,
    vjp,
)

AXES = "point inst feature"


def normal(seed, device, *shape, dtype=torch.float32):
    g = generator(seed + 10, device)
    return torch.randn(shape, generator=g, device=device, dtype=dtype)


def regular(k, radius=1.0, turn=0.3):
    """k corners of a regular polygon, shape (k, 2)."""
    angle = turn + torch.arange(k) * 2 * math.pi / k
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


# ------------------------------------------------------------------------------- a. fixed_points


@pytest.mark.parametrize("probability", [0.02, 0.3, 1.0])
def test_fixed_points__every_row_has_length_one(impl, seed, device, probability):
    """Every point is finite and has length 1, also where no feature was active."""
    x = impl.fixed_points(50, 3, 7, probability, generator(seed, device))
    require(tuple(x.shape) == (50, 3, 7), f"the shape is {tuple(x.shape)}, expected (50, 3, 7)")
    require(x.isfinite().all(), "some points are NaN: what is the length of a row of zeros?")
    ones = torch.ones(50, 3, device=device)
    assert_same(x.norm(dim=-1), ones, "point inst", what="the length of the points")
    require((x >= 0).all(), "a point has a negative feature")


def test_fixed_points__empty_rows_become_single_features_drawn_uniformly(impl, seed, device):
    """A row of zeros becomes one feature, and every feature is equally likely."""
    n, features = 3000, 4
    x = impl.fixed_points(n, 2, features, 0.001, generator(seed, device))
    # P(row empty) = 0.999^4 = 0.996, and a row with one active feature is normalised to a single 1
    single = (x == 1).sum(dim=(0, 1))
    lo, hi = binomial_bounds(2 * n, 1 / features, false_alarm=1e-7)
    slack = int(2 * n * 6 * 0.001**2) + 30  # rows with two active features, far in their tail
    for i, count in enumerate(single.tolist()):
        require(
            lo - slack <= count <= hi, f"feature {i} is the single one {count} times in {2 * n}"
        )


def test_fixed_points__short_rows_are_neither_empty_nor_shorter(impl, seed, device):
    """A row with a tiny entry has length 1 too, and it is not taken for an empty one."""
    x = impl.fixed_points(20_000, 1, 2, 1.0, generator(seed, device))
    ones = torch.ones(20_000, 1, device=device)
    assert_same(x.norm(dim=-1), ones, "point inst", what="the length of the points")
    empty = int((x == 0).any(dim=-1).sum())
    # a uniform number is exactly 0 once in 2^24 draws
    require(empty <= 2, f"{empty} short rows became a single feature, though nothing in them is 0")


def test_fixed_points__instances_have_their_own_points(impl, seed, device):
    """Two instances do not share their points, and points differ from each other."""
    x = impl.fixed_points(40, 2, 30, 0.5, generator(seed, device))
    require((x[:, 0] - x[:, 1]).abs().max() > 1e-3, "both instances have the same points")
    require((x[0] - x[1]).abs().max() > 1e-3, "two points are the same")


def test_fixed_points__empty_rows_are_drawn_anew_in_every_instance_and_row(impl, seed, device):
    """The features of two empty rows agree by chance only: between instances, between points."""
    n, features = 2000, 5
    x = impl.fixed_points(n, 3, features, 1e-5, generator(seed, device))
    drawn = x.argmax(dim=-1)
    lo, hi = binomial_bounds(n, 1 / features, false_alarm=1e-7)
    for i, j in [(0, 1), (1, 2)]:
        same = int((drawn[:, i] == drawn[:, j]).sum())
        say = f"instances {i} and {j} have the same feature in {same} of {n} empty rows"
        require(lo - 3 <= same <= hi + 3, f"{say}; by chance it is {lo} to {hi}")
    lo, hi = binomial_bounds(n // 2, 1 / features, false_alarm=1e-7)
    same = int((drawn[0::2, 1] == drawn[1::2, 1]).sum())
    say = f"neighbouring empty rows have the same feature in {same} of {n // 2} pairs"
    require(lo - 3 <= same <= hi + 3, f"{say}; by chance it is {lo} to {hi}")


def test_fixed_points__marginals_are_those_of_sparse_features(impl, seed, device):
    """Each feature is active with its probability, in every instance."""
    n, p = 4000, 0.3
    x = impl.fixed_points(n, 2, 6, p, generator(seed, device))
    # an empty row (0.7^6 = 0.118) gains one feature: P(active) = p + 0.7^6 / 6
    lo, hi = binomial_bounds(n, p + 0.7**6 / 6, false_alarm=1e-7)
    for inst in range(2):
        for feature in range(6):
            count = int((x[:, inst, feature] > 0).sum())
            say = f"feature {feature} of instance {inst} is active in {count} of {n} points"
            require(lo <= count <= hi, f"{say}; {lo} to {hi} were expected")


def test_fixed_points__strengths_vary(impl, seed, device):
    """Among points with several features the strengths differ, as uniform numbers do."""
    x = impl.fixed_points(2000, 1, 2, 1.0, generator(seed, device))[:, 0]
    share = (x[:, 0] > x[:, 1]).float().mean().item()
    require(abs(share - 0.5) < hoeffding(2000), f"feature 0 is the larger one in {share:.0%}")
    # tan(angle) = u1/u2 < 1/2 has probability 1/4
    small = (x[:, 1] < 0.5 * x[:, 0]).float().mean().item()
    say = "u1/u2 < 1/2 should have probability 1/4"
    require(abs(small - 0.25) < hoeffding(2000), f"{say}, here {small:.2f}")


def test_fixed_points__repeats_with_its_generator(impl, device, seed):
    """The same generator state gives the same points."""
    first = impl.fixed_points(9, 2, 5, 0.2, generator(seed, device))
    second = impl.fixed_points(9, 2, 5, 0.2, generator(seed, device))
    assert_same(second, first, AXES)


# --------------------------------------------------------------------------------- b1. point_loss


def test_point_loss__of_answering_zero_is_one(impl, ref, seed, device):
    """For points of length 1 the model that answers 0 has a loss of exactly 1."""
    x = ref.fixed_points(6, 3, 5, 0.5, generator(seed, device))
    assert_same(impl.point_loss(x, 0 * x), torch.ones(3, device=device), "inst")


def test_point_loss__by_hand(impl, device):
    """Two points, two instances, by hand."""
    x = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [3.0, 0.0, 0.0]]])
    x_hat = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]], [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]])
    expected = torch.tensor([3.0, 3.0], device=device)
    assert_same(impl.point_loss(x.to(device), x_hat.to(device)), expected, "inst")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_point_loss__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference on random numbers, also for one point or one instance."""
    for shape in [(5, 3, 4), (1, 3, 2), (4, 1, 3), (3, 3, 3)]:
        x, y = (normal(seed + i, device, *shape, dtype=dtype) for i in range(2))
        with unchanged(x, y):
            mine = impl.point_loss(x, y)
        assert_same(mine, ref.point_loss(x, y), "inst")


def test_point_loss__sends_gradients(impl, ref, seed, device):
    """The gradient by the reconstruction is 2 (x_hat - x) / points, times what comes from above."""
    x, y = (normal(seed + i, device, 5, 3, 4) for i in range(2))
    up = normal(seed + 7, device, 3)
    [grad] = vjp(impl.point_loss, (x, y), up, wrt=(1,))
    assert_same(grad, 2 * (y - x) / 5 * up[:, None], AXES, what="the gradient")


# ---------------------------------------------------------------------- b2. sample_dimensionality


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_sample_dimensionality__of_a_polygon_is_two_over_k(impl, device, k):
    """k points of equal length on a regular polygon have dimensionality 2/k each (a pair: 1/2)."""
    h = regular(k, radius=1.7).to(device)
    W = torch.stack([torch.eye(2), torch.eye(2)[[1, 0]]]).to(device)
    x = h[:, None].expand(k, 2, 2)
    value = 0.5 if k == 2 else 2 / k
    expected = torch.full((k, 2), value, device=device)
    assert_same(impl.sample_dimensionality(x, W), expected, "point inst", rtol=1e-4, atol=1e-5)


def test_sample_dimensionality__of_orthogonal_points_is_one(impl, seed, device):
    """Points whose hidden vectors are orthogonal have dimensionality 1, whatever their lengths."""
    Q = torch.linalg.qr(normal(seed, device, 4, 4)).Q
    x = torch.diag(torch.tensor([0.5, 1.0, 2.0, 3.0], device=device))[:, None]
    out = impl.sample_dimensionality(x, Q[None])
    assert_same(out, torch.ones(4, 1, device=device), "point inst", rtol=1e-4, atol=1e-5)


def test_sample_dimensionality__of_a_point_at_the_origin_is_zero(impl, seed, device):
    """A point with hidden vector 0 has dimensionality 0, and changes no other's."""
    x, W = normal(seed, device, 5, 3, 4), normal(seed + 1, device, 3, 2, 4)
    x[2, 1] = 0
    out = impl.sample_dimensionality(x, W)
    require(out.isfinite().all(), "a point at the origin gives NaN: what is divided by zero?")
    require(out[2, 1] == 0, f"the point at the origin has dimensionality {out[2, 1]:.3g}, not 0")
    rest = torch.tensor([0, 1, 3, 4], device=device)
    without = impl.sample_dimensionality(x[rest], W)
    assert_same(out[rest, 1], without[:, 1], "point", hint="a point at the origin is no neighbour")


def test_sample_dimensionality__short_points_count_like_long_ones(impl, seed, device):
    """Hidden vectors of length 1e-5 have the dimensionality that they have at length 1."""
    x, W = normal(seed, device, 5, 2, 4), normal(seed + 1, device, 2, 3, 4)
    W = W / W.norm(dim=(1, 2), keepdim=True)
    before, after = impl.sample_dimensionality(x, W), impl.sample_dimensionality(1e-5 * x, W)
    hint = "a floor against 0/0 must be far below the lengths that occur"
    assert_same(after, before, "point inst", rtol=1e-3, atol=1e-4, hint=hint)


def test_sample_dimensionality__a_point_alone_has_one(impl, seed, device):
    """A single point has its line for itself, in every instance."""
    x, W = normal(seed, device, 1, 3, 4), normal(seed + 1, device, 3, 2, 4)
    out = impl.sample_dimensionality(x, W)
    assert_same(out, torch.ones(1, 3, device=device), "point inst", rtol=1e-4, atol=1e-5)


def test_sample_dimensionality__sums_to_at_most_the_hidden_size(impl, seed, device):
    """All points of an instance together use at most the dimensions that there are."""
    x, W = normal(seed, device, 9, 3, 6), normal(seed + 1, device, 3, 2, 6)
    total = impl.sample_dimensionality(x, W).sum(dim=0)
    require((total <= 2 + 1e-4).all(), f"the sums are {total.tolist()}, more than 2 dimensions")


def test_sample_dimensionality__scale_cancels(impl, seed, device):
    """Scaling all of W changes nothing; scaling one instance changes no other."""
    x, W = normal(seed, device, 5, 3, 4), normal(seed + 1, device, 3, 2, 4)
    before = impl.sample_dimensionality(x, W)
    factor = torch.tensor([1.0, 3.0, 0.5], device=device)[:, None, None]
    after = impl.sample_dimensionality(x, W * factor)
    assert_same(after, before, "point inst", rtol=1e-4, atol=1e-5)


def test_sample_dimensionality__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random points of several lengths."""
    x, W = normal(seed, device, 6, 3, 5), normal(seed + 1, device, 3, 2, 5)
    with unchanged(x, W):
        out = impl.sample_dimensionality(x, W)
    assert_same(out, ref.sample_dimensionality(x, W), "point inst", rtol=1e-4, atol=1e-5)
    x, W = normal(seed, device, 3, 3, 3), normal(seed + 1, device, 3, 3, 3)
    out = impl.sample_dimensionality(x, W)
    assert_same(out, ref.sample_dimensionality(x, W), "point inst", rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------ c1. warmup_cosine


def rate(impl, step, n_steps, lr, n_warmup):
    """The rate as a plain number."""
    value = impl.warmup_cosine(step, n_steps, lr, n_warmup)
    return float(value.item() if isinstance(value, torch.Tensor) else value)


def test_warmup_cosine__warms_up_in_equal_amounts(impl):
    """Without the decay (a very long run) the rate is 1/4, 2/4, 3/4, 4/4 of the peak, then stays"""
    n = 10**9
    for step, share in enumerate([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]):
        found = rate(impl, step, n, 0.8, 4)
        assert_same(found, 0.8 * share, rtol=1e-6, what=f"the rate of step {step} (4 to warm up)")


def test_warmup_cosine__decays_like_half_a_cosine(impl):
    """With one step of warm-up it is the peak at 0, and 3/4, 1/2, 1/4 of it at 1/3, 1/2, 2/3."""
    for step, share in [(0, 1.0), (4, 0.75), (6, 0.5), (8, 0.25)]:
        found = rate(impl, step, 12, 0.3, 1)
        assert_same(found, 0.3 * share, rtol=1e-6, what=f"the rate of step {step} of 12")


def test_warmup_cosine__both_factors_act_at_once(impl):
    """During the warm-up the decay has begun already: 3/4 of the way up at a third of the run."""
    assert_same(rate(impl, 2, 6, 1.0, 4), 0.75 * 0.75, rtol=1e-6, what="the rate")
    assert_same(rate(impl, 5, 6, 1.0, 12), 0.5 * (2 - 3**0.5) / 4, rtol=1e-6, what="the rate")


def test_warmup_cosine__never_exceeds_its_peak_and_falls_after_the_warmup(impl):
    """All rates are positive and at most lr, and fall after the warm-up."""
    rates = [rate(impl, k, 50, 0.3, 7) for k in range(50)]
    require(all(0 < r <= 0.3 for r in rates), "a rate is not between 0 and lr")
    require(all(a > b for a, b in itertools.pairwise(rates[7:])), "it must fall")


def test_warmup_cosine__equals_reference(impl, ref):
    """It agrees with the reference for several lengths."""
    for step, n, warm in [(0, 10, 1), (5, 10, 10), (9, 11, 3), (99, 100, 20)]:
        assert_same(rate(impl, step, n, 0.01, warm), ref.warmup_cosine(step, n, 0.01, warm))


# --------------------------------------------------------------------------- c2. train_full_batch

RATES = [0.05, 0.1, 0.08, 0.02, 0.07, 0.01]


def problem(seed, device):
    """Two instances of different size in their gradients; biases are not zero."""
    x = torch.rand(4, 2, 5, generator=generator(seed, device), device=device)
    W, b = normal(seed, device, 2, 3, 5) * 0.5, normal(seed + 1, device, 2, 5) * 0.2 + 0.3
    return W, b, x


def adamw(W, b, x, rates, decay):
    """Loshchilov & Hutter 2019, algorithm 2, with the gradient by autograd: an independent
    oracle."""
    theta, first, second, losses = [W.clone(), b.clone()], [0, 0], [0, 0], []
    for step, lr in enumerate(rates, 1):
        live = [t.detach().requires_grad_() for t in theta]
        pre = torch.einsum("tif,ihf,ihg->tig", x, live[0], live[0]) + live[1]
        loss = (x - pre.clamp(min=0)).pow(2).sum(2).mean(0)
        losses.append(loss.detach())
        for i, g in enumerate(torch.autograd.grad(loss.sum(), live)):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g * g
            m, v = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
            theta[i] = theta[i] * (1 - lr * decay) - lr * m / (v.sqrt() + 1e-8)
    return *theta, torch.stack(losses)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_train_full_batch__follows_adamw_written_out(impl, seed, device, decay):
    """Weights and losses follow AdamW's formulas, written out in the test."""
    W, b, x = problem(seed, device)
    axes = ["inst hidden feature", "inst feature", "step inst"]
    with unchanged(W, b, x):
        mine = impl.train_full_batch(W, b, x, RATES, decay)
    assert_same(mine, adamw(W, b, x, RATES, decay), axes, rtol=1e-3, atol=1e-4)


def test_train_full_batch__returns_detached_tensors_of_every_step(impl, seed, device):
    """The results carry no graph, and there is a loss for every step and instance."""
    W, b, x = problem(seed, device)
    out = impl.train_full_batch(W, b, x, RATES, 0.1)
    require(not any(t.requires_grad for t in out), "detach what you return")
    shape = tuple(out[2].shape)
    require(shape == (len(RATES), 2), f"the losses have shape {shape}, expected (step, inst)")
    require(out[2].std(dim=0).min() > 0, "all losses are the same: is one tensor stored six times?")


def test_train_full_batch__instances_train_as_if_alone(impl, seed, device):
    """An instance whose gradients are tiny still trains as it would alone."""
    W, b, x = problem(seed, device)
    scale = 1e-3  # gradients of instance 1 come near Adam's epsilon
    W[1], b[1], x[:, 1] = W[1] * scale, b[1] * scale, x[:, 1] * scale
    both = impl.train_full_batch(W, b, x, RATES, 0.0)
    alone = impl.train_full_batch(W[1:], b[1:], x[:, 1:], RATES, 0.0)
    assert_same(both[0][1:], alone[0], "inst hidden feature", rtol=1e-4, atol=1e-6)


def test_train_full_batch__one_point_and_one_instance(impl, seed, device):
    """A single point of a single model is a training set too."""
    W, b, x = problem(seed, device)
    W, b, x = W[:1], b[:1], x[:1, :1]
    axes = ["inst hidden feature", "inst feature", "step inst"]
    mine = impl.train_full_batch(W, b, x, iter(RATES), 0.2)  # any iterable, also one used up once
    assert_same(mine, adamw(W, b, x, RATES, 0.2), axes, rtol=1e-3, atol=1e-4)


def test_train_full_batch__equals_reference(impl, ref, seed, device):
    """It agrees with the reference."""
    W, b, x = problem(seed + 3, device)
    axes = ["inst hidden feature", "inst feature", "step inst"]
    assert_same(
        impl.train_full_batch(W, b, x, RATES, 0.3), ref.train_full_batch(W, b, x, RATES, 0.3), axes
    )


# -------------------------------------------------------------------------------------- d. polygon


def numbers(out, what):
    """A pair of plain numbers; a tensor with one element counts as one."""
    require(isinstance(out, tuple | list) and len(out) == 2, f"return two values: {what}")
    first, second = (v.item() if isinstance(v, torch.Tensor) and v.numel() == 1 else v for v in out)
    require(isinstance(first, int | float) and first == int(first), f"the first is {first!r}")
    return int(first), second


def shape_of(impl, vectors):
    """What `polygon` says, its argument untouched."""
    with unchanged(vectors):
        return numbers(impl.polygon(vectors), "corners, deviation")


def at_angles(device, *degrees, lengths=None):
    """Vectors in these directions, shape (2, vector)."""
    angle = torch.tensor(degrees, device=device).deg2rad()
    vectors = torch.stack([angle.cos(), angle.sin()])
    return vectors if lengths is None else vectors * torch.tensor(lengths, device=device)


@pytest.mark.parametrize("k", [2, 3, 5, 6])
def test_polygon__regular_ones_deviate_by_nothing(impl, device, k):
    """A regular polygon of any size has deviation 0, and short vectors are ignored."""
    short = torch.tensor([[0.02, 0.05], [-0.01, 0.02]])
    corners, deviation = shape_of(impl, torch.cat([regular(k, radius=0.3), short]).T.to(device))
    assert_same(corners, k, what="the number of corners")
    require(abs(deviation) < 1e-3, f"the deviation is {deviation:.4f}°, expected 0")


def test_polygon__of_three_known_directions(impl, device):
    """Directions 0°, 90° and 200° have gaps 90, 110, 160: the deviation is 40."""
    vectors = at_angles(device, 0.0, 90.0, 200.0, lengths=[1.1, 2.0, 1.5])
    corners, deviation = shape_of(impl, vectors)
    assert_same(corners, 3, what="the number of corners")
    assert_same(deviation, 40.0, rtol=1e-4, what="the deviation")


def test_polygon__half_of_the_longest_is_a_corner(impl, device):
    """A vector of exactly half the longest length counts; a shorter one does not."""
    vectors = torch.tensor([[4.0, 0, -2, 0, 1.99], [0, 2, 0, -3, 0]], device=device)
    corners, deviation = shape_of(impl, vectors)
    assert_same(corners, 4, what="the number of corners (lengths 4, 2, 2, 3 and 1.99)")
    require(abs(deviation) < 1e-3, f"the deviation is {deviation:.4f}°, expected 0")


def test_polygon__a_small_gap_counts_as_much_as_a_large_one(impl, device):
    """Gaps of 140, 140 and 80 deviate by 40, gaps of 100, 100 and 160 too."""
    for degrees in [(0.0, 140.0, 280.0), (0.0, 100.0, 200.0)]:
        _, deviation = shape_of(impl, 3 * at_angles(device, *degrees))
        assert_same(deviation, 40.0, rtol=1e-4, what=f"the deviation of directions {degrees}")


def test_polygon__a_square_pressed_together(impl, device):
    """0°, 10°, 180°, 190°: gaps of 10 and 170 deviate by 80. 0°, 60°, 120°: that of 240 by 120."""
    corners, deviation = shape_of(impl, 3 * at_angles(device, 0.0, 10.0, 180.0, 190.0))
    assert_same(corners, 4, what="the number of corners")
    assert_same(deviation, 80.0, rtol=1e-4, what="the deviation")
    corners, deviation = shape_of(impl, 3 * at_angles(device, 0.0, 60.0, 120.0))
    assert_same(corners, 3, what="the number of corners")
    assert_same(deviation, 120.0, rtol=1e-4, what="the deviation")


def test_polygon__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random vectors."""
    for extra, n in enumerate([9, 40]):
        vectors = normal(seed + extra, device, 2, n)
        assert_same(shape_of(impl, vectors), ref.polygon(vectors), rtol=1e-4, atol=1e-3)


# ------------------------------------------------------------------------------------ e. loss_peak


def peak_of(impl, curve):
    """What `loss_peak` says, its argument untouched."""
    with unchanged(curve):
        return numbers(impl.loss_peak(curve), "index, ratio")


def test_loss_peak__by_hand(impl, device):
    """The worst loss and its ratio to the last one, by hand."""
    where, ratio = peak_of(impl, torch.tensor([1.0, 0.9, 1.2, 3.0, 0.5, 0.8], device=device))
    assert_same(where, 3, what="the index")
    assert_same(ratio, 3.0 / 0.8, rtol=1e-5, what="the ratio")


def test_loss_peak__of_a_falling_curve_is_its_first_point(impl, device):
    """A curve that only falls is worst at its start."""
    where, ratio = peak_of(impl, torch.tensor([2.0, 1.5, 1.0, 0.5], device=device))
    assert_same(where, 0, what="the index")
    assert_same(ratio, 4.0, rtol=1e-5, what="the ratio")


def test_loss_peak__of_a_rising_curve_is_its_last_point(impl, device):
    """A curve that only rises is worst at its end, where the ratio is 1."""
    where, ratio = peak_of(impl, torch.tensor([0.2, 0.5, 0.7], device=device))
    assert_same(where, 2, what="the index")
    assert_same(ratio, 1.0, rtol=1e-5, what="the ratio")


def test_loss_peak__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random curves."""
    for n in (11, 4):
        curve = torch.rand(n, generator=generator(seed + n, device), device=device) + 0.1
        assert_same(peak_of(impl, curve), ref.loss_peak(curve), rtol=1e-5)


# ------------------------------------------------------------------------------------- predictions


def test_predict_few__is_what_five_points_do(impl, ref):
    """with five training points something stands on a pentagon"""
    require(impl.predict_few == ref.predict_few, "compare the two pictures at T = 5")


def test_predict_many__is_what_thousands_of_points_do(impl, ref):
    """with three thousand training points something stands on a pentagon"""
    require(impl.predict_many == ref.predict_many, "compare the two pictures at T = 3000")


def test_predict_worst_at__is_where_the_curve_is_highest(impl, ref):
    """the number of points with the worst loss on fresh points"""
    require(impl.predict_worst_at == ref.predict_worst_at, "where is the test loss highest?")


def test_predict_test_loss__is_what_the_test_loss_does(impl, ref):
    """the worst loss on fresh points, against 1"""
    require(impl.predict_test_loss == ref.predict_test_loss, "how high is the curve at its worst?")
