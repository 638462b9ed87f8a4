"""What the tests call: comparisons whose message tells a learner where to look.

Every failure is a `CheckFailed` with a short text. Comparisons rest on
`torch.testing.assert_close`, so shape, dtype and device count. Statistical bounds are exact or
proven (binomial tails, Hoeffding), with the false-alarm rate as an argument.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

FALSE_ALARM = (
    1e-6  # the course's promise: at most one right answer in a million is rejected by chance
)


SHIFT: ContextVar[int] = ContextVar("shift", default=0)  # added to every seed of a test
DRAWS: ContextVar[list[int] | None] = ContextVar("draws", default=None)  # notes who draws
# while `assert_raises` waits for an error: what is wrong with the one that came (or nothing)
Judge = Callable[[BaseException], str]
AWAITED: ContextVar[Judge | None] = ContextVar("awaited", default=None)


class CheckFailed(AssertionError):
    """A property that does not hold; its text is written for the learner."""


class GradientLost(CheckFailed):
    """No gradient reaches some arguments; `grads` has those that there are, else None."""

    def __init__(self, message: str, grads: list[Tensor | None]) -> None:
        super().__init__(message)
        self.grads = grads


def fail(message: str) -> None:
    """Fail the test with this text."""
    __tracebackhide__ = True
    raise CheckFailed(message)


def require(condition: object, message: str) -> None:
    """Fail with `message` unless `condition` holds (a bool or a one-element tensor)."""
    __tracebackhide__ = True
    if not bool(condition):
        raise CheckFailed(message)


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on `device`, seeded; a check with other numbers shifts the seed."""
    draws = DRAWS.get()
    if draws is not None:
        draws.append(seed)
    return torch.Generator(device=device).manual_seed(seed + SHIFT.get())


@contextlib.contextmanager
def shifted(seed: int) -> Iterator[list[int]]:
    """In the block every `generator` starts elsewhere; yields the seeds that were asked for."""
    draws: list[int] = []
    here, there = SHIFT.set(seed), DRAWS.set(draws)
    try:
        yield draws
    finally:
        SHIFT.reset(here)
        DRAWS.reset(there)


def away_from_kinks(
    draw: Callable[[torch.Generator], Any],
    kinks: Callable[..., Tensor | Sequence[Tensor]],
    gen: torch.Generator,
    margin: float = 1e-3,
) -> Any:
    """The first `args = draw(gen)` for which every number in `kinks(*args)` is `margin` from 0.

    A ReLU, an absolute value or a threshold has no derivative where its argument is exactly 0:
    right programs differ there. `kinks` returns those arguments, for example `W @ x`.
    """
    for _ in range(100):
        args = draw(gen)
        found = kinks(*args) if isinstance(args, tuple) else kinks(args)
        tensors = [found] if isinstance(found, Tensor) else list(found)
        if all(bool((t.detach().abs() > margin).all()) for t in tensors):
            return args
    raise ValueError(f"100 draws and always a number within {margin} of 0: draw fewer, or no zeros")


def describe(value: Any) -> str:
    """A value in a few words: `float32 tensor of shape (3, 2)`, `float 0.5`, `None`."""
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind} tensor of shape {tuple(value.shape)}"
    if value is None:
        return "None"
    if isinstance(value, bool | int | float | str):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def first_index(mask: Tensor, axes: str = "") -> str:
    """Where `mask` is first true: `batch 0, inst 1, feature 3`."""
    index = mask.nonzero()[0].tolist()
    names = (
        axes.split()
        if len(axes.split()) == len(index)
        else [f"axis {i}" for i in range(len(index))]
    )
    return (
        ", ".join(f"{name} {i}" for name, i in zip(names, index, strict=True)) or "the only entry"
    )


def _shape(value: Tensor, axes: str) -> str:
    """`(batch=1, inst=2)`, or `(1, 2)` where the axes have no names or not as many."""
    names = axes.split()
    if len(names) != value.ndim:
        return str(tuple(value.shape))
    return "(" + ", ".join(f"{n}={s}" for n, s in zip(names, value.shape, strict=True)) + ")"


TOLERANCES = {  # relative and absolute: those of torch.testing.assert_close
    torch.float16: (1e-3, 1e-5), torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5), torch.complex64: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7), torch.complex128: (1e-7, 1e-7),
}  # fmt: skip


def _same_tensor(
    actual: Any,
    expected: Tensor,
    axes: str,
    rtol: float | None,
    atol: float | None,
    hint: str,
    what: str,
) -> None:
    __tracebackhide__ = True
    tail = f"\n{hint}" if hint else ""
    if actual is None:
        fail(f"{what} is None: does your function end with `return ...`?")
    if not isinstance(actual, Tensor):
        fail(f"{what} is {describe(actual)}; a {describe(expected)} was expected{tail}")
    if actual.shape != expected.shape:
        mine, asked = tuple(actual.shape), _shape(expected, axes)
        fail(f"{what} has the wrong shape: yours {mine}, expected {asked}{tail}")
    if actual.dtype != expected.dtype:
        fail(f"{what} is {actual.dtype}, expected {expected.dtype}: keep the input's dtype{tail}")
    if actual.device != expected.device:
        fail(
            f"{what} is on {actual.device}, expected {expected.device}:"
            f" create tensors on the input's device{tail}"
        )
    usual = TOLERANCES.get(expected.dtype, (0.0, 0.0))
    rtol, atol = usual[0] if rtol is None else rtol, usual[1] if atol is None else atol
    try:
        assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=False)
    except AssertionError:
        _explain_difference(actual, expected, axes, rtol, atol, tail, what)


def _explain_difference(
    actual: Tensor,
    expected: Tensor,
    axes: str,
    rtol: float,
    atol: float,
    tail: str,
    what: str,
) -> None:
    __tracebackhide__ = True
    mine, theirs = actual.detach(), expected.detach()
    if mine.isnan().any() and not theirs.isnan().any():
        fail(
            f"{what} has NaN (first at {first_index(mine.isnan(), axes)}):"
            f" what was divided by zero?{tail}"
        )
    close = torch.isclose(mine, theirs, rtol=rtol, atol=atol)
    bad = ~close if not close.all() else mine != theirs
    at = tuple(bad.nonzero()[0].tolist())
    fail(
        f"{int(bad.sum())} of {bad.numel()} values differ; first at {first_index(bad, axes)}:"
        f" yours {mine[at].item():.6g}, expected {theirs[at].item():.6g}{tail}"
    )


def assert_same(
    actual: Any,
    expected: Any,
    axes: str | Sequence[str] = "",
    rtol: float | None = None,
    atol: float | None = None,
    hint: str = "",
    what: str = "the result",
) -> None:
    """Same structure, shape, dtype, device and values; the message names the axes and both values.

    `axes` names the dimensions ("batch inst feature"), one string per element for a tuple.
    """
    __tracebackhide__ = True
    if isinstance(expected, Tensor):
        _same_tensor(actual, expected, str(axes), rtol, atol, hint, what)
    elif isinstance(expected, list | tuple):
        if not isinstance(actual, list | tuple) or len(actual) != len(expected):
            fail(f"{what} is {describe(actual)}; {len(expected)} values were expected")
        names = [""] * len(expected) if isinstance(axes, str) else list(axes)
        for i, (a, e, name) in enumerate(zip(actual, expected, names, strict=True)):
            assert_same(a, e, name, rtol, atol, hint, f"{what}[{i}]")
    elif isinstance(expected, dict):
        if not isinstance(actual, dict) or actual.keys() != expected.keys():
            keys = f" with {', '.join(map(repr, actual))}" if isinstance(actual, dict) else ""
            asked = ", ".join(map(repr, expected))
            fail(f"{what} is {describe(actual)}{keys}; a dict with {asked} was expected")
        for key, e in expected.items():
            assert_same(actual[key], e, axes, rtol, atol, hint, f"{what}[{key!r}]")
    elif isinstance(expected, float) and not isinstance(expected, bool):
        number = actual.item() if isinstance(actual, Tensor) and actual.ndim == 0 else actual
        if isinstance(number, bool) or not isinstance(number, int | float):
            fail(f"{what} is {describe(actual)}; a number was expected")
        _same_tensor(
            torch.tensor(float(number), dtype=torch.float64),
            torch.tensor(expected, dtype=torch.float64),
            "", rtol if rtol is not None else 1e-6, atol if atol is not None else 1e-9, hint, what,
        )  # fmt: skip
    elif type(actual) is not type(expected) or actual != expected:
        fail(f"{what} is {describe(actual)}; expected {describe(expected)}")


def vjp(
    fn: Callable[..., Any],
    args: Sequence[Any],
    upstream: Tensor | Sequence[Tensor],
    wrt: Sequence[int] = (0,),
) -> list[Tensor]:
    """Vector-Jacobian products upstream^T (d fn / d args[i]) for i in `wrt`, as plain tensors.

    Tests never call `.backward()` on a learner's output, so that the same test can run on code
    in another process. Fails with a clear text when the gradient does not reach an argument.
    """
    __tracebackhide__ = True
    if hasattr(fn, "vjp"):
        return fn.vjp(args, upstream, wrt)
    return plain_vjp(fn, args, upstream, wrt)


def plain_vjp(
    fn: Callable[..., Any],
    args: Sequence[Any],
    upstream: Tensor | Sequence[Tensor],
    wrt: Sequence[int],
    seen: Callable[[Any], None] = lambda out: None,
) -> list[Tensor]:
    """`vjp` for a function in this process; `seen` is told what the function returned."""
    __tracebackhide__ = True
    leaves = [a.detach().clone().requires_grad_() if i in wrt else a for i, a in enumerate(args)]
    out = fn(*leaves)
    seen(out)
    outs = list(out) if isinstance(out, list | tuple) else [out]
    ups = [upstream] if isinstance(upstream, Tensor) else list(upstream)
    if not all(isinstance(o, Tensor) for o in outs):
        fail(f"the result is {describe(out)}; a tensor that carries a gradient was expected")
    if not all(o.requires_grad for o in outs):
        fail(
            "no gradient flows back from the result: was something detached, or taken out of torch?"
        )
    if len(outs) != len(ups):
        fail(f"the result is {describe(out)}; {len(ups)} tensor(s) were expected")
    for o, u in zip(outs, ups, strict=True):
        if o.shape != u.shape:
            fail(f"the result has shape {tuple(o.shape)}, expected {tuple(u.shape)}")
        if o.dtype != u.dtype:
            fail(f"the result is {o.dtype}, expected {u.dtype}: keep the input's dtype")
    grads = torch.autograd.grad(outs, [leaves[i] for i in wrt], ups, allow_unused=True)
    for i, grad in zip(wrt, grads, strict=True):
        if grad is None:
            says = f"no gradient reaches argument {i + 1}: is it used, and never detached?"
            raise GradientLost(says, list(grads))
    return [g for g in grads if g is not None]


@contextlib.contextmanager
def unchanged(*tensors: Tensor) -> Iterator[None]:
    """Fail if a tensor is modified inside the block."""
    __tracebackhide__ = True
    before = [t.detach().clone() for t in tensors]
    yield
    for i, (old, new) in enumerate(zip(before, tensors, strict=True)):
        now = new.detach()
        if old.shape != now.shape or not torch.allclose(old, now, 0, 0, equal_nan=True):
            fail(
                f"input {i + 1} was changed in place:"
                " work on new tensors (methods ending in _ modify)"
            )


NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
Promise = str | float | tuple[str | float, ...]  # a tuple: one of these is enough


def _names(text: str, promise: Promise) -> bool:
    """Whether an error's text names a word (whole, any case) or a number (in any notation)."""
    if isinstance(promise, tuple):
        return any(_names(text, one) for one in promise)
    if isinstance(promise, str) and not re.fullmatch(NUMBER, promise, re.IGNORECASE):
        return bool(re.search(rf"(?<!\w){re.escape(promise)}(?!\w)", text, re.IGNORECASE))
    number, found = float(promise), re.findall(rf"(?<![\w.]){NUMBER}", text, re.IGNORECASE)
    return any(abs(float(word) - number) <= 1e-4 * abs(number) for word in found)


def assert_raises(
    error: type[Exception],
    fn: Callable[..., Any],
    *args: Any,
    match: str = "",
    names: Sequence[Promise] = (),
    without: str = "",
    **kwargs: Any,
) -> None:
    """`fn(*args)` must raise `error`; its text must hold `match` and name all of `names`.

    And it must not hold `without`, where that is given.
    `names` is what the statement promises: a parameter's name (a whole word, any case), an
    offending value (`"0.7"` or 0.7: 0.70 and tensor(0.7000) are the same), or a tuple of which
    one is enough: `names=(("p", "probability"), "0.7")`. Wordings are the learner's own.
    """
    __tracebackhide__ = True

    def judge(caught: BaseException) -> str:
        text = str(caught)
        if not isinstance(caught, error):
            return f"{type(caught).__name__} was raised instead of {error.__name__}"
        missing = [n for n in names if not _names(text, n)]
        wanted = [" or ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in missing]
        if match.lower() not in text.lower():
            wanted.append(repr(match))
        if without and without.lower() in text.lower():
            return f"the error's text is {text!r}; it should not name {without}"
        return f"the error's text is {text!r}; it should name {', '.join(wanted)}" if wanted else ""

    waiting = AWAITED.set(judge)
    try:
        fn(*args, **kwargs)
    except error as caught:
        if problem := judge(caught):
            fail(problem)
        return
    finally:
        AWAITED.reset(waiting)
    fail(f"no {error.__name__} was raised for a value that is not allowed")


def binomial_bounds(n: int, p: float, false_alarm: float = FALSE_ALARM) -> tuple[int, int]:
    """Counts (lo, hi) that a Binomial(n, p) leaves with probability <= `false_alarm` (exact)."""
    law = stats.binom(n, p)
    return max(int(law.ppf(false_alarm / 2)) - 1, 0), min(int(law.isf(false_alarm / 2)) + 1, n)


def hoeffding(n: int, width: float = 1.0, false_alarm: float = FALSE_ALARM) -> float:
    """Half-width t with P(|mean - E| >= t) <= `false_alarm`, n independent draws of range `width`.

    Hoeffding (1963): t = width * sqrt(ln(2 / false_alarm) / 2n).
    """
    return float(width * (torch.tensor(2 / false_alarm).log() / (2 * n)).sqrt())


def ks_distance(n: int, false_alarm: float = FALSE_ALARM) -> float:
    """Critical Kolmogorov-Smirnov distance for n draws from a known continuous law (exact)."""
    return float(stats.kstwo(n).isf(false_alarm))
