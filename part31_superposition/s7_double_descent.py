# %% [markdown]
# # 3.1.7 Memorisation, double descent and superposition
#
# So far every batch was fresh. The model could never see the same row twice, so it had to learn
# *features*. Real training sets are finite. What does a toy model do with a training set of five
# rows? Of five hundred?
#
# Our model has two hidden dimensions. It can use them for the *rows* that it is shown again and
# again, or for the *features* that rows are made of. Which does it choose, and when? This section
# follows Henighan et al. (2023), *Superposition, Memorization, and Double Descent*, cited below as
# **SMD**. Our models are smaller, and the whole experiment takes minutes on a laptop.
#
# ## Questions
#
# 1. How does one build a training set that counts all its rows alike?
# 2. How much of the hidden space does one *data point* use?
# 3. What changes in the training loop when every batch is the same?
# 4. What stands on polygons with few rows, and what with many?
# 5. Does more data always help?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | $T$ | the number of training points (rows); they stay the same for the whole training |
# | memorise | give every training *point* a direction of its own |
# | generalise | give *features* directions, so that new points are reconstructed too |
# | double descent | a test loss that does not simply fall as something grows (here $T$) |

# %% tags=["setup"]
import math
from collections.abc import Iterable

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from part31_superposition.s1_nonprivileged_basis import (
    neighbour_angles,
    sparse_features,
    toy_forward,
)
from utils.plots import descent as plots_descent
from utils.progress import track

# %% [markdown]
# ## 1 · A training set that stays
#
# A row of the toy data is mostly zeros. Rows with more active features are longer, and a long row
# counts more in a squared error. To treat all points alike, SMD divides each row by its length. One
# case is left: a row with *no* active feature has no direction, and dividing by its length gives
# NaN. We give such a row one active feature, drawn uniformly.

# %% [markdown] tags=["task"]
# Draw the training set.
#
# - Start from `sparse_features(n_points, inst, feature, probability, gen)` (3.1.1.b): its batch axis
#   holds the points.
# - Replace each row of zeros by a row with a single 1, at a feature drawn uniformly. Draw anew for
#   each such row of each instance.
# - Divide each row by its length.
# - Every random number comes from `gen`.


# %% tags=["exercise"] exercise="3.1.7.a" title="Fixed points of length one" difficulty=2 importance=3 minutes=15 skill="masks and normalisation"
def fixed_points(
    n_points: int, inst: int, feature: int, probability: float, gen: torch.Generator
) -> Float[Tensor, "point inst feature"]:
    """Draw sparse rows of length 1; a row of zeros becomes one uniformly drawn feature (SMD)."""
    x = sparse_features(n_points, inst, feature, probability, gen)
    drawn = torch.randint(feature, (n_points, inst), generator=gen, device=gen.device)
    single = torch.nn.functional.one_hot(drawn, feature).to(x.dtype)
    empty = (x == 0).all(dim=-1, keepdim=True)
    x = torch.where(empty, single, x)
    return x / x.norm(dim=-1, keepdim=True)


# %% [markdown] tags=["hint"]
# Which axis is a row? Along which axis must the squares sum to 1?

# %% [markdown] tags=["hint"]
# `(x == 0).all(dim=-1, keepdim=True)` marks the empty rows. `torch.where` needs a replacement for every row,
# also for those that keep their values: draw one for each.

# %% [markdown] tags=["hint"]
# `torch.nn.functional.one_hot(torch.randint(feature, (n_points, inst), generator=gen), feature)` is a single
# feature per row. Normalise last: `x / x.norm(dim=-1, keepdim=True)`.

# %% [markdown]
# ### The loss
#
# The model is the old one, $\hat x = \mathrm{ReLU}(W^\top W x + b)$. All features matter equally, so there is no importance.
# We report the squared error of a *point*: a sum over its features, then a mean over the points.
#
# $$L = \frac1T \sum_{t=1}^{T} \; \sum_{i=1}^{n} \big(x_{ti} - \hat x_{ti}\big)^2 .$$
#
# Points have length 1. So the model that always answers 0 has a loss of exactly 1: a yardstick. A test loss
# above 1 is worse than knowing nothing.

# %% [markdown] tags=["task"]
# Return the loss of every instance: sum over `feature`, mean over `point`, one number per instance.


# %% tags=["exercise"] exercise="3.1.7.b1" title="Squared error per point" difficulty=1 importance=3 minutes=5 skill="which axes are averaged"
def point_loss(
    x: Float[Tensor, "point inst feature"], x_hat: Float[Tensor, "point inst feature"]
) -> Float[Tensor, " inst"]:
    """Squared error: sum over feature, mean over point, one value per instance."""
    return (x - x_hat).square().sum(dim=-1).mean(dim=0)


# %% [markdown] tags=["hint"]
# Two axes disappear. Which one is summed, which one is averaged?

# %% [markdown] tags=["hint"]
# `(...).square()` has shape `(point, inst, feature)`: `.sum(dim=-1)`, then `.mean(dim=0)`.

# %% [markdown]
# ### How much room does a point use?
#
# In 3.1.4 the dimensionality of a *feature* says what share of a dimension it has for itself. The same question can be put to
# a *data point*. Its hidden vector is $h_t = W x_t$. With $\hat h_t = h_t / \|h_t\|$,
#
# $$D_{x_t} = \frac{\|h_t\|^2}{\sum_{s} (\hat h_t \cdot h_s)^2},$$
#
# where $s$ runs over all points, $t$ itself included. A point whose hidden vector is orthogonal to
# all others has $D = 1$. If $T \ge 3$ points of equal length stand on a regular polygon in the plane,
# each has $D = 2/T$: they share two dimensions fairly.

# %% [markdown] tags=["task"]
# Return the dimensionality of every data point. A point with $h_t = 0$ uses no room: its
# dimensionality is 0, not NaN. Every other point counts, even one with a length of $10^{-5}$.


# %% tags=["exercise"] exercise="3.1.7.b2" title="Dimensionality of a data point" difficulty=3 importance=4 minutes=15 skill="pairwise products"
def sample_dimensionality(
    x: Float[Tensor, "point inst feature"], W: Float[Tensor, "inst hidden feature"]
) -> Float[Tensor, "point inst"]:
    """||h_t||^2 / sum_s (h_hat_t . h_s)^2 with h = W x; 0 where h_t = 0 (SMD)."""
    h = einsum(x, W, "point inst feature, inst hidden feature -> point inst hidden")
    length = h.norm(dim=-1)
    h_hat = h / length.clamp(min=1e-8)[..., None]  # a point at the origin has no direction
    overlap = einsum(h_hat, h, "point inst hidden, other inst hidden -> point other inst")
    return length**2 / overlap.square().sum(dim=1).clamp(min=1e-12)


# %% [markdown] tags=["hint"]
# This is the feature dimensionality with other vectors. Which vectors, and how many are there?

# %% [markdown] tags=["hint"]
# First $h$ with an einsum over `feature`. Then all pairs of points: give the second point axis another name, such as
# `other`. The hat is on one side only.

# %% [markdown] tags=["hint"]
# `overlap = einsum(h_hat, h, "point inst hidden, other inst hidden -> point other inst")`; square, sum over
# `other`; clamp what you divide by.

# %% [markdown]
# ## 2 · Training on the full batch
#
# There are only $T$ points, so every step uses all of them. Two things are new.
#
# **A schedule.** The learning rate of step $k = 0, \dots, n - 1$ is its peak $\ell$ times two factors.
#
# - The *warm-up* grows in equal amounts from step to step until it is 1. It gets there at the last
#   of $n_w$ warm-up steps, and the very first step already has a share of $1 / n_w$. Then it stays 1.
# - The *decay* acts from the first step to the last. It is half a period of a cosine, shifted and
#   scaled so that it is 1 at $k = 0$, one half at $k = n/2$, and would be 0 at $k = n$.
#
# **Weight decay.** A small pull of all parameters towards 0. Without it, nothing holds the weights
# of a model that has already memorised its points. We use AdamW: it subtracts
# $\ell_k \lambda\, \theta$ from each parameter *besides* Adam's own step. (Adding $\lambda\theta$
# to the gradient is something else: Adam would rescale it.)

# %% [markdown] tags=["task"]
# Return the learning rate of step `step`, counted from 0, as a number. Write the two factors down
# first, on paper.


# %% tags=["exercise"] exercise="3.1.7.c1" title="Warm-up and cosine" difficulty=2 importance=2 minutes=8 skill="a formula from its properties"
def warmup_cosine(step: int, n_steps: int, lr: float, n_warmup: int) -> float:
    """The peak lr, times a linear warm-up, times half a cosine that would be 0 at n_steps."""
    warm = min(1.0, (step + 1) / n_warmup)
    return lr * warm * (1 + math.cos(math.pi * step / n_steps)) / 2


# %% [markdown] tags=["hint"]
# What is the warm-up at steps 0, 1, 2? And what does a cosine do between the angles 0 and $\pi$?

# %% [markdown] tags=["hint"]
# A line through $1/n_w$ at step 0 and 1 at step $n_w - 1$, cut off by `min(1.0, ...)`. The cosine
# falls from 1 to −1: how do you make that 1 to 0?

# %% [markdown] tags=["hint"]
# The warm-up is $(k + 1)/n_w$, at most 1. The decay is $(1 + \cos(\pi k / n))/2$. Multiply.

# %% [markdown] tags=["task"]
# Write the training loop on the full batch.
#
# - Train copies of `W` and `b` with `torch.optim.AdamW`, with `weight_decay` on both.
# - One step for each learning rate. The loss of a step is `point_loss` on all points, summed over
#   instances.
# - Return the trained `W`, `b`, and the losses before each update, shape `(step, inst)`. All
#   detached.


# %% tags=["exercise"] exercise="3.1.7.c2" title="Full-batch training" difficulty=2 importance=4 minutes=15 skill="a loop with weight decay"
def train_full_batch(
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
    x: Float[Tensor, "point inst feature"],
    learning_rates: Iterable[float],
    weight_decay: float,
) -> tuple[
    Float[Tensor, "inst hidden feature"], Float[Tensor, "inst feature"], Float[Tensor, "step inst"]
]:
    """Minimise point_loss, summed over inst, on the same points at every step, with AdamW."""
    W, b = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    optimizer = torch.optim.AdamW([W, b], weight_decay=weight_decay)
    losses = []
    for lr in learning_rates:
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        loss = point_loss(x, toy_forward(x, W, b))
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
    return W.detach(), b.detach(), torch.stack(losses)


# %% [markdown] tags=["hint"]
# Compare with your loop of 3.1.1.d2. What is drawn anew in each step there, and not here?

# %% [markdown] tags=["hint"]
# `loss = point_loss(x, toy_forward(x, W, b))` has one value per instance. `backward` wants one number.

# %% [markdown] tags=["hint"]
# `torch.optim.AdamW([W, b], weight_decay=weight_decay)` once, before the loop. Append `loss.detach()`, the whole vector.

# %% [markdown]
# ## 3 · Polygons of what?
#
# We need one number for "is this a regular polygon?". Take a set of vectors in the plane. Ignore
# those shorter than half of the longest: they are not part of the figure. Walk around the circle.
# In a regular polygon with $k$ corners every gap is $360°/k$. The **deviation** is the largest
# difference between a gap and $360°/k$, in either direction.

# %% [markdown] tags=["task"]
# For one set of vectors in the plane, return the number of corners (an `int`) and the deviation in
# degrees (a `float`).
#
# - A corner is a vector whose length is at least half of the longest length.
# - `neighbour_angles` (3.1.1.e) gives the gaps of a stack of vectors of shape `(inst, 2, vector)`.


# %% tags=["exercise"] exercise="3.1.7.d" title="How regular is the polygon?" difficulty=2 importance=3 minutes=10 skill="measuring a shape"
def polygon(vectors: Float[Tensor, "2 vector"]) -> tuple[int, float]:
    """Corners k (length >= half of the longest) and max |gap - 360/k| in degrees."""
    length = vectors.norm(dim=0)
    corners = vectors[:, length >= length.max() / 2]
    k = corners.shape[1]
    gaps = neighbour_angles(corners[None])[0]
    return k, (gaps - 360 / k).abs().max().item()


# %% [markdown] tags=["hint"]
# Which vectors count? After you have dropped the short ones, how many gaps are there?

# %% [markdown] tags=["hint"]
# `vectors[:, mask]` keeps the columns where `mask` is true. `corners[None]` adds the axis of instances.

# %% [markdown] tags=["task"]
# Five training points, two hidden dimensions, 200 features. After training, what stands on a regular pentagon?

# %% tags=["predict"] exercise="3.1.7.P1" title="Five points" difficulty=2 importance=4 minutes=2 skill="predicting" choices=["the five points", "five features", "neither"]
predict_few = "the five points"

# %% [markdown] tags=["task"]
# And with 3,000 training points?

# %% tags=["predict"] exercise="3.1.7.P2" title="Three thousand points" difficulty=2 importance=4 minutes=2 skill="predicting" choices=["the points", "five features", "neither"]
predict_many = "five features"

# %% [markdown] tags=["task"]
# The sweep has eleven values of $T$, from 3 to 3,000. At which of them is the loss on fresh points
# worst?

# %% tags=["predict"] exercise="3.1.7.P3" title="Where is it worst?" difficulty=2 importance=4 minutes=1 skill="predicting" choices=["3 to 15", "30 to 200", "400 to 3,000"]
predict_worst_at = "30 to 200"

# %% [markdown] tags=["task"]
# And how bad is it there, on average over two models? The model that always answers 0 has a loss
# of 1.

# %% tags=["predict"] exercise="3.1.7.P4" title="How bad?" difficulty=3 importance=4 minutes=1 skill="predicting" choices=["at most 1", "above 1, at most 1.5", "above 1.5"]
predict_test_loss = "above 1.5"

# %% [markdown]
# The experiment trains two models for each of the eleven values of $T$. One function trains and
# measures; you have it from us.

# %% tags=["given"]
N_FEATURE, PROBABILITY, N_INST = 200, 0.02, 2  # SMD has 10,000 features and p = 0.001
N_STEPS, LR, WARMUP, WEIGHT_DECAY = 2500, 1e-2, 125, 1e-2  # SMD trains for 50,000 steps


def train_on(
    n_points: int, gen: torch.Generator, inst: int = N_INST
) -> dict[str, Float[Tensor, "..."]]:
    """Train `inst` models on their own n_points; return points, weights, losses on fresh points."""
    x = fixed_points(n_points, inst, N_FEATURE, PROBABILITY, gen)
    fresh = fixed_points(2000, inst, N_FEATURE, PROBABILITY, gen)
    start = torch.randn(inst, 2, N_FEATURE, generator=gen, device=gen.device) * 0.1
    rates = [warmup_cosine(k, N_STEPS, LR, WARMUP) for k in range(N_STEPS)]
    zero = torch.zeros(inst, N_FEATURE, device=gen.device)
    W, b, losses = train_full_batch(start, zero, x, rates, WEIGHT_DECAY)
    test = point_loss(fresh, toy_forward(fresh, W, b))
    return {"x": x, "W": W, "b": b, "train": losses[-1], "test": test}


# %% [markdown]
# The curve has to be read: *where* is it worst, and *how much* worse than in the end? A height only
# means something against the level that is reached with the most data.

# %% [markdown] tags=["task"]
# Given the test loss for each $T$ (ascending), return the index of the worst one (an `int`) and its
# ratio to the *last* one (a `float`).


# %% tags=["exercise"] exercise="3.1.7.e" title="The peak" difficulty=1 importance=2 minutes=5 skill="reading a curve"
def loss_peak(test_loss: Float[Tensor, " T"]) -> tuple[int, float]:
    """Index of the largest test loss, and largest / last."""
    worst = int(test_loss.argmax())
    return worst, (test_loss[worst] / test_loss[-1]).item()


# %% [markdown] tags=["hint"]
# Two numbers: a position and a quotient. Which value is in the denominator?

# %% [markdown] tags=["hint"]
# `int(test_loss.argmax())` is the position; `.item()` makes a plain number of the quotient.

# %% tags=["demo"] reveals=["predict_few", "predict_many", "predict_worst_at", "predict_test_loss"] experiment="double_descent" results=["n_points", "test_losses", "few", "many"]
if __name__ == "__main__":
    n_points = [3, 5, 8, 15, 30, 60, 100, 200, 400, 1000, 3000]
    gen = torch.Generator().manual_seed(0)
    runs = [train_on(n, gen) for n in track(n_points, "from 3 to 3,000 points")]
    test_losses = torch.stack([run["test"] for run in runs])
    train_losses = torch.stack([run["train"] for run in runs])
    few, many = runs[1], runs[-1]
    plots_descent.descent_curves(n_points, train_losses, test_losses).show()
    worst, ratio = loss_peak(test_losses.mean(1))
    print(f"worst at T = {n_points[worst]}, {ratio:.2f} times the test loss at T = {n_points[-1]}")

# %% [markdown]
# **What you see.** The training loss starts at 0: a handful of points is memorised perfectly. The
# test loss starts near 1, because what was memorised says nothing about new points. Then it *rises*.
# At $T = 30$ one of the two models is already at 3.3, and at $T = 200$ both are far worse than always
# answering 0. From $T = 400$ on it is below 1 again. More data made the model worse, and then
# better: **double descent** along the data axis.
#
# The height of the peak is a matter of luck: two models at the same $T$ differ by a factor of up to
# three. In four runs of this sweep the worst $T$ is 100 or 200, and the printed ratio 1.9 to 4.6. The
# table in `docs/claims.md` repeats a *shorter* sweep, with other points, so its ratios are not those of this
# notebook.
#
# The final test loss is only a little below 1. That is no failure of training: two dimensions can
# hold about five of 200 features. This is what generalising is worth here.

# %% [markdown]
# ## 4 · Both geometries
#
# The loss curve does not say what is stored. Draw both kinds of vectors, the columns $W_i$ (features) and the hidden
# vectors $h_t$ (points), for several $T$.

# %% tags=["demo"]
if __name__ == "__main__":
    shown = [1, 2, 4, 6, 8, 10]
    hidden = [
        einsum(runs[k]["x"][:, 0], runs[k]["W"][0], "point feature, hidden feature -> hidden point")
        for k in shown
    ]
    titles = [f"T = {n_points[k]}" for k in shown]
    features = [runs[k]["W"][0] for k in shown]
    plots_descent.two_geometries(features, hidden, titles).show()
    for k, name in [(1, "few"), (10, "many")]:
        print(
            f"{name}: features {polygon(runs[k]['W'][0])}, points {polygon(hidden[shown.index(k)])}"
        )

# %% tags=["demo"]
if __name__ == "__main__":
    sample_D = [sample_dimensionality(run["x"], run["W"])[:, 0] for run in runs]
    basis = torch.eye(N_FEATURE)[
        :, None
    ]  # the dimensionality of feature i is that of the point e_i
    feature_D = [sample_dimensionality(basis, run["W"][:1])[:, 0] for run in runs]
    plots_descent.dimensionality_strips(n_points, sample_D, feature_D).show()

# %% [markdown]
# **What you see.** With $T = 5$ the *points* stand on a pentagon, and each has $D \approx 2/5$. The
# features are a heap: whatever linear combination puts the points in their places. With $T = 3000$ it
# is the other way round. Five *features* stand on a pentagon, each with $D \approx 1/3$. That is a
# little less than 2/5: the 195 short directions in the middle take their small shares. The points
# fall where their features push them. In between there are too many points to give each a direction,
# and too few to tell which features are worth keeping.
#
# The formula is the same on both sides. To the model, "feature" and "training point" are two kinds of
# things that may be worth a direction. Which one wins depends on how often it comes up.
#
# **What the pictures do not show.** We use 200 features where SMD uses 10,000, and 2,500 steps where
# it uses 50,000. The peak sits elsewhere for other sizes. With $T = 3$, and with 8 and more, our models do
# not always find the regular polygon: at 8 some points are dropped (near 0), as a plane is a
# poor place for eight. Nor is it always a pentagon at $T = 3000$: of 18 models that we trained, one
# has a hexagon of features, and one nothing regular. SMD sees cleaner polygons, with longer training.
# And only one of the five-feature sets is found: which five is chance, as all features are equally
# important.

# %% [markdown]
# ## What you should be able to do now
#
# - Say why the rows are normalised, and what a loss of 1 means.
# - Compute the dimensionality of a data point, and say what $2/T$ means.
# - Explain why the test loss has a peak, and on which side of it the model memorises.
# - Say in which sense "features" and "training points" compete for the same directions.
#
# **Go further.** (1) Repeat the sweep with `WEIGHT_DECAY = 0`. Which side of the peak changes?
# (2) Repeat one row five times in the training set. Does it get a larger share of the hidden space?
# (3) Use three hidden dimensions: where does the peak go?
#
# **References.** Henighan et al. 2023, *Superposition, Memorization, and Double Descent*,
# transformer-circuits.pub. Loshchilov & Hutter 2019, *Decoupled weight decay regularization* (AdamW).
# Elhage et al. 2022, *Toy Models of Superposition*.
