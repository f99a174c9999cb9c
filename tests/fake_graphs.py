"""Graphs on a CPU that forget nothing of what a CUDA graph does to those who use it wrongly.

A capture computes nothing: it records every operation with the very tensors that it reads and writes, and a
replay does the same to the same memory. Whatever Python has replaced meanwhile, it does not see. Memory that
is no output is NaN between replays, and a replay writes NaN to outputs of younger graphs: they may lie in
memory that this graph uses while it runs.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workers.devices.graphs import Captured, Graph, GraphPool
from workers.devices.streamless import CPUDevice


class FakeGraph(Graph):
    def __init__(self, pool: "FakeGraphPool", recording: "Recording", outputs: Iterable[Tensor]) -> None:
        self.pool, self.recording, self.outputs = pool, recording, list(outputs)
        self.replays = 0

    def replay(self) -> None:
        younger = self.pool.graphs[self.pool.graphs.index(self) + 1 :]
        for graph in younger:
            poison(graph.outputs)
        poison(self.recording.made)
        self.recording.run()
        kept = {output.untyped_storage().data_ptr() for output in self.outputs}
        poison(one for one in self.recording.made if one.untyped_storage().data_ptr() not in kept)
        self.replays += 1


class FakeGraphPool(GraphPool):
    """``graphs``: all that were captured, in order; ``error`` is raised by the next capture."""

    def __init__(self) -> None:
        self.graphs: list[FakeGraph] = []
        self.error: Exception | None = None
        self.renewals = 0
        self.reserved = 0
        self.spoil: Callable[[FakeGraph], None] = lambda graph: None

    def renew(self) -> None:
        self.renewals += 1
        self.reserved = 0

    @property
    def reserved_bytes(self) -> int:
        return self.reserved

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        if self.error is not None:
            raise self.error
        with Recording() as recording:
            outputs = function()
        self.reserved += sum(one.nbytes for one in recording.made)
        poison(recording.made)
        graph = FakeGraph(self, recording, outputs)
        self.graphs.append(graph)
        self.spoil(graph)
        return Captured(graph, outputs)

    @property
    def replays(self) -> int:
        return sum(graph.replays for graph in self.graphs)


class GraphDevice(CPUDevice):
    """The CPU, with graphs."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.pools: list[FakeGraphPool] = []

    def graph_pool(self) -> FakeGraphPool:
        self.pools.append(FakeGraphPool())
        return self.pools[-1]


class Recording(TorchDispatchMode):
    """Every operation with its tensors; ``made`` are those that it has made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] = []
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        outputs = tensors_of(result)
        inputs = tensors_of((args, kwargs))
        read = {one.untyped_storage().data_ptr() for one in inputs if one.numel()}
        is_view = bool(outputs) and all(one.untyped_storage().data_ptr() in read for one in outputs)
        if func._schema.is_mutable or not is_view:
            self._calls.append((func, args, kwargs, [] if func._schema.is_mutable else outputs))
        if not is_view:
            self.made += outputs
        return result

    def run(self) -> None:
        for func, args, kwargs, outputs in self._calls:
            results = tensors_of(func(*args, **kwargs))
            for output, result in zip(outputs, results, strict=False):
                output.copy_(result)


def tensors_of(values: Any) -> list[Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]


def poison(tensors: Iterable[Tensor]) -> None:
    with torch.inference_mode():
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
