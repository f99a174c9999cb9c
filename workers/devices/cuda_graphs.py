"""CUDA graphs by torch.cuda."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from workers.devices.graphs import Captured, Graph, GraphPool

#: Held by a capture: torch takes one at a time in a process, and while a stream is captured nobody may wait
#: for its whole device, or give memory back to it.
CAPTURING = threading.Lock()


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

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        """See `GraphPool`."""
        graph: Any = torch.cuda.CUDAGraph()
        with CAPTURING, torch.cuda.device(self._device), _no_garbage_collection():
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
            finally:
                # When a capture fails, torch leaves its stream the current one.
                torch.cuda.set_stream(before)
        return Captured(CUDAGraph(graph), outputs)


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
