# %% [markdown]
# # 3.2.6 Transcoders
#
# An SAE says what an activation *is*. A **transcoder** says what an MLP *does*: it reads what the
# MLP reads, and predicts what the MLP writes, through sparse latents (Dunefsky et al. 2024).
# Between two transcoders there is then nothing that is not linear, but attention patterns and
# norms. So one can read off the weights what makes a latent active, without running the model.
#
# ## Questions
#
# 1. What does it cost to replace one MLP, and what to replace all of them?
# 2. What can weights say about a latent, and what can only a run say?
# 3. Through which words does a latent read, when heads lie in between?
# 4. Can one describe a latent without having seen it active?
# 5. Are latents better parts for a circuit than neurons?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | stream | the residual stream, before a norm |
# | to read | a latent reads the stream through the norm: gain, and for a LayerNorm minus the mean |
# | pre-activation | what its encoder computes, before the threshold |
# | skip path | a linear map beside the latents, $W_\text{skip}\, x$ (Paulo et al. 2025) |
# | error | what the transcoder does not get right |
#
# Three traps. *Where it reads:* the course's transcoders read `mlp.hook_in`, after the norm **with
# its gain and bias**; Gemma Scope's read before the gain. *The decoder's bias:* an SAE may subtract
# it from its input; a transcoder's belongs to the output (`apply_b_dec_to_input` in the
# configuration says so). *How they were trained:* BatchTopK, and saved with a fixed threshold
# (JumpReLU), so the number of active latents varies. The story model's have no skip path;
# SmolLM2's have. None knows the first position, so there the MLP stays.

# %% tags=["setup"]
import hashlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from part32_interp_with_saes.s4_understanding_latents import balanced_accuracy, score_interval
from part32_interp_with_saes.s5_circuits_between_latents import (
    faithfulness,
    node_attribution,
    random_like,
    select_nodes,
)
from utils.data.stories.lexicon import BOS, ID, VOCABULARY
from utils.data.stories.sample import sample_tokens
from utils.given.blind_case import BlindCase, clear_cases, told, vocabulary_family
from utils.given.in_model import sample_rows
from utils.given.latent_circuits import bootstrap, number_gap, number_pairs
from utils.given.transcoder_runs import (
    added_up,
    as_function,
    attention_of,
    judged,
    norm_before,
    pieces,
    seen,
    short_coder,
    token_aucs,
    unexplained_by_rows,
)
from utils.given.unit_circuits import (
    baseline,
    latents_as_units,
    neurons_as_units,
    run_units,
    slopes,
    unit_scores,
    values,
)
from utils.graphs.coders import coder_of
from utils.models import language_model, transcoders
from utils.models.loaded import Loaded
from utils.models.profiles import describe
from utils.plots import transcoders as plots
from utils.plots.circuits import size_curves
from utils.sae_metrics.recovered import together
from utils.saes.coder import encode, reconstruct

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import display

    stories, big = language_model("tiny"), language_model()
    saes = transcoders(range(stories.n_layers), "tiny")
    big_saes = transcoders(range(big.n_layers))
    print(describe(stories, saes))
    print(describe(big, [big_saes[0], big_saes[-1]]))
    print("skip paths:", [coder_of(s[0]).W_skip is not None for s in (saes, big_saes)])

# %% [markdown]
# ## 1 · In place of the MLPs
#
# One transcoder in the place of one MLP reads what it was trained on. If *all* are in place, each
# reads a stream that the others have written.

# %% [markdown] tags=["task"]
# Run a stack of blocks. `attentions[i]` and `mlps[i]` are functions of the stream (each has its norm
# inside) that say what is added to it, one after the other. Where `coders[i]` is not `None`, it
# takes the place of the MLP, at all positions but the first. Return the stream after the last block.


# %% tags=["exercise"] exercise="3.2.6.a1" title="A stack with transcoders" difficulty=2 importance=4 minutes=10 skill="the residual stream"
def replaced_stream(
    x: Float[Tensor, "batch pos d_model"],
    attentions: Sequence[Callable[[Tensor], Tensor]],
    mlps: Sequence[Callable[[Tensor], Tensor]],
    coders: Sequence[Callable[[Tensor], Tensor] | None],
) -> Float[Tensor, "batch pos d_model"]:
    """x + attention(x), then + mlp(x) or the transcoder's output, block by block."""
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        x = x + attend(x)
        out = mlp(x)
        if coder is not None:
            out = torch.cat([out[:, :1], coder(x)[:, 1:]], dim=1)
        x = x + out
    return x


# %% [markdown] tags=["hint"]
# The MLP, or its transcoder, reads the stream *after* the attention of the same block.

# %% [markdown] tags=["hint"]
# Both outputs exist: take position 0 of one and the rest of the other, with `torch.cat`.

# %% [markdown] tags=["task"]
# Alone in the model, each of the story model's four transcoders costs little or nothing. With all
# four in at once the loss rises by …


# %% tags=["predict"] exercise="3.2.6.P1" title="All at once" difficulty=2 importance=4 minutes=2 skill="errors that add up" choices=["less than the four costs together", "one to two times the four costs together", "more than two times"]
predict_all = "one to two times the four costs together"

# %% tags=["demo"] reveals=["predict_all"]
if __name__ == "__main__":
    attend, mlps, after = pieces(stories)
    coders = [as_function(stories, sae) for sae in saes]
    tokens = sample_tokens(100, 96, torch.Generator().manual_seed(0))
    first = seen(stories, tokens, ["blocks.0.hook_resid_pre"], 0)["blocks.0.hook_resid_pre"]

    @torch.no_grad()
    def row_losses(which: Sequence[int]) -> Tensor:
        """Mean loss of every row with some transcoders in place; the first word is not judged."""
        chosen = [coder if i in which else None for i, coder in enumerate(coders)]
        log_p = after(replaced_stream(first, attend, mlps, chosen)).log_softmax(dim=-1)
        return -log_p[:, 1:-1].gather(-1, tokens[:, 2:, None])[..., 0].mean(dim=1)

    clean = row_losses([])
    costs = [row_losses([i]) - clean for i in range(4)]
    costs += [torch.stack(costs).sum(dim=0), row_losses(range(4)) - clean]
    labels = [*(f"layer {i}" for i in range(4)), "sum of the four", "all four at once"]
    spans = {n: (float(c.mean()), *bootstrap(c)) for n, c in zip(labels, costs, strict=True)}
    print(f"loss without: {float(clean.mean()):.4f} nats, {len(clean)} rows")
    for name, (mean, low, high) in spans.items():
        print(f"{name}: {mean:+.4f} ({low:+.4f} to {high:+.4f})")
    ratio = torch.stack(costs[-2:], dim=1)
    span = bootstrap(ratio, lambda r: float(r[:, 1].mean() / r[:, 0].mean()))
    print(f"ratio {float(ratio[:, 1].mean() / ratio[:, 0].mean()):.1f}", end=" ")
    print(f"({span[0]:.1f} to {span[1]:.1f})")
    display(plots.costs(spans, "nats per word more than the clean model"))

# %% [markdown]
# Errors add up, and the loss grows faster than they do: all four together cost 0.006 nats, 1.5 times
# (1.3 to 1.8) what they cost one by one. Against a loss of 1.09 nats even that is little. Layer 0 alone
# costs nothing that one could measure.
#
# The same on a real model, and beside it the *loss recovered*: 1 where nothing is lost, 0 where
# the MLPs write zeros.

# %% tags=["demo"]
if __name__ == "__main__":
    rows = sample_rows(big, 4, seed=0)
    middle = len(big_saes) // 3
    for name, some in ((f"layer {middle}", [big_saes[middle]]), ("all layers", big_saes)):
        found = together(big.model, rows, some, batch_rows=4)
        print(f"{big.name}, {name}: clean {found.loss_clean:.2f}, with", end=" ")
        print(f"{found.loss_sae:.2f}, zeros {found.loss_ablated:.2f} nats;", end=" ")
        print(f"recovered {found.loss_recovered:.3f} ± {found.loss_recovered_se:.3f} (SE)")

# %% [markdown]
# One transcoder of SmolLM2, in layer 10, costs 0.04 nats. All thirty cost 1.1 nats: that is another
# language model, and a bad one. Yet its loss recovered is 0.96, and that of layer 10 only 0.82! The share
# depends on what zeros do, and a model without any MLP is hopeless (31.5 nats). So report nats, too. And
# keep in mind for all that follows: what the transcoders say of SmolLM2 is a part of the truth, and the
# errors are the rest.
#
# ### And an SAE on the MLP's output?
#
# An SAE that reads the output and rebuilds it has an easier task: the answer is in its input. But
# it does not say how the output comes about. Does the transcoder pay much for that? And how much
# of the MLP would a linear map get, with no latents at all? That map is a control for skip paths,
# too.

# %% [markdown] tags=["task"]
# Return the affine map from `x` to `y` with the smallest squared error: `W` and `b` such that
# $y \approx x W^\top + b$, by least squares over the items. The tests have more items than `d_in
# + 1`, and no column of `x` that follows from the others.


# %% tags=["exercise"] exercise="3.2.6.g1" title="As far as a linear map goes" difficulty=2 importance=4 minutes=8 skill="least squares"
def best_affine_map(
    x: Float[Tensor, "item d_in"], y: Float[Tensor, "item d_out"]
) -> tuple[Float[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
    """(W, b) that minimise the sum of (x W^T + b - y)²."""
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    W = torch.linalg.lstsq(x - x_mean, y - y_mean).solution.T
    return W, y_mean - W @ x_mean


# %% [markdown] tags=["hint"]
# `torch.linalg.lstsq(A, B).solution` minimises the error of `A @ solution - B`. Where is the
# constant?

# %% [markdown] tags=["hint"]
# Centre both, solve, and let the constant take the mean to the mean. (A column of ones works, too.)

# %% [markdown] tags=["task"]
# `parts` are the summands of an output: what goes through the latents, the skip path, the error.
# Return each one's share of the total's variance, $\sum \operatorname{cov}(\text{part},
# \text{total}) / \sum \operatorname{var}(\text{total})$, summed over `d_out`, the means over items
# taken out. The shares sum to 1; one may be below 0.


# %% tags=["exercise"] exercise="3.2.6.g2" title="What goes which way" difficulty=2 importance=4 minutes=8 skill="covariances add up"
def path_shares(parts: Float[Tensor, "k item d_out"]) -> Float[Tensor, " k"]:
    """Σ cov(part, total) / Σ var(total), total = the sum of the parts; the shares sum to 1."""
    parts = parts - parts.mean(dim=1, keepdim=True)
    total = parts.sum(dim=0)
    return (parts * total).sum(dim=(1, 2)) / total.square().sum()


# %% [markdown] tags=["hint"]
# Variances of parts do not add up, because parts are correlated. Covariances with the total do.

# %% [markdown] tags=["hint"]
# Centre over items first. Then sum products with the total over items and `d_out`.

# %% [markdown] tags=["task"]
# We train three small coders on the story model's MLP 1, equally long, 12 active latents of 192
# each: an SAE on its output, a transcoder, a transcoder with a skip path. Which leaves least of the
# output's variance unexplained?


# %% tags=["predict"] exercise="3.2.6.P2" title="Three small coders" difficulty=2 importance=4 minutes=2 skill="what a skip path buys" choices=["the SAE", "the transcoder", "the skip transcoder"]
predict_coder = "the skip transcoder"

# %% tags=["demo"] reveals=["predict_coder"]
if __name__ == "__main__":
    places = ["blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"]
    more = sample_tokens(200, 96, torch.Generator().manual_seed(1))
    (x, y), (x_new, y_new) = (
        [seen(stories, ids, places, 1)[p][:, 1:].flatten(0, 1) for p in places]
        for ids in (more, tokens)
    )
    W, b = best_affine_map(x, y)
    guesses = {"a linear map": x_new @ W.T + b}
    for kind in ("sae", "transcoder", "skip_transcoder"):
        trained = short_coder(x, y, kind, k=12, latent=192)
        source = y_new if kind == "sae" else x_new
        guesses[kind.replace("_", " ")] = reconstruct(trained, source)
    left = {}
    for name, guess in guesses.items():
        table = unexplained_by_rows(guess, y_new, 95)
        value = float(table[:, 0].sum() / table[:, 1].sum())
        left[name] = (value, *bootstrap(table, lambda r: float(r[:, 0].sum() / r[:, 1].sum())))
        print(f"{name}: unexplained {value:.4f} ({left[name][1]:.4f} to {left[name][2]:.4f})")
    latents = encode(trained, x_new) @ trained.params["W_dec"]
    skip = x_new @ trained.params["W_skip"].T
    shares = path_shares(torch.stack([latents, skip, y_new - latents - skip]))
    print("story model, trained here: latents {:.2f}, skip {:.2f}, error {:.2f}".format(*shares))
    display(plots.costs(left, "share of the output's variance that is left"))

# %% tags=["demo"]
if __name__ == "__main__":
    layers = [0, 1, 2, 5, 10] if big.n_layers > 10 else list(range(big.n_layers))
    big_rows = sample_rows(big, 16, seed=1)
    keep = big_rows.mask & (torch.arange(big_rows.mask.shape[1]) > 0)
    names = [hook for i in layers for hook in (big_saes[i].hook_in, big_saes[i].hook_out)]
    big_seen = seen(big, big_rows.ids, names, layers[-1])
    by_path = {}
    for i in layers:
        coder, x, y = (
            coder_of(big_saes[i]),
            *(big_seen[h][keep] for h in names[2 * layers.index(i) :][:2]),
        )
        through = big_saes[i].encode(x) @ coder.W_dec
        skip = 0 * y if coder.W_skip is None else x @ coder.W_skip.T
        parts = torch.stack([through, skip, y - through - skip - coder.b_out])
        by_path[f"layer {i}"] = path_shares(parts).tolist()
        print(f"{big.name}, layer {i}: ", end="")
        print("latents {:.2f}, skip {:.2f}, error {:.2f}".format(*by_path[f"layer {i}"]))
    display(
        plots.stacked(by_path, ("latents", "skip path", "error"), "share of the output's variance")
    )

# %% [markdown]
# Not to see the answer costs little: transcoder and SAE leave 1.5 % and 1.4 %. A linear map, which has no
# latents at all, leaves 13 %, and beside latents it helps: 1.1 %. Of the output's variance 16 % goes
# through the skip path.
#
# In SmolLM2 that share goes from 4 % (layer 2) to 50 % (layer 0), and the error's from 3 % to 49 %
# (layer 5). A skip path makes the numbers better, but what goes through it is a full matrix that no latent
# explains. From here on we count it as a part of its own.
#
# ## 2 · Which latents write what a latent reads
#
# A latent of layer $j$ reads the stream through the norm. Write the norm out, and its scale is the
# only thing that depends on the input:
#
# $$\text{pre} = \frac{x \cdot w}{\text{scale}} + b .$$

# %% [markdown] tags=["task"]
# Fold a norm into an encoder. The encoder reads $\text{norm}(x)$, with the norm's `gain` and `bias`;
# where `centred` (LayerNorm), the mean of $x$ over `d_model` is subtracted first. Return $W$ and $b$
# such that $\text{norm}(x)\, W_\text{enc} + b_\text{enc} = x W / \text{scale} + b$ for *every* $x$,
# also one whose mean is not 0. Scale is what the norm divides by.


# %% tags=["exercise"] exercise="3.2.6.b1" title="What a latent reads" difficulty=2 importance=5 minutes=10 skill="folding a norm"
def fold_norm(
    W_enc: Float[Tensor, "d_model latent"],
    b_enc: Float[Tensor, " latent"],
    gain: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    centred: bool,
) -> tuple[Float[Tensor, "d_model latent"], Float[Tensor, " latent"]]:
    """(W, b): norm(x) W_enc + b_enc = x W / scale + b."""
    W = gain[:, None] * W_enc
    if centred:
        W = W - W.mean(dim=0)
    return W, b_enc + bias @ W_enc


# %% [markdown] tags=["hint"]
# The gain multiplies each coordinate of `d_model` before the encoder does: it belongs to the rows of
# `W_enc`. The norm's bias passes through `W_enc`, too.

# %% [markdown] tags=["hint"]
# $(x - \bar x) \cdot w = x \cdot (w - \bar w)$: instead of $x$ one can centre each column of $W$.
# After the gain, or before?

# %% [markdown]
# An earlier latent writes a multiple of its decoder row. So one number says how much one unit of it
# adds to a later pre-activation (times the scale) on the direct way: the decoder row times the
# folded encoder column. We call the list of these numbers for one latent its *pullback*.

# %% [markdown] tags=["task"]
# Return the pullback of several latents: entry (target, layer, latent) is the decoder row of that
# earlier latent times the target's folded column.


# %% tags=["exercise"] exercise="3.2.6.b2" title="Pullback" difficulty=1 importance=5 minutes=6 skill="virtual weights"
def pullback(
    W_dec: Float[Tensor, "layer latent d_model"], W_read: Float[Tensor, "d_model target"]
) -> Float[Tensor, "target layer latent"]:
    """W_dec · W_read, targets first."""
    return torch.einsum("lsd,dt->tls", W_dec, W_read)


# %% [markdown] tags=["hint"]
# One sum, over `d_model`. Which axes stay, and in what order?

# %% [markdown] tags=["hint"]
# `torch.einsum` with three letters on the left, two on the right, and `->tls`.

# %% [markdown]
# Is such a number true of what happens in stories? For every pair of a latent of layer 0 and one of a
# later layer we take the correlation, over words, of the earlier one's activation with the later
# one's pre-activation. That knows nothing of weights. Controls: decoder rows in another order, and
# directions at random, as long as the columns.

# %% [markdown] tags=["task"]
# Over all pairs of layers 0 and 1: how closely do weights agree with these correlations?


# %% tags=["predict"] exercise="3.2.6.P3" title="Weights against stories" difficulty=2 importance=4 minutes=2 skill="what weights can know" choices=["r below 0.2", "r from 0.2 to 0.8", "r above 0.8"]
predict_weights = "r from 0.2 to 0.8"

# %% tags=["demo"] reveals=["predict_weights"]
if __name__ == "__main__":
    reads = []
    for i, sae in enumerate(saes):
        norm, coder = norm_before(stories, i), coder_of(sae)
        reads.append(fold_norm(coder.W_enc, coder.bias, norm.gain, norm.bias, norm.centred))
    at = seen(stories, tokens, [sae.hook_in for sae in saes])
    inputs = [at[sae.hook_in][:, 1:] for sae in saes]
    f0 = saes[0].encode(inputs[0]).flatten(0, 1)
    used = judged(f0 > 0)
    gen = torch.Generator().manual_seed(0)
    scatter = {}
    for j in (1, 2, 3):
        W_read, coder = reads[j][0], coder_of(saes[j])
        pre = inputs[j].flatten(0, 1) @ coder.W_enc
        together_with = torch.corrcoef(torch.cat([f0, pre], dim=1).T)[192:, :192][:, used]
        rows_mixed = coder_of(saes[0]).W_dec[torch.randperm(192, generator=gen)]
        random = torch.randn(W_read.shape, generator=gen)
        random = random / random.norm(dim=0) * W_read.norm(dim=0)
        ways = {
            "weights": (coder_of(saes[0]).W_dec, W_read),
            "decoder rows shuffled": (rows_mixed, W_read),
            "random directions": (coder_of(saes[0]).W_dec, random),
        }
        for name, (W_dec, W) in ways.items():
            table = pullback(W_dec[None], W)[:, 0, used]
            pairs = torch.stack([table, together_with], dim=-1)  # intervals over targets

            def r(some: Tensor) -> float:
                """Correlation over all pairs."""
                return float(torch.corrcoef(some.flatten(0, 1).T)[0, 1])

            low, high = bootstrap(pairs, r, n=200)
            print(f"layer 0 to {j}, {name}: r = {r(pairs):+.2f} ({low:+.2f} to {high:+.2f})")
            if j == 1:
                scatter[name] = pairs.flatten(0, 1)[::37]
    display(plots.clouds(scatter, "weight", "correlation over words"))

# %% [markdown]
# Weights that were never fitted to these correlations know them in good part: r = 0.59 (interval over
# target latents: 0.58 to 0.60), and about 0 in both controls. With shuffled rows near 0.5, the agreement
# would have said nothing of *which* latent writes. It is not 1, since the direct way is not the only one:
# heads (later MLPs, too) lie between, and other latents come along. To layer 3 it falls to 0.49.
#
# ## 3 · Which words it reads
#
# A word writes its embedding. Ask a latent the same question about words (its *de-embedding*): what
# would its pre-activation be if the stream held one word's embedding and nothing else?

# %% [markdown] tags=["task"]
# `W`, `b` are folded, as in b1. Each row of `E` is alone in the stream. Return the pre-activations.
# Each row has its own scale, $\sqrt{\text{mean}\,(x - \bar x)^2 + \varepsilon}$ over `d_model`,
# without subtracting $\bar x$ unless `centred`.


# %% tags=["exercise"] exercise="3.2.6.c1" title="One word alone" difficulty=2 importance=4 minutes=8 skill="scales"
def standalone_preactivation(
    E: Float[Tensor, "vocab d_model"],
    W: Float[Tensor, "d_model latent"],
    b: Float[Tensor, " latent"],
    centred: bool,
    eps: float,
) -> Float[Tensor, "vocab latent"]:
    """E W / scale + b, with each row's own scale."""
    x = E - E.mean(dim=1, keepdim=True) if centred else E
    scale = (x.square().mean(dim=1, keepdim=True) + eps).sqrt()
    return E @ W / scale + b


# %% [markdown] tags=["hint"]
# Compare with `F.layer_norm` or `F.rms_norm` of each row, then the encoder: the same number.

# %% [markdown] tags=["hint"]
# $\varepsilon$ is under the root. The bias is not divided by the scale.

# %% [markdown]
# We measure over a text how well that number tells a latent's active words from silent ones: the
# probability that the word at an active token scores above the word at a silent one (AUC; 0.5 is
# chance).

# %% tags=["demo"]
if __name__ == "__main__":
    W_E = stories.model.W_E.detach()
    norms = [norm_before(stories, i) for i in range(4)]
    fs = [sae.encode(x).flatten(0, 1) for sae, x in zip(saes, inputs, strict=True)]
    words = tokens[:, 1:].flatten()

    def alone(E: Tensor, i: int) -> Tensor:
        """Pre-activations of the story model's latents for single words."""
        return standalone_preactivation(E, *reads[i], norms[i].centred, norms[i].eps)

    for i in range(4):
        live = judged(fs[i] > 0)
        auc = token_aucs(alone(W_E, i)[:, live], words, fs[i][:, live] > 0)
        low, high = bootstrap(auc)
        print(
            f"layer {i}: mean AUC {auc.mean():.2f} ({low:.2f} to {high:.2f}), {len(live)} latents"
        )

# %% [markdown]
# Layer 0 reads words, and its latents can be read off like a list. From layer 1 on the raw
# de-embedding disappoints. Why? By then the first MLP has rewritten every word: what later layers
# read of a word is mostly what MLP 0 *made of it*, not its embedding. So let the first MLP do its
# work. Attention we must leave out: it depends on the other words.

# %% [markdown] tags=["task"]
# Return the **extended embedding**: each word's embedding plus what the first MLP writes when the
# stream holds that word alone. `mlp` reads normed rows: its norm has `gain`, `bias`, `eps`, and
# subtracts the mean where `centred`.


# %% tags=["exercise"] exercise="3.2.6.c2" title="The extended embedding" difficulty=2 importance=5 minutes=10 skill="what a word is after block 0"
def extended_embedding(
    W_E: Float[Tensor, "vocab d_model"],
    mlp: Callable[[Tensor], Tensor],
    gain: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    centred: bool,
    eps: float,
) -> Float[Tensor, "vocab d_model"]:
    """W_E + mlp(norm(W_E)): the first block without its attention."""
    x = W_E - W_E.mean(dim=1, keepdim=True) if centred else W_E
    scale = (x.square().mean(dim=1, keepdim=True) + eps).sqrt()
    return W_E + mlp(x / scale * gain + bias)


# %% [markdown] tags=["hint"]
# What the MLP writes is *added* to the stream; the embedding stays in it.

# %% [markdown] tags=["hint"]
# The MLP has not folded anything: give it the normed rows with gain and bias.

# %% [markdown] tags=["task"]
# In SmolLM2 no grammar fixes which words a latent may read, and 11 layers of attention lie between
# the words and layer 10. Which gets the better mean AUC there, for latents of layers 1, 2, 5, 10?


# %% tags=["predict"] exercise="3.2.6.P4" title="Ten layers later" difficulty=3 importance=4 minutes=2 skill="de-embedding" choices=["the extended one at all four layers", "the extended one at two or three", "the raw one at three or more"]
predict_extended = "the extended one at all four layers"

# %% tags=["demo"] reveals=["predict_extended"]
if __name__ == "__main__":

    def extended(loaded: Loaded, rows: Tensor) -> Tensor:
        """Rows of the embedding through a model's first MLP."""
        norm, mlp = norm_before(loaded, 0), loaded.model.blocks[0].mlp
        rest = norm.gain, norm.bias, norm.centred, norm.eps
        with torch.no_grad():
            return extended_embedding(rows, lambda x: mlp(x[None])[0], *rest)

    def three_ways(raw: Tensor, more: Tensor, words: Tensor, active: Tensor) -> dict[str, Tensor]:
        """AUCs of raw and extended scores, and of the extended scores of another latent."""
        other = more.roll(1, dims=1)
        pairs = {"raw": raw, "extended": more, "another latent's": other}
        return {name: token_aucs(score, words, active) for name, score in pairs.items()}

    def show(name: str, found: dict[str, Tensor]) -> None:
        """A line with intervals over latents."""
        said = [f"{n} {v.mean():.2f} ({bootstrap(v)[0]:.2f} to {bootstrap(v)[1]:.2f})"
                for n, v in found.items()]  # fmt: skip
        print(f"{name}, {len(found['raw'])} latents: {', '.join(said)}")

    E_stories, panels = extended(stories, W_E), {}
    for i in (1, 2, 3):
        live = judged(fs[i] > 0)
        panels[f"stories {i}"] = three_ways(
            alone(W_E, i)[:, live], alone(E_stories, i)[:, live], words, fs[i][:, live] > 0
        )
        show(f"story model, layer {i}", panels[f"stories {i}"])
    kinds, which = big_rows.ids[keep].unique(return_inverse=True)
    rows_of_words = big.model.W_E.detach()[kinds]
    E_big = extended(big, rows_of_words)
    for i in [i for i in layers if i > 0]:
        norm, coder = norm_before(big, i), coder_of(big_saes[i])
        folded = fold_norm(coder.W_enc, coder.bias, norm.gain, norm.bias, norm.centred)
        active = big_saes[i].encode(big_seen[big_saes[i].hook_in][keep]) > 0
        live = judged(active)
        one, more = (standalone_preactivation(E, *folded, norm.centred, norm.eps)[:, live]
                     for E in (rows_of_words, E_big))  # fmt: skip
        panels[f"{big.name.split('-')[0]} {i}"] = three_ways(one, more, which, active[:, live])
        show(f"{big.name}, layer {i}", panels[f"{big.name.split('-')[0]} {i}"])
    display(plots.boxes(panels, "AUC: active against silent tokens"))

# %% [markdown]
# From 0.68 to 0.90 in layer 1 of the story model, from 0.56 to 0.84 in layer 1 of SmolLM2, and still
# from 0.54 to 0.74 in its layer 10, though attention and nine blocks are left out. Another latent's scores
# stay at 0.47 to 0.54. (Intervals are over latents, on 9,500 words of stories and 16 rows of text. Latents
# with fewer than 20 active tokens are not judged.) It would have counted against the idea if another
# latent's words had done as well: then it would be about words that make *any* latent active.
#
# At layer 0 it is the other way round: there the raw embedding is what is read. And a list of words says
# nothing of contexts.
#
# ## 4 · Through the heads
#
# A head moves what earlier words have. Given its pattern it is linear: it takes the normed stream at
# word $p$, maps it by $W_V W_O$, and adds it at word $q$, weighted by the pattern. So a latent at
# $q$ reads the stream at $p$, too, in a direction that depends on the head. (In 3.2.3 an SAE read
# the heads' outputs directly. Here $W_O$ and two norms lie between.)

# %% [markdown] tags=["task"]
# `w` is a folded encoder column. Return for each head the direction that it makes the latent read at
# a source word, so that its contribution is `pattern · (x @ read[head]) / (scale at the source ·
# scale at the latent)`. The norm before the heads has `gain`, and subtracts the mean where
# `centred`; biases are left out. Where there are fewer value heads than heads (as in SmolLM2), each
# serves a group of heads that follow one another: with 6 heads and 2, heads 0, 1, 2 share the first.


# %% tags=["exercise"] exercise="3.2.6.d1" title="Reading through a head" difficulty=3 importance=5 minutes=12 skill="the OV circuit"
def read_through_heads(
    w: Float[Tensor, " d_model"],
    W_V: Float[Tensor, "k d_model d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    gain: Float[Tensor, " d_model"],
    centred: bool,
) -> Float[Tensor, "head d_model"]:
    """gain ⊙ (W_V W_O w) of every head, minus its mean where centred."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    read = torch.einsum("hdk,hk->hd", W_V, W_O @ w) * gain
    return read - read.mean(dim=1, keepdim=True) if centred else read


# %% [markdown] tags=["hint"]
# Go backwards from the latent: `W_O` takes `w` into the head, `W_V` takes that to the stream, and
# the norm is folded in as in b1.

# %% [markdown] tags=["hint"]
# `repeat_interleave(n, dim=0)` repeats each value head $n$ times in a row; `repeat` would lay the
# whole list end to end.

# %% [markdown] tags=["task"]
# Now return the contributions themselves, for a latent at one word: `pattern[h, p]` is how much head
# $h$ looks from there to word $p$. `scale` is that of the norm before the heads at every word; the
# latent's own scale is the number `after`.


# %% tags=["exercise"] exercise="3.2.6.d2" title="Heads and words" difficulty=2 importance=4 minutes=8 skill="contributions of words"
def head_word_contributions(
    x: Float[Tensor, "pos d_model"],
    scale: Float[Tensor, " pos"],
    pattern: Float[Tensor, "head pos"],
    read: Float[Tensor, "head d_model"],
    after: float,
) -> Float[Tensor, "head pos"]:
    """pattern[h, p] (x[p] · read[h]) / (scale[p] · after)."""
    return pattern * (read @ (x / scale[:, None]).T) / after


# %% [markdown] tags=["hint"]
# Each word is divided by its *own* scale; `after` belongs to the word where the latent is.

# %% [markdown] tags=["hint"]
# `read @ x.T` has a row for each head and a column for each word, like the pattern.

# %% tags=["demo"]
if __name__ == "__main__":
    text = "when Mary and John went to the beach , John gave a shell to"
    prompt = torch.tensor([ID[w] for w in (BOS, *text.split())])
    shown = [VOCABULARY[int(t)] for t in prompt]
    layer, q = 2, len(prompt) - 1
    f = saes[layer].encode(seen(stories, prompt[None], [saes[layer].hook_in])[saes[layer].hook_in])
    latent = int(f[0, q].argmax())
    print(f"layer {layer}, latent {latent} at {shown[q]!r}: activation {float(f[0, q].max()):.2f}")

    def by_heads(loaded: Loaded, ids: Tensor, i: int, pos: int, w: Tensor) -> tuple:
        """What each word adds through each head of a block, and the directions; checks the sum."""
        att, norm = attention_of(loaded, ids, i, i), norm_before(loaded, i, "ln1")
        model = loaded.model
        W_V, W_O = model.W_V[i].detach(), model.W_O[i].detach()
        read = read_through_heads(w, W_V, W_O, norm.gain, norm.centred)
        rest = att.pattern[:, pos], read, float(att.after[pos])
        by_word = head_word_contributions(att.x, att.scale, *rest)
        z = torch.einsum("hk,hkd,d->h", att.z[pos] - att.value_bias, W_O, w) / att.after[pos]
        off = float((by_word.sum(dim=1) - z).abs().max() / z.abs().max())
        print(f"{loaded.name}: {len(W_O)} heads, {len(W_V)} value heads;", end=" ")
        print(f"sums over words are what the heads add, {off:.0e} off")
        return by_word, read, att

    by_word, read, att = by_heads(stories, prompt, layer, q, reads[layer][0][:, latent])
    w_big = norm_before(big, layers[-1]).gain * coder_of(big_saes[layers[-1]]).W_enc[:, 0]
    by_heads(big, big_rows.ids[0], layers[-1], 40, w_big)
    n_heads = len(by_word)
    display(plots.grid(by_word, [f"head {h}" for h in range(n_heads)], shown, "contribution"))

# %% [markdown]
# One head and one word: head 3 looks from *to* at the second *John*, the giver, and that is half of the
# activation (+1.2 of 2.3). What the other heads bring from *Mary* and the first *John* is small. Nobody
# had to run the model with another text for that; but the pattern was given. *Why* the head looks there is
# a question to $W_Q$ and $W_K$ (3.2.7). In SmolLM2, where three heads share their values, the sums agree,
# too.
#
# ## 5 · Weights times input
#
# Now everything together. The stream that a latent reads is a sum: the embedding, every head, and for
# each earlier MLP its active latents, its skip path, its error, its biases. If nothing is forgotten and
# nothing counted twice, the contributions sum to the pre-activation.

# %% [markdown] tags=["task"]
# Take what one earlier MLP wrote at one word apart. Return a row for each latent (also of silent
# ones), then three rows: the skip path (zeros where `W_skip` is `None`), the error, and `b_dec`. All
# rows together sum to `mlp_out`.


# %% tags=["exercise"] exercise="3.2.6.e1" title="What an MLP wrote" difficulty=2 importance=5 minutes=10 skill="a sum without gaps"
def mlp_components(
    x: Float[Tensor, " d_in"],
    f: Float[Tensor, " latent"],
    mlp_out: Float[Tensor, " d_model"],
    W_dec: Float[Tensor, "latent d_model"],
    b_dec: Float[Tensor, " d_model"],
    W_skip: Float[Tensor, "d_model d_in"] | None,
) -> Float[Tensor, "latent+3 d_model"]:
    """Rows f_s W_dec[s], then W_skip x, the error, b_dec; together mlp_out."""
    rows = f[:, None] * W_dec
    skip = torch.zeros_like(mlp_out) if W_skip is None else W_skip @ x
    error = mlp_out - rows.sum(dim=0) - skip - b_dec
    return torch.cat([rows, torch.stack([skip, error, b_dec])])


# %% [markdown] tags=["hint"]
# The error is the rest, so it comes last: subtract latents, skip path and bias, each once.

# %% [markdown] tags=["hint"]
# `f[:, None] * W_dec` has a row for each latent; `torch.cat` with a stack of the three others.

# %% [markdown] tags=["task"]
# `parts` sum to the stream at one word. Return what each part adds to the pre-activation of a latent
# that reads it through a norm (with `gain`, `bias`, `eps`; the mean is subtracted where `centred`),
# and the constant that belongs to no part. Contributions and constant sum to the pre-activation. The
# scale is that of the *whole* stream.


# %% tags=["exercise"] exercise="3.2.6.e2" title="Contributions that add up" difficulty=3 importance=5 minutes=12 skill="the identity"
def terms_of_latent(
    parts: Float[Tensor, "entry d_model"],
    w_enc: Float[Tensor, " d_model"],
    b_enc: Float[Tensor, ""],
    gain: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    centred: bool,
    eps: float,
) -> tuple[Float[Tensor, " entry"], Float[Tensor, ""]]:
    """(contribution of each part, constant): their sum is norm(sum of parts) · w_enc + b_enc."""
    W, b = fold_norm(w_enc[:, None], b_enc[None], gain, bias, centred)
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    scale = (x.square().mean() + eps).sqrt()
    return parts @ W[:, 0] / scale, b[0]


# %% [markdown] tags=["hint"]
# `fold_norm` with one latent gives what is read and the constant.

# %% [markdown] tags=["hint"]
# Norming each part by itself would be another model. Add the parts up, take one scale.

# %% tags=["demo"]
if __name__ == "__main__":
    by_hand = mlp_components, terms_of_latent
    sums = {"story model": added_up(stories, saes, prompt, layer, q, *by_hand, latent)}
    row = big_rows.ids[0]
    for i in layers[-2:]:
        sums[f"{big.name}, layer {i}"] = added_up(big, big_saes, row, i, 40, *by_hand)
    display(plots.stacked_signed(sums, "contribution to the pre-activation"))

# %% [markdown]
# Nothing is missing, up to rounding: neither skip path nor error nor bias. The identity holds for *any*
# transcoder; how good it is, one sees from the errors. In the story model they are small. In SmolLM2 they
# are among the largest parts (+7.4 of 18.5 in layer 5), and skip paths take a share (−4.8 for a sum of 3.6 in
# layer 10). An account of such a latent by latents alone would leave out what matters most.
#
# Each contribution of an earlier latent is a product. One factor stands in the weights and is the same
# in every text: Dunefsky et al. call it *input-invariant*. The other is the activation (over the
# scales, and times the pattern if a head lies between): *input-dependent*. So one can read a model in
# general first, and ask about one text later.

# %% [markdown] tags=["task"]
# Split what earlier latents add to a latent at one word **through heads**. `f` are the earlier layer's
# latents at every word, `read` the directions of d1, `pattern`, `scale`, `after` as in d2. Return the
# two factors, (head, latent) and (head, pos, latent), with no input in the first and no weights in the
# second. Their product is what latent $s$ at word $p$ adds through head $h$.


# %% tags=["exercise"] exercise="3.2.6.e3" title="Two factors" difficulty=2 importance=4 minutes=8 skill="input-invariant, input-dependent"
def weights_and_input(
    f: Float[Tensor, "pos latent"],
    W_dec: Float[Tensor, "latent d_model"],
    read: Float[Tensor, "head d_model"],
    pattern: Float[Tensor, "head pos"],
    scale: Float[Tensor, " pos"],
    after: float,
) -> tuple[Float[Tensor, "head latent"], Float[Tensor, "head pos latent"]]:
    """(W_dec · read of each head, pattern · f / (scale · after))."""
    return read @ W_dec.T, pattern[:, :, None] * (f / scale[:, None]) / after


# %% [markdown] tags=["hint"]
# Which of the arguments are weights? Only those may be in the first factor.

# %% [markdown] tags=["hint"]
# `pattern[:, :, None]` has a place for latents; `f / scale[:, None]` has none for heads, and needs none.

# %% tags=["demo"]
if __name__ == "__main__":
    f1 = saes[1].encode(seen(stories, prompt[None], [saes[1].hook_in])[saes[1].hook_in])[0]
    f1[0] = 0
    args = read, att.pattern[:, q], att.scale, float(att.after[q])
    fixed, given = weights_and_input(f1, coder_of(saes[1]).W_dec, *args)
    product = fixed[:, None] * given
    top = product.abs().flatten().topk(5).indices.tolist()
    for i in top:
        h, rest = divmod(i, product[0].numel())
        p, s = divmod(rest, product.shape[2])
        rank = int((fixed[h].abs() > fixed[h, s].abs()).sum()) + 1
        print(
            f"L1 latent {s} at {shown[p]!r} through head {h}: {float(product[h, p, s]):+.2f} =",
            end="",
        )
        print(
            f" weight {float(fixed[h, s]):+.2f} (no. {rank} of 192) × input {float(given[h, p, s]):.2f}"
        )

# %% [markdown]
# The first one could have been found without a prompt: of all 192 latents of layer 1 it has the largest
# weight through this head. The others stand far down the list of weights; here it is the input that makes
# them matter. And all of layer 1 together is only a part of what the head brings from *John*: the rest
# is from layer 0, earlier heads and the embedding.
#
# ## 6 · A blind case
#
# The test of all this: say what a latent is from weights alone, and only then look. It is easy to fool
# oneself here; having seen the dashboard, everybody reads it into the weights. So you **commit** first.
# A digest of the answer fixes it without showing it, and a *salt*, some random letters before it, keeps
# others from trying all the answers.

# %% [markdown] tags=["task"]
# Return the commitment: the SHA-256 digest, in hexadecimal letters, of salt, a line break, and answer,
# encoded as UTF-8.


# %% tags=["exercise"] exercise="3.2.6.f1" title="A sealed answer" difficulty=1 importance=3 minutes=5 skill="commit, then reveal"
def commitment(answer: str, salt: str) -> str:
    """sha256 of salt + line break + answer, as hexadecimal text."""
    return hashlib.sha256(f"{salt}\n{answer}".encode()).hexdigest()


# %% [markdown] tags=["hint"]
# `hashlib.sha256(data)` wants bytes: `text.encode()`.

# %% [markdown] tags=["hint"]
# `.hexdigest()` is text, `.digest()` is bytes.

# %% [markdown]
# The answer is a *predicate*: a sentence that is true or false of a word, from a written family (3.2.4)
# that knows letters, word classes and scenes. One can let weights choose it. But mind how often words
# occur: that some rare word scores higher than *the* says little about a text. How the language
# is used is no secret about the latent, so we give the weights a text, of which they see the words only.

# %% [markdown] tags=["task"]
# `score` has a latent's extended de-embedding at each token of a text (equal for equal words); `holds`
# says at which tokens each sentence is true. Let the `n` tokens of highest score stand for "active" (of
# equal scores the earlier token first) and return the number of the sentence with the best balanced
# accuracy over the text (the first of equals). Use `balanced_accuracy(says, truth)` from 3.2.4; $n$ is
# above 0 and below the number of tokens.


# %% tags=["exercise"] exercise="3.2.6.f2" title="A description from weights" difficulty=2 importance=4 minutes=8 skill="an explainer without activations"
def predicate_from_weights(
    score: Float[Tensor, " token"], holds: Bool[Tensor, "item token"], n: int
) -> int:
    """The sentence that tells the n tokens of highest score from the others best."""
    order = score.argsort(descending=True, stable=True)
    top = torch.zeros_like(holds[0])
    top[order[:n]] = True
    scores = balanced_accuracy(holds, top).tolist()
    return scores.index(max(scores))


# %% [markdown] tags=["hint"]
# Make a mask of the `n` best tokens, then one call of `balanced_accuracy` for all sentences.

# %% [markdown] tags=["hint"]
# `argsort(descending=True, stable=True)` keeps equals in order; `scores.index(max(scores))` is the first.

# %% [markdown]
# Here is your case: a latent of layer 1, drawn from those of which the weights seem to say something
# clear. You see the words that score highest by the extended embedding, with how often each occurs in
# 1,000 words, those it writes for, and the earlier latents by weight. Nothing else is shown before you
# commit.

# %% tags=["demo"]
if __name__ == "__main__":
    family, scores = vocabulary_family(), alone(E_stories, 1)
    on_text, often = family.holds[:, words], torch.bincount(words, minlength=len(VOCABULARY))
    n_active = round(12 / 192 * len(words))  # as many as a latent has on average
    clear = clear_cases(scores[words], on_text, n_active, predicate_from_weights)
    case = BlindCase(stories, saes[1], family, clear, seed=5)
    score = scores[:, case.latent]
    order = (score.argsort(descending=True)[:40]).tolist()
    per_mille = 1000 * often / len(words)
    print("reads:", ", ".join(f"{VOCABULARY[i]} ({per_mille[i]:.1f})" for i in order))
    out = stories.model.ln_final.weight.detach() * coder_of(saes[1]).W_dec[case.latent]
    promoted = (out - out.mean()) @ stories.model.W_U.detach()
    print("writes for:", ", ".join(VOCABULARY[int(i)] for i in promoted.topk(8).indices))
    writers = pullback(coder_of(saes[0]).W_dec[None], reads[1][0][:, [case.latent]])[0, 0]
    named = writers.abs().topk(5).indices.tolist()
    print("earlier latents:", ", ".join(f"{s}: {float(writers[s]):+.2f}" for s in named))

# %% [markdown]
# **Choose a sentence.** `None` takes the one that `predicate_from_weights` chooses; better, write your own,
# in the words of the family: `"the token is 'beach'"`, `"a word that begins with 'sh'"`, `"letters that
# end in 'ed'"`, `"kind of word is a place"`, `"verb is go"`, `"scene is sea"`, … A sentence that is not in
# the family is refused, with some that are.

# %% tags=["demo"]
if __name__ == "__main__":
    MY_SENTENCE = None  # your own: a text
    mine = predicate_from_weights(score[words], on_text, n_active)
    mine = mine if MY_SENTENCE is None else case.find(MY_SENTENCE)
    print(f"committed: {told(family.predicates[mine], family.holds[mine])}")
    print("digest", case.commit(mine, commitment)[:16], "…")
    says, truth = case.open(mine, commitment)
    low, high = score_interval(says, truth, 1000, 0.95, gen)
    accuracy = float(balanced_accuracy(says, truth))
    print(
        f"latent {case.latent}, active on {int(truth.sum())} of {len(truth):,} words of new stories"
    )
    print(f"balanced accuracy {accuracy:.2f} ({low:.2f} to {high:.2f})")
    for line in case.examples():
        print("  ", line)

# %% [markdown] tags=["task"]
# One case is one case. We let weights describe all latents of layer 1 that can be judged, score the
# sentences on new stories, and compare with two others: the sentence chosen for *another* latent, and the
# best sentence chosen by looking at *activations* in other stories. Where is the mean score of weights?


# %% tags=["predict"] exercise="3.2.6.P5" title="Without looking" difficulty=3 importance=5 minutes=2 skill="what weights can know" choices=["nearer to another latent's sentence", "nearer to the sentence by activations", "above the sentence by activations"]
predict_blind = "nearer to the sentence by activations"

# %% tags=["demo"] reveals=["predict_blind"]
if __name__ == "__main__":
    new = sample_tokens(100, 96, torch.Generator().manual_seed(2))
    f_new = saes[1].encode(seen(stories, new, [saes[1].hook_in], 1)[saes[1].hook_in])[:, 1:]
    active, new_words = f_new.flatten(0, 1) > 0, new[:, 1:].flatten()
    live = judged(active)
    live = live[torch.isin(live, judged(fs[1] > 0))]
    by_weights = [
        predicate_from_weights(scores[words, k], on_text, n_active) for k in live.tolist()
    ]
    by_acts = [int(balanced_accuracy(on_text, fs[1][:, k] > 0).argmax()) for k in live.tolist()]
    chosen = {"weights": by_weights, "another latent's": by_weights[1:] + by_weights[:1],
              "activations": by_acts}  # fmt: skip
    blind = {}
    for name, numbers in chosen.items():
        blind[name] = torch.stack([
            balanced_accuracy(family.holds[i][new_words], active[:, k])
            for i, k in zip(numbers, live.tolist(), strict=True)
        ])  # fmt: skip
        low, high = bootstrap(blind[name])
        print(f"{name}: {blind[name].mean():.3f} ({low:.3f} to {high:.3f}), {len(live)} latents")
    display(plots.boxes({"layer 1": blind}, "balanced accuracy on new stories"))

# %% [markdown]
# Weights 0.68 (0.66 to 0.70), activations 0.71 (0.69 to 0.73), another latent's 0.50. So most of what
# this family can say of these latents stands in the weights. Two limits. The family says things of single
# words, and that is all that the extended embedding knows; contexts are beyond both. And without the text's
# word frequencies it does much worse, because rare words come first: put every word once in the place of
# the text (with n = 22), and see.
#
# Your case shows what frequencies cost. The automatic sentence is poor (0.59): *the* alone fills 70 % of
# the n places. Read *met, joined, named, and* with what the latent writes for, names: after these words
# somebody new is named.
#
# ## 7 · Against neurons
#
# Last: are latents the better parts? The MLP's own units, its neurons, write fixed directions, too. We
# take the task *number* of 3.2.5 (the log odds of a plural verb after *when Anna and Ben*) and build one
# circuit of latents of the four transcoders and one of neurons. Both are scored by the same gradients, at
# the MLPs' outputs, averaged on the way to the baseline; everything outside gets its mean over the
# singular prompts, and so do the transcoders' errors. Attention stays live.

# %% [markdown] tags=["task"]
# `sizes` increase; `found[i]` is the faithfulness of the circuit of `sizes[i]`. Return the smallest size
# from which on the faithfulness is at least `level`, at that size and at all larger ones; `None` if even
# the last is below. (Faithfulness may go up and down: one lucky size is not enough.)


# %% tags=["exercise"] exercise="3.2.6.h1" title="How small?" difficulty=1 importance=3 minutes=5 skill="an honest threshold"
def smallest_size(sizes: Sequence[int], found: Sequence[float], level: float) -> int | None:
    """The first size from which on all faithfulness is at least level; None if there is none."""
    best = None
    for size, value in zip(reversed(sizes), reversed(found), strict=True):
        if value < level:
            break
        best = size
    return best


# %% [markdown] tags=["hint"]
# Go through the sizes from the largest down, as long as the level holds.

# %% [markdown] tags=["hint"]
# "At least": a value of exactly `level` counts.

# %% [markdown] tags=["task"]
# How many times more neurons than latents does it take for a faithfulness of 0.8 on new prompts? (There
# are 384 neurons and 192 latents per layer and word.)


# %% tags=["predict"] exercise="3.2.6.P6" title="Latents or neurons" difficulty=2 importance=4 minutes=2 skill="sparsity" choices=["fewer neurons than latents", "one to three times as many", "more than three times as many"]
predict_neurons = "more than three times as many"

# %% tags=["demo"] reveals=["predict_neurons"]
if __name__ == "__main__":
    plural, singular = number_pairs("names", n=50, seed=0)
    fresh, _ = number_pairs("names", n=50, seed=1)
    with torch.no_grad():
        full = number_gap(stories.model(fresh)[:, -1])
    sizes = [10, 20, 30, 40, 60, 100, 150, 200, 300, 400, 600, 1000]
    curves: dict[str, list] = {}
    both = {"latents": latents_as_units(stories, saes), "neurons": neurons_as_units(stories)}
    slope = slopes(both["neurons"], plural, singular, number_gap)
    for name, units in both.items():
        base = baseline(units, singular)
        ranked = unit_scores(units, plural, base, slope, node_attribution)
        nothing = [torch.zeros_like(s, dtype=torch.bool) for s in ranked]
        empty = run_units(units, fresh, number_gap, nothing, base)
        whole = run_units(units, fresh, number_gap, [~n for n in nothing], base)
        print(f"all {name}, no errors: {faithfulness(whole, empty, full):.2f}", end="; ")
        eligible = [(v != 0).any(dim=0) for v in values(units, plural)[0]]
        on = sum(float((v[:, 1:] != 0).sum()) for v in values(units, plural)[0]) / len(plural)
        print(f"active in a prompt: {on:.0f} on average")
        for size in sizes:
            circuit = select_nodes(ranked, size)
            chance = random_like(circuit, eligible, torch.Generator().manual_seed(0))
            for label, keep_units in ((name, circuit), (f"random {name}", chance)):
                got = run_units(units, fresh, number_gap, keep_units, base)
                table = torch.stack([got, empty, full], dim=1)
                span = bootstrap(table, lambda rows: faithfulness(*rows.T), n=300)
                curves.setdefault(label, []).append((faithfulness(*table.T), *span))
    for label, spans_of in curves.items():
        print(
            f"{label:15}"
            + " ".join(f"{n}: {v:.2f}" for n, (v, *_) in zip(sizes, spans_of, strict=True))
        )
        print(f"   0.8 from {smallest_size(sizes, [v for v, *_ in spans_of], 0.8)} on")
    display(size_curves(sizes, curves))

# %% [markdown]
# 30 latents do 0.85 of the task, and it takes 300 neurons for 0.84. Random sets of these sizes at the same
# places do nothing. The transcoders' errors are not needed: all latents without them do 1.00.
#
# A fair objection: about 12 latents are active at a word, but nearly all neurons. 30 of the 860 latents that
# are active in a prompt are 3 %, 300 of 27,627 neurons are 1 %. So the gain is in the *number* of things that
# one has to look at. That the task is a smaller part of the model, it does not say.
#
# ## What you should be able to do now
#
# - Say what one transcoder costs a model, and why all of them cost more than the sum.
# - Fold a norm into an encoder, and read off which latents and which words a latent reads.
# - Take a pre-activation apart so that nothing is missing, and split each part into weights and input.
# - Commit to a description before you look, and score it on text nobody has read.
# - Compare parts of a model fairly: same task, same gradients, same baseline, random sets beside it.
#
# ## Open questions
#
# 1. The extended embedding leaves attention out. What would be the best *constant* to put in its place?
# 2. Skip paths take much of what an MLP does at some layers. Are they a part that one understands?
# 3. What would a transcoder have to be trained for, so that all of them together cost less?
