"""One step's loss and gradient, by hand, for every architecture.

The loss is the squared error summed over d_out, mean over the batch, plus the architecture's
penalty (also a mean over the batch). Written with the symbols

    err  = 2 (output - y) / batch           what flows into the output
    g    = dLoss / d(x_c encoder^T)         what flows into the encoder's product

every architecture has dLoss/dencoder = g^T x_c, dLoss/dW_dec = a^T err and, for an SAE,
dLoss/db_dec = sum err - (sum g) encoder. The gradient with respect to x_c, a product as large as
the encoder's, is never formed.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from utils.saes.coder import Params, SparseCoder, centre, decoder_norms
from utils.saes.select import batch_topk_support, topk_support
from utils.saes.support import Ragged, Support, above


class Workspace:
    """Large matrices kept from step to step: fresh memory costs a tenth of a product."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def matrix(self, name: str, n: int, m: int, like: Tensor) -> Float[Tensor, "n m"]:
        """An n by m matrix with anything in it; the same memory for the same name."""
        kept = self.kept.get(name)
        if kept is None or len(kept) < n or kept.shape[1] != m or kept.dtype != like.dtype:
            kept = self.kept[name] = like.new_empty(n, m)
        return kept[:n]


@dataclass(frozen=True)
class Batch:
    """One batch, normalised, and the step's settings."""

    x: Float[Tensor, "batch d_in"]
    y: Float[Tensor, "batch d_out"]  # x itself for an SAE
    sparsity: float  # weight of the penalty at this step
    k: int  # latents per row at this step
    work: Workspace = field(default_factory=Workspace)  # a trainer passes its own


@dataclass
class Pass:
    """What a step computed; aux.py adds the dead latents' part."""

    losses: dict[str, Float[Tensor, ""]]
    grads: Params
    fired: Float[Tensor, " latent"]  # rows of the batch on which each latent was active
    x_c: Float[Tensor, "batch d_in"]
    error: Float[Tensor, "batch d_out"]  # output - y
    edge: Float[Tensor, ""] | None = None  # batchtopk, matryoshka: least positive score kept


def loss_and_gradient(coder: SparseCoder, batch: Batch) -> Pass:
    """The gradient of the architecture's loss with respect to each of `coder.params`."""
    rules = {"relu": _relu, "gated": _gated, "jumprelu": _jumprelu}
    with torch.no_grad():
        return rules.get(coder.cfg.architecture, _topk)(coder, batch)


def _encoded(
    batch: Batch,
    x_c: Float[Tensor, "batch d_in"],
    encoder: Float[Tensor, "latent d_in"],
    bias: Float[Tensor, " latent"],
) -> Float[Tensor, "batch latent"]:
    """The one product that cannot be left out: what is active is not known before it."""
    out = batch.work.matrix("pre", len(x_c), len(encoder), encoder)
    return torch.addmm(bias, x_c, encoder.T, out=out)


def _where_active(flow: Tensor, a: Tensor) -> Tensor:
    """`flow` where a > 0, else 0, in place and in one pass: a ReLU's backward."""
    return torch.ops.aten.threshold_backward.grad_input(flow, a, 0, grad_input=flow)


def _difference(
    coder: SparseCoder, batch: Batch, decoded: Float[Tensor, "batch d_out"]
) -> Float[Tensor, "batch d_out"]:
    """Output less target, in place of the decoded code."""
    if "W_skip" in coder.params:
        decoded.addmm_(batch.x, coder.params["W_skip"].T)
    return decoded.add_(coder.params["b_dec"]).sub_(batch.y)


def _mean_square(difference: Float[Tensor, "batch d_out"]) -> Float[Tensor, ""]:
    return difference.square().sum() / len(difference)


def _shared(
    coder: SparseCoder,
    batch: Batch,
    err: Float[Tensor, "batch d_out"],
    into_encoder: Float[Tensor, " latent"],
) -> Params:
    """Gradients of b_dec and W_skip; `into_encoder` is the sum of g over the batch."""
    grads = {"b_dec": err.sum(0)}
    if coder.cfg.centred:
        grads["b_dec"] -= into_encoder @ coder.params["encoder"]
    if "W_skip" in coder.params:
        grads["W_skip"] = err.T @ batch.x
    return grads


def _add_norm_gradient(
    grad: Float[Tensor, "latent d_out"],
    W_dec: Float[Tensor, "latent d_out"],
    norms: Float[Tensor, " latent"],
    weight: Float[Tensor, " latent"],
) -> None:
    """Add the gradient of the sum of weight times decoder norm."""
    grad.addcmul_(W_dec, (weight / norms).unsqueeze(1))


def _relu(coder: SparseCoder, batch: Batch) -> Pass:
    """Penalty: sparsity times the sum of a ||W_dec_l|| (Anthropic, April 2024 update)."""
    params, n = coder.params, len(batch.x)
    W_dec, norms, x_c = params["W_dec"], decoder_norms(coder), centre(coder, batch.x)
    pre = _encoded(batch, x_c, params["encoder"], params["b_enc"])
    support = above(pre, 0.0)
    a = support.take(pre).relu_()
    difference = _difference(coder, batch, support.decode(a, W_dec))
    err = difference * (2 / n)
    slope = batch.sparsity / n * norms
    flow = batch.work.matrix("flow", len(pre), pre.shape[1], pre)
    g = _where_active(support.sample(err, W_dec, slope, flow), a)
    a_sum, g_sum = support.latent_sum(a), support.latent_sum(g)
    grads = {"encoder": support.outer(g, x_c), "W_dec": support.outer(a, err), "b_enc": g_sum}
    _add_norm_gradient(grads["W_dec"], W_dec, norms, batch.sparsity / n * a_sum)
    grads |= _shared(coder, batch, err, g_sum)
    losses = {"mse": _mean_square(difference), "l1_loss": slope @ a_sum}
    return Pass(losses, grads, _fired(support, a), x_c, difference)


def _fired(support: Support, a: Tensor) -> Float[Tensor, " latent"]:
    """Rows on which each latent is active; turns `a` (>= 0) into its sign, so it comes last."""
    wide = torch.promote_types(a.dtype, torch.float32)  # in bfloat16 a count stops at 256
    return support.latent_sum(a.sign_().to(wide))


def _jumprelu(coder: SparseCoder, batch: Batch) -> Pass:
    """Penalty: sparsity times the number of active latents (Rajamanoharan et al. 2024b).

    A step has no slope: the threshold's gradient puts the kernel 1/bandwidth on |pre - threshold|
    < bandwidth / 2 in its place, for the penalty and for the reconstruction (eq. 11, 12).
    """
    params, n, width = coder.params, len(batch.x), coder.cfg.bandwidth
    W_dec, x_c, threshold = params["W_dec"], centre(coder, batch.x), params["threshold"]
    pre = _encoded(batch, x_c, params["encoder"], params["b_enc"])
    support = above(pre, threshold - width / 2)
    z, theta = support.take(pre), support.per_latent(threshold)
    active = z > theta
    a = torch.where(active, z, 0)
    difference = _difference(coder, batch, support.decode(a, W_dec))
    err = difference * (2 / n)
    flow = support.sample(err, W_dec)
    g = torch.where(active, flow, 0)
    near = ((z - theta) / width).abs() < 0.5
    pull = torch.where(near, -(theta * flow + batch.sparsity / n) / width, 0)
    g_sum = support.latent_sum(g)
    grads = {"encoder": support.outer(g, x_c), "W_dec": support.outer(a, err), "b_enc": g_sum}
    grads |= {"threshold": support.latent_sum(pull)} | _shared(coder, batch, err, g_sum)
    fired = _fired(support, a)
    losses = {"mse": _mean_square(difference), "l0_loss": fired.sum() * (batch.sparsity / n)}
    return Pass(losses, grads, fired, x_c, difference)


def _gated(coder: SparseCoder, batch: Batch) -> Pass:
    """Penalty on the gate's pre-activations, and their own reconstruction with a frozen decoder.

    Loss: squared error + sparsity sum relu(gate) ||W_dec_l|| + squared error of relu(gate)
    W_dec + b_dec, where the last decoder's copy takes no gradient (Rajamanoharan et al. 2024a,
    eq. 8; sae_lens lets it through). The step at gate = 0 has no gradient.
    """
    params, n = coder.params, len(batch.x)
    W_dec, norms, x_c = params["W_dec"], decoder_norms(coder), centre(coder, batch.x)
    pre = _encoded(batch, x_c, params["encoder"], params["b_gate"])
    support = above(pre, 0.0)
    z = support.take(pre)
    gate, gain = z.relu(), support.per_latent(params["r_mag"].exp())
    product = z - support.per_latent(params["b_gate"])
    a = torch.where(z > 0, product * gain + support.per_latent(params["b_mag"]), 0).relu_()
    difference = _difference(coder, batch, support.decode(a, W_dec))
    gate_difference = _difference(coder, batch, support.decode(gate, W_dec))
    err, gate_err = difference * (2 / n), gate_difference * (2 / n)
    slope = batch.sparsity / n * norms
    into_mag = _where_active(support.sample(err, W_dec), a)
    into_gate = _where_active(support.sample(gate_err, W_dec, slope), gate)
    g = into_mag * gain + into_gate
    grads = {"encoder": support.outer(g, x_c), "W_dec": support.outer(a, err)}
    gate_sum = support.latent_sum(gate)
    _add_norm_gradient(grads["W_dec"], W_dec, norms, batch.sparsity / n * gate_sum)
    grads |= {"b_gate": support.latent_sum(into_gate), "b_mag": support.latent_sum(into_mag)}
    grads["r_mag"] = support.latent_sum(into_mag * product * gain)
    grads |= _shared(coder, batch, err, support.latent_sum(g))
    losses = {"mse": _mean_square(difference), "l1_loss": slope @ gate_sum}
    losses["gate_mse"] = _mean_square(gate_difference)
    return Pass(losses, grads, _fired(support, a), x_c, difference)


def _scores(
    coder: SparseCoder, batch: Batch, x_c: Float[Tensor, "batch d_in"]
) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, " latent"]]:
    """Pre-activations times decoder norms, and the norms.

    The norms go into the encoder's rows first: cheaper than a pass over (batch, latent).
    """
    norms, encoder, b_enc = decoder_norms(coder), coder.params["encoder"], coder.params["b_enc"]
    if coder.cfg.decoder_norm == "free":
        scaled = batch.work.matrix("scaled", len(encoder), encoder.shape[1], encoder)
        encoder, b_enc = torch.mul(encoder, norms.unsqueeze(1), out=scaled), b_enc * norms
    return _encoded(batch, x_c, encoder, b_enc), norms


def _topk(coder: SparseCoder, batch: Batch) -> Pass:
    """No penalty; the squared errors of all nested dictionaries if matryoshka (one otherwise).

    Which scores are the largest takes no gradient, so the norms in them take none (Gao et al.
    2024; Bussmann et al. 2024, 2025).
    """
    cfg, W_dec, n = coder.cfg, coder.params["W_dec"], len(batch.x)
    x_c = centre(coder, batch.x)
    scores, norms = _scores(coder, batch, x_c)
    if cfg.architecture == "topk":
        support, value = topk_support(scores, batch.k)
    else:
        support, value = batch_topk_support(scores, batch.k * n)
    a = value / support.per_latent(norms)
    levels = _levels(support, cfg.widths or (cfg.latent,))
    outputs = _nested_outputs(coder, batch, levels, a)
    g, parts, err = torch.empty_like(a), [], torch.zeros_like(batch.y)
    for (here, level, span), difference in zip(reversed(levels), reversed(outputs), strict=True):
        err = err.add(difference, alpha=2 / n)  # a latent is in its own level and all larger ones
        g[here] = level.sample(err, W_dec[span])
        parts.append(level.outer(a[here], err))
    g_sum = support.latent_sum(g)
    grads = {"encoder": support.outer(g, x_c), "b_enc": g_sum} | _shared(coder, batch, err, g_sum)
    grads["W_dec"] = parts[0] if len(parts) == 1 else torch.cat(parts[::-1])
    losses = {"mse": _mean_square(outputs[-1])}
    for width, difference in zip(cfg.widths[:-1], outputs, strict=False):
        losses[f"mse_{width}"] = _mean_square(difference)
    edge = value.min() if cfg.architecture != "topk" and len(value) else None
    return Pass(losses, grads, _fired(support, a), x_c, outputs[-1], edge)


Level = tuple[Tensor | slice, Ragged, slice]


def _levels(support: Ragged, widths: tuple[int, ...]) -> list[Level]:
    """The entries each nested dictionary adds: which, their support, their latents."""
    if len(widths) == 1:
        return [(slice(None), support, slice(None))]
    spans = zip((0, *widths[:-1]), widths, strict=True)
    return [(*support.within(first, last), slice(first, last)) for first, last in spans]


def _nested_outputs(
    coder: SparseCoder, batch: Batch, levels: list[Level], a: Float[Tensor, " entry"]
) -> list[Float[Tensor, "batch d_out"]]:
    """Output less target of each nested dictionary: the smaller one's plus a few latents more."""
    outputs: list[Tensor] = []
    for here, level, rows in levels:
        added = level.decode(a[here], coder.params["W_dec"][rows])
        if outputs:
            outputs.append(outputs[-1] + added)
        else:
            outputs.append(_difference(coder, batch, added))
    return outputs
