"""Push the residual stream while a model runs: its next-token logits, and what it writes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.data.corpus import Rows, counted
from utils.given.latent_data import LatentData
from utils.models.sae import Sae
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


def _hook(push: Push, n_prompt: int) -> Callable[..., Tensor]:
    """The push as a hook: on the prompt, then on each new token by itself, cache or no cache."""
    if n_prompt < 2:
        raise ValueError("an opening needs a token after the first one, which is never pushed")

    def run(value: Tensor, hook: Any) -> Tensor:
        parts = [value]
        if value.shape[1] > n_prompt:  # without a cache every call sees all tokens so far
            parts = [value[:, :n_prompt], *value[:, n_prompt:].split(1, dim=1)]
        pushed = []
        for part in parts:
            where = torch.ones(part.shape[:2], dtype=torch.bool, device=part.device)
            if part.shape[1] > 1:
                where[:, 0] = False
            pushed.append(push(part, where))
        return torch.cat(pushed, dim=1)

    return run


def together(pushes: Sequence[Push], n_rows: int) -> Push:
    """Several pushes in one batch: the first `n_rows` rows get the first one, and so on."""

    def push(value: Tensor, where: Tensor) -> Tensor:
        parts = zip(pushes, value.split(n_rows), where.split(n_rows), strict=True)
        return torch.cat([each(v, w) for each, v, w in parts])

    return push


@torch.no_grad()
def next_logits(
    loaded: "Loaded", hook: str, ids: Int[Tensor, "row pos"], pushes: Sequence[Push] = ()
) -> Float[Tensor, "k row vocab"]:
    """The logits after the last token: clean, then for every push of all tokens but the first."""
    n = len(pushes) + 1
    push = together([lambda v, where: v, *pushes], len(ids))
    many: Any = ids.repeat(n, 1)
    logits = loaded.model.run_with_hooks(many, fwd_hooks=[(hook, _hook(push, ids.shape[1]))])[:, -1]
    return logits.float().cpu().reshape(n, len(ids), -1)


@torch.no_grad()
def write(
    loaded: "Loaded",
    hook: str,
    ids: Int[Tensor, "row pos"],
    n_new: int,
    seed: int | None,
    pushes: Sequence[Push] = (),
) -> Int[Tensor, "k row pos"]:
    """The openings with `n_new` more tokens, clean and pushed, all at once; the likeliest ones if
    seed is None. The caller's random numbers stay as they are.
    """
    n = len(pushes) + 1
    push = together([lambda v, where: v, *pushes], len(ids))
    hooks: Any = [(hook, _hook(push, ids.shape[1]))]
    with torch.random.fork_rng(devices=[]), loaded.model.hooks(fwd_hooks=hooks):
        if seed is not None:
            torch.manual_seed(seed)
        found: Any = loaded.model.generate(
            ids.repeat(n, 1), max_new_tokens=n_new, do_sample=seed is not None, verbose=False,
            stop_at_eos=False, use_past_kv_cache=True,
        )  # fmt: skip
    return found.reshape(n, len(ids), -1)


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
) -> Float[Tensor, "k direction item setting"]:
    """What three directions do: k = 0 to what the latent reads, 1 to `writes`, 2 is the cost.

    The directions are its decoder row, the difference of means, and a row of `random`. A dose is a
    share of the typical length of `resid`, whose rows are the first ones of `data`. Effects are
    changes of log P, the cost is the divergence from the clean model.
    """
    mask = data.mask[: len(resid)]
    length = resid[mask].norm(dim=-1).mean()
    found = torch.zeros(3, 3, len(numbers), len(doses))
    for i, number in enumerate(track(numbers, "latents")):
        reads, active = read_tokens(data, number).unique(), data.latent(number)[: len(resid)] > 0
        means = mean_difference(resid, active, mask)
        steps = [
            direction / direction.norm() * dose * length
            for direction in (W_dec[number], means, random[i])
            for dose in doses
        ]
        pushes: list[Push] = [partial(_added, step=step) for step in steps]
        clean, *after = next_logits(loaded, hook, openings, pushes)
        for n, pushed in enumerate(after):
            j, k = divmod(n, len(doses))
            found[0, j, i, k] = output_score(clean, pushed, reads).mean()
            found[1, j, i, k] = output_score(clean, pushed, writes(number)).mean()
            found[2, j, i, k] = divergence(clean, pushed).mean()
    return found


def _added(value: Tensor, where: Tensor, step: Tensor) -> Tensor:
    return value + where[..., None] * step


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
    found = torch.zeros(len(pushes), len(directions), len(numbers))
    for i, number in enumerate(track(numbers, "latents")):
        reads = read_tokens(data, number).unique()
        each = [push(rows[i]) for push in pushes for rows in directions]
        clean, *after = next_logits(loaded, hook, prompt, each)
        for n, pushed in enumerate(after):
            k, j = divmod(n, len(directions))
            found[k, j, i] = output_score(clean, pushed, reads).mean()
    return found


def latents_and_stream(
    loaded: "Loaded", sae: Sae, rows: Rows
) -> tuple[LatentData, Float[Tensor, "row pos d_model"]]:
    """All latents on these rows and the residual stream that they were read from: one pass."""
    resid, keep = residuals(loaded, sae.hook_in, rows.ids), counted(rows.mask)
    where, value = [], []
    for i, part in enumerate(resid):
        f = sae.encode(part).cpu() * keep[i, :, None]
        at = f.nonzero()
        where.append(at + torch.tensor([i * len(part), 0]))
        value.append(f[at[:, 0], at[:, 1]])
    place, number = torch.cat(where).T
    nobody = torch.zeros(*keep.shape, 0, dtype=torch.float16)
    data = LatentData(rows.ids, keep, nobody, place, number, torch.cat(value), sae.n_latents)
    return data, resid
