"""Claims of 3.1.7: what an SAE must beat, measured; and what we found where it does not.

`experiment_<name>(seed, device)` repeats the notebook's demo; the `result` fixture of the tests
named after it is that run, or a learner's own when called from a notebook. Runs are cached: the
claims look at the same ones.
"""

import functools
import math

import pytest
import torch

from part31_superposition.s8_dictionary_learning import (
    adam_update,
    cheapest_code,
    correlated_mask,
    fingerprint,
    fista_codes,
    ica_dictionary,
    ksvd,
    make_data,
    n_recovered,
    one_to_one,
    rank_auc,
    self_similarity,
    settled,
    smallest_cosine,
    spike_slab_kl,
    square_costs,
    stacks,
)
from utils.given import dictionary_runs as runs
from utils.given.dictionaries import (
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
from utils.testing import generator, hoeffding, require

pytestmark = [pytest.mark.claim, pytest.mark.slow]

SEEDS = [0, 1, 2]
SHARKEY = "after Sharkey, Braun & Millidge 2022 and Cunningham et al. 2023"
L1S = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
HALF = math.sqrt(0.5)
RIVAL = [[HALF, HALF], [HALF, -HALF], [-HALF, HALF]]
SPARSE, DENSE = "3 active features", "5 active features"


# --------------------------------------------------------------------------------- the experiments


@functools.lru_cache
def data_of(seed, device, l0=3):
    """A data set."""
    return make_data(World(mean_l0=float(l0)), seed, device)


@functools.lru_cache
def entries_of(seed, device, l0):
    """All SAEs and all K-SVDs of a league."""
    x = data_of(seed, device, l0).x
    return runs.enter_saes(stacks, x, seed), runs.enter_ksvd(ksvd, x, seed)


@functools.lru_cache
def experiment_league(seed, device):
    """Recovered features of every method in both worlds."""
    table = {}
    for l0, name in [(3, SPARSE), (5, DENSE)]:
        saes, ksvds = entries_of(seed, device, l0)
        data, entered = data_of(seed, device, l0), {"SAE": saes, "K-SVD": ksvds}
        recovered = functools.partial(n_recovered, data.D)
        table[name] = runs.count_league(data.x, entered, ica_dictionary, recovered)
    return {"league_counts": table}


def stability_of(entry, data):
    """(stable latents, share of them that are true, AUC of similarity) of one entry."""
    score = entry.similarity()
    truth = cosine_table(entry.first, data.D).max(dim=1).values > 0.9
    stable = score > 0.9
    return int(stable.sum()), truth[stable].float().mean().item(), rank_auc(score, truth)


def experiment_stability(seed, device):
    """Share of true ones among stable latents: two SAEs, and K-SVD with k = 1."""
    (sparse, _), (dense, ksvds) = (entries_of(seed, device, l0) for l0 in (3, 5))
    three = [(sparse[1], 3), (dense[1], 5), (ksvds[0], 5)]
    found = [stability_of(entry, data_of(seed, device, l0)) for entry, l0 in three]
    return {"stable_share": [share for _, share, _ in found], "found": found}


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


@functools.lru_cache
def experiment_sweep(seed, device):
    """Recovered features over coefficients, sizes, tied or not."""
    data = data_of(seed, device)
    members = [(n, l1, tied) for tied in (False, True) for n in (30, 60, 120) for l1 in L1S]
    counts = [n_recovered(data.D, D) for D in stacks.sweep(data.x, members, 1 + seed)]
    return {"sweep_counts": torch.tensor(counts).reshape(2, 3, 6)}


@functools.lru_cache
def experiment_roads(seed, device):
    """Recovered features of each road at the best of its strengths."""
    data, counts = data_of(seed, device), {}
    for road in runs.ROADS:
        found = runs.take_road(stacks, spike_slab_kl, data.x, road, 20 + seed)
        counts[road] = max(n_recovered(data.D, D) for D in found)
    return {"road_counts": counts}


@functools.lru_cache
def experiment_drift(seed, device):
    """Who settled, whether they are true, and what relaxing does."""

    def settled_in(frames):
        return settled(self_similarity(frames), 0.99, 5)

    data = data_of(seed, device)
    frames, still, then, _ = runs.train_and_relax(stacks, settled_in, data.x, 50 + seed)
    is_true = cosine_table(frames[-1], data.D).max(dim=1).values > 0.9
    counts = [[n_recovered(data.D, D) for D in frame] for frame in then.frames["W_dec"]]
    motion = self_similarity(frames)[-5:].mean(dim=0)
    return {
        "settled_true": is_true[still].float().mean().item(),
        "rest_true": is_true[~still].float().mean().item(),
        "motion": (motion[is_true].mean().item(), motion[~is_true].mean().item()),
        "relaxed_counts": torch.tensor(counts),
    }


@functools.lru_cache
def experiment_negative(seed, device):
    """The fingerprints of six SAEs, good and bad."""
    data = data_of(seed, device)
    saes = runs.train_negative(stacks, data.x, 60 + seed)
    return {"prints": {name: fingerprint(*each, data) for name, each in saes.items()}}


# ------------------------------------------------- what a learner's own run must show (and ours do)


def test_league__linear_methods_are_far_behind(result):
    """PCA, ICA and NMF recover less than two thirds of what the best SAE does, in both worlds."""
    for world, counts in result.league_counts.items():
        best = max(counts[name] for name in ("PCA", "ICA", "NMF"))
        sae = counts["SAE, best setting"]
        require(3 * best < 2 * sae, f"{world}: the SAE recovers {sae}, a linear method {best}")


def test_league__the_sae_wins_where_more_features_are_active(result):
    """With five active features the SAE recovers at least half as many again as K-SVD."""
    counts = result.league_counts[DENSE]
    sae, other = counts["SAE, best setting"], counts["K-SVD, best setting"]
    require(sae >= 1.5 * other, f"the SAE recovers {sae}, K-SVD {other}")


def test_stability__stable_is_true_for_saes_only(result):
    """Most stable latents of the SAEs are true; of K-SVD's with k = 1 at most one in four is."""
    sparse, dense, other = result.stable_share
    require(min(sparse, dense) > 0.6, f"of the SAEs' stable latents {sparse:.0%}, {dense:.0%}")
    require(other < 0.25, f"{other:.0%} of K-SVD's stable rows are true")


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


def test_sweep__has_its_peak_in_between(result):
    """60 untied latents recover most at an inner coefficient: 30 or more; few at the first."""
    line = result.sweep_counts[0, 1].tolist()
    peak = line.index(max(line))
    require(0 < peak < len(line) - 1, f"the counts are {line}: the peak is at an end")
    require(max(line) >= 30 and line[0] <= 8, f"the counts are {line}")


def test_roads__all_lead_to_features(result):
    """L1, square root and spike and slab recover at least 25; noise at least 10, but fewer."""
    counts = dict(result.road_counts)
    noise = counts.pop("noise")
    require(min(counts.values()) >= 25, f"{counts}")
    require(10 <= noise < min(counts.values()), f"noise recovers {noise}, the others {counts}")


def test_drift__relaxing_loses_what_was_found(result):
    """At 0.05 more than half is lost; at 0.4 at most a fifth; frozen latents stay."""
    first, last = result.relaxed_counts[0], result.relaxed_counts[-1]
    require(last[0] < first[0] / 2, f"at 0.05: {first[0]} before, {last[0]} after")
    require(last[3] > 0.8 * first[3], f"at 0.4: {first[3]} before, {last[3]} after")
    require(last[4] > 0.6 * first[4], f"frozen: {first[4]} before, {last[4]} after")


def test_drift__most_settled_latents_are_true(result):
    """More than 60 % of the settled latents are true features."""
    require(result.settled_true > 0.6, f"{result.settled_true:.0%} are")


def test_negative__three_signs_betray_the_identity(result):
    """L0, smallest cosine and participation ratio betray an axis-aligned identity"""
    one = result.prints["tied, start at the axes, λ = 0"]
    require(one["unexplained variance"] < 0.01, "the identity does not reconstruct")
    require(one["L0"] > 19, f"its L0 is {one['L0']:.1f}")
    require(one["mean smallest cosine"] < -0.95, f"{one['mean smallest cosine']:.2f}")
    require(one["participation ratio"] < 1.5, f"{one['participation ratio']:.2f}")
    require(one["features recovered"] <= 1, f"{one['features recovered']} recovered")


# --------------------------------------------------------------- claim 12: SAEs against the others


def column(device, world, name):
    """A column of the league table, a number per seed."""
    tables = (experiment_league(seed, str(device))["league_counts"] for seed in SEEDS)
    return [table[world][name] for table in tables]


def test_predict_half_found__claim_12_baselines_alone(ref, device, record_claim):
    """PCA and NMF find nothing, ICA some, K-SVD most."""
    tables = [experiment_baselines(seed, str(device))["baseline_counts"] for seed in SEEDS]
    counts = {name: [table[name] for table in tables] for name in tables[0]}
    record_claim(
        number=12, paper="found here", claim="which baselines find half of 40 features in 20 dims",
        measured=", ".join(f"{name} {each}" for name, each in counts.items()),
        tolerance="K-SVD at least 20, ICA 5 to 19, the others at most 3", seeds=SEEDS,
    )  # fmt: skip
    assert ref.predict_half_found == "only K-SVD"
    assert min(counts["K-SVD, k = 2"]) >= 20
    assert min(counts["ICA"]) >= 5 and max(counts["ICA"]) < 20
    assert max(counts["PCA"] + counts["NMF"] + counts["random directions"]) <= 3


@pytest.mark.parametrize("world", [SPARSE, DENSE])
def test_predict_sparse_winner__claim_12_against_pca_ica_nmf(device, record_claim, world):
    """Claim 12: SAEs beat PCA, ICA and NMF by far."""
    names = ["SAE, best setting", "PCA", "ICA", "NMF"]
    sae, *others = (column(device, world, name) for name in names)
    shown = ", ".join(f"{n} {c}" for n, c in zip(names, [sae, *others], strict=True))
    record_claim(
        number=12, paper=SHARKEY, claim=f"SAEs beat PCA, ICA and NMF ({world})",
        measured=f"recovered of 40: {shown}", tolerance="at least 1.5 times as many", seeds=SEEDS,
    )  # fmt: skip
    assert all(s >= 1.5 * max(rest) for s, *rest in zip(sae, *others, strict=True))


def test_predict_sparse_winner__claim_12_level_with_ksvd_when_sparse(ref, device, record_claim):
    """Claim 12 does not hold against K-SVD in a sparse world: both recover nearly all."""
    sae, other = (column(device, SPARSE, f"{m}, best setting") for m in ("SAE", "K-SVD"))
    record_claim(
        number=12, paper=SHARKEY,
        claim=f"SAEs beat K-SVD ({SPARSE}): DOES NOT REPRODUCE, they are level",
        measured=f"recovered of 40 at the best setting: SAE {sae}, K-SVD {other}",
        tolerance="means differ by at most 2, no data set by more than 4; both at least 33",
        seeds=SEEDS,
    )  # fmt: skip
    assert ref.predict_sparse_winner == "level"
    assert abs(sum(sae) - sum(other)) <= 2 * len(SEEDS)
    assert all(abs(s - o) <= 4 for s, o in zip(sae, other, strict=True))
    assert min(sae + other) >= 33


def test_predict_sparse_winner__claim_12_beats_ksvd_when_denser(device, record_claim):
    """Claim 12 holds against K-SVD where five features are active."""
    sae, other = (column(device, DENSE, f"{m}, best setting") for m in ("SAE", "K-SVD"))
    record_claim(
        number=12, paper=SHARKEY, claim=f"SAEs beat K-SVD ({DENSE})",
        measured=f"recovered of 40 at the best setting: SAE {sae}, K-SVD {other}",
        tolerance="at least 1.5 times as many in every data set", seeds=SEEDS,
    )  # fmt: skip
    assert all(s >= 1.5 * o for s, o in zip(sae, other, strict=True))


def test_predict_sparse_winner__claim_12_stability_picks_a_setting(device, record_claim):
    """Without the truth: the most stable SAE is mostly near the best, the stablest K-SVD never."""
    lost = {}
    for method in ("SAE", "K-SVD"):
        best = column(device, SPARSE, f"{method}, best setting")
        best += column(device, DENSE, f"{method}, best setting")
        stable = column(device, SPARSE, f"{method}, most stable")
        stable += column(device, DENSE, f"{method}, most stable")
        lost[method] = [b - s for b, s in zip(best, stable, strict=True)]
    record_claim(
        number=12, paper=SHARKEY, claim="SAEs: the most stable setting is mostly near the best",
        measured=f"features lost against the best: SAE {lost['SAE']}, K-SVD {lost['K-SVD']}",
        tolerance="SAE: at most 3 in five of six data sets; K-SVD: at least 5 in all", seeds=SEEDS,
    )  # fmt: skip
    assert sorted(lost["SAE"])[4] <= 3
    assert min(lost["K-SVD"]) >= 5


def test_predict_stable_true__claim_12_stable_need_not_be_true(ref, device, record_claim):
    """Similarity between seeds is a good score for SAEs; for K-SVD with k = 1 it misleads."""
    found = [experiment_stability(seed, str(device))["found"] for seed in SEEDS]
    shares = [[round(share, 2) for _, share, _ in each] for each in found]
    aucs = [[round(auc, 2) for _, _, auc in each] for each in found]
    stable = [each[2][0] for each in found]
    record_claim(
        number=12, paper=SHARKEY, claim="latents that come back in a second run are true features",
        measured=f"SAE 3 active, SAE 5 active, K-SVD with k = 1 (5 active): share of the stable "
        f"that is true {shares}; AUC {aucs}; stable rows of that K-SVD {stable} of 60",
        tolerance="SAE: above 0.6, AUC above 0.8; K-SVD: at least 25 stable, below 0.25 true",
        seeds=SEEDS,
    )  # fmt: skip
    assert ref.predict_stable_true == "hardly any"
    assert all(min(s[:2]) > 0.6 and s[2] < 0.25 for s in shares)
    assert all(min(a[:2]) > 0.8 for a in aucs) and min(stable) >= 25


def test_rank_auc__a_second_size_serves_as_well(device, record_claim):
    """MMCS between sizes: an SAE of 120 latents tells true latents of one with 60 from false."""
    aucs = []
    for seed in SEEDS:
        saes, _ = entries_of(seed, str(device), 3)
        score = cosine_table(saes[1].first, saes[5].first).max(dim=1).values
        truth = cosine_table(saes[1].first, data_of(seed, str(device)).D).max(dim=1).values > 0.9
        aucs.append(rank_auc(score, truth))
    record_claim(
        number=12, paper=SHARKEY, claim="similarity between sizes marks true features",
        measured=f"AUC {[round(a, 2) for a in aucs]}", tolerance="above 0.8", seeds=SEEDS,
    )  # fmt: skip
    assert min(aucs) > 0.8


def test_predict_gap__the_encoder_loses_some_percent(ref, device, record_claim):
    """Amortisation gap: 2 to 20 % of the objective, and some F1."""
    found = [experiment_gap(seed, str(device)) for seed in SEEDS]
    gaps = [each["one_pass_objective"] / each["best_objective"] - 1 for each in found]
    f1 = [[round(v, 2) for v in each["f1"]] for each in found]
    record_claim(
        number=12, paper="O'Neill, Gumran & Klindt 2024",
        claim="one pass is worse than optimal codes",
        measured=f"objective above the best {[f'{g:.1%}' for g in gaps]}; F1 one pass, FISTA {f1}",
        tolerance="2 to 20 %; FISTA's F1 is higher", seeds=SEEDS,
    )  # fmt: skip
    assert ref.predict_gap == "2 to 20 %"
    assert all(0.02 < gap < 0.2 for gap in gaps) and all(one < best for one, best in f1)


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


def test_cheapest_code__claim_13_the_rival_costs_0_943(device, record_claim):
    """Claim 13: uniform in the unit square, 2 sqrt(2) / 3 against 1."""
    gen, n = generator(0, device), 1_000_000
    points, rival = torch.rand(n, 2, generator=gen, device=device), torch.tensor(RIVAL)
    axes = cheapest_code(points, torch.eye(2, device=device)).double().mean().item()
    other = cheapest_code(points, rival.to(device)).double().mean().item()
    tied = torch.relu(points @ rival.T.to(device))  # one pass gives the same codes
    error = (tied @ rival.to(device) - points).abs().max().item()
    record_claim(
        number=13, paper="derived here",
        claim="unit square: L1 is 1 for the axes, 2 sqrt(2)/3 = 0.943 for the three diagonals",
        measured=f"{axes:.4f} and {other:.4f} on {n:,} points; one pass errs by {error:.0e}",
        tolerance="Hoeffding at 1e-6; error below 1e-5", seeds=[0],
    )  # fmt: skip
    assert abs(axes - 1) < hoeffding(n, 2.0)
    assert abs(other - 2 * math.sqrt(2) / 3) < hoeffding(n, math.sqrt(2))
    assert error < 1e-5 and abs(tied.sum(1).mean().item() - other) < 1e-4


def test_predict_restored_at__claim_13_sparsity_restores_the_axes(ref, device, record_claim):
    """Claim 13: training flips from the diagonals to the axes where the two costs tie."""
    p = torch.linspace(0.5, 1, 5001, device=device, dtype=torch.float64)
    axes, rival = square_costs(p)
    tie = p[(axes <= rival)].max().item()
    shapes = []
    for seed in (0, 1):
        found = experiment_square(seed, str(device))
        names = ["diagonals" if is_rival(D) else "axes" if is_axes(D) else "other"
                 for D in found["D_square"]]  # fmt: skip
        shapes.append(dict(zip([1.0, 0.95, 0.85, 0.3], names, strict=True)))
    record_claim(
        number=13, paper="derived here", claim="below p = 0.879 the axes are cheaper again",
        measured=f"the formulas tie at {tie:.3f}; lowest of 48 trained losses: {shapes}",
        tolerance="tie within 0.002 of 3 - 3/sqrt 2; diagonals at 1, axes at 0.85 and 0.3",
        seeds=[0, 1],
    )  # fmt: skip
    assert abs(tie - (3 - 3 * HALF)) < 0.002
    assert abs(ref.predict_restored_at - (3 - 3 * HALF)) < 0.002
    for each in shapes:
        assert (each[1.0], each[0.85], each[0.3]) == ("diagonals", "axes", "axes")


# --------------------------------------------------------------------- g to k: what the text states


def test_predict_recovery_peak__in_between(ref, device, record_claim):
    """Item g: the number of recovered features peaks at an inner coefficient."""
    lines = [experiment_sweep(seed, str(device))["sweep_counts"] for seed in (0, 1)]
    shown = [table[:, 1].tolist() for table in lines]
    record_claim(
        number=12, paper=SHARKEY, claim="recovery peaks at an intermediate L1 coefficient",
        measured=f"60 latents, untied and tied, at {L1S}: {shown}",
        tolerance="inner peak; at least 30 untied; untied not below tied", seeds=[0, 1],
    )  # fmt: skip
    assert ref.predict_recovery_peak == "in between"
    for table in lines:
        untied, tied = table[:, 1].tolist()
        assert 0 < untied.index(max(untied)) < 5 and max(untied) >= 30
        assert max(untied) >= max(tied)
        assert table[0, 0].max() < table[0, 1].max()  # 30 latents are too few
        assert table[0, 2].max() <= table[0, 1].max() + 2  # 120 are not better than 60


def test_predict_noise_road__fewer_than_l1(ref, device, record_claim):
    """Item i: square root, noise and spike and slab recover features, noise fewer."""
    tables = [experiment_roads(seed, str(device))["road_counts"] for seed in (0, 1)]
    record_claim(
        number=12, paper="found here", claim="other roads to sparsity, best of four strengths each",
        measured="; ".join(", ".join(f"{k} {v}" for k, v in t.items()) for t in tables),
        tolerance="L1, root, slab at least 25; noise at least 10, and fewer", seeds=[0, 1],
    )  # fmt: skip
    assert ref.predict_noise_road == "some, but fewer than L1"
    for table in tables:
        rest = [count for road, count in table.items() if road != "noise"]
        assert min(rest) >= 25 and 10 <= table["noise"] < min(rest)


def test_predict_relaxed__training_longer_makes_it_worse(ref, device, record_claim):
    """Item j: a smaller coefficient loses features that were found; freezing keeps them."""
    found = [experiment_drift(seed, str(device)) for seed in (0, 1)]
    ends = [each["relaxed_counts"][[0, -1]].tolist() for each in found]
    true = [(round(e["settled_true"], 2), round(e["rest_true"], 2)) for e in found]
    motion = [tuple(round(m, 3) for m in e["motion"]) for e in found]
    record_claim(
        number=12, paper="found here", claim="relaxing the penalty makes the dictionary worse",
        measured=f"recovered before and after (0.05, 0.1, 0.2, 0.4, 0.05 frozen) {ends}; "
        f"true among settled and others {true}; self-similarity of true and others {motion}",
        tolerance="more than half lost at 0.05; at most 20 % at 0.4; 60 % kept when frozen",
        seeds=[0, 1],
    )  # fmt: skip
    assert ref.predict_relaxed == "it falls by more than half"
    for first, last in ends:
        assert last[0] < first[0] / 2 and last[3] > 0.8 * first[3] and last[4] > 0.6 * first[4]
    assert all(a > 0.6 and a > b for a, b in true) and all(a > b for a, b in motion)


def test_adam_update__a_zero_gradient_does_not_freeze(device):
    """Item j: Adam's averages move a parameter long after its gradient is exactly zero."""
    theta, mean, square = (torch.zeros(1, device=device) for _ in range(3))
    for n in range(1, 201):
        grad = torch.full_like(theta, float(n <= 100))
        theta, mean, square = adam_update(theta, grad, mean, square, n, 0.01)
        if n == 100:
            before = theta
    assert (before - theta).item() > 0.05


def test_participation_ratio__betrays_axes_only(device, record_claim):
    """Item k: the ratio betrays [I, -I], the smallest cosine betrays any identity."""
    tables = [experiment_negative(seed, str(device))["prints"] for seed in (0, 1)]
    shown = [
        {name: [round(v, 2) for v in each.values()] for name, each in t.items()} for t in tables
    ]
    record_claim(
        number=12, paper="found here", claim="three signs of a dictionary that learned nothing",
        measured=f"{' / '.join(tables[0]['untied, random start, λ = 0.4'])}: {shown}",
        tolerance="axes: L0 > 19, cosine < -0.95, ratio < 1.5; random start, 0.03: cosine < -0.85, "
        "ratio > 6, at most 2 recovered; untied, 0.4: least explained, at least 25 recovered",
        seeds=[0, 1],
    )  # fmt: skip
    for table in tables:
        for kind in ("tied", "untied"):
            axes = table[f"{kind}, start at the axes, λ = 0"]
            assert axes["L0"] > 19 and axes["mean smallest cosine"] < -0.95
            assert axes["participation ratio"] < 1.5 and axes["unexplained variance"] < 0.01
        weak, good = table["tied, random start, λ = 0.03"], table["untied, random start, λ = 0.4"]
        assert weak["mean smallest cosine"] < -0.85 and weak["participation ratio"] > 6
        assert weak["features recovered"] <= 2 and weak["unexplained variance"] < 0.01
        assert good["features recovered"] >= 25
        assert good["unexplained variance"] == max(
            e["unexplained variance"] for e in table.values()
        )


# ------------------------------------------------------------------- sae_lens as a second opinion


def test_correlated_mask__agrees_with_sae_lens(record_claim):
    """Frequencies and co-occurrences are those of sae_lens.synthetic, up to chance."""
    synthetic = pytest.importorskip("sae_lens.synthetic")
    data, n, rho = data_of(0, "cpu"), 100_000, World().rho
    factor = rho**0.5 * torch.eye(8)[data.group]
    law = synthetic.LowRankCorrelationMatrix(factor, torch.full((40,), 1 - rho))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sampler = synthetic.ActivationGenerator(40, data.probability, correlation_matrix=law)
        theirs = (sampler.sample(n) > 0).double()
    ours = correlated_mask(data.probability, data.group, rho, n, generator(1)).double()
    gap = (ours.T @ ours - theirs.T @ theirs).abs().max().item() / n
    bound = 2 * hoeffding(n, 1.0, 1e-6 / 820)  # 820 different entries
    record_claim(
        number=12, paper="sae_lens.synthetic", claim="our correlated activity has the same law",
        measured=f"largest difference of 820 frequencies and co-occurrences {gap:.4f}",
        tolerance=f"{bound:.4f} (Hoeffding, 1e-6 in all)", seeds=[0],
    )  # fmt: skip
    assert gap < bound


def test_one_to_one__agrees_with_sae_lens(record_claim):
    """Where no cosine is negative, the mean of our matching is their mean correlation."""
    synthetic = pytest.importorskip("sae_lens.synthetic")
    worst = 0.0
    for seed in SEEDS:
        gen = generator(seed)
        truth, latents = (random_dictionary(n, 6, gen).abs() for n in (9, 14))
        mine = one_to_one(truth, latents)[0].mean().item()
        worst = max(worst, abs(mine - synthetic.mean_correlation_coefficient(latents, truth)))
    record_claim(
        number=12, paper="sae_lens.synthetic", claim="our matching has the same mean cosine",
        measured=f"largest difference {worst:.0e}", tolerance="1e-5", seeds=SEEDS,
    )  # fmt: skip
    assert worst < 1e-5
