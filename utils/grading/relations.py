"""How wrong numbers relate to right ones: twice as large, squared, NaN, always the same."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from utils.grading.evidence import Case, as_tensor, close, distinct, explains, right_values

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


def _everywhere(wrong: Sequence[Case], cases: Sequence[Case]) -> bool:
    """Wrong wherever there is a right result that is not 0."""
    others = [c for c in cases if not c.right.error and not any(c is w for w in wrong)]
    return not any(r.any() for c in others for _, r in c.pairs or [])


def _where(wrong: Sequence[Case], cases: Sequence[Case]) -> str:
    """How far a finding reaches."""
    return "On every input" if _everywhere(wrong, cases) else "Wherever it is wrong,"


def _factor(case: Case) -> float | None:
    """k where every number of the result is k times the right one; None where all are 0."""
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
    # a factor of 1: the numbers are right, something else is wrong
    if any(k is None or abs(k - 1) < 1e-4 for k in factors) or not distinct(wrong, 3):
        return None
    known = [k for k in factors if k is not None]
    if max(known) - min(known) <= 1e-4 * abs(known[0]):
        said = f"{_where(wrong, cases)} your result {_constant_factor(known[0])}."
        if 0 < known[0] < 1 and not _familiar(known[0]) and not _everywhere(wrong, cases):
            said += " Does a small constant or a lower bound count there that should not?"
        return said
    fitting = []
    for words, function in BY_SIZE.items():
        for axis in set.intersection(*(set(c.sizes) for c in wrong)):
            sizes = [c.sizes[axis] for c in wrong]
            if min(sizes) > 1 and all(
                abs(function(n) - k) <= 1e-4 * abs(k) for n, k in zip(sizes, known, strict=True)
            ):
                fitting.append(words.format(f"`{axis}`"))
    others = [c for c in cases if not c.right.error and not any(c is w for w in wrong)]
    if len(fitting) == 1 and all(map(right_values, others)):
        return f"{_where(wrong, cases)} your result is {fitting[0]} (the length of that axis)."
    return None


def _familiar(k: float) -> str:
    """The words for a factor that has some."""
    near = [words for number, words in FACTORS.items() if abs(abs(k) - number) < 1e-4 * number]
    return near[0] if near else ""


def _constant_factor(k: float) -> str:
    if abs(k + 1) < 1e-4:
        return "has the right size and the wrong sign"
    words = _familiar(k) or f"{abs(k):.4g} times"
    sign = ", with the wrong sign" if k < 0 else ""
    return f"is {words} what is asked for{sign}"


def computed(wrong: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """A simple function of what is right, or off by a constant."""
    if not distinct(wrong, 4):
        return None
    for words, function in FUNCTIONS.items():
        if explains(wrong, lambda m, r: m.shape == r.shape and close(m, function(r))):  # noqa: B023
            return f"{_where(wrong, cases)} your result is {words}."
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
        return f"{_where(wrong, cases)} your result is {abs(shift):.4g} too {size}."
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
        f"Your numbers are right but for {bad}: a division by zero, a logarithm or a root of a"
        " number that has none, or a case that you treat apart. Which inputs lead there, and what"
        " should come out?"
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
    if not distinct(returned, 3):
        return None
    if len(torch.cat([t.flatten() for t in mine]).unique()) == 1:
        return (
            f"Every number of your result is {float(mine[0].flatten()[0]):.4g}, whatever comes in."
        )
    right = [torch.cat([r.flatten() for _, r in c.pairs or []]) for c in returned]
    if all(close(r, right[0]) for r in right):
        return None  # so they should be
    if all(close(m, mine[0]) for m in mine):
        return "Your function returns the same numbers whatever its arguments are."
    return None


def _came_in(value: object, argument: object) -> bool:
    m, a = as_tensor(value), as_tensor(argument)
    return m is not None and a is not None and close(m, a)


RELATIONS = {
    "constant": constant, "scaled": scaled, "not_finite": not_finite, "computed": computed,
}  # fmt: skip
