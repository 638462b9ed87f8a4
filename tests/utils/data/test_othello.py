"""Othello's rules against known counts, a plain implementation and known positions."""

import numpy as np
import pytest
import torch

from utils.data.othello import BOS, EMPTY, FIRST, MINE, PASS, THEIRS, Othello, random_games, replay

WAYS = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]


def turned(board, square, mine, theirs):
    """The plain rule on a dict of squares: discs turned by a move, none if it is illegal."""
    found = []
    for way in WAYS:
        line, at = [], (square[0] + way[0], square[1] + way[1])
        while board.get(at) == theirs:
            line.append(at)
            at = (at[0] + way[0], at[1] + way[1])
        if board.get(at) == mine:
            found += line
    return found if board[square] == EMPTY else []


def tokens(game, text):
    named = {game.name(token): token for token in range(game.n_tokens)}
    return torch.tensor([[named[word] for word in text.split()]])


@pytest.mark.parametrize(
    ("depth", "leaves"), list(enumerate([4, 12, 56, 244, 1396, 8200, 55092], 1))
)
def test_legal__as_many_games_as_known(depth, leaves):
    """Perft: the published numbers of move sequences from the start on 8 × 8 squares."""
    game = Othello(8)
    mine, theirs = game.start(1)
    for _ in range(depth):
        rows, moves = np.nonzero(game.may_follow(mine, theirs))
        mine, theirs = game.after(mine[rows], theirs[rows], moves)
    assert len(mine) == leaves


@pytest.mark.parametrize("side", [4, 6, 8])
def test_games__follow_the_plain_rule(side):
    game = Othello(side)
    games = random_games(game, 12, side * side, torch.Generator().manual_seed(side))
    for row in range(12):
        low = side // 2 - 1
        board = {(r, c): EMPTY for r in range(side) for c in range(side)}
        board |= {(low, low): 2, (low + 1, low + 1): 2, (low, low + 1): 1, (low + 1, low): 1}
        mine, theirs = 1, 2
        for position in range(side * side):
            token = int(games.tokens[row, position])
            if token >= FIRST:
                square = game.playable[token - FIRST]
                for at in [*turned(board, square, mine, theirs), square]:
                    board[at] = mine
            if token != BOS:
                mine, theirs = theirs, mine
            if not games.alive[row, position]:
                break
            seen = {mine: MINE, theirs: THEIRS, EMPTY: EMPTY}
            expected = [[seen[board[r, c]] for c in range(side)] for r in range(side)]
            assert games.board[row, position].tolist() == expected
            legal = {
                FIRST + i for i, s in enumerate(game.playable) if turned(board, s, mine, theirs)
            }
            other = any(turned(board, s, theirs, mine) for s in game.playable)
            assert set(games.legal[row, position].nonzero()[:, 0].tolist()) == (
                legal or ({PASS} if other else {BOS})
            )


def test_names__are_those_of_players():
    game = Othello(8)
    assert [game.name(t) for t in (BOS, PASS, FIRST, game.n_tokens - 1)] == [
        *("start", "pass", "a1", "h8"),
    ]
    opening = replay(game, tokens(game, "start")).legal[0, 0].nonzero()[:, 0].tolist()
    assert sorted(game.name(t) for t in opening) == ["c4", "d3", "e6", "f5"]


def test_the_shortest_game__ends_after_nine_moves_with_one_colour():
    """Nine moves after which the second player has no disc left."""
    game = Othello(8)
    text = "start e6 f4 e3 f6 g5 d6 e7 f5 c5"
    games = replay(game, tokens(game, text))
    assert games.legal[0, -1].nonzero()[:, 0].tolist() == [BOS]
    assert MINE not in games.board[0, -1] and (games.board[0, -1] == THEIRS).sum() == 13


def test_a_player_who_cannot_move_passes():
    games = random_games(Othello(6), 300, 38, torch.Generator().manual_seed(0))
    rows, positions = (games.tokens == PASS).nonzero(as_tuple=True)
    assert len(rows) > 20
    before, after = games.board[rows, positions - 1], games.board[rows, positions]
    swapped = torch.tensor([EMPTY, THEIRS, MINE], dtype=torch.int8)
    assert torch.equal(swapped[before.long()], after)
    assert games.legal[rows, positions][:, FIRST:].any(dim=1).all()


def test_replay__refuses_an_illegal_move():
    game = Othello(6)
    with pytest.raises(ValueError, match="game 0, position 1: a1 is not legal"):
        replay(game, tokens(game, "start a1"))


def test_random_games__pick_evenly_and_only_what_is_legal():
    game = Othello(6)
    games = random_games(game, 4000, 3, torch.Generator().manual_seed(3))
    counts = torch.bincount(games.tokens[:, 1], minlength=game.n_tokens).double()
    assert (counts > 0).sum() == 4
    assert (counts[counts > 0] - 1000).abs().max() < 5 * np.sqrt(4000 * 0.25 * 0.75)
    again = replay(game, games.tokens)
    assert torch.equal(again.board, games.board) and torch.equal(again.legal, games.legal)


def test_a_board_of_odd_size_is_refused():
    with pytest.raises(ValueError, match="4, 6 or 8"):
        Othello(7)
