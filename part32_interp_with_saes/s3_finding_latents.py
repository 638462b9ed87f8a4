# %% [markdown]
# # 3.2.3 Finding latents: who gets the drink?
#
# *When Mary and John went to the big store, John gave a drink to* … Mary, of course. A language
# model knows that, too. Wang et al. (2022) took GPT-2 small apart to see how. They called the task
# **indirect object identification**. Here is another model, and there are thousands of latents.
# Which of them do the work?
#
# We form hypotheses on one half of the prompts and test them on the other, which has other
# sentences and other names. A story about a latent is cheap. A story that survives new prompts is
# not.
#
# ## Questions
#
# 1. Which latents stand out in a prompt, and are those the ones that matter?
# 2. How much of the answer does each part of the model write, if everything must add up?
# 3. When is a gradient as good as an ablation? What can one do where it is not?
# 4. Of what is a latent of an attention layer made?
# 5. Is the right name carried forward, or the wrong one held back? What would show the difference?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | right name | the indirect object: named once (Mary) |
# | repeated name | the subject: named twice (John); S2 is its second place |
# | end | the last token, "to" |
# | difference | the logit of the right name minus that of the repeated one |
# | effect | how much the difference *falls* when something is taken away |
# | head 23.3 | head 3 of block 23 (both counted from 0) |
#
# Numbers in the text are for the default profile: SmolLM2-135M, an SAE on the heads' outputs $z$
# in block 23, and one on the residual stream after block 10.

# %% tags=["setup"]
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.given.in_model import sample_rows
from utils.given.indirect_objects import ioi_prompts, latents_at, parts_of, read_out_constant
from utils.given.latent_data import final_read_out
from utils.given.rest_of_model import SaeAt, compare, judge_heads
from utils.models import attention_sae, language_model, residual_sae, transcoders
from utils.models.profiles import describe
from utils.models.splice import spliced
from utils.plots import attribution as plots
from utils.progress import track

Metric = Callable[[Tensor], Tensor]

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import display

    loaded, attention, residual = language_model(), attention_sae(), residual_sae()
    model, tokenizer = loaded.model, loaded.tokenizer
    print(describe(loaded, [attention, residual]))
    form, test = ioi_prompts(loaded, "form", 6, seed=0), ioi_prompts(loaded, "test", 10, seed=0)
    print(f"{len(form)} prompts to form hypotheses, {len(test)} to test them")
    for row in (*form.tokens[:2], *test.tokens[:2]):
        print("   " + tokenizer.decode(row[1:].tolist()))

# %% [markdown]
# The two prompts of a pair differ in one word: who is named again. In the first kind the right
# name comes first (ABBA), in the second the repeated one does (BABA). So neither the order nor a
# preference for a name can give the answer.
#
# ## 1 · Does the model do it?

# %% [markdown] tags=["task"]
# Return for each prompt the logit of `right` minus the logit of `repeated`.


# %% tags=["exercise"] exercise="3.2.3.a1" title="The difference" difficulty=1 importance=5 minutes=4 skill="indexing in pairs"
def name_difference(
    logits: Float[Tensor, "prompt vocab"],
    right: Int[Tensor, " prompt"],
    repeated: Int[Tensor, " prompt"],
) -> Float[Tensor, " prompt"]:
    """logits[i, right[i]] - logits[i, repeated[i]] for every prompt i (Wang et al. 2022)."""
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, right] - logits[rows, repeated]


# %% [markdown] tags=["hint"]
# `logits[:, right]` is a matrix: every prompt with every prompt's name. One number per row!

# %% [markdown] tags=["hint"]
# `logits[rows, right]` with `rows = torch.arange(len(logits))`, or `gather`.

# %% [markdown]
# A share of successes needs an interval. With $p = k/n$ successes, Wilson's interval is
#
# $$\frac{p + \frac{z^2}{2n} \pm z \sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}.$$
#
# Unlike $p \pm z\sqrt{p(1-p)/n}$ it has a width where all attempts succeeded.

# %% [markdown] tags=["task"]
# Return Wilson's interval as `(low, high)`. `n` is at least 1.


# %% tags=["exercise"] exercise="3.2.3.a2" title="A share with an interval" difficulty=1 importance=4 minutes=5 skill="uncertainty"
def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """(p + z²/2n ∓ z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = successes / n."""
    p, shrink = successes / n, 1 + z**2 / n
    middle = (p + z**2 / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / shrink
    return middle - half, middle + half


# %% [markdown] tags=["hint"]
# The formula is a middle, plus and minus half a width; both have the same denominator.

# %% [markdown] tags=["hint"]
# For 10 of 10 and `z = 1.96` it is (0.72, 1.00).

# %% [markdown] tags=["task"]
# Now we put the residual SAE into the model, *without* its error term. How much of the mean
# difference is left?


# %% tags=["predict"] exercise="3.2.3.P1" title="Through the bottleneck" difficulty=2 importance=3 minutes=2 skill="what an SAE keeps" choices=["less than half", "half to 90 %", "more than 90 %"]
predict_through = "more than 90 %"

# %% tags=["demo"] reveals=["predict_through"]
if __name__ == "__main__":
    ways = {"clean": [], "attention SAE": [attention], "residual SAE": [residual]}
    if loaded.name.startswith("SmolLM2"):
        ways["transcoder"] = transcoders()
    found = {}
    for way in track(ways, "ways to run the model"):
        with torch.no_grad():
            runs = [
                spliced(model, ids, ways[way]).output[:, -1] if ways[way] else model(ids)[:, -1]
                for ids in test.tokens.split(20)
            ]
        found[way] = name_difference(torch.cat(runs), test.io, test.s)
        right = int((found[way] > 0).sum())
        low, high = wilson_interval(right, len(test))
        left = float(found[way].mean() / found["clean"].mean())
        print(f"{way:14} difference {found[way].mean():5.2f} ({left:4.0%}); right name ", end="")
        print(f"ahead in {right} of {len(test)} ({low:.0%} to {high:.0%})")

# %% [markdown]
# So the task survives in what the SAEs keep, and it makes sense to look for it in their latents.
# (A larger difference is no better model: an SAE that drops what speaks for the wrong name raises
# it.)
#
# ## 2 · By a prompt
#
# The simplest way: run a prompt, and see what is active.

# %% [markdown] tags=["task"]
# `f` has the latents of one prompt. Return the numbers and the values of the `n` latents with the
# largest activation anywhere in it, largest first. Position 0 does not count. Only active ones
# (above 0) are listed, so there may be fewer than `n`. Of two equal ones the smaller number comes
# first.


# %% tags=["exercise"] exercise="3.2.3.b1" title="The strongest of a prompt" difficulty=2 importance=4 minutes=8 skill="what to leave out"
def strongest_latents(
    f: Float[Tensor, "pos latent"], n: int
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"]]:
    """(numbers, values) of the n largest maxima over positions 1, 2, …; silent latents never."""
    values, numbers = f[1:].amax(dim=0).sort(descending=True, stable=True)
    kept = values[:n] > 0
    return numbers[:n][kept], values[:n][kept]


# %% [markdown] tags=["hint"]
# One maximum per latent over the positions, then a sort over the latents.

# %% [markdown] tags=["hint"]
# `sort(descending=True, stable=True)` keeps the order of equal ones; `topk` does not promise that.

# %% [markdown] tags=["task"]
# Or compare two prompts that differ in one thing.
#
# Return for each latent its largest activation in `f` minus its largest activation in `other`,
# position 0 left out in both. The prompts may have different lengths.


# %% tags=["exercise"] exercise="3.2.3.b2" title="Two prompts" difficulty=1 importance=4 minutes=4 skill="a contrast"
def stronger_in(
    f: Float[Tensor, "source latent"], other: Float[Tensor, "target latent"]
) -> Float[Tensor, " latent"]:
    """Maximum over positions 1, 2, … in `f` minus the same in `other`, per latent."""
    return f[1:].amax(dim=0) - other[1:].amax(dim=0)


# %% [markdown] tags=["hint"]
# The maxima first, then the difference: position 5 of one prompt need not match that of the other.

# %% [markdown] tags=["hint"]
# `f[1:].amax(dim=0)` is one number per latent.

# %% [markdown] tags=["task"]
# Or borrow from search engines. A word says much about a page if it is frequent there and rare
# elsewhere: term frequency times inverse document frequency, *TF-IDF*.
#
# In a reference text of `n_tokens` tokens, latent $l$ was active on `times[l]`. Return for each
# latent its largest activation in the prompt (position 0 left out) times $\log \frac{1 + N}{1 +
# n_l}$ (natural logarithm), with $N$ = `n_tokens` and $n_l$ = `times[l]`.


# %% tags=["exercise"] exercise="3.2.3.b3" title="Rare is telling" difficulty=1 importance=3 minutes=5 skill="weighting"
def weighted_strength(
    f: Float[Tensor, "pos latent"], times: Int[Tensor, " latent"], n_tokens: int
) -> Float[Tensor, " latent"]:
    """max over positions 1, 2, … of f, times log((1 + n_tokens) / (1 + times))."""
    return f[1:].amax(dim=0) * ((1 + n_tokens) / (1 + times)).log()


# %% [markdown] tags=["hint"]
# A latent that is active on every token gets weight 0, a silent one the largest weight.

# %% [markdown] tags=["hint"]
# A number divided by an integer tensor is a float tensor: `((1 + n_tokens) / (1 + times)).log()`.

# %% [markdown] tags=["task"]
# Take 60 prompts, and put a *third* name in the place of S2 (*When Mary and John went to the big
# store, Tom gave a drink to*). Take the two latents that lose most strength. Are they on the
# prompts' lists of the ten largest *weighted* strengths?


# %% tags=["predict"] exercise="3.2.3.P2" title="Rare or relevant?" difficulty=3 importance=4 minutes=2 skill="what a list leaves out" choices=["both, on most prompts", "one of them, on most prompts", "neither, on most prompts"]
predict_listed = "neither, on most prompts"

# %% tags=["demo"] reveals=["predict_listed"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    f_form = latents_at(loaded, residual, form.tokens)
    f_third = latents_at(loaded, residual, form.with_third_name(gen).tokens)
    rows = sample_rows(loaded, n=48, seed=0)
    f_text = latents_at(loaded, residual, rows.ids)[:, 1:][rows.mask[:, 1:]]
    times, n_tokens = (f_text > 0).sum(dim=0), len(f_text)
    change = torch.stack([stronger_in(a, b) for a, b in zip(f_form, f_third, strict=True)])
    contrast = change.mean(dim=0)
    pair = contrast.topk(2).indices
    weighted = [weighted_strength(f, times, n_tokens).topk(10).indices for f in f_form]
    on_list = torch.stack([torch.isin(pair, top) for top in weighted]).sum(dim=1)
    for i in pair.tolist():
        print(f"latent {i}: larger by {contrast[i]:.2f} with the repeated name;", end=" ")
        print(f"active on {times[i] / n_tokens:.0%} of ordinary text")
    print(
        f"none, one, both on the weighted list in {on_list.bincount(minlength=3).tolist()} prompts"
    )
    top = strongest_latents(f_form[0], 10)[0].tolist()
    print(f"one prompt, strongest: {top}\n            weighted: {weighted[0].tolist()}")

# %% [markdown]
# Two latents, 369 and 212, are far stronger when a name is *repeated*. But they are busy latents,
# active on a quarter and a sixth of ordinary text: a weighting for rare ones hides them more. A
# list of strong latents tells what a prompt is about. It does not tell what the model *uses*.
#
# ## 3 · What is written: everything adds up
#
# The last residual stream is a sum of what every component wrote. The final norm divides it by a
# number $s$; then come the gain $g$ and the unembedding. If we hold $s$ at its value in this run
# (a **frozen** norm), the difference is linear in the stream: a dot product with one direction per
# prompt,
#
# $$d = \frac{g \odot (W_U[:, \text{right}] - W_U[:, \text{repeated}])}{s}.$$
#
# The dot product of a component's output with $d$ is its **direct logit attribution**. LayerNorm
# also subtracts the stream's mean; to move that to the other side, subtract from $d$ *its* mean.

# %% [markdown] tags=["task"]
# Return $d$ for every prompt. Where `centred` is true, each prompt's direction has mean 0. `scale`
# is what the norm divides by.


# %% tags=["exercise"] exercise="3.2.3.c1" title="A direction for the answer" difficulty=2 importance=5 minutes=8 skill="a frozen norm"
def readout_direction(
    W_U: Float[Tensor, "d_model vocab"],
    gain: Float[Tensor, " d_model"],
    scale: Float[Tensor, " prompt"],
    right: Int[Tensor, " prompt"],
    repeated: Int[Tensor, " prompt"],
    centred: bool,
) -> Float[Tensor, "prompt d_model"]:
    """gain ⊙ (W_U[:, right] - W_U[:, repeated]) / scale, minus its mean where `centred`."""
    direction = (W_U[:, right] - W_U[:, repeated]).T * gain / scale[:, None]
    return direction - direction.mean(dim=1, keepdim=True) if centred else direction


# %% [markdown] tags=["hint"]
# `W_U[:, right]` has a column for each prompt. The gain is one of `d_model`, the scale of the prompt.

# %% [markdown] tags=["hint"]
# $\sum_i d_i (x_i - \bar x) = \sum_i (d_i - \bar d)\, x_i$: the mean is subtracted after the gain.

# %% [markdown] tags=["task"]
# An SAE splits what one place writes: latents times their rows, a bias that is always there, and
# the error term. All three belong to the sum. (The bias's share cancels within a pair of prompts.)
#
# `write` has what one unit of each latent adds to the residual stream, `bias` what the SAE's bias
# adds, `error` the error term. Return the attributions: of each latent, of the bias, of the error.


# %% tags=["exercise"] exercise="3.2.3.c2" title="Latents, bias, error" difficulty=2 importance=5 minutes=8 skill="nothing left out"
def latent_shares(
    f: Float[Tensor, "prompt latent"],
    write: Float[Tensor, "latent d_model"],
    bias: Float[Tensor, " d_model"],
    error: Float[Tensor, "prompt d_model"],
    direction: Float[Tensor, "prompt d_model"],
) -> tuple[Float[Tensor, "prompt latent"], Float[Tensor, " prompt"], Float[Tensor, " prompt"]]:
    """(f_l (write_l · d), bias · d, error · d) for every prompt's direction d."""
    return f * (direction @ write.T), direction @ bias, (error * direction).sum(dim=1)


# %% [markdown] tags=["hint"]
# `direction @ write.T` says for each prompt what one unit of each latent is worth.

# %% [markdown] tags=["hint"]
# The error belongs to its own prompt: multiply elementwise, then sum over `d_model`.

# %% [markdown] tags=["task"]
# A layer of attention can be split by head: what it adds is $\sum_h z_h W_{O,h}$, and a bias.
#
# Return the attribution of every head, as a number with a sign and not as a share of their sum.


# %% tags=["exercise"] exercise="3.2.3.c3" title="By head" difficulty=2 importance=4 minutes=6 skill="einsum"
def head_shares(
    z: Float[Tensor, "prompt head d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    direction: Float[Tensor, "prompt d_model"],
) -> Float[Tensor, "prompt head"]:
    """(z_h W_O,h) · d for every prompt and head h."""
    return torch.einsum("phk,hkm,pm->ph", z, W_O, direction)


# %% [markdown] tags=["hint"]
# `head` stays, `d_head` and `d_model` are summed over, the prompt is the same in both.

# %% [markdown] tags=["hint"]
# `torch.einsum("phk,hkm,pm->ph", …)`. Or: what each head writes, times the direction, summed.

# %% [markdown] tags=["task"]
# Attention of block 23 writes most of the difference, and most of *that* is written by one head,
# 23.3. Of the three places with a name, at which does it look most from the end?


# %% tags=["predict"] exercise="3.2.3.P3" title="Where it looks" difficulty=3 importance=5 minutes=2 skill="a hypothesis" choices=["at the right name", "at the repeated name, first place", "at the repeated name, second place"]
predict_looks = "at the repeated name, second place"

# %% tags=["demo"] reveals=["predict_looks"]
if __name__ == "__main__":
    parts = parts_of(loaded, form.tokens)
    gain, W_U, eps, subtracts_mean = final_read_out(loaded)
    difference = name_difference(parts.logits, form.io, form.s)
    direction = readout_direction(W_U, gain, parts.scale, form.io, form.s, subtracts_mean)
    shares = {name: (write * direction).sum(dim=1) for name, write in parts.writes.items()}
    constant = read_out_constant(loaded)  # biases of the final norm and of the unembedding
    shares["constants"] = constant[form.io] - constant[form.s]
    gap = (sum(shares.values()) - difference).abs().max() / difference.abs().max()
    print(f"{len(shares)} parts add up to {difference.mean():.2f}, off by {gap:.0e}")
    display(plots.shares_by_part(shares))

    end = SaeAt(loaded, form, attention, form.end_at)
    W_O = end.W_O
    by_head = head_shares(parts.z[:, attention.layer], W_O, direction)
    head = int(by_head.mean(dim=0).argmax())
    W, b, e = (rows @ W_O.flatten(0, 1) for rows in (end.W_dec, end.b_dec, end.error))
    by_latent, by_bias, by_error = latent_shares(end.f, W, b, e, direction)
    split = f"latents {by_latent.sum(1).mean():.3f}, bias {by_bias.mean():.3f}"
    print(f"heads {by_head.sum(1).mean():.3f} = {split}, error {by_error.mean():.3f}")
    seen = ", ".join(f"{place} {v[:, head].mean():.2f}" for place, v in end.looks.items())
    print(f"head {attention.layer}.{head} writes {by_head[:, head].mean():.2f}; looks: {seen}")
    display(plots.heads(by_head, end.looks, attention.layer))

# %% [markdown]
# That is not what "carrying the right name forward" would look like. The head that speaks most for
# the right name looks at the *repeated* one. Others look mostly at the right name, and write little
# that helps. Remember both; we come back to them with better tools.
#
# ## 4 · What happens without it
#
# Attribution says what is written directly. Later blocks read that, too, and react. To see what a
# latent is worth in all, take it away and let the model run on.
#
# We do not run on from $\hat x$: the SAE's error would be lost as well. With the error term kept,
# the activation is $x = \sum_l f_l\, w_l + b + \varepsilon$. Set some latents to other values, 0
# or their mean, and everything else stays.

# %% [markdown] tags=["task"]
# Return the activations when the latents in `chosen` have the values `to` instead of their own, in
# all prompts, with bias and error as they are. No number is twice in `chosen`; it may be empty.


# %% tags=["exercise"] exercise="3.2.3.d1" title="The error term stays" difficulty=2 importance=5 minutes=8 skill="an edit that changes nothing else"
def without_latents(
    x: Float[Tensor, "prompt d_in"],
    f: Float[Tensor, "prompt latent"],
    W_dec: Float[Tensor, "latent d_in"],
    chosen: Int[Tensor, " chosen"],
    to: Float[Tensor, " chosen"],
) -> Float[Tensor, "prompt d_in"]:
    """x + Σ over chosen latents of (to - f) W_dec; `x` itself is not changed."""
    return x + (to - f[:, chosen]) @ W_dec[chosen]


# %% [markdown] tags=["hint"]
# Nobody has to compute the error. What changes in the sum over latents when one of them changes?

# %% [markdown] tags=["hint"]
# Add `(to - f[:, chosen]) @ W_dec[chosen]`.

# %% [markdown] tags=["task"]
# **One at a time.** To rank latents we remove each by itself. A latent that is silent in a prompt
# has no effect there, and most are silent. So make a list of the *active* pairs (prompt, latent),
# and run them in batches. `metric(x, prompt)` is the rest of the model: it takes rows of
# activations, and for each row the number of the prompt that it belongs to, and returns their
# differences.
#
# Return the effect of each latent in each prompt: the clean difference minus the difference with
# this latent at 0. Where a latent is silent (0), the effect is 0 and the model is not run. Give
# `metric` at most `size` rows at a time, in the clean run, too.


# %% tags=["exercise"] exercise="3.2.3.d2" title="Every latent by itself" difficulty=3 importance=5 minutes=15 skill="sparse batches"
def ablation_effects(
    x: Float[Tensor, "prompt d_in"],
    f: Float[Tensor, "prompt latent"],
    W_dec: Float[Tensor, "latent d_in"],
    metric: Callable[[Tensor, Tensor], Tensor],
    size: int,
) -> Float[Tensor, "prompt latent"]:
    """metric(x) - metric(x without f_l W_dec,l), for every active latent l by itself; else 0."""
    clean = torch.cat([metric(x[i], i) for i in torch.arange(len(x)).split(size)])
    effects = torch.zeros_like(f)
    for prompt, latent in (pair.T for pair in f.nonzero().split(size)):
        cut = x[prompt] - f[prompt, latent, None] * W_dec[latent]
        effects[prompt, latent] = clean[prompt] - metric(cut, prompt)
    return effects


# %% [markdown] tags=["hint"]
# `f.nonzero()` lists the pairs; `.split(size)` cuts the list. Build a part's rows at once.

# %% [markdown] tags=["hint"]
# `x[prompt]` repeats a prompt's row for each of its latents. `f[prompt, latent, None] *
# W_dec[latent]` is what each row loses.

# %% tags=["demo"]
if __name__ == "__main__":

    def effects_of(spot: SaeAt) -> Tensor:
        """The effect of every active latent at this spot, one at a time."""
        with torch.no_grad():
            return ablation_effects(spot.x, spot.f, spot.W_dec, spot.metric, 256)

    def together(spot: SaeAt, chosen: Tensor) -> Tensor:
        """The effect of several latents at once, set to 0."""
        with torch.no_grad():
            cut = without_latents(spot.x, spot.f, spot.W_dec, chosen, torch.zeros(len(chosen)))
            return spot.metric(spot.x, spot.everyone) - spot.metric(cut, spot.everyone)

    effects_end = effects_of(end)
    live, means = (end.f > 0).any(dim=0), effects_end.mean(dim=0)
    print(f"block {attention.layer}: {int(live.sum())} latents are active at the end,", end=" ")
    print(f"{(end.f > 0).sum(1).float().mean():.0f} in a prompt; the strongest effects:")
    print("   " + ", ".join(f"{i}: {means[i]:.2f}" for i in means.topk(6).indices.tolist()))
    print(f"all at once: {together(end, live.nonzero()[:, 0]).mean():.2f}")

# %% [markdown]
# Here no latent is "the" name mover. The largest effect is an eighteenth of the difference, and
# hundreds of latents share the rest. Keep that in mind when somebody shows a single latent.
#
# ## 5 · Gradients instead of ablations
#
# Thousands of ablations are thousands of runs. One gradient gives a *first-order* estimate for all
# latents at once (attribution patching: Nanda 2023, Syed et al. 2023): if latent $l$ moves from
# $f_l$ to $f_l'$, the difference changes by about $(f_l' - f_l)\, \partial m / \partial f_l$.

# %% [markdown] tags=["task"]
# `metric` maps the latents of *all* prompts, in order, to one number per prompt; this depends on
# the prompt's own latents only. Return the gradient of each prompt's number with respect to its
# latents. No gradient is accumulated, `f` stays as it is, and the result is not part of a graph.


# %% tags=["exercise"] exercise="3.2.3.e1" title="One gradient for all" difficulty=2 importance=5 minutes=8 skill="sums and means"
def latent_gradients(
    f: Float[Tensor, "prompt latent"], metric: Metric
) -> Float[Tensor, "prompt latent"]:
    """∂ metric(f)[i] / ∂ f[i] for every prompt i."""
    leaf = f.detach().clone().requires_grad_()
    with torch.enable_grad():
        total = metric(leaf).sum()
    return torch.autograd.grad(total, leaf)[0]


# %% [markdown] tags=["hint"]
# Autograd wants one number. The *sum* over prompts has, in row $i$, the gradient of prompt $i$.
# The mean would divide it by the number of prompts.

# %% [markdown] tags=["hint"]
# A fresh leaf: `f.detach().clone().requires_grad_()`; then `torch.autograd.grad(total, leaf)[0]`.

# %% [markdown] tags=["task"]
# Return the first-order estimate of the change of the metric, for each latent, when it alone moves
# from its value in `f` to its value in `to`; `gradient` was taken at `f`.


# %% tags=["exercise"] exercise="3.2.3.e2" title="Attribution patching" difficulty=1 importance=5 minutes=5 skill="signs"
def patch_estimate(
    f: Float[Tensor, "prompt latent"],
    to: Float[Tensor, "prompt latent"],
    gradient: Float[Tensor, "prompt latent"],
) -> Float[Tensor, "prompt latent"]:
    """(to - f) · gradient: positive where the move raises the metric."""
    return (to - f) * gradient


# %% [markdown] tags=["hint"]
# Slope times step. Which way does the step go?

# %% [markdown] tags=["hint"]
# For an ablation `to` is 0; the *effect* (how much the difference falls) is minus the estimate.

# %% [markdown] tags=["task"]
# How good is it? Pearson's correlation lives from the few largest points. The rank correlation
# (Spearman's) asks only for the order: it is Pearson's correlation of the ranks.
#
# Return the rank correlation. Equal values share the mean of their ranks. If one of the two is
# constant, return 0. Compute in float64.


# %% tags=["exercise"] exercise="3.2.3.e3" title="Only the order" difficulty=3 importance=3 minutes=10 skill="ties"
def rank_correlation(x: Float[Tensor, " item"], y: Float[Tensor, " item"]) -> float:
    """Spearman's: the Pearson correlation of the ranks, ties with their mean rank."""
    ranks = []
    for v in (x, y):
        _, which, counts = v.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(dim=0).double()
        ranks.append((last - (counts - 1) / 2)[which])
    a, b = (r - r.mean() for r in ranks)
    spread = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / spread) if spread > 0 else 0.0


# %% [markdown] tags=["hint"]
# `x.unique(return_inverse=True, return_counts=True)`: the values are sorted. If a value occurs
# `count` times and ends at rank `last`, its mean rank is `last - (count - 1) / 2`.

# %% [markdown] tags=["hint"]
# Many effects are equal (0). `argsort().argsort()` would give equal values different ranks.

# %% [markdown] tags=["task"]
# **The bootstrap.** How far would a number move with other prompts? Draw as many prompts as there
# are, *with* replacement, from those we have; compute the number again; repeat. The middle 95 % of
# the results are the interval (Efron 1979). Latents of one prompt are not independent: draw whole
# prompts. (Ours were made in pairs; strictly, pairs should be drawn. To keep it short, we don't.)
#
# Return that interval of `statistic(rows)`: its quantiles $(1 - \text{level})/2$ and $(1 +
# \text{level})/2$ over `n_draws` resamples of the rows (`torch.quantile` in float64). Random
# numbers come from `gen`. `statistic` takes a tensor like `rows` and returns a number.


# %% tags=["exercise"] exercise="3.2.3.e4" title="Draw again" difficulty=2 importance=5 minutes=10 skill="the bootstrap"
def bootstrap_interval(
    rows: Float[Tensor, "prompt ..."],
    statistic: Callable[[Tensor], float],
    n_draws: int,
    level: float,
    gen: torch.Generator,
) -> tuple[float, float]:
    """Quantiles of the statistic over n_draws resamples of whole rows, with replacement."""
    n, found = len(rows), []
    for _ in range(n_draws):
        drawn = torch.randint(n, (n,), generator=gen, device=gen.device)
        found.append(float(statistic(rows[drawn])))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.tensor(found, dtype=torch.float64).quantile(ends).tolist()
    return low, high


# %% [markdown] tags=["hint"]
# `torch.randint(n, (n,), generator=gen)` draws n row numbers; some come twice, some not at all.

# %% [markdown] tags=["hint"]
# `rows[drawn]` keeps each row whole: what belongs together stays together.

# %% [markdown] tags=["task"]
# At the end, block 23: over all active pairs (prompt, latent), what is the correlation (Pearson's)
# of the gradient's estimate with the ablation's effect?


# %% tags=["predict"] exercise="3.2.3.P4" title="How good is a gradient?" difficulty=2 importance=4 minutes=2 skill="linearity" choices=["less than 0.5", "0.5 to 0.9", "more than 0.9"]
predict_gradient = "more than 0.9"

# %% tags=["demo"] reveals=["predict_gradient"]
if __name__ == "__main__":

    def estimate_of(spot: SaeAt) -> Tensor:
        """The first-order estimate of every latent's effect."""
        slope = latent_gradients(spot.f, spot.with_latents)
        return -patch_estimate(spot.f, torch.zeros_like(spot.f), slope)

    tools = (bootstrap_interval, rank_correlation, gen)
    guess_end = estimate_of(end)
    compare("end, gradient", guess_end, effects_end, *tools)
    compare("end, direct attribution", by_latent, effects_end, *tools)
    compare("end, shuffled latents (control)", guess_end.roll(1, 1), effects_end, *tools)
    display(plots.against(guess_end.mean(0), effects_end.mean(0), "gradient", "ablation"))

# %% [markdown] tags=["task"]
# Near the output a gradient is nearly as good as an ablation, and it costs one run. The direct
# attribution is a worse guess: it does not know what the blocks above do with a latent. Now
# further down.
#
# The repetition can be noticed at S2. So look there, at the residual SAE after block 10. Nineteen
# blocks lie above it.
#
# There are two latents whose ablation at S2 hurts far more than any other's. For how many of them
# is the gradient's estimate at least half of the effect?


# %% tags=["predict"] exercise="3.2.3.P5" title="Further down" difficulty=3 importance=5 minutes=2 skill="saturation" choices=["none", "one", "both"]
predict_estimates = "one"

# %% tags=["demo"] reveals=["predict_estimates"]
if __name__ == "__main__":
    second = SaeAt(loaded, form, residual, form.s2_at)
    effects_s2, guess_s2 = effects_of(second), estimate_of(second)
    strongest = effects_s2.mean(dim=0).topk(4).indices
    for i in strongest.tolist():
        print(f"{i}: effect {effects_s2[:, i].mean():.2f}, estimate {guess_s2[:, i].mean():.2f}")
    _ = compare("S2, gradient", guess_s2, effects_s2, *tools)

# %% [markdown]
# Latents 369 and 212 again, the two that differ most between a repeated and a third name. By the
# gradient, 212 would have been thrown away: its estimate is about 0. A gradient says what the
# *next bit* of a latent is worth. Where the rest of the model is saturated, the next bit is worth
# nothing, and the whole latent is worth a lot.
#
# ## 6 · The whole way: integrated gradients
#
# Instead of the slope at one end, take the mean slope along the straight way from $f$ to $f'$
# (Sundararajan et al. 2017; for latents: Marks et al. 2024):
#
# $$a_l = (f_l' - f_l) \cdot \frac1n \sum_{i=0}^{n-1} \frac{\partial m}{\partial f_l}
#   \Big( f + \frac{i + \frac12}{n} (f' - f) \Big).$$
#
# The points lie in the *middle* of $n$ equal steps. With many steps the $a_l$ add up to $m(f') -
# m(f)$. That is called **completeness**, and no single gradient has it.

# %% [markdown] tags=["task"]
# Return $a$. All latents move together. `metric` and what is asked of the result are as in e1.


# %% tags=["exercise"] exercise="3.2.3.f1" title="Integrated gradients" difficulty=3 importance=5 minutes=12 skill="the midpoint rule"
def integrated_gradients(
    f: Float[Tensor, "prompt latent"],
    to: Float[Tensor, "prompt latent"],
    metric: Metric,
    n_steps: int,
) -> Float[Tensor, "prompt latent"]:
    """(to - f) times the mean gradient at the midpoints of n_steps steps from f to `to`."""
    total = torch.zeros_like(f)
    for i in range(n_steps):
        point = (f + (i + 0.5) / n_steps * (to - f)).detach().requires_grad_()
        with torch.enable_grad():
            total = total + torch.autograd.grad(metric(point).sum(), point)[0]
    return (to - f).detach() * total / n_steps


# %% [markdown] tags=["hint"]
# A loop over steps, a gradient at each point (you have written that), a mean, a product.

# %% [markdown] tags=["hint"]
# For two steps the points are at one quarter and three quarters of the way.

# %% [markdown] tags=["task"]
# Return, per prompt, by how much completeness fails: the sum of the attributions minus the true
# change of the metric from `f` to `to`.


# %% tags=["exercise"] exercise="3.2.3.f2" title="Does it add up?" difficulty=1 importance=4 minutes=4 skill="a check"
def completeness_gap(
    attributions: Float[Tensor, "prompt latent"],
    f: Float[Tensor, "prompt latent"],
    to: Float[Tensor, "prompt latent"],
    metric: Metric,
) -> Float[Tensor, " prompt"]:
    """Σ attributions - (metric(to) - metric(f)), per prompt."""
    return attributions.sum(dim=1) - (metric(to) - metric(f))


# %% [markdown] tags=["hint"]
# The true change is where we arrive minus where we started.

# %% [markdown] tags=["hint"]
# Sum over latents, not over prompts: gaps of opposite signs must not cancel.

# %% tags=["demo"]
if __name__ == "__main__":
    whole_way = {}
    for name, spot, truth in (("end", end, effects_end), ("S2", second, effects_s2)):
        zero = torch.zeros_like(spot.f)
        for n_steps in (1, 16):
            moved = integrated_gradients(spot.f, zero, spot.with_latents, n_steps)
            with torch.no_grad():
                gap = completeness_gap(moved, spot.f, zero, spot.with_latents).abs().mean()
            print(f"{name}, {n_steps:2} steps: gap {gap:.3f}")
        whole_way[name] = -moved
        compare(f"{name}, integrated gradients", -moved, truth, *tools)
    for i in strongest.tolist():
        print(f"latent {i}: effect {effects_s2[:, i].mean():.2f}, ", end="")
        print(f"gradient {guess_s2[:, i].mean():.2f}, whole way {whole_way['S2'][:, i].mean():.2f}")
    display(plots.against(whole_way["S2"].mean(0), effects_s2.mean(0), "whole way", "ablation"))

# %% [markdown]
# Two answers to one question: was the whole way better? *On average over prompts* it was: the
# correlation of the latents' means rises, at S2 from 0.89 to 0.97, and latent 212 is found. For
# single pairs the order got worse: in ranks from 0.91 to 0.73 at S2, and from 0.98 to 0.94 at the
# end. The reason: completeness is a promise about moving *all* latents together.
# An ablation moves one. Integrated gradients mend saturation, and pay with interactions.
#
# ## 7 · Of what a latent is made
#
# The latents in block 23 read $z$, nine heads side by side. So a pre-activation is a sum of nine
# parts and a constant: $z_h\, W_{\text{enc},h}$ for each head, and $b_\text{enc} - b_\text{dec}
# W_\text{enc}$ (the second part only where the SAE subtracts $b_\text{dec}$). Kissane et al.
# (2024) split attention latents like that.

# %% [markdown] tags=["task"]
# Return the parts by head, and the constant. Together they are the pre-activation. The first
# `d_head` rows of `W_enc` belong to head 0, the next to head 1, and so on; `centred` says whether
# $b_\text{dec}$ is subtracted.


# %% tags=["exercise"] exercise="3.2.3.g1" title="What a latent reads" difficulty=2 importance=4 minutes=8 skill="heads side by side"
def preactivation_by_head(
    z: Float[Tensor, "prompt head d_head"],
    W_enc: Float[Tensor, "d_in latent"],
    b_enc: Float[Tensor, " latent"],
    b_dec: Float[Tensor, " d_in"],
    centred: bool,
) -> tuple[Float[Tensor, "prompt head latent"], Float[Tensor, " latent"]]:
    """(z_h W_enc,h, b_enc - b_dec W_enc or b_enc); their sum is what the SAE's encoder computes."""
    by_head = W_enc.reshape(z.shape[1], z.shape[2], -1)
    parts = torch.einsum("phk,hkl->phl", z, by_head)
    return parts, b_enc - b_dec @ W_enc if centred else b_enc


# %% [markdown] tags=["hint"]
# `W_enc.reshape(head, d_head, latent)` gives each head its rows.

# %% [markdown] tags=["hint"]
# The bias of the decoder is one vector for all heads together: its part goes into the constant.

# %% [markdown] tags=["task"]
# And each head's $z$ is itself a sum, over the positions that it looks at: $z_h = \sum_j A_{h,j}\,
# v_j$. In SmolLM2 three heads share one set of values: heads 0 to 2 read value head 0, heads 3 to
# 5 value head 1, and so on.
#
# Split a latent's pre-activation by head *and* by source position. `pattern` is the attention from
# one position to all; `v` has `k` value heads, each shared by the same number of neighbouring
# heads; `read` is the latent's column of `W_enc`, with the heads in order.


# %% tags=["exercise"] exercise="3.2.3.g2" title="From where it reads" difficulty=3 importance=4 minutes=12 skill="shared values"
def preactivation_by_source(
    pattern: Float[Tensor, "prompt head pos"],
    v: Float[Tensor, "prompt pos k d_head"],
    read: Float[Tensor, " d_in"],
) -> Float[Tensor, "prompt head pos"]:
    """pattern[h, j] · (v of head h at j) · (read of head h)."""
    n_heads = pattern.shape[1]
    values = v.repeat_interleave(n_heads // v.shape[2], dim=2)
    by_head = read.reshape(n_heads, -1)
    return pattern * torch.einsum("pjhk,hk->phj", values, by_head)


# %% [markdown] tags=["hint"]
# First give every head its values: 9 heads and 3 value heads: each is needed 3 times in a row.

# %% [markdown] tags=["hint"]
# `repeat_interleave` gives 0, 0, 0, 1, 1, 1; `repeat` would give 0, 1, 0, 1.

# %% [markdown] tags=["task"]
# From the other side: a latent *writes* through all heads' rows of $W_O$. Which heads' parts of
# its decoder row are large?
#
# Return for each latent the share of each head in the squared norm of its decoder row. Shares sum
# to 1; no row is 0.


# %% tags=["exercise"] exercise="3.2.3.h1" title="Whose latent is it?" difficulty=1 importance=3 minutes=5 skill="shares"
def decoder_head_shares(
    W_dec: Float[Tensor, "latent d_in"], n_heads: int
) -> Float[Tensor, "latent head"]:
    """|W_dec,h|² / |W_dec|² for every latent and head."""
    squares = W_dec.unflatten(1, (n_heads, -1)).square().sum(dim=2)
    return squares / squares.sum(dim=1, keepdim=True)


# %% [markdown] tags=["hint"]
# Cut each row into `n_heads` pieces; the squared norms of the pieces add up to that of the row.

# %% [markdown] tags=["hint"]
# Norms themselves do not add up: square first.

# %% tags=["demo"]
if __name__ == "__main__":
    W_enc, b_enc = (getattr(attention.sae, name).detach() for name in ("W_enc", "b_enc"))
    centred = bool(attention.sae.cfg.apply_b_dec_to_input)
    z = end.x.unflatten(1, (W_O.shape[0], -1))
    head_parts, constant = preactivation_by_head(z, W_enc, b_enc, end.b_dec, centred)
    off = (head_parts.sum(dim=1) + constant - end.f)[end.f > 0].abs().max()
    print(f"parts add up to the latents where they are active: off by {off:.0e}")
    owner = decoder_head_shares(end.W_dec, W_O.shape[0]).argmax(dim=1)
    pattern, v = end.pattern_and_values
    mine = ((owner == head) & live).nonzero()[:, 0]
    first = int(mine[effects_end[:, mine].mean(dim=0).argmax()])
    sources = preactivation_by_source(pattern, v, W_enc[:, first])
    same = (sources.sum(dim=2) - head_parts[:, :, first]).abs().max()
    print(f"latent {first}: parts by source add up to parts by head, off by {same:.0e}")
    i = int(end.f[:, first].argmax())
    words = [tokenizer.decode([t]) for t in form.tokens[i].tolist()]
    display(plots.sources(sources[i], words, f"latent {first}, from the end of one prompt"))
    for h in range(W_O.shape[0]):
        group = ((owner == h) & live).nonzero()[:, 0]
        print(f"{len(group):4} latents of head {h}: together {together(end, group).mean():5.2f}")

# %% [markdown]
# Sort the latents by the head that their decoder row belongs to most. The 129 latents of head 3 do
# most, together, but only 0.8, half of what the head itself will turn out to be worth. The rest of
# its work is spread over latents that other heads share. A head is not a set of latents.
#
# ## 8 · Forward or back?
#
# Two hypotheses could explain why the right name wins.
#
# - **Name movers** (Wang et al. 2022): heads that look at the right name, and write it.
# - **Suppressors**: heads that look at the repeated name, and write *against* it. A head of GPT-2
#   small, 10.7, does so to the name *about to be said*: *copy suppression* (McDougall et al. 2023).
#
# Both are claims about looking *and* writing. A pattern alone shows neither: what does a head
# write of the name that it looks at?

# %% [markdown] tags=["task"]
# `writes[i]` is what a head adds to the residual stream when it looks at name `names[i]` only. All
# names differ. Return for each the logit (gain, no scale, not centred) of its *own* name minus the
# mean logit of the other names of the list.


# %% tags=["exercise"] exercise="3.2.3.i1" title="Copy or anti-copy" difficulty=2 importance=5 minutes=10 skill="own against others"
def copying_scores(
    writes: Float[Tensor, "item d_model"],
    gain: Float[Tensor, " d_model"],
    W_U: Float[Tensor, "d_model vocab"],
    names: Int[Tensor, " item"],
) -> Float[Tensor, " item"]:
    """Logit of names[i] in row i minus the mean logit of the other names in row i."""
    logits = (writes * gain) @ W_U[:, names]
    own = logits.diagonal()
    return own - (logits.sum(dim=1) - own) / (len(names) - 1)


# %% [markdown] tags=["hint"]
# A square matrix: row $i$ for what is written, column $j$ for the name it is written for.

# %% [markdown] tags=["hint"]
# The diagonal is each row's own name. The others are `len(names) - 1` numbers.

# %% [markdown] tags=["task"]
# Several heads of block 23, 23.0 and 23.1 among them, look more at the right name than at both
# places of the other, and write the name that they look at. Replace the $z$ of *all* of them by
# its mean over the prompts. By how much does the mean difference fall?


# %% tags=["predict"] exercise="3.2.3.P6" title="Without the movers" difficulty=3 importance=5 minutes=2 skill="attention is not effect" choices=["by more than a third", "by a tenth to a third", "by less than a tenth, or it rises"]
predict_movers = "by less than a tenth, or it rises"

# %% [markdown] tags=["task"]
# A verdict should be made by a rule, fixed before the data of the test half are seen.
#
# For one head we have `looks` (per prompt: attention to the right name minus attention to both
# places of the repeated one), `writes` (per name: its copying score) and `effect` (per prompt: of
# its ablation). For each take the interval $\bar v \pm 1.96\, s / \sqrt n$ ($s$: standard
# deviation with $n - 1$). Return
#
# - `"name mover"` if all three intervals are above 0,
# - `"suppressor"` if those of `looks` and `writes` are below 0 and that of `effect` is above 0,
# - `"unclear"` in all other cases. An interval that ends exactly at 0 is neither above nor below.


# %% tags=["exercise"] exercise="3.2.3.i2" title="A verdict by rule" difficulty=2 importance=5 minutes=10 skill="evidence"
def name_role(
    looks: Float[Tensor, " prompt"],
    writes: Float[Tensor, " item"],
    effect: Float[Tensor, " prompt"],
) -> str:
    """ "name mover", "suppressor" or "unclear", by the signs of three 95 % intervals."""
    signs = []
    for v in (looks, writes, effect):
        half = 1.96 * v.std() / len(v) ** 0.5
        signs.append(int(v.mean() - half > 0) - int(v.mean() + half < 0))
    known = {(1, 1, 1): "name mover", (-1, -1, 1): "suppressor"}
    return known.get((signs[0], signs[1], signs[2]), "unclear")


# %% [markdown] tags=["hint"]
# Give each interval a sign: 1 above 0, −1 below, 0 if it has 0 in it or at its edge.

# %% [markdown] tags=["hint"]
# Which two triples of signs have a name?

# %% tags=["demo"] reveals=["predict_movers"]
if __name__ == "__main__":
    far = SaeAt(loaded, test, attention, test.end_at)
    print(f"the test half; mean difference {far.clean.mean():.2f}")
    evidence = judge_heads(far, copying_scores, name_role)
    movers = [h for h, (a, b, _) in evidence.items() if a.mean() > 0 and b.mean() > 0]
    print(f"heads {movers} together: effect {far.without_heads(movers).mean():.2f}")
    display(plots.evidence(evidence))

# %% [markdown]
# So SmolLM2 has heads that look like name movers: they look at the right name, and write it. All
# six of them together are worth 0.14 of 3.51, 4 %; with other prompts the 95 % interval ended at
# 12 %. (They write the *repeated* name, too, wherever they look at it. `writes` is in logits before
# the norm divides, by about 40 here.) One head passes all three tests, the other way round: 23.3
# looks at the repeated name, writes against it, and without it 45 % of the difference is gone. The
# wrong name is held back. The rule decided that on sentences and names that had no part in forming
# the hypothesis.
#
# What this does *not* show: that there is no name mover in other blocks, or that blocks above 23
# would not take over if one were removed. And 55 % of the difference stays without 23.3; most of
# that we did not explain.
#
# ## 9 · Swap and control
#
# Taking something away shows that it is needed. Putting it elsewhere shows what it carries. The
# two prompts of a pair differ in who is named again. So exchange latents between partners: if they
# carry the answer, it flips.

# %% [markdown] tags=["task"]
# Return the activations when, in each prompt $i$, the latents in `chosen` have the values that
# they have in prompt `partner[i]`. No latent is twice in `chosen`. All else stays, also the error.


# %% tags=["exercise"] exercise="3.2.3.i3" title="Swap" difficulty=2 importance=4 minutes=8 skill="an intervention"
def swapped_latents(
    x: Float[Tensor, "prompt d_in"],
    f: Float[Tensor, "prompt latent"],
    W_dec: Float[Tensor, "latent d_in"],
    chosen: Int[Tensor, " chosen"],
    partner: Int[Tensor, " prompt"],
) -> Float[Tensor, "prompt d_in"]:
    """x + Σ over chosen latents of (f[partner] - f) W_dec; `x` itself is not changed."""
    theirs = f[partner]
    return x + (theirs - f)[:, chosen] @ W_dec[chosen]


# %% [markdown] tags=["hint"]
# As in d1, but the new values differ from prompt to prompt: `f[partner][:, chosen]`.

# %% [markdown] tags=["hint"]
# All prompts change at once, so use the *old* values of the partner.

# %% [markdown] tags=["task"]
# The mean difference in the test half is about 3.5. In each prompt we replace the $z$ of head
# 23.3, and of no other, by its partner's. What is the mean difference then?


# %% tags=["predict"] exercise="3.2.3.P7" title="One head from the partner" difficulty=3 importance=4 minutes=2 skill="necessary and sufficient" choices=["more than 1", "between -1 and 1", "less than -1: the answer flips"]
predict_swap = "between -1 and 1"

# %% [markdown] tags=["task"]
# One control is still missing. *Any* dictionary has latents, and one finds some with a large
# attribution. So make a random one that is as like ours as can be: random directions with the
# norms of our decoder rows, and in each prompt as many active latents, with the *same values*, on
# the random latents that fit best.
#
# `f` has our latents, `scores` says how well each latent of the control fits each prompt. Return
# the control's activations: in each prompt the largest value of `f` goes to the latent with the
# largest score, the second largest to the second, and so on. Scores are all different. `f` is
# never negative.


# %% tags=["exercise"] exercise="3.2.3.j1" title="A fair opponent" difficulty=3 importance=4 minutes=10 skill="a matched control"
def control_latents(
    f: Float[Tensor, "prompt latent"], scores: Float[Tensor, "prompt latent"]
) -> Float[Tensor, "prompt latent"]:
    """The values of f, row by row, in the order of the scores: same values, same number active."""
    values = f.sort(dim=1, descending=True).values
    order = scores.argsort(dim=1, descending=True)
    return torch.zeros_like(f).scatter(1, order, values)


# %% [markdown] tags=["hint"]
# Sort the values of each row. Sort the scores of each row, and keep where they came from.

# %% [markdown] tags=["hint"]
# `scatter(1, order, values)` puts `values[i, k]` at place `order[i, k]`.

# %% tags=["demo"] reveals=["predict_swap"]
if __name__ == "__main__":
    partner = far.everyone ^ 1  # prompts 2i and 2i + 1 are a pair
    with torch.no_grad():
        every = torch.arange(far.f.shape[1])
        theirs = (owner == head).nonzero()[:, 0]
        swaps = {
            f"z of head {head}": far.with_head_of(head, partner),
            f"latents of head {head}": swapped_latents(far.x, far.f, far.W_dec, theirs, partner),
            "all latents": swapped_latents(far.x, far.f, far.W_dec, every, partner),
        }
        for name, x in swaps.items():
            after = far.metric(x, far.everyone)
            flipped = float((after < 0).float().mean())
            print(f"{name:18} swapped: difference {after.mean():5.2f}, flipped in {flipped:.0%}")

    second_test = SaeAt(loaded, test, residual, test.s2_at)
    chosen = effects_s2.mean(dim=0).topk(2).indices  # found in the other half
    others = (second_test.f > 0).any(dim=0).nonzero()[:, 0]
    others = others[~torch.isin(others, chosen)]
    drawn = [others[torch.randperm(len(others), generator=gen)[:2]] for _ in range(20)]
    rival, rival_test = (
        spot.with_random_dictionary(control_latents, torch.Generator().manual_seed(1))
        for spot in (second, second_test)
    )
    best = effects_of(rival).mean(dim=0).topk(2).indices  # found in the other half, too
    unrepeated = SaeAt(loaded, test.with_third_name(gen), residual, test.s2_at)
    results = {
        f"latents {chosen.tolist()}": together(second_test, chosen),
        "two others that are active (mean of 20 draws)": torch.stack(
            [together(second_test, pair) for pair in drawn]
        ).mean(dim=0),
        "best two of a random dictionary": together(rival_test, best),
        "the same two, with a third name at S2": together(unrepeated, chosen),
    }
    for name, effect in results.items():
        low, high = bootstrap_interval(effect[:, None], lambda v: float(v.mean()), 500, 0.95, gen)
        print(f"{name}: effect {effect.mean():.2f} ({low:.2f} to {high:.2f})")
    display(plots.effects_with_intervals(results))

# %% [markdown]
# With its $z$ from the partner, head 23.3 alone takes the answer nearly to a draw (0.5); all latents
# together turn it round in three prompts of four. And the two latents at S2? We found them in one
# half. In the other, with other names, their removal costs 2.2, three fifths of the difference, and
# more than their single effects in the first half add up to (1.4): each stands in for the other,
# which a gradient cannot see. The controls cost 0.15 at most. With a third name at S2 they cost
# nothing. So *212 and 369 say that this name came before, and the model holds back what came
# before.* That is a statement about these prompts: both are busy in other text, and may say other
# things there.
#
# ## 10 · A model whose grammar we know
#
# The course's story model of four blocks plays the same game in a language that we wrote
# ourselves: its grammar says who gives and who gets. Does it solve the task in the same way?

# %% [markdown] tags=["task"]
# In the story model we ask the same questions, with the same rule. Which roles do you expect among
# the heads of the last two blocks?


# %% tags=["predict"] exercise="3.2.3.P8" title="Another model" difficulty=2 importance=3 minutes=2 skill="does it generalise?" choices=["a suppressor, but no name mover", "a name mover, but no suppressor", "both", "neither"]
predict_story = "a suppressor, but no name mover"

# %% tags=["demo"] reveals=["predict_story"]
if __name__ == "__main__":
    story = language_model("tiny")
    asked = ioi_prompts(story, "form", 40, seed=0)
    for layer in (2, 3):
        sae = attention_sae(layer, profile="tiny")
        told = SaeAt(story, asked, sae, asked.end_at)
        print(f"block {layer}; mean difference {told.clean.mean():.2f}")
        judge_heads(told, copying_scores, name_role)
        with torch.no_grad():
            swapped = told.metric(told.with_head_of(3, told.everyone ^ 1), told.everyone)
        print(f"   head {layer}.3 from the partner: difference {swapped.mean():.2f}")

# %% [markdown]
# The story model has the same answer in a purer form. Head 2.3 looks at nothing but the repeated
# name (−1.00), writes against it, and without it the difference is gone; with the partner's $z$ in
# this head the answer flips. In this language nobody has to know *who gets it*: it is enough to
# know who doesn't. In GPT-2 small it is another story: name movers write the right name, and other
# heads keep them from looking at the repeated one (Wang et al. 2022).
#
# ## What you should be able to do now
#
# - Say why a list of strong latents is no list of important ones.
# - Attribute a difference of logits to latents, heads and biases, and check that it adds up.
# - Choose between gradient, integrated gradients and ablation, and say what each one answers.
# - Split an attention latent by head and by source position.
# - Turn a story about a head into predictions, and let another half of the prompts decide.
#
# ## Open questions
#
# 1. What do latents 369 and 212 tell head 23.3, and through which blocks? (3.2.5 traces such paths.)
# 2. The copying heads write names all the time. On which prompts does their ablation hurt?
# 3. Is one head that suppresses a choice of this model's size, or of its training?
