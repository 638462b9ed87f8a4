"""Wrong answers that learners of 3.2.10 give, each with what a tutor would say."""

import math

import torch

from part32_interp_with_saes.s4_understanding_latents import f1_scores

# ------------------------------------------------------------------------------ a1. identity_sae


def identity_sae__only_the_basis(Q):
    """You have d latents. ReLU loses every negative coordinate, so each direction needs a second
    latent that reads its negative."""
    return Q.T, Q


def identity_sae__basis_twice(Q):
    """Both halves read q. The second half must read the negative, or the negative coordinates are
    lost and the positive ones count twice."""
    W_dec = torch.cat([Q, Q])
    return W_dec.T, W_dec


def identity_sae__decoder_keeps_the_sign(Q):
    """The second half reads -q but writes q. It is active where the coordinate is negative, so it
    must write -q: yours reconstructs absolute values."""
    return torch.cat([Q, -Q]).T, torch.cat([Q, Q])


def identity_sae__interleaved(Q):
    """Your latents alternate: q, -q, q, -q. The statement puts all q first, then all -q."""
    W_dec = torch.stack([Q, -Q], dim=1).flatten(0, 1)
    return W_dec.T, W_dec


def identity_sae__columns_as_basis(Q):
    """You take the columns of Q. The basis vectors are its rows."""
    W_dec = torch.cat([Q.T, -Q.T])
    return W_dec.T, W_dec


def identity_sae__negative_first(Q):
    """The negative half comes first in yours. Latent i reads q_i, and latent d + i reads -q_i."""
    W_dec = torch.cat([-Q, Q])
    return W_dec.T, W_dec


def identity_sae__halved(Q):
    """You halve what is written, as if both latents of a pair were active. Only one of them ever
    is, and it must write the whole coordinate."""
    W_dec = torch.cat([Q, -Q])
    return W_dec.T, W_dec / 2


# -------------------------------------------------------------------------- a2. two_dense_latents


def _pair(v, mean):
    W_dec = torch.stack([v, -v])
    return W_dec.T, W_dec, mean


def two_dense_latents__not_centred(x):
    """You take the singular vectors of x itself. Where the mean is far from 0 the first of them is
    the mean: subtract the mean first."""
    return _pair(torch.linalg.svd(x, full_matrices=False).Vh[0], x.mean(dim=0))


def two_dense_latents__smallest_direction(x):
    """You take the direction of the *least* variance. Singular values come in descending order, so
    the first row of Vh is the one."""
    mean = x.mean(dim=0)
    return _pair(torch.linalg.svd(x - mean, full_matrices=False).Vh[-1], mean)


def two_dense_latents__first_of_eigh(x):
    """You take the direction of the *least* variance. `eigh` sorts its eigenvalues in ascending
    order: which of its columns is the one?"""
    mean = x.mean(dim=0)
    return _pair(torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors[:, 0], mean)


def two_dense_latents__column_of_vh(x):
    """You take a column of `Vh`. The h says that it is transposed: the directions are its rows."""
    mean = x.mean(dim=0)
    return _pair(torch.linalg.svd(x - mean, full_matrices=False).Vh[:, 0], mean)


def two_dense_latents__column_of_vh_of_the_product(x):
    """You take a column of `Vh`. It is transposed already, as the h says: its rows are the
    directions."""
    mean = x.mean(dim=0)
    return _pair(torch.linalg.svd((x - mean).T @ (x - mean)).Vh[:, 0], mean)


def two_dense_latents__first_two_directions(x):
    """Your latents read the first and the second principal direction. One direction needs two
    latents, v and -v: ReLU loses the negative half."""
    mean = x.mean(dim=0)
    W_dec = torch.linalg.svd(x - mean, full_matrices=False).Vh[:2]
    return W_dec.T, W_dec, mean


def two_dense_latents__no_bias(x):
    """Your bias is 0. It is the mean of the rows, subtracted before and added after."""
    v = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False).Vh[0]
    return _pair(v, torch.zeros_like(v))


def two_dense_latents__largest_coordinate(x):
    """You take the *coordinate* with the largest variance. The direction of largest variance need
    not lie along an axis."""
    v = torch.zeros_like(x[0])
    v[x.var(dim=0).argmax()] = 1
    return _pair(v, x.mean(dim=0))


def two_dense_latents__median(x):
    """Your bias is the median of each dimension. The statement asks for the mean, which is what
    makes the variance around it smallest."""
    mean = x.mean(dim=0)
    v = torch.linalg.svd(x - mean, full_matrices=False).Vh[0]
    return _pair(v, x.median(dim=0).values)


def two_dense_latents__scaled_encoder(x):
    """You multiply the encoder by the singular value. Then the latents are that much too large, and
    so is the reconstruction: v has length 1 in both places."""
    mean = x.mean(dim=0)
    parts = torch.linalg.svd(x - mean, full_matrices=False)
    W_dec = torch.stack([parts.Vh[0], -parts.Vh[0]])
    return W_dec.T * parts.S[0], W_dec, mean


def two_dense_latents__both_positive(x):
    """Both of your latents are v. The second must be -v, or the half of the items with a negative
    coordinate gets the mean alone."""
    mean = x.mean(dim=0)
    v = torch.linalg.svd(x - mean, full_matrices=False).Vh[0]
    W_dec = torch.stack([v, v])
    return W_dec.T, W_dec, mean


# ------------------------------------------------------------------------------ a3. memorise_rows


def memorise_rows__not_normalised(x):
    """You use the rows as they are. Then the longest row wins on most items, and a latent writes
    its row times a squared length."""
    return x.T.clone(), x.clone()


def memorise_rows__only_the_decoder(x):
    """Only the decoder is normalised. The encoder's columns must have length 1 too, or the longest
    row wins."""
    return x.T.clone(), x / x.norm(dim=1, keepdim=True)


def memorise_rows__only_the_encoder(x):
    """Only the encoder is normalised. Latent i is then as large as row i is long, and your decoder
    multiplies the whole row by that."""
    return (x / x.norm(dim=1, keepdim=True)).T, x.clone()


def memorise_rows__by_squared_length(x):
    """You divide by the squared length, so that latent i is 1 on row i. But then a short row that
    points the same way beats it, and decoder rows do not have length 1."""
    return (x / x.norm(dim=1, keepdim=True).square()).T, x.clone()


def memorise_rows__columns(x):
    """You normalise columns (dim=0). A latent belongs to a row of x: one length per row, dim=1."""
    W_dec = x / x.norm(dim=0, keepdim=True)
    return W_dec.T, W_dec


def memorise_rows__centred(x):
    """You subtract the mean first. There are no biases in this SAE, so the rows must come back as
    they are."""
    rows = x - x.mean(dim=0)
    W_dec = rows / rows.norm(dim=1, keepdim=True)
    return W_dec.T, W_dec


def memorise_rows__l1_length(x):
    """You divide by the sum of absolute values. The length of a vector is the root of the sum of
    squares; only with it is a row's dot product with itself the largest."""
    W_dec = x / x.abs().sum(dim=1, keepdim=True)
    return W_dec.T, W_dec


def memorise_rows__short_rows_stay(x):
    """You divide by the length, but never by less than 1. A short row needs length 1 as well: put
    no floor under lengths that is not tiny."""
    W_dec = x / x.norm(dim=1, keepdim=True).clamp(min=1)
    return W_dec.T, W_dec


def memorise_rows__one_length(x):
    """You divide all rows by one common length. Each row needs its own: a long row would win on
    items that are not its own."""
    W_dec = x / x.norm(dim=1).mean()
    return W_dec.T, W_dec


# ---------------------------------------------------------------------------- a4. stretch_latents


def stretch_latents__forgets_the_bias(W_enc, b_enc, W_dec, s):
    """You leave the encoder's bias. All of the pre-activation must be multiplied, the bias too."""
    return W_enc * s, b_enc.clone(), W_dec / s[:, None]


def stretch_latents__decoder_untouched(W_enc, b_enc, W_dec, s):
    """You leave the decoder. Then the output changes: what is s times as large must be written
    1/s times as strongly."""
    return W_enc * s, b_enc * s, W_dec.clone()


def stretch_latents__decoder_multiplied(W_enc, b_enc, W_dec, s):
    """You multiply the decoder as well, so the output grows by s². Divide its rows."""
    return W_enc * s, b_enc * s, W_dec * s[:, None]


def stretch_latents__the_other_way(W_enc, b_enc, W_dec, s):
    """Your latents are 1/s as large. The output is right, but the latents should be s times as
    large."""
    return W_enc / s, b_enc / s, W_dec * s[:, None]


def stretch_latents__square_root(W_enc, b_enc, W_dec, s):
    """You spread s over encoder and decoder by square roots. The latent lies between the two: all
    of s has to be in the encoder."""
    return W_enc * s.sqrt(), b_enc * s.sqrt(), W_dec / s.sqrt()[:, None]


def stretch_latents__one_factor(W_enc, b_enc, W_dec, s):
    """You use one factor for all latents. Each latent has its own."""
    return W_enc * s.mean(), b_enc * s.mean(), W_dec / s.mean()


def stretch_latents__bias_divided(W_enc, b_enc, W_dec, s):
    """You divide the bias. It is a part of the pre-activation, which is multiplied by s."""
    return W_enc * s, b_enc / s, W_dec / s[:, None]


# --------------------------------------------------------------------------------- a5. written_l1


def written_l1__activations_only(f, W_dec):
    """That is the plain L1. Multiply each activation by the length of the row that it writes."""
    return float(f.sum(dim=1).mean())


def written_l1__of_the_output(f, W_dec):
    """You take the length of the *sum* of what the latents write. There they cancel; the sum of
    their lengths was asked for."""
    return float((f @ W_dec).norm(dim=1).mean())


def written_l1__squared_lengths(f, W_dec):
    """You weight by the squared length. A change of units changes that: one length too many."""
    return float((f @ W_dec.square().sum(dim=1)).mean())


def written_l1__sum_over_items(f, W_dec):
    """You sum over items. The mean over items was asked for, so that twice the data give the same
    number."""
    return float((f @ W_dec.norm(dim=1)).sum())


def written_l1__mean_over_latents(f, W_dec):
    """You take the mean over latents, too. The sum over latents was asked for."""
    return float((f * W_dec.norm(dim=1)).mean())


def written_l1__absolute_entries(f, W_dec):
    """You weight by the sum of a row's absolute entries. That depends on the choice of axes; its
    length does not."""
    return float((f @ W_dec.abs().sum(dim=1)).mean())


def written_l1__active_items_only(f, W_dec):
    """You leave out items without an active latent. They count: what is written there is 0."""
    total = f @ W_dec.norm(dim=1)
    return float(total[total > 0].mean())


# ------------------------------------------------------------------------------ f. best_detectors


def _chosen(fires, labels, best):
    chosen = fires[:, best]
    both = (chosen & labels).sum(dim=0).double()
    return best, both / chosen.sum(dim=0).clamp(min=1), both / labels.sum(dim=0)


def _shares(fires, labels):
    both = fires.T.double() @ labels.double()
    return both / fires.sum(dim=0).clamp(min=1)[:, None], both / labels.sum(dim=0)


def best_detectors__by_recall(fires, labels):
    """You choose by recall. A latent that is always active wins then, whatever the label."""
    return _chosen(fires, labels, _shares(fires, labels)[1].argmax(dim=0))


def best_detectors__by_precision(fires, labels):
    """You choose by precision. A latent that is active once, and rightly, wins then."""
    return _chosen(fires, labels, _shares(fires, labels)[0].argmax(dim=0))


def best_detectors__plain_mean(fires, labels):
    """You take the plain mean of precision and recall. F1 is the harmonic mean: one of the two that
    is small makes it small."""
    return _chosen(fires, labels, sum(_shares(fires, labels)).argmax(dim=0))


def best_detectors__by_accuracy(fires, labels):
    """You choose by accuracy. For a rare label the best latent is then one that never fires."""
    right = (fires[:, :, None] == labels[:, None]).double().mean(dim=0)
    return _chosen(fires, labels, right.argmax(dim=0))


def best_detectors__swapped(fires, labels):
    """Precision and recall are swapped. Precision divides by how often the latent is active, recall
    by how often the label is true."""
    best = torch.stack([f1_scores(fires, label).argmax() for label in labels.T])
    best, precision, recall = _chosen(fires, labels, best)
    return best, recall, precision


def best_detectors__share_of_all_items(fires, labels):
    """You divide by the number of items. Precision is a share of the items where the latent is
    active."""
    best = torch.stack([f1_scores(fires, label).argmax() for label in labels.T])
    best, _, recall = _chosen(fires, labels, best)
    return best, (fires[:, best] & labels).double().mean(dim=0), recall


def best_detectors__each_latent_once(fires, labels):
    """You give each latent to one label only. Here a latent may be the best detector of several."""
    scores = torch.stack([f1_scores(fires, label) for label in labels.T])
    best = []
    for row in scores:
        left = [float(v) if i not in best else -1.0 for i, v in enumerate(row)]
        best.append(left.index(max(left)))
    return _chosen(fires, labels, torch.tensor(best, device=fires.device))


def best_detectors__last_of_equals(fires, labels):
    """Of latents with equal scores you take the last one. The lowest number was asked for."""
    flipped = torch.stack([f1_scores(fires.flip(1), label).argmax() for label in labels.T])
    return _chosen(fires, labels, fires.shape[1] - 1 - flipped)


def best_detectors__nan_if_silent(fires, labels):
    """A latent that is never active has 0 / 0 as its precision. The statement makes that 0."""
    best = torch.stack([f1_scores(fires, label).argmax() for label in labels.T])
    both = (fires[:, best] & labels).sum(dim=0).double()
    return best, both / fires[:, best].sum(dim=0), both / labels.sum(dim=0)


# ------------------------------------------------------------------------- b1. difference_latents


def difference_latents__signed(f, label, k):
    """You take the largest differences with their sign. A latent that is active on the noes tells
    as much: use the absolute value."""
    gap = f[label].mean(dim=0) - f[~label].mean(dim=0)
    return gap.sort(descending=True, stable=True).indices[:k]


def difference_latents__sums(f, label, k):
    """You compare sums. With unequal numbers of yeses and noes the more frequent kind wins: compare
    means."""
    gap = (f[label].sum(dim=0) - f[~label].sum(dim=0)).abs()
    return gap.sort(descending=True, stable=True).indices[:k]


def difference_latents__most_active(f, label, k):
    """You take the latents that are most active. What counts is the difference of yes and no."""
    return f.mean(dim=0).sort(descending=True, stable=True).indices[:k]


def difference_latents__standardised(f, label, k):
    """You divide by the standard deviation. That is another choice; the statement asks for the
    difference of the means alone."""
    gap = (f[label].mean(dim=0) - f[~label].mean(dim=0)).abs() / (f.std(dim=0) + 1e-8)
    return gap.sort(descending=True, stable=True).indices[:k]


def difference_latents__smallest(f, label, k):
    """Yours are the k smallest differences. Sort descending."""
    gap = (f[label].mean(dim=0) - f[~label].mean(dim=0)).abs()
    return gap.sort(stable=True).indices[:k]


def difference_latents__how_often_active(f, label, k):
    """You compare how *often* a latent is active. The means of the activations were asked for."""
    on = (f > 0).to(f.dtype)
    gap = (on[label].mean(dim=0) - on[~label].mean(dim=0)).abs()
    return gap.sort(descending=True, stable=True).indices[:k]


def difference_latents__in_order_of_number(f, label, k):
    """You return the right latents by number. Largest difference first was asked for."""
    gap = (f[label].mean(dim=0) - f[~label].mean(dim=0)).abs()
    return gap.sort(descending=True, stable=True).indices[:k].sort().values


def difference_latents__higher_number_first(f, label, k):
    """Of equal latents the higher number comes first in yours. An ascending order, turned round,
    turns the equal ones round, too."""
    gap = (f[label].mean(dim=0) - f[~label].mean(dim=0)).abs()
    return gap.argsort(stable=True).flip(0)[:k]


def difference_latents__only_the_yeses(f, label, k):
    """You look at the yeses alone. A latent that is as active on the noes tells nothing."""
    return f[label].mean(dim=0).abs().sort(descending=True, stable=True).indices[:k]


# -------------------------------------------------------------------------------- b2. flip_labels


def _order(label, gen):
    return torch.randperm(len(label), generator=gen, device=label.device)


def flip_labels__coins(label, share, gen):
    """You throw a coin for every item. Then the number of flips is random; exactly so many were
    asked for."""
    return label ^ (torch.rand(len(label), generator=gen, device=label.device) < share)


def flip_labels__with_replacement(label, share, gen):
    """You draw places with replacement. Some come twice, so fewer items are flipped."""
    n = round(share * len(label))
    where = torch.randint(len(label), (n,), generator=gen, device=label.device)
    flipped = label.clone()
    flipped[where] = ~label[where]
    return flipped


def flip_labels__set_to_yes(label, share, gen):
    """You set the drawn items to yes. Half of them were yes already: negate them."""
    flipped = label.clone()
    flipped[_order(label, gen)[: round(share * len(label))]] = True
    return flipped


def flip_labels__the_first_ones(label, share, gen):
    """You flip the first items. Which ones are flipped has to be drawn."""
    _order(label, gen)
    flipped = label.clone()
    n = round(share * len(label))
    flipped[:n] = ~label[:n]
    return flipped


def flip_labels__shuffled(label, share, gen):
    """You exchange the labels of the drawn items among themselves. Many come out as they were:
    negate them."""
    where = _order(label, gen)[: round(share * len(label))]
    flipped = label.clone()
    flipped[where] = label[where.flip(0)]
    return flipped


def flip_labels__the_others(label, share, gen):
    """You flip all but the drawn items: 1 - share of them."""
    flipped = ~label
    where = _order(label, gen)[: round(share * len(label))]
    flipped[where] = label[where]
    return flipped


def flip_labels__one_kind_only(label, share, gen):
    """You flip yeses only. Noise hits both kinds."""
    order = _order(label, gen)
    where = order[label[order]][: round(share * len(label))]
    flipped = label.clone()
    flipped[where] = False
    return flipped


def flip_labels__cut_off(label, share, gen):
    """You cut off what is behind the point. In floating point 0.29 times 100 is a hair below 29,
    and that becomes 28: go to the nearest whole number."""
    flipped = label.clone()
    where = _order(label, gen)[: int(share * len(label))]
    flipped[where] = ~label[where]
    return flipped


# -------------------------------------------------------------------------------- b3. quiver_gain


def _at(test, scores):
    return test.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]


def quiver_gain__chosen_on_the_test(valid, test, sae):
    """You choose on the test scores. Nobody has those when they choose, and a larger quiver can
    then never lose."""
    return _at(test, test) - _at(test, test.masked_fill(sae, -math.inf))


def quiver_gain__latents_against_baselines(valid, test, sae):
    """You compare the best probe on latents with the best of the others. The question is what the
    latents *add*: the first choice is among all."""
    first = valid.masked_fill(~sae, -math.inf)
    return _at(test, first) - _at(test, valid.masked_fill(sae, -math.inf))


def quiver_gain__other_sign(valid, test, sae):
    """You subtract the other way round. A gain is positive where latents help."""
    return _at(test, valid.masked_fill(sae, -math.inf)) - _at(test, valid)


def quiver_gain__validation_scores(valid, test, sae):
    """You return validation scores. There the larger quiver always wins: choose in validation, and
    look up the test."""
    return _at(valid, valid) - _at(valid, valid.masked_fill(sae, -math.inf))


def quiver_gain__one_probe_for_all(valid, test, sae):
    """You choose one probe for all tasks, by the mean. Each task has its own choice."""
    every = valid.mean(dim=0)
    return test[:, every.argmax()] - test[:, every.masked_fill(sae, -math.inf).argmax()]


def quiver_gain__zero_for_latents(valid, test, sae):
    """You set the scores of the latents' probes to 0 to take them out. Where all others are below 0
    they win: use minus infinity."""
    return _at(test, valid) - _at(test, valid.masked_fill(sae, 0.0))


def quiver_gain__mean_of_baselines(valid, test, sae):
    """You compare with the *mean* of the probes without latents. The rival is the one that would be
    chosen."""
    return _at(test, valid) - test[:, ~sae].mean(dim=1)


def quiver_gain__best_baseline_of_the_test(valid, test, sae):
    """Your rival without latents is the best one in the *test*. It has to be chosen in validation,
    like the other."""
    return _at(test, valid) - test[:, ~sae].amax(dim=1)


def quiver_gain__shifted_columns(valid, test, sae):
    """You cut the latents' columns out of validation and look up the number that is left in the
    full test table. The columns have moved: mask them instead."""
    return _at(test, valid) - _at(test, valid[:, ~sae])


# ------------------------------------------------------------------------- c1. absorption_contrast


def _nan_or(kinds, value):
    return value() if all(bool(kind.any()) for kind in kinds) else math.nan


def absorption_contrast__active_not_silent(fires, parent, child):
    """You compare shares of *active* items. Absorbed means silent, so your sign is turned."""
    a, b = parent & child, parent & ~child
    on = fires.double()
    return _nan_or((a, b), lambda: float(on[a].mean() - on[b].mean()))


def absorption_contrast__no_contrast(fires, parent, child):
    """You return how often the latent is silent with a child. A bad latent is silent anyway:
    subtract its silence without one."""
    a, b = parent & child, parent & ~child
    return _nan_or((a, b), lambda: float((~fires)[a].double().mean()))


def absorption_contrast__all_without_child(fires, parent, child):
    """Your second kind is all items without a child. Where there is no parent the latent should be
    silent: those items say nothing."""
    a, b = parent & child, ~child
    off = (~fires).double()
    if not (parent & ~child).any():
        return math.nan
    return _nan_or((a, b), lambda: float(off[a].mean() - off[b].mean()))


def absorption_contrast__against_all_parents(fires, parent, child):
    """You compare with all items that have the parent. Those with a child are among them: the
    second share is of those without."""
    a, b = parent & child, parent
    off = (~fires).double()
    if not (parent & ~child).any():
        return math.nan
    return _nan_or((a, b), lambda: float(off[a].mean() - off[b].mean()))


def absorption_contrast__any_child(fires, parent, child):
    """Your first kind is all items with a child, also those without the parent. Silence is right
    there."""
    a, b = child, parent & ~child
    off = (~fires).double()
    if not (parent & child).any():
        return math.nan
    return _nan_or((a, b), lambda: float(off[a].mean() - off[b].mean()))


def absorption_contrast__ratio(fires, parent, child):
    """You divide the two shares. Their difference was asked for."""
    a, b = parent & child, parent & ~child
    off = (~fires).double()
    return _nan_or((a, b), lambda: float(off[a].mean() / off[b].mean().clamp(min=1e-12)))


def absorption_contrast__zero_if_undefined(fires, parent, child):
    """You return 0 where one kind of items does not occur. 0 would say that there is no absorption;
    NaN says that nothing is known."""
    a, b = parent & child, parent & ~child
    if not a.any() or not b.any():
        return 0.0
    off = (~fires).double()
    return float(off[a].mean() - off[b].mean())


def absorption_contrast__joint_shares(fires, parent, child):
    """You divide by the number of all items. Both are conditional: each share is among the items of
    its own kind."""
    a, b = parent & child, parent & ~child
    off = (~fires).double()
    return _nan_or((a, b), lambda: float((off * a).mean() - (off * b).mean()))


def absorption_contrast__shares_of_all_parents(fires, parent, child):
    """You divide both counts by the number of all items with the parent. Each share is among the
    items of its own kind: with a child, or without."""
    a, b = parent & child, parent & ~child
    n = parent.sum()
    return _nan_or((a, b), lambda: float(((~fires & a).sum() - (~fires & b).sum()) / n))


# ------------------------------------------------------------------------ c2. feature_coefficients


def feature_coefficients__dot_products(W_dec, W):
    """Dot products are the coefficients only where the features are orthonormal. Here they overlap
    and have other lengths: solve the least squares problem."""
    return W_dec @ W.T


def feature_coefficients__cosines(W_dec, W):
    """You return cosines. A row made of two features has a cosine with a third one that is like
    them; its coefficient is 0."""
    return torch.nn.functional.cosine_similarity(W_dec[:, None], W[None], dim=-1)


def feature_coefficients__projections(W_dec, W):
    """You project on one feature at a time. What two features share is then counted twice: all
    coefficients have to be found together."""
    return W_dec @ W.T / W.square().sum(dim=1)


def feature_coefficients__unit_features(W_dec, W):
    """You make the features unit vectors first. The coefficients belong to the features as they
    are."""
    return W_dec @ torch.linalg.pinv(W / W.norm(dim=1, keepdim=True))


def feature_coefficients__unit_rows(W_dec, W):
    """You make the decoder rows unit vectors first. The sum of the coefficients times the features
    should be the row as it is."""
    return (W_dec / W_dec.norm(dim=1, keepdim=True)) @ torch.linalg.pinv(W)


def feature_coefficients__absolute(W_dec, W):
    """You return absolute values. A row can hold a feature with a minus, and often does."""
    return (W_dec @ torch.linalg.pinv(W)).abs()


def feature_coefficients__not_negative(W_dec, W):
    """You cut negative coefficients off. A latent may well write a feature with a minus."""
    return (W_dec @ torch.linalg.pinv(W)).relu()


# ---------------------------------------------------------------------------------- d1. scr_score


def _or_nan(base, ablated, oracle, value):
    return torch.full_like(ablated, math.nan) if oracle <= base else value


def scr_score__difference(base, ablated, oracle):
    """You return the gain as it is. It is measured in what could have been gained: divide by oracle
    minus base."""
    return _or_nan(base, ablated, oracle, ablated - base)


def scr_score__share_of_oracle(base, ablated, oracle):
    """You divide by the oracle's accuracy. Divide by what there was to gain: oracle minus base."""
    return _or_nan(base, ablated, oracle, (ablated - base) / oracle)


def scr_score__what_is_left(base, ablated, oracle):
    """You return the share that is still missing. The share that was gained is 1 minus that."""
    return _or_nan(base, ablated, oracle, (oracle - ablated) / (oracle - base))


def scr_score__clamped(base, ablated, oracle):
    """You cut the score at 0 and 1. A removal can do harm, and it can beat the oracle: show it."""
    return _or_nan(base, ablated, oracle, ((ablated - base) / (oracle - base)).clamp(0, 1))


def scr_score__divides_anyway(base, ablated, oracle):
    """Where the oracle is no better than the base you divide by 0 or by a negative number. The
    statement makes that NaN."""
    gap = oracle - base
    return (ablated - base) / gap if gap else (ablated - base) * math.inf


def scr_score__nan_only_where_equal(base, ablated, oracle):
    """An oracle that is *worse* than the base gives a number in yours. There was nothing to gain
    there either: NaN."""
    if oracle == base:
        return torch.full_like(ablated, math.nan)
    return (ablated - base) / (oracle - base)


def scr_score__zero_where_undefined(base, ablated, oracle):
    """You return 0 where there was nothing to gain. That would say that the removal failed."""
    return torch.zeros_like(ablated) if oracle <= base else (ablated - base) / (oracle - base)


def scr_score__relative_to_base(base, ablated, oracle):
    """You divide by the base. Divide by what there was to gain: oracle minus base."""
    return _or_nan(base, ablated, oracle, (ablated - base) / (base + 1e-12))


# ---------------------------------------------------------------------------------- d2. tpp_score


def _split(loss):
    own = torch.eye(len(loss), dtype=torch.bool, device=loss.device)
    return loss[own], loss[~own]


def tpp_score__other_sign(before, after):
    """You count the change of accuracy, so that harm is negative. Count losses: before minus
    after."""
    own, others = _split(after - before)
    return float(own.mean() - others.mean())


def tpp_score__only_the_own(before, after):
    """You leave out the other probes. An SAE whose latents harm all probes would get a good
    score."""
    return float(_split(before - after)[0].mean())


def tpp_score__mean_over_all(before, after):
    """You subtract the mean over the whole table. The other probes alone were asked for, without
    the diagonal."""
    loss = before - after
    return float(_split(loss)[0].mean() - loss.mean())


def tpp_score__sums(before, after):
    """You subtract sums. There are more pairs off the diagonal than on it: subtract means."""
    own, others = _split(before - after)
    return float(own.sum() - others.sum())


def tpp_score__others_summed(before, after):
    """For each class you add up what the other probes lose. Both numbers are means: the more
    classes there are, the larger your sum."""
    own, others = _split(before - after)
    return float(own.mean() - others.sum() / len(before))


def tpp_score__absolute_changes(before, after):
    """You take absolute changes. A probe that gets better through a removal has a negative loss."""
    own, others = _split((before - after).abs())
    return float(own.mean() - others.mean())


def tpp_score__no_negative_losses(before, after):
    """You set negative losses to 0. A probe that gets better through a removal counts as it is."""
    own, others = _split((before - after).clamp(min=0))
    return float(own.mean() - others.mean())


def tpp_score__worst_of_the_others(before, after):
    """You subtract the largest loss of the other probes. Their mean was asked for."""
    own, others = _split(before - after)
    return float(own.mean() - others.max())


def tpp_score__ratio(before, after):
    """You divide the two means. Their difference was asked for; the second is often near 0."""
    own, others = _split(before - after)
    return float(own.mean() / others.mean())


def tpp_score__relative_losses(before, after):
    """You measure losses as shares of the accuracy before. Differences of accuracies were asked
    for."""
    own, others = _split((before - after) / before)
    return float(own.mean() - others.mean())


# ---------------------------------------------------------------------------- e. scramble_weights


def _each(weights, change):
    return {n: change(W) if W.is_floating_point() else W for n, W in weights.items()}


def _perm(n, like, gen):
    return torch.randperm(n, generator=gen, device=like.device)


def scramble_weights__rows_only(weights, gen):
    """You permute the rows. Then each row is intact, only its place is new: permute all entries."""
    return _each(weights, lambda W: W[_perm(len(W), W, gen)])


def scramble_weights__axis_by_axis(weights, gen):
    """You permute each axis: what stood in one row is in one row again. Permute all entries as
    one list."""

    def change(W):
        for axis, n in enumerate(W.shape):
            W = W.index_select(axis, _perm(n, W, gen))
        return W

    return _each(weights, change)


def scramble_weights__normal_numbers(weights, gen):
    """You draw new normal numbers with the same mean and spread. The same numbers in other places
    were asked for: weights have long tails."""

    def change(W):
        drawn = torch.randn(W.shape, generator=gen, device=W.device, dtype=W.dtype)
        return W.mean() + W.std() * drawn

    return _each(weights, change)


def scramble_weights__one_order(weights, gen):
    """You use the same random order for every tensor of the same size. Each has its own."""
    orders = {}

    def change(W):
        n = W.numel()
        if n not in orders:
            orders[n] = _perm(n, W, gen)
        return W.flatten()[orders[n]].reshape(W.shape)

    return _each(weights, change)


def scramble_weights__flipped(weights, gen):
    """You turn the entries around. That is one order out of very many, and not random."""
    return _each(weights, lambda W: W.flatten().flip(0).reshape(W.shape))


def scramble_weights__with_replacement(weights, gen):
    """You draw entries with replacement: some numbers come twice, others are lost."""

    def change(W):
        where = torch.randint(W.numel(), (W.numel(),), generator=gen, device=W.device)
        return W.flatten()[where].reshape(W.shape)

    return _each(weights, change)


def scramble_weights__masks_too(weights, gen):
    """You scramble everything. Masks and counters are no weights: a causal mask with its entries in
    other places lets the model see the future."""
    return {n: W.flatten()[_perm(W.numel(), W, gen)].reshape(W.shape) for n, W in weights.items()}


def scramble_weights__matrices_only(weights, gen):
    """You leave vectors as they are. The statement says every tensor of floating point numbers:
    biases were learned, too."""

    def change(W):
        return W if W.ndim < 2 else W.flatten()[_perm(W.numel(), W, gen)].reshape(W.shape)

    return _each(weights, change)


def scramble_weights__leaves_out_the_rest(weights, gen):
    """You return the scrambled tensors alone. The model needs the masks and counters, too."""
    return {
        n: W.flatten()[_perm(W.numel(), W, gen)].reshape(W.shape)
        for n, W in weights.items()
        if W.is_floating_point()
    }


# --------------------------------------------------------------------------------- g1. kendall_tau


def _signs(x, y):
    return ((v[:, None] - v).sign().double() for v in (x, y))


def kendall_tau__without_ties(x, y):
    """You divide by the number of pairs. Pairs that are equal in one of the two say nothing there,
    and the formula leaves them out of the divisor."""
    a, b = _signs(x, y)
    n = len(x)
    constant = not (a.any() and b.any())
    return 0.0 if constant else float((a * b).sum()) / (n * (n - 1))


def kendall_tau__differences(x, y):
    """You multiply the differences themselves: that is Pearson's correlation. Only their signs
    count."""
    a, b = ((v[:, None] - v).double() for v in (x, y))
    spread = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / spread if spread > 0 else 0.0


def kendall_tau__share_in_order(x, y):
    """You return the share of pairs in the same order, from 0 to 1. Opposite orders count
    negatively."""
    a, b = _signs(x, y)
    pairs = (a * b) != 0
    return float((a * b > 0).sum() / pairs.sum()) if pairs.any() else 0.0


def kendall_tau__goodman_kruskal(x, y):
    """You leave out every pair that is equal in *one* of the two. Then ties cost nothing; the
    divisor has the pairs that differ in x and those that differ in y, under a root."""
    a, b = _signs(x, y)
    spread = float((a * b).abs().sum())
    return float((a * b).sum()) / spread if spread > 0 else 0.0


def kendall_tau__nan_for_constants(x, y):
    """Where all of one side are equal you divide 0 by 0. The statement makes that 0."""
    a, b = _signs(x, y)
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def kendall_tau__spearman(x, y):
    """You correlate the ranks: that is Spearman's. Kendall's counts pairs."""
    ranks = []
    for v in (x, y):
        below = (v[:, None] > v).double().sum(dim=1)
        equal = (v[:, None] == v).double().sum(dim=1)
        ranks.append(below + (equal + 1) / 2)
    a, b = (r - r.mean() for r in ranks)
    spread = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / spread if spread > 0 else 0.0


def kendall_tau__neighbours_only(x, y):
    """You compare each item with the next one only. All pairs count."""
    a, b = (v.diff().sign().double() for v in (x, y))
    spread = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / spread if spread > 0 else 0.0


# ------------------------------------------------------------------------------- g2. choice_regret


def choice_regret__first_favourite(proxy, truth):
    """You take the first of several favourites. One of them is taken at random: take the mean of
    their truths."""
    return float(truth.max() - truth[proxy.argmax()])


def choice_regret__best_favourite(proxy, truth):
    """Of several favourites you take the one that is best in truth. Whoever chooses by the proxy
    does not know which that is."""
    return float(truth.max() - truth[proxy == proxy.max()].max())


def choice_regret__worst_favourite(proxy, truth):
    """Of several favourites you take the worst. The expectation was asked for."""
    return float(truth.max() - truth[proxy == proxy.max()].min())


def choice_regret__other_sign(proxy, truth):
    """Your regret is negative. It is the best truth *minus* that of the chosen one."""
    favourites = truth[proxy == proxy.max()]
    return float(favourites.double().mean() - truth.max().double())


def choice_regret__proxy_of_the_best(proxy, truth):
    """You compare proxies: the largest one with that of the truly best SAE. What is lost is lost in
    truth."""
    best = proxy[truth == truth.max()]
    return float(proxy.max().double() - best.double().mean())


def choice_regret__smallest_proxy(proxy, truth):
    """You choose the smallest proxy. Larger is better here."""
    favourites = truth[proxy == proxy.min()]
    return float(truth.max().double() - favourites.double().mean())


def choice_regret__against_the_mean(proxy, truth):
    """You compare with the mean truth. The regret is against the best choice there was."""
    favourites = truth[proxy == proxy.max()]
    return float(truth.double().mean() - favourites.double().mean())


# ------------------------------------------------------------------------------ j. decoder_overlap


def _cosines(W_dec):
    unit = W_dec / W_dec.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return unit @ unit.T


def _off(table):
    n = len(table)
    return float(table.sum() - table.diagonal().sum()) / (n * (n - 1))


def decoder_overlap__signed(W_dec):
    """You average cosines with their sign: opposite rows cancel similar ones. Take absolute
    values."""
    return _off(_cosines(W_dec))


def decoder_overlap__with_itself(W_dec):
    """You count each row with itself, where the cosine is 1. Only different rows form pairs."""
    return float(_cosines(W_dec).abs().mean())


def decoder_overlap__dot_products(W_dec):
    """You average dot products. Rows of other lengths would count more: divide by the lengths."""
    return _off((W_dec @ W_dec.T).abs())


def decoder_overlap__squared(W_dec):
    """You square the cosines. The mean of their absolute values was asked for."""
    return _off(_cosines(W_dec).square())


def decoder_overlap__largest(W_dec):
    """You take each row's largest cosine. The mean over all pairs was asked for."""
    table = _cosines(W_dec).abs()
    return float((table - torch.eye(len(table), device=table.device) * 9).amax(dim=1).mean())


def decoder_overlap__divides_by_all(W_dec):
    """You leave out the diagonal in the sum, and count it in the divisor. There are n (n - 1)
    ordered pairs."""
    table = _cosines(W_dec).abs()
    return float(table.sum() - table.diagonal().sum()) / len(table) ** 2


def decoder_overlap__half_the_sum(W_dec):
    """You sum the pairs above the diagonal and divide by n (n - 1). There are half as many of
    them."""
    n = len(W_dec)
    return float(_cosines(W_dec).abs().triu(1).sum()) / (n * (n - 1))


def decoder_overlap__floor_too_high(W_dec):
    """Your floor under the lengths is so high that short rows shrink. It should only save a row of
    zeros."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True).clamp(min=1e-2)
    return _off((unit @ unit.T).abs())


def decoder_overlap__drops_zero_rows(W_dec):
    """You leave out rows of zeros. The statement counts them, with cosine 0."""
    return _off(_cosines(W_dec[W_dec.norm(dim=1) > 0]).abs())


# ------------------------------------------------------------------------- j2. mates_and_strangers


def _masks(C, group):
    same = group[:, None] == group
    own = torch.eye(len(C), dtype=torch.bool, device=C.device)
    return same & ~own, ~same


def _two(parts, masks):
    return tuple(float((parts * mask).sum(dim=1).mean()) for mask in masks)


def mates_and_strangers__itself_is_a_mate(C, group):
    """You count the feature itself among its mates. It is in its own group, so take the diagonal
    out."""
    parts = C.square() / C.square().sum(dim=1, keepdim=True)
    same = group[:, None] == group
    return _two(parts, (same, ~same))


def mates_and_strangers__not_normalised(C, group):
    """You do not divide by the row's sum of squares. Long rows count more then, and the numbers are
    no shares."""
    return _two(C.square(), _masks(C, group))


def mates_and_strangers__absolute_values(C, group):
    """You take shares of the sum of absolute values. Squares were asked for: they add up to the
    squared length."""
    return _two(C.abs() / C.abs().sum(dim=1, keepdim=True), _masks(C, group))


def mates_and_strangers__shares_of_the_whole(C, group):
    """You divide by the sum over the *whole* table. Each row has its own shares, and then comes the
    mean."""
    return tuple(float((C.square() * m).sum() / C.square().sum()) for m in _masks(C, group))


def mates_and_strangers__columns(C, group):
    """You normalise columns. A latent is a row of C."""
    parts = C.square() / C.square().sum(dim=0, keepdim=True)
    return _two(parts.T, _masks(C, group))


def mates_and_strangers__mean_per_feature(C, group):
    """You take means over all entries. A row's share is the *sum* of its entries; the mean is over
    rows."""
    parts = C.square() / C.square().sum(dim=1, keepdim=True)
    a, b = _masks(C, group)
    return float((parts * a).mean()), float((parts * b).mean())


def mates_and_strangers__signed(C, group):
    """You forget the squares. With signs the parts cancel, and they are no shares of a length."""
    total = C.square().sum(dim=1, keepdim=True).sqrt()
    return _two(C / total, _masks(C, group))


def mates_and_strangers__swapped(C, group):
    """You return the strangers first. The mates' share is the first of the two numbers."""
    parts = C.square() / C.square().sum(dim=1, keepdim=True)
    a, b = _masks(C, group)
    return _two(parts, (b, a))


# -------------------------------------------------------------------------- h. tokenwise_explained


def tokenwise_explained__ratio_of_means(x, x_hat):
    """That is the usual explained variance: one ratio of two means. Here each token has a ratio of
    its own, and then comes the mean."""
    return float(1 - (x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum())


def tokenwise_explained__not_centred(x, x_hat):
    """You divide by the token's squared length. Divide by its squared distance from the mean."""
    return float((1 - (x - x_hat).square().sum(dim=1) / x.square().sum(dim=1)).mean())


def tokenwise_explained__per_dimension(x, x_hat):
    """You form a ratio per dimension (sums over tokens). One ratio per token was asked for: sum
    over dimensions."""
    total = (x - x.mean(dim=0)).square().sum(dim=0)
    return float((1 - (x - x_hat).square().sum(dim=0) / total).mean())


def tokenwise_explained__unexplained(x, x_hat):
    """You return what is not explained. Subtract it from 1."""
    total = (x - x.mean(dim=0)).square().sum(dim=1)
    return float(((x - x_hat).square().sum(dim=1) / total).mean())


def tokenwise_explained__own_mean(x, x_hat):
    """You subtract each token's own mean over its dimensions. The mean is that of the tokens: a
    vector."""
    total = (x - x.mean(dim=1, keepdim=True)).square().sum(dim=1)
    return float((1 - (x - x_hat).square().sum(dim=1) / total).mean())


def tokenwise_explained__one_number_as_mean(x, x_hat):
    """Your mean is one number, over tokens and dimensions. It is a vector: each dimension has its
    own mean over the tokens."""
    total = (x - x.mean()).square().sum(dim=1)
    return float((1 - (x - x_hat).square().sum(dim=1) / total).mean())


def tokenwise_explained__lengths(x, x_hat):
    """You divide lengths. Their squares were asked for."""
    total = (x - x.mean(dim=0)).norm(dim=1)
    return float((1 - (x - x_hat).norm(dim=1) / total).mean())


def tokenwise_explained__median(x, x_hat):
    """You take the median over tokens. It hides the tokens near the mean, which are the point; the
    mean was asked for."""
    total = (x - x.mean(dim=0)).square().sum(dim=1)
    return float((1 - (x - x_hat).square().sum(dim=1) / total).median())


# -------------------------------------------------------------------------------- i. pareto_front


def pareto_front__strict_in_both(less, more):
    """Beaten means for you: worse in both. An item with as much of one and worse in the other is
    beaten, too."""
    return ~((less < less[:, None]) & (more > more[:, None])).any(dim=1)


def pareto_front__equals_beat(less, more):
    """In yours an item is beaten by an equal one (or by itself). One of the two must be strictly
    better."""
    as_good = (less <= less[:, None]) & (more >= more[:, None])
    return ~(as_good & ~torch.eye(len(less), dtype=torch.bool, device=less.device)).any(dim=1)


def pareto_front__other_direction(less, more):
    """Yours is the front of the *worst*: items that beat nobody. Turn the comparison round."""
    as_good = (less >= less[:, None]) & (more <= more[:, None])
    better = (less > less[:, None]) | (more < more[:, None])
    return ~(as_good & better).any(dim=1)


def pareto_front__both_large(less, more):
    """You want both large. Of `less`, less is better."""
    as_good = (less >= less[:, None]) & (more >= more[:, None])
    better = (less > less[:, None]) | (more > more[:, None])
    return ~(as_good & better).any(dim=1)


def pareto_front__the_beaten(less, more):
    """You return those that are beaten. The front is the rest."""
    as_good = (less <= less[:, None]) & (more >= more[:, None])
    better = (less < less[:, None]) | (more > more[:, None])
    return (as_good & better).any(dim=1)


def pareto_front__beaten_in_one(less, more):
    """For you an item is beaten by whoever is better in *one*. It takes at least as good in the
    other."""
    return ~((less < less[:, None]) | (more > more[:, None])).any(dim=1)


def pareto_front__best_ratio(less, more):
    """You rank by the ratio. The front needs no exchange rate: it is what no other item beats on
    both."""
    ratio = more / less.clamp(min=1e-12)
    return ratio >= ratio.max()


def pareto_front__best_for_some_weights(less, more):
    """You keep what is best for *some* weighting of the two. An item can be best for none and still
    be beaten by nobody: look at a dent in the front."""

    def unit(v):
        return (v - v.min()) / (v.max() - v.min()).clamp(min=1e-12)

    values = [w / 1e3 * unit(more) - (1 - w / 1e3) * unit(less) for w in range(1, 1000)]
    return torch.stack([value == value.max() for value in values]).any(dim=0)


def pareto_front__ties_in_less_dropped(less, more):
    """You compare only items with strictly less. Of two with as much of `less`, the one with less
    of `more` is beaten."""
    return ~((less < less[:, None]) & (more >= more[:, None])).any(dim=1)


# ------------------------------------------------------------------------------------ predictions


def predict_two_latents__as_before():
    """So it was two blocks earlier. Between them the first token of every row has grown so long
    that nothing else is left in a sum of squares."""
    return "less than 20 %"


def predict_two_latents__a_part():
    """Even more: the first token of every row is so long that one direction holds nearly all of the
    sum of squares."""
    return "20 % to 80 %"


def predict_regimes__some():
    """So it looks if the rivals on the activation are tuned badly. With enough weight decay among
    them nothing is left."""
    return "in one or two"


def predict_regimes__most():
    """That was the hope: few latents, little to learn. But the activation has what the latents
    have, and weight decay keeps a probe from learning noise as well."""
    return "in three or four"


def predict_controls__none():
    """A random direction is often active on words that have something in common. A decoder that
    was never trained is full of them."""
    return "none"


def predict_controls__scrambled():
    """It is the other way round. The scrambled model's stream knows little but the word itself, and
    its SAE is explained worst here."""
    return "the scrambled model, not the frozen decoder"


def predict_controls__both():
    """Close, but the scrambled model's latents are explained worse, by almost 0.1."""
    return "both"


def predict_proxy__sparsity():
    """A sparser SAE is not a truer one: with too few active latents rows become mixtures, with too
    many as well."""
    return "sparsity (-L0)"


def predict_proxy__probes():
    """It finds the best SAE, and costs nothing. But in the order of all the others it is beaten by
    the variance explained: too narrow and too short runs do badly on that."""
    return "one-latent probes"


def predict_proxy__holes():
    """Its tau is negative. With many active latents none is ever silent, so an SAE without holes
    may have rows that are mixtures."""
    return "no holes"


def predict_proxy__overlap():
    """Its tau is about 0 on this grid, where width and training vary too: rows can be far from the
    features and far from each other."""
    return "little overlap"


def predict_two_variances__equal():
    """Tokens near the mean have a small divisor. Their ratios are bad, and in a mean of ratios each
    counts as much as a token far out."""
    return "within 0.002"


def predict_two_variances__larger():
    """The other way round: tokens near the mean have a small divisor, so their ratio is bad, and in
    a mean of ratios they count fully."""
    return "larger by more than 0.002"


def predict_best_k__none():
    """Three features are on in a row. With two latents each has to stand for several; with five,
    strangers are mixed in."""
    return "in none"


def predict_best_k__some():
    """In three of the four. Among exclusive features this run got stuck at k = 3."""
    return "in one or two"
