"""Models that stay loaded: loaded on demand, within a memory budget that several caches share."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, Literal, NamedTuple, TypeVar, cast

from shared.errors import ModelFailed, Unavailable
from workers.runtime.device_memory import DeviceMemory, Sized

log = logging.getLogger(__name__)

#: A model that could not be loaded is not tried again for so long: doubled each time, up to the second.
RETRY_S, MAX_RETRY_S = 60.0, 3600.0
#: A load waits this long for memory that models in use take.
MEMORY_WAIT_S = 120.0


class _Failure(NamedTuple):
    why: str
    retry_s: float
    until: float


M = TypeVar("M", bound=Sized)
#: Which memory a load may take: see `ModelCache.use`.
Room = Literal["free", "idle", "wait"]


class ModelCache(Generic[M]):
    """Models of one kind by name. A model in use is never evicted."""

    def __init__(
        self,
        load: Callable[[str], M],
        memory: DeviceMemory,
        estimate_bytes: Callable[[str], int] = lambda name: 0,
        download: Callable[[str], object] | None = None,
    ) -> None:
        """``estimate_bytes`` tells the bytes of a model by its files here, 0 if they are not (all) here.

        ``download`` brings them here before they are estimated for a load. It raises `ModelFailed`.
        """
        self.memory = memory
        self._load = load
        self._estimate_bytes, self._download = estimate_bytes, download
        self._file_bytes: dict[str, int] = {}  # what was estimated last, if it was known
        self._loaded_bytes: dict[str, int] = {}  # what the last load took
        self._failures: dict[str, _Failure] = {}
        self._lock = threading.Lock()

    @contextmanager
    def use(self, name: str, *, room: Room = "wait", gives_way: bool = False) -> Iterator[M]:
        """The model, loaded; it stays at least until the context ends.

        ``room`` is the memory that it may take if it is not loaded yet: what is ``free``, also that of
        ``idle`` models, or also that of models in use, for which the load waits a while. A load that
        ``gives_way`` is given up, with `Unavailable`, soon after somebody comes who waits for another one;
        its files are here, see `is_on_disk`.

        Raises what ``load`` raises; `ModelFailed` again, at once, until it is time for another try.
        Raises `DeviceFull` if the device has too little memory for it, also with nothing idle on it, and
        `Unavailable` if it does not get that room, also if that is only known once it is loaded. Raises
        `WorkerStopping` in place of the load once the process was told to stop.
        """
        with self.memory.models.use((self, name), lambda: self._try_load(name, room, gives_way)) as pinned:
            yield cast(M, pinned.value)

    @contextmanager
    def use_loaded(self, name: str) -> Iterator[M | None]:
        """The model if it is loaded, else ``None``: for callers that do not want to wait."""
        with self.memory.models.use_cached((self, name)) as model:
            yield cast(M | None, model)

    def estimated_bytes(self, name: str) -> int:
        """Bytes of a model that need not be loaded, 0 if nobody knows; its files are read once for them."""
        return self._file_bytes.get(name) or self._loaded_bytes.get(name) or self._estimate_anew(name)

    def is_on_disk(self, name: str) -> bool:
        """Whether its files are here, so that its load downloads nothing; read once, too."""
        return bool(self._file_bytes.get(name) or self._estimate_anew(name))

    def expected_load_s(self, name: str) -> float:
        """Seconds that its next load will take; asked at every wait for a ControlNet."""
        return self.memory.load_times.expected_s((self, name), self.estimated_bytes(name))

    def failed(self) -> dict[str, str]:
        """Models that could not be loaded and are not tried again yet, and why."""
        now = time.monotonic()
        with self._lock:
            return {name: failure.why for name, failure in self._failures.items() if now < failure.until}

    def mark_failed(self, name: str, why: str) -> None:
        """Note that a model cannot be loaded: for a while nobody tries."""
        with self._lock:
            before = self._failures.get(name)
            retry_s = RETRY_S if before is None else min(2 * before.retry_s, MAX_RETRY_S)
            self._failures[name] = _Failure(why, retry_s, time.monotonic() + retry_s)
        log.error("cannot be loaded", extra={"model": name, "error": why, "retry_s": retry_s})

    def discard(self, name: str) -> None:
        """Forget a model: the next use loads it anew."""
        self.memory.models.discard((self, name))

    def names(self) -> list[str]:
        """Names of the loaded models."""
        return sorted(self.loaded())

    def loaded(self) -> dict[str, M]:
        """The loaded models by name: to inspect them; `use` is for using."""
        items = self.memory.models.items()
        return {name: cast(M, model) for (owner, name), model in items if owner is self}

    def _try_load(self, name: str, room: Room, gives_way: bool) -> M:
        if (why := self.failed().get(name)) is not None:
            raise ModelFailed(why)
        with self.memory.one_load_at_a_time(gives_way=gives_way):
            try:
                if self._download is not None and not gives_way:
                    self.memory.download(partial(self._download, name))
                self._reserve(name, room)
                start = time.monotonic()
                model = self._load_in(name, room, gives_way)
            except ModelFailed as error:
                self.mark_failed(name, str(error))
                raise
            self._loaded_bytes[name] = model.weight_bytes
            is_known = room != "free" or self._file_bytes[name] > 0
            if not is_known and not self._reserve_free(name, model.weight_bytes):
                raise Unavailable(f"no memory for {name!r}, whose size was not known before it was loaded")
        self.memory.load_times.record((self, name), model.weight_bytes, time.monotonic() - start)
        with self._lock:
            self._failures.pop(name, None)
        return model

    def _load_in(self, name: str, room: Room, gives_way: bool) -> M:
        def load() -> M:
            return self.memory.load(lambda: self._load(name), gives_way=gives_way)

        # If the device is full where only free memory may be taken, nothing is evicted for a second try.
        return load() if room == "free" else self.memory.retry_when_full(load)

    def _reserve_free(self, name: str, size_bytes: int) -> bool:
        return self.memory.models.reserve((self, name), size_bytes, evicts=False)

    def _reserve(self, name: str, room: Room) -> None:
        """Evict idle models before this one takes its memory, and wait for those in use, as ``room`` allows.

        Raises `ModelFailed` for a model that can never fit, `Unavailable` if there is no room.
        """
        models, size_bytes = self.memory.models, self._estimate_anew(name)
        if not size_bytes:
            log.warning("memory is not reserved: its files do not tell its size", extra={"model": name})
        if size_bytes > models.capacity_bytes:
            raise ModelFailed(
                f"{name!r} takes {size_bytes} bytes, SWIFT_MODEL_MEMORY_BYTES is {models.capacity_bytes}"
            )
        if room == "free":
            if self._reserve_free(name, size_bytes):
                return
        elif models.reserve((self, name), size_bytes):
            return
        else:
            self.memory.release_others()
            wait_s = MEMORY_WAIT_S if room == "wait" else 0.0
            if models.reserve((self, name), size_bytes, wait_s=wait_s):
                return
        raise Unavailable(f"no memory for {name!r}: all loaded models are in use")

    def _estimate_anew(self, name: str) -> int:
        """Its files may be others than at the last load."""
        size_bytes = self._estimate_bytes(name)
        self._file_bytes[name] = size_bytes
        return size_bytes
