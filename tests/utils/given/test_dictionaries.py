"""What 3.1.8 and 3.1.9 are given: coders, baselines, stacks of members that do not meet."""

from dataclasses import replace

import pytest
import torch

from part31_superposition.s8_dictionary_learning import ksvd
from part31_superposition.s9_many_dictionaries import spike_slab_kl, stacks
from utils.given import dictionaries as given
from utils.given import dictionary_runs as runs
from utils.testing import generator, unchanged
from utils.toy import TrainConfig, fit

D_IN = 5
SHORT = TrainConfig(40, 16, 1e-2, "cosine")
MEMBERS = [(7, 0.1, False), (4, 0.3, True), (7, 0.0, True)]


def rows(n=200):
    """Sparse rows, not centred."""
    g = generator(3)
    D = given.random_dictionary(8, D_IN, g)
    return torch.where(torch.rand(n, 8, generator=g) < 0.2, 1.0, 0.0) @ D + 0.1


def test_sae_codes__tied_and_untied_by_hand():
    """Tied uses the decoder transposed, untied its own encoder; the mask switches a latent off."""
    params = {"W_enc": torch.tensor([[2.0, 1.0]]), "W_dec": torch.tensor([[1.0], [-1.0]])}
    params |= {"b_enc": torch.tensor([0.5, 0.0]), "b_dec": torch.tensor([1.0])}
    x = torch.tensor([[4.0]])
    untied, tied = (given.sae_hyper(0.1, 2, kind) for kind in (False, True))
    assert given.sae_codes(params, x, untied).tolist() == [[6.5, 3.0]]
    assert given.sae_codes(params, x, tied).tolist() == [[3.5, 0.0]]
    masked = untied | {"mask": torch.tensor([1.0, 0.0])}
    assert given.sae_codes(params, x, masked).tolist() == [[6.5, 0.0]]


def test_sae_loss__is_the_lasso_objective_of_its_codes():
    """One formula for the SAE and for FISTA."""
    x, params = rows(), given.init_sae(7, D_IN, generator(0))
    params["b_dec"] += 0.2
    hyper = given.sae_hyper(0.3, 7, False)
    codes = given.sae_codes(params, x, hyper)
    objective = given.lasso_objective(x - params["b_dec"], codes, params["W_dec"], 0.3)
    torch.testing.assert_close(given.sae_loss(params, x, hyper), objective.mean())


def test_train__every_member_is_trained_as_if_alone():
    """In float64 a member equals `fit` on it alone; its padding stays zero."""
    x = rows().double()
    params, hyper = runs_stack()
    start = {name: value.clone() for name, value in params.items()}
    run = stacks.train(given.sae_loss, params, hyper, given.rows_of(x, 16), SHORT, generator(5))
    assert all(torch.equal(params[name], start[name]) for name in start)
    for i, (n, _, _) in enumerate(MEMBERS):
        alone = runs.member_of(start, i)
        settings = runs.member_of(hyper, i)
        result = fit(
            alone,
            lambda p, batch, settings=settings: given.sae_loss(p, batch, settings),
            given.rows_of(x, 16),
            SHORT,
            generator(5),
            after_step=given.unit_decoder,
        ).params
        own = runs.member_of(run.params, i)
        assert own["W_dec"][n:].abs().sum() == 0
        for name in own:
            torch.testing.assert_close(own[name], result[name], atol=1e-10, rtol=0)


def runs_stack():
    """The stack of MEMBERS in float64."""
    made = stacks.init(MEMBERS, D_IN, generator(1))
    return tuple({name: value.double() for name, value in each.items()} for each in made)


def test_init__members_have_their_own_settings():
    """Coefficient, tied or not, and the mask are each member's own."""
    _, hyper = runs_stack()
    assert hyper["tied"].tolist() == [0, 1, 1]
    torch.testing.assert_close(hyper["l1"].float(), torch.tensor([0.1, 0.3, 0.0]))
    assert hyper["mask"].sum(dim=1).tolist() == [7, 4, 7]


def test_rows_of__draws_from_its_generator():
    """Equal generators give equal batches, and one generator two different ones."""
    x, sample, gen = rows(), given.rows_of(rows(), 16), generator(1)
    first, second = sample(gen), sample(gen)
    assert torch.equal(first, sample(generator(1))) and not torch.equal(first, second)
    assert first.shape == (16, x.shape[1])


def test_baselines__have_unit_rows_and_leave_the_data_alone():
    """PCA and its opposites, NMF, starts for K-SVD: rows of length 1."""
    x = rows()
    with unchanged(x):
        found = [given.pca_dictionary(x), given.nmf_dictionary(x, 6, 0), given.start_rows(x, 6, 0)]
    assert [len(D) for D in found] == [2 * D_IN, 6, 6]
    for D in found:
        torch.testing.assert_close(D.norm(dim=1), torch.ones(len(D)), atol=1e-4, rtol=0)


def test_support_f1__by_hand():
    """One hit, one miss, one false alarm: F1 is one half. Unmatched features do not count."""
    codes = torch.tensor([[0.9, 0.0], [0.0, 0.3], [0.1, 0.0]])
    f = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    matching = torch.tensor([0.95, 0.5]), torch.tensor([0, 1])
    assert given.support_f1(codes, f, matching) == pytest.approx(2 / 3)
    both = torch.tensor([0.95, 0.95]), torch.tensor([0, 1])
    assert given.support_f1(codes, f, both) == pytest.approx(4 / 6)


def test_train_square__returns_the_best_start():
    """Unit rows, one dictionary and one cost for every p; more starts do not cost more."""
    D, cost = given.train_square(torch.tensor([1.0, 0.5]), 4, generator(0), n_steps=60)
    assert D.shape == (2, 3, 2) and cost.shape == (2,)
    torch.testing.assert_close(D.norm(dim=-1), torch.ones(2, 3))


def test_entries__compare_two_runs():
    """Similarity is that of the first run's rows with the second run."""
    one = runs.Entry("one", torch.eye(3), torch.eye(3)[:2])
    assert one.similarity().tolist() == [1, 1, 0] and one.n_stable() == 2


def test_every_run_works_in_small(monkeypatch):
    """The roads, the league's entries and the negative results, for a few steps."""
    monkeypatch.setattr(runs, "TRAINING", replace(given.TRAINING, n_steps=3, record_every=1))
    x = rows()
    for road in runs.ROADS:
        found = runs.take_road(stacks, spike_slab_kl, x, road, 0)
        assert len(found) == 4 and all(D.shape == (60, D_IN) for D in found)
    assert len(runs.enter_saes(stacks, x, 0)) == 8
    assert len(runs.enter_ksvd(lambda x, D, k, n_iter: ksvd(x[:20], D, 1, 1), x, 0)) == 8
    assert len(runs.train_negative(stacks, x, 0)) == 6
