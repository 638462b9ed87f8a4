"""Claims of 3.2.5, on the course's small models: circuits against controls and against the truth.

Seeds were fixed before the first look; the notebook shows 0 to 3 and 10 to 14.
"""

import functools

import pytest
import torch

from part32_interp_with_saes.s5_circuits_between_latents import (
    active_entries,
    faithfulness,
    integrated_gradient,
    keep_nodes,
    label_auc,
    node_attribution,
    probe_without,
    random_like,
    select_nodes,
    with_error,
    worst_group_accuracy,
)
from utils.data.stories.sample import sample_stories, sample_tokens
from utils.data.stories.telling import ROLES, VERB_SLOTS
from utils.given.biased_probe import biased_and_balanced, fit_probe, subjects
from utils.given.circuit_runs import run_circuit, site_scores, six_ways, whole
from utils.given.latent_circuits import (
    Chain,
    bootstrap,
    number_gap,
    number_pairs,
    parts_of,
    repeats,
)
from utils.graphs.frozen import held_hooks
from utils.models import attention_only_model, language_model, sae_of

pytestmark = [pytest.mark.claim, pytest.mark.slow]

SEEDS = [2101, 2102, 2103]
SIZE = 40
STEPS = {"integrated_gradient": integrated_gradient, "node_attribution": node_attribution}


@functools.lru_cache
def story():
    """The story model with an SAE after each block."""
    saes = [sae_of("language", "residual", i, "tiny", width=384) for i in range(4)]
    return Chain(language_model("tiny"), saes)


@functools.lru_cache
def copy():
    """The two-layer model with an SAE on each layer's heads."""
    saes = [sae_of("attention_only", "attention", i, "tiny") for i in range(2)]
    return Chain(attention_only_model("tiny"), saes)


@functools.lru_cache
def number_circuit(seed):
    """(parts, scores of latents, scores of errors) on 50 pairs of prompts."""
    plural, singular = number_pairs("names", 50, seed)
    parts = parts_of(story(), plural, singular)
    return parts, *site_scores(story(), plural, number_gap, parts, **STEPS)


def span(low, high):
    """`0.12 to 0.34`."""
    return f"{low:.2f} to {high:.2f}"


def test_faithfulness__claim_of_a_found_circuit_exceeds_random_ones(claim_seeds, record_claim):
    """Forty nodes do most of the task on new prompts; as many random ones, and all others, none."""
    seeds, told = claim_seeds(SEEDS), []
    for seed in seeds:
        parts, latents, errors = number_circuit(seed)
        rows, _ = number_pairs("names", 50, seed + 1000)
        run = functools.partial(run_circuit, story(), rows, number_gap, parts, keep_nodes)
        full, empty = number_gap(story().run(rows)), run(*whole(parts, False))
        chosen = select_nodes([*latents, *errors], SIZE)
        keep, keep_error = chosen[:4], chosen[4:]

        def measured(nodes, run=run, empty=empty, full=full):
            table = torch.stack([run(*nodes), empty, full], dim=1)
            return bootstrap(table, lambda some: faithfulness(*some.T))

        found = measured((keep, keep_error))
        others = measured(([~k for k in keep], [~k for k in keep_error]))
        gen = torch.Generator().manual_seed(seed)
        chance = [measured((random_like(keep, parts.active(), gen), keep_error)) for _ in range(5)]
        highest = max(high for _, high in chance)
        told.append(
            f"seed {seed}: circuit {span(*found)}, everything else {span(*others)}, highest end"
            f" of 5 random circuits {highest:.2f}"
        )
        assert found[0] > 0.5 and found[0] > highest + 0.3 and others[1] < 0.3
    record_claim(
        number=60, paper="Marks et al. 2024 (method); numbers found here",
        claim="agreement in number, story model: 40 nodes are faithful on new prompts, random ones "
        "at the same places are not, and without the 40 nothing is left",
        measured=" | ".join(told),
        tolerance="95 % interval over 50 prompts: circuit above 0.5 and 0.3 above every random "
        "one; everything else below 0.3",
        seeds=seeds,
    )  # fmt: skip


def test_integrated_gradient__claim_finds_the_induction_circuit(claim_seeds, record_claim):
    """Layer 0 at the word after the first A, with the heads that look one word back."""
    seeds, told = claim_seeds(SEEDS), []
    chain = copy()
    for seed in seeds:
        pairs = repeats(40, seed)
        parts = parts_of(chain, pairs.tokens, pairs.other, mean=False)
        looks = [f"blocks.{i}.attn.hook_{c}" for i in (0, 1) for c in "qk"]
        seen = chain.values(pairs.tokens, [*looks, "blocks.0.attn.hook_pattern"])
        held = {name: seen[name] for name in looks}
        task = chain, pairs.tokens, pairs.metric, parts
        live, errors = site_scores(*task, **STEPS)
        still, _ = site_scores(*task, **STEPS, held=held)
        leaf = parts.x[0].clone().requires_grad_()
        total = chain.rest(0, pairs.tokens, pairs.metric)(leaf).sum()
        slope = torch.autograd.grad(total, leaf)[0]
        first = sum(
            float(s.sum())
            for s in node_attribution(
                parts.f[0], parts.f_base[0], parts.e[0], parts.e_base[0], slope, chain.W_dec(0)
            )
        )
        change = pairs.metric(chain.run(pairs.other)) - pairs.metric(chain.run(pairs.tokens))
        really = float(change.mean())
        here = live[0].abs().sum(dim=1)
        share = float(here[pairs.after] / here.sum())
        write = chain.W_dec(0).reshape(256, 8, 16).square().sum(dim=-1)
        weight = (-live[0][pairs.after]).clamp(min=0)
        made = weight @ (write / write.sum(dim=1, keepdim=True))
        back = seen["blocks.0.attn.hook_pattern"].diagonal(-1, 2, 3).mean(dim=(0, 2))
        alone = whole_without_errors(pairs, parts)
        told.append(
            f"seed {seed}: metric {really:+.1f}; layer 0 live {float(live[0].sum()):+.1f},"
            f" frozen {float(still[0].sum()):+.1f}, first order {first:+.1f}; {share:.0%} at B;"
            f" all latents without errors {span(*alone)}"
        )
        assert share > 0.8 and abs(float((live[0].sum() + errors[0].sum()) / really) - 1) < 0.15
        assert abs(float(still[0].sum() / really)) < 0.1 and first > 0
        assert made.argmax() == back.argmax()
        assert set(made.topk(2).indices.tolist()) == set(back.topk(2).indices.tolist())
        assert alone[1] < 0.85
    record_claim(
        number=61, paper="Elhage et al. 2021, Olsson et al. 2022 (mechanism); numbers found here",
        claim="copying model: integrated gradients find the previous-word latents at the right "
        "place and heads; first order has the wrong sign; frozen patterns lose them",
        measured=" | ".join(told),
        tolerance="over 80 % of layer 0's |score| at B; sum within 15 % of the change, with frozen "
        "patterns under 10 %; first order above 0; the two heads that look back most write most; "
        "faithfulness without errors below 0.85",
        seeds=seeds,
    )  # fmt: skip


def whole_without_errors(pairs, parts):
    """Faithfulness of all latents where errors have their baseline: its interval over prompts."""
    chain = copy()

    def run(live):
        def edit(site, x):
            f = chain.encode(site, x) if live else parts.f_base[site]
            return chain.decode(site, f) + parts.e_base[site]

        return pairs.metric(chain.run(pairs.tokens, edit))

    with torch.no_grad():
        table = torch.stack([run(True), run(False), pairs.metric(chain.run(pairs.tokens))], dim=1)
    return bootstrap(table, lambda some: faithfulness(*some.T))


def test_label_auc__claim_the_circuit_knows_the_grammars_number(claim_seeds, record_claim):
    """Its latents at the last word tell the number in stories of all kinds; others do not."""
    seeds, told = claim_seeds(SEEDS), []
    is_verb = torch.tensor([role in VERB_SLOTS for role in ROLES])
    for seed in seeds:
        parts, latents, _ = number_circuit(seed)
        fresh = sample_stories(80, 96, torch.Generator().manual_seed(seed))
        here = torch.zeros_like(fresh.tokens, dtype=torch.bool)
        here[:, 1:-1] = is_verb[fresh.labels["role"][:, 2:]]
        here &= fresh.labels["number"] >= 0
        label = fresh.labels["number"][here] == 1
        apart: dict[bool, list[float]] = {True: [], False: []}
        active, chosen = parts.active(), select_nodes(latents, SIZE)
        for site, x in enumerate(story().states(fresh.tokens)):
            f, mine = story().encode(site, x[here]), chosen[site][-1]
            for latent in active[site][-1].nonzero()[:, 0].tolist():
                apart[bool(mine[latent])].append(abs(label_auc(f[:, latent], label) - 0.5))
        spans = [bootstrap(torch.tensor(apart[which])) for which in (True, False)]
        told.append(
            f"seed {seed}: {len(apart[True])} circuit latents {span(*spans[0])},"
            f" {len(apart[False])} others {span(*spans[1])}"
        )
        assert spans[0][0] > spans[1][1] + 0.05
    record_claim(
        number=62, paper="found here (the labels are the grammar's)",
        claim="agreement circuit: its latents at the subject know the number in other sentences",
        measured="AUC's distance from 0.5, " + " | ".join(told),
        tolerance="95 % intervals over latents at least 0.05 apart", seeds=seeds,
    )  # fmt: skip


def test_probe_without__claim_rejected_latents_repair_a_biased_probe(claim_seeds, record_claim):
    """Worst group: better than biased and than random latents; no better than coordinates."""
    seeds = claim_seeds([2201, 2202, 2203, 2204, 2205])
    site = Chain(story().loaded, story().saes[1:2])
    W, judged = site.W_dec(0), subjects(site, 100, seeds[0] + 500)
    f_judged = site.encode(0, judged.x)

    def rejected(columns):
        gender, tense = (
            torch.tensor([abs(label_auc(c, label) - 0.5) for c in columns.T])
            for label in (judged.girl, judged.present)
        )
        return ((gender > 0.05) & (gender > tense)).nonzero()[:, 0]

    drop, drop_x = rejected(f_judged), rejected(judged.x)
    live = (f_judged > 0).any(dim=0).nonzero()[:, 0]
    found: dict[str, list[float]] = {}
    for seed in seeds:
        train, test = subjects(site, 150, seed), subjects(site, 100, seed + 1000)
        biased, balanced = biased_and_balanced(train, 500, seed)
        w, b = fit_probe(biased.x, biased.present)
        fair = fit_probe(balanced.x, balanced.present)
        f, f_train = site.encode(0, test.x), site.encode(0, biased.x)
        again = fit_probe(biased.x - f_train[:, drop] @ W[drop], biased.present)
        order = torch.randperm(len(live), generator=torch.Generator().manual_seed(seed))
        flat = test.x.clone()
        flat[:, drop_x] = judged.x[:, drop_x].mean(dim=0)
        outputs = {
            "biased": test.x @ w + b,
            "cleaned": probe_without(test.x, f, drop, W, w, b),
            "cleaned and trained again": probe_without(test.x, f, drop, W, *again),
            "random latents": probe_without(test.x, f, live[order[: len(drop)]], W, w, b),
            "coordinates": flat @ w + b,
            "oracle": test.x @ fair[0] + fair[1],
        }
        for name, out in outputs.items():
            right = (out > 0) == test.present
            found.setdefault(name, []).append(worst_group_accuracy(right, test.present, test.girl))
    table = {name: torch.tensor(values) for name, values in found.items()}
    told = [f"{n} {float(v.mean()):.2f} ({span(*bootstrap(v))})" for n, v in table.items()]
    gains = {n: bootstrap(table["cleaned"] - table[n]) for n in ("biased", "random latents")}
    against = bootstrap(table["cleaned"] - table["coordinates"])
    assert gains["biased"][0] > 0.05 and gains["random latents"][0] > 0.05
    assert against[0] < 0.1 and table["cleaned and trained again"].mean() > table["biased"].mean()
    record_claim(
        number=63, paper="Marks et al. 2024 (SHIFT); numbers found here",
        claim="removing latents that know gender repairs a biased probe of tense; coordinates "
        "chosen by the same rule do NOT do worse by 10 points",
        measured="worst group: "
        + ", ".join(told)
        + f"; cleaned minus coordinates {span(*against)}",
        tolerance="95 % intervals over 5 draws: cleaned minus biased and minus random above 0.05; "
        "cleaned minus coordinates reaches below 0.1",
        seeds=seeds,
    )  # fmt: skip


def test_with_error__claim_which_gradient_predicts(claim_seeds, record_claim):
    """A small push: the live one. A whole removal: frozen is not shown to be worse."""
    seeds, told = claim_seeds([2301]), []
    for seed in seeds:
        prompts = sample_tokens(16, 22, torch.Generator().manual_seed(seed))
        names = held_hooks(story().loaded)
        found = six_ways(story(), prompts, 1, names, active_entries, with_error)
        r = {key: torch.tensor(values) for key, values in found.items()}

        def gap(one, two, share, r=r):
            return bootstrap(r[one, share] - r[two, share])

        live, frozen, none = ("live", False), ("live", True), ("none", False)
        small = gap(live, frozen, "1 % removed")
        large = gap(live, frozen, "all removed")
        kept = gap(live, none, "all removed")
        told.append(
            f"{len(prompts)} prompts: live minus frozen, 1 %: {span(*small)}, all: {span(*large)};"
            f" live minus without error, all: {span(*kept)}"
        )
        assert float(r[live, "1 % removed"].mean()) > 0.98 and small[0] > 0.2
        assert large[0] < 0.1 and kept[0] > 0
    record_claim(
        number=64, paper="found here",
        claim="story model, latents after block 1: frozen gradients miss small effects; for whole "
        "removals they are NOT shown to be worse; leaving the error out is",
        measured=" | ".join(told),
        tolerance="paired 95 % intervals over prompts: 1 % above 0.2, all reaches below 0.1, "
        "error above 0",
        seeds=seeds,
    )  # fmt: skip
