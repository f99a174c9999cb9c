"""A thread that calls one function again and again: heartbeats, lease renewals, sweeps, metrics."""

import logging
import threading
from collections.abc import Callable

from shared.logs import inherit_log_fields

log = logging.getLogger(__name__)

#: The pause after a first failure. It doubles with every further one, up to the thread's ``max_backoff_s``.
FIRST_BACKOFF_S = 0.5


class PeriodicThread:
    """Calls ``function`` every ``interval_s`` seconds in a daemon thread, from `start` to `stop`.

    What the function raises is logged, and the next call tries again: after ``interval_s``, or after a pause
    that doubles with each failure in a row up to ``max_backoff_s``, whichever is longer.
    """

    def __init__(
        self,
        name: str,
        interval_s: float,
        function: Callable[[], object],
        *,
        call_at_start: bool = False,
        max_backoff_s: float = 0.0,
    ) -> None:
        """``call_at_start``: the first call does not wait for an interval to pass."""
        self._name = name
        self._interval_s = interval_s
        self._function = function
        self._is_woken = call_at_start
        self._max_backoff_s = max_backoff_s
        self._is_stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=inherit_log_fields(self._run), name=name, daemon=True)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called: a function of several parts then leaves out the rest of them."""
        return self._is_stopping

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def wake(self) -> None:
        """Have the function called now, or once more if it is running; returns at once."""
        with self._changed:
            if not self._is_stopping:
                self._is_woken = True
                self._changed.notify()

    def stop(self, timeout_s: float | None = None) -> None:
        """End the thread after a call that `wake` asked for, and wait for that, ``timeout_s`` at most.

        Called by the function itself, it ends the thread after this call, whatever `wake` has asked for.
        """
        is_inside = threading.current_thread() is self._thread
        with self._changed:
            self._is_stopping = True
            if is_inside:
                self._is_woken = False
            self._changed.notify()
        if not is_inside and self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while self._wait(self._pause_s(failures)):
            try:
                self._function()
                failures = 0
            except Exception:  # the loop must outlive any of its calls
                failures += 1
                log.exception(
                    "periodic call failed", extra={"periodic_thread": self._name, "failures": failures}
                )

    def _wait(self, pause_s: float) -> bool:
        """Wait for the next call; returns False when there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._is_woken, timeout=pause_s)
            is_due = self._is_woken or not self._is_stopping
            self._is_woken = False
            return is_due

    def _pause_s(self, failures: int) -> float:
        if not failures:
            return self._interval_s
        return max(self._interval_s, min(FIRST_BACKOFF_S * 2.0 ** (failures - 1), self._max_backoff_s))
