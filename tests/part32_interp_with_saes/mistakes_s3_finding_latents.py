"""Wrong answers that learners of 3.2.3 give, each with what a tutor would say."""

import math

import torch

# --------------------------------------------------------------------------- a1. name_difference


def _rows(x):
    return torch.arange(len(x), device=x.device)


def name_difference__wrong_way_round(logits, right, repeated):
    """You subtract the right name from the repeated one. Positive should mean: the right name
    wins."""
    return logits[_rows(logits), repeated] - logits[_rows(logits), right]


def name_difference__every_prompt_with_every_name(logits, right, repeated):
    """`logits[:, right]` takes every prompt's name in every prompt: a square matrix. Each
    prompt has one name of its own: index rows and names in pairs."""
    return logits[:, right] - logits[:, repeated]


def name_difference__mean_over_prompts(logits, right, repeated):
    """You average over the prompts. One number per prompt is wanted: intervals need them all."""
    return (logits[_rows(logits), right] - logits[_rows(logits), repeated]).mean()


def name_difference__of_probabilities(logits, right, repeated):
    """You take probabilities. The difference is one of logits: it is linear in the last stream."""
    p = logits.softmax(dim=-1)
    return p[_rows(logits), right] - p[_rows(logits), repeated]


def name_difference__right_only(logits, right, repeated):
    """You return the right name's logit. A number added to all logits would change it: subtract
    the repeated name's."""
    return logits[_rows(logits), right]


def name_difference__against_the_best(logits, right, repeated):
    """You compare with the largest logit. The rival here is the repeated name, whoever is on
    top."""
    return logits[_rows(logits), right] - logits.max(dim=-1).values


def name_difference__whether_ahead(logits, right, repeated):
    """You say who is ahead. By how much is what a change can be measured in."""
    return (logits[_rows(logits), right] > logits[_rows(logits), repeated]).to(logits.dtype)


# --------------------------------------------------------------------------- a2. wilson_interval


def wilson_interval__normal(successes, n, z=1.96):
    """This is p ± z √(p(1-p)/n), the simple interval. With all successes its width is 0."""
    p = successes / n
    half = z * math.sqrt(p * (1 - p) / n)
    return p - half, p + half


def wilson_interval__centred_at_p(successes, n, z=1.96):
    """Your interval is centred at p. Wilson's middle is moved towards one half: p + z²/2n, and
    that divided by 1 + z²/n."""
    p, shrink = successes / n, 1 + z**2 / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / shrink
    return p - half, p + half


def wilson_interval__not_divided(successes, n, z=1.96):
    """You forget the denominator 1 + z²/n: the interval can leave 0 to 1."""
    p = successes / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p + z**2 / (2 * n) - half, p + z**2 / (2 * n) + half


def wilson_interval__fixed_z(successes, n, z=1.96):
    """You ignore `z`: the interval is always the one of 95 %."""
    p, shrink = successes / n, 1 + 1.96**2 / n
    half = 1.96 * math.sqrt(p * (1 - p) / n + 1.96**2 / (4 * n**2)) / shrink
    middle = (p + 1.96**2 / (2 * n)) / shrink
    return middle - half, middle + half


def wilson_interval__half_only_divided(successes, n, z=1.96):
    """Only the half width is divided by 1 + z²/n. The middle is, too."""
    p, shrink = successes / n, 1 + z**2 / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / shrink
    return p + z**2 / (2 * n) - half, p + z**2 / (2 * n) + half


def wilson_interval__n_not_squared(successes, n, z=1.96):
    """Under the root it is z²/4n². Yours is z²/4n, which is far too wide."""
    p, shrink = successes / n, 1 + z**2 / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n)) / shrink
    middle = (p + z**2 / (2 * n)) / shrink
    return middle - half, middle + half


def wilson_interval__clipped(successes, n, z=1.96):
    """This is the simple interval, cut at 0 and 1. That hides its width where all succeeded."""
    p = successes / n
    half = z * math.sqrt(p * (1 - p) / n)
    return max(p - half, 0.0), min(p + half, 1.0)


# ------------------------------------------------------------------------- b1. strongest_latents


def _strongest(best, n):
    values, numbers = best.sort(descending=True, stable=True)
    kept = values[:n] > 0
    return numbers[:n][kept], values[:n][kept]


def strongest_latents__with_position_0(f, n):
    """You count position 0. There the activation is an attention sink, and its latents say
    nothing about the prompt."""
    return _strongest(f.amax(dim=0), n)


def strongest_latents__silent_too(f, n):
    """You list latents that are silent. A value of 0 is no activation: there may be fewer than
    n."""
    values, numbers = f[1:].amax(dim=0).sort(descending=True, stable=True)
    return numbers[:n], values[:n]


def strongest_latents__plain_topk(f, n):
    """`topk` over all positions: position 0, the attention sink, wins, and silent latents fill the
    rest of the list. Leave out both."""
    values, numbers = f.amax(dim=0).topk(min(n, f.shape[1]))
    return numbers, values


def strongest_latents__by_sum(f, n):
    """You sum over the positions. A latent that is weak everywhere then beats one that is
    strong at one word."""
    return _strongest(f[1:].sum(dim=0), n)


def strongest_latents__at_the_last_position(f, n):
    """You look at the last position only. The largest activation anywhere counts."""
    return _strongest(f[-1], n)


def strongest_latents__weakest_first(f, n):
    """Your list begins with the weakest. The strongest comes first."""
    numbers, values = _strongest(f[1:].amax(dim=0), n)
    return numbers.flip(0), values.flip(0)


def strongest_latents__unordered_ties(f, n):
    """Of two equal latents the larger number comes first in yours. Sort stably, from large to
    small."""
    values, order = f[1:].amax(dim=0).flip(0).sort(descending=True, stable=True)
    numbers = f.shape[1] - 1 - order
    kept = values[:n] > 0
    return numbers[:n][kept], values[:n][kept]


def strongest_latents__most_often(f, n):
    """You count the positions at which a latent is active. Asked for is how strong it is."""
    return _strongest((f[1:] > 0).sum(dim=0).to(f.dtype), n)


def strongest_latents__single_activations(f, n):
    """You rank single activations: a latent that is active at two positions can be listed twice.
    How many numbers should one latent send into the sort?"""
    values, places = f[1:].T.flatten().sort(descending=True, stable=True)
    kept = values[:n] > 0
    return places[:n][kept] // (len(f) - 1), values[:n][kept]


# ------------------------------------------------------------------------------- b2. stronger_in


def stronger_in__with_position_0(f, other):
    """You count position 0, the attention sink. It is the same in every prompt, and enormous."""
    return f.amax(dim=0) - other.amax(dim=0)


def stronger_in__wrong_way_round(f, other):
    """Positive should mean stronger in `f`. You subtract the wrong way round."""
    return other[1:].amax(dim=0) - f[1:].amax(dim=0)


def stronger_in__without_a_sign(f, other):
    """You take the absolute value. Then one does not see in which prompt the latent is stronger."""
    return (f[1:].amax(dim=0) - other[1:].amax(dim=0)).abs()


def stronger_in__means(f, other):
    """You compare means over the positions. A longer prompt dilutes them: compare the maxima."""
    return f[1:].mean(dim=0) - other[1:].mean(dim=0)


def stronger_in__sums(f, other):
    """You compare sums over the positions: the longer prompt wins. Compare the maxima."""
    return f[1:].sum(dim=0) - other[1:].sum(dim=0)


def stronger_in__position_by_position(f, other):
    """You subtract position by position. The prompts may differ in length, and a latent may be
    active one word later: first the maxima, then the difference."""
    n = min(len(f), len(other))
    return (f[1:n] - other[1:n]).amax(dim=0)


def stronger_in__last_position(f, other):
    """You compare the last positions only. The largest activation anywhere counts."""
    return f[-1] - other[-1]


def stronger_in__position_0_of_one(f, other):
    """You leave position 0 out of the first prompt only. It counts in neither."""
    return f[1:].amax(dim=0) - other.amax(dim=0)


# ------------------------------------------------------------------------- b3. weighted_strength


def weighted_strength__not_rare(f, times, n_tokens):
    """Your weight grows with how often the latent is active. Turn the fraction over."""
    return f[1:].amax(dim=0) * ((1 + times) / (1 + n_tokens)).log()


def weighted_strength__with_position_0(f, times, n_tokens):
    """You count position 0, the attention sink."""
    return f.amax(dim=0) * ((1 + n_tokens) / (1 + times)).log()


def weighted_strength__no_logarithm(f, times, n_tokens):
    """Without the logarithm a latent that is 1,000 times rarer weighs 1,000 times as much, and
    the list is one of accidents."""
    return f[1:].amax(dim=0) * ((1 + n_tokens) / (1 + times))


def weighted_strength__base_10(f, times, n_tokens):
    """Your logarithm has base 10. The natural one was asked for: all weights differ by a factor."""
    return f[1:].amax(dim=0) * ((1 + n_tokens) / (1 + times)).log10()


def weighted_strength__summed(f, times, n_tokens):
    """You sum over the positions. The largest activation is asked for."""
    return f[1:].sum(dim=0) * ((1 + n_tokens) / (1 + times)).log()


def weighted_strength__one_is_missing(f, times, n_tokens):
    """You leave out the ones: a latent that was never active gets an infinite weight."""
    return f[1:].amax(dim=0) * (n_tokens / times).log()


def weighted_strength__one_below_only(f, times, n_tokens):
    """You add 1 to the count only. Then a latent that is always active has a negative weight."""
    return f[1:].amax(dim=0) * (n_tokens / (1 + times)).log()


def weighted_strength__one_added_to_the_logarithm(f, times, n_tokens):
    """You add 1 to the logarithm, as some libraries do. A latent that is active on every token
    should get weight 0."""
    return f[1:].amax(dim=0) * (((1 + n_tokens) / (1 + times)).log() + 1)


def weighted_strength__count_0_as_1(f, times, n_tokens):
    """You leave out the ones, and take a count of 0 for 1. A latent that was never active then has
    the weight of one that was active once."""
    return f[1:].amax(dim=0) * (n_tokens / times.clamp(min=1)).log()


# ------------------------------------------------------------------------- c1. readout_direction


def _centred(d, centred):
    return d - d.mean(dim=1, keepdim=True) if centred else d


def readout_direction__no_gain(W_U, gain, scale, right, repeated, centred):
    """You leave out the norm's gain. It multiplies each dimension before the unembedding."""
    return _centred((W_U[:, right] - W_U[:, repeated]).T / scale[:, None], centred)


def readout_direction__no_scale(W_U, gain, scale, right, repeated, centred):
    """You leave out the scale. The norm divides the stream by it, in each prompt by another."""
    return _centred((W_U[:, right] - W_U[:, repeated]).T * gain, centred)


def readout_direction__times_scale(W_U, gain, scale, right, repeated, centred):
    """You multiply by the scale. The norm divides."""
    return _centred((W_U[:, right] - W_U[:, repeated]).T * gain * scale[:, None], centred)


def readout_direction__mean_before_the_gain(W_U, gain, scale, right, repeated, centred):
    """You subtract the mean before the gain. The norm's mean is taken of the stream, so on this
    side it comes last: Σ dᵢ (xᵢ - x̄) = Σ (dᵢ - d̄) xᵢ."""
    return _centred((W_U[:, right] - W_U[:, repeated]).T, centred) * gain / scale[:, None]


def readout_direction__never_centred(W_U, gain, scale, right, repeated, centred):
    """You ignore `centred`: LayerNorm subtracts the stream's mean."""
    return (W_U[:, right] - W_U[:, repeated]).T * gain / scale[:, None]


def readout_direction__always_centred(W_U, gain, scale, right, repeated, centred):
    """You always subtract the mean. RMSNorm does not: look at `centred`."""
    return _centred((W_U[:, right] - W_U[:, repeated]).T * gain / scale[:, None], True)


def readout_direction__right_only(W_U, gain, scale, right, repeated, centred):
    """You use the right name's column only. The difference of logits has two."""
    return _centred(W_U[:, right].T * gain / scale[:, None], centred)


def readout_direction__wrong_way_round(W_U, gain, scale, right, repeated, centred):
    """Your direction points to the repeated name: the signs of all attributions are turned."""
    return _centred((W_U[:, repeated] - W_U[:, right]).T * gain / scale[:, None], centred)


def readout_direction__mean_over_prompts(W_U, gain, scale, right, repeated, centred):
    """You subtract the mean over the prompts. Each prompt's direction gets mean 0 over
    `d_model`."""
    d = (W_U[:, right] - W_U[:, repeated]).T * gain / scale[:, None]
    return d - d.mean(dim=0) if centred else d


# ----------------------------------------------------------------------------- c2. latent_shares


def latent_shares__bias_in_the_error(f, write, bias, error, direction):
    """You count the bias twice: it is not part of the error term."""
    return f * (direction @ write.T), direction @ bias, ((error + bias) * direction).sum(dim=1)


def latent_shares__without_the_activation(f, write, bias, error, direction):
    """You say what one unit of a latent is worth. Multiply by how active it is."""
    return direction @ write.T, direction @ bias, (error * direction).sum(dim=1)


def latent_shares__summed_over_latents(f, write, bias, error, direction):
    """You sum over the latents. Each latent's own share is asked for."""
    shares = f * (direction @ write.T)
    return shares.sum(dim=1), direction @ bias, (error * direction).sum(dim=1)


def latent_shares__no_bias(f, write, bias, error, direction):
    """Your bias has no share. It is always there, and without it nothing adds up."""
    return (
        f * (direction @ write.T),
        torch.zeros_like(direction[:, 0]),
        (error * direction).sum(dim=1),
    )


def latent_shares__mean_direction(f, write, bias, error, direction):
    """You use the mean direction for all prompts. Each has its own names, and its own direction."""
    d = direction.mean(dim=0, keepdim=True).expand_as(direction)
    return f * (d @ write.T), d @ bias, (error * d).sum(dim=1)


def latent_shares__error_of_all(f, write, bias, error, direction):
    """You sum over the prompts in the error's share. The error belongs to its own prompt."""
    total = (error.sum(dim=0) * direction).sum(dim=1)
    return f * (direction @ write.T), direction @ bias, total


def latent_shares__order(f, write, bias, error, direction):
    """You return error and bias in the wrong order: latents, bias, error."""
    return f * (direction @ write.T), (error * direction).sum(dim=1), direction @ bias


def latent_shares__error_with_every_direction(f, write, bias, error, direction):
    """You multiply every prompt's error with every prompt's direction: a square matrix. An error
    has one direction, its own prompt's."""
    return f * (direction @ write.T), direction @ bias, error @ direction.T


# ------------------------------------------------------------------------------- c3. head_shares


def head_shares__summed(z, W_O, direction):
    """You sum over the heads: that is the layer's share. Keep the heads apart."""
    return torch.einsum("phk,hkm,pm->p", z, W_O, direction)


def head_shares__mean_direction(z, W_O, direction):
    """You use the mean direction for all prompts. Each prompt has its own."""
    return torch.einsum("phk,hkm,m->ph", z, W_O, direction.mean(dim=0))


def head_shares__one_matrix(z, W_O, direction):
    """You use head 0's output weights for all heads."""
    return torch.einsum("phk,km,pm->ph", z, W_O[0], direction)


def head_shares__absolute(z, W_O, direction):
    """You take absolute values. A head that writes against the right name has a negative share."""
    return torch.einsum("phk,hkm,pm->ph", z, W_O, direction).abs()


def head_shares__relative(z, W_O, direction):
    """You divide by the sum over heads. Shares are in logits here, so that they add up with the
    others."""
    shares = torch.einsum("phk,hkm,pm->ph", z, W_O, direction)
    return shares / shares.sum(dim=1, keepdim=True)


def head_shares__summed_over_prompts(z, W_O, direction):
    """You sum over the prompts: of three axes `prompt` and `head` stay."""
    return torch.einsum("phk,hkm,pm->h", z, W_O, direction)


def head_shares__unit_direction(z, W_O, direction):
    """You bring the direction to length 1. Its length is part of the answer: it has the scale
    in it."""
    return torch.einsum("phk,hkm,pm->ph", z, W_O, direction / direction.norm(dim=1, keepdim=True))


def head_shares__heads_mixed(z, W_O, direction):
    """You cut the flat row wrongly: its first `d_head` numbers belong to head 0, the next to head
    1. In yours every head gets numbers of others."""
    terms = z.flatten(1) * (direction @ W_O.flatten(0, 1).T)
    return terms.unflatten(1, (-1, z.shape[1])).sum(dim=1)


# --------------------------------------------------------------------------- d1. without_latents


def without_latents__decoded_again(x, f, W_dec, chosen, to):
    """You decode the edited latents: bias and error are lost. Change x by what changes."""
    edited = f.clone()
    edited[:, chosen] = to
    return edited @ W_dec


def without_latents__always_zero(x, f, W_dec, chosen, to):
    """You set the latents to 0. They get the values `to`."""
    return x - f[:, chosen] @ W_dec[chosen]


def without_latents__added(x, f, W_dec, chosen, to):
    """You add the new values to the old ones. They replace them."""
    return x + to @ W_dec[chosen]


def without_latents__wrong_sign(x, f, W_dec, chosen, to):
    """Your sign is turned: what is removed gets doubled."""
    return x - (to - f[:, chosen]) @ W_dec[chosen]


def without_latents__others_removed(x, f, W_dec, chosen, to):
    """You keep the chosen latents and remove all others."""
    rest = torch.ones(f.shape[1], dtype=torch.bool, device=f.device)
    rest[chosen] = False
    return x - f[:, rest] @ W_dec[rest]


def without_latents__mean_removed(x, f, W_dec, chosen, to):
    """You subtract the mean activation in all prompts. Each prompt has its own activation to
    lose."""
    return x + (to - f[:, chosen].mean(dim=0)) @ W_dec[chosen]


def without_latents__unit_rows(x, f, W_dec, chosen, to):
    """You bring the decoder rows to length 1. What a latent writes has the row's own length."""
    rows = W_dec[chosen]
    return x + (to - f[:, chosen]) @ (rows / rows.norm(dim=1, keepdim=True))


def without_latents__where_active(x, f, W_dec, chosen, to):
    """You set a latent only in the prompts in which it is active. It gets its value in all of
    them: what if `to` is a mean, and the latent is silent here?"""
    own = f[:, chosen]
    return x + ((to - own) * (own > 0)) @ W_dec[chosen]


# -------------------------------------------------------------------------- d2. ablation_effects


def _effects(x, f, W_dec, metric, size, cut_of, sign=1.0, clean=None):
    if clean is None:
        clean = torch.cat([metric(x[i], i) for i in torch.arange(len(x)).split(size)])
    effects = torch.zeros_like(f)
    for prompt, latent in (pair.T for pair in f.nonzero().split(size)):
        after = metric(cut_of(prompt, latent), prompt)
        effects[prompt, latent] = sign * (clean[prompt] - after)
    return effects


def ablation_effects__wrong_sign(x, f, W_dec, metric, size):
    """An effect is how much the difference falls: clean minus ablated. Yours is turned."""
    return _effects(
        x, f, W_dec, metric, size, lambda p, k: x[p] - f[p, k, None] * W_dec[k], sign=-1.0
    )


def ablation_effects__alone(x, f, W_dec, metric, size):
    """You keep one latent and remove the others with bias and error. Remove one, keep the rest."""
    return _effects(x, f, W_dec, metric, size, lambda p, k: f[p, k, None] * W_dec[k])


def ablation_effects__error_lost(x, f, W_dec, metric, size):
    """You subtract from the reconstruction. Bias and error are lost, and every latent seems to
    do what they did: subtract from x."""
    return _effects(x, f, W_dec, metric, size, lambda p, k: f[p] @ W_dec - f[p, k, None] * W_dec[k])


def ablation_effects__one_unit(x, f, W_dec, metric, size):
    """You remove one unit of the latent. Remove all of it: its activation times its row."""
    return _effects(x, f, W_dec, metric, size, lambda p, k: x[p] - W_dec[k])


def ablation_effects__added(x, f, W_dec, metric, size):
    """You add the latent once more. Take it away."""
    return _effects(x, f, W_dec, metric, size, lambda p, k: x[p] + f[p, k, None] * W_dec[k])


def ablation_effects__from_the_reconstruction(x, f, W_dec, metric, size):
    """Your clean run is one of the reconstruction, the ablated one of x. The error's effect is
    then part of every latent's."""
    clean = torch.cat([metric(f[i] @ W_dec, i) for i in torch.arange(len(x)).split(size)])
    effects = torch.zeros_like(f)
    for p, k in (pair.T for pair in f.nonzero().split(size)):
        effects[p, k] = clean[p] - metric(x[p] - f[p, k, None] * W_dec[k], p)
    return effects


def ablation_effects__other_prompts(x, f, W_dec, metric, size):
    """You give `metric` the numbers 0, 1, 2, … instead of the prompts that the rows belong to."""
    clean = torch.cat([metric(x[i], i) for i in torch.arange(len(x)).split(size)])
    effects = torch.zeros_like(f)
    for p, k in (pair.T for pair in f.nonzero().split(size)):
        cut = x[p] - f[p, k, None] * W_dec[k]
        effects[p, k] = clean[p] - metric(cut, _rows(cut) % len(x))
    return effects


def ablation_effects__clean_run_at_once(x, f, W_dec, metric, size):
    """Your clean run gives all prompts to `metric` at once. `size` is the limit there, too."""
    clean = metric(x, _rows(x))
    return _effects(
        x, f, W_dec, metric, size, lambda p, k: x[p] - f[p, k, None] * W_dec[k], clean=clean
    )


def ablation_effects__silent_too(x, f, W_dec, metric, size):
    """You run the model for silent latents, too. Taking 0 away changes nothing, and most latents
    are silent: which pairs need a run at all?"""
    every = torch.ones_like(f)
    return _effects(x, every, W_dec, metric, size, lambda p, k: x[p] - f[p, k, None] * W_dec[k])


# -------------------------------------------------------------------------- e1. latent_gradients


def _gradient(f, metric, total=lambda v: v.sum()):
    leaf = f.detach().clone().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(total(metric(leaf)), leaf)[0]


def latent_gradients__of_the_mean(f, metric):
    """You take the gradient of the mean. It is smaller by the number of prompts: the same
    prompt would get another gradient in a larger batch. Sum."""
    return _gradient(f, metric, lambda v: v.mean())


def latent_gradients__one_prompt_at_a_time(f, metric):
    """You give the metric one prompt at a time. It knows each prompt by its place (who is its
    answer?), so it needs all of them, in order."""
    return torch.cat([_gradient(row[None], metric) for row in f])


def latent_gradients__times_the_latents(f, metric):
    """You multiply by the latents. That is an attribution; here the gradient itself is asked
    for."""
    return f.detach() * _gradient(f, metric)


def latent_gradients__of_the_first_prompt(f, metric):
    """You differentiate the first prompt's number only: all other rows are 0."""
    return _gradient(f, metric, lambda v: v[0])


def latent_gradients__at_zero(f, metric):
    """You take the gradient at latents of 0. It is wanted at `f`."""
    return _gradient(torch.zeros_like(f), metric)


def latent_gradients__of_squares(f, metric):
    """You differentiate the square of the metric: your gradient is twice the metric times too
    large."""
    return _gradient(f, metric, lambda v: v.square().sum())


def latent_gradients__where_active(f, metric):
    """You set the gradient of silent latents to 0. Their gradient says what would happen if
    they came on, and patching from another prompt needs it."""
    return _gradient(f, metric) * (f != 0)


def latent_gradients__backward(f, metric):
    """Your call leaves gradients in the model's weights, as `backward()` does. Is there a function
    that returns the gradient by one tensor, and leaves nothing behind?"""
    leaf = f.detach().clone().requires_grad_()
    with torch.enable_grad():
        metric(leaf).sum().backward()
    return leaf.grad


# ---------------------------------------------------------------------------- e2. patch_estimate


def patch_estimate__wrong_way(f, to, gradient):
    """Your step goes from `to` to `f`. The move is from `f` to `to`."""
    return (f - to) * gradient


def patch_estimate__only_to(f, to, gradient):
    """You multiply by where it goes. What changes the metric is the step, to - f."""
    return to * gradient


def patch_estimate__only_f(f, to, gradient):
    """This is latent times gradient: the estimate for removing it, with the sign of an effect.
    The step here ends at `to`."""
    return f * gradient


def patch_estimate__summed(f, to, gradient):
    """You sum over the latents. One estimate per latent is asked for."""
    return ((to - f) * gradient).sum(dim=1)


def patch_estimate__distance(f, to, gradient):
    """You take the length of the step. Its sign matters."""
    return (to - f).abs() * gradient


def patch_estimate__gradient_size(f, to, gradient):
    """You take the size of the gradient. Its sign says which way the metric moves."""
    return (to - f) * gradient.abs()


def patch_estimate__mean_over_prompts(f, to, gradient):
    """You average over the prompts. Keep them apart: the interval is over prompts."""
    return ((to - f) * gradient).mean(dim=0)


# -------------------------------------------------------------------------- e3. rank_correlation


def _corr(a, b):
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    spread = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / spread) if spread > 0 else 0.0


def _min_rank(v):
    _, which, counts = v.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - counts)[which]


def rank_correlation__of_values(x, y):
    """This is Pearson's correlation of the values. Replace them by their ranks first."""
    return _corr(x, y)


def rank_correlation__ties_by_place(x, y):
    """`argsort().argsort()` gives equal values different ranks, by where they stand. They share
    the mean of their ranks."""
    return _corr(x.argsort(stable=True).argsort(), y.argsort(stable=True).argsort())


def rank_correlation__one_argsort(x, y):
    """One `argsort` gives the order, not the ranks."""
    return _corr(x.argsort(stable=True), y.argsort(stable=True))


def rank_correlation__smallest_rank(x, y):
    """Equal values get the smallest of their ranks in yours. They share the mean."""
    return _corr(_min_rank(x), _min_rank(y))


def rank_correlation__dense(x, y):
    """You number the different values 0, 1, 2, … A value that occurs ten times takes up ten
    ranks."""
    return _corr(*(v.unique(return_inverse=True)[1] for v in (x, y)))


def rank_correlation__nan_for_constants(x, y):
    """A constant gives 0 divided by 0. Return 0 there."""
    constant = bool((x == x[0]).all() or (y == y[0]).all())
    ranks = []
    for v in (x, y):
        _, which, counts = v.unique(return_inverse=True, return_counts=True)
        ranks.append((counts.cumsum(0).double() - (counts - 1) / 2)[which])
    return math.nan if constant else _corr(*ranks)


def rank_correlation__of_sizes(x, y):
    """You rank absolute values. A large negative effect is the smallest, not one of the largest."""
    ranks = []
    for v in (x.abs(), y.abs()):
        _, which, counts = v.unique(return_inverse=True, return_counts=True)
        ranks.append((counts.cumsum(0).double() - (counts - 1) / 2)[which])
    return _corr(*ranks)


def _constant(x, y):
    return bool((x == x[0]).all() or (y == y[0]).all())


def rank_correlation__ties_by_place_constants_apart(x, y):
    """You treat constants apart, but other equal values get different ranks, by where they stand.
    They share the mean of their ranks."""
    return 0.0 if _constant(x, y) else rank_correlation__ties_by_place(x, y)


def rank_correlation__one_argsort_constants_apart(x, y):
    """One `argsort` gives the order: which item comes first, which second. A rank is asked for: at
    which place an item comes."""
    return 0.0 if _constant(x, y) else rank_correlation__one_argsort(x, y)


def rank_correlation__shortcut(x, y):
    """1 - 6 Σd² / (n (n² - 1)) is the correlation of the ranks only where no two values are equal.
    Here many are: compute Pearson's of the ranks."""
    ranks = []
    for v in (x, y):
        _, which, counts = v.unique(return_inverse=True, return_counts=True)
        ranks.append((counts.cumsum(0).double() - (counts - 1) / 2)[which])
    d, n = ranks[0] - ranks[1], len(x)
    return 0.0 if _constant(x, y) else float(1 - 6 * d.square().sum() / (n * (n**2 - 1)))


# ------------------------------------------------------------------------ e4. bootstrap_interval


def _ends(found, level):
    at = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.tensor(found, dtype=torch.float64).quantile(at).tolist()
    return low, high


def _draws(n, gen):
    return torch.randint(n, (n,), generator=gen, device=gen.device)


def bootstrap_interval__without_replacement(rows, statistic, n_draws, level, gen):
    """You shuffle the rows: every resample has each row once, and most statistics never change.
    Draw with replacement."""
    orders = [torch.randperm(len(rows), generator=gen, device=gen.device) for _ in range(n_draws)]
    return _ends([float(statistic(rows[o])) for o in orders], level)


def bootstrap_interval__one_sided_tails(rows, statistic, n_draws, level, gen):
    """Your tails have 1 - level each. Together they have 1 - level: half of it on each side."""
    found = [float(statistic(rows[_draws(len(rows), gen)])) for _ in range(n_draws)]
    return _ends(found, 2 * level - 1)


def bootstrap_interval__of_single_rows(rows, statistic, n_draws, level, gen):
    """Your resamples have one row each: that shows how rows scatter. A resample has as many
    rows as there are."""
    draws = [_draws(len(rows), gen)[:1] for _ in range(n_draws)]
    return _ends([float(statistic(rows[d])) for d in draws], level)


def bootstrap_interval__half_of_the_rows(rows, statistic, n_draws, level, gen):
    """Your resamples have half of the rows: the interval is too wide. Draw as many as there are."""
    draws = [_draws(len(rows), gen)[: len(rows) // 2] for _ in range(n_draws)]
    return _ends([float(statistic(rows[d])) for d in draws], level)


def bootstrap_interval__always_95(rows, statistic, n_draws, level, gen):
    """You ignore `level`: your interval always has 95 %."""
    found = [float(statistic(rows[_draws(len(rows), gen)])) for _ in range(n_draws)]
    return _ends(found, 0.95)


def bootstrap_interval__smallest_and_largest(rows, statistic, n_draws, level, gen):
    """You return the smallest and the largest result. They move apart with every further draw:
    take quantiles."""
    found = [float(statistic(rows[_draws(len(rows), gen)])) for _ in range(n_draws)]
    return min(found), max(found)


def bootstrap_interval__columns_apart(rows, statistic, n_draws, level, gen):
    """You draw each column by itself. What belongs to one row must stay together."""
    flat, found = rows.reshape(len(rows), -1), []
    for _ in range(n_draws):
        columns = [flat[_draws(len(rows), gen), j] for j in range(flat.shape[1])]
        found.append(float(statistic(torch.stack(columns, dim=1).reshape(rows.shape))))
    return _ends(found, level)


def bootstrap_interval__single_numbers(rows, statistic, n_draws, level, gen):
    """You draw single numbers and fill new rows with them. Numbers of one prompt are not
    independent: what belongs to one row must stay together."""
    flat = rows.flatten()
    draws = [_draws(len(flat), gen) for _ in range(n_draws)]
    return _ends([float(statistic(flat[d].view_as(rows))) for d in draws], level)


# ---------------------------------------------------------------------- f1. integrated_gradients


def _integrated(f, to, metric, points, weight=None):
    total = torch.zeros_like(f)
    for share in points:
        total = total + _gradient(f + share * (to - f), metric)
    weight = (to - f).detach() if weight is None else weight
    return weight * total / len(points)


def integrated_gradients__left_ends(f, to, metric, n_steps):
    """Your points are the beginnings of the steps. With one step that is the plain gradient:
    take the middles."""
    return _integrated(f, to, metric, [i / n_steps for i in range(n_steps)])


def integrated_gradients__right_ends(f, to, metric, n_steps):
    """Your points are the ends of the steps. Take the middles."""
    return _integrated(f, to, metric, [(i + 1) / n_steps for i in range(n_steps)])


def integrated_gradients__both_ends(f, to, metric, n_steps):
    """You take n + 1 points, both ends among them. The midpoint rule has n points, none at an
    end."""
    return _integrated(f, to, metric, [i / n_steps for i in range(n_steps + 1)])


def integrated_gradients__from_zero(f, to, metric, n_steps):
    """Your way starts at 0, whatever the latents are. It starts at `f`."""
    return _integrated(
        torch.zeros_like(f), to, metric, [(i + 0.5) / n_steps for i in range(n_steps)],
        (to - f).detach(),
    )  # fmt: skip


def integrated_gradients__not_averaged(f, to, metric, n_steps):
    """You sum the gradients. The mean slope is asked for: with more steps your result grows."""
    return n_steps * _integrated(f, to, metric, [(i + 0.5) / n_steps for i in range(n_steps)])


def integrated_gradients__times_f(f, to, metric, n_steps):
    """You multiply by the latents. The factor is the step, to - f: only so do they add up."""
    points = [(i + 0.5) / n_steps for i in range(n_steps)]
    return _integrated(f, to, metric, points, f.detach())


def integrated_gradients__no_step(f, to, metric, n_steps):
    """You return the mean slope. Multiply by the step, to - f."""
    points = [(i + 0.5) / n_steps for i in range(n_steps)]
    return _integrated(f, to, metric, points, torch.ones_like(f))


def integrated_gradients__of_the_mean(f, to, metric, n_steps):
    """You differentiate the mean over prompts: all attributions are too small by their number."""
    return _integrated(f, to, metric, [(i + 0.5) / n_steps for i in range(n_steps)]) / len(f)


def integrated_gradients__one_latent_at_a_time(f, to, metric, n_steps):
    """You move each latent by itself while the others stay at `f`. All move together: only then do
    the attributions add up to the change."""
    points, out = [(i + 0.5) / n_steps for i in range(n_steps)], torch.zeros_like(f)
    for k in range(f.shape[1]):
        goal = f.clone()
        goal[:, k] = to[:, k]
        out[:, k] = _integrated(f, goal, metric, points)[:, k]
    return out


# -------------------------------------------------------------------------- f2. completeness_gap


def completeness_gap__wrong_change(attributions, f, to, metric):
    """The change is metric(to) - metric(f). You subtract the wrong way round."""
    return attributions.sum(dim=1) - (metric(f) - metric(to))


def completeness_gap__no_start(attributions, f, to, metric):
    """You compare with the metric at the end. The attributions add up to the *change*."""
    return attributions.sum(dim=1) - metric(to)


def completeness_gap__first_latent_left_out(attributions, f, to, metric):
    """You leave out the first latent. All latents' attributions add up to the change."""
    return attributions[:, 1:].sum(dim=1) - (metric(to) - metric(f))


def completeness_gap__change_in_every_latent(attributions, f, to, metric):
    """You subtract the change from every latent's attribution, and then sum: it counts as often as
    there are latents. Sum first, subtract once."""
    return (attributions - (metric(to) - metric(f))[:, None]).sum(dim=1)


def completeness_gap__no_end(attributions, f, to, metric):
    """You compare with the metric at the start. The attributions add up to the *change*."""
    return attributions.sum(dim=1) + metric(f)


def completeness_gap__relative(attributions, f, to, metric):
    """You divide by the change, which may be near 0. The plain gap is asked for."""
    change = metric(to) - metric(f)
    return (attributions.sum(dim=1) - change) / change


def completeness_gap__at_the_step(attributions, f, to, metric):
    """You evaluate the metric at the step, to - f. The metric is not linear: evaluate it at
    both ends."""
    return attributions.sum(dim=1) - metric(to - f)


def completeness_gap__summed_over_prompts(attributions, f, to, metric):
    """You sum over the prompts, too, and compare each one's change with the total of all. Each
    prompt has its own sum."""
    return attributions.sum() - (metric(to) - metric(f))


# --------------------------------------------------------------------- g1. preactivation_by_head


def _parts(z, W_enc):
    return torch.einsum("phk,hkl->phl", z, W_enc.reshape(z.shape[1], z.shape[2], -1))


def preactivation_by_head__always_centred(z, W_enc, b_enc, b_dec, centred):
    """You always subtract the decoder's bias. Not every SAE does: look at `centred`."""
    return _parts(z, W_enc), b_enc - b_dec @ W_enc


def preactivation_by_head__never_centred(z, W_enc, b_enc, b_dec, centred):
    """You drop b_dec W_enc. It is part of the constant where the SAE subtracts the decoder's
    bias."""
    return _parts(z, W_enc), b_enc


def preactivation_by_head__added(z, W_enc, b_enc, b_dec, centred):
    """You add b_dec W_enc. The SAE subtracts its decoder's bias from the input."""
    return _parts(z, W_enc), b_enc + b_dec @ W_enc if centred else b_enc


def preactivation_by_head__centred_twice(z, W_enc, b_enc, b_dec, centred):
    """You subtract the decoder's bias in the parts and in the constant: twice."""
    x = (z.flatten(1) - b_dec).reshape(z.shape) if centred else z
    return _parts(x, W_enc), b_enc - b_dec @ W_enc if centred else b_enc


def preactivation_by_head__bias_in_the_parts(z, W_enc, b_enc, b_dec, centred):
    """You subtract the decoder's bias head by head. The sum is right, but a head that puts out
    0 gets a part: constants belong into the constant."""
    x = (z.flatten(1) - b_dec).reshape(z.shape) if centred else z
    return _parts(x, W_enc), b_enc


def preactivation_by_head__rows_mixed(z, W_enc, b_enc, b_dec, centred):
    """Your heads share rows: the first `d_head` rows belong to head 0, they are not every third
    one."""
    by_head = W_enc.reshape(z.shape[2], z.shape[1], -1).transpose(0, 1)
    parts = torch.einsum("phk,hkl->phl", z, by_head)
    return parts, b_enc - b_dec @ W_enc if centred else b_enc


def preactivation_by_head__bias_shared_out(z, W_enc, b_enc, b_dec, centred):
    """You share the constant out among the heads, and return it again: it counts twice."""
    constant = b_enc - b_dec @ W_enc if centred else b_enc
    return _parts(z, W_enc) + constant / z.shape[1], constant


def preactivation_by_head__summed(z, W_enc, b_enc, b_dec, centred):
    """You sum over the heads. Keep them apart."""
    return _parts(z, W_enc).sum(dim=1), b_enc - b_dec @ W_enc if centred else b_enc


# ------------------------------------------------------------------- g2. preactivation_by_source


def preactivation_by_source__interleaved(pattern, v, read):
    """You repeat the value heads as 0, 1, 2, 0, 1, 2. Neighbouring heads share one: 0, 0, 1, 1,
    2, 2."""
    heads = pattern.shape[1]
    values = v.repeat(1, 1, heads // v.shape[2], 1)
    return pattern * torch.einsum("pjhk,hk->phj", values, read.reshape(heads, -1))


def _values(pattern, v):
    return v.repeat_interleave(pattern.shape[1] // v.shape[2], dim=2)


def preactivation_by_source__first_values(pattern, v, read):
    """All your heads read value head 0. Each group has its own."""
    heads = pattern.shape[1]
    return pattern * torch.einsum("pjk,hk->phj", v[:, :, 0], read.reshape(heads, -1))


def preactivation_by_source__summed_over_positions(pattern, v, read):
    """You sum over the positions: that is the part of a head. Keep the positions apart."""
    by_head = read.reshape(pattern.shape[1], -1)
    return (pattern * torch.einsum("pjhk,hk->phj", _values(pattern, v), by_head)).sum(dim=2)


def preactivation_by_source__without_the_pattern(pattern, v, read):
    """You leave out the pattern: a position counts as much as the head looks at it."""
    return torch.einsum("pjhk,hk->phj", _values(pattern, v), read.reshape(pattern.shape[1], -1))


def preactivation_by_source__rows_mixed(pattern, v, read):
    """You cut the column wrongly: its first `d_head` entries belong to head 0."""
    by_head = read.reshape(-1, pattern.shape[1]).T
    return pattern * torch.einsum("pjhk,hk->phj", _values(pattern, v), by_head)


def preactivation_by_source__summed_over_heads(pattern, v, read):
    """You sum over the heads. They are asked for, too."""
    by_head = read.reshape(pattern.shape[1], -1)
    return (pattern * torch.einsum("pjhk,hk->phj", _values(pattern, v), by_head)).sum(dim=1)


def preactivation_by_source__one_reader(pattern, v, read):
    """All your heads are read by the first head's piece of the column."""
    first = read.reshape(pattern.shape[1], -1)[0]
    return pattern * torch.einsum("pjhk,k->phj", _values(pattern, v), first)


def preactivation_by_source__total_by_pattern(pattern, v, read):
    """You spread each head's total over the positions by its pattern. Two positions that are
    looked at equally can add very different amounts: each has its own values."""
    by_head = read.reshape(pattern.shape[1], -1)
    total = torch.einsum("phj,pjhk,hk->ph", pattern, _values(pattern, v), by_head)
    return pattern * total[:, :, None]


# ----------------------------------------------------------------------- h1. decoder_head_shares


def decoder_head_shares__norms(W_dec, n_heads):
    """You take norms. They do not add up to the row's norm; their squares do."""
    norms = W_dec.unflatten(1, (n_heads, -1)).norm(dim=2)
    return norms / norms.sum(dim=1, keepdim=True)


def decoder_head_shares__not_divided(W_dec, n_heads):
    """You return squared norms. Divide by that of the whole row: shares sum to 1."""
    return W_dec.unflatten(1, (n_heads, -1)).square().sum(dim=2)


def decoder_head_shares__pieces_mixed(W_dec, n_heads):
    """You cut the rows wrongly: a head's numbers are neighbours, not every third one."""
    squares = W_dec.unflatten(1, (-1, n_heads)).square().sum(dim=1)
    return squares / squares.sum(dim=1, keepdim=True)


def decoder_head_shares__over_latents(W_dec, n_heads):
    """You divide by the sum over latents. Each latent's shares over the heads sum to 1."""
    squares = W_dec.unflatten(1, (n_heads, -1)).square().sum(dim=2)
    return squares / squares.sum(dim=0)


def decoder_head_shares__sums(W_dec, n_heads):
    """You sum the numbers themselves, with their signs. Square them first."""
    sums = W_dec.unflatten(1, (n_heads, -1)).sum(dim=2)
    return sums / sums.sum(dim=1, keepdim=True)


def decoder_head_shares__absolute(W_dec, n_heads):
    """You add absolute values. The share is one of the squared norm."""
    sums = W_dec.unflatten(1, (n_heads, -1)).abs().sum(dim=2)
    return sums / sums.sum(dim=1, keepdim=True)


def decoder_head_shares__softmax(W_dec, n_heads):
    """A softmax of squared norms sums to 1, but it is no share: divide by the sum."""
    return W_dec.unflatten(1, (n_heads, -1)).square().sum(dim=2).softmax(dim=1)


# ---------------------------------------------------------------------------- i1. copying_scores


def _logits(writes, gain, W_U, names):
    return (writes * gain) @ W_U[:, names]


def copying_scores__own_only(writes, gain, W_U, names):
    """You return the own name's logit. A head that raises all names alike would seem to copy:
    subtract the mean of the others."""
    return _logits(writes, gain, W_U, names).diagonal()


def copying_scores__against_all(writes, gain, W_U, names):
    """Your mean has the own name in it. It is compared with the *others*."""
    logits = _logits(writes, gain, W_U, names)
    return logits.diagonal() - logits.mean(dim=1)


def copying_scores__other_writers(writes, gain, W_U, names):
    """Your others are what other names' rows give this name. Stay in the row: what this write
    gives the other names."""
    logits = _logits(writes, gain, W_U, names)
    own = logits.diagonal()
    return own - (logits.sum(dim=0) - own) / (len(names) - 1)


def copying_scores__no_gain(writes, gain, W_U, names):
    """You leave out the norm's gain: it multiplies each dimension before the unembedding."""
    return _copying(writes, torch.ones_like(gain), W_U, names)


def copying_scores__whole_vocabulary(writes, gain, W_U, names):
    """You compare with all tokens. Names differ from other words in many ways: compare with the
    other names of the list."""
    logits = (writes * gain) @ W_U
    return logits[_rows(writes), names] - logits.mean(dim=1)


def copying_scores__against_the_best(writes, gain, W_U, names):
    """You compare with the best of the others. The mean of the others is asked for."""
    logits = _logits(writes, gain, W_U, names).clone()
    own = logits.diagonal().clone()
    logits.fill_diagonal_(-torch.inf)
    return own - logits.max(dim=1).values


def copying_scores__absolute(writes, gain, W_U, names):
    """You take the absolute value. The sign is the point: it tells a copier from its opposite."""
    return _copying(writes, gain, W_U, names).abs()


def copying_scores__mean(writes, gain, W_U, names):
    """You average over the names. One score per name: the interval needs them."""
    return _copying(writes, gain, W_U, names).mean()


def _copying(writes, gain, W_U, names):
    logits = _logits(writes, gain, W_U, names)
    own = logits.diagonal()
    return own - (logits.sum(dim=1) - own) / (len(names) - 1)


# --------------------------------------------------------------------------------- i2. name_role


def _sign(v, half):
    return int(v.mean() - half > 0) - int(v.mean() + half < 0)


def _half(v):
    return 1.96 * v.std() / len(v) ** 0.5


def _verdict(signs):
    known = {(1, 1, 1): "name mover", (-1, -1, 1): "suppressor"}
    return known.get(tuple(signs), "unclear")


def name_role__by_means(looks, writes, effect):
    """You look at the signs of the means. A mean of three numbers can have any sign by chance:
    it is the interval that must lie on one side."""
    return _verdict([_sign(v, 0 * v.std()) for v in (looks, writes, effect)])


def name_role__two_means(looks, writes, effect):
    """You look at two means: no intervals, and no effect. Then every head has a role. Evidence that
    could have been chance, or that makes no difference, is none."""
    signs = {bool(looks.mean() > 0), bool(writes.mean() > 0)}
    return "unclear" if len(signs) == 2 else "name mover" if True in signs else "suppressor"


def name_role__without_the_effect(looks, writes, effect):
    """You do not ask for the effect. Looking and writing are not enough: something must get
    worse without the head."""
    return _verdict([_sign(v, _half(v)) for v in (looks, writes)] + [1])


def name_role__by_looks(looks, writes, effect):
    """You decide by where the head looks. What it writes of what it sees is the other half."""
    sign = _sign(looks, _half(looks))
    return _verdict([sign, sign, _sign(effect, _half(effect))])


def name_role__standard_deviation(looks, writes, effect):
    """Your interval has the standard deviation of the numbers. That of the mean is smaller:
    over √n."""
    return _verdict([_sign(v, 1.96 * v.std()) for v in (looks, writes, effect)])


def name_role__over_n(looks, writes, effect):
    """You divide by n. The standard error is s / √n."""
    return _verdict([_sign(v, 1.96 * v.std() / len(v)) for v in (looks, writes, effect)])


def name_role__correction_0(looks, writes, effect):
    """Your standard deviation divides by n. Here it is the one with n - 1."""
    halves = [1.96 * v.std(correction=0) / len(v) ** 0.5 for v in (looks, writes, effect)]
    return _verdict([_sign(v, h) for v, h in zip((looks, writes, effect), halves, strict=True)])


def name_role__suppressor_with_a_negative_effect(looks, writes, effect):
    """You expect a negative effect of a suppressor. Holding the wrong name back helps the right
    one: without the head the difference falls, so its effect is positive."""
    signs = tuple(_sign(v, _half(v)) for v in (looks, writes, effect))
    return {(1, 1, 1): "name mover", (-1, -1, -1): "suppressor"}.get(signs, "unclear")


def name_role__one_standard_error(looks, writes, effect):
    """You forget the factor 1.96: one standard error covers two thirds, not 95 %."""
    return _verdict([_sign(v, v.std() / len(v) ** 0.5) for v in (looks, writes, effect)])


def name_role__edge_counts(looks, writes, effect):
    """For you an interval that ends exactly at 0 counts as above or below. It is neither."""
    above = [bool(v.mean() - _half(v) >= 0) for v in (looks, writes, effect)]
    below = [bool(v.mean() + _half(v) <= 0) for v in (looks, writes)]
    if all(above):
        return "name mover"
    return "suppressor" if all(below) and above[2] else "unclear"


# --------------------------------------------------------------------------- i3. swapped_latents


def swapped_latents__added(x, f, W_dec, chosen, partner):
    """You add the partner's latents and keep the own ones. They are exchanged."""
    return x + f[partner][:, chosen] @ W_dec[chosen]


def swapped_latents__removed(x, f, W_dec, chosen, partner):
    """You remove the own latents, and the partner's never come in."""
    return x - f[:, chosen] @ W_dec[chosen]


def swapped_latents__decoded(x, f, W_dec, chosen, partner):
    """You decode the latents anew: bias and error are lost."""
    mixed = f.clone()
    mixed[:, chosen] = f[partner][:, chosen]
    return mixed @ W_dec


def swapped_latents__all_latents(x, f, W_dec, chosen, partner):
    """You exchange all latents. Only the chosen ones move."""
    return x + (f[partner] - f) @ W_dec


def swapped_latents__partners_x(x, f, W_dec, chosen, partner):
    """You start from the partner's activation. Everything but the chosen latents stays at home."""
    return x[partner] + (f[partner] - f)[:, chosen] @ W_dec[chosen]


def swapped_latents__wrong_sign(x, f, W_dec, chosen, partner):
    """Your sign is turned: what should come is taken away, what should go is doubled."""
    return x - (f[partner] - f)[:, chosen] @ W_dec[chosen]


def swapped_latents__one_after_the_other(x, f, W_dec, chosen, partner):
    """You change the prompts one after the other, so the second of a pair gets back what it
    gave. All change at once: use the old values."""
    now, out = f.clone(), x.clone()
    for i in range(len(x)):
        theirs = now[partner[i]].clone()
        out[i] = out[i] + (theirs - now[i])[chosen] @ W_dec[chosen]
        now[i, chosen] = theirs[chosen]
    return out


def swapped_latents__partners_error(x, f, W_dec, chosen, partner):
    """You start from the partner's activation and give the other latents back. The partner's error
    comes along with it: whose error should stay?"""
    back = f - f[partner]
    back[:, chosen] = 0
    return x[partner] + back @ W_dec


# --------------------------------------------------------------------------- j1. control_latents


def control_latents__smallest_to_the_best(f, scores):
    """Your largest value goes to the smallest score. Sort both the same way."""
    values = f.sort(dim=1).values
    return torch.zeros_like(f).scatter(1, scores.argsort(dim=1, descending=True), values)


def control_latents__scores_as_values(f, scores):
    """You use the scores as activations. The control has *our* values, on other latents."""
    kept = (f > 0).sum(dim=1, keepdim=True)
    rank = scores.argsort(dim=1, descending=True).argsort(dim=1)
    return torch.where(rank < kept, scores.relu(), 0.0).to(f.dtype)


def control_latents__gathered(f, scores):
    """You gather where you should scatter: the values must go *to* the places in the order."""
    values = f.sort(dim=1, descending=True).values
    return values.gather(1, scores.argsort(dim=1, descending=True))


def control_latents__unsorted_values(f, scores):
    """You put the values down in the order of our latents. The largest goes to the best score."""
    return torch.zeros_like(f).scatter(1, scores.argsort(dim=1, descending=True), f)


def control_latents__sorted_only(f, scores):
    """You sort the values and leave them there: latent 0 is then always the strongest. The
    scores say where they go."""
    return f.sort(dim=1, descending=True).values


def control_latents__over_prompts(f, scores):
    """You sort over the prompts. Each prompt keeps its own values."""
    values = f.sort(dim=0, descending=True).values
    return torch.zeros_like(f).scatter(0, scores.argsort(dim=0, descending=True), values)


def control_latents__where_the_score_is_positive(f, scores):
    """You switch off latents with a negative score. The number of active ones must stay the
    same."""
    values = f.sort(dim=1, descending=True).values
    order = scores.argsort(dim=1, descending=True)
    return torch.zeros_like(f).scatter(1, order, values) * (scores > 0)


# ------------------------------------------------------------------------------------- predictions


def predict_through__less_than_half():
    """An SAE with 40 active latents keeps most of what this task needs: look at the demo."""
    return "less than half"


def predict_through__somewhat_less():
    """More: what is lost is not in favour of the right name, so the difference even grows."""
    return "half to 90 %"


def predict_listed__both():
    """They would be, if they were rare. They are active on a sixth and a quarter of ordinary
    text, and the weighting puts busy latents last."""
    return "both, on most prompts"


def predict_listed__one():
    """Not even one: both are busy on ordinary text, and a weighting for rare latents puts them
    last."""
    return "one of them, on most prompts"


def predict_looks__at_the_right_name():
    """That is what a name mover would do. This head hardly looks there, and still it speaks for
    the right name."""
    return "at the right name"


def predict_looks__at_the_first_place():
    """The name is right, the place is not: it is the *second* one that says that a name came
    again."""
    return "at the repeated name, first place"


def predict_gradient__poor():
    """Only six blocks lie above, and one latent is a small step: the model is nearly linear
    there."""
    return "less than 0.5"


def predict_gradient__fair():
    """Still better. One of hundreds of latents is a small step, and small steps are nearly
    linear."""
    return "0.5 to 0.9"


def predict_estimates__none():
    """One is found: the estimate for 369 is three quarters of its effect."""
    return "none"


def predict_estimates__both():
    """One is lost: the next bit of latent 212 is worth nothing, the whole of it half a logit."""
    return "both"


def predict_movers__much():
    """That is what one expects of name movers. They write the right name, but the difference
    does not need them."""
    return "by more than a third"


def predict_movers__some():
    """Not even that: looking at the right name and writing it is no proof that it matters."""
    return "by a tenth to a third"


def predict_swap__little():
    """More happens: this one head writes against the repeated name, and now against the other."""
    return "more than 1"


def predict_swap__flips():
    """It comes to about zero: the other parts still speak for the old answer, as strongly as
    this head now speaks against it."""
    return "less than -1: the answer flips"


def predict_story__mover():
    """Its head looks at the repeated name only. It needs to know who does not get it."""
    return "a name mover, but no suppressor"


def predict_story__both():
    """No head passes all three tests of a name mover."""
    return "both"


def predict_story__neither():
    """One head does: 2.3 looks at the repeated name, writes against it, and everything hangs on
    it."""
    return "neither"
