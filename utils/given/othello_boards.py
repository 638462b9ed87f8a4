"""Case 4: games as rows, a linear probe for the board, and discs that change their owner."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.data.othello import MINE, THEIRS, Games, Othello, random_games

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

SIDE, N_CTX = 6, 38
GAME = Othello(SIDE)


def games(n: int, seed: int) -> Games:
    """Random games on 6 × 6 squares."""
    return random_games(GAME, n, N_CTX, torch.Generator().manual_seed(seed))


def in_play(played: Games) -> Bool[Tensor, "row pos"]:
    """Positions that count: a move has been made and the game is not over."""
    keep = played.alive.clone()
    keep[:, 0] = False
    keep &= ~played.legal[..., 0]  # BOS may follow: nobody can move
    return keep


def probe(
    x: Float[Tensor, "token d"], has: Bool[Tensor, "token square_state"]
) -> Float[Tensor, "d_in square_state"]:
    """Ridge regression of every state on the activations and a 1, in float64."""
    one = torch.cat([x, x.new_ones(len(x), 1)], dim=1).double()
    gram = one.T @ one + 1e-3 * len(x) * torch.eye(one.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, one.T @ has.double()).float()


def probed(
    weights: Float[Tensor, "d_in square_state"], x: Float[Tensor, "token d"]
) -> Bool[Tensor, "token square_state"]:
    """The likeliest of the three states of each square."""
    scores = (x @ weights[:-1] + weights[-1]).unflatten(1, (3, -1))
    best = scores.argmax(dim=1, keepdim=True)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, best, True).flatten(1)


def per_game(scores: Float[Tensor, " n"], game: Int[Tensor, " n"]) -> Float[Tensor, " item"]:
    """The mean over the positions of each game: positions of one game are alike."""
    sums = torch.zeros(int(game.max()) + 1).index_add(0, game, scores.float())
    times = torch.bincount(game)
    return sums[times > 0] / times[times > 0]


def drawn(
    choose: Float[Tensor, "token latent"],
    choose_states: Bool[Tensor, "token square_state"],
    score: Float[Tensor, "n latent"],
    states: Bool[Tensor, "n square_state"],
    precise_rules: Callable[..., Tensor],
    board_scores: Callable[..., Tensor],
) -> tuple[Float[Tensor, " n"], float]:
    """(score of every board, share of the maximum above which a latent counts as active).

    Rules and the share are chosen on the first games; the share is one for all latents.
    """
    top, found = choose.max(dim=0).values, list[tuple[float, float, Tensor]]()
    for share in (i / 10 for i in range(0, 10, 2)):
        on = choose > share * top
        rules = precise_rules(on, choose_states, 0.95, 10)
        found.append((float(board_scores(on, rules, choose_states).mean()), share, rules))
    _, share, rules = max(found, key=lambda entry: entry[0])
    return board_scores(score > share * top, rules, states), share


def owner_difference(
    f: Float[Tensor, "token latent"], states: Bool[Tensor, "token square_state"]
) -> Float[Tensor, "square_state latent"]:
    """For each square, mean activations where it is mine less those where it is theirs."""
    n = states.shape[1] // 3
    mine, theirs = states[:, n : 2 * n].float(), states[:, 2 * n :].float()
    means = [some.T @ f / some.sum(dim=0).clamp(min=1)[:, None] for some in (mine, theirs)]
    return means[0] - means[1]


def random_latents(
    n: int, W_dec: Float[Tensor, "latent d_in"], m: int, gen: torch.Generator
) -> Float[Tensor, "n d_in"]:
    """What m random latents with random strengths write, another choice for each row."""
    chosen = torch.rand(n, len(W_dec), generator=gen).topk(m, dim=1).indices
    strength = torch.randn(n, len(W_dec), generator=gen)
    return torch.zeros_like(strength).scatter(1, chosen, strength.gather(1, chosen)) @ W_dec


@dataclass(frozen=True)
class Flips:
    """Positions in each of which one disc changes its owner, and with it the legal moves."""

    row: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    square: Int[Tensor, " n"]  # row · side + column
    was: Int[Tensor, " n"]  # MINE or THEIRS
    legal_old: Bool[Tensor, "n token"]
    legal_new: Bool[Tensor, "n token"]


def flips(played: Games, legal_moves: Callable[[Tensor], Tensor], n: int, seed: int) -> Flips:
    """At most one random disc for each of random positions 6 to 28 where both boards have moves."""
    gen = torch.Generator().manual_seed(seed)
    keep = in_play(played)
    keep[:, :6], keep[:, 29:] = False, False
    places = keep.nonzero()
    places = places[torch.randperm(len(places), generator=gen)][: 6 * n]
    board = played.board[places[:, 0], places[:, 1]].long()
    discs = board.flatten(1) > 0
    square = torch.where(discs, torch.rand(discs.shape, generator=gen), -1.0).argmax(dim=1)
    k = torch.arange(len(board))
    was, new = board.flatten(1)[k, square], board.flatten(1).clone()
    new[k, square] = MINE + THEIRS - was
    old_moves, new_moves = (to_tokens(legal_moves(b)) for b in (board, new.view_as(board)))
    fits = (old_moves != new_moves).any(dim=1) & old_moves.any(dim=1) & new_moves.any(dim=1)
    chosen = fits.nonzero()[:n, 0]
    row, pos = places[chosen].T
    return Flips(row, pos, square[chosen], was[chosen], old_moves[chosen], new_moves[chosen])


def to_tokens(moves: Bool[Tensor, "n side side"]) -> Bool[Tensor, "n token"]:
    """Legal squares as the model's tokens; BOS and PASS are off."""
    from utils.data.othello import FIRST

    where = torch.tensor([r * SIDE + c for r, c in GAME.playable])
    squares = moves.flatten(1)[:, where]
    return torch.cat([squares.new_zeros(len(squares), FIRST), squares], dim=1)


@torch.no_grad()
def logits_at(
    loaded: "Loaded",
    ids: Int[Tensor, "n pos"],
    pos: Int[Tensor, " n"],
    hook: str,
    new: Float[Tensor, "n d"] | None = None,
    batch_rows: int = 128,
) -> Float[Tensor, "n token"]:
    """The next-move logits at a position of each row, its residual stream replaced there."""
    found = []
    for i in range(0, len(ids), batch_rows):
        part, at = ids[i : i + batch_rows], pos[i : i + batch_rows]
        k = torch.arange(len(part))

        def put(value: Tensor, hook: object, i: int = i, at: Tensor = at, k: Tensor = k) -> Tensor:
            value = value.clone()
            if new is not None:
                value[k, at] = new[i : i + batch_rows]
            return value

        found.append(loaded.model.run_with_hooks(part, fwd_hooks=[(hook, put)])[k, at])
    return torch.cat(found)
