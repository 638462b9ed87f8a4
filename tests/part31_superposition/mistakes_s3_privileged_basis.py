"""Wrong answers that learners of 3.1.3 give, each with what a tutor would say."""

import torch
from einops import einsum

INTO = "batch inst feature, inst hidden feature -> batch inst hidden"
BACK = "batch inst hidden, inst hidden feature -> batch inst feature"
OUT = "batch inst hidden, inst feature hidden -> batch inst feature"


# ------------------------------------------------------------------------------- a1. neuron_forward


def neuron_forward__no_hidden_relu(x, W, b):
    """There is no ReLU on your hidden layer: this is the model of 3.1.1. What makes a hidden unit a
    neuron?"""
    return torch.relu(einsum(einsum(x, W, INTO), W, BACK) + b)


def neuron_forward__no_output_relu(x, W, b):
    """Your output can be negative. The hidden ReLU does not replace the one at the end."""
    return einsum(einsum(x, W, INTO).relu(), W, BACK) + b


def neuron_forward__bias_after_relu(x, W, b):
    """You add the bias after the last ReLU. In the formula it is inside."""
    return torch.relu(einsum(einsum(x, W, INTO).relu(), W, BACK)) + b


def neuron_forward__no_bias(x, W, b):
    """The bias does not appear in your output. Try x = 0: what should come out?"""
    return torch.relu(einsum(einsum(x, W, INTO).relu(), W, BACK))


def neuron_forward__bias_subtracted(x, W, b):
    """You subtract the bias. The formula adds it."""
    return torch.relu(einsum(einsum(x, W, INTO).relu(), W, BACK) - b)


def neuron_forward__first_instance_for_all(x, W, b):
    """Every instance uses the weights of instance 0. `inst` must stay an axis in both products."""
    h = einsum(x, W[0], "batch inst feature, hidden feature -> batch inst hidden").relu()
    return torch.relu(
        einsum(h, W[0], "batch inst hidden, hidden feature -> batch inst feature") + b
    )


def neuron_forward__detached_hidden(x, W, b):
    """No gradient flows through your hidden layer. W is used twice, and it learns from both uses:
    what cuts the graph between them?"""
    return torch.relu(einsum(einsum(x, W, INTO).relu().detach(), W, BACK) + b)


def neuron_forward__absolute_value_as_activation(x, W, b):
    """Your hidden layer takes absolute values. A ReLU makes negative numbers zero; it does not turn
    them round."""
    return torch.relu(einsum(einsum(x, W, INTO).abs(), W, BACK) + b)


def neuron_forward__weights_rectified(x, W, b):
    """Your ReLU acts on W, not on Wx. A neuron adds up all its inputs first, negative weights
    included, and then cuts off."""
    return torch.relu(einsum(einsum(x, W.relu(), INTO), W, BACK) + b)


def neuron_forward__bias_subtracted_no_output_relu(x, W, b):
    """You subtract the bias and leave out the last ReLU. The output is ReLU(W^T h + b)."""
    return einsum(einsum(x, W, INTO).relu(), W, BACK) - b


def neuron_forward__leaky(x, W, b):
    """Your hidden layer lets a little of the negative numbers through (a leaky ReLU). A ReLU makes
    them exactly zero."""
    h = torch.nn.functional.leaky_relu(einsum(x, W, INTO))
    return torch.relu(einsum(h, W, BACK) + b)


def neuron_forward__gelu(x, W, b):
    """Your hidden layer has a GELU. The model of TMS has a ReLU: zero below zero, exactly."""
    h = torch.nn.functional.gelu(einsum(x, W, INTO))
    return torch.relu(einsum(h, W, BACK) + b)


def neuron_forward__output_weights_rectified(x, W, b):
    """Your ReLU acts on W in the second step. Negative weights count there, too: the ReLU comes at
    the very end."""
    return torch.relu(einsum(einsum(x, W, INTO).relu(), W.relu(), BACK) + b)


def neuron_forward__sigmoid(x, W, b):
    """Your hidden layer has a sigmoid. The model of TMS has a ReLU: zero below zero, and unchanged
    above."""
    return torch.relu(einsum(einsum(x, W, INTO).sigmoid(), W, BACK) + b)


def neuron_forward__relu_before_the_bias_too(x, W, b):
    """You apply a ReLU before you add the bias, and one after it. Only the last step is a ReLU: a
    negative sum may be lifted by the bias."""
    return torch.relu(einsum(einsum(x, W, INTO).relu(), W, BACK).relu() + b)


# -------------------------------------------------------------------------- a2. basis_change_effect


def _forward(x, W, b):
    return torch.relu(einsum(einsum(x, W, INTO).relu(), W, BACK) + b)


def basis_change_effect__transposed(x, W, b, T):
    """You use the transpose of T. For a rotation that is the rotation backwards; row k of TW is the
    sum over l of T[k, l] W[l]."""
    return (_forward(x, T.mT @ W, b) - _forward(x, W, b)).abs().amax(dim=(0, 2))


def basis_change_effect__mean(x, W, b, T):
    """You average the changes. Then many rows without features hide a change that is there: look
    for the largest."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).abs().mean(dim=(0, 2))


def basis_change_effect__without_sign(x, W, b, T):
    """You take the largest change, but an output that falls has changed too. Take absolute values
    before the maximum."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).amax(dim=(0, 2))


def basis_change_effect__one_number_for_all(x, W, b, T):
    """You return one number for all instances. Each instance has its own T and its own effect:
    which two axes should disappear?"""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).abs().amax()


def basis_change_effect__squared(x, W, b, T):
    """You return a square. The largest absolute change was asked for, in the units of the
    output."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).square().amax(dim=(0, 2))


def basis_change_effect__norm(x, W, b, T):
    """You return a norm over all entries. It grows with the number of rows: twice the batch, and
    the effect seems larger."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).norm(dim=(0, 2))


def basis_change_effect__first_T_for_all(x, W, b, T):
    """You use the T of instance 0 for every instance."""
    return (_forward(x, T[0] @ W, b) - _forward(x, W, b)).abs().amax(dim=(0, 2))


def basis_change_effect__against_the_input(x, W, b, T):
    """You compare the new output with x. A model need not reconstruct x well to be unchanged:
    compare with its old output."""
    return (_forward(x, T @ W, b) - x).abs().amax(dim=(0, 2))


def basis_change_effect__keeps_features(x, W, b, T):
    """You take the largest over the batch only, and keep the features. The largest over both was
    asked for: one number for each instance."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).abs().amax(dim=0)


def basis_change_effect__one_number_per_row(x, W, b, T):
    """You keep the axis `batch`. The result has one number for each instance: take the largest over
    `batch` and `feature`, axes 0 and 2."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).abs().amax(dim=(1, 2))


def basis_change_effect__difference_of_maxima(x, W, b, T):
    """You compare the largest outputs of the two models. Two models can have the same largest
    output and still differ everywhere: subtract entry by entry, then look for the largest."""
    return (_forward(x, T @ W, b).amax(dim=(0, 2)) - _forward(x, W, b).amax(dim=(0, 2))).abs()


def basis_change_effect__sign_dropped_too_late(x, W, b, T):
    """You take the maximum before the absolute value. Then an output that falls by 5 hides behind
    one that rises by 1: absolute values first."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).amax(dim=(0, 2)).abs()


def basis_change_effect__relative(x, W, b, T):
    """You divide by the largest output. The change itself was asked for, in the units of the
    output."""
    before = _forward(x, W, b)
    return (_forward(x, T @ W, b) - before).abs().amax(dim=(0, 2)) / before.abs().amax(dim=(0, 2))


def basis_change_effect__changed_twice(x, W, b, T):
    """You multiply by T twice. W becomes TW, once."""
    return (_forward(x, T @ T @ W, b) - _forward(x, W, b)).abs().amax(dim=(0, 2))


def basis_change_effect__sum(x, W, b, T):
    """You add up all changes. The sum grows with the number of rows: look for the largest."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).abs().sum(dim=(0, 2))


def basis_change_effect__mean_over_features(x, W, b, T):
    """You average over the features before you look for the largest. One output that changes a lot
    then hides behind others."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).abs().mean(dim=2).amax(dim=0)


def basis_change_effect__mean_over_the_batch(x, W, b, T):
    """You average over the batch before you look for the largest. One row that changes a lot then
    hides behind rows that do not."""
    return (_forward(x, T @ W, b) - _forward(x, W, b)).abs().mean(dim=0).amax(dim=-1)


# -------------------------------------------------------------------------------- b1. stack_bottoms


def stack_bottoms__where_it_ends(W):
    """You return where a rectangle ends. `cumsum` includes the current weight: take it off
    again."""
    up, down = W.clamp(min=0), W.clamp(max=0)
    return torch.where(W > 0, up.cumsum(-1), down.cumsum(-1))


def stack_bottoms__one_pile_for_both_signs(W):
    """You have one pile for both signs. Then a negative weight lowers the pile of the positive
    ones, and rectangles overlap."""
    return W.cumsum(-1) - W


def stack_bottoms__along_neurons(W):
    """You pile up along the wrong axis: one neuron's rectangles begin where another neuron's end.
    Each neuron has a pile of its own."""
    up, down = W.clamp(min=0), W.clamp(max=0)
    return torch.where(W > 0, up.cumsum(1) - up, down.cumsum(1) - down)


def stack_bottoms__absolute_pile(W):
    """You pile up absolute values, so that negative weights also point up. They belong below the
    axis."""
    return W.abs().cumsum(-1) - W.abs()


def stack_bottoms__lower_edges(W):
    """You return the lower edge of every rectangle. For a negative weight that is the far end:
    `bottom + w` would reach beyond the pile."""
    up, down = W.clamp(min=0), W.clamp(max=0)
    return torch.where(W > 0, up.cumsum(-1) - up, down.cumsum(-1))


def stack_bottoms__from_the_last_feature(W):
    """Your first feature lies on top of the pile. Features pile up in their order: the first one
    touches the axis."""
    up, down = W.clamp(min=0), W.clamp(max=0)
    rest = up.sum(-1, keepdim=True) - up.cumsum(-1), down.sum(-1, keepdim=True) - down.cumsum(-1)
    return torch.where(W > 0, *rest)


def stack_bottoms__negative_pile_hangs_from_the_top(W):
    """Your negative pile begins at the top of the positive one. Both piles begin at 0."""
    up, down = W.clamp(min=0), W.clamp(max=0)
    top = up.sum(-1, keepdim=True)
    return torch.where(W > 0, up.cumsum(-1) - up, top + down.cumsum(-1) - down)


def stack_bottoms__centres(W):
    """You return the middle of each rectangle. It should be the end that is nearer to the axis."""
    up, down = W.clamp(min=0), W.clamp(max=0)
    return torch.where(W > 0, up.cumsum(-1) - up, down.cumsum(-1) - down) + W / 2


def stack_bottoms__plain_cumulative_sum(W):
    """You return the cumulative sum of all weights. It includes the current weight, and it mixes
    the signs: each sign has a pile of its own, and a rectangle begins where the one before it
    ended."""
    return W.cumsum(-1)


def stack_bottoms__piles_share_their_height(W):
    """A negative weight begins as far below the axis as all weights before it are high, positive
    ones included. Each pile counts the weights of its own sign only."""
    return (W.abs().cumsum(-1) - W.abs()) * W.sign()


def stack_bottoms__negative_ones_on_the_positive_pile(W):
    """Your negative weights begin on top of the positive pile. They have a pile of their own, down
    from 0."""
    up = W.clamp(min=0)
    return up.cumsum(-1) - up


def stack_bottoms__piles_exchanged(W):
    """Your piles are exchanged: positive weights stand on the negative pile. Which case of
    `torch.where` comes first?"""
    up, down = W.clamp(min=0), W.clamp(max=0)
    return torch.where(W > 0, down.cumsum(-1) - down, up.cumsum(-1) - up)


def stack_bottoms__one_rectangle_before(W):
    """You only look at the weight just before. A rectangle lies on the whole pile: add up all
    weights of its sign that come before it."""
    before = torch.nn.functional.pad(W, (1, 0))[..., :-1]
    return torch.where(W > 0, before.clamp(min=0), before.clamp(max=0))


# ------------------------------------------------------------------------------ b2. monosemanticity


def monosemanticity__nan_when_dead(gain):
    """A dead neuron gives NaN, and one NaN spoils every mean. What is 0 / 0 here, and what should
    it be?"""
    return gain.amax(-1) / gain.sum(-1)


def monosemanticity__dead_is_pure(gain):
    """You give a dead neuron the score 1. It serves no feature at all, so it is not pure: 0."""
    return (gain.amax(-1) / gain.sum(-1)).nan_to_num(nan=1.0)


def monosemanticity__squares_again(gain):
    """You square the gains before you compare them. A gain is already a square of weights: take
    shares of it as it is."""
    return (gain.square().amax(-1) / gain.square().sum(-1)).nan_to_num(nan=0.0)


def monosemanticity__over_neurons(gain):
    """You take shares over the neurons: which part of a feature one neuron carries. The question is
    which part of a neuron one feature has."""
    return (gain.amax(1) / gain.sum(1)).nan_to_num(nan=0.0)


def monosemanticity__not_normalised(gain):
    """You return the largest gain itself. It grows when the neuron is scaled up. Divide by the
    total."""
    return gain.amax(-1)


def monosemanticity__mean_of_features(gain):
    """You divide by the mean instead of the sum, so that the score reaches the number of features.
    It should reach 1."""
    return (gain.amax(-1) / gain.mean(-1)).nan_to_num(nan=0.0)


def monosemanticity__euclidean(gain):
    """You divide by the Euclidean norm. For n equal gains that gives 1 over the root of n, not 1 /
    n."""
    return (gain.amax(-1) / gain.norm(dim=-1)).nan_to_num(nan=0.0)


def monosemanticity__first_feature(gain):
    """You take the share of feature 0. The neuron may serve any feature: which is its largest?"""
    return (gain[..., 0] / gain.sum(-1)).nan_to_num(nan=0.0)


def monosemanticity__constant_in_denominator(gain):
    """A constant in the denominator changes the score of a neuron with small gains. Divide as it
    is, and treat 0 / 0 as a case of its own."""
    return gain.amax(-1) / (gain.sum(-1) + 1e-8)


def monosemanticity__larger_constant_in_denominator(gain):
    """A constant in the denominator changes the score of a neuron with small gains. Divide as it
    is, and treat 0 / 0 as a case of its own."""
    return gain.amax(-1) / (gain.sum(-1) + 1e-6)


def monosemanticity__floor_in_denominator(gain):
    """A floor under the denominator changes the score of a neuron whose total gain is below it.
    Only a total of exactly 0 is dead."""
    return gain.amax(-1) / gain.sum(-1).clamp(min=1e-6)


def monosemanticity__all_shares(gain):
    """You return the share of every feature. The score of a neuron is the largest of them."""
    return (gain / gain.sum(-1, keepdim=True)).nan_to_num(nan=0.0)


def monosemanticity__softmax(gain):
    """You take shares of exponentials (a softmax). Shares of the gains themselves were asked
    for."""
    return gain.softmax(-1).amax(-1)


def monosemanticity__against_the_second(gain):
    """You compare the largest gain with the second one only. All gains of the neuron are below the
    fraction bar."""
    two = gain.topk(2, dim=-1).values
    return (two[..., 0] / two.sum(-1)).nan_to_num(nan=0.0)


def monosemanticity__total_of_everything(gain):
    """You divide by the sum over all neurons and instances. Each neuron has its own total: sum over
    the last axis."""
    return (gain.amax(-1) / gain.sum()).nan_to_num(nan=0.0)


def monosemanticity__largest_of_all(gain):
    """Your largest gain is the largest of *all* neurons. Each neuron has its own: take the maximum
    over the last axis."""
    return (gain.max() / gain.sum(-1)).nan_to_num(nan=0.0, posinf=0.0)


def monosemanticity__smallest_feature(gain):
    """You take the share of the smallest feature. A monosemantic neuron has one *large* gain."""
    return (gain.amin(-1) / gain.sum(-1)).nan_to_num(nan=0.0)


# ------------------------------------------------------------------------ b3. monosemantic_fraction


def _score(gain):
    return (gain.amax(-1) / gain.sum(-1)).nan_to_num(nan=0.0)


def monosemantic_fraction__dead_ones_count(gain, threshold=0.9, alive=0.1):
    """You divide by the number of all neurons. Dead ones count neither above nor below the fraction
    bar."""
    counted = gain.sum(-1) >= alive
    return (counted & (_score(gain) >= threshold)).float().mean(-1)


def monosemantic_fraction__strict_threshold(gain, threshold=0.9, alive=0.1):
    """A score exactly at the threshold is enough: `>=`, not `>`."""
    counted = gain.sum(-1) >= alive
    return (counted & (_score(gain) > threshold)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__strict_alive(gain, threshold=0.9, alive=0.1):
    """A total gain exactly at `alive` is enough: `>=`, not `>`."""
    counted = gain.sum(-1) > alive
    return (counted & (_score(gain) >= threshold)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__nan_without_neurons(gain, threshold=0.9, alive=0.1):
    """Where no neuron is alive you return NaN. Nothing is monosemantic there: 0."""
    counted = gain.sum(-1) >= alive
    return (counted & (_score(gain) >= threshold)).sum(-1) / counted.sum(-1)


def monosemantic_fraction__count(gain, threshold=0.9, alive=0.1):
    """You return a count. Divide by the number of live neurons."""
    return ((gain.sum(-1) >= alive) & (_score(gain) >= threshold)).sum(-1).float()


def monosemantic_fraction__dead_ones_above_the_bar(gain, threshold=0.9, alive=0.1):
    """You leave nearly dead neurons out below the bar, but not above it. A neuron with a tiny gain
    can have score 1: it counts in neither place."""
    counted = gain.sum(-1) >= alive
    return (_score(gain) >= threshold).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__alive_by_the_largest(gain, threshold=0.9, alive=0.1):
    """You ask whether the largest gain is at least `alive`. A neuron that serves many features a
    little is alive as well: it is the total that counts."""
    counted = gain.amax(-1) >= alive
    return (counted & (_score(gain) >= threshold)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__fixed_bounds(gain, threshold=0.9, alive=0.1):
    """You use 0.9 and 0.1 whatever the caller asks for. Use the arguments."""
    counted = gain.sum(-1) >= 0.1
    return (counted & (_score(gain) >= 0.9)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__all_instances_together(gain, threshold=0.9, alive=0.1):
    """You return one fraction for all instances. Each has its own: sum the masks over the neurons
    only."""
    counted = gain.sum(-1) >= alive
    return (counted & (_score(gain) >= threshold)).sum() / counted.sum().clamp(min=1)


def monosemantic_fraction__alive_above_zero(gain, threshold=0.9, alive=0.1):
    """You count every neuron whose gain is not 0. A neuron is alive when its total gain is at least
    `alive`."""
    counted = gain.sum(-1) > 0
    return (counted & (_score(gain) >= threshold)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__alive_by_the_mean(gain, threshold=0.9, alive=0.1):
    """You compare the mean gain with `alive`. It is the total gain that counts."""
    counted = gain.mean(-1) >= alive
    return (counted & (_score(gain) >= threshold)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__of_polysemantic_ones(gain, threshold=0.9, alive=0.1):
    """You return the fraction of polysemantic neurons. A score of at least the threshold means
    monosemantic."""
    counted = gain.sum(-1) >= alive
    return (counted & (_score(gain) < threshold)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__of_features(gain, threshold=0.9, alive=0.1):
    """You sum over the neurons and count features. A fraction of the neurons was asked for: gains
    are added up over the last axis."""
    total = gain.sum(1)
    counted = total >= alive
    score = (gain.amax(1) / total).nan_to_num(nan=0.0)
    return (counted & (score >= threshold)).sum(-1) / counted.sum(-1).clamp(min=1)


def monosemantic_fraction__bounds_exchanged(gain, threshold=0.9, alive=0.1):
    """Your two bounds are exchanged: `alive` is for the total gain, `threshold` for the score."""
    counted = gain.sum(-1) >= threshold
    return (counted & (_score(gain) >= alive)).sum(-1) / counted.sum(-1).clamp(min=1)


# ---------------------------------------------------------------------------------- d1. abs_forward


def abs_forward__no_hidden_relu(x, W1, W2, b):
    """Without a ReLU on the hidden layer the network is linear up to its output, and a linear map
    cannot fold x at 0."""
    return torch.relu(einsum(einsum(x, W1, INTO), W2, OUT) + b)


def abs_forward__no_output_relu(x, W1, W2, b):
    """Your output can be negative. The last step is a ReLU as well."""
    return einsum(einsum(x, W1, INTO).relu(), W2, OUT) + b


def abs_forward__tied(x, W1, W2, b):
    """You read back with W1. Here input and output have separate matrices: W2 does not appear in
    your result."""
    return torch.relu(einsum(einsum(x, W1, INTO).relu(), W1, BACK) + b)


def abs_forward__bias_after_relu(x, W1, W2, b):
    """You add the bias after the last ReLU. In the formula it is inside."""
    return torch.relu(einsum(einsum(x, W1, INTO).relu(), W2, OUT)) + b


def abs_forward__no_bias(x, W1, W2, b):
    """The bias does not appear in your output. Try x = 0: what should come out?"""
    return torch.relu(einsum(einsum(x, W1, INTO).relu(), W2, OUT))


def abs_forward__first_instance_for_all(x, W1, W2, b):
    """Every instance uses the weights of instance 0. `inst` must stay an axis in both products."""
    h = einsum(x, W1[0], "batch inst feature, hidden feature -> batch inst hidden").relu()
    return torch.relu(
        einsum(h, W2[0], "batch inst hidden, feature hidden -> batch inst feature") + b
    )


def abs_forward__absolute_value_as_activation(x, W1, W2, b):
    """Your hidden layer takes absolute values. Then the task would be solved for it. The point is
    to build |x| from ReLUs."""
    return torch.relu(einsum(einsum(x, W1, INTO).abs(), W2, OUT) + b)


def abs_forward__absolute_value_at_the_end(x, W1, W2, b):
    """Your last step is an absolute value. It is a ReLU: negative outputs become zero."""
    return (einsum(einsum(x, W1, INTO).relu(), W2, OUT) + b).abs()


def abs_forward__the_answer_itself(x, W1, W2, b):
    """You return |x|. That is what the network should learn to say; write what this network says,
    with its weights."""
    return x.abs()


def abs_forward__bias_subtracted(x, W1, W2, b):
    """You subtract the bias. The formula adds it."""
    return torch.relu(einsum(einsum(x, W1, INTO).relu(), W2, OUT) - b)


def abs_forward__matrices_exchanged(x, W1, W2, b):
    """You read with W2 and write with W1. W1 comes first: it has the axes inst hidden feature."""
    into = einsum(x, W2, "batch inst feature, inst feature hidden -> batch inst hidden").relu()
    return torch.relu(einsum(into, W1, BACK) + b)


def abs_forward__only_the_second_matrix(x, W1, W2, b):
    """You read with W2 as well. Input and output have separate matrices: W1 does not appear in your
    result."""
    into = einsum(x, W2, "batch inst feature, inst feature hidden -> batch inst hidden").relu()
    return torch.relu(einsum(into, W2, OUT) + b)


def abs_forward__size_of_the_input(x, W1, W2, b):
    """You take |x| before the first layer. Then the task is solved before the network begins: it
    gets x as it is."""
    return torch.relu(einsum(einsum(x.abs(), W1, INTO).relu(), W2, OUT) + b)


# ------------------------------------------------------------------------------ d2. signed_features


def _u(size, gen):
    return torch.rand(size, generator=gen, device=gen.device)


def signed_features__positive_only(batch, inst, feature, probability, gen):
    """Your features are never negative: that is the law of 3.1.1. Here they are uniform on [-1,
    1]."""
    size = (batch, inst, feature)
    value = _u(size, gen)
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__signs_only(batch, inst, feature, probability, gen):
    """Your active features are -1 or +1. The size is random too: uniform on [-1, 1]."""
    size = (batch, inst, feature)
    value = (2 * _u(size, gen) - 1).sign()
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__one_draw_for_both(batch, inst, feature, probability, gen):
    """You use one uniform number both to decide whether a feature is on and as its value. Then rare
    features sit near -1, because only small numbers pass."""
    u = _u((batch, inst, feature), gen)
    return torch.where(u < probability, 2 * u - 1, 0.0)


def signed_features__normal_values(batch, inst, feature, probability, gen):
    """Your values are normal. The law is uniform, and no value lies outside [-1, 1]."""
    size = (batch, inst, feature)
    value = torch.randn(size, generator=gen, device=gen.device)
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__half_the_range(batch, inst, feature, probability, gen):
    """Your values lie in [-0.5, 0.5]. You moved the interval, but did not stretch it."""
    size = (batch, inst, feature)
    value = _u(size, gen) - 0.5
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__off_becomes_minus_one(batch, inst, feature, probability, gen):
    """A feature that is off is -1 in your batch: you stretch and shift the zeros, too. When it is
    off it is 0: which numbers should be stretched?"""
    size = (batch, inst, feature)
    value = _u(size, gen)
    return 2 * torch.where(_u(size, gen) < probability, value, 0.0) - 1


def signed_features__probability_is_sparsity(batch, inst, feature, probability, gen):
    """Your features are *off* with the given probability. p is how often they are on; TMS's
    sparsity is 1 - p."""
    size = (batch, inst, feature)
    value = 2 * _u(size, gen) - 1
    return torch.where(_u(size, gen) > probability, value, 0.0)


def signed_features__probability_per_sign(batch, inst, feature, probability, gen):
    """You draw a positive and a negative part with probability p each, so a feature is on too
    often, and both parts may add up. One event with probability p decides."""
    size = (batch, inst, feature)
    plus, minus = _u(size, gen), _u(size, gen)
    up, down = _u(size, gen) < probability, _u(size, gen) < probability
    return torch.where(up, plus, 0.0) - torch.where(down, minus, 0.0)


def signed_features__one_sign_per_row(batch, inst, feature, probability, gen):
    """All features of a row have the same sign. Each entry needs a sign of its own."""
    size = (batch, inst, feature)
    value = _u(size, gen)
    sign = torch.where(_u((batch, 1, 1), gen) < 0.5, -1.0, 1.0)
    return torch.where(_u(size, gen) < probability, sign * value, 0.0)


def signed_features__one_sign_per_feature(batch, inst, feature, probability, gen):
    """A feature has the same sign in all rows of your batch. Each entry needs a sign of its
    own."""
    size = (batch, inst, feature)
    value, active = _u(size, gen), _u(size, gen) < probability
    sign = torch.where(_u((inst, feature), gen) < 0.5, 1.0, -1.0)
    return torch.where(active, sign * value, 0.0)


def signed_features__one_size_for_all_features(batch, inst, feature, probability, gen):
    """All features of a row have the same size. Draw one value for each entry."""
    size = (batch, inst, feature)
    value = _u((batch, inst, 1), gen) * torch.where(_u(size, gen) < 0.5, -1.0, 1.0)
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__one_mask_for_all_rows(batch, inst, feature, probability, gen):
    """You decide once for the whole batch which features are on. Every row needs its own
    decision."""
    value = 2 * _u((batch, inst, feature), gen) - 1
    return torch.where(_u((1, inst, feature), gen) < probability, value, 0.0)


def signed_features__global_randomness(batch, inst, feature, probability, gen):
    """Your numbers do not come from `gen`. Then nobody can repeat a run: hand `generator=gen` to
    every draw."""
    size = (batch, inst, feature)
    value = 2 * torch.rand(size, device=gen.device) - 1
    return torch.where(torch.rand(size, device=gen.device) < probability, value, 0.0)


def signed_features__values_shared_by_instances(batch, inst, feature, probability, gen):
    """All instances of a row get the same values: the axis `inst` of your draw has size 1. Draw one
    value for each entry."""
    value = 2 * _u((batch, 1, feature), gen) - 1
    return torch.where(_u((batch, inst, feature), gen) < probability, value, 0.0)


def signed_features__switches_shared_by_instances(batch, inst, feature, probability, gen):
    """All instances of a row are switched on by the same draw. Each entry needs a decision of its
    own."""
    value = 2 * _u((batch, inst, feature), gen) - 1
    return torch.where(_u((batch, 1, feature), gen) < probability, value, 0.0)


def signed_features__difference_of_two(batch, inst, feature, probability, gen):
    """You subtract two uniform numbers. The result lies in [-1, 1], but near 0 more often than near
    the ends: stretch and shift a single one."""
    size = (batch, inst, feature)
    value = _u(size, gen) - _u(size, gen)
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__sign_may_be_zero(batch, inst, feature, probability, gen):
    """You draw the sign from -1, 0 and 1. Where it is 0 an active feature vanishes, so a third is
    missing: `torch.randint` leaves out its upper end only."""
    size = (batch, inst, feature)
    sign = torch.randint(-1, 2, size, generator=gen, device=gen.device)
    return torch.where(_u(size, gen) < probability, sign * _u(size, gen), 0.0)


def signed_features__negative_only(batch, inst, feature, probability, gen):
    """Your features are never positive: `2 * u - 2` lies between -2 and 0. Stretch by 2, then shift
    by 1."""
    size = (batch, inst, feature)
    value = 2 * _u(size, gen) - 2
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__large_ones_too_often(batch, inst, feature, probability, gen):
    """The sizes of your values are not uniform: you took the root of a uniform number, and roots
    are larger. Use the number itself."""
    size = (batch, inst, feature)
    value = _u(size, gen).sqrt() * torch.where(_u(size, gen) < 0.5, -1.0, 1.0)
    return torch.where(_u(size, gen) < probability, value, 0.0)


def signed_features__values_times_probability(batch, inst, feature, probability, gen):
    """You multiply the values by p. Then every feature is always on, a little. It should be off
    most of the time, and at full size when it is on."""
    return (2 * _u((batch, inst, feature), gen) - 1) * probability


def signed_features__value_compared_with_probability(batch, inst, feature, probability, gen):
    """You compare the signed value itself with p. Whether a feature is on needs a uniform number
    between 0 and 1 of its own."""
    value = 2 * _u((batch, inst, feature), gen) - 1
    return torch.where(value < probability, value, 0.0)


# ----------------------------------------------------------------------------- d3. two_neurons_each


def two_neurons_each__positive_side_twice(feature):
    """Both neurons of a feature read x with +1. Then nobody sees a negative x."""
    eye = torch.eye(feature)
    return (
        torch.cat([eye, eye])[None],
        torch.cat([eye, eye], 1)[None] / 2,
        torch.zeros(1, feature),
    )


def two_neurons_each__subtracted(feature):
    """You subtract the negative side: ReLU(x) - ReLU(-x) is x again. Add it."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye])[None], torch.cat([eye, -eye], 1)[None], torch.zeros(1, feature)


def two_neurons_each__averaged(feature):
    """You average both sides. Only one of them is on at a time, so half of |x| is missing."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye])[None], torch.cat([eye, eye], 1)[None] / 2, torch.zeros(1, feature)


def two_neurons_each__wrong_partners(feature):
    """Your input weights have all positive neurons first, your output weights expect the two
    neurons of a feature side by side. Some outputs listen to another feature."""
    eye = torch.eye(feature)
    out = eye.repeat_interleave(2, dim=1)
    return torch.cat([eye, -eye])[None], out[None], torch.zeros(1, feature)


def two_neurons_each__no_instance_axis(feature):
    """Your weights have no axis `inst`. They are one instance: a leading axis of size 1."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye]), torch.cat([eye, eye], 1), torch.zeros(feature)


def two_neurons_each__bias_of_one(feature):
    """Your bias is not 0. Then the output is wrong even for x = 0."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye])[None], torch.cat([eye, eye], 1)[None], torch.ones(1, feature)


def two_neurons_each__everybody_listens(feature):
    """Every output listens to every neuron. Output i should only hear the two neurons of feature
    i."""
    eye = torch.eye(feature)
    return (
        torch.cat([eye, -eye])[None],
        torch.ones(1, feature, 2 * feature),
        torch.zeros(1, feature),
    )


def two_neurons_each__one_neuron_per_feature(feature):
    """You have one neuron per feature. It can only see one side of x: how many are needed for
    |x|?"""
    eye = torch.eye(feature)[None]
    return eye, eye.clone(), torch.zeros(1, feature)


def two_neurons_each__partners_side_by_side_in_W1(feature):
    """Your input weights have the two neurons of a feature side by side, your output weights expect
    all positive neurons first. Some outputs listen to another feature."""
    eye = torch.eye(feature)
    W1 = torch.stack([eye, -eye], dim=1).reshape(2 * feature, feature)
    return W1[None], torch.cat([eye, eye], 1)[None], torch.zeros(1, feature)


def two_neurons_each__shapes_exchanged(feature):
    """Your two matrices have each other's shape. W1 has a row for each neuron, W2 has a row for
    each feature."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye], 1)[None], torch.cat([eye, eye])[None], torch.zeros(1, feature)


def two_neurons_each__bias_without_instance(feature):
    """Your bias has no axis `inst`. Its shape is (1, feature): one instance."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye])[None], torch.cat([eye, eye], 1)[None], torch.zeros(feature)


def two_neurons_each__writes_downwards(feature):
    """Your output weights are negative, so the network says ReLU(-|x|), which is 0. Add the two
    sides."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye])[None], -torch.cat([eye, eye], 1)[None], torch.zeros(1, feature)


def two_neurons_each__double_precision(feature):
    """Your weights are float64. Float32 was asked for: that is what `torch.eye` gives by itself."""
    eye = torch.eye(feature, dtype=torch.float64)
    weights = torch.cat([eye, -eye])[None], torch.cat([eye, eye], 1)[None]
    return *weights, torch.zeros(1, feature, dtype=torch.float64)


def two_neurons_each__reads_with_two(feature):
    """Your input weights are 2 and the output weights 1, so the network says 2 |x|. What is taken
    in twice must be written with a half."""
    eye = torch.eye(feature)
    return 2 * torch.cat([eye, -eye])[None], torch.cat([eye, eye], 1)[None], torch.zeros(1, feature)


def two_neurons_each__positive_side_subtracted(feature):
    """You subtract the positive side: the network says ReLU(-x). Add both sides."""
    eye = torch.eye(feature)
    return torch.cat([eye, -eye])[None], torch.cat([-eye, eye], 1)[None], torch.zeros(1, feature)


# ------------------------------------------------------------------------------ d4. rescale_neurons


def _scale(W1):
    largest = W1.abs().amax(-1)
    return torch.where(largest > 0, largest, 1.0)


def rescale_neurons__input_only(W1, W2):
    """You rescale the input weights only. Then the network computes something else: what is taken
    out there must go into W2."""
    return W1 / _scale(W1)[:, :, None], W2.clone()


def rescale_neurons__divides_both(W1, W2):
    """You divide both matrices. To leave the network as it was, one of them has to be
    multiplied."""
    return W1 / _scale(W1)[:, :, None], W2 / _scale(W1)[:, None, :]


def rescale_neurons__keeps_the_sign_in_the_scale(W1, W2):
    """You divide by the largest weight with its sign. ReLU(a z) = a ReLU(z) holds for positive a
    only: a negative one turns the neuron round."""
    index = W1.abs().argmax(-1, keepdim=True)
    signed = W1.gather(-1, index).squeeze(-1)
    scale = torch.where(signed != 0, signed, 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__largest_positive(W1, W2):
    """You divide by the largest weight, not by the largest size. A neuron that reads with -3 and
    0.1 is then blown up."""
    largest = W1.amax(-1)
    scale = torch.where(largest > 0, largest, 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__largest_with_its_sign(W1, W2):
    """You divide by the largest weight, not by the largest size. A neuron that reads with -3 and
    0.1 is then blown up, and one with negative weights only is turned round."""
    largest = W1.amax(-1)
    scale = torch.where(largest != 0, largest, 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__norm(W1, W2):
    """You give each neuron an input of norm 1. That is a fine convention too, but here the largest
    weight becomes 1."""
    norm = W1.norm(dim=-1)
    scale = torch.where(norm > 0, norm, 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__nan_when_dead(W1, W2):
    """A neuron that reads nothing gives NaN: its largest weight is 0, and you divide by it."""
    largest = W1.abs().amax(-1)
    return W1 / largest[:, :, None], W2 * largest[:, None, :]


def rescale_neurons__dead_ones_wiped(W1, W2):
    """Your dead neurons lose their output weights: you multiply them by a scale of 0. A neuron that
    reads nothing should stay as it is."""
    largest = W1.abs().amax(-1)
    return W1 / (largest + 1e-8)[:, :, None], W2 * largest[:, None, :]


def rescale_neurons__one_scale_per_instance(W1, W2):
    """You use one scale for the whole instance. Each neuron has its own."""
    scale = W1.abs().amax(dim=(1, 2))[:, None, None]
    return W1 / scale, W2 * scale


def rescale_neurons__in_place(W1, W2):
    """You change the weights that you were given. Whoever holds the trained network now holds
    another one: make new tensors."""
    scale = _scale(W1)
    return W1.div_(scale[:, :, None]), W2.mul_(scale[:, None, :])


def rescale_neurons__never_scaled_up(W1, W2):
    """A neuron whose weights are all below 1 stays as it is: your scale has a floor at 1. Its
    largest weight should become 1, too."""
    scale = W1.abs().amax(-1).clamp(min=1)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__constant_in_the_scale(W1, W2):
    """You add a small number to the scale. A neuron with small weights then does not reach 1. Only
    a neuron that reads exactly nothing needs another scale."""
    scale = W1.abs().amax(-1) + 1e-6
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__floor_under_the_scale(W1, W2):
    """You put a floor under the scale. A neuron whose weights are all below it does not reach 1.
    Only a neuron that reads exactly nothing needs another scale."""
    scale = torch.where((W1 != 0).any(-1), W1.abs().amax(-1).clamp(min=1e-6), 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__over_neurons(W1, W2):
    """You take the largest weight over the neurons: one scale for each feature. Each *neuron* has a
    scale: its largest weight over the features."""
    largest = W1.abs().amax(1)
    scale = torch.where(largest > 0, largest, 1.0)
    return W1 / scale[:, None, :], W2 * scale[:, :, None]


def rescale_neurons__the_other_way_round(W1, W2):
    """You multiply W1 and divide W2. The network stays the same, but the largest input weight
    becomes its square: divide W1."""
    scale = _scale(W1)
    return W1 * scale[:, :, None], W2 / scale[:, None, :]


def rescale_neurons__output_weights_become_one(W1, W2):
    """You make the largest *output* weight 1. Here it is the largest input weight of each
    neuron."""
    largest = W2.abs().amax(1)
    scale = torch.where(largest > 0, largest, 1.0)
    return W1 * scale[:, :, None], W2 / scale[:, None, :]


def rescale_neurons__sum(W1, W2):
    """You divide by the sum of the sizes. Then the largest weight is below 1 wherever a neuron
    reads more than one feature."""
    total = W1.abs().sum(-1)
    scale = torch.where(total > 0, total, 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__nan_replaced_afterwards(W1, W2):
    """You repair the NaN in W1, but W2 was multiplied by a scale of 0 before: a dead neuron loses
    its output weights. Give dead neurons the scale 1."""
    largest = W1.abs().amax(-1)
    return (W1 / largest[:, :, None]).nan_to_num(nan=0.0), W2 * largest[:, None, :]


def rescale_neurons__largest_positive_with_a_floor(W1, W2):
    """You divide by the largest weight, not by the largest size. A neuron that reads with -3 and
    0.1 is then blown up: take absolute values first."""
    scale = W1.amax(-1).clamp(min=1e-12)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


def rescale_neurons__output_scaled_twice(W1, W2):
    """You multiply the output weights by the square of the scale. What you divide W1 by goes into
    W2 once."""
    scale = _scale(W1)
    return W1 / scale[:, :, None], W2 * scale[:, None, :] ** 2


def rescale_neurons__small_ones_left_alone(W1, W2):
    """You leave neurons with small weights as they are. Only a neuron whose weights are all exactly
    0 stays."""
    largest = W1.abs().amax(-1)
    scale = torch.where(largest > 0.01, largest, 1.0)
    return W1 / scale[:, :, None], W2 * scale[:, None, :]


# ---------------------------------------------------------------------------------- d5. unexplained


def _variance(p):
    return p / 3 - p**2 / 4


def unexplained__target_is_x(x, y_hat, probability):
    """You compare with x. The network should give |x|."""
    return (x - y_hat).square().mean(0) / _variance(probability)


def unexplained__explained(x, y_hat, probability):
    """You return the explained fraction, 1 - u. Here 0 is perfect."""
    return 1 - (x.abs() - y_hat).square().mean(0) / _variance(probability)


def unexplained__not_divided(x, y_hat, probability):
    """You return the mean squared error itself. It is small for every rare feature, computed or
    not: divide by the loss of the best constant."""
    return (x.abs() - y_hat).square().mean(0)


def unexplained__mean_over_features(x, y_hat, probability):
    """You average over features as well. One number hides which of them are computed: keep `inst
    feature`."""
    return (x.abs() - y_hat).square().mean(dim=(0, 2)) / _variance(probability).mean(-1)


def unexplained__variance_of_the_batch(x, y_hat, probability):
    """You divide by the variance in this batch. For a rare feature that is a noisy number. Use the
    one in closed form: `constant_loss(probability)`."""
    return (x.abs() - y_hat).square().mean(0) / x.abs().var(0, correction=0)


def unexplained__sample_variance_of_the_batch(x, y_hat, probability):
    """You divide by the variance in this batch. For a rare feature that is a noisy number, and one
    row has none. Use the one in closed form: `constant_loss(probability)`."""
    return (x.abs() - y_hat).square().mean(0) / x.abs().var(0)


def unexplained__root(x, y_hat, probability):
    """You take a root. Half of the variance would then look like 0.7."""
    return ((x.abs() - y_hat).square().mean(0) / _variance(probability)).sqrt()


def unexplained__sum_over_batch(x, y_hat, probability):
    """You sum over the batch, so the fraction grows with the number of rows. Take the mean."""
    return (x.abs() - y_hat).square().sum(0) / _variance(probability)


def unexplained__one_probability_for_all(x, y_hat, probability):
    """You use one probability for everything. Each instance and each feature may have its own."""
    return (x.abs() - y_hat).square().mean(0) / _variance(probability.flatten()[0])


def unexplained__mean_square_below(x, y_hat, probability):
    """You divide by the mean square of x, p / 3: the loss of the constant 0. The best constant is
    the mean of |x|, and its loss is the variance."""
    return (x.abs() - y_hat).square().mean(0) / (probability / 3)


def unexplained__absolute_output(x, y_hat, probability):
    """You take the absolute value of the output, too. Then -|x| would look perfect."""
    return (x.abs() - y_hat.abs()).square().mean(0) / _variance(probability)


def unexplained__absolute_error(x, y_hat, probability):
    """You average absolute errors. The fraction of a variance needs squares."""
    return (x.abs() - y_hat).abs().mean(0) / _variance(probability)


def unexplained__floor_under_the_variance(x, y_hat, probability):
    """You keep the variance from getting small. For rare features it *is* small, and so is the
    error: divide by the variance as it is."""
    return (x.abs() - y_hat).square().mean(0) / _variance(probability).clamp(min=1e-4)


def unexplained__constant_beside_the_variance(x, y_hat, probability):
    """You add a small number to the variance. For rare features the variance is small itself, and
    so is the error: divide by the variance as it is."""
    return (x.abs() - y_hat).square().mean(0) / (_variance(probability) + 1e-6)


def unexplained__every_row(x, y_hat, probability):
    """You keep the axis `batch`. Take the mean over it, and keep `inst feature`."""
    return (x.abs() - y_hat).square() / _variance(probability)


def unexplained__mean_over_everything(x, y_hat, probability):
    """You average over instances and features as well. One number hides which features are
    computed: take the mean over the batch only."""
    return (x.abs() - y_hat).square().mean() / _variance(probability)


def unexplained__variance_of_the_switch(x, y_hat, probability):
    """You divide by p (1 - p), the variance of an event that is 0 or 1. The value is uniform when
    the feature is on: use `constant_loss`."""
    return (x.abs() - y_hat).square().mean(0) / (probability * (1 - probability))


def unexplained__mean_over_instances(x, y_hat, probability):
    """You average over the instances and keep the batch. Take the mean over the batch, axis 0, and
    keep `inst feature`."""
    return (x.abs() - y_hat).square().mean(1) / _variance(probability).mean(0)


def unexplained__variance_of_the_error(x, y_hat, probability):
    """You take the variance of the error. A constant offset then costs nothing: take the mean of
    the squared error."""
    return (x.abs() - y_hat).var(0) / _variance(probability)


def unexplained__squared_after_the_mean(x, y_hat, probability):
    """You average first and square afterwards. Errors of both signs then cancel: square each
    error."""
    return (x.abs() - y_hat).mean(0).square() / _variance(probability)


# ------------------------------------------------------------------------------------ e1. path_gain

PATH = "inst target hidden, inst hidden source -> inst hidden target source"


def path_gain__source_before_target(W1, W2):
    """Your last two axes are swapped: source before target. Read the entry [0, 0, 1, 0]: it should
    be the push *on* output 1."""
    return einsum(W2, W1.abs(), PATH).mT


def path_gain__signed(W1, W2):
    """You keep the sign of W1. A neuron that reads with -1 fires for x = -1 and then pushes just as
    hard: take the size of W1."""
    return einsum(W2, W1, PATH)


def path_gain__both_absolute(W1, W2):
    """You also drop the sign of W2. It says whether the neuron pushes up or down, and that is what
    inhibition is about."""
    return einsum(W2.abs(), W1.abs(), PATH)


def path_gain__positive_side_only(W1, W2):
    """You put a ReLU on W1: then neurons that fire for negative x have gain 0. Which x makes such a
    neuron fire?"""
    return einsum(W2, W1.relu(), PATH)


def path_gain__summed_over_neurons(W1, W2):
    """You sum over the neurons. We want to know what each of them does: `hidden` stays."""
    return einsum(W2, W1.abs(), "inst target hidden, inst hidden source -> inst target source")


def path_gain__swapped_matrices(W1, W2):
    """You took the size of the wrong matrix: W2 lost its sign and W1 kept it."""
    return einsum(W2.abs(), W1, PATH)


def path_gain__pushes_up_only(W1, W2):
    """You put a ReLU on W2. A negative entry is a push down, and it stays."""
    return einsum(W2.relu(), W1.abs(), PATH)


def path_gain__squared(W1, W2):
    """You square the input weights. A neuron fires with the size of W1, so take |W1|."""
    return einsum(W2, W1.square(), PATH)


def path_gain__hidden_after_target(W1, W2):
    """Your axes are inst target hidden source. The order is inst hidden target source."""
    axes = "inst target hidden, inst hidden source -> inst target hidden source"
    return einsum(W2, W1.abs(), axes)


def path_gain__diagonal_only(W1, W2):
    """You return what each feature does to its own output. The interferences, from one feature to
    another, are wanted, too: target and source are two axes."""
    return einsum(W2, W1.abs(), "inst feature hidden, inst hidden feature -> inst hidden feature")


# ----------------------------------------------------------------------------- e2. asymmetric_pairs


def _both(gain, min_gain):
    served = gain.diagonal(dim1=-2, dim2=-1) >= min_gain
    return served[..., :, None] & served[..., None, :]


def asymmetric_pairs__roles_swapped(gain, min_gain=0.5, ratio=4.0):
    """You have strong and weak the wrong way round. In `gain` the target comes before the source,
    and the large push comes from the strong feature: strong is the source."""
    return _both(gain, min_gain) & (gain >= ratio * gain.mT)


def asymmetric_pairs__either_order(gain, min_gain=0.5, ratio=4.0):
    """You mark a pair in both orders. Only one of the two features is the strong one."""
    return _both(gain, min_gain) & ((gain >= ratio * gain.mT) | (gain.mT >= ratio * gain))


def asymmetric_pairs__only_the_strong_is_served(gain, min_gain=0.5, ratio=4.0):
    """You only ask whether the strong feature is served. If the weak one is not, its output is
    merely disturbed, and nothing is shared."""
    served = gain.diagonal(dim1=-2, dim2=-1) >= min_gain
    return served[..., :, None] & (gain.mT >= ratio * gain)


def asymmetric_pairs__only_the_weak_is_served(gain, min_gain=0.5, ratio=4.0):
    """You only ask whether the weak feature is served. Both must be: otherwise no neuron is
    shared."""
    served = gain.diagonal(dim1=-2, dim2=-1) >= min_gain
    return served[..., None, :] & (gain.mT >= ratio * gain)


def asymmetric_pairs__one_of_them_is_served(gain, min_gain=0.5, ratio=4.0):
    """You ask that the strong *or* the weak feature is served. It must be both."""
    served = gain.diagonal(dim1=-2, dim2=-1) >= min_gain
    either = served[..., :, None] | served[..., None, :]
    return either & (gain.mT >= ratio * gain)


def asymmetric_pairs__strict_ratio(gain, min_gain=0.5, ratio=4.0):
    """A push of exactly `ratio` times the other counts: `>=`, not `>`."""
    return _both(gain, min_gain) & (gain.mT > ratio * gain)


def asymmetric_pairs__strict_gain(gain, min_gain=0.5, ratio=4.0):
    """An own gain of exactly `min_gain` counts: `>=`, not `>`."""
    served = gain.diagonal(dim1=-2, dim2=-1) > min_gain
    return served[..., :, None] & served[..., None, :] & (gain.mT >= ratio * gain)


def asymmetric_pairs__no_ratio(gain, min_gain=0.5, ratio=4.0):
    """You mark every pair whose pushes differ at all. Small differences are no motif: use
    `ratio`."""
    return _both(gain, min_gain) & (gain.mT > gain)


def asymmetric_pairs__all_pairs(gain, min_gain=0.5, ratio=4.0):
    """You mark every pair of features that a neuron serves, symmetric ones too, and each feature
    with itself. Where is the comparison of the two pushes?"""
    return _both(gain, min_gain)


def asymmetric_pairs__push_above_ratio(gain, min_gain=0.5, ratio=4.0):
    """You compare the push on the weak output with the number `ratio`. Compare it with `ratio`
    times the push that comes back."""
    return _both(gain, min_gain) & (gain.mT >= ratio)


def asymmetric_pairs__pushes_instead_of_own_gains(gain, min_gain=0.5, ratio=4.0):
    """You compare the pushes *between* the two features with `min_gain`. Whether a feature is
    served, its own gain says: the diagonal."""
    return (gain >= min_gain) & (gain.mT >= ratio * gain)


def asymmetric_pairs__size_of_the_own_gain(gain, min_gain=0.5, ratio=4.0):
    """You take the size of the own gains. A neuron with a negative own gain pushes the feature's
    output down: it does not serve it."""
    return _both(gain.abs(), min_gain) & (gain.mT >= ratio * gain)


def asymmetric_pairs__difference(gain, min_gain=0.5, ratio=4.0):
    """You compare the difference of the two pushes with `ratio`. It is a factor: one push is at
    least `ratio` times the other."""
    return _both(gain, min_gain) & (gain.mT - gain >= ratio)


def asymmetric_pairs__fixed_bounds(gain, min_gain=0.5, ratio=4.0):
    """You use 0.5 and 4 whatever the caller asks for. Use the arguments."""
    return _both(gain, 0.5) & (gain.mT >= 4.0 * gain)


# ----------------------------------------------------------------------------------- e3. lone_drive

LONE = "inst target hidden, inst side hidden source -> inst side target source"


def lone_drive__sides_swapped(W1, W2):
    """Your sides are swapped: side 0 is the feature at +1."""
    return einsum(W2, torch.stack([-W1, W1], 1).relu(), LONE)


def lone_drive__no_relu(W1, W2):
    """There is no ReLU in your hidden layer, so neurons below zero take part, and the two sides are
    mirror images."""
    return einsum(W2, torch.stack([W1, -W1], 1), LONE)


def lone_drive__source_before_target(W1, W2):
    """Your last two axes are swapped: target comes first, then source."""
    return einsum(W2, torch.stack([W1, -W1], 1).relu(), LONE).mT


def lone_drive__relu_after_the_sum(W1, W2):
    """Your ReLU comes after the sum over neurons. Each neuron cuts off for itself, before anything
    is added up."""
    return einsum(W2, torch.stack([W1, -W1], 1), LONE).relu()


def lone_drive__output_relu(W1, W2):
    """You also apply the ReLU of the output. Then a push down becomes 0, and inhibition is
    invisible."""
    return einsum(W2, torch.stack([W1, -W1], 1).relu(), LONE).relu()


def lone_drive__sizes(W1, W2):
    """You take the size of W1 for both sides. On each side only some neurons fire: use a ReLU, with
    the sign of the side."""
    return einsum(W2, torch.stack([W1.abs(), W1.abs()], 1), LONE)


def lone_drive__one_side(W1, W2):
    """You return one side only. The feature can be at +1 or at -1: there is an axis for it."""
    return einsum(W2, W1.relu(), "inst target hidden, inst hidden source -> inst target source")


def lone_drive__side_last(W1, W2):
    """Your axis `side` comes last. The order is inst side target source."""
    activation = torch.stack([W1, -W1], -1).relu()
    axes = "inst target hidden, inst hidden source side -> inst target source side"
    return einsum(W2, activation, axes)


def lone_drive__both_sides_alike(W1, W2):
    """Your two sides are the same. At -1 the hidden layer gets -W1: other neurons fire."""
    return einsum(W2, torch.stack([W1, W1], 1).relu(), LONE)


def lone_drive__second_side_is_the_first_turned_round(W1, W2):
    """Your side 1 is minus side 0. A neuron that is silent at +1 may fire at -1: put the sign
    inside the ReLU."""
    return einsum(W2, torch.stack([W1.relu(), -W1.relu()], 1), LONE)


def lone_drive__negative_activations(W1, W2):
    """On side 1 your activations are negative: `clamp(max=0)` keeps the sign. A neuron fires with
    ReLU(-W1), which is positive."""
    return einsum(W2, torch.stack([W1.clamp(min=0), W1.clamp(max=0)], 1), LONE)


def lone_drive__side_first(W1, W2):
    """Your axis `side` comes before `inst`. The order is inst side target source."""
    activation = torch.stack([W1, -W1], 0).relu()
    axes = "inst target hidden, side inst hidden source -> side inst target source"
    return einsum(W2, activation, axes)


def lone_drive__mean_over_neurons(W1, W2):
    """You average over the neurons. Their pushes add up: take the sum."""
    return einsum(W2, torch.stack([W1, -W1], 1).relu(), LONE) / W1.shape[1]


def lone_drive__pushes_up_only(W1, W2):
    """You put a ReLU on W2. A negative output weight is a push down, and that is what inhibition is
    made of."""
    return einsum(W2.relu(), torch.stack([W1, -W1], 1).relu(), LONE)


# ------------------------------------------------------------------------------ e4. inhibited_pairs


def _total(W1, W2, swap=False):
    own = einsum(W2, W1.abs(), PATH).mT
    drive = einsum(W2, torch.stack([W1, -W1], 1).relu(), LONE).mT
    plus, minus = drive[:, None, 0], drive[:, None, 1]
    plus, minus = (minus, plus) if swap else (plus, minus)
    return own, plus, minus


def inhibited_pairs__always_plus_one(W1, W2, pairs, share=0.25):
    """You always switch the strong feature to +1. A neuron with a negative input weight is silent
    there: choose the side on which it fires."""
    own, plus, _ = _total(W1, W2)
    return pairs & (plus <= share * own)


def inhibited_pairs__other_side(W1, W2, pairs, share=0.25):
    """You look at the side on which the shared neuron is silent. There is nothing to inhibit on
    that side."""
    own, plus, minus = _total(W1, W2, swap=True)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus) <= share * own)


def inhibited_pairs__not_only_pairs(W1, W2, pairs, share=0.25):
    """You return every place where the total push is small. Only the given pairs were asked
    about."""
    own, plus, minus = _total(W1, W2)
    return torch.where(W1[..., None] > 0, plus, minus) <= share * own


def inhibited_pairs__others_only(W1, W2, pairs, share=0.25):
    """You take the neuron's own push out of the total. The question is what is left of it: compare
    the sum of *all* neurons with the share."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus) - own <= share * own)


def inhibited_pairs__strong_output(W1, W2, pairs, share=0.25):
    """You look at pushes on the strong output from the weak feature. It is the other way round:
    strong is the source, weak the target."""
    own = einsum(W2, W1.abs(), PATH)
    drive = einsum(W2, torch.stack([W1, -W1], 1).relu(), LONE)
    total = torch.where(W1[..., None] > 0, drive[:, None, 0], drive[:, None, 1])
    return pairs & (total <= share * own)


def inhibited_pairs__strict(W1, W2, pairs, share=0.25):
    """A total of exactly `share` times the own push counts: `<=`, not `<`."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus) < share * own)


def inhibited_pairs__share_ignored(W1, W2, pairs, share=0.25):
    """You ask for a total of at most 0. A quarter of the push may be left over: use `share`."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus) <= 0 * own)


def inhibited_pairs__share_of_one(W1, W2, pairs, share=0.25):
    """You compare the total with the number `share`. Compare it with `share` times the neuron's own
    push."""
    _, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus) <= share)


def inhibited_pairs__those_that_are_not(W1, W2, pairs, share=0.25):
    """You return the pairs that are *not* inhibited. Inhibited means that little is left: a total
    of at most `share` times the own push."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus) > share * own)


def inhibited_pairs__either_side(W1, W2, pairs, share=0.25):
    """You take the smaller total of the two sides. On one of them the shared neuron is silent, and
    its silence is no inhibition: look at the side on which it fires."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.minimum(plus, minus) <= share * own)


def inhibited_pairs__both_sides_added(W1, W2, pairs, share=0.25):
    """You add up the totals of both sides. The feature is at +1 or at -1, never at both."""
    own, plus, minus = _total(W1, W2)
    return pairs & (plus + minus <= share * own)


def inhibited_pairs__side_of_the_weak(W1, W2, pairs, share=0.25):
    """You choose the side by the weight of the weak feature. The strong one is on: its weight
    decides where the neuron fires."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None, :] > 0, plus, minus) <= share * own)


def inhibited_pairs__own_push_transposed(W1, W2, pairs, share=0.25):
    """The neuron's own push has its axes the wrong way round: `path_gain` ends in target source,
    and here the target is weak, the last axis of the mask."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus) <= share * own.mT)


def inhibited_pairs__total_transposed(W1, W2, pairs, share=0.25):
    """The total push has its axes the wrong way round: `lone_drive` ends in target source, and here
    the target is weak, the last axis of the mask."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus.mT, minus.mT) <= share * own)


def inhibited_pairs__a_weight_of_zero_fires(W1, W2, pairs, share=0.25):
    """Where the input weight is exactly 0 you look at side 0. The statement puts it on side 1: `>`,
    not `>=`."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] >= 0, plus, minus) <= share * own)


def inhibited_pairs__total_rectified(W1, W2, pairs, share=0.25):
    """You apply the ReLU of the output to the total. A push below 0 is smaller than 0: compare it
    as it is."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus).relu() <= share * own)


def inhibited_pairs__size_of_the_total(W1, W2, pairs, share=0.25):
    """You compare the size of the total. A strong push *down* is inhibition, too: no absolute
    value."""
    own, plus, minus = _total(W1, W2)
    return pairs & (torch.where(W1[..., None] > 0, plus, minus).abs() <= share * own)


# -------------------------------------------------------------------------- f1. features_per_neuron


def features_per_neuron__upside_down(gain):
    """Your fraction is upside down: it falls when more features share the neuron."""
    return (gain.square().sum(-1) / gain.sum(-1) ** 2).nan_to_num(nan=0.0)


def features_per_neuron__nan_when_dead(gain):
    """A dead neuron gives NaN. It serves no feature: 0."""
    return gain.sum(-1) ** 2 / gain.square().sum(-1)


def features_per_neuron__dead_is_one(gain):
    """You give a dead neuron one feature. It serves none."""
    return (gain.sum(-1) ** 2 / gain.square().sum(-1)).nan_to_num(nan=1.0)


def features_per_neuron__not_squared(gain):
    """The sum above the bar is not squared. Then the count depends on the neuron's scale."""
    return (gain.sum(-1) / gain.square().sum(-1)).nan_to_num(nan=0.0)


def features_per_neuron__count_of_nonzero(gain):
    """You count the gains that are not 0. In trained weights none is exactly 0, so every neuron
    would serve every feature."""
    return (gain > 0).sum(-1).to(gain.dtype)


def features_per_neuron__one_over_the_score(gain):
    """You return 1 / monosemanticity. It also counts equal gains, but it only looks at the largest
    one; here all gains have a say."""
    return (gain.sum(-1) / gain.amax(-1)).nan_to_num(nan=0.0)


def features_per_neuron__over_neurons(gain):
    """You sum over neurons: how many neurons serve a feature. The question was the other way
    round."""
    return (gain.sum(1) ** 2 / gain.square().sum(1)).nan_to_num(nan=0.0)


def features_per_neuron__square_of_squares(gain):
    """You square both sums. The sum of squares below the bar is not squared again."""
    return (gain.sum(-1) ** 2 / gain.square().sum(-1) ** 2).nan_to_num(nan=0.0)


def features_per_neuron__constant_in_denominator(gain):
    """A constant in the denominator changes the count of a neuron with small gains. Divide as it
    is, and treat 0 / 0 as a case of its own."""
    return gain.sum(-1) ** 2 / (gain.square().sum(-1) + 1e-8)


def features_per_neuron__means_for_sums(gain):
    """You use means where the formula has sums. The number of features then divides the result:
    four equal gains of four count 1."""
    return (gain.mean(-1) ** 2 / gain.square().mean(-1)).nan_to_num(nan=0.0)


def features_per_neuron__above_a_threshold(gain):
    """You count gains above a threshold. The effective number needs none: small gains count a
    little, large ones fully."""
    return (gain > 0.1).sum(-1).to(gain.dtype)


def features_per_neuron__entropy(gain):
    """You return the exponential of the entropy. That is an effective number, too, but not the one
    of the formula: sum squared over sum of squares."""
    share = (gain / gain.sum(-1, keepdim=True)).nan_to_num(nan=0.0)
    surprise = -(share * share.clamp(min=1e-20).log()).sum(-1)
    return torch.where(gain.sum(-1) > 0, surprise.exp(), 0.0)


def features_per_neuron__root(gain):
    """You divide the sum by the norm: that is the root of the effective number. For four equal
    gains it gives 2."""
    return (gain.sum(-1) / gain.norm(dim=-1)).nan_to_num(nan=0.0)


def features_per_neuron__of_squared_gains(gain):
    """You square the gains before you count. The formula takes the gains as they are."""
    squared = gain.square()
    return (squared.sum(-1) ** 2 / squared.square().sum(-1)).nan_to_num(nan=0.0)


def features_per_neuron__sum_of_squares_twice(gain):
    """You have the sum of squares on both sides of the bar, so every live neuron counts 1. Above it
    stands the square of the sum."""
    return (gain.square().sum(-1) / gain.square().sum(-1)).nan_to_num(nan=0.0)


# -------------------------------------------------------------------------------------- predictions


def predict_pure_neurons__all():
    """With five neurons of one feature each, the other five features would be lost. When features
    are this rare, sharing costs almost nothing, so the model does not pay that price."""
    return "four or five"


def predict_pure_neurons__half():
    """There are sparsities with both kinds of neurons, near p = 0.3. At p = 0.02 the features are
    much rarer, and sharing wins everywhere."""
    return "two or three"


def predict_slowest__p_07():
    """At p = 0.7 three in ten inputs are 0, so Wx falls below zero often, and the ReLU pushes the
    weights towards the axes. Where does it bite least?"""
    return "p = 0.7"


def predict_slowest__p_05():
    """At p = 0.5 half of the inputs are 0: the ReLU bites often, and the neurons settle fast. Where
    are negative values of Wx rarest?"""
    return "p = 0.5"


def predict_linear__better():
    """For every x there is an equally likely -x with the same target. A slope that helps on one
    side hurts just as much on the other."""
    return "is better"


def predict_linear__worse():
    """A linear function with slope 0 *is* a constant. So the best one cannot be worse."""
    return "is worse"


def predict_one_side__quarter():
    """A quarter would need two halvings. Half of the rows are exact. In the other half, what is the
    variance of |x|, compared with that of all rows?"""
    return 0.25


def predict_one_side__nothing():
    """The rows with x < 0 are not exact: there the answer is only a constant."""
    return 0.0


def predict_one_side__everything():
    """The rows with x > 0 are exact, so something is explained."""
    return 1.0


def predict_large_start__more():
    """Larger weights look like a head start, but they are random. Training then keeps much of the
    random mixture, and many features end half computed."""
    return "more features"


def predict_large_start__same():
    """One might hope that the start is forgotten. Here it is not: large random weights are kept in
    part, and many features end half computed."""
    return "about as many (within two)"


def predict_weak_output__four():
    """That is the push of the shared neuron alone. A network that left it standing would pay for it
    every time the strong feature is on. Other neurons see the strong feature too."""
    return "above 2"


def predict_weak_output__one():
    """1 would be right if the weak feature were on. It is off, so the truth is 0, and training gets
    there."""
    return "from 0.5 to 2"


def predict_decay__stays():
    """With equal importances no feature deserves a neuron of its own. When the first features count
    much more, they do."""
    return "it stays"


def predict_decay__falls():
    """Sharing a neuron costs the features on it. The more one feature matters, the less it wants to
    share."""
    return "it falls"
