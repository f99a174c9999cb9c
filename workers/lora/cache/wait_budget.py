"""How long a LoRA may be waited for, by whoever is waiting, and what it is waiting for right now."""

import math
import threading
import time

from shared.errors import LoraUnavailable

#: Pauses between attempts: doubled from the first to the last.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 2.0
#: Between two looks at what another thread or process holds.
LOOK_S = 0.02


class WaitBudget:
    """Of one load: it lasts ``wait_s``, or until somebody calls `end`."""

    def __init__(self, name: str, wait_s: float = math.inf) -> None:
        self._name = name
        self._deadline = time.monotonic() + wait_s
        self._ended = threading.Event()
        self.waiting_for = "it is being fetched"

    def pause(self, waiting_for: str, pause_s: float = LOOK_S) -> None:
        """Wait; raises `LoraUnavailable` instead when that would outlast the patience."""
        self.waiting_for = waiting_for
        if time.monotonic() + pause_s > self._deadline or self._ended.wait(pause_s):
            raise LoraUnavailable(f"LoRA {self._name!r} did not arrive in time: {waiting_for}")

    def check(self) -> None:
        """Raise `LoraUnavailable` if nobody waits any more; bytes that flow outlast any deadline."""
        if self._ended.is_set():
            raise LoraUnavailable(f"LoRA {self._name!r} did not arrive in time: {self.waiting_for}")

    def end(self) -> None:
        """Nobody waits any more."""
        self._ended.set()
