"""3.2.7: what is right, on small random tensors and small random maps."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from utils.testing import assert_same, generator, require, unchanged

DTYPES = [torch.float32, torch.float64]


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def whole(g, high, *shape):
    """Whole numbers from 0 to high - 1."""
    return torch.randint(high, shape, generator=g, device=g.device)


def sparse(g, *shape, share=0.4, dtype=torch.float32):
    """Numbers of both signs, many of which are 0."""
    on = torch.rand(shape, generator=g, device=g.device) < share
    return normal(g, *shape, dtype=dtype) * on


def mask_of(n, chosen, device):
    """A mask with some entries true."""
    return torch.isin(torch.arange(n, device=device), torch.tensor(chosen, device=device))


def dag(g, n=9, dtype=torch.float64, n_begin=3):
    """A graph without loops; the first nodes receive nothing."""
    A = normal(g, n, n, dtype=dtype).tril(diagonal=-1)
    A = A * (torch.rand(n, n, generator=g, device=g.device) < 0.8)
    A[:n_begin] = 0
    A[n_begin:, 0] = A[n_begin:, 0] + 0.5  # every target receives something
    return A


def same_numbers(mine, theirs, names, tol=1e-5):
    """Several numbers, each with its name in the message."""
    require(isinstance(mine, tuple | list), f"a tuple of {len(names)} numbers was expected")
    require(len(mine) == len(names), f"{len(names)} numbers were expected, not {len(mine)}")
    for a, b, name in zip(mine, theirs, names, strict=True):
        assert_same(a, b, "", tol, tol, hint=f"this is {name}")


SCORES = ("the replacement score", "the completeness score")
INTERVAL = ("r over all nodes", "the lower end", "the upper end")


def shares_of(A):
    """Shares, written once more."""
    size, rows = A.abs(), A.abs().sum(dim=1)
    return torch.stack([r / t if t > 0 else r for r, t in zip(size, rows, strict=True)])


def output_weights(n, g, dtype=torch.float64, n_out=2):
    """Weights of the last nodes, unequal, that sum to 1."""
    weights = torch.zeros(n, device=g.device, dtype=dtype)
    weights[-n_out:] = torch.rand(n_out, generator=g, device=g.device, dtype=dtype) + 0.2
    return weights / weights.sum()


# --------------------------------------------------------------------------- a1. norm_with_scale


def test_norm_with_scale__with_its_own_scale_is_the_layer_norm(impl, seed, device):
    """With the scale that a LayerNorm would take, it is that LayerNorm"""
    g = generator(seed, device)
    x, gain, bias = 3 * normal(g, 2, 3, 5) + 1, normal(g, 5), normal(g, 5)
    scale = (x.var(dim=-1, correction=0, keepdim=True) + 1e-5).sqrt()
    wanted = nn.functional.layer_norm(x, (5,), gain, bias, 1e-5)
    assert_same(impl.norm_with_scale(x, scale, gain, bias), wanted, "batch pos d_model", 1e-4, 1e-5)


def test_norm_with_scale__is_affine(impl, seed, device):
    """With a scale held still, what a sum of two inputs gives is a sum, but for one bias"""
    g = generator(seed + 1, device)
    x, y, gain, bias = (normal(g, *s, dtype=torch.float64) for s in ((4, 6), (4, 6), (6,), (6,)))
    scale = torch.rand(4, 1, generator=g, device=device, dtype=torch.float64) + 0.5
    of = [impl.norm_with_scale(v, scale, gain, bias) for v in (x, y, x + y, 0 * x)]
    assert_same(of[2], of[0] + of[1] - of[3], "pos d_model", 1e-9, 1e-9)
    assert_same(of[3], bias.expand(4, 6).clone(), "pos d_model", 1e-9, 1e-9, what="of zeros")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_norm_with_scale__agrees_with_the_worked_one(impl, ref, seed, device, batch, dtype):
    """Other shapes; the inputs stay as they are"""
    g = generator(seed + 2, device)
    x = normal(g, *batch, 7, dtype=dtype)
    scale = torch.rand(*batch, 1, generator=g, device=device, dtype=dtype) + 0.3
    gain, bias = normal(g, 7, dtype=dtype), normal(g, 7, dtype=dtype)
    with unchanged(x, scale, gain, bias):
        mine = impl.norm_with_scale(x, scale, gain, bias)
    assert_same(mine, ref.norm_with_scale(x, scale, gain, bias), "", 1e-5, 1e-5)


# -------------------------------------------------------------------- a2. attention_with_pattern


def heads(g, head, pos, d_model, d_head, dtype=torch.float32):
    """Arguments: patterns whose rows need not sum to 1, and biases that are not 0."""
    pattern = torch.rand(head, pos, pos, generator=g, device=g.device, dtype=dtype)
    shapes = (
        (pos, d_model), (head, d_model, d_head), (head, d_head), (head, d_head, d_model), (d_model,)
    )  # fmt: skip
    x, *maps = (normal(g, *shape, dtype=dtype) for shape in shapes)
    return (x, pattern, *maps)


def test_attention_with_pattern__is_torchs_attention(impl, seed, device):
    """With the patterns of torch's own attention, its output comes out"""
    g = generator(seed, device)
    layer = nn.MultiheadAttention(6, 2, batch_first=True, device=device)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(normal(g, *p.shape))
        x = normal(g, 1, 5, 6)
        wanted, pattern = layer(x, x, x, average_attn_weights=False)
        W_V = layer.in_proj_weight[12:].reshape(2, 3, 6).transpose(1, 2).contiguous()
        b_V = layer.in_proj_bias[12:].reshape(2, 3)
        W_O = layer.out_proj.weight.T.reshape(2, 3, 6).contiguous()
        got = impl.attention_with_pattern(x[0], pattern[0], W_V, b_V, W_O, layer.out_proj.bias.data)
    assert_same(got, wanted[0], "pos d_model", 1e-4, 1e-4)


def test_attention_with_pattern__moves_only_what_the_query_looks_at(impl, seed, device):
    """A query that looks at one key gets that key's value, and nothing of others"""
    x, pattern, W_V, b_V, W_O, b_O = heads(generator(seed + 1, device), 2, 4, 5, 3, torch.float64)
    pattern = torch.zeros_like(pattern)
    pattern[0, 3, 1] = 0.7
    out = impl.attention_with_pattern(x, pattern, W_V, b_V, W_O, b_O)
    wanted = b_O.expand(4, 5).clone()
    wanted[3] = wanted[3] + 0.7 * (x[1] @ W_V[0] + b_V[0]) @ W_O[0]
    assert_same(out, wanted, "pos d_model", 1e-9, 1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(3, 4, 5, 2), (1, 6, 3, 3), (4, 4, 4, 4)])
def test_attention_with_pattern__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes; the inputs stay as they are"""
    args = heads(generator(seed + 2, device), *size, dtype)
    with unchanged(*args):
        mine = impl.attention_with_pattern(*args)
    assert_same(mine, ref.attention_with_pattern(*args), "pos d_model", 1e-4, 1e-4)


# ------------------------------------------------------------------------- a3. latents_and_error


def transcoder(g, pos, d_in, latent, d_model, skip=True, dtype=torch.float32):
    """Arguments: a small transcoder, with what an MLP reads and writes."""
    W_enc, b_enc = normal(g, d_in, latent, dtype=dtype), normal(g, latent, dtype=dtype)
    shapes = ((pos, d_in), (pos, d_model), (latent, d_model), (d_model,), (d_model, d_in))
    x, out, W_dec, b_dec, W_skip = (normal(g, *s, dtype=dtype) for s in shapes)
    encode = lambda v: (v @ W_enc + b_enc).relu()  # noqa: E731
    return x, out, encode, W_dec, b_dec, W_skip if skip else None


@pytest.mark.parametrize("skip", [True, False])
def test_latents_and_error__everything_together_is_the_output(impl, seed, device, skip):
    """After the first position, what the transcoder makes and the error sum to the MLP's output"""
    g = generator(seed, device)
    x, out, encode, W_dec, b_dec, W_skip = args = transcoder(g, 4, 3, 7, 5, skip, torch.float64)
    f, error = impl.latents_and_error(*args)
    made = f @ W_dec + b_dec + (x @ W_skip.T if skip else 0)
    assert_same((made + error)[1:], out[1:], "pos d_model", 1e-9, 1e-9)
    assert_same(f[1:], encode(x)[1:], "pos latent", 1e-9, 1e-9)


def test_latents_and_error__the_first_position_is_all_error(impl, seed, device):
    """At the first position no latent is active and the error is the MLP's output"""
    args = transcoder(generator(seed + 1, device), 3, 4, 6, 5)
    f, error = impl.latents_and_error(*args)
    require(not bool(f[0].any()), "latents are active at the first position")
    assert_same(error[0], args[1][0], "d_model", what="the error at the first position")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(5, 3, 8, 4), (2, 6, 4, 6), (1, 4, 4, 4)])
@pytest.mark.parametrize("skip", [True, False])
def test_latents_and_error__agrees_with_the_worked_one(impl, ref, seed, device, size, skip, dtype):
    """Other sizes; one position; with and without skip path; the inputs stay as they are"""
    args = transcoder(generator(seed + 2, device), *size, skip, dtype)
    with unchanged(args[0], args[1], args[3], args[4]):
        mine = impl.latents_and_error(*args)
    assert_same(
        list(mine), list(ref.latents_and_error(*args)), ("pos latent", "pos d_model"), 1e-4, 1e-5
    )


# --------------------------------------------------------------------------- b. what_nodes_write


def nodes(g, layer, pos, latent, d_model, dtype=torch.float32):
    """Arguments: sparse latents, decoders, errors, embeddings."""
    acts = sparse(g, layer, pos, latent, dtype=dtype)
    rest = ((layer, latent, d_model), (layer, pos, d_model), (pos, d_model))
    return (acts, *(normal(g, *s, dtype=dtype) for s in rest))


def test_what_nodes_write__by_hand(impl, device):
    """Two layers, two positions: latents in the order of layer, position, latent; then the rest"""
    acts = torch.zeros(2, 2, 2, device=device)
    acts[0, 1, 0], acts[1, 0, 1], acts[0, 0, 1] = 2.0, -3.0, 5.0
    W_dec = torch.tensor([[[1.0], [10.0]], [[100.0], [1000.0]]], device=device)
    error = torch.tensor([[[0.1], [0.2]], [[0.3], [0.4]]], device=device)
    embed = torch.tensor([[7.0], [8.0]], device=device)
    wanted = torch.tensor([50.0, 2.0, -3000.0, 0.1, 0.2, 0.3, 0.4, 7.0, 8.0], device=device)
    assert_same(impl.what_nodes_write(acts, W_dec, error, embed), wanted[:, None], "source d_model")


def test_what_nodes_write__sums_to_all_that_is_written(impl, seed, device):
    """All rows together are what latents, errors and embeddings write; one row for each node"""
    args = nodes(generator(seed, device), 3, 4, 6, 5, torch.float64)
    acts, W_dec, error, embed = args
    got = impl.what_nodes_write(*args)
    require(len(got) == int((acts != 0).sum()) + 3 * 4 + 4, f"there are {len(got)} rows")
    total = torch.einsum("lpk,lkd->d", acts, W_dec) + error.sum(dim=(0, 1)) + embed.sum(dim=0)
    assert_same(got.sum(dim=0), total, "d_model", 1e-9, 1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 3, 5, 4), (1, 4, 3, 2), (4, 4, 4, 4)])
def test_what_nodes_write__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes; latents of both signs"""
    args = nodes(generator(seed + 1, device), *size, dtype)
    with unchanged(*args):
        mine = impl.what_nodes_write(*args)
    assert_same(mine, ref.what_nodes_write(*args), "source d_model")


# ----------------------------------------------------------------------------- c1. contributions


def affine(g, source, d_model, dtype=torch.float64):
    """An affine function of all rows, in steps; its matrix and its constant."""
    W, b = normal(g, source, d_model, dtype=dtype), normal(g, dtype=dtype)
    return lambda v: (v * W).sum() / 2 + b + (v * W).mean() * 0, W / 2, b


def test_contributions__add_up_to_what_is_read(impl, seed, device):
    """The contributions and the constant sum to the value; the constant is what nothing gives"""
    g = generator(seed, device)
    read, _, b = affine(g, 6, 4)
    written = normal(g, 6, 4, dtype=torch.float64)
    row, constant = impl.contributions(read, written)
    assert_same(row.sum() + constant, read(written), "", 1e-9, 1e-9)
    assert_same(constant, b, "", 1e-9, 1e-9, what="the constant")


def test_contributions__are_what_taking_a_source_away_does(impl, seed, device):
    """A source's contribution is by how much the value falls without it"""
    g = generator(seed + 1, device)
    read, _, _ = affine(g, 5, 3)
    written = normal(g, 5, 3, dtype=torch.float64)
    row, _ = impl.contributions(read, written)
    for i in range(5):
        without = written.clone()
        without[i] = 0
        assert_same(row[i], read(written) - read(without), "", 1e-9, 1e-9, what=f"source {i}")


def test_contributions__work_without_gradients_around(impl, seed, device):
    """Inside torch.no_grad it works, too; the results carry no gradient"""
    g = generator(seed + 2, device)
    read, W, _ = affine(g, 4, 3)
    written = normal(g, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        quiet = impl.contributions(read, written)
    assert_same(quiet[0], (W * written).sum(dim=1), "source", 1e-9, 1e-9)
    loud = impl.contributions(read, written.clone().requires_grad_())
    require(not any(v.requires_grad for v in (*quiet, *loud)), "a result carries a gradient")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(7, 3), (1, 5), (4, 4)])
def test_contributions__agree_with_the_worked_ones(impl, ref, seed, device, size, dtype):
    """Other sizes; the input stays as it is"""
    g = generator(seed + 3, device)
    read, _, _ = affine(g, *size, dtype)
    written = normal(g, *size, dtype=dtype)
    with unchanged(written):
        mine = impl.contributions(read, written)
    assert_same(list(mine), list(ref.contributions(read, written)), ("source", ""), 1e-4, 1e-5)


# ----------------------------------------------------------------------------------- c2. rows_of


@dataclass
class Rows:
    """Target t is an affine function of copy t; two are equal if they were read equally often."""

    W: torch.Tensor = field(compare=False)
    b: torch.Tensor = field(compare=False)
    calls: list = field(default_factory=list, compare=False)
    times: int = 0  # 2 stands for more

    def __call__(self, copies):
        """The values of all targets."""
        self.calls.append(len(copies))
        self.times = min(len(self.calls), 2)
        return (copies * self.W).sum(dim=(1, 2)) + self.b


def affine_rows(g, target, source, d_model, dtype=torch.float64):
    """A `read` for all targets at once, with its matrices `W` and constants `b`."""
    return Rows(normal(g, target, source, d_model, dtype=dtype), normal(g, target, dtype=dtype))


def test_rows_of__are_the_rows_of_single_targets(impl, seed, device):
    """Row t is what copy t gives to target t; its constant is that of target t"""
    g = generator(seed, device)
    read = affine_rows(g, 3, 5, 4)
    written = normal(g, 5, 4, dtype=torch.float64)
    rows, constants = impl.rows_of(read, written, 3)
    assert_same(rows, (read.W * written).sum(dim=-1), "target source", 1e-9, 1e-9)
    assert_same(constants, read.b, "target", 1e-9, 1e-9, what="the constants")


def test_rows_of__reads_once_and_leaves_no_gradient(impl, seed, device):
    """`read` is called once, with a copy for each target, also without gradients around"""
    g = generator(seed + 1, device)
    read = affine_rows(g, 4, 3, 2)
    with torch.no_grad():
        found = impl.rows_of(read, normal(g, 3, 2, dtype=torch.float64), 4)
    require(read.calls == [4], f"read was called with {read.calls} copies, not once with 4")
    loud = impl.rows_of(read, normal(g, 3, 2, dtype=torch.float64).requires_grad_(), 4)
    require(not any(v.requires_grad for v in (*found, *loud)), "a result carries a gradient")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 6, 3), (1, 4, 5), (4, 4, 4)])
def test_rows_of__agree_with_the_worked_ones(impl, ref, seed, device, size, dtype):
    """Other sizes; one target; the input stays as it is"""
    g = generator(seed + 2, device)
    read = affine_rows(g, *size, dtype)
    written = normal(g, *size[1:], dtype=dtype)
    with unchanged(written):
        mine = impl.rows_of(read, written, size[0])
    theirs = ref.rows_of(read, written, size[0])
    assert_same(list(mine), list(theirs), ("target source", "target"), 1e-4, 1e-5)


# ---------------------------------------------------------------------------- d1. likely_targets

HALVES = [0.125, 0.5, 0.0625, 0.25, 0.0625]


@pytest.mark.parametrize(
    ("share", "most", "wanted"),
    [(0.5, 5, [1]), (0.51, 5, [1, 3]), (0.75, 5, [1, 3]), (0.876, 5, [1, 3, 0, 2]),
     (0.9375, 5, [1, 3, 0, 2]), (1.0, 5, [1, 3, 0, 2, 4]), (0.9, 2, [1, 3]), (0.75, 1, [1])],
)  # fmt: skip
def test_likely_targets__takes_the_fewest(impl, seed, device, share, most, wanted):
    """Exactly the share is enough; equally probable words by their number; never more than most"""
    W_U = normal(generator(seed, device), 3, 5)
    tokens, vectors = impl.likely_targets(torch.tensor(HALVES, device=device), W_U, share, most)
    require(tokens.tolist() == wanted, f"tokens {tokens.tolist()} instead of {wanted}")
    require(vectors.shape == (len(wanted), 3), f"the directions have shape {tuple(vectors.shape)}")


def test_likely_targets__read_the_logit_minus_the_mean_logit(impl, seed, device):
    """Times a hidden state, each direction gives its logit minus the mean over the vocabulary"""
    g = generator(seed + 1, device)
    hidden, W_U = normal(g, 4, dtype=torch.float64), normal(g, 4, 9, dtype=torch.float64)
    logits = hidden @ W_U
    tokens, vectors = impl.likely_targets(logits.softmax(dim=0), W_U, 0.8, 6)
    assert_same(vectors @ hidden, logits[tokens] - logits.mean(), "token", 1e-9, 1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d_model", "vocab"), [(3, 12), (8, 8), (5, 2)])
def test_likely_targets__agree_with_the_worked_ones(impl, ref, seed, device, d_model, vocab, dtype):
    """Other sizes and shares; the inputs stay as they are"""
    g = generator(seed + 2, device)
    p, W_U = normal(g, vocab, dtype=dtype).softmax(dim=0), normal(g, d_model, vocab, dtype=dtype)
    for share, most in ((0.3, 9), (0.7, 9), (0.95, 3)):
        with unchanged(p, W_U):
            mine = impl.likely_targets(p, W_U, share, most)
        theirs = ref.likely_targets(p, W_U, share, most)
        assert_same(list(mine), list(theirs), ("token", "token d_model"), 1e-4, 1e-5)


# ------------------------------------------------------------------------------- d2. score_pairs


def sides(g, n, m, d_model, d_head, dtype=torch.float32):
    """Arguments: sources of both sides, and a head."""
    shapes = (
        (n, d_model), (m, d_model), (d_model, d_head), (d_head,), (d_model, d_head), (d_head,)
    )  # fmt: skip
    return tuple(normal(g, *s, dtype=dtype) for s in shapes)


def test_score_pairs__sum_to_the_score(impl, seed, device):
    """All pairs sum to query · key / √d_head of the summed inputs"""
    args = sides(generator(seed, device), 5, 3, 6, 4, torch.float64)
    x, y, W_Q, b_Q, W_K, b_K = args
    score = (x.sum(dim=0) @ W_Q + b_Q) @ (y.sum(dim=0) @ W_K + b_K) / 2
    assert_same(impl.score_pairs(*args).sum(), score, "", 1e-9, 1e-9)


def test_score_pairs__by_hand(impl, device):
    """One number on each side: rows are the query's sources, biases come last"""
    one = torch.ones(1, 4, device=device)
    args = (torch.tensor([[2.0], [3.0]], device=device), torch.tensor([[5.0]], device=device),
            one, 7 * one[0], one, 11 * one[0])  # fmt: skip
    wanted = torch.tensor([[10.0, 22.0], [15.0, 33.0], [35.0, 77.0]], device=device) * 4 / 2
    assert_same(impl.score_pairs(*args), wanted, "n+1 m+1")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(4, 2, 7, 3), (1, 5, 2, 6), (3, 3, 3, 3)])
def test_score_pairs__agree_with_the_worked_ones(impl, ref, seed, device, size, dtype):
    """Other sizes; the inputs stay as they are"""
    args = sides(generator(seed + 1, device), *size, dtype)
    with unchanged(*args):
        mine = impl.score_pairs(*args)
    assert_same(mine, ref.score_pairs(*args), "n+1 m+1", 1e-4, 1e-5)


# ------------------------------------------------------------------------------------ e1. shares


def test_shares__by_hand(impl, device):
    """Signs do not cancel; rows of zeros stay; a row of tiny numbers sums to 1, too"""
    A = torch.tensor([[1.0, -3.0, 0.0], [0.0, 0.0, 0.0], [1e-6, 0.0, 1e-6]], device=device)
    wanted = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.5]], device=device)
    assert_same(impl.shares(A), wanted, "target source")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 4, 7])
def test_shares__agree_with_the_worked_ones(impl, ref, seed, device, n, dtype):
    """Sparse matrices of other sizes; the input stays as it is"""
    A = sparse(generator(seed, device), n, n, dtype=dtype)
    with unchanged(A):
        mine = impl.shares(A)
    assert_same(mine, ref.shares(A), "target source", 1e-5, 1e-6)


# ------------------------------------------------------------------------ e2. influence_by_steps


def test_influence_by_steps__on_a_chain(impl, device):
    """Word → latent → output: one edge, two edges, and nothing longer"""
    by = torch.zeros(3, 3, device=device)
    by[1, 0], by[2, 1], by[2, 0] = 1.0, 0.75, 0.25
    weights = torch.tensor([0.0, 0.0, 2.0], device=device)
    wanted = torch.tensor([[0.5, 1.5, 0.0], [1.5, 0.0, 0.0], [0.0, 0.0, 0.0]], device=device)
    assert_same(impl.influence_by_steps(by, weights, 3), wanted, "step node")


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_influence_by_steps__are_powers(impl, ref, seed, device, n, dtype):
    """Row k is the weights times the matrix to the power k + 1; the inputs stay as they are"""
    g = generator(seed, device)
    by = shares_of(dag(g, dtype=dtype))
    weights = output_weights(9, g, dtype)
    with unchanged(by, weights):
        mine = impl.influence_by_steps(by, weights, n)
    wanted = torch.stack([weights @ torch.linalg.matrix_power(by, k + 1) for k in range(n)])
    assert_same(mine, wanted, "step node", 1e-4, 1e-6)
    assert_same(mine, ref.influence_by_steps(by, weights, n), "step node", 1e-4, 1e-6)


# --------------------------------------------------------------------------------- e3. influence


def test_influence__is_the_sum_of_the_series(impl, seed, device):
    """All lengths of paths together, added one by one"""
    g = generator(seed, device)
    by, weights = shares_of(dag(g)), output_weights(9, g)
    total, term = torch.zeros_like(weights), weights
    for _ in range(9):
        term = term @ by
        total = total + term
    assert_same(impl.influence(by, weights), total, "node", 1e-7, 1e-9)


def test_influence__all_of_it_begins_where_nothing_is_received(impl, seed, device):
    """The nodes without a row of their own have the weights' sum together"""
    g = generator(seed + 1, device)
    by, weights = shares_of(dag(g, n=12, n_begin=4)), 3 * output_weights(12, g)
    assert_same(impl.influence(by, weights)[:4].sum(), weights.sum(), "", 1e-7, 1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 14])
def test_influence__agrees_with_the_worked_one(impl, ref, seed, device, n, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 2, device)
    by, weights = shares_of(dag(g, n, dtype)), output_weights(n, g, dtype)
    with unchanged(by, weights):
        mine = impl.influence(by, weights)
    assert_same(mine, ref.influence(by, weights), "node", 1e-4, 1e-5)


# ------------------------------------------------------------------------------------ f1. fewest


@pytest.mark.parametrize(
    ("share", "wanted"),
    [(0.25, [3]), (0.5, [3]), (0.501, [3, 0]), (0.75, [3, 0]), (0.76, [3, 0, 4]),
     (0.875, [3, 0, 4]), (0.9, [0, 3, 4, 5]), (1.0, [0, 3, 4, 5])],
)  # fmt: skip
def test_fewest__by_hand(impl, device, share, wanted):
    """Exactly the share is enough; of equal values the earlier; zeros never"""
    values = torch.tensor([4.0, 0.0, 0.0, 8.0, 2.0, 2.0], device=device)
    assert_same(impl.fewest(values, share), mask_of(6, wanted, device), "item")
    none = torch.zeros(3, device=device)
    assert_same(impl.fewest(none, share), none.bool(), "item", what="which of three zeros stay")


def test_fewest__larger_shares_keep_more(impl, seed, device):
    """What a share keeps, a larger share keeps, too; and it has that share of the sum"""
    values = torch.rand(20, generator=generator(seed, device), device=device, dtype=torch.float64)
    before = torch.zeros(20, dtype=torch.bool, device=device)
    for share in (0.1, 0.35, 0.6, 0.85, 0.99):
        few = impl.fewest(values, share)
        require(bool((few | ~before).all()), f"share {share} drops what a smaller one keeps")
        require(values[few].sum() >= share * values.sum() - 1e-9, f"share {share} is not reached")
        require(values[few].sum() - values[few].min() < share * values.sum(), "one less is enough")
        before = few


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 6, 40])
def test_fewest__agree_with_the_worked_ones(impl, ref, seed, device, n, dtype):
    """Other numbers of items, with zeros and equal values"""
    values = whole(generator(seed + 1, device), 6, n).to(dtype)
    values[0] = 3
    for share in (0.25, 0.5, 0.75, 1.0):  # exact in float32: sums may equal the share
        with unchanged(values):
            mine = impl.fewest(values, share)
        assert_same(mine, ref.fewest(values, share), "item")


# ------------------------------------------------------------------------------------- f2. prune


def test_prune__by_hand(impl, device):
    """A node with little influence goes; the shares of the others are computed again"""
    A = torch.zeros(5, 5, device=device)
    A[2, 0], A[2, 1] = 3.0, -1.0  # a latent: 3 of 4 from node 0
    A[3, 1] = 5.0  # a latent that hardly matters
    A[4, 2], A[4, 3], A[4, 0] = 8.0, -0.5, 1.5  # the output
    weights = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0], device=device)
    always = mask_of(5, [4], device)
    kept, small = impl.prune(A, weights, always, 0.9, 1.0)
    assert_same(kept, mask_of(5, [0, 1, 2, 4], device), "node", what="which nodes stay")
    wanted = A.clone()
    wanted[3], wanted[:, 3] = 0, 0
    assert_same(small, wanted, "target source", what="the pruned matrix")
    kept, small = impl.prune(A, weights, always, 0.9, 0.913)  # three edges have 32/35 = 0.914
    wanted[4, 0] = 0
    assert_same(small, wanted, "target source", what="the matrix with fewer edges")


def test_prune__larger_thresholds_keep_more(impl, seed, device):
    """More of the nodes and, with all nodes, more of the edges; what stays is as it was"""
    g = generator(seed, device)
    A, weights = dag(g, n=14), output_weights(14, g)
    always, sizes = weights > 0, []
    for nodes_, edges in ((0.3, 0.5), (0.6, 0.7), (0.9, 0.9), (1.0, 0.99)):
        kept, small = impl.prune(A, weights, always, nodes_, edges)
        there = small != 0
        require(bool((small[there] == A[there]).all()), "an edge that stays has another value")
        require(bool(kept[always].all()), "a node that must always stay is gone")
        require(
            not bool(there[~kept].any() | there[:, ~kept].any()), "a node that is gone has edges"
        )
        sizes.append(int(kept.sum()))
    require(sizes == sorted(sizes), f"larger thresholds keep {sizes} nodes")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("nodes_", "edges"), [(0.5, 0.8), (0.8, 0.5), (0.7, 0.95)])
def test_prune__agrees_with_the_worked_one(impl, ref, seed, device, nodes_, edges, dtype):
    """Random graphs, two outputs; the inputs stay as they are"""
    g = generator(seed + 1, device)
    A, weights = dag(g, 13, dtype), output_weights(13, g, dtype)
    always = (weights > 0) | mask_of(13, [1, 5], device)
    with unchanged(A, weights, always):
        mine = impl.prune(A, weights, always, nodes_, edges)
    theirs = ref.prune(A, weights, always, nodes_, edges)
    assert_same(list(mine), list(theirs), ("node", "target source"), 1e-4, 1e-5)


# ------------------------------------------------------------------------------- g. graph_scores


def test_graph_scores__by_hand(impl, device):
    """Word → latent → output, and an error beside the latent"""
    A = torch.zeros(4, 4, device=device)  # word, error, latent, output
    A[2, 0], A[3, 2], A[3, 1] = -2.0, 3.0, 1.0
    weights = torch.tensor([0.0, 0.0, 0.0, 1.0], device=device)
    got = impl.graph_scores(A, weights, mask_of(4, [1], device), mask_of(4, [0], device))
    # of the output 3 of 4 begin at the word; the latent is worth 0.75, the output 1
    same_numbers(got, (0.75, (0.75 * 1 + 1 * 0.75) / 1.75), SCORES)


def test_graph_scores__are_1_without_errors_and_0_with_nothing_else(impl, seed, device):
    """No edge from an error: both are 1. All influence from errors: replacement is 0"""
    g = generator(seed, device)
    A, weights = dag(g), output_weights(9, g)
    error, word = mask_of(9, [1, 2], device), mask_of(9, [0], device)
    clean = A.clone()
    clean[:, error] = 0
    same_numbers(impl.graph_scores(clean, weights, error, word), (1.0, 1.0), SCORES)
    got = impl.graph_scores(A, weights, mask_of(9, [0, 1, 2], device), mask_of(9, [], device))
    require(abs(got[0]) < 1e-6, f"replacement is {got[0]}, though all begins at errors")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [8, 15])
def test_graph_scores__agree_with_the_worked_ones(impl, ref, seed, device, n, dtype):
    """Random graphs with unequal weights of the outputs; contributions of both signs"""
    g = generator(seed + 1, device)
    A, weights = dag(g, n, dtype, n_begin=4), 2 * output_weights(n, g, dtype)
    error, word = mask_of(n, [1, 3], device), mask_of(n, [0, 2], device)
    with unchanged(A, weights):
        mine = impl.graph_scores(A, weights, error, word)
    same_numbers(mine, ref.graph_scores(A, weights, error, word), SCORES, 1e-4)


# -------------------------------------------------------------------------------- h. merge_nodes


def test_merge_nodes__by_hand(impl, device):
    """Two nodes in one group: rows and columns are added; what is inside stays on the diagonal"""
    A = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [-5.0, 4.0, 0.0]], device=device)
    got = impl.merge_nodes(A, torch.tensor([2, 0, 0], device=device), 4)
    wanted = torch.zeros(4, 4, device=device)
    wanted[0, 2], wanted[0, 0] = 2.0 - 5.0, 4.0
    assert_same(got, wanted, "n n")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_nodes", "n"), [(7, 3), (5, 8), (6, 1)])
def test_merge_nodes__are_sums_over_blocks(impl, ref, seed, device, n_nodes, n, dtype):
    """Every entry is the sum over its block; empty groups have zeros; the inputs stay"""
    g = generator(seed, device)
    A, group = normal(g, n_nodes, n_nodes, dtype=dtype), whole(g, n, n_nodes)
    with unchanged(A, group):
        got = impl.merge_nodes(A, group, n)
    wanted = torch.stack(
        [torch.stack([A[group == t][:, group == s].sum() for s in range(n)]) for t in range(n)]
    )
    assert_same(got, wanted, "n n", 1e-4, 1e-5)
    assert_same(got, ref.merge_nodes(A, group, n), "n n", 1e-4, 1e-5)


# -------------------------------------------------------------------------- j1. predicted_effects


def network(g, dtype=torch.float64):
    """A linear network as a graph: 2 inputs, 3 + 2 latents, 2 outputs; and its function."""
    x = normal(g, 2, dtype=dtype)
    W = [normal(g, *s, dtype=dtype) for s in ((2, 3), (5, 2), (7, 2))]

    def values(scale):
        """All nodes where node i is multiplied by scale[i] before others read it."""
        found = x * scale[:2]
        for w in W:
            new = found @ w[: len(found)]
            at = len(found)
            found = torch.cat([found, new * scale[at : at + len(new)]])
        return found

    f = values(torch.ones(9, dtype=dtype, device=g.device))
    A = torch.zeros(9, 9, dtype=dtype, device=g.device)
    for w, start in zip(W, (2, 5, 7), strict=True):
        A[start : start + w.shape[1], : len(w)] = (f[: len(w), None] * w).T
    return A, f, values


def test_predicted_effects__are_exact_for_a_linear_network(impl, seed, device):
    """Without anything that turns on or off, growing a node by its size moves outputs by that"""
    A, f, values = network(generator(seed, device))
    feature, output = mask_of(9, [2, 3, 4, 5, 6], device), mask_of(9, [7, 8], device)
    got = impl.predicted_effects(A, f, feature, output)
    for i in range(7):
        scale = torch.ones_like(f)
        scale[i] = 2
        moved = (values(scale) - f)[7:]
        assert_same(got[:, i], moved, "output", 1e-7, 1e-8, what=f"the effect of node {i}")


def test_predicted_effects__on_a_chain(impl, device):
    """Word → latent → latent → output: a latent's share moves the next one by its part"""
    A = torch.zeros(4, 4, device=device)
    A[1, 0], A[2, 1], A[3, 2], A[3, 1] = 1.0, 3.0, 8.0, 5.0
    f = torch.tensor([0.0, 2.0, 6.0, 0.0], device=device)
    got = impl.predicted_effects(A, f, mask_of(4, [1, 2], device), mask_of(4, [3], device))
    # the second latent moves by 3/6, so 8 · 0.5; the word moves the first by 1/2
    wanted = torch.tensor([[4.5, 9.0, 8.0, 0.0]], device=device)
    assert_same(got, wanted, "output node", 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_predicted_effects__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """Random graphs; activations of other nodes are 0; the inputs stay as they are"""
    g = generator(seed + 1, device)
    A = dag(g, 11, dtype)
    feature, output = mask_of(11, [4, 5, 6, 7, 8], device), mask_of(11, [9, 10], device)
    f = (torch.rand(11, generator=g, device=device, dtype=dtype) + 1.5) * feature
    with unchanged(A, f):
        mine = impl.predicted_effects(A, f, feature, output)
    assert_same(mine, ref.predicted_effects(A, f, feature, output), "output node", 1e-3, 1e-4)


# ----------------------------------------------------------------------------- j2. run_with_edits


def layers(g, n, d_model, latent, dtype=torch.float64):
    """(x, encoders, W_dec, error) of a small residual network."""
    W, b = normal(g, n, d_model, latent, dtype=dtype), normal(g, n, latent, dtype=dtype)
    encoders = [lambda x, i=i: (x @ W[i] + b[i]).relu() for i in range(n)]
    shapes = ((d_model,), (n, latent, d_model), (n, d_model))
    x, W_dec, error = (normal(g, *s, dtype=dtype) for s in shapes)
    return x, encoders, W_dec, error


@pytest.mark.parametrize("respond", [True, False])
def test_run_with_edits__without_edits_is_the_network(impl, seed, device, respond):
    """No edits: the stream that the layers write one after the other"""
    x, encoders, W_dec, error = layers(generator(seed, device), 3, 4, 6)
    wanted = x
    for i, encode in enumerate(encoders):
        wanted = wanted + encode(wanted) @ W_dec[i] + error[i]
    got = impl.run_with_edits(x, encoders, W_dec, error, {}, respond)
    assert_same(got, wanted, "d_model", 1e-9, 1e-9)


def test_run_with_edits__without_response_it_is_the_direct_effect(impl, seed, device):
    """Nothing responds: the stream moves by each change times its decoder row, and no more"""
    x, encoders, W_dec, error = layers(generator(seed + 1, device), 3, 4, 5)
    clean = impl.run_with_edits(x, encoders, W_dec, error, {}, False)
    first, stream = encoders[0](x), x + encoders[0](x) @ W_dec[0] + error[0]
    second = encoders[1](stream)
    edits = {(0, 2): 1.5, (1, 4): 0.0}
    got = impl.run_with_edits(x, encoders, W_dec, error, edits, False)
    moved = (1.5 - first[2]) * W_dec[0, 2] + (0.0 - second[4]) * W_dec[1, 4]
    assert_same(got, clean + moved, "d_model", 1e-9, 1e-9)


def test_run_with_edits__an_edited_latent_keeps_its_value(impl, seed, device):
    """With response: a latent set in a later layer has that value whatever comes before it"""
    x, encoders, W_dec, error = layers(generator(seed + 2, device), 2, 3, 4)
    edits = {(0, 1): 2.0, **{(1, k): float(k) for k in range(4)}}
    f = encoders[0](x).clone()
    f[1] = 2.0
    fixed = torch.arange(4, device=device, dtype=x.dtype)
    wanted = x + f @ W_dec[0] + error[0] + fixed @ W_dec[1] + error[1]
    got = impl.run_with_edits(x, encoders, W_dec, error, edits, True)
    assert_same(got, wanted, "d_model", 1e-9, 1e-9)


@pytest.mark.parametrize("respond", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_run_with_edits__agrees_with_the_worked_one(impl, ref, seed, device, respond, dtype):
    """Several edits in several layers; the inputs stay as they are"""
    x, encoders, W_dec, error = layers(generator(seed + 3, device), 4, 5, 7, dtype)
    edits = {(0, 3): 2.5, (2, 3): -1.0, (2, 6): 0.75, (3, 0): 4.0}
    with unchanged(x, W_dec, error):
        mine = impl.run_with_edits(x, encoders, W_dec, error, edits, respond)
    theirs = ref.run_with_edits(x, encoders, W_dec, error, edits, respond)
    assert_same(mine, theirs, "d_model", 1e-4, 1e-4)


# ---------------------------------------------------------------------------- j3. r_with_interval


def effects(g, n_prompts, dtype=torch.float32):
    """Predicted and measured numbers of prompts with unequally many nodes, and some draws."""
    prompt = torch.cat([torch.full((2 + p % 3,), p, device=g.device) for p in range(n_prompts)])
    prompt = prompt[torch.randperm(len(prompt), generator=g, device=g.device)]
    predicted = normal(g, len(prompt), dtype=dtype) + prompt.to(dtype) / 3
    measured = 0.6 * predicted + normal(g, len(prompt), dtype=dtype) + 1
    return predicted, measured, prompt, whole(g, n_prompts, 60, n_prompts)


def test_r_with_interval__of_proportional_numbers_is_1(impl, seed, device):
    """Measured is a multiple of predicted: r is 1, or -1, in every draw"""
    predicted, _, prompt, draws = effects(generator(seed, device), 6)
    for slope in (2.0, -0.5):
        got = impl.r_with_interval(predicted, slope * predicted + 3, prompt, draws)
        sign = math.copysign(1.0, slope)
        same_numbers(got, (sign, sign, sign), INTERVAL)


def test_r_with_interval__counts_a_prompt_as_often_as_it_is_drawn(impl, seed, device):
    """Of one draw, both ends are r of its nodes, those of a prompt drawn twice counted twice"""
    predicted, measured, prompt, _ = effects(generator(seed + 1, device), 4, torch.float64)
    draws = torch.tensor([[2, 0, 2, 2]], device=device)
    rows = torch.cat([(prompt == p).nonzero()[:, 0] for p in (2, 0, 2, 2)])
    r = float(torch.corrcoef(torch.stack([predicted[rows], measured[rows]]))[0, 1])
    whole_r = float(torch.corrcoef(torch.stack([predicted, measured]))[0, 1])
    got = impl.r_with_interval(predicted, measured, prompt, draws)
    same_numbers(got, (whole_r, r, r), INTERVAL, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_prompts", [5, 9])
def test_r_with_interval__agrees_with_the_worked_one(impl, ref, seed, device, n_prompts, dtype):
    """Prompts with unequally many nodes, in mixed order"""
    args = effects(generator(seed + 2, device), n_prompts, dtype)
    with unchanged(*args):
        mine = impl.r_with_interval(*args)
    same_numbers(mine, ref.r_with_interval(*args), INTERVAL)


# --------------------------------------------------------------------------------- k. swap_edits


def test_swap_edits__by_hand(impl, device):
    """Switched off, switched on and changed are listed; what is equal or elsewhere is not"""
    acts, other = torch.zeros(2, 3, 4, device=device), torch.zeros(2, 3, 4, device=device)
    acts[0, 1, 2], other[0, 1, 2] = 1.5, 4.0
    acts[1, 2, 0] = 2.0
    other[1, 1, 3] = 0.5
    acts[0, 2, 1] = other[0, 2, 1] = 3.0
    acts[1, 0, 1] = 9.0
    got = impl.swap_edits(acts, other, (1, 2))
    wanted = {(0, 1, 2): 4.0, (1, 2, 0): 0.0, (1, 1, 3): 0.5}
    require(got == wanted, f"{got} instead of {wanted}")
    require(impl.swap_edits(acts, other, ()) == {}, "without positions there is nothing to edit")


@pytest.mark.parametrize("positions", [(0,), (1, 3), (2, 0, 4)])
def test_swap_edits__make_one_prompts_latents_the_others(impl, ref, seed, device, positions):
    """After the edits, the latents at those positions are those of the other prompt"""
    g = generator(seed, device)
    acts, other = sparse(g, 2, 5, 6).abs(), sparse(g, 2, 5, 6).abs()
    other = torch.where(torch.rand(2, 5, 6, generator=g, device=device) < 0.3, acts, other)
    with unchanged(acts, other):
        edits = impl.swap_edits(acts, other, positions)
    new, wanted = acts.clone(), acts.clone()
    for place, value in edits.items():
        new[place] = value
    wanted[:, list(positions)] = other[:, list(positions)]
    assert_same(new, wanted, "layer pos latent")
    require(edits == ref.swap_edits(acts, other, positions), "more or other edits than needed")


# ------------------------------------------------------------------------------ l. share_by_word


def test_share_by_word__by_hand(impl, device):
    """Two nodes at one position are added; others do not count; a word without any has 0"""
    worth = torch.tensor([1.0, 2.0, 50.0, 5.0], device=device)
    pos = torch.tensor([2, 0, 0, 2], device=device)
    got = impl.share_by_word(worth, pos, mask_of(4, [0, 1, 3], device), 4)
    assert_same(got, torch.tensor([0.25, 0.0, 0.75, 0.0], device=device), "pos")
    none = impl.share_by_word(0 * worth, pos, mask_of(4, [0, 1], device), 3)
    assert_same(none, torch.zeros(3, device=device), "pos", what="without influence, the result")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_pos", [3, 8])
def test_share_by_word__sums_to_1(impl, ref, seed, device, n_pos, dtype):
    """The shares of all words sum to 1; the inputs stay as they are"""
    g = generator(seed, device)
    worth = 0.05 * torch.rand(12, generator=g, device=device, dtype=dtype)
    pos = whole(g, n_pos, 12)
    begins = mask_of(12, [0, 3, 4, 7, 8, 11], device)
    with unchanged(worth, pos, begins):
        mine = impl.share_by_word(worth, pos, begins, n_pos)
    assert_same(mine.sum(), torch.ones((), device=device, dtype=dtype), "", 1e-5, 1e-5)
    assert_same(mine, ref.share_by_word(worth, pos, begins, n_pos), "pos", 1e-5, 1e-6)


# ------------------------------------------------------------------------------------ n. one_hop


@pytest.mark.parametrize("size", [(6, 3, 2), (2, 5, 7), (4, 4, 4)])
def test_one_hop__is_exact_for_every_single_city(impl, seed, device, size):
    """For one city at any strength, both decoders give what the two MLPs write"""
    g = generator(seed, device)
    W_1, W_2 = (normal(g, *s, dtype=torch.float64) for s in (size[:2], size[1:]))
    with unchanged(W_1, W_2):
        D_1, D_2 = impl.one_hop(W_1, W_2)
    for i in range(size[0]):
        for strength in (1.0, 0.3, 0.0):
            x = torch.zeros(size[0], dtype=torch.float64, device=device)
            x[i] = strength
            h = (x @ W_1).relu()
            assert_same(x @ D_1, h, "m", 1e-9, 1e-9, what="what the first decoder writes")
            assert_same(x @ D_2, (h @ W_2).relu(), "k", 1e-9, 1e-9, what="what the second writes")


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_hop__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Weights of both signs, other sizes"""
    g = generator(seed + 1, device)
    W_1, W_2 = normal(g, 5, 6, dtype=dtype), normal(g, 6, 3, dtype=dtype)
    assert_same(
        list(impl.one_hop(W_1, W_2)), list(ref.one_hop(W_1, W_2)), ("n m", "n k"), 1e-4, 1e-5
    )


# ------------------------------------------------------------------------------------- predictions


def test_predict_embeddings__is_right(impl, ref):
    """How much influence the embeddings have"""
    want = ref.predict_embeddings
    require(impl.predict_embeddings == want, "where does every path begin?")


def test_predict_pruned__is_right(impl, ref):
    """What share of the nodes stays"""
    require(impl.predict_pruned == ref.predict_pruned, "the first line of the demo says it")


def test_predict_groups__is_right(impl, ref):
    """How the influence of a group compares with that of its members"""
    require(impl.predict_groups == ref.predict_groups, "compare the two bars of several words")


def test_predict_free__is_right(impl, ref):
    """The correlation in free runs"""
    require(impl.predict_free == ref.predict_free, "see the second line of the demo")


def test_predict_scene_swap__is_right(impl, ref):
    """Where the swap turns the answer"""
    require(
        impl.predict_scene_swap == ref.predict_scene_swap,
        "compare the second and third line of the demo",
    )


def test_predict_score__is_right(impl, ref):
    """The replacement score of the graph that skips a step"""
    require(impl.predict_score == ref.predict_score, "does any influence begin at an error?")
