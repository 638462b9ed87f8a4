# %% [markdown]
# # 3.2.2 A dashboard, piece by piece
#
# A dashboard is a page about one latent: how often it is active, how strongly, on which words, and
# what it makes the model say. One looks at it for a minute and gives the latent a name. So it matters
# what each piece counts, and what it hides. You write all of them, and ask how each could fool us.
#
# ## Questions
#
# 1. How often is a latent active, how strongly, and where most?
# 2. What do the strongest examples hide?
# 3. What does a latent write, and does that say what it does to the loss?
# 4. Which latents go together, and on which tokens is one active more often than by chance?
# 5. Is a latent that is active half of the time broken?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | activation | the value $f_l$ of a latent at a token; the latent is **active** where it is not 0 |
# | density | the share of tokens on which a latent is active |
# | place | a token of the text by its number: row · length of a row + position |
# | logit weight | what one unit of a latent adds to a token's logit on the direct path |
# | enriched | more often among the latent's active tokens than in the text |
#
# The first token of a row never counts (3.2.1, part 6). Numbers in the text are for the default
# profile: SmolLM2-135M, the residual stream after block 10, and the course's SAE with 4,608 latents.

# %% tags=["setup"]
import html
import json
import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.given.in_model import sample_rows
from utils.given.latent_data import example_lines, final_read_out, latent_data
from utils.models import language_model, residual_sae
from utils.models.profiles import describe
from utils.plots import dashboard as plots

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import HTML, display

    loaded, sae = language_model(), residual_sae()
    model, tokenizer = loaded.model, loaded.tokenizer
    data = latent_data(loaded, sae, sample_rows(loaded, n=256, seed=0))
    print(describe(loaded, [sae]))
    print(f"{int(data.mask.sum()):,} tokens count, {len(data.value):,} activations are stored")

# %% [markdown]
# That was the longest run. `data.batches()` gives the rows again, 16 at a time, as if they came fresh
# from the model; `data.latent(l)` is one latent on all rows.
#
# ## 1 · How often, how strongly
#
# A text comes in batches of unequal length. What must we keep of each, so that in the end we know each
# latent's density?

# %% [markdown] tags=["task"]
# Return, for one batch, on how many tokens each latent is active, and how many tokens there are. Both
# only over the tokens where `mask` is true. Active means different from 0.


# %% tags=["exercise"] exercise="3.2.2.a1" title="Counts add up" difficulty=1 importance=4 minutes=5 skill="what one may add"
def count_active(
    f: Float[Tensor, "row pos latent"], mask: Bool[Tensor, "row pos"]
) -> tuple[Int[Tensor, " latent"], int]:
    """(tokens on which each latent is not 0, tokens), over the mask; sums over batches add up."""
    active = (f != 0) & mask[..., None]
    return active.sum(dim=(0, 1)), int(mask.sum())


# %% [markdown] tags=["hint"]
# The mean of two batches' densities is not the density of both. Counts can be added.

# %% [markdown] tags=["hint"]
# `f != 0` has one axis more than `mask`. Sum over rows and positions; a sum of booleans is an integer.

# %% [markdown]
# Densities differ by factors of a thousand, so one draws their logarithm. But 0 has none.

# %% [markdown] tags=["task"]
# Return $\log_{10}$ of the density of every latent that was active at least once, in the order of the
# latents, and the number of **dead** ones, which were not. (As floats: `int / int`.)


# %% tags=["exercise"] exercise="3.2.2.a2" title="Densities on a log scale" difficulty=1 importance=3 minutes=5 skill="zeros apart"
def log_densities(
    times: Int[Tensor, " latent"], n_tokens: int
) -> tuple[Float[Tensor, " chosen"], int]:
    """(log10(times / n_tokens) where times > 0, number of latents with times = 0)."""
    live = times[times > 0]
    return (live / n_tokens).log10(), int((times == 0).sum())


# %% [markdown] tags=["hint"]
# Select before you take the logarithm. Adding a small number instead would draw dead latents as
# very rare ones.

# %% [markdown] tags=["hint"]
# A division of integers gives floats in torch, so `times / n_tokens` is what you expect.

# %% [markdown] tags=["task"]
# On every token 40 of 4,608 latents are active: the *mean* density is 0.9 %. What is the *median*
# density, dead latents included?


# %% tags=["predict"] exercise="3.2.2.P1" title="The latent in the middle" difficulty=2 importance=3 minutes=2 skill="mean and median" choices=["less than 0.4 %", "0.4 % to 0.8 %", "0.8 % or more"]
predict_median_density = "less than 0.4 %"

# %% tags=["demo"] reveals=["predict_median_density"]
if __name__ == "__main__":
    parts = [count_active(batch.f, batch.mask) for batch in data.batches()]
    times, n_tokens = torch.stack([t for t, _ in parts]).sum(dim=0), sum(n for _, n in parts)
    logs, n_dead = log_densities(times, n_tokens)
    density = times / n_tokens
    print(f"density: mean {float(density.mean()):.2%}, median {float(density.median()):.2%}")
    print(f"{n_dead} latents are silent; {int((density > 0.1).sum())} are active on over 10 %,")
    print(f"the densest on {float(density.max()):.0%}; together these do")
    share = float(times[density > 0.1].sum() / times.sum())
    print(f"{share:.0%} of all activations")
    display(plots.density_histogram(logs, n_dead))

# %% [markdown]
# A long upper tail pulls the mean up. "Dead" here means silent on 30,000 tokens: a latent with a density
# of 1 in 100,000 would look the same. We come back to the right end in part 8.
# Now one latent: how strong is it where it is active?

# %% [markdown] tags=["task"]
# Return the histogram of a latent's **positive** activations: counts in `n_bins` intervals of equal
# width between 0 and the largest one, and the `n_bins + 1` edges. An interval has its lower edge but
# not its upper one; the last has both, so that the largest activation is not lost. At least one
# activation is positive.


# %% tags=["exercise"] exercise="3.2.2.a3" title="A histogram that loses nothing" difficulty=2 importance=3 minutes=8 skill="edges"
def activation_histogram(
    acts: Float[Tensor, " token"], n_bins: int
) -> tuple[Int[Tensor, " bin"], Float[Tensor, " edge"]]:
    """(counts, edges): positive activations in n_bins equal intervals from 0 to the maximum."""
    positive = acts[acts > 0]
    top = positive.max()
    number = (positive / top * n_bins).long().clamp(max=n_bins - 1)
    edges = torch.arange(n_bins + 1, device=acts.device, dtype=acts.dtype) / n_bins * top
    return torch.bincount(number, minlength=n_bins), edges


# %% [markdown] tags=["hint"]
# The number of an activation's interval is $\lfloor a / a_\max \cdot n \rfloor$. For which activation
# is that one too many?

# %% [markdown] tags=["hint"]
# `torch.bincount(number, minlength=n_bins)` counts whole numbers. The counts must sum to the number of
# positive activations.

# %% [markdown] tags=["task"]
# For a latent with at least 100 activations, look at its largest one. What share of its activations
# is below *half* of that? (The mean over such latents.)


# %% tags=["predict"] exercise="3.2.2.P2" title="Below one half" difficulty=2 importance=4 minutes=2 skill="what is typical" choices=["less than 50 %", "50 % to 75 %", "more than 75 %"]
predict_below_half = "more than 75 %"

# %% tags=["demo"] reveals=["predict_below_half"]
if __name__ == "__main__":
    latent = 3085 if loaded.name.startswith("SmolLM2") else int((times - 200).abs().argmin())
    common = (times >= 100).nonzero().flatten().tolist()
    below = []
    for number in common:
        counts, _ = activation_histogram(data.latent(number)[data.mask], 2)
        below.append(float(counts[0] / counts.sum()))
    print(f"{len(common)} latents: {sum(below) / len(below):.0%} of activations are below one half")
    acts = data.latent(latent)
    counts, edges = activation_histogram(acts[data.mask], 20)
    print(f"latent {latent}: {int(counts.sum())} activations, density {float(density[latent]):.2%}")
    display(plots.activation_bars(counts, edges, f"latent {latent}"))

# %% [markdown]
# So the strongest examples, which a dashboard shows first, come from the thin end. (And a maximum is
# the most extreme of many numbers: with more text it can only grow.)
#
# ## 2 · The strongest examples
#
# We want the $n$ places with the largest activations, for all latents, without all activations in
# memory. With each batch, the best of "the best so far and the new ones" are the best of all.

# %% [markdown] tags=["task"]
# `best_values` and `best_places` have the $n$ strongest activations so far of each latent, strongest
# first; where there are not yet so many, the value is 0 and the place −1. `f` has the next tokens,
# whose places are `first`, `first + 1`, … Return the $n$ strongest of both in the same form. Only
# positive activations count. Of two equal ones the earlier place comes first.


# %% tags=["exercise"] exercise="3.2.2.b1" title="The best so far" difficulty=3 importance=5 minutes=12 skill="streaming"
def merge_top(
    best_values: Float[Tensor, "latent n"],
    best_places: Int[Tensor, "latent n"],
    f: Float[Tensor, "token latent"],
    first: int,
) -> tuple[Float[Tensor, "latent n"], Int[Tensor, "latent n"]]:
    """(values, places) of the n strongest of the best so far and the new ones; 0 and -1: none."""
    n = best_values.shape[1]
    new = torch.arange(first, first + len(f), device=f.device).expand(f.shape[1], -1)
    values = torch.cat([best_values, f.T], dim=1)
    places = torch.cat([best_places, new], dim=1)
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values[:, :n], places.gather(1, order)[:, :n]


# %% [markdown] tags=["hint"]
# Put the old and the new values side by side, one row per latent; sort each row; keep the first $n$.
# What happens to the places must be the same.

# %% [markdown] tags=["hint"]
# `values.sort(dim=1, descending=True, stable=True)` also gives the order; `places.gather(1, order)`
# follows it. `stable` keeps the old ones in front: so no silent token can take an empty slot.

# %% [markdown]
# **A window.** An example is a place with some tokens around it. A row may be *packed*: several
# documents, each behind its start token, BOS. Words of another document are no context. And at
# the end of a row there may be padding.

# %% [markdown] tags=["task"]
# Return `(start, stop)` such that `ids[start:stop]` is the context of position `at`: up to `before`
# tokens before it, the token itself, up to `after` tokens after it. The window ends at the edges of
# the row, at padding (where `mask` is false), and at a BOS: neither is inside. `at` itself is text.


# %% tags=["exercise"] exercise="3.2.2.b2" title="A window that stays in its document" difficulty=2 importance=4 minutes=10 skill="walls on both sides"
def context_window(
    ids: Int[Tensor, " pos"],
    mask: Bool[Tensor, " pos"],
    bos: int,
    at: int,
    before: int,
    after: int,
) -> tuple[int, int]:
    """(start, stop) of the tokens around `at`, cut at the row's ends, at padding and at any BOS."""
    walls = ((ids == bos) | ~mask).nonzero()[:, 0]
    start = max([0, at - before, *(walls[walls < at] + 1).tolist()])
    stop = min([len(ids), at + after + 1, *walls[walls > at].tolist()])
    return start, stop


# %% [markdown] tags=["hint"]
# Call every position with a BOS or with padding a wall. The window starts right after the last wall
# before `at`, or later. Where does it stop?

# %% [markdown] tags=["hint"]
# `start` is the maximum of several bounds, `stop` the minimum of several. `stop` is one past the last
# token.

# %% [markdown]
# **No place twice.** A latent that is active along a whole sentence fills the list with that one
# sentence. So go down the list, and keep an example only if it is not too near to one that was kept.

# %% [markdown] tags=["task"]
# `row` and `pos` say where the examples are, strongest first. Return the indices of those to keep, in
# order: an example is left out if an example *that was kept* is in the same row and less than
# `distance` positions away.


# %% tags=["exercise"] exercise="3.2.2.b3" title="No place twice" difficulty=2 importance=3 minutes=10 skill="a greedy choice"
def spread_out(
    row: Int[Tensor, " item"], pos: Int[Tensor, " item"], distance: int
) -> Int[Tensor, " chosen"]:
    """Indices kept, strongest first: none within `distance` of a kept one in the same row."""
    kept: list[int] = []
    for i in range(len(row)):
        near = (row[kept] == row[i]) & ((pos[kept] - pos[i]).abs() < distance)
        if not near.any():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64, device=row.device)


# %% [markdown] tags=["hint"]
# An example that was left out does not push others out. Which list do you compare with?

# %% [markdown] tags=["hint"]
# A loop over the examples, and a list of kept indices; `row[kept]` selects. A distance of exactly
# `distance` is far enough.

# %% tags=["demo"]
if __name__ == "__main__":
    n_pos = data.ids.shape[1]
    values, places = torch.zeros(sae.n_latents, 40), torch.full((sae.n_latents, 40), -1)
    for batch in data.batches():
        values, places = merge_top(values, places, batch.f.flatten(0, 1), batch.first * n_pos)
    by_sorting = acts.flatten().topk(40).values
    print(f"the same as sorting everything: {bool((values[latent] == by_sorting).all())}")

    def show(chosen: Tensor, title: str) -> None:
        """Examples at these places as lines of text, the token itself in bold."""
        display(HTML(example_lines(data, acts, chosen, tokenizer, context_window, title)))

    found = places[latent][places[latent] >= 0]
    apart = spread_out(found // n_pos, found % n_pos, distance=15)
    print(f"{len(apart)} of the {len(found)} strongest are 15 tokens apart")
    show(found[apart][:10], f"latent {latent}, strongest examples")

# %% [markdown]
# Every one of these is the word *more*. A latent for "more", then?
#
# ## 3 · What the strongest hide
#
# Bolukbasi et al. (2021) called it an *interpretability illusion*: the strongest examples of a unit
# look like one concept, and it is not what the unit is about. The cure is cheap: look at examples from
# all over the range (Bricken et al. 2023 show them by **interval** of the activation). Intervals of
# equal *width* show what each strength means. **Quantiles** put equally many activations into each
# interval, and show what is typical.

# %% [markdown] tags=["task"]
# Return the `n + 1` edges of `n` intervals with equally many **positive** activations each: the
# quantiles (`torch.quantile`, with its default interpolation) at $0, 1/n, …, 1$.


# %% tags=["exercise"] exercise="3.2.2.c1" title="Equally many" difficulty=1 importance=3 minutes=5 skill="quantiles"
def quantile_edges(acts: Float[Tensor, " token"], n: int) -> Float[Tensor, " edge"]:
    """Quantiles of the positive activations at 0, 1/n, …, 1."""
    at = torch.linspace(0, 1, n + 1, dtype=acts.dtype, device=acts.device)
    return acts[acts > 0].quantile(at)


# %% [markdown] tags=["hint"]
# Zeros are most of the tokens: with them, nearly all quantiles would be 0.

# %% [markdown] tags=["hint"]
# `x.quantile(q)` takes a vector of shares, in the dtype of `x`. How many edges do `n` intervals have?

# %% [markdown] tags=["task"]
# Draw examples from each interval. For every interval between neighbouring `edges` return the places
# (indices into `acts`) of at most `n_each` positive activations in it, drawn at random without
# replacement from all that are in it; all of them, in any order, if there are not more. Lower edges
# are inside, upper edges are not; the last interval has both. Random numbers come from `gen`.


# %% tags=["exercise"] exercise="3.2.2.c2" title="A few from everywhere" difficulty=2 importance=4 minutes=10 skill="sampling"
def sample_intervals(
    acts: Float[Tensor, " token"], edges: Float[Tensor, " edge"], n_each: int, gen: torch.Generator
) -> list[Int[Tensor, " chosen"]]:
    """For each interval, up to n_each random places of positive activations in it."""
    found = []
    for i, (low, high) in enumerate(pairwise(edges)):
        below = acts <= high if i == len(edges) - 2 else acts < high
        places = ((acts > 0) & (acts >= low) & below).nonzero()[:, 0]
        order = torch.randperm(len(places), generator=gen, device=gen.device)
        found.append(places[order[:n_each]])
    return found


# %% [markdown] tags=["hint"]
# For each interval a mask, the places where it is true, and a random choice of those. An edge can be
# 0, and a silent token is no example.

# %% [markdown] tags=["hint"]
# `torch.randperm(len(places), generator=gen)[:n_each]` draws without replacement, and does the right
# thing when there are too few.

# %% [markdown]
# Here is a number for that: take the **favourite**, the token that is most frequent among some
# examples, and ask how often it occurs in others.

# %% [markdown] tags=["task"]
# `top` and `other` are token ids of examples. Return the share of `other` that is the most frequent
# token of `top` (the smallest id if several are equally frequent). NaN if `other` is empty; `top` has
# at least one.


# %% tags=["exercise"] exercise="3.2.2.c3" title="The favourite elsewhere" difficulty=2 importance=3 minutes=6 skill="a mode with ties"
def share_of_favourite(top: Int[Tensor, " chosen"], other: Int[Tensor, " item"]) -> float:
    """Share of `other` equal to the most frequent token of `top`; ties: the smallest id."""
    tokens, counts = top.unique(return_counts=True)
    favourite = tokens[counts == counts.max()].min()
    return float((other == favourite).double().mean()) if len(other) else math.nan


# %% [markdown] tags=["hint"]
# `top.unique(return_counts=True)` gives each token once, and how often it occurs.

# %% [markdown] tags=["hint"]
# `argmax` need not take the first of equals. Select all tokens with the largest count, then the
# smallest of them.

# %% [markdown] tags=["task"]
# The strongest examples of our latent are all on the token " more". Cut the range into five intervals
# of equal width. What share of the *middle* one is on " more"?


# %% tags=["predict"] exercise="3.2.2.P3" title="In the middle" difficulty=3 importance=5 minutes=2 skill="what a maximum shows" choices=["less than 30 %", "30 % to 70 %", "more than 70 %"]
predict_middle = "less than 30 %"

# %% tags=["demo"] reveals=["predict_middle"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    flat, token_at = acts.flatten(), data.ids.flatten()
    equal = activation_histogram(flat, 5)[1]
    top20 = token_at[flat.topk(20).indices]
    samples = sample_intervals(flat, equal, 8, gen)
    everything = sample_intervals(flat, equal, flat.numel(), gen)
    by_width = [share_of_favourite(top20, token_at[s]) for s in everything]
    quarters = sample_intervals(flat, quantile_edges(flat, 5), flat.numel(), gen)
    by_quantile = [share_of_favourite(top20, token_at[s]) for s in quarters]
    favourite = tokenizer.decode([int(top20.mode().values)])
    for name, shares in (("width", by_width), ("number", by_quantile)):
        print(f"share of {favourite!r} in five intervals of equal {name}, weakest first:")
        print("   " + ", ".join(f"{share:.0%}" for share in shares))
    show(samples[4], "the strongest fifth of the range")
    show(samples[2], "the middle fifth")
    show(samples[0], "the weakest fifth")

# %% [markdown]
# In the middle it is *most*. What looked like a word is a latent for comparison. Among its weak
# activations are *better* and *enhance*, and words in which we see no comparison at all. A name has to
# say for which range it was checked.
#
# Is that one odd latent? We repeat it for all latents with at least 150 activations. The favourite of
# some examples is of course frequent among exactly those, so we take it from one half of the rows and
# count in the other half.

# %% tags=["demo"]
if __name__ == "__main__":
    half = data.ids.numel() // 2
    tables = torch.full((0, 5), 0.0)
    for number in (times >= 150).nonzero().flatten().tolist():
        flat = data.latent(number).flatten()
        first, second = flat[:half], flat[half:]
        if int((first > 0).sum()) < 20 or int((second > 0).sum()) < 20:
            continue
        top20 = token_at[first.topk(20).indices]
        parts = sample_intervals(second, activation_histogram(second, 5)[1], half, gen)
        shares = [share_of_favourite(top20, token_at[half:][s]) for s in parts]
        tables = torch.cat([tables, torch.tensor([shares])])
    means = tables.nanmean(dim=0).tolist()
    print(f"{len(tables)} latents, favourite of one half of the text, counted in the other:")
    print("   " + ", ".join(f"{m:.0%}" for m in means))
    labels = ["0 to 0.2", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 0.8", "0.8 to 1"]
    lines = {f"latent {latent}": by_width, "mean of all latents": means}
    display(plots.shares_by_interval(lines, labels, "share of the favourite token"))

# %% [markdown]
# So it is the rule: on average the favourite has 40 % of the strongest interval and 12 % of the weakest.
# That does not make weak activations noise. Whether one description fits them is tested in 3.2.4.
#
# ## 4 · What it writes
#
# So far we looked at what makes a latent active. Now at what it does. On the **direct path** its decoder
# row $w$ stays in the residual stream, passes the final norm, and meets the unembedding. Apart from the
# number that the norm divides by, one unit of the latent adds
#
# $$\big(w \odot g\big)\, W_U$$
#
# to the logits, where $g$ is the norm's gain. A constant that is added to all logits changes no
# probability, so we subtract the mean over the vocabulary. Forgetting $g$ is the usual mistake.

# %% [markdown] tags=["task"]
# Return these logit weights, centred over the vocabulary, for one decoder row or several.


# %% tags=["exercise"] exercise="3.2.2.d1" title="Logit weights" difficulty=1 importance=5 minutes=6 skill="the norm's gain"
def logit_weights(
    write: Float[Tensor, "*batch d_model"],
    gain: Float[Tensor, " d_model"],
    W_U: Float[Tensor, "d_model vocab"],
) -> Float[Tensor, "*batch vocab"]:
    """(write ⊙ gain) W_U, minus its mean over the vocabulary."""
    weights = (write * gain) @ W_U
    return weights - weights.mean(dim=-1, keepdim=True)


# %% [markdown] tags=["hint"]
# The gain belongs to the dimensions of the residual stream: it comes before the matrix product.

# %% [markdown] tags=["hint"]
# With several rows, each has its own mean: `mean(dim=-1, keepdim=True)`.

# %% [markdown]
# A latent that writes for a few particular tokens has a histogram with a heavy tail. Two numbers
# describe that: with $z$ the weights minus their mean, over their standard deviation (no $n - 1$),
#
# $$\text{skewness} = \overline{z^3}, \qquad \text{excess kurtosis} = \overline{z^4} - 3.$$
#
# Both are 0 for a normal distribution.

# %% [markdown] tags=["task"]
# Return skewness and excess kurtosis over the last axis.


# %% tags=["exercise"] exercise="3.2.2.d2" title="Heavy tails" difficulty=1 importance=3 minutes=6 skill="moments"
def tail_shape(
    weights: Float[Tensor, "*batch vocab"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """(mean of z³, mean of z⁴ - 3) over the vocabulary, z standardised with correction 0."""
    centred = weights - weights.mean(dim=-1, keepdim=True)
    z = centred / centred.square().mean(dim=-1, keepdim=True).sqrt()
    return z.pow(3).mean(dim=-1), z.pow(4).mean(dim=-1) - 3


# %% [markdown] tags=["hint"]
# Standardise first: afterwards mean 0 and mean square 1.

# %% [markdown] tags=["hint"]
# `std` divides by $n - 1$ unless it is told `correction=0`.

# %% [markdown] tags=["task"]
# Our SAE reads after block 10 of 30. Compare the median excess kurtosis of 200 latents with that of 200
# *random directions*. How much larger is it?


# %% tags=["predict"] exercise="3.2.2.P4" title="Against random directions" difficulty=3 importance=4 minutes=2 skill="a control" choices=["less than twice as large", "2 to 10 times", "more than 10 times"]
predict_kurtosis = "less than twice as large"

# %% tags=["demo"] reveals=["predict_kurtosis"]
if __name__ == "__main__":
    gain, W_U, eps, subtracts_mean = final_read_out(loaded)
    W_dec = sae.sae.W_dec.detach()
    W_write = W_dec - W_dec.mean(dim=1, keepdim=True) if subtracts_mean else W_dec
    weights = logit_weights(W_write[latent], gain, W_U)
    for sign, word in ((1, "up"), (-1, "down")):
        best = (sign * weights).topk(8).indices.tolist()
        print(f"pushed {word}: {[tokenizer.decode([i]) for i in best]}")
    live = (times > 0).nonzero().flatten()
    drawn = live[torch.randperm(len(live), generator=gen)[:200]]
    random = torch.randn(200, W_write.shape[1], generator=gen)
    for name, directions in (("latents", W_write[drawn]), ("random", random)):
        heavy = [tail_shape(logit_weights(rows, gain, W_U))[1] for rows in directions.split(20)]
        low, middle, high = torch.cat(heavy).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
        print(f"excess kurtosis of {name}: {low:.2f}, {middle:.2f}, {high:.2f} (10 %, 50 %, 90 %)")
    skew, excess = (float(v) for v in tail_shape(weights))
    print(f"latent {latent}: skewness {skew:.2f}, excess kurtosis {excess:.2f}")
    top, bottom = weights.topk(4).indices.tolist(), (-weights).topk(4).indices.tolist()
    named = {tokenizer.decode([i]).replace(" ", "·"): float(weights[i]) for i in top + bottom}
    display(plots.logit_histogram(weights, named, f"latent {latent}"))

# %% [markdown]
# " than" comes first: after *more*, that makes sense, and it was found without looking at any text. But
# be careful with the other names on the list. Any direction has eight top tokens, and one can tell a
# story about most lists. On the whole these latents have hardly heavier tails than random directions,
# so at this layer such a list deserves little trust by itself.
#
# ## 5 · What it does to the loss
#
# Remove a latent at one token: subtract $f_l\, w_l$ from the residual stream there. What happens to the
# loss of the next token? There are two answers.
#
# *Direct path*: nothing in between reacts, and the final norm divides by the same number $s$ as before.
# Then the logits change by exactly $-\big(f_l\, w_l / s \odot g\big) W_U$.
#
# *Full*: all blocks above run again and react.

# %% [markdown] tags=["task"]
# Direct path. `logits` are the clean ones, one row per example; `write` is what is removed, `scale` the
# number that the final norm divided by. Return the new loss minus the old one, in nats, for the token
# `target` that really comes next.


# %% tags=["exercise"] exercise="3.2.2.e1" title="The direct path" difficulty=2 importance=4 minutes=10 skill="a frozen norm"
def direct_loss_effect(
    logits: Float[Tensor, "item vocab"],
    write: Float[Tensor, "item d_model"],
    scale: Float[Tensor, " item"],
    target: Int[Tensor, " item"],
    gain: Float[Tensor, " d_model"],
    W_U: Float[Tensor, "d_model vocab"],
) -> Float[Tensor, " item"]:
    """Loss of `target` with (write / scale ⊙ gain) W_U taken off the logits, minus the clean loss."""
    removed = (write / scale[:, None] * gain) @ W_U
    before, after = logits.log_softmax(dim=-1), (logits - removed).log_softmax(dim=-1)
    return (before - after).gather(-1, target[:, None])[:, 0]


# %% [markdown] tags=["hint"]
# The logits without the latent are the clean ones minus what it wrote. The rest is two losses.

# %% [markdown] tags=["hint"]
# A loss is *minus* the log probability, so new minus old is `before - after` in log probabilities.
# Positive: the latent was useful here.

# %% [markdown] tags=["task"]
# Full. `rest` runs the rest of the model: residual stream in, logits out. In each row, subtract `write`
# at position `at`, and nowhere else. Return the change of the loss of `target`, which is predicted *at
# the same position*. `resid` stays as it is.


# %% tags=["exercise"] exercise="3.2.2.e2" title="With everything that reacts" difficulty=2 importance=4 minutes=10 skill="indexing in pairs"
def full_loss_effect(
    resid: Float[Tensor, "row pos d_model"],
    write: Float[Tensor, "row d_model"],
    at: Int[Tensor, " row"],
    target: Int[Tensor, " row"],
    rest: Callable[[Tensor], Tensor],
) -> Float[Tensor, " row"]:
    """Loss of `target` at position `at` after resid[row, at] -= write, minus the clean loss."""
    rows = torch.arange(len(at), device=at.device)
    cut = resid.clone()
    cut[rows, at] -= write
    before, after = (rest(x)[rows, at].log_softmax(dim=-1) for x in (resid, cut))
    return (before - after).gather(-1, target[:, None])[:, 0]


# %% [markdown] tags=["hint"]
# `x[rows, at]` with two vectors of indices takes one position per row. `x[:, at]` takes all of them in
# every row.

# %% [markdown] tags=["hint"]
# Work on a clone, run `rest` on both, and take the logits at `at`.

# %% [markdown] tags=["task"]
# We draw 64 activations at random and remove each, by both ways. How often do both agree on the *sign*:
# did the latent help or harm?


# %% tags=["predict"] exercise="3.2.2.P5" title="Do they agree?" difficulty=3 importance=5 minutes=2 skill="approximations" choices=["on less than 65 % of them", "on 65 % to 85 %", "on more than 85 %"]
predict_sign = "on less than 65 % of them"

# %% tags=["demo"] reveals=["predict_sign"]
if __name__ == "__main__":
    n_words, n_examples = 41, 64  # short rows: the whole model has to run
    order = torch.randperm(len(data.place), generator=gen)
    row, pos = data.place[order] // n_pos, data.place[order] % n_pos
    fits = (pos < n_words - 1) & data.mask[row, (pos + 1).clamp(max=n_pos - 1)]
    row, pos, order = (v[fits][:n_examples] for v in (row, pos, order))
    ids, target, which = data.ids[row, :n_words], data.ids[row, pos + 1], data.number[order]
    write = data.value[order, None] * W_write[which]
    last = loaded.hook("resid_post", loaded.n_layers - 1)
    effects: dict[str, list[Tensor]] = {"direct": [], "full": [], "at the end": []}
    for part in torch.arange(len(row)).split(8):

        def rest(resid: Tensor, words: Tensor = ids[part]) -> Tensor:
            """The model's logits with this residual stream where the SAE reads."""
            with torch.no_grad():
                return model.run_with_hooks(
                    words, fwd_hooks=[(sae.hook_out, lambda v, hook: resid)]
                )

        names = [sae.hook_out, last, "ln_final.hook_scale"]
        logits, cache = model.run_with_cache(ids[part], names_filter=names)
        spot, k = pos[part], torch.arange(len(part))
        cut = write[part], spot, target[part]
        scale = cache["ln_final.hook_scale"][k, spot].flatten()
        direct = direct_loss_effect(logits[k, spot], cut[0], scale, target[part], gain, W_U)
        effects["direct"].append(direct.detach())
        effects["full"].append(full_loss_effect(cache[sae.hook_out], *cut, rest))
        at_end = full_loss_effect(cache[last], *cut, lambda x: model.unembed(model.ln_final(x)))
        effects["at the end"].append(at_end.detach())
    direct, full, at_end = (torch.cat(v) for v in effects.values())
    for name, other in (("the full effect", full), ("removing it after the last block", at_end)):
        agree = float((direct.sign() == other.sign()).double().mean())
        r = float(torch.corrcoef(torch.stack([direct, other]))[0, 1])
        print(f"direct path and {name}: same sign on {agree:.0%}, correlation {r:.2f}")
    print(f"typical size: direct {direct.abs().median():.4f}, full {full.abs().median():.4f} nats")
    names = [f"latent {i}" for i in which.tolist()]
    display(plots.effects(direct, full, names))

# %% [markdown]
# The control says that the direct path is computed rightly: taken off after the last block, where only
# the norm can react, 98 % of the signs agree. From block 10 the agreement is what a coin would give (64
# tosses give 38 % to 62 %, 19 times in 20). On a page for *this* layer a "loss effect" by the direct
# path would be decoration. One latent at one token typically changes the loss by 0.01 or 0.02 nats.
#
# ## 6 · What goes together
#
# "Related latents" can mean two things: they are active **together**, or they **write** in the same
# direction. The first is a correlation over tokens,
#
# $$r_{ij} = \frac{\overline{x_i y_j} - \bar x_i\, \bar y_j}
#   {\sqrt{\overline{x_i^2} - \bar x_i^2}\; \sqrt{\overline{y_j^2} - \bar y_j^2}},$$
#
# and all that it needs are sums, which add up over batches. The price: the difference of two nearly
# equal numbers loses digits. In float32 that can ruin the result.

# %% [markdown] tags=["task"]
# Return the sums of one batch in **float64**: `"n"` (number of tokens), `"x"` and `"y"` (sums over
# tokens), `"xx"` and `"yy"` (of squares), `"xy"` (of all products, `latent × hidden`). All are tensors.


# %% tags=["exercise"] exercise="3.2.2.f1" title="Sums that add up" difficulty=1 importance=3 minutes=6 skill="sufficient statistics"
def pair_sums(
    x: Float[Tensor, "token latent"], y: Float[Tensor, "token hidden"]
) -> dict[str, Tensor]:
    """n, Σx, Σy, Σx², Σy², Σxᵀy over the tokens, in float64; those of two batches add up."""
    x, y = x.double(), y.double()
    sums = {"n": x.new_tensor(len(x)), "x": x.sum(dim=0), "y": y.sum(dim=0), "xy": x.T @ y}
    return sums | {"xx": x.square().sum(dim=0), "yy": y.square().sum(dim=0)}


# %% [markdown] tags=["hint"]
# Convert before you multiply: a product in float32 has lost its digits already.

# %% [markdown] tags=["hint"]
# All products at once are one matrix product, `x.T @ y`.

# %% [markdown] tags=["task"]
# Return the correlations from such sums. Where $x_i$ or $y_j$ is constant the correlation is not
# defined: return 0. Call a variance 0 if it is at most $10^{-12}$ of the mean square (rounding leaves
# that much).


# %% tags=["exercise"] exercise="3.2.2.f2" title="Correlation from sums" difficulty=2 importance=4 minutes=10 skill="moments"
def pearson(sums: Mapping[str, Tensor]) -> Float[Tensor, "latent hidden"]:
    """Correlation of every x with every y from the sums of `pair_sums`; 0 where one is constant."""
    n = sums["n"]
    x, y = sums["x"] / n, sums["y"] / n
    covariance = sums["xy"] / n - x[:, None] * y
    variances = []
    for mean, square in ((x, sums["xx"] / n), (y, sums["yy"] / n)):
        variance = square - mean.square()
        variances.append(variance * (variance > 1e-12 * square))
    spread = (variances[0][:, None] * variances[1]).sqrt()
    return torch.where(spread > 0, covariance / spread, 0.0)


# %% [markdown] tags=["hint"]
# Divide all sums by $n$ once; then the formula has only means in it.

# %% [markdown] tags=["hint"]
# `x[:, None] * y` are all products of two vectors. `torch.where(spread > 0, covariance / spread, 0.0)`.

# %% [markdown] tags=["task"]
# Now the other meaning. Return the `n` latents whose decoder rows have the largest cosine with that of
# latent `number`, largest first, and the cosines. The latent itself is not among them; no row is 0.


# %% tags=["exercise"] exercise="3.2.2.f3" title="Who writes the same" difficulty=1 importance=3 minutes=6 skill="nearest neighbours"
def cosine_neighbours(
    W_dec: Float[Tensor, "latent d_model"], number: int, n: int
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"]]:
    """(numbers, cosines) of the n decoder rows nearest in direction to row `number`, without it."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    cosines = unit @ unit[number]
    cosines[number] = -torch.inf
    values, numbers = cosines.topk(n)
    return numbers, values


# %% [markdown] tags=["hint"]
# One matrix-vector product with unit rows. Which latent is always the nearest?

# %% [markdown] tags=["hint"]
# Set the latent's own cosine to `-torch.inf` before `topk`. (Leaving out the first of $n + 1$ fails when
# two rows are equal.)

# %% [markdown] tags=["task"]
# For each latent with at least 200 activations, take the other one that is most correlated with it, and
# the other one whose decoder row is most similar. For how many are they the same latent?


# %% tags=["predict"] exercise="3.2.2.P6" title="Together and alike" difficulty=3 importance=4 minutes=2 skill="two meanings of related" choices=["less than 15 %", "15 % to 50 %", "more than 50 %"]
predict_same_neighbour = "less than 15 %"

# %% tags=["demo"] reveals=["predict_same_neighbour"]
if __name__ == "__main__":
    busy = (times >= 200).nonzero().flatten()
    sums: list[dict[str, Tensor]] = [{}, {}, {}]
    with_latents, with_neurons, shifted = sums
    for batch in data.batches():
        x, y = batch.f[batch.mask][:, busy], batch.neurons[batch.mask]
        for total, other in ((with_latents, x), (with_neurons, y), (shifted, x.roll(500, 0))):
            few = x[:, :200] if total is shifted else x  # the control: other tokens' latents
            for name, value in pair_sums(few, other).items():
                total[name] = value + total.get(name, 0)
    together = pearson(with_latents).fill_diagonal_(-1)
    by_chance = pearson(shifted).amax(dim=1).median()
    nearest = torch.stack([cosine_neighbours(W_dec[busy], i, 1)[0][0] for i in range(len(busy))])
    rows_of = torch.arange(len(busy))
    same = float((together.argmax(dim=1) == nearest).double().mean())
    print(f"{len(busy)} latents: for {same:.1%} both neighbours are the same latent")
    print(f"median largest correlation {together.amax(dim=1).median():.2f},")
    print(f"with the activations of other tokens {by_chance:.2f}")
    with_neuron = pearson(with_neurons).abs().amax(dim=1)
    print(f"with a neuron of block {sae.layer}: median {with_neuron.median():.2f}", end=", ")
    print(f"largest {with_neuron.max():.2f}")
    unit = W_dec[busy] / W_dec[busy].norm(dim=1, keepdim=True)
    pairs, both = torch.cat([together.argmax(dim=1), nearest]), rows_of.repeat(2)
    cosines = (unit[both] * unit[pairs]).sum(dim=1)
    display(plots.two_similarities(cosines, together[both, pairs].float(), ("time", "direction")))

# %% [markdown]
# Partners in time have a median correlation of 0.39 and cosine of 0.10, partners in direction 0.04
# and 0.22, and few are both. So say which of the two you mean. And a typical latent is *not* one neuron
# of this block: its best correlation with one is 0.22. The largest of all is 0.93.
#
# ## 7 · Which tokens make it fire?
#
# A token occurs twice in the text, once of these under the latent: is that chance? There are
# thousands of tokens, so chance will have many successes.

# %% [markdown] tags=["task"]
# Return for every token of the vocabulary how often it occurs among the tokens on which the latent
# fires, and how often it occurs at all.


# %% tags=["exercise"] exercise="3.2.2.g1" title="A table for every token" difficulty=1 importance=3 minutes=4 skill="counting"
def token_table(
    tokens: Int[Tensor, " token"], fires: Bool[Tensor, " token"], n_vocab: int
) -> tuple[Int[Tensor, " vocab"], Int[Tensor, " vocab"]]:
    """(occurrences under the latent, occurrences at all) of each of n_vocab tokens."""
    both = torch.bincount(tokens[fires], minlength=n_vocab)
    return both, torch.bincount(tokens, minlength=n_vocab)


# %% [markdown] tags=["hint"]
# `torch.bincount` counts whole numbers from 0 on.

# %% [markdown] tags=["hint"]
# Both results have `n_vocab` entries, also if the last tokens never occur: `minlength`.

# %% [markdown]
# If the latent fired on $m$ of the $N$ tokens at random, how often would a token that occurs $K$ times
# be among them? That is drawing $m$ balls from an urn with $K$ black ones, the hypergeometric law:
#
# $$P(X \ge k) = \sum_{j \ge k} \binom{K}{j} \binom{N - K}{m - j} \Big/ \binom{N}{m}.$$
#
# This *p-value* can be $10^{-400}$, which no float can hold: we compute its logarithm.

# %% [markdown] tags=["task"]
# Return $\log P(X \ge k)$ (natural logarithm) for $k$ = `both`, $K$ = `of_token`, $m$ = `n_fires`,
# $N$ = `n_all`. `torch.lgamma(n + 1)` is $\log n!$; use float64. Never more than 0.


# %% tags=["exercise"] exercise="3.2.2.g2" title="How surprising?" difficulty=3 importance=3 minutes=12 skill="log space"
def log_p_enriched(both: int, of_token: int, n_fires: int, n_all: int) -> float:
    """log of the hypergeometric tail P(X >= both), exact in log space."""

    def log_choose(n: int, k: Tensor) -> Tensor:
        return math.lgamma(n + 1) - (k + 1).lgamma() - (n - k + 1).lgamma()

    j = torch.arange(both, min(of_token, n_fires) + 1, dtype=torch.float64)
    ways = log_choose(of_token, j) + log_choose(n_all - of_token, n_fires - j)
    total = log_choose(n_all, torch.tensor(n_fires, dtype=torch.float64))
    return min(float((ways - total).logsumexp(dim=0)), 0.0)


# %% [markdown] tags=["hint"]
# $\log \binom{n}{k} = \log n! - \log k! - \log (n - k)!$. Up to which $j$ does the sum run?

# %% [markdown] tags=["hint"]
# The logarithm of a sum of exponentials is `logsumexp`: it never leaves the logarithm.

# %% [markdown]
# **Many tests.** With 2,000 tokens and a limit of 1 %, chance alone may give twenty "findings". The
# procedure of Benjamini and Hochberg (1995) keeps the expected *share* of false ones among the findings
# below a level $q$ (for independent tests). Sort the $m$ p-values, $p_{(1)} \le p_{(2)} \le \dots$;
# find the largest $i$ with $p_{(i)} \le q\, i / m$; all p-values up to $p_{(i)}$ are findings.

# %% [markdown] tags=["task"]
# Return which are findings, from the *logarithms* of the p-values. It may be none.


# %% tags=["exercise"] exercise="3.2.2.g3" title="What is left after thousands of tests" difficulty=2 importance=4 minutes=10 skill="false discoveries"
def discoveries(log_p: Float[Tensor, " item"], level: float) -> Bool[Tensor, " item"]:
    """Benjamini-Hochberg: log_p <= the largest sorted one with p_(i) <= level · i / m."""
    m = len(log_p)
    ordered = log_p.sort().values
    limit = (level * torch.arange(1, m + 1, device=log_p.device, dtype=log_p.dtype) / m).log()
    passed = ordered[ordered <= limit]
    return log_p <= passed.max() if len(passed) else torch.zeros_like(log_p, dtype=torch.bool)


# %% [markdown] tags=["hint"]
# The *largest* $i$ that passes counts, even if a smaller one does not pass.

# %% [markdown] tags=["hint"]
# Compare `ordered` with `(level * i / m).log()` for all $i$ at once. The largest entry that passes is
# the cut for all.

# %% tags=["demo"]
if __name__ == "__main__":
    tokens_seen, vocab = data.ids[data.mask], W_U.shape[1]
    fires = (acts > 0)[data.mask]

    def enriched(fires: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(tokens tested, their enrichment, which are findings)."""
        both, of_token = token_table(tokens_seen, fires, vocab)
        tested = (of_token >= 2).nonzero().flatten()
        m, n = int(fires.sum()), len(fires)
        listed = [log_p_enriched(int(both[v]), int(of_token[v]), m, n) for v in tested]
        log_p = torch.tensor(listed, dtype=torch.float64)
        ratio = (both[tested] / m) / (of_token[tested] / n)
        print(
            f"   {len(tested)} tokens, {int((log_p < math.log(0.01)).sum())} with p < 0.01,", end=""
        )
        print(f" {int(discoveries(log_p, 0.01).sum())} findings")
        return tested, ratio, discoveries(log_p, 0.01)

    print(f"latent {latent}:")
    tested, ratio, found = enriched(fires)
    print("the same activations on tokens drawn at random (control):")
    enriched(fires[torch.randperm(len(fires), generator=gen)])
    for v, times_more in sorted(zip(tested[found], ratio[found], strict=True), key=lambda p: -p[1]):
        print(f"   {tokenizer.decode([int(v)])!r:14} {float(times_more):6.1f} times more often")

# %% [markdown]
# *less*, *better*, *best*, *further*: neighbours of *more* that the strongest examples did not show. The
# control has 2 tokens with p < 0.01, and no finding. Why do so many tokens have the same ratio, 193.8? It
# is one over the latent's density, the largest ratio there is: *every* occurrence is under the latent.
# (Tokens of one text are alike, so they are not independent draws, and p-values are too small.)
#
# ## 8 · The page, and all latents at once
#
# A dashboard is one HTML file with its data in a `<script>`. Tokens can break it: the text `</script>`
# ends the script even inside a string, and `<!--` changes how it is read.

# %% [markdown] tags=["task"]
# Return `data` as JSON that is safe inside `<script>`: reading it gives `data` again, and it has no
# `<`, `>`, `&`, U+2028 or U+2029 (the last two end a line in old JavaScript). In JSON such a character
# can only stand in a string, and there `\u003c` means the same as `<`. NaN and infinities are no JSON:
# raise a `ValueError`.


# %% tags=["exercise"] exercise="3.2.2.h1" title="Data that cannot get out" difficulty=2 importance=4 minutes=8 skill="escaping"
def script_json(data: object) -> str:
    """JSON of data with <, >, &, U+2028 and U+2029 as \\uXXXX; ValueError for NaN and infinities."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


# %% [markdown] tags=["hint"]
# `json.dumps`, then replace five characters. `ord(char)` is a character's number, `:04x` four digits.

# %% [markdown] tags=["hint"]
# `json.dumps` writes `NaN` unless it is told `allow_nan=False`. `html.escape` would be wrong here: a
# script does not undo it.

# %% [markdown] tags=["task"]
# Return one token as HTML. `share` is its activation over the largest one, from 0 to 1. A space is shown
# as `·`, a newline as `⏎`, a tab as `⇥`; everything else as text (`html.escape`). Colour alone is lost
# on some readers and printers, so there is a second cue, an underline of `round(4 * share)` pixels:
#
# `<span style="background:rgba(0,158,115,0.50);border-bottom:2px solid">·more</span>`


# %% tags=["exercise"] exercise="3.2.2.h2" title="Readable without colour" difficulty=1 importance=3 minutes=6 skill="two cues"
def token_span(token: str, share: float) -> str:
    """A span whose opacity (two decimals) and underline (whole pixels) say the activation."""
    shown = html.escape(token.translate({ord(" "): "·", ord("\n"): "⏎", ord("\t"): "⇥"}))
    style = f"background:rgba(0,158,115,{share:.2f});border-bottom:{round(4 * share)}px solid"
    return f'<span style="{style}">{shown}</span>'


# %% [markdown] tags=["hint"]
# Three replacements and `html.escape`. Does the order matter?

# %% [markdown] tags=["hint"]
# `f"{share:.2f}"` for the opacity, `round(4 * share)` for the pixels.

# %% tags=["demo"]
if __name__ == "__main__":
    row, at = divmod(int(places[latent][0]), n_pos)
    start, stop = context_window(data.ids[row], data.mask[row], tokenizer.bos_token_id, at, 30, 9)
    shares = (acts[row] / acts.max()).tolist()
    words = [tokenizer.decode([int(i)]) for i in data.ids[row]]
    spans = [token_span(words[t], shares[t]) for t in range(start, stop)]
    display(HTML(f"<p>{''.join(spans)}</p>"))
    print(script_json({"token": "</script><!--", "act": 1.5}))

# %% [markdown]
# **All latents.** A pass over a long text should be resumable: each part is stored, and parts are
# merged. For counts and sums that is an addition. What about the best examples?

# %% [markdown] tags=["task"]
# A part is a dictionary: `"n_tokens"`, `"times"` (active on so many tokens), and the best `n` as in
# `merge_top`: `"values"`, `"places"` (0 and −1 where there are fewer). Return the part that stands for
# both texts together. Parts come in any order, so the result must not depend on which is `a`: of equal
# values the earlier place comes first.


# %% tags=["exercise"] exercise="3.2.2.i1" title="Two parts make one" difficulty=3 importance=4 minutes=12 skill="associative states"
def merge_parts(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of both texts; merging is associative and does not depend on the order."""
    n = a["values"].shape[1]
    places, order = torch.cat([a["places"], b["places"]], dim=1).sort(dim=1, stable=True)
    values = torch.cat([a["values"], b["values"]], dim=1).gather(1, order)
    values, order = values.sort(dim=1, descending=True, stable=True)
    best = {"values": values[:, :n], "places": places.gather(1, order)[:, :n]}
    return {name: a[name] + b[name] for name in ("n_tokens", "times")} | best


# %% [markdown] tags=["hint"]
# Two sorts: first by place, then, stably, by value. Each sort's order must be applied to both tensors.

# %% [markdown] tags=["hint"]
# The $n$ best of both are among the $n$ best of each.

# %% [markdown]
# ### Dense latents
#
# Latents that are active on a fifth of all tokens are often called broken. Are they? Put the tokens
# into groups: by position, by token, by the next token. The share of an activation's variance that
# lies *between* the groups is
#
# $$\eta^2 = \frac{\sum_t (\bar f_{g(t)} - \bar f)^2}{\sum_t (f_t - \bar f)^2},$$
#
# where $\bar f_{g(t)}$ is the mean of the group of token $t$. With many small groups $\eta^2$ is large by
# chance, so it needs a control: the same groups, shuffled.

# %% [markdown] tags=["task"]
# Return $\eta^2$. `group` has a whole number for each token; not all numbers need to occur. Compute in
# float64. A constant activation gives 0.


# %% tags=["exercise"] exercise="3.2.2.i2" title="What it tracks" difficulty=2 importance=4 minutes=10 skill="variance between groups"
def share_explained(acts: Float[Tensor, " token"], group: Int[Tensor, " token"]) -> float:
    """Variance of the groups' means (each token counts once) over the variance of acts."""
    numbers, which = group.unique(return_inverse=True)
    centred = acts.double() - acts.double().mean()
    sums = centred.new_zeros(len(numbers)).index_add(0, which, centred)
    between = (sums.square() / torch.bincount(which)).sum()
    return float(between / centred.square().sum()) if acts.min() < acts.max() else 0.0


# %% [markdown] tags=["hint"]
# `group.unique(return_inverse=True)` numbers the groups from 0. `index_add` sums by group.

# %% [markdown] tags=["hint"]
# A group of $n$ tokens with mean $m$ (after centring) contributes $n\, m^2$: each of its tokens once.

# %% [markdown] tags=["task"]
# One more thing can be behind dense latents: a pair that writes in opposite directions and is never
# active together does the work of *one* number with a sign. Return the pairs $(i, j)$, $i < j$, whose
# decoder rows have a cosine of at most `most`, and that are active together on no token (`together` has
# the counts), ordered by $i$, then $j$.


# %% tags=["exercise"] exercise="3.2.2.i3" title="Antipodal pairs" difficulty=2 importance=3 minutes=8 skill="two conditions"
def antipodal_pairs(
    W_dec: Float[Tensor, "latent d_model"], together: Int[Tensor, "latent latent"], most: float
) -> Int[Tensor, "pair 2"]:
    """Pairs i < j with cosine of rows <= most and together[i, j] = 0, in order."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    opposite = (unit @ unit.T <= most) & (together == 0)
    return opposite.triu(diagonal=1).nonzero()


# %% [markdown] tags=["hint"]
# A matrix of cosines, a matrix of counts, two conditions. Which half of it do you need?

# %% [markdown] tags=["hint"]
# `mask.triu(diagonal=1)` keeps what is above the diagonal; `nonzero()` lists it row by row.

# %% [markdown] tags=["task"]
# The densest latent is active on 57 % of the tokens. Which of three explains most of its variance?


# %% tags=["predict"] exercise="3.2.2.P7" title="Half of the time" difficulty=3 importance=4 minutes=2 skill="what dense latents do" choices=["the position in the row", "the token", "nothing: not more than shuffled groups"]
predict_densest = "the token"

# %% tags=["demo"] reveals=["predict_densest"]
if __name__ == "__main__":
    follows = torch.cat([data.ids[:, 1:], data.ids[:, -1:]], dim=1)
    position = torch.arange(n_pos).expand_as(data.ids)
    groups = {
        "position": position[data.mask],
        "token": tokens_seen,
        "next token": follows[data.mask],
    }
    shuffle = torch.randperm(len(tokens_seen), generator=gen)
    groups["token, shuffled (control)"] = tokens_seen[shuffle]
    table = []
    for number in times.topk(8).indices.tolist():
        f_l = data.latent(number)[data.mask]
        table.append((str(number), [share_explained(f_l, g) for g in groups.values()]))
    densest = zip(groups, table[0][1], strict=True)
    print(f"latent {table[0][0]}: " + ", ".join(f"{k} {v:.2f}" for k, v in densest))
    display(plots.explained_by(table, list(groups)))
    dense = times.topk(100).indices
    active = torch.cat([(b.f[b.mask][:, dense] > 0).float() for b in data.batches()])
    for i, j in antipodal_pairs(W_dec[dense], (active.T @ active).long(), -0.8).tolist():
        on = [f"{int(dense[k])} ({float(density[dense[k]]):.0%})" for k in (i, j)]
        print(f"never together, opposite directions: {on[0]} and {on[1]}")

# %% [markdown]
# So density alone condemns none. The token explains most of what the densest latent does, four times as
# much as shuffled tokens do; for the second densest the position leads. And four pairs behave like one
# number with a sign: one of 3026 and 3068 is active on four of five tokens, and never both. What such a
# number is *for* is another question; none of the bars answers it.
#
# **The whole page**, for many latents and with search, is one HTML file that needs no network:
# `make dashboard SAE=residual LATENTS=3085,403`.
#
# ## What you should be able to do now
#
# - Read each piece of a dashboard, and say what it counts and what it hides.
# - Find the strongest examples of all latents in one pass, whatever the length of the text.
# - Say for which range of activations a name was checked, and when the direct path says nothing.
# - Test enrichment with a p-value that knows how many tests there were, and show a control.
#
# ## Open questions
#
# 1. Bolukbasi et al. (2021) found illusions that depend on the data set. Does this one?
# 2. From which layer on does the direct path predict the sign of a latent's effect on the loss?
# 3. Is a pair of antipodal latents one feature with a sign, or two features that exclude each other?
