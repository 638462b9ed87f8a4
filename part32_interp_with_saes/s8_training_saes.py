# %% [markdown]
# # 3.2.8 Training SAEs
#
# In 3.1.5 an SAE of five latents learned five features. On a language model there are thousands of
# latents, batches come from a store, and a run takes hours. The loss falls in nearly every run, also in
# those that are broken. You write each part of a training, and then read the curves of ten runs. Some
# have one fault, and you are to find it.
#
# ## Questions
#
# 1. When is a batch well mixed, and what can a store promise?
# 2. What does a start, a scale, a schedule change?
# 3. How are latents brought back, and how is a wanted L0 reached?
# 4. What does each fault of a run look like?
# 5. What will a run cost, and what must be published with its weights?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | row | one activation vector: what the model has at one token |
# | unexplained | squared error over the variance (1 minus explained variance) |
# | silent | without an activation on the last so many rows |
# | fault | the one thing in which a run differs from a healthy one |
#
# We train on the residual stream after block 2 of the course's story model: 96 numbers per word, and a
# run takes seconds. SmolLM2 is looked at in part 8. Numbers in the text are for the default profile.

# %% tags=["setup"]
import os
import tempfile
import time
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from part31_superposition.s6_sae_variants import heaviside, jumprelu
from part32_interp_with_saes.s1_saes_on_a_language_model import (
    fold_input_scale,
    kl_per_row,
    loss_per_row,
)
from utils.activations.read import generator as keyed
from utils.activations.write import capture
from utils.given.in_model import measure, sample_rows
from utils.given.steering import interval
from utils.given.training_demos import (
    buffered,
    finetuned,
    judged,
    library_buffered,
    scaled_site,
    spread_of,
    topk_output,
    train_jumprelu,
    unexplained_share,
    wandb_history,
)
from utils.given.training_runs import shipped_runs, story_activations, story_rows
from utils.models import language_model, residual_sae
from utils.models.profiles import describe
from utils.plots import training as plots
from utils.progress import track

Params = dict[str, Tensor]

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import display

    loaded, story = language_model(), language_model("tiny")
    print(describe(loaded, [residual_sae()]))
    n_pos, hook = int(story.model.cfg.n_ctx), story.hook("resid_post", 2)
    stories, others = story_rows(600, n_pos, seed=0), story_rows(60, n_pos, seed=1)
    raw, raw_held = story_activations(story, stories), story_activations(story, others)
    document = torch.arange(600).repeat_interleave(n_pos - 1)
    print(f"{len(raw):,} rows to train on, {len(raw_held):,} to measure on")

# %% [markdown]
# (The first position of a row is left out; part 8 says why.)
#
# ## 1 · Batches
#
# Neighbouring rows come from one document and are alike. A batch of them says little about the text,
# and the next one says something else: the SAE runs after each. So rows are mixed. But the activations
# of a large text do not fit into memory. The usual answer is a **buffer**: new rows come in, the
# buffer is shuffled, half of it is served, the other half waits for the next rows.

# %% [markdown] tags=["task"]
# Put `fresh` behind `kept`, bring all $n$ rows into the order `torch.randperm(n, generator=gen)`, and
# return the first $\lfloor n/2 \rfloor$ to be served, and the others, to be kept. ($n$ counts both.)


# %% tags=["exercise"] exercise="3.2.8.a1" title="A mixing buffer" difficulty=1 importance=4 minutes=6 skill="streaming"
def mix_step(
    kept: Float[Tensor, "m d"], fresh: Float[Tensor, "n d"], gen: torch.Generator
) -> tuple[Float[Tensor, "source d"], Float[Tensor, "rest d"]]:
    """(served, kept): both parts in a random order of all rows; none is lost or doubled."""
    rows = torch.cat([kept, fresh])
    rows = rows[torch.randperm(len(rows), generator=gen, device=gen.device)]
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


# %% [markdown] tags=["hint"]
# Shuffle both together: if only the new rows are shuffled, old and new do not mix.

# %% [markdown] tags=["hint"]
# `rows[order]` takes rows in an order. Two slices at `len(rows) // 2` share nothing out twice.

# %% [markdown]
# **How mixed is it?** A measure: of all pairs of different rows of a batch, how many come from one
# document?

# %% [markdown] tags=["task"]
# `document` has the number of each row's document. Return the share of pairs $i \neq j$ with the same
# number. There are at least two rows.


# %% tags=["exercise"] exercise="3.2.8.a2" title="Pairs from one document" difficulty=2 importance=4 minutes=6 skill="counting pairs"
def same_document(document: Int[Tensor, " batch"]) -> float:
    """Share of the pairs of two different rows that are of one document."""
    n, sizes = len(document), document.unique(return_counts=True)[1]
    return float((sizes * (sizes - 1)).sum()) / (n * (n - 1))


# %% [markdown] tags=["hint"]
# A document with $n_d$ rows in the batch gives $n_d (n_d - 1)$ ordered pairs.

# %% [markdown] tags=["hint"]
# `document.unique(return_counts=True)` gives the $n_d$. No row is paired with itself.

# %% [markdown] tags=["task"]
# What would it be without any structure? `sizes` says how many rows each document has in the whole
# text. A batch of `batch` rows (two or more) is drawn at random from all of them, no row twice. Return
# the expected share. Work it out first: how likely are two given places of the batch to be filled from
# one document?


# %% tags=["exercise"] exercise="3.2.8.a3" title="What chance gives" difficulty=2 importance=4 minutes=8 skill="a null in closed form"
def same_if_independent(sizes: Int[Tensor, " document"], batch: int) -> float:
    """Expected `same_document` of `batch` rows drawn from all rows without replacement."""
    n = int(sizes.sum())
    return float((sizes * (sizes - 1)).sum()) / (n * (n - 1))  # whatever the batch's size


# %% [markdown] tags=["hint"]
# The expectation of a share of pairs is the probability for *one* pair: of which size is that a
# question?

# %% [markdown] tags=["hint"]
# Two rows drawn without replacement from all: the first is of document $d$ with $N_d / N$, then the
# second with $(N_d - 1) / (N - 1)$.

# %% [markdown]
# A buffer mixes what is in it. What is stored on disk can be mixed as a whole. Then one more thing can
# be had for nothing: if a batch is a *function* of (seed, step), a run that was interrupted goes on
# with the same batches as if it had not been. No position has to be found, no state to be saved.

# %% [markdown] tags=["task"]
# Return which rows make the batch of `step` (from 0). An epoch has $\lfloor n / b \rfloor$ batches, for
# $n$ rows and batches of $b$: consecutive slices of `torch.randperm(n, generator=keyed(seed, epoch))`.
# What is left over at its end is dropped. `keyed(seed, epoch)` (given) makes a generator.


# %% tags=["exercise"] exercise="3.2.8.a4" title="A batch is a function" difficulty=2 importance=5 minutes=8 skill="resumable by design"
def epoch_rows(n: int, batch: int, seed: int, step: int) -> Int[Tensor, " batch"]:
    """Rows of batch `step`: no row twice in an epoch, another order in each, no state."""
    epoch, i = divmod(step, n // batch)
    order = torch.randperm(n, generator=keyed(seed, epoch))
    return order[i * batch : (i + 1) * batch]


# %% [markdown] tags=["hint"]
# `divmod(step, n // batch)` gives the epoch and the batch's number in it.

# %% [markdown] tags=["hint"]
# One order for a whole epoch: the generator must depend on the epoch, not on the step.

# %% [markdown] tags=["task"]
# Documents arrive one after the other, 95 rows each. 32 at a time go into a buffer like `mix_step`'s.
# How many pairs of a batch of 512 are of one document, compared with chance?


# %% tags=["predict"] exercise="3.2.8.P1" title="Half of a buffer" difficulty=2 importance=3 minutes=2 skill="what a buffer can do" choices=["less than 3 times as many", "3 to 10 times as many", "more than 10 times as many"]
predict_buffer = "3 to 10 times as many"

# %% tags=["demo"] reveals=["predict_buffer"]
if __name__ == "__main__":
    chance = same_if_independent(torch.bincount(document), 512)
    sizes, compare = [8, 16, 32, 64, 128], {"mix_step": buffered, "sae_lens": library_buffered}
    mixed = {
        name: [way(document, n, mix_step, same_document) / chance for n in sizes]
        for name, way in compare.items()
    }
    whole = [same_document(document[epoch_rows(len(document), 512, 0, s)]) for s in range(111)]
    mean, low, high = interval(torch.tensor(whole) / chance, torch.Generator().manual_seed(0))
    print(f"chance: {chance:.3%} of the pairs; without mixing {same_document(document[:512]):.0%}")
    for n, a, b in zip(sizes, *mixed.values(), strict=True):
        print(f"{n:4} documents at a time: {a:5.1f} times chance; sae_lens {b:5.1f}")
    print(f"the order of an epoch: {mean:.2f} [{low:.2f}, {high:.2f}], 111 batches")
    curves = {name: (sizes, values) for name, values in mixed.items()}
    display(plots.lines(curves, "documents at a time", "same-document pairs / chance", log=True))

# %% [markdown]
# Of the rows that are served, half are new, a quarter have waited once, an eighth twice: with $m$ new
# documents at a time that gives $(\frac14 + \frac1{16} + \dots) / m = \frac1{3m}$ of the pairs, 6.3 times
# chance for 32. (`sae_lens` gets *worse* with a large buffer: what is left when the text ends is served
# in the order in which it came.) A store of many files can resume, too: `utils/activations`.
#
# ## 2 · Where to start
#
# Before the first step one chooses $b_\text{dec}$, directions, their length, and the unit of length.
# Inputs are often multiplied by one number, so that their mean norm is $\sqrt{d}$ (3.2.1 folded it in).
# $b_\text{dec}$ starts at the mean, or, against outliers, at the **geometric median**: the point with
# the least *sum of distances* to all rows (Bricken et al. 2023 start there).

# %% [markdown] tags=["task"]
# Return the geometric median by Weiszfeld's iteration. Start at the mean; `n_steps` times, move to the
# mean of the rows *weighted* by 1 / distance from the present point. A distance below $10^{-6}$ counts
# as $10^{-6}$.


# %% tags=["exercise"] exercise="3.2.8.b1" title="The geometric median" difficulty=2 importance=3 minutes=10 skill="robust centres"
def geometric_median(x: Float[Tensor, "row d"], n_steps: int) -> Float[Tensor, " d"]:
    """Weiszfeld: from the mean, n_steps times the mean weighted by 1 / max(distance, 1e-6)."""
    point = x.mean(dim=0)
    for _ in range(n_steps):
        weight = 1 / (x - point).norm(dim=1).clamp(min=1e-6)
        point = (weight[:, None] * x).sum(dim=0) / weight.sum()
    return point


# %% [markdown] tags=["hint"]
# At the least sum of distances the *unit* vectors to all rows cancel. Set that sum to zero, and solve
# for the point as if the distances were known.

# %% [markdown] tags=["hint"]
# One weight per row, from the distances of this step. The weighted mean is divided by the weights'
# sum.

# %% [markdown] tags=["task"]
# Return the parameters of an SAE at its start: `W_dec` has rows of length `norm` in uniformly random
# directions, `W_enc` is its transpose (memory of its own), `b_enc` is 0, `b_dec` is `centre` (a copy).
# Draw once: `torch.randn(latent, d, generator=gen)`.


# %% tags=["exercise"] exercise="3.2.8.b2" title="The first weights" difficulty=2 importance=4 minutes=8 skill="initialisation"
def starting_point(
    centre: Float[Tensor, " d_in"], latent: int, norm: float, gen: torch.Generator
) -> Params:
    """W_enc (d_in, latent), b_enc, W_dec (latent, d_in), b_dec: encoder = decoder transposed."""
    W_dec = torch.randn(latent, len(centre), generator=gen, device=gen.device)
    W_dec = norm * W_dec / W_dec.norm(dim=1, keepdim=True)
    b_enc = torch.zeros(latent, device=gen.device)
    return {"W_enc": W_dec.T.clone(), "b_enc": b_enc, "W_dec": W_dec, "b_dec": centre.clone()}


# %% [markdown] tags=["hint"]
# Divide each row by its own length, then multiply by `norm`.

# %% [markdown] tags=["hint"]
# `.T` is a view: an optimiser that changes the decoder would change the encoder, too. `.clone()`.

# %% [markdown] tags=["task"]
# A paper gives a coefficient $c$ for its penalty $c \sum_l f_l$ (decoder rows have length 1). In ours
# the squared error is *summed* over the `d` numbers of a row. There it was averaged over them if
# `averaged` is true. And our inputs are `scale` times theirs. Which coefficient has the same optimum
# here: the same latents, `scale` times as strong?


# %% tags=["exercise"] exercise="3.2.8.b3" title="A coefficient from elsewhere" difficulty=3 importance=4 minutes=10 skill="units"
def coefficient_here(c: float, d: int, averaged: bool, scale: float) -> float:
    """The coefficient of sum f with the same optimum for inputs times `scale`, error summed."""
    return c * (d if averaged else 1) * scale


# %% [markdown] tags=["hint"]
# A loss times a constant has the same optimum. How do squared error and penalty grow when everything
# is `scale` times as long?

# %% [markdown] tags=["hint"]
# The error grows with the square of the scale, the penalty with the scale itself. Check with one latent
# and one row: $f = x \cdot w - c/2$.

# %% [markdown]
# ## 3 · The step
#
# The learning rate rises over the first steps (Adam's averages are rough there), stays, and falls to
# nearly 0 at the end, which takes the noise out of the weights.

# %% [markdown] tags=["task"]
# Return the learning rate of step `step`, counted from 0, of `n_steps`. Over the first `warmup` steps
# it rises in equal parts, to `lr` at the last of them: step 0 has `lr / warmup`. Over the last `decay`
# steps it falls in equal parts: the first of them still has `lr`, the last `lr / decay`. Both may be 0,
# and they do not overlap.


# %% tags=["exercise"] exercise="3.2.8.c1" title="Up, along, down" difficulty=1 importance=3 minutes=6 skill="ends of a schedule"
def rate_at(step: int, n_steps: int, lr: float, warmup: int, decay: int) -> float:
    """Warm-up (step + 1) / warmup, then lr, then (n_steps - step) / decay."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = min(1.0, (n_steps - step) / decay) if decay else 1.0
    return lr * rise * fall


# %% [markdown] tags=["hint"]
# How many steps are left before step `step`? At the first of the last `decay` ones it is `decay`.

# %% [markdown] tags=["hint"]
# Two factors, each at most 1. Where a length is 0, its factor is 1.

# %% [markdown]
# Now the gradient, by hand. It is short, and it shows where the time goes. Inputs $x$ and targets $y$:
# for an SAE both are the same rows, and the encoder reads $x - b_\text{dec}$. A **transcoder** predicts
# other activations, and its encoder reads $x$ as it is.

# %% [markdown] tags=["task"]
# Return the loss of a TopK coder, squared error summed over `d_out`, mean over the batch, and its
# gradient for each parameter, without autograd.
#
# - The latents: the `k` largest pre-activations of a row, after a ReLU; all others 0. No two are equal.
# - If `centred` is true, the encoder reads $x - b_\text{dec}$, and `b_dec` has a gradient through it,
#   too. $y$ is a constant.
# - `params` has `W_enc` (d_in, latent), `b_enc`, `W_dec` (latent, d_out), `b_dec`.


# %% tags=["exercise"] exercise="3.2.8.c2" title="The gradient by hand" difficulty=4 importance=5 minutes=20 skill="backpropagation"
def coder_gradients(
    params: Params, x: Float[Tensor, "batch d_in"], y: Float[Tensor, "batch d_out"],
    k: int, centred: bool,
) -> tuple[Float[Tensor, ""], Params]:  # fmt: skip
    """(mean over rows of |f W_dec + b_dec - y|², its gradients), f = TopK(ReLU)."""
    read = x - params["b_dec"] if centred else x
    values, places = (read @ params["W_enc"] + params["b_enc"]).topk(k, dim=1)
    f = torch.zeros(len(x), len(params["b_enc"]), dtype=x.dtype, device=x.device)
    f = f.scatter(1, places, values.relu())
    missed = f @ params["W_dec"] + params["b_dec"] - y
    err = 2 * missed / len(x)
    g = (err @ params["W_dec"].T) * (f > 0)
    grads = {"W_enc": read.T @ g, "b_enc": g.sum(0), "W_dec": f.T @ err, "b_dec": err.sum(0)}
    if centred:
        grads["b_dec"] = grads["b_dec"] - params["W_enc"] @ g.sum(0)
    return missed.square().sum() / len(x), grads


# %% [markdown] tags=["hint"]
# Write `err` for the loss's derivative with respect to the output. What is it for `W_dec`, and for $f$?

# %% [markdown] tags=["hint"]
# The derivative passes only where a latent is active: call it `g`, on pre-activations. Then `W_enc` has
# `read.T @ g`.

# %% [markdown] tags=["hint"]
# `b_dec` stands at the output, and with a minus sign in front of the encoder. There its gradient is
# `-(g @ W_enc.T).sum(0)`, which needs no product of two large matrices: sum `g` first.


# %% tags=["given"]
def trained(
    params: Params, x: Tensor, y: Tensor, k: int, n_steps: int, lr: float = 3e-3,
    centred: bool = True, warmup: int = 50,
) -> tuple[Params, list[float]]:  # fmt: skip
    """Adam on batches of 512 rows: the trained weights, and the loss of every step."""
    live, losses = {name: value.clone() for name, value in params.items()}, []
    optimiser = torch.optim.Adam(live.values(), lr=lr)
    for step in track(range(n_steps), "training"):
        rows = epoch_rows(len(x), 512, 0, step)
        loss, grads = coder_gradients(live, x[rows], y[rows], k, centred)
        for name, value in live.items():
            value.grad = grads[name]
        torch.nn.utils.clip_grad_norm_(live.values(), 1.0)
        optimiser.param_groups[0]["lr"] = rate_at(step, n_steps, lr, warmup, n_steps // 4)
        optimiser.step()
        losses.append(float(loss))
    return live, losses


# %% [markdown] tags=["task"]
# We change one thing of the start at a time: $b_\text{dec}$ begins at 0; or the encoder's directions are
# drawn separately; or the decoder's rows have length 1 in place of 0.1. After 300 steps, which leaves
# most latents silent?


# %% tags=["predict"] exercise="3.2.8.P2" title="One bad start" difficulty=2 importance=3 minutes=2 skill="what a start decides" choices=["the bias at 0", "the separate encoder", "the long rows"]
predict_start = "the separate encoder"

# %% tags=["demo"] reveals=["predict_start"]
if __name__ == "__main__":
    scale = float(96**0.5 / raw.norm(dim=1).mean())
    x, held = raw * scale, raw_held * scale
    mean_row = x.mean(dim=0)

    def start(seed: int, latent: int = 384, norm: float = 0.1) -> Params:
        """A start for these rows."""
        return starting_point(mean_row, latent, norm, torch.Generator().manual_seed(seed))

    runs = {
        "as above": lambda s: start(s),
        "the bias at 0": lambda s: start(s) | {"b_dec": torch.zeros(96)},
        "the separate encoder": lambda s: start(s) | {"W_enc": start(s + 50)["W_enc"]},
        "the long rows": lambda s: start(s, norm=1.0),
    }
    losses = {}
    for name, make in runs.items():
        for seed in (0, 1):
            params, curve = trained(make(seed), x, x, 12, 300)
            missed, silent, _ = judged(params, held, held, 12)
            print(f"{name:22} seed {seed}: unexplained {missed:.3f}, silent {silent:.0%}")
        losses[name] = (list(range(1, 301)), curve)
    display(plots.lines(losses, "step", "loss of the batch", log=True))

# %% [markdown]
# What is unexplained ends between 0.020 and 0.024; the count of silent latents tells starts apart. A
# latent whose encoder points elsewhere than its decoder gets a gradient that does not fit its place, and
# loses. The rest is small here: so don't copy a start with faith, measure.
#
# **The decoder's norm.** $f W_\text{dec}$ stays the same if a latent is halved and its row doubled. An
# L1 penalty on $f$ alone could then be made as small as one likes. 3.1.5 kept rows at length 1 and
# removed the gradient's parallel part, which would only change the length. Newer code leaves
# lengths free and weighs $f_l$ with them: $\sum_l f_l \|w_l\|$. In the end the lengths are folded away.

# %% [markdown] tags=["task"]
# Return parameters with decoder rows of length 1 and the same output for every input, of a ReLU SAE.
# A row of zeros stays as it is, and its encoder, too.


# %% tags=["exercise"] exercise="3.2.8.c3" title="Fold the norms" difficulty=2 importance=4 minutes=8 skill="symmetries"
def unit_decoder(params: Params) -> Params:
    """Rows of W_dec / their norm; columns of W_enc and b_enc times it; the function stays."""
    norms = params["W_dec"].norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    folded = {"W_enc": params["W_enc"] * norms, "b_enc": params["b_enc"] * norms}
    return params | folded | {"W_dec": params["W_dec"] / norms[:, None]}


# %% [markdown] tags=["hint"]
# ReLU(c z) = c ReLU(z) for c > 0: what the row loses, the latent must gain.

# %% [markdown] tags=["hint"]
# A column of `W_enc` and an entry of `b_enc` belong to a latent. `torch.where` keeps zeros from
# dividing.

# %% [markdown]
# ## 4 · The silent ones
#
# A latent that is never active has no gradient, and stays silent. What counts as never? A number of
# *rows*: a number of batches means something else for every batch size. (In `sae_lens` the window
# counts batches, and its default of 1,000 finds no latent silent in a shorter run: no error, no
# warning, and the auxiliary loss never acts.)
#
# The cure of Gao et al. (2024) you wrote in 3.1.6: the dead latents reconstruct what the living ones
# leave over, with a small weight. `utils/saes/aux.py` has a variant's gradient, and all ten runs of part 7 use
# it.
#
# ## 5 · JumpReLU today
#
# TopK fixes L0. A JumpReLU SAE *learns* thresholds, with a pseudo-gradient (3.1.6). Three things have
# changed since. **First**, in the original only thresholds feel the penalty. Anthropic's update of
# January 2025 lets its gradient flow to the pre-activations as well, and so to all weights.

# %% [markdown] tags=["task"]
# Return the number of active latents (`pre` > `threshold`) of each row, with a gradient: with respect
# to `threshold` $-K/\varepsilon$ in each latent, as in `heaviside` (3.1.6.b3; $K$ is 1 where $|pre -
# threshold| < \varepsilon/2$, else 0). With respect to `pre` it is $+K/\varepsilon$ if `everywhere` is
# true, else 0. You may use `heaviside(z, theta, bandwidth)`: it takes `(batch inst latent)` and `(inst
# latent)`, and passes a gradient to `theta` only.


# %% tags=["exercise"] exercise="3.2.8.d1" title="Who feels the penalty?" difficulty=3 importance=4 minutes=14 skill="pseudo-gradients"
def step_count(
    pre: Float[Tensor, "batch latent"],
    threshold: Float[Tensor, " latent"],
    bandwidth: float,
    everywhere: bool,
) -> Float[Tensor, " batch"]:
    """Active latents per row; d/dthreshold -K / bandwidth, d/dpre its opposite or 0."""
    if not everywhere:
        return heaviside(pre[:, None], threshold[None], bandwidth).sum(dim=(1, 2))
    gap = threshold - pre  # active where it is below 0
    return heaviside(torch.zeros_like(gap)[None], gap, bandwidth).sum(dim=(0, 2))


# %% [markdown] tags=["hint"]
# Only the difference of `pre` and `threshold` counts. Which *one* number could play the role of theta?

# %% [markdown] tags=["hint"]
# A latent is active where $0 > \theta - z$: call `heaviside` with zeros for `z` and the gap for `theta`,
# and autograd does the rest. The gap has the batch's shape, so use the batch axis as `inst`.

# %% [markdown] tags=["task"]
# **Second**, a target. With $\lambda L_0$ one must try many $\lambda$ to get the L0 that one wants.
# Gemma Scope 2's penalty is quadratic; in `sae_lens`' code: $\frac{2}{T} (L_0 - T)^2$ for each row and
# a target $T$. Return its mean over the rows.


# %% tags=["exercise"] exercise="3.2.8.d2" title="A target for L0" difficulty=1 importance=4 minutes=5 skill="means and squares"
def quadratic_l0(count: Float[Tensor, " batch"], target: float) -> Float[Tensor, ""]:
    """Mean over rows of 2 / target · (count - target)²."""
    return (2 / target * (count - target).square()).mean()


# %% [markdown] tags=["hint"]
# Each row is compared with the target. Is that the same as comparing the mean?

# %% [markdown] tags=["hint"]
# Square first, then take the mean.

# %% [markdown] tags=["task"]
# Every row may have its L0, and yet some latents are active on most rows. Gemma Scope 2 adds a
# *frequency* penalty; here is a simple one of our own. `active` is 1 where a latent is active, else 0.
# Let $p_l$ be its mean over the batch. Return $\sum_l \max(p_l - \text{limit}, 0)^2$.


# %% tags=["exercise"] exercise="3.2.8.d3" title="Not always" difficulty=1 importance=3 minutes=5 skill="which axis first"
def frequency_penalty(active: Float[Tensor, "batch latent"], limit: float) -> Float[Tensor, ""]:
    """Sum over latents of (share of the batch on which it is active - limit)², where above."""
    return (active.mean(dim=0) - limit).relu().square().sum()


# %% [markdown] tags=["hint"]
# The share of a latent is a mean over the batch. It comes before the limit.

# %% [markdown] tags=["hint"]
# `relu` keeps what is above the limit.

# %% [markdown] tags=["task"]
# **Third**, Anthropic's pair. The count is replaced by $\sum_l \tanh(c\, f_l \|w_l\|)$, which saturates
# at 1: large activations are not shrunk. And a latent whose pre-activation is below its threshold is
# pulled up, by $\sum_l \max(\theta_l - z_l, 0) \|w_l\|$ with a tiny weight. (`sae_lens` pulls the dead
# only; so do we: where `dead` is true.) Return both, means over the rows. $f_l = z_l$ where $z_l >
# \theta_l$, else 0.


# %% tags=["exercise"] exercise="3.2.8.d4" title="Saturate, and pull up" difficulty=2 importance=3 minutes=8 skill="two forces"
def jump_penalties(
    pre: Float[Tensor, "batch latent"],
    threshold: Float[Tensor, " latent"],
    W_dec: Float[Tensor, "latent d_model"],
    scale: float,
    dead: Bool[Tensor, " latent"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(sum of tanh(scale f |w|), sum over dead of relu(threshold - pre) |w|), means over rows."""
    norms, f = W_dec.norm(dim=1), pre * (pre > threshold)
    below = (threshold - pre).relu() * norms * dead
    return (scale * f * norms).tanh().sum(dim=1).mean(), below.sum(dim=1).mean()


# %% [markdown] tags=["hint"]
# The norms are inside the tanh, with the activation.

# %% [markdown] tags=["hint"]
# Sums over latents, then means over rows. `dead` is a mask over latents.

# %% [markdown] tags=["task"]
# A JumpReLU SAE trains for 600 steps under the quadratic penalty (weight 1, target 12), once with the
# gradient to thresholds only, once to everything. Which ends with an L0 between 10 and 16?


# %% tags=["predict"] exercise="3.2.8.P3" title="Twelve, please" difficulty=3 importance=4 minutes=2 skill="what moves L0" choices=["neither", "thresholds only", "everything", "both"]
predict_target = "everything"

# %% tags=["demo"] reveals=["predict_target"]
if __name__ == "__main__":
    curves = {}
    for name, everywhere in (("thresholds only", False), ("everything", True)):

        def penalty(pre: Tensor, theta: Tensor, width: float, all_: bool = everywhere) -> Tensor:
            """The quadratic penalty."""
            return quadratic_l0(step_count(pre, theta, width, all_), 12.0)

        first = start(0) | {"log_threshold": torch.full((384,), -2.3)}
        gen = torch.Generator().manual_seed(0)
        params, l0 = train_jumprelu(x, first, jumprelu, penalty, 600, gen, bandwidth=0.5)
        pre = (held - params["b_dec"]) @ params["W_enc"] + params["b_enc"]
        f = pre * (pre > params["log_threshold"].exp())
        share = unexplained_share(held, f @ params["W_dec"] + params["b_dec"])
        print(f"{name}: L0 {float((f > 0).float().sum(dim=1).mean()):.1f} on other rows,", end=" ")
        print(f"unexplained {share:.3f}")
        curves[name] = (list(range(1, 601)), l0)
    display(plots.lines(curves, "step", "L0 of the batch", log=True, target=12.0))

# %% [markdown]
# Log-thresholds move by about one learning rate a step: in a short run they are late (L0 still falls at
# the end); the weights can move many pre-activations at once. This is about speed, no verdict.
#
# ## 6 · What the model makes of it
#
# The squared error counts all directions of a row alike. The model does not. A short last stage with the
# SAE *in the model* adds the divergence of its predictions (Karvonen 2025): the two losses are of
# different size, so the second is scaled to be as large as the first, by a number that is a constant.

# %% [markdown] tags=["task"]
# Return $m + k \cdot c$ with $c = m / \max(k, 10^{-8})$, through which no gradient flows; $m$ is the
# squared error and $k$ the divergence.


# %% tags=["exercise"] exercise="3.2.8.e" title="In equal parts" difficulty=2 importance=4 minutes=5 skill="detached factors"
def equal_parts(error: Float[Tensor, ""], kl: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """error + kl · (error / max(kl, 1e-8)), the bracket without gradient."""
    return error + kl * (error / kl.clamp(min=1e-8)).detach()


# %% [markdown] tags=["hint"]
# Without `detach` the divergence cancels: what would be left?

# %% [markdown] tags=["hint"]
# The value is twice the error; the gradient has both parts.

# %% [markdown] tags=["task"]
# An SAE with $k = 4$ trains for one pass over 400 stories more, once with both parts, once (the control)
# with the squared error alone. How much of the loss that the SAE costs the model do *both parts* save,
# compared with the control?


# %% tags=["predict"] exercise="3.2.8.P4" title="A last stage" difficulty=2 importance=3 minutes=2 skill="what is optimised" choices=["nothing: within 5 %", "5 % to 60 %", "more than 60 %"]
predict_stage = "5 % to 60 %"

# %% tags=["demo"] reveals=["predict_stage"]
if __name__ == "__main__":
    small, _ = trained(start(0), x, x, 4, 300)
    more, told = story_rows(400, n_pos, seed=2).ids, story_rows(100, n_pos, seed=3)
    ways = {"before": small}
    for name, loss in (("error alone", lambda m, k: m), ("both parts", equal_parts)):
        ways[name] = finetuned(story, small, 4, hook, more, loss, scale)
    put = {n: (lambda v, p=p: topk_output(p, v * scale, 4) / scale) for n, p in ways.items()}
    counts = torch.ones_like(told.mask)
    counts[:, 0] = False
    cost = measure(story.model, told.ids, counts, hook, put, loss_per_row, kl_per_row)
    nats = {n: (c.loss - cost["clean"].loss) / c.count for n, c in cost.items()}
    gen = torch.Generator().manual_seed(0)
    for name, params in ways.items():
        mean, low, high = (1000 * v for v in interval(nats[name], gen))
        print(f"{name:12} costs {mean:4.1f} [{low:.1f}, {high:.1f}] thousandths of a nat;", end=" ")
        print(f"unexplained {judged(params, held, held, 4)[0]:.4f}")
    gain = nats["error alone"] - nats["both parts"]
    saved, low, high = (1000 * v for v in interval(gain, gen))
    share = float(gain.mean() / nats["error alone"].mean())
    print(f"saved by both parts: {saved:.1f} [{low:.1f}, {high:.1f}], {share:.0%} (100 stories)")

# %% [markdown]
# The squared error hardly changes, and the model's loss does. What would have counted against it: an
# interval for the difference that holds 0. More training alone (the control) gives little of it.
#
# ## 7 · Reading runs
#
# First, what $k$ does to the latents. The dictionary has 384; we train with $k = 1$ up to $48$.

# %% [markdown] tags=["task"]
# With $k = 1$, what share of the latents is never active on 5,700 other rows?


# %% tags=["predict"] exercise="3.2.8.P5" title="One at a time" difficulty=2 importance=4 minutes=2 skill="a k too small" choices=["less than 10 %", "10 % to 50 %", "more than 50 %"]
predict_single = "more than 50 %"

# %% tags=["demo"] reveals=["predict_single"]
if __name__ == "__main__":
    table = {}
    for k in (1, 3, 6, 12, 24, 48):
        table[k] = judged(trained(start(0), x, x, k, 300)[0], held, held, k)
        missed, silent, often = table[k]
        print(f"k = {k:2}: unexplained {missed:.3f}, silent {silent:4.0%}, busy {often:.0%}")
    names = ("unexplained", "silent", "busy (on over 10 %)")
    columns = zip(names, zip(*table.values(), strict=True), strict=True)
    display(plots.lines({n: (list(table), list(v)) for n, v in columns}, "k", "share", log=True))

# %% [markdown]
# Too small a $k$: a few latents stand for everything, the rest never win. Too large: the error falls on
# and on, and nothing in *it* says stop; but latents become busy, most of them on a tenth of all words.
# (No story is about so many things.) So $k$ is read from who is silent and who is busy, not from the
# error. Which $k$ is *right* needs the truth: 3.2.10.
#
# One more number is worth having. Has a run ended, or was it stopped?

# %% [markdown] tags=["task"]
# Fit a straight line to the last `n` values of a curve (recorded at equal steps, `n` at least 2) by
# least squares. Return how much the line falls from the first of them to the last, over their mean: 0.1
# means that it still fell by a tenth. Rising gives a negative number. Compute in float64.


# %% tags=["exercise"] exercise="3.2.8.f" title="Still falling?" difficulty=2 importance=4 minutes=8 skill="trends under noise"
def late_fall(curve: Float[Tensor, " step"], n: int) -> float:
    """-(slope · (n - 1)) / mean of the last n values, slope by least squares."""
    last = curve[-n:].double()
    t = torch.arange(n, dtype=torch.float64, device=curve.device) - (n - 1) / 2
    slope = (t * last).sum() / t.square().sum()
    return float(-slope * (n - 1) / last.mean())


# %% [markdown] tags=["hint"]
# With the times centred, the slope is $\sum t\, y / \sum t^2$. First minus last would be all noise.

# %% [markdown] tags=["hint"]
# From the first to the last of $n$ points there are $n - 1$ steps.

# %% [markdown]
# **Ten runs.** Each differs from a healthy run in *one* thing, except: one is healthy (another seed),
# and one has two faults. Two references, `topk` and `relu`, are known to be healthy. The curves:
#
# - `unexplained` of the batch, and `held_out`: of other rows, *the right ones*;
# - `l0`; `silent`: the share of latents without an activation on the last 20,000 rows;
# - `mse`: the squared error in absolute numbers; `gradient`: its length before clipping.
#
# What each fault changes: $k$ (12 in the reference), the coefficient of L1, the warm-up (100 of 600
# steps), the learning rate, the number of latents ("expansion 1": as many as inputs), where the rows
# come from, the unit of their length. The settings are in the logs, but sealed.

# %% tags=["demo"]
if __name__ == "__main__":
    logs = shipped_runs()
    for name in sorted(n for n in logs if n.startswith("run_")):
        run, reference = logs[name], logs[f"{logs[name].architecture}_reference"]
        late = [late_fall(log.curve("held_out"), 9) for log in (run, reference)]
        print(f"{name} ({run.architecture}): late fall {late[0]:.2f}, reference {late[1]:.2f}")
        display(plots.beside_reference(run, reference, name))

# %% [markdown] tags=["task"]
# Run A (`topk`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P6" title="Run A" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_a = "k too small"

# %% [markdown] tags=["task"]
# Run B (`topk`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P7" title="Run B" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_b = "healthy"

# %% [markdown] tags=["task"]
# Run C (`relu`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P8" title="Run C" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_c = "L1 too small"

# %% [markdown] tags=["task"]
# Run D (`topk`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P9" title="Run D" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_d = "wrong data"

# %% [markdown] tags=["task"]
# Run E (`topk`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P10" title="Run E" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_e = "no warm-up"

# %% [markdown] tags=["task"]
# Run F (`topk`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P11" title="Run F" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_f = "expansion too large"

# %% [markdown] tags=["task"]
# Run G (`relu`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P12" title="Run G" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_g = "wrong input scale"

# %% [markdown] tags=["task"]
# Run H (`topk`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P13" title="Run H" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_h = "learning rate too low"

# %% [markdown] tags=["task"]
# Run I (`topk`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P14" title="Run I" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_i = "expansion 1"

# %% [markdown] tags=["task"]
# Run J (`relu`): what is wrong with it?


# %% tags=["predict"] exercise="3.2.8.P15" title="Run J" difficulty=3 importance=4 minutes=2 skill="reading curves" choices=["healthy", "k too small", "L1 too small", "no warm-up", "learning rate too low", "expansion 1", "expansion too large", "wrong data", "wrong input scale", "two of these faults"]
predict_run_j = "two of these faults"

# %% tags=["demo"] reveals=["predict_run_a", "predict_run_b", "predict_run_c", "predict_run_d", "predict_run_e", "predict_run_f", "predict_run_g", "predict_run_h", "predict_run_i", "predict_run_j"]
if __name__ == "__main__":
    for name in sorted(logs):
        under = logs[name].opened()
        shown = ("fault", "k", "lr", "warmup", "latent", "sparsity", "layer", "input_scale")
        print(f"{name:15} " + ", ".join(f"{n} {under[n]}" for n in shown))

# %% [markdown]
# | fault | the curve that shows it | here, against the reference |
# | --- | --- | --- |
# | k too small | `l0`, `silent`, `unexplained` | L0 1, 81 % silent, 0.115 for 0.016 |
# | L1 too small | `l0`, at the same `mse` at step 1 | L0 115 for 11 |
# | wrong data | `held_out` far above `unexplained` | 0.218 above 0.023; first `mse` 110 for 148 |
# | no warm-up | the first ten steps | at step 8 half is explained; in the reference 2 % |
# | expansion too large | `silent` | 68 % for 5 % |
# | wrong input scale | `mse` at step 1 | 900 times as large |
# | learning rate too low | late fall | 0.71 for 0.13: stopped, not finished |
# | expansion 1 | `unexplained` | 0.034 for 0.016, and few silent |
#
# Run E is *no worse* than the reference in the end: the loss only fell faster. (A warm-up is an insurance.
# Here nothing happened that it insures against.) G and C: alike but for `mse` and `gradient`: a scale of
# 30 *is* an L1 coefficient 30 times too small (part 2). D's loss is fine; the right rows show best that
# it learned another thing, the stream one block earlier. J has L0 102, and 9 times as much is
# unexplained on the right rows as on its own: L1 *and* data. `make runs` makes all of these again.
#
# ## 8 · Rows that spoil everything

# %% [markdown] tags=["task"]
# Return which rows to keep: those whose norm is at most `factor` times the median of the norms
# (`torch.median`, which takes the lower one of two middle values).


# %% tags=["exercise"] exercise="3.2.8.g" title="Outlier rows" difficulty=1 importance=3 minutes=4 skill="robust limits"
def kept_rows(x: Float[Tensor, "row d"], factor: float) -> Bool[Tensor, " row"]:
    """norm <= factor · median norm."""
    norms = x.norm(dim=1)
    return norms <= factor * norms.median()


# %% [markdown] tags=["hint"]
# Why the median? The mean follows the rows that it is to find.

# %% [markdown] tags=["hint"]
# `x.norm(dim=1)` has one number for each row.

# %% [markdown] tags=["task"]
# In SmolLM2's stream after block 11, one row in 124 of our text is a first token. What share of the
# *variance* of all rows is theirs?


# %% tags=["predict"] exercise="3.2.8.P16" title="One in a hundred" difficulty=2 importance=4 minutes=2 skill="first tokens" choices=["less than 10 %", "10 % to 90 %", "more than 90 %"]
predict_first = "more than 90 %"

# %% tags=["demo"] reveals=["predict_first"]
if __name__ == "__main__":
    where = loaded.hook("resid_post", min(11, loaded.n_layers - 1))
    text = sample_rows(loaded, n=32, seed=0)
    parts = [capture(loaded.model, ids, [where])[where] for ids in text.ids.split(16)]
    stream, is_first = torch.cat(parts), torch.zeros_like(text.mask)
    is_first[:, 0] = True
    rows, first_rows = stream[text.mask], is_first[text.mask]
    sets = {"all rows": rows, "without the first": rows[~first_rows]}
    for name, some in (sets | {"kept_rows(…, 5)": rows[kept_rows(rows, 5.0)]}).items():
        print(f"{name:18} {spread_of(some, geometric_median)}")
    off = (rows - rows.mean(dim=0)).square().sum(dim=1)
    share = float(off[first_rows].sum() / off.sum())
    print(f"{int(first_rows.sum())} first tokens have {share:.1%} of the variance")
    display(plots.norms(rows.norm(dim=1), first_rows))

# %% [markdown]
# An SAE that explains the first tokens and nothing else has an explained variance of 0.99 there. And it
# is worse than that: the input scale is 2.5 times too small for all other rows (so the L1 coefficient
# is 2.5 times too large), and the mean is nowhere near them. On these rows it is enough to leave out
# first tokens. In another draw (seed 100) one more row of 3,673 had a norm of 11,000 and 78 % of the
# remaining variance was in one dimension: a limit on the norm finds both.
# In `sae_lens` first tokens stay in unless `seqpos_slice` or `exclude_special_tokens` says otherwise.
#
# ## 9 · Other places
#
# Attention's $z$ has heads side by side (3.2.1): an SAE on it is trained in the same way. Its
# error is a sum over heads, and they differ.

# %% [markdown] tags=["task"]
# Return for each head the sum of squared errors over the sum of squared distances from the head's mean
# row, both over all rows and the head's numbers. No head is constant.


# %% tags=["exercise"] exercise="3.2.8.h" title="Head by head" difficulty=2 importance=3 minutes=7 skill="the head axis"
def unexplained_by_head(
    z: Float[Tensor, "row d_in"], z_hat: Float[Tensor, "row d_in"], heads: int
) -> Float[Tensor, " head"]:
    """Per head: sum |z - z_hat|² / sum |z - mean|²; heads are consecutive blocks of d_in."""
    error = (z - z_hat).square().unflatten(1, (heads, -1))
    spread = (z - z.mean(dim=0)).square().unflatten(1, (heads, -1))
    return error.sum(dim=(0, 2)) / spread.sum(dim=(0, 2))


# %% [markdown] tags=["hint"]
# `unflatten(1, (heads, -1))` splits the columns into blocks. Which sizes does `z` have then?

# %% [markdown] tags=["hint"]
# Both sums are over rows and over a head's own numbers. The mean is over rows.

# %% [markdown] tags=["task"]
# The heads of block 2 have between 12 % and 23 % of the variance of $z$. We train an SAE on $z$. Which
# head is left unexplained most?


# %% tags=["predict"] exercise="3.2.8.P17" title="Six heads" difficulty=2 importance=3 minutes=2 skill="what a sum hides" choices=["the one with the least variance", "the one with the most variance", "another one"]
predict_head = "the one with the least variance"

# %% tags=["demo"] reveals=["predict_head"]
if __name__ == "__main__":
    z, z_held = scaled_site(story, "z", stories, others)
    first = starting_point(z.mean(dim=0), 192, 0.1, torch.Generator().manual_seed(0))
    coder, _ = trained(first, z, z, 12, 300)
    by_head = unexplained_by_head(z_held, topk_output(coder, z_held, 12), 6)
    spread = (z_held - z_held.mean(dim=0)).square().sum(dim=0).unflatten(0, (6, -1)).sum(dim=1)
    print(f"attention SAE: unexplained {judged(coder, z_held, z_held, 12)[0]:.3f} in all")
    for h in range(6):
        print(f"   head {h}: {float(spread[h] / spread.sum()):.0%} of the variance,", end=" ")
        print(f"{float(by_head[h]):.3f} unexplained")
    a, a_held = scaled_site(story, "mlp_in", stories, others)
    b, b_held = scaled_site(story, "mlp_out", stories, others)
    first = starting_point(a.mean(dim=0), 192, 0.1, torch.Generator().manual_seed(0))
    coder, _ = trained(first | {"b_dec": b.mean(dim=0)}, a, b, 12, 300, centred=False)
    right, trap = (judged(coder, a_held, y, 12, centred=False)[0] for y in (b_held, a_held))
    print(f"transcoder of the MLP: unexplained {right:.3f}; scored against its input: {trap:.2f}")
    display(plots.heads(spread / spread.sum(), by_head))

# %% [markdown]
# A sum over all heads counts a loud head more. If heads matter alike to you, scale each to one norm, and
# say so on the card. The transcoder needed nothing new: other targets, no centring.
#
# ## 10 · What will it cost?

# %% [markdown] tags=["task"]
# Return for a training on `n_rows` rows: `"flops"`, `"bytes"` of weights, and `"data"` bytes.
#
# - A product of (n, m) and (m, p) takes $2nmp$ operations. Count dense products only: for the encoder
#   the forward one and the gradient of its weights; the gradient of its input only if `by_autograd`
#   (which forms it, to pass it to $b_\text{dec}$); for the decoder forward, weights and input, always.
# - Each of the parameters (both matrices, `b_enc`, `b_dec`) is held four times in float32: weight,
#   gradient, and Adam's two averages.
# - The data: `d_in` numbers of 2 bytes for each row, and `d_out` more if `target` differs from the input.


# %% tags=["exercise"] exercise="3.2.8.i1" title="The bill" difficulty=2 importance=4 minutes=10 skill="counting"
def training_cost(
    n_rows: int, d_in: int, d_out: int, latent: int, by_autograd: bool, target: bool
) -> dict[str, int]:
    """{"flops", "bytes", "data"} of a training."""
    encoder = (3 if by_autograd else 2) * d_in
    parameters = latent * (d_in + d_out) + latent + d_out
    return {
        "flops": 2 * n_rows * latent * (encoder + 3 * d_out),
        "bytes": 16 * parameters,
        "data": 2 * n_rows * (d_in + (d_out if target else 0)),
    }


# %% [markdown] tags=["hint"]
# Every product here is of `n_rows`, `latent` and one of the two widths. How many of each?

# %% [markdown] tags=["hint"]
# Four bytes, four copies. With autograd it is six products, by hand (3.2.8.c2) five.

# %% [markdown]
# FLOPs per second differ between machines, so run short pieces, and extrapolate. But a start costs time
# that does not grow with the steps.

# %% [markdown] tags=["task"]
# Pieces of `steps[i]` steps took `seconds[i]`. Fit seconds = start + per_step · steps by least squares
# (float64), and return the prediction for `n_steps`. The steps differ.


# %% tags=["exercise"] exercise="3.2.8.i2" title="The clock" difficulty=1 importance=3 minutes=6 skill="calibrate, then predict"
def predicted_seconds(
    steps: Int[Tensor, " run"], seconds: Float[Tensor, " run"], n_steps: int
) -> float:
    """start + per_step · n_steps of the least-squares line."""
    t, y = steps.double(), seconds.double()
    per_step = ((t - t.mean()) * (y - y.mean())).sum() / (t - t.mean()).square().sum()
    return float(y.mean() + per_step * (n_steps - t.mean()))


# %% [markdown] tags=["hint"]
# The line goes through the two means. Its slope is a covariance over a variance.

# %% [markdown] tags=["hint"]
# Dividing seconds by steps would charge the start to every step.

# %% tags=["demo"]
if __name__ == "__main__":
    clock = []
    for n in (20, 20, 40, 60):  # the first one warms up
        began = time.perf_counter()
        trained(start(0), x, x, 12, n)
        clock.append((n, time.perf_counter() - began))
    pieces, took = (torch.tensor(v) for v in zip(*clock[1:], strict=True))
    forecast = predicted_seconds(pieces, took, 400)
    bill = training_cost(400 * 512, 96, 96, 384, by_autograd=False, target=False)
    began = time.perf_counter()
    trained(start(0), x, x, 12, 400)
    measured = time.perf_counter() - began
    print(f"{400 * 512:,} rows, {bill['flops'] / 1e9:.0f} GFLOP, {bill['bytes'] / 1e6:.1f} MB")
    off = max(measured / forecast, forecast / measured)
    print(f"the forecast is within a factor of 1.5: {off < 1.5}")
    large = training_cost(10**9, 576, 576, 4608, by_autograd=True, target=False)
    print(f"a billion tokens, 4,608 latents: {large['flops'] / 1e15:.0f} PFLOP,", end=" ")
    print(f"{large['data'] / 1e12:.2f} TB of rows, {large['bytes'] / 1e6:.0f} MB of weights")

# %% [markdown]
# The rows are the large thing: a terabyte for a modest run. That is why one streams through a buffer, and
# pays with mixing.
#
# ## 11 · With `sae_lens`, and out of the house
#
# The library does all of this. What matters in its configuration, and what goes wrong in silence
# (6.54):
#
# - `override_model`, `override_dataset`: nothing is fetched. `seqpos_slice=(1, None)`: no first tokens.
# - `n_batches_in_buffer` × `context_size` must be at least the batch, or it stops; the defaults are not.
# - `dead_feature_window` counts *batches*: the default is longer than this run.
# - `normalize_activations` must be asked for; the scale is folded in when it saves.
# - `seed` in the configuration is ignored: call `torch.manual_seed`.
# - Clipping at 1 is built in; the squared error is summed over `d_in`.
# - W&B writes to a folder with `WANDB_MODE=offline`. No account is asked for. Later, `wandb sync
#   FOLDER/wandb/offline-run-…` uploads it, if you want that.

# %% tags=["demo"]
if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": os.environ.get("TQDM_DISABLE", "1")}
    import logging
    import warnings

    from datasets import Dataset
    from sae_lens import (
        SAE,
        LanguageModelSAERunnerConfig,
        LanguageModelSAETrainingRunner,
        LoggingConfig,
        TopKTrainingSAEConfig,
    )

    logging.getLogger("sae_lens").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # epochs, copies: nothing that concerns us
    n_steps = 300
    scaled = {"normalize_activations": "expected_average_only_in"}
    config = LanguageModelSAERunnerConfig(
        sae=TopKTrainingSAEConfig(d_in=96, d_sae=384, k=12, **scaled),
        model_name="tiny_story_4l", hook_name=hook, dataset_path="", streaming=False,
        context_size=n_pos, seqpos_slice=(1, None), prepend_bos=False,
        training_tokens=n_steps * 512, train_batch_size_tokens=512,
        store_batch_size_prompts=16, n_batches_in_buffer=16, n_batches_for_norm_estimate=10,
        lr=3e-3, lr_warm_up_steps=50, lr_decay_steps=75,
        dead_feature_window=40, feature_sampling_window=100,
        output_path=str(folder / "sae"), checkpoint_path=None,
        logger=LoggingConfig(wandb_project="course", log_weights_to_wandb=False),
    )  # fmt: skip
    torch.manual_seed(0)
    texts = Dataset.from_dict({"input_ids": story_rows(1500, n_pos, seed=4).ids.tolist()})
    local = {"override_model": story.model, "override_dataset": texts}
    in_memory = LanguageModelSAETrainingRunner(config, **local).run()
    history = [h for h in wandb_history(folder) if "metrics/explained_variance" in h]
    print(f"{len(history)} records in {next(folder.glob('wandb/offline-run-*')).name[:11]}…")
    logged = {"unexplained": [1 - h["metrics/explained_variance"] for h in history]}
    logged["dead latents / 384"] = [h["sparsity/dead_features"] / 384 for h in history]
    at = [h["_step"] + 1 for h in history]
    display(plots.lines({n: (at, v) for n, v in logged.items()}, "step", "share", log=False))

# %% [markdown]
# These are the numbers of W&B's own file: what the notebook plots is what would be synced.
#
# **Publishing.** Weights go out as safetensors: numbers and nothing that runs (a pickle can run code when
# it is opened). A **card** says what no file says: model and revision, hook, data, positions that were
# left out, the scale and that it is folded in, $k$, seed, the code's version, metrics with the text that
# they were measured on, what does not work, licence. `artifacts/README.md` lists ours.

# %% tags=["demo"]
if __name__ == "__main__":
    again = SAE.load_from_disk(folder / "sae", device="cpu")
    with torch.no_grad():
        out, before = again(raw_held), in_memory(raw_held)
    print(f"loaded back: outputs differ by at most {float((out - before).abs().max()):.0e}")
    print("An upload would send, to a repository that you name:")
    for file in sorted((folder / "sae").iterdir()):
        print(f"   residual_2/{file.name:28} {file.stat().st_size:9,} bytes")
    mine = fold_input_scale(trained(start(0), x, x, 12, 300)[0], scale)
    share = unexplained_share(raw_held, topk_output(mine, raw_held, 12))
    print(f"our own, scale folded in: unexplained {share:.3f}")

# %% [markdown]
# With a network and an account, `sae_lens.upload_saes_to_huggingface({"residual_2": folder / "sae"}, repo)`
# would send `cfg.json`, the weights, the sparsity and the runner's configuration, and a page of its own
# if the repository has none: your card is not among its files, so send that yourself. What loads back
# equal here loads equal there.
#
# ## What you should be able to do now
#
# - Say how mixed a batch is, in units of chance, and write a store that goes on where it stopped.
# - Choose start, scale and schedule, and tell from counts (not only the loss) which choice was bad.
# - Write a training step by hand, and reach a wanted L0 with JumpReLU.
# - Read a run: name its fault and the curve that shows it, or say that it is healthy.
# - Predict a run's cost, train with the library, and publish so that others load the same function.
#
# ## Open questions
#
# 1. Is there a learning rate at which a warm-up pays here, and does it depend on the batch's size?
# 2. Does the last stage on KL make latents less clear, or clearer?
# 3. Which metric, without labels, would have told the right $k$?
