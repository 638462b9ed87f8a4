"""Wrong answers that learners of 3.2.2 give, each with what a tutor would say."""

import html
import json
import math
from itertools import pairwise

import torch

# ------------------------------------------------------------------------------ a1. count_active


def count_active__densities(f, mask):
    """You return shares. Shares of two batches cannot be added; counts can. Divide at the end."""
    active = f[mask] != 0
    return active.float().mean(dim=0), int(mask.sum())


def count_active__without_the_mask(f, mask):
    """You count tokens that the mask leaves out: padding and the first position."""
    return (f != 0).sum(dim=(0, 1)), int(mask.sum())


def count_active__only_positive(f, mask):
    """You count positive activations only. Active means different from 0."""
    return (f[mask] > 0).sum(dim=0), int(mask.sum())


def count_active__without_the_first_position(f, mask):
    """You leave the first position out yourself. The mask alone says which tokens count."""
    return (f[:, 1:][mask[:, 1:]] != 0).sum(dim=0), int(mask[:, 1:].sum())


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


def log_densities__tiny_number_added(times, n_tokens):
    """You add a tiny number so that log 0 is finite. Then dead latents look like very rare ones:
    leave them out, and count them."""
    return (times / n_tokens + 1e-10).log10(), int((times == 0).sum())


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
    steps = torch.arange(n_bins + 1, device=values.device, dtype=values.dtype) / n_bins
    edges = low + steps * (high - low)
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
    edges = torch.arange(n_bins + 1, device=acts.device, dtype=acts.dtype) / n_bins * positive.max()
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


def merge_top__slot_by_slot(best_values, best_places, f, first):
    """You compare the old and the new ones slot by slot. One that loses its slot may still be among
    the n strongest."""
    values, places = _merged(0 * best_values, best_places, f, first)
    better = values > best_values
    return torch.where(better, values, best_values), torch.where(better, places, best_places)


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


def context_window__one_after_too_few(ids, mask, bos, at, before, after):
    """Of the `after` tokens that may follow `at` the last is missing: `stop` is one past the last
    token."""
    start, stop = _bounds(ids, mask, bos, at, before, after)
    return start, max(min(stop, at + after), at + 1)


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


def spread_out__signed_difference(row, pos, distance):
    """You forget the absolute value: an example that lies before a kept one counts as near, however
    far it is."""
    return _kept(row, pos, lambda i, j: bool(row[i] == row[j]) and int(pos[i] - pos[j]) < distance)


def spread_out__signed_the_other_way(row, pos, distance):
    """You forget the absolute value: an example that lies after a kept one counts as near, however
    far it is."""
    return _kept(row, pos, lambda i, j: bool(row[i] == row[j]) and int(pos[j] - pos[i]) < distance)


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


# ---------------------------------------------------------------------------- c1. quantile_edges


def _quantiles(values, n):
    return values.quantile(torch.linspace(0, 1, n + 1, dtype=values.dtype, device=values.device))


def quantile_edges__zeros_too(acts, n):
    """You take the quantiles of all tokens. On most of them the latent is silent, so most of your
    edges are 0."""
    return _quantiles(acts, n)


def quantile_edges__equal_width(acts, n):
    """Your intervals are equally wide. Quantiles put equally many activations into each."""
    positive = acts[acts > 0]
    low, high = positive.min(), positive.max()
    return low + torch.arange(n + 1, device=acts.device) / n * (high - low)


def quantile_edges__n_edges(acts, n):
    """You return n edges. n intervals have n + 1."""
    at = torch.linspace(0, 1, n, dtype=acts.dtype, device=acts.device)
    return acts[acts > 0].quantile(at)


def quantile_edges__inner_ones_only(acts, n):
    """You return the edges between the intervals only. The smallest and the largest activation
    are edges, too."""
    return _quantiles(acts[acts > 0], n)[1:-1]


def quantile_edges__first_is_zero(acts, n):
    """Your first edge is 0. The quantile at 0 is the smallest positive activation."""
    edges = _quantiles(acts[acts > 0], n)
    edges[0] = 0
    return edges


def quantile_edges__descending(acts, n):
    """Your edges go down. The weakest interval comes first."""
    return _quantiles(acts[acts > 0], n).flip(0)


def quantile_edges__in_the_middle(acts, n):
    """You take the quantiles in the middle of the intervals. Asked for is where they end."""
    at = (torch.arange(n + 1, dtype=acts.dtype, device=acts.device) + 0.5) / (n + 1)
    return acts[acts > 0].quantile(at)


# -------------------------------------------------------------------------- c2. sample_intervals


def _inside(acts, edges, low_in=True, high_in=False, last_in=True, zeros=False):
    found = []
    for i, (low, high) in enumerate(pairwise(edges)):
        closed = high_in or (last_in and i == len(edges) - 2)
        below = acts <= high if closed else acts < high
        above = acts >= low if low_in else acts > low
        mask = above & below & ((acts > 0) | zeros)
        found.append(mask.nonzero()[:, 0])
    return found


def _drawn(found, n_each, gen):
    return [
        p[torch.randperm(len(p), generator=gen, device=gen.device)[:n_each]].to(p.device)
        for p in found
    ]


def sample_intervals__the_first(acts, edges, n_each, gen):
    """You take the first ones of the text. They may all come from one document: draw at random."""
    return [places[:n_each] for places in _inside(acts, edges)]


def sample_intervals__the_strongest(acts, edges, n_each, gen):
    """You take the strongest of each interval. Draw at random from all that are in it."""
    return [p[acts[p].argsort(descending=True)[:n_each]] for p in _inside(acts, edges)]


def sample_intervals__largest_lost(acts, edges, n_each, gen):
    """Your last interval leaves its upper edge out: the largest activation is in none."""
    return _drawn(_inside(acts, edges, last_in=False), n_each, gen)


def sample_intervals__edge_in_both(acts, edges, n_each, gen):
    """An activation on an edge is in two of your intervals. The upper edge is outside, but for the
    last interval."""
    return _drawn(_inside(acts, edges, high_in=True), n_each, gen)


def sample_intervals__edge_in_the_lower(acts, edges, n_each, gen):
    """An activation on an edge is in the lower interval in yours. Lower edges are inside."""
    return _drawn(_inside(acts, edges, low_in=False, high_in=True), n_each, gen)


def sample_intervals__silent_tokens(acts, edges, n_each, gen):
    """Where the first edge is 0 you draw tokens on which the latent is silent."""
    return _drawn(_inside(acts, edges, zeros=True), n_each, gen)


def sample_intervals__with_replacement(acts, edges, n_each, gen):
    """You draw with replacement: an example can come twice."""
    found = []
    for p in _inside(acts, edges):
        n = min(n_each, len(p))
        pick = torch.randint(max(len(p), 1), (n,), generator=gen, device=gen.device)
        found.append(p[pick])
    return found


def sample_intervals__the_activations(acts, edges, n_each, gen):
    """You return the activations. Their places are asked for, so that one can read the text."""
    return [acts[p] for p in _drawn(_inside(acts, edges), n_each, gen)]


def sample_intervals__places_among_the_positive(acts, edges, n_each, gen):
    """Your places count the positive activations only. They are indices into `acts`, silent tokens
    included."""
    return _drawn(_inside(acts[acts > 0], edges), n_each, gen)


# ------------------------------------------------------------------------ c3. share_of_favourite


def _favourite(top, last=False):
    tokens, counts = top.unique(return_counts=True)
    best = tokens[counts == counts.max()]
    return best.max() if last else best.min()


def _share(equal):
    return float(equal.double().mean()) if len(equal) else float("nan")


def share_of_favourite__of_other(top, other):
    """You take the favourite of `other`. It is the favourite of `top`, counted in `other`."""
    return _share(other == _favourite(other)) if len(other) else float("nan")


def share_of_favourite__counted_in_top(top, other):
    """You count in `top`, where the favourite comes from. How often is it in `other`?"""
    return _share(top == _favourite(top)) if len(other) else float("nan")


def share_of_favourite__largest_id(top, other):
    """Of several equally frequent tokens you take the largest id. The smallest is wanted."""
    return _share(other == _favourite(top, last=True))


def share_of_favourite__first_of_equals(top, other):
    """Of several equally frequent tokens you take the one that comes first in `top`. The smallest
    id is wanted."""
    tokens = top.tolist()
    return _share(other == max(tokens, key=tokens.count))


def share_of_favourite__any_of_top(top, other):
    """You count every token that occurs in `top`. Only its most frequent one counts."""
    return _share(torch.isin(other, top))


def share_of_favourite__the_first_of_top(top, other):
    """You take the first token of `top`. The most frequent one is asked for."""
    return _share(other == top[0])


def share_of_favourite__a_count(top, other):
    """You return how many there are. A share is asked for."""
    return float((other == _favourite(top)).sum()) if len(other) else float("nan")


def share_of_favourite__zero_for_nothing(top, other):
    """For no examples you say 0. "It never occurs" is another statement than "we don't know"."""
    return float((other == _favourite(top)).double().sum() / max(len(other), 1))


# ----------------------------------------------------------------------------- d1. logit_weights


def logit_weights__no_gain(write, gain, W_U):
    """The final norm's gain is missing. It scales every dimension before the unembedding."""
    weights = write @ W_U
    return weights - weights.mean(dim=-1, keepdim=True)


def logit_weights__not_centred(write, gain, W_U):
    """You don't subtract the mean over the vocabulary. A constant on all logits does nothing."""
    return (write * gain) @ W_U


def logit_weights__divided_by_the_gain(write, gain, W_U):
    """You divide by the gain. The norm divides by its scale, and multiplies by its gain."""
    weights = (write / gain) @ W_U
    return weights - weights.mean(dim=-1, keepdim=True)


def logit_weights__normalised(write, gain, W_U):
    """You make the row a unit vector. One unit of the latent writes the row as it is."""
    weights = (write / write.norm(dim=-1, keepdim=True) * gain) @ W_U
    return weights - weights.mean(dim=-1, keepdim=True)


def logit_weights__centred_in_the_stream(write, gain, W_U):
    """You subtract the mean over the stream's dimensions. It is the mean over the vocabulary that
    does nothing."""
    scaled = write * gain
    return (scaled - scaled.mean(dim=-1, keepdim=True)) @ W_U


def logit_weights__row_centred(write, gain, W_U):
    """You subtract the mean of the decoder row. It is the mean over the vocabulary that is
    subtracted, after the product."""
    return ((write - write.mean(dim=-1, keepdim=True)) * gain) @ W_U


def logit_weights__one_mean_for_all_rows(write, gain, W_U):
    """You subtract one mean, of all rows together. Each row has its own mean over the
    vocabulary."""
    weights = (write * gain) @ W_U
    return weights - weights.mean()


def logit_weights__probabilities(write, gain, W_U):
    """You take a softmax. Asked for is what is added to the logits, not a prediction."""
    return ((write * gain) @ W_U).softmax(dim=-1)


def logit_weights__standardised(write, gain, W_U):
    """You divide by the standard deviation. Then a latent that writes much looks like one that
    writes little."""
    weights = (write * gain) @ W_U
    weights = weights - weights.mean(dim=-1, keepdim=True)
    return weights / weights.std(dim=-1, keepdim=True)


def logit_weights__log_softmax(write, gain, W_U):
    """You subtract the log of the sum of exponentials. Here it is the mean."""
    return ((write * gain) @ W_U).log_softmax(dim=-1)


# -------------------------------------------------------------------------------- d2. tail_shape


def _moments(weights, correction=0, minus=3.0, centre=True):
    mean = weights.mean(dim=-1, keepdim=True) if centre else 0.0
    spread = weights.std(dim=-1, keepdim=True, correction=correction)
    z = (weights - mean) / spread
    return z.pow(3).mean(dim=-1), z.pow(4).mean(dim=-1) - minus


def tail_shape__not_excess(weights):
    """The kurtosis of a normal distribution is 3. The excess over it is asked for: subtract 3."""
    return _moments(weights, minus=0.0)


def tail_shape__n_minus_one(weights):
    """Your standard deviation divides by n - 1, as `std` does unless told `correction=0`."""
    return _moments(weights, correction=1)


def tail_shape__not_standardised(weights):
    """You don't divide by the standard deviation. These numbers describe the shape, not the
    size."""
    centred = weights - weights.mean(dim=-1, keepdim=True)
    return centred.pow(3).mean(dim=-1), centred.pow(4).mean(dim=-1) - 3


def tail_shape__not_centred(weights):
    """You don't subtract the mean before you take powers."""
    return _moments(weights, centre=False)


def tail_shape__swapped(weights):
    """You return the kurtosis first. The skewness comes first."""
    return _moments(weights)[::-1]


def tail_shape__absolute_third(weights):
    """You take |z|³. The skewness has a sign: which tail is the longer one?"""
    centred = weights - weights.mean(dim=-1, keepdim=True)
    z = centred / weights.std(dim=-1, keepdim=True, correction=0)
    return z.abs().pow(3).mean(dim=-1), z.pow(4).mean(dim=-1) - 3


def tail_shape__over_everything(weights):
    """You mix the rows: mean and deviation belong to each latent by itself."""
    z = (weights - weights.mean()) / weights.std(correction=0)
    return z.pow(3).mean(dim=-1), z.pow(4).mean(dim=-1) - 3


# ------------------------------------------------------------------------ e1. direct_loss_effect


def _direct(logits, removed, target):
    before, after = logits.log_softmax(dim=-1), (logits - removed).log_softmax(dim=-1)
    return (before - after).gather(-1, target[:, None])[:, 0]


def direct_loss_effect__added(logits, write, scale, target, gain, W_U):
    """You add the latent's part once more. It is removed: subtract it from the logits."""
    return _direct(logits, -(write / scale[:, None] * gain) @ W_U, target)


def direct_loss_effect__old_minus_new(logits, write, scale, target, gain, W_U):
    """Your sign is turned: new loss minus old. Positive means that the latent was useful."""
    return -_direct(logits, (write / scale[:, None] * gain) @ W_U, target)


def direct_loss_effect__no_scale(logits, write, scale, target, gain, W_U):
    """You don't divide by the norm's scale. What the latent wrote was divided by it, too."""
    return _direct(logits, (write * gain) @ W_U, target)


def direct_loss_effect__no_gain(logits, write, scale, target, gain, W_U):
    """The norm's gain is missing: the unembedding reads the stream after it."""
    return _direct(logits, (write / scale[:, None]) @ W_U, target)


def direct_loss_effect__the_logit_only(logits, write, scale, target, gain, W_U):
    """You take the change of the target's logit. The loss also depends on all other logits, which
    change as well."""
    removed = (write / scale[:, None] * gain) @ W_U
    return removed.gather(-1, target[:, None])[:, 0]


def direct_loss_effect__times_the_scale(logits, write, scale, target, gain, W_U):
    """You multiply by the scale. The norm divides by it."""
    return _direct(logits, (write * scale[:, None] * gain) @ W_U, target)


def direct_loss_effect__the_new_loss(logits, write, scale, target, gain, W_U):
    """You return the loss without the latent. Its change is asked for: take off the clean loss."""
    after = (logits - (write / scale[:, None] * gain) @ W_U).log_softmax(dim=-1)
    return -after.gather(-1, target[:, None])[:, 0]


def direct_loss_effect__probabilities(logits, write, scale, target, gain, W_U):
    """You compare probabilities. The loss is minus the logarithm of them, in nats."""
    removed = (write / scale[:, None] * gain) @ W_U
    before, after = logits.softmax(dim=-1), (logits - removed).softmax(dim=-1)
    return (before - after).gather(-1, target[:, None])[:, 0]


# -------------------------------------------------------------------------- e2. full_loss_effect


def _change(before, after, target):
    log_p = before.log_softmax(dim=-1) - after.log_softmax(dim=-1)
    return log_p.gather(-1, target[:, None])[:, 0]


def _cut(resid, write, at, where="at"):
    cut, rows = resid.clone(), torch.arange(len(at), device=at.device)
    if where == "at":
        cut[rows, at] -= write
    elif where == "everywhere":
        cut -= write[:, None]
    elif where == "from":
        later = torch.arange(resid.shape[1], device=at.device) >= at[:, None]
        cut -= write[:, None] * later[..., None]
    elif where == "zero":
        cut[rows, at] = 0
    return cut


def full_loss_effect__probabilities(resid, write, at, target, rest):
    """You compare probabilities. The loss is *minus the logarithm* of the target's probability, in
    nats."""
    rows = torch.arange(len(at), device=at.device)
    cut = resid.clone()
    cut[rows, at] -= write
    before, after = (rest(x)[rows, at].softmax(dim=-1) for x in (resid, cut))
    return (before - after).gather(-1, target[:, None])[:, 0]


def full_loss_effect__in_place(resid, write, at, target, rest):
    """You change `resid` itself: whoever calls you next has the latent removed already. Clone."""
    rows = torch.arange(len(at), device=at.device)
    before = rest(resid)[rows, at].clone()
    resid[rows, at] -= write
    return _change(before, rest(resid)[rows, at], target)


def full_loss_effect__everywhere(resid, write, at, target, rest):
    """You remove it at all positions of the row. Only at `at`."""
    rows = torch.arange(len(at), device=at.device)
    cut = _cut(resid, write, at, "everywhere")
    return _change(rest(resid)[rows, at], rest(cut)[rows, at], target)


def full_loss_effect__at_every_position_of_at(resid, write, at, target, rest):
    """You change every row at all the positions that `at` lists. Each row has one of them: the
    first row the first, and so on."""
    rows = torch.arange(len(at), device=at.device)
    cut = resid.clone()
    cut[:, at] -= write
    return _change(rest(resid)[rows, at], rest(cut)[rows, at], target)


def full_loss_effect__the_whole_stream(resid, write, at, target, rest):
    """You set the stream at `at` to 0. Only what the latent wrote is taken off."""
    rows = torch.arange(len(at), device=at.device)
    cut = _cut(resid, write, at, "zero")
    return _change(rest(resid)[rows, at], rest(cut)[rows, at], target)


def full_loss_effect__last_position(resid, write, at, target, rest):
    """You read the loss at the last position. The target is predicted at `at`."""
    cut = _cut(resid, write, at)
    return _change(rest(resid)[:, -1], rest(cut)[:, -1], target)


def full_loss_effect__next_position(resid, write, at, target, rest):
    """You read the logits one position later. Those at `at` predict the token after `at`, and that
    is the target."""
    rows = torch.arange(len(at), device=at.device)
    later = (at + 1).clamp(max=resid.shape[1] - 1)
    cut = _cut(resid, write, at)
    return _change(rest(resid)[rows, later], rest(cut)[rows, later], target)


def full_loss_effect__position_before(resid, write, at, target, rest):
    """You read the logits one position earlier. Those predict the token at `at`, and the target is
    predicted at `at` itself."""
    rows = torch.arange(len(at), device=at.device)
    cut = _cut(resid, write, at)
    return _change(rest(resid)[rows, at - 1], rest(cut)[rows, at - 1], target)


def full_loss_effect__old_minus_new(resid, write, at, target, rest):
    """Your sign is turned: new loss minus old. Positive means that the latent was useful."""
    rows = torch.arange(len(at), device=at.device)
    cut = _cut(resid, write, at)
    return -_change(rest(resid)[rows, at], rest(cut)[rows, at], target)


def full_loss_effect__added(resid, write, at, target, rest):
    """You add what the latent wrote a second time. Subtract it."""
    rows = torch.arange(len(at), device=at.device)
    cut = _cut(resid, -write, at)
    return _change(rest(resid)[rows, at], rest(cut)[rows, at], target)


def full_loss_effect__from_there_on(resid, write, at, target, rest):
    """You remove it at `at` and at all later positions. In a causal model that is the same for the
    logits at `at`; but one position is asked for, and `rest` may be any function."""
    rows = torch.arange(len(at), device=at.device)
    cut = _cut(resid, write, at, "from")
    return _change(rest(resid)[rows, at], rest(cut)[rows, at], target)


# --------------------------------------------------------------------------------- f1. pair_sums


def _sums(x, y):
    sums = {"n": x.new_tensor(len(x)), "x": x.sum(dim=0), "y": y.sum(dim=0), "xy": x.T @ y}
    return sums | {"xx": x.square().sum(dim=0), "yy": y.square().sum(dim=0)}


def _double(sums):
    return {name: value.double() for name, value in sums.items()}


def pair_sums__converted_too_late(x, y):
    """You sum in the dtype you were given and convert afterwards. By then the digits are lost."""
    return _double(_sums(x, y))


def pair_sums__means(x, y):
    """You divide by the number of tokens. Means of two batches cannot be added; sums can."""
    sums = _sums(x.double(), y.double())
    return {k: v if k == "n" else v / sums["n"] for k, v in sums.items()}


def pair_sums__centred(x, y):
    """You subtract the batch's mean. Every batch has another one, so these sums do not add up."""
    x, y = x.double(), y.double()
    sums = _sums(x - x.mean(dim=0), y - y.mean(dim=0))
    return sums | {"x": x.sum(dim=0), "y": y.sum(dim=0)}


def pair_sums__squares_of_sums(x, y):
    """You square the sums. The sum of the squares is wanted: square first."""
    sums = _sums(x.double(), y.double())
    return sums | {"xx": sums["x"].square(), "yy": sums["y"].square()}


def pair_sums__product_of_sums(x, y):
    """Your "xy" is the product of two sums. It is the sum over tokens of products."""
    sums = _sums(x.double(), y.double())
    return sums | {"xy": sums["x"][:, None] * sums["y"]}


def pair_sums__transposed(x, y):
    """Your "xy" is the wrong way round: it has a row for each x and a column for each y."""
    x, y = x.double(), y.double()
    return _sums(x, y) | {"xy": y.T @ x}


def pair_sums__counts_active(x, y):
    """Your "n" counts activations. It is the number of tokens, active or not."""
    x, y = x.double(), y.double()
    return _sums(x, y) | {"n": (x != 0).sum().double()}


# ----------------------------------------------------------------------------------- f2. pearson


def _pearson(sums, least=None, guard=True, root=True, mean=True, unbiased=1.0):
    n = sums["n"]
    x, y = sums["x"] / n, sums["y"] / n
    cov = sums["xy"] / n - (x[:, None] * y if mean else 0)
    parts = []
    for m, square in ((x, sums["xx"] / n), (y, sums["yy"] / n)):
        v = square - (m.square() if mean else 0)
        parts.append(v * (v > (1e-12 * square if least is None else least)) if guard else v)
    spread = parts[0][:, None] * parts[1]
    spread = spread.sqrt() if root else spread
    if not guard:
        return cov / spread
    return torch.where(spread > 0, cov * unbiased / spread, 0.0)


def pearson__cosine(sums):
    """You don't subtract the means: that is a cosine. Two latents that are always on would look
    alike."""
    return _pearson(sums, mean=False)


def pearson__cosine_but_for_constants(sums):
    """You don't subtract the means: that is a cosine. Two latents that are nearly always on would
    look alike."""
    n = sums["n"]
    varies = [sums[k + k] / n - (sums[k] / n).square() > 1e-12 * sums[k + k] / n for k in "xy"]
    return _pearson(sums, mean=False) * (varies[0][:, None] & varies[1])


def pearson__variances_not_rooted(sums):
    """You divide by the variances. The standard deviations belong there: take the root."""
    return _pearson(sums, root=False)


def pearson__covariance(sums):
    """You return the covariance. Divide by both standard deviations."""
    n = sums["n"]
    return sums["xy"] / n - (sums["x"] / n)[:, None] * (sums["y"] / n)


def pearson__constants_are_nan(sums):
    """A constant has variance 0, and 0 / 0 is NaN in yours (or anything, by rounding): 0."""
    return _pearson(sums, guard=False)


def pearson__absolute_limit(sums):
    """You call a variance 0 below a fixed size. Activations can be tiny and vary all the same:
    compare the variance with the mean square."""
    return _pearson(sums, least=1e-12)


def pearson__squared(sums):
    """You return r². It has no sign: partners and opposites look alike."""
    return _pearson(sums).square()


def pearson__absolute(sums):
    """You return the absolute value. A negative correlation is another thing than a positive
    one."""
    return _pearson(sums).abs()


def pearson__transposed(sums):
    """Your matrix is the wrong way round: a row for each x, a column for each y."""
    return _pearson(sums).T


def pearson__n_twice(sums):
    """You mix n and n - 1: either both the covariance and the variances, or none."""
    return _pearson(sums, unbiased=sums["n"] / (sums["n"] - 1))


# ------------------------------------------------------------------------- f3. cosine_neighbours


def _cosines(W_dec, number):
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    return unit @ unit[number]


def cosine_neighbours__itself(W_dec, number, n):
    """The first neighbour in yours is the latent itself: nothing is nearer. Leave it out."""
    values, numbers = _cosines(W_dec, number).topk(n)
    return numbers, values


def cosine_neighbours__drops_the_first(W_dec, number, n):
    """You take n + 1 and drop the first. Where a row points in the same direction, the first may be
    the twin."""
    values, numbers = _cosines(W_dec, number).topk(min(n + 1, len(W_dec)))
    first = int((numbers == number).nonzero()[0, 0]) == 0
    twin = bool((values[:2] > 1 - 1e-5).all()) and len(values) > 1
    keep = slice(0, n) if twin and not first else slice(1, n + 1)
    swapped = numbers.clone()
    if twin and first:
        swapped[1] = number
    return swapped[keep], values[keep]


def cosine_neighbours__dot_products(W_dec, number, n):
    """You compare dot products. Long rows win then, wherever they point: divide by the norms."""
    products = W_dec @ W_dec[number]
    products[number] = -torch.inf
    values, numbers = products.topk(n)
    return numbers, values


def cosine_neighbours__either_sign(W_dec, number, n):
    """You take the absolute value. A row that points the other way is the furthest, not the
    nearest."""
    cosines = _cosines(W_dec, number).abs()
    cosines[number] = -torch.inf
    values, numbers = cosines.topk(n)
    return numbers, values


def cosine_neighbours__opposites_are_near(W_dec, number, n):
    """You rank by the size of the cosine, whatever its sign. A row that points the other way is the
    furthest, not the nearest."""
    cosines = _cosines(W_dec, number)
    size = cosines.abs()
    size[number] = -torch.inf
    numbers = size.topk(n).indices
    return numbers, cosines[numbers]


def cosine_neighbours__own_cosine_is_zero(W_dec, number, n):
    """You set the latent's own cosine to 0, and that is more than a negative one: where few others
    are positive, the latent is its own neighbour."""
    cosines = _cosines(W_dec, number)
    cosines[number] = 0
    values, numbers = cosines.topk(n)
    return numbers, values


def cosine_neighbours__the_furthest(W_dec, number, n):
    """You return the furthest ones: the largest cosine is the nearest direction."""
    cosines = _cosines(W_dec, number)
    cosines[number] = torch.inf
    values, numbers = cosines.topk(n, largest=False)
    return numbers, values


def cosine_neighbours__euclidean(W_dec, number, n):
    """You rank by distance. A long row in the same direction is far away then, but its cosine is
    1."""
    distance = (W_dec - W_dec[number]).norm(dim=1)
    distance[number] = torch.inf
    numbers = distance.topk(n, largest=False).indices
    return numbers, _cosines(W_dec, number)[numbers]


def cosine_neighbours__swapped(W_dec, number, n):
    """You return the cosines first. The latents' numbers come first."""
    cosines = _cosines(W_dec, number)
    cosines[number] = -torch.inf
    values, numbers = cosines.topk(n)
    return values, numbers


# ------------------------------------------------------------------------------- g1. token_table


def _counts(tokens, n_vocab):
    return torch.bincount(tokens, minlength=n_vocab)


def token_table__silent_instead(tokens, fires, n_vocab):
    """Your first count is of the tokens on which the latent is silent."""
    return _counts(tokens[~fires], n_vocab), _counts(tokens, n_vocab)


def token_table__silent_tokens_are_token_0(tokens, fires, n_vocab):
    """In your first count each token on which the latent is silent counts as token 0. Leave those
    tokens out."""
    return _counts(tokens * fires, n_vocab), _counts(tokens, n_vocab)


def token_table__second_is_the_rest(tokens, fires, n_vocab):
    """Your second count leaves out the active tokens. It is of all tokens."""
    return _counts(tokens[fires], n_vocab), _counts(tokens[~fires], n_vocab)


def token_table__too_short(tokens, fires, n_vocab):
    """Your results end at the largest token that occurs. They have n_vocab entries: `minlength`."""
    return torch.bincount(tokens[fires]), torch.bincount(tokens)


def token_table__shares(tokens, fires, n_vocab):
    """You return shares. Counts are needed: 1 of 2 and 500 of 1,000 are not the same evidence."""
    both, every = _counts(tokens[fires], n_vocab), _counts(tokens, n_vocab)
    return both / len(tokens), every / len(tokens)


def token_table__whether(tokens, fires, n_vocab):
    """You say whether a token occurs. Count how often."""
    both, every = _counts(tokens[fires], n_vocab), _counts(tokens, n_vocab)
    return (both > 0).long(), (every > 0).long()


def token_table__swapped(tokens, fires, n_vocab):
    """You have the two counts in each other's place."""
    return _counts(tokens, n_vocab), _counts(tokens[fires], n_vocab)


# ---------------------------------------------------------------------------- g2. log_p_enriched


def _log_choose(n, k):
    n = torch.as_tensor(n, dtype=torch.float64)
    return (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()


def _log_terms(j, of_token, n_fires, n_all):
    ways = _log_choose(of_token, j) + _log_choose(n_all - of_token, n_fires - j)
    return ways - _log_choose(n_all, torch.tensor(n_fires, dtype=torch.float64))


def _log_tail(first, last, of_token, n_fires, n_all):
    j = torch.arange(first, last + 1, dtype=torch.float64)
    if not len(j):
        return -math.inf
    return min(float(_log_terms(j, of_token, n_fires, n_all).logsumexp(dim=0)), 0.0)


def log_p_enriched__more_than(both, of_token, n_fires, n_all):
    """Yours is the probability of *more* than k. A p-value is that of at least k: include k."""
    return _log_tail(both + 1, min(of_token, n_fires), of_token, n_fires, n_all)


def log_p_enriched__exactly(both, of_token, n_fires, n_all):
    """Yours is the probability of exactly k. A p-value adds all that is as surprising or more."""
    return _log_tail(both, both, of_token, n_fires, n_all)


def log_p_enriched__at_most(both, of_token, n_fires, n_all):
    """Yours is the lower tail: that the token is as rare or rarer under the latent."""
    least = max(0, of_token + n_fires - n_all)
    return _log_tail(least, both, of_token, n_fires, n_all)


def log_p_enriched__binomial(both, of_token, n_fires, n_all):
    """Yours is the binomial tail, as if a ball went back into the urn after every draw."""
    j = torch.arange(both, n_fires + 1, dtype=torch.float64)
    p = of_token / n_all
    terms = _log_choose(n_fires, j) + j * math.log(p)
    terms = terms + (n_fires - j) * math.log1p(-p) if p < 1 else terms
    return min(float(terms.logsumexp(dim=0)), 0.0)


def log_p_enriched__not_the_logarithm(both, of_token, n_fires, n_all):
    """You return the probability. Its logarithm is wanted: the smallest ones are below what a float
    can hold."""
    return math.exp(_log_tail(both, min(of_token, n_fires), of_token, n_fires, n_all))


def log_p_enriched__base_ten(both, of_token, n_fires, n_all):
    """Your logarithm has base 10. The natural one is asked for."""
    last = min(of_token, n_fires)
    return _log_tail(both, last, of_token, n_fires, n_all) / math.log(10)


def log_p_enriched__sum_of_logs(both, of_token, n_fires, n_all):
    """You add the logarithms. That multiplies the probabilities: use logsumexp."""
    j = torch.arange(both, min(of_token, n_fires) + 1, dtype=torch.float64)
    return min(float(_log_terms(j, of_token, n_fires, n_all).sum()), 0.0)


def log_p_enriched__leaves_the_log_space(both, of_token, n_fires, n_all):
    """You exponentiate the terms, add, and take the logarithm. Tiny terms become 0, and log 0 is
    minus infinity."""
    j = torch.arange(both, min(of_token, n_fires) + 1, dtype=torch.float64)
    total = float(_log_terms(j, of_token, n_fires, n_all).exp().sum())
    return min(math.log(total), 0.0) if total > 0 else -math.inf


# ------------------------------------------------------------------------------- g3. discoveries


def _limits(log_p, level):
    i = torch.arange(1, len(log_p) + 1, device=log_p.device, dtype=log_p.dtype)
    return (level * i / len(log_p)).log()


def discoveries__uncorrected(log_p, level):
    """You compare every p-value with the level itself. With thousands of tests, chance alone passes
    that often."""
    return log_p <= math.log(level)


def discoveries__bonferroni(log_p, level):
    """Yours is Bonferroni's limit, level / m for all. It is stricter: only the smallest p-value has
    that limit here."""
    return log_p <= math.log(level / len(log_p))


def discoveries__ranks_from_zero(log_p, level):
    """Your ranks count from 0, so that every limit is one step too low. The smallest p-value has
    i = 1."""
    ordered = log_p.sort().values
    limits = (level * torch.arange(len(log_p), device=log_p.device) / len(log_p)).log()
    passed = ordered[ordered <= limits]
    none = torch.zeros_like(log_p, dtype=torch.bool)
    return log_p <= passed.max() if len(passed) else none


def discoveries__stops_at_the_first_failure(log_p, level):
    """You stop at the first sorted p-value that fails. The *largest* that passes counts, and takes
    those below it along."""
    ordered = log_p.sort().values
    passed = (ordered <= _limits(log_p, level)).long().cumprod(dim=0).bool()
    none = torch.zeros_like(log_p, dtype=torch.bool)
    return log_p <= ordered[passed].max() if passed.any() else none


def discoveries__each_against_its_own_limit(log_p, level):
    """You test each p-value against its own limit only. All below the largest that passes are
    findings."""
    order = log_p.argsort()
    found = torch.zeros_like(log_p, dtype=torch.bool)
    found[order] = log_p[order] <= _limits(log_p, level)
    return found


def discoveries__not_sorted(log_p, level):
    """You compare with the limits in the order in which the tests came. Sort first."""
    passed = log_p[log_p <= _limits(log_p, level)]
    none = torch.zeros_like(log_p, dtype=torch.bool)
    return log_p <= passed.max() if len(passed) else none


def discoveries__sorted_result(log_p, level):
    """Your answer is in the order of the sorted p-values. It belongs to the tests as they were
    given."""
    ordered = log_p.sort().values
    passed = ordered[ordered <= _limits(log_p, level)]
    none = torch.zeros_like(log_p, dtype=torch.bool)
    return ordered <= passed.max() if len(passed) else none


def discoveries__without_the_last(log_p, level):
    """You leave out the p-value at the cut itself. It passes, so it is a finding."""
    ordered = log_p.sort().values
    passed = ordered[ordered <= _limits(log_p, level)]
    none = torch.zeros_like(log_p, dtype=torch.bool)
    return log_p < passed.max() if len(passed) else none


def discoveries__level_not_logged(log_p, level):
    """You compare logarithms with limits that are none. Take the logarithm of the limits."""
    i = torch.arange(1, len(log_p) + 1, device=log_p.device, dtype=log_p.dtype)
    ordered = log_p.sort().values
    passed = ordered[ordered <= level * i / len(log_p)]
    none = torch.zeros_like(log_p, dtype=torch.bool)
    return log_p <= passed.max() if len(passed) else none


# ------------------------------------------------------------------------------- h1. script_json

LINES = "\u2028\u2029"


def _script(data, chars="<>&" + LINES, **options):
    text = json.dumps(data, **({"ensure_ascii": False, "allow_nan": False} | options))
    for char in chars:
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def script_json__plain(data):
    """Plain JSON. A token `</script>` in it ends the script, and what follows is read as HTML."""
    return json.dumps(data, allow_nan=False)


def script_json__html_escaped(data):
    """You escape as for HTML. A script does not undo that: the reader sees `&lt;` for `<`."""
    return html.escape(json.dumps(data, allow_nan=False), quote=False)


def script_json__html_escaped_with_quotes(data):
    """You escape as for HTML, the quotes, too. A script does not undo that, so what it reads is no
    JSON any more."""
    return html.escape(json.dumps(data, allow_nan=False))


def script_json__only_the_closing_tag(data):
    """You only care for `</`. `<!--` changes how a script is read, too: escape every `<`."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    for char in "&>" + LINES:
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.replace("</", "\\u003c/")


def script_json__no_line_ends(data):
    """U+2028 and U+2029 are left. They end a line in old JavaScript, in the middle of a string."""
    return _script(data, "<>&")


def script_json__characters_dropped(data):
    """You drop the dangerous characters. Then the page shows another text than the data has."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return text.translate(dict.fromkeys(map(ord, "<>&" + LINES)))


def script_json__nan_passes(data):
    """You write NaN and Infinity. Those are no JSON: the browser's `JSON.parse` fails on the whole
    page's data."""
    return _script(data, allow_nan=True)


def script_json__nan_passes_ascii(data):
    """You write NaN and Infinity. Those are no JSON: the browser's `JSON.parse` fails on the whole
    page's data."""
    return _script(data, ensure_ascii=True, allow_nan=True)


def script_json__escaped_twice(data):
    """You escape before `json.dumps`, which escapes your backslash once more: the reader sees
    `\\u003c` as text."""

    def walk(value):
        if isinstance(value, str):
            return "".join(f"\\u{ord(c):04x}" if c in "<>&" + LINES else c for c in value)
        if isinstance(value, dict):
            return {walk(k): walk(v) for k, v in value.items()}
        return [walk(v) for v in value] if isinstance(value, list) else value

    return json.dumps(walk(data), ensure_ascii=False, allow_nan=False)


def script_json__two_backslashes(data):
    """You write two backslashes. In JSON these stand for a backslash that is meant as text: the
    reader sees `\\u003c`."""
    text = json.dumps(data, allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\\\u{ord(char):04x}")
    return text


# -------------------------------------------------------------------------------- h2. token_span

SIGNS = {ord(" "): "·", ord("\n"): "⏎", ord("\t"): "⇥"}


def _span(shown, opacity, pixels):
    style = f"background:rgba(0,158,115,{opacity});border-bottom:{pixels}px solid"
    return f'<span style="{style}">{shown}</span>'


def token_span__not_escaped(token, share):
    """You don't escape. The token `<b>` becomes a tag."""
    return _span(token.translate(SIGNS), f"{share:.2f}", round(4 * share))


def token_span__blanks_unseen(token, share):
    """Spaces, newlines and tabs are shown as they are, so nobody sees them."""
    return _span(html.escape(token), f"{share:.2f}", round(4 * share))


def token_span__spaces_only(token, share):
    """Newlines and tabs are left. They need a sign of their own, too."""
    return _span(html.escape(token.replace(" ", "·")), f"{share:.2f}", round(4 * share))


def token_span__stripped(token, share):
    """You strip the token. Its space is part of it: " more" and "more" are two tokens."""
    return _span(html.escape(token.strip().translate(SIGNS)), f"{share:.2f}", round(4 * share))


def token_span__only_the_first(token, share):
    """You replace the first blank only. A token can have several."""
    shown = token
    for code, sign in SIGNS.items():
        shown = shown.replace(chr(code), sign, 1)
    return _span(html.escape(shown), f"{share:.2f}", round(4 * share))


def token_span__only_the_first_space(token, share):
    """You replace the first space only. A token can have several, and each is shown."""
    shown = token.replace(" ", "·", 1).replace("\n", "⏎").replace("\t", "⇥")
    return _span(html.escape(shown), f"{share:.2f}", round(4 * share))


def token_span__rounds_down(token, share):
    """You round the pixels down: only the strongest token would have 4. Use `round`."""
    return _span(html.escape(token.translate(SIGNS)), f"{share:.2f}", int(4 * share))


def token_span__rounds_up(token, share):
    """You round the pixels up: a very weak activation gets a line, as a real one does."""
    return _span(html.escape(token.translate(SIGNS)), f"{share:.2f}", math.ceil(4 * share))


def token_span__escaped_twice(token, share):
    """You escape twice: the reader sees `&lt;` for `<`."""
    shown = html.escape(html.escape(token)).translate(SIGNS)
    return _span(shown, f"{share:.2f}", round(4 * share))


# ------------------------------------------------------------------------------- i1. merge_parts


def _best(a, b, n, by_place=True, largest=True):
    values = torch.cat([a["values"], b["values"]], dim=1)
    places = torch.cat([a["places"], b["places"]], dim=1)
    if by_place:
        places, order = places.sort(dim=1, stable=True)
        values = values.gather(1, order)
    values, order = values.sort(dim=1, descending=largest, stable=True)
    return {"values": values[:, :n], "places": places.gather(1, order)[:, :n]}


def _added(a, b):
    return {name: a[name] + b[name] for name in ("n_tokens", "times")}


def merge_parts__a_first(a, b):
    """Of equal values you keep those of `a` first. Then merging b with a gives something else. The
    earlier place comes first."""
    return _added(a, b) | _best(a, b, a["values"].shape[1], by_place=False)


def merge_parts__later_place_first(a, b):
    """Of equal values you put the later place first. The earlier one comes first."""
    values = torch.cat([a["values"], b["values"]], dim=1)
    places, order = torch.cat([a["places"], b["places"]], dim=1).sort(
        dim=1, descending=True, stable=True
    )
    values, by_value = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    n = a["values"].shape[1]
    best = {"values": values[:, :n], "places": places.gather(1, by_value)[:, :n]}
    return _added(a, b) | best


def merge_parts__everything_kept(a, b):
    """You keep the n best of each. Merge often enough and the state is as long as the text."""
    return _added(a, b) | _best(a, b, 2 * a["values"].shape[1])


def merge_parts__larger_value_slot_by_slot(a, b):
    """You take the larger value slot by slot. The two best can both be in one part."""
    left = a["values"] >= b["values"]
    best = {name: torch.where(left, a[name], b[name]) for name in ("values", "places")}
    return _added(a, b) | best


def merge_parts__places_not_sorted_along(a, b):
    """You sort the values and not the places. Each value keeps its own place."""
    n = a["values"].shape[1]
    values = torch.cat([a["values"], b["values"]], dim=1).sort(dim=1, descending=True).values
    places = torch.cat([a["places"], b["places"]], dim=1)
    return _added(a, b) | {"values": values[:, :n], "places": places[:, :n]}


def merge_parts__places_shifted(a, b):
    """You add the length of `a` to the places of `b`. A place already counts from the beginning of
    the whole text, and either part may come first."""
    moved = torch.where(b["places"] < 0, -1, b["places"] + a["n_tokens"])
    return _added(a, b) | _best(a, {**b, "places": moved}, a["values"].shape[1])


def merge_parts__larger_count(a, b):
    """You take the larger of two counts. Counts of different tokens are added."""
    counts = {name: torch.maximum(a[name], b[name]) for name in ("n_tokens", "times")}
    return counts | _best(a, b, a["values"].shape[1])


def merge_parts__sorted_by_place_only(a, b):
    """You keep the earliest places. The strongest activations are wanted; the place only decides
    between equals."""
    n = a["values"].shape[1]
    places, order = torch.cat([a["places"], b["places"]], dim=1).sort(dim=1, stable=True)
    values = torch.cat([a["values"], b["values"]], dim=1).gather(1, order)
    return _added(a, b) | {"values": values[:, :n], "places": places[:, :n]}


# --------------------------------------------------------------------------- i2. share_explained


def _groups(acts, group):
    numbers, which = group.unique(return_inverse=True)
    x = acts.double()
    sums = x.new_zeros(len(numbers)).index_add(0, which, x - x.mean())
    return x - x.mean(), which, sums, torch.bincount(which)


def share_explained__each_group_once(acts, group):
    """Each group counts once in yours, a large one as much as a small one. Each *token* counts
    once."""
    centred, _, sums, sizes = _groups(acts, group)
    total = centred.square().mean()
    return float((sums / sizes).square().mean() / total) if total > 0 else 0.0


def share_explained__variance_of_the_means(acts, group):
    """You take the variance of the groups' means as they are, so that a small group counts as much
    as a large one. Each *token* counts once."""
    centred, _, sums, sizes = _groups(acts, group)
    total = centred.square().mean()
    return float((sums / sizes).var(correction=0) / total) if total > 0 else 0.0


def share_explained__within(acts, group):
    """Yours is the share *within* the groups, what they leave unexplained. The share between them
    is asked for."""
    centred, _, sums, sizes = _groups(acts, group)
    total = centred.square().sum()
    return float(1 - (sums.square() / sizes).sum() / total) if total > 0 else 0.0


def share_explained__between_over_within(acts, group):
    """You divide by the variance within the groups. A share is of the whole variance: it is never
    more than 1."""
    x = acts.double()
    numbers, which = group.unique(return_inverse=True)
    fitted = (x.new_zeros(len(numbers)).index_add(0, which, x) / torch.bincount(which))[which]
    between, within = (fitted - x.mean()).square().sum(), (x - fitted).square().sum()
    return float(between / within) if acts.max() > acts.min() else 0.0


def share_explained__a_root(acts, group):
    """You take the square root: that is a correlation. η² is a share of the variance."""
    centred, _, sums, sizes = _groups(acts, group)
    total = centred.square().sum()
    return float(((sums.square() / sizes).sum() / total).sqrt()) if total > 0 else 0.0


def share_explained__linear_in_the_number(acts, group):
    """You correlate with the group's *number*. Token 5,000 is not more than token 4,999: these
    numbers are names."""
    x, g = acts.double() - acts.double().mean(), group.double() - group.double().mean()
    spread = x.square().sum() * g.square().sum()
    return float((x * g).sum().square() / spread) if spread > 0 else 0.0


def share_explained__not_centred(acts, group):
    """You don't subtract the mean. Then a constant activation is explained by anything."""
    x = acts.double()
    numbers, which = group.unique(return_inverse=True)
    sums = x.new_zeros(len(numbers)).index_add(0, which, x)
    total = x.square().sum()
    return float((sums.square() / torch.bincount(which)).sum() / total) if total > 0 else 0.0


def share_explained__sums_for_means(acts, group):
    """You square the groups' sums. With the mean m of a group of n tokens it is n m², the squared
    sum divided by n."""
    centred, _, sums, _ = _groups(acts, group)
    total = centred.square().sum()
    return float(sums.square().sum() / total) if total > 0 else 0.0


def share_explained__constant_is_one(acts, group):
    """For a constant you return 1. There is no variance to explain: 0 is asked for."""
    centred, _, sums, sizes = _groups(acts, group)
    total = centred.square().sum()
    return float((sums.square() / sizes).sum() / total) if total > 0 else 1.0


# --------------------------------------------------------------------------- i3. antipodal_pairs


def _unit(W_dec):
    return W_dec / W_dec.norm(dim=1, keepdim=True)


def antipodal_pairs__both_orders(W_dec, together, most):
    """You list every pair twice, as (i, j) and (j, i). Only i < j."""
    unit = _unit(W_dec)
    return ((unit @ unit.T <= most) & (together == 0)).nonzero()


def antipodal_pairs__whatever_is_active(W_dec, together, most):
    """You only look at directions. A pair that is ever active together cannot be one number with a
    sign."""
    unit = _unit(W_dec)
    return (unit @ unit.T <= most).triu(diagonal=1).nonzero()


def antipodal_pairs__alike(W_dec, together, most):
    """You list pairs that point the same way. Opposite: the cosine is near -1."""
    unit = _unit(W_dec)
    return ((unit @ unit.T >= -most) & (together == 0)).triu(diagonal=1).nonzero()


def antipodal_pairs__dot_products(W_dec, together, most):
    """You compare dot products with a limit for cosines. Divide by the norms first."""
    return ((W_dec @ W_dec.T <= most) & (together == 0)).triu(diagonal=1).nonzero()


def antipodal_pairs__active_together(W_dec, together, most):
    """You keep the pairs that *are* active together. Those that never are."""
    unit = _unit(W_dec)
    return ((unit @ unit.T <= most) & (together > 0)).triu(diagonal=1).nonzero()


def antipodal_pairs__j_before_i(W_dec, together, most):
    """Your pairs are (j, i) with the larger number first. The smaller comes first."""
    unit = _unit(W_dec)
    return ((unit @ unit.T <= most) & (together == 0)).tril(diagonal=-1).nonzero()


def antipodal_pairs__not_together_only(W_dec, together, most):
    """You only look at activity. Most pairs are never active together: their directions must be
    opposite as well."""
    return (together == 0).triu(diagonal=1).nonzero()


# ------------------------------------------------------------------------------------- predictions


def predict_median_density__a_little_less():
    """Still less: the densities differ by factors of a thousand, and a long upper tail makes up
    much of the mean."""
    return "0.4 % to 0.8 %"


def predict_median_density__as_the_mean():
    """That would hold if the densities were symmetric around their mean. They are not: a long
    upper tail pulls the mean up."""
    return "0.8 % or more"


def predict_below_half__less_than_half_of_them():
    """The largest of hundreds of numbers is far out. Most activations are much closer to 0 than to
    it."""
    return "less than 50 %"


def predict_below_half__some_more():
    """Even more: on average only one activation in seven is in the upper half of the range."""
    return "50 % to 75 %"


def predict_middle__the_same_word():
    """That is what one expects from the list of the strongest. But in the middle there is hardly
    any "more"."""
    return "more than 70 %"


def predict_middle__some():
    """Fewer: the favourite is nearly gone in the middle, and another word has its place."""
    return "30 % to 70 %"


def predict_kurtosis__much_larger():
    """For a layer near the output that may hold. This one is twenty blocks below it, and writes for
    the blocks above, not for the vocabulary."""
    return "more than 10 times"


def predict_kurtosis__larger():
    """Not even that. Random directions have some excess kurtosis, too, because the unembedding's
    columns have different lengths: this is what the control is for."""
    return "2 to 10 times"


def predict_sign__nearly_always():
    """That holds when the latent is removed after the last block. From block 10, nineteen blocks
    react in between."""
    return "on more than 85 %"


def predict_sign__mostly():
    """It is no better than tossing a coin: nineteen blocks react in between, and what they do with
    the latent decides."""
    return "on 65 % to 85 %"


def predict_same_neighbour__mostly():
    """An SAE with few active latents per token gains nothing from two latents that are active
    together *and* write the same: one of them would do."""
    return "more than 50 %"


def predict_same_neighbour__sometimes():
    """Rarer than that. Partners in time usually write different things about the same token."""
    return "15 % to 50 %"


def predict_densest__its_position():
    """Some dense latents do follow the position, the second densest among them. This one does
    not: look at the other bars."""
    return "the position in the row"


def predict_densest__nothing():
    """A latent can be active half of the time and still say something: with which strength it is
    active depends on the token."""
    return "nothing: not more than shuffled groups"
