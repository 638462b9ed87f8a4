"""3.2.6's experiments around the learner's functions: prompts taken apart, scores of tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.graphs.coders import coder_of
from utils.models.loaded import check_hooks
from utils.models.sae import Sae
from utils.progress import track
from utils.saes.coder import SparseCoder, init_coder
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.train import train_coder

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

START = "blocks.0.hook_resid_pre"
FEWEST = 20  # active tokens that a latent needs to be judged


@dataclass(frozen=True)
class Norm:
    """What a norm does apart from dividing: RMSNorm leaves the mean in and has no bias."""

    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    centred: bool
    eps: float


def norm_before(loaded: "Loaded", layer: int, which: str = "ln2") -> Norm:
    """The norm before a block's MLP (`ln2`) or its heads (`ln1`)."""
    block, native = loaded.model.blocks[layer], loaded.model.cfg.normalization_type
    norm = getattr(block, which)
    gain = norm.weight.detach()
    bias = getattr(norm, "bias", None)
    bias = torch.zeros_like(gain) if bias is None else bias.detach()
    return Norm(gain, bias, not str(native).startswith("RMS"), float(loaded.model.cfg.eps))


def pieces(
    loaded: "Loaded",
) -> tuple[list[Callable], list[Callable], Callable[[Tensor], Tensor]]:
    """(attention of every block, MLP of every block, what follows); each has its norm inside."""
    model = loaded.model

    def attend(block: Any) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            out = block.attn(block.ln1(x))
            return out[0] if isinstance(out, tuple) else out

        return run

    heads = [attend(block) for block in model.blocks]
    mlps = [lambda x, b=block: b.mlp(b.ln2(x)) for block in model.blocks]
    return heads, mlps, lambda x: model.unembed(model.ln_final(x))


def as_function(loaded: "Loaded", sae: Sae) -> Callable[[Tensor], Tensor]:
    """A transcoder as a function of the residual stream, its norm inside."""
    norm = loaded.model.blocks[sae.layer].ln2

    def run(x: Tensor) -> Tensor:
        read = norm(x)
        return sae.decode(sae.encode(read), read)

    return run


@torch.no_grad()
def seen(
    loaded: "Loaded", tokens: Int[Tensor, "row pos"], names: Sequence[str], last: int | None = None
) -> dict[str, Tensor]:
    """What passes some hooks, for all rows; nothing after block `last` is computed."""
    check_hooks(loaded.model, list(names))
    stop = None if last is None else last + 1
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for some in track(tokens.split(16), "rows through the model"):
        _, cache = loaded.model.run_with_cache(some, names_filter=list(names), stop_at_layer=stop)
        for name in names:
            found[name].append(cache[name])
    return {name: torch.cat(parts) for name, parts in found.items()}


def token_aucs(
    score: Float[Tensor, "vocab latent"],
    words: Int[Tensor, " token"],
    active: Bool[Tensor, "token latent"],
) -> Float[Tensor, " latent"]:
    """Per latent, P(an active token's word scores above a silent one's), ties counting one half."""
    n_words = len(score)
    found = []
    for column, on in zip(score.T, active.T, strict=True):
        up = torch.bincount(words[on], minlength=n_words).double()
        down = torch.bincount(words[~on], minlength=n_words).double()
        _, rank = column.unique(return_inverse=True)
        below = torch.zeros(int(rank.max()) + 1, dtype=torch.float64).index_add(0, rank, down)
        less = below.cumsum(dim=0) - below
        wins = (up * (less + below / 2)[rank]).sum()
        found.append(wins / (up.sum() * down.sum()))
    return torch.stack(found)


def judged(active: Bool[Tensor, "token latent"], least: int = FEWEST) -> Int[Tensor, " item"]:
    """Latents that are active, and silent, on `least` tokens or more."""
    n = active.sum(dim=0)
    return ((n >= least) & (n <= len(active) - least)).nonzero()[:, 0]


def short_coder(
    x: Float[Tensor, "row d_in"], y: Float[Tensor, "row d_out"], kind: str, k: int, latent: int
) -> SparseCoder:
    """A short TopK run: `sae` reads y and writes y, a transcoder reads x and writes y."""
    gen = torch.Generator().manual_seed(0)
    d_in, d_out = (y if kind == "sae" else x).shape[1], y.shape[1]
    cfg = SAEConfig(d_in, latent, "topk", kind=kind, d_out=d_out, k=k)  # type: ignore[arg-type]

    def batches() -> Iterator[Any]:
        while True:
            some = torch.randint(len(x), (512,), generator=gen)
            yield y[some] if kind == "sae" else (x[some], y[some])

    plan = SAETrainConfig(
        400, 1.5e-3, warmup_steps=50, decay_steps=130, dead_window=50_000, record_every=10**6,
        label=f"training: {kind}",
    )  # fmt: skip
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices as small as these wait for each other on more
    try:
        return train_coder(init_coder(cfg, gen), batches(), plan).coder
    finally:
        torch.set_num_threads(n_threads)


def unexplained_by_rows(
    guess: Float[Tensor, "item d_out"], y: Float[Tensor, "item d_out"], n_pos: int
) -> Float[Tensor, "row two_k"]:
    """Squared error and squared distance from the mean, summed over each row of text."""
    pair = [(guess - y).square().sum(dim=1), (y - y.mean(dim=0)).square().sum(dim=1)]
    return torch.stack([v.reshape(-1, n_pos).sum(dim=1) for v in pair], dim=1)


@dataclass(frozen=True)
class Apart:
    """The residual stream that an MLP reads at one word, as a sum of named vectors."""

    names: list[str]
    parts: Float[Tensor, "entry d_model"]
    kinds: list[str]
    pre: Float[Tensor, " latent"]  # the transcoder's pre-activations there, by its own encoder


@torch.no_grad()
def taken_apart(
    loaded: "Loaded",
    saes: Sequence[Sae],
    tokens: Int[Tensor, " pos"],
    layer: int,
    pos: int,
    mlp_components: Callable[..., Tensor],
) -> Apart:
    """Embedding, every head, biases of attention, and all that transcoders say of earlier MLPs.

    `mlp_components` is the learner's; `saes[layer]` is the one that reads. `pos` is not the first.
    """
    model = loaded.model
    sites = [loaded.hook(site, i) for i in range(layer + 1) for site in ("z", "mlp_in", "mlp_out")]
    _, cache = model.run_with_cache(tokens[None], names_filter=lambda n: n in (*sites, START))
    at = {name: value[0, pos] for name, value in cache.items()}
    names, kinds, parts = ["embedding"], ["embedding"], [at[START][None]]
    for i in range(layer + 1):
        W_O, z = model.W_O[i].detach(), at[loaded.hook("z", i)]
        parts.append(torch.einsum("hk,hkd->hd", z.reshape(len(W_O), -1), W_O))
        names += [f"head {i}.{h}" for h in range(len(W_O))]
        kinds += ["heads"] * len(W_O)
        b_O = getattr(model.blocks[i].attn.o, "bias", None)
        if b_O is not None:
            parts.append(b_O.detach()[None])
            names.append(f"bias of attention {i}")
            kinds.append("biases")
        if i < layer:
            coder, x = coder_of(saes[i]), at[loaded.hook("mlp_in", i)]
            f, out = saes[i].encode(x), at[loaded.hook("mlp_out", i)]
            rows = mlp_components(x, f, out, coder.W_dec, coder.b_out, coder.W_skip)
            n = len(f)
            keep = torch.cat([f != 0, f.new_ones(3, dtype=torch.bool)])
            parts.append(rows[keep])
            latents = [f"L{i} latent {k}" for k in f.nonzero()[:, 0].tolist()]
            names += [*latents, f"L{i} skip", f"L{i} error", f"L{i} b_dec"]
            kinds += [*["latents"] * len(latents), "skip", "errors", "biases"]
            assert len(rows) == n + 3
    reads = coder_of(saes[layer])
    pre = at[loaded.hook("mlp_in", layer)] @ reads.W_enc + reads.bias
    return Apart(names, torch.cat(parts), kinds, pre)


def added_up(
    loaded: "Loaded",
    saes: Sequence[Sae],
    tokens: Int[Tensor, " pos"],
    layer: int,
    pos: int,
    mlp_components: Callable[..., Tensor],
    terms_of_latent: Callable[..., tuple[Tensor, Tensor]],
    latent: int | None = None,
) -> dict[str, float]:
    """Contributions to a latent (default: the one of largest pre-activation) by kind; says how far
    their sum is from the pre-activation.
    """
    apart = taken_apart(loaded, saes, tokens, layer, pos, mlp_components)
    coder, norm = coder_of(saes[layer]), norm_before(loaded, layer)
    k = int(apart.pre.argmax()) if latent is None else latent
    rest = norm.gain, norm.bias, norm.centred, norm.eps
    terms, constant = terms_of_latent(apart.parts, coder.W_enc[:, k], coder.bias[k], *rest)
    total, wanted = float(terms.sum() + constant), float(apart.pre[k])
    off = abs(total - wanted) / float(terms.abs().sum())
    print(f"{loaded.name}, layer {layer}, latent {k}: {len(terms)} parts and a constant sum to")
    print(f"   {total:.4f}, the encoder says {wanted:.4f} ({off:.0e} of what is summed)")
    top = terms.abs().topk(4).indices.tolist()
    print("   largest:", ", ".join(f"{apart.names[i]} {float(terms[i]):+.2f}" for i in top))
    kinds = dict.fromkeys(("embedding", "heads", "latents", "skip", "errors", "biases"), 0.0)
    for kind, term in zip(apart.kinds, terms.tolist(), strict=True):
        kinds[kind] += term
    kinds["biases"] += float(constant)
    print("   " + ", ".join(f"{kind} {value:+.2f}" for kind, value in kinds.items()))
    return kinds


@dataclass(frozen=True)
class Attention:
    """One block's attention on one prompt, and the norms around it."""

    x: Float[Tensor, "pos d_model"]  # before the block
    scale: Float[Tensor, " pos"]  # of the norm before the heads
    pattern: Float[Tensor, "head pos pos"]
    z: Float[Tensor, "pos head d_head"]
    value_bias: Float[Tensor, "head d_head"]  # what z has of the biases, where patterns sum to 1
    after: Float[Tensor, " pos"]  # scale of the norm before the transcoder that reads


@torch.no_grad()
def attention_of(
    loaded: "Loaded", tokens: Int[Tensor, " pos"], layer: int, reader: int
) -> Attention:
    """What the heads of a block did on a prompt; `reader` is the layer whose latent reads them."""
    begin = f"blocks.{layer}."
    names = [f"{begin}hook_resid_pre", f"{begin}ln1.hook_scale", f"{begin}attn.hook_pattern"]
    names += [f"{begin}attn.hook_z", f"blocks.{reader}.ln2.hook_scale"]
    check_hooks(loaded.model, names)
    _, cache = loaded.model.run_with_cache(tokens[None], names_filter=lambda n: n in names)
    x, scale, pattern, z, after = (cache[name][0] for name in names)
    z = z.reshape(len(x), len(pattern), -1)
    norm, bias = norm_before(loaded, layer, "ln1"), torch.zeros_like(z[0])
    if norm.bias.any() or getattr(loaded.model.blocks[layer].attn.v, "bias", None) is not None:
        W_V = loaded.model.W_V[layer].detach()
        shared = norm.bias @ W_V + loaded.model.b_V[layer].detach()
        bias = shared.repeat_interleave(len(pattern) // len(shared), dim=0)
    return Attention(x, scale[:, 0], pattern, z, bias, after[:, 0])
