"""Metrics against closed forms: what the best, the worst and the known answer must score."""

import math
from dataclasses import dataclass

import pytest
import torch

from utils.data.corpus import Rows
from utils.models.loaded import HookMissing
from utils.sae_metrics import (
    Reconstruction,
    compare,
    density_histogram,
    in_model,
    matched,
    mean_activation,
    mmcs,
    recovered,
    standard_error,
    together,
)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scores(x, x_hat, codes=None, mask=None, size=7):
    """Metrics of one tensor, given in batches."""
    metrics, codes = Reconstruction(), x if codes is None else codes
    for i in range(0, len(x), size):
        part = slice(i, i + size)
        metrics.update(x[part], x_hat[part], codes[part], None if mask is None else mask[part])
    return metrics.result()


# ------------------------------------------------------------------------------- reconstruction


def test_identity_explains_all_and_the_mean_nothing():
    x = randn(50, 6) * torch.tensor([1, 2, 3, 1, 5, 1.0]) + 4
    perfect, mean = scores(x, x), scores(x, x.mean(0).expand_as(x))
    assert perfect.explained_variance == 1 and perfect.fvu == 0 and perfect.mse == 0
    assert perfect.cosine == pytest.approx(1) and perfect.norm_ratio == pytest.approx(1)
    assert mean.explained_variance == pytest.approx(0, abs=1e-6)


def test_zeros_are_worse_than_the_mean_by_the_closed_form():
    x = randn(50, 6) + torch.arange(6)
    zero = scores(x, torch.zeros_like(x))
    expected = x.square().sum() / (x - x.mean(0)).square().sum()
    assert zero.fvu == pytest.approx(expected.item(), rel=1e-5) and zero.fvu > 1
    assert zero.norm_ratio == 0 and zero.cosine == 0
    assert zero.mse == pytest.approx(x.square().sum(1).mean().item(), rel=1e-5)


def test_explained_variance_is_r2_pooled_over_dimensions():
    """scikit-learn as an oracle: r2 per dimension, weighted by variance."""
    from sklearn.metrics import r2_score

    x = randn(60, 4) * torch.tensor([1, 10, 0.1, 3])
    x_hat = x + randn(60, 4, seed=1)
    expected = r2_score(x.numpy(), x_hat.numpy(), multioutput="variance_weighted")
    assert scores(x, x_hat).explained_variance == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_do_not_matter_and_a_large_mean_costs_no_digits(size):
    x = randn(64, 5).double() + 1e6
    x_hat = x + 0.5 * randn(64, 5, seed=1).double()
    expected = (x - x_hat).square().sum() / (x - x.mean(0)).square().sum()
    assert scores(x, x_hat, size=size).fvu == pytest.approx(expected.item(), rel=1e-6)


def test_l0_density_and_dead_are_counts():
    codes = torch.zeros(10, 4)
    codes[:5, 0], codes[0, 1], codes[:, 2] = 2.0, -1.0, 0.1
    found = scores(randn(10, 3), randn(10, 3, seed=1), codes)
    assert found.l0 == pytest.approx(1.6) and found.dead == 0.25 and found.n_tokens == 10
    torch.testing.assert_close(found.density, torch.tensor([0.5, 0.1, 1.0, 0.0]))


def test_masked_tokens_do_not_count():
    x, mask = randn(4, 9, 5), torch.rand(4, 9, generator=torch.Generator().manual_seed(2)) < 0.5
    x_hat = torch.where(mask[..., None], x + 0.1, 1e6)
    some, all_kept = scores(x, x_hat, mask=mask, size=2), scores(x[mask], x_hat[mask])
    assert some.n_tokens == int(mask.sum())
    assert some.fvu == pytest.approx(all_kept.fvu) and some.l0 == pytest.approx(all_kept.l0)
    with pytest.raises(ValueError, match="no token"):
        scores(x, x_hat, mask=torch.zeros_like(mask), size=2)


def test_the_histogram_leaves_out_the_dead_and_bins_by_decades():
    counts, edges = density_histogram(torch.tensor([0, 1e-9, 2e-3, 0.2, 0.3, 1.0]), -6, 6)
    assert counts.tolist() == [1, 0, 0, 1, 0, 3]
    torch.testing.assert_close(edges, torch.arange(-6, 1.0))


# ----------------------------------------------------------------------------------- similarity


def test_a_permutation_scores_one_in_every_way():
    truth, order = randn(9, 5), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    found = compare(truth, 3 * truth[order])
    assert (found.truth_to_latents, found.latents_to_truth) == (pytest.approx(1), pytest.approx(1))
    assert found.one_to_one == pytest.approx(1) and found.n_recovered == 9
    assert torch.equal(order[matched(truth, truth[order])[1]], torch.arange(9))


def test_mmcs_has_a_direction_and_a_sign():
    truth = torch.eye(6)
    half_twice = truth[:3].repeat(2, 1)
    assert mmcs(half_twice, truth) == pytest.approx(1)
    assert mmcs(truth, half_twice) == pytest.approx(0.5)
    assert mmcs(truth, -truth) == pytest.approx(0)
    assert mmcs(torch.eye(2), -torch.ones(1, 2)) == pytest.approx(-math.sqrt(0.5))
    cosine, partner = matched(truth, half_twice)
    assert cosine.sum() == pytest.approx(3) and len(partner.unique()) == 6


def test_a_matching_is_not_greedy_and_unmatched_rows_count_as_zero():
    truth = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    latents = torch.tensor([[0.96, 0.28], [0.0, 1.0]])
    cosine, partner = matched(truth, latents)
    assert partner.tolist() == [0, 1]
    torch.testing.assert_close(cosine, torch.tensor([0.96, 0.6]))
    cosine, partner = matched(truth, latents[1:])
    assert sorted(partner.tolist()) == [-1, 0] and cosine.min() == 0
    assert compare(truth, latents[1:]).one_to_one == pytest.approx(0.3)


def test_similarity_equals_the_exercises_of_section_3_1_8():
    from utils.course import find_section

    ref = find_section("3.1.8").reference()
    truth, latents = randn(8, 5), randn(13, 5, seed=1)
    assert mmcs(truth, latents) == pytest.approx(ref.directed_mmcs(truth, latents).item())
    for a, b in ((truth, latents), (latents, truth)):
        for ours, theirs in zip(matched(a, b), ref.one_to_one(a, b), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_cosines_in_pieces_are_the_same():
    from utils.sae_metrics.similarity import max_cosines

    a, b = randn(10, 4), randn(6, 4, seed=1)
    for one, other in zip(max_cosines(a, b), max_cosines(a, b, chunk=3), strict=True):
        torch.testing.assert_close(one, other)
    zero = torch.zeros(1, 4)
    assert mmcs(zero, b) == 0 and not math.isnan(mmcs(b, zero))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_similarity_is_computed_in_float32(dtype):
    """Zero rows, 500 dimensions, a matching: all of them failed in half precision."""
    truth = randn(9, 500)
    truth[4] = 0
    half = truth.to(dtype)
    found, exact = compare(half, half.flip(0)), compare(half.double(), half.double().flip(0))
    assert found.truth_to_latents == pytest.approx(exact.truth_to_latents, abs=1e-6)
    assert found.one_to_one == pytest.approx(8 / 9, abs=1e-6) and found.n_recovered == 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reconstruction_counts_and_adds_exactly_in_half_precision(dtype):
    x = randn(3000, 4).to(dtype)
    codes = torch.ones(3000, 2, dtype=dtype)
    found, exact = scores(x, x / 2, codes, size=1000), scores(x.double(), x.double() / 2, size=1000)
    assert found.density.tolist() == [1, 1] and found.l0 == 2
    assert found.explained_variance == pytest.approx(exact.explained_variance, abs=1e-3)


# ------------------------------------------------------------------------------------- in a model

RESID, MLP_IN = "blocks.1.hook_resid_post", "blocks.1.mlp.hook_in"
MLP_OUT, Z = "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"


@dataclass
class Linear:
    """A coder that scales: 1 is the identity, 0 writes zeros."""

    hook_in: str = RESID
    hook_out: str = RESID
    scale: float = 1.0
    module: object = None  # for a transcoder: what computes the output

    def encode(self, x):
        return x.flatten(2)

    def decode(self, latents, x):
        out = x if self.module is None else self.module(x)
        return out * self.scale


@pytest.fixture(scope="module")
def model():
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TransformerBridge.boot_native(
            TransformerBridgeConfig(
                d_model=12, d_head=4, n_layers=3, n_ctx=16, n_heads=3, d_mlp=20, d_vocab=29,
                act_fn="gelu", normalization_type="LN",
            )
        )  # fmt: skip


@pytest.fixture
def rows():
    gen = torch.Generator().manual_seed(3)
    ids, mask = torch.randint(29, (6, 10), generator=gen), torch.ones(6, 10, dtype=torch.bool)
    mask[0, 7:], mask[3, 4:] = False, False
    return Rows(ids, mask, torch.arange(6))


def test_recovered_is_one_for_no_cost_and_zero_for_ablation():
    assert recovered(3.0, 3.0, 8.0) == 1 and recovered(3.0, 8.0, 8.0) == 0
    assert recovered(3.0, 4.0, 8.0) == 0.8 and recovered(3.0, 13.0, 8.0) == -1
    assert recovered(0.0, 0.5, 2.0) == 0.75 and math.isnan(recovered(2.0, 2.0, 2.0))


def test_standard_error__is_the_spread_over_many_draws():
    """Shares recovered on 2,000 samples of 200 rows scatter by the standard error of each."""
    gen = torch.Generator().manual_seed(0)
    ablated = 1 + torch.rand(2000, 200, generator=gen, dtype=torch.float64)
    costs = 0.1 * ablated + 0.3 * torch.randn(2000, 200, generator=gen, dtype=torch.float64)
    shares = 1 - costs.sum(dim=1) / ablated.sum(dim=1)
    errors = [standard_error(c, a) for c, a in zip(costs, ablated, strict=True)]
    assert sum(errors) / len(errors) == pytest.approx(shares.std().item(), rel=0.05)


def test_standard_error__is_zero_for_equal_shares_and_unknown_for_one_row():
    ablated = torch.tensor([1.0, 2.0, 5.0])
    assert standard_error(0.1 * ablated, ablated) == pytest.approx(0, abs=1e-7)
    assert math.isnan(standard_error(ablated[:1], ablated[:1]))
    assert math.isnan(standard_error(torch.ones(2), torch.zeros(2)))


def test_standard_error__of_a_model_is_what_single_rows_say(model, rows):
    """Row by row, so that nothing of the batching enters."""
    whole = in_model(model, rows, Linear(scale=0.5))
    single = [
        in_model(
            model, Rows(rows.ids[i : i + 1], rows.mask[i : i + 1], rows.document[i : i + 1]), s
        )
        for i, s in ((i, Linear(scale=0.5)) for i in range(len(rows)))
    ]
    assert all(math.isnan(one.loss_recovered_se) for one in single)
    n = torch.tensor([float(one.n_predictions) for one in single])
    costs = n * torch.tensor([one.loss_sae - one.loss_clean for one in single])
    ablated = n * torch.tensor([one.loss_ablated - one.loss_clean for one in single])
    assert whole.loss_recovered_se == pytest.approx(standard_error(costs, ablated), rel=1e-3)
    kl, zeros = (
        n * torch.tensor([getattr(o, a) for o in single]) for a in ("kl_sae", "kl_ablated")
    )
    assert whole.kl_recovered_se == pytest.approx(standard_error(kl, zeros), rel=1e-3)


@pytest.mark.parametrize("hook", [RESID, MLP_OUT, Z])
@pytest.mark.parametrize("anchor", ["zero", "mean"])
def test_identity_recovers_everything(model, rows, hook, anchor):
    found = in_model(model, rows, Linear(hook, hook), anchor)
    assert found.loss_recovered == pytest.approx(1) and found.kl_recovered == pytest.approx(1)
    assert found.scores.explained_variance == 1 and found.anchor == anchor
    assert found.loss_sae == pytest.approx(found.loss_clean)
    assert found.kl_ablated > 0


def test_a_transcoder_that_reads_after_it_writes_is_an_error(model, rows):
    with pytest.raises(HookMissing, match="comes before"):
        in_model(model, rows, Linear("blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"))


def test_zeros_recover_nothing_of_the_zero_anchor(model, rows):
    found = in_model(model, rows, Linear(scale=0.0))
    assert found.loss_recovered == pytest.approx(0) and found.kl_recovered == pytest.approx(0)


def test_the_mean_recovers_nothing_of_the_mean_anchor(model, rows):
    mean = mean_activation(model, rows, RESID)

    class Mean(Linear):
        def decode(self, latents, x):
            return mean.expand_as(x)

    for anchor in ("mean", mean):
        found = in_model(model, rows, Mean(), anchor)
        assert found.loss_recovered == pytest.approx(0) and found.kl_recovered == pytest.approx(0)
        assert found.scores.explained_variance == pytest.approx(0, abs=1e-6)
    assert in_model(model, rows, Mean(), "zero").kl_recovered != pytest.approx(0)


def test_a_transcoder_that_is_the_mlp_is_perfect_and_scored_on_its_output(model, rows):
    mlp = model.blocks[1].mlp
    good = in_model(model, rows, Linear(MLP_IN, MLP_OUT, 1.0, mlp.original_component))
    assert good.loss_recovered == pytest.approx(1, abs=1e-4)
    assert good.scores.explained_variance == pytest.approx(1, abs=1e-6)
    copy = in_model(model, rows, Linear(MLP_IN, MLP_OUT))
    assert copy.scores.explained_variance < 0.5


def test_losses_are_the_models_own(model, rows):
    """The library's loss per token as an oracle, on rows with padding and without the first."""
    found = in_model(model, rows, Linear(), batch_rows=4)
    with torch.no_grad():
        logits = model(rows.ids)
    per_token = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), rows.ids[:, 1:].flatten(), reduction="none"
    ).view(6, 9)
    keep = rows.mask[:, 1:].clone()
    keep[:, 0] = False  # the prediction made at the first position
    assert found.n_predictions == int(keep.sum())
    assert found.loss_clean == pytest.approx(per_token[keep].mean().item(), rel=1e-5)
    assert found.scores.n_tokens == int(rows.mask[:, 1:].sum())


def test_padding_changes_nothing(model, rows):
    other = Rows(torch.where(rows.mask, rows.ids, 5), rows.mask, rows.document)
    one, two = (in_model(model, r, Linear(scale=0.5)).numbers() for r in (rows, other))
    assert one == pytest.approx(two)
    assert {"l0", "explained_variance", "loss_recovered", "kl_recovered", "dead"} <= set(one)
    assert "density" not in one


def test_a_misspelt_hook_is_an_error(model, rows):
    from utils.models.loaded import HookMissing

    with pytest.raises(HookMissing):
        in_model(model, rows, Linear("blocks.1.hook_resid_pots", "blocks.1.hook_resid_pots"))


def test_together__one_sae_costs_what_it_costs_alone(model, rows):
    alone, both = (
        in_model(model, rows, Linear(scale=0.5)),
        together(model, rows, [Linear(scale=0.5)]),
    )
    for name, value in both.numbers().items():
        assert value == pytest.approx(getattr(alone, name)), name


def test_together__identities_cost_nothing_and_zeros_recover_nothing(model, rows):
    hooks = ["blocks.0.hook_mlp_out", MLP_OUT, "blocks.2.hook_mlp_out"]
    none = together(model, rows, [Linear(hook, hook) for hook in hooks])
    assert none.loss_sae == pytest.approx(none.loss_clean) and none.kl_recovered == pytest.approx(1)
    zeros = together(model, rows, [Linear(hook, hook, 0.0) for hook in hooks])
    assert zeros.loss_sae == pytest.approx(zeros.loss_ablated) and zeros.kl_sae > 0
    one = together(model, rows, [Linear(hooks[1], hooks[1], 0.0)])
    assert zeros.kl_sae != pytest.approx(one.kl_sae)


def test_together__an_sae_further_up_reads_what_lies_below(model, rows):
    """The MLP itself, above a transcoder that writes zeros: the same as zeros below alone."""
    below = "blocks.0.hook_mlp_out"
    mlp = model.blocks[1].mlp.original_component
    both = together(model, rows, [Linear(below, below, 0.0), Linear(MLP_IN, MLP_OUT, 1.0, mlp)])
    alone = together(model, rows, [Linear(below, below, 0.0)])
    assert both.loss_sae == pytest.approx(alone.loss_sae, rel=1e-5)
    assert both.loss_ablated != pytest.approx(alone.loss_ablated)
