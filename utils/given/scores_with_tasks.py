"""Spurious correlations, targeted perturbations, and the library's evaluation, for 3.2.10."""

import types
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.data.corpus import Rows
from utils.given.biased_probe import fit_probe
from utils.given.evaluating import HOOK, Tokens, codes, plain_model
from utils.given.in_model import sample_rows
from utils.given.steering import residuals
from utils.models.sae import Sae
from utils.sae_metrics.recovered import in_model
from utils.saes.coder import SparseCoder

Effects = Callable[..., Tensor]
Probe = tuple[Tensor, float]


def accuracy(x: Float[Tensor, "item d_in"], label: Bool[Tensor, " item"], probe: Probe) -> float:
    """Share of right answers."""
    return float(((x @ probe[0] + probe[1] > 0) == label).double().mean())


def without(
    x: Float[Tensor, "item d_in"], coder: SparseCoder, drop: Int[Tensor, " chosen"]
) -> Float[Tensor, "item d_in"]:
    """x less what some latents write."""
    return x - codes(coder, x)[:, drop] @ (coder.params["W_dec"][drop] / coder.scale_out)


def spurious(
    train: Tokens,
    held: Tokens,
    coder: SparseCoder,
    numbers: Sequence[int],
    effects: Effects,
    tasks: tuple[str, str] = ("the tense is present", "the subject is plural"),
) -> tuple[float, float, Float[Tensor, " item"]]:
    """(base, oracle, after removing so many latents): accuracy on the wanted task, on `held`.

    In the biased training set both answers are always the same; in the balanced one, and in the
    test, all four pairs are as frequent. Removed are the latents with the largest effect on a
    probe for the unwanted task.
    """
    gen = torch.Generator().manual_seed(0)
    y, other = (train.tasks[task] for task in tasks)
    biased = _by_kind([y & other, ~y & ~other], gen, 400)
    balanced = _by_kind([y & other, ~y & ~other, y & ~other, ~y & other], gen, 200)
    a, b = (held.tasks[task] for task in tasks)
    test = _by_kind([a & b, ~a & ~b, a & ~b, ~a & b], gen, 200)
    probe, oracle = (fit_probe(train.x[i], y[i]) for i in (biased, balanced))
    unwanted, _ = fit_probe(train.x[balanced], other[balanced])
    f, W_dec = codes(coder, train.x[balanced]), coder.params["W_dec"]
    order = effects(f, other[balanced], W_dec, unwanted).abs().argsort(descending=True)
    x, truth = held.x[test], a[test]
    ablated = [accuracy(without(x, coder, order[:n]), truth, probe) for n in numbers]
    return accuracy(x, truth, probe), accuracy(x, truth, oracle), torch.tensor(ablated)


def perturbed(
    data: Tokens, coder: SparseCoder, n: int, effects: Effects
) -> tuple[Float[Tensor, " target"], Float[Tensor, "source target"]]:
    """Accuracy of a probe per scene, before and after removing the n latents of each scene."""
    scenes = [task for task in data.tasks if task.startswith("the scene is")]
    gen, f = torch.Generator().manual_seed(0), codes(coder, data.x)
    probes: list[Probe] = []
    tests, drops = [], []
    for scene in scenes:
        y = data.tasks[scene]
        train, test = (_balanced(y, part, gen) for part in (data.fit, ~data.fit))
        probes.append(fit_probe(data.x[train], y[train]))
        tests.append((data.x[test], y[test]))
        effect = effects(f[train], y[train], coder.params["W_dec"], probes[-1][0])
        drops.append(effect.argsort(descending=True)[:n])
    before = [accuracy(*test, probe) for test, probe in zip(tests, probes, strict=True)]
    after = [
        [accuracy(without(x, coder, drop), y, p) for (x, y), p in zip(tests, probes, strict=True)]
        for drop in drops
    ]
    return torch.tensor(before), torch.tensor(after)


def _balanced(
    y: Bool[Tensor, " item"], part: Bool[Tensor, " item"], gen: torch.Generator, n: int = 300
) -> Int[Tensor, " chosen"]:
    """As many yeses as noes, at random."""
    return _by_kind([part & y, part & ~y], gen, n)


def _by_kind(
    kinds: Sequence[Bool[Tensor, " item"]], gen: torch.Generator, n: int
) -> Int[Tensor, " chosen"]:
    """n items of each kind (fewer where one kind has fewer), at random."""
    places = [kind.nonzero()[:, 0] for kind in kinds]
    n = min(n, *map(len, places))
    return torch.cat([kind[torch.randperm(len(kind), generator=gen)[:n]] for kind in places])


Numbers = dict[str, float]


def both_evaluations(
    sae: Sae, n_rows: int, seed: int
) -> tuple[Numbers, Numbers, Numbers, tuple[Tensor, Tensor]]:
    """(sae_lens' numbers, ours on its tokens, ours), and the last tokens with reconstructions."""
    from sae_lens.evals import EvalConfig, run_evals
    from sae_lens.training.activation_scaler import ActivationScaler

    loaded = plain_model()
    rows = sample_rows(loaded, n_rows, seed)
    store = types.SimpleNamespace(
        store_batch_size_prompts=n_rows,
        get_batch_tokens=lambda size=None: rows.ids,
        reset_input_dataset=lambda: None,
        context_size=rows.ids.shape[1],
    )
    config = EvalConfig(
        batch_size_prompts=n_rows, n_eval_reconstruction_batches=1, compute_ce_loss=True,
        n_eval_sparsity_variance_batches=1, compute_sparsity_metrics=True,
        compute_variance_metrics=True,
    )  # fmt: skip
    found, _ = run_evals(sae.sae, store, loaded.model, ActivationScaler(), config, verbose=False)
    flat = {name: value for group in found.values() for name, value in group.items()}
    theirs = {
        "L0": flat["l0"],
        "explained": flat["explained_variance"],
        "older": flat["explained_variance_legacy"],
        "loss recovered": flat["ce_loss_score"],
    }
    bos = rows.ids == loaded.tokenizer.bos_token_id
    ours, pair = _ours(sae, rows, torch.ones_like(bos))
    return theirs, _ours(sae, rows, ~bos)[0], ours, pair


def _ours(
    sae: Sae, rows: Rows, keep: Bool[Tensor, "row pos"]
) -> tuple[Numbers, tuple[Tensor, Tensor]]:
    """Our metrics on the tokens to keep, the first of a row never; the loss as in 3.2.1."""
    keep = keep & (torch.arange(keep.shape[1]) > 0)
    x = residuals(plain_model(), HOOK, rows.ids, 50)[keep]
    f = sae.encode(x)
    x_hat = sae.decode(f, x)
    error, total = (x - x_hat).square(), (x - x.mean(dim=0)).square()
    numbers = {
        "L0": float((f > 0).double().sum(dim=1).mean()),
        "explained": 1 - float(error.sum() / total.sum()),
        "older": float((1 - error.sum(dim=1) / total.sum(dim=1)).mean()),
        "loss recovered": in_model(plain_model().model, rows, sae, "zero", 1, 16).loss_recovered,
    }
    return numbers, (x, x_hat)


def both_matchings(
    truth: Float[Tensor, "n d_in"], learned: Float[Tensor, "m d_in"]
) -> tuple[float, float]:
    """(sae_lens' mean correlation coefficient, the mean signed cosine of 3.1.5)."""
    from sae_lens.synthetic.evals import mean_correlation_coefficient

    from utils.sae_metrics.similarity import matched

    return mean_correlation_coefficient(learned, truth), float(matched(truth, learned)[0].mean())
