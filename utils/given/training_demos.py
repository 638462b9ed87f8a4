"""What 3.2.8's experiments are given: JumpReLU training, a last stage in the model, W&B's file."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.data.corpus import Rows
from utils.given.training_runs import story_activations
from utils.progress import track

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

Params = dict[str, Tensor]
BLOCK, HEAD = 32768, 7  # of the log format of LevelDB, which W&B's file uses


def buffered(
    document: Int[Tensor, " row"],
    n_documents: int,
    mix_step: Callable[..., tuple[Tensor, Tensor]],
    same_document: Callable[[Tensor], float],
    batch: int = 512,
) -> float:
    """Mean `same_document` of batches behind a buffer that gets so many documents at a time.

    The first quarter of the batches, where the buffer fills, is left out.
    """
    rows, gen = document[:, None].float(), torch.Generator().manual_seed(0)
    kept, found = rows[:0], list[float]()
    for fresh in rows.split(n_documents * int((document == 0).sum())):
        served, kept = mix_step(kept, fresh, gen)
        full = [part for part in served.split(batch) if len(part) == batch]
        found += [same_document(part[:, 0].long()) for part in full]
    later = found[len(found) // 4 :]
    return sum(later) / len(later)


def library_buffered(
    document: Int[Tensor, " row"],
    n_documents: int,
    mix_step: Callable[..., tuple[Tensor, Tensor]],
    same_document: Callable[[Tensor], float],
    batch: int = 512,
) -> float:
    """The same behind `sae_lens`' buffer of twice as many documents, half of which waits."""
    from sae_lens.training.mixing_buffer import mixing_buffer

    length = int((document == 0).sum())
    rows, found = document[:, None].float(), list[float]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in mixing_buffer(2 * n_documents * length, batch, iter(rows.split(length))):
            found.append(same_document(part[:, 0].long()))
    return sum(found) / len(found)


def unexplained_share(x: Float[Tensor, "row d"], out: Float[Tensor, "row d"]) -> float:
    """Squared error over the variance."""
    return float((out - x).square().sum() / (x - x.mean(dim=0)).square().sum())


@torch.no_grad()
def judged(
    params: Mapping[str, Tensor],
    x: Float[Tensor, "row d_in"],
    y: Float[Tensor, "row d_out"],
    k: int,
    centred: bool = True,
) -> tuple[float, float, float]:
    """(unexplained, share of latents never active, share active on over 10 %) of a TopK coder."""
    pre = (x - params["b_dec"] if centred else x) @ params["W_enc"] + params["b_enc"]
    f = torch.where(pre >= pre.topk(k, dim=1).values[:, -1:], pre.relu(), 0)
    density = (f > 0).float().mean(dim=0)
    missed = unexplained_share(y, f @ params["W_dec"] + params["b_dec"])
    return missed, float((density == 0).float().mean()), float((density > 0.1).float().mean())


def scaled_site(
    loaded: "Loaded", site: str, stories: Rows, others: Rows
) -> tuple[Float[Tensor, "row d"], Float[Tensor, "token d"]]:
    """Activations of two sets of stories at a site of block 2, times what makes mean norms √d."""
    rows, more = (story_activations(loaded, some, site) for some in (stories, others))
    unit = float(rows.shape[1] ** 0.5 / rows.norm(dim=1).mean())
    return rows * unit, more * unit


def spread_of(
    rows: Float[Tensor, "row d"], geometric_median: Callable[[Tensor, int], Tensor]
) -> str:
    """In a line: how many rows, their scale, the largest dimension, mean against median."""
    off = (rows - rows.mean(dim=0)).square().sum(dim=0)
    unit = float(rows.shape[1] ** 0.5 / rows.norm(dim=1).mean())
    away = (rows.mean(dim=0) - geometric_median(rows, 30)).norm() / rows.norm(dim=1).median()
    return (
        f"{len(rows):,} rows, input scale {unit:.3f}, largest dimension has"
        f" {float(off.max() / off.sum()):.0%} of the variance, mean to median {float(away):.2f}"
    )


def train_jumprelu(
    x: Float[Tensor, "row d_in"],
    params: Params,
    jumprelu: Callable[[Tensor, Tensor, float], Tensor],
    penalty: Callable[[Tensor, Tensor, float], Tensor],
    n_steps: int,
    gen: torch.Generator,
    bandwidth: float = 0.1,
    lr: float = 3e-3,
) -> tuple[Params, list[float]]:
    """(weights, L0 of every step): squared error plus `penalty(pre, threshold, bandwidth)`."""
    live = {name: value.clone().requires_grad_() for name, value in params.items()}
    optimiser, l0 = torch.optim.Adam(live.values(), lr=lr), list[float]()
    for n in track(range(n_steps), "training JumpReLU"):
        optimiser.param_groups[0]["lr"] = lr * min(1.0, (n + 1) / 50)
        batch = x[torch.randint(len(x), (512,), generator=gen)]
        pre = (batch - live["b_dec"]) @ live["W_enc"] + live["b_enc"]
        theta = live["log_threshold"].exp()
        f = jumprelu(pre[:, None], theta[None], bandwidth)[:, 0]
        missed = (f @ live["W_dec"] + live["b_dec"] - batch).square().sum(dim=1).mean()
        optimiser.zero_grad()
        (missed + penalty(pre, theta, bandwidth)).backward()
        torch.nn.utils.clip_grad_norm_(live.values(), 1.0)
        optimiser.step()
        l0.append(float((pre > theta).float().sum(dim=1).mean()))
    return {name: value.detach() for name, value in live.items()}, l0


def topk_output(params: Mapping[str, Tensor], x: Tensor, k: int) -> Tensor:
    """A TopK SAE's output, with a gradient."""
    pre = (x - params["b_dec"]) @ params["W_enc"] + params["b_enc"]
    values, places = pre.topk(k, dim=-1)
    f = torch.zeros_like(pre).scatter(-1, places, values.relu())
    return f @ params["W_dec"] + params["b_dec"]


def finetuned(
    loaded: "Loaded",
    params: Params,
    k: int,
    hook: str,
    ids: Int[Tensor, "row pos"],
    loss: Callable[[Tensor, Tensor], Tensor],
    scale: float,
    lr: float = 3e-4,
    batch_rows: int = 8,
) -> Params:
    """One pass over the rows with the SAE in the model; `loss(squared error, KL)` is minimised.

    The SAE reads activations times `scale`. The first position is left alone.
    """
    live = {name: value.clone().requires_grad_() for name, value in params.items()}
    optimiser, parts = torch.optim.Adam(live.values(), lr=lr), ids.split(batch_rows)
    for n, part in enumerate(track(parts, "a last stage")):
        optimiser.param_groups[0]["lr"] = lr * (1 - n / len(parts))
        errors: list[Tensor] = []

        def put(value: Tensor, hook: object, errors: list[Tensor] = errors) -> Tensor:
            x = value[:, 1:].detach() * scale
            out = topk_output(live, x, k)
            errors.append((out - x).square().sum(dim=-1).mean())
            return torch.cat([value[:, :1], out / scale], dim=1)

        with torch.no_grad():
            clean = loaded.model(part)[:, 1:-1].log_softmax(dim=-1)
        told = loaded.model.run_with_hooks(part, fwd_hooks=[(hook, put)])[:, 1:-1]
        kl = (clean.exp() * (clean - told.log_softmax(dim=-1))).sum(dim=-1).mean()
        optimiser.zero_grad()
        loss(errors[0], kl).backward()
        torch.nn.utils.clip_grad_norm_(live.values(), 1.0)
        optimiser.step()
    return {name: value.detach() for name, value in live.items()}


def wandb_history(folder: Path) -> list[dict[str, float]]:
    """The numbers that an offline run logged, one dictionary for each step, from its own file."""
    from wandb.proto import wandb_internal_pb2

    file, found = next(folder.glob("wandb/offline-run-*/*.wandb")), []
    for data in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made at run time
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            names = [item.key or "/".join(item.nested_key) for item in record.history.item]
            values = [json.loads(item.value_json) for item in record.history.item]
            pairs = zip(names, values, strict=True)
            found.append({n: float(v) for n, v in pairs if isinstance(v, int | float)})
    return found


def _records(raw: bytes) -> list[bytes]:
    """The records of a log of LevelDB's format: pieces in blocks, type 1 whole, 2 to 4 in parts."""
    found, at, parts = [], HEAD, b""  # W&B's own head is as long as a piece's
    while at + HEAD <= len(raw):
        if BLOCK - at % BLOCK < HEAD:  # too little room for a head: the rest is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", raw[at : at + HEAD])
        piece, at = raw[at + HEAD : at + HEAD + length], at + HEAD + length
        parts = piece if kind in (1, 2) else parts + piece
        if kind in (1, 4):
            found.append(parts)
    return found
