"""Models that stay loaded: made on demand, kept within a memory budget, least recently used first out."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something whose weights take memory."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all its weights."""


T = TypeVar("T", bound=Sized)


class Residents(Generic[T]):
    """``load`` makes what is asked for by name. What is in use is never dropped."""

    def __init__(self, load: Callable[[str], T], capacity_bytes: int) -> None:
        self._load = load
        self._capacity_bytes = capacity_bytes
        self._loaded: OrderedDict[str, T] = OrderedDict()
        self._in_use: dict[str, int] = {}
        self._lock = threading.Lock()  # held for moments: what is loaded is served while others load
        self._loading = threading.Lock()  # one load at a time: two would compete for the same memory

    @contextmanager
    def use(self, name: str) -> Iterator[T]:
        """The thing, loaded; it stays at least until the context ends."""
        thing = self._take(name)
        if thing is None:
            with self._loading:
                thing = self._take(name) or self._put(name, self._load(name))
        try:
            yield thing
        finally:
            with self._lock:
                self._in_use[name] -= 1

    def discard(self, name: str) -> None:
        """Forget it: the next use loads it anew."""
        with self._lock:
            self._loaded.pop(name, None)

    def names(self) -> list[str]:
        """What is loaded now."""
        with self._lock:
            return sorted(self._loaded)

    def _take(self, name: str) -> T | None:
        with self._lock:
            if name not in self._loaded:
                return None
            self._loaded.move_to_end(name)
            self._in_use[name] = self._in_use.get(name, 0) + 1
            return self._loaded[name]

    def _put(self, name: str, thing: T) -> T:
        with self._lock:
            self._loaded[name] = thing
            self._in_use[name] = self._in_use.get(name, 0) + 1
            self._drop_least_recent()
            return thing

    def _drop_least_recent(self) -> None:
        for name in list(self._loaded):
            if sum(thing.weight_bytes for thing in self._loaded.values()) <= self._capacity_bytes:
                return
            if not self._in_use.get(name):
                del self._loaded[name]
