# %% [markdown]
# # 3.1.5 Sparse autoencoders on toy models
#
# A toy model in superposition writes five features into two dimensions. Now turn the question
# around. You see only the two numbers. Can you find the five features again?
#
# A **sparse autoencoder** (SAE) tries. It writes each activation as a sum of a few directions out
# of a larger set, and it learns the set. In a language model nobody can say whether it found the
# right directions. Here we can: we know the features, because we made them.
#
# So this section is a test bench. You build an SAE, watch it fail, and repair it. Then you build
# the variants that the field has used since, and compare all of them on data whose truth is known.
#
# ## What you will learn
#
# 1. Write an SAE, its loss, and a training loop that keeps the decoder on the unit sphere.
# 2. Say what a dead latent is, why it stays dead, and how resampling revives it.
# 3. Score an SAE against known features, one to one.
# 4. Derive how much the L1 penalty shrinks every activation, and measure it.
# 5. Build the variants that avoid this: Gated, JumpReLU with a custom gradient, TopK, BatchTopK.
# 6. Build a Matryoshka SAE, and see what it does for features that contain each other.
# 7. Say when tied weights help, and which features an SAE loses first.
# 8. Compare all variants: L0, variance unexplained, features recovered.
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | feature | a property of the data; it has a direction $W_i$ that we know |
# | latent | a unit of the SAE. It has an encoder column, a bias and a decoder row |
# | activation $h$ | what the SAE sees: the hidden layer of the toy model, with `d_in` numbers |
# | pre-activation $z$ | what a latent computes before its nonlinearity |
# | $f$ or `acts` | what the latents put out: non-negative, mostly 0 |
# | alive, dead | a latent that is sometimes active, never active |
# | L0 | the average number of active latents per row |
#
# This section is longer than the others: it holds seven architectures and the tools to compare
# them. The parts after part 4 can be read in any order.

# %% tags=["setup"]
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from part31_superposition.s1_nonprivileged_basis import sparse_features
from utils.given.sae_variants import Architecture, Pair, Silence, hole_share, tree_features
from utils.plots import sae as plots
from utils.plots.film import save_film
from utils.progress import track
from utils.toy import Run, ToyConfig, TrainConfig, fit, init_toy, train_toy_fast

Params = dict[str, Tensor]  # "W_enc", "b_enc", "W_dec", "b_dec"; a tied SAE has no "W_enc"

# %% [markdown]
# ## 1 · The autoencoder
#
# The SAE of Bricken et al. (2023), *Towards Monosemanticity*, in two lines:
#
# $$f = \mathrm{ReLU}\big((h - b_\text{dec})\, W_\text{enc} + b_\text{enc}\big), \qquad
#   \hat h = f\, W_\text{dec} + b_\text{dec} .$$
#
# Vectors are rows here, so matrices stand on the right. Row $l$ of $W_\text{dec}$ is the direction
# of latent $l$. Two design choices deserve a reason.
#
# - **The decoder rows have length 1.** The loss will punish large $f$. With free rows the SAE could
#   make $f$ tiny and the rows huge, and dodge the punishment.
# - **$b_\text{dec}$ is subtracted before encoding.** It is the origin from which directions are
#   measured.
#
# As in 3.1.1 every tensor has an axis `inst`: many SAEs train side by side and share nothing.
#
# | parameter | shape |
# | --- | --- |
# | `W_enc` | `(inst, d_in, latent)` |
# | `b_enc` | `(inst, latent)` |
# | `W_dec` | `(inst, latent, d_in)` |
# | `b_dec` | `(inst, d_in)` |
#
# A **tied** SAE has no `W_enc`: it reads along the directions that it writes, with
# $W_\text{enc} = W_\text{dec}^\top$.

# %% [markdown] tags=["task"]
# Return a dictionary with the parameters of fresh SAEs.
#
# - `W_dec`: every row is a unit vector, all directions equally likely.
# - `encoder="independent"`: `W_enc` is drawn in the same way, but separately. Its *columns* are
#   unit vectors. `encoder="transposed"`: `W_enc` starts as a copy of the transposed decoder.
#   `encoder="tied"`: no `W_enc` at all. Anything else is a `ValueError` that names it.
# - Both biases are 0. Everything lives on `gen.device`.


# %% tags=["exercise"] exercise="3.1.5.a" title="The parameters" difficulty=2 importance=4 minutes=12 skill="shapes, uniform directions"
def init_sae(inst: int, d_in: int, latent: int, encoder: str, gen: torch.Generator) -> Params:
    """Parameters with unit decoder rows in random directions and zero biases.

    `encoder` is "independent", "transposed" or "tied"; any other raises ValueError with its name.
    """
    if encoder not in ("independent", "transposed", "tied"):
        raise ValueError(f"unknown encoder {encoder!r}")
    directions = torch.randn(2, inst, latent, d_in, generator=gen, device=gen.device)
    W_dec, other = directions / directions.norm(dim=-1, keepdim=True)
    params = {"W_dec": W_dec.clone()}
    params["b_enc"] = torch.zeros(inst, latent, device=gen.device)
    params["b_dec"] = torch.zeros(inst, d_in, device=gen.device)
    if encoder != "tied":
        params["W_enc"] = (other if encoder == "independent" else W_dec).mT.clone()
    return params


# %% [markdown] tags=["hint"]
# Which distribution has no preferred direction? Are the corners of a cube more crowded than its
# faces?

# %% [markdown] tags=["hint"]
# Normal numbers have no preferred direction. Draw `(inst, latent, d_in)` of them with `torch.randn`
# and divide each row by its norm.

# %% [markdown] tags=["hint"]
# `.mT` swaps the last two axes. It is a view: `.clone()` makes the encoder's memory its own.

# %% [markdown] tags=["task"]
# Scale every row to length 1. We need this after every training step.
#
# A row of zeros stays a row of zeros, without NaN. Rows may be short: $10^{-6}$ must also become 1.


# %% tags=["exercise"] exercise="3.1.5.b" title="Unit rows" difficulty=1 importance=4 minutes=5 skill="normalising safely"
def unit_rows(W: Float[Tensor, "inst latent d_in"]) -> Float[Tensor, "inst latent d_in"]:
    """Scale each row (last axis) to length 1; zero rows stay zero."""
    return W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)  # a zero row has norm 0


# %% [markdown] tags=["hint"]
# Which axis holds the numbers of one direction? That axis must survive the division with size 1.

# %% [markdown] tags=["hint"]
# `W.norm(dim=-1, keepdim=True)`. Guard the division with `.clamp(min=...)`; adding a constant
# instead would change short rows.

# %% [markdown]
# ### The data
#
# The SAE never sees a feature. It sees $h = Wx$, the hidden layer of a trained toy model. With five
# features in two dimensions, sparse enough, $W$ is a pentagon (3.1.1).

# %% [markdown] tags=["task"]
# Draw sparse features with `sparse_features` and return the activations $h = Wx$ for every
# instance.


# %% tags=["exercise"] exercise="3.1.5.c" title="Activations as data" difficulty=1 importance=4 minutes=5 skill="a model as a data source"
def hidden_activations(
    W: Float[Tensor, "inst d_in feature"],
    probability: Float[Tensor, "#inst #feature"] | float,
    batch: int,
    gen: torch.Generator,
) -> Float[Tensor, "batch inst d_in"]:
    """Hidden layer W x of the toy models for a fresh batch of sparse features x."""
    inst, _, feature = W.shape
    x = sparse_features(batch, inst, feature, probability, gen)
    return einsum(x, W, "batch inst feature, inst d_in feature -> batch inst d_in")


# %% [markdown] tags=["hint"]
# The hidden layer comes *before* the toy model's bias and ReLU.

# %% [markdown] tags=["hint"]
# `inst, d_in, feature = W.shape`, then one call of `sparse_features` and one einsum.

# %% [markdown]
# ### Forward and loss

# %% [markdown] tags=["task"]
# Return the pre-activations $z = (h - b_\text{dec})\,W_\text{enc} + b_\text{enc}$. No ReLU yet: the
# variants below replace it.


# %% tags=["exercise"] exercise="3.1.5.d1" title="Pre-activations" difficulty=1 importance=5 minutes=5 skill="einsum with an instance axis"
def preactivations(
    h: Float[Tensor, "batch inst d_in"],
    W_enc: Float[Tensor, "inst d_in latent"],
    b_enc: Float[Tensor, "inst latent"],
    b_dec: Float[Tensor, "inst d_in"],
) -> Float[Tensor, "batch inst latent"]:
    """Compute (h - b_dec) W_enc + b_enc, per instance (Bricken 2023)."""
    centred = h - b_dec
    z = einsum(centred, W_enc, "batch inst d_in, inst d_in latent -> batch inst latent")
    return z + b_enc


# %% [markdown] tags=["hint"]
# Three steps: subtract, multiply, add. Which bias has which shape?

# %% [markdown] tags=["hint"]
# In the einsum `d_in` is summed over; `inst` stays on both sides.

# %% [markdown] tags=["task"]
# Return the reconstruction $\hat h = f\,W_\text{dec} + b_\text{dec}$.


# %% tags=["exercise"] exercise="3.1.5.d2" title="Decode" difficulty=1 importance=5 minutes=4 skill="einsum with an instance axis"
def sae_decode(
    acts: Float[Tensor, "batch inst latent"],
    W_dec: Float[Tensor, "inst latent d_in"],
    b_dec: Float[Tensor, "inst d_in"],
) -> Float[Tensor, "batch inst d_in"]:
    """Compute acts W_dec + b_dec, per instance."""
    return einsum(acts, W_dec, "batch inst latent, inst latent d_in -> batch inst d_in") + b_dec


# %% [markdown] tags=["hint"]
# Which axis is summed over now?

# %% [markdown] tags=["hint"]
# The bias of the output is the point that the encoder subtracted.

# %% [markdown]
# The loss of one row $h$ has two terms:
#
# $$L_2 = \frac{1}{d_\text{in}} \sum_{k} (h_k - \hat h_k)^2, \qquad
#   L_1 = \sum_{l} |f_l|, \qquad L = L_2 + \lambda\, L_1 .$$
#
# The first is a *mean* over `d_in`: it should not grow with the width of the model. The second is a
# *sum* over latents: it counts, softly, how many are active. $\lambda$ (`l1_coeff`) trades one for
# the other. The batch is averaged. Instances are summed, so that each trains as if it were alone.

# %% [markdown] tags=["task"]
# Return the two terms for every row and instance: the pair `(L2, L1)`, each of shape
# `(batch, inst)`.


# %% tags=["exercise"] exercise="3.1.5.d3" title="The two terms" difficulty=1 importance=5 minutes=6 skill="which axes are averaged"
def loss_terms(
    h: Float[Tensor, "batch inst d_in"],
    h_hat: Float[Tensor, "batch inst d_in"],
    acts: Float[Tensor, "batch inst latent"],
) -> tuple[Float[Tensor, "batch inst"], Float[Tensor, "batch inst"]]:
    """Squared error, mean over d_in; absolute activations, sum over latent."""
    return (h - h_hat).square().mean(dim=-1), acts.abs().sum(dim=-1)


# %% [markdown] tags=["hint"]
# Each term removes exactly one axis. Which one? By a mean or by a sum?

# %% [markdown] tags=["hint"]
# Both reduce `dim=-1`, and neither touches the batch.

# %% [markdown] tags=["task"]
# Return the loss, a tensor with no axes: $L_2 + \lambda L_1$, mean over the batch, sum over
# instances. `l1_coeff` is a number, or one number per instance. Call `loss_terms`.


# %% tags=["exercise"] exercise="3.1.5.d4" title="The loss" difficulty=1 importance=5 minutes=5 skill="reductions, broadcasting"
def sae_loss(
    h: Float[Tensor, "batch inst d_in"],
    h_hat: Float[Tensor, "batch inst d_in"],
    acts: Float[Tensor, "batch inst latent"],
    l1_coeff: float | Float[Tensor, " inst"],
) -> Float[Tensor, ""]:
    """Compute L2 + l1_coeff L1, mean over batch, sum over inst."""
    l2, l1 = loss_terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1).mean(dim=0).sum()


# %% [markdown] tags=["hint"]
# `(batch, inst)` times `(inst,)` broadcasts as you want it. When must the multiplication happen:
# before or after the instances are summed?

# %% [markdown] tags=["hint"]
# `.mean(dim=0)` is over the batch and leaves `(inst,)`.


# %% tags=["given"]
def sae_forward(
    params: Params, h: Float[Tensor, "batch inst d_in"]
) -> tuple[Float[Tensor, "batch inst latent"], Float[Tensor, "batch inst d_in"]]:
    """Activations and reconstruction of a ReLU SAE, tied or not."""
    W_enc = params["W_enc"] if "W_enc" in params else params["W_dec"].mT
    acts = preactivations(h, W_enc, params["b_enc"], params["b_dec"]).relu()
    return acts, sae_decode(acts, params["W_dec"], params["b_dec"])


# %% [markdown]
# ## 2 · Training on the sphere
#
# Gradient descent does not know that decoder rows must have length 1. After each step we scale them
# back. But think of the step as two moves: one *along* the row and one *across* it. The move along
# the row only changes its length, and the scaling undoes that at once. Worse, Adam remembers it:
# its running averages fill up with gradients that never lead anywhere.
#
# So we remove this component *before* the step (Bricken et al. 2023). With the unit row $\hat w$:
#
# $$g_\perp = g - (g \cdot \hat w)\, \hat w .$$

# %% [markdown] tags=["task"]
# Remove from each row of the gradient its component parallel to the decoder row.
#
# Don't assume that the rows of `W_dec` have length 1: normalise them first. A zero row has no
# direction, and then the gradient stays as it is.


# %% tags=["exercise"] exercise="3.1.5.e1" title="Remove the parallel component" difficulty=2 importance=4 minutes=8 skill="projections"
def remove_parallel(
    grad: Float[Tensor, "inst latent d_in"], W_dec: Float[Tensor, "inst latent d_in"]
) -> Float[Tensor, "inst latent d_in"]:
    """Compute g - (g . w) w for each row, w being the unit decoder row."""
    direction = unit_rows(W_dec)
    along = (grad * direction).sum(dim=-1, keepdim=True)
    return grad - along * direction


# %% [markdown] tags=["hint"]
# What is the dot product of your result with the decoder row?

# %% [markdown] tags=["hint"]
# The dot product of each pair of rows: multiply, then sum over `d_in` with `keepdim=True`.

# %% [markdown] tags=["task"]
# Write the training loop of the SAE. It is the loop of 3.1.1 with two extra moves.
#
# 1. Set the learning rate, clear the gradients, compute `sae_loss` with `sae_forward`, go backward.
# 2. Replace the gradient of `W_dec` by what `remove_parallel` leaves of it.
# 3. Step. 4. Scale the rows of `W_dec` back with `unit_rows`.
#
# - Work on copies: the tensors that you were given must not change.
# - Use `torch.optim.Adam` with default betas, one optimiser for the whole run.
# - The optimiser must keep training *the same tensors*. A new `W_dec` in step 4 would be unknown to
#   it: write into the old one, inside `torch.no_grad()`.
# - Return the trained parameters and the loss of each step before its update, all detached.


# %% tags=["exercise"] exercise="3.1.5.e2" title="The training loop" difficulty=3 importance=5 minutes=20 skill="constraints inside a training loop"
def train_sae(
    params: Params,
    batches: Iterable[Float[Tensor, "batch inst d_in"]],
    learning_rates: Iterable[float],
    l1_coeff: float | Float[Tensor, " inst"],
) -> tuple[Params, Float[Tensor, " step"]]:
    """Train copies of the parameters with Adam; decoder rows keep length 1 (Bricken 2023).

    Returns the parameters and the loss of every step (before its update), detached.
    """
    live = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
    optimizer, losses = torch.optim.Adam(live.values()), []
    for h, lr in zip(batches, learning_rates, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        acts, h_hat = sae_forward(live, h)
        loss = sae_loss(h, h_hat, acts, l1_coeff)
        loss.backward()
        grad = live["W_dec"].grad
        assert grad is not None  # for the type checker
        with torch.no_grad():
            grad.copy_(remove_parallel(grad, live["W_dec"]))
            optimizer.step()
            live["W_dec"].copy_(unit_rows(live["W_dec"]))
        losses.append(loss.detach())
    return {name: value.detach() for name, value in live.items()}, torch.stack(losses)


# %% [markdown] tags=["hint"]
# Which of the moves belongs between `backward()` and `step()`, and which after `step()`?

# %% [markdown] tags=["hint"]
# `W.grad = ...` and `W.copy_(...)` inside `with torch.no_grad():` change the leaf that the
# optimiser holds. `W = unit_rows(W)` makes a new tensor that it does not hold.

# %% [markdown] tags=["hint"]
# `live = {name: value.detach().clone().requires_grad_() for name, value in params.items()}`; then
# `torch.optim.Adam(live.values())`.

# %% [markdown]
# Now the data. Sixteen toy models, five equally important features, two dimensions, $p = 0.025$.
# Then sixteen SAEs with five latents each: exactly as many as there are features, so none may be
# wasted. The encoder starts independently of the decoder. Look at the picture: grey arrows are the
# true features, dots are decoder rows.

# %% tags=["demo"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    settings = TrainConfig(4000, 1024, 5e-3, "cosine", label="toy models")
    W_toy = train_toy_fast(*init_toy(ToyConfig(16, 5, 2), gen), 1.0, 0.025, settings, gen).W
    start = init_sae(16, 2, 5, "independent", gen)
    batches = (hidden_activations(W_toy, 0.025, 256, gen) for _ in range(2000))
    rates = [0.03 * (1 - step / 2000) for step in range(2000)]
    trained, losses = train_sae(start, track(batches, "your loop", 2000), rates, 0.3)
    acts, _ = sae_forward(trained, hidden_activations(W_toy, 0.025, 20_000, gen))
    silent = (acts == 0).all(dim=0)
    plots.latents_in_plane(W_toy, trained["W_dec"], silent.long()).show()
    print(f"silent on 20,000 rows: {int(silent.sum())} of {silent.numel()} latents")

# %% [markdown]
# Many latents are grey rings: they did not fire once in 20,000 rows. What happened to them?
#
# A ReLU that is never active has gradient 0, on its encoder, its bias and its decoder row. So
# nothing can bring it back. It is **dead**. Dying is easy: the L1 term pushes every active latent's
# bias down, and a latent whose encoder points nowhere useful has nothing that pushes back.
#
# With five latents for five features, one dead latent means one lost feature.

# %% [markdown]
# ## 3 · Resampling
#
# Bricken et al. (2023) revive dead latents: every so often, look who was silent in a long window,
# and give those latents new weights. Four questions follow. Who is dead? Where should the new
# latent point? How strong should it start? And what does the optimiser remember of the old one?

# %% [markdown] tags=["task"]
# A window holds the activations of several training steps. Return, for each instance and latent,
# whether it is dead: *never* active in the whole window. A latent that is active once, however
# weakly, is alive.


# %% tags=["exercise"] exercise="3.1.5.f1" title="Who is dead?" difficulty=1 importance=4 minutes=5 skill="any and all over axes"
def dead_latents(window: Float[Tensor, "step batch inst latent"]) -> Bool[Tensor, "inst latent"]:
    """Find latents whose activation is 0 in every step and row of the window."""
    return (window == 0).all(dim=0).all(dim=0)


# %% [markdown] tags=["hint"]
# A sparse latent is *silent* in most rows. Is it dead? Which of `any` and `all` do you need?

# %% [markdown] tags=["hint"]
# `(window == 0)` is a mask; `.all(dim=0)` removes the first axis. There are two axes to remove.
# Activations come out of a ReLU, so a 0 is exactly 0.

# %% [markdown] tags=["task"]
# **Simple resampling.** Give each dead latent a random unit direction. Its decoder row *and* its
# encoder column become this direction, and its encoder bias becomes 0. Nothing else changes.
#
# - Return a new dictionary. The tensors that you were given must not change.
# - Each dead latent gets a direction of its own. A tied SAE (no `"W_enc"`) works too.


# %% tags=["exercise"] exercise="3.1.5.f2" title="Simple resampling" difficulty=2 importance=4 minutes=12 skill="masked updates"
def resample_simple(
    params: Params, dead: Bool[Tensor, "inst latent"], gen: torch.Generator
) -> Params:
    """Give dead latents a random unit direction for decoder and encoder, and bias 0."""
    W_dec, mask = params["W_dec"], dead[..., None]
    noise = torch.randn(W_dec.shape, generator=gen, device=W_dec.device, dtype=W_dec.dtype)
    direction = unit_rows(noise)
    new = {**params, "W_dec": torch.where(mask, direction, W_dec)}
    new["b_enc"] = params["b_enc"].masked_fill(dead, 0)
    if "W_enc" in params:
        new["W_enc"] = torch.where(mask.mT, direction.mT, params["W_enc"])
    return new


# %% [markdown] tags=["hint"]
# Draw a direction for *every* latent and keep it only where `dead` is true. Which shape must the
# mask have to choose whole rows?

# %% [markdown] tags=["hint"]
# `torch.where(dead[..., None], direction, W_dec)` chooses rows. The encoder has its axes swapped:
# use `.mT` on mask and direction.

# %% [markdown] tags=["hint"]
# `{**params, "W_dec": ...}` is a new dictionary with one entry replaced.

# %% [markdown]
# A random direction is a guess. **Loss-proportional resampling** asks the data instead: which rows
# are badly reconstructed? A new latent that points at one of them has work to do. Bricken et al.
# draw row $n$ with a probability proportional to the *square* of its loss,
#
# $$P(n) = \frac{L_n^2}{\sum_{m} L_m^2},$$
#
# separately for each instance. We use the reconstruction term $L_2$ as the loss of a row.

# %% [markdown] tags=["task"]
# Return these probabilities. Where all losses of an instance are 0, every row is equally likely.


# %% tags=["exercise"] exercise="3.1.5.g1" title="Where is the loss?" difficulty=2 importance=4 minutes=8 skill="normalising a distribution"
def resample_probabilities(l2: Float[Tensor, "batch inst"]) -> Float[Tensor, "batch inst"]:
    """Probability of each row: its squared loss, normalised over the batch; uniform if all are 0."""
    squares = l2.square()
    total = squares.sum(dim=0)
    return torch.where(total > 0, squares / total.clamp(min=1e-30), 1 / len(l2))


# %% [markdown] tags=["hint"]
# Over which axis must the result sum to 1?

# %% [markdown] tags=["hint"]
# `torch.where(condition, a, b)` computes both `a` and `b`. Keep the division in `a` safe.

# %% [markdown] tags=["task"]
# Draw rows: for each instance `n_latent` independent row numbers from that instance's
# probabilities, with replacement. Return integers of shape `(inst, latent)`.
#
# Every random number comes from `gen`. The check looks at the distribution.


# %% tags=["exercise"] exercise="3.1.5.g2" title="Draw rows" difficulty=2 importance=3 minutes=6 skill="sampling from a table"
def draw_rows(
    probabilities: Float[Tensor, "batch inst"], n_latent: int, gen: torch.Generator
) -> Int[Tensor, "inst latent"]:
    """Row numbers from each instance's distribution over the batch, independent, with replacement."""
    return torch.multinomial(probabilities.mT, n_latent, replacement=True, generator=gen)


# %% [markdown] tags=["hint"]
# `torch.multinomial` draws from each *row* of a matrix. Are your distributions rows or columns?

# %% [markdown] tags=["hint"]
# With replacement, one row number may come up twice. Without, a batch with a single bad row would
# be an error.

# %% [markdown] tags=["task"]
# Point dead latent $l$ of each instance at row $n$ = `rows[inst, l]` of the batch. With
#
# $$v = \frac{h_n - b_\text{dec}}{\|h_n - b_\text{dec}\|}$$
#
# the decoder row becomes $v$, the encoder bias 0, and the encoder column $s \cdot \bar e \cdot v$.
# Here $\bar e$ is the mean norm of the encoder columns of the *alive* latents of this instance (1
# if none is alive), and $s$ is `scale`. Bricken et al. take $s = 0.2$: the newcomer starts softly.
#
# A tied SAE has no encoder to set. Everything else stays; return a new dictionary.


# %% tags=["exercise"] exercise="3.1.5.g3" title="Point at the loss" difficulty=3 importance=4 minutes=20 skill="advanced indexing, masked means"
def resample_to_rows(
    params: Params,
    dead: Bool[Tensor, "inst latent"],
    h: Float[Tensor, "batch inst d_in"],
    rows: Int[Tensor, "inst latent"],
    scale: float,
) -> Params:
    """Dead latents take the unit direction of their row, the encoder at `scale` x the alive mean."""
    inst = torch.arange(len(rows), device=rows.device)[:, None]
    direction = unit_rows((h - params["b_dec"])[rows, inst])
    mask, new = dead[..., None], dict(params)
    new["W_dec"] = torch.where(mask, direction, params["W_dec"])
    new["b_enc"] = params["b_enc"].masked_fill(dead, 0)
    if "W_enc" in params:
        norms, n_alive = params["W_enc"].norm(dim=1), (~dead).sum(dim=-1)
        mean = norms.masked_fill(dead, 0).sum(dim=-1) / n_alive.clamp(min=1)
        size = scale * torch.where(n_alive > 0, mean, 1.0)[:, None, None]
        new["W_enc"] = torch.where(mask.mT, (size * direction).mT, params["W_enc"])
    return new


# %% [markdown] tags=["hint"]
# `h[rows, inst]` picks one row per instance and latent, if `inst` counts the instances in a column:
# `torch.arange(n_inst)[:, None]`. The two index tensors broadcast to `(inst, latent)`.

# %% [markdown] tags=["hint"]
# Mean over the alive only: set the dead norms to 0, sum, and divide by the number of alive latents
# (at least 1).

# %% [markdown] tags=["hint"]
# The decoder row has length 1 whatever `scale` is; only the encoder column is scaled.

# %% [markdown]
# **What the optimiser remembers.** Adam keeps two running averages for every number: `exp_avg` of
# the gradient and `exp_avg_sq` of its square. A resampled latent would inherit those of the dead
# one. A dead latent had zero gradients for long, so its `exp_avg_sq` is tiny, and Adam divides by
# its square root. The first steps of the newcomer would be far too long.

# %% [markdown] tags=["task"]
# `moments` has one of the two averages for every parameter, under the parameter's name and in its
# shape. Return it with the entries of the dead latents set to 0, in a new dictionary.
#
# Which parameters have entries that belong to a latent, and along which axis?


# %% tags=["exercise"] exercise="3.1.5.g4" title="Forget the old latent" difficulty=2 importance=4 minutes=8 skill="optimiser state"
def reset_moments(moments: Params, dead: Bool[Tensor, "inst latent"]) -> Params:
    """Zero the entries of dead latents: rows of W_dec, columns of W_enc, entries of b_enc."""
    masks = {"W_dec": dead[..., None], "W_enc": dead[:, None, :], "b_enc": dead}
    return {
        name: value.masked_fill(masks[name], 0) if name in masks else value
        for name, value in moments.items()
    }


# %% [markdown] tags=["hint"]
# `b_dec` belongs to all latents together. The other three have a latent axis: where?

# %% [markdown] tags=["hint"]
# `value.masked_fill(mask, 0)` returns a new tensor. The mask must broadcast: `dead[..., None]` for
# `(inst, latent, d_in)`, `dead[:, None, :]` for `(inst, d_in, latent)`.

# %% [markdown]
# Two latents of one instance are dead at the same time. Both are pointed at the same row of the
# batch, or at two rows in which the same feature is active. So they start with the same weights.

# %% [markdown] tags=["task"]
# What becomes of the two twins when training goes on?
#
# - `"they separate"`: sooner or later each finds its own feature
# - `"they stay twins"`
# - `"one dies"`, and it is resampled again

# %% tags=["predict"] exercise="3.1.5.P1" title="Twins" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["they separate", "they stay twins", "one dies"]
predict_twins = "they stay twins"

# %% [markdown]
# ## 4 · Does it work?
#
# To say "recovered" with a number we compare directions. The cosine similarity of feature $i$ and
# latent $l$ is $C_{il} = \hat W_i \cdot \hat w_l$. Signs matter: a latent is a direction, not a
# line.

# %% [markdown] tags=["task"]
# Return the cosine similarity of every feature with every latent. Features are *columns* of `W`,
# latents are *rows* of `W_dec`, and neither need have length 1.


# %% tags=["exercise"] exercise="3.1.5.h1" title="Cosine similarities" difficulty=2 importance=4 minutes=6 skill="pairwise products"
def feature_cosines(
    W: Float[Tensor, "inst d_in feature"], W_dec: Float[Tensor, "inst latent d_in"]
) -> Float[Tensor, "inst feature latent"]:
    """Cosine of the angle between every feature direction and every decoder row."""
    features, latents = unit_rows(W.mT), unit_rows(W_dec)
    return einsum(features, latents, "inst feature d_in, inst latent d_in -> inst feature latent")


# %% [markdown] tags=["hint"]
# Normalise both along `d_in`. In `W` that is not the last axis.

# %% [markdown] tags=["hint"]
# `unit_rows(W.mT)` has the features as rows.

# %% [markdown] tags=["task"]
# Return the **mean max cosine similarity** (MMCS, Sharkey et al. 2022) for each instance: for every
# *feature* the largest cosine over latents, then the mean over features.


# %% tags=["exercise"] exercise="3.1.5.h2" title="MMCS" difficulty=1 importance=3 minutes=4 skill="max and mean over the right axes"
def feature_mmcs(
    W: Float[Tensor, "inst d_in feature"], W_dec: Float[Tensor, "inst latent d_in"]
) -> Float[Tensor, " inst"]:
    """Mean over features of the largest cosine with any latent."""
    return feature_cosines(W, W_dec).amax(dim=-1).mean(dim=-1)


# %% [markdown] tags=["hint"]
# First the best latent for each feature. Which axis disappears?

# %% [markdown] tags=["hint"]
# `.amax(dim=...)` gives the values only; `.max(dim=...)` gives values and places.

# %% [markdown]
# MMCS has a weakness: one latent between two features serves as the best match of both. A stricter
# score gives each feature a latent *of its own*, and chooses the pairs so that the sum of cosines
# is as large as possible. That is the assignment problem. The **Hungarian algorithm** solves it
# (`scipy.optimize.linear_sum_assignment`).

# %% [markdown] tags=["task"]
# For each instance, match features and latents one to one with the largest total cosine. Return the
# cosine of each feature with its own latent. If there are fewer latents than features, unmatched
# features get 0.


# %% tags=["exercise"] exercise="3.1.5.h3" title="One latent per feature" difficulty=3 importance=4 minutes=12 skill="the assignment problem"
def matched_cosines(
    W: Float[Tensor, "inst d_in feature"], W_dec: Float[Tensor, "inst latent d_in"]
) -> Float[Tensor, "inst feature"]:
    """Cosine of each feature with its latent in the best one-to-one matching; 0 if it has none."""
    cosines = feature_cosines(W, W_dec).detach()
    matched = torch.zeros_like(cosines[..., 0])
    for inst, table in enumerate(cosines):
        features, latents = linear_sum_assignment(table.cpu(), maximize=True)
        matched[inst, features] = table[features, latents]
    return matched


# %% [markdown] tags=["hint"]
# `linear_sum_assignment(cost)` *minimises* the total cost. You want the largest sum.

# %% [markdown] tags=["hint"]
# It works on one table at a time and returns two index arrays: which feature goes with which
# latent. `maximize=True` turns it around.

# %% [markdown] tags=["hint"]
# Start with zeros of shape `(inst, feature)`, loop over instances, and write
# `matched[inst, features] = table[features, latents]`.

# %% [markdown]
# We call a feature **recovered** when its own latent has a cosine above 0.95, that is within 18°.
# Neighbours in the pentagon are 72° apart, so a latent in the middle between two scores 0.81.
#
# The next cell puts your functions to work. `fit_sae` is the loop of part 2 on the course's
# trainer, with your two moves as hooks, for any loss. `Resampler` looks every 150 steps who was
# silent in the last 20 batches. It writes the new weights *into* the live tensors, resets Adam's
# averages, and keeps copies for the film.


# %% tags=["given"]
def n_recovered(
    W: Float[Tensor, "inst d_in feature"],
    W_dec: Float[Tensor, "inst latent d_in"],
    threshold: float = 0.95,
) -> Int[Tensor, " inst"]:
    """Number of features whose own latent has a cosine above `threshold`."""
    return (matched_cosines(W, W_dec) > threshold).sum(dim=-1)


def fit_sae(
    params: Params,
    loss: Callable[[Params, Tensor], Tensor],
    sample: Callable[[torch.Generator], Tensor],
    training: TrainConfig,
    gen: torch.Generator,
    after: Callable[[int, Params, torch.optim.Adam], None] | None = None,
) -> Run:
    """Train with decoder rows on the unit sphere; `after` is called at the end of each step."""

    def before_step(_step: int, live: Params, _adam: torch.optim.Adam) -> None:
        grad = live["W_dec"].grad
        assert grad is not None
        grad.copy_(remove_parallel(grad, live["W_dec"]))

    def after_step(step: int, live: Params, adam: torch.optim.Adam) -> None:
        live["W_dec"].copy_(unit_rows(live["W_dec"]))
        if after is not None:
            after(step, live, adam)

    return fit(params, loss, sample, training, gen, before_step, after_step)


@dataclass
class Resampler:
    """Revives dead latents during training; every 50 steps it keeps a frame for the film."""

    method: str  # "none", "simple" or "loss"
    gen: torch.Generator
    one_each: bool = True  # at most one latent per instance at a time: no twins
    every: int = 150  # steps between two looks
    until: int = 2700  # a latent that starts later has no time to settle
    window: deque[Tensor] = field(default_factory=lambda: deque(maxlen=20))  # last activations
    rows: tuple[Tensor, ...] = ()  # the last batch and its L2
    fresh: Tensor = field(default_factory=lambda: torch.empty(0))  # resampled at the last look
    frames: list[Tensor] = field(default_factory=list)  # decoder rows
    status: list[Tensor] = field(default_factory=list)  # 0 alive, 1 dead, 2 just resampled
    steps: list[int] = field(default_factory=list)

    def watch(self, h: Tensor, h_hat: Tensor, acts: Tensor) -> None:
        """Keep what this step showed."""
        self.window.append(acts.detach())
        self.rows = (h, loss_terms(h, h_hat, acts)[0].detach())

    def propose(self, params: Params, dead: Tensor) -> Params:
        """New parameters, by the chosen method."""
        if self.method == "simple":
            return resample_simple(params, dead, self.gen)
        h, l2 = self.rows
        rows = draw_rows(resample_probabilities(l2), dead.shape[1], self.gen)
        return resample_to_rows(params, dead, h, rows, scale=0.2)

    def __call__(self, step: int, params: Params, adam: torch.optim.Adam) -> None:
        """Look, revive, and write into the live tensors: the optimiser holds on to those."""
        look = (step + 1) % self.every == 0
        if not look and (step + 1) % 50:
            return
        dead = dead_latents(torch.stack(list(self.window)))
        if look:
            chosen = dead & (dead.cumsum(-1) == 1) if self.one_each else dead
            active = self.method != "none" and step < self.until
            self.fresh = chosen if active else torch.zeros_like(dead)
        if look and self.fresh.any():
            changes = [(params, self.propose(params, self.fresh))]
            for key in ("exp_avg", "exp_avg_sq"):
                moments = {name: adam.state[value][key] for name, value in params.items()}
                changes.append((moments, reset_moments(moments, self.fresh)))
            for live, new in changes:
                for name, value in live.items():
                    value.copy_(new[name])
        fresh = self.fresh if len(self.fresh) else torch.zeros_like(dead)
        self.frames.append(params["W_dec"].detach().clone())  # a copy: the live one moves on
        self.status.append(torch.where(fresh, 2, dead.long()))
        self.steps.append(step + 1)


def train_resampled(
    params: Params,
    W: Float[Tensor, "inst d_in feature"],
    probability: float | Tensor,
    l1_coeff: float | Tensor,
    training: TrainConfig,
    resampler: Resampler,
) -> Params:
    """Train ReLU SAEs on the activations of the toy models W, with resampling."""

    def loss(live: Params, h: Tensor) -> Tensor:
        acts, h_hat = sae_forward(live, h)
        resampler.watch(h, h_hat, acts)
        return sae_loss(h, h_hat, acts, l1_coeff)

    def sample(gen: torch.Generator) -> Tensor:
        return hidden_activations(W, probability, training.batch, gen)

    return fit_sae(params, loss, sample, training, resampler.gen, resampler).params


# %% [markdown] tags=["task"]
# Sixteen SAEs, four thousand steps. In how many of the 16 instances are all five features
# recovered *without* resampling?
#
# - `"all"`
# - `"about half"`
# - `"at most 4"`

# %% tags=["predict"] exercise="3.1.5.P2" title="Without resampling" difficulty=2 importance=4 minutes=1 skill="predicting" choices=["all", "about half", "at most 4"]
predict_without = "at most 4"

# %% tags=["demo"] reveals=["predict_without", "predict_twins"] experiment="resampling" results=["W_toy", "decoders"]
if __name__ == "__main__":
    settings = TrainConfig(4000, 256, 0.03, "linear", label="sixteen SAEs")
    runs = {
        "none": Resampler("none", torch.Generator().manual_seed(1)),
        "simple": Resampler("simple", torch.Generator().manual_seed(1)),
        "loss, twins allowed": Resampler("loss", torch.Generator().manual_seed(1), one_each=False),
        "loss": Resampler("loss", torch.Generator().manual_seed(1)),
    }
    decoders = {}
    for name, resampler in runs.items():
        start = init_sae(16, 2, 5, "independent", resampler.gen)
        decoders[name] = train_resampled(start, W_toy, 0.025, 0.3, settings, resampler)["W_dec"]
        found, mmcs = n_recovered(W_toy, decoders[name]), feature_mmcs(W_toy, decoders[name])
        print(f"{name:20} 5 of 5 in {int((found == 5).sum()):2} of 16, MMCS {mmcs.mean():.3f}")
    film = runs["loss"]
    frames, status = torch.stack(film.frames), torch.stack(film.status)
    complete = [int((n_recovered(W_toy, frame) == 5).sum()) for frame in frames]
    story = (W_toy, frames, status, film.steps, complete)
    plots.resampling_animation(*story).show()
    web_page = ""  # a file name such as "resampling.html" saves the film for any browser
    if web_page:
        save_film(web_page, *story)

# %% [markdown]
# **Press play.** Grey rings are dead, red means *just resampled*. A dead latent jumps onto a grey
# arrow that nobody covers, turns blue, and stays. Most instances are complete after a third of the
# run, and at the end all 16 are.
#
# **Why it works.** Rows with a large loss are rows with a missing feature. In sparse data such a
# row mostly holds this feature alone, so the new latent starts on the right direction. Random
# directions (`"simple"`) need luck, but may try again.
#
# **The twins.** Two dead latents of one instance may be pointed at the same feature. With equal
# weights they get equal gradients, for ever; and both are alive, so nobody resamples them. That is
# why `one_each` revives one latent per instance at a time.
#
# **What the film does not show.** That a latent has the right *direction* does not mean that it has
# the right *size*. That is the next part.
#
# `save_film` (in `utils/plots/film.py`) writes the same film as one small web page that needs no
# network: give `web_page` a name above.

# %% [markdown]
# ## 5 · Shrinkage
#
# The directions are right. Are the *magnitudes*? Think of one feature alone: a row is $h = m\,w$
# with a unit direction $w$ and a magnitude $m$. Its latent has found $w$ exactly, and puts out $a$.

# %% [markdown] tags=["task"]
# $d_\text{in} = 2$, $\lambda = 0.3$, and the feature is on with magnitude $m = 1$. How long is the
# reconstruction of the trained SAE? Give a number.

# %% tags=["predict"] exercise="3.1.5.P3" title="The price of L1" difficulty=3 importance=4 minutes=3 skill="predicting"
predict_magnitude = 0.7

# %% [markdown]
# **Derivation.** With the right direction the reconstruction is $a\,w$, and the loss of this row is
#
# $$L(a) = \frac{(m - a)^2}{d_\text{in}} + \lambda\, a, \qquad a \ge 0 .$$
#
# Its derivative vanishes where $2(m - a)/d_\text{in} = \lambda$. So
#
# $$a^*(m) = \max\!\Big(0,\; m - \tfrac12 \lambda\, d_\text{in}\Big) .$$
#
# Every magnitude loses the same amount, $\tfrac12 \lambda d_\text{in}$, and features weaker than
# that disappear. The encoder can do exactly this: weight 1, bias $-\tfrac12\lambda d_\text{in}$. So
# it will. This is **shrinkage**: not a failure of training, but what the loss asks for.

# %% [markdown] tags=["task"]
# Return $a^*(m)$. `magnitude` has any shape.


# %% tags=["exercise"] exercise="3.1.5.i1" title="The shrunk magnitude" difficulty=2 importance=4 minutes=6 skill="minimising by hand"
def shrunk_magnitude(
    magnitude: Float[Tensor, "*any"], l1_coeff: float, d_in: int
) -> Float[Tensor, "*any"]:
    """Minimise (m - a)^2 / d_in + l1_coeff a over a >= 0: max(0, m - l1_coeff d_in / 2)."""
    return (magnitude - l1_coeff * d_in / 2).relu()


# %% [markdown] tags=["hint"]
# What happens to a magnitude that is smaller than the amount that is lost?

# %% [markdown] tags=["hint"]
# `.relu()` or `.clamp(min=0)`.

# %% tags=["demo"] reveals=["predict_magnitude"] experiment="shrinkage" results=["l1", "magnitude", "came_out"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    l1, magnitude = torch.tensor([0.05, 0.1, 0.2, 0.3, 0.4]), torch.linspace(0, 1, 21)
    W_one = unit_rows(torch.randn(5, 1, 2, generator=gen)).mT
    start = init_sae(5, 2, 1, "transposed", gen)
    start |= {"W_dec": W_one.mT.clone(), "W_enc": W_one.clone()}  # the direction is found already
    settings = TrainConfig(2000, 512, 0.02, "cosine", label="one feature")
    one = train_resampled(start, W_one, 0.05, l1, settings, Resampler("none", gen))
    h = einsum(magnitude, W_one, "batch, inst d_in feature -> batch inst d_in")
    _, h_hat = sae_forward(one, h)
    came_out = einsum(h_hat, W_one, "batch inst d_in, inst d_in feature -> batch inst")
    names = [f"λ = {value:g}" for value in l1.tolist()]
    theory = {
        n: (magnitude, shrunk_magnitude(magnitude, v, 2))
        for n, v in zip(names, l1.tolist(), strict=True)
    }
    measured = {n: (magnitude, came_out[:, i]) for i, n in enumerate(names)}
    plots.curves(theory, "magnitude m", "what comes out", measured, diagonal=True).show()

# %% [markdown]
# **What you see.** Lines: the closed form. Circles: trained SAEs. They agree to 0.02; what is
# left is $b_\text{dec}$, which moves a little towards the mean of the data. Note what L1 does to
# weak features: below $\tfrac12\lambda d_\text{in}$ they are lost altogether.

# %% [markdown]
# One number for a whole SAE: by which factor should its reconstructions be *divided* to fit best?
# Rajamanoharan et al. (2024a) define the **relative reconstruction bias**
#
# $$\gamma = \arg\min_{\gamma'} \; \mathbb E \Big\| \frac{\hat h}{\gamma'} - h \Big\|^2
#   \qquad (\gamma < 1 \text{ is shrinkage, } \gamma = 1 \text{ is unbiased}) .$$

# %% [markdown] tags=["task"]
# Solve this least-squares problem on paper (put $s = 1/\gamma'$) and return $\gamma$ for each
# instance. The expectation is the mean over the batch.


# %% tags=["exercise"] exercise="3.1.5.i2" title="Reconstruction bias" difficulty=3 importance=3 minutes=10 skill="least squares with one unknown"
def reconstruction_bias(
    h: Float[Tensor, "batch inst d_in"], h_hat: Float[Tensor, "batch inst d_in"]
) -> Float[Tensor, " inst"]:
    """Compute E|h_hat|^2 / E[h_hat . h], below 1 for shrinkage (Rajamanoharan 2024a)."""
    return h_hat.square().sum(dim=(0, 2)) / (h_hat * h).sum(dim=(0, 2))


# %% [markdown] tags=["hint"]
# $\mathbb E \| s \hat h - h \|^2$ is a parabola in $s$. Where is its minimum, and what is $1/s$
# there?

# %% [markdown] tags=["hint"]
# Both expectations sum over batch and `d_in`. What cancels?

# %% [markdown]
# ## 6 · The Gated SAE
#
# L1 does two jobs with one number. It decides *whether* a latent is active, and it shrinks *how
# strongly*. Rajamanoharan et al. (2024a) separate them. Two paths share the encoder direction:
#
# $$z = (h - b_\text{dec})\, W_\text{gate}, \qquad
#   \underbrace{\pi = z + b_\text{gate}}_\text{whether}, \qquad
#   \underbrace{\mathrm{ReLU}\big(e^{r_\text{mag}} \odot z + b_\text{mag}\big)}_\text{how strongly}
#   ,$$
#
# $$f = \mathbb 1[\pi > 0] \odot \mathrm{ReLU}\big(e^{r_\text{mag}} \odot z + b_\text{mag}\big).$$

# %% [markdown] tags=["task"]
# Return `(acts, gate)`: the activations $f$ and the gate's pre-activation $\pi$. At $\pi = 0$ the
# gate is closed.


# %% tags=["exercise"] exercise="3.1.5.j1" title="Gated encoder" difficulty=2 importance=4 minutes=10 skill="two paths, shared weights"
def gated_encode(
    h: Float[Tensor, "batch inst d_in"],
    W_gate: Float[Tensor, "inst d_in latent"],
    b_gate: Float[Tensor, "inst latent"],
    r_mag: Float[Tensor, "inst latent"],
    b_mag: Float[Tensor, "inst latent"],
    b_dec: Float[Tensor, "inst d_in"],
) -> tuple[Float[Tensor, "batch inst latent"], Float[Tensor, "batch inst latent"]]:
    """Activations and gate pre-activation of a Gated SAE (Rajamanoharan 2024a, section 3)."""
    z = preactivations(h, W_gate, torch.zeros_like(b_gate), b_dec)
    gate = z + b_gate
    magnitude = (r_mag.exp() * z + b_mag).relu()
    return (gate > 0) * magnitude, gate


# %% [markdown] tags=["hint"]
# The two paths share $z$, without any bias. Then each goes its own way.

# %% [markdown] tags=["hint"]
# `preactivations` with a bias of zeros gives $z$. A boolean mask can be multiplied.

# %% [markdown]
# The step $\mathbb 1[\pi > 0]$ has gradient 0 almost everywhere. So how does the gate learn? By an
# auxiliary task: $\mathrm{ReLU}(\pi)$ alone should be able to reconstruct. The loss has three
# terms:
#
# $$L = \underbrace{L_2(h, \hat h(f))}_\text{reconstruct}
#   + \lambda \underbrace{\textstyle\sum_l \mathrm{ReLU}(\pi_l)}_\text{sparse}
#   + \underbrace{L_2\big(h, \hat h_\text{frozen}(\mathrm{ReLU}(\pi))\big)}_\text{teach the gate}.$$
#
# The last term decodes with *frozen* copies of $W_\text{dec}$ and $b_\text{dec}$: it may move the
# gate, never the decoder. Otherwise shrunk activations would train the decoder again, through the
# back door.

# %% [markdown] tags=["task"]
# Return this loss: mean over the batch, sum over instances. Use `sae_decode` and `loss_terms`.
#
# "Frozen" is `.detach()`: the values are used, no gradient flows.


# %% tags=["exercise"] exercise="3.1.5.j2" title="Gated loss" difficulty=3 importance=4 minutes=12 skill="stop gradients"
def gated_loss(
    h: Float[Tensor, "batch inst d_in"],
    acts: Float[Tensor, "batch inst latent"],
    gate: Float[Tensor, "batch inst latent"],
    W_dec: Float[Tensor, "inst latent d_in"],
    b_dec: Float[Tensor, "inst d_in"],
    l1_coeff: float | Float[Tensor, " inst"],
) -> Float[Tensor, ""]:
    """L2 of acts, plus l1_coeff x sum of ReLU(gate), plus L2 of ReLU(gate) through a frozen decoder.

    Mean over batch, sum over inst (Rajamanoharan 2024a, section 3).
    """
    open_gate = gate.relu()
    l2, _ = loss_terms(h, sae_decode(acts, W_dec, b_dec), acts)
    frozen = sae_decode(open_gate, W_dec.detach(), b_dec.detach())
    aux, l1 = loss_terms(h, frozen, open_gate)
    return (l2 + l1_coeff * l1 + aux).mean(dim=0).sum()


# %% [markdown] tags=["hint"]
# Which of the three terms punishes activity: that of `acts`, or that of the gate?

# %% [markdown] tags=["hint"]
# `loss_terms(h, h_hat, ReLU(gate))` gives the last two terms at once, if `h_hat` was decoded with
# `W_dec.detach()` and `b_dec.detach()`.

# %% [markdown]
# ## 7 · JumpReLU
#
# Why not decide by a threshold, and leave the magnitude alone? Rajamanoharan et al. (2024b) use
#
# $$\mathrm{JumpReLU}_\theta(z) = z\, H(z - \theta), \qquad
#   H(x) = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}$$
#
# with a threshold $\theta > 0$ for each latent, and punish the *number* of active latents:
#
# $$L = L_2 + \lambda \sum_l H(z_l - \theta_l) .$$
#
# Both depend on $\theta$ through a step. A step has derivative 0, except at the threshold, where it
# has none. But the *expected* loss over many rows is smooth in $\theta$: moving $\theta$ a little
# changes the result for the few rows with $z$ near $\theta$. So estimate the density of $z$ at
# $\theta$ by counting rows in a window of width $\varepsilon$ (the **bandwidth**): a kernel density
# estimate, with the rectangle kernel
#
# $$K(u) = 1 \text{ for } |u| < \tfrac12, \text{ else } 0 .$$
#
# Each row then reports a pseudo-derivative, a **straight-through estimator** (paper, section 3):
#
# $$\frac{\partial}{\partial \theta} \mathrm{JumpReLU}_\theta(z)
#     := -\frac{\theta}{\varepsilon}\, K\!\Big(\frac{z - \theta}{\varepsilon}\Big), \qquad
#   \frac{\partial}{\partial \theta} H(z - \theta)
#     := -\frac{1}{\varepsilon}\, K\!\Big(\frac{z - \theta}{\varepsilon}\Big).$$
#
# The minus signs make sense: a higher threshold means fewer active latents. With respect to $z$,
# JumpReLU has the derivative $H(z - \theta)$, and $H$ gets 0.

# %% [markdown] tags=["task"]
# Write the kernel: 1 where $|u| < \tfrac12$, else 0, in the dtype of `u`.


# %% tags=["exercise"] exercise="3.1.5.k1" title="The rectangle kernel" difficulty=1 importance=3 minutes=3 skill="indicator functions"
def rectangle(u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Give 1 where |u| < 1/2, else 0 (Rajamanoharan 2024b, section 3)."""
    return (u.abs() < 0.5).to(u.dtype)


# %% [markdown] tags=["hint"]
# What is the integral of the kernel? A density must integrate to 1.

# %% [markdown] tags=["hint"]
# A comparison gives booleans; `.to(u.dtype)` makes numbers.

# %% [markdown]
# PyTorch lets you define a gradient of your own. A subclass of `torch.autograd.Function` has two
# static methods. `forward(ctx, ...)` computes the value and stores what will be needed with
# `ctx.save_for_backward`. `backward(ctx, upstream)` gets the gradient of the loss with respect to
# the *output*, and returns one gradient for each input of `forward` (`None` for a plain number). By
# the chain rule each is *your derivative times `upstream`*.
#
# Write the class *inside* the exercise's function, and return `TheClass.apply(...)`. In a project
# you would define it once, outside.

# %% [markdown] tags=["task"]
# Write JumpReLU with the gradients above.
#
# - `theta` has shape `(inst, latent)`, `z` has a batch axis in front. Autograd sums a gradient over
#   axes that were broadcast, so `backward` may return it with the batch axis.
# - At $z = \theta$ the output is 0.


# %% tags=["exercise"] exercise="3.1.5.k2" title="JumpReLU" difficulty=4 importance=4 minutes=25 skill="torch.autograd.Function"
def jumprelu(
    z: Float[Tensor, "batch inst latent"], theta: Float[Tensor, "inst latent"], bandwidth: float
) -> Float[Tensor, "batch inst latent"]:
    """Give z where z > theta, else 0; pseudo-derivative -(theta / bandwidth) K in theta.

    K is `rectangle` at (z - theta) / bandwidth (Rajamanoharan 2024b, section 3).
    """

    class JumpReLU(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor, theta: Tensor) -> Tensor:
            ctx.save_for_backward(z, theta)
            return z * (z > theta)

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
            z, theta = ctx.saved_tensors
            near = rectangle((z - theta) / bandwidth)
            return upstream * (z > theta), upstream * near * (-theta / bandwidth)

    return JumpReLU.apply(z, theta)


# %% [markdown] tags=["hint"]
# `forward` saves `z` and `theta`. `backward` gets them back from `ctx.saved_tensors` and returns
# two gradients, in the order of `forward`'s arguments.

# %% [markdown] tags=["hint"]
# The gradient of `z` is `upstream` where the latent is active. The window of the kernel matters for
# `theta` only.

# %% [markdown] tags=["hint"]
# The gradient of `theta` is `upstream * rectangle((z - theta) / bandwidth) * (-theta / bandwidth)`.

# %% [markdown] tags=["task"]
# Write the step $H(z - \theta)$ in the same way. It counts active latents in the loss. Its gradient
# with respect to `z` is 0.


# %% tags=["exercise"] exercise="3.1.5.k3" title="A step with a gradient" difficulty=3 importance=4 minutes=12 skill="torch.autograd.Function"
def heaviside(
    z: Float[Tensor, "batch inst latent"], theta: Float[Tensor, "inst latent"], bandwidth: float
) -> Float[Tensor, "batch inst latent"]:
    """Give 1 where z > theta, else 0; pseudo-derivative -K / bandwidth in theta, 0 in z.

    K is `rectangle` at (z - theta) / bandwidth (Rajamanoharan 2024b, section 3).
    """

    class Heaviside(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor, theta: Tensor) -> Tensor:
            ctx.save_for_backward(z, theta)
            return (z > theta).to(z.dtype)

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
            z, theta = ctx.saved_tensors
            near = rectangle((z - theta) / bandwidth)
            return torch.zeros_like(z), -upstream * near / bandwidth

    return Heaviside.apply(z, theta)


# %% [markdown] tags=["hint"]
# Two things differ from JumpReLU: the value, and a factor $\theta$ in the gradient.

# %% [markdown] tags=["hint"]
# Return `torch.zeros_like(z)` as the gradient of `z`: the task asks for 0, not for nothing.

# %% [markdown] tags=["task"]
# Return the loss of a JumpReLU SAE, $L_2 + \lambda \sum_l H(z_l - \theta_l)$, mean over the batch,
# sum over instances, from the pre-activations `z`.
#
# A threshold must stay positive. So we train its logarithm: $\theta = e^{\texttt{log\_theta}}$.


# %% tags=["exercise"] exercise="3.1.5.k4" title="JumpReLU loss" difficulty=2 importance=3 minutes=8 skill="composition"
def jumprelu_loss(
    h: Float[Tensor, "batch inst d_in"],
    z: Float[Tensor, "batch inst latent"],
    log_theta: Float[Tensor, "inst latent"],
    W_dec: Float[Tensor, "inst latent d_in"],
    b_dec: Float[Tensor, "inst d_in"],
    l0_coeff: float | Float[Tensor, " inst"],
    bandwidth: float,
) -> Float[Tensor, ""]:
    """L2 plus l0_coeff x number of active latents; mean over batch, sum over inst."""
    theta = log_theta.exp()
    acts = jumprelu(z, theta, bandwidth)
    l0 = heaviside(z, theta, bandwidth).sum(dim=-1)
    l2, _ = loss_terms(h, sae_decode(acts, W_dec, b_dec), acts)
    return (l2 + l0_coeff * l0).mean(dim=0).sum()


# %% [markdown] tags=["hint"]
# `jumprelu` gives the activations for $L_2$, `heaviside` the count.

# %% [markdown] tags=["hint"]
# The count of each row is a *sum* over latents, as L1 was.

# %% [markdown]
# ## 8 · TopK and BatchTopK
#
# Or drop the penalty altogether. Gao et al. (2024) keep the $k$ largest pre-activations of each row
# and set the rest to 0. Then sparsity is exact, there is no coefficient to tune, and nothing
# shrinks.

# %% [markdown] tags=["task"]
# Keep the $k$ largest pre-activations of every row (and instance), set the others to 0, and apply a
# ReLU: a negative pre-activation never becomes active, even among the $k$ largest.


# %% tags=["exercise"] exercise="3.1.5.l1" title="TopK" difficulty=2 importance=4 minutes=8 skill="topk and scatter"
def topk_acts(z: Float[Tensor, "batch inst latent"], k: int) -> Float[Tensor, "batch inst latent"]:
    """Keep the k largest of each row, ReLU them, 0 elsewhere (Gao 2024, section 2)."""
    values, places = z.topk(k, dim=-1)
    return torch.zeros_like(z).scatter(-1, places, values.relu())


# %% [markdown] tags=["hint"]
# `z.topk(k, dim=-1)` gives values and places. Where must the values go?

# %% [markdown] tags=["hint"]
# `torch.zeros_like(z).scatter(-1, places, values)` writes them back, and gradients follow.

# %% [markdown]
# Every row gets the same $k$. But in our data a row has no active feature, or one, or sometimes
# two. **BatchTopK** (Bussmann et al. 2024) spends the same budget where it is needed: of all `batch
# x latent` pre-activations of an instance it keeps the $k \cdot \text{batch}$ largest. Now $k$ is
# an average, and need not be an integer.

# %% [markdown] tags=["task"]
# Keep, for each instance, the `round(k * batch)` largest values of $\mathrm{ReLU}(z)$ over batch
# and latents together; the others become 0.


# %% tags=["exercise"] exercise="3.1.5.l2" title="BatchTopK" difficulty=3 importance=4 minutes=12 skill="reshaping around an axis"
def batch_topk_acts(
    z: Float[Tensor, "batch inst latent"], k: float
) -> Float[Tensor, "batch inst latent"]:
    """Keep the round(k batch) largest of ReLU(z) of each instance, 0 elsewhere (Bussmann 2024)."""
    batch, inst, latent = z.shape
    flat = z.relu().transpose(0, 1).reshape(inst, batch * latent)
    values, places = flat.topk(round(k * batch), dim=-1)
    kept = torch.zeros_like(flat).scatter(-1, places, values)
    return kept.reshape(inst, batch, latent).transpose(0, 1)


# %% [markdown] tags=["hint"]
# `topk` works along one axis. Bring `batch` and `latent` together in one, with `inst` in front.

# %% [markdown] tags=["hint"]
# `z.transpose(0, 1).reshape(inst, batch * latent)`, and the same way back. A `view` in the wrong
# order would mix instances.

# %% [markdown]
# When a trained SAE is used, a row should not depend on which other rows share its batch. So at
# inference BatchTopK becomes a JumpReLU with one threshold $\theta$ per SAE. Bussmann et al. take
# the smallest activation that survived, averaged over training batches.

# %% [markdown] tags=["task"]
# From the activations of several batches, return for each instance the mean over batches of the
# smallest *positive* activation. Ignore batches in which the instance has none; if it never has
# one, return 0.


# %% tags=["exercise"] exercise="3.1.5.l3" title="A threshold for inference" difficulty=3 importance=3 minutes=10 skill="masked minimum and mean"
def batch_topk_threshold(acts: Float[Tensor, "step batch inst latent"]) -> Float[Tensor, " inst"]:
    """Mean over steps of the smallest positive activation of each batch (Bussmann 2024)."""
    lowest = acts.masked_fill(acts <= 0, torch.inf).amin(dim=(1, 3))
    found = lowest.isfinite()
    return lowest.masked_fill(~found, 0).sum(dim=0) / found.sum(dim=0).clamp(min=1)


# %% [markdown] tags=["hint"]
# The smallest entry of all is 0. How do you keep zeros out of a minimum?

# %% [markdown] tags=["hint"]
# `acts.masked_fill(acts <= 0, torch.inf).amin(dim=(1, 3))` has shape `(step, inst)`. An infinite
# entry means that there was none.

# %% [markdown]
# TopK latents die, too: one that is never among the largest gets no gradient. Gao et al. revive
# them by an **auxiliary loss**. What the SAE misses, $e = h - \hat h$, is a task for the dead: take
# the $k_\text{aux}$ largest of the dead latents' activations, and let them reconstruct $e$,
#
# $$L_\text{aux} = L_2(e, \hat e), \qquad \hat e = f_\text{dead}\, W_\text{dec} .$$
#
# It is added to the loss with a small coefficient (1/32 in the paper). We take $e$ as a constant,
# so that the living are not asked to help.

# %% [markdown] tags=["task"]
# Return $L_\text{aux}$: mean over `d_in` and batch, sum over instances.
#
# - Only dead latents take part; of those the `k_aux` largest of each row, after a ReLU.
# - $\hat e$ has no $b_\text{dec}$. No gradient flows through $e$.
# - An instance without dead latents contributes 0.


# %% tags=["exercise"] exercise="3.1.5.l4" title="A task for the dead" difficulty=4 importance=3 minutes=20 skill="masks, stop gradients"
def dead_aux_loss(
    h: Float[Tensor, "batch inst d_in"],
    h_hat: Float[Tensor, "batch inst d_in"],
    z: Float[Tensor, "batch inst latent"],
    dead: Bool[Tensor, "inst latent"],
    W_dec: Float[Tensor, "inst latent d_in"],
    k_aux: int,
) -> Float[Tensor, ""]:
    """L2 between the SAE's error and its reconstruction by the k_aux largest dead latents.

    The error is a constant; instances without dead latents count 0 (Gao 2024, section 2).
    """
    acts = topk_acts(z.masked_fill(~dead, -torch.inf), k_aux)
    e_hat = sae_decode(acts, W_dec, torch.zeros_like(W_dec[:, 0]))
    l2, _ = loss_terms((h - h_hat).detach(), e_hat, acts)
    return (l2 * dead.any(dim=-1)).mean(dim=0).sum()


# %% [markdown] tags=["hint"]
# How can `topk_acts` be made to choose among the dead only? What value never wins?

# %% [markdown] tags=["hint"]
# `z.masked_fill(~dead, -torch.inf)`: if there are fewer dead latents than `k_aux`, the ReLU turns
# the rest into 0.

# %% [markdown] tags=["hint"]
# The target is `(h - h_hat).detach()`. `dead.any(dim=-1)` is the mask over instances.

# %% [markdown]
# ### Architectures as parts
#
# An `Architecture` is two functions: how it encodes, and what it minimises. The next cell builds
# each variant from *your* functions. A later variant takes an earlier one and replaces a part;
# nothing is patched.


# %% tags=["given"]
def linear(params: Params, h: Tensor) -> Tensor:
    """Pre-activations, tied or not."""
    W_enc = params["W_enc"] if "W_enc" in params else params["W_dec"].mT
    return preactivations(h, W_enc, params["b_enc"], params["b_dec"])


def relu_sae(l1_coeff: float | Tensor, encoder: str = "transposed") -> Architecture:
    """The SAE of part 1."""

    def encode(params: Params, h: Tensor) -> Pair:
        z = linear(params, h)
        return z.relu(), z

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        h_hat = sae_decode(pair[0], params["W_dec"], params["b_dec"])
        return sae_loss(h, h_hat, pair[0], l1_coeff)

    return Architecture(encode, loss, encoder=encoder)


def gated_sae(l1_coeff: float | Tensor) -> Architecture:
    """The Gated SAE of part 6."""

    def encode(params: Params, h: Tensor) -> Pair:
        names = ("W_enc", "b_enc", "r_mag", "b_mag", "b_dec")
        return gated_encode(h, *(params[name] for name in names))

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        return gated_loss(h, *pair, params["W_dec"], params["b_dec"], l1_coeff)

    return Architecture(encode, loss, {"r_mag": 0.0, "b_mag": 0.0})


def jumprelu_sae(l0_coeff: float | Tensor, bandwidth: float = 0.1) -> Architecture:
    """The JumpReLU SAE of part 7."""

    def encode(params: Params, h: Tensor) -> Pair:
        z = linear(params, h)
        return jumprelu(z, params["log_theta"].exp(), bandwidth), z

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        decoder = (params["W_dec"], params["b_dec"])
        return jumprelu_loss(h, pair[1], params["log_theta"], *decoder, l0_coeff, bandwidth)

    return Architecture(encode, loss, {"log_theta": math.log(0.1)})


def topk_sae(choose: Callable[[Tensor], Tensor], k_aux: int = 2) -> Architecture:
    """TopK or BatchTopK: whatever `choose` does to z."""
    silence = Silence()

    def encode(params: Params, h: Tensor) -> Pair:
        z = linear(params, h)
        return choose(z), z

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        acts, z = pair
        W_dec, b_dec = params["W_dec"], params["b_dec"]
        h_hat, dead = sae_decode(acts, W_dec, b_dec), silence.dead(acts)
        error = sae_loss(h, h_hat, acts, 0.0)
        return error + dead_aux_loss(h, h_hat, z, dead, W_dec, k_aux) / 32 if k_aux else error

    return Architecture(encode, loss)


def plain_topk_sae(k: int, k_aux: int = 2) -> Architecture:
    """The k largest of every row."""
    return topk_sae(lambda z: topk_acts(z, k), k_aux)


def batch_topk_sae(k: float, k_aux: int = 2) -> Architecture:
    """The k largest per row on average."""
    return topk_sae(lambda z: batch_topk_acts(z, k), k_aux)


def train_architecture(
    architecture: Architecture,
    sample: Callable[[torch.Generator], Tensor],
    latent: int,
    training: TrainConfig,
    gen: torch.Generator,
) -> Params:
    """Fresh SAEs, trained on what `sample` draws."""
    _, inst, d_in = sample(gen).shape
    params = init_sae(inst, d_in, latent, architecture.encoder, gen)
    for name, value in architecture.extra.items():
        params[name] = torch.full_like(params["b_enc"], value)

    def loss(live: Params, h: Tensor) -> Tensor:
        return architecture.loss(live, h, architecture.encode(live, h))

    return fit_sae(params, loss, sample, training, gen).params


@torch.no_grad()
def run_sae(
    architecture: Architecture, params: Params, h: Float[Tensor, "batch inst d_in"]
) -> tuple[Float[Tensor, "batch inst latent"], Float[Tensor, "batch inst d_in"]]:
    """Activations and reconstruction."""
    acts = architecture.encode(params, h)[0]
    return acts, sae_decode(acts, params["W_dec"], params["b_dec"])


# %% [markdown]
# ### Do they shrink?
#
# Back to the pentagon. Every variant trains on it; then one feature is switched on with magnitude
# $m$, and we look at how much of it comes out.

# %% [markdown] tags=["task"]
# The ReLU SAE has $\gamma$ well below 1. Which of the others are within 1 % of $\gamma = 1$?
#
# - `"none"`
# - `"TopK and BatchTopK only"`
# - `"all: Gated, JumpReLU, TopK, BatchTopK"`

# %% tags=["predict"] exercise="3.1.5.P4" title="Who shrinks?" difficulty=2 importance=4 minutes=1 skill="predicting" choices=["none", "TopK and BatchTopK only", "all: Gated, JumpReLU, TopK, BatchTopK"]
predict_unbiased = "all: Gated, JumpReLU, TopK, BatchTopK"

# %% tags=["demo"] reveals=["predict_unbiased"] experiment="unbiased" results=["gammas"]
if __name__ == "__main__":
    settings = TrainConfig(2000, 256, 0.02, "linear", label="five architectures")
    five = {
        "ReLU": relu_sae(0.3),
        "Gated": gated_sae(0.3),
        "JumpReLU": jumprelu_sae(0.01),
        "TopK": plain_topk_sae(1),
        "BatchTopK": batch_topk_sae(0.125),
    }
    magnitude = torch.linspace(0, 1, 41)
    one_on = einsum(magnitude, W_toy, "batch, inst d_in feature -> batch feature inst d_in")
    gammas, lines = {}, {}
    for name, kind in five.items():
        gen = torch.Generator().manual_seed(0)
        params = train_architecture(
            kind, lambda g: hidden_activations(W_toy, 0.025, 256, g), 5, settings, gen
        )
        h = hidden_activations(W_toy, 0.025, 20_000, gen)
        acts, h_hat = run_sae(kind, params, h)
        gammas[name] = reconstruction_bias(h, h_hat)
        found = matched_cosines(W_toy, params["W_dec"]) > 0.95
        print(f"{name:10} γ {gammas[name].mean():.3f}, found {found.float().mean():.0%}")
        if "TopK" not in name:  # those compare rows and latents: one row alone says little
            _, out = run_sae(kind, params, one_on.flatten(0, 1))
            share = (out.unflatten(0, (41, 5)) * W_toy.permute(2, 0, 1)).sum(-1)
            share = share / W_toy.square().sum(1).mT
            lines[name] = (magnitude, share[:, found.mT].median(dim=-1).values)
    plots.curves(lines, "magnitude m of the feature", "what comes out", diagonal=True).show()
    later = [hidden_activations(W_toy, 0.025, 256, gen) for _ in range(100)]  # BatchTopK, alone
    theta = batch_topk_threshold(torch.stack([run_sae(kind, params, h)[0] for h in later]))
    l0 = (linear(params, torch.cat(later)) > theta[:, None]).float().sum(-1).mean()
    print(f"BatchTopK with one threshold: {l0:.3f} active latents a row, k = 0.125")

# %% [markdown]
# **What you see.** The ReLU SAE's line runs below the diagonal at a nearly constant distance: about
# $\lambda$ divided by the feature's norm, 0.3/1.15. The Gated SAE and JumpReLU are silent below a
# threshold and close to the diagonal above it. (At $m$ near 1 a neighbour's latent begins to join
# in, so a little too much comes out.) $\gamma$ is 1.00 for all four variants and 0.66 for ReLU.
#
# **What the picture does not show.** $\gamma = 1$ says that reconstructions have the right length
# *on average*. It does not say that the features were found: look at the shares. TopK with $k = 1$
# finds half of them here. It must name one latent in every row, though most rows hold no feature.
# BatchTopK with 0.125, the true average of active features, may stay silent; and one threshold
# replaces the comparison between rows without much loss.

# %% [markdown]
# ### Dead latents and the auxiliary loss
#
# Twenty features in eight dimensions, TopK with $k = 2$, and encoders that start *independently* of
# the decoders, as in part 2. What does the auxiliary loss change?

# %% tags=["demo"] experiment="auxiliary" results=["W_twenty", "dead_share"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    settings = TrainConfig(4000, 1024, 5e-3, "cosine", label="twenty features in eight dimensions")
    W_twenty = train_toy_fast(*init_toy(ToyConfig(4, 20, 8), gen), 1.0, 0.05, settings, gen).W
    dead_share = {}
    for k_aux in (0, 4):
        kind = replace(plain_topk_sae(2, k_aux), encoder="independent")
        gen = torch.Generator().manual_seed(0)
        settings = TrainConfig(2000, 256, 0.03, "linear", label=f"k_aux = {k_aux}")
        params = train_architecture(
            kind, lambda g: hidden_activations(W_twenty, 0.05, 256, g), 20, settings, gen
        )
        acts, _ = run_sae(kind, params, hidden_activations(W_twenty, 0.05, 20_000, gen))
        dead_share[k_aux] = (acts == 0).all(dim=0).float().mean(dim=-1)
        found = (matched_cosines(W_twenty, params["W_dec"]) > 0.95).float().mean()
        print(f"k_aux = {k_aux}: dead {dead_share[k_aux].mean():.0%}, found {found:.0%}")

# %% [markdown]
# Without it about a quarter of the latents are dead, and a third of the features is found. With it
# nearly all live, and about twice as many are found. A latent that lives need not have found
# anything, though: the rest are mixtures.

# %% [markdown]
# ## 9 · Matryoshka
#
# Features contain each other: *animal*, *dog*. A row about a dog holds both. Two honest latents
# would both be active. A penalty prefers *one* latent for "dog", which points at animal + dog,
# while the latent for "animal" stays silent on dogs. That is called **feature absorption** (Chanin
# et al. 2024): the general feature gets holes.
#
# A **Matryoshka SAE** (Bussmann et al. 2025) asks that *prefixes* of the dictionary reconstruct,
# too: the first 4 latents alone, say, and all 16. The first 4 have to serve dogs without a dog
# latent. So one of them is "animal", and it is active on dogs. With the sizes $\mathcal M$ the
# error becomes
#
# $$L_\mathcal{M} = \sum_{m \in \mathcal M} L_2\Big(h,\; \sum_{l < m} f_l\, w_l + b_\text{dec}\Big)
# .$$

# %% [markdown] tags=["task"]
# Return this error: the sum over `sizes` of the reconstruction error with the first $m$ latents;
# mean over `d_in` and batch, sum over instances.


# %% tags=["exercise"] exercise="3.1.5.m" title="Nested reconstructions" difficulty=2 importance=3 minutes=10 skill="prefixes of an axis"
def matryoshka_loss(
    h: Float[Tensor, "batch inst d_in"],
    acts: Float[Tensor, "batch inst latent"],
    W_dec: Float[Tensor, "inst latent d_in"],
    b_dec: Float[Tensor, "inst d_in"],
    sizes: list[int],
) -> Float[Tensor, ""]:
    """Sum over sizes of L2 with the first m latents; mean over batch, sum over inst (Bussmann 2025)."""
    total = torch.zeros((), dtype=h.dtype, device=h.device)
    for m in sizes:
        prefix = acts[..., :m]
        l2, _ = loss_terms(h, sae_decode(prefix, W_dec[:, :m], b_dec), prefix)
        total = total + l2.mean(dim=0).sum()
    return total


# %% [markdown] tags=["hint"]
# Which axis of `acts` and which axis of `W_dec` is cut? Is `b_dec` part of every reconstruction?

# %% [markdown] tags=["hint"]
# A loop over `sizes`: `acts[..., :m]` and `W_dec[:, :m]`.

# %% [markdown]
# The data: four parents, each with three children. A child is on only if its parent is. Sixteen
# orthogonal directions, so superposition plays no part here. `nested` takes *any* architecture and
# adds the error of the smaller prefixes.


# %% tags=["given"]
def nested(base: Architecture, sizes: list[int]) -> Architecture:
    """The base architecture, with the errors of smaller prefixes added to its loss."""

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        prefixes = matryoshka_loss(h, pair[0], params["W_dec"], params["b_dec"], sizes)
        return base.loss(params, h, pair) + prefixes

    return replace(base, loss=loss)


# %% [markdown] tags=["task"]
# A plain ReLU SAE with 16 latents, small L1: what does the latent of a *child* look like?
#
# - `"the child's direction"`
# - `"the child plus its parent"`
# - `"the child minus its parent"`

# %% tags=["predict"] exercise="3.1.5.P5" title="A child's latent" difficulty=2 importance=3 minutes=2 skill="predicting" choices=["the child's direction", "the child plus its parent", "the child minus its parent"]
predict_child = "the child plus its parent"

# %% tags=["demo"] reveals=["predict_child"] experiment="matryoshka" results=["holes", "child_parent"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    W_tree = torch.linalg.qr(torch.randn(4, 16, 16, generator=gen)).Q
    into = "batch inst feature, inst d_in feature -> batch inst d_in"
    holes, child_parent, pictures = {}, {}, {}
    for name, kind in {
        "plain": relu_sae(0.01),
        "Matryoshka": nested(relu_sae(0.01), [4]),
    }.items():
        gen = torch.Generator().manual_seed(0)
        settings = TrainConfig(3000, 256, 0.01, "linear", label=name)
        params = train_architecture(
            kind, lambda g: einsum(tree_features(256, 4, g), W_tree, into), 16, settings, gen
        )
        x = tree_features(20_000, 4, gen)
        acts, h_hat = run_sae(kind, params, einsum(x, W_tree, into))
        cosines = feature_cosines(W_tree, params["W_dec"])
        holes[name] = hole_share(x, acts, cosines)
        best = cosines[:, 4:].argmax(dim=-1)  # the latent of each child
        parents = torch.arange(12) // 3
        child_parent[name] = torch.stack(
            [c[parents, k] for c, k in zip(cosines, best, strict=True)]
        )
        pictures[name] = cosines[0, :, cosines[0].amax(dim=0).argsort(descending=True)]
        found = n_recovered(W_tree, params["W_dec"]).tolist()
        print(f"{name:10} holes {holes[name].mean():.0%}, features found, of 16: {found}")
        print(f"{'':10} a child's latent with its parent: cosine {child_parent[name].mean():.2f}")
    plots.cosine_maps(pictures).show()

# %% [markdown]
# **What you see.** Features down, four parents first; latents across. Left: a child's latent has a
# second entry, on its parent, and the parent's latent is silent on a fifth of the rows with a
# child. Right: the holes are nearly gone, and so are the second entries.
#
# **What it costs.** Count the features found: no more than before. Now the parents' latents lean
# towards the mean of their children (it is the best that four latents can do alone), and children
# lean away from their siblings. The Matryoshka loss trades one distortion for a milder one.

# %% [markdown]
# ## 10 · Tied or untied?
#
# The encoder has two tasks. It must *notice* its own feature, and *ignore* the others. Suppose that
# there are no more features than dimensions. Then there is an encoder that ignores perfectly: the
# **dual basis** $e_i$ with $e_i \cdot W_j = 1$ for $i = j$ and $0$ otherwise,
#
# $$E = W\,(W^\top W)^{-1} .$$
#
# If features are orthogonal, $e_i$ points along $W_i$, and nothing is lost when encoder and decoder
# are tied. If two features lean towards each other, $e_i$ must lean *away* from the other one. A
# tied SAE cannot do that.

# %% [markdown] tags=["task"]
# Return the dual basis of every instance, as columns. Features are linearly independent.


# %% tags=["exercise"] exercise="3.1.5.n" title="The dual basis" difficulty=2 importance=2 minutes=8 skill="dual bases"
def dual_encoder(W: Float[Tensor, "inst d_in feature"]) -> Float[Tensor, "inst d_in feature"]:
    """Columns e_i with e_i . W_j = 1 if i = j else 0, in the span of the features."""
    return torch.linalg.pinv(W).mT


# %% [markdown] tags=["hint"]
# What is $E^\top W$? Which axes does it have?

# %% [markdown] tags=["hint"]
# `torch.linalg.pinv(W)` is $(W^\top W)^{-1} W^\top$ when the columns are independent.

# %% [markdown]
# Two features in the plane at an angle $\varphi$, two latents, tied or free. The dual basis says
# that a free encoder should lean away from its feature by $90° - \varphi$.

# %% [markdown] tags=["task"]
# And the pentagon, where a free encoder starts as a copy of the decoder? After training, how far do
# the two differ in direction (median over latents)?
#
# - `"less than 1°"`
# - `"about 18°"`
# - `"about 45°"`

# %% tags=["predict"] exercise="3.1.5.P6" title="The free encoder in the pentagon" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["less than 1°", "about 18°", "about 45°"]
predict_tilt = "less than 1°"


# %% tags=["given"]
def encoder_tilt(params: Params) -> Float[Tensor, "inst latent"]:
    """Angle in degrees between each latent's encoder column and its decoder row."""
    cosine = (unit_rows(params["W_enc"].mT) * unit_rows(params["W_dec"])).sum(dim=-1)
    return cosine.clamp(-1, 1).acos().rad2deg()


# %% tags=["demo"] reveals=["predict_tilt"] experiment="tied" results=["phi", "tilt", "off", "tilt_pentagon"]
if __name__ == "__main__":
    phi = torch.tensor([30.0, 40, 50, 60, 70, 80, 90])
    angles = torch.stack([0 * phi, phi], dim=-1).repeat_interleave(4, 0).deg2rad()
    W_pair = torch.stack([angles.cos(), angles.sin()], dim=1)
    off, tilt = {}, torch.zeros(0)
    for encoder in ("tied", "transposed"):
        gen = torch.Generator().manual_seed(0)
        settings = TrainConfig(2500, 256, 0.02, "linear", label=encoder)
        resampler = Resampler("loss", gen, until=1500)
        start = init_sae(28, 2, 2, encoder, gen)
        params = train_resampled(start, W_pair, 0.1, 0.02, settings, resampler)
        worst = matched_cosines(W_pair, params["W_dec"]).amin(dim=-1).clamp(-1, 1).acos().rad2deg()
        off[encoder] = worst.view(7, 4).median(dim=-1).values
        if encoder == "transposed":
            tilt = encoder_tilt(params).view(7, 8).median(dim=-1).values
    cosine = (dual_encoder(W_pair) * W_pair).sum(1) / dual_encoder(W_pair).norm(dim=1)
    theory = cosine.clamp(-1, 1).acos().rad2deg().view(7, 8)[:, 0]
    plots.curves(
        {
            "tied: worst decoder row": (phi, off["tied"]),
            "free: worst decoder row": (phi, off["transposed"]),
            "free: encoder's lean": (phi, theory),
        },
        "angle between the features (degrees)", "degrees off",
        points={"free: encoder's lean": (phi, tilt)},
    ).show()  # fmt: skip
    tilt_pentagon = {}
    for encoder in ("tied", "transposed", "independent"):
        gen = torch.Generator().manual_seed(0)
        settings = TrainConfig(2500, 256, 0.03, "linear", label=f"pentagon, {encoder}")
        start = init_sae(16, 2, 5, encoder, gen)
        params = train_resampled(start, W_toy, 0.025, 0.1, settings, Resampler("none", gen))
        complete = int((n_recovered(W_toy, params["W_dec"]) == 5).sum())
        if encoder != "tied":
            tilt_pentagon[encoder] = encoder_tilt(params).median()
        print(f"pentagon, {encoder:12} 5 of 5 in {complete:2} of 16", end="")
        print("" if encoder == "tied" else f", lean {tilt_pentagon[encoder]:.1f}°")

# %% [markdown]
# **What you see.** The free encoder leans away exactly as the dual basis says (circles on the
# line), and its decoder finds the features at every angle. The tied SAE cannot lean. So it turns
# its *decoder* rows apart until they are nearly orthogonal: the worst row is off by about $90° -
# \varphi$.
#
# In the pentagon every feature has neighbours to the left and to the right at equal angles, so
# there is no side to lean to. The free encoder stays where it started. That is the **symmetry that
# favours tied weights** here: tying forbids only what would not be used, and a tied latent cannot
# be born with its encoder pointing nowhere. Independent encoders, without resampling, mostly end
# incomplete. In a language model features do lean towards each other, and there untied encoders are
# the rule.

# %% [markdown]
# ## 11 · Which features are lost?
#
# Features differ in two ways. How often are they on ($p$)? And how long is their direction ($s$,
# the norm of the column $W_i$)? The toy model's *importance* acts on the second: unimportant
# features get short columns, or none.
#
# What does an SAE gain by spending a latent on a feature of norm $s$ that is alone in its row? Its
# magnitude is $m = s\,x$ with $x$ uniform on $[0, 1]$. Without the latent the row costs
# $m^2/d_\text{in}$. With it, by part 5, $a = m - t$ where $t = \tfrac12\lambda d_\text{in}$, and
# the row costs
#
# $$\frac{t^2}{d_\text{in}} + \lambda (m - t) = \frac{2tm - t^2}{d_\text{in}} \quad (m > t).$$
#
# The latent saves the difference, $(m - t)^2/d_\text{in}$. With probability $p$ the feature is on,
# and
#
# $$v = p \int_t^s \frac{(m - t)^2}{d_\text{in}} \frac{dm}{s} = \frac{p\,(s - t)^3}{3\, s\,
# d_\text{in}} .$$

# %% [markdown] tags=["task"]
# Return $v$. It is 0 for $s \le t$, also for $s = 0$. `norm` and `probability` broadcast.


# %% tags=["exercise"] exercise="3.1.5.o" title="What a latent is worth" difficulty=3 importance=3 minutes=12 skill="expected values by integration"
def latent_value(
    norm: Float[Tensor, "*#feature"],
    probability: Float[Tensor, "*#feature"],
    l1_coeff: float,
    d_in: int,
) -> Float[Tensor, "*feature"]:
    """Expected saving p (s - t)^3 / (3 s d_in) of one latent, t = l1_coeff d_in / 2; 0 if s <= t."""
    t = l1_coeff * d_in / 2
    return probability * (norm - t).relu() ** 3 / (3 * norm.clamp(min=1e-12) * d_in)


# %% [markdown] tags=["hint"]
# What is $\int_t^s (m - t)^2\,dm$?

# %% [markdown] tags=["hint"]
# `(norm - t).relu() ** 3` is 0 for weak features. Guard the division by `norm`.

# %% [markdown] tags=["task"]
# Twenty features in eight dimensions. Importances and probabilities are drawn independently, both
# over more than a factor of ten. The SAE has 12 latents. Take the features that the toy model
# *represents*, that is with norm above 0.5. Which of them will the SAE find?
#
# - `"the important ones"`
# - `"the frequent ones"`
# - `"the long ones"`

# %% tags=["predict"] exercise="3.1.5.P7" title="Important, frequent, or long?" difficulty=3 importance=4 minutes=2 skill="predicting" choices=["the important ones", "the frequent ones", "the long ones"]
predict_found = "the frequent ones"

# %% tags=["demo"] reveals=["predict_found"] experiment="unequal" results=["found_by", "dropped_by"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    importance = 10 ** (-3 * torch.rand(8, 20, generator=gen))
    p_own = 10 ** (-2.3 + 1.3 * torch.rand(8, 20, generator=gen))
    settings = TrainConfig(4000, 1024, 5e-3, "cosine", label="unequal toy models")
    start_toy = init_toy(ToyConfig(8, 20, 8), gen)
    W_unequal = train_toy_fast(*start_toy, importance, p_own, settings, gen).W
    settings = TrainConfig(3000, 256, 0.01, "linear", label="twelve latents")
    resampler = Resampler("loss", gen, until=2000)
    params = train_resampled(
        init_sae(8, 8, 12, "transposed", gen), W_unequal, p_own, 0.03, settings, resampler
    )
    found = (matched_cosines(W_unequal, params["W_dec"]) > 0.9).float()
    norm = W_unequal.norm(dim=1)
    kept, value = norm > 0.5, latent_value(norm, p_own, 0.03, 8)
    orders = {"importance": importance, "frequency": p_own, "norm": norm, "value": value}

    dropped_by, found_by = {}, {}
    for name, order in orders.items():
        dropped = (~kept).float().flatten()[order.flatten().argsort()]
        dropped_by[name] = torch.stack([part.mean() for part in dropped.chunk(5)])
        in_order = found[kept][order[kept].argsort()]
        found_by[name] = torch.stack([part.mean() for part in in_order.chunk(5)])
        print(f"by {name:10} dropped by the toy model", [f"{v:4.0%}" for v in dropped_by[name]])
        print(f"{'':13} of the rest, found     ", [f"{v:4.0%}" for v in found_by[name]])
    lines = {name: (torch.arange(1.0, 6), share) for name, share in found_by.items()}
    plots.curves(lines, "fifth of the represented features, lowest first", "share found").show()

# %% [markdown]
# **Two losses, two causes.** The toy model drops features of little *importance*: nine in ten of
# the lowest fifth. Those are not in $h$, and no SAE can find them. Of what is in $h$, the SAE finds
# the *frequent* features, nearly all of them, and the rare ones hardly ever. Importance makes no
# difference to it. $v$ orders the features about as well as frequency alone, because norms differ
# little. The longest are even found *less*: the toy model writes rare features a bit longer.
#
# So a dictionary that is too small is not a random sample of what a model represents. It is a
# census of common things.

# %% [markdown]
# ## 12 · The comparison
#
# Two measures of an SAE need no truth. **L0** is the average number of active latents in a row. The
# **fraction of variance unexplained** is the squared error as a share of the data's variance,
#
# $$\mathrm{FVU} = \frac{\sum_n \|h_n - \hat h_n\|^2}{\sum_n \|h_n - \bar h\|^2}, \qquad
#   \bar h = \text{mean row} .$$
#
# One trades against the other, so a single SAE says little. One compares curves. And here, only
# here, we can add the third number: how many features were truly found.

# %% [markdown] tags=["task"]
# Return the fraction of variance unexplained for each instance.


# %% tags=["exercise"] exercise="3.1.5.p1" title="Variance unexplained" difficulty=2 importance=4 minutes=8 skill="centring before variance"
def variance_unexplained(
    h: Float[Tensor, "batch inst d_in"], h_hat: Float[Tensor, "batch inst d_in"]
) -> Float[Tensor, " inst"]:
    """Sum of squared errors over sum of squared distances from the batch mean, per instance."""
    spread = (h - h.mean(dim=0)).square().sum(dim=(0, 2))
    return (h - h_hat).square().sum(dim=(0, 2)) / spread


# %% [markdown] tags=["hint"]
# What must it be for $\hat h = h$? For $\hat h_n = \bar h$?

# %% [markdown] tags=["hint"]
# Sum over batch and `d_in` in numerator and denominator, then divide. `h.mean(dim=0)` is $\bar h$.

# %% [markdown] tags=["task"]
# Return L0 for each instance, in the dtype of the activations.


# %% tags=["exercise"] exercise="3.1.5.p2" title="L0" difficulty=1 importance=4 minutes=3 skill="counting"
def mean_l0(acts: Float[Tensor, "batch inst latent"]) -> Float[Tensor, " inst"]:
    """Average number of active latents per row, per instance."""
    return (acts > 0).to(acts.dtype).sum(dim=-1).mean(dim=0)


# %% [markdown] tags=["hint"]
# Active means above 0, however weak. Count along one axis, average along another.

# %% [markdown] tags=["hint"]
# `(acts > 0)` is boolean: make numbers of it before you take a mean.

# %% [markdown]
# All variants, each at several settings, on twenty features in eight dimensions with $p = 0.05$: on
# average one feature is on. Twenty latents. Where coefficients are numbers, all settings train side
# by side as instances.

# %% [markdown] tags=["task"]
# Turn the sparsity pressure down: smaller $\lambda$, larger $k$. The variance unexplained falls.
# What happens to the share of features recovered?
#
# - `"it rises, too"`
# - `"it has a peak in between"`
# - `"it stays the same"`

# %% tags=["predict"] exercise="3.1.5.P8" title="Better reconstruction, better features?" difficulty=3 importance=5 minutes=2 skill="predicting" choices=["it rises, too", "it has a peak in between", "it stays the same"]
predict_peak = "it has a peak in between"

# %% tags=["demo"] reveals=["predict_peak"] experiment="comparison" results=["table"]
if __name__ == "__main__":
    l1_plain = torch.tensor([0.005, 0.01, 0.02, 0.04, 0.06]).repeat_interleave(4)
    l1_gate = torch.tensor([0.02, 0.03, 0.045, 0.06, 0.08]).repeat_interleave(4)
    l0_coeff = torch.tensor([0.001, 0.002, 0.004, 0.008, 0.016]).repeat_interleave(4)
    many = {
        "ReLU": [relu_sae(l1_plain)],
        "tied ReLU": [relu_sae(l1_plain, "tied")],
        "Gated": [gated_sae(l1_gate)],
        "JumpReLU": [jumprelu_sae(l0_coeff)],
        "TopK": [plain_topk_sae(k) for k in (1, 2, 3)],
        "BatchTopK": [batch_topk_sae(k) for k in (0.6, 0.9, 1.2, 1.6)],
        "Matryoshka": [nested(batch_topk_sae(k), [5, 10]) for k in (0.6, 0.9, 1.2, 1.6)],
    }
    table = {}
    for name, kinds in many.items():
        rows = []
        for kind in kinds:
            W = W_twenty.repeat(5 if len(kinds) == 1 else 1, 1, 1)
            gen = torch.Generator().manual_seed(0)
            settings = TrainConfig(1600, 256, 0.01, "linear", label=name)
            params = train_architecture(
                kind, partial(hidden_activations, W, 0.05, 256), 20, settings, gen
            )
            h = hidden_activations(W, 0.05, 10_000, gen)
            acts, h_hat = run_sae(kind, params, h)
            share = n_recovered(W, params["W_dec"]) / 20
            measures = torch.stack([mean_l0(acts), variance_unexplained(h, h_hat), share], dim=-1)
            rows.append(measures.view(-1, 4, 3).mean(dim=1))
        table[name] = torch.cat(rows)
    print("variant       L0    FVU  found")
    for name, numbers in table.items():
        for l0, fvu, share in numbers.tolist():
            print(f"{name:10} {l0:5.2f}  {fvu:.3f}  {share:4.0%}")
    plots.comparison(table, 1.0).show()

# %% [markdown]
# **Left.** At equal L0 the Gated SAE explains most in this range, then JumpReLU and BatchTopK. ReLU
# pays for shrinkage, tied or not. TopK has no small L0 to offer: it spends $k$ latents on every
# row, also where nothing is on.
#
# **Right.** At one end of each ReLU and Gated curve the reconstruction is nearly perfect, at three
# active latents a row, and most features are *not* recovered. Near the true L0 (dotted: one feature
# a row) they nearly all are. And ReLU, which loses on the left, recovers *every* feature in the
# middle. The order of the variants on the right is not the order on the left.
#
# The Matryoshka SAE falls fastest on the right, because these features contain nothing: their
# order is arbitrary, and the small prefixes ask for mixtures. Its prior is for trees.
#
# **What the table does not show.** One kind of data, four toy models, one schedule, no tuning per
# variant. (TopK in particular depends on how it starts: compare part 8, where the encoders started
# independently.) In a language model nobody knows the features, and only the left panel can be
# drawn. That it can mislead is the lesson. SAEBench (Karvonen et al. 2025) reports something similar
# for language models: a better trade-off of L0 against reconstruction need not mean better scores
# where latents are used.
#
# ## What you should be able to do now
#
# - Write an SAE with a decoder on the unit sphere, and say why the gradient's parallel part goes.
# - Tell dead latents from rare ones, revive them, and clean the optimiser's memory.
# - Score a dictionary against known features, one to one.
# - Derive $a^* = \max(0, m - \tfrac12 \lambda d_\text{in})$, and name four ways around it.
# - Write a custom gradient, and check it with an upstream gradient that is not all ones.
# - Say when tied weights cost nothing, and when they make the right answer impossible.
# - Predict which features a small dictionary loses.
# - Explain why low variance unexplained is no proof of recovered features.
#
# **Next:** 3.1.7 compares SAEs with what they must beat: PCA, ICA, sparse coding. Part 3.2 puts
# them on a language model.
