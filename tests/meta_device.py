"""A device without numbers, on torch's ``meta``, and a guard that fails on whatever would wait for a device.

What reads a number of a tensor on ``meta`` fails by itself. `NoWaits` also sees what only copies.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.fake_device import FakeDevice
from workers.devices.base import HostCopy

META = torch.device("meta")
#: Operators that read numbers, or ask about them: they wait for the device.
READS = {
    "_linalg_check_errors",
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "item",
    "linalg_inv",
    "linalg_solve",
    "masked_select",
    "nonzero",
    "unique_dim",
    "_unique2",
}


class MetaDevice(FakeDevice):
    """Its copies are the only ones between it and the host that do not wait.

    Until `leave_cpu` it is the CPU: a scheduler's tables need numbers.
    """

    def __init__(self) -> None:
        super().__init__("cpu")
        self.is_copying = False

    def leave_cpu(self) -> None:
        self.torch_device = META

    def from_host(self, tensor: Tensor) -> Tensor:
        with self._copying():
            return super().from_host(tensor)

    def to_host(self, tensor: Tensor, into: Tensor | None = None) -> HostCopy:
        with self._copying():
            return super().to_host(tensor, into)

    @contextmanager
    def _copying(self) -> Iterator[None]:
        self.is_copying = True
        try:
            yield
        finally:
            self.is_copying = False


class NoWaits:
    """Within ``with NoWaits(device) as guard:`` this thread may not wait for the device while it `is_on`."""

    def __init__(self, device: MetaDevice, *, is_on: bool = True) -> None:
        self.device = device
        self.is_on = is_on
        self.seen = 0  # operators on the device, while it was on
        self._stack = ExitStack()

    def __enter__(self) -> "NoWaits":
        self._stack.enter_context(_Functions(self))
        self._stack.enter_context(_Operators(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def fail_if(self, waits: bool, what: object) -> None:
        if waits and self.is_on and not self.device.is_copying:
            raise AssertionError(f"this would wait for the device: {what}")


class _Functions(TorchFunctionMode):
    """Sees the calls in which torch copies by itself: tensors of Python numbers, and lists as indices."""

    def __init__(self, guard: NoWaits) -> None:
        super().__init__()
        self._guard = guard

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            is_copy = not isinstance(args[0], Tensor) and "meta" in str(kwargs.get("device"))
            self._guard.fail_if(is_copy, f"{func.__name__} of Python numbers")
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].is_meta:
            self._guard.fail_if(_copies_index(args[1]), "a list, or a tensor of the CPU, as index")
        return func(*args, **kwargs)


class _Operators(TorchDispatchMode):
    """Sees every operator with the devices of its tensors."""

    def __init__(self, guard: NoWaits) -> None:
        super().__init__()
        self._guard = guard

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        is_meta = any(tensor.is_meta for tensor in given)
        self._guard.fail_if(is_meta and name in READS, name)
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        # A scalar of the CPU may meet tensors of the device: it is an argument of the kernel.
        kinds = {tensor.device.type for tensor in given if tensor.dim() or name == "copy_"}
        sources = {tensor.device.type for tensor in given}
        is_copy = len(kinds) > 1 or (sources == {"cpu"} and any(tensor.is_meta for tensor in made))
        is_copy = is_copy or (is_meta and any(not tensor.is_meta for tensor in made))
        self._guard.fail_if(is_copy, f"{name} between {sources} and { ({t.device.type for t in made}) }")
        self._guard.seen += is_meta and self._guard.is_on
        return result


def _copies_index(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        isinstance(part, list) or (isinstance(part, Tensor) and part.dim() > 0 and not part.is_meta)
        for part in parts
    )
