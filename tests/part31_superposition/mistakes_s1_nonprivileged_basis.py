"""Wrong answers that learners of 3.1.1 give, each with what a tutor would say."""

import math

import torch
from einops import einsum

INTO = "batch inst feature, inst hidden feature -> batch inst hidden"
BACK = "batch inst hidden, inst hidden feature -> batch inst feature"


def _reconstruct(x, W):
    return einsum(einsum(x, W, INTO), W, BACK)


# ---------------------------------------------------------------------------------- a. toy_forward


def toy_forward__no_relu(x, W, b):
    """Your output can be negative, but features never are. What is the last step of the
    formula?"""
    return _reconstruct(x, W) + b


def toy_forward__bias_after_relu(x, W, b):
    """You add the bias after the ReLU. Then a negative bias cannot cut small leaks off, and the
    output can be negative: in the formula the bias is inside."""
    return torch.relu(_reconstruct(x, W)) + b


def toy_forward__no_bias(x, W, b):
    """The bias does not appear in your output. Try x = 0: what should come out?"""
    return torch.relu(_reconstruct(x, W))


def toy_forward__bias_subtracted(x, W, b):
    """You subtract the bias. The formula adds it; training finds the sign by itself."""
    return torch.relu(_reconstruct(x, W) - b)


def toy_forward__relu_on_hidden_too(x, W, b):
    """You also apply a ReLU to the hidden layer. Here h = Wx stays as it is, negative entries
    included: that is what makes the hidden basis non-privileged."""
    return torch.relu(einsum(einsum(x, W, INTO).relu(), W, BACK) + b)


def toy_forward__relu_on_hidden_only(x, W, b):
    """Your ReLU sits on the hidden layer. In this model it sits on the output."""
    return einsum(einsum(x, W, INTO).relu(), W, BACK) + b


def toy_forward__first_instance_for_all(x, W, b):
    """Every instance uses the weights of instance 0. `inst` must stay an axis in both
    products."""
    hidden = einsum(x, W[0], "batch inst feature, hidden feature -> batch inst hidden")
    return torch.relu(
        einsum(hidden, W[0], "batch inst hidden, hidden feature -> batch inst feature") + b
    )


def toy_forward__instances_summed(x, W, b):
    """Your hidden layer sums over instances, so the models leak into each other. An axis that
    is missing on the right of the arrow is summed over: is `inst` there?"""
    hidden = einsum(x, W, "batch inst feature, inst hidden feature -> batch hidden")
    return torch.relu(
        einsum(hidden, W, "batch hidden, inst hidden feature -> batch inst feature") + b
    )


def toy_forward__encoders_summed(x, W, b):
    """On the way in, every instance of x meets the sum of all instances of W. In an einsum an axis
    that has another name in W than in x is summed over: which name should they share?"""
    hidden = einsum(x, W, "batch inst feature, model hidden feature -> batch inst hidden")
    return torch.relu(einsum(hidden, W, BACK) + b)


def toy_forward__unit_directions(x, W, b):
    """You normalise the columns of W first. The model uses W as it is: a feature's norm says
    how much of it is represented."""
    return torch.relu(_reconstruct(x, W / W.norm(dim=1, keepdim=True)) + b)


def toy_forward__decoder_detached(x, W, b):
    """The values are right, but the gradient misses one of the two places where W is used. Is W
    detached, copied or wrapped somewhere?"""
    return torch.relu(einsum(einsum(x, W, INTO), W.detach(), BACK) + b)


def toy_forward__float32_only(x, W, b):
    """You convert to float32, so double precision goes in and single comes out. Keep the
    dtype."""
    return torch.relu(_reconstruct(x.float(), W.float()) + b.float())


def toy_forward__matmul_meets_the_batch(x, W, b):
    """`@` pairs the last two axes and lines up the ones before. So `x @ W.mT` sets your batch axis
    against W's instances. Give x an axis of its own for the product, or say with `einsum` which
    axes belong together."""
    return torch.relu(x @ W.transpose(-1, -2) @ W + b)


def toy_forward__matmul_over_the_first_axis(x, W, b):
    """Your product treats the rows of the batch as if they were the instances. Row k must meet all
    instances, each with its own weights: which axes do x and W share by name?"""
    mixed = torch.einsum("bif,bhf->bih", x, W[torch.arange(len(x)) % len(W)])
    back = torch.einsum("bih,bhf->bif", mixed, W[torch.arange(len(x)) % len(W)])
    return torch.relu(back + b)


def toy_forward__absolute_value(x, W, b):
    """You take the absolute value, so negative interference comes back as positive. A ReLU cuts it
    off: that is what makes antipodal pairs cheap."""
    return (_reconstruct(x, W) + b).abs()


def toy_forward__softened(x, W, b):
    """You use softplus, which is never quite 0. A ReLU returns exactly 0 for what is negative."""
    return torch.nn.functional.softplus(_reconstruct(x, W) + b)


def toy_forward__leaky(x, W, b):
    """Your last step lets a little of what is negative through. A ReLU returns exactly 0 there."""
    return torch.nn.functional.leaky_relu(_reconstruct(x, W) + b)


def toy_forward__sigmoid(x, W, b):
    """You end with a sigmoid, which squeezes everything between 0 and 1 and is 1/2 at 0. The model
    ends with a ReLU."""
    return torch.sigmoid(_reconstruct(x, W) + b)


def toy_forward__first_bias_for_all(x, W, b):
    """Every instance uses the biases of instance 0. `b` has the axis `inst`, and broadcasts over
    the batch by itself."""
    return torch.relu(_reconstruct(x, W) + b[0])


# ------------------------------------------------------------------------------ b. sparse_features


def _draw(gen, *size):
    return torch.rand(size, generator=gen, device=gen.device)


def sparse_features__mask_reused_as_magnitude(batch, inst, feature, probability, gen):
    """You keep the number that decided whether the feature is on. It is below p whenever it is,
    so rare features are always weak. A feature's strength must not depend on p."""
    u = _draw(gen, batch, inst, feature)
    return torch.where(u < probability, u, 0.0)


def sparse_features__mask_reused_from_above(batch, inst, feature, probability, gen):
    """You keep the number that decided whether the feature is on. It is above 1 - p whenever it
    is, so rare features are always strong. A feature's strength must not depend on p."""
    u = _draw(gen, batch, inst, feature)
    return torch.where(u > 1 - probability, u, 0.0)


def sparse_features__no_magnitude(batch, inst, feature, probability, gen):
    """Your active features are all exactly 1. An active feature has a strength, uniform on [0,
    1]."""
    return (_draw(gen, batch, inst, feature) < probability).float()


def sparse_features__scaled_not_masked(batch, inst, feature, probability, gen):
    """You multiply by the probability. Then every feature is always on and just weaker. Sparse
    means exactly 0 most of the time."""
    return _draw(gen, batch, inst, feature) * probability


def sparse_features__probability_as_sparsity(batch, inst, feature, probability, gen):
    """Your features are *off* with the given probability. Which way round is your
    comparison?"""
    magnitude = _draw(gen, batch, inst, feature)
    return torch.where(_draw(gen, batch, inst, feature) > probability, magnitude, 0.0)


def sparse_features__mask_shared_over_batch(batch, inst, feature, probability, gen):
    """You draw one mask and use it for every row: a feature is on in all rows or in none."""
    magnitude = _draw(gen, batch, inst, feature)
    return torch.where(_draw(gen, inst, feature) < probability, magnitude, 0.0)


def sparse_features__mask_shared_over_features(batch, inst, feature, probability, gen):
    """You draw one number per row and instance, so the features of a row come on together. They
    should be independent: that is why overlap is cheap when p is small."""
    magnitude = _draw(gen, batch, inst, feature)
    return torch.where(_draw(gen, batch, inst, 1) < probability, magnitude, 0.0)


def sparse_features__mask_shared_over_instances(batch, inst, feature, probability, gen):
    """All instances share one mask. They are separate models with separate data: draw for
    each."""
    magnitude = _draw(gen, batch, inst, feature)
    return torch.where(_draw(gen, batch, 1, feature) < probability, magnitude, 0.0)


def sparse_features__magnitude_shared_over_features(batch, inst, feature, probability, gen):
    """The active features of a row all have the same strength. Draw one strength for each
    entry."""
    magnitude = _draw(gen, batch, inst, 1)
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__magnitude_shared_over_instances(batch, inst, feature, probability, gen):
    """All instances share their strengths. They are separate models: draw for each."""
    magnitude = _draw(gen, batch, 1, feature)
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__magnitude_shared_over_batch(batch, inst, feature, probability, gen):
    """A feature has the same strength in every row. Draw strengths of shape (batch, inst,
    feature)."""
    magnitude = _draw(gen, inst, feature)
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__first_probability_only(batch, inst, feature, probability, gen):
    """You use a single probability for all instances and features. A tensor of shape (inst, 1),
    (1, feature) or (inst, feature) broadcasts by itself."""
    p = torch.as_tensor(probability, device=gen.device).flatten()[0]
    magnitude = _draw(gen, batch, inst, feature)
    return torch.where(_draw(gen, batch, inst, feature) < p, magnitude, 0.0)


def sparse_features__one_probability_per_instance(batch, inst, feature, probability, gen):
    """You use the first feature's probability for all features of an instance. Features may
    differ."""
    p = torch.as_tensor(probability, device=gen.device).expand(inst, feature)[:, :1]
    magnitude = _draw(gen, batch, inst, feature)
    return torch.where(_draw(gen, batch, inst, feature) < p, magnitude, 0.0)


def sparse_features__normal_magnitudes(batch, inst, feature, probability, gen):
    """Your strengths are normal numbers without sign. They should be uniform on [0, 1]: rand,
    not randn."""
    magnitude = torch.randn(batch, inst, feature, generator=gen, device=gen.device).abs()
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__signed_magnitudes(batch, inst, feature, probability, gen):
    """Half of your active features are negative. Strengths lie in [0, 1]."""
    magnitude = 2 * _draw(gen, batch, inst, feature) - 1
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__own_generator(batch, inst, feature, probability, gen):
    """You make a generator of your own, so every call returns the same batch. Draw from
    `gen`."""
    own = torch.Generator(gen.device).manual_seed(0)
    magnitude = _draw(own, batch, inst, feature)
    return torch.where(_draw(own, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__outside_the_generator(batch, inst, feature, probability, gen):
    """A draw of yours does not use `gen`, so the same generator gives a new batch every time. Pass
    `generator=gen` to each call of `torch.rand`."""
    magnitude = torch.rand(batch, inst, feature, device=gen.device)
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__halves_repeat(batch, inst, feature, probability, gen):
    """The second half of your batch repeats the switches of the first. Every row is drawn anew."""
    half = _draw(gen, batch - batch // 2, inst, feature) < probability
    active = torch.cat([half, half])[:batch]
    return torch.where(active, _draw(gen, batch, inst, feature), 0.0)


def sparse_features__bell_shaped(batch, inst, feature, probability, gen):
    """Your strengths crowd in the middle, as a mean of several draws does. Uniform means that each
    value in [0, 1] is as likely as any other: one draw."""
    magnitude = (_draw(gen, batch, inst, feature) + _draw(gen, batch, inst, feature)) / 2
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__never_weak(batch, inst, feature, probability, gen):
    """You keep the strengths away from 0. They are uniform on all of [0, 1]: an active feature may
    be as weak as it likes."""
    magnitude = _draw(gen, batch, inst, feature).clamp(min=0.1)
    return torch.where(_draw(gen, batch, inst, feature) < probability, magnitude, 0.0)


def sparse_features__normal_switch(batch, inst, feature, probability, gen):
    """You compare a *normal* number with p. It is below p much more often than p. A uniform number
    on [0, 1] is below p with probability p."""
    switch = torch.randn(batch, inst, feature, generator=gen, device=gen.device)
    return torch.where(switch < probability, _draw(gen, batch, inst, feature), 0.0)


def sparse_features__axes_exchanged(batch, inst, feature, probability, gen):
    """Your first two axes are exchanged: the shape is (batch, inst, feature)."""
    magnitude = _draw(gen, inst, batch, feature)
    return torch.where(_draw(gen, inst, batch, feature) < 0.5, magnitude, 0.0)


# ------------------------------------------------------------------------------------- c. toy_loss


def toy_loss__mean_over_instances(x, x_hat, importance):
    """You average over instances, too. Then each model's gradient shrinks with the number of
    models beside it. Which axis should be summed?"""
    return (importance * (x - x_hat) ** 2).mean()


def toy_loss__sum_over_everything(x, x_hat, importance):
    """You sum over all three axes. Then the loss grows with the batch and with the features."""
    return (importance * (x - x_hat) ** 2).sum()


def toy_loss__sum_over_features(x, x_hat, importance):
    """You average over the batch only. The features are averaged as well, here (papers
    differ)."""
    return (importance * (x - x_hat) ** 2).mean(dim=0).sum()


def toy_loss__sum_over_batch(x, x_hat, importance):
    """You average over the features only. A larger batch must not mean a larger loss."""
    return (importance * (x - x_hat) ** 2).mean(dim=2).sum()


def toy_loss__importance_inside_the_square(x, x_hat, importance):
    """The importance is squared with the error. It weights the squared error: put it
    outside."""
    return ((importance * (x - x_hat)) ** 2).mean(dim=(0, 2)).sum()


def toy_loss__no_importance(x, x_hat, importance):
    """The importance does not appear in your loss, so all features count the same."""
    return ((x - x_hat) ** 2).mean(dim=(0, 2)).sum()


def toy_loss__absolute_error(x, x_hat, importance):
    """You take the absolute error. The loss is the squared one."""
    return (importance * (x - x_hat).abs()).mean(dim=(0, 2)).sum()


def toy_loss__one_per_instance(x, x_hat, importance):
    """You return one loss for each instance. The last step is missing: sum them."""
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2))


def toy_loss__divided_by_total_importance(x, x_hat, importance):
    """You divide by the sum of the importances. The formula divides by the number of features,
    so that three times the importance is three times the loss."""
    weighted = (importance * (x - x_hat) ** 2).mean(dim=0)
    return (weighted.sum(-1) / importance.sum(-1)).sum()


def toy_loss__as_a_python_number(x, x_hat, importance):
    """You return a plain number. Nothing can be differentiated any more: return the tensor."""
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sum().item()


def toy_loss__features_summed_instances_averaged(x, x_hat, importance):
    """You average over `batch` and `inst` and sum over `feature`. It is the other way round: mean
    over `batch` and `feature`, sum over `inst`."""
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 1)).sum()


def toy_loss__root(x, x_hat, importance):
    """You take the root of the mean. The loss is the mean squared error itself."""
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sqrt().sum()


def toy_loss__importance_on_x_hat_only(x, x_hat, importance):
    """You multiply the reconstruction by the importance before you compare. The importance weights
    the squared *error*."""
    return ((x - importance * x_hat) ** 2).mean(dim=(0, 2)).sum()


def toy_loss__single_row_squeezed(x, x_hat, importance):
    """A batch of one row goes wrong: something drops or mixes an axis of size 1. Name the axes that
    you average over."""
    error = (importance * (x - x_hat) ** 2).squeeze()
    return error.mean(dim=0).mean(dim=-1).sum()


# ------------------------------------------------------------------------------- d1. learning_rate


def _scheduled(t, lr, schedule):
    factors = {"constant": 1.0, "linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2}
    if schedule not in factors:
        raise ValueError(f"unknown schedule {schedule!r}")
    return lr * factors[schedule]


def learning_rate__reaches_zero(step, n_steps, lr, schedule):
    """You divide by n_steps - 1. Then the last step has rate 0 and does nothing; and a run of
    one step divides by zero."""
    return _scheduled(step / max(n_steps - 1, 1), lr, schedule)


def learning_rate__counts_from_one(step, n_steps, lr, schedule):
    """You count steps from 1. Step 0 should have the full rate."""
    return _scheduled((step + 1) / n_steps, lr, schedule)


def learning_rate__factor_only(step, n_steps, lr, schedule):
    """You return the factor. Multiply it by lr."""
    return _scheduled(step / n_steps, 1.0, schedule)


def learning_rate__rising(step, n_steps, lr, schedule):
    """Your linear schedule rises from 0. It should fall from lr."""
    t = step / n_steps
    return lr * t if schedule == "linear" else _scheduled(t, lr, schedule)


def learning_rate__cosine_not_halved(step, n_steps, lr, schedule):
    """1 + cos starts at 2, so your cosine schedule starts at twice the rate. Halve it."""
    t = step / n_steps
    return (2 if schedule == "cosine" else 1) * _scheduled(t, lr, schedule)


def learning_rate__quarter_cosine(step, n_steps, lr, schedule):
    """You use a quarter of a cosine wave, cos(pi t / 2). Here it is half a wave, moved up: (1 +
    cos(pi t)) / 2. What is it half-way?"""
    t = step / n_steps
    return lr * math.cos(math.pi * t / 2) if schedule == "cosine" else _scheduled(t, lr, schedule)


def learning_rate__bare_cosine(step, n_steps, lr, schedule):
    """Your cosine schedule is cos(pi t), which is negative in the second half. A negative rate
    walks uphill."""
    t = step / n_steps
    return lr * math.cos(math.pi * t) if schedule == "cosine" else _scheduled(t, lr, schedule)


def learning_rate__unknown_is_constant(step, n_steps, lr, schedule):
    """An unknown schedule passes silently as "constant". A typing mistake would go unnoticed:
    raise a ValueError."""
    known = schedule in ("constant", "linear", "cosine")
    return _scheduled(step / n_steps, lr, schedule if known else "constant")


def learning_rate__key_error(step, n_steps, lr, schedule):
    """An unknown schedule ends in a KeyError from the dictionary. The statement asks for a
    ValueError with its name."""
    t = step / n_steps
    return (
        lr * {"constant": 1.0, "linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2}[schedule]
    )


def learning_rate__rising_cosine(step, n_steps, lr, schedule):
    """Your cosine schedule starts at 0 and rises: (1 - cos) / 2. It should start at the full rate:
    which sign does the cosine have in the table?"""
    t = step / n_steps
    if schedule == "cosine":
        return lr * (1 - math.cos(math.pi * t)) / 2
    return _scheduled(t, lr, schedule)


def learning_rate__cosine_without_pi(step, n_steps, lr, schedule):
    """Your cosine runs from 0 to 1 radian only, so the rate hardly falls. The table has cos(pi t):
    half a wave."""
    t = step / n_steps
    return lr * (1 + math.cos(t)) / 2 if schedule == "cosine" else _scheduled(t, lr, schedule)


def learning_rate__whole_wave(step, n_steps, lr, schedule):
    """Your cosine is a whole wave, cos(2 pi t): at the end the rate is full again. The table has
    half a wave, cos(pi t)."""
    t = step / n_steps
    if schedule == "cosine":
        return lr * (1 + math.cos(2 * math.pi * t)) / 2
    return _scheduled(t, lr, schedule)


def learning_rate__steps_left(step, n_steps, lr, schedule):
    """You use t = step / (n_steps + 1). With n_steps steps counted from 0, t = step / n_steps."""
    return _scheduled(step / (n_steps + 1), lr, schedule)


# --------------------------------------------------------------------------------------- d2. train


def _loss(x, W, b, importance):
    x_hat = torch.relu(_reconstruct(x, W) + b)
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sum()


def _loop(W, b, importance, batches, rates, *, optimizer=torch.optim.Adam, zero=True, train_b=True):
    W, b = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    optimizer, losses = optimizer([W, b] if train_b else [W], lr=1e-3), []
    for x, lr in zip(batches, rates, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        if zero:
            optimizer.zero_grad()
        loss = _loss(x, W, b, importance)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return W.detach(), b.detach(), torch.stack(losses)


def train__gradients_pile_up(W, b, importance, batches, learning_rates):
    """Old gradients are never cleared, so each step also uses those of all steps before. Which
    of the five moves is missing?"""
    return _loop(W, b, importance, batches, learning_rates, zero=False)


def train__sgd(W, b, importance, batches, learning_rates):
    """Your steps are proportional to the gradient: that is SGD. The statement asks for Adam."""
    return _loop(W, b, importance, batches, learning_rates, optimizer=torch.optim.SGD)


def train__adamw(W, b, importance, batches, learning_rates):
    """Your optimiser also shrinks the weights: AdamW decays them by default. Use Adam."""
    return _loop(W, b, importance, batches, learning_rates, optimizer=torch.optim.AdamW)


def train__bias_not_trained(W, b, importance, batches, learning_rates):
    """The bias never changes. Give both tensors to the optimiser."""
    return _loop(W, b, importance, batches, learning_rates, train_b=False)


def train__rates_ignored(W, b, importance, batches, learning_rates):
    """You never use the learning rates, so Adam runs with its default of 0.001."""
    return _loop(W, b, importance, batches, [1e-3 for _ in learning_rates])


def train__first_rate_for_all(W, b, importance, batches, learning_rates):
    """You set the learning rate once, before the loop. Each step has its own."""
    return _loop(W, b, importance, batches, [learning_rates[0] for _ in learning_rates])


def train__rate_set_one_step_late(W, b, importance, batches, learning_rates):
    """You set the rate after the step, so each step runs with the rate of the one before."""
    return _loop(W, b, importance, batches, [1e-3, *learning_rates[:-1]])


def train__new_optimizer_each_step(W, b, importance, batches, learning_rates):
    """You make the optimiser inside the loop. Adam then forgets its running averages, and every
    step is its first. Make it once."""
    W, b, losses = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_(), []
    for x, lr in zip(batches, learning_rates, strict=True):
        optimizer = torch.optim.Adam([W, b], lr=lr)
        optimizer.zero_grad()
        loss = _loss(x, W, b, importance)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return W.detach(), b.detach(), torch.stack(losses)


def train__fresh_weights_each_step(W, b, importance, batches, learning_rates):
    """Every step starts again from the W and b that were given, so only the last step counts.
    Make the parameters once, before the loop."""
    out, losses = (W.detach(), b.detach()), []
    for x, lr in zip(batches, learning_rates, strict=True):
        *out, loss = _loop(W, b, importance, [x], [lr])
        losses.append(loss)
    return out[0], out[1], torch.cat(losses)


def train__nothing_moves(W, b, importance, batches, learning_rates):
    """W and b never move, so no gradient reaches the optimiser. Either your loss is computed from
    the W and b that were given and not from its parameters, or the gradient is cleared between
    `backward` and `step`."""
    losses = [_loss(x, W, b, importance).detach() for x in batches]
    return W.detach().clone(), b.detach().clone(), torch.stack(losses)


def train__loss_after_the_step(W, b, importance, batches, learning_rates):
    """You note the loss after the update. Note the one that you computed before it: it costs
    nothing."""
    W, b = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    optimizer, losses = torch.optim.Adam([W, b]), []
    for x, lr in zip(batches, learning_rates, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        _loss(x, W, b, importance).backward()
        optimizer.step()
        losses.append(_loss(x, W, b, importance).detach())
    return W.detach(), b.detach(), torch.stack(losses)


def train__step_before_backward(W, b, importance, batches, learning_rates):
    """You step before you go backward, so each step uses the gradient of the batch before, and
    the first step does nothing. What is the order of the five moves?"""
    W, b = W.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    optimizer, losses = torch.optim.Adam([W, b]), []
    for x, lr in zip(batches, learning_rates, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        loss = _loss(x, W, b, importance)
        optimizer.step()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
    return W.detach(), b.detach(), torch.stack(losses)


def train__importance_ignored(W, b, importance, batches, learning_rates):
    """The importances never reach your loss. Pass them to `toy_loss`."""
    return _loop(W, b, torch.ones_like(importance), batches, learning_rates)


def train__losses_in_a_list(W, b, importance, batches, learning_rates):
    """The losses are right, but they are a list. Stack them into one tensor, with the axis
    `step`."""
    W, b, losses = _loop(W, b, importance, batches, learning_rates)
    return W, b, list(losses)


def train__last_loss_only(W, b, importance, batches, learning_rates):
    """You return the last loss only. Note one for every step."""
    W, b, losses = _loop(W, b, importance, batches, learning_rates)
    return W, b, losses[-1]


def train__needs_a_length(W, b, importance, batches, learning_rates):
    """You ask for the length of the batches, or index them. They may come from a generator, which
    has neither: loop over both with `zip`."""
    return _loop(W, b, importance, [batches[k] for k in range(len(batches))], learning_rates)


def train__mean_over_instances(W, b, importance, batches, learning_rates):
    """Your loss is averaged over the instances, so what you note is too small by their number.
    `toy_loss` sums over them."""
    W, b, losses = _loop(W, b, importance, batches, learning_rates)
    return W, b, losses / len(W)


def train__inputs_overwritten(W, b, importance, batches, learning_rates):
    """You train the tensors that you were given. The caller's W and b change under their hands:
    make copies first."""
    trained, bias, losses = _loop(W, b, importance, batches, learning_rates)
    W.data.copy_(trained)
    b.data.copy_(bias)
    return W.detach(), b.detach(), losses


def train__losses_keep_their_graphs(W, b, importance, batches, learning_rates):
    """Your losses still hang on their graphs, so all activations of all steps stay in memory.
    Note the value only: detach, or item."""
    W, b, losses = _loop(W, b, importance, batches, learning_rates)
    return W, b, losses.requires_grad_()


def train__results_not_detached(W, b, importance, batches, learning_rates):
    """The W and b that you return still require gradients. Detach them."""
    W, b, losses = _loop(W, b, importance, batches, learning_rates)
    return W.requires_grad_(), b.requires_grad_(), losses


# ----------------------------------------------------------------------------- e. neighbour_angles


def _angles(W):
    return torch.atan2(W[:, 1], W[:, 0]).rad2deg()


def _closed(angle):
    angle = angle.sort(dim=-1).values
    return torch.cat([angle, angle[:, :1] + 360], dim=-1).diff(dim=-1)


def neighbour_angles__radians(W):
    """Your gaps sum to 6.28, which is a full turn in radians. The statement asks for
    degrees."""
    return _closed(_angles(W)).sort(dim=-1).values.deg2rad()


def neighbour_angles__circle_not_closed(W):
    """There are as many gaps as arrows, and you have one fewer: the gap from the last arrow to
    the first is missing."""
    return _angles(W).sort(dim=-1).values.diff(dim=-1).sort(dim=-1).values


def neighbour_angles__last_gap_without_turn(W):
    """Your last gap goes back from the last arrow to the first, the long way through the
    others. It should go on through 360 degrees."""
    angle = _angles(W).sort(dim=-1).values
    return torch.cat([angle, angle[:, :1]], dim=-1).diff(dim=-1).abs().sort(dim=-1).values


def neighbour_angles__in_feature_order(W):
    """You compare feature 0 with 1, 1 with 2 and so on. Neighbours on the circle need not be
    neighbours in the list: sort first."""
    angle = _angles(W)
    gaps = torch.cat([angle, angle[:, :1]], dim=-1).diff(dim=-1) % 360
    return gaps.sort(dim=-1).values


def neighbour_angles__two_quadrants(W):
    """The arctangent of y/x cannot tell an arrow from its opposite. Which function takes y and
    x separately?"""
    return _closed(torch.atan(W[:, 1] / W[:, 0]).rad2deg()).sort(dim=-1).values


def neighbour_angles__never_above_180(W):
    """You measure the angle *between* two arrows, which never exceeds 180. Walk around the
    circle: a gap can be larger, when all arrows are on one side."""
    gaps = _closed(_angles(W))
    return torch.minimum(gaps, 360 - gaps).sort(dim=-1).values


def neighbour_angles__not_ascending(W):
    """The gaps are right, but in the order of the walk. Sort them, so that the result does not
    depend on where the walk begins."""
    return _closed(_angles(W))


def neighbour_angles__descending(W):
    """The gaps are right, but the largest comes first. The statement asks for ascending
    order."""
    return _closed(_angles(W)).sort(dim=-1, descending=True).values


def neighbour_angles__sorted_over_instances(W):
    """You sort along the instances. Each instance has its own circle: which axis is
    `feature`?"""
    angle = _angles(W).sort(dim=0).values
    return torch.cat([angle, angle[:, :1] + 360], dim=-1).diff(dim=-1).sort(dim=-1).values


def neighbour_angles__nearest_only(W):
    """You return the distance to the *nearest* other arrow. Walk in one direction instead: each
    arrow has one gap to the next, and the gaps sum to 360."""
    gaps = _closed(_angles(W))
    before_it = gaps.roll(1, dims=-1)
    return torch.minimum(gaps, before_it).sort(dim=-1).values


def neighbour_angles__negative_last_gap(W):
    """One of your gaps is negative: the one from the last arrow back to the first. It goes on
    through 360 degrees, so add a full turn."""
    angle = _angles(W).sort(dim=-1).values
    return (angle.roll(-1, dims=-1) - angle).sort(dim=-1).values


def neighbour_angles__between_list_neighbours(W):
    """You take the angle between each arrow and the next one in the list, by its cosine. Neighbours
    on the circle need not be neighbours in the list, and a cosine cannot tell 190 degrees from
    170."""
    cosine = torch.nn.functional.cosine_similarity(W, W.roll(-1, dims=-1), dim=1)
    return cosine.clamp(-1, 1).acos().rad2deg().sort(dim=-1).values


def neighbour_angles__lines_not_arrows(W):
    """You take angles modulo 180, so an arrow and its opposite count as the same line. Arrows have
    a head: the circle has 360 degrees."""
    angle = (_angles(W) % 180).sort(dim=-1).values
    return torch.cat([angle, angle[:, :1] + 180], dim=-1).diff(dim=-1).sort(dim=-1).values


def neighbour_angles__all_instances_in_one_circle(W):
    """You sort all instances together. Each has a circle of its own: sort along `feature`."""
    angle = _angles(W).flatten().sort().values.view(len(W), -1)
    closed = torch.cat([angle, angle[:, :1] + 360], dim=-1)
    return closed.diff(dim=-1).sort(dim=-1).values


# ----------------------------------------------------------- f. norms, interference, n_represented


def feature_norms__of_hidden_units(W):
    """You sum over the features, which gives one number for each hidden unit. A feature's
    direction is a column: sum over `hidden`."""
    return W.norm(dim=2)


def feature_norms__over_instances(W):
    """You sum over the instances. They are separate models."""
    return W.norm(dim=0)


def feature_norms__squared(W):
    """These are squared norms. The square root is missing."""
    return W.square().sum(dim=1)


def feature_norms__l1(W):
    """You add absolute values. The length of a vector is the root of the sum of squares."""
    return W.abs().sum(dim=1)


def feature_norms__largest_entry(W):
    """You take the largest entry of each column. The length uses all of them."""
    return W.abs().amax(dim=1)


def feature_norms__root_mean_square(W):
    """You average the squares over `hidden`. A length is the root of their sum."""
    return W.square().mean(dim=1).sqrt()


def feature_norms__sum_of_entries(W):
    """You add the entries with their signs: (1, -1) would have length 0."""
    return W.sum(dim=1)


def _overlaps(left, right):
    return einsum(left, right, "inst hidden feature, inst hidden other -> inst feature other")


def _unit(W):
    return W / W.norm(dim=1, keepdim=True).clamp(min=1e-8)


def _off(overlap):
    eye = torch.eye(overlap.shape[-1], dtype=torch.bool, device=overlap.device)
    return overlap.masked_fill(eye, 0)


def interference__itself_included(W):
    """Your sum includes j = i, so a feature on its own gets its norm squared. Leave the
    diagonal out."""
    return _overlaps(_unit(W), W).square().sum(-1)


def interference__no_hat(W):
    """Neither direction is normalised, so a feature's own length counts. The formula has a hat
    on W_i."""
    return _off(_overlaps(W, W)).square().sum(-1)


def interference__two_hats(W):
    """Both directions are normalised, so you sum squared cosines. A long neighbour disturbs
    more than a short one: W_j keeps its length."""
    return _off(_overlaps(_unit(W), _unit(W))).square().sum(-1)


def interference__hat_on_the_other(W):
    """The hat is on W_j, and it belongs on W_i. Or: you sum over the wrong axis of the right
    matrix."""
    return _off(_overlaps(W, _unit(W))).square().sum(-1)


def interference__not_squared(W):
    """You sum the overlaps without squaring, so neighbours on opposite sides cancel."""
    return _off(_overlaps(_unit(W), W)).sum(-1)


def interference__absolute(W):
    """You sum absolute overlaps. The formula squares them."""
    return _off(_overlaps(_unit(W), W)).abs().sum(-1)


def interference__square_of_the_sum(W):
    """You square after the sum, so neighbours on opposite sides cancel. Square each term
    first."""
    return _off(_overlaps(_unit(W), W)).sum(-1).square()


def interference__mean_over_features(W):
    """You average over j. The formula is a sum."""
    return _off(_overlaps(_unit(W), W)).square().mean(-1)


def interference__largest_neighbour(W):
    """You keep the largest neighbour only. All of them disturb: sum."""
    return _off(_overlaps(_unit(W), W)).square().amax(-1)


def interference__nan_for_dropped(W):
    """A feature of norm 0 gives NaN: 0 divided by 0. Keep the norm away from 0 before you
    divide."""
    return _off(_overlaps(W / W.norm(dim=1, keepdim=True), W)).square().sum(-1)


def interference__one_subtracted(W):
    """You sum over all j and subtract 1 for j = i. That term is the squared norm of W_i, and 1 only
    for a unit vector: leave the diagonal out before you sum."""
    return _overlaps(_unit(W), W).square().sum(-1) - 1


def interference__one_subtracted_from_the_living(W):
    """You sum over all j and subtract 1 for j = i. That term is the squared norm of W_i, and 1 only
    for a unit vector: leave the diagonal out before you sum."""
    return torch.where(W.norm(dim=1) > 0, interference__one_subtracted(W), 0.0)


def interference__identity_subtracted(W):
    """You subtract the identity to remove j = i. On the diagonal stands the norm of W_i, and 1 only
    for a unit vector: set the diagonal to 0 instead."""
    overlap = _overlaps(_unit(W), W)
    return (overlap - torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)).square().sum(-1)


def interference__positive_only(W):
    """You keep positive overlaps only. Here both signs count: half of an antipodal pair has
    interference 1."""
    return _off(_overlaps(_unit(W), W)).relu().square().sum(-1)


def interference__short_features_cut(W):
    """A short feature gets too little interference: the floor under its norm is too high. It is
    there for a norm of exactly 0, so 1e-8 is enough."""
    W_hat = W / W.norm(dim=1, keepdim=True).clamp(min=0.1)
    return _off(_overlaps(W_hat, W)).square().sum(-1)


def interference__constant_beside_the_norm(W):
    """You add a small number to the norm before you divide. Beside a norm of about that size it
    counts, and the feature gets too little interference. Only a norm of exactly 0 needs care."""
    return _off(_overlaps(W / (W.norm(dim=1, keepdim=True) + 1e-6), W)).square().sum(-1)


def interference__of_hidden_units(W):
    """You compare the rows of W, the hidden units. The features are its columns: the last axis."""
    turned = W.mT
    overlap = einsum(_unit(turned), turned, "inst feature a, inst feature b -> inst a b")
    return _off(overlap).square().sum(-1)


def n_represented__of_all_instances(W, threshold=0.5):
    """You count over all instances together. Each model has its own count."""
    return (W.norm(dim=1) > threshold).sum()


def n_represented__fraction(W, threshold=0.5):
    """You return the fraction of features. The statement asks for their number."""
    return (W.norm(dim=1) > threshold).float().mean(dim=-1)


def n_represented__squared_norm(W, threshold=0.5):
    """You compare the squared norm with the threshold."""
    return (W.square().sum(dim=1) > threshold).sum(dim=-1)


def n_represented__counts_entries(W, threshold=0.5):
    """You count the large entries of W. A feature can be long with several middling entries:
    compare its norm."""
    return (W.abs() > threshold).sum(dim=(1, 2))


def n_represented__one_large_entry(W, threshold=0.5):
    """You ask whether a column has one entry above the threshold. A feature can be long with
    several middling entries: compare its norm."""
    return (W.abs() > threshold).any(dim=1).sum(dim=-1)


def n_represented__threshold_included(W, threshold=0.5):
    """A norm equal to the threshold counts in your version. The statement says above it."""
    return (W.norm(dim=1) >= threshold).sum(dim=-1)


def n_represented__threshold_ignored(W, threshold=0.5):
    """Your threshold is always 0.5. Use the argument."""
    return (W.norm(dim=1) > 0.5).sum(dim=-1)


def n_represented__dropped_ones(W, threshold=0.5):
    """You count the features that are *not* represented."""
    return (W.norm(dim=1) <= threshold).sum(dim=-1)


def n_represented__as_floats(W, threshold=0.5):
    """The numbers are right, but they are floats. A count is an integer."""
    return (W.norm(dim=1) > threshold).float().sum(dim=-1)


def n_represented__hidden_units(W, threshold=0.5):
    """You take the norms of the rows, so you count hidden units. Features are columns."""
    return (W.norm(dim=2) > threshold).sum(dim=-1)


def n_represented__sum_of_norms(W, threshold=0.5):
    """You add up the norms above the threshold. Count them: sum the mask itself."""
    norms = W.norm(dim=1)
    return (norms * (norms > threshold)).sum(dim=-1)


# ------------------------------------------------------------ g. phase_grid and classify_feature


def _grid(p, r, feature):
    importance = torch.ones(r.numel(), feature, dtype=r.dtype, device=r.device)
    importance[:, -1] = r.reshape(-1)
    return p.reshape(-1, 1), importance


def phase_grid__importance_first(probabilities, importances, feature):
    """Your instances run through the probabilities first. With `i * n_r + j` the importance
    changes from one instance to the next. Which indexing does meshgrid use?"""
    p, r = torch.meshgrid(probabilities, importances, indexing="xy")
    return _grid(p, r, feature)


def phase_grid__pairs_only(probabilities, importances, feature):
    """You pair the first probability with the first importance, the second with the second, and
    so on. Every combination is needed."""
    n = min(len(probabilities), len(importances))
    return _grid(probabilities[:n], importances[:n], feature)


def phase_grid__first_feature(probabilities, importances, feature):
    """The importance r went to the first feature. The statement gives it to the last."""
    p, importance = _grid(*torch.meshgrid(probabilities, importances, indexing="ij"), feature)
    return p, importance.flip(1)


def phase_grid__all_features(probabilities, importances, feature):
    """All features have importance r. Then nothing distinguishes the last one: the others have
    1."""
    p, r = torch.meshgrid(probabilities, importances, indexing="ij")
    return p.reshape(-1, 1), r.reshape(-1, 1).repeat(1, feature)


def phase_grid__all_but_the_first(probabilities, importances, feature):
    """You give the importance r to every feature but the first. With two features that is the last
    one: which have r when there are three?"""
    p, r = torch.meshgrid(probabilities, importances, indexing="ij")
    importance = torch.ones(r.numel(), feature, dtype=r.dtype, device=r.device)
    importance[:, 1:] = r.reshape(-1, 1)
    return p.reshape(-1, 1), importance


def phase_grid__others_zero(probabilities, importances, feature):
    """The other features have importance 0, so the model does not care about them. They have
    1."""
    p, importance = _grid(*torch.meshgrid(probabilities, importances, indexing="ij"), feature)
    importance[:, :-1] = 0
    return p, importance


def phase_grid__flat_probability(probabilities, importances, feature):
    """Your probability has shape (inst,). It would broadcast along the features: it must be a
    column, (inst, 1)."""
    p, importance = _grid(*torch.meshgrid(probabilities, importances, indexing="ij"), feature)
    return p.flatten(), importance


def phase_grid__maps_not_flattened(probabilities, importances, feature):
    """You return two maps. The model needs one axis of instances: flatten them."""
    p, r = torch.meshgrid(probabilities, importances, indexing="ij")
    ones = torch.ones(*r.shape, feature - 1, dtype=r.dtype, device=r.device)
    return p[..., None], torch.cat([ones, r[..., None]], dim=-1)


def phase_grid__results_exchanged(probabilities, importances, feature):
    """The two results are exchanged: first the probability, then the importance."""
    p, importance = _grid(*torch.meshgrid(probabilities, importances, indexing="ij"), feature)
    return importance, p


def phase_grid__both_cycle(probabilities, importances, feature):
    """Both of your lists run through their values at once, so many combinations are missing. One
    must stay while the other goes through all of its values."""
    p, r = probabilities.repeat(len(importances)), importances.repeat(len(probabilities))
    return _grid(p, r, feature)


def phase_grid__both_stay(probabilities, importances, feature):
    """Both of your lists repeat each value before they go on, so many combinations are missing. The
    probability stays, the importance goes through all of its values."""
    p = probabilities.repeat_interleave(len(importances))
    return _grid(p, importances.repeat_interleave(len(probabilities)), feature)


def phase_grid__one_feature_too_many(probabilities, importances, feature):
    """Your importance has one column too many: `feature` counts the last one, too."""
    return _grid(*torch.meshgrid(probabilities, importances, indexing="ij"), feature + 1)


def _facts(W, norm_above, interference_above):
    shares = _off(_overlaps(_unit(W), W)).square().sum(-1)
    return W.norm(dim=1) > norm_above, shares > interference_above


def classify_feature__first_feature(W, norm_above=0.5, interference_above=0.25):
    """You classify the first feature. Its importance is always 1: the last one is the one we
    vary."""
    represented, shares = _facts(W, norm_above, interference_above)
    return represented[:, 0].long() * (1 + shares[:, 0].long())


def classify_feature__all_features(W, norm_above=0.5, interference_above=0.25):
    """You classify every feature. Only the last one is asked for."""
    represented, shares = _facts(W, norm_above, interference_above)
    return represented.long() * (1 + shares.long())


def classify_feature__interference_first(W, norm_above=0.5, interference_above=0.25):
    """You look at interference first. A feature of length nearly 0 still has a direction, and
    it may lie along another; but it is not represented, so it is 0."""
    represented, shares = (t[:, -1] for t in _facts(W, norm_above, interference_above))
    return torch.where(shares, 2, represented.long())


def classify_feature__codes_exchanged(W, norm_above=0.5, interference_above=0.25):
    """You exchanged 1 and 2. Own dimension is 1, superposed is 2."""
    represented, shares = (t[:, -1] for t in _facts(W, norm_above, interference_above))
    return represented.long() * (2 - shares.long())


def classify_feature__thresholds_ignored(W, norm_above=0.5, interference_above=0.25):
    """Your thresholds are always 0.5 and 0.25. Use the arguments."""
    represented, shares = (t[:, -1] for t in _facts(W, 0.5, 0.25))
    return represented.long() * (1 + shares.long())


def classify_feature__one_threshold(W, norm_above=0.5, interference_above=0.25):
    """You compare the interference with the norm's threshold. It has one of its own."""
    represented, shares = (t[:, -1] for t in _facts(W, norm_above, norm_above))
    return represented.long() * (1 + shares.long())


def classify_feature__norm_threshold_included(W, norm_above=0.5, interference_above=0.25):
    """A norm exactly at `norm_above` counts as represented in your version. It must be above it."""
    shares = _facts(W, norm_above, interference_above)[1][:, -1]
    return (W.norm(dim=1)[:, -1] >= norm_above).long() * (1 + shares.long())


def classify_feature__interference_threshold_included(W, norm_above=0.5, interference_above=0.25):
    """An interference exactly at `interference_above` counts as shared in your version. It must be
    above it."""
    shares = _off(_overlaps(_unit(W), W)).square().sum(-1)[:, -1] >= interference_above
    return (W.norm(dim=1)[:, -1] > norm_above).long() * (1 + shares.long())


def classify_feature__both_thresholds_included(W, norm_above=0.5, interference_above=0.25):
    """Values exactly at a threshold count as above it in your version. Both comparisons are
    strict."""
    shares = _off(_overlaps(_unit(W), W)).square().sum(-1)[:, -1] >= interference_above
    return (W.norm(dim=1)[:, -1] >= norm_above).long() * (1 + shares.long())


def classify_feature__squared_norm(W, norm_above=0.5, interference_above=0.25):
    """You compare the squared norm with the threshold for norms."""
    shares = _facts(W, norm_above, interference_above)[1][:, -1]
    return (W.square().sum(dim=1)[:, -1] > norm_above).long() * (1 + shares.long())


def classify_feature__any_feature_shares(W, norm_above=0.5, interference_above=0.25):
    """For you a feature is superposed when *any* feature of its model shares. Look at the last
    one's own interference."""
    represented, shares = _facts(W, norm_above, interference_above)
    return represented[:, -1].long() * (1 + shares.any(dim=-1).long())


def classify_feature__only_two_codes(W, norm_above=0.5, interference_above=0.25):
    """You only tell represented from not. Does the feature share its direction?"""
    return _facts(W, norm_above, interference_above)[0][:, -1].long()


def classify_feature__as_floats(W, norm_above=0.5, interference_above=0.25):
    """The codes are right, but they are floats. Return integers."""
    represented, shares = (t[:, -1] for t in _facts(W, norm_above, interference_above))
    return represented.float() * (1 + shares.float())


# ------------------------------------------------ h. expected_losses and superposition_boundary


def _strategies(p, r, lost, shared):
    return torch.stack([r * lost, lost, shared])


def expected_losses__not_halved(p, r):
    """All three are twice too large. The loss is a mean over the two features."""
    return _strategies(p, r, p / 3 - p**2 / 4, (1 + r) * p**2 / 6)


def expected_losses__no_bias(p, r):
    """You charge an ignored feature its mean square p/3. With the best bias only the variance
    remains."""
    return _strategies(p, r, p / 6, (1 + r) * p**2 / 12)


def expected_losses__variance_of_a_coin(p, r):
    """Your variance is that of something else. Use E[x^2] - E[x]^2 with E[x^2] = p/3 and E[x] =
    p/2."""
    return _strategies(p, r, p * (1 - p) / 6, (1 + r) * p**2 / 12)


def expected_losses__pair_charged_p_once(p, r):
    """Superposition goes wrong only when *both* features are on. How probable is that?"""
    return _strategies(p, r, (p / 3 - p**2 / 4) / 2, (1 + r) * p / 12)


def expected_losses__mean_square_for_the_pair(p, r):
    """Your superposition costs twice what it should. The mean square of the smaller feature is 1/6,
    not 1/3, and the ½ of the mean counts here, too."""
    return _strategies(p, r, (p / 3 - p**2 / 4) / 2, (1 + r) * p**2 / 6)


def expected_losses__pair_without_importance(p, r):
    """In superposition both features are wrong, one with importance 1 and one with r. You count
    both with 1."""
    return _strategies(p, r, (p / 3 - p**2 / 4) / 2, p**2 / 6 + 0 * r)


def expected_losses__only_the_last_is_wrong(p, r):
    """In superposition both outputs are wrong by the same amount. You count the last one
    only."""
    return _strategies(p, r, (p / 3 - p**2 / 4) / 2, r * p**2 / 12)


def expected_losses__importances_exchanged(p, r):
    """If the *last* feature is ignored, the loss has the importance of the last one, r. You
    have the first two strategies exchanged."""
    lost = (p / 3 - p**2 / 4) / 2
    return torch.stack([lost, r * lost, (1 + r) * p**2 / 12])


def expected_losses__strategies_last(p, r):
    """The three strategies are on the last axis. Put them on the first."""
    lost = (p / 3 - p**2 / 4) / 2
    return torch.stack([r * lost, lost, (1 + r) * p**2 / 12], dim=-1)


def expected_losses__mean_of_the_minimum_squared(p, r):
    """You square the mean of the smaller feature, (1/3)². The loss needs the mean of its *square*,
    which is larger."""
    return _strategies(p, r, (p / 3 - p**2 / 4) / 2, (1 + r) * p**2 / 18)


def expected_losses__the_larger_one(p, r):
    """In superposition you charge the mean square of the *larger* feature, 1/2. Try x = (0.9, 0.2):
    the outputs are 0.7 and 0, and both are wrong by 0.2."""
    return _strategies(p, r, (p / 3 - p**2 / 4) / 2, (1 + r) * p**2 / 4)


def expected_losses__pair_halved_twice(p, r):
    """Your superposition costs half of what it should. Count both orders, x1 > x2 and x2 > x1, and
    the ½ of the mean only once."""
    return _strategies(p, r, (p / 3 - p**2 / 4) / 2, (1 + r) * p**2 / 24)


def expected_losses__variance_when_on(p, r):
    """You charge an ignored feature p times 1/12, the variance of u. But whether it is on is random
    as well: the variance of x is E[x²] - E[x]²."""
    return _strategies(p, r, p / 24, (1 + r) * p**2 / 12)


def superposition_boundary__negative_when_dense(p):
    """For p above 0.8 your boundary is negative. Multiplying an inequality by a negative number
    turns it round: there superposition never wins, so return infinity."""
    return 2 * p / (4 - 5 * p)


def superposition_boundary__absolute_when_dense(p):
    """For p above 0.8 your boundary is negative, and you take its absolute value. But there no
    positive r makes superposition better: return infinity."""
    return (2 * p / (4 - 5 * p)).abs()


def superposition_boundary__one_when_dense(p):
    """Where superposition never wins you return 1. Then r = 2 would count as superposed:
    infinity says never."""
    return torch.where(4 - 5 * p > 0, 2 * p / (4 - 5 * p), 1.0)


def superposition_boundary__zero_when_dense(p):
    """Where superposition never wins you return 0, which says that it always does."""
    return torch.where(4 - 5 * p > 0, 2 * p / (4 - 5 * p), 0.0)


def superposition_boundary__nan_when_dense(p):
    """Where superposition never wins you return NaN. Infinity says it better, and it
    compares."""
    return torch.where(4 - 5 * p > 0, 2 * p / (4 - 5 * p), torch.nan)


def superposition_boundary__other_side(p):
    """This is where superposition ties with ignoring the *first* feature, the inverse of what
    is asked."""
    return torch.where(4 - 5 * p > 0, (4 - 5 * p) / (2 * p), torch.inf)


def superposition_boundary__own_term_lost(p):
    """You charge superposition for one of the two features only: r (4 - 3p) = 2p. The right
    side has the factor 1 + r."""
    return 2 * p / (4 - 3 * p)


def superposition_boundary__no_bias(p):
    """You compare with ignoring a feature at a bias of 0. The best bias is p/2, and then only
    the variance is lost."""
    return p / (2 - p)


def superposition_boundary__small_p_only(p):
    """p/2 is right for small p only. Keep the other terms."""
    return p / 2


def superposition_boundary__infinite_from_the_tip(p):
    """You return infinity from p = 4/7 on. There superposition stops being the *best* of three,
    but it still beats ignoring the last feature if r is large enough."""
    return torch.where(p <= 4 / 7, 2 * p / (4 - 5 * p), torch.inf)


# ------------------------------------------------------------ i. random_rotation and rotate_hidden


def _gaussian(hidden, gen):
    return torch.randn(hidden, hidden, generator=gen, device=gen.device)


def _proper(Q):
    flip = torch.ones(len(Q), device=Q.device)
    flip[0] = torch.linalg.det(Q).sign()
    return Q * flip


def random_rotation__plain_qr(hidden, gen):
    """You return Q just as the library gives it. It is orthogonal, but lopsided: its signs are
    the library's choice, and for some sizes it is always a mirror image. Two details remain."""
    return torch.linalg.qr(_gaussian(hidden, gen)).Q


def random_rotation__no_sign_fix(hidden, gen):
    """Your matrices are orthogonal, but some entries always have the same sign: the
    decomposition's own choice of signs. Multiply the columns of Q by the signs of the
    triangle's diagonal."""
    return _proper(torch.linalg.qr(_gaussian(hidden, gen)).Q)


def random_rotation__no_sign_fix_last_column(hidden, gen):
    """Your matrices are orthogonal, but some entries have one sign too often: the decomposition's
    own choice of signs. Multiply the columns of Q by the signs of the triangle's diagonal."""
    Q = torch.linalg.qr(_gaussian(hidden, gen)).Q
    return torch.cat([Q[:, :-1], Q[:, -1:] * torch.linalg.det(Q).sign()], dim=1)


def random_rotation__mirror_images(hidden, gen):
    """Half of your matrices have determinant -1: they mirror. Flip one column when that
    happens."""
    Q, T = torch.linalg.qr(_gaussian(hidden, gen))
    return Q * T.diagonal().sign()


def random_rotation__just_normal(hidden, gen):
    """A matrix of normal numbers is not orthogonal: it stretches. Use its QR decomposition."""
    return _gaussian(hidden, gen)


def random_rotation__unit_columns(hidden, gen):
    """Your columns have length 1, but they are not orthogonal to each other."""
    A = _gaussian(hidden, gen)
    return A / A.norm(dim=0)


def random_rotation__the_triangle(hidden, gen):
    """You return the triangular factor. The orthogonal one is the other."""
    return torch.linalg.qr(_gaussian(hidden, gen)).R


def random_rotation__uniform_entries(hidden, gen):
    """You start from uniform numbers, which are all positive, so some directions are preferred.
    Start from normal ones."""
    Q, T = torch.linalg.qr(torch.rand(hidden, hidden, generator=gen, device=gen.device))
    return _proper(Q * T.diagonal().sign())


def random_rotation__centred_uniform_entries(hidden, gen):
    """You start from uniform numbers around 0. They fill a cube, and a cube has corners: the
    directions of its diagonals come too often. Only normal numbers have no preferred direction."""
    centred = torch.rand(hidden, hidden, generator=gen, device=gen.device) - 0.5
    Q, T = torch.linalg.qr(centred)
    return _proper(Q * T.diagonal().sign())


def random_rotation__all_columns_flipped(hidden, gen):
    """For a mirror image you flip the whole matrix. With an even number of columns that leaves the
    determinant as it is: flip a single one."""
    Q, T = torch.linalg.qr(_gaussian(hidden, gen))
    Q = Q * T.diagonal().sign()
    return Q * torch.linalg.det(Q).sign()


def random_rotation__own_generator(hidden, gen):
    """You make a generator of your own, so every call returns the same rotation. Draw from
    `gen`."""
    Q, T = torch.linalg.qr(_gaussian(hidden, torch.Generator(gen.device).manual_seed(0)))
    return _proper(Q * T.diagonal().sign())


def random_rotation__first_plane_only(hidden, gen):
    """You turn the first two axes only. In more than two dimensions most rotations move all of
    them."""
    angle = 2 * math.pi * torch.rand((), generator=gen, device=gen.device)
    R = torch.eye(hidden, device=gen.device)
    R[0, 0] = R[1, 1] = angle.cos()
    R[1, 0], R[0, 1] = angle.sin(), -angle.sin()
    return R


def random_rotation__shuffled_axes(hidden, gen):
    """You permute the axes. That is one of very few rotations; most of them mix the axes."""
    order = torch.randperm(hidden, generator=gen, device=gen.device)
    return _proper(torch.eye(hidden, device=gen.device)[order])


def rotate_hidden__transposed(W, R):
    """You turn the other way: R transposed. Which axis of R is summed over?"""
    return einsum(R, W, "hidden turned, inst hidden feature -> inst turned feature")


def rotate_hidden__first_instance_only(W, R):
    """Only instance 0 is turned. All instances live in rotated spaces: keep the axis `inst`."""
    return torch.cat([einsum(R, W[:1], "turned hidden, inst hidden f -> inst turned f"), W[1:]])


def rotate_hidden__added(W, R):
    """You add the turned weights to the old ones. Replace them."""
    return W + R @ W


def rotate_hidden__twice(W, R):
    """You turn twice: your result is R R W. One product is enough."""
    return R @ (R @ W)


def rotate_hidden__features_mixed(W, R):
    """You multiply from the right, so R mixes features, not hidden dimensions. It even has the
    wrong size for that."""
    return W @ R


def rotate_hidden__entry_by_entry(W, R):
    """You multiply entry by entry. A rotation is a matrix product."""
    return W * R.diagonal()[:, None]


def rotate_hidden__reshaped(W, R):
    """You `reshape` W so that `hidden` comes first. `reshape` moves no axis, it only cuts the same
    row of numbers anew: your rows mix instances with hidden dimensions."""
    return (R @ W.reshape(len(R), -1)).reshape(W.shape)


def rotate_hidden__hidden_first(W, R):
    """Your result has the axes (hidden, inst, feature). W comes with `inst` in front, and the
    result should, too: in which order does your product return its axes?"""
    return torch.tensordot(R, W, dims=([1], [1]))


def rotate_hidden__normalised(W, R):
    """You normalise the result. A rotation keeps lengths by itself, and lengths carry
    information."""
    return _unit(R @ W)


# ------------------------------------------------------------------------------------ predictions


def predict_dense__antipodal_pairs():
    """An antipodal pair is free only while one of its two features is off. At p = 1 none ever
    is."""
    return "two antipodal pairs"


def predict_dense__pentagon():
    """A pentagon needs features that are rarely on together. At p = 1 all are on, always: every
    output would be full of interference."""
    return "pentagon"


def predict_between__two_orthogonal():
    """At p = 0.25 two given features are on together in 1 of 16 rows only. Sharing a line in
    opposite directions is then cheaper than dropping a feature."""
    return "two orthogonal"


def predict_between__pentagon():
    """In a pentagon neighbours are closer than 90 degrees, so positive interference gets
    through the ReLU. At p = 0.25 that happens too often: four features without it are better
    than five with it."""
    return "pentagon"


def predict_sparse__two_orthogonal():
    """Two orthogonal features never disturb each other, but three of five are lost. At p =
    0.025 two given features meet in 1 of 1600 rows: there is almost nothing to be afraid of."""
    return "two orthogonal"


def predict_sparse__antipodal_pairs():
    """Two pairs are a good solution, and some starts get stuck there. But the fifth feature is
    lost, and at p = 0.025 the interference of a pentagon costs less than that."""
    return "two antipodal pairs"


def predict_n_dense__all():
    """80 directions in 20 dimensions overlap, and at p = 1 every overlap hurts in every row."""
    return 80


def predict_n_dense__pairs():
    """Two to a dimension needs antipodal pairs, and they are free only while one of the two is
    off. At p = 1 none ever is."""
    return 40


def predict_n_sparse__about_twenty():
    """One to a dimension is the dense solution. At p = 0.01 antipodal pairs are almost free,
    and that is already two to a dimension."""
    return "20 or fewer"


def predict_n_sparse__two_to_a_dimension():
    """Two to a dimension, antipodal pairs, would be 40. But at p = 0.01 even *positive*
    interference is rare enough to be worth it: think of the pentagon, five in two dimensions."""
    return "21 to 40"


def predict_n_sparse__all():
    """Importance falls as 0.9^i: the last features matter less than a thousandth of the first.
    To represent them too would disturb more important ones."""
    return "all 80"


def predict_unimportant__never():
    """Importance 0.1 makes the gain ten times smaller, but the gain shrinks like p and the cost
    of sharing like p^2. For small enough p sharing wins, whatever the importance."""
    return "never represented"


def predict_unimportant__own_dimension():
    """There is one dimension, and the other feature is ten times more important: it will not
    move out. But it can share."""
    return "dropped, then own dimension"


def predict_boundary__on():
    """The curve compares W = (1, -1), b = 0 with ignoring. Nothing says that this is the best way
    to superpose: a second weight a little nearer to 0 disturbs the important feature less."""
    return "on"


def predict_boundary__above():
    """Training may do whatever the three strategies do, and more. So it can only find superposition
    *earlier* than the fixed one: more freedom never makes the best pair worse, and ignoring is
    already as good as it gets."""
    return "above"


def predict_rotated_relu__all():
    """The proof used that only W^T W enters. With h = ReLU(Wx) the ReLU stands between the two
    W's, and it acts on each axis by itself, so it sees which axes you chose."""
    return "all"


def predict_rotated_relu__order_and_signs():
    """Flip the sign of a hidden unit: where Wx was 0.7 it is now -0.7, and the ReLU makes it 0. A
    sign is not a mere name for it."""
    return "order and signs"


def predict_rotated_relu__none():
    """Exchange two hidden units, in the way in and in the way out: each ReLU still gets the number
    that it got before, and the sum over hidden units is the same."""
    return "none"
