"""Recorded work of a device that is submitted again as one: CUDA graphs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Graph(ABC):
    """Recorded work. It reads and writes the very memory that it was recorded with."""

    @abstractmethod
    def replay(self) -> None:
        """Submit the work to the current stream."""


class Captured(NamedTuple):
    """A graph, and the tensors that each replay writes; they hold nothing before the first one."""

    graph: Graph
    outputs: tuple[Tensor, ...]


class CaptureBusy(Exception):
    """Another thread has the whole device to itself: capture later."""


class GraphPool(ABC):
    """Records graphs that share their memory, so that no two of them may run at the same time.

    Only the memory of outputs is a graph's own, for as long as somebody holds them.
    """

    @abstractmethod
    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        """Record what ``function`` submits; nothing is computed yet.

        Whatever it reads must live, at its place, for as long as the graph. Raises `RuntimeError` if it does
        what cannot be recorded, such as waiting for the device, and `CaptureBusy`. Other threads may use the
        device meanwhile.
        """

    @property
    def reserved_bytes(self) -> int:
        """Memory of the device that its graphs share, or own as outputs, whether they run or not."""
        return 0

    def renew(self) -> None:  # noqa: B027 - not every pool has to
        """All of its graphs are gone: the next ones share other memory."""
