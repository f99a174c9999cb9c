"""Renews a worker's lease while it computes, so that only dead workers lose what they have claimed."""

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from redis.exceptions import RedisError

from shared.periodic_thread import PeriodicThread
from workers.transport.step_queue import StepQueue

log = logging.getLogger(__name__)


class LeaseRenewer:
    """``with lease_renewer:`` keeps the lease while any such block runs, in any thread, and no step hangs."""

    def __init__(
        self,
        steps: StepQueue,
        controlnets: Callable[[], Sequence[str]],
        overdue: Callable[[], Sequence[str]] = list,
    ) -> None:
        """``controlnets``: those that are served now; ``overdue``: steps that are past their deadline."""
        self._steps = steps
        self.check_every_s = steps.lease_s / 4  # how often a sender looks whether what it has sent was lost
        self._controlnets = controlnets
        self._overdue = overdue
        self._blocks = 0
        self._lock = threading.Lock()
        self._thread = PeriodicThread("lease renewal", steps.lease_s / 3, self._renew)

    def start(self) -> None:
        """Start renewing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; a renewal that waits for Redis is not waited for."""
        self._thread.stop(0)

    def __enter__(self) -> None:
        with self._lock:
            self._blocks += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._blocks -= 1

    def _renew(self) -> None:
        if self._blocks and not self._overdue():
            try:
                self._steps.renew(self._controlnets())
            except RedisError:
                log.warning("residual Redis does not answer; the claimed step may be sent again")
