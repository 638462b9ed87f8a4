# %% [markdown]
# # 3.2.9 Four case studies
#
# Four models, four SAEs, each trained here in seconds to minutes. Three of the models are small, and we
# know the truth about their data: a grammar, a rule of copying, the rules of a game. So for once one can
# ask not "does this latent look clear?" but "is it right, and compared with what?". The fourth is a
# language model, where there is no such truth.
#
# ## Questions
#
# 1. How well does the best latent for a label know it, if it was chosen on other text?
# 2. What does a control share with the thing that it is a control for?
# 3. When many latents do one job, what happens if all of them are taken away?
# 4. What do hundreds of times more tokens buy?
# 5. Can one read a board off the latents, and turn a disc with them?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | precision | of the tokens where a latent is active, the share that has the label |
# | recall | of the tokens that have the label, the share where the latent is active |
# | $F_1$ | $2 \cdot \text{both} / (\text{active} + \text{labelled})$: 1 only if both are 1 |
# | random SAE | fresh random directions, the same $k$: what an SAE gives without training |
# | state | one of a square's three: empty, mine (of the player to move), theirs |
#
# Cases 1, 2 and 4 are about the course's own small models under every profile, since their truth is
# known. Case 3 follows the profile; its numbers in the text are those of SmolLM2-135M.

# %% tags=["setup"]
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from part32_interp_with_saes.s1_saes_on_a_language_model import kl_per_row, loss_per_row
from part32_interp_with_saes.s2_a_dashboard_piece_by_piece import share_of_favourite
from utils.data.corpus import counted
from utils.given import case_studies as cases
from utils.given import othello_boards as boards
from utils.given.in_model import measure, sample_rows
from utils.given.steering import interval
from utils.models import (
    attention_only_model,
    language_model,
    othello_model,
    residual_sae,
    story_model,
)
from utils.models.profiles import describe
from utils.plots import case_studies as plots
from utils.saes.coder import encode, reconstruct

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import display

    gen = torch.Generator().manual_seed(0)
    loaded, sae = language_model(), residual_sae()
    print(describe(loaded, [sae]))

    def told(values: Tensor, digits: int = 2) -> str:
        """The mean and its interval (bootstrap, 95 %)."""
        mean, low, high = interval(values, gen)
        return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


# %% [markdown]
# ## 1 · Stories: what does an MLP write?
#
# A model of one layer tells stories of a grammar. Of every word we know its role (a name, a place, the
# first person's act, …) and facts about its story. We train an SAE on what the MLP writes, and compare
# each latent with each label.

# %% [markdown] tags=["task"]
# Return precision and recall of every latent for every label: `fires[t, l]` says that latent $l$ is
# active at token $t$, `has[t, p]` that the token has label $p$. A latent that is never active has
# precision 0, a label that no token has gives recall 0. Both results are float32.


# %% tags=["exercise"] exercise="3.2.9.a1" title="A table of two shares" difficulty=1 importance=4 minutes=7 skill="counting with a product"
def precision_recall(
    fires: Bool[Tensor, "token latent"], has: Bool[Tensor, "token predicate"]
) -> tuple[Float[Tensor, "latent predicate"], Float[Tensor, "latent predicate"]]:
    """(both / active, both / labelled) for every latent and label; 0 where nothing is counted."""
    both = fires.float().T @ has.float()
    active, labelled = fires.sum(dim=0), has.sum(dim=0)
    return both / active.clamp(min=1)[:, None], both / labelled.clamp(min=1)


# %% [markdown] tags=["hint"]
# As floats, a product of two matrices counts the tokens on which both are true.

# %% [markdown] tags=["hint"]
# Precision is divided by a number per latent (a row of the table), recall by one per label (a column).
# Where that number is 0, so is the count: divide by 1.

# %% [markdown]
# With 512 latents some latent fits any label a little. The best of many is chosen *because* its score
# is high, luck included. So choose on one half of the text, and score on the other.

# %% [markdown] tags=["task"]
# For every label, choose the latent with the highest $F_1$ over the tokens where `first` is true (ties:
# the lowest number), and return these latents, and their $F_1$ over the *other* tokens (float32). Where
# neither latent nor label occurs among those, $F_1$ is 0.


# %% tags=["exercise"] exercise="3.2.9.a2" title="Choose here, score there" difficulty=2 importance=5 minutes=10 skill="a score that was not chosen"
def best_then_scored(
    fires: Bool[Tensor, "token latent"],
    has: Bool[Tensor, "token predicate"],
    first: Bool[Tensor, " token"],
) -> tuple[Int[Tensor, " predicate"], Float[Tensor, " predicate"]]:
    """(argmax over latents of F1 where `first`, F1 of that latent elsewhere), per label."""

    def f1(part: Bool[Tensor, " token"]) -> Float[Tensor, "latent predicate"]:
        on, is_so = fires[part].float(), has[part].float()
        total = on.sum(dim=0)[:, None] + is_so.sum(dim=0)
        return 2 * (on.T @ is_so) / total.clamp(min=1)

    chosen = f1(first).argmax(dim=0)
    return chosen, f1(~first)[chosen, torch.arange(has.shape[1], device=has.device)]


# %% [markdown] tags=["hint"]
# Write $F_1$ as a function of the tokens that count, and call it twice.

# %% [markdown] tags=["hint"]
# `argmax(dim=0)` goes over latents. The second table is read at (chosen latent, label): two lists of
# indices.

# %% [markdown]
# **A control: labels moved within their row.** It breaks the link between a latent and the *place* of a
# label, and keeps how often each label occurs in each row.

# %% [markdown] tags=["task"]
# Return the labels in a random order of positions, another one for each row; the labels of a token stay
# together. Draw once: `torch.rand(rows, positions, generator=gen)` (on the generator's device). Position
# $i$ of a row gets the labels of the position with the $i$-th smallest number of that row.


# %% tags=["exercise"] exercise="3.2.9.a3" title="Moved within the row" difficulty=2 importance=4 minutes=8 skill="what a permutation keeps"
def moved_in_rows(
    has: Bool[Tensor, "row pos predicate"], gen: torch.Generator
) -> Bool[Tensor, "row pos predicate"]:
    """Each row's positions in an order of its own, all labels of a token together."""
    order = torch.rand(has.shape[:2], generator=gen, device=gen.device).argsort(dim=1)
    return has.gather(1, order[..., None].expand_as(has))


# %% [markdown] tags=["hint"]
# `argsort` along positions gives an order for each row.

# %% [markdown] tags=["hint"]
# `gather(1, index)` wants an index of the result's shape: the same for all labels, so `expand`.

# %% [markdown] tags=["task"]
# Some labels hold for a whole story: who its first person is. Which part of its $F_1$ does such a label
# keep if labels are moved within rows? (The mean over all names; latents are chosen again.)


# %% tags=["predict"] exercise="3.2.9.P1" title="A label that is everywhere" difficulty=3 importance=4 minutes=2 skill="what a control keeps" choices=["less than half", "half or more"]
predict_moved = "half or more"

# %% [markdown] tags=["task"]
# And a random SAE: for the *roles* of words, what part of the trained SAE's mean $F_1$ does it reach?


# %% tags=["predict"] exercise="3.2.9.P2" title="Without training" difficulty=2 importance=4 minutes=2 skill="a random control" choices=["less than a quarter", "a quarter to a half", "half or more"]
predict_untrained = "half or more"

# %% tags=["demo"] reveals=["predict_moved", "predict_untrained"]
if __name__ == "__main__":
    story = story_model("tiny")
    hook, n_pos = story.hook("mlp_out", 0), int(story.model.cfg.n_ctx)
    x = cases.site_rows(story, cases.stories(600, n_pos, seed=0).tokens, hook)[:, 1:]
    coder = cases.short_run(x.flatten(0, 1), 512, 12, 800, seed=0)
    labelled = cases.stories(300, n_pos, seed=1)
    has, roles, first_names = cases.story_labels(labelled)
    x = cases.site_rows(story, labelled.tokens, hook)[:, 1:]
    print(f"explained on other stories: {cases.explained(coder, x.flatten(0, 1)):.3f}")
    shuffled = cases.random_run(coder, x.flatten(0, 1), seed=0)
    neurons = cases.site_rows(story, labelled.tokens, story.hook("mlp_post", 0))[:, 1:]
    first = torch.arange(len(has) * has.shape[1]) < len(has) * has.shape[1] // 2
    flat, moved = has.flatten(0, 1), moved_in_rows(has, gen).flatten(0, 1)
    latents = encode(coder, x).flatten(0, 1) > 0
    rivals = {
        "latents": (latents, flat),
        "random SAE": (encode(shuffled, x).flatten(0, 1) > 0, flat),
        "neurons, as sparse": (cases.strongest_share(neurons.flatten(0, 1), 12 / 512), flat),
        "latents, labels moved": (latents, moved),
    }
    scores = {name: best_then_scored(*pair, first)[1] for name, pair in rivals.items()}
    n_roles = len(roles)
    for name, values in scores.items():
        print(f"{name:22} F1 of {n_roles} roles {told(values[:n_roles])}", end=", ")
        print(f"of {len(first_names)} first names {told(values[n_roles:])}")
    gap = scores["latents"][:n_roles] - scores["random SAE"][:n_roles]
    print(f"roles, latents minus random SAE: {told(gap)}")
    chosen = best_then_scored(latents, flat, first)[0]
    precision, recall = precision_recall(latents[~first], flat[~first])
    for p in scores["latents"][:n_roles].argsort(descending=True)[:4].tolist():
        pair = float(precision[chosen[p], p]), float(recall[chosen[p], p])
        print(f"   {roles[p]:8} latent {int(chosen[p])}:", end=" ")
        print(f"precision {pair[0]:.2f}, recall {pair[1]:.2f}")
    display(plots.scores_by_label(roles, {n: v[:n_roles] for n, v in scores.items()}))

# %% [markdown]
# (S gives something to R; A, B, X and Y are people, too; "pro" is he or she, "be1" is *is* or *was*.)
# For roles the trained SAE has a mean $F_1$ of 0.61, and a random one has 0.50, four fifths of that.
# What the MLP writes is alike where the role is, even for names, which fit six roles: any direction
# near it does. What training adds is 0.10 [0.07, 0.15], over 19 roles. (For two seeds that were fixed
# beforehand it is 0.07 [0.02, 0.13] and 0.12 [0.07, 0.16]: there, but small, and it differs from run to
# run.) Neurons made as sparse have 0.54, and for S and "look" the best of them is far better than any
# latent. An interval above 0 against *moved labels*, 0.03, would have told us nothing of that: a weak
# control is easy to beat.
#
# The first name shows the opposite. Moved labels keep four fifths of the score, 0.20 of 0.25. That is
# no failure of the latents, which have almost three times the random SAE's 0.09: they know *which story*
# it is, not where in it. Moving breaks only what differs between the stories of a row, about two. For
# such a label one must move labels between rows.
#
# ## 2 · Attention alone: the latents of induction
#
# A model of two layers without MLPs has seen stories, and random words that repeat. It does induction:
# where a word has been before, it looks at what came after it. We train an SAE on $z$ of its second
# layer, and need the rule first.

# %% [markdown] tags=["task"]
# For every position $i$, find the *latest* earlier position $j < i$ with the same token, and return the
# token at $j + 1$; −1 where there is none. (The last position is treated like the others. If
# $j = i - 1$, the token at $j + 1$ is the one at $i$.)


# %% tags=["exercise"] exercise="3.2.9.b1" title="What induction would say" difficulty=2 importance=4 minutes=10 skill="a rule as a mask"
def induction_targets(ids: Int[Tensor, "row pos"]) -> Int[Tensor, "row pos"]:
    """The token behind the latest earlier occurrence of each token; -1 where there is none."""
    i = torch.arange(ids.shape[1], device=ids.device)
    same = (ids[:, :, None] == ids[:, None, :]) & (i[None, :] < i[:, None])
    latest = torch.where(same, i, -1).amax(dim=2)
    behind = ids.gather(1, (latest + 1).clamp(max=ids.shape[1] - 1))
    return torch.where(latest >= 0, behind, -1)


# %% [markdown] tags=["hint"]
# `ids[:, :, None] == ids[:, None, :]` compares all pairs. Which of them are earlier?

# %% [markdown] tags=["hint"]
# Write the position $j$ where the mask is true and −1 elsewhere; the largest one is the latest. Then
# `gather` at one further.

# %% [markdown]
# A token is **repeated** if the rule is right: the next token is the one it names. In our text that
# holds for about half of the tokens. A latent of induction is one that is active on such tokens, and on
# few others: by its *precision*. It will not have a high recall, if each of them serves some words only.
#
# Taking away latents costs something, whatever they do, and frequent ones cost more. So the control is
# other latents *of equal frequency*.

# %% [markdown] tags=["task"]
# For each latent of `chosen`, in order, return another one of the nearest density: the smallest
# $|d_l - d_c|$ among latents that are neither in `chosen` nor taken already (ties: the lowest number).
# There are enough latents.


# %% tags=["exercise"] exercise="3.2.9.b2" title="As frequent, but not chosen" difficulty=2 importance=4 minutes=9 skill="a matched control"
def like_density(
    density: Float[Tensor, " latent"], chosen: Int[Tensor, " chosen"]
) -> Int[Tensor, " chosen"]:
    """For each chosen latent the free one of nearest density, none twice and none of the chosen."""
    free = torch.ones_like(density, dtype=torch.bool)
    free[chosen] = False
    found = []
    for d in density[chosen]:
        away = torch.where(free, (density - d).abs(), torch.inf)
        found.append(int(away.argmin()))
        free[found[-1]] = False
    return torch.tensor(found, dtype=torch.int64, device=density.device)


# %% [markdown] tags=["hint"]
# Keep a mask of the latents that are still free. All of `chosen` are taken before you begin.

# %% [markdown] tags=["hint"]
# Where a latent is not free, its distance is infinite; then `argmin`.

# %% [markdown] tags=["task"]
# `rise` has what an intervention adds to the loss of each prediction. Return for each row: the mean rise
# where `repeated`, minus the mean rise elsewhere, both only over the predictions where `keep` is true.
# Rows that lack one of the two kinds are left out.


# %% tags=["exercise"] exercise="3.2.9.b3" title="Here against there" difficulty=2 importance=4 minutes=8 skill="a difference of differences"
def rise_contrast(
    rise: Float[Tensor, "row pos"],
    repeated: Bool[Tensor, "row pos"],
    keep: Bool[Tensor, "row pos"],
) -> Float[Tensor, " item"]:
    """Per row, mean of rise over repeated & keep less that over keep without repeated."""
    here, there = repeated & keep, ~repeated & keep
    both = here.any(dim=1) & there.any(dim=1)
    means = [(rise * m).sum(dim=1)[both] / m.sum(dim=1)[both] for m in (here, there)]
    return means[0] - means[1]


# %% [markdown] tags=["hint"]
# Two masks; a row counts if both have something in it.

# %% [markdown] tags=["hint"]
# A mean over a mask is a sum over the mask divided by its count: `(rise * m).sum(1) / m.sum(1)`. A loss
# is finite, so multiplying is safe.

# %% [markdown] tags=["task"]
# We remove all latents with a precision of at least 0.7 that are active on less than a fifth of the
# tokens. On nearly every repeated token one of them is active. Removing *all* of $z$ costs repeated
# tokens several nats. What part of that does removing these latents cost?


# %% tags=["predict"] exercise="3.2.9.P3" title="Take the family away" difficulty=3 importance=4 minutes=2 skill="many hands" choices=["less than a fifth", "a fifth to a half", "more than half"]
predict_family = "less than a fifth"

# %% tags=["demo"] reveals=["predict_family"]
if __name__ == "__main__":
    induction = attention_only_model("tiny")
    hook = induction.hook("z", 1)
    texts = [cases.repeating_text(induction, n, seed) for n, seed in ((600, 0), (200, 1), (200, 2))]
    x, x_choose, x_score = (cases.site_rows(induction, ids, hook) for ids in texts)
    coder = cases.short_run(x[:, 1:].flatten(0, 1), 256, 8, 800, seed=0)
    print(f"explained on other text: {cases.explained(coder, x_score[:, 1:].flatten(0, 1)):.2f}")
    right = [induction_targets(ids)[:, 1:-1] == ids[:, 2:] for ids in texts]
    active = [encode(coder, v)[:, 1:-1] > 0 for v in (x_choose, x_score)]
    precision, recall = precision_recall(active[0].flatten(0, 1), right[1].flatten()[:, None])
    density = active[0].float().mean(dim=(0, 1))
    family = ((precision[:, 0] >= 0.7) & (density < 0.2) & (density > 0.001)).nonzero()[:, 0]
    any_on = active[1][..., family].any(dim=-1)
    on, off = (float(any_on[m].float().mean()) for m in (right[2], ~right[2]))
    print(f"{len(family)} latents; the best recall of one is {float(recall[family].max()):.2f};")
    print(f"at least one is on at {on:.0%} of other repeated tokens, {off:.0%} of the rest")
    clean = cases.loss_with(induction, texts[2])[:, 1:]
    keep = torch.ones_like(right[2])
    sets = {"family": family, "as frequent": like_density(density, family)}
    every = torch.arange(len(density))
    sets |= {"all others": every[~torch.isin(every, family)], "all latents": every}
    cuts = {name: cases.without(coder, x_score, chosen) for name, chosen in sets.items()}
    mean = x_score[:, 1:].mean(dim=(0, 1)).expand_as(x_score[:, 1:])
    cuts["z by its mean"] = torch.cat([x_score[:, :1], mean], dim=1)
    cuts["all of z"] = cases.without(coder, x_score, None)
    effects = {}
    for name, cut in cuts.items():
        rise = cases.loss_with(induction, texts[2], [(hook, cut)])[:, 1:] - clean
        contrast = rise_contrast(rise, right[2], keep)
        effects[name] = (float(rise[right[2]].mean()), float(rise[~right[2]].mean()))
        print(f"{name:13} repeated {effects[name][0]:+.2f}, others {effects[name][1]:+.2f}", end="")
        print(f" nats; row by row {told(contrast)} ({len(contrast)} rows)")
    print(f"the family's part of all of z: {effects['family'][0] / effects['all of z'][0]:.0%}")
    display(plots.here_and_there(effects))

# %% [markdown]
# The family has 75 latents, none with a recall over 0.17: each serves a few words. Without them the loss
# rises by 0.57 nats on repeated tokens and by 0.05 on the others. Without as many latents *of equal
# frequency*: 0.22 and 0.55, and row by row no difference, 0.02 [-0.03, 0.08]. So the family does what
# its precision says. Had both sets cost alike, we would have had a list of frequent latents.
#
# But it is 8 % of what all of $z$ does for repeated tokens. Who does the rest? Not simply the others:
# without *all others* repeated tokens lose 0.70 nats. Each side is nearly enough without the other, and
# a loss notices only when both go: without all latents it is 2.31. And even that is a third of 6.84. What
# is left then is the SAE's bias, the same for all tokens, and its *error*, with 12 % of the variance. With
# only the mean of $z$ left it is 5.74: so half of what $z$ does for repeated tokens gets through in the
# error alone. An SAE that explains 0.88 may miss most of what a layer does in the one task that one asks
# about; and to be active where something is done is not to be the one who does it.
#
# One more thing to see: the contrast is a mean over rows, and rows of stories repeat little. So it is
# smaller, 0.36, than the difference of the two pooled numbers. Both are right; say which one you report.
#
# ## 3 · A language model: what do more tokens buy?
#
# The course's SAE for SmolLM2 has seen 3.7 million tokens. We train one of the same size and the same
# $k$ on 14,486, and on half, a quarter, an eighth of them. What is left unexplained often falls
# like a power of the number of tokens, $u = c\, n^{-\alpha}$: a straight line if both axes are
# logarithmic. Then one could say beforehand what a long run will bring.

# %% [markdown] tags=["task"]
# Fit $\log u = \log c - \alpha \log n$ by least squares (float64) to runs with `tokens[i]` tokens that
# left `left[i]` unexplained, and return what it promises for `more` tokens. Not all `tokens` are equal.


# %% tags=["exercise"] exercise="3.2.9.c1" title="A promise" difficulty=2 importance=4 minutes=8 skill="extrapolation"
def power_law_at(tokens: Int[Tensor, " item"], left: Float[Tensor, " item"], more: int) -> float:
    """exp of the least-squares line of log left over log tokens, at log more."""
    n, u = tokens.double().log(), left.double().log()
    slope = ((n - n.mean()) * (u - u.mean())).sum() / (n - n.mean()).square().sum()
    at = torch.tensor(float(more), dtype=torch.float64).log()
    return float((u.mean() + slope * (at - n.mean())).exp())


# %% [markdown] tags=["hint"]
# Take logarithms of both, and fit a line. It goes through the two means.

# %% [markdown] tags=["hint"]
# Its slope is covariance over variance. The promise is $e$ to the power of the line at $\log n$.

# %% [markdown]
# **The same latents?** Two SAEs may name their latents differently and find the same ones. Their
# decoders live in one space, but also their *activations*: two latents are alike if they are active on
# the same tokens. That needs no common space, and it works between models.

# %% [markdown] tags=["task"]
# Return for each pair of latents of two SAEs on the same tokens: tokens with both active, divided by
# tokens with at least one active (the Jaccard index), in float32. Two silent latents have 0.


# %% tags=["exercise"] exercise="3.2.9.c2" title="Active together" difficulty=2 importance=4 minutes=7 skill="sets by products"
def jaccard_table(
    a: Bool[Tensor, "token latent"], b: Bool[Tensor, "token m"]
) -> Float[Tensor, "latent m"]:
    """Tokens in both over tokens in either, for each latent of a and each of b."""
    both = a.float().T @ b.float()
    either = a.sum(dim=0)[:, None] + b.sum(dim=0) - both
    return both / either.clamp(min=1)


# %% [markdown] tags=["hint"]
# $|A \cup B| = |A| + |B| - |A \cap B|$.

# %% [markdown] tags=["hint"]
# The intersection is a product of matrices, as in a1.

# %% [markdown] tags=["task"]
# We fit the law to our four runs and ask what it promises for the shipped SAE's 3.7 million tokens. What
# does that one really leave unexplained, on the same held-out rows?


# %% tags=["predict"] exercise="3.2.9.P4" title="Far beyond the data" difficulty=3 importance=4 minutes=2 skill="extrapolation" choices=["less than 2/3 of the promise", "2/3 to 3/2 of it", "more than 3/2 of it"]
predict_law = "more than 3/2 of it"

# %% tags=["demo"] reveals=["predict_law"]
if __name__ == "__main__":
    rows = sample_rows(loaded, 160, seed=0)
    x, mask = cases.site_rows(loaded, rows.ids, sae.hook_in, 16), counted(rows.mask)
    mask[120:] &= ~torch.isin(rows.document[120:], rows.document[:120])[:, None]
    x_train, x_held = x[:120][mask[:120]], x[120:][mask[120:]]  # no document in both
    f_shipped = sae.encode(x_held)
    k = max(1, round(float((f_shipped > 0).float().sum(dim=1).mean())))
    tokens = torch.tensor([len(x_train) // part for part in (8, 4, 2, 1)])
    runs = [
        cases.short_run(x_train[:n], sae.n_latents, k, 2 * n // 256 or 1, 0, lr=1e-3, batch=256)
        for n in tokens.tolist()
    ]
    left = torch.tensor([1 - cases.explained(one, x_held) for one in runs])
    short, spread = runs[-1], (x_held - x_held.mean(dim=0)).square().sum()
    shipped = float((sae.decode(f_shipped, x_held) - x_held).square().sum() / spread)
    promise = power_law_at(tokens, left, 3_680_418)
    print(f"measured on {len(x_held):,} tokens of other documents")
    for n, u in zip(tokens.tolist(), left.tolist(), strict=True):
        print(f"{n:9,} tokens, twice: unexplained {u:.3f}")
    print(f"3,680,418 tokens, twice: promised {promise:.3f}, found {shipped:.3f}")
    display(plots.law(tokens.tolist(), left.tolist(), promise, shipped, 3_680_418))

# %% tags=["demo"]
if __name__ == "__main__":
    f_short = encode(short, x_held)
    for name, f in (("short", f_short), ("shipped", f_shipped)):
        times = (f > 0).sum(dim=0)
        common = (times >= 20).nonzero()[:, 0]
        ids = rows.ids[120:][mask[120:]]
        half = len(f) // 2
        shares = []
        for number in common[torch.randperm(len(common), generator=gen)[:150]].tolist():
            one, two = f[:half, number], f[half:, number]
            if int((one > 0).sum()) >= 8 and int((two > 0).sum()) >= 8:
                top = ids[:half][one.topk(8).indices]
                shares.append(share_of_favourite(top, ids[half:][two > 0]))
        print(f"{name:8} {int((times == 0).sum())} of {len(times)} latents silent;", end=" ")
        print(f"favourite token's share {told(torch.tensor(shares))} ({len(shares)} latents)")
    few = sample_rows(loaded, 12, seed=1)
    answers = {
        "short": lambda v: reconstruct(short, v),
        "shipped": lambda v: sae.decode(sae.encode(v), v),
        "zeros": torch.zeros_like,
    }
    costs = measure(
        loaded.model, few.ids, counted(few.mask), sae.hook_in, answers, loss_per_row, kl_per_row
    )
    per_row = {name: cost.loss / cost.count for name, cost in costs.items()}
    for name in ("short", "shipped"):
        back = (per_row["zeros"] - per_row[name]) / (per_row["zeros"] - per_row["clean"])
        print(f"{name:8} loss recovered {told(back, 3)} ({len(back)} rows)")
    often = [((f > 0).sum(dim=0) >= 20).nonzero()[:, 0] for f in (f_short, f_shipped)]
    table = jaccard_table(f_short[:, often[0]] > 0, f_shipped[:, often[1]] > 0)
    control = jaccard_table(
        f_short[torch.randperm(len(f_short), generator=gen)][:, often[0]] > 0,
        f_shipped[:, often[1]] > 0,
    )
    for name, one in (("partner", table), ("tokens shuffled", control)):
        best = one.max(dim=1).values
        print(f"{name:16} best Jaccard index of {len(best)} latents {told(best)},", end=" ")
        print(f"at least 1/2: {float((best >= 0.5).float().mean()):.0%}")

# %% [markdown]
# In the range of our runs the law fits well. It promises that the shipped SAE leaves 0.046, and that one
# leaves 0.169, more than three times as much. A line on two logarithmic axes describes its points. It
# bends where something else runs out: 4,608 latents, 40 of which may be active, cannot explain
# everything, with whatever number of tokens. (The texts differ, too: the model wrote all of ours, the
# shipped SAE had to serve more.) Runs in between would show where it bends.
#
# What do 250 times more tokens buy, then? Loss recovered goes from 0.88 [0.85, 0.91] to 0.97 [0.97,
# 0.98], and the latents that are silent on 4,260 held-out tokens from 1,917 to 916. The short SAE's
# latents may be more about single tokens: their favourite has 0.29 [0.23, 0.36] of the other half's
# activations, against 0.21 [0.16, 0.26]. The intervals overlap, so that is a hint and no finding. And
# 31 % of the short SAE's 1,799 frequent latents have a partner in the shipped one (index at least ½);
# with shuffled tokens, none. The mean best index is 0.41: most of the others are near, and not the
# same. A minute of training has found a third of what it found for good.
#
# ## 4 · Othello: reading the board
#
# A model was told moves of Othello games, and nothing else. Li et al. (2023) found the board inside such
# a model; Nanda et al. (2023) found that it is linear, if one asks not for black and white but for
# *mine* and *theirs*. Karvonen et al. (2024) asked whether SAEs find it, and proposed two measures; we
# use small versions of both. Ours is a model of a board of 6 × 6, seen by the player to move.

# %% [markdown] tags=["task"]
# `board` has 0 (empty), 1 (mine) or 2 (theirs) for each square. Return all states as booleans: first
# "empty" of all squares, row by row, then "mine", then "theirs".


# %% tags=["exercise"] exercise="3.2.9.d1" title="A board as labels" difficulty=1 importance=3 minutes=5 skill="one-hot"
def square_states(board: Int[Tensor, "n side side"]) -> Bool[Tensor, "n square_state"]:
    """(board == 0, board == 1, board == 2), each with its squares row by row."""
    squares = board.flatten(1)
    return torch.cat([squares == state for state in range(3)], dim=1)


# %% [markdown] tags=["hint"]
# Flatten the two axes of the board, compare with 0, 1, 2, and put the results side by side.

# %% [markdown] tags=["hint"]
# For a board of 6 × 6 there are 108 states; exactly 36 of them are true.

# %% [markdown]
# **Coverage** asks for every state: how good is the best latent for it? A latent may mean something
# only when it is strong. So it counts as active above a share of its largest activation, and the best
# share is taken, too.

# %% [markdown] tags=["task"]
# For every state, return the largest $F_1$ over all latents $l$ and shares $t = 0, 0.1, \dots, 0.9$
# (`i / 10`), where $l$ is active if $f_l > t \cdot \max f_l$ (the largest over all tokens given).
# Activations are not negative. A pair without any count has 0. (Coverage will be the mean of these.)


# %% tags=["exercise"] exercise="3.2.9.d2" title="Coverage" difficulty=2 importance=4 minutes=10 skill="thresholds"
def state_coverage(
    f: Float[Tensor, "token latent"], has: Bool[Tensor, "token square_state"]
) -> Float[Tensor, " square_state"]:
    """Best F1 of f_l > t max f_l over latents and t in {0, 0.1, ..., 0.9}, per state, float32."""
    best = torch.zeros(has.shape[1], device=f.device)
    top, is_so = f.max(dim=0).values, has.float()
    for i in range(10):
        on = (f > i / 10 * top).float()
        total = on.sum(dim=0)[:, None] + is_so.sum(dim=0)
        f1 = 2 * (on.T @ is_so) / total.clamp(min=1)
        best = torch.maximum(best, f1.max(dim=0).values)
    return best


# %% [markdown] tags=["hint"]
# A loop over ten shares; each gives a table of $F_1$ like that of a2.

# %% [markdown] tags=["hint"]
# Each latent has its own largest activation: `f.max(dim=0).values`. Keep the maximum over what you have
# seen with `torch.maximum`.

# %% [markdown]
# **Board reconstruction** is stricter. First, on some games, make *rules*: "if latent $l$ is active, the
# square has this state", for those that were right in at least 95 % of the cases. Then, on other games,
# draw a board from the rules alone.

# %% [markdown] tags=["task"]
# Return which pairs are rules: the latent was active at least `n_least` times, and its precision for
# the state is at least `least`. (Compare counts, not rounded shares: both $\geq$
# `least` × active.)


# %% tags=["exercise"] exercise="3.2.9.d3" title="Rules that hold" difficulty=2 importance=4 minutes=7 skill="precision with enough cases"
def precise_rules(
    fires: Bool[Tensor, "token latent"],
    has: Bool[Tensor, "token square_state"],
    least: float,
    n_least: int,
) -> Bool[Tensor, "latent square_state"]:
    """active >= n_least and both >= least · active, for each latent and state."""
    both = fires.double().T @ has.double()
    active = fires.sum(dim=0)[:, None]
    return (both >= least * active) & (active >= n_least)


# %% [markdown] tags=["hint"]
# Two conditions. The first is for each latent, the second for each pair.

# %% [markdown] tags=["hint"]
# Without `n_least` a latent that is never active would be a rule for everything: $0 \geq 0$.

# %% [markdown] tags=["task"]
# Draw the boards: a state is drawn if any active latent has a rule for it. Return for each board $F_1$
# of what is drawn against the true states (float32). Nothing drawn gives 0; a square may be drawn with
# two states: both count as drawn, at most one as right. A board has at least one true state.


# %% tags=["exercise"] exercise="3.2.9.d4" title="Draw the board" difficulty=2 importance=4 minutes=8 skill="a union of rules"
def board_scores(
    fires: Bool[Tensor, "n latent"],
    rules: Bool[Tensor, "latent square_state"],
    has: Bool[Tensor, "n square_state"],
) -> Float[Tensor, " n"]:
    """2 · right / (drawn + true) of each board; drawn: any active latent with a rule."""
    drawn = fires.float() @ rules.float() > 0
    right = (drawn & has).sum(dim=1)
    return 2 * right / (drawn.sum(dim=1) + has.sum(dim=1))


# %% [markdown] tags=["hint"]
# The product of `fires` and `rules` counts how many active latents have a rule for a state.

# %% [markdown] tags=["hint"]
# $F_1$ over the states of one board: sums along `dim=1`.

# %% [markdown] tags=["task"]
# Three candidates: the latents of an SAE (512, of which 16 are active), the 512 neurons of the block's
# MLP, a random SAE. Which has the highest *coverage*?


# %% tags=["predict"] exercise="3.2.9.P5" title="Who covers the board?" difficulty=3 importance=4 minutes=2 skill="what a measure rewards" choices=["the latents", "the neurons", "the random SAE"]
predict_coverage = "the neurons"

# %% [markdown] tags=["task"]
# And of the same three: from which can one draw the best boards, by rules of a precision of 95 %?


# %% tags=["predict"] exercise="3.2.9.P6" title="Who draws the board?" difficulty=3 importance=4 minutes=2 skill="what a measure rewards" choices=["the latents", "the neurons", "the random SAE"]
predict_drawn = "the latents"

# %% tags=["demo"] reveals=["predict_coverage", "predict_drawn"]
if __name__ == "__main__":
    othello = othello_model("tiny")
    hook = othello.hook("resid_post", 2)
    played = [boards.games(n, seed) for n, seed in ((2000, 0), (300, 1), (300, 2))]
    keep = [boards.in_play(some) for some in played]
    states = [square_states(g.board[m].long()) for g, m in zip(played, keep, strict=True)]
    seen = {}
    scrambled = cases.scrambled(othello, seed=0)
    for name, model in (("latents", othello), ("scrambled model", scrambled)):
        x = [cases.site_rows(model, g.tokens, hook)[m] for g, m in zip(played, keep, strict=True)]
        coder = cases.short_run(x[0], 512, 16, 1000, seed=0, label=f"training an SAE: {name}")
        seen[name] = [encode(coder, v) for v in x[1:]]
        print(f"{name}: explained on other games {cases.explained(coder, x[2]):.2f}")
        if name == "latents":
            trained, x_board = coder, x
            fresh = cases.random_run(coder, x[0], seed=0)
            seen["random SAE"] = [encode(fresh, v) for v in x[1:]]
    at = othello.hook("mlp_post", 2)
    seen["neurons"] = [
        cases.site_rows(othello, g.tokens, at)[m].relu()
        for g, m in zip(played[1:], keep[1:], strict=True)
    ]
    game = torch.arange(300)[:, None].expand_as(keep[2])[keep[2]]
    drawn = {}
    for name, (choose, score) in seen.items():
        cover = state_coverage(score, states[2])
        drawn[name], share = boards.drawn(
            choose, states[1], score, states[2], precise_rules, board_scores
        )
        by_game = boards.per_game(drawn[name], game)
        print(f"{name:16} coverage {float(cover.mean()):.2f}; boards {told(by_game, 3)}", end="")
        print(f" ({len(by_game)} games, active above {share:.1f} of the maximum)")
    weights = boards.probe(x_board[0], states[0])
    guess, always = boards.probed(weights, x_board[2]), states[1].float().mean(dim=0)
    same = 2 * (guess & states[2]).sum(dim=1) / (guess.sum(dim=1) + states[2].sum(dim=1))
    drawn["linear probe"] = same
    print(f"{'linear probe':16} boards {told(boards.per_game(same, game), 3)}")
    constant = float((2 * always / (1 + always)).mean())
    print(f"a latent that is always active covers {constant:.2f}")
    display(plots.boards_drawn({n: boards.per_game(v, game) for n, v in drawn.items()}))

# %% [markdown]
# So the two measures disagree. Coverage puts neurons first, 0.62, and the latents' 0.49 is what a
# latent that is *always* active would have: for a state that holds in a share $p$ of the positions that
# is $2p / (1 + p)$. $F_1$ rewards units as dense as the state, and a third of all positions have "mine"
# on a given square; a latent that is active on 3 % of them cannot have a high recall. The board drawn
# by precise rules is 0.523 [0.520, 0.526] with latents, 0.40 with neurons, 0.28 with an SAE of a
# scrambled model (each matrix's numbers in random order) and 0.17 with a random SAE (300 games, the
# intervals are over games). Latents are *right when they speak*, and many of them speak at once.
# Neither measure is wrong; a table with one of them hides half of this.
#
# A linear probe, which was shown the board in training, draws it with 0.93. So the information is there
# on a line, and an SAE with 16 active latents keeps about half of it in a readable form. And the SAE of
# the scrambled model explains as much variance, 0.88, as the other: explained variance says nothing here.
#
# ### Turn a disc
#
# Reading is not using. If a latent *is* a disc, changing it should change which moves the model thinks
# legal, as the rules say. So we need the rules.

# %% [markdown] tags=["task"]
# Return where the player to move may play: on an empty square from which, in at least one of the eight
# directions, a line of one or more of *theirs* (2) leads straight to one of *mine* (1). `pad` from
# torch's functional module is imported.


# %% tags=["exercise"] exercise="3.2.9.d5" title="The rules of the game" difficulty=3 importance=3 minutes=15 skill="shifts and masks"
def legal_moves(board: Int[Tensor, "n side side"]) -> Bool[Tensor, "n side side"]:
    """Empty squares with a line of theirs, closed by one of mine, in some direction."""
    side = board.shape[1]
    wide = pad(board, (side, side, side, side))  # around the board everything is empty
    legal = torch.zeros_like(board, dtype=torch.bool)
    for down, right in ((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j):
        line = board == 0
        for k in range(1, side):
            r, c = side + k * down, side + k * right
            there = wide[:, r : r + side, c : c + side]
            legal |= line & (there == 1) & (k > 1)
            line = line & (there == 2)
    return legal


# %% [markdown] tags=["hint"]
# Shift the whole board by $k$ squares in a direction, so that each square sees what lies $k$ steps away.
# Beyond the edge everything is empty.

# %% [markdown] tags=["hint"]
# Keep a mask: "empty, and all squares up to $k - 1$ are theirs". Where the $k$-th is mine, and $k > 1$,
# the move is legal.

# %% [markdown] tags=["task"]
# How wrong is the model? A position has $m \ge 0$ legal tokens. Take the $m$ tokens with the largest
# logits, and count the illegal ones among them plus the legal ones that are missing. No two logits are
# equal.


# %% tags=["exercise"] exercise="3.2.9.d6" title="Wrong moves" difficulty=2 importance=4 minutes=8 skill="as many as there are"
def move_errors(
    logits: Float[Tensor, "n vocab"], legal: Bool[Tensor, "n vocab"]
) -> Int[Tensor, " n"]:
    """Tokens that are in one of: the m largest logits, the m legal tokens; m is each row's own."""
    rank = logits.argsort(dim=1, descending=True).argsort(dim=1)
    said = rank < legal.sum(dim=1, keepdim=True)
    return (said != legal).sum(dim=1)


# %% [markdown] tags=["hint"]
# $m$ differs from row to row, so `topk` will not do. Give each token its rank.

# %% [markdown] tags=["hint"]
# `argsort` of `argsort` gives ranks. Said are the tokens with a rank below $m$.

# %% [markdown]
# And the change itself. On some games, take the mean activations of all latents where a square is
# theirs, and where it is mine. The difference, `delta`, says what the latents would do if the disc were
# turned. How many of them are needed?

# %% [markdown] tags=["task"]
# Return the vectors to be added to the residual stream: for each row of `delta`, only the `m` $\ge 0$
# latents that write most count, with the largest $|\delta_l|\, \lVert W_l \rVert$ ($W_l$ is a row of
# `W_dec`); the vector is $\sum \delta_l W_l$ over these. No two are equal.


# %% tags=["exercise"] exercise="3.2.9.d7" title="The few that write most" difficulty=2 importance=4 minutes=8 skill="a truncated sum"
def written_by_largest(
    delta: Float[Tensor, "n latent"], W_dec: Float[Tensor, "latent d_in"], m: int
) -> Float[Tensor, "n d_in"]:
    """Sum of delta_l W_l over the m latents of each row with the largest |delta_l| |W_l|."""
    writes = delta.abs() * W_dec.norm(dim=1)
    top = writes.topk(m, dim=1).indices
    kept = torch.zeros_like(delta).scatter(1, top, delta.gather(1, top))
    return kept @ W_dec


# %% [markdown] tags=["hint"]
# A latent with a short decoder row writes little, however strong it is.

# %% [markdown] tags=["hint"]
# `topk(m, dim=1).indices` chooses for each row; `gather` takes the values, `scatter` puts them back into
# zeros.

# %% [markdown] tags=["task"]
# We turn one disc in 200 positions, with twice the difference, and count wrong moves by the rules of the
# *new* board. Of the improvement that all 512 latents bring, what part does the *one* that writes most
# bring?


# %% tags=["predict"] exercise="3.2.9.P7" title="One latent, one disc?" difficulty=3 importance=4 minutes=2 skill="distributed or not" choices=["less than a third", "a third to two thirds", "more than two thirds"]
predict_one_latent = "less than a third"

# %% tags=["demo"] reveals=["predict_one_latent"]
if __name__ == "__main__":
    flips = boards.flips(played[2], legal_moves, n=200, seed=0)
    ids, k = played[2].tokens[flips.row], torch.arange(len(flips.row))
    x = cases.site_rows(othello, ids, hook)[k, flips.pos]
    W_dec = trained.params["W_dec"] / trained.scale_out
    delta = boards.owner_difference(seen["latents"][0], states[1])
    sign = torch.where(flips.was == 2, 1.0, -1.0)[:, None]  # towards mine where it was theirs

    def wrong(push: Tensor) -> Tensor:
        """Wrong moves by the rules of the new boards, after a push of the residual stream."""
        logits = boards.logits_at(othello, ids, flips.pos, hook, x + push)
        return move_errors(logits, flips.legal_new).float()

    nothing = torch.zeros_like(x)
    clean = boards.logits_at(othello, ids, flips.pos, hook)
    print(f"clean model: {told(move_errors(clean, flips.legal_old).float())} wrong moves", end=" ")
    print(f"by the old board, {told(wrong(nothing))} by the new one")
    other = flips.square[torch.randperm(len(ids), generator=gen)]
    counts, names = (
        [1, 2, 4, 8, 16, 32, 64, 512],
        ["the square", "another square", "random latents"],
    )
    lines: dict[str, list[Tensor]] = {name: [] for name in names}
    for m in counts:
        push = written_by_largest(2 * sign * delta[flips.square], W_dec, m)
        rival = written_by_largest(2 * sign * delta[other], W_dec, m)
        noise = boards.random_latents(len(ids), W_dec, m, gen)
        controls = [
            v * push.norm(dim=1, keepdim=True) / v.norm(dim=1, keepdim=True) for v in (rival, noise)
        ]
        for name, one in zip(lines, [push, *controls], strict=True):
            lines[name].append(wrong(one))
    base = wrong(nothing)
    for name, found in lines.items():
        print(f"{name:15} fewer wrong moves, 1 latent: {told(base - found[0])},", end=" ")
        print(f"16: {told(base - found[4])}, all: {told(base - found[-1])}")
    part = float((base - lines["the square"][0]).mean() / (base - lines["the square"][-1]).mean())
    print(f"one latent's part of what all bring: {part:.0%}")
    display(
        plots.flips(
            counts,
            {n: [float(v.mean()) for v in vs] for n, vs in lines.items()},
            float(base.mean()),
        )
    )

# %% [markdown]
# With all latents changed at once the model makes 1.14 [0.93, 1.36] fewer wrong moves by the new board,
# half of the 2.35. The same for another square, or random latents of the same norm, makes it worse: so it
# is *this* disc, and the moves change as the rules say. But one latent brings 12 % of that (13 % and 16 %
# for two seeds that were fixed beforehand), sixteen little more than half. In this SAE a disc is not a
# latent: it is written by many. What else each of these is about, we have not asked. (The factor 2 was
# the best of 1, 2 and 3 on other games.) What would have counted against the whole reading: a push for
# another square that helps as much.
#
# ## What you should be able to do now
#
# - Score latents against labels, chosen and scored on different text, beside controls that can win.
# - Say what a permutation within rows keeps, and which labels it cannot judge.
# - Remove a family of latents against one of equal frequency, and report a difference of differences.
# - Distrust a straight line on two logarithmic axes beyond its data.
# - Tell what coverage and board reconstruction reward, and test a reading by turning a disc.
#
# ## Open questions
#
# 1. Which training (width, $k$, Matryoshka) brings one latent per disc, if any does?
# 2. Does the family of induction split by word because words are what its inputs differ in?
# 3. With how many tokens would the short SAE's latents have the shipped one's as partners?
