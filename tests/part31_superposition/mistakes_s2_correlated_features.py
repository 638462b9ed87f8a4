"""Wrong answers that learners of 3.1.2 give, each with what a tutor would say."""

import torch
from einops import einsum


def _draw(gen, *size):
    return torch.rand(size, generator=gen, device=gen.device)


def _side_by_side(first, second):
    return torch.stack([first, second], dim=-1).flatten(2)


def _strong(mask, gen):
    """Active features get strengths of their own."""
    return torch.where(mask, _draw(gen, *mask.shape), 0.0)


# ----------------------------------------------------------------------------- a. correlated_pairs


def correlated_pairs__a_coin_for_each(batch, inst, pair, probability, gen):
    """You throw a coin for every feature, so partners are on together only by chance. How many
    coins does a pair share?"""
    coin = _draw(gen, batch, inst, pair, 2) < torch.as_tensor(probability)[..., None]
    return _strong(coin.flatten(2), gen)


def correlated_pairs__shared_strength(batch, inst, pair, probability, gen):
    """Partners of yours always have the same strength. They share the coin, not the strength:
    draw one strength for each feature."""
    coin = _draw(gen, batch, inst, pair) < probability
    return torch.where(coin, _draw(gen, batch, inst, pair), 0.0).repeat_interleave(2, dim=-1)


def correlated_pairs__all_ones(batch, inst, pair, probability, gen):
    """Your active features are all exactly 1. The coin says *whether*; the strength, uniform on
    [0, 1], is still missing."""
    return (_draw(gen, batch, inst, pair) < probability).float().repeat_interleave(2, dim=-1)


def correlated_pairs__coin_reused_as_strength(batch, inst, pair, probability, gen):
    """You keep the number that decided whether the pair is on. It is below p whenever it is on,
    so rare pairs are weak, and partners are equal. Draw strengths separately."""
    u = _draw(gen, batch, inst, pair)
    return torch.where(u < probability, u, 0.0).repeat_interleave(2, dim=-1)


def correlated_pairs__partners_half_a_row_apart(batch, inst, pair, probability, gen):
    """Your partners are k and k + pair: `repeat` and `cat` put the copies behind each other. A
    pair is 2k and 2k + 1, neighbours."""
    coin = _draw(gen, batch, inst, pair) < probability
    return _strong(coin.repeat(1, 1, 2), gen)


def correlated_pairs__both_coins_must_fall(batch, inst, pair, probability, gen):
    """You throw two coins and ask for both. Then a feature is on with p squared. One coin with
    probability p decides for both."""
    coins = _draw(gen, batch, inst, pair, 2) < torch.as_tensor(probability)[..., None]
    return _strong(coins.all(-1).repeat_interleave(2, dim=-1), gen)


def correlated_pairs__either_coin_will_do(batch, inst, pair, probability, gen):
    """You throw two coins and are content with one. Then a feature is on with 1 - (1 - p)². One
    coin with probability p decides for both."""
    coins = _draw(gen, batch, inst, pair, 2) < torch.as_tensor(probability)[..., None]
    return _strong(coins.any(-1).repeat_interleave(2, dim=-1), gen)


def correlated_pairs__one_coin_a_row(batch, inst, pair, probability, gen):
    """All pairs of a row come on together. Each pair has a coin of its own: shape (batch, inst,
    pair)."""
    coin = (_draw(gen, batch, inst, 1) < probability).expand(batch, inst, pair)
    return _strong(coin.repeat_interleave(2, dim=-1), gen)


def correlated_pairs__coins_shared_over_instances(batch, inst, pair, probability, gen):
    """All instances share their coins. They are separate models with separate data: draw for
    each."""
    coin = (_draw(gen, batch, 1, pair) < probability).expand(batch, inst, pair)
    return _strong(coin.repeat_interleave(2, dim=-1), gen)


def correlated_pairs__coins_shared_over_batch(batch, inst, pair, probability, gen):
    """You draw the coins once and use them for every row: a pair is on in all rows or in
    none."""
    coin = (_draw(gen, inst, pair) < probability).expand(batch, inst, pair)
    return _strong(coin.repeat_interleave(2, dim=-1), gen)


def correlated_pairs__first_probability_only(batch, inst, pair, probability, gen):
    """You use one probability for all. A tensor of shape (inst, 1), (1, pair) or (inst, pair)
    broadcasts by itself against the coins, before they are doubled."""
    p = torch.as_tensor(probability).flatten()[0]
    coin = _draw(gen, batch, inst, pair) < p
    return _strong(coin.repeat_interleave(2, dim=-1), gen)


def correlated_pairs__probability_as_sparsity(batch, inst, pair, probability, gen):
    """Your pairs are *off* with the given probability. Which way round is your comparison?"""
    coin = _draw(gen, batch, inst, pair) > probability
    return _strong(coin.repeat_interleave(2, dim=-1), gen)


def correlated_pairs__pair_counts_features(batch, inst, pair, probability, gen):
    """You took `pair` for the number of features. It counts pairs, so the result has twice as
    many features."""
    coin = _draw(gen, batch, inst, pair // 2) < probability
    return _strong(coin.repeat_interleave(2, dim=-1), gen)


def correlated_pairs__own_generator(batch, inst, pair, probability, gen):
    """You make a generator of your own, so every call returns the same batch. Draw from
    `gen`."""
    own = torch.Generator(gen.device).manual_seed(0)
    coin = _draw(own, batch, inst, pair) < probability
    return _strong(coin.repeat_interleave(2, dim=-1), own)


def correlated_pairs__outside_the_generator(batch, inst, pair, probability, gen):
    """A draw of yours does not use `gen`, so the same generator gives a new batch every time. Pass
    `generator=gen` to each call of `torch.rand`."""
    coin = _draw(gen, batch, inst, pair) < probability
    on = coin.repeat_interleave(2, dim=-1)
    return torch.where(on, torch.rand(batch, inst, 2 * pair, device=gen.device), 0.0)


def correlated_pairs__probability_on_the_wrong_axis(batch, inst, pair, probability, gen):
    """Your coins have an extra axis at the end, and a tensor of probabilities lines up with that
    one. Compare first, with coins of shape (batch, inst, pair), and double afterwards."""
    coin = _draw(gen, batch, inst, pair, 1) < probability
    return torch.where(coin, _draw(gen, batch, inst, pair, 2), 0.0).flatten(2)


def correlated_pairs__mirrored_strengths(batch, inst, pair, probability, gen):
    """The strengths of two partners add up to 1: you draw one number u and use u and 1 - u. Draw
    one number for each feature."""
    coin = _draw(gen, batch, inst, pair) < probability
    u = _draw(gen, batch, inst, pair)
    return torch.where(coin.repeat_interleave(2, dim=-1), _side_by_side(u, 1 - u), 0.0)


def correlated_pairs__never_weak(batch, inst, pair, probability, gen):
    """You keep the strengths away from 0. They are uniform on all of [0, 1]."""
    coin = (_draw(gen, batch, inst, pair) < probability).repeat_interleave(2, dim=-1)
    return torch.where(coin, _draw(gen, *coin.shape).clamp(min=0.1), 0.0)


# ------------------------------------------------------------------------- b. anticorrelated_pairs


def _check(probability):
    largest = float(torch.as_tensor(probability).max())
    if largest > 0.5:
        raise ValueError(f"p = {largest} is above 1/2")


def _choose(fires, gen):
    """Of each firing pair a fair coin picks one."""
    heads = _draw(gen, *fires.shape) < 0.5
    return _side_by_side(fires & heads, fires & ~heads)


def anticorrelated_pairs__pair_fires_with_p(batch, inst, pair, probability, gen):
    """Your *pair* fires with probability p, and then one of the two is chosen. So each feature is
    on with p/2. With which probability must the pair fire?"""
    _check(probability)
    return _strong(_choose(_draw(gen, batch, inst, pair) < probability, gen), gen)


def anticorrelated_pairs__a_coin_for_each(batch, inst, pair, probability, gen):
    """You throw a coin for every feature. Sometimes both fall, and then both are on: that must
    never happen."""
    _check(probability)
    coin = _draw(gen, batch, inst, pair, 2) < torch.as_tensor(probability)[..., None]
    return _strong(coin.flatten(2), gen)


def anticorrelated_pairs__one_is_always_on(batch, inst, pair, probability, gen):
    """Where the first is off, your second is on, so a pair is never silent. Both can be off, with
    probability 1 - 2p."""
    _check(probability)
    first = _draw(gen, batch, inst, pair) < probability
    return _strong(_side_by_side(first, ~first), gen)


def anticorrelated_pairs__first_is_favoured(batch, inst, pair, probability, gen):
    """Your second feature gets a chance only where the first is off, so it is on with p(1 - p),
    less often than the first. Both need exactly p."""
    _check(probability)
    first = _draw(gen, batch, inst, pair) < probability
    second = (_draw(gen, batch, inst, pair) < probability) & ~first
    return _strong(_side_by_side(first, second), gen)


def anticorrelated_pairs__collisions_dropped(batch, inst, pair, probability, gen):
    """You throw two coins and clear both features where both fell. That removes some of the
    probability: each is left with p(1 - p)."""
    _check(probability)
    coin = _draw(gen, batch, inst, pair, 2) < torch.as_tensor(probability)[..., None]
    return _strong((coin & (coin.sum(-1, keepdim=True) == 1)).flatten(2), gen)


def anticorrelated_pairs__collisions_drawn_by_lot(batch, inst, pair, probability, gen):
    """You throw two coins, and where both fell a lot decides. Fair, but each feature loses half of
    the collisions: p - p²/2. The two events must exclude each other from the start."""
    _check(probability)
    coin = _draw(gen, batch, inst, pair, 2) < torch.as_tensor(probability)[..., None]
    heads = _draw(gen, batch, inst, pair) < 0.5
    first, second = coin[..., 0], coin[..., 1]
    return _strong(_side_by_side(first & (~second | heads), second & (~first | ~heads)), gen)


def anticorrelated_pairs__no_error(batch, inst, pair, probability, gen):
    """p = 0.75 goes through, although two features cannot both be on three quarters of the time
    and never meet. Raise a ValueError with the largest probability."""
    u = _draw(gen, batch, inst, pair)
    return _strong(_side_by_side(u < probability, u > 1 - probability), gen)


def anticorrelated_pairs__half_is_an_error_too(batch, inst, pair, probability, gen):
    """You refuse p = 1/2. It is allowed: then exactly one of the two is on in every row."""
    largest = float(torch.as_tensor(probability).max())
    if largest >= 0.5:
        raise ValueError(f"p = {largest} is too large")
    fires = _draw(gen, batch, inst, pair) < 2 * torch.as_tensor(probability)
    return _strong(_choose(fires, gen), gen)


def anticorrelated_pairs__only_the_first_is_checked(batch, inst, pair, probability, gen):
    """You check one probability only, and a later one may be above 1/2. Check the largest."""
    _check(torch.as_tensor(probability).flatten()[0])
    fires = _draw(gen, batch, inst, pair) < 2 * torch.as_tensor(probability)
    return _strong(_choose(fires, gen), gen)


def anticorrelated_pairs__clamped(batch, inst, pair, probability, gen):
    """You cut probabilities down to 1/2 in silence. Somebody who asks for 0.75 then gets 0.5 and
    never learns of it: raise a ValueError."""
    p = torch.as_tensor(probability).clamp(max=0.5)
    return _strong(_choose(_draw(gen, batch, inst, pair) < 2 * p, gen), gen)


def anticorrelated_pairs__assertion(batch, inst, pair, probability, gen):
    """You use `assert`. Its AssertionError is meant for mistakes inside a program, and Python can
    switch it off. For a wrong argument raise a ValueError."""
    assert float(torch.as_tensor(probability).max()) <= 0.5, "p is above 1/2"
    fires = _draw(gen, batch, inst, pair) < 2 * torch.as_tensor(probability)
    return _strong(_choose(fires, gen), gen)


def anticorrelated_pairs__error_names_nothing(batch, inst, pair, probability, gen):
    """Your error does not say which probability it saw. With a tensor of forty of them, that is
    what one wants to know: put the largest into the text."""
    if float(torch.as_tensor(probability).max()) > 0.5:
        raise ValueError("probability too large")
    fires = _draw(gen, batch, inst, pair) < 2 * torch.as_tensor(probability)
    return _strong(_choose(fires, gen), gen)


def anticorrelated_pairs__partners_half_a_row_apart(batch, inst, pair, probability, gen):
    """Your partners are k and k + pair: `cat` puts the second features behind all the first ones.
    A pair is 2k and 2k + 1, neighbours."""
    _check(probability)
    u = _draw(gen, batch, inst, pair)
    return _strong(torch.cat([u < probability, u > 1 - probability], dim=-1), gen)


def anticorrelated_pairs__all_ones(batch, inst, pair, probability, gen):
    """Your active features are all exactly 1. An active feature has a strength, uniform on [0,
    1]."""
    _check(probability)
    u = _draw(gen, batch, inst, pair)
    return _side_by_side(u < probability, u > 1 - probability).float()


def anticorrelated_pairs__coin_reused_as_strength(batch, inst, pair, probability, gen):
    """You keep the number that decided who is on. It is small for the first feature and large for
    the second. Draw strengths separately."""
    _check(probability)
    u = _draw(gen, batch, inst, pair)
    values = torch.where(u < probability, u, 0.0), torch.where(u > 1 - probability, u, 0.0)
    return _side_by_side(*values)


def anticorrelated_pairs__one_lot_for_all_pairs(batch, inst, pair, probability, gen):
    """Whether a first or a second feature is on is decided once for a whole row. Each pair draws
    its own lot."""
    _check(probability)
    fires = _draw(gen, batch, inst, pair) < 2 * torch.as_tensor(probability)
    heads = _draw(gen, batch, inst, 1) < 0.5
    return _strong(_side_by_side(fires & heads, fires & ~heads), gen)


def anticorrelated_pairs__coins_shared_over_instances(batch, inst, pair, probability, gen):
    """All instances share their coins. They are separate models with separate data: draw for
    each."""
    _check(probability)
    fires = _draw(gen, batch, 1, pair) < 2 * torch.as_tensor(probability)
    heads = _draw(gen, batch, 1, pair) < 0.5
    mask = _side_by_side(fires & heads, fires & ~heads)
    return _strong(mask.expand(batch, inst, 2 * pair), gen)


def anticorrelated_pairs__first_probability_only(batch, inst, pair, probability, gen):
    """You use one probability for all pairs and instances. A tensor broadcasts by itself against
    the coins, shape (batch, inst, pair)."""
    _check(probability)
    p = torch.as_tensor(probability).flatten()[0]
    return _strong(_choose(_draw(gen, batch, inst, pair) < 2 * p, gen), gen)


def anticorrelated_pairs__outside_the_generator(batch, inst, pair, probability, gen):
    """A draw of yours does not use `gen`, so the same generator gives a new batch every time. Pass
    `generator=gen` to each call of `torch.rand`."""
    _check(probability)
    u = torch.rand(batch, inst, pair, device=gen.device)
    return _strong(_side_by_side(u < probability, u > 1 - probability), gen)


def anticorrelated_pairs__limit_too_loose(batch, inst, pair, probability, gen):
    """You let probabilities a little above 1/2 through. Two features of 0.501 each would have to
    meet now and then: anything above 1/2 is an error."""
    largest = float(torch.as_tensor(probability).max())
    if largest > 0.51:
        raise ValueError(f"p = {largest} is above 1/2")
    u = _draw(gen, batch, inst, pair)
    return _strong(_side_by_side(u < probability, u > 1 - probability), gen)


def anticorrelated_pairs__shared_interval(batch, inst, pair, probability, gen):
    """Both of your features are on for small u: the second interval contains the first. They must
    not overlap."""
    _check(probability)
    u = _draw(gen, batch, inst, pair)
    return _strong(_side_by_side(u < probability, u < 2 * torch.as_tensor(probability)), gen)


# --------------------------------------------------------------------------- c. firing_correlation

PAIRWISE = "batch inst i, batch inst j -> inst i j"


def _pearson(values, eps=1e-12):
    centred = values - values.mean(dim=0)
    std = centred.square().mean(dim=0).sqrt()
    scale = einsum(std, std, "inst i, inst j -> inst i j")
    return einsum(centred, centred, PAIRWISE) / len(values) / scale.clamp(min=eps)


def firing_correlation__of_strengths(x):
    """You correlate the strengths. Asked is who fires with whom: first turn x into indicators, 1
    where a feature is on."""
    return _pearson(x)


def firing_correlation__covariance(x):
    """You return the covariance. Divide by both standard deviations: then the diagonal is 1."""
    on = (x > 0).to(x.dtype)
    centred = on - on.mean(dim=0)
    return einsum(centred, centred, PAIRWISE) / len(x)


def firing_correlation__not_centred(x):
    """You did not subtract the means, so two independent features that are often on look
    correlated. Their correlation should be 0."""
    on = (x > 0).to(x.dtype)
    size = on.square().sum(dim=0).sqrt()
    scale = einsum(size, size, "inst i, inst j -> inst i j")
    return einsum(on, on, PAIRWISE) / scale.clamp(min=1e-12)


def _shares_and_deviations(x):
    """How often two are on together, and the product of their standard deviations."""
    on = (x > 0).to(x.dtype)
    std = on.std(dim=0, correction=0)
    return einsum(on, on, PAIRWISE) / len(x), std[:, :, None] * std[:, None]


def firing_correlation__product_of_means_kept(x):
    """Above the fraction bar you left out the product of the two means. Two independent features
    then seem correlated, the more so the more often they are on."""
    both, scale = _shares_and_deviations(x)
    return torch.where(scale > 0, both / scale, 0.0)


def firing_correlation__product_of_means_kept_and_clamped(x):
    """Above the fraction bar you left out the product of the two means. Two independent features
    then seem correlated, and one that is always on gets huge numbers."""
    both, scale = _shares_and_deviations(x)
    return both / scale.clamp(min=1e-12)


def firing_correlation__joint_share(x):
    """You return how often two features are on together. That mixes two things, how often each is
    on and whether they go together. The correlation keeps only the second."""
    on = (x > 0).to(x.dtype)
    return einsum(on, on, PAIRWISE) / len(x)


def firing_correlation__conditional(x):
    """You return the share of rows with j on among those with i on. That is not symmetric, and it
    is p, not 0, for independent features."""
    on = (x > 0).to(x.dtype)
    return einsum(on, on, PAIRWISE) / on.sum(dim=0)[..., None].clamp(min=1)


def firing_correlation__nan_for_constant(x):
    """A feature that never changes gives 0/0 = NaN. The text asks for 0: clamp the denominator
    before you divide."""
    on = (x > 0).to(x.dtype)
    centred = on - on.mean(dim=0)
    std = centred.square().mean(dim=0).sqrt()
    return einsum(centred, centred, PAIRWISE) / len(x) / (std[:, :, None] * std[:, None])


def firing_correlation__two_divisors(x):
    """Your covariance divides by n and your standard deviation by n - 1 (torch's default), so the
    diagonal is a little below 1. Use the same divisor for both."""
    on = (x > 0).to(x.dtype)
    centred, std = on - on.mean(dim=0), on.std(dim=0)
    scale = einsum(std, std, "inst i, inst j -> inst i j")
    return einsum(centred, centred, PAIRWISE) / len(x) / scale.clamp(min=1e-12)


def firing_correlation__divided_by_variances(x):
    """You divide by the product of the variances. The roots are missing: it is the product of the
    standard deviations."""
    on = (x > 0).to(x.dtype)
    centred = on - on.mean(dim=0)
    var = centred.square().mean(dim=0)
    scale = einsum(var, var, "inst i, inst j -> inst i j")
    return einsum(centred, centred, PAIRWISE) / len(x) / scale.clamp(min=1e-12)


def firing_correlation__absolute(x):
    """You take the absolute value, and anticorrelated features become correlated. Keep the
    sign."""
    return _pearson((x > 0).to(x.dtype)).abs()


def firing_correlation__diagonal_always_one(x):
    """Your diagonal is 1 for all features. For one that never changes the text asks for 0 there,
    too: nothing can correlate with a constant."""
    out = _pearson((x > 0).to(x.dtype)).clone()
    out.diagonal(dim1=1, dim2=2).fill_(1.0)
    return out


def firing_correlation__instances_pooled(x):
    """You average over instances as well, so all of them get one result. Each has its own data:
    `inst` must stay an axis."""
    return _pearson((x > 0).to(x.dtype).flatten(0, 1)[:, None]).expand(x.shape[1], -1, -1).clone()


def firing_correlation__float32_only(x):
    """You convert to float32, so double precision goes in and single comes out. Keep the dtype of
    x."""
    return _pearson((x > 0).float())


def firing_correlation__one_standard_deviation(x):
    """You divide by one standard deviation only. The covariance belongs to two features: divide by
    that of i and that of j."""
    on = (x > 0).to(x.dtype)
    centred = on - on.mean(dim=0)
    std = centred.square().mean(dim=0).sqrt()
    return einsum(centred, centred, PAIRWISE) / len(x) / std[..., None].clamp(min=1e-12)


def firing_correlation__rare_features_cut(x):
    """A feature that is on in very few rows gets too small a correlation: the floor under your
    denominator is too high. It is there for 0 only."""
    return _pearson((x > 0).to(x.dtype), eps=0.1)


def firing_correlation__sum_over_the_batch(x):
    """Your covariance is a sum over the rows, your standard deviation a mean, so the result grows
    with the batch. Divide both by the number of rows."""
    return _pearson((x > 0).to(x.dtype)) * len(x)


def firing_correlation__strong_ones_only(x):
    """You count a feature as on when it is above some threshold. A weak feature is on, too: on
    means greater than 0."""
    return _pearson((x > 0.5).to(x.dtype))


# ------------------------------------------------------------------------------- d. mixed_features


def _together(batch, inst, pair, probability, gen):
    coin = _draw(gen, batch, inst, pair) < probability
    return _strong(coin.repeat_interleave(2, dim=-1), gen)


def _apart(batch, inst, pair, probability, gen):
    _check(probability)
    u = _draw(gen, batch, inst, pair)
    return _strong(_side_by_side(u < probability, u > 1 - probability), gen)


def _alone(batch, inst, feature, probability, gen):
    strength = _draw(gen, batch, inst, feature)  # first, as `sparse_features` draws
    return torch.where(_draw(gen, batch, inst, feature) < probability, strength, 0.0)


def mixed_features__anticorrelated_first(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """Your anticorrelated pairs come first. The order is correlated, anticorrelated, rest: later
    code slices by it."""
    together = _together(batch, inst, correlated, probability, gen)
    apart = _apart(batch, inst, anticorrelated, probability, gen)
    rest = _alone(batch, inst, uncorrelated, probability, gen)
    return torch.cat([apart, together, rest], dim=-1)


def mixed_features__anticorrelated_drawn_first(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """Your anticorrelated pairs come first. The order is correlated, anticorrelated, rest: later
    code slices by it."""
    apart = _apart(batch, inst, anticorrelated, probability, gen)
    together = _together(batch, inst, correlated, probability, gen)
    rest = _alone(batch, inst, uncorrelated, probability, gen)
    return torch.cat([apart, together, rest], dim=-1)


def mixed_features__rest_first(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """Your uncorrelated features come first. The order is correlated, anticorrelated, rest."""
    together = _together(batch, inst, correlated, probability, gen)
    apart = _apart(batch, inst, anticorrelated, probability, gen)
    rest = _alone(batch, inst, uncorrelated, probability, gen)
    return torch.cat([rest, together, apart], dim=-1)


def mixed_features__counts_swapped(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """You have as many correlated pairs as there should be anticorrelated ones, and the other way
    round. Check which count goes into which function."""
    together = _together(batch, inst, anticorrelated, probability, gen)
    apart = _apart(batch, inst, correlated, probability, gen)
    rest = _alone(batch, inst, uncorrelated, probability, gen)
    return torch.cat([together, apart, rest], dim=-1)


def mixed_features__rest_in_pairs(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """You have twice as many uncorrelated features as asked. They have no partners: that count is
    in features, not pairs."""
    together = _together(batch, inst, correlated, probability, gen)
    apart = _apart(batch, inst, anticorrelated, probability, gen)
    rest = _alone(batch, inst, 2 * uncorrelated, probability, gen)
    return torch.cat([together, apart, rest], dim=-1)


def mixed_features__pairs_halved(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """You halve the two numbers of pairs. They are pairs already, as your two functions count
    them: how many features are two pairs?"""
    together = _together(batch, inst, correlated // 2, probability, gen)
    apart = _apart(batch, inst, anticorrelated // 2, probability, gen)
    rest = _alone(batch, inst, uncorrelated, probability, gen)
    return torch.cat([together, apart, rest], dim=-1)


def mixed_features__no_rest(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """The uncorrelated features are missing: the result has too few features."""
    together = _together(batch, inst, correlated, probability, gen)
    return torch.cat([together, _apart(batch, inst, anticorrelated, probability, gen)], dim=-1)


def mixed_features__generator_restarted(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """Each of your three parts starts from a copy of the generator, so they get the *same* random
    numbers, and features of different kinds go together. Pass `gen` itself three times."""
    together = _together(batch, inst, correlated, probability, gen.clone_state())
    apart = _apart(batch, inst, anticorrelated, probability, gen.clone_state())
    rest = _alone(batch, inst, uncorrelated, probability, gen)
    return torch.cat([together, apart, rest], dim=-1)


def mixed_features__own_generators(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """You make generators of your own, so every call returns the same batch. Pass `gen` on."""
    own = [torch.Generator(gen.device).manual_seed(k) for k in range(3)]
    together = _together(batch, inst, correlated, probability, own[0])
    apart = _apart(batch, inst, anticorrelated, probability, own[1])
    rest = _alone(batch, inst, uncorrelated, probability, own[2])
    return torch.cat([together, apart, rest], dim=-1)


def mixed_features__all_correlated(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """Your second block is correlated as well. Which function makes pairs that avoid each
    other?"""
    together = _together(batch, inst, correlated, probability, gen)
    apart = _together(batch, inst, anticorrelated, probability, gen)
    rest = _alone(batch, inst, uncorrelated, probability, gen)
    return torch.cat([together, apart, rest], dim=-1)


def mixed_features__joined_along_instances(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """You join along the instance axis. The parts have the same instances and different features:
    join along the last axis."""
    together = _together(batch, inst, correlated, probability, gen)
    apart = _apart(batch, inst, anticorrelated, probability, gen)
    return torch.cat([together, apart, _alone(batch, inst, uncorrelated, probability, gen)], dim=1)


def mixed_features__one_probability(
    batch, inst, correlated, anticorrelated, uncorrelated, probability, gen
):
    """All your instances have the probability of the first. With shape (inst, 1) each has its own:
    pass the tensor on as it is."""
    p = float(torch.as_tensor(probability).flatten()[0])
    together = _together(batch, inst, correlated, p, gen)
    apart = _apart(batch, inst, anticorrelated, p, gen)
    return torch.cat([together, apart, _alone(batch, inst, uncorrelated, p, gen)], dim=-1)


# -------------------------------------------------------------------------------- e1. pair_cosines


def _cosine(first, second):
    lengths = first.norm(dim=1) * second.norm(dim=1)
    return (first * second).sum(dim=1) / lengths.clamp(min=1e-8)


def pair_cosines__dot_product(W):
    """You return the dot product. Divide by both lengths: a cosine does not change when a
    direction is stretched."""
    return (W[..., 0::2] * W[..., 1::2]).sum(dim=1)


def pair_cosines__one_length(W):
    """You divide by one of the two lengths only. The result can be larger than 1."""
    first, second = W[..., 0::2], W[..., 1::2]
    return (first * second).sum(dim=1) / first.norm(dim=1).clamp(min=1e-8)


def pair_cosines__partners_half_a_row_apart(W):
    """You compare feature k with feature k + n/2. Partners are neighbours, 2k and 2k + 1."""
    half = W.shape[-1] // 2
    return _cosine(W[..., :half], W[..., half:])


def pair_cosines__all_neighbours(W):
    """You compare every feature with the next one, so you get n - 1 numbers. Only every second of
    them is a pair."""
    return _cosine(W[..., :-1], W[..., 1:])


def pair_cosines__nan_without_direction(W):
    """A zero column gives 0/0 = NaN. The text asks for 0: clamp the denominator."""
    first, second = W[..., 0::2], W[..., 1::2]
    return (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))


def pair_cosines__absolute(W):
    """You take the absolute value. Then opposite and same direction look alike, and the sign is
    the whole story here."""
    return _cosine(W[..., 0::2], W[..., 1::2]).abs()


def pair_cosines__degrees(W):
    """You return angles in degrees. Asked is the cosine itself, between -1 and 1."""
    return _cosine(W[..., 0::2], W[..., 1::2]).clamp(-1, 1).acos().rad2deg()


def pair_cosines__detached(W):
    """The values are right, but no gradient flows back to one of the partners. Is something
    detached?"""
    return _cosine(W[..., 0::2], W[..., 1::2].detach())


def pair_cosines__float32_only(W):
    """You convert to float32, so double precision goes in and single comes out. Keep the
    dtype."""
    return _cosine(W[..., 0::2].float(), W[..., 1::2].float())


def pair_cosines__short_directions_cut(W):
    """Short directions get too small a cosine: the floor under your denominator is too high. It is
    there for 0 only, so 1e-8 is enough."""
    first, second = W[..., 0::2], W[..., 1::2]
    lengths = first.norm(dim=1) * second.norm(dim=1)
    return (first * second).sum(dim=1) / lengths.clamp(min=0.1)


def pair_cosines__constant_beside_the_lengths(W):
    """You add a small number to the product of the lengths. Two short directions have a product
    that is small, too, and their cosine shrinks: only a length of exactly 0 needs care."""
    first, second = W[..., 0::2], W[..., 1::2]
    return (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1) + 1e-6)


def pair_cosines__squared_lengths(W):
    """You divide by the squared lengths. The roots are missing."""
    first, second = W[..., 0::2], W[..., 1::2]
    lengths = first.square().sum(dim=1) * second.square().sum(dim=1)
    return (first * second).sum(dim=1) / lengths.clamp(min=1e-8)


def pair_cosines__along_the_pairs(W):
    """You sum over the pairs. The numbers that describe one direction lie along `hidden`, the
    middle axis."""
    return torch.nn.functional.cosine_similarity(W[..., 0::2], W[..., 1::2], dim=-1)


def pair_cosines__every_two_features(W):
    """You return the cosines of all features with all. Asked is one number for each pair: 2k with
    2k + 1."""
    unit = W / W.norm(dim=1, keepdim=True).clamp(min=1e-8)
    return einsum(unit, unit, "inst hidden i, inst hidden j -> inst i j")


# ---------------------------------------------------------------------------- e2. pair_arrangement


def _named(values, norms, norm_above, tolerance, order=(1, 2, 3)):
    code = torch.full_like(values, 4, dtype=torch.int64)
    for name, target in zip(order[::-1], (1.0, 0.0, -1.0), strict=True):
        code[(values - target).abs() < tolerance] = name
    represented = (norms[:, 0::2] > norm_above) & (norms[:, 1::2] > norm_above)
    return torch.where(represented, code, 0)


def _cosines(W):
    return _cosine(W[..., 0::2], W[..., 1::2])


def pair_arrangement__by_dot_product(W, norm_above=0.5, tolerance=0.25):
    """You name dot products. Two long directions at 80 degrees have a large one; the table speaks
    of cosines."""
    return _named((W[..., 0::2] * W[..., 1::2]).sum(1), W.norm(dim=1), norm_above, tolerance)


def pair_arrangement__absolute_cosine(W, norm_above=0.5, tolerance=0.25):
    """You take the absolute value of the cosine first, so nothing is ever opposite."""
    return _named(_cosines(W).abs(), W.norm(dim=1), norm_above, tolerance)


def pair_arrangement__never_missing(W, norm_above=0.5, tolerance=0.25):
    """You name pairs of which a feature is not represented. A direction of length 0.01 points
    somewhere, too, but it means nothing: code 0."""
    return _named(_cosines(W), W.norm(dim=1) + 9, 0.0, tolerance)


def pair_arrangement__missing_when_both_are(W, norm_above=0.5, tolerance=0.25):
    """For you a pair is missing when *both* features are. One is enough: there is no angle between
    an arrow and nothing."""
    norms = W.norm(dim=1)
    larger = torch.maximum(norms[:, 0::2], norms[:, 1::2]).repeat_interleave(2, dim=-1)
    return _named(_cosines(W), larger, norm_above, tolerance)


def pair_arrangement__first_norm_only(W, norm_above=0.5, tolerance=0.25):
    """You check the norm of the first feature of each pair only. The second may be missing,
    too."""
    first = W.norm(dim=1)[:, 0::2].repeat_interleave(2, dim=-1)
    return _named(_cosines(W), first, norm_above, tolerance)


def pair_arrangement__codes_reversed(W, norm_above=0.5, tolerance=0.25):
    """Your codes for opposite and same direction are exchanged: 1 is opposite, 3 is same
    direction."""
    return _named(_cosines(W), W.norm(dim=1), norm_above, tolerance, order=(3, 2, 1))


def pair_arrangement__nearest_target(W, norm_above=0.5, tolerance=0.25):
    """You give every pair the name of the nearest case, so nothing is ever in between. A name is
    earned only within the tolerance."""
    return _named(_cosines(W).round(), W.norm(dim=1), norm_above, 0.25)


def pair_arrangement__tolerance_in_radians(W, norm_above=0.5, tolerance=0.25):
    """You compare angles in radians with the tolerance. It is a distance between cosines."""
    angle = _cosines(W).clamp(-1, 1).acos() / torch.pi  # 0, 1/2, 1
    scaled = 1 - 2 * angle
    return _named(scaled, W.norm(dim=1), norm_above, 2 * tolerance / torch.pi)


def pair_arrangement__fixed_thresholds(W, norm_above=0.5, tolerance=0.25):
    """Your function does not look at its arguments `norm_above` and `tolerance`: with other values
    nothing changes."""
    return _named(_cosines(W), W.norm(dim=1), 0.5, 0.25)


def pair_arrangement__later_rule_wins(W, norm_above=0.5, tolerance=0.25):
    """With a large tolerance two rules may fit, and yours takes the last one. "Else" means that the
    first rule of the table counts."""
    cosines, norms = _cosines(W), W.norm(dim=1)
    code = torch.full_like(cosines, 4, dtype=torch.int64)
    for name, target in [(1, -1.0), (2, 0.0), (3, 1.0)]:
        code[(cosines - target).abs() < tolerance] = name
    represented = (norms[:, 0::2] > norm_above) & (norms[:, 1::2] > norm_above)
    return torch.where(represented, code, 0)


def pair_arrangement__tolerance_included(W, norm_above=0.5, tolerance=0.25):
    """A cosine exactly at the tolerance from a target gets its name in your version. "Within" means
    strictly below."""
    return _named(_cosines(W), W.norm(dim=1), norm_above, tolerance * (1 + 1e-6))


def pair_arrangement__norm_threshold_included(W, norm_above=0.5, tolerance=0.25):
    """A norm exactly at `norm_above` counts as represented in your version. It must be above it."""
    return _named(_cosines(W), W.norm(dim=1), norm_above * (1 - 1e-6), tolerance)


def pair_arrangement__second_norm_only(W, norm_above=0.5, tolerance=0.25):
    """You check the norm of the second feature of each pair only. The first may be missing, too."""
    second = W.norm(dim=1)[:, 1::2].repeat_interleave(2, dim=-1)
    return _named(_cosines(W), second, norm_above, tolerance)


def pair_arrangement__floats(W, norm_above=0.5, tolerance=0.25):
    """The codes are right, but they are floats. Codes are names: make them `torch.int64`."""
    return _named(_cosines(W), W.norm(dim=1), norm_above, tolerance).to(W.dtype)


# --------------------------------------------------------------------------------- e3. best_starts


def best_starts__number_of_the_start(loss, n_starts):
    """You return which start was best, from 0 to n_starts - 1. Asked is its instance: start s of
    model k is s * n_models + k."""
    return loss.reshape(n_starts, -1).argmin(dim=0)


def best_starts__starts_side_by_side(loss, n_starts):
    """You read the starts of a model as neighbours. Here the *models* are neighbours: first all
    models with start 0, then all models with start 1."""
    n_models = len(loss) // n_starts
    table = loss.reshape(n_models, n_starts)
    return table.argmin(dim=1) + n_starts * torch.arange(n_models, device=loss.device)


def best_starts__reshaped_the_other_way(loss, n_starts):
    """You take `n_starts` for the number of columns. It is the number of rows of the table: one row
    per start, one column per model."""
    table = loss.reshape(-1, n_starts)
    return table.argmin(dim=0) * n_starts + torch.arange(n_starts, device=loss.device)


def best_starts__rows_and_columns_exchanged(loss, n_starts):
    """Your table has one column per start. Instance s * n_models + k means that a *row* holds all
    models with one start."""
    return loss.reshape(-1, n_starts).argmin(dim=0)


def best_starts__best_row(loss, n_starts):
    """You put the starts of a model next to each other. Here the models are next to each other: the
    starts of model k are the instances k, k + n_models, k + 2 n_models and so on."""
    best = loss.reshape(-1, n_starts).argmin(dim=1)
    return best * n_starts + torch.arange(len(best), device=loss.device)


def best_starts__best_of_all(loss, n_starts):
    """You return the best instance of all. Each model has a best start of its own."""
    return loss.argmin()


def best_starts__worst_starts(loss, n_starts):
    """You return the starts with the highest loss."""
    table = loss.reshape(n_starts, -1)
    n_models = table.shape[1]
    return table.argmax(dim=0) * n_models + torch.arange(n_models, device=loss.device)


def best_starts__the_losses(loss, n_starts):
    """You return the lowest losses themselves. Asked are the instances that have them."""
    return loss.reshape(n_starts, -1).amin(dim=0)


def best_starts__model_forgotten(loss, n_starts):
    """You multiply the start by the number of models, and stop there. The model's own place k is
    missing."""
    table = loss.reshape(n_starts, -1)
    return table.argmin(dim=0) * table.shape[1]


def best_starts__times_the_starts(loss, n_starts):
    """You multiply by the number of starts. From one start to the next the instance grows by the
    number of *models*."""
    best = loss.reshape(n_starts, -1).argmin(dim=0)
    return best * n_starts + torch.arange(len(best), device=loss.device)


def best_starts__last_of_equals(loss, n_starts):
    """Of equal losses you take the last start. The first one counts."""
    table = loss.reshape(n_starts, -1).flip(0)
    n_models = table.shape[1]
    best = n_starts - 1 - table.argmin(dim=0)
    return best * n_models + torch.arange(n_models, device=loss.device)


# ------------------------------------------------------------------------------ e4. pair_variances


def _sum_and_rest(variance, covariance):
    return torch.stack([variance + covariance, variance - covariance])


def pair_variances__mean_squares(p, both):
    """You return mean squares. A variance has the square of the mean taken off: E[x²] - E[x]², and
    likewise E[x1 x2] - E[x1] E[x2]."""
    return _sum_and_rest(p / 3, both / 4)


def pair_variances__not_halved(p, both):
    """You leave out the factor 1/√2 of sum and difference, so both variances are twice too
    large."""
    return 2 * _sum_and_rest(p / 3 - p**2 / 4, both / 4 - p**2 / 4)


def pair_variances__difference_first(p, both):
    """The two are exchanged: first the sum, then the difference."""
    return _sum_and_rest(p / 3 - p**2 / 4, both / 4 - p**2 / 4).flip(0)


def pair_variances__of_the_indicators(p, both):
    """You take the variance of on and off. The features have strengths: an active one is uniform on
    [0, 1]."""
    return _sum_and_rest(p - p**2, both - p**2)


def pair_variances__product_of_equals(p, both):
    """You use E[u²] = 1/3 for the product of two strengths. They are *separate* draws:
    E[u1 u2] = 1/4."""
    return _sum_and_rest(p / 3 - p**2 / 4, both / 3 - p**2 / 4)


def pair_variances__independent(p, both):
    """You ignore `both`, as if the covariance were 0. Then sum and difference would be alike."""
    variance = p / 3 - p**2 / 4
    return _sum_and_rest(variance, torch.zeros_like(variance))


def pair_variances__standard_deviations(p, both):
    """You return standard deviations. The variance is without the root."""
    return _sum_and_rest(p / 3 - p**2 / 4, both / 4 - p**2 / 4).sqrt()


def pair_variances__covariance_once(p, both):
    """You add half of the covariance. Var(x1 + x2) = 2 V + 2 Cov, and the factor 1/√2 halves *both*
    terms."""
    return _sum_and_rest(p / 3 - p**2 / 4, (both / 4 - p**2 / 4) / 2)


def pair_variances__covariance_without_means(p, both):
    """Your covariance is E[x1 x2] alone. Take E[x1] E[x2] = p²/4 off: independent features have
    covariance 0."""
    return _sum_and_rest(p / 3 - p**2 / 4, both / 4)


def pair_variances__stacked_last(p, both):
    """Sum and difference are on the last axis. They come first: `torch.stack` does that by
    itself."""
    return _sum_and_rest(p / 3 - p**2 / 4, both / 4 - p**2 / 4).movedim(0, -1)


# ----------------------------------------------------------------------------- f1. correlated_sets


def _check_within(probability, within):
    if within < probability:
        raise ValueError(f"within = {within} is below p = {probability}")


def _sets(batch, inst, n_sets, size, p_set, within, gen):
    set_on = _draw(gen, batch, inst, n_sets, 1) < p_set
    mask = set_on & (_draw(gen, batch, inst, n_sets, size) < within)
    return torch.where(mask, _draw(gen, *mask.shape), 0.0).flatten(2)


def correlated_sets__no_sets(batch, inst, n_sets, size, probability, within, gen):
    """Your features ignore their sets: each is on by itself. First the set must be on, then the
    feature's own coin counts."""
    _check_within(probability, within)
    return _alone(batch, inst, n_sets * size, probability, gen)


def correlated_sets__set_fires_with_p(batch, inst, n_sets, size, probability, within, gen):
    """Your *set* is on with probability p, and then a feature with w. So a feature is on with p w.
    It should be exactly p: how often must the set be on?"""
    _check_within(probability, within)
    return _sets(batch, inst, n_sets, size, probability, within, gen)


def correlated_sets__roles_exchanged(batch, inst, n_sets, size, probability, within, gen):
    """Your sets are on with probability w, and their features with p / w. Each feature alone looks
    right, but they go together far too little. Which of the two is the set's?"""
    _check_within(probability, within)
    return _sets(batch, inst, n_sets, size, within, probability / within, gen)


def correlated_sets__all_or_none(batch, inst, n_sets, size, probability, within, gen):
    """When your set is on, all its features are. Each feature still has a coin of its own, with
    probability `within`."""
    _check_within(probability, within)
    return _sets(batch, inst, n_sets, size, probability, 1.0, gen)


def correlated_sets__one_coin_for_the_features(batch, inst, n_sets, size, probability, within, gen):
    """The features of a set that is on share one coin. Draw one for each feature, shape (batch,
    inst, n_sets, size)."""
    _check_within(probability, within)
    set_on = _draw(gen, batch, inst, n_sets, 1) < probability / within
    mask = (set_on & (_draw(gen, batch, inst, n_sets, 1) < within)).expand(-1, -1, -1, size)
    return torch.where(mask, _draw(gen, *mask.shape), 0.0).flatten(2)


def correlated_sets__all_sets_at_once(batch, inst, n_sets, size, probability, within, gen):
    """Your sets come on together. Each set has a coin of its own, shape (batch, inst, n_sets,
    1)."""
    _check_within(probability, within)
    set_on = _draw(gen, batch, inst, 1, 1) < probability / within
    mask = set_on & (_draw(gen, batch, inst, n_sets, size) < within)
    return torch.where(mask, _draw(gen, *mask.shape), 0.0).flatten(2)


def correlated_sets__coins_shared_over_instances(
    batch, inst, n_sets, size, probability, within, gen
):
    """The sets of all instances come on together. They are separate models: draw for each."""
    _check_within(probability, within)
    set_on = _draw(gen, batch, 1, n_sets, 1) < probability / within
    mask = set_on & (_draw(gen, batch, inst, n_sets, size) < within)
    return torch.where(mask, _draw(gen, *mask.shape), 0.0).flatten(2)


def correlated_sets__interleaved(batch, inst, n_sets, size, probability, within, gen):
    """Feature i of yours belongs to set i % n_sets. Sets are blocks of neighbours: i // size."""
    _check_within(probability, within)
    x = _sets(batch, inst, n_sets, size, probability / within, within, gen)
    return x.unflatten(2, (n_sets, size)).mT.flatten(2)


def correlated_sets__shared_strength(batch, inst, n_sets, size, probability, within, gen):
    """The active features of a set all have the same strength. Draw one for each feature."""
    _check_within(probability, within)
    set_on = _draw(gen, batch, inst, n_sets, 1) < probability / within
    mask = set_on & (_draw(gen, batch, inst, n_sets, size) < within)
    return torch.where(mask, _draw(gen, batch, inst, n_sets, 1), 0.0).flatten(2)


def correlated_sets__coin_reused_as_strength(batch, inst, n_sets, size, probability, within, gen):
    """You keep the number that decided whether a feature is on. It is below w whenever it is. Draw
    strengths separately."""
    _check_within(probability, within)
    set_on = _draw(gen, batch, inst, n_sets, 1) < probability / within
    u = _draw(gen, batch, inst, n_sets, size)
    return torch.where(set_on & (u < within), u, 0.0).flatten(2)


def correlated_sets__all_ones(batch, inst, n_sets, size, probability, within, gen):
    """Your active features are all exactly 1. They have strengths, uniform on [0, 1]."""
    _check_within(probability, within)
    set_on = _draw(gen, batch, inst, n_sets, 1) < probability / within
    return (set_on & (_draw(gen, batch, inst, n_sets, size) < within)).float().flatten(2)


def correlated_sets__no_error(batch, inst, n_sets, size, probability, within, gen):
    """With w below p the set would have to be on with a probability above 1. You let that through,
    and features are on too rarely. Raise a ValueError."""
    return _sets(batch, inst, n_sets, size, probability / within, within, gen)


def correlated_sets__equal_is_an_error_too(batch, inst, n_sets, size, probability, within, gen):
    """You refuse w = p. It is allowed: then the sets are always on, and the features
    independent."""
    if within <= probability:
        raise ValueError(f"within = {within} is too small")
    return _sets(batch, inst, n_sets, size, probability / within, within, gen)


def correlated_sets__set_probability_multiplied(
    batch, inst, n_sets, size, probability, within, gen
):
    """Your sets are on with probability p w. A feature needs its set *and* its own coin, so
    P(set) times w must be p: divide."""
    _check_within(probability, within)
    return _sets(batch, inst, n_sets, size, probability * within, within, gen)


def correlated_sets__sets_always_on(batch, inst, n_sets, size, probability, within, gen):
    """Your sets are always on: w / p is never below 1. A feature needs its set and its own coin, so
    P(set) w = p. Solve for P(set)."""
    _check_within(probability, within)
    return _sets(batch, inst, n_sets, size, within / probability, within, gen)


def correlated_sets__error_names_nothing(batch, inst, n_sets, size, probability, within, gen):
    """Your error does not say which `within` it saw. Put its value into the text."""
    if within < probability:
        raise ValueError("within is too small")
    return _sets(batch, inst, n_sets, size, probability / within, within, gen)


def correlated_sets__outside_the_generator(batch, inst, n_sets, size, probability, within, gen):
    """A draw of yours does not use `gen`, so the same generator gives a new batch every time. Pass
    `generator=gen` to each call of `torch.rand`."""
    _check_within(probability, within)
    set_on = torch.rand(batch, inst, n_sets, 1, device=gen.device) < probability / within
    mask = set_on & (_draw(gen, batch, inst, n_sets, size) < within)
    return torch.where(mask, _draw(gen, *mask.shape), 0.0).flatten(2)


def correlated_sets__own_generator(batch, inst, n_sets, size, probability, within, gen):
    """You make a generator of your own, so every call returns the same batch. Draw from `gen`."""
    _check_within(probability, within)
    own = torch.Generator(gen.device).manual_seed(0)
    return _sets(batch, inst, n_sets, size, probability / within, within, own)


# ---------------------------------------------------------------------------- f2. set_interference


def _split(overlap, size, keep_itself=False):
    which = torch.arange(overlap.shape[-1], device=overlap.device)
    same = which[:, None] // size == which // size
    itself = which[:, None] == which
    own = overlap.masked_fill(~same if keep_itself else ~same | itself, 0)
    return own.sum(dim=-1), overlap.masked_fill(same, 0).sum(dim=-1)


def _products(one, other):
    return einsum(one, other, "inst hidden i, inst hidden j -> inst i j")


def _unit(W):
    return W / W.norm(dim=1, keepdim=True).clamp(min=1e-8)


def set_interference__with_itself(W, size):
    """You count j = i as well, so every feature has at least the square of its own norm within its
    set. Interference comes from the *others*."""
    return _split(_products(_unit(W), W).square(), size, keep_itself=True)


def set_interference__no_hat(W, size):
    """You use W_i as it is. The hat on it divides its length out: only its direction counts."""
    return _split(_products(W, W).square(), size)


def set_interference__two_hats(W, size):
    """You normalised both sides. Only W_i has a hat: a long W_j disturbs more than a short
    one."""
    return _split(_products(_unit(W), _unit(W)).square(), size)


def set_interference__hat_on_the_other(W, size):
    """The hat is on W_j instead of W_i. Check along which of the two axes you sum at the end."""
    return _split(_products(W, _unit(W)).square(), size)


def set_interference__not_squared(W, size):
    """You sum the products themselves, so positive and negative ones cancel. Square first."""
    return _split(_products(_unit(W), W), size)


def set_interference__exchanged(W, size):
    """Your two results are exchanged: first within, then between."""
    within, between = _split(_products(_unit(W), W).square(), size)
    return between, within


def set_interference__size_is_a_count(W, size):
    """You read `size` as the number of sets. It is the number of features in each set."""
    return _split(_products(_unit(W), W).square(), W.shape[-1] // size)


def set_interference__interleaved(W, size):
    """For you feature i is in set i % size. Sets are blocks of neighbours: i // size."""
    overlap = _products(_unit(W), W).square()
    which = torch.arange(W.shape[-1], device=W.device)
    same, itself = which[:, None] % size == which % size, which[:, None] == which
    within = overlap.masked_fill(~same | itself, 0).sum(dim=-1)
    return within, overlap.masked_fill(same, 0).sum(dim=-1)


def set_interference__means(W, size):
    """You average over the partners. Asked are sums: then the two parts add up to the interference
    of 3.1.1."""
    within, between = _split(_products(_unit(W), W).square(), size)
    n = W.shape[-1]
    return within / max(size - 1, 1), between / max(n - size, 1)


def set_interference__between_is_everything(W, size):
    """Your second part is the whole interference, the set's own included. It should be what the
    *other* sets do."""
    within, between = _split(_products(_unit(W), W).square(), size)
    return within, within + between


def set_interference__itself_is_between(W, size):
    """Your second part still has j = i in it. If you subtract `within` from a sum over all j, the
    feature's overlap with itself stays behind: remove it, too."""
    overlap = _products(_unit(W), W).square()
    within, _ = _split(overlap, size)
    return within, overlap.sum(dim=-1) - within


def set_interference__nan_for_dropped(W, size):
    """A dropped feature has norm 0, and you divide by it: NaN. Clamp the norm before you
    divide."""
    return _split(_products(W / W.norm(dim=1, keepdim=True), W).square(), size)


def set_interference__short_features_cut(W, size):
    """A short feature gets too little interference: the floor under its norm is too high. It is
    there for a norm of exactly 0, so 1e-8 is enough."""
    W_hat = W / W.norm(dim=1, keepdim=True).clamp(min=0.1)
    return _split(_products(W_hat, W).square(), size)


def set_interference__square_of_the_sum(W, size):
    """You square after the sum, so positive and negative products cancel. Square each of them
    first."""
    within, between = _split(_products(_unit(W), W), size)
    return within.square(), between.square()


def set_interference__one_subtracted(W, size):
    """You remove j = i by subtracting 1. That term is the squared norm of W_i, and 1 only for a
    unit vector: mask the diagonal instead."""
    within, between = _split(_products(_unit(W), W).square(), size, keep_itself=True)
    return within - 1, between


# ------------------------------------------------------------------------------- g1. coupled_pairs


def _check_coupled(probability, together):
    either = torch.as_tensor(probability * (2 - together))
    if either.max() > 1 + 1e-6:
        raise ValueError(f"p (2 - c) = {float(either.max())} is above 1")


def _intervals(u, probability, together):
    apart = probability * (1 - together)
    return u < probability, (u >= apart) & (u < apart + probability)


def coupled_pairs__copied_coin(batch, inst, pair, probability, together, gen):
    """With probability c you copy the first coin, and otherwise throw a new one. The new one may
    fall, too, so the partner is on with c + (1 - c) p, given the first. It should be c."""
    _check_coupled(probability, together)
    first = _draw(gen, batch, inst, pair) < probability
    copy = _draw(gen, batch, inst, pair) < together
    fresh = _draw(gen, batch, inst, pair) < probability
    return _strong(_side_by_side(first, torch.where(copy, first, fresh)), gen)


def coupled_pairs__second_only_with_first(batch, inst, pair, probability, together, gen):
    """Your second feature comes on only where the first is, so it is on with p c, and never alone.
    It has other rows to make up for: it needs p in all."""
    _check_coupled(probability, together)
    first = _draw(gen, batch, inst, pair) < probability
    second = first & (_draw(gen, batch, inst, pair) < together)
    return _strong(_side_by_side(first, second), gen)


def coupled_pairs__second_alone_with_p(batch, inst, pair, probability, together, gen):
    """Where the first is off, your second comes on with p. Then it is on with p c + (1 - p) p in
    all. Which probability there makes it p?"""
    _check_coupled(probability, together)
    first = _draw(gen, batch, inst, pair) < probability
    chance = torch.where(first, torch.as_tensor(together), torch.as_tensor(probability))
    return _strong(_side_by_side(first, _draw(gen, batch, inst, pair) < chance), gen)


def coupled_pairs__joint_taken_for_conditional(batch, inst, pair, probability, together, gen):
    """Where the first is off, your second comes on with p (1 - c). That is the probability that the
    first is off *and* the second on. The first is off only in 1 - p of the rows: given that, it
    must be more."""
    _check_coupled(probability, together)
    first = _draw(gen, batch, inst, pair) < probability
    alone = torch.as_tensor(probability * (1 - together), dtype=torch.float32)
    chance = torch.where(first, torch.as_tensor(together), alone)
    return _strong(_side_by_side(first, _draw(gen, batch, inst, pair) < chance), gen)


def coupled_pairs__both_with_c(batch, inst, pair, probability, together, gen):
    """Both features of yours are on with probability c. That is the probability *given that one is
    on*: P(both on) = p c."""
    _check_coupled(probability, together)
    p, c = torch.as_tensor(probability), torch.as_tensor(together)
    u, both = _draw(gen, batch, inst, pair), torch.minimum(p, c)
    return _strong(_side_by_side(u < p, (u >= p - both) & (u < 2 * p - both)), gen)


def coupled_pairs__dial_reversed(batch, inst, pair, probability, together, gen):
    """Your dial runs the other way: c = 1 gives pairs that never meet. c = 1 is always
    together."""
    _check_coupled(probability, together)
    masks = _intervals(_draw(gen, batch, inst, pair), probability, 1 - together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__c_is_ignored(batch, inst, pair, probability, together, gen):
    """Your pairs are independent whatever c is. Partners need a common random number."""
    _check_coupled(probability, together)
    coin = _draw(gen, batch, inst, pair, 2) < torch.as_tensor(probability)[..., None]
    return _strong(coin.flatten(2), gen)


def coupled_pairs__first_c_only(batch, inst, pair, probability, together, gen):
    """You use one c for all pairs and instances. A tensor broadcasts by itself, as p does."""
    _check_coupled(probability, together)
    c = float(torch.as_tensor(together).flatten()[0])
    return _strong(_side_by_side(*_intervals(_draw(gen, batch, inst, pair), probability, c)), gen)


def coupled_pairs__first_p_only(batch, inst, pair, probability, together, gen):
    """You use one p for all pairs and instances. A tensor broadcasts by itself, as c does."""
    _check_coupled(probability, together)
    p = float(torch.as_tensor(probability).flatten()[0])
    return _strong(_side_by_side(*_intervals(_draw(gen, batch, inst, pair), p, together)), gen)


def coupled_pairs__no_error(batch, inst, pair, probability, together, gen):
    """p = 0.75 and c = 0.5 go through, although the pair would have to fire in 112.5 % of the
    rows. Raise a ValueError."""
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__error_names_p(batch, inst, pair, probability, together, gen):
    """Your error does not say how large p (2 - c) was. Put the largest value into the text: that is
    the number that went above 1."""
    if torch.as_tensor(probability * (2 - together)).max() > 1 + 1e-6:
        raise ValueError("these pairs are impossible")
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__limit_too_loose(batch, inst, pair, probability, together, gen):
    """You let p (2 - c) go above 1 by more than a rounding error. Allow 1e-6 and no more."""
    either = torch.as_tensor(probability * (2 - together))
    if either.max() > 1 + 1e-2:
        raise ValueError(f"p (2 - c) = {float(either.max())} is above 1")
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__limit_of_the_mean(batch, inst, pair, probability, together, gen):
    """You check one value of p (2 - c), or their mean, and another one may be above 1. Check the
    largest."""
    either = torch.as_tensor(probability * (2 - together), dtype=torch.float32)
    if either.mean() > 1 + 1e-6:
        raise ValueError(f"p (2 - c) = {float(either.max())} is above 1")
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__limit_across_pairs(batch, inst, pair, probability, together, gen):
    """You hold the largest p against the smallest c. They may belong to different pairs, and then
    you refuse what is allowed: which p meets which c?"""
    p, c = torch.as_tensor(probability), torch.as_tensor(together)
    _check_coupled(p.max(), c.min())
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__first_whenever_one_is(batch, inst, pair, probability, together, gen):
    """Your first feature is on whenever the pair fires, with p (2 - c). It needs p, as the second
    one does."""
    _check_coupled(probability, together)
    fires = _draw(gen, batch, inst, pair) < probability * (2 - together)
    second = fires & (_draw(gen, batch, inst, pair) < together)
    return _strong(_side_by_side(fires, second), gen)


def coupled_pairs__second_without_an_end(batch, inst, pair, probability, together, gen):
    """Your second feature is on for every u above p (1 - c), so it is on far too often. Its
    interval has the length p and ends at p (2 - c)."""
    _check_coupled(probability, together)
    u = _draw(gen, batch, inst, pair)
    return _strong(_side_by_side(u < probability, u >= probability * (1 - together)), gen)


def coupled_pairs__outside_the_generator(batch, inst, pair, probability, together, gen):
    """A draw of yours does not use `gen`, so the same generator gives a new batch every time. Pass
    `generator=gen` to each call of `torch.rand`."""
    _check_coupled(probability, together)
    u = torch.rand(batch, inst, pair, device=gen.device)
    return _strong(_side_by_side(*_intervals(u, probability, together)), gen)


def coupled_pairs__all_ones(batch, inst, pair, probability, together, gen):
    """Your active features are all exactly 1. They have strengths, uniform on [0, 1]."""
    _check_coupled(probability, together)
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _side_by_side(*masks).float()


def coupled_pairs__half_is_the_limit(batch, inst, pair, probability, together, gen):
    """You refuse every p above 1/2. That is the limit for pairs that never meet, c = 0. The more
    they meet, the more often they can be on: the limit is p (2 - c) = 1."""
    if float(torch.as_tensor(probability).max()) > 0.5:
        raise ValueError(f"p (2 - c) = {probability * (2 - together)}")
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__limit_without_rounding(batch, inst, pair, probability, together, gen):
    """You refuse p (2 - c) = 1 itself, or a rounding error above it. In float32, 0.6 times 5/3 may
    be 1.0000001: allow 1e-6."""
    either = torch.as_tensor(probability * (2 - together))
    if either.max() >= 1:
        raise ValueError(f"p (2 - c) = {float(either.max())} is above 1")
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(_side_by_side(*masks), gen)


def coupled_pairs__partners_half_a_row_apart(batch, inst, pair, probability, together, gen):
    """Your partners are k and k + pair: `cat` puts the second features behind all the first ones.
    A pair is 2k and 2k + 1, neighbours."""
    _check_coupled(probability, together)
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    return _strong(torch.cat(masks, dim=-1), gen)


def coupled_pairs__shared_strength(batch, inst, pair, probability, together, gen):
    """Partners that are on together have the same strength. Draw one for each feature."""
    _check_coupled(probability, together)
    masks = _intervals(_draw(gen, batch, inst, pair), probability, together)
    strength = _draw(gen, batch, inst, pair).repeat_interleave(2, dim=-1)
    return torch.where(_side_by_side(*masks), strength, 0.0)


def coupled_pairs__one_number_a_row(batch, inst, pair, probability, together, gen):
    """All pairs of a row hang on one random number. Each pair needs its own, shape (batch, inst,
    pair)."""
    _check_coupled(probability, together)
    u = _draw(gen, batch, inst, 1).expand(batch, inst, pair)
    return _strong(_side_by_side(*_intervals(u, probability, together)), gen)


# ----------------------------------------------------------------------------------- g2. sum_share


def _sum_and_difference(W):
    first, second = W[..., 0::2], W[..., 1::2]
    return first + second, first - second


def sum_share__of_the_difference(W):
    """You return the share of the difference. For two equal directions the share of the *sum* is
    1."""
    S, D = (v.square().sum(dim=1) for v in _sum_and_difference(W))
    return D / (S + D).clamp(min=1e-12)


def sum_share__lengths_not_squared(W):
    """You compare lengths, not their squares. Only the squares add up: |S|² + |D|² is the total
    length of both directions."""
    S, D = (v.norm(dim=1) for v in _sum_and_difference(W))
    return S / (S + D).clamp(min=1e-12)


def sum_share__from_the_cosine(W):
    """You compute (1 + cos) / 2. That is right for equal lengths only: when one direction is much
    longer than the other, the model does not represent their sum."""
    cosine = _cosine(W[..., 0::2], W[..., 1::2])
    alive = (W[..., 0::2].norm(dim=1) + W[..., 1::2].norm(dim=1)) > 0
    return torch.where(alive, (1 + cosine) / 2, 0.0)


def sum_share__one_root_forgotten(W):
    """S and D need the same factor. With 1/√2 on one of them only, |S|² + |D|² is no longer the
    total, and orthogonal partners do not get 1/2."""
    S, D = (v.square().sum(dim=1) for v in _sum_and_difference(W))
    return S / 2 / (S / 2 + D).clamp(min=1e-12)


def sum_share__twice_too_large(W):
    """The factor 1/2 of |S|² is missing, so two equal directions get 2. A share is at most 1."""
    total = W[..., 0::2].square().sum(dim=1) + W[..., 1::2].square().sum(dim=1)
    return _sum_and_difference(W)[0].square().sum(dim=1) / total.clamp(min=1e-12)


def sum_share__lengths_added_first(W):
    """You take the lengths of the two directions before you add them, so it no longer matters
    where they point. Add the vectors first."""
    one, two = W[..., 0::2].norm(dim=1), W[..., 1::2].norm(dim=1)
    return ((one + two) ** 2 / 2) / (one**2 + two**2).clamp(min=1e-12)


def sum_share__not_divided(W):
    """You return |S|² itself. It grows with W; the share compares it with the total."""
    return _sum_and_difference(W)[0].square().sum(dim=1) / 2


def sum_share__nan_without_directions(W):
    """Where both directions are zero you get 0/0 = NaN. The text asks for 0: clamp the
    denominator."""
    S, D = (v.square().sum(dim=1) for v in _sum_and_difference(W))
    return S / (S + D)


def sum_share__partners_half_a_row_apart(W):
    """You add feature k and feature k + n/2. Partners are neighbours, 2k and 2k + 1."""
    first, second = W.chunk(2, dim=-1)
    S, D = (first + second).square().sum(dim=1), (first - second).square().sum(dim=1)
    return S / (S + D).clamp(min=1e-12)


def sum_share__one_number_an_instance(W):
    """You sum over the pairs as well. Each pair has a share of its own: shape (inst, pair)."""
    S, D = (v.square().sum(dim=(1, 2)) for v in _sum_and_difference(W))
    return S / (S + D).clamp(min=1e-12)


def sum_share__short_directions_cut(W):
    """Short directions get too small a share: the floor under your denominator is too high. It is
    there for 0 only."""
    S, D = (v.square().sum(dim=1) / 2 for v in _sum_and_difference(W))
    return S / (S + D).clamp(min=0.1)


def sum_share__constant_beside_the_total(W):
    """You add a small number to the total. The squared lengths of short directions are small, too,
    and their share shrinks: only a total of exactly 0 needs care."""
    S, D = (v.square().sum(dim=1) / 2 for v in _sum_and_difference(W))
    return S / (S + D + 1e-6)


def sum_share__of_the_first_feature(W):
    """You return the share of the first feature in the total length. Rotate the two columns into a
    sum and a difference first."""
    one, two = (W[..., k::2].square().sum(dim=1) for k in (0, 1))
    return one / (one + two).clamp(min=1e-12)


def sum_share__half_without_directions(W):
    """Where both directions are zero you return 1/2. The text asks for 0 there."""
    S, D = (v.square().sum(dim=1) for v in _sum_and_difference(W))
    return torch.where(S + D > 0, S / (S + D).clamp(min=1e-30), 0.5)


# ----------------------------------------------------------------------------- g3. strategy_losses


def strategy_losses__without_the_factor(p, c):
    """You return c, p and 1 - 3c/4. These are the losses in units of p/6: multiply."""
    return torch.stack([c, p, 1 - 3 * c / 4])


def strategy_losses__summed_over_features(p, c):
    """Your losses are twice too large: the loss is a *mean* over features, and a line holds
    two."""
    return p / 3 * torch.stack([c, p, 1 - 3 * c / 4])


def strategy_losses__first_two_exchanged(p, c):
    """Opposite and orthogonal are exchanged. In "opposite" it is the partners that disturb each
    other, so that loss depends on c."""
    return p / 6 * torch.stack([p, c, 1 - 3 * c / 4])


def strategy_losses__strangers_meet_with_c(p, c):
    """In your "orthogonal" the features that share a line meet with probability p c. But they are
    strangers, from different pairs: p²."""
    return p / 6 * torch.stack([c, c, 1 - 3 * c / 4])


def strategy_losses__sum_only_fails_alone(p, c):
    """Your sum costs nothing when both are on. It is still wrong then: the model knows the sum of
    the strengths, not each of them."""
    return p / 6 * torch.stack([c, p, 1 - c])


def strategy_losses__sum_only_fails_together(p, c):
    """Your sum costs nothing when only one partner is on. But both outputs are half of the sum
    then: how far is each of them off?"""
    return p / 6 * torch.stack([c, p, c / 4])


def strategy_losses__sum_as_if_never_together(p, c):
    """Your sum costs p/6 whatever c is. Being on together is what makes the sum a good idea: its
    loss falls with c."""
    return p / 6 * torch.stack([c, p, torch.ones_like(c)])


def strategy_losses__opposite_counts_one_error(p, c):
    """With opposite directions *both* outputs are wrong when both are on: one by the minimum, and
    the other one too. You count one."""
    return p / 6 * torch.stack([c / 2, p / 2, 1 - 3 * c / 4])


def strategy_losses__both_with_c(p, c):
    """You take c for P(both on). It is the probability of the partner *given* that a feature is on:
    both are on with p c."""
    alone = p * (1 - c)
    return torch.stack([c / 6, p**2 / 6, alone / 6 + c / 24])


def strategy_losses__both_with_c_and_the_rest_alone(p, c):
    """You take c for P(both on). It is the probability of the partner *given* that a feature is on:
    both are on with p c."""
    return torch.stack([c / 6, p**2 / 6, (p - c) / 6 + c / 24])


def strategy_losses__difference_of_one_number(p, c):
    """With both on you charge the sum too little: two independent uniform numbers differ by a mean
    square of 1/6. (1/12 is the variance of *one*.)"""
    return p / 6 * torch.stack([c, p, 1 - 7 * c / 8])


def strategy_losses__squared_minimum_of_the_mean(p, c):
    """For opposite directions you square the mean of the smaller strength, (1/3)². The loss needs
    the mean of its *square*, 1/6."""
    return p / 6 * torch.stack([2 * c / 3, 2 * p / 3, 1 - 3 * c / 4])


def strategy_losses__one_alone_counted_once(p, c):
    """Exactly one of two partners is on with 2p (1 - c): the first alone, or the second alone. You
    count one of the two."""
    return p / 6 * torch.stack([c, p, (1 - c) / 2 + c / 4])


def strategy_losses__sum_of_unit_directions(p, c):
    """In the sum you give each of the two outputs the whole of x1 + x2. Each direction has length
    1/√2, so each output is *half* of the sum."""
    return p / 6 * torch.stack([c, p, 2 + 0 * c])


def strategy_losses__stacked_last(p, c):
    """Your strategies are on the last axis. They come first: `torch.stack` does that by
    itself."""
    return (p / 6)[..., None] * torch.stack([c, p, 1 - 3 * c / 4], dim=-1)


# ------------------------------------------------------------------------------------- predictions


def predict_correlated__opposite():
    """Opposite features cost nothing until both are on. But these two are *always* on together, so
    they would pay in every row in which they occur."""
    return "opposite"


def predict_correlated__same_direction():
    """In the same direction only their sum survives: the model cannot tell the two strengths apart.
    At p = 0.15 a right angle is cheaper, because it makes strangers share a line, who meet
    rarely. (For large p you would be right: see part 5.)"""
    return "same direction"


def predict_anticorrelated__orthogonal():
    """A right angle wastes room here: each feature must then share its line with a stranger, whom
    it meets now and then. Its own partner it never meets. (Many single runs do end like
    this. They are stuck.)"""
    return "orthogonal"


def predict_anticorrelated__same_direction():
    """In the same direction each of the two would be read out when the other is on: positive
    interference, which the ReLU lets through."""
    return "same direction"


def predict_crowded__opposite():
    """Opposite partners disturb each other in every row in which they are on, which is the worst
    choice for a correlated pair. Better to let strangers be opposite."""
    return "opposite"


def predict_crowded__orthogonal():
    """Dropping a pair costs its whole variance, about p/3 for each of its features. At p = 0.01
    strangers hardly ever meet, so squeezing all six in is cheaper."""
    return "orthogonal"


def predict_interference__larger():
    """Features of one set are on together all the time, so interference among them would be paid
    all the time. Belonging together is a reason to keep apart."""
    return "larger"


def predict_interference__equal():
    """That is what the independent control does. With sets the model can do better: it puts the
    interference where features rarely meet."""
    return "equal"


def predict_interference__smaller():
    """It could be far smaller: ten features in ten dimensions can be orthogonal to each other, all
    of them, in one set and in the other. So none of the interference has to be within a set."""
    return "smaller"


def predict_collapse__three_quarters():
    """You solved p = 3c/4. The loss of the sum is 1 - 3c/4, which is a quarter at c = 1."""
    return 0.75


def predict_collapse__triple_point():
    """4/7 is where all three strategies tie, at p = c. Here c is fixed at 1."""
    return 4 / 7


def predict_collapse__half():
    """1/2 is the largest p for which partners can avoid each other. It has nothing to do with the
    tie of two losses: put 1 - 3c/4 = p."""
    return 0.5


def predict_dimensions__below_12():
    """With 11 dimensions only one line has to be shared, and two strangers can share it: they meet
    with p² = 0.01. No pair needs to collapse."""
    return "below 12"


def predict_dimensions__below_6():
    """At 5 dimensions two features a line no longer suffice, but polygons do: strangers at less
    than a right angle, as in 3.1.1. At p = 0.1 that is still cheaper than half a feature."""
    return "below 6"
