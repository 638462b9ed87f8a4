"""The four models: their shapes, their data, their losses."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from tools.tiny.train import Draw, Loss, Recipe
from utils.data.othello import Games, Othello, random_games
from utils.data.sequences import repeated_sequences
from utils.data.stories.lexicon import VOCABULARY
from utils.data.stories.sample import sample_tokens

N_CTX = 96  # words: about one story and a half
PERIOD = (8, 48)  # of the repeated sequences in training
STORY = {
    "n_ctx": N_CTX,
    "d_vocab": len(VOCABULARY),
    "act_fn": "gelu_new",
    "normalization_type": "LN",
    "positional_embedding_type": "rotary",
}


def story_rows(n_rows: int, gen: torch.Generator) -> Int[Tensor, "row pos"]:
    """Fresh stories: no row is ever seen twice."""
    return sample_tokens(n_rows, N_CTX, gen)


def mixed_rows(n_rows: int, gen: torch.Generator) -> Int[Tensor, "row pos"]:
    """One third stories, the rest random words of the same language that repeat."""
    n_stories = n_rows // 3
    repeats = repeated_sequences(n_rows - n_stories, N_CTX, len(VOCABULARY), gen, PERIOD)
    return torch.cat([story_rows(n_stories, gen), repeats])


def next_word(model: torch.nn.Module, rows: Int[Tensor, "row pos"]) -> Tensor:
    """Mean cross-entropy of every word after the first (nats)."""
    logits = model(rows)[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


@dataclass(frozen=True)
class Task:
    """A recipe with its data and loss."""

    recipe: Recipe
    draw: Draw
    loss: Loss


OTHELLO = Othello(6)  # 8 × 8 takes a model of this size more than an hour on a CPU
N_PLIES = 38  # BOS, 32 squares, and five passes: more are rarer than one game in a thousand


def othello_games(n_rows: int, gen: torch.Generator) -> Games:
    """Fresh random games."""
    return random_games(OTHELLO, n_rows, N_PLIES, gen)


def next_move(model: torch.nn.Module, games: Games) -> Tensor:
    """Cross-entropy against the true distribution of the next move: uniform over the legal ones.

    Its expectation is that of the usual loss on the move that was played; the noise of that one
    draw is gone from it, so a smaller batch does.
    """
    truth = games.legal / games.legal.sum(dim=-1, keepdim=True)
    loss = -(truth * model(games.tokens).log_softmax(dim=-1)).sum(dim=-1)
    return loss[games.alive].mean()


def _story_1l() -> Task:
    shape = {"n_layers": 1, "d_model": 128, "n_heads": 8, "d_head": 16, "d_mlp": 512}
    recipe = Recipe("tiny_story_1l", {**STORY, **shape}, n_steps=2_000, seed=1)
    return Task(recipe, story_rows, next_word)


def _story_4l() -> Task:
    shape = {"n_layers": 4, "d_model": 96, "n_heads": 6, "d_head": 16, "d_mlp": 384}
    recipe = Recipe("tiny_story_4l", {**STORY, **shape}, n_steps=1_400, seed=2)
    return Task(recipe, story_rows, next_word)


def _attn_only_2l() -> Task:
    shape = {"n_layers": 2, "d_model": 128, "n_heads": 8, "d_head": 16, "attn_only": True}
    recipe = Recipe("tiny_attn_only_2l", {**STORY, **shape}, n_steps=2_500, batch=48, seed=3)
    return Task(recipe, mixed_rows, next_word)


def _othello() -> Task:
    shape = {"n_layers": 5, "d_model": 128, "n_heads": 8, "d_head": 16, "d_mlp": 512}
    game = {"n_ctx": N_PLIES, "d_vocab": OTHELLO.n_tokens, "act_fn": "gelu_new"}
    place = {"normalization_type": "LN", "positional_embedding_type": "standard"}
    recipe = Recipe(
        "tiny_othello", {**shape, **game, **place}, n_steps=5_000, batch=64, lr=1.5e-3, seed=4
    )
    return Task(recipe, othello_games, next_move)


TASKS: dict[str, Callable[[], Task]] = {
    "tiny_story_1l": _story_1l,
    "tiny_story_4l": _story_4l,
    "tiny_attn_only_2l": _attn_only_2l,
    "tiny_othello": _othello,
}

_STORIES = "stories drawn from the grammar of `utils/data/stories` (our own sentences)"
ABOUT: dict[str, tuple[str, str]] = {  # what the model is, what it was trained on
    "tiny_story_1l": (
        "A transformer of one layer that tells stories whose true labels are known.",
        f"{_STORIES}, in rows of {N_CTX} words.",
    ),
    "tiny_story_4l": (
        "A transformer of four layers that tells the same stories; it finds indirect objects.",
        f"{_STORIES}, in rows of {N_CTX} words.",
    ),
    "tiny_attn_only_2l": (
        "Two layers of attention and nothing else: previous-token heads and induction heads.",
        f"one third {_STORIES}; two thirds random words of the same vocabulary that repeat with a "
        f"period of {PERIOD[0]} to {PERIOD[1] - 1} words.",
    ),
    "tiny_othello": (
        f"A transformer that continues games of Othello on {OTHELLO.side} × {OTHELLO.side} "
        "squares and was told moves only, never the board.",
        "games in which each player picks any legal move at random (`utils/data/othello.py`). The "
        "loss is the cross-entropy against all legal moves, the expectation of that against one "
        "drawn.",
    ),
}
