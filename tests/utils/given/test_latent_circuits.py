"""3.2.5's chain of sites: what it edits, what it leaves alone, and its pairs of prompts."""

import functools

import torch
from torch.testing import assert_close

from utils.data.stories.sample import annotate
from utils.given.biased_probe import biased_and_balanced, fit_probe, subjects
from utils.given.circuit_runs import run_circuit, whole
from utils.given.latent_circuits import Chain, number_gap, number_pairs, parts_of, repeats
from utils.graphs.frozen import held_hooks
from utils.models import language_model, sae_of


@functools.lru_cache
def chain():
    """The story model with two of its SAEs."""
    saes = [sae_of("language", "residual", i, "tiny", width=384) for i in (0, 2)]
    return Chain(language_model("tiny"), saes)


def test_pairs_are_sentences_of_the_grammar_with_the_number_that_they_should_have():
    for kind in ("names", "pronoun"):
        plural, singular = number_pairs(kind, 5, seed=100)
        assert plural.shape == singular.shape
        assert annotate(plural).labels["number"][:, -1].tolist() == [1] * 5
        assert annotate(singular).labels["number"][:, -1].tolist() == [0] * 5
        assert not torch.equal(plural, number_pairs(kind, 5, seed=101)[0])


def test_a_chain_edits_its_sites_and_not_the_first_position():
    rows, _ = number_pairs("names", 3, seed=102)
    clean = chain().loaded.model(rows)[:, -1]
    assert_close(chain().run(rows), clean, rtol=1e-4, atol=1e-4)
    moved = chain().run(rows, lambda site, x: x * (site != 1))
    assert (moved - clean).abs().max() > 0.01

    def only_first(site, x):
        return torch.cat([x[:, :1] + 5, x[:, 1:]], dim=1)

    assert_close(chain().run(rows, only_first), clean, rtol=1e-4, atol=1e-4)


def test_held_values_freeze_what_they_name():
    rows, other = number_pairs("names", 1, seed=103)
    held = chain().values(rows, held_hooks(chain().loaded))
    embed, run = chain().from_words(rows[0], 0, held)
    (x,) = (state[0] for state in chain().states(rows)[:1])
    assert_close(run(embed), x, rtol=1e-3, atol=1e-3)
    assert (chain().run(other, held=held) - chain().run(other)).abs().max() > 0.01


def test_between_is_the_model_between_two_sites():
    rows, _ = number_pairs("names", 1, seed=104)
    x, later = (state[0] for state in chain().states(rows))
    through = chain().between(0, 1, rows[0])
    assert_close(through(x)[1:], later[1:], rtol=1e-3, atol=1e-3)


def test_every_node_is_the_model_and_no_node_is_the_baseline():
    rows, other = number_pairs("names", 4, seed=105)
    parts = parts_of(chain(), rows, other)

    def keep_nodes(x, encode, decode, keep, keep_error, f_base, e_base):
        f = torch.where(keep, encode(x), f_base)
        return decode(f) + torch.where(keep_error[:, None], x - decode(encode(x)), e_base)

    run = functools.partial(run_circuit, chain(), rows, number_gap, parts, keep_nodes)
    assert_close(run(*whole(parts, True)), number_gap(chain().run(rows)), rtol=1e-3, atol=1e-3)
    nothing = run(*whole(parts, False))
    assert_close(nothing, nothing[:1].expand(4), rtol=1e-3, atol=1e-3)
    assert_close(parts.x_base(chain(), 1)[0], chain().states(other)[1].mean(dim=0),
                 rtol=1e-3, atol=1e-3)  # fmt: skip


def test_repeats_differ_in_one_word_only():
    pairs = repeats(6, seed=106)
    differs = pairs.tokens != pairs.other
    assert differs.sum(dim=1).tolist() == [1] * 6 and bool(differs[:, pairs.after - 1].all())
    assert torch.equal(pairs.tokens[:, pairs.after], pairs.target)
    assert torch.equal(pairs.tokens[:, -1], pairs.tokens[:, pairs.after - 1])
    assert pairs.row(2).metric(torch.eye(345)[pairs.target[2]][None]) > 0.99


def test_biased_data_know_only_two_groups_and_a_probe_learns_them():
    site = Chain(chain().loaded, chain().saes[:1])
    data = subjects(site, 12, seed=107)
    biased, balanced = biased_and_balanced(data, 30, seed=0)
    assert torch.equal(biased.present, biased.girl)
    assert not torch.equal(balanced.present, balanced.girl)
    w, b = fit_probe(biased.x, biased.girl)
    assert float((((biased.x @ w + b) > 0) == biased.girl).double().mean()) > 0.9
