"""Every hook: an edit does what the hook's name says, or it is refused.

The oracle is a forward pass written out below, with the same edit at the same place. It covers a
model of `boot_native` and one of `boot_transformers`.
"""

import math
import re
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from utils.data.corpus import Rows
from utils.models.loaded import HookInert, HookMissing, check_edits
from utils.models.sae import Sae
from utils.models.splice import spliced
from utils.sae_metrics import in_model
from utils.saes.distance import mean_fisher

KINDS = ("native", "llama")


@pytest.fixture
def kind(request, make_model, model, hf_model):
    """A model by its kind."""
    return {"native": model, "llama": hf_model}[request.param]


both_kinds = pytest.mark.parametrize("kind", KINDS, indirect=True)


def edit(value: torch.Tensor) -> torch.Tensor:
    """Neither a multiple nor a shift: no norm divides or takes it away. A mask stays a mask."""
    changed = value + 0.3 * torch.sin(3 * value) + 0.1 * torch.linspace(0, 1, value.shape[-1])
    return torch.where(value > -1e9, changed, value)


# ------------------------------------------------------------------------- the pass, written out


def parts_of(model) -> SimpleNamespace:
    """Weights by the names of a native model, whichever kind it is."""
    native = model.cfg.architecture == "TransformerLensNative"
    state = {k.replace("._original_component", ""): v for k, v in model.named_parameters()}
    renames = (
        ("model.embed_tokens", "tok_embed"),
        ("model.norm", "ln_out"),
        ("model.layers", "layers"),
        ("self_attn", "attn"),
        ("_proj", ""),
        ("input_layernorm", "ln1"),
        ("post_attention_layernorm", "ln2"),
        ("lm_head", "head"),
        ("mlp.up", "mlp.fc_in"),
        ("mlp.down", "mlp.fc_out"),
    )
    for old, new in () if native else renames:
        state = {k.replace(old, new): v for k, v in state.items()}
    state.setdefault("head.weight", model.unembed.original_component.weight)
    return SimpleNamespace(cfg=model.cfg, native=native, state=state)


def linear(p, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, p.state[f"{name}.weight"], p.state.get(f"{name}.bias"))


def norm(p, name: str, tap: str, x: torch.Tensor, at) -> torch.Tensor:
    """LayerNorm, or RMS where there is no bias."""
    x = at(f"{tap}.hook_in", x)
    bias = p.state.get(f"{name}.bias")
    x = x if bias is None else x - x.mean(dim=-1, keepdim=True)
    scale = at(f"{tap}.hook_scale", (x.square().mean(dim=-1, keepdim=True) + p.cfg.eps).sqrt())
    y = at(f"{tap}.hook_normalized", x / scale) * p.state[f"{name}.weight"]
    return at(f"{tap}.hook_out", y if bias is None else y + bias)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Pairs (i, i + d/2) turned by an angle; (batch, pos, head, d_head)."""
    half = torch.cat([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], dim=-1)
    return x * cos[:, :, None] + half * sin[:, :, None]


def angles(p, n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    at = torch.arange(n)[:, None] / 10_000 ** (torch.arange(0, d, 2) / d)
    return torch.cat([at, at], dim=-1).cos()[None], torch.cat([at, at], dim=-1).sin()[None]


def attention(p, layer: int, x: torch.Tensor, at, rotary) -> torch.Tensor:
    name, tap, d = f"layers.{layer}.attn", f"blocks.{layer}.attn", p.cfg.d_head
    x = at(f"{tap}.hook_in", x)
    q, k, v = (
        at(
            f"{tap}.{c}.hook_out",
            linear(p, f"{name}.{c}", at(f"{tap}.{c}.hook_in", x)).unflatten(-1, (-1, d)),
        )
        for c in "qkv"
    )
    if rotary:
        cos, sin = (at(f"{tap}.hook_{s}", r) for s, r in zip(("cos", "sin"), rotary, strict=True))
        q, k = (at(f"{tap}.hook_rot_{c}", rotate(y, cos, sin)) for c, y in (("q", q), ("k", k)))
    times = q.shape[2] // k.shape[2]
    k, v = (y.repeat_interleave(times, dim=2) for y in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(d)
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    scores = at(f"{tap}.hook_attn_scores", scores.masked_fill(later, -math.inf))
    pattern = at(f"{tap}.hook_pattern", scores.softmax(dim=-1))
    z = at(f"{tap}.o.hook_in", torch.einsum("bhqk,bkhd->bqhd", pattern, v))
    out = at(f"{tap}.o.hook_out", linear(p, f"{name}.o", z.flatten(2)))
    return at(f"{tap}.hook_out", out)


def mlp(p, layer: int, x: torch.Tensor, at) -> torch.Tensor:
    name, tap = f"layers.{layer}.mlp", f"blocks.{layer}.mlp"
    x = at(f"{tap}.hook_in", x)
    up = at(f"{tap}.in.hook_out", linear(p, f"{name}.fc_in", at(f"{tap}.in.hook_in", x)))
    if p.native:
        post = F.gelu(up)
    else:
        gate = linear(p, f"{name}.gate", at(f"{tap}.gate.hook_in", x))
        post = F.silu(at(f"{tap}.gate.hook_out", gate)) * up
    post = at(f"{tap}.out.hook_in", post)
    return at(f"{tap}.hook_out", at(f"{tap}.out.hook_out", linear(p, f"{name}.fc_out", post)))


def forward(model, tokens: torch.Tensor, place: str) -> torch.Tensor:
    """Logits of a pass with `edit` at one place."""
    p, seen = parts_of(model), []

    def at(name: str, value: torch.Tensor) -> torch.Tensor:
        if name != place:
            return value
        seen.append(name)
        return edit(value)

    x, n = at("embed.hook_out", p.state["tok_embed.weight"][tokens]), tokens.shape[1]
    rotary = None
    if p.native:
        x = x + at("pos_embed.hook_out", p.state["pos.weight"][:n].expand_as(x))
    else:
        pair = zip(("cos", "sin"), angles(p, n, p.cfg.d_head), strict=True)
        rotary = tuple(at(f"rotary_emb.hook_{s}", r) for s, r in pair)
    for layer in range(p.cfg.n_layers):
        x = at(f"blocks.{layer}.hook_in", x)
        x = x + attention(
            p, layer, norm(p, f"layers.{layer}.ln1", f"blocks.{layer}.ln1", x, at), at, rotary
        )
        x = x + mlp(p, layer, norm(p, f"layers.{layer}.ln2", f"blocks.{layer}.ln2", x, at), at)
        x = at(f"blocks.{layer}.hook_out", x)
    x = at("unembed.hook_in", norm(p, "ln_out", "ln_final", x, at))
    out = at("unembed.hook_out", linear(p, "head", x))
    assert bool(seen) == bool(place), f"{place} was not met"
    return out


def place_of(hook: str, native: bool) -> str:
    """One name for hooks that are the same place under several."""
    same = {
        r"hook_embed": "embed.hook_out",
        r"hook_pos_embed": "pos_embed.hook_out",
        r"hook_unembed": "unembed.hook_out",
        r"(blocks\.\d+)\.hook_resid_pre": r"\1.hook_in",
        r"(blocks\.\d+)\.hook_resid_post": r"\1.hook_out",
        r"(blocks\.\d+)\.hook_attn_out": r"\1.attn.hook_out",
        r"(blocks\.\d+)\.hook_mlp_out": r"\1.mlp.hook_out",
        r"(blocks\.\d+\.attn)\.hook_([qkv])": r"\1.\2.hook_out",
        r"(blocks\.\d+\.attn)\.hook_z": r"\1.o.hook_in",
        r"(blocks\.\d+\.mlp)\.hook_pre": r"\1.in.hook_out" if native else r"\1.gate.hook_out",
        r"(blocks\.\d+\.mlp)\.hook_pre_linear": r"\1.in.hook_out",
        r"(blocks\.\d+\.mlp)\.hook_post": r"\1.out.hook_in",
    }
    for pattern, place in same.items():
        if re.fullmatch(pattern, hook):
            return re.sub(pattern, place, hook)
    return hook


# -------------------------------------------------------------------------------------- the tests


@both_kinds
def test_the_pass_written_out_is_the_models(kind, tokens):
    torch.testing.assert_close(forward(kind, tokens, ""), kind(tokens), rtol=1e-4, atol=1e-4)


def try_hook(model, tokens, hook: str) -> str:
    """ "refused", "silent", "off" (the library wants a switch), or "acts", which is checked."""
    seen = []

    def change(value, hook):
        seen.append(hook)
        return edit(value) if value.is_floating_point() else value

    try:
        run = spliced(model, tokens, [], hooks=[(hook, change)])
    except HookInert:
        return "refused"
    except HookMissing:
        return "silent"
    except ValueError as error:
        assert "is False" in str(error) or "because use_" in str(error)
        return "off"
    expected = forward(model, tokens, place_of(hook, parts_of(model).native))
    change = (expected - model(tokens)).abs().max()
    assert change > 1e-3, hook
    assert (run.output - expected).abs().max() < 0.01 * change, hook
    assert len(seen) == 1, hook
    return "acts"


@both_kinds
@pytest.mark.filterwarnings("ignore")
def test_every_hook_does_what_its_name_says_or_is_refused(kind, tokens):
    """all hooks of the model, one after the other, against the pass written out"""
    found = {hook: try_hook(kind, tokens, hook) for hook in kind.hook_dict}
    refused = {hook for hook, what in found.items() if what == "refused"}
    last = kind.cfg.n_layers - 1
    expected = {f"blocks.{last}.hook_resid_mid", "embed.hook_in"}
    native = parts_of(kind).native
    if native:
        expected |= {f"blocks.{last}.attn.hook_{n}" for n in ("pattern", "attn_scores")}
    assert expected <= refused
    assert f"blocks.{last}.attn.hook_pattern" in (refused if native else found)
    for site in ("hook_resid_pre", "hook_resid_post", "attn.hook_z", "attn.hook_q", "attn.hook_k"):
        assert found[f"blocks.{last}.{site}"] == "acts"
    for site in ("attn.hook_v", "mlp.hook_in", "mlp.hook_pre", "mlp.hook_post", "hook_mlp_out"):
        assert found[f"blocks.{last}.{site}"] == "acts"
    for site in ("ln1", "ln2"):
        assert found[f"blocks.{last}.{site}.hook_scale"] == "acts"


@both_kinds
@pytest.mark.parametrize(
    "site",
    [
        *("hook_resid_pre", "hook_resid_post", "attn.hook_z", "hook_attn_out", "mlp.hook_post"),
        *("hook_mlp_out", "mlp.hook_in", "ln1.hook_normalized", "ln2.hook_normalized"),
        "attn.hook_q",
    ],
)
def test_an_sae_at_a_hook_writes_there(kind, tokens, site):
    """its reconstruction goes through the rest of the model, heads or no heads"""
    hook = f"blocks.1.{site}"
    shape = kind.run_with_cache(tokens)[1][hook].shape
    size = math.prod(shape[2:])

    class Bend:
        def encode(self, x):
            return x

        def decode(self, latents):
            return edit(latents.reshape(*latents.shape[:-1], *shape[2:])).flatten(2)

    run = spliced(kind, tokens, Sae(Bend(), hook, hook, size, size), skip_first=0)
    expected = forward(kind, tokens, place_of(hook, parts_of(kind).native))
    torch.testing.assert_close(run.output, expected, rtol=1e-3, atol=1e-3)


@both_kinds
@pytest.mark.parametrize(
    ("site", "says"),
    [
        ("hook_resid_mid", "reaches the MLP and not the stream.*hook_attn_out, hook_resid_pre"),
        ("attn.hook_pattern", r"changes nothing.*attn.hook_z, hook_q, hook_k and hook_v"),
        ("attn.hook_attn_scores", r"changes nothing.*attn.hook_z, hook_q, hook_k and hook_v"),
    ],
)
def test_edits_in_vain_are_refused_and_looking_is_not(kind, tokens, identity, site, says):
    """an SAE there, a hook that returns something, one that changes in place; not one that reads"""
    hook = f"blocks.1.{site}"
    if "pattern" in site or "scores" in site:
        if not parts_of(kind).native:
            check_edits(kind, [hook])  # acts on models of transformers
            return
    with pytest.raises(HookInert, match=says):
        check_edits(kind, [hook])
    with pytest.raises(HookInert, match=says):
        spliced(kind, tokens, identity(hook, 24))
    with pytest.raises(HookInert, match=says):
        spliced(kind, tokens, [], hooks=[(hook, lambda value, hook: value.detach())])

    def in_place(value, hook):
        value.mul_(2)

    with pytest.raises(HookInert, match=says):
        spliced(kind, tokens, [], hooks=[(hook, in_place)])
    seen = []
    spliced(kind, tokens, [], hooks=[(hook, lambda value, hook: seen.append(value.shape))])
    assert len(seen) == 1
    assert hook in spliced(kind, tokens, [], names=[hook]).cache


@both_kinds
def test_measures_refuse_them_too(kind, tokens, identity):
    """in_model writes, and mean_fisher takes a gradient that would be a branch's"""
    hook = "blocks.1.hook_resid_mid"
    rows = Rows(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.arange(2))
    with pytest.raises(HookInert, match="reaches the MLP"):
        in_model(kind, rows, identity(hook, 24))
    with pytest.raises(HookInert, match="reaches the MLP"):
        mean_fisher(kind, rows, hook, torch.Generator())


def test_a_hook_of_the_caller_that_never_runs_is_an_error(model, tokens, identity):
    good = identity("blocks.0.hook_resid_post", 24)
    with pytest.raises(HookMissing, match="nothing passed through it"):
        hooks = [("blocks.2.hook_resid_post", lambda value, hook: value)]
        spliced(model, tokens, good, hooks=hooks, stop_at_layer=2)
