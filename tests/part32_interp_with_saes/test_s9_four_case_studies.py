"""3.2.9: what is right, on small random tensors."""

import itertools
import math

import pytest
import torch

from utils.data.othello import Othello, random_games
from utils.testing import assert_same, generator, require, unchanged


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def coins(g, *shape, share=0.4):
    """Booleans, true with a probability of `share`."""
    return torch.rand(shape, generator=g, device=g.device) < share


def whole(g, high, *shape):
    """Whole numbers from 0 to high - 1."""
    return torch.randint(high, shape, generator=g, device=g.device)


def booleans(rows, device):
    """Rows of 0 and 1 as booleans."""
    return torch.tensor(rows, device=device) > 0


# -------------------------------------------------------------------------- a1. precision_recall


def test_precision_recall__by_hand(impl, device):
    """Four tokens, three latents of which one is silent, two labels of which one never occurs"""
    fires = booleans([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]], device)
    has = booleans([[1, 0], [1, 0], [0, 0], [0, 0]], device)
    precision, recall = impl.precision_recall(fires, has)
    p = torch.tensor([[0.5, 0.0], [1.0, 0.0], [0.0, 0.0]], device=device)
    r = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]], device=device)
    assert_same(precision, p, "latent predicate", what="precision")
    assert_same(recall, r, "latent predicate", what="recall")


def test_precision_recall__swap_when_the_two_are_swapped(impl, seed, device):
    """Latents as labels and labels as latents: precision becomes recall, transposed"""
    g = generator(seed, device)
    fires, has = coins(g, 30, 5), coins(g, 30, 3, share=0.3)
    precision, recall = impl.precision_recall(fires, has)
    again = impl.precision_recall(has, fires)
    assert_same(again[1].T.contiguous(), precision, "latent predicate", what="precision")
    assert_same(again[0].T.contiguous(), recall, "latent predicate", what="recall")


@pytest.mark.parametrize("size", [(17, 4, 6), (1, 3, 2), (40, 2, 2), (23, 7, 1)])
def test_precision_recall__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    n, latents, labels = size
    fires, has = coins(g, n, latents), coins(g, n, labels, share=0.6)
    with unchanged(fires, has):
        mine = impl.precision_recall(fires, has)
    theirs = ref.precision_recall(fires, has)
    assert_same(mine[0], theirs[0], "latent predicate", what="precision")
    assert_same(mine[1], theirs[1], "latent predicate", what="recall")


# -------------------------------------------------------------------------- a2. best_then_scored


def test_best_then_scored__chooses_on_one_half_and_scores_on_the_other(impl, device):
    """The latent that is perfect on the first tokens is poor on the others, and is still chosen"""
    fires = booleans([[1, 1], [0, 1], [1, 0], [0, 1], [0, 1], [0, 0]], device)
    has = booleans([[1], [0], [1], [1], [1], [0]], device)
    first = booleans([1, 1, 1, 0, 0, 0], device)
    chosen, f1 = impl.best_then_scored(fires, has, first)
    assert_same(chosen, torch.tensor([0], device=device), "predicate", what="the latents")
    assert_same(f1, torch.tensor([0.0], device=device), "predicate", what="F1")


def test_best_then_scored__takes_the_first_of_equals_and_gives_0_for_nothing(impl, device):
    """Two equal latents; a label and its latent that do not occur among the other tokens"""
    fires = booleans([[0, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]], device)
    has = booleans([[1, 0], [1, 0], [0, 1], [0, 0]], device)
    first = booleans([1, 0, 1, 0], device)
    chosen, f1 = impl.best_then_scored(fires, has, first)
    assert_same(chosen, torch.tensor([1, 0], device=device), "predicate", what="the latents")
    assert_same(f1, torch.tensor([1.0, 0.0], device=device), "predicate", what="F1")


def test_best_then_scored__does_not_look_at_the_others(impl, seed, device):
    """Other activations and labels outside `first` leave the choice as it is"""
    g = generator(seed, device)
    fires, has, first = coins(g, 40, 6), coins(g, 40, 3), coins(g, 40, share=0.5)
    other = fires.clone(), has.clone()
    other[0][~first], other[1][~first] = ~fires[~first], ~has[~first]
    one, two = (impl.best_then_scored(*pair, first) for pair in ((fires, has), other))
    assert_same(two[0], one[0], "predicate", what="the latents")


def one_best(fires, has):
    """Whether each label has one latent that is clearly best, by F1."""
    on, so = fires.double(), has.double()
    f1 = 2 * (on.T @ so) / (on.sum(dim=0)[:, None] + so.sum(dim=0)).clamp(min=1)
    return int((f1 > f1.amax(dim=0) - 1e-6).sum()) == has.shape[1]


@pytest.mark.parametrize("size", [(25, 4, 6), (60, 7, 2), (31, 1, 3), (40, 5, 5)])
def test_best_then_scored__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes, the halves mixed; the inputs stay as they are"""
    g = generator(seed + 1, device)
    n, latents, labels = size
    while True:  # equal fractions may differ in their last bit: which is the first is not asked
        fires, has, first = coins(g, n, latents), coins(g, n, labels), coins(g, n, share=0.4)
        if one_best(fires[first], has[first]):
            break
    with unchanged(fires, has, first):
        mine = impl.best_then_scored(fires, has, first)
    theirs = ref.best_then_scored(fires, has, first)
    assert_same(mine[0], theirs[0], "predicate", what="the latents")
    assert_same(mine[1], theirs[1], "predicate", what="F1")


# ----------------------------------------------------------------------------- a3. moved_in_rows


def test_moved_in_rows__keeps_each_rows_tokens(impl, seed, device):
    """Every row has the same tokens with the same labels as before, in another order"""
    g = generator(seed, device)
    has = coins(g, 4, 12, 5)
    moved = impl.moved_in_rows(has, generator(seed + 50, device))
    require(moved.shape == has.shape, f"the shape is {tuple(moved.shape)}")
    power = 2 ** torch.arange(5, device=device)
    before, after = ((v.long() * power).sum(dim=2).sort(dim=1).values for v in (has, moved))
    require(bool((before == after).all()), "a token lost its labels, or moved to another row")


def test_moved_in_rows__has_an_order_of_its_own_for_each_row(impl, seed, device):
    """Rows that were alike differ afterwards"""
    has = coins(generator(seed, device), 1, 40, 3).expand(3, 40, 3).contiguous()
    moved = impl.moved_in_rows(has, generator(seed + 51, device))
    require(bool((moved[0] != moved[1]).any()), "the first two rows got the same order")
    require(bool((moved[1] != moved[2]).any()), "the last two rows got the same order")


@pytest.mark.parametrize("size", [(3, 7, 2), (1, 5, 4), (4, 4, 4)])
def test_moved_in_rows__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes; the inputs stay as they are"""
    has = coins(generator(seed + 1, device), *size)
    with unchanged(has):
        mine = impl.moved_in_rows(has, generator(seed + 52, device))
    theirs = ref.moved_in_rows(has, generator(seed + 52, device))
    assert_same(mine, theirs, "row pos predicate")


# ------------------------------------------------------------------------- b1. induction_targets


def test_induction_targets__by_hand(impl, device):
    """A repeated pair, a word that changes its successor, and a word twice in a row"""
    ids = torch.tensor([[5, 7, 5, 8, 5, 7], [3, 3, 3, 4, 3, 4]], device=device)
    expected = torch.tensor([[-1, -1, 7, -1, 8, 5], [-1, 3, 3, -1, 4, 3]], device=device)
    assert_same(impl.induction_targets(ids), expected, "row pos")


def test_induction_targets__are_right_on_a_text_that_repeats(impl, seed, device):
    """Different words, twice: from the second time on the rule names the next word"""
    block = torch.randperm(9, generator=generator(seed, device), device=device) + 4
    ids = torch.cat([block, block])[None]
    found = impl.induction_targets(ids)
    require(bool((found[0, :9] == -1).all()), "a word that is new has no earlier occurrence")
    assert_same(found[0, 9:17], block[1:], "pos", what="the second block")


@pytest.mark.parametrize("size", [(2, 15, 4), (3, 1, 3), (1, 20, 6), (6, 6, 3)])
def test_induction_targets__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes and few words; the inputs stay as they are"""
    rows, n_pos, words = size
    ids = whole(generator(seed + 1, device), words, rows, n_pos)
    with unchanged(ids):
        mine = impl.induction_targets(ids)
    assert_same(mine, ref.induction_targets(ids), "row pos")


# ------------------------------------------------------------------------------ b2. like_density


def test_like_density__by_hand(impl, device):
    """The nearest is chosen already, then taken; a tie goes to the lowest number"""
    density = torch.tensor([0.5, 0.25, 0.75, 0.5, 0.0, 1.0], device=device)
    chosen = torch.tensor([0, 3], device=device)
    expected = torch.tensor([1, 2], device=device)
    assert_same(impl.like_density(density, chosen), expected, "chosen")


def test_like_density__takes_none_twice_and_none_of_the_chosen(impl, seed, device):
    """Half of all latents: the others are the result, each once"""
    g = generator(seed, device)
    density = torch.rand(14, generator=g, device=device)
    chosen = torch.randperm(14, generator=g, device=device)[:7]
    found = impl.like_density(density, chosen)
    every = torch.cat([chosen, found]).sort().values
    require(bool((every == torch.arange(14, device=device)).all()), f"found {found.tolist()}")


@pytest.mark.parametrize("size", [(12, 4), (30, 1), (20, 9), (9, 4)])
def test_like_density__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes, densities that are equal in part; the inputs stay as they are"""
    g = generator(seed + 1, device)
    density = whole(g, 8, size[0]).float() / 16
    chosen = torch.randperm(size[0], generator=g, device=device)[: size[1]]
    with unchanged(density, chosen):
        mine = impl.like_density(density, chosen)
    assert_same(mine, ref.like_density(density, chosen), "chosen")


# ----------------------------------------------------------------------------- b3. rise_contrast


def test_rise_contrast__by_hand(impl, device):
    """A row with both kinds, one without the first, one whose only other prediction is left out"""
    rise = torch.tensor([[1.0, 2.0, 6.0, 9.0], [4.0, 4.0, 4.0, 4.0], [5.0, 1.0, 1.0, 1.0]])
    repeated = booleans([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], device)
    keep = booleans([[1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 1]], device)
    found = impl.rise_contrast(rise.to(device), repeated, keep)
    assert_same(found, torch.tensor([-4.5], device=device), "item")


def test_rise_contrast__is_0_for_an_equal_rise_and_changes_sign(impl, seed, device):
    """A constant gives 0; what is repeated and what is not, swapped, gives the negative"""
    g = generator(seed, device)
    rise, repeated, keep = normal(g, 5, 30), coins(g, 5, 30), coins(g, 5, 30, share=0.8)
    flat = impl.rise_contrast(torch.full_like(rise, 3.0), repeated, keep)
    assert_same(flat, torch.zeros_like(flat), "item", rtol=1e-4, atol=1e-5)
    one, two = (impl.rise_contrast(rise, m, keep) for m in (repeated, ~repeated))
    assert_same(two, -one, "item", rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(4, 9), (7, 3), (1, 20), (5, 5)])
def test_rise_contrast__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes and masks; the inputs stay as they are"""
    g = generator(seed + 1, device)
    rise, repeated = normal(g, *size, dtype=dtype), coins(g, *size)
    keep = coins(g, *size, share=0.7)
    with unchanged(rise, repeated, keep):
        mine = impl.rise_contrast(rise, repeated, keep)
    assert_same(mine, ref.rise_contrast(rise, repeated, keep), "item", rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------ c1. power_law_at


def test_power_law_at__continues_a_power(impl, device):
    """Runs that follow 3 n^(-1/2) exactly, with unequal steps"""
    tokens = torch.tensor([100, 400, 2500, 3600], device=device)
    found = impl.power_law_at(tokens, 3.0 / tokens.float().sqrt(), 1_000_000)
    require(math.isclose(found, 0.003, rel_tol=1e-4), f"the promise is {found}, not 0.003")


def test_power_law_at__does_not_depend_on_units(impl, seed, device):
    """Twice as much left everywhere promises twice as much; ten times the tokens change nothing"""
    g = generator(seed, device)
    tokens = (whole(g, 900, 6) + 100) * 7
    left = torch.rand(6, generator=g, device=device) + 0.1
    once = impl.power_law_at(tokens, left, 50_000)
    twice = impl.power_law_at(tokens, 2 * left, 50_000)
    more = impl.power_law_at(10 * tokens, left, 500_000)
    require(math.isclose(twice, 2 * once, rel_tol=1e-4), f"{twice} is not 2 · {once}")
    require(math.isclose(more, once, rel_tol=1e-4), f"{more} is not {once}")


@pytest.mark.parametrize("n", [2, 5, 9])
def test_power_law_at__agrees_with_the_worked_one(impl, ref, seed, device, n):
    """Other runs, not in order; the inputs stay as they are"""
    g = generator(seed + 1, device)
    tokens = torch.randperm(500, generator=g, device=device)[:n] * 13 + 40
    left = torch.rand(n, generator=g, device=device) * 0.8 + 0.05
    with unchanged(tokens, left):
        mine = impl.power_law_at(tokens, left, 80_000)
    assert_same(mine, ref.power_law_at(tokens, left, 80_000), rtol=1e-4)


# ----------------------------------------------------------------------------- c2. jaccard_table


def test_jaccard_table__by_hand(impl, device):
    """Five tokens; a latent of each side is silent"""
    a = booleans([[1, 0], [1, 0], [1, 0], [0, 0], [0, 0]], device)
    b = booleans([[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], device)
    expected = torch.tensor([[0.5, 0.0, 1 / 3], [0.0, 0.0, 0.0]], device=device)
    assert_same(impl.jaccard_table(a, b), expected, "latent m")


def test_jaccard_table__of_an_sae_with_itself_is_symmetric_with_ones(impl, seed, device):
    """1 for each latent with itself, and the same both ways"""
    a = coins(generator(seed, device), 40, 6)
    table = impl.jaccard_table(a, a)
    assert_same(table, table.T.contiguous(), "latent m")
    assert_same(table.diagonal(), torch.ones(6, device=device), "latent", what="the diagonal")


@pytest.mark.parametrize("size", [(20, 3, 5), (1, 2, 4), (33, 6, 1), (12, 4, 4)])
def test_jaccard_table__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    a, b = coins(g, size[0], size[1]), coins(g, size[0], size[2], share=0.6)
    with unchanged(a, b):
        mine = impl.jaccard_table(a, b)
    assert_same(mine, ref.jaccard_table(a, b), "latent m")


# ----------------------------------------------------------------------------- d1. square_states


def test_square_states__by_hand(impl, device):
    """A board of 2 × 2: empty, mine, theirs, empty"""
    found = impl.square_states(torch.tensor([[[0, 1], [2, 0]]], device=device))
    expected = booleans([[1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0]], device)
    assert_same(found, expected, "n square_state")


def test_square_states__has_one_state_for_each_square(impl, seed, device):
    """The three parts exclude each other and fill the board; the board can be read back"""
    board = whole(generator(seed, device), 3, 4, 6, 6)
    parts = impl.square_states(board).reshape(4, 3, 6, 6)
    require(bool((parts.sum(dim=1) == 1).all()), "a square has not exactly one state")
    assert_same(parts[:, 1].long() + 2 * parts[:, 2].long(), board, "n side side")


@pytest.mark.parametrize("size", [(3, 4), (1, 6), (5, 2), (16, 4)])
def test_square_states__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other boards; the inputs stay as they are"""
    board = whole(generator(seed + 1, device), 3, size[0], size[1], size[1])
    with unchanged(board):
        mine = impl.square_states(board)
    assert_same(mine, ref.square_states(board), "n square_state")


# ---------------------------------------------------------------------------- d2. state_coverage


def test_state_coverage__finds_the_right_threshold(impl, device):
    """A latent that is right above half of its maximum, a silent one, a state that never holds"""
    f = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [8.0, 0.0], [9.0, 0.0]], device=device)
    has = booleans([[0, 0], [0, 0], [0, 0], [1, 0], [1, 0]], device)
    found = impl.state_coverage(f, has)
    assert_same(found, torch.tensor([1.0, 0.0], device=device), "square_state")


def test_state_coverage__is_strict_and_goes_up_to_nine_tenths(impl, device):
    """Values on the threshold do not count; only the share 0.9 tells 9 from 10"""
    f = torch.tensor([[10.0], [9.0], [9.0], [9.0], [0.0]], device=device)
    has = booleans([[1], [0], [0], [0], [0]], device)
    assert_same(impl.state_coverage(f, has), torch.ones(1, device=device), "square_state")


def test_state_coverage__does_not_depend_on_units_of_latents(impl, seed, device):
    """Latents times powers of two, in another order: the same; another latent never lowers it"""
    g = generator(seed, device)
    f, has = normal(g, 30, 5).relu(), coins(g, 30, 4)
    once = impl.state_coverage(f, has)
    scaled = f[:, [3, 1, 4, 0, 2]] * 2.0 ** torch.arange(5, device=device)
    assert_same(impl.state_coverage(scaled, has), once, "square_state")
    fewer = impl.state_coverage(f[:, :3].contiguous(), has)
    require(bool((fewer <= once + 1e-6).all()), "with fewer latents the coverage is higher")


@pytest.mark.parametrize("size", [(20, 3, 5), (7, 4, 2), (40, 1, 6), (15, 4, 4)])
def test_state_coverage__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes, a silent latent among them; the inputs stay as they are"""
    g = generator(seed + 1, device)
    f, has = normal(g, size[0], size[1]).relu(), coins(g, size[0], size[2])
    f[:, -1] *= 0 if size[1] > 1 else 1
    with unchanged(f, has):
        mine = impl.state_coverage(f, has)
    assert_same(mine, ref.state_coverage(f, has), "square_state", rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------- d3. precise_rules


def test_precise_rules__by_hand(impl, device):
    """Exactly 3 of 4 and 4 times; one too rare; one that is never active"""
    fires = booleans([[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]], device)
    has = booleans([[1, 0], [1, 0], [1, 1], [0, 1], [1, 0]], device)
    found = impl.precise_rules(fires, has, 0.75, 4)
    assert_same(found, booleans([[1, 0], [0, 0], [0, 0]], device), "latent square_state")
    found = impl.precise_rules(fires, has, 0.5, 3)
    assert_same(found, booleans([[1, 1], [1, 1], [0, 0]], device), "latent square_state")


def test_precise_rules__become_fewer_when_more_is_asked(impl, seed, device):
    """Every rule at 0.7 is one at 0.5; every rule for 8 cases is one for 4"""
    g = generator(seed, device)
    fires, has = coins(g, 30, 8, share=0.3), coins(g, 30, 5, share=0.6)
    lax, strict = (impl.precise_rules(fires, has, least, 4) for least in (0.5, 0.7))
    rare = impl.precise_rules(fires, has, 0.5, 8)
    require(not bool((strict & ~lax).any()), "a rule at 0.7 is none at 0.5")
    require(not bool((rare & ~lax).any()), "a rule for 8 cases is none for 4")


@pytest.mark.parametrize("least", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("size", [(24, 6, 3), (9, 2, 5), (40, 4, 4)])
def test_precise_rules__agree_with_the_worked_ones(impl, ref, seed, device, size, least):
    """Other sizes and limits; the inputs stay as they are"""
    g = generator(seed + 1, device)
    fires = coins(g, size[0], size[1], share=0.2)
    has = coins(g, size[0], size[2], share=0.7)
    with unchanged(fires, has):
        mine = impl.precise_rules(fires, has, least, 2)
    assert_same(mine, ref.precise_rules(fires, has, least, 2), "latent square_state")


# ------------------------------------------------------------------------------ d4. board_scores


def test_board_scores__by_hand(impl, device):
    """Two latents agree, one is wrong; a board with nothing drawn"""
    rules = booleans([[1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0]], device)
    fires = booleans([[1, 1, 0], [0, 1, 1], [0, 0, 0]], device)
    has = booleans([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0]], device)
    found = impl.board_scores(fires, rules, has)
    assert_same(found, torch.tensor([1.0, 0.4, 0.0], device=device), "n")


def test_board_scores__are_1_where_the_rules_are_the_board(impl, seed, device):
    """A latent for each state that is active where it holds; silent ones change nothing"""
    has = coins(generator(seed, device), 6, 9)
    has[:, 0] = True
    rules = torch.eye(9, dtype=torch.bool, device=device)
    assert_same(impl.board_scores(has, rules, has), torch.ones(6, device=device), "n")
    silent = torch.zeros(6, 9, dtype=torch.bool, device=device)
    assert_same(impl.board_scores(silent, rules, has), torch.zeros(6, device=device), "n")


@pytest.mark.parametrize("size", [(5, 4, 9), (1, 6, 3), (8, 2, 12), (7, 7, 7)])
def test_board_scores__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    n, latents, states = size
    fires, rules = coins(g, n, latents), coins(g, latents, states, share=0.3)
    has = coins(g, n, states)
    has[:, 1] = True
    with unchanged(fires, rules, has):
        mine = impl.board_scores(fires, rules, has)
    assert_same(mine, ref.board_scores(fires, rules, has), "n")


# ------------------------------------------------------------------------------- d5. legal_moves


def test_legal_moves__of_the_start_and_of_lines(impl, device):
    """Four moves at the start; a line to the edge is open; own discs in a row close nothing"""
    board = torch.zeros(3, 6, 6, dtype=torch.int64, device=device)
    board[0, 2, 3] = board[0, 3, 2] = 1
    board[0, 2, 2] = board[0, 3, 3] = 2
    board[1, 0] = torch.tensor([0, 2, 2, 2, 2, 2])
    board[1, 5] = torch.tensor([0, 2, 2, 2, 2, 1])
    board[2, 1] = torch.tensor([0, 1, 2, 0, 2, 1])
    found = [impl.legal_moves(board)[i].nonzero().tolist() for i in range(3)]
    require(found[0] == [[1, 2], [2, 1], [3, 4], [4, 3]], f"at the start: {found[0]}")
    require(found[1] == [[5, 0]], f"two rows of theirs: {found[1]}; one is closed by mine")
    require(found[2] == [[1, 3]], f"one row: {found[2]}; (1, 0) has mine next to it")


@pytest.mark.parametrize("side", [4, 6, 8])
def test_legal_moves__are_those_of_the_game(impl, seed, device, side):
    """On random games, as the course's own rules have it"""
    game = Othello(side)
    played = random_games(game, 5, min(24, side * side - 4), generator(seed))
    board = played.board.long().flatten(0, 1).to(device)
    found = impl.legal_moves(board).cpu()
    squares = torch.stack([found[:, r, c] for r, c in game.playable], dim=1)
    assert_same(squares, played.legal.flatten(0, 1)[:, 2:], "n token")


def test_legal_moves__turn_with_the_board(impl, seed, device):
    """A board turned by a quarter, or seen in a mirror, has the same moves, turned"""
    board = whole(generator(seed, device), 3, 6, 5, 5)
    found = impl.legal_moves(board)
    turned = impl.legal_moves(board.rot90(1, (1, 2)).contiguous())
    assert_same(turned, found.rot90(1, (1, 2)), "n side side", what="the turned board")
    mirror = impl.legal_moves(board.flip(1).contiguous())
    assert_same(mirror, found.flip(1), "n side side", what="the mirrored board")


@pytest.mark.parametrize("size", [(6, 4), (3, 6), (1, 8), (4, 3)])
def test_legal_moves__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Random discs, as no game has them; the inputs stay as they are"""
    board = whole(generator(seed + 1, device), 3, size[0], size[1], size[1])
    with unchanged(board):
        mine = impl.legal_moves(board)
    assert_same(mine, ref.legal_moves(board), "n side side")


# ------------------------------------------------------------------------------- d6. move_errors


def test_move_errors__by_hand(impl, device):
    """Two legal tokens, one of them said; one legal token, said; none legal"""
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 1.0, 2.0], [4.0, 3.0, 2.0, 1.0]])
    legal = booleans([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], device)
    found = impl.move_errors(logits.to(device), legal)
    assert_same(found, torch.tensor([2, 0, 0], device=device), "n")


def test_move_errors__are_even_and_0_for_perfect_logits(impl, seed, device):
    """As many are missing as are too many; legal tokens on top give 0"""
    g = generator(seed, device)
    logits, legal = normal(g, 12, 9), coins(g, 12, 9)
    found = impl.move_errors(logits, legal)
    require(bool((found % 2 == 0).all()), f"an odd number of errors: {found.tolist()}")
    top = impl.move_errors(logits + 100 * legal, legal)
    require(not bool(top.any()), f"the legal ones are on top, and errors are {top.tolist()}")


@pytest.mark.parametrize("size", [(5, 7), (1, 12), (9, 3), (6, 6)])
def test_move_errors__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    logits, legal = normal(g, *size), coins(g, *size)
    with unchanged(logits, legal):
        mine = impl.move_errors(logits, legal)
    assert_same(mine, ref.move_errors(logits, legal), "n")


# ----------------------------------------------------------------------- d7. written_by_largest


def test_written_by_largest__by_hand(impl, device):
    """The strongest latent has a short row: it writes less than another"""
    delta = torch.tensor([[4.0, -1.0, 2.0], [0.0, 3.0, -5.0]], device=device)
    W_dec = torch.tensor([[0.1, 0.0], [0.0, 3.0], [1.0, 0.0]], device=device)
    one = impl.written_by_largest(delta, W_dec, 1)
    assert_same(one, torch.tensor([[0.0, -3.0], [0.0, 9.0]], device=device), "n d_in")
    two = impl.written_by_largest(delta, W_dec, 2)
    assert_same(two, torch.tensor([[2.0, -3.0], [-5.0, 9.0]], device=device), "n d_in")


def test_written_by_largest__with_all_latents_is_the_whole_sum(impl, seed, device):
    """m = all: the product; m = 0: nothing; twice the difference writes twice as much"""
    g = generator(seed, device)
    delta, W_dec = normal(g, 4, 7), normal(g, 7, 3)
    every = impl.written_by_largest(delta, W_dec, 7)
    assert_same(every, delta @ W_dec, "n d_in", rtol=1e-4, atol=1e-5)
    none = impl.written_by_largest(delta, W_dec, 0)
    assert_same(none, torch.zeros_like(every), "n d_in")
    one, two = (impl.written_by_largest(c * delta, W_dec, 3) for c in (1, -2))
    assert_same(two, -2 * one, "n d_in", rtol=1e-4, atol=1e-5)


def test_written_by_largest__is_no_worse_than_any_other_choice_of_orthogonal_rows(impl, device):
    """Of all pairs of orthogonal rows, the chosen one leaves the shortest rest"""
    delta = torch.tensor([[1.0, -2.0, 0.5, 3.0]], device=device)
    W_dec = torch.diag(torch.tensor([5.0, 1.0, 2.0, 1.0], device=device))
    rest = (delta @ W_dec - impl.written_by_largest(delta, W_dec, 2)).norm()
    for pair in itertools.combinations(range(4), 2):
        kept = delta[:, pair] @ W_dec[list(pair)]
        require(rest <= (delta @ W_dec - kept).norm() + 1e-5, f"latents {pair} would be better")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(3, 8, 5, 2), (1, 6, 4, 3), (6, 6, 6, 4)])
def test_written_by_largest__agrees_with_the_worked_one(impl, ref, seed, device, size, dtype):
    """Other sizes; the inputs stay as they are"""
    g = generator(seed + 1, device)
    n, latents, d, m = size
    delta, W_dec = normal(g, n, latents, dtype=dtype), normal(g, latents, d, dtype=dtype)
    W_dec = W_dec * torch.rand(latents, 1, generator=g, device=device).to(dtype) * 3
    with unchanged(delta, W_dec):
        mine = impl.written_by_largest(delta, W_dec, m)
    assert_same(mine, ref.written_by_largest(delta, W_dec, m), "n d_in", rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------- predictions


def test_predict_moved__is_right(impl, ref):
    """What a label of the whole story keeps when labels are moved within rows"""
    want = ref.predict_moved
    require(
        impl.predict_moved == want,
        "a row still has as many of its labels as before: the story can be recognised",
    )


def test_predict_untrained__is_right(impl, ref):
    """What part of the trained F1 a random SAE reaches"""
    want = ref.predict_untrained
    require(impl.predict_untrained == want, "compare the first two lines of the demo")


def test_predict_family__is_right(impl, ref):
    """The family's part of what all of z does for repeated tokens"""
    want = ref.predict_family
    require(impl.predict_family == want, "the last line of the demo says it")


def test_predict_law__is_right(impl, ref):
    """What the shipped SAE leaves, against the promise"""
    want = ref.predict_law
    require(
        impl.predict_law == want,
        "the law is fitted where tokens are few, and nothing tells it what else may run out",
    )


def test_predict_coverage__is_right(impl, ref):
    """Who has the highest coverage"""
    want = ref.predict_coverage
    require(
        impl.predict_coverage == want,
        "how often must a unit be active, to have a high recall for a frequent state?",
    )


def test_predict_drawn__is_right(impl, ref):
    """From which the best boards are drawn"""
    want = ref.predict_drawn
    require(impl.predict_drawn == want, "who is right whenever it speaks?")


def test_predict_one_latent__is_right(impl, ref):
    """What one latent brings of the whole improvement"""
    want = ref.predict_one_latent
    require(impl.predict_one_latent == want, "the last line of the demo says it")
