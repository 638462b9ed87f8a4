"""Tests of 3.1.1, one function per property, named test_<exercise>__<property>."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from utils.testing import (
    assert_raises,
    assert_same,
    binomial_bounds,
    first_index,
    generator,
    hoeffding,
    ks_distance,
    require,
    unchanged,
    vjp,
)

AXES = "batch inst feature"
# batch, inst, feature, hidden; a batch of one, and pairs of equal axes that could be mixed up
SHAPES = [(5, 3, 4, 2), (1, 1, 2, 1), (4, 2, 3, 6), (1, 3, 4, 2), (3, 3, 5, 2), (4, 2, 3, 3)]


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def toy(seed, device, shape, dtype=torch.float32):
    """x (sparse, not negative), W, b (not zero) for one size."""
    batch, inst, feature, hidden = shape
    g = generator(seed + 100, device)
    x = normal(g, batch, inst, feature, dtype=dtype).clamp(min=0)
    return x, normal(g, inst, hidden, feature, dtype=dtype), normal(g, inst, feature, dtype=dtype)


# ---------------------------------------------------------------------------------- a. toy_forward


def test_toy_forward__two_small_models_by_hand(impl, device):
    """Two instances worked out by hand come out right."""
    x = torch.tensor([[[0.5, 0.25], [0.5, 0.25]]], device=device)
    W = torch.tensor([[[1.0, -1.0]], [[2.0, 0.0]]], device=device)
    b = torch.tensor([[0.5, 0.5], [-1.0, 0.25]], device=device)
    # inst 0: h = 0.25, W^T h = (0.25, -0.25); inst 1: h = 1, W^T h = (2, 0)
    expected = torch.tensor([[[0.75, 0.25], [1.0, 0.25]]], device=device)
    assert_same(impl.toy_forward(x, W, b), expected, AXES)


def test_toy_forward__is_never_negative(impl, seed, device):
    """Negative pre-activations become zero."""
    x, W, b = toy(seed, device, (5, 3, 4, 2))
    out = impl.toy_forward(x, W, b - 1)
    bad = out < 0
    where = first_index(bad, AXES) if bad.any() and out.ndim == 3 else "some entry"
    require(not bad.any(), f"the output is negative at {where}: is the ReLU the last step?")


def test_toy_forward__of_nothing_is_the_bias(impl, seed, device):
    """For x = 0 the output is ReLU(b)."""
    x, W, b = toy(seed, device, (5, 3, 4, 2))
    expected = b.clamp(min=0).expand(5, 3, 4)
    assert_same(impl.toy_forward(0 * x, W, b), expected, AXES, hint="here x is zero")


def test_toy_forward__is_identity_when_directions_are_orthogonal(impl, seed, device):
    """With orthogonal unit directions and no bias every non-negative x comes back."""
    g = generator(seed + 7, device)
    W = torch.linalg.qr(normal(g, 2, 6, 4)).Q  # six hidden dimensions are room for four features
    x = torch.rand(5, 2, 4, generator=g, device=device)
    out = impl.toy_forward(x, W, torch.zeros(2, 4, device=device))
    assert_same(out, x, AXES, rtol=1e-4, atol=1e-5)


def test_toy_forward__keeps_instances_apart(impl, seed, device):
    """Changing one instance's weights changes that instance's output only."""
    x, W, b = toy(seed, device, (5, 3, 4, 2))
    other = W.clone()
    other[1] = 2 * W[1] + 1
    before, after = impl.toy_forward(x, W, b), impl.toy_forward(x, other, b)
    keep = torch.tensor([0, 2], device=device)
    hint = "only instance 1 of W was changed, and another instance's output moved"
    assert_same(after.index_select(1, keep), before.index_select(1, keep), AXES, hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_toy_forward__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for several sizes, and keeps the dtype."""
    x, W, b = toy(seed, device, shape, dtype)
    with unchanged(x, W, b):
        out = impl.toy_forward(x, W, b)
    assert_same(out, ref.toy_forward(x, W, b), AXES)


def test_toy_forward__takes_tensors_that_are_not_contiguous(impl, ref, seed, device):
    """Transposed views are as good as fresh tensors."""
    x, W, b = toy(seed, device, (5, 3, 4, 2))
    views = x.mT.contiguous().mT, W.mT.contiguous().mT, b.mT.contiguous().mT
    assert_same(impl.toy_forward(*views), ref.toy_forward(x, W, b), AXES)


def test_toy_forward__sends_gradients_through_both_uses_of_W(impl, ref, seed, device):
    """Gradients reach x, b and both places where W is used."""
    args = toy(seed, device, (5, 3, 4, 2), torch.float64)
    up = normal(generator(seed + 5, device), 5, 3, 4, dtype=torch.float64)
    mine = vjp(impl.toy_forward, args, up, wrt=(0, 1, 2))
    theirs = vjp(ref.toy_forward, args, up, wrt=(0, 1, 2))
    axes = [AXES, "inst hidden feature", "inst feature"]
    assert_same(mine, theirs, axes, what="the gradient by (x, W, b)")


# ------------------------------------------------------------------------------ b. sparse_features

# Every check below is one of at most 200 comparisons, each with a false alarm of at most 5e-9.
ALARM = 5e-9
N = 4000
P_INST = [[0.05], [0.35], [0.8]]
P_FEATURE = [[0.9, 0.3, 0.1, 0.6]]
P_BOTH = [[0.05, 0.2, 0.35, 0.9], [0.8, 0.1, 0.65, 0.3], [0.25, 0.7, 0.15, 0.4]]


def sampled(impl, seed, device, probability, n=N):
    """A batch, and the probability of each (inst, feature); tensors are made on `device`."""
    p = probability if isinstance(probability, float) else torch.tensor(probability, device=device)
    x = impl.sparse_features(n, 3, 4, p, generator(seed + 31, device))
    full = torch.as_tensor(p, device=device).expand(3, 4)
    require(isinstance(x, Tensor), "return a tensor")
    shape = tuple(x.shape)
    require(
        shape == (n, 3, 4),
        f"the batch has shape {shape}, expected ({n}, 3, 4) (batch, inst, feature)",
    )
    return x, full


def test_sparse_features__shape_dtype_and_range(impl, seed, device):
    """A batch is float32, on the generator's device, with all values in [0, 1]."""
    x, _ = sampled(impl, seed, device, 0.4)
    require(x.dtype == torch.float32, f"the batch is {x.dtype}, expected torch.float32")
    require(x.device.type == device.type, f"the batch is on {x.device}, not on {device}")
    bad = ~((x >= 0) & (x <= 1))
    require(not bad.any(), "values outside [0, 1]: magnitudes are uniform on [0, 1]")


@pytest.mark.parametrize(
    "p", [0.3, P_INST, P_FEATURE, P_BOTH], ids=["number", "inst", "feature", "both"]
)
def test_sparse_features__are_active_as_often_as_asked(impl, seed, device, p):
    """Each feature of each instance is active with its own probability."""
    x, full = sampled(impl, seed, device, p)
    counts = (x > 0).sum(0)
    for i in range(3):
        for f in range(4):
            wanted, share = float(full[i, f]), int(counts[i, f]) / N
            low, high = binomial_bounds(N, wanted, ALARM)
            say = f"inst {i}, feature {f} is active in {share:.3f} of the rows"
            ask = f"it should be {wanted:.3f} (probability of shape {_shape(p)})"
            require(low <= counts[i, f] <= high, f"{say}; {ask}")


def _shape(p) -> str:
    return "()" if isinstance(p, float) else f"({len(p)}, {len(p[0])})"


def test_sparse_features__have_uniform_magnitudes(impl, seed, device):
    """An active feature is uniform on [0, 1], however rare it is."""
    x, full = sampled(impl, seed, device, P_BOTH)
    for i in range(3):
        for f in range(4):
            on = x[:, i, f][x[:, i, f] > 0].double().sort().values
            n = len(on)
            require(
                n > 50, f"inst {i}, feature {f} with p = {full[i, f]:.2f} is hardly ever active"
            )
            grid = torch.arange(n + 1, device=on.device, dtype=torch.float64) / n
            distance = torch.maximum((grid[1:] - on).abs().max(), (on - grid[:-1]).abs().max())
            say = (
                f"active values of inst {i}, feature {f} (p = {float(full[i, f]):.2f}) lie between"
            )
            shape = f"{say} {on[0]:.2f} and {on[-1]:.2f} with mean {on.mean():.2f}"
            # Dvoretzky-Kiefer-Wolfowitz: the bound has the form of Hoeffding's
            require(
                distance <= hoeffding(n, 1.0, ALARM), f"{shape}; they should be uniform on [0, 1]"
            )


def test_sparse_features__fill_the_whole_interval(impl, seed, device):
    """Strengths come as near to 0 and to 1 as chance brings them, and crowd nowhere."""
    x, _ = sampled(impl, seed, device, 0.5)
    on = x[x > 0].double().sort().values
    n = len(on)
    require(n > 20_000, f"{n} of 48000 entries are active at p = 0.5")
    grid = torch.arange(n + 1, device=on.device, dtype=torch.float64) / n
    distance = torch.maximum((grid[1:] - on).abs().max(), (on - grid[:-1]).abs().max())
    say = f"active values lie between {on[0]:.3f} and {on[-1]:.3f} with mean {on.mean():.3f}"
    require(distance <= hoeffding(n, 1.0, ALARM), f"{say}; they should be uniform on [0, 1]")
    # none of 20,000 uniform numbers below 0.001, or above 0.999: (1 - 0.001)^20000 < 3e-9
    require(on[0] < 0.001 and on[-1] > 0.999, f"{say}: the ends of [0, 1] are never reached")


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
    half = len(x) // 2
    rows = [("neighbouring rows of the batch", x[0::2, i, i], x[1::2, i, i]) for i in range(3)]
    return [*rows, ("the two halves of the batch", x[:half, 1, 2], x[half:, 1, 2])]


@pytest.mark.parametrize("axis", ["batch", "inst", "feature"])
def test_sparse_features__are_switched_on_independently(impl, seed, device, axis):
    """Whether one entry is active says nothing about another."""
    x, _ = sampled(impl, seed, device, 0.5)
    for what, one, other in _pairs(x, axis):
        both = ((one > 0) & (other > 0)).double().mean().item()
        allowed = hoeffding(len(one), 1.0, ALARM)
        say = f"{what} are active together in {both:.3f} of the cases; independent ones in 0.250"
        require(abs(both - 0.25) <= allowed, say)


@pytest.mark.parametrize("axis", ["batch", "inst", "feature"])
def test_sparse_features__have_independent_magnitudes(impl, seed, device, axis):
    """How strong one entry is says nothing about another."""
    x, _ = sampled(impl, seed, device, 0.9)
    for what, one, other in _pairs(x, axis):
        on = (one > 0) & (other > 0)
        require(on.sum() > 500, f"{what} are hardly ever active together at p = 0.9")
        product = ((one[on] - 0.5) * (other[on] - 0.5)).double().mean().item()
        say = f"the strengths of {what} go together: covariance {product:.3f}, expected 0"
        require(abs(product) <= hoeffding(int(on.sum()), 0.5, ALARM), say)


@pytest.mark.parametrize("axis", ["batch", "inst", "feature"])
def test_sparse_features__strength_and_switch_are_independent(impl, seed, device, axis):
    """Whether one entry is active says nothing about how strong another one is."""
    x, _ = sampled(impl, seed, device, 0.5)
    for what, one, other in _pairs(x, axis):
        for on, off in ((one, other), (other, one)):
            means = [on[(on > 0) & keep].double() for keep in (off > 0, off == 0)]
            gap = abs(means[0].mean() - means[1].mean()).item()
            allowed = sum(hoeffding(len(m), 1.0, ALARM) for m in means)
            say = f"{what}: the strength of one depends on whether the other is active"
            require(gap <= allowed, f"{say} (means {means[0].mean():.2f}, {means[1].mean():.2f})")


@pytest.mark.parametrize(("batch", "inst", "feature"), [(1, 2, 3), (7, 1, 1), (3, 5, 2)])
def test_sparse_features__take_any_sizes(impl, device, seed, batch, inst, feature):
    """A batch of one row, and odd sizes, are batches too."""
    p = torch.full((inst, 1), 0.5, device=device)
    x = impl.sparse_features(batch, inst, feature, p, generator(seed, device))
    shape = (batch, inst, feature)
    require(isinstance(x, Tensor) and tuple(x.shape) == shape, f"asked for {shape}")


def test_sparse_features__repeat_with_the_generator(impl, device, seed):
    """Equal generators give equal batches."""
    one, same = (impl.sparse_features(6, 3, 4, 0.5, generator(seed, device)) for _ in range(2))
    say = "two calls with equal generators differ: use gen for every draw"
    require(torch.equal(one, same), say)


def test_sparse_features__change_with_the_generator(impl, device, seed):
    """Another generator, and a second call with the same one, give another batch."""
    g = generator(seed, device)
    one, again = (impl.sparse_features(6, 3, 4, 0.5, g) for _ in range(2))
    other = impl.sparse_features(6, 3, 4, 0.5, generator(seed + 1, device))
    require(not torch.equal(one, other), "another generator gave the same batch: draw from gen")
    require(not torch.equal(one, again), "a second call with the same generator repeated the batch")


def test_sparse_features__never_and_always(impl, seed, device):
    """Probability 0 gives zeros only, probability 1 gives (almost) none."""
    x, _ = sampled(impl, seed, device, [[0.0], [1.0], [0.5]], n=1000)
    require(not x[:, 0].any(), "a feature with probability 0 is active")
    zeros = int((x[:, 1] == 0).sum())  # a float32 uniform is exactly 0 once in 2^24 draws
    require(zeros <= 3, f"{zeros} of 4000 entries with probability 1 are 0")


def test_sparse_features__have_the_mean_of_the_reference(impl, ref, seed, device):
    """The mean of each feature agrees with the reference's, within chance."""
    x, full = sampled(impl, seed, device, P_BOTH)
    expected = ref.sparse_features(N, 3, 4, full, generator(seed + 77, device)).mean(0)
    allowed = 2 * hoeffding(N, 1.0, ALARM)
    gap = (x.mean(0) - expected).abs()
    say = f"the mean at {first_index(gap == gap.max(), 'inst feature')} is off by {gap.max():.3f}"
    require((gap <= allowed).all(), f"{say}; chance allows {allowed:.3f}")


# ------------------------------------------------------------------------------------- c. toy_loss


def loss_args(seed, device, dtype=torch.float32, shape=(5, 3, 4)):
    """x, x_hat, importance."""
    g = generator(seed + 11, device)
    x, x_hat = normal(g, *shape, dtype=dtype), normal(g, *shape, dtype=dtype)
    return x, x_hat, normal(g, *shape[1:], dtype=dtype).abs() + 0.1


def test_toy_loss__by_hand(impl, device):
    """Two instances of three features, done by hand, come out right."""
    x = torch.zeros(2, 2, 3, device=device)
    x_hat = torch.zeros(2, 2, 3, device=device)
    x[0, 0, 0], x_hat[1, 0, 1], x_hat[1, 0, 2] = 1.0, 2.0, -1.0
    x[0, 1, 2], x_hat[0, 1, 2] = 0.5, 1.5
    importance = torch.tensor([[6.0, 3.0, 12.0], [1.0, 1.0, 9.0]], device=device)
    # inst 0: 6 * 1, 3 * 4, 12 * 1, in 2 * 3 entries; inst 1: 9 * 1 in as many
    expected = torch.tensor(30 / 6 + 9 / 6, device=device)
    hint = "weighted squared errors 6, 12, 12 in inst 0 and 9 in inst 1; 2 rows, 3 features"
    assert_same(impl.toy_loss(x, x_hat, importance), expected, hint=hint)


def test_toy_loss__is_a_mean_over_the_batch(impl, seed, device):
    """Every row twice: the loss stays."""
    x, x_hat, imp = loss_args(seed, device)
    twice = impl.toy_loss(torch.cat([x, x]), torch.cat([x_hat, x_hat]), imp)
    assert_same(twice, impl.toy_loss(x, x_hat, imp), hint="the batch was doubled")


def test_toy_loss__is_a_mean_over_features(impl, seed, device):
    """Every feature twice: the loss stays."""
    x, x_hat, imp = loss_args(seed, device)
    twice = impl.toy_loss(
        torch.cat([x, x], -1), torch.cat([x_hat, x_hat], -1), torch.cat([imp, imp], -1)
    )
    assert_same(twice, impl.toy_loss(x, x_hat, imp), hint="the features were doubled")


def test_toy_loss__is_a_sum_over_instances(impl, seed, device):
    """The loss of several instances is the sum of the loss of each."""
    x, x_hat, imp = loss_args(seed, device)
    parts = [impl.toy_loss(x[:, [k]], x_hat[:, [k]], imp[[k]]) for k in range(3)]
    assert_same(impl.toy_loss(x, x_hat, imp), sum(parts), hint="instances should not share a mean")


def test_toy_loss__is_proportional_to_importance(impl, seed, device):
    """Three times the importance is three times the loss."""
    x, x_hat, imp = loss_args(seed, device)
    assert_same(impl.toy_loss(x, x_hat, 3 * imp), 3 * impl.toy_loss(x, x_hat, imp))


@pytest.mark.parametrize("shape", [(1, 3, 4), (5, 1, 4), (5, 3, 1), (1, 1, 1), (4, 3, 4)])
def test_toy_loss__by_loops(impl, seed, device, shape):
    """One row, one instance, one feature: the same rule, entry by entry."""
    x, x_hat, imp = loss_args(seed, device, torch.float64, shape)
    total = x.new_zeros(())
    for b in range(shape[0]):
        for i in range(shape[1]):
            for f in range(shape[2]):
                total = total + imp[i, f] * (x[b, i, f] - x_hat[b, i, f]) ** 2
    expected = total / (shape[0] * shape[2])
    assert_same(impl.toy_loss(x, x_hat, imp), expected, hint=f"(batch, inst, feature) = {shape}")


def test_toy_loss__counts_small_errors_too(impl, seed, device):
    """Errors times 1e-4 are a loss times 1e-8: nothing is cut off."""
    x, x_hat, imp = loss_args(seed, device, torch.float64)
    near = x + 1e-4 * (x_hat - x)
    small = 1e-8 * impl.toy_loss(x, x_hat, imp)
    assert_same(impl.toy_loss(x, near, imp), small, rtol=1e-4, atol=0, hint="errors times 1e-4")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_toy_loss__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference, keeps the dtype and leaves its inputs alone."""
    x, x_hat, imp = loss_args(seed, device, dtype)
    with unchanged(x, x_hat, imp):
        out = impl.toy_loss(x.mT.contiguous().mT, x_hat, imp)
    assert_same(out, ref.toy_loss(x, x_hat, imp))


def test_toy_loss__sends_gradients_to_the_reconstruction(impl, ref, seed, device):
    """The gradient by x_hat is 2 importance (x_hat - x) / (batch feature)."""
    x, x_hat, imp = loss_args(seed, device, torch.float64)
    up = torch.tensor(-1.7, device=device, dtype=torch.float64)
    [grad] = vjp(impl.toy_loss, (x, x_hat, imp), up, wrt=(1,))
    assert_same(grad, -1.7 * 2 * imp * (x_hat - x) / 20, AXES, what="the gradient by x_hat")


# ------------------------------------------------------------------------------- d1. learning_rate


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_learning_rate__starts_at_the_full_rate(impl, schedule):
    """The first step has the full rate."""
    assert_same(impl.learning_rate(0, 8, 0.25, schedule), 0.25, hint=f"{schedule}, step 0 of 8")


def test_learning_rate__on_the_way(impl):
    """A quarter of the way, half-way and in the last step the rates are as in the table."""
    cosine = [0.04 * (1 + c) / 2 for c in (math.sqrt(0.5), 0.0, -math.cos(math.pi / 8))]
    table = {"constant": [0.04, 0.04, 0.04], "linear": [0.03, 0.02, 0.005], "cosine": cosine}
    for schedule, rates in table.items():
        for step, rate in zip((2, 4, 7), rates, strict=True):
            mine = impl.learning_rate(step, 8, 0.04, schedule)
            assert_same(mine, rate, hint=f"{schedule}, step {step} of 8, lr = 0.04")


def test_learning_rate__refuses_an_unknown_schedule(impl):
    """An unknown schedule is a ValueError that names it, at any step."""
    for name in ("exponential", "cosine_restarts", "linear2"):
        for step in (0, 3):
            assert_raises(ValueError, impl.learning_rate, step, 10, 0.1, name, match=name)


def test_learning_rate__equals_reference(impl, ref):
    """It agrees with the reference for other lengths and rates."""
    for schedule in ("constant", "linear", "cosine"):
        for step, n_steps, lr in [(3, 7, 1e-3), (0, 1, 2.0), (99, 100, 0.5), (4999, 5000, 1e-5)]:
            mine, theirs = (
                f(step, n_steps, lr, schedule) for f in (impl.learning_rate, ref.learning_rate)
            )
            assert_same(
                mine, theirs, rtol=1e-6, atol=0.0, hint=f"{schedule}, {step}/{n_steps}, {lr}"
            )


# --------------------------------------------------------------------------------------- d2. train


def train_args(seed, device, n_steps=4, dtype=torch.float32, batch=6, inst=3):
    """W, b, importance, batches, learning rates (all different)."""
    _, W, b = toy(seed, device, (1, inst, 4, 2), dtype)
    g = generator(seed + 41, device)
    x = torch.rand(n_steps, batch, inst, 4, generator=g, device=device, dtype=dtype)
    importance = torch.rand(inst, 4, generator=g, device=device, dtype=dtype) + 0.5
    return W, 0.3 * b, importance, x, [0.1, 0.02, 0.3, 0.05, 0.2][:n_steps]


def by_hand(W, b, importance, batches, rates):
    """The same training with gradient and Adam written out, independent of the reference."""
    theta, moments, losses = [W.clone(), b.clone()], [], []
    moments = [(torch.zeros_like(t), torch.zeros_like(t)) for t in theta]
    for t, (x, lr) in enumerate(zip(batches, rates, strict=True), start=1):
        W, b = theta
        h = torch.einsum("bif,ihf->bih", x, W)
        out = (torch.einsum("bih,ihf->bif", h, W) + b).clamp(min=0)
        losses.append((importance * (x - out) ** 2).sum() / (x.shape[0] * x.shape[2]))
        g = 2 * importance * (out - x) * (out > 0) / (x.shape[0] * x.shape[2])
        back = torch.einsum("bif,ihf->bih", g, W)
        by_W = torch.einsum("bih,bif->ihf", h, g) + torch.einsum("bih,bif->ihf", back, x)
        for k, grad in enumerate((by_W, g.sum(0))):
            m, v = (0.9 * moments[k][0] + 0.1 * grad, 0.999 * moments[k][1] + 0.001 * grad**2)
            moments[k] = (m, v)
            step = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            theta[k] = theta[k] - lr * step
    return theta[0], theta[1], torch.stack(losses)


def check_run(mine, expected, hint=""):
    """W and b, and the losses as numbers (their dtype and device are free)."""
    require(isinstance(mine, tuple | list) and len(mine) == 3, "return W, b, losses")
    axes = ["inst hidden feature", "inst feature"]
    names = ["the trained W", "the trained b"]
    losses = mine[2]
    require(
        isinstance(losses, Tensor) and losses.ndim == 1, "losses: one tensor with the axis step"
    )
    require(len(losses) == len(expected[2]), f"{len(losses)} losses for {len(expected[2])} steps")
    near = {"rtol": 1e-4, "atol": 1e-5, "hint": hint}
    assert_same(losses.detach().to(expected[2]), expected[2], "step", what="losses", **near)
    for k in range(2):
        value = mine[k].detach() if isinstance(mine[k], Tensor) else mine[k]
        assert_same(value, expected[k], axes[k], what=names[k], **near)


def test_train__with_rate_zero_changes_nothing(impl, ref, seed, device):
    """With learning rate 0 the weights stay, and each loss is that batch's loss."""
    W, b, importance, batches, _ = train_args(seed, device, 3)
    losses = torch.stack([ref.toy_loss(x, ref.toy_forward(x, W, b), importance) for x in batches])
    expected = W.clone(), b.clone(), losses
    mine = impl.train(W, b, importance, batches, [0.0, 0.0, 0.0])
    check_run(mine, expected, "all learning rates were 0")


def test_train__leaves_its_inputs_alone(impl, seed, device):
    """The given W and b keep their values, and the results are detached."""
    W, b, importance, batches, rates = train_args(seed, device, 2)
    with unchanged(W, b, importance, batches):
        out = impl.train(W, b, importance, batches, rates)
    require(not W.requires_grad and not b.requires_grad, "the given W and b now require gradients")
    for name, value in zip(("W", "b", "losses"), out, strict=True):
        require(not value.requires_grad, f"{name} still hangs on the graph: detach it")


def test_train__notes_the_loss_before_the_step(impl, ref, seed, device):
    """The first loss is the loss of the weights that were given."""
    W, b, importance, batches, rates = train_args(seed, device, 1)
    before = ref.toy_loss(batches[0], ref.toy_forward(batches[0], W, b), importance)[None]
    losses = impl.train(W, b, importance, batches, rates)[2]
    assert_same(losses.detach().to(before), before, "step", what="losses")


def test_train__takes_adams_first_step(impl, seed, device):
    """Adam's first step moves each weight by the learning rate, against its gradient's sign."""
    W, b, importance, batches, _ = train_args(seed, device, 1)
    expected = by_hand(W, b, importance, batches, [0.1])
    check_run(impl.train(W, b, importance, batches, [0.1]), expected, "one step, learning rate 0.1")


def test_train__uses_each_rate_in_its_own_step(impl, seed, device):
    """A second step with rate 0 leaves the weights where the first step put them."""
    W, b, importance, batches, _ = train_args(seed, device, 2)
    expected = by_hand(W, b, importance, batches, [0.1, 0.0])
    check_run(
        impl.train(W, b, importance, batches, [0.1, 0.0]), expected, "learning rates [0.1, 0]"
    )


@pytest.mark.parametrize("n_steps", [2, 5])
def test_train__equals_adam_written_out(impl, seed, device, n_steps):
    """Several steps agree with gradient and Adam written out by hand."""
    args = train_args(seed, device, n_steps, torch.float64)
    expected = by_hand(*args)
    check_run(impl.train(*args), expected, f"{n_steps} steps")


def test_train__keeps_the_dtype(impl, seed, device):
    """In double precision W and b stay in double precision."""
    args = train_args(seed, device, 3, torch.float64)
    expected = by_hand(*args)
    check_run(impl.train(*args), expected, "float64")


def test_train__loops_over_any_iterables(impl, seed, device):
    """Batches and rates may come from generators, which have no length and are read once."""
    args = train_args(seed, device, 3)
    *fixed, batches, rates = args
    mine = impl.train(*fixed, (x for x in batches), (rate for rate in rates))
    check_run(mine, by_hand(*args), "batches and rates came from generators")


@pytest.mark.parametrize(("batch", "inst"), [(1, 2), (3, 1)])
def test_train__takes_one_row_and_one_model(impl, seed, device, batch, inst):
    """A batch of one row, and a stack of one model, train as well."""
    args = train_args(seed, device, 2, batch=batch, inst=inst)
    check_run(impl.train(*args), by_hand(*args), f"batch {batch}, inst {inst}")


def test_train__uses_adams_own_defaults(impl, seed, device):
    """With tiny gradients Adam's steps are as large as ever, and nothing else moves the weights."""
    W, b, importance, batches, rates = train_args(seed, device, 3, torch.float64)
    args = W, b, 1e-6 * importance, batches, rates
    hint = "the importances are tiny: is Adam used with its defaults, without weight decay?"
    check_run(impl.train(*args), by_hand(*args), hint)


def test_train__accepts_parameters_that_require_gradients(impl, ref, seed, device):
    """W and b may already require gradients; a list of batches is as good as a tensor."""
    W, b, importance, batches, rates = train_args(seed, device, 2)
    expected = ref.train(W, b, importance, batches, rates)
    mine = impl.train(W.requires_grad_(), b.requires_grad_(), importance, list(batches), rates)
    check_run(mine, expected)


# ----------------------------------------------------------------------------- e. neighbour_angles


def star(degrees, device, lengths=None, dtype=torch.float64):
    """Arrows at these angles, one instance: "1 2 feature"."""
    angle = torch.tensor(degrees, device=device, dtype=dtype).deg2rad()
    length = torch.tensor(lengths or [1.0] * len(degrees), device=device, dtype=dtype)
    return (length * torch.stack([angle.cos(), angle.sin()]))[None]


CLOSE = {"axes": "inst feature", "rtol": 1e-5, "atol": 1e-3}


def test_neighbour_angles__of_known_stars(impl, device):
    """A pentagon, a square and a lopsided star have the gaps they should have."""
    cases = {
        (0, 72, 144, 216, 288): [72] * 5,
        (45, -45, 135, -135): [90] * 4,
        (170, -170, 20, 100): [20, 70, 80, 190],
        (30, 10, 50): [20, 20, 320],
    }
    cases |= {(0, 180): [180, 180], (10, 10, 100): [0, 90, 270]}
    for degrees, gaps in cases.items():
        expected = torch.tensor([gaps], device=device, dtype=torch.float64)
        assert_same(
            impl.neighbour_angles(star(degrees, device)), expected, **CLOSE, hint=f"{degrees}"
        )


def test_neighbour_angles__each_instance_has_its_circle(impl, device):
    """Two instances with different stars keep their own gaps."""
    W = torch.cat([star((170, -170, 20, 100), device), star((45, -45, 135, -135), device)])
    gaps = [[20, 70, 80, 190], [90] * 4]
    expected = torch.tensor(gaps, device=device, dtype=torch.float64)
    assert_same(impl.neighbour_angles(W), expected, **CLOSE)


def test_neighbour_angles__knows_close_arrows(impl, device):
    """Arrows a hundredth of a degree apart, and very short ones, have the gaps they have."""
    W = star((50, 50.01, 200), device, [1e-3, 1.0, 1e-4])
    expected = torch.tensor([[0.01, 149.99, 210]], device=device, dtype=torch.float64)
    assert_same(impl.neighbour_angles(W), expected, **CLOSE, hint="50, 50.01 and 200 degrees")


def test_neighbour_angles__sum_to_a_full_turn(impl, seed, device):
    """The gaps of every instance are in ascending order, not negative, and sum to 360 degrees."""
    gaps = impl.neighbour_angles(normal(generator(seed, device), 4, 2, 7))
    require(
        tuple(gaps.shape) == (4, 7), f"the gaps have shape {tuple(gaps.shape)}, expected (4, 7)"
    )
    total = torch.full((4,), 360.0, device=device)
    assert_same(gaps.sum(-1), total, "inst", rtol=1e-4, atol=1e-2, what="the sum of the gaps")
    require((gaps[:, 1:] >= gaps[:, :-1]).all(), "the gaps are not in ascending order")
    require((gaps >= -1e-3).all(), "some gaps are negative")


def test_neighbour_angles__do_not_change_when_everything_turns(impl, seed, device):
    """Turning all arrows together changes nothing."""
    degrees = [10.0, 40.0, 100.0, 230.0, 300.0]
    start = impl.neighbour_angles(star(degrees, device))
    for turn in (25.0, 90.0, 171.0, 260.0):
        turned = impl.neighbour_angles(star([d + turn for d in degrees], device))
        assert_same(turned, start, **CLOSE, hint=f"all arrows were turned by {turn} degrees")


def test_neighbour_angles__ignore_order_and_length(impl, device):
    """Neither the order of the features nor their lengths matter."""
    start = impl.neighbour_angles(star([10, 40, 100, 230], device))
    shuffled = impl.neighbour_angles(star([230, 10, 100, 40], device, [0.1, 3.0, 1.0, 2.0]))
    assert_same(shuffled, start, **CLOSE, hint="the features were reordered and rescaled")


def test_neighbour_angles__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random arrows and keeps the dtype."""
    for dtype in (torch.float32, torch.float64):
        W = normal(generator(seed + 3, device), 6, 5, 2, dtype=dtype).mT
        with unchanged(W):
            gaps = impl.neighbour_angles(W)
        assert_same(gaps, ref.neighbour_angles(W), **CLOSE)


# ----------------------------------------------------------- f. norms, interference, n_represented


def hand_W(device):
    """Two instances, two dimensions, three features, with a dropped one in the second."""
    rows = [[[3.0, 0.0, -1.0], [4.0, 2.0, 0.0]], [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]]
    return torch.tensor(rows, device=device)


def test_feature_norms__by_hand(impl, device):
    """The column (3, 4) has norm 5, and so on."""
    expected = torch.tensor([[5.0, 2.0, 1.0], [1.0, 1.0, 0.0]], device=device)
    assert_same(impl.feature_norms(hand_W(device)), expected, "inst feature")


def test_feature_norms__scale_with_the_weights(impl, seed, device):
    """Weights times -3: norms times 3."""
    W = normal(generator(seed, device), 3, 2, 5)
    assert_same(impl.feature_norms(-3 * W), 3 * impl.feature_norms(W), "inst feature")


def test_feature_norms__of_tiny_weights(impl, seed, device):
    """Weights times 1e-6: norms times 1e-6, nothing is cut off."""
    W = normal(generator(seed, device), 3, 2, 5, dtype=torch.float64)
    tiny = 1e-6 * impl.feature_norms(W)
    assert_same(impl.feature_norms(1e-6 * W), tiny, "inst feature", rtol=1e-6, atol=0)


def test_feature_norms__equals_reference(impl, ref, seed, device):
    """It agrees with the reference for several sizes, keeps the dtype, leaves W alone."""
    sizes = [((3, 2, 5), torch.float32), ((1, 4, 3), torch.float64), ((4, 4, 4), torch.float32)]
    for size, dtype in [*sizes, ((2, 1, 3), torch.float32)]:
        W = normal(generator(seed, device), *size, dtype=dtype)
        with unchanged(W):
            norms = impl.feature_norms(W)
        assert_same(norms, ref.feature_norms(W), "inst feature")


def test_interference__of_orthogonal_features_is_zero(impl, device):
    """Orthogonal features of any length do not interfere."""
    W = torch.diag(torch.tensor([1.0, 0.5, 2.0], device=device))[None]
    assert_same(impl.interference(W), torch.zeros(1, 3, device=device), "inst feature")


def test_interference__by_hand(impl, device):
    """In an antipodal pair of lengths 2 and 3 each half has the other's length squared."""
    W = torch.tensor([[[2.0, -3.0, 0.0], [0.0, 0.0, 0.5]]], device=device)
    expected = torch.tensor([[9.0, 4.0, 0.0]], device=device)
    assert_same(
        impl.interference(W), expected, "inst feature", hint="columns (2,0), (-3,0), (0,0.5)"
    )


def test_interference__adds_squares(impl, device):
    """Two neighbours on opposite sides add up, they do not cancel."""
    W = torch.tensor([[[1.0, 1.0, -1.0], [0.0, 1.0, 1.0]]], device=device)
    expected = torch.tensor([[2.0, 0.5, 0.5]], device=device)
    assert_same(impl.interference(W), expected, "inst feature", hint="columns (1,0), (1,1), (-1,1)")


def test_interference__of_a_dropped_feature_is_zero(impl, device):
    """A feature of norm 0 has interference 0, not NaN."""
    expected = torch.tensor([0.0, 1.0, 0.0], device=device)
    W = torch.tensor([[[0.0, 1.0, -1.0], [0.0, 2.0, 0.0]]], device=device)
    mine = impl.interference(W)
    require(not mine.isnan().any(), "NaN for a feature of norm 0: what was divided by zero?")
    assert_same(mine[0, :2], expected[:2] * 0.2, "feature", hint="columns (0,0), (1,2), (-1,0)")


@pytest.mark.parametrize("length", [1e-2, 1e-4, 5e-7])
def test_interference__of_a_short_feature_is_that_of_its_direction(impl, seed, device, length):
    """A feature that is short, but not 0, has a direction and the interference of it."""
    W = normal(generator(seed + 2, device), 3, 2, 5, dtype=torch.float64)
    W[:, :, 1] /= W[:, :, 1].norm(dim=1, keepdim=True)
    short = W.clone()
    short[:, :, 1] *= length
    before, after = impl.interference(W), impl.interference(short)
    hint = f"feature 1 has norm {length}: only a norm of 0 has no direction"
    assert_same(after[:, 1], before[:, 1], "inst", rtol=0.1, atol=0, hint=hint)


def test_interference__of_tiny_weights(impl, seed, device):
    """All weights times 1e-3: interference times 1e-6, nothing is cut off."""
    W = normal(generator(seed + 3, device), 2, 3, 4, dtype=torch.float64)
    tiny = 1e-6 * impl.interference(W)
    assert_same(impl.interference(1e-3 * W), tiny, "inst feature", rtol=1e-3, atol=0)


def test_interference__ignores_the_features_own_length(impl, seed, device):
    """Making one feature longer changes the others' interference, not its own."""
    W = normal(generator(seed + 2, device), 3, 2, 5, dtype=torch.float64)
    longer = W.clone()
    longer[:, :, 1] *= 4
    before, after = impl.interference(W), impl.interference(longer)
    assert_same(after[:, 1], before[:, 1], "inst", hint="feature 1 was made 4 times as long")
    require((after[:, 0] > before[:, 0]).all(), "a longer neighbour must disturb more")


def test_interference__equals_reference(impl, ref, seed, device):
    """It agrees with the reference for several instances and sizes, and leaves W alone."""
    sizes = [((3, 2, 5), torch.float32), ((2, 4, 3), torch.float64), ((3, 3, 3), torch.float32)]
    for size, dtype in [*sizes, ((1, 1, 4), torch.float32)]:
        W = normal(generator(seed + 4, device), *size, dtype=dtype)
        with unchanged(W):
            mine = impl.interference(W)
        assert_same(mine, ref.interference(W), "inst feature", rtol=1e-4, atol=1e-5)


def test_n_represented__by_hand(impl, device):
    """The norms (5, 2, 1) and (1, 1, 0) are three and two represented features."""
    expected = torch.tensor([3, 2], device=device)
    assert_same(impl.n_represented(hand_W(device)), expected, "inst")


def test_n_represented__is_strict_about_the_threshold(impl, device):
    """Only norms above the threshold count, for any threshold."""
    W = hand_W(device)
    for threshold, counts in [(1.0, [2, 0]), (0.9, [3, 2]), (2.5, [1, 0]), (0.0, [3, 2])]:
        expected = torch.tensor(counts, device=device)
        mine = impl.n_represented(W, threshold)
        assert_same(
            mine, expected, "inst", hint=f"norms (5,2,1) and (1,1,0), threshold {threshold}"
        )


def test_n_represented__uses_the_default_of_one_half(impl, device):
    """Without a threshold, norms above 0.5 count."""
    W = torch.tensor([[[0.3, 0.6, 0.4], [0.3, 0.0, 0.4]]], device=device)  # norms 0.42, 0.6, 0.57
    assert_same(impl.n_represented(W), torch.tensor([2], device=device), "inst")


def test_n_represented__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random weights."""
    for size in ((4, 3, 9), (5, 5, 5), (1, 1, 1)):
        W = normal(generator(seed, device), *size) * 0.5
        for threshold in (0.5, 0.8, 1.1, 1e-6):
            mine, theirs = impl.n_represented(W, threshold), ref.n_represented(W, threshold)
            assert_same(mine, theirs, "inst", hint=f"threshold {threshold}")


# ------------------------------------------------------------ g. phase_grid and classify_feature


def test_phase_grid__small_case(impl, device):
    """Two probabilities and three importances make six instances in the right order."""
    p, r = torch.tensor([0.1, 0.5], device=device), torch.tensor([2.0, 3.0, 4.0], device=device)
    probability, importance = impl.phase_grid(p, r, 3)
    expected_p = torch.tensor([[0.1], [0.1], [0.1], [0.5], [0.5], [0.5]], device=device)
    rows = [[1.0, 1.0, v] for v in (2.0, 3.0, 4.0) * 2]
    assert_same(probability, expected_p, "inst one", what="probability")
    assert_same(importance, torch.tensor(rows, device=device), "inst feature", what="importance")


def test_phase_grid__makes_a_map(impl, seed, device):
    """Reshaped to (n_p, n_r), rows share a probability and columns an importance."""
    g = generator(seed, device)
    p = torch.rand(5, generator=g, device=device)
    r = torch.rand(3, generator=g, device=device) + 1
    probability, importance = impl.phase_grid(p, r, 2)
    require(
        len(probability) == len(importance) == 15, "5 probabilities and 3 importances: 15 instances"
    )
    assert_same(probability.reshape(5, 3), p[:, None].expand(5, 3), "n_p n_r", what="probability")
    assert_same(importance[:, -1].reshape(5, 3), r.expand(5, 3), "n_p n_r", what="last importance")


@pytest.mark.parametrize(("n_p", "n_r"), [(1, 4), (3, 1), (3, 3)])
def test_phase_grid__takes_any_lengths(impl, device, n_p, n_r):
    """One probability, one importance, as many of the one as of the other: i * n_r + j holds."""
    p = torch.linspace(0.1, 0.7, n_p, device=device)
    r = torch.linspace(2, 5, n_r, device=device)
    probability, importance = impl.phase_grid(p, r, 3)
    where = torch.arange(n_p * n_r, device=device)
    ones = torch.ones(n_p * n_r, 2, device=device)
    assert_same(probability, p[where // n_r][:, None], "inst one", what="probability")
    last = torch.cat([ones, r[where % n_r][:, None]], dim=1)
    assert_same(importance, last, "inst feature", what="importance")


@pytest.mark.parametrize("feature", [1, 2, 5])
def test_phase_grid__equals_reference(impl, ref, seed, device, feature):
    """It agrees with the reference for several numbers of features, and keeps the dtype."""
    p = torch.linspace(0.1, 1, 4, device=device, dtype=torch.float64)
    r = torch.linspace(0.5, 3, 6, device=device, dtype=torch.float64)
    with unchanged(p, r):
        mine = impl.phase_grid(p, r, feature)
    assert_same(mine, ref.phase_grid(p, r, feature), ["inst one", "inst feature"])


def test_classify_feature__two_in_one(impl, device):
    """Dropped, alone and antipodal are 0, 1 and 2."""
    W = torch.tensor([[[1.0, 0.1]], [[0.1, 1.0]], [[1.0, -1.0]], [[-0.7, 0.6]]], device=device)
    assert_same(impl.classify_feature(W), torch.tensor([0, 1, 2, 2], device=device), "inst")


def test_classify_feature__looks_at_the_last_feature(impl, device):
    """Only the last of three features is classified."""
    pair_and_last = [[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]
    last_in_pair = [[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]]
    last_dropped = [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]
    W = torch.tensor([pair_and_last, last_in_pair, last_dropped], device=device)
    assert_same(impl.classify_feature(W), torch.tensor([1, 2, 0], device=device), "inst")


def test_classify_feature__uses_both_thresholds(impl, device):
    """Other thresholds move the borders."""
    W = torch.tensor([[[0.4, 0.7]], [[0.4, 0.7]], [[0.8, 0.3]]], device=device)
    for norms, shares, codes in [
        (0.5, 0.25, [1, 1, 0]),
        (0.5, 0.1, [2, 2, 0]),
        (0.8, 0.1, [0, 0, 0]),
    ]:
        expected = torch.tensor(codes, device=device)
        assert_same(
            impl.classify_feature(W, norms, shares), expected, "inst", hint=f"{norms}, {shares}"
        )
    expected = torch.tensor([1, 1, 2], device=device)
    assert_same(impl.classify_feature(W, 0.2, 0.5), expected, "inst", hint="thresholds 0.2, 0.5")


def test_classify_feature__is_strict_about_both_thresholds(impl, device):
    """A norm, or an interference, exactly at its threshold is not above it."""
    W = torch.tensor([[[0.0, 0.5]], [[0.5, 1.0]], [[-0.5, 1.0]], [[0.5, 0.5]]], device=device)
    # norms of the last feature 1/2, 1, 1, 1/2; interference 0, 1/4, 1/4, 1/4
    expected = torch.tensor([0, 1, 1, 0], device=device)
    hint = "norms 0.5, 1, 1, 0.5 against 0.5; interference 0, 0.25, 0.25, 0.25 against 0.25"
    assert_same(impl.classify_feature(W), expected, "inst", hint=hint)
    expected = torch.tensor([1, 1, 1, 1], device=device)
    hint = "the same with thresholds 0.4 and 0.25"
    assert_same(impl.classify_feature(W, 0.4, 0.25), expected, "inst", hint=hint)
    expected = torch.tensor([0, 2, 2, 0], device=device)
    hint = "the same with thresholds 0.5 and 0.2"
    assert_same(impl.classify_feature(W, 0.5, 0.2), expected, "inst", hint=hint)


def test_classify_feature__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random weights, and leaves them alone."""
    for size in ((40, 2, 3), (30, 3, 5), (1, 4, 4)):
        W = normal(generator(seed + 9, device), *size) * 0.6
        with unchanged(W):
            mine = impl.classify_feature(W)
        assert_same(mine, ref.classify_feature(W), "inst")


# ------------------------------------------------ h. expected_losses and superposition_boundary


def integrated(W, b, p, r):
    """Expected loss of one model with 2 features in 1 dimension, by the midpoint rule."""
    u = (torch.arange(120, device=p.device, dtype=torch.float64) + 0.5) / 120
    zero, one, two = torch.zeros(1, 2, device=p.device, dtype=torch.float64), u[:, None], u[:, None]
    none = torch.zeros_like(one)
    cases = [
        ((1 - p) ** 2, zero),
        (p * (1 - p), torch.cat([one, none], 1)),
        (p * (1 - p), torch.cat([none, two], 1)),
        (p * p, torch.cartesian_prod(u, u)),
    ]
    weights = torch.stack([torch.ones_like(r), r])
    total = torch.zeros((), device=p.device, dtype=torch.float64)
    for mass, x in cases:
        out = ((x @ W)[:, None] * W + b).clamp(min=0)
        total = total + mass * ((x - out) ** 2 * weights).mean()
    return total


@pytest.mark.parametrize(("p", "r"), [(0.02, 0.05), (0.2, 0.4), (0.7, 1.5), (1.0, 0.3)])
def test_expected_losses__are_the_losses_of_the_three_models(impl, device, p, r):
    """Each formula is the expected loss of its model, integrated numerically."""
    p, r = (torch.tensor(v, device=device, dtype=torch.float64) for v in (p, r))
    models = [((1, 0), (0, p / 2)), ((0, 1), (p / 2, 0)), ((1, -1), (0, 0))]
    mine = impl.expected_losses(p, r)
    require(tuple(mine.shape) == (3,), f"the result has shape {tuple(mine.shape)}, expected (3,)")
    for k, (W, b) in enumerate(models):
        as_tensors = (torch.tensor(v, device=device, dtype=torch.float64) for v in (W, b))
        truth = integrated(*as_tensors, p, r)
        what = ("ignore the last", "ignore the first", "superposition")[k]
        hint = f"p = {p:g}, r = {r:g}, integrated numerically"
        assert_same(mine[k], truth, rtol=1e-3, atol=0, what=f"the loss of {what!r}", hint=hint)


def test_expected_losses__cost_nothing_when_nothing_is_on(impl, device):
    """At p = 0 all three are 0; at r = 0 ignoring the last feature is free."""
    zero, one = (torch.full((2,), v, device=device, dtype=torch.float64) for v in (0.0, 1.0))
    assert_same(impl.expected_losses(zero, one), torch.zeros(3, 2).to(one), "strategy grid")
    assert_same(impl.expected_losses(0.3 * one, zero)[0], zero, "grid", hint="p = 0.3, r = 0")


def test_expected_losses__mix_into_the_sum(impl, device):
    """W = (1, 1) / sqrt 2 costs halfway between the two ways of ignoring a feature."""
    p, r = (torch.tensor(v, device=device, dtype=torch.float64) for v in (0.4, 0.3))
    W = torch.tensor([0.5, 0.5], device=device, dtype=torch.float64).sqrt()
    halfway = impl.expected_losses(p, r)[:2].mean()
    truth = integrated(W, torch.zeros_like(W), p, r)
    assert_same(halfway, truth, rtol=1e-3, atol=0, what="the mean of the first two")


def test_expected_losses__dense_and_equal(impl, device):
    """At p = 1 and r = 1 they are 1/24, 1/24 and 1/6."""
    one = torch.ones((), device=device, dtype=torch.float64)
    expected = torch.tensor([1 / 24, 1 / 24, 1 / 6], device=device, dtype=torch.float64)
    assert_same(impl.expected_losses(one, one), expected, "strategy")


def test_expected_losses__exchange_of_the_features(impl, seed, device):
    """Exchanging the two features exchanges the first two strategies and keeps the third."""
    p = torch.linspace(0.1, 1, 7, device=device, dtype=torch.float64)
    r = torch.linspace(0.2, 3, 7, device=device, dtype=torch.float64)
    mine, swapped = impl.expected_losses(p, r), r * impl.expected_losses(p, 1 / r)
    assert_same(swapped[[1, 0, 2]], mine, "strategy grid")


def test_expected_losses__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on grids of any shape, with the strategies first."""
    g = generator(seed, device)
    for shape in [(3, 4), (2,), (2, 3, 2), (), (3, 3)]:
        p = torch.rand(shape, generator=g, device=device)
        r = 3 * torch.rand(shape, generator=g, device=device)
        with unchanged(p, r):
            mine = impl.expected_losses(p, r)
        assert_same(mine, ref.expected_losses(p, r), hint="strategies on the first axis")


def test_superposition_boundary__is_a_tie(impl, ref, device):
    """On the boundary ignoring the last feature and superposition cost the same."""
    p = torch.tensor([1e-4, 0.05, 0.2, 0.4, 0.6, 0.75, 0.799], device=device, dtype=torch.float64)
    ignore_last, _, superposition = ref.expected_losses(p, impl.superposition_boundary(p))
    what = "the loss of ignoring the last"
    assert_same(ignore_last, superposition, "p", rtol=1e-6, atol=0, what=what)


def test_superposition_boundary__known_values(impl, device):
    """It is 1 at p = 4/7, and infinite where superposition never wins."""
    p = torch.tensor([[0.4, 4 / 7, 1e-3], [0.9, 1.0, 0.8]], device=device, dtype=torch.float64)
    inf = math.inf
    rows = [[0.4, 1.0, 2 / 3995], [inf, inf, inf]]
    expected = torch.tensor(rows, device=device, dtype=torch.float64)
    mine = impl.superposition_boundary(p)
    assert_same(mine, expected, "row col", hint="p = 0.4, 4/7, 0.001; 0.9, 1, 0.8")


def test_superposition_boundary__equals_reference(impl, ref, seed, device):
    """It agrees with the reference up to 0.78, in any shape."""  # at 0.8 it has a pole
    for shape in [(6,), (), (2, 3)]:
        p = 0.02 + 0.76 * torch.rand(shape, generator=generator(seed, device), device=device)
        with unchanged(p):
            mine = impl.superposition_boundary(p)
        assert_same(mine, ref.superposition_boundary(p), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------ i. random_rotation and rotate_hidden


@pytest.mark.parametrize("hidden", [2, 3, 6])
def test_random_rotation__is_orthogonal(impl, seed, device, hidden):
    """R^T R is the identity."""
    R = impl.random_rotation(hidden, generator(seed + 1, device))
    eye = torch.eye(hidden, device=device)
    shape = tuple(R.shape)
    require(shape == (hidden, hidden), f"the matrix has shape {shape}, expected {(hidden, hidden)}")
    assert_same(R.mT @ R, eye, "hidden hidden", rtol=1e-4, atol=1e-5, what="R^T R")


@pytest.mark.parametrize("hidden", [2, 3])
def test_random_rotation__has_determinant_one(impl, seed, device, hidden):
    """The determinant is +1: no mirror images."""
    g = generator(seed + 2, device)
    for _ in range(30):  # a mirror image half of the time is missed with probability 2^-30
        det = torch.linalg.det(impl.random_rotation(hidden, g)).item()
        require(abs(det - 1) < 1e-3, f"a determinant is {det:.3f}, expected 1")


def bernstein(n: int, variance: float, width: float, false_alarm: float) -> float:
    """Half-width t with P(|mean - E| >= t) <= false_alarm: n draws of this variance and range.

    Bernstein's inequality, 2 exp(-n t^2 / (2 variance + 2 width t / 3)), solved for t.
    """
    log = math.log(2 / false_alarm) / n
    return width * log / 3 + math.sqrt((width * log / 3) ** 2 + 2 * variance * log)


def draws(impl, hidden, n, g):
    """`n` rotations, stacked."""
    return torch.stack([impl.random_rotation(hidden, g) for _ in range(n)]).double()


def test_random_rotation__turns_by_every_angle(impl, seed, device):
    """In the plane every angle is equally likely."""
    n = 400
    R = draws(impl, 2, n, generator(seed + 4, device))
    angle = torch.atan2(R[:, 1, 0], R[:, 0, 0])
    turn = angle.div(2 * math.pi).remainder(1).sort().values
    grid = torch.arange(n + 1, device=turn.device, dtype=torch.float64) / n
    distance = torch.maximum((grid[1:] - turn).abs().max(), (turn - grid[:-1]).abs().max())
    say = "in two dimensions some angles come more often than others"
    require(distance <= ks_distance(n, 1e-7), say)
    for k in (1, 2):
        for mean in ((k * angle).cos().mean(), (k * angle).sin().mean()):
            require(mean.abs() <= bernstein(n, 0.5, 2.0, 5e-8), say)


def test_random_rotation__points_everywhere(impl, seed, device):
    """Every entry is positive half of the time, and independently in sign of any other entry."""
    n = 300
    R = draws(impl, 3, n, generator(seed + 3, device))
    low, high = binomial_bounds(n, 0.5, 5e-9)  # 9 entries and 36 pairs
    positive = (R > 0).sum(0)
    bad = (positive < low) | (positive > high)
    if bad.any():
        share = positive[bad][0].item() / n
        at = first_index(bad, "row column")
        require(False, f"the entry at {at} is positive in {share:.0%} of {n} draws, not in half")
    sign = R.flatten(1).sign()
    alike = (n + sign.T @ sign) / 2  # how often two entries have the same sign
    bad = (alike < low) | (alike > high)
    bad.fill_diagonal_(False)
    if bad.any():
        one, other = (f"({k // 3}, {k % 3})" for k in bad.nonzero()[0].tolist())
        require(
            False,
            f"the signs of the entries {one} and {other} go together: are all directions alike?",
        )
    # an entry of a uniform rotation in three dimensions is uniform on [-1, 1] (Archimedes)
    off = ((R**2).mean(0) - 1 / 3).abs()
    at = first_index(off == off.max(), "row column")
    say = f"the square of the entry at {at} is {(R**2).mean(0).flatten()[off.argmax()]:.2f}"
    require(off.max() <= bernstein(n, 4 / 45, 1.0, 5e-9), f"{say} on average, not 1/3")


def test_random_rotation__prefers_no_direction(impl, seed, device):
    """In eight dimensions each axis lands neither nearer to the axes nor farther than chance."""
    n, d = 500, 8
    R = draws(impl, d, n, generator(seed + 5, device))
    # a uniform unit vector has E[u^4] = 3 / (d (d + 2)); its sum of fourth powers has the variance
    # d E[u^8] + d (d - 1) E[u^4 v^4] - (3 / (d + 2))^2, moments of the uniform law on the sphere
    rising = math.prod(d + 2 * k for k in range(4))
    variance = (105 * d + 9 * d * (d - 1)) / rising - (3 / (d + 2)) ** 2
    allowed = bernstein(n, variance, 1.0, 5e-8)
    for what, vectors in (("column", R.mT), ("row", R)):
        for k in (0, d - 1):
            mean = (vectors[:, k] ** 4).sum(-1).mean().item()
            say = f"{what} {k} prefers some directions: its fourth powers sum to {mean:.3f}"
            hint = "start from normal numbers, which have no preferred direction"
            require(abs(mean - 3 / (d + 2)) <= allowed, f"{say}, not {3 / (d + 2):.3f}; {hint}")


def test_random_rotation__comes_from_the_generator(impl, ref, seed, device):
    """Equal generators give equal rotations, and the next draw differs."""
    one = impl.random_rotation(4, generator(seed, device))
    same = impl.random_rotation(4, generator(seed, device))
    require(torch.equal(one, same), "equal generators gave different rotations: use gen")
    g = generator(seed, device)
    impl.random_rotation(4, g)
    require(
        not torch.equal(impl.random_rotation(4, g), one),
        "the second draw repeats the first: use gen",
    )
    assert_same(one, torch.empty_like(ref.random_rotation(4, g)).copy_(one), "hidden hidden")


def test_rotate_hidden__a_quarter_turn(impl, device):
    """A quarter turn sends (1, 0) to (0, 1) and (0, 2) to (-2, 0)."""
    R = torch.tensor([[0.0, -1.0], [1.0, 0.0]], device=device)
    W = torch.tensor([[[1.0, 0.0, 3.0], [0.0, 2.0, 4.0]]], device=device)
    expected = torch.tensor([[[0.0, -2.0, -4.0], [1.0, 0.0, 3.0]]], device=device)
    assert_same(impl.rotate_hidden(W, R), expected, "inst hidden feature")


def test_rotate_hidden__leaves_the_model_unchanged(impl, ref, seed, device):
    """After a rotation the model's outputs are the same."""
    g = generator(seed + 6, device)
    x, W, b = toy(seed, device, (5, 3, 4, 3), torch.float64)
    R = ref.random_rotation(3, g).double()
    turned = impl.rotate_hidden(W, R)
    require(
        tuple(turned.shape) == (3, 3, 4), f"the shape is {tuple(turned.shape)}, expected (3, 3, 4)"
    )
    gap = (turned - W).abs().amax(dim=(1, 2))
    require((gap > 1e-3).all(), f"the weights of inst {int(gap.argmin())} were not turned at all")
    out = ref.toy_forward(x, turned, b)
    assert_same(
        out, ref.toy_forward(x, W, b), AXES, rtol=1e-4, atol=1e-5, what="the model's output"
    )


def test_rotate_hidden__twice_is_the_product(impl, seed, device):
    """Turning by R and then by Q is turning by Q R."""
    g = generator(seed + 8, device)
    W, R, Q = (normal(g, *size, dtype=torch.float64) for size in ((3, 2, 5), (2, 2), (2, 2)))
    assert_same(impl.rotate_hidden(impl.rotate_hidden(W, R), Q), impl.rotate_hidden(W, Q @ R))


def test_rotate_hidden__equals_reference(impl, ref, seed, device):
    """It agrees with the reference, keeps the dtype and leaves W and R alone."""
    g = generator(seed + 12, device)
    sizes = [(2, 3, 5), (3, 3, 3), (1, 2, 4), (4, 1, 2)]
    for size, dtype in zip(sizes, [torch.float32, torch.float64] * 2, strict=True):
        W, R = normal(g, *size, dtype=dtype), normal(g, size[1], size[1], dtype=dtype)
        with unchanged(W, R):
            mine = impl.rotate_hidden(W, R)
        assert_same(mine, ref.rotate_hidden(W, R), "inst hidden feature")


# ------------------------------------------------------------------------------------ predictions
# The claims next to this file show by experiment that the reference's answers are right.


def test_predict_dense__is_what_training_finds(impl, ref):
    """Dense features: what training finds at p = 1."""
    require(impl.predict_dense == ref.predict_dense, "at p = 1 training finds something else")


def test_predict_between__is_what_training_finds(impl, ref):
    """In between: what training finds at p = 0.25."""
    require(
        impl.predict_between == ref.predict_between, "at p = 0.25 training finds something else"
    )


def test_predict_sparse__is_what_training_finds(impl, ref):
    """Sparse features: what training finds at p = 0.025."""
    require(impl.predict_sparse == ref.predict_sparse, "at p = 0.025 training finds something else")


def test_predict_n_dense__is_what_training_finds(impl, ref):
    """The number of represented features at p = 1, give or take 1 as between seeds."""
    require(abs(impl.predict_n_dense - ref.predict_n_dense) <= 1, "training finds another number")


def test_predict_n_sparse__is_what_training_finds(impl, ref):
    """The number of represented features at p = 0.01."""
    require(
        impl.predict_n_sparse == ref.predict_n_sparse, "at p = 0.01 training finds another number"
    )


def test_predict_unimportant__is_what_training_finds(impl, ref):
    """What happens to an unimportant feature from dense to sparse."""
    require(impl.predict_unimportant == ref.predict_unimportant, "training finds something else")


def test_predict_boundary__is_what_training_finds(impl, ref):
    """Where the trained models begin to superpose."""
    say = "the experiment shows something else: compare the map with the curve"
    require(impl.predict_boundary == ref.predict_boundary, say)


def test_predict_rotated_relu__is_what_happens(impl, ref):
    """What a hidden ReLU notices, and what it does not."""
    require(
        impl.predict_rotated_relu == ref.predict_rotated_relu, "the experiment shows something else"
    )
