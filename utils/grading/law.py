"""Random functions: whose law do the numbers follow?

Two programs that draw in another order give other numbers by the same law. So they are run from
many generators, and statistics of what they return are compared: means along each axis, squares
and fourth powers, shares of zeros and ones, products of neighbours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from utils.grading.evidence import Case, paired
from utils.grading.implementation import frozen

RUNS = 24  # of each function on each input
INPUTS = 3
ALIKE, APART = 4.5, 8.0  # standard errors of a difference; between the two nothing is certain
MARGINAL = 24  # indices of an axis that are looked at one by one
ROWS = 512  # of a long result
QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)


@dataclass(frozen=True)
class Law:
    """Statistics of one function over `RUNS` generators, and what is certain about it."""

    error: type[BaseException] | None
    statistics: Tensor  # (run, statistic)
    repeats: bool = True  # equal generators give equal numbers
    varies: bool = True  # other generators give other numbers
    advances: bool = True  # a second call with the same generator differs


def _of_axis(v: Tensor, axis: int) -> list[Tensor]:
    """Means at each index of an axis, and products of neighbours: even, odd, next but one."""
    runs, length = v.shape[0], v.shape[axis]
    v = v.movedim(axis, 1).reshape(runs, length, -1)
    found = [v.mean(2)] if length <= MARGINAL else []
    for skip in (1, 2):
        if length > skip:
            product = (v[:, :-skip] * v[:, skip:]).mean(2)
            found += [product[:, i::2].mean(1, keepdim=True) for i in (0, 1) if i < length - skip]
    return found


def _statistics(t: Tensor) -> Tensor:
    """(run, statistic) of one part of the results, stacked over the runs; none of an empty part."""
    if t[0].numel() == 0:
        return torch.zeros(len(t), 0, dtype=torch.float64)
    t = t.nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6)
    t = t[:, None] if t.ndim == 1 else t[:, :ROWS]
    found = [
        x
        for v in (t, (t == 0).double(), t.abs(), (t == 1).double())
        for axis in range(1, v.ndim)
        for x in _of_axis(v, axis)
    ]
    flat = t.flatten(1)
    on = (flat != 0).sum(1).clamp(min=1)
    found += [(flat.pow(k).sum(1) / on)[:, None] for k in (1, 2, 4)]
    cut = torch.tensor(QUANTILES, dtype=t.dtype)
    found.append(torch.quantile(flat[:, :4096], cut, dim=1).T)
    if t.ndim >= 3:
        some = t[..., :8, :64]
        gram = some @ some.mT
        found.append(gram.reshape(len(t), -1, *gram.shape[-2:]).mean(1).flatten(1))
        if t.ndim == 3 and t.shape[-1] == t.shape[-2]:
            found.append(torch.linalg.det(t)[:, None])
    return torch.cat(found, dim=1)


def statistics(outs: Sequence[Any]) -> Tensor | None:
    """Numbers that describe random results, (run, statistic); None where shapes are random."""
    rows = [[t for t, _ in paired(out, out) or []] for out in outs]
    if len({tuple(t.shape for t in row) for row in rows}) > 1:
        return None
    parts = [_statistics(torch.stack(part)) for part in zip(*rows, strict=True)]
    return torch.cat(parts, dim=1) if parts else torch.zeros(len(outs), 0)


def law_of(fn: Callable[..., Any], arguments: Mapping[str, Any]) -> Law:
    """Run `fn` from many generators."""
    outs = []

    def run(seed: int, gen: torch.Generator | None = None) -> Any:
        given = frozen(dict(arguments))
        given["gen"] = gen or torch.Generator(given["gen"].device).manual_seed(seed)
        return fn(**given)

    try:
        outs = [run(9000 + i) for i in range(RUNS)]
        again = run(9000)
        gen = torch.Generator(arguments["gen"].device).manual_seed(9000)
        run(0, gen)
        second = run(0, gen)
    except Exception as error:
        return Law(type(error), torch.zeros(0))
    found = statistics(outs)
    if found is None:
        return Law(ValueError, torch.zeros(0))  # nothing to compare
    return Law(
        None, found, _equal(outs[0], again),
        not all(_equal(outs[0], out) for out in outs[1:]), not _equal(outs[0], second),
    )  # fmt: skip


def _equal(a: Any, b: Any) -> bool:
    pairs = paired(a, b)
    return pairs is not None and all(
        x.shape == y.shape and torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs
    )


def distance(a: Law, b: Law) -> float:
    """The largest difference of a statistic, in standard errors; infinite between unlike kinds."""
    flags = [(x.error, x.repeats, x.varies, x.advances, x.statistics.shape) for x in (a, b)]
    if flags[0] != flags[1]:
        return float("inf")
    if a.statistics.numel() == 0:
        return 0.0
    gap = (a.statistics.mean(0) - b.statistics.mean(0)).abs()
    error = ((a.statistics.var(0) + b.statistics.var(0)) / RUNS).sqrt()
    tiny = 1e-5 * (1 + a.statistics.abs().mean(0))
    return float(torch.where(gap <= tiny, 0.0, gap / error.clamp(min=1e-9)).max())


def inputs_of(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Different arguments of the calls that should return something, the largest first."""
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        arguments = case.arguments
        if not case.right.error and isinstance(arguments.get("gen"), torch.Generator):
            key = repr({k: v for k, v in arguments.items() if k != "gen"})
            found.setdefault(key, arguments)

    def size(arguments: Mapping[str, Any]) -> int:
        return sum(v for v in arguments.values() if type(v) is int)

    return sorted(found.values(), key=size, reverse=True)[:INPUTS]


def same_law(
    fn: Callable[..., Any],
    right: Callable[..., Any],
    mistakes: Mapping[str, Callable[..., Any]],
    cases: Sequence[Case],
) -> str | None:
    """The one mistake whose law `fn` follows on all inputs, where every other can be told apart."""
    inputs = inputs_of(cases)
    if not inputs:
        return None
    laws: dict[int, Law] = {}

    def far(other: Callable[..., Any], enough: float) -> float:
        """The largest distance over all inputs (or the first above `enough`)."""
        worst = 0.0
        for i, given in enumerate(inputs):
            if i not in laws:
                laws[i] = law_of(fn, given)
            worst = max(worst, distance(laws[i], law_of(other, given)))
            if worst > enough:
                break
        return worst

    if far(right, APART) <= APART:
        return None
    near = {name: far(mistake, APART) for name, mistake in mistakes.items()}
    alike = [name for name, value in near.items() if value <= ALIKE]
    certain = len(alike) == 1 and all(near[n] > APART for n in near if n != alike[0])
    returned = any(law.error is None for law in laws.values())  # errors of one type say little
    return alike[0] if certain and returned else None


def without_generator(
    fn: Callable[..., Any], right: Callable[..., Any], cases: Sequence[Case]
) -> str | None:
    """What is wrong with the use of `gen`, where that can be seen."""
    for given in inputs_of(cases):
        mine, theirs = law_of(fn, given), law_of(right, given)
        if mine.error or theirs.error:
            return None
        if theirs.repeats and not mine.repeats:
            return (
                "Your numbers do not all come from `gen`: two calls with equal generators differ."
                " Hand it to every draw: `torch.rand(..., generator=gen)`."
            )
        if theirs.varies and not mine.varies:
            return (
                "Your function returns the same numbers whatever generator it gets. Draw with"
                " `generator=gen`, and seed nothing yourself."
            )
        if theirs.advances and not mine.advances:
            return (
                "A second call with the same generator gives the same numbers again: you copy"
                " `gen`, or set its seed. Only draw from it."
            )
    return None
