"""What the four case studies share: rows of activations, a short TopK training, its controls."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from utils.given.families import explained as explained  # for the lesson
from utils.saes.coder import SparseCoder, encode, init_coder
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.train import train_coder

if TYPE_CHECKING:
    from utils.data.stories.sample import Stories
    from utils.models.loaded import Loaded


@torch.no_grad()
def site_rows(
    loaded: "Loaded", ids: Int[Tensor, "row pos"], hook: str, batch_rows: int = 64
) -> Float[Tensor, "row pos d"]:
    """What passes a hook on all rows; heads side by side."""
    from utils.activations.write import capture

    parts = [capture(loaded.model, part, [hook])[hook] for part in ids.split(batch_rows)]
    return torch.cat([part.flatten(2).cpu() for part in parts])


def short_run(
    rows: Float[Tensor, "row d"],
    latent: int,
    k: int,
    n_steps: int,
    seed: int,
    lr: float = 3e-3,
    batch: int = 512,
    label: str = "training an SAE",
) -> SparseCoder:
    """A TopK SAE from fresh weights: an own order of the rows in each epoch, the input rescaled."""
    gen = torch.Generator().manual_seed(seed)
    cfg = SAEConfig(rows.shape[1], latent, k=k, normalise="average_norm")
    train = SAETrainConfig(
        n_steps, lr, warmup_steps=min(100, n_steps // 4), decay_steps=n_steps // 4,
        dead_window=min(5_000, n_steps * batch // 4), aux_coefficient=0.25, aux_k=4,
        record_every=n_steps, label=label,
    )  # fmt: skip
    return train_coder(init_coder(cfg, gen), _Epochs(rows, batch, gen), train).coder


class _Epochs:
    """Batches of rows without end, each epoch in an order of its own."""

    def __init__(self, rows: Tensor, batch: int, gen: torch.Generator) -> None:
        self.rows, self.batch, self.gen = rows, min(batch, len(rows)), gen

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.rows), generator=self.gen)
        for part in order.split(self.batch):
            if len(part) == self.batch:
                yield self.rows[part]


def random_run(trained: SparseCoder, rows: Float[Tensor, "row d"], seed: int) -> SparseCoder:
    """The control: fresh random directions, the same k and scale, centred on the rows' mean."""
    gen = torch.Generator().manual_seed(10**6 + seed)  # not where the trained one started
    fresh = init_coder(trained.cfg, gen)
    fresh.params["b_dec"].copy_(rows.mean(dim=0) * trained.scale_in)
    return replace(fresh, scale_in=trained.scale_in, scale_out=trained.scale_out)


def strongest_share(
    values: Float[Tensor, "token hidden"], share: float
) -> Bool[Tensor, "token hidden"]:
    """Neurons made as sparse as latents: active where a neuron is in its own strongest share."""
    n = max(1, round(share * len(values)))
    return values >= values.topk(n, dim=0).values[-1]


def stories(n: int, n_pos: int, seed: int) -> "Stories":
    """Stories with their labels."""
    from utils.data.stories.sample import sample_stories

    return sample_stories(n, n_pos, torch.Generator().manual_seed(seed))


def story_labels(
    told: "Stories", least: float = 0.01
) -> tuple[Bool[Tensor, "row pos predicate"], list[str], list[str]]:
    """(labels without the first position, names of roles, names of first persons), roles first.

    A role (but "word", which is the rest) or a first person counts with a share of `least`.
    """
    from utils.data.stories.lexicon import NAMES
    from utils.data.stories.telling import ROLES

    found: list[Tensor] = []
    groups: list[list[str]] = []
    for label, called in (("role", ROLES), ("first", NAMES)):
        value, names = told.labels[label][:, 1:], list[str]()
        for number, name in enumerate(called):
            mask = value == number
            if name != "word" and float(mask.float().mean()) >= least:
                found.append(mask)
                names.append(name)
        groups.append(names)
    return torch.stack(found, dim=-1), groups[0], groups[1]


def repeating_text(loaded: "Loaded", n: int, seed: int) -> Int[Tensor, "row pos"]:
    """What the attention-only model knows: two thirds words that repeat, one third stories."""
    from utils.data.sequences import repeated_sequences
    from utils.data.stories.sample import sample_tokens

    cfg, gen = loaded.model.cfg, torch.Generator().manual_seed(seed)
    n_pos, many = int(cfg.n_ctx), 2 * n // 3
    again = repeated_sequences(many, n_pos, int(cfg.d_vocab), gen, period=(8, 48))
    return torch.cat([again, sample_tokens(n - many, n_pos, gen)])


def without(
    coder: SparseCoder, x: Float[Tensor, "row pos d"], chosen: Int[Tensor, " chosen"] | None
) -> Float[Tensor, "row pos d"]:
    """x less what the chosen latents write (None: zeros); the first position stays as it is."""
    if chosen is None:
        cut = torch.zeros_like(x)
    else:
        W_dec = coder.params["W_dec"][chosen] / coder.scale_out
        cut = x - encode(coder, x)[..., chosen] @ W_dec
    return torch.cat([x[:, :1], cut[:, 1:]], dim=1)


def scrambled(loaded: "Loaded", seed: int) -> "Loaded":
    """The untrained control: a copy whose matrices have their own numbers in a random order."""
    from utils.models.loaded import Loaded
    from utils.models.profiles import artifacts
    from utils.models.tiny import load_tiny

    gen, model = torch.Generator().manual_seed(seed), load_tiny(artifacts() / loaded.name)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                order = torch.randperm(weight.numel(), generator=gen)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return Loaded(model, loaded.tokenizer, loaded.name)


@torch.no_grad()
def loss_with(
    loaded: "Loaded",
    ids: Int[Tensor, "row pos"],
    puts: Sequence[tuple[str, Tensor]] = (),
    batch_rows: int = 64,
) -> Float[Tensor, "row pos-1"]:
    """Nats per prediction, with these values in place of what passes the hooks."""
    found = []
    for i in range(0, len(ids), batch_rows):
        part, hooks = ids[i : i + batch_rows], list[Any]()
        for name, values in puts:

            def put(
                value: Tensor, hook: object, new: Tensor = values[i : i + batch_rows]
            ) -> Tensor:
                return new.reshape(value.shape)

            hooks.append((name, put))
        logits = loaded.model.run_with_hooks(part, fwd_hooks=hooks)[:, :-1]
        nats = cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none")
        found.append(nats)
    return torch.cat(found)
