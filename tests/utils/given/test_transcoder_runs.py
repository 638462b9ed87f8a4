"""3.2.6's given parts: models taken apart, scores of words, a blind case, circuits of units."""

import pytest
import torch

from part32_interp_with_saes.s6_transcoders import commitment, mlp_components, terms_of_latent
from tests.part32_interp_with_saes.replaced import story
from utils.data.stories.sample import sample_tokens
from utils.given.blind_case import BlindCase, NotYet, clear_cases, told, vocabulary_family
from utils.given.latent_circuits import number_gap, number_pairs
from utils.given.transcoder_runs import (
    added_up,
    as_function,
    attention_of,
    judged,
    norm_before,
    pieces,
    seen,
    short_coder,
    token_aucs,
    unexplained_by_rows,
)
from utils.given.unit_circuits import (
    baseline,
    latents_as_units,
    neurons_as_units,
    run_units,
    slopes,
    unit_scores,
    values,
)
from utils.saes.coder import reconstruct


@torch.no_grad()
def test_pieces_in_a_row_are_the_model():
    loaded, saes = story()
    tokens = sample_tokens(3, 20, torch.Generator().manual_seed(100))
    attend, mlps, after = pieces(loaded)
    x = seen(loaded, tokens, ["blocks.0.hook_resid_pre"], 0)["blocks.0.hook_resid_pre"]
    for a, m in zip(attend, mlps, strict=True):
        x = x + a(x)
        x = x + m(x)
    torch.testing.assert_close(after(x), loaded.model(tokens), rtol=1e-4, atol=1e-4)
    at = seen(loaded, tokens, [saes[1].hook_in, "blocks.1.ln2.hook_in"])
    wanted = saes[1].decode(saes[1].encode(at[saes[1].hook_in]), at[saes[1].hook_in])
    torch.testing.assert_close(as_function(loaded, saes[1])(at["blocks.1.ln2.hook_in"]), wanted)


def test_norm_before_is_the_blocks_norm():
    loaded, _ = story()
    norm, x = norm_before(loaded, 2, "ln1"), torch.randn(1, 3, 96) + 2
    wanted = torch.nn.functional.layer_norm(x, (96,), norm.gain, norm.bias, norm.eps)
    assert norm.centred
    torch.testing.assert_close(loaded.model.blocks[2].ln1(x), wanted, rtol=1e-4, atol=1e-5)


def test_aucs_over_words_are_those_over_tokens():
    g = torch.Generator().manual_seed(0)
    score = torch.randn(9, 4, generator=g).round()  # with ties
    words = torch.randint(9, (60,), generator=g)
    active = torch.rand(60, 4, generator=g) < 0.3
    found = token_aucs(score, words, active)
    for k in range(4):
        up, down = score[words[active[:, k]], k], score[words[~active[:, k]], k]
        gap = up[:, None] - down
        wanted = ((gap > 0).double() + 0.5 * (gap == 0)).mean()
        torch.testing.assert_close(found[k], wanted)
    assert judged(active, 61).tolist() == [] and judged(active, 5).tolist() == [0, 1, 2, 3]


def test_a_prompt_taken_apart_adds_up(capsys):
    loaded, saes = story()
    tokens = sample_tokens(1, 20, torch.Generator().manual_seed(101))[0]
    kinds = added_up(loaded, saes, tokens, 3, 11, mlp_components, terms_of_latent)
    said = capsys.readouterr().out
    total = float(said.split(", the encoder says ")[1].split()[0])
    assert abs(sum(kinds.values()) - total) < 1e-3
    assert kinds["skip"] == 0 and kinds["latents"] != 0


@torch.no_grad()
def test_attention_comes_with_what_biases_put_into_z():
    loaded, _ = story()
    tokens = sample_tokens(1, 12, torch.Generator().manual_seed(102))[0]
    att, norm = attention_of(loaded, tokens, 1, 1), norm_before(loaded, 1, "ln1")
    x = (att.x - att.x.mean(dim=1, keepdim=True)) / att.scale[:, None] * norm.gain
    mixed = torch.einsum("hqp,pd,hdk->qhk", att.pattern, x, loaded.model.W_V[1])
    torch.testing.assert_close(mixed + att.value_bias, att.z, rtol=1e-4, atol=1e-4)


def test_a_short_run_learns():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=g)
    y = x.relu() @ torch.randn(8, 6, generator=g)
    coder = short_coder(x, y, "transcoder", k=4, latent=16)
    table = unexplained_by_rows(reconstruct(coder, x), y, 10)
    assert table.shape == (60, 2) and table[:, 0].sum() < 0.5 * table[:, 1].sum()
    torch.testing.assert_close(table[:, 1].sum(), (y - y.mean(dim=0)).square().sum())


def test_the_family_says_each_thing_once():
    said = vocabulary_family()
    assert len({tuple(row) for row in said.holds.tolist()}) == len(said.predicates)
    names = [str(p) for p in said.predicates]
    assert "kind of word is a place" in names and "scene is sea" in names
    place = said.holds[names.index("kind of word is a place")]
    assert "beach" not in told(said.predicates[0], ~place & place) and int(place.sum()) == 24


def test_clear_cases_are_those_whose_best_tokens_agree():
    holds = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)
    score = torch.tensor([[4.0, 3.0, 1.0, 0.0], [4.0, 0.0, 3.0, 1.0]]).T
    assert clear_cases(score, holds, 2, lambda s, h, n: 0).tolist() == [0]


def test_a_case_stays_shut_until_there_is_a_commitment():
    loaded, saes = story()
    case = BlindCase(loaded, saes[1], vocabulary_family(), torch.tensor([3]), seed=7, n_rows=4)
    for wanted in (lambda: case.open(0, commitment), case.examples):
        with pytest.raises(NotYet, match="commit to a sentence first"):
            wanted()
    assert case.latent == 3
    digest = case.commit(1, commitment)
    assert str(case.said.predicates[1]) not in digest and len(digest) == 64
    with pytest.raises(NotYet, match="cannot be changed"):
        case.commit(2, commitment)
    with pytest.raises(NotYet, match="not the sentence"):
        case.open(2, commitment)
    says, truth = case.open(1, commitment)
    assert says.shape == truth.shape == (4 * 95,) and says.dtype == truth.dtype == torch.bool
    assert len(case.examples(2)) == 2 and "[" in case.examples(2)[0]
    with pytest.raises(ValueError, match="the family has no 'nonsense'"):
        case.find("nonsense")


def test_units_all_kept_are_the_model_and_scores_are_complete():
    loaded, saes = story()
    plural, singular = number_pairs("names", 4, seed=103)
    neurons, latents = neurons_as_units(loaded), latents_as_units(loaded, saes)
    with torch.no_grad():
        full = number_gap(loaded.model(plural)[:, -1])
    base = baseline(neurons, singular)
    every = [torch.ones_like(f, dtype=torch.bool) for f in base.f]
    got = run_units(neurons, plural, number_gap, every, base)
    torch.testing.assert_close(got, full, rtol=1e-3, atol=1e-3)
    none = run_units(neurons, plural, number_gap, [~e for e in every], base)
    slope = slopes(neurons, plural, singular, number_gap)

    def by_hand(f, f_base, e, e_base, grad, W):
        return ((f_base - f) * (grad @ W.T)).mean(dim=0), None

    total = sum(float(s.sum()) for s in unit_scores(neurons, plural, base, slope, by_hand))
    change = float((none - full).mean())
    assert abs(total - change) < 0.15 * abs(change)
    f, outs = values(latents, plural)
    assert f[0].shape[-1] == 192 and outs[0].shape[-1] == 96
