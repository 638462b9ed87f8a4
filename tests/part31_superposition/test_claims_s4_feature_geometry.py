"""Claims of 3.1.4: what the geometry of trained models is, measured and counted.

`experiment_<name>(seed, device)` repeats the notebook's demo; the `result` fixture of the tests
named after it is that run, or a learner's own when called from a notebook.
"""

import functools
from collections import Counter
from dataclasses import replace

import pytest
import torch

from part31_superposition.s4_feature_geometry import (
    FRACTIONS,
    WIDE,
    best_payoff,
    catalogue,
    component_labels,
    count_jumps,
    dimensions_per_feature,
    fall_while_moving,
    feature_dimensionality,
    frame_defect,
    interference_graph,
    leverage,
    nearest_fraction,
    polytope_census,
    regular_simplex,
)
from utils.testing import generator, require
from utils.toy import ToyConfig, TrainConfig, evaluate_toy, init_toy, train_toy_fast

pytestmark = pytest.mark.claim

SEEDS = [0, 1, 2]
TRAINING = TrainConfig(3000, 256, 1e-2, "linear")
NAMES = ["1", "3/4", "2/3", "1/2", "2/5", "3/8"]
GRAPH = (0.2, 0.5)  # smallest cosine of an edge, smallest norm of a represented feature
NEAR = 0.15  # how far a group's Gram matrix may be from a polytope's, in its worst place


# --------------------------------------------------------------------------------- the experiments


@functools.lru_cache
def wide(seed, device, dense, sparse, n_inst):
    """Trained W, 200 features in 20 dimensions, at `n_inst` probabilities."""
    p = torch.linspace(dense, sparse, n_inst, device=device)
    if dense == 1:
        p = torch.logspace(0, -1, n_inst, device=device)
    W, b = init_toy(replace(WIDE, inst=n_inst), generator(seed, device), device)
    return train_toy_fast(W, b, 1.0, p[:, None], TRAINING, generator(seed + 1, device)).W, p


def experiment_wide_geometry(seed, device):
    """Twenty models from p = 1 to p = 0.1, all features equally important."""
    W, p = wide(seed, str(device), 1, 0.1, 20)
    return {"W_wide": W, "p_wide": p}


def experiment_census(seed, device):
    """Sixteen models where digons give way to other shapes, and their census."""
    W, _ = wide(seed + 2, str(device), 0.28, 0.17, 16)
    return {"W_zoom": W, "census": [census_of(one) for one in W]}


def census_of(W):
    """Names and counts of one model's groups."""
    return polytope_census(W, catalogue(), *GRAPH, NEAR)


def experiment_jumps(seed, device):
    """Sixteen models of 5 features in 2 dimensions from tiny weights, followed from step 800."""
    importance = 0.7 ** torch.arange(5.0, device=device)[None]
    W, b = init_toy(ToyConfig(16, 5, 2), generator(seed, device), device)
    settings = TrainConfig(8000, 512, 1e-3, n_frames=150)
    run = train_toy_fast(0.02 * W, b, importance, 0.05, settings, generator(seed + 1, device))
    judge = generator(seed + 2, device)
    losses = [
        evaluate_toy(*frame, importance, 0.05, judge.clone_state())
        for frame in zip(run.frames_W, run.frames_b, strict=True)
    ]
    late = run.frames_step >= 800
    D = feature_dimensionality(run.frames_W[late.to(device)])
    loss = torch.stack(losses)[late.to(device)]
    return {"D_path": D, "loss_path": loss, "path_steps": run.frames_step[late]}


def experiment_payoffs(seed, device):
    """What each polytope saves per dimension, at its best scale and bias."""
    p, gen = torch.logspace(-0.05, -1, 24, device=device), generator(seed, device)
    lines = regular_simplex(13)
    shapes = catalogue() | {"13 lines in 12": torch.cat([lines, -lines], dim=1)}
    payoffs = {name: best_payoff(V.to(device), p, gen) for name, V in shapes.items()}
    return {"payoffs": payoffs, "p_payoff": p}


# ------------------------------------------------- what a learner's own run must show (and ours do)


def test_wide_geometry__dimensionalities_sum_to_the_dimensions(result):
    """In every model that uses all 20 dimensions the sum of D_i is 20 within 1 %."""
    used = torch.linalg.svdvals(result.W_wide)[:, -1] > 0.5
    sums = feature_dimensionality(result.W_wide).sum(-1)[used]
    require(used.float().mean() > 0.8, f"only {int(used.sum())} models use all dimensions")
    require(bool((sums > 19.8).all()), f"the sums go down to {sums.min():.2f}")
    require(bool((sums < 20.01).all()), f"the sums go up to {sums.max():.2f}: that cannot be")


def test_wide_geometry__is_shared_by_all_when_dense(result):
    """At p = 1 no feature owns a dimension: the median D is near 1/10, the largest below 0.4."""
    dense = int((result.p_wide.flatten() - 1).abs().argmin())
    D = feature_dimensionality(result.W_wide)[dense]
    require(0.07 < D.median() < 0.13, f"the median D at p = 1 is {D.median():.3f}")
    require(D.max() < 0.4, f"one feature has D = {D.max():.2f}")


def test_wide_geometry__rests_at_one_half(result):
    """From p = 0.42 to 0.3 at least 85 % of the represented features have D = 1/2 within 0.01."""
    p = result.p_wide.flatten()
    W = result.W_wide[(p < 0.42) & (p > 0.3)]
    require(len(W) > 0, "train instances with p between 0.3 and 0.42")
    D = feature_dimensionality(W)[W.norm(dim=1) > 0.5]
    share = ((D - 0.5).abs() < 0.01).float().mean()
    require(share > 0.85, f"only {share:.0%} of them are at 1/2")


def test_census__finds_digons_and_pentagons(result):
    """Digons are most common, there are at least three pentagons, no triangle, no tetrahedron."""
    total = sum(map(Counter, result.census), Counter())
    require(total["digon"] == max(total.values()), f"digons are not most common: {dict(total)}")
    require(total["pentagon"] >= 3, f"only {total['pentagon']} pentagons were found")
    for name in ("triangle", "tetrahedron"):
        require(total[name] == 0, f"{total[name]} groups were called {name}")


def test_census__agrees_with_the_course_s_own_count(result):
    """The course's functions find the same groups in your weights."""
    theirs = [census_of(W) for W in result.W_zoom]
    for i, (mine, wanted) in enumerate(zip(result.census, theirs, strict=True)):
        require(dict(mine) == wanted, f"model {i}: you count {dict(mine)}, expected {wanted}")


def followed(D_path, loss_path):
    """Jumps of each instance; (share of the fall, of the intervals) of those that jump."""
    levels = nearest_fraction(D_path, torch.tensor([0, 2 / 5, 1 / 2, 1]).to(D_path), 0.04)
    jumps = [sum(count_jumps(feature, 8) for feature in inst.T) for inst in levels.unbind(1)]
    shares = [
        fall_while_moving(D_path[:, i], loss_path[:, i], 0.1) for i, n in enumerate(jumps) if n
    ]
    return jumps, torch.tensor(shares)


def test_jumps__the_loss_falls_while_features_move(result):
    """Some instances jump; half their loss's fall or more is in a seventh of the intervals."""
    _, shares = followed(result.D_path, result.loss_path)
    require(len(shares) >= 3, f"only {len(shares)} instances jump after step 800")
    fall, time = shares.median(dim=0).values.tolist()
    require(fall > 0.5, f"the median share of the fall is {fall:.0%}")
    require(time < 0.15, f"the median share of the intervals is {time:.0%}")


def test_payoffs__of_the_digon_are_best_in_the_sticky_range(result):
    """For p from 0.3 to 0.5 the digon pays most, and above p = 0.58 it pays less than 1.15."""
    p = result.p_payoff
    rest = torch.stack([v for name, v in result.payoffs.items() if name != "digon"])
    digon = result.payoffs["digon"]
    sticky = (p > 0.3) & (p < 0.5)
    require(bool((digon[sticky] > rest[:, sticky].amax(0)).all()), "another shape pays more there")
    require(bool((digon[p > 0.58] < 1.15).all()), f"dense digons pay up to {digon[p > 0.58].max()}")


def test_payoffs__of_triangle_and_tetrahedron_are_bounded(result):
    """Triangle and tetrahedron never pay more than 3/2 and 4/3."""
    for name, bound in (("triangle", 3 / 2), ("tetrahedron", 4 / 3)):
        most = result.payoffs[name].max()
        require(most < bound, f"the {name} pays {most:.3f}, more than its features per dimension")


# -------------------------------------------------------------------------------------- the claims


@pytest.mark.slow
def test_feature_dimensionality__claim_8_sums_to_the_dimensions(device, record_claim):
    """Claim 8: the dimensionalities sum to d_hidden within 1 % where all dimensions are used."""
    W = torch.cat([experiment_wide_geometry(seed, device)["W_wide"] for seed in SEEDS])
    least = torch.linalg.svdvals(W)[:, -1]
    used = least > 0.5
    sums = feature_dimensionality(W).sum(-1)
    defect = (feature_dimensionality(W) * frame_defect(W)).sum(-1) / sums
    bound = leverage(W).sum(-1)
    record_claim(
        number=8, paper="TMS, on geometry; Scherlis 2022",
        claim="200 in 20, p from 1 to 0.1: the sum of D_i is d_hidden = 20",
        measured=f"{int(used.sum())} of {len(W)} models use all dimensions (least singular value "
        f"{least[used].min():.2f} or more); sum of D_i {sums[used].min():.2f} to "
        f"{sums[used].max():.2f}, median {sums[used].median():.3f}; mean defect up to "
        f"{defect.max():.3f}",
        tolerance="1 %", seeds=SEEDS,
    )  # fmt: skip
    assert used.float().mean() > 0.9
    assert ((sums[used] - 20).abs() < 0.2).all()
    assert (sums <= bound + 1e-2).all()


@pytest.mark.slow
def test_predict_common_fraction__claim_8_the_fractions_that_occur(ref, device, record_claim):
    """Claim 8: represented features counted by fraction; 1/2 is the common one."""
    W = torch.cat([experiment_wide_geometry(seed, device)["W_wide"] for seed in SEEDS])
    kept = W.norm(dim=1) > 0.5
    index = nearest_fraction(feature_dimensionality(W)[kept], FRACTIONS.to(W), 0.01)
    counts = {name: int((index == i).sum()) for i, name in enumerate(NAMES)}
    total = len(index)
    record_claim(
        number=8, paper="TMS, on geometry",
        claim="200 in 20, p from 1 to 0.1: clusters at the sticky fractions",
        measured=f"of {total} represented features within 0.01 of a fraction: "
        + ", ".join(f"{n} at {name}" for name, n in counts.items())
        + f"; {int((index < 0).sum())} near none",
        tolerance="1/2 most common, at least 15 % of all; at 1 and at 3/4 fewer than 1 %",
        seeds=SEEDS,
    )  # fmt: skip
    assert max(counts, key=lambda name: counts[name]) == ref.predict_common_fraction
    assert counts["1/2"] > 0.15 * total
    assert counts["1"] + counts["3/4"] < 0.01 * total


def test_predict_dense_dimensionality__shared_when_dense(ref, device, record_claim):
    """At p = 1 with equal importances m / |W|^2 is 1, and D is near 1/10 for all features."""
    assert ref.predict_dense_dimensionality == "about 1/10 for all"
    W = torch.stack([experiment_wide_geometry(seed, device)["W_wide"][0] for seed in SEEDS])
    ratio, D = dimensions_per_feature(W), feature_dimensionality(W)
    record_claim(
        number=8, paper="found here (TMS plots m / |W|^2 only)",
        claim="200 in 20, p = 1, equal importances: nobody owns a dimension",
        measured=f"m / |W|^2 {ratio.min():.3f} to {ratio.max():.3f}; D {D.min():.2f} to "
        f"{D.max():.2f}, median {D.median():.3f}",
        tolerance="ratio within 5 % of 1; median D within 0.03 of 0.1; largest below 0.4",
        seeds=SEEDS,
    )  # fmt: skip
    assert ((ratio - 1).abs() < 0.05).all()
    assert abs(D.median() - 0.1) < 0.03
    assert D.max() < 0.4


def origins(W):
    """Represented features by (fraction near their D, name of their group)."""
    found = Counter()
    for one in W:
        labels = component_labels(interference_graph(one, *GRAPH))
        index = nearest_fraction(feature_dimensionality(one), FRACTIONS.to(W), 0.01)
        for group in labels[one.norm(dim=0) > 0.5].unique():
            [name] = census_of(one[:, labels == group])
            found.update((NAMES[i], name) for i in index[labels == group].tolist() if i >= 0)
    return found


@pytest.mark.slow
def test_predict_tetrahedra__claim_8_the_polytopes_that_occur(ref, device, record_claim):
    """Claim 8: groups named by their Gram matrices; what stands at a fraction need not be it."""
    runs = [experiment_census(seed, device) for seed in (-2, -1, 0)]  # generators 0, 1 and 2
    census = sum((Counter(c) for run in runs for c in run["census"]), Counter())
    antiprisms = [sum(c.get("square antiprism", 0) for c in run["census"]) for run in runs]
    found = sum((origins(run["W_zoom"]) for run in runs), Counter())
    text = {
        f: ", ".join(f"{n} in {who}" for (g, who), n in found.most_common() if g == f)
        for f in ("1/2", "2/5", "3/8")
    }
    record_claim(
        number=8, paper="TMS, on geometry",
        claim="200 in 20, p from 0.28 to 0.17: which polytopes stand behind the fractions",
        measured=f"groups {dict(census)} (antiprisms per run {antiprisms}); features at "
        + "; at ".join(f"{f}: {who}" for f, who in text.items()),
        tolerance="no triangle, no tetrahedron; at 1/2 at least 95 % in digons, at 2/5 most in "
        "pentagons, at 3/8 fewer than half in antiprisms",
        seeds=SEEDS,
    )  # fmt: skip
    assert ref.predict_tetrahedra == "none"
    assert census["tetrahedron"] == census["triangle"] == 0
    assert census["digon"] > census["pentagon"] > 20
    at = {f: sum(n for (g, _), n in found.items() if g == f) for f in NAMES}
    assert found["1/2", "digon"] >= 0.95 * at["1/2"]
    assert found["2/5", "pentagon"] > 0.5 * at["2/5"]
    assert found["3/8", "square antiprism"] < 0.5 * at["3/8"]


def test_predict_motion__jumps_between_levels(ref, device, record_claim):
    """Dimensionality rests at levels and jumps; the loss falls during the jumps."""
    runs = [experiment_jumps(seed, device) for seed in SEEDS]
    measured = [followed(run["D_path"], run["loss_path"]) for run in runs]
    n_jumping = [len(shares) for _, shares in measured]
    shares = torch.cat([shares for _, shares in measured])
    fall, time = shares.median(dim=0).values.tolist()
    record_claim(
        number=8, paper="TMS, on learning dynamics",
        claim="5 in 2 from tiny weights: D_i jumps between levels, and the loss falls with it",
        measured=f"instances of 16 that jump after step 800: {n_jumping}; in these {fall:.0%} of "
        f"the loss's fall (median; {shares[:, 0].min():.0%} to {shares[:, 0].max():.0%}) in "
        f"{time:.0%} of the recorded intervals",
        tolerance="3 or more instances per seed; median fall above 50 % in under 15 % of intervals",
        seeds=SEEDS,
    )  # fmt: skip
    assert ref.predict_motion == "it waits, then jumps"
    assert min(n_jumping) >= 3
    assert fall > 0.5 and time < 0.15


def crossing(p, a, b):
    """Largest p at which `a` pays more than `b` (both from dense to sparse)."""
    return p[(a > b).nonzero()[0, 0]].item()


def test_payoff_per_dimension__explains_the_polytopes(device, record_claim):
    """Digon, then pentagon, then square antiprism pay most, as features get sparser."""
    found = experiment_payoffs(0, device)
    p, payoffs = found["p_payoff"], found["payoffs"]
    sticky = (p < 0.55) & (p > 0.25)
    others = torch.stack([v for n, v in payoffs.items() if n not in ("digon", "13 lines in 12")])
    lead = (payoffs["digon"] - others.amax(0))[sticky]
    pentagon = crossing(p[p < 0.55], payoffs["pentagon"][p < 0.55], payoffs["digon"][p < 0.55])
    prism = crossing(
        p[p < 0.55], payoffs["square antiprism"][p < 0.55], payoffs["pentagon"][p < 0.55]
    )
    dense = p > 0.62
    simple = torch.stack([payoffs["triangle"], payoffs["tetrahedron"]]).amax(0) - payoffs["digon"]
    record_claim(
        number=8, paper="found here", claim="which polytope saves most per dimension",
        measured=f"the digon, from p = 0.55 to 0.25, by {lead.min():.3f} to {lead.max():.3f}; "
        f"the pentagon overtakes it at p = {pentagon:.2f}, the square antiprism the pentagon at "
        f"p = {prism:.2f}; triangle or tetrahedron lead for p > 0.62 by at most "
        f"{simple[dense].max():.3f}, and trail by {-simple[p < 0.5].max():.2f} or more for p < 0.5",
        tolerance="grid of 24 p; sampling error of about 0.005", seeds=[0],
    )  # fmt: skip
    assert (lead > 0).all()
    assert 0.17 < pentagon < 0.27
    assert 0.12 < prism < pentagon
    assert simple[dense].max() < 0.04
    assert (simple[p < 0.5] < -0.1).all()
