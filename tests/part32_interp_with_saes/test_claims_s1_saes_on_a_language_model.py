"""Claims of 3.2.1: the course's SAEs against controls, and what the first token does.

Rows are drawn by seeds that were fixed before the first look; the notebook shows seed 0.
"""

import functools

import pytest
import torch

from part32_interp_with_saes.s1_saes_on_a_language_model import (
    explained_variance,
    jumprelu_latents,
    kl_per_row,
    loss_per_row,
    random_rows_like,
    relative_norms,
    share_interval,
    shuffled_rows,
    sparsity,
    threshold_for_l0,
)
from utils.activations.write import capture
from utils.given.in_model import measure, sample_rows
from utils.models import attention_sae, language_model, residual_sae, transcoders

pytestmark = [pytest.mark.claim, pytest.mark.slow]

SEEDS = [101]  # one draw of rows; the interval is over rows
N_ROWS = 40
KINDS = {"residual": residual_sae, "attention": attention_sae, "transcoder": transcoders}


def span(values, digits=0):
    """`3 to 7`."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


@functools.lru_cache
def model():
    """SmolLM2, once."""
    return language_model("local")


@functools.lru_cache
def rows_of(seed):
    """Rows of the shipped text, and the mask without their first token."""
    rows = sample_rows(model(), N_ROWS, seed)
    mask = rows.mask.clone()
    mask[:, 0] = False
    return rows, mask


def answers_of(sae, x, y, mask, gen):
    """The SAE and its controls, as functions of what it reads."""
    inner, x = sae.sae, sae.flatten(x)
    l0, _, _ = sparsity(sae.encode(x), mask)
    W_random = random_rows_like(inner.W_dec, gen)
    # reads along random directions with the SAE's norms; those that it writes, where it can
    inside = W_random if W_random.shape[1] == x.shape[-1] else random_rows_like(inner.W_enc.T, gen)
    inside = (inside / inside.norm(dim=1, keepdim=True)).T * inner.W_enc.norm(dim=0)
    origin = x[mask].mean(dim=0)
    threshold = threshold_for_l0((x[mask] - origin) @ inside, float(round(l0)))
    threshold = torch.full((inside.shape[1],), threshold)
    mean, W_shuffled = y[mask].mean(dim=0), shuffled_rows(inner.W_dec, gen)

    def random(value):
        f = jumprelu_latents((sae.flatten(value) - origin) @ inside, threshold)
        return f @ W_random + inner.b_dec

    def shuffled(value):
        return sae.encode(value) @ W_shuffled + inner.b_dec

    return {
        "SAE": lambda value: sae.decode(sae.encode(value), value),
        "mean": lambda value: mean.expand(*value.shape[:2], -1),
        "random SAE": random,
        "shuffled decoder": shuffled,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_share_recovered__the_course_s_saes_beat_their_controls(kind, claim_seeds, record_claim):
    """On explained variance, loss and divergence, each interval above those of all controls."""
    found = KINDS[kind](profile="local")
    sae = found[0] if isinstance(found, list) else found
    loaded = model()
    told, seeds = [], claim_seeds(SEEDS)
    for seed in seeds:
        (rows, mask), gen = rows_of(seed), torch.Generator().manual_seed(seed)
        kept = [
            capture(loaded.model, ids, list(dict.fromkeys((sae.hook_in, sae.hook_out))))
            for ids in rows.ids.split(8)
        ]
        x, y = (torch.cat([k[hook] for k in kept]) for hook in (sae.hook_in, sae.hook_out))
        flat = y.flatten(-2) if y.ndim == 4 else y
        answers = answers_of(sae, x, flat, mask, gen)
        variance = {n: explained_variance(flat, a(x), mask) for n, a in answers.items()}
        costs = measured(loaded.model, rows.ids, mask, sae, x, answers)
        against = costs["zeros"]
        share = {}
        for name in answers:
            cost = costs[name]
            loss = cost.loss - costs["clean"].loss, against.loss - costs["clean"].loss
            share[name] = [
                share_interval(*loss, 1000, gen),
                share_interval(cost.kl, against.kl, 1000, gen),
            ]
        told.append(
            "; ".join(
                f"{name}: variance {variance[name]:.2f}, loss {low:.3f} to {high:.3f},"
                f" divergence {k_low:.3f} to {k_high:.3f}"
                for name, [(low, high), (k_low, k_high)] in share.items()
            )
        )
        for name in answers:
            if name == "SAE":
                continue
            assert variance["SAE"] > variance[name] + 0.2
            for ours, theirs in zip(share["SAE"], share[name], strict=True):
                assert ours[0] > theirs[1]
    record_claim(
        number=20, paper="found here",
        claim=f"{kind} SAE against controls of equal L0 and norms, {N_ROWS} rows, 95 % over rows",
        measured=" | ".join(told),
        tolerance="variance above each control's by 0.2; intervals of recovered shares apart",
        seeds=seeds,
    )  # fmt: skip


def measured(bridge, ids, mask, sae, x, answers):
    """Costs of all answers at the output hook, each computed from the clean input."""
    parts, size = [], 8
    for i in range(0, len(ids), size):
        here = x[i : i + size]
        put = {
            name: lambda value, a=answer, here=here: a(here).reshape(value.shape)
            for name, answer in answers.items()
        }
        put["zeros"] = torch.zeros_like
        parts.append(
            measure(
                bridge, ids[i : i + size], mask[i : i + size], sae.hook_out, put,
                loss_per_row, kl_per_row, size,
            )
        )  # fmt: skip
    return {
        name: type(parts[0][name])(
            *(torch.cat([getattr(p[name], f) for p in parts]) for f in vars(parts[0][name]))
        )
        for name in parts[0]
    }


def test_relative_norms__the_first_token(claim_seeds, record_claim):
    """At block 11 the first token is over 100 times as long, and two vectors explain nearly all."""
    loaded, told, seeds = model(), [], claim_seeds(SEEDS)
    names = {layer: loaded.hook("resid_post", layer) for layer in (10, 11, 15, 25)}
    for seed in seeds:
        rows, mask = rows_of(seed)
        kept = [capture(loaded.model, ids, list(names.values())) for ids in rows.ids.split(8)]
        for layer, name in names.items():
            x = torch.cat([k[name] for k in kept])
            first = float(relative_norms(x, rows.mask)[0])
            answer = x[mask].mean(dim=0).expand_as(x).clone()
            answer[:, 0] = x[:, 0].mean(dim=0)
            counted = explained_variance(x, answer, rows.mask)
            left_out = explained_variance(x, answer, mask)
            told.append(f"layer {layer}: {first:.1f}, {counted:.3f}, {left_out:.3f}")
            assert abs(left_out) < 1e-6
            least = {10: 1, 11: 100, 15: 100, 25: 20}[layer]
            assert first > least
            assert (counted > 0.9) == (layer > 10) and (first < 3) == (layer == 10)
    record_claim(
        number=21, paper="after Sun et al. 2024; numbers found here",
        claim="norm of the first token over the median of the others; variance that two vectors "
        "(first, others) explain with the first token counted, and without",
        measured="; ".join(told),
        tolerance="layer 10: 1 to 3, not above 0.9; 11 and 15: above 100, 25: above 20, all above "
        "0.9; without the first token 0",
        seeds=seeds,
    )  # fmt: skip
