"""Tests of 3.1.5: each docstring is a property, told to the learner when it fails."""

import math

import torch
from torch import Tensor

from utils.testing import (
    assert_raises,
    assert_same,
    binomial_bounds,
    describe,
    fail,
    first_index,
    generator,
    hoeffding,
    ks_distance,
    require,
    unchanged,
    vjp,
)

BATCH, INST, D_IN, LATENT, FEATURE = 7, 3, 4, 6, 5  # unequal, so that no two axes can be confused
AXES = {
    "W_enc": "inst d_in latent",
    "b_enc": "inst latent",
    "W_dec": "inst latent d_in",
    "b_dec": "inst d_in",
}


# ----------------------------------------------------------------------------------------- helpers


def normal(seed, device, *size, dtype=torch.float32):
    """Fixed normal numbers."""
    return torch.randn(size, generator=generator(seed, device), device=device, dtype=dtype)


def make_params(seed, device, tied=False, dtype=torch.float32, inst=INST, latent=LATENT):
    """SAE parameters with no zero in them; decoder rows have length 1."""
    W_dec = normal(seed, device, inst, latent, D_IN, dtype=dtype)
    params = {
        "W_enc": normal(seed + 1, device, inst, D_IN, latent, dtype=dtype),
        "b_enc": normal(seed + 2, device, inst, latent, dtype=dtype) / 2,
        "W_dec": W_dec / W_dec.norm(dim=-1, keepdim=True),
        "b_dec": normal(seed + 3, device, inst, D_IN, dtype=dtype) / 2,
    }
    if tied:
        del params["W_enc"]
    return params


def make_dead(device):
    """No latent of the first instance is dead, all but one of the second, some of the third."""
    dead = torch.zeros(INST, LATENT, dtype=torch.bool, device=device)
    dead[1], dead[2, [0, 3, 4]] = True, True
    dead[1, 2] = False
    return dead


def assert_same_params(actual, expected, hint=""):
    """Both are dictionaries with the same names and the same tensors."""
    __tracebackhide__ = True
    require(isinstance(actual, dict), f"return a dictionary; yours is {describe(actual)}")
    require(
        actual.keys() == expected.keys(),
        f"the dictionary has {sorted(actual)}; expected {sorted(expected)}",
    )
    for name, value in expected.items():
        assert_same(actual[name], value, AXES[name], hint=hint, what=name)


def strided(x: Tensor) -> Tensor:
    """The same values in memory of another order."""
    return x.mT.contiguous().mT


def assert_uniform(values: Tensor, what: str, hint: str):
    """`values` are uniform on [0, 1]: Kolmogorov and Smirnov, false alarm 1e-6."""
    __tracebackhide__ = True
    u = values.double().flatten().sort().values
    rank = torch.arange(len(u), device=u.device) / len(u)
    distance = torch.maximum((u - rank).abs(), (u - rank - 1 / len(u)).abs()).max()
    require(distance < ks_distance(len(u)), f"{what} are not all equally likely: {hint}")


def assert_round(directions: Tensor, what: str):
    """Unit vectors in the plane, uniform on the circle; the fold finds crowded diagonals."""
    __tracebackhide__ = True
    turn = torch.atan2(directions[..., 1], directions[..., 0]) / math.tau % 1
    assert_uniform(turn, what, "some quadrants are preferred (are negative numbers drawn?)")
    fold = 4 * turn % 1
    fold = torch.minimum(fold, 1 - fold) * 2
    assert_uniform(fold, what, "diagonals are preferred (which distribution is round?)")


# ------------------------------------------------------------------------------------- a. init_sae


def test_init_sae__has_the_right_tensors(impl, ref, seed, device):
    """There are W_enc, b_enc, W_dec and b_dec, in the right shapes; a tied SAE has no W_enc."""
    for encoder in ("tied", "transposed", "independent"):
        params = impl.init_sae(INST, D_IN, LATENT, encoder, generator(seed, device))
        expected = ref.init_sae(INST, D_IN, LATENT, encoder, generator(seed, device))
        require(isinstance(params, dict), f"return a dictionary; yours is {describe(params)}")
        names = f"{encoder}: the names are {sorted(params)}, expected {sorted(expected)}"
        require(params.keys() == expected.keys(), names)
        for name, value in expected.items():
            zero = torch.zeros_like(value)
            assert_same(params[name] * 0, zero, AXES[name], what=f"{name} of {encoder} SAEs")


def test_init_sae__biases_are_zero(impl, seed, device):
    """Both biases are 0."""
    for encoder in ("tied", "independent"):
        params = impl.init_sae(INST, D_IN, LATENT, encoder, generator(seed, device))
        for name in ("b_enc", "b_dec"):
            require((params[name] == 0).all(), f"{name} is not 0 everywhere")


def test_init_sae__decoder_rows_have_length_1(impl, seed, device):
    """Each decoder row has length 1, also of a single SAE with a single latent."""
    for inst, latent in ((INST, LATENT), (1, 1)):
        W_dec = impl.init_sae(inst, D_IN, latent, "tied", generator(seed, device))["W_dec"]
        ones, what = torch.ones(inst, latent, device=device), "the length of W_dec's rows"
        assert_same(W_dec.norm(dim=-1), ones, "inst latent", what=what)


def test_init_sae__encoder_columns_have_length_1(impl, seed, device):
    """Each encoder column has length 1."""
    params = impl.init_sae(INST, D_IN, LATENT, "independent", generator(seed, device))
    ones, what = torch.ones(INST, LATENT, device=device), "the length of W_enc's columns"
    assert_same(params["W_enc"].norm(dim=1), ones, "inst latent", what=what)


def test_init_sae__transposed_is_a_copy_of_the_decoder(impl, seed, device):
    """A transposed encoder equals the transposed decoder and has memory of its own."""
    params = impl.init_sae(INST, D_IN, LATENT, "transposed", generator(seed, device))
    before = params["W_enc"].clone()
    assert_same(before, params["W_dec"].mT, AXES["W_enc"], what="W_enc")
    params["W_dec"].zero_()
    require(
        torch.equal(params["W_enc"], before), "changing W_dec changes W_enc: it is a view, no copy"
    )


def test_init_sae__directions_are_uniform(impl, seed, device):
    """All directions are equally likely, in decoder and encoder (false alarm 1e-6 each)."""
    params = impl.init_sae(40, 2, 100, "independent", generator(seed, device))
    W_dec, W_enc = params["W_dec"], params["W_enc"]
    require(W_dec.shape == (40, 100, 2) and W_enc.shape == (40, 2, 100), "check the shapes first")
    assert_round(W_dec, "decoder directions")
    assert_round(W_enc.mT, "encoder directions")


def test_init_sae__draws_are_independent(impl, seed, device):
    """Encoder and decoder, instances and latents are drawn independently (false alarm 1e-6)."""
    params = impl.init_sae(60, 2, 60, "independent", generator(seed, device))
    W_dec, W_enc = params["W_dec"], params["W_enc"].mT
    pairs = {
        "the encoder copies the decoder": (W_dec, W_enc),
        "instances start alike": (W_dec[1:], W_dec[:-1]),
        "latents start alike": (W_dec[:, 1:], W_dec[:, :-1]),
        "the encoders of instances start alike": (W_enc[1:], W_enc[:-1]),
        "the encoders of latents start alike": (W_enc[:, 1:], W_enc[:, :-1]),
    }
    for what, (a, b) in pairs.items():
        cosine = (a * b).sum(-1)
        require(
            cosine.mean().abs() < 2 * hoeffding(cosine.numel() // 2, 2), f"{what}: draw each anew"
        )


def test_init_sae__uses_the_generator(impl, seed, device):
    """The same generator state gives the same parameters, another state others."""
    same = [impl.init_sae(2, 3, 4, "tied", generator(seed, device))["W_dec"] for _ in range(2)]
    require(torch.equal(*same), "two calls with equal generators differ: is `gen` used?")
    other = impl.init_sae(2, 3, 4, "tied", generator(seed + 1, device))["W_dec"]
    require(not torch.equal(same[0], other), "another generator gives the same numbers")


def test_init_sae__refuses_unknown_encoders(impl, device):
    """An unknown encoder is a ValueError that names it."""
    gen = generator(0, device)
    assert_raises(ValueError, impl.init_sae, 2, 3, 4, "diagonal", gen, match="diagonal")


# ------------------------------------------------------------------------------------ b. unit_rows


def test_unit_rows__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions and for any memory layout."""
    for dtype in (torch.float32, torch.float64):
        W = normal(seed, device, INST, LATENT, D_IN, dtype=dtype)
        for x in (W, strided(W)):
            with unchanged(x):
                out = impl.unit_rows(x)
            assert_same(out, ref.unit_rows(x), AXES["W_dec"])


def test_unit_rows__gives_length_1(impl, device):
    """(3, 4) becomes (0.6, 0.8), and each row counts for itself."""
    W = torch.tensor([[[3.0, 4.0], [0.0, -2.0], [-5.0, 12.0]]], device=device)
    expected = torch.tensor([[[0.6, 0.8], [0.0, -1.0], [-5 / 13, 12 / 13]]], device=device)
    assert_same(impl.unit_rows(W), expected, AXES["W_dec"])


def test_unit_rows__keeps_zero_rows(impl, device):
    """A row of zeros stays zero, and its neighbour is still normalised."""
    W = torch.tensor([[[0.0, 0.0], [0.0, 2.0]]], device=device)
    expected = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]], device=device)
    assert_same(impl.unit_rows(W), expected, AXES["W_dec"], hint="one row is all zeros")


def test_unit_rows__works_for_short_rows(impl, seed, device):
    """The result does not depend on the scale: a row of length 1e-6 becomes 1, and one of 1e6."""
    short = torch.tensor([[[6e-7, 8e-7], [1e-6, 0.0]]], device=device)
    expected = torch.tensor([[[0.6, 0.8], [1.0, 0.0]]], device=device)
    hint = "both rows have length 1e-6"
    assert_same(impl.unit_rows(short), expected, AXES["W_dec"], hint=hint)
    W = normal(seed, device, INST, LATENT, D_IN, dtype=torch.float64)
    expected = impl.unit_rows(W)
    for scale in (1e-6, 1e6):
        hint = f"the rows were multiplied by {scale:g}"
        assert_same(impl.unit_rows(scale * W), expected, AXES["W_dec"], hint=hint)


def test_unit_rows__has_the_full_gradient(impl, ref, seed, device):
    """The gradient takes into account that the length depends on the row, too."""
    args = (normal(seed, device, INST, LATENT, D_IN),)
    upstream = normal(seed + 1, device, INST, LATENT, D_IN)
    assert_same(vjp(impl.unit_rows, args, upstream), vjp(ref.unit_rows, args, upstream))


# --------------------------------------------------------------------------- c. hidden_activations

N_ROWS = 4000


def scaled_identity(device):
    """W with the identity, times 1, 2 and 3 in the three instances, and one sign turned."""
    W = torch.eye(D_IN, device=device).repeat(INST, 1, 1)
    W[:, 1, 1] = -1
    return W * torch.arange(1.0, INST + 1, device=device)[:, None, None]


def test_hidden_activations__has_one_row_per_draw(impl, ref, seed, device):
    """The result has axes batch, inst, d_in, and lives on the generator's device."""
    W = normal(seed, device, INST, D_IN, FEATURE)
    for batch in (1, BATCH):
        with unchanged(W):
            out = impl.hidden_activations(W, 0.5, batch, generator(seed, device))
        expected = ref.hidden_activations(W, 0.5, batch, generator(seed, device))
        assert_same(out * 0, expected * 0, "batch inst d_in")


def test_hidden_activations__one_feature_writes_its_column(impl, seed, device):
    """If only one feature is ever on (another in each instance), h is a multiple of its column."""
    W = normal(seed, device, INST, D_IN, FEATURE)
    which = torch.tensor([4, 0, 2], device=device)
    p = torch.zeros(INST, FEATURE, device=device)
    p[range(INST), which] = 1
    h = impl.hidden_activations(W, p, 6, generator(seed, device))
    column = W[range(INST), :, which]
    strength = (h * column).sum(-1, keepdim=True) / column.square().sum(-1, keepdim=True)
    hint = "feature 4 is on in instance 0, feature 0 in instance 1, feature 2 in instance 2"
    assert_same(h, strength * column, "batch inst d_in", rtol=1e-4, atol=1e-5, hint=hint)
    require(bool((strength > 0).all() and (strength <= 1).all()), "strengths are not in (0, 1]")


def test_hidden_activations__is_w_times_sparse_features(impl, seed, device):
    """With W = scaled identity the features themselves come out (false alarm 1e-6)."""
    p = torch.tensor([[0.1], [0.3], [0.6]], device=device)
    W = scaled_identity(device)
    h = impl.hidden_activations(W, p, N_ROWS, generator(seed, device))
    require(tuple(h.shape) == (N_ROWS, INST, D_IN), f"the shape is {tuple(h.shape)}")
    require(
        (h[..., 1] <= 0).all(), "W has a negative entry, yet no activation is negative: a ReLU?"
    )
    x = h / W.sum(dim=-1)
    require(
        bool((x >= 0).all() and (x <= 1).all()), "features leave [0, 1]: is it W x, and only it?"
    )
    for k, prob in enumerate(p.flatten().tolist()):
        on = x[:, k][x[:, k] > 0]
        low, high = binomial_bounds(N_ROWS * D_IN, prob, 1e-7)
        require(low <= len(on) <= high, f"instance {k}: {len(on)} active entries at p = {prob:g}")
        assert_uniform(on, f"the strengths in instance {k}", "they should be uniform on [0, 1]")


def test_hidden_activations__adds_up_features(impl, seed, device):
    """Doubling W doubles h, and equal columns of W give the sum of all features."""
    W = normal(seed, device, INST, D_IN, FEATURE)
    once = impl.hidden_activations(W, 0.5, 50, generator(seed, device))
    twice = impl.hidden_activations(2 * W, 0.5, 50, generator(seed, device))
    assert_same(twice, 2 * once, "batch inst d_in")
    W = torch.ones(INST, D_IN, FEATURE, device=device)
    h = impl.hidden_activations(W, 1.0, 2000, generator(seed, device))
    mean = (h / FEATURE).mean(dim=0)
    off = (mean - 0.5).abs().max()
    require(off < hoeffding(2000, 1, 1e-7), "five features of mean 1/2 do not sum to 5/2")


def test_hidden_activations__draws_for_each_instance(impl, seed, device):
    """Instances see features of their own (false alarm 1e-6)."""
    n, W = 2000, torch.ones(INST, D_IN, FEATURE, device=device)
    on = (impl.hidden_activations(W, 0.1, n, generator(seed, device)) > 0)[..., 0]
    p = 1 - 0.9**FEATURE
    for k in range(INST - 1):
        low, high = binomial_bounds(n, p * p + (1 - p) ** 2, 1e-6 / INST)
        same = int((on[:, k] == on[:, k + 1]).sum())
        hint = f"instances {k} and {k + 1} are on together in {same} of {n} rows"
        require(low <= same <= high, f"{hint}: do they share their features?")


def test_hidden_activations__uses_each_instances_w(impl, seed, device):
    """An instance with W = 0 has h = 0; the others do not."""
    W = torch.ones(INST, D_IN, FEATURE, device=device)
    W[0] = 0
    h = impl.hidden_activations(W, 0.9, 60, generator(seed, device))
    require((h[:, 0] == 0).all(), "instance 0 has W = 0, but h is not 0 there")
    require((h[:, 1:] > 0).any(dim=0).all(), "only instance 0 has W = 0, but others are 0, too")


# ------------------------------------------------------------------------------- d1. preactivations


def encoder_args(seed, device, dtype=torch.float32, batch=BATCH):
    """h, W_enc, b_enc, b_dec."""
    params = make_params(seed, device, dtype=dtype)
    h = normal(seed + 9, device, batch, INST, D_IN, dtype=dtype)
    return h, params["W_enc"], params["b_enc"], params["b_dec"]


def test_preactivations__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions, for any memory layout and for one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, BATCH), (torch.float32, 1)):
        h, W_enc, b_enc, b_dec = encoder_args(seed, device, dtype, batch)
        args = (strided(h), strided(W_enc), b_enc, b_dec)
        with unchanged(*args):
            out = impl.preactivations(*args)
        assert_same(out, ref.preactivations(h, W_enc, b_enc, b_dec), "batch inst latent")


def test_preactivations__is_the_bias_at_the_centre(impl, seed, device):
    """At h = b_dec it is b_enc, for every latent and instance."""
    _, W_enc, b_enc, b_dec = encoder_args(seed, device)
    h = b_dec.expand(2, INST, D_IN)
    assert_same(
        impl.preactivations(h, W_enc, b_enc, b_dec), b_enc.expand(2, INST, LATENT),
        "batch inst latent", hint="h equals b_dec in every row",
    )  # fmt: skip


def test_preactivations__by_hand(impl, device):
    """One latent, worked out by hand: (h - b_dec) . w + b_enc = (2 - 1) 3 + (1 - 2) 5 - 4 = -6."""
    h, b_dec = (
        torch.tensor([[[2.0, 1.0]]], device=device),
        torch.tensor([[1.0, 2.0]], device=device),
    )
    W_enc = torch.tensor([[[3.0], [5.0]]], device=device)
    out = impl.preactivations(h, W_enc, torch.tensor([[-4.0]], device=device), b_dec)
    assert_same(out, torch.tensor([[[-6.0]]], device=device), "batch inst latent")


def test_preactivations__gradient_reaches_everything(impl, ref, seed, device):
    """The gradient reaches h, the weights and both biases."""
    args = encoder_args(seed, device)
    upstream = normal(seed + 5, device, BATCH, INST, LATENT)
    mine = vjp(impl.preactivations, args, upstream, (0, 1, 2, 3))
    assert_same(mine, vjp(ref.preactivations, args, upstream, (0, 1, 2, 3)))


# ----------------------------------------------------------------------------------- d2. sae_decode


def decoder_args(seed, device, dtype=torch.float32, batch=BATCH):
    """acts, W_dec, b_dec; rows of W_dec do not have length 1 here."""
    params = make_params(seed, device, dtype=dtype)
    acts = normal(seed + 9, device, batch, INST, LATENT, dtype=dtype)
    return acts, 2 * params["W_dec"], params["b_dec"]


def test_sae_decode__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions, for any memory layout and for one row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, BATCH), (torch.float32, 1)):
        acts, W_dec, b_dec = decoder_args(seed, device, dtype, batch)
        args = (strided(acts), strided(W_dec), b_dec)
        with unchanged(*args):
            out = impl.sae_decode(*args)
        assert_same(out, ref.sae_decode(acts, W_dec, b_dec), "batch inst d_in")


def test_sae_decode__one_latent_writes_its_row(impl, seed, device):
    """Where only latent l is on, with strength 2, the result is 2 W_dec[l] + b_dec."""
    _, W_dec, b_dec = decoder_args(seed, device)
    acts = 2 * torch.eye(LATENT, device=device)[:, None].expand(LATENT, INST, LATENT)
    assert_same(
        impl.sae_decode(acts, W_dec, b_dec), 2 * W_dec.transpose(0, 1) + b_dec, "batch inst d_in"
    )


def test_sae_decode__gradient_reaches_everything(impl, ref, seed, device):
    """The gradient reaches activations, weights and bias."""
    args = decoder_args(seed, device)
    upstream = normal(seed + 5, device, BATCH, INST, D_IN)
    mine = vjp(impl.sae_decode, args, upstream, (0, 1, 2))
    assert_same(mine, vjp(ref.sae_decode, args, upstream, (0, 1, 2)))


# ----------------------------------------------------------------------------------- d3. loss_terms


def loss_args(seed, device, dtype=torch.float32, batch=BATCH):
    """h, h_hat and activations (of both signs: the formula has an absolute value)."""
    h = normal(seed, device, batch, INST, D_IN, dtype=dtype)
    h_hat = normal(seed + 1, device, batch, INST, D_IN, dtype=dtype)
    return h, h_hat, normal(seed + 2, device, batch, INST, LATENT, dtype=dtype)


def test_loss_terms__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference in both precisions, and for a single row."""
    for dtype, batch in ((torch.float32, BATCH), (torch.float64, BATCH), (torch.float32, 1)):
        args = loss_args(seed, device, dtype, batch)
        with unchanged(*args):
            out = impl.loss_terms(*args)
        assert_same(out, ref.loss_terms(*args), ["batch inst"] * 2)


def test_loss_terms__by_hand(impl, device):
    """Errors (3, -1) give (9 + 1)/2 = 5; activations (1, 0, 2) give 3."""
    h, h_hat = (
        torch.tensor([[[4.0, 1.0]]], device=device),
        torch.tensor([[[1.0, 2.0]]], device=device),
    )
    acts = torch.tensor([[[1.0, 0.0, 2.0]]], device=device)
    expected = (torch.tensor([[5.0]], device=device), torch.tensor([[3.0]], device=device))
    assert_same(impl.loss_terms(h, h_hat, acts), expected, ["batch inst"] * 2)


def test_loss_terms__does_not_grow_with_d_in(impl, seed, device):
    """Repeating every coordinate leaves L2 as it is; repeating every latent doubles L1."""
    h, h_hat, acts = loss_args(seed, device)
    l2, l1 = impl.loss_terms(h, h_hat, acts)
    double = impl.loss_terms(h.repeat(1, 1, 2), h_hat.repeat(1, 1, 2), acts.repeat(1, 1, 2))
    assert_same(double[0], l2, "batch inst", what="L2 with every coordinate twice")
    assert_same(double[1], 2 * l1, "batch inst", what="L1 with every latent twice")


def test_loss_terms__has_gradients(impl, ref, seed, device):
    """The gradient reaches the reconstruction and the activations."""
    args = loss_args(seed, device)
    up = [normal(seed + 3, device, BATCH, INST), normal(seed + 4, device, BATCH, INST)]
    assert_same(vjp(impl.loss_terms, args, up, (1, 2)), vjp(ref.loss_terms, args, up, (1, 2)))


# ------------------------------------------------------------------------------------- d4. sae_loss


def test_sae_loss__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, for one coefficient and for one per instance; for one row."""
    per_inst = torch.tensor([0.1, 0.7, 2.0], device=device)
    for batch in (BATCH, INST, 1):
        args = loss_args(seed, device, batch=batch)
        for coeff in (0.37, per_inst):
            with unchanged(*args, per_inst):
                out = impl.sae_loss(*args, coeff)
            hint = f"l1_coeff = {coeff}, batch = {batch}"
            assert_same(out, ref.sae_loss(*args, coeff), "", hint=hint)


def test_sae_loss__sums_instances(impl, seed, device):
    """The loss of three instances is the sum of the losses of each alone."""
    h, h_hat, acts = loss_args(seed, device)
    alone = [impl.sae_loss(h[:, [k]], h_hat[:, [k]], acts[:, [k]], 0.4) for k in range(INST)]
    assert_same(impl.sae_loss(h, h_hat, acts, 0.4), sum(alone), hint="is `inst` summed?")


def test_sae_loss__averages_the_batch(impl, seed, device):
    """Every row twice leaves the loss as it is."""
    args = loss_args(seed, device)
    once = impl.sae_loss(*args, 0.4)
    twice = impl.sae_loss(*(a.repeat(2, 1, 1) for a in args), 0.4)
    assert_same(twice, once, hint="every row of the batch was repeated")


def test_sae_loss__is_linear_in_the_coefficient(impl, device):
    """A perfect reconstruction costs l1_coeff x L1: 0.25 x 8 = 2; without L1 it costs 0."""
    h, acts = torch.ones(2, 1, 3, device=device), torch.full((2, 1, 4), 2.0, device=device)
    for coeff, expected in ((0.25, 2.0), (0.5, 4.0), (0.0, 0.0)):
        out = impl.sae_loss(h, h.clone(), acts, coeff)
        assert_same(out, torch.tensor(expected, device=device), hint=f"l1_coeff = {coeff}")


def test_sae_loss__has_gradients(impl, ref, seed, device):
    """The gradient reaches the reconstruction and the activations."""
    args = (*loss_args(seed, device), 0.4)
    up = normal(seed + 3, device, 1)[0]
    assert_same(vjp(impl.sae_loss, args, up, (1, 2)), vjp(ref.sae_loss, args, up, (1, 2)))


# ------------------------------------------------------------------------------ e1. remove_parallel


def grad_and_rows(seed, device, dtype=torch.float32):
    """A gradient and decoder rows of many lengths."""
    rows = normal(seed + 1, device, INST, LATENT, D_IN, dtype=dtype)
    lengths = torch.linspace(0.3, 3, LATENT, device=device, dtype=dtype)
    return normal(seed, device, INST, LATENT, D_IN, dtype=dtype), rows * lengths[:, None]


def test_remove_parallel__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions and for any memory layout."""
    for dtype in (torch.float32, torch.float64):
        grad, W_dec = grad_and_rows(seed, device, dtype)
        for args in ((grad, W_dec), (strided(grad), strided(W_dec))):
            with unchanged(*args):
                out = impl.remove_parallel(*args)
            assert_same(out, ref.remove_parallel(grad, W_dec), AXES["W_dec"])


def test_remove_parallel__is_orthogonal_to_the_rows(impl, seed, device):
    """What is left has dot product 0 with its decoder row, whatever the row's length."""
    grad, W_dec = grad_and_rows(seed, device, torch.float64)
    dots = (impl.remove_parallel(grad, W_dec) * W_dec).sum(dim=-1)
    assert_same(dots, torch.zeros_like(dots), "inst latent", what="the dot product with the row")


def test_remove_parallel__keeps_what_is_orthogonal(impl, seed, device):
    """Twice is the same as once, and a gradient along the row vanishes."""
    grad, W_dec = grad_and_rows(seed, device, torch.float64)
    once = impl.remove_parallel(grad, W_dec)
    assert_same(impl.remove_parallel(once, W_dec), once, AXES["W_dec"], hint="applied twice")
    along = impl.remove_parallel(2 * W_dec, W_dec)
    assert_same(along, torch.zeros_like(along), AXES["W_dec"], hint="the gradient is 2 W_dec")


def test_remove_parallel__by_hand(impl, device):
    """Gradient (3, 4), row (2, 0): what is left is (0, 4); a zero row removes nothing."""
    grad = torch.tensor([[[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]]], device=device)
    W_dec = torch.tensor([[[2.0, 0.0], [0.0, 0.0], [0.0, -1e-5]]], device=device)
    expected = torch.tensor([[[0.0, 4.0], [3.0, 4.0], [3.0, 0.0]]], device=device)
    assert_same(impl.remove_parallel(grad, W_dec), expected, AXES["W_dec"])


# ------------------------------------------------------------------------------------ e2. train_sae

RATES = [0.03, 0.001, 0.02, 0.01]


def training_args(seed, device, n_steps=4, tied=False):
    """Parameters, batches, learning rates, coefficient.

    In float64: Adam's first step is nearly the sign of the gradient, and that of a gradient near 0
    would depend on the order of sums.
    """
    f64 = torch.float64
    batches = [normal(seed + 20 + k, device, BATCH, INST, D_IN, dtype=f64) for k in range(n_steps)]
    return make_params(seed, device, tied, f64), batches, RATES[:n_steps], 0.3


def test_train_sae__equals_the_reference(impl, ref, seed, device):
    """Parameters and losses agree with the reference after four steps, tied or not."""
    for tied in (False, True):
        args = training_args(seed, device, tied=tied)
        params, losses = impl.train_sae(*args)
        expected, expected_losses = ref.train_sae(*args)
        assert_same(losses, expected_losses.to(losses.dtype), "step", what="the losses")
        assert_same_params(params, expected)


def test_train_sae__keeps_decoder_rows_on_the_sphere(impl, seed, device):
    """After training every decoder row has length 1."""
    params, _ = impl.train_sae(*training_args(seed, device))
    lengths = params["W_dec"].norm(dim=-1)
    assert_same(lengths, torch.ones_like(lengths), "inst latent", what="the length of W_dec's rows")


def test_train_sae__leaves_its_inputs_alone(impl, seed, device):
    """The tensors that it was given do not change, and the results are detached."""
    params, batches, rates, coeff = training_args(seed, device)
    with unchanged(*params.values(), *batches):
        trained, losses = impl.train_sae(params, batches, rates, coeff)
    for name, value in [*trained.items(), ("losses", losses)]:
        require(not value.requires_grad, f"{name} still requires a gradient: detach it")


def test_train_sae__keeps_training_every_parameter(impl, seed, device):
    """Each parameter moves in the first step, and again in later ones."""
    one = impl.train_sae(*training_args(seed, device, 1))[0]
    three = impl.train_sae(*training_args(seed, device, 3))[0]
    start = training_args(seed, device)[0]
    for name in start:
        require(not torch.allclose(one[name], start[name]), f"{name} does not move in step 1")
        require(
            not torch.allclose(three[name], one[name]),
            f"{name} stands still after step 1: does the optimiser still hold it?",
        )


def test_train_sae__notes_the_loss_before_the_update(impl, ref, seed, device):
    """The first loss is that of the untrained SAE."""
    params, batches, rates, coeff = training_args(seed, device)
    acts, h_hat = ref.sae_forward(params, batches[0])
    expected = ref.sae_loss(batches[0], h_hat, acts, coeff)
    losses = impl.train_sae(params, batches, rates, coeff)[1]
    require(losses.shape == (4,), f"the losses have shape {tuple(losses.shape)}, expected (4,)")
    assert_same(losses[0], expected.to(losses.dtype), hint="is it noted before the step?")


def test_train_sae__rate_0_changes_nothing(impl, seed, device):
    """Steps with learning rate 0 leave the parameters as they are."""
    params, batches, _, coeff = training_args(seed, device)
    trained, _ = impl.train_sae(params, batches, [0.0] * 4, coeff)
    assert_same_params(trained, params, hint="all learning rates are 0")


def test_train_sae__takes_one_coefficient_per_instance(impl, ref, seed, device):
    """l1_coeff may be a tensor with one value per instance, also from a generator of batches."""
    params, batches, rates, _ = training_args(seed, device)
    coeff = torch.tensor([0.0, 0.5, 1.0], device=device)
    mine = impl.train_sae(params, (h for h in batches), iter(rates), coeff)
    expected = ref.train_sae(params, batches, rates, coeff)
    assert_same(mine[1], expected[1].to(mine[1].dtype), "step", what="the losses")
    assert_same_params(mine[0], expected[0])


# -------------------------------------------------------------------------------- f1. dead_latents


def make_window(seed, device, steps=3):
    """Sparse activations: each entry is 0 with probability 0.7."""
    shape = (steps, BATCH, INST, LATENT)
    on = torch.rand(shape, generator=generator(seed, device), device=device) < 0.3
    return normal(seed + 1, device, *shape).abs() * on


def test_dead_latents__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference on windows with and without dead latents."""
    window = make_window(seed, device)
    window[:, :, 0, :3] = 0
    window[:, :, 2, 4] = 0
    with unchanged(window):
        out = impl.dead_latents(window)
    assert_same(out, ref.dead_latents(window), "inst latent")


def test_dead_latents__once_is_enough_to_live(impl, device):
    """A latent that is active in a single row of a single step, even at 1e-30, is alive."""
    window = torch.zeros(3, BATCH, INST, LATENT, device=device)
    window[0, 2, 0, 1], window[1, 0, 1, 5], window[2, 6, 2, 0] = 1.0, 1e-30, 1e-3
    expected = torch.ones(INST, LATENT, dtype=torch.bool, device=device)
    expected[0, 1] = expected[1, 5] = expected[2, 0] = False
    assert_same(impl.dead_latents(window), expected, "inst latent")


def test_dead_latents__looks_at_each_instance(impl, device):
    """A latent that is dead in one instance may be alive in another."""
    window = torch.ones(2, BATCH, INST, LATENT, device=device)
    window[:, :, 1, 3] = 0
    out = impl.dead_latents(window)
    expected = torch.zeros(INST, LATENT, dtype=torch.bool, device=device)
    expected[1, 3] = True
    assert_same(out, expected, "inst latent")


def test_dead_latents__sparse_is_not_dead(impl, seed, device):
    """Latents that are silent in most rows, but not in all, are alive."""
    window = torch.zeros(2, 400, INST, LATENT, device=device)
    window[1, 17] = 0.01 * normal(seed, device, INST, LATENT).abs() + 1e-4
    out = impl.dead_latents(window)
    if out.any():
        fail(f"{first_index(out, 'inst latent')} is active in 1 of 800 rows: it is alive")


# ----------------------------------------------------------------------------- f2. resample_simple


def test_resample_simple__leaves_the_living_alone(impl, ref, seed, device):
    """Alive latents and b_dec keep their values; shapes and names stay; inputs are not changed."""
    for tied in (True, False):
        params, dead = make_params(seed, device, tied), make_dead(device)
        expected = ref.resample_simple(params, dead, generator(seed + 50, device))
        with unchanged(*params.values(), dead):
            new = impl.resample_simple(params, dead, generator(seed + 50, device))
        assert_same_params(
            {k: v * 0 for k, v in new.items()}, {k: v * 0 for k, v in expected.items()}
        )
        assert_same(new["b_dec"], params["b_dec"], AXES["b_dec"], what="b_dec")
        assert_same(new["b_enc"][~dead], params["b_enc"][~dead], what="b_enc of alive latents")
        assert_same(new["W_dec"][~dead], params["W_dec"][~dead], what="W_dec of alive latents")
        if not tied:
            alive = [p["W_enc"].mT[~dead] for p in (new, params)]
            assert_same(*alive, what="W_enc of alive latents")


def test_resample_simple__gives_unit_rows_and_bias_0(impl, seed, device):
    """In every instance each dead latent gets a new decoder row of length 1, and bias 0."""
    params, dead = make_params(seed, device, tied=True), make_dead(device)
    new = impl.resample_simple(params, dead, generator(seed + 50, device))
    lengths = new["W_dec"].norm(dim=-1)
    assert_same(lengths, torch.ones_like(lengths), "inst latent", what="length of the rows")
    bias = params["b_enc"].masked_fill(dead, 0)
    assert_same(new["b_enc"], bias, "inst latent", what="b_enc")
    same = (new["W_dec"] == params["W_dec"]).all(dim=-1) & dead
    if same.any():
        fail(f"{first_index(same, 'inst latent')} is dead and keeps its decoder row")


def test_resample_simple__points_encoder_and_decoder_alike(impl, seed, device):
    """A dead latent's encoder column is its new decoder row."""
    params, dead = make_params(seed, device), make_dead(device)
    new = impl.resample_simple(params, dead, generator(seed + 50, device))
    rows = new["W_dec"][dead]
    assert_same(new["W_enc"].mT[dead], rows, what="encoder columns of dead latents")
    assert_same(rows.norm(dim=-1), torch.ones_like(rows[:, 0]), what="length of the new rows")


def test_resample_simple__changes_nothing_without_dead_latents(impl, seed, device):
    """Where all latents are alive everything stays as it is."""
    params, dead = make_params(seed, device), make_dead(device)
    new = impl.resample_simple(params, torch.zeros_like(dead), generator(seed + 50, device))
    assert_same_params(new, params, hint="no latent is dead")


def test_resample_simple__uses_the_generator(impl, seed, device):
    """The same generator state gives the same directions, another state others."""
    params, dead = make_params(seed, device, tied=True), make_dead(device)
    a, b, c = (
        impl.resample_simple(params, dead, generator(k, device))["W_dec"]
        for k in (seed, seed, seed + 1)
    )
    require(torch.equal(a, b), "two calls with equal generators differ: is `gen` used?")
    require(not torch.equal(a, c), "another generator gives the same directions")


def test_resample_simple__directions_are_uniform(impl, seed, device):
    """Each dead latent has its own direction, all equally likely (false alarm 1e-6)."""
    W_dec = torch.ones(40, 100, 2, device=device) / math.sqrt(2)
    params = {"W_dec": W_dec, "b_enc": W_dec[..., 0], "b_dec": W_dec[:, 0]}
    dead = torch.ones(40, 100, dtype=torch.bool, device=device)
    rows = impl.resample_simple(params, dead, generator(seed + 50, device))["W_dec"]
    assert_round(rows, "new directions")
    for what, a, b in (("latents", rows[:, 1:], rows[:, :-1]), ("instances", rows[1:], rows[:-1])):
        cosine = (a * b).sum(-1)
        require(cosine.mean().abs() < 2 * hoeffding(1900, 2), f"{what} get the same direction")


# ----------------------------------------------------------------------- g1. resample_probabilities


def test_resample_probabilities__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference in both precisions."""
    for dtype in (torch.float32, torch.float64):
        l2 = normal(seed, device, BATCH, INST, dtype=dtype).square()
        with unchanged(l2):
            out = impl.resample_probabilities(l2)
        assert_same(out, ref.resample_probabilities(l2), "batch inst")


def test_resample_probabilities__by_hand(impl, device):
    """Losses (1, 2, 0) give probabilities (1/5, 4/5, 0)."""
    l2 = torch.tensor([[1.0, 3.0], [2.0, 3.0], [0.0, 0.0]], device=device)
    expected = torch.tensor([[0.2, 0.5], [0.8, 0.5], [0.0, 0.0]], device=device)
    assert_same(impl.resample_probabilities(l2), expected, "batch inst")


def test_resample_probabilities__sums_to_1(impl, seed, device):
    """Each instance's probabilities are non-negative and sum to 1 over the batch."""
    for batch in (BATCH, 1):
        p = impl.resample_probabilities(normal(seed, device, batch, INST).abs() * 1e-3)
        require((p >= 0).all(), "some probabilities are negative")
        ones = torch.ones(INST, device=device)
        assert_same(p.sum(dim=0), ones, "inst", what="the sum over the batch")


def test_resample_probabilities__works_for_small_losses(impl, device):
    """Losses of size 1e-10 are losses, too: (1, 2, 0) times 1e-10 still give (1/5, 4/5, 0)."""
    l2 = torch.tensor([[1e-10, 30.0], [2e-10, 30.0], [0.0, 0.0]], device=device)
    expected = torch.tensor([[0.2, 0.5], [0.8, 0.5], [0.0, 0.0]], device=device)
    assert_same(impl.resample_probabilities(l2), expected, "batch inst")


def test_resample_probabilities__is_uniform_without_loss(impl, device):
    """Where all losses of an instance are 0, every row has the same probability."""
    l2 = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0], [0.0, 0.0]], device=device)
    p = impl.resample_probabilities(l2)
    assert_same(p[:, 0], torch.full((4,), 0.25, device=device), "batch", what="instance 0")
    expected = torch.tensor([1 / 6, 1 / 6, 4 / 6, 0], device=device)
    assert_same(p[:, 1], expected, "batch", what="instance 1")


# ------------------------------------------------------------------------------------ g2. draw_rows


def table(device):
    """Probabilities of five rows in three instances."""
    columns = [[0.5, 0.3, 0.2, 0.0, 0.0], [0.0, 0.0, 0.1, 0.1, 0.8], [0.2] * 5]
    return torch.tensor(columns, device=device).mT.contiguous()


def test_draw_rows__gives_row_numbers(impl, ref, seed, device):
    """The result is int64 of shape (inst, latent), from 0 up to the number of rows."""
    p = table(device)
    with unchanged(p):
        rows = impl.draw_rows(p, 4, generator(seed, device))
    assert_same(rows * 0, ref.draw_rows(p, 4, generator(seed, device)) * 0, "inst latent")
    require(bool((rows >= 0).all() and (rows < 5).all()), "there are row numbers outside the batch")


def test_draw_rows__follows_the_probabilities(impl, seed, device):
    """Each instance's rows come up as often as its probabilities say (false alarm 1e-6)."""
    n, p = 3000, table(device)
    rows = impl.draw_rows(p, n, generator(seed, device))
    require(tuple(rows.shape) == (3, n), f"the shape is {tuple(rows.shape)}, expected (3, {n})")
    for k in range(3):
        for row in range(5):
            count, prob = int((rows[k] == row).sum()), p[row, k].item()
            low, high = binomial_bounds(n, prob, 1e-6 / 15) if prob else (0, 0)
            require(
                low <= count <= high,
                f"instance {k}: row {row} came up {count} times in {n}, at probability {prob:g}",
            )


def test_draw_rows__draws_with_replacement(impl, seed, device):
    """Draws are independent: neighbours are equal as often as chance says (false alarm 1e-6)."""
    p, n = table(device), 3000
    rows = impl.draw_rows(p, n, generator(seed, device))
    pairs = rows[:, 0::2] == rows[:, 1::2]
    for k in range(3):
        low, high = binomial_bounds(n // 2, p[:, k].square().sum().item(), 1e-6 / 3)
        count = int(pairs[k].sum())
        require(low <= count <= high, f"instance {k}: {count} of {n // 2} neighbours are equal")
    even = torch.full((5, 2), 0.2, device=device)
    one, other = impl.draw_rows(even, n, generator(seed, device))
    low, high = binomial_bounds(n, 0.2)
    same = int((one == other).sum())
    require(low <= same <= high, f"{same} times of {n} two instances drew the same row: draw anew")
    sure = torch.zeros(5, 3, device=device)
    sure[[1, 4, 0], [0, 1, 2]] = 1
    expected = torch.tensor([1, 4, 0], device=device)[:, None].expand(3, 6)
    assert_same(impl.draw_rows(sure, 6, generator(seed, device)), expected, "inst latent")


def test_draw_rows__uses_the_generator(impl, seed, device):
    """The same generator state gives the same rows."""
    p = table(device)
    a, b = (impl.draw_rows(p, 3000, generator(seed, device)) for _ in range(2))
    require(torch.equal(a, b), "two calls with equal generators differ: is `gen` used?")


# ----------------------------------------------------------------------------- g3. resample_to_rows


def row_args(seed, device, tied=False, scale=0.35, batch=BATCH):
    """params, dead, h, rows, scale."""
    h = normal(seed + 9, device, batch, INST, D_IN)
    rows = torch.randint(batch, (INST, LATENT), generator=generator(seed, device), device=device)
    return make_params(seed, device, tied), make_dead(device), h, rows, scale


def test_resample_to_rows__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, tied or not, also for one row; its inputs stay."""
    for tied, batch in ((False, BATCH), (True, BATCH), (False, 1)):
        args = row_args(seed, device, tied, batch=batch)
        with unchanged(*args[0].values(), *args[1:4]):
            new = impl.resample_to_rows(*args)
        assert_same_params(new, ref.resample_to_rows(*args))


def test_resample_to_rows__points_at_the_row(impl, device):
    """h = (5, 1), b_dec = (2, -3): the new direction is (3, 4)/5, in decoder and encoder."""
    tensor = torch.tensor
    params = {
        "W_enc": tensor([[[3.0, 7.0, 0.0], [0.0, 7.0, 1.0]]], device=device),
        "b_enc": tensor([[1.0, 1.0, 1.0]], device=device),
        "W_dec": tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], device=device),
        "b_dec": tensor([[2.0, -3.0]], device=device),
    }
    dead = tensor([[False, True, False]], device=device)
    h = tensor([[[9.0, 9.0]], [[5.0, 1.0]]], device=device)
    rows = tensor([[0, 1, 0]], device=device)
    new = impl.resample_to_rows(params, dead, h, rows, 0.5)
    direction = tensor([0.6, 0.8], device=device)
    assert_same(new["W_dec"][0, 1], direction, "d_in", what="the new decoder row")
    hint = "alive columns have norms 3 and 1, scale is 0.5: the new norm is 1"
    assert_same(new["W_enc"][0, :, 1], direction, "d_in", hint=hint, what="the new encoder column")
    assert_same(new["b_enc"], tensor([[1.0, 0.0, 1.0]], device=device), "inst latent", what="b_enc")


def test_resample_to_rows__points_at_short_rows(impl, seed, device):
    """Rows a hundred thousand times shorter give the same directions."""
    params, dead, h, rows, scale = row_args(seed, device)
    params["b_dec"] = torch.zeros_like(params["b_dec"])
    expected = impl.resample_to_rows(params, dead, h, rows, scale)
    short = impl.resample_to_rows(params, dead, 1e-5 * h, rows, scale)
    assert_same_params(short, expected, hint="h was multiplied by 1e-5, and b_dec is 0")


def test_resample_to_rows__works_where_all_are_dead(impl, device, seed):
    """Without any alive latent the encoder columns have length `scale`, with no NaN."""
    params, dead, h, rows, _ = row_args(seed, device)
    dead[1] = True
    for scale in (0.2, 0.7):
        new = impl.resample_to_rows(params, dead, h, rows, scale)
        lengths = new["W_enc"][1].norm(dim=0)
        expected = torch.full((LATENT,), scale, device=device)
        assert_same(lengths, expected, "latent", what="length of the columns of instance 1")


def test_resample_to_rows__leaves_the_living_alone(impl, seed, device):
    """Alive latents and b_dec keep their values."""
    params, dead, h, rows, scale = row_args(seed, device)
    new = impl.resample_to_rows(params, dead, h, rows, scale)
    assert_same(new["b_dec"], params["b_dec"], AXES["b_dec"], what="b_dec")
    assert_same(new["b_enc"][~dead], params["b_enc"][~dead], what="b_enc of alive latents")
    assert_same(new["W_dec"][~dead], params["W_dec"][~dead], what="W_dec of alive latents")
    assert_same(*(p["W_enc"].mT[~dead] for p in (new, params)), what="W_enc of alive latents")


# -------------------------------------------------------------------------------- g4. reset_moments


def test_reset_moments__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, tied or not, and changes none of its inputs."""
    for tied in (False, True):
        moments, dead = make_params(seed, device, tied), make_dead(device)
        with unchanged(*moments.values(), dead):
            new = impl.reset_moments(moments, dead)
        assert_same_params(new, ref.reset_moments(moments, dead))


def test_reset_moments__forgets_only_the_dead(impl, device):
    """With ones everywhere, exactly the entries of the dead latent become 0."""
    moments = {
        "W_enc": torch.ones(2, 2, 2, device=device),
        "b_enc": torch.ones(2, 2, device=device),
        "W_dec": torch.ones(2, 2, 2, device=device),
        "b_dec": torch.ones(2, 2, device=device),
    }
    dead = torch.tensor([[False, True], [False, False]], device=device)
    new = impl.reset_moments(moments, dead)
    expected = {name: value.clone() for name, value in moments.items()}
    expected["W_dec"][0, 1] = expected["W_enc"][0, :, 1] = expected["b_enc"][0, 1] = 0
    assert_same_params(new, expected, hint="latent 1 of instance 0 is dead, all sizes are 2")


def test_reset_moments__keeps_b_dec(impl, seed, device):
    """b_dec belongs to no latent: it stays, even if all latents are dead."""
    moments = make_params(seed, device)
    dead = torch.ones(INST, LATENT, dtype=torch.bool, device=device)
    new = impl.reset_moments(moments, dead)
    assert_same(new["b_dec"], moments["b_dec"], AXES["b_dec"], what="b_dec")
    for name in ("W_enc", "W_dec", "b_enc"):
        require((new[name] == 0).all(), f"all latents are dead, but {name} is not 0 everywhere")


# ---------------------------------------------------------------------------------- h1–h3. scores


def directions(seed, device, latent=LATENT, dtype=torch.float32):
    """Features W and decoder rows of many lengths."""
    W = normal(seed, device, INST, D_IN, FEATURE, dtype=dtype)
    lengths = torch.linspace(0.5, 2, latent, device=device, dtype=dtype)
    return W, normal(seed + 1, device, INST, latent, D_IN, dtype=dtype) * lengths[:, None]


def test_feature_cosines__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions and for any memory layout."""
    for dtype in (torch.float32, torch.float64):
        W, W_dec = directions(seed, device, dtype=dtype)
        for args in ((W, W_dec), (strided(W), strided(W_dec))):
            with unchanged(*args):
                out = impl.feature_cosines(*args)
            assert_same(out, ref.feature_cosines(W, W_dec), "inst feature latent")


def test_feature_cosines__by_hand(impl, device):
    """Features (3, 4) and (0, 2), latents (5, 0) and (0, -1): cosines 0.6, -0.8, 0, -1."""
    W = torch.tensor([[[3.0, 0.0], [4.0, 2.0]]], device=device)
    W_dec = torch.tensor([[[5.0, 0.0], [0.0, -1.0]]], device=device)
    expected = torch.tensor([[[0.6, -0.8], [0.0, -1.0]]], device=device)
    assert_same(impl.feature_cosines(W, W_dec), expected, "inst feature latent")


def test_feature_cosines__does_not_depend_on_lengths(impl, seed, device):
    """Scaling features or latents changes nothing, and all values are in [-1, 1]."""
    W, W_dec = directions(seed, device)
    out = impl.feature_cosines(W, W_dec)
    require(
        out.abs().max() <= 1 + 1e-5, "there are cosines beyond 1: is each direction normalised?"
    )
    for a, b in ((3, 0.2), (1e-4, 1), (1, 1e-4)):
        hint = f"features were multiplied by {a:g}, latents by {b:g}"
        assert_same(impl.feature_cosines(a * W, b * W_dec), out, "inst feature latent", hint=hint)


def test_feature_mmcs__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, with more latents than features and with fewer."""
    for latent in (LATENT, 2):
        W, W_dec = directions(seed, device, latent)
        with unchanged(W, W_dec):
            out = impl.feature_mmcs(W, W_dec)
        assert_same(out, ref.feature_mmcs(W, W_dec), "inst")


def test_feature_mmcs__is_1_when_all_are_found(impl, seed, device):
    """If every feature has a latent, in any order and among others, the score is 1."""
    W, extra = directions(seed, device, 3)
    W_dec = torch.cat([extra, 2 * W.mT.flip(1)], dim=1)
    assert_same(impl.feature_mmcs(W, W_dec), torch.ones(INST, device=device), "inst")


def test_feature_mmcs__by_hand(impl, device):
    """One latent on the first of two orthogonal features: (1 + 0)/2; turned around: (-1 + 0)/2."""
    W = torch.eye(2, device=device)[None]
    for sign in (1.0, -1.0):
        W_dec = torch.tensor([[[sign, 0.0]]], device=device)
        assert_same(impl.feature_mmcs(W, W_dec), torch.tensor([sign / 2], device=device), "inst")


def test_matched_cosines__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, with more latents than features and with fewer."""
    for latent in (LATENT, 2):
        W, W_dec = directions(seed, device, latent)
        with unchanged(W, W_dec):
            out = impl.matched_cosines(W, W_dec)
        assert_same(out, ref.matched_cosines(W, W_dec), "inst feature")


def test_matched_cosines__uses_a_latent_once(impl, device):
    """One latent between two features can serve only one of them; the other takes what is left."""
    W = torch.eye(2, device=device)[None]
    half = math.sqrt(0.5)
    W_dec = torch.tensor([[[half, half], [-1.0, 0.0]]], device=device)
    expected = torch.tensor([[-1.0, half]], device=device)
    other = torch.tensor([[half, 0.0]], device=device)
    out = impl.matched_cosines(W, W_dec)
    good = torch.allclose(out, expected) or torch.allclose(out, other)
    require(good and torch.allclose(out.sum(), other.sum()), "is the total cosine the largest?")


def test_matched_cosines__is_better_than_greedy(impl, device):
    """The total counts: taking the best pair first would give 0.99 + (-0.1), not 0.9 + 0.8."""
    W = torch.eye(3, device=device)[None, :, :2]
    tables = torch.tensor([[0.99, 0.8], [0.9, -0.1]], device=device)  # latent x feature
    W_dec = torch.cat([tables, (1 - tables.square().sum(1, keepdim=True)).abs().sqrt()], 1)
    W_dec = W_dec / W_dec.norm(dim=1, keepdim=True)
    expected = torch.stack([W_dec[1, 0], W_dec[0, 1]])[None]
    assert_same(impl.matched_cosines(W, W_dec[None]), expected, "inst feature")


def test_matched_cosines__leaves_unmatched_features_at_0(impl, seed, device):
    """With two latents and five features, three features have 0, and two latents are found."""
    W, _ = directions(seed, device)
    out = impl.matched_cosines(W, W.mT[:, [4, 1]])
    expected = torch.zeros(INST, FEATURE, device=device)
    expected[:, [1, 4]] = 1
    assert_same(out, expected, "inst feature")


# ------------------------------------------------------------------------------------- predictions


def test_predict_twins__is_right(impl, ref):
    """What becomes of two latents with nearly the same weights."""
    require(impl.predict_twins == ref.predict_twins, "look at the printed counts")


def test_predict_without__is_right(impl, ref):
    """In how many instances everything is recovered without resampling."""
    require(impl.predict_without == ref.predict_without, "look at the first printed line")


def test_predict_magnitude__is_right(impl):
    """1 minus what L1 takes away, for λ = 0.3 and d_in = 2; within 0.02."""
    value = impl.predict_magnitude
    require(isinstance(value, int | float), f"give a number; yours is {describe(value)}")
    require(abs(value - 0.7) <= 0.02, "minimise (1 - a)² / 2 + 0.3 a over a")


# ----------------------------------------------------------------------------------- i. shrinkage


def test_shrunk_magnitude__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference for any shape, coefficient, width and precision."""
    for dtype in (torch.float32, torch.float64):
        m = 3 * normal(seed, device, 4, 3, dtype=dtype).abs()
        with unchanged(m):
            out = impl.shrunk_magnitude(m, 0.3, 5)
        assert_same(out, ref.shrunk_magnitude(m, 0.3, 5), "row column")
        for part in (m[0], m[0, 0]):  # a row, and a single number
            expected = ref.shrunk_magnitude(part, 0.05, 12)
            assert_same(impl.shrunk_magnitude(part, 0.05, 12), expected)


def test_shrunk_magnitude__is_the_minimum(impl, seed, device):
    """No other a ≥ 0 has a smaller (m - a)² / d_in + λ a, on a grid of step 0.001."""
    m = 1.5 * torch.rand(6, generator=generator(seed, device), device=device, dtype=torch.float64)
    grid = torch.linspace(0, 2, 2001, device=device, dtype=torch.float64)
    for l1, d_in in ((0.3, 2), (0.2, 7), (0.9, 3), (0.0, 4), (0.5, 1)):
        a = impl.shrunk_magnitude(m, l1, d_in)
        best = ((m[:, None] - grid).square() / d_in + l1 * grid).amin(dim=1)
        require((a >= 0).all(), "there are negative activations: a ReLU cannot put those out")
        loss = (m - a).square() / d_in + l1 * a
        i = int((loss - best).argmax())
        require(
            loss[i] <= best[i] + 1e-12,
            f"λ = {l1:g}, d_in = {d_in}, m = {m[i]:.3f}: your a = {a[i]:.3f} is not the minimum",
        )


def test_shrunk_magnitude__by_hand(impl, device):
    """λ = 0.5 and d_in = 4 take away exactly 1: 3 becomes 2, and 0.5 becomes 0."""
    m = torch.tensor([3.0, 1.0, 0.5, 0.0], device=device)
    expected = torch.tensor([2.0, 0.0, 0.0, 0.0], device=device)
    assert_same(impl.shrunk_magnitude(m, 0.5, 4), expected, "feature")


def test_reconstruction_bias__equals_the_reference(impl, ref, seed, device):
    """It agrees with the reference, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        h = normal(seed, device, BATCH, INST, D_IN, dtype=dtype)
        h_hat = 0.6 * h + 0.05 * normal(seed + 1, device, BATCH, INST, D_IN, dtype=dtype)
        with unchanged(h, h_hat):
            out = impl.reconstruction_bias(h, h_hat)
        assert_same(out, ref.reconstruction_bias(h, h_hat), "inst")


def test_reconstruction_bias__is_the_factor(impl, seed, device):
    """If every reconstruction is c times the row, it is c, for each instance."""
    h = normal(seed, device, BATCH, INST, D_IN)
    factor = torch.tensor([0.5, 1.0, 1.7], device=device)
    assert_same(impl.reconstruction_bias(h, h * factor[:, None]), factor, "inst")


def test_reconstruction_bias__does_not_depend_on_units(impl, seed, device):
    """Rows and reconstructions a hundred times smaller have the same γ."""
    h = normal(seed, device, BATCH, INST, D_IN)
    h_hat = 0.6 * h + 0.2 * normal(seed + 1, device, BATCH, INST, D_IN)
    once = impl.reconstruction_bias(h, h_hat)
    assert_same(impl.reconstruction_bias(h / 100, h_hat / 100), once, "inst")


def test_reconstruction_bias__is_the_best_divisor(impl, seed, device):
    """Dividing the reconstruction by it leaves an error that has nothing of the reconstruction."""
    h = normal(seed, device, BATCH, INST, D_IN, dtype=torch.float64)
    h_hat = 0.6 * h + 0.5 * normal(seed + 1, device, BATCH, INST, D_IN, dtype=torch.float64)
    gamma = impl.reconstruction_bias(h, h_hat)
    left = ((h_hat / gamma[:, None] - h) * h_hat).sum(dim=(0, 2))
    assert_same(
        left, torch.zeros_like(left), "inst", rtol=1e-5, atol=1e-9, what="the slope at your γ"
    )
