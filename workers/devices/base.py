"""What the workers know of the device that they compute on: streams, events, copies, memory.

On CUDA every call returns before the device has done the work. So whoever needs a result on this side waits
for an event, and whoever moves tensors does it on a side stream, beside the computation. On a CPU all work
is done when a call returns: events have happened, copies are the tensors themselves, and the same code runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from workers.devices.graphs import GraphPool
from workers.devices.slabs import DeviceSlabs

R = TypeVar("R")

#: Streams beside that of the computation: tensors that arrive, tensors that leave, and weights.
SideStream = Literal["in", "out", "weights"]


class MemoryInfo(NamedTuple):
    """A device's memory, of all processes."""

    free_bytes: int
    total_bytes: int


class Event(ABC):
    """A point in the device's work: what was submitted before it, on its stream, is done once it is."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether the device has come to it; does not wait."""

    @abstractmethod
    def wait(self) -> None:
        """Block this thread until the device has come to it; other threads run meanwhile."""


class Clock(ABC):
    """Tells when events happened, by this machine's clock."""

    @abstractmethod
    def time_s(self, event: Event) -> float:
        """Seconds since the epoch at which the device came to an event of this clock; it must be done."""


class Pending(Generic[R]):
    """The result of a function that is called once its input has arrived in the host's memory."""

    def __init__(self, compute: Callable[[], R], *, is_ready: bool) -> None:
        self._compute = compute
        self._results = [compute()] if is_ready else []

    def result(self) -> R:
        """Wait for the input if it has not arrived yet, and call the function."""
        if not self._results:
            self._results.append(self._compute())
        return self._results[0]


class HostCopy:
    """A tensor on its way to the host's memory."""

    def __init__(self, tensor: Tensor, arrived: Event, source: Tensor | None = None) -> None:
        """``tensor`` holds the numbers of ``source`` once ``arrived`` has happened.

        Until somebody has waited for that, the source is kept: while another thread captures a graph, torch
        does not note which streams use it.
        """
        self._tensor, self._arrived, self._source = tensor, arrived, source

    @property
    def target(self) -> Tensor:
        """The memory that the tensor is copied to; it holds nothing yet unless `is_done`."""
        return self._tensor

    @property
    def is_done(self) -> bool:
        """Whether it has arrived; does not wait."""
        return self._arrived.is_done

    def wait(self) -> Tensor:
        """The tensor in the host's memory."""
        self._arrived.wait()
        self._source = None
        return self._tensor

    def then(self, function: Callable[[Tensor], R]) -> Pending[R]:
        """Call ``function`` with the tensor: now if it is there, else when `Pending.result` is asked for.

        So a caller can submit more work for the device before it waits for this.
        """
        return Pending(lambda: function(self.wait()), is_ready=self._arrived.is_done)


class DeviceCopy:
    """A tensor on its way to the device's memory, or computed there, on a side stream."""

    def __init__(self, device: "Device", tensor: Tensor, arrived: Event) -> None:
        """``tensor`` holds the numbers once ``arrived`` has happened."""
        self._device, self._tensor, self._arrived = device, tensor, arrived

    @property
    def size_bytes(self) -> int:
        """Of its memory on the device."""
        return self._tensor.nbytes

    def follow(self) -> Tensor:
        """The tensor, for the current stream, which waits for it; this thread does not."""
        self._device.follow(self._arrived)
        self._device.record_stream(self._tensor)
        return self._tensor


class Device(ABC):
    """One device. Every method may be called from several threads at once.

    The *current* stream is torch's: that of the computation, or a side stream within `on_stream`.
    """

    def __init__(self, torch_device: torch.device) -> None:
        self.torch_device = torch_device

    @property
    def has_own_memory(self) -> bool:
        """Whether what is on it lies elsewhere than in the host's memory."""
        return self.torch_device.type != "cpu"

    @property
    def sums_in_float32(self) -> bool:
        """Whether products of half-precision matrices are summed in float32, and rounded once."""
        return True

    # --- order ---------------------------------------------------------------------------------------

    @abstractmethod
    def on_stream(self, name: SideStream) -> AbstractContextManager[None]:
        """Within the block the current stream is a side stream; it does not wait for the computation."""

    @abstractmethod
    def record(self) -> Event:
        """An event after everything that this thread has submitted to the current stream."""

    @abstractmethod
    def follow(self, event: Event) -> None:
        """Have the current stream wait for an event of another stream; this thread goes on."""

    @abstractmethod
    def record_stream(self, tensor: Tensor) -> None:
        """Keep the memory of a tensor that another stream has made until the current one has used it.

        Without this it is used again as soon as the tensor is gone, for the other stream's next tensor.
        """

    @abstractmethod
    def synchronize(self) -> None:
        """Block this thread until the device has done everything that was submitted to it."""

    @abstractmethod
    def start_clock(self) -> Clock:
        """A clock for the events from now on; waits for the device once."""

    @abstractmethod
    def non_blocking(self) -> AbstractContextManager[object]:
        """Within the block, calls of torch that would wait for the device are replaced: for libraries' code.

        What they copy from the host goes by `from_host`. Results are the same. See
        `workers.devices.non_blocking`.
        """

    # --- copies --------------------------------------------------------------------------------------

    @abstractmethod
    def to_host(self, tensor: Tensor, into: Tensor | None = None) -> HostCopy:
        """Copy a tensor into pinned memory, beside what is computed from now on.

        ``into``: memory of the host of the same shape, registered where copies shall be fast. Without it a
        CPU copies nothing: the tensor must not be written before the copy was read.
        """

    @abstractmethod
    def from_host(self, tensor: Tensor) -> Tensor:
        """A tensor of the host's memory on the device, for the current stream; this thread does not wait.

        From pinned or registered memory at the link's full rate. The source is kept until it was read. A
        tensor that is on the device already is returned as it is.
        """

    @abstractmethod
    def pinned(self, size_bytes: int) -> Tensor:
        """Memory of the host from which the device copies at full rate, ``uint8``, ``(size_bytes,)``."""

    @abstractmethod
    def register(self, address: int, size_bytes: int) -> bool:
        """Let the device copy from and to mapped memory of the host at full rate; whether it can.

        What was registered must be given to `unregister` before it is unmapped.
        """

    @abstractmethod
    def unregister(self, address: int) -> None:
        """Undo `register`; no copy may use the memory any more."""

    # --- graphs --------------------------------------------------------------------------------------

    def graph_pool(self) -> GraphPool | None:
        """A new pool of graphs; ``None`` where work cannot be recorded."""
        return None

    @abstractmethod
    def loading(self) -> AbstractContextManager[object]:
        """Within the block a library loads a model, and may use the whole device: nothing is captured."""

    # --- memory --------------------------------------------------------------------------------------

    @abstractmethod
    def memory(self) -> MemoryInfo | None:
        """The device's own memory; ``None`` where it is the host's."""

    def slabs(self) -> DeviceSlabs | None:
        """Memory that other processes can open, the same object at every call; ``None``: there is none."""
        return None

    @abstractmethod
    def release_cached(self) -> None:
        """Give memory that torch keeps for later back to the device."""

    @abstractmethod
    def collect(self) -> None:
        """Let go of host memory whose copies have ended; called every few seconds."""

    # --- what it is ----------------------------------------------------------------------------------

    @abstractmethod
    def is_lost(self, error: Exception | None = None) -> bool:
        """Whether the device answers nothing but errors any more; asked after an unexpected ``error``."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """What decides the last bits of what it computes, for the receipt."""
