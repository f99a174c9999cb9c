"""Chooses which ControlNets a UNet worker keeps loaded beside its base models, and when it loads them.

At the start of a job those that no free worker has loaded, while the worker is idle those that were lately
wanted, and in the middle of a job one that was waited for as long as its load takes. Only the last evicts
anything.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Collection

from shared import metrics
from shared.errors import SwiftError
from workers.families.base_controlnet import ControlNet
from workers.runtime.device_loss import DeviceLoss
from workers.runtime.model_cache import ModelCache
from workers.runtime.model_preloader import ModelPreloader

log = logging.getLogger(__name__)

#: What nobody has wanted for so long is not loaded while the worker is idle.
WANTED_S = 900.0
#: Of so many ControlNets it is remembered that they were wanted.
MAX_WANTED = 64


class ControlNetResidency:
    """The ControlNets of one worker's memory; safe to use from several threads."""

    def __init__(
        self,
        controlnets: ModelCache[ControlNet],
        served_controlnets: Collection[str],
        device_loss: DeviceLoss | None = None,
    ) -> None:
        """``served_controlnets``: those that the worker may load."""
        self._controlnets = controlnets
        self._served = frozenset(served_controlnets)
        self._preloader = ModelPreloader(controlnets, device_loss)
        self._wanted: OrderedDict[str, float] = OrderedDict()  # when; the latest one last
        self._lock = threading.Lock()

    def may_hold(self, name: str) -> bool:
        """Whether this worker may compute a ControlNet itself."""
        return name in self._served

    def can_load(self, name: str) -> bool:
        """Whether this worker may hold it, and nothing says that a load would fail."""
        return self.may_hold(name) and self._preloader.can_load(name)

    def is_loading(self, name: str) -> bool:
        """Whether it is being loaded beside other work."""
        return self._preloader.is_loading(name)

    def expected_load_s(self, name: str) -> float:
        """Seconds that its load will take."""
        return self._controlnets.expected_load_s(name)

    def why_not(self, name: str) -> SwiftError | None:
        """What its last load met, if that was lately."""
        return self._preloader.why_not(name)

    def wanted(self, name: str) -> None:
        """A job of this worker needs it, or it is asked to serve it."""
        if self.may_hold(name):
            with self._lock:
                self._wanted[name] = time.monotonic()
                self._wanted.move_to_end(name)
                if len(self._wanted) > MAX_WANTED:
                    self._wanted.popitem(last=False)

    def load_next(self) -> bool:
        """Load one that was lately wanted, the latest first, and wait for it: for a worker that is idle.

        Evicts and downloads nothing, and is given up soon after a job comes that waits for another load.
        ``False`` if nothing was loaded.
        """
        for name in self._to_load():
            if self._preloader.load(name, gives_way=True):
                metrics.CONTROLNET_LOADS.labels(name, "idle").inc()
                return True
        return False

    def load_for_job(self, name: str) -> bool:
        """Begin to load it for a job that begins; evicts nothing. ``False`` if it cannot be loaded."""
        return self._start_load(name, "job", evicts=False)

    def load_for_step(self, name: str) -> bool:
        """Begin to load it for a step that waits for it, of any worker; ``False`` if it cannot be loaded."""
        return self._start_load(name, "step", evicts=True)

    def _to_load(self) -> list[str]:
        since = time.monotonic() - WANTED_S
        with self._lock:
            wanted = [name for name, at in reversed(self._wanted.items()) if at > since]
        loaded = self._controlnets.names()
        return [name for name in wanted if name not in loaded and self._controlnets.is_on_disk(name)]

    def _start_load(self, name: str, reason: str, *, evicts: bool) -> bool:
        if not self.may_hold(name) or name in self._controlnets.names():
            return self.may_hold(name)
        is_new = not self._preloader.is_loading(name)
        is_loading = self._preloader.start_load(name, evicts=evicts)
        if is_loading and is_new:
            log.info("ControlNet is loaded", extra={"controlnet": name, "reason": reason})
            metrics.CONTROLNET_LOADS.labels(name, reason).inc()
        return is_loading
