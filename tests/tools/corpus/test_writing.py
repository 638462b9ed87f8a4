"""Sampling is the model's own distribution, seeded; a stopped run ends with the same text."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tools.corpus import writing
from tools.corpus.prompts import COLLECTIONS, SLOTS, draw_prompts, fill
from tools.corpus.writing import Stale, WritingConfig, nucleus, repetition, sample, verdict, write

CFG = WritingConfig(n_tokens=300, batch=4, top_k=20, min_tokens=4, max_repeats=1.0, max_share=1.0)


@pytest.fixture(scope="module")
def model():
    """A random two-layer Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cfg = LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=20, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, initializer_range=0.7,
            bos_token_id=1, eos_token_id=2, pad_token_id=2,
        )  # fmt: skip
        return LlamaForCausalLM(cfg).eval()


@pytest.fixture
def tokenizer():
    """Letters modulo the vocabulary."""

    def call(text, **_):
        return SimpleNamespace(input_ids=[3 + ord(c) % 47 for c in text])

    call.bos_token_id = 1
    call.apply_chat_template = lambda turns, **_: [f"<{turn[0]['content']}>" for turn in turns]
    return call


def test_without_chance_it_is_what_the_library_generates(model):
    """Unequal prompts: padding on the left and rows that end early must not matter."""
    prompts = [[1, 7, 8, 9, 10, 11], [1, 20], [1, 30, 31], [1, 5, 6, 5]]
    gen = torch.Generator().manual_seed(0)
    found = sample(model, prompts, 12, replace(CFG, top_k=1), gen)
    for prompt, row in zip(prompts, found, strict=True):
        alone = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=12, eos_token_id=[2, 0]
        )
        ends = [t for t in alone[0, len(prompt) :].tolist() if t not in (0, 2)]
        assert row[row >= 0].tolist() == ends
        assert (row[len(ends) :] == -1).all()


def test_the_nucleus_has_the_right_tokens_and_odds():
    p = torch.tensor([0.5, 0.3, 0.15, 0.04, 0.01])
    cfg = replace(CFG, temperature=1.0, top_p=0.9, top_k=4)
    logits, gen = p.log().expand(20_000, -1), torch.Generator().manual_seed(0)
    share = torch.bincount(nucleus(logits, cfg, gen), minlength=5) / 20_000
    expected = torch.tensor([0.5, 0.3, 0.15, 0, 0]) / 0.95
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0)


def test_the_filter_drops_what_it_says():
    cfg = WritingConfig(min_tokens=10, max_repeats=0.25, max_share=0.15)
    fine = torch.arange(40)
    assert verdict(fine, cfg) == "" and verdict(fine[:9], cfg) == "short"
    assert verdict(fine[:8].repeat(5), cfg) == "repeats"
    assert verdict(torch.where(fine % 5 == 0, 99, fine), cfg) == "one token"
    assert repetition(torch.arange(10), 4) == 0
    assert repetition(torch.zeros(13, dtype=torch.int64), 4) == pytest.approx(0.9)


def test_prompts_are_filled_and_indirect_objects_repeat_a_name():
    gen = torch.Generator().manual_seed(0)
    for name, kind in {k: v for kinds in COLLECTIONS.values() for k, v in kinds.items()}.items():
        for prompt in draw_prompts(kind, 20, gen):
            assert "{" not in prompt, name
    for _ in range(20):
        text = fill("{name} and {name} met. {name} gave", gen)
        a, b, c = (word for word in text.replace(".", "").split() if word in SLOTS["name"])
        assert a != b and c in (a, b)


def test_a_stopped_run_ends_with_the_same_text(model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    who = {"name": "random", "sha256": "0"}
    before = torch.random.get_rng_state()
    whole, report = write(model, tokenizer, CFG, tmp_path / "a", who)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(whole.ids) >= CFG.n_tokens and report["batches"] > 1
    assert all(name.startswith("written.") for name in whole.names)
    real, n = writing.write_batch, 0

    def stops(*arguments):
        nonlocal n
        n += 1
        if n == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(writing, "write_batch", stops)
    with pytest.raises(KeyboardInterrupt):
        write(model, tokenizer, CFG, tmp_path / "b", who)
    monkeypatch.setattr(writing, "write_batch", real)
    again, _ = write(model, tokenizer, CFG, tmp_path / "b", who)
    assert torch.equal(again.ids, whole.ids) and torch.equal(again.ends, whole.ends)
    for change, model_now in ((replace(CFG, seed=1), who), (CFG, {**who, "sha256": "1"})):
        with pytest.raises(Stale, match="other settings"):
            write(model, tokenizer, change, tmp_path / "b", model_now)
    assert json.loads((tmp_path / "b" / "parts" / "run.json").read_text())["model"] == who
