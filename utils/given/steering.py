"""Push the residual stream while a model runs: its next-token logits, and what it writes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.given.latent_data import LatentData
from utils.progress import track

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

QUESTION = (
    '<|im_start|>user\nWhat is the meaning of the word" X"?<|im_end|>\n'
    '<|im_start|>assistant\nThe meaning of the word" X" is "'
)

# of the residual stream and the tokens that may be changed: all but the first of a row
Push = Callable[[Tensor, Tensor], Tensor]


def residuals(
    loaded: "Loaded", hook: str, ids: Int[Tensor, "row pos"], batch_rows: int = 16
) -> Float[Tensor, "row pos d_model"]:
    """What passes the hook, for all rows."""
    from utils.activations.write import capture

    parts = track(ids.split(batch_rows), "rows through the model")
    return torch.cat([capture(loaded.model, part, [hook])[hook].cpu() for part in parts])


def read_tokens(data: LatentData, number: int, n: int = 20) -> Int[Tensor, " item"]:
    """The tokens of a latent's strongest examples, one for each."""
    acts = data.latent(number).flatten()
    n = min(n, int((acts > 0).sum()))
    return data.ids.flatten()[acts.topk(n).indices]


def mean_difference(
    resid: Float[Tensor, "row pos d_model"],
    active: Bool[Tensor, "row pos"],
    mask: Bool[Tensor, "row pos"],
) -> Float[Tensor, " d_model"]:
    """The mean where `active` less the mean of all tokens of the mask."""
    return resid[active & mask].mean(dim=0) - resid[mask].mean(dim=0)


def _hook(push: Push) -> Callable[..., Tensor]:
    def run(value: Tensor, hook: Any) -> Tensor:
        where = torch.ones(value.shape[:2], dtype=torch.bool, device=value.device)
        if value.shape[1] > 1:  # with a cache, later calls see the new token alone
            where[:, 0] = False
        return push(value, where)

    return run


@torch.no_grad()
def next_logits(
    loaded: "Loaded", hook: str, ids: Int[Tensor, "row pos"], push: Push | None = None
) -> Float[Tensor, "row vocab"]:
    """The logits after the last token, clean or while every token but the first is pushed."""
    hooks: Any = [(hook, _hook(push))] if push else []
    return loaded.model.run_with_hooks(ids, fwd_hooks=hooks)[:, -1].float().cpu()


@torch.no_grad()
def write(
    loaded: "Loaded",
    hook: str,
    ids: Int[Tensor, "row pos"],
    n_new: int,
    seed: int | None,
    push: Push | None = None,
) -> Int[Tensor, "row pos"]:
    """The openings with `n_new` more tokens, all rows at once; the likeliest ones if seed is None.

    The caller's random numbers stay as they are.
    """
    hooks: Any = [(hook, _hook(push))] if push else []
    with torch.random.fork_rng(devices=[]), loaded.model.hooks(fwd_hooks=hooks):
        if seed is not None:
            torch.manual_seed(seed)
        return loaded.model.generate(
            ids, max_new_tokens=n_new, do_sample=seed is not None, verbose=False,
            stop_at_eos=False, use_past_kv_cache=True,
        )  # type: ignore[return-value]  # fmt: skip


@torch.no_grad()
def all_logits(loaded: "Loaded", ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos vocab"]:
    """The clean model's logits."""
    return loaded.model(ids).float().cpu()


def question(
    loaded: "Loaded", other: Int[Tensor, "row pos"]
) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """A question about the word X in the form of the instruct model, and where its X are.

    Models without that form get `other`, and one of its tokens is the placeholder.
    """
    if not loaded.name.startswith("SmolLM2"):
        return other, torch.arange(other.shape[1]).expand_as(other) == other.shape[1] // 2
    ids = torch.tensor([loaded.tokenizer.encode(QUESTION, add_special_tokens=False)])
    return ids, ids == loaded.tokenizer.encode(" X", add_special_tokens=False)[0]


def interval(values: Float[Tensor, " item"], gen: torch.Generator) -> tuple[float, float, float]:
    """Mean and its bootstrap interval (95 %) over the items."""
    values = values.double()
    drawn = torch.randint(len(values), (2000, len(values)), generator=gen)
    ends = values[drawn].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return float(values.mean()), float(ends[0]), float(ends[1])


def told(values: Float[Tensor, " item"], gen: torch.Generator) -> str:
    """`1.23 [1.10, 1.40]`: mean and interval."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*interval(values, gen))


def divergence(
    clean: Float[Tensor, "row vocab"], pushed: Float[Tensor, "row vocab"]
) -> Float[Tensor, " row"]:
    """KL divergence of the pushed model's next-token distribution from the clean one's, in nats."""
    before, after = clean.log_softmax(dim=-1), pushed.log_softmax(dim=-1)
    return (after.exp() * (after - before)).sum(dim=-1)


def push_latents(
    loaded: "Loaded",
    hook: str,
    data: LatentData,
    resid: Float[Tensor, "row pos d_model"],
    W_dec: Float[Tensor, "latent d_model"],
    numbers: list[int],
    openings: Int[Tensor, "row pos"],
    doses: Sequence[float],
    random: Float[Tensor, "item d_model"],
    output_score: Callable[..., Tensor],
    writes: Callable[[int], Tensor],
) -> Float[Tensor, "k direction item dose"]:
    """What three directions do: k = 0 to what the latent reads, 1 to `writes`, 2 is the cost.

    The directions are its decoder row, the difference of means, and a row of `random`. A dose is a
    share of the typical length of `resid`, whose rows are the first ones of `data`. Effects are
    changes of log P, the cost is the divergence from the clean model.
    """
    mask = data.mask[: len(resid)]
    length = resid[mask].norm(dim=-1).mean()
    clean = next_logits(loaded, hook, openings)
    found = torch.zeros(3, 3, len(numbers), len(doses))
    for i, number in enumerate(track(numbers, "latents")):
        reads, active = read_tokens(data, number).unique(), data.latent(number)[: len(resid)] > 0
        means = mean_difference(resid, active, mask)
        for j, direction in enumerate((W_dec[number], means, random[i])):
            for k, dose in enumerate(doses):
                step = direction / direction.norm() * dose * length

                def push(v: Tensor, where: Tensor, step: Tensor = step) -> Tensor:
                    return v + where[..., None] * step

                after = next_logits(loaded, hook, openings, push)
                found[0, j, i, k] = output_score(clean, after, reads).mean()
                found[1, j, i, k] = output_score(clean, after, writes(number)).mean()
                found[2, j, i, k] = divergence(clean, after).mean()
    return found


def input_score(
    tokens: Int[Tensor, " item"], weights: Float[Tensor, " vocab"], n: int = 50
) -> float:
    """Share of the strongest examples' tokens that are among the n tokens of largest weight."""
    return float(torch.isin(tokens, weights.topk(n).indices).double().mean())


def ask_latents(
    loaded: "Loaded",
    hook: str,
    data: LatentData,
    prompt: Int[Tensor, "row pos"],
    directions: Float[Tensor, "direction item d_model"],
    numbers: list[int],
    pushes: Sequence[Callable[[Tensor], Push]],
    output_score: Callable[..., Tensor],
) -> Float[Tensor, "k direction item"]:
    """log P of what each latent reads after the prompt, less the clean one, for every push."""
    clean = next_logits(loaded, hook, prompt)
    found = torch.zeros(len(pushes), len(directions), len(numbers))
    for i, number in enumerate(track(numbers, "latents")):
        reads = read_tokens(data, number).unique()
        for k, push in enumerate(pushes):
            for j, rows in enumerate(directions):
                after = next_logits(loaded, hook, prompt, push(rows[i]))
                found[k, j, i] = output_score(clean, after, reads).mean()
    return found
