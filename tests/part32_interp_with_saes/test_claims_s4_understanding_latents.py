"""Claims of 3.2.4: steering, explanations, families, absorption, each beside its controls.

Seeds were fixed before the first look; the notebook shows seed 0.
"""

import functools

import pytest
import torch

from part32_interp_with_saes.s4_understanding_latents import (
    absorbed,
    balanced_accuracy,
    best_predicate,
    best_within,
    enrichment_score,
    f1_scores,
    output_score,
    random_as_long,
    share_in_span,
)
from utils.autointerp import Text, family
from utils.given import explaining, families, first_letters, steering
from utils.given.in_model import sample_rows
from utils.given.latent_data import final_read_out
from utils.models import language_model, residual_sae
from utils.saes.config import SAEConfig

pytestmark = [pytest.mark.claim, pytest.mark.slow]

SEEDS = [202]  # one draw of rows, latents and directions; intervals are over latents
TREES = [211, 212, 213, 214]
N_ROWS = 96
STEERED = 72  # with 24 latents, on seed 202, the interval was -0.26 to 0.48: too few
STEER_SEEDS = [203]


@functools.lru_cache
def loaded():
    """SmolLM2 and its residual SAE."""
    return language_model("local"), residual_sae(profile="local")


@functools.lru_cache
def data_of(seed):
    """All latents on some rows, and the residual stream of them."""
    model, sae = loaded()
    rows = sample_rows(model, N_ROWS, seed)
    return steering.latents_and_stream(model, sae, rows)


def drawn_latents(data, gen, n, least=40, most=400):
    """Some latents that are active now and then."""
    times = torch.bincount(data.number, minlength=data.n_latents)
    busy = ((times >= least) & (times <= most)).nonzero().flatten()
    return busy[torch.randperm(len(busy), generator=gen)[:n]].tolist()


def test_steer__claim_a_decoder_row_steers_more_than_a_random_direction(claim_seeds, record_claim):
    """At equal cost a decoder row raises what its latent reads more than chance does."""
    (model, sae), seeds, told = loaded(), claim_seeds(STEER_SEEDS), []
    for seed in seeds:
        (data, resid), gen = data_of(seed), torch.Generator().manual_seed(seed)
        numbers, W = drawn_latents(data, gen, STEERED), sae.sae.W_dec.detach()
        effect, _, cost = steering.push_latents(
            model, sae.hook_out, data, resid, W, numbers, data.ids[:8, :8], (0.25, 0.5, 1.0),
            random_as_long(W[0], STEERED, gen), output_score,
            writes=lambda number: torch.arange(5),
        )  # fmt: skip
        best = torch.zeros(3, STEERED)
        for j in range(3):
            for i in range(STEERED):
                k = best_within(effect[j, i], cost[j, i], 1.5)
                best[j, i] = effect[j, i, k] if k >= 0 else 0.0
        over_random = steering.interval(best[0] - best[2], gen)
        means = " / ".join(steering.told(row, gen) for row in best)
        told.append(
            f"{STEERED} latents, 8 openings: row / difference of means / random direction {means}"
            f" nats; row minus random {steering.told(best[0] - best[2], gen)}"
        )
        assert over_random[1] > 0.1
    record_claim(
        number=40, paper="after Arad et al. 2025 and Wu et al. 2025; numbers found here",
        claim="at a cost of at most 1.5 nats a decoder row raises the tokens that its latent reads "
        "more than a random direction of equal length",
        measured=" | ".join(told),
        tolerance="95 % interval over latents of the difference above 0.1 nats",
        seeds=seeds,
    )  # fmt: skip


def test_best_predicate__claim_explanations_exceed_their_controls(claim_seeds, record_claim):
    """On SmolLM2 latents are explained better than random directions, and than by others' words."""
    (model, sae), seeds, told = loaded(), claim_seeds(SEEDS), []
    for seed in seeds:
        (data, resid), gen = data_of(seed), torch.Generator().manual_seed(seed)
        pieces = [[model.tokenizer.decode([int(i)]) for i in row] for row in data.ids]
        said = family(Text(pieces, data.mask), least=20)
        active = torch.zeros(data.ids.numel(), sae.n_latents, dtype=torch.bool)
        active[data.place, data.number] = True
        fit = (torch.arange(len(pieces)) % 2 == 0)[:, None].expand_as(data.mask)
        scores = explaining.score_many(
            active[data.mask.flatten()], resid[data.mask], said, fit[data.mask], 60, gen,
            best_predicate, balanced_accuracy, random_as_long,
        ).scores  # fmt: skip
        means = {name: steering.interval(values, gen) for name, values in scores.items()}
        told += [f"{n} {steering.told(v, gen)} (n = {len(v)})" for n, v in scores.items()]
        assert means["latents"][1] > means["random directions"][2] + 0.02
        assert means["random directions"][1] > means["shuffled"][2]
    record_claim(
        number=41, paper="after Paulo et al. 2024; numbers found here",
        claim="held-out scores of latents' explanations exceed those of random directions that are "
        "as often active, and these exceed shuffled explanations",
        measured="; ".join(told), tolerance="95 % intervals over latents apart, by 0.02 and 0",
        seeds=seeds,
    )  # fmt: skip


def test_best_predicate__claim_labels_of_stories_are_found(claim_seeds, record_claim):
    """Made latents are explained by their label; real ones no better than random directions."""
    seeds, told = claim_seeds(SEEDS), []
    for seed in seeds:
        story, gen = explaining.told_stories(200, seed), torch.Generator().manual_seed(seed)
        n_found, n_labels = explaining.labels_found(story, gen, best_predicate)
        scores = explaining.score_many(
            story.active[384], story.x, story.said, story.fit, 80, gen,
            best_predicate, balanced_accuracy, random_as_long,
        ).scores  # fmt: skip
        means = {name: steering.interval(values, gen) for name, values in scores.items()}
        told.append(f"{n_found} of {n_labels} labels found")
        told += [f"{n} {steering.told(v, gen)}" for n, v in scores.items()]
        assert n_found >= 0.9 * n_labels
        assert means["latents"][1] > means["shuffled"][2] + 0.1
        assert means["latents"][0] < means["random directions"][0] + 0.05
    record_claim(
        number=42, paper="found here",
        claim="story model: the explainer finds the label behind a latent made from it; real "
        "latents beat shuffled explanations, but NOT random directions",
        measured="; ".join(told),
        tolerance="at least 90 % of the labels; 0.1 above shuffled; less than 0.05 above random",
        seeds=seeds,
    )  # fmt: skip


def test_share_in_span__claim_few_latents_come_back_from_another_seed(claim_seeds, record_claim):
    """Under a third of the latents come back alone, none from directions of the same covariance."""
    seeds, told = claim_seeds(SEEDS), []
    for seed in seeds:
        story, gen = explaining.told_stories(200, seed), torch.Generator().manual_seed(seed)
        cfg = SAEConfig(96, 384, "topk", k=12)
        first, second = (
            families.short_sae(story.x, cfg, seed + i).params["W_dec"].detach() for i in (0, 1)
        )
        shares = [
            float((share_in_span(first, rows, k) >= 0.81).double().mean())
            for k in (1, 4)
            for rows in (second, families.normal_like(second, gen))
        ]
        told.append(
            f"alone {shares[0]:.0%} (control {shares[1]:.0%}), in the span of four"
            f" {shares[2]:.0%} (control {shares[3]:.0%}) of 384"
        )
        assert 0.05 < shares[0] < 0.33 and shares[1] < 0.02
        assert shares[2] > shares[0] + 0.03 and shares[3] < 0.05
    record_claim(
        number=43, paper="after Paulo & Belrose 2025; numbers found here",
        claim="few latents of a TopK SAE come back alone from another seed; more lie in the span "
        "of four of the other's",
        measured=" | ".join(told),
        tolerance="squared cosine 0.81: alone 5 % to 33 %, control below 2 %; span of four 3 "
        "points more, control below 5 %",
        seeds=seeds,
    )  # fmt: skip


def test_absorbed__claim_less_in_a_matryoshka_sae_on_a_tree(claim_seeds, record_claim):
    """On the toy tree the nested SAE absorbs parents less often than the plain one of equal k."""
    seeds = claim_seeds(TREES)
    plain, nested = (
        torch.stack([families.tree_absorption(n, s, f1_scores, absorbed).mean() for s in seeds])
        for n in (False, True)
    )
    assert float((plain - nested).min()) > 0.02
    record_claim(
        number=44, paper="Bussmann et al. 2025; numbers found here",
        claim="toy tree, 16 latents, k = 1: parents are absorbed less in a Matryoshka SAE",
        measured=", ".join(
            f"seed {s}: {p:.0%} against {m:.0%}"
            for s, p, m in zip(seeds, plain.tolist(), nested.tolist(), strict=True)
        ),
        tolerance="2 points less on every seed", seeds=seeds,
    )  # fmt: skip


def test_absorbed__claim_letters_have_few_holes_here(claim_seeds, record_claim):
    """The letters' main latents are hardly ever silent on a word whose letter the probe sees."""
    (model, sae), seeds, told = loaded(), claim_seeds(SEEDS), []
    for seed in seeds:
        gen = torch.Generator().manual_seed(seed)
        words = first_letters.letter_words(model, sae.hook_in, 3000, gen)
        probes = first_letters.letter_probes(words, least=60)
        for name, one in first_letters.saes_to_try(sae).items():
            found = first_letters.find_holes(words, probes, one, f1_scores, absorbed)
            told.append(
                f"{name}: {len(found.silent)} words, silent"
                f" {steering.told(100 * found.silent, gen)} %, absorbed"
                f" {steering.told(100 * found.taken, gen)} %"
            )
            if one is sae:
                assert steering.interval(found.silent, gen)[2] < 0.08
                assert sum(found.cosine) / len(found.cosine) > 0.5
    record_claim(
        number=45, paper="after Chanin et al. 2024, whose absorption does NOT show here",
        claim="block 10, 4,608 latents: the letters have latents near the probe's direction, and "
        "few holes; in SAEs half as wide there are more",
        measured="; ".join(told),
        tolerance="silent on at most 8 % (upper end of the 95 % interval over words); mean cosine "
        "of the nearest latent with the probe above 0.5",
        seeds=seeds,
    )  # fmt: skip


def test_enrichment_score__claim_no_more_than_random_directions(claim_seeds, record_claim):
    """Random sets make latents look enriched; random directions do not."""
    (model, sae), seeds, told = loaded(), claim_seeds(SEEDS), []
    gain, W_U, _, _ = final_read_out(model)
    texts = [model.tokenizer.decode([i]) for i in range(W_U.shape[1])]
    members = torch.tensor([text.strip().endswith("ing") for text in texts])
    for seed in seeds:
        gen = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(sae.n_latents, generator=gen)[:80]
        rows = sae.sae.W_dec.detach()[chosen]
        other = members[torch.randperm(len(members), generator=gen)]
        sizes = [
            explaining.enrichment_sizes(vectors, which, gain, W_U, enrichment_score)
            for vectors, which in (
                (rows, members), (rows, other), (random_as_long(rows[0], 80, gen), members)
            )
        ]  # fmt: skip
        told.append(
            "latents / random sets / random directions: "
            + " / ".join(steering.told(v, gen) for v in sizes)
        )
        means = [steering.interval(v, gen) for v in sizes]
        assert means[0][1] > 1.5 * means[1][2]
        assert means[0][0] < 1.3 * means[2][0]
    record_claim(
        number=46, paper="after Bloom & Lin 2024; numbers found here",
        claim="block 10: words in -ing are enriched in latents against random sets, but NOT "
        "against random directions",
        measured=" | ".join(told),
        tolerance="mean size 1.5 times that of random sets, less than 1.3 times that of random "
        "directions (80 each)",
        seeds=seeds,
    )  # fmt: skip


def test_meta_sae__claim_rows_are_no_more_compressible_than_their_covariance(
    claim_seeds, record_claim
):
    """A meta-SAE explains decoder rows about as well as normal vectors of their covariance."""
    (_, sae), seeds, told = loaded(), claim_seeds(SEEDS), []
    for seed in seeds:
        gen = torch.Generator().manual_seed(seed)
        W = sae.sae.W_dec.detach()[torch.randperm(sae.n_latents, generator=gen)]
        n = int(0.8 * len(W))
        found = [
            families.meta_variance(rows, n)
            for rows in (W, families.normal_like(W, gen), random_as_long(W[0], len(W), gen))
        ]
        told.append(
            "rows / their covariance / random, in training (on other rows): "
            + " / ".join(f"{a:.3f} ({b:.3f})" for a, b in found)
        )
        assert found[0][0] < 1.2 * found[1][0]
        assert found[0][0] > 1.1 * found[2][0]
    record_claim(
        number=47, paper="after Bussmann et al. 2024; numbers found here",
        claim="decoder rows are NOT better taken apart by a meta-SAE (288 latents, k = 4) than "
        "normal vectors of the same covariance",
        measured=" | ".join(told),
        tolerance="variance explained less than 1.2 times that of the covariance's vectors, more "
        "than 1.1 times that of random directions",
        seeds=seeds,
    )  # fmt: skip
