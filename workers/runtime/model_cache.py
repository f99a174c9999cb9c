"""Models that stay loaded: made on demand, kept within a memory budget, least recently used first out."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

from shared.errors import ModelFailed, Unavailable

log = logging.getLogger(__name__)

#: What could not be loaded is not tried again for so long: doubled each time, up to the second.
RETRY_S, LONGEST_RETRY_S = 60.0, 3600.0
#: Whoever needs room waits this long for what is in use.
ROOM_WAIT_S = 120.0


class Sized(Protocol):
    """Something whose weights take memory."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all its weights."""


class Memory:
    """A device's room for weights, shared by everything that is loaded on it."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.held: OrderedDict[tuple[int, str], Sized] = OrderedDict()  # least recently used first
        self.in_use: dict[tuple[int, str], int] = {}
        self.changed = threading.Condition()  # held for moments: what is loaded is served while others load
        self.loading = threading.Lock()  # one load at a time: two would compete for the same memory
        self.loading_since: float | None = None  # when the load at hand began, as `time.monotonic` says

    def make_room(self, name: str, size_bytes: int) -> None:
        """Drop what is idle until ``size_bytes`` fit beside what is in use, and wait for that if need be.

        Raises `ModelFailed` for what can never fit, `Unavailable` if nothing was given back for long.
        """
        if size_bytes > self.capacity_bytes:
            raise ModelFailed(
                f"{name!r} takes {size_bytes} bytes, SWIFT_MODEL_MEMORY_BYTES is {self.capacity_bytes}"
            )
        deadline = time.monotonic() + ROOM_WAIT_S
        with self.changed:
            while not self._drop_idle(size_bytes):
                if not self.changed.wait(deadline - time.monotonic()):
                    raise Unavailable(f"no room for {name!r}: everything that is loaded is in use")

    def trim(self) -> None:
        """Drop what is idle while more is held than fits: models grow by their pristine copies."""
        with self.changed:
            self._drop_idle(0)

    def _drop_idle(self, size_bytes: int) -> bool:
        for key in list(self.held):
            if self._fits(size_bytes):
                return True
            if not self.in_use.get(key):
                del self.held[key]
        return self._fits(size_bytes)

    def _fits(self, size_bytes: int) -> bool:
        return sum(thing.weight_bytes for thing in self.held.values()) + size_bytes <= self.capacity_bytes


class _Failure(NamedTuple):
    why: str
    retry_s: float
    until: float


T = TypeVar("T", bound=Sized)


class ModelCache(Generic[T]):
    """``load`` makes what is asked for by name. What is in use is never dropped."""

    def __init__(
        self, load: Callable[[str], T], memory: Memory, size_of: Callable[[str], int] = lambda name: 0
    ) -> None:
        """``size_of`` foretells the bytes of what is not loaded yet, 0 if nobody knows."""
        self._load = load
        self._memory = memory
        self._size_of = size_of
        self._failures: dict[str, _Failure] = {}

    @contextmanager
    def use(self, name: str) -> Iterator[T]:
        """The thing, loaded; it stays at least until the context ends.

        Raises what ``load`` raises; `ModelFailed` again, at once, until it is time for another try.
        """
        thing = self._take(name)
        if thing is None:
            with self._memory.loading:
                thing = self._take(name) or self._make(name)
        try:
            yield thing
        finally:
            self._give_back(name)

    @contextmanager
    def use_loaded(self, name: str) -> Iterator[T | None]:
        """The thing if it is loaded, else ``None``: for those who would rather not wait."""
        thing = self._take(name)
        try:
            yield thing
        finally:
            if thing is not None:
                self._give_back(name)

    def failed(self) -> dict[str, str]:
        """What could not be loaded and is not tried again yet, and why."""
        now = time.monotonic()
        with self._memory.changed:
            return {name: failure.why for name, failure in self._failures.items() if now < failure.until}

    def mark_failed(self, name: str, why: str) -> None:
        """Say that it cannot be loaded: for a while nobody tries."""
        with self._memory.changed:
            before = self._failures.get(name)
            retry_s = RETRY_S if before is None else min(2 * before.retry_s, LONGEST_RETRY_S)
            self._failures[name] = _Failure(why, retry_s, time.monotonic() + retry_s)
        log.error("cannot be loaded", extra={"model": name, "error": why, "retry_s": retry_s})

    def discard(self, name: str) -> None:
        """Forget it: the next use loads it anew."""
        with self._memory.changed:
            self._memory.held.pop(self._key(name), None)

    def names(self) -> list[str]:
        """What is loaded now."""
        return sorted(self.held())

    def held(self) -> dict[str, T]:
        """What is loaded now, by name: to look at, `use` is for using."""
        with self._memory.changed:
            held = self._memory.held.items()
            return {name: cast(T, thing) for (owner, name), thing in held if owner == id(self)}

    def _key(self, name: str) -> tuple[int, str]:
        return id(self), name

    def _take(self, name: str) -> T | None:
        memory, key = self._memory, self._key(name)
        with memory.changed:
            if key not in memory.held:
                return None
            memory.held.move_to_end(key)
            memory.in_use[key] = memory.in_use.get(key, 0) + 1
            return cast(T, memory.held[key])

    def _make(self, name: str) -> T:
        memory, key = self._memory, self._key(name)
        if (why := self.failed().get(name)) is not None:
            raise ModelFailed(why)
        memory.loading_since = time.monotonic()
        try:
            memory.make_room(name, self._size_of(name))
            thing = self._load(name)
        except ModelFailed as error:
            self.mark_failed(name, str(error))
            raise
        finally:
            memory.loading_since = None
        with memory.changed:
            self._failures.pop(name, None)
            memory.held[key] = thing
            memory.in_use[key] = memory.in_use.get(key, 0) + 1
        memory.trim()
        return thing

    def _give_back(self, name: str) -> None:
        memory, key = self._memory, self._key(name)
        with memory.changed:
            memory.in_use[key] -= 1
            memory.changed.notify_all()
        memory.trim()
