"""Othello on 4, 6 or 8 squares a side: the rules, random games, and the board at each move.

The data of Othello-GPT (Li et al. 2023, arXiv 2210.13382): sequences of legal moves, nothing else.
A move is one token, `BOS` begins and ends a game, and a player who cannot move says `PASS` (the
paper leaves passes out; with them the colour to move is the parity of the position). The board is
labelled relative to the player to move, as Nanda et al. (2023, arXiv 2309.00941) found the model
to see it: `EMPTY`, `MINE`, `THEIRS`.

All games of a batch are played at once: a board is two 64-bit numbers, and eight shifts of such a
number move every disc of every game by one square.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int
from torch import Tensor

BOS, PASS, FIRST = 0, 1, 2  # the first square is token 2
EMPTY, MINE, THEIRS = 0, 1, 2
Bits = npt.NDArray[np.uint64]


def _bits(squares: list[tuple[int, int]]) -> np.uint64:
    return np.uint64(sum(1 << (8 * row + column) for row, column in squares))


@dataclass(frozen=True)
class Othello:
    """The game on `side` × `side` squares; square (row, column) is bit 8 row + column."""

    side: int = 8

    def __post_init__(self) -> None:
        if self.side not in (4, 6, 8):
            raise ValueError(f"a board has 4, 6 or 8 squares a side, not {self.side}")

    @cached_property
    def playable(self) -> list[tuple[int, int]]:
        """Squares that a move can name: all but the four in the middle, row by row."""
        middle = (self.side // 2 - 1, self.side // 2)
        every = [(r, c) for r in range(self.side) for c in range(self.side)]
        return [(r, c) for r, c in every if not (r in middle and c in middle)]

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return FIRST + len(self.playable)

    @cached_property
    def _move_bits(self) -> Bits:
        return np.array([_bits([square]) for square in self.playable])

    @cached_property
    def _ways(self) -> list[tuple[bool, np.uint64, np.uint64]]:
        """Eight directions: to higher bits or not, by how many, and what may arrive there."""
        side = range(self.side)
        ways = []
        for down, right in [(0, 1), (1, -1), (1, 0), (1, 1)]:
            for sign in (1, -1):
                here = [(r, c) for r in side for c in side]
                there = [(r + sign * down, c + sign * right) for r, c in here]
                arrive = _bits([(r, c) for r, c in there if r in side and c in side])
                ways.append((sign > 0, np.uint64(8 * down + right), arrive))
        return ways

    def start(self, n_games: int) -> tuple[Bits, Bits]:
        """Discs of the player to move, and of the other: four in the middle, crosswise."""
        low, high = self.side // 2 - 1, self.side // 2
        mine, theirs = _bits([(low, high), (high, low)]), _bits([(low, low), (high, high)])
        return np.full(n_games, mine), np.full(n_games, theirs)

    def legal(self, mine: Bits, theirs: Bits) -> Bits:
        """Empty squares from which a straight line of their discs leads to one of mine."""
        moves = np.zeros_like(mine)
        for up, by, arrive in self._ways:
            line = _shift(mine, up, by) & theirs & arrive
            for _ in range(self.side - 3):
                line |= _shift(line, up, by) & theirs & arrive
            moves |= _shift(line, up, by) & arrive
        return moves & ~(mine | theirs)

    def flips(self, mine: Bits, theirs: Bits, move: Bits) -> Bits:
        """Their discs that a move turns: those between it and the next of mine, in eight lines."""
        turned = np.zeros_like(mine)
        for up, by, arrive in self._ways:
            line = _shift(move, up, by) & theirs & arrive
            for _ in range(self.side - 3):
                line |= _shift(line, up, by) & theirs & arrive
            closed = (_shift(line, up, by) & mine & arrive) != 0
            turned |= np.where(closed, line, np.uint64(0))
        return turned

    def tokens_of(self, bits: Bits) -> npt.NDArray[np.bool_]:
        """Which squares of a bit set are on: (game, n_tokens), BOS and PASS off."""
        squares = (bits[:, None] & self._move_bits) != 0
        return np.pad(squares, ((0, 0), (FIRST, 0)))

    def may_follow(self, mine: Bits, theirs: Bits) -> npt.NDArray[np.bool_]:
        """The tokens that may come next: legal moves, else PASS, else (nobody can move) BOS."""
        can, other = self.legal(mine, theirs), self.legal(theirs, mine)
        tokens = self.tokens_of(can)
        tokens[:, PASS] = (can == 0) & (other != 0)
        tokens[:, BOS] = (can == 0) & (other == 0)
        return tokens

    def after(self, mine: Bits, theirs: Bits, tokens: npt.NDArray[np.int64]) -> tuple[Bits, Bits]:
        """The boards after one token each, seen by the player who is then to move."""
        moves = np.append(np.zeros(FIRST, np.uint64), self._move_bits)[tokens]
        turned = self.flips(mine, theirs, moves)
        over = tokens == BOS
        swapped = theirs & ~turned, mine | turned | moves
        return np.where(over, mine, swapped[0]), np.where(over, theirs, swapped[1])

    def board(self, mine: Bits, theirs: Bits) -> npt.NDArray[np.int8]:
        """EMPTY, MINE or THEIRS on every square: (game, side, side)."""
        every = np.array([[_bits([(r, c)]) for c in range(self.side)] for r in range(self.side)])
        on = [(x[:, None, None] & every) != 0 for x in (mine, theirs)]
        return (MINE * on[0] + THEIRS * on[1]).astype(np.int8)

    def name(self, token: int) -> str:
        """A token as players write it: c4 is the third column, the fourth row."""
        if token < FIRST:
            return ("start", "pass")[token]
        row, column = self.playable[token - FIRST]
        return f"{'abcdefgh'[column]}{row + 1}"


def _shift(x: Bits, up: bool, by: np.uint64) -> Bits:
    return x << by if up else x >> by


@dataclass(frozen=True)
class Games:
    """Games in rows, each from its BOS on; after the BOS that ends a game there is only BOS."""

    tokens: Int[Tensor, "row pos"]
    legal: Bool[Tensor, "row pos token"]  # what may follow each position
    board: Int[Tensor, "row pos side side"]  # after each position, for the player then to move
    alive: Bool[Tensor, "row pos"]  # the game is not over before this position


Pick = Callable[[int, npt.NDArray[np.bool_]], npt.NDArray[np.int64]]


def _follow(game: Othello, n_games: int, n_ctx: int, pick: Pick) -> Games:
    """Play `n_ctx` - 1 tokens; `pick(position, what may follow)` chooses each."""
    mine, theirs = game.start(n_games)
    alive = np.ones(n_games, np.bool_)
    tokens = np.full(n_games, BOS)
    found: list[tuple[npt.NDArray, ...]] = []
    for position in range(n_ctx):
        if position > 0:
            tokens = pick(position, found[-1][1])
            alive = alive & (tokens != BOS)
            mine, theirs = game.after(mine, theirs, tokens)
        found.append((tokens, game.may_follow(mine, theirs), game.board(mine, theirs), alive))
    parts = [torch.from_numpy(np.stack(part, axis=1)) for part in zip(*found, strict=True)]
    return Games(*parts)


def random_games(game: Othello, n_games: int, n_ctx: int, gen: torch.Generator) -> Games:
    """Games in which every legal move is as likely as any other, cut off after `n_ctx` tokens."""

    def pick(position: int, may: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        weights = torch.rand(may.shape, generator=gen).numpy()
        return np.where(may, weights, -1.0).argmax(axis=1)

    return _follow(game, n_games, n_ctx, pick)


def replay(game: Othello, tokens: Int[Tensor, "row pos"]) -> Games:
    """Boards and legal moves of given games, BOS first.

    ValueError names the first move that is illegal, or a token that there is not.
    """
    moves = tokens.numpy()
    if ((moves < 0) | (moves >= game.n_tokens)).any():
        raise ValueError(f"tokens of this game are 0 to {game.n_tokens - 1}")
    if (moves[:, 0] != BOS).any():
        raise ValueError(f"a game begins with BOS ({BOS})")

    def pick(position: int, may: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        wrong = ~may[np.arange(len(may)), moves[:, position]]
        if wrong.any():
            row = int(wrong.argmax())
            name = game.name(int(moves[row, position]))
            raise ValueError(f"game {row}, position {position}: {name} is not legal")
        return moves[:, position]

    return _follow(game, len(moves), tokens.shape[1], pick)
