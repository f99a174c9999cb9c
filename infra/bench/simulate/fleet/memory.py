"""Things in a bounded memory: those in use are pinned, the least recently used of the others are evicted."""

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class BoundedMemory(Generic[K]):
    """Sizes by key, in bytes; as `workers.runtime.pinned_lru.PinnedLRU`, without values."""

    def __init__(self, capacity_bytes: float) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0.0
        self._sizes: OrderedDict[K, float] = OrderedDict()  # the least recently used first
        self._pins: Counter[K] = Counter()

    def __contains__(self, key: object) -> bool:
        return key in self._sizes

    def __iter__(self) -> Iterator[K]:
        """The keys, the least recently used first."""
        return iter(self._sizes)

    def touch(self, key: K) -> None:
        """Note a use."""
        self._sizes.move_to_end(key)

    def pin(self, key: K) -> None:
        """Keep a thing until `unpin`, which is called as often."""
        self._pins[key] += 1

    def unpin(self, key: K) -> None:
        """End a `pin`."""
        self._pins[key] -= 1

    def has_room(self, size_bytes: float) -> bool:
        """Whether so much fits without an eviction."""
        return self.used_bytes + size_bytes <= self.capacity_bytes

    def add(self, key: K, size_bytes: float) -> list[K] | None:
        """Put a thing in; returns what was evicted, or ``None`` if it does not fit beside what is pinned."""
        if key in self._sizes:
            self.touch(key)
            return []
        evicted, free_bytes = [], self.capacity_bytes - self.used_bytes
        for other, other_bytes in self._sizes.items():
            if free_bytes >= size_bytes:
                break
            if not self._pins[other]:
                evicted.append(other)
                free_bytes += other_bytes
        if free_bytes < size_bytes:
            return None
        for other in evicted:
            self.used_bytes -= self._sizes.pop(other)
        self._sizes[key] = size_bytes
        self.used_bytes += size_bytes
        return evicted
