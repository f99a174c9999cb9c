"""Inputs that stay the same over a job's steps: fetched once, embedded once, kept while they are used."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

#: A worker serves a few jobs at a time; each has two or three inputs.
CAPACITY = 64


class Inputs:
    """A small cache of tensors by key, least recently used out first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
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
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)
        return made
