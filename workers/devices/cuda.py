"""An NVIDIA GPU: streams, events, pinned copies and memory by torch.cuda."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from workers.devices.base import Clock, Device, Event, HostCopy, MemoryInfo, SideStream
from workers.devices.cuda_graphs import CAPTURING, CUDAGraphPool
from workers.devices.cuda_slabs import CUDASlabs
from workers.devices.graphs import GraphPool
from workers.devices.non_blocking import NonBlockingCalls
from workers.devices.slabs import DeviceSlabs, SlabError

log = logging.getLogger(__name__)

#: ``cudaHostRegisterPortable``: for every context of this process.
_PORTABLE = 1


class CUDAEvent(Event):
    """See `Event`."""

    def __init__(self, stream: Any) -> None:
        # Blocking: a thread that waits leaves its core to others. With a time, which costs a microsecond.
        self.event: Any = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self.event.record(stream)

    @property
    def is_done(self) -> bool:
        """See `Event`."""
        return bool(self.event.query())

    def wait(self) -> None:
        """See `Event`."""
        self.event.synchronize()


class CUDAClock(Clock):
    """Counts from one event, at which both clocks were read. For hours at most: its floats have 24 bits."""

    def __init__(self, start: CUDAEvent) -> None:
        start.wait()
        self._start, self._start_s = start, time.time()

    def time_s(self, event: Event) -> float:
        """See `Clock`."""
        assert isinstance(event, CUDAEvent), "an event of another device"
        return self._start_s + float(self._start.event.elapsed_time(event.event)) / 1000


class CUDADevice(Device):
    """See `Device`."""

    def __init__(self, torch_device: torch.device) -> None:
        super().__init__(torch_device)
        # For `sums_in_float32`: cuBLAS may round the sums of parts of a long product to half precision.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self._streams: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._has_refused = False  # to register memory
        self._slabs: CUDASlabs | None = None
        #: Host memory that a copy may still read, and when it is read.
        self._sources: deque[tuple[CUDAEvent, Tensor]] = deque()

    @contextmanager
    def on_stream(self, name: SideStream) -> Iterator[None]:
        """See `Device`."""
        with torch.cuda.stream(self._stream(name)):
            yield

    def record(self) -> CUDAEvent:
        """See `Device`."""
        return CUDAEvent(self._current())

    def follow(self, event: Event) -> None:
        """See `Device`."""
        assert isinstance(event, CUDAEvent), "an event of another device"
        self._current().wait_event(event.event)

    def record_stream(self, tensor: Tensor) -> None:
        """See `Device`."""
        tensor.record_stream(self._current())

    def synchronize(self) -> None:
        """See `Device`."""
        with CAPTURING:
            torch.cuda.synchronize(self.torch_device)

    def start_clock(self) -> Clock:
        """See `Device`."""
        return CUDAClock(self.record())

    def non_blocking(self) -> AbstractContextManager[object]:
        """See `Device`."""
        return NonBlockingCalls(self)

    def to_host(self, tensor: Tensor, into: Tensor | None = None) -> HostCopy:
        """See `Device`."""
        host = torch.empty_like(tensor, device="cpu", pin_memory=True) if into is None else into
        computed = self.record()
        with self.on_stream("out"):
            self.follow(computed)
            host.copy_(tensor, non_blocking=True)
            tensor.record_stream(self._current())
            return HostCopy(host, self.record(), tensor)

    def from_host(self, tensor: Tensor) -> Tensor:
        """See `Device`."""
        if tensor.device == self.torch_device:
            return tensor
        source = tensor.pin_memory() if tensor.device.type == "cpu" and not tensor.is_pinned() else tensor
        with self.on_stream("in"):
            moved = source.to(self.torch_device, non_blocking=True)
            arrived = self.record()
        self.follow(arrived)
        moved.record_stream(self._current())  # it is of the other stream's memory
        with self._lock:
            self._sources.append((arrived, source))
        self.collect()
        return moved

    def pinned(self, size_bytes: int) -> Tensor:
        """See `Device`."""
        with torch.cuda.device(self.torch_device):  # a new thread would open a context on the first GPU
            return torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True)

    def register(self, address: int, size_bytes: int) -> bool:
        """See `Device`."""
        runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.torch_device):  # a new thread would open a context on the first GPU
            error = runtime.cudaHostRegister(address, size_bytes, _PORTABLE)
        if error == runtime.cudaError.success:
            return True
        if not self._has_refused:  # once: the next ones are refused for the same reason
            log.warning("shared memory not registered: copies are slow", extra={"error": str(error)})
        self._has_refused = True
        self._clear_error()
        return False

    def unregister(self, address: int) -> None:
        """See `Device`."""
        runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.torch_device):
            error = runtime.cudaHostUnregister(address)
        if error != runtime.cudaError.success:
            self._clear_error()

    def graph_pool(self) -> GraphPool:
        """See `Device`."""
        return CUDAGraphPool(self.torch_device)

    def memory(self) -> MemoryInfo | None:
        """See `Device`."""
        return MemoryInfo(*torch.cuda.mem_get_info(self.torch_device))

    def slabs(self) -> DeviceSlabs | None:
        """See `Device`."""
        with self._lock:
            if self._slabs is None:
                try:
                    self._slabs = CUDASlabs(self.torch_device)
                except SlabError as error:
                    log.warning("device memory cannot be shared", extra={"error": str(error)})
            return self._slabs

    def release_cached(self) -> None:
        """See `Device`."""
        with CAPTURING, torch.cuda.device(self.torch_device):
            torch.cuda.empty_cache()

    def collect(self) -> None:
        """See `Device`."""
        ended = []  # let go of without the lock: that may call whatever waits for the last reference
        with self._lock:
            while self._sources and self._sources[0][0].is_done:
                ended.append(self._sources.popleft())

    def loading(self) -> AbstractContextManager[object]:
        """See `Device`."""
        return CAPTURING

    def is_lost(self, error: Exception | None = None) -> bool:
        """See `Device`."""
        try:
            self.synchronize()
        except RuntimeError:
            return True
        return False

    def describe(self) -> dict[str, str]:
        """See `Device`."""
        matmul = torch.backends.cuda.matmul
        major, minor = torch.cuda.get_device_capability(self.torch_device)
        return {
            "gpu": torch.cuda.get_device_name(self.torch_device),
            "capability": f"{major}.{minor}",
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "tf32": "on" if matmul.allow_tf32 else "off",
            "reduced_precision_reduction": "on" if matmul.allow_fp16_reduced_precision_reduction else "off",
        }

    def _current(self) -> Any:
        return torch.cuda.current_stream(self.torch_device)

    def _stream(self, name: SideStream) -> Any:
        with self._lock:
            if name not in self._streams:
                self._streams[name] = torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]
            return self._streams[name]

    def _clear_error(self) -> None:
        """Take an error of the runtime that was handled: else the next kernel would report it as its own."""
        try:
            torch.zeros(1, device=self.torch_device)
        except RuntimeError as error:
            log.debug("cleared", extra={"error": str(error)})
