"""What is saved loads with sae_lens and gives the same numbers; losses are sae_lens', too.

sae_lens takes seconds and half a gigabyte to import: every test that needs it is in this file.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from utils.saes.coder import SparseCoder, encode, init_coder, reconstruct
from utils.saes.config import SAEConfig
from utils.saes.export import load_coder, save_coder, saved_class
from utils.saes.gradients import Batch, loss_and_gradient

os.environ["HF_HUB_OFFLINE"] = "1"  # before the import: nothing may ask the hub

CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # folding rounds once more, in float32
SAES = [
    (architecture, "sae", normalise)
    for architecture in ("relu", "gated", "jumprelu", "topk", "batchtopk", "matryoshka")
    for normalise in ("none", "average_norm", "constant_norm")
]
TRANSCODERS = [
    (architecture, kind, normalise)
    for architecture in ("relu", "jumprelu", "batchtopk", "matryoshka")
    for kind in ("transcoder", "skip_transcoder")
    for normalise in ("none", "average_norm")
]
NAMES = {
    ("relu", "sae"): "standard",
    ("gated", "sae"): "gated",
    ("jumprelu", "sae"): "jumprelu",
    ("topk", "sae"): "topk",
    ("batchtopk", "sae"): "jumprelu",
    ("matryoshka", "sae"): "jumprelu",
    ("relu", "transcoder"): "transcoder",
    ("relu", "skip_transcoder"): "skip_transcoder",
    ("jumprelu", "transcoder"): "jumprelu_transcoder",
    ("jumprelu", "skip_transcoder"): "jumprelu_skip_transcoder",
    ("batchtopk", "transcoder"): "jumprelu_transcoder",
    ("batchtopk", "skip_transcoder"): "jumprelu_skip_transcoder",
    ("matryoshka", "transcoder"): "jumprelu_transcoder",
    ("matryoshka", "skip_transcoder"): "jumprelu_skip_transcoder",
}


@pytest.fixture(scope="module")
def sae_lens():
    return pytest.importorskip("sae_lens")


def coder_of(architecture: str, kind: str = "sae", normalise: str = "none", **more):
    """A coder as training might leave it: nothing at 0, scales not 1."""
    widths = (10, 40) if architecture == "matryoshka" else ()
    d_out = None if kind == "sae" else 9
    fields = {"k": 5, "widths": widths, "d_out": d_out, "normalise": normalise} | more
    cfg = SAEConfig(12, 40, architecture=architecture, kind=kind, **fields)
    gen = torch.Generator().manual_seed(0)
    coder = init_coder(cfg, gen)
    for name, value in coder.params.items():
        value.add_(torch.randn(value.shape, generator=gen) * 0.2)
        if name == "threshold":
            value.abs_()
    scales = (0.3, 0.7 if kind != "sae" else 0.3) if normalise == "average_norm" else (1.0, 1.0)
    cut = torch.tensor(0.2, dtype=torch.float64)
    return replace(coder, scale_in=scales[0], scale_out=scales[1], cut=cut)


def rows(n: int = 33) -> torch.Tensor:
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(1)) * 3 + 0.5


@pytest.mark.parametrize(("architecture", "kind", "normalise"), SAES + TRANSCODERS)
def test_saved__loads_with_sae_lens_and_gives_the_same_numbers(
    sae_lens, architecture, kind, normalise, tmp_path
):
    coder, x = coder_of(architecture, kind, normalise), rows()
    save_coder(coder, tmp_path, {"hook_name": "blocks.0.hook_resid_post"})
    loaded = sae_lens.SAE.load_from_disk(tmp_path)
    assert loaded.cfg.architecture() == NAMES[architecture, kind] == saved_class(coder.cfg)
    assert loaded.cfg.metadata.hook_name == "blocks.0.hook_resid_post"
    with torch.no_grad():
        theirs, code = loaded(x), loaded.encode(x)
    torch.testing.assert_close(theirs, reconstruct(coder, x), **CLOSE)
    mine = encode(coder, x)
    assert torch.equal(code > 0, mine > 0)
    assert 0 < float((mine > 0).float().mean()) < 1
    if architecture in ("topk", "batchtopk", "matryoshka"):  # norms are folded into the code
        mine = mine * coder.params["W_dec"].norm(dim=1)
    torch.testing.assert_close(code, mine, **CLOSE)


@pytest.mark.parametrize(("architecture", "kind", "normalise"), SAES + TRANSCODERS)
def test_saved__loads_without_sae_lens_and_gives_the_same_numbers(
    architecture, kind, normalise, tmp_path
):
    coder, x = coder_of(architecture, kind, normalise), rows()
    save_coder(coder, tmp_path)
    loaded = load_coder(tmp_path)
    torch.testing.assert_close(reconstruct(loaded, x), reconstruct(coder, x), **CLOSE)
    assert torch.equal(encode(loaded, x) > 0, encode(coder, x) > 0)


def test_saved__attention_z_takes_and_gives_heads(sae_lens, tmp_path):
    coder, x = coder_of("topk", heads=3), rows(8)
    save_coder(coder, tmp_path, {"hook_name": "blocks.0.attn.hook_z"})
    loaded = sae_lens.SAE.load_from_disk(tmp_path)
    z = x.view(2, 4, 3, 4)
    with torch.no_grad():
        out = loaded(z)
    torch.testing.assert_close(out, reconstruct(coder, x).view(2, 4, 3, 4), **CLOSE)
    assert load_coder(tmp_path).cfg.heads == 3
    with pytest.raises(ValueError, match="_z"):
        save_coder(coder, tmp_path, {"hook_name": "blocks.0.hook_resid_post"})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_saved__in_half_precision_loads(sae_lens, dtype, tmp_path):
    coder, x = coder_of("relu"), rows()
    save_coder(coder, tmp_path, dtype=dtype)
    loaded = sae_lens.SAE.load_from_disk(tmp_path, dtype="float32")
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), reconstruct(coder, x), rtol=0.05, atol=0.1)
    torch.testing.assert_close(
        reconstruct(load_coder(tmp_path), x), reconstruct(coder, x), rtol=0.05, atol=0.1
    )


@pytest.mark.parametrize("architecture", ["topk", "gated"])
def test_saved__what_sae_lens_has_no_class_for_is_refused(architecture, tmp_path):
    with pytest.raises(ValueError, match=f"no {architecture} transcoder"):
        save_coder(coder_of(architecture, "transcoder"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_saved__nothing_unfinished_stays_behind(tmp_path):
    save_coder(coder_of("relu"), tmp_path / "a" / "b")
    names = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert names == ["cfg.json", "sae_weights.safetensors"]
    config = json.loads((tmp_path / "a" / "b" / "cfg.json").read_text())
    assert config["metadata"]["trained_as"]["architecture"] == "relu"


# --------------------------------------------------------------- what sae_lens itself has written

READABLE = ("standard", "gated", "jumprelu", "topk", "transcoder", "skip_transcoder")
READABLE += ("jumprelu_transcoder", "jumprelu_skip_transcoder")
# every field of sae_lens' configurations: values that are read, values that are refused
VALUES = {
    "d_in": ((6, 12), ()),
    "d_sae": ((31, 40), ()),
    "d_out": ((5, 9), ()),
    "k": ((1, 7), ()),
    "rescale_acts_by_decoder_norm": ((False, True), ()),
    "dtype": (("float32", "float64", "float16", "bfloat16"), ()),
    "device": (("cpu",), ()),
    "apply_b_dec_to_input": ((True, False), ()),
    "normalize_activations": (
        ("none", "constant_norm_rescale"),
        ("layer_norm", "expected_average_only_in", "covariance_whitening"),
    ),
    "reshape_activations": (("none", "hook_z"), ()),
    "metadata": ((), ()),  # names, which decide no number; see the tests below
}


def written_by_sae_lens(sae_lens, folder, name: str, **fields):
    """A random SAE of a class, saved with the library."""
    sae_class, cfg_class = sae_lens.registry.get_sae_class(name)
    given = {"d_in": 12, "d_sae": 40} | ({"k": 5} if "topk" in name else {})
    if "transcoder" in name:
        given |= {"d_out": 9, "apply_b_dec_to_input": False}
    if fields.get("reshape_activations") == "hook_z":
        given["metadata"] = sae_lens.saes.sae.SAEMetadata(hook_name="blocks.0.attn.hook_z")
    sae = sae_class(cfg_class(**{**given, **fields}))
    gen = torch.Generator().manual_seed(4)
    for key, value in sae.named_parameters():
        value.data.copy_(torch.randn(value.shape, generator=gen) * 0.4)
        if key == "threshold":
            value.data.abs_()
    sae.save_model(folder)


def cases() -> list[tuple[str, str, object]]:
    """(class, field, value) for every field of every class that is read."""
    from dataclasses import fields as fields_of

    from sae_lens.registry import get_sae_class

    found = []
    for name in READABLE:
        for field in fields_of(get_sae_class(name)[1]):
            assert field.name in VALUES, f"{name} has a field that no test knows: {field.name}"
            found += [(name, field.name, value) for value in sum(VALUES[field.name], ())]
    return found


def is_refused(name: str, field: str, value: object) -> bool:
    if field == "normalize_activations" and value != "none" and "transcoder" in name:
        return True  # the library normalises a transcoder's input and never goes back
    return value in VALUES[field][1]


@pytest.mark.parametrize("name", READABLE)
def test_load__reads_or_refuses_every_field_of_every_class(sae_lens, name, tmp_path):
    """Rows through what the library loads, and through what is loaded here."""
    n_read = 0
    for i, (_, field, value) in enumerate(case for case in cases() if case[0] == name):
        if (field, value) == ("apply_b_dec_to_input", True) and "transcoder" in name:
            continue  # the library has no such transcoder
        folder, said = tmp_path / str(i), f"{name}: {field} = {value}"
        written_by_sae_lens(sae_lens, folder, name, **{field: value})
        if is_refused(name, field, value):
            with pytest.raises(ValueError, match=f"cfg.json: .*{value}"):
                load_coder(folder)
            continue
        heads = 3 if value == "hook_z" else None
        mine = load_coder(folder, heads=heads)
        theirs = sae_lens.SAE.load_from_disk(folder, dtype="float32")
        x = rows()[:, : mine.cfg.d_in] + 1
        with torch.no_grad():
            given = x.unflatten(1, (3, 4)) if heads and "transcoder" not in name else x
            out, codes = theirs(given), theirs.encode(given)
        got = reconstruct(mine, x)
        torch.testing.assert_close(got, out.reshape(got.shape), **CLOSE, msg=said)
        torch.testing.assert_close(encode(mine, x), codes, **CLOSE, msg=said)
        assert 0 < float((codes > 0).float().mean()) < 1, said
        save_coder(mine, folder / "again")  # and once more, from here
        again = load_coder(folder / "again", heads=heads)
        torch.testing.assert_close(reconstruct(again, x), got, **CLOSE, msg=said)
        n_read += 1
    assert n_read > 8


def test_load__two_fields_at_once(sae_lens, tmp_path):
    """No b_dec subtracted and norms that select; a constant norm, too."""
    both = {"apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True}
    written_by_sae_lens(
        sae_lens, tmp_path, "topk", **both, normalize_activations="constant_norm_rescale"
    )
    theirs, x = sae_lens.SAE.load_from_disk(tmp_path), rows()
    with torch.no_grad():
        torch.testing.assert_close(reconstruct(load_coder(tmp_path), x), theirs(x), **CLOSE)


def test_load__refuses_every_other_class(sae_lens, tmp_path):
    """Also those that a later version brings."""
    others = set(sae_lens.registry.SAE_CLASS_REGISTRY) - set(READABLE)
    assert others >= {"abstopk", "temporal", "matching_pursuit"}
    for name in others:
        save_coder(coder_of("relu"), tmp_path / name)
        config = json.loads((tmp_path / name / "cfg.json").read_text())
        (tmp_path / name / "cfg.json").write_text(json.dumps(config | {"architecture": name}))
        with pytest.raises(ValueError, match=f"architecture is '{name}'.*utils.models.sae"):
            load_coder(tmp_path / name)


def test_load__knows_every_normalisation_of_the_library(sae_lens):
    from typing import get_args, get_type_hints

    hints = get_type_hints(sae_lens.saes.sae.SAEConfig)
    assert set(get_args(hints["normalize_activations"])) <= set(
        sum(VALUES["normalize_activations"], ())
    )
    assert set(get_args(hints["reshape_activations"])) <= set(VALUES["reshape_activations"][0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"normalise_twice": True}, "it sets normalise_twice"),
        ({"k": 5}, "it sets k"),
        ({"reshape_activations": "hook_q"}, "reshape_activations is 'hook_q'"),
        ({"normalize_activations": "whiten"}, "normalize_activations of its standard is 'whiten'"),
        ({"metadata": {"sae_lens_version": "5.11.0"}}, "before sae_lens 6.0"),
        ({"metadata": {}}, "before sae_lens 6.0"),
        ({"reshape_activations": "hook_z"}, "of how many heads"),
    ],
)
def test_load__refuses_settings_that_it_does_not_know(change, says, tmp_path):
    save_coder(coder_of("relu"), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=says):
        load_coder(tmp_path)


def test_load__refuses_tensors_that_it_does_not_know(tmp_path):
    from safetensors.torch import load_file, save_file

    save_coder(coder_of("relu"), tmp_path)
    file = tmp_path / "sae_weights.safetensors"
    weights = load_file(file)
    save_file({**weights, "scaling_factor": torch.ones(40)}, file)
    with pytest.raises(ValueError, match=r"'scaling_factor'\], expected \['W_dec"):
        load_coder(tmp_path)


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
def test_load__what_the_librarys_own_training_saves(sae_lens, architecture, tmp_path):
    """A BatchTopK SAE of theirs becomes a JumpReLU one of theirs, and is read as that."""
    sae = training_sae(sae_lens, coder_of(architecture))
    sae.topk_threshold.fill_(1.5)
    sae.save_inference_model(tmp_path)
    theirs, x = sae_lens.SAE.load_from_disk(tmp_path), rows()
    assert theirs.cfg.architecture() == "jumprelu"
    mine = load_coder(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(reconstruct(mine, x), theirs(x), **CLOSE)
        torch.testing.assert_close(encode(mine, x), theirs.encode(x), **CLOSE)


# ------------------------------------------------------------------------------------- gradients


def training_sae(sae_lens, coder: SparseCoder):
    """sae_lens' own training class with the coder's weights."""
    cfg = coder.cfg
    sizes = {"d_in": cfg.d_in, "d_sae": cfg.latent}
    saes = sae_lens.saes
    build = {
        "relu": lambda: saes.StandardTrainingSAE(
            saes.StandardTrainingSAEConfig(l1_coefficient=cfg.sparsity, **sizes)
        ),
        "gated": lambda: saes.GatedTrainingSAE(
            saes.GatedTrainingSAEConfig(l1_coefficient=cfg.sparsity, **sizes)
        ),
        "jumprelu": lambda: saes.JumpReLUTrainingSAE(
            saes.JumpReLUTrainingSAEConfig(
                l0_coefficient=cfg.sparsity, jumprelu_bandwidth=cfg.bandwidth, **sizes
            )
        ),
        "topk": lambda: saes.TopKTrainingSAE(saes.TopKTrainingSAEConfig(k=cfg.k, **sizes)),
        "batchtopk": lambda: saes.BatchTopKTrainingSAE(
            saes.BatchTopKTrainingSAEConfig(k=cfg.k, **sizes)
        ),
        "matryoshka": lambda: saes.MatryoshkaBatchTopKTrainingSAE(
            saes.MatryoshkaBatchTopKTrainingSAEConfig(
                k=cfg.k, matryoshka_widths=list(cfg.widths), **sizes
            )
        ),
    }
    sae = build[cfg.architecture]()
    with torch.no_grad():
        for name, value in coder.params.items():
            theirs = sae.W_enc if name == "encoder" else getattr(sae, name)
            theirs.copy_(value.T if name == "encoder" else value)
    return sae


@pytest.mark.parametrize(
    "architecture", ["relu", "gated", "jumprelu", "topk", "batchtopk", "matryoshka"]
)
def test_gradient__equals_sae_lens(sae_lens, architecture):
    from sae_lens.saes.sae import TrainStepInput

    coder, x = coder_of(architecture, sparsity=0.3, bandwidth=0.3), rows()
    sae = training_sae(sae_lens, coder)
    given = TrainStepInput(
        sae_in=x,
        coefficients={"l1": 0.3, "l0": 0.3},
        dead_neuron_mask=None,
        n_training_steps=0,
        is_logging_step=False,
    )
    theirs = sae.training_forward_pass(given)
    theirs.loss.backward()
    step = loss_and_gradient(coder, Batch(x, x, 0.3, coder.cfg.k))
    torch.testing.assert_close(sum(step.losses.values()), theirs.loss.detach(), **CLOSE)
    for name, grad in step.grads.items():
        if architecture == "gated" and name in ("W_dec", "b_dec"):
            continue  # sae_lens lets the second reconstruction reach the decoder; the paper not
        expected = sae.W_enc.grad.T if name == "encoder" else getattr(sae, name).grad
        torch.testing.assert_close(grad, expected, rtol=1e-3, atol=1e-4)


def test_training__does_not_import_sae_lens():
    modules = "utils.saes.train, utils.saes.export, sys"
    code = f"import {modules}; print([m for m in ('sae_lens', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
