"""What a model is asked and how its replies are read; marks for fuzzing; the whole run."""

import json
import re

import pytest
import torch

from utils.autointerp import (
    Endpoint,
    EndpointJudge,
    LocalJudge,
    NoEndpoint,
    ReplyError,
    Text,
    draw,
    explain,
    family,
    interpret,
)
from utils.autointerp.judges import explain_by, inside, marks_of
from utils.autointerp.prompts import (
    ask_which,
    levels,
    marked,
    read_explanation,
    read_strengths,
    read_which,
)
from utils.autointerp.run import scores

WORDS = (" cat", " dog", " sat", " ran", ".")


def toy(n_rows: int = 40, n_pos: int = 33, seed: int = 0) -> tuple[Text, torch.Tensor]:
    """Random words, and a latent that is active on cats, more strongly the later in the row."""
    gen = torch.Generator().manual_seed(seed)
    ids = torch.randint(len(WORDS), (n_rows, n_pos), generator=gen)
    mask = torch.ones(n_rows, n_pos, dtype=torch.bool)
    mask[:, 0] = False
    rare = torch.rand(n_rows, n_pos, generator=gen) < 0.15
    ids[~rare & (ids == 0)] = 1
    acts = ((ids == 0) & mask) * torch.arange(1.0, n_pos + 1)
    return Text([[WORDS[i] for i in row] for row in ids.tolist()], mask), acts


def test_a_window_shows_marks_and_levels():
    pieces, acts = [" a", "«b»", "\n"], torch.tensor([0.0, 3.0, 0.01])
    shown = marked(pieces, (acts > 0).tolist(), levels(acts, 3.0))
    assert shown == " a«<<b>>»(10)«\\n»(1)"
    assert levels(acts, 6.0) == [0, 5, 1]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Explanation: cats", "cats"),
        ("Let me see.\n**Explanation:** names of cats.", "names of cats"),
        ("explanation: a\nExplanation: b", "b"),
        ("Explanation: the tokens '(' and ')'", "the tokens '(' and ')'"),
        ("**Explanation**: a full stop, «.»", "a full stop, «.»"),
        ("Explanation: numbers followed by %", "numbers followed by %"),
        ("*Explanation: the token C++*", "the token C++"),
    ],
)
def test_an_explanation_is_read(reply, expected):
    assert read_explanation(reply) == expected


@pytest.mark.parametrize("reply", ["cats", "", "Explanation:", "my explanation is: cats"])
def test_no_explanation_is_an_error(reply):
    with pytest.raises(ReplyError):
        read_explanation(reply)


def test_a_list_is_read():
    assert read_which("These: [1, 3]", 4).tolist() == [True, False, True, False]
    assert read_which("```json\n[]\n```", 2).tolist() == [False, False]
    assert read_strengths("[0, 2.5, 10]", 3).tolist() == [0, 2.5, 10]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("none", "0 lists"),
        ("[1] or [2]", "2 lists"),
        ("[1, two]", "no JSON"),
        ('[1, "2"]', "not a number"),
        ("[0]", "0 is not the number of a line: these are 1 to 3"),
        ("[4]", "4 is not the number"),
        ("[1.5]", "1.5 is not the number"),
        ("[true]", "not a number"),
    ],
)
def test_a_reply_that_is_none_is_told_why(reply, says):
    with pytest.raises(ReplyError, match=re.escape(says)):
        read_which(reply, 3)


@pytest.mark.parametrize("reply", ["[1, 2]", "[1, 2, 3, 4]", "[1, 2, 11]", "[1, 2, -1]"])
def test_strengths_are_as_many_as_tokens_and_in_range(reply):
    with pytest.raises(ReplyError):
        read_strengths(reply, 3)


def test_questions_number_their_lines():
    question = ask_which("cats", [" a", " b"], fuzzed=False)[1]["content"]
    assert "1.  a\n2.  b" in question and "cats" in question


def test_marks_are_active_tokens_or_as_many_silent_ones():
    _, acts = toy()
    text, _ = toy()
    shown = draw(acts, text.mask, torch.Generator().manual_seed(1), 20, 10)
    marks, true = marks_of(shown, torch.Generator().manual_seed(2))
    active = shown.acts > 0
    assert int(true.sum()) == 10 and not true[~shown.active].any()
    assert not marks[~shown.active].any()
    assert (marks[true] == active[true]).all()
    wrong = shown.active & ~true
    assert not (marks[wrong] & active[wrong]).any()
    assert (marks[wrong].sum(1) == active[wrong].sum(1)).all()


def test_a_window_without_a_silent_token_is_never_marked_wrongly():
    """nor counted as wrong without a mark: a sentence that is true has a score of 1"""
    text, acts = toy()
    for row in range(12):
        text.pieces[row][1:] = [WORDS[0]] * 32
    acts[:12] = torch.arange(1.0, 34) * text.mask[:12]
    said = explain(acts[text.mask] > 0, family(text, least=5))
    shown = draw(acts, text.mask, torch.Generator().manual_seed(0), 20, 20)
    full = (shown.acts > 0).all(dim=1)
    assert full.any()
    marks, true = marks_of(shown, torch.Generator().manual_seed(2))
    assert marks[full & true].all() and not marks[full & ~true].any()
    _, fuzzed, _ = scores(LocalJudge(), said, shown, text, torch.Generator().manual_seed(2))
    assert fuzzed.value == 1 and fuzzed.n == int(marks.any(dim=1).sum())


def test_a_latent_that_is_always_active_is_not_scored():
    text, _ = toy()
    [found] = interpret(lambda latent: text.mask.float(), [5], text)
    assert found.detection is None and found.why


def test_the_local_judge_is_right_about_a_sentence_that_is_true():
    text, acts = toy()
    said = explain(acts[text.mask] > 0, family(text, least=5))
    assert str(said) in ("the token is ' cat'", "the word is 'cat', small or capitalised")
    shown = draw(acts, text.mask, torch.Generator().manual_seed(0), 20, 20)
    judge = LocalJudge()
    assert (judge.detect(said, shown, text) == shown.active).all()
    marks, true = marks_of(shown, torch.Generator().manual_seed(2))
    use = shown.active
    assert (judge.fuzz(said, shown, text, marks)[use] == true[use]).all()
    assert (judge.simulate(said, shown, text) == (shown.acts > 0)).all()


def test_windows_are_cut_where_they_should_be():
    text, acts = toy()
    shown = draw(acts, text.mask, torch.Generator().manual_seed(0), 20, 20)
    assert (inside(acts, shown) == shown.acts).all()


def told_by_rule(body):
    """A server that knows cats: it explains, finds them, and guesses 10 for each."""
    question = body["messages"][1]["content"]
    if "Which tokens make it active" in question:
        return "Explanation: the word cat"
    if "Guess how active" in question:
        window = re.search(r'\[".*"\]', question)
        return str([10 if word == " cat" else 0 for word in json.loads(window[0])])
    lines = re.findall(r"(?m)^(\d+)\. (.*)$", question)
    if "every token in" in question:
        marked_ones = {int(n): re.findall("«(.*?)»", line) for n, line in lines}
        return str([n for n, ms in marked_ones.items() if ms and all(m == " cat" for m in ms)])
    return str([int(n) for n, line in lines if "cat" in line])


def test_a_model_on_a_server_explains_and_judges(server):
    text, acts = toy()
    server.answers = [told_by_rule]
    judge = EndpointJudge(Endpoint("m", server.url))
    [found] = interpret(lambda latent: acts, [5], text, judge)
    assert found.sentence == "the word cat" and not found.why
    assert found.detection.value == found.fuzzing.value == 1.0
    assert found.simulation.value > 0.8
    asked = [body["messages"][1]["content"] for body in server.asked]
    which = [question for question in asked if "In which of these lines" in question]
    for question in which:
        lines = re.findall(r"(?m)^\d+\. (.*)$", question)
        shares = [" cat" in line for line in lines]
        if "every token in" in question:
            assert all("«" in line for line in lines), "only windows with marks are paid for"
        elif len(lines) == 10:
            assert True in shares and False in shares, "a question has both kinds"


def test_the_explainer_is_shown_the_strongest_first(server):
    text, acts = toy()
    shown = draw(acts, text.mask, torch.Generator().manual_seed(0), 20, 20)
    server.answers = ["Explanation: cats"]
    assert explain_by(EndpointJudge(Endpoint("m", server.url)), shown, text) == "cats"
    lines = re.findall(r"(?m)^\d+\. (.*)$", server.asked[0]["messages"][1]["content"])
    strongest = [max(map(int, re.findall(r"»\((\d+)\)", line))) for line in lines]
    assert len(lines) == 20 and strongest[0] > strongest[-1]


def test_a_reply_that_cannot_be_read_is_asked_for_again(server):
    server.answers = ["hm", told_by_rule]
    judge = EndpointJudge(Endpoint("m", server.url))
    said = judge.which("cats", [" a", " cat", " c"], fuzzed=False)
    assert said.tolist() == [False, True, False]
    again = server.asked[1]["messages"]
    assert again[-2]["content"] == "hm" and "0 lists" in again[-1]["content"]


def test_a_server_that_never_answers_well_loses_one_latent_only(server):
    text, acts = toy()
    server.answers = ["no idea"]
    judge = EndpointJudge(Endpoint("m", server.url))
    found = interpret(lambda latent: acts, [5, 6], text, judge)
    assert [each.latent for each in found] == [5, 6]
    assert all("Explanation" in each.why and each.detection is None for each in found)


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_will_never_answer_ends_the_run(server, status):
    text, acts = toy()
    server.answers = [(status, {}, {"error": {"message": "no"}})]
    with pytest.raises(NoEndpoint):
        interpret(lambda latent: acts, [5, 6], text, EndpointJudge(Endpoint("m", server.url)))
    assert len(server.asked) == 1


def test_the_run_explains_on_one_half_and_judges_on_the_other():
    text, acts = toy(60)
    there = interpret(lambda latent: acts, [0], text)[0]
    assert "cat" in there.sentence and there.detection.value == 1.0
    only_first = torch.where(torch.arange(60)[:, None] < 30, acts, 0.0)
    assert "only 0 windows" in interpret(lambda latent: only_first, [0], text)[0].why
    assert interpret(lambda latent: 0 * acts, [0], text)[0].why


def test_the_run_is_the_same_again_and_does_not_depend_on_the_others():
    text, acts = toy(60, seed=3)
    noise = acts * (torch.rand(acts.shape, generator=torch.Generator().manual_seed(1)) < 0.8)
    by = {1: acts, 2: noise}
    assert interpret(by.__getitem__, [1, 2], text)[1] == interpret(by.__getitem__, [2], text)[0]


def test_the_judge_reads_some_lines_at_a_time(server):
    server.answers = [told_by_rule]
    judge = EndpointJudge(Endpoint("m", server.url), per_question=3)
    lines = [" cat", " dog", " cat", " dog", " cat", " cat", " dog"]
    assert judge.which("cats", lines, fuzzed=False).tolist() == [line == " cat" for line in lines]
    assert len(server.asked) == 3
