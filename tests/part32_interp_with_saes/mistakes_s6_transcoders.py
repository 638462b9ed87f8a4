"""Wrong answers that learners of 3.2.6 give, each with what a tutor would say."""

import hashlib

import torch

from part32_interp_with_saes.s4_understanding_latents import balanced_accuracy

# --------------------------------------------------------------------------- a1. replaced_stream


def replaced_stream__everywhere(x, attentions, mlps, coders):
    """You replace the first position, too. No transcoder was trained there: the MLP stays."""
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        x = x + attend(x)
        x = x + (coder or mlp)(x)
    return x


def replaced_stream__reads_the_clean_stream(x, attentions, mlps, coders):
    """Your transcoders read the stream of the model without transcoders. Each must read what the
    earlier ones have written."""
    clean = x
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        clean = clean + attend(clean)
        x = x + attend(x)
        out = mlp(x)
        if coder is not None:
            out = torch.cat([out[:, :1], coder(clean)[:, 1:]], dim=1)
        x, clean = x + out, clean + mlp(clean)
    return x


def replaced_stream__both(x, attentions, mlps, coders):
    """You add the MLP's output *and* the transcoder's. One takes the place of the other."""
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        x = x + attend(x)
        out = mlp(x)
        if coder is not None:
            out = out + torch.cat([0 * out[:, :1], coder(x)[:, 1:]], dim=1)
        x = x + out
    return x


def replaced_stream__before_attention(x, attentions, mlps, coders):
    """Your MLPs read the stream before the attention of their block. Attention comes first, and
    the MLP reads what it has written."""
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        out = mlp(x)
        if coder is not None:
            out = torch.cat([out[:, :1], coder(x)[:, 1:]], dim=1)
        x = x + attend(x) + out
    return x


def replaced_stream__no_residual(x, attentions, mlps, coders):
    """You replace the stream by what the MLP writes. It is added to the stream."""
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        x = x + attend(x)
        out = mlp(x)
        if coder is not None:
            out = torch.cat([out[:, :1], coder(x)[:, 1:]], dim=1)
        x = out
    return x


def replaced_stream__first_position_gets_nothing(x, attentions, mlps, coders):
    """At the first position you write nothing where there is a transcoder. The MLP stays
    there."""
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        x = x + attend(x)
        out = mlp(x)
        if coder is not None:
            out = torch.cat([0 * out[:, :1], coder(x)[:, 1:]], dim=1)
        x = x + out
    return x


def replaced_stream__first_row_of_the_batch(x, attentions, mlps, coders):
    """You leave out the first row of the batch, not the first position: the axes are batch,
    pos."""
    for attend, mlp, coder in zip(attentions, mlps, coders, strict=True):
        x = x + attend(x)
        out = mlp(x)
        if coder is not None:
            out = torch.cat([out[:1], coder(x)[1:]])
        x = x + out
    return x


# --------------------------------------------------------------------------- g1. best_affine_map


def best_affine_map__no_constant(x, y):
    """Your map has no constant. Then a mean of y that is not 0 has to come from x."""
    W = torch.linalg.lstsq(x, y).solution.T
    return W, torch.zeros_like(y[0])


def best_affine_map__constant_is_the_mean_of_y(x, y):
    """Your constant is the mean of y. That would be right if the mean of x were 0: subtract W
    times it."""
    W = torch.linalg.lstsq(x - x.mean(dim=0), y - y.mean(dim=0)).solution.T
    return W, y.mean(dim=0)


def best_affine_map__transposed(x, y):
    """Your W is (d_in, d_out). The answer is used as x W^T + b: its rows belong to outputs."""
    W = torch.linalg.lstsq(x - x.mean(dim=0), y - y.mean(dim=0)).solution
    return W, y.mean(dim=0) - x.mean(dim=0) @ W


def best_affine_map__one_input_at_a_time(x, y):
    """You fit each input by itself (covariance over variance). Inputs are correlated: they have
    to be fitted together."""
    x_c, y_c = x - x.mean(dim=0), y - y.mean(dim=0)
    W = (x_c.T @ y_c / x_c.square().sum(dim=0)[:, None]).T
    return W, y.mean(dim=0) - W @ x.mean(dim=0)


def best_affine_map__fits_x_from_y(x, y):
    """You predict x from y. It is y that is wanted, from x."""
    W = torch.linalg.pinv(torch.linalg.pinv(y - y.mean(dim=0)) @ (x - x.mean(dim=0))).T
    return W, y.mean(dim=0) - W @ x.mean(dim=0)


def best_affine_map__ridge(x, y):
    """You pull W towards 0 (ridge). The question was the smallest squared error, nothing else."""
    x_c, y_c = x - x.mean(dim=0), y - y.mean(dim=0)
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    W = torch.linalg.solve(x_c.T @ x_c + eye, x_c.T @ y_c).T
    return W, y.mean(dim=0) - W @ x.mean(dim=0)


def best_affine_map__constant_afterwards(x, y):
    """You fit W without a constant, and the constant to what is left. W has then bent to make up
    for the missing constant: fit both together."""
    W = torch.linalg.lstsq(x, y).solution.T
    return W, (y - x @ W.T).mean(dim=0)


# ------------------------------------------------------------------------------- g2. path_shares


def path_shares__variance_of_parts(parts):
    """You divide variances of parts by that of the total. Parts are correlated, so these do not
    sum to 1; covariances with the total do."""
    parts = parts - parts.mean(dim=1, keepdim=True)
    return parts.square().sum(dim=(1, 2)) / parts.sum(dim=0).square().sum()


def path_shares__made_to_sum_to_one(parts):
    """You divide variances by their own sum. They sum to 1 then, but a part that cancels another
    counts as if it made something."""
    size = (parts - parts.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    return size / size.sum()


def path_shares__not_centred(parts):
    """You forget the means. A constant such as a bias explains no variance."""
    total = parts.sum(dim=0)
    return (parts * total).sum(dim=(1, 2)) / total.square().sum()


def path_shares__mean_over_d_out(parts):
    """You take the mean over d_out out. It is the mean over items that is no variance."""
    parts = parts - parts.mean(dim=2, keepdim=True)
    total = parts.sum(dim=0)
    return (parts * total).sum(dim=(1, 2)) / total.square().sum()


def path_shares__absolute(parts):
    """You take absolute values. A part that works against the total has a share below 0."""
    parts = parts - parts.mean(dim=1, keepdim=True)
    total = parts.sum(dim=0)
    return (parts * total).sum(dim=(1, 2)).abs() / total.square().sum()


def path_shares__mean_of_ratios(parts):
    """You take a share for each output coordinate and average. Sum first, then divide:
    coordinates that hardly vary must not count as much as the others."""
    parts = parts - parts.mean(dim=1, keepdim=True)
    total = parts.sum(dim=0)
    return ((parts * total).sum(dim=1) / total.square().sum(dim=0)).mean(dim=1)


def path_shares__with_the_rest(parts):
    """You take the covariance with the *other* parts. A part belongs to the total, too."""
    parts = parts - parts.mean(dim=1, keepdim=True)
    total = parts.sum(dim=0)
    return (parts * (total - parts)).sum(dim=(1, 2)) / total.square().sum()


# --------------------------------------------------------------------------------- b1. fold_norm


def fold_norm__no_gain(W_enc, b_enc, gain, bias, centred):
    """The gain is missing: the norm multiplies every coordinate before the encoder reads it."""
    W = W_enc - W_enc.mean(dim=0) if centred else W_enc
    return W, b_enc + bias @ W_enc


def fold_norm__mean_stays(W_enc, b_enc, gain, bias, centred):
    """You leave the mean in. A LayerNorm takes it out of x: the same as centring each column of
    W."""
    return gain[:, None] * W_enc, b_enc + bias @ W_enc


def fold_norm__always_centred(W_enc, b_enc, gain, bias, centred):
    """You centre where the norm does not. An RMSNorm leaves the mean of x alone."""
    W = gain[:, None] * W_enc
    return W - W.mean(dim=0), b_enc + bias @ W_enc


def fold_norm__centred_before_the_gain(W_enc, b_enc, gain, bias, centred):
    """You centre W_enc and then apply the gain. In the norm x is centred before its gain, so seen
    from x the gain comes first: centre gain · W_enc."""
    W = W_enc - W_enc.mean(dim=0) if centred else W_enc
    return gain[:, None] * W, b_enc + bias @ W_enc


def fold_norm__no_bias(W_enc, b_enc, gain, bias, centred):
    """The norm's bias is missing. It passes through the encoder and is added to b_enc."""
    W = gain[:, None] * W_enc
    return W - W.mean(dim=0) if centred else W, b_enc.clone()


def fold_norm__bias_through_the_folded(W_enc, b_enc, gain, bias, centred):
    """You send the norm's bias through the folded W. It is added after gain and centring, so it
    goes through W_enc itself."""
    W = gain[:, None] * W_enc
    W = W - W.mean(dim=0) if centred else W
    return W, b_enc + bias @ W


def fold_norm__mean_over_latents(W_enc, b_enc, gain, bias, centred):
    """You take the mean over latents. It is each column's mean over d_model that is taken out."""
    W = gain[:, None] * W_enc
    return W - W.mean(dim=1, keepdim=True) if centred else W, b_enc + bias @ W_enc


# ---------------------------------------------------------------------------------- b2. pullback


def pullback__latents_first(W_dec, W_read):
    """Your axes are layer, latent, target. Targets come first."""
    return W_dec @ W_read


def pullback__latent_before_layer(W_dec, W_read):
    """Your axes are target, latent, layer: the last two are exchanged."""
    return torch.einsum("lsd,dt->tsl", W_dec, W_read)


def pullback__cosines(W_dec, W_read):
    """You return cosines. How long the decoder row and the encoder column are belongs to the
    weight."""
    table = torch.einsum("lsd,dt->tls", W_dec, W_read)
    return table / W_dec.norm(dim=2) / W_read.norm(dim=0)[:, None, None]


def pullback__absolute(W_dec, W_read):
    """You lose the sign. A latent that holds another one down has a weight below 0."""
    return torch.einsum("lsd,dt->tls", W_dec, W_read).abs()


def pullback__without_negative(W_dec, W_read):
    """You cut negative weights off. No ReLU lies between a decoder row and a later encoder."""
    return torch.einsum("lsd,dt->tls", W_dec, W_read).relu()


def pullback__layers_summed(W_dec, W_read):
    """You add layers together. Latent s of layer 0 and latent s of layer 1 have nothing in
    common."""
    return torch.einsum("lsd,dt->ts", W_dec, W_read)[:, None].expand(-1, len(W_dec), -1).clone()


def pullback__unit_rows(W_dec, W_read):
    """You bring the decoder rows to length 1. One unit of a latent writes its row as long as it
    is."""
    rows = W_dec / W_dec.norm(dim=2, keepdim=True)
    return torch.einsum("lsd,dt->tls", rows, W_read)


def pullback__centred_rows(W_dec, W_read):
    """You take the mean out of the decoder rows. Where a norm subtracts it, the folded columns
    know that already; where none does, it has to stay."""
    rows = W_dec - W_dec.mean(dim=2, keepdim=True)
    return torch.einsum("lsd,dt->tls", rows, W_read)


# ------------------------------------------------------------------- c1. standalone_preactivation


def standalone_preactivation__no_scale(E, W, b, centred, eps):
    """You do not divide by the scale. The norm makes every word's vector equally long."""
    return E @ W + b


def standalone_preactivation__one_scale(E, W, b, centred, eps):
    """You divide all rows by one scale. Each word stands alone, and has its own."""
    x = E - E.mean(dim=1, keepdim=True) if centred else E
    return E @ W / (x.square().mean() + eps).sqrt() + b


def standalone_preactivation__norm_not_rms(E, W, b, centred, eps):
    """You divide by the length. The scale is the root of the *mean* square: shorter by
    √d_model."""
    x = E - E.mean(dim=1, keepdim=True) if centred else E
    return E @ W / (x.square().sum(dim=1, keepdim=True) + eps).sqrt() + b


def standalone_preactivation__bias_scaled(E, W, b, centred, eps):
    """You divide the bias by the scale, too. It is added after the norm."""
    x = E - E.mean(dim=1, keepdim=True) if centred else E
    return (E @ W + b) / (x.square().mean(dim=1, keepdim=True) + eps).sqrt()


def standalone_preactivation__mean_counts(E, W, b, centred, eps):
    """Your scale has the mean in it. A LayerNorm divides by the standard deviation."""
    return E @ W / (E.square().mean(dim=1, keepdim=True) + eps).sqrt() + b


def standalone_preactivation__always_centred(E, W, b, centred, eps):
    """You take the mean out of every row. An RMSNorm does not."""
    x = E - E.mean(dim=1, keepdim=True)
    return E @ W / (x.square().mean(dim=1, keepdim=True) + eps).sqrt() + b


def standalone_preactivation__no_bias(E, W, b, centred, eps):
    """The bias is missing: without it one cannot tell whether a word alone reaches the
    threshold."""
    x = E - E.mean(dim=1, keepdim=True) if centred else E
    return E @ W / (x.square().mean(dim=1, keepdim=True) + eps).sqrt()


def standalone_preactivation__epsilon_outside(E, W, b, centred, eps):
    """You add epsilon to the root. It is under the root."""
    x = E - E.mean(dim=1, keepdim=True) if centred else E
    return E @ W / (x.square().mean(dim=1, keepdim=True).sqrt() + eps) + b


# ------------------------------------------------------------------------- c2. extended_embedding


def _normed(x, gain, bias, centred, eps):
    x = x - x.mean(dim=1, keepdim=True) if centred else x
    return x / (x.square().mean(dim=1, keepdim=True) + eps).sqrt() * gain + bias


def extended_embedding__without_the_mlp(W_E, mlp, gain, bias, centred, eps):
    """That is the embedding alone. What the first MLP writes of a word is what later layers
    mostly read."""
    return W_E.clone()


def extended_embedding__without_the_embedding(W_E, mlp, gain, bias, centred, eps):
    """You return what the MLP writes. It is added to the stream, and the embedding stays in
    it."""
    return mlp(_normed(W_E, gain, bias, centred, eps))


def extended_embedding__no_norm(W_E, mlp, gain, bias, centred, eps):
    """You give the MLP the embedding as it is. It reads behind a norm."""
    return W_E + mlp(W_E)


def extended_embedding__no_gain(W_E, mlp, gain, bias, centred, eps):
    """The gain is missing: the MLP reads the normed row times gain, plus bias."""
    return W_E + mlp(_normed(W_E, torch.ones_like(gain), bias, centred, eps))


def extended_embedding__no_bias(W_E, mlp, gain, bias, centred, eps):
    """The norm's bias is missing: the MLP reads it together with the scaled row."""
    return W_E + mlp(_normed(W_E, gain, torch.zeros_like(bias), centred, eps))


def extended_embedding__wrong_norm(W_E, mlp, gain, bias, centred, eps):
    """You subtract the mean where the norm does not, or leave it in where it does: look at
    `centred`."""
    return W_E + mlp(_normed(W_E, gain, bias, not centred, eps))


def extended_embedding__adds_the_normed(W_E, mlp, gain, bias, centred, eps):
    """You add the MLP's output to the *normed* row. The stream beside the MLP is not normed."""
    x = _normed(W_E, gain, bias, centred, eps)
    return x + mlp(x)


def extended_embedding__one_scale_for_all(W_E, mlp, gain, bias, centred, eps):
    """You norm all words with one scale. Each word stands alone, and has its own."""
    x = W_E - W_E.mean(dim=1, keepdim=True) if centred else W_E
    return W_E + mlp(x / (x.square().mean() + eps).sqrt() * gain + bias)


def extended_embedding__length_for_scale(W_E, mlp, gain, bias, centred, eps):
    """You divide by the length. The scale is the root of the *mean* square: shorter by
    √d_model."""
    x = W_E - W_E.mean(dim=1, keepdim=True) if centred else W_E
    return W_E + mlp(x / (x.square().sum(dim=1, keepdim=True) + eps).sqrt() * gain + bias)


def extended_embedding__mean_over_words(W_E, mlp, gain, bias, centred, eps):
    """You take the mean over words out. A norm sees one word: it is the mean over d_model."""
    x = W_E - W_E.mean(dim=0) if centred else W_E
    return W_E + mlp(x / (x.square().mean(dim=1, keepdim=True) + eps).sqrt() * gain + bias)


def extended_embedding__scale_before_the_mean(W_E, mlp, gain, bias, centred, eps):
    """You take the scale of the row as it is, also where the mean is subtracted. There the norm
    divides by the scale of what is left."""
    x = W_E - W_E.mean(dim=1, keepdim=True) if centred else W_E
    return W_E + mlp(x / (W_E.square().mean(dim=1, keepdim=True) + eps).sqrt() * gain + bias)


# ------------------------------------------------------------------------ d1. read_through_heads


def _read(w, W_V, W_O, gain, centred):
    read = torch.einsum("hdk,hke,e->hd", W_V, W_O, w) * gain
    return read - read.mean(dim=1, keepdim=True) if centred else read


def read_through_heads__values_repeated_end_to_end(w, W_V, W_O, gain, centred):
    """You lay the value heads end to end. Heads that share one follow one another: each value
    head is repeated in a row (`repeat_interleave`)."""
    return _read(w, W_V.repeat(len(W_O) // len(W_V), 1, 1), W_O, gain, centred)


def read_through_heads__first_values_for_all(w, W_V, W_O, gain, centred):
    """All your heads use the first value head. Each group of heads has its own."""
    return _read(w, W_V[:1].expand(len(W_O), -1, -1), W_O, gain, centred)


def read_through_heads__no_gain(w, W_V, W_O, gain, centred):
    """The gain of the norm before the heads is missing."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    return _read(w, W_V, W_O, torch.ones_like(gain), centred)


def read_through_heads__mean_stays(w, W_V, W_O, gain, centred):
    """The norm before the heads takes the mean out of the stream; your direction still reads
    it."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    return _read(w, W_V, W_O, gain, False)


def read_through_heads__always_centred(w, W_V, W_O, gain, centred):
    """You centre where the norm does not. An RMSNorm leaves the mean alone."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    return _read(w, W_V, W_O, gain, True)


def read_through_heads__gain_on_w(w, W_V, W_O, gain, centred):
    """You apply the gain to w. It belongs to the norm before the heads, on the side of the
    source."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    return _read(w * gain, W_V, W_O, torch.ones_like(gain), centred)


def read_through_heads__heads_summed(w, W_V, W_O, gain, centred):
    """You add the heads together. Each looks elsewhere, so each needs its own direction."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    read = _read(w, W_V, W_O, gain, centred)
    return read.sum(dim=0, keepdim=True).expand_as(read).clone()


def read_through_heads__centred_before_the_gain(w, W_V, W_O, gain, centred):
    """You centre and then apply the gain. Seen from x the gain comes first."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    return _read(w, W_V, W_O, torch.ones_like(gain), centred) * gain


def read_through_heads__centres_w(w, W_V, W_O, gain, centred):
    """You centre w. The mean is subtracted from the stream before the heads, so it is the
    direction that reads *there* that has to be centred: the result."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    return _read(w - w.mean() if centred else w, W_V, W_O, gain, False)


def read_through_heads__one_mean_for_all(w, W_V, W_O, gain, centred):
    """You subtract the mean over all heads and coordinates. Each head's direction has its own."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    read = _read(w, W_V, W_O, gain, False)
    return read - read.mean() if centred else read


def read_through_heads__mean_over_heads(w, W_V, W_O, gain, centred):
    """You take the mean over the heads out. A norm knows nothing of heads: its mean is one over
    `d_model`."""
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)
    read = _read(w, W_V, W_O, gain, False)
    return read - read.mean(dim=0) if centred else read


# ------------------------------------------------------------------- d2. head_word_contributions


def head_word_contributions__no_pattern(x, scale, pattern, read, after):
    """The pattern is missing: a word adds nothing through a head that does not look at it."""
    return read @ (x / scale[:, None]).T / after


def head_word_contributions__no_source_scale(x, scale, pattern, read, after):
    """You do not divide by the scale of the norm before the heads."""
    return pattern * (read @ x.T) / after


def head_word_contributions__last_scale_for_all(x, scale, pattern, read, after):
    """You divide all words by the last word's scale. Each word is normed by itself."""
    return pattern * (read @ x.T) / scale[-1] / after


def head_word_contributions__no_after(x, scale, pattern, read, after):
    """The latent reads behind a norm, too: divide by `after`."""
    return pattern * (read @ (x / scale[:, None]).T)


def head_word_contributions__mixed_first(x, scale, pattern, read, after):
    """You spread each head's total over the words by its pattern. Two words that are looked at
    equally may add very different amounts."""
    total = ((pattern @ (x / scale[:, None])) * read).sum(dim=1, keepdim=True)
    return pattern / pattern.sum(dim=1, keepdim=True) * total / after


def head_word_contributions__multiplied_after(x, scale, pattern, read, after):
    """You multiply by the latent's scale. A norm divides."""
    return pattern * (read @ (x / scale[:, None]).T) * after


def head_word_contributions__absolute(x, scale, pattern, read, after):
    """You lose the sign: a word can hold a latent down."""
    return (pattern * (read @ (x / scale[:, None]).T) / after).abs()


def head_word_contributions__centres_x(x, scale, pattern, read, after):
    """You take the mean out of x. Where the norm subtracts it, `read` knows that already; where it
    does not, it has to stay."""
    x = x - x.mean(dim=1, keepdim=True)
    return pattern * (read @ (x / scale[:, None]).T) / after


# ---------------------------------------------------------------------------- e1. mlp_components


def _rows(x, f, mlp_out, W_dec, b_dec, W_skip):
    rows = f[:, None] * W_dec
    skip = torch.zeros_like(mlp_out) if W_skip is None else W_skip @ x
    return rows, skip, mlp_out - rows.sum(dim=0) - skip - b_dec


def mlp_components__skip_dropped(x, f, mlp_out, W_dec, b_dec, W_skip):
    """The skip path is missing, and its row is 0: now it hides in the error."""
    rows, skip, error = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    return torch.cat([rows, torch.stack([0 * skip, error + skip, b_dec])])


def mlp_components__skip_twice(x, f, mlp_out, W_dec, b_dec, W_skip):
    """The skip path counts twice: in its own row and in the error. Subtract it from the error."""
    rows, skip, error = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    return torch.cat([rows, torch.stack([skip, error + skip, b_dec])])


def mlp_components__bias_twice(x, f, mlp_out, W_dec, b_dec, W_skip):
    """The bias counts twice: in its own row and in the error."""
    rows, skip, error = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    return torch.cat([rows, torch.stack([skip, error + b_dec, b_dec])])


def mlp_components__skip_transposed(x, f, mlp_out, W_dec, b_dec, W_skip):
    """W_skip is used the wrong way round: W_skip x, with x as a column, and (d_model, d_in)."""
    rows, skip, _ = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    if W_skip is not None and W_skip.shape[0] == W_skip.shape[1]:
        skip = x @ W_skip
    error = mlp_out - rows.sum(dim=0) - skip - b_dec
    return torch.cat([rows, torch.stack([skip, error, b_dec])])


def mlp_components__no_error(x, f, mlp_out, W_dec, b_dec, W_skip):
    """Your error is 0. Transcoders are not perfect; without the error the sum is not the
    output."""
    rows, skip, error = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    return torch.cat([rows, torch.stack([skip, 0 * error, b_dec])])


def mlp_components__another_order(x, f, mlp_out, W_dec, b_dec, W_skip):
    """The last rows are in another order: skip path, error, b_dec."""
    rows, skip, error = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    return torch.cat([rows, torch.stack([error, skip, b_dec])])


def mlp_components__error_turned_round(x, f, mlp_out, W_dec, b_dec, W_skip):
    """Your error has the other sign: it is what is *missing*, the output minus what is
    explained."""
    rows, skip, error = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    return torch.cat([rows, torch.stack([skip, -error, b_dec])])


def mlp_components__silent_latents_left_out(x, f, mlp_out, W_dec, b_dec, W_skip):
    """You leave silent latents out. Here every latent has a row; theirs are 0."""
    rows, skip, error = _rows(x, f, mlp_out, W_dec, b_dec, W_skip)
    return torch.cat([rows[f != 0], torch.stack([skip, error, b_dec])])


# --------------------------------------------------------------------------- e2. terms_of_latent


def _terms(parts, w, b, x, eps):
    return parts @ w / (x.square().mean() + eps).sqrt(), b


def terms_of_latent__no_gain(parts, w_enc, b_enc, gain, bias, centred, eps):
    """The norm's gain is missing: it multiplies every coordinate before the encoder reads it."""
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    w = w_enc - w_enc.mean() if centred else w_enc
    return _terms(parts, w, b_enc + bias @ w_enc, x, eps)


def terms_of_latent__mean_stays(parts, w_enc, b_enc, gain, bias, centred, eps):
    """The mean that a LayerNorm subtracts is missing: centre what reads the parts."""
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    return _terms(parts, gain * w_enc, b_enc + bias @ w_enc, x, eps)


def terms_of_latent__each_part_normed(parts, w_enc, b_enc, gain, bias, centred, eps):
    """You norm each part by itself. There is one scale, that of the whole stream."""
    w = gain * w_enc
    w = w - w.mean() if centred else w
    x = parts - parts.mean(dim=1, keepdim=True) if centred else parts
    return parts @ w / (x.square().mean(dim=1) + eps).sqrt(), b_enc + bias @ w_enc


def terms_of_latent__norm_bias_forgotten(parts, w_enc, b_enc, gain, bias, centred, eps):
    """The norm's bias is missing from the constant: it passes through the encoder, too."""
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    w = gain * w_enc
    return _terms(parts, w - w.mean() if centred else w, b_enc.clone(), x, eps)


def terms_of_latent__encoder_bias_forgotten(parts, w_enc, b_enc, gain, bias, centred, eps):
    """The encoder's bias is missing from the constant."""
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    w = gain * w_enc
    return _terms(parts, w - w.mean() if centred else w, bias @ w_enc, x, eps)


def terms_of_latent__constant_shared_out(parts, w_enc, b_enc, gain, bias, centred, eps):
    """You share the constant out among the parts. It belongs to none of them."""
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    w = gain * w_enc
    w = w - w.mean() if centred else w
    terms = parts @ w / (x.square().mean() + eps).sqrt()
    return terms + (b_enc + bias @ w_enc) / len(parts), 0 * b_enc


def terms_of_latent__no_scale(parts, w_enc, b_enc, gain, bias, centred, eps):
    """You do not divide by the scale: the latent reads the stream behind a norm."""
    w = gain * w_enc
    return parts @ (w - w.mean() if centred else w), b_enc + bias @ w_enc


def terms_of_latent__scale_with_the_mean(parts, w_enc, b_enc, gain, bias, centred, eps):
    """Your scale still has the mean in it: a LayerNorm divides by the standard deviation."""
    w = gain * w_enc
    return _terms(
        parts, w - w.mean() if centred else w, b_enc + bias @ w_enc, parts.sum(dim=0), eps
    )


def terms_of_latent__gain_on_the_bias(parts, w_enc, b_enc, gain, bias, centred, eps):
    """You send the norm's bias through the gain. It is added after the gain."""
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    w = gain * w_enc
    return _terms(parts, w - w.mean() if centred else w, b_enc + (bias * gain) @ w_enc, x, eps)


def terms_of_latent__shared_out_in_proportion(parts, w_enc, b_enc, gain, bias, centred, eps):
    """You read the parts without the norm, and stretch them until the sum is right. Gain and mean
    change each part in its own way, so that only the sum agrees."""
    x = parts.sum(dim=0)
    x = x - x.mean() if centred else x
    whole = (x / (x.square().mean() + eps).sqrt() * gain) @ w_enc
    terms = parts @ w_enc
    return terms / terms.sum() * whole, b_enc + bias @ w_enc


# ------------------------------------------------------------------------- e3. weights_and_input


def weights_and_input__scale_with_the_weights(f, W_dec, read, pattern, scale, after):
    """You divide the weights by the latent's scale. The scale depends on the input."""
    return read @ W_dec.T / after, pattern[:, :, None] * (f / scale[:, None])


def weights_and_input__whole_product(f, W_dec, read, pattern, scale, after):
    """Your second factor is already the contribution: the weights are in both."""
    fixed = read @ W_dec.T
    return fixed, fixed[:, None] * pattern[:, :, None] * (f / scale[:, None]) / after


def weights_and_input__no_pattern(f, W_dec, read, pattern, scale, after):
    """The pattern is missing. Where a head looks depends on the input."""
    given = (f / scale[:, None]) / after
    return read @ W_dec.T, given.expand(len(read), -1, -1).clone()


def weights_and_input__no_source_scale(f, W_dec, read, pattern, scale, after):
    """The scale of the norm before the heads is missing."""
    return read @ W_dec.T, pattern[:, :, None] * f / after


def weights_and_input__no_after(f, W_dec, read, pattern, scale, after):
    """The scale of the norm before the latent is missing."""
    return read @ W_dec.T, pattern[:, :, None] * (f / scale[:, None])


def weights_and_input__only_whether_active(f, W_dec, read, pattern, scale, after):
    """You only ask whether a latent is active. How strongly matters."""
    return read @ W_dec.T, pattern[:, :, None] * ((f > 0).to(f.dtype) / scale[:, None]) / after


def weights_and_input__cosines(f, W_dec, read, pattern, scale, after):
    """You make the decoder rows unit vectors. Their length belongs to the weight."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    return read @ unit.T, pattern[:, :, None] * (f / scale[:, None]) / after


# -------------------------------------------------------------------------------- f1. commitment


def commitment__no_salt(answer, salt):
    """There is no salt: whoever knows the family of answers can try them all in a moment."""
    return hashlib.sha256(answer.encode()).hexdigest()


def commitment__answer_first(answer, salt):
    """The salt comes first, then a line break, then the answer."""
    return hashlib.sha256(f"{answer}\n{salt}".encode()).hexdigest()


def commitment__no_line_break(answer, salt):
    """Nothing stands between salt and answer: "a" + "bc" and "ab" + "c" would be the same."""
    return hashlib.sha256(f"{salt}{answer}".encode()).hexdigest()


def commitment__md5(answer, salt):
    """That is another digest: SHA-256 was agreed on."""
    return hashlib.md5(f"{salt}\n{answer}".encode()).hexdigest()


def commitment__small_letters(answer, salt):
    """You change capitals first. The answer is sealed as it was written."""
    return hashlib.sha256(f"{salt}\n{answer}".lower().encode()).hexdigest()


def commitment__bytes(answer, salt):
    """You return bytes; the hexadecimal text was asked for."""
    return hashlib.sha256(f"{salt}\n{answer}".encode()).digest()


def commitment__cut_off(answer, salt):
    """You cut the digest short: the shorter, the easier to find a second answer with the same
    one."""
    return hashlib.sha256(f"{salt}\n{answer}".encode()).hexdigest()[:16]


def commitment__in_the_open(answer, salt):
    """That is the answer itself: everybody can read it."""
    return f"{salt}\n{answer}"


def commitment__line_break_at_the_end(answer, salt):
    """You add a line break behind the answer. One more letter is another digest: there is one line
    break, between salt and answer."""
    return hashlib.sha256(f"{salt}\n{answer}\n".encode()).hexdigest()


# -------------------------------------------------------------------- f2. predicate_from_weights


def _top(score, holds, n, descending=True, stable=True):
    order = score.argsort(descending=descending, stable=stable)
    top = torch.zeros_like(holds[0])
    top[order[:n]] = True
    return top


def predicate_from_weights__lowest_scores(score, holds, n):
    """Your active tokens are those of lowest score."""
    found = balanced_accuracy(holds, _top(score, holds, n, descending=False)).tolist()
    return found.index(max(found))


def predicate_from_weights__plain_accuracy(score, holds, n):
    """You count right answers. With few active tokens a sentence that is never true wins: balance
    the two kinds."""
    right = (holds == _top(score, holds, n)).double().mean(dim=1).tolist()
    return right.index(max(right))


def predicate_from_weights__recall_only(score, holds, n):
    """You only ask how many of the active tokens a sentence has. One that is always true wins."""
    found = holds[:, _top(score, holds, n)].double().mean(dim=1).tolist()
    return found.index(max(found))


def predicate_from_weights__precision_only(score, holds, n):
    """You only ask how often a sentence is right where it holds. One that holds at a single
    active token wins."""
    top = _top(score, holds, n)
    found = ((holds & top).sum(dim=1) / holds.sum(dim=1).clamp(min=1)).tolist()
    return found.index(max(found))


def predicate_from_weights__mean_score(score, holds, n):
    """You compare mean scores where the sentences hold, and n plays no part. The n best tokens
    stand for "active"."""
    found = (holds.double() @ score.double() / holds.sum(dim=1).clamp(min=1)).tolist()
    return found.index(max(found))


def predicate_from_weights__last_of_equals(score, holds, n):
    """Of equal sentences you take the last; the first was asked for."""
    found = balanced_accuracy(holds, _top(score, holds, n)).tolist()
    return len(found) - 1 - found[::-1].index(max(found))


def predicate_from_weights__everything_as_good(score, holds, n):
    """You let all tokens that score as high as the n-th count, so there may be more than n."""
    top = score >= score.sort(descending=True).values[n - 1]
    if top.all():
        top = _top(score, holds, n)
    found = balanced_accuracy(holds, top).tolist()
    return found.index(max(found))


def predicate_from_weights__worst(score, holds, n):
    """You return the sentence with the lowest accuracy."""
    found = balanced_accuracy(holds, _top(score, holds, n)).tolist()
    return found.index(min(found))


# ----------------------------------------------------------------------------- h1. smallest_size


def smallest_size__first_that_reaches(sizes, found, level):
    """You take the first size that reaches the level. It has to hold for all larger ones, too."""
    return next((s for s, v in zip(sizes, found, strict=True) if v >= level), None)


def smallest_size__strictly_above(sizes, found, level):
    """At least means that a value of exactly the level counts."""
    best = None
    for size, value in zip(reversed(sizes), reversed(found), strict=True):
        if value <= level:
            break
        best = size
    return best


def smallest_size__largest_that_fails(sizes, found, level):
    """You return the last size at which it fails. The next one was asked for."""
    failed = [s for s, v in zip(sizes, found, strict=True) if v < level]
    return failed[-1] if failed else sizes[0]


def smallest_size__any_that_reaches(sizes, found, level):
    """You take the largest size that reaches the level. The smallest one from which on it holds
    was asked for."""
    good = [s for s, v in zip(sizes, found, strict=True) if v >= level]
    return good[-1] if good and found[-1] >= level else None


def smallest_size__index(sizes, found, level):
    """You return the place in the list, not the size."""
    best = None
    for i in reversed(range(len(sizes))):
        if found[i] < level:
            break
        best = i
    return best


def smallest_size__last_instead_of_none(sizes, found, level):
    """If even the largest circuit is below the level there is no size: None, not the last one."""
    best = sizes[-1]
    for size, value in zip(reversed(sizes), reversed(found), strict=True):
        if value < level:
            break
        best = size
    return best


def smallest_size__skips_failures(sizes, found, level):
    """You go on past a size that fails. As soon as one fails, smaller ones cannot be the
    answer."""
    good = [s for s, v in zip(sizes, found, strict=True) if v >= level]
    return good[0] if good and found[-1] >= level else None


def smallest_size__none_where_nothing_fails(sizes, found, level):
    """Where no size fails you return None. From which size on does the level hold there?"""
    failed = [i for i, v in enumerate(found) if v < level]
    return None if not failed or failed[-1] == len(sizes) - 1 else sizes[failed[-1] + 1]


# ---------------------------------------------------------------------------------- predictions


def predict_all__less():
    """Errors do not cancel here: they add up, and the loss grows faster than they do."""
    return "less than the four costs together"


def predict_all__much_more():
    """They do add to each other's errors, but in four layers that makes about half as much
    again."""
    return "more than two times"


def predict_coder__sae():
    """The SAE has the output in its input, and still a linear map beside the latents gains
    more."""
    return "the SAE"


def predict_coder__transcoder():
    """It has to compute the output from the input, with nothing else than its latents: it comes
    last of the three, by little."""
    return "the transcoder"


def predict_weights__none():
    """That is what shuffled decoder rows give. Weights do know which latents go together."""
    return "r below 0.2"


def predict_weights__nearly_all():
    """Weights know one way only, the direct one. Heads lie between, and other latents come
    along."""
    return "r above 0.8"


def predict_extended__two_or_three():
    """The advantage shrinks, but at layer 10 it is still there: what MLP 0 made of a word stays
    in the stream."""
    return "the extended one at two or three"


def predict_extended__raw():
    """The raw one is near chance from layer 1 on: hardly any later latent reads the embedding as
    it is."""
    return "the raw one at three or more"


def predict_blind__chance():
    """It is far above another latent's sentence: the extended embedding tells which words a
    latent likes."""
    return "nearer to another latent's sentence"


def predict_blind__better():
    """Sentences by activations were chosen by what is scored, on other stories. Weights come
    near, but cannot know contexts."""
    return "above the sentence by activations"


def predict_neurons__fewer():
    """Neurons are exact, without error, but each does a little of many things: it takes
    hundreds."""
    return "fewer neurons than latents"


def predict_neurons__as_many():
    """The gap is larger: look where the two lines cross 0.8."""
    return "one to three times as many"
