"""Wrong answers that learners of 3.2.9 give, each with what a tutor would say."""

import torch
from torch.nn.functional import pad

# -------------------------------------------------------------------------- a1. precision_recall


def _both(a, b):
    return a.float().T @ b.float()


def precision_recall__swapped(fires, has):
    """You return recall first. Precision is divided by how often the latent is active."""
    both = _both(fires, has)
    return both / has.sum(0).clamp(min=1), both / fires.sum(0).clamp(min=1)[:, None]


def precision_recall__nan_for_nothing(fires, has):
    """Where nothing is counted you divide 0 by 0. Divide by at least 1 there: the count is 0."""
    both = _both(fires, has)
    return both / fires.sum(0)[:, None], both / has.sum(0)


def precision_recall__over_all_tokens(fires, has):
    """You divide by the number of tokens. Precision is a share of the latent's active tokens,
    recall one of the label's tokens."""
    both = _both(fires, has) / len(fires)
    return both, both.clone()


def precision_recall__labels_first(fires, has):
    """Your tables have labels as rows. Latents are the rows here."""
    both = _both(has, fires)
    return both / fires.sum(0).clamp(min=1), both / has.sum(0).clamp(min=1)[:, None]


def precision_recall__agreement(fires, has):
    """You also count tokens where both are false. Both shares are about tokens where both are
    true."""
    both = _both(fires, has) + _both(~fires, ~has)
    return both / fires.sum(0).clamp(min=1)[:, None], both / has.sum(0).clamp(min=1)


def precision_recall__adds_one(fires, has):
    """You add 1 to the counts that you divide by. That avoids 0 / 0, but it changes all shares:
    take the maximum of the count and 1."""
    both = _both(fires, has)
    return both / (fires.sum(0) + 1)[:, None], both / (has.sum(0) + 1)


def precision_recall__any_label(fires, has):
    """Your recall is a share of the tokens with *any* label. Each label has a count of its own."""
    both, n = _both(fires, has), has.any(1).sum().clamp(min=1)
    return both / fires.sum(0).clamp(min=1)[:, None], both / n


# -------------------------------------------------------------------------- a2. best_then_scored


def _f1(fires, has):
    total = fires.sum(0)[:, None] + has.sum(0)
    return 2 * _both(fires, has) / total.clamp(min=1)


def best_then_scored__scored_where_chosen(fires, has, first):
    """You score on the tokens on which you chose. The best of many is lucky there; score on the
    others."""
    table = _f1(fires[first], has[first])
    return table.argmax(0), table.max(0).values


def best_then_scored__scored_on_all(fires, has, first):
    """You score on all tokens, and those on which you chose are among them. Score on the others
    alone."""
    chosen = _f1(fires[first], has[first]).argmax(0)
    return chosen, _f1(fires, has)[chosen, torch.arange(has.shape[1])]


def best_then_scored__chosen_on_the_others(fires, has, first):
    """You choose where `first` is false and score where it is true: the other way round."""
    chosen = _f1(fires[~first], has[~first]).argmax(0)
    return chosen, _f1(fires[first], has[first])[chosen, torch.arange(has.shape[1])]


def best_then_scored__chosen_on_all(fires, has, first):
    """You choose on all tokens, so the score has been looked at. Choose where `first` is true
    only."""
    chosen = _f1(fires, has).argmax(0)
    return chosen, _f1(fires[~first], has[~first])[chosen, torch.arange(has.shape[1])]


def best_then_scored__best_of_the_others(fires, has, first):
    """Your score is that of the best latent on the other tokens. It belongs to the latent that
    was chosen before."""
    chosen = _f1(fires[first], has[first]).argmax(0)
    return chosen, _f1(fires[~first], has[~first]).max(0).values


def best_then_scored__by_precision(fires, has, first):
    """You choose by precision alone. A latent that is active once, in the right place, would
    win."""
    part = fires[first]
    precision = _both(part, has[first]) / part.sum(0).clamp(min=1)[:, None]
    chosen = precision.argmax(0)
    return chosen, _f1(fires[~first], has[~first])[chosen, torch.arange(has.shape[1])]


def best_then_scored__last_of_equals(fires, has, first):
    """Of equal latents you take the one with the highest number. Ties go to the lowest."""
    table = _f1(fires[first], has[first])
    chosen = len(table) - 1 - table.flip(0).argmax(0)
    return chosen, _f1(fires[~first], has[~first])[chosen, torch.arange(has.shape[1])]


def best_then_scored__a_label_per_latent(fires, has, first):
    """You choose a label for each latent. Asked for is a latent for each label: the other axis."""
    chosen = _f1(fires[first], has[first]).argmax(1)
    return chosen, _f1(fires[~first], has[~first])[torch.arange(fires.shape[1]), chosen]


# ----------------------------------------------------------------------------- a3. moved_in_rows


def moved_in_rows__one_order_for_all(has, gen):
    """All rows get the order of the first one. Each row has an order of its own."""
    order = torch.rand(has.shape[:2], generator=gen, device=gen.device)[0].argsort()
    return has[:, order]


def moved_in_rows__rows_mixed(has, gen):
    """You move labels between rows. Then it also changes which story has which labels."""
    flat = has.flatten(0, 1)
    order = torch.rand(has.shape[:2], generator=gen, device=gen.device).flatten().argsort()
    return flat[order].view_as(has)


def moved_in_rows__labels_apart(has, gen):
    """You give each label an order of its own. The labels of a token stay together."""
    order = torch.rand(has.shape, generator=gen, device=gen.device).argsort(1)
    return has.gather(1, order)


def moved_in_rows__ranks(has, gen):
    """You use ranks where the order is asked for: position i takes what lies at the position
    with the i-th smallest number. One argsort, not two."""
    order = torch.rand(has.shape[:2], generator=gen, device=gen.device).argsort(1).argsort(1)
    return has.gather(1, order[..., None].expand_as(has))


def moved_in_rows__rows_as_a_whole(has, gen):
    """You shuffle whole rows. Positions within a row are to move."""
    order = torch.rand(has.shape[:2], generator=gen, device=gen.device)[:, 0].argsort()
    return has[order]


def moved_in_rows__shifted(has, gen):
    """You shift each row by some number of positions. Neighbours stay neighbours then; draw an
    order."""
    by = torch.rand(has.shape[:2], generator=gen, device=gen.device)[:, 0] * has.shape[1]
    rows = [row.roll(1 + int(n), 0) for row, n in zip(has, by, strict=True)]
    return torch.stack(rows)


def moved_in_rows__with_replacement(has, gen):
    """You draw positions with replacement: some come twice, others not at all. A permutation
    has each once."""
    order = torch.rand(has.shape[:2], generator=gen, device=gen.device)
    order = (order * has.shape[1]).long()
    return has.gather(1, order[..., None].expand_as(has))


# ------------------------------------------------------------------------- b1. induction_targets


def _targets(ids, earliest=False, inclusive=False, ahead=1):
    out = torch.full_like(ids, -1)
    for r, row in enumerate(ids.tolist()):
        for i, token in enumerate(row):
            places = [j for j in range(i + inclusive) if row[j] == token]
            if places:
                j = places[0] if earliest else places[-1]
                out[r, i] = row[min(j + ahead, len(row) - 1)]
    return out


def induction_targets__earliest(ids):
    """You take the first occurrence of the token. The latest one before this position counts."""
    return _targets(ids, earliest=True)


def induction_targets__itself(ids):
    """A token is no earlier occurrence of itself: j < i, not j ≤ i. You look into the future."""
    return _targets(ids, inclusive=True)


def induction_targets__the_token_itself(ids):
    """You return the token at j, which is the token itself. Wanted is what came after it."""
    return _targets(ids, ahead=0)


def induction_targets__two_behind(ids):
    """You look two places behind the earlier occurrence. It is one."""
    return _targets(ids, ahead=2)


def induction_targets__zero_for_none(ids):
    """Where there is no earlier occurrence you return 0, which is a token. Return -1."""
    return _targets(ids).clamp(min=0)


def induction_targets__positions(ids):
    """You return the position behind the earlier occurrence. Wanted is the token there."""
    i = torch.arange(ids.shape[1])
    same = (ids[:, :, None] == ids[:, None, :]) & (i[None, :] < i[:, None])
    latest = torch.where(same, i, -1).amax(2)
    return torch.where(latest >= 0, latest + 1, -1)


def induction_targets__not_from_neighbours(ids):
    """You leave out j = i - 1. If a word comes twice in a row, what followed it is the word
    itself."""
    found = _targets(ids)
    found[:, 1:][ids[:, 1:] == ids[:, :-1]] = -1
    return found


def induction_targets__not_yet_the_one_before(ids):
    """You look at positions up to i - 2. The one directly before is earlier, too: j < i."""
    i = torch.arange(ids.shape[1])
    same = (ids[:, :, None] == ids[:, None, :]) & (i[None, :] < i[:, None] - 1)
    latest = torch.where(same, i, -1).amax(2)
    return torch.where(latest >= 0, ids.gather(1, latest + 1), -1)


def induction_targets__first_place_lost(ids):
    """You find nothing where the earlier occurrence is at position 0. That is a position like any
    other: which number can stand for "there is none"?"""
    i = torch.arange(ids.shape[1])
    same = (ids[:, :, None] == ids[:, None, :]) & (i[None, :] < i[:, None])
    latest = torch.where(same, i, 0).amax(2)
    after = ids.gather(1, (latest + 1).clamp(max=ids.shape[1] - 1))
    return torch.where(latest > 0, after, -1)


def induction_targets__the_word_before(ids):
    """You return what stood *before* the earlier occurrence. Induction copies what came after
    it."""
    i = torch.arange(ids.shape[1])
    same = (ids[:, :, None] == ids[:, None, :]) & (i[None, :] < i[:, None])
    latest = torch.where(same, i, -1).amax(2)
    before = ids.gather(1, (latest - 1).clamp(min=0))
    return torch.where(latest >= 0, before, -1)


# ------------------------------------------------------------------------------ b2. like_density


def _greedy(density, chosen, distance, blocked=True, again=False):
    free = torch.ones_like(density, dtype=torch.bool)
    if blocked:
        free[chosen] = False
    found = []
    for d in density[chosen]:
        away = torch.where(free, distance(density, d), torch.inf)
        found.append(int(away.argmin()))
        free[found[-1]] = again
    return torch.tensor(found, dtype=torch.int64)


def like_density__twice(density, chosen):
    """A latent may be taken twice in your answer. Mark it as taken."""
    return _greedy(density, chosen, lambda a, b: (a - b).abs(), again=True)


def like_density__may_be_chosen(density, chosen):
    """You may return latents of `chosen`: nearest to a latent is the latent itself. They are
    not free."""
    return _greedy(density, chosen, lambda a, b: (a - b).abs(), blocked=False)


def like_density__only_itself_left_out(density, chosen):
    """You leave out the latent itself, but not the others of `chosen`. None of them may be a
    control."""
    free, found = torch.ones_like(density, dtype=torch.bool), []
    for c in chosen.tolist():
        mine = free.clone()
        mine[c] = False
        found.append(int(torch.where(mine, (density - density[c]).abs(), torch.inf).argmin()))
        free[found[-1]] = False
    return torch.tensor(found, dtype=torch.int64)


def like_density__never_rarer(density, chosen):
    """You only look at latents that are at least as frequent. The nearest may be rarer."""
    return _greedy(
        density, chosen, lambda a, b: torch.where(a >= b, a - b, 1e3 + b - a), blocked=True
    )


def like_density__by_ratio(density, chosen):
    """You compare logarithms of densities, so their ratio decides. Nearest is meant as it stands:
    the smallest difference."""
    return _greedy(
        density, chosen, lambda a, b: (a.clamp(min=1e-9).log() - b.clamp(min=1e-9).log()).abs()
    )


def like_density__last_of_equals(density, chosen):
    """Of two equally near latents you take the higher number. Ties go to the lowest."""
    n = len(density)
    return n - 1 - _greedy(density.flip(0), n - 1 - chosen, lambda a, b: (a - b).abs())


def like_density__the_densest(density, chosen):
    """You take the most frequent of the others. The control is to be *as* frequent."""
    return _greedy(density, chosen, lambda a, b: -a)


def like_density__sorted_first(density, chosen):
    """You go through the chosen latents in the order of their density. They are served in their
    own order."""
    order = density[chosen].argsort()
    found = _greedy(density, chosen[order], lambda a, b: (a - b).abs())
    return torch.zeros_like(found).scatter(0, order, found)


# ----------------------------------------------------------------------------- b3. rise_contrast


def _contrast(rise, here, there):
    both = here.any(1) & there.any(1)
    a, b = ((rise * m).sum(1)[both] / m.sum(1)[both] for m in (here, there))
    return a - b


def rise_contrast__keep_forgotten(rise, repeated, keep):
    """You use predictions where `keep` is false."""
    return _contrast(rise, repeated, ~repeated)


def rise_contrast__there_is_all_else(rise, repeated, keep):
    """`keep` holds for both means. Your second one counts all predictions that are not repeated."""
    return _contrast(rise, repeated & keep, ~repeated)


def rise_contrast__there_is_all_but_here(rise, repeated, keep):
    """Your second mean takes all that is not in the first, with the predictions where `keep` is
    false among them. Those belong to neither."""
    here = repeated & keep
    return _contrast(rise, here, ~here)


def rise_contrast__against_all(rise, repeated, keep):
    """You compare with *all* predictions of the row, the repeated ones among them. Compare with
    the others."""
    here, there = repeated & keep, ~repeated & keep
    both = here.any(1) & there.any(1)
    a, b = ((rise * m).sum(1)[both] / m.sum(1)[both] for m in (here, keep))
    return a - b


def rise_contrast__the_wrong_way(rise, repeated, keep):
    """Your sign is the wrong way round: repeated minus the others."""
    return -_contrast(rise, repeated & keep, ~repeated & keep)


def rise_contrast__sums(rise, repeated, keep):
    """You subtract sums. Rows have more of one kind than of the other: means."""
    here, there = repeated & keep, ~repeated & keep
    both = here.any(1) & there.any(1)
    return ((rise * here).sum(1) - (rise * there).sum(1))[both]


def rise_contrast__means_over_the_row(rise, repeated, keep):
    """You divide by the length of the row. Divide by how many predictions of that kind there
    are."""
    here, there = repeated & keep, ~repeated & keep
    both = here.any(1) & there.any(1)
    return ((rise * here).mean(1) - (rise * there).mean(1))[both]


def rise_contrast__zero_for_rows_without(rise, repeated, keep):
    """A row that lacks one kind gets a mean of 0 in your answer. Such a row says nothing: leave
    it out."""
    here, there = repeated & keep, ~repeated & keep
    a, b = ((rise * m).sum(1) / m.sum(1).clamp(min=1) for m in (here, there))
    return a - b


def rise_contrast__nan_kept(rise, repeated, keep):
    """Rows that lack one kind come out as NaN. Leave them out."""
    here, there = repeated & keep, ~repeated & keep
    a, b = ((rise * m).sum(1) / m.sum(1) for m in (here, there))
    return a - b


# ------------------------------------------------------------------------------ c1. power_law_at


def _line(x, y, at):
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return y.mean() + slope * (at - x.mean())


def _log(value):
    return torch.tensor(float(value), dtype=torch.float64).log()


def power_law_at__no_logarithm(tokens, left, more):
    """You fit a straight line to the numbers. A power is a line only in the logarithms of both."""
    return float(_line(tokens.double(), left.double(), more))


def power_law_at__exponential(tokens, left, more):
    """You take the logarithm of what is left, not of the tokens: that is an exponential decay."""
    return float(_line(tokens.double(), left.double().log(), more).exp())


def power_law_at__logarithm_of_tokens_only(tokens, left, more):
    """You take the logarithm of the tokens only. Then the line falls below 0 some time."""
    return float(_line(tokens.double().log(), left.double(), _log(more)))


def power_law_at__not_back(tokens, left, more):
    """You return the logarithm of the promise. Take the exponential at the end."""
    return float(_line(tokens.double().log(), left.double().log(), _log(more)))


def power_law_at__base_mixed(tokens, left, more):
    """You fit in logarithms of base 10 and go back with e. Use the same base for both ways."""
    log10 = 2.302585092994046
    line = _line(tokens.double().log10(), left.double().log10(), _log(more) / log10)
    return float(line.exp())


def power_law_at__two_points(tokens, left, more):
    """You use the first and the last run. The line is fitted to all of them."""
    x, y = tokens.double().log()[[0, -1]], left.double().log()[[0, -1]]
    return float((y[1] + (y[1] - y[0]) / (x[1] - x[0]) * (_log(more) - x[1])).exp())


def power_law_at__through_the_last(tokens, left, more):
    """Your line has the right slope and goes through the last run. The least-squares line goes
    through the means."""
    x, y = tokens.double().log(), left.double().log()
    slope = _line(x, y, 1.0) - _line(x, y, 0.0)
    return float((y[-1] + slope * (_log(more) - x[-1])).exp())


def power_law_at__through_the_plain_means(tokens, left, more):
    """Your exponent is right, but your curve goes through the means of the numbers. The line goes
    through the means of the *logarithms*."""
    x, y = tokens.double().log(), left.double().log()
    slope = _line(x, y, 1.0) - _line(x, y, 0.0)
    return float(left.double().mean() * (more / tokens.double().mean()) ** slope)


def power_law_at__through_the_origin(tokens, left, more):
    """Your line goes through the origin: you fit the power without the constant c."""
    x, y = tokens.double().log(), left.double().log()
    return float(((x * y).sum() / (x * x).sum() * _log(more)).exp())


# ----------------------------------------------------------------------------- c2. jaccard_table


def jaccard_table__f1(a, b):
    """That is F1: twice the intersection over the sum of both. Here it is over the union."""
    total = a.sum(0)[:, None] + b.sum(0)
    return 2 * _both(a, b) / total.clamp(min=1)


def jaccard_table__over_all_tokens(a, b):
    """You divide by all tokens. Tokens on which both are silent do not count."""
    return _both(a, b) / len(a)


def jaccard_table__over_the_first(a, b):
    """You divide by how often the first latent is active. The union is meant, and it is
    symmetric."""
    return _both(a, b) / a.sum(0).clamp(min=1)[:, None]


def jaccard_table__union_too_large(a, b):
    """You divide by the sum of both counts, which counts the intersection twice. Subtract it
    once."""
    return _both(a, b) / (a.sum(0)[:, None] + b.sum(0)).clamp(min=1)


def jaccard_table__nan_for_silent(a, b):
    """Two silent latents give 0 / 0. They have 0."""
    both = _both(a, b)
    return both / (a.sum(0)[:, None] + b.sum(0) - both)


def jaccard_table__agreement(a, b):
    """You count tokens where both are silent as agreement. Most latents are silent nearly
    everywhere."""
    return (_both(a, b) + _both(~a, ~b)) / len(a)


def jaccard_table__over_the_smaller(a, b):
    """You divide by the smaller count. A latent inside a larger one would then be the same as
    it."""
    least = torch.minimum(a.sum(0)[:, None], b.sum(0))
    return _both(a, b) / least.clamp(min=1)


# ----------------------------------------------------------------------------- d1. square_states


def square_states__interleaved(board):
    """Your states are ordered by square. First all squares' "empty", then "mine", then "theirs"."""
    squares = board.flatten(1)
    return torch.stack([squares == s for s in range(3)], dim=2).flatten(1)


def square_states__without_empty(board):
    """The empty square is a state, too: 0, 1 and 2."""
    squares = board.flatten(1)
    return torch.cat([squares == s for s in (1, 2)], dim=1)


def square_states__column_by_column(board):
    """You go through the board column by column. Row by row is asked for."""
    squares = board.transpose(1, 2).flatten(1)
    return torch.cat([squares == s for s in range(3)], dim=1)


def square_states__theirs_first(board):
    """You have theirs before mine. The order is that of the numbers: 0, 1, 2."""
    squares = board.flatten(1)
    return torch.cat([squares == s for s in (0, 2, 1)], dim=1)


def square_states__occupied(board):
    """Your first part says "occupied". State 0 is the empty square."""
    squares = board.flatten(1)
    return torch.cat([squares != 0, squares == 1, squares == 2], dim=1)


def square_states__at_least(board):
    """You compare with ≥: a square of theirs would be mine, too. Each square has exactly one
    state."""
    squares = board.flatten(1)
    return torch.cat([squares == 0, squares >= 1, squares >= 2], dim=1)


def square_states__numbers(board):
    """You return numbers. Labels are booleans here, so that `&` and counting work."""
    squares = board.flatten(1)
    return torch.cat([(squares == s).long() for s in range(3)], dim=1)


# ---------------------------------------------------------------------------- d2. state_coverage


def _cover(f, has, shares, top=None, strict=True, score=_f1):
    best = torch.zeros(has.shape[1], device=f.device)
    top = f.max(0).values if top is None else top
    for share in shares:
        on = f > share * top if strict else f >= share * top
        best = torch.maximum(best, score(on, has).max(0).values)
    return best


TENTHS = [i / 10 for i in range(10)]


def state_coverage__not_strict(f, has):
    """You use ≥. Then a share of 0 makes every latent active everywhere."""
    return _cover(f, has, TENTHS, strict=False)


def state_coverage__no_threshold(f, has):
    """You only ask whether a latent is active at all. It may mean something only where it is
    strong."""
    return _cover(f, has, [0.0])


def state_coverage__one_maximum(f, has):
    """You take one maximum for all latents. Each latent has its own."""
    return _cover(f, has, TENTHS, top=f.max())


def state_coverage__ends_early(f, has):
    """Your shares end before 0.9. There are ten of them, from 0 to 0.9."""
    return _cover(f, has, TENTHS[:9])


def state_coverage__begins_at_one_tenth(f, has):
    """Your shares are 0.1, 0.2, …, 1. They begin at 0: active at all; above 1 nothing is active."""
    return _cover(f, has, [i / 10 for i in range(1, 11)])


def state_coverage__absolute(f, has):
    """You use 0, 0.1, …, 0.9 as activations. They are shares of a latent's maximum."""
    return _cover(f, has, TENTHS, top=torch.ones(f.shape[1]))


def state_coverage__by_precision(f, has):
    """You take the best precision. Coverage is about F1: a latent that is active once would
    cover."""

    def precision(on, has):
        return _both(on, has) / on.sum(0).clamp(min=1)[:, None]

    return _cover(f, has, TENTHS, score=precision)


def state_coverage__nan_for_nothing(f, has):
    """A silent latent and a state that never holds give 0 / 0, and one NaN spoils the maximum."""

    def score(on, has):
        return 2 * _both(on, has) / (on.sum(0)[:, None] + has.sum(0))

    return _cover(f, has, TENTHS, score=score)


def state_coverage__averaged(f, has):
    """You return the mean over the states. One number for each state is asked for."""
    return _cover(f, has, TENTHS).mean()


def state_coverage__mean_over_thresholds(f, has):
    """You average over the ten shares. The best share counts."""
    found = [_cover(f, has, [share]) for share in TENTHS]
    return torch.stack(found).mean(0)


def state_coverage__one_share_for_all(f, has):
    """You choose one share, the one with the best mean over the states. Each state may take another
    share."""
    found = torch.stack([_cover(f, has, [share]) for share in TENTHS])
    return found[found.mean(1).argmax()]


# ----------------------------------------------------------------------------- d3. precise_rules


def precise_rules__without_least_count(fires, has, least, n_least):
    """You do not ask how often a latent was active. One that was active once, or never, makes
    rules."""
    return _both(fires, has) >= least * fires.sum(0)[:, None]


def precise_rules__strict(fires, has, least, n_least):
    """You use >. A latent with exactly the precision asked for makes a rule."""
    active = fires.sum(0)[:, None]
    return (_both(fires, has) > least * active) & (active >= n_least)


def precise_rules__more_than_n(fires, has, least, n_least):
    """You ask for more than `n_least` activations. At least so many are needed."""
    active = fires.sum(0)[:, None]
    return (_both(fires, has) >= least * active) & (active > n_least)


def precise_rules__recall(fires, has, least, n_least):
    """You use recall. A rule says: *if the latent is active*, the state holds."""
    active = fires.sum(0)[:, None]
    return (_both(fires, has) >= least * has.sum(0)) & (active >= n_least)


def precise_rules__counts_right_cases(fires, has, least, n_least):
    """`n_least` is about how often the latent is active, not about how often it is right."""
    both = _both(fires, has)
    return (both >= least * fires.sum(0)[:, None]) & (both >= n_least)


def precise_rules__best_state_only(fires, has, least, n_least):
    """You allow each latent one rule, its best. A latent may know the state of many squares."""
    both, active = _both(fires, has), fires.sum(0)[:, None]
    best = torch.zeros_like(both, dtype=torch.bool).scatter(1, both.argmax(1, keepdim=True), True)
    return best & (both >= least * active) & (active >= n_least)


def precise_rules__counts_labels(fires, has, least, n_least):
    """You ask that the *state* occurs often. The latent is to be active often."""
    active = fires.sum(0)[:, None]
    return (_both(fires, has) >= least * active) & (has.sum(0) >= n_least) & (active > 0)


# ------------------------------------------------------------------------------ d4. board_scores


def _drawn(fires, rules):
    return fires.float() @ rules.float() > 0


def board_scores__precision(fires, rules, has):
    """You divide by what is drawn only: that is precision. An empty drawing would be no worse."""
    drawn = _drawn(fires, rules)
    return (drawn & has).sum(1) / drawn.sum(1).clamp(min=1)


def board_scores__recall(fires, rules, has):
    """You divide by what is true only: that is recall. Drawing everything would be perfect."""
    drawn = _drawn(fires, rules)
    return (drawn & has).sum(1) / has.sum(1)


def board_scores__over_the_union(fires, rules, has):
    """You divide by the union of what is drawn and what is true. F1 is twice the right ones over
    the *sum* of both."""
    drawn = _drawn(fires, rules)
    return (drawn & has).sum(1) / (drawn | has).sum(1)


def board_scores__pooled(fires, rules, has):
    """You sum over all boards. Each board has its own score."""
    drawn = _drawn(fires, rules)
    return 2 * (drawn & has).sum() / (drawn.sum() + has.sum())


def board_scores__counts_votes(fires, rules, has):
    """You count how many latents say a state. It is drawn once, however many say so."""
    votes = fires.float() @ rules.float()
    return 2 * (votes * has).sum(1) / (votes.sum(1) + has.sum(1))


def board_scores__majority(fires, rules, has):
    """You draw a state only if two or more latents say it. One is enough."""
    drawn = fires.float() @ rules.float() > 1
    return 2 * (drawn & has).sum(1) / (drawn.sum(1) + has.sum(1))


def board_scores__all_must_agree(fires, rules, has):
    """You draw a state only if *all* active latents have a rule for it. Any of them is enough."""
    drawn = (fires.float() @ rules.float()) == fires.sum(1, keepdim=True)
    return 2 * (drawn & has).sum(1) / (drawn.sum(1) + has.sum(1))


def board_scores__agreement(fires, rules, has):
    """You count states that are neither drawn nor true as right. Two thirds of the states are
    false anyway."""
    drawn = _drawn(fires, rules)
    return (drawn == has).float().mean(1)


def board_scores__silent_latents_too(fires, rules, has):
    """You draw the rules of all latents. Only those of active ones apply."""
    drawn = rules.any(0).expand_as(has)
    return 2 * (drawn & has).sum(1) / (drawn.sum(1) + has.sum(1))


# ------------------------------------------------------------------------------- d5. legal_moves

EVERY = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]


def _legal(board, ways=EVERY, between=2, end=1, least=2, longest=None, wrap=False):
    side = board.shape[1]
    wide = pad(board, (side,) * 4) if not wrap else board.repeat(1, 3, 3)
    legal = torch.zeros_like(board, dtype=torch.bool)
    for down, right in ways:
        line = board == 0
        for k in range(1, (longest or side - 1) + 1):
            r, c = side + k * down, side + k * right
            there = wide[:, r : r + side, c : c + side]
            if k >= least:
                legal |= line & (there == end)
            line = line & (there == between)
    return legal


def legal_moves__neighbours_count(board):
    """A square beside one of mine is legal in your answer. At least one of theirs lies between."""
    return _legal(board, least=1)


def legal_moves__no_diagonals(board):
    """You look along rows and columns only. There are eight directions."""
    return _legal(board, ways=[(0, 1), (0, -1), (1, 0), (-1, 0)])


def legal_moves__one_way(board):
    """You look to the right and down only. Each direction has an opposite."""
    return _legal(board, ways=[(0, 1), (1, -1), (1, 0), (1, 1)])


def legal_moves__for_the_other(board):
    """You return the other player's moves. The player to move is 1, and turns discs of 2."""
    return _legal(board, between=1, end=2)


def legal_moves__one_between(board):
    """You allow one disc between. A line may be as long as the board."""
    return _legal(board, longest=2)


def legal_moves__around_the_edge(board):
    """Your lines go over the edge and come back on the other side, as with `roll`. The board
    ends."""
    return _legal(board, wrap=True)


def legal_moves__open_lines(board):
    """A line of theirs must be *closed* by one of mine. You allow any line of theirs."""
    return _legal(board, end=2)


def legal_moves__on_discs(board):
    """You do not ask whether the square is empty."""
    return _legal(torch.where(board == 0, 0, board)) | (_legal_from_any(board) & (board != 0))


def _legal_from_any(board):
    side = board.shape[1]
    wide = pad(board, (side,) * 4)
    legal = torch.zeros_like(board, dtype=torch.bool)
    for down, right in EVERY:
        line = torch.ones_like(legal)
        for k in range(1, side):
            r, c = side + k * down, side + k * right
            there = wide[:, r : r + side, c : c + side]
            legal |= line & (there == 1) & (k > 1)
            line = line & (there == 2)
    return legal


# ------------------------------------------------------------------------------- d6. move_errors


def _said(logits, m):
    return logits.argsort(1, descending=True).argsort(1) < m


def move_errors__only_wrong_ones(logits, legal):
    """You count the illegal ones that are said. The legal ones that are missing count, too."""
    return (_said(logits, legal.sum(1, keepdim=True)) & ~legal).sum(1)


def move_errors__top_one(logits, legal):
    """You look at the largest logit only. As many as there are legal tokens are said."""
    return (_said(logits, 1) != legal).sum(1)


def move_errors__positive_logits(logits, legal):
    """You take tokens with a positive logit as said. A constant added to all logits would
    change that."""
    return ((logits > 0) != legal).sum(1)


def move_errors__mean_count(logits, legal):
    """You use one number of moves for all rows. Each position has its own."""
    m = int(legal.sum(1).float().mean().round())
    return (_said(logits, m) != legal).sum(1)


def move_errors__largest_count(logits, legal):
    """You use one number of moves for all rows, the largest. Each position has its own: where fewer
    are legal, you say too many."""
    return (_said(logits, int(legal.sum(1).max())) != legal).sum(1)


def move_errors__smallest(logits, legal):
    """You take the smallest logits. `argsort` goes upwards unless it is told `descending=True`."""
    return (_said(-logits, legal.sum(1, keepdim=True)) != legal).sum(1)


def move_errors__order_for_rank(logits, legal):
    """`argsort` once gives which token is in each place, not the place of each token. Twice
    gives ranks."""
    order = logits.argsort(1, descending=True)
    return ((order < legal.sum(1, keepdim=True)) != legal).sum(1)


def move_errors__one_more(logits, legal):
    """You say one token more than there are legal ones: ranks begin at 0, so use <."""
    return (_said(logits, legal.sum(1, keepdim=True) + 1) != legal).sum(1)


def move_errors__share(logits, legal):
    """You return a share. A number of tokens is asked for."""
    said = _said(logits, legal.sum(1, keepdim=True))
    return (said != legal).float().mean(1)


# ----------------------------------------------------------------------- d7. written_by_largest


def _kept(delta, writes, W_dec, m):
    top = writes.topk(m, dim=1).indices
    return torch.zeros_like(delta).scatter(1, top, delta.gather(1, top)) @ W_dec


def written_by_largest__norms_forgotten(delta, W_dec, m):
    """You choose by |δ| alone. What a latent writes has the length |δ| times that of its row."""
    return _kept(delta, delta.abs(), W_dec, m)


def written_by_largest__signed(delta, W_dec, m):
    """You choose the largest *positive* changes. A latent that is switched off writes as much
    as one that is switched on."""
    return _kept(delta, delta * W_dec.norm(dim=1), W_dec, m)


def written_by_largest__largest_values(delta, W_dec, m):
    """You choose the largest values of δ. What a latent writes is |δ| times the length of its row,
    and one that is switched off writes, too."""
    return _kept(delta, delta, W_dec, m)


def written_by_largest__norms_only(delta, W_dec, m):
    """You choose the longest rows, whether they change or not."""
    return _kept(delta, W_dec.norm(dim=1).expand_as(delta), W_dec, m)


def written_by_largest__one_choice(delta, W_dec, m):
    """You choose the same latents for all rows. Each row of `delta` has its own."""
    writes = (delta.abs() * W_dec.norm(dim=1)).mean(0, keepdim=True)
    return _kept(delta, writes.expand_as(delta), W_dec, m)


def written_by_largest__smallest(delta, W_dec, m):
    """You keep those that write least, and leave out those that write most."""
    return _kept(delta, -(delta.abs() * W_dec.norm(dim=1)), W_dec, m)


def written_by_largest__unit_rows(delta, W_dec, m):
    """You choose rightly and then add rows of length 1. The rows are added as they are."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    return _kept(delta, delta.abs() * W_dec.norm(dim=1), unit, m)


def written_by_largest__absolute_sum(delta, W_dec, m):
    """You add |δ| times the row. The sign says whether a latent goes up or down."""
    writes = delta.abs() * W_dec.norm(dim=1)
    return _kept(delta.abs(), writes, W_dec, m)


def written_by_largest__dropped(delta, W_dec, m):
    """You take the m largest away and add the rest. Add these m only."""
    return delta @ W_dec - _kept(delta, delta.abs() * W_dec.norm(dim=1), W_dec, m)


# ------------------------------------------------------------------------------------- predictions


def predict_moved__it_breaks():
    """Moving labels within a row breaks the link to a *place*. That the row belongs to this
    name stays, and a latent that knows the story keeps its score."""
    return "less than half"


def predict_untrained__next_to_nothing():
    """Random directions are not nothing: words with one role lie close together, and the best
    of 512 directions is near them."""
    return "less than a quarter"


def predict_untrained__less_than_half():
    """More: for what is nearly a function of the word, the best of 512 random directions does
    well."""
    return "a quarter to a half"


def predict_family__about_a_third():
    """Less. Latents that are active on every repeated token need not carry what is done there: the
    other latents and the SAE's error are nearly enough."""
    return "a fifth to a half"


def predict_family__most_of_it():
    """To be active where something happens is not to do it. Without the family, the other latents
    and the SAE's error still do most of it."""
    return "more than half"


def predict_law__better_than_promised():
    """A power law has no floor, but an SAE with so many latents has: it cannot do better than
    that."""
    return "less than 2/3 of the promise"


def predict_law__as_promised():
    """That would hold if nothing but tokens were scarce. So far out, the number of latents and
    of active ones is the limit."""
    return "2/3 to 3/2 of it"


def predict_coverage__latents():
    """They are right when they speak, but each speaks rarely: with a recall of a tenth F1 is
    low. Coverage rewards units that are as dense as the state."""
    return "the latents"


def predict_coverage__random():
    """It has no better precision than the latents, and is as sparse: it is last in this measure."""
    return "the random SAE"


def predict_drawn__neurons():
    """They cover more, but above any threshold few are right in 95 % of the cases. A drawing
    takes precise rules only."""
    return "the neurons"


def predict_drawn__random():
    """Some random directions do make rules, but few: the boards are nearly empty."""
    return "the random SAE"


def predict_one_latent__some():
    """Less. What a square's owner changes is spread over many latents; the one that writes most
    is one of dozens."""
    return "a third to two thirds"


def predict_one_latent__nearly_all():
    """That would be a latent that *is* the disc. The curve of the figure would then be flat
    from the first mark on."""
    return "more than two thirds"
