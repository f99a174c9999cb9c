"""A worker's parsed LoRAs: kept in memory within a bound, the least recently used first out."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from shared.metrics import LORA_EVICTIONS
from workers.lora.formats.parser import LoraWeights


@dataclass
class CachedWeights:
    weights: LoraWeights
    size_bytes: int
    users: int


@dataclass
class _Making:
    """What is being made: the bytes that it will take, where they are reserved, and what gave way to them."""

    reserved_bytes: int = 0
    evictions: int = 0


class LoadedLora(NamedTuple):
    """Weights in use, and how many others gave way to them just now."""

    weights: LoraWeights
    evictions: int


class LoraMemory:
    """What it keeps, in use or idle, never exceeds ``capacity_bytes``; what is in use is not dropped.

    What is being made counts from the moment in which its size is known. A LoRA that does not fit
    is made and used all the same, and not kept.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._kept: OrderedDict[str, CachedWeights] = OrderedDict()  # in order of last use
        self._making: dict[str, _Making] = {}
        self._changed = threading.Condition()

    @contextmanager
    def use(self, key: str, make: Callable[[], LoraWeights]) -> Iterator[LoadedLora]:
        """The weights behind ``key``; ``make`` is called if they are not here, by one thread at a time."""
        kept, evictions = self._take(key), 0
        if kept is None:
            try:
                kept, evictions = self._put(key, make())
            finally:
                with self._changed:
                    del self._making[key]
                    self._changed.notify_all()
        try:
            yield LoadedLora(kept.weights, evictions)
        finally:
            with self._changed:
                kept.users -= 1

    def reserve(self, key: str, size_bytes: int) -> None:
        """Called while ``key`` is made: others give way to its ``size_bytes`` before it takes them."""
        with self._changed:
            making = self._making[key]
            making.reserved_bytes = 0
            dropped = self._make_room(self._used_bytes() + size_bytes - self.capacity_bytes)
            if dropped is not None:
                making.reserved_bytes = size_bytes
                making.evictions += dropped

    def keys(self) -> list[str]:
        """What is kept, the most recently used last."""
        with self._changed:
            return list(self._kept)

    def used_bytes(self) -> int:
        """Bytes of what is kept, or being made."""
        with self._changed:
            return self._used_bytes()

    def _take(self, key: str) -> CachedWeights | None:
        """What is kept; None if the caller shall make it, while others wait."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._making)
            kept = self._kept.get(key)
            if kept is None:
                self._making[key] = _Making()
                return None
            self._kept.move_to_end(key)
            kept.users += 1
            return kept

    def _put(self, key: str, weights: LoraWeights) -> tuple[CachedWeights, int]:
        """Keep them if there is room; returns them, and how many others gave way to them."""
        kept = CachedWeights(weights, weights.nbytes, users=1)
        with self._changed:
            making = self._making[key]
            making.reserved_bytes = 0
            dropped = self._make_room(self._used_bytes() + kept.size_bytes - self.capacity_bytes)
            if dropped is not None:
                self._kept[key] = kept
        return kept, making.evictions + (dropped or 0)

    def _make_room(self, surplus_bytes: int) -> int | None:
        """Drop the least recently used idle ones, that many bytes of them; returns how many.

        None, and nothing dropped, if they are too few.
        """
        victims = []
        for key, kept in self._kept.items():
            if surplus_bytes <= 0:
                break
            if not kept.users:
                victims.append(key)
                surplus_bytes -= kept.size_bytes
        if surplus_bytes > 0:
            return None
        for key in victims:
            del self._kept[key]
        LORA_EVICTIONS.labels("memory").inc(len(victims))
        return len(victims)

    def _used_bytes(self) -> int:
        kept_bytes = sum(kept.size_bytes for kept in self._kept.values())
        return kept_bytes + sum(making.reserved_bytes for making in self._making.values())
