# %% [markdown]
# # 3.1.6 Variants of the sparse autoencoder
#
# The SAE of 3.1.5 pays for sparsity with L1, which takes the same amount from every activation. Are
# there other ways to be sparse? You build those that the field has used since, and compare them.
#
# ## Questions
#
# 1. Which ways of being sparse leave the size of an activation alone?
# 2. How does one train a threshold, when a step has no gradient?
# 3. What does an SAE make of features that contain each other? Which does a small one find?
# 4. What does it cost to read along the directions that one writes?
# 5. Do two SAEs with the same sparsity and the same error find the same features?
#
# ## What is imported
#
# Everything of 3.1.5 comes from its reference, so you can start here. You will call:
#
# | from 3.1.5 | returns |
# | --- | --- |
# | `preactivations(h, W_enc, b_enc, b_dec)` | $z = (h - b_\text{dec})\,W_\text{enc} + b_\text{enc}$, `(batch, inst, latent)` |
# | `sae_decode(acts, W_dec, b_dec)` | $\hat h = f\,W_\text{dec} + b_\text{dec}$, `(batch, inst, d_in)` |
# | `loss_terms(h, h_hat, acts)` | the pair ($L_2$: mean over `d_in`; $L_1$: sum over latents), each `(batch, inst)` |
#
# The experiments use the rest as `s5.…`: data from toy models, training with decoder rows on the unit
# sphere, and scores (a feature is recovered when a latent of its own has a cosine above 0.95). Axes
# are as before: `W_enc` is `(inst, d_in, latent)`, `W_dec` is `(inst, latent, d_in)`. Parts 6 to 8
# can be read in any order.

# %% tags=["setup"]
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from part31_superposition import s5_sae_toy_models as s5
from part31_superposition.s5_sae_toy_models import loss_terms, preactivations, sae_decode, sae_loss
from utils.given import sae_variants as given
from utils.given.sae_variants import Architecture, Pair, Params
from utils.plots import sae as plots
from utils.toy import ToyConfig, TrainConfig, init_toy, train_toy_fast

# %% [markdown]
# ## 1 · One frame for all
#
# Here is the field in five lines. All decode in the same way, and all want a small error $L_2$.
#
# | name | what a latent puts out | added to $L_2$ |
# | --- | --- | --- |
# | ReLU | $\mathrm{ReLU}(z)$ | $\lambda \sum_l f_l$ |
# | Gated | a strength, where a gate $\pi$ is open | $\lambda \sum_l \mathrm{ReLU}(\pi_l)$, and the error of $\mathrm{ReLU}(\pi)$ through a frozen decoder |
# | JumpReLU | $z$ where $z > \theta$ | $\lambda$ times the number of active latents |
# | TopK | $z$, if it is among the $k$ largest of its row | nothing |
# | BatchTopK | $z$, if it is among the $k \cdot \text{batch}$ largest of the batch | nothing |

# %% [markdown] tags=["task"]
# All five will train on the pentagon of 3.1.5. Then we measure $\gamma$, the number by which the
# reconstructions should be divided to fit best (3.1.5.i2). The ReLU SAE has a $\gamma$ well below 1.
# Which of the other four will be within 2 % of 1?
#
# - `"none"`
# - `"TopK and BatchTopK only"`
# - `"all but Gated"`
# - `"all four"`

# %% tags=["predict"] exercise="3.1.6.P1" title="Who shrinks?" difficulty=3 importance=4 minutes=3 skill="predicting" choices=["none", "TopK and BatchTopK only", "all but Gated", "all four"]
predict_unbiased = "all four"

# %% [markdown]
# An `Architecture` is two functions: how it encodes, and what it minimises. `encode` returns a pair,
# the activations and what they were made from; `loss` gets that pair. Here is the ReLU SAE as an
# example, and what all have in common. Each part below adds one more, from *your* functions.


# %% tags=["given"]
def linear(params: Params, h: Tensor) -> Tensor:
    """Pre-activations, tied or not."""
    W_enc = params["W_enc"] if "W_enc" in params else params["W_dec"].mT
    return preactivations(h, W_enc, params["b_enc"], params["b_dec"])


def relu_sae(l1_coeff: float | Tensor, encoder: str = "transposed") -> Architecture:
    """The SAE of 3.1.5."""

    def encode(params: Params, h: Tensor) -> Pair:
        z = linear(params, h)
        return z.relu(), z

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        h_hat = sae_decode(pair[0], params["W_dec"], params["b_dec"])
        return sae_loss(h, h_hat, pair[0], l1_coeff)

    return Architecture(encode, loss, encoder=encoder)


def train_architecture(
    architecture: Architecture,
    sample: Callable[[torch.Generator], Tensor],
    latent: int,
    training: TrainConfig,
    gen: torch.Generator,
) -> Params:
    """Fresh SAEs, trained on what `sample` draws."""
    _, inst, d_in = sample(gen).shape
    params = s5.init_sae(inst, d_in, latent, architecture.encoder, gen)
    for name, value in architecture.extra.items():
        params[name] = torch.full_like(params["b_enc"], value)

    def loss(live: Params, h: Tensor) -> Tensor:
        return architecture.loss(live, h, architecture.encode(live, h))

    return s5.fit_sae(params, loss, sample, training, gen).params


@torch.no_grad()
def run_sae(architecture: Architecture, params: Params, h: Tensor) -> Pair:
    """Activations and reconstruction."""
    acts = architecture.encode(params, h)[0]
    return acts, sae_decode(acts, params["W_dec"], params["b_dec"])


# %% [markdown]
# ## 2 · The Gated SAE
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


# %% tags=["exercise"] exercise="3.1.6.a1" title="Gated encoder" difficulty=2 importance=4 minutes=10 skill="two paths, shared weights"
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


# %% tags=["exercise"] exercise="3.1.6.a2" title="Gated loss" difficulty=3 importance=4 minutes=12 skill="stop gradients"
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


# %% tags=["given"]
def gated_sae(l1_coeff: float | Tensor) -> Architecture:
    """The Gated SAE of this part."""

    def encode(params: Params, h: Tensor) -> Pair:
        names = ("W_enc", "b_enc", "r_mag", "b_mag", "b_dec")
        return gated_encode(h, *(params[name] for name in names))

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        return gated_loss(h, *pair, params["W_dec"], params["b_dec"], l1_coeff)

    return Architecture(encode, loss, {"r_mag": 0.0, "b_mag": 0.0})


# %% [markdown]
# ## 3 · JumpReLU
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
# Both depend on $\theta$ through a step, whose derivative is 0 or missing. But the *expected* loss over
# many rows is smooth in $\theta$: moving $\theta$ a little changes the result for the few rows with $z$
# near $\theta$. How many are there? Count them in a window of width $\varepsilon$ (the **bandwidth**)
# and divide by $\varepsilon$: a kernel density estimate, with the rectangle kernel
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


# %% tags=["exercise"] exercise="3.1.6.b1" title="The rectangle kernel" difficulty=1 importance=3 minutes=3 skill="indicator functions"
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
# the chain rule each is *your derivative times `upstream`*. Write the class *inside* the exercise's
# function, and return `TheClass.apply(...)`. (In a project you would define it once, outside.)

# %% [markdown] tags=["task"]
# Write JumpReLU with the gradients above.
#
# - `theta` has shape `(inst, latent)`, `z` has a batch axis in front. Autograd sums a gradient over
#   axes that were broadcast, so `backward` may return it with the batch axis.
# - At $z = \theta$ the output is 0.


# %% tags=["exercise"] exercise="3.1.6.b2" title="JumpReLU" difficulty=4 importance=4 minutes=25 skill="torch.autograd.Function"
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

# %% [markdown] tags=["task"]
# Write the step $H(z - \theta)$ in the same way. It counts active latents in the loss. Its gradient
# with respect to `z` is 0.


# %% tags=["exercise"] exercise="3.1.6.b3" title="A step with a gradient" difficulty=3 importance=4 minutes=12 skill="torch.autograd.Function"
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


# %% tags=["exercise"] exercise="3.1.6.b4" title="JumpReLU loss" difficulty=2 importance=3 minutes=8 skill="composition"
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


# %% tags=["given"]
def jumprelu_sae(l0_coeff: float | Tensor, bandwidth: float = 0.1) -> Architecture:
    """The JumpReLU SAE of this part."""

    def encode(params: Params, h: Tensor) -> Pair:
        z = linear(params, h)
        return jumprelu(z, params["log_theta"].exp(), bandwidth), z

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        decoder = (params["W_dec"], params["b_dec"])
        return jumprelu_loss(h, pair[1], params["log_theta"], *decoder, l0_coeff, bandwidth)

    return Architecture(encode, loss, {"log_theta": math.log(0.1)})


# %% [markdown]
# ## 4 · TopK and BatchTopK
#
# Or drop the penalty altogether. Gao et al. (2024) keep the $k$ largest pre-activations of each row
# and set the rest to 0. There is no coefficient to tune.

# %% [markdown] tags=["task"]
# Keep the $k$ largest pre-activations of every row (and instance), set the others to 0, and apply a
# ReLU: a negative pre-activation never becomes active, even among the $k$ largest. Where values tie,
# keep $k$ of them, whichever you like.


# %% tags=["exercise"] exercise="3.1.6.c1" title="TopK" difficulty=2 importance=4 minutes=8 skill="topk and scatter"
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
# and latents together; the others become 0. Where values tie, keep any of them within the budget.


# %% tags=["exercise"] exercise="3.1.6.c2" title="BatchTopK" difficulty=3 importance=4 minutes=12 skill="reshaping around an axis"
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
# From the activations of several batches (axis `step`), return for each instance the mean over
# batches of the smallest *positive* activation. Ignore batches in which the instance has none; if
# it never has one, return 0.


# %% tags=["exercise"] exercise="3.1.6.c3" title="A threshold for inference" difficulty=3 importance=3 minutes=10 skill="masked minimum and mean"
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
# We add it to every TopK and BatchTopK loss, with $k_\text{aux} = 2$ and the paper's factor 1/32.
# $e$ is a constant: the living are not asked to help.

# %% [markdown] tags=["task"]
# Return $L_\text{aux}$: mean over `d_in` and batch, sum over instances.
#
# - Only dead latents take part; of those the `k_aux` largest of each row, after a ReLU.
# - If fewer than `k_aux` are dead, all of them take part. (There are at least `k_aux` latents.)
# - $\hat e$ has no $b_\text{dec}$. No gradient flows through $e$, neither to `h` nor to `h_hat`.
# - An instance without dead latents contributes 0.


# %% tags=["exercise"] exercise="3.1.6.c4" title="A task for the dead" difficulty=4 importance=3 minutes=20 skill="masks, stop gradients"
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


# %% tags=["given"]
def topk_sae(choose: Callable[..., Tensor], k: int | float, k_aux: int = 2) -> Architecture:
    """TopK or BatchTopK: `choose` is `topk_acts` or `batch_topk_acts`."""
    silence = given.Silence()

    def encode(params: Params, h: Tensor) -> Pair:
        z = linear(params, h)
        return choose(z, k), z

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        acts, z = pair
        W_dec, b_dec = params["W_dec"], params["b_dec"]
        h_hat, dead = sae_decode(acts, W_dec, b_dec), silence.dead(acts)
        error = sae_loss(h, h_hat, acts, 0.0)
        return error + dead_aux_loss(h, h_hat, z, dead, W_dec, k_aux) / 32 if k_aux else error

    return Architecture(encode, loss)


def five_kinds() -> dict[str, Architecture]:
    """The five of part 1, about as sparse as the pentagon's data."""
    return {
        "ReLU": relu_sae(0.3),
        "Gated": gated_sae(0.3),
        "JumpReLU": jumprelu_sae(0.01),
        "TopK": topk_sae(topk_acts, 1),
        "BatchTopK": topk_sae(batch_topk_acts, 0.125),
    }


# %% [markdown]
# ## 5 · Do they shrink?
#
# Every variant trains on the pentagon. Then one feature is on with magnitude $m$: what comes out?

# %% tags=["demo"] reveals=["predict_unbiased"] experiment="unbiased" results=["gammas"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    settings = TrainConfig(4000, 1024, 5e-3, "cosine", label="toy models")
    W_toy = train_toy_fast(*init_toy(ToyConfig(16, 5, 2), gen), 1.0, 0.025, settings, gen).W
    draw = partial(s5.hidden_activations, W_toy, 0.025, 256)
    settings = TrainConfig(2000, 256, 0.02, "linear", label="five architectures")
    magnitude = torch.linspace(0, 1, 41)
    one_on = einsum(magnitude, W_toy, "batch, inst d_in feature -> batch feature inst d_in")
    gammas, lines = {}, {}
    for name, kind in five_kinds().items():
        gen = torch.Generator().manual_seed(0)
        params = train_architecture(kind, draw, 5, settings, gen)
        h = s5.hidden_activations(W_toy, 0.025, 20_000, gen)
        gammas[name] = s5.reconstruction_bias(h, run_sae(kind, params, h)[1])
        found = s5.matched_cosines(W_toy, params["W_dec"]) > 0.95
        print(f"{name:10} γ {gammas[name].mean():.3f}, found {found.float().mean():.0%}")
        if "TopK" not in name:  # those compare rows and latents: one row alone says little
            _, out = run_sae(kind, params, one_on.flatten(0, 1))
            share = (out.unflatten(0, (41, 5)) * W_toy.permute(2, 0, 1)).sum(-1)
            share = share / W_toy.square().sum(1).mT
            lines[name] = (magnitude, share[:, found.mT].median(dim=-1).values)
    plots.curves(lines, "magnitude m of the feature", "what comes out", diagonal=True).show()
    later = [draw(gen) for _ in range(100)]  # BatchTopK, alone
    theta = batch_topk_threshold(torch.stack([run_sae(kind, params, h)[0] for h in later]))
    l0 = (linear(params, torch.cat(later)) > theta[:, None]).float().sum(-1).mean()
    print(f"BatchTopK with one threshold: {l0:.3f} active latents a row, k = 0.125")

# %% [markdown]
# **What you see.** The ReLU SAE's line runs below the diagonal at a nearly constant distance: about
# $\lambda$ divided by the feature's norm, 0.3/1.15. The Gated SAE and JumpReLU are silent below a
# threshold and close to the diagonal above it. (At $m$ near 1 a neighbour's latent begins to join
# in, so a little too much comes out.) From four other seeds $\gamma$ is 0.65 to 0.66 for ReLU, and
# within 0.003 of 1 for the other four.
#
# **What the picture does not show.** $\gamma = 1$ says that reconstructions have the right length
# *on average*. It does not say that the features were found: look at the shares. TopK with $k = 1$
# finds fewest (29 to 60 % from four other seeds). It names one latent in every row, though most
# rows hold no feature. BatchTopK with 0.125, the true average of active features, may stay silent
# (69 to 80 %); and one threshold replaces the comparison between rows without much loss.

# %% [markdown]
# ### Dead latents and the auxiliary loss
#
# Twenty features in eight dimensions, TopK with $k = 2$, and encoders that start *independently* of
# the decoders, as in 3.1.5. What does the auxiliary loss change?

# %% tags=["demo"] experiment="auxiliary" results=["W_twenty", "dead_share"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    settings = TrainConfig(4000, 1024, 5e-3, "cosine", label="twenty features in eight dimensions")
    W_twenty = train_toy_fast(*init_toy(ToyConfig(4, 20, 8), gen), 1.0, 0.05, settings, gen).W
    dead_share = {}
    for k_aux in (0, 4):
        kind = replace(topk_sae(topk_acts, 2, k_aux), encoder="independent")
        gen = torch.Generator().manual_seed(0)
        settings = TrainConfig(2000, 256, 0.03, "linear", label=f"k_aux = {k_aux}")
        draw = partial(s5.hidden_activations, W_twenty, 0.05, 256)
        params = train_architecture(kind, draw, 20, settings, gen)
        acts, _ = run_sae(kind, params, s5.hidden_activations(W_twenty, 0.05, 20_000, gen))
        dead_share[k_aux] = (acts == 0).all(dim=0).float().mean(dim=-1)
        found = (s5.matched_cosines(W_twenty, params["W_dec"]) > 0.95).float().mean()
        print(f"k_aux = {k_aux}: dead {dead_share[k_aux].mean():.0%}, found {found:.0%}")

# %% [markdown]
# From four other seeds: without it 25 to 31 % of the latents are dead and 24 to 31 % of the features
# are found. With it 8 to 10 % are dead, and 62 to 70 % are found. A latent that lives need not have
# found anything, though: the rest are mixtures.

# %% [markdown]
# ## 6 · Features in features
#
# Features contain each other: *animal*, *dog*. A row about a dog holds both. Our data: four parents,
# each with three children. A parent is on in 15 % of the rows; then one of its children is on, too,
# in 80 % of the cases; never a child without its parent. The sixteen directions are orthogonal, so
# superposition plays no part here, and there are sixteen latents.

# %% [markdown] tags=["task"]
# A plain ReLU SAE with a small L1 trains on these data. What does the latent of a *child* look like?
#
# - `"the child's direction"`
# - `"the child plus its parent"`
# - `"the child minus its parent"`

# %% tags=["predict"] exercise="3.1.6.P2" title="A child's latent" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["the child's direction", "the child plus its parent", "the child minus its parent"]
predict_child = "the child plus its parent"


# %% tags=["given"]
def study_tree(
    kind: Architecture, W: Float[Tensor, "inst 16 16"], gen: torch.Generator, label: str = ""
) -> tuple[Tensor, Tensor, Tensor]:
    """Train on parents and children; return holes, cosine of child latents with parents, cosines.

    A hole: a row with a child on which its parent's latent is silent.
    """
    into, inst = "batch inst feature, inst d_in feature -> batch inst d_in", len(W)
    training = TrainConfig(3000, 256, 0.01, "linear", label=label)
    params = train_architecture(
        kind, lambda g: einsum(given.tree_features(256, inst, g), W, into), 16, training, gen
    )
    x = given.tree_features(20_000, inst, gen)
    acts, _ = run_sae(kind, params, einsum(x, W, into))
    cosines = s5.feature_cosines(W, params["W_dec"])
    return given.hole_share(x, acts, cosines), given.child_with_parent(cosines), cosines


# %% tags=["demo"] reveals=["predict_child"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    W_tree = torch.linalg.qr(torch.randn(4, 16, 16, generator=gen)).Q
    gen = torch.Generator().manual_seed(0)
    plain = study_tree(relu_sae(0.01), W_tree, gen, "plain")
    print(
        f"holes {plain[0].mean():.0%}, child's latent with its parent: cosine {plain[1].mean():.2f}"
    )
    plots.cosine_maps({"plain": given.by_feature(plain[2][0])}).show()

# %% [markdown]
# **What you see.** Features down, four parents first; latents across. A child's latent has a second
# entry, on its parent. Why? Two honest latents of strength 1 pay 2. If the child's brings a
# share $\alpha$ of the parent, they pay $\sqrt{1 + \alpha^2} + 1 - \alpha$: less. But where the parent is
# weaker than that share, its latent is silent: it has **holes**, on a fifth of the rows with a child.
# That is **feature absorption** (Chanin et al. 2024).
#
# A **Matryoshka SAE** (Bussmann et al. 2025) asks that *prefixes* of the dictionary reconstruct,
# too: here the first 4 latents alone, and all 16. With the sizes $\mathcal M$ the error becomes
#
# $$L_\mathcal{M} = \sum_{m \in \mathcal M} L_2\Big(h, \sum_{l < m} f_l w_l + b_\text{dec}\Big) .$$
#
# The first 4 have to serve dogs without a dog latent.

# %% [markdown] tags=["task"]
# Return this error: the sum over `sizes` of the reconstruction error with the first $m$ latents;
# mean over `d_in` and batch, sum over instances.


# %% tags=["exercise"] exercise="3.1.6.d" title="Nested reconstructions" difficulty=2 importance=3 minutes=10 skill="prefixes of an axis"
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
# `nested` takes *any* architecture and adds the error of the smaller prefixes.


# %% tags=["given"]
def nested(base: Architecture, sizes: list[int]) -> Architecture:
    """The base architecture, with the errors of smaller prefixes added to its loss."""

    def loss(params: Params, h: Tensor, pair: Pair) -> Tensor:
        prefixes = matryoshka_loss(h, pair[0], params["W_dec"], params["b_dec"], sizes)
        return base.loss(params, h, pair) + prefixes

    return replace(base, loss=loss)


# %% tags=["demo"] experiment="matryoshka" results=["holes", "child_parent"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    dolls = study_tree(nested(relu_sae(0.01), [4]), W_tree, gen, "Matryoshka")
    both = {"plain": plain, "Matryoshka": dolls}
    holes, child_parent = ({n: run[k] for n, run in both.items()} for k in (0, 1))
    for name, (hole, lean, cosines) in both.items():
        found = (cosines.amax(dim=-1) > 0.95).sum(dim=-1).tolist()
        print(f"{name:10} holes {hole.mean():4.0%}, child with parent {lean.mean():5.2f}", end="")
        print(f", features with a latent, of 16: {found}")
    plots.cosine_maps({name: given.by_feature(run[2][0]) for name, run in both.items()}).show()

# %% [markdown]
# **What you see.** The holes are nearly gone, and so are the children's second entries.
#
# **What it costs.** Count the features that have a latent of their own (cosine above 0.95): fewer
# than before. The plain SAE finds the four parents, and hardly a child. The Matryoshka SAE finds some
# children and hardly a parent: over sixteen instances from other seeds 39 features against 63.
# Now the parents' latents lean towards their children (by a cosine of about 0.2 to each: it is the
# best that four latents can do alone), and children lean away from their siblings. The Matryoshka
# loss trades one distortion for another. Which one hurts depends on what you ask of the latents.

# %% [markdown]
# ## 7 · Tied or untied?
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


# %% tags=["exercise"] exercise="3.1.6.e" title="The dual basis" difficulty=2 importance=2 minutes=8 skill="dual bases"
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

# %% tags=["predict"] exercise="3.1.6.P3" title="The free encoder in the pentagon" difficulty=3 importance=3 minutes=2 skill="predicting" choices=["less than 1°", "about 18°", "about 45°"]
predict_tilt = "less than 1°"


# %% tags=["demo"] reveals=["predict_tilt"] experiment="tied" results=["phi", "tilt", "off", "tilt_pentagon"]
if __name__ == "__main__":
    phi = torch.tensor([30.0, 40, 50, 60, 70, 80, 90])
    W_pair, off = given.two_features(phi, 8), {}
    for encoder in ("tied", "transposed"):
        gen = torch.Generator().manual_seed(0)
        settings = TrainConfig(2500, 256, 0.02, "linear", label=encoder)
        start = s5.init_sae(56, 2, 2, encoder, gen)
        resampler = s5.Resampler("loss", gen, until=1500)
        params = s5.train_resampled(start, W_pair, 0.1, 0.02, settings, resampler)
        worst = s5.matched_cosines(W_pair, params["W_dec"]).amin(dim=-1).clamp(-1, 1).acos()
        off[encoder] = worst.rad2deg().view(7, -1).median(dim=-1).values
    tilt = given.encoder_tilt(params).view(7, -1).median(dim=-1).values
    dual = dual_encoder(W_pair)
    lean = ((dual * W_pair).sum(1) / dual.norm(dim=1)).clamp(-1, 1).acos().rad2deg()
    lines = {
        "tied: worst decoder row": (phi, off["tied"]),
        "free: worst decoder row": (phi, off["transposed"]),
        "free: encoder's lean": (phi, lean.view(7, -1)[:, 0]),
    }
    circles = {"free: encoder's lean": (phi, tilt)}
    plots.curves(lines, "angle between the features (degrees)", "degrees off", circles).show()
    tilt_pentagon = {}
    for encoder in ("tied", "transposed", "independent"):
        gen = torch.Generator().manual_seed(0)
        settings = TrainConfig(2500, 256, 0.03, "linear", label=f"pentagon, {encoder}")
        start = s5.init_sae(16, 2, 5, encoder, gen)
        params = s5.train_resampled(start, W_toy, 0.025, 0.1, settings, s5.Resampler("none", gen))
        complete = int((s5.n_recovered(W_toy, params["W_dec"]) == 5).sum())
        print(f"pentagon, {encoder:12} 5 of 5 in {complete:2} of 16", end="")
        if encoder != "tied":
            tilt_pentagon[encoder] = given.encoder_tilt(params).median()
            print(f", lean {tilt_pentagon[encoder]:.1f}°", end="")
        print()

# %% [markdown]
# **What you see.** The free encoder leans away as the dual basis says (circles on the line), and its
# decoder finds the features at every angle. The tied SAE cannot lean. So it turns its *decoder* rows
# apart, to about 88°. Up to 60° one row does all the turning: it is off by 59° for features at 30°,
# and by 28° at 60°. At 80° there is little left to turn, and both share it: 5° and 3°.
#
# In the pentagon every feature has neighbours to the left and to the right at equal angles, so
# there is no side to lean to. The free encoder stays where it started, within half a degree: the
# **symmetry** of this toy setting makes tied weights right. Are they also better? From four other
# seeds tied SAEs are complete in 51 of 64 instances, free ones that start as a copy in 62, free ones
# that start independently in 7. So what helps is the *start*: no latent is born with its encoder
# pointing nowhere. Tying forbids something that is useful on the way. And in a language model
# features do lean towards each other; there untied encoders are the rule.

# %% [markdown]
# ## 8 · Which features are lost?
#
# Features differ in two ways. How often are they on ($p$)? And how long is their direction ($s$,
# the norm of the column $W_i$)? The toy model's *importance* acts on the second: unimportant
# features get short columns, or none.
#
# What does an SAE gain by spending a latent on a feature? Take the simplest case. In its rows the
# feature is alone, with direction $w$ and magnitude $m = s\,x$, where $x$ is uniform on $[0, 1]$.
#
# - *Without* a latent the row is reconstructed as 0 and costs $m^2/d_\text{in}$.
# - *With* a latent it costs $(m - a)^2/d_\text{in} + \lambda a$ at the best $a \ge 0$. From 3.1.5 you
#   know this $a$: it is $m - t$ for $m > t$, else 0, with $t = \tfrac12\lambda d_\text{in}$.

# %% [markdown] tags=["task"]
# Return how much the latent saves per row, on average: the expected cost without it minus the
# expected cost with it. The feature is on with `probability`, and then has magnitude $s\,x$, where
# $s$ is `norm`. Find a closed form on paper: first the saving at one $m$, then the mean over $m$.
#
# `norm` and `probability` are non-negative and broadcast. A norm of 0 is allowed; norms may be small.


# %% tags=["exercise"] exercise="3.1.6.f" title="What a latent is worth" difficulty=4 importance=3 minutes=20 skill="expected values by integration"
def latent_value(
    norm: Float[Tensor, "*#feature"],
    probability: Float[Tensor, "*#feature"],
    l1_coeff: float,
    d_in: int,
) -> Float[Tensor, "*feature"]:
    """Mean over rows of the least cost without the latent minus the least cost with it."""
    t = l1_coeff * d_in / 2
    safe = norm.masked_fill(norm == 0, 1)
    return probability * (norm - t).relu() ** 3 / (3 * safe * d_in)


# %% [markdown] tags=["hint"]
# For $m > t$ the row costs $t^2/d_\text{in} + \lambda (m - t)$ with the latent. Use
# $\lambda = 2t/d_\text{in}$ and subtract: the saving is a square. And for $m \le t$?

# %% [markdown] tags=["hint"]
# The saving at $m$ is $(m - t)^2/d_\text{in}$ above $t$, 0 below. Magnitudes have the density $1/s$ on
# $[0, s]$: $v = p \int_t^s \frac{(m - t)^2}{d_\text{in}} \frac{dm}{s}$.

# %% [markdown] tags=["hint"]
# $\int_t^s (m - t)^2\,dm = \tfrac13 (s - t)^3$. In code `(norm - t).relu() ** 3` is 0 for weak
# features; guard the division by `norm` without changing small norms.

# %% [markdown] tags=["task"]
# Twenty features in eight dimensions. Importances and probabilities are drawn independently, both
# over more than a factor of ten. The SAE has 12 latents. Take the features that the toy model
# *represents*, that is with norm above 0.5. Which of them will the SAE find?
#
# - `"the important ones"`
# - `"the frequent ones"`
# - `"the long ones"`

# %% tags=["predict"] exercise="3.1.6.P4" title="Important, frequent, or long?" difficulty=3 importance=4 minutes=2 skill="predicting" choices=["the important ones", "the frequent ones", "the long ones"]
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
    start = s5.init_sae(8, 8, 12, "transposed", gen)
    resampler = s5.Resampler("loss", gen, until=2000)
    params = s5.train_resampled(start, W_unequal, p_own, 0.03, settings, resampler)
    found = (s5.matched_cosines(W_unequal, params["W_dec"]) > 0.9).float()
    norm = W_unequal.norm(dim=1)
    kept, value = norm > 0.5, latent_value(norm, p_own, 0.03, 8)
    orders = {"importance": importance, "frequency": p_own, "norm": norm, "value": value}
    dropped_by = {
        n: given.by_fifths((~kept).float().flatten(), o.flatten()) for n, o in orders.items()
    }
    found_by = {name: given.by_fifths(found[kept], order[kept]) for name, order in orders.items()}
    for name in orders:
        print(f"by {name:10} dropped by the toy model", [f"{v:4.0%}" for v in dropped_by[name]])
        print(f"{'':13} of the rest, found     ", [f"{v:4.0%}" for v in found_by[name]])
    lines = {name: (torch.arange(1.0, 6), share) for name, share in found_by.items()}
    plots.curves(lines, "fifth of the represented features, lowest first", "share found").show()

# %% [markdown]
# **Two losses, two causes.** (Four other seeds; found: cosine > 0.9.) The toy model drops features of little
# *importance*: 78 to 94 % of the lowest fifth. Those are not in $h$, and no SAE can find them. Of
# what is in $h$, the SAE finds the *frequent* fifth (96 to 100 %), and about one in five of the
# rarest. Importance gives no order. $v$ orders the features about as well as frequency alone, because
# norms differ little. The longest are even found *least*: the toy model writes rare features longer.
#
# So a dictionary that is too small is not a random sample of what a model represents. It is a
# census of common things.

# %% [markdown]
# ## 9 · The comparison
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


# %% tags=["exercise"] exercise="3.1.6.g1" title="Variance unexplained" difficulty=2 importance=4 minutes=8 skill="centring before variance"
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


# %% tags=["exercise"] exercise="3.1.6.g2" title="L0" difficulty=1 importance=4 minutes=3 skill="counting"
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
# What happens to the share of features that the ReLU SAE recovers?
#
# - `"it rises, too"`
# - `"it has a peak in between"`
# - `"it stays the same"`

# %% tags=["predict"] exercise="3.1.6.P5" title="Better reconstruction, better features?" difficulty=3 importance=5 minutes=2 skill="predicting" choices=["it rises, too", "it has a peak in between", "it stays the same"]
predict_peak = "it has a peak in between"


# %% tags=["given"]
def measured(
    kind: Architecture, W: Float[Tensor, "inst d_in feature"], seed: int, label: str = ""
) -> Float[Tensor, "inst 3"]:
    """Train twenty latents; L0, variance unexplained and share recovered of each instance."""
    gen = torch.Generator(W.device).manual_seed(seed)
    training = TrainConfig(1600, 256, 0.01, "linear", label=label)
    params = train_architecture(
        kind, partial(s5.hidden_activations, W, 0.05, 256), 20, training, gen
    )
    h = s5.hidden_activations(W, 0.05, 10_000, gen)
    acts, h_hat = run_sae(kind, params, h)
    share = s5.n_recovered(W, params["W_dec"]) / W.shape[-1]
    return torch.stack([mean_l0(acts), variance_unexplained(h, h_hat), share], dim=-1)


def variants(n_model: int, device: torch.device | str = "cpu") -> dict[str, list[Architecture]]:
    """Every variant at several settings; a coefficient stands once for each of the toy models."""

    def each(*values: float) -> Tensor:
        return torch.tensor(values, device=device).repeat_interleave(n_model)

    ks = (0.6, 0.9, 1.2, 1.6)
    return {
        "ReLU": [relu_sae(each(0.005, 0.01, 0.02, 0.04, 0.06))],
        "tied ReLU": [relu_sae(each(0.005, 0.01, 0.02, 0.04, 0.06), "tied")],
        "Gated": [gated_sae(each(0.02, 0.03, 0.045, 0.06, 0.08))],
        "JumpReLU": [jumprelu_sae(each(0.001, 0.002, 0.004, 0.008, 0.016))],
        "TopK": [topk_sae(topk_acts, k) for k in (1, 2, 3)],
        "BatchTopK": [topk_sae(batch_topk_acts, k) for k in ks],
        "Matryoshka": [nested(topk_sae(batch_topk_acts, k), [5, 10]) for k in ks],
    }


# %% tags=["demo"] reveals=["predict_peak"] experiment="comparison" results=["table"]
if __name__ == "__main__":
    table = {}
    for name, kinds in variants(len(W_twenty)).items():
        W = W_twenty.repeat(5, 1, 1) if len(kinds) == 1 else W_twenty  # all settings at once
        rows = torch.cat([measured(kind, W, 0, name) for kind in kinds])
        table[name] = rows.unflatten(0, (-1, len(W_twenty))).mean(dim=1)
    print("variant       L0    FVU  found")
    for name, numbers in table.items():
        for l0, fvu, share in numbers.tolist():
            print(f"{name:10} {l0:5.2f}  {fvu:.3f}  {share:4.0%}")
    plots.comparison(table, 1.0).show()

# %% [markdown]
# **Left.** Up to one active latent a row the Gated SAE explains most; with two, JumpReLU leaves about
# a third less unexplained than Gated. ReLU pays for shrinkage, tied or not. TopK has no small L0 to
# offer: already $k = 1$ spends a latent on every row, also where nothing is on.
#
# **Right.** At one end of each ReLU and Gated curve the reconstruction is nearly perfect, at three to
# four active latents a row, and most features are *not* recovered. Near the true L0 (dotted: one feature
# a row) most are. From other seeds the best settings of ReLU, Gated and TopK recover 92 to 100 %, of
# JumpReLU and BatchTopK 70 to 92 %. TopK with $k = 1$ is among the best finders, and leaves a fifth
# of the variance unexplained. So the order on the right is not the order on the left.
#
# The Matryoshka SAE falls fastest: these features contain nothing, and small prefixes ask for mixtures.
#
# **One seed is one seed.** In this run TopK with $k = 1$ recovers 69 %, from other seeds 92 to
# 98 %. Look at the four models one by one, `measured(topk_sae(topk_acts, 1), W_twenty, 0)[:, 2]`:
# 0.95, 0.9, 0.9 and 0. TopK names a latent for an empty row, too. In every model one latent does
# just that. In the last one it took $b_\text{dec}$ with it; all directions are measured from there,
# and their cosines with the features fall below 0.95.
#
# **What the table does not show.** One kind of data, one schedule, no tuning per variant. In a
# language model nobody knows the features, and only the left panel can be drawn. That it can mislead
# is the lesson. SAEBench (Karvonen et al. 2025) reports something similar for language models: gains
# on such proxies need not mean better scores where latents are used.
#
# ## What you should be able to do now
#
# - Say what each variant punishes, and which of them leave the size of an activation alone.
# - Stop a gradient where it should not flow, and write a custom one where a step has none.
# - Revive latents by an auxiliary task. Recognise absorption, and what Matryoshka gives for its cure.
# - Say when tied weights cost nothing, and when they make the right answer impossible.
# - Predict which features a small dictionary loses.
# - Explain why low variance unexplained is no proof of recovered features.
#
# **Next:** 3.1.8 compares SAEs with what they must beat: PCA, ICA, sparse coding.
