"""The grammar is unambiguous word by word, and its labels and probabilities are right."""

import math
from collections import Counter

import pytest
import torch

from utils.data.stories.grammar import compile_rules, variants
from utils.data.stories.lexicon import ALL_PLACES, BOS, ID, NAMES, VERBS, VOCABULARY
from utils.data.stories.sample import annotate, sample_stories, sample_tokens
from utils.data.stories.telling import ROLES, Teller

TEXT = (
    "<|bos|> when Mary and John went to the store , John gave a drink to Mary . "
    "he said , “ Mary said , ‘ I am happy . ’ ” they were glad . the store was dark ."
)
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def told():
    """One story whose labels can be read off by hand."""
    return annotate(torch.tensor([[ID[word] for word in WORDS]]))


@pytest.fixture(scope="module")
def stories():
    return sample_stories(400, 96, torch.Generator().manual_seed(11))


def names(numbers):
    return ["-" if i < 0 else NAMES[i] for i in numbers.flatten().tolist()]


def test_who__a_name_a_pronoun_or_an_i_means_a_person(told):
    who = names(told.labels["who"])
    expected = {3: "John", 1: "-", 2: "Mary", 4: "John", 10: "John", 15: "Mary", 17: "John"}
    expected |= {21: "Mary", 25: "Mary", 31: "-", 26: "-"}
    del expected[3]
    assert {i: who[i] for i in expected} == expected
    assert WORDS[17] == "he" and WORDS[25] == "I" and WORDS[31] == "they"


def test_subject_and_number__follow_the_clause(told):
    subject, number = names(told.labels["subject"]), told.labels["number"].flatten().tolist()
    went, gave, said, were, was = (WORDS.index(w) for w in ("went", "gave", "said", "were", "was"))
    assert [subject[i] for i in (went, gave, said, were, was)] == ["-", "John", "John", "-", "-"]
    assert [number[i] for i in (went, gave, said, were, was)] == [1, 0, 0, 1, 0]


def test_where_and_tense__are_unknown_until_told(told):
    where, tense = told.labels["where"].flatten().tolist(), told.labels["tense"].flatten().tolist()
    store, went = WORDS.index("store"), WORDS.index("went")
    assert where == [-1] * store + [ALL_PLACES.index("store")] * (len(WORDS) - store)
    assert tense == [-1] * went + [0] * (len(WORDS) - went)


def test_depth__counts_open_quotations_their_marks_included(told):
    depth = told.labels["depth"].flatten().tolist()
    outer, inner = (slice(WORDS.index(a), WORDS.index(b) + 1) for a, b in ("“”", "‘’"))
    expected = [0] * len(WORDS)
    expected[outer] = [1] * (outer.stop - outer.start)
    expected[inner] = [2] * (inner.stop - inner.start)
    assert depth == expected


def test_first_and_second__are_the_people_in_the_order_of_their_names(told):
    assert names(told.labels["first"])[1:3] == ["-", "Mary"]
    assert names(told.labels["second"])[3:5] == ["-", "John"]


def test_belief__is_bayes_rule_on_coloured_words(told):
    belief = told.belief.flatten()
    odds = [1.0, 9.0, 81.0, 9.0]  # happy, glad, then dark
    at = [WORDS.index(word) for word in ("am", "happy", "glad", "dark")]
    torch.testing.assert_close(belief[at], torch.tensor([o / (1 + o) for o in odds]))


def test_role__names_the_slot(told):
    roles = [ROLES[i] for i in told.labels["role"].flatten().tolist()]
    expected = ["A", "B", "place", "S", "give", "thing", "R"]
    assert [roles[i] for i in (2, 4, 8, 10, 11, 13, 15)] == expected


def test_probability__of_a_text_is_the_product_of_its_choices(told):
    """The opening clause by hand: shares of the branches and of the words in them."""
    logp = dict(zip(range(len(WORDS)), told.logp.flatten().tolist(), strict=True))
    assert logp[2] == pytest.approx(-math.log(32)) and logp[4] == pytest.approx(-math.log(31))
    assert logp[1] == pytest.approx(math.log(0.45 * 4 / 9))  # 45 of 100, "when" 4 of 9
    assert logp[5] == pytest.approx(-math.log(6))  # three verbs, two tenses, nothing told yet
    assert logp[8] == pytest.approx(-math.log(24))  # a place
    assert logp[10] == pytest.approx(-math.log(2))  # either may give
    assert logp[15] == 0  # the other must get
    thing = 0.8 / 6 + 0.2 / 36  # a likely one of the scene "town"
    assert logp[13] == pytest.approx(math.log(0.5 * thing))  # half of the things have no look


def test_a_text_that_the_grammar_lacks_is_refused():
    with pytest.raises(ValueError, match="'Mary' cannot come here"):
        annotate(torch.tensor([[ID[word] for word in (BOS, "when", "Mary", "and", "Mary")]]))
    with pytest.raises(ValueError, match="BOS"):
        annotate(torch.tensor([[ID["when"]]]))


def test_every_word_tells_which_branch_was_taken():
    """At no point do two branches share a word, and the probabilities of the next word sum to 1."""
    rows = sample_tokens(60, 96, torch.Generator().manual_seed(5))
    for row in rows.tolist():
        teller = Teller()
        for word in row[1:]:
            branches = [
                {t for t in c.tokens if c.prob(t) > 0} for _, c, _, _ in teller.options(0.3)
            ]
            assert sum(map(len, branches)) == len(set().union(*branches))
            assert sum(teller.next_words().values()) == pytest.approx(1.0)
            teller.tell(word)


def test_annotate__recovers_labels_and_probabilities_from_the_words(stories):
    again = annotate(stories.tokens)
    torch.testing.assert_close(again.logp, stories.logp)
    torch.testing.assert_close(again.belief, stories.belief)
    for name, label in stories.labels.items():
        if name != "happy":
            assert torch.equal(again.labels[name], label), name


def test_sample_tokens__are_the_tokens_of_sample_stories():
    fast, full = (
        f(30, 50, torch.Generator().manual_seed(2)) for f in (sample_tokens, sample_stories)
    )
    assert torch.equal(fast, full.tokens)


def test_entropy__is_the_mean_surprise(stories):
    """-logp - entropy is a martingale difference: its sum stays within 4 standard deviations."""
    difference = (-stories.logp - stories.entropy)[:, 1:].double()
    z = difference.sum() / difference.square().sum().sqrt()
    assert abs(z) < 4
    assert stories.loss == pytest.approx(stories.entropy_rate, rel=0.02)


def test_next_words__are_as_frequent_as_they_say():
    """First and second words of 4,000 stories against their exact distributions, by chi-square."""
    rows = sample_tokens(4000, 3, torch.Generator().manual_seed(8))
    expected = Teller().next_words()
    counts = Counter(rows[:, 1].tolist())
    chi2 = sum((counts[t] - 4000 * p) ** 2 / (4000 * p) for t, p in expected.items())
    degrees = len(expected) - 1
    assert chi2 < degrees + 5 * math.sqrt(2 * degrees)
    assert set(counts) <= set(expected)


def test_belief__is_calibrated():
    """Of the stories believed happy with probability b, a share b is."""
    stories = sample_stories(1500, 60, torch.Generator().manual_seed(4))
    belief, happy = stories.belief[:, -1], stories.labels["happy"][:, -1].float()
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)):
        inside = (belief >= low) & (belief <= high)
        tolerance = 4 * 0.5 / inside.sum().sqrt()
        assert (belief[inside].mean() - happy[inside].mean()).abs() < tolerance


def test_every_story_row_has_all_the_structure(stories):
    used = {VOCABULARY[i] for i in stories.tokens.unique().tolist()}
    unused = set(VOCABULARY) - used
    one_acts = ("give", "want", "talk", "say", "ask", "meet", "have")  # nobody says "they give"
    plurals = {forms[2] for verb_class in one_acts for forms in VERBS[verb_class]}
    plurals |= {"lives", "plays"}  # only they do
    assert unused - plurals == {"<|unk|>", "in", "with", "but"}, "words that stories lack"
    assert stories.labels["depth"].unique().tolist() == [0, 1, 2]
    n_people = [len(set(row[row >= 0].tolist())) for row in stories.labels["who"]]
    assert max(n_people) >= 3
    assert VOCABULARY[0] == BOS


def test_variants__share_the_weight():
    assert [(w, " ".join(s)) for w, s in variants(1.0, "a [{look}] {thing}")] == [
        (0.5, "a {thing}"),
        (0.5, "a {look} {thing}"),
    ]


def test_compile_rules__share_beginnings():
    root = compile_rules(((3.0, "a b c"), (1.0, "a d")))
    (symbol, node), *rest = root.edges
    assert (symbol, rest, node.shares) == ("a", [], [0.75, 0.25])
