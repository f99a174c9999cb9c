"""Takes queued steps while the device is free for them, and gives back what may not be served any more."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from redis.exceptions import RedisError

from workers.controlnet_serving.host import StepTurns
from workers.transport.protocol import QueuedStep
from workers.transport.step_queue import StepQueue

log = logging.getLogger(__name__)


class StepIntake:
    """The queues of one ControlNet server, as far as ``turns`` lets it serve."""

    def __init__(self, steps: StepQueue, turns: StepTurns, names: Callable[[], Sequence[str]]) -> None:
        """``names``: the ControlNets that are served now."""
        self._steps, self._turns, self._names = steps, turns, names
        self._is_closed = False
        self._pops = False  # or is about to

    @contextmanager
    def next(self, controlnets: Sequence[str]) -> Iterator[QueuedStep | None]:
        """The oldest entry of these ControlNets' queues; within the block the device is free for it.

        ``None`` if none came for a while, or if none may be served now.
        """
        queued = self._pop(controlnets)
        if queued is None:
            yield None
            return
        with self._turns.step() as may_serve:
            if may_serve and queued.controlnet in self._names():
                yield queued
                return
            self._steps.give_back(queued)
        yield None

    def interrupt(self) -> None:
        """Have `next` look now what may be served: it may be waiting for a step. Returns at once."""
        if self._pops:
            threading.Thread(target=self._wake, name="wake controlnet server", daemon=True).start()

    def close(self) -> None:
        """Take nothing more; returns at once."""
        self._is_closed = True
        self.interrupt()

    def _pop(self, controlnets: Sequence[str]) -> QueuedStep | None:
        self._pops = True  # before the last look: what changes after it interrupts
        try:
            if self._is_closed or not self._turns.wait(0.0):
                return None
            return self._steps.pop(controlnets)
        finally:
            self._pops = False

    def _wake(self) -> None:
        try:
            self._steps.wake()
        except RedisError:
            log.warning("residual Redis does not answer; a step that is popped meanwhile is given back")
