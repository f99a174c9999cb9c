"""A transport backend between the threads of one process, as a fourth one that is plugged in."""

import itertools
import threading

import torch
from torch import Tensor

from workers.transport.backends.base import Location, StoredPayload, TransportBackend
from workers.transport.protocol import StepRequest


class _Copying:
    """A copy that a thread makes."""

    def __init__(self, thread: threading.Thread, *, fails: bool) -> None:
        self._thread, self._fails = thread, fails

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()
        if self._fails:
            raise RuntimeError("the copy failed")


class InMemoryBackend(TransportBackend):
    """Holds clones of payloads; each is copied by a thread of its own, as a device would on a side stream."""

    name = "in_memory"

    def __init__(self, capacity: int = 1000, *, address: str = "here", fails: bool = False) -> None:
        """``capacity``: payloads that it holds at once; ``fails``: no copy ever succeeds."""
        self.capacity = capacity
        self.address = address
        self.fails = fails
        self.held: dict[str, Tensor] = {}
        self.received = self.discarded = 0
        self._keys = map(str, itertools.count())
        self._lock = threading.Lock()

    def announce(self) -> str:
        return self.address

    def can_reach(self, peer: str) -> bool:
        return peer == self.address

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload | None:
        with self._lock:
            if len(self.held) >= self.capacity:
                return None
            key = next(self._keys)
            self.held[key] = torch.empty(0)
        copying = threading.Timer(0.001, self._copy, (key, payload))
        copying.start()
        return StoredPayload({"key": key}, transfer=_Copying(copying, fails=self.fails))

    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Tensor | None:
        with self._lock:
            payload = self.held.pop(location["key"], None)
            self.received += payload is not None
        return None if payload is None else payload

    def discard(self, location: Location, size_bytes: int) -> None:
        with self._lock:
            self.discarded += self.held.pop(location["key"], None) is not None

    def sweep(self) -> None:
        pass

    def close(self) -> None:
        self.held.clear()

    def _copy(self, key: str, payload: Tensor) -> None:
        self.held[key] = payload.clone()
