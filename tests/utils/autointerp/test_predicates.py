"""Each kind of sentence on a row done by hand; families; the local explainer; examples; scores."""

import math

import pytest
import torch

from utils.autointerp import Predicate, Text, detection, draw, explain, family, simulation
from utils.autointerp.explain import balanced_accuracies

ROW = ["<s>", "The", " Cat", "s", " sat", ".", " 12", " cats", "\n", " NASA"]


def one_row() -> Text:
    mask = torch.ones(1, len(ROW), dtype=torch.bool)
    mask[0, 0] = False
    role = torch.tensor([[-1, 0, 1, 1, 0, 0, 0, 1, 0, 0]])
    return Text([ROW], mask, {"role": role}, {"role": ["other", "animal"]})


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        ("token", " Cat", [2]),
        ("word", "cat", [2]),
        ("previous", ".", [6]),
        ("class", "punctuation", [5]),
        ("class", "a number", [6]),
        ("class", "a line break", [8]),
        ("class", "in capitals", [9]),
        ("class", "capitalised", [1, 2]),
        ("class", "the inside or end of a word", [0, 3]),
        ("class", "a word or its beginning", [4, 7]),
        ("previous class", "a number", [7]),
        ("begins 1", "c", [2, 7]),
        ("begins 2", "ca", [2, 7]),
        ("begins 3", "cat", [7]),
        ("ends 2", "at", [2, 4]),
        ("ends 3", "ats", [7]),
        ("place", "token 2 of the row", [2]),
        ("sentence", "first", [6]),
        ("label role", "animal", [2, 3, 7]),
        ("earlier", "cat", [3, 4, 5, 6, 7, 8, 9]),
        ("token", "never seen", []),
    ],
)
def test_a_sentence_holds_where_it_should(kind, value, where):
    found = Predicate(kind, value).holds(one_row())[0].nonzero().flatten().tolist()
    assert found == where


def test_without_spaces_every_token_is_a_word():
    text = Text([["<s>", "the", "cats", "."]], torch.ones(1, 4, dtype=torch.bool))
    words = Predicate("class", "a word or its beginning").holds(text)
    assert words.tolist() == [[True, True, True, False]]
    assert Predicate("begins 2", "ca").holds(text).tolist() == [[False, False, True, False]]
    assert Predicate("token", "cats").holds(text).tolist() == [[False, False, True, False]]


def test_every_kind_has_a_sentence():
    sentences = [str(each) for each in family(one_row(), least=1).predicates]
    assert len(set(sentences)) == len(sentences) and all(sentences)
    assert "role is animal" in sentences


def test_a_family_leaves_out_what_is_rare_and_what_always_holds():
    text = Text([["<s>", " a", " a", " b"]] * 3, torch.tensor([[False, True, True, True]] * 3))
    tokens = family(text, least=3, kinds=["token", "class"])
    assert [each.value for each in tokens.predicates] == [" a", " b"]
    assert family(text, least=4, kinds=["token"]).n_true.tolist() == [6]
    assert tokens.holds.shape == (2, 9)


def test_a_kind_that_there_is_not_is_an_error():
    with pytest.raises(ValueError, match="no kind 'colour': choose from token"):
        family(one_row(), kinds=["colour"])
    with pytest.raises(ValueError, match="the text has no 'label mood'"):
        Predicate("label mood", "sad").holds(one_row())


def test_a_text_has_one_shape():
    with pytest.raises(ValueError, match="same shape"):
        Text([["a", "b"]], torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="label 'x'"):
        Text([["a"]], torch.ones(1, 1, dtype=torch.bool), {"x": torch.zeros(2, 1).long()})


def test_balanced_accuracy_by_hand():
    active = torch.tensor([True, True, False, False, False, False])
    holds = torch.tensor(
        [
            [True, False, True, False, False, False],
            [True] * 6,
            [False] * 6,
            active.tolist(),
            (~active).tolist(),
        ]
    )
    expected = torch.tensor([(0.5 + 0.75) / 2, 0.5, 0.5, 1.0, 0.0])
    torch.testing.assert_close(balanced_accuracies(active, holds), expected)


@pytest.mark.parametrize("fill", [True, False])
def test_an_explanation_needs_both_kinds_of_tokens(fill):
    text = one_row()
    with pytest.raises(ValueError, match="of 9 tokens are active"):
        explain(torch.full((9,), fill), family(text, least=1))


def test_the_explainer_joins_by_or_and_by_and():
    gen = torch.Generator().manual_seed(0)
    words = [" cat", " dog", " cow", " hen", " owl"]
    ids = torch.randint(5, (60, 20), generator=gen)
    mask = torch.ones(60, 20, dtype=torch.bool)
    mask[:, 0] = False
    text = Text([[words[i] for i in row] for row in ids.tolist()], mask)
    sentences = family(text, kinds=["token", "previous"])
    either = (ids == 1) | (ids == 3)
    found = explain(either[mask], sentences)
    assert {str(p) for p in found.predicates} == {"the token is ' dog'", "the token is ' hen'"}
    assert found.joined == "or" and found.score == 1.0
    assert (found.holds(text) == either).all()
    both = torch.zeros_like(either)
    both[:, 1:] = (ids[:, 1:] == 1) & (ids[:, :-1] == 2)
    found = explain(both[mask], sentences)
    assert str(found) in (
        "the token is ' dog', and the token before is ' cow'",
        "the token before is ' cow', and the token is ' dog'",
    )
    assert (found.holds(text) == both).all()


def test_the_explainer_adds_nothing_that_does_not_help():
    text = one_row()
    active = Predicate("label role", "animal").holds(text)[text.mask]
    assert len(explain(active, family(text, least=1)).predicates) == 1


def test_examples_are_measured_and_share_no_token():
    gen = torch.Generator().manual_seed(0)
    acts = torch.rand(30, 40, generator=gen) * (torch.rand(30, 40, generator=gen) < 0.03)
    acts[:, 0] = 5.0  # the first token is in no window
    mask = torch.ones(30, 40, dtype=torch.bool)
    mask[3, 20:] = False
    shown = draw(acts, mask, gen, 25, 25, width=13, n_fractions=5)
    assert shown.fraction[:25].bincount().tolist() == [5] * 5
    assert (shown.acts[shown.active].amax(1) > 0).all() and (shown.acts[~shown.active] == 0).all()
    spans = {(int(r), int(s)) for r, s in zip(shown.rows, shown.starts, strict=True)}
    assert len(spans) == len(shown.rows) and {s for _, s in spans} <= {1, 14, 27}
    assert not any(r == 3 and s > 1 for r, s in spans)
    means = [float(shown.acts[shown.fraction == i].amax(1).mean()) for i in range(5)]
    assert means == sorted(means)


def test_there_may_be_fewer_examples_than_asked():
    acts = torch.zeros(4, 17)
    acts[1, 5] = 1.0
    shown = draw(acts, torch.ones(4, 17, dtype=torch.bool), torch.Generator(), 25, 25, width=16)
    assert shown.active.tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="no window of 17"):
        draw(acts, torch.ones(4, 17, dtype=torch.bool), torch.Generator(), width=17)


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("n_true", [1, 5, 9])
def test_always_answering_one_way_scores_one_half(answer, n_true):
    true = torch.arange(10) < n_true
    assert detection(torch.full((10,), answer), true).value == 0.5


def test_detection_counts_both_kinds_of_mistakes():
    true = torch.tensor([True] * 4 + [False] * 2)
    said = torch.tensor([True, True, True, False, True, False])
    score = detection(said, true)
    assert score.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert score.low < score.value < score.high and score.n == 6
    with pytest.raises(ValueError, match="4 true and 0 false"):
        detection(said[:4], true[:4])


def test_detections_interval_holds_what_it_promises():
    gen, inside, p, q = torch.Generator().manual_seed(0), 0, 0.8, 0.7
    true = torch.arange(60) < 30
    for _ in range(400):
        chance = torch.where(true, p, 1 - q)
        score = detection(torch.rand(60, generator=gen) < chance, true)
        inside += score.low <= (p + q) / 2 <= score.high
    assert 0.92 * 400 <= inside <= 0.985 * 400  # 95 % ± three standard errors, and a bit


def test_simulation_is_a_correlation():
    gen = torch.Generator().manual_seed(0)
    x, y = torch.rand(50, generator=gen), torch.rand(50, generator=gen)
    assert simulation(x, y).value == pytest.approx(float(torch.corrcoef(torch.stack([x, y]))[0, 1]))
    assert simulation(3 * y + 1, y).value == pytest.approx(1.0)
    assert simulation(torch.ones(50), y).value == 0.0
    assert not math.isnan(simulation(torch.ones(50), torch.ones(50)).low)
