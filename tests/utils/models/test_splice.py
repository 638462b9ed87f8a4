"""Splicing: nothing changes where nothing should, and everything that changes is exact.

Tolerance: float32. A splice with its error term adds and subtracts numbers of the size of the
activations, so logits (here of size 1 to 10) may move by 1e-5.
"""

import pytest
import torch

from utils.models.loaded import HookMissing
from utils.models.sae import Sae, as_sae
from utils.models.splice import ablate, latents_of, spliced

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
MLP = ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
CASES = {
    "residual": (("blocks.1.hook_resid_post",), {"d_in": 24}),
    "residual, jumprelu": (("blocks.1.hook_resid_pre",), {"d_in": 24, "kind": "jumprelu"}),
    "residual, topk": (("blocks.0.hook_resid_post",), {"d_in": 24, "kind": "topk", "k": 4}),
    "residual, gated": (("blocks.2.hook_resid_pre",), {"d_in": 24, "kind": "gated"}),
    "layer norm": (
        ("blocks.1.hook_resid_post",),
        {"d_in": 24, "normalize_activations": "layer_norm"},
    ),
    "constant norm": (
        ("blocks.1.hook_resid_post",),
        {"d_in": 24, "normalize_activations": "constant_norm_rescale"},
    ),
    "attention z": (("blocks.1.attn.hook_z",), {"d_in": 18}),
    "transcoder": (MLP, {"d_in": 24, "d_out": 24, "kind": "transcoder"}),
    "skip transcoder": (MLP, {"d_in": 24, "d_out": 24, "kind": "skip_transcoder"}),
    "jumprelu transcoder": (MLP, {"d_in": 24, "d_out": 24, "kind": "jumprelu_transcoder"}),
}


@pytest.fixture
def made(random_sae, request):
    """The SAE of a case."""
    hooks, sizes = CASES[request.param]
    return as_sae(random_sae(*hooks, d_sae=31, **sizes))


every_case = pytest.mark.parametrize("made", CASES, indirect=True)


@every_case
def test_spliced__error_term_restores_the_model(model, tokens, made):
    """with its error term, any SAE leaves the logits as they were; without, it does not"""
    clean = model(tokens)
    for term in ("constant", "live"):
        torch.testing.assert_close(spliced(model, tokens, made, term).output, clean, **CLOSE)
    assert (spliced(model, tokens, made).output - clean).abs().max() > 1e-2
    torch.testing.assert_close(model(tokens), clean, rtol=0, atol=0)  # and no hook stays behind


@every_case
def test_spliced__writes_what_the_library_computes(model, tokens, made):
    """the activation after the splice is the library's own forward pass; latents are its encode"""
    _, cache = model.run_with_cache(tokens)
    rows = made.flatten(cache[made.hook_in])
    wanted = made.sae(rows).reshape(cache[made.hook_out].shape)
    run = spliced(model, tokens, made, names=[made.hook_out], skip_first=0)
    torch.testing.assert_close(run.cache[made.hook_out], wanted, **CLOSE)
    torch.testing.assert_close(run.latents[made.hook_out], made.sae.encode(rows), **CLOSE)
    torch.testing.assert_close(latents_of(model, tokens, made), run.latents, **CLOSE)
    torch.testing.assert_close(run.errors[made.hook_out], cache[made.hook_out] - wanted, **CLOSE)


@every_case
def test_ablate__removes_exactly_those_latents(model, tokens, made):
    """with the error term, ablation takes their decoder rows away, at its positions only"""
    _, cache = model.run_with_cache(tokens)
    x, acts = cache[made.hook_out], latents_of(model, tokens, made)[made.hook_out]
    chosen = acts[:, 3].sum(0).topk(2).indices.tolist()
    edits = {made.hook_out: ablate(chosen, pos=3)}
    run = spliced(model, tokens, made, "constant", edits, names=[made.hook_out])
    kept = acts.clone()
    kept[:, 3, chosen] = 0
    change = made.decode(kept, cache[made.hook_in]) - made.decode(acts, cache[made.hook_in])
    wanted = x + change.reshape(x.shape)
    torch.testing.assert_close(run.cache[made.hook_out], wanted, **CLOSE)
    assert (run.cache[made.hook_out] - x)[:, 3].abs().max() > 1e-3
    assert (run.latents[made.hook_out][:, 3, chosen] == 0).all()


@every_case
def test_spliced__gradients_match_finite_differences(model, tokens, made):
    """d loss / d latent is what moving that latent does"""
    run = spliced(model, tokens, made, "constant", keep_gradients=True, return_type="loss")
    run.output.backward()
    acts = run.latents[made.hook_out]
    where = (0, 2, int(acts[0, 2].argmax()))
    step = 0.05  # float32: small enough for the curvature, large enough for the rounding

    def moved(by: float) -> float:
        def edit(latents: torch.Tensor) -> torch.Tensor:
            out = latents.clone()
            out[where] += by
            return out

        run = spliced(model, tokens, made, "constant", {made.hook_out: edit}, return_type="loss")
        return float(run.output)

    slope = (moved(step) - moved(-step)) / (2 * step)
    assert acts.grad[where].item() == pytest.approx(slope, rel=0.02, abs=2e-4)


@pytest.mark.parametrize(
    ("hook", "size"),
    [("blocks.1.hook_resid_pre", 24), ("blocks.2.attn.hook_z", 18), ("blocks.0.hook_mlp_out", 24)],
)
def test_spliced__identity_changes_nothing(model, tokens, identity, hook, size):
    """an identity gives the very same logits, bit by bit, at d_model and at the heads alike"""
    run = spliced(model, tokens, identity(hook, size))
    assert torch.equal(run.output, model(tokens))
    assert run.errors[hook].abs().max() == 0


def test_spliced__live_error_keeps_the_clean_gradient(model, tokens, random_sae):
    """an SAE further up takes the clean model's gradient with `live`, its own with `constant`"""
    low = as_sae(random_sae("blocks.0.hook_resid_post", d_in=24, d_sae=31))
    high = as_sae(random_sae("blocks.1.attn.hook_z", d_in=18, d_sae=29))
    grads = {}
    for name, saes, term in (
        ("alone", [low], "constant"),
        ("live", [low, high], "live"),
        ("constant", [low, high], "constant"),
    ):
        run = spliced(model, tokens, saes, term, keep_gradients=True, return_type="loss")
        run.output.backward()
        grads[name] = run.latents[low.hook_out].grad
        if name != "alone":
            assert run.latents[high.hook_out].grad.abs().max() > 0
            assert run.errors[low.hook_out].grad.abs().max() > 0
    torch.testing.assert_close(grads["live"], grads["alone"], **CLOSE)
    assert (grads["constant"] - grads["alone"]).abs().max() > 1e-4


def test_spliced__takes_all_kinds_at_once(model, tokens, random_sae):
    """a residual SAE, an attention SAE and a transcoder in one pass, each with its latents"""
    cases = ("residual, topk", "attention z", "skip transcoder")
    saes = [as_sae(random_sae(*CASES[c][0], d_sae=31, **CASES[c][1])) for c in cases]
    run = spliced(model, tokens, saes, "live", names=["blocks.2.hook_resid_post"])
    torch.testing.assert_close(run.output, model(tokens), **CLOSE)
    assert {x.shape for x in run.latents.values()} == {(2, 7, 31)}
    assert run.cache["blocks.2.hook_resid_post"].shape == (2, 7, 24)


def test_spliced__further_hooks_run_after_the_splice(model, tokens, identity):
    """a hook of the caller sees what the SAE wrote"""
    hook, seen = "blocks.1.hook_resid_post", []
    double = {hook: lambda latents: 2 * latents}
    clean = spliced(model, tokens, identity(hook, 24), names=[hook]).cache[hook]
    spliced(
        model,
        tokens,
        identity(hook, 24),
        edits=double,
        hooks=[(hook, lambda x, hook: seen.append(x))],
    )
    torch.testing.assert_close(seen[0][:, 1:], 2 * clean[:, 1:], rtol=0, atol=0)
    assert torch.equal(seen[0][:, 0], clean[:, 0])


@pytest.mark.parametrize("skip_first", [0, 1, 3, 7, 9])
@every_case
def test_spliced__leaves_the_first_positions_alone(model, tokens, made, skip_first):
    """BOS by default, more or none if asked for; the rest is as if all were replaced"""
    run = spliced(model, tokens, made, names=[made.hook_out], skip_first=skip_first)
    every = spliced(model, tokens, made, names=[made.hook_out], skip_first=0)
    clean = model.run_with_cache(tokens)[1][made.hook_out]
    written = run.cache[made.hook_out]
    assert torch.equal(written[:, :skip_first], clean[:, :skip_first])
    rest = written[:, skip_first:], every.cache[made.hook_out][:, skip_first:]
    torch.testing.assert_close(*rest, **CLOSE)
    assert run.latents[made.hook_out].shape == every.latents[made.hook_out].shape
    if skip_first == 1:
        default = spliced(model, tokens, made)
        assert torch.equal(default.output, run.output)
        assert (default.output - every.output).abs().max() > 1e-3
    elif skip_first >= 7:
        assert torch.equal(run.output, model(tokens))


def test_spliced__costs_what_in_model_says(model, tokens, random_sae):
    """both leave the first position alone, so both find the same loss"""
    from utils.data.corpus import Rows
    from utils.sae_metrics import in_model

    rows = Rows(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.arange(len(tokens)))
    for skip_first in (0, 1, 2):
        for case in ("residual, topk", "attention z", "skip transcoder"):
            made = as_sae(random_sae(*CASES[case][0], d_sae=31, **CASES[case][1]))
            found = in_model(model, rows, made, skip_first=skip_first).loss_sae
            logits = spliced(model, tokens, made, skip_first=skip_first).output
            logits, target = logits[:, skip_first:-1], tokens[:, skip_first + 1 :]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
            assert float(loss) == pytest.approx(found, abs=1e-5)


def test_spliced__refuses_an_edit_of_positions_that_stay(model, tokens, identity):
    """ablation of BOS alone is no ablation; with skip_first=0 it is"""
    hook = "blocks.1.hook_resid_post"
    made = identity(hook, 24)
    with pytest.raises(ValueError, match=r"first 1 position\(s\) only.*skip_first=0"):
        spliced(model, tokens, made, edits={hook: ablate([3], pos=0)})
    run = spliced(model, tokens, made, edits={hook: ablate([3], pos=0)}, skip_first=0)
    assert (run.output - model(tokens)).abs().max() > 1e-3
    spliced(model, tokens, made, edits={hook: ablate([3])})  # BOS among others
    spliced(model, tokens, made, edits={hook: ablate([])})  # nothing at all
    with pytest.raises(ValueError, match="skip_first = -1"):
        spliced(model, tokens, made, skip_first=-1)


def test_spliced__refuses_hooks_that_would_do_nothing(model, tokens, identity):
    """misspelt hooks, hooks that nothing passes through and hooks behind the end are errors"""
    good = identity("blocks.1.hook_resid_post", 24)
    with pytest.raises(HookMissing, match=r"no hook 'blocks.1.hook_resid_pots'; near it are"):
        spliced(model, tokens, identity("blocks.1.hook_resid_pots", 24))
    with pytest.raises(HookMissing, match=r"no hook 'blocks\.9"):
        latents_of(model, tokens, identity("blocks.9.hook_resid_post", 24))
    with pytest.raises(HookMissing, match="nothing passed through it"):
        spliced(model, tokens, good, names=["blocks.1.attn.hook_hidden_states"])
    with pytest.raises(HookMissing, match="ran 0 times in the pass"):
        spliced(model, tokens, good, stop_at_layer=1)
    with pytest.raises(HookMissing, match="no SAE writes to 'hook_embed'"):
        spliced(model, tokens, good, edits={"hook_embed": ablate([0])})
    backwards = Sae(good.sae, "blocks.2.hook_resid_pre", "blocks.0.hook_resid_pre", 24, 24)
    with pytest.raises(HookMissing, match="comes before"):
        spliced(model, tokens, backwards)


def test_spliced__refuses_what_has_no_meaning(model, tokens, identity):
    """two SAEs at one place, an SAE of another width, an unknown error term"""
    good = identity("blocks.1.hook_resid_post", 24)
    for work in (spliced, latents_of):
        with pytest.raises(ValueError, match="write to the same hook"):
            work(model, tokens, [good, good])
    with pytest.raises(ValueError, match=r"shape \(2, 7, 24\).*vectors of 25"):
        spliced(model, tokens, identity("blocks.1.hook_resid_post", 25))
    with pytest.raises(ValueError, match="one of none, constant, live, not True"):
        spliced(model, tokens, good, True)


@pytest.mark.parametrize("scale", ["expected_average_only_in", "covariance_whitening"])
def test_as_sae__refuses_an_unfolded_scale(random_sae, scale):
    """a scale that the library would silently leave out is an error"""
    sae = random_sae(
        "blocks.1.hook_resid_post",
        d_in=24,
        d_sae=31,
        normalize_activations=scale,
    )
    with pytest.raises(ValueError, match="fold the scale"):
        as_sae(sae)
