"""Which profile is chosen; what an import costs; hook names that do not exist."""

import subprocess
import sys

import pytest

from utils.models import profiles
from utils.models.loaded import HookMissing, Loaded


def test_profile__is_local_unless_said_otherwise(monkeypatch):
    """the argument wins over the environment, the environment over the default"""
    assert profiles.profile() == "local"
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    assert profiles.profile() == "tiny"
    assert profiles.profile("hub") == "hub"


def test_profile__unknown_names_the_choices(monkeypatch):
    """a misspelt profile is told which there are"""
    monkeypatch.setenv("COURSE_PROFILE", "cloud")
    with pytest.raises(ValueError, match="no profile 'cloud': choose local, hub, tiny"):
        profiles.profile()
    with pytest.raises(ValueError, match=r"offers gpt2-small, gemma-2-2b for this role, not 'x'"):
        profiles.model_name("language", "hub", "x")


def test_describe__names_the_profile_that_was_asked_for():
    """not that of the environment"""
    loaded = profiles.load_model("language", "tiny", None, "cpu")
    assert profiles.profile() == "local"
    assert profiles.describe(loaded, []).startswith("profile tiny: tiny_story_4l")


def test_import__brings_in_no_heavy_library():
    """importing utils and utils.models loads none of the libraries that hold models"""
    code = (
        "import sys, utils, utils.models, utils.models.profiles, utils.models.splice\n"
        "heavy = {'sae_lens', 'transformer_lens', 'transformers', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_loaded__names_hooks_and_refuses_others(model):
    """a hook that is not there is an error with the nearest that are"""
    loaded = Loaded(model, None, "small")
    assert loaded.hook("resid_post", 1) == "blocks.1.hook_resid_post"
    with pytest.raises(HookMissing, match="no site 'resid'; the sites are resid_pre"):
        loaded.hook("resid", 1)
    with pytest.raises(HookMissing, match="has layers 0 to 2, not 3"):
        loaded.hook("z", 3)
