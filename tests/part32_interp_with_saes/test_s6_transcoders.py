"""3.2.6: what is right, on small random tensors and small random models."""

import hashlib

import pytest
import torch
from torch.nn import functional as F

from utils.testing import assert_same, generator, require, unchanged

DTYPES = [torch.float32, torch.float64]


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def positive(g, *shape, dtype=torch.float32):
    """Numbers from 0.3 to 1.8."""
    return torch.rand(shape, generator=g, device=g.device, dtype=dtype) * 1.5 + 0.3


def normed(x, gain, bias, centred, eps):
    """A LayerNorm (centred) or an RMSNorm with a bias, by torch."""
    if centred:
        return F.layer_norm(x, x.shape[-1:], gain, bias, eps)
    return F.rms_norm(x, x.shape[-1:], gain, eps) + bias


def norm_args(g, d, dtype=torch.float32):
    """Gain and bias, far from 1 and 0."""
    return normal(g, d, dtype=dtype) + 1.5, normal(g, d, dtype=dtype)


# --------------------------------------------------------------------------- a1. replaced_stream


def stack(g, n, d, dtype=torch.float32):
    """Attention-like and MLP-like maps that are not linear; coders are other maps."""
    maps = [[normal(g, d, d, dtype=dtype) / d**0.5 for _ in range(3)] for _ in range(n)]

    def attend(A):
        return lambda x: (x.cumsum(dim=1) @ A).tanh()

    def mlp(A):
        return lambda x: (x @ A).relu() + 0.3

    def coder(A):
        return lambda x: (x @ A).sigmoid()

    return tuple([make(row[i]) for row in maps] for i, make in enumerate((attend, mlp, coder)))


def test_replaced_stream__without_transcoders_is_the_model(impl, seed, device):
    """With None everywhere, blocks add attention and MLP one after the other"""
    g = generator(seed, device)
    attend, mlps, _ = stack(g, 3, 4)
    x = wanted = normal(g, 2, 5, 4)
    for a, m in zip(attend, mlps, strict=True):
        wanted = wanted + a(wanted)
        wanted = wanted + m(wanted)
    mine = impl.replaced_stream(x, attend, mlps, [None] * 3)
    assert_same(mine, wanted, "batch pos d_model", 1e-4, 1e-5)


def test_replaced_stream__a_perfect_transcoder_changes_nothing(impl, seed, device):
    """Transcoders that do what the MLPs do leave the whole stream as it was"""
    g = generator(seed + 1, device)
    attend, mlps, _ = stack(g, 2, 3)
    x = normal(g, 1, 4, 3)
    with unchanged(x):
        mine = impl.replaced_stream(x, attend, mlps, mlps)
    assert_same(mine, impl.replaced_stream(x, attend, mlps, [None, None]), "batch pos d_model")


def test_replaced_stream__the_first_position_keeps_its_mlp(impl, seed, device):
    """A transcoder that writes zeros leaves position 0 alone, and all others without an MLP"""
    g = generator(seed + 2, device)
    attend, mlps, _ = stack(g, 1, 4)
    x = normal(g, 2, 3, 4)
    mid = x + attend[0](x)
    mine = impl.replaced_stream(x, attend, mlps, [lambda v: 0 * v])
    assert_same(mine[:, 0], (mid + mlps[0](mid))[:, 0], "batch d_model", 1e-4, 1e-5)
    assert_same(mine[:, 1:], mid[:, 1:], "batch pos d_model", 1e-4, 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", [(0, 1, 2), (1,), (0, 2)])
def test_replaced_stream__agrees_with_the_worked_one(impl, ref, seed, device, which, dtype):
    """All layers, one, and some; later ones read what earlier ones wrote"""
    g = generator(seed + 3, device)
    attend, mlps, coders = stack(g, 3, 5, dtype)
    x = normal(g, 2, 4, 5, dtype=dtype)
    chosen = [c if i in which else None for i, c in enumerate(coders)]
    with unchanged(x):
        mine = impl.replaced_stream(x, attend, mlps, chosen)
    assert_same(mine, ref.replaced_stream(x, attend, mlps, chosen), "batch pos d_model", 1e-4, 1e-5)


# --------------------------------------------------------------------------- g1. best_affine_map


def test_best_affine_map__finds_a_map_that_is_there(impl, seed, device):
    """Where y is affine in x, that map comes back"""
    g = generator(seed, device)
    x, W, b = (normal(g, *s, dtype=torch.float64) for s in ((30, 4), (3, 4), (3,)))
    x = x * 2 + 1
    found = impl.best_affine_map(x, x @ W.T + b)
    assert_same(list(found), [W, b], ("d_out d_in", "d_out"), 1e-8, 1e-8)


def test_best_affine_map__its_errors_have_nothing_left_of_x(impl, seed, device):
    """The errors have mean 0 and no covariance with x: no other map is better"""
    g = generator(seed + 1, device)
    x, y = normal(g, 40, 5, dtype=torch.float64) + 2, normal(g, 40, 3, dtype=torch.float64) - 1
    with unchanged(x, y):
        W, b = impl.best_affine_map(x, y)
    error = y - (x @ W.T + b)
    assert_same(error.mean(dim=0), torch.zeros_like(error[0]), "d_out", 1e-8, 1e-8)
    assert_same(x.T @ error, torch.zeros(5, 3, device=device).double(), "d_in d_out", 1e-7, 1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(25, 3, 6), (40, 6, 2), (12, 1, 1)])
def test_best_affine_map__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes, both precisions"""
    g = generator(seed + 2, device)
    n, d_in, d_out = size
    x, y = normal(g, n, d_in, dtype=dtype) + 1, normal(g, n, d_out, dtype=dtype) * 2 + 3
    mine, theirs = impl.best_affine_map(x, y), ref.best_affine_map(x, y)
    assert_same(list(mine), list(theirs), ("d_out d_in", "d_out"), 1e-3, 1e-3)


# ------------------------------------------------------------------------------- g2. path_shares


def test_path_shares__sum_to_one(impl, seed, device):
    """All shares together are 1, whatever the parts; means and constants do not count"""
    g = generator(seed, device)
    parts = normal(g, 3, 20, 4, dtype=torch.float64)
    moved = parts + 5 * normal(g, 3, 1, 4, dtype=torch.float64)
    shares = impl.path_shares(parts)
    assert_same(shares.sum(), torch.ones_like(shares[0]), "", 1e-9, 1e-9, what="their sum")
    assert_same(impl.path_shares(moved), shares, "k", 1e-8, 1e-8)


def test_path_shares__numbers_by_hand(impl, device):
    """Parts 2, -2 and 1, -1 have 2/3 and 1/3; a part against the total has a share below 0"""
    up = torch.tensor([[2.0], [-2.0]], device=device)
    found = impl.path_shares(torch.stack([up, up / 2]))
    assert_same(found, torch.tensor([2 / 3, 1 / 3], device=device), "k")
    found = impl.path_shares(torch.stack([3 * up, -up]))
    assert_same(found, torch.tensor([1.5, -0.5], device=device), "k")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 7, 3), (4, 5, 6), (1, 3, 2)])
def test_path_shares__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes, correlated parts of unequal variance; the input stays as it is"""
    g = generator(seed + 1, device)
    scales = positive(g, size[0], 1, size[2], dtype=dtype)
    parts = normal(g, *size, dtype=dtype) * scales + normal(g, *size[1:], dtype=dtype) + 2
    with unchanged(parts):
        mine = impl.path_shares(parts)
    assert_same(mine, ref.path_shares(parts), "k", 1e-4, 1e-5)


# --------------------------------------------------------------------------------- b1. fold_norm


@pytest.mark.parametrize("centred", [True, False])
def test_fold_norm__the_scale_is_all_that_is_left(impl, seed, device, centred):
    """x W / scale + b is the encoder behind the norm, for x whose mean is far from 0"""
    g = generator(seed, device)
    W_enc, b_enc = normal(g, 6, 4, dtype=torch.float64), normal(g, 4, dtype=torch.float64)
    gain, bias = norm_args(g, 6, torch.float64)
    x = normal(g, 9, 6, dtype=torch.float64) + 3
    W, b = impl.fold_norm(W_enc, b_enc, gain, bias, centred)
    y = x - x.mean(dim=1, keepdim=True) if centred else x
    scale = (y.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    wanted = normed(x, gain, bias, centred, 1e-5) @ W_enc + b_enc
    assert_same(x @ W / scale + b, wanted, "row latent", 1e-8, 1e-8, what="x W / scale + b")


def test_fold_norm__a_constant_stream_says_nothing_behind_a_layer_norm(impl, seed, device):
    """Behind a LayerNorm every column sums to 0; without centring it need not"""
    g = generator(seed + 1, device)
    args = normal(g, 5, 3), normal(g, 3), *norm_args(g, 5)
    W, _ = impl.fold_norm(*args, True)
    assert_same(W.sum(dim=0), torch.zeros(3, device=device), "latent", 1e-4, 1e-4)
    W, _ = impl.fold_norm(*args, False)
    require(W.sum(dim=0).abs().max() > 1e-2, "without centring, no mean is to be taken out")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [(4, 7), (6, 2), (3, 3)])
def test_fold_norm__agrees_with_the_worked_one(impl, ref, seed, device, size, centred, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 2, device)
    args = (
        normal(g, *size, dtype=dtype),
        normal(g, size[1], dtype=dtype),
        *norm_args(g, size[0], dtype),
    )
    with unchanged(*args):
        mine = impl.fold_norm(*args, centred)
    assert_same(
        list(mine), list(ref.fold_norm(*args, centred)), ("d_model latent", "latent"), 1e-4, 1e-5
    )


# ---------------------------------------------------------------------------------- b2. pullback


def test_pullback__one_unit_more_of_a_latent(impl, seed, device):
    """An entry is what one more unit of the earlier latent adds to what the target reads"""
    g = generator(seed, device)
    W_dec, W_read = normal(g, 2, 3, 5, dtype=torch.float64), normal(g, 5, 4, dtype=torch.float64)
    table = impl.pullback(W_dec, W_read)
    x = normal(g, 5, dtype=torch.float64)
    for target, layer, latent in ((0, 1, 2), (3, 0, 0), (2, 1, 1)):
        more = (x + W_dec[layer, latent]) @ W_read[:, target] - x @ W_read[:, target]
        assert_same(table[target, layer, latent], more, "", 1e-9, 1e-9, what="an entry")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 4, 3, 5), (1, 3, 6, 2), (3, 3, 3, 3)])
def test_pullback__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    layer, latent, d, target = size
    args = normal(g, layer, latent, d, dtype=dtype), normal(g, d, target, dtype=dtype)
    with unchanged(*args):
        mine = impl.pullback(*args)
    assert_same(mine, ref.pullback(*args), "target layer latent", 1e-4, 1e-5)


# ------------------------------------------------------------------- c1. standalone_preactivation


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_standalone_preactivation__is_the_encoder_behind_the_norm(
    impl, seed, device, centred, size
):
    """The norm of the row and the encoder say the same, for short rows, too"""
    g = generator(seed, device)
    W_enc, b_enc = normal(g, 6, 4, dtype=torch.float64), normal(g, 4, dtype=torch.float64)
    gain, bias = norm_args(g, 6, torch.float64)
    E = (normal(g, 7, 6, dtype=torch.float64) + 1) * positive(g, 7, 1, dtype=torch.float64) * size
    W = gain[:, None] * W_enc
    W = W - W.mean(dim=0) if centred else W
    mine = impl.standalone_preactivation(E, W, b_enc + bias @ W_enc, centred, 1e-5)
    wanted = normed(E, gain, bias, centred, 1e-5) @ W_enc + b_enc
    assert_same(mine, wanted, "vocab latent", 1e-8, 1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [(5, 3, 6), (2, 4, 1)])
def test_standalone_preactivation__agrees_with_the_worked_one(
    impl, ref, seed, device, size, centred, dtype
):
    """Other sizes, a large epsilon; the inputs stay as they are"""
    g = generator(seed + 1, device)
    vocab, d, latent = size
    W = normal(g, d, latent, dtype=dtype)
    W = W - W.mean(dim=0) if centred else W  # as b1 folds it
    args = (normal(g, vocab, d, dtype=dtype) + 1, W, normal(g, latent, dtype=dtype))
    with unchanged(*args):
        mine = impl.standalone_preactivation(*args, centred, 0.5)
    wanted = ref.standalone_preactivation(*args, centred, 0.5)
    assert_same(mine, wanted, "vocab latent", 1e-4, 1e-5)


# ------------------------------------------------------------------------- c2. extended_embedding


def small_mlp(g, d, dtype=torch.float32):
    """An MLP with biases."""
    W, V = normal(g, d, 2 * d, dtype=dtype), normal(g, 2 * d, d, dtype=dtype)
    b, c = normal(g, 2 * d, dtype=dtype), normal(g, d, dtype=dtype)
    return lambda x: F.gelu(x @ W + b) @ V + c


@pytest.mark.parametrize("centred", [True, False])
def test_extended_embedding__is_the_first_block_without_attention(impl, seed, device, centred):
    """The stream after a block whose attention writes nothing, for every word alone"""
    g = generator(seed, device)
    E, mlp = normal(g, 6, 5, dtype=torch.float64) + 1, small_mlp(g, 5, torch.float64)
    gain, bias = norm_args(g, 5, torch.float64)
    wanted = torch.stack([row + mlp(normed(row, gain, bias, centred, 1e-3)) for row in E])
    mine = impl.extended_embedding(E, mlp, gain, bias, centred, 1e-3)
    assert_same(mine, wanted, "vocab d_model", 1e-8, 1e-8)


def test_extended_embedding__knows_a_word_that_only_the_mlp_knows(impl, seed, device):
    """A latent that reads what MLP 0 makes of a word finds it here, and not in the embedding"""
    d = 4
    E = torch.eye(d, device=device)[:3] * 2
    gain, bias = torch.ones(d, device=device), torch.zeros(d, device=device)
    third = torch.tensor([0.0, 0.0, 0.0, 1.0], device=device)

    def marks(x):
        return (x[..., 1:2] > 1) * third

    mine = impl.extended_embedding(E, marks, gain, bias, False, 1e-5)
    require(mine[1, 3] > 0.5, "what the first MLP writes of a word is left out")
    assert_same(mine[:, :3], E[:, :3], "vocab d_model", what="what the embedding itself says")


def test_extended_embedding__an_mlp_that_writes_nothing_leaves_the_embedding(impl, seed, device):
    """The embedding itself stays in the stream"""
    g = generator(seed + 1, device)
    E = normal(g, 5, 3)
    mine = impl.extended_embedding(E, lambda x: 0 * x, *norm_args(g, 3), True, 1e-5)
    assert_same(mine, E, "vocab d_model")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False])
def test_extended_embedding__agrees_with_the_worked_one(impl, ref, seed, device, centred, dtype):
    """Rows of unequal length and a large epsilon; the inputs stay as they are"""
    g = generator(seed + 2, device)
    E = normal(g, 7, 4, dtype=dtype) * positive(g, 7, 1, dtype=dtype) + 0.5
    args, mlp = norm_args(g, 4, dtype), small_mlp(g, 4, dtype)
    with unchanged(E, *args):
        mine = impl.extended_embedding(E, mlp, *args, centred, 0.3)
    assert_same(
        mine, ref.extended_embedding(E, mlp, *args, centred, 0.3), "vocab d_model", 1e-4, 1e-4
    )


# ------------------------------------------------------------------------ d1. read_through_heads


def heads(g, head, k, d, d_head, dtype=torch.float32):
    """w, W_V, W_O and a gain."""
    shapes = (d,), (k, d, d_head), (head, d_head, d)
    return (*(normal(g, *s, dtype=dtype) for s in shapes), normal(g, d, dtype=dtype) + 1.5)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [(6, 2), (4, 4), (3, 1)])
def test_read_through_heads__is_what_a_word_adds_through_a_head(impl, seed, device, size, centred):
    """For every head: norm of a word, values (shared in groups), output, read by w"""
    g = generator(seed, device)
    w, W_V, W_O, gain = heads(g, *size, 5, 3, torch.float64)
    x = normal(g, 5, dtype=torch.float64) + 2
    y = (x - x.mean() if centred else x) * gain
    each = size[0] // size[1]
    wanted = torch.stack([y @ W_V[h // each] @ W_O[h] @ w for h in range(size[0])])
    read = impl.read_through_heads(w, W_V, W_O, gain, centred)
    assert_same(read @ x, wanted, "head", 1e-8, 1e-8, what="read @ x")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [(4, 2, 5, 3), (6, 3, 4, 2), (2, 2, 3, 3)])
def test_read_through_heads__agrees_with_the_worked_one(
    impl, ref, seed, device, size, centred, dtype
):
    """Other numbers of heads; the inputs stay as they are"""
    args = heads(generator(seed + 1, device), *size, dtype)
    with unchanged(*args):
        mine = impl.read_through_heads(*args, centred)
    assert_same(mine, ref.read_through_heads(*args, centred), "head d_model", 1e-4, 1e-5)


# ------------------------------------------------------------------- d2. head_word_contributions


def test_head_word_contributions__sum_to_what_heads_add(impl, seed, device):
    """Summed over words, they are the read of the mixed, scaled stream"""
    g = generator(seed, device)
    x, read = normal(g, 5, 4, dtype=torch.float64), normal(g, 3, 4, dtype=torch.float64)
    scale, pattern = positive(g, 5, dtype=torch.float64), positive(g, 3, 5, dtype=torch.float64)
    parts = impl.head_word_contributions(x, scale, pattern, read, 2.5)
    mixed = pattern @ (x / scale[:, None])
    assert_same(parts.sum(dim=1), (mixed * read).sum(dim=1) / 2.5, "head", 1e-9, 1e-9)
    silent = pattern.clone()
    silent[1, 3] = 0
    mine = impl.head_word_contributions(x, scale, silent, read, 2.5)
    require(mine[1, 3] == 0, "a word that a head does not look at adds nothing through it")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(4, 3, 2), (3, 5, 6), (1, 2, 3)])
def test_head_word_contributions__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    head, pos, d = size
    args = (normal(g, pos, d, dtype=dtype), positive(g, pos, dtype=dtype),
            positive(g, head, pos, dtype=dtype), normal(g, head, d, dtype=dtype))  # fmt: skip
    with unchanged(*args):
        mine = impl.head_word_contributions(*args, 0.7)
    assert_same(mine, ref.head_word_contributions(*args, 0.7), "head pos", 1e-4, 1e-5)


# ---------------------------------------------------------------------------- e1. mlp_components


def coder_args(g, d_in, latent, d, skip, dtype=torch.float32):
    """x, f with zeros, mlp_out, W_dec, b_dec, W_skip."""
    f = normal(g, latent, dtype=dtype).relu()
    shapes = (d_in,), (d,), (latent, d), (d,), (d, d_in)
    x, out, W_dec, b_dec, W_skip = (normal(g, *s, dtype=dtype) for s in shapes)
    return x, f, out, W_dec, b_dec, W_skip if skip else None


@pytest.mark.parametrize("skip", [True, False])
def test_mlp_components__nothing_missing_nothing_twice(impl, seed, device, skip):
    """All rows sum to the output; the three last ones are skip path, error and bias"""
    x, f, out, W_dec, b_dec, W_skip = args = coder_args(
        generator(seed, device), 3, 6, 5, skip, torch.float64
    )
    rows = impl.mlp_components(*args)
    require(tuple(rows.shape) == (9, 5), f"9 rows of 5 were expected, not {tuple(rows.shape)}")
    assert_same(rows.sum(dim=0), out, "d_model", 1e-9, 1e-9, what="the sum of all rows")
    wanted = 0 * out if W_skip is None else W_skip @ x
    assert_same(rows[6], wanted, "d_model", 1e-9, 1e-9, what="the row of the skip path")
    assert_same(rows[8], b_dec, "d_model", what="the row of b_dec")
    assert_same(rows[2], f[2] * W_dec[2], "d_model", 1e-9, 1e-9, what="the row of latent 2")


def test_mlp_components__a_perfect_transcoder_leaves_no_error(impl, seed, device):
    """Where the output is just what the transcoder makes, the error is 0"""
    x, f, _, W_dec, b_dec, W_skip = coder_args(generator(seed + 1, device), 4, 5, 3, True)
    rows = impl.mlp_components(x, f, f @ W_dec + b_dec + W_skip @ x, W_dec, b_dec, W_skip)
    assert_same(rows[6], torch.zeros_like(rows[6]), "d_model", 1e-4, 1e-4, what="the error")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("size", [(3, 7, 4), (5, 2, 6), (4, 4, 4)])
def test_mlp_components__agrees_with_the_worked_one(impl, ref, seed, device, size, skip, dtype):
    """Other sizes; the inputs stay as they are"""
    args = coder_args(generator(seed + 2, device), *size, skip, dtype)
    with unchanged(*args[:5]):
        mine = impl.mlp_components(*args)
    assert_same(mine, ref.mlp_components(*args), "component d_model", 1e-4, 1e-5)


# --------------------------------------------------------------------------- e2. terms_of_latent


def small_model(g, centred, skip, d=5, latent=6, dtype=torch.float64):
    """(stream as parts, pre-activation) of a random block's MLP and a latent of the next block.

    Parts: embedding, two heads, an attention bias, and the pieces of MLP 0, by an oracle.
    """
    embed, h1, h2, b_O = (normal(g, d, dtype=dtype) + 1 for _ in range(4))
    x, f, out, W_dec, b_dec, W_skip = coder_args(g, d, latent, d, skip, dtype)
    side = torch.zeros(d, dtype=dtype, device=g.device) if W_skip is None else W_skip @ x
    error = out - f @ W_dec - b_dec - side
    parts = torch.stack([embed, h1, h2, b_O, *(f[:, None] * W_dec), side, error, b_dec])
    gain, bias = norm_args(g, d, dtype)
    w_enc, b_enc = normal(g, d, dtype=dtype), normal(g, 1, dtype=dtype)[0]
    pre = normed(embed + h1 + h2 + b_O + out, gain, bias, centred, 1e-4) @ w_enc + b_enc
    return (parts, w_enc, b_enc, gain, bias, centred, 1e-4), pre, (x, f, out, W_dec, b_dec, W_skip)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_terms_of_latent__contributions_and_constant_are_the_preactivation(
    impl, seed, device, centred, skip
):
    """On a random model with either norm, with and without skip path, biases not 0"""
    args, pre, _ = small_model(generator(seed, device), centred, skip)
    terms, constant = impl.terms_of_latent(*args)
    assert_same(terms.sum() + constant, pre, "", 1e-8, 1e-8, what="the sum of everything")
    assert_same(constant, args[2] + args[4] @ args[1], "", 1e-8, 1e-8, what="the constant")


@pytest.mark.parametrize("centred", [True, False])
def test_terms_of_latent__a_part_that_is_split_has_the_same_sum(impl, seed, device, centred):
    """Two halves of a part contribute together what it contributed; the others do not notice"""
    args, _, _ = small_model(generator(seed + 1, device), centred, True)
    parts = args[0]
    terms, _ = impl.terms_of_latent(*args)
    split = torch.cat([parts[:1] * 0.3, parts[:1] * 0.7, parts[1:]])
    again, _ = impl.terms_of_latent(split, *args[1:])
    assert_same(again[:2].sum(), terms[0], "", 1e-8, 1e-8, what="both halves together")
    assert_same(again[2:], terms[1:], "entry", 1e-8, 1e-8, what="the other parts")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [(3, 4), (1, 6), (5, 5)])
def test_terms_of_latent__agrees_with_the_worked_one(impl, ref, seed, device, size, centred, dtype):
    """Other sizes, a large epsilon; the inputs stay as they are"""
    g = generator(seed + 2, device)
    parts = normal(g, *size, dtype=dtype) + 0.5
    tensors = (parts, normal(g, size[1], dtype=dtype), normal(g, 1, dtype=dtype)[0],
               *norm_args(g, size[1], dtype))  # fmt: skip
    with unchanged(*tensors):
        mine = impl.terms_of_latent(*tensors, centred, 0.4)
    theirs = ref.terms_of_latent(*tensors, centred, 0.4)
    assert_same(list(mine), list(theirs), ("entry", ""), 1e-4, 1e-5)


# ------------------------------------------------------------------------- e3. weights_and_input


def path_args(g, head, pos, latent, d, dtype=torch.float32):
    """f with zeros, W_dec, read, pattern, scale."""
    return (
        normal(g, pos, latent, dtype=dtype).relu(),
        normal(g, latent, d, dtype=dtype),
        normal(g, head, d, dtype=dtype),
        positive(g, head, pos, dtype=dtype),
        positive(g, pos, dtype=dtype),
    )


def test_weights_and_input__their_product_is_the_contribution(impl, seed, device):
    """Summed over latents, the product is what the latents' part of the stream adds"""
    g = generator(seed, device)
    f, W_dec, read, pattern, scale = path_args(g, 3, 4, 6, 5, torch.float64)
    fixed, given = impl.weights_and_input(f, W_dec, read, pattern, scale, 1.7)
    wanted = pattern * (read @ (f @ W_dec / scale[:, None]).T) / 1.7
    assert_same((fixed[:, None] * given).sum(dim=2), wanted, "head pos", 1e-8, 1e-8)


def test_weights_and_input__only_weights_in_one_only_input_in_the_other(impl, seed, device):
    """Other activations leave the first factor as it is, other weights the second"""
    g = generator(seed + 1, device)
    f, W_dec, read, pattern, scale = path_args(g, 2, 3, 4, 5)
    fixed, given = impl.weights_and_input(f, W_dec, read, pattern, scale, 1.7)
    other, _ = impl.weights_and_input(3 * f, W_dec, read, 2 * pattern, scale + 1, 0.6)
    _, same = impl.weights_and_input(f, W_dec + 1, read - 2, pattern, scale, 1.7)
    assert_same(other, fixed, "head latent", what="the weights' factor on another input")
    assert_same(same, given, "head pos latent", what="the input's factor with other weights")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 3, 5, 4), (4, 5, 2, 3), (1, 2, 3, 4)])
def test_weights_and_input__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes; the inputs stay as they are"""
    args = path_args(generator(seed + 2, device), *size, dtype)
    with unchanged(*args):
        mine = impl.weights_and_input(*args, 2.2)
    theirs = ref.weights_and_input(*args, 2.2)
    assert_same(list(mine), list(theirs), ("head latent", "head pos latent"), 1e-4, 1e-5)


# -------------------------------------------------------------------------------- f1. commitment


def test_commitment__is_the_digest_of_salt_and_answer(impl):
    """64 hexadecimal letters that anybody can compute again"""
    wanted = hashlib.sha256(b"a1\nword is a place").hexdigest()
    assert_same(impl.commitment("word is a place", "a1"), wanted)


def test_commitment__another_answer_or_salt_has_another_digest(impl):
    """The digest depends on both, on capitals, and on where salt ends and answer begins"""
    pairs = [
        ("bc", "a"),
        ("c", "ab"),
        ("Bc", "a"),
        ("bc", "A"),
        ("", "abc"),
        ("a", "bc"),
        ("bc ", "a"),
    ]
    found = [impl.commitment(*pair) for pair in pairs]
    require(len(set(found)) == len(pairs), "two different commitments have the same digest")


@pytest.mark.parametrize("answer", ["", "letters that end in 'é'", "“ä”\n", "the token is '”'"])
def test_commitment__agrees_with_the_worked_one(impl, ref, answer):
    """Empty answers and letters that are not English"""
    assert_same(impl.commitment(answer, "Zürich"), ref.commitment(answer, "Zürich"))


# -------------------------------------------------------------------- f2. predicate_from_weights


def test_predicate_from_weights__finds_the_sentence_that_is_true_of_the_top(impl, device):
    """A sentence that is true just of the n best tokens wins; n decides which"""
    score = torch.tensor([0.1, 3.0, -9.0, 2.0, 1.0, 0.5], device=device)
    holds = torch.tensor(
        [[1, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 1, 0]],
        dtype=torch.bool,
        device=device,
    )
    assert_same(impl.predicate_from_weights(score, holds, 2), 1)
    assert_same(impl.predicate_from_weights(score, holds, 3), 2)


def test_predicate_from_weights__equal_scores_and_equal_sentences(impl, device):
    """Of equal scores the earlier tokens are taken, of equal sentences the first"""
    score = torch.tensor([1.0, 2.0, 1.0, 1.0, 0.0], device=device)
    holds = torch.zeros(4, 5, dtype=torch.bool, device=device)
    holds[0, [1, 3]] = holds[1, [0, 1]] = holds[2, [0, 1]] = holds[3, [1, 2]] = True
    assert_same(impl.predicate_from_weights(score, holds, 2), 1)
    assert_same(impl.predicate_from_weights(torch.zeros_like(score), holds, 2), 1)


def test_predicate_from_weights__balance_counts_not_accuracy(impl, device):
    """A sentence that is never true is right nearly always, and says nothing"""
    score = torch.arange(20.0, device=device)
    holds = torch.zeros(2, 20, dtype=torch.bool, device=device)
    holds[1, 12:] = True  # with the top 2: 6 false alarms
    assert_same(impl.predicate_from_weights(score, holds, 2), 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 38])
def test_predicate_from_weights__agrees_with_the_worked_one(impl, ref, seed, device, n, dtype):
    """Many sentences, some scores equal; the inputs stay as they are"""
    g = generator(seed, device)
    score = (normal(g, 39, dtype=dtype) * 4).round()
    holds = torch.rand(60, 39, generator=g, device=device) < 0.3
    with unchanged(score, holds):
        mine = impl.predicate_from_weights(score, holds, n)
    assert_same(mine, ref.predicate_from_weights(score, holds, n))


# ----------------------------------------------------------------------------- h1. smallest_size


def test_smallest_size__by_hand(impl):
    """The level holds from the size on; one lucky size is not enough; equality counts"""
    sizes = [1, 3, 10, 30]
    for found, level, wanted in (
        ([0.1, 0.9, 0.5, 0.9], 0.8, 30),
        ([0.1, 0.9, 0.8, 0.9], 0.8, 3),
        ([0.9, 0.9, 0.9, 0.9], 0.8, 1),
        ([0.9, 0.9, 0.9, 0.7], 0.8, None),
        ([-1.0, 0.0, 0.25, 0.25], 0.25, 10),
        ([-1.0, 0.0, 0.25, 0.25], 0.0, 3),
    ):
        assert_same(
            impl.smallest_size(sizes, found, level), wanted, hint=f"for {found} and {level}"
        )


@pytest.mark.parametrize("n", [1, 2, 6, 9])
def test_smallest_size__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Random curves, of a single size, too"""
    g = generator(seed, device)
    for _ in range(20):
        sizes = (torch.randperm(50, generator=g, device=device)[:n].sort().values + 1).tolist()
        found = (torch.rand(n, generator=g, device=device) * 8).round().div(8).tolist()
        for level in (0.25, 0.5, 0.75):
            mine = impl.smallest_size(sizes, found, level)
            assert_same(mine, ref.smallest_size(sizes, found, level), hint=f"for {found}, {level}")


# ---------------------------------------------------------------------------------- predictions


def test_predict_all__is_right(impl, ref):
    """What four transcoders cost together, and one by one"""
    require(impl.predict_all == ref.predict_all, "compare the last two bars, and see the ratio")


def test_predict_coder__is_right(impl, ref):
    """Which of the three coders leaves least unexplained"""
    require(impl.predict_coder == ref.predict_coder, "look for the lowest bar")


def test_predict_weights__is_right(impl, ref):
    """How closely weights agree with correlations over words"""
    require(impl.predict_weights == ref.predict_weights, "the first line of the demo says it")


def test_predict_extended__is_right(impl, ref):
    """Which embedding tells more about SmolLM2's latents"""
    want = ref.predict_extended
    require(impl.predict_extended == want, "compare raw and extended in the lines of SmolLM2")


def test_predict_blind__is_right(impl, ref):
    """How good sentences are that weights choose"""
    require(impl.predict_blind == ref.predict_blind, "which of the two other means is nearer?")


def test_predict_neurons__is_right(impl, ref):
    """How many more neurons than latents a circuit needs"""
    require(impl.predict_neurons == ref.predict_neurons, "divide the two sizes that are printed")
