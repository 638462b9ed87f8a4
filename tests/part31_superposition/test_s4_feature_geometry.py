"""Tests of 3.1.4, one function per property, named test_<exercise>__<property>."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from utils.testing import assert_same, generator, require, unchanged, vjp

FEATURE, INST_FEATURE = "feature", "inst feature"
FRACTIONS = [1, 3 / 4, 2 / 3, 1 / 2, 2 / 5, 3 / 8]


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def rotation(g: torch.Generator, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Some orthogonal matrix."""
    return torch.linalg.qr(normal(g, size, size, dtype=dtype)).Q


def polygon(k: int) -> Tensor:
    """Corners of a regular polygon (double precision)."""
    return torch.tensor([[f(2 * math.pi * i / k) for i in range(k)] for f in (math.cos, math.sin)],
                        dtype=torch.float64)  # fmt: skip


def simplex(k: int) -> Tensor:
    """Corners of a regular simplex, by adding one corner after the other (double precision)."""
    V = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    for n in range(3, k + 1):
        below = math.sqrt(1 - 1 / (n - 1) ** 2)  # the others move down, to the height -1 / (n - 1)
        top = torch.zeros(n - 1, 1, dtype=torch.float64)
        top[-1] = 1
        floor = torch.full((1, n - 1), -1 / (n - 1), dtype=torch.float64)
        V = torch.cat([torch.cat([below * V, floor]), top], dim=1)
    return V


def antiprism() -> Tensor:
    """Corners of the square antiprism that is a tight frame, at r^2 = 2/3 (double precision)."""
    corners = []
    for i in range(8):
        angle = math.pi * (i % 4) / 2 + (math.pi / 4 if i >= 4 else 0)
        r, h = math.sqrt(2 / 3), math.sqrt(1 / 3)
        corners.append([r * math.cos(angle), r * math.sin(angle), h if i < 4 else -h])
    return torch.tensor(corners, dtype=torch.float64).T


def cube() -> Tensor:
    """Corners of the cube (double precision)."""
    signs = [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    return torch.tensor(signs, dtype=torch.float64).T / math.sqrt(3)


EXACT = {
    "digon": (simplex(2), Fraction(1, 2)),
    "triangle": (simplex(3), Fraction(2, 3)),
    "tetrahedron": (simplex(4), Fraction(3, 4)),
    "pentagon": (polygon(5), Fraction(2, 5)),
    "square antiprism": (antiprism(), Fraction(3, 8)),
}
SHAPES = [(3, 4, 7), (1, 6, 3), (2, 1, 5), (4, 3, 3)]  # inst, hidden, feature


# ----------------------------------------------------------------------- a. feature_dimensionality


def test_feature_dimensionality__two_vectors_by_hand(impl, device):
    """Two vectors at 45 degrees, worked out by hand, come out right."""
    W = torch.tensor([[3.0, 1.0], [0.0, 1.0]], device=device)
    # W_0: 9 / (9 + 1) ; W_1: |W_1|^2 = 2, W_hat_1 . W_0 = 3 / sqrt 2, so 2 / (2 + 4.5)
    expected = torch.tensor([0.9, 2 / 6.5], device=device)
    assert_same(impl.feature_dimensionality(W), expected, FEATURE)


@pytest.mark.parametrize("name", EXACT)
def test_feature_dimensionality__of_exact_polytopes(impl, device, name):
    """Digon 1/2, triangle 2/3, tetrahedron 3/4, pentagon 2/5, square antiprism 3/8."""
    V, fraction = EXACT[name]
    out = impl.feature_dimensionality(V.to(device))
    expected = torch.full((V.shape[1],), float(fraction), dtype=V.dtype, device=device)
    assert_same(out, expected, FEATURE, hint=f"every corner of the {name} has D = {fraction}")


def test_feature_dimensionality__of_dropped_features_is_zero(impl, seed, device):
    """A feature of norm 0 has dimensionality 0, and does not spoil the others."""
    W = normal(generator(seed, device), 2, 3, 5)
    W[0, :, 2] = 0
    W[1, :, 0] = 0
    W[1, :, 4] = 0
    out = impl.feature_dimensionality(W)
    dead = W.norm(dim=1) == 0
    assert_same(out[dead], torch.zeros(3, device=device), FEATURE, what="D of the zero vectors")
    alive = torch.stack([out[1, k] for k in (1, 2, 3)])
    alone = impl.feature_dimensionality(W[1][:, [1, 2, 3]].contiguous())
    assert_same(alive, alone, FEATURE, hint="zero vectors must not change the others' D")


@pytest.mark.parametrize("factor", [1e-8, 1e-5, 7.0, 1e4])
def test_feature_dimensionality__does_not_depend_on_scale(impl, seed, device, factor):
    """Multiplying W by a number changes nothing, however small the number."""
    W = normal(generator(seed + 1, device), 2, 3, 6)
    expected = impl.feature_dimensionality(W)
    out = impl.feature_dimensionality(factor * W)
    hint = f"W was multiplied by {factor:g}: is there a constant in your denominator?"
    assert_same(out, expected, INST_FEATURE, rtol=1e-4, atol=1e-6, hint=hint)


def test_feature_dimensionality__does_not_depend_on_rotation(impl, seed, device):
    """Rotating the hidden space changes nothing; reordering features reorders the result."""
    g = generator(seed + 2, device)
    W, R = normal(g, 4, 6, dtype=torch.float64), rotation(g, 4, torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4], device=device)
    expected = impl.feature_dimensionality(W)[order]
    assert_same(impl.feature_dimensionality((R @ W)[:, order]), expected, FEATURE)


def test_feature_dimensionality__is_a_share(impl, seed, device):
    """Every value lies between 0 and 1, and a model's values sum to at most `hidden`."""
    W = normal(generator(seed + 3, device), 5, 3, 8, dtype=torch.float64)
    out = impl.feature_dimensionality(W)
    require(bool(((out >= 0) & (out <= 1 + 1e-9)).all()), "a share lies between 0 and 1")
    require(bool((out.sum(-1) <= 3 + 1e-9).all()), "the values of one model sum to more than m = 3")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (4, 6), (2, 3, 4, 5)])
def test_feature_dimensionality__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for any leading axes, and keeps the dtype."""
    W = normal(generator(seed + 4, device), *shape, dtype=dtype)
    with unchanged(W):
        out = impl.feature_dimensionality(W)
    axes = {2: FEATURE, 3: INST_FEATURE, 4: "frame inst feature"}[len(shape)]
    assert_same(out, ref.feature_dimensionality(W), axes)
    view = W.mT.contiguous().mT
    assert_same(impl.feature_dimensionality(view), out, axes, hint="W is a transposed view here")


# ----------------------------------------------------------------------- b. dimensions_per_feature


def test_dimensions_per_feature__by_hand(impl, device):
    """Two small models, worked out by hand, come out right."""
    W = torch.tensor([[[1.0, -1, 0], [0, 0, 2]], [[3.0, 0, 0], [0, 1, 0]]], device=device)
    assert_same(impl.dimensions_per_feature(W), torch.tensor([2 / 6, 0.2], device=device), "inst")


def test_dimensions_per_feature__of_unit_vectors_is_m_over_n(impl, seed, device):
    """For n unit vectors in m dimensions it is m / n, whatever their directions."""
    W = normal(generator(seed, device), 3, 4, 10)
    expected = torch.full((3,), 0.4, device=device)
    assert_same(impl.dimensions_per_feature(W / W.norm(dim=1, keepdim=True)), expected, "inst")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (4, 6), (2, 3, 4, 5)])
def test_dimensions_per_feature__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for any leading axes."""
    W = normal(generator(seed + 1, device), *shape, dtype=dtype)
    with unchanged(W):
        out = impl.dimensions_per_feature(W)
    assert_same(out, ref.dimensions_per_feature(W), {2: "", 3: "inst", 4: "frame inst"}[len(shape)])


def test_predict_dense_dimensionality__is_shared_by_all(impl, ref):
    """At p = 1 with equal importances all 200 features share the 20 dimensions."""
    answer = ref.predict_dense_dimensionality
    require(impl.predict_dense_dimensionality == answer, "that is not what the trained model does")


def in_default_dtype(V: Tensor) -> Tensor:
    """A shape made from plain numbers, in torch's default dtype."""
    require(isinstance(V, Tensor), "return a tensor")
    say = f"the result is {V.dtype}; it should be torch.float32, torch's default"
    require(V.dtype == torch.float32, say)
    return V


# ----------------------------------------------------------------------------- c1. regular_polygon


def test_regular_polygon__square_by_hand(impl):
    """The square is (1, 0), (0, 1), (-1, 0), (0, -1), in this order."""
    expected = torch.tensor([[1.0, 0, -1, 0], [0, 1, 0, -1]])
    assert_same(in_default_dtype(impl.regular_polygon(4)), expected, "2 k")


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_regular_polygon__has_unit_corners_that_sum_to_zero(impl, k):
    """All corners have length 1, and they balance: their sum is zero."""
    V = in_default_dtype(impl.regular_polygon(k))
    assert_same(V.norm(dim=0), torch.ones(k), "k", what="the lengths of the columns")
    assert_same(V.sum(dim=1), torch.zeros(2), "2", what="the sum of all corners")


@pytest.mark.parametrize("k", [3, 5, 6, 7])
def test_regular_polygon__equals_reference(impl, ref, k):
    """It agrees with the reference, in shape, order and dtype."""
    assert_same(in_default_dtype(impl.regular_polygon(k)), ref.regular_polygon(k), "2 k")


# ----------------------------------------------------------------------------- c2. regular_simplex


@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_regular_simplex__lives_in_one_dimension_less(impl, k):
    """k vectors have k - 1 coordinates each."""
    V = impl.regular_simplex(k)
    shape = tuple(V.shape)
    wanted = (k - 1, k)
    require(
        shape == wanted, f"for k = {k} the shape is {shape}, expected {wanted}: one column each"
    )


@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_regular_simplex__has_the_gram_matrix_of_a_simplex(impl, k):
    """Every vector has length 1, every two have the inner product -1 / (k - 1)."""
    V = in_default_dtype(impl.regular_simplex(k))
    expected = torch.full((k, k), -1 / (k - 1)).fill_diagonal_(1)
    assert_same(V.T @ V, expected, "k k", rtol=1e-4, atol=1e-5, what="the Gram matrix")


@pytest.mark.parametrize("k", [2, 3, 4, 7])
def test_regular_simplex__has_the_reference_s_gram_matrix(impl, ref, k):
    """It is the reference's simplex up to a rotation, and of the same dtype."""
    V, U = in_default_dtype(impl.regular_simplex(k)), ref.regular_simplex(k)
    assert_same(V.T @ V, U.T @ U, "k k", rtol=1e-4, atol=1e-5, what="the Gram matrix")


# ----------------------------------------------------------------------------- c3. tight_antiprism


@pytest.mark.parametrize("k", [3, 4, 6])
def test_tight_antiprism__is_a_tight_frame_of_unit_vectors(impl, k):
    """All corners have length 1 and the frame operator is 2k / 3 times the identity."""
    V = in_default_dtype(impl.tight_antiprism(k))
    assert_same(V.norm(dim=0), torch.ones(2 * k), "corner", what="the lengths of the columns")
    hint = "do the 2k corners use all three dimensions evenly?"
    assert_same(
        V @ V.T, torch.eye(3) * 2 * k / 3, "d d", rtol=1e-5, atol=1e-5, what="V V^T", hint=hint
    )


@pytest.mark.parametrize("k", [3, 4, 5])
def test_tight_antiprism__lower_corners_look_at_the_gaps(impl, k):
    """Seen from above, the 2k corners are evenly spaced, and every second one is lower."""
    V = impl.tight_antiprism(k)
    angle = torch.atan2(V[1], V[0]).rad2deg().remainder(360)
    upper, lower = angle[:k].round().tolist(), angle[k:].round().tolist()
    gaps = {round(min((a - b) % 360, (b - a) % 360)) for a in upper for b in lower}
    nearest = min(gaps)
    half = round(180 / k)
    text = f"the lower polygon is turned by {nearest} degrees against the upper one, not by {half}"
    require(abs(nearest - half) <= 1, text)
    require(bool((V[2, :k] > 0).all() and (V[2, k:] < 0).all()), "upper corners come first")


@pytest.mark.parametrize("k", [3, 4, 5])
def test_tight_antiprism__equals_reference(impl, ref, k):
    """It agrees with the reference, in shape, order and dtype."""
    assert_same(in_default_dtype(impl.tight_antiprism(k)), ref.tight_antiprism(k), "3 corner")


# ------------------------------------------------------------------------------- c4. tegum_product


def test_tegum_product__by_hand(impl, device):
    """A block of two columns and a block of three stand in dimensions of their own, in order."""
    a = torch.tensor([[1.0, -1.0]], device=device)
    b = torch.tensor([[1.0, 2, 3], [4, 5, 6]], device=device)
    expected = torch.tensor([[1.0, -1, 0, 0, 0], [0, 0, 1, 2, 3], [0, 0, 4, 5, 6]], device=device)
    assert_same(impl.tegum_product([a, b]), expected, "hidden feature")


def test_tegum_product__keeps_inner_products_inside_the_parts(impl, seed, device):
    """Vectors of different parts are orthogonal; within a part nothing changes."""
    g = generator(seed, device)
    parts = [normal(g, d, k, dtype=torch.float64) for d, k in [(2, 5), (1, 2), (3, 4)]]
    with unchanged(*parts):
        V = impl.tegum_product(parts)
    gram, first = V.T @ V, 0
    for part in parts:
        k = part.shape[1]
        own = gram[first : first + k, first : first + k]
        assert_same(own, part.T @ part, "k k", what="inner products within a part")
        gram[first : first + k, first : first + k] = 0
        first += k
    require(bool((gram == 0).all()), "vectors of different parts are not orthogonal")


@pytest.mark.parametrize("sizes", [[(2, 3)], [(1, 2), (1, 2)], [(3, 2), (2, 4), (1, 1)]])
def test_tegum_product__equals_reference(impl, ref, seed, device, sizes):
    """It agrees with the reference for one, two and three parts."""
    g = generator(seed + 1, device)
    parts = [normal(g, *size) for size in sizes]
    assert_same(impl.tegum_product(parts), ref.tegum_product(parts), "hidden feature")


# ---------------------------------------------------------------------------- c5. nearest_fraction


def test_nearest_fraction__by_hand(impl, device):
    """Values near a fraction get its index; values near none get -1."""
    levels = torch.tensor([1, 0.5, 0.4, 0.375], device=device)
    D = torch.tensor([[0.99, 0.51, 0.7], [0.41, 0.37, 0.0]], device=device)
    expected = torch.tensor([[0, 1, -1], [2, 3, -1]], device=device)
    assert_same(impl.nearest_fraction(D, levels, 0.02), expected, "row col")


def test_nearest_fraction__the_nearest_wins(impl, device):
    """Where two fractions are within reach, the nearer one is taken, wherever it stands."""
    levels = torch.tensor([0.4, 0.375, 0.425], device=device)
    D = torch.tensor([0.395, 0.38, 0.42, 0.405], device=device)
    expected = torch.tensor([0, 1, 2, 0], device=device)
    assert_same(impl.nearest_fraction(D, levels, 0.05), expected, "value")


def test_nearest_fraction__a_distance_equal_to_the_tolerance_counts(impl, device):
    """A value exactly `tolerance` away is within; one a little farther is not."""
    levels, D = (
        torch.tensor([0.5], device=device),
        torch.tensor([0.625, 0.375, 0.626], device=device),
    )
    expected = torch.tensor([0, 0, -1], device=device)
    assert_same(impl.nearest_fraction(D, levels, 0.125), expected, "value")


def test_nearest_fraction__of_two_equally_near_the_first_wins(impl, device):
    """In a tie the fraction that comes first in the list is taken, be it the larger or not."""
    D = torch.tensor([0.5, 0.375], device=device)
    for levels, index in (([0.25, 0.75, 0.5], [2, 0]), ([0.5, 0.25, 0.75], [0, 0])):
        fractions = torch.tensor(levels, device=device)
        out = impl.nearest_fraction(D, fractions, 0.25)
        hint = f"D = 0.5 and 0.375, fractions {levels}"
        assert_same(out, torch.tensor(index, device=device), "value", hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (50,), (1, 1), (3, 20), (2, 3, 7)])
def test_nearest_fraction__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for any shape of D, and returns int64."""
    g = generator(seed, device)
    D = torch.rand(shape, generator=g, device=device, dtype=dtype)
    levels = torch.tensor(FRACTIONS, device=device, dtype=dtype)
    with unchanged(D, levels):
        out = impl.nearest_fraction(D, levels, 0.06)
    axes = " ".join("abc"[: len(shape)])
    assert_same(out, ref.nearest_fraction(D, levels, 0.06), axes)


def test_predict_near_a_fraction__is_the_smaller_part(impl, ref):
    """Where features are sparse, D falls smoothly, and most values are near no fraction."""
    answer = ref.predict_near_a_fraction
    require(impl.predict_near_a_fraction == answer, "that is not what the trained models show")


def test_predict_tetrahedra__never_occur(impl, ref):
    """No trained model has a tetrahedron."""
    answer = ref.predict_tetrahedra
    require(impl.predict_tetrahedra == answer, "that is not what the trained models show")


# -------------------------------------------------------------------------- d1. interference_graph


def test_interference_graph__by_hand(impl, device):
    """An antipodal pair, a vector at 45 degrees and a short one, worked out by hand."""
    W = torch.tensor([[1.0, -2, 1, 0.1], [0, 0, 1, 0]], device=device)
    expected = torch.zeros(4, 4, dtype=torch.bool, device=device)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        expected[i, j] = expected[j, i] = True
    assert_same(impl.interference_graph(W, 0.5, 0.5), expected, "feature other")


def test_interference_graph__depends_on_angles_only(impl, seed, device):
    """Making a represented feature longer changes no edge, and rotating changes none."""
    g = generator(seed, device)
    W = normal(g, 3, 8, dtype=torch.float64)
    W = W / W.norm(dim=0)
    lengths = 0.6 + 3 * torch.rand(8, generator=g, device=device, dtype=torch.float64)
    before = impl.interference_graph(W, 0.4, 0.5)
    hint = "only the lengths of represented features were changed"
    assert_same(impl.interference_graph(W * lengths, 0.4, 0.5), before, "feature other", hint=hint)
    turned = rotation(g, 3, torch.float64) @ W
    assert_same(impl.interference_graph(turned, 0.4, 0.5), before, "feature other")


def test_interference_graph__is_symmetric_without_loops(impl, seed, device):
    """The matrix is symmetric and its diagonal is false."""
    graph = impl.interference_graph(normal(generator(seed + 1, device), 2, 7), 0.3, 0.5)
    require(graph.dtype == torch.bool, f"the graph is {graph.dtype}; a boolean matrix was expected")
    require(bool((graph == graph.T).all()), "an edge from i to j needs the edge from j to i")
    require(not bool(graph.diagonal().any()), "a feature is joined to itself")


def test_interference_graph__both_ends_must_be_represented(impl, device):
    """A short feature has no edge, to either side; a norm equal to `min_norm` is still short."""
    W = torch.tensor([[1.0, -1.0, 0.25, 0.5]], device=device)
    expected = torch.zeros(4, 4, dtype=torch.bool, device=device)
    expected[0, 1] = expected[1, 0] = True
    assert_same(impl.interference_graph(W, 0.5, 0.5), expected, "feature other")


def test_interference_graph__the_threshold_itself_is_no_edge(impl, device):
    """A cosine equal to the threshold is not above it."""
    W = torch.tensor([[1.0, 1.0], [0, 1], [0, 1], [0, 1]], device=device)  # cosine 1/2 exactly
    expected = torch.zeros(2, 2, dtype=torch.bool, device=device)
    assert_same(impl.interference_graph(W, 0.5, 0.5), expected, "feature other")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("hidden", "feature"), [(2, 9), (5, 5), (20, 40), (1, 3)])
def test_interference_graph__equals_reference(impl, ref, seed, device, hidden, feature, dtype):
    """It agrees with the reference, zero vectors included."""
    W = normal(generator(seed + 2, device), hidden, feature, dtype=dtype) / hidden**0.5
    W[:, 1] = 0
    with unchanged(W):
        out = impl.interference_graph(W, 0.3, 0.7)
    assert_same(out, ref.interference_graph(W, 0.3, 0.7), "feature other")


# ---------------------------------------------------------------------------- d2. component_labels


def graph_of(n: int, edges: list[tuple[int, int]], device: torch.device) -> Tensor:
    """The symmetric boolean matrix of an edge list."""
    graph = torch.zeros(n, n, dtype=torch.bool, device=device)
    for i, j in edges:
        graph[i, j] = graph[j, i] = True
    return graph


def test_component_labels__by_hand(impl, device):
    """Two groups and a loner: each takes its smallest index."""
    graph = graph_of(6, [(1, 4), (4, 5), (0, 3)], device)
    assert_same(
        impl.component_labels(graph), torch.tensor([0, 1, 2, 0, 1, 1], device=device), FEATURE
    )


def test_component_labels__long_chains_are_one_group(impl, seed, device):
    """A chain of thirty features in random order is one group."""
    order = torch.randperm(30, generator=generator(seed), device="cpu").tolist()
    graph = graph_of(30, list(itertools.pairwise(order)), device)
    expected = torch.zeros(30, dtype=torch.int64, device=device)
    hint = "a neighbour's neighbour belongs to the group, however many steps away"
    assert_same(impl.component_labels(graph), expected, FEATURE, hint=hint)


def test_component_labels__without_edges_everyone_is_alone(impl, device):
    """Without edges each feature keeps its own index."""
    graph = torch.zeros(5, 5, dtype=torch.bool, device=device)
    assert_same(impl.component_labels(graph), torch.arange(5, device=device), FEATURE)


@pytest.mark.parametrize("n", [1, 7, 24])
def test_component_labels__agrees_with_a_search(impl, seed, device, n):
    """Random graphs: the same groups as a search from feature to feature finds."""
    g = generator(seed + 1)
    upper = (torch.rand(n, n, generator=g) < 1.2 / n).triu(1)
    graph = upper | upper.T
    labels = [-1] * n
    for start in range(n):
        stack = [start] if labels[start] < 0 else []
        while stack:
            i = stack.pop()
            if labels[i] < 0:
                labels[i] = start
                stack += graph[i].nonzero()[:, 0].tolist()
    graph = graph.to(device)
    with unchanged(graph):
        out = impl.component_labels(graph)
    assert_same(out, torch.tensor(labels, device=device), FEATURE)


def test_component_labels__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on a larger random graph."""
    upper = (torch.rand(60, 60, generator=generator(seed + 2)) < 0.025).triu(1)
    graph = (upper | upper.T).to(device)
    assert_same(impl.component_labels(graph), ref.component_labels(graph), FEATURE)


# ----------------------------------------------------------------------------- d3. gram_invariants

PAIR = ["k", "pair"]


def test_gram_invariants__three_vectors_by_hand(impl, device):
    """A digon and a vector orthogonal to it, of different lengths, come out right."""
    V = torch.tensor([[2.0, -0.5, 0.0], [0.0, 0.0, 3.0]], device=device)
    eigenvalues = torch.tensor([0.0, 1.0, 2.0], device=device)
    entries = torch.tensor([-1.0, 0.0, 0.0], device=device)
    assert_same(impl.gram_invariants(V), (eigenvalues, entries), PAIR, rtol=1e-5, atol=1e-6)


def test_gram_invariants__do_not_see_rotation_order_and_length(impl, seed, device):
    """Turning, reordering and stretching the vectors changes nothing."""
    g = generator(seed, device)
    V, R = normal(g, 3, 6, dtype=torch.float64), rotation(g, 3, torch.float64)
    order = torch.randperm(6, generator=g, device=device)
    lengths = 0.5 + torch.rand(6, generator=g, device=device, dtype=torch.float64)
    other = (R @ V * lengths)[:, order]
    assert_same(impl.gram_invariants(other), tuple(impl.gram_invariants(V)), PAIR)


def test_gram_invariants__of_a_tight_frame(impl, device):
    """A tight frame of k unit vectors in d dimensions has d eigenvalues k/d, and zeros."""
    eigenvalues, entries = impl.gram_invariants(cube().to(device))
    expected = torch.tensor([0.0] * 5 + [8 / 3] * 3, dtype=torch.float64, device=device)
    assert_same(eigenvalues, expected, "k", rtol=1e-5, atol=1e-9)
    counted = torch.tensor([-1] * 4 + [-1 / 3] * 12 + [1 / 3] * 12, dtype=torch.float64)
    assert_same(entries, counted.to(device), "pair", rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("d", "k"), [(2, 5), (4, 3), (1, 2), (3, 1)])
def test_gram_invariants__equals_reference(impl, ref, seed, device, d, k, dtype):
    """It agrees with the reference, a single vector included."""
    V = normal(generator(seed + 1, device), d, k, dtype=dtype)
    with unchanged(V):
        out = impl.gram_invariants(V)
    assert_same(out, tuple(ref.gram_invariants(V)), PAIR, rtol=1e-4, atol=1e-5)


def test_predict_antiprisms__are_rare(impl, ref):
    """Most features with D near 3/8 are in other groups."""
    answer = ref.predict_antiprisms
    require(impl.predict_antiprisms == answer, "that is not what the trained models show")


def test_predict_spectra__are_the_same(impl, ref):
    """Tight frames of the same size have the same eigenvalues."""
    require(impl.predict_spectra == ref.predict_spectra, "compare the two lists of eigenvalues")


# ------------------------------------------------------------------------------- d4. name_polytope


def shapes(device: torch.device) -> dict[str, Tensor]:
    """A small catalogue in single precision."""
    named = {name: V.float().to(device) for name, (V, _) in EXACT.items()}
    return {"single": torch.ones(1, 1, device=device), "cube": cube().float().to(device), **named}


@pytest.mark.parametrize("name", [*EXACT, "single", "cube"])
def test_name_polytope__knows_its_own_catalogue(impl, device, name):
    """Every shape of the catalogue is called by its own name; cube and antiprism differ."""
    polytopes = shapes(device)
    found = impl.name_polytope(polytopes[name], polytopes, 0.1)
    require(found == name, f"an exact {name} was called {found!r}")


@pytest.mark.parametrize("name", ["triangle", "pentagon", "square antiprism"])
def test_name_polytope__rotated_reordered_and_stretched(impl, seed, device, name):
    """Rotation into more dimensions, another order, other lengths and slight noise don't matter."""
    g = generator(seed, device)
    polytopes = shapes(device)
    V = polytopes[name]
    k = V.shape[1]
    inside = rotation(g, 7)[:, : len(V)] @ V  # the shape, somewhere in seven dimensions
    lengths = 0.8 + torch.rand(k, generator=g, device=device)
    order = torch.randperm(k, generator=g, device=device)
    noisy = (inside * lengths)[:, order] + 0.001 * normal(g, 7, k)
    found = impl.name_polytope(noisy, polytopes, 0.1)
    require(found == name, f"a {name}, rotated and reordered, was called {found!r}")


def test_name_polytope__what_is_not_in_the_catalogue_is_other(impl, device):
    """Shapes that match nothing are "other", also when their number of vectors matches."""
    polytopes = shapes(device)
    right_angle = torch.eye(2, device=device)
    fan = torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]], device=device)
    hexagon = polygon(6).float().to(device)
    for V, what in [(right_angle, "two orthogonal"), (fan, "three crowded"), (hexagon, "six")]:
        found = impl.name_polytope(V, polytopes, 0.1)
        require(
            found == "other", f"{what} vectors were called {found!r}; nothing here matches them"
        )


def test_name_polytope__the_worst_place_decides(impl, device):
    """One entry that is too far off is enough: a pentagon with one bent corner is "other"."""
    V = polygon(5)
    angle = 0.4
    V[:, 2] = torch.tensor([math.cos(4 * math.pi / 5 + angle), math.sin(4 * math.pi / 5 + angle)])
    found = impl.name_polytope(V.float().to(device), shapes(device), 0.15)
    require(found == "other", f"a pentagon with one corner bent by 23 degrees was called {found!r}")


def test_name_polytope__leaking_into_other_dimensions_is_other(impl, device):
    """An antiprism of which 9 % leaves its three dimensions is "other": look at eigenvalues."""
    V = antiprism()
    outside = torch.linalg.eigh(V.T @ V).eigenvectors[:, :5].T * math.sqrt(8 / 5)  # the other five
    leaky = torch.cat([math.sqrt(0.91) * V, math.sqrt(0.09) * outside])
    found = impl.name_polytope(leaky.float().to(device), shapes(device), 0.15)
    text = f"three eigenvalues are 0.24 too small, the tolerance is 0.15; it was called {found!r}"
    require(found == "other", text)


def test_name_polytope__a_common_direction_is_other(impl, device):
    """An antiprism whose corners all lean the same way is "other": one eigenvalue is too large."""
    leaning = torch.cat(
        [math.sqrt(0.92) * antiprism(), torch.full((1, 8), math.sqrt(0.08)).double()]
    )
    found = impl.name_polytope(leaning.float().to(device), shapes(device), 0.15)
    text = f"no entry is off by 0.15, but one eigenvalue by 0.64; it was called {found!r}"
    require(found == "other", text)


def test_name_polytope__the_first_match_wins(impl, device):
    """Where two entries of the catalogue match, the first one names the group."""
    polytopes = {"first": simplex(3).to(device), "second": polygon(3).to(device)}
    found = impl.name_polytope(polygon(3).to(device), polytopes, 0.1)
    require(found == "first", f"two entries match; the first is named 'first', yours is {found!r}")


def test_name_polytope__a_difference_equal_to_the_tolerance_counts(impl, device):
    """With tolerance 0 a polytope still matches itself: the difference is exactly 0."""
    for name, V in shapes(device).items():
        found = impl.name_polytope(V, {name: V}, 0.0)
        require(found == name, f"a {name} compared with itself at tolerance 0 is {found!r}")


def test_name_polytope__works_across_dtypes(impl, device):
    """A double-precision group is compared with a single-precision catalogue."""
    found = impl.name_polytope(polygon(5).to(device), shapes(device), 0.1)
    require(found == "pentagon", f"a pentagon in double precision was called {found!r}")


@pytest.mark.parametrize(("d", "k"), [(2, 2), (2, 3), (1, 2), (3, 4)])
def test_name_polytope__equals_reference(impl, ref, seed, device, d, k):
    """It agrees with the reference on random vectors, with a wide tolerance."""
    g, polytopes = generator(seed + 1, device), shapes(device)
    for _ in range(4):
        V = normal(g, d, k)
        assert_same(impl.name_polytope(V, polytopes, 0.7), ref.name_polytope(V, polytopes, 0.7))


# ----------------------------------------------------------------------------- d5. polytope_census


def crowd(seed: int, device: torch.device) -> tuple[Tensor, dict[str, int]]:
    """A rotated, shuffled tegum product with known groups, and features that are not kept."""
    g = generator(seed, device)
    parts = [polygon(5), polygon(5), simplex(2), simplex(2), simplex(2), torch.ones(1, 1).double()]
    parts += [simplex(3), antiprism(), torch.eye(2).double() * 0.3]
    V = torch.block_diag(*parts).to(device)
    V = torch.cat([V, torch.zeros(len(V), 2, dtype=V.dtype, device=device)], dim=1)
    V = (rotation(g, len(V), torch.float64) @ V)[
        :, torch.randperm(V.shape[1], generator=g, device=device)
    ]
    truth = {"pentagon": 2, "digon": 3, "single": 1, "triangle": 1, "square antiprism": 1}
    return V, truth


def test_polytope_census__counts_a_known_product(impl, seed, device):
    """A hidden tegum product is counted right: two pentagons, three digons, and so on."""
    W, truth = crowd(seed, device)
    with unchanged(W):
        found = impl.polytope_census(W, shapes(device), 0.2, 0.5, 0.1)
    mine = dict(found) if isinstance(found, dict) else found
    require(mine == truth, f"found {mine}, expected {truth}")


def test_polytope_census__unknown_groups_are_other(impl, device):
    """Groups that match nothing are counted under "other"; no name has the count zero."""
    W = torch.block_diag(polygon(7), simplex(2), polygon(7)).float().to(device)
    found = impl.polytope_census(W, shapes(device), 0.2, 0.5, 0.1)
    require(found == {"other": 2, "digon": 1}, f"found {found}, expected other: 2 and digon: 1")


def test_polytope_census__passes_its_settings_on(impl, device):
    """Threshold, smallest norm and tolerance do what they say."""
    near = torch.tensor([[1.0, 0.3], [0.0, 0.954]], device=device)  # cosine 0.3
    polytopes = shapes(device)
    for settings, wanted in [((0.2, 0.5, 0.1), {"other": 1}), ((0.4, 0.5, 0.1), {"single": 2})]:
        found = impl.polytope_census(near, polytopes, *settings)
        require(found == wanted, f"threshold {settings[0]}: found {found}, expected {wanted}")
    short = torch.tensor([[0.3, 0.0], [0.0, 1.0]], device=device)
    found = impl.polytope_census(short, polytopes, 0.2, 0.2, 0.1)
    require(found == {"single": 2}, f"min_norm 0.2: found {found}, expected single: 2")
    found = impl.polytope_census(short, polytopes, 0.2, 0.5, 0.1)
    require(found == {"single": 1}, f"min_norm 0.5: found {found}, expected single: 1")
    bent = polygon(5)
    bent[:, 0] = torch.tensor([math.cos(0.2), math.sin(0.2)])
    for tolerance, wanted in [(0.01, {"other": 1}), (0.4, {"pentagon": 1})]:
        found = impl.polytope_census(bent.float().to(device), polytopes, 0.2, 0.5, tolerance)
        require(found == wanted, f"tolerance {tolerance}: found {found}, expected {wanted}")


def test_polytope_census__a_norm_equal_to_the_bound_is_not_represented(impl, device):
    """A feature whose norm is exactly `min_norm` is left out, alone or beside another."""
    W = torch.tensor([[0.5, 0.0, 0.0], [0.0, 2.0, -0.5]], device=device)
    found = impl.polytope_census(W, shapes(device), 0.2, 0.5, 0.1)
    say = f"norms 0.5, 2 and 0.5 with min_norm 0.5: found {found}, expected single: 1"
    require(found == {"single": 1}, say)


def test_polytope_census__of_nothing_is_empty(impl, device):
    """A model without represented features has no groups."""
    found = impl.polytope_census(
        torch.full((2, 3), 0.1, device=device), shapes(device), 0.2, 0.5, 0.1
    )
    require(found == {}, f"no feature is represented: found {found}, expected an empty dictionary")


def test_polytope_census__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on noisy weights."""
    W, _ = crowd(seed + 1, device)
    W = W + 0.02 * normal(generator(seed + 2, device), *W.shape, dtype=W.dtype)
    polytopes = shapes(device)
    wanted = dict(ref.polytope_census(W, polytopes, 0.2, 0.5, 0.15))
    found = impl.polytope_census(W, polytopes, 0.2, 0.5, 0.15)
    require(found == wanted, f"found {found}, expected {wanted}")


def test_predict_motion__is_rare(impl, ref):
    """Features rest at a level, then change within few steps."""
    require(impl.predict_motion == ref.predict_motion, "look at the curves again")


# --------------------------------------------------------------------------------- e1. count_jumps


@pytest.mark.parametrize(
    ("level", "hold", "jumps"),
    [
        ([2, 2, 2, 2], 2, 0),
        ([0, 0, 0, 1, 1, 1], 3, 1),
        ([0, 0, 0, -1, -1, -1, 1, 1, 1], 3, 1),
        ([0, 0, 0, 1, 0, 0, 0], 2, 0),
        ([3, 3, 3, -1, -1, -1, 3, 3, 3], 2, 0),
        ([3, 3, 3, -1, 5, 5, -1, 2, 2, 2], 3, 1),
        ([3, 3, 3, -1, 5, 5, -1, 2, 2, 2], 2, 2),
        ([0, 0, 1, 1, 0, 0, 1, 1], 2, 3),
        ([-1, -1, 4, 4, 4, -1, -1], 2, 0),
        ([0, 1, 2, 3, 4, 5], 2, 0),
        ([0, 1, 2, 2, 0], 1, 3),
        ([1, 1, 0, 0, 0, -1, -1, 1, 1], 2, 2),
        ([4], 1, 0),
        ([3, 3, -1, 3, 3, 1, 1, 1], 3, 0),
        ([-1, -1, -1], 2, 0),
        ([7, 7, 7, 7, -1, 7, 7, 7, 8, 8], 3, 0),
    ],
)
def test_count_jumps__by_hand(impl, device, level, hold, jumps):
    """Sequences counted by hand come out right."""
    found = impl.count_jumps(torch.tensor(level, device=device), hold)
    require(found == jumps, f"{level} with hold={hold} has {jumps} jumps; yours: {found}")
    require(type(found) is int, f"return an int, not a {type(found).__name__}")


def test_count_jumps__reads_the_same_backwards(impl, seed, device):
    """A sequence read backwards has as many jumps."""
    level = torch.randint(-1, 3, (12,), generator=generator(seed)).repeat_interleave(
        torch.randint(1, 5, (12,), generator=generator(seed + 1))
    )
    forth, back = (
        impl.count_jumps(level.to(device), 3),
        impl.count_jumps(level.flip(0).to(device), 3),
    )
    require(forth == back, f"{forth} jumps forwards and {back} backwards")


def test_count_jumps__equals_reference(impl, ref, seed, device):
    """It agrees with the reference on random sequences of runs."""
    g = generator(seed + 2)
    for hold in (1, 2, 4):
        runs = torch.randint(1, 7, (20,), generator=g)
        level = torch.randint(-1, 3, (20,), generator=g).repeat_interleave(runs).to(device)
        found, wanted = impl.count_jumps(level, hold), ref.count_jumps(level, hold)
        require(found == wanted, f"hold={hold}: yours {found}, expected {wanted}")


# --------------------------------------------------------------------------- e2. fall_while_moving


def test_fall_while_moving__by_hand(impl, device):
    """Five frames worked out by hand come out right."""
    D = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.3, 0.7], [0.3, 0.7], [0.5, 0.7]], device=device)
    loss = torch.tensor([8.0, 7.0, 3.0, 3.5, 0.0], device=device)
    # motion 0, 0.6, 0, 0.2; fall 1, 4, -0.5, 3.5, in all 8
    assert_same(tuple(impl.fall_while_moving(D, loss, 0.3)), (0.5, 0.25))
    assert_same(tuple(impl.fall_while_moving(D, loss, 0.15)), (7.5 / 8, 0.5))


def test_fall_while_moving__all_or_nothing(impl, seed, device):
    """A speed that everything exceeds gives (1, 1); one that nothing exceeds gives (0, 0)."""
    g = generator(seed, device)
    D, loss = torch.rand(9, 4, generator=g, device=device), torch.linspace(3, 1, 9, device=device)
    assert_same(tuple(impl.fall_while_moving(D, loss, -1.0)), (1.0, 1.0))
    assert_same(tuple(impl.fall_while_moving(D, loss, 100.0)), (0.0, 0.0))


def test_fall_while_moving__motion_equal_to_the_speed_is_rest(impl, device):
    """An interval is moving only where the motion exceeds the speed."""
    D = torch.tensor([[0.0, 0.5], [0.25, 0.25], [0.25, 0.25], [1.0, 0.25]], device=device)
    loss = torch.tensor([4.0, 3.0, 2.0, 0.0], device=device)  # motion 0.5, 0, 0.75
    assert_same(tuple(impl.fall_while_moving(D, loss, 0.5)), (0.5, 1 / 3))
    assert_same(tuple(impl.fall_while_moving(D, loss, 0.0)), (0.75, 2 / 3))


def test_fall_while_moving__of_one_feature_and_two_frames(impl, device):
    """The shortest run: one interval, which moves or not."""
    D, loss = torch.tensor([[0.0], [0.4]], device=device), torch.tensor([2.0, 1.5], device=device)
    assert_same(tuple(impl.fall_while_moving(D, loss, 0.1)), (1.0, 1.0))
    assert_same(tuple(impl.fall_while_moving(D, loss, 0.9)), (0.0, 0.0))


def test_fall_while_moving__a_rise_counts_against(impl, device):
    """If the loss rises while features move, the share is negative."""
    D = torch.tensor([[0.0], [1.0], [1.0]], device=device)
    loss = torch.tensor([2.0, 3.0, 0.0], device=device)
    assert_same(tuple(impl.fall_while_moving(D, loss, 0.5)), (-0.5, 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fall_while_moving__equals_reference(impl, ref, seed, device, dtype):
    """It agrees with the reference on random paths, and returns two floats."""
    g = generator(seed + 1, device)
    D = torch.rand(30, 5, generator=g, device=device, dtype=dtype)
    loss = torch.rand(30, generator=g, device=device, dtype=dtype) + torch.linspace(3, 0, 30).to(D)
    for speed in (0.35, 1.6):
        with unchanged(D, loss):
            out = impl.fall_while_moving(D, loss, speed)
        assert_same(tuple(out), ref.fall_while_moving(D, loss, speed), rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------ f1. leverage


def test_leverage__by_hand(impl, device):
    """A digon of unequal lengths beside a single: 4/5, 1/5 and 1."""
    W = torch.tensor([[2.0, -1.0, 0.0], [0.0, 0.0, 0.5]], device=device)
    assert_same(impl.leverage(W), torch.tensor([0.8, 0.2, 1.0], device=device), FEATURE)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_leverage__sums_to_the_rank(impl, seed, device, rank):
    """The sum over features is the rank of W, also when not all dimensions are used."""
    g = generator(seed, device)
    W = normal(g, 3, 4, rank, dtype=torch.float64) @ normal(g, 3, rank, 9, dtype=torch.float64)
    out = impl.leverage(W)
    expected = torch.full((3,), float(rank), dtype=torch.float64, device=device)
    assert_same(
        out.sum(-1), expected, "inst", rtol=1e-6, atol=1e-6, what=f"the sum (rank {rank} of 4)"
    )


def test_leverage__bounds_the_dimensionality(impl, seed, device):
    """D_i never exceeds it, for any W; for the exact polytopes they are equal."""
    g = generator(seed + 1, device)
    for hidden, feature in [(2, 5), (3, 3), (5, 4), (4, 20)]:
        W = normal(g, 6, hidden, feature, dtype=torch.float64)
        gram = W.mT @ W
        D = gram.diagonal(dim1=-2, dim2=-1) ** 2 / gram.square().sum(-1)
        out = impl.leverage(W)
        require(
            bool((D - out <= 1e-9).all()), f"for a random {hidden} x {feature} W a D_i is larger"
        )
    for V, fraction in EXACT.values():
        expected = torch.full((V.shape[1],), float(fraction), dtype=V.dtype, device=device)
        assert_same(impl.leverage(V.to(device)), expected, FEATURE)


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_leverage__does_not_depend_on_scale(impl, seed, device, factor):
    """Multiplying W by a number changes nothing, however small the number."""
    W = normal(generator(seed + 4, device), 2, 4, 7, dtype=torch.float64)
    hint = f"W was multiplied by {factor:g}: is there a constant in your inverse?"
    out, expected = impl.leverage(factor * W), impl.leverage(W)
    assert_same(out, expected, INST_FEATURE, rtol=1e-6, atol=1e-7, hint=hint)


def test_leverage__survives_any_change_of_coordinates(impl, seed, device):
    """Replacing W by A W with an invertible A changes nothing: the row space is the same."""
    g = generator(seed + 2, device)
    W = normal(g, 3, 7, dtype=torch.float64)
    A = torch.linalg.qr(normal(g, 3, 3, dtype=torch.float64)).Q * torch.tensor(
        [0.5, 1.0, 3.0], dtype=torch.float64, device=device
    )
    assert_same(impl.leverage(A @ W), impl.leverage(W), FEATURE, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (4, 6), (2, 3, 4, 5)])
def test_leverage__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for any leading axes, and keeps the dtype."""
    U, S, V = torch.linalg.svd(normal(generator(seed + 3, device), *shape, dtype=dtype), False)
    W = U * (1 + S / S.amax(dim=-1, keepdim=True))[..., None, :] @ V  # well conditioned
    with unchanged(W):
        out = impl.leverage(W)
    axes = {2: FEATURE, 3: INST_FEATURE, 4: "frame inst feature"}[len(shape)]
    assert_same(out, ref.leverage(W), axes, rtol=1e-2, atol=1e-3)


# -------------------------------------------------------------------------------- f2. frame_defect


def test_frame_defect__by_hand(impl, device):
    """Two vectors at 45 degrees, worked out by hand, come out right."""
    W = torch.tensor([[1.0, 1.0], [0.0, 1.0]], device=device)
    # F = [[2, 1], [1, 1]]: F W_0 = (2, 1), residual (0, 1); F W_1 = (3, 2), residual (0.5, -0.5)
    expected = torch.tensor([1 / math.sqrt(5), math.sqrt(0.5 / 13)], device=device)
    assert_same(impl.frame_defect(W), expected, FEATURE)


@pytest.mark.parametrize("factor", [1.0, 0.01])
def test_frame_defect__of_a_product_of_tight_frames_is_zero(impl, seed, device, factor):
    """Tight frames of different weights in orthogonal subspaces have no defect, at any scale."""
    parts = [polygon(5), 3 * simplex(2), 0.5 * antiprism()]
    W = torch.block_diag(*parts).to(device) * factor
    W = rotation(generator(seed, device), len(W), torch.float64) @ W
    expected = torch.zeros(W.shape[1], dtype=W.dtype, device=device)
    assert_same(impl.frame_defect(W), expected, FEATURE, rtol=1e-5, atol=1e-6)


def test_frame_defect__is_a_sine(impl, seed, device):
    """It is the sine of the angle between F W_i and W_i, whatever the scale of W."""
    W = normal(generator(seed + 1, device), 2, 3, 6, dtype=torch.float64)
    F_W = W @ (W.mT @ W)
    cosine = (W * F_W).sum(1) / (W.norm(dim=1) * F_W.norm(dim=1))
    for factor in (1.0, 10.0, 0.1, 1e-5):
        out = impl.frame_defect(factor * W)
        hint = f"W was multiplied by {factor:g}; an angle does not change"
        assert_same(out, (1 - cosine**2).sqrt(), INST_FEATURE, rtol=1e-6, atol=1e-6, hint=hint)


def test_frame_defect__of_dropped_features_is_zero(impl, seed, device):
    """A feature of norm 0 has defect 0, not NaN."""
    W = normal(generator(seed + 2, device), 2, 3, 5)
    W[0, :, 1] = W[1, :, 4] = 0
    out = impl.frame_defect(W)
    expected = torch.zeros(2, device=device)
    assert_same(torch.stack([out[0, 1], out[1, 4]]), expected, FEATURE)
    require(bool((out > 0).sum() == 8), "the other features of a random W have a defect above 0")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 4, 7), (1, 6, 3), (4, 6), (2, 3, 4, 5)])
def test_frame_defect__equals_reference(impl, ref, seed, device, shape, dtype):
    """It agrees with the reference for any leading axes, and keeps the dtype."""
    W = normal(generator(seed + 3, device), *shape, dtype=dtype)
    with unchanged(W):
        out = impl.frame_defect(W)
    axes = {2: FEATURE, 3: INST_FEATURE, 4: "frame inst feature"}[len(shape)]
    assert_same(out, ref.frame_defect(W), axes, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------- g. payoff_per_dimension


def midpoints(n: int, device: torch.device) -> Tensor:
    """An n x n grid on the unit square as a batch of two features, for exact averages."""
    line = (torch.arange(n, device=device, dtype=torch.float64) + 0.5) / n
    return torch.cartesian_prod(line, line)[:, None]


def test_payoff_per_dimension__orthogonal_features_pay_one(impl, seed, device):
    """Directions of their own, s = 1, b = 0: each dimension saves exactly one feature."""
    x = torch.rand(50, 2, 3, generator=generator(seed, device), device=device)
    one, zero = torch.ones(2, device=device), torch.zeros(2, device=device)
    V = torch.eye(3, device=device)
    assert_same(impl.payoff_per_dimension(V, x, one, zero), one, "inst")


def test_payoff_per_dimension__of_the_digon_is_the_formula_s(impl, device):
    """For the digon it is 2 - 4p / (4 - 3p); at p = 1 that is -2."""
    one, zero = torch.ones(1, device=device).double(), torch.zeros(1, device=device).double()
    V = torch.tensor([[1.0, -1.0]], dtype=torch.float64, device=device)
    dense = midpoints(60, device)
    assert_same(
        impl.payoff_per_dimension(V, dense, one, zero), -2 * one, "inst", rtol=1e-5, atol=5e-3
    )
    # p = 1/2: a quarter of the rows each: both, first only, second only, none
    half = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]], device=device).repeat_interleave(3600, 0)
    x = dense.repeat(4, 1, 1) * half[:, None]
    wanted = torch.tensor([2 - 2 / 2.5], dtype=torch.float64, device=device)
    assert_same(impl.payoff_per_dimension(V, x, one, zero), wanted, "inst", rtol=1e-5, atol=5e-3)


def test_payoff_per_dimension__the_best_constant_pays_nothing(impl, seed, device):
    """With s = 0 and the mean as bias nothing is saved: the payoff is 0."""
    x = torch.rand(40, 1, 1, generator=generator(seed + 1, device), device=device)
    x = x.expand(40, 1, 3).contiguous()  # three equal features, so that one bias is all means
    zero = torch.zeros(1, device=device)
    V = torch.eye(3, device=device)[:2]
    out = impl.payoff_per_dimension(V, x, zero, x.mean(dim=(0, 2)))
    assert_same(out, zero, "inst", rtol=1e-5, atol=1e-5)


def test_payoff_per_dimension__keeps_instances_apart(impl, seed, device):
    """Changing one instance's scale and bias changes that instance's payoff only."""
    g = generator(seed + 2, device)
    x, V = torch.rand(30, 3, 4, generator=g, device=device), normal(g, 2, 4)
    scale, bias = torch.rand(3, generator=g, device=device), normal(g, 3)
    before = impl.payoff_per_dimension(V, x, scale, bias)
    change = torch.tensor([0.0, 1.0, 0.0], device=device)
    after = impl.payoff_per_dimension(V, x, scale + change, bias + change)
    assert_same(after[[0, 2]], before[[0, 2]], "inst")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "inst", "d", "k"), [(7, 3, 2, 5), (4, 1, 1, 2), (9, 2, 3, 4)])
def test_payoff_per_dimension__equals_reference(impl, ref, seed, device, batch, inst, d, k, dtype):
    """It agrees with the reference, for scales that are not 1 and biases that are not 0."""
    g = generator(seed + 3, device)
    V, x = normal(g, d, k, dtype=dtype), normal(g, batch, inst, k, dtype=dtype).abs()
    scale, bias = 0.5 + normal(g, inst, dtype=dtype) ** 2, normal(g, inst, dtype=dtype)
    with unchanged(V, x, scale, bias):
        out = impl.payoff_per_dimension(V, x, scale, bias)
    assert_same(out, ref.payoff_per_dimension(V, x, scale, bias), "inst", rtol=1e-4, atol=1e-5)


def test_payoff_per_dimension__of_a_single_direction_by_hand(impl, device):
    """One feature in one dimension, two rows: worked out by hand for two instances."""
    x = torch.tensor([[[0.0], [0.0]], [[1.0], [1.0]]], device=device)
    V = torch.ones(1, 1, device=device)
    scale, bias = torch.tensor([1.0, 2.0], device=device), torch.tensor([0.5, -3.0], device=device)
    # v = 1/4. inst 0: x_hat 0.5 and 1.5, error 1/4: (v - v) / v = 0; inst 1: x_hat 0 and 1: 1
    expected = torch.tensor([0.0, 1.0], device=device)
    assert_same(impl.payoff_per_dimension(V, x, scale, bias), expected, "inst")


def test_payoff_per_dimension__sends_gradients_to_scale_and_bias(impl, ref, seed, device):
    """Gradients reach scale and bias, so that both can be trained."""
    g = generator(seed + 4, device)
    V, x = normal(g, 2, 4).double(), torch.rand(20, 3, 4, generator=g, device=device).double()
    scale, bias = 0.5 + torch.rand(3, generator=g, device=device).double(), normal(g, 3).double()
    args, up = (V, x, scale, bias), normal(g, 3).double()
    mine = vjp(impl.payoff_per_dimension, args, up, wrt=(2, 3))
    theirs = vjp(ref.payoff_per_dimension, args, up, wrt=(2, 3))
    assert_same(mine, theirs, ["inst", "inst"], what="the gradient by (scale, bias)")
