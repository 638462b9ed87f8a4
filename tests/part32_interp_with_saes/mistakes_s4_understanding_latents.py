"""Wrong answers that learners of 3.2.4 give, each with what a tutor would say."""

import math
import re
from itertools import pairwise

import torch
from torch.nn.functional import cross_entropy

# -------------------------------------------------------------------------------------- a1. steer


def _steer(resid, f, w, where, how, by, new):
    if how not in new:
        raise ValueError(f"how is add, scale or clamp, not {how!r}")
    return resid + torch.where(where, new[how], 0.0)[..., None] * w


def steer__adds_the_new_activation(resid, f, w, where, how, by):
    """You add all of the new activation. The old one is in the residual stream already: add the
    difference f' - f."""
    new = {"add": f + by, "scale": f * by, "clamp": torch.full_like(f, by)}
    return _steer(resid, f, w, where, how, by, new)


def steer__everywhere(resid, f, w, where, how, by):
    """You change every token. Only those in `where` may change."""
    new = {"add": torch.full_like(f, by), "scale": f * by - f, "clamp": by - f}
    return _steer(resid, f, w, torch.ones_like(where), how, by, new)


def steer__scale_adds_that_often(resid, f, w, where, how, by):
    """A factor of `by` means f' = by · f, so the change is (by - 1) f. You add by · f, and a factor
    of 1 does not leave the latent as it is."""
    new = {"add": torch.full_like(f, by), "scale": f * by, "clamp": by - f}
    return _steer(resid, f, w, where, how, by, new)


def steer__clamp_adds(resid, f, w, where, how, by):
    """Your clamp is your add. Clamped, the latent is `by` afterwards, whatever it was before."""
    new = {"add": torch.full_like(f, by), "scale": f * by - f, "clamp": torch.full_like(f, by)}
    return _steer(resid, f, w, where, how, by, new)


def steer__only_where_active(resid, f, w, where, how, by):
    """You change only tokens at which the latent is active. Steering writes it at silent tokens,
    too."""
    new = {"add": torch.full_like(f, by), "scale": f * by - f, "clamp": by - f}
    return _steer(resid, f, w, where & (f > 0), how, by, new)


def steer__never_below_zero(resid, f, w, where, how, by):
    """You cut the new activation off at 0. The statement allows negative results: pushing a latent
    below 0 is the usual way to suppress what it writes."""
    new = {"add": f + by, "scale": f * by, "clamp": torch.full_like(f, by)}
    new = {name: value.clamp(min=0) - f for name, value in new.items()}
    return _steer(resid, f, w, where, how, by, new)


def steer__unit_direction(resid, f, w, where, how, by):
    """You make w a unit vector. An activation is measured in the decoder row as it is."""
    new = {"add": torch.full_like(f, by), "scale": f * by - f, "clamp": by - f}
    return _steer(resid, f, w / w.norm(), where, how, by, new)


def steer__unknown_word_is_add(resid, f, w, where, how, by):
    """A word that you do not know is taken for another one. A misspelt `how` must be an error, or
    the experiment measures something else."""
    new = {"scale": f * by - f, "clamp": by - f}
    new[how] = new.get(how, torch.full_like(f, by))
    return _steer(resid, f, w, where, how, by, new)


def steer__of_the_stream(resid, f, w, where, how, by):
    """You scale (or set) the residual stream. The latent's activation is what is scaled, and only
    its part along w changes."""
    new = {"add": by * w, "scale": (by - 1) * resid, "clamp": by * w - resid}
    if how not in new:
        raise ValueError(f"how is add, scale or clamp, not {how!r}")
    return resid + where[..., None] * new[how]


def steer__clamp_is_a_floor(resid, f, w, where, how, by):
    """Your clamp lifts activations below `by` and leaves those above. Here clamped means: that
    value, whatever it was."""
    new = {"add": torch.full_like(f, by), "scale": f * by - f, "clamp": f.clamp(min=by) - f}
    return _steer(resid, f, w, where, how, by, new)


# ------------------------------------------------------------------------------- a2. random_as_long


def random_as_long__uniform_numbers(w, n, gen):
    """You draw uniform numbers: their directions prefer the corners of a cube. Normal numbers have
    no preferred direction."""
    drawn = 2 * torch.rand(n, len(w), generator=gen, device=w.device, dtype=w.dtype) - 1
    return drawn / drawn.norm(dim=1, keepdim=True) * w.norm()


def random_as_long__positive_numbers(w, n, gen):
    """All your numbers are positive: only one corner of the space is drawn from."""
    drawn = torch.randn(n, len(w), generator=gen, device=w.device, dtype=w.dtype).abs()
    return drawn / drawn.norm(dim=1, keepdim=True) * w.norm()


def random_as_long__unit_length(w, n, gen):
    """Your directions have length 1. The control must be as long as w: a shorter push does less
    because it is shorter."""
    drawn = torch.randn(n, len(w), generator=gen, device=w.device, dtype=w.dtype)
    return drawn / drawn.norm(dim=1, keepdim=True)


def random_as_long__right_on_average(w, n, gen):
    """Your directions have the right length only on average. Divide each by its own norm."""
    drawn = torch.randn(n, len(w), generator=gen, device=w.device, dtype=w.dtype)
    return drawn * w.norm() / math.sqrt(len(w))


def random_as_long__one_norm_for_all(w, n, gen):
    """You divide by the norm of the whole matrix. Each row needs its own: `dim=1, keepdim=True`."""
    drawn = torch.randn(n, len(w), generator=gen, device=w.device, dtype=w.dtype)
    return drawn / drawn.norm() * w.norm()


def random_as_long__shuffled(w, n, gen):
    """You shuffle the entries of w. That is a control, too, but not a random direction: large
    entries stay large."""
    order = torch.rand(n, len(w), generator=gen, device=w.device).argsort(dim=1)
    return w[order]


def random_as_long__near_w(w, n, gen):
    """You add noise to w. A control must know nothing of w but its length."""
    drawn = w + torch.randn(n, len(w), generator=gen, device=w.device, dtype=w.dtype) * w.norm()
    return drawn / drawn.norm(dim=1, keepdim=True) * w.norm()


# -------------------------------------------------------------------- a3. continuation_perplexity


def _loss(logits, ids):
    return cross_entropy(logits.transpose(1, 2), ids, reduction="none")


def continuation_perplexity__not_shifted(logits, ids, start):
    """You compare a token with the logits at its own position. Those predict the next one."""
    return _loss(logits[:, start:], ids[:, start:]).mean(dim=1).exp()


def continuation_perplexity__one_token_late(logits, ids, start):
    """You leave out the first token of the continuation: it is predicted at position start - 1."""
    if start == ids.shape[1] - 1:
        start -= 1
    return _loss(logits[:, start:-1], ids[:, start + 1 :]).mean(dim=1).exp()


def continuation_perplexity__of_the_whole_text(logits, ids, start):
    """You count the prompt, too. It was not written by the steered model."""
    return _loss(logits[:, :-1], ids[:, 1:]).mean(dim=1).exp()


def continuation_perplexity__mean_of_exponentials(logits, ids, start):
    """You take the exponential of each loss and then the mean. One odd token then rules the result:
    first the mean, then exp."""
    return _loss(logits[:, start - 1 : -1], ids[:, start:]).exp().mean(dim=1)


def continuation_perplexity__sum(logits, ids, start):
    """You sum the losses: that is one over the probability of the whole text, and grows with its
    length. Take the mean."""
    return _loss(logits[:, start - 1 : -1], ids[:, start:]).sum(dim=1).exp()


def continuation_perplexity__still_a_loss(logits, ids, start):
    """That is the mean loss in nats. Perplexity is its exponential."""
    return _loss(logits[:, start - 1 : -1], ids[:, start:]).mean(dim=1)


def continuation_perplexity__base_two(logits, ids, start):
    """You take 2 to the power of a loss in nats. Nats go with e."""
    return 2 ** _loss(logits[:, start - 1 : -1], ids[:, start:]).mean(dim=1)


def continuation_perplexity__one_number(logits, ids, start):
    """You return one number for all rows. Each row has its own."""
    loss = _loss(logits[:, start - 1 : -1], ids[:, start:])
    return loss.mean().exp().expand(len(ids)).clone()


# -------------------------------------------------------------------------------- a4. best_within


def best_within__ignores_the_limit(effect, cost, limit):
    """You take the largest effect, whatever it costs. At a large enough dose every model is
    broken."""
    return int(effect.argmax())


def best_within__below_the_limit(effect, cost, limit):
    """A cost equal to the limit is allowed: `<=`."""
    allowed = (cost < limit).nonzero()[:, 0].tolist()
    return max(allowed, key=lambda i: float(effect[i])) if allowed else -1


def best_within__index_among_the_allowed(effect, cost, limit):
    """Your index counts the allowed doses only. It must be one of all doses."""
    allowed = cost <= limit
    return int(effect[allowed].argmax()) if allowed.any() else -1


def best_within__zero_for_the_forbidden(effect, cost, limit):
    """You give forbidden doses the effect 0. If all effects are negative, a forbidden one wins: use
    minus infinity."""
    if not (cost <= limit).any():
        return -1
    kept = torch.where(cost <= limit, effect, 0.0).tolist()
    return kept.index(max(kept))


def best_within__last_of_equals(effect, cost, limit):
    """Of equal effects you take the last one. The first was asked for."""
    allowed = (cost <= limit).nonzero()[:, 0].tolist()
    return max(reversed(allowed), key=lambda i: float(effect[i])) if allowed else -1


def best_within__largest_dose(effect, cost, limit):
    """You take the last dose that is allowed. More is not always better: take the largest
    effect."""
    allowed = (cost <= limit).nonzero()[:, 0].tolist()
    return allowed[-1] if allowed else -1


def best_within__effect_per_cost(effect, cost, limit):
    """You take the best ratio of effect and cost. Asked for is the largest effect among the
    allowed."""
    allowed = (cost <= limit).nonzero()[:, 0].tolist()
    return max(allowed, key=lambda i: float(effect[i] / (cost[i] + 1e-9))) if allowed else -1


def best_within__zero_if_none(effect, cost, limit):
    """If every dose costs too much you return 0: that is the first dose. Return -1."""
    allowed = (cost <= limit).nonzero()[:, 0].tolist()
    return max(allowed, key=lambda i: float(effect[i])) if allowed else 0


# ------------------------------------------------------------------------------- a5. output_score


def output_score__sum_of_logs(clean, steered, tokens):
    """You add the logarithms of the probabilities: that is the probability that *all* of them come.
    It is one *or* another."""
    return (steered.log_softmax(-1) - clean.log_softmax(-1))[:, tokens].sum(dim=-1)


def output_score__mean_of_logs(clean, steered, tokens):
    """You average the changes over the tokens. A token that nobody would say counts as much as a
    likely one: add the probabilities."""
    return (steered.log_softmax(-1) - clean.log_softmax(-1))[:, tokens].mean(dim=-1)


def output_score__leaves_the_logarithm(clean, steered, tokens):
    """You add probabilities and then take the logarithm. Below 10⁻⁴⁵ a float32 is 0, and the
    logarithm infinite: `logsumexp` of the `log_softmax`."""
    before, after = (x.softmax(-1)[:, tokens].sum(dim=-1).log() for x in (clean, steered))
    return after - before


def output_score__of_the_logits(clean, steered, tokens):
    """You take the logits themselves. A push that raises all logits by 1 makes no token more
    likely: normalise over the vocabulary."""
    return steered[:, tokens].logsumexp(dim=-1) - clean[:, tokens].logsumexp(dim=-1)


def output_score__normalised_in_the_set(clean, steered, tokens):
    """You normalise over the chosen tokens only, so their probabilities add up to 1 both times."""
    before, after = (x[:, tokens].log_softmax(-1).logsumexp(dim=-1) for x in (clean, steered))
    return after - before


def output_score__clean_minus_steered(clean, steered, tokens):
    """Your sign is the other way round: positive means that steering made the set more likely."""
    before, after = (x.log_softmax(-1)[:, tokens].logsumexp(-1) for x in (clean, steered))
    return before - after


def output_score__best_token(clean, steered, tokens):
    """You follow the likeliest token of the set only. Add up the probabilities of all of them."""
    before, after = (x.log_softmax(-1)[:, tokens].amax(-1) for x in (clean, steered))
    return after - before


def output_score__difference_of_probabilities(clean, steered, tokens):
    """You subtract probabilities. The difference of their logarithms was asked for: from 0.0001 to
    0.01 is a large change."""
    before, after = (x.softmax(-1)[:, tokens].sum(dim=-1) for x in (clean, steered))
    return after - before


# ---------------------------------------------------------------------------- b1. stratified_rows


def _draw(parts, n_each, gen):
    return [p[torch.randperm(len(p), generator=gen, device=gen.device)[:n_each]] for p in parts]


def stratified_rows__silent_rows_too(strength, n_strata, n_each, gen):
    """Rows on which the latent is silent are among your positives."""
    return _draw(strength.sort(stable=True).indices.tensor_split(n_strata), n_each, gen)


def stratified_rows__equal_widths(strength, n_strata, n_each, gen):
    """You cut the range of values into equal widths: the strong parts then have hardly a row. Cut
    the list of rows into equal numbers."""
    edges = strength.max() * torch.arange(n_strata, device=strength.device) / n_strata
    which = (strength[:, None] > edges).sum(dim=1) - 1
    return _draw([(which == i).nonzero()[:, 0] for i in range(n_strata)], n_each, gen)


def stratified_rows__strongest_of_each(strength, n_strata, n_each, gen):
    """You take the strongest of each part. Draw at random: the strongest are not typical."""
    order = strength.sort(stable=True).indices
    parts = order[strength[order] > 0].tensor_split(n_strata)
    return [part[max(len(part) - n_each, 0) :] for part in parts]


def stratified_rows__with_replacement(strength, n_strata, n_each, gen):
    """You draw with replacement, so a row can come twice: use a permutation."""
    order = strength.sort(stable=True).indices
    parts = order[strength[order] > 0].tensor_split(n_strata)
    drawn = [torch.randint(len(p), (min(n_each, len(p)),), generator=gen) for p in parts]
    return [p[d.to(p.device)] for p, d in zip(parts, drawn, strict=True)]


def stratified_rows__strong_first(strength, n_strata, n_each, gen):
    """Your parts go from strong to weak. Weak ones come first."""
    order = strength.sort(stable=True).indices
    return _draw(order[strength[order] > 0].tensor_split(n_strata)[::-1], n_each, gen)


def stratified_rows__not_sorted(strength, n_strata, n_each, gen):
    """You cut the rows in the order in which they come. Sort them by strength first."""
    return _draw((strength > 0).nonzero()[:, 0].tensor_split(n_strata), n_each, gen)


def stratified_rows__last_parts_longer(strength, n_strata, n_each, gen):
    """If it does not come out even, your last parts are the longer ones. The first have one
    more."""
    order = strength.sort(stable=True).indices
    active = order[strength[order] > 0]
    ends = [len(active) * i // n_strata for i in range(n_strata + 1)]
    return _draw([active[a:b] for a, b in pairwise(ends)], n_each, gen)


def stratified_rows__not_random(strength, n_strata, n_each, gen):
    """You take the first rows of each part. Draw at random, with `gen`."""
    order = strength.sort(stable=True).indices
    return [p[:n_each] for p in order[strength[order] > 0].tensor_split(n_strata)]


def stratified_rows__equal_widths_from_the_weakest(strength, n_strata, n_each, gen):
    """You cut the range from the weakest to the strongest into equal widths: some parts then have
    hardly a row. Cut the list of rows into equal numbers."""
    order = strength.sort(stable=True).indices
    order = order[strength[order] > 0]
    s = strength[order]
    place = ((s - s[0]) / (s[-1] - s[0]).clamp(min=1e-12) * n_strata).long()
    place = place.clamp(max=n_strata - 1)
    return _draw([order[place == i] for i in range(n_strata)], n_each, gen)


def stratified_rows__rest_in_the_last(strength, n_strata, n_each, gen):
    """If it does not come out even, all that is left goes into your last part. The *first* parts
    should have one more each."""
    order = strength.sort(stable=True).indices
    active = order[strength[order] > 0]
    size = len(active) // n_strata
    ends = [i * size for i in range(n_strata)] + [len(active)]
    return _draw([active[a:b] for a, b in pairwise(ends)], n_each, gen)


# -------------------------------------------------------------------------------- b2. silent_rows


def _some(silent, n, gen):
    rows = silent.nonzero()[:, 0]
    if len(rows) < n:
        raise ValueError(f"{n} silent rows are wanted, there are {len(rows)}")
    return rows[torch.randperm(len(rows), generator=gen, device=gen.device)[:n]]


def silent_rows__any_rows(acts, mask, n, gen):
    """You draw from all rows. Many have activations: a judge who sees them would be marked
    wrong."""
    return _some(mask.any(dim=1), n, gen)


def silent_rows__padding_counts(acts, mask, n, gen):
    """You look at tokens outside the mask, too. What a latent does on padding or on the first token
    does not matter."""
    return _some((acts == 0).all(dim=1) & mask.any(dim=1), n, gen)


def silent_rows__empty_rows(acts, mask, n, gen):
    """Rows with no token in the mask are among yours: of an empty row everything is true."""
    return _some(((acts == 0) | ~mask).all(dim=1), n, gen)


def silent_rows__somewhere_silent(acts, mask, n, gen):
    """You take rows with *some* silent token. The latent must be silent at all of them."""
    return _some(((acts == 0) & mask).any(dim=1), n, gen)


def silent_rows__fewer(acts, mask, n, gen):
    """If there are too few you return fewer, and say nothing. A score on too few negatives looks
    like any other: raise a ValueError."""
    rows = (((acts == 0) | ~mask).all(dim=1) & mask.any(dim=1)).nonzero()[:, 0]
    return rows[torch.randperm(len(rows), generator=gen, device=gen.device)[:n]]


def silent_rows__the_first(acts, mask, n, gen):
    """You take the first silent rows. Draw at random: neighbours in a text are alike."""
    rows = (((acts == 0) | ~mask).all(dim=1) & mask.any(dim=1)).nonzero()[:, 0]
    if len(rows) < n:
        raise ValueError(f"{n} silent rows are wanted, there are {len(rows)}")
    return rows[:n]


def silent_rows__with_replacement(acts, mask, n, gen):
    """You draw with replacement: a row can come twice."""
    rows = (((acts == 0) | ~mask).all(dim=1) & mask.any(dim=1)).nonzero()[:, 0]
    if len(rows) < n:
        raise ValueError(f"{n} silent rows are wanted, there are {len(rows)}")
    return rows[torch.randint(len(rows), (n,), generator=gen, device=gen.device)]


def silent_rows__nearly_silent(acts, mask, n, gen):
    """You call small activations silent. Silent means exactly 0: small ones are examples, too."""
    return _some(((acts < 0.01) | ~mask).all(dim=1) & mask.any(dim=1), n, gen)


# -------------------------------------------------------------------------------- b3. marked_text


def _listed(tokens, acts, number):
    pairs = zip(tokens, acts.tolist(), strict=True)
    return ", ".join(f'"{t}" {number(a)}' for t, a in pairs if a > 0) or "none"


def _in_runs(tokens, on):
    on, text = [False, *on, False], ""
    for i, token in enumerate(tokens):
        opens, closes = on[i + 1] and not on[i], on[i + 1] and not on[i + 2]
        text += "<<" * opens + token + ">>" * closes
    return text


def marked_text__each_token(tokens, acts, top):
    """You mark each token by itself. Neighbouring active tokens share one pair of marks."""
    pairs = zip(tokens, acts.tolist(), strict=True)
    text = "".join(f"<<{t}>>" if a > 0 else t for t, a in pairs)
    return f"{text}\nActivations: {_listed(tokens, acts, lambda a: math.ceil(10 * a / top))}"


def marked_text__rounded(tokens, acts, top):
    """You round to the nearest number, so weak activations become 0. Round up: active is at
    least 1."""
    text = _in_runs(tokens, (acts > 0).tolist())
    return f"{text}\nActivations: {_listed(tokens, acts, lambda a: round(10 * a / top))}"


def marked_text__rounded_down(tokens, acts, top):
    """You round down, so weak activations become 0. Round up: active is at least 1."""
    text = _in_runs(tokens, (acts > 0).tolist())
    return f"{text}\nActivations: {_listed(tokens, acts, lambda a: int(10 * a / top))}"


def marked_text__own_maximum(tokens, acts, top):
    """You divide by the largest activation of this text. Then every text seems to have a 10: divide
    by `top`, the latent's largest."""
    most = float(acts.max()) or 1.0
    text = _in_runs(tokens, (acts > 0).tolist())
    return f"{text}\nActivations: {_listed(tokens, acts, lambda a: math.ceil(10 * a / most))}"


def marked_text__last_run_stays_open(tokens, acts, top):
    """A run at the end of the text is never closed in yours."""
    on = (acts > 0).tolist()
    text = _in_runs([*tokens, ""], [*on, on[-1]])
    text = text.removesuffix(">>") if on[-1] else text
    return f"{text}\nActivations: {_listed(tokens, acts, lambda a: math.ceil(10 * a / top))}"


def marked_text__all_strengths(tokens, acts, top):
    """You list silent tokens as well. Only active ones have a strength."""
    pairs = zip(tokens, acts.tolist(), strict=True)
    listed = ", ".join(f'"{t}" {math.ceil(10 * a / top)}' for t, a in pairs)
    return f"{_in_runs(tokens, (acts > 0).tolist())}\nActivations: {listed}"


def marked_text__only_marks(tokens, acts, top):
    """The second line is missing: without strengths the explainer cannot tell weak from strong."""
    return _in_runs(tokens, (acts > 0).tolist())


def marked_text__nothing_for_none(tokens, acts, top):
    """With no active token the second line must say `none`: yours is empty."""
    listed = _listed(tokens, acts, lambda a: math.ceil(10 * a / top)).replace("none", "")
    return f"{_in_runs(tokens, (acts > 0).tolist())}\nActivations: {listed}"


# ----------------------------------------------------------------------------- b4. parse_verdicts


def _entries(reply, which=-1):
    lists = re.findall(r"\[([^\[\]]*)\]", reply)
    if not lists:
        raise ValueError("the reply has no list in square brackets")
    return [entry.strip() for entry in lists[which].split(",")]


def _counted(entries, n):
    if len(entries) != n:
        raise ValueError(f"the reply has {len(entries)} verdicts for {n} texts")
    return entries


def parse_verdicts__the_first_list(reply, n):
    """You read the first list. Models think aloud: the last one is the answer."""
    entries = _counted(_entries(reply, 0), n)
    wrong = [e for e in entries if e not in ("0", "1")]
    if wrong:
        raise ValueError(f"a verdict is 0 or 1, not {wrong[0]!r}")
    return torch.tensor([e == "1" for e in entries])


def parse_verdicts__everything_else_is_no(reply, n):
    """An entry that is not 1 counts as 0 in yours. Then nonsense scores as an answer: raise a
    ValueError."""
    return torch.tensor([e == "1" for e in _counted(_entries(reply), n)])


def parse_verdicts__any_number(reply, n):
    """You accept any whole number as true. A 7 is no verdict, it is a sign that the judge
    misunderstood."""
    return torch.tensor([int(e) != 0 for e in _counted(_entries(reply), n)])


def parse_verdicts__cut_to_length(reply, n):
    """You take the first n entries of a longer list. Nobody knows which texts they belong to:
    raise a ValueError."""
    entries = _entries(reply)
    if len(entries) < n:
        raise ValueError(f"the reply has {len(entries)} verdicts for {n} texts")
    wrong = [e for e in entries[:n] if e not in ("0", "1")]
    if wrong:
        raise ValueError(f"a verdict is 0 or 1, not {wrong[0]!r}")
    return torch.tensor([e == "1" for e in entries[:n]])


def parse_verdicts__filled_up(reply, n):
    """You fill a short list up with zeros. These would be counted as answers: raise a
    ValueError."""
    entries = _entries(reply)
    if len(entries) > n:
        raise ValueError(f"the reply has {len(entries)} verdicts for {n} texts")
    wrong = [e for e in entries if e not in ("0", "1")]
    if wrong:
        raise ValueError(f"a verdict is 0 or 1, not {wrong[0]!r}")
    return torch.tensor([e == "1" for e in entries] + [False] * (n - len(entries)))


def parse_verdicts__no_list_is_no(reply, n):
    """Without a list you answer "no" to everything. A reply that cannot be read must be an
    error."""
    try:
        return torch.tensor([e == "1" for e in _counted(_entries(reply), n)])
    except ValueError:
        return torch.zeros(n, dtype=torch.bool)


def parse_verdicts__spaces_refused(reply, n):
    """You refuse spaces and line breaks around the entries. They are allowed: `strip()`."""
    lists = re.findall(r"\[([^\[\]]*)\]", reply)
    if not lists:
        raise ValueError("the reply has no list in square brackets")
    entries = _counted(lists[-1].split(","), n)
    wrong = [e for e in entries if e not in ("0", "1")]
    if wrong:
        raise ValueError(f"a verdict is 0 or 1, not {wrong[0]!r}")
    return torch.tensor([e == "1" for e in entries])


def parse_verdicts__numbers(reply, n):
    """You return numbers. Verdicts are booleans."""
    entries = _counted(_entries(reply), n)
    wrong = [e for e in entries if e not in ("0", "1")]
    if wrong:
        raise ValueError(f"a verdict is 0 or 1, not {wrong[0]!r}")
    return torch.tensor([int(e) for e in entries])


def parse_verdicts__digits_picked_out(reply, n):
    """You pick the digits 0 and 1 out of the list, and overlook what else stands there. In `0.5`
    and `01` there are such digits, too: look at whole entries."""
    digits = re.findall("[01]", ",".join(_entries(reply)))
    return torch.tensor([d == "1" for d in _counted(digits, n)])


# -------------------------------------------------------------------------- b5. balanced_accuracy


def _needs_both(truth):
    if truth.all() or not truth.any():
        raise ValueError("there must be true and false items")


def balanced_accuracy__plain(says, truth):
    """That is the plain accuracy. If 1 % of the items are true, "never" has 99 %."""
    _needs_both(truth)
    return (says == truth).double().mean(dim=-1)


def balanced_accuracy__recall_only(says, truth):
    """You count the true items only. "Always" would be perfect."""
    _needs_both(truth)
    return says[..., truth].double().mean(dim=-1)


def balanced_accuracy__false_alarms(says, truth):
    """Your second share is that of the false items which were *called* true. Count those that were
    left alone."""
    _needs_both(truth)
    return (says[..., truth].double().mean(-1) + says[..., ~truth].double().mean(-1)) / 2


def balanced_accuracy__precision(says, truth):
    """You average recall and precision. Precision depends on how many true items there are, and is
    not defined for "never"."""
    _needs_both(truth)
    both = (says & truth).sum(dim=-1).double()
    return (both / truth.sum() + both / says.sum(dim=-1).clamp(min=1)) / 2


def balanced_accuracy__sum(says, truth):
    """You add the two shares. Their mean lies between 0 and 1."""
    _needs_both(truth)
    return says[..., truth].double().mean(-1) + (~says[..., ~truth]).double().mean(-1)


def balanced_accuracy__product(says, truth):
    """You multiply the two shares. One answer for all must score 0.5, not 0."""
    _needs_both(truth)
    return says[..., truth].double().mean(-1) * (~says[..., ~truth]).double().mean(-1)


def balanced_accuracy__chance_at_zero(says, truth):
    """You rescale so that chance is 0. The scale asked for has chance at 0.5."""
    _needs_both(truth)
    return says[..., truth].double().mean(-1) + (~says[..., ~truth]).double().mean(-1) - 1


def balanced_accuracy__one_half_if_one_kind(says, truth):
    """With one kind of items only you return 0.5. There is no score then: raise a ValueError."""
    if truth.all() or not truth.any():
        return torch.full(says.shape[:-1], 0.5, dtype=torch.float64, device=says.device)
    return (says[..., truth].double().mean(-1) + (~says[..., ~truth]).double().mean(-1)) / 2


def balanced_accuracy__of_what_is_said(says, truth):
    """You take shares of the items that are *said* to be true, or false. "Always" must score 0.5
    however rare the true ones are: take shares of those that *are* true, or false."""
    _needs_both(truth)
    right = [(says & truth, says), (~says & ~truth, ~says)]
    return sum(a.double().sum(dim=-1) / b.sum(dim=-1).clamp(min=1) for a, b in right) / 2


# ------------------------------------------------------------------------- b6. score_interval


def _ends(scores, level):
    return tuple(float(scores.quantile((1 + sign * level) / 2)) for sign in (-1, 1))


def _boot(right, n_draws, gen, n=None):
    size = (n_draws, n or len(right))
    drawn = torch.randint(len(right), size, generator=gen, device=gen.device)
    return right[drawn].double().mean(dim=1)


def score_interval__all_together(says, truth, n_draws, level, gen):
    """You draw from all items together, so the numbers of true and false ones vary, and a draw can
    have none of a kind. Draw within each kind."""
    size = (n_draws, len(truth))
    i = torch.randint(len(truth), size, generator=gen, device=gen.device)
    s, t = says[i], truth[i]
    shares = [(a & b).sum(dim=1).double() / b.sum(dim=1) for a, b in ((s, t), (~s, ~t))]
    return _ends(sum(share.nan_to_num(0.5) for share in shares) / 2, level)


def score_interval__accuracy(says, truth, n_draws, level, gen):
    """The score of your draws is the plain accuracy: always "yes" then scores the share of true
    items."""
    return _ends(_boot(says == truth, n_draws, gen), level)


def score_interval__one_sided(says, truth, n_draws, level, gen):
    """You cut 1 - level off at each end. The middle `level` leaves half of that at each end."""
    scores = (_boot(says[truth], n_draws, gen) + _boot(~says[~truth], n_draws, gen)) / 2
    return float(scores.quantile(1 - level)), float(scores.quantile(level))


def score_interval__of_the_mean_of_draws(says, truth, n_draws, level, gen):
    """You divide by the square root of the number of draws. More draws do not make the data more:
    take quantiles of the scores themselves."""
    scores = (_boot(says[truth], n_draws, gen) + _boot(~says[~truth], n_draws, gen)) / 2
    middle = scores.mean()
    return _ends(middle + (scores - middle) / math.sqrt(n_draws), level)


def score_interval__without_replacement(says, truth, n_draws, level, gen):
    """You draw without replacement: each draw is all items in another order, and nothing varies."""
    score = (says[truth].double().mean() + (~says[~truth]).double().mean()) / 2
    torch.randperm(len(truth), generator=gen, device=gen.device)
    return float(score), float(score)


def score_interval__lowest_and_highest(says, truth, n_draws, level, gen):
    """You return the smallest and the largest score. They move out with every draw: take
    quantiles."""
    scores = (_boot(says[truth], n_draws, gen) + _boot(~says[~truth], n_draws, gen)) / 2
    return float(scores.min()), float(scores.max())


def score_interval__one_draw_for_all(says, truth, n_draws, level, gen):
    """Each of your draws takes one item of each kind. It must take as many as there are: a score of
    few items varies more."""
    scores = (_boot(says[truth], n_draws, gen, 1) + _boot(~says[~truth], n_draws, gen, 1)) / 2
    return _ends(scores, level)


def score_interval__false_items_only(says, truth, n_draws, level, gen):
    """You draw new false items only, and keep the true ones. Both are samples."""
    fixed = says[truth].double().mean()
    return _ends((fixed + _boot(~says[~truth], n_draws, gen)) / 2, level)


def score_interval__as_many_as_items_in_all(says, truth, n_draws, level, gen):
    """You draw as many of each kind as there are items in all. A score of more items varies less:
    how many true ones are there, and how many false ones?"""
    kinds = says[truth], ~says[~truth]

    def draw():
        size = truth.shape
        at = [torch.randint(len(v), size, generator=gen, device=gen.device) for v in kinds]
        return torch.stack([v[i] for v, i in zip(kinds, at, strict=True)])

    drawn = torch.stack([draw() for _ in range(n_draws)])
    return _ends(drawn.double().mean(dim=(1, 2)), level)


# -------------------------------------------------------------------------------- b7. wrong_marks


def _marks(free, count, gen):
    score = torch.rand(free.shape, generator=gen, device=gen.device).masked_fill(~free, -1)
    rank = score.argsort(dim=1, descending=True).argsort(dim=1)
    return free & (rank < count)


def wrong_marks__may_be_right(active, mask, gen):
    """Some of your wrong marks are right: active tokens may be chosen. Leave them out."""
    return _marks(mask, active.sum(dim=1, keepdim=True), gen)


def wrong_marks__outside_the_mask(active, mask, gen):
    """You mark tokens outside the mask: padding, or the first token. A judge sees that at once."""
    return _marks(~active, active.sum(dim=1, keepdim=True), gen)


def wrong_marks__one_per_row(active, mask, gen):
    """You mark one token per row. With fewer marks the judge needs only to count: as many as there
    are active tokens."""
    return _marks(mask & ~active, 1, gen)


def wrong_marks__same_number_in_all_rows(active, mask, gen):
    """Every row gets as many marks as the row with the most. Count in each row."""
    return _marks(mask & ~active, active.sum(dim=1).max(), gen)


def wrong_marks__same_places(active, mask, gen):
    """You draw one order for all rows, so the marks are in the same places. Draw for each row."""
    free = mask & ~active
    score = torch.rand(1, free.shape[1], generator=gen, device=gen.device).expand(free.shape)
    rank = score.masked_fill(~free, -1).argsort(dim=1, descending=True).argsort(dim=1)
    return free & (rank < active.sum(dim=1, keepdim=True))


def wrong_marks__the_first_free(active, mask, gen):
    """You mark the first free places of each row. A judge learns that soon: draw at random."""
    free = mask & ~active
    return free & (free.cumsum(dim=1) <= active.sum(dim=1, keepdim=True))


def wrong_marks__all_free(active, mask, gen):
    """You mark everything that is not active. As many as are active, at random places."""
    return mask & ~active & active.any(dim=1, keepdim=True)


def wrong_marks__order_for_rank(active, mask, gen):
    """You compare the *order* with the count. The rank of each place is asked for: `argsort` of the
    `argsort`."""
    free = mask & ~active
    score = torch.rand(free.shape, generator=gen, device=gen.device).masked_fill(~free, -1)
    order = score.argsort(dim=1, descending=True)
    return free & (order < active.sum(dim=1, keepdim=True))


def wrong_marks__counted_over_all_rows(active, mask, gen):
    """You draw as many marks as there are active tokens in all rows together. A row then has more
    or fewer than it should: count in each row."""
    places = (mask & ~active).flatten().nonzero()[:, 0]
    order = torch.randperm(len(places), generator=gen, device=gen.device)
    marks = torch.zeros_like(active).flatten()
    marks[places[order[: int(active.sum())]]] = True
    return marks.view_as(active)


# --------------------------------------------------------------------------- b8. simulation_score


def _cosine(x, y):
    return float(x @ y / (x.norm() * y.norm())) if x.norm() * y.norm() > 0 else 0.0


def simulation_score__not_centred(simulated, actual, mask):
    """That is a cosine. A correlation takes the means off first: predicting a constant has no
    skill."""
    return _cosine(*(v[mask].double() for v in (simulated, actual)))


def simulation_score__with_padding(simulated, actual, mask):
    """You use all tokens. Only those of the mask count."""
    x, y = (v.flatten().double() for v in (simulated, actual))
    return _cosine(x - x.mean(), y - y.mean())


def simulation_score__row_by_row(simulated, actual, mask):
    """You take the correlation of each row and average. A latent that is strong in one text and
    silent in another has its truth *between* the rows: all tokens together."""
    found = []
    for x, y, m in zip(simulated.double(), actual.double(), mask, strict=True):
        if m.any():
            found.append(_cosine(x[m] - x[m].mean(), y[m] - y[m].mean()))
    return sum(found) / len(found)


def simulation_score__squared(simulated, actual, mask):
    """That is the square of the correlation: a prediction of the opposite would score 1."""
    x, y = (v[mask].double() for v in (simulated, actual))
    return _cosine(x - x.mean(), y - y.mean()) ** 2


def simulation_score__nan_for_constants(simulated, actual, mask):
    """A constant prediction gives 0 divided by 0. Return 0 for it."""
    x, y = (v[mask].double() for v in (simulated, actual))
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (x.norm() * y.norm())) if (x != 0).any() and (y != 0).any() else math.nan


def simulation_score__of_ranks(simulated, actual, mask):
    """You correlate the ranks. Most activations are 0, and their ranks are arbitrary: correlate the
    values."""
    x, y = (v[mask].double().argsort(stable=True).argsort().double() for v in (simulated, actual))
    return _cosine(x - x.mean(), y - y.mean())


def simulation_score__of_active_or_not(simulated, actual, mask):
    """You correlate "active or not". The strengths are part of the prediction."""
    x, y = ((v[mask] > 0).double() for v in (simulated, actual))
    return _cosine(x - x.mean(), y - y.mean())


def simulation_score__active_tokens_only(simulated, actual, mask):
    """You leave out the tokens at which the latent is silent. To be silent there is what the
    prediction has to get right most of the time."""
    mask = mask & (actual > 0)
    x, y = (v[mask].double() for v in (simulated, actual))
    return _cosine(x - x.mean(), y - y.mean()) if len(x) else 0.0


def _constant(simulated, actual, mask):
    return any(bool((v[mask] == v[mask][0]).all()) for v in (simulated, actual))


def simulation_score__not_centred_constants_apart(simulated, actual, mask):
    """That is a cosine, with constants treated apart. A prediction that is 1 too large everywhere
    should lose nothing: take the means off first."""
    if _constant(simulated, actual, mask):
        return 0.0
    return simulation_score__not_centred(simulated, actual, mask)


def simulation_score__zeros_outside(simulated, actual, mask):
    """You set tokens outside the mask to 0, and count them. They then agree perfectly: leave them
    out."""
    if _constant(simulated, actual, mask):
        return 0.0
    return simulation_score__with_padding(simulated * mask, actual * mask, mask)


# ----------------------------------------------------------------------------- b9. best_predicate


def _score(says, truth):
    return (says[..., truth].double().mean(-1) + (~says[..., ~truth]).double().mean(-1)) / 2


def best_predicate__score_on_fit(active, holds, fit):
    """You report the score on the tokens that the predicate was chosen on. The best of many is best
    there partly by luck."""
    scores = _score(holds[:, fit], active[fit]).tolist()
    return scores.index(max(scores)), max(scores)


def best_predicate__chosen_on_the_rest(active, holds, fit):
    """You choose on the tokens that are for the score. Choose on `fit`."""
    scores = _score(holds[:, ~fit], active[~fit]).tolist()
    return scores.index(max(scores)), max(scores)


def best_predicate__chosen_on_everything(active, holds, fit):
    """You choose on all tokens: the score's tokens have then taken part in the choice."""
    scores = _score(holds, active).tolist()
    best = scores.index(max(scores))
    return best, float(_score(holds[best, ~fit], active[~fit]))


def best_predicate__score_on_everything(active, holds, fit):
    """Your score is that on all tokens, and half of them took part in the choice. Only the others
    count."""
    scores = _score(holds[:, fit], active[fit]).tolist()
    best = scores.index(max(scores))
    return best, float(_score(holds[best], active))


def best_predicate__by_accuracy(active, holds, fit):
    """You choose by plain accuracy. Where most tokens are silent, a predicate that hardly ever
    holds wins."""
    scores = (holds[:, fit] == active[fit]).double().mean(dim=1).tolist()
    best = scores.index(max(scores))
    return best, float(_score(holds[best, ~fit], active[~fit]))


def best_predicate__last_of_equals(active, holds, fit):
    """Of equally good ones you take the last. The first was asked for: list the plain predicates
    first, and they win."""
    scores = _score(holds[:, fit], active[fit]).tolist()
    best = len(scores) - 1 - scores[::-1].index(max(scores))
    return best, float(_score(holds[best, ~fit], active[~fit]))


def best_predicate__swapped(active, holds, fit):
    """You use the two parts the other way round: choose on `fit`, score on the rest."""
    scores = _score(holds[:, ~fit], active[~fit]).tolist()
    best = scores.index(max(scores))
    return best, float(_score(holds[best, fit], active[fit]))


# ------------------------------------------------------------------------------ c1. share_in_span


def _unit(W):
    return W / W.norm(dim=1, keepdim=True)


def share_in_span__adds_squared_cosines(W, others, k):
    """You add the squared cosines of the k rows. They are not orthogonal, so what they share counts
    twice: make an orthonormal basis first."""
    cosines = _unit(W) @ _unit(others).T
    return cosines.square().topk(k, dim=1).values.sum(dim=1)


def share_in_span__best_one_only(W, others, k):
    """You take the best single row. What lies in the span of k rows together can be much more."""
    return (_unit(W) @ _unit(others).T).square().amax(dim=1)


def share_in_span__signed(W, others, k):
    """You take the largest cosines. A row in the opposite direction spans the same line: the
    largest *absolute* ones."""
    directions = _unit(others)
    nearest = (_unit(W) @ directions.T).topk(k, dim=1).indices
    Q = torch.linalg.qr(directions[nearest].mT).Q
    return (_unit(W)[:, None] @ Q).square().sum(dim=(1, 2))


def share_in_span__length_not_square(W, others, k):
    """That is the share of the length. Shares of the *squared* length add up to 1."""
    directions = _unit(others)
    nearest = (_unit(W) @ directions.T).abs().topk(k, dim=1).indices
    Q = torch.linalg.qr(directions[nearest].mT).Q
    return (_unit(W)[:, None] @ Q).square().sum(dim=(1, 2)).sqrt()


def share_in_span__longest_products(W, others, k):
    """You choose by the dot product, so long rows win. Nearest in direction was asked for:
    cosines."""
    nearest = (_unit(W) @ others.T).abs().topk(k, dim=1).indices
    Q = torch.linalg.qr(_unit(others)[nearest].mT).Q
    return (_unit(W)[:, None] @ Q).square().sum(dim=(1, 2))


def share_in_span__row_not_normalised(W, others, k):
    """You return a squared length. Divide by the row's own: a share was asked for."""
    directions = _unit(others)
    nearest = (_unit(W) @ directions.T).abs().topk(k, dim=1).indices
    Q = torch.linalg.qr(directions[nearest].mT).Q
    return (W[:, None] @ Q).square().sum(dim=(1, 2))


def share_in_span__what_is_left(W, others, k):
    """That is the share *outside* the span. What is asked for is the part that lies in it."""
    directions = _unit(others)
    nearest = (_unit(W) @ directions.T).abs().topk(k, dim=1).indices
    Q = torch.linalg.qr(directions[nearest].mT).Q
    return 1 - (_unit(W)[:, None] @ Q).square().sum(dim=(1, 2))


def share_in_span__same_rows_for_all(W, others, k):
    """You take the first k rows of `others` for every latent. Each latent has its own nearest
    ones."""
    Q = torch.linalg.qr(_unit(others)[:k].mT).Q
    return (_unit(W) @ Q).square().sum(dim=1)


# --------------------------------------------------------------------------------- c2. split_into


def _cover(parent, children, chosen):
    return float(children[parent][:, chosen].any(dim=1).double().mean())


def split_into__share_of_the_parent(parent, children, least):
    """You ask which share of the *parent's* tokens a latent has. A child has few of them; ask how
    many of the child's own tokens are under the parent."""
    inside = children[parent].sum(dim=0)
    chosen = ((inside > 0) & (inside / parent.sum() >= least)).nonzero()[:, 0]
    return chosen, _cover(parent, children, chosen)


def split_into__more_than(parent, children, least):
    """A share equal to `least` is enough: `>=`."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    chosen = ((times > 0) & (inside.double() / times.clamp(min=1) > least)).nonzero()[:, 0]
    return chosen, _cover(parent, children, chosen)


def split_into__silent_children(parent, children, least):
    """Latents that are never active are among your children: 0 of 0 tokens is no share."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    chosen = (inside.double() >= least * times).nonzero()[:, 0]
    return chosen, _cover(parent, children, chosen)


def split_into__adds_the_shares(parent, children, least):
    """You add up what the children cover. Where two are active the token counts twice: `any`."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    chosen = ((times > 0) & (inside.double() / times.clamp(min=1) >= least)).nonzero()[:, 0]
    return chosen, float(inside[chosen].sum().double() / parent.sum())


def split_into__covers_all_tokens(parent, children, least):
    """Your coverage is a share of all tokens. It is one of the parent's tokens."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    chosen = ((times > 0) & (inside.double() / times.clamp(min=1) >= least)).nonzero()[:, 0]
    return chosen, float((children[:, chosen].any(dim=1) & parent).double().mean())


def split_into__covered_by_anyone(parent, children, least):
    """Your coverage counts every latent. Only the children count: some latent is active
    everywhere."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    chosen = ((times > 0) & (inside.double() / times.clamp(min=1) >= least)).nonzero()[:, 0]
    return chosen, float(children[parent].any(dim=1).double().mean())


def split_into__covered_by_all(parent, children, least):
    """Your coverage asks for *all* children at once. One of them is enough."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    chosen = ((times > 0) & (inside.double() / times.clamp(min=1) >= least)).nonzero()[:, 0]
    both = children[parent][:, chosen].all(dim=1) & (len(chosen) > 0)
    return chosen, float(both.double().mean())


def split_into__mask_of_children(parent, children, least):
    """You return a mask. Return the numbers of the children."""
    times, inside = children.sum(dim=0), children[parent].sum(dim=0)
    mask = (times > 0) & (inside.double() / times.clamp(min=1) >= least)
    return mask, _cover(parent, children, mask.nonzero()[:, 0])


# ---------------------------------------------------------------------------------- d1. f1_scores


def f1_scores__precision(fires, has):
    """That is the precision alone. A latent that is active on one word of the letter has a perfect
    one."""
    return fires[has].sum(dim=0).double() / fires.sum(dim=0).clamp(min=1)


def f1_scores__recall(fires, has):
    """That is the recall alone. A latent that is always active has a perfect one."""
    return fires[has].sum(dim=0).double() / has.sum()


def f1_scores__arithmetic_mean(fires, has):
    """You average precision and recall. F1 is the harmonic mean: it is small if one of them is."""
    both = fires[has].sum(dim=0).double()
    return (both / fires.sum(dim=0).clamp(min=1) + both / has.sum()) / 2


def f1_scores__half(fires, has):
    """You forgot the 2: a perfect latent must have 1."""
    return fires[has].sum(dim=0).double() / (fires.sum(dim=0) + has.sum())


def f1_scores__union(fires, has):
    """You divide by the number of words in either (Jaccard). F1 is 2 · both / (sum of both
    sizes)."""
    both = fires[has].sum(dim=0).double()
    return both / (fires.sum(dim=0) + has.sum() - both)


def f1_scores__nan_for_the_silent(fires, has):
    """A latent that is never active has a precision of 0 / 0 in yours. Its F1 is 0."""
    both = fires[has].sum(dim=0).double()
    precision, recall = both / fires.sum(dim=0), both / has.sum()
    return 2 * precision * recall / (precision + recall)


def f1_scores__balanced_accuracy(fires, has):
    """That is the balanced accuracy. F1 does not count the words that are rightly left alone."""
    return (fires[has].double().mean(dim=0) + (~fires[~has]).double().mean(dim=0)) / 2


# ----------------------------------------------------------------------------------- d2. absorbed


def absorbed__false_negatives(x, f, main, W_dec, probe, least):
    """These are all words on which the main latents are silent. Absorbed are only those for which
    another latent writes the letter."""
    return (f[:, main] == 0).all(dim=1)


def absorbed__main_may_be_active(x, f, main, W_dec, probe, least):
    """You do not ask whether the main latents are silent. With one of them active nothing is
    missing."""
    return (f * (W_dec @ probe)).amax(dim=1) >= least * (x @ probe)


def absorbed__one_main_silent(x, f, main, W_dec, probe, least):
    """One silent main latent is enough in yours. All of them must be silent."""
    largest = (f * (W_dec @ probe)).amax(dim=1)
    return (f[:, main] == 0).any(dim=1) & (largest >= least * (x @ probe))


def absorbed__sum_of_all(x, f, main, W_dec, probe, least):
    """You add the contributions of all latents. Asked for is *one* latent that makes up for it."""
    total = (f * (W_dec @ probe)).sum(dim=1)
    return (f[:, main] == 0).all(dim=1) & (total >= least * (x @ probe))


def absorbed__absolute_limit(x, f, main, W_dec, probe, least):
    """You compare with `least` itself: the result depends on the probe's length. Compare with
    `least` times x · p."""
    largest = (f * (W_dec @ probe)).amax(dim=1)
    return (f[:, main] == 0).all(dim=1) & (largest >= least)


def absorbed__without_the_activation(x, f, main, W_dec, probe, least):
    """You leave the activation out of the contribution: a latent that is silent writes nothing."""
    largest = (W_dec @ probe).max().expand(len(x))
    return (f[:, main] == 0).all(dim=1) & (largest >= least * (x @ probe))


def absorbed__more_than(x, f, main, W_dec, probe, least):
    """A contribution equal to the limit is enough: `>=`."""
    largest = (f * (W_dec @ probe)).amax(dim=1)
    return (f[:, main] == 0).all(dim=1) & (largest > least * (x @ probe))


def absorbed__either_sign(x, f, main, W_dec, probe, least):
    """You take the size of a contribution. One against the letter does not make up for it."""
    largest = (f * (W_dec @ probe)).abs().amax(dim=1)
    return (f[:, main] == 0).all(dim=1) & (largest >= least * (x @ probe))


def absorbed__the_most_active(x, f, main, W_dec, probe, least):
    """You look at the most active latent. The one with the largest *contribution* counts."""
    strongest = f.argmax(dim=1)
    made = f.gather(1, strongest[:, None])[:, 0] * (W_dec @ probe)[strongest]
    return (f[:, main] == 0).all(dim=1) & (made >= least * (x @ probe))


def absorbed__of_the_reconstruction(x, f, main, W_dec, probe, least):
    """You compare with what the reconstruction has of the letter. The probe reads x itself: compare
    with x · p, or a bad reconstruction counts as absorption."""
    largest = (f * (W_dec @ probe)).amax(dim=1)
    return (f[:, main] == 0).all(dim=1) & (largest >= least * ((f @ W_dec) @ probe))


def absorbed__by_cosine(x, f, main, W_dec, probe, least):
    """You ask for an active latent whose direction is like the probe's. How much it writes counts:
    f times w · p, against x · p."""
    near = torch.cosine_similarity(W_dec, probe[None], dim=1) >= least
    return (f[:, main] == 0).all(dim=1) & ((f > 0) & near).any(dim=1)


def absorbed__one_main_silent_best_of_the_others(x, f, main, W_dec, probe, least):
    """One silent main latent is enough in yours, and you look among the others for the largest
    contribution. If another main latent is active, nothing is missing."""
    made = f * (W_dec @ probe)
    made[:, main] = -torch.inf
    return (f[:, main] == 0).any(dim=1) & (made.amax(dim=1) >= least * (x @ probe))


def absorbed__unit_probe_on_one_side(x, f, main, W_dec, probe, least):
    """You bring the probe to length 1 for the contributions, but not for x · p. Then its length
    matters after all: is it the same probe on both sides?"""
    largest = (f * (W_dec @ probe / probe.norm())).amax(dim=1)
    return (f[:, main] == 0).all(dim=1) & (largest >= least * (x @ probe))


# ----------------------------------------------------------------------------------- d3. best_row


def best_row__mean_of_x(x, f):
    """That is the mean of all x. Tokens on which the latent is silent must not count."""
    return x.mean(dim=0)


def best_row__mean_where_active(x, f):
    """You average x where the latent is active. Strong activations must count more, and weak ones
    write less: divide by the sum of f²."""
    return x[f != 0].mean(dim=0)


def best_row__divides_by_f(x, f):
    """You divide by the sum of f. The derivative of the squared error leaves the sum of f²."""
    return f @ x / f.sum()


def best_row__divides_by_the_number(x, f):
    """You divide by the number of items. The derivative of the squared error leaves the sum of
    f²."""
    return f @ x / len(f)


def best_row__unit_length(x, f):
    """You make it a unit vector. Its length is part of the solution."""
    w = f @ x
    return w / w.norm()


def best_row__mean_of_ratios(x, f):
    """You average x / f. Least squares weights each item by f²."""
    on = f != 0
    return (x[on] / f[on, None]).mean(dim=0)


def best_row__centred(x, f):
    """You take the means off first. There is no bias here: the error is that of f w alone."""
    g = f - f.mean()
    return g @ (x - x.mean(dim=0)) / (g @ g)


# --------------------------------------------------------------------------- f1. enrichment_score


def _walk(weights, members, descending=True):
    order = weights.sort(descending=descending, stable=True).indices
    inside = members[order].double()
    return (inside / inside.sum() - (1 - inside) / (1 - inside).sum()).cumsum(dim=0)


def _extreme(walk):
    high, low = float(walk.max()), float(walk.min())
    return high if high >= -low - 1e-12 else low


def enrichment_score__smallest_first(weights, members):
    """You walk from the smallest weight: the sign is the other way round."""
    return _extreme(_walk(weights, members, False))


def enrichment_score__maximum_only(weights, members):
    """You take the maximum. A set at the end of the order has its farthest point below 0."""
    return float(_walk(weights, members).max())


def enrichment_score__without_sign(weights, members):
    """You return the distance without its sign. Pushed up and pushed down are opposites."""
    return float(_walk(weights, members).abs().max())


def enrichment_score__unit_steps(weights, members):
    """You go one up and one down. With few members the walk would always end far below 0: divide by
    the number of each kind."""
    inside = members[weights.sort(descending=True, stable=True).indices].double()
    return _extreme((2 * inside - 1).cumsum(dim=0))


def enrichment_score__only_up(weights, members):
    """You never go down: the walk ends at 1 for every set."""
    inside = members[weights.sort(descending=True, stable=True).indices].double()
    return _extreme((inside / inside.sum()).cumsum(dim=0))


def enrichment_score__in_order_of_tokens(weights, members):
    """You walk in the order of the token ids. Sort by weight first."""
    inside = members.double()
    return _extreme((inside / inside.sum() - (1 - inside) / (1 - inside).sum()).cumsum(dim=0))


def enrichment_score__difference_of_means(weights, members):
    """That is the difference of the mean weights. The walk uses the order only, so a few large
    weights do not decide."""
    return float(weights[members].double().mean() - weights[~members].double().mean())


def enrichment_score__end_of_the_walk(weights, members):
    """You return where the walk ends. That is 0 for every set: return its farthest point."""
    return float(_walk(weights, members)[-1])


def enrichment_score__first_of_equal_distances(weights, members):
    """If both signs reach the same distance, you take the one that comes first on the walk. The
    statement decides otherwise."""
    walk = _walk(weights, members)
    return float(walk[walk.abs().argmax()])


# ------------------------------------------------------------------------------------- g1. put_in


def put_in__added(resid, w, where, scale):
    """You add the direction. It takes the *place* of what was there."""
    new = resid + scale * resid.norm(dim=-1, keepdim=True) * w / w.norm()
    return torch.where(where[..., None], new, resid)


def put_in__length_of_w(resid, w, where, scale):
    """Your vector has `scale` times the length of w. It gets the length of what it replaces."""
    return torch.where(where[..., None], scale * w, resid)


def put_in__unit_length(resid, w, where, scale):
    """Your vector has the length `scale`. Multiply by the norm of what it replaces."""
    return torch.where(where[..., None], scale * w / w.norm(), resid)


def put_in__everywhere(resid, w, where, scale):
    """You replace every token. Only those in `where`."""
    return scale * resid.norm(dim=-1, keepdim=True) * w / w.norm()


def put_in__mean_norm(resid, w, where, scale):
    """You use the mean norm of all tokens. Each token has its own."""
    new = scale * resid.norm(dim=-1).mean() * w / w.norm()
    return torch.where(where[..., None], new.expand_as(resid), resid)


def put_in__w_not_normalised(resid, w, where, scale):
    """You multiply by w as it is, so its length counts as well. Divide by it."""
    return torch.where(where[..., None], scale * resid.norm(dim=-1, keepdim=True) * w, resid)


def put_in__others_at_zero(resid, w, where, scale):
    """The other tokens are 0 in yours. They stay as they are."""
    new = scale * resid.norm(dim=-1, keepdim=True) * w / w.norm()
    return torch.where(where[..., None], new, torch.zeros_like(resid))


def put_in__projected(resid, w, where, scale):
    """You scale the part of the residual stream along w. Nothing but the norm of the old vector is
    used."""
    unit = w / w.norm()
    new = scale * (resid @ unit)[..., None] * unit
    return torch.where(where[..., None], new, resid)


# ------------------------------------------------------------------------------------- predictions


def predict_strongest__the_row():
    """It does more than a random direction. But the difference of means was made from the tokens
    themselves, and at equal length it does most (and costs most)."""
    return "the decoder row"


def predict_strongest__chance():
    """Any push raises rare words a little, that is true. The other two raise these far more."""
    return "the random direction"


def predict_random_score__chance():
    """0.5 is the score of an explanation that has nothing to do with the direction. But tokens that
    lie far out in *any* direction have something in common."""
    return "below 0.53: chance is 0.5"


def predict_random_score__as_good():
    """That is where the latents are. Random directions are explained worse than that here (on the
    story model they are not)."""
    return "above 0.62"


def predict_back__most():
    """Both explain equally much, and yet they are different dictionaries: few rows agree."""
    return "more than 70 %"


def predict_back__half():
    """Fewer: about one in seven. Equal reconstruction does not mean equal latents."""
    return "30 % to 70 %"


def predict_clusters__none():
    """On the map there are more than a hundred. UMAP keeps each point near its nearest neighbours,
    and random points have nearest neighbours, too."""
    return "fewer than 10"


def predict_clusters__some():
    """Still more: more than a hundred, nearly as many as for the decoder rows."""
    return "10 to 50"


def predict_holes__some():
    """Larger SAEs are said to have that. Here a main latent of the letter is active on nearly all
    of its words, and on many others besides."""
    return "8 % to 25 %"


def predict_holes__many():
    """Far fewer: all main latents are silent on one word in nineteen. In the SAEs half as wide
    there are more."""
    return "more than 25 %"


def predict_meta__twice():
    """That holds against random directions at most. The rows' covariance alone makes them
    compressible, and that is no family of latents."""
    return "at least twice as much"


def predict_meta__somewhat():
    """Even that is too much: 0.236 against 0.229. Sparse parts are not needed to explain it."""
    return "1.2 to 2 times as much"


def predict_which_control__random_sets():
    """Random sets mix everything, so their weights average out. Words in -ing are near each other
    in the unembedding, and every direction prefers or avoids them together."""
    return "near that of random sets"


def predict_which_control__between():
    """There is no difference left: a random direction has as large a score as a latent."""
    return "in between"
