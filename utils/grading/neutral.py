"""A check runs under torch's usual settings, whatever a notebook has switched on or off."""

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np
import torch


def warnings_are_errors() -> bool:
    """Whether a filter turns warnings of Python's own kinds into errors.

    IPython always has one for a kind of its own, which no answer can give.
    """
    return any(
        action == "error" and category.__module__ == "builtins"
        for action, _, category, *_ in warnings.filters
    )


@contextlib.contextmanager
def usual_settings() -> Iterator[list[str]]:
    """Gradients, default dtype and device, warnings and NumPy's errors as after an import.

    Yields what the notebook had changed. Afterwards these are as before, and so are torch's random
    numbers, also where the checked code has changed them.
    """
    notes: list[str] = []
    grad, dtype, device = (
        torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    )  # fmt: skip
    if not grad:
        notes.append(
            "In this notebook gradients are off (`torch.set_grad_enabled(False)`?). The check ran"
            " with gradients; `torch.set_grad_enabled(True)` switches them on for you."
        )
    if dtype != torch.float32:
        notes.append(
            f"In this notebook the default dtype is {dtype}. The check ran with float32;"
            " `torch.set_default_dtype(torch.float32)` takes it back."
        )
    if device.type != "cpu":
        notes.append(
            f"In this notebook the default device is {device}. The check ran without it;"
            " `torch.set_default_device(None)` takes it back."
        )
    if warnings_are_errors():
        notes.append("In this notebook warnings are errors. In the check they were not.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.callback(torch.set_grad_enabled, grad)
        stack.callback(torch.set_default_dtype, dtype)
        if warnings_are_errors():
            warnings.resetwarnings()
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        if device.type != "cpu":
            torch.set_default_device(None)
            stack.callback(torch.set_default_device, device)
        try:
            yield notes
        finally:
            if device.type == "cpu" and torch.get_default_device().type != "cpu":
                torch.set_default_device(None)
