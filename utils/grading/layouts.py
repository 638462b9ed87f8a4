"""Right numbers in the wrong places: axes swapped, lost or kept, one instance only."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from utils.grading.axes import axis_names, shape_text
from utils.grading.evidence import (
    Case,
    as_tensor,
    close,
    distinct,
    explains,
    paired,
    right_values,
)

REDUCED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "the mean": lambda r, axis: r.mean(axis),
    "the sum": lambda r, axis: r.sum(axis),
    "the largest": lambda r, axis: r.amax(axis),
}


def _result_axes(case: Case) -> list[str]:
    annotation = inspect.signature(case.reference).return_annotation
    return axis_names(annotation, case.right.out)


def wrong_shape(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """The right numbers in the right order, in another shape."""
    if not explains(wrong, lambda m, r: m.numel() > 0 and close(m.flatten(), r.flatten())):
        return None
    case = max(wrong, key=lambda c: c.right.out.numel() if isinstance(c.right.out, Tensor) else 0)
    m, r = next((m, r) for m, r in case.pairs or [] if m.shape != r.shape)
    asked = shape_text(r, _result_axes(case))
    return (
        f"The numbers are right, but not their shape: yours is {tuple(m.shape)}, {asked} is asked"
        " for. Look at `keepdim`, `squeeze` and `reshape`."
    )


def _rights(cases: Sequence[Case]) -> list[Tensor]:
    return [r for c in cases for _, r in c.pairs or []]


def reduced(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """An axis that should stay is averaged or summed over."""
    for words, function in REDUCED.items():
        for axis in range(max((r.ndim for r in _rights(wrong)), default=0)):

            def rule(m: Tensor, r: Tensor, axis: int = axis, function: Callable = function) -> bool:
                able = axis < r.ndim and r.numel() > 0
                return able and close(m.flatten(), function(r, axis).flatten())

            longest = max((r.shape[axis] for r in _rights(wrong) if axis < r.ndim), default=0)
            if longest > 1 and explains(wrong, rule):
                names = _result_axes(wrong[0])
                at = f"`{names[axis]}`" if len(names) > axis else f"axis {axis}"
                return (
                    f"Your result is {words} over {at} of what is asked for. That axis has to"
                    " stay: one number for each of its entries."
                )
    return None


def _orders(ndim: int) -> Iterator[tuple[int, ...]]:
    return (o for o in itertools.permutations(range(ndim)) if o != tuple(range(ndim)))


def transposed(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Axes in another order."""
    if explains(wrong, lambda m, r: r.ndim >= 2 and close(m, r.mT)):
        asked = next((n for c in wrong if (n := _result_axes(c))), [])
        axes = f" (`{asked[-2]}` and `{asked[-1]}`)" if len(asked) >= 2 else ""
        return (
            f"Your numbers are right, but the last two axes{axes} are swapped in your result:"
            " transpose it (`x.mT`)."
        )
    for ndim in (3, 4):
        for order in _orders(ndim):

            def rule(m: Tensor, r: Tensor, order: tuple[int, ...] = order) -> bool:
                return r.ndim == len(order) and close(m, r.permute(order))

            if explains(wrong, rule):
                names = next((n for c in wrong if (n := _result_axes(c))), [])
                mine = ", ".join(names[i] for i in order) if len(names) == ndim else str(order)
                right = ", ".join(names) if len(names) == ndim else str(tuple(range(ndim)))
                return (
                    f"Your numbers are right, but the axes come in another order: yours are"
                    f" ({mine}), asked for are ({right})."
                )
    return None


def reshaped(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """`reshape` where axes should be swapped: the shape fits, the numbers sit elsewhere."""

    def rule(m: Tensor, r: Tensor) -> bool:
        return m.shape == r.shape and any(
            close(m.flatten(), r.permute(o).flatten())
            for o in (_orders(r.ndim) if 2 <= r.ndim <= 4 else ())
        )

    if not explains(wrong, rule):
        return None
    return (
        "Your result has the right shape and the right numbers, but they sit in other places:"
        " `reshape` and `view` never swap axes, they only cut the same row of numbers anew. Use"
        " `x.mT`, `transpose`, `permute` or `rearrange`."
    )


def reordered(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """The right numbers at other places, or the parts of a tuple in another order."""
    if any(right_values(c) for c in wrong):
        return None
    if all(
        isinstance(c.right.out, tuple) and isinstance(c.value, tuple) and _swapped(c) for c in wrong
    ):
        return "The parts of your result are right, but they come in another order than asked."
    if swapped := _swapped_names(wrong):
        return f"Two parts of your result are exchanged: `{swapped[0]}` and `{swapped[1]}`."
    for axis in (-1, -2, 0):

        def flipped(m: Tensor, r: Tensor, axis: int = axis) -> bool:
            return r.ndim >= 1 and -r.ndim <= axis and close(m, r.flip(axis))

        if explains(wrong, flipped) and distinct(wrong, 3):
            return "Your numbers are right, but they come in reverse order."

    def rule(m: Tensor, r: Tensor) -> bool:
        some = m.shape == r.shape and r.numel() >= 4 and len(r.unique()) >= 4
        return some and close(m.flatten().sort().values, r.flatten().sort().values)

    if explains(wrong, rule):
        return "Your result has the right numbers, but at other places than asked for."
    return None


def _swapped_names(wrong: Sequence[Case]) -> tuple[str, str] | None:
    """Two keys of a dict whose values are exchanged in every case."""
    right = wrong[0].right.out
    for a, b in itertools.combinations(right if isinstance(right, dict) else (), 2):
        given = [c.value for c in wrong]
        if not all(isinstance(v, dict) and {a, b} <= v.keys() for v in given):
            continue
        mended = [{**v, a: v[b], b: v[a]} for v in given]
        pairs = [paired(v, c.right.out) for v, c in zip(mended, wrong, strict=True)]
        if all(p is not None and all(close(m, r) for m, r in p) for p in pairs):
            return a, b
    return None


def _swapped(case: Case) -> bool:
    mine, right = case.value, case.right.out
    if len(mine) != len(right):
        return False
    parts = [[as_tensor(v) for v in side] for side in (mine, right)]
    if any(t is None for side in parts for t in side):
        return False
    return any(
        all(close(parts[0][i], parts[1][o]) for i, o in enumerate(order))  # type: ignore[arg-type]
        for order in _orders(len(mine))
    )


def first_only(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Only index 0 along one axis is right."""
    axes = [
        a for a in _result_axes(max(wrong, key=lambda c: len(_result_axes(c)))) if not a.isdigit()
    ]
    for axis in axes or ["inst"]:
        for at in (0, 1, 2):

            def is_it(case: Case, at: int = at, axis: str = axis) -> bool:
                size = case.sizes.get(axis, 0)
                names = _result_axes(case)
                if names and (at >= len(names) or names[at] != axis):
                    return False
                found = [close(m, r) for m, r in case.pairs or []]
                return (
                    size > 1
                    and not all(found)
                    and all(
                        same or _first_along(m, r, at, size)
                        for same, (m, r) in zip(found, case.pairs or [], strict=True)
                    )
                )

            if all(c.pairs and is_it(c) for c in wrong) and distinct(wrong, 3):
                called = {"inst": "instance", "batch": "row", "row": "row"}.get(axis)
                first = f"the first {called}" if called else f"index 0 along `{axis}`"
                return (
                    f"Only {first} comes out right. Does a loop return or stop in its first turn,"
                    " or does an index `[0]` stay somewhere?"
                )
    return None


def _first_along(m: Tensor, r: Tensor, at: int, size: int) -> bool:
    if r.ndim <= at or r.shape[at] != size or not r.select(at, 0).any():
        return False  # a first entry that is always 0 is nobody's merit
    if m.shape == r.select(at, 0).shape or m.shape == r.narrow(at, 0, 1).shape:
        return close(m.flatten(), r.select(at, 0).flatten())
    if m.shape != r.shape or not close(m.select(at, 0), r.select(at, 0)):
        return False
    others = [(m.select(at, i), r.select(at, i)) for i in range(1, size)]
    # where the right answer is 0, nothing and something look alike
    return all(not close(a, b) or not a.any() for a, b in others)


def stopped(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Instances after the first one with nothing to do come back as they were."""
    for case in wrong:
        given = [g for a in case.arguments.values() if (g := _like(a, case.right.out))]
        size, pairs = case.sizes.get("inst", 0), case.pairs
        if not given or not pairs or size < 2:
            return None
        if not any(_stops(pairs, old, size) for old in given):
            return None
    return (
        "Instances after the first one with nothing to do come back as they were. Does your loop"
        " leave there (`return`, `break`) where it should go on with the next (`continue`)?"
    )


def _like(argument: object, out: object) -> list[Tensor] | None:
    """An argument's tensors, where it is built as the result."""
    if isinstance(out, dict) and isinstance(argument, dict) and out.keys() == argument.keys():
        found = [as_tensor(argument[k]) for k in out]
    else:
        found = [as_tensor(argument)] if isinstance(out, Tensor) else [None]
    return None if any(f is None for f in found) else [f for f in found if f is not None]


def _stops(pairs: Sequence[tuple[Tensor, Tensor]], old: Sequence[Tensor], size: int) -> bool:
    if any(
        m.shape != r.shape or r.shape != o.shape or not r.ndim or len(r) != size
        for (m, r), o in zip(pairs, old, strict=True)
    ):
        return False
    idle, right, kept = (
        [all(close(a[i], b[i]) for a, b in side) for i in range(size)]
        for side in (
            [(r, o) for (_, r), o in zip(pairs, old, strict=True)],
            pairs,
            [(m, o) for (m, _), o in zip(pairs, old, strict=True)],
        )
    )
    stop = idle.index(True) if True in idle else size
    return all(right[:stop]) and all(kept[stop:]) and not all(right)


def only_one(wrong: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """Wrong only where an axis has length 1."""
    well = [c for c in cases if not any(c is w for w in wrong)]
    for axis in set.intersection(*(set(c.sizes) for c in wrong)):
        larger = [c for c in well if c.sizes.get(axis, 0) > 1]
        if all(c.sizes[axis] == 1 and not c.right.error for c in wrong) and len(larger) >= 2:
            others = [c for c in well if c.sizes.get(axis) == 1]
            if not others:
                return (
                    f"It goes wrong exactly where `{axis}` is 1. `squeeze()` without an axis takes"
                    " away every axis of length 1, and n - 1 is 0 there."
                )
    return None


def misaligned(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Torch refuses to combine the shapes, and where it does not the result has a wrong one."""
    refused = [c for c in wrong if c.did.error is RuntimeError and not c.right.error]
    shaped = [c for c in wrong if not c.did.error and isinstance(c.value, Tensor)]
    other = [c for c in shaped if isinstance(c.right.out, Tensor)]
    unlike = [c for c in other if c.value.shape != c.right.out.shape]
    batched = any(getattr(a, "ndim", 0) > 2 for c in wrong for a in c.arguments.values())
    if not refused or not unlike or len(refused) + len(unlike) < len(wrong) or not batched:
        return None
    return (
        "The axes do not meet as you mean. `@` multiplies the last two axes, and torch pairs all"
        " others from the right, by position: `batch` may meet `inst`, and a length of 1 fits"
        " everything. Name the axes in an `einsum`."
    )


LAYOUTS = {
    "wrong_shape": wrong_shape, "reduced": reduced, "transposed": transposed,
    "first_only": first_only, "stopped": stopped, "reshaped": reshaped,
    "reordered": reordered, "only_one": only_one, "misaligned": misaligned,
}  # fmt: skip
