"""Wrong answers that learners of 3.2.5 give, each with what a tutor would say."""

import torch

# ---------------------------------------------------------------------------- a1. active_entries


def active_entries__counts_positions_from_first(f, first):
    """You cut the tensor before you list its places, so your positions are counted from `first`.
    Add it again, or filter the list instead."""
    index = f[first:].nonzero()
    return index, f[first:][index[:, 0], index[:, 1]]


def active_entries__keeps_the_first_positions(f, first):
    """You list positions before `first` too. The first token's activation is an attention sink,
    and no SAE was trained on it."""
    index = f.nonzero()
    return index, f[index[:, 0], index[:, 1]]


def active_entries__leaves_out_first_itself(f, first):
    """You begin after `first`. Only positions *before* it are left out."""
    index = f.nonzero()
    index = index[index[:, 0] > first]
    return index, f[index[:, 0], index[:, 1]]


def active_entries__latent_by_latent(f, first):
    """Your list goes latent by latent. It should go position by position."""
    index = f.T.nonzero().flip(1)
    index = index[index[:, 0] >= first]
    return index, f[index[:, 0], index[:, 1]]


def active_entries__latent_first(f, first):
    """Your pairs are (latent, position). Asked for is (position, latent), as in the tensor."""
    index = f.nonzero()
    index = index[index[:, 0] >= first]
    return index.flip(1), f[index[:, 0], index[:, 1]]


def active_entries__only_positive(f, first):
    """You take only values above 0. Active means different from 0: some architectures (AbsTopK, or
    a difference of two activations) have negative ones."""
    index = (f > 0).nonzero()
    index = index[index[:, 0] >= first]
    return index, f[index[:, 0], index[:, 1]]


def active_entries__strongest_first(f, first):
    """You sort by strength. Asked for is the order of position, then latent."""
    index = f.nonzero()
    index = index[index[:, 0] >= first]
    value = f[index[:, 0], index[:, 1]]
    order = value.argsort(descending=True)
    return index[order], value[order]


# --------------------------------------------------------------------------- b1. latent_jacobian


def _gradients(rest, x, targets, W_enc):
    """The gradient of each target by x."""
    x = x.detach().clone().requires_grad_()
    out = rest(x)
    return [
        torch.autograd.grad(out[pos] @ W_enc[:, i], x, retain_graph=True)[0]
        for pos, i in targets.tolist()
    ]


def latent_jacobian__of_any_position(rest, x, sources, targets, W_dec, W_enc):
    """You sum the gradient over all positions. A source writes at its own position only: take that
    row."""
    grads = _gradients(rest, x, targets, W_enc)
    return torch.stack([W_dec[sources[:, 1]] @ grad.sum(dim=0) for grad in grads])


def latent_jacobian__at_the_targets_position(rest, x, sources, targets, W_dec, W_enc):
    """You read the gradient at the target's position. The source writes at its own: sources[:,
    0]."""
    grads = _gradients(rest, x, targets, W_enc)
    rows = zip(grads, targets[:, 0].tolist(), strict=True)
    return torch.stack([W_dec[sources[:, 1]] @ grad[pos] for grad, pos in rows])


def latent_jacobian__without_the_decoder_row(rest, x, sources, targets, W_dec, W_enc):
    """You sum the gradient over d_in. A unit of the source moves x along its decoder row, so
    multiply by that row first."""
    grads = _gradients(rest, x, targets, W_enc)
    return torch.stack([grad[sources[:, 0]].sum(dim=-1) for grad in grads])


def latent_jacobian__source_by_target(rest, x, sources, targets, W_dec, W_enc):
    """Your matrix has a row per source. Rows are targets: J[t, s] says what s does to t."""
    grads = _gradients(rest, x, targets, W_enc)
    rows = [(grad[sources[:, 0]] * W_dec[sources[:, 1]]).sum(dim=-1) for grad in grads]
    return torch.stack(rows, dim=1)


def latent_jacobian__one_backward_for_all(rest, x, sources, targets, W_dec, W_enc):
    """You differentiate the sum of all targets at once. Then every row is the same: the sum of the
    rows. One backward pass per target."""
    total = torch.stack(_gradients(rest, x, targets, W_enc)).sum(dim=0)
    row = (total[sources[:, 0]] * W_dec[sources[:, 1]]).sum(dim=-1)
    return row.expand(len(targets), -1).clone()


def latent_jacobian__averages_over_d_in(rest, x, sources, targets, W_dec, W_enc):
    """You take the mean over d_in. A scalar product is a sum."""
    grads = _gradients(rest, x, targets, W_enc)
    rows = [(grad[sources[:, 0]] * W_dec[sources[:, 1]]).mean(dim=-1) for grad in grads]
    return torch.stack(rows)


def latent_jacobian__at_zero(rest, x, sources, targets, W_dec, W_enc):
    """You differentiate at 0. A Jacobian belongs to a point: the prompt's own activation x."""
    grads = _gradients(rest, torch.zeros_like(x), targets, W_enc)
    rows = [(grad[sources[:, 0]] * W_dec[sources[:, 1]]).sum(dim=-1) for grad in grads]
    return torch.stack(rows)


def latent_jacobian__only_the_sign_free(rest, x, sources, targets, W_dec, W_enc):
    """You take absolute values. A source can turn a target down, and that sign is half of the
    story."""
    grads = _gradients(rest, x, targets, W_enc)
    rows = [(grad[sources[:, 0]] * W_dec[sources[:, 1]]).sum(dim=-1) for grad in grads]
    return torch.stack(rows).abs()


def latent_jacobian__one_whole_unit(rest, x, sources, targets, W_dec, W_enc):
    """You add one whole unit of the source and look at the difference. `rest` is curved, and one
    unit is far: asked for is the slope at x."""

    def read(x):
        return (rest(x) @ W_enc)[targets[:, 0], targets[:, 1]]

    columns = []
    for pos, latent in sources.tolist():
        moved = x.clone()
        moved[pos] += W_dec[latent]
        columns.append(read(moved) - read(x))
    return torch.stack(columns, dim=1)


# -------------------------------------------------------------------------------- b2. with_error


def _check(mode):
    if mode not in ("live", "constant", "none"):
        raise ValueError(f"mode {mode!r}")


def with_error__detaches_the_reconstruction(x, encode, decode, mode):
    """In the mode "constant" you cut the reconstruction off, so gradients go through the error and
    not through the latents. Detach the error."""
    _check(mode)
    rebuilt = decode(encode(x))
    if mode == "none":
        return rebuilt
    return rebuilt.detach() + (x - rebuilt if mode == "constant" else x - rebuilt.detach())


def with_error__live_and_constant_swapped(x, encode, decode, mode):
    """You have "live" and "constant" the wrong way round: a constant error has no gradient."""
    _check(mode)
    rebuilt = decode(encode(x))
    if mode == "none":
        return rebuilt
    error = x - rebuilt
    return rebuilt + (error.detach() if mode == "live" else error)


def with_error__never_detached(x, encode, decode, mode):
    """Your error is live in both modes. In "constant" it keeps its value and loses its
    gradient."""
    _check(mode)
    rebuilt = decode(encode(x))
    return rebuilt if mode == "none" else rebuilt + (x - rebuilt)


def with_error__none_is_x(x, encode, decode, mode):
    """Without the error the value is the reconstruction, not x."""
    _check(mode)
    rebuilt = decode(encode(x))
    return rebuilt + (x - rebuilt if mode == "live" else (x - rebuilt).detach())


def with_error__wrong_sign(x, encode, decode, mode):
    """Your error is reconstruction minus x. Added to the reconstruction it must give x: the error
    is what the SAE leaves out, x minus reconstruction."""
    _check(mode)
    rebuilt = decode(encode(x))
    if mode == "none":
        return rebuilt
    error = rebuilt - x
    return rebuilt + (error.detach() if mode == "constant" else error)


def with_error__takes_any_mode(x, encode, decode, mode):
    """A mode that you do not know counts as another one, without a word. A typing error would give
    wrong gradients: raise a ValueError."""
    rebuilt = decode(encode(x))
    if mode == "none":
        return rebuilt
    error = x - rebuilt
    return rebuilt + (error if mode == "live" else error.detach())


# --------------------------------------------------------------------------------- b3. two_roads


def two_roads__all_latents(grad, active, W_enc, W_dec):
    """You let every latent pass the gradient on. One that is not active does not move when x
    does."""
    via = (grad @ W_dec.T) @ W_enc.T
    return via, grad - via


def two_roads__swapped(grad, active, W_enc, W_dec):
    """Your two roads are in the wrong order: first through the latents, then through the error."""
    via = ((grad @ W_dec.T) * active) @ W_enc.T
    return grad - via, via


def two_roads__forward(grad, active, W_enc, W_dec):
    """You go forward: encoder first, then decoder. A gradient comes from the output, so it meets
    the decoder first."""
    via = ((grad @ W_enc) * active) @ W_dec
    return via, grad - via


def two_roads__the_quiet_ones(grad, active, W_enc, W_dec):
    """You keep the latents that are not active."""
    via = ((grad @ W_dec.T) * ~active) @ W_enc.T
    return via, grad - via


def two_roads__error_has_it_all(grad, active, W_enc, W_dec):
    """Your error gets the whole gradient. The error is x minus the reconstruction, so its road is
    the gradient *minus* what goes through the latents."""
    return ((grad @ W_dec.T) * active) @ W_enc.T, grad.clone()


def two_roads__added(grad, active, W_enc, W_dec):
    """You add where you should subtract: both roads together must be the gradient."""
    via = ((grad @ W_dec.T) * active) @ W_enc.T
    return via, grad + via


# -------------------------------------------------------------------------- d1. frozen_attention


def frozen_attention__live_scale(x, pattern, scale, W_V, W_O):
    """You compute the norm's scale from x. Frozen means: the given one, whatever x is."""
    centred = x - x.mean(dim=-1, keepdim=True)
    normed = centred / centred.square().mean(dim=-1, keepdim=True).sqrt()
    return x + torch.einsum("hqp,pd,hdk,hke->qe", pattern, normed, W_V, W_O)


def frozen_attention__no_mean(x, pattern, scale, W_V, W_O):
    """You do not subtract the mean. It is linear in x, so it is not frozen, and it is part of the
    norm."""
    normed = x / scale[:, None]
    return x + torch.einsum("hqp,pd,hdk,hke->qe", pattern, normed, W_V, W_O)


def frozen_attention__no_residual(x, pattern, scale, W_V, W_O):
    """You return what the layer adds. The residual stream after it is x plus that."""
    normed = (x - x.mean(dim=-1, keepdim=True)) / scale[:, None]
    return torch.einsum("hqp,pd,hdk,hke->qe", pattern, normed, W_V, W_O)


def frozen_attention__keys_look_at_queries(x, pattern, scale, W_V, W_O):
    """You use the pattern the wrong way round: what a query gets comes from the keys that it looks
    at, so the sum is over the last axis of the pattern."""
    normed = (x - x.mean(dim=-1, keepdim=True)) / scale[:, None]
    return x + torch.einsum("hpq,pd,hdk,hke->qe", pattern, normed, W_V, W_O)


def frozen_attention__residual_normed(x, pattern, scale, W_V, W_O):
    """You add the normed x. The stream goes past the norm unchanged; only the heads read it
    normed."""
    normed = (x - x.mean(dim=-1, keepdim=True)) / scale[:, None]
    return normed + torch.einsum("hqp,pd,hdk,hke->qe", pattern, normed, W_V, W_O)


def frozen_attention__scale_of_the_query(x, pattern, scale, W_V, W_O):
    """You divide by the query's scale. A value is normed where it is read, with its own position's
    scale."""
    centred = x - x.mean(dim=-1, keepdim=True)
    out = torch.einsum("hqp,pd,hdk,hke->qe", pattern, centred, W_V, W_O)
    return x + out / scale[:, None]


def frozen_attention__mean_over_positions(x, pattern, scale, W_V, W_O):
    """You subtract the mean over positions. A layer norm's mean is over d_model, for each
    position."""
    normed = (x - x.mean(dim=0, keepdim=True)) / scale[:, None]
    return x + torch.einsum("hqp,pd,hdk,hke->qe", pattern, normed, W_V, W_O)


def frozen_attention__heads_averaged(x, pattern, scale, W_V, W_O):
    """You average over heads. Each adds what it writes: a sum."""
    normed = (x - x.mean(dim=-1, keepdim=True)) / scale[:, None]
    return x + torch.einsum("hqp,pd,hdk,hke->qe", pattern, normed, W_V, W_O) / len(pattern)


# ----------------------------------------------------------------------- c1. token_contributions


def _slope(embed, rest):
    embed = embed.detach().clone().requires_grad_()
    value = rest(embed)
    return torch.autograd.grad(value, embed)[0], embed.detach(), value.detach()


def token_contributions__gradient_alone(embed, rest):
    """You return the summed gradient. It says what a change would do; a contribution is gradient
    times what is there."""
    grad, embed, value = _slope(embed, rest)
    parts = grad.sum(dim=-1)
    return parts, float(value - parts.sum())


def token_contributions__norm_of_the_gradient(embed, rest):
    """You return the gradient's length. That has no sign, and does not add up to anything."""
    grad, embed, value = _slope(embed, rest)
    parts = grad.norm(dim=-1)
    return parts, float(value - parts.sum())


def token_contributions__absolute(embed, rest):
    """You take absolute values. A word can turn a latent down, and only with signs do the parts
    add up."""
    grad, embed, value = _slope(embed, rest)
    parts = (grad * embed).sum(dim=-1).abs()
    return parts, float(value - parts.sum())


def token_contributions__left_over_negative(embed, rest):
    """Your last number is the sum minus the value. Left over is the value minus the sum."""
    grad, embed, value = _slope(embed, rest)
    parts = (grad * embed).sum(dim=-1)
    return parts, float(parts.sum() - value)


def token_contributions__value_returned(embed, rest):
    """Your second result is the number itself. Asked for is what the contributions leave of it."""
    grad, embed, value = _slope(embed, rest)
    return (grad * embed).sum(dim=-1), float(value)


def token_contributions__normalised(embed, rest):
    """You make the contributions sum to 1. Then nothing can tell how much the constant has."""
    grad, embed, value = _slope(embed, rest)
    parts = (grad * embed).sum(dim=-1)
    return parts / parts.sum(), float(value - parts.sum())


def token_contributions__per_dimension(embed, rest):
    """You sum over positions and keep the dimensions. One number per word is wanted: sum over
    d_model."""
    grad, embed, value = _slope(embed, rest)
    parts = (grad * embed).sum(dim=0)
    return parts, float(value - parts.sum())


def token_contributions__left_over_at_zero(embed, rest):
    """You take what `rest` gives for embeddings of 0 to be left over. That is so only where `rest`
    is affine. What does the sum miss of the number that there is?"""
    grad, embed, _ = _slope(embed, rest)
    return (grad * embed).sum(dim=-1), float(rest(torch.zeros_like(embed)))


def token_contributions__words_taken_out(embed, rest):
    """You take each word out and look at the change. Where `rest` is curved that is another number
    than gradient · embedding."""
    parts = []
    for pos in range(len(embed)):
        without = embed.clone()
        without[pos] = 0
        parts.append(rest(embed) - rest(without))
    return torch.stack(parts), float(rest(embed) - sum(parts))


# -------------------------------------------------------------------------- e1. node_attribution


def node_attribution__clean_minus_baseline(f, f_base, e, e_base, grad, W_dec):
    """Your signs are the wrong way round: (baseline - clean), for that is how the node moves."""
    latents = ((f - f_base) * (grad @ W_dec.T)).mean(dim=0)
    return latents, ((e - e_base) * grad).sum(dim=-1).mean(dim=0)


def node_attribution__to_zero(f, f_base, e, e_base, grad, W_dec):
    """You remove the nodes. They are to get their baseline: (f_base - f), not -f."""
    latents = (-f * (grad @ W_dec.T)).mean(dim=0)
    return latents, (-e * grad).sum(dim=-1).mean(dim=0)


def node_attribution__summed_over_rows(f, f_base, e, e_base, grad, W_dec):
    """You sum over rows. The mean does not depend on how many prompts there are."""
    latents = ((f_base - f) * (grad @ W_dec.T)).sum(dim=0)
    return latents, ((e_base - e) * grad).sum(dim=-1).sum(dim=0)


def node_attribution__mean_gradient(f, f_base, e, e_base, grad, W_dec):
    """You average change and gradient before you multiply. The mean of products is wanted: where a
    latent does not change, its slope must not count."""
    change, slope = (f_base - f).mean(dim=0), (grad @ W_dec.T).mean(dim=0)
    return change * slope, ((e_base - e).mean(dim=0) * grad.mean(dim=0)).sum(dim=-1)


def node_attribution__positions_summed(f, f_base, e, e_base, grad, W_dec):
    """You average over positions and keep the rows. A node is a latent at a position: average over
    rows."""
    latents = ((f_base - f) * (grad @ W_dec.T)).mean(dim=1)
    return latents, ((e_base - e) * grad).sum(dim=-1).mean(dim=1)


def node_attribution__absolute(f, f_base, e, e_base, grad, W_dec):
    """You average absolute values. Keep the sign: it says whether a node helps."""
    latents = ((f_base - f) * (grad @ W_dec.T)).abs().mean(dim=0)
    return latents, ((e_base - e) * grad).sum(dim=-1).abs().mean(dim=0)


def node_attribution__error_averaged(f, f_base, e, e_base, grad, W_dec):
    """You take the mean of the error's products over d_in. The error is one node, and its score a
    scalar product: a sum."""
    latents = ((f_base - f) * (grad @ W_dec.T)).mean(dim=0)
    return latents, ((e_base - e) * grad).mean(dim=-1).mean(dim=0)


def node_attribution__error_is_kept(f, f_base, e, e_base, grad, W_dec):
    """You score the error itself instead of its change to the baseline."""
    latents = ((f_base - f) * (grad @ W_dec.T)).mean(dim=0)
    return latents, (e_base * grad).sum(dim=-1).mean(dim=0)


# ----------------------------------------------------------------------- e2. integrated_gradient


def _along(rest, x, x_base, at):
    total = torch.zeros_like(x)
    for alpha in at:
        point = (x + alpha * (x_base - x)).detach().requires_grad_()
        total = total + torch.autograd.grad(rest(point).sum(), point)[0]
    return total / len(at)


def integrated_gradient__at_the_start_of_each_step(rest, x, x_base, n_steps):
    """You take each step's first point: 0, 1/n, … The middles are much nearer to the mean, and
    exact for a quadratic."""
    return _along(rest, x, x_base, [k / n_steps for k in range(n_steps)])


def integrated_gradient__at_the_end_of_each_step(rest, x, x_base, n_steps):
    """You take each step's last point: 1/n, …, 1. Take the middles."""
    return _along(rest, x, x_base, [(k + 1) / n_steps for k in range(n_steps)])


def integrated_gradient__with_both_ends(rest, x, x_base, n_steps):
    """Your points go from 0 to 1, both ends with full weight. Take the middles of the steps."""
    return _along(rest, x, x_base, torch.linspace(0, 1, n_steps).tolist())


def integrated_gradient__only_the_clean_end(rest, x, x_base, n_steps):
    """You take the gradient at x alone: that is first order again."""
    return _along(rest, x, x_base, [0.0])


def integrated_gradient__not_divided(rest, x, x_base, n_steps):
    """You sum over the steps. The *mean* gradient is wanted: divide by their number."""
    middles = [(k + 0.5) / n_steps for k in range(n_steps)]
    return n_steps * _along(rest, x, x_base, middles)


def integrated_gradient__times_the_way(rest, x, x_base, n_steps):
    """You multiply by the way already. Here only the mean gradient is wanted: latents and errors
    share it."""
    middles = [(k + 0.5) / n_steps for k in range(n_steps)]
    return (x_base - x) * _along(rest, x, x_base, middles)


def integrated_gradient__from_zero(rest, x, x_base, n_steps):
    """Your way begins at 0. It goes from x to the baseline."""
    middles = [(k + 0.5) / n_steps for k in range(n_steps)]
    return _along(rest, torch.zeros_like(x), x, middles)


def integrated_gradient__mean_over_rows(rest, x, x_base, n_steps):
    """You differentiate the mean over rows, so every row's gradient is too small by their number.
    Differentiate the sum: rows do not touch each other."""
    middles = [(k + 0.5) / n_steps for k in range(n_steps)]
    return _along(rest, x, x_base, middles) / len(x)


# -------------------------------------------------------------------------- e3. edge_attribution


def edge_attribution__without_the_slope(change, jacobian, slope):
    """You leave out what the target does to the metric: an edge into a target that does nothing is
    worth nothing."""
    return jacobian * change


def edge_attribution__without_the_change(change, jacobian, slope):
    """You leave out how much the source changes: an edge from a node at its baseline is worth
    nothing."""
    return slope[:, None] * jacobian


def edge_attribution__source_by_target(change, jacobian, slope):
    """Your result has a row per source. Rows are targets, as in the Jacobian."""
    return (slope[:, None] * jacobian * change).T


def edge_attribution__node_scores(change, jacobian, slope):
    """You sum over targets: that gives node scores again. Keep one number per edge."""
    return change * (slope @ jacobian)


def edge_attribution__into_targets(change, jacobian, slope):
    """You sum over sources. Keep one number per edge."""
    return slope * (jacobian @ change)


def edge_attribution__absolute(change, jacobian, slope):
    """You take absolute values. An edge can work against the task: keep the sign."""
    return (slope[:, None] * jacobian * change).abs()


def edge_attribution__no_jacobian(change, jacobian, slope):
    """You multiply change and slope only. How much of the change reaches the target is in the
    Jacobian."""
    return slope[:, None] * change


# ----------------------------------------------------------------------- e4. edge_attribution_ig


def _middles(x, x_base, n_steps):
    return [x + (k + 0.5) / n_steps * (x_base - x) for k in range(n_steps)]


def edge_attribution_ig__product_of_means(change, jacobian, slope, x, x_base, n_steps):
    """You average the slopes and the Jacobians apart and multiply then. Along the way both change
    together: multiply at each point, and average the products."""
    points = _middles(x, x_base, n_steps)
    J = torch.stack([jacobian(p) for p in points]).mean(dim=0)
    s = torch.stack([slope(p) for p in points]).mean(dim=0)
    return s[:, None] * J * change


def edge_attribution_ig__slope_at_the_clean_end(change, jacobian, slope, x, x_base, n_steps):
    """Your slope stays that of the clean run. It is the plateau that we want to get away from."""
    J = torch.stack([jacobian(p) for p in _middles(x, x_base, n_steps)]).mean(dim=0)
    return slope(x)[:, None] * J * change


def edge_attribution_ig__jacobian_at_the_clean_end(change, jacobian, slope, x, x_base, n_steps):
    """Your Jacobian stays that of the clean run. Take it anew at each point."""
    s = torch.stack([slope(p) for p in _middles(x, x_base, n_steps)]).mean(dim=0)
    return s[:, None] * jacobian(x) * change


def edge_attribution_ig__summed(change, jacobian, slope, x, x_base, n_steps):
    """You sum over the points. The mean is wanted: divide by the number of steps."""
    points = _middles(x, x_base, n_steps)
    return torch.stack([slope(p)[:, None] * jacobian(p) * change for p in points]).sum(dim=0)


def edge_attribution_ig__at_the_start_of_each_step(change, jacobian, slope, x, x_base, n_steps):
    """You take each step's first point. Take the middles, as in e2."""
    points = [x + k / n_steps * (x_base - x) for k in range(n_steps)]
    return torch.stack([slope(p)[:, None] * jacobian(p) * change for p in points]).mean(dim=0)


def edge_attribution_ig__first_order(change, jacobian, slope, x, x_base, n_steps):
    """You take the clean end alone: that is edge attribution patching without the integral."""
    return slope(x)[:, None] * jacobian(x) * change


def edge_attribution_ig__change_shrinks(change, jacobian, slope, x, x_base, n_steps):
    """You divide the change by the number of steps, and the mean does that again. Take the whole
    change with the mean of the products."""
    points = _middles(x, x_base, n_steps)
    return torch.stack([slope(p)[:, None] * jacobian(p) for p in points]).mean(dim=0) * (
        change / n_steps
    )


def edge_attribution_ig__at_the_end_of_each_step(change, jacobian, slope, x, x_base, n_steps):
    """You take each step's last point. Take the middles, as in e2."""
    points = [x + (k + 1) / n_steps * (x_base - x) for k in range(n_steps)]
    return torch.stack([slope(p)[:, None] * jacobian(p) * change for p in points]).mean(dim=0)


# ------------------------------------------------------------------------------ f1. select_nodes


def _shaped(keep, scores):
    parts = keep.split([s.numel() for s in scores])
    return [part.reshape(s.shape) for part, s in zip(parts, scores, strict=True)]


def select_nodes__n_of_each(scores, n):
    """You keep n of every tensor. The ranking goes over all tensors together: a site may have
    none."""
    found = []
    for s in scores:
        flat = s.flatten().abs()
        keep = torch.zeros_like(flat, dtype=torch.bool)
        order = flat.argsort(descending=True, stable=True)[:n]
        keep[order] = flat[order] > 0
        found.append(keep.reshape(s.shape))
    return found


def select_nodes__largest_with_sign(scores, n):
    """You rank by the signed score: helpers, which are below 0 here, come last. Rank by absolute
    value."""
    flat = torch.cat([s.flatten() for s in scores])
    keep = torch.zeros_like(flat, dtype=torch.bool)
    order = flat.argsort(descending=True, stable=True)[:n]
    keep[order] = flat[order] != 0
    return _shaped(keep, scores)


def select_nodes__only_helpers(scores, n):
    """You rank by how far below 0 a score is, and lose the nodes that work against the task. They
    belong to what the model does: rank by absolute value."""
    flat = -torch.cat([s.flatten() for s in scores])
    keep = torch.zeros_like(flat, dtype=torch.bool)
    order = flat.argsort(descending=True, stable=True)[:n]
    keep[order] = flat[order] > 0
    return _shaped(keep, scores)


def select_nodes__keeps_zeros(scores, n):
    """Where fewer than n scores differ from 0 you fill up with zeros. Such a node does nothing."""
    flat = torch.cat([s.flatten() for s in scores]).abs()
    keep = torch.zeros_like(flat, dtype=torch.bool)
    keep[flat.argsort(descending=True, stable=True)[:n]] = True
    return _shaped(keep, scores)


def select_nodes__a_threshold(scores, n):
    """You keep all that reach the n-th largest score: with ties those are more than n."""
    flat = torch.cat([s.flatten() for s in scores]).abs()
    if n == 0:
        return _shaped(torch.zeros_like(flat, dtype=torch.bool), scores)
    least = flat.sort(descending=True).values[min(n, len(flat)) - 1]
    return _shaped((flat >= least) & (flat > 0), scores)


def select_nodes__later_of_equals(scores, n):
    """Of equal scores you keep the later ones. The earlier ones count."""
    flat = torch.cat([s.flatten() for s in scores]).abs()
    keep = torch.zeros_like(flat, dtype=torch.bool)
    order = len(flat) - 1 - flat.flip(0).argsort(descending=True, stable=True)[:n]
    keep[order] = flat[order] > 0
    return _shaped(keep, scores)


def select_nodes__the_smallest(scores, n):
    """You keep the smallest scores: sort in descending order."""
    flat = torch.cat([s.flatten() for s in scores]).abs()
    keep = torch.zeros_like(flat, dtype=torch.bool)
    order = flat.argsort(stable=True)[:n]
    keep[order] = flat[order] > 0
    return _shaped(keep, scores)


# -------------------------------------------------------------------------------- f2. keep_nodes


def keep_nodes__masks_swapped(x, encode, decode, keep, keep_error, f_base, e_base):
    """You replace what is in the circuit and keep the rest: that tests everything *but* the
    circuit."""
    f = encode(x)
    error = x - decode(f)
    f = torch.where(keep, f_base, f)
    return decode(f) + torch.where(keep_error[:, None], e_base, error)


def keep_nodes__zeros(x, encode, decode, keep, keep_error, f_base, e_base):
    """Outside the circuit you put 0. The baseline is what the node has on the other prompts: 0 is
    a value that it may never have."""
    f = encode(x)
    error = x - decode(f)
    return decode(f * keep) + error * keep_error[:, None]


def keep_nodes__error_of_the_edited(x, encode, decode, keep, keep_error, f_base, e_base):
    """You compute the error after the latents were replaced. Then it contains what you have just
    taken away, and nothing changes."""
    f = torch.where(keep, encode(x), f_base)
    error = x - decode(f)
    return decode(f) + torch.where(keep_error[:, None], error, e_base)


def keep_nodes__no_error(x, encode, decode, keep, keep_error, f_base, e_base):
    """You leave the error out. It is a node like the others: kept, or replaced by its baseline."""
    return decode(torch.where(keep, encode(x), f_base))


def keep_nodes__error_always_kept(x, encode, decode, keep, keep_error, f_base, e_base):
    """Your error is always live. Where `keep_error` is false it gets its baseline."""
    f = encode(x)
    return decode(torch.where(keep, f, f_base)) + x - decode(f)


def keep_nodes__error_always_replaced(x, encode, decode, keep, keep_error, f_base, e_base):
    """Your error is always the baseline's. Where `keep_error` is true it is that of x."""
    return decode(torch.where(keep, encode(x), f_base)) + e_base


def keep_nodes__error_dropped(x, encode, decode, keep, keep_error, f_base, e_base):
    """An error that is not kept is 0 in your answer. It gets its baseline `e_base`."""
    f = encode(x)
    error = x - decode(f)
    return decode(torch.where(keep, f, f_base)) + error * keep_error[:, None]


def keep_nodes__decoded_twice(x, encode, decode, keep, keep_error, f_base, e_base):
    """You decode kept and replaced latents apart and add: that adds the decoder's bias twice."""
    f = encode(x)
    error = x - decode(f)
    out = decode(f * keep) + decode(f_base * ~keep)
    return out + torch.where(keep_error[:, None], error, e_base)


# ------------------------------------------------------------------------------ f3. faithfulness


def faithfulness__mean_of_ratios(circuit, empty, full):
    """You average the rows' ratios. One row in which nothing changes ruins that: divide the
    means."""
    return float(((circuit - empty) / (full - empty)).mean())


def faithfulness__without_the_empty_circuit(circuit, empty, full):
    """You divide by the full metric alone. What the model does with *no* node must count as 0."""
    return float(circuit.mean() / full.mean())


def faithfulness__ratios_to_full(circuit, empty, full):
    """You divide each row by the full metric, and average. Two things: what the model does with
    *no* node must count as 0, so take `empty` away above and below; and divide means, not rows."""
    return float((circuit / full).mean())


def faithfulness__distance_from_full(circuit, empty, full):
    """You measure what is missing: that is 1 minus the faithfulness."""
    return float((full.mean() - circuit.mean()) / (full.mean() - empty.mean()))


def faithfulness__cut(circuit, empty, full):
    """You cut to between 0 and 1. A circuit can do better than the model, or the opposite of it,
    and that should be seen."""
    ratio = (circuit.mean() - empty.mean()) / (full.mean() - empty.mean())
    return float(ratio.clamp(0, 1))


def faithfulness__upside_down(circuit, empty, full):
    """Your ratio is upside down: what the circuit adds, over what the model adds."""
    return float((full.mean() - empty.mean()) / (circuit.mean() - empty.mean()))


def faithfulness__absolute(circuit, empty, full):
    """You take absolute values: a circuit that does the opposite then looks good."""
    return float((circuit.mean() - empty.mean()).abs() / (full.mean() - empty.mean()).abs())


def faithfulness__empty_taken_away_above_only(circuit, empty, full):
    """You take the empty circuit away above the line, but not below it. The whole model should
    have a faithfulness of 1: what does yours give?"""
    return float((circuit.mean() - empty.mean()) / full.mean())


# ------------------------------------------------------------------------------- f4. random_like


def random_like__anywhere_in_the_site(circuit, eligible, gen):
    """You draw from all positions of a site. The control is matched place by place: otherwise it
    loses because it sits at the wrong words."""
    found = []
    for mask, may in zip(circuit, eligible, strict=True):
        places = may.flatten().nonzero()[:, 0]
        order = torch.randperm(len(places), generator=gen, device=gen.device)
        new = torch.zeros_like(mask).flatten()
        new[places[order[: int(mask.sum())]]] = True
        found.append(new.reshape(mask.shape))
    return found


def random_like__any_latent(circuit, eligible, gen):
    """You draw from all latents. Those that are never active do nothing, so such a control is too
    easy to beat."""
    found = [torch.zeros_like(mask) for mask in circuit]
    for mask, new in zip(circuit, found, strict=True):
        for pos in range(len(mask)):
            order = torch.randperm(mask.shape[1], generator=gen, device=gen.device)
            new[pos, order[: int(mask[pos].sum())]] = True
    return found


def random_like__with_replacement(circuit, eligible, gen):
    """You draw with replacement: a latent can come twice, and then there are too few."""
    found = [torch.zeros_like(mask) for mask in circuit]
    for mask, may, new in zip(circuit, eligible, found, strict=True):
        for pos in range(len(mask)):
            places, n = may[pos].nonzero()[:, 0], int(mask[pos].sum())
            if n:
                drawn = torch.randint(len(places), (n,), generator=gen, device=gen.device)
                new[pos, places[drawn]] = True
    return found


def random_like__the_first_ones(circuit, eligible, gen):
    """You take the first eligible latents. Draw them at random."""
    found = [torch.zeros_like(mask) for mask in circuit]
    for mask, may, new in zip(circuit, eligible, found, strict=True):
        for pos in range(len(mask)):
            new[pos, may[pos].nonzero()[:, 0][: int(mask[pos].sum())]] = True
    return found


def random_like__never_the_circuits(circuit, eligible, gen):
    """You leave the circuit's own latents out. A random circuit may meet them by chance; without
    them the draw is not uniform over what is eligible, and there may be too few left."""
    found = [torch.zeros_like(mask) for mask in circuit]
    for mask, may, new in zip(circuit, eligible, found, strict=True):
        for pos in range(len(mask)):
            places = (may[pos] & ~mask[pos]).nonzero()[:, 0]
            order = torch.randperm(len(places), generator=gen, device=gen.device)
            new[pos, places[order[: int(mask[pos].sum())]]] = True
    return found


def random_like__a_coin_for_each(circuit, eligible, gen):
    """You toss a coin for each eligible latent. The numbers then agree on average only; they are
    to agree exactly."""
    found = []
    for mask, may in zip(circuit, eligible, strict=True):
        share = mask.sum(dim=1) / may.sum(dim=1).clamp(min=1)
        coin = torch.rand(mask.shape, generator=gen, device=gen.device) < share[:, None]
        found.append(coin & may)
    return found


def random_like__one_draw_for_all_positions(circuit, eligible, gen):
    """You draw one order of the latents and use it at every position. Then all positions get the
    same latents: draw anew for each."""
    found = [torch.zeros_like(mask) for mask in circuit]
    for mask, may, new in zip(circuit, eligible, found, strict=True):
        order = torch.randperm(mask.shape[1], generator=gen, device=gen.device)
        for pos in range(len(mask)):
            places = order[may[pos][order]]
            new[pos, places[: int(mask[pos].sum())]] = True
    return found


# --------------------------------------------------------------------------------- g1. label_auc


def _pairs(score, label):
    return score[label][:, None] - score[~label]


def label_auc__ties_lost(score, label):
    """A tie counts as lost in your answer. A latent that is silent nearly everywhere then looks
    far below chance: count one half."""
    gap = _pairs(score, label)
    return float((gap > 0).double().mean()) if gap.numel() else float("nan")


def label_auc__ties_won(score, label):
    """A tie counts as won in your answer. Then a latent that is never active has an AUC of 1:
    count one half."""
    gap = _pairs(score, label)
    return float((gap >= 0).double().mean()) if gap.numel() else float("nan")


def label_auc__ties_left_out(score, label):
    """You leave ties out. They are pairs that the latent cannot tell apart, and count one half
    each."""
    gap = _pairs(score, label)
    if not gap.numel():
        return float("nan")
    won, lost = int((gap > 0).sum()), int((gap < 0).sum())
    return won / (won + lost) if won + lost else 0.5


def label_auc__the_other_way(score, label):
    """You count the pairs in which the false item is larger: that is 1 minus the AUC."""
    gap = -_pairs(score, label)
    if not gap.numel():
        return float("nan")
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())


def label_auc__folded(score, label):
    """You return the larger of the AUC and 1 minus it. The direction is asked for: below one half
    the latent says the opposite."""
    gap = _pairs(score, label)
    if not gap.numel():
        return float("nan")
    auc = float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())
    return max(auc, 1 - auc)


def label_auc__half_without_both_kinds(score, label):
    """Without both kinds of items there is no pair to compare. One half would claim that chance
    was measured: return NaN."""
    gap = _pairs(score, label)
    if not gap.numel():
        return 0.5
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())


def label_auc__difference_of_means(score, label):
    """You compare means. The AUC knows only order: it must not change when the score is
    stretched."""
    if label.all() or not label.any():
        return float("nan")
    return float(score[label].double().mean() - score[~label].double().mean())


def label_auc__of_all_pairs(score, label):
    """You divide by the number of all pairs of items. Two true items, or two false ones, are no
    comparison: how many pairs have one of each?"""
    gap = _pairs(score, label)
    if not gap.numel():
        return float("nan")
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).sum() / len(score) ** 2)


# ---------------------------------------------------------------------- h1. worst_group_accuracy


def _kinds(label, group):
    return [(label == y) & (group == g) for y in (False, True) for g in (False, True)]


def worst_group_accuracy__over_all(right, label, group):
    """You return the accuracy over all items. It hides a small group in which everything is
    wrong."""
    return float(right.double().mean())


def worst_group_accuracy__mean_of_groups(right, label, group):
    """You average the groups. The *worst* one is asked for."""
    found = [float(right[k].double().mean()) for k in _kinds(label, group) if k.any()]
    return sum(found) / len(found)


def worst_group_accuracy__labels_only(right, label, group):
    """You divide by the label alone. A group is a label *and* a value of the other attribute."""
    kinds = [label, ~label]
    return min(float(right[k].double().mean()) for k in kinds if k.any())


def worst_group_accuracy__attribute_only(right, label, group):
    """You divide by the attribute alone. A group is an attribute *and* a label."""
    kinds = [group, ~group]
    return min(float(right[k].double().mean()) for k in kinds if k.any())


def worst_group_accuracy__empty_is_0(right, label, group):
    """A group without items counts as 0 in your answer. It has no accuracy: leave it out."""
    kinds = _kinds(label, group)
    return min(float(right[k].double().mean()) if k.any() else 0.0 for k in kinds)


def worst_group_accuracy__the_best(right, label, group):
    """You return the best group. It says nothing about those that the probe gets wrong."""
    return max(float(right[k].double().mean()) for k in _kinds(label, group) if k.any())


def worst_group_accuracy__agreeing_groups_only(right, label, group):
    """You look only at the groups in which label and attribute agree: those are the ones that the
    biased data had. The others are where it fails."""
    kinds = [label & group, ~label & ~group]
    return min([float(right[k].double().mean()) for k in kinds if k.any()] or [1.0])


def worst_group_accuracy__agree_or_not(right, label, group):
    """You form two groups: label and attribute agree, or not. There are four: within those that do
    not agree one kind can be right and the other wrong."""
    agree = label == group
    return min(float(right[k].double().mean()) for k in (agree, ~agree) if k.any())


def worst_group_accuracy__share_of_all(right, label, group):
    """You divide a group's right items by all items. An accuracy is a share of the group
    itself."""
    kinds = _kinds(label, group)
    return min(float((right & k).double().mean()) for k in kinds if k.any())


# ----------------------------------------------------------------------------- h2. probe_effects


def probe_effects__without_the_activations(f, label, W_dec, w):
    """You return what the probe would read of one unit. A latent that is equal in both classes
    makes no difference: multiply by the difference of its means."""
    return W_dec @ w


def probe_effects__without_the_probe(f, label, W_dec, w):
    """You return how the latents differ between the classes. Whether the probe looks at that is in
    `W_dec @ w`."""
    return f[label].mean(dim=0) - f[~label].mean(dim=0)


def probe_effects__mean_over_all(f, label, W_dec, w):
    """You use the mean over all items. What separates the classes is the difference of their
    means."""
    return f.mean(dim=0) * (W_dec @ w)


def probe_effects__other_sign(f, label, W_dec, w):
    """You subtract the wrong way round: mean where the label is true minus mean where it is
    not."""
    return (f[~label].mean(dim=0) - f[label].mean(dim=0)) * (W_dec @ w)


def probe_effects__sums(f, label, W_dec, w):
    """You compare sums. Classes of unequal size then differ although their latents do not: take
    means."""
    return (f[label].sum(dim=0) - f[~label].sum(dim=0)) * (W_dec @ w)


def probe_effects__where_active(f, label, W_dec, w):
    """You take the means over items on which the latent is active. *How often* it is active is
    part of the difference: zeros count."""

    def mean(part):
        return part.sum(dim=0) / (part != 0).sum(dim=0).clamp(min=1)

    return (mean(f[label]) - mean(f[~label])) * (W_dec @ w)


def probe_effects__absolute(f, label, W_dec, w):
    """You take absolute values. With signs the effects add up to the difference of the outputs."""
    return ((f[label].mean(dim=0) - f[~label].mean(dim=0)) * (W_dec @ w)).abs()


def probe_effects__divided_by_all_items(f, label, W_dec, w):
    """You divide the sum of each class by the number of all items. A mean where `label` is true
    has only the true items below the line."""
    return ((f[label].sum(dim=0) - f[~label].sum(dim=0)) / len(f)) * (W_dec @ w)


def probe_effects__cosine(f, label, W_dec, w):
    """You take the cosine of decoder row and probe. What the probe reads of one unit depends on
    how long both are."""
    gap = f[label].mean(dim=0) - f[~label].mean(dim=0)
    return gap * torch.cosine_similarity(W_dec, w, dim=-1)


# ----------------------------------------------------------------------------- h3. probe_without


def probe_without__keeps_only_them(x, f, drop, W_dec, w, b):
    """You keep the dropped latents and leave out the rest."""
    return f[:, drop] @ W_dec[drop] @ w + b


def probe_without__adds_them(x, f, drop, W_dec, w, b):
    """You add what the latents write. Removing is subtracting."""
    return (x + f[:, drop] @ W_dec[drop]) @ w + b


def probe_without__no_bias(x, f, drop, W_dec, w, b):
    """Your output lacks the probe's bias: without it the border between the classes moves."""
    return (x - f[:, drop] @ W_dec[drop]) @ w


def probe_without__decoded_anew(x, f, drop, W_dec, w, b):
    """You build x anew from the latents that are left, and lose the error. Subtract from x
    itself."""
    left = f.clone()
    left[:, drop] = 0
    return left @ W_dec @ w + b


def probe_without__one_unit(x, f, drop, W_dec, w, b):
    """You subtract the decoder rows once each. A latent writes its row times its activation."""
    return (x - W_dec[drop].sum(dim=0)) @ w + b


def probe_without__projected_out(x, f, drop, W_dec, w, b):
    """You remove the decoder rows' *directions* from the probe. That takes away whatever else lies
    along them too; only what these latents write is to go."""
    if not len(drop):
        return x @ w + b
    q = torch.linalg.svd(W_dec[drop], full_matrices=False).Vh
    return (x - x @ q.T @ q) @ w + b


def probe_without__all_latents(x, f, drop, W_dec, w, b):
    """You remove every latent. Only those in `drop` are to go."""
    return (x - f @ W_dec) @ w + b


def probe_without__subtracts_activations(x, f, drop, W_dec, w, b):
    """You subtract the activations themselves. The probe reads what they write: each activation
    times its decoder row, and of that what lies along w."""
    return x @ w + b - f[:, drop].sum(dim=-1)


def probe_without__projected_out_one_by_one(x, f, drop, W_dec, w, b):
    """You take the decoder rows' *directions* out of x, one after the other. That takes away
    whatever else lies along them, too; only what these latents write is to go."""
    for row in W_dec[drop]:
        x = x - (x @ row)[:, None] * row / row.square().sum()
    return x @ w + b


def probe_without__set_to_their_means(x, f, drop, W_dec, w, b):
    """You set the latents to their mean over the items. Removed means 0: nothing that they write
    stays."""
    return (x - (f - f.mean(dim=0))[:, drop] @ W_dec[drop]) @ w + b


# ---------------------------------------------------------------------------------- predictions


def predict_frozen_removal__worse():
    """For a small push it is. But removing a whole latent is no small push, and the slope of where
    heads look does not last that long."""
    return "worse by more than 0.1"


def predict_frozen_removal__better():
    """It is a little better here, by less than 0.1, and the intervals overlap."""
    return "better by more than 0.1"


def predict_first_order__right_size():
    """It would be if the metric were linear between the two prompts. The clean one is on a
    plateau, where the slope says little about the way down."""
    return "a fall of more than 6"


def predict_first_order__too_small():
    """On a plateau one expects a slope near 0. But here even its sign is wrong."""
    return "a fall of 6 or less"


def predict_frozen_copy__most():
    """That would hold if the latents of layer 0 passed a value on. They tell layer 1 where to
    look, and with frozen patterns nobody asks them."""
    return "more than 70 %"


def predict_frozen_copy__half():
    """Less: what layer 0 contributes goes nearly all through the patterns of layer 1."""
    return "30 % to 70 %"


def predict_where__when():
    """A pair always follows "when", so some of it is there. But more sits where the second name is
    announced."""
    return "at when"


def predict_where__last_name():
    """That is where it must be in the end. After one block it has not arrived yet: the name itself
    is the same in both prompts."""
    return "at the last name"


def predict_size__a_handful():
    """Each of four sites needs its own few: the circuit is a chain, and with one link missing
    nothing gets through."""
    return "10 or fewer"


def predict_size__hundreds():
    """Fewer: most of the latents that are active have to do with names, places and the order of
    the words."""
    return "more than 100"


def predict_cleaned__no_good():
    """The rejected latents carry much of what the probe knows about gender, so it gets better than
    that."""
    return "below 65 %"


def predict_cleaned__latents_win():
    """One would like that. But the same rule applied to plain coordinates does as well here."""
    return "65 % or more, and coordinates at least 10 points worse"
