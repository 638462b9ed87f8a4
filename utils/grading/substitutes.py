"""As if an argument were another: an answer that leaves the bias out, or swaps two arguments."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from utils.grading.axes import axis_names
from utils.grading.evidence import Case, agrees

Change = Callable[[dict[str, Any]], dict[str, Any]]


def _one(name: str, function: Callable[[Any], Any]) -> Change:
    return lambda arguments: {**arguments, name: function(arguments[name])}


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _first_along(axis: int) -> Callable[[Tensor], Tensor]:
    return lambda t: t.narrow(axis, 0, 1).expand_as(t)


def _of_tensor(name: str, annotation: Any, value: Tensor) -> Iterator[tuple[str, Change]]:
    if value.is_floating_point():
        yield f"as if `{name}` were 0", _one(name, torch.zeros_like)
        yield f"as if `{name}` were 1", _one(name, torch.ones_like)
        yield f"as if `{name}` had the opposite sign", _one(name, torch.neg)
        yield f"as if `{name}` had no negative numbers", _one(name, lambda t: t.clamp(min=0))
        yield f"as if `{name}` had lost its signs", _one(name, torch.abs)
        yield f"as if `{name}` were squared", _one(name, torch.square)
    if value.dtype == torch.bool:
        yield f"as if `{name}` were turned round (true for false)", _one(name, torch.logical_not)
    names = axis_names(annotation, value)
    if "inst" in names and value.shape[names.index("inst")] > 1:
        first = _one(name, _first_along(names.index("inst")))
        yield f"as if every instance had the `{name}` of instance 0", first


def _of_number(name: str, value: Any, default: Any) -> Iterator[tuple[str, Change]]:
    if isinstance(value, bool):
        for fixed in (True, False):
            yield f"as if `{name}` were always {fixed}", _one(name, _always(fixed))
    elif isinstance(value, int):
        yield f"as if `{name}` were one larger", _one(name, lambda n: n + 1)
        yield f"as if `{name}` were one smaller", _one(name, lambda n: n - 1)
    elif isinstance(value, float):
        yield f"as if `{name}` were squared", _one(name, lambda n: n * n)
        yield f"as if `{name}` were 1 - `{name}`", _one(name, lambda n: 1 - n)
        yield f"as if `{name}` were 0", _one(name, _always(0.0))
        yield f"as if `{name}` were 1", _one(name, _always(1.0))
    if default is not inspect.Parameter.empty and not isinstance(value, Tensor):
        yield f"as if `{name}` had its default, {default!r}", _one(name, _always(default))


def _swap(a: str, b: str) -> Change:
    return lambda arguments: {**arguments, a: arguments[b], b: arguments[a]}


def _changes(case: Case) -> Iterator[tuple[str, Change]]:
    parameters = inspect.signature(case.reference).parameters
    for name, value in case.arguments.items():
        if isinstance(value, Tensor):
            yield from _of_tensor(name, parameters[name].annotation, value)
        else:
            yield from _of_number(name, value, parameters[name].default)
    for a, b in combinations(case.arguments, 2):
        kinds = [type(case.arguments[n]) for n in (a, b)]
        if kinds[0] is kinds[1] and kinds[0] in (Tensor, int, float):
            yield f"as if `{a}` and `{b}` were swapped", _swap(a, b)


def _holds(cases: Sequence[Case], change: Change) -> bool:
    """Whether the reference, with changed arguments, returns what the learner's function does."""
    for case in cases:
        try:
            arguments = change(case.arguments)
        except (TypeError, KeyError, RuntimeError, AttributeError):
            return False
        other = replace(case.call, args=tuple(arguments.values()), kwargs={}, upstream=None, wrt=())
        did = other.replay(case.reference)
        if case.did.error and case.right.error:
            continue
        if did.error or not agrees(case, did):
            return False
    return True


def as_if(wrong: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """Exactly one changed argument that makes the reference behave as the answer, everywhere."""
    kinds = {p.kind for p in inspect.signature(wrong[0].reference).parameters.values()}
    if kinds - {inspect.Parameter.POSITIONAL_OR_KEYWORD} or len(wrong) < 2:
        return None
    if any(not c.arguments or c.value is None for c in wrong):
        return None
    found = [words for words, change in _changes(wrong[0]) if _holds([*wrong, *cases], change)]
    if len(found) != 1:
        return None  # several at once: the inputs do not tell them apart
    return f"On every input your result is what should come out {found[0]}."
