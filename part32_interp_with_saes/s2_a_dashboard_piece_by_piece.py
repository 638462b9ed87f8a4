# %% [markdown]
# # 3.2.2 A dashboard, piece by piece
#
# A dashboard is a page about one latent: how often it is active, how strongly, on which words, and
# what it makes the model say. One looks at it for a minute and gives the latent a name. Hundreds of
# papers rest on such names.
#
# So it matters what each piece of the page counts, and what it hides. In this section you write all
# of them, and for each one we ask how it could fool us.
#
# ## Questions
#
# 1. How often is a latent active, and how strongly?
# 2. How does one find the strongest examples in a text that does not fit into memory?
# 3. What do the strongest examples hide?
# 4. What does a latent write, and does that say what it does to the loss?
# 5. Which latents and neurons go together, and in which sense of the word?
# 6. On which tokens is it active more often than by chance?
# 7. How does all that get onto a page that no token can break?
# 8. Is a latent that is active half of the time broken?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | activation | the value $f_l$ of a latent at a token; the latent is **active** where it is not 0 |
# | density | the share of tokens on which a latent is active |
# | place | a token of the text by its number: row · length of a row + position |
# | context | the tokens around a place |
# | logit weight | what one unit of a latent adds to a token's logit on the direct path |
# | enriched | more often among the latent's active tokens than in the text |
#
# The first token of a row never counts (3.2.1, part 6). Numbers in the text are for the default
# profile: SmolLM2-135M, the residual stream after block 10, and the course's SAE with 4,608 latents.

# %% tags=["setup"]
import html

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.given.in_model import sample_rows
from utils.given.latent_data import latent_data
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
# That was the only long run: a minute or two. `data.batches()` gives the rows again in batches of 16,
# as if they came fresh from the model; `data.latent(l)` is one latent on all rows.
#
# ## 1 · How often, how strongly
#
# A text comes in batches, and the batches are not equally long: the last one is shorter, and some rows
# are padded. What must we keep of each batch, so that in the end we know each latent's density?

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
# Densities differ by factors of a thousand, so one draws their logarithm. But a latent that was never
# active has no logarithm.

# %% [markdown] tags=["task"]
# Return $\log_{10}$ of the density of every latent that was active at least once, in the order of the
# latents, and the number of **dead** ones, which were not.


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
# 40 latents are active on every token, of 4,608: the *mean* density is 0.9 %. What is the *median*
# density, dead latents included?


# %% tags=["predict"] exercise="3.2.2.P1" title="The latent in the middle" difficulty=2 importance=3 minutes=2 skill="mean and median" choices=["less than 0.4 %", "0.4 % to 0.8 %", "0.8 % or more"]
predict_median_density = "less than 0.4 %"

# %% tags=["demo"] reveals=["predict_median_density"]
if __name__ == "__main__":
    parts = [count_active(batch.f, batch.mask) for batch in data.batches()]
    times, n_tokens = sum(t for t, _ in parts), sum(n for _, n in parts)
    logs, n_dead = log_densities(times, n_tokens)
    density = times / n_tokens
    print(f"density: mean {float(density.mean()):.2%}, median {float(density.median()):.2%}")
    print(f"{n_dead} latents are silent; {int((density > 0.1).sum())} are active on over 10 %,")
    print(f"the densest on {float(density.max()):.0%}; together these do")
    share = float(times[density > 0.1].sum() / times.sum())
    print(f"{share:.0%} of all activations")
    display(plots.density_histogram(logs, n_dead))

# %% [markdown]
# A few busy latents pull the mean up. Two things to keep in mind. "Dead" here means silent on 30,000
# tokens: a latent with a density of 1 in 100,000 would look the same. And the picture shows nothing
# about *what* the latents do: we come back to the right end in part 8.
#
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
    edges = torch.arange(n_bins + 1, device=acts.device) / n_bins * top
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
    ours = sae.n_latents == 4608 and len(times) == 4608
    latent = 3085 if ours else int((times - 200).abs().argmin())
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
# So the strongest examples, which every dashboard shows first, come from the thin end. Whatever we
# learn from them is about a small part of the latent. (A maximum is also the most extreme of many
# numbers: the more text we read, the further out it lies.)
#
# ## 2 · The strongest examples
#
# We want the $n$ places with the largest activations, for all latents at once. Sorting everything
# needs all activations in memory. But of what we have read so far we need only the best $n$: with
# each batch, the best of "the best so far and the new ones" are the best of all.

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
# follows it. Where the earlier ones stand in front, `stable` keeps them in front.

# %% [markdown] tags=["hint"]
# A silent token has the value 0, as an empty slot does. With the old ones in front and a stable sort,
# why can no silent token get a slot?

# %% [markdown]
# **A window.** An example is a place with some tokens around it. Two things are easily wrong. A
# row may be *packed*: several documents one after the other, each with its BOS. Words of another
# document are no context. And at the end of a row there may be padding, which is no text at all.

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
# sentence. We want examples from different places: go down the list, and keep an example only if it
# is not too near to one that was kept.

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
    bos = tokenizer.bos_token_id

    def show(chosen: Tensor, title: str) -> None:
        """Examples at these places as lines of text, the token itself in bold."""
        lines = []
        for place in chosen.tolist():
            row, at = divmod(place, n_pos)
            start, stop = context_window(data.ids[row], data.mask[row], bos, at, 9, 5)
            words = [html.escape(tokenizer.decode([int(i)])) for i in data.ids[row, start:stop]]
            words[at - start] = f"<b><u>{words[at - start]}</u></b>"
            lines.append(f"{float(acts[row, at]):.2f} &nbsp; {''.join(words)}")
        display(HTML(f"<p><b>{title}</b><br>{'<br>'.join(lines)}</p>"))

    found = places[latent][places[latent] >= 0]
    apart = spread_out(found // n_pos, found % n_pos, distance=15)
    print(f"{len(apart)} of the {len(found)} strongest are 15 tokens apart")
    show(found[apart][:10], f"latent {latent}, strongest examples")
