# %% [markdown]
# # 3.2.10 Evaluating SAEs
#
# Somebody shows you two SAEs and a table. One has the better number in it. Is it the better SAE? That
# depends on what you want it for, on what else would have got that number, and on whether the number
# follows the truth where the truth is known. Here we look at all three.
#
# ## Questions
#
# 1. For each usual metric: which SAE that nobody wants gets a perfect score, and what else sees it?
# 2. Do latents help a probe where data are few, unbalanced, mislabelled or from elsewhere?
# 3. How does one tell a latent with holes from a latent that is merely bad?
# 4. How good does an SAE look that learned nothing, or that was trained on a model that learned nothing?
# 5. Which metrics put SAEs in the order of the truth?
# 6. How many latents should be active?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | proxy | a metric that needs no truth: what one can measure on a real model |
# | truth | how well the features that made the data come back: known for stories and for made data |
# | L0 | latents active per token, on average |
# | control | what gets the same number without having what the number stands for |
# | probe | a logistic regression on activations, for a question with the answer yes or no |
#
# Numbers in the text are for the default profile. The story model is the course's own; the grammar of
# its stories says what is true of every word. We look after its third block
# (`blocks.2.hook_resid_post`).

# %% tags=["setup"]
import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from part32_interp_with_saes.s3_finding_latents import bootstrap_interval
from part32_interp_with_saes.s4_understanding_latents import f1_scores, random_as_long
from part32_interp_with_saes.s5_circuits_between_latents import label_auc, probe_effects
from utils.given import (
    evaluating,
    families,
    scores_of_grids,
    scores_with_tasks,
    steering,
    worlds,
)
from utils.given.evaluating import Made
from utils.given.in_model import sample_rows
from utils.models import language_model, residual_sae
from utils.models.profiles import describe
from utils.plots import evaluation as plots
from utils.saes.coder import encode
from utils.saes.config import SAEConfig

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import display

    gen = torch.Generator().manual_seed(0)
    loaded, sae = language_model(), residual_sae()
    print(describe(loaded, [sae]))
    story = evaluating.story_tokens(100, 0)
    print(
        f"stories: {len(story.x):,} tokens, {len(story.tasks)} questions, {len(story.names)} labels"
    )

# %% [markdown]
# ## 1 · How to win
#
# The two usual numbers are the variance explained (3.2.1) and L0. Both can be had for nothing. You
# will build four SAEs that nobody wants.
#
# **Win one: an exact reconstruction.** Take any orthonormal basis $q_1 \dots q_d$. A number is the
# difference of two numbers that are not negative: $a = \mathrm{ReLU}(a) - \mathrm{ReLU}(-a)$.

# %% [markdown] tags=["task"]
# Return `(W_enc, W_dec)` of a ReLU SAE with $2d$ latents and no biases that reconstructs *every*
# vector exactly: latent $i$ reads $q_i$, latent $d + i$ reads $-q_i$. The rows of `Q` are the basis.


# %% tags=["exercise"] exercise="3.2.10.a1" title="An identity" difficulty=1 importance=4 minutes=7 skill="gaming a metric"
def identity_sae(
    Q: Float[Tensor, "d_in d_in"],
) -> tuple[Float[Tensor, "d_in latent"], Float[Tensor, "latent d_in"]]:
    """(W_enc, W_dec) with ReLU(x W_enc) W_dec = x: latents read q_1 … q_d, then -q_1 … -q_d."""
    W_dec = torch.cat([Q, -Q])
    return W_dec.T, W_dec


# %% [markdown] tags=["hint"]
# Column $l$ of `W_enc` is what latent $l$ reads, row $l$ of `W_dec` is what it writes.

# %% [markdown] tags=["hint"]
# A latent that reads $-q_i$ must write $-q_i$. Stack `Q` and `-Q`; the encoder is the transpose.

# %% [markdown]
# **Win two: a tiny L0.** If the data have one long axis, two latents are enough to walk along it, and
# one of them is always off.

# %% [markdown] tags=["task"]
# Return `(W_enc, W_dec, b_dec)` of a ReLU SAE with two latents, used as $\hat x = \mathrm{ReLU}((x -
# b)\,W_\text{enc})\,W_\text{dec} + b$. The bias $b$ is the mean of the rows of `x`. The latents read
# and write $v$ and $-v$, where $v$ has length 1 and is the direction in which the rows vary most.
# (Either sign of $v$ is right.)


# %% tags=["exercise"] exercise="3.2.10.a2" title="Two dense latents" difficulty=2 importance=4 minutes=8 skill="principal direction"
def two_dense_latents(
    x: Float[Tensor, "item d_in"],
) -> tuple[Float[Tensor, "d_in latent"], Float[Tensor, "latent d_in"], Float[Tensor, " d_in"]]:
    """(W_enc, W_dec, b_dec): b_dec the mean, latents v and -v, v the first principal direction."""
    mean = x.mean(dim=0)
    v = torch.linalg.svd(x - mean, full_matrices=False).Vh[0]
    W_dec = torch.stack([v, -v])
    return W_dec.T, W_dec, mean


# %% [markdown] tags=["hint"]
# The first right singular vector of the *centred* rows.

# %% [markdown] tags=["hint"]
# `torch.linalg.svd(x - mean, full_matrices=False).Vh[0]`.

# %% [markdown] tags=["task"]
# Build such SAEs from SmolLM2's residual stream on 32 rows, with *every* token counted, the first one
# of each row too. After block 10 two latents explain 8 % of the variance. And after block 12?

# %% tags=["predict"] exercise="3.2.10.P1" title="Two blocks further up" difficulty=2 importance=4 minutes=2 skill="what dominates a sum of squares" choices=["less than 20 %", "20 % to 80 %", "more than 80 %"]
predict_two_latents = "more than 80 %"

# %% tags=["demo"] reveals=["predict_two_latents"]
if __name__ == "__main__":
    rows = sample_rows(loaded, n=32, seed=0)
    later = rows.mask.clone()
    later[:, 0] = False
    for block in (sae.layer, min(sae.layer + 2, loaded.n_layers - 1)):
        stream = steering.residuals(loaded, f"blocks.{block}.hook_resid_post", rows.ids)
        for name, mask in (("every token", rows.mask), ("all but the first", later)):
            x = stream[mask]
            W_enc, W_dec, b = two_dense_latents(x)
            two = evaluating.relu_made(W_enc, W_dec, b)
            print(
                f"after block {block}, {name}: L0 {two.l0(x):.2f}, explained {two.explains(x):.1%}"
            )

# %% [markdown]
# After block 12 two latents explain 99.8 %, and 7.9 % as soon as the first token is left out. Between
# the two blocks the first token of every row grows to a length of 25,000, where the median is 136: it
# is nearly all of the sum of squares, and a number that counts it is a number about one token
# (3.2.1).
#
# To leave out the first token is not always enough. In another draw, of 24 rows, two latents still
# explain 52 %, because the *second* token of one row has a length of 5,600. Look at lengths before
# you average squares.
#
# **Win three: both at once.** Nobody said that an SAE must not know the data by heart.

# %% [markdown] tags=["task"]
# Return `(W_enc, W_dec)` of a TopK SAE with $k = 1$ and no biases that reconstructs each row of `x`
# exactly from *one* latent, whose number is that of the row. Decoder rows have length 1. (No row is
# 0, and no two have the same direction.)


# %% tags=["exercise"] exercise="3.2.10.a3" title="By heart" difficulty=2 importance=4 minutes=8 skill="held-out data"
def memorise_rows(
    x: Float[Tensor, "item d_in"],
) -> tuple[Float[Tensor, "d_in item"], Float[Tensor, "item d_in"]]:
    """(W_enc, W_dec) with one latent per row of x: its direction, read and written."""
    W_dec = x / x.norm(dim=1, keepdim=True)
    return W_dec.T, W_dec


# %% [markdown] tags=["hint"]
# The largest pre-activation wins. For the row $x_i$ it must be that of latent $i$: what is $x_i \cdot
# r$ at most, over all $r$ of length 1?

# %% [markdown] tags=["hint"]
# With $r_i = x_i / \lVert x_i \rVert$ the pre-activation is $\lVert x_i \rVert$, and that times $r_i$
# is $x_i$.

# %% [markdown]
# **Win four: a small L1.** Some papers report the sum of the activations. That is a matter of units.

# %% [markdown] tags=["task"]
# Change the weights of a ReLU SAE so that latent $l$ is `s[l]` times as large on every input, while
# the output stays. All of `s` are positive. Return the new `(W_enc, b_enc, W_dec)`.


# %% tags=["exercise"] exercise="3.2.10.a4" title="Other units" difficulty=1 importance=3 minutes=6 skill="an invariance"
def stretch_latents(
    W_enc: Float[Tensor, "d_in latent"],
    b_enc: Float[Tensor, " latent"],
    W_dec: Float[Tensor, "latent d_in"],
    s: Float[Tensor, " latent"],
) -> tuple[Float[Tensor, "d_in latent"], Float[Tensor, " latent"], Float[Tensor, "latent d_in"]]:
    """(W_enc, b_enc, W_dec) whose latents are s times the given ones, with the same output."""
    return W_enc * s, b_enc * s, W_dec / s[:, None]


# %% [markdown] tags=["hint"]
# $\mathrm{ReLU}(s\,z) = s\,\mathrm{ReLU}(z)$ for $s > 0$. What is all of $z$ made of?

# %% [markdown] tags=["hint"]
# Columns of `W_enc` and entries of `b_enc` are multiplied; *rows* of `W_dec` are divided.

# %% [markdown] tags=["task"]
# Repair the L1: return the mean over items of $\sum_l f_l\, \lVert w_l \rVert$, with $w_l$ row $l$ of
# `W_dec`. That is the total length of what the latents write, and no change of units moves it.
# (Activations are not negative.)


# %% tags=["exercise"] exercise="3.2.10.a5" title="What is written" difficulty=1 importance=3 minutes=5 skill="units"
def written_l1(f: Float[Tensor, "item latent"], W_dec: Float[Tensor, "latent d_in"]) -> float:
    """Mean over items of sum_l f_l |w_l|."""
    return float((f @ W_dec.norm(dim=1)).mean())


# %% [markdown] tags=["hint"]
# One length per decoder row; then a weighted sum over latents, a mean over items.

# %% [markdown] tags=["hint"]
# `f @ W_dec.norm(dim=1)` is one number per item.

# %% [markdown]
# Now all of them on the story model, beside an SAE that was trained for 400 steps. "Its rows" are
# those that an SAE was made from, "other rows" are fresh stories. F1: for each label of the grammar
# the best latent's $F_1$, averaged over labels.


# %% [markdown] tags=["task"]
# First write what the last column needs. `fires` says where each latent is active, `labels` where
# each label is true (somewhere, for each). Return for every label the latent with the best $F_1$ (the
# lowest number of equals), its precision and its recall, both in float64; rank by `f1_scores` of
# 3.2.4. A latent that is never active has precision 0.


# %% tags=["exercise"] exercise="3.2.10.f" title="The best detector of a label" difficulty=2 importance=4 minutes=9 skill="precision and recall"
def best_detectors(
    fires: Bool[Tensor, "item latent"], labels: Bool[Tensor, "item predicate"]
) -> tuple[Int[Tensor, " predicate"], Float[Tensor, " predicate"], Float[Tensor, " predicate"]]:
    """(latent with the best F1, its precision, its recall), per label."""
    best = torch.stack([f1_scores(fires, label).argmax() for label in labels.T])
    chosen = fires[:, best]
    both = (chosen & labels).sum(dim=0).double()
    return best, both / chosen.sum(dim=0).clamp(min=1), both / labels.sum(dim=0)


# %% [markdown] tags=["hint"]
# `f1_scores(fires, label)` gives one number per latent. `argmax` of each label's scores.

# %% [markdown] tags=["hint"]
# `fires[:, best]` has a column per label. Precision divides by where it fires, recall by where the
# label is.

# %% tags=["demo"]
if __name__ == "__main__":
    other = evaluating.story_tokens(60, 1)
    x = story.x
    basis = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=gen)).Q
    E, D = identity_sae(basis)
    W_enc, W_dec, b = two_dense_latents(x)
    R_enc, R_dec = memorise_rows(x[:2000] - x.mean(dim=0))
    mean = x.mean(dim=0)
    trained = families.short_sae(x, SAEConfig(x.shape[1], 384, "topk", k=12), 0, steps=400)
    made = {
        "trained, k = 12": evaluating.of_coder(trained),
        "identity": evaluating.relu_made(E, D, torch.zeros(x.shape[1])),
        "two dense latents": evaluating.relu_made(W_enc, W_dec, b),
        "by heart": Made(lambda v: evaluating.only_largest((v - mean) @ R_enc), R_dec, mean),
    }
    print(f"{'':18} latents   L0  its rows  other rows  loss recovered    F1")
    for name, one in made.items():
        quality = evaluating.detector_quality(one.encode(other.x) > 0, other.truth, best_detectors)
        shares = (
            one.explains(x[:2000]),
            one.explains(other.x),
            evaluating.loss_recovered(one, 8, 2),
        )
        print(f"{name:18} {len(one.W_dec):7} {one.l0(other.x):4.0f} {shares[0]:9.1%}", end=" ")
        print(f"{shares[1]:11.1%} {shares[2]:15.1%} {quality:5.2f}")
    f, W_row = evaluating.codes(trained, other.x), trained.params["W_dec"]
    tenth = torch.full((384,), 0.1)
    weights = (trained.params["encoder"].T, trained.params["b_enc"], W_row)
    smaller = stretch_latents(*weights, tenth)[2]
    plain = float(f.sum(dim=1).mean())
    print(f"L1 {plain:.1f}, in other units {float((f * tenth).sum(dim=1).mean()):.1f};")
    print(f"written {written_l1(f, W_row):.1f} and {written_l1(f * tenth, smaller):.1f}")

# %% [markdown]
# Read the columns. Only *L0* (and a little the labels) speaks against the identity. *Loss recovered*
# sees that two latents are too few, though they have 42 % of the variance at an L0 of 1. The SAE that
# knows 2,000 tokens by heart has L0 1, explains 100 % of its rows, and still 93 % of other rows, with
# 95 % of the loss: stories repeat themselves. What sees it is its width, and the labels: 0.10 against
# 0.34. The L1 falls from 92.6 to 9.3 by a change of units; what is written stays 53.4.
#
# So no number alone, never on the rows that an SAE was made from, and always with one that pulls the
# other way.
#
# ## 2 · Do latents help a probe?
#
# If an SAE finds what the model knows, a probe on a few latents should need less data, and be harder
# to mislead, than a probe on the whole activation. Kantamneni et al. (2025) tested that on 113 data
# sets in four regimes: **few data**, **imbalance**, **label noise** and **shift** (the test comes
# from elsewhere). Do latents help? We repeat it in small.
#
# Which latents? Those that differ most between the answers yes and no *in the training data*.

# %% [markdown] tags=["task"]
# Return the numbers of the `k` latents with the largest $\lvert \text{mean of } f_l \text{ over yes}
# - \text{mean over no} \rvert$, largest first; of equals the lower number first. There are items of
# both kinds.


# %% tags=["exercise"] exercise="3.2.10.b1" title="Choose k latents" difficulty=1 importance=4 minutes=6 skill="feature selection"
def difference_latents(
    f: Float[Tensor, "item latent"], label: Bool[Tensor, " item"], k: int
) -> Int[Tensor, " k"]:
    """The k latents with the largest |mean where label - mean where not|, largest first."""
    gap = (f[label].mean(dim=0) - f[~label].mean(dim=0)).abs()
    return gap.sort(descending=True, stable=True).indices[:k]


# %% [markdown] tags=["hint"]
# A latent that is active on the noes is as useful as one that is active on the yeses.

# %% [markdown] tags=["hint"]
# `gap.sort(descending=True, stable=True).indices[:k]`: a stable sort keeps the order of equals.

# %% [markdown] tags=["task"]
# For label noise: return a copy of `label` in which `share` of the items, drawn at random from `gen`
# without replacement, have the other answer. Their number is *exactly* `share` times the number of
# items (which is a whole number here).


# %% tags=["exercise"] exercise="3.2.10.b2" title="Wrong labels" difficulty=1 importance=3 minutes=5 skill="drawing without replacement"
def flip_labels(
    label: Bool[Tensor, " item"], share: float, gen: torch.Generator
) -> Bool[Tensor, " item"]:
    """A copy with round(share · n) random entries negated."""
    n = round(share * len(label))
    where = torch.randperm(len(label), generator=gen, device=label.device)[:n]
    return torch.index_fill(torch.zeros_like(label), 0, where, True) ^ label


# %% [markdown] tags=["hint"]
# A coin for each item flips a random number of labels. What gives a random set of a fixed size?

# %% [markdown] tags=["hint"]
# The first `n` of `torch.randperm(len(label), generator=gen)`. Negate there, in a copy.

# %% [markdown]
# **A fair comparison.** Give somebody three probes on the activation, three on latents, and
# validation data. They take the probe that is best in *validation*, and we look at its test. The
# question is not which kind wins, but what having latents in the quiver *adds*: a "quiver of arrows",
# say Kantamneni et al.

# %% [markdown] tags=["task"]
# `valid` and `test` are scores, a row for each task (setting), a column for each probe (strategy);
# `sae` says which probes are on latents. Return for each task the test score of the probe chosen
# among *all*, minus that of the probe chosen among those without latents. Chosen: largest in
# validation, the first of equals. There is a probe without latents.


# %% tags=["exercise"] exercise="3.2.10.b3" title="What an SAE adds" difficulty=2 importance=5 minutes=8 skill="choosing on validation data"
def quiver_gain(
    valid: Float[Tensor, "setting strategy"],
    test: Float[Tensor, "setting strategy"],
    sae: Bool[Tensor, " strategy"],
) -> Float[Tensor, " setting"]:
    """Test score of the best in validation among all probes, minus among those without latents."""
    plain = valid.masked_fill(sae, -math.inf)
    chosen = (scores.argmax(dim=1, keepdim=True) for scores in (valid, plain))
    with_sae, without = (test.gather(1, index)[:, 0] for index in chosen)
    return with_sae - without


# %% [markdown] tags=["hint"]
# Choose twice with `argmax` in `valid`; look up twice in `test`.

# %% [markdown] tags=["hint"]
# `valid.masked_fill(sae, -math.inf)` takes the latents' probes out without moving the columns.

# %% [markdown] tags=["task"]
# Eleven yes-or-no questions about the stories, three draws each, AUC on 600 balanced test items of
# other stories. The SAE is the shipped one with 384 latents. Three probes on the activation with more
# and more weight decay, then on 1, 4 and 16 latents. In how many of the four regimes does the quiver
# with latents do better, its 95 % interval (over tasks and draws) above 0?

# %% tags=["predict"] exercise="3.2.10.P2" title="Four regimes" difficulty=2 importance=4 minutes=2 skill="a fair baseline" choices=["in none", "in one or two", "in three or four"]
predict_regimes = "in none"

# %% tags=["demo"] reveals=["predict_regimes"]
if __name__ == "__main__":
    frozen = evaluating.frozen_sae(story.x, SAEConfig(x.shape[1], 384, "topk", k=12), 0)
    on_latents = {
        "latents": families.story_saes()[384].encode(story.x),
        "random decoder": evaluating.codes(frozen, story.x),
    }
    gains, draws = {}, range(3 if loaded.name.startswith("SmolLM2") else 1)
    for regime in evaluating.REGIMES:
        for name, f in on_latents.items():
            valid, test, is_sae = evaluating.probe_regime(
                story, f, regime, draws, flip_labels, difference_latents, label_auc
            )
            gains[f"{regime}, {name}"] = 100 * quiver_gain(valid, test, is_sae)
            means = " ".join(f"{v:.2f}" for v in test.mean(dim=0).tolist())
            print(f"{regime:11} {name:14} mean test AUC of the six: {means}; added", end=" ")
            print(f"{steering.told(gains[f'{regime}, {name}'], gen)} points (n = {len(valid)})")
    display(plots.gains(gains))

# %% [markdown]
# In none: all four intervals hold 0. (On 113 data sets Kantamneni et al. found no gain, on the whole.)
# The second line of each pair is a control: latents of an SAE whose decoder was *never trained*. They
# add −1.0 to 0 points. So the trained latents are the better arrows, and still not better than none.
#
# We got another answer first. With weight decays of 0.001, 0.01 and 0.1 for the rivals (now 0.01, 0.1
# and 1), two draws instead of three, latents "added" 0.9 points with imbalance [0.3, 1.7] and 1.0
# with label noise [0.3, 1.8]. What looked like the SAE's merit was a rival that nobody had tuned.
# Note also how low all AUCs are: even 256 tokens of any kind teach a probe little here.
#
# ## 3 · Holes, with the truth at hand
#
# In 3.2.4 a latent of a letter was silent on some words with the letter, and we could not tell
# whether it was *absorbed* there by a more special latent, or was just not much of a letter's latent.
# (That was an open question.) With the truth we can: compare the same latent with itself.
#
# Made data with 20 orthonormal features in 5 groups. In each group the first is a **parent**, on in
# 30 % of the rows; each of its three **children** comes only with it, in a third of its rows. An
# absorbed parent's latent is silent *when there is a child*. A bad latent is silent anyway.

# %% [markdown] tags=["task"]
# `fires`, `parent` and `child` say for each item whether the latent is active, the parent is there,
# some child is there. Return P(silent | parent and child) − P(silent | parent, no child); NaN if one
# of the two kinds of items does not occur.


# %% tags=["exercise"] exercise="3.2.10.c1" title="Silent because of a child" difficulty=2 importance=4 minutes=8 skill="a contrast"
def absorption_contrast(
    fires: Bool[Tensor, " item"], parent: Bool[Tensor, " item"], child: Bool[Tensor, " item"]
) -> float:
    """P(silent | parent and child) - P(silent | parent without child); NaN where undefined."""
    with_child, alone = parent & child, parent & ~child
    if not with_child.any() or not alone.any():
        return math.nan
    silent = (~fires).double()
    return float(silent[with_child].mean() - silent[alone].mean())


# %% [markdown] tags=["hint"]
# Two kinds of items, both with the parent. The share of silent ones in each.

# %% [markdown] tags=["hint"]
# Items without the parent play no role: silence is right there.

# %% [markdown]
# The other half of the evidence is in the decoder. A child's latent that has taken over the parent
# writes the parent's direction, too.

# %% [markdown] tags=["task"]
# Return how each decoder row is made of the features: the coefficients $c$ with $w_l \approx \sum_j
# c_{lj} W_j$, with the least squared error. The features (rows of `W`) are linearly independent, but
# *not* orthogonal, and of any length.


# %% tags=["exercise"] exercise="3.2.10.c2" title="What a row is made of" difficulty=2 importance=4 minutes=8 skill="least squares"
def feature_coefficients(
    W_dec: Float[Tensor, "latent d_in"], W: Float[Tensor, "feature d_in"]
) -> Float[Tensor, "latent feature"]:
    """C with the smallest |W_dec - C W|."""
    return torch.linalg.lstsq(W.T, W_dec.T).solution.T


# %% [markdown] tags=["hint"]
# Dot products are the coefficients only if the features are orthonormal. Which linear system is it
# else?

# %% [markdown] tags=["hint"]
# `torch.linalg.lstsq(A, B)` minimises $\lVert A X - B \rVert$: transpose twice. Or `W_dec @
# torch.linalg.pinv(W)`.

# %% tags=["demo"]
if __name__ == "__main__":
    tree = worlds.world("hierarchical", 20_000, 0)
    print(f"features on in a row: {tree.l0:.2f}")
    shown = {}
    for k in (2, 4):
        cfg = SAEConfig(20, 20, "batchtopk", k=k)
        coder = worlds.train_together(tree.x, [cfg], [0], 1500)[0]
        f, W_row = encode(coder, tree.x), coder.params["W_dec"].detach()
        C = feature_coefficients(W_row / W_row.norm(dim=1, keepdim=True), tree.W)
        mine = C[:, ::4].argmax(dim=0)  # for each parent the row with most of it
        for group, latent in enumerate(mine.tolist()):
            has, kids = tree.z[:, 4 * group] > 0, (tree.z[:, 4 * group + 1 : 4 * group + 4] > 0)
            contrast = absorption_contrast(f[:, latent] > 0, has, kids.any(dim=1))
            row = [round(v, 2) for v in C[latent, 4 * group : 4 * group + 4].tolist()]
            print(f"k = {k}, parent {group}: its latent is made of {row}, contrast {contrast:+.2f}")
        shown[f"k = {k}"] = C[worlds.in_order(C)]
    display(plots.made_of(shown))

# %% [markdown]
# At $k = 2$, one fewer than there are features in a row, all five parents' latents have holes: they
# are silent because of a child in 39 to 79 points more of the rows. Two of them have *clean* rows
# all the same: look at the children's rows in the picture, which hold the parent as well. At $k = 4$
# the contrasts are 0 to 0.16. But the rows are no cleaner: three of five parents are mixtures of
# themselves with children, as many as before, and in the picture now the children's rows are mixed, too.
#
# So a score of holes alone would call $k = 4$ much the better SAE. A score of clean parents would not.
#
# ## 4 · Scores that need a task
#
# In 3.2.5 you removed latents from a probe that had learned the wrong thing. Karvonen et al. (2024)
# made a score of it, which SAEBench (Karvonen et al. 2025) uses: **spurious correlation removal**. A
# probe is trained where two labels always go together. Let $A_\text{base}$ be its accuracy on
# balanced data, $A_\text{abl}$ the same after the latents most tied to the *unwanted* label were
# removed, and $A_\text{oracle}$ the accuracy of a probe that was trained on balanced data.

# %% [markdown] tags=["task"]
# Return $(A_\text{abl} - A_\text{base}) / (A_\text{oracle} - A_\text{base})$ for several numbers of
# removed latents at once. NaN everywhere where the oracle is not better than the base: then there was
# nothing to gain.


# %% tags=["exercise"] exercise="3.2.10.d1" title="How much of the bias is gone?" difficulty=1 importance=3 minutes=5 skill="normalising a score"
def scr_score(
    base: float, ablated: Float[Tensor, " item"], oracle: float
) -> Float[Tensor, " item"]:
    """(ablated - base) / (oracle - base) (SAEBench); NaN where oracle <= base."""
    if oracle <= base:
        return torch.full_like(ablated, math.nan)
    return (ablated - base) / (oracle - base)


# %% [markdown] tags=["hint"]
# 0 if nothing changed, 1 if the probe is as good as the oracle, negative if it got worse.

# %% [markdown] tags=["hint"]
# `torch.full_like(ablated, math.nan)` for the case without a meaning.

# %% [markdown]
# **Targeted probe perturbation** needs no bias. Several classes, a probe for each. Remove the latents
# of class $i$ and see what each probe loses: its own probe should, the others should not.

# %% [markdown] tags=["task"]
# `before[j]` is the accuracy of probe $j$, `after[i, j]` that of probe $j$ when the latents of class
# $i$ are removed. Return the mean loss of accuracy for $i = j$ minus the mean loss for $i \ne j$, so
# that larger is better. There are two or more classes.


# %% tags=["exercise"] exercise="3.2.10.d2" title="The right probe, and no other" difficulty=2 importance=3 minutes=7 skill="masks of a table"
def tpp_score(before: Float[Tensor, " target"], after: Float[Tensor, "source target"]) -> float:
    """Mean loss of accuracy on the diagonal minus that off the diagonal."""
    loss = before - after
    own = torch.eye(len(before), dtype=torch.bool, device=before.device)
    return float(loss[own].mean() - loss[~own].mean())


# %% [markdown] tags=["hint"]
# `before` belongs to columns: every row of `after` is compared with it.

# %% [markdown] tags=["hint"]
# `torch.eye(n, dtype=torch.bool)` selects the diagonal, its negation the rest.

# %% tags=["demo"]
if __name__ == "__main__":
    numbers = (2, 5, 10, 20, 50)
    for name, coder in (("trained", trained), ("frozen decoder", frozen)):
        base, oracle, ablated = scores_with_tasks.spurious(
            story, other, coder, numbers, probe_effects
        )
        told = " ".join(f"{v:+.2f}" for v in scr_score(base, ablated, oracle).tolist())
        print(f"{name:15} base {base:.2f}, oracle {oracle:.2f}; SCR with {numbers} removed: {told}")
    for name, coder in (("trained", trained), ("frozen decoder", frozen)):
        for n in (5, 20):
            before, after = scores_with_tasks.perturbed(story, coder, n, probe_effects)
            print(f"{name:15} TPP, {n} latents a class: {tpp_score(before, after):+.3f}")

# %% [markdown]
# The biased probe (of tense; number went with it) has 0.66, the oracle 0.73. Removing the ten
# latents most tied to number repairs 30 % of the gap with the trained SAE, and harms with the
# random decoder. With other draws of stories the trained SAE gave −0.74 to 0.27 with ten removed: a
# gap of 0.07 in accuracy, measured on 800 tokens, is small ground for a ratio. TPP is positive and
# *no larger* for the trained SAE.
#
# Did you notice that `before` cancels in TPP? Each probe's accuracy comes once in the first mean, and
# with the same weight in the second. The score never knew how good the probes were. Chanin (2026)
# tested the metrics of SAEBench on SAEs with known truth, and advises against SCR and TPP.
#
# ## 5 · Explained, but what?
#
# Explanations can be scored without the truth (3.2.4): find the best sentence about a latent on one
# half of the text, and see on the other half how well it tells where the latent is active. Two
# controls that should do badly, if a good score means that the SAE found what *the model* learned:
#
# - an SAE whose **decoder was never trained** (Korznikov et al. 2026): random directions stay random;
# - an SAE trained on a model that **knows nothing** (Heap et al. 2025): its weights are scrambled.

# %% [markdown] tags=["task"]
# Scramble a model: return a dictionary in which every tensor of floating point numbers has the same
# numbers in random places, each with its own random order from `gen`, all orders equally likely.
# Other tensors (masks, counters) stay as they are. The given tensors are not changed.


# %% tags=["exercise"] exercise="3.2.10.e" title="A model that knows nothing" difficulty=2 importance=4 minutes=8 skill="a control"
def scramble_weights(weights: Mapping[str, Tensor], gen: torch.Generator) -> dict[str, Tensor]:
    """Each floating point tensor with its entries permuted at random; the rest unchanged."""
    found = dict(weights)
    for name, W in weights.items():
        if W.is_floating_point():
            order = torch.randperm(W.numel(), generator=gen, device=W.device)
            found[name] = W.flatten()[order].reshape(W.shape)
    return found


# %% [markdown] tags=["hint"]
# Flatten, permute, reshape. A permutation of the rows alone would leave each neuron intact.

# %% [markdown] tags=["hint"]
# `torch.randperm(W.numel(), generator=gen, device=W.device)`, a new one for each tensor.

# %% [markdown]
# The scrambled model has the same embedding sizes, norms and depths. It still tells words apart: each
# has its own random embedding. What it lacks is all that was learned.

# %% [markdown] tags=["task"]
# Score the trained SAE, both controls, and random directions that are as often active (3.2.4).
# Sentences speak of words and not of the grammar's labels. Which control comes within 0.05 of the
# trained SAE's mean?

# %% tags=["predict"] exercise="3.2.10.P3" title="Who is explained?" difficulty=3 importance=5 minutes=2 skill="controls" choices=["none", "the frozen decoder, not the scrambled model", "the scrambled model, not the frozen decoder", "both"]
predict_controls = "the frozen decoder, not the scrambled model"

# %% tags=["demo"] reveals=["predict_controls"]
if __name__ == "__main__":
    own = torch.Generator().manual_seed(1)
    blank = evaluating.story_model(lambda weights: scramble_weights(weights, own))
    nothing = evaluating.story_tokens(100, 0, blank)
    on_nothing = families.short_sae(nothing.x, trained.cfg, 0, steps=400)
    directions = random_as_long(x[0], 384, own)
    active = evaluating.codes(trained, x) > 0
    as_often = evaluating.as_often_active((x - x.mean(dim=0)) @ directions.T, active)
    runs = {
        "trained": (active, story, families.explained(trained, x)),
        "frozen decoder": (
            evaluating.codes(frozen, x) > 0, story, families.explained(frozen, x)
        ),
        "scrambled model": (
            evaluating.codes(on_nothing, nothing.x) > 0, nothing,
            families.explained(on_nothing, nothing.x),
        ),
        "random directions": (as_often, story, math.nan),
    }  # fmt: skip
    values = {}
    for name, (on, data, share) in runs.items():
        values[name] = evaluating.explained_share(on, data)
        quality = evaluating.detector_quality(on, data.truth, best_detectors)
        print(f"{name:18} explained variance {share:.2f}; sentences", end=" ")
        print(f"{steering.told(values[name], gen)} (n = {len(values[name])});", end=" ")
        print(f"best detector of a label: F1 {quality:.2f}")
        print(
            f"{'':18} scores of 0.98 or more: {float((values[name] >= 0.98).double().mean()):.0%}"
        )
    display(plots.explained_by(values))

# %% [markdown]
# The random decoder is within 0.04 of the trained SAE (0.71 and 0.74), random directions are closer,
# though they have nothing to do with an SAE. The explained variance does see the random decoder: 0.52
# against 0.98. So here a mean score of explanations is no evidence that an SAE found something. Only
# at the very top is there more: 8 % of the trained latents score 0.98 or better, 1 % of those with a
# random decoder, and 5 % of the random directions.
#
# Heap et al. (2025) found that latents of random transformers are explained about as well as those of
# trained ones. Here those of the scrambled model are explained worse: 0.66.
#
# And the labels? The random decoder has 0.32, the trained SAE 0.33. With 384 directions to choose
# from, the best detector of a label is good by chance: random directions have 0.24. This is a truth
# with a high floor.
#
# ## 6 · Do the proxies follow the truth?
#
# Take many SAEs, put them in order by a proxy, and put them in order by the truth. **Kendall's**
# $\tau$ counts pairs: how many more pairs have the same order in both than have opposite orders.

# %% [markdown] tags=["task"]
# Return Kendall's $\tau_b$. Over all pairs, let $a = \mathrm{sign}(x_i - x_j)$ and $b =
# \mathrm{sign}(y_i - y_j)$. Then $\tau_b = \sum a b \big/ \sqrt{\sum a^2 \sum b^2}$; 0 where all of
# `x` or all of `y` are equal.


# %% tags=["exercise"] exercise="3.2.10.g1" title="Pairs in the same order" difficulty=2 importance=4 minutes=8 skill="rank correlation"
def kendall_tau(x: Float[Tensor, " item"], y: Float[Tensor, " item"]) -> float:
    """Kendall's tau-b: sum of products of signs over pairs, normalised; 0 for a constant."""
    a, b = ((v[:, None] - v).sign().double() for v in (x, y))
    spread = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / spread if spread > 0 else 0.0


# %% [markdown] tags=["hint"]
# `x[:, None] - x` has all pairs, each of them twice, and that does no harm. Equal ones have sign 0.

# %% [markdown] tags=["hint"]
# `.sign()` of both, then sums: of the product, and of the squares.

# %% [markdown]
# An order is one thing. In practice one takes the *best* by the proxy, and has to live with it.

# %% [markdown] tags=["task"]
# Return what choosing by the proxy costs: the best truth there is, minus the truth of the SAE with
# the largest proxy. If several share the largest proxy, one of them is taken at random: return the
# expectation.


# %% tags=["exercise"] exercise="3.2.10.g2" title="The price of the wrong choice" difficulty=1 importance=4 minutes=6 skill="regret"
def choice_regret(proxy: Float[Tensor, " item"], truth: Float[Tensor, " item"]) -> float:
    """max truth - mean truth of those with the largest proxy."""
    favourites = truth[proxy == proxy.max()]
    return float(truth.max().double() - favourites.double().mean())


# %% [markdown] tags=["hint"]
# Never negative, and 0 if the proxy's favourite is the best.

# %% [markdown] tags=["hint"]
# `proxy == proxy.max()` has all favourites; the mean of their truth.

# %% [markdown]
# One more proxy, from the weights alone. Chanin and Garriga-Alonso (2025) argue that an SAE with the
# wrong L0 mixes features, and that this shows in how alike its decoder rows are.

# %% [markdown] tags=["task"]
# Return the mean of $\lvert \cos \rvert$ over all pairs of *different* decoder rows. A row of zeros
# has cosine 0 with all others, and counts. There are two or more rows.


# %% tags=["exercise"] exercise="3.2.10.j1" title="Overlap" difficulty=1 importance=4 minutes=6 skill="cosines"
def decoder_overlap(W_dec: Float[Tensor, "latent d_in"]) -> float:
    """Mean |cosine| over pairs of different rows; a zero row has cosine 0."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True).clamp(min=1e-12)
    table = (unit @ unit.T).abs()
    n = len(W_dec)
    return float(table.sum() - table.diagonal().sum()) / (n * (n - 1))


# %% [markdown] tags=["hint"]
# Rows of length 1; the table of all dot products; not its diagonal.

# %% [markdown] tags=["hint"]
# There are $n (n - 1)$ ordered pairs of different rows.

# %% [markdown]
# **The grid on made data.** 36 SAEs on the hierarchical features of part 3 with some noise: 10, 20 or
# 40 latents, six values of $k$, a short and a longer run. Truth: the mean cosine of the features with
# their latents in the best one-to-one matching (3.1.5).

# %% [markdown] tags=["task"]
# Which of these proxies has the largest $\tau$ with the truth?

# %% tags=["predict"] exercise="3.2.10.P4" title="Which proxy?" difficulty=3 importance=5 minutes=2 skill="proxies against the truth" choices=["variance explained", "sparsity (-L0)", "one-latent probes", "no holes", "little overlap"]
predict_proxy = "variance explained"

# %% tags=["demo"] reveals=["predict_proxy"]
if __name__ == "__main__":
    learned: dict[str, Callable] = {
        "choose": difference_latents, "auc": label_auc, "contrast": absorption_contrast,
        "overlap": decoder_overlap, "detectors": best_detectors,
    }  # fmt: skip
    quick = not loaded.name.startswith("SmolLM2")
    table = scores_of_grids.world_grid(0, learned, quick)

    def told_taus(table: scores_of_grids.Table) -> dict[str, tuple]:
        """Print tau, its interval over SAEs, and the regret, per proxy."""
        found = {}
        for name, values in table.proxies.items():
            low, high = bootstrap_interval(
                table.joined(name), lambda rows: kendall_tau(rows[:, 0], rows[:, 1]), 500, 0.95, gen
            )
            found[name] = (kendall_tau(values, table.truth), low, high)
            lost = choice_regret(values, table.truth)
            print(f"{name:20} tau {found[name][0]:+.2f} [{low:+.2f}, {high:+.2f}];", end=" ")
            print(f"choosing by it costs {lost:.2f}")
        best = int(table.truth.argmax())
        print(f"truth {float(table.truth.min()):.2f} to {float(table.truth.max()):.2f}:", end=" ")
        print(f"best are {table.names[best]}")
        return found

    on_world = told_taus(table)

# %% [markdown]
# The variance explained orders these SAEs best, and yet choosing by it costs 0.08 of cosine, because
# it goes on rising where $k$ is too large. The one-latent probes order them worse, and find the best
# one (on two other seeds they cost as much, or less). "No holes" has a *negative* $\tau$: SAEs with far
# too many active latents have no holes, and no features. The overlap says nothing across widths and
# lengths of training. L0 neither.
#
# **The grid on a model.** 24 SAEs on the story model: 96, 192 or 384 latents, four values of $k$, 40
# or 240 steps. Truth: the mean $F_1$ of each label's best latent, on other stories.

# %% tags=["demo"]
if __name__ == "__main__":
    stories = scores_of_grids.story_grid(story, other, 0, learned, quick)
    on_stories = told_taus(stories)
    display(plots.taus({"made data": on_world, "stories": on_stories}))
    display(plots.proxies(stories.proxies, stories.truth, stories.names))

# %% [markdown]
# Here everything is different. The sentences about words follow the labels best (0.52, interval above
# 0), the overlap too (0.43). The variance explained has 0.18, its interval holds 0. The one-latent
# probes, the best adviser on made data, are the worst: choosing by them costs 0.13, where the truth
# goes from 0.21 to 0.35.
#
# Two warnings about this truth. It counts the best of all latents for each label, so wide SAEs have
# an advantage, and the frozen decoder of part 5 would have done well in it. And 24 SAEs that differ
# in few ways are no sample of all SAEs: a $\tau$ belongs to its grid. What can be said for certain: a
# proxy that was right on one grid can be wrong on the next, and nobody who has only proxies would
# know.
#
# ## 7 · Somebody else's numbers
#
# `sae_lens` evaluates SAEs, too. On the same rows, do we agree? Two things to know. It leaves out
# *special* tokens wherever they stand (here every `<|bos|>`, also those between stories), while we
# leave out the first token of a row. And beside the explained variance it reports an older one, as
# `explained_variance_legacy`.

# %% [markdown] tags=["task"]
# Write that older one: for each token $1 - \lVert x - \hat x \rVert^2 / \lVert x - \bar x \rVert^2$,
# with $\bar x$ the mean over all tokens, and then the mean over tokens. (No token is at the mean.)


# %% tags=["exercise"] exercise="3.2.10.h" title="A mean of ratios" difficulty=1 importance=3 minutes=5 skill="ratio of means, mean of ratios"
def tokenwise_explained(x: Float[Tensor, "item d_in"], x_hat: Float[Tensor, "item d_in"]) -> float:
    """Mean over items of 1 - |x - x_hat|² / |x - mean|²."""
    left = (x - x_hat).square().sum(dim=1)
    return float((1 - left / (x - x.mean(dim=0)).square().sum(dim=1)).mean())


# %% [markdown] tags=["hint"]
# One ratio per token. Sum over dimensions inside, mean over tokens outside.

# %% [markdown] tags=["hint"]
# The mean $\bar x$ is a vector, one number for each dimension.

# %% [markdown] tags=["task"]
# The usual explained variance is the ratio of the means. On the story model's shipped SAE, is the
# mean of ratios smaller or larger? Think of tokens that lie near the mean.

# %% tags=["predict"] exercise="3.2.10.P5" title="Two explained variances" difficulty=2 importance=3 minutes=2 skill="reading a definition" choices=["smaller by more than 0.002", "within 0.002", "larger by more than 0.002"]
predict_two_variances = "smaller by more than 0.002"

# %% tags=["demo"] reveals=["predict_two_variances"]
if __name__ == "__main__":
    *numbers, pair = scores_with_tasks.both_evaluations(families.story_saes()[384], 16, 3)
    for name, values in zip(("sae_lens", "ours, its tokens", "ours"), numbers, strict=True):
        print(f"{name:17}", ", ".join(f"{key} {value:.4f}" for key, value in values.items()))
    print(f"older, by hand: {tokenwise_explained(*pair):.4f}")
    axes = torch.eye(20)
    upside_down = torch.cat([-axes[:10], axes.mean(dim=0, keepdim=True)])
    theirs, ours = scores_with_tasks.both_matchings(axes, upside_down)
    print("minus 10 of 20 features, and a mixture of all:", end=" ")
    print(f"their mean correlation coefficient {theirs:.2f}, ours {ours:.2f}")

# %% [markdown]
# On equal tokens all four numbers agree to four digits, and the choice of tokens matters in the
# fourth. The older variance is 0.017 lower: tokens near the mean have small divisors. If you compare
# numbers of two SAEs, ask which of the two they are.
#
# Its **mean correlation coefficient** for dictionaries takes *absolute* cosines and divides by the
# smaller number of rows. A dictionary that has half of the features, with the wrong sign, scores 0.93
# there; 0.01 with signs and all 20 features counted (3.1.5). Neither is wrong. They answer different
# questions.
#
# ## 8 · Which L0?
#
# Sweeps end in a plot of explained variance against L0. What nobody beats on both lies on the
# **Pareto front**.

# %% [markdown] tags=["task"]
# Say which items are on the front: those for which no other item has at most as much of `less` and at
# least as much of `more`, one of them strictly. (Two equal items do not beat each other.)


# %% tags=["exercise"] exercise="3.2.10.i" title="The front" difficulty=2 importance=4 minutes=8 skill="dominance"
def pareto_front(
    less: Float[Tensor, " item"], more: Float[Tensor, " item"]
) -> Bool[Tensor, " item"]:
    """True where no other item is at least as good in both and better in one."""
    as_good = (less <= less[:, None]) & (more >= more[:, None])
    better = (less < less[:, None]) | (more > more[:, None])
    return ~(as_good & better).any(dim=1)


# %% [markdown] tags=["hint"]
# A table of all pairs: does column $j$ beat row $i$?

# %% [markdown] tags=["hint"]
# `(less <= less[:, None]) & (more >= more[:, None])`, and one of the two strictly; `.any(dim=1)`.

# %% [markdown]
# Now 20 features that are all there is, in four worlds: **independent** ones; **correlated** ones
# within groups of four; **exclusive** ones, at most one of a group; **hierarchical** ones. In each,
# three features are on in a row, on average. SAEs with 20 latents and $k$ from 1 to 8.
#
# If a row is not its feature alone, what else is in it? Features of its own group, its **mates**, or
# **strangers** from other groups?

# %% [markdown] tags=["task"]
# Row $i$ of `C` says what the latent of feature $i$ is made of (3.2.10.c2); `group` is each feature's
# group. Return two numbers: the share of the row's sum of squares that belongs to its mates (not to
# feature $i$ itself), and the share that belongs to strangers, each averaged over rows. No row is all
# 0.


# %% tags=["exercise"] exercise="3.2.10.j2" title="Mates and strangers" difficulty=2 importance=3 minutes=8 skill="masks of a table"
def mates_and_strangers(
    C: Float[Tensor, "feature feature"], group: Int[Tensor, " feature"]
) -> tuple[float, float]:
    """Mean shares of each row's sum of squares: others of the row's group, other groups."""
    parts = C.square() / C.square().sum(dim=1, keepdim=True)
    same = group[:, None] == group
    own = torch.eye(len(C), dtype=torch.bool, device=C.device)
    shares = [(parts * mask).sum(dim=1).mean() for mask in (same & ~own, ~same)]
    return float(shares[0]), float(shares[1])


# %% [markdown] tags=["hint"]
# Squares first, each row divided by its own sum: then every row sums to 1, in three parts.

# %% [markdown] tags=["hint"]
# `group[:, None] == group` is true for the feature itself as well: take the diagonal out.

# %% [markdown] tags=["task"]
# Which $k$ gives the rows that are nearest to the features? In how many of the four worlds is the
# mean cosine with the truth (best matching) larger at $k = 3$ than both at 2 and at 5?

# %% tags=["predict"] exercise="3.2.10.P6" title="More is not more" difficulty=2 importance=5 minutes=2 skill="what a sweep can show" choices=["in none", "in one or two", "in three or four"]
predict_best_k = "in three or four"

# %% tags=["demo"] reveals=["predict_best_k"]
if __name__ == "__main__":
    ks = (1, 2, 3, 4, 5, 6, 8)
    curves: dict[str, dict[str, list[float]]] = {}
    for kind in ("independent", "correlated", "exclusive", "hierarchical"):
        here = worlds.world(kind, 20_000, 0)
        configs = [SAEConfig(20, 20, "batchtopk", k=k) for k in ks]
        coders = worlds.train_together(here.x, configs, [0], 300 if quick else 1500)
        curves[kind] = worlds.curves(
            coders, here, decoder_overlap, feature_coefficients, mates_and_strangers
        )
        l0, varied = (torch.tensor(curves[kind][name]) for name in ("l0", "explained"))
        front = pareto_front(l0, varied)
        print(
            f"{kind:13} on the front:", [k for k, on in zip(ks, front.tolist(), strict=True) if on]
        )
        for name in ("explained", "cosine", "overlap", "mates", "strangers"):
            print(f"   {name:10}", " ".join(f"{v:.3f}" for v in curves[kind][name]))
    display(plots.right_l0(ks, curves))

# %% [markdown]
# In three; among exclusive features this one run got stuck at $k = 3$ (0.92 of the variance), and 4 is
# best. The variance explained does not see the peak: it goes on to 1.00. So the front holds $k = 1$ to 4
# and up to two more, a list of what can be had and not of what is right. Chanin and Garriga-Alonso
# (2025) report the same, and that most SAEs in use have too small an L0.
#
# **Too few.** A row must stand for several features. With correlated or hierarchical features those
# are its *mates*: 0.33 and 0.34 of a row's square at $k = 1$, when independent ones give 0.02. That
# is *hedging* (3.2.4; Chanin et al. 2025), and it is what reconstruction rewards. **Too many.** Now
# *strangers* are mixed in: 0.32 to 0.43 at $k = 8$ (0.16 to 0.34 at $k = 1$, too).
#
# **Without the truth** there is the overlap of the rows. It is smallest where the cosine is largest in
# three worlds, and one step off, by a hair, in the fourth (0.061 at 4, 0.064 at 3). On the grid of part
# 6 it said nothing: there width and training varied, too. A proxy can be good for one question ("which
# $k$, all else equal?") and useless for the next. And these are single runs: on two other seeds the
# largest cosine and the least overlap were at 3 or 4 in all eight worlds.
#
# ## 9 · A grid of your own
#
# The seven SAEs of a curve were trained *at once* (`train_together`): stacked along an axis, fed by
# the same batches. With small SAEs most of a step is overhead, and a stack pays it once: 3 to 6
# times as fast as one after another (`make bench`), and each gets, up to rounding, the weights it
# would have got alone. `make sweep` does that for whatever passes a hook:
#
#     make sweep SITE=story/residual K=4,8,16,32 SWEEP_ARGS="--latent 64,128 --architecture topk,relu"
#
# It sorts the grid into stacks (one architecture and width each), trains them one after another, and
# compares all SAEs on held-out rows, with the Pareto front. What is finished stays in `sweeps/`, so
# the same command goes on where it was stopped. From your own code: `utils.saes.sweep`.
#
# **When one machine is too small**, add `--ray` (`pip install 'ray[tune]'`). Then each stack is a
# trial of its own, and the workers of a Ray cluster take them. Seeds and batches belong to the grid
# and not to the worker, so the results are equal. Checkpoints lie in a folder that all workers see: a
# worker that dies is replaced by one that goes on from the last of them. The unit is the stack: one
# stack on twenty machines is no faster than on one. And Ray takes seconds to start, so where an
# evening on one device is enough, stay there.
#
# ## What you should be able to do now
#
# - For each metric, build the SAE that wins it, and name the metric that notices.
# - Compare probes with and without latents, chosen on validation data, in four regimes.
# - Tell a latent with holes from a bad one, and read off a decoder row what it is made of.
# - Compute SCR and TPP, and say what a good score does not show.
# - Put two controls beside every score of explanations.
# - Say how well a proxy follows the truth, with an interval, and what choosing by it costs.
# - Say why a Pareto front is no verdict.
# - Choose between one device and a cluster for a grid.
#
# ## Open questions
#
# 1. Which proxy would have told the trained SAE from the one with the frozen decoder, without labels?
# 2. Does the least overlap find the right L0 when there are more features than latents?
# 3. How would you choose $k$ for a model in which different tokens have different numbers of features?
