"""The names of axes, read from the annotations of the reference: `x is (batch=4, feature=5)`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from torch import Tensor


def bound(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Parameter -> argument of a call; empty where they do not fit."""
    try:
        found = inspect.signature(fn).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {}
    found.apply_defaults()
    return dict(found.arguments)


def axis_names(annotation: Any, value: Any) -> list[str]:
    """Names of a tensor's axes by its jaxtyping annotation (or one of a union of them)."""
    for kind in (annotation, *get_args(annotation)):
        names = str(getattr(kind, "dim_str", "")).replace("#", "").split()
        fits = isinstance(value, Tensor) and len(names) == value.ndim
        if names and fits and all(n.isidentifier() or n.isdigit() for n in names):
            return names
    return []


def shape_text(value: Tensor, names: Sequence[str]) -> str:
    """`(batch=4, feature=5)`, or `(4, 5)` where the axes have no names."""
    if len(names) != value.ndim:
        return str(tuple(value.shape))
    sizes = zip(names, value.shape, strict=True)
    parts = [str(s) if n.isdigit() else f"{n}={s}" for n, s in sizes]
    return f"({', '.join(parts)})"


def axis_sizes(fn: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, int]:
    """The size of every named axis among the arguments of `fn`."""
    sizes: dict[str, int] = {}
    for name, parameter in inspect.signature(fn).parameters.items():
        value = arguments.get(name)
        names = axis_names(parameter.annotation, value)
        shape = value.shape if isinstance(value, Tensor) and names else ()
        for axis, size in zip(names, shape, strict=True):
            if not axis.isdigit():
                sizes[axis] = max(sizes.get(axis, 0), size)  # `#inst` may be 1
        if parameter.annotation is int and isinstance(value, int):
            sizes[name] = value
    return sizes


def shapes_of(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """`x is (batch=4, feature=5), W is (hidden=2, feature=5)`, for the tensors of a call."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return ""
    tensors = {n: v for n, v in bound(fn, args, kwargs).items() if isinstance(v, Tensor)}
    return ", ".join(
        f"`{n}` is {shape_text(v, axis_names(parameters[n].annotation, v))}"
        for n, v in tensors.items()
    )
