"""Text for a model, and what several answers at one hook cost it, row by row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.data.corpus import Rows, corpus_sample, join, rows_of
from utils.progress import track

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from utils.models.loaded import Loaded

LENGTH = 128  # tokens in a row of the language model's text
Answer = Callable[[Tensor], Tensor]


def sample_rows(loaded: "Loaded", n: int, seed: int) -> Rows:
    """`n` rows of text for this model, drawn at random: the course's sample, encoded for it.

    The story models get fresh stories of their grammar, since they know no other words.
    """
    gen = torch.Generator().manual_seed(seed)
    if loaded.name.startswith("tiny_"):
        from utils.data.stories.sample import sample_tokens

        ids = sample_tokens(n, int(loaded.model.cfg.n_ctx), gen)
        return Rows(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(n))
    rows = _text_rows(loaded)
    chosen = torch.randperm(len(rows), generator=gen)[:n]
    return Rows(rows.ids[chosen], rows.mask[chosen], rows.document[chosen])


def _text_rows(loaded: "Loaded") -> Rows:
    """The shipped text as rows; decoded and encoded again for another tokenizer than SmolLM2's."""
    documents, tokenizer = corpus_sample(), loaded.tokenizer
    if not loaded.name.startswith("SmolLM2"):
        from transformers import AutoTokenizer

        from utils.models import smollm2

        ours = AutoTokenizer.from_pretrained(smollm2.checkpoint(), local_files_only=True)
        texts = [ours.decode(documents.document(i)) for i in range(len(documents))]
        pieces = [torch.tensor(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
        documents = join([(piece, 0) for piece in pieces], ("sample",))
    pad = tokenizer.pad_token_id
    return rows_of(documents, tokenizer.bos_token_id, 0 if pad is None else pad, LENGTH)


@dataclass(frozen=True)
class Cost:
    """Sums over the counted predictions of each row."""

    loss: Float[Tensor, " row"]  # nats
    kl: Float[Tensor, " row"]  # divergence from the clean run
    count: Int[Tensor, " row"]  # predictions
    token_loss: Float[Tensor, "row pos"]  # of every token but the first, at the position before it
    counted: Bool[Tensor, "row pos"]


@torch.no_grad()
def measure(
    model: "TransformerBridge",
    ids: Int[Tensor, "row pos"],
    mask: Bool[Tensor, "row pos"],
    hook: str,
    answers: Mapping[str, Answer],
    loss_per_row: Callable[..., tuple[Tensor, Tensor]],
    kl_per_row: Callable[..., Tensor],
    batch_rows: int = 8,
) -> dict[str, Cost]:
    """Run the rows clean, and with each answer in place of the activation where `mask` is true.

    The two functions are the learner's; the result has `clean` beside the answers' names.
    """
    parts: dict[str, list[Cost]] = {name: [] for name in ("clean", *answers)}
    for i in track(range(0, len(ids), batch_rows), "rows through the model"):
        batch, keep = ids[i : i + batch_rows], mask[i : i + batch_rows]
        clean = model(batch)
        for name in parts:
            logits = clean
            if name != "clean":

                def put(
                    value: Tensor, hook: object, name: str = name, keep: Tensor = keep
                ) -> Tensor:
                    where = keep.reshape(*keep.shape, *(1,) * (value.ndim - 2))
                    return torch.where(where, answers[name](value), value)

                logits = model.run_with_hooks(batch, fwd_hooks=[(hook, put)])
            loss, count = loss_per_row(logits, batch, keep)
            both = keep[:, :-1] & keep[:, 1:]  # the same predictions as the loss
            kl = kl_per_row(clean[:, :-1], logits[:, :-1], both)
            nats = torch.nn.functional.cross_entropy(
                logits[:, :-1].transpose(1, 2), batch[:, 1:], reduction="none"
            )
            parts[name].append(Cost(loss, kl, count, nats, both))
    return {name: _joined(costs) for name, costs in parts.items()}


def _joined(costs: list[Cost]) -> Cost:
    return Cost(*(torch.cat([getattr(c, f.name) for c in costs]) for f in fields(Cost)))
