"""A device that refuses what a GPU refuses, on a machine without one.

    with pretended():
        x = torch.zeros(3, device=DEVICE)
        x + torch.zeros(3)      # RuntimeError: tensors on two devices

Tensors "on" it lie in main memory; we note which memory that is, and a mode sees every call of
torch. It refuses what CUDA refuses: operands on two devices (a CPU scalar is allowed, and so is a
CPU index), a generator of another device, `numpy()`. It does not know about kernels that CUDA
lacks, its rounding or its order of sums, nor about calls that C++ code makes for itself.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("privateuseone:0")  # the type that torch keeps for devices of others

# what may have operands on two devices: copies, and an index that lies on the CPU
COPIES = {"copy_", "__set__", "is_set_to", "_has_compatible_shallow_copy_type"}
INDEXED = {"__getitem__", "__setitem__"}
JOINED = {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "equal"}  # no scalars either
NUMPY = {"numpy", "__array__"}
MOVES = {"to", "cpu"}


TRUE_GENERATOR = torch.Generator


class PretendedGenerator(torch.Generator):
    """A generator that says that it is on the pretended device."""

    device = DEVICE  # type: ignore[assignment]


class _AnyGenerator(type):
    """All generators are instances of what stands for `torch.Generator`."""

    def __instancecheck__(cls, x: object) -> bool:
        return isinstance(x, TRUE_GENERATOR)


class _Generator(metaclass=_AnyGenerator):
    """What stands for `torch.Generator`."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return PretendedGenerator() if on_it(device) else TRUE_GENERATOR(device)


def on_it(device: Any) -> bool:
    """Whether this names the pretended device."""
    named = isinstance(device, str | torch.device)
    return named and torch.device(device).type == DEVICE.type


TRUE_AUTOCAST = torch.autocast


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> TRUE_AUTOCAST:
    """What stands for `torch.autocast`."""
    return TRUE_AUTOCAST("cpu" if on_it(device_type) else device_type, *args, **kwargs)


def storage_of(x: Tensor) -> torch.UntypedStorage:
    """The memory of a tensor, also where it is sparse or `torch.func` has wrapped it."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    if x.layout is not torch.strided:
        x = x._values() if x.layout is torch.sparse_coo else x.values()
    return x.untyped_storage()


class Pretended(TorchFunctionMode):
    """Notes which tensors are "on" the device; refuses to mix them with others."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[int, StorageWeakRef] = {}  # a weak reference keeps the number from reuse

    def has(self, x: Tensor) -> bool:
        """Whether x is "on" the device."""
        return storage_of(x)._cdata in self.noted

    def note(self, x: Any) -> Any:
        """Put a tensor there."""
        if isinstance(x, Tensor):
            storage = storage_of(x)
            self.noted[storage._cdata] = StorageWeakRef(storage)
        return x

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self.attribute(func, args[0])
        if name == "_parse_to":  # only reads what `Module.to` was given
            return func(*args, **kwargs)
        given = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
        there = [self.has(x) for x in given]
        if name in NUMPY and any(there):
            raise TypeError("can't convert a tensor on the device to numpy: use Tensor.cpu() first")
        if name in MOVES:
            return self.moved(func, name, args, kwargs)
        asked = kwargs.get("device")
        goal = on_it(asked) if asked is not None else any(there)
        if asked is not None and on_it(asked):
            kwargs["device"] = "cpu"
        backward = torch._C._current_graph_task_id() != -1  # there gradients come from C++
        if not backward:
            self.refuse_two_devices(name, args, given, there)
            self.refuse_other_generator(name, (args, kwargs), goal)
        out = func(*args, **kwargs)
        if name in INDEXED | COPIES and given and not there[0]:
            return out
        return tree_map(self.note, out) if goal else out

    def attribute(self, func: Callable, x: Any) -> Any:
        """`x.device`, `x.grad`, `x.T` and the like."""
        out, there = func(x), isinstance(x, Tensor) and self.has(x)
        if not there:
            return out
        name = func.__self__.__name__  # type: ignore[attr-defined]
        if name == "device":
            return DEVICE
        if name in ("is_cpu", "is_cuda"):
            return name == "is_cuda"  # where our code asks, it means: is it another device?
        return tree_map(self.note, out)

    def moved(self, func: Callable, name: str, args: tuple, kwargs: dict) -> Any:
        """`x.to(…)`, `x.cpu()`: a copy, where the device is another one."""
        x, *rest = args
        more = (*rest, *kwargs.values())
        asked = [on_it(d) for d in more if isinstance(d, str | torch.device)]
        asked += [self.has(like) for like in more if isinstance(like, Tensor)]
        goal = name != "cpu" and (asked[0] if asked else self.has(x))

        def here(value: Any) -> Any:
            return "cpu" if isinstance(value, str | torch.device) and on_it(value) else value

        out = func(x, *map(here, rest), **{k: here(v) for k, v in kwargs.items()})
        if goal == self.has(x):
            return self.note(out) if goal else out
        out = out.clone() if out.data_ptr() == x.data_ptr() else out
        return self.note(out) if goal else out

    def refuse_two_devices(
        self, name: str, args: tuple, given: list[Tensor], there: list[bool]
    ) -> None:
        """As CUDA does; a scalar on the CPU may join in."""
        if name in COPIES or not any(there):
            return
        others = [x for x, on in zip(given, there, strict=True) if not on]
        if name not in JOINED:
            others = [x for x in others if x.dim()]
        if name in INDEXED and self.has(args[0]):
            slices = not any(isinstance(i, Tensor) for i in tree_leaves(args[1]))
            others = [x for x in others if len(args) == 3 and x is args[2] and not slices]
        if others:
            shapes = ", ".join(str(tuple(x.shape)) for x in others)
            raise RuntimeError(
                f"{name}: expected all tensors to be on the same device, but these are on the CPU:"
                f" {shapes}"
            )

    def refuse_other_generator(self, name: str, given: Any, goal: bool) -> None:
        """A generator of the device on which the numbers are wanted."""
        for gen in tree_leaves(given):
            if isinstance(gen, TRUE_GENERATOR) and isinstance(gen, PretendedGenerator) != goal:
                raise RuntimeError(
                    f"{name}: a generator of device {gen.device} cannot draw numbers for"
                    f" {DEVICE if goal else 'cpu'}"
                )


@contextlib.contextmanager
def pretended() -> Iterator[Pretended]:
    """Inside, `DEVICE` is a device like any other."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(mock.patch.object(torch, "autocast", _autocast))
        mode = Pretended()
        read = safetensors.torch.load_file

        def load_file(file: Any, device: Any = "cpu", **more: Any) -> dict[str, Tensor]:
            found = read(file, device="cpu" if on_it(device) else device, **more)
            return {k: mode.note(v) for k, v in found.items()} if on_it(device) else found

        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get("load_file") is read:
                stack.enter_context(mock.patch.object(module, "load_file", load_file))
        yield stack.enter_context(mode)
