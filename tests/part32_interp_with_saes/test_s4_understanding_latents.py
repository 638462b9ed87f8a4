"""3.2.4: what is right, on small random tensors."""

import math
import re

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score

from utils.testing import (
    assert_raises,
    assert_same,
    binomial_bounds,
    generator,
    hoeffding,
    ks_distance,
    require,
    unchanged,
)

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def sparse(g, *shape, share=0.5, dtype=torch.float32):
    """Activations as an SAE gives them: many are 0, none is negative."""
    on = torch.rand(shape, generator=g, device=g.device) < share
    return normal(g, *shape, dtype=dtype).abs() * on


def whole(g, high, *shape):
    """Whole numbers from 0 to high - 1."""
    return torch.randint(high, shape, generator=g, device=g.device)


def coins(g, *shape, share=0.5):
    """Booleans, true with this probability."""
    return torch.rand(shape, generator=g, device=g.device) < share


def both_kinds(g, n, share=0.3):
    """Booleans of which some are true and some false."""
    truth = coins(g, n, share=share)
    truth[0], truth[-1] = True, False
    return truth


# -------------------------------------------------------------------------------------- a1. steer


@pytest.mark.parametrize(
    ("how", "by", "want"),
    [
        ("add", 3.0, [[[4.0, 3.0, 1.0], [1.0, -6.0, 2.0]]]),
        ("scale", 3.0, [[[5.0, 4.0, 1.0], [1.0, 0.0, 2.0]]]),
        ("clamp", 3.0, [[[2.0, 1.0, 1.0], [1.0, -6.0, 2.0]]]),
        ("clamp", 0.0, [[[-1.0, -2.0, 1.0], [1.0, 0.0, 2.0]]]),
        ("scale", 0.0, [[[-1.0, -2.0, 1.0], [1.0, 0.0, 2.0]]]),
        ("add", -1.0, [[[0.0, -1.0, 1.0], [1.0, 2.0, 2.0]]]),
    ],
)
def test_steer__by_hand(impl, device, how, by, want):
    """Done by hand: two tokens that may be changed, with activations 2 and 0"""
    resid = torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 2.0]]], device=device)
    f = torch.tensor([[2.0, 0.0]], device=device)
    want = torch.tensor(want, device=device)
    for pos, w in ((0, [1.0, 1.0, 0.0]), (1, [0.0, -2.0, 0.0])):
        where = torch.zeros(1, 2, dtype=torch.bool, device=device)
        where[0, pos] = True
        got = impl.steer(resid, f, torch.tensor(w, device=device), where, how, by)
        assert_same(got[:, pos], want[:, pos], "row d_model", 1e-6, 1e-6)
        assert_same(got[:, 1 - pos], resid[:, 1 - pos], "row d_model")


@BOTH
@pytest.mark.parametrize("how", ["add", "scale", "clamp"])
@pytest.mark.parametrize("by", [0.0, 1.0, -2.5, 40.0])
def test_steer__agrees_with_the_worked_one(impl, ref, seed, device, dtype, how, by):
    """Random positions in several rows; the inputs stay as they are"""
    g = generator(seed, device)
    resid, f = normal(g, 3, 5, 7, dtype=dtype), sparse(g, 3, 5, dtype=dtype)
    w, where = normal(g, 7, dtype=dtype), coins(g, 3, 5)
    with unchanged(resid, f, w, where):
        mine = impl.steer(resid, f, w, where, how, by)
    theirs = ref.steer(resid, f, w, where, how, by)
    assert_same(mine, theirs, "row pos d_model", 1e-5, 1e-5)


def test_steer__leaves_other_tokens_and_directions_alone(impl, seed, device):
    """What changes is along w, and only where it may"""
    g = generator(seed + 1, device)
    resid, f, where = normal(g, 4, 6, 5), sparse(g, 4, 6), coins(g, 4, 6)
    w = torch.tensor([0.0, 3.0, 0.0, -1.0, 0.0], device=device)
    change = impl.steer(resid, f, w, where, "clamp", 2.0) - resid
    require(not change[~where].any(), "a token outside `where` has changed")
    require(not change[..., [0, 2, 4]].any(), "a dimension in which w is 0 has changed")
    along = change[where] @ w / (w @ w)
    assert_same(along, 2.0 - f[where], "token", 1e-4, 1e-4, hint="clamp: f becomes 2 everywhere")


def test_steer__refuses_other_words(impl, seed, device):
    """A ValueError that names the word"""
    g = generator(seed, device)
    args = normal(g, 2, 3, 4), sparse(g, 2, 3), normal(g, 4), coins(g, 2, 3)
    assert_raises(ValueError, impl.steer, *args, "multiply", 2.0, names=("multiply",))
    assert_raises(ValueError, impl.steer, *args, "Add", 2.0, names=("Add",))


# ------------------------------------------------------------------------------- a2. random_as_long


@BOTH
def test_random_as_long__each_is_as_long_as_w(impl, seed, device, dtype):
    """n rows with the norm of w, no two alike, in the dtype of w"""
    g = generator(seed, device)
    for n, d, length in ((1, 6, 0.01), (9, 4, 30.0), (5, 33, 2.0)):
        w = normal(g, d, dtype=dtype)
        w = w / w.norm() * length
        with unchanged(w):
            rows = impl.random_as_long(w, n, g)
        require(rows.shape == (n, d), f"the shape is {tuple(rows.shape)}, not {(n, d)}")
        require(rows.dtype == dtype, f"the dtype is {rows.dtype}, not {dtype}")
        assert_same(rows.norm(dim=1), torch.full_like(rows[:, 0], length), "n", 1e-5, 1e-6)
        require(len(rows.unique(dim=0)) == n, "two directions are equal")


def test_random_as_long__has_no_preferred_direction(impl, seed, device):
    """In three dimensions every coordinate of a random direction is uniform (Archimedes)"""
    n = 20_000
    w = torch.tensor([2.0, -1.0, 2.0], device=device, dtype=torch.float64)
    rows = impl.random_as_long(w, n, generator(seed + 1, device)) / 3
    axes = torch.eye(3, dtype=torch.float64, device=device)
    diagonal = torch.ones(3, dtype=torch.float64, device=device) / math.sqrt(3)
    for axis in (*axes, diagonal, w / 3):
        x = (rows @ axis).sort().values
        expected = (x + 1) / 2
        steps = torch.arange(1, n + 1, device=device, dtype=torch.float64) / n
        far = float((steps - expected).abs().max())
        says = f"some directions are preferred (distance {far:.3f}): which law has none?"
        require(far < ks_distance(n, 1e-7) + 1 / n, says)


def test_random_as_long__depends_on_the_generator_alone(impl, ref, seed, device):
    """The same generator gives the same directions, another one gives others"""
    w = normal(generator(seed, device), 5)
    a, b, c = (impl.random_as_long(w, 3, generator(seed + s, device)) for s in (3, 3, 4))
    require(torch.equal(a, b), "the same generator draws other directions: is `gen` used?")
    require(not torch.equal(a, c), "another generator draws the same directions")
    require(
        a.shape == ref.random_as_long(w, 3, generator(seed, device)).shape, "the shape is wrong"
    )


# -------------------------------------------------------------------- a3. continuation_perplexity


def test_continuation_perplexity__of_uniform_guesses_is_the_vocabulary(impl, seed, device):
    """Equal logits: as many tokens as there are, whatever was written"""
    ids = whole(generator(seed, device), 11, 3, 6)
    got = impl.continuation_perplexity(torch.full((3, 6, 11), 2.0, device=device), ids, 2)
    assert_same(got, torch.full((3,), 11.0, device=device), "row", 1e-5, 1e-5)


def test_continuation_perplexity__by_hand(impl, device):
    """Two tokens count: one of probability 1/2, one of 1/8; a geometric mean, so 4"""
    p = torch.tensor([[[0.1, 0.9], [0.5, 0.5], [0.125, 0.875], [0.3, 0.7]]], device=device)
    ids = torch.tensor([[0, 1, 1, 0]], device=device)
    got = impl.continuation_perplexity(p.log(), ids, 2)
    assert_same(got, torch.tensor([4.0], device=device), "row", 1e-5, 1e-5)


def test_continuation_perplexity__does_not_see_the_prompt_or_the_last_logits(impl, seed, device):
    """Logits before position start - 1 and at the last position change nothing; nor do the ids"""
    g = generator(seed + 1, device)
    logits, ids = normal(g, 2, 7, 5), whole(g, 5, 2, 7)
    other, others = logits.clone(), ids.clone()
    other[:, :3] += normal(g, 2, 3, 5)
    other[:, -1] += normal(g, 2, 5)
    others[:, :4] = (others[:, :4] + 1) % 5
    a, b = (impl.continuation_perplexity(*pair, 4) for pair in ((logits, ids), (other, others)))
    assert_same(b, a, "row", 1e-5, 1e-5)


@BOTH
@pytest.mark.parametrize("start", [1, 3, 5])
def test_continuation_perplexity__agrees_with_the_worked_one(impl, ref, seed, device, start, dtype):
    """From the first predicted token, from the middle, and of the last token alone"""
    g = generator(seed + 2, device)
    logits, ids = 3 * normal(g, 4, 6, 9, dtype=dtype), whole(g, 9, 4, 6)
    with unchanged(logits, ids):
        mine = impl.continuation_perplexity(logits, ids, start)
    assert_same(mine, ref.continuation_perplexity(logits, ids, start), "row", 1e-5, 1e-5)


# -------------------------------------------------------------------------------- a4. best_within


@pytest.mark.parametrize(
    ("effect", "cost", "limit", "want"),
    [
        ([1, 5, 9], [1, 2, 3], 2.0, 1), ([1, 5, 9], [1, 2, 3], 9.0, 2), ([4, 3], [2, 1], 1.0, 1),
        ([-3, -1, -2], [1, 1, 1], 1.0, 1), ([2, 7, 7, 1], [0, 5, 5, 5], 5.0, 1),
        ([1], [2], 1.5, -1),
        ([0, 6, 8], [9, 9, 9], 1.0, -1), ([-5, 9], [0, 1], 0.5, 0),
    ],
)  # fmt: skip
def test_best_within__by_hand(impl, device, effect, cost, limit, want):
    """Costs that are equal to the limit, equal effects, negative effects, and none allowed"""
    pair = (torch.tensor(v, device=device, dtype=torch.float32) for v in (effect, cost))
    got = impl.best_within(*pair, limit)
    require(int(got) == want, f"for effects {effect}, costs {cost}, limit {limit}: {got}")


def test_best_within__agrees_with_the_worked_one(impl, ref, seed, device):
    """Random effects with ties and random costs"""
    g = generator(seed, device)
    for n in (1, 4, 13):
        effect, cost = whole(g, 5, n).float() - 2, whole(g, 9, n).float()
        for limit in (-1.0, 3.0, 8.0):
            with unchanged(effect, cost):
                mine = impl.best_within(effect, cost, limit)
            want = ref.best_within(effect, cost, limit)
            require(int(mine) == want, f"the best is {want}, not {mine}")


# ------------------------------------------------------------------------------- a5. output_score


def test_output_score__by_hand(impl, device):
    """The set has 1/4 before and 1/2 after; a set of everything has 1 both times"""
    clean = torch.tensor([[0.125, 0.125, 0.5, 0.25], [0.25, 0.0625, 0.1875, 0.5]], device=device)
    after = torch.tensor([[0.375, 0.125, 0.25, 0.25], [0.125, 0.0625, 0.3125, 0.5]], device=device)
    logits = clean.log() + 3, after.log() - 5
    got = impl.output_score(*logits, torch.tensor([0, 1], device=device))
    want = torch.tensor([math.log(2), math.log(0.6)], device=device)
    assert_same(got, want, "row", 1e-5, 1e-5)
    everything = impl.output_score(*logits, torch.tensor([3, 0, 2, 1], device=device))
    assert_same(everything, torch.zeros(2, device=device), "row", 1e-5, 1e-5)


def test_output_score__does_not_underflow(impl, device):
    """A set of probability 10⁻⁸⁷ that becomes 10⁻⁶⁵ grows by 50 nats"""
    clean = torch.zeros(1, 6, device=device)
    steered = clean.clone()
    clean[0, 1:3], steered[0, 1:3] = -200.0, -150.0
    got = impl.output_score(clean, steered, torch.tensor([1, 2], device=device))
    assert_same(got, torch.tensor([50.0], device=device), "row", 1e-4, 1e-4)


@BOTH
def test_output_score__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Other sets; adding a number to all logits of a row changes nothing"""
    g = generator(seed, device)
    for row, n in ((1, 1), (3, 4), (5, 8)):
        clean, steered = (3 * normal(g, row, 9, dtype=dtype) for _ in range(2))
        tokens = torch.randperm(9, generator=g, device=device)[:n]
        with unchanged(clean, steered, tokens):
            mine = impl.output_score(clean, steered + 4, tokens)
        assert_same(mine, ref.output_score(clean, steered, tokens), "row", 1e-4, 1e-4)


# ---------------------------------------------------------------------------- b1. stratified_rows


def sets(parts):
    """Drawn rows as sorted Python lists."""
    return [sorted(int(i) for i in part) for part in parts]


def test_stratified_rows__by_hand(impl, device):
    """All of each part: silent rows are in none, the first parts have one more"""
    strength = torch.tensor([3.0, 0.0, 1.0, 7.0, 2.0, 0.0, 100.0], device=device)
    for n, want in (
        (1, [[0, 2, 3, 4, 6]]),
        (2, [[0, 2, 4], [3, 6]]),
        (3, [[2, 4], [0, 3], [6]]),
        (5, [[2], [4], [0], [3], [6]]),
    ):
        got = sets(impl.stratified_rows(strength, n, 9, generator(0, device)))
        require(got == want, f"{n} parts of rows with strengths {strength.tolist()} are {got}")


def test_stratified_rows__equal_ones_keep_the_order_of_the_rows(impl, device):
    """Forty rows of equal strength in four parts"""
    strength = torch.ones(40, device=device)
    strength[7] = 0
    rows = [i for i in range(40) if i != 7]
    got = sets(impl.stratified_rows(strength, 4, 99, generator(0, device)))
    want = [rows[:10], rows[10:20], rows[20:30], rows[30:]]
    require(got == want, "of rows with equal strength the earlier ones come first")


@pytest.mark.parametrize("n_each", [1, 3, 50])
def test_stratified_rows__draws_each_part_without_replacement(impl, ref, seed, device, n_each):
    """As many as asked for, or all; none twice; each in the worked function's part"""
    g = generator(seed, device)
    for row, n_strata in ((30, 4), (23, 5), (9, 1)):
        strength = sparse(g, row, share=0.8)
        strength[0] = 0.5
        with unchanged(strength):
            got = impl.stratified_rows(strength, n_strata, n_each, g)
        everything = sets(ref.stratified_rows(strength, n_strata, row, g))
        require(len(got) == n_strata, f"there are {len(got)} parts, not {n_strata}")
        for part, there in zip(sets(got), everything, strict=True):
            require(len(part) == min(n_each, len(there)), f"{len(part)} rows of {len(there)}")
            require(len(set(part)) == len(part), "a row is drawn twice")
            require(set(part) <= set(there), "a row is in the wrong part")


def test_stratified_rows__draws_each_row_equally_often(impl, seed, device):
    """Three of ten, from weak and from strong rows"""
    strength = torch.arange(21.0, device=device)
    g, n = generator(seed + 1, device), 300
    times = torch.zeros(21, dtype=torch.int64)
    for _ in range(n):
        for part in impl.stratified_rows(strength, 2, 3, g):
            times[part.cpu()] += 1
    low, high = binomial_bounds(n, 0.3, 1e-7)
    worst = int(times[1:].min()), int(times[1:].max())
    says = f"a row is drawn {worst[0]} to {worst[1]} times, expected near 90"
    require(low <= worst[0] and worst[1] <= high, says)


def test_stratified_rows__depends_on_the_generator_alone(impl, seed, device):
    """The same generator gives the same rows, another one gives others"""
    strength = torch.arange(1.0, 90.0, device=device)
    a, b, c = (
        sets(impl.stratified_rows(strength, 3, 8, generator(seed + s, device))) for s in (3, 3, 4)
    )
    require(a == b, "the same generator draws other rows: is `gen` used?")
    require(a != c, "another generator draws the same rows")


# -------------------------------------------------------------------------------- b2. silent_rows


def test_silent_rows__by_hand(impl, device):
    """An activation outside the mask is none; a row without tokens is no example"""
    acts = torch.tensor([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0], [0.0, 0.0], [0.1, 0.1]], device=device)
    mask = torch.tensor([[1, 1], [1, 1], [0, 1], [0, 0], [1, 0]], device=device).bool()
    got = impl.silent_rows(acts, mask, 2, generator(0, device))
    require(sorted(got.tolist()) == [1, 2], f"the silent rows are 1 and 2, not {got.tolist()}")


def test_silent_rows__says_how_many_there_are(impl, device):
    """A ValueError with both numbers; exactly enough is enough"""
    acts, mask = torch.zeros(9, 3, device=device), torch.ones(9, 3, device=device).bool()
    acts[:4, 1] = 1.0
    require(len(impl.silent_rows(acts, mask, 5, generator(0, device))) == 5, "5 rows are silent")
    assert_raises(
        ValueError, impl.silent_rows, acts, mask, 8, generator(0, device), names=("8", "5")
    )


def test_silent_rows__draws_different_silent_rows(impl, ref, seed, device):
    """n rows, none twice, each silent at its tokens; also tiny activations are activations"""
    g = generator(seed, device)
    for row, pos, n in ((40, 3, 15), (25, 2, 12), (60, 4, 0)):
        acts, mask = sparse(g, row, pos, share=0.25) * 1e-4, coins(g, row, pos, share=0.7)
        acts[:15], mask[:15, 0] = 0.0, True
        with unchanged(acts, mask):
            got = impl.silent_rows(acts, mask, n, g)
        require(got.shape == (n,), f"{n} rows are wanted, the shape is {tuple(got.shape)}")
        require(len(set(got.tolist())) == n, "a row is drawn twice")
        require(not (acts * mask)[got].any(), "a row has an activation")
        require(bool(mask[got].any(dim=1).all()), "a row has no token in the mask")
        require(len(ref.silent_rows(acts, mask, n, g)) == n, "")


def test_silent_rows__draws_each_row_equally_often(impl, seed, device):
    """Three of ten silent rows, drawn 300 times"""
    acts = torch.zeros(14, 2, device=device)
    acts[[0, 5, 6, 9], 1] = 1.0
    mask = torch.ones(14, 2, dtype=torch.bool, device=device)
    g, n = generator(seed + 1, device), 300
    times = torch.zeros(14, dtype=torch.int64)
    for _ in range(n):
        times[impl.silent_rows(acts, mask, 3, g).cpu()] += 1
    low, high = binomial_bounds(n, 0.3, 1e-7)
    seen = [int(times[i]) for i in range(14) if acts[i, 1] == 0]
    says = f"a row is drawn {min(seen)} to {max(seen)} times, expected near 90"
    require(low <= min(seen) and max(seen) <= high, says)


# -------------------------------------------------------------------------------- b3. marked_text


@pytest.mark.parametrize(
    ("tokens", "acts", "top", "want"),
    [
        (["Much", " more", " so", ".", " Less"], [0, 2, 1, 0, 4], 4.0,
         'Much<< more so>>.<< Less>>\nActivations: " more" 5, " so" 3, " Less" 10'),
        (["a", " b"], [0, 0], 1.0, "a b\nActivations: none"),
        (["a", " b", " c"], [8, 8, 8], 16.0, '<<a b c>>\nActivations: "a" 5, " b" 5, " c" 5'),
        (["x"], [0.25], 64.0, '<<x>>\nActivations: "x" 1'),
        (["x", "y", "z"], [1, 0, 1], 1.0, '<<x>>y<<z>>\nActivations: "x" 10, "z" 10'),
        (["a", "a"], [0, 3], 4.0, 'a<<a>>\nActivations: "a" 8'),
    ],
)  # fmt: skip
def test_marked_text__by_hand(impl, device, tokens, acts, top, want):
    """Runs at the start, in the middle and at the end; weak ones count 1"""
    got = impl.marked_text(tokens, torch.tensor(acts, device=device, dtype=torch.float32), top)
    require(got == want, f"for {tokens} with activations {acts} it is {got!r}, not {want!r}")


def test_marked_text__without_marks_is_the_text(impl, seed, device):
    """Take the marks away, and the text is left; there are as many runs as marks"""
    g = generator(seed, device)
    for n in (1, 5, 20):
        acts = sparse(g, n)
        tokens = [f" w{i}" for i in range(n)]
        text, listed = impl.marked_text(tokens, acts, 9.0).split("\n")
        require(re.sub("<<|>>", "", text) == "".join(tokens), f"the text is {text!r}")
        on = (acts > 0).long()
        runs = int(on[0]) + int((on[1:] > on[:-1]).sum())
        require(text.count("<<") == runs == text.count(">>"), f"{runs} runs in {text!r}")
        n_listed = len(re.findall('" [0-9]', listed))
        require(n_listed == int(on.sum()), f"{n_listed} of {int(on.sum())} strengths")


def test_marked_text__agrees_with_the_worked_one(impl, ref, seed, device):
    """Other texts and strengths"""
    g = generator(seed + 1, device)
    for n in (1, 4, 12):
        acts, tokens = sparse(g, n), [f"{'ab'[i % 2]}{i}" for i in range(n)]
        with unchanged(acts):
            mine = impl.marked_text(tokens, acts, 3.0)
        theirs = ref.marked_text(tokens, acts, 3.0)
        require(mine == theirs, f"it is {mine!r}, not {theirs!r}")


# ----------------------------------------------------------------------------- b4. parse_verdicts


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        ("[1, 0, 1]", [1, 0, 1]), ("Text 2 [sic] fits.\nSo: [0,1]", [0, 1]), ("[1]", [1]),
        ("First [1, 1], no: [ 0 ,\n 1 ,\t1 ]. Done.", [0, 1, 1]), ("[[0, 0]]", [0, 0]),
        ("[0, 0, 0, 1]\n", [0, 0, 0, 1]),
    ],
)  # fmt: skip
def test_parse_verdicts__reads_the_last_list(impl, reply, want):
    """Words and other brackets around it, spaces and line breaks in it"""
    for text in (reply, f"Not {[1] * len(want)}. {reply}"):  # a list before it may be as long
        got = impl.parse_verdicts(text, len(want))
        assert_same(got.cpu(), torch.tensor(want).bool(), "item", hint=f"the reply is {text!r}")


@pytest.mark.parametrize(
    ("reply", "n", "names"),
    [
        ("yes, no, yes", 3, ()), ("", 1, ()), ("[1, 0", 2, ()), ("[1, 0]", 3, ("2", "3")),
        ("[1, 0, 1, 1]", 3, ("4", "3")), ("[1, 7]", 2, ("7",)), ("[yes, 1]", 2, ("yes",)),
        ("[1, 0.5]", 2, ("0.5",)), ("[1, 0] or [maybe, 1]", 2, ("maybe",)), ("[1, 01]", 2, ("01",)),
        ("[1, 0, 1] so the answer is [1, 0]", 3, ("2", "3")), ("[True, 0]", 2, ("True",)),
    ],
)  # fmt: skip
def test_parse_verdicts__refuses_what_it_cannot_read(impl, reply, n, names):
    """No list, too few, too many, or something that is neither 0 nor 1: a ValueError"""
    assert_raises(ValueError, impl.parse_verdicts, reply, n, names=names)


def test_parse_verdicts__agrees_with_the_worked_one(impl, ref, seed):
    """Random verdicts, written in several ways"""
    g = generator(seed)
    for n in (1, 3, 10):
        bits = [str(b) for b in whole(g, 2, n).tolist()]
        for reply in (f"[{','.join(bits)}]", f"I say [ {' , '.join(bits)} ] [", str([9]) * 2):
            if reply.startswith("[9") and n == 1:
                continue
            try:
                want = ref.parse_verdicts(reply, n)
            except ValueError:
                assert_raises(ValueError, impl.parse_verdicts, reply, n)
            else:
                assert_same(impl.parse_verdicts(reply, n), want, "item")


# -------------------------------------------------------------------------- b5. balanced_accuracy


def test_balanced_accuracy__of_one_answer_for_all_is_one_half(impl, seed, device):
    """Always yes and always no, however rare the true ones are: exactly 0.5"""
    g = generator(seed, device)
    for n, share in ((7, 0.5), (100, 0.03)):
        truth = both_kinds(g, n, share)
        says = torch.stack([torch.ones_like(truth), torch.zeros_like(truth), truth, ~truth])
        want = torch.tensor([0.5, 0.5, 1.0, 0.0], dtype=torch.float64, device=device)
        assert_same(impl.balanced_accuracy(says, truth), want, "batch")


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)])
def test_balanced_accuracy__agrees_with_scikit_learn(impl, ref, seed, device, batch):
    """One explanation or several; the inputs stay as they are"""
    g = generator(seed + 1, device)
    truth, says = both_kinds(g, 23), coins(g, *batch, 23)
    with unchanged(truth, says):
        got = impl.balanced_accuracy(says, truth)
    t = truth.tolist()
    want = [balanced_accuracy_score(t, row.tolist()) for row in says.reshape(-1, 23)]
    shape = torch.tensor(want, dtype=torch.float64, device=device).reshape(batch)
    assert_same(got, shape, "", 1e-9, 1e-9)
    assert_same(got, ref.balanced_accuracy(says, truth), "", 1e-9, 1e-9)


def test_balanced_accuracy__needs_both_kinds(impl, device):
    """A ValueError where all items are true, or all false"""
    says = torch.tensor([True, False, True], device=device)
    for truth in (torch.ones_like(says), torch.zeros_like(says)):
        assert_raises(ValueError, impl.balanced_accuracy, says, truth)


# ------------------------------------------------------------------------- b6. score_interval


def test_score_interval__of_what_cannot_vary_is_a_point(impl, seed, device):
    """All right, all wrong, always yes, always no: no draw gives another score"""
    g = generator(seed, device)
    truth = both_kinds(g, 15)
    for says, want in (
        (truth, 1.0), (~truth, 0.0), (truth | True, 0.5), (truth & False, 0.5),
    ):  # fmt: skip
        low, high = impl.score_interval(says, truth, 40, 0.9, g)
        assert_same([low, high], [want, want], rtol=1e-9)


def test_score_interval__has_the_width_of_theory(impl, ref, seed, device):
    """Close to score ± z · standard error for 403 trues and 97 falses, and swapped"""
    g = generator(seed + 1, device)
    number = torch.arange(500, device=device)
    for n, level, z in ((403, 0.7, 1.0364), (97, 0.8, 1.2816), (403, 0.95, 1.96)):
        truth = number < n
        says = torch.where(truth, number % 4 > 0, coins(g, 500, share=0.3))
        p, q = float(says[truth].double().mean()), float((~says[~truth]).double().mean())
        error = math.sqrt(p * (1 - p) / n + q * (1 - q) / (500 - n)) / 2
        with unchanged(says, truth):
            low, high = (float(v) for v in impl.score_interval(says, truth, 800, level, g))
        at = [((p + q) / 2 - low) / (z * error), (high - (p + q) / 2) / (z * error)]
        says_so = (
            f"level {level}: ends are {at[0]:.2f} and {at[1]:.2f} of the expected distance off"
        )
        require(min(at) > 0.7 and max(at) < 1.3, says_so)
    theirs = ref.score_interval(says, truth, 800, 0.95, g)
    assert_same([low, high], list(theirs), rtol=0.01, atol=0.02)  # 9 standard errors


def test_score_interval__keeps_the_numbers_of_both_kinds(impl, seed, device):
    """Every draw has one true item if there is one, and five if there are five"""
    g = generator(seed + 2, device)
    truth = torch.tensor([True] + [False] * 6, device=device)
    says = torch.tensor([True] + [False] * 3 + [True] * 3, device=device)
    low, high = impl.score_interval(says, truth, 500, 0.999, g)
    require(0.5 <= low < high <= 1.0, f"scores lie between 0.5 and 1, the ends are {low}, {high}")
    low, high = impl.score_interval(~says, truth, 500, 0.999, g)
    require(0.0 <= low < high <= 0.5, f"scores lie between 0 and 0.5, the ends are {low}, {high}")
    number = torch.arange(40, device=device)  # 4 of 5 found; in a draw 2 of 5 or fewer: 6 %
    low, high = impl.score_interval(number < 4, number < 5, 1000, 0.8, g)
    assert_same([low, high], [0.8, 1.0], rtol=1e-9, hint="five true items, of which four are found")


def test_score_interval__depends_on_the_generator_alone(impl, seed, device):
    """The same generator gives the same interval, another one gives another"""
    truth = torch.arange(40, device=device) < 23
    says = torch.arange(40, device=device) % 3 > 0
    a, b, c = (
        impl.score_interval(says, truth, 37, 0.61, generator(seed + s, device)) for s in (3, 3, 4)
    )
    require(tuple(a) == tuple(b), "the same generator gives another interval: is `gen` used?")
    require(tuple(a) != tuple(c), "another generator gives the same interval")
    low, high = impl.score_interval(says, truth, 1, 0.9, generator(seed, device))
    require(low == high, "one draw has one score: is `n_draws` used?")


# -------------------------------------------------------------------------------- b7. wrong_marks


def test_wrong_marks__by_hand(impl, device):
    """Only one place is free, or none, or fewer than needed; no active token, no mark"""
    active = torch.tensor(
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], device=device
    ).bool()
    mask = torch.tensor(
        [[1, 0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], device=device
    ).bool()
    want = torch.tensor(
        [[0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], device=device
    ).bool()
    assert_same(impl.wrong_marks(active, mask, generator(0, device)), want, "row pos")


def test_wrong_marks__are_as_many_and_never_right(impl, ref, seed, device):
    """In the mask, on silent tokens, as many per row as the worked function's"""
    g = generator(seed, device)
    for row, pos in ((6, 9), (1, 30), (12, 4)):
        mask = coins(g, row, pos, share=0.8)
        active = mask & coins(g, row, pos, share=0.35)
        with unchanged(active, mask):
            marks = impl.wrong_marks(active, mask, g)
        require(marks.dtype == torch.bool, f"marks are booleans, not {marks.dtype}")
        require(not (marks & active).any(), "an active token is marked")
        require(not (marks & ~mask).any(), "a token outside the mask is marked")
        want = ref.wrong_marks(active, mask, g).sum(dim=1)
        assert_same(marks.sum(dim=1), want, "row", hint="so many marks per row")


def test_wrong_marks__every_place_equally_often(impl, seed, device):
    """Two marks on eight free places, in 400 rows: each place near 100, rows not alike"""
    active = torch.zeros(400, 12, dtype=torch.bool, device=device)
    active[:, [3, 7]] = True
    mask = torch.ones_like(active)
    mask[:, [0, 5]] = False
    marks = impl.wrong_marks(active, mask, generator(seed + 1, device))
    low, high = binomial_bounds(400, 0.25, 1e-7)
    times = marks.sum(dim=0)[mask[0] & ~active[0]]
    says = f"places are marked {int(times.min())} to {int(times.max())} times, expected near 100"
    require(low <= int(times.min()) and int(times.max()) <= high, says)
    require(len(marks.unique(dim=0)) > 15, "the rows get the same marks: draw for each row")


def test_wrong_marks__depend_on_the_generator_alone(impl, seed, device):
    """The same generator gives the same marks, another one gives others"""
    active, mask = (torch.arange(40, device=device) < n for n in (9, 40))
    a, b, c = (
        impl.wrong_marks(active[None], mask[None], generator(seed + s, device)) for s in (3, 3, 4)
    )
    require(torch.equal(a, b), "the same generator gives other marks: is `gen` used?")
    require(not torch.equal(a, c), "another generator gives the same marks")


# --------------------------------------------------------------------------- b8. simulation_score


def test_simulation_score__of_a_line_is_one(impl, seed, device):
    """A prediction that is a positive multiple plus a constant is perfect, a negative one is -1"""
    g = generator(seed, device)
    actual, mask = sparse(g, 4, 7), torch.ones(4, 7, dtype=torch.bool, device=device)
    assert_same(impl.simulation_score(3 * actual + 100, actual, mask), 1.0, rtol=1e-4)
    assert_same(impl.simulation_score(-actual, actual, mask), -1.0, rtol=1e-5)


def test_simulation_score__of_a_constant_is_zero(impl, seed, device):
    """Constant within the mask, whatever lies outside"""
    g = generator(seed, device)
    actual, mask = sparse(g, 3, 5), coins(g, 3, 5)
    mask[:, 0] = mask[0, 1] = True
    flat = torch.where(mask, 0.1, 7.0 * actual)
    assert_same(impl.simulation_score(flat, actual, mask), 0.0)
    assert_same(impl.simulation_score(actual, flat, mask), 0.0)


@BOTH
def test_simulation_score__agrees_with_the_worked_one_and_with_corrcoef(
    impl, ref, seed, device, dtype
):
    """All tokens of the mask together, not row by row; numbers around 1,000, too"""
    g = generator(seed + 1, device)
    for row, pos, shift in ((5, 8, 0.0), (1, 30, 0.0), (7, 2, 1000.0)):
        actual, simulated = sparse(g, row, pos, dtype=dtype), sparse(g, row, pos, dtype=dtype)
        actual, mask = actual * (1 + torch.arange(row, device=device))[:, None], coins(g, row, pos)
        mask[:, 0] = mask[0, 1] = True
        actual[0, 0], simulated[0, 0] = 5.0, 3.0
        simulated = simulated + shift
        with unchanged(actual, simulated, mask):
            got = impl.simulation_score(simulated, actual, mask)
        want = torch.corrcoef(torch.stack([simulated[mask], actual[mask]]).double())[0, 1]
        assert_same(got, float(want), rtol=1e-6, atol=1e-6)
        assert_same(got, ref.simulation_score(simulated, actual, mask), rtol=1e-6, atol=1e-6)


# ----------------------------------------------------------------------------- b9. best_predicate


def test_best_predicate__by_hand(impl, device):
    """One is perfect on the first part and useless on the other; its twin comes later"""
    active = torch.tensor([1, 0, 0, 0, 1, 0, 0], device=device).bool()
    fit = torch.tensor([1, 1, 1, 0, 0, 0, 0], device=device).bool()
    holds = torch.tensor(
        [
            [1, 1, 0, 0, 1, 0, 0],
            [1, 0, 0, 1, 1, 1, 1],
            [1, 0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 1, 0, 0],
        ],
        device=device,
    ).bool()
    index, score = impl.best_predicate(active, holds, fit)
    require(int(index) == 1, f"1 and 2 are equally good on `fit`: the first one, not {index}")
    assert_same(score, 0.5)


def test_best_predicate__finds_the_true_one(impl, seed, device):
    """The latent is a predicate, exactly: index and a score of 1"""
    g = generator(seed, device)
    holds, fit = coins(g, 12, 90, share=0.3), coins(g, 90)
    for right in (0, 7, 11):
        index, score = impl.best_predicate(holds[right], holds, fit)
        require(int(index) == right, f"predicate {right} is the latent, not {index}")
        assert_same(score, 1.0)


def test_best_predicate__is_not_the_one_that_hardly_ever_holds(impl, device):
    """Active on 2 of 20 tokens: `never` is right on 90 %, and useless"""
    number = torch.arange(40, device=device)
    active, fit = number % 10 == 0, number < 20
    holds = torch.stack([number < 0, number % 5 == 0, number % 2 == 0])
    index, score = impl.best_predicate(active, holds, fit)
    require(int(index) == 1, f"1 finds all active tokens with 2 false alarms of 18: not {index}")
    assert_same(score, 17 / 18, rtol=1e-6)


def test_best_predicate__of_many_random_ones_has_no_skill_elsewhere(impl, seed, device):
    """300 random predicates: the best one's score on other tokens is near one half"""
    g = generator(seed + 1, device)
    active = torch.arange(4000, device=device) % 2 > 0
    fit = torch.arange(4000, device=device) < 40
    _, score = impl.best_predicate(active, coins(g, 300, 4000), fit)
    most = hoeffding(1980, 1.0, 1e-7)
    says = f"the score is {float(score):.2f}: is it that of the tokens it was chosen on?"
    require(abs(float(score) - 0.5) < most, says)


@pytest.mark.parametrize("size", [(1, 12), (9, 40), (25, 31)])
def test_best_predicate__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other numbers of predicates and tokens"""
    g = generator(seed + 2, device)
    active, fit = coins(g, size[1]), coins(g, size[1])
    active[:4] = torch.tensor([True, False, True, False], device=device)
    fit[:4] = torch.tensor([True, True, False, False], device=device)
    holds = coins(g, *size)
    with unchanged(active, holds, fit):
        index, score = impl.best_predicate(active, holds, fit)
    want = ref.best_predicate(active, holds, fit)
    require(int(index) == want[0], f"the best predicate is {want[0]}, not {index}")
    assert_same(score, want[1])


# ------------------------------------------------------------------------------ c1. share_in_span


@BOTH
def test_share_in_span__by_hand(impl, device, dtype):
    """A vector between two others: half, then all; the sign and the length do not matter"""
    W = torch.tensor([[3.0, 3.0, 0.0], [0.0, 3.0, 4.0]], device=device, dtype=dtype)
    others = torch.tensor([[-5.0, 0.0, 0.0], [0.0, 0.1, 0.0]], device=device, dtype=dtype)
    one, two = (impl.share_in_span(W, others, k) for k in (1, 2))
    assert_same(one, torch.tensor([0.5, 0.36], device=device, dtype=dtype), "latent", 1e-5, 1e-6)
    assert_same(two, torch.tensor([1.0, 0.36], device=device, dtype=dtype), "latent", 1e-5, 1e-6)


def test_share_in_span__of_a_sum_of_two_is_one(impl, seed, device):
    """Sums of two rows lie in the span of those two, although the rows are not orthogonal"""
    g = generator(seed, device)
    others = normal(g, 3, 40) + 0.5
    others[1] += 2 * others[0]
    W = 0.7 * others[0] + others[1]
    assert_same(impl.share_in_span(W[None], others, 3), torch.ones(1, device=device), "latent")


def test_share_in_span__with_one_is_the_squared_cosine(impl, seed, device):
    """k = 1: the largest squared cosine, at least 0 and at most 1"""
    g = generator(seed + 1, device)
    W, others = normal(g, 6, 9), normal(g, 11, 9)
    cosines = torch.cosine_similarity(W[:, None], others[None], dim=-1)
    want = cosines.square().amax(dim=1)
    assert_same(impl.share_in_span(W, others, 1), want, "latent", 1e-4, 1e-5)


@BOTH
@pytest.mark.parametrize("k", [1, 3, 5])
def test_share_in_span__agrees_with_the_worked_one(impl, ref, seed, device, k, dtype):
    """Other sizes, rows of very different length"""
    g = generator(seed + 2, device)
    W, others = normal(g, 4, 12, dtype=dtype), normal(g, 7, 12, dtype=dtype)
    others = others * torch.logspace(-2, 2, 7, device=device, dtype=dtype)[:, None]
    with unchanged(W, others):
        mine = impl.share_in_span(W, others, k)
    assert_same(mine, ref.share_in_span(W, others, k), "latent", 1e-4, 1e-5)


# --------------------------------------------------------------------------------- c2. split_into


def test_split_into__by_hand(impl, device):
    """Children with shares 1, 2/3, 1/2, 0, and one that is never active"""
    parent = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0], device=device).bool()
    children = torch.tensor(
        [
            [1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0],
        ],
        device=device,
    ).bool().T  # fmt: skip
    for least, chosen, cover in (
        (1.0, [0], 0.5), (2 / 3, [0, 1], 0.75), (0.6, [0, 1], 0.75), (0.5, [0, 1, 2], 1.0),
    ):  # fmt: skip
        numbers, coverage = impl.split_into(parent, children, least)
        want = torch.tensor(chosen, device=device)
        assert_same(numbers, want, "chosen", hint=f"with at least {least:.2f}")
        assert_same(coverage, cover, hint=f"coverage of children {chosen}")


def test_split_into__without_children_covers_nothing(impl, device):
    """No child reaches the share: an empty list, coverage 0"""
    parent = torch.tensor([True, False, False], device=device)
    children = torch.tensor([[1, 0], [1, 0], [1, 0]], device=device).bool()
    numbers, coverage = impl.split_into(parent, children, 0.9)
    require(numbers.shape == (0,), f"there is no child, not {numbers.tolist()}")
    assert_same(coverage, 0.0)


def test_split_into__of_a_true_partition_covers_everything(impl, seed, device):
    """The parent's tokens shared out among three children, and strangers"""
    g = generator(seed, device)
    which = whole(g, 6, 50)
    which[:6] = torch.arange(6, device=device)
    children = which[:, None] == torch.tensor([4, 0, 5, 1, 2], device=device)
    numbers, coverage = impl.split_into(which < 3, children, 0.99)
    assert_same(numbers, torch.tensor([1, 3, 4], device=device), "chosen")
    assert_same(coverage, 1.0)


@pytest.mark.parametrize("size", [(20, 7), (55, 3), (9, 12)])
def test_split_into__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Random latents that are active here and there"""
    g = generator(seed + 1, device)
    parent, children = both_kinds(g, size[0], 0.5), coins(g, *size, share=0.15)
    for least in (0.3, 0.5, 0.8):
        with unchanged(parent, children):
            mine = impl.split_into(parent, children, least)
        theirs = ref.split_into(parent, children, least)
        assert_same(mine[0], theirs[0], "chosen")
        assert_same(mine[1], theirs[1])


# ---------------------------------------------------------------------------------- d1. f1_scores


def test_f1_scores__by_hand(impl, device):
    """Perfect, never active, always active, and one with precision 1 and recall 1/2"""
    has = torch.tensor([1, 1, 0, 0, 0, 0], device=device).bool()
    fires = torch.tensor(
        [[1, 1, 0, 0, 0, 0], [0] * 6, [1] * 6, [1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]],
        device=device,
    ).bool().T  # fmt: skip
    want = torch.tensor([1.0, 0.0, 0.5, 2 / 3, 0.0], dtype=torch.float64, device=device)
    assert_same(impl.f1_scores(fires, has), want, "latent", 1e-9, 1e-9)


@pytest.mark.parametrize("size", [(15, 4), (40, 1), (6, 9)])
def test_f1_scores__agree_with_scikit_learn(impl, ref, seed, device, size):
    """Random latents, of which one is silent"""
    g = generator(seed, device)
    fires, has = coins(g, *size, share=0.3), both_kinds(g, size[0])
    fires[:, 0] = False
    with unchanged(fires, has):
        got = impl.f1_scores(fires, has)
    pairs = [f1_score(has.tolist(), col.tolist(), zero_division=0.0) for col in fires.T]
    want = torch.tensor(pairs, dtype=torch.float64, device=device)
    assert_same(got, want, "latent", 1e-9, 1e-9)
    assert_same(got, ref.f1_scores(fires, has), "latent", 1e-9, 1e-9)


# ----------------------------------------------------------------------------------- d2. absorbed


def test_absorbed__by_hand(impl, device):
    """Main latent active; another makes up for it; just enough; nobody does; two small ones"""
    W = torch.tensor([[1.0, 0.0], [2.0, 5.0], [0.25, 0.0], [0.25, 1.0]], device=device)
    x = torch.tensor([[2.0, 1.0], [2.0, -1.0], [4.0, 0.0], [2.0, 9.0], [2.0, 0.0]], device=device)
    f = torch.tensor(
        [[0.5, 3, 0, 0], [0, 3, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 2, 2]], device=device
    )
    main, probe = torch.tensor([0], device=device), torch.tensor([3.0, 0.0], device=device)
    want = torch.tensor([0, 1, 1, 0, 0], device=device).bool()
    assert_same(impl.absorbed(x, f, main, W, probe, 0.5), want, "item")
    assert_same(impl.absorbed(x, f, main, W, 0.01 * probe, 0.5), want, "item")


def test_absorbed__a_latent_that_writes_against_the_letter_does_not_count(impl, device):
    """A large negative contribution is not a positive one; several main latents must all be 0"""
    W = torch.tensor([[1.0], [1.0], [-9.0], [1.0]], device=device)
    x = torch.ones(4, 1, device=device)
    f = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 5], [1e-6, 0, 0, 5], [0, 0, 1, 5]], device=device)
    main, probe = torch.tensor([0, 1], device=device), torch.ones(1, device=device)
    want = torch.tensor([0, 0, 0, 1], device=device).bool()
    assert_same(impl.absorbed(x, f, main, W, probe, 0.3), want, "item")


@BOTH
def test_absorbed__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Random words of which the probe sees all; short and long probes"""
    g = generator(seed, device)
    for length in (1.0, 0.02, 50.0):
        W, p = normal(g, 9, 6, dtype=dtype), length * normal(g, 6, dtype=dtype)
        x = normal(g, 30, 6, dtype=dtype)
        x = torch.where((x @ p > 0)[:, None], x, -x)
        f = sparse(g, 30, 9, share=0.2, dtype=dtype)
        main = torch.tensor([4, 1], device=device)
        for least in (0.2, 0.7):
            with unchanged(x, f, main, W, p):
                mine = impl.absorbed(x, f, main, W, p, least)
            assert_same(mine, ref.absorbed(x, f, main, W, p, least), "item")


# ----------------------------------------------------------------------------------- d3. best_row


def test_best_row__by_hand(impl, device):
    """A latent for the parent, active alone three times of four, once with a child"""
    x = torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 7.0]], device=device)
    f = torch.tensor([2.0, 1.0, 1.0, 0.0], device=device)
    assert_same(impl.best_row(x, f), torch.tensor([1.0, 1 / 6], device=device), "d_model")


@BOTH
def test_best_row__no_step_away_from_it_is_better(impl, ref, seed, device, dtype):
    """The error grows in every direction; the worked function agrees"""
    g = generator(seed, device)
    for item, d in ((20, 5), (1, 3), (7, 12)):
        x, f = normal(g, item, d, dtype=dtype) + 1, sparse(g, item, dtype=dtype)
        f[0] = 0.7
        with unchanged(x, f):
            w = impl.best_row(x, f)
        assert_same(w, ref.best_row(x, f), "d_model", 1e-4, 1e-4)
        error = (x - f[:, None] * w).square().sum()
        for _ in range(5):
            other = (x - f[:, None] * (w + 0.1 * normal(g, d, dtype=dtype))).square().sum()
            require(other > error, "a step away from your row has a smaller error")


# --------------------------------------------------------------------------- f1. enrichment_score


@pytest.mark.parametrize(
    ("weights", "members", "want"),
    [
        ([9, 8, 1, 0], [1, 1, 0, 0], 1.0), ([9, 8, 1, 0], [0, 0, 1, 1], -1.0),
        ([9, 8, 1, 0], [1, 0, 0, 1], 0.5), ([9, 8, 1, 0], [0, 1, 1, 0], 0.5),
        ([1, 9, 0, 8, 5], [0, 1, 0, 0, 0], 1.0), ([5, 4, 3, 2, 1], [0, 1, 0, 0, 0], 0.75),
        ([5, 4, 3, 2, 1], [0, 0, 0, 1, 0], -0.75), ([2, 2, 2, 2], [0, 0, 1, 1], -1.0),
        ([2, 2, 2, 2], [1, 0, 1, 0], 0.5), ([5, 4, 3, 2, 1, 0], [0, 0, 1, 1, 1, 0], -2 / 3),
    ],
)  # fmt: skip
def test_enrichment_score__by_hand(impl, device, weights, members, want):
    """At the top, at the bottom, one member, and equal weights"""
    args = torch.tensor(weights, device=device).float(), torch.tensor(members, device=device).bool()
    assert_same(impl.enrichment_score(*args), want, hint=f"weights {weights}, members {members}")


def lopsided(g, n, dtype=torch.float32, tied=False):
    """Weights and members whose walk goes farther to one side: rounding decides no sign."""
    while True:
        weights, members = normal(g, n, dtype=dtype), both_kinds(g, n)
        weights = (2 * weights).round() if tied else weights
        inside = members[weights.sort(descending=True, stable=True).indices].double()
        walk = (inside / inside.sum() - (1 - inside) / (1 - inside).sum()).cumsum(dim=0)
        if abs(float(walk.max() + walk.min())) > 1e-6:
            return weights, members


def test_enrichment_score__changes_its_sign_with_the_set_and_with_the_weights(impl, seed, device):
    """For the other tokens, or with negative weights: the same size, the other sign"""
    weights, members = lopsided(generator(seed, device), 60)
    score = impl.enrichment_score(weights, members)
    assert_same(impl.enrichment_score(weights, ~members), -score, rtol=1e-9)
    assert_same(impl.enrichment_score(-weights, members), -score, rtol=1e-9)
    assert_same(impl.enrichment_score(weights.exp(), members), score, rtol=1e-9)


@BOTH
@pytest.mark.parametrize("n", [2, 30, 500])
def test_enrichment_score__agrees_with_the_worked_one(impl, ref, seed, device, n, dtype):
    """Other vocabularies, with equal weights among them"""
    g = generator(seed + 1, device)
    for tied in (False, True):
        weights, members = lopsided(g, n, dtype, tied)
        with unchanged(weights, members):
            mine = impl.enrichment_score(weights, members)
        assert_same(mine, ref.enrichment_score(weights, members), rtol=1e-9)


# ------------------------------------------------------------------------------------- g1. put_in


def test_put_in__by_hand(impl, device):
    """A token of norm 5 is replaced by a direction of any length, half as long and twice as long"""
    resid = torch.tensor([[[3.0, 4.0], [1.0, 2.0]], [[0.0, 2.0], [6.0, 8.0]]], device=device)
    where = torch.tensor([[True, False], [False, True]], device=device)
    for length in (1.0, 100.0, 0.01):
        w = length * torch.tensor([0.0, -1.0], device=device)
        for scale, a, b in ((1.0, -5.0, -10.0), (2.0, -10.0, -20.0), (0.5, -2.5, -5.0)):
            want = resid.clone()
            want[0, 0], want[1, 1] = torch.tensor([[0.0, a], [0.0, b]], device=device)
            got = impl.put_in(resid, w, where, scale)
            assert_same(got, want, "row pos d_model", 1e-5, 1e-5, hint=f"scale {scale}")


@BOTH
def test_put_in__agrees_with_the_worked_one(impl, ref, seed, device, dtype):
    """Several tokens in several rows; the others and the inputs stay as they are"""
    g = generator(seed, device)
    resid, w, where = normal(g, 4, 6, 5, dtype=dtype), normal(g, 5, dtype=dtype), coins(g, 4, 6)
    with unchanged(resid, w, where):
        mine = impl.put_in(resid, w, where, 1.7)
    assert_same(mine[~where], resid[~where], "token d_model", hint="tokens outside `where`")
    assert_same(mine, ref.put_in(resid, w, where, 1.7), "row pos d_model", 1e-5, 1e-5)


# ------------------------------------------------------------------------------------- predictions


def test_predict_strongest__is_right(impl, ref):
    """Look at the first number of the three lines"""
    want = ref.predict_strongest
    require(impl.predict_strongest == want, "compare the effects at dose 0.5, whatever they cost")


def test_predict_random_score__is_right(impl, ref):
    """The line of the random directions"""
    want = ref.predict_random_score
    require(impl.predict_random_score == want, "text has structure, and every direction sees some")


def test_predict_back__is_right(impl, ref):
    """Found again alone, in one row of the other SAE"""
    require(impl.predict_back == ref.predict_back, "look at the first line: one row, other seed")


def test_predict_clusters__is_right(impl, ref):
    """The last line of the demo"""
    want = ref.predict_clusters
    require(impl.predict_clusters == want, "the map makes clusters, also of what has none")


def test_predict_holes__is_right(impl, ref):
    """All words of all letters"""
    want = ref.predict_holes
    require(impl.predict_holes == want, "the letters' latents are hardly ever silent here")


def test_predict_meta__is_right(impl, ref):
    """The first and the third line, in training"""
    require(impl.predict_meta == ref.predict_meta, "divide the first number by the third")


def test_predict_which_control__is_right(impl, ref):
    """Random sets of tokens, or random directions"""
    want = ref.predict_which_control
    require(impl.predict_which_control == want, "the set's weights go together in any direction")
