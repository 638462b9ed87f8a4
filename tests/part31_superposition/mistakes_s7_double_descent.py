"""Wrong answers to 3.1.7, each with what a tutor would say."""

import math

import torch
from einops import einsum

from part31_superposition.s1_nonprivileged_basis import (
    neighbour_angles,
    sparse_features,
    toy_forward,
)

# ------------------------------------------------------------------------------- a. fixed_points


def _drawn(n_points, inst, feature, probability, gen):
    x = sparse_features(n_points, inst, feature, probability, gen)
    drawn = torch.randint(feature, (n_points, inst), generator=gen, device=gen.device)
    single = torch.nn.functional.one_hot(drawn, feature).to(x.dtype)
    return x, single, (x == 0).all(dim=-1, keepdim=True)


def fixed_points__empty_rows_are_nan(n_points, inst, feature, probability, gen):
    """A row without any active feature has length 0, and you divide by it: the row becomes NaN.
    Replace such rows before you normalise."""
    x = sparse_features(n_points, inst, feature, probability, gen)
    return x / x.norm(dim=-1, keepdim=True)


def fixed_points__empty_rows_stay_zero(n_points, inst, feature, probability, gen):
    """You keep rows of zeros. A clamp avoids the NaN, but a point of length 0 is no point: give it
    one active feature."""
    x = sparse_features(n_points, inst, feature, probability, gen)
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-8)


def fixed_points__not_normalised(n_points, inst, feature, probability, gen):
    """Your rows do not have length 1. Divide each by its own length, after the empty ones are
    replaced."""
    x, single, empty = _drawn(n_points, inst, feature, probability, gen)
    return torch.where(empty, single, x)


def fixed_points__sum_instead_of_length(n_points, inst, feature, probability, gen):
    """You divide by the sum of the entries. Length 1 means that the *squares* sum to 1."""
    x, single, empty = _drawn(n_points, inst, feature, probability, gen)
    x = torch.where(empty, single, x)
    return x / x.sum(dim=-1, keepdim=True)


def fixed_points__one_length_for_the_whole_batch(n_points, inst, feature, probability, gen):
    """You divide all rows of an instance by one common length. Each row has a length of its
    own: the norm goes over the feature axis only."""
    x, single, empty = _drawn(n_points, inst, feature, probability, gen)
    x = torch.where(empty, single, x)
    return x / x.norm(dim=(0, 2), keepdim=True)


def fixed_points__empty_rows_get_feature_zero(n_points, inst, feature, probability, gen):
    """All your empty rows become the same point, feature 0. Draw the feature anew for each
    row, or the training set favours one feature."""
    x, single, empty = _drawn(n_points, inst, feature, probability, gen)
    first = torch.zeros_like(single)
    first[..., 0] = 1
    x = torch.where(empty, first, x)
    return x / x.norm(dim=-1, keepdim=True)


def fixed_points__empty_rows_shared_by_instances(n_points, inst, feature, probability, gen):
    """The features of empty rows are drawn once per point and shared by all instances. Draw one for
    every point *and* instance."""
    x = sparse_features(n_points, inst, feature, probability, gen)
    drawn = torch.randint(feature, (n_points, 1), generator=gen, device=gen.device)
    single = torch.nn.functional.one_hot(drawn, feature).to(x.dtype)
    x = torch.where((x == 0).all(dim=-1, keepdim=True), single, x)
    return x / x.norm(dim=-1, keepdim=True)


def fixed_points__same_points_in_every_instance(n_points, inst, feature, probability, gen):
    """Every instance got the same points. The instances are separate experiments: draw their points
    separately."""
    x, single, empty = _drawn(n_points, 1, feature, probability, gen)
    x = torch.where(empty, single, x)
    return (x / x.norm(dim=-1, keepdim=True)).expand(n_points, inst, feature)


# --------------------------------------------------------------------------------- b1. point_loss


def point_loss__mean_over_features(x, x_hat):
    """You averaged over the features. Here a point's error is the *sum* over its features, so that
    the model that always answers 0 has a loss of exactly 1."""
    return (x - x_hat).square().mean(dim=-1).mean(dim=0)


def point_loss__sum_over_points(x, x_hat):
    """You summed over the points. With a sum the loss would grow with T, and losses at different T
    could not be compared: average over the points."""
    return (x - x_hat).square().sum(dim=-1).sum(dim=0)


def point_loss__one_number(x, x_hat):
    """You returned one number for all instances. Keep the axis `inst`: each model has its
    own loss."""
    return (x - x_hat).square().sum(dim=-1).mean(dim=0).sum()


def point_loss__not_squared(x, x_hat):
    """You took absolute differences. The loss is a *squared* error."""
    return (x - x_hat).abs().sum(dim=-1).mean(dim=0)


def point_loss__norm_not_squared(x, x_hat):
    """You took the length of the error. Its *square* is wanted, the sum of squares without
    the root."""
    return (x - x_hat).norm(dim=-1).mean(dim=0)


def point_loss__axes_swapped(x, x_hat):
    """You kept the axis of the points and averaged over instances. The first axis is `point`, the
    second is `inst`."""
    return (x - x_hat).square().sum(dim=-1).mean(dim=1)


def point_loss__detached(x, x_hat):
    """The value is right, but no gradient flows: something is detached. Training needs the
    graph."""
    return (x - x_hat).square().sum(dim=-1).mean(dim=0).detach()


# ---------------------------------------------------------------------- b2. sample_dimensionality


def _hidden(x, W):
    return einsum(x, W, "point inst feature, inst hidden feature -> point inst hidden")


def sample_dimensionality__of_the_features(x, W):
    """You measured the features (columns of W). Here the vectors are the points' hidden
    vectors, W x."""
    W = W.movedim(-1, 0)
    hat = W / W.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    overlap = einsum(hat, W, "a inst hidden, b inst hidden -> a b inst")
    return W.norm(dim=-1) ** 2 / overlap.square().sum(dim=1).clamp(min=1e-12)


def sample_dimensionality__of_the_inputs(x, W):
    """You measured the points in the input space. What counts is where they stand in the
    hidden space: first compute h = W x."""
    hat = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    overlap = einsum(hat, x, "a inst feature, b inst feature -> a b inst")
    return x.norm(dim=-1) ** 2 / overlap.square().sum(dim=1).clamp(min=1e-12)


def sample_dimensionality__both_normalised(x, W):
    """You normalised both vectors in the product. The hat is on one side only: a long
    neighbour takes more room than a short one."""
    h = _hidden(x, W)
    hat = h / h.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    overlap = einsum(hat, hat, "a inst hidden, b inst hidden -> a b inst")
    return h.norm(dim=-1) ** 2 / overlap.square().sum(dim=1).clamp(min=1e-12)


def sample_dimensionality__none_normalised(x, W):
    """No vector has a hat in your products: each h_t must be divided by its length there. As it is,
    the value changes when all vectors are stretched."""
    h = _hidden(x, W)
    total = einsum(h, h, "a inst hidden, b inst hidden -> a b inst").square().sum(dim=1)
    return h.square().sum(dim=-1) / torch.where(total > 0, total, 1.0)


def sample_dimensionality__without_itself(x, W):
    """You left out s = t. The sum runs over all points, this one included: a point alone has
    dimensionality 1, not infinity."""
    h = _hidden(x, W)
    hat = h / h.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    overlap = einsum(hat, h, "a inst hidden, b inst hidden -> a b inst").square()
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)[..., None]
    return h.norm(dim=-1) ** 2 / overlap.masked_fill(itself, 0).sum(dim=1).clamp(min=1e-12)


def sample_dimensionality__others_only(x, W):
    """You left out s = t. The sum runs over all points, this one included: what should come out for
    a point that stands alone?"""
    h = _hidden(x, W)
    length = h.norm(dim=-1)
    hat = h / torch.where(length > 0, length, 1.0)[..., None]
    overlap = einsum(hat, h, "a inst hidden, b inst hidden -> a b inst").square()
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)[..., None]
    total = overlap.masked_fill(itself, 0).sum(dim=1)
    return length**2 / torch.where(total > 0, total, 1.0)


def sample_dimensionality__not_squared(x, W):
    """The products in the denominator are squared. Without the square, opposite points cancel each
    other."""
    h = _hidden(x, W)
    hat = h / h.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    overlap = einsum(hat, h, "a inst hidden, b inst hidden -> a b inst")
    return h.norm(dim=-1) ** 2 / overlap.sum(dim=1).clamp(min=1e-12)


def sample_dimensionality__length_not_squared(x, W):
    """The length in the numerator is not squared. Without the square the value changes when all
    vectors are stretched, and a dimensionality must not."""
    h = _hidden(x, W)
    hat = h / h.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    overlap = einsum(hat, h, "a inst hidden, b inst hidden -> a b inst")
    return h.norm(dim=-1) / overlap.square().sum(dim=1).clamp(min=1e-12)


def sample_dimensionality__floor_too_large(x, W):
    """Your floor against 0/0 is larger than the lengths of short points, so it changes them. Take a
    much smaller one."""
    h = _hidden(x, W)
    hat = h / h.norm(dim=-1, keepdim=True).clamp(min=1e-2)
    overlap = einsum(hat, h, "a inst hidden, b inst hidden -> a b inst")
    return h.norm(dim=-1) ** 2 / overlap.square().sum(dim=1).clamp(min=1e-4)


def sample_dimensionality__floor_added(x, W):
    """You add a small number to what you divide by. Points may have a length of 1e-5: how large are
    the squares that you add it to?"""
    h = _hidden(x, W)
    hat = h / (h.norm(dim=-1, keepdim=True) + 1e-8)
    overlap = einsum(hat, h, "a inst hidden, b inst hidden -> a b inst")
    return h.norm(dim=-1) ** 2 / (overlap.square().sum(dim=1) + 1e-8)


def sample_dimensionality__zero_gives_nan(x, W):
    """A point with h = 0 gives 0/0, NaN. It uses no room: its dimensionality is 0."""
    h = _hidden(x, W)
    overlap = einsum(
        h / h.norm(dim=-1, keepdim=True), h, "a inst hidden, b inst hidden -> a b inst"
    )
    return h.norm(dim=-1) ** 2 / overlap.square().sum(dim=1)


def sample_dimensionality__instances_mixed(x, W):
    """You compared a point with the points of all instances. Points of different models never meet:
    `inst` must stay in the einsum."""
    h = _hidden(x, W)
    hat = h / h.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    overlap = einsum(hat, h, "a inst hidden, b other hidden -> a inst b other")
    return h.norm(dim=-1) ** 2 / overlap.square().sum(dim=(2, 3)).clamp(min=1e-12)


# ------------------------------------------------------------------------------ c1. warmup_cosine


def warmup_cosine__no_warmup(step, n_steps, lr, n_warmup):
    """There is no warm-up: your rate starts at its peak. Multiply by min(1, (step + 1) /
    n_warmup)."""
    return lr * (1 + math.cos(math.pi * step / n_steps)) / 2


def warmup_cosine__no_cosine(step, n_steps, lr, n_warmup):
    """After the warm-up your rate stays at the peak. It should fall along half a cosine."""
    return lr * min(1.0, (step + 1) / n_warmup)


def warmup_cosine__warmup_never_ends(step, n_steps, lr, n_warmup):
    """Your warm-up factor grows beyond 1. It ends at 1: use `min`."""
    return lr * (step + 1) / n_warmup * (1 + math.cos(math.pi * step / n_steps)) / 2


def warmup_cosine__first_step_is_zero(step, n_steps, lr, n_warmup):
    """Your first step has rate 0, which wastes it. The warm-up counts step + 1."""
    return lr * min(1.0, step / n_warmup) * (1 + math.cos(math.pi * step / n_steps)) / 2


def warmup_cosine__full_cosine(step, n_steps, lr, n_warmup):
    """You used a whole period of the cosine: the rate falls and rises again. Half a period,
    from 0 to pi, is wanted."""
    return lr * min(1.0, (step + 1) / n_warmup) * (1 + math.cos(2 * math.pi * step / n_steps)) / 2


def warmup_cosine__cosine_not_shifted(step, n_steps, lr, n_warmup):
    """You used the bare cosine, which becomes negative half-way. Shift and halve it: (1 +
    cos) / 2."""
    return lr * min(1.0, (step + 1) / n_warmup) * math.cos(math.pi * step / n_steps)


def warmup_cosine__cosine_after_the_warmup(step, n_steps, lr, n_warmup):
    """Your cosine begins where the warm-up ends. It acts from the first step to the last, at the
    same time as the warm-up."""
    if step < n_warmup:
        return lr * (step + 1) / n_warmup
    return lr * (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup))) / 2


def warmup_cosine__reaches_zero(step, n_steps, lr, n_warmup):
    """Your rate is 0 at the last step, which wastes it. The cosine would be 0 at step n_steps, one
    after the last."""
    half = (1 + math.cos(math.pi * step / max(n_steps - 1, 1))) / 2
    return lr * min(1.0, (step + 1) / n_warmup) * half


def warmup_cosine__quarter_period(step, n_steps, lr, n_warmup):
    """You use a quarter of a period. That is 0.71 half-way, not one half: take half a period,
    shifted and scaled."""
    warm = min(1.0, (step + 1) / n_warmup)
    return lr * warm * math.cos(math.pi * step / n_steps / 2)


def warmup_cosine__linear_decay(step, n_steps, lr, n_warmup):
    """Your decay is a straight line. It is half a period of a cosine: flat at both ends."""
    return lr * min(1.0, (step + 1) / n_warmup) * (1 - step / n_steps)


def warmup_cosine__either_or(step, n_steps, lr, n_warmup):
    """You switch from warm-up to cosine. The two factors are multiplied at every step, also
    during the warm-up."""
    if step < n_warmup:
        return lr * (step + 1) / n_warmup
    return lr * (1 + math.cos(math.pi * step / n_steps)) / 2


# --------------------------------------------------------------------------- c2. train_full_batch


def _loss(x, W, b):
    return (x - toy_forward(x, W, b)).square().sum(dim=-1).mean(dim=0)


def _train(
    W, b, x, rates, wd, make=torch.optim.AdamW, loss_of=None, keep=lambda loss: loss.detach(),
    wd_b=None, after=False,
):  # fmt: skip
    W, b = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    wd_b = wd if wd_b is None else wd_b
    groups = [{"params": [W], "weight_decay": wd}, {"params": [b], "weight_decay": wd_b}]
    optimizer = make(groups)
    losses = []
    for lr in rates:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = _loss(x, W, b)
        (loss_of(loss) if loss_of else loss.sum()).backward()
        optimizer.step()
        losses.append(keep(_loss(x, W, b) if after else loss))
    return W.detach(), b.detach(), torch.stack(losses)


def train_full_batch__adam_adds_decay_to_the_gradient(W, b, x, learning_rates, weight_decay):
    """You used Adam with `weight_decay`: that adds the decay to the gradient, where Adam
    rescales it. AdamW subtracts it besides Adam's step."""
    return _train(W, b, x, learning_rates, weight_decay, make=torch.optim.Adam)


def train_full_batch__no_decay(W, b, x, learning_rates, weight_decay):
    """Your weights do not decay. Pass `weight_decay` to the optimiser; its default is
    another number."""
    return _train(W, b, x, learning_rates, 0.0)


def train_full_batch__default_decay(W, b, x, learning_rates, weight_decay):
    """You left AdamW's own weight decay of 0.01 in place. Pass the `weight_decay` that you
    were given."""
    return _train(W, b, x, learning_rates, 0.01)


def train_full_batch__bias_spared(W, b, x, learning_rates, weight_decay):
    """Only W decays in your loop. Many do it so, but here the statement asks for weight decay on
    both."""
    return _train(W, b, x, learning_rates, weight_decay, wd_b=0.0)


def train_full_batch__only_the_first_instance(W, b, x, learning_rates, weight_decay):
    """Only the first instance learns: you went backward from its loss alone. Sum over the
    instances."""
    return _train(W, b, x, learning_rates, weight_decay, loss_of=lambda loss: loss[0])


def train_full_batch__mean_over_instances(W, b, x, learning_rates, weight_decay):
    """You go backward from the mean over instances, so each gradient is too small by their number.
    Sum over the instances: a model should not notice how many others there are."""
    return _train(W, b, x, learning_rates, weight_decay, loss_of=lambda loss: loss.mean())


def train_full_batch__losses_summed(W, b, x, learning_rates, weight_decay):
    """You kept one number per step. Keep the loss of every instance, shape (step, inst)."""
    return _train(W, b, x, learning_rates, weight_decay, keep=lambda loss: loss.detach().sum())


def train_full_batch__losses_after_the_step(W, b, x, learning_rates, weight_decay):
    """You keep the losses *after* each update. Keep those before it: the first is the loss of the
    weights that you were given."""
    return _train(W, b, x, learning_rates, weight_decay, after=True)


def train_full_batch__gradients_add_up(W, b, x, learning_rates, weight_decay):
    """You never clear the gradients, so each step adds to those before it. Call
    `optimizer.zero_grad()` in every step."""
    W, b = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    optimizer = torch.optim.AdamW([W, b], weight_decay=weight_decay)
    losses = []
    for lr in learning_rates:
        optimizer.param_groups[0]["lr"] = lr
        loss = (x - toy_forward(x, W, b)).square().sum(dim=-1).mean(dim=0)
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
    return W.detach(), b.detach(), torch.stack(losses)


def train_full_batch__rate_never_set(W, b, x, learning_rates, weight_decay):
    """You set the learning rate once, at the start. Set `optimizer.param_groups[0]["lr"]` in
    every step."""
    rates = list(learning_rates)
    return _train(W, b, x, [rates[0]] * len(rates), weight_decay)


def train_full_batch__new_optimizer_each_step(W, b, x, learning_rates, weight_decay):
    """You make a new optimiser in every step, so Adam forgets its running averages. Make it once,
    before the loop."""
    losses = []
    for lr in learning_rates:
        W, b, loss = _train(W, b, x, [lr], weight_decay)
        losses.append(loss[0])
    return W, b, torch.stack(losses)


# -------------------------------------------------------------------------------------- d. polygon


def _corners(vectors, share=0.5):
    length = vectors.norm(dim=0)
    return vectors[:, length >= length.max() * share]


def polygon__all_vectors(vectors):
    """You counted every vector. Those shorter than half of the longest are not corners."""
    gaps = neighbour_angles(vectors[None])[0]
    return vectors.shape[1], (gaps - 360 / vectors.shape[1]).abs().max().item()


def polygon__gap_of_all(vectors):
    """The short vectors are gone from the corners, but you still divide 360 by the number of all
    vectors."""
    corners = _corners(vectors)
    gaps = neighbour_angles(corners[None])[0]
    return corners.shape[1], (gaps - 360 / vectors.shape[1]).abs().max().item()


def polygon__mean_deviation(vectors):
    """You averaged the deviations. One bad corner can hide in an average: take the largest."""
    corners = _corners(vectors)
    gaps = neighbour_angles(corners[None])[0]
    return corners.shape[1], (gaps - 360 / corners.shape[1]).abs().mean().item()


def polygon__signed_deviation(vectors):
    """You took the largest signed difference. A gap that is too small is as bad as one that is too
    large: take absolute values first."""
    corners = _corners(vectors)
    gaps = neighbour_angles(corners[None])[0]
    return corners.shape[1], (gaps - 360 / corners.shape[1]).max().item()


def polygon__first_gap_only(vectors):
    """You looked at one gap. The deviation is the largest over all gaps."""
    corners = _corners(vectors)
    gaps = neighbour_angles(corners[None])[0]
    return corners.shape[1], (gaps[0] - 360 / corners.shape[1]).abs().item()


def polygon__walk_not_closed(vectors):
    """You sort the angles and take differences: that is one gap too few. Where is the gap between
    the last corner and the first?"""
    corners = _corners(vectors)
    angle = torch.atan2(corners[1], corners[0]).rad2deg().sort().values
    k = corners.shape[1]
    return k, (angle.diff() - 360 / k).abs().max().item()


def polygon__longer_than_half(vectors):
    """You left out a vector of exactly half of the longest length. "At least half" includes it."""
    length = vectors.norm(dim=0)
    corners = vectors[:, length > length.max() / 2]
    gaps = neighbour_angles(corners[None])[0]
    return corners.shape[1], (gaps - 360 / corners.shape[1]).abs().max().item()


def polygon__half_of_one(vectors):
    """You kept the vectors longer than 0.5. The limit is half of the *longest* one: the
    measure must not depend on the scale."""
    corners = vectors[:, vectors.norm(dim=0) >= 0.5]
    k = max(corners.shape[1], 1)
    gaps = neighbour_angles(corners[None])[0] if corners.shape[1] else torch.tensor([360.0])
    return corners.shape[1], (gaps - 360 / k).abs().max().item()


def polygon__half_of_the_mean(vectors):
    """You compare with half of the *mean* length. A corner is at least half as long as the longest
    vector."""
    length = vectors.norm(dim=0)
    corners = vectors[:, length >= length.mean() / 2]
    gaps = neighbour_angles(corners[None])[0]
    return corners.shape[1], (gaps - 360 / corners.shape[1]).abs().max().item()


def polygon__in_radians(vectors):
    """You returned radians. The deviation is in degrees."""
    corners = _corners(vectors)
    gaps = neighbour_angles(corners[None])[0]
    return corners.shape[1], math.radians((gaps - 360 / corners.shape[1]).abs().max().item())


# ------------------------------------------------------------------------------------ e. loss_peak


def loss_peak__first_as_level(test_loss):
    """You compare with the *first* loss. The level that matters is where the curve ends."""
    worst = int(test_loss.argmax())
    return worst, (test_loss[worst] / test_loss[0]).item()


def loss_peak__smallest_as_level(test_loss):
    """You compare with the smallest loss on the curve. The level that matters is the last one."""
    worst = int(test_loss.argmax())
    return worst, (test_loss[worst] / test_loss.min()).item()


def loss_peak__inverse(test_loss):
    """Your ratio is upside down: largest divided by last, not last by largest."""
    worst = int(test_loss.argmax())
    return worst, (test_loss[-1] / test_loss[worst]).item()


def loss_peak__difference(test_loss):
    """You returned a difference. A *ratio* to the last loss is wanted."""
    worst = int(test_loss.argmax())
    return worst, (test_loss[worst] - test_loss[-1]).item()


def loss_peak__lowest(test_loss):
    """You found the *best* test loss. The peak is the worst one."""
    best = int(test_loss.argmin())
    return best, (test_loss[best] / test_loss[-1]).item()


def loss_peak__not_at_an_end(test_loss):
    """You look for the peak between the first value and the last. The worst loss may stand at an
    end, too."""
    worst = int(test_loss[1:-1].argmax()) + 1
    return worst, (test_loss[worst] / test_loss[-1]).item()


def loss_peak__counts_from_one(test_loss):
    """Your index counts from 1. Python counts from 0."""
    worst = int(test_loss.argmax())
    return worst + 1, (test_loss[worst] / test_loss[-1]).item()


# ------------------------------------------------------------------------------------- predictions


def predict_few__features():
    """Five features of 200 say little about five particular points. With so few points it
    pays to give each *point* its own direction, and features serve only to get there."""
    return "five features"


def predict_few__neither():
    """Two dimensions are room for five directions if only one is used at a time, and the
    training points are used one at a time. So they can stand on a pentagon."""
    return "neither"


def predict_many__points():
    """Three thousand directions in a plane would be 0.12° apart: no point could be told from its
    neighbours. The model must give up on single points."""
    return "the points"


def predict_many__neither():
    """There is something that comes up again and again, even among thousands of points:
    single features. The model stores as many as fit."""
    return "neither"


def predict_worst_at__few():
    """With so few points, what is memorised hardly touches new points: the model answers about 0 to
    them, and that costs about 1. It gets worse than that."""
    return "3 to 15"


def predict_worst_at__many():
    """With so many points single points can no longer be memorised, and features pay: the loss on
    fresh points is below 1 there."""
    return "400 to 3,000"


def predict_test_loss__at_most_one():
    """It would, if the model moved smoothly from points to features. But in between it still tries
    to memorise, with large weights, and new points suffer for it."""
    return "at most 1"


def predict_test_loss__a_little():
    """It is worse than that. To tell many points apart in a plane the weights must be large, and
    new points get large wrong answers."""
    return "above 1, at most 1.5"
