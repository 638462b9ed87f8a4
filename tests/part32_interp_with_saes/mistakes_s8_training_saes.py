"""Wrong answers that learners of 3.2.8 give, each with what a tutor would say."""

import math
from collections.abc import Callable

import torch

from part31_superposition.s6_sae_variants import heaviside
from utils.activations.read import generator as keyed

# ---------------------------------------------------------------------------------- a1. mix_step


def mix_step__only_the_new_ones(kept, fresh, gen):
    """You shuffle the new rows alone, so the old ones are always served first. Shuffle both
    together."""
    fresh = fresh[torch.randperm(len(fresh), generator=gen, device=gen.device)]
    rows = torch.cat([kept, fresh])
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def mix_step__no_shuffle(kept, fresh, gen):
    """You serve rows in the order in which they came: documents stay together. Shuffle first."""
    rows = torch.cat([kept, fresh])
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def mix_step__second_half_served(kept, fresh, gen):
    """You serve the second half of the order and keep the first. The task says the other way."""
    rows = torch.cat([kept, fresh])
    rows = rows[torch.randperm(len(rows), generator=gen, device=gen.device)]
    return rows[len(rows) - len(rows) // 2 :], rows[: len(rows) - len(rows) // 2]


def mix_step__keeps_what_it_served(kept, fresh, gen):
    """You keep rows that were served: they come again, and others are lost."""
    rows = torch.cat([kept, fresh])
    rows = rows[torch.randperm(len(rows), generator=gen, device=gen.device)]
    return rows[: len(rows) // 2], rows[: len(rows) - len(rows) // 2]


def mix_step__all_served(kept, fresh, gen):
    """You serve everything, and nothing waits: the next rows are mixed with none of these."""
    rows = torch.cat([kept, fresh])
    rows = rows[torch.randperm(len(rows), generator=gen, device=gen.device)]
    return rows, rows[len(rows) :]


def mix_step__half_of_the_new(kept, fresh, gen):
    """You serve half as many rows as are *new*. Half of all rows is asked for."""
    rows = torch.cat([kept, fresh])
    rows = rows[torch.randperm(len(rows), generator=gen, device=gen.device)]
    return rows[: len(fresh) // 2], rows[len(fresh) // 2 :]


def mix_step__new_in_front(kept, fresh, gen):
    """You put the new rows in front of the old ones before you shuffle. The task has them
    behind."""
    rows = torch.cat([fresh, kept])
    rows = rows[torch.randperm(len(rows), generator=gen, device=gen.device)]
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def mix_step__order_the_other_way_round(kept, fresh, gen):
    """You use the order the other way round: row i goes to place `order[i]`. Place i gets row
    `order[i]`."""
    rows = torch.cat([kept, fresh])
    rows = rows[torch.randperm(len(rows), generator=gen, device=gen.device).argsort()]
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


# ----------------------------------------------------------------------------- a2. same_document


def same_document__pairs_with_itself(document):
    """You count a row as a pair with itself. Pairs are of two different rows: n_d (n_d - 1)."""
    n, sizes = len(document), document.unique(return_counts=True)[1]
    return float((sizes * sizes).sum()) / (n * n)


def same_document__divides_by_all(document):
    """You leave a row's pair with itself out above, but not below: there are n (n - 1) pairs."""
    n, sizes = len(document), document.unique(return_counts=True)[1]
    return float((sizes * (sizes - 1)).sum()) / (n * n)


def same_document__half(document):
    """You count each pair once above and twice below, so you get half of the share."""
    n, sizes = len(document), document.unique(return_counts=True)[1]
    return float((sizes * (sizes - 1) / 2).sum()) / (n * (n - 1))


def same_document__neighbours(document):
    """You compare neighbours in the batch. All pairs count, wherever the two rows are."""
    return float((document[1:] == document[:-1]).float().mean())


def same_document__rows_not_alone(document):
    """You count rows that have a companion. The share of *pairs* is asked for."""
    sizes = document.unique(return_counts=True)[1]
    return float(sizes[sizes > 1].sum()) / len(document)


def same_document__largest(document):
    """You give the share of the most frequent document. All pairs count."""
    return float(document.unique(return_counts=True)[1].max()) / len(document)


def same_document__other(document):
    """You give the share of pairs from two *different* documents: that is one minus it."""
    n, sizes = len(document), document.unique(return_counts=True)[1]
    return 1 - float((sizes * (sizes - 1)).sum()) / (n * (n - 1))


# ----------------------------------------------------------------------- a3. same_if_independent


def same_if_independent__with_replacement(sizes, batch):
    """You draw with replacement: the second row is then of the same document with N_d / N. But
    one row is gone: (N_d - 1) / (N - 1)."""
    n = int(sizes.sum())
    return float((sizes * sizes).sum()) / (n * n)


def same_if_independent__half_replaced(sizes, batch):
    """Above you take a row away for the second draw, below you do not: N (N - 1)."""
    n = int(sizes.sum())
    return float((sizes * (sizes - 1)).sum()) / (n * n)


def same_if_independent__equal_sizes(sizes, batch):
    """You give one over the number of documents. They have different sizes: a long one meets
    itself more often."""
    return 1 / len(sizes)


def same_if_independent__grows_with_the_batch(sizes, batch):
    """You give how many pairs a row has in the batch. The *share* of pairs does not depend on the
    batch's size."""
    n = int(sizes.sum())
    return (batch - 1) * float((sizes * (sizes - 1)).sum()) / (n * (n - 1))


def same_if_independent__at_least_one(sizes, batch):
    """You give the probability that at least one pair of the batch is of one document. The
    expected share is asked for."""
    n = int(sizes.sum())
    p = float((sizes * (sizes - 1)).sum()) / (n * (n - 1))
    return 1 - (1 - p) ** (batch * (batch - 1) / 2)


def same_if_independent__mean_size(sizes, batch):
    """Yours is the share for documents of one size, the mean. Rows are more often of a long
    document: the mean of squares is not the square of the mean."""
    n, mean = int(sizes.sum()), float(sizes.float().mean())
    return len(sizes) * mean * (mean - 1) / (n * (n - 1)) if n > 1 else 0.0


def same_if_independent__expected_counts(sizes, batch):
    """You put each document's *expected* number of rows into c (c - 1). The mean of a product is
    not the product of means."""
    count = batch * sizes.double() / sizes.sum()
    return float((count * (count - 1)).sum()) / (batch * (batch - 1))


# -------------------------------------------------------------------------------- a4. epoch_rows


def epoch_rows__one_order_for_ever(n, batch, seed, step):
    """Every epoch has the same order. The generator needs the epoch, too."""
    i = step % (n // batch)
    return torch.randperm(n, generator=keyed(seed, 0))[i * batch : (i + 1) * batch]


def epoch_rows__new_order_every_step(n, batch, seed, step):
    """You draw a new order for each step: rows come twice in an epoch, and others never."""
    i = step % (n // batch)
    return torch.randperm(n, generator=keyed(seed, step))[i * batch : (i + 1) * batch]


def epoch_rows__first_of_a_new_order(n, batch, seed, step):
    """You take the first rows of an order drawn for each step: rows come twice in an epoch."""
    return torch.randperm(n, generator=keyed(seed, step))[:batch]


def epoch_rows__without_the_seed(n, batch, seed, step):
    """Your order does not depend on the seed: all runs see the same batches."""
    epoch, i = divmod(step, n // batch)
    return torch.randperm(n, generator=keyed(0, epoch))[i * batch : (i + 1) * batch]


def epoch_rows__not_shuffled(n, batch, seed, step):
    """You serve rows in the order of the store: neighbours are of one document."""
    i = step % (n // batch)
    return torch.arange(n)[i * batch : (i + 1) * batch]


def epoch_rows__keeps_the_rest(n, batch, seed, step):
    """You count a last, smaller batch as one of the epoch. What is left over is dropped."""
    epoch, i = divmod(step, -(-n // batch))
    return torch.randperm(n, generator=keyed(seed, epoch))[i * batch : (i + 1) * batch]


def epoch_rows__strided(n, batch, seed, step):
    """You take every so many rows of the order. Consecutive slices are asked for."""
    epoch, i = divmod(step, n // batch)
    return torch.randperm(n, generator=keyed(seed, epoch))[i :: n // batch][:batch]


# -------------------------------------------------------------------------- b1. geometric_median


def geometric_median__mean(x, n_steps):
    """You return the mean. It has the least sum of *squared* distances, and follows outliers."""
    return x.mean(dim=0)


def geometric_median__by_column(x, n_steps):
    """You take the median of each column. That depends on the axes; the geometric one does not."""
    return x.median(dim=0).values


def geometric_median__squared_distance(x, n_steps):
    """Your weights are 1 over the *squared* distance. The unit vectors cancel with 1 over the
    distance."""
    point = x.mean(dim=0)
    for _ in range(n_steps):
        weight = 1 / (x - point).square().sum(dim=1).clamp(min=1e-6)
        point = (weight[:, None] * x).sum(dim=0) / weight.sum()
    return point


def geometric_median__weights_by_distance(x, n_steps):
    """You weigh rows by their distance: far rows count more. Divide by the distance."""
    point = x.mean(dim=0)
    for _ in range(n_steps):
        weight = (x - point).norm(dim=1).clamp(min=1e-6)
        point = (weight[:, None] * x).sum(dim=0) / weight.sum()
    return point


def geometric_median__weights_once(x, n_steps):
    """You compute the weights once, from the mean. They belong to the present point: again in
    every step."""
    point = x.mean(dim=0)
    weight = 1 / (x - point).norm(dim=1).clamp(min=1e-6)
    return (weight[:, None] * x).sum(dim=0) / weight.sum() if n_steps else point


def geometric_median__distance_from_zero(x, n_steps):
    """Your distances are the rows' own lengths. They are meant from the present point."""
    point = x.mean(dim=0)
    for _ in range(n_steps):
        weight = 1 / x.norm(dim=1).clamp(min=1e-6)
        point = (weight[:, None] * x).sum(dim=0) / weight.sum()
    return point


def geometric_median__starts_at_zero(x, n_steps):
    """You start at 0. The task starts at the mean."""
    point = torch.zeros_like(x[0])
    for _ in range(n_steps):
        weight = 1 / (x - point).norm(dim=1).clamp(min=1e-6)
        point = (weight[:, None] * x).sum(dim=0) / weight.sum()
    return point


def geometric_median__one_too_many(x, n_steps):
    """You take one step too many: after 0 steps the point is still the mean."""
    point = x.mean(dim=0)
    for _ in range(n_steps + 1):
        weight = 1 / (x - point).norm(dim=1).clamp(min=1e-6)
        point = (weight[:, None] * x).sum(dim=0) / weight.sum()
    return point


def geometric_median__distance_by_column(x, n_steps):
    """You have a distance and a weight for each column. A row has one distance from the point, and
    one weight."""
    point = x.mean(dim=0)
    for _ in range(n_steps):
        weight = 1 / (x - point).abs().clamp(min=1e-6)
        point = (weight * x).sum(dim=0) / weight.sum(dim=0)
    return point


# ---------------------------------------------------------------------------- b2. starting_point


def _start(centre, latent, norm, gen, change):
    """The worked start with one thing changed."""
    W = torch.randn(latent, len(centre), generator=gen, device=gen.device)
    W_dec = norm * W / W.norm(dim=1, keepdim=True)
    p = {"W_enc": W_dec.T.clone(), "b_enc": torch.zeros(latent, device=gen.device)}
    p |= {"W_dec": W_dec, "b_dec": centre.clone()}
    return p | change(W, W_dec)


def starting_point__not_normalised(centre, latent, norm, gen):
    """You multiply by `norm` without dividing by the length first: rows have different lengths."""
    return _start(
        centre, latent, norm, gen, lambda W, D: {"W_dec": norm * W, "W_enc": (norm * W).T.clone()}
    )


def starting_point__columns_normalised(centre, latent, norm, gen):
    """You normalise columns. A latent's direction is a *row* of the decoder."""

    def change(W, D):
        W = norm * W / W.norm(dim=0, keepdim=True)
        return {"W_dec": W, "W_enc": W.T.clone()}

    return _start(centre, latent, norm, gen, change)


def starting_point__unit_rows(centre, latent, norm, gen):
    """Your rows have length 1. The asked length is `norm`."""
    return _start(
        centre, latent, norm, gen, lambda W, D: {"W_dec": D / norm, "W_enc": (D / norm).T.clone()}
    )


def starting_point__unit_encoder(centre, latent, norm, gen):
    """Your encoder has unit columns. It is the decoder's transpose, with the same length."""
    return _start(centre, latent, norm, gen, lambda W, D: {"W_enc": (D / norm).T.clone()})


def starting_point__separate_encoder(centre, latent, norm, gen):
    """You draw the encoder separately. It starts as the decoder's transpose."""

    def change(W, D):
        E = torch.randn(latent, len(centre), generator=gen, device=gen.device)
        return {"W_enc": (norm * E / E.norm(dim=1, keepdim=True)).T.clone()}

    return _start(centre, latent, norm, gen, change)


def starting_point__bias_at_zero(centre, latent, norm, gen):
    """Your `b_dec` is 0. It starts at `centre`."""
    return _start(centre, latent, norm, gen, lambda W, D: {"b_dec": torch.zeros_like(centre)})


def starting_point__uniform(centre, latent, norm, gen):
    """You draw from a cube: its corners are more frequent directions. Draw normal numbers."""

    def change(W, D):
        W = torch.rand(latent, len(centre), generator=gen, device=gen.device) - 0.5
        W = norm * W / W.norm(dim=1, keepdim=True)
        return {"W_dec": W, "W_enc": W.T.clone()}

    return _start(centre, latent, norm, gen, change)


def starting_point__right_on_average(centre, latent, norm, gen):
    """You divide every row by the root of d: lengths are about `norm`, none is exactly. Each row
    has a length of its own."""

    def change(W, D):
        W = norm * W / len(centre) ** 0.5
        return {"W_dec": W, "W_enc": W.T.clone()}

    return _start(centre, latent, norm, gen, change)


# -------------------------------------------------------------------------- b3. coefficient_here


def coefficient_here__not_summed(c, d, averaged, scale):
    """You forget that their error is an average over d numbers: ours is d times as large."""
    return c * scale


def coefficient_here__always_summed(c, d, averaged, scale):
    """You multiply by d also where their error is a sum already."""
    return c * d * scale


def coefficient_here__divided_by_d(c, d, averaged, scale):
    """You divide by d. Multiply their loss by d: then the error is a sum, and c is d times c."""
    return c / (d if averaged else 1) * scale


def coefficient_here__scale_squared(c, d, averaged, scale):
    """The error grows with the square of the scale, but the penalty grows too, with the scale:
    one power is left."""
    return c * (d if averaged else 1) * scale**2


def coefficient_here__divided_by_scale(c, d, averaged, scale):
    """You divide by the scale. With longer inputs the error grows faster than the penalty, so the
    coefficient has to grow."""
    return c * (d if averaged else 1) / scale


def coefficient_here__without_scale(c, d, averaged, scale):
    """You leave out the scale: a coefficient has a unit, that of the inputs."""
    return c * (d if averaged else 1)


# ----------------------------------------------------------------------------------- c1. rate_at


def rate_at__starts_at_zero(step, n_steps, lr, warmup, decay):
    """Your first step has rate 0, so it is lost, and the top comes a step late. Step 0 has
    lr / warmup."""
    rise = min(1.0, step / warmup) if warmup else 1.0
    fall = min(1.0, (n_steps - step) / decay) if decay else 1.0
    return lr * rise * fall


def rate_at__ends_at_zero(step, n_steps, lr, warmup, decay):
    """Your last step has rate 0, so it is lost. The last one has lr / decay."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = min(1.0, (n_steps - step - 1) / decay) if decay else 1.0
    return lr * rise * fall


def rate_at__never_full(step, n_steps, lr, warmup, decay):
    """You divide by one more than the warm-up has steps: its last step should have `lr`."""
    rise = min(1.0, (step + 1) / (warmup + 1)) if warmup else 1.0
    fall = min(1.0, (n_steps - step) / decay) if decay else 1.0
    return lr * rise * fall


def rate_at__decay_too_gentle(step, n_steps, lr, warmup, decay):
    """You divide by one more than the decay has steps."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = min(1.0, (n_steps - step) / (decay + 1)) if decay else 1.0
    return lr * rise * fall


def rate_at__decay_from_the_warm_up_on(step, n_steps, lr, warmup, decay):
    """You fall all the way from the end of the warm-up. It stays at `lr` until the last `decay`
    steps."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = min(1.0, (n_steps - step) / max(n_steps - warmup, 1)) if decay else 1.0
    return lr * rise * fall


def rate_at__no_decay(step, n_steps, lr, warmup, decay):
    """You leave out the decay at the end: over the last steps the rate falls to lr / decay."""
    return lr * (min(1.0, (step + 1) / warmup) if warmup else 1.0)


def rate_at__cosine(step, n_steps, lr, warmup, decay):
    """You fall along a cosine. Equal parts are asked for."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = min(1.0, (n_steps - step) / decay) if decay else 1.0
    return lr * rise * (1 - math.cos(math.pi * fall)) / 2


# --------------------------------------------------------------------------- c2. coder_gradients


def _gradients(params, x, y, k, centred, read=None, relu=True, scale=2.0, mask=True, bias=True):
    """The worked gradient with one thing changed."""
    inner = x - params["b_dec"] if centred else x
    inner = inner if read is None else read(params, x)
    values, places = (inner @ params["W_enc"] + params["b_enc"]).topk(k, dim=1)
    none = torch.zeros(len(x), len(params["b_enc"]), dtype=x.dtype, device=x.device)
    f = none.scatter(1, places, values.relu() if relu else values)
    missed = f @ params["W_dec"] + params["b_dec"] - y
    err = scale * missed / len(x)
    g = err @ params["W_dec"].T
    if mask:
        g = g * (none.scatter(1, places, 1.0) if mask == "chosen" else f != 0)
    grads = {"W_enc": inner.T @ g, "b_enc": g.sum(0), "W_dec": f.T @ err, "b_dec": err.sum(0)}
    if centred and bias:
        grads["b_dec"] = grads["b_dec"] - params["W_enc"] @ g.sum(0)
    return missed.square().sum() / len(x), grads


def coder_gradients__b_dec_once(params, x, y, k, centred):
    """`b_dec` stands in two places. You have its gradient at the output; the encoder reads
    x - b_dec, too."""
    return _gradients(params, x, y, k, centred, bias=False)


def coder_gradients__through_the_silent(params, x, y, k, centred):
    """Latents that are not active have a gradient in yours. The TopK and the ReLU let none
    through."""
    return _gradients(params, x, y, k, centred, mask=False)


def coder_gradients__no_relu(params, x, y, k, centred):
    """You leave out the ReLU: a negative pre-activation among the k largest must give 0."""
    return _gradients(params, x, y, k, centred, relu=False)


def coder_gradients__no_relu_on_the_way_back(params, x, y, k, centred):
    """Your latents have the ReLU, your gradient has not: a chosen latent that is below 0 gets one.
    What does a ReLU let through there?"""
    return _gradients(params, x, y, k, centred, mask="chosen")


def coder_gradients__without_the_two(params, x, y, k, centred):
    """The derivative of a square has a factor 2."""
    return _gradients(params, x, y, k, centred, scale=1.0)


def coder_gradients__mean_over_d(params, x, y, k, centred):
    """You average the squared error over d_out. It is summed there, and averaged over the batch."""
    loss, grads = _gradients(params, x, y, k, centred)
    return loss / y.shape[1], {n: g / y.shape[1] for n, g in grads.items()}


def coder_gradients__summed_over_rows(params, x, y, k, centred):
    """You sum over the batch. The loss is a mean over its rows."""
    loss, grads = _gradients(params, x, y, k, centred)
    return loss * len(x), {n: g * len(x) for n, g in grads.items()}


def coder_gradients__never_centred(params, x, y, k, centred):
    """Your encoder reads x where it should read x - b_dec."""
    return _gradients(params, x, y, k, centred, read=lambda p, x: x)


def coder_gradients__encoder_saw_x(params, x, y, k, centred):
    """`W_enc` is multiplied by x - b_dec, so that is what its gradient has, not x."""
    loss, grads = _gradients(params, x, y, k, centred)
    if centred:
        inner = x.T @ torch.ones_like(x[:, :1])
        shift = params["b_dec"][:, None] * grads["b_enc"]
        grads = grads | {"W_enc": grads["W_enc"] + shift + 0 * inner}
    return loss, grads


def coder_gradients__wrong_sign_inside(params, x, y, k, centred):
    """`b_dec` is *subtracted* in front of the encoder: its gradient there has a minus."""
    loss, grads = _gradients(params, x, y, k, centred)
    if centred:
        grads = grads | {"b_dec": grads["b_dec"] + 2 * params["W_enc"] @ grads["b_enc"]}
    return loss, grads


# ------------------------------------------------------------------------------ c3. unit_decoder


def unit_decoder__only_the_decoder(params):
    """You shorten the rows and leave the encoder: the output is another one."""
    norms = params["W_dec"].norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    return params | {"W_dec": params["W_dec"] / norms[:, None]}


def unit_decoder__without_the_bias(params):
    """`b_enc` belongs to the pre-activation: it must grow with the encoder's column."""
    norms = params["W_dec"].norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    folded = {"W_enc": params["W_enc"] * norms, "W_dec": params["W_dec"] / norms[:, None]}
    return params | folded


def unit_decoder__encoder_divided(params):
    """You divide the encoder, too. What the decoder's row loses, the latent must gain."""
    norms = params["W_dec"].norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    folded = {"W_enc": params["W_enc"] / norms, "b_enc": params["b_enc"] / norms}
    return params | folded | {"W_dec": params["W_dec"] / norms[:, None]}


def unit_decoder__nan_for_zero(params):
    """A row of zeros has no length to divide by: 0 / 0 is NaN. Leave it as it is."""
    norms = params["W_dec"].norm(dim=1)
    folded = {"W_enc": params["W_enc"] * norms, "b_enc": params["b_enc"] * norms}
    return params | folded | {"W_dec": params["W_dec"] / norms[:, None]}


def unit_decoder__zero_row_silenced(params):
    """A row of zeros stays in yours, but its encoder becomes 0. It should stay as it is, too."""
    norms = params["W_dec"].norm(dim=1)
    folded = {"W_enc": params["W_enc"] * norms, "b_enc": params["b_enc"] * norms}
    unit = params["W_dec"] / torch.where(norms > 0, norms, 1.0)[:, None]
    return params | folded | {"W_dec": unit}


def unit_decoder__one_norm_for_all(params):
    """You scale all rows by one number. Each row has a length of its own."""
    norms = params["W_dec"].norm(dim=1).mean()
    folded = {"W_enc": params["W_enc"] * norms, "b_enc": params["b_enc"] * norms}
    return params | folded | {"W_dec": params["W_dec"] / norms}


def unit_decoder__encoder_norms(params):
    """You bring the encoder's columns to length 1. The decoder's rows are asked for."""
    norms = params["W_enc"].norm(dim=0)
    folded = {"W_enc": params["W_enc"] / norms, "b_enc": params["b_enc"] / norms}
    return params | folded | {"W_dec": params["W_dec"] * norms[:, None]}


def unit_decoder__bias_of_the_output(params):
    """You scale `b_dec`. It belongs to no latent and stays."""
    norms = params["W_dec"].norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    folded = {"W_enc": params["W_enc"] * norms, "b_enc": params["b_enc"] * norms}
    folded |= {"b_dec": params["b_dec"] / norms.mean()}
    return params | folded | {"W_dec": params["W_dec"] / norms[:, None]}


# -------------------------------------------------------------------------------- d1. step_count


def step_count__thresholds_only(pre, threshold, bandwidth, everywhere):
    """Only thresholds have a gradient in yours, also where `everywhere` is true."""
    return heaviside(pre[:, None], threshold[None], bandwidth).sum(dim=(1, 2))


def step_count__always_everywhere(pre, threshold, bandwidth, everywhere):
    """`pre` has a gradient in yours also where `everywhere` is false: there it should have none."""
    gap = threshold - pre
    return heaviside(torch.zeros_like(gap)[None], gap, bandwidth).sum(dim=(0, 2))


def step_count__other_way_round(pre, threshold, bandwidth, everywhere):
    """You have the two cases the wrong way round."""
    return _step_count(pre, threshold, bandwidth, not everywhere)


def step_count__inactive(pre, threshold, bandwidth, everywhere):
    """You count the latents that are *not* active: the difference has the wrong sign."""
    gap = pre - threshold
    if not everywhere:
        gap = gap.detach() - threshold + threshold.detach()
    return heaviside(torch.zeros_like(gap)[None], gap, bandwidth).sum(dim=(0, 2))


def step_count__over_the_batch(pre, threshold, bandwidth, everywhere):
    """You sum over the batch: that is how often each latent is active. Count per row."""
    gap = threshold - (pre if everywhere else pre.detach())
    return heaviside(torch.zeros_like(gap)[None], gap, bandwidth).sum(dim=(0, 1))


def step_count__no_gradient(pre, threshold, bandwidth, everywhere):
    """A comparison has no gradient at all. Use `heaviside`, which has the kernel's."""
    return (pre > threshold).to(pre.dtype).sum(dim=1)


def step_count__sigmoid(pre, threshold, bandwidth, everywhere):
    """You count softly with a sigmoid. The value must be a whole number; only the gradient is
    made up."""
    return ((pre - threshold) / bandwidth).sigmoid().sum(dim=1)


def step_count__half_a_kernel(pre, threshold, bandwidth, everywhere):
    """Your kernel is twice as wide and half as high: it is 1 within half a bandwidth on each
    side."""
    return _step_count(pre, threshold, 2 * bandwidth, everywhere)


def step_count__whole_bandwidth(pre, threshold, bandwidth, everywhere):
    """Your kernel reaches a whole bandwidth to each side. How wide is it to be in all?"""
    count = _step_count(pre, threshold, 2 * bandwidth, everywhere)
    return 2 * count - count.detach()


def step_count__one_sign(pre, threshold, bandwidth, everywhere):
    """The gradient to `pre` has the sign of that to the threshold. What does the count do when
    `pre` rises, and what when the threshold does?"""
    return _step_count(2 * pre.detach() - pre, threshold, bandwidth, everywhere)


def step_count__instead(pre, threshold, bandwidth, everywhere):
    """Where `everywhere` is true, `pre` has a gradient *instead* of the threshold in yours. The
    threshold keeps its own."""
    threshold = threshold.detach() if everywhere else threshold
    return _step_count(pre, threshold, bandwidth, everywhere)


def _step_count(pre, threshold, bandwidth, everywhere):
    """The worked one."""
    if not everywhere:
        return heaviside(pre[:, None], threshold[None], bandwidth).sum(dim=(1, 2))
    gap = threshold - pre
    return heaviside(torch.zeros_like(gap)[None], gap, bandwidth).sum(dim=(0, 2))


# ------------------------------------------------------------------------------ d2. quadratic_l0


def quadratic_l0__of_the_mean(count, target):
    """You compare the *mean* count with the target: rows with 0 and with 24 would do. Square
    first."""
    return 2 / target * (count.mean() - target).square()


def quadratic_l0__summed(count, target):
    """You sum over the rows. The mean is asked for."""
    return (2 / target * (count - target).square()).sum()


def quadratic_l0__no_weight(count, target):
    """You leave out the factor 2 / target, which makes penalties of different targets alike."""
    return (count - target).square().mean()


def quadratic_l0__relative(count, target):
    """You square the ratio: that divides by the target twice."""
    return 2 * (count / target - 1).square().mean()


def quadratic_l0__relative_without_the_two(count, target):
    """You square the ratio, which divides by the target twice, and the factor 2 is missing."""
    return (count / target - 1).square().mean()


def quadratic_l0__absolute(count, target):
    """You take the absolute difference. Its square is asked for, which pulls harder from far
    away."""
    return (2 / target * (count - target).abs()).mean()


def quadratic_l0__only_above(count, target):
    """You punish counts above the target only. A row below it should be pulled up, too."""
    return (2 / target * (count - target).relu().square()).mean()


def quadratic_l0__half(count, target):
    """Your factor is 1 / target. It is 2 / target."""
    return (1 / target * (count - target).square()).mean()


# ------------------------------------------------------------------------- d3. frequency_penalty


def frequency_penalty__over_rows(active, limit):
    """Your mean is over the latents: that is a row's L0. A latent's share is a mean over the
    batch."""
    return (active.mean(dim=1) - limit).relu().square().sum()


def frequency_penalty__limit_first(active, limit):
    """You subtract the limit in each row, and take the mean then. First the share, then the
    limit."""
    return (active - limit).relu().mean(dim=0).square().sum()


def frequency_penalty__both_sides(active, limit):
    """Rare latents are punished, too. Only what is above the limit counts."""
    return (active.mean(dim=0) - limit).square().sum()


def frequency_penalty__not_squared(active, limit):
    """You forget the square: what is far above the limit must be pulled harder."""
    return (active.mean(dim=0) - limit).relu().sum()


def frequency_penalty__mean(active, limit):
    """You take the mean over the latents. The sum is asked for."""
    return (active.mean(dim=0) - limit).relu().square().mean()


def frequency_penalty__whole_share(active, limit):
    """You square the whole share of those above the limit. What is *above* it is squared."""
    share = active.mean(dim=0)
    return torch.where(share > limit, share, 0).square().sum()


def frequency_penalty__counts(active, limit):
    """You compare counts with the limit, which is a share: divide by the batch."""
    return (active.sum(dim=0) - limit).relu().square().sum()


# ---------------------------------------------------------------------------- d4. jump_penalties


def _jump(pre, threshold, W_dec, scale, dead, f=None, norms=None, below=None):
    """The worked pair with one thing changed."""
    n = W_dec.norm(dim=1) if norms is None else norms
    f = pre * (pre > threshold) if f is None else f
    below = (threshold - pre).relu() * n * dead if below is None else below
    return (scale * f * n).tanh().sum(dim=1).mean(), below.sum(dim=1).mean()


def jump_penalties__without_norms(pre, threshold, W_dec, scale, dead):
    """You leave out the rows' norms: then a latent escapes by being small with a long row."""
    return _jump(pre, threshold, W_dec, scale, dead, norms=torch.ones_like(W_dec[:, 0]))


def jump_penalties__norm_outside(pre, threshold, W_dec, scale, dead):
    """You multiply the tanh by the norm. It stands inside, with the activation."""
    _, below = _jump(pre, threshold, W_dec, scale, dead)
    f = pre * (pre > threshold)
    return ((scale * f).tanh() * W_dec.norm(dim=1)).sum(dim=1).mean(), below


def jump_penalties__pre_activations(pre, threshold, W_dec, scale, dead):
    """You take the tanh of all pre-activations. Those below their threshold are not active: 0."""
    return _jump(pre, threshold, W_dec, scale, dead, f=pre)


def jump_penalties__relu(pre, threshold, W_dec, scale, dead):
    """You take every positive pre-activation for active. The threshold decides."""
    return _jump(pre, threshold, W_dec, scale, dead, f=pre.relu())


def jump_penalties__above_the_threshold(pre, threshold, W_dec, scale, dead):
    """Your activation begins at 0 at the threshold. JumpReLU jumps: f is the whole
    pre-activation."""
    return _jump(pre, threshold, W_dec, scale, dead, f=(pre - threshold).relu())


def jump_penalties__all_pulled(pre, threshold, W_dec, scale, dead):
    """You pull up every latent that is below. Only dead ones need it."""
    below = (threshold - pre).relu() * W_dec.norm(dim=1)
    return _jump(pre, threshold, W_dec, scale, dead, below=below)


def jump_penalties__living_pulled(pre, threshold, W_dec, scale, dead):
    """You pull the living up, and not the dead."""
    below = (threshold - pre).relu() * W_dec.norm(dim=1) * ~dead
    return _jump(pre, threshold, W_dec, scale, dead, below=below)


def jump_penalties__pulled_to_zero(pre, threshold, W_dec, scale, dead):
    """You pull up to 0. The latent is active only above its threshold."""
    below = (-pre).relu() * W_dec.norm(dim=1) * dead
    return _jump(pre, threshold, W_dec, scale, dead, below=below)


def jump_penalties__means_over_latents(pre, threshold, W_dec, scale, dead):
    """You take means over the latents, too. They are summed there."""
    tanh, below = _jump(pre, threshold, W_dec, scale, dead)
    return tanh / pre.shape[1], below / pre.shape[1]


# --------------------------------------------------------------------------------- e. equal_parts


def equal_parts__not_detached(error, kl):
    """The factor carries a gradient, and the divergence cancels: twice the error is all that is
    left."""
    return error + kl * (error / kl.clamp(min=1e-8))


def equal_parts__plain_sum(error, kl):
    """You add them as they are: the larger one decides alone. Scale the divergence to the error."""
    return error + kl


def equal_parts__other_scaled(error, kl):
    """You scale the error to the divergence. It is the other way round."""
    return kl + error * (kl / error.clamp(min=1e-8)).detach()


def equal_parts__upside_down(error, kl):
    """Your factor is upside down: it makes a small divergence smaller still. The product should
    be as large as the error."""
    return error + kl * (kl / error.clamp(min=1e-8)).detach()


def equal_parts__divergence_detached(error, kl):
    """You cut the gradient of the divergence, which is the point of it. Only the factor is a
    constant."""
    return error + (kl * (error / kl.clamp(min=1e-8))).detach()


def equal_parts__error_detached(error, kl):
    """You cut the gradient of the error: then only the divergence is trained."""
    return error.detach() + kl * (error / kl.clamp(min=1e-8)).detach()


def equal_parts__no_floor(error, kl):
    """A divergence of 0 gives NaN: keep it above 1e-8 in the division."""
    return error + kl * (error / kl).detach()


def equal_parts__floor_added(error, kl):
    """You add 1e-8 to the divergence. The larger of the two is asked for."""
    return error + kl * (error / (kl + 1e-8)).detach()


def equal_parts__averaged(error, kl):
    """You take the mean of both. Their sum is asked for."""
    return (error + kl * (error / kl.clamp(min=1e-8)).detach()) / 2


# ---------------------------------------------------------------------------------- f. late_fall


def _late(curve, n, steps, over):
    """The slope times `steps`, over something."""
    last = curve[-n:].double()
    t = torch.arange(n, dtype=torch.float64, device=curve.device) - (n - 1) / 2
    return float(-(t * last).sum() / t.square().sum() * steps / over(last))


def late_fall__first_minus_last(curve, n):
    """You take the first minus the last value: their noise is all in it. Fit a line."""
    last = curve[-n:].double()
    return float((last[0] - last[-1]) / last.mean())


def late_fall__n_steps(curve, n):
    """From the first to the last of n points there are n - 1 steps, not n."""
    return _late(curve, n, n, lambda last: last.mean())


def late_fall__slope(curve, n):
    """You return the slope per step. How much it falls over all of them is asked for."""
    return _late(curve, n, 1, lambda last: last.mean())


def late_fall__sign(curve, n):
    """Your sign is that of the slope: a fall should be positive."""
    return -_late(curve, n, n - 1, lambda last: last.mean())


def late_fall__over_the_first(curve, n):
    """You divide by the first value. The mean is asked for: one value is noisy."""
    return _late(curve, n, n - 1, lambda last: last[0])


def late_fall__mean_of_all(curve, n):
    """You divide by the mean of the whole curve. Only the last n values count."""
    return _late(curve, n, n - 1, lambda last: curve.double().mean())


def late_fall__not_relative(curve, n):
    """You do not divide by the mean: runs of different size could not be compared."""
    return _late(curve, n, n - 1, lambda last: 1.0)


def late_fall__first_values(curve, n):
    """You fit the first n values. The last n say whether a run has ended."""
    return _late(curve[:n], n, n - 1, lambda last: last.mean())


# ---------------------------------------------------------------------------------- g. kept_rows


def kept_rows__mean(x, factor):
    """You compare with the mean. One giant raises it, and hides behind it."""
    norms = x.norm(dim=1)
    return norms <= factor * norms.mean()


def kept_rows__outliers(x, factor):
    """You return the outliers. Asked for are the rows to keep."""
    norms = x.norm(dim=1)
    return norms > factor * norms.median()


def kept_rows__strict(x, factor):
    """A row exactly at the limit is kept: at most."""
    norms = x.norm(dim=1)
    return norms < factor * norms.median()


def kept_rows__squared(x, factor):
    """You compare squared norms with the factor. Then the limit is its root."""
    norms = x.square().sum(dim=1)
    return norms <= factor * norms.median()


def kept_rows__middle_of_two(x, factor):
    """With an even number of rows you take the mean of the two middle norms. `torch.median` takes
    the lower one."""
    norms = x.norm(dim=1)
    return norms <= factor * norms.quantile(0.5)


def kept_rows__largest_entry(x, factor):
    """You look at each row's largest entry. The norm is asked for."""
    norms = x.abs().amax(dim=1)
    return norms <= factor * norms.median()


def kept_rows__distance_from_median(x, factor):
    """You allow a distance from the median. The norm itself is compared with factor times it."""
    norms = x.norm(dim=1)
    return (norms - norms.median()).abs() <= factor * norms.median()


# ------------------------------------------------------------------------ h. unexplained_by_head


def unexplained_by_head__about_zero(z, z_hat, heads):
    """Below you have squares about 0. The variance is about the mean row."""
    error = (z - z_hat).square().unflatten(1, (heads, -1)).sum(dim=(0, 2))
    return error / z.square().unflatten(1, (heads, -1)).sum(dim=(0, 2))


def unexplained_by_head__explained(z, z_hat, heads):
    """You return what is explained: one minus it."""
    return 1 - _by_head(z, z_hat, heads, lambda v: v.unflatten(1, (heads, -1)).sum(dim=(0, 2)))


def unexplained_by_head__interleaved(z, z_hat, heads):
    """You take every so many columns for a head. Heads are consecutive blocks: which axis comes
    first?"""
    return _by_head(z, z_hat, heads, lambda v: v.unflatten(1, (-1, heads)).sum(dim=(0, 1)))


def unexplained_by_head__one_variance(z, z_hat, heads):
    """You divide every head's error by the variance of all. Each has its own."""
    error = (z - z_hat).square().unflatten(1, (heads, -1)).sum(dim=(0, 2))
    return error / (z - z.mean(dim=0)).square().sum()


def unexplained_by_head__mean_of_ratios(z, z_hat, heads):
    """You average ratios of columns. Sum error and variance over the head first."""
    ratio = (z - z_hat).square().sum(dim=0) / (z - z.mean(dim=0)).square().sum(dim=0)
    return ratio.unflatten(0, (heads, -1)).mean(dim=1)


def unexplained_by_head__row_mean(z, z_hat, heads):
    """Your mean is over a row's numbers. It is the mean *row*: over the rows."""
    error = (z - z_hat).square().unflatten(1, (heads, -1)).sum(dim=(0, 2))
    spread = (z - z.mean(dim=1, keepdim=True)).square().unflatten(1, (heads, -1))
    return error / spread.sum(dim=(0, 2))


def unexplained_by_head__one_mean_per_head(z, z_hat, heads):
    """You subtract one number from all of a head's entries. The mean *row* has a mean for each
    column."""
    error = (z - z_hat).square().unflatten(1, (heads, -1)).sum(dim=(0, 2))
    z = z.unflatten(1, (heads, -1))
    return error / (z - z.mean(dim=(0, 2), keepdim=True)).square().sum(dim=(0, 2))


def unexplained_by_head__mean_of_the_output(z, z_hat, heads):
    """Your variance is about the mean of the output. It is the input that has to be explained."""
    error = (z - z_hat).square().unflatten(1, (heads, -1)).sum(dim=(0, 2))
    spread = (z - z_hat.mean(dim=0)).square().unflatten(1, (heads, -1))
    return error / spread.sum(dim=(0, 2))


def _by_head(z, z_hat, heads, total):
    """Error over variance, both summed by `total`."""
    return total((z - z_hat).square()) / total((z - z.mean(dim=0)).square())


# ----------------------------------------------------------------------------- i1. training_cost


def _cost(n_rows, d_in, d_out, latent, by_autograd, target, **changed):
    """The worked bill with one thing changed."""
    encoder = (3 if by_autograd else 2) * d_in
    parameters = latent * (d_in + d_out) + latent + d_out
    bill = {"flops": 2 * n_rows * latent * (encoder + 3 * d_out), "bytes": 16 * parameters}
    return bill | {"data": 2 * n_rows * (d_in + (d_out if target else 0))} | changed


def training_cost__forward_only(n_rows, d_in, d_out, latent, by_autograd, target):
    """You count the forward products only. The gradients cost twice as much again."""
    flops = 2 * n_rows * latent * (d_in + d_out)
    return _cost(n_rows, d_in, d_out, latent, by_autograd, target, flops=flops)


def training_cost__multiplications(n_rows, d_in, d_out, latent, by_autograd, target):
    """You count multiplications only. A product takes as many additions: the factor 2."""
    bill = _cost(n_rows, d_in, d_out, latent, by_autograd, target)
    return bill | {"flops": bill["flops"] // 2}


def training_cost__always_six(n_rows, d_in, d_out, latent, by_autograd, target):
    """You always form the gradient of the encoder's input. Only autograd does."""
    flops = _cost(n_rows, d_in, d_out, latent, True, target)["flops"]
    return _cost(n_rows, d_in, d_out, latent, by_autograd, target, flops=flops)


def training_cost__always_five(n_rows, d_in, d_out, latent, by_autograd, target):
    """You never count the gradient of the encoder's input. Autograd forms it."""
    flops = _cost(n_rows, d_in, d_out, latent, False, target)["flops"]
    return _cost(n_rows, d_in, d_out, latent, by_autograd, target, flops=flops)


def training_cost__weights_only(n_rows, d_in, d_out, latent, by_autograd, target):
    """You count each weight once. Its gradient and Adam's two averages are as large."""
    bill = _cost(n_rows, d_in, d_out, latent, by_autograd, target)
    return bill | {"bytes": bill["bytes"] // 4}


def training_cost__no_biases(n_rows, d_in, d_out, latent, by_autograd, target):
    """You leave out the biases `b_enc` and `b_dec`: they are parameters, too."""
    small = 16 * latent * (d_in + d_out)
    return _cost(n_rows, d_in, d_out, latent, by_autograd, target, bytes=small)


def training_cost__bias_of_the_input(n_rows, d_in, d_out, latent, by_autograd, target):
    """`b_dec` has the width of the *output*, d_out."""
    total = 16 * (latent * (d_in + d_out) + latent + d_in)
    return _cost(n_rows, d_in, d_out, latent, by_autograd, target, bytes=total)


def training_cost__data_in_float32(n_rows, d_in, d_out, latent, by_autograd, target):
    """You store rows in four bytes. Two are said."""
    bill = _cost(n_rows, d_in, d_out, latent, by_autograd, target)
    return bill | {"data": 2 * bill["data"]}


def training_cost__target_stored_twice(n_rows, d_in, d_out, latent, by_autograd, target):
    """You store the target always. An SAE's target is its input, which is there already."""
    data = 2 * n_rows * (d_in + d_out)
    return _cost(n_rows, d_in, d_out, latent, by_autograd, target, data=data)


def training_cost__target_forgotten(n_rows, d_in, d_out, latent, by_autograd, target):
    """You do not store targets that differ from the input."""
    return _cost(n_rows, d_in, d_out, latent, by_autograd, target, data=2 * n_rows * d_in)


# ------------------------------------------------------------------------- i2. predicted_seconds


def predicted_seconds__mean_speed(steps, seconds, n_steps):
    """You divide all seconds by all steps: the start is then paid in every step."""
    return float(seconds.double().sum() / steps.double().sum() * n_steps)


def predicted_seconds__last_piece(steps, seconds, n_steps):
    """You take the speed of the last piece, start and all."""
    return float(seconds[-1].double() / steps[-1].double() * n_steps)


def predicted_seconds__without_the_start(steps, seconds, n_steps):
    """Your slope is right, but the start is left out: it is paid once."""
    t, y = steps.double(), seconds.double()
    slope = ((t - t.mean()) * (y - y.mean())).sum() / (t - t.mean()).square().sum()
    return float(slope * n_steps)


def predicted_seconds__through_zero(steps, seconds, n_steps):
    """You fit a line through zero. There is a start, which takes time without a step."""
    t, y = steps.double(), seconds.double()
    return float((t * y).sum() / t.square().sum() * n_steps)


def predicted_seconds__two_ends(steps, seconds, n_steps):
    """You draw the line through the first and the last piece. Least squares use all."""
    t, y = steps.double(), seconds.double()
    slope = (y[-1] - y[0]) / (t[-1] - t[0])
    return float(y[0] + slope * (n_steps - t[0]))


def predicted_seconds__shortest_and_longest(steps, seconds, n_steps):
    """You draw the line through the shortest and the longest piece. Least squares use all."""
    t, y = steps.double(), seconds.double()
    i, j = t.argmin(), t.argmax()
    return float(y[i] + (y[j] - y[i]) / (t[j] - t[i]) * (n_steps - t[i]))


def predicted_seconds__other_line(steps, seconds, n_steps):
    """You fit steps to seconds, and turn that line round: errors are in the seconds."""
    t, y = steps.double(), seconds.double()
    slope = (y - y.mean()).square().sum() / ((t - t.mean()) * (y - y.mean())).sum()
    return float(y.mean() + slope * (n_steps - t.mean()))


def predicted_seconds__more_steps(steps, seconds, n_steps):
    """You add the mean time to n_steps more steps. The line's middle is at the mean of the
    steps."""
    t, y = steps.double(), seconds.double()
    slope = ((t - t.mean()) * (y - y.mean())).sum() / (t - t.mean()).square().sum()
    return float(y.mean() + slope * n_steps)


# ------------------------------------------------------------------------------------- predictions


def predict_buffer__less():
    """Half of a buffer is 32 documents: a row has many brothers there, six times as many as by
    chance."""
    return "less than 3 times as many"


def predict_buffer__more():
    """Rows that have waited help: of 32 new documents at a time the pairs are one third of
    1 / 32."""
    return "more than 10 times as many"


def predict_start__bias():
    """A bias at 0 is learned in a few steps, and hardly a latent is lost by it."""
    return "the bias at 0"


def predict_start__long():
    """Long rows do no harm here: fewer latents are silent than with short ones."""
    return "the long rows"


def predict_target__neither():
    """One gets there: look at what the penalty may change in it."""
    return "neither"


def predict_target__thresholds():
    """Thresholds move by a learning rate a step: after 600 steps L0 is still four times too
    high."""
    return "thresholds only"


def predict_target__both():
    """Only one does. Thresholds alone are too slow for a run of 600 steps."""
    return "both"


def predict_stage__nothing():
    """The interval of the difference is above 0: the divergence knows which directions count."""
    return "nothing: within 5 %"


def predict_stage__most():
    """With four latents a word much is lost for good: about a fifth comes back."""
    return "more than 60 %"


def predict_single__few():
    """With one latent per row a few win everywhere, and the rest have no gradient: most are
    silent."""
    return "less than 10 %"


def predict_single__some():
    """Even more: with k = 1 four of five latents never win."""
    return "10 % to 50 %"


def predict_first__little():
    """Count squares: a row that is 180 times as long has the square of that in variance."""
    return "less than 10 %"


def predict_first__some():
    """More: one row in a hundred, with 12,000 times the variance of another, leaves next to
    nothing to the rest."""
    return "10 % to 90 %"


def predict_head__loud():
    """The loud head dominates the sum of squares, so it is explained best."""
    return "the one with the most variance"


def predict_head__another():
    """Look at the heads in order of their variance: the sum of squares leaves the quietest one
    worst."""
    return "another one"


# What each diagnosis would look like, and what each run shows: together, a sentence for each pair.
WOULD = {
    "healthy": "A healthy run lies on its reference in every panel, but for noise",
    "k too small": "With too small a k `l0` is lower than the reference's 12",
    "L1 too small": "With too small a coefficient a ReLU run has a much larger `l0`, and the same"
    " `mse` at step 1 as its reference; a TopK run has no such coefficient",
    "no warm-up": "Without a warm-up the first ten steps already explain half",
    "learning rate too low": "With too low a rate the curves are late, and still fall at the end",
    "expansion 1": "With few latents more is unexplained, while `l0` and speed are the reference's",
    "expansion too large": "With far too many latents most are silent, and little else changes",
    "wrong data": "With the wrong rows `held_out` ends far above `unexplained`",
    "wrong input scale": "With a wrong scale `mse` differs by its square from step 1 on",
    "two of these faults": "Two faults leave two signs that no single one explains",
}
SHOWS = {
    "a": "Here `l0` is 1 and most latents are silent",
    "b": "Here no panel leaves the reference",
    "c": "Here `l0` is ten times the reference's, and `mse` at step 1 is the same",
    "d": "Here the batch is explained well and `held_out` is ten times worse",
    "e": "Here the first ten steps differ, and nothing later",
    "f": "Here two thirds are silent, and less is unexplained than in the reference",
    "g": "Here `mse` at step 1 is 900 times the reference's (and `l0` follows from that)",
    "h": "Here every curve is late, and the end still falls",
    "i": "Here twice as much is unexplained, and everything else is as it should be",
    "j": "Here `l0` is ten times too large, *and* `held_out` lies far above `unexplained`",
}
TRUTH = dict(
    zip(
        "abcdefghij",
        ("k too small", "healthy", "L1 too small", "wrong data", "no warm-up",
         "expansion too large", "wrong input scale", "learning rate too low", "expansion 1",
         "two of these faults"),
        strict=True,
    )
)  # fmt: skip


def _wrong_diagnosis(choice: str, advice: str) -> Callable[[], str]:
    """A learner who chose this."""

    def answer() -> str:
        return choice

    answer.__doc__ = advice
    return answer


for _run, _right in TRUTH.items():
    for _choice, _sign in WOULD.items():
        if _choice != _right:
            _name = f"predict_run_{_run}__{_choice.replace(' ', '_').replace('-', '_')}"
            globals()[_name] = _wrong_diagnosis(_choice, f"{_sign}. {SHOWS[_run]}.")
