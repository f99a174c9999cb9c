"""A device that is asynchronous, as a GPU is, and computes on the CPU: for tests of order and of waits.

What is submitted is done when somebody waits for it, or when the test says so. Until then a copy to the host
holds NaN: code that reads it too early computes nonsense.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from workers.devices.base import Clock, Device, Event, HostCopy, MemoryInfo, SideStream
from workers.devices.non_blocking import NonBlockingCalls


class FakeEvent(Event):
    """Happens at `FakeDevice.finish`, or when somebody waits."""

    def __init__(self, device: "FakeDevice", number: int) -> None:
        self.number = number
        self.time_s: float | None = None
        self._device = device

    @property
    def is_done(self) -> bool:
        return self.number <= self._device.done

    def wait(self) -> None:
        if not self.is_done:
            self._device.log.append(f"wait {self.number}")
            self._device.finish(None if self._device.ends_together else self.number)


class FakeClock(Clock):
    def time_s(self, event: Event) -> float:
        assert isinstance(event, FakeEvent)
        assert event.time_s is not None, "its time is not known yet"
        return event.time_s


class FakeDevice(Device):
    """``log`` tells what was asked for, in order; ``done`` is the number of the last event that happened.

    ``now`` is its clock: an event happens at the time that it shows when the event is finished.
    """

    def __init__(
        self,
        torch_device: str = "cpu",
        memory: MemoryInfo | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(torch.device(torch_device))
        self.log: list[str] = []
        self.done = 0
        self.lost = False
        self.ends_together = False  # whether a wait for one event ends all that was submitted
        self.registered: dict[int, int] = {}
        self.info = memory
        self._now = now
        self._numbers = itertools.count(1)
        self._events: list[FakeEvent] = []
        self._copies: list[tuple[int, Tensor, Tensor]] = []
        self._local = threading.local()
        self._lock = threading.RLock()

    @property
    def stream(self) -> str:
        """The current stream of this thread."""
        return getattr(self._local, "stream", "compute")

    def finish(self, number: int | None = None) -> None:
        """The device has come to event ``number``, or to the end of what was submitted."""
        with self._lock:
            if number is None:
                number = next(self._numbers)
            self.done = max(self.done, number)
            for event in [event for event in self._events if event.is_done]:
                event.time_s = self._now()
                self._events.remove(event)
            for copy in [copy for copy in self._copies if copy[0] <= self.done]:
                copy[1].copy_(copy[2])
            self._copies = [copy for copy in self._copies if copy[0] > self.done]

    @contextmanager
    def on_stream(self, name: SideStream) -> Iterator[None]:
        before, self._local.stream = self.stream, name
        try:
            yield
        finally:
            self._local.stream = before

    def record(self) -> FakeEvent:
        with self._lock:
            event = FakeEvent(self, next(self._numbers))
            self._events.append(event)
            self.log.append(f"record {event.number} on {self.stream}")
        return event

    def follow(self, event: Event) -> None:
        assert isinstance(event, FakeEvent)
        self.log.append(f"{self.stream} follows {event.number}")

    def record_stream(self, tensor: Tensor) -> None:
        pass

    def synchronize(self) -> None:
        if self.lost:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        self.log.append("synchronize")
        self.finish()

    def start_clock(self) -> Clock:
        return FakeClock()

    def non_blocking(self) -> AbstractContextManager[object]:
        return NonBlockingCalls(self)

    def to_host(self, tensor: Tensor, into: Tensor | None = None) -> HostCopy:
        source = tensor.detach().to("cpu") if tensor.device.type == "cpu" else torch.zeros(tensor.shape)
        source = source.to(tensor.dtype)
        target = torch.empty_like(source) if into is None else into
        if target.is_floating_point():
            target.fill_(float("nan"))
        else:
            target.fill_(torch.iinfo(target.dtype).max if target.dtype != torch.bool else 1)
        event = self.record()
        self.log.append(f"to host by {event.number}")
        with self._lock:
            self._copies.append((event.number, target, source.clone()))
        return HostCopy(target, event)

    def from_host(self, tensor: Tensor) -> Tensor:
        self.log.append("from host")
        return tensor.to(self.torch_device)

    def pinned(self, size_bytes: int) -> Tensor:
        return torch.empty(size_bytes, dtype=torch.uint8)

    def register(self, address: int, size_bytes: int) -> bool:
        self.registered[address] = size_bytes
        return True

    def unregister(self, address: int) -> None:
        del self.registered[address]

    def memory(self) -> MemoryInfo | None:
        return self.info

    def release_cached(self) -> None:
        self.log.append("release cached")

    def collect(self) -> None:
        pass

    def is_lost(self, error: Exception | None = None) -> bool:
        return self.lost or isinstance(error, torch.AcceleratorError)

    def loading(self) -> AbstractContextManager[object]:
        return nullcontext()

    def describe(self) -> dict[str, str]:
        return {"gpu": "fake"}
