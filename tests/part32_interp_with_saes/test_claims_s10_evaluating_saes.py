"""Claims of 3.2.10: metrics beside what games them, and proxies beside the truth.

Seeds were fixed before the first look; the notebook shows seed 0, tuning used seeds 100 to 102.
"""

import functools

import pytest
import torch

from part32_interp_with_saes.s3_finding_latents import bootstrap_interval
from part32_interp_with_saes.s4_understanding_latents import random_as_long
from part32_interp_with_saes.s5_circuits_between_latents import label_auc, probe_effects
from part32_interp_with_saes.s10_evaluating_saes import (
    absorption_contrast,
    best_detectors,
    choice_regret,
    decoder_overlap,
    difference_latents,
    feature_coefficients,
    flip_labels,
    kendall_tau,
    mates_and_strangers,
    pareto_front,
    quiver_gain,
    scr_score,
    scramble_weights,
    tpp_score,
    two_dense_latents,
)
from utils.given import evaluating, families, scores_of_grids, scores_with_tasks, steering, worlds
from utils.given.in_model import sample_rows
from utils.models import language_model
from utils.saes.coder import encode
from utils.saes.config import SAEConfig

pytestmark = [pytest.mark.claim, pytest.mark.slow]

CFG = SAEConfig(96, 384, "topk", k=12)
LEARNED = {
    "choose": difference_latents, "auc": label_auc, "contrast": absorption_contrast,
    "overlap": decoder_overlap, "detectors": best_detectors,
}  # fmt: skip


@functools.lru_cache
def stories(seed):
    """Tokens to train on, and those of other stories."""
    return evaluating.story_tokens(100, seed), evaluating.story_tokens(60, seed + 50)


@functools.lru_cache
def two_saes(seed):
    """A trained SAE, and one with a frozen decoder."""
    x = stories(seed)[0].x
    return families.short_sae(x, CFG, seed, steps=400), evaluating.frozen_sae(x, CFG, seed)


def taus(table, seed):
    """Tau, its interval over SAEs, and the regret, per proxy."""
    gen, found = torch.Generator().manual_seed(seed), {}
    for name, values in table.proxies.items():
        ends = bootstrap_interval(
            table.joined(name), lambda rows: kendall_tau(rows[:, 0], rows[:, 1]), 500, 0.95, gen
        )
        tau, lost = kendall_tau(values, table.truth), choice_regret(values, table.truth)
        found[name] = (tau, *ends, lost)
    return found


def said(found):
    """One line."""
    return "; ".join(f"{n} {t:+.2f} [{a:+.2f}, {b:+.2f}], costs {c:.2f}"
                     for n, (t, a, b, c) in found.items())  # fmt: skip


def test_kendall_tau__claim_proxies_against_truth_on_made_data(claim_seeds, record_claim):
    """Made data: variance explained follows the truth in part; few holes go with the wrong rows."""
    seeds, told = claim_seeds([301, 302]), []
    for seed in seeds:
        found = taus(scores_of_grids.world_grid(seed, LEARNED), seed)
        told.append(said(found))
        assert found["variance explained"][1] > 0.2
        assert found["no holes"][2] < 0
        assert found["one-latent probes"][3] <= found["variance explained"][3]
        assert abs(found["sparsity (-L0)"][0]) < 0.3
    record_claim(
        number=101, paper="after Korznikov et al. 2026 and Chanin 2026; numbers found here",
        claim="36 SAEs on 20 hierarchical features: the variance explained orders them best, but "
        "choosing by it costs no less than choosing by one-latent probes; 'no holes' misleads",
        measured="tau [95 % over SAEs], cost of choosing: " + " | ".join(told) + " (that probes "
        "cost *less* for every seed was expected, and does NOT hold: for one it is the same)",
        tolerance="tau of the variance explained above 0.2, of 'no holes' below 0 (intervals); "
        "of L0 between -0.3 and 0.3; costs in this order, or equal",
        seeds=seeds,
    )  # fmt: skip


def test_kendall_tau__claim_proxies_against_labels_of_stories(claim_seeds, record_claim):
    """Story model: explanations follow the labels more than the variance explained does."""
    seeds, told = claim_seeds([311]), []
    for seed in seeds:
        train, held = stories(seed)
        found = taus(scores_of_grids.story_grid(train, held, seed, LEARNED, False), seed)
        told.append(said(found))
        assert found["explanations"][1] > 0
        assert found["explanations"][0] > found["variance explained"][0]
    record_claim(
        number=102, paper="found here",
        claim="24 SAEs on the story model: explanations by words order them as the best detectors "
        "of the grammar's labels do, more than the variance explained",
        measured="tau [95 % over SAEs], cost of choosing: " + " | ".join(told),
        tolerance="tau of explanations above 0 (interval) and above that of variance explained",
        seeds=seeds,
    )  # fmt: skip


def test_quiver_gain__claim_latents_add_nothing_to_tuned_probes(claim_seeds, record_claim):
    """In no regime does the quiver with latents do better on the test."""
    seeds, told = claim_seeds([321]), []
    for seed in seeds:
        data, _ = stories(seed)
        f, gen = families.story_saes()[384].encode(data.x), torch.Generator().manual_seed(seed)
        for regime in evaluating.REGIMES:
            valid, test, is_sae = evaluating.probe_regime(
                data, f, regime, range(seed, seed + 3), flip_labels, difference_latents, label_auc
            )
            gain = 100 * quiver_gain(valid, test, is_sae)
            told.append(f"{regime} {steering.told(gain, gen)}")
            assert steering.interval(gain, gen)[1] < 0.5
    record_claim(
        number=103, paper="Kantamneni et al. 2025; numbers found here",
        claim="story model, 11 questions, 3 draws: probes on 1, 4 and 16 latents add nothing to "
        "probes on the activation, in four regimes",
        measured="test AUC added, in points: " + "; ".join(told),
        tolerance="lower end of the 95 % interval over tasks and draws below 0.5 points",
        seeds=seeds,
    )  # fmt: skip


def test_scramble_weights__claim_controls_are_explained_too(claim_seeds, record_claim):
    """A frozen decoder is explained almost as well as a trained SAE; a scrambled model is not."""
    seeds, told = claim_seeds([331, 332]), []
    for seed in seeds:
        (data, _), gen = stories(seed), torch.Generator().manual_seed(seed)
        trained, frozen = (evaluating.codes(coder, data.x) > 0 for coder in two_saes(seed))
        blank = evaluating.story_model(functools.partial(scramble_weights, gen=gen))
        nothing = evaluating.story_tokens(100, seed, blank)
        on_nothing = families.short_sae(nothing.x, CFG, seed, steps=400)
        z = (data.x - data.x.mean(dim=0)) @ random_as_long(data.x[0], 384, gen).T
        runs = {
            "trained": (trained, data), "frozen decoder": (frozen, data),
            "scrambled model": (evaluating.codes(on_nothing, nothing.x) > 0, nothing),
            "random directions": (evaluating.as_often_active(z, trained), data),
        }  # fmt: skip
        means = {}
        for name, (on, where) in runs.items():
            scores = evaluating.explained_share(on, where)
            quality = evaluating.detector_quality(on, where.truth, best_detectors)
            means[name] = steering.interval(scores, gen)
            told.append(f"{name} {steering.told(scores, gen)} (labels' F1 {quality:.2f})")
        assert means["trained"][0] - means["frozen decoder"][0] < 0.07
        assert means["trained"][0] - means["random directions"][0] < 0.07
        assert means["trained"][1] > means["scrambled model"][2] + 0.02
    record_claim(
        number=104, paper="Korznikov et al. 2026; Heap et al. 2025, which does NOT show here",
        claim="sentences about words score almost as well for latents of an SAE with a random "
        "decoder, and for random directions, as for trained ones; for a scrambled model less",
        measured="; ".join(told),
        tolerance="trained less than 0.07 above frozen and random; 0.02 between the 95 % intervals "
        "(over latents) of trained and scrambled",
        seeds=seeds,
    )  # fmt: skip


def test_decoder_overlap__claim_l0_has_a_right_value(claim_seeds, record_claim):
    """Rows are nearest to the features at the true L0; the variance explained goes on rising."""
    seeds, told, ks = claim_seeds([341, 342]), [], (1, 2, 3, 4, 5, 6, 8)
    for seed in seeds:
        for kind in ("independent", "correlated", "exclusive", "hierarchical"):
            data = worlds.world(kind, 20_000, seed)
            configs = [SAEConfig(20, 20, "batchtopk", k=k) for k in ks]
            coders = worlds.train_together(data.x, configs, [seed], 1500)
            found = worlds.curves(
                coders, data, decoder_overlap, feature_coefficients, mates_and_strangers
            )
            best, least = (ks[v.index(f(v))] for v, f in
                           ((found["cosine"], max), (found["overlap"], min)))  # fmt: skip
            front = pareto_front(torch.tensor(found["l0"]), torch.tensor(found["explained"]))
            cosines = "/".join(f"{v:.2f}" for v in found["cosine"])
            told.append(f"{kind} {cosines}, least overlap at {least}, {int(front.sum())} on front")
            assert best in (3, 4) and least in (3, 4)
            assert found["cosine"][2] > max(found["cosine"][0], found["cosine"][-1]) + 0.05
            assert found["explained"][-1] > found["explained"][2] - 0.01
    record_claim(
        number=105, paper="Chanin & Garriga-Alonso 2025; numbers found here",
        claim="20 features, 3 on in a row, 20 latents: decoder rows are nearest to the features at "
        "k = 3 or 4 in all four worlds, and overlap least there, too; explained variance rises on",
        measured="cosine at k = 1/2/3/4/5/6/8: " + "; ".join(told),
        tolerance="largest at 3 or 4; 0.05 more at 3 than at 1 and 8; least overlap at 3 or 4",
        seeds=seeds,
    )  # fmt: skip


def test_absorption_contrast__claim_parents_are_absorbed_at_low_k(claim_seeds, record_claim):
    """Parents' latents are silent because of a child at k = 2, much less at k = 4."""
    seeds, told = claim_seeds([351, 352, 353]), []
    for seed in seeds:
        data = worlds.world("hierarchical", 20_000, seed)
        configs = [SAEConfig(20, 20, "batchtopk", k=k) for k in (2, 4)]
        means = []
        for coder in worlds.train_together(data.x, configs, [seed], 1500):
            f, rows = encode(coder, data.x), coder.params["W_dec"].detach()
            C = feature_coefficients(rows / rows.norm(dim=1, keepdim=True), data.W)
            contrasts = [
                absorption_contrast(
                    f[:, latent] > 0, data.z[:, 4 * i] > 0,
                    (data.z[:, 4 * i + 1 : 4 * i + 4] > 0).any(dim=1),
                )
                for i, latent in enumerate(C[:, ::4].argmax(dim=0).tolist())
            ]  # fmt: skip
            means.append(sum(contrasts) / len(contrasts))
        told.append(f"seed {seed}: {means[0]:+.2f} at k = 2, {means[1]:+.2f} at k = 4")
        assert means[0] > 0.4 and means[0] > means[1] + 0.2
    record_claim(
        number=106, paper="after Chanin et al. 2024; numbers found here",
        claim="hierarchical features, 3 on in a row: a parent's latent is silent because of a "
        "child when k = 2, much less when k = 4",
        measured="; ".join(told),
        tolerance="mean contrast of 5 parents above 0.4 at k = 2, and 0.2 more than at k = 4",
        seeds=seeds,
    )  # fmt: skip


def test_two_dense_latents__claim_one_token_is_all_the_variance(claim_seeds, record_claim):
    """SmolLM2 after block 12: two latents explain nearly all where the first token counts."""
    seeds, told = claim_seeds([361]), []
    loaded = language_model("local")
    for seed in seeds:
        rows = sample_rows(loaded, 24, seed)
        stream = steering.residuals(loaded, "blocks.12.hook_resid_post", rows.ids)
        later, shares = rows.mask.clone(), []
        later[:, 0] = False
        for mask in (rows.mask, later):
            x = stream[mask]
            W_enc, W_dec, b = two_dense_latents(x)
            two = evaluating.relu_made(W_enc, W_dec, b)
            shares.append(two.explains(x))
        told.append(f"{shares[0]:.1%} with, {shares[1]:.1%} without the first token")
        assert shares[0] > 0.95 and shares[1] < shares[0] - 0.3
    record_claim(
        number=107, paper="found here",
        claim="SmolLM2 after block 12: an SAE with two latents explains nearly all of the "
        "variance where the first token of a row counts",
        measured="; ".join(told) + " (below 20 % was expected, which does NOT hold: one "
        "other token is very long, too)",
        tolerance="above 95 % with it, at least 30 points less without",
        seeds=seeds,
    )  # fmt: skip


def test_tpp_score__claim_does_not_tell_a_random_decoder(claim_seeds, record_claim):
    """TPP is about the same for a trained SAE and for one with a random decoder."""
    seeds, told = claim_seeds([331, 332]), []
    for seed in seeds:
        data, held = stories(seed)
        for n in (5, 20):
            a, b = (
                tpp_score(*scores_with_tasks.perturbed(data, coder, n, probe_effects))
                for coder in two_saes(seed)
            )
            told.append(f"TPP, {n} latents: trained {a:.3f}, frozen {b:.3f}")
            assert a - b < 0.03
        for name, coder in zip(("trained", "frozen"), two_saes(seed), strict=True):
            base, oracle, cut = scores_with_tasks.spurious(
                data, held, coder, (5, 10, 20), probe_effects
            )
            scores = ", ".join(f"{v:+.2f}" for v in scr_score(base, cut, oracle).tolist())
            told.append(f"SCR {name} {scores}")
    record_claim(
        number=108, paper="after Karvonen et al. 2024 and Chanin 2026; numbers found here",
        claim="story model, 6 scenes: targeted probe perturbation does NOT tell a trained SAE from "
        "one whose decoder is random",
        measured="; ".join(told), tolerance="trained at most 0.03 above frozen", seeds=seeds,
    )  # fmt: skip
