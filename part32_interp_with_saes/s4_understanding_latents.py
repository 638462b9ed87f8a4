# %% [markdown]
# # 3.2.4 Understanding latents
#
# A dashboard gives you a guess about a latent. Here are seven ways to go on from there: push it; score an
# explanation; look at its family in other SAEs; look for holes; take it apart; ask which words it writes;
# ask the model itself. Each can fool us, so each has a control, and some fail on this model.
#
# ## Questions
#
# 1. Does pushing a latent change what the model says, more than pushing in a random direction?
# 2. Do the latents that read a word also write it?
# 3. How good is an explanation, and how good would a wrong one look?
# 4. What happens to a latent in an SAE that is four times as wide, or that starts from another seed?
# 5. Where is a latent silent although its feature is there?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | dose | the length of what is added, as a share of the residual stream's typical length |
# | reads, writes | the tokens on which a latent is active; the tokens that it makes more likely |
# | score of an explanation | how well it tells where the latent is active: balanced accuracy |
#
# Numbers in the text are for the default profile: SmolLM2-135M, the residual stream after block 10, and
# the course's SAE with 4,608 latents. The story model is the course's own, and the grammar of its stories
# says what every word is.

# %% tags=["setup"]
import math
import re
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from utils.autointerp import Text, family
from utils.course import ARTIFACTS
from utils.data.stories import lexicon
from utils.given import explaining, families, first_letters, steering
from utils.given.in_model import sample_rows
from utils.given.latent_data import final_read_out
from utils.models import language_model, residual_sae
from utils.models.profiles import describe
from utils.models.sae import load_sae
from utils.plots import understanding as plots
from utils.saes.config import SAEConfig

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import display

    gen = torch.Generator().manual_seed(0)
    loaded, sae = language_model(), residual_sae()
    tokenizer, W_dec = loaded.tokenizer, sae.sae.W_dec.detach()
    data, resid = steering.latents_and_stream(loaded, sae, sample_rows(loaded, n=128, seed=0))
    ids, mask = data.ids, data.mask
    times = torch.bincount(data.number, minlength=sae.n_latents)
    length = float(resid[mask].norm(dim=-1).mean())
    print(describe(loaded, [sae]))
    print(f"typical length of the residual stream {length:.0f}, of a decoder row", end=" ")
    print(f"{W_dec.norm(dim=1).mean():.1f}, of an activation {data.value.mean():.1f}")

# %% [markdown]
# ## 1 · Steering
#
# Change a latent from $f$ to $f'$ and keep everything else, the SAE's error included. Then the residual
# stream changes by exactly $(f' - f)\, w$, where $w$ is the latent's decoder row. There are three usual
# choices of $f'$: **add** a number to $f$, **scale** it by a factor, or **clamp** it to a value whatever
# it was.

# %% [markdown] tags=["task"]
# Return the residual stream after one latent was changed at the tokens where `where` is true. `how` is
# `"add"`, `"scale"` or `"clamp"`, and `by` the number, factor or value; anything else raises a
# `ValueError` that names it. Negative results are allowed: a latent may be pushed below 0.


# %% tags=["exercise"] exercise="3.2.4.a1" title="Three ways to push" difficulty=2 importance=5 minutes=8 skill="an edit of one latent"
def steer(
    resid: Float[Tensor, "row pos d_model"],
    f: Float[Tensor, "row pos"],
    w: Float[Tensor, " d_model"],
    where: Bool[Tensor, "row pos"],
    how: str,
    by: float,
) -> Float[Tensor, "row pos d_model"]:
    """resid + (f' - f) w at the tokens in `where`; f' is f + by, f · by, or by."""
    new = {"add": f + by, "scale": f * by, "clamp": torch.full_like(f, by)}
    if how not in new:
        raise ValueError(f"how is add, scale or clamp, not {how!r}")
    change = torch.where(where, new[how] - f, 0.0)
    return resid + change[..., None] * w


# %% [markdown] tags=["hint"]
# What is $f' - f$ for each of the three? For one of them it does not depend on $f$.

# %% [markdown] tags=["hint"]
# `torch.where(where, change, 0.0)[..., None] * w` has the shape of `resid`.

# %% [markdown]
# **The control.** Any vector of that length disturbs the model, so we compare with random ones.

# %% [markdown] tags=["task"]
# Return `n` random directions, all equally likely, each exactly as long as `w`. Random numbers come from
# `gen`, on the device and in the dtype of `w`.


# %% tags=["exercise"] exercise="3.2.4.a2" title="As long, but random" difficulty=1 importance=4 minutes=5 skill="a control"
def random_as_long(
    w: Float[Tensor, " d_model"], n: int, gen: torch.Generator
) -> Float[Tensor, "n d_model"]:
    """n isotropic random directions with the norm of w."""
    drawn = torch.randn(n, len(w), generator=gen, device=w.device, dtype=w.dtype)
    return drawn / drawn.norm(dim=1, keepdim=True) * w.norm()


# %% [markdown] tags=["hint"]
# Uniform numbers would prefer the corners of a cube. Which distribution looks the same from all sides?

# %% [markdown] tags=["hint"]
# Divide each row by its own norm (`dim=1, keepdim=True`), then multiply by the norm of `w`.

# %% [markdown]
# **The cost.** A steered model may say the word we want, and nothing else. So let it write, and then ask
# the *clean* model how surprising the text is: the perplexity of the continuation, $\exp$ of the mean
# loss of its tokens.

# %% [markdown] tags=["task"]
# `logits` are the clean model's on the texts `ids`; a token is predicted by the logits one position
# before it. Return each row's perplexity of the tokens from position `start` on (`start` ≥ 1).


# %% tags=["exercise"] exercise="3.2.4.a3" title="What it costs" difficulty=2 importance=4 minutes=8 skill="shifted predictions"
def continuation_perplexity(
    logits: Float[Tensor, "row pos vocab"], ids: Int[Tensor, "row pos"], start: int
) -> Float[Tensor, " row"]:
    """exp of the mean loss of ids[:, start:], per row, under logits one position earlier."""
    before = logits[:, start - 1 : -1].transpose(1, 2)
    loss = cross_entropy(before, ids[:, start:], reduction="none")
    return loss.mean(dim=1).exp()


# %% [markdown] tags=["hint"]
# The first token that counts is `ids[:, start]`. Which logits predict it? Which predict nothing?

# %% [markdown] tags=["hint"]
# `cross_entropy(x, y, reduction="none")` wants the vocabulary as axis 1. Mean first, `exp` last.

# %% [markdown]
# More dose, more effect, and more cost. To compare two directions one must hold one of them fixed: the
# largest effect *among the doses that cost at most so much*.

# %% [markdown] tags=["task"]
# Return the index of the largest effect among the doses whose cost is at most `limit` (equal is allowed).
# Of equal effects the first; −1 if every dose costs too much.


# %% tags=["exercise"] exercise="3.2.4.a4" title="At equal cost" difficulty=1 importance=4 minutes=6 skill="a fair comparison"
def best_within(effect: Float[Tensor, " item"], cost: Float[Tensor, " item"], limit: float) -> int:
    """Index of the largest effect with cost <= limit; the first of equals, -1 if there is none."""
    allowed = (cost <= limit).nonzero()[:, 0].tolist()
    return max(allowed, key=lambda i: float(effect[i])) if allowed else -1


# %% [markdown] tags=["hint"]
# First the indices that are allowed, then the best of those. Effects may all be negative.

# %% [markdown] tags=["hint"]
# Python's `max(list, key=…)` returns the first of equals; `argmax` of torch need not.

# %% [markdown]
# **Effects.** Arad et al. (2025) separate what a latent *reads* from what it *writes*, and report that
# high scores for both rarely go together. So run the model, and ask: by how much does the probability of
# a *set* of tokens grow?

# %% [markdown] tags=["task"]
# Return for each row $\log P(T)$ with steering minus $\log P(T)$ without, where $P(T)$ is the probability
# that the next token is one of `tokens` (different ids). Probabilities can be as small as $10^{-80}$, so
# never leave the logarithm.


# %% tags=["exercise"] exercise="3.2.4.a5" title="How much more likely?" difficulty=2 importance=4 minutes=8 skill="logsumexp"
def output_score(
    clean: Float[Tensor, "row vocab"],
    steered: Float[Tensor, "row vocab"],
    tokens: Int[Tensor, " chosen"],
) -> Float[Tensor, " row"]:
    """log P(one of tokens) under the steered logits minus that under the clean ones."""
    before, after = (x.log_softmax(dim=-1)[:, tokens].logsumexp(dim=-1) for x in (clean, steered))
    return after - before


# %% [markdown] tags=["hint"]
# $\log P(T) = \log \sum_{t \in T} p_t$. The sum is of probabilities, not of logarithms.

# %% [markdown] tags=["hint"]
# `log_softmax` over the whole vocabulary first, then `logsumexp` over the chosen tokens.

# %% tags=["demo"]
if __name__ == "__main__":
    big = loaded.name.startswith("SmolLM2")
    latent = 602 if big else int((times - 200).abs().argmin())
    reads = steering.read_tokens(data, latent)
    print(f"latent {latent} reads {[tokenizer.decode([i]) for i in reads[:8].tolist()]}")
    openings, on = ids[:12, :10], data.latent(latent) > 0
    pushes = {
        "decoder row": W_dec[latent],
        "difference of means": steering.mean_difference(resid, on, mask),
        "random direction": random_as_long(W_dec[latent], 1, gen)[0],
    }

    def pushed(d: Tensor, dose: float) -> steering.Push:
        """Add `d`, made `dose` typical lengths long, at the tokens that may be changed."""
        step = d / d.norm() * dose * length
        return lambda v, where: steer(v, torch.zeros(v.shape[:2]), step, where, "add", 1.0)

    doses = (0.15, 0.3, 0.6)
    several = [pushed(d, dose) for d in pushes.values() for dose in doses]
    clean, *after = steering.next_logits(loaded, sae.hook_out, openings, several)
    effects = [float(output_score(clean, logits, reads.unique()).mean()) for logits in after]
    texts = steering.write(loaded, sae.hook_out, openings, 8, seed=0, pushes=several)
    clean_cost, *costs = (
        float(continuation_perplexity(steering.all_logits(loaded, text), text, 10).median())
        for text in texts
    )
    limit, curves = 3 * clean_cost, {}
    for i, name in zip((0, 3, 6), pushes, strict=True):
        curves[name] = (doses, effects[i : i + 3], costs[i : i + 3])
        best = best_within(torch.tensor(effects[i : i + 3]), torch.tensor(costs[i : i + 3]), limit)
        print(f"{name:20} at most {limit:.0f} (clean {clean_cost:.0f}):", end=" ")
        print(f"{effects[i + best]:+.2f} nats at dose {doses[best]}" if best >= 0 else "no dose")
        print(f"   dose 0.3 writes {[tokenizer.decode(t[10:]) for t in texts[i + 2, :3]]}")
    display(plots.dose_response(curves, clean_cost, limit))

# %% [markdown]
# One latent, twelve openings: the three directions look alike. (*Difference of means*: the mean stream
# where the latent is active, minus that of all tokens.) One example proves nothing, so we take twenty.

# %% [markdown] tags=["task"]
# Now 20 latents, drawn at random among those with 40 to 400 activations; 8 openings; every token but the
# first is pushed, by *half* a typical length. Which of the three directions raises the probability of the
# tokens that the latent reads most, on average?

# %% tags=["predict"] exercise="3.2.4.P1" title="Three directions, one length" difficulty=2 importance=4 minutes=2 skill="a baseline" choices=["the decoder row", "the difference of means", "the random direction"]
predict_strongest = "the difference of means"

# %% tags=["demo"] reveals=["predict_strongest"]
if __name__ == "__main__":
    gain, W_U, _, centred = final_read_out(loaded)
    W_write = W_dec - W_dec.mean(dim=1, keepdim=True) if centred else W_dec
    busy = ((times >= 40) & (times <= 400)).nonzero().flatten()
    drawn = busy[torch.randperm(len(busy), generator=gen)[:20]].tolist()
    openings, doses, weights = ids[:8, :8], (0.25, 0.5, 1.0), (W_write[drawn] * gain) @ W_U
    effect, writing, cost = steering.push_latents(
        loaded, sae.hook_out, data, resid, W_dec, drawn, openings, doses,
        random_as_long(W_dec[0], 20, gen), output_score,
        writes=lambda number: weights[drawn.index(number)].topk(20).indices,
    )  # fmt: skip
    cheap = torch.zeros(3, 20)
    for j, i in torch.cartesian_prod(torch.arange(3), torch.arange(20)).tolist():
        k = best_within(effect[j, i], cost[j, i], 1.5)
        cheap[j, i] = effect[j, i, k] if k >= 0 else 0.0
    named = ("decoder row", "difference of means", "random direction")
    for j, name in enumerate(named):
        print(f"{name:20} {steering.told(effect[j, :, 1], gen)} nats at dose 0.5", end=", ")
        print(f"which costs {steering.told(cost[j, :, 1], gen)};", end=" ")
        print(f"{steering.told(cheap[j], gen)} at a cost of at most 1.5")
    print(f"at that cost: row minus random {steering.told(cheap[0] - cheap[2], gen)}", end=", ")
    print(f"row minus difference of means {steering.told(cheap[0] - cheap[1], gen)}")
    reads = [steering.read_tokens(data, number) for number in drawn]
    scores = [steering.input_score(*pair) for pair in zip(reads, weights, strict=True)]
    print(f"input score above 0: {sum(score > 0 for score in scores)} of 20; its own top", end=" ")
    print(f"tokens: row {steering.told(writing[0, :, 1], gen)},", end=" ")
    print(f"random direction {steering.told(writing[2, :, 1], gen)} nats")
    display(plots.groups(dict(zip(named, effect[:, :, 1], strict=True)), "nats, dose 0.5", 0.0))

# %% [markdown]
# At equal length the difference of means does most; it also costs (in KL from the clean model) twice as
# much. At a cost of 1.5 nats the order is another: 1.40 nats for the row, 1.05 for the difference of
# means, 0.58 for a random direction, for any push raises rare words. Row minus random is 0.81 [0.31,
# 1.35], 0.13 [−0.26, 0.48] with 24 other latents, 0.65 [0.43, 0.89] with 72: twenty are too few. That
# the row does more than the difference of means is *not* shown (0.35 [−0.06, 0.71]).
#
# Whether SAEs steer well is disputed. Wu et al. (2025, AxBench) found them not competitive with prompting
# and simple baselines on Gemma 2; Arad et al. (2025) answer that they are, once latents that write little
# are left out. Here it depended on what is held fixed. What a latent reads is not what its row would push
# up directly: for 19 of the 20 none of the tokens read is among the 50 with the largest logit weight (an
# *input score* of 0). Yet the row raises its own 20 top tokens by 1.84 nats, a random direction by 0.68.
#
# ## 2 · Explanations and their scores
#
# An explanation is a claim about text: *active on words of comparison*. Bills et al. (2023) had one
# language model write such explanations and another one use them; Paulo et al. (2024) asked simpler
# questions of the second model. Whoever explains, person, program or model, the score needs the same
# pieces: examples where the latent is active, examples where it is not, and a fair count.

# %% [markdown] tags=["task"]
# **Positives** from all of the range (3.2.2, part 3). `strength` has each row's largest activation. Order
# the rows with `strength` > 0 from weak to strong (equal ones in the rows' order), cut them into
# `n_strata` parts as equal as possible (if it does not come out even the *first* parts have one more),
# and draw at most `n_each` of each part without replacement, with `gen`. Return one vector of rows per
# part.


# %% tags=["exercise"] exercise="3.2.4.b1" title="Weak ones, too" difficulty=2 importance=4 minutes=9 skill="stratified sampling"
def stratified_rows(
    strength: Float[Tensor, " row"], n_strata: int, n_each: int, gen: torch.Generator
) -> list[Int[Tensor, " chosen"]]:
    """For each of n_strata parts of the active rows, weak to strong, up to n_each random rows."""
    order = strength.sort(stable=True).indices
    active = order[strength[order] > 0]
    drawn = []
    for part in active.tensor_split(n_strata):
        shuffle = torch.randperm(len(part), generator=gen, device=gen.device)
        drawn.append(part[shuffle[:n_each]])
    return drawn


# %% [markdown] tags=["hint"]
# Cut the *list of rows*, not the range of values: then each part has equally many.

# %% [markdown] tags=["hint"]
# `torch.tensor_split` makes parts as equal as possible, longer ones first. `randperm(len(part))` draws.

# %% [markdown]
# **Negatives** must be measured. A row that merely was not chosen as a positive may be full of
# activations, and a judge who says so would be marked wrong.

# %% [markdown] tags=["task"]
# Return `n` different rows, drawn at random with `gen`, in which the latent is 0 at every token of the
# mask. (What it does outside the mask does not matter.) A row without a token in the mask is no example.
# If there are fewer than `n` such rows, raise a `ValueError` that names `n` and how many there are.


# %% tags=["exercise"] exercise="3.2.4.b2" title="Really silent" difficulty=2 importance=4 minutes=7 skill="measured negatives"
def silent_rows(
    acts: Float[Tensor, "row pos"], mask: Bool[Tensor, "row pos"], n: int, gen: torch.Generator
) -> Int[Tensor, " chosen"]:
    """n random rows that have tokens in the mask, and no activation there."""
    silent = ((acts == 0) | ~mask).all(dim=1) & mask.any(dim=1)
    rows = silent.nonzero()[:, 0]
    if len(rows) < n:
        raise ValueError(f"{n} silent rows are wanted, there are {len(rows)}")
    return rows[torch.randperm(len(rows), generator=gen, device=gen.device)[:n]]


# %% [markdown] tags=["hint"]
# At every position: silent, or not in the mask. What does `all` say of a row with an empty mask?

# %% [markdown] tags=["hint"]
# `((acts == 0) | ~mask).all(dim=1) & mask.any(dim=1)`, then `randperm`.

# %% [markdown]
# **What the explainer sees.** A text in which the active tokens are marked, and their strengths as whole
# numbers from 1 to 10.

# %% [markdown] tags=["task"]
# Return two lines. First the tokens joined, with every *run* of neighbouring active tokens between `<<`
# and `>>`. Then, for each active token, the token and its strength $\lceil 10\, a / a_\text{top} \rceil$.
# For the tokens `["Much", " more", " so", ".", " Less"]`, activations 0, 2, 1, 0, 4 and `top` 4:
#
#     Much<< more so>>.<< Less>>
#     Activations: " more" 5, " so" 3, " Less" 10
#
# With no active token the second line is `Activations: none`.


# %% tags=["exercise"] exercise="3.2.4.b3" title="Marked text" difficulty=2 importance=3 minutes=9 skill="runs"
def marked_text(tokens: Sequence[str], acts: Float[Tensor, " pos"], top: float) -> str:
    """The text with <<runs of active tokens>>, then their strengths from 1 to 10."""
    on = [False, *(acts > 0).tolist(), False]
    text = ""
    for i, token in enumerate(tokens):
        opens, closes = on[i + 1] and not on[i], on[i + 1] and not on[i + 2]
        text += "<<" * opens + token + ">>" * closes
    pairs = zip(tokens, acts.tolist(), strict=True)
    listed = [f'"{token}" {math.ceil(10 * a / top)}' for token, a in pairs if a > 0]
    return f"{text}\nActivations: {', '.join(listed) or 'none'}"


# %% [markdown] tags=["hint"]
# A run opens where a token is active and the one before is not; it closes where the one after is not.

# %% [markdown] tags=["hint"]
# Put a `False` in front of and behind the list of what is active: then the ends need no care.

# %% [markdown]
# **What the judge answers.** A language model is asked to end its reply with one number per text, such as
# `[1, 0, 1]`. It will not always do so. A reply that cannot be read must be an error: a silent 0 would
# count as an answer.

# %% [markdown] tags=["task"]
# Return the verdicts as booleans. The *last* `[…]` in `reply` with no bracket inside counts: `n`
# entries, each `0` or `1`, between commas, with any spaces or line breaks around them. Otherwise raise a
# `ValueError`: if there are no brackets; if the number of entries is wrong, naming it and `n`; if an
# entry is something else, naming the entry.


# %% tags=["exercise"] exercise="3.2.4.b4" title="An answer that can be read" difficulty=2 importance=4 minutes=9 skill="parsing with errors"
def parse_verdicts(reply: str, n: int) -> Bool[Tensor, " item"]:
    """The n verdicts of the last [ … ] in the reply; ValueError where it cannot be read."""
    lists = re.findall(r"\[([^\[\]]*)\]", reply)
    if not lists:
        raise ValueError("the reply has no list in square brackets")
    entries = [entry.strip() for entry in lists[-1].split(",")]
    if len(entries) != n:
        raise ValueError(f"the reply has {len(entries)} verdicts for {n} texts")
    wrong = [entry for entry in entries if entry not in ("0", "1")]
    if wrong:
        raise ValueError(f"a verdict is 0 or 1, not {wrong[0]!r}")
    return torch.tensor([entry == "1" for entry in entries])


# %% [markdown] tags=["hint"]
# `re.findall(r"\[([^\[\]]*)\]", reply)` gives what is between brackets, for every pair of them.

# %% [markdown] tags=["hint"]
# `split(",")` and `strip()`. `int("7")` and `bool("0")` would let wrong answers pass: compare strings.

# %% [markdown]
# **The score.** Most text is not under the latent. "Never active" would be right on 99 % of it. So count
# both kinds for themselves, and take the mean of the two shares: the **balanced accuracy**.

# %% [markdown] tags=["task"]
# Return the balanced accuracy of each explanation: the mean of (share of the true items where `says` is
# true) and (share of the false items where `says` is false), in float64. Both kinds must occur in
# `truth`, else raise a `ValueError`.


# %% tags=["exercise"] exercise="3.2.4.b5" title="One answer for all scores one half" difficulty=1 importance=5 minutes=6 skill="balanced accuracy"
def balanced_accuracy(
    says: Bool[Tensor, "*batch item"], truth: Bool[Tensor, " item"]
) -> Float[Tensor, "*batch"]:
    """(share of trues found + share of falses left alone) / 2, per explanation, in float64."""
    if truth.all() or not truth.any():
        raise ValueError("there must be true and false items")
    found, left = says[..., truth], ~says[..., ~truth]
    return (found.double().mean(dim=-1) + left.double().mean(dim=-1)) / 2


# %% [markdown] tags=["hint"]
# Two means, each over items of one kind. The number of items of a kind must not matter.

# %% [markdown] tags=["hint"]
# `says[..., truth]` selects on the last axis, whatever comes before it.

# %% [markdown]
# **Its interval.** With 40 examples a score of 0.6 could be luck. The bootstrap draws new examples from
# those that we have. We drew so many positives and so many negatives *on purpose*: each draw must keep
# these numbers.

# %% [markdown] tags=["task"]
# Return the interval that has the middle `level` (for example 0.95) of `n_draws` bootstrap scores. Each
# draw takes as many true items as there are, with replacement, from the true ones, and likewise the false
# ones; its score is the balanced accuracy. Use `torch.quantile` at (1 − level)/2 and (1 + level)/2, and
# `gen`. Both kinds occur.


# %% tags=["exercise"] exercise="3.2.4.b6" title="How sure is a score?" difficulty=3 importance=4 minutes=11 skill="stratified bootstrap"
def score_interval(
    says: Bool[Tensor, " item"],
    truth: Bool[Tensor, " item"],
    n_draws: int,
    level: float,
    gen: torch.Generator,
) -> tuple[float, float]:
    """Quantiles of the balanced accuracy over draws within the true and within the false items."""
    scores = torch.zeros(n_draws, dtype=torch.float64, device=gen.device)
    for right in (says[truth], ~says[~truth]):
        n = len(right)
        drawn = torch.randint(n, (n_draws, n), generator=gen, device=gen.device)
        scores += right[drawn].double().mean(dim=1) / 2
    low, high = (float(scores.quantile((1 + sign * level) / 2)) for sign in (-1, 1))
    return low, high


# %% [markdown] tags=["hint"]
# A matrix of random indices, one row per draw; the mean of each row is one draw's share.

# %% [markdown] tags=["hint"]
# `torch.randint(n, (n_draws, n), generator=gen)` indexes `says[truth]`. Add half of each share.

# %% [markdown]
# **Fuzzing** (Paulo et al. 2024). Detection asks *whether* a text activates the latent. Fuzzing asks
# *where*: some texts have the active tokens marked, others have as many wrong ones marked. Which marks
# are right?

# %% [markdown] tags=["task"]
# Return wrong marks: in each row as many as there are active tokens, at random places (with `gen`) in the
# mask that are *not* active. If there are fewer such places, all of them. All `active` tokens are in the
# mask.


# %% tags=["exercise"] exercise="3.2.4.b7" title="Marks in the wrong places" difficulty=3 importance=3 minutes=10 skill="a choice in every row"
def wrong_marks(
    active: Bool[Tensor, "row pos"], mask: Bool[Tensor, "row pos"], gen: torch.Generator
) -> Bool[Tensor, "row pos"]:
    """In each row, as many random silent tokens of the mask as there are active ones."""
    free = mask & ~active
    score = torch.rand(active.shape, generator=gen, device=gen.device).masked_fill(~free, -1)
    rank = score.argsort(dim=1, descending=True).argsort(dim=1)
    return free & (rank < active.sum(dim=1, keepdim=True))


# %% [markdown] tags=["hint"]
# Give each place a random number and take the largest ones: how many differs from row to row.

# %% [markdown] tags=["hint"]
# `x.argsort(descending=True).argsort()` is each entry's rank, from 0. Compare it with the row's count.

# %% [markdown]
# **Simulation** (Bills et al. 2023). The explanation is used to *predict* the activations, and the score
# is the correlation of prediction and truth over all tokens.

# %% [markdown] tags=["task"]
# Return the correlation of `simulated` and `actual` over all tokens of the mask together (not row by
# row), computed in float64; 0 if one of the two is constant there.


# %% tags=["exercise"] exercise="3.2.4.b8" title="A score for predictions" difficulty=2 importance=3 minutes=7 skill="correlation"
def simulation_score(
    simulated: Float[Tensor, "row pos"],
    actual: Float[Tensor, "row pos"],
    mask: Bool[Tensor, "row pos"],
) -> float:
    """Pearson correlation over the tokens of the mask; 0 where one is constant."""
    x, y = (v[mask].double() for v in (simulated, actual))
    if (x == x[0]).all() or (y == y[0]).all():
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x.norm() * y.norm()))


# %% [markdown] tags=["hint"]
# Select with the mask first: means over padding would be wrong.

# %% [markdown] tags=["hint"]
# Centre both; then it is a cosine. When is its denominator 0?

# %% [markdown]
# **An explainer that needs no network.** Write a list of *predicates*, statements that are true or false
# of a token: *is " more"*, *begins with a capital*, *comes after "the"*. The explanation of a latent is
# the predicate with the best score. But the best of hundreds is partly luck. So choose on one part of the
# text, and score on the other.

# %% [markdown] tags=["task"]
# `holds` says which predicate holds at which token. Choose the predicate with the best balanced accuracy
# on the tokens of `fit` (the first of equals); return its index and its balanced accuracy on the *other*
# tokens. Both parts have active and silent tokens.


# %% tags=["exercise"] exercise="3.2.4.b9" title="The best of many, honestly" difficulty=2 importance=5 minutes=9 skill="held-out scores"
def best_predicate(
    active: Bool[Tensor, " token"], holds: Bool[Tensor, "item token"], fit: Bool[Tensor, " token"]
) -> tuple[int, float]:
    """(index of the best predicate on `fit`, its balanced accuracy on the rest)."""
    scores = balanced_accuracy(holds[:, fit], active[fit]).tolist()
    best = scores.index(max(scores))
    return best, float(balanced_accuracy(holds[best, ~fit], active[~fit]))


# %% [markdown] tags=["hint"]
# Two calls of `balanced_accuracy`: all predicates on one part, one predicate on the other.

# %% [markdown] tags=["hint"]
# `scores.index(max(scores))` on a list gives the first of equals.

# %% tags=["demo"]
if __name__ == "__main__":
    pieces = [[tokenizer.decode([int(i)]) for i in row] for row in ids]
    said = family(Text(pieces, mask), least=20)
    n_rows, acts = len(ids), data.latent(latent) * mask
    fit = (torch.arange(n_rows) % 2 == 0)[:, None].expand_as(mask)
    index, score = best_predicate((acts > 0)[mask], said.holds, fit[mask])
    print(f"{len(said.predicates)} predicates; latent {latent}:", end=" ")
    print(f"{said.predicates[index]} ({score:.2f})")
    holds = torch.zeros_like(mask).masked_scatter(mask, said.holds[index])
    both, holding, active = ((v & ~fit).sum() for v in (holds & (acts > 0), holds, acts > 0))
    print(f"on held-out rows precision {both / holding:.2f}, recall {both / active:.2f}")
    held = torch.arange(1, n_rows, 2)
    strong = stratified_rows(acts[held].amax(dim=1), 4, 6, gen)
    silent = silent_rows(acts[held], mask[held], min(sum(map(len, strong)), 12), gen)
    chosen = held[torch.cat([*strong, silent])]
    row = int(held[strong[-1][0]])
    at = int(acts[row].argmax())
    part = slice(max(at - 9, 0), at + 4)
    print(marked_text(pieces[row][part], acts[row][part], float(acts.max())))
    truth = acts[chosen].amax(dim=1) > 0
    reply = f"My verdicts: {holds[chosen].any(dim=1).long().tolist()}"  # a judge who knows the rule
    right = (acts > 0)[chosen[truth]]
    marks = torch.cat([right, wrong_marks(right, mask[chosen[truth]], gen)])
    fits = (holds[chosen[truth]].repeat(2, 1) & marks).sum(dim=1) * 2 >= marks.sum(dim=1)
    checks = {"detection": (parse_verdicts(reply, len(chosen)), truth)}
    checks["fuzzing"] = (fits, torch.arange(len(fits)) < len(right))
    for name, pair in checks.items():
        low, high = score_interval(*pair, 2000, 0.95, gen)
        print(f"{name} {float(balanced_accuracy(*pair)):.2f} [{low:.2f}, {high:.2f}]", end="; ")
    print(f"simulation {simulation_score(holds.float(), acts, mask & ~fit):.2f}")

# %% [markdown]
# The best of 630 sentences is a poor one: the latent is active on a quarter of its tokens, and half of
# the latent's tokens are found. Three dozen texts cannot tell: the detection score's interval contains
# 0.5.

# %% [markdown] tags=["task"]
# We explain 60 latents, and 60 **random directions**: a direction counts as active on the tokens with the
# largest projections, as many as the latent has. What is the median held-out score of the random
# directions?

# %% tags=["predict"] exercise="3.2.4.P2" title="Explaining a random direction" difficulty=3 importance=5 minutes=2 skill="a control" choices=["below 0.53: chance is 0.5", "0.53 to 0.62", "above 0.62"]
predict_random_score = "0.53 to 0.62"

# %% tags=["demo"] reveals=["predict_random_score"]
if __name__ == "__main__":
    active = torch.zeros(ids.numel(), sae.n_latents, dtype=torch.bool)
    active[data.place, data.number] = True
    mine = (gen, best_predicate, balanced_accuracy, random_as_long)
    compared = explaining.score_many(
        active[mask.flatten()], resid[mask], said, fit[mask], 60, *mine
    )
    compared.show(gen)
    display(plots.groups(compared.scores, "held-out score", 0.5))

# %% [markdown]
# Shuffled explanations score 0.49, latents 0.69 [0.66, 0.72], random directions 0.57 [0.56, 0.59]. Text
# has so much structure that tokens far out in *any* direction have something in common. The distance to
# shuffled explanations says that a sentence belongs to its latent. Only the distance to random directions
# says something about the SAE.
#
# Do the same where the truth is known: in the story model, whose grammar says each word's role.

# %% tags=["demo"]
if __name__ == "__main__":
    story = explaining.told_stories(200, seed=0)
    n_found, n_labels = explaining.labels_found(story, gen, best_predicate)
    print(f"{len(story.said.predicates)} predicates; {n_found} of {n_labels} labels are found")
    args = story.active[384], story.x, story.said, story.fit, 60
    explaining.score_many(*args, *mine).show(gen)

# %% [markdown]
# Where a perfect explanation exists it is found: 42 of 43 labels, through noise. But the story model's
# *real* latents score 0.78 [0.75, 0.81], and its random directions 0.76 [0.73, 0.79]. Here the score
# cannot tell the SAE from directions that nobody trained: with few words in the language, any direction
# picks out some. A good score is no evidence of a good dictionary; the gap to the right control is.
#
# ## 3 · Families
#
# In a wider SAE a latent may come back, split, or vanish. And in one of the same width that started from
# another seed? A decoder row that does not come back alone may still lie in the *span* of a few rows of
# the other SAE: then the subspace came back, with other axes.

# %% [markdown] tags=["task"]
# For each row of `W`, take the `k` rows of `others` with the largest *absolute* cosine, and return the
# share of the row's squared length that lies in their span. The `k` rows are linearly independent, none
# is 0. With `k = 1` that is the squared cosine.


# %% tags=["exercise"] exercise="3.2.4.c1" title="Alone, or as a subspace" difficulty=3 importance=4 minutes=11 skill="projection"
def share_in_span(
    W: Float[Tensor, "latent d_model"], others: Float[Tensor, "hidden d_model"], k: int
) -> Float[Tensor, " latent"]:
    """Squared length, as a share, of each row's projection on its k nearest rows' span."""
    unit = W / W.norm(dim=1, keepdim=True)
    directions = others / others.norm(dim=1, keepdim=True)
    nearest = (unit @ directions.T).abs().topk(k, dim=1).indices
    Q = torch.linalg.qr(directions[nearest].mT).Q
    return (unit[:, None] @ Q).square().sum(dim=(1, 2))


# %% [markdown] tags=["hint"]
# The squares of the cosines may only be added up if the directions are orthogonal. They are not.

# %% [markdown] tags=["hint"]
# `torch.linalg.qr(A).Q` has an orthonormal basis of the span of the *columns* of A, for a whole batch.

# %% [markdown]
# Directions say who is similar. **Splitting** is about activations: a parent's tokens are shared out
# among children, and a child is active (nearly) only where its parent would be.

# %% [markdown] tags=["task"]
# `parent` says where a latent of the small SAE is active, `children` where those of the wide one are.
# Return the numbers of its children: active at least once, and of their tokens at least the share `least`
# is under the parent. And the **coverage**: the share of the parent's tokens on which at least one of
# these is active (0 without children). The parent is active at least once.


# %% tags=["exercise"] exercise="3.2.4.c2" title="Who are its children?" difficulty=2 importance=4 minutes=10 skill="conditional shares"
def split_into(
    parent: Bool[Tensor, " token"], children: Bool[Tensor, "token latent"], least: float
) -> tuple[Int[Tensor, " chosen"], float]:
    """(latents with P(parent | child) >= least, share of the parent's tokens that they cover)."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    share = inside.double() / times.clamp(min=1)
    chosen = ((times > 0) & (share >= least)).nonzero()[:, 0]
    return chosen, float(children[parent][:, chosen].any(dim=1).double().mean())


# %% [markdown] tags=["hint"]
# Which of the two conditional shares is it: of the child's tokens, or of the parent's?

# %% [markdown] tags=["hint"]
# `children[parent]` has the parent's tokens only. `any(dim=1)` over no columns is false.

# %% [markdown] tags=["task"]
# Two SAEs of 384 latents learn from the same activations of the story model; only the seed differs. How
# many latents of the first come back *alone* in the second (a squared cosine of at least 0.81)?

# %% tags=["predict"] exercise="3.2.4.P3" title="Another seed" difficulty=2 importance=4 minutes=2 skill="stability" choices=["less than 30 %", "30 % to 70 %", "more than 70 %"]
predict_back = "less than 30 %"

# %% tags=["demo"] reveals=["predict_back"]
if __name__ == "__main__":
    cfg = SAEConfig(96, 384, "topk", k=12)
    runs = [families.short_sae(story.x, cfg, seed) for seed in (0, 1)]
    first, second = (run.params["W_dec"].detach() for run in runs)
    print(f"variance explained: {[round(families.explained(run, story.x), 3) for run in runs]}")
    others = {"other seed": second, "its covariance": families.normal_like(second, gen)}
    W_story = {width: one.sae.W_dec.detach() for width, one in story.saes.items()}
    for k in (1, 2, 4):
        for name, rows in others.items():
            share = share_in_span(first, rows, k)
            back = float((share >= 0.81).double().mean())
            print(f"in the span of {k} of {name}: {back:.0%} (median share {share.median():.2f})")
    parents, wide = story.active[384][:8000].T[::6], story.active[1536][:8000]
    parents, wide = parents[parents.sum(dim=1) >= 20], wide[:, wide.sum(dim=0) >= 20]
    split = [split_into(p, wide, 0.8) for p in parents]
    n_children = torch.tensor([float(len(kids)) for kids, _ in split])
    coverage = torch.tensor([cover for _, cover in split])
    divided = (n_children >= 2) & (coverage >= 0.8)
    print(f"{int(divided.sum())} of {len(split)} split: two or more children cover 80 %")
    elsewhere = [split_into(p.roll(997), wide, 0.8) for p in parents]
    n_control = sum(len(c) > 0 for c, _ in elsewhere)
    print(f"parents moved by 997 tokens (control): {n_control} of {len(split)} have a child")
    display(plots.splitting(n_children, coverage, [f"latent {i}" for i in range(len(split))]))

# %% [markdown]
# Both SAEs explain 98 % of the variance, and share one latent in seven; in the span of four, 22 %. The
# control has none. Paulo and Belrose (2025) found 30 % shared in a large SAE of Llama 3 8B, fewer with
# TopK than with L1. In the SAE four times as wide, 13 of 64 latents are split: two or more children cover
# 80 % of their tokens. 13 have no child at all. With the parents' tokens moved, nobody has one.

# %% [markdown] tags=["task"]
# A map in two dimensions is easy to look at and hard to trust: 96 dimensions do not fit. We draw a map of
# all 2,688 decoder rows (UMAP with 15 neighbours) and let HDBSCAN find clusters of at least five points
# *on the map*. Then we do the same with as many **random directions**. How many clusters have these?

# %% tags=["predict"] exercise="3.2.4.P4" title="Clusters of nothing" difficulty=3 importance=4 minutes=2 skill="maps" choices=["fewer than 10", "10 to 50", "more than 50"]
predict_clusters = "more than 50"

# %% tags=["demo"] reveals=["predict_clusters"]
if __name__ == "__main__":
    shown = list(W_story)[: 3 if big else 1]  # the smallest profile draws one width
    every = torch.cat([torch.nn.functional.normalize(W_story[width]) for width in shown])
    width_of = torch.cat([torch.full((width,), i) for i, width in enumerate(shown)])
    nothing, drawings = random_as_long(every[0], len(every), gen), {}
    for title, rows, near, spread in (
        ("5 neighbours", every, 5, 0.0),
        ("15 neighbours", every, 15, 0.1),
        ("random, 15 neighbours", nothing, 15, 0.1),
    ):
        points = families.layout(rows, near, spread)
        counts = [int(families.clusters(points, least).max()) + 1 for least in (5, 15, 50)]
        kept = families.neighbours_kept(rows, points, 10)
        print(f"{title:22} keeps {kept:.0%} of 10 neighbours;", end=" ")
        print(f"clusters of at least 5, 15, 50 points: {counts}")
        drawings[title] = points
    display(plots.maps(drawings, width_of, [f"{width} latents" for width in shown]))

# %% [markdown]
# 210 clusters with 5 neighbours, 142 with 15, and 134 in a map of nothing: random points have neighbours,
# too, and UMAP draws them together. With at least 15 points per cluster 2 or 3 are left. And the map
# keeps 23 % of each row's ten neighbours. A map is for ideas, `split_into` and `share_in_span` are for
# evidence.
#
# ## 4 · Holes: absorption
#
# Chanin et al. (2024) asked for the *first letter* of words. The model knows it, a **probe** (a linear
# classifier, $x \cdot p > 0$) finds it, and some latents look like "begins with S". But on a few such
# words they are silent, and another, for that very word, carries the letter. It *absorbed* the letter.
#
# First: which latents are a letter's? Treat each latent as a detector. **Precision** is the share of its
# words that have the letter, **recall** the share of the letter's words on which it is active, and
#
# $$F_1 = \frac{2\, \text{precision} \cdot \text{recall}}{\text{precision} + \text{recall}}.$$

# %% [markdown] tags=["task"]
# Return each latent's $F_1$ in float64; 0 for a latent that is never active where `has` is true. At least
# one word has the letter.


# %% tags=["exercise"] exercise="3.2.4.d1" title="Latents as detectors" difficulty=1 importance=4 minutes=6 skill="precision and recall"
def f1_scores(
    fires: Bool[Tensor, "item latent"], has: Bool[Tensor, " item"]
) -> Float[Tensor, " latent"]:
    """2 · both / (words where it fires + words that have it), per latent, in float64."""
    both = fires[has].sum(dim=0).double()
    return 2 * both / (fires.sum(dim=0) + has.sum())


# %% [markdown] tags=["hint"]
# Insert both shares and simplify: no division by 0 is left.

# %% [markdown] tags=["hint"]
# $F_1 = 2 \cdot \text{both} / (\text{active} + \text{having})$.

# %% [markdown]
# **Main** latents of a letter: the best $F_1$, and up to two at least half as good. A word is **absorbed** if
# all are silent on it, although a probe sees the letter, and another writes much of the probe's direction.

# %% [markdown] tags=["task"]
# All these words have the letter, and the probe agrees: $x \cdot p > 0$. Latent $l$ adds $f_l\, w_l \cdot
# p$ to that number. Return for which words both hold: no latent of `main` is active (all are
# exactly 0), and the largest contribution of the others is at least `least` times $x \cdot p$.
# (SAEBench has a score of this kind.) The probe's length must not matter.


# %% tags=["exercise"] exercise="3.2.4.d2" title="Absorbed" difficulty=3 importance=5 minutes=11 skill="false negatives with a cause"
def absorbed(
    x: Float[Tensor, "item d_model"],
    f: Float[Tensor, "item latent"],
    main: Int[Tensor, " chosen"],
    W_dec: Float[Tensor, "latent d_model"],
    probe: Float[Tensor, " d_model"],
    least: float,
) -> Bool[Tensor, " item"]:
    """Main latents silent, and one other's f_l (w_l · p) >= least · (x · p)."""
    silent = (f[:, main] == 0).all(dim=1)
    largest = (f * (W_dec @ probe)).amax(dim=1)
    return silent & (largest >= least * (x @ probe))


# %% [markdown] tags=["hint"]
# Where the main latents are silent they contribute 0, so they need not be taken out.

# %% [markdown] tags=["hint"]
# `W_dec @ probe` is one number per latent; times `f`, that is each latent's contribution.

# %% [markdown] tags=["task"]
# 3,000 words, half of them for training. In the other half, on what share of the words that the probe
# gets right are *all* main latents of the letter silent?

# %% tags=["predict"] exercise="3.2.4.P5" title="How many holes?" difficulty=2 importance=4 minutes=2 skill="measuring" choices=["less than 8 %", "8 % to 25 %", "more than 25 %"]
predict_holes = "less than 8 %"

# %% tags=["demo"] reveals=["predict_holes"]
if __name__ == "__main__":
    words = first_letters.letter_words(loaded, sae.hook_in, 3000, gen)
    probes = first_letters.letter_probes(words, least=60 if big else 12)
    print(f"{len(words.text)} words; held-out accuracy of the probes {probes.accuracy:.0%}")
    for title, one in first_letters.saes_to_try(sae).items():
        found = first_letters.find_holes(words, probes, one, f1_scores, absorbed)
        print(f"{title}: {len(found.silent)} words; all main latents are silent on", end=" ")
        print(f"{steering.told(100 * found.silent, gen)} %, absorbed", end=" ")
        print(f"{steering.told(100 * found.taken, gen)} %; mean F1", end=" ")
        print(f"{sum(found.f1) / len(found.f1):.2f}, cosine", end=" ")
        print(f"{sum(found.cosine) / len(found.cosine):.2f}")
        if one is sae:
            display(plots.letters(found.names, found.cosine, found.f1, found.silent_of))

# %% [markdown]
# On the course's SAE the letters have latents near the probe's direction (mean cosine 0.71), and the
# main ones have few holes: all are silent on 5.3 % [4.0, 6.6] of the words, and 1.4 % are absorbed. That is no
# praise. Their best $F_1$ is 0.44 on average: they are active on many other words, too.
#
# The other two have half as many latents, learned from less text, and differ in one thing: prefixes of
# the Matryoshka SAE must reconstruct alone, too. Plain 13 % and 1.7 %, Matryoshka 23 % and 7.7 %. But with
# another draw of words it was 18 % and 6.1 % against 16 % and 6.7 %: which probes one gets matters more
# than the intervals over words say. That Matryoshka absorbs less is *not* borne out. And with cosines of
# 0.56 and 0.37 many "main latents" are no letter's latent: what was never there has no holes.
#
# On the tree of 3.1.6 (four parents, three children each, all orthogonal) the truth is known. Two SAEs of
# equal width, with $k = 1$ on average: a plain one, and a Matryoshka one whose first four latents must do
# alone, too.

# %% tags=["demo"]
if __name__ == "__main__":
    seeds = range(4 if big else 1)
    for name, nested in (("plain", False), ("Matryoshka", True)):
        trees = [families.tree_absorption(nested, seed, f1_scores, absorbed) for seed in seeds]
        print(f"{name:10} absorbed {steering.told(100 * torch.cat(trees), gen)} % (16 parents)")

# %% [markdown]
# Absorbed are 26 % [22, 30] of the rows with a child in the plain SAE, 8 % [2, 17] in the Matryoshka SAE
# (as Bussmann et al. 2025 meant it; parents are taken as independent). At $k = 2$ both absorb 0 to 6 %.
#
# **Hedging.** Absorption needs two latents. With *too few* latents something else happens: one latent
# must serve correlated features, and its decoder row becomes a mixture (Chanin et al. 2025).

# %% [markdown] tags=["task"]
# One latent has the activations `f` on the data `x`. Return the decoder row that minimises $\sum_t \lVert
# x_t - f_t\, w \rVert^2$. Not all of `f` is 0.


# %% tags=["exercise"] exercise="3.2.4.d3" title="What one latent must write" difficulty=2 importance=3 minutes=6 skill="least squares"
def best_row(
    x: Float[Tensor, "item d_model"], f: Float[Tensor, " item"]
) -> Float[Tensor, " d_model"]:
    """The minimiser of the summed squared error of f w."""
    return f @ x / (f @ f)


# %% [markdown] tags=["hint"]
# Set the derivative with respect to $w$ to zero. Each dimension of $w$ is its own problem.

# %% [markdown] tags=["hint"]
# $w = \sum_t f_t x_t \big/ \sum_t f_t^2$.

# %% tags=["demo"]
if __name__ == "__main__":
    z, x_tree, W_tree = families.tree(20_000, 0)
    coder = families.tree_sae(x_tree, nested=False, seed=0, latent=4)
    trained = coder.params["W_dec"].detach() @ W_tree.T
    trained = trained / trained.norm(dim=1, keepdim=True)
    best = int(trained[:, 0].argmax())
    ideal = best_row(x_tree, z[:, 0]) @ W_tree.T
    print("cosines with a parent and its three children, with 4 latents for 16 features:")
    for name, row in (("trained", trained[best]), ("least squares", ideal / ideal.norm())):
        print(f"   {name:14} {[round(float(row[i]), 2) for i in (0, 4, 5, 6)]}")

# %% [markdown]
# The row is the parent plus a quarter of each child, as least squares says: the children come with the
# parent. No sparsity is needed for that.
#
# ## 5 · Taking latents apart
#
# Bussmann et al. (2024) trained a **meta-SAE**: an SAE whose data are the *decoder rows* of another SAE.
# Rows that are sums of a few common directions (a scientist, German, famous) can then be taken apart. But
# any set of vectors can be compressed a little. The controls: as many random directions, and normal
# vectors with the rows' covariance.

# %% [markdown] tags=["task"]
# Half as many meta-latents as dimensions, four of them active per row. Compare the variance that a
# meta-SAE explains for decoder rows with that for normal vectors of the *same covariance*, in training.

# %% tags=["predict"] exercise="3.2.4.P6" title="Is there anything to take apart?" difficulty=3 importance=4 minutes=2 skill="the right control" choices=["at least twice as much", "1.2 to 2 times as much", "less than 1.2 times as much"]
predict_meta = "less than 1.2 times as much"

# %% tags=["demo"] reveals=["predict_meta"]
if __name__ == "__main__":
    controls = {
        "decoder rows": W_dec,
        "random directions": random_as_long(W_dec[0], len(W_dec), gen),
        "the rows' covariance": families.normal_like(W_dec, gen),
    }
    for name, vectors in controls.items():
        order = torch.randperm(len(vectors), generator=gen)
        inside, outside = families.meta_variance(vectors[order], int(0.8 * len(vectors)))
        print(f"{name:20} explained: {inside:.3f} in training, {outside:.3f} on other rows")

# %% [markdown]
# The meta-SAE explains 24 % of the decoder rows and 17 % of random directions, and one could stop there
# and publish. But vectors with nothing but the rows' *covariance* reach 23 %, too. The rows lie in some
# directions more than in others; that they are sums of a few common parts does not follow, at this size.
#
# ## 6 · Which sets of words does it write?
#
# A list of eight top tokens invites stories (3.2.2). Bloom and Lin (2024) turned the question round: take
# a *set* of tokens that was fixed before, for example all that begin with a capital, and ask whether the
# set is shifted in the order of the logit weights. Walk down the order. At a member go up by one over the
# number of members; at any other token go down by one over the number of others. The walk ends at 0. Its
# farthest point from 0 is the **enrichment score**.

# %% [markdown] tags=["task"]
# Return that score: of all points of the walk the one with the largest distance from 0, with its sign (if
# both signs reach the same distance, the positive one). Largest weight first; of equal weights the lower
# token id first. Use float64. There are members and others.


# %% tags=["exercise"] exercise="3.2.4.f1" title="A walk down the vocabulary" difficulty=2 importance=3 minutes=10 skill="running sums"
def enrichment_score(weights: Float[Tensor, " vocab"], members: Bool[Tensor, " vocab"]) -> float:
    """Farthest point from 0 of the running sum +1/n_members, -1/n_others, largest weight first."""
    order = weights.sort(descending=True, stable=True).indices
    inside = members[order].double()
    walk = (inside / inside.sum() - (1 - inside) / (1 - inside).sum()).cumsum(dim=0)
    high, low = float(walk.max()), float(walk.min())
    return high if high >= -low - 1e-12 else low


# %% [markdown] tags=["hint"]
# A vector of steps in the order of the weights, and its cumulative sum.

# %% [markdown] tags=["hint"]
# Sort descending and `stable=True`. Compare the maximum with minus the minimum.

# %% [markdown] tags=["task"]
# At block 10, take the median size of the enrichment score of words that end in *ing*, over 60 latents.
# For *random sets* of as many tokens it is about 0.02. And for the same set, with 60 **random
# directions** in place of the latents?

# %% tags=["predict"] exercise="3.2.4.P7" title="Which control?" difficulty=3 importance=5 minutes=2 skill="two controls" choices=["near that of random sets", "in between", "near that of the latents"]
predict_which_control = "near that of the latents"

# %% tags=["demo"] reveals=["predict_which_control"]
if __name__ == "__main__":
    texts = [tokenizer.decode([i]) for i in range(W_U.shape[1])]

    def sizes(vectors: Tensor, members: Tensor) -> Tensor:
        """Sizes of the enrichment scores, one per direction."""
        return explaining.enrichment_sizes(vectors, members, gain, W_U, enrichment_score)

    drawn = torch.randperm(sae.n_latents, generator=gen)[:60]
    vectors, random = W_write[drawn], random_as_long(W_write[0], 60, gen)
    endings = ("ing", "ed") if big else ("s", "ed")
    for ending in endings:
        members = torch.tensor([text.strip().endswith(ending) for text in texts])
        other = members[torch.randperm(len(members), generator=gen)]
        trio = ((vectors, members), (vectors, other), (random, members))
        told = [float(sizes(*pair).median()) for pair in trio]
        print(f"{int(members.sum())} tokens end in {ending!r}: median size {told[0]:.3f};", end=" ")
        print(f"random sets {told[1]:.3f}, random directions {told[2]:.3f}")
    late = load_sae(ARTIFACTS / "tiny_story_4l" / "residual_3_384").sae.W_dec.detach()
    gain, W_U, _, _ = final_read_out(story.model)
    late = late - late.mean(dim=1, keepdim=True)
    random = random_as_long(late[0], len(late), gen)
    print("the story model, after its last block: latents beyond all random directions")
    sets = {"names": lexicon.NAMES, "places": lexicon.ALL_PLACES, "things": lexicon.ALL_THINGS}
    for name, chosen in sets.items():
        members = torch.tensor([word in chosen for word in lexicon.VOCABULARY])
        most = sizes(random, members).max()
        above = sizes(late, members) > most
        print(f"   {name}: {int(above.sum())} of {len(late)} (by chance about 1)")

# %% [markdown]
# Against random sets (0.018) the latents look enriched (0.080); against random directions (0.062) little
# is left, and in another draw nothing. Words in *-ing* lie together in the unembedding, so *every*
# direction prefers or avoids them together. At block 10 of 30 the median shows no latents that write such
# a set. The score can find some: after the story model's last block 11 latents for names and 18 for places
# lie beyond all of 384 random directions.
#
# ## 7 · Asking the model itself
#
# Put the latent's direction where the model has a placeholder, and ask what the word means. (SelfIE, Chen
# et al. 2024; for SAE latents Kharlapenko et al. 2024, who found that the scale matters much.)

# %% [markdown] tags=["task"]
# Return the residual stream in which each token of `where` is *replaced* by the direction of `w`, with
# `scale` times the norm of what was there. Everything else stays.


# %% tags=["exercise"] exercise="3.2.4.g1" title="In place of a word" difficulty=1 importance=3 minutes=6 skill="replacing"
def put_in(
    resid: Float[Tensor, "row pos d_model"],
    w: Float[Tensor, " d_model"],
    where: Bool[Tensor, "row pos"],
    scale: float,
) -> Float[Tensor, "row pos d_model"]:
    """resid with scale · |resid| · w / |w| at the tokens of `where`."""
    new = scale * resid.norm(dim=-1, keepdim=True) * w / w.norm()
    return torch.where(where[..., None], new, resid)


# %% [markdown] tags=["hint"]
# Each token has its own norm. Nothing of the old vector is left but that.

# %% [markdown] tags=["hint"]
# `torch.where(where[..., None], new, resid)`.

# %% tags=["demo"]
if __name__ == "__main__":
    prompt, spot = steering.question(loaded, ids[:1, :12])

    def asked(w: Tensor, scale: float) -> steering.Push:
        """Put the direction of w in place of every X; later tokens stay."""
        return lambda v, where: put_in(v, w, spot, scale) if v.shape[1] > 1 else v

    scales = (0.5, 1.0, 2.0, 4.0)
    some = busy[torch.randperm(len(busy), generator=gen)[:30]]
    both = torch.stack([W_dec[some], random_as_long(W_dec[0], len(some), gen)])
    by_scale = [partial(asked, scale=scale) for scale in scales]
    gained = steering.ask_latents(
        loaded, sae.hook_out, data, prompt, both, some.tolist(), by_scale, output_score
    )
    for scale, (latents, random) in zip(scales, gained, strict=True):
        print(f"scale {scale}: latents {steering.told(latents, gen)} nats,", end=" ")
        print(f"random directions {steering.told(random, gen)}")
    for name, w in {f"latent {latent}": W_dec[latent], "random": both[1, 0]}.items():
        answer = steering.write(loaded, sae.hook_out, prompt, 10, None, [asked(w, 2.0)])[1, 0]
        print(f"{name}, scale 2: {tokenizer.decode(answer[prompt.shape[1] :])!r}")

# %% [markdown]
# What 30 latents read gains 0.2 to 0.3 nats up to scale 2, random directions lose 0.1; 0 is in every
# interval. (Three other draws of 30 gave 0.3, with 0 in it, 0.4 and 0.5.) Latent 602 answers *the most*,
# which is right. But random directions answer as fluently and as surely: believe no answer before its control.
#
# ## What you should be able to do now
#
# - Push a latent three ways, and compare with a random direction and a difference of means at equal cost.
# - Score an explanation so that one answer for all gets 0.5, with an interval and held-out text.
# - Say what a control is a control for, and choose the harder one.
# - Follow a latent to other widths and seeds, and measure what a map keeps.
# - Tell absorption from a latent that is merely bad, and hedging from both.
#
# ## Open questions
#
# 1. Would a difference of means still win if it had to be found without the latent's own activations?
# 2. Which score would tell an SAE that found features from directions that nobody trained?
# 3. How would you tell a hole in a letter's latent from a latent that was never the letter's?
