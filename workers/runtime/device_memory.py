"""A device's memory: the models on it, what else takes it, and what is done when it is full."""

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

from shared.errors import DeviceFull, Unavailable, WorkerStopping
from workers.devices.base import Device
from workers.devices.errors import device_error
from workers.devices.selection import find_device
from workers.runtime.load_times import LoadTimes
from workers.runtime.loading.interruption import load_unless_stopping, load_with_checks
from workers.runtime.pinned_lru import PinnedLRU

log = logging.getLogger(__name__)

R = TypeVar("R")


class Sized(Protocol):
    """Something whose weights take memory."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all its weights."""


class Other(NamedTuple):
    """What takes the device's memory beside models."""

    used_bytes: Callable[[], int]
    release: Callable[[], object]


class DeviceMemory:
    """A device's memory for weights, shared by the caches of everything that is loaded on it."""

    def __init__(
        self,
        capacity_bytes: int,
        device: Device | None = None,
        *,
        stopping: threading.Event | None = None,
    ) -> None:
        """``device``: the CPU by default; ``stopping`` is set once the process was told to stop."""
        self.device = device or find_device("cpu")
        self._stopping = stopping or threading.Event()
        self.models: PinnedLRU[tuple[object, str], Sized] = PinnedLRU(
            capacity_bytes,
            lambda model: model.weight_bytes,
            overcommits=True,
            other_bytes=lambda: sum(other.used_bytes() for other in self._others),
        )
        self.loading_since: float | None = None  # when the current load began, as `time.monotonic` says
        self.load_times = LoadTimes()
        self.has_given_up_load = False  # whose thread goes on, and uses the device until the process ends
        self._full_at = -math.inf  # when the device was last full, as `time.monotonic` says
        self._loading = threading.Lock()
        self._waiting_loads = 0  # that somebody waits for
        self._counting = threading.Lock()
        self._others: list[Other] = []

    def count(self, used_bytes: Callable[[], int], release: Callable[[], object]) -> None:
        """Count something else against the capacity.

        ``release`` gives its memory up where others need it; it is called in any thread, also while work
        runs on the device.
        """
        self._others.append(Other(used_bytes, release))

    @contextmanager
    def one_load_at_a_time(self, *, gives_way: bool = False) -> Iterator[None]:
        """Two loads would compete for the same memory; what is loaded is served meanwhile.

        One that ``gives_way`` ends soon after another one comes, see `load`, and does not wait for one that
        was there before: raises `Unavailable`.
        """
        if gives_way:
            if not self._loading.acquire(blocking=False):
                raise Unavailable("another load comes first")
        else:
            self._count_waiting(1)
            self._loading.acquire()
            self._count_waiting(-1)
        self.loading_since = time.monotonic()
        try:
            yield
        finally:
            self.loading_since = None
            self._loading.release()

    def load(self, load: Callable[[], R], *, gives_way: bool = False) -> R:
        """Call ``load`` in `one_load_at_a_time`, while nothing is captured on the device.

        One that ``gives_way`` is given up at its next tensor, with `Unavailable`, if another one waits. Once
        the process was told to stop any load is given up, with `WorkerStopping`.
        """

        def load_on_device() -> R:
            with self.device.loading():  # by the thread that loads: it may wait for the device, too
                return load()

        if gives_way:
            return load_with_checks(load_on_device, self._check_gives_way)
        try:
            return load_unless_stopping(load_on_device, self._stopping)
        except WorkerStopping:
            self.has_given_up_load = True
            raise

    def download(self, download: Callable[[], object]) -> None:
        """Call ``download`` in `one_load_at_a_time`, beside what runs on the device.

        Once the process was told to stop it is given up, with `WorkerStopping`.
        """
        try:
            load_unless_stopping(download, self._stopping)
        except WorkerStopping:
            self.has_given_up_load = True
            raise

    def make_room(self, size_bytes: int) -> None:
        """Evict idle models for what a load takes while it lasts, until so many bytes fit or none is idle."""
        if not self.models.make_room(size_bytes):
            self.release_others()

    def _count_waiting(self, change: int) -> None:
        with self._counting:
            self._waiting_loads += change

    def _check_gives_way(self) -> None:
        if self._stopping.is_set():
            raise WorkerStopping("its worker was told to stop")
        if self._waiting_loads:
            raise Unavailable("a load that somebody waits for comes first")

    def retry_when_full(self, compute: Callable[[], R]) -> R:
        """Call ``compute``, and once more, with nothing idle on the device, if its memory did not suffice.

        Raises `DeviceFull`, which names what takes the memory, if that did not help.
        """
        try:
            return compute()
        except Exception as error:
            if not self._is_full(error):
                raise
            self.release(error)
        # Here the error is gone, and with it the last reference to what its frames held.
        try:
            return compute()
        except Exception as error:
            full = device_error(error, self.device)
            if not isinstance(full, DeviceFull):
                raise
            self.release(error)
            raise DeviceFull(f"{full}; {self.describe()}") from error

    @contextmanager
    def release_when_full(self) -> Iterator[None]:
        """`release` if the block raises `DeviceFull`, for work that is not tried again."""
        try:
            yield
        except DeviceFull as error:
            self.release(error)
            raise

    def release(self, error: BaseException) -> None:
        """Free the memory that can be freed after ``error``, which says that the device is full.

        That is what the frames of its traceback hold, models that are not in use, and what torch keeps.
        """
        self._full_at = time.monotonic()
        clear_frames(error)
        evicted = self.models.evict_idle()
        self.release_others()
        self.device.release_cached()
        log.warning("device full", extra={"error": str(error), "evicted": evicted, "left": self.describe()})

    def was_full(self, within_s: float) -> bool:
        """Whether work has met a full device in the last ``within_s`` seconds."""
        return time.monotonic() - self._full_at < within_s

    def release_others(self) -> None:
        """Have everything but models give its memory up."""
        for other in self._others:
            other.release()

    def describe(self) -> str:
        """What takes the device's memory, in words that end a sentence."""
        models = [f"{name!r} with {_gib(model.weight_bytes)}" for (_, name), model in self.models.items()]
        words = f"loaded are {', '.join(models)}" if models else "no model is loaded"
        if others := sum(other.used_bytes() for other in self._others):
            words += f", and {_gib(others)} beside"
        if (memory := self.device.memory()) is None:
            return words
        return f"{words}; of all processes' {_gib(memory.total_bytes)}, {_gib(memory.free_bytes)} are free"

    def _is_full(self, error: Exception) -> bool:
        return isinstance(device_error(error, self.device), DeviceFull)


def clear_frames(error: BaseException) -> None:
    """Let go of the local variables of every frame that ``error`` and the errors behind it came through."""
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    while errors:
        one = errors.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            errors += [one.__cause__, one.__context__]


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.2f} GiB"
