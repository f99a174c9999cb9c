"""A cache bounded in bytes: values in use are pinned, the least recently used of the others are evicted."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Pinned(NamedTuple, Generic[V]):
    """A value in use, and how many others were evicted for it by this use."""

    value: V
    evictions: int


@dataclass(eq=False)
class _Entry(Generic[V]):
    value: V
    pins: int = 1


@dataclass
class _Load:
    """A value that is being loaded: the bytes reserved for it, and what was evicted for them."""

    reserved_bytes: int = 0
    evictions: int = 0


class PinnedLRU(Generic[K, V]):
    """Values by key within ``capacity_bytes``; thread-safe. Each key is loaded by one thread at a time.

    A failed load is not remembered: the next use tries again.
    """

    def __init__(
        self,
        capacity_bytes: int,
        size_of: Callable[[V], int],
        *,
        overcommits: bool = False,
        on_evict: Callable[[int], None] = lambda count: None,
        other_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        """``size_of`` is called whenever bytes are counted: values may grow while they are in use.

        ``overcommits``: a value that does not fit beside the pinned ones is cached while it is in use, so
        that it is never loaded twice; otherwise only the caller that loaded it uses it. ``on_evict`` is
        called with the number of evicted values. ``other_bytes``: what else takes the same memory right now.
        """
        self.capacity_bytes = capacity_bytes
        self._size_of = size_of
        self._overcommits = overcommits
        self._on_evict = on_evict
        self._other_bytes = other_bytes
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # least recently used first
        self._loads: dict[K, _Load] = {}
        self._changed = threading.Condition()

    @contextmanager
    def use(self, key: K, load: Callable[[], V]) -> Iterator[Pinned[V]]:
        """The value of ``key``, pinned; ``load`` is called if it is not cached, while others wait for it."""
        entry, evictions = self._pin_or_begin(key), 0
        if entry is None:
            entry, evictions = self._finish(key, load)
        try:
            yield Pinned(entry.value, evictions)
        finally:
            self._unpin(entry)

    @contextmanager
    def use_cached(self, key: K) -> Iterator[V | None]:
        """The value of ``key``, pinned, or None if it is not cached: nothing is loaded or waited for."""
        with self._changed:
            entry = self._pin(key)
        try:
            yield None if entry is None else entry.value
        finally:
            if entry is not None:
                self._unpin(entry)

    def reserve(self, key: K, size_bytes: int, *, evicts: bool = True, wait_s: float = 0.0) -> bool:
        """Called by the load of ``key`` before it takes memory: evict others until ``size_bytes`` fit.

        Waits ``wait_s`` for pinned values; returns False, with nothing evicted, where they leave no space, or
        where others would have to be evicted and are not to be.
        """
        with self._changed:
            load = self._loads[key]
            load.reserved_bytes = 0

            def try_reserve() -> bool:
                surplus_bytes = self._used_bytes() + size_bytes - self.capacity_bytes
                if surplus_bytes > 0 and not evicts:
                    return False
                evictions = self._evict(surplus_bytes)
                if evictions is None:
                    return False
                load.reserved_bytes = size_bytes
                load.evictions += evictions
                return True

            return try_reserve() or (wait_s > 0 and self._changed.wait_for(try_reserve, wait_s))

    def make_room(self, size_bytes: int) -> bool:
        """Evict idle values until ``size_bytes`` fit, which nothing reserves; if they cannot, all of them.

        Returns whether they fit.
        """
        with self._changed:
            fits = self._evict(self._used_bytes() + size_bytes - self.capacity_bytes) is not None
            if not fits:
                self.evict_idle()
            return fits

    def discard(self, key: K) -> None:
        """Forget a value, also one in use: the next use loads it anew."""
        with self._changed:
            self._entries.pop(key, None)
            self._changed.notify_all()

    def evict_idle(self) -> int:
        """Evict everything that is not in use; returns how many values that were."""
        with self._changed:
            idle = [key for key, entry in self._entries.items() if not entry.pins]
            for key in idle:
                del self._entries[key]
            if idle:
                self._on_evict(len(idle))
                self._changed.notify_all()
            return len(idle)

    def keys(self) -> list[K]:
        """The keys of all cached values, the most recently used last."""
        with self._changed:
            return list(self._entries)

    def items(self) -> list[tuple[K, V]]:
        """All cached values by key, unpinned: to inspect them, not to use them."""
        with self._changed:
            return [(key, entry.value) for key, entry in self._entries.items()]

    def used_bytes(self) -> int:
        """Bytes of all cached values, of what else takes the memory, and those reserved for loads."""
        with self._changed:
            return self._used_bytes()

    def check(self) -> None:
        """Assert what holds between any two calls, unless a value in use has grown; for tests."""
        with self._changed:
            pins = [entry.pins for entry in self._entries.values()]
            used_bytes = self._used_bytes()
            assert all(count >= 0 for count in pins), f"pins: {pins}"
            assert not self._entries.keys() & self._loads.keys(), "a cached value is being loaded"
            assert used_bytes <= self.capacity_bytes or (self._overcommits and all(pins)), (
                f"{used_bytes} bytes in a cache of {self.capacity_bytes}; pins: {pins}"
            )

    def _pin(self, key: K) -> _Entry[V] | None:
        entry = self._entries.get(key)
        if entry is not None:
            entry.pins += 1
            self._entries.move_to_end(key)
        return entry

    def _unpin(self, entry: _Entry[V]) -> None:
        with self._changed:
            entry.pins -= 1
            self._evict_surplus()
            self._changed.notify_all()

    def _pin_or_begin(self, key: K) -> _Entry[V] | None:
        """The pinned entry of ``key``; None if the caller shall load it, while others wait."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._loads)
            entry = self._pin(key)
            if entry is None:
                self._loads[key] = _Load()
            return entry

    def _finish(self, key: K, load: Callable[[], V]) -> tuple[_Entry[V], int]:
        """Load the value of ``key`` and cache it if it fits; returns it pinned, and the evictions."""
        try:
            entry = _Entry(load())
        except BaseException:
            with self._changed:
                del self._loads[key]
                self._changed.notify_all()
            raise
        with self._changed:  # no moment at which the value is cached and being loaded
            before = self._loads.pop(key).evictions
            self._changed.notify_all()
            surplus_bytes = self._used_bytes() + self._size_of(entry.value) - self.capacity_bytes
            evictions = self._evict(surplus_bytes)
            if evictions is not None or self._overcommits:
                self._entries[key] = entry
                evictions = (evictions or 0) + self._evict_surplus()
            return entry, before + (evictions or 0)

    def _evict_surplus(self) -> int:
        """Evict idle values while more bytes are cached than fit; returns how many."""
        if not self._overcommits:
            return 0
        evictions = 0
        while (surplus_bytes := self._used_bytes() - self.capacity_bytes) > 0:
            count = self._evict(surplus_bytes) or self._evict(1)
            if not count:
                break
            evictions += count
        return evictions

    def _evict(self, surplus_bytes: int) -> int | None:
        """Evict the least recently used idle values, that many bytes of them; returns how many.

        None, with nothing evicted, if all idle ones have less.
        """
        evicted = []
        for key, entry in self._entries.items():
            if surplus_bytes <= 0:
                break
            if not entry.pins:
                evicted.append(key)
                surplus_bytes -= self._size_of(entry.value)
        if surplus_bytes > 0:
            return None
        for key in evicted:
            del self._entries[key]
        if evicted:
            self._on_evict(len(evicted))
        return len(evicted)

    def _used_bytes(self) -> int:
        cached_bytes = sum(self._size_of(entry.value) for entry in self._entries.values())
        reserved_bytes = sum(load.reserved_bytes for load in self._loads.values())
        return cached_bytes + reserved_bytes + self._other_bytes()
