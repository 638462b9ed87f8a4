# %% [markdown]
# # 3.1.8 Dictionary learning: what an SAE must beat
#
# A sparse autoencoder (SAE) finds directions in activations. Are they the *right* directions? In a
# language model nobody knows. So this section builds activations from directions that we choose,
# hides them, and asks who finds them again.
#
# The task is older than SAEs. It is called **dictionary learning** (Olshausen & Field 1996): write
# each vector as a sparse sum of a few rows of one dictionary. The older methods are strong. A
# result about SAEs means little until it is held against them. This bonus section repeats questions
# that the field asked itself in its first year (Sharkey, Braun & Millidge 2022; Cunningham et al.
# 2023). 3.1.9 goes on with many dictionaries at once.
#
# Parts 1 and 2 are the tools. After them take the parts in any order.
#
# ## Questions
#
# 1. What makes data with a known dictionary a fair test?
# 2. How does one score a dictionary, and which bad dictionaries does each score like?
# 3. What do PCA, ICA, NMF and K-SVD assume, and how far do they get?
# 4. What are the best codes for a given dictionary, and what does an encoder's single pass cost?
# 5. What does a low reconstruction error prove?
# 6. Does the lowest L1 lie at the true features?
#
# **Words.** The rows of a *dictionary* $D$ are directions of length 1. It is *overcomplete* if it
# has more rows than dimensions. A *true feature* is a row of the dictionary that made the data, a
# *latent* (in older papers an *atom*) a row of a learned one. The *code* $f$ says how much of each
# row is used: $x \approx f D$. $L_0$ counts the entries of a code that are not zero.

# %% tags=["setup"]
import math

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import FastICA
from torch import Tensor

from utils.given import dictionary_runs as runs
from utils.given.dictionaries import (
    Data,
    World,
    cosine_table,
    lasso_objective,
    random_dictionary,
    sae_codes,
    support_f1,
    train_sae,
    train_square,
    unit,
)
from utils.plots import dictionary as plots

# %% [markdown]
# ## 1 · Data whose dictionary we know
#
# Each vector is a sum of a few directions, plus noise:
#
# $$x = \sum_i f_i\, d_i + \varepsilon, \qquad \|d_i\| = 1, \qquad
#   \varepsilon \sim \mathcal N(0, \sigma^2 I) .$$
#
# A fair test is hard in the ways in which real activations are hard.
#
# - **Overcomplete**: 40 features in 20 dimensions. The directions cannot be orthogonal.
# - **Zipf-like frequencies**: a few features are common, most are rare, as words in a text. The
#   probability of feature $i = 1, 2, \dots$ is proportional to $i^{-a}$.
# - **Correlated**: features of one topic tend to be active together.
# - **Noise** in every dimension.

# %% [markdown] tags=["task"]
# Return float32 probabilities: $p_i \propto i^{-a}$ for $i = 1, \dots, n$, scaled so that on
# average `mean_l0` features are active.
#
# A scale that would need a probability above 1 is a `ValueError`. A probability of exactly 1 is
# allowed.


# %% tags=["exercise"] exercise="3.1.8.a1" title="Zipf-like frequencies" difficulty=1 importance=3 minutes=5 skill="power laws"
def zipf_probability(n_feature: int, exponent: float, mean_l0: float) -> Float[Tensor, " feature"]:
    """Probabilities p_i proportional to i^(-exponent), i from 1, that sum to `mean_l0`.

    Raises ValueError if a probability would exceed 1.
    """
    weight = torch.arange(1, n_feature + 1, dtype=torch.float32) ** -exponent
    probability = mean_l0 * weight / weight.sum()
    if probability.max() > 1:
        raise ValueError(f"mean_l0 = {mean_l0} needs a probability above 1: lower it")
    return probability


# %% [markdown] tags=["hint"]
# The expected number of active features is the sum of their probabilities. What must the sum be?

# %% [markdown] tags=["hint"]
# Count ranks from 1: `torch.arange(1, n_feature + 1, dtype=torch.float32)`. At rank 0 the power
# would be infinite.

# %% [markdown]
# **Correlation without touching the frequencies.** Features of one group should come together, and
# each should still have exactly its own $p_i$. A *Gaussian copula* does that. Give every feature a
# standard normal number $z_i$ and switch it on where $z_i$ is large:
#
# $$z_i = \sqrt{\rho}\; s_{g(i)} + \sqrt{1 - \rho}\; e_i, \qquad
#   \text{active}_i = \big[\, z_i > \Phi^{-1}(1 - p_i)\, \big] .$$
#
# Here $s_g$ is one normal number that the group shares, $e_i$ is the feature's own, and $\Phi$ is
# the normal distribution function. Thanks to the square roots the variance of $z_i$ is
# $\rho + (1 - \rho) = 1$, whatever $\rho$ is. So $P(\text{active}_i) = p_i$ exactly.

# %% [markdown] tags=["task"]
# Draw which features are active in `n` rows.
#
# - `group[i]` is the number of the group of feature `i`; groups count from 0.
# - Draw fresh normal numbers for every row, all from `gen`. $\Phi^{-1}$ is `torch.special.ndtri`.


# %% tags=["exercise"] exercise="3.1.8.a2" title="Correlated, with exact frequencies" difficulty=3 importance=3 minutes=15 skill="a Gaussian copula"
def correlated_mask(
    probability: Float[Tensor, " feature"],
    group: Int[Tensor, " feature"],
    rho: float,
    n: int,
    gen: torch.Generator,
) -> Bool[Tensor, "batch feature"]:
    """Active where sqrt(rho) shared + sqrt(1 - rho) own exceeds the normal quantile of 1 - p.

    `shared` is one standard normal number per row and group, `own` one per row and feature.
    """
    n_group = int(group.max()) + 1
    shared = torch.randn(n, n_group, generator=gen, device=gen.device)[:, group]
    own = torch.randn(n, len(group), generator=gen, device=gen.device)
    z = math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
    return z > torch.special.ndtri(1 - probability)


# %% [markdown] tags=["hint"]
# Which random tensors do you need, and of which shapes? One has a column per group, the other a
# column per feature.

# %% [markdown] tags=["hint"]
# `shared[:, group]` copies the column of its group to every feature.

# %% [markdown] tags=["task"]
# Turn the mask into activations $x = fD + \varepsilon$. Return `x` and the true codes `f`.
#
# - An active feature has a magnitude uniform on $[\tfrac12, \tfrac32]$, independent of all else.
# - The noise is normal with standard deviation `noise`, independent in every entry of `x`.


# %% tags=["exercise"] exercise="3.1.8.a3" title="Activations" difficulty=2 importance=4 minutes=10 skill="sampling a linear model"
def dictionary_batch(
    D: Float[Tensor, "feature d_in"],
    active: Bool[Tensor, "batch feature"],
    noise: float,
    gen: torch.Generator,
) -> tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch feature"]]:
    """Draw x = f D + noise * normal, and f: uniform on [0.5, 1.5] where active, else 0."""
    magnitude = 0.5 + torch.rand(active.shape, generator=gen, device=gen.device)
    f = torch.where(active, magnitude, 0.0)
    clean = f @ D
    return clean + noise * torch.randn(clean.shape, generator=gen, device=gen.device), f


# %% [markdown] tags=["hint"]
# Which shape has the noise: that of `f` or that of `x`?

# %% [markdown] tags=["hint"]
# `0.5 + torch.rand(active.shape, ...)` has the right distribution. `torch.where` applies the mask.

# %% [markdown]
# `World` (in `utils/given/dictionaries.py`) says how hard the data are, and `Data` holds the rows and the
# truth behind them. The data have a seed of their own. An SAE must start from *another* one. Draw
# its decoder from the generator that drew the dictionary, and it starts at the truth: then it looks
# like a very good SAE, untrained.


# %% tags=["given"]
def make_data(world: World, seed: int, device: torch.device | str = "cpu") -> Data:
    """Draw a dictionary and a data set from it."""
    gen = torch.Generator(device=device).manual_seed(1000 + seed)
    D = random_dictionary(world.n_feature, world.d_in, gen)
    p = zipf_probability(world.n_feature, world.exponent, world.mean_l0).to(D)
    group = torch.arange(world.n_feature, device=gen.device) % world.n_group
    active = correlated_mask(p, group, world.rho, world.n_rows, gen)
    x, f = dictionary_batch(D, active, world.noise, gen)
    return Data(x, f, D, p, group)


# %% tags=["demo"]
if __name__ == "__main__":
    data = make_data(World(), seed=0)
    active, gram = (data.f > 0).float(), data.D @ data.D.T
    plots.data_portrait(data.probability, active, gram, data.group).show()
    print(f"active features per row: {active.sum(1).mean():.2f}")
    print(f"largest |cosine| of two true features: {gram.fill_diagonal_(0).abs().max():.2f}")

# %% [markdown]
# **What you see.** The frequencies follow the line that we asked for. In the middle each topic is a
# small orange square. The correlations of *activity* are only about 0.1, less than $\rho = 0.3$,
# because switching on and off throws much of $z$ away. On the right the directions have cosines of
# up to 0.7 in size, and topics play no role.
#
# `sae_lens.synthetic` makes such data, too, by the same copula. A claim test compares: in 100,000
# rows of each, frequencies and co-occurrences agree up to chance. It draws from torch's global
# generator, and its import takes some seconds and 500 MB. So we keep our own.
#
# ## 2 · How alike are two dictionaries?
#
# Rows have no order, so compare all with all. The **cosine** of two directions is
# $C_{ij} = a_i \cdot b_j \,/\, \|a_i\| \|b_j\|$; `cosine_table(A, B)` has all pairs (zero rows: 0). The
# sign counts: our features are never negative, so a latent that points the other way has *not*
# found the feature. A single number can be made in three ways.
#
# 1. **From the truth to the latents.** For each true feature take the best latent; then the mean.
#    This is the *mean max cosine similarity*, MMCS (Sharkey et al. 2022). Was each feature found?
# 2. **From the latents to the truth.** The same with the roles exchanged. Is each latent a feature?
# 3. **One to one.** Give each feature a latent of its own, so that the sum of cosines is largest.
#    The Hungarian algorithm finds this assignment. Two features may not share a latent.

# %% [markdown] tags=["task"]
# Return the MMCS from `source` to `target`: for each row of `source` its largest cosine with any
# row of `target`, then the mean over the rows of `source`.


# %% tags=["exercise"] exercise="3.1.8.b1" title="MMCS has a direction" difficulty=1 importance=5 minutes=5 skill="max over one axis, mean over the other"
def directed_mmcs(
    source: Float[Tensor, "source d_in"], target: Float[Tensor, "target d_in"]
) -> Float[Tensor, ""]:
    """Mean over the rows of `source` of the largest cosine with a row of `target`."""
    return cosine_table(source, target).max(dim=1).values.mean()


# %% [markdown] tags=["hint"]
# How many numbers are left after the maximum, and how many rows has `source`?

# %% [markdown] tags=["hint"]
# `table.max(dim=1)` returns values *and* indices.

# %% [markdown] tags=["task"]
# Match each true feature with a latent of its own, so that the sum of cosines is as large as can
# be. Return for each feature the cosine with its partner, and the partner's index.
#
# - There may be more latents than features, or fewer. A feature that goes without a partner has
#   cosine 0 and index −1.
# - `scipy.optimize.linear_sum_assignment` is the Hungarian algorithm. It takes a NumPy array, and it
#   *minimises* unless told otherwise.


# %% tags=["exercise"] exercise="3.1.8.b2" title="One to one" difficulty=3 importance=4 minutes=15 skill="the Hungarian matching"
def one_to_one(
    truth: Float[Tensor, "feature d_in"], latents: Float[Tensor, "latent d_in"]
) -> tuple[Float[Tensor, " feature"], Int[Tensor, " feature"]]:
    """Each feature's cosine with its own latent and that latent's index; 0 and -1 without one.

    The assignment has the largest sum of cosines, and no latent is used twice.
    """
    table = cosine_table(truth, latents)
    rows, cols = linear_sum_assignment(table.detach().cpu().numpy(), maximize=True)
    rows, cols = torch.as_tensor(rows).to(table.device), torch.as_tensor(cols).to(table.device)
    cosine, partner = table.new_zeros(len(truth)), torch.full_like(table[:, 0], -1).long()
    cosine[rows], partner[rows] = table[rows, cols], cols
    return cosine, partner


# %% [markdown] tags=["hint"]
# `rows, cols = linear_sum_assignment(cost)` gives pairs: `rows[k]` is matched with `cols[k]`. With
# fewer latents than features, some rows do not occur.

# %% [markdown] tags=["hint"]
# Start from a tensor of zeros and a tensor of −1, and fill in the matched rows: `cosine[rows] = …`.
# Pass `maximize=True`.


# %% tags=["given"]
def n_recovered(truth: Float[Tensor, "feature d_in"], latents: Float[Tensor, "latent d_in"]) -> int:
    """True features whose own latent has a cosine above 0.9."""
    return int((one_to_one(truth, latents)[0] > 0.9).sum())


def scores(
    truth: Float[Tensor, "feature d_in"], latents: Float[Tensor, "latent d_in"]
) -> dict[str, float]:
    """All three scores of a learned dictionary, and how many true features it recovered."""
    return {
        "truth to latents": directed_mmcs(truth, latents).item(),
        "latents to truth": directed_mmcs(latents, truth).item(),
        "one to one": one_to_one(truth, latents)[0].mean().item(),
        "recovered": n_recovered(truth, latents),
    }


# %% [markdown] tags=["task"]
# A dictionary holds 20 of the 40 true features, each of them twice. So it has 40 rows and knows
# nothing of half the features. Which score is perfect?

# %% tags=["predict"] exercise="3.1.8.P1" title="Half the truth, twice" difficulty=1 importance=4 minutes=2 skill="what a score cannot see" choices=["truth to latents", "latents to truth", "one to one", "none"]
predict_fooled_score = "latents to truth"

# %% tags=["demo"] reveals=["predict_fooled_score"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(7)
    other = random_dictionary(80, 20, gen)
    blurred = unit(data.D + 0.1 * torch.randn(40, 20, generator=gen))
    near_twins = unit(data.D[:20].repeat(2, 1) + 0.08 * torch.randn(40, 20, generator=gen))
    cases = {
        "a little blurred": (data.D, blurred),
        "half the truth, twice": (data.D, data.D[:20].repeat(2, 1)),
        "truth + 80 random rows": (data.D, torch.cat([data.D, other])),
        "near twins share a latent": (near_twins, data.D[:20]),
        "80 random rows": (data.D, other),
    }
    plots.score_bars({name: scores(*pair) for name, pair in cases.items()}, 40).show()

# %% [markdown]
# **What you see.**
#
# - *Half the truth, twice.* Each latent is a feature. The two scores that start from the truth
#   notice that half is missing.
# - *Truth + 80 random rows.* The same two scores are perfect: they go through the features,
#   and nobody asks what the 80 surplus latents are. One to one forbids sharing, and it does not
#   punish false latents. Only the score from the latents does.
# - *Near twins.* Pairs of features have a cosine of about 0.9, and one latent serves both. Both MMCS
#   are 0.95. One to one, only half of the features have a partner: 0.48.
# - *Random rows* score about 0.5. In 20 dimensions that is *nothing*. Always score random rows, too.
#
# So no score is enough alone. Report both directions, and count features with a latent of their own
# at a cosine above 0.9. This threshold is a convention.
#
# ## 3 · The baselines

# %% [markdown] tags=["task"]
# Find directions with independent component analysis.
#
# - Fit `FastICA(n_components=d_in, random_state=seed, max_iter=1000, tol=1e-3)` to the rows of `x`.
# - ICA writes each row as $x = s A^\top + \text{mean}$ with independent $s$. The directions are the
#   **columns** of the mixing matrix $A$, which scikit-learn calls `mixing_`.
# - An independent component has no sign. So return each direction *and its opposite*: `2 d_in` rows
#   of length 1, in any order, with the dtype and device of `x`.


# %% tags=["exercise"] exercise="3.1.8.c1" title="ICA" difficulty=2 importance=3 minutes=10 skill="reading a library's attributes"
def ica_dictionary(x: Float[Tensor, "batch d_in"], seed: int) -> Float[Tensor, "latent d_in"]:
    """Unit columns of FastICA's mixing matrix, and their opposites: 2 d_in rows."""
    d_in = x.shape[1]
    ica = FastICA(n_components=d_in, random_state=seed, max_iter=1000, tol=1e-3)
    ica.fit(x.double().cpu().numpy())
    directions = unit(torch.as_tensor(ica.mixing_.T).to(x))
    return torch.cat([directions, -directions])


# %% [markdown] tags=["hint"]
# scikit-learn has two matrices: `components_` *un*mixes (from $x$ to $s$), `mixing_` mixes (from
# $s$ to $x$). A dictionary goes from codes to $x$.

# %% [markdown] tags=["hint"]
# `mixing_` has shape `(d_in, n_components)`. scikit-learn wants NumPy arrays:
# `x.double().cpu().numpy()`. `torch.as_tensor(...).to(x)` takes the dtype and the device of `x`.

# %% [markdown] tags=["task"]
# Write orthogonal matching pursuit (OMP, Pati et al. 1993) for a whole batch. It builds a code with
# `k` non-zero entries, one at a time. Begin with the residual $r = x$. Then `k` times:
#
# 1. Choose the row of $D$ with the largest $|r \cdot d_j|$. Never choose a row twice.
# 2. Fit *all* chosen rows to $x$ again by least squares.
# 3. The new residual is what they leave.
#
# Rows of `D` have length 1; two may be equal. Return dense codes; entries may be negative.


# %% tags=["exercise"] exercise="3.1.8.c2" title="Orthogonal matching pursuit" difficulty=4 importance=3 minutes=25 skill="greedy selection, batched least squares"
def omp_codes(
    x: Float[Tensor, "batch d_in"], D: Float[Tensor, "latent d_in"], k: int
) -> Float[Tensor, "batch latent"]:
    """Codes with k entries chosen greedily by |residual . d|, refitted to x after every choice."""
    chosen = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    residual, ridge = x, 1e-6  # two equal rows would make the normal equations singular
    for n in range(1, k + 1):
        score = (residual @ D.T).abs().scatter(1, chosen, -1.0)
        chosen = torch.cat([chosen, score.argmax(dim=1, keepdim=True)], dim=1)
        rows = D[chosen]
        gram = rows @ rows.mT + ridge * torch.eye(n, dtype=x.dtype, device=x.device)
        value = torch.linalg.solve(gram, (rows @ x[:, :, None]))
        residual = x - (value.mT @ rows)[:, 0]
    return x.new_zeros(len(x), len(D)).scatter(1, chosen, value[..., 0])


# %% [markdown] tags=["hint"]
# Keep the chosen indices in a tensor `chosen` of shape `(batch, picks so far)`. `D[chosen]` has
# shape `(batch, pick, d_in)`.

# %% [markdown] tags=["hint"]
# Least squares through the normal equations: with $R$ the chosen rows, solve
# $(R R^\top)\, v = R\, x$ by `torch.linalg.solve`, which takes batches. Add `1e-6` to the diagonal,
# so that two equal rows do no harm.

# %% [markdown] tags=["hint"]
# `score.scatter(1, chosen, -1.0)` makes sure that no row is chosen twice. At the end
# `zeros.scatter(1, chosen, values)` puts the values where they belong.

# %% [markdown]
# **K-SVD** (Aharon, Elad & Bruckstein 2006) learns the dictionary, too. It alternates. First it
# finds codes with OMP. Then it improves the rows of $D$ one by one. For row $j$ it looks only at
# the data rows that use it, and takes away what all *other* rows of $D$ explain:
#
# $$E_j = X - \sum_{i \neq j} f_{\cdot i}\, d_i \quad\text{(rows with } f_{\cdot j} \neq 0) .$$
#
# What is left should be one code times one direction. The best such approximation in the least
# squares sense is the first term of the singular value decomposition of $E_j$. It replaces both
# $d_j$ and its codes, at once.

# %% [markdown] tags=["task"]
# Return the unit direction and the codes whose product is closest to `error` in least squares.
#
# A singular vector has no sign of its own. Choose it so that the codes do not sum to a negative
# number: our features are never negative.


# %% tags=["exercise"] exercise="3.1.8.c3" title="The best single direction" difficulty=3 importance=3 minutes=10 skill="the first singular vector"
def best_rank_one(
    error: Float[Tensor, "row d_in"],
) -> tuple[Float[Tensor, " d_in"], Float[Tensor, " row"]]:
    """Unit direction d and codes c minimising |error - c d|^2, oriented so that c.sum() >= 0."""
    direction = torch.linalg.eigh(error.T @ error).eigenvectors[:, -1]
    codes = error @ direction
    return (-direction, -codes) if codes.sum() < 0 else (direction, codes)


# %% [markdown] tags=["hint"]
# `torch.linalg.svd(error, full_matrices=False)` has the directions in the *rows* of `Vh`. Or use
# the eigenvector of `error.T @ error` with the largest eigenvalue: that matrix is small.

# %% [markdown] tags=["hint"]
# Once you have the direction $d$ of length 1, the best codes are the projections `error @ d`.

# %% [markdown] tags=["task"]
# Put K-SVD together. Start from a copy of `D`. In each of `n_iter` rounds: codes by `omp_codes`,
# residual $X - FD$, then go through the rows of $D$ in order.
#
# - Row in use by two data rows or more: add its own part back to the residual of *those* data rows,
#   apply `best_rank_one`, and update the row, its codes and the residual before you go on.
# - Else: replace it by the data row (itself, at length 1) whose residual is longest *at this moment*,
#   after the updates of the rows before. Then set the residual of that data row to 0, so that the
#   next unused row takes another one.
#
# Return the dictionary. `D` itself stays as it is.


# %% tags=["exercise"] exercise="3.1.8.c4" title="K-SVD" difficulty=4 importance=3 minutes=25 skill="alternating minimisation"
def ksvd(
    x: Float[Tensor, "batch d_in"], D: Float[Tensor, "latent d_in"], k: int, n_iter: int
) -> Float[Tensor, "latent d_in"]:
    """Alternate OMP codes with a rank-one update of every row (Aharon et al. 2006)."""
    D = D.clone()
    for _ in range(n_iter):
        codes = omp_codes(x, D, k)
        residual = x - codes @ D
        for j in range(len(D)):
            rows = codes[:, j].nonzero()[:, 0]
            if len(rows) < 2:  # a useless row: start again from the worst explained data row
                worst = residual.square().sum(dim=1).argmax()
                D[j], residual[worst] = unit(x[worst]), 0
                continue
            error = residual[rows] + codes[rows, j, None] * D[j]
            D[j], codes[rows, j] = best_rank_one(error)
            residual[rows] = error - codes[rows, j, None] * D[j]
    return D


# %% [markdown] tags=["hint"]
# `rows = codes[:, j].nonzero()[:, 0]` are the data rows that use row `j`. For them
# $E_j$ = residual + own code × own direction. Why is that cheaper than summing over all others?

# %% [markdown] tags=["hint"]
# After the update the residual of these rows is `error - new_code * new_direction`. If you forget
# it, the next row of $D$ repairs an error that no longer exists.

# %% [markdown]
# **The contestants.** Each gets the same 8,000 rows, and no one is told how many features there
# are.
#
# | method | what it assumes | rows |
# | --- | --- | --- |
# | PCA | orthogonal directions of large variance | at most 20, and their opposites |
# | ICA (Hyvärinen & Oja 2000) | independent, non-Gaussian sources | at most 20, and opposites |
# | NMF (Lee & Seung 1999) | nothing negative; we split $x$ by sign | any |
# | K-SVD | each row uses $k$ directions | any |
# | random directions, the axes | nothing | any; the floor under all scores |

# %% [markdown] tags=["task"]
# Which of PCA, ICA, NMF and K-SVD find at least half of the 40 features? Where a number of rows can
# be chosen, it is 60.

# %% tags=["predict"] exercise="3.1.8.P2" title="The baselines" difficulty=2 importance=4 minutes=2 skill="what a method assumes" choices=["none of them", "only K-SVD", "K-SVD and others", "others, but not K-SVD"]
predict_half_found = "only K-SVD"

# %% tags=["demo"] reveals=["predict_half_found"] experiment="baselines" results=["baseline_counts"]
if __name__ == "__main__":
    found = runs.baselines(data.x, 60, ica_dictionary, ksvd)
    plots.score_bars({name: scores(data.D, D) for name, D in found.items()}, 40).show()
    baseline_counts = {name: n_recovered(data.D, D) for name, D in found.items()}

# %% [markdown]
# **What you see.** PCA and NMF are at the level of random directions. PCA's directions are
# orthogonal, and the truth is not. NMF looks for parts without signs, and splitting $x$ by sign
# tears every feature in two halves that both depend on what else is active.
#
# ICA is better than its reputation: 8 to 16 of the 40 features in six data sets, though it can hold
# only 20 directions. Sparse sources are very non-Gaussian, and that is what it looks for. K-SVD
# finds most features (27 to 34). It was made for this.
#
# ## 4 · Inference: one pass, or an optimisation?
#
# Now the SAE. Its loss is the usual one (Cunningham et al. 2023): the squared error, summed over
# `d_in`, plus $\lambda$ times the sum of the codes. The decoder's rows are kept at length 1.
#
# $$f = \mathrm{ReLU}\big((x - b_\text{dec})\, W_\text{enc} + b_\text{enc}\big), \qquad
#   L = \big\|x - b_\text{dec} - f W_\text{dec}\big\|^2 + \lambda \sum_j f_j .$$
#
# You have written SAEs in section 3.1.5, so this one is given: `sae_codes`, `sae_loss` and
# `train_sae` in `utils/given/dictionaries.py`. Parameters are a dictionary of tensors. What differs
# between SAEs sits in a second one, `hyper`: $\lambda$, whether the encoder is tied to the decoder,
# a mask over latents.
#
# The encoder guesses the codes in one pass. For a fixed dictionary the best codes solve a convex
# problem, so we can compute them and see what the guess costs. The difference is an **amortisation
# gap** (the word is from Cremer, Li & Duvenaud 2018; O'Neill, Gumran & Klindt 2024 study it for
# SAEs).
#
# $$F(f) = \|x - fD\|^2 + \lambda \sum_j f_j, \qquad f \ge 0 .$$
#
# Derive the method in three steps.
#
# 1. The gradient is $\nabla F = 2 (fD - x) D^\top + \lambda$. Its Lipschitz constant is
#    $2\,\|D\|^2$, with the largest singular value of $D$ as norm. So a step of
#    $s = 1 / (2 \|D\|^2)$ never overshoots.
# 2. Codes may not be negative: after the step, set negative ones to 0. That is a ReLU:
#    $f \leftarrow \mathrm{ReLU}(f - s \nabla F)$. This is ISTA.
# 3. **FISTA** (Beck & Teboulle 2009) takes the gradient at a point a little *ahead*. With $t_1 = 1$
#    and $t_{n+1} = \tfrac12 (1 + \sqrt{1 + 4 t_n^2})$,
#    $$f_n = \mathrm{ReLU}\big(y_n - s \nabla F(y_n)\big), \qquad
#      y_{n+1} = f_n + \frac{t_n - 1}{t_{n+1}} (f_n - f_{n-1}), \qquad y_1 = f_0 = 0 .$$
#
# Look at the first step from zero: $f_1 = \mathrm{ReLU}(2 s\, x D^\top - s \lambda)$. That is a
# tied encoder with a negative bias. An SAE's encoder is one learned step of this method.

# %% [markdown] tags=["task"]
# Write FISTA for a batch, from $f_0 = 0$. Return the codes after `n_steps` steps.


# %% tags=["exercise"] exercise="3.1.8.d" title="FISTA" difficulty=3 importance=4 minutes=20 skill="proximal gradient steps"
def fista_codes(
    x: Float[Tensor, "batch d_in"], D: Float[Tensor, "latent d_in"], l1: float, n_steps: int
) -> Float[Tensor, "batch latent"]:
    """Minimise |x - f D|^2 + l1 * sum f over f >= 0, from f = 0 (Beck & Teboulle 2009)."""
    step = 0.5 / torch.linalg.matrix_norm(D, ord=2) ** 2
    codes = ahead = x.new_zeros(len(x), len(D))
    t = 1.0
    for _ in range(n_steps):
        gradient = 2 * (ahead @ D - x) @ D.T + l1
        new = torch.relu(ahead - step * gradient)
        t_new = (1 + math.sqrt(1 + 4 * t**2)) / 2
        ahead = new + (t - 1) / t_new * (new - codes)
        codes, t = new, t_new
    return codes


# %% [markdown] tags=["hint"]
# Keep two tensors: `codes` is $f_n$, `ahead` is $y_n$. At which of the two is the gradient taken?

# %% [markdown] tags=["hint"]
# `torch.linalg.matrix_norm(D, ord=2)` is the largest singular value. The constant $\lambda$ of the
# gradient goes inside the ReLU with the rest, times the step.

# %% [markdown] tags=["task"]
# Train an SAE. Keep its decoder, throw its encoder away, and let FISTA find the best codes. How far
# above theirs was the encoder's objective $F$?

# %% tags=["predict"] exercise="3.1.8.P3" title="The amortisation gap" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["less than 2 %", "2 to 20 %", "more than 20 %"]
predict_gap = "2 to 20 %"

# %% tags=["demo"] reveals=["predict_gap"] experiment="gap" results=["one_pass_objective", "best_objective"]
if __name__ == "__main__":
    sae, sae_settings = train_sae(data.x, 60, 0.4, seed=0)
    x, W_dec = data.x[:2000] - sae["b_dec"], sae["W_dec"]
    steps = [1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 200]
    solved = [fista_codes(x, W_dec, 0.4, n) for n in steps]
    codes = {"one pass": sae_codes(sae, data.x[:2000], sae_settings), "FISTA": solved[-1]}
    codes["OMP, k = 3"] = omp_codes(x, W_dec, 3)
    one_pass_objective = lasso_objective(x, codes["one pass"], W_dec, 0.4).mean().item()
    means = [lasso_objective(x, f, W_dec, 0.4).mean().item() for f in solved]
    best_objective, level = means[-1], {"the encoder, one pass": one_pass_objective}
    curve = {"FISTA from zero": (steps, means)}
    plots.lines({"": curve}, "FISTA steps", "mean objective F", log_x=True, levels=level).show()
    print(f"one pass is {one_pass_objective / best_objective - 1:.1%} above the best objective")
    for name, f in codes.items():
        error, l0 = (x - f @ W_dec).square().sum(1).mean(), (f.abs() > 1e-4).sum(1).float().mean()
        f1 = support_f1(f, data.f[:2000], one_to_one(data.D, W_dec))
        print(f"{name:11} squared error {error:.3f}   L0 {l0:.2f}   F1 {f1:.2f}")

# %% [markdown]
# **What you see.** The encoder's objective is 8 % above the best (8 to 10 % in six data sets). FISTA
# from zero needs about eight steps to get as far. With the better codes the squared error falls by
# a third, and codes of the features found fit better: $F_1$ (2 × hits / (codes above 0.2 +
# features active)) rises by 0.01 to 0.05. If two latents both look like $x$, the encoder switches both on.
# FISTA lets one explain the other away. OMP has the worst $F_1$: it is greedy, always uses three
# latents, and may use negative codes.
#
# **What the numbers do not show.** The decoder was trained *with* this encoder. One trained with
# FISTA's codes would be another. And better codes cost dozens of matrix products.
#
# ## 5 · A dictionary that reconstructs everything
#
# Let an SAE have $2d$ latents and tied weights, and let its dictionary be $D = [I, -I]$: every axis
# and its opposite. No bias. What comes out?
#
# $$f = \mathrm{ReLU}(x D^\top) = [\mathrm{ReLU}(x), \mathrm{ReLU}(-x)], \qquad
#   f D = \mathrm{ReLU}(x) - \mathrm{ReLU}(-x) = x .$$
#
# Perfect for every $x$, and the data were never looked at. For any orthogonal $R$ the dictionary
# $[R, -R]$ does it, too. So a low reconstruction error alone means nothing. What betrays it? Real
# features are seldom opposite to each other. So look at the *smallest* cosine of each latent with
# any other: it is $-1$ for all of them here.

# %% [markdown] tags=["task"]
# For each row of a dictionary, return its smallest cosine with a row of the same dictionary. Rows
# need not have length 1.


# %% tags=["exercise"] exercise="3.1.8.e" title="The smallest cosine" difficulty=1 importance=3 minutes=5 skill="a diagnostic in one line"
def smallest_cosine(D: Float[Tensor, "latent d_in"]) -> Float[Tensor, " latent"]:
    """Each row's smallest cosine with a row of the same dictionary: -1 if it has an opposite."""
    return cosine_table(D, D).min(dim=1).values


# %% [markdown] tags=["hint"]
# Do you have to leave out the diagonal here? What is its value, and can it be the smallest?

# %% [markdown] tags=["hint"]
# `cosine_table` compares two dictionaries. They may be the same one.

# %% tags=["demo"]
if __name__ == "__main__":
    axes = torch.eye(20)
    R = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(5))).Q
    trio = {"truth": data.D, "[I, -I]": torch.cat([axes, -axes]), "[R, -R]": torch.cat([R, -R])}
    for name, D in trio.items():
        f = torch.relu(data.x @ D.T)
        error, l0 = (f @ D - data.x).square().sum(1).mean(), (f > 0).sum(1).float().mean()
        cosine = smallest_cosine(D).mean()
        print(f"{name:8} squared error {error:.3f}   L0 {l0:.1f}   smallest cosine {cosine:.2f}")

# %% [markdown]
# The true dictionary has the worst error! A tied encoder without bias switches on every latent that
# looks a little like $x$, about half of them. So the reconstruction error does not even get the
# order right. In 3.1.9 training itself finds such dictionaries.
#
# ## 6 · Where is the lowest L1?
#
# L1 is a stand-in for sparsity. Does its minimum lie at the true features? Not in this example,
# which you can do on paper. Two features are the axes of the plane. Both are always active, each
# uniform on $[0, 1]$. So $x = (a, b)$ is uniform in the unit square. With the axes as dictionary
# the codes are $a$ and $b$, and the expected L1 is $\mathbb E[a] + \mathbb E[b] = 1$.
#
# **The rival.** Three rows of length 1, none of them a feature:
# $d_1 = \tfrac{1}{\sqrt2}(1, 1)$, $d_2 = \tfrac{1}{\sqrt2}(1, -1)$,
# $d_3 = \tfrac{1}{\sqrt2}(-1, 1)$. Take a point with $a \ge b$.
#
# 1. We need $f_1 d_1 + f_2 d_2 = (a, b)$, so $f_1 + f_2 = \sqrt2\, a$ and $f_1 - f_2 = \sqrt2\, b$.
# 2. Hence $f_1 = (a + b)/\sqrt2$ and $f_2 = (a - b)/\sqrt2$. Both are $\ge 0$: the reconstruction is
#    perfect, with allowed codes.
# 3. The cost is their sum, $\sqrt2\, a$. If $b > a$, use $d_3$ in place of $d_2$ and get
#    $\sqrt2\, b$. So the cost is always $\sqrt2 \max(a, b)$.
# 4. The maximum of two uniform numbers has density $2t$, so
#    $\mathbb E[\max] = \int_0^1 2 t^2\, dt = \tfrac23$. The expected L1 is
#    $$\tfrac{2\sqrt2}{3} \approx 0.943 < 1 .$$
#
# The wrong dictionary is cheaper. And a tied encoder without bias computes these codes in one pass:
# $\mathrm{ReLU}(x \cdot d_2)$ is $(a - b)/\sqrt2$ or 0, just as needed. First measure. The cheapest
# exact code in the plane needs no more than two rows (it is a corner of a linear program). Try all
# pairs.

# %% [markdown] tags=["task"]
# For every point, return the lowest L1 of a non-negative code that reconstructs it exactly.
#
# - Try all pairs of rows: solve the two equations, keep the pairs whose codes are not negative
#   (allow $-10^{-6}$ for rounding), take the smallest sum.
# - Skip pairs of parallel rows (determinant below $10^{-6}$ in size). A point that no pair
#   reconstructs costs infinity.


# %% tags=["exercise"] exercise="3.1.8.f1" title="The cheapest exact code" difficulty=3 importance=2 minutes=20 skill="all pairs at once"
def cheapest_code(
    x: Float[Tensor, "batch 2"], D: Float[Tensor, "latent 2"]
) -> Float[Tensor, " batch"]:
    """Lowest sum f with f >= 0 and f D = x exactly; inf where there is none."""
    pairs = D[torch.combinations(torch.arange(len(D), device=D.device), 2)]
    pairs = pairs[torch.linalg.det(pairs).abs() > 1e-6]
    codes = torch.linalg.solve(pairs.mT, x.T)
    cost = codes.sum(dim=1).masked_fill((codes < -1e-6).any(dim=1), torch.inf)
    return torch.cat([cost, torch.full_like(x[None, :, 0], torch.inf)]).min(dim=0).values


# %% [markdown] tags=["hint"]
# For one pair: $f_1 d_1 + f_2 d_2 = x$ is a system of two equations. Are $d_1, d_2$ the rows or the
# columns of its matrix?

# %% [markdown] tags=["hint"]
# `torch.combinations(torch.arange(n), 2)` lists the pairs; `D[pairs]` has shape `(pair, 2, 2)` with
# directions as rows. `torch.linalg.solve(A, x.T)` solves for all points at once: `(pair, 2, batch)`.

# %% [markdown]
# **Sparser data.** Now let each coordinate be active with probability $p$ only, independently; where
# it is not, it is 0. An active one is uniform on $[0, 1]$, as before. What do both dictionaries cost
# on average?

# %% [markdown] tags=["task"]
# Derive the two expected costs as functions of $p$, with pencil and paper, and return them stacked
# on a new first axis: the axes, the rival.
#
# A point costs $a + b$ with the axes and $\sqrt2 \max(a, b)$ with the rival. How often are two, one or
# no coordinates active, and what does each case cost?


# %% tags=["exercise"] exercise="3.1.8.f2" title="Two expected costs" difficulty=2 importance=3 minutes=10 skill="an expectation by cases"
def square_costs(p: Float[Tensor, "*grid"]) -> Float[Tensor, "rival *grid"]:
    """Expected L1 of the axes and of the three diagonals where coordinates are active with p."""
    return torch.stack([p, math.sqrt(2) * p * (1 - p / 3)])


# %% [markdown] tags=["hint"]
# What must both give at $p = 1$? And which of the two is linear in $p$?

# %% [markdown] tags=["hint"]
# Both coordinates are active with probability $p^2$: then $\mathbb E[\max] = \tfrac23$. Exactly one
# is active with probability $2p(1 - p)$: then the maximum is that one, $\tfrac12$ on average.

# %% [markdown] tags=["hint"]
# The rival costs $\sqrt2 \big(\tfrac23 p^2 + p (1 - p)\big)$. `torch.stack([...])` makes a new first
# axis.

# %% [markdown] tags=["task"]
# Below which $p$ are the axes cheaper than the rival? Write a plain number; an answer within 0.01
# counts. (Solve it with your two formulas, or guess.)

# %% tags=["predict"] exercise="3.1.8.P4" title="How sparse must it be?" difficulty=2 importance=4 minutes=5 skill="where two costs tie"
predict_restored_at = 0.879

# %% [markdown]
# The two formulas compare dictionaries that *we* chose. What does training choose? We train tied
# SAEs without bias, three latents, a small $\lambda$, 48 starts at each $p$, and keep the start
# with the lowest loss.

# %% tags=["demo"] reveals=["predict_restored_at"] experiment="square" results=["D_square", "p_square"]
if __name__ == "__main__":
    square_gen, half = torch.Generator().manual_seed(0), math.sqrt(0.5)
    points = torch.rand(200_000, 2, generator=square_gen)
    rival = torch.tensor([[half, half], [half, -half], [-half, half]])
    for name, D in {"axes": torch.eye(2), "rival": rival}.items():
        print(f"measured L1 in the full square, {name:5}: {cheapest_code(points, D).mean():.4f}")
    p_square = torch.tensor([1.0, 0.95, 0.85, 0.3])
    D_square, cost = train_square(p_square, 48, square_gen)
    pairs = zip(p_square.tolist(), cost.tolist(), strict=True)
    plots.plane_dictionaries(D_square, [f"p = {p:g}: L1 {c:.3f}" for p, c in pairs]).show()

# %% [markdown]
# **What you see.** At $p = 1$ and 0.95 the trained latents are the three diagonals (at 0.95, from one
# of four seeds, turned by 9°). At $p = 0.85$ and 0.3 they are the axes, and the third latent is
# useless: it points away from all the data.
#
# In between your formulas tie. The axes cost $\mathbb E[a] + \mathbb E[b] = p$. The rival costs
# $\sqrt2 \big(\tfrac23 p^2 + \tfrac12 \cdot 2 p (1 - p)\big) = \sqrt2\, p\, (1 - \tfrac p3)$. They are
# equal at $p = 3 - 3/\sqrt2 \approx 0.879$. The L1 in the titles is a little below the formulas, because
# with $\lambda = 0.02$ training trades some reconstruction for it.
#
# **What this shows, and what not.** Against this rival L1 prefers the true features only if the
# data are sparse enough: each off in at least 12 % of the rows. And it is not the best. With (1, 0), (0, 1),
# $(1, 1)/\sqrt2$ a point costs $\sqrt2 \min + |a - b|$, on average $(\sqrt2 + 1)/3 \approx 0.805$.
# No tied one-pass encoder can compute these codes, but FISTA can. With more and more rows the cost
# falls towards $\mathbb E \|x\| \approx 0.765$: a latent for every direction.
#
# ## What you should be able to do now
#
# - Build data with a known dictionary, and say which of its properties make recovery hard.
# - Name three scores for a dictionary and, for each, a bad dictionary that it likes.
# - Say what PCA, ICA, NMF and K-SVD assume, and give each a fair chance.
# - Write OMP, K-SVD and FISTA, and say what an encoder loses against them.
# - Prove that $[I, -I]$ reconstructs everything, and say what betrays it.
# - Derive 0.943, and say at which sparsity L1 prefers the true features again.
#
# **Go further.** (1) Train K-SVD on 1,000 rows instead of 8,000. (2) Train a decoder with FISTA's
# codes. (3) Give the world of part 1 noise of 0.2. Which of the baselines suffers most?
#
# **Next:** 3.1.9 trains many dictionaries and asks which of them to believe.
#
# **References.** Aharon, Elad & Bruckstein 2006, *K-SVD*. Beck & Teboulle 2009, *A fast iterative
# shrinkage-thresholding algorithm*. Cremer, Li & Duvenaud 2018, *Inference suboptimality in
# variational autoencoders*. Cunningham et al. 2023, *Sparse autoencoders find highly interpretable
# features in language models*. Hyvärinen & Oja 2000, *Independent component analysis*. Lee & Seung
# 1999, *Learning the parts of objects*. Olshausen & Field 1996, *Emergence of simple-cell receptive
# field properties*. O'Neill, Gumran & Klindt 2024 on amortisation in SAEs. Pati, Rezaiifar &
# Krishnaprasad 1993, *Orthogonal matching pursuit*. Sharkey, Braun & Millidge 2022, *Taking
# features out of superposition with sparse autoencoders*.
