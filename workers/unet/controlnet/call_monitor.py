"""Decides what to do about the parts of a step that nobody has answered yet, by where they are."""

import time
from collections.abc import Callable, Iterable
from enum import Enum

from redis.exceptions import RedisError

from workers.transport.protocol import ControlNetCall, StepRequest
from workers.transport.step_queue import OVERDUE_S, StepState
from workers.unet.controlnet.session import ControlNetSession

#: One wait for residuals; between two the job is checked for a cancel, and silent parts for their workers.
WAIT_S = 0.5
#: The same while a ControlNet is being loaded here: it is used as soon as it is there.
LOADING_WAIT_S = 0.05
#: A request is in no queue and not claimed for the moment between two commands of its worker: it is lost if
#: it is found nowhere for so long. Less than `WAIT_S`, so that two looks suffice.
LOST_AFTER_S = 0.4


class Decision(Enum):
    """What the UNet worker does about a part without an answer."""

    WAIT = "wait"
    CLAIM = "claim it and compute it here"
    LOAD = "load its ControlNet here"
    REQUEST_AGAIN = "request again"
    ASK_ANOTHER_PLATFORM = "ask workers of another platform"
    MARK_OVERDUE = "have workers with a job serve it, too"
    GIVE_UP = "give up"


class CallMonitor:
    """Watches the parts of one step; `restart` begins anew with each request."""

    def __init__(self, session: ControlNetSession, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._session = session
        self._steps = session.context.worker.steps
        self._residency = session.context.worker.residency
        self._wait_s = session.context.worker.settings.residual_timeout_s
        self._lost_since: dict[int, float] = {}  # position: the first of the looks that found it nowhere
        self._claimed_at: dict[int, float] = {}  # position: when the part was first seen claimed
        self._marked_at: dict[int, float] = {}  # position: when it was last said to be overdue
        self._began_at = self._sent_at = self._now()
        self._looked_at = self._began_at
        self._was_loading = False  # a ControlNet that is waited for, during the last wait

    @property
    def waited_s(self) -> float:
        """Seconds since the request was sent."""
        return self._now() - self._sent_at

    def restart(self) -> None:
        """The step has been requested again."""
        self._lost_since.clear()
        self._claimed_at.clear()
        self._marked_at.clear()
        self._sent_at = self._now()

    def timeout_s(self, parts: Iterable[ControlNetCall]) -> float:
        """How long to wait now for residuals of ``parts``."""
        residency = self._residency
        names = {part.controlnet for part in parts if not self._session.holds(part)}
        self._was_loading = any(residency.is_loading(name) for name in names)
        if self._was_loading:
            return LOADING_WAIT_S
        waited_s = self._now() - self._began_at
        loads_s = [residency.expected_load_s(name) for name in names if self._session.can_load(name)]
        left_s = [at_s - waited_s for at_s in (*loads_s, self._wait_s) if at_s > waited_s]
        return min([WAIT_S, *left_s])

    def is_due(self) -> bool:
        """Whether it is time to look where parts are, after a wait in which nothing came."""
        now = self._now()
        if self._was_loading and now - self._looked_at < WAIT_S:
            return False
        self._looked_at = now
        return True

    def decide(self, request: StepRequest, part: ControlNetCall) -> Decision:
        """What to do about a part that has no answer yet, by where it is now."""
        state, position = self._locate(request, part), part.position
        is_lost = state in ("abandoned", "gone") or self._is_lost(position, state)
        if is_lost or self._is_stuck(position, state):
            return Decision.REQUEST_AGAIN
        return Decision.WAIT if state == "claimed" else self._decide_unclaimed(part, state)

    def _decide_unclaimed(self, part: ControlNetCall, state: StepState) -> Decision:
        """A load here begins only after the time of a load: a holder that comes at once spares it."""
        name, residency = part.controlnet, self._residency
        if self._session.holds(part):
            return Decision.CLAIM
        if residency.is_loading(name):
            return Decision.WAIT
        if self._session.can_load(name):
            is_due = self._now() - self._began_at >= residency.expected_load_s(name)
            return Decision.LOAD if is_due else Decision.WAIT
        if self._is_misplaced(part):
            return Decision.ASK_ANOTHER_PLATFORM
        if state == "unserved" and self.waited_s > self._wait_s:
            return Decision.GIVE_UP
        return Decision.MARK_OVERDUE if self._is_overdue(part) else Decision.WAIT

    def _is_misplaced(self, part: ControlNetCall) -> bool:
        """Whether a part of an exact job waits for a platform on which nobody will compute it.

        Workers that may load its ControlNet have the time of two loads.
        """
        if not part.platform:
            return False
        late_s = OVERDUE_S + 2 * self._residency.expected_load_s(part.controlnet)
        platforms, is_late = self._session.context.platforms, self.waited_s > late_s
        return platforms.is_misplaced(part.controlnet, part.platform, is_late=is_late)

    def _is_overdue(self, part: ControlNetCall) -> bool:
        """Whether a part that cannot be computed here waits for workers that all have jobs."""
        if self._session.context.worker.other_workers.may_serve(part.controlnet, part.platform):
            return False
        now, since = self._now(), self._marked_at.get(part.position, self._sent_at)
        if now - since < OVERDUE_S:
            return False
        self._marked_at[part.position] = now
        return True

    def _locate(self, request: StepRequest, part: ControlNetCall) -> StepState:
        try:
            return self._steps.locate(request, part)
        except RedisError:
            return "lost"

    def _is_lost(self, position: int, state: StepState) -> bool:
        """Whether this part was found nowhere for too long."""
        if state != "lost":
            self._lost_since.pop(position, None)
            return False
        now = self._now()
        return now - self._lost_since.setdefault(position, now) > LOST_AFTER_S

    def _is_stuck(self, position: int, state: StepState) -> bool:
        """Whether a living worker has held this part for too long."""
        if state != "claimed":
            return False
        now = self._now()
        return now - self._claimed_at.setdefault(position, now) > self._wait_s
