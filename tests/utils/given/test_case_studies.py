"""What 3.2.9 is given: rows, labels, cuts, boards and discs that turn."""

import torch

from part32_interp_with_saes.s9_four_case_studies import (
    board_scores,
    legal_moves,
    precise_rules,
    square_states,
)
from utils.given import case_studies as cases
from utils.given import othello_boards as boards
from utils.models import attention_only_model, othello_model
from utils.saes.coder import encode, reconstruct


def rows(n=300, d=6, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_a_short_run_explains_more_than_random_directions_with_the_same_l0():
    x = rows()
    coder = cases.short_run(x, 24, 3, 60, seed=0, batch=64)
    fresh = cases.random_run(coder, x, seed=1)
    assert cases.explained(coder, x) > cases.explained(fresh, x)
    for one in (coder, fresh):
        assert int((encode(one, x) > 0).sum(dim=1).max()) == 3


def test_neurons_are_active_on_their_own_strongest_share():
    on = cases.strongest_share(rows(), 0.1)
    assert on.sum(dim=0).tolist() == [30] * 6


def test_labels_have_no_rest_and_no_rare_ones():
    told = cases.stories(40, 96, seed=0)
    has, roles, names = cases.story_labels(told)
    assert has.shape == (40, 95, len(roles) + len(names))
    assert "word" not in roles and float(has.float().mean(dim=(0, 1)).min()) >= 0.01


def test_without_latents_the_rest_and_the_first_position_stay():
    x = rows(40).reshape(4, 10, 6)
    coder = cases.short_run(x.flatten(0, 1), 12, 2, 20, seed=0, batch=32)
    none, every = (cases.without(coder, x, torch.arange(n)) for n in (0, 12))
    assert torch.allclose(none, x) and torch.equal(every[:, 0], x[:, 0])
    bias = coder.params["b_dec"] / coder.scale_out
    rest = x - reconstruct(coder, x) + bias
    assert torch.allclose(every[:, 1:], rest[:, 1:], atol=1e-5)
    assert not cases.without(coder, x, None)[:, 1:].any()


def test_what_is_put_in_changes_the_loss_and_the_clean_value_does_not():
    loaded = attention_only_model("tiny")
    ids = cases.repeating_text(loaded, 6, seed=0)
    hook = loaded.hook("z", 1)
    z = cases.site_rows(loaded, ids, hook)
    clean = cases.loss_with(loaded, ids)
    assert torch.allclose(cases.loss_with(loaded, ids, [(hook, z)], batch_rows=4), clean, atol=1e-4)
    assert float((cases.loss_with(loaded, ids, [(hook, 0 * z)]) - clean).mean()) > 0.5


def test_a_scrambled_model_has_the_same_numbers_and_the_original_stays():
    loaded = othello_model("tiny")
    other = cases.scrambled(loaded, seed=0)
    for (name, one), two in zip(
        loaded.model.named_parameters(), other.model.parameters(), strict=True
    ):
        assert torch.equal(one.flatten().sort().values, two.flatten().sort().values), name
    hook, ids = loaded.hook("resid_post", 2), boards.games(2, 0).tokens
    assert not torch.allclose(*(cases.site_rows(m, ids, hook) for m in (loaded, other)))


def test_a_probe_of_the_board_itself_is_right():
    states = square_states(torch.randint(3, (200, 6, 6), generator=torch.Generator()))
    weights = boards.probe(states.float(), states)
    assert torch.equal(boards.probed(weights, states.float()), states)


def test_rules_of_perfect_latents_draw_every_board():
    states = square_states(torch.randint(3, (80, 6, 6), generator=torch.Generator()))
    f = states.float()
    scores, _ = boards.drawn(f, states, f, states, precise_rules, board_scores)
    assert torch.equal(scores, torch.ones(80))


def test_scores_of_one_game_become_one():
    scores, game = torch.tensor([1.0, 0.0, 4.0]), torch.tensor([0, 0, 2])
    assert boards.per_game(scores, game).tolist() == [0.5, 4.0]


def test_a_flip_turns_one_disc_and_changes_the_moves():
    played = boards.games(20, 0)
    flips = boards.flips(played, legal_moves, 30, seed=0)
    assert len(flips.row) == 30 and (flips.legal_old != flips.legal_new).any(dim=1).all()
    board = played.board[flips.row, flips.pos].long()
    k = torch.arange(30)
    assert torch.equal(board.flatten(1)[k, flips.square], flips.was)
    assert torch.equal(played.legal[flips.row, flips.pos][:, 2:], flips.legal_old[:, 2:])
    new = board.flatten(1).clone()
    new[k, flips.square] = 3 - flips.was
    assert torch.equal(boards.to_tokens(legal_moves(new.view_as(board))), flips.legal_new)


def test_the_owners_difference_and_random_latents_have_their_sizes():
    states = square_states(torch.randint(3, (80, 6, 6), generator=torch.Generator()))
    delta = boards.owner_difference(states.float(), states)
    assert torch.allclose(delta[:, 36:72].diagonal(), torch.ones(36))
    assert torch.allclose(delta[:, 72:].diagonal(), -torch.ones(36))
    W_dec = torch.eye(9)
    drawn = boards.random_latents(5, W_dec, 4, torch.Generator().manual_seed(0))
    assert (drawn != 0).sum(dim=1).tolist() == [4] * 5


def test_logits_at_a_position_are_the_models_and_a_push_moves_them():
    loaded, ids = othello_model("tiny"), boards.games(3, 0).tokens
    pos, k = torch.tensor([4, 9, 14]), torch.arange(3)
    hook = loaded.hook("resid_post", 2)
    found = boards.logits_at(loaded, ids, pos, hook, batch_rows=2)
    assert torch.allclose(found, loaded.model(ids)[k, pos], atol=1e-4)
    x = cases.site_rows(loaded, ids, hook)[k, pos]
    assert torch.allclose(boards.logits_at(loaded, ids, pos, hook, x), found, atol=1e-4)
    assert not torch.allclose(boards.logits_at(loaded, ids, pos, hook, 0 * x), found, atol=1e-1)
