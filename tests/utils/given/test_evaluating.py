"""What 3.2.10's demos are given: stories with their truth, worlds of features, grids, tasks."""

import pytest
import torch

from part32_interp_with_saes.s3_finding_latents import bootstrap_interval
from part32_interp_with_saes.s5_circuits_between_latents import label_auc, probe_effects
from part32_interp_with_saes.s10_evaluating_saes import (
    absorption_contrast,
    best_detectors,
    decoder_overlap,
    difference_latents,
    feature_coefficients,
    flip_labels,
    identity_sae,
    kendall_tau,
    mates_and_strangers,
    scramble_weights,
)
from utils.given import evaluating, families, scores_of_grids, scores_with_tasks, worlds
from utils.saes.config import SAEConfig

LEARNED = {
    "choose": difference_latents, "auc": label_auc, "contrast": absorption_contrast,
    "overlap": decoder_overlap, "detectors": best_detectors,
}  # fmt: skip
CFG = SAEConfig(96, 32, "topk", k=4)


@pytest.fixture(scope="module")
def data():
    """Tokens of some stories."""
    return evaluating.story_tokens(24, 0)


def test_tokens_have_answers_labels_and_sentences(data):
    n = len(data.x)
    assert n == 24 * 95 and data.x.shape[1] == 96
    assert all(answer.shape == (n,) and answer.any() for answer in data.tasks.values())
    assert data.truth.shape == (n, len(data.names)) and data.said.holds.shape[1] == n
    assert not any(p.kind.startswith("label") for p in data.said.predicates)
    assert data.pos.min() == 1 and int(data.fit.sum()) == n // 2


def test_a_label_explains_itself_and_noise_does_not(data):
    quality = evaluating.detector_quality(data.truth, data.truth, best_detectors)
    assert quality == pytest.approx(1.0)
    word = data.said.holds[:1].T
    assert evaluating.explained_share(word, data, least=5)[0] == pytest.approx(1.0)
    noise = torch.rand(len(data.x), 4, generator=torch.Generator().manual_seed(0)) < 0.3
    assert float(evaluating.explained_share(noise, data).max()) < 0.6


def test_as_often_active_counts_columns():
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    active = torch.zeros(50, 3, dtype=torch.bool)
    active[:7, 0] = active[:20, 1] = True
    assert evaluating.as_often_active(z, active).sum(dim=0).tolist() == [7, 20, 0]


def test_splits_are_as_their_regime_says(data):
    task = "the tense is present"
    y = data.tasks[task]
    for regime in evaluating.REGIMES:
        split = evaluating.split_of(data, task, regime, 0, flip_labels, n=128)
        assert not set(split.train.tolist()) & set(split.valid.tolist())
        assert not data.fit[split.test].any() and data.fit[split.train].all()
        flipped = float((split.y_train != y[split.train]).double().mean())
        assert flipped == 0 if regime != "label noise" else 0.1 < flipped < 0.4
        share = float(torch.cat([split.y_train, split.y_valid]).double().mean())
        assert share == pytest.approx(1 / 16 if regime == "imbalance" else 0.5, abs=0.2)
        if regime == "shift":
            assert int(data.pos[split.train].max()) <= 20 and int(data.pos[split.test].min()) >= 48


def test_a_frozen_decoder_stays_and_explains_something(data):
    coder = evaluating.frozen_sae(data.x, CFG, 0, steps=60)
    again = evaluating.frozen_sae(data.x, CFG, 0, steps=5)
    assert torch.equal(coder.params["W_dec"], again.params["W_dec"])
    assert families.explained(coder, data.x) > families.explained(again, data.x)
    assert (evaluating.codes(coder, data.x) > 0).sum(dim=1).max() <= 4


def test_an_identity_recovers_all_of_the_loss(data):
    E, D = identity_sae(torch.eye(96))
    made = evaluating.relu_made(E, D, torch.zeros(96))
    assert made.explains(data.x) == pytest.approx(1.0) and made.l0(data.x) <= 96
    assert evaluating.loss_recovered(made, 2, 0) == pytest.approx(1.0, abs=1e-3)
    assert int((evaluating.only_largest(data.x) > 0).sum(dim=1).max()) == 1


def test_a_scrambled_model_is_another_one(data):
    gen = torch.Generator().manual_seed(0)
    blank = evaluating.story_model(lambda weights: scramble_weights(weights, gen))
    other = evaluating.story_tokens(2, 0, blank)
    assert (other.x - evaluating.story_tokens(2, 0).x).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["independent", "correlated", "exclusive", "hierarchical"])
def test_worlds_have_three_features_in_a_row(kind):
    data = worlds.world(kind, 20_000, 0)
    on = data.z > 0
    assert data.l0 == pytest.approx(3.0, abs=0.1)
    torch.testing.assert_close(data.x @ data.W.T, data.z, atol=1e-4, rtol=1e-4)
    groups = on.view(-1, worlds.N_GROUPS, worlds.SIZE)
    if kind == "exclusive":
        assert int(groups.sum(dim=2).max()) == 1
    if kind == "hierarchical":
        assert not (groups[..., 1:].any(dim=2) & ~groups[..., 0]).any()
    together = float(torch.corrcoef(on[:, :2].T.double())[0, 1])
    assert (together > 0.2) == (kind in ("correlated", "hierarchical"))


def test_a_small_grid_has_all_its_scores():
    table = scores_of_grids.world_grid(0, LEARNED, quick=True)
    assert len(table.names) == 12 and all(len(v) == 12 for v in table.proxies.values())
    assert float(table.truth.min()) > 0 and float(table.truth.max()) <= 1
    rows = table.joined("variance explained")
    low, high = bootstrap_interval(
        rows, lambda r: kendall_tau(r[:, 0], r[:, 1]), 50, 0.95, torch.Generator().manual_seed(0)
    )
    assert -1 <= low <= high <= 1


def test_curves_find_the_features_of_perfect_rows():
    data = worlds.world("independent", 2000, 0)
    coder = worlds.train_together(data.x, [SAEConfig(20, 20, "batchtopk", k=3)], [0], 20)[0]
    coder.params["W_dec"][:] = data.W
    found = worlds.curves([coder], data, decoder_overlap, feature_coefficients, mates_and_strangers)
    assert found["cosine"][0] == pytest.approx(1.0, abs=1e-4)
    assert found["mates"][0] < 1e-6 and found["strangers"][0] < 1e-6
    assert worlds.in_order(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist() == [1, 0]


def test_story_grid_and_tasks_run(data):
    table = scores_of_grids.story_grid(data, data, 0, LEARNED, quick=True)
    assert len(table.names) == 4 and "explanations" in table.proxies
    coder = evaluating.frozen_sae(data.x, CFG, 0, steps=20)
    base, oracle, cut = scores_with_tasks.spurious(data, data, coder, (1, 3), probe_effects)
    assert 0 < base <= 1 and 0 < oracle <= 1 and cut.shape == (2,)
    before, after = scores_with_tasks.perturbed(data, coder, 2, probe_effects)
    assert before.shape == (6,) and after.shape == (6, 6)


def test_the_librarys_evaluation_agrees_on_the_same_tokens():
    theirs, ours, all_tokens, (x, x_hat) = scores_with_tasks.both_evaluations(
        families.story_saes()[384], 4, 0
    )
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=2e-3), name
    assert x.shape == x_hat.shape and set(all_tokens) == set(theirs)
    axes = torch.eye(6)
    assert scores_with_tasks.both_matchings(axes, -axes[:3]) == pytest.approx((1.0, 0.0), abs=1e-6)


@pytest.mark.parametrize("truth", ["world", "tree"])
def test_made_data__is_no_head_start_for_an_sae_of_the_same_seed(truth):
    """an SAE draws its weights from its seed: the truth must not come from the same numbers"""
    from utils.given import families
    from utils.sae_metrics.similarity import matched
    from utils.saes.coder import init_coder
    from utils.saes.config import SAEConfig

    def start(seed, W):
        coder = init_coder(SAEConfig(len(W), len(W), k=1), torch.Generator().manual_seed(seed))
        drawn = coder.params["W_dec"].detach()
        return float(torch.cosine_similarity(drawn, W, dim=1).abs().mean())

    same, other = [], []
    for seed in range(6):
        W = families.tree(8, seed)[2] if truth == "tree" else worlds.world("independent", 8, seed).W
        same.append(start(seed, W))
        other += [start(seed + 100 * i, W) for i in range(1, 8)]
    assert abs(sum(same) / len(same) - sum(other) / len(other)) < 0.05
    assert matched(W, W)[0].min() > 0.99


def test_worlds__other_draws_are_other_rows_of_the_same_directions():
    one, two = (worlds.world("hierarchical", 400, 3, draw=i) for i in range(2))
    assert torch.equal(one.W, two.W)
    assert not torch.equal(one.z > 0, two.z > 0)
    longer = worlds.world("hierarchical", 800, 3)
    assert not torch.equal(longer.z[:400] > 0, two.z > 0)


def test_of_coder__is_the_coder_also_where_it_rescales():
    from dataclasses import replace

    from utils.given.families import explained
    from utils.given.scores_with_tasks import without
    from utils.saes.coder import encode, init_coder, reconstruct
    from utils.saes.config import SAEConfig

    gen = torch.Generator().manual_seed(0)
    x = 5 * torch.randn(300, 12, generator=gen)
    coder = replace(init_coder(SAEConfig(12, 24, k=4), gen), scale_in=0.2, scale_out=0.25)
    made = evaluating.of_coder(coder)
    torch.testing.assert_close(made.decode(made.encode(x), x), reconstruct(coder, x))
    assert made.explains(x) == pytest.approx(explained(coder, x), abs=1e-5)
    bias = coder.params["b_dec"] / coder.scale_out
    left = without(x, coder, torch.arange(24))
    torch.testing.assert_close(x - left + bias, reconstruct(coder, x))
    assert encode(coder, x).shape == (300, 24)
