"""How wrong values relate to right ones: transposed, twice as large, right in one instance only."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from utils.grading.axes import axis_names, shape_text
from utils.grading.evidence import Case, as_tensor, close, explains, right_values

Rule = Callable[[Tensor, Tensor], bool]
FACTORS = {
    2.0: "twice", 0.5: "half of", 3.0: "three times", 1 / 3: "a third of", 4.0: "four times",
    0.25: "a quarter of", 100.0: "100 times (per cent?)", 0.01: "a hundredth of",
    math.pi: "π times", 2 * math.pi: "2π times", 180 / math.pi: "180/π times (degrees?)",
    math.pi / 180: "π/180 times (radians?)", math.sqrt(2): "√2 times", math.sqrt(0.5): "1/√2 of",
    1 / math.log(2): "1/ln 2 times (a logarithm to base 2?)",
    math.log(2): "ln 2 times (a natural logarithm?)",
}  # fmt: skip
BY_SIZE: dict[str, Callable[[float], float]] = {
    "{} times what is asked for": lambda n: n,
    "what is asked for divided by {}": lambda n: 1 / n,
    "√{} times what is asked for": lambda n: n**0.5,
    "what is asked for divided by √{}": lambda n: n**-0.5,
    "{0}/({0} - 1) times what is asked for": lambda n: n / (n - 1),
    "({0} - 1)/{0} times what is asked for": lambda n: (n - 1) / n,
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "the square of what is asked for": torch.square,
    "the square root of what is asked for": torch.sqrt,
    "1 minus what is asked for": lambda r: 1 - r,
    "1 divided by what is asked for": torch.reciprocal,
    "the size of what is asked for, without its sign": torch.abs,
    "what is asked for, with negative numbers set to 0": lambda r: r.clamp(min=0),
    "the exponential of what is asked for": torch.exp,
    "the logarithm of what is asked for": torch.log,
}


def _distinct(cases: Sequence[Case], wanted: int) -> bool:
    """Whether what is right has at least `wanted` different numbers over these cases."""
    numbers = [r.flatten()[:100] for c in cases for _, r in c.pairs or []]
    return bool(numbers) and len(torch.cat(numbers).unique()) >= wanted


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
    if all(
        isinstance(c.right.out, tuple) and isinstance(c.value, tuple) and _swapped(c) for c in wrong
    ):
        return "The parts of your result are right, but they come in another order than asked."
    for axis in (-1, -2, 0):

        def flipped(m: Tensor, r: Tensor, axis: int = axis) -> bool:
            return r.ndim >= 1 and -r.ndim <= axis and close(m, r.flip(axis))

        if explains(wrong, flipped) and _distinct(wrong, 3):
            return "Your numbers are right, but they come in reverse order."

    def rule(m: Tensor, r: Tensor) -> bool:
        some = m.shape == r.shape and r.numel() >= 4 and len(r.unique()) >= 4
        return some and close(m.flatten().sort().values, r.flatten().sort().values)

    if explains(wrong, rule):
        return "Your result has the right numbers, but at other places than asked for."
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


def _factor(case: Case) -> float | None:
    """k where every number of the result is k times the right one; nan where all are 0."""
    pairs = case.pairs
    if not pairs or case.did.error or any(m.shape != r.shape for m, r in pairs):
        return None
    m, r = (torch.cat([p[i].flatten() for p in pairs]) for i in (0, 1))
    finite = r.isfinite() & m.isfinite()
    if not r[finite].any():
        return None
    k = float(m[finite] @ r[finite] / (r[finite] @ r[finite]))
    return k if close(m, k * r) and abs(k) > 1e-9 else None


def scaled(wrong: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """Right up to a factor: a constant, a sign, or the size of one axis."""
    factors = [_factor(c) for c in wrong]
    if any(k is None for k in factors) or not _distinct(wrong, 3):
        return None
    known = [k for k in factors if k is not None]
    if max(known) - min(known) <= 1e-4 * abs(known[0]):
        return _constant_factor(known[0])
    fitting = []
    for words, function in BY_SIZE.items():
        for axis in set.intersection(*(set(c.sizes) for c in wrong)):
            sizes = [c.sizes[axis] for c in wrong]
            if min(sizes) > 1 and all(
                abs(function(n) - k) <= 1e-4 * abs(k) for n, k in zip(sizes, known, strict=True)
            ):
                fitting.append(words.format(f"`{axis}`"))
    if len(fitting) == 1 and all(right_values(c) for c in cases if c not in wrong):
        return f"On every input your result is {fitting[0]} (the length of that axis)."
    return None


def _constant_factor(k: float) -> str | None:
    if abs(k + 1) < 1e-4:
        return "On every input your result has the right size and the wrong sign."
    near = [words for number, words in FACTORS.items() if abs(abs(k) - number) < 1e-4 * number]
    words = near[0] if near else f"{abs(k):.4g} times"
    sign = ", with the wrong sign" if k < 0 else ""
    return f"On every input your result is {words} what is asked for{sign}."


def computed(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """A simple function of what is right, or off by a constant."""
    if not _distinct(wrong, 4):
        return None
    for words, function in FUNCTIONS.items():
        if explains(wrong, lambda m, r: m.shape == r.shape and close(m, function(r))):  # noqa: B023
            return f"On every input your result is {words}."
    first = next(((m, r) for m, r in wrong[0].pairs or [] if m.shape == r.shape != (0,)), None)
    if first is None or not first[0].numel():
        return None
    shift = float((first[0] - first[1]).flatten()[0])
    if (
        math.isfinite(shift)
        and abs(shift) > 1e-3
        and explains(wrong, lambda m, r: m.shape == r.shape and close(m, r + shift))
    ):
        size = "large" if shift > 0 else "small"
        return f"On every input your result is {abs(shift):.4g} too {size}."
    return None


def not_finite(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Right but for NaN or infinity."""
    bad = ""

    def rule(m: Tensor, r: Tensor) -> bool:
        nonlocal bad
        spoilt = ~m.isfinite() & r.isfinite() if m.shape == r.shape else torch.tensor(False)
        bad = bad or ("NaN" if m.isnan().any() else "inf")
        return bool(spoilt.any()) and close(m[~spoilt], r[~spoilt])

    if not explains(wrong, rule):
        return None
    return (
        f"Your numbers are right but for {bad}: somewhere you divide by zero, or take the logarithm"
        " or the root of a number that has none. Which inputs lead there, and what should come out?"
    )


def constant(wrong: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """The same result whatever the arguments, or an argument as it came."""
    returned = [c for c in cases if c.value is not None and c.right.out is not None]
    if len(returned) < 3 or any(c.value is None or not c.pairs for c in [*returned, *wrong]):
        return None
    mine = [torch.cat([m.flatten() for m, _ in c.pairs or []]) for c in returned]
    for name in wrong[0].arguments:
        came = [_came_in(c.value, c.arguments.get(name)) for c in returned]
        if all(came) and len(wrong) >= 2:
            return f"You return `{name}` as it came in."
    if not _distinct(returned, 3):
        return None
    if len(torch.cat([t.flatten() for t in mine]).unique()) == 1:
        return (
            f"Every number of your result is {float(mine[0].flatten()[0]):.4g}, whatever comes in."
        )
    if all(close(m, mine[0]) for m in mine):
        return "Your function returns the same numbers whatever its arguments are."
    return None


def _came_in(value: object, argument: object) -> bool:
    m, a = as_tensor(value), as_tensor(argument)
    return m is not None and a is not None and close(m, a)


def first_only(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Only index 0 along one axis is right."""
    axes = [a for a in _result_axes(max(wrong, key=lambda c: len(_result_axes(c)))) if a.isalpha()]
    for axis in axes or ["inst"]:
        for at in (0, 1, 2):

            def is_it(case: Case, at: int = at, axis: str = axis) -> bool:
                size = case.sizes.get(axis, 0)
                names = _result_axes(case)
                if names and (at >= len(names) or names[at] != axis):
                    return False
                return size > 1 and all(
                    close(m, r) or _first_along(m, r, at, size) for m, r in case.pairs or []
                )

            if all(c.pairs and is_it(c) for c in wrong) and _distinct(wrong, 3):
                called = {"inst": "instance", "batch": "row", "row": "row"}.get(axis)
                first = f"the first {called}" if called else f"index 0 along `{axis}`"
                return (
                    f"Only {first} comes out right. Does a loop return or stop in its first turn,"
                    " or does an index `[0]` stay somewhere?"
                )
    return None


def _first_along(m: Tensor, r: Tensor, at: int, size: int) -> bool:
    if r.ndim <= at or r.shape[at] != size:
        return False
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


RELATIONS = {
    "constant": constant, "wrong_shape": wrong_shape, "transposed": transposed,
    "first_only": first_only, "stopped": stopped, "scaled": scaled, "not_finite": not_finite,
    "computed": computed, "reshaped": reshaped, "reordered": reordered, "only_one": only_one,
    "misaligned": misaligned,
}  # fmt: skip
