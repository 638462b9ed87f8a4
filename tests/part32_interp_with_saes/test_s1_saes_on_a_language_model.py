"""3.2.1: what is right, on small random tensors."""

import contextlib
import html
import math
import re

import pytest
import torch
from torch import nn

from utils.given.sae_directory import SaeRow
from utils.testing import (
    assert_raises,
    assert_same,
    binomial_bounds,
    generator,
    require,
    unchanged,
    vjp,
)

SHAPES = [(4, 3, 5, 7), (1, 1, 6, 3), (2, 5, 3, 8)]  # batch, pos, d_in, latent
TOKENS = "batch pos latent"


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def weights(g, d_in, latent, dtype=torch.float32):
    """W_enc, b_enc, W_dec, b_dec; no bias is 0."""
    return (
        normal(g, d_in, latent, dtype=dtype), normal(g, latent, dtype=dtype),
        normal(g, latent, d_in, dtype=dtype), normal(g, d_in, dtype=dtype),
    )  # fmt: skip


def some_mask(g, row, pos, share=0.7):
    """A mask that is neither all true nor all false, and differs between rows."""
    mask = torch.rand(row, pos, generator=g, device=g.device) < share
    mask[0, 0], mask[-1, -1] = True, False
    return mask


# ------------------------------------------------------------------------ a1. sae_preactivations


def test_sae_preactivations__by_hand(impl, device):
    """Two latents worked out by hand, with both conventions"""
    x = torch.tensor([[3.0, 1.0]], device=device)
    W = torch.tensor([[1.0, -2.0], [4.0, 0.5]], device=device)
    b_enc, b_dec = torch.tensor([0.5, 1.0], device=device), torch.tensor([1.0, 2.0], device=device)
    plain = torch.tensor([[7.5, -4.5]], device=device)  # 3 + 4 + 0.5, -6 + 0.5 + 1
    centred = torch.tensor([[-1.5, -3.5]], device=device)  # x - b_dec = (2, -1)
    assert_same(impl.sae_preactivations(x, W, b_enc, b_dec, False), plain, "batch latent")
    assert_same(impl.sae_preactivations(x, W, b_enc, b_dec, True), centred, "batch latent")


def test_sae_preactivations__of_the_decoder_bias_are_the_encoder_bias(impl, seed, device):
    """At x = b_dec a centred SAE has the pre-activations b_enc"""
    W_enc, b_enc, _, b_dec = weights(generator(seed, device), 5, 7)
    z = impl.sae_preactivations(b_dec.expand(2, 3, 5), W_enc, b_enc, b_dec, True)
    assert_same(z, b_enc.expand(2, 3, 7).clone(), TOKENS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_sae_preactivations__agree_with_the_worked_ones(impl, ref, seed, device, shape, dtype):
    """Other sizes, both conventions, any number of axes"""
    batch, pos, d_in, latent = shape
    g = generator(seed + 1, device)
    W_enc, b_enc, _, b_dec = weights(g, d_in, latent, dtype)
    x = normal(g, batch, pos, d_in, dtype=dtype)
    for centred in (True, False):
        for rows, axes in ((x, TOKENS), (x[0], "pos latent"), (x[0, 0], "latent")):
            with unchanged(rows, b_dec):
                mine = impl.sae_preactivations(rows, W_enc, b_enc, b_dec, centred)
            theirs = ref.sae_preactivations(rows, W_enc, b_enc, b_dec, centred)
            assert_same(mine, theirs, axes)


# -------------------------------------------------------------------------- a2. jumprelu_latents


def test_jumprelu_latents__by_hand(impl, device):
    """Above the threshold the value passes whole; at the threshold and below it is 0"""
    z = torch.tensor([[0.5, 0.75, 1.0, -1.0], [2.0, 0.25, 0.0, 3.0]], device=device)
    threshold = torch.tensor([0.5, 0.5, 1.0, -2.0], device=device)
    expected = torch.tensor([[0.0, 0.75, 0.0, 0.0], [2.0, 0.0, 0.0, 3.0]], device=device)
    assert_same(impl.jumprelu_latents(z, threshold), expected, "batch latent")


def test_jumprelu_latents__with_thresholds_of_zero_are_those_of_a_relu(impl, seed, device):
    """With thresholds of 0 it is the ReLU"""
    z = normal(generator(seed, device), 3, 4, 6)
    assert_same(impl.jumprelu_latents(z, torch.zeros(6, device=device)), z.relu(), TOKENS)


def test_jumprelu_latents__pass_the_gradient_of_what_is_active(impl, seed, device):
    """The gradient passes where a latent is active, and nowhere else"""
    g = generator(seed, device)
    z, threshold = normal(g, 5, 6), normal(g, 6).abs()
    up = normal(g, 5, 6)
    [grad] = vjp(impl.jumprelu_latents, (z, threshold), up)
    assert_same(grad, up * (z > threshold), "batch latent")


@pytest.mark.parametrize("shape", SHAPES)
def test_jumprelu_latents__agree_with_the_worked_ones(impl, ref, seed, device, shape):
    """Other sizes, thresholds on both sides of 0"""
    batch, pos, _, latent = shape
    g = generator(seed + 2, device)
    z, threshold = normal(g, batch, pos, latent), normal(g, latent)
    with unchanged(z, threshold):
        mine = impl.jumprelu_latents(z, threshold)
    assert_same(mine, ref.jumprelu_latents(z, threshold), TOKENS)


# ------------------------------------------------------------------------------ a3. topk_latents


def test_topk_latents__by_hand(impl, device):
    """The two largest keep their value; a negative one among them is 0"""
    z = torch.tensor([[1.0, 3.0, 2.0, -1.0], [-4.0, 0.5, -2.0, -3.0]], device=device)
    expected = torch.tensor([[0.0, 3.0, 2.0, 0.0], [0.0, 0.5, 0.0, 0.0]], device=device)
    assert_same(impl.topk_latents(z, 2), expected, "batch latent")


def test_topk_latents__are_at_most_k_per_token_and_no_smaller_than_the_rest(impl, seed, device):
    """Each token has k active latents where k are positive, and none that is left out is larger"""
    z = normal(generator(seed, device), 6, 5, 12)
    f = impl.topk_latents(z, 3)
    assert_same((f > 0).sum(dim=-1), (z > 0).sum(dim=-1).clamp(max=3), "batch pos")
    left_out = z.masked_fill(f > 0, -math.inf).amax(dim=-1)
    least = f.masked_fill(f == 0, math.inf).amin(dim=-1)
    require((left_out.clamp(min=0) <= least).all(), "a latent that was left out is larger")


def test_topk_latents__with_all_latents_are_those_of_a_relu(impl, seed, device):
    """With k = number of latents it is the ReLU"""
    z = normal(generator(seed, device), 4, 6)
    assert_same(impl.topk_latents(z, 6), z.relu(), "batch latent")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 3])
def test_topk_latents__agree_with_the_worked_ones(impl, ref, seed, device, shape, k):
    """Other sizes and k; the input stays as it is"""
    batch, pos, _, latent = shape
    z = normal(generator(seed + 3, device), batch, pos, latent)
    with unchanged(z):
        mine = impl.topk_latents(z, k)
    assert_same(mine, ref.topk_latents(z, k), TOKENS)


# ----------------------------------------------------------------------------- a4. gated_latents


def test_gated_latents__by_hand(impl, device):
    """A gate that is open, one that is shut, one exactly at 0, and a magnitude below 0"""
    x = torch.tensor([[1.0, 2.0]], device=device)
    W = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]], device=device)  # x W = 1
    b_gate = torch.tensor([1.0, -2.0, -1.0, 1.0], device=device)
    r_mag = torch.tensor([math.log(3.0), 0.0, 0.0, 0.0], device=device)
    b_mag = torch.tensor([0.5, 5.0, 5.0, -4.0], device=device)
    expected = torch.tensor([[3.5, 0.0, 0.0, 0.0]], device=device)
    assert_same(impl.gated_latents(x, W, b_gate, r_mag, b_mag), expected, "batch latent")


def test_gated_latents__gate_decides_and_never_measures(impl, seed, device):
    """A larger gate bias opens latents, but changes no value of those that were open"""
    g = generator(seed, device)
    W, b_gate, _, _ = weights(g, 5, 9)
    x, r_mag, b_mag = normal(g, 4, 5), normal(g, 9), normal(g, 9)
    before = impl.gated_latents(x, W, b_gate, r_mag, b_mag)
    after = impl.gated_latents(x, W, b_gate + 2, r_mag, b_mag)
    assert_same(torch.where(before > 0, after, 0), before, "batch latent")


@pytest.mark.parametrize("shape", SHAPES)
def test_gated_latents__agree_with_the_worked_ones(impl, ref, seed, device, shape):
    """Other sizes"""
    batch, pos, d_in, latent = shape
    g = generator(seed + 4, device)
    W, b_gate, _, _ = weights(g, d_in, latent)
    args = normal(g, batch, pos, d_in), W, b_gate, normal(g, latent), normal(g, latent)
    with unchanged(*args):
        mine = impl.gated_latents(*args)
    assert_same(mine, ref.gated_latents(*args), TOKENS)


# ---------------------------------------------------------------------------- a5. fold_input_scale


def scaled_params(seed, device, with_threshold=True):
    W_enc, b_enc, W_dec, b_dec = weights(generator(seed, device), 5, 7)
    params = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    if with_threshold:
        params["threshold"] = normal(generator(seed + 50, device), 7).abs()
    return params


def run(params, x):
    """Latents and reconstruction of a centred SAE, JumpReLU if it has thresholds."""
    z = (x - params["b_dec"]) @ params["W_enc"] + params["b_enc"]
    f = z.relu() * (z > params["threshold"]) if "threshold" in params else z.relu()
    return f, f @ params["W_dec"] + params["b_dec"]


@pytest.mark.parametrize("with_threshold", [True, False])
@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_fold_input_scale__keeps_the_latents(impl, seed, device, scale, with_threshold):
    """The folded SAE on x has the latents of the old one on s x"""
    params = scaled_params(seed, device, with_threshold)
    x = normal(generator(seed + 5, device), 6, 5)
    folded = impl.fold_input_scale(params, scale)
    require(set(folded) == set(params), f"the keys are {sorted(folded)}, not {sorted(params)}")
    assert_same(run(folded, x)[0], run(params, scale * x)[0], "batch latent", 1e-4, 1e-5)


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_fold_input_scale__divides_the_reconstruction(impl, seed, device, scale):
    """The folded SAE on x reconstructs x where the old one on s x reconstructs s x"""
    params = scaled_params(seed, device)
    x = normal(generator(seed + 5, device), 6, 5)
    folded = impl.fold_input_scale(params, scale)
    want = run(params, scale * x)[1] / scale
    assert_same(run(folded, x)[1], want, "batch d_in", 1e-4, 1e-5)


def test_fold_input_scale__leaves_the_given_parameters_alone(impl, ref, seed, device):
    """The given dictionary and its tensors stay as they are, and the numbers are the worked ones"""
    params = scaled_params(seed, device)
    before = dict(params)
    with unchanged(*params.values()):
        folded = impl.fold_input_scale(params, 2.0)
    require(all(params[k] is before[k] for k in before), "the dictionary was changed in place")
    for name, value in ref.fold_input_scale(params, 2.0).items():
        assert_same(folded[name], value, what=name)


# ----------------------------------------------------------------------------- a6. through_heads


def test_through_heads__puts_head_0_first(impl, device):
    """The vectors that `encode` sees have head 0 first, then head 1"""
    z = torch.arange(24.0, device=device).reshape(2, 2, 2, 3)
    seen = []

    def encode(rows):
        seen.append(rows.clone())
        return rows

    out = impl.through_heads(z, encode, lambda f: 10 * f)
    require(len(seen) == 1, f"encode was called {len(seen)} times, not once")
    length = seen[0].shape[-1]  # any number of axes before it will do
    require(length == 6, f"encode sees vectors of length {length}, not 6")
    want = torch.arange(24.0, device=device).reshape(2, 2, 6)
    assert_same(seen[0].reshape(2, 2, 6), want, "batch pos d_in", what="what encode sees")
    assert_same(out, 10 * z, "batch pos head d_head")


def test_through_heads__of_an_identity_is_the_identity(impl, seed, device):
    """If the SAE changes nothing, nothing changes"""
    for shape in [(2, 3, 4, 5), (1, 2, 3), (3, 2)]:
        z = normal(generator(seed, device), *shape)
        assert_same(impl.through_heads(z, lambda v: v, lambda f: f), z)


def test_through_heads__agrees_with_the_worked_one(impl, ref, seed, device):
    """A random SAE over three heads"""
    g = generator(seed + 6, device)
    W_enc, b_enc, W_dec, b_dec = weights(g, 12, 7)
    z = normal(g, 2, 5, 3, 4)
    args = z, lambda v: (v @ W_enc + b_enc).relu(), lambda f: f @ W_dec + b_dec
    assert_same(impl.through_heads(*args), ref.through_heads(*args), "batch pos head d_head")


# -------------------------------------------------------------------------- a7. transcoder_output


def test_transcoder_output__by_hand(impl, device):
    """One latent and a skip path, worked out by hand"""
    x, f = torch.tensor([[1.0, 2.0]], device=device), torch.tensor([[3.0]], device=device)
    W_dec, b_dec = (
        torch.tensor([[1.0, -1.0]], device=device),
        torch.tensor([0.5, 0.25], device=device),
    )
    W_skip = torch.tensor([[1.0, 10.0], [100.0, 1000.0]], device=device)
    # W_skip x = (21, 2100); f W_dec + b_dec = (3.5, -2.75)
    plain = torch.tensor([[3.5, -2.75]], device=device)
    assert_same(impl.transcoder_output(x, f, W_dec, b_dec, None), plain, "batch d_out")
    both = torch.tensor([[24.5, 2097.25]], device=device)
    assert_same(impl.transcoder_output(x, f, W_dec, b_dec, W_skip), both, "batch d_out")


def test_transcoder_output__is_linear_in_the_input_when_the_latents_are_fixed(impl, seed, device):
    """With the latents held fixed, what x adds is linear in x"""
    g = generator(seed, device)
    f, W_dec, b_dec, W_skip = normal(g, 4, 6), normal(g, 6, 3), normal(g, 3), normal(g, 3, 5)
    x, y = normal(g, 4, 5), normal(g, 4, 5)

    def out(v):
        return impl.transcoder_output(v, f, W_dec, b_dec, W_skip)

    assert_same(out(x + y) - out(y), out(x) - out(0 * x), "batch d_out", 1e-4, 1e-4)


@pytest.mark.parametrize("d_out", [5, 3])
def test_transcoder_output__agrees_with_the_worked_one(impl, ref, seed, device, d_out):
    """As many outputs as inputs, and fewer; with and without the skip path"""
    g = generator(seed + 7, device)
    f, W_dec, b_dec, W_skip = (
        normal(g, 2, 4, 6),
        normal(g, 6, d_out),
        normal(g, d_out),
        normal(g, d_out, 5),
    )
    x = normal(g, 2, 4, 5)
    for skip in (None, W_skip):
        args = x, f, W_dec, b_dec, skip
        with unchanged(x, f):
            mine = impl.transcoder_output(*args)
        assert_same(mine, ref.transcoder_output(*args), "batch pos d_out")


# --------------------------------------------------------------------------------- b1. choose_sae


def row(sae_id, model="m", hook="blocks.1.hook", width=None, l0=None):
    return SaeRow("r", sae_id, model, hook, width, l0, None)


TABLE = [
    row("a", l0=None), row("b", l0=20.0, width=64), row("c", l0=60.0, width=64),
    row("d", l0=41.0, width=128), row("e", l0=39.0, width=128),
    row("f", model="n", l0=40.0, width=64), row("g", hook="blocks.2.hook", l0=40.0, width=64),
]  # fmt: skip


@pytest.mark.parametrize(
    ("l0", "width", "expected"),
    [
        (40.0, None, "d"), (39.5, None, "e"), (1000.0, None, "c"), (0.0, None, "b"),
        (40.0, 64, "b"), (55.0, 64, "c"), (10.0, 128, "e"),
    ],
)  # fmt: skip
def test_choose_sae__takes_the_nearest_l0(impl, l0, width, expected):
    """The row of this model, hook and width with L0 nearest; the first of equals"""
    found = impl.choose_sae(TABLE, "m", "blocks.1.hook", l0, width)
    require(found.sae_id == expected, f"for l0={l0}, width={width}: {found.sae_id}, not {expected}")


def test_choose_sae__takes_a_row_without_l0_only_if_there_is_no_other(impl):
    """A row without L0 comes last"""
    table = [row("a"), row("z"), row("b", l0=1e6)]
    require(impl.choose_sae(table, "m", "blocks.1.hook", 5.0).sae_id == "b", "L0 is known for one")
    require(impl.choose_sae(table[:2], "m", "blocks.1.hook", 5.0).sae_id == "a", "the first of two")


def test_choose_sae__says_which_hooks_and_widths_there_are(impl):
    """An unknown hook or width is a ValueError that lists what there is"""
    args = (TABLE, "m", "blocks.9.hook", 40.0)
    for name in ("blocks.1.hook", "blocks.2.hook"):
        assert_raises(ValueError, impl.choose_sae, *args, match=name)
    for width in ("64", "128"):
        assert_raises(
            ValueError, impl.choose_sae, TABLE, "m", "blocks.1.hook", 40.0, 99, match=width
        )
    assert_raises(ValueError, impl.choose_sae, TABLE, "unknown", "blocks.1.hook", 40.0)


def test_choose_sae__lists_the_hooks_of_this_model_only(impl):
    """The error lists this model's hooks, or this hook's widths, not those of others"""
    table = [*TABLE, row("h", model="n", hook="blocks.7.hook")]
    args = (table, "m", "blocks.9.hook", 40.0)
    assert_raises(ValueError, impl.choose_sae, *args, without="blocks.7.hook")
    table = [*TABLE, row("w", hook="blocks.2.hook", width=4096)]
    args = (table, "m", "blocks.1.hook", 40.0, 99)
    assert_raises(ValueError, impl.choose_sae, *args, without="4096")


def test_choose_sae__agrees_with_the_worked_one(impl, ref, seed):
    """A table of forty random rows"""
    g = generator(seed)
    l0s = [None if v < 0.2 else round(100 * v, 1) for v in torch.rand(40, generator=g).tolist()]
    widths = [2 ** int(5 + 3 * v) for v in torch.rand(40, generator=g).tolist()]
    table = [row(str(i), width=w, l0=v) for i, (w, v) in enumerate(zip(widths, l0s, strict=True))]
    for l0, width in ((30.0, None), (70.0, 32), (5.0, 64), (200.0, None)):
        args = table, "m", "blocks.1.hook", l0, width
        mine, theirs = impl.choose_sae(*args), ref.choose_sae(*args)
        require(
            mine == theirs, f"for l0={l0}, width={width}: row {mine.sae_id}, not {theirs.sae_id}"
        )


# ----------------------------------------------------------------------------------- c. run_hooked


class Net(nn.Module):
    """Two layers, the second one used twice."""

    def __init__(self, seed, device):
        super().__init__()
        g = generator(seed, device)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)
        for value in self.parameters():
            value.data = normal(g, *value.shape)

    def forward(self, x):
        return self.second(self.first(x).relu())


def left_over(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_run_hooked__replaces_and_keeps(impl, seed, device):
    """The edited output goes on; what is kept is the output before the edit"""
    net, x = Net(seed, device), normal(generator(seed + 8, device), 5, 4)
    out, kept = impl.run_hooked(net, x, {"first": lambda v: 2 * v, "second": lambda v: None})
    first = net.first(x)
    second = net.second((2 * first).relu())
    require(set(kept) == {"first", "second"}, f"kept are {sorted(kept)}")
    assert_same(kept["first"], first, "batch hidden", what="kept['first']")
    assert_same(kept["second"], second, "batch d_out", what="kept['second']")
    assert_same(out, second, "batch d_out")


def test_run_hooked__keeps_what_was_there_even_if_the_edit_works_in_place(impl, seed, device):
    """An edit in place does not reach what was kept"""
    net, x = Net(seed, device).requires_grad_(False), normal(generator(seed + 8, device), 5, 4)
    want = net.first(x).clone()
    _, kept = impl.run_hooked(net, x, {"first": lambda v: v.mul_(0)})
    assert_same(kept["first"], want, "batch hidden", what="kept['first']")


def test_run_hooked__leaves_no_hook_behind(impl, seed, device):
    """Afterwards no hook is left, not even after an error"""
    net, x = Net(seed, device), normal(generator(seed + 8, device), 5, 4)

    def fails(v):
        raise RuntimeError("in the middle")

    impl.run_hooked(net, x, {"first": lambda v: 0 * v})
    require(left_over(net) == 0, f"{left_over(net)} hooks are left after a run")
    with contextlib.suppress(RuntimeError):  # not `assert_raises`, which compares errors alone
        impl.run_hooked(net, x, {"first": lambda v: v, "second": fails})
    require(left_over(net) == 0, f"{left_over(net)} hooks are left after an error")
    assert_raises(RuntimeError, impl.run_hooked, net, x, {"first": lambda v: v, "second": fails})
    require(left_over(net) == 0, f"{left_over(net)} hooks are left after an error")
    assert_raises(AttributeError, impl.run_hooked, net, x, {"first": lambda v: v, "third": fails})
    require(left_over(net) == 0, f"{left_over(net)} hooks are left after an unknown name")


def test_run_hooked__agrees_with_the_worked_one(impl, ref, seed, device):
    """Each submodule gets its own edit"""
    net, x = Net(seed + 1, device), normal(generator(seed + 9, device), 3, 4)
    edits = {"second": lambda v: v - 1, "first": lambda v: v.relu() + 1}
    mine, theirs = impl.run_hooked(net, x, edits), ref.run_hooked(net, x, edits)
    assert_same(mine[0], theirs[0], "batch d_out")
    for name in edits:
        assert_same(mine[1][name], theirs[1][name], what=f"kept[{name!r}]")


# -------------------------------------------------------------------------------------- d1. splice


def small_sae(seed, device, d_in=5, latent=7):
    W_enc, b_enc, W_dec, b_dec = weights(generator(seed, device), d_in, latent)
    return lambda v: ((v - b_dec) @ W_enc + b_enc).relu(), lambda f: f @ W_dec + b_dec


def test_splice__with_the_error_term_and_no_edit_changes_nothing(impl, seed, device):
    """With the error term and no edit, x comes out"""
    x = normal(generator(seed + 10, device), 2, 3, 5)
    encode, decode = small_sae(seed, device)
    for edit in (None, lambda f: f):
        assert_same(impl.splice(x, encode, decode, edit, True), x, "batch pos d_in", 1e-4, 1e-4)


def test_splice__without_error_term_is_the_reconstruction(impl, seed, device):
    """Without the error term and without an edit, the reconstruction comes out"""
    x = normal(generator(seed + 10, device), 2, 3, 5)
    encode, decode = small_sae(seed, device)
    assert_same(impl.splice(x, encode, decode, None, False), decode(encode(x)), "batch pos d_in")


@pytest.mark.parametrize("in_place", [False, True])
def test_splice__an_edit_moves_x_along_the_decoder_row_only(impl, seed, device, in_place):
    """With the error term, adding 1 to a latent adds its decoder row to x"""
    x = normal(generator(seed + 10, device), 2, 3, 5)
    encode, decode = small_sae(seed, device)

    def edit(f):
        f = f if in_place else f.clone()
        f[..., 2] += 1
        return f

    one = torch.zeros(7, device=device)
    one[2] = 1
    row = decode(one) - decode(0 * one)
    moved = impl.splice(x, encode, decode, edit, True) - x
    assert_same(moved, row.expand_as(x).clone(), "batch pos d_in", 1e-4, 1e-4)


@pytest.mark.parametrize("keep_error", [False, True])
def test_splice__lets_gradients_through(impl, ref, seed, device, keep_error):
    """The gradient reaches x through the latents, and through the error term where it is kept"""
    g = generator(seed + 24, device)
    x, up = normal(g, 2, 3, 5), normal(g, 2, 3, 5)
    encode, decode = small_sae(seed, device)

    args = x, encode, decode, lambda f: 2 * f, keep_error
    mine, theirs = vjp(impl.splice, args, up), vjp(ref.splice, args, up)
    assert_same(mine[0], theirs[0], "batch pos d_in", 1e-4, 1e-4)


def test_splice__leaves_the_latents_alone(impl, seed, device):
    """An edit in place does not reach what `encode` returned"""
    x = normal(generator(seed + 10, device), 2, 3, 5)
    encode, decode = small_sae(seed, device)
    f = encode(x)
    before = f.clone()
    for keep_error in (True, False):
        impl.splice(x, lambda v: f, decode, lambda v: v.mul_(0), keep_error)
        require(torch.equal(f, before), "what `encode` returned is edited: give the edit a copy")


@pytest.mark.parametrize("keep_error", [False, True])
def test_splice__agrees_with_the_worked_one(impl, ref, seed, device, keep_error):
    """Edits that scale and that set to 0; x stays as it is"""
    x = normal(generator(seed + 11, device), 4, 2, 5)
    encode, decode = small_sae(seed + 1, device)
    for edit in (lambda f: 3 * f, torch.zeros_like, None):
        with unchanged(x):
            mine = impl.splice(x, encode, decode, edit, keep_error)
        assert_same(mine, ref.splice(x, encode, decode, edit, keep_error), "batch pos d_in")


# ---------------------------------------------------------------------------------- d2. only_where


@pytest.mark.parametrize("rest", [(5,), (3, 4), (2, 2)])
def test_only_where__takes_each_token_from_one_of_the_two(impl, ref, seed, device, rest):
    """Every token is the new one or the old one, by its mask"""
    g = generator(seed + 12, device)
    x, new, mask = normal(g, 3, 4, *rest), normal(g, 3, 4, *rest), some_mask(g, 3, 4)
    with unchanged(x, new, mask):
        out = impl.only_where(x, new, mask)
    axes = "batch pos d_model" if len(rest) == 1 else "batch pos head d_head"
    for b in range(3):
        for p in range(4):
            want = new[b, p] if mask[b, p] else x[b, p]
            require(
                out.shape == x.shape and torch.equal(out[b, p], want),
                f"the token at batch {b}, pos {p} (mask {bool(mask[b, p])}) is another one",
            )
    assert_same(out, ref.only_where(x, new, mask), axes)


def test_only_where__all_and_none(impl, seed, device):
    """A mask that is true everywhere gives the new one, false everywhere the old one"""
    g = generator(seed, device)
    x, new = normal(g, 2, 2, 2), normal(g, 2, 2, 2)
    yes = torch.ones(2, 2, dtype=torch.bool, device=device)
    assert_same(impl.only_where(x, new, yes), new, "batch pos d_model")
    assert_same(impl.only_where(x, new, ~yes), x, "batch pos d_model")


# ------------------------------------------------------------------------------ e1. active_latents


def test_active_latents__by_hand(impl, device):
    """Strongest first, no more than are active"""
    f = torch.tensor([0.0, 2.0, 0.0, 5.0, 1.0], device=device)
    numbers, values = impl.active_latents(f, 2)
    assert_same(numbers, torch.tensor([3, 1], device=device), "chosen", what="the numbers")
    assert_same(values, torch.tensor([5.0, 2.0], device=device), "chosen", what="the values")
    numbers, values = impl.active_latents(f, 5)
    assert_same(numbers, torch.tensor([3, 1, 4], device=device), "chosen", what="the numbers")
    assert_same(values, torch.tensor([5.0, 2.0, 1.0], device=device), "chosen", what="the values")


def test_active_latents__where_nothing_is_active(impl, device):
    """Where nothing is active both are empty"""
    numbers, values = impl.active_latents(torch.zeros(4, device=device), 3)
    require(len(numbers) == len(values) == 0, "something is listed, though nothing is active")


def test_active_latents__agree_with_the_worked_ones(impl, ref, seed, device):
    """Random sparse latents, several n; small activations count"""
    f = 1e-3 * normal(generator(seed + 13, device), 30).relu()
    for n in (1, 7, 40):
        with unchanged(f):
            mine = impl.active_latents(f, n)
        assert_same(mine, ref.active_latents(f, n), ("chosen", "chosen"))


# ------------------------------------------------------------------------------- e2. coloured_text


def spans(text):
    return re.findall(
        r'<span style="background:rgba\(0,158,115,([\d.]+)\)" title="([^"]*)">(.*?)</span>', text
    )


def test_coloured_text__shows_every_token_as_text(impl):
    """Tokens that look like HTML are shown as they are"""
    words = ["<b>", "a & b", '"x"', " the", "</span>"]
    found = spans(impl.coloured_text(words, torch.tensor([1.0, 0.5, 0.0, 2.0, 0.25])))
    shown = [html.unescape(text) for *_, text in found]
    require(shown == words, f"shown are {shown}, not {words}")
    require(not any("<" in text for *_, text in found), "a token became a tag")


def test_coloured_text__opacity_is_the_share_of_the_largest(impl):
    """The opacity is the activation over the largest one, the title has the activation"""
    for high, low in ((4.0, 2.0), (0.25, 0.125)):
        few = [f[0] for f in spans(impl.coloured_text(["a", "b"], torch.tensor([high, low])))]
        require(few == ["1.00", "0.50"], f"opacities {few} for {high} and {low}")
    found = spans(impl.coloured_text(["a", "b", "c"], torch.tensor([4.0, 1.0, 0.0])))
    require([f[0] for f in found] == ["1.00", "0.25", "0.00"], f"opacities {[f[0] for f in found]}")
    require([f[1] for f in found] == ["4.000", "1.000", "0.000"], f"titles {[f[1] for f in found]}")


def test_coloured_text__without_any_activation(impl):
    """Where nothing is active every opacity is 0.00"""
    found = spans(impl.coloured_text(["a", "b"], torch.zeros(2)))
    require([f[0] for f in found] == ["0.00", "0.00"], f"the opacities are {[f[0] for f in found]}")


def test_coloured_text__agrees_with_the_worked_one(impl, ref, seed):
    """The same line, to the letter"""
    words = ["It", " said", " <s>", "'s", " é"]
    acts = 1e-2 * normal(generator(seed), 5).relu()
    mine, theirs = impl.coloured_text(words, acts), ref.coloured_text(words, acts)
    # a quote may be written in more than one way
    require(mine.replace("&#39;", "&#x27;") == theirs, f"yours\n{mine}\nexpected\n{theirs}")


# ------------------------------------------------------------------------------------ f1. sparsity


def test_sparsity__by_hand(impl, device):
    """Three tokens that count, three latents, one of them dead"""
    f = torch.zeros(2, 2, 3, device=device)
    f[0, 0], f[0, 1], f[1, 0] = (
        torch.tensor(v, device=device) for v in ([1.0, 0, 0], [2.0, 1e-6, 0], [3.0, 0, 0])
    )
    f[1, 1] = torch.tensor([9.0, 9.0, 9.0], device=device)
    mask = torch.tensor([[True, True], [True, False]], device=device)
    l0, density, dead = impl.sparsity(f, mask)
    assert_same(l0, 4 / 3, what="L0")
    assert_same(density, torch.tensor([1, 1 / 3, 0], device=device), "latent", what="the density")
    assert_same(dead, 1 / 3, what="the share of dead latents")


def test_sparsity__does_not_see_what_is_masked(impl, seed, device):
    """What stands where the mask is false changes nothing"""
    g = generator(seed, device)
    f, mask = normal(g, 3, 5, 8).relu(), some_mask(g, 3, 5)
    one = impl.sparsity(f, mask)
    other = impl.sparsity(torch.where(mask[..., None], f, 7.0), mask)
    assert_same(list(other), list(one))


@pytest.mark.parametrize("shape", SHAPES)
def test_sparsity__agrees_with_the_worked_one(impl, ref, seed, device, shape):
    """Other sizes and masks, latents of any sign"""
    batch, pos, _, latent = shape
    g = generator(seed + 14, device)
    f = normal(g, batch, pos, latent)
    f = f * (f.abs() > 1)
    mask = (
        some_mask(g, batch, pos) if batch > 1 else torch.ones(1, 1, dtype=torch.bool, device=device)
    )
    with unchanged(f, mask):
        mine = impl.sparsity(f, mask)
    assert_same(list(mine), list(ref.sparsity(f, mask)), ("", "latent", ""))


# -------------------------------------------------------------------------- f2. explained_variance


def two(seed, device, batch=3, pos=4, d_in=5):
    g = generator(seed + 15, device)
    x = normal(g, batch, pos, d_in) + 3 * normal(g, d_in)
    return x, x + 0.5 * normal(g, batch, pos, d_in), some_mask(g, batch, pos)


def test_explained_variance__is_one_for_the_truth_and_zero_for_the_mean(impl, seed, device):
    """1 for a perfect answer, 0 for always the mean, negative for a worse one"""
    x, _, mask = two(seed, device)
    mean = x[mask].mean(dim=0).expand_as(x)
    assert_same(impl.explained_variance(x, x, mask), 1.0, rtol=1e-5, atol=1e-5)
    assert_same(impl.explained_variance(x, mean, mask), 0.0, rtol=1e-5, atol=1e-5)
    assert_same(impl.explained_variance(x, 2 * mean - x, mask), -3.0, rtol=1e-4, atol=1e-4)


def test_explained_variance__does_not_see_what_is_masked(impl, seed, device):
    """What stands where the mask is false changes nothing"""
    x, x_hat, mask = two(seed, device)
    other = torch.where(mask[..., None], x, 100.0)
    one = impl.explained_variance(x, x_hat, mask)
    assert_same(impl.explained_variance(other, x_hat, mask), one, rtol=1e-5, atol=1e-5)


def test_explained_variance__weighs_errors_by_their_size_alone(impl, device):
    """One ratio of two sums: a large token counts more than a small one"""
    x = torch.tensor([[[10.0, 0.0], [-10.0, 0.0], [0.0, 1.0], [0.0, -1.0]]], device=device)
    x_hat = torch.tensor([[[10.0, 0.0], [-10.0, 0.0], [0.0, 0.0], [0.0, 0.0]]], device=device)
    mask = torch.ones(1, 4, dtype=torch.bool, device=device)
    assert_same(impl.explained_variance(x, x_hat, mask), 1 - 2 / 202, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 6, 2), (4, 4, 4)])
def test_explained_variance__agrees_with_the_worked_one(impl, ref, seed, device, shape):
    """Other sizes"""
    x, x_hat, mask = two(seed + 1, device, *shape)
    with unchanged(x, x_hat, mask):
        mine = impl.explained_variance(x, x_hat, mask)
    assert_same(mine, ref.explained_variance(x, x_hat, mask), rtol=1e-4, atol=1e-5)


# ----------------------------------------------------------------------- f3. cosine_and_norm_ratio


def test_cosine_and_norm_ratio__by_hand(impl, device):
    """A right angle, a shrunk copy, and a reconstruction of 0"""
    x = torch.tensor([[[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]]], device=device)
    x_hat = torch.tensor([[[1.5, 2.0], [0.0, 0.5], [0.0, 0.0]]], device=device)
    mask = torch.ones(1, 3, dtype=torch.bool, device=device)
    cosine, ratio = impl.cosine_and_norm_ratio(x, x_hat, mask)
    assert_same(cosine, 1 / 3, rtol=1e-5, what="the cosine")
    assert_same(ratio, 3.0 / 8.0, rtol=1e-5, what="the norm ratio")


def test_cosine_and_norm_ratio__of_a_scaled_copy(impl, seed, device):
    """A copy of a thousandth of the size has cosine 1 and ratio 0.001"""
    x, _, mask = two(seed, device)
    cosine, ratio = impl.cosine_and_norm_ratio(1e-3 * x, 1e-6 * x, mask)
    assert_same(cosine, 1.0, rtol=1e-4, what="the cosine")
    assert_same(ratio, 1e-3, rtol=1e-4, what="the norm ratio")


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 6, 2), (4, 4, 4)])
def test_cosine_and_norm_ratio__agree_with_the_worked_ones(impl, ref, seed, device, shape):
    """Other sizes and masks"""
    x, x_hat, mask = two(seed + 2, device, *shape)
    with unchanged(x, x_hat, mask):
        mine = impl.cosine_and_norm_ratio(x, x_hat, mask)
    assert_same(list(mine), list(ref.cosine_and_norm_ratio(x, x_hat, mask)), rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------- g1. loss_per_row


def text(seed, device, row=3, pos=5, vocab=6):
    g = generator(seed + 16, device)
    ids = torch.randint(vocab, (row, pos), generator=g, device=device)
    return normal(g, row, pos, vocab), ids, some_mask(g, row, pos)


def test_loss_per_row__of_uniform_logits_is_log_vocab_per_prediction(impl, seed, device):
    """If all tokens are equally likely each prediction costs log(vocab)"""
    _, ids, mask = text(seed, device)
    loss, count = impl.loss_per_row(torch.zeros(3, 5, 6, device=device), ids, mask)
    want = (mask[:, :-1] & mask[:, 1:]).sum(dim=1)
    assert_same(count, want, "row", what="the number of predictions")
    assert_same(loss, want * math.log(6.0), "row", 1e-5, 1e-5, what="the loss")


def test_loss_per_row__matches_pytorch(impl, seed, device):
    """Without a mask it is torch's cross-entropy of the next token"""
    logits, ids, _ = text(seed, device)
    everything = torch.ones(3, 5, dtype=torch.bool, device=device)
    loss, count = impl.loss_per_row(logits, ids, everything)
    for r in range(3):
        want = nn.functional.cross_entropy(logits[r, :-1], ids[r, 1:], reduction="sum")
        assert_same(loss[r], want, rtol=1e-5, atol=1e-5, what=f"the loss of row {r}")
    assert_same(count, torch.full((3,), 4, device=device), "row", what="the number of predictions")


@pytest.mark.parametrize("size", [(3, 5, 6), (1, 2, 4), (4, 4, 4)])
def test_loss_per_row__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Masks with holes, padding and a first token left out"""
    logits, ids, mask = text(seed + 1, device, *size)
    with unchanged(logits, ids, mask):
        mine = impl.loss_per_row(logits, ids, mask)
    assert_same(list(mine), list(ref.loss_per_row(logits, ids, mask)), ("row", "row"), 1e-5, 1e-5)


# ---------------------------------------------------------------------------------- g2. kl_per_row


def test_kl_per_row__is_zero_for_the_same_prediction_and_positive_else(impl, seed, device):
    """0 for the same logits, even with a constant added; else above 0"""
    logits, _, mask = text(seed, device)
    shifted = logits + normal(generator(seed, device), 3, 5, 1)
    zero = torch.zeros(3, device=device)
    assert_same(impl.kl_per_row(logits, shifted, mask), zero, "row", 1e-5, 1e-5)
    kl = impl.kl_per_row(logits, 2 * logits, torch.ones_like(mask))
    require((kl > 1e-3).all(), f"a divergence is {float(kl.min()):.3g}; it is never negative")


def test_kl_per_row__by_hand(impl, device):
    """p = (1/2, 1/2) and q = (1/4, 3/4)"""
    p = torch.tensor([[[0.5, 0.5]]], device=device)
    q = torch.tensor([[[0.25, 0.75]]], device=device)
    yes = torch.ones(1, 1, dtype=torch.bool, device=device)
    want = torch.tensor([0.5 * math.log(2) + 0.5 * math.log(2 / 3)], device=device)
    assert_same(impl.kl_per_row(p.log(), q.log(), yes), want, "row", 1e-5, 1e-6)


@pytest.mark.parametrize("size", [(3, 5, 6), (1, 2, 4), (4, 4, 4)])
def test_kl_per_row__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes and masks"""
    clean, _, mask = text(seed + 2, device, *size)
    other, *_ = text(seed + 3, device, *size)
    with unchanged(clean, other, mask):
        mine = impl.kl_per_row(clean, other, mask)
    assert_same(mine, ref.kl_per_row(clean, other, mask), "row", 1e-4, 1e-5)


# ------------------------------------------------------------------------------ g3. share_recovered


@pytest.mark.parametrize(
    ("args", "want"),
    [
        ((2.0, 2.0, 5.0), 1.0), ((2.0, 5.0, 5.0), 0.0), ((2.0, 8.0, 5.0), -1.0),
        ((2.0, 2.75, 5.0), 0.75), ((0.0, 1.0, 4.0), 0.75), ((2.0, 1.7, 5.0), 1.1),
    ],
)  # fmt: skip
def test_share_recovered__by_hand(impl, args, want):
    """1 at the clean loss, 0 at the ablated one, negative beyond it"""
    assert_same(impl.share_recovered(*args), want, rtol=1e-6)


def test_share_recovered__is_not_defined_where_the_ablation_costs_nothing(impl):
    """NaN where the ablation costs nothing"""
    for with_sae in (3.0, 4.0):
        value = impl.share_recovered(3.0, with_sae, 3.0)
        require(isinstance(value, float) and math.isnan(value), f"it is {value}, not NaN")


def test_share_recovered__agrees_with_the_worked_one(impl, ref, seed):
    """Random losses, very small differences among them"""
    for clean, with_sae, ablated in torch.rand(20, 3, generator=generator(seed)).tolist():
        for scale in (1.0, 1e-9):  # a difference of 1e-9 nats is a difference
            args = clean * scale, with_sae * scale, ablated * scale
            assert_same(impl.share_recovered(*args), ref.share_recovered(*args), rtol=1e-6)


# ------------------------------------------------------------------------------- g4. share_interval


def test_share_interval__has_no_width_where_all_rows_agree(impl, device):
    """If every row has the same share, the interval is that share"""
    anchor = torch.tensor([1.0, 2.0, 5.0, 10.0], device=device)
    low, high = impl.share_interval(0.25 * anchor, anchor, 200, generator(0, device))
    assert_same(low, 0.75, rtol=1e-5, what="the lower end")
    assert_same(high, 0.75, rtol=1e-5, what="the upper end")


def test_share_interval__has_the_width_that_theory_gives(impl, seed, device):
    """For many rows the interval is ±1.96 standard errors, within 11 %"""
    g = generator(seed + 17, device)
    n = 400
    cost, anchor = 0.3 + 0.1 * normal(g, n), torch.ones(n, device=device)
    low, high = impl.share_interval(cost, anchor, 4000, g)
    error = float(cost.std(correction=0)) / math.sqrt(n)
    middle = 1 - float(cost.mean())
    require(abs(low - (middle - 1.96 * error)) < 0.22 * error, f"the lower end is {low:.5f}")
    require(abs(high - (middle + 1.96 * error)) < 0.22 * error, f"the upper end is {high:.5f}")


def test_share_interval__weighs_rows_by_their_anchor(impl, seed, device):
    """A row whose ablation costs much counts for much"""
    anchor = torch.ones(200, device=device)
    anchor[::2] = 9.0
    cost = torch.where(anchor > 1, 0.9, 0.5)  # shares of 0.9 and 0.5; together 1 - 1.4 / 10
    low, high = impl.share_interval(cost, anchor, 500, generator(seed, device))
    require(
        0.82 < low < 0.86 < high < 0.89, f"the interval is {low:.3f} to {high:.3f}, around 0.86"
    )


def test_share_interval__draws_the_same_rows_from_both(impl, ref, device):
    """Cost and anchor are drawn together, and the numbers come from the generator"""
    g = generator(3, device)
    anchor = 1 + normal(g, 60).abs()
    cost = anchor * (0.2 + 0.01 * normal(g, 60))
    mine = impl.share_interval(cost, anchor, 2000, generator(4, device))
    theirs = ref.share_interval(cost, anchor, 2000, generator(4, device))
    width = theirs[1] - theirs[0]
    again = impl.share_interval(cost, anchor, 2000, generator(4, device))
    require(mine == again, "the same generator gives another interval: is `gen` used?")
    for a, b in zip(mine, theirs, strict=True):
        require(abs(a - b) < 0.5 * width, f"an end is {a:.5f}, expected near {b:.5f}")


# ------------------------------------------------------------------------------- h1. relative_norms


def test_relative_norms__by_hand(impl, device):
    """Two rows, one shorter than the other"""
    norms = torch.tensor([[30.0, 1.0, 2.0], [50.0, 4.0, 9.0], [40.0, 3.0, 5.0]], device=device)
    x = torch.stack([0.6 * norms, 0.8 * norms], dim=-1)
    mask = torch.tensor(
        [[True, True, True], [True, True, False], [True, True, False]], device=device
    )
    # later tokens: 1, 2, 4, 3 with the lower median 2; position 0: 40, 1: 3, 2: 2
    want = torch.tensor([20.0, 1.5, 1.0], device=device)
    assert_same(impl.relative_norms(x, mask), want, "pos", 1e-5, 1e-5)


def test_relative_norms__do_not_depend_on_scale_or_padding(impl, seed, device):
    """Twice as long activations, or other padding, give the same"""
    g = generator(seed + 18, device)
    x, mask = normal(g, 5, 4, 3), some_mask(g, 5, 4, 0.8)
    mask[:, :2] = True
    one = impl.relative_norms(x, mask)
    other = impl.relative_norms(torch.where(mask[..., None], 2 * x, 99.0), mask)
    assert_same(other, one, "pos", 1e-5, 1e-5)


def test_relative_norms__are_nan_where_no_row_has_a_token(impl, seed, device):
    """A position without any token is NaN; the mask stays as it is"""
    x = normal(generator(seed, device), 3, 4, 2)
    mask = torch.ones(3, 4, dtype=torch.bool, device=device)
    mask[:, 3] = False
    with unchanged(x, mask):
        out = impl.relative_norms(x, mask)
    require(out.shape == (4,), f"the shape is {tuple(out.shape)}, not (4,)")
    require(out.isnan().tolist() == [False, False, False, True], f"NaN at {out.isnan().tolist()}")


@pytest.mark.parametrize("size", [(5, 4, 3), (2, 6, 1), (4, 4, 4)])
def test_relative_norms__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes"""
    g = generator(seed + 19, device)
    x, mask = normal(g, *size), some_mask(g, size[0], size[1], 0.9)
    mask[0] = True
    assert_same(impl.relative_norms(x, mask), ref.relative_norms(x, mask), "pos", 1e-5, 1e-5)


# --------------------------------------------------------------------------- h2. outlier_dimensions


def test_outlier_dimensions__by_hand(impl, device):
    """Standard deviations 1, 3, 1, 8: above three times the median is the last one only"""
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0], device=device)[:, None]
    x = signs * torch.tensor([1.0, 3.0, 1.0, 8.0], device=device) + torch.tensor(
        [100.0, 0.0, 0.0, 5.0], device=device
    )
    assert_same(impl.outlier_dimensions(x, 3.0), torch.tensor([3], device=device), "outlier")
    assert_same(impl.outlier_dimensions(x, 2.9), torch.tensor([1, 3], device=device), "outlier")
    none = impl.outlier_dimensions(x, 8.0)
    require(none.numel() == 0, f"{none.tolist()} are not above 8 times the median")


def test_outlier_dimensions__do_not_depend_on_means_or_scale(impl, seed, device):
    """Adding a constant or scaling everything changes nothing"""
    g = generator(seed + 20, device)
    x = normal(g, 50, 9) * torch.tensor([1, 1, 9, 1, 1, 1, 1, 7, 1.0], device=device)
    out = impl.outlier_dimensions(x, 3.0)
    assert_same(out, torch.tensor([2, 7], device=device), "outlier")
    assert_same(impl.outlier_dimensions(4 * x + 10, 3.0), out, "outlier")


def test_outlier_dimensions__agree_with_the_worked_ones(impl, ref, seed, device):
    """Random scales"""
    g = generator(seed + 21, device)
    x = normal(g, 40, 12) * (2 * normal(g, 12)).exp()
    for factor in (1.0, 2.0, 5.0):
        with unchanged(x):
            mine = impl.outlier_dimensions(x, factor)
        assert_same(mine, ref.outlier_dimensions(x, factor), "outlier")


# ----------------------------------------------------------------------------- i1. random_rows_like


def test_random_rows_like__has_the_norms_of_the_rows(impl, seed, device):
    """Every row has the norm of the one that it stands for"""
    g = generator(seed, device)
    W = normal(g, 12, 5) * (2 * normal(g, 12, 1)).exp()
    out = impl.random_rows_like(W, g)
    assert_same(out.norm(dim=1), W.norm(dim=1), "latent", 1e-4, 1e-6)
    require(out.shape == W.shape and out.dtype == W.dtype, "the shape or dtype is another one")


def test_random_rows_like__has_uniform_directions(impl, seed, device):
    """In the plane every quarter circle between the axes and between the diagonals is as likely"""
    W = torch.ones(4000, 2, device=device)
    out = impl.random_rows_like(W, generator(seed, device))
    angle = torch.atan2(out[:, 1], out[:, 0])
    lo, hi = binomial_bounds(4000, 0.5)
    near_axes = int(((4 * angle).cos() > 0).sum())
    require(lo <= near_axes <= hi, f"{near_axes} of 4000 directions are near an axis")
    right = int((out[:, 0] > 0).sum())
    require(lo <= right <= hi, f"{right} of 4000 point to the right")


def test_random_rows_like__draws_from_the_generator_alone(impl, ref, seed, device):
    """The same generator gives the same rows, another one gives others; W does not matter"""
    W = normal(generator(seed, device), 6, 4)
    one, same = (impl.random_rows_like(W, generator(seed + 1, device)) for _ in range(2))
    other = impl.random_rows_like(W, generator(seed + 2, device))
    assert_same(same, one, "latent d_in")
    require(not torch.equal(one, other), "another generator gives the same rows")
    cosine = nn.functional.cosine_similarity(one, W, dim=1).abs()
    require((cosine < 0.9999).all(), "a row points where the given one points")
    require(ref.random_rows_like(W, generator(0, device)).shape == one.shape, "another shape")


# -------------------------------------------------------------------------------- i2. shuffled_rows


@pytest.mark.parametrize("n", [2, 3, 7, 100])
def test_shuffled_rows__moves_every_row(impl, seed, device, n):
    """All rows are still there, and none is in its place"""
    W = torch.arange(3 * n, device=device).reshape(n, 3).float()
    with unchanged(W):
        out = impl.shuffled_rows(W, generator(seed, device))
    require(out.shape == W.shape, f"the shape is {tuple(out.shape)}")
    assert_same(out[out[:, 0].argsort()], W, "latent d_in", what="the sorted result")
    stayed = (out == W).all(dim=1).nonzero()[:, 0].tolist()
    require(not stayed, f"row {stayed[0] if stayed else 0} is still in its place")


def test_shuffled_rows__depends_on_the_generator(impl, ref, device):
    """Other generators give other orders, the same one the same"""
    W = torch.arange(40.0, device=device)[:, None]
    out = [impl.shuffled_rows(W, generator(s, device)) for s in (0, 1, 2, 0)]
    assert_same(out[3], out[0], "latent d_in")
    require(not torch.equal(out[0], out[1]), "two generators give the same order")
    shift = {int((a - b) % 40) for a, b in zip(out[0], W, strict=True)}
    require(len(shift) > 1, "all rows are moved by the same number of places")
    require(not torch.equal(ref.shuffled_rows(W, generator(0, device)), W), "nothing moved")


# ---------------------------------------------------------------------------- i3. threshold_for_l0


def test_threshold_for_l0__gives_exactly_that_many(impl, seed, device):
    """Exactly L0 entries per token are above the threshold, and the next one is not"""
    z = normal(generator(seed + 22, device), 20, 30)
    for l0 in (0.05, 1.0, 7.0, 29.5):
        theta = impl.threshold_for_l0(z, l0)
        n, below = int((z > theta).sum()), z[z <= theta].max()
        require(n == round(20 * l0), f"for L0 {l0}: {n} entries are above, not {round(20 * l0)}")
        require(int((z > below - 1e-6).sum()) >= n, "lowering it would change nothing")


def test_threshold_for_l0__is_one_threshold_for_all_tokens(impl, device):
    """A token with large pre-activations may have more active latents than another"""
    z = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]], device=device)
    theta = impl.threshold_for_l0(z, 1.5)
    assert_same((z > theta).sum(dim=1), torch.tensor([0, 3], device=device), "token")


def test_threshold_for_l0__agrees_with_the_worked_one(impl, ref, seed, device):
    """Any value from the first inactive one up to the last active one will do"""
    z = normal(generator(seed + 23, device), 11, 9)
    for l0 in (15 / 11, 4.0):  # in floating point 15 / 11 · 11 is a little less than 15
        theta, n = impl.threshold_for_l0(z, l0), round(11 * l0)
        high, low = z.flatten().topk(n + 1).values[-2:]
        require(float(low) <= theta < float(high), f"{theta:.4f} is not in [{low:.4f}, {high:.4f})")
        require(int((z > ref.threshold_for_l0(z, l0)).sum()) == n, "the worked one is off")


# ------------------------------------------------------------------------------------- predictions


def test_predict_distinct__is_right(impl, ref):
    """How many different latents one sentence wakes"""
    require(impl.predict_distinct == ref.predict_distinct, "count the columns with any activation")


def test_predict_ratios__is_right(impl, ref):
    """What the mean of the tokens' own shares is"""
    require(impl.predict_ratios == ref.predict_ratios, "which tokens does the pooled ratio favour?")


def test_predict_lucky__is_right(impl, ref):
    """On how many predictions the loss goes down"""
    require(
        impl.predict_lucky == ref.predict_lucky, "a change that means nothing can go either way"
    )


def test_predict_two_vectors__is_right(impl, ref):
    """What two vectors explain when the first token is counted"""
    require(impl.predict_two_vectors == ref.predict_two_vectors, "190 times as long: squared")


def test_predict_worst__is_right(impl, ref):
    """Which control recovers the least"""
    require(impl.predict_worst == ref.predict_worst, "look at the lowest point of the picture")
