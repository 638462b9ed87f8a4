# %% [markdown]
# # 3.1.2 Correlated and anticorrelated features
#
# In 3.1.1 every feature came and went on its own. Real features do not. A text about a court case
# mentions judges *and* verdicts. A word is singular *or* plural, never both.
#
# Does it matter to a model which features go together? In this section you find out how the geometry
# follows the statistics. It builds on *The Geometry of Superposition* in Elhage et al. (2022), *Toy
# Models of Superposition*, cited as **TMS**.
#
# ## The questions
#
# 1. How do you sample features that go together, or avoid each other, so that each of them alone
#    looks exactly as before?
# 2. How do you see in the data who fires with whom, and in a model how two directions are arranged?
# 3. How does the best model arrange two features that always meet, and two that never do? How often
#    does a *single* training run get there?
# 4. When features come in sets: where does the interference go?
# 5. When does a model stop telling two features apart? Can you derive it, and does a trained map
#    agree?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | pair $k$ | the features $2k$ and $2k+1$, neighbours; each is the other's partner |
# | $p$ | the probability that a feature is on. It is the same for both features of a pair |
# | correlated pair | both features are on, or neither is |
# | anticorrelated pair | at most one feature is on |
# | $c$ | the probability that the partner is on, given that a feature is on |
# | set | many features that can only be on while the set is on |
# | opposite | two directions with cosine near $-1$; TMS says antipodal |

# %% tags=["setup"]
from collections.abc import Callable

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from part31_superposition.s1_nonprivileged_basis import sparse_features, toy_forward
from utils.plots import correlated as plots_correlated
from utils.toy import ToyConfig, TrainConfig, fit, init_toy

# %% [markdown]
# ## 1 · Features that go together, and features that avoid each other
#
# We want to change *one* thing: who fires with whom. Everything else must stay as in 3.1.1. Each
# single feature is still on with probability $p$. When it is on, its strength is still uniform on
# $[0, 1]$ and says nothing about any other strength. If you looked at one column of the data, you
# could not tell which kind it is.
#
# **A correlated pair** shares one coin. With probability $p$ both features are on, else both are
# off. Their *strengths* are separate draws.
#
# **An anticorrelated pair** never fires together. Each feature is on with probability $p$, and
# these two events cannot overlap:
#
# $$P(\text{first on}) = P(\text{second on}) = p, \qquad P(\text{both on}) = 0 .$$
#
# So one of the two is on with probability $2p$, which is only possible for $p \le \tfrac12$.

# %% [markdown] tags=["task"]
# Draw a batch of correlated pairs.
#
# - `pair` is the number of pairs. The result has `2 * pair` features; pair $k$ is the features $2k$
#   and $2k + 1$.
# - `probability` is a number, or a tensor that broadcasts to `(inst, pair)`.
# - An active feature is uniform on $[0, 1]$, independent of everything else, its partner included.
# - Every random number comes from `gen`, and the result lives on `gen.device`. The order of draws
#   is free.


# %% tags=["exercise"] exercise="3.1.2.a" title="Correlated pairs" difficulty=2 importance=4 minutes=10 skill="shared coins, separate strengths"
def correlated_pairs(
    batch: int,
    inst: int,
    pair: int,
    probability: Float[Tensor, "#inst #pair"] | float,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst feature"]:
    """Draw pairs (2k, 2k + 1) that are on together with probability p, else both 0.

    Active features are uniform on [0, 1], independent also within a pair (TMS).
    """
    coin = torch.rand(batch, inst, pair, generator=gen, device=gen.device) < probability
    magnitude = torch.rand(batch, inst, 2 * pair, generator=gen, device=gen.device)
    return torch.where(coin.repeat_interleave(2, dim=-1), magnitude, 0.0)


# %% [markdown] tags=["hint"]
# How many coins does a row need, and how many strengths? They are not the same number.

# %% [markdown] tags=["hint"]
# Draw one coin for each pair, shape `(batch, inst, pair)`, and one strength for each feature. Which
# of `repeat`, `repeat_interleave`, `cat` puts the copies of one coin *next to each other*?

# %% [markdown] tags=["hint"]
# `coin.repeat_interleave(2, dim=-1)` turns `a b c` into `a a b b c c`. Then `torch.where`.

# %% [markdown] tags=["task"]
# Draw a batch of anticorrelated pairs. Layout, `probability` and strengths are as before.
#
# - Each of the two features is on with probability exactly $p$; the two are never on together.
# - If any probability is above $\tfrac12$, raise a `ValueError` whose text contains the largest
#   one, with two decimals or more.


# %% tags=["exercise"] exercise="3.1.2.b" title="Anticorrelated pairs" difficulty=3 importance=4 minutes=15 skill="disjoint events with exact probabilities"
def anticorrelated_pairs(
    batch: int,
    inst: int,
    pair: int,
    probability: Float[Tensor, "#inst #pair"] | float,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst feature"]:
    """Draw pairs (2k, 2k + 1) of which at most one is on, each with probability p <= 1/2.

    Active features are uniform on [0, 1]. A p above 1/2 is a ValueError that names the largest.
    """
    largest = float(torch.as_tensor(probability).max())
    if largest > 0.5:
        raise ValueError(f"p = {largest} is above 1/2: two features cannot both avoid each other")
    u = torch.rand(batch, inst, pair, generator=gen, device=gen.device)
    first, second = u < probability, u > 1 - probability
    magnitude = torch.rand(batch, inst, 2 * pair, generator=gen, device=gen.device)
    return torch.where(torch.stack([first, second], dim=-1).flatten(2), magnitude, 0.0)


# %% [markdown] tags=["hint"]
# A uniform number $u$ lies in an interval of length $p$ with probability $p$. You need two
# intervals in $[0, 1]$, each of length $p$. What must hold so that both events never happen
# together?

# %% [markdown] tags=["hint"]
# One number per pair is enough: `u < p` for the first feature, and an interval at the other end for
# the second. Equally good: the pair fires with probability $2p$, and then a fair coin chooses who.

# %% [markdown] tags=["hint"]
# `torch.stack([first, second], dim=-1).flatten(2)` lays two masks of shape `(batch, inst, pair)`
# side by side. For the error: `float(torch.as_tensor(probability).max())` works for numbers and
# tensors, and so does an f-string.

# %% [markdown]
# ### Who fires with whom?
#
# You now have three patterns: correlated, anticorrelated, and the uncorrelated `sparse_features` of
# 3.1.1. How would you tell from the data which one you hold? Each single feature looks the same in
# all three. You must look at two features at once.
#
# Let $a_i = 1$ where feature $i$ is on and $0$ where it is off. The **firing correlation** is
# Pearson's correlation of these indicators:
#
# $$\varphi_{ij} = \frac{\overline{a_i a_j} - \overline{a_i}\;\overline{a_j}}{s_i\, s_j}, \qquad
#   s_i^2 = \overline{a_i^2} - \overline{a_i}^2 = \overline{a_i}\,(1 - \overline{a_i}),$$
#
# where the bar is the mean over the batch. For our patterns its expected value is known:
#
# | pattern | $P(\text{both on})$ | $\varphi$ |
# | --- | --- | --- |
# | correlated | $p$ | $1$ |
# | uncorrelated | $p^2$ | $0$ |
# | anticorrelated | $0$ | $-\dfrac{p^2}{p(1-p)} = -\dfrac{p}{1-p}$ |
#
# Look at the last line. Rare features can hardly be anticorrelated: at $p = 0.05$ it is $-0.05$.
# Two rare features that never meet look almost like two rare features that seldom meet. This will
# matter.

# %% [markdown] tags=["task"]
# Return $\varphi$ for all pairs of features, shape `(inst, feature, feature)`.
#
# - Use the on/off indicator `x > 0`, not the strengths. Keep the dtype of `x`.
# - A feature that is always on or always off has $s_i = 0$. All its entries are 0, its diagonal
#   too. In a batch of one row that is every feature.


# %% tags=["exercise"] exercise="3.1.2.c" title="Firing correlation" difficulty=3 importance=4 minutes=15 skill="correlation from indicators"
def firing_correlation(
    x: Float[Tensor, "batch inst feature"],
) -> Float[Tensor, "inst feature feature"]:
    """Pearson correlation, over the batch, of the indicators x > 0; 0 for constant features."""
    on = (x > 0).to(x.dtype)
    centred = on - on.mean(dim=0)
    covariance = einsum(centred, centred, "batch inst i, batch inst j -> inst i j") / len(x)
    std = centred.square().mean(dim=0).sqrt()
    scale = einsum(std, std, "inst i, inst j -> inst i j")
    return covariance / scale.clamp(min=1e-12)  # where scale is 0, so is the covariance


# %% [markdown] tags=["hint"]
# Three steps: indicators, minus their mean, then a product of two features averaged over the batch.
# What has to be divided out at the end?

# %% [markdown] tags=["hint"]
# `einsum(c, c, "batch inst i, batch inst j -> inst i j")` sums over the batch. Use the same
# divisor, the batch size, for covariance and variance: then the diagonal is exactly 1.

# %% [markdown] tags=["hint"]
# Where $s_i = 0$, the centred column is all zeros, and so is the covariance. Then `0 / tiny` is 0,
# and `0 / 0` is NaN: `.clamp(min=1e-12)`.

# %% [markdown] tags=["task"]
# Now one batch that holds all three patterns: first the correlated pairs, then the anticorrelated
# pairs, then the uncorrelated rest.
#
# - `correlated` and `anticorrelated` count *pairs*, `uncorrelated` counts features. Any of them may
#   be 0.
# - `probability` is a number or has shape `(inst, 1)`: all features of an instance share it.
# - Use your two functions and `sparse_features`, all with the same `gen`.


# %% tags=["exercise"] exercise="3.1.2.d" title="One batch with all three" difficulty=1 importance=3 minutes=5 skill="composing samplers"
def mixed_features(
    batch: int,
    inst: int,
    correlated: int,
    anticorrelated: int,
    uncorrelated: int,
    probability: Float[Tensor, "#inst 1"] | float,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst feature"]:
    """Correlated pairs, anticorrelated pairs and independent features, in this order."""
    together = correlated_pairs(batch, inst, correlated, probability, gen)
    apart = anticorrelated_pairs(batch, inst, anticorrelated, probability, gen)
    rest = sparse_features(
        batch=batch, inst=inst, feature=uncorrelated, probability=probability, gen=gen
    )
    return torch.cat([together, apart, rest], dim=-1)


# %% [markdown] tags=["hint"]
# Three tensors with the same `batch` and `inst`. Along which axis do they differ?

# %% [markdown] tags=["hint"]
# `torch.cat([...], dim=-1)`. Pass `gen` itself to each call: a generator moves on as it is used, so
# the three parts get different numbers.

# %% [markdown]
# Look at the data before you train on it: two correlated pairs, two anticorrelated pairs, two
# others. Can you say what each block of the table should be?

# %% tags=["demo"]
if __name__ == "__main__":
    x = mixed_features(20_000, 1, 2, 2, 2, 0.25, torch.Generator().manual_seed(0))
    blocks = {"correlated": 4, "anticorrelated": 4, "rest": 2}
    title = "firing correlation at p = 0.25"
    plots_correlated.grouped_matrices(firing_correlation(x), blocks, [title], "φ").show()
    print("on:", [round(share, 3) for share in (x > 0).float().mean(dim=(0, 1)).tolist()])
    print("expected for anticorrelated partners: -p / (1 - p) =", round(-0.25 / 0.75, 3))

# %% [markdown]
# Every feature is on in a quarter of the rows, and each single strength is uniform. All the
# difference is in the off-diagonal entries: $1$, $-\tfrac13$, and $0$ up to chance.

# %% [markdown]
# ## 2 · How are two directions arranged?
#
# Two numbers describe how a model treats a pair: are both features represented, and what is the
# cosine of their directions?
#
# $$\cos_k = \frac{W_{2k} \cdot W_{2k+1}}{\|W_{2k}\|\,\|W_{2k+1}\|} .$$

# %% [markdown] tags=["task"]
# Return the cosine between the two directions of each pair, shape `(inst, pair)`. If one of the two
# has norm 0, there is no angle: return 0 there, not NaN. Short directions have an angle, down to
# norms of $10^{-4}$ at least.


# %% tags=["exercise"] exercise="3.1.2.e1" title="Cosine of a pair" difficulty=2 importance=4 minutes=10 skill="strided slices"
def pair_cosines(W: Float[Tensor, "inst hidden feature"]) -> Float[Tensor, "inst pair"]:
    """Cosine of the directions W_2k and W_2k+1; 0 where one of them is zero."""
    first, second = W[..., 0::2], W[..., 1::2]
    lengths = first.norm(dim=1) * second.norm(dim=1)
    return (first * second).sum(dim=1) / lengths.clamp(min=1e-8)


# %% [markdown] tags=["hint"]
# Which columns of `W` are the first features of the pairs, and which the second? Along which axis
# is the dot product?

# %% [markdown] tags=["hint"]
# `W[..., 0::2]` takes every second column, from 0 on. Clamp the product of the lengths before you
# divide.

# %% [markdown] tags=["task"]
# Name the arrangement of each pair with a code:
#
# | code | name | rule |
# | --- | --- | --- |
# | 0 | missing | one of the two norms is not above `norm_above` |
# | 1 | opposite | else, the cosine is within `tolerance` of $-1$ |
# | 2 | orthogonal | else, within `tolerance` of $0$ |
# | 3 | same direction | else, within `tolerance` of $1$ |
# | 4 | in between | else |
#
# "Within" means a distance strictly below `tolerance`. With a large tolerance two rules may fit:
# "else" says that the first one counts. Return integers (`torch.int64`).


# %% tags=["exercise"] exercise="3.1.2.e2" title="Name the arrangement" difficulty=2 importance=3 minutes=10 skill="rules instead of looking"
def pair_arrangement(
    W: Float[Tensor, "inst hidden feature"], norm_above: float = 0.5, tolerance: float = 0.25
) -> Int[Tensor, "inst pair"]:
    """Code 0 missing, 1 opposite, 2 orthogonal, 3 same direction, 4 in between, for each pair."""
    cosines, norms = pair_cosines(W), W.norm(dim=1)
    code = torch.full_like(cosines, 4, dtype=torch.int64)
    for name, target in [(3, 1.0), (2, 0.0), (1, -1.0)]:  # an earlier rule overrules a later one
        code[(cosines - target).abs() < tolerance] = name
    represented = (norms[:, 0::2] > norm_above) & (norms[:, 1::2] > norm_above)
    return torch.where(represented, code, 0)


# %% [markdown] tags=["hint"]
# Which rule overrules all others? What is left when no rule applies?

# %% [markdown] tags=["hint"]
# Start with a tensor full of 4. For each of the targets $1, 0, -1$, in this order, overwrite where
# `(cosines - target).abs()` is small enough: what comes later wins. The norm rule comes last.

# %% [markdown] tags=["hint"]
# `norms = W.norm(dim=1)` has shape `(inst, feature)`: slice it with `0::2` and `1::2`, both must be
# above.

# %% [markdown]
# ## 3 · Two pairs in a plane
#
# Four features, two dimensions. In 3.1.1, at $p = 0.25$, four features formed two antipodal pairs
# at a right angle. Four arrows can be paired off in three ways. Where features are independent and
# equal, it does not matter who stands opposite to whom.
#
# Now they are two *pairs*. Does it matter now? Each of the next two questions has its own data.

# %% [markdown] tags=["task"]
# **Two correlated pairs**, $p = 0.15$. How does the best model arrange the two partners of a pair?
#
# - `"orthogonal"`: at 90°
# - `"opposite"`: at 180°
# - `"same direction"`: at 0°

# %% tags=["predict"] exercise="3.1.2.P1" title="Correlated partners" difficulty=2 importance=4 minutes=2 skill="predicting" choices=["orthogonal", "opposite", "same direction"]
predict_correlated = "orthogonal"

# %% [markdown] tags=["task"]
# **Two anticorrelated pairs**, $p = 0.15$. The same three options.

# %% tags=["predict"] exercise="3.1.2.P2" title="Anticorrelated partners" difficulty=2 importance=4 minutes=2 skill="predicting" choices=["orthogonal", "opposite", "same direction"]
predict_anticorrelated = "opposite"

# %% [markdown]
# ### Training on any data
#
# `train_on` trains a stack of models on batches from any sampler. It uses `fit` from
# `utils/toy.py`: the loop of 3.1.1 with autograd and Adam. All importances are 1. It also returns
# the loss of every model on fresh rows.
#
# Two choices need a word.
#
# - **Small starts.** The weights start at a tenth of the size that `init_toy` gives them. Far from
#   the origin a feature that stands in the wrong place can only leave by passing a barrier. Near
#   the origin it has not chosen yet.
# - **Many starts.** A single run may still get stuck. We train many, look at *all* of them, and
#   call the one with the lowest loss the best.

# %% tags=["given"]
Sampler = Callable[[int, torch.Generator], Tensor]  # (rows, generator) -> "batch inst feature"
START = 0.1  # times the usual size: see above


def train_on(
    sample: Sampler,
    cfg: ToyConfig,
    training: TrainConfig,
    gen: torch.Generator,
    scale: float | Float[Tensor, "inst 1 1"] = START,
) -> tuple[
    Float[Tensor, "inst hidden feature"], Float[Tensor, "inst feature"], Float[Tensor, " inst"]
]:
    """Train on `sample(rows, gen)`; return W, b and every model's loss on 65,536 fresh rows."""

    def loss(params: dict[str, Tensor], x: Tensor) -> Float[Tensor, " inst"]:
        return (toy_forward(x, params["W"], params["b"]) - x).square().mean(dim=(0, 2))

    W, b = init_toy(cfg, gen, gen.device)
    start = {"W": scale * W, "b": b}
    after = fit(start, loss, lambda g: sample(training.batch, g), training, gen).params
    with torch.no_grad():
        rows = torch.stack([loss(after, sample(4096, gen)) for _ in range(16)])
    return after["W"], after["b"], rows.mean(dim=0)


# %% [markdown] tags=["task"]
# Several starts of several models are instances of one run: start `s` of model `k` is instance
# `s * n_models + k`. Return, for each model, the *instance* with the lowest loss.
#
# - `n_starts` divides the number of instances. Of equal losses the first start counts.
# - Return integers (`torch.int64`) on the device of `loss`.


# %% tags=["exercise"] exercise="3.1.2.e3" title="The best start" difficulty=2 importance=3 minutes=5 skill="index arithmetic"
def best_starts(loss: Float[Tensor, " inst"], n_starts: int) -> Int[Tensor, " model"]:
    """Index of each model's best start; start s of model k is instance s * n_models + k."""
    table = loss.reshape(n_starts, -1)
    n_models = table.shape[1]
    return table.argmin(dim=0) * n_models + torch.arange(n_models, device=loss.device)


# %% [markdown] tags=["hint"]
# Write the losses as a table with one row per start. What does a column hold?

# %% [markdown] tags=["hint"]
# `loss.reshape(n_starts, -1).argmin(dim=0)` gives the best *start* of each model. Turn start and
# model into the number of the instance.

# %% [markdown]
# We train 64 starts of each kind, and 64 on independent features as a control: their "partners" are
# partners in name only. Each control pair is opposite by chance about once in three.

# %% tags=["demo"] reveals=["predict_correlated", "predict_anticorrelated"] experiment="pairs_in_plane" results=["W_plane", "loss_plane"]
if __name__ == "__main__":
    gen, kinds = torch.Generator().manual_seed(0), {}
    kinds["correlated"] = lambda rows, g: correlated_pairs(rows, 64, 2, 0.15, g)
    kinds["independent"] = lambda rows, g: sparse_features(
        batch=rows, inst=64, feature=4, probability=0.15, gen=g
    )
    kinds["anticorrelated"] = lambda rows, g: anticorrelated_pairs(rows, 64, 2, 0.15, g)
    W_plane, loss_plane = {}, {}
    for kind, sample in kinds.items():
        training = TrainConfig(2000, 256, 1e-2, "cosine", label=f"{kind}, 64 starts")
        W_plane[kind], _, loss_plane[kind] = train_on(sample, ToyConfig(64, 4, 2), training, gen)
    shown = [(kind, int(loss_plane[kind].argmin())) for kind in kinds]
    shown.append(("anticorrelated", int(loss_plane["anticorrelated"].argmax())))
    titles = [f"{kind}, best" for kind, _ in shown[:3]] + ["anticorrelated, worst"]
    best_and_worst = torch.stack([W_plane[kind][i] for kind, i in shown])
    plots_correlated.pair_arrows(best_and_worst, titles).show()
    cosines = {kind: pair_cosines(W).flatten() for kind, W in W_plane.items()}
    plots_correlated.cosine_histograms(cosines, title="all 64 starts").show()
    for kind, W in W_plane.items():
        codes = pair_arrangement(W)
        shares = [(codes == code).float().mean() for code in (1, 2, 3)]
        words = "opposite {:.0%}, orthogonal {:.0%}, same direction {:.0%}".format(*shares)
        print(f"{kind:15} {words}")

# %% [markdown]
# **What you see.**
#
# - *Correlated.* Partners stand at a right angle, in nearly all pairs (97 to 100 %, six seeds). Each
#   feature shares its line with a *stranger*, a feature of the other pair. Strangers meet with
#   probability $p^2$; partners would meet with $p$.
# - *Independent.* Everything is equally good, so chance decides: about a third of the "pairs" are
#   opposite.
# - *Anticorrelated.* In the best model partners are opposite, and its loss is zero to six digits.
#   The two never meet, so there is nothing to disturb. Four features fit into two dimensions
#   without any loss.
#
# **What the first picture does not show.** Many anticorrelated pairs did *not* end opposite; you
# see one in the fourth panel and all of them in the histogram. Their loss is 0.00374, the
# $p^2/6 = 0.00375$ of strangers who share a line (part 5 derives it). They are stuck: to change
# partners, two arrows must pass each other, and on the way they would point in similar directions.
# Over six seeds, 64 to 80 % of the single starts found the better arrangement, against 21 to 35 %
# of the control. The best of *eight* starts was right every time.
#
# So be careful with the words. That models "prefer" opposite directions (TMS) is a statement about
# the lowest loss. It is not a statement about every training run.
#
# %% [markdown]
# ### Why do small starts help?
#
# Near $W = 0$ the model is almost linear. The bias learns the mean, and then $W$ grows fastest along
# the direction of largest variance, as in PCA. For the two features of a pair, two directions
# compete: the sum $(x_1 + x_2)/\sqrt2$ and the difference $(x_1 - x_2)/\sqrt2$. Which one has more
# variance?

# %% [markdown] tags=["task"]
# Return both variances, stacked on a new first axis: first the sum, then the difference.
#
# Each feature is on with probability `p`, both are on with probability `both`; strengths are as
# ever. The two tensors have the same shape, any shape.


# %% tags=["exercise"] exercise="3.1.2.e4" title="Sum against difference" difficulty=2 importance=3 minutes=10 skill="variance and covariance"
def pair_variances(
    p: Float[Tensor, "*grid"], both: Float[Tensor, "*grid"]
) -> Float[Tensor, "direction *grid"]:
    """Variance of (x_1 + x_2) / sqrt 2 and of (x_1 - x_2) / sqrt 2, for a pair as above."""
    variance = p / 3 - p**2 / 4
    covariance = both / 4 - p**2 / 4
    return torch.stack([variance + covariance, variance - covariance])


# %% [markdown] tags=["hint"]
# How do the two variances follow from the variance $V$ of one feature and the covariance of the
# two? What does the factor $1/\sqrt2$ do?

# %% [markdown] tags=["hint"]
# They are $V \pm \mathrm{Cov}$. $V$ you know from 3.1.1. For the covariance,
# $\mathbb E[x_1 x_2]$: how often are both on, and what is the mean product of their strengths then?

# %% [markdown]
# An anticorrelated pair has $\mathrm{Cov} = -p^2/4$, so the difference grows faster:
# $W_1 \approx -W_2$, which is the right answer. But not at once: variances count only when the
# biases have learned the means. Until then the second moments count, and
# $\mathbb E[(x_1 + x_2)^2] = \mathbb E[(x_1 - x_2)^2]$ where the two are never on together. At
# $p = 0.4$, small starts have grown along both alike after 60 steps, and along the difference after
# 200; a correlated pair follows its sum from the first steps on. Compared with $V$ the advantage is
# about $\tfrac32 p$, so it is feeble when features are rare: our explanation of why many starts are
# needed there, not tested beyond this.

# %% [markdown]
# ### When there is no room
#
# Two pairs just fit: four arrows, a right angle inside each pair. Three correlated pairs in a plane
# do not fit. Six arrows cannot be orthogonal to their partners *and* use both directions of each
# line. What gives way?

# %% [markdown] tags=["task"]
# **Three correlated pairs** in a plane, very sparse: $p = 0.01$. Where do the two partners of a
# pair stand in the best model?
#
# - `"opposite"`: partners give way completely, to 180°
# - `"orthogonal"`: one pair is dropped, and the others keep their right angles
# - `"side by side"`: all six are represented, partners are neighbours, at well below 90°

# %% tags=["predict"] exercise="3.1.2.P3" title="Three correlated pairs" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["opposite", "orthogonal", "side by side"]
predict_crowded = "side by side"

# %% tags=["demo"] reveals=["predict_crowded"] experiment="three_pairs" results=["W_three", "p_three"]
if __name__ == "__main__":
    p_three, n_starts = torch.tensor([0.01, 0.03, 0.1]), 24
    tiled = p_three.repeat(n_starts)[:, None]
    W, _, loss = train_on(
        lambda rows, g: correlated_pairs(rows, len(tiled), 3, tiled, g),
        ToyConfig(len(tiled), 6, 2),
        TrainConfig(2500, 512, 1e-2, "cosine", label="three correlated pairs"),
        torch.Generator().manual_seed(0),
    )
    W_three = W[best_starts(loss, n_starts)]
    titles = [f"p = {p:g}" for p in p_three.tolist()]
    plots_correlated.pair_arrows(W_three, titles).show()
    degrees = pair_cosines(W_three).clamp(-1, 1).acos().rad2deg()
    for title, angles in zip(titles, degrees.sort(-1).values.tolist(), strict=True):
        print(f"{title}: angles within the pairs", [round(angle) for angle in angles])

# %% [markdown]
# **What you see.** At $p = 0.01$ the six arrows make a slightly uneven hexagon, and partners are
# *neighbours*, at 65°. Nobody stands opposite to a partner. TMS reports the same: correlated
# features that cannot be orthogonal go side by side.
#
# Why not farther apart? A reason: within a pair, a positive product $W_i \cdot W_j$ lets the
# partner leak in, but the partner is on anyway: the leak is partly right. A negative product would
# *remove* something that should be there. So correlated features tolerate positive interference.
#
# At $p = 0.1$ something new happens: a pentagon, in which one pair has merged into a single
# direction. Its two arrows have length $0.71 \approx 1/\sqrt2$. Keep that number in mind for part
# 5.

# %% [markdown]
# ### All three kinds in one model
#
# Now three correlated pairs, three anticorrelated pairs and four independent features: 16 features
# in 8 dimensions, $p = 0.15$. Who will share a line with whom?

# %% tags=["demo"] experiment="mixed_model" results=["W_mixed"]
if __name__ == "__main__":
    W, _, loss = train_on(
        lambda rows, g: mixed_features(rows, 32, 3, 3, 4, 0.15, g),
        ToyConfig(32, 16, 8),
        TrainConfig(2500, 256, 1e-2, "cosine", label="all kinds in one model"),
        torch.Generator().manual_seed(0),
    )
    W_mixed = W[best_starts(loss, 32)]
    gram = einsum(W_mixed, W_mixed, "inst hidden i, inst hidden j -> inst i j")
    blocks = {"correlated": 6, "anticorrelated": 6, "rest": 4}
    plots_correlated.grouped_matrices(gram, blocks, ["the best of 32 starts"]).show()
    print("cosines in the pairs:", [round(c, 2) for c in pair_cosines(W_mixed)[0, :6].tolist()])
    codes = pair_arrangement(W)
    print(f"all starts, correlated orthogonal: {(codes[:, :3] == 2).float().mean():.0%}")
    print(f"all starts, anticorrelated opposite: {(codes[:, 3:6] == 1).float().mean():.0%}")

# %% [markdown]
# **What you see.** Each anticorrelated pair has a line for itself, so six features take three
# dimensions and cost nothing. The other ten features share the remaining five lines, two strangers
# on each. A correlated feature stands opposite to one of another pair or of the rest, and never
# opposite to its partner.
#
# This is the best of 32 starts. In *all* starts, over four seeds, every correlated pair was
# orthogonal; 55 to 68 % of the anticorrelated pairs were opposite.

# %% [markdown]
# ## 4 · Sets of features
#
# Correlations in the world come in groups. Texts about cooking have their features, and texts about
# law have theirs. A group is active or it is not; when it is, *some* of its features are on. We
# model this with **sets**: features $sk, \dots, sk + s - 1$ form set $k$ of size $s$.
#
# 1. A set is on with probability $P_\text{set}$, independently of the other sets.
# 2. In a set that is on, each feature is on with probability $w$ ("within"), independently of the
#    others.
#
# A feature's own probability is $p = P_\text{set}\, w$. We want to choose $p$ and $w$, so
# $P_\text{set} = p / w$, and $w \ge p$ is needed. Two extremes: for $w = p$ the set is always on,
# and the features are independent. For $w = 1$ and $s = 2$ you have the correlated pairs of part 1.

# %% [markdown] tags=["task"]
# Draw a batch of correlated sets.
#
# - `n_sets` sets of `size` features each; set $k$ is the features `k * size` to
#   `(k + 1) * size - 1`.
# - Each feature is on with probability exactly `probability`. In a set that is on, its features are
#   on with probability `within`, independently. Both are plain numbers here.
# - If `within` is below `probability`, raise a `ValueError` whose text contains `within`'s value,
#   with two decimals or more.
# - Strengths as ever: uniform on $[0, 1]$, independent. Every random number comes from `gen`.


# %% tags=["exercise"] exercise="3.1.2.f1" title="Sets of correlated features" difficulty=3 importance=4 minutes=15 skill="a hierarchy of coins"
def correlated_sets(
    batch: int,
    inst: int,
    n_sets: int,
    size: int,
    probability: float,
    within: float,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst feature"]:
    """Draw sets of `size` features: a set is on with probability p / within, and then each of its
    features with probability `within`; active features are uniform on [0, 1].

    Raises ValueError, naming `within`, if it is below `probability`.
    """
    if within < probability:
        raise ValueError(
            f"within = {within} is below p = {probability}: sets would be on too often"
        )
    shape = (batch, inst, n_sets, size)
    set_on = torch.rand(*shape[:3], 1, generator=gen, device=gen.device) < probability / within
    feature_on = torch.rand(shape, generator=gen, device=gen.device) < within
    magnitude = torch.rand(shape, generator=gen, device=gen.device)
    return torch.where(set_on & feature_on, magnitude, 0.0).flatten(2)


# %% [markdown] tags=["hint"]
# There are three kinds of random numbers: one for each set, and two for each feature. What are
# their shapes?

# %% [markdown] tags=["hint"]
# Work in shape `(batch, inst, n_sets, size)`. The coin of a set has shape
# `(batch, inst, n_sets, 1)` and broadcasts.

# %% [markdown] tags=["hint"]
# A feature is on if its set is on *and* its own coin says so: `set_on & feature_on`. At the end
# `.flatten(2)` joins the last two axes.

# %% [markdown]
# ### Interference, split in two
#
# In 3.1.1 you measured the interference $\sum_{j \ne i} (\hat W_i \cdot W_j)^2$ of feature $i$.
# With sets, the sum has two parts: the other features of the *same* set, and the features of all
# *other* sets.

# %% [markdown] tags=["task"]
# Return both parts for every feature, `(within, between)`, each of shape `(inst, feature)`. Sets
# are blocks of `size` neighbours.
#
# As in 3.1.1, only $\hat W_i$ has length 1. A feature of norm 0 has interference 0 in both parts; a
# norm of $10^{-6}$ is not 0.


# %% tags=["exercise"] exercise="3.1.2.f2" title="Within and between" difficulty=3 importance=4 minutes=15 skill="block masks"
def set_interference(
    W: Float[Tensor, "inst hidden feature"], size: int
) -> tuple[Float[Tensor, "inst feature"], Float[Tensor, "inst feature"]]:
    """Sum of (W_hat_i . W_j)^2 over j != i in the set of i, and over j in other sets."""
    W_hat = W / W.norm(dim=1, keepdim=True).clamp(min=1e-8)  # a dropped feature has norm 0
    overlap = einsum(W_hat, W, "inst hidden i, inst hidden j -> inst i j").square()
    which = torch.arange(W.shape[-1], device=W.device)
    same_set = which[:, None] // size == which // size
    itself = which[:, None] == which
    within = overlap.masked_fill(~same_set | itself, 0).sum(dim=-1)
    return within, overlap.masked_fill(same_set, 0).sum(dim=-1)


# %% [markdown] tags=["hint"]
# Build the matrix of all $(\hat W_i \cdot W_j)^2$ once. Then you need two masks of shape
# `(feature, feature)`. Which entries belong to neither part?

# %% [markdown] tags=["hint"]
# Feature $i$ is in set `i // size`. Compare `torch.arange(n)[:, None] // size` with
# `torch.arange(n) // size`.

# %% [markdown] tags=["hint"]
# `overlap.masked_fill(mask, 0)` removes what you don't want; then sum over the last axis, $j$.

# %% [markdown]
# Two sets of ten features, ten dimensions, $p = 0.05$. Overall there are twice as many features as
# dimensions, so interference cannot be avoided. The model may choose where to put it. We compare
# two kinds of data:
#
# - *sets*: $w = 0.5$. A set is on in a tenth of the rows, and then about five of its features are.
# - *independent*: $w = p$. The blocks exist on paper only.


# %% tags=["given"]
def two_sets(within: float) -> Sampler:
    """Sampler of two sets of ten features for eight models; p is 0.05 whatever `within` is."""
    return lambda rows, g: correlated_sets(rows, 8, 2, 10, 0.05, within, g)


# %% [markdown] tags=["task"]
# With *sets*: how does the interference per partner within a set compare with that between the sets?
#
# - `"larger"`: within a set it is more than twice as large
# - `"equal"`: the two agree within a factor of two
# - `"smaller"`: within a set it is 2 to 10 times smaller
# - `"much smaller"`: more than 10 times smaller

# %% tags=["predict"] exercise="3.1.2.P4" title="Where the interference goes" difficulty=2 importance=4 minutes=2 skill="predicting" choices=["larger", "equal", "smaller", "much smaller"]
predict_interference = "much smaller"

# %% tags=["demo"] reveals=["predict_interference"] experiment="local_bases" results=["W_sets", "W_loose"]
if __name__ == "__main__":
    found = {}
    for name, within in {"sets (w = 0.5)": 0.5, "independent (w = p)": 0.05}.items():
        found[name], _, _ = train_on(
            two_sets(within),
            ToyConfig(8, 20, 10),
            TrainConfig(2500, 256, 1e-2, "cosine", label=name),
            torch.Generator().manual_seed(0),
        )
    W_sets, W_loose = found.values()
    pictured = torch.stack([W[0] for W in found.values()])
    gram = einsum(pictured, pictured, "inst hidden i, inst hidden j -> inst i j")
    plots_correlated.grouped_matrices(gram, {"set 0": 10, "set 1": 10}, list(found)).show()
    for name, W in found.items():
        own, other = set_interference(W, 10)
        line = f"within {own.mean() / 9:.4f}, between {other.mean() / 10:.4f}"
        print(f"{name:20} interference per partner, mean of 8 models: {line}")

# %% [markdown]
# **What you see.** With sets, $W^\top W$ is the identity inside each block: each set is an
# orthonormal basis of *the same* ten dimensions. All the interference is between the two bases.
# Each feature stands opposite to exactly one stranger, a feature of the other set. Without sets,
# a feature may as well stand opposite to one of its own block.
#
# Why is it 0.1 per partner with sets? In an orthonormal basis, the squared coordinates of a unit
# vector add up to 1. So each feature has an interference of 1 with the ten of the other set,
# however the two bases are turned against each other. The model can only choose how to spread it.
# It puts all of it on one stranger, with a negative sign: the cheapest kind, as you know from
# 3.1.1.
#
# TMS calls this a **local almost-orthogonal basis**. Globally the features are crowded. But while
# only one set is on, the model works as if it had room for everything. A sum over all features
# hides this; you had to look inside the blocks.
#
# **What the picture does not show.** Two sets of ten in ten dimensions is a friendly size: each set
# can have a *perfect* basis. With three sets of eight in eight dimensions we measured 0.018 within
# a set and 0.12 between the sets. Then "almost" is the right word.

# %% [markdown]
# ## 5 · One direction for two features?
#
# Correlated partners want a right angle. That takes room. With less room there is another way out.
# Two features that always come together are, in a sense, almost *one* feature. The model can keep
# their sum and forget the difference:
#
# $$W_{2k} = W_{2k+1} = \tfrac{1}{\sqrt2}\, v, \qquad
#   h = \tfrac{1}{\sqrt2}(x_{2k} + x_{2k+1})\, v, \qquad
#   \hat x_{2k} = \hat x_{2k+1} = \tfrac12 (x_{2k} + x_{2k+1}) .$$
#
# This is what principal component analysis (PCA) would do: $(1, 1)/\sqrt2$ is the direction of
# largest variance of a positively correlated pair. No ReLU is needed. TMS observed that models
# collapse correlated features in this way, when there is not enough room. We want to know *when*.
#
# ### A dial from "never together" to "always together"
#
# Until now partners were together always, never, or by chance. A dial $c$ covers all of it: the
# probability that the partner is on, given that a feature is on.
#
# | $c$ | pattern | $P(\text{both on}) = pc$ |
# | --- | --- | --- |
# | $0$ | anticorrelated | $0$ |
# | $p$ | independent | $p^2$ |
# | $1$ | correlated | $p$ |
#
# The probability that at least one is on is $p + p - pc = p\,(2 - c)$. It cannot exceed 1. For
# $c = 0$ this is the old limit $p \le \tfrac12$.

# %% [markdown] tags=["task"]
# Draw pairs for any $c$.
#
# - Each feature is on with probability exactly $p$, both are on with probability exactly $pc$.
#   Layout and strengths as before.
# - `probability` and `together` ($c$) are numbers, or tensors that broadcast to `(inst, pair)`.
# - If $p\,(2 - c) > 1$ anywhere, raise a `ValueError` whose text contains the largest $p\,(2 - c)$,
#   with two decimals or more. A rounding error above 1, up to $10^{-6}$, is none.


# %% tags=["exercise"] exercise="3.1.2.g1" title="A dial for togetherness" difficulty=4 importance=4 minutes=20 skill="joint probabilities from one uniform number"
def coupled_pairs(
    batch: int,
    inst: int,
    pair: int,
    probability: Float[Tensor, "#inst #pair"] | float,
    together: Float[Tensor, "#inst #pair"] | float,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst feature"]:
    """Draw pairs (2k, 2k + 1): each feature on with probability p, both with p c, c = `together`.

    Active features are uniform on [0, 1]. Raises ValueError if P(at least one) = p (2 - c) > 1.
    """
    either = torch.as_tensor(probability * (2 - together))
    if either.max() > 1 + 1e-6:
        raise ValueError(f"p (2 - c) = {float(either.max())} is above 1: it is a probability")
    u = torch.rand(batch, inst, pair, generator=gen, device=gen.device)
    apart = probability * (1 - together)  # P(first on, second off)
    first, second = u < probability, (u >= apart) & (u < apart + probability)
    magnitude = torch.rand(batch, inst, 2 * pair, generator=gen, device=gen.device)
    return torch.where(torch.stack([first, second], dim=-1).flatten(2), magnitude, 0.0)


# %% [markdown] tags=["hint"]
# A pair has four cases: only the first, both, only the second, none. Write down their four
# probabilities. They must sum to 1.

# %% [markdown] tags=["hint"]
# Lay the four cases as intervals on $[0, 1]$, in a good order, and drop one uniform number $u$ on
# it. Which order lets each feature be on in *one* interval?

# %% [markdown] tags=["hint"]
# Order: only first $[0, p(1-c))$, both $[p(1-c), p)$, only second $[p, p(2-c))$, none. So the first
# is on for $u < p$, and the second for $p(1-c) \le u < p(2-c)$.

# %% [markdown]
# ### How PCA-like is a pair?
#
# Rotate the two columns of a pair into a sum and a difference, $S = (W_{2k} + W_{2k+1})/\sqrt2$ and
# $D = (W_{2k} - W_{2k+1})/\sqrt2$. The total length stays:
# $\|S\|^2 + \|D\|^2 = \|W_{2k}\|^2 + \|W_{2k+1}\|^2$. The **sum share** says how much of it is sum:
#
# $$\text{share}_k = \frac{\|S\|^2}{\|S\|^2 + \|D\|^2} .$$
#
# It is $1$ when only the sum is represented (PCA-like), $\tfrac12$ when partners are orthogonal or
# only one of them is represented, and $0$ when they are equal and opposite. The cosine alone cannot
# do this: it forgets the lengths.

# %% [markdown] tags=["task"]
# Return the sum share of each pair, shape `(inst, pair)`; 0 where both directions are zero, and
# only there: norms of $10^{-3}$ have a share.


# %% tags=["exercise"] exercise="3.1.2.g2" title="Sum share" difficulty=2 importance=4 minutes=10 skill="a change of basis"
def sum_share(W: Float[Tensor, "inst hidden feature"]) -> Float[Tensor, "inst pair"]:
    """|S|^2 / (|S|^2 + |D|^2) with S, D = (W_2k +- W_2k+1) / sqrt 2; 0 where both are zero."""
    first, second = W[..., 0::2], W[..., 1::2]
    S = (first + second).square().sum(dim=1) / 2
    D = (first - second).square().sum(dim=1) / 2
    return S / (S + D).clamp(min=1e-12)


# %% [markdown] tags=["hint"]
# Add the two columns first, then take the squared length. What would you get if you took lengths
# first?

# %% [markdown] tags=["hint"]
# `(first + second).square().sum(dim=1) / 2` is $\|S\|^2$. Clamp the denominator.

# %% [markdown]
# ### Three strategies, three losses
#
# Two pairs, two dimensions, $p \le \tfrac12$. Each dimension holds two features, in one of three
# ways, all with $b = 0$.
#
# | strategy | who shares a line | their $W$ |
# | --- | --- | --- |
# | opposite | the two partners of a pair | $(1, -1)$ |
# | orthogonal | two strangers, one of each pair | $(1, -1)$ |
# | sum | the two partners of a pair | $(1, 1)/\sqrt2$ |
#
# When does each of them fail, how often, and by how much? You derived one such loss in 3.1.1. Strangers
# are independent of each other; for partners you know $P(\text{both on}) = pc$ and
# $P(\text{exactly one on}) = 2p(1 - c)$.

# %% [markdown] tags=["task"]
# Return the three expected losses, stacked on a new first axis, in the order of the table.
#
# - The loss is the mean over features, of importance 1, and each line holds two.
# - `p` and `c` have the same shape, any shape. The check integrates the models numerically.


# %% tags=["exercise"] exercise="3.1.2.g3" title="Three expected losses" difficulty=3 importance=4 minutes=15 skill="expected losses by hand"
def strategy_losses(
    p: Float[Tensor, "*grid"], c: Float[Tensor, "*grid"]
) -> Float[Tensor, "strategy *grid"]:
    """Expected loss of opposite, orthogonal, sum: two pairs in two dimensions, mean over features."""
    return p / 6 * torch.stack([c, p, 1 - 3 * c / 4])


# %% [markdown] tags=["hint"]
# Opposite directions fail only when both are on, and then each output is off by the smaller of the
# two. How often are both on, for partners and for strangers? Which of the three losses does not
# depend on $c$?

# %% [markdown] tags=["hint"]
# From 3.1.1, $\mathbb E[\min(u_1, u_2)^2] = \tfrac16$ for each of the two. In the sum both outputs are
# $\tfrac12(x_1 + x_2)$, so each is off by $\tfrac12 |x_1 - x_2|$: work out the case "exactly one on"
# and the case "both on".

# %% [markdown] tags=["hint"]
# The sum: with one on, the two squared errors add up to $\tfrac12 u^2$, on average $\tfrac16$. With
# both on, to $\tfrac12 (u_1 - u_2)^2$, on average $\tfrac1{12}$. Weigh them with their probabilities
# and halve, because the loss is a mean over two features a line.

# %% [markdown] tags=["task"]
# Fully correlated pairs, $c = 1$, from rare to dense: from which $p$ on does the sum have the lowest
# of your three losses? Give a number.

# %% tags=["predict"] exercise="3.1.2.P5" title="The collapse" difficulty=2 importance=4 minutes=3 skill="solving for a boundary"
predict_collapse = 0.25

# %% [markdown]
# In units of $p/6$ the three losses are $c$, $p$ and $1 - \tfrac34 c$: a surprise in simplicity. Read
# the map off them before you train anything.
#
# - *Opposite against orthogonal*: $c$ against $p$. The tie is $c = p$, which is *independence*.
#   Below it partners avoid each other, and opposite wins. Above it orthogonal wins. The whole of
#   part 3 is this one line.
# - *Sum*: it must beat the smaller of $c$ and $p$.
#
# Now train the map: a grid over $p$ and $c$, six starts for each point, the best is kept. The lines
# are the theory.

# %% tags=["demo"] reveals=["predict_collapse"] experiment="pair_map" results=["code_map", "p_grid", "c_grid"]
if __name__ == "__main__":
    p_axis, c_axis, n_starts = torch.linspace(0.03, 0.48, 10), torch.linspace(0, 1, 10), 6
    p_grid, c_grid = torch.meshgrid(p_axis, c_axis, indexing="ij")
    p_all, c_all = (grid.reshape(-1, 1).repeat(n_starts, 1) for grid in (p_grid, c_grid))
    small = torch.arange(len(p_all)) < len(p_all) // 2  # of the six starts, three: see below
    W, _, loss = train_on(
        lambda rows, g: coupled_pairs(rows, len(p_all), 2, p_all, c_all, g),
        ToyConfig(len(p_all), 4, 2),
        TrainConfig(1500, 256, 1e-2, "cosine", label="a map of pairs"),
        torch.Generator().manual_seed(0),
        scale=torch.where(small, START, 1.0)[:, None, None],
    )
    W_map = W[best_starts(loss, n_starts)]
    codes = pair_arrangement(W_map)
    code_map = torch.where(codes[:, 0] == codes[:, 1], codes[:, 0], 4).reshape(p_grid.shape)
    plots_correlated.arrangement_map(code_map.T, p_axis, c_axis).show()
    theory = 1 + strategy_losses(p_grid, c_grid).argmin(0)
    agree = (code_map == theory).float().mean()
    print(f"both pairs are arranged as predicted in {agree:.0%} of the points")

# %% [markdown]
# **What you see.** Three regions ("same direction" is the sum), and the theory names the right one
# in 97 % of the points. (Over four seeds: 95 to 98 %.) The points where it is wrong lie beside a
# line, where two losses are almost equal.
#
# The lines are not exact: the theory compares fixed $W$ and $b = 0$, and training may improve on
# them. With $W$ and $b$ free, the loss of "orthogonal" falls by 1 to 2 % around $p = \tfrac14$, and
# that of the sum not at all. (Who knows only the sum $x_1 + x_2$ cannot do better: by symmetry, the
# best guess for each of the two is half of it.) So the true tie at $c = 1$ lies at $p = 0.254$, by
# numerical integration.
#
# **A trap on the way.** In this map half of the starts are small, and half have the usual size.
# Just below the collapse, at $p = 0.2$ and $c = 1$, we trained 64 starts of each kind. 83 % of the
# pairs ended as a sum after small starts, and 27 % after usual ones, although a right angle costs a
# fifth less. Small starts grow along the *sum* first, because a correlated pair has a positive
# covariance. Some never leave it. What helped anticorrelated pairs misleads correlated ones. If you
# had used small starts only, you would have drawn the line in the wrong place.

# %% [markdown]
# ### Fewer dimensions
#
# In the map every pair had a dimension to itself. What if there are fewer? Take six pairs, so
# twelve features, at $p = 0.1$. At this $p$ the map says "orthogonal" all the way up to $c = 1$.
# Now take dimensions away.

# %% [markdown] tags=["task"]
# Six fully correlated pairs, $c = 1$, $p = 0.1$. You go down from 12 dimensions to 2. When do most
# of the pairs collapse to their sums?
#
# - `"below 12"`: as soon as not every feature has its own dimension
# - `"below 6"`: as soon as there are fewer dimensions than pairs, at 5
# - `"about 3"`: only when there are about half as many dimensions as pairs

# %% tags=["predict"] exercise="3.1.2.P6" title="Taking dimensions away" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["below 12", "below 6", "about 3"]
predict_dimensions = "about 3"

# %% tags=["demo"] reveals=["predict_dimensions"] experiment="fewer_dimensions" results=["collapsed", "dims", "c_values"]
if __name__ == "__main__":
    dims, c_values, n_starts = [2, 3, 4, 5, 6, 8, 12], [0.1, 0.3, 0.5, 0.7, 0.85, 1.0], 4
    c_all = torch.tensor(c_values).repeat_interleave(n_starts)[:, None]
    rows_of_table = []
    for hidden in dims:
        W, _, _ = train_on(
            lambda rows, g: coupled_pairs(rows, len(c_all), 6, 0.1, c_all, g),
            ToyConfig(len(c_all), 12, hidden),
            TrainConfig(2000, 256, 1e-2, "cosine", label=f"six pairs in {hidden}"),
            torch.Generator().manual_seed(0),
        )
        is_sum = (sum_share(W) > 0.9).float().mean(dim=1)
        rows_of_table.append(is_sum.reshape(-1, n_starts).mean(dim=1))
    collapsed = torch.stack(rows_of_table)
    plots_correlated.share_table(collapsed, dims, c_values).show()

# %% [markdown]
# **What you see.** Read the last column, $c = 1$, from the top. Nothing collapses at 12, 8, 6, or
# even 5 dimensions: features of different pairs share lines and polygons, and partners stay apart.
# At 4 dimensions a few pairs give in, and at 3 all of them. Why 3? Six sums are six sparse
# features, and three lines hold six of them in opposite pairs. The model has done PCA *within* the
# pairs and superposition *between* them.
#
# The first column is the control: independent features are never represented by sums, however few
# dimensions there are. In between, weaker correlation needs fewer dimensions to collapse.
#
# **What the table does not show.** It counts single starts, four for each entry, and small ones,
# which lean towards the sum. (Usual starts give the same picture at $c = 1$: 90, 98, 15 and 0 % of
# the pairs in 2, 3, 4 and 5 dimensions.) It is one value of $p$; at $p > \tfrac14$ the map says
# that pairs collapse with six dimensions, too.
#
# **Why it matters.** In a real model some features always come together. If the model has collapsed
# them, there is *one* direction, and no method that looks at activations, such as the sparse
# autoencoders of 3.1.5, can tell the two apart.

# %% [markdown]
# ## What you should be able to do now
#
# - Sample features with a given probability and a given dependence, and prove from the data that
#   you did.
# - Explain why correlated partners want a right angle and anticorrelated partners stand opposite,
#   from one fact: interference costs only when both are on.
# - Say why "the model prefers" is not "every run finds", and what you would report.
# - Recognise a local basis in $W^\top W$, and measure it.
# - Derive the three losses $c$, $p$, $1 - \tfrac34 c$, and draw the map of pairs from them.
# - Tell a collapsed pair from a pair that is merely close, with the sum share.
#
# **Go further.** (1) Two pairs in *three* dimensions: who gets a line alone? (2) Give the two
# features of a pair different importances. When does the model keep only one of them instead of the
# sum? (3) A pair whose strengths, too, are correlated: how does $1 - \tfrac34 c$ change?
#
# **References.** Elhage et al. 2022, *Toy Models of Superposition*, transformer-circuits.pub: the
# part on correlated and anticorrelated features.
