"""Claims of 3.2.3: who holds the wrong name back, and how well attribution predicts ablation.

The seed was fixed before the first look; the notebook shows seed 0. Hypotheses come from the half
`form`; what they say is measured in the half `test`: other sentences, other names.
"""

import functools

import pytest
import torch
from scipy import stats

from part32_interp_with_saes.s3_finding_latents import (
    ablation_effects,
    bootstrap_interval,
    control_latents,
    copying_scores,
    integrated_gradients,
    latent_gradients,
    name_difference,
    name_role,
    patch_estimate,
    rank_correlation,
    without_latents,
)
from utils.given.indirect_objects import ioi_prompts
from utils.given.rest_of_model import SaeAt, compare, judge_heads
from utils.models import attention_sae, language_model, residual_sae
from utils.models.splice import spliced

pytestmark = [pytest.mark.claim, pytest.mark.slow]

SEEDS = [212]
N_PAIRS = {"form": 10, "test": 20}  # of names for each sentence: 100 and 200 prompts
PAIR = 2  # latents at the repeated name's second place
N_STORY = 40


@functools.lru_cache
def loaded():
    """SmolLM2 with its SAEs at block 23 (heads) and after block 10 (stream)."""
    model = language_model("local")
    return model, attention_sae(profile="local"), residual_sae(profile="local")


@functools.lru_cache
def asked(half, seed):
    """The prompts of a half."""
    return ioi_prompts(loaded()[0], half, N_PAIRS[half], seed)


@functools.lru_cache
def spot(half, seed, where):
    """The attention SAE at the end, or the residual SAE at S2."""
    model, attention, residual = loaded()
    prompts = asked(half, seed)
    if where == "end":
        return SaeAt(model, prompts, attention, prompts.end_at)
    return SaeAt(model, prompts, residual, prompts.s2_at)


@functools.lru_cache
def effects(half, seed, where):
    """Every active latent's effect, one at a time."""
    here = spot(half, seed, where)
    with torch.no_grad():
        return ablation_effects(here.x, here.f, here.W_dec, here.metric, 256)


@torch.no_grad()
def together(here, chosen):
    """The effect of several latents at once, per prompt."""
    to = torch.zeros(len(chosen))
    cut = without_latents(here.x, here.f, here.W_dec, chosen, to)
    return here.clean - here.metric(cut, here.everyone)


def interval(values):
    """95 % over prompts: mean ± 1.96 standard errors."""
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def told(values):
    """`1.23 (1.10 to 1.36)`."""
    low, high = interval(values)
    return f"{float(values.mean()):.2f} ({low:.2f} to {high:.2f})"


def test_name_difference__claim_the_model_does_it_also_with_saes(claim_seeds, record_claim):
    """The right name is ahead in most prompts, clean and with either SAE in the model."""
    seeds, measured = claim_seeds(SEEDS), []
    model, attention, residual = loaded()
    for seed in seeds:
        lines = []
        for way, saes in (("clean", []), ("attention SAE", [attention]), ("residual", [residual])):
            right, n = 0, 0
            for half in ("form", "test"):
                prompts = asked(half, seed)
                for part in torch.arange(len(prompts)).split(20):
                    some = prompts.some(part)
                    with torch.no_grad():
                        logits = (
                            spliced(model.model, some.tokens, saes).output
                            if saes
                            else model.model(some.tokens)
                        )[:, -1]
                    found = name_difference(logits, some.io, some.s)
                    right, n = right + int((found > 0).sum()), n + len(found)
            ci = stats.binomtest(right, n).proportion_ci(method="wilson")
            lines.append(f"{way} {right} of {n} ({ci.low:.0%} to {ci.high:.0%})")
            assert ci.low > 0.8
        measured.append("; ".join(lines))
    record_claim(
        number=14, paper="after Wang et al. 2022; numbers found here",
        claim="the local model finds indirect objects, also with an SAE spliced in (no error term)",
        measured=" | ".join(measured), tolerance="Wilson 95 % intervals above 80 %", seeds=seeds,
    )  # fmt: skip


def test_name_role__claim_one_head_suppresses_and_no_mover_is_needed(claim_seeds, record_claim):
    """Head 23.3 looks at the repeated name, writes against it, and is needed; copiers are not."""
    seeds, measured = claim_seeds(SEEDS), []
    for seed in seeds:
        here = spot("test", seed, "end")
        evidence = judge_heads(here, copying_scores, name_role)
        roles = {head: name_role(*found) for head, found in evidence.items()}
        copiers = [h for h, (a, b, _) in evidence.items() if a.mean() > 0 and b.mean() > 0]
        without = here.without_heads(copiers)
        measured.append(
            f"{len(here.everyone)} prompts, difference {float(here.clean.mean()):.2f}: without 23.3"
            f" it falls by {told(evidence[3][2])}; without heads {copiers}, which look at the right"
            f" name and write it, by {told(without)}"
        )
        assert [h for h, role in roles.items() if role == "suppressor"] == [3]
        assert interval(evidence[3][2])[0] > 0.3 * float(here.clean.mean())
        assert interval(without)[1] < 0.2 * float(here.clean.mean())
    record_claim(
        number=14, paper="after Wang et al. 2022 and McDougall et al. 2023; numbers found here",
        claim="in block 23 the repeated name is held back (head 23.3); heads that look like name "
        "movers are NOT needed",
        measured=" | ".join(measured),
        tolerance="the rule of `name_role`; effect of 23.3 above 30 %, of the copiers below 20 %"
        " of the difference (95 % intervals; 10 % failed on other prompts, with 12 %)",
        seeds=seeds,
    )  # fmt: skip


def test_ablation_effects__claim_two_latents_hold_the_name_back(claim_seeds, record_claim):
    """The two latents found at S2 in one half are those whose ablation hurts in the other."""
    seeds, measured = claim_seeds(SEEDS), []
    for seed in seeds:
        gen = torch.Generator().manual_seed(seed)
        chosen = effects("form", seed, "S2").mean(dim=0).topk(PAIR).indices
        here = spot("test", seed, "S2")
        others = (here.f > 0).any(dim=0).nonzero()[:, 0]
        others = others[~torch.isin(others, chosen)]
        drawn = [others[torch.randperm(len(others), generator=gen)[:PAIR]] for _ in range(6)]
        rivals = [
            spot(half, seed, "S2").with_random_dictionary(
                control_latents, torch.Generator().manual_seed(seed)
            )
            for half in ("form", "test")
        ]
        with torch.no_grad():
            theirs = ablation_effects(
                rivals[0].x, rivals[0].f, rivals[0].W_dec, rivals[0].metric, 256
            )
        third = asked("test", seed).with_third_name(gen)
        unrepeated = SaeAt(loaded()[0], third, loaded()[2], third.s2_at)
        found = together(here, chosen)
        controls = {
            "two other active latents": torch.stack([together(here, d) for d in drawn]).mean(dim=0),
            "the best two of a random dictionary": together(
                rivals[1], theirs.mean(dim=0).topk(PAIR).indices
            ),
            "the same two with a third name at S2": together(unrepeated, chosen),
        }
        listed = "; ".join(f"{name} {told(v)}" for name, v in controls.items())
        measured.append(
            f"{len(found)} prompts, difference {float(here.clean.mean()):.2f}: latents"
            f" {chosen.tolist()} {told(found)}; {listed}"
        )
        assert interval(found)[0] > 1.0
        assert all(interval(v)[1] < 0.5 for v in controls.values())
    record_claim(
        number=14, paper="found here",
        claim="two latents after block 10 at the repeated name carry most of it: chosen in one"
        " half of the prompts, ablated in the other",
        measured=" | ".join(measured),
        tolerance="their effect above 1.0, each control's below 0.5 (95 % intervals over prompts)",
        seeds=seeds,
    )  # fmt: skip


def test_name_role__claim_the_story_model_suppresses_too(claim_seeds, record_claim):
    """In the story model, whose grammar is known, one head does it all, by suppression."""
    seeds, measured = claim_seeds(SEEDS), []
    story = language_model("tiny")
    for seed in seeds:
        prompts, roles = ioi_prompts(story, "test", N_STORY, seed), {}
        for layer in range(story.n_layers):
            here = SaeAt(story, prompts, attention_sae(layer, profile="tiny"), prompts.end_at)
            for head, found in judge_heads(here, copying_scores, name_role).items():
                roles[f"{layer}.{head}"] = name_role(*found), found[2]
        who = [name for name, (role, _) in roles.items() if role == "suppressor"]
        movers = [name for name, (role, _) in roles.items() if role == "name mover"]
        measured.append(
            f"{len(prompts)} prompts, difference {float(here.clean.mean()):.2f}: suppressors {who}"
            f" (without it {told(roles['2.3'][1])} less), name movers {movers}"
        )
        assert "2.3" in who
        assert interval(roles["2.3"][1])[0] > 0.7 * float(here.clean.mean())
    record_claim(
        number=14, paper="found here",
        claim="the story model finds indirect objects by suppressing the giver, too (head 2.3)",
        measured=" | ".join(measured),
        tolerance="the rule of `name_role`; effect above 70 % of the difference", seeds=seeds,
    )  # fmt: skip


def test_latent_gradients__claim_predict_ablations(claim_seeds, record_claim):
    """Near the output a gradient predicts ablations; far below integrated gradients mend it."""
    seeds, measured = claim_seeds(SEEDS), []
    for seed in seeds:
        gen = torch.Generator().manual_seed(seed)
        tools, found = (bootstrap_interval, rank_correlation, gen), {}
        for where in ("end", "S2"):
            here, truth = spot("form", seed, where), effects("form", seed, where)
            zero = torch.zeros_like(here.f)
            slope = latent_gradients(here.f, here.with_latents)
            guess = -patch_estimate(here.f, zero, slope)
            whole = -integrated_gradients(here.f, zero, here.with_latents, 16)
            found[where] = compare(where, guess, truth, *tools)
            found[f"{where}, whole way"] = compare(where, whole, truth, *tools)
            found[f"{where}, shuffled"] = compare(where, guess.roll(1, 1), truth, *tools)
        measured.append(
            "; ".join(
                f"{k}: r {r:.2f}, ranks {ranks:.2f}, latents' means {means:.2f}"
                for k, (r, ranks, means) in found.items()
            )
        )
        assert found["end"][0] > 0.9 and found["S2"][0] > 0.6
        assert abs(found["end, shuffled"][0]) < 0.1 and abs(found["S2, shuffled"][0]) < 0.1
        assert found["S2, whole way"][2] > found["S2"][2] + 0.03  # means over prompts: mended
        assert found["S2, whole way"][1] < found["S2"][1]  # single pairs: the order is not
    record_claim(
        number=15, paper="after Nanda 2023, Syed et al. 2023 and Marks et al. 2024; found here",
        claim="attribution against ablation: r above 0.9 near the output; far below it, integrated "
        "gradients mend the latents' means, NOT the order of single pairs",
        measured=" | ".join(measured),
        tolerance="r above 0.9 (end) and 0.6 (S2), shuffled below 0.1; means at S2 gain 0.03",
        seeds=seeds,
    )  # fmt: skip
