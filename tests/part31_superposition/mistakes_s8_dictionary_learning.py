"""Wrong answers that learners of 3.1.8 give, each with what a tutor would say."""

import math

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA, FastICA


def _unit(v):
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-8)


def _cosines(A, B):
    return _unit(A) @ _unit(B).T


# ----------------------------------------------------------------------------- a1. zipf_probability


def _zipf(n_feature, exponent, mean_l0, first=1.0):
    weight = (torch.arange(n_feature, dtype=torch.float32) + first) ** -exponent
    return mean_l0 * weight / weight.sum()


def _checked(p):
    if p.max() > 1:
        raise ValueError("a probability would be above 1")
    return p


def zipf_probability__sums_to_one(n_feature, exponent, mean_l0):
    """Your probabilities sum to 1, as if exactly one feature were active per row. They are not
    the chances of a single draw: on average `mean_l0` features are active together."""
    return _zipf(n_feature, exponent, 1.0)


def zipf_probability__mean_is_l0_over_one(n_feature, exponent, mean_l0):
    """Your most frequent feature has probability `mean_l0`. Scale the *sum*, not the largest."""
    weight = torch.arange(1, n_feature + 1, dtype=torch.float32) ** -exponent
    return _checked(mean_l0 * weight)


def zipf_probability__ranks_from_two(n_feature, exponent, mean_l0):
    """The first feature should be 2^a times as frequent as the second. Which rank does your
    first feature have?"""
    return _checked(_zipf(n_feature, exponent, mean_l0, 2.0))


def zipf_probability__rarest_first(n_feature, exponent, mean_l0):
    """Your probabilities grow with the rank. The exponent is negative: rank 1 is the most
    frequent."""
    return _checked(_zipf(n_feature, exponent, mean_l0).flip(0))


def zipf_probability__exponential(n_feature, exponent, mean_l0):
    """Your probabilities fall like exp(-a i). A power law falls like i^(-a), much more slowly at
    the end: its tail is the point."""
    weight = torch.exp(-exponent * torch.arange(n_feature, dtype=torch.float32))
    return _checked(mean_l0 * weight / weight.sum())


def zipf_probability__clamped(n_feature, exponent, mean_l0):
    """You cut probabilities off at 1 instead of refusing. Then they no longer sum to `mean_l0`,
    and nobody is told."""
    return _zipf(n_feature, exponent, mean_l0).clamp(max=1)


def zipf_probability__no_check(n_feature, exponent, mean_l0):
    """With a large `mean_l0` your first probability is above 1. That is no probability: raise a
    ValueError."""
    return _zipf(n_feature, exponent, mean_l0)


def zipf_probability__one_refused(n_feature, exponent, mean_l0):
    """You refuse a probability of exactly 1. That is allowed: the feature is always active."""
    p = _zipf(n_feature, exponent, mean_l0)
    if p.max() >= 1:
        raise ValueError("a probability would be 1 or more")
    return p


def zipf_probability__mean_per_feature(n_feature, exponent, mean_l0):
    """The *mean* of your probabilities is `mean_l0`. It should be their sum: the expected number
    of active features."""
    return _checked(_zipf(n_feature, exponent, mean_l0) * n_feature)


# ------------------------------------------------------------------------------ a2. correlated_mask


def _randn(gen, *size):
    return torch.randn(size, generator=gen, device=gen.device)


def _shared(group, n, gen):
    return _randn(gen, n, int(group.max()) + 1)[:, group]


def _cut(probability):
    return torch.special.ndtri(1 - probability)


def correlated_mask__no_square_roots(probability, group, rho, n, gen):
    """You mix with weights rho and 1 - rho. Then z has variance rho^2 + (1 - rho)^2 < 1, so
    features are active less often than asked. Variances add, not standard deviations."""
    z = rho * _shared(group, n, gen) + (1 - rho) * _randn(gen, n, len(group))
    return z > _cut(probability)


def correlated_mask__not_shared(probability, group, rho, n, gen):
    """The number that a group shares is drawn anew for every feature, so nothing is shared. It
    needs one column per *group*."""
    z = math.sqrt(rho) * _randn(gen, n, len(group)) + math.sqrt(1 - rho) * _randn(
        gen, n, len(group)
    )
    return z > _cut(probability)


def correlated_mask__one_group_for_all(probability, group, rho, n, gen):
    """All features share one number, whatever their group. Features of different groups should be
    independent."""
    z = math.sqrt(rho) * _randn(gen, n, 1) + math.sqrt(1 - rho) * _randn(gen, n, len(group))
    return z > _cut(probability)


def correlated_mask__shared_over_rows(probability, group, rho, n, gen):
    """The shared number is drawn once for the whole batch. Draw one for every row and group."""
    shared = _randn(gen, 1, int(group.max()) + 1)[:, group]
    return math.sqrt(rho) * shared + math.sqrt(1 - rho) * _randn(gen, n, len(group)) > _cut(
        probability
    )


def correlated_mask__off_instead_of_on(probability, group, rho, n, gen):
    """Your features are *off* with the given probability. Which tail of the normal law has size
    p?"""
    z = math.sqrt(rho) * _shared(group, n, gen) + math.sqrt(1 - rho) * _randn(gen, n, len(group))
    return z < _cut(probability)


def correlated_mask__uniform_threshold(probability, group, rho, n, gen):
    """You compare a normal number with 1 - p itself. The threshold must be the *quantile* of the
    normal law: ndtri."""
    z = math.sqrt(rho) * _shared(group, n, gen) + math.sqrt(1 - rho) * _randn(gen, n, len(group))
    return z > 1 - probability


def correlated_mask__sum_not_scaled(probability, group, rho, n, gen):
    """The feature's own number keeps its full weight, so z has variance 1 + rho, and features are
    active too often. Scale it by sqrt(1 - rho)."""
    return math.sqrt(rho) * _shared(group, n, gen) + _randn(gen, n, len(group)) > _cut(probability)


def correlated_mask__roles_exchanged(probability, group, rho, n, gen):
    """You exchanged rho and 1 - rho: your features are more alike, the smaller rho is."""
    z = math.sqrt(1 - rho) * _shared(group, n, gen) + math.sqrt(rho) * _randn(gen, n, len(group))
    return z > _cut(probability)


def correlated_mask__group_all_or_none(probability, group, rho, n, gen):
    """Within a group all is decided by the shared number alone. The feature's own number is
    missing."""
    return _shared(group, n, gen) > _cut(probability)


def correlated_mask__own_generator(probability, group, rho, n, gen):
    """You make a generator of your own, so every call returns the same mask. Draw from `gen`."""
    gen = torch.Generator(gen.device).manual_seed(0)
    z = math.sqrt(rho) * _shared(group, n, gen) + math.sqrt(1 - rho) * _randn(gen, n, len(group))
    return z > _cut(probability)


# ----------------------------------------------------------------------------- a3. dictionary_batch


def _rand(gen, *size):
    return torch.rand(size, generator=gen, device=gen.device)


def dictionary_batch__no_magnitude(D, active, noise, gen):
    """Every active feature has the code 1. Its magnitude is random, uniform on [0.5, 1.5]."""
    f = active.to(D.dtype)
    return f @ D + noise * _randn(gen, len(f), D.shape[1]), f


def dictionary_batch__magnitude_from_zero(D, active, noise, gen):
    """Your magnitudes lie between 0 and 1. Shift them: they should lie between 0.5 and 1.5."""
    f = torch.where(active, _rand(gen, *active.shape), 0.0)
    return f @ D + noise * _randn(gen, len(f), D.shape[1]), f


def dictionary_batch__one_magnitude_per_row(D, active, noise, gen):
    """All active features of a row have the same magnitude. Draw one number per entry."""
    f = torch.where(active, 0.5 + _rand(gen, len(active), 1), 0.0)
    return f @ D + noise * _randn(gen, len(f), D.shape[1]), f


def dictionary_batch__one_magnitude_per_feature(D, active, noise, gen):
    """A feature has the same magnitude in every row. Draw one number per entry."""
    f = torch.where(active, 0.5 + _rand(gen, 1, active.shape[1]), 0.0)
    return f @ D + noise * _randn(gen, len(f), D.shape[1]), f


def dictionary_batch__noise_on_the_codes(D, active, noise, gen):
    """You add the noise to the codes, so it only lies along features, and codes of inactive
    features are not 0. It belongs to x, in all dimensions."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    f = f + noise * _randn(gen, *f.shape)
    return f @ D, f


def dictionary_batch__noise_decoded(D, active, noise, gen):
    """You add the noise to the codes before they become x, so x has noise along the features only.
    Each entry of x has noise of its own."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    return (f + noise * _randn(gen, *f.shape)) @ D, f


def dictionary_batch__noise_squared(D, active, noise, gen):
    """`noise` is a standard deviation, and you use it as a variance or the other way round: the
    noise has the wrong size."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    return f @ D + noise**2 * _randn(gen, len(f), D.shape[1]), f


def dictionary_batch__noise_rooted(D, active, noise, gen):
    """You take `noise` for a variance and scale by its square root. It is the standard deviation
    already."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    return f @ D + math.sqrt(noise) * _randn(gen, len(f), D.shape[1]), f


def dictionary_batch__uniform_noise(D, active, noise, gen):
    """Your noise comes from `rand`: it is never negative, so its mean is not 0. Use `randn`."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    return f @ D + noise * _rand(gen, len(f), D.shape[1]), f


def dictionary_batch__noise_not_normal(D, active, noise, gen):
    """Your noise has the right standard deviation, but it is uniform. Asked for is normal noise:
    `torch.randn`."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    uniform = (_rand(gen, len(f), D.shape[1]) - 0.5) * math.sqrt(12)
    return f @ D + noise * uniform, f


def dictionary_batch__one_noise_per_row(D, active, noise, gen):
    """All dimensions of a row get the same noise. Draw one number per entry of x."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    return f @ D + noise * _randn(gen, len(f), 1), f


def dictionary_batch__no_noise(D, active, noise, gen):
    """There is no noise in your x. The argument `noise` is never used."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    return f @ D, f


def dictionary_batch__order_exchanged(D, active, noise, gen):
    """You return (f, x). The text asks for x first."""
    f = torch.where(active, 0.5 + _rand(gen, *active.shape), 0.0)
    return f, f @ D + noise * _randn(gen, len(f), D.shape[1])


# -------------------------------------------------------------------------------- b1. directed_mmcs


def directed_mmcs__other_direction(source, target):
    """You go from the target to the source: a mean over the rows of the wrong dictionary. Which
    axis does the maximum remove?"""
    return _cosines(source, target).max(dim=0).values.mean()


def directed_mmcs__both_directions(source, target):
    """You average the two directions. They answer different questions, so keep them apart."""
    table = _cosines(source, target)
    return (table.max(dim=0).values.mean() + table.max(dim=1).values.mean()) / 2


def directed_mmcs__absolute(source, target):
    """You take the absolute value first, so an opposite direction counts as found. Our features
    are never negative: the sign matters."""
    return _cosines(source, target).abs().max(dim=1).values.mean()


def directed_mmcs__not_normalised(source, target):
    """You take inner products. A cosine does not depend on the lengths of the rows."""
    return (source @ target.T).max(dim=1).values.mean()


def directed_mmcs__mean_of_all(source, target):
    """You average all cosines. For each row of the source only the best one counts."""
    return _cosines(source, target).mean()


def directed_mmcs__max_of_all(source, target):
    """You return the single best cosine of all. Each row of the source has its own maximum; then
    take their mean."""
    return _cosines(source, target).max()


def directed_mmcs__nan_for_dead(source, target):
    """A row of zeros gives NaN, because you divide by its length. `unit` knows how to avoid
    that."""
    a, b = source / source.norm(dim=1, keepdim=True), target / target.norm(dim=1, keepdim=True)
    return (a @ b.T).max(dim=1).values.mean()


def directed_mmcs__sum(source, target):
    """You sum over the rows of the source. Take the mean, so that dictionaries of different sizes
    can be compared."""
    return _cosines(source, target).max(dim=1).values.sum()


def directed_mmcs__per_row(source, target):
    """You return one number per row. The mean over the rows is missing."""
    return _cosines(source, target).max(dim=1).values


# ----------------------------------------------------------------------------------- b2. one_to_one


def _assign(table, scored, maximize=True):
    rows, cols = linear_sum_assignment(scored.detach().cpu().numpy(), maximize=maximize)
    rows, cols = torch.as_tensor(rows).to(table.device), torch.as_tensor(cols).to(table.device)
    cosine, partner = table.new_zeros(len(table)), torch.full_like(table[:, 0], -1).long()
    cosine[rows], partner[rows] = table[rows, cols], cols
    return cosine, partner


def one_to_one__best_for_each(truth, latents):
    """You give each feature its best latent, and two features may share one. One to one means that
    each latent is used at most once."""
    best = _cosines(truth, latents).max(dim=1)
    return best.values, best.indices


def one_to_one__minimises(truth, latents):
    """You match the pairs that are *least* alike: `linear_sum_assignment` minimises unless you
    pass `maximize=True`."""
    table = _cosines(truth, latents)
    return _assign(table, table, maximize=False)


def one_to_one__greedy(truth, latents):
    """You take the best pair, then the best of what is left, and so on. That is greedy, and its
    sum may be smaller: the Hungarian algorithm looks at all assignments."""
    table = _cosines(truth, latents)
    left = table.clone()
    cosine, partner = table.new_zeros(len(truth)), torch.full_like(table[:, 0], -1).long()
    for _ in range(min(table.shape)):
        i, j = divmod(int(left.argmax()), table.shape[1])
        cosine[i], partner[i] = table[i, j], j
        left[i], left[:, j] = -2, -2
    return cosine, partner


def one_to_one__absolute(truth, latents):
    """You match by absolute cosines, so a feature may get a latent that points the other way. The
    sign counts here."""
    table = _cosines(truth, latents)
    return _assign(table, table.abs())


def one_to_one__inner_products(truth, latents):
    """You match by inner products: long rows win. Normalise first."""
    table = truth @ latents.T
    return _assign(table, table)


def one_to_one__matched_only(truth, latents):
    """With fewer latents than features your result is too short: it has the matched features only.
    Every feature needs an entry, 0 and -1 where it has no partner."""
    table = _cosines(truth, latents)
    rows, cols = linear_sum_assignment(table.detach().cpu().numpy(), maximize=True)
    rows, cols = torch.as_tensor(rows), torch.as_tensor(cols)
    return table[rows, cols], cols


def one_to_one__partner_zero(truth, latents):
    """A feature without a partner gets the index 0, which is a latent. Use -1."""
    table = _cosines(truth, latents)
    cosine, partner = _assign(table, table)
    return cosine, partner.clamp(min=0)


def one_to_one__per_latent(truth, latents):
    """Your result has one entry per latent: which feature it got. It should have one per feature:
    which latent it got."""
    table = _cosines(latents, truth)
    return _assign(table, table)


# ------------------------------------------------------------------------------- c1. ica_dictionary


def _ica(x, seed):
    ica = FastICA(n_components=x.shape[1], random_state=seed, max_iter=1000, tol=1e-3)
    return ica.fit(x.double().cpu().numpy())


def _both(D, x):
    D = torch.as_tensor(D).to(x)
    return torch.cat([D, -D])


def ica_dictionary__unmixing(x, seed):
    """You return the rows of `components_`. They *un*mix: they say how to get the sources from x.
    A dictionary says how x is made of the sources: `mixing_`."""
    return _unit(_both(_ica(x, seed).components_, x))


def ica_dictionary__columns_of_the_unmixing(x, seed):
    """You return the columns of `components_`. It is the matrix that *un*mixes; transposed it is
    still not the one that mixes. The directions are the columns of `mixing_`."""
    return _unit(_both(_ica(x, seed).components_.T, x))


def ica_dictionary__unmixing_not_unit(x, seed):
    """You return `components_` as it is: rows that *un*mix, of any length. A dictionary says how
    x is made of the sources: the columns of `mixing_`, scaled to length 1."""
    return _both(_ica(x, seed).components_, x)


def ica_dictionary__unmixing_one_sign(x, seed):
    """You return the rows of `components_`, in one sign. They *un*mix; the directions are the
    columns of `mixing_`, and each needs its opposite beside it."""
    return _unit(torch.as_tensor(_ica(x, seed).components_).to(x))


def ica_dictionary__not_transposed(x, seed):
    """You return the *rows* of the mixing matrix. x = s A^T, so the directions are the columns of
    A."""
    return _unit(_both(_ica(x, seed).mixing_, x))


def ica_dictionary__one_sign(x, seed):
    """Each direction comes in one sign only, and ICA cannot know which is right. Add the
    opposites."""
    return _unit(torch.as_tensor(_ica(x, seed).mixing_.T).to(x))


def ica_dictionary__not_unit(x, seed):
    """Your rows do not have length 1. Directions have no size: normalise them."""
    return _both(_ica(x, seed).mixing_.T, x)


def ica_dictionary__pca(x, seed):
    """These are principal directions: orthogonal, and ordered by variance. Independent sources
    need not be mixed by an orthogonal matrix."""
    return _both(PCA().fit(x.double().cpu().numpy()).components_, x)


def ica_dictionary__sources(x, seed):
    """You return the sources, one row per data row. Asked for are the directions in the space of
    x."""
    return torch.as_tensor(_ica(x, seed).transform(x.double().cpu().numpy())).to(x)


def ica_dictionary__float64(x, seed):
    """NumPy gave you double precision, and you kept it. The result should have the dtype of x."""
    D = torch.as_tensor(_ica(x, seed).mixing_.T)
    return _unit(torch.cat([D, -D]))


def ica_dictionary__normalised_columns(x, seed):
    """You scale the columns of the result to length 1. Its *rows* are the directions."""
    D = _both(_ica(x, seed).mixing_.T, x)
    return D / D.norm(dim=0)


# ------------------------------------------------------------------------------------ c2. omp_codes


def _fit(x, rows):
    gram = rows @ rows.mT + 1e-6 * torch.eye(rows.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(gram, rows @ x[:, :, None])


def _pursue(x, D, k, score=lambda s: s.abs(), again=False):
    chosen = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    residual = x
    for _ in range(k):
        gain = score(residual @ D.T)
        gain = gain if again else gain.scatter(1, chosen, -torch.inf)
        chosen = torch.cat([chosen, gain.argmax(dim=1, keepdim=True)], dim=1)
        value = _fit(x, D[chosen])
        residual = x - (value.mT @ D[chosen])[:, 0]
    return x.new_zeros(len(x), len(D)).scatter(1, chosen, value[..., 0])


def omp_codes__chosen_twice(x, D, k):
    """You may choose a row twice: where nothing is left of x, all products are 0, and the same row
    wins again. Shut out the rows that are chosen already."""
    return _pursue(x, D, k, again=True)


def omp_codes__no_absolute_value(x, D, k):
    """You choose the largest product, not the largest in size. A strongly negative product is a
    good choice, too: its code is negative."""
    return _pursue(x, D, k, score=lambda s: s)


def omp_codes__no_refit(x, D, k):
    """You keep the earlier codes as they were. That is plain matching pursuit. The O in OMP means:
    after each choice all chosen rows are fitted again, together."""
    codes, residual = x.new_zeros(len(x), len(D)), x
    for _ in range(k):
        score = (residual @ D.T).masked_fill(codes != 0, 0)
        best = score.abs().argmax(dim=1, keepdim=True)
        codes = codes.scatter_add(1, best, score.gather(1, best))
        residual = x - codes @ D
    return codes


def omp_codes__all_at_once(x, D, k):
    """You choose the k rows with the largest products with x itself. After the first choice it is
    the *residual* that counts: two rows that are nearly equal should not both be chosen."""
    chosen = (x @ D.T).abs().topk(k, dim=1).indices
    return x.new_zeros(len(x), len(D)).scatter(1, chosen, _fit(x, D[chosen])[..., 0])


def omp_codes__projections(x, D, k):
    """You choose well, but your codes are the projections x . d of the chosen rows. Rows that are
    not orthogonal share what they explain: solve for all of them together."""
    codes = _pursue(x, D, k)
    return torch.where(codes != 0, x @ D.T, 0.0)


def omp_codes__one_too_few(x, D, k):
    """Your codes have k - 1 entries. Count the choices: the first one counts, too."""
    return _pursue(x, D, k - 1) if k > 1 else x.new_zeros(len(x), len(D))


def omp_codes__same_rows_for_all(x, D, k):
    """All data rows use the same k dictionary rows. Each data row makes its own choice."""
    chosen = (x @ D.T).abs().sum(dim=0).topk(k).indices.expand(len(x), k)
    return x.new_zeros(len(x), len(D)).scatter(1, chosen, _fit(x, D[chosen])[..., 0])


def omp_codes__refits_the_residual(x, D, k):
    """You fit the chosen rows to the residual instead of to x, so your codes shrink to nothing.
    The targets of the least squares are the original rows."""
    chosen = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    residual = x
    for _ in range(k):
        score = (residual @ D.T).abs().scatter(1, chosen, -1.0)
        chosen = torch.cat([chosen, score.argmax(dim=1, keepdim=True)], dim=1)
        value = _fit(residual, D[chosen])
        residual = residual - (value.mT @ D[chosen])[:, 0]
    return x.new_zeros(len(x), len(D)).scatter(1, chosen, value[..., 0])


def omp_codes__compact(x, D, k):
    """You return k values per data row. Asked for are dense codes: one entry per dictionary row,
    0 where it is not used."""
    codes = _pursue(x, D, k)
    return codes[codes != 0].reshape(len(x), -1)


# -------------------------------------------------------------------------------- c3. best_rank_one


def _first(error):
    direction = torch.linalg.eigh(error.T @ error).eigenvectors[:, -1]
    codes = error @ direction
    return (-direction, -codes) if codes.sum() < 0 else (direction, codes)


def best_rank_one__smallest(error):
    """This is the direction that explains *least*. `eigh` sorts its eigenvalues in ascending
    order."""
    direction = torch.linalg.eigh(error.T @ error).eigenvectors[:, 0]
    codes = error @ direction
    return (-direction, -codes) if codes.sum() < 0 else (direction, codes)


def best_rank_one__row_of_eigenvectors(error):
    """You took a row of the matrix of eigenvectors. They are its columns."""
    direction = torch.linalg.eigh(error.T @ error).eigenvectors[-1]
    codes = error @ direction
    return (-direction, -codes) if codes.sum() < 0 else (direction, codes)


def best_rank_one__mean(error):
    """You use the mean of the rows as direction. The mean is not the direction of largest spread
    about zero: rows of opposite sign cancel in it."""
    direction = _unit(error.mean(dim=0))
    return direction, error @ direction


def best_rank_one__codes_not_scaled(error):
    """Your codes have length 1: the singular value is lost. Direction times codes should be as
    large as the error itself."""
    direction, codes = _first(error)
    return direction, codes / codes.norm()


def best_rank_one__scale_in_the_direction(error):
    """Your direction carries the size and your codes have length 1. The direction is a dictionary
    row: it needs length 1."""
    direction, codes = _first(error)
    return direction * codes.norm(), codes / codes.norm()


def best_rank_one__centred(error):
    """You subtract the mean first, as PCA does. Here nothing is centred: the codes have to explain
    the mean, too."""
    centred = error - error.mean(dim=0)
    direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    codes = error @ direction
    return (-direction, -codes) if codes.sum() < 0 else (direction, codes)


def best_rank_one__centred_svd(error):
    """You subtract the mean row first, as PCA does. Here nothing is centred: the mean has to be
    explained, too."""
    direction = torch.linalg.svd(error - error.mean(dim=0), full_matrices=False).Vh[0]
    codes = error @ direction
    return (-direction, -codes) if codes.sum() < 0 else (direction, codes)


def best_rank_one__sign_of_the_direction(error):
    """You choose the sign so that the *direction* sums to something positive. A direction may well
    be negative; the codes should not be."""
    direction, codes = _first(error)
    return (-direction, -codes) if direction.sum() < 0 else (direction, codes)


def best_rank_one__sign_flipped(error):
    """The signs are the wrong way round: your codes sum to a negative number."""
    direction, codes = _first(error)
    return -direction, -codes


def _svd(error):
    U, S, Vh = torch.linalg.svd(error, full_matrices=False)
    return Vh[0], U[:, 0] * S[0]


def _eigh(error):
    direction = torch.linalg.eigh(error.T @ error).eigenvectors[:, -1]
    return direction, error @ direction


def best_rank_one__sign_left_open(error):
    """You take the sign that the decomposition happens to give. Choose it: if the codes sum to a
    negative number, turn the direction *and* the codes round."""
    return _svd(error)


def best_rank_one__sign_left_open_eigh(error):
    """You take the sign that `eigh` happens to give. Choose it: if the codes sum to a negative
    number, turn the direction *and* the codes round."""
    return _eigh(error)


def best_rank_one__only_the_codes_flipped(error):
    """You turn the codes round, but not the direction with them. Their product changed its sign."""
    direction, codes = _svd(error)
    return direction, -codes if codes.sum() < 0 else codes


def best_rank_one__only_the_codes_flipped_eigh(error):
    """You turn the codes round, but not the direction with them: their product changed its sign."""
    direction, codes = _eigh(error)
    return direction, -codes if codes.sum() < 0 else codes


def best_rank_one__only_the_direction_flipped(error):
    """You turn the direction round, but not the codes with it. Their product changed its sign."""
    direction, codes = _svd(error)
    return -direction if codes.sum() < 0 else direction, codes


def best_rank_one__only_the_direction_flipped_eigh(error):
    """You turn the direction round, but not the codes with it: their product changed its sign."""
    direction, codes = _eigh(error)
    return -direction if codes.sum() < 0 else direction, codes


def best_rank_one__absolute_codes(error):
    """You take the absolute value of each code. A few codes may well be negative; only their sum
    should not be. Turn all of them round, or none."""
    direction, codes = _first(error)
    return direction, codes.abs()


def best_rank_one__order_exchanged(error):
    """You return the codes first. The direction comes first, then the codes."""
    direction, codes = _first(error)
    return codes, direction


def best_rank_one__sign_of_the_first_code(error):
    """You look at the first code only. The *sum* of the codes should not be negative."""
    direction, codes = _first(error)
    return (-direction, -codes) if codes[0] < 0 else (direction, codes)


# ----------------------------------------------------------------------------------------- c4. ksvd


def _ksvd(
    x, D, k, n_iter, own=True, live=True, restart=True, mark=True, codes_too=True, worst=True,
    least=2, source="data", stale=False, stop=False, recode=True, everybody=False,
):  # fmt: skip
    D, codes = D.clone(), None
    for _ in range(n_iter):
        codes = _pursue(x, D, k) if recode or codes is None else codes
        residual = x - codes @ D
        first = residual.clone()
        for j in range(len(D)):
            rows = codes[:, j].nonzero()[:, 0]
            if len(rows) < least:
                if stop:
                    break
                if restart:
                    size = (first if stale else residual).square().sum(dim=1)
                    at = size.argmax() if worst else size.argmin()
                    new = residual[at] if source == "residual" else x[at]
                    D[j] = x[at] if source == "long" else _unit(new)
                    if mark:
                        residual[at], first[at] = 0, 0
                continue
            rows = torch.arange(len(x), device=x.device) if everybody else rows
            error = residual[rows] + (codes[rows, j, None] * D[j] if own else 0)
            D[j], new = _first(error)
            codes[rows, j] = new if codes_too else codes[rows, j]
            if live:
                residual[rows] = error - codes[rows, j, None] * D[j]
    return D


def ksvd__restarts_at_the_residual(x, D, k, n_iter):
    """An unused row starts again from what was *left* of the worst data row. Take the data row
    itself, scaled to length 1: then it is explained by one direction."""
    return _ksvd(x, D, k, n_iter, source="residual")


def ksvd__restart_not_unit(x, D, k, n_iter):
    """The data row that replaces an unused row is not scaled. Rows of the dictionary have length
    1, or OMP chooses the long ones."""
    return _ksvd(x, D, k, n_iter, source="long")


def ksvd__used_once_is_kept(x, D, k, n_iter):
    """A row that a single data row uses is kept in your code. It takes two data rows or more; else
    start it again."""
    return _ksvd(x, D, k, n_iter, least=1)


def ksvd__worst_row_of_the_beginning(x, D, k, n_iter):
    """You look for the worst data row in the residual from the beginning of the round. Rows before
    this one have been updated since: use the residual as it is now."""
    return _ksvd(x, D, k, n_iter, stale=True)


def ksvd__stops_at_an_unused_row(x, D, k, n_iter):
    """Your round ends at the first row without use (`break`). The rows behind it want their update,
    too: `continue`."""
    return _ksvd(x, D, k, n_iter, stop=True)


def ksvd__codes_found_once(x, D, k, n_iter):
    """You run OMP once, before the first round. New directions want new codes: run it at the
    beginning of every round."""
    return _ksvd(x, D, k, n_iter, recode=False)


def ksvd__own_part_not_added(x, D, k, n_iter):
    """You fit a row to the residual as it is. The residual lacks what this row explains now: add
    its own part back first, or it learns what *others* have left."""
    return _ksvd(x, D, k, n_iter, own=False)


def ksvd__residual_not_updated(x, D, k, n_iter):
    """You never update the residual within a round. The next row then repairs an error that the
    last one has already repaired."""
    return _ksvd(x, D, k, n_iter, live=False)


def ksvd__unused_rows_stay(x, D, k, n_iter):
    """A row that no data row uses stays as it is for ever. Start it again from the data row that
    is explained worst."""
    return _ksvd(x, D, k, n_iter, restart=False)


def ksvd__all_restart_at_one_row(x, D, k, n_iter):
    """All unused rows start again from the same data row. Set that data row's residual to 0, so
    that the next one takes another."""
    return _ksvd(x, D, k, n_iter, mark=False)


def ksvd__restart_at_the_best_row(x, D, k, n_iter):
    """Unused rows start again from the data row that is explained *best*. The worst one needs
    help."""
    return _ksvd(x, D, k, n_iter, worst=False)


def ksvd__codes_not_updated(x, D, k, n_iter):
    """You update a row, but keep its old codes in the residual. The rank-one fit gives both."""
    return _ksvd(x, D, k, n_iter, codes_too=False)


def ksvd__one_round(x, D, k, n_iter):
    """You do one round, whatever `n_iter` says."""
    return _ksvd(x, D, k, 1)


def ksvd__changes_its_input(x, D, k, n_iter):
    """You write into the dictionary that you were given. Make a copy first: the caller may start a
    second run from it."""
    D.copy_(_ksvd(x, D, k, n_iter))
    return D


def ksvd__all_rows_fit(x, D, k, n_iter):
    """You fit each dictionary row to the errors of *all* data rows. Then data rows that do not use
    it pull at it, too, and codes stop being sparse."""
    D = D.clone()
    for _ in range(n_iter):
        codes = _pursue(x, D, k)
        for j in range(len(D)):
            error = x - codes @ D + codes[:, j, None] * D[j]
            D[j], codes[:, j] = _first(error)
    return D


def ksvd__all_rows_pull(x, D, k, n_iter):
    """You ask how many data rows use a dictionary row, and then fit it to *all* of them. Those that
    do not use it pull at it, too."""
    return _ksvd(x, D, k, n_iter, everybody=True)


# --------------------------------------------------------------------------------- d. fista_codes


def _fista(
    x, D, l1, n_steps, factor=2.0, shrink=1.0, power=2, length=0.5, momentum=True, relu=True
):
    step = length / torch.linalg.matrix_norm(D, ord=2) ** power
    codes = ahead = x.new_zeros(len(x), len(D))
    t = 1.0
    for _ in range(n_steps):
        new = ahead - step * (factor * (ahead @ D - x) @ D.T + shrink * l1)
        new = new.relu() if relu else new
        later = (1 + math.sqrt(1 + 4 * t**2)) / 2
        ahead = new + (t - 1) / later * (new - codes) if momentum else new
        codes, t = new, later
    return codes


def fista_codes__no_momentum(x, D, l1, n_steps):
    """These are plain steps: ISTA. It converges, but slowly. The gradient should be taken at a
    point a little ahead."""
    return _fista(x, D, l1, n_steps, momentum=False)


def fista_codes__half_gradient(x, D, l1, n_steps):
    """The factor 2 of the gradient is missing: the squared error has no 1/2 in front here. So your
    penalty is twice as strong as it should be."""
    return _fista(x, D, l1, n_steps, factor=1.0)


def fista_codes__no_penalty(x, D, l1, n_steps):
    """`l1` does nothing in your code. You minimise the squared error alone."""
    return _fista(x, D, l1, n_steps, shrink=0.0)


def fista_codes__penalty_doubled(x, D, l1, n_steps):
    """Your penalty counts twice. This is right for *half* the squared error plus the penalty: is
    there a 1/2 in F?"""
    return _fista(x, D, l1, n_steps, shrink=2.0)


def fista_codes__no_relu(x, D, l1, n_steps):
    """Your codes become negative. Every step ends with a ReLU."""
    return _fista(x, D, l1, n_steps, relu=False)


def fista_codes__shrunk_from_both_sides(x, D, l1, n_steps):
    """You shrink negative codes towards 0, and they stay negative. That is the method for codes of
    either sign: which codes does F allow?"""
    step = 0.5 / torch.linalg.matrix_norm(D, ord=2) ** 2
    codes = ahead = x.new_zeros(len(x), len(D))
    t = 1.0
    for _ in range(n_steps):
        new = ahead - step * 2 * (ahead @ D - x) @ D.T
        new = new.sign() * (new.abs() - step * l1).relu()
        later = (1 + math.sqrt(1 + 4 * t**2)) / 2
        ahead, codes, t = new + (t - 1) / later * (new - codes), new, later
    return codes


def fista_codes__norm_not_squared(x, D, l1, n_steps):
    """Your step is 1 / (2 |D|). The Lipschitz constant has the *square* of the largest singular
    value; otherwise steps may overshoot."""
    return _fista(x, D, l1, n_steps, power=1)


def fista_codes__step_doubled(x, D, l1, n_steps):
    """Your step is 1 / |D|^2, twice as long as it may be. The squared error has no 1/2 in front, so
    its gradient has a factor 2, and so has the Lipschitz constant."""
    return _fista(x, D, l1, n_steps, length=1.0)


def fista_codes__frobenius(x, D, l1, n_steps):
    """You use the Frobenius norm (`D.norm()`). It is never too small, but often much too large, so
    your steps are needlessly short. Take the largest singular value."""
    step = 0.5 / D.norm() ** 2
    codes = ahead = x.new_zeros(len(x), len(D))
    t = 1.0
    for _ in range(n_steps):
        new = (ahead - step * (2 * (ahead @ D - x) @ D.T + l1)).relu()
        later = (1 + math.sqrt(1 + 4 * t**2)) / 2
        ahead, codes, t = new + (t - 1) / later * (new - codes), new, later
    return codes


def fista_codes__penalty_not_scaled(x, D, l1, n_steps):
    """You subtract `l1` itself inside the ReLU. It is part of the gradient, so it is multiplied by
    the step, too."""
    step = 0.5 / torch.linalg.matrix_norm(D, ord=2) ** 2
    codes = ahead = x.new_zeros(len(x), len(D))
    t = 1.0
    for _ in range(n_steps):
        new = (ahead - step * 2 * (ahead @ D - x) @ D.T - l1).relu()
        later = (1 + math.sqrt(1 + 4 * t**2)) / 2
        ahead, codes, t = new + (t - 1) / later * (new - codes), new, later
    return codes


def fista_codes__returns_ahead(x, D, l1, n_steps):
    """You return the point ahead, which was never clipped. Return the codes of the last step."""
    step = 0.5 / torch.linalg.matrix_norm(D, ord=2) ** 2
    codes = ahead = x.new_zeros(len(x), len(D))
    t = 1.0
    for _ in range(n_steps):
        new = (ahead - step * (2 * (ahead @ D - x) @ D.T + l1)).relu()
        later = (1 + math.sqrt(1 + 4 * t**2)) / 2
        ahead, codes, t = new + (t - 1) / later * (new - codes), new, later
    return ahead


def fista_codes__gradient_at_the_codes(x, D, l1, n_steps):
    """You take the gradient at the codes, and step from the point ahead. Both belong to the same
    point: the one ahead."""
    step = 0.5 / torch.linalg.matrix_norm(D, ord=2) ** 2
    codes = ahead = x.new_zeros(len(x), len(D))
    t = 1.0
    for _ in range(n_steps):
        new = (ahead - step * (2 * (codes @ D - x) @ D.T + l1)).relu()
        later = (1 + math.sqrt(1 + 4 * t**2)) / 2
        ahead, codes, t = new + (t - 1) / later * (new - codes), new, later
    return codes


# ------------------------------------------------------------------------------ e. smallest_cosine


def smallest_cosine__largest(D):
    """You return the largest cosine, and that is 1 for every row: with itself."""
    return _cosines(D, D).max(dim=1).values


def smallest_cosine__largest_other(D):
    """You return the largest cosine with *another* row: that finds near copies. Opposites have the
    smallest."""
    return _cosines(D, D).fill_diagonal_(-1).max(dim=1).values


def smallest_cosine__absolute(D):
    """You take absolute values, so an opposite looks like a copy, and the smallest is the most
    orthogonal one. Keep the sign."""
    return _cosines(D, D).abs().min(dim=1).values


def smallest_cosine__products(D):
    """You take inner products, so long rows count more. Rows need not have length 1 here."""
    return (D @ D.T).min(dim=1).values


def smallest_cosine__one_number(D):
    """You return one number for the whole dictionary. Each row has its own smallest cosine."""
    return _cosines(D, D).min()


def smallest_cosine__diagonal_zeroed(D):
    """You set the diagonal to 0, and then 0 wins where all other cosines are positive or where the
    row is alone. The diagonal is 1: it is never the smallest, so leave it."""
    return _cosines(D, D).fill_diagonal_(0).min(dim=1).values


def smallest_cosine__nan_for_dead(D):
    """A row of zeros gives NaN. `cosine_table` takes care of that."""
    a = D / D.norm(dim=1, keepdim=True)
    return (a @ a.T).min(dim=1).values


def smallest_cosine__columns(D):
    """You compare the columns: the dimensions of the space. The rows are the latents."""
    return _cosines(D.T, D.T).min(dim=1).values


# -------------------------------------------------------------------------------- f1. cheapest_code


def _pair_codes(x, D, transpose=True, size=torch.abs):
    pairs = D[torch.combinations(torch.arange(len(D), device=D.device), 2)]
    pairs = pairs[size(torch.linalg.det(pairs)) > 1e-6]
    return torch.linalg.solve(pairs.mT if transpose else pairs, x.T)


def _cheapest(cost, x):
    worst = torch.full_like(x[None, :, 0], torch.inf)
    return torch.cat([cost, worst]).min(dim=0).values


def cheapest_code__negative_codes_allowed(x, D):
    """You allow negative codes, so the sum can become smaller than any honest cost, even negative.
    Only pairs whose codes are both non-negative count."""
    return _cheapest(_pair_codes(x, D).sum(dim=1), x)


def cheapest_code__absolute_values(x, D):
    """You sum absolute values, so pairs with negative codes compete. Non-negative codes are a
    condition, not a price."""
    return _cheapest(_pair_codes(x, D).abs().sum(dim=1), x)


def cheapest_code__rows_as_columns(x, D):
    """You solve with the directions as rows of the matrix. In f1 d1 + f2 d2 = x they are its
    *columns*."""
    codes = _pair_codes(x, D, transpose=False)
    return _cheapest(codes.sum(dim=1).masked_fill((codes < -1e-6).any(dim=1), torch.inf), x)


def cheapest_code__dearest(x, D):
    """You take the most expensive pair. The question is the lowest cost."""
    codes = _pair_codes(x, D)
    bad = (codes < -1e-6).any(dim=1)
    cost = codes.sum(dim=1).masked_fill(bad, -torch.inf).max(dim=0).values
    return torch.where(cost.isinf(), torch.inf, cost)


def cheapest_code__squares(x, D):
    """You add the squares of the codes. That is an L2 cost; L1 adds the codes themselves."""
    codes = _pair_codes(x, D)
    return _cheapest(
        codes.square().sum(dim=1).masked_fill((codes < -1e-6).any(dim=1), torch.inf), x
    )


def cheapest_code__first_pair_only(x, D):
    """You use the first two rows only. The cheapest code may need any pair."""
    codes = _pair_codes(x, D[:2])
    return _cheapest(codes.sum(dim=1).masked_fill((codes < -1e-6).any(dim=1), torch.inf), x)


def cheapest_code__one_orientation(x, D):
    """You drop every pair with a negative determinant. It changes its sign when the two rows change
    places: parallel rows are those whose determinant is small in *size*."""
    codes = _pair_codes(x, D, size=lambda det: det)
    return _cheapest(codes.sum(dim=1).masked_fill((codes < -1e-6).any(dim=1), torch.inf), x)


def cheapest_code__zero_if_impossible(x, D):
    """A point that cannot be reconstructed costs 0 in your code: it looks free. It costs
    infinity."""
    codes = _pair_codes(x, D)
    out = _cheapest(codes.sum(dim=1).masked_fill((codes < -1e-6).any(dim=1), torch.inf), x)
    return torch.where(out.isinf(), 0.0, out)


def cheapest_code__neighbouring_pairs(x, D):
    """You try neighbouring rows only: (0, 1), (1, 2), … All pairs are needed, `combinations` lists
    them."""
    parts = [cheapest_code__first_pair_only(x, D[i : i + 2]) for i in range(len(D) - 1)]
    return torch.stack(parts).min(dim=0).values


def cheapest_code__rounding_too_generous(x, D):
    """You allow codes much below -1e-6. Rounding is far smaller, and points out of reach become
    possible."""
    codes = _pair_codes(x, D)
    return _cheapest(codes.sum(dim=1).masked_fill((codes < -1e-3).any(dim=1), torch.inf), x)


def cheapest_code__rounding_ignored(x, D):
    """You demand codes of exactly 0 or more. Rounding makes a code of 0 slightly negative, and a
    point on a dictionary row then seems impossible. Allow -1e-6."""
    codes = _pair_codes(x, D)
    return _cheapest(codes.sum(dim=1).masked_fill((codes < 0).any(dim=1), torch.inf), x)


def cheapest_code__zero_refused(x, D):
    """You demand codes above 0. A code of exactly 0 is allowed: a point may lie on a row."""
    codes = _pair_codes(x, D)
    return _cheapest(codes.sum(dim=1).masked_fill((codes <= 0).any(dim=1), torch.inf), x)


# --------------------------------------------------------------------------------- f2. square_costs


def square_costs__order_exchanged(p):
    """You return the rival first. The axes come first."""
    return torch.stack([math.sqrt(2) * p * (1 - p / 3), p])


def square_costs__full_square_only(p):
    """You scale the costs of the full square by p. But a row with one active feature costs the
    rival more than that: work out both cases."""
    return torch.stack([p, 2 * math.sqrt(2) / 3 * p])


def square_costs__both_active_only(p):
    """You count only the rows in which both features are active. With one active feature the rival
    costs sqrt(2)/2 on average."""
    return torch.stack([p, 2 * math.sqrt(2) / 3 * p**2])


def square_costs__one_active_only(p):
    """You count only the rows in which exactly one feature is active. Both are active with
    probability p^2, and that costs the rival sqrt(2) 2/3 on average."""
    return torch.stack([p, math.sqrt(2) * p * (1 - p)])


def square_costs__axes_of_one_feature(p):
    """The axes cost p / 2 in your formula. That is one feature; there are two of them."""
    return torch.stack([p / 2, math.sqrt(2) * p * (1 - p / 3)])


def square_costs__one_active_costs_one(p):
    """A single active feature costs the rival sqrt(2) times *its value*, and that is 1/2 on
    average, not 1."""
    return torch.stack([p, math.sqrt(2) * (2 / 3 * p**2 + 2 * p * (1 - p))])


def square_costs__one_active_costs_two_thirds(p):
    """You use 2/3 also where one feature is active. That is the mean of the larger of *two*
    numbers: what is the mean of a single one?"""
    return torch.stack([p, math.sqrt(2) * 2 / 3 * (p**2 + 2 * p * (1 - p))])


def square_costs__axes_squared(p):
    """The axes' cost is linear in p: each of two features is active with probability p and then
    costs 1/2 on average."""
    return torch.stack([p**2, math.sqrt(2) * p * (1 - p / 3)])


def square_costs__no_root(p):
    """The factor sqrt(2) is missing: the rows of the rival have length 1, so the code of (1, 1) is
    sqrt(2), not 1."""
    return torch.stack([p, p * (1 - p / 3)])


def square_costs__one_case_once(p):
    """Exactly one feature is active with probability 2 p (1 - p): it can be either of the two."""
    return torch.stack([p, math.sqrt(2) * (2 / 3 * p**2 + p * (1 - p) / 2)])


def square_costs__minimum(p):
    """You used the mean of the *smaller* of two uniform numbers, 1/3. The rival costs the larger
    one: 2/3."""
    return torch.stack([p, math.sqrt(2) * (p**2 / 3 + p * (1 - p))])


def square_costs__stacked_last(p):
    """The two costs are on the last axis. They belong on a new first one."""
    return torch.stack([p, math.sqrt(2) * p * (1 - p / 3)], dim=-1)


# -------------------------------------------------------------------------------------- predictions


def predict_fooled_score__truth_to_latents():
    """From the truth, 20 of the 40 features find a perfect latent, and the others only a distant
    one. So this score notices that half is missing."""
    return "truth to latents"


def predict_fooled_score__one_to_one():
    """One to one, only 20 features get a perfect latent. The 20 copies are left for the other 20
    features, which they do not resemble."""
    return "one to one"


def predict_fooled_score__none():
    """One score is perfect. Go through the latents one by one: is each of them a true feature?"""
    return "none"


def predict_half_found__none():
    """One method looks for exactly what made the data: sums of a few directions from an
    overcomplete dictionary. It finds most of them."""
    return "none of them"


def predict_half_found__ksvd_and_others():
    """ICA does better than you may think: sparse sources are very non-Gaussian. But it has 20
    directions at most, and half of 40 would be all of them. NMF and PCA find next to nothing."""
    return "K-SVD and others"


def predict_half_found__others():
    """K-SVD looks for exactly what made the data: sums of a few directions from an overcomplete
    dictionary. The others assume something that is not true here."""
    return "others, but not K-SVD"


def predict_gap__small():
    """The encoder is one linear map and a ReLU. It cannot make latents compete for the same part of
    x, as an optimisation does, and that costs more than 2 %."""
    return "less than 2 %"


def predict_gap__large():
    """The encoder is trained for exactly this objective. It is not perfect, but it comes closer
    than that: to get as far, FISTA needs about eight steps."""
    return "more than 20 %"


def predict_restored_at__full_square():
    """At p = 1 the rival is cheaper: 0.943 against 1. A little sparsity is needed."""
    return 1.0


def predict_restored_at__half():
    """One need not go that far. Solve p = sqrt(2) p (1 - p / 3)."""
    return 0.5


def predict_restored_at__the_cost():
    """0.943 is what the rival costs in the full square, not a probability. Solve
    p = sqrt(2) p (1 - p / 3)."""
    return 0.9428


def predict_restored_at__one_over_root_two():
    """1 / sqrt(2) is the ratio of the costs when features are very rare, turned upside down. The
    tie is where sqrt(2) (1 - p / 3) = 1."""
    return 0.7071
