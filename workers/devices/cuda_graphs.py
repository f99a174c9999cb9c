"""CUDA graphs by torch.cuda."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from workers.devices.graphs import CaptureBusy, Captured, Graph, GraphPool

#: Held by a capture: torch takes one at a time in a process, and while a stream is captured nobody may wait
#: for its whole device, or give memory back to it.
CAPTURING = threading.RLock()
#: A capture waits this long for it; the load of a model keeps it for seconds.
BUSY_S = 0.05


class CUDAGraph(Graph):
    """See `Graph`."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def replay(self) -> None:
        """See `Graph`."""
        self._graph.replay()


class CUDAGraphPool(GraphPool):
    """See `GraphPool`."""

    def __init__(self, torch_device: torch.device) -> None:
        self._device = torch_device
        self._pool: Any = torch.cuda.graph_pool_handle()
        # Its own: graphs of one pool are to be captured on one stream.
        self._stream: Any = torch.cuda.Stream(torch_device)  # type: ignore[no-untyped-call]
        self._failed: list[Any] = []
        self._reserved_bytes = 0

    @property
    def reserved_bytes(self) -> int:
        """See `GraphPool`; with what other threads have reserved during captures, as torch does not tell."""
        return self._reserved_bytes

    def renew(self) -> None:
        """See `GraphPool`: torch takes no pool again whose graphs are gone while anything lies in it, and the
        workspace of a library, which was allocated within a capture, always does."""
        self._pool = torch.cuda.graph_pool_handle()
        self._reserved_bytes = 0

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        """See `GraphPool`."""
        if not CAPTURING.acquire(timeout=BUSY_S):
            raise CaptureBusy
        try:
            before = torch.cuda.memory_reserved(self._device)
            captured = self._capture(function)
            # Less only where torch has run out of memory meanwhile, and has given some back.
            self._reserved_bytes += max(torch.cuda.memory_reserved(self._device) - before, 0)
            return captured
        finally:
            CAPTURING.release()

    def _capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), _no_garbage_collection():
            before = torch.cuda.current_stream(self._device)
            try:
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    # LoRAs are copied, previews decoded and memory allocated in other threads.
                    capture_error_mode="thread_local",
                ):
                    outputs = function()
            except BaseException:
                self._abandon(graph)
                raise
            finally:
                # When a capture fails, torch leaves its stream the current one.
                torch.cuda.set_stream(before)
        return Captured(CUDAGraph(graph), outputs)

    def _abandon(self, graph: Any) -> None:
        """After a failed capture torch's allocator goes on as if it were under way: end that.

        The allocator of pinned memory keeps pointing to the graph, which therefore has to live.
        """
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(self._device.index, self._pool)
        self._failed.append(graph)
        self.renew()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """What the collector frees may ask the device something, which a capture does not survive."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
