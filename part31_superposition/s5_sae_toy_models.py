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
# ## Questions
#
# 1. How does one train an SAE whose directions all keep the same length?
# 2. How many of its directions are of any use after training, and what can be done about the rest?
# 3. Did it find the features? How does one count, when it may list them in any order?
# 4. Does a feature of strength 1 come out with strength 1?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | feature | a property of the data; it has a direction $W_i$ that we know |
# | latent | a unit of the SAE: an encoder column, a bias and a decoder row |
# | activation $h$ | what the SAE sees: the hidden layer of the toy model, with `d_in` numbers |
# | pre-activation $z$ | what a latent computes before its nonlinearity |
# | $f$ or `acts` | what the latents put out: non-negative, mostly 0 |
# | silent, dead | not active in a row; not active in a single row of a long stretch of training |

# %% tags=["setup"]
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from part31_superposition.s1_nonprivileged_basis import sparse_features
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
# Draw sparse features and return the activations $h = Wx$ for every instance.
#
# `sparse_features(batch, inst, feature, probability, gen)` of 3.1.1 is imported. It returns
# `(batch, inst, feature)`: each feature is on with its probability, and then uniform on $[0, 1]$.


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
# variants of 3.1.6 replace it.


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

# %% tags=["demo"] unit="sixteen_saes"
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
# **Grey rings** did not fire once in 20,000 rows: 16 of 80 here, 21 to 30 from ten other seeds. What
# happened to them?
#
# A ReLU that is never active has gradient 0, on its encoder, its bias and its decoder row. So
# no gradient brings it back. It is **dead**. Dying is easy: the L1 term pushes every active latent's
# bias down, and a latent whose encoder points nowhere useful has nothing that pushes back.
#
# With five latents for five features, one dead latent means one lost feature. But look at the dots
# between two grey arrows, too (instance 10 has no ring and is still incomplete). Such a latent is
# alive. It serves two neighbours at once, badly, and nothing tells it to choose.

# %% [markdown]
# ## 3 · Resampling
#
# Bricken et al. (2023) revive dead latents: every so often, look who was silent in a long window,
# and give those latents new weights. Four questions follow. Who is dead? Where should the new
# latent point? How strong should it start? And what does the optimiser remember of the old one?
#
# Two answers to the second question: anywhere at random, or where the loss is. You write both.

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
# **Simple resampling.** Give each dead latent a random unit direction, all equally likely. Its decoder
# row *and* its encoder column become this direction, its encoder bias 0. Nothing else changes.
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
# **Loss-proportional resampling** asks the data: which rows are badly reconstructed? A new latent
# that points at one of them has work to do. Bricken et al. draw row $n$ with a probability
# proportional to the *square* of its loss,
#
# $$P(n) = \frac{L_n^2}{\sum_{m} L_m^2},$$
#
# separately for each instance. As the loss of a row we take its reconstruction term $L_2$.

# %% [markdown] tags=["task"]
# Return these probabilities. Where all losses of an instance are 0, every row is equally likely.
# Losses may be small: $10^{-10}$ counts, too.


# %% tags=["exercise"] exercise="3.1.5.g1" title="Where is the loss?" difficulty=2 importance=4 minutes=8 skill="normalising a distribution"
def resample_probabilities(l2: Float[Tensor, "batch inst"]) -> Float[Tensor, "batch inst"]:
    """Probability of each row: its squared loss, normalised over the batch; uniform if all are 0."""
    squares = l2.square()
    total = squares.sum(dim=0)
    safe = total.masked_fill(total == 0, 1)  # where it is 0 the quotient is not used
    return torch.where(total > 0, squares / safe, 1 / len(l2))


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
# A tied SAE (no `"W_enc"`) has no encoder to set. Everything else stays; return a new dictionary.


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
# one. Adam divides by the root of `exp_avg_sq`, which fades by a thousandth per step only: what is
# left of old gradients makes the newcomer's first steps too short. So Bricken et al. reset both.

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
# That is the whole recipe. What is Bricken's, and what is ours? Theirs: the square of the loss, the
# unit row, $s = 0.2$, the bias of 0, Adam's reset. They do it four times (at steps 25,000 to
# 100,000), for latents that were silent through 12,500 steps, and they look for bad rows among
# 819,200. We look every 150 steps at the last 20 batches, and for bad rows in *one* batch of 256.
# And we subtract $b_\text{dec}$ from the row before we normalise it, because our encoder subtracts
# it, too; their recipe normalises the row as it is.
#
# One difficulty is left. Two latents of one instance may be dead at the same time. If their rows
# hold the same feature, they start *nearly* equal.

# %% [markdown] tags=["task"]
# Two living latents sit in the same place: all their weights are equal, except that their encoder
# columns differ by about one part in a million. There is a feature elsewhere that nobody covers.
# They have nearly equal activations, and so nearly equal gradients. What has become of the two
# after 4,000 steps, in most instances?
#
# - `"they stay twins"`
# - `"they separate"`: each goes to a feature of its own
# - `"one dies"`

# %% tags=["predict"] exercise="3.1.5.P1" title="Twins" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["they stay twins", "they separate", "one dies"]
predict_twins = "they separate"

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
# The next cells put your functions to work. First the training: `fit_sae` is the loop of part 2 for
# any loss. Your two moves stand before and after each step.


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


# %% [markdown]
# Then the resampling. `Resampler` looks every 150 steps who was silent in the last 20 batches. It
# asks your functions for new weights, writes them *into* the live tensors, resets Adam's averages,
# and keeps copies for the film. With `one_each` it revives at most one latent of an instance at a
# time.


# %% tags=["given"]
@dataclass
class Resampler:
    """Revives dead latents during training; every 50 steps it keeps a frame for the film."""

    method: str  # "none", "simple" or "loss"
    gen: torch.Generator
    one_each: bool = True  # at most one latent per instance at a time
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


# %% [markdown]
# First the twins of part 3.


# %% tags=["given"]
def make_twins(params: Params, difference: float, gen: torch.Generator) -> Params:
    """Copy latent 0 onto latent 1, with a little noise in the encoder column."""
    new = {name: value.clone() for name, value in params.items()}
    noise = torch.randn(new["b_dec"].shape, generator=gen, device=gen.device)
    new["W_dec"][:, 1], new["b_enc"][:, 1] = new["W_dec"][:, 0], new["b_enc"][:, 0]
    new["W_enc"][:, :, 1] = new["W_enc"][:, :, 0] + difference * noise
    return new


# %% tags=["demo"] reveals=["predict_twins"] experiment="twins" results=["apart"]
if __name__ == "__main__":
    settings = TrainConfig(4000, 256, 0.03, "linear", label="twins")
    idle = Resampler("none", torch.Generator().manual_seed(1))  # it only keeps the film
    start = make_twins(init_sae(16, 2, 5, "transposed", idle.gen), 1e-6, idle.gen)
    train_resampled(start, W_toy, 0.025, 0.3, settings, idle)
    rows = torch.stack(idle.frames)  # frame inst latent d_in
    apart = ((rows[:, :, 0] * rows[:, :, 1]).sum(dim=-1) < 0.95).sum(dim=-1)
    for step in (200, 500, 1000, 2000, 4000):
        count = int(apart[idle.steps.index(step)])
        print(f"after {step:4} steps the twins are more than 18° apart in {count:2} of 16")

# %% [markdown]
# **Why.** With *exactly* equal weights the gradients are exactly equal, and on paper the two stay
# together for ever. But that is a pencil on its tip. If one of them leans a little towards the
# feature that nobody covers, it earns a little more there and leans more: the difference feeds
# itself. From one part in a million it takes about 500 steps in half of the instances, and in
# others thousands. (Even the computer's rounding is enough, where it treats two columns
# differently.) A start that is *far* from equal saves this time. So it matters how newcomers begin.

# %% [markdown] tags=["task"]
# Sixteen SAEs, four thousand steps. In how many of the 16 instances are all five features
# recovered *without* resampling?
#
# - `"0 to 5"`
# - `"6 to 11"`
# - `"12 to 16"`

# %% tags=["predict"] exercise="3.1.5.P2" title="Without resampling" difficulty=2 importance=4 minutes=1 skill="predicting" choices=["0 to 5", "6 to 11", "12 to 16"]
predict_without = "0 to 5"

# %% tags=["demo"] reveals=["predict_without"] experiment="resampling" results=["W_toy", "decoders"]
if __name__ == "__main__":
    settings = TrainConfig(4000, 256, 0.03, "linear", label="sixteen SAEs")
    runs = {
        "none": Resampler("none", torch.Generator().manual_seed(1)),
        "random": Resampler("simple", torch.Generator().manual_seed(1)),
        "loss, several at once": Resampler(
            "loss", torch.Generator().manual_seed(1), one_each=False
        ),
        "loss": Resampler("loss", torch.Generator().manual_seed(1)),
    }
    decoders = {}
    for name, resampler in runs.items():
        start = init_sae(16, 2, 5, "independent", resampler.gen)
        decoders[name] = train_resampled(start, W_toy, 0.025, 0.3, settings, resampler)["W_dec"]
        found, mmcs = n_recovered(W_toy, decoders[name]), feature_mmcs(W_toy, decoders[name])
        print(f"{name:22} 5 of 5 in {int((found == 5).sum()):2} of 16, MMCS {mmcs.mean():.3f}")
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
# run.
#
# **One run is one run.** Here are ten more, from seeds that were fixed before anybody looked.
# Instances with all five features, of 160:
#
# | newcomers point | one at a time | several at once |
# | --- | --- | --- |
# | (nobody is revived) | 9 | |
# | at a random direction | 159 | 160 |
# | where the loss is | 156 | 144 |
#
# **What the table says.** Reviving the dead is what counts. Of the 151 incomplete instances without
# it, 148 have a dead latent, and 87 a living one between two features. A newcomer cures the second
# kind, too: when it takes one of the two features, the other is left to settle on.
#
# *Where* a newcomer points counts less here than one might think. In the plane a random direction
# is never more than 36° from a feature, and it may try again. Rows with a large loss are better
# informed: in sparse data such a row mostly holds the missing feature alone. But two that are
# revived together then start nearly right *in the same place*. In 13 of the 16 instances that
# "several at once" left incomplete there are twins at the end. That is why `one_each` revives one
# at a time. Random newcomers are rarely twins.
#
# **What the film does not show.** That a latent has the right *direction* does not mean that it has
# the right *size*. That is the next part.
#
# `save_film` (in `utils/plots/film.py`) writes the same film as one small web page that needs no
# network: give `web_page` a name above.

# %% [markdown]
# ## 5 · Magnitudes
#
# The directions are right. Are the *magnitudes*? Think of one feature alone: a row is $h = m\,w$
# with a unit direction $w$ and a magnitude $m$. Its latent has found $w$ exactly, and puts out $a$.

# %% [markdown] tags=["task"]
# $d_\text{in} = 2$, $\lambda = 0.3$, and the feature is on with magnitude $m = 1$. How long is the
# reconstruction of the trained SAE? Give a number.

# %% tags=["predict"] exercise="3.1.5.P3" title="The price of L1" difficulty=3 importance=4 minutes=3 skill="predicting"
predict_magnitude = 0.7

# %% [markdown]
# With the right direction the reconstruction is $a\,w$, and the loss of this row is
#
# $$L(a) = \frac{(m - a)^2}{d_\text{in}} + \lambda\, a, \qquad a \ge 0 .$$

# %% [markdown] tags=["task"]
# For each magnitude $m \ge 0$ return the $a \ge 0$ with the smallest $L(a)$. Find it on paper first:
# no search, one line of code. `magnitude` has any shape.


# %% tags=["exercise"] exercise="3.1.5.i1" title="The best magnitude" difficulty=2 importance=4 minutes=8 skill="minimising by hand"
def shrunk_magnitude(
    magnitude: Float[Tensor, "*any"], l1_coeff: float, d_in: int
) -> Float[Tensor, "*any"]:
    """For each magnitude m the a >= 0 that minimises (m - a)^2 / d_in + l1_coeff a."""
    return (magnitude - l1_coeff * d_in / 2).relu()


# %% [markdown] tags=["hint"]
# $L$ is a parabola. Where is its derivative 0? A difference $m - a$ appears in it.

# %% [markdown] tags=["hint"]
# $L'(a) = -2(m - a)/d_\text{in} + \lambda$. If it vanishes at a negative $a$, then $L$ rises for
# all $a \ge 0$: which $a$ is best then?

# %% [markdown] tags=["hint"]
# In code the two cases are one subtraction and `.relu()` (or `.clamp(min=0)`).

# %% [markdown]
# **What you found.** Every magnitude loses the same amount, $\tfrac12 \lambda d_\text{in}$, and
# features weaker than that disappear. The encoder can do exactly this: weight 1, bias
# $-\tfrac12\lambda d_\text{in}$. This is **shrinkage**: not a failure of training, but what the
# loss asks for. Does training really end there?

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
# **What you see.** Lines: your formula. Circles: trained SAEs. They agree to 0.02; what is left is
# $b_\text{dec}$, which moves a little towards the mean of the data. Note what L1 does to weak
# features: below $\tfrac12\lambda d_\text{in}$ they are lost altogether.
#
# One number for a whole SAE: by which factor should its reconstructions be *divided* to fit best?
# Rajamanoharan et al. (2024a) define the **relative reconstruction bias**
#
# $$\gamma = \arg\min_{\gamma'} \; \mathbb E \Big\| \frac{\hat h}{\gamma'} - h \Big\|^2
#   \qquad (\gamma < 1 \text{ is shrinkage, } \gamma = 1 \text{ is unbiased}) .$$

# %% [markdown] tags=["task"]
# Solve this least-squares problem on paper (put $s = 1/\gamma'$) and return $\gamma$ for each
# instance. The expectation is the mean over the batch; the norm sums over $d_\text{in}$.


# %% tags=["exercise"] exercise="3.1.5.i2" title="Reconstruction bias" difficulty=3 importance=3 minutes=10 skill="least squares with one unknown"
def reconstruction_bias(
    h: Float[Tensor, "batch inst d_in"], h_hat: Float[Tensor, "batch inst d_in"]
) -> Float[Tensor, " inst"]:
    """For each instance the g that minimises E|h_hat / g - h|^2 (Rajamanoharan 2024a)."""
    return h_hat.square().sum(dim=(0, 2)) / (h_hat * h).sum(dim=(0, 2))


# %% [markdown] tags=["hint"]
# $\mathbb E \| s \hat h - h \|^2$ is a parabola in $s$. Where is its minimum, and what is $1/s$
# there?

# %% [markdown] tags=["hint"]
# Both expectations sum over batch and `d_in`. What cancels?

# %% [markdown]
# ## What you should be able to do now
#
# - Write an SAE with a decoder on the unit sphere, and say why the gradient's parallel part goes.
# - Tell dead latents from rare ones, revive them, and clean the optimiser's memory.
# - Say what a living latent may do wrong: sit between two features, or beside a twin.
# - Score a dictionary against known features, one to one.
# - Derive what L1 takes from every magnitude, and measure it.
# - Say how many runs a statement rests on before you believe it.
#
# **Next:** 3.1.6 builds the variants of the SAE that the field has used since, and compares them.
