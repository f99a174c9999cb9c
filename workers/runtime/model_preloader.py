"""Loads models ahead of their use, beside other work: in threads, and never twice at once."""

import logging
import threading
import time
from typing import Generic, NamedTuple, TypeVar

from shared.errors import (
    DeviceFull,
    DeviceLost,
    ModelFailed,
    SwiftError,
    Unavailable,
    WorkerStopping,
)
from workers.runtime.device_loss import DeviceLoss
from workers.runtime.device_memory import Sized
from workers.runtime.model_cache import ModelCache, Room

log = logging.getLogger(__name__)

#: A model that had no place is not tried again for so long; nor is anything after the device was full.
RETRY_S = 60.0

M = TypeVar("M", bound=Sized)


class _Refusal(NamedTuple):
    """Why the device could not take a model, and until when nobody tries again."""

    error: SwiftError
    until: float


class ModelPreloader(Generic[M]):
    """Loads models of one cache before somebody waits for them; safe to use from several threads."""

    def __init__(self, models: ModelCache[M], device_loss: DeviceLoss | None = None) -> None:
        """``device_loss`` is told if the device is lost while a model is moved to it."""
        self._models = models
        self._device_loss = device_loss or DeviceLoss(models.memory.device)
        self._loading: set[str] = set()
        self._refusals: dict[str, _Refusal] = {}
        self._lock = threading.Lock()

    def can_load(self, name: str) -> bool:
        """Whether a load may succeed: the last one did not fail lately."""
        return self.why_not(name) is None

    def why_not(self, name: str) -> SwiftError | None:
        """What the last load of a model met, if that was lately; else ``None``."""
        if (why := self._models.failed().get(name)) is not None:
            return ModelFailed(why)
        with self._lock:
            refusal = self._refusals.get(name)
        return refusal.error if refusal is not None and time.monotonic() < refusal.until else None

    def is_loading(self, name: str) -> bool:
        """Whether it is being loaded ahead right now."""
        with self._lock:
            return name in self._loading

    def fits(self, name: str) -> bool:
        """Whether a model, as far as its size is known, fits beside what is loaded, with nothing evicted."""
        memory = self._models.memory
        size_bytes = memory.models.used_bytes() + self._models.estimated_bytes(name)
        return size_bytes <= memory.models.capacity_bytes and not memory.was_full(RETRY_S)

    def load(self, name: str, *, evicts: bool = False, gives_way: bool = False) -> bool:
        """Load a model and wait for it; returns whether it is loaded now.

        ``evicts``: models that are not in use make place for it; else only what is free is taken.
        ``gives_way``: it is given up soon after somebody comes who waits for another load.
        """
        if self._begin(name, evicts=evicts):
            self._finish(name, evicts=evicts, gives_way=gives_way)
        return name in self._models.names()

    def start_load(self, name: str, *, evicts: bool = False) -> bool:
        """`load` in a thread of its own; ``False`` if it cannot be loaded."""
        if self._begin(name, evicts=evicts):
            load = threading.Thread(
                target=self._finish, args=(name,), kwargs={"evicts": evicts}, name=f"load {name}", daemon=True
            )
            load.start()
        return self.is_loading(name) or name in self._models.names()

    def _begin(self, name: str, *, evicts: bool) -> bool:
        """Whether the caller shall load it; it is being loaded from now on."""
        if name in self._models.names() or not self.can_load(name) or not (evicts or self.fits(name)):
            return False
        with self._lock:
            is_first = name not in self._loading
            self._loading.add(name)
        return is_first

    def _finish(self, name: str, *, evicts: bool, gives_way: bool = False) -> None:
        room: Room = "idle" if evicts else "free"
        try:
            with (
                self._device_loss.translate_errors(),
                self._models.use(name, room=room, gives_way=gives_way),
            ):
                pass
        except (ModelFailed, WorkerStopping):
            log.info("not loaded ahead of its use", extra={"model": name})
        except (DeviceFull, DeviceLost, Unavailable) as error:
            log.info("no place for a model ahead of its use", extra={"model": name, "error": str(error)})
            # Another load may have taken what was free: that says nothing of a load that evicts.
            if evicts or not isinstance(error, Unavailable):
                with self._lock:
                    self._refusals[name] = _Refusal(error.with_traceback(None), time.monotonic() + RETRY_S)
        except Exception as error:  # nobody waits for it: it is not tried again for a while
            self._models.mark_failed(name, repr(error))
        finally:
            with self._lock:
                self._loading.discard(name)
