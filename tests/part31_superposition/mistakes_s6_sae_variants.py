"""Wrong answers that learners of 3.1.6 give, each with what a tutor would say."""

import itertools

import torch
from einops import einsum

from part31_superposition import s6_sae_variants as right

ENCODE = "batch inst d_in, inst d_in latent -> batch inst latent"
DECODE = "batch inst latent, inst latent d_in -> batch inst d_in"


def _unit(W, dim=-1):
    return W / W.norm(dim=dim, keepdim=True).clamp(min=1e-12)


# ---------------------------------------------------------------------------------------- a. gated


def _gated(h, W, b_gate, r, b_mag, b_dec, centre=True, scale=torch.exp):
    z = einsum(h - b_dec if centre else h, W, ENCODE)
    return z + b_gate, scale(r) * z + b_mag


def gated_encode__gate_is_open_at_zero(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """At π = 0 your gate is open. The step is 1 only for π > 0: `>`, not `>=`."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return (gate >= 0) * strength.relu(), gate


def gated_encode__not_centred(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """You don't subtract `b_dec` before encoding. `preactivations` does, if you let it."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec, centre=False)
    return (gate > 0) * strength.relu(), gate


def gated_encode__no_exponential(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """You multiply by `r_mag` itself. The factor is its exponential: always positive, and 1 at
    r = 0."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec, scale=lambda r: r)
    return (gate > 0) * strength.relu(), gate


def gated_encode__no_relu(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """Your strength may be negative where the gate is open. It goes through a ReLU, too."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return (gate > 0) * strength, gate


def gated_encode__gate_scaled(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """Your gate multiplies the strength by π. The gate is a switch: 1 or 0."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return gate.relu() * strength.relu(), gate


def gated_encode__scale_after_bias(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """You scale z + b_mag. Only z is scaled; the bias is added afterwards."""
    gate, _ = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return (gate > 0) * (r_mag.exp() * (gate - b_gate + b_mag)).relu(), gate


def gated_encode__strength_on_top_of_gate(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """Your strength starts from π, with the gate's bias in it. Both paths start from the same z
    *without* a bias."""
    gate, _ = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return (gate > 0) * (r_mag.exp() * gate + b_mag).relu(), gate


def gated_encode__no_gate_bias(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """`b_gate` does not appear in your gate. It decides how much evidence opens it."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    gate = gate - b_gate
    return (gate > 0) * strength.relu(), gate + 0 * b_gate


def gated_encode__no_strength_bias(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """`b_mag` does not appear in your strength. It is added after the scaling."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, 0 * b_mag, b_dec)
    return (gate > 0) * strength.relu(), gate


def gated_encode__one_bias_for_both(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """Both paths use `b_gate`. The strength has a bias of its own, `b_mag`."""
    gate, _ = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return (gate > 0) * (r_mag.exp() * (gate - b_gate) + b_gate).relu(), gate


def gated_encode__no_gate(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """Your activations ignore the gate. Where π ≤ 0 the latent is off, however large its strength
    would be."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return strength.relu() + 0 * gate, gate


def gated_encode__gate_not_raw(h, W_gate, b_gate, r_mag, b_mag, b_dec):
    """You return the gate after the step. The loss needs π itself, negative values included."""
    gate, strength = _gated(h, W_gate, b_gate, r_mag, b_mag, b_dec)
    return (gate > 0) * strength.relu(), gate.relu()


def _gated_loss(h, acts, gate, W_dec, b_dec, l1, frozen=True, b_frozen=True, coeff=1.0):
    first = (h - einsum(acts, W_dec, DECODE) - b_dec).square().mean(-1)
    W, b = W_dec.detach() if frozen else W_dec, b_dec.detach() if b_frozen else b_dec
    third = (h - einsum(gate.relu(), W, DECODE) - b).square().mean(-1)
    return (first + l1 * gate.relu().sum(-1) + coeff * third).mean(0).sum()


def gated_loss__decoder_not_frozen(h, acts, gate, W_dec, b_dec, l1_coeff):
    """The third term trains the decoder. It must use frozen copies of `W_dec` and `b_dec`, or
    shrunk activations shape the decoder again."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, l1_coeff, frozen=False, b_frozen=False)


def gated_loss__bias_not_frozen(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You freeze `W_dec` in the third term, but not `b_dec`. Both are part of the decoder."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, l1_coeff, b_frozen=False)


def gated_loss__penalty_on_activations(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You punish f. Then its strength shrinks as before: the penalty belongs to ReLU(π)."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, 0.0) + (l1_coeff * acts.sum(-1)).mean(0).sum()


def gated_loss__no_third_term(h, acts, gate, W_dec, b_dec, l1_coeff):
    """The third term is missing. Then nothing but the penalty trains the gate: it closes."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, l1_coeff, coeff=0.0)


def gated_loss__gate_not_rectified(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You use π with its negative values. Both extra terms are about ReLU(π)."""
    first = (h - einsum(acts, W_dec, DECODE) - b_dec).square().mean(-1)
    third = (h - einsum(gate, W_dec.detach(), DECODE) - b_dec.detach()).square().mean(-1)
    return (first + l1_coeff * gate.sum(-1) + third).mean(0).sum()


def gated_loss__gate_frozen(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You detach the whole third reconstruction. Its task is to teach the gate: only the decoder is
    frozen."""
    first = (h - einsum(acts, W_dec, DECODE) - b_dec).square().mean(-1)
    third = (h - (einsum(gate.relu(), W_dec, DECODE) + b_dec).detach()).square().mean(-1)
    return (first + l1_coeff * gate.relu().sum(-1) + third).mean(0).sum()


def gated_loss__decoder_only_frozen_in_part(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You freeze `b_dec` in the third term, but not `W_dec`. Both are part of the decoder."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, l1_coeff, frozen=False)


def gated_loss__no_penalty(h, acts, gate, W_dec, b_dec, l1_coeff):
    """The penalty is missing. Without it nothing closes the gate."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, 0.0)


def gated_loss__summed_over_the_batch(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You sum over the batch. Then a larger batch means a larger gradient: average it."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, l1_coeff) * len(h)


def gated_loss__mean_over_instances(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You average over instances. Then each trains more slowly the more there are: sum them."""
    return _gated_loss(h, acts, gate, W_dec, b_dec, l1_coeff) / h.shape[1]


def gated_loss__third_term_scaled(h, acts, gate, W_dec, b_dec, l1_coeff):
    """You multiply the third term by λ, too. It is a reconstruction error and stands alone."""
    first = (h - einsum(acts, W_dec, DECODE) - b_dec).square().mean(-1)
    frozen = einsum(gate.relu(), W_dec.detach(), DECODE) + b_dec.detach()
    third = (h - frozen).square().mean(-1)
    return (first + l1_coeff * (gate.relu().sum(-1) + third)).mean(0).sum()


# ------------------------------------------------------------------------------------- b. jumprelu


def rectangle__includes_the_edge(u):
    """You include |u| = 1/2. The kernel is 1 for |u| *below* 1/2."""
    return (u.abs() <= 0.5).to(u.dtype)


def rectangle__too_wide(u):
    """Your window reaches from -1 to 1. Its integral is 2, and a density integrates to 1."""
    return (u.abs() < 1).to(u.dtype)


def rectangle__too_narrow(u):
    """Your window reaches from -1/4 to 1/4. Its integral is 1/2, and a density integrates to 1."""
    return (u.abs() < 0.25).to(u.dtype)


def rectangle__one_sided(u):
    """Your window is open to the left: every negative u counts. Compare |u|."""
    return (u < 0.5).to(u.dtype)


def rectangle__right_half(u):
    """You count only the right half of the window."""
    return ((u >= 0) & (u < 0.5)).to(u.dtype)


def rectangle__boolean(u):
    """You return booleans. Numbers are needed, in the dtype of u."""
    return u.abs() < 0.5


def rectangle__triangle(u):
    """That is a triangle kernel. The rectangle is flat: 1 inside, 0 outside."""
    return (1 - u.abs()).relu()


def rectangle__float32(u):
    """Your result is always float32. Keep the dtype of u."""
    return (u.abs() < 0.5).float()


def rectangle__half_height(u):
    """Your window is right, but its height is 2. A width of 1 and a height of 1 make an area
    of 1."""
    return 2 * (u.abs() < 0.5).to(u.dtype)


def _custom(z, theta, bandwidth, value, slopes):
    """A step with gradients of its own: value(z, theta); slopes(z, theta, near, upstream)."""

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, theta):
            ctx.save_for_backward(z, theta)
            return value(z, theta)

        @staticmethod
        def backward(ctx, upstream):
            z, theta = ctx.saved_tensors
            near = (((z - theta) / bandwidth).abs() < 0.5).to(z.dtype)
            return slopes(z, theta, near, upstream)

    return Custom.apply(z, theta)


def _jump(z, theta):
    return z * (z > theta)


def _jump_slopes(bandwidth):
    return lambda z, t, near, up: (up * (z > t), up * near * (-t / bandwidth))


def jumprelu__open_at_the_threshold(z, theta, bandwidth):
    """At z = θ your latent is active. H(0) = 0: `>`, not `>=`."""
    slopes = lambda z, t, near, up: (up * (z >= t), up * near * (-t / bandwidth))  # noqa: E731
    return _custom(z, theta, bandwidth, lambda z, t: z * (z >= t), slopes)


def jumprelu__without_upstream(z, theta, bandwidth):
    """Your gradients ignore the incoming one. By the chain rule each is your derivative *times*
    `upstream`."""
    slopes = lambda z, t, near, up: ((z > t).to(z.dtype), near * (-t / bandwidth))  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__theta_without_upstream(z, theta, bandwidth):
    """The gradient of θ ignores `upstream`; that of z is right. Both are multiplied by it."""
    slopes = lambda z, t, near, up: (up * (z > t), near * (-t / bandwidth))  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__theta_sign(z, theta, bandwidth):
    """Your gradient of θ has the wrong sign. A higher threshold lets less through."""
    slopes = lambda z, t, near, up: (up * (z > t), up * near * (t / bandwidth))  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__theta_factor_missing(z, theta, bandwidth):
    """The factor θ is missing in the gradient of θ. At the threshold JumpReLU jumps by θ, not
    by 1."""
    slopes = lambda z, t, near, up: (up * (z > t), -up * near / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__bandwidth_forgotten(z, theta, bandwidth):
    """You don't divide by the bandwidth. A kernel density divides the count by the window's
    width."""
    slopes = lambda z, t, near, up: (up * (z > t), -up * near * t)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__z_only_near(z, theta, bandwidth):
    """z gets a gradient only near the threshold. The window is for θ; z passes wherever the latent
    is active."""
    slopes = lambda z, t, near, up: (up * near * (z > t), -up * near * t / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__window_of_z(z, theta, bandwidth):
    """Your window is around 0, not around the threshold: the kernel's argument is (z - θ) / ε."""
    middle = lambda z: ((z / bandwidth).abs() < 0.5).to(z.dtype)  # noqa: E731
    slopes = lambda z, t, near, up: (up * (z > t), -up * middle(z) * t / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__window_with_its_edges(z, theta, bandwidth):
    """Your window includes its edges. The kernel is 1 for |u| *below* 1/2, u = (z - θ) / ε: use
    `rectangle`."""
    inside = lambda z, t: (((z - t) / bandwidth).abs() <= 0.5).to(z.dtype)  # noqa: E731
    slopes = lambda z, t, _, up: (up * (z > t), -up * inside(z, t) * t / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__window_twice_as_wide(z, theta, bandwidth):
    """Your window reaches a whole bandwidth to each side. Half of it to each side makes a width of
    ε."""
    inside = lambda z, t: (((z - t) / bandwidth).abs() < 1).to(z.dtype)  # noqa: E731
    slopes = lambda z, t, _, up: (up * (z > t), -up * inside(z, t) * t / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__gradient_everywhere(z, theta, bandwidth):
    """θ gets a gradient from every row. Only rows near the threshold report: multiply by the
    kernel."""
    slopes = lambda z, t, near, up: (up * (z > t), -up * t / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__z_always_passes(z, theta, bandwidth):
    """z gets a gradient where its latent is silent, too. Its derivative is H(z - θ)."""
    slopes = lambda z, t, near, up: (up, -up * near * t / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__gradients_swapped(z, theta, bandwidth):
    """Your two gradients are in the wrong order: return that of `z` first, as `forward` takes
    them."""
    slopes = lambda z, t, near, up: (up * near * (-t / bandwidth), up * (z > t))  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def jumprelu__threshold_subtracted(z, theta, bandwidth):
    """You subtract the threshold from what passes. That is a shifted ReLU: it shrinks."""
    slopes = _jump_slopes(bandwidth)
    return _custom(z, theta, bandwidth, lambda z, t: (z - t).relu(), slopes)


def jumprelu__threshold_of_zero(z, theta, bandwidth):
    """Your output is a plain ReLU: the threshold only appears in the gradient."""
    slopes = _jump_slopes(bandwidth)
    return _custom(z, theta, bandwidth, lambda z, t: z.relu(), slopes)


def jumprelu__no_gradient_for_theta(z, theta, bandwidth):
    """θ gets no gradient: a comparison has none. That is why you write `backward` yourself."""
    return z * (z > theta)


def _step(z, theta):
    return (z > theta).to(z.dtype)


def heaviside__one_at_the_threshold(z, theta, bandwidth):
    """At z = θ your step is 1. H(0) = 0: `>`, not `>=`."""
    slopes = lambda z, t, near, up: (torch.zeros_like(z), -up * near / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, lambda z, t: (z >= t).to(z.dtype), slopes)


def heaviside__without_upstream(z, theta, bandwidth):
    """Your gradient ignores the incoming one. By the chain rule it is your derivative *times*
    `upstream`."""
    slopes = lambda z, t, near, up: (torch.zeros_like(z), -near / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__theta_sign(z, theta, bandwidth):
    """Your gradient of θ has the wrong sign. A higher threshold means fewer active latents."""
    slopes = lambda z, t, near, up: (torch.zeros_like(z), up * near / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__bandwidth_forgotten(z, theta, bandwidth):
    """You don't divide by the bandwidth. A kernel density divides the count by the window's
    width."""
    slopes = lambda z, t, near, up: (torch.zeros_like(z), -up * near)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__factor_theta(z, theta, bandwidth):
    """There is a factor θ in your gradient. That was JumpReLU, which jumps by θ; the step jumps
    by 1."""
    slopes = lambda z, t, near, up: (torch.zeros_like(z), -up * near * t / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__gradient_for_z(z, theta, bandwidth):
    """You give z a gradient, too. The paper sets it to 0: the penalty moves thresholds only."""
    slopes = lambda z, t, near, up: (up * near / bandwidth, -up * near / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__window_with_its_edges(z, theta, bandwidth):
    """Your window includes its edges. The kernel is 1 for |u| *below* 1/2, u = (z - θ) / ε: use
    `rectangle`."""
    inside = lambda z, t: (((z - t) / bandwidth).abs() <= 0.5).to(z.dtype)  # noqa: E731
    slopes = lambda z, t, _, up: (torch.zeros_like(z), -up * inside(z, t) / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__window_twice_as_wide(z, theta, bandwidth):
    """Your window reaches a whole bandwidth to each side. Half of it to each side makes a width of
    ε."""
    inside = lambda z, t: (((z - t) / bandwidth).abs() < 1).to(z.dtype)  # noqa: E731
    slopes = lambda z, t, _, up: (torch.zeros_like(z), -up * inside(z, t) / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__gradient_everywhere(z, theta, bandwidth):
    """θ gets a gradient from every row. Only rows near the threshold report: multiply by the
    kernel."""
    slopes = lambda z, t, near, up: (torch.zeros_like(z), -up / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _step, slopes)


def heaviside__boolean(z, theta, bandwidth):
    """You return booleans. Numbers are needed, in the dtype of z: they are added up in a loss."""
    return z > theta


def heaviside__returns_z(z, theta, bandwidth):
    """You return z where it is active. The step is 1 there: it counts."""
    slopes = lambda z, t, near, up: (torch.zeros_like(z), -up * near / bandwidth)  # noqa: E731
    return _custom(z, theta, bandwidth, _jump, slopes)


def heaviside__no_gradient(z, theta, bandwidth):
    """Your step has no gradient at all. That is why you write `backward` yourself."""
    return (z > theta).to(z.dtype)


def _jump_loss(h, z, theta, W_dec, b_dec, coeff, bandwidth, count=None, acts=None):
    acts = right.jumprelu(z, theta, bandwidth) if acts is None else acts
    count = right.heaviside(z, theta, bandwidth).sum(-1) if count is None else count
    l2 = (h - einsum(acts, W_dec, DECODE) - b_dec).square().mean(-1)
    return (l2 + coeff * count).mean(0).sum()


def jumprelu_loss__log_as_threshold(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You use `log_theta` as the threshold. It is a logarithm: take `.exp()` first."""
    return _jump_loss(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth)


def jumprelu_loss__l1_instead(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You punish the *size* of activations. That is L1, which shrinks; here the number counts."""
    size = right.jumprelu(z, log_theta.exp(), bandwidth).sum(-1)
    return _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, l0_coeff, bandwidth, size)


def jumprelu_loss__count_without_gradient(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You count with `(acts > 0)`. The value is right, but the penalty then moves no threshold:
    count with `heaviside`."""
    acts = right.jumprelu(z, log_theta.exp(), bandwidth)
    count = (acts > 0).to(z.dtype).sum(-1)
    return _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, l0_coeff, bandwidth, count)


def jumprelu_loss__no_penalty(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """The count is missing. Without it nothing raises a threshold."""
    return _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, 0.0, bandwidth)


def jumprelu_loss__summed_over_the_batch(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You sum over the batch. Then a larger batch means a larger gradient: average it."""
    return _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, l0_coeff, bandwidth) * len(h)


def jumprelu_loss__mean_over_latents(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You average the count over latents. L0 is a sum: how *many* are active."""
    count = right.heaviside(z, log_theta.exp(), bandwidth).mean(-1)
    return _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, l0_coeff, bandwidth, count)


def jumprelu_loss__plain_relu(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You decode ReLU(z). What is below the threshold must not take part."""
    return _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, l0_coeff, bandwidth, acts=z.relu())


def jumprelu_loss__no_bias(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """Your reconstruction lacks `b_dec`. `sae_decode` adds it."""
    return _jump_loss(h, z, log_theta.exp(), W_dec, 0 * b_dec, l0_coeff, bandwidth)


def jumprelu_loss__mean_over_instances(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You average over instances. They are summed, so that each trains as if it were alone."""
    loss = _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, l0_coeff, bandwidth)
    return loss / h.shape[1]


def jumprelu_loss__summed_error(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """You sum the squared error over d_in. It is a mean, as in `loss_terms`."""
    theta = log_theta.exp()
    acts = right.jumprelu(z, theta, bandwidth)
    l2 = (h - einsum(acts, W_dec, DECODE) - b_dec).square().sum(-1)
    return (l2 + l0_coeff * right.heaviside(z, theta, bandwidth).sum(-1)).mean(0).sum()


def jumprelu_loss__fixed_bandwidth(h, z, log_theta, W_dec, b_dec, l0_coeff, bandwidth):
    """Your bandwidth is fixed at 0.1. Use the argument: it decides how many rows report."""
    return _jump_loss(h, z, log_theta.exp(), W_dec, b_dec, l0_coeff, 0.1)


# --------------------------------------------------------------------------- c. TopK and BatchTopK


def topk_acts__no_relu(z, k):
    """Negative pre-activations become active when they are among the k largest. Apply a ReLU to
    what you keep."""
    values, places = z.topk(k, dim=-1)
    return torch.zeros_like(z).scatter(-1, places, values)


def topk_acts__largest_magnitudes(z, k):
    """You choose by absolute value. A very negative pre-activation then takes the place of a
    positive one."""
    places = z.abs().topk(k, dim=-1).indices
    return torch.zeros_like(z).scatter(-1, places, z.gather(-1, places).relu())


def topk_acts__by_threshold(z, k):
    """You keep all that reach the k-th value. When values tie, more than k survive."""
    return (z * (z >= z.topk(k, dim=-1).values[..., -1:])).relu()


def topk_acts__over_the_batch(z, k):
    """You choose k *rows* for each latent. The choice is among the latents of one row."""
    values, places = z.topk(k, dim=0)
    return torch.zeros_like(z).scatter(0, places, values.relu())


def topk_acts__smallest(z, k):
    """You keep the smallest. `topk` takes the largest unless told otherwise."""
    values, places = z.topk(k, dim=-1, largest=False)
    return torch.zeros_like(z).scatter(-1, places, values.relu())


def topk_acts__only_the_values(z, k):
    """You return the k values without their places. Which latent was it? Scatter them back."""
    return z.topk(k, dim=-1).values.relu()


def topk_acts__kept_in_order(z, k):
    """You keep the *first* k latents. Which ones are the largest changes from row to row."""
    return z.relu() * (torch.arange(z.shape[-1], device=z.device) < k)


def topk_acts__instances_together(z, k):
    """You choose k latents of a row over all instances together. Instances are separate SAEs: each
    has its own k."""
    flat = z.reshape(len(z), -1)
    values, places = flat.topk(k, dim=-1)
    return torch.zeros_like(flat).scatter(-1, places, values.relu()).view_as(z)


def topk_acts__ones(z, k):
    """You mark the winners with 1. They keep their own values."""
    places = z.topk(k, dim=-1).indices
    return torch.zeros_like(z).scatter(-1, places, 1.0) * (z > 0)


def topk_acts__one_too_many(z, k):
    """You drop only what is below the (k+1)-th value: one latent too many survives."""
    values, places = z.topk(min(k + 1, z.shape[-1]), dim=-1)
    return torch.zeros_like(z).scatter(-1, places, values.relu())


def topk_acts__detached(z, k):
    """The values are right, but no gradient flows. Was something detached, or taken out of
    torch?"""
    values, places = z.detach().topk(k, dim=-1)
    return torch.zeros_like(z).scatter(-1, places, values.relu())


def _budget(z, k, rounding=round, relu=True):
    batch, inst, latent = z.shape
    flat = (z.relu() if relu else z).transpose(0, 1).reshape(inst, batch * latent)
    values, places = flat.topk(rounding(k * batch), dim=-1)
    kept = torch.zeros_like(flat).scatter(-1, places, values)
    return kept.reshape(inst, batch, latent).transpose(0, 1)


def batch_topk_acts__each_row_alone(z, k):
    """Every row keeps the same number. The budget is shared by all rows of an instance."""
    return _topk_rows(z, max(1, round(k)))


def _topk_rows(z, k):
    values, places = z.topk(min(k, z.shape[-1]), dim=-1)
    return torch.zeros_like(z).scatter(-1, places, values.relu())


def batch_topk_acts__instances_share(z, k):
    """All instances compete for one budget. They are separate SAEs: each has its own."""
    flat = z.relu().flatten()
    values, places = flat.topk(round(k * z.shape[0]) * z.shape[1])
    return torch.zeros_like(flat).scatter(0, places, values).view_as(z)


def batch_topk_acts__no_relu(z, k):
    """When the budget is large, negative values become active. Apply the ReLU."""
    return _budget(z, k, relu=False)


def batch_topk_acts__rounded_down(z, k):
    """You round k · batch down. The task says `round`."""
    return _budget(z, k, int)


def batch_topk_acts__k_rounded_first(z, k):
    """You round k before you multiply. k is an average: 1.26 · 10 rows are 13 places."""
    return _budget(z, max(1, round(k)))


def batch_topk_acts__budget_without_batch(z, k):
    """You keep k values in the whole batch. k is per row: multiply by the number of rows."""
    return _budget(z, k, lambda kb: max(1, round(kb / z.shape[0])))


def batch_topk_acts__at_least_one(z, k):
    """You keep one activation even where the budget `round(k * batch)` is 0. Then nothing is
    kept."""
    return _budget(z, k, lambda kb: max(1, round(kb)))


def batch_topk_acts__axes_mixed(z, k):
    """You reshape `(batch, inst, latent)` to `(inst, …)` directly. `reshape` keeps the order in
    memory, so rows of other instances slip in: transpose first."""
    batch, inst, latent = z.shape
    flat = z.relu().reshape(inst, batch * latent)
    values, places = flat.topk(round(k * batch), dim=-1)
    return torch.zeros_like(flat).scatter(-1, places, values).reshape(batch, inst, latent)


def batch_topk_acts__axes_mixed_in_rows(z, k):
    """You flatten `inst` and `latent` of each row, so instances compete inside a row and rows do
    not. Which two axes share a budget? Bring those together, with `inst` in front."""
    flat = z.relu().reshape(len(z), -1)
    values, places = flat.topk(round(k * len(z)), dim=-1)
    return torch.zeros_like(flat).scatter(-1, places, values).reshape(z.shape)


def batch_topk_acts__by_threshold(z, k):
    """You keep all that reach the smallest winner. When values tie, more than the budget
    survive."""
    batch, inst, latent = z.shape
    flat = z.relu().transpose(0, 1).reshape(inst, batch * latent)
    lowest = flat.topk(round(k * batch), dim=-1).values[:, -1:]
    return (flat * (flat >= lowest)).reshape(inst, batch, latent).transpose(0, 1)


def batch_topk_acts__detached(z, k):
    """The values are right, but no gradient flows. Was something detached?"""
    return _budget(z.detach(), k)


def _lowest(acts):
    return acts.masked_fill(acts <= 0, torch.inf).amin(dim=(1, 3))


def batch_topk_threshold__zeros_included(acts):
    """Your smallest activation is 0 nearly always: zeros are latents that were *not* kept. Leave
    them out."""
    return acts.amin(dim=(1, 3)).mean(dim=0)


def batch_topk_threshold__infinite(acts):
    """A batch without activations makes your threshold infinite. Leave such batches out."""
    return _lowest(acts).mean(dim=0)


def batch_topk_threshold__divided_by_all_steps(acts):
    """You divide by the number of all batches. Those without an activation must not count."""
    lowest = _lowest(acts)
    return lowest.masked_fill(lowest.isinf(), 0).mean(dim=0)


def batch_topk_threshold__smallest_of_all(acts):
    """You take the smallest over all batches. One outlier decides then: take the mean over
    batches."""
    lowest = _lowest(acts).amin(dim=0)
    return lowest.masked_fill(lowest.isinf(), 0)


def batch_topk_threshold__weak_ones_ignored(acts):
    """You leave weak activations out. Every positive one survived, however small: compare with
    0."""
    lowest = acts.masked_fill(acts < 1e-4, torch.inf).amin(dim=(1, 3))
    found = lowest.isfinite()
    return lowest.masked_fill(~found, 0).sum(dim=0) / found.sum(dim=0).clamp(min=1)


def batch_topk_threshold__over_all_instances(acts):
    """You take the smallest over all instances. Each SAE has its own threshold: keep the axis."""
    lowest = _lowest(acts).amin(dim=1)
    found = lowest.isfinite()
    mean = lowest.masked_fill(~found, 0).sum() / found.sum().clamp(min=1)
    return mean.expand(acts.shape[2]).clone()


def batch_topk_threshold__sum_over_batches(acts):
    """You add up the smallest activations. Divide by the number of batches that have one."""
    lowest = _lowest(acts)
    return lowest.masked_fill(lowest.isinf(), 0).sum(dim=0)


def batch_topk_threshold__largest(acts):
    """You average the largest activation. The threshold is where the smallest survivor lies."""
    top = acts.amax(dim=(1, 3))
    return top.sum(dim=0) / (top > 0).sum(dim=0).clamp(min=1)


def batch_topk_threshold__nan_when_silent(acts):
    """An instance that is never active gives 0/0. Return 0 for it."""
    lowest = _lowest(acts)
    found = lowest.isfinite()
    return lowest.masked_fill(~found, 0).sum(dim=0) / found.sum(dim=0)


def batch_topk_threshold__per_latent(acts):
    """You return a threshold for every latent. BatchTopK compares all latents with one another, so
    there is one per SAE."""
    lowest = acts.masked_fill(acts <= 0, torch.inf).amin(dim=1)
    found = lowest.isfinite()
    return lowest.masked_fill(~found, 0).sum(dim=0) / found.sum(dim=0).clamp(min=1)


def batch_topk_threshold__per_row(acts):
    """You take the smallest of every *row* and average over rows. BatchTopK lets the rows of a
    batch compete: how many smallest numbers does one batch have?"""
    lowest = acts.masked_fill(acts <= 0, torch.inf).amin(dim=-1)
    found = lowest.isfinite()
    return lowest.masked_fill(~found, 0).sum(dim=(0, 1)) / found.sum(dim=(0, 1)).clamp(min=1)


def batch_topk_threshold__mean_of_survivors(acts):
    """You average all survivors. Then half of them would fall below the threshold."""
    n = (acts > 0).sum(dim=(0, 1, 3))
    return acts.sum(dim=(0, 1, 3)) / n.clamp(min=1)


def _aux(error, z, dead, W_dec, k_aux, keep=True):
    masked = z.masked_fill(~dead, -torch.inf) if keep else z
    values, places = masked.topk(k_aux, dim=-1)
    acts = torch.zeros_like(z).scatter(-1, places, values.relu())
    l2 = (error - einsum(acts, W_dec, DECODE)).square().mean(-1)
    return l2 * dead.any(-1)


def dead_aux_loss__error_not_constant(h, h_hat, z, dead, W_dec, k_aux):
    """Gradient flows through the error. Then the living are asked to leave an error that the dead
    can fit: detach it."""
    return _aux(h - h_hat, z, dead, W_dec, k_aux).mean(0).sum()


def dead_aux_loss__h_not_constant(h, h_hat, z, dead, W_dec, k_aux):
    """Gradient flows through `h`. The whole error is a constant: detach the difference, not
    `h_hat` alone."""
    return _aux(h - h_hat.detach(), z, dead, W_dec, k_aux).mean(0).sum()


def dead_aux_loss__stops_at_a_living_instance(h, h_hat, z, dead, W_dec, k_aux):
    """Your loop ends at the first instance without dead latents. It contributes 0, but the next
    ones still count: `continue`, not `return` or `break`."""
    l2 = _aux((h - h_hat).detach(), z, dead, W_dec, k_aux)
    return (l2 * dead.any(-1).long().cumprod(0)).mean(0).sum()


def dead_aux_loss__summed_over_the_batch(h, h_hat, z, dead, W_dec, k_aux):
    """You sum over the batch. Then a larger batch means a larger gradient: average it."""
    return _aux((h - h_hat).detach(), z, dead, W_dec, k_aux).sum()


def dead_aux_loss__mean_over_instances(h, h_hat, z, dead, W_dec, k_aux):
    """You average over instances. They are summed, so that each trains as if it were alone."""
    return _aux((h - h_hat).detach(), z, dead, W_dec, k_aux).mean()


def dead_aux_loss__all_latents(h, h_hat, z, dead, W_dec, k_aux):
    """Living latents take part. The task is for the dead: mask the others."""
    return _aux((h - h_hat).detach(), z, dead, W_dec, k_aux, keep=False).mean(0).sum()


def dead_aux_loss__chosen_among_all(h, h_hat, z, dead, W_dec, k_aux):
    """You choose the `k_aux` largest of *all* latents and mask the living afterwards. The living
    take places that they lose again, so too few of the dead take part."""
    values, places = z.topk(k_aux, dim=-1)
    acts = torch.zeros_like(z).scatter(-1, places, values.relu()) * dead
    l2 = ((h - h_hat).detach() - einsum(acts, W_dec, DECODE)).square().mean(-1)
    return (l2 * dead.any(-1)).mean(0).sum()


def dead_aux_loss__living_latents(h, h_hat, z, dead, W_dec, k_aux):
    """Your mask is turned around: the living reconstruct the error."""
    masked = z.masked_fill(dead, -torch.inf)
    values, places = masked.topk(k_aux, dim=-1)
    acts = torch.zeros_like(z).scatter(-1, places, values.relu())
    l2 = ((h - h_hat).detach() - einsum(acts, W_dec, DECODE)).square().mean(-1)
    return (l2 * dead.any(-1)).mean(0).sum()


def dead_aux_loss__fits_h(h, h_hat, z, dead, W_dec, k_aux):
    """Your dead latents reconstruct h. The living do that already: the target is what they miss,
    h - ĥ."""
    return _aux(h.detach(), z, dead, W_dec, k_aux).mean(0).sum()


def dead_aux_loss__error_without_dead(h, h_hat, z, dead, W_dec, k_aux):
    """An instance without dead latents adds its whole error. Then nobody can lower it: it counts
    0."""
    l2 = _aux((h - h_hat).detach(), z, dead, W_dec, k_aux)
    whole = (h - h_hat).detach().square().mean(-1)
    return torch.where(dead.any(-1), l2, whole).mean(0).sum()


def dead_aux_loss__all_dead_latents(h, h_hat, z, dead, W_dec, k_aux):
    """All dead latents take part. Only the `k_aux` largest of each row do."""
    return _aux((h - h_hat).detach(), z, dead, W_dec, z.shape[-1]).mean(0).sum()


def dead_aux_loss__no_relu(h, h_hat, z, dead, W_dec, k_aux):
    """Negative pre-activations of dead latents take part. After the choice comes a ReLU."""
    values, places = z.masked_fill(~dead, -torch.inf).topk(k_aux, dim=-1)
    values = values.masked_fill(values.isinf(), 0)
    acts = torch.zeros_like(z).scatter(-1, places, values)
    l2 = ((h - h_hat).detach() - einsum(acts, W_dec, DECODE)).square().mean(-1)
    return (l2 * dead.any(-1)).mean(0).sum()


def dead_aux_loss__sign_of_the_error(h, h_hat, z, dead, W_dec, k_aux):
    """Your error is ĥ - h. The SAE's output plus ê should be h, so e = h - ĥ."""
    return _aux((h_hat - h).detach(), z, dead, W_dec, k_aux).mean(0).sum()


def dead_aux_loss__with_coefficient(h, h_hat, z, dead, W_dec, k_aux):
    """You multiply by 1/32 already. The task asks for L_aux itself; the coefficient comes later."""
    return _aux((h - h_hat).detach(), z, dead, W_dec, k_aux).mean(0).sum() / 32


# ----------------------------------------------------------------------------------- d. Matryoshka


def _nested(h, acts, W_dec, b_dec, sizes, part=lambda x, m: x[..., :m], bias=lambda k: 1.0):
    total = torch.zeros((), dtype=h.dtype, device=h.device)
    for k, m in enumerate(sizes):
        h_hat = einsum(part(acts, m), part(W_dec.mT, m).mT, DECODE) + bias(k) * b_dec
        total = total + (h - h_hat).square().mean(dim=(0, 2)).sum()
    return total


def matryoshka_loss__only_all(h, acts, W_dec, b_dec, sizes):
    """Only the largest prefix counts in your result: does each pass overwrite the total? Every size
    in `sizes` adds an error of its own."""
    return _nested(h, acts, W_dec, b_dec, [max(sizes)])


def matryoshka_loss__averaged(h, acts, W_dec, b_dec, sizes):
    """You average over sizes. The formula sums them."""
    return _nested(h, acts, W_dec, b_dec, sizes) / len(sizes)


def matryoshka_loss__last_latents(h, acts, W_dec, b_dec, sizes):
    """You take the *last* m latents. A prefix is the first m: `[..., :m]`."""
    return _nested(h, acts, W_dec, b_dec, sizes, lambda x, m: x[..., -m:])


def matryoshka_loss__without_bias(h, acts, W_dec, b_dec, sizes):
    """Your reconstructions lack `b_dec`. It is part of each of them."""
    return _nested(h, acts, W_dec, b_dec, sizes, bias=lambda k: 0.0)


def matryoshka_loss__bias_once(h, acts, W_dec, b_dec, sizes):
    """You add `b_dec` only for the first size. Every reconstruction is a whole one, with its
    bias."""
    return _nested(h, acts, W_dec, b_dec, sizes, bias=lambda k: float(k == 0))


def matryoshka_loss__one_latent_only(h, acts, W_dec, b_dec, sizes):
    """You leave the prefix's last latent out: `[..., :m - 1]` has m - 1 entries."""
    return _nested(h, acts, W_dec, b_dec, sizes, lambda x, m: x[..., : m - 1])


def matryoshka_loss__one_latent_more(h, acts, W_dec, b_dec, sizes):
    """Your prefixes have one latent too many: `[..., : m + 1]` has m + 1 entries. The sum runs over
    l < m, counted from 0."""
    return _nested(h, acts, W_dec, b_dec, sizes, lambda x, m: x[..., : m + 1])


def matryoshka_loss__disjoint_blocks(h, acts, W_dec, b_dec, sizes):
    """You give each size only the latents that are new. Prefixes are nested, like the dolls: the
    second contains the first."""
    ends = [0, *sizes]
    total = torch.zeros((), dtype=h.dtype, device=h.device)
    for a, b in itertools.pairwise(ends):
        h_hat = einsum(acts[..., a:b], W_dec[:, a:b], DECODE) + b_dec
        total = total + (h - h_hat).square().mean(dim=(0, 2)).sum()
    return total


def matryoshka_loss__first_size_only(h, acts, W_dec, b_dec, sizes):
    """Your loop ends after the first size: is `return` inside it? Every size adds its error."""
    return _nested(h, acts, W_dec, b_dec, sizes[:1])


def matryoshka_loss__mean_over_instances(h, acts, W_dec, b_dec, sizes):
    """You average over instances. They are summed, so that each trains as if it were alone."""
    return _nested(h, acts, W_dec, b_dec, sizes) / h.shape[1]


def matryoshka_loss__summed_over_width(h, acts, W_dec, b_dec, sizes):
    """You sum the error over d_in. It is a mean, as in `loss_terms`."""
    return _nested(h, acts, W_dec, b_dec, sizes) * h.shape[-1]


# ------------------------------------------------------------------------------- e. tied or untied


def dual_encoder__features_themselves(W):
    """You return the features. They read themselves with |W|², and each other, unless they are
    orthogonal and of length 1."""
    return W.clone()


def dual_encoder__unit_features(W):
    """You return unit features. Two that are not orthogonal still read each other."""
    return _unit(W, 1)


def dual_encoder__orthonormal(W):
    """You return an orthonormal basis of the features' span (QR). Is that the dual one? Compute
    E^T W and look beside the diagonal."""
    return torch.linalg.qr(W).Q


def dual_encoder__scaled_features(W):
    """You divide each feature by its squared length. Then it reads itself with 1, but the others
    still leak in."""
    return W / W.square().sum(1, keepdim=True)


def dual_encoder__transposed(W):
    """Your result has axes `(inst, feature, d_in)`: that is the pseudo-inverse itself. Return its
    transpose."""
    return torch.linalg.pinv(W)


def dual_encoder__unit_columns(W):
    """You normalise the dual vectors. Then e_i · W_i is not 1 any more."""
    return _unit(torch.linalg.pinv(W).mT, 1)


def dual_encoder__first_instance(W):
    """All instances get the dual basis of instance 0."""
    return torch.linalg.pinv(W[:1]).mT.expand_as(W).clone()


def dual_encoder__regularised(W):
    """You add something to the Gram matrix before you invert it. Then E^T W is only nearly the
    identity."""
    gram = W.mT @ W + 1e-2 * torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    return W @ torch.linalg.inv(gram)


def dual_encoder__gram_not_inverted(W):
    """You multiply by the Gram matrix. That mixes the features even more: invert it."""
    return W @ (W.mT @ W)


# ------------------------------------------------------------------------------ f. unequal features


def _value(norm, p, l1, d_in, power=3, t=None):
    t = l1 * d_in / 2 if t is None else t
    return p * (norm - t).relu() ** power / (3 * norm.clamp(min=1e-12) * d_in)


def latent_value__no_penalty(norm, probability, l1_coeff, d_in):
    """You ignore what the latent costs. With λ > 0 it saves less: t is missing."""
    return _value(norm, probability, 0.0, d_in)


def latent_value__price_forgotten(norm, probability, l1_coeff, d_in):
    """You count the squared error only. With the latent a row also pays λ a, as long as the latent
    is active."""
    t = l1_coeff * d_in / 2
    s = norm.clamp(min=t)
    saved = (s**3 - t**3) / 3 - t**2 * (s - t)
    return probability * saved / (norm.clamp(min=1e-12) * d_in)


def latent_value__frequency_forgotten(norm, probability, l1_coeff, d_in):
    """A feature that is rarely on saves rarely. The probability is missing."""
    return _value(norm, torch.ones_like(probability), l1_coeff, d_in)


def latent_value__largest_magnitude(norm, probability, l1_coeff, d_in):
    """You take the saving at the largest magnitude. Magnitudes are uniform up to s: integrate."""
    t = l1_coeff * d_in / 2
    return probability * (norm - t).relu() ** 2 / d_in


def latent_value__not_divided_by_norm(norm, probability, l1_coeff, d_in):
    """Your integral lacks the density. Magnitudes are uniform on [0, s], with density 1/s."""
    return _value(norm, probability, l1_coeff, d_in) * norm


def latent_value__negative_for_weak(norm, probability, l1_coeff, d_in):
    """A weak feature gets a negative value. Its latent would simply stay silent: the value is 0."""
    t = l1_coeff * d_in / 2
    return probability * (norm - t) ** 3 / (3 * norm.clamp(min=1e-12) * d_in)


def latent_value__width_forgotten(norm, probability, l1_coeff, d_in):
    """You don't divide the error by d_in. L2 is a mean over d_in."""
    return _value(norm, probability, l1_coeff, d_in) * d_in


def latent_value__half_forgotten(norm, probability, l1_coeff, d_in):
    """Your t is λ d_in. The derivative of the square has a factor 2: t = λ d_in / 2."""
    return _value(norm, probability, l1_coeff, d_in, t=l1_coeff * d_in)


def latent_value__integral_of_a_line(norm, probability, l1_coeff, d_in):
    """You integrate m - t. The saving is its *square*, whose integral is (s - t)³ / 3."""
    t = l1_coeff * d_in / 2
    return probability * (norm - t).relu() ** 2 / (2 * norm.clamp(min=1e-12) * d_in)


def latent_value__third_forgotten(norm, probability, l1_coeff, d_in):
    """The factor 1/3 of the integral is missing: ∫ (m - t)² dm = (s - t)³ / 3."""
    return 3 * _value(norm, probability, l1_coeff, d_in)


def latent_value__floor_too_large(norm, probability, l1_coeff, d_in):
    """Your guard changes small norms, too. Only a norm of exactly 0 is a problem: guard the
    division there, and leave 0.001 as it is."""
    t = l1_coeff * d_in / 2
    return probability * (norm - t).relu() ** 3 / (3 * norm.clamp(min=0.05) * d_in)


def latent_value__from_zero(norm, probability, l1_coeff, d_in):
    """You integrate (m - t)² from 0. Below t the latent is silent and saves nothing: start at t."""
    t = l1_coeff * d_in / 2
    whole = (norm - t) ** 3 + t**3
    return probability * whole / (3 * norm.clamp(min=1e-12) * d_in) * (norm > t)


def latent_value__mean_magnitude(norm, probability, l1_coeff, d_in):
    """You take the saving at the mean magnitude. The saving is a square, so the mean of the saving
    is larger: integrate it."""
    t = l1_coeff * d_in / 2
    return probability * (norm / 2 - t).relu() ** 2 / d_in


def latent_value__nan_at_zero(norm, probability, l1_coeff, d_in):
    """A feature of norm 0 gives 0/0. Guard the division."""
    t = l1_coeff * d_in / 2
    return probability * (norm - t).relu() ** 3 / (3 * norm * d_in)


# ------------------------------------------------------------------------------------- g. measures


def variance_unexplained__not_centred(h, h_hat):
    """You divide by the squares of h itself. Variance is measured from the mean: subtract it. Far
    from the origin your score looks far too good."""
    return (h - h_hat).square().sum(dim=(0, 2)) / h.square().sum(dim=(0, 2))


def variance_unexplained__explained(h, h_hat):
    """You return what *is* explained. A perfect copy must give 0."""
    return 1 - right.variance_unexplained(h, h_hat)


def variance_unexplained__one_number(h, h_hat):
    """You sum over instances, too. The task asks for one number per instance."""
    spread = (h - h.mean(dim=0)).square().sum()
    return (h - h_hat).square().sum() / spread


def variance_unexplained__per_dimension(h, h_hat):
    """You take a ratio per dimension and average. Dimensions with little variance then count as
    much as the others: sum first."""
    spread = (h - h.mean(dim=0)).square().sum(dim=0)
    return ((h - h_hat).square().sum(dim=0) / spread).mean(dim=-1)


def variance_unexplained__mean_over_everything(h, h_hat):
    """You subtract one mean of all numbers. Each dimension has its own, over
    the batch."""
    spread = (h - h.mean(dim=(0, 2), keepdim=True)).square().sum(dim=(0, 2))
    return (h - h_hat).square().sum(dim=(0, 2)) / spread


def variance_unexplained__residual_centred(h, h_hat):
    """You centre the error, too. Then a reconstruction that is off by a constant looks perfect."""
    error = h - h_hat
    spread = (h - h.mean(dim=0)).square().sum(dim=(0, 2))
    return (error - error.mean(dim=0)).square().sum(dim=(0, 2)) / spread


def variance_unexplained__n_minus_1(h, h_hat):
    """You divide a mean over n rows by a variance over n - 1 (torch's default). Both are sums here,
    or both are means over n: `correction=0`."""
    return (h - h_hat).square().mean(dim=0).sum(dim=-1) / h.var(dim=0).sum(dim=-1)


def variance_unexplained__not_divided(h, h_hat):
    """You return the squared error itself. It means little without the data's variance: divide."""
    return (h - h_hat).square().sum(dim=(0, 2))


def variance_unexplained__inverse(h, h_hat):
    """Your fraction is upside down: the error belongs on top."""
    return 1 / right.variance_unexplained(h, h_hat)


def variance_unexplained__standard_deviations(h, h_hat):
    """You divide lengths, not squares. Variance is a mean of squares: leave out the root."""
    spread = (h - h.mean(dim=0)).square().sum(dim=(0, 2))
    return ((h - h_hat).square().sum(dim=(0, 2)) / spread).sqrt()


def variance_unexplained__mean_of_rows(h, h_hat):
    """You take a ratio per row and average. A row near the mean has hardly any variance: sum over
    the batch first."""
    spread = (h - h.mean(dim=0)).square().sum(dim=-1)
    return ((h - h_hat).square().sum(dim=-1) / spread).mean(dim=0)


def variance_unexplained__of_the_reconstruction(h, h_hat):
    """You divide by the variance of the reconstruction. The data's variance is to be explained."""
    spread = (h_hat - h_hat.mean(dim=0)).square().sum(dim=(0, 2))
    return (h - h_hat).square().sum(dim=(0, 2)) / spread


def mean_l0__share(acts):
    """You average over latents. That is the share of active latents; L0 is their number."""
    return (acts > 0).to(acts.dtype).mean(dim=(0, 2))


def mean_l0__sum_of_sizes(acts):
    """You sum the activations. That is L1; L0 counts them."""
    return acts.sum(dim=-1).mean(dim=0)


def mean_l0__total(acts):
    """You sum over the batch. L0 is an average per row."""
    return (acts > 0).to(acts.dtype).sum(dim=(0, 2))


def mean_l0__one_number(acts):
    """You average over instances, too. The task asks for one number per instance."""
    return (acts > 0).to(acts.dtype).sum(dim=-1).mean()


def mean_l0__silent_ones(acts):
    """You count the zeros. L0 counts what is *not* zero."""
    return (acts == 0).to(acts.dtype).sum(dim=-1).mean(dim=0)


def mean_l0__above_a_threshold(acts):
    """You only count activations above 0.01. Active means not 0, however weak."""
    return (acts > 0.01).to(acts.dtype).sum(dim=-1).mean(dim=0)


def mean_l0__latents_ever_active(acts):
    """You count latents that are active in *some* row. L0 is per row: count, then average."""
    return (acts > 0).any(dim=0).to(acts.dtype).sum(dim=-1)


# --------------------------------------------------------------------- predictions


def predict_unbiased__none():
    """You expect them all to shrink. Look at what each loss punishes: only the ReLU SAE's punishes
    the size of the activation that is decoded."""
    return "none"


def predict_unbiased__topk_only():
    """TopK and BatchTopK have no penalty, right. But JumpReLU's counts active latents whatever
    their size, and the Gated SAE's acts on the gate, not on the strength."""
    return "TopK and BatchTopK only"


def predict_unbiased__gated_shrinks():
    """The Gated SAE's penalty does shrink ReLU(π). But π only decides *whether*; the strength that
    is decoded comes from another path, and nothing punishes that."""
    return "all but Gated"


def predict_child__honest():
    """That needs two active latents on every child row, and each pays L1. If the
    child's latent brings a part of its parent, the two together pay less."""
    return "the child's direction"


def predict_child__minus():
    """When the child is on, so is the parent. A latent that takes the parent away would make the
    reconstruction worse."""
    return "the child minus its parent"


def predict_tilt__eighteen():
    """72° between neighbours, and a dual basis would lean by 90° - 72° = 18°. But that is for two
    features. Here one stands on either side: leaning away from one is leaning towards the other."""
    return "about 18°"


def predict_tilt__half_way():
    """That is far: past the middle (36°) between two features a latent reads its neighbour more
    than its own feature."""
    return "about 45°"


def predict_found__important():
    """Importance is a weight in the *toy model's* loss. It decides what is written into h. The SAE
    sees only h, and there every row counts alike."""
    return "the important ones"


def predict_found__long():
    """A long direction helps: v grows about as s². But norms of represented features differ little,
    frequencies by a factor of twenty; and the longest features are rare ones."""
    return "the long ones"


def predict_peak__rises():
    """Reconstruction and recovery are two things. Without pressure to be sparse there are many
    dictionaries that reconstruct well, and most don't point at features."""
    return "it rises, too"


def predict_peak__same():
    """With nearly no penalty nothing makes a latent stand for one feature, and with too much of it
    features are given up. Both ends hurt."""
    return "it stays the same"
