"""The code under test, as tests see it: functions that remember how they were called.

The memory serves one purpose: when a test fails, the same calls are replayed through the known
mistakes.
"""

import copy
import itertools
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from utils.testing import AWAITED, GradientLost, Judge, plain_vjp

RTOL, ATOL = 1e-4, 1e-6  # two programs for the same wrong formula differ by rounding only
ADDRESS = re.compile(r"0x[0-9a-f]+")


def frozen(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """A copy that later changes to `value` do not reach; generators keep their state.

    With a `memo` tensors that share memory share it in the copy, too: who writes into one of
    them writes into all.
    """
    if isinstance(value, Tensor):
        # a copy with autograd history would be tied to the learner's graph
        bare = value.detach()
        mine = bare.clone() if memo is None else copy.deepcopy(bare, memo)
        return mine.requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, Twice):
        return copy.copy(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(frozen(v, memo) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(frozen(v, memo) for v in value)
    if isinstance(value, Mapping):
        return {k: frozen(v, memo) for k, v in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


Twice: type = type(itertools.tee(())[0])  # an iterator that can be copied


def repeatable(value: Any) -> Any:
    """An iterator as one that can be copied; anything else as it is."""
    return itertools.tee(value, 1)[0] if isinstance(value, Iterator) else value


@dataclass(frozen=True)
class Behaviour:
    """What one call did: what came back, or the error, and its arguments afterwards."""

    out: Any = None  # what the function returned, also in a vector-Jacobian product that failed
    grads: Any = None  # of a vector-Jacobian product
    error: type[BaseException] | None = None
    text: str = ""  # of the error, without addresses of objects
    problem: str | None = None  # where a test waits for an error: what is wrong with this one
    entered: bool = True  # False where the arguments did not fit the function's parameters
    args_after: Any = None


@dataclass(frozen=True)
class Call:
    """One recorded call, with what is needed to make it again."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    upstream: Any  # of a vector-Jacobian product; None for a plain call
    wrt: tuple[int, ...]
    judge: Judge | None  # the test waits for an error, and says what is wrong with one
    did: Behaviour
    gradients: bool = True  # false inside `torch.no_grad()`

    def replay(self, fn: Callable[..., Any]) -> Behaviour:
        """What `fn` does on the same call."""
        memo: dict[int, Any] = {}
        args, kwargs = frozen(self.args, memo), frozen(self.kwargs, memo)
        with torch.set_grad_enabled(self.gradients):
            return observe(fn, args, kwargs, self.upstream, self.wrt, self.judge)[1]


def observe(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    upstream: Any,
    wrt: Sequence[int],
    judge: Judge | None = None,
) -> tuple[Any, Behaviour, Exception | None]:
    """Call `fn`; return its value, the behaviour to compare, and the error it raised, if any."""
    __tracebackhide__ = True
    outs: list[Any] = []
    grads = None
    try:
        if upstream is None:
            out = fn(*args, **kwargs)
            outs.append(out)
        else:
            out = grads = plain_vjp(fn, args, upstream, wrt, outs.append)
    except Exception as error:
        did = Behaviour(
            frozen(outs[0]) if outs else None,
            frozen(error.grads) if isinstance(error, GradientLost) else None,
            error=type(error),
            text=ADDRESS.sub("0x", str(error)),
            problem=judge(error) if judge else None,
            entered=not (isinstance(error, TypeError) and _raised_here(error)),
            args_after=frozen(list(args)),
        )
        return None, did, error
    return out, Behaviour(frozen(outs[0]), frozen(grads), args_after=frozen(list(args))), None


def _raised_here(error: BaseException) -> bool:
    """Whether the error came from the call itself: no line of the called function has run."""
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1] in (__file__, plain_vjp.__code__.co_filename)


class Recorded:
    """A learner's function that keeps its calls."""

    def __init__(self, fn: Callable[..., Any], calls: list[Call]) -> None:
        self.fn, self.calls = fn, calls
        self.__name__ = getattr(fn, "__name__", "function")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call and remember."""
        __tracebackhide__ = True
        return self._record(args, kwargs, None, ())

    def vjp(self, args: Sequence[Any], upstream: Any, wrt: Sequence[int]) -> Any:
        """Vector-Jacobian product, remembered."""
        __tracebackhide__ = True
        return self._record(tuple(args), {}, upstream, tuple(wrt))

    def _record(self, args: tuple, kwargs: dict, upstream: Any, wrt: tuple[int, ...]) -> Any:
        __tracebackhide__ = True
        args = tuple(map(repeatable, args))
        kwargs = {k: repeatable(v) for k, v in kwargs.items()}
        memo: dict[int, Any] = {}
        before, named, judge = frozen(args, memo), frozen(kwargs, memo), AWAITED.get()
        gradients = torch.is_grad_enabled()
        out, did, error = observe(self.fn, args, kwargs, upstream, wrt, judge)
        torch.set_grad_enabled(gradients)  # the next call is not to suffer from this one
        self.calls.append(Call(before, named, upstream, wrt, judge, did, gradients))
        if error is not None:
            raise error
        return out


class Undefined(NameError):
    """A name that a test needs and the learner's code lacks."""


class Implementation:
    """`impl` in a test: the learner's names, the function under test recorded."""

    def __init__(self, names: Mapping[str, Any], recorded: str | None = None) -> None:
        self._names, self._recorded = names, recorded
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self._names:
            raise Undefined(f"{name} is not defined: was its cell deleted or not run?")
        value = self._names[name]
        return Recorded(value, self.calls) if name == self._recorded and callable(value) else value


def _state(module: torch.nn.Module) -> dict[str, Any]:
    """What a call may have changed in a module: its parameters, and hooks that it left behind."""
    hooks = {name: len(m._forward_hooks) for name, m in module.named_modules()}
    return {"weights": dict(module.state_dict()), "hooks": hooks}


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal up to rounding; whole numbers have none."""
    if a.is_floating_point() or a.is_complex():
        return torch.allclose(a, b, RTOL, ATOL, equal_nan=True)
    return torch.equal(a, b)


def same(a: Any, b: Any) -> bool:
    """Whether two observed values are the same up to rounding (and need gradients alike).

    Errors are the same with the same type and text. Where a test waits for an error, wordings
    are free: two that it accepts are the same, and two of one type that it does not accept.
    """
    if isinstance(a, Behaviour) and isinstance(b, Behaviour):
        if a.error is not b.error or a.entered is not b.entered:
            return False
        if a.error and a.problem is not None and b.problem is not None:
            return (a.problem == "") is (b.problem == "")
        return a.text == b.text and all(
            same(getattr(a, part), getattr(b, part)) for part in ("out", "grads", "args_after")
        )
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.shape == b.shape and a.dtype == b.dtype and a.requires_grad == b.requires_grad
        return alike and a.device == b.device and _close(a.detach(), b.detach())
    for kind in (torch.Generator, Iterator):
        if isinstance(a, kind) and isinstance(b, kind):
            return True  # how many numbers or batches were drawn does not matter
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, int) and isinstance(b, int):
        return type(a) is type(b) and a == b
    if isinstance(a, int | float) and isinstance(b, int | float):
        near = a == b or abs(a - b) <= ATOL + RTOL * abs(b) or (a != a and b != b)
        return type(a) is type(b) and near  # infinities are equal, and have no difference
    if isinstance(a, torch.nn.Module) and isinstance(b, torch.nn.Module):
        return type(a) is type(b) and same(_state(a), _state(b))
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:
        return False
