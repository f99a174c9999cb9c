"""Inputs that stay the same over a job's steps: fetched once, embedded once, kept while they are used."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

#: A worker serves a few jobs at a time; each has two or three inputs of up to some ten megabytes.
CAPACITY_BYTES = 512 << 20


class Inputs:
    """A cache of tensors by key, bounded in bytes, least recently used out first."""

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._held: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of ``key``, made at most once per residence."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = make()  # outside the lock: a fetch must not stop others; twice is only slower
        with self._lock:
            self._held[key] = made
            held = sum(tensor.nbytes for tensor in self._held.values())
            while held > self._capacity_bytes:
                held -= self._held.popitem(last=False)[1].nbytes
        return made
