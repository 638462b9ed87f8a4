"""What the names of published SAEs tell about them."""

import pytest

from utils.given.sae_directory import HOOK, width_of


@pytest.mark.parametrize(
    ("release", "sae_id", "width"),
    [
        ("gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71", 2**14),
        ("gemma-scope-2b-pt-res", "layer_12/width_65k/average_l0_21", 2**16),
        ("gemma-scope-9b-pt-res", "layer_20/width_131k/average_l0_62", 2**17),
        ("gemma-scope-2b-pt-res", "layer_12/width_1m/average_l0_19", 2**20),
        ("gemma-scope-2-270m-pt-res", "layer_0_width_16k_l0_big", 2**14),
        ("gemma-scope-2-270m-pt-res", "layer_0", None),
        ("gpt2-small-resid-post-v5-32k", "blocks.3.hook_resid_post", 2**15),
        ("gpt2-small-resid-post-v5-128k", "blocks.3.hook_resid_post", 2**17),
        ("gpt2-small-res-jb-feature-splitting", "blocks.8.hook_resid_pre_768", 768),
        ("sae_bench_gemma-2-2b_topk_width-2pow12_date-1109", "x", 2**12),
        ("pythia-70m-deduped-res-sm", "blocks.0.hook_resid_pre", None),
    ],
)
def test_width__is_the_number_of_latents(release, sae_id, width):
    """not the model's size, and not what its makers rounded it to"""
    assert width_of(release, sae_id) == width


@pytest.mark.parametrize(
    ("sae_id", "hook"),
    [
        ("blocks.8.hook_resid_pre_768", "blocks.8.hook_resid_pre"),
        ("blocks.19.hook_resid_post__trainer_1_step_2", "blocks.19.hook_resid_post"),
        ("blocks.4.hook_attn_out", "blocks.4.hook_attn_out"),
        ("blocks.4.attn.hook_z", "blocks.4.attn.hook_z"),
    ],
)
def test_hook__ends_where_the_name_goes_on(sae_id, hook):
    assert HOOK.search(sae_id)[0] == hook
