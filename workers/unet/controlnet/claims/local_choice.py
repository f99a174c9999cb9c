"""Chooses where a ControlNet is computed: by its workers, or here while its residuals travel for too long."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

#: So many steps in a row must travel for too long: one may have met a busy network or a busy worker.
STEPS_IN_A_ROW = 5
#: After so long a worker is tried again.
RETRY_S = 60.0
#: Shorter travel is never too long: to compute a ControlNet here takes memory, and time of this device.
MIN_TRAVEL_S = 0.01


@dataclass
class _Record:
    slow_steps: int = 0  # the last ones in a row whose residuals travelled for too long
    local_until: float = 0.0  # until then it is computed here
    unloadable_until: float = 0.0  # until then it is not: it could not be loaded here


class LocalChoice:
    """Decides by ControlNet, over all jobs of this worker; safe to use from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._records: defaultdict[str, _Record] = defaultdict(_Record)

    def record(self, controlnet: str, computed_s: float, travel_s: float) -> None:
        """Note a step that a worker has served.

        ``computed_s``: how long it computed; ``travel_s``: how long the decoder waited beyond that.
        """
        with self._lock:
            record = self._records[controlnet]
            is_slow = travel_s > max(computed_s, MIN_TRAVEL_S)
            record.slow_steps = record.slow_steps + 1 if is_slow else 0
            if record.slow_steps >= STEPS_IN_A_ROW:
                record.slow_steps, record.local_until = 0, self._now() + RETRY_S

    def is_local(self, controlnet: str) -> bool:
        """Whether its next step is better computed here."""
        with self._lock:
            record = self._records[controlnet]
            return record.unloadable_until <= self._now() < record.local_until

    def note_unloadable(self, controlnet: str) -> None:
        """It has no place here: leave it to its workers for a while."""
        with self._lock:
            self._records[controlnet].unloadable_until = self._now() + RETRY_S
