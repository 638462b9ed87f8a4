# %% [markdown]
# # 3.1.4 Feature geometry
#
# In 3.1.1 five features in a plane formed a pentagon. What do 200 features do in 20 dimensions?
# Nobody can look there. We learn to see with numbers.
#
# The main number is a feature's **dimensionality**: which share of a dimension does it own?
# Elhage et al. (2022), *Toy Models of Superposition* (**TMS**), found that this share likes
# certain fractions, and that each fraction comes from a regular shape, a polytope. We rebuild
# that finding, and we check it.
#
# ## What you will learn
#
# 1. Which share of a dimension does a feature own? How is that computed without NaN and without a
#    hidden constant?
# 2. How many features share a dimension, from dense to sparse?
# 3. Which shape has which fraction?
# 4. Which shapes do trained models take, and what *proves* that a group of features is one?
# 5. How does a feature's share change during training?
# 6. Can the shares add up to more than the number of dimensions?
# 7. Why do some polytopes occur and others not?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | $m$, $n$ | number of hidden dimensions, number of features |
# | $W_i$ | direction of feature $i$: column $i$ of $W$ |
# | $\hat W_i$ | the same direction with length 1 |
# | polytope | the shape whose corners are some directions $\hat W_i$ |
# | digon | two opposite directions: the "polytope" of an antipodal pair |
# | Gram matrix | all inner products $V^\top V$ of the columns of $V$ |
# | frame operator | $F = W W^\top = \sum_j W_j W_j^\top$, an $m \times m$ matrix |

# %% tags=["setup"]
import math
from collections import Counter
from dataclasses import replace
from itertools import groupby, pairwise

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils import plots
from utils.plots import geometry as plots_geometry
from utils.toy import (
    ToyConfig,
    TrainConfig,
    evaluate_toy,
    fit,
    init_toy,
    sample_sparse,
    train_toy_fast,
)

FRACTIONS = torch.tensor([1, 3 / 4, 2 / 3, 1 / 2, 2 / 5, 3 / 8])
WIDE = ToyConfig(inst=20, feature=200, hidden=20)  # TMS: 400 in 30, takes three times as long

# %% [markdown]
# ## 1 · Which share of a dimension does a feature own?
#
# Take feature $i$ and its unit direction $\hat W_i$. Every other feature $j$ has some part along
# this direction, $\hat W_i \cdot W_j$. TMS defines the dimensionality
#
# $$D_i = \frac{\|W_i\|^2}{\sum_{j} \big(\hat W_i \cdot W_j\big)^2} .$$
#
# The sum runs over *all* $j$, also $j = i$: that term is $\|W_i\|^2$. So of everything that lies
# along the direction of feature $i$, which share is feature $i$ itself?
#
# - Orthogonal to all others: $D_i = 1$. The feature owns a whole dimension.
# - One half of an antipodal pair of equal lengths: $D_i = 1/2$.
# - Shorter than the others along its direction: $D_i$ near 0.
#
# Scherlis et al. (2022), *Polysemanticity and Capacity in Neural Networks*, call the same number
# the **capacity** of a feature.
#
# Multiply $W$ by 7: numerator and denominator both grow by 49. So $D$ does not depend on the scale
# of $W$. Keep that property in your code: a constant such as $10^{-8}$ in the denominator would
# break it.

# %% [markdown] tags=["task"]
# Return the dimensionality $D_i$ of every feature.
#
# - `W` may have any number of leading axes: one model, a stack of instances, or frames of a
#   training run.
# - A feature of norm 0 has no direction. Its dimensionality is 0, not NaN.
# - The result must not change when `W` is multiplied by $10^{-8}$.


# %% tags=["exercise"] exercise="3.1.4.a" title="Feature dimensionality" difficulty=2 importance=5 minutes=15 skill="a share, and its edge cases" shows="dimensionalities"
def feature_dimensionality(
    W: Float[Tensor, "*inst hidden feature"],
) -> Float[Tensor, "*inst feature"]:
    """D_i = |W_i|^2 / sum_j (W_hat_i . W_j)^2, with j = i; 0 where W_i = 0 (TMS, on geometry)."""
    norm = W.norm(dim=-2)
    dead = norm == 0  # exactly 0: any other norm has a direction
    W_hat = W / norm.masked_fill(dead, 1)[..., None, :]
    overlap = einsum(W_hat, W, "... hidden feature, ... hidden other -> ... feature other")
    shared = overlap.square().sum(dim=-1)
    return norm.square() / shared.masked_fill(dead, 1)


# %% [markdown] tags=["hint"]
# Which matrix holds all the products $\hat W_i \cdot W_j$? On which side is the hat, and over
# which of its two axes do you sum?

# %% [markdown] tags=["hint"]
# Compute with a pair of feature axes:
# `"... hidden feature, ... hidden other -> ... feature other"`. The dots stand for any leading
# axes. For them, use `dim=-2` and `dim=-1`, never `dim=0`.

# %% [markdown] tags=["hint"]
# Where a norm is 0, divide by 1 instead: `norm.masked_fill(norm == 0, 1)`. Do it in both places
# where you divide. Then $0 / 1 = 0$ comes out by itself.

# %% [markdown]
# ## 2 · How many features share a dimension?
#
# One number for the whole model: **dimensions per feature**. A represented feature has a norm
# near one. So the squared Frobenius norm $\|W\|_F^2 = \sum_i \|W_i\|^2$ (the sum of all squared
# entries) roughly counts the represented features, and TMS plots
#
# $$D^* = \frac{m}{\|W\|_F^2} .$$

# %% [markdown] tags=["task"]
# Return dimensions per feature, $m / \|W\|_F^2$, of every instance.


# %% tags=["exercise"] exercise="3.1.4.b" title="Dimensions per feature" difficulty=1 importance=3 minutes=5 skill="Frobenius norm of the last two axes"
def dimensions_per_feature(W: Float[Tensor, "*inst hidden feature"]) -> Float[Tensor, "*inst"]:
    """Hidden dimensions over squared Frobenius norm, m / |W|_F^2 (TMS, on geometry)."""
    return W.shape[-2] / W.square().sum(dim=(-2, -1))


# %% [markdown] tags=["hint"]
# Which axis of `W` has length $m$? Which axes does the Frobenius norm sum over?

# %% [markdown] tags=["hint"]
# The squared Frobenius norm needs no root: square, then sum over the last two axes.

# %% [markdown]
# Now train. Twenty models, 200 features in 20 dimensions, from $p = 1$ down to $p = 0.1$. There
# is one important change from 3.1.1: **all features are equally important**. So nothing tells the
# model which ones to keep.

# %% [markdown] tags=["task"]
# Dense, $p = 1$, equal importances. The model turns out to have $m / \|W\|_F^2 \approx 1$: one
# dimension per feature. What is the dimensionality $D_i$ of a *typical* feature?
#
# - `"1 for 20, 0 for the rest"`: twenty features own a dimension each, the others are dropped
# - `"about 1/10 for all"`: all 200 features share the 20 dimensions, roughly evenly
# - `"1/2 for 40, 0 for the rest"`: twenty antipodal pairs

# %% tags=["predict"] exercise="3.1.4.P1" title="Dense and equally important" difficulty=2 importance=4 minutes=2 skill="predicting" choices=["1 for 20, 0 for the rest", "about 1/10 for all", "1/2 for 40, 0 for the rest"]
predict_dense_dimensionality = "about 1/10 for all"

# %% tags=["demo"] reveals=["predict_dense_dimensionality"] experiment="wide_geometry" results=["W_wide", "p_wide"]
if __name__ == "__main__":
    p_wide = torch.logspace(0, -1, WIDE.inst)
    W, b = init_toy(WIDE, torch.Generator().manual_seed(0))
    settings = TrainConfig(3000, 256, 1e-2, "linear", label="200 features in 20 dimensions")
    gen = torch.Generator().manual_seed(1)
    W_wide = train_toy_fast(W, b, 1.0, p_wide[:, None], settings, gen).W
    plots_geometry.dimensions_curve(1 / p_wide, dimensions_per_feature(W_wide)).show()
    D_wide = feature_dimensionality(W_wide)
    print("p        ", [f"{p:.2f}" for p in p_wide.tolist()[::4]])
    print("sum of D ", [f"{s:.2f}" for s in D_wide.sum(-1).tolist()[::4]])
    print(f"at p = 1: D from {D_wide[0].min():.2f} to {D_wide[0].max():.2f}")

# %% [markdown]
# **What you see.** At $p = 1$ the ratio is 1, and no feature owns a dimension: $D_i$ scatters
# around $1/10$, and the largest is about $1/5$. Why? The inputs vary equally in all 200
# directions. So every 20-dimensional subspace keeps the same share of the variance, and no
# feature is worth more than another. (TMS says so, too: in the dense regime features are
# represented in arbitrary directions.) Training ends in some subspace, and $W^\top W$
# projects onto it: $W$ has orthonormal rows, $\|W\|_F^2 = m$ for any subspace. So the ratio is 1.
#
# Keep this in mind when you read the curve. $m / \|W\|_F^2$ is an average. It cannot tell "twenty
# features own a dimension" from "two hundred share twenty".
#
# The curve stays near 1 down to $p \approx 0.8$. Then it falls, and it rests near $1/2$ from
# about $p = 0.43$ to $p = 0.30$. TMS calls such a value **sticky**: the sparsity changes, and the
# curve does not. It reports that 1 and $1/2$ are sticky. Afterwards the curve falls at every
# step (in five more runs, too).
#
# The printed sums of $D_i$ are always close to 20, the number of dimensions. Part 6 says why.

# %% [markdown]
# ## 3 · Polytopes and their fractions
#
# Where does a share like $1/2$ come from? From a shape. Put $k$ unit vectors into $d$ dimensions
# as evenly as possible. By symmetry each gets the same share, and the shares add up to $d$ (part
# 6 proves when). So each gets $D = d / k$.
#
# | polytope | $k$ | $d$ | $D$ |
# | --- | --- | --- | --- |
# | a single direction | 1 | 1 | 1 |
# | tetrahedron | 4 | 3 | 3/4 |
# | triangle | 3 | 2 | 2/3 |
# | digon (antipodal pair) | 2 | 1 | 1/2 |
# | pentagon | 5 | 2 | 2/5 |
# | square antiprism | 8 | 3 | 3/8 |
#
# TMS names a line through its figure of feature geometry for each of them but the first: it
# expects no line at 1, since in the dense regime no direction is special. We call all six the
# **sticky fractions**. First we build the shapes exactly, with no training.
#
# Two families cover most of them. A **regular polygon** has $k$ directions in a plane. A
# **regular simplex** has $k$ directions in $k - 1$ dimensions, all at the same angle: $k = 2$ is
# the digon, 3 the triangle, 4 the tetrahedron.

# %% [markdown] tags=["task"]
# Return the $k$ unit vectors of a regular polygon, as columns, in float32 (torch's default). Corner
# $i$ is at the angle $2\pi i / k$, and corner 0 is $(1, 0)$.


# %% tags=["exercise"] exercise="3.1.4.c1" title="A regular polygon" difficulty=1 importance=2 minutes=5 skill="vectors as columns" shows="polygons"
def regular_polygon(k: int) -> Float[Tensor, "2 k"]:
    """Unit vectors at the angles 2 pi i / k, as columns; corner 0 is (1, 0)."""
    angle = 2 * math.pi * torch.arange(k) / k
    return torch.stack([angle.cos(), angle.sin()])


# %% [markdown] tags=["hint"]
# How many angles are there in `torch.linspace(0, 2 * math.pi, k)`, and are the first and the last
# different?

# %% [markdown] tags=["hint"]
# `torch.arange(k)` counts from 0. Stack the cosines on top of the sines: shape `(2, k)`.

# %% [markdown]
# For the simplex we know what we want: $V^\top V$ must have 1 on the diagonal and one number $c$
# everywhere else. Which $c$? The $k$ vectors add up to zero, $\sum_j V_j = 0$. Multiply by $V_i$:
#
# $$1 + (k - 1)\, c = 0 \iff c = -\frac{1}{k - 1} .$$
#
# How to get $k$ vectors with given inner products, in no more coordinates than they need?

# %% [markdown] tags=["task"]
# Return the $k \ge 2$ unit vectors of a regular simplex, as the columns of a matrix with $k - 1$
# rows, in float32 (torch's default). Any orientation is right.


# %% tags=["exercise"] exercise="3.1.4.c2" title="A regular simplex" difficulty=4 importance=3 minutes=15 skill="coordinates from a Gram matrix"
def regular_simplex(k: int) -> Float[Tensor, "k_minus_1 k"]:
    """k unit vectors in k - 1 dimensions, every pair with inner product -1 / (k - 1)."""
    centred = torch.eye(k) - 1 / k  # the corners e_i minus their mean; a projection of rank k - 1
    basis = torch.linalg.eigh(centred).eigenvectors[:, 1:]  # eigenvalue 0 comes first
    V = basis.T @ centred
    return V / V.norm(dim=0)


# %% [markdown] tags=["hint"]
# Take the $k$ corners $e_1, \dots, e_k$ of the standard basis and subtract their mean. By symmetry
# they form a simplex in a space of $k - 1$ dimensions. As columns they are `torch.eye(k) - 1 / k`.
# What are the eigenvalues of this matrix, and which eigenvector is not needed?

# %% [markdown] tags=["hint"]
# `torch.linalg.eigh` returns eigenvalues in ascending order, eigenvectors as columns. The
# eigenvectors with eigenvalue 1 are an orthonormal basis $B$ of the space that you want.
# Coordinates of a vector $v$ in it: $B^\top v$.

# %% [markdown] tags=["hint"]
# `V = B.T @ centred` has shape `(k - 1, k)`. Its columns are still too short: divide each by its
# own norm.

# %% [markdown]
# The **square antiprism** is a cube whose top face is turned by 45°: two squares, one above the
# other, so that the corners of one look at the gaps of the other. Write $r$ for the distance of a
# corner from the axis and $h$ for its height, $r^2 + h^2 = 1$. Which $h$? The $2k$ corners should
# share the three dimensions evenly. The frame operator of an antiprism over $k$-gons is
#
# $$F = \sum_j V_j V_j^\top = \mathrm{diag}\big(k r^2,\; k r^2,\; 2 k h^2\big) .$$
#
# Even means $F \propto$ identity. Then the vectors are called a **tight frame**.

# %% [markdown] tags=["task"]
# Return the $2k$ corners of the antiprism over a regular $k$-gon whose height makes it a tight
# frame in three dimensions (float32, torch's default).
#
# - Solve $k r^2 = 2 k h^2$ with $r^2 + h^2 = 1$.
# - Columns $0, \dots, k - 1$ are the upper polygon, at the angles $2 \pi i / k$. Columns
#   $k, \dots, 2k - 1$ are the lower one, turned by half a step, at the angles
#   $2 \pi (i + \tfrac12) / k$. The third coordinate is the height, $h$ or $-h$.


# %% tags=["exercise"] exercise="3.1.4.c3" title="The antiprism" difficulty=3 importance=2 minutes=15 skill="solving for a tight frame" shows="antiprism"
def tight_antiprism(k: int) -> Float[Tensor, "3 two_k"]:
    """Corners of the antiprism over k-gons whose height makes V V^T = 2k/3 times the identity."""
    r, h = math.sqrt(2 / 3), math.sqrt(1 / 3)
    angle = 2 * math.pi * torch.cat([torch.arange(k), torch.arange(k) + 0.5]) / k
    height = torch.cat([torch.full((k,), h), torch.full((k,), -h)])
    return torch.stack([r * angle.cos(), r * angle.sin(), height])


# %% [markdown] tags=["hint"]
# The two equations are $r^2 = 2h^2$ and $r^2 + h^2 = 1$. Is the height of a corner positive for
# both squares?

# %% [markdown] tags=["hint"]
# Make one tensor of $2k$ angles and one of $2k$ heights with `torch.cat`, then stack $r\cos$,
# $r\sin$ and the height.

# %% [markdown]
# A trained model with 20 dimensions is not one polytope. It may be many, each in dimensions of
# its own. TMS borrows a word for that: the **tegum product**. Polytopes in orthogonal subspaces
# do not touch each other, so each keeps its fraction.

# %% [markdown] tags=["task"]
# Return the tegum product of the given polytopes. Each part is a matrix `(d_i, k_i)` with vectors
# as columns. The result has $\sum d_i$ rows and $\sum k_i$ columns: the parts follow each other
# in the order given, each in coordinates of its own.


# %% tags=["exercise"] exercise="3.1.4.c4" title="The tegum product" difficulty=1 importance=2 minutes=5 skill="block structure"
def tegum_product(parts: list[Float[Tensor, "_ _"]]) -> Float[Tensor, "hidden feature"]:
    """Put polytopes into orthogonal subspaces, in order (TMS, on geometry)."""
    return torch.block_diag(*parts)


# %% [markdown] tags=["hint"]
# How does the matrix look whose first two coordinates belong to a pentagon and whose third one to
# a digon? Where are its zeros?

# %% [markdown] tags=["hint"]
# Such a matrix is called block diagonal, and torch has a function for it. It takes the blocks as
# separate arguments: `f(*parts)`.

# %% [markdown]
# Here is the catalogue that we will search with. Beside the six shapes of the table it has two
# more for comparison. The **cube** has eight corners in three dimensions, as the antiprism has.
# The **hexagon** is three lines in a plane.


# %% tags=["given"]
def catalogue() -> dict[str, Float[Tensor, "d k"]]:
    """The polytopes that we look for, by name."""
    cube = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).T / math.sqrt(3)
    return {
        "single": torch.ones(1, 1),
        "tetrahedron": regular_simplex(4),
        "triangle": regular_simplex(3),
        "digon": regular_simplex(2),
        "pentagon": regular_polygon(5),
        "square antiprism": tight_antiprism(4),
        "cube": cube,
        "hexagon": regular_polygon(6),
    }


# %% tags=["demo"]
if __name__ == "__main__":
    plots_geometry.polytope_gallery(catalogue()).show()
    for name, V in catalogue().items():
        d, k = V.shape
        D = feature_dimensionality(V)
        print(f"{name:17} {k} in {d}   D = {D.min():.4f} to {D.max():.4f}   d/k = {d / k:.4f}")
    both = tegum_product([regular_polygon(5), regular_simplex(2)])
    D = [round(D, 4) for D in feature_dimensionality(both).tolist()]
    print("pentagon and digon in three dimensions:", D)

# %% [markdown]
# Do trained models take these fractions? Count. A feature counts for the fraction that it is
# *nearest* to, if it is near at all.

# %% [markdown] tags=["task"]
# For each value, return the index of the nearest fraction if it lies within the tolerance (a
# distance *equal* to the tolerance counts as within), else −1. Where two fractions are equally
# near, the one that comes first in `fractions` wins. Integers (`torch.int64`), same shape as `D`.


# %% tags=["exercise"] exercise="3.1.4.c5" title="The nearest fraction" difficulty=2 importance=3 minutes=10 skill="nearest neighbour with a limit"
def nearest_fraction(
    D: Float[Tensor, "*shape"], fractions: Float[Tensor, " fraction"], tolerance: float
) -> Int[Tensor, "*shape"]:
    """Index of the fraction nearest to each value, -1 where it is more than `tolerance` away."""
    distance = (D[..., None] - fractions).abs()
    nearest = distance.min(dim=-1)
    return torch.where(nearest.values <= tolerance, nearest.indices, -1)


# %% [markdown] tags=["hint"]
# $2/5$ and $3/8$ are only 0.025 apart. With a tolerance of 0.02, which values lie within reach of
# both, and who should get them?

# %% [markdown] tags=["hint"]
# `D[..., None] - fractions` has one more axis, of length `fraction`. `.min(dim=-1)` gives values
# *and* indices.

# %% [markdown] tags=["task"]
# Take the represented features (norm above $1/2$) of all twenty models, from dense to sparse. Which
# part of them lies within 0.01 of one of the six fractions?

# %% tags=["predict"] exercise="3.1.4.P2" title="Near a fraction" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["more than three quarters", "half to three quarters", "less than half"]
predict_near_a_fraction = "less than half"

# %% [markdown] tags=["task"]
# How many of the features will sit in tetrahedra (four directions in three dimensions,
# $D = 3/4$)?

# %% tags=["predict"] exercise="3.1.4.P3" title="Tetrahedra" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["none", "some, but fewer than in pentagons", "as many as in pentagons, or more"]
predict_tetrahedra = "none"

# %% tags=["demo"] reveals=["predict_near_a_fraction"]
if __name__ == "__main__":
    kept = W_wide.norm(dim=1) > 0.5
    plots_geometry.dimensionality_strip(D_wide, kept, 1 / p_wide, FRACTIONS).show()
    index = nearest_fraction(D_wide[kept], FRACTIONS, 0.01)
    counts = [int((index == i).sum()) for i in range(-1, len(FRACTIONS))]
    print(f"of {len(index)} represented features, within 0.01 of")
    print(dict(zip(["none", "1", "3/4", "2/3", "1/2", "2/5", "3/8"], counts, strict=True)))

# %% [markdown]
# **What you see.** One fraction is really sticky. From $p = 0.43$ to $0.30$ nearly every
# represented feature sits at $1/2$. At $2/3$, $2/5$ and $3/8$ there are ten or a few dozen
# features, at 1 and at $3/4$ there are none. And two thirds of the represented features are within
# 0.01 of no fraction of the list (59 % to 65 % in five more runs).
#
# **What you do not see.** On the right, where features are sparse, $D$ falls smoothly with $p$.
# There all features of a model have almost the same $D \approx m / n_\text{represented}$. A value
# that falls from 0.5 to 0.2 must pass $2/5$ and $3/8$ on its way. So some of the hits may be
# chance. TMS, at 400 features in 30 dimensions, shows points gathered at more of the fractions
# than we find here. It is not the size. In three runs with 400 in 30, of about 1,105 represented
# features 327 to 387 were at $1/2$, 15 to 33 at $2/5$, 23 to 48 at $3/8$, 4 to 6 at $2/3$, and
# none at $3/4$ or 1. We need a better test than the value of $D$.
#
# One detail of the dense end: from $p = 0.7$ to $0.6$ there are a dozen or two dozen represented
# features with $D$ mostly a little below $2/3$, and some 180 with short directions. We come back
# to them.

# %% [markdown]
# ## 4 · Find the polytopes
#
# A value of $D$ near $2/5$ is a hint, not a proof. To know, we must look at the *group* of
# features that share the same dimensions. Three steps: draw the graph of who interferes with
# whom, split it into connected groups, name each group.

# %% [markdown] tags=["task"]
# Return the interference graph of one model as a boolean matrix `(feature, feature)`. Features
# $i \ne j$ are joined if
#
# - both are represented: their norms are above `min_norm`, and
# - $|\hat W_i \cdot \hat W_j|$ is above `threshold`.
#
# Both hats matter here: the graph should depend on angles, not on lengths. No feature is joined
# to itself.


# %% tags=["exercise"] exercise="3.1.4.d1" title="The graph of interference" difficulty=2 importance=4 minutes=10 skill="cosines and masks"
def interference_graph(
    W: Float[Tensor, "hidden feature"], threshold: float, min_norm: float
) -> Bool[Tensor, "feature feature"]:
    """Join i != j where both norms exceed `min_norm` and |cosine(W_i, W_j)| > `threshold`."""
    norm = W.norm(dim=0)
    kept = norm > min_norm
    W_hat = W / norm.masked_fill(~kept, 1)
    joined = (W_hat.T @ W_hat).abs() > threshold
    itself = torch.eye(len(norm), dtype=torch.bool, device=W.device)
    return joined & kept[:, None] & kept & ~itself


# %% [markdown] tags=["hint"]
# An antipodal pair has the cosine −1. Should it be joined? What about the cosine of a feature
# with itself?

# %% [markdown] tags=["hint"]
# `kept[:, None] & kept` is true where *both* are represented. `~torch.eye(n, dtype=torch.bool)`
# is true off the diagonal.

# %% [markdown]
# A **connected component** is a set of features that you can walk between along the edges. A
# neighbour's neighbour belongs to it, too. In a pentagon every corner touches every other; in
# larger groups it need not.
#
# A simple algorithm finds all components at once. Give every feature its own index as label.
# Then, again and again, let every feature take the smallest label among its own and its
# neighbours'. Stop when nothing changes.

# %% [markdown] tags=["task"]
# Return a label for each feature: the smallest index in its connected component. A feature
# without edges keeps its own index.


# %% tags=["exercise"] exercise="3.1.4.d2" title="Connected components" difficulty=3 importance=3 minutes=15 skill="propagation to a fixed point"
def component_labels(graph: Bool[Tensor, "feature feature"]) -> Int[Tensor, " feature"]:
    """Smallest index of each feature's connected component (the graph is symmetric)."""
    n = len(graph)
    labels = torch.arange(n, device=graph.device)
    while True:
        neighbours = labels.expand(n, n).masked_fill(~graph, n).amin(dim=1)
        smallest = torch.minimum(labels, neighbours)
        if torch.equal(smallest, labels):
            return labels
        labels = smallest


# %% [markdown] tags=["hint"]
# How many rounds does a chain of ten features need? How do you know that you are done, without
# counting?

# %% [markdown] tags=["hint"]
# Row $i$ of `labels.expand(n, n)` holds all labels. Replace those of non-neighbours by a number
# that is too large to be the minimum (`masked_fill`), and take `amin(dim=1)`.

# %% [markdown]
# Now a group of $k$ directions must be compared with a polytope. They may be rotated, and the
# features come in any order. The Gram matrix of the unit vectors, $G = \hat V^\top \hat V$, does
# not see rotations. It does see the order: permuting the features permutes its rows and columns.
# Two things survive a permutation: the **eigenvalues** of $G$, and the **sorted list of its
# entries** above the diagonal.

# %% [markdown] tags=["task"]
# Return both for the columns of `V`:
#
# - the eigenvalues of the Gram matrix of the *unit* vectors, ascending, shape `(k,)`;
# - its entries above the diagonal, ascending, shape `(k (k - 1) / 2,)`.


# %% tags=["exercise"] exercise="3.1.4.d3" title="What a permutation cannot change" difficulty=2 importance=4 minutes=10 skill="invariants of a Gram matrix"
def gram_invariants(
    V: Float[Tensor, "d k"],
) -> tuple[Float[Tensor, " k"], Float[Tensor, " pair"]]:
    """Sorted eigenvalues and entries above the diagonal of the unit vectors' Gram matrix."""
    V_hat = V / V.norm(dim=0)
    gram = V_hat.T @ V_hat
    rows, cols = torch.triu_indices(len(gram), len(gram), offset=1, device=V.device)
    return torch.linalg.eigvalsh(gram), gram[rows, cols].sort().values


# %% [markdown] tags=["hint"]
# How many eigenvalues does a $k \times k$ matrix have, and how many of them are 0 when $k > d$?

# %% [markdown] tags=["hint"]
# `torch.linalg.eigvalsh` is for symmetric matrices and sorts.
# `torch.triu_indices(k, k, offset=1)` gives rows and columns of the entries above the diagonal.

# %% [markdown] tags=["task"]
# The cube and the square antiprism are different solids. Both have eight corners in three
# dimensions, and both are tight frames. Can the *eigenvalues* of the Gram matrix tell them apart?

# %% tags=["predict"] exercise="3.1.4.P4" title="Are eigenvalues enough?" difficulty=3 importance=3 minutes=3 skill="predicting" choices=["the eigenvalues differ", "the eigenvalues are the same"]
predict_spectra = "the eigenvalues are the same"

# %% tags=["demo"] reveals=["predict_spectra"]
if __name__ == "__main__":
    for name in ("cube", "square antiprism"):
        eigenvalues, entries = gram_invariants(catalogue()[name])
        print(f"{name}: eigenvalues {[round(e, 2) + 0.0 for e in eigenvalues.tolist()]}")
        print(f"    entries {dict(Counter(round(e, 2) for e in entries.tolist()))}")

# %% [markdown]
# The eigenvalues are the same: $8/3$ three times, and 0 five times. This must be so. The Gram
# matrix $V^\top V$ and the frame operator $V V^\top$ have the same nonzero eigenvalues, and a
# tight frame's operator is $\tfrac{k}{d}$ times the identity. So eigenvalues only say *tight,
# eight in three*. The sorted entries tell the two solids apart. We compare both.

# %% [markdown] tags=["task"]
# Return the name of the first polytope in the catalogue that the columns of `V` match, else
# `"other"`.
#
# - They match if the number of vectors is the same, and the eigenvalues *and* the entries (use
#   `gram_invariants`) each differ by at most `tolerance`, in the worst place. (With
#   `tolerance=0` a polytope still matches itself. One vector alone has no entries to compare.)
# - `V` may live in more dimensions than the polytope: three features of a 20-dimensional model
#   can be a triangle.
# - The catalogue may be on another device or of another dtype than `V`: bring it to `V` with
#   `.to(V)`.


# %% tags=["exercise"] exercise="3.1.4.d4" title="Name a group" difficulty=3 importance=4 minutes=15 skill="matching by invariants"
def name_polytope(
    V: Float[Tensor, "d k"], polytopes: dict[str, Float[Tensor, "_ _"]], tolerance: float
) -> str:
    """Name of the first polytope with V's Gram invariants, up to `tolerance`; else "other"."""
    mine = torch.cat(gram_invariants(V))
    for name, polytope in polytopes.items():
        if polytope.shape[1] == V.shape[1]:
            theirs = torch.cat(gram_invariants(polytope.to(V)))
            if (mine - theirs).abs().max() <= tolerance:
                return name
    return "other"


# %% [markdown] tags=["hint"]
# Which of `V`'s two sizes must agree with the polytope's, and which may be larger?

# %% [markdown] tags=["hint"]
# Loop over `polytopes.items()` and skip those with another number of columns: then both
# invariants have equal shapes. What do you return after the loop?

# %% [markdown] tags=["task"]
# Put it together. Return how many groups of each name one model has, as a dictionary without
# zeros.
#
# Only represented features (norm above `min_norm`) form groups. A represented feature without
# neighbours is a group of one. A model without represented features has an empty dictionary.


# %% tags=["exercise"] exercise="3.1.4.d5" title="A census" difficulty=2 importance=4 minutes=12 skill="composing what you have"
def polytope_census(
    W: Float[Tensor, "hidden feature"],
    polytopes: dict[str, Float[Tensor, "_ _"]],
    threshold: float,
    min_norm: float,
    tolerance: float,
) -> dict[str, int]:
    """Number of groups of represented features by the name of their polytope."""
    labels = component_labels(interference_graph(W, threshold, min_norm))
    groups = labels[W.norm(dim=0) > min_norm].unique()
    names = [name_polytope(W[:, labels == group], polytopes, tolerance) for group in groups]
    return dict(Counter(names))


# %% [markdown] tags=["hint"]
# What label does a feature have that is *not* represented, and how do you keep it from being
# counted as a group?

# %% [markdown] tags=["hint"]
# `labels[represented].unique()` lists the groups; `W[:, labels == group]` has the columns of one.
# `collections.Counter(names)` counts.

# %% [markdown]
# The interesting range is $p$ from 0.28 to 0.17. In the strip above, the digons give way there.
# So we train sixteen more models in that range, and take a census of them. For each fraction we
# also ask: which groups do the features come from that sit at this value of $D$?

# %% [markdown] tags=["task"]
# Of the features with $D$ within 0.01 of $3/8$ in these models, how many are corners of a square
# antiprism?

# %% tags=["predict"] exercise="3.1.4.P5" title="What stands at 3/8" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["more than two thirds", "a third to two thirds", "less than a third"]
predict_antiprisms = "less than a third"

# %% [markdown]
# The settings need a reason. The threshold 0.2 lies below the overlaps that hold our shapes
# together (0.31 in the pentagon, $1/3$ in the antiprism) and above the faint overlaps between
# groups. The tolerance 0.15 forgives what training does to a shape. Cube and antiprism differ by
# 0.47 in their worst place.


# %% tags=["given"]
def origin_of_fractions(
    W: Float[Tensor, "inst hidden feature"], fractions: Float[Tensor, " fraction"], tolerance: float
) -> Counter[tuple[float, str]]:
    """Count represented features by the fraction near their D and the polytope of their group."""
    found: Counter[tuple[float, str]] = Counter()
    for one in W:
        labels = component_labels(interference_graph(one, 0.2, 0.5))
        index = nearest_fraction(feature_dimensionality(one), fractions, tolerance)
        for group in labels[one.norm(dim=0) > 0.5].unique():
            name = name_polytope(one[:, labels == group], catalogue(), 0.15)
            near = index[labels == group]
            found.update((fractions[i].item(), name) for i in near[near >= 0].tolist())
    return found


# %% tags=["demo"] reveals=["predict_tetrahedra", "predict_antiprisms"] experiment="census" results=["W_zoom", "census"]
if __name__ == "__main__":
    p_zoom = torch.linspace(0.28, 0.17, 16)
    W, b = init_toy(replace(WIDE, inst=16), torch.Generator().manual_seed(2))
    settings = TrainConfig(3000, 256, 1e-2, "linear", label="sixteen more")
    gen = torch.Generator().manual_seed(3)
    W_zoom = train_toy_fast(W, b, 1.0, p_zoom[:, None], settings, gen).W
    census = [polytope_census(W, catalogue(), 0.2, 0.5, 0.15) for W in W_zoom]
    plots_geometry.census_bars(census, p_zoom).show()
    print("all sixteen together:", dict(sum(map(Counter, census), Counter())))
    for name, W in (("wide", W_wide), ("zoom", W_zoom)):
        for (fraction, group), n in sorted(origin_of_fractions(W, FRACTIONS, 0.01).items()):
            print(f"{name}: D = {fraction:.3f}: {n:3} features in groups named {group}")

# %% [markdown]
# Here is the model with the most kinds of polytopes. Its Gram matrix $W^\top W$ is shown with the
# features sorted by group.

# %% tags=["demo"]
if __name__ == "__main__":
    shown = max(range(16), key=lambda i: len(census[i].keys() - {"other"}))
    W = W_zoom[shown]
    labels = component_labels(interference_graph(W, 0.2, 0.5))
    sizes = (labels[:, None] == labels).sum(dim=1)
    kept = (W.norm(dim=0) > 0.5).nonzero()[:, 0]
    order = sorted(kept.tolist(), key=lambda i: (-sizes[i], labels[i]))
    gram = einsum(W[:, order], W[:, order], "hidden row, hidden col -> row col")
    plots_geometry.sorted_gram(gram, f"p = {p_zoom[shown]:.2f}: {census[shown]}").show()

# %% [markdown]
# **What you see.** (We show the run with most antiprisms of three that we tried first. In brackets:
# five more, with seeds fixed beforehand.)
#
# - Digons are by far the most common. Every feature near $1/2$ is half of a digon.
# - Pentagons are real: 25 here (14 to 27). Of the features near $2/5$ nearly all are corners of
#   pentagons here (three in five).
# - The square antiprism is real, and rare: 2 here (2, 0, 2, 1, 0). Of the features near $3/8$ less
#   than a third are corners of one (one in ten). Others sit in pentagons: neighbours that are not
#   quite orthogonal pushed their $D$ down from $2/5$.
# - Not one tetrahedron (nor in a hundred models like those of part 2, and there one triangle). The
#   features near $2/3$ in the wide run stand alone or in loose groups. The missing third of their
#   dimension belongs to the many short features.
#
# So **$D$ near a fraction does not prove the polytope.** The Gram matrix does.
#
# Read the heat map. At its upper left are an antiprism and two pentagons, below them a digon alone.
# The last block is a surprise: thirteen digons in a checkerboard of faint squares. They live in
# $20 - 3 - 2 - 2 - 1 = 12$ dimensions. Thirteen lines in twelve dimensions, spread evenly: the 13
# corners of a simplex, and the opposite of each. Each of the 26 features has $D = 12/26 \approx
# 0.46$: the dots just below $1/2$ in the strip. TMS has no line for it. Our census splits it into
# digons, because its overlaps ($\pm 1/12$) are below the threshold. It is no accident: every
# further run had one to three models with $k$ such lines in $k - 1$ dimensions, $k$ from 14 to 17.
#
# **What the census does not say.** It depends on three settings. For $p$ below 0.19 more and more
# features hang together as "other": *we* have no name for the group. It may have structure (part
# 6).

# %% [markdown]
# ## 5 · Dimensionality during training
#
# How do features get there? Take a small case that we can watch: 5 features in 2 dimensions, $p =
# 0.05$, and importances $0.7^i$. We start from very small weights (one fiftieth of the usual), with
# a low and constant learning rate. The levels that can occur here are 0 (not represented), $2/5$,
# $1/2$ and 1.

# %% [markdown] tags=["task"]
# At step 800 every feature has turned into place. We record about a hundred snapshots from there to
# the end, and call an interval between two of them *moving* where $\sum_i |\Delta D_i| > 0.1$. In a
# model whose shape still changes, which part of the intervals is moving?

# %% tags=["predict"] exercise="3.1.4.P6" title="How dimensionality moves" difficulty=2 importance=3 minutes=1 skill="predicting" choices=["more than half", "a tenth to a half", "less than a tenth"]
predict_motion = "less than a tenth"

# %% [markdown]
# TMS reports jumps: a feature rests at one value, then changes to another within few steps, as
# electrons change energy levels. To count jumps we read a feature's path as a sequence of levels.
# `nearest_fraction` turns $D$ into an index, or −1 on the way between two levels. But a path that
# merely passes $1/2$ on its way up has not *rested* there. So a level counts only when it is held
# for a while.

# %% [markdown] tags=["task"]
# `level` is the sequence of one feature: an index for each frame, or −1 for "at no level". Return
# the number of jumps.
#
# - A level is *held* where the same index (not −1) stands in at least `hold` frames in a row.
# - Drop everything that is not held. A jump is a change between one held level and the next
#   *different* one.
# - Leaving a level and coming back to it is no jump.


# %% tags=["exercise"] exercise="3.1.4.e1" title="Count the jumps" difficulty=2 importance=3 minutes=15 skill="runs in a sequence"
def count_jumps(level: Int[Tensor, " frame"], hold: int) -> int:
    """Changes between levels (not -1) that are each held for at least `hold` frames in a row."""
    runs = [(value, len(list(run))) for value, run in groupby(level.tolist())]
    held = [value for value, length in runs if value >= 0 and length >= hold]
    return sum(before != after for before, after in pairwise(held))


# %% [markdown] tags=["hint"]
# Write `[2, 2, 2, -1, 5, -1, 2, 2, 2]` on paper, with `hold=3`. Which runs are held? How many
# jumps are there?

# %% [markdown] tags=["hint"]
# `itertools.groupby(list)` yields each run as (value, iterator); the run's length is
# `len(list(iterator))`.

# %% [markdown] tags=["hint"]
# Build the list of held values, then compare neighbours: `itertools.pairwise(held)`. Two
# neighbours may be equal.

# %% [markdown]
# And the loss? If a jump is the step from a worse shape to a better one, the loss should fall
# *while* features move, and rest when they rest. We compare two shares: the share of the loss's
# fall that happens in frames with motion, and the share of such frames.

# %% [markdown] tags=["task"]
# Between frame $t$ and frame $t + 1$ the model moves by $\sum_i |D_i(t+1) - D_i(t)|$. It is
# *moving* where that exceeds `speed`. Return two numbers:
#
# - the fall of the loss over the moving intervals, divided by the fall over all intervals (first
#   loss minus last loss; you may take it that this is not 0);
# - the share of intervals that are moving.
#
# The fall over an interval is the loss before minus the loss after. It may be negative: count it
# as it is.


# %% tags=["exercise"] exercise="3.1.4.e2" title="When does the loss fall?" difficulty=2 importance=3 minutes=10 skill="differences along time"
def fall_while_moving(
    D: Float[Tensor, "frame feature"], loss: Float[Tensor, " frame"], speed: float
) -> tuple[float, float]:
    """Share of the loss's fall, and of the intervals, in which sum_i |change of D_i| > speed."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    fall = -loss.diff()
    return (fall[moving].sum() / fall.sum()).item(), moving.float().mean().item()


# %% [markdown] tags=["hint"]
# There is one interval less than there are frames. Is the change of feature 1 allowed to cancel
# that of feature 2?

# %% [markdown] tags=["hint"]
# `x.diff(dim=0)` is after minus before. `fall[moving].sum()` adds up only the intervals that you
# want.

# %% tags=["demo"] reveals=["predict_motion"] experiment="jumps" results=["D_path", "loss_path", "path_steps"]
if __name__ == "__main__":
    importance, n_inst = 0.7 ** torch.arange(5.0)[None], 16
    W, b = init_toy(ToyConfig(n_inst, 5, 2), torch.Generator().manual_seed(0))
    settings = TrainConfig(8000, 512, 1e-3, n_frames=150, label="5 features in 2 dimensions")
    gen = torch.Generator().manual_seed(1)
    run = train_toy_fast(0.02 * W, b, importance, 0.05, settings, gen)
    judge = torch.Generator().manual_seed(2)  # every frame is judged on the same rows
    losses = [
        evaluate_toy(*frame, importance, 0.05, judge.clone_state())
        for frame in zip(run.frames_W, run.frames_b, strict=True)
    ]
    late = run.frames_step >= 800  # by then every feature's direction has emerged from the noise
    D_path, path_steps = feature_dimensionality(run.frames_W)[late], run.frames_step[late]
    loss_path = torch.stack(losses)[late]
    levels = nearest_fraction(D_path, torch.tensor([0, 2 / 5, 1 / 2, 1]), 0.04)
    jumps = torch.tensor([[count_jumps(f, 8) for f in inst.T] for inst in levels.unbind(1)])
    most = jumps.sum(1).argsort(descending=True, stable=True)[:4]
    titles = [f"instance {i}: {jumps[i].sum()} jumps" for i in most.tolist()]
    plots_geometry.jumps(D_path[:, most], loss_path[:, most], path_steps, titles).show()
    frames = run.frames_W[late][::3][:, most]
    plots.feature_arrows_animation(frames, path_steps[::3], titles, importance[0]).show()
    print("jumps of each instance:", jumps.sum(1).tolist())
    for i in range(n_inst):
        if jumps[i].sum():
            fall, time = fall_while_moving(D_path[:, i], loss_path[:, i], 0.1)
            print(f"instance {i:2}: {fall:4.0%} of the fall in {time:3.0%} of the intervals")

# %% [markdown]
# **What you see.** Features rest, then jump. In the first instance one feature has a dimension to
# itself ($D = 1$) and two others are not represented ($D = 0$). The loss is flat, as if training
# had ended. Then the model moves, all five features find a place within about a thousand steps, and
# the loss falls to a lower floor.
#
# The numbers agree. In the instances that jump, about half to four fifths of the loss's fall
# happens in less than a tenth of the intervals. Over five more seeds the median is 63 % of the fall
# in 4 % of the intervals, and the lowest share is 29 %.
#
# **What the picture does not show.** The four instances are those with the most jumps; we chose
# them. In nine of sixteen nothing jumps after step 800 (in five to ten of sixteen from other
# seeds). The levels are not exact: importances differ, so the weaker partner of a digon is a little
# shorter, and $D$ is 0.48 or 0.52 rather than $1/2$. And frames are denser early, so "share of
# intervals" is not "share of steps".

# %% [markdown]
# ## 6 · Can the sum be more than m?
#
# In part 2 every $\sum_i D_i$ was close to 20, the number of dimensions, and none was above. Can it
# be 21? (TMS observes that the shares add up to $m$ when features are "packed efficiently", in some
# sense. Let us say in which.) Write the dimensionality with the frame operator $F = W W^\top$:
#
# $$D_i = \frac{\|W_i\|^4}{\sum_j (W_i \cdot W_j)^2} = \frac{\|W_i\|^4}{W_i^\top F\, W_i} .$$
#
# Now use the Cauchy–Schwarz inequality for the vectors $F^{1/2} W_i$ and $F^{-1/2} W_i$. (If $F$
# is singular, take the pseudo-inverse $F^+$. Every $W_i$ lies in the range of $F$, so nothing is
# lost.)
#
# $$\|W_i\|^4 = \big(F^{1/2} W_i \cdot F^{-1/2} W_i\big)^2
#   \le \big(W_i^\top F\, W_i\big)\big(W_i^\top F^{+} W_i\big)
#   \quad\Longrightarrow\quad D_i \le \ell_i := W_i^\top F^{+} W_i .$$
#
# The number $\ell_i$ is known in statistics as the **leverage** of column $i$. Leverages are easy
# to add up:
#
# $$\sum_i D_i \;\le\; \sum_i \ell_i = \mathrm{tr}\big(F^{+} F\big) = \mathrm{rank}(W) \;\le\; m .$$
#
# Two inequalities, so two conditions for equality.
#
# 1. *All dimensions are used*: $\mathrm{rank}(W) = m$.
# 2. *Cauchy–Schwarz is an equality for every $i$*: $F^{1/2} W_i$ is parallel to $F^{-1/2} W_i$.
#    That is $F W_i = \lambda_i W_i$: every direction is an **eigenvector** of the frame operator.
#
# Read condition 2 once more. Features with different eigenvalues are orthogonal. Features with
# the same eigenvalue form a tight frame of their eigenspace. So $\sum_i D_i = m$ exactly when $W$
# is a **tegum product of tight frames**. And then $D_i = \|W_i\|^2 / \lambda_i$; for unit vectors
# it is $d / k$, the table of part 3. (Scherlis et al. give the same bound for their capacity.)

# %% [markdown] tags=["task"]
# Return the leverage $\ell_i = W_i^\top (W W^\top)^{+} W_i$ of every feature. It must be right
# also when $W$ does not use all dimensions.
#
# An identity that helps: $W^\top (W W^\top)^{+} = W^{+}$, the pseudo-inverse of $W$, so
# $\ell_i = (W^{+} W)_{ii}$.


# %% tags=["exercise"] exercise="3.1.4.f1" title="The bound" difficulty=3 importance=3 minutes=12 skill="pseudo-inverse, diagonal of a product"
def leverage(W: Float[Tensor, "*inst hidden feature"]) -> Float[Tensor, "*inst feature"]:
    """W_i^T (W W^T)^+ W_i of every column: an upper bound of D_i that sums to rank(W)."""
    inverse = torch.linalg.pinv(W)
    return einsum(inverse, W, "... feature hidden, ... hidden feature -> ... feature")


# %% [markdown] tags=["hint"]
# `torch.linalg.pinv(W)` has the shape of $W^\top$. Which entries of the matrix $W^{+} W$ do you
# need, and must you compute the others?

# %% [markdown] tags=["hint"]
# An `einsum` in which `feature` stands in both factors and in the result computes the diagonal
# only.

# %% [markdown] tags=["task"]
# Measure condition 2: how far is $W_i$ from being an eigenvector of $F = W W^\top$? Return the
# sine of the angle between $F W_i$ and $W_i$:
#
# $$\mathrm{defect}_i = \frac{\|F W_i - \lambda_i W_i\|}{\|F W_i\|}, \qquad
#   \lambda_i = \frac{W_i^\top F\, W_i}{\|W_i\|^2} .$$
#
# It is 0 for an eigenvector, and at most 1. A feature of norm 0 has defect 0. An angle does not
# depend on the scale of $W$: add no constant.


# %% tags=["exercise"] exercise="3.1.4.f2" title="The defect" difficulty=3 importance=3 minutes=15 skill="the part along a vector, and the rest"
def frame_defect(W: Float[Tensor, "*inst hidden feature"]) -> Float[Tensor, "*inst feature"]:
    """Sine of the angle between F W_i and W_i, with F = W W^T; 0 where W_i = 0."""
    norm = W.norm(dim=-2, keepdim=True)
    W_hat = W / norm.masked_fill(norm == 0, 1)
    F_W = W @ (W.mT @ W_hat)
    residual = F_W - (W_hat * F_W).sum(dim=-2, keepdim=True) * W_hat  # minus the part along W_i
    size = F_W.norm(dim=-2)
    return residual.norm(dim=-2) / size.masked_fill(size == 0, 1)


# %% [markdown] tags=["hint"]
# Compute all $F W_i$ at once: it is the matrix $F W$. Which shape has it? What do $\lambda_i$ and
# $W_i$ have to do with its columns?

# %% [markdown] tags=["hint"]
# $\lambda_i$ has one number per feature: `(W * F_W).sum(dim=-2, keepdim=True)` is
# $W_i^\top F W_i$. With `keepdim=True` it multiplies `W` column by column.

# %% tags=["demo"]
if __name__ == "__main__":
    random = torch.randn(20, 200, generator=torch.Generator().manual_seed(0))
    product = tegum_product([regular_polygon(5), regular_simplex(2), tight_antiprism(4)])
    cases = {"random normal W": random, "5 in 2, 2 in 1, 8 in 3": product}
    cases |= {f"trained, p = {p_wide[i]:.2f}": W_wide[i] for i in (0, 5, 10, 15, 19)}
    print(f"{'':22}   m   sum of D   sum of leverage   mean defect (weighted by D)")
    for name, W in cases.items():
        D, defect = feature_dimensionality(W), frame_defect(W)
        mean = (D * defect).sum() / D.sum()
        print(f"{name:22} {len(W):3} {D.sum():10.3f} {leverage(W).sum():17.3f} {mean:13.3f}")

# %% [markdown]
# **What you see.** Leverages sum to $m$ in every full-rank case, as they must. Dimensionalities
# sum to less. The random $W$ loses 9 %. The exact product of tight frames loses nothing. Trained
# models lose less than half a percent, at *every* sparsity, also where we could name no polytope.
#
# So here is the general statement behind the sticky fractions. **Training finds (nearly) tight
# frames.** When the frame splits into small orthogonal pieces, each piece has a fraction that one
# can recognise. When features get sparser, the pieces join, in the end into one frame of all
# represented features in all dimensions. Then $D_i \approx m / n_\text{represented}$ for all of
# them, and the fractions are gone.

# %% [markdown]
# ## 7 · Why pairs? What each polytope pays
#
# One question is left. By the bound, $m$ dimensions are all that a model has to give away. So it
# should buy the shape that pays most *per dimension*. Let us compute that.
#
# Put $k$ features on the corners $V_i$ of a polytope in $d$ dimensions, all with the same length
# $s$ and bias $b$: $\hat x = \mathrm{ReLU}(s^2 V^\top V x + b)$. A feature that is not
# represented costs its variance $v = \mathrm{Var}[x_i]$, because the best guess is then the mean.
# A represented feature costs its squared error. So what the polytope saves, in units of one
# feature and per dimension, is
#
# $$\text{payoff} = \frac{k\,v - \sum_{i=1}^{k} \mathbb{E}\big[(x_i - \hat x_i)^2\big]}{d\, v} .$$
#
# A single direction pays exactly 1: it saves one feature, and takes one dimension. For the digon
# with $s = 1$ and $b = 0$ you know the error from 3.1.1: when both are on, both outputs miss by
# the smaller of the two. Hence $\sum_i \mathbb{E}[\dots] = 2 p^2 / 6$, and with $v = p/3 - p^2/4$
#
# $$\text{payoff}_\text{digon} = 2 - \frac{p^2 / 3}{p/3 - p^2/4} = 2 - \frac{4p}{4 - 3p} .$$
#
# It is above 1 for $p < 4/7$: the tip of the phase diagram of 3.1.1.

# %% [markdown] tags=["task"]
# Return the payoff of the polytope `V` on the data `x`, one number per instance. Every instance
# has its own scale $s$ and bias $b$.
#
# - Take the expectations over the batch. For $v$ take each feature's variance over the batch
#   (divide by the number of rows, not by one less), and average it over the features.
# - The factor in front of $V^\top V x$ is $s^2$, because $W = sV$ is used twice.


# %% tags=["exercise"] exercise="3.1.4.g" title="The payoff" difficulty=3 importance=3 minutes=15 skill="an expected saving from samples"
def payoff_per_dimension(
    V: Float[Tensor, "hidden feature"],
    x: Float[Tensor, "batch inst feature"],
    scale: Float[Tensor, " inst"],
    bias: Float[Tensor, " inst"],
) -> Float[Tensor, " inst"]:
    """(k v - sum_i E[(x_i - x_hat_i)^2]) / (d v) with x_hat = ReLU(s^2 V^T V x + b)."""
    d, k = V.shape
    x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V)) + bias[:, None])
    error = (x - x_hat).square().mean(dim=0).sum(dim=-1)
    variance = x.var(dim=0, correction=0).mean(dim=-1)
    return (k * variance - error) / (d * variance)


# %% [markdown] tags=["hint"]
# Which of `batch`, `inst`, `feature` is averaged over, which is summed over, and which stays?
# $V^\top V$ acts on which axis of `x`?

# %% [markdown] tags=["hint"]
# `x @ (V.T @ V)` works on the last axis. `x.var(dim=0, correction=0)` divides by the number of
# rows.

# %% [markdown]
# Each polytope should be used at its best. `best_payoff` finds the scale and the bias that pay
# most, at every $p$ at once, with the course's trainer.


# %% tags=["given"]
def best_payoff(
    V: Float[Tensor, "hidden feature"], probability: Float[Tensor, " inst"], gen: torch.Generator
) -> Float[Tensor, " inst"]:
    """Payoff of a polytope at its best scale and bias, for every probability."""
    k, n_inst = V.shape[1], len(probability)
    p = probability[:, None]
    start = {"scale": torch.ones(n_inst), "bias": torch.zeros(n_inst)}
    best = fit(
        {name: value.to(V) for name, value in start.items()},
        lambda params, x: -payoff_per_dimension(V, x, params["scale"], params["bias"]),
        lambda gen: sample_sparse(p, n_inst, k, 512, gen),
        TrainConfig(300, 512, 0.03, schedule="linear", label=f"{k} in {len(V)}"),
        gen,
    ).params
    x = sample_sparse(p, n_inst, k, 600_000 // k, gen)
    return payoff_per_dimension(V, x, best["scale"], best["bias"])


# %% tags=["demo"] experiment="payoffs" results=["payoffs", "p_payoff"]
if __name__ == "__main__":
    p_payoff = torch.logspace(-0.05, -1, 24)
    gen = torch.Generator().manual_seed(0)
    simplex = regular_simplex(13)
    shapes = catalogue() | {"13 lines in 12": torch.cat([simplex, -simplex], dim=1)}
    payoffs = {name: best_payoff(V, p_payoff, gen) for name, V in shapes.items()}
    plots_geometry.payoff_curves(p_payoff, payoffs).show()
    names, table = list(payoffs), torch.stack(list(payoffs.values()))
    for i in range(1, 24, 2):
        ranking = table[:, i].argsort(descending=True).tolist()[:3]
        best = ", ".join(f"{names[k]} {table[k, i]:.3f}" for k in ranking)
        print(f"p = {p_payoff[i]:.2f}: {best}")

# %% [markdown]
# **What you see.** The curves explain the census.
#
# - From the dense end to $p \approx 0.6$ nothing pays much more than 1. Triangle and tetrahedron
#   lead here, by up to two percent. That is their only chance, and the trained
#   models do not take it: there, many short features share what is left, which no shape of our
#   list describes.
# - From $p \approx 0.6$ to about $0.25$ the **digon** pays most: 1.60 against 1.52 for the
#   pentagon at $p = 0.31$. This is the sticky range.
# - Around $p = 0.24$ the digon, the thirteen lines and the pentagon are within one percent of
#   each other. No wonder that trained models mix them there.
# - Then comes the **pentagon**, and below $p \approx 0.18$ the **square antiprism**.
# - For $p < 0.5$ triangle and tetrahedron are far below the digon. All their overlaps are negative,
#   so they are cheap. But they hold only $3/2$ and $4/3$ features per dimension, and they can never pay
#   more than that. A digon holds 2.
#
# **What the curves do not show.** They compare a handful of shapes, one at a time, with one scale
# and one bias. A model can mix shapes, and in 20 dimensions there are many more. For $p$ below
# 0.15 we found no antiprisms, though the antiprism leads *this* list: the trained models had
# found larger frames. So the payoff tells why a shape beats another. It does not prove that a
# shape is the best of all.

# %% [markdown]
# ## What you should be able to do now
#
# - Compute $D_i$, and say what it means and what it does not.
# - Explain why $m / \|W\|_F^2 \approx 1$ does not say that features have dimensions of their own.
# - Name the polytope behind each sticky fraction, and say which ones trained models take here.
# - Tell a real pentagon from a feature that happens to have $D = 2/5$.
# - Prove $\sum_i D_i \le \mathrm{rank}(W) \le m$, and say when it is an equality.
# - Explain with the payoff why there are many digons, some pentagons, and no tetrahedra.
#
# **Go further.** (1) Run part 2 at the size of TMS (change `WIDE`), but with a constant learning
# rate of 0.001. Does slower training get stuck at more fractions? (2) Add the shape of thirteen
# lines to the catalogue, lower the threshold of the graph, and take the census again. (3) Give
# the wide model importances $0.99^i$. What happens to the models at $p = 1$? (4) Which solid with
# twelve corners could beat the antiprism for very sparse features? Add its corners to the last
# demo, and let $p$ go down to 0.05.
#
# **References.** Elhage et al. 2022, *Toy Models of Superposition*, transformer-circuits.pub.
# Scherlis, Sachan, Jermyn, Benton & Shlegeris 2022, *Polysemanticity and Capacity in Neural
# Networks*, arXiv:2210.01892.
