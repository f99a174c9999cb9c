"""Says that the worker lives while it computes, so that a dead one is noticed within a lease."""

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from redis.exceptions import RedisError

from shared.periodic_thread import PeriodicThread
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
        self._thread = PeriodicThread("lease renewal", steps.lease_s / 3, self._renew)

    def start(self) -> None:
        """Start renewing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing."""
        self._thread.stop()

    def __enter__(self) -> None:
        with self._lock:
            self._blocks += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._blocks -= 1

    def _renew(self) -> None:
        if self._blocks and not self._hangs():
            try:
                self._steps.renew(self._controlnets())
            except RedisError:
                log.warning("residual Redis does not answer; the step at hand may be sent again")
