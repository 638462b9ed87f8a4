"""What a learner's function does beside what is right, on every call that the tests make.

The calls are those of the learner's own run, and those of the reference's: a test that fails
early makes few calls, and a mistake has to be told from others on all of them.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from utils.grading.axes import axis_sizes, bound
from utils.grading.implementation import ATOL, RTOL, Behaviour, Call, frozen, same

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Case:
    """One call: what the learner's function did and what the reference does."""

    call: Call
    reference: Callable[..., Any]
    did: Behaviour
    right: Behaviour
    plain: Behaviour  # the same call without gradients, where `did` has no value
    arguments: dict[str, Any]  # by parameter
    sizes: dict[str, int]  # of every named axis

    @property
    def differs(self) -> bool:
        """Whether the learner's function did anything else than the reference."""
        return not same(self.did, self.right)

    @property
    def value(self) -> Any:
        """What the learner's function returned."""
        return self.did.out if self.did.out is not None else self.plain.out

    @property
    def pairs(self) -> list[Pair] | None:
        """(mine, right) for every tensor or number in the results; None for other structures."""
        return paired(self.value, self.right.out)


def _case(call: Call, did: Behaviour, fn: Callable[..., Any], right: Callable[..., Any]) -> Case:
    plain = did
    if call.upstream is not None and did.out is None:
        plain = replace(call, upstream=None, wrt=()).replay(fn)
    arguments = bound(right, frozen(call.args), frozen(call.kwargs))
    sizes = axis_sizes(right, arguments)
    return Case(call, right, did, call.replay(right), plain, arguments, sizes)


def gather(
    fn: Callable[..., Any],
    right: Callable[..., Any],
    mine: Iterable[Call],
    theirs: Iterable[Call],
) -> list[Case]:
    """The learner's recorded calls as cases, then the reference's with the learner's function."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cases = [_case(call, call.did, fn, right) for call in mine]
        return cases + [_case(call, call.replay(fn), fn, right) for call in theirs]


def as_tensor(value: Any) -> Tensor | None:
    """A tensor or a number as a float64 tensor on the CPU, None for anything else."""
    if isinstance(value, int | float):
        return torch.tensor(float(value), dtype=torch.float64)
    if not isinstance(value, Tensor) or value.is_complex() or value.is_meta:
        return None
    return value.detach().to("cpu", torch.float64)


def paired(mine: Any, right: Any) -> list[Pair] | None:
    """Tensors and numbers of two values with the same structure; None where it differs."""
    if isinstance(right, dict):
        if not isinstance(mine, dict) or mine.keys() != right.keys():
            return None
        return _joined([paired(mine[k], right[k]) for k in right])
    if isinstance(right, list | tuple):
        if not isinstance(mine, list | tuple) or len(mine) != len(right):
            return None
        return _joined([paired(m, r) for m, r in zip(mine, right, strict=True)])
    m, r = as_tensor(mine), as_tensor(right)
    return None if m is None or r is None else [(m, r)]


def _joined(parts: Sequence[list[Pair] | None]) -> list[Pair] | None:
    found: list[Pair] = []
    for part in parts:
        if part is None:
            return None
        found += part
    return found


def close(a: Tensor, b: Tensor, rtol: float = RTOL) -> bool:
    """The same shape, and the same values up to rounding."""
    return a.shape == b.shape and torch.allclose(a, b, rtol, ATOL, equal_nan=True)


def explains(cases: Sequence[Case], rule: Callable[[Tensor, Tensor], bool]) -> bool:
    """Whether in every case each part of the result is right or obeys `rule`, and some obey it."""
    for case in cases:
        pairs = case.pairs
        if not pairs:
            return False
        wrong = [(m, r) for m, r in pairs if not close(m, r)]
        if not wrong or not all(rule(m, r) for m, r in wrong):
            return False
    return bool(cases)


def right_values(case: Case, rtol: float = RTOL) -> bool:
    """Whether every number is right, whatever its type or gradient."""
    pairs = case.pairs
    return pairs is not None and all(close(m, r, rtol) for m, r in pairs)


def agrees(case: Case, did: Behaviour) -> bool:
    """Whether `did` returned the learner's values, types and gradients apart."""
    pairs = paired(case.value, did.out)
    if pairs is None:
        return same(case.value, did.out) and case.value is not None
    return all(close(m, r) for m, r in pairs)
