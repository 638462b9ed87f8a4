"""Wrong answers that learners of 3.2.2 give, each with what a tutor would say."""

import torch

# ------------------------------------------------------------------------------ a1. count_active


def count_active__densities(f, mask):
    """You return shares. Shares of two batches cannot be added; counts can. Divide at the end."""
    active = f[mask] != 0
    return active.float().mean(dim=0), int(mask.sum())


def count_active__without_the_mask(f, mask):
    """You count tokens that the mask leaves out: padding and the first position."""
    return (f != 0).sum(dim=(0, 1)), int(mask.sum())


def count_active__all_tokens(f, mask):
    """Your number of tokens is that of the whole batch. Only those of the mask count."""
    return (f[mask] != 0).sum(dim=0), mask.numel()


def count_active__sums_the_values(f, mask):
    """You sum the activations. Asked for is on how many tokens a latent is active."""
    return f[mask].sum(dim=0), int(mask.sum())


def count_active__per_row(f, mask):
    """You keep the rows apart. One count per latent is wanted, over all rows."""
    return ((f != 0) & mask[..., None]).sum(dim=1), int(mask.sum())


def count_active__rows_it_is_in(f, mask):
    """You count the rows in which a latent is active. Count its tokens."""
    return ((f != 0) & mask[..., None]).any(dim=1).sum(dim=0), int(mask.sum())


def count_active__latents_per_token(f, mask):
    """You sum over the latents: that is how many are active on a token. Sum over tokens."""
    return (f[mask] != 0).sum(dim=1), int(mask.sum())


# ----------------------------------------------------------------------------- a2. log_densities


def log_densities__natural(times, n_tokens):
    """Your logarithm is the natural one. With base 10, -2 reads as one token in a hundred."""
    live = times[times > 0]
    return (live / n_tokens).log(), int((times == 0).sum())


def log_densities__small_number_added(times, n_tokens):
    """You add a small number so that log 0 is finite. Then dead latents look like rare ones: leave
    them out, and count them."""
    return (times / n_tokens + 1e-9).log10(), int((times == 0).sum())


def log_densities__dead_kept(times, n_tokens):
    """You keep the dead latents: their logarithm is minus infinity."""
    return (times / n_tokens).log10(), int((times == 0).sum())


def log_densities__counts_the_live(times, n_tokens):
    """Your second number counts the live latents. The dead ones are asked for."""
    live = times[times > 0]
    return (live / n_tokens).log10(), len(live)


def log_densities__sorted(times, n_tokens):
    """You sort the densities. Keep the order of the latents: a histogram needs no sorting."""
    live = times[times > 0].sort().values
    return (live / n_tokens).log10(), int((times == 0).sum())


def log_densities__share_of_activations(times, n_tokens):
    """You divide by the number of activations. A density is a share of tokens."""
    live = times[times > 0]
    return (live / live.sum()).log10(), int((times == 0).sum())


def log_densities__once_is_dead(times, n_tokens):
    """A latent that was active on one token is not dead: `times > 0`."""
    live = times[times > 1]
    return (live / n_tokens).log10(), int((times <= 1).sum())


def log_densities__share_of_dead(times, n_tokens):
    """Your second value is the share of dead latents. Their number is asked for."""
    live = times[times > 0]
    return (live / n_tokens).log10(), float((times == 0).float().mean())


# ---------------------------------------------------------------------- a3. activation_histogram


def _histogram(values, low, high, n_bins, number=None):
    edges = low + torch.arange(n_bins + 1, device=values.device) / n_bins * (high - low)
    if number is None:
        number = ((values - low) / (high - low) * n_bins).long().clamp(max=n_bins - 1)
    return torch.bincount(number, minlength=n_bins), edges


def activation_histogram__zeros_too(acts, n_bins):
    """You count the zeros. Most tokens have activation 0, and their bar hides all others."""
    return _histogram(acts, 0 * acts.max(), acts.max(), n_bins)


def activation_histogram__largest_lost(acts, n_bins):
    """Your last interval leaves its upper edge out, so the largest activation is lost: the most
    interesting one."""
    positive = acts[acts > 0]
    top = positive.max()
    return _histogram(positive[positive < top], 0 * top, top, n_bins)


def activation_histogram__from_the_smallest(acts, n_bins):
    """Your intervals begin at the smallest activation. They begin at 0, so that one sees whether
    there is a gap."""
    positive = acts[acts > 0]
    return _histogram(positive, positive.min(), positive.max(), n_bins)


def activation_histogram__one_bin_more(acts, n_bins):
    """You have one interval too many: the largest activation sits alone in it."""
    positive = acts[acts > 0]
    number = (positive / positive.max() * n_bins).long()
    edges = torch.arange(n_bins + 1, device=acts.device) / n_bins * positive.max()
    return torch.bincount(number, minlength=n_bins + 1), edges


def activation_histogram__upper_edges_inside(acts, n_bins):
    """An activation on an edge goes into the lower interval in yours. An interval has its lower
    edge, not its upper one."""
    positive = acts[acts > 0]
    number = ((positive / positive.max() * n_bins).ceil().long() - 1).clamp(min=0)
    return _histogram(positive, 0 * positive.max(), positive.max(), n_bins, number)


def activation_histogram__shares(acts, n_bins):
    """You return shares. Counts are asked for: they can be added up over batches."""
    positive = acts[acts > 0]
    counts, edges = _histogram(positive, 0 * positive.max(), positive.max(), n_bins)
    return counts / counts.sum(), edges


def activation_histogram__rounded(acts, n_bins):
    """You round to the nearest interval. The first one then is half as wide: round down."""
    positive = acts[acts > 0]
    number = (positive / positive.max() * n_bins).round().long().clamp(max=n_bins - 1)
    return _histogram(positive, 0 * positive.max(), positive.max(), n_bins, number)


def activation_histogram__lower_edges_only(acts, n_bins):
    """You return n edges. n intervals have n + 1."""
    positive = acts[acts > 0]
    counts, edges = _histogram(positive, 0 * positive.max(), positive.max(), n_bins)
    return counts, edges[:-1]


# --------------------------------------------------------------------------------- b1. merge_top


def _merged(best_values, best_places, f, first, n=None, last=False, largest=True):
    n = best_values.shape[1] if n is None else n
    new = torch.arange(first, first + len(f), device=f.device).expand(f.shape[1], -1)
    parts = (f.T, best_values), (new, best_places)
    if not last:
        parts = (best_values, f.T), (best_places, new)
    values, order = torch.cat(parts[0], dim=1).sort(dim=1, descending=largest, stable=True)
    values, places = values[:, :n], torch.cat(parts[1], dim=1).gather(1, order)[:, :n]
    return values.clamp(min=0), places.masked_fill(values <= 0, -1)


def merge_top__only_this_batch(best_values, best_places, f, first):
    """You look at the new batch only. What was best before is lost."""
    return _merged(0 * best_values, best_places, f, first)


def merge_top__places_in_the_batch(best_values, best_places, f, first):
    """Your places count from 0 in every batch. They start at `first`."""
    return _merged(best_values, best_places, f, 0)


def merge_top__places_not_sorted_along(best_values, best_places, f, first):
    """You sort the values and leave the places. Each value must keep its own place."""
    n = best_values.shape[1]
    new = torch.arange(first, first + len(f), device=f.device).expand(f.shape[1], -1)
    values = torch.cat([best_values, f.T], dim=1).sort(dim=1, descending=True).values[:, :n]
    places = torch.cat([best_places, new], dim=1)[:, :n]
    return values.clamp(min=0), places.masked_fill(values <= 0, -1)


def merge_top__later_of_equals(best_values, best_places, f, first):
    """Of two equal activations you put the new one first. The earlier place comes first: put the
    old ones in front and sort stably."""
    return _merged(best_values, best_places, f, first, last=True)


def merge_top__everything_kept(best_values, best_places, f, first):
    """You keep everything you have seen, so memory grows with the text. Keep n."""
    return _merged(best_values, best_places, f, first, best_values.shape[1] + len(f))


def merge_top__silent_tokens_get_slots(best_values, best_places, f, first):
    """Tokens on which the latent is silent take empty slots in yours. An empty slot is 0, too: put
    the old ones in front and sort stably, and it stays."""
    n = best_values.shape[1]
    new = torch.arange(first, first + len(f), device=f.device).expand(f.shape[1], -1)
    values, order = torch.cat([f.T, best_values], dim=1).sort(dim=1, descending=True, stable=True)
    places = torch.cat([new, best_places], dim=1).gather(1, order)
    return values[:, :n].clamp(min=0), places[:, :n]


def merge_top__the_weakest(best_values, best_places, f, first):
    """You keep the smallest. `sort` puts the smallest first unless it is told otherwise."""
    return _merged(best_values, best_places, f, first, largest=False)


def merge_top__negative_ones_too(best_values, best_places, f, first):
    """Where a latent has too few activations, you keep negative numbers. Only positive ones
    count."""
    n = best_values.shape[1]
    new = torch.arange(first, first + len(f), device=f.device).expand(f.shape[1], -1)
    old = best_values.masked_fill(best_places < 0, -torch.inf)
    values, order = torch.cat([old, f.T], dim=1).sort(dim=1, descending=True, stable=True)
    values, places = values[:, :n], torch.cat([best_places, new], dim=1).gather(1, order)[:, :n]
    return values.nan_to_num(neginf=0.0), places.masked_fill(values.isinf(), -1)


# ---------------------------------------------------------------------------- b2. context_window


def _bounds(ids, mask, bos, at, before, after, left=True, right=True, padding=True):
    is_wall = (ids == bos) | ~mask if padding else ids == bos
    walls = is_wall.nonzero()[:, 0]
    start = max([0, at - before, *(walls[walls < at] + 1).tolist()] if left else [0, at - before])
    stops = [len(ids), at + after + 1]
    return start, min(stops + walls[walls > at].tolist() if right else stops)


def context_window__over_the_bos_before(ids, mask, bos, at, before, after):
    """Your window reaches back over a BOS, into another document."""
    walls = (~mask).nonzero()[:, 0]
    start = max([0, at - before, *(walls[walls < at] + 1).tolist()])
    return start, _bounds(ids, mask, bos, at, before, after)[1]


def context_window__over_the_bos_after(ids, mask, bos, at, before, after):
    """Your window runs on over the next BOS. The next document is no context, either."""
    walls = (~mask).nonzero()[:, 0]
    stop = min([len(ids), at + after + 1, *walls[walls > at].tolist()])
    return _bounds(ids, mask, bos, at, before, after)[0], stop


def context_window__bos_inside(ids, mask, bos, at, before, after):
    """Your window begins with the BOS (or the padding) before it. It begins one later."""
    start, stop = _bounds(ids, mask, bos, at, before, after)
    return max(start - (start > at - before), 0), stop


def context_window__padding_inside(ids, mask, bos, at, before, after):
    """Your window runs into the padding. Where `mask` is false there is no text."""
    return _bounds(ids, mask, bos, at, before, after, padding=False)


def context_window__one_short(ids, mask, bos, at, before, after):
    """One token is missing at the end: `ids[start:stop]` leaves `stop` out."""
    start, stop = _bounds(ids, mask, bos, at, before, after)
    return start, max(min(stop, at + after), at)


def context_window__first_bos_only(ids, mask, bos, at, before, after):
    """You look at the first BOS of the row only. A packed row has several; the last one before the
    token is the wall."""
    walls = ((ids == bos) | ~mask).nonzero()[:, 0]
    starts = [0, at - before, *(walls[walls < at][:1] + 1).tolist()]
    return max(starts), _bounds(ids, mask, bos, at, before, after)[1]


def context_window__negative_start(ids, mask, bos, at, before, after):
    """Your start can be negative. A slice that starts at -2 counts from the end of the row."""
    walls = ((ids == bos) | ~mask).nonzero()[:, 0]
    start = max([at - before, *(walls[walls < at] + 1).tolist()])
    return start, _bounds(ids, mask, bos, at, before, after)[1]


def context_window__past_the_end(ids, mask, bos, at, before, after):
    """Your stop can be larger than the row. Python's slices forgive that; a page that counts tokens
    does not."""
    walls = ((ids == bos) | ~mask).nonzero()[:, 0]
    stop = min([at + after + 1, *walls[walls > at].tolist()])
    return _bounds(ids, mask, bos, at, before, after)[0], stop


# -------------------------------------------------------------------------------- b3. spread_out


def _kept(row, pos, near, against_all=False):
    kept, seen = [], []
    for i in range(len(row)):
        others = seen if against_all else kept
        if not any(near(i, j) for j in others):
            kept.append(i)
        seen.append(i)
    return torch.tensor(kept, dtype=torch.int64, device=row.device)


def spread_out__pushed_by_what_was_left_out(row, pos, distance):
    """You compare with all stronger examples. One that was left out must not push others out."""

    def near(i, j):
        return bool(row[i] == row[j]) and abs(int(pos[i] - pos[j])) < distance

    return _kept(row, pos, near, against_all=True)


def spread_out__whatever_the_row(row, pos, distance):
    """You compare positions of different rows. Position 10 of another row is another place."""
    return _kept(row, pos, lambda i, j: abs(int(pos[i] - pos[j])) < distance)


def spread_out__one_per_row(row, pos, distance):
    """You keep one example per row. Two that are far apart in a row are both wanted."""
    return _kept(row, pos, lambda i, j: bool(row[i] == row[j]))


def spread_out__distance_is_too_near(row, pos, distance):
    """Exactly `distance` positions away is far enough."""

    def near(i, j):
        return bool(row[i] == row[j]) and abs(int(pos[i] - pos[j])) <= distance

    return _kept(row, pos, near)


def spread_out__one_direction(row, pos, distance):
    """You forget the absolute value: a weaker example *before* a kept one passes as far away, or
    one after it."""

    def near(i, j):
        return bool(row[i] == row[j]) and 0 <= int(pos[i] - pos[j]) < distance

    return _kept(row, pos, near)


def spread_out__a_mask(row, pos, distance):
    """You return a mask. The indices of the kept examples are asked for."""

    def near(i, j):
        return bool(row[i] == row[j]) and abs(int(pos[i] - pos[j])) < distance

    mask = torch.zeros(len(row), dtype=torch.bool, device=row.device)
    mask[_kept(row, pos, near)] = True
    return mask


def spread_out__with_the_one_before(row, pos, distance):
    """You compare with the example just kept. Any of the kept ones can be too near."""
    kept = []
    for i in range(len(row)):
        j = kept[-1] if kept else None
        if j is None or row[i] != row[j] or abs(int(pos[i] - pos[j])) >= distance:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64, device=row.device)


def spread_out__the_positions(row, pos, distance):
    """You return the positions of the kept examples. Their indices in the list are asked for."""

    def near(i, j):
        return bool(row[i] == row[j]) and abs(int(pos[i] - pos[j])) < distance

    return pos[_kept(row, pos, near)]


# ------------------------------------------------------------------------------------- predictions


def predict_median_density__a_little_less():
    """Still less: the densities differ by factors of a thousand, and a handful of busy latents
    makes up much of the mean."""
    return "0.4 % to 0.8 %"


def predict_median_density__as_the_mean():
    """That would hold if the densities were symmetric around their mean. They are not: a few
    latents are active on every fifth token and pull the mean up."""
    return "0.8 % or more"


def predict_below_half__less_than_half_of_them():
    """The largest of hundreds of numbers is far out. Most activations are much closer to 0 than to
    it."""
    return "less than 50 %"


def predict_below_half__some_more():
    """Even more: the histogram falls off so fast that its upper half is nearly empty."""
    return "50 % to 75 %"
