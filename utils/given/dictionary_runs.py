"""The runs of 3.1.8 and 3.1.9: stacks of SAEs, trained by functions that a notebook hands in.

In a stack every tensor of `params` and `hyper` has a leading axis `inst`; a loss is of one SAE.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from utils.given.dictionaries import (
    TRAINING,
    Loss,
    cosine_table,
    init_sae,
    nmf_dictionary,
    noise_loss,
    noisy_rows_of,
    pca_dictionary,
    random_dictionary,
    root_loss,
    rows_of,
    sae_codes,
    sae_loss,
    spike_slab_loss,
    start_rows,
    unit,
    unit_decoder,
)
from utils.progress import track
from utils.toy import Run, TrainConfig
from utils.training import Params, descend

Member = tuple[int, float, bool]  # latents, l1, tied
Sampler = Callable[[torch.Generator], Any]


@dataclass(frozen=True)
class Stacks:
    """Makes and trains stacks of SAEs with three functions of the notebook."""

    pad: Callable[..., tuple[Tensor, Tensor]]  # (dictionaries, n_max) -> stack, mask
    gradient_of: Callable[..., tuple[Params, Tensor]]  # (loss, params, batch, hyper)
    update_by: Callable[..., tuple[Tensor, Tensor, Tensor]]  # one Adam update

    def init(self, members: list[Member], d_in: int, gen: torch.Generator) -> tuple[Params, Params]:
        """Parameters and `hyper`, smaller SAEs padded to the size of the largest."""
        starts = [init_sae(n, d_in, gen)["W_dec"] for n, _, _ in members]
        W_dec, mask = self.pad(starts, max(n for n, _, _ in members))
        biases = {"b_enc": torch.zeros_like(mask), "b_dec": W_dec.new_zeros(len(members), d_in)}
        l1, tied = W_dec.new_tensor([(l1, tied) for _, l1, tied in members]).T
        hyper = {"l1": l1.contiguous(), "tied": tied.contiguous(), "mask": mask}
        return {"W_enc": W_dec.mT.contiguous(), "W_dec": W_dec, **biases}, hyper

    def train(
        self,
        loss: Loss,
        params: Params,
        hyper: Params,
        sample: Sampler,
        cfg: TrainConfig,
        gen: torch.Generator,
        after_step: Callable[[int, Params], None] = unit_decoder,
    ) -> Run:
        """Train all members on the same batches; `params` are copied, not changed.

        All parameters are one vector for the update, and the gradient is `recorded`.
        """
        example = sample(gen.clone_state())
        gradients = recorded(partial(self.gradient_of, loss), params, example, hyper)
        theta = torch.cat([value.flatten() for value in params.values()])
        pieces = theta.split([value.numel() for value in params.values()])
        live = {k: p.view_as(v) for (k, v), p in zip(params.items(), pieces, strict=True)}
        grad, moments = torch.empty_like(theta), [torch.zeros_like(theta), torch.zeros_like(theta)]

        def gradient(_wanted: bool) -> Float[Tensor, " inst"]:
            grads, losses = gradients(live, sample(gen), hyper)
            torch.cat([grads[name].flatten() for name in live], out=grad)
            return losses

        def update(step: int, lr: float) -> None:
            new, *moments[:] = self.update_by(theta, grad, *moments, step + 1, lr)
            theta.copy_(new)
            after_step(step, live)

        return descend(live, gradient, update, cfg)

    def sweep(
        self, x: Float[Tensor, "batch d_in"], members: list[Member], seed: int
    ) -> list[Float[Tensor, "latent d_in"]]:
        """The decoders of many SAEs, trained in one run, each without its dead latents."""
        gen = torch.Generator(x.device).manual_seed(seed)
        params, hyper = self.init(members, x.shape[1], gen)
        cfg = replace(TRAINING, label=f"{len(members)} SAEs at once")
        params = self.train(sae_loss, params, hyper, rows_of(x, cfg.batch), cfg, gen).params
        decoders = []
        for i in range(len(members)):
            codes = sae_codes(member_of(params, i), x, member_of(hyper, i))
            decoders.append(params["W_dec"][i, (codes > 0).any(dim=0)])
        return decoders


def recorded(fn: Callable[..., Any], *example: Any) -> Callable[..., Any]:
    """`fn` as the plain tensor operations that it leads to on arguments of the example's shapes.

    vmap's bookkeeping then happens once and not at every step. A third of the operations only
    reshape a tensor to the shape that it has: small tensors feel their cost, so they go.
    """
    traced, aten = make_fx(fn)(*example), torch.ops.aten
    reshapes = (aten.expand.default, aten.view.default, aten._unsafe_view.default)
    for node in list(traced.graph.nodes):
        if node.target in reshapes and node.meta["val"].shape == node.args[0].meta["val"].shape:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def member_of(stack: Params, i: int) -> Params:
    """Member i of a stack of parameters or `hyper`s, with its padding."""
    return {name: value[i] for name, value in stack.items()}


# -------------------------------------------------------------------------- SAEs against others


def baselines(
    x: Float[Tensor, "batch d_in"],
    n_latent: int,
    ica: Callable[..., Tensor],
    learn: Callable[..., Tensor],
) -> dict[str, Tensor]:
    """A dictionary from each method; ICA and K-SVD (`learn`) are the notebook's."""
    gen = torch.Generator(device=x.device).manual_seed(3)
    axes = torch.eye(x.shape[1], device=x.device)
    return {
        "random directions": random_dictionary(n_latent, x.shape[1], gen),
        "the axes and their opposites": torch.cat([axes, -axes]),
        "PCA": pca_dictionary(x),
        "NMF": nmf_dictionary(x, n_latent, 0),
        "ICA": ica(x, 0),
        "K-SVD, k = 2": learn(x, start_rows(x, n_latent, 0), 2, 12),
    }


@dataclass(frozen=True)
class Entry:
    """One setting of one method: two dictionaries from two starts."""

    name: str
    first: Float[Tensor, "latent d_in"]
    second: Float[Tensor, "latent d_in"]

    def similarity(self) -> Float[Tensor, " latent"]:
        """Each latent's largest cosine with a latent of the second run."""
        return cosine_table(self.first, self.second).max(dim=1).values

    def n_stable(self) -> int:
        """Latents that come back: what one can count without knowing the truth."""
        return int((self.similarity() > 0.9).sum())


def enter_saes(stacks: Stacks, x: Float[Tensor, "batch d_in"], seed: int) -> list[Entry]:
    """Untied SAEs: two sizes times four coefficients, two starts."""
    members = [(n, l1, False) for n in (60, 120) for l1 in (0.2, 0.4, 0.6, 0.9)]
    found = stacks.sweep(x, [*members, *members], 100 + seed)
    names = [f"SAE, {n} latents, λ = {l1}" for n, l1, _ in members]
    half = len(members)
    return [Entry(*each) for each in zip(names, found[:half], found[half:], strict=True)]


def enter_ksvd(
    learn: Callable[..., Tensor], x: Float[Tensor, "batch d_in"], seed: int
) -> list[Entry]:
    """K-SVD (`learn`): two sizes times four numbers of non-zero entries, two starts."""
    entries = []
    for n, k in track([(n, k) for n in (60, 120) for k in (1, 2, 3, 4)], "K-SVD"):
        first, second = (learn(x, start_rows(x, n, 10 * seed + i), k, 12) for i in (1, 2))
        entries.append(Entry(f"K-SVD, {n} rows, k = {k}", first, second))
    return entries


def count_league(
    x: Float[Tensor, "batch d_in"],
    entered: dict[str, list[Entry]],
    ica: Callable[..., Tensor],
    recovered: Callable[[Tensor], int],
) -> dict[str, int]:
    """Recovered features of every method; where there are settings, at the best and stablest."""
    plain = {"PCA": pca_dictionary(x), "ICA": ica(x, 0), "NMF": nmf_dictionary(x, 60, 0)}
    counts = {name: recovered(D) for name, D in plain.items()}
    for name, entries in entered.items():
        stablest = max(entries, key=Entry.n_stable)
        counts[f"{name}, best setting"] = max(recovered(entry.first) for entry in entries)
        counts[f"{name}, most stable"] = recovered(stablest.first)
    return counts


# ------------------------------------------------------------------------------- other runs

ROADS: dict[str, tuple[Loss, list[float]]] = {  # a loss and four strengths
    "L1": (sae_loss, [0.2, 0.4, 0.6, 0.9]),
    "square root": (root_loss, [0.1, 0.2, 0.3, 0.5]),
    "noise": (noise_loss, [0.2, 0.3, 0.4, 0.6]),
    "spike and slab": (spike_slab_loss, [0.1, 0.15, 0.2, 0.3]),
}


def take_road(
    stacks: Stacks, kl: Loss, x: Float[Tensor, "batch d_in"], road: str, seed: int
) -> list[Float[Tensor, "latent d_in"]]:
    """Decoders of four SAEs with 60 latents, one for each strength of this road."""
    (loss, strengths), gen = ROADS[road], torch.Generator(x.device).manual_seed(seed)
    params, hyper = stacks.init([(60, s, False) for s in strengths], x.shape[1], gen)
    sample = rows_of(x, 128) if road in ("L1", "square root") else noisy_rows_of(x, 128, 60)
    if road == "spike and slab":
        loss, zeros = partial(spike_slab_loss, kl), torch.zeros_like(params["b_enc"])
        params |= {"W_gate": 3 * params["W_enc"], "b_gate": zeros - 2, "log_std": zeros - 1}
        hyper["prior"] = torch.full_like(hyper["l1"], 3 / 60)  # three of 60 latents on
    cfg = replace(TRAINING, label=road)
    return list(stacks.train(loss, params, hyper, sample, cfg, gen).params["W_dec"])


def train_and_relax(
    stacks: Stacks,
    settled_in: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch d_in"],
    seed: int,
) -> tuple[Float[Tensor, "frame latent d_in"], Bool[Tensor, " latent"], Run, Params]:
    """One SAE at l1 = 0.4, a frame every 300 steps; who settled; five copies that go on; `hyper`.

    The copies have l1 = 0.05, 0.1, 0.2, 0.4, and again 0.05 with the settled latents frozen.
    """
    gen, frames = torch.Generator(x.device).manual_seed(seed), []
    params, hyper = stacks.init([(60, 0.4, False)], x.shape[1], gen)

    def keep_frame(step: int, live: Params) -> None:
        unit_decoder(step, live)
        if (step + 1) % 300 == 0:
            frames.append(live["W_dec"][0].clone())  # without clone, all frames would be the last

    cfg = TrainConfig(6000, 128, 3e-3, label="60 latents, constant learning rate")
    run = stacks.train(sae_loss, params, hyper, rows_of(x, 128), cfg, gen, keep_frame)
    still = settled_in(torch.stack(frames))
    copies = {name: value.repeat_interleave(5, dim=0) for name, value in run.params.items()}
    members = [(60, l1, False) for l1 in (0.05, 0.1, 0.2, 0.4, 0.05)]
    _, hyper = stacks.init(members, x.shape[1], gen)

    def freeze(step: int, live: Params) -> None:
        unit_decoder(step, live)
        live["W_dec"][4] = torch.where(still[:, None], frames[-1], live["W_dec"][4])

    cfg = TrainConfig(4000, 128, 3e-3, n_frames=11, label="five copies go on")
    then = stacks.train(sae_loss, copies, hyper, rows_of(x, 128), cfg, gen, freeze)
    return torch.stack(frames), still, then, hyper


def train_negative(
    stacks: Stacks, x: Float[Tensor, "batch d_in"], seed: int
) -> dict[str, tuple[Params, Params]]:
    """Six SAEs with 2 d_in latents, good and bad: name -> parameters and `hyper`."""
    d_in, gen = x.shape[1], torch.Generator(x.device).manual_seed(seed)
    kinds: dict[str, tuple[float, bool]] = {
        "tied, start at the axes, λ = 0": (0.0, True),
        "untied, start at the axes, λ = 0": (0.0, False),
        **{f"tied, random start, λ = {l1}": (l1, True) for l1 in (0.03, 0.1, 0.2)},
        "untied, random start, λ = 0.4": (0.4, False),
    }
    params, hyper = stacks.init([(2 * d_in, *kind) for kind in kinds.values()], d_in, gen)
    axes = torch.eye(d_in, device=x.device)
    blur = 0.02 * torch.randn(2 * d_in, d_in, generator=gen, device=x.device)
    params["W_dec"][:2] = unit(torch.cat([axes, -axes]) + blur)
    params["W_enc"][:2] = params["W_dec"][:2].mT
    cfg = replace(TRAINING, label="six SAEs, some of them useless")
    run = stacks.train(sae_loss, params, hyper, rows_of(x, 128), cfg, gen)
    return {name: (member_of(run.params, i), member_of(hyper, i)) for i, name in enumerate(kinds)}
