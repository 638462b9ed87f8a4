"""What each model is measured by, on data drawn from seeds that training never used."""

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tools.tiny.probe import board_accuracy, fit_probe
from tools.tiny.recipes import N_CTX, othello_games
from utils.data.othello import BOS, FIRST, PASS
from utils.data.sequences import repeated_sequences
from utils.data.stories.indirect import TEMPLATES, Order, indirect_object_prompts
from utils.data.stories.lexicon import VOCABULARY
from utils.data.stories.sample import sample_stories
from utils.data.stories.telling import ROLE

Numbers = dict[str, float]
HELD_OUT = 1_000_003  # seed of every evaluation; training draws from the seeds in the recipes


def _gen(offset: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(HELD_OUT + offset)


def _logits(model: Any, rows: Tensor, batch: int = 64) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in rows.split(batch)])


def story_metrics(model: Any, n_rows: int) -> Numbers:
    """Loss against the grammar's own on the same stories, and who gets the thing in them.

    excess = loss / grammar - 1, where grammar is the mean of -log p(word | words before it).
    """
    stories = sample_stories(n_rows, N_CTX, _gen())
    logits = _logits(model, stories.tokens)[:, :-1]
    after = stories.tokens[:, 1:]
    loss = cross_entropy(logits.flatten(0, 1), after.flatten()).item()
    receives = stories.labels["role"][:, 1:] == ROLE["R"]
    right = (logits.argmax(dim=-1) == after)[receives]
    return {
        "loss": loss,
        "grammar": stories.loss,
        "excess": loss / stories.loss - 1,
        "receiver_in_stories": right.float().mean().item(),
        "n_receivers": float(receives.sum()),
    }


def indirect_object_metrics(model: Any, n_prompts: int) -> Numbers:
    """Prompts of every template and order: is the receiver the top word, and by how much?"""
    top, prefers, difference = [], [], []
    for template in range(len(TEMPLATES)):
        for offset, order in enumerate(get_args(Order)):
            gen = _gen(1 + 2 * template + offset)
            prompts = indirect_object_prompts(n_prompts, template, order, gen)
            logits = _logits(model, prompts.tokens)[:, -1]
            ours, other = (logits.gather(1, x[:, None]) for x in (prompts.receiver, prompts.giver))
            difference.append(ours - other)
            prefers.append((ours > other).float())
            top.append((logits.argmax(dim=-1) == prompts.receiver).float())
    return {
        "receiver_is_top": torch.cat(top).mean().item(),
        "receiver_over_giver": torch.cat(prefers).mean().item(),
        "logit_difference": torch.cat(difference).mean().item(),
        "n_prompts": float(n_prompts * len(top)),
    }


def induction_metrics(model: Any, n_rows: int) -> Numbers:
    """Random words twice: mean loss on the first block and on the second, and their ratio."""
    rows = repeated_sequences(n_rows, N_CTX - 1, len(VOCABULARY), _gen(101))
    logits = _logits(model, rows)[:, :-1]
    loss = cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
    first, second = (half.mean().item() for half in loss.chunk(2, dim=1))
    return {"first_half": first, "second_half": second, "ratio": second / first}


def othello_metrics(model: Any, n_games: int) -> Numbers:
    """Is the top move legal, and how close is the loss to the least?

    top_move_legal counts positions where the player can move, as Li et al. (2023) do, whose data
    has no other; top_token_legal counts forced passes and ends of games too. least_loss is the
    mean of log(number of legal moves): what knowing the rules gives.
    """
    games = othello_games(n_games, _gen(201))
    logits = _logits(model, games.tokens)
    n_legal = games.legal.sum(dim=-1)
    truth = games.legal / n_legal[..., None]
    loss = -(truth * logits.log_softmax(dim=-1)).sum(dim=-1)[games.alive].mean().item()
    least = n_legal[games.alive].float().log().mean().item()
    right = games.legal.gather(2, logits.argmax(dim=-1, keepdim=True))[..., 0]

    def share(where: Tensor) -> float:
        return right[where & games.alive].float().mean().item()

    can_move = games.legal[..., FIRST:].any(dim=-1)
    return {
        "top_move_legal": share(can_move),
        "top_token_legal": share(games.alive),
        "pass_right": share(games.legal[..., PASS]),
        "end_right": share(games.legal[..., BOS]),
        "n_moves": float((can_move & games.alive).sum()),
        "loss": loss,
        "least_loss": least,
        "excess": loss / least - 1,
    }


def board_metrics(model: Any, n_games: int) -> Numbers:
    """Accuracy of a linear probe of all squares after each block; what a fixed guess would get."""
    layers = range(model.cfg.n_layers)
    accuracy = {f"after_block_{i}": probe_accuracy(model, i, n_games) for i in layers}
    games = othello_games(n_games, _gen(302))
    boards = games.board[games.alive].long().flatten(1)
    guess = (boards == boards.mode(dim=0).values).float().mean().item()
    return {**accuracy, "best": max(accuracy.values()), "commonest_state": guess}


def probe_accuracy(model: Any, layer: int, n_games: int) -> float:
    """Fit a probe after a block on `n_games`; its accuracy on squares of as many other games."""
    hook = f"blocks.{layer}.hook_resid_post"
    fitted, held_out = othello_games(n_games, _gen(301)), othello_games(n_games, _gen(302))
    probe = fit_probe(*_states(model, fitted, hook), _gen(303))
    return board_accuracy(probe, *_states(model, held_out, hook))


def _states(model: Any, games: Any, hook: str) -> tuple[Tensor, Tensor]:
    """Activations and boards at every position at which a game is alive."""
    with torch.no_grad():
        _, cache = model.run_with_cache(games.tokens, names_filter=hook)
    return cache[hook][games.alive], games.board[games.alive].long()


Measure = Callable[[Any, int], Numbers]
# what to measure, and on how many rows, prompts of a kind, or games a card does it
MEASURES: dict[str, dict[str, tuple[Measure, int]]] = {
    "tiny_story_1l": {"stories": (story_metrics, 500), "prompts": (indirect_object_metrics, 100)},
    "tiny_story_4l": {"stories": (story_metrics, 500), "prompts": (indirect_object_metrics, 100)},
    "tiny_attn_only_2l": {
        "repeats": (induction_metrics, 500),
        "stories": (story_metrics, 500),
        "prompts": (indirect_object_metrics, 100),
    },
    "tiny_othello": {"games": (othello_metrics, 2000), "board": (board_metrics, 500)},
}


def measure(name: str, model: Any, share: float = 1.0) -> dict[str, Numbers]:
    """All metrics of a model, on a share of the rows that its card uses."""
    return {
        kind: function(model, max(4, round(share * n)))
        for kind, (function, n) in MEASURES[name].items()
    }


# what the course asks of each model: kind, metric, at least or at most, bar
BARS: dict[str, list[tuple[str, str, str, float]]] = {
    "tiny_story_1l": [("stories", "excess", "<=", 0.05)],
    "tiny_story_4l": [
        ("stories", "excess", "<=", 0.05),
        ("prompts", "receiver_is_top", ">=", 0.95),
    ],
    "tiny_attn_only_2l": [("repeats", "ratio", "<=", 0.10)],
    "tiny_othello": [("games", "top_move_legal", ">=", 0.98), ("board", "best", ">=", 0.90)],
}
