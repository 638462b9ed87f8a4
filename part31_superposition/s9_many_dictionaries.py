# %% [markdown]
# # 3.1.9 Many dictionaries: which of them to believe
#
# One trained dictionary says little. Another seed, another size or another penalty gives another
# one. Which of them should we believe, and which parts of it? This bonus section trains dozens of
# sparse autoencoders (SAEs) on data whose true features are known, so that every answer can be
# checked. It goes on from 3.1.8, with the same data and the same words.
#
# Part 1 is the tool. After it take the parts in any order.
#
# ## Questions
#
# 1. How can one train dozens of SAEs in hardly more time than one?
# 2. Which penalty and which size find the most features?
# 3. Which latents can be trusted if nobody knows the truth?
# 4. Who wins if each method is tuned with the same care, an SAE or K-SVD?
# 5. Which penalties other than L1 lead to sparse codes?
# 6. Does a latent stay where it is once it has found a feature?
# 7. How does one recognise an SAE that reconstructs well and has learned nothing?
#
# **Words** (as in 3.1.8). The rows of a *dictionary* $D$ are directions of length 1. A *true
# feature* is a row of the dictionary that made the data, a *latent* a row of a learned one. The
# *code* $f$ says how much of each row is used: $x \approx f D$. $L_0$ counts the entries of a code
# that are not zero. A true feature is *recovered* if it has a latent of its own, one to one, with a
# cosine above 0.9.

# %% tags=["setup"]
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.nn.functional import logsigmoid

from part31_superposition.s8_dictionary_learning import (
    ica_dictionary,
    ksvd,
    make_data,
    n_recovered,
    scores,
    smallest_cosine,
)
from utils.given import dictionary_runs as runs
from utils.given.dictionaries import Data, World, cosine_table, sae_codes, unit
from utils.plots import dictionary as plots
from utils.training import Params

# %% [markdown]
# ## 1 · Many SAEs at once
#
# Which $\lambda$? Which size? Tied or not? A sweep answers, but a sweep trains dozens of SAEs. Each
# is far too small to keep a processor busy: most of its time goes into launching operations. So put
# all SAEs into one set of tensors, with a leading axis `inst`, and launch every operation once for
# all of them. You could rewrite the loss with that axis, as in section 3.1.1. `torch.func` does it
# for you.
#
# - `grad_and_value(loss)` turns a loss into a function that returns its gradient by the first
#   argument, and its value. An argument may be a dictionary of tensors; then so is its gradient.
# - `vmap(f, in_dims=...)` turns a function of one SAE into a function of a stack of SAEs. `in_dims`
#   has an entry for each argument of `f`: `0` where it has the new axis in front, `None` where all
#   members share it. So `vmap(torch.dot, in_dims=(None, 0))(v, rows)` is one vector times each row.
#
# A stack needs equal shapes, but we want several sizes. So small dictionaries get rows of zeros,
# and a **mask** keeps those latents off. A latent whose code is always 0 gets no gradient, so the
# zeros stay zeros, and the small SAE never notices them.

# %% [markdown] tags=["task"]
# Stack dictionaries of different sizes: fill each up with zero rows at its end, to `n_max`. Return the
# stack, and a mask that is 1 for real rows and 0 for padding (with the dtype of the rows).
#
# A dictionary with more than `n_max` rows is a `ValueError` that names its size.


# %% tags=["exercise"] exercise="3.1.9.a1" title="Pad and stack" difficulty=2 importance=3 minutes=10 skill="ragged to rectangular"
def pad_and_stack(
    dictionaries: list[Float[Tensor, "_ d_in"]], n_max: int
) -> tuple[Float[Tensor, "inst n_max d_in"], Float[Tensor, "inst n_max"]]:
    """Dictionaries filled up with zero rows to `n_max`, and a mask: 1 real, 0 padding.

    Raises ValueError for a dictionary with more than `n_max` rows.
    """
    too_large = [len(D) for D in dictionaries if len(D) > n_max]
    if too_large:
        raise ValueError(f"a dictionary has {too_large[0]} rows; there is room for {n_max}")
    stack = dictionaries[0].new_zeros(len(dictionaries), n_max, dictionaries[0].shape[1])
    mask = stack.new_zeros(len(dictionaries), n_max)
    for i, D in enumerate(dictionaries):
        stack[i, : len(D)], mask[i, : len(D)] = D, 1
    return stack, mask


# %% [markdown] tags=["hint"]
# Make the full tensor of zeros first. Then which slice belongs to dictionary `i`?

# %% [markdown] tags=["hint"]
# `dictionaries[0].new_zeros(...)` has the right dtype and device. `stack[i, : len(D)] = D`.

# %% [markdown] tags=["task"]
# Return the gradients and the losses of all members: a dictionary of gradients (same names and
# shapes as `params`), and one loss per member.
#
# `loss(params, batch, hyper)` is the loss of **one** SAE. In `params` and `hyper` every tensor has
# `inst` as first axis. The batch is the same for all members.


# %% tags=["exercise"] exercise="3.1.9.a2" title="All gradients in one call" difficulty=2 importance=5 minutes=8 skill="vmap over grad"
def ensemble_gradient(
    loss: Callable[..., Tensor], params: Params, batch: Any, hyper: Params
) -> tuple[Params, Float[Tensor, " inst"]]:
    """Gradient by params and value of `loss(params, batch, hyper)`, for every member of a stack.

    `params` and `hyper` have a leading axis inst, `batch` is shared by all members.
    """
    return vmap(grad_and_value(loss), in_dims=(0, None, 0))(params, batch, hyper)


# %% [markdown] tags=["hint"]
# Write it for one member first: `grad_and_value(loss)(params, batch, hyper)` returns the gradient
# by the *first* argument, and the value.

# %% [markdown] tags=["hint"]
# `vmap(..., in_dims=(?, ?, ?))`: one entry for each of the three arguments. Which of them has the
# axis `inst`?

# %% [markdown]
# Adam works entry by entry. It does not care which SAE an entry belongs to. So one update of one
# long vector is an update of all members, and no member feels another:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2,
#   \qquad \theta \leftarrow \theta - \ell\; \frac{m / (1 - \beta_1^n)}{\sqrt{v / (1 - \beta_2^n)} + \epsilon} .$$
#
# Here $n = 1, 2, \dots$ counts the updates, $\ell$ is the learning rate, $\beta_1 = 0.9$,
# $\beta_2 = 0.999$, $\epsilon = 10^{-8}$ (Kingma & Ba 2014).

# %% [markdown] tags=["task"]
# Write one Adam update. Return the new $\theta$, $m$ and $v$; leave the old ones as they are.


# %% tags=["exercise"] exercise="3.1.9.a3" title="Adam, by hand" difficulty=2 importance=4 minutes=10 skill="an optimiser as a pure function"
def adam_update(
    theta: Float[Tensor, "*shape"],
    grad: Float[Tensor, "*shape"],
    mean: Float[Tensor, "*shape"],
    square: Float[Tensor, "*shape"],
    n: int,
    lr: float,
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Update number n (from 1) of Adam with its usual constants; returns theta, mean and square."""
    mean = 0.9 * mean + 0.1 * grad
    square = 0.999 * square + 0.001 * grad.square()
    step = (mean / (1 - 0.9**n)) / ((square / (1 - 0.999**n)).sqrt() + 1e-8)
    return theta - lr * step, mean, square


# %% [markdown] tags=["hint"]
# Which averages go into the step: the old ones or the new ones? Is $\epsilon$ inside or outside the
# root?

# %% [markdown] tags=["hint"]
# Write the three formulas one below the other, and give each result the name of its old value.

# %% [markdown]
# `Stacks` in `utils/given/dictionary_runs.py` joins your three functions to the course's training
# loop. `stacks.sweep` returns the decoders, without latents that are never active. One more trick
# is in it. `vmap` does its bookkeeping anew in every call. So `Stacks` runs your function once with
# a recorder from PyTorch (`make_fx`) that writes down the plain tensor operations it leads to, and
# from then on only these are repeated. Run the next cell again when you change one of the three.

# %% tags=["given"]
stacks = runs.Stacks(pad_and_stack, ensemble_gradient, adam_update)

# %% tags=["demo"]
if __name__ == "__main__":
    data = make_data(World(), seed=0)  # the world of 3.1.8: 40 features in 20 dimensions

# %% [markdown] tags=["task"]
# The sweep: six values of $\lambda$ from 0.05 to 1.6, three sizes, tied and untied: 36 SAEs. At
# which $\lambda$ does an SAE with 60 untied latents recover the most features?

# %% tags=["predict"] exercise="3.1.9.P1" title="Where is the peak?" difficulty=1 importance=3 minutes=1 skill="predicting" choices=["the smallest", "in between", "the largest"]
predict_recovery_peak = "in between"

# %% tags=["demo"] reveals=["predict_recovery_peak"] experiment="sweep" results=["sweep_counts"]
if __name__ == "__main__":
    l1s, sizes = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6], [30, 60, 120]
    members = [(n, l1, tied) for tied in (False, True) for n in sizes for l1 in l1s]
    decoders = stacks.sweep(data.x, members, seed=1)
    sweep_counts = torch.tensor([n_recovered(data.D, D) for D in decoders]).reshape(2, 3, 6)
    sweep_panels = {
        kind: {f"{n} latents": (l1s, line.tolist()) for n, line in zip(sizes, block, strict=True)}
        for kind, block in zip(["untied", "tied"], sweep_counts, strict=True)
    }
    label = "true features recovered (of 40)"
    plots.lines(sweep_panels, "L1 coefficient λ", label, log_x=True).show()

# %% [markdown]
# **What you see.** A clear peak. Left of it an SAE reconstructs well and finds few features: with 60
# untied latents 0 or 1 at $\lambda = 0.05$, 4 to 12 at 0.1, 25 to 30 at 0.2, over five data sets.
# Right of it rare features are no longer worth their penalty. At its best $\lambda$ an untied SAE
# finds more than a tied one here (by 2 to 13). 30 latents are too few for 40 features.
#
# And 120 untied instead of 60? In this data set that costs 4 features; in four others it makes a difference
# of 0, −1, −1 and +3. So size neither helps nor harms much once it is large enough: the other latents
# are copies, mixtures or dead.
#
# **How much does stacking save?** `python -m tools.bench.ensemble` trains 16 SAEs (4 coefficients,
# 2 sizes, tied or not) together and one after another, on the same batches, and compares times and
# results. On one thread 16 SAEs of 30 and 60 latents were 4.7 times as fast together, with equal
# decoders. With 60 and 120 latents it was 3.3 times: the larger the SAEs, the less of their time
# goes into launching.
#
# ## 2 · Finding true features without the truth
#
# In a language model nobody can count recovered features. But one can train twice, from two random
# starts, and ask which latents come back (Sharkey et al. 2022 compared dictionaries of different
# sizes in this way). Is a latent that comes back a true feature? Here we can check. Every latent
# has a **score**, its largest cosine with a latent of the second run, and a **truth**, whether its
# cosine with a true feature is above 0.9. A standard measure of a score is the area under the ROC
# curve (AUC): the probability that a random true latent scores higher than a random false one.

# %% [markdown] tags=["task"]
# Return the AUC: over all pairs of a true and a false item, the share in which the true one scores
# higher, equal scores counting ½. If one kind is missing there are no pairs: raise a `ValueError`.


# %% tags=["exercise"] exercise="3.1.9.b" title="Area under the ROC curve" difficulty=2 importance=3 minutes=10 skill="ranking statistics"
def rank_auc(score: Float[Tensor, " item"], is_true: Bool[Tensor, " item"]) -> float:
    """P(a true item scores higher than a false one), ties counting 1/2.

    Raises ValueError unless both kinds are there.
    """
    true, false = score[is_true], score[~is_true]
    if len(true) == 0 or len(false) == 0:
        raise ValueError("AUC needs true and false items")
    difference = true[:, None] - false[None]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())


# %% [markdown] tags=["hint"]
# How do you make a table of all differences between two vectors?

# %% [markdown] tags=["hint"]
# `true[:, None] - false[None]` is that table. Which entries count 1, which ½?

# %% [markdown]
# Now the league table. All methods see the same rows, and none is told how many features there are
# or how many are active. SAE and K-SVD get the same search: two sizes (60, 120) and four settings
# of its sparsity ($\lambda$ for SAEs, $k$ for K-SVD), two random starts each. Two worlds: in one 3
# features are active on average, in the other 5.

# %% [markdown] tags=["task"]
# Each at its best setting, in the sparser world with 3 active features: who recovers more, the SAE
# or K-SVD? ("Level" means a difference of at most 4 of 40.)

# %% tags=["predict"] exercise="3.1.9.P2" title="SAE against K-SVD" difficulty=2 importance=5 minutes=2 skill="honest baselines" choices=["the SAE", "K-SVD", "level"]
predict_sparse_winner = "level"

# %% tags=["demo"] reveals=["predict_sparse_winner"] experiment="league" results=["league_counts"]
if __name__ == "__main__":
    worlds = {f"{l0} active features": make_data(World(mean_l0=l0), seed=0) for l0 in (3, 5)}
    league, league_counts = {}, {}
    for name, each in worlds.items():
        saes, ksvds = runs.enter_saes(stacks, each.x, 0), runs.enter_ksvd(ksvd, each.x, 0)
        league[name], recovered = {"SAE": saes, "K-SVD": ksvds}, partial(n_recovered, each.D)
        league_counts[name] = runs.count_league(each.x, league[name], ica_dictionary, recovered)
    plots.count_bars(league_counts, 40).show()
    for name, each in worlds.items():
        for method, entries in league[name].items():
            counts = {entry.name: n_recovered(each.D, entry.first) for entry in entries}
            best = max(counts, key=lambda setting: counts[setting])
            print(f"{name}, {method}: {sorted(counts.values())} recovered; best: {best}")

# %% [markdown]
# **What you see, at the best setting.** PCA, ICA, NMF (run once) are far behind in both. In the
# sparser world the SAE and K-SVD are level: 40 to 39 here, and in five more data sets they differ by
# at most 3, in either direction. In the denser world the SAE is ahead: 25 to 13 here, and by 6 to 14
# features in the five others. Its $\lambda$ lets each row use as many latents as it needs; K-SVD's
# $k$ is the same for all rows.
#
# So "SAEs beat K-SVD" is half true: it depends on how many features are active. And look at the
# printed ranges. Whoever tunes one method and takes the other as it comes can prove anything.
#
# **And without the truth?** "Most stable" is the setting with most latents that come back in a
# second run. In six data sets of each world it costs an SAE 0 to 3 features against its best
# setting (once 10). It costs K-SVD 7 to 18, and it is always $k = 1$. Why?

# %% [markdown] tags=["task"]
# K-SVD with $k = 1$ in the denser world. Many of its rows come back when you start again elsewhere,
# with a cosine above 0.9. How many of those stable rows are true features?

# %% tags=["predict"] exercise="3.1.9.P3" title="Stable, so true?" difficulty=3 importance=5 minutes=2 skill="what reproducibility proves" choices=["more than 80 %", "20 to 80 %", "less than 20 %"]
predict_stable_true = "less than 20 %"

# %% tags=["demo"] reveals=["predict_stable_true"] experiment="stability" results=["stable_share"]
if __name__ == "__main__":
    chosen = [(name, league[name]["SAE"][1]) for name in worlds]
    chosen.append(("5 active features", league["5 active features"]["K-SVD"][0]))
    panels, stable_share = {}, []
    for name, entry in chosen:
        score = entry.similarity()
        truth = cosine_table(entry.first, worlds[name].D).max(dim=1).values
        panels[f"{entry.name};<br>{name}"] = score, truth
        stable, auc = score > 0.9, rank_auc(score, truth > 0.9)
        stable_share.append((truth[stable] > 0.9).float().mean().item())
        words = f"{int(stable.sum())} stable, {stable_share[-1]:.0%} of them true; AUC {auc:.2f}"
        print(f"{entry.name}, {name}: {words}")
    labels = "cosine with the second run", "cosine with a true feature"
    plots.similarity_scatter(panels, *labels).show()
    _, small, _, _, _, large, *_ = league["3 active features"]["SAE"]
    other_size = cosine_table(small.first, large.first).max(dim=1).values
    truth = cosine_table(small.first, data.D).max(dim=1).values
    auc = rank_auc(other_size, truth > 0.9)
    print(f"first SAE against one with 120 latents instead of a second start: AUC {auc:.2f}")

# %% [markdown]
# **What you see.** For a well-tuned SAE, similarity to a second run is a very good score (AUC 0.82
# to 0.99 in six data sets): most latents that come back are true features (59 to 96 % in four of
# them), most others are not. A second size serves as well as a second start.
#
# For K-SVD with $k = 1$ similarity misleads. 36 to 43 of its 60 rows come back, and 2 to 12 % of
# those are features. The AUC does not show it (0.67 to 0.89 in four data sets): it only asks how the
# few true rows rank among the others, and they rank rather high. It does not say how few they are.
#
# With $k = 1$ each data row is explained by a single direction. With five active features a row is
# hardly ever one feature. So the best directions are centres of *combinations* that occur often,
# and every run finds them. **Stability shows that an answer is reproducible. Whether it answers the
# right question, it cannot show.**
#
# ## 3 · Other roads to sparsity
#
# L1 shrinks codes and is only one way. Three others, on the same data.
#
# **A square root.** Replace $\sum_j f_j$ by $\sum_j \sqrt{f_j}$, also called $L_{1/2}$. One large
# code is now cheaper than two of half its size: $\sqrt 1 < 2\sqrt{1/2}$. The slope at 0 is
# infinite, so we use $\sqrt{f + \epsilon} - \sqrt\epsilon$.
#
# **Noise.** Use no penalty at all. Add noise to the pre-activations instead:
# $f_j = \mathrm{ReLU}(z_j + \sigma \xi_j)$ with $\xi_j$ standard normal. Why should that help? The
# decoder's rows have length 1, so the noise in $f_j$ adds its variance to the squared error. Far
# above 0 the ReLU passes the noise: variance $\sigma^2$. Far below 0 it blocks it: variance 0. So
# each *active* latent costs $\sigma^2$. That is a penalty on $L_0$ itself. In between, write
# $u = z / \sigma$, with $\varphi$ and $\Phi$ the density and the distribution function of a
# standard normal number. Then
#
# $$\mathbb E[f] = \sigma\,\big(u\, \Phi(u) + \varphi(u)\big), \qquad
#   \mathbb E[f^2] = \sigma^2 \big((u^2 + 1)\, \Phi(u) + u\, \varphi(u)\big) .$$

# %% [markdown] tags=["task"]
# Return the variance of $\mathrm{ReLU}(z + \sigma \xi)$ for every entry of `z`.


# %% tags=["exercise"] exercise="3.1.9.c1" title="What noise costs" difficulty=2 importance=3 minutes=10 skill="moments of a clipped normal"
def noisy_relu_variance(z: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    """Variance of ReLU(z + sigma xi), xi standard normal: E[f^2] - E[f]^2."""
    u = z / sigma
    Phi, phi = torch.special.ndtr(u), torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)
    first, second = u * Phi + phi, (u.square() + 1) * Phi + u * phi
    return sigma**2 * (second - first.square())


# %% [markdown] tags=["hint"]
# What must come out for $z \to \infty$ and for $z \to -\infty$? And at $z = 0$?

# %% [markdown] tags=["hint"]
# $\Phi$ is `torch.special.ndtr`; $\varphi(u) = e^{-u^2/2} / \sqrt{2\pi}$. The variance is the second
# moment minus the square of the first.

# %% [markdown]
# **Spike and slab.** Say what a sparse code is, as a probability, and let a variational autoencoder
# find it (Tonolini, Jensen & Murray-Smith 2020). The prior of one latent: off with probability
# $1 - \pi$ (the spike), else a standard normal number (the slab). For each input and latent the
# encoder answers with a probability $q$ of being on, and with a normal number of mean $\mu$ and
# standard deviation $s$ if it is. The loss has the Kullback–Leibler divergence between answer and
# prior:
#
# $$\mathrm{KL} = \underbrace{q \ln\frac{q}{\pi} + (1 - q) \ln\frac{1 - q}{1 - \pi}}_{\text{on or off}}
#   \; + \; \underbrace{q \cdot \tfrac12 \big(\mu^2 + s^2 - 1 - \ln s^2\big)}_{\text{how strong, if on}} .$$
#
# The second term counts only when the latent is on, hence the factor $q$.

# %% [markdown] tags=["task"]
# Return the KL of every entry. The encoder gives $q$ as a logit, $q = 1/(1 + e^{-\text{logit}})$, and
# $s$ as its logarithm.
#
# Logits of ±100 must not give NaN: use `torch.nn.functional.logsigmoid` for $\ln q$ and
# $\ln(1 - q)$.


# %% tags=["exercise"] exercise="3.1.9.c2" title="Spike and slab" difficulty=3 importance=2 minutes=15 skill="a KL divergence, stably"
def spike_slab_kl(
    logit: Float[Tensor, "*shape"],
    mean: Float[Tensor, "*shape"],
    log_std: Float[Tensor, "*#shape"],
    prior: float | Float[Tensor, ""],
) -> Float[Tensor, "*shape"]:
    """KL of (on with sigmoid(logit), then N(mean, std^2)) from (on with `prior`, then N(0, 1))."""
    prior = torch.as_tensor(prior, dtype=logit.dtype, device=logit.device)
    q, log_q, log_off = logit.sigmoid(), logsigmoid(logit), logsigmoid(-logit)
    spike = q * (log_q - prior.log()) + (1 - q) * (log_off - (1 - prior).log())
    slab = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std)
    return spike + q * slab


# %% [markdown] tags=["hint"]
# $1 - \text{sigmoid}(a) = \text{sigmoid}(-a)$. So what is $\ln(1 - q)$ as a `logsigmoid`?

# %% [markdown] tags=["hint"]
# $s^2 = e^{2 \cdot \text{log\_std}}$ and $\ln s^2 = 2 \cdot \text{log\_std}$. When is the slab's
# term 0?

# %% [markdown]
# Two things remain before it can be trained. On or off is a coin that is thrown for every latent, and
# a coin has no gradient. So the coin is *relaxed* (Jang et al. 2017; Maddison et al. 2017): in its
# place stands a number between 0 and 1 that is mostly near one of the ends, and that changes smoothly
# with the logit. The divergence is that of a hard coin: a stand-in, not an exact bound. And our
# autoencoder clips the slab with a ReLU, as our features are never negative.

# %% [markdown] tags=["task"]
# The SAE with noise has no penalty, and nothing in its loss mentions sparsity. With the best of four
# noise levels, how many of the 40 features will it recover?

# %% tags=["predict"] exercise="3.1.9.P4" title="Sparsity from noise" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["none", "some, but fewer than L1", "as many as L1, or more"]
predict_noise_road = "some, but fewer than L1"

# %% tags=["demo"] reveals=["predict_noise_road"] experiment="roads" results=["road_counts"]
if __name__ == "__main__":
    z = torch.linspace(-1.5, 1.5, 121)
    cost_curve = {"variance / σ²": (z, noisy_relu_variance(z, 0.4) / 0.4**2)}
    label, level = "pre-activation z, with σ = 0.4", {"an active latent": 1.0}
    plots.lines({"": cost_curve}, label, "cost of a latent / σ²", levels=level).show()
    bests, best_of = {}, partial(max, key=partial(n_recovered, data.D))
    for road in runs.ROADS:
        bests[road] = best_of(runs.take_road(stacks, spike_slab_kl, data.x, road, seed=20))
    plots.score_bars({road: scores(data.D, D) for road, D in bests.items()}, 40).show()
    road_counts = {road: n_recovered(data.D, D) for road, D in bests.items()}

# %% [markdown]
# **What you see.** All four roads lead to true features. At the best of four strengths, in five data
# sets, L1 finds 34 to 40, the square root 31 to 38, spike and slab 30 to 35. Noise alone finds 12 to
# 29: fewer, but no penalty was ever written down. With more tuning the order might change.
#
# ## 4 · Drift
#
# Does a latent stay where it is once it has found something? Compare each latent with *itself* a
# little later: if the frames of a run are $D^{(1)}, D^{(2)}, \dots$, take the cosine of row $j$ in
# frame $t$ with row $j$ in frame $t + 1$.

# %% [markdown] tags=["task"]
# Return the cosine of every latent with itself one frame later.


# %% tags=["exercise"] exercise="3.1.9.d1" title="Similar to oneself" difficulty=1 importance=3 minutes=5 skill="neighbouring frames"
def self_similarity(
    frames: Float[Tensor, "frame latent d_in"],
) -> Float[Tensor, "frame_minus_1 latent"]:
    """Cosine of each latent in frame t with the same latent in frame t + 1; 0 for a zero row."""
    directions = unit(frames)
    return (directions[1:] * directions[:-1]).sum(dim=-1)


# %% [markdown] tags=["hint"]
# With $T$ frames there are $T - 1$ pairs of neighbours. Which slices are they?

# %% [markdown] tags=["hint"]
# This is *not* a table of all with all: latent $j$ meets only latent $j$.

# %% [markdown] tags=["task"]
# A latent has **settled** if its last `window` self-similarities are all above the threshold. Return
# a mask over latents. If there are fewer than `window` self-similarities, nothing has settled yet.


# %% tags=["exercise"] exercise="3.1.9.d2" title="Settled" difficulty=2 importance=2 minutes=5 skill="all over a window"
def settled(
    similarity: Float[Tensor, "step latent"], threshold: float, window: int
) -> Bool[Tensor, " latent"]:
    """True where the last `window` entries all exceed `threshold`; none if there are too few."""
    recent = similarity[-window:] > threshold
    return recent.all(dim=0) & (len(recent) == window)


# %% [markdown] tags=["hint"]
# Is a latent settled that was still once, long ago, and moves now? What if it moved long ago and is
# still now?

# %% [markdown] tags=["hint"]
# `similarity[-window:]` are the last rows, or fewer if there are fewer. `.all(dim=0)` combines them.

# %% [markdown]
# The plan. Train an SAE with $\lambda = 0.4$ at a constant learning rate, and see which latents
# settle. Then go on from there with a smaller $\lambda$. This is tempting: L1 shrinks the codes, and
# a smaller $\lambda$ makes the reconstruction better at once. But the sweep says that 0.05 finds
# next to nothing from a random start. Does a dictionary stay good that is good already? Copies of the
# SAE go on with several $\lambda$, down to 0.05. A last copy also gets 0.05, but its settled latents
# are **frozen**: their decoder rows are put back after every step.
#
# Why put back, and not just set their gradients to zero? Try it with your `adam_update`.

# %% tags=["demo"]
if __name__ == "__main__":
    theta, mean, square = torch.zeros(1), torch.zeros(1), torch.zeros(1)
    for n in range(1, 201):
        grad = torch.ones(1) if n <= 100 else torch.zeros(1)
        theta, mean, square = adam_update(theta, grad, mean, square, n, lr=0.01)
        if n in (100, 200):
            print(f"after update {n}: theta = {theta.item():.3f}")

# %% [markdown]
# The gradient is 1 for a hundred updates, then exactly 0 for another hundred. The parameter keeps
# moving, because Adam's averages remember. A gradient of 0 freezes only where these are 0.

# %% [markdown] tags=["task"]
# The frozen copy cannot lose the directions that it holds, and these are most of the true ones.
# Only its encoder, its biases and its other latents can change. Do its *codes* stay sparse? Its $L_0$
# at the end is nearer to that of which other copy?

# %% tags=["predict"] exercise="3.1.9.P5" title="Frozen" difficulty=3 importance=4 minutes=2 skill="directions and codes" choices=["λ = 0.4, as before", "λ = 0.05, nothing frozen"]
predict_frozen = "λ = 0.05, nothing frozen"

# %% tags=["demo"] reveals=["predict_frozen"] experiment="drift" results=["settled_true", "relaxed_counts", "relaxed_l0"]
if __name__ == "__main__":
    frames, still, then, hypers = runs.train_and_relax(
        stacks, lambda frames: settled(self_similarity(frames), 0.99, 5), data.x, seed=50
    )
    is_true = cosine_table(frames[-1], data.D).max(dim=1).values > 0.9
    motion, at = self_similarity(frames), 300 * torch.arange(2, len(frames) + 1)
    groups = {"true at the end": motion[:, is_true], "the others": motion[:, ~is_true]}
    drift = {name: (at, group.mean(dim=1)) for name, group in groups.items()}
    plots.lines({"": drift}, "step", "cosine with itself 300 steps before").show()
    settled_true, rest = is_true[still].float().mean().item(), is_true[~still].float().mean()
    print(f"{int(still.sum())} settled: {settled_true:.0%} of them true; of the others {rest:.0%}")
    kinds = ["λ = 0.05", "λ = 0.1", "λ = 0.2", "λ = 0.4 (as before)", "λ = 0.05, settled frozen"]
    table = [[n_recovered(data.D, D) for D in frame] for frame in then.frames["W_dec"]]
    relaxed_counts = torch.tensor(table)
    after = {kind: (then.frames_step, relaxed_counts[:, i]) for i, kind in enumerate(kinds)}
    plots.lines({"": after}, "steps after the change", "true features recovered (of 40)").show()
    relaxed_l0 = []
    for i, kind in enumerate(kinds):
        sae, sae_settings = runs.member_of(then.params, i), runs.member_of(hypers, i)
        f = sae_codes(sae, data.x, sae_settings)
        error = (f @ sae["W_dec"] + sae["b_dec"] - data.x).square().sum(1).mean()
        relaxed_l0.append((f > 0).sum(1).float().mean().item())
        print(f"{kind:26} squared error {error:.3f}   L0 {relaxed_l0[-1]:.1f}")

# %% [markdown]
# **What you see.** Latents that end as true features move most at first: they are on their way.
# From about step 1500 on they hold a little stiller than the others. Most of the settled latents are
# true (82 to 90 % in four data sets), and few of the others (5 to 30 %). But "settled" is not
# "true": some false ones hold still, too.
#
# After the change to $\lambda = 0.05$ only 11 of 39 true features are left (6 to 11 in four data
# sets), while the squared error falls to a twentieth. *Training longer made the dictionary worse,
# and the loss better.* The optimum of the new loss is not at the true features, so the dictionary
# goes there. With $\lambda = 0.4$ one or two are lost, or one is won. The frozen copy keeps 32 to 39
# features, and its squared error is a sixth to a tenth of what it was. But its $L_0$ is as bad as
# that of the copy without freezing, 22 where it was 7: freezing saves the directions, not the codes.
#
# ## 5 · Negative results, kept
#
# An SAE with $2d$ latents and a weak penalty may reconstruct almost perfectly and have learned
# nothing of the data. Negative results are seldom published, so here is one, kept. $L_0$ and the
# smallest cosine (3.1.8.e) can tell. The third sign is the decoder's own sparsity: a row that *is* an
# axis of the activation space has a single entry. How many entries of a row matter? Read the row as
# a lottery: entry $i$ is drawn with a probability proportional to $d_i^2$. Draw twice. With $k$ equal
# entries, both draws hit the same one with probability $1/k$. So for any row, one over the
# probability of hitting the same entry twice says how many entries share the row. It is called the
# **participation ratio**.

# %% [markdown] tags=["task"]
# Derive the participation ratio as a formula in the entries $d_i$, and return that of each row. Rows
# need not have length 1; a row of zeros has 0.


# %% tags=["exercise"] exercise="3.1.9.e" title="How many entries matter" difficulty=2 importance=2 minutes=8 skill="a ratio of moments"
def participation_ratio(D: Float[Tensor, "latent d_in"]) -> Float[Tensor, " latent"]:
    """One over the probability of drawing the same entry twice, entries weighted by d_i^2.

    One value for each row; a row of zeros has 0.
    """
    squares = unit(D).square()
    return squares.sum(dim=1) ** 2 / squares.square().sum(dim=1).clamp(min=1e-12)


# %% [markdown] tags=["hint"]
# What is the probability $p_i$ of entry $i$, so that all of them sum to 1? With which probability do
# two draws both hit $i$? Then sum over $i$.

# %% [markdown] tags=["hint"]
# $p_i = d_i^2 / \sum_j d_j^2$, and the ratio is $1 / \sum_i p_i^2 = (\sum_i d_i^2)^2 / \sum_i d_i^4$.

# %% [markdown] tags=["hint"]
# A row times 10 has the same ratio. So scale the rows with `unit` first; then a small constant in
# the denominator cannot do harm, and a row of zeros gives 0.


# %% tags=["given"]
def fingerprint(params: Params, hyper: Params, data: Data) -> dict[str, float]:
    """What one can measure of an SAE without the truth, and, last, with it."""
    codes, D = sae_codes(params, data.x, hyper), params["W_dec"]
    error = (codes @ D + params["b_dec"] - data.x).square().sum()
    return {
        "unexplained variance": float(error / (data.x - data.x.mean(0)).square().sum()),
        "L0": (codes > 0).sum(dim=1).float().mean().item(),
        "mean smallest cosine": smallest_cosine(D).mean().item(),
        "participation ratio": participation_ratio(D).mean().item(),
        "features recovered": n_recovered(data.D, D),
    }


# %% tags=["demo"] experiment="negative" results=["prints"]
if __name__ == "__main__":
    negative = runs.train_negative(stacks, data.x, seed=60)
    prints = {name: fingerprint(*each, data) for name, each in negative.items()}
    plots.fingerprints(prints).show()

# %% [markdown]
# **What you see.** The first two SAEs explain all the variance. They are the identity: $L_0$ is 20,
# all of $d$; every latent has an opposite; each row is a single axis. They hardly moved, because
# without a penalty nothing could improve.
#
# With a random start and a weak penalty the SAE finds its way there by itself: at $\lambda = 0.03$
# to 0.1 nearly every latent has an opposite, a third to a half of all latents are on, and the
# reconstruction is almost perfect. But the participation ratio is that of random directions. The
# dictionary is about $[R, -R]$, not $[I, -I]$: **the decoder's sparsity betrays only an identity
# that is aligned with the axes.** (A random direction has a ratio of a little more than $d/3$.) The smallest cosine betrays both, and so does $L_0$.
#
# The last one explains *least* of the variance, and it is the only one worth having.
#
# ## What you should be able to do now
#
# - Train many SAEs of several sizes in one run, and say why they do not notice each other.
# - Say what too little and too much L1 do to a dictionary.
# - Compare methods fairly: the same data, the same search.
# - Say what stability across runs shows, and what it does not.
# - Name three roads to sparsity beside L1, and say what noise costs an active latent.
# - Say why training longer can make a dictionary worse, and what freezing saves.
# - Name three signs of an SAE that has learned nothing.
#
# **Go further.** (1) Make the noise of `World` 0.2. Who wins the league now? (2) Take what K-SVD with
# $k = 1$ found in the denser world. For each stable row, find the two true features whose sum is
# nearest to it. (3) Freeze the encoder of the settled latents, too. What happens to $L_0$?
#
# **References.** Cunningham et al. 2023, *Sparse autoencoders find highly interpretable features in
# language models*. Jang, Gu & Poole 2017, *Categorical reparameterization with Gumbel-Softmax*, and
# Maddison, Mnih & Teh 2017, *The concrete distribution*, on relaxed coins. Kingma & Ba 2014, *Adam*.
# Sharkey, Braun & Millidge 2022, *Taking features out of superposition with sparse autoencoders*.
# Tonolini, Jensen & Murray-Smith 2020, *Variational sparse coding*.
