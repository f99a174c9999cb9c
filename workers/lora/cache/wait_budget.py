"""How long one load of a LoRA may wait, and what it is waiting for right now."""

import math
import threading
import time

from shared.errors import LoraUnavailable

#: Pauses between attempts: doubled from the first to the last.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
#: Between two checks of a lock that another thread or process holds.
POLL_S = 0.02


class WaitBudget:
    """The waits of one load: ``wait_s`` in all, or until somebody calls `cancel`."""

    def __init__(self, name: str, wait_s: float = math.inf) -> None:
        self._name = name
        self._deadline = time.monotonic() + wait_s
        self._is_cancelled = threading.Event()
        self.waiting_for = "it is being fetched"

    def pause(self, waiting_for: str, pause_s: float = POLL_S) -> None:
        """Wait for ``pause_s``; raises `LoraUnavailable` instead when that would exceed the budget."""
        self.waiting_for = waiting_for
        if time.monotonic() + pause_s > self._deadline or self._is_cancelled.wait(pause_s):
            raise LoraUnavailable(f"LoRA {self._name!r} did not arrive in time: {waiting_for}")

    def check(self) -> None:
        """Raise `LoraUnavailable` if the load was cancelled: for a transfer that makes progress."""
        if self._is_cancelled.is_set():
            raise LoraUnavailable(f"LoRA {self._name!r} did not arrive in time: {self.waiting_for}")

    def cancel(self) -> None:
        """End all waits: nobody wants the LoRA any more."""
        self._is_cancelled.set()
