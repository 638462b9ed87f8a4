"""Wrong answers that learners of 3.1.9 give, each with what a tutor would say."""

import math

import torch
from torch.func import grad_and_value, vmap
from torch.nn.functional import logsigmoid


def _unit(v):
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-8)


def _cosines(A, B):
    return _unit(A) @ _unit(B).T


# -------------------------------------------------------------------------------- a1. pad_and_stack


def _pad(dictionaries, n_max, at_end=True, check=True):
    large = [len(D) for D in dictionaries if len(D) > n_max]
    if large and check:
        raise ValueError(f"{large[0]} rows do not fit into {n_max}")
    stack = dictionaries[0].new_zeros(len(dictionaries), n_max, dictionaries[0].shape[1])
    mask = stack.new_zeros(len(dictionaries), n_max)
    for i, D in enumerate(dictionaries):
        where = slice(0, len(D)) if at_end else slice(n_max - len(D), n_max)
        stack[i, where], mask[i, where] = D[:n_max], 1
    return stack, mask


def pad_and_stack__truncates(dictionaries, n_max):
    """You cut off rows that do not fit, in silence. A dictionary that loses rows is another
    dictionary: raise a ValueError."""
    return _pad(dictionaries, n_max, check=False)


def pad_and_stack__padding_first(dictionaries, n_max):
    """You put the padding before the rows. Then latent 0 of a small SAE is padding: put it
    behind."""
    return _pad(dictionaries, n_max, at_end=False)


def pad_and_stack__mask_from_values(dictionaries, n_max):
    """Your mask asks which rows are not zero. A dead latent has a row of zeros and is still real:
    the mask must come from the sizes."""
    stack, _ = _pad(dictionaries, n_max)
    return stack, (stack.norm(dim=-1) > 0).to(stack.dtype)


def pad_and_stack__mask_inverted(dictionaries, n_max):
    """Your mask is 1 for padding. It should be 1 for real rows, so that codes are multiplied by
    it."""
    stack, mask = _pad(dictionaries, n_max)
    return stack, 1 - mask


def pad_and_stack__boolean_mask(dictionaries, n_max):
    """Your mask is boolean. Give it the dtype of the rows: it is multiplied with codes, under
    vmap."""
    stack, mask = _pad(dictionaries, n_max)
    return stack, mask.bool()


def pad_and_stack__to_the_largest(dictionaries, n_max):
    """You pad to the largest dictionary and ignore `n_max`. Two stacks of different members should
    still have equal shapes."""
    largest = max(len(D) for D in dictionaries)
    if largest > n_max:
        raise ValueError(f"{largest} rows do not fit into {n_max}")
    return _pad(dictionaries, largest)


def pad_and_stack__repeats_rows(dictionaries, n_max):
    """You fill up with copies of the last row. Padding is made of zeros, so that nothing can come
    from it."""
    stack, mask = _pad(dictionaries, n_max)
    for i, D in enumerate(dictionaries):
        stack[i, len(D) :] = D[-1]
    return stack, mask


def pad_and_stack__only_the_stack(dictionaries, n_max):
    """You return the stack alone. The mask is needed, too: zeros in the decoder do not keep a
    latent's code at 0."""
    return _pad(dictionaries, n_max)[0]


def pad_and_stack__mask_per_entry(dictionaries, n_max):
    """Your mask has an entry for every number of the stack. One per latent is enough: (inst,
    n_max)."""
    stack, mask = _pad(dictionaries, n_max)
    return stack, mask[..., None].expand_as(stack).contiguous()


# ---------------------------------------------------------------------------- a2. ensemble_gradient


def _size(params):
    return len(next(iter(params.values())))


def ensemble_gradient__values_first(loss, params, batch, hyper):
    """You return (losses, gradients). The text asks for the gradients first, as `grad_and_value`
    gives them."""
    grads, losses = vmap(grad_and_value(loss), in_dims=(0, None, 0))(params, batch, hyper)
    return losses, grads


def ensemble_gradient__first_hyper_for_all(loss, params, batch, hyper):
    """All members use the hyperparameters of member 0. In `in_dims`, `hyper` has the axis inst,
    too."""
    first = {name: value[0] for name, value in hyper.items()}
    return vmap(grad_and_value(loss), in_dims=(0, None, None))(params, batch, first)


def ensemble_gradient__loss_of_the_mean(loss, params, batch, hyper):
    """You differentiate the mean over the members and return one loss. Then each gradient is too
    small by their number. Put `grad_and_value` inside, `vmap` outside."""

    def mean(params):
        return vmap(loss, in_dims=(0, None, 0))(params, batch, hyper).mean()

    return grad_and_value(mean)(params)


def ensemble_gradient__hyper_shared(loss, params, batch, hyper):
    """You tell `vmap` that all members share `hyper`, so each gets the whole stack of it, and its
    loss is no single number. `hyper` has the axis inst, too."""
    return vmap(grad_and_value(loss), in_dims=(0, None, None))(params, batch, hyper)


def ensemble_gradient__batch_has_no_axis(loss, params, batch, hyper):
    """You tell `vmap` that the batch has the axis inst in front. Its first axis are the rows, and
    all members see the whole batch: `None`."""
    return vmap(grad_and_value(loss), in_dims=(0, 0, 0))(params, batch, hyper)


def ensemble_gradient__gradient_of_the_mean(loss, params, batch, hyper):
    """Your gradients are those of the *mean* over members: each is too small by the number of
    members. A member should not notice how many others there are."""
    grads, losses = vmap(grad_and_value(loss), in_dims=(0, None, 0))(params, batch, hyper)
    return {name: grad / len(losses) for name, grad in grads.items()}, losses


def ensemble_gradient__batch_split(loss, params, batch, hyper):
    """You give each member its own row of the batch. All members see the whole batch: `None` in
    `in_dims`."""
    n = _size(params)

    def split(value):
        return value.repeat(math.ceil(n / len(value)), *[1] * (value.ndim - 1))[:n, None]

    rows = {k: split(v) for k, v in batch.items()} if isinstance(batch, dict) else split(batch)
    return vmap(grad_and_value(loss), in_dims=(0, 0, 0))(params, rows, hyper)


def ensemble_gradient__by_hyper(loss, params, batch, hyper):
    """You differentiate by `hyper`. The gradient by the *first* argument, the parameters, is
    wanted; `grad` has `argnums=0` by default."""
    return vmap(grad_and_value(loss, argnums=2), in_dims=(0, None, 0))(params, batch, hyper)


def ensemble_gradient__gradients_only(loss, params, batch, hyper):
    """You return the gradients without the losses. `grad_and_value` gives both at no extra
    cost."""
    return vmap(grad_and_value(loss), in_dims=(0, None, 0))(params, batch, hyper)[0]


def ensemble_gradient__losses_summed(loss, params, batch, hyper):
    """You return one loss, the sum. Each member's own loss is needed."""
    grads, losses = vmap(grad_and_value(loss), in_dims=(0, None, 0))(params, batch, hyper)
    return grads, losses.sum()


def ensemble_gradient__first_member_only(loss, params, batch, hyper):
    """Every member gets the gradient of member 0."""
    one = {name: value[0] for name, value in params.items()}
    own = {name: value[0] for name, value in hyper.items()}
    grads, value = grad_and_value(loss)(one, batch, own)
    n = _size(params)
    stack = {name: grad.expand(n, *grad.shape).clone() for name, grad in grads.items()}
    return stack, value.expand(n).clone()


def ensemble_gradient__no_names(loss, params, batch, hyper):
    """You return the gradients as a list. Keep the names: gradients have the same structure as the
    parameters."""
    grads, losses = vmap(grad_and_value(loss), in_dims=(0, None, 0))(params, batch, hyper)
    return list(grads.values()), losses


# ---------------------------------------------------------------------------------- a3. adam_update


def _moments(grad, mean, square):
    return 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad.square()


def adam_update__no_bias_correction(theta, grad, mean, square, n, lr):
    """The divisions by 1 - beta^n are missing. The averages start at 0, so without them the first
    steps have the wrong size."""
    mean, square = _moments(grad, mean, square)
    return theta - lr * mean / (square.sqrt() + 1e-8), mean, square


def adam_update__square_not_corrected(theta, grad, mean, square, n, lr):
    """The mean is corrected, the square is not. Divide it by 1 - 0.999^n before you take the
    root."""
    mean, square = _moments(grad, mean, square)
    return theta - lr * (mean / (1 - 0.9**n)) / (square.sqrt() + 1e-8), mean, square


def adam_update__mean_not_corrected(theta, grad, mean, square, n, lr):
    """The square is corrected, the mean is not. Divide it by 1 - 0.9^n."""
    mean, square = _moments(grad, mean, square)
    return theta - lr * mean / ((square / (1 - 0.999**n)).sqrt() + 1e-8), mean, square


def adam_update__epsilon_before_the_correction(theta, grad, mean, square, n, lr):
    """You add epsilon to the root of the uncorrected square, so it is corrected along with it.
    Correct first, take the root, then add epsilon."""
    mean, square = _moments(grad, mean, square)
    root = (square.sqrt() + 1e-8) / math.sqrt(1 - 0.999**n)
    return theta - lr * (mean / (1 - 0.9**n)) / root, mean, square


def adam_update__no_epsilon(theta, grad, mean, square, n, lr):
    """There is no epsilon in the denominator. It keeps steps finite where the gradient was always
    0, and small where it is tiny."""
    mean, square = _moments(grad, mean, square)
    return theta - lr * (mean / (1 - 0.9**n)) / (square / (1 - 0.999**n)).sqrt(), mean, square


def adam_update__gradient_not_squared(theta, grad, mean, square, n, lr):
    """The second average is that of the *squared* gradients. You average the gradients, and the
    root of a negative number is NaN."""
    mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad
    step = (mean / (1 - 0.9**n)) / ((square / (1 - 0.999**n)).sqrt() + 1e-8)
    return theta - lr * step, mean, square


def adam_update__counts_from_zero(theta, grad, mean, square, n, lr):
    """You use n + 1 in the corrections. Here n counts from 1 already."""
    mean, square = _moments(grad, mean, square)
    step = (mean / (1 - 0.9 ** (n + 1))) / ((square / (1 - 0.999 ** (n + 1))).sqrt() + 1e-8)
    return theta - lr * step, mean, square


def adam_update__uphill(theta, grad, mean, square, n, lr):
    """You add the step. The loss falls *against* the gradient."""
    mean, square = _moments(grad, mean, square)
    step = (mean / (1 - 0.9**n)) / ((square / (1 - 0.999**n)).sqrt() + 1e-8)
    return theta + lr * step, mean, square


def adam_update__epsilon_inside(theta, grad, mean, square, n, lr):
    """Your epsilon is inside the root. There it is compared with g^2, not with |g|: for tiny
    gradients that is another optimiser."""
    mean, square = _moments(grad, mean, square)
    step = (mean / (1 - 0.9**n)) / (square / (1 - 0.999**n) + 1e-8).sqrt()
    return theta - lr * step, mean, square


def adam_update__betas_exchanged(theta, grad, mean, square, n, lr):
    """You exchanged the two betas: 0.9 belongs to the mean, 0.999 to the square."""
    mean, square = 0.999 * mean + 0.001 * grad, 0.9 * square + 0.1 * grad.square()
    step = (mean / (1 - 0.999**n)) / ((square / (1 - 0.9**n)).sqrt() + 1e-8)
    return theta - lr * step, mean, square


def adam_update__old_averages(theta, grad, mean, square, n, lr):
    """The step uses the averages from before this gradient. Update them first."""
    new_mean, new_square = _moments(grad, mean, square)
    step = (mean / (1 - 0.9**n)) / ((square / (1 - 0.999**n)).sqrt() + 1e-8)
    return theta - lr * step, new_mean, new_square


def adam_update__returns_corrected(theta, grad, mean, square, n, lr):
    """You return the *corrected* averages. The next update would correct them again: keep the
    plain ones."""
    mean, square = _moments(grad, mean, square)
    mean_hat, square_hat = mean / (1 - 0.9**n), square / (1 - 0.999**n)
    return theta - lr * mean_hat / (square_hat.sqrt() + 1e-8), mean_hat, square_hat


def adam_update__no_root(theta, grad, mean, square, n, lr):
    """You divide by the square itself. The root is missing, so the step depends on the size of the
    gradient."""
    mean, square = _moments(grad, mean, square)
    step = (mean / (1 - 0.9**n)) / (square / (1 - 0.999**n) + 1e-8)
    return theta - lr * step, mean, square


def adam_update__in_place(theta, grad, mean, square, n, lr):
    """The result is right, but you changed the arguments on the way. Methods that end in _ write
    into their tensor."""
    mean.mul_(0.9).add_(0.1 * grad)
    square.mul_(0.999).add_(0.001 * grad.square())
    step = (mean / (1 - 0.9**n)) / ((square / (1 - 0.999**n)).sqrt() + 1e-8)
    return theta.sub_(lr * step), mean, square


def adam_update__order_of_results(theta, grad, mean, square, n, lr):
    """You return theta, square, mean. The order is theta, mean, square."""
    mean, square = _moments(grad, mean, square)
    step = (mean / (1 - 0.9**n)) / ((square / (1 - 0.999**n)).sqrt() + 1e-8)
    return theta - lr * step, square, mean


# -------------------------------------------------------------------------------------- b. rank_auc


def _auc(score, is_true, tie=0.5):
    true, false = score[is_true], score[~is_true]
    if len(true) == 0 or len(false) == 0:
        raise ValueError("both kinds are needed")
    difference = true[:, None] - false[None]
    return float(((difference > 0).double() + tie * (difference == 0).double()).mean())


def rank_auc__ties_lose(score, is_true):
    """Ties count nothing in your code. They count one half: a constant score knows nothing, and
    that is 0.5."""
    return _auc(score, is_true, 0.0)


def rank_auc__near_ties(score, is_true):
    """You treat scores as tied that are only near each other. Only equal scores are ties."""
    true, false = score[is_true], score[~is_true]
    if len(true) == 0 or len(false) == 0:
        raise ValueError("both kinds are needed")
    difference = true[:, None] - false[None]
    tie = difference.abs() < 1e-4
    return float(((difference > 0) & ~tie).double().mean() + 0.5 * tie.double().mean())


def rank_auc__ties_win(score, is_true):
    """Ties count in full (>= instead of >). They count one half."""
    return _auc(score, is_true, 1.0)


def rank_auc__reversed(score, is_true):
    """You count the pairs in which the *false* item scores higher."""
    return 1 - _auc(score, is_true)


def rank_auc__accuracy(score, is_true):
    """You cut the score at one threshold and count right answers. AUC needs no threshold: it
    compares all pairs."""
    _auc(score, is_true)
    return float(((score > score.mean()) == is_true).double().mean())


def rank_auc__nan_if_one_kind(score, is_true):
    """With one kind only you return NaN. Then a mean over many AUCs is NaN, too, and nobody knows
    why: raise a ValueError."""
    return _auc(score, is_true) if is_true.any() and not is_true.all() else math.nan


def rank_auc__half_if_one_kind(score, is_true):
    """With one kind only you return 0.5, as if the score had been tested. There was nothing to
    test: raise a ValueError."""
    return _auc(score, is_true) if is_true.any() and not is_true.all() else 0.5


def rank_auc__difference_of_means(score, is_true):
    """You return the difference of the mean scores. Only the order should count, not the size."""
    _auc(score, is_true)
    return float(score[is_true].double().mean() - score[~is_true].double().mean())


def rank_auc__correlation(score, is_true):
    """You return a correlation. It depends on the shape of the score, and 0 means useless; for AUC
    it is 0.5."""
    _auc(score, is_true)
    return float(torch.corrcoef(torch.stack([score.double(), is_true.double()]))[0, 1])


def rank_auc__against_all(score, is_true):
    """You compare the true items with *all* items, themselves included. Only pairs of one true and
    one false item count."""
    _auc(score, is_true)
    difference = score[is_true][:, None] - score[None]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())


def rank_auc__own_ranks_left_in(score, is_true):
    """You add up the ranks of the true items among all items. A rank counts other true items below,
    too: take off what the true items have among themselves."""
    n_true = int(is_true.sum())
    return _auc(score, is_true) + (n_true + 1) / 2 / (len(score) - n_true)


# -------------------------------------------------------------------------- c1. noisy_relu_variance


def _clipped(z, sigma):
    u = z / sigma
    Phi, phi = torch.special.ndtr(u), torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)
    return u * Phi + phi, (u.square() + 1) * Phi + u * phi


def noisy_relu_variance__second_moment(z, sigma):
    """You return the mean of the square. For the variance subtract the square of the mean."""
    return sigma**2 * _clipped(z, sigma)[1]


def noisy_relu_variance__mean_not_squared(z, sigma):
    """You subtract the mean, not its square. A variance is E[f^2] - E[f]^2."""
    first, second = _clipped(z, sigma)
    return sigma**2 * (second - first)


def noisy_relu_variance__sigma_not_squared(z, sigma):
    """The variance scales with sigma squared. You multiply by sigma once."""
    first, second = _clipped(z, sigma)
    return sigma * (second - first.square())


def noisy_relu_variance__sigma_forgotten(z, sigma):
    """Your formula is right for u = z / sigma, and you stop there. The noise itself has size sigma:
    far above 0 the variance must be sigma squared, not 1."""
    first, second = _clipped(z, sigma)
    return second - first.square()


def noisy_relu_variance__standard_deviation(z, sigma):
    """You return the standard deviation. The squared error grows by the variance."""
    first, second = _clipped(z, sigma)
    return sigma * (second - first.square()).clamp(min=1e-30).sqrt()


def noisy_relu_variance__share_active(z, sigma):
    """You return sigma^2 times the probability of being active. At z = 0 half of the noise is
    clipped, and what passes has a mean: the variance is smaller than sigma^2 / 2."""
    return sigma**2 * torch.special.ndtr(z / sigma)


def noisy_relu_variance__z_not_scaled(z, sigma):
    """You use z where u = z / sigma belongs. A large sigma blurs the step, and yours does not
    move."""
    first, second = _clipped(z, 1.0)
    return sigma**2 * (second - first.square())


def noisy_relu_variance__density_not_normalised(z, sigma):
    """Your density lacks the factor 1 / sqrt(2 pi)."""
    u = z / sigma
    Phi, phi = torch.special.ndtr(u), torch.exp(-u.square() / 2)
    first, second = u * Phi + phi, (u.square() + 1) * Phi + u * phi
    return sigma**2 * (second - first.square())


def noisy_relu_variance__density_too_narrow(z, sigma):
    """The exponent of your density is -u^2. It is -u^2 / 2."""
    u = z / sigma
    Phi, phi = torch.special.ndtr(u), torch.exp(-u.square()) / math.sqrt(2 * math.pi)
    first, second = u * Phi + phi, (u.square() + 1) * Phi + u * phi
    return sigma**2 * (second - first.square())


def noisy_relu_variance__times_sigma(z, sigma):
    """You use u = z sigma. It is z *divided* by sigma: how many standard deviations z is above
    0."""
    first, second = _clipped(z * sigma, 1.0)
    return sigma**2 * (second - first.square())


def noisy_relu_variance__divided_by_the_variance(z, sigma):
    """You use u = z / sigma^2. How many *standard deviations* is z above 0?"""
    first, second = _clipped(z / sigma**2, 1.0)
    return sigma**2 * (second - first.square())


def noisy_relu_variance__sign_in_the_second_moment(z, sigma):
    """The second moment has + u phi(u), and you subtract it. For z far below 0 yours does not go to
    0 as it should."""
    u = z / sigma
    Phi, phi = torch.special.ndtr(u), torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)
    first, second = u * Phi + phi, (u.square() + 1) * Phi - u * phi
    return sigma**2 * (second - first.square())


def noisy_relu_variance__hard_step(z, sigma):
    """You return sigma^2 where z is positive, else 0. That is the limit far from 0. Near 0 the
    noise decides whether the latent is active, and the cost rises smoothly."""
    return sigma**2 * (z > 0).to(z.dtype) + 0 * z


# -------------------------------------------------------------------------------- c2. spike_slab_kl


def _parts(logit, mean, log_std, prior):
    prior = torch.as_tensor(prior, dtype=logit.dtype, device=logit.device)
    q, log_q, log_off = logit.sigmoid(), logsigmoid(logit), logsigmoid(-logit)
    spike = q * (log_q - prior.log()) + (1 - q) * (log_off - (1 - prior).log())
    return q, spike, 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std)


def spike_slab_kl__slab_always_counts(logit, mean, log_std, prior):
    """Your slab counts with full weight. When the latent is off, nobody asks how strong it would
    have been: multiply by q."""
    _, spike, slab = _parts(logit, mean, log_std, prior)
    return spike + slab


def spike_slab_kl__unstable(logit, mean, log_std, prior):
    """For large logits q rounds to 1 and you take the logarithm of 0. Use logsigmoid(-logit) for
    ln(1 - q)."""
    prior = torch.as_tensor(prior, dtype=logit.dtype, device=logit.device)
    q, _, slab = _parts(logit, mean, log_std, prior)
    spike = q * (q / prior).log() + (1 - q) * ((1 - q) / (1 - prior)).log()
    return spike + q * slab


def spike_slab_kl__on_term_only(logit, mean, log_std, prior):
    """The term for being *off* is missing: (1 - q) ln((1 - q) / (1 - prior)). Without it your
    divergence can be negative."""
    prior = torch.as_tensor(prior, dtype=logit.dtype, device=logit.device)
    q, _, slab = _parts(logit, mean, log_std, prior)
    return q * (logsigmoid(logit) - prior.log()) + q * slab


def spike_slab_kl__prior_and_answer_exchanged(logit, mean, log_std, prior):
    """You exchanged the roles: this is the divergence of the prior from the answer. The
    expectation is over the *answer*."""
    prior = torch.as_tensor(prior, dtype=logit.dtype, device=logit.device)
    q, _, slab = _parts(logit, mean, log_std, prior)
    on, off = prior.log() - logsigmoid(logit), (1 - prior).log() - logsigmoid(-logit)
    return prior * on + (1 - prior) * off + q * slab


def spike_slab_kl__log_std_as_log_variance(logit, mean, log_std, prior):
    """You treat `log_std` as the logarithm of the variance. s^2 = exp(2 log_std)."""
    q, spike, _ = _parts(logit, mean, log_std, prior)
    return spike + q * 0.5 * (mean.square() + log_std.exp() - 1 - log_std)


def _slab_kl(logit, mean, log_std, prior, strength):
    q, spike, _ = _parts(logit, mean, log_std, prior)
    return spike + q * 0.5 * strength


def spike_slab_kl__std_not_squared(logit, mean, log_std, prior):
    """You use s where s^2 belongs. s^2 = exp(2 log_std)."""
    strength = mean.square() + log_std.exp() - 1 - 2 * log_std
    return _slab_kl(logit, mean, log_std, prior, strength)


def spike_slab_kl__log_not_doubled(logit, mean, log_std, prior):
    """You subtract ln s where ln s^2 belongs, which is twice as much."""
    strength = mean.square() + (2 * log_std).exp() - 1 - log_std
    return _slab_kl(logit, mean, log_std, prior, strength)


def spike_slab_kl__log_added(logit, mean, log_std, prior):
    """You add ln s^2. It is subtracted: a very narrow answer (ln s far below 0) says much, and
    costs much."""
    strength = mean.square() + (2 * log_std).exp() - 1 + 2 * log_std
    return _slab_kl(logit, mean, log_std, prior, strength)


def spike_slab_kl__mean_not_squared(logit, mean, log_std, prior):
    """The mean of the slab is not squared in your formula."""
    strength = mean + (2 * log_std).exp() - 1 - 2 * log_std
    return _slab_kl(logit, mean, log_std, prior, strength)


def spike_slab_kl__q_clamped(logit, mean, log_std, prior):
    """You cut q off before 0 and 1. That avoids the NaN, but it changes the divergence of rare
    latents. `logsigmoid` needs no cut."""
    prior = torch.as_tensor(prior, dtype=logit.dtype, device=logit.device)
    _, _, slab = _parts(logit, mean, log_std, prior)
    q = logit.sigmoid().clamp(1e-3, 1 - 1e-3)
    return q * (q / prior).log() + (1 - q) * ((1 - q) / (1 - prior)).log() + q * slab


def spike_slab_kl__no_half(logit, mean, log_std, prior):
    """The factor 1/2 of the slab's term is missing."""
    q, spike, slab = _parts(logit, mean, log_std, prior)
    return spike + 2 * q * slab


def spike_slab_kl__spike_only(logit, mean, log_std, prior):
    """You return the spike's term only. How strong a latent is costs something, too."""
    q, spike, slab = _parts(logit, mean, log_std, prior)
    return spike + 0 * q * slab


def spike_slab_kl__summed(logit, mean, log_std, prior):
    """You return a sum. One value per entry is asked for: the loss decides what is averaged."""
    q, spike, slab = _parts(logit, mean, log_std, prior)
    return (spike + q * slab).sum()


def spike_slab_kl__logit_as_probability(logit, mean, log_std, prior):
    """You use the logit as if it were the probability q. Put it through the sigmoid first."""
    prior = torch.as_tensor(prior, dtype=logit.dtype, device=logit.device)
    q = logit.clamp(1e-6, 1 - 1e-6)
    _, _, slab = _parts(logit, mean, log_std, prior)
    return q * (q / prior).log() + (1 - q) * ((1 - q) / (1 - prior)).log() + q * slab


# ------------------------------------------------------------------------------ d1. self_similarity


def self_similarity__to_the_last(frames):
    """You compare every frame with the last one. Compare neighbours: a latent that moves a little
    in every frame should show it in every frame."""
    directions = _unit(frames)
    return (directions[:-1] * directions[-1]).sum(dim=-1)


def self_similarity__to_the_first(frames):
    """You compare every frame with the first one. Compare neighbours."""
    directions = _unit(frames)
    return (directions[1:] * directions[0]).sum(dim=-1)


def self_similarity__best_match(frames):
    """You compare each latent with *all* latents of the next frame and keep the best. Latent j
    should meet latent j only: when two change places, both have moved."""
    directions = _unit(frames)
    return (directions[:-1] @ directions[1:].mT).max(dim=-1).values


def self_similarity__products(frames):
    """You take inner products. A latent that only gets longer has not turned: normalise."""
    return (frames[1:] * frames[:-1]).sum(dim=-1)


def self_similarity__absolute(frames):
    """You take absolute values. A latent that has turned round completely is not the same."""
    directions = _unit(frames)
    return (directions[1:] * directions[:-1]).sum(dim=-1).abs()


def self_similarity__with_itself(frames):
    """You compare each frame with itself. Shift one of the two by a frame."""
    directions = _unit(frames)
    return (directions * directions).sum(dim=-1)


def self_similarity__summed_over_latents(frames):
    """You sum the products over the latents. A cosine sums over the dimensions, the last axis."""
    directions = _unit(frames)
    return (directions[1:] * directions[:-1]).sum(dim=1)


def self_similarity__normalised_over_latents(frames):
    """You divide by lengths taken along the latents. A latent is a *row*: its length goes over the
    last axis."""
    directions = frames / frames.norm(dim=1, keepdim=True).clamp(min=1e-8)
    return (directions[1:] * directions[:-1]).sum(dim=-1)


def self_similarity__nan_for_dead(frames):
    """A row of zeros gives NaN. `unit` leaves zero rows alone."""
    directions = frames / frames.norm(dim=-1, keepdim=True)
    return (directions[1:] * directions[:-1]).sum(dim=-1)


def self_similarity__averaged(frames):
    """You average over the latents. Each has its own history."""
    directions = _unit(frames)
    return (directions[1:] * directions[:-1]).sum(dim=-1).mean(dim=-1)


def self_similarity__wraps_around(frames):
    """You roll the frames, so the last one is compared with the first. T frames have T - 1 pairs
    of neighbours."""
    directions = _unit(frames)
    return (directions * directions.roll(-1, 0)).sum(dim=-1)


# -------------------------------------------------------------------------------------- d2. settled


def settled__any(similarity, threshold, window):
    """One still moment in the window is enough for you. All of them must be above the
    threshold."""
    recent = similarity[-window:] > threshold
    return recent.any(dim=0) & (len(recent) == window)


def settled__first_steps(similarity, threshold, window):
    """You look at the *first* steps. Whether a latent has settled is seen at the end."""
    early = similarity[:window] > threshold
    return early.all(dim=0) & (len(early) == window)


def settled__whole_history(similarity, threshold, window):
    """You ask for the whole history. A latent that moved long ago and is still now has settled."""
    enough = len(similarity) >= window
    return (similarity > threshold).all(dim=0) & enough


def settled__in_any_window(similarity, threshold, window):
    """You accept `window` still steps in a row anywhere in the history. They must be the *last*
    ones: a latent may move again."""
    if len(similarity) < window:
        return similarity.new_zeros(similarity.shape[1]).bool()
    still = (similarity > threshold).unfold(0, window, 1)
    return still.all(dim=-1).any(dim=0)


def settled__counts_still_steps(similarity, threshold, window):
    """You count the still steps of the whole history. It takes the *last* `window` steps, without a
    gap."""
    return (similarity > threshold).sum(dim=0) >= window


def settled__mean(similarity, threshold, window):
    """You compare the mean of the window with the threshold. One jump can hide in a mean: ask for
    each step."""
    recent = similarity[-window:]
    return (recent.mean(dim=0) > threshold) & (len(recent) == window)


def settled__too_early(similarity, threshold, window):
    """With fewer steps than the window you already say yes. Nothing can have settled yet."""
    return (similarity[-window:] > threshold).all(dim=0)


def settled__at_the_threshold(similarity, threshold, window):
    """A latent at exactly the threshold counts as settled in your code (>=). It must be above."""
    recent = similarity[-window:] >= threshold
    return recent.all(dim=0) & (len(recent) == window)


def settled__last_step_only(similarity, threshold, window):
    """You look at the last step alone. It takes `window` still steps in a row."""
    return (similarity[-1] > threshold) & (len(similarity) >= window)


def settled__window_off_by_one(similarity, threshold, window):
    """Your window has one step too many. `similarity[-window:]` are the last `window` rows."""
    recent = similarity[-window - 1 :] > threshold
    return recent.all(dim=0) & (len(similarity) >= window)


def settled__moving(similarity, threshold, window):
    """You return the latents that are still moving. The mask is inverted."""
    recent = similarity[-window:] > threshold
    return ~(recent.all(dim=0) & (len(recent) == window))


# --------------------------------------------------------------------------- e. participation_ratio


def participation_ratio__not_squared(D):
    """The sum of squares is not squared, so the ratio depends on the length of the row."""
    return D.square().sum(dim=1) / D.pow(4).sum(dim=1).clamp(min=1e-12)


def participation_ratio__not_normalised(D):
    """You take the squares of a row for probabilities as they are. They sum to 1 only where the row
    has length 1, and these rows have any length."""
    fourth = D.pow(4).sum(dim=1)
    return torch.where(fourth > 0, 1 / torch.where(fourth > 0, fourth, 1.0), 0.0)


def participation_ratio__weights_not_squared(D):
    """You draw the entries with weights |d_i|. The lottery is weighted by their squares, d_i^2."""
    unit = _unit(D)
    return unit.abs().sum(dim=1) ** 2 / unit.square().sum(dim=1).clamp(min=1e-12)


def participation_ratio__perplexity(D):
    """You return the exponential of the entropy. It also counts entries, but asked for is one over
    the probability of drawing the same entry twice."""
    p = _unit(D).square()
    found = torch.exp(-(p * p.clamp(min=1e-30).log()).sum(dim=1))
    return torch.where(p.sum(dim=1) > 0, found, 0.0)


def participation_ratio__probability(D):
    """You return the probability of drawing the same entry twice. Asked for is one over it."""
    p = _unit(D).square()
    return p.square().sum(dim=1)


def participation_ratio__signed(D):
    """You sum the entries themselves, so signs cancel. Square them first."""
    unit = _unit(D)
    return unit.sum(dim=1) ** 2 / unit.square().sum(dim=1).clamp(min=1e-12)


def participation_ratio__nan_for_zero(D):
    """A row of zeros gives NaN: 0 / 0. It has no entries that matter: 0."""
    squares = D.square()
    return squares.sum(dim=1) ** 2 / squares.square().sum(dim=1)


def participation_ratio__columns(D):
    """You sum over the latents. Each *row* has a ratio of its own."""
    squares = D.square()
    return squares.sum(dim=0) ** 2 / squares.square().sum(dim=0).clamp(min=1e-12)


def participation_ratio__floor_too_large(D):
    """You add a constant to the denominator before the rows are scaled. For short rows it swallows
    everything: scale to length 1 first."""
    squares = D.square()
    return squares.sum(dim=1) ** 2 / (squares.square().sum(dim=1) + 1e-6)


def participation_ratio__floor_before_scaling(D):
    """You clamp the fourth powers of rows that are not scaled. For short rows the floor is larger
    than they are: scale to length 1 first."""
    squares = D.square()
    return squares.sum(dim=1) ** 2 / squares.square().sum(dim=1).clamp(min=1e-12)


def participation_ratio__count_nonzero(D):
    """You count the entries that are not 0. A tiny entry counts as much as a large one then, and
    rounding decides."""
    return (D != 0).sum(dim=1).to(D.dtype)


# -------------------------------------------------------------------------------------- predictions


def predict_recovery_peak__smallest():
    """With hardly any penalty the SAE is free to reconstruct with any directions. It needs pressure
    to find sparse ones."""
    return "the smallest"


def predict_recovery_peak__largest():
    """Too much penalty, and reconstruction is given up: rare features cost more than they explain,
    and latents merge or die."""
    return "the largest"


def predict_sparse_winner__sae():
    """That is what one would like to read. But K-SVD with its best setting is as good here: each
    data row uses few directions, and that is its assumption, too."""
    return "the SAE"


def predict_sparse_winner__ksvd():
    """K-SVD is strong here, as you expected. But the two are level: their best settings are within
    three features."""
    return "K-SVD"


def predict_stable_true__nearly_all():
    """Stable means: the same answer twice. It may be the same wrong answer twice, if the question
    is wrong. With k = 1 in a world of five active features it is."""
    return "more than 80 %"


def predict_stable_true__half():
    """Still too many. With one direction per row, K-SVD must find the centres of *combinations* of
    features, and these it finds again and again."""
    return "20 to 80 %"


def predict_noise_road__none():
    """Each active latent adds its noise to the output, so the SAE learns to keep latents off. That
    is a sparsity penalty, though nobody wrote one down."""
    return "none"


def predict_noise_road__as_many():
    """Noise does make the codes sparse. But the reconstruction suffers from the noise, too, and
    fewer features come out than with L1."""
    return "as many as L1, or more"


def predict_frozen__as_before():
    """The directions stay, but what a code costs is set by the new λ. At 0.05 it pays to switch on
    many latents for a little less error, and encoder and biases are free to do it."""
    return "λ = 0.4, as before"
