"""Decides what to do about the parts of a step that nobody has answered yet: wait, request again, give up."""

import time
from collections import Counter
from enum import Enum

from redis.exceptions import RedisError

from workers.transport.protocol import ControlNetCall, StepRequest
from workers.transport.step_queue import StepState
from workers.unet.controlnet.session import ControlNetSession

#: A request is in no queue and not claimed for the moment between two commands of its worker: it is lost if
#: it is found nowhere so often in a row.
MAX_MISSES = 2


class Decision(Enum):
    """What the UNet worker does about a part without an answer."""

    WAIT = "wait"
    REQUEST_AGAIN = "request again"
    GIVE_UP = "give up"


class CallMonitor:
    """Watches the parts of one step; `restart` begins anew with each request."""

    def __init__(self, session: ControlNetSession) -> None:
        self._session = session
        self._steps = session.context.worker.steps
        settings = session.context.worker.settings
        self._wait_s = settings.residual_timeout_s
        self._unserved_wait_s = self._wait_s
        if settings.controlnet_fallback == "local":
            self._unserved_wait_s = min(settings.controlnet_wait_s, self._wait_s)
        self._misses: Counter[int] = Counter()  # position: checks in a row that found the part nowhere
        self._claimed_at: dict[int, float] = {}  # position: when the part was first seen claimed
        self._sent_at = time.monotonic()

    @property
    def waited_s(self) -> float:
        """Seconds since the request was sent."""
        return time.monotonic() - self._sent_at

    @property
    def left_s(self) -> float:
        """Seconds until a part that nobody takes is given up; negative after that."""
        return self._unserved_wait_s - self.waited_s

    def restart(self) -> None:
        """The step has been requested again."""
        self._misses.clear()
        self._claimed_at.clear()
        self._sent_at = time.monotonic()

    def decide(self, request: StepRequest, part: ControlNetCall) -> Decision:
        """What to do about a part that has no answer yet, by where it is now."""
        state, position, unserved = self._locate(request, part), part.position, self._session.unserved
        self._misses[position] = self._misses[position] + 1 if state == "lost" else 0
        if state in ("claimed", "queued"):
            unserved.discard(position)
        if state == "unserved" and (self.left_s < 0 or position in unserved):
            return Decision.GIVE_UP
        is_lost = state in ("abandoned", "gone") or self._misses[position] >= MAX_MISSES
        if is_lost or self._is_stuck(position, state):
            return Decision.REQUEST_AGAIN
        return Decision.WAIT

    def _locate(self, request: StepRequest, part: ControlNetCall) -> StepState:
        try:
            return self._steps.locate(request, part)
        except RedisError:
            return "lost"

    def _is_stuck(self, position: int, state: StepState) -> bool:
        """Whether a living worker has held this part for too long."""
        if state != "claimed":
            return False
        now = time.monotonic()
        return now - self._claimed_at.setdefault(position, now) > self._wait_s
