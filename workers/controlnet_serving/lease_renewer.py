"""Says that the worker lives while it computes, so that a dead one is noticed within a lease."""

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from redis.exceptions import RedisError

from workers.transport.step_queue import StepQueue

log = logging.getLogger(__name__)


class LeaseRenewer:
    """``with pulse:`` keeps the worker's claims while any such block runs, in any thread, and none hangs."""

    def __init__(
        self, steps: StepQueue, controlnets: Callable[[], Sequence[str]], hangs: Callable[[], object] = list
    ) -> None:
        """``controlnets`` are those served right now; ``hangs`` tells whether a step is past its deadline."""
        self._steps = steps
        self._controlnets = controlnets
        self._hangs = hangs
        self._blocks = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to watch over the blocks."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> None:
        with self._lock:
            self._blocks += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._blocks -= 1

    def _run(self) -> None:
        while not self._stop.wait(self._steps.lease_s / 3):
            if self._blocks and not self._hangs():
                try:
                    self._steps.renew(self._controlnets())
                except RedisError:
                    log.warning("residual Redis does not answer; the step at hand may be sent again")
