"""The experiments of 3.2.5 around the learner's functions, which come in as arguments."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.given.latent_circuits import Chain, Metric, Parts
from utils.progress import track

MODES = ("live", "constant", "none")
WAYS = [(mode, still) for mode in MODES for still in (False, True)]  # error, patterns and norms
SHARES = {"1 % removed": 0.01, "all removed": 1.0}
Found = dict[tuple[tuple[str, bool], str], list[float]]


def six_ways(
    chain: Chain,
    prompts: Int[Tensor, "row pos"],
    site: int,
    names: Sequence[str],
    active_entries: Callable[..., tuple[Tensor, Tensor]],
    with_error: Callable[..., Tensor],
) -> Found:
    """Per prompt, the correlation of each gradient's prediction with what a removal does.

    Sources are the latents that are active at `site`; the metric is the logit of the likeliest next
    word minus the mean. Later sites have SAEs with their error live, constant or left out; what
    passes at the hooks in `names` is held at its clean value or not.
    """
    found: Found = {(way, name): [] for way in WAYS for name in SHARES}
    for row in track(prompts, "prompts"):
        x = chain.states(row[None])[site]
        held = chain.values(row[None], names)
        top = int(chain.run(row[None]).argmax())
        at, value = active_entries(chain.encode(site, x)[0], 1)
        write = value[:, None] * chain.W_dec(site)[at[:, 1]]

        def logit(
            x: Tensor, mode: str, held: dict | None, row: Tensor = row, top: int = top
        ) -> Tensor:
            def edit(i: int, now: Tensor) -> Tensor:
                if i == site:
                    return x
                if mode == "live":
                    return now
                return with_error(now, chain.saes[i].encode, chain.saes[i].sae.decode, mode)

            out = chain.run(row.expand(len(x), -1), edit, site, held)
            return out[:, top] - out.mean(dim=-1)

        told = {}
        for mode, still in WAYS:
            leaf = x.clone().requires_grad_()
            total = logit(leaf, mode, held if still else None).sum()
            slope = torch.autograd.grad(total, leaf)[0][0]
            told[mode, still] = -(slope[at[:, 0]] * write).sum(dim=-1)
        for name, share in SHARES.items():
            less = x.expand(len(at), -1, -1).clone()
            less[torch.arange(len(at)), at[:, 0]] -= share * write
            with torch.no_grad():
                change = (logit(less, "live", None) - logit(x, "live", None)) / share
            for way in WAYS:
                r = torch.corrcoef(torch.stack([told[way], change]))[0, 1]
                found[way, name].append(float(r))
    return found


def site_scores(
    chain: Chain,
    tokens: Int[Tensor, "row pos"],
    metric: Metric,
    parts: Parts,
    integrated_gradient: Callable[..., Tensor],
    node_attribution: Callable[..., tuple[Tensor, Tensor]],
    held: dict[str, Tensor] | None = None,
    n_steps: int = 10,
) -> tuple[list[Float[Tensor, "pos latent"]], list[Float[Tensor, " pos"]]]:
    """Scores of latents and of errors at every site, by integrated gradients."""
    latents, errors = [], []
    for site in track(range(chain.n_sites), "sites"):
        rest = chain.rest(site, tokens, metric, held)
        slope = integrated_gradient(rest, parts.x[site], parts.x_base(chain, site), n_steps)
        nodes = parts.f[site], parts.f_base[site], parts.e[site], parts.e_base[site]
        found = node_attribution(*nodes, slope, chain.W_dec(site))
        latents.append(found[0])
        errors.append(found[1])
    return latents, errors


@torch.no_grad()
def run_circuit(
    chain: Chain,
    tokens: Int[Tensor, "row pos"],
    metric: Metric,
    parts: Parts,
    keep_nodes: Callable[..., Tensor],
    keep: Sequence[Bool[Tensor, "pos latent"]],
    keep_error: Sequence[Bool[Tensor, " pos"]],
) -> Float[Tensor, " row"]:
    """The metric of every row where all nodes outside the circuit have their baseline."""

    def edit(site: int, x: Tensor) -> Tensor:
        sae = chain.saes[site]
        base = parts.f_base[site], parts.e_base[site]
        return keep_nodes(x, sae.encode, sae.sae.decode, keep[site], keep_error[site], *base)

    return metric(chain.run(tokens, edit))


def whole(parts: Parts, value: bool) -> tuple[list[Tensor], list[Tensor]]:
    """All latents and all errors, or none of them."""
    latents = [torch.full(f.shape[1:], value) for f in parts.f]
    return latents, [torch.full((f.shape[1],), value) for f in parts.f]


def edges_of(
    chain: Chain,
    tokens: Int[Tensor, "row pos"],
    metric: Metric,
    parts: Parts,
    keep: Sequence[Bool[Tensor, "pos latent"]],
    latent_jacobian: Callable[..., Tensor],
    edge_attribution: Callable[..., Tensor],
    least: float = 0.05,
) -> list[tuple[int, int, float]]:
    """Edges between nodes of neighbouring sites, to first order, means over rows; no weak ones.

    Nodes are numbered site by site, in the order of `keep[site].nonzero()`.
    """
    lines, begin = [], 0
    for site in range(chain.n_sites - 1):
        here, there = keep[site].nonzero(), keep[site + 1].nonzero()
        total = torch.zeros(len(there), len(here))
        for row in tokens if len(here) and len(there) else ():
            x, later = (x[0] for x in chain.states(row[None])[site : site + 2])
            leaf = later[None].clone().requires_grad_()
            gap = chain.rest(site + 1, row[None], metric)(leaf).sum()
            slope = torch.autograd.grad(gap, leaf)[0][0] @ chain.W_dec(site + 1).T
            way = chain.between(site, site + 1, row)
            J = latent_jacobian(way, x, here, there, chain.W_dec(site), chain.W_enc(site + 1))
            # slopes are by activations, J is of pre-activations: a silent target passes none on
            on = chain.encode(site + 1, later)[there[:, 0], there[:, 1]] > 0
            slopes = torch.where(on, slope[there[:, 0], there[:, 1]], 0.0)
            moved = (parts.f_base[site] - chain.encode(site, x))[here[:, 0], here[:, 1]]
            total += edge_attribution(moved, J, slopes) / len(tokens)
        for t, s in (total.abs() > least).nonzero().tolist():
            lines.append((begin + s, begin + len(here) + t, float(total[t, s])))
        begin += len(here)
    return lines
