"""General probes: faults that any exercise can have, each with the sentence for it.

A probe speaks only where it explains every call on which the answer differs from what is right,
and it states what was seen on all of them. It knows nothing about the exercise.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from utils.grading.evidence import Case, close, paired, right_values
from utils.grading.implementation import same
from utils.grading.layouts import LAYOUTS
from utils.grading.relations import RELATIONS
from utils.testing import describe

COARSE = 2e-2  # relative: right values that went through bfloat16
Probe = Callable[[Sequence[Case], Sequence[Case]], str | None]  # (wrong cases, all cases)


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(f"`{n}`" for n in names)


def in_place(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """An argument is another one afterwards."""
    changed: list[str] = []
    for case in wrong:
        after = case.did.args_after if not case.did.error else case.plain.args_after
        before, theirs = case.call.args, case.right.args_after
        mine = [i for i, a in enumerate(before) if not same(a, after[i]) and same(a, theirs[i])]
        if not mine:
            return None
        names = list(case.arguments)
        changed += [names[i] if i < len(names) else f"argument {i + 1}" for i in mine]
    return (
        f"You change {_quoted(sorted(set(changed)))} itself: whoever called your function finds"
        " other numbers in it afterwards. Make a new tensor: `x = x + 1` where you have `x += 1`,"
        " `clamp` for `clamp_`, and `x = x.clone()` before an assignment to `x[...]`."
    )


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [t for v in value for t in _tensors(v)]
    return [value] if isinstance(value, Tensor) else []


def _wanted(case: Case) -> list[str]:
    """The arguments by which a test differentiates."""
    names = list(case.arguments)
    return [names[i] for i in case.call.wrt if i < len(names)]


def detached(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Right values without their gradient, or with a part of it only."""
    lost: set[str] = set()
    turned: list[bool] = []
    cut = False
    for case in wrong:
        if not right_values(case) or case.right.error:
            return None
        if case.call.upstream is None:
            mine, right = _tensors(case.did.out), _tensors(case.right.out)
            asked = [m for m, r in zip(mine, right, strict=False) if r.requires_grad]
            if not asked or all(m.requires_grad for m in asked):
                return None
            cut = True
        elif case.did.grads is None:
            cut = True
        else:
            named = zip(_wanted(case), case.did.grads, case.right.grads or (), strict=False)
            others = [(name, m, r) for name, m, r in named if not same(m, r)]
            lost |= {name for name, _, _ in others}
            turned += [m is not None and r is not None and close(m, -r) for _, m, r in others]
    if cut:
        return (
            "The values are right, but no gradient flows back through your result. Look for"
            " `.detach()`, `.item()`, `.data`, `torch.no_grad()`, NumPy, or a new tensor made"
            " from numbers of an old one (`torch.tensor(...)`)."
        )
    if not lost:
        return None
    said = f"The values are right, but the gradient by {_quoted(sorted(lost))}"
    if all(turned):
        return f"{said} has the wrong sign."
    return (
        f"{said} is not. Is one of the places where it is used detached, copied into a new tensor,"
        " or rounded? Or does a `backward` of your own return something else?"
    )


def attached(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Right values with a gradient where none is wanted."""
    for case in wrong:
        mine, right = _tensors(case.did.out), _tensors(case.right.out)
        both = zip(mine, right, strict=False)
        more = any(m.requires_grad and not r.requires_grad for m, r in both)
        if case.call.upstream is not None or not more or not right_values(case):
            return None
    return (
        "The values are right, but your result still hangs on the graph of its arguments, and"
        " here no gradient is wanted: put the work under `torch.no_grad()`, or `.detach()` it."
    )


def switched_off(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """An error where gradients are off around the call, and nowhere else."""
    if any(c.call.gradients or c.right.error or c.did.error is not RuntimeError for c in wrong):
        return None
    return (
        "It fails where gradients are switched off around the call (`torch.no_grad()`). Switch them"
        " on where you need them: `with torch.enable_grad():`."
    )


def dtype(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Right values in another number format."""
    said = ""
    for case in wrong:
        mine, right = _tensors(case.value), _tensors(case.right.out)
        other = [
            (m.dtype, r.dtype) for m, r in zip(mine, right, strict=False) if m.dtype != r.dtype
        ]
        if len(mine) != len(right) or not other or not right_values(case, COARSE):
            return None
        said = said or " where ".join(str(d).removeprefix("torch.") for d in other[0])
    return (
        f"The values are right, but not their type: yours is {said} is asked for. Look for"
        " `.float()`, for a tensor that you make without `dtype=`, and for NumPy."
    )


def device(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Right values on another device."""
    said = ""
    for case in wrong:
        mine, right = _tensors(case.value), _tensors(case.right.out)
        other = [(m.device, r.device) for m, r in zip(mine, right, strict=False)]
        other = [(m, r) for m, r in other if m != r]
        if len(mine) != len(right) or not other or not right_values(case):
            return None
        said = said or f"{other[0][0]} where the arguments are on {other[0][1]}"
    return (
        f"The values are right, but they are on {said}: make new tensors with"
        " `device=x.device`, or from an old one (`torch.zeros_like`, `x.new_zeros`)."
    )


def _kinds(value: object) -> object:
    """The types in a result, by structure."""
    if isinstance(value, dict):
        return {k: _kinds(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [_kinds(v) for v in value]
    return Tensor if isinstance(value, Tensor) else type(value)


def _as_numbers(value: Any, like: Any) -> Any:
    """NumPy's arrays and numbers, and lists in place of a tensor, as tensors."""
    if isinstance(like, dict) and isinstance(value, dict) and value.keys() == like.keys():
        return {k: _as_numbers(value[k], like[k]) for k in like}
    if isinstance(like, list | tuple):
        fits = isinstance(value, list | tuple) and len(value) == len(like)
        return [_as_numbers(v, x) for v, x in zip(value, like, strict=True)] if fits else None
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def _unlike(mine: Any, right: Any) -> tuple[str, str]:
    """The first parts of two results that are of different kinds, in words."""
    keys = right if isinstance(right, dict) else range(len(right)) if _is_row(right) else ()
    if type(mine) is type(right) or (_is_row(mine) and _is_row(right)):
        for key in keys:
            if _kinds(mine[key]) != _kinds(right[key]):
                return _unlike(mine[key], right[key])
    return describe(mine), describe(right)


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple)


def kind(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """Right values as a number where a tensor is wanted, or the other way, or in NumPy."""
    for case in wrong:
        if case.value is None or _kinds(case.value) == _kinds(case.right.out):
            return None
        pairs = paired(_as_numbers(case.value, case.right.out), case.right.out)
        if not pairs or not all(m.numel() == r.numel() for m, r in pairs):
            return None
        if not all(close(m.reshape(r.shape) if m.numel() == 1 else m, r) for m, r in pairs):
            return None
    mine, right = _unlike(wrong[0].value, wrong[0].right.out)
    return f"The value is right, but not its kind: yours is {mine}, and {right} is asked for."


def not_refused(wrong: Sequence[Case], _cases: Sequence[Case]) -> str | None:
    """No error where the statement asks for one, or another error."""
    if not all(c.right.error and c.right.problem == "" for c in wrong):
        return None
    asked, mine = wrong[0].right.error, wrong[0].did.error
    if asked is None or any(c.did.error is not mine for c in wrong):
        return None
    if mine is None:
        return (
            f"What you return for allowed arguments is right. But arguments that are not allowed"
            f" must raise a {asked.__name__}, and yours lets some of them through."
        )
    return (
        f"You stop as you should where arguments are not allowed, but not with the error that is"
        f" asked for: {wrong[0].did.problem}."
    )


def no_result(wrong: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """None in place of a result, always."""
    returned = [c for c in cases if not c.did.error]
    nothing = [c for c in returned if c.did.out is None and c.right.out is not None]
    if len(nothing) < len(returned) or not nothing:
        return None
    return "Your function returns nothing (`None`): it needs a `return` at its end."


PROBES: dict[str, Probe] = {
    "no_result": no_result, "in_place": in_place, "detached": detached, "attached": attached,
    "switched_off": switched_off, "dtype": dtype, "device": device, "kind": kind,
    "not_refused": not_refused,
    "constant": RELATIONS["constant"], **LAYOUTS, **RELATIONS,
}  # fmt: skip


def probed(cases: Sequence[Case], right: Callable) -> tuple[str, str] | None:
    """(name, sentence) of the first probe that explains every case that differs, or None."""
    wrong = [c for c in cases if c.differs]
    if not wrong:
        return None
    for name, probe in PROBES.items():
        if inspect.isclass(right) and name == "detached":
            continue
        if said := probe(wrong, cases):
            return f"general:{name}", said
    return None
