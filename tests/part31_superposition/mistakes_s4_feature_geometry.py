"""Wrong answers that learners of 3.1.4 give, each with what a tutor would say."""

import math
from collections import Counter
from itertools import groupby, pairwise

import torch

from part31_superposition import s4_feature_geometry as right

# ----------------------------------------------------------------------- a. feature_dimensionality


def _unit(W, safe=True):
    norm = W.norm(dim=-2, keepdim=True)
    return W / (norm.masked_fill(norm == 0, 1) if safe else norm)


def _gram(W, V):
    return W.mT @ V


def _over(square, shared):
    return torch.where(shared > 0, square / shared.masked_fill(shared == 0, 1), 0)


def feature_dimensionality__nan_for_dropped(W):
    """A feature of norm 0 gives NaN: you divide 0 by 0. It has no direction and owns nothing, so
    its dimensionality is 0."""
    norm = W.norm(dim=-2, keepdim=True)
    return norm[..., 0, :].square() / _gram(W / norm, W).square().sum(-1)


def feature_dimensionality__constant_in_denominator(W):
    """A constant such as 1e-8 in your denominator is not small when W is small: for W of size
    1e-5 it changes the result. Treat the norm 0 as a case of its own."""
    W_hat = W / (W.norm(dim=-2, keepdim=True) + 1e-8)
    return W.square().sum(-2) / (_gram(W_hat, W).square().sum(-1) + 1e-8)


def feature_dimensionality__floor_under_the_denominator(W):
    """You put a floor under the denominator. When W is small the whole denominator lies below it,
    and the result shrinks: treat the norm 0 as a case of its own."""
    return W.square().sum(-2) / _gram(_unit(W), W).square().sum(-1).clamp(min=1e-8)


def feature_dimensionality__without_itself(W):
    """Your sum leaves out j = i. That is the interference of 3.1.1. Here the feature itself is part
    of what lies along its direction: without it a share could exceed 1."""
    overlap = _gram(_unit(W), W)
    itself = torch.eye(W.shape[-1], dtype=torch.bool, device=W.device)
    return _over(W.square().sum(-2), overlap.masked_fill(itself, 0).square().sum(-1))


def feature_dimensionality__both_unit(W):
    """You normalise both sides. Then long features and short ones weigh the same. The hat is on
    feature i only: W_j keeps its length."""
    return _over(W.square().sum(-2), _gram(_unit(W), _unit(W)).square().sum(-1))


def feature_dimensionality__hat_on_the_other(W):
    """Your W_j has lost its length: the hat is on the wrong side, or on everything, or the sum runs
    over the wrong one of the two feature axes. Only feature i gets a hat, in the denominator."""
    return _over(W.square().sum(-2), _gram(W, _unit(W)).square().sum(-1))


def feature_dimensionality__no_hat(W):
    """There is no unit vector in your formula: the denominator has four factors of W and the
    numerator two. Multiply W by 2 and watch the result."""
    return _over(W.square().sum(-2), _gram(W, W).square().sum(-1))


def feature_dimensionality__norm_not_squared(W):
    """Your numerator is the norm, not its square. For unit vectors nobody can see the difference:
    try other lengths."""
    return _over(W.norm(dim=-2), _gram(_unit(W), W).square().sum(-1))


def feature_dimensionality__overlap_not_squared(W):
    """You add up the overlaps without squaring them. Then a negative one cancels a positive one, as
    if the features did not disturb each other."""
    return _over(W.square().sum(-2), _gram(_unit(W), W).sum(-1))


def feature_dimensionality__absolute_overlap(W):
    """You add up the absolute overlaps. The formula adds their squares."""
    return _over(W.norm(dim=-2), _gram(_unit(W), W).abs().sum(-1))


def feature_dimensionality__inverse(W):
    """Numerator and denominator are exchanged: your values are 1 or more. A share is at most 1."""
    square = W.square().sum(-2)
    return _over(_gram(_unit(W), W).square().sum(-1), square)


def feature_dimensionality__rows_for_columns(W):
    """You treat the rows of W as the vectors. Feature i is column i: it has `hidden` numbers, and
    the result has one value per feature."""
    return right.feature_dimensionality(W.mT.contiguous())


def feature_dimensionality__floor_under_the_norm(W):
    """You put a floor under the norm. When W is small every norm is below it, and the hats are no
    longer unit vectors: only a norm of exactly 0 needs care."""
    W_hat = W / W.norm(dim=-2, keepdim=True).clamp(min=1e-3)
    return _over(W.square().sum(-2), _gram(W_hat, W).square().sum(-1))


def feature_dimensionality__rows_normalised(W):
    """You normalise the rows of W. Feature i is column i: its norm is over the hidden axis,
    dim=-2."""
    norm = W.norm(dim=-1, keepdim=True)
    W_hat = W / norm.masked_fill(norm == 0, 1)
    return _over(W.square().sum(-2), _gram(W_hat, W).square().sum(-1))


def feature_dimensionality__share_of_the_whole_norm(W):
    """You return a feature's share of the whole squared norm of W. The denominator only counts what
    lies along the feature's own direction."""
    return W.square().sum(-2) / W.square().sum(dim=(-2, -1))[..., None]


def feature_dimensionality__squared_after_the_sum(W):
    """You add up the overlaps and square the sum. Each overlap is squared before: otherwise a
    negative one cancels a positive one."""
    return _over(W.square().sum(-2), _gram(_unit(W), W).sum(-1).square())


# ----------------------------------------------------------------------- b. dimensions_per_feature


def dimensions_per_feature__norm_not_squared(W):
    """You divide by the Frobenius norm. The formula has its square."""
    return W.shape[-2] / W.square().sum(dim=(-2, -1)).sqrt()


def dimensions_per_feature__features_on_top(W):
    """Your numerator is the number of features. It is the number of hidden dimensions, m: the
    formula asks how many dimensions there are for each feature."""
    return W.shape[-1] / W.square().sum(dim=(-2, -1))


def dimensions_per_feature__inverse(W):
    """That is features per dimension: numerator and denominator are exchanged."""
    return W.square().sum(dim=(-2, -1)) / W.shape[-2]


def dimensions_per_feature__all_instances(W):
    """You sum over all axes, so all models share one number. Leading axes must stay."""
    return W.shape[-2] / W.square().sum()


def dimensions_per_feature__sum_of_norms(W):
    """You add up the norms of the features. The Frobenius norm adds up their squares."""
    return W.shape[-2] / W.norm(dim=-2).sum(dim=-1)


def dimensions_per_feature__largest_singular_value(W):
    """You use the spectral norm, the largest singular value. The Frobenius norm is the root of the
    sum of all squared entries."""
    return W.shape[-2] / torch.linalg.matrix_norm(W, ord=2) ** 2


def dimensions_per_feature__mean(W):
    """You take the mean of the squared entries where the formula has their sum."""
    return W.shape[-2] / W.square().mean(dim=(-2, -1))


def dimensions_per_feature__each_feature(W):
    """You keep the features. The Frobenius norm sums over both of the last axes: one number for
    each instance."""
    return W.shape[-2] / W.square().sum(-2)


def dimensions_per_feature__first_axis(W):
    """You divide the size of the *first* axis. The number of hidden dimensions is the size of the
    last axis but one, `W.shape[-2]`."""
    return W.shape[0] / W.square().sum(dim=(-2, -1))


def dimensions_per_feature__mean_dimensionality(W):
    """You return the mean of the dimensionalities D_i. Dimensions per feature is another number: m
    over the squared norm of W."""
    return right.feature_dimensionality(W).mean(-1)


def dimensions_per_feature__counts_features(W):
    """You count the features with a norm above a threshold. The squared Frobenius norm needs no
    threshold: it adds up all squared entries."""
    return W.shape[-2] / (W.norm(dim=-2) > 0.5).sum(-1)


def predict_dense_dimensionality__own_dimensions():
    """That is what happens when importances differ: the model keeps the best twenty. Here nothing
    says which twenty, and any 20 of the 200 directions of the input are as good as any others. So W
    becomes a random projection, with 20 dimensions shared by all. A ratio of 1 for the whole model
    does not say that some features own dimensions."""
    return "1 for 20, 0 for the rest"


def predict_dense_dimensionality__pairs():
    """Antipodal pairs are free only while one of the two features is off. At p = 1 none ever is.
    Also, pairs would give m / |W|^2 = 1/2."""
    return "1/2 for 40, 0 for the rest"


# ----------------------------------------------------------------------------- c1. regular_polygon


def _corners(angle):
    return torch.stack([angle.cos(), angle.sin()])


def regular_polygon__first_corner_twice(k):
    """Your angles go from 0 to 2 pi with both ends: the last corner is the first one again. k
    corners need k different angles."""
    return _corners(torch.linspace(0, 2 * math.pi, k))


def regular_polygon__half_circle(k):
    """Your corners stand on half of the circle: a full turn has 2 pi."""
    return _corners(math.pi * torch.arange(k) / k)


def regular_polygon__vectors_as_rows(k):
    """Your corners are the rows. In this course a feature's direction is a column: shape (2, k)."""
    return _corners(2 * math.pi * torch.arange(k) / k).T.contiguous()


def regular_polygon__sine_first(k):
    """Sine and cosine are exchanged: corner 0 is (0, 1) instead of (1, 0)."""
    return _corners(2 * math.pi * torch.arange(k) / k).flip(0)


def regular_polygon__clockwise(k):
    """You go around clockwise. The angles 2 pi i / k grow, so the turn is counter-clockwise."""
    return _corners(-2 * math.pi * torch.arange(k) / k)


def regular_polygon__counts_from_one(k):
    """You count from 1, so corner 0 is not at the angle 0."""
    return _corners(2 * math.pi * torch.arange(1, k + 1) / k)


def regular_polygon__degrees(k):
    """Your angles are in degrees; cos and sin want radians."""
    return _corners(360 * torch.arange(k) / k)


def regular_polygon__one_corner_too_many(k):
    """You return k + 1 corners: the last one, at 2 pi, is the first one again."""
    return _corners(torch.linspace(0, 2 * math.pi, k + 1))


def regular_polygon__turned_by_half_a_step(k):
    """Your polygon is turned by half a step. Corner 0 is (1, 0): its angle is 0."""
    return _corners(2 * math.pi * (torch.arange(k) + 0.5) / k)


def regular_polygon__double_precision(k):
    """Your corners are float64. Float32 was asked for: torch's default, which `torch.arange(k)`
    becomes when it meets a Python float."""
    return _corners(2 * math.pi * torch.arange(k, dtype=torch.float64) / k)


# ----------------------------------------------------------------------------- c2. regular_simplex


def regular_simplex__not_unit(k):
    """The angles are right, but the vectors are too short. Divide each column by its norm."""
    V = right.regular_simplex(k)
    return V * math.sqrt(1 - 1 / k)


def _from_gram(k, c, lengths):
    values, vectors = torch.linalg.eigh((1 - c) * torch.eye(k) + c)
    return (values[1:, None].sqrt() if lengths else 1) * vectors[:, 1:].T


def regular_simplex__eigenvectors_only(k):
    """The angles are right, but the vectors are too short: you took the eigenvectors of the Gram
    matrix and left out its eigenvalues. What are the lengths of your columns?"""
    return _from_gram(k, -1 / (k - 1), lengths=False)


def regular_simplex__one_over_k(k):
    """You built your vectors for inner products of -1 / k, and then not even their lengths come out
    as 1. The k vectors add up to zero: which number follows from that?"""
    return _from_gram(k, -1 / k, lengths=True)


def regular_simplex__in_k_coordinates(k):
    """Your vectors have k coordinates. They do form a simplex, but they sum to zero, so one
    dimension is never used: write them in k - 1."""
    centred = torch.eye(k) - 1 / k
    return centred / centred.norm(dim=0)


def regular_simplex__a_coordinate_dropped(k):
    """You subtract the mean and leave out one coordinate. The vectors do lie in k - 1 dimensions,
    but not in those of the first k - 1 axes, so this bends the angles: choose a basis of their
    space."""
    V = (torch.eye(k) - 1 / k)[:-1]
    return V / V.norm(dim=0)


def regular_simplex__a_coordinate_dropped_not_unit(k):
    """You subtract the mean and leave out one coordinate. That bends the angles, and the lengths
    are not 1 either: choose a basis of the space of the centred corners, then divide by norms."""
    return (torch.eye(k) - 1 / k)[:-1]


def regular_simplex__not_centred(k):
    """You took the standard basis without subtracting the mean: those vectors are orthogonal, and
    their sum is not zero."""
    return torch.eye(k)[:-1] + 0.0


def regular_simplex__always_a_polygon(k):
    """You built a regular polygon in the plane. Only for k = 3 is that a simplex: from four
    vectors on, equal angles need more dimensions."""
    return right.regular_polygon(k)


def regular_simplex__kept_the_zero_direction(k):
    """You dropped an eigenvector with eigenvalue 1 and kept the one with eigenvalue 0. Along that
    one all coordinates are zero. `eigh` sorts ascending: which end do you cut off?"""
    centred = torch.eye(k) - 1 / k
    V = torch.linalg.eigh(centred).eigenvectors[:, :-1].T @ centred
    return V / V.norm(dim=0)


def regular_simplex__vectors_as_rows(k):
    """Your vectors are the rows. In this course a feature's direction is a column: shape (k - 1,
    k)."""
    return right.regular_simplex(k).T.contiguous()


def regular_simplex__one_too_many(k):
    """You return k + 1 vectors in k dimensions. k is the number of vectors."""
    return right.regular_simplex(k + 1)


def regular_simplex__first_coordinate_dropped(k):
    """You subtract the mean and leave out the first coordinate. The vectors do lie in k - 1
    dimensions, but not in those of the other axes, so this bends the angles: choose a basis of
    their space."""
    V = (torch.eye(k) - 1 / k)[1:]
    return V / V.norm(dim=0)


def regular_simplex__random_directions(k):
    """Your vectors are random unit vectors. In a regular simplex every two have the same inner
    product, -1 / (k - 1)."""
    V = torch.randn(k - 1, k, generator=torch.Generator().manual_seed(0))
    return V / V.norm(dim=0)


def regular_simplex__double_precision(k):
    """Your vectors are float64. Float32 was asked for: that is what `torch.eye` gives by itself."""
    return right.regular_simplex(k).double()


# ----------------------------------------------------------------------------- c3. tight_antiprism


def _prism(k, r, h, turn, k_lower=1.0):
    angle = 2 * math.pi * torch.cat([torch.arange(k), k_lower * torch.arange(k) + turn]) / k
    height = torch.cat([torch.full((k,), h), torch.full((k,), -h)])
    return torch.stack([r * angle.cos(), r * angle.sin(), height])


R, H = math.sqrt(2 / 3), math.sqrt(1 / 3)


def tight_antiprism__a_prism(k):
    """Your lower polygon stands exactly below the upper one: that is a prism (for k = 4 the cube).
    In an antiprism it is turned by half a step."""
    return _prism(k, R, H, 0.0)


def tight_antiprism__turned_by_a_whole_step(k):
    """You turned the lower polygon by a whole step: then its corners are below the upper ones
    again. Half a step."""
    return _prism(k, R, H, 1.0)


def tight_antiprism__radius_and_height_equal(k):
    """Radius and height are equal, so each corner has length 1, but the frame is not tight: two
    dimensions of the plane share what one height gets. What is k r^2 = 2 k h^2 telling you?"""
    return _prism(k, math.sqrt(1 / 2), math.sqrt(1 / 2), 0.5)


def tight_antiprism__not_unit(k):
    """Your corners do not have length 1: the polygons have radius 1, and the height comes on top.
    Use both equations."""
    return _prism(k, 1.0, math.sqrt(1 / 2), 0.5)


def tight_antiprism__radius_for_height(k):
    """Radius and height are exchanged: r^2 = 2 h^2, so the radius is the larger one."""
    return _prism(k, H, R, 0.5)


def tight_antiprism__all_on_one_side(k):
    """Both polygons are at the same height. One belongs above, the other below."""
    V = _prism(k, R, H, 0.5)
    return torch.cat([V[:2], V[2:].abs()])


def tight_antiprism__squares_forgotten(k):
    """You took 2/3 and 1/3 for r and h. Those are their squares."""
    return _prism(k, 2 / 3, 1 / 3, 0.5)


def tight_antiprism__upper_and_lower_alternate(k):
    """Your upper and lower corners alternate. The columns are asked for in another order: first
    the whole upper polygon, then the lower one."""
    V = _prism(k, R, H, 0.5)
    return torch.stack([V[:, :k], V[:, k:]], dim=2).reshape(3, 2 * k)


def tight_antiprism__lower_polygon_first(k):
    """Your lower polygon comes first. Columns 0 to k - 1 are the upper one: its third coordinate is
    positive."""
    return _prism(k, R, -H, 0.5)


def tight_antiprism__turned_by_45_degrees(k):
    """You turn the lower polygon by 45 degrees whatever k is. Half a step is 180 / k degrees: 45
    for the square only."""
    return _prism(k, R, H, k / 8)


def tight_antiprism__angles_run_on(k):
    """Your corners go once around in 2k steps, so the upper ones stand on one half of the circle
    and the lower ones on the other. Each polygon goes around once by itself."""
    angle = 2 * math.pi * torch.arange(2 * k) / (2 * k)
    height = torch.cat([torch.full((k,), H), torch.full((k,), -H)])
    return torch.stack([R * angle.cos(), R * angle.sin(), height])


def tight_antiprism__height_depends_on_k(k):
    """Your height changes with k. In k r^2 = 2 k h^2 the k cancels: r^2 = 2 h^2 for every
    polygon."""
    h = math.sqrt(1 / (k + 1))
    return _prism(k, math.sqrt(1 - h * h), h, 0.5)


def tight_antiprism__radius_one(k):
    """Your polygons have radius 1 beside the right height. Use both: r^2 = 2/3 and h^2 = 1/3, so
    that the corners have length 1."""
    return _prism(k, 1.0, H, 0.5)


# ------------------------------------------------------------------------------- c4. tegum_product


def tegum_product__side_by_side(parts):
    """You put the parts side by side in the same coordinates. Then they overlap: each part needs
    dimensions of its own."""
    rows = max(len(p) for p in parts)
    padded = [torch.cat([p, p.new_zeros(rows - len(p), p.shape[1])]) for p in parts]
    return torch.cat(padded, dim=1)


def tegum_product__order_reversed(parts):
    """Your parts come in reverse order. The first part belongs in the first coordinates."""
    return torch.block_diag(*parts[::-1])


def tegum_product__columns_and_rows_exchanged(parts):
    """Your result is transposed: features are columns."""
    return torch.block_diag(*[p.T for p in parts])


def tegum_product__first_two_only(parts):
    """You join two parts and forget the others. There may be one, two or more."""
    return torch.block_diag(*parts[:2])


def tegum_product__kronecker(parts):
    """You used the Kronecker product: it multiplies each entry with the other matrix. Here the
    parts stand beside each other, with zeros around them."""
    out = parts[0]
    for part in parts[1:]:
        out = torch.kron(out, part)
    return out


def tegum_product__normalised(parts):
    """You normalise the vectors. The parts come as they are, and stay as they are."""
    return torch.block_diag(*[p / p.norm(dim=0) for p in parts])


def tegum_product__rows_kept_apart_columns_shared(parts):
    """Your parts share the columns: you stacked them below each other. Each feature belongs to one
    part only."""
    cols = max(p.shape[1] for p in parts)
    return torch.cat([torch.cat([p, p.new_zeros(len(p), cols - p.shape[1])], 1) for p in parts])


def tegum_product__whole_matrix_normalised(parts):
    """You divide each part by its norm. The parts come as they are, and stay as they are."""
    return torch.block_diag(*[p / p.norm() for p in parts])


def tegum_product__first_and_last(parts):
    """You join the first and the last part and forget those in between. There may be one, two or
    more parts."""
    return torch.block_diag(parts[0], parts[-1])


def tegum_product__joined_along_features(parts):
    """You join the parts along the features only. They have different numbers of rows, and each
    needs rows of its own: a block-diagonal matrix."""
    return torch.cat(list(parts), dim=1)


# ---------------------------------------------------------------------------- c5. nearest_fraction


def _distance(D, fractions):
    return (D[..., None] - fractions).abs()


def nearest_fraction__first_within_reach(D, fractions, tolerance):
    """You take the first fraction that is near enough. 2/5 and 3/8 can both be near enough: the
    nearest should win."""
    within = _distance(D, fractions) <= tolerance
    return torch.where(within.any(-1), within.long().argmax(-1), -1)


def nearest_fraction__edge_excluded(D, fractions, tolerance):
    """A distance equal to the tolerance should count as within: `<=`, not `<`."""
    nearest = _distance(D, fractions).min(-1)
    return torch.where(nearest.values < tolerance, nearest.indices, -1)


def nearest_fraction__never_none(D, fractions, tolerance):
    """Every value gets a fraction, however far away. Where none is within the tolerance, return
    -1."""
    return _distance(D, fractions).argmin(-1)


def nearest_fraction__signed_distance(D, fractions, tolerance):
    """Your distance has a sign: a fraction far *above* the value has a very negative difference,
    and wins. Take the absolute value."""
    nearest = (D[..., None] - fractions).min(-1)
    return torch.where(nearest.values <= tolerance, nearest.indices, -1)


def nearest_fraction__farthest(D, fractions, tolerance):
    """You look for the largest distance. The nearest fraction has the smallest."""
    farthest = _distance(D, fractions).max(-1)
    return torch.where(farthest.values <= tolerance, farthest.indices, -1)


def nearest_fraction__relative(D, fractions, tolerance):
    """You measure the distance relative to the fraction. The tolerance is an absolute distance."""
    nearest = _distance(D, fractions).min(-1)
    relative = nearest.values / fractions[nearest.indices]
    return torch.where(relative <= tolerance, nearest.indices, -1)


def nearest_fraction__the_fraction_itself(D, fractions, tolerance):
    """You return the fraction. Asked for is its index, an integer, so that one can count."""
    nearest = _distance(D, fractions).min(-1)
    return torch.where(nearest.values <= tolerance, fractions[nearest.indices], -1)


def nearest_fraction__zero_for_none(D, fractions, tolerance):
    """Where no fraction is near you return 0. But 0 is the index of the first fraction."""
    nearest = _distance(D, fractions).min(-1)
    return torch.where(nearest.values <= tolerance, nearest.indices, 0)


def nearest_fraction__last_of_a_tie(D, fractions, tolerance):
    """Where two fractions are equally near you take the one that comes last. The first one wins."""
    nearest = _distance(D, fractions).flip(-1).min(-1)
    return torch.where(nearest.values <= tolerance, len(fractions) - 1 - nearest.indices, -1)


def nearest_fraction__squared_distance(D, fractions, tolerance):
    """You compare the squared distance with the tolerance. The tolerance is a distance."""
    nearest = _distance(D, fractions).square().min(-1)
    return torch.where(nearest.values <= tolerance, nearest.indices, -1)


def nearest_fraction__flattened(D, fractions, tolerance):
    """You flatten D. The result has the shape of D: let the axis of the fractions be a new one at
    the end, `D[..., None]`."""
    nearest = _distance(D.flatten(), fractions).min(-1)
    return torch.where(nearest.values <= tolerance, nearest.indices, -1)


def nearest_fraction__far_ones(D, fractions, tolerance):
    """Your comparison is the wrong way round: you give an index to the values that are near
    nothing, and -1 to the others."""
    nearest = _distance(D, fractions).min(-1)
    return torch.where(nearest.values > tolerance, nearest.indices, -1)


def nearest_fraction__32_bits(D, fractions, tolerance):
    """Your indices are 32-bit integers. Torch counts in 64 bits (`torch.int64`), and that was asked
    for."""
    return right.nearest_fraction(D, fractions, tolerance).int()


def nearest_fraction__last_index_for_none(D, fractions, tolerance):
    """Where no fraction is near you return an index of your own choice. It should be -1."""
    nearest = _distance(D, fractions).min(-1)
    return torch.where(nearest.values <= tolerance, nearest.indices, len(fractions))


def predict_near_a_fraction__most():
    """The strip looks as if points gathered on the lines. But lines draw the eye. Where features
    are sparse, D falls smoothly with p, and a value in between is near no line."""
    return "more than three quarters"


def predict_near_a_fraction__many():
    """The digons alone bring about a quarter. Then count the models with sparse features: there D
    falls smoothly with p, and most of its values are near no fraction."""
    return "half to three quarters"


def predict_tetrahedra__some():
    """Four in three dimensions looks natural, and TMS draws the line 3/4 in its figure. But three
    digons store six features in the same three dimensions, at little more cost."""
    return "some, but fewer than in pentagons"


def predict_tetrahedra__many():
    """A tetrahedron's overlaps are all negative, which the ReLU likes. But it stores only 4/3
    features per dimension. Part 7 computes what each shape pays."""
    return "as many as in pentagons, or more"


# -------------------------------------------------------------------------- d1. interference_graph


def _graph(W, threshold, min_norm, cosine=None, kept=None, loops=False):
    norm = W.norm(dim=0)
    kept = norm > min_norm if kept is None else kept
    W_hat = W / norm.masked_fill(norm == 0, 1)
    joined = (W_hat.T @ W_hat).abs() > threshold if cosine is None else cosine(W_hat, norm)
    joined = joined & kept[:, None] & kept
    itself = torch.eye(len(norm), dtype=torch.bool, device=W.device)
    return joined if loops else joined & ~itself


def interference_graph__positive_only(W, threshold, min_norm):
    """You only join features with a positive cosine. An antipodal pair has the cosine -1, and it
    shares its dimension more than any other two."""
    return _graph(W, threshold, min_norm, lambda V, n: threshold < V.T @ V)


def interference_graph__negative_only(W, threshold, min_norm):
    """You only join features with a negative cosine. Neighbours in a pentagon are 72 degrees apart
    and overlap positively: they share dimensions, too."""
    return _graph(W, threshold, min_norm, lambda V, n: -threshold > V.T @ V)


def interference_graph__not_normalised(W, threshold, min_norm):
    """You compare inner products, not cosines: long features get more edges. The graph should
    depend on angles only, so both sides need a hat."""
    return _graph(W, threshold, min_norm, lambda V, n: (W.T @ W).abs() > threshold)


def interference_graph__one_hat(W, threshold, min_norm):
    """Only one side has a hat, as in the formula of D. Here the graph should depend on angles only,
    and it must be symmetric: both sides need one."""
    return _graph(W, threshold, min_norm, lambda V, n: (V.T @ W).abs() > threshold)


def interference_graph__loops(W, threshold, min_norm):
    """Features are joined to themselves: the cosine of a vector with itself is 1, above any
    threshold. Take the diagonal out."""
    return _graph(W, threshold, min_norm, loops=True)


def interference_graph__one_end_is_enough(W, threshold, min_norm):
    """An edge needs two represented ends. Yours needs one, so dropped features, whose directions
    are noise, hang on to kept ones."""
    kept = W.norm(dim=0) > min_norm
    everyone = torch.ones_like(kept)
    return _graph(W, threshold, min_norm, kept=everyone) & (kept[:, None] | kept)


def interference_graph__dropped_features_included(W, threshold, min_norm):
    """You never use `min_norm`. A feature that is not represented still has a direction, but it is
    noise: it must not be joined to anything."""
    return _graph(W, threshold, min_norm, kept=W.norm(dim=0) > 0)


def interference_graph__squared_cosine(W, threshold, min_norm):
    """You compare the squared cosine with the threshold. The threshold is one for the cosine."""
    return _graph(W, threshold, min_norm, lambda V, n: (V.T @ V).square() > threshold)


def interference_graph__thresholds_included(W, threshold, min_norm):
    """A cosine equal to the threshold is not *above* it: `>`, not `>=`."""
    return _graph(W, threshold, min_norm, lambda V, n: (V.T @ V).abs() >= threshold)


def interference_graph__norm_equal_is_enough(W, threshold, min_norm):
    """A norm equal to `min_norm` is not *above* it: `>`, not `>=`."""
    return _graph(W, threshold, min_norm, kept=W.norm(dim=0) >= min_norm)


def interference_graph__numbers(W, threshold, min_norm):
    """You return numbers. A graph is a boolean matrix: edge or no edge."""
    return _graph(W, threshold, min_norm).to(W.dtype)


def interference_graph__rows_normalised(W, threshold, min_norm):
    """You normalise the rows of W. A feature is a column: its norm is over the hidden axis."""
    norm = W.norm(dim=1, keepdim=True)
    U = W / norm.masked_fill(norm == 0, 1)
    return _graph(W, threshold, min_norm, lambda V, n: (U.T @ U).abs() > threshold)


def interference_graph__one_triangle(W, threshold, min_norm):
    """You only join i to j for i < j. The graph has no direction: an edge from i to j is one from j
    to i."""
    return _graph(W, threshold, min_norm).triu(1)


def interference_graph__dropped_features_removed(W, threshold, min_norm):
    """You remove the features that are not represented, so all later indices shift. They keep their
    row and column, without an edge."""
    kept = W.norm(dim=0) > min_norm
    return _graph(W[:, kept], threshold, min_norm)


def interference_graph__first_end_only(W, threshold, min_norm):
    """You ask whether feature i is represented, but not feature j. Both ends of an edge must be, or
    the matrix is not symmetric."""
    kept = W.norm(dim=0) > min_norm
    everyone = torch.ones_like(kept)
    return _graph(W, threshold, min_norm, kept=everyone) & kept[:, None]


# ---------------------------------------------------------------------------- d2. component_labels


def _rounds(graph, labels, rounds):
    n = len(graph)
    for _ in range(rounds):
        near = labels.expand(n, n).masked_fill(~graph, n).amin(dim=1)
        labels = torch.minimum(labels, near)
    return labels


def component_labels__one_round(graph):
    """You let labels spread once. A neighbour's neighbour has not heard yet: repeat until nothing
    changes."""
    return _rounds(graph, torch.arange(len(graph), device=graph.device), 1)


def component_labels__fixed_number_of_rounds(graph):
    """You repeat a fixed number of times. A long chain needs more: stop when nothing changes, not
    after a guess."""
    return _rounds(graph, torch.arange(len(graph), device=graph.device), 5)


def component_labels__without_own_label(graph):
    """You take the smallest label of the neighbours and forget your own. Then the smallest index of
    a group takes a larger label from its neighbour."""
    n = len(graph)
    labels = torch.arange(n, device=graph.device)
    for _ in range(n):
        near = labels.expand(n, n).masked_fill(~graph, n).amin(dim=1)
        labels = torch.where(graph.any(dim=1), near, labels)
    return labels


def component_labels__largest_index(graph):
    """Your label is the largest index of the group. Asked for is the smallest."""
    n = len(graph)
    labels = torch.arange(n, device=graph.device)
    for _ in range(n):
        near = labels.expand(n, n).masked_fill(~graph, -1).amax(dim=1)
        labels = torch.maximum(labels, near)
    return labels


def component_labels__numbered_in_order(graph):
    """You number the groups 0, 1, 2, ... Asked for is the smallest index in the group, so that a
    label tells where to find it."""
    return torch.unique(right.component_labels(graph), return_inverse=True)[1]


def component_labels__loners_marked(graph):
    """A feature without edges gets -1 from you. It is a group of one: it keeps its own index."""
    return torch.where(graph.any(dim=1), right.component_labels(graph), -1)


def component_labels__everyone_alone(graph):
    """Every feature keeps its own index: the edges are never used, or the loop stops before its
    first round."""
    return torch.arange(len(graph), device=graph.device)


def component_labels__zeros_for_strangers(graph):
    """You multiply the labels with the graph, so that everybody who is *not* a neighbour counts as
    label 0, the smallest of all. Give non-neighbours a number that is too large."""
    n = len(graph)
    labels = torch.arange(n, device=graph.device)
    for _ in range(n):
        labels = torch.minimum(labels, (labels.expand(n, n) * graph).amin(dim=1))
    return labels


def component_labels__root_of_n_rounds(graph):
    """You guess how many rounds are enough. A chain of n features may need n of them: stop when
    nothing changes."""
    labels = torch.arange(len(graph), device=graph.device)
    return _rounds(graph, labels, int(len(graph) ** 0.5))


# ----------------------------------------------------------------------------- d3. gram_invariants


def _entries(gram, offset=1):
    rows, cols = torch.triu_indices(*gram.shape, offset=offset, device=gram.device)
    return gram[rows, cols]


def gram_invariants__not_unit(V):
    """You compare V as it is. Two pentagons of different size should have the same invariants:
    divide each column by its norm first."""
    gram = V.T @ V
    return torch.linalg.eigvalsh(gram), _entries(gram).sort().values


def gram_invariants__frame_operator(V):
    """Your eigenvalues are those of V V^T, a d x d matrix. The Gram matrix V^T V is k x k: it has
    the same nonzero ones, but k in all."""
    U = V / V.norm(dim=0)
    return torch.linalg.eigvalsh(U @ U.T), _entries(U.T @ U).sort().values


def gram_invariants__diagonal_included(V):
    """Your entries include the diagonal, which is 1 for every unit vector. Take those above it:
    offset=1."""
    U = V / V.norm(dim=0)
    return torch.linalg.eigvalsh(U.T @ U), _entries(U.T @ U, 0).sort().values


def gram_invariants__each_pair_twice(V):
    """Every pair occurs twice in your list: the Gram matrix is symmetric, so take one triangle of
    it."""
    U = V / V.norm(dim=0)
    gram = U.T @ U
    off = ~torch.eye(len(gram), dtype=torch.bool, device=V.device)
    return torch.linalg.eigvalsh(gram), gram[off].sort().values


def gram_invariants__not_sorted(V):
    """Your entries come in the order of the features. Another order of the same features gives
    another list: sort."""
    U = V / V.norm(dim=0)
    return torch.linalg.eigvalsh(U.T @ U), _entries(U.T @ U)


def gram_invariants__descending(V):
    """Your lists are in descending order. Ascending was asked for."""
    eigenvalues, entries = right.gram_invariants(V)
    return eigenvalues.flip(0), entries.flip(0)


def gram_invariants__absolute(V):
    """You take absolute values. Then a digon (-1) looks like two equal vectors (+1), but the ReLU
    treats them very differently."""
    eigenvalues, entries = right.gram_invariants(V)
    return eigenvalues, entries.abs().sort().values


def gram_invariants__singular_values(V):
    """You return the singular values of V. The eigenvalues of V^T V are their squares, and there
    are k of them."""
    U = V / V.norm(dim=0)
    return torch.linalg.svdvals(U).flip(0), _entries(U.T @ U).sort().values


def gram_invariants__rows_normalised(V):
    """You normalise the rows. The vectors are the columns: `V.norm(dim=0)`."""
    U = V / V.norm(dim=1, keepdim=True)
    return torch.linalg.eigvalsh(U.T @ U), _entries(U.T @ U).sort().values


def gram_invariants__zeros_below_the_diagonal(V):
    """You keep the zeros that `triu` leaves at and below the diagonal. Take only the entries above
    it: k (k - 1) / 2 numbers."""
    U = V / V.norm(dim=0)
    gram = U.T @ U
    return torch.linalg.eigvalsh(gram), gram.triu(1).flatten().sort().values


def gram_invariants__order_exchanged(V):
    """Your two results come in the wrong order: first the eigenvalues, then the entries."""
    eigenvalues, entries = right.gram_invariants(V)
    return entries, eigenvalues


def gram_invariants__whole_matrix_normalised(V):
    """You divide V by its whole norm. Each column has a norm of its own: `V.norm(dim=0)`."""
    U = V / V.norm()
    return torch.linalg.eigvalsh(U.T @ U), _entries(U.T @ U).sort().values


def gram_invariants__eigenvalues_not_sorted(V):
    """Your eigenvalues come in no fixed order: `torch.linalg.eigvals` does not sort. For symmetric
    matrices use `eigvalsh`, which does."""
    U = V / V.norm(dim=0)
    return torch.linalg.eigvals(U.T @ U).real, _entries(U.T @ U).sort().values


def gram_invariants__one_side_normalised(V):
    """You divide the inner products by the squared length of one of the two vectors. Both vectors
    get length 1 first."""
    gram = V.T @ V
    gram = gram / gram.diagonal()
    return torch.linalg.eigvalsh(gram), _entries(gram).sort().values


def predict_spectra__differ():
    """The nonzero eigenvalues of V^T V are those of V V^T, and both shapes are tight: V V^T is 8/3
    times the identity for both. Being tight and being the same shape are different things."""
    return "the eigenvalues differ"


# ------------------------------------------------------------------------------- d4. name_polytope


def _named(V, polytopes, matches):
    for name, polytope in polytopes.items():
        if polytope.shape[1] == V.shape[1] and matches(polytope.to(V)):
            return name
    return "other"


def name_polytope__eigenvalues_only(V, polytopes, tolerance):
    """You compare the eigenvalues only. Cube and square antiprism have the same ones: compare the
    entries, too."""
    mine = right.gram_invariants(V)[0]
    return _named(
        V, polytopes, lambda P: (right.gram_invariants(P)[0] - mine).abs().max() <= tolerance
    )


def name_polytope__number_of_vectors_only(V, polytopes, tolerance):
    """Any eight vectors are a cube to you. The number of vectors is a first test; the invariants
    decide."""
    return _named(V, polytopes, lambda P: True)


def name_polytope__gram_in_order(V, polytopes, tolerance):
    """You compare the Gram matrices entry by entry. Features come in any order: only what a
    permutation cannot change may be compared."""

    def unit(A):
        return A / A.norm(dim=0)

    gram = unit(V).T @ unit(V)
    return _named(V, polytopes, lambda P: (unit(P).T @ unit(P) - gram).abs().max() <= tolerance)


def name_polytope__same_number_of_dimensions(V, polytopes, tolerance):
    """You ask for the same number of rows. A triangle inside seven dimensions is a triangle: only
    the number of vectors must agree."""
    same = {n: P for n, P in polytopes.items() if P.shape == V.shape}
    return right.name_polytope(V, same, tolerance)


def name_polytope__mean_difference(V, polytopes, tolerance):
    """You average the differences. Then one corner that is far off hides behind the others: the
    worst place decides."""
    mine = torch.cat(right.gram_invariants(V))
    return _named(
        V,
        polytopes,
        lambda P: (torch.cat(right.gram_invariants(P)) - mine).abs().mean() <= tolerance,
    )


def name_polytope__never_other(V, polytopes, tolerance):
    """You return the nearest shape, however far. What matches nothing is "other"."""
    mine = torch.cat(right.gram_invariants(V))
    found = {
        name: (torch.cat(right.gram_invariants(P.to(V))) - mine).abs().max().item()
        for name, P in polytopes.items()
        if P.shape[1] == V.shape[1]
    }
    return min(found, key=lambda name: found[name]) if found else "other"


def name_polytope__no_absolute_value(V, polytopes, tolerance):
    """Your difference has a sign, so a value far too *large* passes as "at most the tolerance".
    Take the absolute value."""
    mine = torch.cat(right.gram_invariants(V))
    return _named(
        V,
        polytopes,
        lambda P: (mine - torch.cat(right.gram_invariants(P))).max() <= tolerance,
    )


def name_polytope__last_match(V, polytopes, tolerance):
    """You go on after a match, so a later shape overwrites it. The first match wins: return it at
    once."""
    found = "other"
    for name, P in polytopes.items():
        if right.name_polytope(V, {name: P}, tolerance) == name:
            found = name
    return found


def name_polytope__none_for_no_match(V, polytopes, tolerance):
    """When nothing matches you return None: the function ends without a return. It should say
    "other"."""
    name = right.name_polytope(V, polytopes, tolerance)
    return None if name == "other" else name


def name_polytope__entries_only(V, polytopes, tolerance):
    """You compare the entries only. Eigenvalues add up many small deviations: a shape that leaks
    into other dimensions shows it there first. Compare both."""
    mine = right.gram_invariants(V)[1]
    return _named(
        V,
        polytopes,
        lambda P: not len(mine) or (right.gram_invariants(P)[1] - mine).abs().max() <= tolerance,
    )


def name_polytope__gives_up_after_the_first_candidate(V, polytopes, tolerance):
    """You return "other" as soon as one polytope with this number of vectors does not match. The
    next one may: return "other" after the loop."""
    for name, P in polytopes.items():
        if P.shape[1] == V.shape[1]:
            return right.name_polytope(V, {name: P}, tolerance)
    return "other"


def name_polytope__numbers_not_compared(V, polytopes, tolerance):
    """You compare the invariants of shapes with different numbers of vectors. Their lists have
    different lengths: skip those first."""
    mine = torch.cat(right.gram_invariants(V))
    for name, P in polytopes.items():
        theirs = torch.cat(right.gram_invariants(P.to(V)))
        if (theirs - mine).abs().max() <= tolerance:
            return name
    return "other"


def name_polytope__tolerance_excluded(V, polytopes, tolerance):
    """A difference of exactly the tolerance still matches: "at most", so `<=` and not `<`."""
    mine = torch.cat(right.gram_invariants(V))
    return _named(
        V,
        polytopes,
        lambda P: (torch.cat(right.gram_invariants(P)) - mine).abs().max() < tolerance,
    )


def name_polytope__either_is_enough(V, polytopes, tolerance):
    """You accept a shape when the eigenvalues *or* the entries agree. Both must: cube and square
    antiprism share their eigenvalues."""
    mine = right.gram_invariants(V)
    return _named(
        V,
        polytopes,
        lambda P: any(
            (a - b).abs().max() <= tolerance
            for a, b in zip(right.gram_invariants(P), mine, strict=True)
            if len(a)
        ),
    )


# ----------------------------------------------------------------------------- d5. polytope_census


def _groups(W, threshold, min_norm):
    return right.component_labels(right.interference_graph(W, threshold, min_norm))


def _count(W, polytopes, labels, groups, tolerance):
    names = [right.name_polytope(W[:, labels == g], polytopes, tolerance) for g in groups]
    return dict(Counter(names))


def polytope_census__counts_features(W, polytopes, threshold, min_norm, tolerance):
    """You count features: five for each pentagon. A census counts groups."""
    labels = _groups(W, threshold, min_norm)
    kept = labels[W.norm(dim=0) > min_norm]
    return _count(W, polytopes, labels, kept, tolerance)


def polytope_census__dropped_features_included(W, polytopes, threshold, min_norm, tolerance):
    """Features that are not represented are counted as groups of one. They have labels, too: keep
    only the groups of represented features."""
    labels = _groups(W, threshold, min_norm)
    return _count(W, polytopes, labels, labels.unique(), tolerance)


def polytope_census__loners_left_out(W, polytopes, threshold, min_norm, tolerance):
    """You leave out represented features without neighbours. Each is a group of one, a
    "single"."""
    labels = _groups(W, threshold, min_norm)
    kept = labels[W.norm(dim=0) > min_norm]
    groups, size = kept.unique(return_counts=True)
    return _count(W, polytopes, labels, groups[size > 1], tolerance)


def polytope_census__other_left_out(W, polytopes, threshold, min_norm, tolerance):
    """You leave out the groups that match nothing. Count them under "other": the reader must see
    how much stays unexplained."""
    found = right.polytope_census(W, polytopes, threshold, min_norm, tolerance)
    return {name: n for name, n in found.items() if name != "other"}


def polytope_census__zeros_listed(W, polytopes, threshold, min_norm, tolerance):
    """You list names with the count 0. Only what was found belongs in the dictionary."""
    found = right.polytope_census(W, polytopes, threshold, min_norm, tolerance)
    return {**dict.fromkeys(polytopes, 0), **found}


def polytope_census__neighbourhoods_for_groups(W, polytopes, threshold, min_norm, tolerance):
    """You name the neighbourhood of every feature, so each group is counted once for each of its
    members. Use the components."""
    graph = right.interference_graph(W, threshold, min_norm)
    graph = graph | torch.eye(len(graph), dtype=torch.bool, device=W.device)
    kept = (W.norm(dim=0) > min_norm).nonzero()[:, 0]
    names = [right.name_polytope(W[:, graph[i]], polytopes, tolerance) for i in kept]
    return dict(Counter(names))


def polytope_census__settings_exchanged(W, polytopes, threshold, min_norm, tolerance):
    """Threshold and smallest norm seem to be exchanged on the way into `interference_graph`: look
    at the order of its arguments."""
    labels = _groups(W, min_norm, threshold)
    return _count(W, polytopes, labels, labels[W.norm(dim=0) > min_norm].unique(), tolerance)


def polytope_census__tolerance_is_the_threshold(W, polytopes, threshold, min_norm, tolerance):
    """You hand the threshold of the graph to `name_polytope`. It has a tolerance of its own."""
    return right.polytope_census(W, polytopes, threshold, min_norm, threshold)


def polytope_census__list_of_names(W, polytopes, threshold, min_norm, tolerance):
    """You return the list of names. Asked for is a dictionary: name and count."""
    labels = _groups(W, threshold, min_norm)
    groups = labels[W.norm(dim=0) > min_norm].unique()
    return [right.name_polytope(W[:, labels == g], polytopes, tolerance) for g in groups]


def polytope_census__norm_equal_is_enough(W, polytopes, threshold, min_norm, tolerance):
    """A norm equal to `min_norm` is not above it. Such a feature is not represented, and forms no
    group: `>`, not `>=`."""
    labels = _groups(W, threshold, min_norm)
    kept = labels[W.norm(dim=0) >= min_norm].unique()
    return _count(W, polytopes, labels, kept, tolerance)


def polytope_census__graph_of_all_features(W, polytopes, threshold, min_norm, tolerance):
    """Your graph joins features that are not represented: hand `min_norm` to
    `interference_graph`."""
    labels = _groups(W, threshold, 0.0)
    kept = labels[W.norm(dim=0) > min_norm].unique()
    return _count(W, polytopes, labels, kept, tolerance)


def polytope_census__one_feature_of_each_group(W, polytopes, threshold, min_norm, tolerance):
    """You name one feature of each group, which is always a "single". Take all columns with the
    group's label: `W[:, labels == group]`."""
    labels = _groups(W, threshold, min_norm)
    groups = labels[W.norm(dim=0) > min_norm].unique()
    names = [right.name_polytope(W[:, [g]], polytopes, tolerance) for g in groups.tolist()]
    return dict(Counter(names))


def polytope_census__names_without_counts(W, polytopes, threshold, min_norm, tolerance):
    """You list each name once, with the count 1. How many groups of that name are there?"""
    found = right.polytope_census(W, polytopes, threshold, min_norm, tolerance)
    return dict.fromkeys(found, 1)


def predict_antiprisms__most():
    """If a value of D proved a shape, this would be right. But pentagons whose neighbours are not
    quite orthogonal come down from 2/5 to 3/8, and larger groups pass it, too."""
    return "more than two thirds"


def predict_antiprisms__half():
    """Antiprisms are rarer than that: none, one or two in sixteen models. Most features with this D
    are in pentagons that others push, or in larger groups."""
    return "a third to two thirds"


def predict_motion__most():
    """Seen from far away it might look smooth. But each shape is a plateau: while the model
    sits on it, the gradient is almost zero, and when it has left, it moves fast."""
    return "more than half"


def predict_motion__often():
    """The changes are faster than that. While the model sits in a shape the gradient is almost
    zero; once it has left, it arrives within a few snapshots."""
    return "a tenth to a half"


# --------------------------------------------------------------------------------- e1. count_jumps


def _runs(level):
    return [(value, len(list(run))) for value, run in groupby(level.tolist())]


def _changes(held):
    return sum(a != b for a, b in pairwise(held))


def count_jumps__every_change(level, hold):
    """You count every change of the sequence. A path that passes a level on its way has not rested
    there: only levels that are held count."""
    return _changes([value for value in level.tolist() if value >= 0])


def count_jumps__minus_one_is_a_level(level, hold):
    """You treat -1 as a level. It says "at no level": leaving a level and arriving at another is
    one jump, not two."""
    return _changes([value for value, length in _runs(level) if length >= hold])


def count_jumps__held_levels_counted(level, hold):
    """You count the held levels. A jump is a change between two of them: with one held level there
    is none."""
    return len([value for value, length in _runs(level) if value >= 0 and length >= hold])


def count_jumps__return_counts(level, hold):
    """Leaving a level and coming back to the same one is no jump. Compare the held levels with
    each other, not only their number."""
    held = [value for value, length in _runs(level) if value >= 0 and length >= hold]
    return max(len(held) - 1, 0)


def count_jumps__longer_than_hold(level, hold):
    """You ask for more than `hold` frames. Exactly `hold` in a row is enough."""
    return _changes([value for value, length in _runs(level) if value >= 0 and length > hold])


def count_jumps__different_levels(level, hold):
    """You count how many different levels there are. Going up, down and up again is three jumps
    between two levels."""
    held = {value for value, length in _runs(level) if value >= 0 and length >= hold}
    return max(len(held) - 1, 0)


def count_jumps__frames_in_all(level, hold):
    """You count how often a level occurs in all. `hold` frames must be in a row."""
    seen = Counter(level.tolist())
    return _changes([v for v in level.tolist() if v >= 0 and seen[v] >= hold])


def count_jumps__neighbouring_runs_only(level, hold):
    """You only see a jump where one level follows the other directly. Between them there may be
    frames at no level, or levels that are not held: drop those first."""
    return sum(
        a[0] >= 0 and b[0] >= 0 and a[1] >= hold and b[1] >= hold for a, b in pairwise(_runs(level))
    )


def count_jumps__level_zero_forgotten(level, hold):
    """You leave out level 0. It is a level like any other; only -1 says "at no level": `>= 0`, not
    `> 0`."""
    return _changes([value for value, length in _runs(level) if value > 0 and length >= hold])


def count_jumps__gaps_closed(level, hold):
    """You drop the frames at no level first, and then look for runs. Then two short stays become a
    long one: `hold` frames must stand in a row, without a gap."""
    return _changes([v for v, length in _runs(level[level >= 0]) if length >= hold])


def count_jumps__any_change_of_frame(level, hold):
    """You count every frame that differs from the one before, also at no level. A jump needs two
    held levels."""
    return int((level.diff() != 0).sum())


def count_jumps__one_less_than_held(level, hold):
    """You return the number of held levels minus one. Without any held level that is -1, and a
    return to the same level counts: compare neighbours."""
    return len([v for v, length in _runs(level) if v >= 0 and length >= hold]) - 1


def count_jumps__compares_frames_apart(level, hold):
    """You compare each frame with the one `hold` frames before. Then one jump is counted `hold`
    times: find the runs first, then compare neighbouring held levels."""
    seen = level[level >= 0].tolist()
    return sum(a != b for a, b in zip(seen, seen[hold:], strict=False))


# --------------------------------------------------------------------------- e2. fall_while_moving


def _fall(loss, moving):
    fall = -loss.diff()
    return (fall[moving].sum() / fall.sum()).item(), moving.float().mean().item()


def fall_while_moving__signed_motion(D, loss, speed):
    """You add up the changes with their signs. One feature goes up while another goes down, and
    they cancel: take absolute values."""
    return _fall(loss, D.diff(dim=0).sum(dim=1) > speed)


def fall_while_moving__net_motion(D, loss, speed):
    """You take the absolute value after adding up. One feature goes up while another goes down, and
    they cancel: absolute values first."""
    return _fall(loss, D.diff(dim=0).sum(dim=1).abs() > speed)


def fall_while_moving__largest_change(D, loss, speed):
    """You use the largest change of a single feature. The motion is the sum over all features."""
    return _fall(loss, D.diff(dim=0).abs().amax(dim=1) > speed)


def fall_while_moving__mean_change(D, loss, speed):
    """You use the mean over features. The motion is their sum."""
    return _fall(loss, D.diff(dim=0).abs().mean(dim=1) > speed)


def fall_while_moving__resting(D, loss, speed):
    """You report the intervals at rest: the comparison is the wrong way round."""
    return _fall(loss, D.diff(dim=0).abs().sum(dim=1) <= speed)


def fall_while_moving__rises_ignored(D, loss, speed):
    """You count a rising loss as no fall. A rise is a negative fall: then the shares of all
    intervals add up to one."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    fall = (-loss.diff()).clamp(min=0)
    return (fall[moving].sum() / fall.sum()).item(), moving.float().mean().item()


def fall_while_moving__share_of_the_loss(D, loss, speed):
    """You divide by the first loss. Asked for is the share of the whole fall, first minus last."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    return (-loss.diff()[moving].sum() / loss[0]).item(), moving.float().mean().item()


def fall_while_moving__count_of_intervals(D, loss, speed):
    """Your second number is how many intervals move. Asked for is their share."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    return _fall(loss, moving)[0], float(moving.sum())


def fall_while_moving__euclidean_motion(D, loss, speed):
    """You use the Euclidean length of the change. The motion is the sum of absolute changes."""
    return _fall(loss, D.diff(dim=0).norm(dim=1) > speed)


def fall_while_moving__order_exchanged(D, loss, speed):
    """Your two numbers come in the wrong order: first the share of the fall, then the share of
    intervals."""
    return right.fall_while_moving(D, loss, speed)[::-1]


def fall_while_moving__divided_by_all_losses(D, loss, speed):
    """You divide by the sum of the losses. The whole fall is the first loss minus the last."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    return (-loss.diff()[moving].sum() / loss.sum()).item(), moving.float().mean().item()


def fall_while_moving__share_of_frames(D, loss, speed):
    """You divide by the number of frames. There is one interval less than there are frames."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    return _fall(loss, moving)[0], moving.sum().item() / len(D)


def fall_while_moving__not_divided(D, loss, speed):
    """Your first number is the fall itself. Divide it by the fall over all intervals."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    return -loss.diff()[moving].sum().item(), moving.float().mean().item()


def fall_while_moving__rises_count_as_falls(D, loss, speed):
    """You take absolute values of the loss's changes. A rise is a negative fall: count it as it
    is."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    change = loss.diff().abs()
    return (change[moving].sum() / change.sum()).item(), moving.float().mean().item()


def fall_while_moving__speed_itself_is_moving(D, loss, speed):
    """A motion equal to the speed does not exceed it: `>`, not `>=`."""
    return _fall(loss, D.diff(dim=0).abs().sum(dim=1) >= speed)


def fall_while_moving__rise_for_fall(D, loss, speed):
    """Your first number has the wrong sign: above the bar you have after minus before, below it
    first minus last."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    rise = loss.diff()
    return (rise[moving].sum() / (loss[0] - loss[-1])).item(), moving.float().mean().item()


def fall_while_moving__means_for_sums(D, loss, speed):
    """You divide the mean fall of the moving intervals by the mean of all. A share of the whole
    fall is a sum over a sum."""
    moving = D.diff(dim=0).abs().sum(dim=1) > speed
    fall = -loss.diff()
    return (fall[moving].mean() / fall.mean()).item(), moving.float().mean().item()


# ------------------------------------------------------------------------------------ f1. leverage


def leverage__plain_inverse(W):
    """You invert W W^T. When W does not use all dimensions that matrix is singular: use the
    pseudo-inverse."""
    return (W * (torch.linalg.inv(W @ W.mT) @ W)).sum(-2)


def leverage__ridge(W):
    """You add a small number to the diagonal before inverting. Then the sum is no longer the rank:
    use the pseudo-inverse, which needs no such number."""
    eye = torch.eye(W.shape[-2], dtype=W.dtype, device=W.device)
    return (W * torch.linalg.solve(W @ W.mT + 1e-2 * eye, W)).sum(-2)


def leverage__middling_ridge(W):
    """You add a small number to the diagonal before inverting. Then the sum is no longer the rank:
    use the pseudo-inverse, which needs no such number."""
    eye = torch.eye(W.shape[-2], dtype=W.dtype, device=W.device)
    return (W * torch.linalg.solve(W @ W.mT + 1e-3 * eye, W)).sum(-2)


def leverage__other_side(W):
    """You took the product the other way round, W W^+. Its diagonal has `hidden` entries. You need
    one for each feature: W^+ W."""
    return (W @ torch.linalg.pinv(W)).diagonal(dim1=-2, dim2=-1)


def leverage__all_entries(W):
    """You sum over a whole row of W^+ W. Only its diagonal is wanted: feature i with itself."""
    return (torch.linalg.pinv(W) @ W).sum(-1)


def leverage__unit_directions(W):
    """You normalise the features first. The bound is about W as it is, with its lengths."""
    return right.leverage(W / W.norm(dim=-2, keepdim=True))


def leverage__hats_outside(W):
    """You give both outer W_i a hat, so a feature's own length drops out. The bound is about W_i as
    it is: of two features on one line the longer one has more."""
    F, W_hat = W @ W.mT, _unit(W)
    return (W_hat * (torch.linalg.pinv(F, hermitian=True) @ W_hat)).sum(-2)


def leverage__without_the_inverse(W):
    """You forgot the inverse: W_i^T W W^T W_i grows with the fourth power of W. A leverage is at
    most 1."""
    return (W * (W @ (W.mT @ W))).sum(-2)


def leverage__dimensionality_again(W):
    """That is the dimensionality D_i itself. The bound has the pseudo-inverse of W W^T in the
    middle."""
    return right.feature_dimensionality(W)


def leverage__square_root(W):
    """You return the square root. Check the sum: it should be the rank."""
    return right.leverage(W).clamp(min=0).sqrt()


def leverage__all_instances_as_one(W):
    """You take all leading axes together, as if the models were one. Each model has a
    pseudo-inverse of its own."""
    if W.ndim == 2:
        return right.leverage(W)
    flat = W.movedim(-2, 0).reshape(W.shape[-2], -1)
    return right.leverage(flat).reshape(*W.shape[:-2], W.shape[-1])


def leverage__the_whole_matrix(W):
    """You return the whole matrix W^+ W. Only its diagonal is wanted: one number for each
    feature."""
    return torch.linalg.pinv(W) @ W


def leverage__small_ridge(W):
    """You add a small number to the diagonal before inverting. It shows when W is small or does not
    use all dimensions: use the pseudo-inverse."""
    eye = torch.eye(W.shape[-2], dtype=W.dtype, device=W.device)
    return (W * torch.linalg.solve(W @ W.mT + 1e-6 * eye, W)).sum(-2)


def leverage__norm_of_the_inverse(W):
    """You return the squared norms of the rows of W^+. Multiply with W: the diagonal of W^+ W."""
    return torch.linalg.pinv(W).square().sum(-1)


# -------------------------------------------------------------------------------- f2. frame_defect


def _apply_frame(W):
    return W @ (W.mT @ W)


def _defect(W, factor):
    F_W = _apply_frame(W)
    size = F_W.norm(dim=-2)
    return (F_W - factor * W).norm(dim=-2) / size.masked_fill(size == 0, 1)


def _lambda(W):
    square = W.square().sum(-2, keepdim=True)
    return (W * _apply_frame(W)).sum(-2, keepdim=True) / square.masked_fill(square == 0, 1)


def frame_defect__nan_for_dropped(W):
    """A feature of norm 0 gives NaN: you divide 0 by 0. Its defect is 0."""
    F_W = _apply_frame(W)
    factor = (W * F_W).sum(-2, keepdim=True) / W.square().sum(-2, keepdim=True)
    return (F_W - factor * W).norm(dim=-2) / F_W.norm(dim=-2)


def frame_defect__not_divided_by_the_norm(W):
    """Your lambda is W_i^T F W_i without the division by |W_i|^2. For unit vectors it makes no
    difference: try others."""
    return _defect(W, (W * _apply_frame(W)).sum(-2, keepdim=True))


def frame_defect__one_lambda_for_all(W):
    """You use one number for all features, the mean eigenvalue. Every feature has its own: a
    product of tight frames may have different ones."""
    mean = W.square().sum(dim=(-2, -1), keepdim=True) / W.shape[-2]
    return _defect(W, mean)


def frame_defect__not_relative(W):
    """You return the length of the residual, which grows with W. Divide by the length of F W_i to
    get a sine."""
    return (_apply_frame(W) - _lambda(W) * W).norm(dim=-2)


def frame_defect__squared(W):
    """You return the squared sine. The formula has lengths, not squared lengths."""
    return right.frame_defect(W).square()


def frame_defect__cosine(W):
    """You return the cosine of the angle. Then an eigenvector has 1; the defect should be 0."""
    F_W = _apply_frame(W)
    size = F_W.norm(dim=-2) * W.norm(dim=-2)
    return _over((W * F_W).sum(-2), size)


def frame_defect__one_minus_cosine(W):
    """You return one minus the cosine. It is 0 for an eigenvector, too, but the defect is the sine
    of the angle: for a small angle t that is t, and yours is t^2 / 2."""
    F_W = _apply_frame(W)
    size = F_W.norm(dim=-2) * W.norm(dim=-2)
    return torch.where(size > 0, 1 - _over((W * F_W).sum(-2), size), 0)


def frame_defect__gram_for_frame(W):
    """You used the Gram matrix W^T W where the frame operator W W^T belongs, so you look at rows.
    F acts on the hidden space, where W_i lives."""
    return right.frame_defect(W.mT.contiguous())


def frame_defect__divided_by_the_vector(W):
    """You divide by |W_i|. The sine of the angle between F W_i and W_i has |F W_i| below: the
    residual is a part of that vector."""
    F_W, norm = _apply_frame(W), W.norm(dim=-2)
    return (F_W - _lambda(W) * W).norm(dim=-2) / norm.masked_fill(norm == 0, 1)


def frame_defect__constant_in_denominator(W):
    """A constant in your denominator makes the result depend on the scale of W. Treat the norm 0
    as a case of its own."""
    F_W = _apply_frame(W)
    return (F_W - _lambda(W) * W).norm(dim=-2) / (F_W.norm(dim=-2) + 1e-3)


def frame_defect__the_angle(W):
    """You return the angle itself. The defect is its sine."""
    F_W = _apply_frame(W)
    cosine = _over((W * F_W).sum(-2), F_W.norm(dim=-2) * W.norm(dim=-2))
    return torch.where(W.norm(dim=-2) > 0, cosine.clamp(-1, 1).acos(), 0)


def frame_defect__tangent(W):
    """You divide the residual by the part along W_i: that is the tangent of the angle. The sine has
    the whole of F W_i below."""
    along = _lambda(W)[..., 0, :] * W.norm(dim=-2)
    residual = (_apply_frame(W) - _lambda(W) * W).norm(dim=-2)
    return _over(residual, along)


def frame_defect__floors(W):
    """You put floors under the denominators. When W is small they change the result: only a norm of
    exactly 0 needs care."""
    F_W = _apply_frame(W)
    factor = (W * F_W).sum(-2, keepdim=True) / W.square().sum(-2, keepdim=True).clamp(min=1e-8)
    return (F_W - factor * W).norm(dim=-2) / F_W.norm(dim=-2).clamp(min=1e-8)


def frame_defect__one_hat(W):
    """You project on the unit vector, but then subtract that many times W_i itself, whose length is
    not 1. Use the hat twice, or divide by |W_i|^2."""
    norm = W.norm(dim=-2, keepdim=True)
    F_W = _apply_frame(W)
    along = (W * F_W).sum(-2, keepdim=True) / norm.masked_fill(norm == 0, 1)
    return _defect(W, along)


# ------------------------------------------------------------------------- g. payoff_per_dimension


def _payoff(V, x, scale, bias, per=None, v=None, error=None):
    d, k = V.shape
    if error is None:
        x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V)) + bias[:, None])
        error = (x - x_hat).square().mean(0).sum(-1)
    variance = x.var(dim=0, correction=0).mean(-1) if v is None else v
    return (k * variance - error) / ((d if per is None else per) * variance)


def payoff_per_dimension__scale_not_squared(V, x, scale, bias):
    """You use s where the model has s^2: W = sV writes and reads, so it is used twice."""
    x_hat = torch.relu(scale[:, None] * (x @ (V.T @ V)) + bias[:, None])
    return _payoff(V, x, scale, bias, error=(x - x_hat).square().mean(0).sum(-1))


def payoff_per_dimension__error_averaged_over_features(V, x, scale, bias):
    """You average the error over features, or you add up their variances. The formula is the other
    way round: v is the variance of one feature, and the k errors are summed."""
    x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V)) + bias[:, None])
    return _payoff(V, x, scale, bias, error=(x - x_hat).square().mean(0).mean(-1))


def payoff_per_dimension__per_feature(V, x, scale, bias):
    """You divide by the number of features. Dimensions are what is scarce: divide by d."""
    return _payoff(V, x, scale, bias, per=V.shape[1])


def payoff_per_dimension__second_moment(V, x, scale, bias):
    """You use the mean square of x. Without a direction the best guess is the mean, not zero, so
    what a dropped feature costs is its variance."""
    return _payoff(V, x, scale, bias, v=x.square().mean(dim=(0, 2)))


def payoff_per_dimension__sample_variance(V, x, scale, bias):
    """Your variance divides by one less than the number of rows. The expectation over the batch
    divides by the number of rows: correction=0."""
    return _payoff(V, x, scale, bias, v=x.var(dim=0).mean(-1))


def payoff_per_dimension__pooled_variance(V, x, scale, bias):
    """You pool all features into one variance. Then the differences between the features' means
    count as variance: take each feature's own, and average."""
    return _payoff(V, x, scale, bias, v=x.var(dim=(0, 2), correction=0))


def payoff_per_dimension__no_relu(V, x, scale, bias):
    """There is no ReLU in your reconstruction. It is what makes negative overlaps cheap."""
    x_hat = scale[:, None] ** 2 * (x @ (V.T @ V)) + bias[:, None]
    return _payoff(V, x, scale, bias, error=(x - x_hat).square().mean(0).sum(-1))


def payoff_per_dimension__no_bias(V, x, scale, bias):
    """The bias does not appear in your reconstruction."""
    x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V)))
    return _payoff(V, x, scale, bias, error=(x - x_hat).square().mean(0).sum(-1)) + 0 * bias


def payoff_per_dimension__not_in_units_of_a_feature(V, x, scale, bias):
    """Your payoff is in units of squared error. Divide by v, too: then 1 means one feature."""
    return _payoff(V, x, scale, bias) * x.var(dim=0, correction=0).mean(-1)


def payoff_per_dimension__cost_only(V, x, scale, bias):
    """You return what the polytope costs. Asked for is what it saves: k v minus that cost."""
    return V.shape[1] / V.shape[0] - _payoff(V, x, scale, bias)


def payoff_per_dimension__error_summed_over_the_batch(V, x, scale, bias):
    """You sum the errors over the batch. An expectation is a mean over the rows."""
    x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V)) + bias[:, None])
    return _payoff(V, x, scale, bias, error=(x - x_hat).square().sum(0).sum(-1))


def payoff_per_dimension__bias_scaled(V, x, scale, bias):
    """You multiply the bias by s^2 as well. Only V^T V x has that factor."""
    x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V) + bias[:, None]))
    return _payoff(V, x, scale, bias, error=(x - x_hat).square().mean(0).sum(-1))


def payoff_per_dimension__absolute_error(V, x, scale, bias):
    """You average absolute errors. The formula has their squares."""
    x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V)) + bias[:, None])
    return _payoff(V, x, scale, bias, error=(x - x_hat).abs().mean(0).sum(-1))


def payoff_per_dimension__one_variance_for_all_instances(V, x, scale, bias):
    """You average the variance over the instances, too. Each instance has its own data, and its own
    v."""
    return _payoff(V, x, scale, bias, v=x.var(dim=0, correction=0).mean())


def payoff_per_dimension__bias_subtracted(V, x, scale, bias):
    """You subtract the bias. The formula adds it."""
    x_hat = torch.relu(scale[:, None] ** 2 * (x @ (V.T @ V)) - bias[:, None])
    return _payoff(V, x, scale, bias, error=(x - x_hat).square().mean(0).sum(-1))


def payoff_per_dimension__one_feature_saved(V, x, scale, bias):
    """You compute with one feature: v minus the mean error. There are k of them in the d
    dimensions: k v minus the sum of the errors."""
    return _payoff(V, x, scale, bias) / V.shape[1]


def payoff_per_dimension__not_per_dimension(V, x, scale, bias):
    """You return what the whole polytope saves. Divide by the number of dimensions that it takes,
    d."""
    return _payoff(V, x, scale, bias, per=1)
