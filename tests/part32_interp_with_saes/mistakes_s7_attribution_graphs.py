"""Wrong answers that learners of 3.2.7 give, each with what a tutor would say."""

import torch

from part32_interp_with_saes.s7_attribution_graphs import (
    fewest,
    influence,
    influence_by_steps,
    shares,
)

# --------------------------------------------------------------------------- a1. norm_with_scale


def norm_with_scale__keeps_the_mean(x, scale, gain, bias):
    """You leave the mean in. A LayerNorm subtracts it first, and that is linear: it may stay."""
    return x / scale * gain + bias


def norm_with_scale__own_scale(x, scale, gain, bias):
    """You compute the scale from x. Held still means: divide by the scale that is given."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / centred.square().mean(dim=-1, keepdim=True).sqrt() * gain + bias


def norm_with_scale__bias_scaled(x, scale, gain, bias):
    """You divide the bias by the scale, too. It is added at the very end."""
    return (x - x.mean(dim=-1, keepdim=True) + bias) / scale * gain


def norm_with_scale__bias_before_gain(x, scale, gain, bias):
    """You add the bias before the gain, so the gain multiplies it, too. It is added at the very
    end."""
    return ((x - x.mean(dim=-1, keepdim=True)) / scale + bias) * gain


def norm_with_scale__mean_over_all(x, scale, gain, bias):
    """Your mean is over everything. Each token has its own mean, over d_model."""
    return (x - x.mean()) / scale * gain + bias


def norm_with_scale__multiplies(x, scale, gain, bias):
    """You multiply by the scale. The norm divides by it."""
    return (x - x.mean(dim=-1, keepdim=True)) * scale * gain + bias


def norm_with_scale__without_bias(x, scale, gain, bias):
    """The bias is missing. It is a constant, but the rows only add up with it."""
    return (x - x.mean(dim=-1, keepdim=True)) / scale * gain


def norm_with_scale__mean_after(x, scale, gain, bias):
    """You subtract the mean of the result. The mean of x goes first, before scale and gain."""
    y = x / scale * gain
    return y - y.mean(dim=-1, keepdim=True) + bias


def norm_with_scale__mean_not_divided(x, scale, gain, bias):
    """You divide x by the scale, but not its mean. The mean goes first, and what is left is
    divided."""
    return (x / scale - x.mean(dim=-1, keepdim=True)) * gain + bias


# -------------------------------------------------------------------- a2. attention_with_pattern


def attention_with_pattern__keys_and_queries_swapped(x, pattern, W_V, b_V, W_O, b_O):
    """Your pattern mixes the wrong way round: rows are queries, and the sum is over keys."""
    return (pattern.transpose(1, 2) @ (x @ W_V + b_V[:, None]) @ W_O).sum(dim=0) + b_O


def attention_with_pattern__bias_per_head(x, pattern, W_V, b_V, W_O, b_O):
    """You add b_O in every head. It is added once, after the heads are summed."""
    return (pattern @ (x @ W_V + b_V[:, None]) @ W_O + b_O).sum(dim=0)


def attention_with_pattern__no_value_bias(x, pattern, W_V, b_V, W_O, b_O):
    """The values' bias is missing: v = x W_V + b_V."""
    return (pattern @ (x @ W_V) @ W_O).sum(dim=0) + b_O


def attention_with_pattern__value_bias_after_mixing(x, pattern, W_V, b_V, W_O, b_O):
    """You add b_V after the mixing. That is only the same where a pattern's rows sum to 1, and
    this function must not rely on it."""
    return ((pattern @ (x @ W_V) + b_V[:, None]) @ W_O).sum(dim=0) + b_O


def attention_with_pattern__no_output_bias(x, pattern, W_V, b_V, W_O, b_O):
    """The output's bias is missing. It is a constant, and belongs to the row's constant."""
    return (pattern @ (x @ W_V + b_V[:, None]) @ W_O).sum(dim=0)


def attention_with_pattern__adds_the_stream(x, pattern, W_V, b_V, W_O, b_O):
    """You add x to the result. What the layer itself writes is asked for, not the stream after
    it."""
    return x + (pattern @ (x @ W_V + b_V[:, None]) @ W_O).sum(dim=0) + b_O


def attention_with_pattern__softmax_again(x, pattern, W_V, b_V, W_O, b_O):
    """You apply a softmax to the pattern. It is the pattern, not the scores."""
    pattern = pattern.softmax(dim=-1)
    return (pattern @ (x @ W_V + b_V[:, None]) @ W_O).sum(dim=0) + b_O


def attention_with_pattern__mean_of_heads(x, pattern, W_V, b_V, W_O, b_O):
    """You take the mean of the heads. Each head adds to the stream: sum them."""
    return (pattern @ (x @ W_V + b_V[:, None]) @ W_O).mean(dim=0) + b_O


# ------------------------------------------------------------------------- a3. latents_and_error


def _made(x, f, W_dec, b_dec, W_skip):
    made = f @ W_dec + b_dec
    return made if W_skip is None else made + x @ W_skip.T


def latents_and_error__first_position_too(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """You use the transcoder at the first position, where it was not trained. There, no latent is
    active, and all is error."""
    f = encode(x)
    return f, mlp_out - _made(x, f, W_dec, b_dec, W_skip)


def latents_and_error__bias_stays_at_first(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """At the first position you silence the latents but not the bias and the skip path. The error
    there is mlp_out itself."""
    f = torch.cat([0 * encode(x)[:1], encode(x)[1:]])
    return f, mlp_out - _made(x, f, W_dec, b_dec, W_skip)


def latents_and_error__latents_at_first(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """Your error at the first position is right, but latents are still active there: they would
    become nodes, and be counted twice."""
    f = encode(x)
    error = mlp_out - _made(x, f, W_dec, b_dec, W_skip)
    return f, torch.cat([mlp_out[:1], error[1:]])


def latents_and_error__no_bias(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """The decoder's bias is missing, so it ends up in the error."""
    f = torch.cat([0 * encode(x)[:1], encode(x)[1:]])
    error = mlp_out - _made(x, f, W_dec, 0 * b_dec, W_skip)
    return f, torch.cat([mlp_out[:1], error[1:]])


def latents_and_error__no_skip(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """You leave the skip path out. The error hides it: everything adds up, and what the skip path
    carries is called an error."""
    f = torch.cat([0 * encode(x)[:1], encode(x)[1:]])
    error = mlp_out - _made(x, f, W_dec, b_dec, None)
    return f, torch.cat([mlp_out[:1], error[1:]])


def latents_and_error__sign(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """Your error has the wrong sign. It is what must be added to get mlp_out."""
    f = torch.cat([0 * encode(x)[:1], encode(x)[1:]])
    error = mlp_out - _made(x, f, W_dec, b_dec, W_skip)
    return f, torch.cat([mlp_out[:1], -error[1:]])


def latents_and_error__skip_not_transposed(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """Your skip path is not transposed: x W_skip^T."""
    f = torch.cat([0 * encode(x)[:1], encode(x)[1:]])
    skip = 0 if W_skip is None else x @ W_skip
    error = mlp_out - f @ W_dec - b_dec - skip
    return f, torch.cat([mlp_out[:1], error[1:]])


def latents_and_error__error_zero_at_first(x, mlp_out, encode, W_dec, b_dec, W_skip):
    """Your error is 0 at the first position, so what the MLP writes there is lost."""
    f = torch.cat([0 * encode(x)[:1], encode(x)[1:]])
    error = mlp_out - _made(x, f, W_dec, b_dec, W_skip)
    return f, torch.cat([0 * error[:1], error[1:]])


# --------------------------------------------------------------------------- b. what_nodes_write


def what_nodes_write__by_position(acts, W_dec, error, embed):
    """Your latents are ordered by position first. The order is layer, position, latent."""
    pos, layer, latent = acts.transpose(0, 1).nonzero(as_tuple=True)
    rows = acts[layer, pos, latent, None] * W_dec[layer, latent]
    return torch.cat([rows, error.flatten(0, 1), embed])


def what_nodes_write__not_scaled(acts, W_dec, error, embed):
    """You list decoder rows. A latent writes its row times its activation."""
    layer, _, latent = acts.nonzero(as_tuple=True)
    return torch.cat([W_dec[layer, latent], error.flatten(0, 1), embed])


def what_nodes_write__one_layers_decoder(acts, W_dec, error, embed):
    """You take the first layer's decoder for all. Each latent has the row of its own layer."""
    layer, pos, latent = acts.nonzero(as_tuple=True)
    rows = acts[layer, pos, latent, None] * W_dec[0, latent]
    return torch.cat([rows, error.flatten(0, 1), embed])


def what_nodes_write__embeddings_first(acts, W_dec, error, embed):
    """Your embeddings come before the errors. The order is latents, errors, embeddings."""
    layer, pos, latent = acts.nonzero(as_tuple=True)
    rows = acts[layer, pos, latent, None] * W_dec[layer, latent]
    return torch.cat([rows, embed, error.flatten(0, 1)])


def what_nodes_write__all_latents(acts, W_dec, error, embed):
    """You list silent latents, too: rows of zeros, and a graph of tens of thousands of nodes."""
    rows = (acts[..., None] * W_dec[:, None]).flatten(0, 2)
    return torch.cat([rows, error.flatten(0, 1), embed])


def what_nodes_write__errors_by_position(acts, W_dec, error, embed):
    """Your errors go position by position. They go layer by layer."""
    layer, pos, latent = acts.nonzero(as_tuple=True)
    rows = acts[layer, pos, latent, None] * W_dec[layer, latent]
    return torch.cat([rows, error.transpose(0, 1).flatten(0, 1), embed])


def what_nodes_write__positive_only(acts, W_dec, error, embed):
    """You leave out latents below 0. Active means not 0."""
    layer, pos, latent = (acts > 0).nonzero(as_tuple=True)
    rows = acts[layer, pos, latent, None] * W_dec[layer, latent]
    return torch.cat([rows, error.flatten(0, 1), embed])


# ----------------------------------------------------------------------------- c1. contributions


def _slope(read, written):
    leaf = written.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = read(leaf)
        (slope,) = torch.autograd.grad(value, leaf)
    return value.detach(), slope


def contributions__slope_only(read, written):
    """You return the gradient's sums. A contribution is the gradient times what is written."""
    value, slope = _slope(read, written)
    row = slope.sum(dim=-1)
    return row, value - row.sum()


def contributions__norm(read, written):
    """You return the length of the gradient. A contribution has a sign, and adds up."""
    value, slope = _slope(read, written)
    row = slope.norm(dim=-1) * written.norm(dim=-1)
    return row, value - row.sum()


def contributions__constant_is_the_value(read, written):
    """Your constant is the whole value. It is what the row leaves over."""
    value, slope = _slope(read, written)
    return (slope * written.detach()).sum(dim=-1), value


def contributions__constant_spread(read, written):
    """You spread the constant over the sources, so that the row adds up. No source did it: it is
    kept apart."""
    value, slope = _slope(read, written)
    row = (slope * written.detach()).sum(dim=-1)
    rest = value - row.sum()
    return row + rest / len(row), rest


def contributions__one_source_alone(read, written):
    """You read each source alone, and so count the constant with every source. Subtract what is
    read from nothing."""
    with torch.no_grad():
        whole = read(written.detach())
        row = torch.stack(
            [read(written.detach() * (torch.arange(len(written)) == i)[:, None].to(written.device))
             for i in range(len(written))]
        )  # fmt: skip
    return row, whole - row.sum()


def contributions__absolute(read, written):
    """You take absolute values. Sources that lower the target have a negative contribution."""
    value, slope = _slope(read, written)
    row = (slope * written.detach()).sum(dim=-1)
    return row.abs(), value - row.sum()


def contributions__absolute_in_the_constant_too(read, written):
    """You take absolute values, and the constant makes up for the signs. Sources that lower the
    target have a negative contribution."""
    value, slope = _slope(read, written)
    row = (slope * written.detach()).sum(dim=-1).abs()
    return row, value - row.sum()


def contributions__constant_sign(read, written):
    """Your constant has the wrong sign: value = sum of the row + constant."""
    value, slope = _slope(read, written)
    row = (slope * written.detach()).sum(dim=-1)
    return row, row.sum() - value


# ----------------------------------------------------------------------------------- c2. rows_of


def _rows(read, written, n):
    copies = written.detach().expand(n, -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        values = read(copies)
        (slope,) = torch.autograd.grad(values.sum(), copies)
    return values.detach(), slope


def rows_of__one_leaf(read, written, n):
    """All copies are one leaf, so every target gets the gradient of the sum of all. Make real
    copies: expand, then clone, then requires_grad_."""
    leaf = written.detach().clone().requires_grad_()
    with torch.enable_grad():
        values = read(leaf.expand(n, -1, -1))
        (slope,) = torch.autograd.grad(values.sum(), leaf)
    rows = (slope * written.detach()).sum(dim=-1).expand(n, -1)
    return rows, values.detach() - rows.sum(dim=1)


def rows_of__slope_only(read, written, n):
    """You return gradients, not gradient times what is written."""
    values, slope = _rows(read, written, n)
    rows = slope.sum(dim=-1)
    return rows, values - rows.sum(dim=1)


def rows_of__one_constant(read, written, n):
    """You return one constant for all targets together. Each target has its own."""
    values, slope = _rows(read, written, n)
    rows = (slope * written.detach()).sum(dim=-1)
    return rows, (values.sum() - rows.sum()).expand(n)


def rows_of__mean_of_values(read, written, n):
    """You go back from the mean of the values, so every row is n times too small. Sum them."""
    values, slope = _rows(read, written, n)
    rows = (slope * written.detach()).sum(dim=-1) / n
    return rows, values - rows.sum(dim=1)


def rows_of__constants_are_values(read, written, n):
    """Your constants are the targets' whole values. Subtract each row's sum."""
    values, slope = _rows(read, written, n)
    return (slope * written.detach()).sum(dim=-1), values


def rows_of__summed_over_targets(read, written, n):
    """Your constant subtracts sums over the targets. Sum each row over its sources."""
    values, slope = _rows(read, written, n)
    rows = (slope * written.detach()).sum(dim=-1)
    return rows, values - rows.sum() / n


def rows_of__all_rows_subtracted(read, written, n):
    """You subtract the sum of *all* rows from every value. From a target's value only its own row
    is taken away."""
    values, slope = _rows(read, written, n)
    rows = (slope * written.detach()).sum(dim=-1)
    return rows, values - rows.sum()


def rows_of__reads_for_every_target(read, written, n):
    """You call `read` more than once. With a copy for each target, one call and one backward pass
    are enough: what is the gradient of the sum of all values?"""
    parts = [[v[t] for v in _rows(read, written, n)] for t in range(n)]
    values, slope = (torch.stack(v) for v in zip(*parts, strict=True))
    rows = (slope * written.detach()).sum(dim=-1)
    return rows, values - rows.sum(dim=1)


def rows_of__absolute(read, written, n):
    """You take absolute values of the contributions. Their signs are needed: rows add up."""
    values, slope = _rows(read, written, n)
    rows = (slope * written.detach()).sum(dim=-1)
    return rows.abs(), values - rows.sum(dim=1)


# ---------------------------------------------------------------------------- d1. likely_targets


def _likely(p, W_U, n, most):
    tokens = p.sort(descending=True, stable=True).indices[: min(n, most)]
    return tokens, W_U[:, tokens].T - W_U.mean(dim=1)


def _count(p, share):
    return int((p.sort(descending=True).values.cumsum(dim=0) < share).sum())


def likely_targets__one_too_few(p, W_U, share, most):
    """You stop before the share is reached. The word that reaches it belongs to them."""
    return _likely(p, W_U, _count(p, share), most)


def likely_targets__one_too_many(p, W_U, share, most):
    """Where the sum is exactly the share, that is enough: "at least". You take one more."""
    n = int((p.sort(descending=True).values.cumsum(dim=0) <= share).sum()) + 1
    return _likely(p, W_U, n, most)


def likely_targets__ignores_most(p, W_U, share, most):
    """You take as many as the share needs. There are at most `most`."""
    return _likely(p, W_U, _count(p, share) + 1, len(p))


def likely_targets__always_most(p, W_U, share, most):
    """You always take `most` words. Take the fewest that have the share."""
    return _likely(p, W_U, most, most)


def likely_targets__not_centred(p, W_U, share, most):
    """Your directions are the plain columns. Subtract the mean column: a logit alone says
    nothing."""
    tokens, _ = _likely(p, W_U, _count(p, share) + 1, most)
    return tokens, W_U[:, tokens].T.contiguous()


def likely_targets__mean_of_chosen(p, W_U, share, most):
    """You subtract the mean of the chosen columns. The mean logit is that of the vocabulary."""
    tokens, _ = _likely(p, W_U, _count(p, share) + 1, most)
    return tokens, W_U[:, tokens].T - W_U[:, tokens].mean(dim=1)


def likely_targets__mean_over_d_model(p, W_U, share, most):
    """You subtract each column's mean over d_model. The mean over the vocabulary is wanted."""
    tokens, _ = _likely(p, W_U, _count(p, share) + 1, most)
    return tokens, (W_U[:, tokens] - W_U[:, tokens].mean(dim=0)).T


def likely_targets__each_above_share(p, W_U, share, most):
    """You compare each probability with the share. Their sum has to reach it."""
    return _likely(p, W_U, int((p >= share).sum()), most)


def likely_targets__later_of_equals(p, W_U, share, most):
    """Of two equally probable words you do not take the one with the smaller number first.
    `topk` keeps no order of equals; a stable sort does."""
    tokens = p.argsort(stable=True).flip(0)[: min(_count(p, share) + 1, most)]
    return tokens, W_U[:, tokens].T - W_U.mean(dim=1)


# ------------------------------------------------------------------------------- d2. score_pairs


def score_pairs__bias_in_every_source(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """You add the bias to every source. It is there once: a source of its own."""
    q, k = from_q @ W_Q + b_Q, from_k @ W_K + b_K
    q, k = torch.cat([q, b_Q[None]]), torch.cat([k, b_K[None]])
    return q @ k.T / len(b_Q) ** 0.5


def score_pairs__no_biases(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """The biases are missing: give them the last row and the last column."""
    return (from_q @ W_Q) @ (from_k @ W_K).T / len(b_Q) ** 0.5


def score_pairs__no_pair_of_biases(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """The pair of the two biases is 0 in yours. It adds to the score as every other pair does."""
    q, k = torch.cat([from_q @ W_Q, b_Q[None]]), torch.cat([from_k @ W_K, b_K[None]])
    out = q @ k.T / len(b_Q) ** 0.5
    out[-1, -1] = 0
    return out


def score_pairs__not_scaled(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """You forget to divide by the square root of d_head."""
    q, k = torch.cat([from_q @ W_Q, b_Q[None]]), torch.cat([from_k @ W_K, b_K[None]])
    return q @ k.T


def score_pairs__scaled_by_d_model(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """You divide by the root of d_model. Scores are scaled by the head's own size."""
    q, k = torch.cat([from_q @ W_Q, b_Q[None]]), torch.cat([from_k @ W_K, b_K[None]])
    return q @ k.T / from_q.shape[1] ** 0.5


def score_pairs__divided_by_d_head(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """You divide by d_head. It is its square root."""
    q, k = torch.cat([from_q @ W_Q, b_Q[None]]), torch.cat([from_k @ W_K, b_K[None]])
    return q @ k.T / len(b_Q)


def score_pairs__keys_first(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """Your rows are the key side. Rows are the sources of the query."""
    q, k = torch.cat([from_q @ W_Q, b_Q[None]]), torch.cat([from_k @ W_K, b_K[None]])
    return k @ q.T / len(b_Q) ** 0.5


def score_pairs__biases_first(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """Your biases come first. They are the last row and the last column."""
    q, k = torch.cat([b_Q[None], from_q @ W_Q]), torch.cat([b_K[None], from_k @ W_K])
    return q @ k.T / len(b_Q) ** 0.5


def score_pairs__maps_swapped(from_q, from_k, W_Q, b_Q, W_K, b_K):
    """You map the query side with W_K and the key side with W_Q."""
    q, k = torch.cat([from_q @ W_K, b_K[None]]), torch.cat([from_k @ W_Q, b_Q[None]])
    return q @ k.T / len(b_Q) ** 0.5


# ------------------------------------------------------------------------------------ e1. shares


def shares__signed(adjacency):
    """You keep the signs. Contributions of opposite sign would cancel in the sum."""
    total = adjacency.sum(dim=1, keepdim=True)
    return adjacency / total.where(total != 0, torch.ones_like(total))


def shares__columns(adjacency):
    """You divide columns by their sums: what a source gives away. Rows are targets: what each
    receives."""
    size = adjacency.abs()
    total = size.sum(dim=0, keepdim=True)
    return size / total.where(total > 0, torch.ones_like(total))


def shares__nan(adjacency):
    """Rows of zeros become NaN: 0 / 0. They stay 0."""
    size = adjacency.abs()
    return size / size.sum(dim=1, keepdim=True)


def shares__abs_of_the_sum(adjacency):
    """You take the absolute value of the sum. Take it of each entry, then sum."""
    total = adjacency.sum(dim=1, keepdim=True).abs()
    return adjacency.abs() / total.where(total > 0, torch.ones_like(total))


def shares__squares(adjacency):
    """You divide by the root of the sum of squares. Shares sum to 1."""
    total = adjacency.norm(dim=1, keepdim=True)
    return adjacency.abs() / total.where(total > 0, torch.ones_like(total))


def shares__one_sum(adjacency):
    """You divide by the sum of the whole matrix. Each row has its own."""
    size = adjacency.abs()
    total = size.sum()
    return size / total if total > 0 else size


def shares__softmax(adjacency):
    """A softmax is not a share: it gives weight to sources that contribute nothing."""
    return adjacency.abs().softmax(dim=1)


def shares__small_number_added(adjacency):
    """You add a small number to every sum. Rows of small contributions then no longer sum to 1."""
    size = adjacency.abs()
    return size / (size.sum(dim=1, keepdim=True) + 1e-3)


# ------------------------------------------------------------------------ e2. influence_by_steps


def influence_by_steps__starts_at_the_outputs(by, weights, n):
    """Your first row is the weights themselves: paths without an edge. Row 0 has one edge."""
    return torch.cat([weights[None], influence_by_steps(by, weights, n)])[:n]


def influence_by_steps__forward(by, weights, n):
    """You follow the edges in the other direction. Rows are targets: the vector stands left."""
    return influence_by_steps(by.T, weights, n)


def influence_by_steps__cumulated(by, weights, n):
    """Your rows are sums of all paths up to a length. Keep the lengths apart."""
    return influence_by_steps(by, weights, n).cumsum(dim=0)


def influence_by_steps__one_row_more(by, weights, n):
    """There is a row too many: n rows were asked for."""
    return influence_by_steps(by, weights, n + 1)


def influence_by_steps__elementwise(by, weights, n):
    """You take powers of the entries. A path's weight is a product along it, summed over all
    paths: a power of the matrix."""
    return torch.stack([weights @ by.pow(k + 1) for k in range(n)])


def influence_by_steps__doubles(by, weights, n):
    """You square the matrix each time, so that the lengths are 1, 2, 4, …"""
    found, power = [], by
    for _ in range(n):
        found.append(weights @ power)
        power = power @ power
    return torch.stack(found)


def influence_by_steps__nodes_by_steps(by, weights, n):
    """Your table is transposed: a row for each length."""
    return influence_by_steps(by, weights, n).T


# --------------------------------------------------------------------------------- e3. influence


def influence__direct_only(by, weights):
    """You count direct edges only. Most influence comes through others."""
    return weights @ by


def influence__with_the_outputs(by, weights):
    """You forget to subtract the weights: an output is not a source of itself."""
    eye = torch.eye(len(by), dtype=by.dtype, device=by.device)
    return torch.linalg.solve(eye - by.T, weights)


def influence__not_transposed(by, weights):
    """You solve with the matrix, not its transpose: that follows the edges the other way."""
    eye = torch.eye(len(by), dtype=by.dtype, device=by.device)
    return torch.linalg.solve(eye - by, weights) - weights


def influence__plus(by, weights):
    """You invert I + A. The signs of the series would alternate."""
    eye = torch.eye(len(by), dtype=by.dtype, device=by.device)
    return torch.linalg.solve(eye + by.T, weights) - weights


def influence__two_steps(by, weights):
    """Your series stops after two steps. Paths can be as long as the graph."""
    return weights @ by + weights @ by @ by


def influence__four_steps(by, weights):
    """Your series stops after four steps. Paths can be as long as the graph."""
    return influence_by_steps(by, weights, 4).sum(dim=0)


def influence__subtracts_one(by, weights):
    """You subtract 1 from every entry. (I - A)⁻¹ - I takes away the weights, node by node."""
    eye = torch.eye(len(by), dtype=by.dtype, device=by.device)
    return torch.linalg.solve(eye - by.T, weights) - 1


def influence__weights_forgotten(by, weights):
    """You sum over all targets. Only the outputs count, with their weights."""
    eye = torch.eye(len(by), dtype=by.dtype, device=by.device)
    return (torch.linalg.inv(eye - by) - eye).sum(dim=0)


# ------------------------------------------------------------------------------------ f1. fewest


def _sorted_mask(values, few, order):
    return torch.zeros_like(few).scatter(0, order, few)


def fewest__one_too_few(values, share):
    """You stop before the share is reached. The value that reaches it is kept."""
    found, order = values.sort(descending=True, stable=True)
    few = (found.cumsum(dim=0) <= share * values.sum()) & (found > 0)
    return _sorted_mask(values, few, order)


def fewest__one_too_many(values, share):
    """Where the sum is exactly the share, nothing more is needed: "at least"."""
    found, order = values.sort(descending=True, stable=True)
    few = (found.cumsum(dim=0) - found <= share * values.sum()) & (found > 0)
    return _sorted_mask(values, few, order)


def fewest__sorted_order(values, share):
    """Your mask is in sorted order. Write the decisions back to where the values were."""
    found = values.sort(descending=True, stable=True).values
    return (found.cumsum(dim=0) - found < share * values.sum()) & (found > 0)


def fewest__smallest_first(values, share):
    """You begin with the smallest. The fewest are the largest."""
    found, order = values.sort(stable=True)
    few = (found.cumsum(dim=0) - found < share * values.sum()) & (found > 0)
    return _sorted_mask(values, few, order)


def fewest__share_of_the_number(values, share):
    """You keep a share of the items. Keep as many as have that share of the sum."""
    order = values.argsort(descending=True, stable=True)
    few = (torch.arange(len(values), device=values.device) < share * len(values)) & (
        values[order] > 0
    )
    return _sorted_mask(values, few, order)


def fewest__above_a_share_of_the_largest(values, share):
    """You keep what is near the largest value. Add values up until they have the share."""
    return (values >= (1 - share) * values.max()) & (values > 0)


def fewest__zeros_kept(values, share):
    """You keep values of 0. They add nothing to the sum, so they are not among the fewest."""
    order = values.argsort(descending=True, stable=True)
    found = values[order]
    few = (found.cumsum(dim=0) - found < share * values.sum()) | (found == 0)
    return _sorted_mask(values, few, order)


def fewest__absolute_share(values, share):
    """You compare the sum with `share` itself. It is a share of the sum of all values."""
    found, order = values.sort(descending=True, stable=True)
    few = (found.cumsum(dim=0) - found < share) & (found > 0)
    return _sorted_mask(values, few, order)


def fewest__later_of_equals(values, share):
    """Of two equal values you keep the later. The earlier is kept first: a stable sort."""
    return fewest(values.flip(0), share).flip(0)


def fewest__all_of_equals(values, share):
    """You keep every value that is as large as the last one needed. Of equal values the earlier
    are kept, and no more than are needed."""
    few = fewest(values, share)
    return (values >= values[few].min()) & (values > 0) if few.any() else few


def fewest__one_of_nothing(values, share):
    """Where all values are 0, you keep the first. A value of 0 is never kept, also not then."""
    few = fewest(values, share)
    few[0] = few[0] | ~values.any()
    return few


# ------------------------------------------------------------------------------------- f2. prune


def _edges(small, weights, edges, worth):
    few = fewest(worth.flatten(), edges)
    return small * few.reshape(small.shape)


def prune__shares_from_before(adjacency, weights, always, nodes, edges):
    """You use the shares of the whole graph for the edges. Among the nodes that are left, shares
    are computed again."""
    by = shares(adjacency)
    kept = fewest(influence(by, weights), nodes) | always
    both = kept * kept[:, None]
    worth = by * (influence(by, weights) + weights)[:, None] * both
    return kept, _edges(adjacency * both, weights, edges, worth)


def prune__old_shares_masked(adjacency, weights, always, nodes, edges):
    """You take dropped nodes out of the old shares, so rows no longer sum to 1. Among the nodes
    that are left, shares are computed again."""
    by = shares(adjacency)
    kept = fewest(influence(by, weights), nodes) | always
    both = kept * kept[:, None]
    worth = by * both * (influence(by * both, weights) + weights)[:, None]
    return kept, _edges(adjacency * both, weights, edges, worth)


def prune__influence_from_before(adjacency, weights, always, nodes, edges):
    """You weigh edges by the influence from before. Compute it again among the nodes that are
    left."""
    before = influence(shares(adjacency), weights)
    kept = fewest(before, nodes) | always
    small = adjacency * kept * kept[:, None]
    return kept, _edges(small, weights, edges, shares(small) * (before + weights)[:, None])


def prune__outputs_are_worth_nothing(adjacency, weights, always, nodes, edges):
    """Edges into the outputs are worth 0 in your answer, as an output's influence is 0. A target
    is worth its influence plus its own weight."""
    kept = fewest(influence(shares(adjacency), weights), nodes) | always
    small = adjacency * kept * kept[:, None]
    by = shares(small)
    return kept, _edges(small, weights, edges, by * influence(by, weights)[:, None])


def prune__worth_of_the_source(adjacency, weights, always, nodes, edges):
    """You multiply by what the source is worth. An edge is worth its share of its target."""
    kept = fewest(influence(shares(adjacency), weights), nodes) | always
    small = adjacency * kept * kept[:, None]
    by = shares(small)
    return kept, _edges(small, weights, edges, by * (influence(by, weights) + weights))


def prune__forgets_always(adjacency, weights, always, nodes, edges):
    """You drop nodes that must always stay: the outputs, for a start, have no influence."""
    kept = fewest(influence(shares(adjacency), weights), nodes)
    small = adjacency * kept * kept[:, None]
    by = shares(small)
    worth = by * (influence(by, weights) + weights)[:, None]
    return kept, _edges(small, weights, edges, worth)


def prune__largest_contributions(adjacency, weights, always, nodes, edges):
    """You keep the largest contributions. A large one into a latent that does not matter is worth
    little."""
    kept = fewest(influence(shares(adjacency), weights), nodes) | always
    small = adjacency * kept * kept[:, None]
    return kept, _edges(small, weights, edges, small.abs())


def prune__returns_shares(adjacency, weights, always, nodes, edges):
    """You return shares. The edges that stay keep their values."""
    kept = fewest(influence(shares(adjacency), weights), nodes) | always
    by = shares(adjacency * kept * kept[:, None])
    worth = by * (influence(by, weights) + weights)[:, None]
    return kept, _edges(by, weights, edges, worth)


def prune__rows_only(adjacency, weights, always, nodes, edges):
    """You take out the rows of dropped nodes, not their columns: they still give."""
    kept = fewest(influence(shares(adjacency), weights), nodes) | always
    small = adjacency * kept[:, None]
    by = shares(small)
    worth = by * (influence(by, weights) + weights)[:, None]
    return kept, _edges(small, weights, edges, worth)


def prune__thresholds_swapped(adjacency, weights, always, nodes, edges):
    """You use the threshold of the edges for the nodes, and the other way round."""
    kept = fewest(influence(shares(adjacency), weights), edges) | always
    small = adjacency * kept * kept[:, None]
    by = shares(small)
    worth = by * (influence(by, weights) + weights)[:, None]
    return kept, _edges(small, weights, nodes, worth)


# ------------------------------------------------------------------------------- g. graph_scores


def _scores(adjacency, weights, error, embedding, counts=None):
    by = shares(adjacency)
    worth = influence(by, weights)
    words, errors = worth[embedding].sum(), worth[error].sum()
    counts = (worth + weights) * (by.sum(dim=1) > 0) if counts is None else counts
    clean = 1 - by[:, error].sum(dim=1)
    return float(words / (words + errors)), float((clean * counts).sum() / counts.sum())


def graph_scores__counts_sources(adjacency, weights, error, embedding):
    """Embeddings and errors count in your completeness, as nodes without errors. They receive
    nothing: leave them out."""
    counts = influence(shares(adjacency), weights) + weights
    return _scores(adjacency, weights, error, embedding, counts)


def graph_scores__outputs_left_out(adjacency, weights, error, embedding):
    """The outputs' own rows are missing in your completeness: they are worth their weight."""
    by = shares(adjacency)
    counts = influence(by, weights) * (by.sum(dim=1) > 0)
    return _scores(adjacency, weights, error, embedding, counts)


def graph_scores__plain_mean(adjacency, weights, error, embedding):
    """Every node counts the same in your completeness. Weigh each by what it is worth."""
    return _scores(
        adjacency, weights, error, embedding, (shares(adjacency).sum(dim=1) > 0).to(weights)
    )


def graph_scores__direct_only(adjacency, weights, error, embedding):
    """Your replacement score counts direct edges into the outputs. Count all paths."""
    given = weights @ shares(adjacency)
    words, errors = given[embedding].sum(), given[error].sum()
    return float(words / (words + errors)), _scores(adjacency, weights, error, embedding)[1]


def graph_scores__swapped(adjacency, weights, error, embedding):
    """You return the scores in the other order: replacement first."""
    return _scores(adjacency, weights, error, embedding)[::-1]


def graph_scores__error_shares(adjacency, weights, error, embedding):
    """You return the shares of the errors. Both scores are 1 where no error plays a part."""
    one, two = _scores(adjacency, weights, error, embedding)
    return 1 - one, 1 - two


def graph_scores__of_all_influence(adjacency, weights, error, embedding):
    """You divide by the influence of all nodes. Latents do not begin a path: only embeddings and
    errors do."""
    worth = influence(shares(adjacency), weights)
    found = float(worth[embedding].sum() / worth.sum())
    return found, _scores(adjacency, weights, error, embedding)[1]


# -------------------------------------------------------------------------------- h. merge_nodes


def _member(adjacency, group, n):
    return torch.nn.functional.one_hot(group, n).to(adjacency.dtype)


def merge_nodes__mean(adjacency, group, n):
    """You take means. Contributions add up, so a group gives their sum."""
    member = _member(adjacency, group, n)
    size = member.sum(dim=0).clamp(min=1)
    return member.T @ adjacency @ member / size[:, None] / size


def merge_nodes__absolute(adjacency, group, n):
    """You sum absolute values. Within a group opposite signs cancel, and rows must still add up."""
    member = _member(adjacency, group, n)
    return member.T @ adjacency.abs() @ member


def merge_nodes__columns_only(adjacency, group, n):
    """You group the sources, and leave the targets single."""
    return adjacency @ _member(adjacency, group, n)


def merge_nodes__transposed(adjacency, group, n):
    """Your matrix is transposed: rows are targets."""
    member = _member(adjacency, group, n)
    return (member.T @ adjacency @ member).T


def merge_nodes__diagonal_removed(adjacency, group, n):
    """You remove what groups give to themselves. It was asked for: it stays on the diagonal."""
    member = _member(adjacency, group, n)
    out = member.T @ adjacency @ member
    return out - out.diag().diag()


def merge_nodes__targets_averaged(adjacency, group, n):
    """You average over the targets of a group. A group's value is the sum of its members'."""
    member = _member(adjacency, group, n)
    return member.T @ adjacency @ member / member.sum(dim=0).clamp(min=1)[:, None]


def merge_nodes__empty_groups_dropped(adjacency, group, n):
    """You leave out groups without members. The matrix has n rows and columns, whatever is in
    them."""
    member = _member(adjacency, group, n)
    member = member[:, member.any(dim=0)]
    return member.T @ adjacency @ member


# -------------------------------------------------------------------------- j1. predicted_effects


def _effects(adjacency, step, output):
    eye = torch.eye(len(adjacency), dtype=adjacency.dtype, device=adjacency.device)
    return adjacency[output] @ torch.linalg.inv(eye - step)


def _size(activation, feature):
    return activation.where(feature, torch.ones_like(activation))


def predicted_effects__direct_only(adjacency, activation, feature, output):
    """You return the direct edges. A node also acts through all latents above it."""
    return adjacency[output]


def predicted_effects__response_only(adjacency, activation, feature, output):
    """You count what others do in response, but not the node's own growth: its direct edges into
    the outputs are missing."""
    step = adjacency / _size(activation, feature)[:, None] * feature[:, None]
    return _effects(adjacency, step, output) - adjacency[output]


def predicted_effects__divides_by_the_source(adjacency, activation, feature, output):
    """You divide by the activation of the source. The target's value is what moves by a share."""
    step = adjacency / _size(activation, feature) * feature[:, None]
    return _effects(adjacency, step, output)


def predicted_effects__all_respond(adjacency, activation, feature, output):
    """Outputs respond in your equation, as if they were latents."""
    step = adjacency / _size(activation, feature)[:, None]
    return _effects(adjacency, step, output)


def predicted_effects__not_divided(adjacency, activation, feature, output):
    """You do not divide by the activation: A is a value, r is a share of the target's value."""
    return _effects(adjacency, adjacency * feature[:, None], output)


def predicted_effects__one_step(adjacency, activation, feature, output):
    """You follow paths through one latent. They can go through many."""
    step = adjacency / _size(activation, feature)[:, None] * feature[:, None]
    return adjacency[output] + adjacency[output] @ step


def predicted_effects__taken_away(adjacency, activation, feature, output):
    """Your sign is that of taking the node away. Asked for is what happens if it grows."""
    step = adjacency / _size(activation, feature)[:, None] * feature[:, None]
    return -_effects(adjacency, step, output)


def predicted_effects__absolute(adjacency, activation, feature, output):
    """You use shares of absolute values, as for influence. Effects have signs, and paths cancel."""
    step = adjacency.abs() / _size(activation, feature)[:, None].abs() * feature[:, None]
    return _effects(adjacency.abs(), step, output)


def predicted_effects__per_unit(adjacency, activation, feature, output):
    """Yours is the effect of growing by 1. Asked for is growth by the node's own size."""
    step = adjacency / _size(activation, feature)[:, None] * feature[:, None]
    return _effects(adjacency, step, output) / _size(activation, feature)


# ----------------------------------------------------------------------------- j2. run_with_edits


def _set(f, edits, i):
    f = f.clone()
    for (layer, latent), value in edits.items():
        if layer == i:
            f[latent] = value
    return f


def run_with_edits__always_responds(x, encoders, W_dec, error, edits, respond):
    """Later latents see the changed stream, also without `respond`. Keep a clean stream beside."""
    for i, encode in enumerate(encoders):
        x = x + _set(encode(x), edits, i) @ W_dec[i] + error[i]
    return x


def run_with_edits__never_responds(x, encoders, W_dec, error, edits, respond):
    """Latents keep their clean values, also with `respond`."""
    clean = x
    for i, encode in enumerate(encoders):
        f = encode(clean)
        clean = clean + f @ W_dec[i] + error[i]
        x = x + _set(f, edits, i) @ W_dec[i] + error[i]
    return x


def _errors_late(x, encoders, W_dec, error, edits, respond):
    clean = x
    for i, encode in enumerate(encoders):
        f = encode(clean)
        clean = clean + f @ W_dec[i]
        x = x + _set(encode(x) if respond else f, edits, i) @ W_dec[i]
    return x + error.sum(dim=0)


def run_with_edits__no_error(x, encoders, W_dec, error, edits, respond):
    """The errors are missing. They stay as they were, whatever is edited."""
    return _errors_late(x, encoders, W_dec, 0 * error, edits, respond)


def run_with_edits__error_in_the_clean_run_only(x, encoders, W_dec, error, edits, respond):
    """In yours the run without edits has the errors, and the edited stream has not. They stay as
    they were, whatever is edited."""
    clean = x
    for i, encode in enumerate(encoders):
        f = encode(clean)
        clean = clean + f @ W_dec[i] + error[i]
        x = x + _set(encode(x) if respond else f, edits, i) @ W_dec[i]
    return x


def run_with_edits__errors_late(x, encoders, W_dec, error, edits, respond):
    """You add the errors at the end. Later layers read them: each is added in its own layer."""
    return _errors_late(x, encoders, W_dec, error, edits, respond)


def run_with_edits__adds(x, encoders, W_dec, error, edits, respond):
    """You add the value to the latent. The latent gets that value."""
    clean = x
    for i, encode in enumerate(encoders):
        f = encode(clean)
        clean = clean + f @ W_dec[i] + error[i]
        mine = (encode(x) if respond else f).clone()
        for (layer, latent), value in edits.items():
            if layer == i:
                mine[latent] = mine[latent] + value
        x = x + mine @ W_dec[i] + error[i]
    return x


def run_with_edits__first_layer_for_all(x, encoders, W_dec, error, edits, respond):
    """You edit the latent with that number in every layer. Each edit names its layer."""
    everywhere = {(i, k): v for i in range(len(encoders)) for (_, k), v in edits.items()}
    clean = x
    for i, encode in enumerate(encoders):
        f = encode(clean)
        clean = clean + f @ W_dec[i] + error[i]
        x = x + _set(encode(x) if respond else f, everywhere, i) @ W_dec[i] + error[i]
    return x


def run_with_edits__no_residual(x, encoders, W_dec, error, edits, respond):
    """You replace the stream by what a layer writes. Each layer adds to it."""
    clean = x
    for i, encode in enumerate(encoders):
        f = encode(clean)
        clean = f @ W_dec[i] + error[i]
        x = _set(encode(x) if respond else f, edits, i) @ W_dec[i] + error[i]
    return x


def run_with_edits__all_read_the_first_stream(x, encoders, W_dec, error, edits, respond):
    """All your layers read the first stream. Each reads what the layers before have written."""
    return x + sum(
        _set(encode(x), edits, i) @ W_dec[i] + error[i] for i, encode in enumerate(encoders)
    )


def run_with_edits__clean_is_the_first_stream(x, encoders, W_dec, error, edits, respond):
    """Without `respond`, all your latents read the first stream. In the run without edits, each
    layer reads what the layers before have written."""
    first = x
    for i, encode in enumerate(encoders):
        x = x + _set(encode(x if respond else first), edits, i) @ W_dec[i] + error[i]
    return x


# ---------------------------------------------------------------------------- j3. r_with_interval


def _r(both):
    return torch.corrcoef(both)[0, 1]


def _interval(both, picked):
    found = torch.stack([_r(both[:, rows]) for rows in picked])
    low, high = found.quantile(torch.tensor([0.025, 0.975]).to(found)).tolist()
    return float(_r(both)), low, high


def _picked(prompt, draws, once=False):
    members = [(prompt == p).nonzero()[:, 0] for p in range(int(prompt.max()) + 1)]
    rows = [list(dict.fromkeys(d)) if once else d for d in draws.tolist()]
    return [torch.cat([members[p] for p in row]) for row in rows]


def r_with_interval__once_each(predicted, measured, prompt, draws):
    """A prompt that is drawn twice counts once in yours. It counts as often as it is drawn."""
    both = torch.stack([predicted, measured]).double()
    return _interval(both, _picked(prompt, draws, once=True))


def r_with_interval__draws_items(predicted, measured, prompt, draws):
    """You take the draws for numbers of nodes. They are numbers of prompts, with all their
    nodes."""
    both = torch.stack([predicted, measured]).double()
    return _interval(both, list(draws % len(predicted)))


def r_with_interval__squared(predicted, measured, prompt, draws):
    """You return r squared. It has lost the sign."""
    both = torch.stack([predicted, measured]).double()
    return tuple(v**2 for v in _interval(both, _picked(prompt, draws)))


def r_with_interval__ninety_percent(predicted, measured, prompt, draws):
    """Your interval is at 5 % and 95 %: that leaves out a tenth. Take 2.5 % and 97.5 %."""
    both = torch.stack([predicted, measured]).double()
    found = torch.stack([_r(both[:, rows]) for rows in _picked(prompt, draws)])
    low, high = found.quantile(torch.tensor([0.05, 0.95]).to(found)).tolist()
    return float(_r(both)), low, high


def r_with_interval__mean_of_draws(predicted, measured, prompt, draws):
    """Your r is the mean over the draws. The first number is r over all nodes."""
    both = torch.stack([predicted, measured]).double()
    found = torch.stack([_r(both[:, rows]) for rows in _picked(prompt, draws)])
    low, high = found.quantile(torch.tensor([0.025, 0.975]).to(found)).tolist()
    return float(found.mean()), low, high


def r_with_interval__mean_of_prompts(predicted, measured, prompt, draws):
    """You average nodes of a prompt first. r is over nodes."""
    n = int(prompt.max()) + 1
    both = torch.stack([predicted, measured]).double()
    sums = both.new_zeros(2, n).index_add(1, prompt, both) / torch.bincount(prompt, minlength=n)
    return _interval(sums, list(draws))


def r_with_interval__cosine(predicted, measured, prompt, draws):
    """You do not subtract the means: that is a cosine, not a correlation."""
    both = torch.stack([predicted, measured]).double()

    def cosine(pair):
        return torch.nn.functional.cosine_similarity(pair[0], pair[1], dim=0)

    found = torch.stack([cosine(both[:, rows]) for rows in _picked(prompt, draws)])
    low, high = found.quantile(torch.tensor([0.025, 0.975]).to(found)).tolist()
    return float(cosine(both)), low, high


def r_with_interval__extremes(predicted, measured, prompt, draws):
    """You return the smallest and the largest r. The quantiles at 2.5 % and 97.5 % are asked
    for."""
    both = torch.stack([predicted, measured]).double()
    found = torch.stack([_r(both[:, rows]) for rows in _picked(prompt, draws)])
    return float(_r(both)), float(found.min()), float(found.max())


# --------------------------------------------------------------------------------- k. swap_edits


def swap_edits__own_values(acts, other, positions):
    """You set latents to the values that they have already. They get those of the other prompt."""
    places = (acts != other).nonzero().tolist()
    return {(i, p, k): float(acts[i, p, k]) for i, p, k in places if p in positions}


def swap_edits__active_there_only(acts, other, positions):
    """You list latents that are active on the other prompt. Those that are silent there must be
    switched off, too."""
    places = ((acts != other) & (other != 0)).nonzero().tolist()
    return {(i, p, k): float(other[i, p, k]) for i, p, k in places if p in positions}


def swap_edits__active_here_only(acts, other, positions):
    """You list latents that are active here. Those that are active only on the other prompt are
    what brings its concept."""
    places = ((acts != other) & (acts != 0)).nonzero().tolist()
    return {(i, p, k): float(other[i, p, k]) for i, p, k in places if p in positions}


def swap_edits__everywhere(acts, other, positions):
    """You swap at all positions. Only the given ones are asked for."""
    places = (acts != other).nonzero().tolist()
    return {(i, p, k): float(other[i, p, k]) for i, p, k in places}


def swap_edits__also_equal_ones(acts, other, positions):
    """You list latents whose value is the same. List only what differs."""
    n, _, m = acts.shape
    return {(i, p, k): float(other[i, p, k]) for i in range(n) for p in positions for k in range(m)}


def swap_edits__difference(acts, other, positions):
    """You give the difference of the values. An edit says the new value itself."""
    places = (acts != other).nonzero().tolist()
    return {
        (i, p, k): float(other[i, p, k] - acts[i, p, k]) for i, p, k in places if p in positions
    }


def swap_edits__position_first(acts, other, positions):
    """Your keys have the position first. They are (layer, position, latent)."""
    places = (acts != other).nonzero().tolist()
    return {(p, i, k): float(other[i, p, k]) for i, p, k in places if p in positions}


def swap_edits__position_in_the_selection(acts, other, positions):
    """Your keys count positions within the selection. They are positions in the prompt."""
    places = (acts != other).nonzero().tolist()
    at = {p: n for n, p in enumerate(positions)}
    return {(i, at[p], k): float(other[i, p, k]) for i, p, k in places if p in at}


# ------------------------------------------------------------------------------ l. share_by_word


def share_by_word__of_all_nodes(worth, pos, begins, n_pos):
    """You divide by the influence of all nodes. The shares of the words sum to 1."""
    return worth.new_zeros(n_pos).index_add(0, pos[begins], worth[begins]) / (worth.sum() or 1)


def share_by_word__all_nodes(worth, pos, begins, n_pos):
    """You sum all nodes at a position. Only those where influence begins were asked for."""
    return worth.new_zeros(n_pos).index_add(0, pos, worth) / (worth.sum() or 1)


def share_by_word__not_divided(worth, pos, begins, n_pos):
    """You return sums. Divide by their total, so that prompts can be compared."""
    return worth.new_zeros(n_pos).index_add(0, pos[begins], worth[begins])


def share_by_word__overwrites(worth, pos, begins, n_pos):
    """Where two nodes have the same position, yours keeps the last. Add them: index_add."""
    out = worth.new_zeros(n_pos)
    for p, w in zip(pos[begins].tolist(), worth[begins], strict=True):
        out[p] = w
    total = out.sum()
    return out / total if total > 0 else out


def share_by_word__nan(worth, pos, begins, n_pos):
    """Without any influence you divide 0 by 0. All shares are 0 then."""
    sums = worth.new_zeros(n_pos).index_add(0, pos[begins], worth[begins])
    return sums / sums.sum()


def share_by_word__mean(worth, pos, begins, n_pos):
    """You take the mean of the nodes at a position. A word has the sum of its nodes."""
    sums = worth.new_zeros(n_pos).index_add(0, pos[begins], worth[begins])
    means = sums / torch.bincount(pos[begins], minlength=n_pos).clamp(min=1)
    total = means.sum()
    return means / total if total > 0 else means


def share_by_word__counts(worth, pos, begins, n_pos):
    """You count the nodes at each position. Sum their influence."""
    counts = torch.bincount(pos[begins], minlength=n_pos).to(worth)
    total = counts.sum()
    return counts / total if total > 0 else counts


# ------------------------------------------------------------------------------------ n. one_hop


def one_hop__linear(W_1, W_2):
    """You leave out both ReLUs. The weights have entries of both signs, and the MLPs cut them."""
    return W_1, W_1 @ W_2


def one_hop__inner_relu_missing(W_1, W_2):
    """The second decoder misses the ReLU between the two MLPs: the second reads relu(x W_1)."""
    return W_1.relu(), (W_1 @ W_2).relu()


def one_hop__outer_relu_missing(W_1, W_2):
    """The second MLP's own ReLU is missing in D_2."""
    return W_1.relu(), W_1.relu() @ W_2


def one_hop__second_is_W_2(W_1, W_2):
    """Your second decoder is W_2. The latents are cities, and W_2 maps states: go through them."""
    return W_1.relu(), W_2.relu()


def one_hop__first_not_cut(W_1, W_2):
    """Your first decoder is W_1 itself. The MLP writes relu(x W_1)."""
    return W_1, (W_1.relu() @ W_2).relu()


def one_hop__swapped(W_1, W_2):
    """You return the decoders in the other order."""
    h = W_1.relu()
    return (h @ W_2).relu(), h


def one_hop__relu_of_weights(W_1, W_2):
    """You cut W_2's negative entries. The ReLU comes after the product, where they may cancel."""
    h = W_1.relu()
    return h, h @ W_2.relu()


# ------------------------------------------------------------------------------------- predictions


def predict_embeddings__as_their_direct_edges():
    """Their direct edges are small. But latents are made of words, too: follow the paths back to
    where they begin."""
    return "less than 20 %"


def predict_embeddings__in_between():
    """All influence begins at embeddings or errors. Errors have little but their direct edges;
    paths through latents go back to words."""
    return "20 % to 80 %"


def predict_pruned__a_fifth():
    """Still fewer: influence is not spread evenly, a few dozen nodes have most of it."""
    return "10 % to 30 %"


def predict_pruned__many():
    """80 % of the influence is not 80 % of the nodes: most nodes have next to none."""
    return "more than 30 %"


def predict_groups__adds_up():
    """Contributions add up, their absolute values do not: opposite signs cancel within a group."""
    return "the same for every group"


def predict_groups__always_larger():
    """Where members have opposite signs they cancel, and the group's share falls."""
    return "larger for every group"


def predict_free__the_same():
    """In free runs attention and norms respond as well, and the graph knows nothing of that."""
    return "about the same (within 0.02)"


def predict_free__hardly_any():
    """Most of the effect goes on along the same paths, even if heads look a little elsewhere."""
    return "below 0.5"


def predict_scene_swap__at_the_place():
    """The place decides, but its latents hardly matter: heads read its embedding directly, and the
    scene is made at the last word."""
    return "at the place only"


def predict_scene_swap__at_either():
    """At the place's word the answer stays as it was: what heads carry from there is not made of
    latents."""
    return "at either"


def predict_scene_swap__together():
    """The last word alone is enough: nothing more is needed from the place's latents."""
    return "only at both together"


def predict_score__lower():
    """The cross-layer transcoder reconstructs both MLPs exactly. Where there is no error, the
    score cannot fall."""
    return "lower than the first"


def predict_score__higher():
    """The first graph has no errors either. Nothing is higher than 1."""
    return "higher than the first"
