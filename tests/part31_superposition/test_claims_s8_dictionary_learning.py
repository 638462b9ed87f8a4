"""Claims of 3.1.8: what an SAE must beat, and where the lowest L1 lies.

`experiment_<name>(seed, device)` repeats the notebook's demo; the `result` fixture of the tests
named after it is that run, or a learner's own when called from a notebook. Runs are cached: the
claims look at the same ones. The seeds were fixed before the first look at their results.
"""

import functools
import math

import pytest
import torch

from part31_superposition.s8_dictionary_learning import (
    cheapest_code,
    correlated_mask,
    fista_codes,
    ica_dictionary,
    ksvd,
    make_data,
    n_recovered,
    one_to_one,
    scores,
    smallest_cosine,
    square_costs,
)
from utils.given import dictionary_runs as runs
from utils.given.dictionaries import (
    World,
    lasso_objective,
    random_dictionary,
    sae_codes,
    support_f1,
    train_sae,
    train_square,
    unit,
)
from utils.testing import generator, require

pytestmark = [pytest.mark.claim, pytest.mark.slow]

SEEDS = [11, 12, 13]
HERE = "found here"
HALF = math.sqrt(0.5)
RIVAL = [[HALF, HALF], [HALF, -HALF], [-HALF, HALF]]


# --------------------------------------------------------------------------------- the experiments


@functools.lru_cache
def data_of(seed, device):
    """A data set."""
    return make_data(World(), seed, device)


@functools.lru_cache
def experiment_baselines(seed, device):
    """Recovered features of every baseline."""
    data = data_of(seed, device)
    found = runs.baselines(data.x, 60, ica_dictionary, ksvd)
    return {"baseline_counts": {name: n_recovered(data.D, D) for name, D in found.items()}}


@functools.lru_cache
def experiment_gap(seed, device):
    """The objective of the encoder's codes and of FISTA's, and how well both find the features."""
    data = data_of(seed, device)
    sae, hyper = train_sae(data.x, 60, 0.4, seed)
    x, D = data.x[:2000] - sae["b_dec"], sae["W_dec"]
    guess, best = sae_codes(sae, data.x[:2000], hyper), fista_codes(x, D, 0.4, 200)
    matching = one_to_one(data.D, D)
    costs = [lasso_objective(x, codes, D, 0.4).mean().item() for codes in (guess, best)]
    f1 = [support_f1(codes, data.f[:2000], matching) for codes in (guess, best)]
    return {"one_pass_objective": costs[0], "best_objective": costs[1], "f1": f1}


@functools.lru_cache
def experiment_square(seed, device):
    """Trained dictionaries of three latents in the unit square."""
    p = torch.tensor([1.0, 0.95, 0.85, 0.3], device=device)
    return {"D_square": train_square(p, 48, generator(seed, device))[0], "p_square": p}


# ------------------------------------------------- what a learner's own run must show (and ours do)


def test_baselines__only_ksvd_finds_half(result):
    """K-SVD finds at least 20 features, ICA some, the others next to nothing."""
    counts = result.baseline_counts
    require(counts["K-SVD, k = 2"] >= 20, f"K-SVD finds {counts['K-SVD, k = 2']}")
    require(5 <= counts["ICA"] < 20, f"ICA finds {counts['ICA']}")
    rest = [count for name, count in counts.items() if name not in ("ICA", "K-SVD, k = 2")]
    require(max(rest) <= 3, f"the others find {rest}")


def test_gap__is_between_2_and_20_percent(result):
    """The encoder's objective lies 2 to 20 % above the best one."""
    gap = result.one_pass_objective / result.best_objective - 1
    require(0.02 < gap < 0.2, f"the gap is {gap:.1%}")


def is_rival(D):
    """Whether the rows are the three diagonals, within 8 degrees."""
    cosine = (unit(D) @ torch.tensor(RIVAL, device=D.device).T).max(dim=0).values
    return bool(cosine.min() > math.cos(math.radians(8)))


def is_axes(D):
    """Whether two rows are the axes, within 3 degrees, and the third points away from the data."""
    toward = unit(D)[unit(D).max(dim=1).values > 0.1]
    cosine = toward.max(dim=1).values
    return len(toward) == 2 and bool(cosine.min() > math.cos(math.radians(3)))


def test_square__the_trained_dictionary_flips(result):
    """The lowest loss is at the three diagonals for p = 1, at the axes for p = 0.3"""
    p = result.p_square.tolist()
    dense, sparse = p.index(max(p)), p.index(min(p))
    require(is_rival(result.D_square[dense]), f"p = {p[dense]:g}: not the three diagonals")
    require(is_axes(result.D_square[sparse]), f"p = {p[sparse]:g}: not the axes")


# ------------------------------------------------------------------------- scores and the baselines


def test_one_to_one__surplus_false_latents_go_unpunished(device, record_claim, claim_seeds):
    """With the truth and 80 random rows both scores from the truth are perfect."""
    seeds, found, random = claim_seeds(SEEDS), [], []
    for seed in seeds:
        truth = data_of(seed, str(device)).D
        other = random_dictionary(80, 20, generator(7 + seed, device))
        found.append(scores(truth, torch.cat([truth, other])))
        random.append(scores(truth, other)["truth to latents"])
    false = [each["latents to truth"] for each in found]
    record_claim(
        number=12, paper=HERE, claim="one to one does not punish surplus false latents",
        measured=f"the truth and 80 random rows: {[e['recovered'] for e in found]} of 40 recovered;"
        f" latents to truth {min(false):.2f} to {max(false):.2f}; random rows alone, truth to"
        f" latents {min(random):.2f} to {max(random):.2f}",
        tolerance="all 40 recovered, both scores from the truth above 0.9999; the one from the"
        " latents below 0.75; random rows 0.4 to 0.6",
        seeds=seeds,
    )  # fmt: skip
    for each in found:
        assert (
            each["recovered"] == 40 and min(each["truth to latents"], each["one to one"]) > 0.9999
        )
        assert each["latents to truth"] < 0.75
    assert min(random) > 0.4 and max(random) < 0.6


def test_one_to_one__near_twins_share_a_latent(device, record_claim, claim_seeds):
    """Twenty latents for forty features in near pairs: MMCS is high, one to one is half."""
    seeds, found = claim_seeds(SEEDS), []
    for seed in seeds:
        D, gen = data_of(seed, str(device)).D[:20], generator(seed, device)
        twins = D.repeat(2, 1) + 0.08 * torch.randn(40, 20, generator=gen, device=device)
        found.append(scores(unit(twins), D))
    both = [each[way] for each in found for way in ("truth to latents", "latents to truth")]
    own = [each["one to one"] for each in found]
    record_claim(
        number=12, paper=HERE, claim="both MMCS are blind to features that share a latent",
        measured=f"20 latents for 40 near twins: MMCS {min(both):.2f} to {max(both):.2f}, one to"
        f" one {min(own):.2f} to {max(own):.2f}",
        tolerance="MMCS above 0.9; one to one below 0.5", seeds=seeds,
    )  # fmt: skip
    assert min(both) > 0.9 and max(own) < 0.5


def test_predict_half_found__claim_12_baselines_alone(ref, device, record_claim, claim_seeds):
    """PCA and NMF find nothing, ICA some, K-SVD most."""
    seeds = claim_seeds(SEEDS)
    tables = [experiment_baselines(seed, str(device))["baseline_counts"] for seed in seeds]
    counts = {name: [table[name] for table in tables] for name in tables[0]}
    record_claim(
        number=12, paper=HERE, claim="which baselines find half of 40 features in 20 dims",
        measured=", ".join(f"{name} {min(c)} to {max(c)}" for name, c in counts.items()),
        tolerance="K-SVD at least 20, ICA 5 to 19, the others at most 3", seeds=seeds,
    )  # fmt: skip
    assert ref.predict_half_found == "only K-SVD"
    assert min(counts["K-SVD, k = 2"]) >= 20
    assert min(counts["ICA"]) >= 5 and max(counts["ICA"]) < 20
    assert max(counts["PCA"] + counts["NMF"] + counts["random directions"]) <= 3


def test_predict_gap__the_encoder_loses_some_percent(ref, device, record_claim, claim_seeds):
    """Amortisation gap: 2 to 20 % of the objective, and some F1."""
    seeds = claim_seeds(SEEDS)
    found = [experiment_gap(seed, str(device)) for seed in seeds]
    gaps = [each["one_pass_objective"] / each["best_objective"] - 1 for each in found]
    rise = [best - one for one, best in (each["f1"] for each in found)]
    record_claim(
        number=12, paper="after O'Neill, Gumran & Klindt 2024",
        claim="one pass is worse than optimal codes",
        measured=f"objective {min(gaps):.1%} to {max(gaps):.1%} above the best; FISTA's F1 higher"
        f" by {min(rise):.2f} to {max(rise):.2f}",
        tolerance="2 to 20 %; FISTA's F1 is higher", seeds=seeds,
    )  # fmt: skip
    assert ref.predict_gap == "2 to 20 %"
    assert all(0.02 < gap < 0.2 for gap in gaps) and min(rise) > 0


def test_smallest_cosine__random_rotations_reconstruct_everything(device):
    """[R, -R], tied and without bias, reconstructs all; the true dictionary does not."""
    data = data_of(0, str(device))
    R = torch.linalg.qr(torch.randn(20, 20, generator=generator(5, device), device=device)).Q
    errors, cosines = [], []
    for D in (torch.cat([R, -R]), data.D):
        errors.append((torch.relu(data.x @ D.T) @ D - data.x).square().sum(1).mean().item())
        cosines.append(smallest_cosine(D).mean().item())
    assert errors[0] < 1e-6 and errors[1] > 1
    assert cosines[0] < -0.999 and cosines[1] > -0.7


# ------------------------------------------------------- claim 13: the L1 minimum is somewhere else


def test_cheapest_code__claim_13_the_rival_costs_0_943(device, record_claim, claim_seeds):
    """Claim 13: uniform in the unit square, 2 sqrt(2) / 3 against 1."""
    seeds, n, rival = claim_seeds(SEEDS), 400_000, torch.tensor(RIVAL, device=device)
    axes, other, errors = [], [], []
    for seed in seeds:
        points = torch.rand(n, 2, generator=generator(seed, device), device=device)
        axes.append(cheapest_code(points, torch.eye(2, device=device)).double().mean().item())
        other.append(cheapest_code(points, rival).double().mean().item())
        tied = torch.relu(points @ rival.T)  # one pass gives the same codes
        errors.append((tied @ rival - points).abs().max().item())
        assert abs(tied.double().sum(1).mean().item() - other[-1]) < 1e-4
    record_claim(
        number=13, paper="derived here",
        claim="unit square: L1 is 1 for the axes, 2 sqrt(2)/3 = 0.943 for the three diagonals",
        measured=f"{min(axes):.4f} to {max(axes):.4f} and {min(other):.4f} to {max(other):.4f} on"
        f" {n:,} points; one pass errs by {max(errors):.0e}",
        tolerance="0.005 (seven standard errors); error below 1e-5", seeds=seeds,
    )  # fmt: skip
    assert max(errors) < 1e-5
    assert all(abs(cost - 1) < 0.005 for cost in axes)
    assert all(abs(cost - 2 * math.sqrt(2) / 3) < 0.005 for cost in other)


def test_predict_restored_at__claim_13_sparsity_restores_the_axes(
    ref, device, record_claim, claim_seeds
):
    """Claim 13: training flips from the diagonals to the axes where the two costs tie."""
    p = torch.linspace(0.5, 1, 5001, device=device, dtype=torch.float64)
    axes, rival = square_costs(p)
    tie = p[(axes <= rival)].max().item()
    seeds, shapes = claim_seeds(SEEDS), []
    for seed in seeds:
        found = experiment_square(seed, str(device))
        names = ["diagonals" if is_rival(D) else "axes" if is_axes(D) else "other"
                 for D in found["D_square"]]  # fmt: skip
        shapes.append(dict(zip([1.0, 0.95, 0.85, 0.3], names, strict=True)))
    record_claim(
        number=13, paper="derived here", claim="below p = 0.879 the axes are cheaper again",
        measured=f"the formulas tie at {tie:.3f}; lowest of 48 trained losses: {shapes}",
        tolerance="tie within 0.002 of 3 - 3/sqrt 2; diagonals within 8° at 1, axes within 3° at"
        " 0.85 and 0.3",
        seeds=seeds,
    )  # fmt: skip
    assert abs(tie - (3 - 3 * HALF)) < 0.002
    assert abs(ref.predict_restored_at - (3 - 3 * HALF)) < 0.002
    for each in shapes:
        assert (each[1.0], each[0.85], each[0.3]) == ("diagonals", "axes", "axes")


# ------------------------------------------------------------------- sae_lens as a second opinion


def law_distance(a, b):
    """Largest difference of frequencies and co-occurrences of two masks, in standard errors.

    2 asin(sqrt(share)) has a variance of 1/n, whatever the share.
    """
    angles = [2 * ((m.double().T @ m.double()) / len(m)).sqrt().asin() for m in (a, b)]
    return (angles[0] - angles[1]).abs().max().item() / math.sqrt(2 / len(a))


def test_correlated_mask__agrees_with_sae_lens(record_claim, claim_seeds):
    """Frequencies and co-occurrences are those of sae_lens.synthetic, up to chance."""
    synthetic = pytest.importorskip("sae_lens.synthetic")
    seeds, n, rho, same, less, none = claim_seeds(SEEDS), 100_000, World().rho, [], [], []
    for seed in seeds:
        data, gen = data_of(seed, "cpu"), generator(seed + 1)
        factor = rho**0.5 * torch.eye(8)[data.group]
        law = synthetic.LowRankCorrelationMatrix(factor, torch.full((40,), 1 - rho))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            sampler = synthetic.ActivationGenerator(40, data.probability, correlation_matrix=law)
            theirs = sampler.sample(n) > 0
        draw = functools.partial(correlated_mask, data.probability, data.group, n=n, gen=gen)
        for rho_of, found in [(rho, same), (0.2, less), (0.0, none)]:
            found.append(law_distance(theirs, draw(rho=rho_of)))
    record_claim(
        number=12, paper="sae_lens.synthetic", claim="our correlated activity has the same law",
        measured=f"largest difference of 820 frequencies and co-occurrences {min(same):.1f} to"
        f" {max(same):.1f} standard errors; with correlation 0.2 for 0.3 {min(less):.1f} to"
        f" {max(less):.1f}, with none {min(none):.0f} to {max(none):.0f}",
        tolerance="below 6 (chance: 1e-6 in all); another correlation above 6", seeds=seeds,
    )  # fmt: skip
    assert max(same) < 6 < min(less + none)


def test_one_to_one__agrees_with_sae_lens(record_claim, claim_seeds):
    """Where no cosine is negative, the mean of our matching is their mean correlation."""
    synthetic = pytest.importorskip("sae_lens.synthetic")
    seeds, worst = claim_seeds(SEEDS), 0.0
    for seed in seeds:
        gen = generator(seed)
        truth, latents = (random_dictionary(n, 6, gen).abs() for n in (9, 14))
        mine = one_to_one(truth, latents)[0].mean().item()
        worst = max(worst, abs(mine - synthetic.mean_correlation_coefficient(latents, truth)))
    record_claim(
        number=12, paper="sae_lens.synthetic", claim="our matching has the same mean cosine",
        measured=f"largest difference {worst:.0e}", tolerance="1e-5", seeds=seeds,
    )  # fmt: skip
    assert worst < 1e-5
