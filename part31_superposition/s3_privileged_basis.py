# %% [markdown]
# # 3.1.3 Superposition in a privileged basis
#
# So far the hidden layer was linear. You could rotate it and nothing changed, so a single hidden
# dimension meant nothing. Real networks also have *neurons*: hidden units with an activation
# function. When people say "this neuron detects dogs", they talk about those.
#
# In this section the hidden layer gets a ReLU. Then two questions make sense. When does one neuron
# stand for one feature? And can a layer *compute* something for more features than it has neurons?
#
# All of it follows Elhage et al. (2022), *Toy Models of Superposition* (**TMS**): the sections on a
# privileged basis and on computation in superposition.
#
# ## What you will learn
#
# 1. What is a privileged basis, and how can one test for it?
# 2. How many features does a neuron serve? How does one draw and measure that?
# 3. What do sparsity and importance decide about it?
# 4. Which network computes $|x|$? Does training find the one that you write by hand?
# 5. How many functions fit into a layer, and when is one of them "computed"?
# 6. Two features share a neuron. How do they live with each other, and what rule finds such pairs?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | neuron | a hidden unit with a ReLU; the axis is still called `hidden` |
# | monosemantic, polysemantic | the neuron serves one feature, or several |
# | privileged basis | a basis in which the architecture itself singles out the axes |
# | decay $d$ | importance of feature $i$ is $I_i = d^{\,i}$, with $i = 0, 1, \dots$ |
# | tied, untied | in and out weights are one matrix ($W$, $W^\top$), or two ($W_1$, $W_2$) |

# %% tags=["setup"]
from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from part31_superposition.s1_nonprivileged_basis import sparse_features, toy_loss
from utils.plots import neurons as plots_neurons
from utils.toy import ToyConfig, TrainConfig, fit, init_toy

# %% [markdown]
# ## 1 · A ReLU makes the basis privileged
#
# The model is the one of 3.1.1 with one more ReLU, on the hidden layer:
#
# $$h = \mathrm{ReLU}(W x) \in \mathbb{R}^m, \qquad
#   \hat{x} = \mathrm{ReLU}(W^\top h + b) \in \mathbb{R}^n .$$
#
# Row $k$ of $W$ holds the weights of neuron $k$. Column $W_i$ is still the direction of feature
# $i$. Data and loss stay as they were: we import `sparse_features` and `toy_loss`.

# %% [markdown] tags=["task"]
# Write the forward pass of the neuron model.
#
# - `x` has shape `(batch, inst, feature)`, `W` has `(inst, hidden, feature)`, `b` has
#   `(inst, feature)`.
# - The hidden layer has no bias. (TMS explains why: given one, the model shifts all its neurons
#   into the positive range, where the ReLU does nothing.)


# %% tags=["exercise"] exercise="3.1.3.a1" title="The neuron model" difficulty=1 importance=5 minutes=5 skill="where the ReLUs go"
def neuron_forward(
    x: Float[Tensor, "batch inst feature"],
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
) -> Float[Tensor, "batch inst feature"]:
    """h = ReLU(W x), x_hat = ReLU(W^T h + b), per instance (TMS, privileged basis)."""
    h = einsum(x, W, "batch inst feature, inst hidden feature -> batch inst hidden").relu()
    out = einsum(h, W, "batch inst hidden, inst hidden feature -> batch inst feature")
    return torch.relu(out + b)


# %% [markdown] tags=["hint"]
# Start from `toy_forward` of 3.1.1. What is new, and between which two steps does it belong?

# %% [markdown] tags=["hint"]
# There are two ReLUs: one on `batch inst hidden`, one at the very end. The bias comes only before
# the second.

# %% [markdown]
# **What does "privileged" mean?** Replace $W$ by $T W$ for some invertible $T$. In 3.1.1 every
# *rotation* $T$ left the model as it was, because $(TW)^\top TW = W^\top W$. Now a ReLU stands
# between $TW$ and $(TW)^\top$. It acts on each coordinate by itself. A rotation mixes coordinates,
# so it does not commute with the ReLU. A permutation does: it only renames the neurons.
#
# So the axes are special. A direction along an axis is a neuron; any other direction is not.

# %% [markdown] tags=["task"]
# Measure how much a change of basis matters. For each instance, return the largest absolute change
# of any output when $W$ becomes $T W$.
#
# - `T` has shape `(inst, hidden, hidden)`; row $k$ of $TW$ is $\sum_l T_{kl} W_l$.
# - The largest over `batch` and `feature`. The result has the axis `inst`.


# %% tags=["exercise"] exercise="3.1.3.a2" title="Is the basis privileged?" difficulty=2 importance=3 minutes=8 skill="testing a symmetry"
def basis_change_effect(
    x: Float[Tensor, "batch inst feature"],
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
    T: Float[Tensor, "inst hidden hidden"],
) -> Float[Tensor, " inst"]:
    """Largest |change| of neuron_forward over batch and feature when W is replaced by T W."""
    changed = neuron_forward(x, T @ W, b) - neuron_forward(x, W, b)
    return changed.abs().amax(dim=(0, 2))


# %% [markdown] tags=["hint"]
# You need the output of two models. Which three arguments of `neuron_forward` stay the same?

# %% [markdown] tags=["hint"]
# `T @ W` multiplies instance by instance, because `inst` is the leading axis of both.
# `.amax(dim=(0, 2))` takes the largest over two axes.

# %% [markdown]
# Try it on random weights: a permutation of four neurons, and a rotation by only 10° in the plane
# of the first two.

# %% tags=["demo"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    x = sparse_features(1000, 1, 6, 0.3, gen)
    W, b = init_toy(ToyConfig(inst=1, feature=6, hidden=4), gen)
    permutation = torch.eye(4)[None, [2, 0, 3, 1]]
    angle = torch.deg2rad(torch.tensor(10.0))
    rotation = torch.eye(4)[None].clone()
    rotation[0, :2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    print(f"permutation: {basis_change_effect(x, W, b, permutation).item():.1e}")
    print(f"rotation by 10°: {basis_change_effect(x, W, b, rotation).item():.1e}")

# %% [markdown]
# The permutation changes nothing beyond rounding. The rotation changes the model. This is why we
# may now look at single rows of $W$, which made no sense in 3.1.1.
#
# ## 2 · Looking at neurons
#
# TMS draws a **stack plot**. Each neuron is one column. Each of its weights is a rectangle, as high
# as the weight, coloured by its feature. Positive weights pile up above the axis, negative ones
# pile down below it. A neuron with one rectangle is monosemantic. A neuron with many is not.
#
# A plotting library would pile the bars up for us. It is a good exercise in cumulative sums, so we
# do it ourselves.

# %% [markdown] tags=["task"]
# For each weight, return where its rectangle begins: the end that is nearer to the axis.
#
# - Within a neuron the features pile up in their order. The first positive weight begins at 0. Each
#   next positive weight begins where the positive one before it ended.
# - Negative weights make a pile of their own, downwards from 0.
# - The rectangle of a weight $w$ then reaches from `bottom` to `bottom + w`.


# %% tags=["exercise"] exercise="3.1.3.b1" title="The stack plot" difficulty=3 importance=2 minutes=12 skill="exclusive cumulative sums" shows="stacks"
def stack_bottoms(
    W: Float[Tensor, "inst hidden feature"],
) -> Float[Tensor, "inst hidden feature"]:
    """Where each weight's rectangle begins: positive weights pile up from 0, negative ones down."""
    up, down = W.clamp(min=0), W.clamp(max=0)
    return torch.where(W > 0, up.cumsum(dim=-1) - up, down.cumsum(dim=-1) - down)


# %% [markdown] tags=["hint"]
# Forget the negative weights for a moment. Where does rectangle $i$ begin, as a sum over the
# weights before it?

# %% [markdown] tags=["hint"]
# `torch.cumsum` includes the current entry. The pile *before* it is `cumsum - itself`. How can
# negative weights be kept from moving the positive pile?

# %% [markdown] tags=["hint"]
# `W.clamp(min=0)` has zeros where the weight is negative, and zeros do not raise a pile. Do the
# same with `max=0`, and choose with `torch.where(W > 0, ..., ...)`.

# %% [markdown]
# ### A score
#
# "One rectangle" is a matter of taste when there is one large and one tiny rectangle. So we need a
# number. Say neuron $k$ serves feature $i$ with a **gain** $g_{ki} \ge 0$. What is a good gain
# here? Switch on feature $i$ alone. Neuron $k$ has the activation $\mathrm{ReLU}(W_{ki} x_i)$, and
# it adds $W_{ki}$ times that to output $i$. Since $x_i \ge 0$, this is
#
# $$g_{ki}\, x_i \qquad\text{with}\qquad g_{ki} = \mathrm{ReLU}(W_{ki})^2 .$$
#
# So the gain is the part of $x_i$ that comes back through neuron $k$. A negative weight has gain 0:
# it cannot make the neuron fire. When others do, it holds down the neuron and output $i$.
#
# The **monosemanticity** of a neuron is the largest feature's share of its gain:
#
# $$\mu_k = \frac{\max_i g_{ki}}{\sum_i g_{ki}} .$$
#
# It is 1 for one feature, $1/n$ for $n$ equal ones, and it depends neither on the neuron's scale
# nor on the order of the features. (TMS judges by eye. This score is ours.)


# %% tags=["given"]
def tied_gain(W: Float[Tensor, "inst hidden feature"]) -> Float[Tensor, "inst hidden feature"]:
    """How much of a feature x >= 0, alone, comes back through each neuron: ReLU(W)^2."""
    return W.relu() ** 2


# %% [markdown] tags=["task"]
# Return the monosemanticity $\mu$ of every neuron. A dead neuron, whose gains are all exactly 0,
# serves nothing: its score is 0, not NaN. Any other neuron has a score, however small its gains.


# %% tags=["exercise"] exercise="3.1.3.b2" title="Monosemanticity" difficulty=1 importance=5 minutes=6 skill="a normalised score"
def monosemanticity(gain: Float[Tensor, "inst hidden feature"]) -> Float[Tensor, "inst hidden"]:
    """Share of the largest feature in each neuron's total gain; 0 where all gains are 0."""
    return (gain.amax(dim=-1) / gain.sum(dim=-1)).nan_to_num(nan=0.0)


# %% [markdown] tags=["hint"]
# Which axis is the maximum taken over, and which one the sum?

# %% [markdown] tags=["hint"]
# 0 / 0 is NaN. `Tensor.nan_to_num` replaces NaN by a number of your choice.

# %% [markdown] tags=["task"]
# Return the fraction of neurons that are monosemantic, per instance.
#
# - A neuron is **alive** when its total gain is at least `alive`. Dead ones are not counted at
#   all, neither above nor below the fraction bar.
# - An alive neuron is monosemantic when its score is at least `threshold`.
# - An instance without any alive neuron gets 0.


# %% tags=["exercise"] exercise="3.1.3.b3" title="How many neurons are monosemantic" difficulty=2 importance=4 minutes=8 skill="fractions with a mask"
def monosemantic_fraction(
    gain: Float[Tensor, "inst hidden feature"], threshold: float = 0.9, alive: float = 0.1
) -> Float[Tensor, " inst"]:
    """Fraction of the alive neurons (total gain >= alive) with monosemanticity >= threshold."""
    counted = gain.sum(dim=-1) >= alive
    pure = counted & (monosemanticity(gain) >= threshold)
    return pure.sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)


# %% [markdown] tags=["hint"]
# Make two masks of shape `(inst, hidden)`: who is counted, and who is counted *and* monosemantic.

# %% [markdown] tags=["hint"]
# A fraction is the sum of one mask over the sum of the other. What stands below the bar when nobody
# is alive?

# %% [markdown]
# ## 3 · Sparsity and neurons
#
# Now train. The sizes are those of TMS: 10 features, 5 neurons, importance $0.75^i$. TMS trained
# 1000 models for each sparsity and showed the best one. We train six. This model gets stuck more
# often than the one of 3.1.1, so looking at the best of several starts matters here.
#
# `train_starts` trains all starts of all models in one run of `fit`, with *your* functions inside.
# It serves this section twice: for this model, and for the next.
#
# In the figure below, a blue background marks a neuron with a score of at least 0.9: monosemantic.
# An orange one marks a polysemantic neuron. Darker bars belong to more important features.


# %% tags=["given"]
@dataclass(frozen=True)
class Starts:
    """Models that were each trained from several random starts."""

    params: dict[str, Tensor]  # each of shape (start, inst, …)
    losses: Float[Tensor, "start inst"]  # on fresh rows, the same for every start
    frames: dict[str, Tensor]  # snapshots along training, (frame, start, inst, …)
    frames_step: Int[Tensor, " frame"]

    def best(self) -> dict[str, Tensor]:
        """The start with the lowest loss of each model: tensors of shape (inst, …)."""
        start, inst = self.losses.argmin(dim=0), torch.arange(self.losses.shape[1])
        return {name: value[start, inst] for name, value in self.params.items()}


def train_starts(
    params: dict[str, Float[Tensor, "start inst ..."]],
    forward: Callable[..., Tensor],
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    sample: Callable[..., Tensor],
    importance: Float[Tensor, "inst feature"],
    probability: Float[Tensor, "inst #feature"],
    training: TrainConfig,
    gen: torch.Generator,
) -> Starts:
    """Train every start of every model with `fit`, and judge all starts on the same fresh rows.

    `forward(x, *params)` gives outputs, `loss(x, outputs, importance)` is a sum over instances,
    `sample(batch, inst, feature, probability, gen)` draws rows.
    """
    n_start, n_inst = next(iter(params.values())).shape[:2]
    n_feature = importance.shape[1]
    every_I, every_p = importance.repeat(n_start, 1), probability.repeat(n_start, 1)
    run = fit(
        {name: value.flatten(0, 1) for name, value in params.items()},
        lambda live, x: loss(x, forward(x, *live.values()), every_I),
        lambda g: sample(training.batch, n_start * n_inst, n_feature, every_p, g),
        training,
        gen,
    )
    split = {k: v.unflatten(0, (n_start, n_inst)) for k, v in run.params.items()}
    x = sample(16_384, n_inst, n_feature, probability, gen)
    losses = torch.zeros(n_start, n_inst)
    for s in range(n_start):
        out = forward(x, *(value[s] for value in split.values()))
        for k in range(n_inst):
            losses[s, k] = loss(x[:, [k]], out[:, [k]], importance[[k]])
    frames = {k: v.unflatten(1, (n_start, n_inst)) for k, v in run.frames.items()}
    return Starts(split, losses, frames, run.frames_step)


# %% [markdown] tags=["task"]
# The sparsest model has $p = 0.02$. How many of its five neurons will be monosemantic?

# %% tags=["predict"] exercise="3.1.3.P1" title="Sparse features" difficulty=1 importance=4 minutes=1 skill="predicting" choices=["four or five", "two or three", "none or one"]
predict_pure_neurons = "none or one"

# %% [markdown] tags=["task"]
# The dense end is more subtle. What pushes a neuron towards one feature is the ReLU: it bites when
# $Wx$ is negative. Of the models with $p = 1$, $p = 0.7$ and $p = 0.5$, which needs the *most*
# training steps until its neurons are monosemantic?

# %% tags=["predict"] exercise="3.1.3.P2" title="Who takes longest?" difficulty=3 importance=2 minutes=2 skill="predicting" choices=["p = 1", "p = 0.7", "p = 0.5"]
predict_slowest = "p = 1"

# %% tags=["demo"] reveals=["predict_pure_neurons", "predict_slowest"] experiment="pure_neurons" results=["W_neurons", "p_neurons"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    p_neurons = torch.tensor([1, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02])[:, None]
    importance = (0.75 ** torch.arange(10.0)).expand(8, 10)
    W, b = init_toy(ToyConfig(inst=6 * 8, feature=10, hidden=5), gen)
    start = {"W": W.unflatten(0, (6, 8)), "b": b.unflatten(0, (6, 8))}
    settings = TrainConfig(
        4000, 256, 2e-2, "cosine", n_frames=40, label="ten features, five neurons"
    )
    neurons = train_starts(
        start, neuron_forward, toy_loss, sparse_features, importance, p_neurons, settings, gen
    )
    W_neurons = neurons.best()["W"]
    titles = [f"p = {p:g}" for p in p_neurons.flatten().tolist()]
    score = monosemanticity(tied_gain(W_neurons))
    plots_neurons.neuron_stacks(W_neurons, stack_bottoms(W_neurons), score, titles).show()
    every = monosemanticity(tied_gain(neurons.frames["W"].flatten(0, 2)))
    along = every.unflatten(0, (-1, 6, 8)).mean(dim=(1, 3))
    plots_neurons.score_curves(along, neurons.frames_step, titles).show()
    for name, fraction in zip(
        titles, monosemantic_fraction(tied_gain(W_neurons)).tolist(), strict=True
    ):
        print(f"{name}: {fraction:.0%} of the neurons are monosemantic (best start)")

# %% [markdown]
# **What you see.**
#
# - *Dense.* Five neurons, five features, one each: the five most important ones.
# - *In between* ($p = 0.3$). Both kinds live in one model. Three neurons are monosemantic. The
#   other two carry three features together, like a small code: each of the three has its own
#   pattern of signs. In five further runs the best start had three pure neurons, or two, or none.
# - *Sparse.* Nearly every neuron serves several features, and most features use several neurons.
#
# Some bars below the axis are long. A large negative weight cannot make the neuron fire. It keeps
# the neuron silent when that feature is on. Remember this.
#
# The second figure shows the score along training, as a mean over all starts. At $p = 1$ it rises
# slowest. All inputs are positive then, so $Wx$ is rarely negative as long as most entries of $W$
# are positive, and the ReLU hardly notices a rotation. The pressure towards the axes is there, but
# it is weak. After 500 steps the mean score is still between 0.6 and 0.76 at $p = 1$, and between
# 0.83 and 0.96 at $p = 0.5$ (five seeds). Had we stopped there, we would have written that the
# densest features mix.
#
# **What the picture does not show.** It shows the best of six starts. Other starts keep more mixed
# neurons. TMS adds a warning about this model: it gains nothing from its hidden ReLU. The ReLU only
# restricts it, and given a chance the model works around it. So the next model gets a task for
# which it *needs* the ReLU.
#
# ## 4 · Computing in superposition
#
# Until now the model only stored features. Now let it compute one function of each of them:
#
# $$y_i = |x_i|, \qquad x_i \in [-1, 1] .$$
#
# The weights in and out are separate, since input and output are not the same thing any more:
#
# $$h = \mathrm{ReLU}(W_1 x), \qquad \hat{y} = \mathrm{ReLU}(W_2 h + b) .$$
#
# Without superposition the solution is known: $|x| = \mathrm{ReLU}(x) + \mathrm{ReLU}(-x)$. That is
# two neurons per feature. So $m$ neurons have room for $m/2$ features. Can superposition do better?

# %% [markdown] tags=["task"]
# Write the forward pass. `W1` has shape `(inst, hidden, feature)`, `W2` has
# `(inst, feature, hidden)`.


# %% tags=["exercise"] exercise="3.1.3.d1" title="A network for |x|" difficulty=1 importance=4 minutes=5 skill="two weight matrices"
def abs_forward(
    x: Float[Tensor, "batch inst feature"],
    W1: Float[Tensor, "inst hidden feature"],
    W2: Float[Tensor, "inst feature hidden"],
    b: Float[Tensor, "inst feature"],
) -> Float[Tensor, "batch inst feature"]:
    """ReLU(W2 ReLU(W1 x) + b), per instance (TMS, computation in superposition)."""
    h = einsum(x, W1, "batch inst feature, inst hidden feature -> batch inst hidden").relu()
    out = einsum(h, W2, "batch inst hidden, inst feature hidden -> batch inst feature")
    return torch.relu(out + b)


# %% [markdown] tags=["hint"]
# Which axes does `W2` sum over, and where do they stand in its shape? Read them off the types.

# %% [markdown] tags=["hint"]
# The first step is the same as in `neuron_forward`. In the second, `W2` has the axes
# `inst feature hidden`.

# %% [markdown] tags=["task"]
# Draw signed sparse features: each entry is on with its probability, and then uniform on $[-1, 1]$;
# else it is 0. Everything is independent. The arguments are those of `sparse_features`.


# %% tags=["exercise"] exercise="3.1.3.d2" title="Signed sparse features" difficulty=2 importance=4 minutes=8 skill="sampling a symmetric law"
def signed_features(
    batch: int,
    inst: int,
    feature: int,
    probability: Float[Tensor, "#inst #feature"] | float,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst feature"]:
    """Draw features: uniform on [-1, 1] with probability `probability`, else 0, all independent."""
    size = (batch, inst, feature)
    value = 2 * torch.rand(size, generator=gen, device=gen.device) - 1
    active = torch.rand(size, generator=gen, device=gen.device) < probability
    return torch.where(active, value, 0.0)


# %% [markdown] tags=["hint"]
# How do you turn a uniform number on $[0, 1]$ into one on $[-1, 1]$? How long is each interval?

# %% [markdown] tags=["hint"]
# As in 3.1.1, *whether* and *how much* are two questions and need two draws. The sign may come with
# the value: it needs no third draw.

# %% [markdown]
# The loss is `toy_loss` again, with $|x|$ as the target.


# %% tags=["given"]
def abs_loss(
    x: Float[Tensor, "batch inst feature"],
    y_hat: Float[Tensor, "batch inst feature"],
    importance: Float[Tensor, "inst feature"],
) -> Float[Tensor, ""]:
    """Importance times (|x| - y_hat)^2: mean over batch and feature, sum over inst."""
    return toy_loss(x.abs(), y_hat, importance)


# %% [markdown] tags=["task"]
# Write the solution without superposition by hand: weights with two neurons per feature whose
# network computes $|x|$ exactly.
#
# - Return `W1` of shape `(1, 2 * feature, feature)`, `W2` of shape `(1, feature, 2 * feature)` and
#   `b` of shape `(1, feature)`: one instance, in float32 (torch's default).
# - The order of the neurons is up to you. The check only looks at what the network computes.


# %% tags=["exercise"] exercise="3.1.3.d3" title="Two neurons per feature" difficulty=2 importance=4 minutes=10 skill="writing weights by hand"
def two_neurons_each(
    feature: int,
) -> tuple[
    Float[Tensor, "1 hidden feature"], Float[Tensor, "1 feature hidden"], Float[Tensor, "1 feature"]
]:
    """W1, W2, b of a network that computes |x| exactly with 2 * feature neurons."""
    eye = torch.eye(feature)
    W1 = torch.cat([eye, -eye])
    W2 = torch.cat([eye, eye], dim=1)
    return W1[None], W2[None], torch.zeros(1, feature)


# %% [markdown] tags=["hint"]
# Take one feature. What are the two rows of $W_1$ so that the neurons are $\mathrm{ReLU}(x)$ and
# $\mathrm{ReLU}(-x)$? How are they added up?

# %% [markdown] tags=["hint"]
# For $n$ features: `torch.eye(n)` gives the positive neurons, `-torch.eye(n)` the negative ones.
# `torch.cat` puts them together, along which axis in $W_1$, and along which in $W_2$?

# %% [markdown]
# ### The same model in other clothes
#
# Multiply row $k$ of $W_1$ by $a > 0$ and divide column $k$ of $W_2$ by $a$. Nothing changes,
# because $\mathrm{ReLU}(a z) = a\,\mathrm{ReLU}(z)$. So the raw size of a single weight means
# nothing. Before we look at weights, we fix the scale. Like TMS, we make the largest input weight
# of each neuron $\pm 1$.

# %% [markdown] tags=["task"]
# Rescale every neuron so that its largest $|W_1|$ entry is 1, without changing what the network
# computes. This holds for neurons with very small weights, too. Only a neuron whose input weights
# are all exactly 0 stays as it is.


# %% tags=["exercise"] exercise="3.1.3.d4" title="Fix the scale" difficulty=2 importance=3 minutes=8 skill="a hidden symmetry"
def rescale_neurons(
    W1: Float[Tensor, "inst hidden feature"], W2: Float[Tensor, "inst feature hidden"]
) -> tuple[Float[Tensor, "inst hidden feature"], Float[Tensor, "inst feature hidden"]]:
    """The same network with max over features |W1| = 1 for every neuron (dead ones unchanged)."""
    largest = W1.abs().amax(dim=-1)
    scale = torch.where(largest > 0, largest, 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


# %% [markdown] tags=["hint"]
# There is one number per neuron: shape `(inst, hidden)`. Where must the new axis of size 1 go for
# `W1`, and where for `W2`?

# %% [markdown] tags=["hint"]
# What is taken out of the input weights must be put into the output weights: divide `W1`, multiply
# `W2`. `torch.where(largest > 0, largest, 1.0)` looks after the dead ones.

# %% [markdown]
# ### Is a feature computed?
#
# TMS shows the weights. We also want a number for every feature. A small loss proves nothing: rare
# features have a small loss whatever the model does. So we compare with the best model that does
# **not** compute: a constant. The best one is the mean of $|x_i|$, and its loss is the variance.
# Now $|x_i|$ has the law that $x_i$ had in 3.1.1 (uniform on $[0, 1]$ with probability $p$, else
# 0), so you know that variance: $p/3 - p^2/4$.
#
# The yardstick is: which **fraction of the variance** is left unexplained?
#
# $$u_i = \frac{\mathbb{E}\,(|x_i| - \hat y_i)^2}{\mathrm{Var}\,|x_i|} .$$
#
# $u_i = 1$ is as good as a constant, $u_i = 0$ is perfect, and $u_i > 1$ is worse than saying
# nothing.


# %% tags=["given"]
def constant_loss(probability: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Least mean squared error of a constant for |x|: the variance of |x|, elementwise in p."""
    return probability / 3 - probability**2 / 4


# %% [markdown] tags=["task"]
# Return $u_i$ for every instance and feature. The mean is over the batch; the variance is the one
# in closed form (`constant_loss`), for the given `probability`, however small.


# %% tags=["exercise"] exercise="3.1.3.d5" title="Fraction unexplained" difficulty=2 importance=5 minutes=8 skill="a loss against a baseline"
def unexplained(
    x: Float[Tensor, "batch inst feature"],
    y_hat: Float[Tensor, "batch inst feature"],
    probability: Float[Tensor, "#inst #feature"],
) -> Float[Tensor, "inst feature"]:
    """Mean over the batch of (|x| - y_hat)^2, as a fraction of constant_loss(probability)."""
    return (x.abs() - y_hat).square().mean(dim=0) / constant_loss(probability)


# %% [markdown] tags=["hint"]
# Which axis disappears, and which two stay? The importance plays no role here.

# %% [markdown] tags=["hint"]
# `constant_loss(probability)` broadcasts against `(inst, feature)` by itself.

# %% [markdown] tags=["task"]
# A constant is a poor opponent, you may say. What about the best *linear* function,
# $\hat y_i = \sum_j a_j x_j + c$? Compared with the best constant it ...

# %% tags=["predict"] exercise="3.1.3.P3" title="A linear opponent" difficulty=3 importance=4 minutes=3 skill="symmetry" choices=["is better", "is exactly as good", "is worse"]
predict_linear = "is exactly as good"

# %% [markdown] tags=["task"]
# And a model that computes only *one side*? Take one feature with $p = 1$, and a network that
# outputs $|x|$ exactly when $x > 0$, and the best constant when $x < 0$. Which fraction of the
# variance is unexplained? Give a number.

# %% tags=["predict"] exercise="3.1.3.P4" title="One side only" difficulty=3 importance=3 minutes=3 skill="conditional variance"
predict_one_side = 0.5

# %% [markdown]
# Check both answers on samples: fit the linear function by least squares, and build the one-sided
# prediction directly.

# %% tags=["demo"] reveals=["predict_linear", "predict_one_side"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    x = signed_features(200_000, 1, 3, 1.0, gen)
    ones = torch.ones(len(x), 1)
    inputs, target = torch.cat([x[:, 0], ones], dim=1), x[:, 0].abs()
    linear = inputs @ torch.linalg.lstsq(inputs, target).solution
    one_side = torch.where(x > 0, x, 0.5)
    print("best linear:", unexplained(x, linear[:, None], torch.ones(1, 1)).numpy().round(3))
    print("one side:   ", unexplained(x, one_side, torch.ones(1, 1)).numpy().round(3))

# %% [markdown]
# The linear function gains nothing. The law of $x_i$ is symmetric, so $x_i$ and $|x_i|$ are
# uncorrelated, and the other features are independent of both. Whatever gets below 1 has *computed*
# something.
#
# One side leaves half of the variance at $p = 1$. For rare features the same holds in the limit,
# and in between it leaves a little more (up to 0.63). So $u_i \approx 0.5$ means "half computed".
# We call a feature **computed** when $u_i < 0.25$: then at least some of both sides is there.


# %% tags=["given"]
def n_computed(
    fraction: Float[Tensor, "inst feature"], threshold: float = 0.25
) -> Int[Tensor, " inst"]:
    """Number of features whose unexplained fraction is below `threshold`, per instance."""
    return (fraction < threshold).sum(dim=-1)


# %% [markdown]
# ### The dense case: does training find your solution?
#
# Three features, six neurons, $p = 1$: TMS begins with these sizes, and so do we. There is just
# enough room. Is the trained network the one that you wrote by hand?
#
# One detail first: the size of the initial weights. The usual one is that of 3.1.1, a standard
# deviation of $\sqrt{2 / (n + m)}$ (due to Glorot). `init_abs` multiplies it by `scale`, which is
# 0.1 unless we say otherwise.


# %% tags=["given"]
def init_abs(
    cfg: ToyConfig, n_starts: int, gen: torch.Generator, scale: float = 0.1
) -> dict[str, Float[Tensor, "start inst ..."]]:
    """Normal W1 and W2 with standard deviation scale * sqrt(2 / (hidden + feature)), and b = 0."""
    std = scale * (2 / (cfg.hidden + cfg.feature)) ** 0.5
    shapes = {
        "W1": (n_starts, cfg.inst, cfg.hidden, cfg.feature),
        "W2": (n_starts, cfg.inst, cfg.feature, cfg.hidden),
    }
    weights = {
        name: std * torch.randn(shape, generator=gen, device=gen.device)
        for name, shape in shapes.items()
    }
    return weights | {"b": torch.zeros(n_starts, cfg.inst, cfg.feature, device=gen.device)}


def train_abs(
    start: dict[str, Float[Tensor, "start inst ..."]],
    importance: Float[Tensor, "inst feature"],
    probability: Float[Tensor, "inst 1"],
    training: TrainConfig,
    gen: torch.Generator,
) -> Starts:
    """Train networks for |x| from every start."""
    pieces = (abs_forward, abs_loss, signed_features)
    return train_starts(start, *pieces, importance, probability, training, gen)


# %% tags=["demo"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    start = init_abs(ToyConfig(inst=1, feature=3, hidden=6), 4, gen)
    settings = TrainConfig(2000, 256, 1e-2, "cosine", label="three features, six neurons")
    weights = train_abs(start, torch.ones(1, 3), torch.ones(1, 1), settings, gen).best()
    W1, W2 = rescale_neurons(weights["W1"], weights["W2"])
    plots_neurons.weights_in_and_out(W1[0], W2[0]).show()
    x = signed_features(10_000, 1, 3, 1.0, gen)
    left = unexplained(x, abs_forward(x, **weights), torch.ones(1, 1))
    print("fraction unexplained:", left.numpy().round(4))

# %% [markdown]
# Up to the order of the neurons, this is your solution: each feature has one neuron that reads it
# with $+1$ and one that reads it with $-1$, and both write into its output with $+1$. Over five
# seeds no weight is off by more than 0.02.
#
# ### More features than neurons
#
# Now 20 features and 10 neurons. Seven models with importance $0.9^i$ go from dense to sparse. An
# eighth has equal importances and $p = 0.02$. Two neurons per feature would give 5 computed
# features.

# %% [markdown] tags=["task"]
# We train the eighth model a second time, from initial weights of the *usual* size (`scale=1`),
# ten times larger. With those, training computes ...

# %% tags=["predict"] exercise="3.1.3.P5" title="The size of the first weights" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["more features", "about as many (within two)", "fewer features"]
predict_large_start = "fewer features"

# %% tags=["demo"] reveals=["predict_large_start"] experiment="abs_computed" results=["left_abs", "p_abs", "left_large"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    p_abs = torch.tensor([1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.02])[:, None]
    importance = (0.9 ** torch.arange(20.0)).repeat(8, 1)
    importance[-1] = 1
    settings = TrainConfig(3000, 512, 1e-2, "cosine", label="|x| for twenty features, ten neurons")
    start = init_abs(ToyConfig(8, 20, 10), 4, gen)
    computing = train_abs(start, importance, p_abs, settings, gen)
    usual = init_abs(ToyConfig(1, 20, 10), 4, gen, scale=1.0)
    large = train_abs(usual, importance[-1:], p_abs[-1:], settings, gen)
    x = signed_features(65_536, 8, 20, p_abs, gen)
    left_abs = unexplained(x, abs_forward(x, **computing.best()), p_abs)
    left_large = unexplained(x[:, -1:], abs_forward(x[:, -1:], **large.best()), p_abs[-1:])
    titles = [f"p = {p:g}" for p in p_abs[:-1].flatten().tolist()] + ["p = 0.02, equal"]
    plots_neurons.unexplained_bars(left_abs, titles).show()
    print("computed:", dict(zip(titles, n_computed(left_abs).tolist(), strict=True)))
    print("large start, p = 0.02, equal:", n_computed(left_large).tolist())

# %% [markdown]
# **What you see.** In the dense models five features are computed, and the rest is left at 1: two
# neurons each, as by hand. With $p = 0.05$ it is more than five, and with $p = 0.02$ more than ten:
# **more functions are computed than there are neurons**. The features are now so rare that the
# neurons can share them.
#
# Bars that are neither low nor near 1 are of two kinds. At $p = 0.2$ to $0.05$ most of them are
# computed on both sides, but disturbed by other features. At $p = 0.02$ and below most are
# one-sided: nearly exact for one sign of $x_i$, and nothing for the other.
#
# **What the picture does not show.** Whether the layer could do better. In the sparsest models some
# features are dropped although they matter more than others that are kept: training got stuck.
#
# **Why small initial weights?** From weights of the usual size far fewer features are computed (2
# to 8, against 15 or 16 from small ones, over five seeds), and many end one-sided. One reading:
# large random weights already mix all features, and training only adjusts the mixture. From small
# weights each neuron first has to choose what it serves. (Chizat et al. 2019 call training *lazy*
# when the weights hardly move, and show that it comes from a choice of scale.) TMS does not
# discuss this for its model. Take it as a warning: "the network does not do X" may mean "this
# training did not find X".
#
# ## 5 · How does it do that? A circuit, found by a rule
#
# TMS looks into one trained model and finds a *motif*: a small circuit that occurs again and again.
# Its first half is called **asymmetric superposition**. We want to find it without looking: a rule
# on the weights says yes or no.
#
# First the language. Feature $s$ (the source) is on, alone. Neuron $k$ fires, if the sign is
# right, with $|W_{1,ks}|\,|x_s|$. Then it pushes output $t$ (the target) by $W_{2,tk}$ times that.
# So the **path gain** from $s$ through $k$ to $t$ is
#
# $$G_{k,t,s} = W_{2,tk}\,|W_{1,ks}| .$$
#
# The diagonal $G_{k,i,i}$ is what we want: it is about 1 when neuron $k$ does its half of $|x_i|$.
# Everything off the diagonal is interference. $G$ does not depend on the scale of a neuron.

# %% [markdown] tags=["task"]
# Return all path gains, with axes `inst hidden target source`. Both `target` and `source` run over
# features, so in the type they are both called `feature`.


# %% tags=["exercise"] exercise="3.1.3.e1" title="Path gains" difficulty=2 importance=4 minutes=8 skill="outer products with einsum"
def path_gain(
    W1: Float[Tensor, "inst hidden feature"], W2: Float[Tensor, "inst feature hidden"]
) -> Float[Tensor, "inst hidden feature feature"]:
    """W2[target, hidden] * |W1[hidden, source]|, with axes inst hidden target source."""
    axes = "inst target hidden, inst hidden source -> inst hidden target source"
    return einsum(W2, W1.abs(), axes)


# %% [markdown] tags=["hint"]
# Nothing is summed here: all axes stay. Which of the two features comes from `W1`, which from `W2`?

# %% [markdown] tags=["hint"]
# `einsum(W2, W1.abs(), "inst target hidden, inst hidden source -> inst hidden target source")`. Why
# does only one of the two get absolute values?

# %% [markdown]
# Now suppose that neuron $k$ serves two features $i$ and $j$ well: $G_{k,i,i} \approx G_{k,j,j}
# \approx 1$. Multiply the two interferences:
#
# $$G_{k,j,i} \cdot G_{k,i,j} = W_{2,jk} |W_{1,ki}| \cdot W_{2,ik} |W_{1,kj}|
#   = G_{k,i,i} \cdot G_{k,j,j} \approx 1 .$$
#
# **The product of the two interferences is fixed.** A neuron that serves two features cannot have
# both small. It can only choose how to split it. The symmetric choice is 1 and 1. In the asymmetric
# choice of TMS the neuron reads with $W_1 = (2, -\tfrac12)$ and writes with $W_2 = (\tfrac12, 2)$.
# The **strong** feature (read with 2) pushes the output of the **weak** one with a gain of 4. The
# weak one pushes back with only $\tfrac14$.
#
# A push of $\tfrac14$ does little harm. A push of 4 is another matter. First find the pairs.

# %% [markdown] tags=["task"]
# Mark the asymmetric pairs in path gains. Return a mask with axes `inst hidden strong weak`. It is
# true where
#
# - neuron `hidden` serves both features: both diagonal gains are at least `min_gain`, and
# - the push of the strong feature on the weak output is at least `ratio` times the push of the weak
#   feature on the strong output.


# %% tags=["exercise"] exercise="3.1.3.e2" title="Asymmetric pairs" difficulty=3 importance=4 minutes=12 skill="a rule in place of a look"
def asymmetric_pairs(
    gain: Float[Tensor, "inst hidden feature feature"], min_gain: float = 0.5, ratio: float = 4.0
) -> Bool[Tensor, "inst hidden feature feature"]:
    """Mask [inst, hidden, strong, weak] of pairs that a neuron serves asymmetrically.

    `gain` has the axes inst hidden target source (see path_gain); `ratio` is above 1.
    """
    served = gain.diagonal(dim1=-2, dim2=-1) >= min_gain
    both = served[..., :, None] & served[..., None, :]
    on_weak = gain.mT  # [strong, weak] = from source strong to target weak
    on_strong = gain  # [strong, weak] = from source weak to target strong
    return both & (on_weak >= ratio * on_strong)


# %% [markdown] tags=["hint"]
# Three masks of shape `(inst, hidden, feature, feature)`: strong is served, weak is served, the
# push is lopsided. The first two need only one feature axis each: where does the axis of size 1 go?

# %% [markdown] tags=["hint"]
# `gain[k, target, source]`. The push on the weak output comes *from* strong: target is weak, source
# is strong. In a mask `[strong, weak]`, is that `gain` or its transpose?

# %% [markdown] tags=["hint"]
# `served = gain.diagonal(dim1=-2, dim2=-1) >= min_gain`, then `served[..., :, None] &
# served[..., None, :]`. The lopsided part is `gain.mT >= ratio * gain`.

# %% [markdown]
# ### What becomes of a push of 4
#
# When the strong feature is on alone, neuron $k$ pushes the weak output far up, where the truth is
# 0.

# %% [markdown] tags=["task"]
# In a trained network with asymmetric pairs, switch on a strong feature alone, at $\pm 1$, on the
# side where the shared neuron fires. Its neuron pushes the weak output by about 4. What will the
# weak output $\hat y$ say, in the typical (median) pair?

# %% tags=["predict"] exercise="3.1.3.P6" title="What the weak output says" difficulty=2 importance=4 minutes=2 skill="predicting" choices=["above 2", "from 0.5 to 2", "below 0.5"]
predict_weak_output = "below 0.5"

# %% [markdown]
# A push is only a part of what arrives at an output. To know the rest, add up all neurons.

# %% [markdown] tags=["task"]
# Return the total push on each output when one feature is on **alone**, at $+1$ or at $-1$:
#
# $$D_{\sigma,t,s} = \sum_k W_{2,tk}\,\mathrm{ReLU}(\sigma\, W_{1,ks}) .$$
#
# The axes are `inst side target source`. Side 0 is $\sigma = +1$, side 1 is $\sigma = -1$. No bias,
# and no ReLU at the output.


# %% tags=["exercise"] exercise="3.1.3.e3" title="One feature alone" difficulty=3 importance=4 minutes=12 skill="reading a network one input at a time"
def lone_drive(
    W1: Float[Tensor, "inst hidden feature"], W2: Float[Tensor, "inst feature hidden"]
) -> Float[Tensor, "inst 2 feature feature"]:
    """Sum over hidden of W2[target] ReLU(side * W1[source]); axes inst side target source."""
    activation = torch.stack([W1, -W1], dim=1).relu()
    axes = "inst target hidden, inst side hidden source -> inst side target source"
    return einsum(W2, activation, axes)


# %% [markdown] tags=["hint"]
# What does the hidden layer look like when $x$ is zero except for $x_s = 1$? And for $x_s = -1$?

# %% [markdown] tags=["hint"]
# `torch.stack([W1, -W1], dim=1)` makes the axis `side`. The ReLU comes before the sum over
# `hidden`.

# %% [markdown]
# Where the others take a push away again, TMS speaks of **inhibition**. Does that happen here? Ask
# it of each pair.

# %% [markdown] tags=["task"]
# Which asymmetric pairs are inhibited? Return the mask of those `pairs` (axes
# `inst hidden strong weak`) for which the *total* push on the weak output is at most `share` times
# neuron `hidden`'s own push.
#
# - The strong feature is alone, on the side on which neuron `hidden` fires: side 0 where
#   $W_{1,\text{hidden},\text{strong}} > 0$, else (0 included) side 1.
# - The neuron's own push is its path gain from strong to weak.


# %% tags=["exercise"] exercise="3.1.3.e4" title="Inhibited pairs" difficulty=4 importance=4 minutes=18 skill="combining masks and indices"
def inhibited_pairs(
    W1: Float[Tensor, "inst hidden feature"],
    W2: Float[Tensor, "inst feature hidden"],
    pairs: Bool[Tensor, "inst hidden feature feature"],
    share: float = 0.25,
) -> Bool[Tensor, "inst hidden feature feature"]:
    """Those pairs [inst, hidden, strong, weak] whose total push is <= share * the neuron's own."""
    own = path_gain(W1, W2).mT
    plus, minus = lone_drive(W1, W2).mT[:, None].unbind(dim=2)
    total = torch.where(W1[..., None] > 0, plus, minus)
    return pairs & (total <= share * own)


# %% [markdown] tags=["hint"]
# Bring everything to the axes `inst hidden strong weak`. `path_gain` has `target source` at the
# end, and here the target is weak. `lone_drive` has no `hidden` axis, and has a `side` axis
# instead.

# %% [markdown] tags=["hint"]
# Per neuron and strong feature, one bit decides on the side: `W1 > 0`. Give it an axis of size 1 at
# the end, and use it in `torch.where`.

# %% [markdown] tags=["hint"]
# `total = torch.where(W1[..., None] > 0, drive[:, None, 0], drive[:, None, 1])` with
# `drive = lone_drive(W1, W2).mT`.

# %% [markdown]
# Three sparsities, importance $0.8^i$, four starts each: twelve trained networks. We search all of
# them, not only the best.
#
# The second figure needs a word. Each point is one asymmetric pair. To the right: what the shared
# neuron pushes. Up: what all *other* neurons together add. On the dashed line the two cancel. Grey
# points are a control: the same neurons and strong features, but for the target a random other
# feature.

# %% tags=["demo"] reveals=["predict_weak_output"] experiment="asymmetric_motif" results=["W1_motif", "W2_motif"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    p_motif = torch.tensor([0.2, 0.1, 0.05])[:, None]
    importance = (0.8 ** torch.arange(20.0)).repeat(3, 1)
    settings = TrainConfig(3000, 512, 1e-2, "cosine", label="|x| with importance 0.8^i")
    motif = train_abs(init_abs(ToyConfig(3, 20, 10), 4, gen), importance, p_motif, settings, gen)
    W1_motif, W2_motif = (motif.params[name].flatten(0, 1) for name in ("W1", "W2"))
    gain, drive = path_gain(W1_motif, W2_motif), lone_drive(W1_motif, W2_motif)
    pairs = asymmetric_pairs(gain)
    inhibited = inhibited_pairs(W1_motif, W2_motif, pairs)
    print("asymmetric pairs in the 12 networks:", pairs.sum(dim=(1, 2, 3)).tolist())
    print("of these inhibited:                 ", inhibited.sum(dim=(1, 2, 3)).tolist())
    net, k, strong, weak = pairs.nonzero(as_tuple=True)
    plots_neurons.motif_graph(W1_motif[net[0]], W2_motif[net[0]], k[0], strong[0], weak[0]).show()
    side = (W1_motif[net, k, strong] < 0).long()
    own, total = gain[net, k, weak, strong], drive[net, side, weak, strong]
    other = (weak + torch.randint(1, 20, weak.shape, generator=gen)) % 20
    control = drive[net, side, other, strong] - gain[net, k, other, strong]
    plots_neurons.push_scatter(own, total - own, control).show()
    b_motif = motif.params["b"].flatten(0, 1)
    said = (total + b_motif[net, weak]).relu()
    print(f"own push: {own.median():.2f}; what the weak output says: {said.median():.2f} (medians)")

# %% [markdown]
# The pairs, by index, let us ask three more things. How large are the weights? Which of the two
# features is the more important one? And what does the weak output say when *both* are on?

# %% tags=["demo"]
if __name__ == "__main__":
    sizes = [W1_motif[net, k, strong], W1_motif[net, k, weak]]
    sizes += [W2_motif[net, strong, k], W2_motif[net, weak, k]]
    print("reads strong, weak; writes strong, weak:", [f"{w.abs().median():.2f}" for w in sizes])
    print(f"strong is more important in {(strong < weak).float().mean():.0%} of the pairs")
    x = torch.zeros(4, len(net), 20)  # both on: a batch of four pairs of signs, an inst per pair
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])[:, :, None]
    every = torch.arange(len(net))
    x[:, every, strong], x[:, every, weak] = signs[:, 0], signs[:, 1]
    heard = abs_forward(x, W1_motif[net], W2_motif[net], b_motif[net])[:, every, weak]
    best_to_worst = heard.sort(dim=0, descending=True).values.median(dim=1).values
    print("both on, weak output for the four signs:", [f"{v:.2f}" for v in best_to_worst])

# %% [markdown]
# **What you see.** The rule finds asymmetric pairs in every one of the twelve networks, and every
# one of them is inhibited. The median sizes of the weights are close to TMS's example: read with 2
# and $\tfrac12$, write with $\tfrac12$ and 2. The strong feature is the more important one in every
# pair. (In five further runs: pairs in 59 of 60 networks, all inhibited, and the strong feature the
# more important one in at least 98 % of them.)
#
# The other neurons cancel the push, and sometimes more than that. The ReLU at the output turns the
# rest into 0. So a large *positive* interference
# has become a *negative* one, which costs nothing while the strong feature is alone. The last line
# shows the price. When both are on, the weak one is heard for some signs and lost for others. But
# both are on at once with probability $p^2$ only.
#
# In the graph you see who inhibits: a neuron that also reads the strong feature, on the same side.
# And the control matters: at a random other output the same neurons add about
# 0 in most cases. So this is no general downward push, but one aimed at the weak feature.
#
# ## 6 · The sweep: sparsity and importance
#
# At last the map: how do sparsity *and* the decay of importance decide what neurons do? We need the
# gain of a neuron in the untied model. That is the diagonal of $G$, where it is positive:
# $g_{ki} = \mathrm{ReLU}(G_{k,i,i})$. It is the gain of part 2 again: what comes back when
# feature $i$ is alone.
#
# Why not just take the input weights, $W_{1,ki}^2$? Look at the example of TMS. Its input weights,
# 2 and $-\tfrac12$, would give a monosemanticity of $4 / 4.25 \approx 0.94$: monosemantic. Its
# gains, 1 and 1, give 0.5. The second is right: the neuron does its half of $|x|$ for both
# features.


# %% tags=["given"]
def untied_gain(
    W1: Float[Tensor, "inst hidden feature"], W2: Float[Tensor, "inst feature hidden"]
) -> Float[Tensor, "inst hidden feature"]:
    """How much of feature i comes back through neuron k in the right place: ReLU(G[k, i, i])."""
    return path_gain(W1, W2).diagonal(dim1=-2, dim2=-1).relu()


# %% [markdown] tags=["task"]
# A fraction of monosemantic neurons cannot tell a neuron with two features from one with ten. So
# count the features of a neuron. The effective number of a set of gains is
#
# $$N_k = \frac{\big(\sum_i g_{ki}\big)^2}{\sum_i g_{ki}^2} .$$
#
# For $q$ equal gains it is $q$, and gains much smaller than the others hardly count. A dead neuron
# (all gains exactly 0) has 0. Return $N_k$ for every neuron.


# %% tags=["exercise"] exercise="3.1.3.f1" title="Features per neuron" difficulty=2 importance=3 minutes=8 skill="the participation ratio"
def features_per_neuron(
    gain: Float[Tensor, "inst hidden feature"],
) -> Float[Tensor, "inst hidden"]:
    """Effective number of features of each neuron: (sum of gains)^2 / sum of squares; dead: 0."""
    return (gain.sum(dim=-1) ** 2 / gain.square().sum(dim=-1)).nan_to_num(nan=0.0)


# %% [markdown] tags=["hint"]
# Try it by hand with gains (1, 1, 0). Which of the two sums is squared *after* it was taken?

# %% [markdown] tags=["hint"]
# Both sums run over the last axis. A neuron without gains gives 0 / 0, as in `monosemanticity`.

# %% [markdown] tags=["task"]
# Keep $p = 0.2$, and make the importances more unequal: from decay $d = 1$ (all equal) down to
# $d = 0.7$. What happens to the fraction of monosemantic neurons?

# %% tags=["predict"] exercise="3.1.3.P7" title="Unequal importances" difficulty=2 importance=3 minutes=2 skill="predicting" choices=["it rises", "it stays", "it falls"]
predict_decay = "it rises"

# %% tags=["demo"] reveals=["predict_decay"] experiment="sweep" results=["pure_sweep", "computed_sweep"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    p_axis, decays = torch.tensor([1, 0.5, 0.2, 0.1, 0.05, 0.02]), torch.tensor([1, 0.9, 0.8, 0.7])
    p_sweep = p_axis.repeat_interleave(4)[:, None]
    importance = (decays[:, None] ** torch.arange(20.0)).repeat(6, 1)
    settings = TrainConfig(2500, 256, 1e-2, "cosine", label="sparsity x importance")
    start = init_abs(ToyConfig(24, 20, 10), 3, gen)
    weights = train_abs(start, importance, p_sweep, settings, gen).best()
    gain = untied_gain(weights["W1"], weights["W2"])
    x = signed_features(32_768, 24, 20, p_sweep, gen)
    left = unexplained(x, abs_forward(x, **weights), p_sweep)
    pure_sweep = monosemantic_fraction(gain).reshape(6, 4)
    shared_sweep = features_per_neuron(gain).mean(dim=1).reshape(6, 4)
    computed_sweep = n_computed(left).reshape(6, 4)
    maps = {"fraction monosemantic": pure_sweep, "features per neuron": shared_sweep}
    maps |= {"features computed": computed_sweep}
    plots_neurons.sweep_maps(maps, p_axis, decays).show()

# %% [markdown]
# **What you see.** Dense rows: every neuron is pure, and at most five features are computed. Going
# down, neurons mix, and they mix first where all features are equally important (left). Unequal
# importances protect purity: the first features keep neurons of their own for longer. TMS describes
# the same: in its intermediate models the neurons of the most important features tend to be
# monosemantic.
#
# The third map says what mixing is good for. In the last row more than ten features are computed
# with equal importances, and fewer with unequal ones: there the late features hardly matter, so
# nothing is gained by computing them. At $p = 0.2$ and $0.1$ with equal importances most neurons
# mix already, and still only two to five features are computed *well*: many are computed a
# little. The loss likes that, and a count with a threshold does not. So never read this count
# without the threshold in mind.
#
# **What the maps do not show.** Each cell is the best of three starts of one run. Over five seeds
# the fraction of a single cell moved by up to 0.6 near the border, and a count by up to three
# features. What stays: pure for $p \ge 0.5$, mixed at $p = 0.02$, and at $p = 0.2$ more pure
# neurons with decay 0.7 (0.82 in the mean) than with equal importances (0.22).
#
# ## What you should be able to do now
#
# - Explain why rotating the hidden layer is harmless in 3.1.1 and not here, and test it with a
#   number.
# - Define monosemanticity so that neither scale nor order matters, and say what it ignores.
# - Say when neurons are monosemantic, and why "dense" alone is not the answer.
# - Write down a network for $|x|$ with two neurons per feature, and say how it is beaten.
# - Judge "computed" against a baseline, and defend the threshold.
# - Prove that the product of two interferences in one neuron is fixed, and describe how a network
#   lives with the large one.
#
# **References.** Elhage et al. 2022, *Toy Models of Superposition*, transformer-circuits.pub.
# Chizat, Oyallon & Bach 2019, *On Lazy Training in Differentiable Programming*, NeurIPS.
