"""Wrong answers that learners of 3.1.5 give, each with what a tutor would say."""

import torch
from einops import einsum
from scipy.optimize import linear_sum_assignment

from part31_superposition import s5_sae_toy_models as right

ENCODE = "batch inst d_in, inst d_in latent -> batch inst latent"
DECODE = "batch inst latent, inst latent d_in -> batch inst d_in"


def _unit(W, dim=-1):
    return W / W.norm(dim=dim, keepdim=True).clamp(min=1e-12)


# -------------------------------------------------------------------------------------- a. init_sae


def _init(inst, d_in, latent, encoder, gen, draw=torch.randn, scale=_unit):
    """The right initialisation, with exchangeable parts."""
    if encoder not in ("independent", "transposed", "tied"):
        raise ValueError(f"unknown encoder {encoder!r}")
    W_dec, other = (
        scale(draw(inst, latent, d_in, generator=gen, device=gen.device)) for _ in range(2)
    )
    params = {
        "W_dec": W_dec,
        "b_enc": torch.zeros(inst, latent, device=gen.device),
        "b_dec": torch.zeros(inst, d_in, device=gen.device),
    }
    if encoder != "tied":
        params["W_enc"] = (other if encoder == "independent" else W_dec).mT.clone()
    return params


def init_sae__positive_directions(inst, d_in, latent, encoder, gen):
    """`torch.rand` gives numbers between 0 and 1, so all your directions point into one quadrant.
    Which distribution has no preferred direction?"""
    return _init(inst, d_in, latent, encoder, gen, torch.rand)


def init_sae__directions_of_a_cube(inst, d_in, latent, encoder, gen):
    """You draw points in a cube and normalise them. A cube has more room in its corners than along
    its axes, so diagonals are preferred. Normal numbers are round."""
    return _init(inst, d_in, latent, encoder, gen, lambda *s, **k: torch.rand(*s, **k) * 2 - 1)


def init_sae__not_normalised(inst, d_in, latent, encoder, gen):
    """Your decoder rows have all kinds of lengths. They must start on the unit sphere: divide each
    row by its norm."""
    return _init(inst, d_in, latent, encoder, gen, scale=lambda W: W)


def init_sae__wrong_axis_normalised(inst, d_in, latent, encoder, gen):
    """You normalise over the latents, not over `d_in`. The numbers of one direction lie along the
    last axis of `W_dec`."""
    return _init(inst, d_in, latent, encoder, gen, scale=lambda W: _unit(W, 1))


def init_sae__normalised_over_instances(inst, d_in, latent, encoder, gen):
    """You normalise over `inst`. The numbers of one direction lie along the last axis of
    `W_dec`; SAEs side by side have nothing to do with each other."""
    return _init(inst, d_in, latent, encoder, gen, scale=lambda W: _unit(W, 0))


def init_sae__whole_tensor_normalised(inst, d_in, latent, encoder, gen):
    """You divide by the norm of the whole tensor. Each row is a direction of its own: the norm must
    reduce the last axis only, with `keepdim=True`."""
    return _init(inst, d_in, latent, encoder, gen, scale=lambda W: W / W.norm())


def init_sae__decoder_not_transposed(inst, d_in, latent, encoder, gen):
    """Your `W_dec` has the axes of an encoder. A decoder maps `latent` to `d_in`, so its axes are
    `(inst, latent, d_in)`."""
    params = _init(inst, d_in, latent, encoder, gen)
    return {**params, "W_dec": params["W_dec"].mT.clone()}


def init_sae__biases_swapped(inst, d_in, latent, encoder, gen):
    """Your two biases have each other's shape. `b_enc` has one number for each latent, `b_dec` one
    for each number of the activation."""
    params = _init(inst, d_in, latent, encoder, gen)
    return {**params, "b_enc": params["b_dec"], "b_dec": params["b_enc"]}


def init_sae__biases_shared(inst, d_in, latent, encoder, gen):
    """Your biases have no axis `inst`. Then all SAEs share them; each needs its own."""
    params = _init(inst, d_in, latent, encoder, gen)
    return {**params, "b_enc": params["b_enc"][0], "b_dec": params["b_dec"][0]}


def init_sae__transposed_is_a_view(inst, d_in, latent, encoder, gen):
    """Your transposed encoder shares its memory with the decoder: training one would move the
    other. `.mT` is a view; `.clone()` makes a copy."""
    params = _init(inst, d_in, latent, encoder, gen)
    if encoder == "transposed":
        params["W_enc"] = params["W_dec"].mT
    return params


def init_sae__reshaped(inst, d_in, latent, encoder, gen):
    """You reshape the decoder where you mean its transpose. `reshape` keeps the order in memory, so
    numbers of different latents get mixed: `.mT` swaps the two axes."""
    params = _init(inst, d_in, latent, encoder, gen)
    if encoder == "transposed":
        params["W_enc"] = params["W_dec"].reshape(inst, d_in, latent).clone()
    return params


def init_sae__encoders_alike(inst, d_in, latent, encoder, gen):
    """All instances have the same independent encoder. Draw it for each instance, as the
    decoder."""
    params = _init(inst, d_in, latent, encoder, gen)
    if encoder == "independent":
        params["W_enc"] = params["W_enc"][:1].repeat(inst, 1, 1)
    return params


def init_sae__instances_alike(inst, d_in, latent, encoder, gen):
    """All instances start with the same weights. Sixteen copies of one experiment say no more than
    one: draw `(inst, latent, d_in)` numbers."""
    one = _init(1, d_in, latent, encoder, gen)
    return {name: value.repeat(inst, *[1] * (value.ndim - 1)) for name, value in one.items()}


def init_sae__encoder_not_transposed(inst, d_in, latent, encoder, gen):
    """Your `W_enc` has the axes of `W_dec`. An encoder maps `d_in` to `latent`, so its axes are
    `(inst, d_in, latent)`."""
    params = _init(inst, d_in, latent, encoder, gen)
    if "W_enc" in params:
        params["W_enc"] = params["W_enc"].mT.clone()
    return params


def init_sae__always_transposed(inst, d_in, latent, encoder, gen):
    """Your independent encoder is the transposed decoder. For `"independent"` it needs a draw of
    its own."""
    params = _init(inst, d_in, latent, encoder, gen)
    if encoder == "independent":
        params["W_enc"] = params["W_dec"].mT.clone()
    return params


def init_sae__encoder_rows_normalised(inst, d_in, latent, encoder, gen):
    """The *columns* of `W_enc` must have length 1: a column is what one latent reads. You
    normalised its rows."""
    params = _init(inst, d_in, latent, encoder, gen)
    if encoder == "independent":
        W = torch.randn(inst, d_in, latent, generator=gen, device=gen.device)
        params["W_enc"] = _unit(W)
    return params


def init_sae__random_biases(inst, d_in, latent, encoder, gen):
    """Your biases start at random numbers. They start at 0: the data decides where they go."""
    params = _init(inst, d_in, latent, encoder, gen)
    for name in ("b_enc", "b_dec"):
        noise = torch.randn(params[name].shape, generator=gen, device=gen.device)
        params[name] = 0.1 * noise
    return params


def init_sae__tied_has_an_encoder(inst, d_in, latent, encoder, gen):
    """Your tied SAE has a `W_enc` of its own. Then it is only *initialised* alike; training pulls
    the two apart. Tied means that there is one matrix."""
    return _init(inst, d_in, latent, "transposed" if encoder == "tied" else encoder, gen)


def init_sae__no_error(inst, d_in, latent, encoder, gen):
    """You accept any name of an encoder. A typing error would silently train something else: raise
    a ValueError that names it."""
    known = ("independent", "transposed", "tied")
    return _init(inst, d_in, latent, encoder if encoder in known else "independent", gen)


# ------------------------------------------------------------------------------------- b. unit_rows


def unit_rows__wrong_axis(W):
    """You normalise over the latents. The numbers of one direction lie along the last axis."""
    return _unit(W, -2)


def unit_rows__no_guard(W):
    """A row of zeros becomes 0/0 = NaN, and one NaN spoils the whole model. Guard the division."""
    return W / W.norm(dim=-1, keepdim=True)


def unit_rows__additive_guard(W):
    """You add a small constant to the norm. That shortens every row, and short ones a lot. A lower
    bound (`clamp`) leaves the others exact."""
    return W / (W.norm(dim=-1, keepdim=True) + 1e-6)


def unit_rows__squared_norm(W):
    """You divide by the squared norm. A row of length 2 comes out with length 1/2."""
    return W / W.square().sum(dim=-1, keepdim=True).clamp(min=1e-12)


def unit_rows__absolute_sum(W):
    """You divide by the sum of absolute values. Length means the Euclidean norm: (3, 4) has length
    5, not 7."""
    return W / W.abs().sum(dim=-1, keepdim=True).clamp(min=1e-12)


def unit_rows__whole_matrix(W):
    """You divide by the norm of the whole tensor. Each row has a length of its own: which axis does
    the norm reduce?"""
    return W / W.norm().clamp(min=1e-12)


def unit_rows__only_long_rows(W):
    """You shorten long rows, but short ones stay short. Here every row must end with length 1."""
    return W / W.norm(dim=-1, keepdim=True).clamp(min=1.0)


def unit_rows__norm_detached(W):
    """The values are right, but the gradient treats the length as a constant. The length depends on
    the row, too: don't detach it."""
    return W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12).detach()


def unit_rows__in_place(W):
    """You changed the tensor that you were given. `W /= …` works in place; `W / …` makes a new
    one."""
    W /= W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return W


# ---------------------------------------------------------------------------- c. hidden_activations


def _features(W, probability, batch, gen):
    return right.sparse_features(batch, W.shape[0], W.shape[2], probability, gen)


def _write(x, W):
    return einsum(x, W, "batch inst feature, inst d_in feature -> batch inst d_in")


def hidden_activations__relu(W, probability, batch, gen):
    """You apply a ReLU to the hidden layer. This toy model has its ReLU at the output; its hidden
    activations have both signs."""
    return _write(_features(W, probability, batch, gen), W).relu()


def hidden_activations__output_of_the_model(W, probability, batch, gen):
    """You return the toy model's output, one number per feature. An SAE looks at the *hidden*
    layer: stop half-way."""
    h = _write(_features(W, probability, batch, gen), W)
    return einsum(h, W, "batch inst d_in, inst d_in feature -> batch inst feature").relu()


def hidden_activations__first_instance(W, probability, batch, gen):
    """Every instance uses the weights of instance 0. Keep `inst` as an axis of W in the einsum."""
    x = _features(W, probability, batch, gen)
    return einsum(x, W[0], "batch inst feature, d_in feature -> batch inst d_in")


def hidden_activations__dense(W, probability, batch, gen):
    """All features are on in every row. `probability` must reach `sparse_features`."""
    return _write(_features(W, 1.0, batch, gen), W)


def hidden_activations__probability_of_instance_0(W, probability, batch, gen):
    """All instances use the probability of instance 0. Pass the tensor on as it is; it
    broadcasts."""
    if isinstance(probability, torch.Tensor):
        probability = probability.flatten()[0].item()
    return _write(_features(W, probability, batch, gen), W)


def hidden_activations__no_magnitudes(W, probability, batch, gen):
    """Every active feature has strength exactly 1. `sparse_features` gives strengths, too: use its
    values, not only where they are positive."""
    return _write((_features(W, probability, batch, gen) > 0).float(), W)


def hidden_activations__unit_features(W, probability, batch, gen):
    """You normalise the columns of W. The hidden layer of the toy model uses W as it was
    trained."""
    return _write(_features(W, probability, batch, gen), _unit(W, 1))


def hidden_activations__one_feature_per_row(W, probability, batch, gen):
    """You keep only the strongest feature of each row. Features are independent, and sometimes two
    are on."""
    x = _features(W, probability, batch, gen)
    return _write(x * (x == x.amax(dim=-1, keepdim=True)), W)


def hidden_activations__reshaped(W, probability, batch, gen):
    """You reshape W where you mean its transpose. `reshape` keeps the order in memory, so numbers
    of different features get mixed: use `.mT`, or name the axes in an einsum."""
    inst, d_in, feature = W.shape
    x = _features(W, probability, batch, gen)
    turned = W.reshape(inst, feature, d_in)
    return einsum(x, turned, "batch inst feature, inst feature d_in -> batch inst d_in")


def hidden_activations__same_features_everywhere(W, probability, batch, gen):
    """Every instance sees the same features. Then sixteen experiments are hardly more than one: ask
    `sparse_features` for `inst` instances."""
    x = _features(W, probability, batch, gen)
    return _write(x[:, :1].expand_as(x), W)


def hidden_activations__instances_summed(W, probability, batch, gen):
    """Your instances leak into each other: a sum ran over `inst`. Is it on the right of the
    arrow?"""
    x = _features(W, probability, batch, gen)
    h = einsum(x, W, "batch inst feature, inst d_in feature -> batch d_in")
    return h[:, None].expand(-1, len(W), -1).clone()


# ------------------------------------------------------------------------------- d1. preactivations


def preactivations__not_centred(h, W_enc, b_enc, b_dec):
    """You don't subtract `b_dec`. Directions are measured from that point: what is the
    pre-activation at h = b_dec?"""
    return einsum(h, W_enc, ENCODE) + b_enc


def preactivations__centre_added(h, W_enc, b_enc, b_dec):
    """You add `b_dec` before encoding. It is the origin, so it is subtracted here and added back
    when decoding."""
    return einsum(h + b_dec, W_enc, ENCODE) + b_enc


def preactivations__with_relu(h, W_enc, b_enc, b_dec):
    """You apply the ReLU already. Here we need z itself, negative values included: the
    variants of 3.1.6 start from it."""
    return (einsum(h - b_dec, W_enc, ENCODE) + b_enc).relu()


def preactivations__no_bias(h, W_enc, b_enc, b_dec):
    """`b_enc` does not appear in your result. It is what lets a latent ignore weak evidence."""
    return einsum(h - b_dec, W_enc, ENCODE)


def preactivations__bias_subtracted(h, W_enc, b_enc, b_dec):
    """You subtract `b_enc`. The formula adds it; only `b_dec` is subtracted."""
    return einsum(h - b_dec, W_enc, ENCODE) - b_enc


def preactivations__first_instance(h, W_enc, b_enc, b_dec):
    """Every instance uses the encoder of instance 0. Keep `inst` as an axis in the einsum."""
    z = einsum(h - b_dec, W_enc[0], "batch inst d_in, d_in latent -> batch inst latent")
    return z + b_enc


def preactivations__instances_summed(h, W_enc, b_enc, b_dec):
    """Your SAEs leak into each other: a sum ran over `inst`. An axis that is missing on the right
    of the arrow is summed over."""
    z = einsum(h - b_dec, W_enc, "batch inst d_in, inst d_in latent -> batch latent")
    return z[:, None] + b_enc


def preactivations__unit_encoder(h, W_enc, b_enc, b_dec):
    """You normalise the encoder. Only decoder rows have length 1; an encoder column is free."""
    return einsum(h - b_dec, _unit(W_enc, 1), ENCODE) + b_enc


def preactivations__centre_detached(h, W_enc, b_enc, b_dec):
    """The values are right, but no gradient reaches `b_dec` through the encoder. Don't detach
    it."""
    return einsum(h - b_dec.detach(), W_enc, ENCODE) + b_enc + 0 * b_dec.sum()


# ----------------------------------------------------------------------------------- d2. sae_decode


def sae_decode__no_bias(acts, W_dec, b_dec):
    """`b_dec` does not appear in your result. The encoder subtracted it, so it must come back."""
    return einsum(acts, W_dec, DECODE)


def sae_decode__bias_subtracted(acts, W_dec, b_dec):
    """You subtract `b_dec` a second time. What the encoder subtracts, the decoder adds."""
    return einsum(acts, W_dec, DECODE) - b_dec


def sae_decode__bias_in_every_row(acts, W_dec, b_dec):
    """You add `b_dec` to every row of the decoder. Then it comes in as often as the activations add
    up to: what should come out when no latent is active?"""
    return einsum(acts, W_dec + b_dec[:, None], DECODE)


def sae_decode__with_relu(acts, W_dec, b_dec):
    """Your reconstruction is never negative. Activations of the toy model's hidden layer have both
    signs: there is no ReLU here."""
    return (einsum(acts, W_dec, DECODE) + b_dec).relu()


def sae_decode__first_instance(acts, W_dec, b_dec):
    """Every instance uses the decoder of instance 0. Keep `inst` as an axis in the einsum."""
    out = einsum(acts, W_dec[0], "batch inst latent, latent d_in -> batch inst d_in")
    return out + b_dec


def sae_decode__instances_summed(acts, W_dec, b_dec):
    """Your SAEs leak into each other: a sum ran over `inst`. Is it on the right of the arrow?"""
    return einsum(acts, W_dec, "batch inst latent, inst latent d_in -> batch d_in")[:, None] + b_dec


def sae_decode__unit_rows(acts, W_dec, b_dec):
    """You normalise the rows again. The training loop keeps them on the sphere; decoding uses them
    as they are."""
    return einsum(acts, _unit(W_dec), DECODE) + b_dec


def sae_decode__mean_over_latents(acts, W_dec, b_dec):
    """You average over the latents. The reconstruction is the *sum* of the active directions."""
    return einsum(acts, W_dec, DECODE) / acts.shape[-1] + b_dec


def sae_decode__positive_only(acts, W_dec, b_dec):
    """You cut off negative activations first. The caller decides what is active; decoding is
    linear."""
    return einsum(acts.relu(), W_dec, DECODE) + b_dec


# ----------------------------------------------------------------------------------- d3. loss_terms


def loss_terms__l2_summed(h, h_hat, acts):
    """Your L2 sums over `d_in`. It is a mean here: otherwise a wider model would need another
    coefficient."""
    return (h - h_hat).square().sum(dim=-1), acts.abs().sum(dim=-1)


def loss_terms__l1_averaged(h, h_hat, acts):
    """Your L1 averages over latents. It is a sum: adding a latent that stays silent must not make
    the others cheaper."""
    return (h - h_hat).square().mean(dim=-1), acts.abs().mean(dim=-1)


def loss_terms__absolute_error(h, h_hat, acts):
    """Your first term is the absolute error. It is called L2 because errors are squared."""
    return (h - h_hat).abs().mean(dim=-1), acts.abs().sum(dim=-1)


def loss_terms__root(h, h_hat, acts):
    """You take a square root. Here the term is the mean *squared* error, without the root."""
    return (h - h_hat).square().mean(dim=-1).sqrt(), acts.abs().sum(dim=-1)


def loss_terms__no_absolute_value(h, h_hat, acts):
    """Your L1 has no absolute value. After a ReLU that makes no difference, but the formula has
    one, and a negative activation would be rewarded."""
    return (h - h_hat).square().mean(dim=-1), acts.sum(dim=-1)


def loss_terms__squared_activations(h, h_hat, acts):
    """Your second term squares the activations. A squared penalty shrinks large ones but hardly
    cares about small ones, so nothing becomes exactly 0."""
    return (h - h_hat).square().mean(dim=-1), acts.square().sum(dim=-1)


def loss_terms__counted(h, h_hat, acts):
    """Your second term counts the active latents. That is L0: it has no gradient. L1 sums how
    strong they are."""
    return (h - h_hat).square().mean(dim=-1), (acts != 0).to(acts.dtype).sum(
        dim=-1
    ) + 0 * acts.sum()


def loss_terms__swapped(h, h_hat, acts):
    """The two terms are in the wrong order: return `(L2, L1)`."""
    return acts.abs().sum(dim=-1), (h - h_hat).square().mean(dim=-1)


def loss_terms__batch_averaged(h, h_hat, acts):
    """You average over the batch already. Keep one value per row: resampling will ask which rows
    are bad."""
    return (h - h_hat).square().mean(dim=(0, 2)), acts.abs().sum(dim=-1).mean(dim=0)


# ------------------------------------------------------------------------------------- d4. sae_loss


def _terms(h, h_hat, acts):
    return (h - h_hat).square().mean(dim=-1), acts.abs().sum(dim=-1)


def sae_loss__instances_averaged(h, h_hat, acts, l1_coeff):
    """You average over instances. Then every SAE trains more slowly the more of them you have. Sum
    them."""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1).mean()


def sae_loss__batch_summed(h, h_hat, acts, l1_coeff):
    """You sum over the batch. Then a larger batch means a larger gradient. Average it."""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1).sum()


def sae_loss__coefficient_hard_coded(h, h_hat, acts, l1_coeff):
    """Your loss does not react to `l1_coeff`: a number is written into the formula. Use the
    argument."""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + 0.25 * l1).mean(dim=0).sum()


def sae_loss__no_l1(h, h_hat, acts, l1_coeff):
    """The L1 term is missing. Without it nothing makes the activations sparse."""
    return _terms(h, h_hat, acts)[0].mean(dim=0).sum()


def sae_loss__no_coefficient(h, h_hat, acts, l1_coeff):
    """You add the two terms without the coefficient. How would you then choose between a good
    reconstruction and few active latents?"""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1).mean(dim=0).sum()


def sae_loss__coefficient_on_l2(h, h_hat, acts, l1_coeff):
    """The coefficient multiplies the reconstruction error. It belongs to L1."""
    l2, l1 = _terms(h, h_hat, acts)
    return (l1_coeff * l2 + l1).mean(dim=0).sum()


def sae_loss__mean_coefficient(h, h_hat, acts, l1_coeff):
    """With one coefficient per instance, each must meet its own instance. You used their mean for
    all."""
    if isinstance(l1_coeff, torch.Tensor):
        l1_coeff = l1_coeff.mean()
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1).mean(dim=0).sum()


def sae_loss__per_instance(h, h_hat, acts, l1_coeff):
    """You return one value per instance. An optimiser needs one number: sum over `inst`."""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1).mean(dim=0)


def sae_loss__l1_detached(h, h_hat, acts, l1_coeff):
    """The value is right, but L1 has no gradient, so it changes nothing in training. Was it taken
    out of torch, by `.item()` or `.detach()`?"""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1.detach() + 0 * l1).mean(dim=0).sum()


def sae_loss__axes_swapped(h, h_hat, acts, l1_coeff):
    """You average over instances and sum over the batch. It is the other way round: `(batch, inst)`
    has the batch first."""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1).mean(dim=1).sum()


def sae_loss__one_row_only(h, h_hat, acts, l1_coeff):
    """Your loss looks at the first row of the batch. Average over all of them."""
    l2, l1 = _terms(h, h_hat, acts)
    return (l2 + l1_coeff * l1)[0].sum()


# ------------------------------------------------------------------------------ e1. remove_parallel


def remove_parallel__rows_taken_as_unit(grad, W_dec):
    """Your formula is right only where rows have length 1. Normalise them first: then it holds
    whatever the optimiser did."""
    return grad - (grad * W_dec).sum(dim=-1, keepdim=True) * W_dec


def remove_parallel__half_normalised(grad, W_dec):
    """The unit row appears twice in the formula, and you normalised it once only."""
    return grad - (grad * _unit(W_dec)).sum(dim=-1, keepdim=True) * W_dec


def remove_parallel__kept_the_parallel_part(grad, W_dec):
    """You return the component along the row. That is what should be thrown away."""
    unit = _unit(W_dec)
    return (grad * unit).sum(dim=-1, keepdim=True) * unit


def remove_parallel__number_without_its_direction(grad, W_dec):
    """The dot product is a number: how far the gradient points along the row. Multiply it by the
    unit row before you subtract it."""
    return grad - (grad * _unit(W_dec)).sum(dim=-1, keepdim=True)


def remove_parallel__number_and_rows_as_they_are(grad, W_dec):
    """The dot product is a number: how far the gradient points along the row. Normalise the row
    first, and multiply the number by the unit row before you subtract it."""
    return grad - (grad * W_dec).sum(dim=-1, keepdim=True)


def remove_parallel__added(grad, W_dec):
    """You add the parallel component a second time. Subtract it."""
    unit = _unit(W_dec)
    return grad + (grad * unit).sum(dim=-1, keepdim=True) * unit


def remove_parallel__mean_for_sum(grad, W_dec):
    """Your dot product is a mean. A dot product is a *sum* over `d_in`; otherwise most of the
    parallel part stays."""
    unit = _unit(W_dec)
    return grad - (grad * unit).mean(dim=-1, keepdim=True) * unit


def remove_parallel__wrong_axis(grad, W_dec):
    """Your dot product sums over the latents. It must sum over `d_in`, once for each row."""
    unit = _unit(W_dec)
    return grad - (grad * unit).sum(dim=-2, keepdim=True) * unit


def remove_parallel__one_dot_for_all(grad, W_dec):
    """You take one dot product of the whole tensors. Every row has its own direction, so every row
    needs its own."""
    unit = _unit(W_dec)
    return grad - (grad * unit).sum() * unit


def remove_parallel__unit_gradient(grad, W_dec):
    """You normalise the gradient, too. Its length says how far to go; only the row is a
    direction."""
    unit, grad = _unit(W_dec), _unit(grad)
    return grad - (grad * unit).sum(dim=-1, keepdim=True) * unit


def remove_parallel__in_place(grad, W_dec):
    """You changed the gradient that you were given. `grad -= …` works in place; return a new
    tensor. The training loop decides what to do with it."""
    unit = _unit(W_dec)
    grad -= (grad * unit).sum(dim=-1, keepdim=True) * unit
    return grad


def remove_parallel__rows_changed_in_place(grad, W_dec):
    """You normalised `W_dec` itself. Only the gradient is asked for: work on a new tensor."""
    W_dec /= W_dec.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return grad - (grad * W_dec).sum(dim=-1, keepdim=True) * W_dec


def remove_parallel__short_rows_kept(grad, W_dec):
    """A short decoder row hardly counts in your result: the guard of your division is too large. A
    row of length 1e-5 has a direction, too."""
    unit = W_dec / W_dec.norm(dim=-1, keepdim=True).clamp(min=1e-2)
    return grad - (grad * unit).sum(dim=-1, keepdim=True) * unit


def remove_parallel__nan_for_zero_rows(grad, W_dec):
    """A zero row gives 0/0 = NaN. Without a direction there is nothing to remove: use
    `unit_rows`."""
    unit = W_dec / W_dec.norm(dim=-1, keepdim=True)
    return grad - (grad * unit).sum(dim=-1, keepdim=True) * unit


# ------------------------------------------------------------------------------------ e2. train_sae


def _forward(params, h):
    W_enc = params["W_enc"] if "W_enc" in params else params["W_dec"].mT
    acts = (einsum(h - params["b_dec"], W_enc, ENCODE) + params["b_enc"]).relu()
    return acts, einsum(acts, params["W_dec"], DECODE) + params["b_dec"]


def _train(
    params, batches, learning_rates, l1_coeff, project=True, normalise=True, clear=True,
    adam=torch.optim.Adam, fresh=False, one_rate=False, recreate=False, leaves=None, late=False,
    attached=False,
):  # fmt: skip
    """The right loop, with switches."""
    live = {k: v.detach().clone().requires_grad_() for k, v in params.items()}
    names = leaves or list(live)
    optimizer, losses, lr0 = adam([live[n] for n in names], lr=1e-3), [], None
    for h, lr in zip(batches, learning_rates, strict=True):
        if fresh:
            optimizer = adam([live[n] for n in names], lr=1e-3)
        lr0 = lr if lr0 is None or not one_rate else lr0
        optimizer.param_groups[0]["lr"] = lr0
        if clear:
            optimizer.zero_grad()
        acts, h_hat = _forward(live, h)
        loss = right.sae_loss(h, h_hat, acts, l1_coeff)
        loss.backward()
        with torch.no_grad():
            W = live["W_dec"]
            if project:
                W.grad = right.remove_parallel(W.grad, W)
            optimizer.step()
            if recreate:
                live["W_dec"] = right.unit_rows(W).detach().requires_grad_()
            elif normalise:
                W.copy_(right.unit_rows(W))
            if late:
                acts, h_hat = _forward(live, h)
                loss = right.sae_loss(h, h_hat, acts, l1_coeff)
        losses.append(loss.detach())
    if attached:
        return live, torch.stack(losses)
    return {k: v.detach() for k, v in live.items()}, torch.stack(losses)


def train_sae__decoder_recreated(params, batches, learning_rates, l1_coeff):
    """After the first step your decoder stands still. You made a new tensor for the normalised
    rows, and the optimiser still holds the old one. Write into the old one with `copy_`."""
    return _train(params, batches, learning_rates, l1_coeff, recreate=True)


def train_sae__parallel_part_kept(params, batches, learning_rates, l1_coeff):
    """You don't remove the parallel part of the decoder's gradient. The rows end with length 1 all
    the same, but Adam's averages carry what the scaling undoes."""
    return _train(params, batches, learning_rates, l1_coeff, project=False)


def train_sae__never_normalised(params, batches, learning_rates, l1_coeff):
    """Your decoder rows drift off the sphere. A step across the row makes it a little longer, too:
    scale back after each step."""
    return _train(params, batches, learning_rates, l1_coeff, normalise=False)


def train_sae__new_optimiser_each_step(params, batches, learning_rates, l1_coeff):
    """You make a new optimiser in every step, so Adam forgets its running averages. Make it once,
    before the loop."""
    return _train(params, batches, learning_rates, l1_coeff, fresh=True)


def train_sae__sgd(params, batches, learning_rates, l1_coeff):
    """You train with plain gradient descent. The task says Adam: its steps do not shrink with rare
    features' small gradients."""
    return _train(params, batches, learning_rates, l1_coeff, adam=torch.optim.SGD)


def train_sae__first_rate_only(params, batches, learning_rates, l1_coeff):
    """You use the first learning rate in all steps. Set `optimizer.param_groups[0]["lr"]` in
    each."""
    return _train(params, batches, learning_rates, l1_coeff, one_rate=True)


def train_sae__gradients_pile_up(params, batches, learning_rates, l1_coeff):
    """You never clear the gradients, so each step adds to those before. Call `zero_grad()` in every
    step."""
    return _train(params, batches, learning_rates, l1_coeff, clear=False)


def train_sae__loss_after_the_update(params, batches, learning_rates, l1_coeff):
    """You note the loss after the update, on rows that the SAE has just been fitted to. Note the
    one that you differentiated."""
    return _train(params, batches, learning_rates, l1_coeff, late=True)


def train_sae__no_l1(params, batches, learning_rates, l1_coeff):
    """Your training ignores `l1_coeff`. Pass it on to `sae_loss`."""
    return _train(params, batches, learning_rates, 0.0)


def train_sae__biases_not_trained(params, batches, learning_rates, l1_coeff):
    """Only the weight matrices move. The optimiser needs all values of the dictionary."""
    leaves = [name for name in params if name.startswith("W")]
    return _train(params, batches, learning_rates, l1_coeff, leaves=leaves)


def train_sae__not_detached(params, batches, learning_rates, l1_coeff):
    """The parameters that you return still require gradients. Detach them: the training is over."""
    return _train(params, batches, learning_rates, l1_coeff, attached=True)


# --------------------------------------------------------------------------------- f1. dead_latents


def dead_latents__silent_once(window):
    """You call a latent dead that is silent *somewhere*. Every sparse latent is: dead means silent
    everywhere in the window."""
    return (window == 0).any(dim=0).any(dim=0)


def dead_latents__last_step_only(window):
    """You look at the last step only. The window is long for a reason: a rare latent may skip a
    batch."""
    return (window[-1] == 0).all(dim=0)


def dead_latents__silent_in_one_step(window):
    """You call a latent dead that was silent through *one* step. It must be silent through all of
    them."""
    return (window == 0).all(dim=1).any(dim=0)


def dead_latents__rarely_active(window):
    """You call a latent dead that is active in fewer than 1 of 100 rows. Such a latent is rare, and
    it still learns. Dead is exactly never."""
    return (window > 0).float().mean(dim=(0, 1)) < 0.01


def dead_latents__small_mean(window):
    """You call a latent dead when its mean activation is small. A latent that is active in a single
    row has a small mean, too, and it still learns. Dead is exactly never."""
    return window.mean(dim=(0, 1)) < 1e-3


def dead_latents__weakly_active(window):
    """You call weak activations dead. A ReLU that is active at all, however weakly, has a gradient:
    compare with 0."""
    return (window < 1e-4).all(dim=0).all(dim=0)


def dead_latents__alive_instead(window):
    """Your mask is the other way round: it is true for the living."""
    return (window > 0).any(dim=0).any(dim=0)


def dead_latents__in_all_instances(window):
    """You call a latent dead only if it is silent in every instance. Instances are separate SAEs:
    keep the axis."""
    silent = (window == 0).all(dim=0).all(dim=0)
    return silent.all(dim=0, keepdim=True).expand_as(silent)


def dead_latents__floats(window):
    """You return numbers. A mask is boolean: `dead_latents(...)` will choose entries."""
    return (window == 0).all(dim=0).all(dim=0).float()


# ------------------------------------------------------------------------------ f2. resample_simple


def _simple(
    params, dead, gen, draw=torch.randn, scale=_unit, bias=True, encoder=True, shape=None, add=False
):
    """The right resampling, with switches."""
    W_dec, mask = params["W_dec"], dead[..., None]
    size = shape(W_dec.shape) if shape else W_dec.shape
    noise = draw(size, generator=gen, device=W_dec.device).to(W_dec.dtype)
    direction = scale(noise).expand_as(W_dec)
    if add:
        direction = _unit(W_dec + direction)
    new = {**params, "W_dec": torch.where(mask, direction, W_dec)}
    if bias:
        new["b_enc"] = params["b_enc"].masked_fill(dead, 0)
    if "W_enc" in params and encoder:
        new["W_enc"] = torch.where(mask.mT, direction.mT, params["W_enc"])
    return new


def resample_simple__all_latents(params, dead, gen):
    """You resample the living, too, and throw away what they learned. Choose with the mask."""
    return _simple(params, torch.ones_like(dead), gen)


def resample_simple__alive_instead(params, dead, gen):
    """You resample the living and leave the dead. `torch.where(mask, a, b)` takes `a` where the
    mask is true."""
    return _simple(params, ~dead, gen)


def resample_simple__bias_kept(params, dead, gen):
    """The old bias stays. It is probably what killed the latent: with a very negative one the new
    direction is dead again."""
    return _simple(params, dead, gen, bias=False)


def resample_simple__encoder_kept(params, dead, gen):
    """The dead latent's encoder stays as it was, so it stays silent, whatever its decoder row is.
    Set both."""
    return _simple(params, dead, gen, encoder=False)


def resample_simple__not_normalised(params, dead, gen):
    """The new directions do not have length 1. Decoder rows live on the unit sphere."""
    return _simple(params, dead, gen, scale=lambda v: v)


def resample_simple__directions_of_a_cube(params, dead, gen):
    """You draw points in a cube and normalise them. A cube has more room in its corners than along
    its axes, so diagonals are preferred. Normal numbers are round."""
    return _simple(params, dead, gen, draw=lambda *s, **k: torch.rand(*s, **k) - 0.5)


def resample_simple__encoder_reshaped(params, dead, gen):
    """You reshape the directions for the encoder. `reshape` keeps the order in memory, so numbers
    of different latents get mixed: `.mT` swaps the two axes."""
    W_dec = params["W_dec"]
    noise = torch.randn(W_dec.shape, generator=gen, device=W_dec.device).to(W_dec.dtype)
    new = {**params, "W_dec": torch.where(dead[..., None], _unit(noise), W_dec)}
    new["b_enc"] = params["b_enc"].masked_fill(dead, 0)
    if "W_enc" in params:
        turned = _unit(noise).reshape(params["W_enc"].shape)
        new["W_enc"] = torch.where(dead[:, None], turned, params["W_enc"])
    return new


def resample_simple__positive_directions(params, dead, gen):
    """All new directions point into one quadrant. `torch.rand` has no negative numbers."""
    return _simple(params, dead, gen, draw=torch.rand)


def resample_simple__wrong_axis_normalised(params, dead, gen):
    """You normalise over the latents. The numbers of one direction lie along the last axis."""
    return _simple(params, dead, gen, scale=lambda v: _unit(v, 1))


def resample_simple__every_bias_0(params, dead, gen):
    """You set every encoder bias to 0. Those of living latents were learned: change only the
    dead."""
    new = _simple(params, dead, gen)
    return {**new, "b_enc": torch.zeros_like(params["b_enc"])}


def resample_simple__b_dec_reset(params, dead, gen):
    """You set `b_dec` to 0, too. It belongs to no latent: all of them share it."""
    new = _simple(params, dead, gen)
    return {**new, "b_dec": torch.zeros_like(params["b_dec"])}


def resample_simple__stops_at_a_whole_instance(params, dead, gen):
    """Your loop ends at the first instance without a dead latent. `return` and `break` leave the
    loop; `continue` goes on to the next instance. (`torch.where` needs no loop.)"""
    whole = (~dead.any(dim=-1)).nonzero()
    first = int(whole[0]) if len(whole) else len(dead)
    until = dead & (torch.arange(len(dead), device=dead.device) < first)[:, None]
    return _simple(params, until, gen)


def resample_simple__first_instance_only(params, dead, gen):
    """Only the first instance is resampled. All of them may have dead latents."""
    only = torch.zeros_like(dead)
    only[0] = dead[0]
    return _simple(params, only, gen)


def resample_simple__one_latent_each(params, dead, gen):
    """You resample one dead latent per instance and leave the others. `dead` may hold several."""
    return _simple(params, dead & (dead.cumsum(dim=-1) == 1), gen)


def resample_simple__dead_anywhere(params, dead, gen):
    """You resample a latent in every instance when it is dead in one. Instances are separate
    SAEs."""
    return _simple(params, dead.any(dim=0).expand_as(dead), gen)


def resample_simple__another_direction_for_the_encoder(params, dead, gen):
    """Encoder and decoder get two different directions. The new latent must read along the
    direction that it writes, or it is soon dead again."""
    new = _simple(params, dead, gen)
    if "W_enc" in params:
        noise = torch.randn(params["W_dec"].shape, generator=gen, device=dead.device)
        other = _unit(noise).to(params["W_enc"].dtype)
        new["W_enc"] = torch.where(dead[:, None], other.mT, params["W_enc"])
    return new


def resample_simple__encoder_not_normalised(params, dead, gen):
    """The new encoder columns do not have length 1. They are the same unit vectors as the decoder
    rows."""
    W_dec = params["W_dec"]
    noise = torch.randn(W_dec.shape, generator=gen, device=W_dec.device).to(W_dec.dtype)
    new = {**params, "W_dec": torch.where(dead[..., None], _unit(noise), W_dec)}
    new["b_enc"] = params["b_enc"].masked_fill(dead, 0)
    if "W_enc" in params:
        new["W_enc"] = torch.where(dead[:, None], noise.mT, params["W_enc"])
    return new


def resample_simple__one_direction_for_all(params, dead, gen):
    """All dead latents of an instance get the same direction. Then they are copies of each other,
    and may stay so for thousands of steps."""
    return _simple(params, dead, gen, shape=lambda s: (s[0], 1, s[2]))


def resample_simple__instances_alike(params, dead, gen):
    """Latent l gets the same new direction in every instance. Draw for each instance."""
    return _simple(params, dead, gen, shape=lambda s: (1, s[1], s[2]))


def resample_simple__old_direction_shaken(params, dead, gen):
    """You add noise to the old direction. That is not a fresh start: the result still leans towards
    where the latent died."""
    return _simple(params, dead, gen, add=True)


def resample_simple__in_place(params, dead, gen):
    """You changed the tensors that you were given. Return new ones: `torch.where`, not assignment
    by mask."""
    new = _simple(params, dead, gen)
    for name, value in params.items():
        value.copy_(new[name])
    return params


# ----------------------------------------------------------------------- g1. resample_probabilities


def _normalised(weights, dim=0):
    total = weights.sum(dim=dim, keepdim=True)
    uniform = torch.full_like(weights, 1 / len(weights))
    return torch.where(total > 0, weights / total.clamp(min=1e-30), uniform)


def resample_probabilities__not_squared(l2):
    """Your probabilities are proportional to the loss. They should be proportional to its *square*:
    the worst rows matter most."""
    return _normalised(l2)


def resample_probabilities__cubed(l2):
    """Your probabilities go with the *cube* of the loss. `l2` is the row's loss already:
    its square is L times L."""
    return _normalised(l2**3)


def resample_probabilities__softmax(l2):
    """You use a softmax. It depends on the scale of the losses in another way, and a row without
    loss would still be drawn."""
    return l2.square().softmax(dim=0)


def resample_probabilities__over_all_instances(l2):
    """Your probabilities sum to 1 over the whole tensor. Each instance has a distribution of its
    own: sum over the batch only."""
    squares = l2.square()
    return squares / squares.sum().clamp(min=1e-30)


def resample_probabilities__over_all_that_have_a_loss(l2):
    """Your probabilities sum to 1 over all instances together, where there is a loss. Each instance
    has a distribution of its own: over which axis do you sum?"""
    squares = l2.square()
    return torch.where((l2 == 0).all(dim=0), 1 / len(l2), squares / squares.sum().clamp(min=1e-30))


def resample_probabilities__over_instances(l2):
    """You normalise over instances. The choice is between *rows* of the batch."""
    return _normalised(l2.square(), dim=1)


def resample_probabilities__not_normalised(l2):
    """You return the squares. Probabilities sum to 1."""
    return l2.square()


def resample_probabilities__nan_without_loss(l2):
    """Where an instance has no loss at all, you divide 0 by 0. Give every row the same probability
    there."""
    return l2.square() / l2.square().sum(dim=0)


def resample_probabilities__zero_without_loss(l2):
    """Where an instance has no loss, all your probabilities are 0, and nothing can be drawn. Make
    them equal there."""
    return l2.square() / l2.square().sum(dim=0).clamp(min=1e-30)


def resample_probabilities__divided_by_the_mean(l2):
    """You divide by the mean. Divide by the *sum* over the batch, so that the result sums to 1."""
    squares = l2.square()
    mean = squares.mean(dim=0)
    return torch.where(mean > 0, squares / mean.clamp(min=1e-30), 1 / len(l2))


def resample_probabilities__floor_too_large(l2):
    """Small losses do not count in your result: something is added to the sum, or the sum has a
    lower bound. Only where *all* losses are 0 is there anything to guard."""
    squares = l2.square()
    total = squares.sum(dim=0)
    return torch.where(total > 0, squares / total.clamp(min=1e-8), 1 / len(l2))


def resample_probabilities__small_losses_uniform(l2):
    """You treat small losses as none, and make their rows equally likely. That is for losses that
    are *all exactly* 0: among small ones, too, some are larger than others."""
    total = l2.square().sum(dim=0)
    return torch.where(total < 1e-12, 1 / len(l2), l2.square() / total.clamp(min=1e-12))


def resample_probabilities__uniform(l2):
    """Every row has the same probability in your result. The loss should decide."""
    return torch.full_like(l2, 1 / len(l2))


# ------------------------------------------------------------------------------------ g2. draw_rows


def draw_rows__uniform(probabilities, n_latent, gen):
    """You draw all rows alike. The probabilities must count: that is the point of this
    resampling."""
    n_rows, inst = probabilities.shape
    return torch.randint(n_rows, (inst, n_latent), generator=gen, device=gen.device)


def draw_rows__worst_row(probabilities, n_latent, gen):
    """You always take the row with the largest probability. Then all dead latents go to one place.
    Draw at random."""
    return probabilities.argmax(dim=0)[:, None].repeat(1, n_latent)


def draw_rows__worst_rows(probabilities, n_latent, gen):
    """You take the rows with the largest probabilities, one after another. Nothing is random in
    that: draw."""
    order = probabilities.argsort(dim=0, descending=True).mT
    return order[:, torch.arange(n_latent, device=gen.device) % len(probabilities)]


def draw_rows__top_rows(probabilities, n_latent, gen):
    """You take the rows with the largest probabilities, each once. Nothing is random in that, and
    with more latents than rows there are not enough: draw."""
    return probabilities.topk(n_latent, dim=0).indices.mT


def draw_rows__one_for_all_latents(probabilities, n_latent, gen):
    """All latents of an instance get the same row. Draw `n_latent` times for each instance."""
    return torch.multinomial(probabilities.mT, 1, generator=gen).repeat(1, n_latent)


def draw_rows__instance_0_for_all(probabilities, n_latent, gen):
    """You use the probabilities of instance 0 everywhere. Each instance has its own bad rows."""
    p = probabilities[:, :1].mT.repeat(probabilities.shape[1], 1)
    return torch.multinomial(p, n_latent, replacement=True, generator=gen)


def draw_rows__same_numbers_everywhere(probabilities, n_latent, gen):
    """All instances use the same random numbers. Draw for each instance."""
    u = torch.rand(n_latent, generator=gen, device=gen.device, dtype=probabilities.dtype)
    edges = probabilities.mT.cumsum(dim=-1).contiguous()
    rows = torch.searchsorted(edges, u.expand(len(edges), n_latent).contiguous(), right=True)
    return rows.clamp(max=len(probabilities) - 1)


def draw_rows__without_replacement(probabilities, n_latent, gen):
    """You draw without replacement. If one row holds all the loss, there is nothing else to draw,
    and torch raises an error."""
    return torch.multinomial(probabilities.mT, n_latent, replacement=False, generator=gen)


def draw_rows__axes_swapped(probabilities, n_latent, gen):
    """Your result has axes `(latent, inst)`. The task asks for `(inst, latent)`."""
    return torch.multinomial(probabilities.mT, n_latent, replacement=True, generator=gen).mT


def draw_rows__not_transposed(probabilities, n_latent, gen):
    """`torch.multinomial` draws from each *row* of a matrix. Your rows are rows of the batch, so
    you drew instances."""
    return torch.multinomial(probabilities, n_latent, replacement=True, generator=gen)


def draw_rows__weights_inverted(probabilities, n_latent, gen):
    """You prefer rows with *little* loss. A new latent is needed where the loss is large."""
    return torch.multinomial(1 - probabilities.mT, n_latent, replacement=True, generator=gen)


def draw_rows__global_generator(probabilities, n_latent, gen):
    """You draw from torch's global generator. Pass `generator=gen`, so that a run can be
    repeated."""
    return torch.multinomial(probabilities.mT, n_latent, replacement=True)


# ----------------------------------------------------------------------------- g3. resample_to_rows


def _to_rows(
    params, dead, h, rows, scale, centre=True, scale_by="alive", bias=True, unit=True, mask=None
):
    """The right resampling, with switches."""
    inst = torch.arange(len(rows), device=rows.device)[:, None]
    centred = h - params["b_dec"] if centre else h
    direction = centred[rows, inst]
    direction = _unit(direction) if unit else direction
    dead = dead if mask is None else mask(dead)
    new = {**params, "W_dec": torch.where(dead[..., None], direction, params["W_dec"])}
    if bias:
        new["b_enc"] = params["b_enc"].masked_fill(dead, 0)
    if "W_enc" in params:
        norms, n_alive = params["W_enc"].norm(dim=1), (~dead).sum(dim=-1)
        alive = norms.masked_fill(dead, 0).sum(dim=-1)
        size = {
            "alive": torch.where(n_alive > 0, alive / n_alive.clamp(min=1), 1.0),
            "all": norms.mean(dim=-1),
            "one": torch.ones_like(alive),
            "sum over all": alive / dead.shape[1],
            "sum": torch.where(n_alive > 0, alive, 1.0),
            "every instance": (alive.sum() / n_alive.sum()).expand_as(alive),
            "nan": alive / n_alive,
            "zero": alive / n_alive.clamp(min=1),
            "all or one": torch.where(n_alive > 0, norms.mean(dim=-1), 1.0),
        }[scale_by]
        size = scale * size[:, None, None]
        new["W_enc"] = torch.where(dead[:, None], (size * direction).mT, params["W_enc"])
    return new


def resample_to_rows__not_centred(params, dead, h, rows, scale):
    """You point at h itself. Directions start at `b_dec`: subtract it before you normalise."""
    return _to_rows(params, dead, h, rows, scale, centre=False)


def resample_to_rows__scale_ignored(params, dead, h, rows, scale):
    """The encoder columns do not react to `scale`: a number is written into the formula, or the
    factor is missing. Use the argument."""
    return _to_rows(params, dead, h, rows, 0.2)


def resample_to_rows__mean_over_all(params, dead, h, rows, scale):
    """Your mean norm includes the dead latents. Their encoders are what we want to get rid of:
    average over the living."""
    return _to_rows(params, dead, h, rows, scale, scale_by="all")


def resample_to_rows__mean_over_all_if_any_lives(params, dead, h, rows, scale):
    """Your mean norm includes the dead latents. Their encoders are what we want to get rid of:
    average over the living."""
    return _to_rows(params, dead, h, rows, scale, scale_by="all or one")


def resample_to_rows__divided_by_all(params, dead, h, rows, scale):
    """You sum the norms of the living, but divide by the number of all latents."""
    return _to_rows(params, dead, h, rows, scale, scale_by="sum over all")


def resample_to_rows__mean_over_instances(params, dead, h, rows, scale):
    """You take one mean norm over all instances. Instances share nothing: average within each."""
    return _to_rows(params, dead, h, rows, scale, scale_by="every instance")


def resample_to_rows__encoder_of_unit_length(params, dead, h, rows, scale):
    """Your new encoder columns have length `scale`, without the mean norm of the living. Where
    encoders are long, the newcomer would never be heard."""
    return _to_rows(params, dead, h, rows, scale, scale_by="one")


def resample_to_rows__nan_where_all_are_dead(params, dead, h, rows, scale):
    """Where no latent is alive, your mean is 0/0 = NaN. The task says: take 1 there."""
    return _to_rows(params, dead, h, rows, scale, scale_by="nan")


def resample_to_rows__zero_where_all_are_dead(params, dead, h, rows, scale):
    """Where no latent is alive, your mean norm is 0, and so are the new encoder columns: such a
    latent never hears anything. The task says: take 1 there."""
    return _to_rows(params, dead, h, rows, scale, scale_by="zero")


def resample_to_rows__not_normalised(params, dead, h, rows, scale):
    """The new decoder rows are as long as the activation. They must have length 1."""
    return _to_rows(params, dead, h, rows, scale, unit=False)


def resample_to_rows__bias_kept(params, dead, h, rows, scale):
    """The old bias stays. It is probably what killed the latent: set it to 0."""
    return _to_rows(params, dead, h, rows, scale, bias=False)


def resample_to_rows__all_latents(params, dead, h, rows, scale):
    """You resample the living, too. `rows` has an entry for every latent, but only the dead use
    theirs."""
    return _to_rows(params, dead, h, rows, scale, mask=torch.ones_like)


def resample_to_rows__row_of_instance_0(params, dead, h, rows, scale):
    """You take the rows from instance 0 for every instance. Index both axes: `h[rows, inst]`."""
    return _to_rows(params, dead, h[:, :1].expand_as(h), rows, scale)


def resample_to_rows__sum_of_norms(params, dead, h, rows, scale):
    """You take the sum of the living norms. Divide by the number of the living."""
    return _to_rows(params, dead, h, rows, scale, scale_by="sum")


def resample_to_rows__centre_added(params, dead, h, rows, scale):
    """You add `b_dec` to the row. A direction leads *from* `b_dec` to the row: subtract it."""
    return _to_rows(params, dead, h + 2 * params["b_dec"], rows, scale)


def resample_to_rows__pointing_away(params, dead, h, rows, scale):
    """Your new latents point away from their rows: `b_dec - h` for `h - b_dec`."""
    return _to_rows(params, dead, 2 * params["b_dec"] - h, rows, scale)


def resample_to_rows__living_replaced(params, dead, h, rows, scale):
    """You replace the living and leave the dead. `torch.where(mask, a, b)` takes `a` where the mask
    is true."""
    new = _to_rows(params, dead, h, rows, scale, mask=lambda d: ~d)
    return {**new, "b_enc": params["b_enc"].masked_fill(dead, 0)}


def resample_to_rows__centre_of_instance_0(params, dead, h, rows, scale):
    """You subtract the `b_dec` of instance 0 from all rows. Each instance has its own."""
    shift = params["b_dec"] - params["b_dec"][:1]
    return _to_rows(params, dead, h + shift, rows, scale)


def resample_to_rows__encoder_as_long_as_the_row(params, dead, h, rows, scale):
    """Your new encoder columns are as long as the activation itself. Normalise the row first; then
    give the column its length."""
    new = _to_rows(params, dead, h, rows, scale)
    inst = torch.arange(len(rows), device=rows.device)[:, None]
    length = (h - params["b_dec"])[rows, inst].norm(dim=-1)
    if "W_enc" in params:
        longer = new["W_enc"] * length[:, None]
        new["W_enc"] = torch.where(dead[:, None], longer, params["W_enc"])
    return new


def resample_to_rows__every_bias_0(params, dead, h, rows, scale):
    """You set every encoder bias to 0. Those of living latents were learned: change only the
    dead."""
    new = _to_rows(params, dead, h, rows, scale)
    return {**new, "b_enc": torch.zeros_like(params["b_enc"])}


def resample_to_rows__one_row_for_all(params, dead, h, rows, scale):
    """All dead latents of an instance get the row of its first latent. Each has its own entry in
    `rows`."""
    return _to_rows(params, dead, h, rows[:, :1].expand_as(rows), scale)


# -------------------------------------------------------------------------------- g4. reset_moments


def _reset(moments, masks):
    return {k: v.masked_fill(masks[k], 0) if k in masks else v for k, v in moments.items()}


def reset_moments__all_zero(moments, dead):
    """You forget the averages of every latent. The living lose their momentum and their step sizes,
    too."""
    return {name: torch.zeros_like(value) for name, value in moments.items()}


def reset_moments__living_reset(moments, dead):
    """You reset the living and keep the dead: the mask is the wrong way round."""
    masks = {"W_dec": ~dead[..., None], "W_enc": ~dead[:, None], "b_enc": ~dead}
    return _reset(moments, masks)


def reset_moments__encoder_forgotten(moments, dead):
    """`W_enc` keeps the averages of the dead latent. Its *columns* belong to latents."""
    return _reset(moments, {"W_dec": dead[..., None], "b_enc": dead})


def reset_moments__decoder_only(moments, dead):
    """Only `W_dec` is reset. A latent also has an encoder column and a bias."""
    return _reset(moments, {"W_dec": dead[..., None]})


def reset_moments__bias_forgotten(moments, dead):
    """`b_enc` keeps the averages of the dead latent. Each latent has one entry in it."""
    return _reset(moments, {"W_dec": dead[..., None], "W_enc": dead[:, None]})


def reset_moments__b_dec_too(moments, dead):
    """You also reset `b_dec`. It belongs to no latent: all of them share it."""
    new = _reset(moments, {"W_dec": dead[..., None], "W_enc": dead[:, None], "b_enc": dead})
    lost = dead.any(dim=-1, keepdim=True)
    return {**new, "b_dec": new["b_dec"].masked_fill(lost, 0)}


def reset_moments__in_place(moments, dead):
    """You changed the tensors that you were given. Return new ones; the caller decides when to
    write them."""
    masks = {"W_dec": dead[..., None], "W_enc": dead[:, None], "b_enc": dead}
    for name, mask in masks.items():
        if name in moments:
            moments[name].masked_fill_(mask, 0)
    return moments


def reset_moments__every_instance(moments, dead):
    """You reset a latent in every instance when it is dead in one. Instances are separate SAEs."""
    lost = dead.any(dim=0, keepdim=True).expand_as(dead)
    return _reset(moments, {"W_dec": lost[..., None], "W_enc": lost[:, None], "b_enc": lost})


# ------------------------------------------------------------------------------ h1. feature_cosines


def _products(features, latents):
    return einsum(features, latents, "inst feature d_in, inst latent d_in -> inst feature latent")


def feature_cosines__dot_products(W, W_dec):
    """You return dot products. A cosine does not depend on lengths: normalise both."""
    return _products(W.mT, W_dec)


def feature_cosines__features_not_normalised(W, W_dec):
    """You normalise the latents only. Features have lengths, too (about 1.15 in the pentagon)."""
    return _products(W.mT, _unit(W_dec))


def feature_cosines__latents_not_normalised(W, W_dec):
    """You normalise the features only. Don't rely on decoder rows of length 1."""
    return _products(_unit(W.mT), W_dec)


def feature_cosines__wrong_axis(W, W_dec):
    """You normalise the rows of `W`. Features are its *columns*."""
    return _products(_unit(W).mT, _unit(W_dec))


def feature_cosines__absolute(W, W_dec):
    """You take absolute values. A latent that points the opposite way has not found the feature."""
    return _products(_unit(W.mT), _unit(W_dec)).abs()


def feature_cosines__axes_swapped(W, W_dec):
    """Your result has axes `(inst, latent, feature)`. The task asks for features first."""
    return _products(_unit(W.mT), _unit(W_dec)).mT


def feature_cosines__angles(W, W_dec):
    """You return angles. The cosine is what comes before `acos`."""
    return _products(_unit(W.mT), _unit(W_dec)).clamp(-1, 1).acos()


# --------------------------------------------------------------------------------- h2. feature_mmcs


def _cosines(W, W_dec):
    return _products(_unit(W.mT), _unit(W_dec))


def feature_mmcs__best_feature_per_latent(W, W_dec):
    """You look for the best *feature* of every latent. That score is 1 for a dictionary that found
    one feature five times. Start from the features."""
    return _cosines(W, W_dec).amax(dim=1).mean(dim=-1)


def feature_mmcs__mean_of_all(W, W_dec):
    """You average over all pairs. A feature needs one good latent, not all of them: take the
    maximum first."""
    return _cosines(W, W_dec).mean(dim=(1, 2))


def feature_mmcs__best_latent_on_average(W, W_dec):
    """You average over features first, and look for the best latent afterwards. Then one latent has
    to serve all features: may not each feature have a best latent of its own?"""
    return _cosines(W, W_dec).mean(dim=1).amax(dim=-1)


def feature_mmcs__max_of_all(W, W_dec):
    """You take the best pair of all. One found feature would be enough for a perfect score."""
    return _cosines(W, W_dec).amax(dim=(1, 2))


def feature_mmcs__absolute(W, W_dec):
    """You ignore the sign. A latent that points the opposite way has not found the feature."""
    return _cosines(W, W_dec).abs().amax(dim=-1).mean(dim=-1)


def feature_mmcs__one_number(W, W_dec):
    """You average over instances, too. The task asks for one score per instance."""
    return _cosines(W, W_dec).amax(dim=-1).mean()


def feature_mmcs__worst_feature(W, W_dec):
    """You return the score of the worst feature. MMCS is the *mean* over features."""
    return _cosines(W, W_dec).amax(dim=-1).amin(dim=-1)


def feature_mmcs__summed(W, W_dec):
    """You sum over features. The mean does not grow with their number."""
    return _cosines(W, W_dec).amax(dim=-1).sum(dim=-1)


# ------------------------------------------------------------------------------ h3. matched_cosines


def _match(W, W_dec, cost):
    cosines = _cosines(W, W_dec)
    matched = torch.zeros_like(cosines[..., 0])
    for inst, cosine in enumerate(cosines):
        rows, cols = linear_sum_assignment(cost(cosine).detach().cpu())
        matched[inst, rows] = cosine[rows, cols]
    return matched


def matched_cosines__feature_by_feature(W, W_dec):
    """You let each feature in turn take the best latent that is left. An early feature may take
    what a later one needs more: the pairs are chosen together, for the largest sum."""
    cosines = _cosines(W, W_dec)
    matched = torch.zeros_like(cosines[..., 0])
    for inst, table in enumerate(cosines):
        left = table.clone()
        for feature in range(min(table.shape)):
            latent = int(left[feature].argmax())
            matched[inst, feature] = table[feature, latent]
            left[:, latent] = -torch.inf
    return matched


def matched_cosines__absolute(W, W_dec):
    """You match absolute cosines. A latent that points the opposite way has not found the feature:
    signs matter."""
    cosines = _cosines(W, W_dec).abs()
    matched = torch.zeros_like(cosines[..., 0])
    for inst, table in enumerate(cosines):
        features, latents = linear_sum_assignment(table.cpu(), maximize=True)
        matched[inst, features] = table[features, latents]
    return matched


def matched_cosines__largest_for_each(W, W_dec):
    """You take the best latent for each feature. One latent may then serve several features: match
    one to one."""
    return _cosines(W, W_dec).amax(dim=-1)


def matched_cosines__worst_matching(W, W_dec):
    """Your matching makes the total as *small* as possible. `linear_sum_assignment` minimises,
    unless you tell it otherwise."""
    return _match(W, W_dec, lambda c: c)


def matched_cosines__greedy(W, W_dec):
    """You take the best pair, cross out both, and go on. That can miss the best total: the second
    pair may be left with a bad choice."""
    cosines = _cosines(W, W_dec)
    matched = torch.zeros_like(cosines[..., 0])
    for inst, cosine in enumerate(cosines):
        left = cosine.clone()
        for _ in range(min(cosine.shape)):
            f, k = divmod(int(left.argmax()), cosine.shape[1])
            matched[inst, f] = cosine[f, k]
            left[f], left[:, k] = -torch.inf, -torch.inf
    return matched


def matched_cosines__in_order(W, W_dec):
    """You compare feature i with latent i. Latents come in any order: find the matching first."""
    cosines = _cosines(W, W_dec)
    matched = torch.zeros_like(cosines[..., 0])
    n = min(cosines.shape[1:])
    matched[:, :n] = cosines[:, :n, :n].diagonal(dim1=1, dim2=2)
    return matched


def matched_cosines__signs_ignored(W, W_dec):
    """You match by absolute cosines. A latent that points the opposite way has not found the
    feature."""
    return _match(W, W_dec, lambda c: -c.abs())


def matched_cosines__matching_of_instance_0(W, W_dec):
    """You use the matching of instance 0 for every instance. Each SAE has its own order."""
    cosines = _cosines(W, W_dec)
    matched = torch.zeros_like(cosines[..., 0])
    rows, cols = linear_sum_assignment(-cosines[0].detach().cpu())
    matched[:, rows] = cosines[:, rows, cols]
    return matched


def matched_cosines__per_latent(W, W_dec):
    """Your result has one value per *latent*. The task asks for one per feature, 0 for the
    unmatched."""
    cosines = _cosines(W, W_dec)
    matched = torch.zeros_like(cosines[:, 0])
    for inst, cosine in enumerate(cosines):
        rows, cols = linear_sum_assignment(-cosine.detach().cpu())
        matched[inst, cols] = cosine[rows, cols]
    return matched


# -------------------------------------------------------------------------------------- predictions


def predict_twins__stay():
    """With weights that are equal to the last bit, yes, on paper. But this balance is unstable: who
    leans a little towards the feature that nobody covers earns more there, and leans more. One part
    in a million grows."""
    return "they stay twins"


def predict_twins__one_dies():
    """Both are active on the same rows, and a gradient reaches both. Neither has a reason to fall
    silent; but a small difference between them has a reason to grow."""
    return "one dies"


def predict_without__all():
    """Look at the picture of part 2: most panels have a grey ring, or a latent between two
    features. Neither comes right by itself."""
    return "12 to 16"


def predict_without__about_half():
    """It is fewer. About three latents in ten die early, so most SAEs lose at least one of their
    five; and of those that lose none, some have a latent between two features."""
    return "6 to 11"


def predict_magnitude__nothing_lost():
    """You expect it to come out unchanged. But a shorter reconstruction costs only little error, of
    second order in what is lost, while the L1 term falls at first order. Minimise the sum."""
    return 1.0


def predict_magnitude__half_forgotten():
    """You take away λ d_in. The derivative of (1 - a)² / 2 is (a - 1), not (a - 1) / 2: where does
    the factor 2 of the square go?"""
    return 0.4


def predict_magnitude__width_forgotten():
    """You take away λ / 2, as if the error were a sum over d_in. It is a mean, so the penalty
    weighs more."""
    return 0.85


# ------------------------------------------------------------------------------------ i. shrinkage


def shrunk_magnitude__negative_too(magnitude, l1_coeff, d_in):
    """Weak features come out negative. An activation is never below 0: what is best there?"""
    return magnitude - l1_coeff * d_in / 2


def shrunk_magnitude__half_forgotten(magnitude, l1_coeff, d_in):
    """You take away λ d_in. The derivative of the square has a factor 2."""
    return (magnitude - l1_coeff * d_in).relu()


def shrunk_magnitude__width_forgotten(magnitude, l1_coeff, d_in):
    """You take away λ / 2. The squared error is a *mean* over d_in, so it pulls d_in times less."""
    return (magnitude - l1_coeff / 2).relu()


def shrunk_magnitude__divided_by_width(magnitude, l1_coeff, d_in):
    """You divide by d_in where the derivation multiplies. A wider model loses more, not less."""
    return (magnitude - l1_coeff / (2 * d_in)).relu()


def shrunk_magnitude__proportional(magnitude, l1_coeff, d_in):
    """You shrink by a factor. Solve for a again: the same *amount* is lost at every magnitude."""
    return magnitude * max(0.0, 1 - l1_coeff * d_in / 2)


def shrunk_magnitude__kept_above(magnitude, l1_coeff, d_in):
    """You drop what is below the threshold and keep the rest as it is. That is JumpReLU. With L1
    the survivors are shortened, too."""
    return magnitude * (magnitude > l1_coeff * d_in / 2)


def shrunk_magnitude__square_not_differentiated(magnitude, l1_coeff, d_in):
    """You set the two terms of L equal. The smallest L is where its *derivative* is 0."""
    return (magnitude - (l1_coeff * d_in * magnitude).clamp(min=0).sqrt()).relu()


def shrunk_magnitude__fixed_coefficient(magnitude, l1_coeff, d_in):
    """Your λ is fixed at 0.3. Use the argument."""
    return (magnitude - 0.3 * d_in / 2).relu()


def _both(h, h_hat):
    return h_hat.square().sum(dim=(0, 2)), (h_hat * h).sum(dim=(0, 2))


def reconstruction_bias__inverse(h, h_hat):
    """You return the best factor s. γ is what one *divides* by: 1/s. Shrinkage must give γ < 1."""
    own, cross = _both(h, h_hat)
    return cross / own


def reconstruction_bias__ratio_of_lengths(h, h_hat):
    """You compare lengths. A reconstruction in a wrong direction then counts as unbiased: the
    product with h is missing."""
    return h_hat.norm(dim=(0, 2)) / h.norm(dim=(0, 2))


def reconstruction_bias__regressed_the_other_way(h, h_hat):
    """You divide by the squares of h. That is the regression of ĥ on h; here h is to be explained
    by ĥ."""
    return (h_hat * h).sum(dim=(0, 2)) / h.square().sum(dim=(0, 2))


def reconstruction_bias__mean_of_ratios(h, h_hat):
    """You take a ratio per row and average. A row with a small product spoils the mean: sum both
    over the batch first."""
    return (h_hat.square().sum(-1) / (h_hat * h).sum(-1)).mean(dim=0)


def reconstruction_bias__one_number(h, h_hat):
    """You sum over instances, too. The task asks for one γ per instance."""
    return h_hat.square().sum() / (h_hat * h).sum()


def reconstruction_bias__per_dimension(h, h_hat):
    """You return a γ for each dimension. The norm in the formula sums over d_in as well."""
    return h_hat.square().sum(dim=0) / (h_hat * h).sum(dim=0)


def reconstruction_bias__mean_of_norms(h, h_hat):
    """You average the lengths of rows and of reconstructions. The formula is a least-squares
    problem: set the derivative with respect to s to 0."""
    return h_hat.norm(dim=-1).mean(dim=0) / h.norm(dim=-1).mean(dim=0)


def reconstruction_bias__squared(h, h_hat):
    """You return the ratio of squared lengths. For ĥ = h/2 it is 1/4, but one divides by 1/2."""
    return h_hat.square().sum(dim=(0, 2)) / h.square().sum(dim=(0, 2))
