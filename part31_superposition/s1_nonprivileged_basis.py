# %% [markdown]
# # 3.1.1 Superposition in a non-privileged basis
#
# A language model seems to know more things than it has dimensions to store them in. How can that
# be?
#
# One answer is **superposition**: a layer with $m$ dimensions represents $n > m$ features, as
# directions that are not all orthogonal. The features then disturb each other. The hypothesis says
# that this is worth it when features are rarely active at the same time.
#
# In this section you build the smallest model that shows it. Then you find out *when* it happens.
# All of it follows Elhage et al. (2022), *Toy Models of Superposition*, cited below as **TMS**.
#
# ## The questions
#
# 1. How do you write such a model, its data and its loss, for many models at once?
# 2. What happens in one step of training? You write the loop by hand, once.
# 3. Five features, two dimensions: which of them does the model keep, and how does it place them?
# 4. How do you measure superposition where you cannot draw it?
# 5. How rare, and how important, must a feature be before sharing pays? Can pen and paper tell?
# 6. Do the axes of the hidden space mean anything?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | feature | a property of the data; here simply one coordinate $x_i$ of the input |
# | $p$ | the probability that a feature is active. TMS speaks of sparsity $S = 1 - p$ |
# | dense, sparse | $p$ near 1, $p$ near 0 |
# | importance $I_i$ | how much the loss cares about feature $i$ |
# | represented | the model gives feature $i$ a direction $W_i$ of length about 1 |
# | instance | one of many separate models that we train side by side |

# %% tags=["setup"]
import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from utils import plots
from utils.progress import track
from utils.toy import (
    ToyConfig,
    ToyRun,
    TrainConfig,
    evaluate_toy,
    expected_loss,
    init_toy,
    train_toy_fast,
)

# %% [markdown]
# ## 1 · The model, its data, its loss
#
# The model squeezes $n$ features through $m$ numbers, and then tries to get them back:
#
# $$h = W x \in \mathbb{R}^m, \qquad \hat{x} = \mathrm{ReLU}(W^\top h + b) \in \mathbb{R}^n .$$
#
# Column $W_i$ is the direction of feature $i$ in the hidden space. The same $W$ is used twice. So
# the model reads feature $i$ back along the direction that it wrote it in.
#
# Put the two steps together. Before the bias and the ReLU, output $i$ is
#
# $$(W^\top W x)_i = \|W_i\|^2 x_i + \sum_{j \neq i} (W_i \cdot W_j)\, x_j .$$
#
# The first term is what we want. The second is **interference**: what the other features leak into
# output $i$. With $n \le m$ it can be zero: make all directions orthogonal. With $n > m$ it cannot,
# unless some $W_i$ are dropped.
#
# The ReLU helps in a lopsided way. Where $x_i = 0$, *negative* interference disappears: the ReLU
# cuts it off. *Positive* interference passes through. Keep this in mind; it explains most shapes
# below.
#
# **Instances.** We want to compare many models: different sparsities, different importances. So
# every tensor gets an axis `inst`. The models share nothing; they only sit in the same tensor.

# %% [markdown] tags=["task"]
# Write the forward pass $\hat x = \mathrm{ReLU}(W^\top W x + b)$.
#
# - `x` has shape `(batch, inst, feature)`, `W` has `(inst, hidden, feature)`, `b` has
#   `(inst, feature)`.
# - Instance `k` of `x` must meet only instance `k` of `W` and `b`.
# - Go through `hidden`. The product $W^\top W$ has `feature × feature` entries: don't build it.


# %% tags=["exercise"] exercise="3.1.1.a" title="The forward pass" difficulty=2 importance=5 minutes=10 skill="einsum with an instance axis"
def toy_forward(
    x: Float[Tensor, "batch inst feature"],
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
) -> Float[Tensor, "batch inst feature"]:
    """Reconstruct x from its hidden code: ReLU(W^T W x + b), per instance (TMS)."""
    hidden = einsum(x, W, "batch inst feature, inst hidden feature -> batch inst hidden")
    out = einsum(hidden, W, "batch inst hidden, inst hidden feature -> batch inst feature")
    return torch.relu(out + b)


# %% [markdown] tags=["hint"]
# Which axis is summed over in $Wx$? Which one in $W^\top h$? Which axis must stay in both?

# %% [markdown] tags=["hint"]
# Use two calls of `einsum(a, b, "axes of a, axes of b -> axes of the result")`. An axis that is
# missing on the right is summed over. `inst` never goes missing.

# %% [markdown] tags=["hint"]
# `hidden = einsum(x, W, "batch inst feature, inst hidden feature -> batch inst hidden")`. The way
# back is the mirror image. The bias comes before the ReLU.

# %% [markdown]
# ### The data
#
# Real features are sparse: most texts do not mention most things. The toy data copy this. Each
# feature is on with probability $p$, and then it has a random strength:
#
# $$x_i = \begin{cases} u_i & \text{with probability } p \\ 0 & \text{else}\end{cases}
#   \qquad u_i \sim \mathrm{Uniform}[0, 1] .$$
#
# All draws are independent: over the batch, over instances, over features; and a feature's strength
# does not depend on how rare it is.

# %% [markdown] tags=["task"]
# Draw a batch of sparse features.
#
# - `probability` is a number, or a tensor that broadcasts to `(inst, feature)`: one value for each
#   instance `(inst, 1)`, one for each feature `(1, feature)`, or both.
# - Every random number comes from `gen`, and the result lives on `gen.device`.
# - How many numbers you draw, and in which order, is up to you: the check looks at the
#   distribution.


# %% tags=["exercise"] exercise="3.1.1.b" title="Sparse features" difficulty=2 importance=4 minutes=10 skill="sampling, broadcasting"
def sparse_features(
    batch: int,
    inst: int,
    feature: int,
    probability: Float[Tensor, "#inst #feature"] | float,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst feature"]:
    """Draw features: uniform on [0, 1] with probability `probability`, else 0, all independent."""
    size = (batch, inst, feature)
    magnitude = torch.rand(size, generator=gen, device=gen.device)
    active = torch.rand(size, generator=gen, device=gen.device) < probability
    return torch.where(active, magnitude, 0.0)


# %% [markdown] tags=["hint"]
# Two things are random for each entry: *whether* it is on, and *how strong* it is. Suppose that the
# number that decides whether is also kept as the strength. How strong would rare features be?

# %% [markdown] tags=["hint"]
# Draw two tensors of shape `(batch, inst, feature)` with
# `torch.rand(..., generator=gen, device=gen.device)`. How do you turn a uniform number into an
# event of probability $p$?

# %% [markdown] tags=["hint"]
# `active = torch.rand(...) < probability` broadcasts by itself, for a number and for a tensor.

# %% [markdown]
# ### The loss
#
# The loss is the squared error, weighted by importance. For one instance, with $B$ rows in the
# batch:
#
# $$L = \frac{1}{B\,n} \sum_{\text{batch}} \sum_{i=1}^{n} I_i \,(x_i - \hat{x}_i)^2 .$$
#
# Over instances we take the **sum**, not the mean. Then the gradient of an instance is the same
# whether it trains alone or beside a hundred others.

# %% [markdown] tags=["task"]
# Write the loss: mean over `batch` and `feature`, sum over `inst`. The result has no axes.


# %% tags=["exercise"] exercise="3.1.1.c" title="The loss" difficulty=1 importance=4 minutes=5 skill="which axes are averaged"
def toy_loss(
    x: Float[Tensor, "batch inst feature"],
    x_hat: Float[Tensor, "batch inst feature"],
    importance: Float[Tensor, "inst feature"],
) -> Float[Tensor, ""]:
    """Squared error weighted by importance: mean over batch and feature, sum over inst."""
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sum()


# %% [markdown] tags=["hint"]
# Is the importance inside or outside the square? Which of the three axes is summed, not averaged?

# %% [markdown] tags=["hint"]
# First the weighted squared error of every entry, shape `(batch, inst, feature)`. Then
# `.mean(dim=...)` can take several axes at once.

# %% [markdown]
# ## 2 · Training, once by hand
#
# Training is a loop of five moves: set the learning rate, clear the old gradient, compute the loss,
# go backward, step. You write it once. Later we use a faster version of the same loop.
#
# The learning rate may change on the way. With $t = \text{step} / \text{n\_steps}$ we use
#
# | schedule | learning rate |
# | --- | --- |
# | `"constant"` | $\ell$ |
# | `"linear"` | $\ell\,(1 - t)$ |
# | `"cosine"` | $\ell\,\tfrac12\,(1 + \cos \pi t)$ |
#
# Steps count from 0. So the first step has the full rate, and the last one is small but not 0: a
# rate of 0 would waste it. A falling rate lets the weights settle. The batch noise would keep them
# shaking.

# %% [markdown] tags=["task"]
# Return the learning rate of one step. An unknown schedule is a `ValueError` that names it.


# %% tags=["exercise"] exercise="3.1.1.d1" title="Learning rate schedules" difficulty=1 importance=2 minutes=5 skill="schedules"
def learning_rate(step: int, n_steps: int, lr: float, schedule: str) -> float:
    """Give lr times 1, 1 - t or (1 + cos(pi t)) / 2 at t = step / n_steps.

    `schedule` is "constant", "linear" or "cosine"; any other raises ValueError with its name.
    """
    t = step / n_steps
    factors = {"constant": 1.0, "linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2}
    if schedule not in factors:
        raise ValueError(f"unknown schedule {schedule!r}: choose one of {list(factors)}")
    return lr * factors[schedule]


# %% [markdown] tags=["hint"]
# What is each factor at the first step, and what is it half-way?

# %% [markdown] tags=["hint"]
# Put the three factors in a dictionary. A missing key is the error case: `raise ValueError(...)`.

# %% [markdown] tags=["task"]
# Write the training loop. The batches and the learning rates are given, one of each for each step.
#
# - Both are iterables: they may be tensors, lists or generators. Loop over the two at once.
# - Make **fresh** parameters from `W` and `b`. The tensors that you were given must not change.
# - Use `torch.optim.Adam` with its default betas, one optimiser for the whole run.
# - At each step note the loss *before* the update. Note its value only: a loss that keeps its graph
#   keeps all its activations in memory.
# - Return the trained `W` and `b` and the losses, all detached. Call `toy_forward` and `toy_loss`.


# %% tags=["exercise"] exercise="3.1.1.d2" title="The training loop" difficulty=3 importance=5 minutes=20 skill="the five moves of a step"
def train(
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
    importance: Float[Tensor, "inst feature"],
    batches: Iterable[Float[Tensor, "batch inst feature"]],
    learning_rates: Iterable[float],
) -> tuple[
    Float[Tensor, "inst hidden feature"], Float[Tensor, "inst feature"], Float[Tensor, " step"]
]:
    """Train copies of W and b with Adam, one step per batch and learning rate.

    Returns W, b and the loss of every step (before its update), detached.
    """
    W, b = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([W, b])
    losses = []
    for x, lr in zip(batches, learning_rates, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        loss = toy_loss(x, toy_forward(x, W, b), importance)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return W.detach(), b.detach(), torch.stack(losses)


# %% [markdown] tags=["hint"]
# What must be made once, before the loop, and what anew in every step? What happens to Adam's
# running averages if the optimiser is made in every step?

# %% [markdown] tags=["hint"]
# `W.detach().clone().requires_grad_()` is a fresh leaf. The learning rate of a running optimiser is
# `optimizer.param_groups[0]["lr"]`.

# %% [markdown] tags=["hint"]
# In the loop: set the rate, `optimizer.zero_grad()`,
# `loss = toy_loss(x, toy_forward(x, W, b), importance)`, `loss.backward()`, `optimizer.step()`,
# `losses.append(loss.detach())`.

# %% [markdown]
# Run your loop: eight models, five features, two dimensions. `init_toy` draws the first weights:
# normal numbers of variance $2 / (m + n)$. The biases start at 0. The loss is the sum over the
# eight models. Does it fall? Is it smooth, and if not, why not?

# %% tags=["demo"]
if __name__ == "__main__":
    n_steps, gen = 1000, torch.Generator().manual_seed(0)
    importance = (0.9 ** torch.arange(5.0)).expand(8, 5)
    probability = torch.tensor([1, 0.7, 0.5, 0.35, 0.25, 0.12, 0.05, 0.025])[:, None]
    W, b = init_toy(ToyConfig(inst=8, feature=5, hidden=2), gen)
    batches = [sparse_features(256, 8, 5, probability, gen) for _ in range(n_steps)]
    rates = [learning_rate(step, n_steps, 1e-2, "cosine") for step in range(n_steps)]
    W, b, losses = train(W, b, importance, track(batches, "your training loop"), rates)
    fig = plots.training_curves(losses[:, None], torch.arange(n_steps), ["all eight models"])
    fig.update_yaxes(dtick="D1").show()

# %% [markdown]
# The loss falls within a few hundred steps, and then it shakes: every batch is a new random sample,
# so its loss is a noisy estimate. A flat curve does not tell you *what* was learned. For that we
# must look at $W$.
#
# Your loop is right, and slow. From here on we train hundreds of models, so we switch to
# `train_toy_fast` from `utils/toy.py`. It is the same model, loss and optimiser. Only its gradient
# is written out by hand, and it draws each batch from one random number per entry. Read it when you
# are curious.
#
# One more thing will matter. Training starts from random weights, and it can get stuck in a poor
# solution. To learn what is *best*, we train each model from several starts and keep the one with
# the lowest loss. `train_best` does that. It also returns the loss of all starts, so that nothing
# is hidden.


# %% tags=["given"]
def train_best(
    cfg: ToyConfig,
    importance: Float[Tensor, "#inst feature"],
    probability: Float[Tensor, "#inst #feature"],
    training: TrainConfig,
    n_starts: int,
    gen: torch.Generator,
) -> tuple[ToyRun, Float[Tensor, "start inst"]]:
    """Train each instance from `n_starts` random starts; keep its best one, and all their losses."""
    size = (cfg.inst, cfg.feature)
    importance, probability = importance.expand(size), probability.expand(size)
    W, b = init_toy(replace(cfg, inst=n_starts * cfg.inst), gen, gen.device)
    tiled = importance.repeat(n_starts, 1), probability.repeat(n_starts, 1)
    run = train_toy_fast(W, b, *tiled, training, gen)
    starts = zip(run.W.chunk(n_starts), run.b.chunk(n_starts), strict=True)
    if cfg.feature <= 3:  # the expected loss is an integral, and few features make it a cheap one
        losses = [expected_loss(*start, importance, probability, n_nodes=8) for start in starts]
    else:  # the same 65,536 fresh rows for every start
        rows = gen.clone_state()
        losses = [
            evaluate_toy(*start, importance, probability, rows.clone_state(), 65_536)
            for start in starts
        ]
    table = torch.stack(losses)
    best = table.argmin(0) * cfg.inst + torch.arange(cfg.inst, device=gen.device)
    kept = {"W": run.W[best], "b": run.b[best], "losses": run.losses[:, best]}
    frames = {"frames_W": run.frames_W[:, best], "frames_b": run.frames_b[:, best]}
    return replace(run, **kept, **frames), table


# %% [markdown]
# ## 3 · Five features in a plane
#
# Five features, two hidden dimensions. So $W$ has five columns, and each is an arrow in the plane.
# We can look at all there is. Feature $i$ has importance $0.9^i$: the first matters most, but only
# slightly.
#
# Eight models differ in one number: $p$. Five arrows can never be orthogonal in a plane. Think
# about the two forces.
#
# - Each feature that is represented *saves* loss: about $p$ times its importance.
# - Two features that overlap *cost* loss, mostly when both are active: about $p^2$.
#
# Commit to a guess before you train. A wrong guess that you made is worth more than a right answer
# that you read.

# %% [markdown] tags=["task"]
# **Dense**: $p = 1$, every feature is always on. What will the five arrows look like?
#
# - `"two orthogonal"`: the two most important features at 90°, the other three near zero
# - `"two antipodal pairs"`: four features, two on each of two orthogonal lines, one feature near
#   zero
# - `"pentagon"`: all five, 72° apart

# %% tags=["predict"] exercise="3.1.1.P1" title="Dense features" difficulty=1 importance=3 minutes=1 skill="predicting" choices=["two orthogonal", "two antipodal pairs", "pentagon"]
predict_dense = "two orthogonal"

# %% [markdown] tags=["task"]
# **In between**: $p = 0.25$. The same three options.

# %% tags=["predict"] exercise="3.1.1.P2" title="In between" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["two orthogonal", "two antipodal pairs", "pentagon"]
predict_between = "two antipodal pairs"

# %% [markdown] tags=["task"]
# **Sparse**: $p = 0.025$. The same three options.

# %% tags=["predict"] exercise="3.1.1.P3" title="Sparse features" difficulty=1 importance=3 minutes=1 skill="predicting" choices=["two orthogonal", "two antipodal pairs", "pentagon"]
predict_sparse = "pentagon"

# %% [markdown]
# A picture is not yet a measurement. To say "pentagon" with a number, we measure the angles between
# neighbouring arrows. In a pentagon all five are 72°; in a square of two antipodal pairs all four
# are 90°.

# %% [markdown] tags=["task"]
# For each instance, return the gaps between neighbouring feature directions, in degrees.
#
# - Walk once around the circle. Each feature has one gap to the next feature. There are as many
#   gaps as features, and they sum to 360°.
# - Return them in ascending order. Then the result does not depend on where the walk begins.
# - Only directions count, not lengths.


# %% tags=["exercise"] exercise="3.1.1.e" title="Angles between neighbours" difficulty=2 importance=3 minutes=10 skill="angles on a circle"
def neighbour_angles(W: Float[Tensor, "inst 2 feature"]) -> Float[Tensor, "inst feature"]:
    """Gaps in degrees between neighbouring directions around the circle, ascending, sum 360."""
    angle = torch.atan2(W[:, 1], W[:, 0]).rad2deg().sort(dim=-1).values
    closed = torch.cat([angle, angle[:, :1] + 360], dim=-1)
    return closed.diff(dim=-1).sort(dim=-1).values


# %% [markdown] tags=["hint"]
# Two arrows at $-179°$ and $179°$ are neighbours. How far apart are they? Which of your gaps is
# theirs?

# %% [markdown] tags=["hint"]
# `torch.atan2(y, x)` knows all four quadrants and gives radians. Sort the angles, then take
# differences. That gives one gap too few.

# %% [markdown] tags=["hint"]
# Append the first angle plus 360 at the end before you take differences: then the walk closes.

# %% [markdown]
# Now train. Each of the eight models gets eight random starts, and the best is drawn. Press *play*
# to watch the arrows move. Darker arrows are more important features.

# %% tags=["demo"] reveals=["predict_dense", "predict_between", "predict_sparse"] experiment="five_in_two" results=["W_five", "p_five"]
if __name__ == "__main__":
    p_five = torch.tensor([1, 0.7, 0.5, 0.35, 0.25, 0.12, 0.05, 0.025])[:, None]
    importance = 0.9 ** torch.arange(5.0)[None]
    settings = TrainConfig(2000, 512, 1e-2, "cosine", n_frames=40, label="five features in a plane")
    gen = torch.Generator().manual_seed(0)
    run, start_losses = train_best(ToyConfig(8, 5, 2), importance, p_five, settings, 8, gen)
    W_five = run.W
    titles = [f"p = {p:g}" for p in p_five.flatten().tolist()]
    plots.feature_arrows_animation(run.frames_W, run.frames_step, titles, importance[0]).show()
    good = (start_losses < 1.2 * start_losses.min(0).values).sum(0)
    print("starts (of 8) within 20 % of the best:", dict(zip(titles, good.tolist(), strict=True)))
    gaps = neighbour_angles(W_five)[-1].tolist()
    print("gaps at p = 0.025 in degrees:", [round(gap, 1) for gap in gaps])

# %% [markdown]
# **What you see.**
#
# - *Dense.* Two features at a right angle; the others are dropped. Interference would cost too
#   much, because every feature is on all the time. The model behaves as PCA would: it keeps the
#   most important part.
# - *In between.* Two features share one line and point in opposite directions: an **antipodal
#   pair**. When only one of them is on, its partner gets a negative input, and the ReLU removes it.
#   So the pair costs nothing until both are on.
# - *Sparse.* All five, as a pentagon. Now some arrows are closer than 90°, so positive interference
#   gets through. The biases turn negative, to about $-0.26$ at $p = 0.025$, and cut the small leaks
#   off. The arrows grow to a length of about 1.15, which makes up for the biases. What remains is
#   rare: two features are almost never on together.
#
# **What the picture does not show.** It shows the best of eight starts. The printed counts say how
# many starts came close. Not all do. At $p = 0.025$ a few of 160 starts ended in squares, with 2.4
# times the loss of a pentagon, and there they stay. And a pentagon is not quite unique. *Which*
# features are neighbours changes the loss by up to 3 %.
#
# Between the three clean cases, at $p = 0.7$ say, you see mixed shapes, which we do not name. TMS
# shows the same three shapes in its introduction. The $p$ at which one gives way to the next
# depends on the importances.

# %% [markdown]
# ## 4 · Measuring superposition in a wide model
#
# Eighty features in twenty dimensions cannot be drawn as arrows. We need numbers. TMS uses two per
# feature. With the unit vector $\hat W_i = W_i / \|W_i\|$:
#
# $$\|W_i\| \quad\text{(is feature } i \text{ represented?)} \qquad
#   \sum_{j \neq i} \big(\hat W_i \cdot W_j\big)^2 \quad\text{(does it share its direction?)}$$
#
# The second is the **interference** of feature $i$: how much of the other features lies along its
# direction. It is 0 when $W_i$ is orthogonal to all others. For one half of an antipodal pair of
# unit vectors it is 1.

# %% [markdown] tags=["task"]
# Return the norm $\|W_i\|$ of every feature.


# %% tags=["exercise"] exercise="3.1.1.f1" title="Feature norms" difficulty=1 importance=3 minutes=3 skill="which axis is the vector"
def feature_norms(W: Float[Tensor, "inst hidden feature"]) -> Float[Tensor, "inst feature"]:
    """Length of each feature's direction: the norm of each column of W (TMS)."""
    return W.norm(dim=1)


# %% [markdown] tags=["hint"]
# How many numbers describe the direction of one feature? Along which axis do they lie?

# %% [markdown] tags=["hint"]
# `W.norm(dim=...)` takes the axis that disappears.

# %% [markdown] tags=["task"]
# Return the interference $\sum_{j \neq i} (\hat W_i \cdot W_j)^2$ of every feature.
#
# - The hat is on one side only: $\hat W_i$ has length 1, $W_j$ keeps its own.
# - A feature of norm 0 has no direction. Its interference is 0, not NaN. Any other feature has one,
#   however short it is: a norm of $10^{-6}$ is not 0.


# %% tags=["exercise"] exercise="3.1.1.f2" title="Interference" difficulty=3 importance=4 minutes=15 skill="pairwise products"
def interference(W: Float[Tensor, "inst hidden feature"]) -> Float[Tensor, "inst feature"]:
    """Sum over j != i of (W_hat_i . W_j)^2; 0 for a feature of norm 0 (TMS)."""
    W_hat = W / feature_norms(W)[:, None].clamp(min=1e-8)  # a dropped feature has norm 0
    overlap = einsum(W_hat, W, "inst hidden feature, inst hidden other -> inst feature other")
    itself = torch.eye(W.shape[-1], dtype=torch.bool, device=W.device)
    return overlap.masked_fill(itself, 0).square().sum(dim=-1)


# %% [markdown] tags=["hint"]
# Which matrix holds all the products $\hat W_i \cdot W_j$? Which of its entries must not be
# counted?

# %% [markdown] tags=["hint"]
# Give the two feature axes two names:
# `"inst hidden feature, inst hidden other -> inst feature other"`. Then square, and sum over
# `other`.

# %% [markdown] tags=["hint"]
# The term $j = i$ sits on the diagonal: `overlap.masked_fill(torch.eye(n, dtype=torch.bool), 0)`.
# For the zero norm, `.clamp(min=1e-8)` before you divide; much more would shorten short features.

# %% [markdown] tags=["task"]
# Count, for each instance, the features whose norm is above the threshold. Return integers.


# %% tags=["exercise"] exercise="3.1.1.f3" title="How many are represented" difficulty=1 importance=2 minutes=3 skill="counting with masks"
def n_represented(
    W: Float[Tensor, "inst hidden feature"], threshold: float = 0.5
) -> Int[Tensor, " inst"]:
    """Number of features with norm above `threshold`, per instance."""
    return (feature_norms(W) > threshold).sum(dim=-1)


# %% [markdown] tags=["hint"]
# What is the sum of a tensor of `True` and `False`?

# %% [markdown] tags=["hint"]
# `(feature_norms(W) > threshold)` is a mask of shape `(inst, feature)`. Sum over one axis.

# %% [markdown] tags=["task"]
# Five wide models: 80 features, 20 dimensions, importance $0.9^i$, $p$ from 1 down to 0.01. How
# many features will the dense model ($p = 1$) represent? Give a number.

# %% tags=["predict"] exercise="3.1.1.P4" title="Wide and dense" difficulty=2 importance=3 minutes=1 skill="predicting"
predict_n_dense = 20

# %% [markdown] tags=["task"]
# And at $p = 0.01$?

# %% tags=["predict"] exercise="3.1.1.P5" title="Wide and sparse" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["20 or fewer", "21 to 40", "41 to 79", "all 80"]
predict_n_sparse = "41 to 79"

# %% tags=["demo"] reveals=["predict_n_dense", "predict_n_sparse"] experiment="wide_model" results=["W_wide", "p_wide"]
if __name__ == "__main__":
    p_wide = torch.tensor([1, 0.3, 0.1, 0.03, 0.01])[:, None]
    importance = 0.9 ** torch.arange(80.0)[None]
    W, b = init_toy(ToyConfig(5, 80, 20), torch.Generator().manual_seed(0))
    settings = TrainConfig(3000, 512, 1e-2, "cosine", label="eighty features in twenty dimensions")
    W_wide = train_toy_fast(W, b, importance, p_wide, settings, torch.Generator().manual_seed(1)).W
    titles = [f"p = {p:g}" for p in p_wide.flatten().tolist()]
    plots.norms_and_interference(feature_norms(W_wide), interference(W_wide), titles).show()
    gram = einsum(W_wide, W_wide, "inst hidden row, inst hidden col -> inst row col")
    plots.gram_heatmaps(gram, titles).show()
    print("represented:", dict(zip(titles, n_represented(W_wide).tolist(), strict=True)))

# %% [markdown]
# **What you see.** Dense: the 20 most important features, each with a dimension of its own.
# $W^\top W$ is the identity on the first 20 features, and zero elsewhere. As features get sparser,
# more of them are represented, and their bars change colour: they share directions. At $p = 0.3$
# the sharers have interference 1, and each has one entry near $-1$ in $W^\top W$: antipodal pairs.
# At $p = 0.01$ whole groups share, with entries of both signs. The most important features share
# least.
#
# **What the picture does not show.** A norm near 1 says that a feature is written into the hidden
# space. It does not say how well it is read back: look at the loss for that. And this is one start
# for each $p$, so counts differ by one or two between seeds. The threshold of 0.5 hardly matters,
# because few norms lie between 0.1 and 0.9.

# %% [markdown]
# ## 5 · The phase diagram
#
# Sparsity is one axis. Importance is the other. Keep two features and one dimension. The first has
# importance 1, the last has importance $r$. For each pair $(p, r)$ ask: what happens to the *last*
# feature?
#
# | code | name | meaning |
# | --- | --- | --- |
# | 0 | not represented | its norm is small |
# | 1 | own dimension | it is represented, and orthogonal to the rest |
# | 2 | superposed | it is represented, and it shares its direction |
#
# TMS calls the map a phase diagram: it changes abruptly, like ice to water. Every point is a model,
# so we train hundreds of models. They are instances of one vectorised run.

# %% [markdown] tags=["task"]
# Build the instances of a phase diagram: every combination of a probability and an importance.
#
# - Return `probability` of shape `(inst, 1)` and `importance` of shape `(inst, feature)`.
# - The *last* feature has importance $r$; all others have 1.
# - Instance `i * n_r + j` has `probabilities[i]` and `importances[j]`, where
#   `n_r = len(importances)`. So `result.reshape(n_p, n_r)` is the map.


# %% tags=["exercise"] exercise="3.1.1.g1" title="Every combination as an instance" difficulty=2 importance=3 minutes=10 skill="grids on one axis"
def phase_grid(
    probabilities: Float[Tensor, " n_p"], importances: Float[Tensor, " n_r"], feature: int
) -> tuple[Float[Tensor, "inst 1"], Float[Tensor, "inst feature"]]:
    """All n_p * n_r combinations: their probability, and the importance (1, ..., 1, r)."""
    p, r = torch.meshgrid(probabilities, importances, indexing="ij")
    others = torch.ones(r.numel(), feature - 1, dtype=r.dtype, device=r.device)
    return p.reshape(-1, 1), torch.cat([others, r.reshape(-1, 1)], dim=1)


# %% [markdown] tags=["hint"]
# If you write the instances as a table with `n_p` rows and `n_r` columns, what is constant along a
# row?

# %% [markdown] tags=["hint"]
# `torch.meshgrid(a, b, indexing="ij")` gives two tables of shape `(len(a), len(b))`.
# `reshape(-1, 1)` makes a column of each.

# %% [markdown] tags=["hint"]
# Put a block of ones, shape `(inst, feature - 1)`, to the left of the column of `r`:
# `torch.cat([...], dim=1)`.

# %% [markdown] tags=["task"]
# Classify the *last* feature of every instance with the codes of the table above.
#
# - Norm not above `norm_above`: 0. Else interference not above `interference_above`: 1. Else 2.
# - Return integers (`torch.int64`), one per instance. Use `feature_norms` and `interference`.


# %% tags=["exercise"] exercise="3.1.1.g2" title="Classify a feature" difficulty=2 importance=3 minutes=10 skill="nested conditions on tensors"
def classify_feature(
    W: Float[Tensor, "inst hidden feature"],
    norm_above: float = 0.5,
    interference_above: float = 0.25,
) -> Int[Tensor, " inst"]:
    """Last feature: 0 not represented, 1 own dimension, 2 superposed."""
    represented = feature_norms(W)[:, -1] > norm_above
    shares = interference(W)[:, -1] > interference_above
    return represented.long() * (1 + shares.long())


# %% [markdown] tags=["hint"]
# Does interference matter for a feature that is not represented? Which condition comes first?

# %% [markdown] tags=["hint"]
# Make two boolean tensors of shape `(inst,)`. `torch.where` twice, or a little arithmetic on 0 and
# 1, does the rest.

# %% [markdown] tags=["task"]
# Two features, one dimension. The last feature is ten times less important: $r = 0.1$. At $p = 1$
# it is not represented. You make both features sparser, down to $p = 0.03$. What happens to the
# last feature on the way?
#
# - `"never represented"`
# - `"dropped, then superposed"`
# - `"dropped, then own dimension"`

# %% tags=["predict"] exercise="3.1.1.P6" title="An unimportant feature" difficulty=2 importance=3 minutes=2 skill="predicting" choices=["never represented", "dropped, then superposed", "dropped, then own dimension"]
predict_unimportant = "dropped, then superposed"

# %% [markdown]
# Two diagrams: two features in one dimension, and three features in two. Each has $20 \times 20$
# points and eight starts, so 3,200 models. The run takes less than a minute. Before you run it,
# draw the first diagram on paper: where do you expect each phase?

# %% tags=["demo"] reveals=["predict_unimportant"] experiment="phase_diagram" results=["phase_two", "phase_three", "p_axis", "r_axis"]
if __name__ == "__main__":
    p_axis, r_axis = torch.logspace(math.log10(0.03), 0, 20), torch.logspace(-1, 1, 20)
    phases, agree = {}, {}
    for feature, hidden in [(2, 1), (3, 2)]:
        probability, importance = phase_grid(p_axis, r_axis, feature)
        settings = TrainConfig(1500, 256, 1e-2, "cosine", label=f"{feature} features in {hidden}")
        cfg, gen = ToyConfig(len(importance), feature, hidden), torch.Generator().manual_seed(0)
        run, start_losses = train_best(cfg, importance, probability, settings, 8, gen)
        phases[feature] = classify_feature(run.W).reshape(20, 20)
        agree[feature] = (start_losses < 1.03 * start_losses.min(0).values).float().mean()
        name = f"{feature} features in {hidden} dimension{'s' * (hidden > 1)}: the last feature"
        plots.phase_diagram(phases[feature].T, p_axis, r_axis, title=name).show()
    phase_two, phase_three = phases[2], phases[3]
    print(f"single starts within 3 % of the best: {agree[2]:.0%} (2 in 1), {agree[3]:.0%} (3 in 2)")

# %% [markdown]
# **What you see, 2 in 1.** The diagram is symmetric: exchanging the two features turns $r$ into
# $1/r$. Dense, on the right: one feature gets the dimension, the other is dropped. Sparse, on the
# left: they share it, and ever more unequal features do.
#
# **What you see, 3 in 2.** Now there is a choice: *which two* features share a line? For $r < 1$ the last feature is in the pair. For $r > 1$ it has its own dimension,
# and the other two share.
#
# **What the picture does not show.** It shows the best of eight starts. The printed shares say how
# often one start is enough. In one dimension the reason is easy to see. If both weights start with
# the same sign, the features disturb each other *positively*. To become antipodal, the second
# weight must pass through zero. At $w_2 = 0$ the two features are independent in every output, and
# therefore
#
# $$\frac{\partial L}{\partial w_2} = \frac p2\, w_1
#   \left(\frac{\partial L}{\partial b_1} + \frac{\partial L}{\partial b_2}\right) .$$
#
# So the weight is pushed across only while the biases still move. Once they have settled at what is
# best for an ignored feature, the push is gone. We counted, at $r = 0.43$ and $p \le 0.1$, from
# five seeds: with opposite signs 98 to 100 % of the starts end antipodal, with equal signs 6 to 16 %.
# Half of all starts have equal signs. So eight starts may all fail: that is what a lone grey cell among
# the superposed ones is.
#
# It does not show *how* the features share, either: interference squares the sign away, so code 2
# does not tell an antipodal pair from two features of the same sign.

# %% [markdown]
# ## 6 · Theory against experiment
#
# For two features in one dimension, and given $W$ and $b$, the expected loss can be computed by
# hand. Two facts about one feature follow from $x = u$ with probability $p$ and $u$ uniform on
# $[0, 1]$:
#
# $$\mathbb{E}[x] = \frac p2, \qquad \mathbb{E}[x^2] = \frac p3 .$$
#
# TMS names three natural strategies:
#
# | strategy | $W$ | $b$ |
# | --- | --- | --- |
# | ignore the last | $(1, 0)$ | $(0, b_2)$ with the best constant $b_2$ |
# | ignore the first | $(0, 1)$ | $(b_1, 0)$ with the best constant $b_1$ |
# | superposition | $(1, -1)$ | $(0, 0)$ |
#
# In the third $h = x_1 - x_2$, and the outputs are $\mathrm{ReLU}(x_1 - x_2)$ and
# $\mathrm{ReLU}(x_2 - x_1)$. Take paper and pencil: what does each strategy cost?

# %% [markdown] tags=["task"]
# Return the expected losses of the three strategies, stacked on a new first axis, in the order of
# the table.
#
# - The importances are 1 and $r$. As in `toy_loss`, take the *mean* over the two features.
# - `p` and `r` have the same shape, any shape. The check integrates the three models numerically.


# %% tags=["exercise"] exercise="3.1.1.h1" title="Three expected losses" difficulty=3 importance=4 minutes=20 skill="expected losses by hand"
def expected_losses(
    p: Float[Tensor, "*grid"], r: Float[Tensor, "*grid"]
) -> Float[Tensor, "strategy *grid"]:
    """Expected loss for 2 features in 1 dimension: ignore the last, ignore the first, superpose.

    The three W and b of TMS; as in `toy_loss` a mean over both features, of importance 1 and r.
    """
    variance = p / 3 - p**2 / 4
    ignore_last, ignore_first = r * variance / 2, variance / 2
    superposition = (1 + r) * p**2 / 12
    return torch.stack([ignore_last, ignore_first, superposition])


# %% [markdown] tags=["hint"]
# An ignored feature is replaced by a constant. Which constant has the least squared error, and what
# is that error? For superposition, list the cases: none on, one on, both on. Which outputs are
# wrong, and by how much?

# %% [markdown] tags=["hint"]
# The best constant is the mean, and what remains is the variance,
# $\mathbb{E}[x^2] - \mathbb{E}[x]^2$. In superposition only "both on" goes wrong. Say $x_1 > x_2$:
# the outputs are $x_1 - x_2$ and $0$. Both are off by the *smaller* of the two.

# %% [markdown] tags=["hint"]
# The minimum of two uniform numbers has density $2(1 - t)$, so
# $\mathbb{E}[\min^2] = \int_0^1 t^2 \cdot 2(1-t)\,dt = \tfrac16$, and both are on with probability
# $p^2$. Which importances count in each strategy? All three get the factor ½ of the mean.

# %% [markdown]
# With the variance $V = \frac p3 - \frac{p^2}4$ of one feature you should have found
#
# $$L_\text{ignore last} = \tfrac12\, r\, V, \qquad L_\text{ignore first} = \tfrac12\, V, \qquad
#   L_\text{superposition} = \tfrac12\,(1 + r)\, \frac{p^2}{6} .$$
#
# Here are the two forces again: dropping a feature costs $\propto p$, sharing costs $\propto p^2$.
#
# Why is $W = (1, 1)/\sqrt2$ not on the list? It keeps the sum: both outputs are
# $\tfrac12 (x_1 + x_2)$, and each is off by half the difference, $\tfrac12 |x_1 - x_2|$. That costs
# $\tfrac12 \cdot \tfrac{1 + r}2\, V$, halfway between the two ways of ignoring. So it is never
# better than the better one of them. (For *correlated* features it can be: that is section 3.1.2.)
#
# Where do two strategies tie? That line is the boundary between two phases.

# %% [markdown] tags=["task"]
# Return the importance $r^*(p)$ above which superposition has a lower expected loss than ignoring
# the last feature. Where no positive $r$ is enough, return infinity.


# %% tags=["exercise"] exercise="3.1.1.h2" title="The boundary" difficulty=3 importance=4 minutes=10 skill="solving for a boundary"
def superposition_boundary(p: Float[Tensor, "*grid"]) -> Float[Tensor, "*grid"]:
    """Give the r where superposition ties with ignoring the last feature; inf where it never does."""
    return torch.where(4 - 5 * p > 0, 2 * p / (4 - 5 * p), torch.inf)


# %% [markdown] tags=["hint"]
# Set the two losses equal and divide by $p/2$. What remains is linear in $r$. What is the sign of
# your solution at $p = 0.9$, and can an importance be negative?

# %% [markdown] tags=["hint"]
# $r\,(\tfrac13 - \tfrac p4) = (1 + r)\,\tfrac p6$, or $r\,(4 - 3p) = 2p\,(1 + r)$. Collect the terms
# with $r$ on one side. When is their factor not positive?

# %% [markdown] tags=["hint"]
# `torch.where(condition, a, b)` chooses entry by entry; `torch.inf` is allowed as `b`.

# %% [markdown]
# You have $r\,(4 - 5p) = 2p$. By symmetry, superposition ties with ignoring the *first* feature at
# $1 / r^*(p)$. The two curves meet at $r = 1$, where $2p = 4 - 5p$, that is at
# $p = 4/7 \approx 0.57$. Right of this point superposition is nowhere the best *of the three*.
#
# For three features in two dimensions the same comparison works. Each pair that could share a line
# costs $p^2/6$ times the *sum of its two importances*. So the pair of least importance shares. For
# $r < 1$ that is the last feature with one of the others, and the curve $r^*(p)$ is the same. For
# $r > 1$ it is the other two, and the last feature keeps its own dimension.
#
# Now lay the curves over the diagrams that you trained in part 5.

# %% [markdown] tags=["task"]
# $r^*$ compares three *fixed* choices of $W$ and $b$. Training is free to choose. Two features in
# one dimension: where will the trained models begin to superpose, as $r$ grows from 0.1?
#
# - `"below"`: at an $r$ more than 5 % below $r^*$
# - `"on"`: within 5 % of $r^*$
# - `"above"`: at an $r$ more than 5 % above $r^*$

# %% tags=["predict"] exercise="3.1.1.P7" title="The trained boundary" difficulty=2 importance=3 minutes=2 skill="bounds" choices=["below", "on", "above"]
predict_boundary = "below"

# %% tags=["demo"] reveals=["predict_boundary"] experiment="boundary" results=["phase_two", "phase_three", "p_axis", "r_axis"]
if __name__ == "__main__":
    p = torch.linspace(0.03, 4 / 7, 200)
    lower = superposition_boundary(p)
    right = torch.tensor([4 / 7, 1.0])  # from where the curves meet, r = 1 decides who is dropped
    two = {
        "ignore last = superposition": (p, lower),
        "ignore first = superposition": (p, 1 / lower),
        "ignore last = ignore first": (right, torch.ones(2)),
    }
    three = {"ignore last = superposition": (p, lower), "r = 1": (p_axis, torch.ones(20))}
    plots.phase_diagram(phase_two.T, p_axis, r_axis, two, title="2 in 1, and theory").show()
    plots.phase_diagram(phase_three.T, p_axis, r_axis, three, title="3 in 2, and theory").show()
    grid_p, grid_r = torch.meshgrid(p_axis, r_axis, indexing="ij")
    theory = expected_losses(grid_p, grid_r).argmin(0)  # the strategies are in the codes' order
    print(f"2 in 1: the same phase in {(theory == phase_two).float().mean():.1%} of the cells")
    in_three = torch.where(grid_r > 1, 1, theory)
    print(f"3 in 2: the same phase in {(in_three == phase_three).float().mean():.1%} of the cells")

# %% [markdown]
# **How well does it fit?** The theory names the right phase in 97 to 99 % of the cells. Nearly all
# cells where it is wrong lie beside a boundary, and there the trained models superpose *more* than
# predicted: their edge lies at 0.84 $r^*$. Why? Ignoring is already optimal among the models with
# $w_2 = 0$. Superposition with $W = (1, -1)$, $b = 0$ is not: it can be improved. So $r^*$ is only an
# upper bound for the true boundary. We let an optimiser choose all four parameters, with the
# expected loss integrated numerically.
#
# - *Up to $p \approx \tfrac12$ a shrunken pair takes over, with a jump.* At $p = 0.2$ the tie is at
#   $r = 0.114$, not at $r^* = 0.133$. The best pair there has $W \approx (1.03, -0.65)$ and
#   $b \approx (0.00, 0.07)$: the second weight has gone a third of the way to 0. The tie is at
#   0.84 to 0.85 $r^*$ for $p$ up to 0.4, and at 0.80 $r^*$ at $p = 0.5$.
# - *Beyond, it begins without a jump.* At $p = 0.55$ the second weight leaves 0 at 0.69 $r^*$, and
#   grows steadily. Our threshold sees it later, when it has jumped on to $-0.7$, near 0.75 $r^*$.
# - *At $r = 1$ some sharing beats ignoring for every $p < 1$*, right of $\tfrac47$ as well. At
#   $p = 0.6$, $W = (0.87, -0.87)$ with both biases at 0.22 has 0.90 of the loss of ignoring. Even two
#   weights of the *same* sign do, $W = (0.97, 0.39)$ with $b = (-0.13, 0.14)$: 0.986.
#
# One cell of the diagram is a factor of 1.27 in $r$. So on the left the shift is less than a cell;
# right of the tip the map has two superposed cells where the three strategies know none.
#
# So the closed form gets the *law* right, $r^* \approx p/2$ for small $p$, and bounds the place. TMS
# draws its theoretical diagram in the same way, from fixed weights. Chen et al. (2023) have a closed
# form for any $W$ and $b$, where exactly one feature is on at a time: the limit of extreme sparsity.
# Regular polygons are among its critical points. Their pentagon has arrows of length 1.17 and
# biases of $-0.28$; compare part 3.

# %% [markdown]
# ## 7 · Do the axes mean anything?
#
# The pentagons of part 3 are turned by arbitrary angles. Take any orthogonal matrix $R$, that is $R^\top R = I$, and replace $W$ by $RW$:
#
# $$(RW)^\top (RW) = W^\top R^\top R\, W = W^\top W .$$
#
# The model only depends on $W^\top W$, so the output, the loss, and the gradient with respect to
# $b$ are exactly the same. The axes of the hidden space have no meaning. We say that the basis is
# **non-privileged**. Then it makes no sense to ask what "hidden unit 1" stands for: only directions
# can have a meaning. A transformer's residual stream is the usual example (TMS).

# %% [markdown] tags=["task"]
# Draw a random rotation: an orthogonal matrix with determinant $+1$, every rotation equally likely.
#
# A matrix of independent normal numbers has no preferred direction. Its QR decomposition $A = QT$
# gives an orthogonal $Q$. Two details remain.
#
# - QR is unique only up to the signs of $T$'s diagonal, and the library's choice makes $Q$
#   lopsided. Multiply each *column* of $Q$ by the sign of the matching diagonal entry of $T$
#   (Mezzadri 2007).
# - If the determinant is $-1$, that is a mirror image. Flip one column.


# %% tags=["exercise"] exercise="3.1.1.i1" title="A random rotation" difficulty=3 importance=2 minutes=10 skill="orthogonal matrices"
def random_rotation(hidden: int, gen: torch.Generator) -> Float[Tensor, "hidden hidden"]:
    """Draw a rotation uniformly: orthogonal, determinant +1, on gen's device."""
    gaussian = torch.randn(hidden, hidden, generator=gen, device=gen.device)
    Q, T = torch.linalg.qr(gaussian)
    Q = Q * T.diagonal().sign()  # without it, Q is not uniform
    flip = torch.ones(hidden, device=gen.device)
    flip[0] = torch.linalg.det(Q).sign()  # without it, half of them are mirror images
    return Q * flip


# %% [markdown] tags=["hint"]
# What does multiplying a matrix by a vector of signs do: does `Q * s` flip rows or columns?

# %% [markdown] tags=["hint"]
# `Q, T = torch.linalg.qr(A)`; `T.diagonal().sign()` has one sign for each column.
# `torch.linalg.det(Q)` is +1 or −1.

# %% [markdown] tags=["hint"]
# After the sign fix, multiply column 0 by `torch.linalg.det(Q).sign()`. Every random number comes
# from `gen`.

# %% [markdown] tags=["task"]
# Rotate the hidden space of every instance: return $RW$.


# %% tags=["exercise"] exercise="3.1.1.i2" title="Rotate the hidden space" difficulty=1 importance=4 minutes=5 skill="acting on one axis"
def rotate_hidden(
    W: Float[Tensor, "inst hidden feature"], R: Float[Tensor, "hidden hidden"]
) -> Float[Tensor, "inst hidden feature"]:
    """Give R W for every instance: each feature's direction is turned by R."""
    return einsum(R, W, "turned hidden, inst hidden feature -> inst turned feature")


# %% [markdown] tags=["hint"]
# $(RW)_{af} = \sum_h R_{ah} W_{hf}$. Which of $R$'s two axes is summed?

# %% [markdown] tags=["hint"]
# In `einsum`, call $R$'s axes `turned hidden`: the result has `turned` where `W` had `hidden`.

# %% [markdown] tags=["task"]
# Now put a ReLU into the hidden layer: $h = \mathrm{ReLU}(Wx)$,
# $\hat x = \mathrm{ReLU}(W^\top h + b)$. Replace $W$ by $RW$ with an orthogonal $R$. For which $R$ is
# the output the same, whatever $W$, $b$ and $x$ are?
#
# - `"all"`: every orthogonal matrix
# - `"order and signs"`: those that exchange axes or flip their signs, and no others
# - `"order only"`: those that exchange axes, and no others
# - `"none"`: only $R = I$ itself

# %% tags=["predict"] exercise="3.1.1.P8" title="A ReLU in the hidden layer" difficulty=3 importance=4 minutes=3 skill="predicting" choices=["all", "order and signs", "order only", "none"]
predict_rotated_relu = "order only"

# %% tags=["demo"] reveals=["predict_rotated_relu"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    W, _ = init_toy(ToyConfig(inst=8, feature=5, hidden=2), gen)
    x, b = sparse_features(64, 8, 5, 0.5, gen), torch.full((8, 5), -0.1)
    into = "batch inst feature, inst hidden feature -> batch inst hidden"
    back = "batch inst hidden, inst hidden feature -> batch inst feature"
    swap, flip = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    turns = {"a rotation": random_rotation(2, gen), "axes exchanged": swap, "a sign flipped": flip}
    print("largest change of the output    as it is    with h = ReLU(Wx)")
    for name, R in turns.items():
        turned = rotate_hidden(W, R)
        plain = (toy_forward(x, turned, b) - toy_forward(x, W, b)).abs().max()
        outs = [(einsum(einsum(x, V, into).relu(), V, back) + b).relu() for V in (W, turned)]
        print(f"{name:30} {plain:9.1e} {(outs[1] - outs[0]).abs().max():20.1e}")

# %% [markdown]
# Without the hidden ReLU the output changes by rounding errors only, for every $R$. With it, an
# exchange of the axes still changes nothing: it is the same model with its hidden units in another
# order. A rotation or a flipped sign does change the output. The ReLU acts on each hidden unit by
# itself, and $\mathrm{ReLU}(Rh) = R\,\mathrm{ReLU}(h)$ for all $h$ only if $R$ just reorders them:
# put $h = e_i$, and the column $R e_i$ must be its own ReLU, so not negative. Columns without
# negative entries that are orthogonal can share no axis, so each is one $e_j$.
#
# So there the axes, though not their order, do matter: the basis is **privileged**, and it makes
# sense to ask what a neuron stands for. That is section 3.1.3.
#
# A caution. Non-privileged is a statement about what the *model* can tell apart. An *optimiser* may
# still prefer axes: Adam scales each coordinate separately, so its path depends on the basis. In
# these toy models we see arbitrary angles.

# %% [markdown]
# ## What you should be able to do now
#
# - Write the toy model for many instances and say what each einsum sums over.
# - Explain why an antipodal pair costs nothing while one of its features is off.
# - Say what five features in a plane do at $p = 1$, at $p = 0.25$ and at $p = 0.025$, and why.
# - Read norms and interference of a wide model, and say what they do not tell.
# - Derive $r^*(p) = 2p / (4 - 5p)$, and say why it is a bound and not the place itself.
# - Prove that the hidden basis is non-privileged, and say what would change that.
#
# **Go further.** (1) Repeat part 3 with equal importances. At which $p$ do you first see the
# pentagon? (2) Take four features in three dimensions. (3) Improve the theory: let $W = (s, -s)$
# and find the best $s$. How far does the boundary move?
#
# **References.** Elhage et al. 2022, *Toy Models of Superposition*, transformer-circuits.pub. Chen
# et al. 2023, *Dynamical versus Bayesian phase transitions in a toy model of superposition*.
# Mezzadri 2007, *How to generate random matrices from the classical compact groups*, Notices of the
# AMS 54(5). Kingma & Ba 2014, *Adam: a method for stochastic optimization*.
